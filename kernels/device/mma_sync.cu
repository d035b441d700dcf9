/* mma_sync.cu: grouped GEMM (forward, dX, dW) with mma.sync, for sm_80 and after: a ring of NUM_STAGES stages
 * filled by cp.async or TMA, one block_sync a step, one persistent launch over all experts. */
#include "epilogue.h"
#include "loads.h"

#ifndef MIN_BLOCKS
#define MIN_BLOCKS 1
#endif

KERNEL(grouped_gemm, gemm_params, NUM_THREADS, MIN_BLOCKS) {
    SHARED_MEMORY(smem);
    u32 ring = smem_addr(smem), barriers = ring + BARRIER_OFFSET;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warp_row = warp % WARPS_ROWS * WARP_ROWS, warp_col = warp / WARPS_ROWS * WARP_COLS;

#if USES_TMA_LOADS
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < NUM_STAGES; s++) mbarrier_init(barriers + 8 * s, 1);
        fence_mbarrier_init();
    }
    block_sync();
#endif

    grid_wait();
    ring_position load = {0, 0}, use = {0, 0};
    tile_walk walk;
    output_tile tile;
    walk_begin(&walk, &p);
    for (u32 number = blockIdx.x; walk_to(&walk, &p, number, &tile); number += gridDim.x) {
        i64 reduction = OP == OP_FORWARD ? p.K : OP == OP_DX ? p.N : tile.row_end - tile.row_begin;
        i64 steps = (reduction + STEP - 1) / STEP;
        float acc[FRAGMENTS_M][FRAGMENTS_N][4];
        UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
            UNROLL for (int j = 0; j < FRAGMENTS_N; j++) {
                UNROLL for (int v = 0; v < 4; v++) acc[i][j][v] = 0.0f;
            }
        }

        for (i64 s = 0; s < NUM_STAGES - 1; s++) {
            if (s < steps) {
                load_stage(&p, &tile, s, ring + load.slot * STAGE_BYTES, barriers + 8 * load.slot);
                ring_advance(&load);
            }
            cp_async_commit();
        }
        for (i64 s = 0; s < steps; s++) {
            cp_async_wait(NUM_STAGES - 2);
#if USES_TMA_LOADS
            mbarrier_wait(barriers + 8 * use.slot, use.parity);
#endif
            block_sync(); /* this stage has landed for all threads, and all are done with the stage before it
                           */
            if (s + NUM_STAGES - 1 < steps) {
                load_stage(&p, &tile, s + NUM_STAGES - 1, ring + load.slot * STAGE_BYTES,
                           barriers + 8 * load.slot);
                ring_advance(&load);
            }
            cp_async_commit(); /* one group a step, empty or not, so that the wait above counts steps */
            u32 stage = ring + use.slot * STAGE_BYTES;
            multiply_stage(acc, stage, stage + A_TILE_BYTES, warp_row, warp_col, lane);
            ring_advance(&use);
        }
        store_tile(&p, &tile, acc, ring, warp_row, warp_col, lane);
    }
}
