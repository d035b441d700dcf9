/* pipeline.cu: an example for authors of kernels: one warp loads tiles by TMA into a ring, another adds their rows up.
 * With BUG_EARLY_RELEASE the consumer gives a slot back before it has read all of it. */
#include "intrinsics.h"

typedef struct pipeline_params {
    tensor_map map; /* (tiles * 32 rows, 64 columns) of 16-bit integers; boxes of 64 x 32 */
    u32 *sums;      /* (tiles, 64) */
    i32 tiles;
} pipeline_params;

enum { STAGES = 3, ROWS = 32, TILE_BYTES = ROWS * 128 };

KERNEL(column_sums, pipeline_params, 64, 1) {
    SHARED_MEMORY(memory);
    u32 ring = smem_addr(memory), full = ring + STAGES * TILE_BYTES, empty = full + 8 * STAGES;
    int lane = (int)threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < STAGES; s++) {
            mbarrier_init(full + 8 * s, 1);
            mbarrier_init(empty + 8 * s, 32);
        }
        fence_mbarrier_init();
    }
    block_sync();
    for (int i = 0; i < p.tiles; i++) {
        u32 slot = (u32)i % STAGES, parity = (u32)i / STAGES & 1, tile = ring + slot * TILE_BYTES;
        if (threadIdx.x == 32) {
            mbarrier_wait(empty + 8 * slot, parity ^ 1);
            mbarrier_arrive_expect_tx(full + 8 * slot, TILE_BYTES);
            tma_load_2d(tile, &p.map, 0, i * ROWS, full + 8 * slot);
        } else if (threadIdx.x < 32) {
            u32 low = 0, high = 0;
            mbarrier_wait(full + 8 * slot, parity);
            for (u32 row = 0; row < ROWS; row++) {
#ifdef BUG_EARLY_RELEASE
                if (row == ROWS - 1) mbarrier_arrive(empty + 8 * slot);
#endif
                u32 offset = row * 128 + (u32)lane * 4,
                    pair = smem_load_4(tile + (offset ^ (offset >> 3 & 0x70)));
                low += pair & 0xffff;
                high += pair >> 16;
            }
#ifndef BUG_EARLY_RELEASE
            mbarrier_arrive(empty + 8 * slot);
#endif
            p.sums[i * 64 + 2 * lane] = low;
            p.sums[i * 64 + 2 * lane + 1] = high;
        }
    }
}
