/* walk.cu: writes down the tiles that device/scheduler.h deals out, by their numbers. Macros OP, EVEN_ROWS, DRAWN: of
 * a block's tiles the first is its own number, the others are drawn. */
#define DTYPE 0
#define BLOCK_SIZE_M (OP == 2 ? 64 : 128)
#define BLOCK_SIZE_N (OP == 1 ? 64 : 32)
#define BLOCK_SIZE_K (OP == 0 ? 64 : 32)
#define NUM_WARPS 2
#define WARPS_ROWS 1
#define NUM_STAGES 2
#define PERMUTE_X 0
#define PERMUTE_Y 0
#define FUSE_MUL_POST 0
#define TMA_A 0
#define TMA_B 0
#define TMA_STORE 0
#include "scheduler.h"

typedef struct walk_params {
    gemm_params gemm;
    i32 *tiles; /* (most, 6): expert, row_begin, row_end, row, row_limit, col */
    i32 most;
} walk_params;

/* The block's tile after `number`, for its warps. */
DEVICE u32 number_after(const walk_params *p, u32 number, u32 shared) {
#if DRAWN
    (void)number;
    if (threadIdx.x == 0) smem_store_4(shared, draw_tile(&p->gemm));
    block_sync();
    u32 next = smem_load_4(shared);
    block_sync();
    return next;
#else
    (void)p, (void)shared;
    return number + gridDim.x;
#endif
}

KERNEL(write_tiles, walk_params, 64, 1) {
    SHARED_MEMORY(memory);
    u32 number = blockIdx.x, shared = smem_addr(memory);
    tile_walk walk;
    output_tile tile;
    walk_begin(&walk, &p.gemm);
    for (; walk_to(&walk, &p.gemm, number, &tile); number = number_after(&p, number, shared)) {
        i32 *to = p.tiles + number * 6;
        if (number >= (u32)p.most) device_trap();
        /* each tile by another lane: all must know it */
        if (threadIdx.x != number % 64) continue;
        if (to[0] != -1) device_trap();
        to[0] = tile.expert;
        to[1] = (i32)tile.row_begin;
        to[2] = (i32)tile.row_end;
        to[3] = (i32)tile.row;
        to[4] = (i32)tile.row_limit;
        to[5] = tile.col;
    }
    if (DRAWN && threadIdx.x == 0) end_draws(&p.gemm, &walk, number);
}
