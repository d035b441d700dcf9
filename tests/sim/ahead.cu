/* ahead.cu: counts the rows that device/wgmma_ahead.h fetches. Macros PERMUTE_X, PERMUTE_Y. */
#define OP 2
#define DTYPE 0
#define BLOCK_SIZE_M 64
#define BLOCK_SIZE_N 64
#define BLOCK_SIZE_K 128
#define NUM_WARPS 4
#define WARPS_ROWS 1
#define NUM_STAGES 2
#define FUSE_MUL_POST 0
#define TMA_A 0
#define TMA_B 0
#define TMA_STORE 0
#define PIECES 1
#define STORERS 0
#define FETCHES_AHEAD 1
#include "tile.h"

/* In the place of a fetch: one more of the row of a or b; b lies behind a, the counts of both in their order are at out. */
DEVICE void count_fetch(const gemm_params *p, const void *address, u32 bytes) {
    const u16 *at = (const u16 *)address;
    int of_b = at >= p->b;
    u32 cols = (u32)(of_b ? p->K : p->N), offset = (u32)(at - (of_b ? p->b : p->a));
    if (offset % cols || bytes != cols * 2) device_trap();
    atomic_add_u32((u32 *)p->out + (of_b ? p->M : 0) + offset / cols, 1);
}
#undef prefetch_l2
#define prefetch_l2(address, bytes) count_fetch(p, address, bytes)
#include "wgmma_ahead.h"

typedef struct ahead_params {
    gemm_params gemm;
    u32 window;
} ahead_params;

KERNEL(fetch_all, ahead_params, 32, 1) {
    tile_walk walk;
    output_tile tile;
    walk_begin(&walk, &p.gemm);
    for (u32 number = blockIdx.x; walk_to(&walk, &p.gemm, number, &tile); number += gridDim.x)
        fetch_ahead(&p.gemm, &tile, p.window);
}

KERNEL(write_window, ahead_params, 32, 1) {
    if (threadIdx.x == 0) *(u32 *)p.gemm.out = window_rows(&p.gemm);
}
