/* router.cu: logits = x * gate^T in fp32, the topk best experts of each token and their weights, and how many slots of
 * each tile of tokens go to each expert, in one launch.
 *
 * A block holds all logits of its tile, so that choosing needs no other launch. A tile's size changes neither the
 * order of a sum nor a choice.
 * Order of choice: larger logit first, of equal ones (-0 equals 0) the lower expert; NaN counts as the largest.
 * Weights: SCORE 0 softmax over all experts, 1 softmax over the chosen ones (norm_topk_prob), 2 sigmoid of each; in
 * fp32, then rounded to the dtype.
 * Tile macros as tile.h has them, for a forward GEMM with BLOCK_SIZE_M tokens and BLOCK_SIZE_N >= E. */
#ifndef BLOCK_SIZE_M
#define OP 0
#define BLOCK_SIZE_M 64
#define BLOCK_SIZE_N 128
#define BLOCK_SIZE_K 64
#define NUM_WARPS 8
#define WARPS_ROWS 2
#define NUM_STAGES 4
#endif
#ifndef SCORE
#define SCORE 1
#endif
#define PERMUTE_X 0
#define PERMUTE_Y 0
#define FUSE_MUL_POST 0
#define TMA_A 0
#define TMA_B 0
#define TMA_STORE 0
#include "mma.h"
#include "moe_ops.h"
#include "topk.h"

/* Rows and columns of a matrix with H columns, zero outside. */
DEVICE void load_tile(u32 dst, int tile_rows, const u16 *matrix, i32 H, i64 row, i64 rows, i32 col) {
    UNROLL for (int i = (int)threadIdx.x; i < tile_rows * (STEP / 8); i += NUM_THREADS) {
        int r = i / (STEP / 8), chunk = i % (STEP / 8);
        int inside = row + r < rows && col + chunk * 8 < H;
        const u16 *src = inside ? matrix + (row + r) * H + col + chunk * 8 : matrix;
        cp_async_16(dst + tile_offset(tile_rows, STEP, r, chunk), src, inside ? 16 : 0);
    }
}

DEVICE void load_step(const router_params *p, u32 ring, i64 row, i32 step) {
    u32 stage = ring + (u32)(step % NUM_STAGES) * STAGE_BYTES;
    load_tile(stage, ROWS, p->x, p->H, row, p->T, step * STEP);
    load_tile(stage + A_TILE_BYTES, COLS, p->gate, p->H, 0, p->E, step * STEP);
}

/* How many of the tile's slots chose each expert; a thread an expert. */
DEVICE void count_choices(const router_params *p, const i32 *ids) {
    for (i32 expert = (i32)threadIdx.x; expert < p->E; expert += NUM_THREADS) {
        i32 count = 0;
        for (i32 i = 0; i < ROWS * p->topk; i += 4) {
            u32x4 four = load_16(ids + i);
            count += ((i32)four.x == expert) + ((i32)four.y == expert) + ((i32)four.z == expert) +
                     ((i32)four.w == expert);
        }
        p->histogram[blockIdx.x * (i64)p->E + expert] = count;
    }
}

KERNEL(router, router_params, NUM_THREADS, 1) {
    SHARED_MEMORY(smem);
    u32 ring = smem_addr(smem);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warp_row = warp % WARPS_ROWS * WARP_ROWS, warp_col = warp / WARPS_ROWS * WARP_COLS;
    i64 row = blockIdx.x * (i64)ROWS;
    i32 steps = (p.H + STEP - 1) / STEP;
    float acc[FRAGMENTS_M][FRAGMENTS_N][4];
    UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
        UNROLL for (int j = 0; j < FRAGMENTS_N; j++) {
            UNROLL for (int v = 0; v < 4; v++) acc[i][j][v] = 0.0f;
        }
    }

    for (i32 s = 0; s < NUM_STAGES - 1; s++) {
        if (s < steps) load_step(&p, ring, row, s);
        cp_async_commit();
    }
    for (i32 s = 0; s < steps; s++) {
        cp_async_wait(NUM_STAGES - 2);
        block_sync(); /* this step has landed for all threads, and all are done with the one before it */
        if (s + NUM_STAGES - 1 < steps) load_step(&p, ring, row, s + NUM_STAGES - 1);
        cp_async_commit();
        u32 stage = ring + (u32)(s % NUM_STAGES) * STAGE_BYTES;
        multiply_stage(acc, stage, stage + A_TILE_BYTES, warp_row, warp_col, lane);
    }

    /* the logits take the ring's place */
    block_sync();
    float *logits = (float *)smem;
    i32 *ids = (i32 *)(smem + LOGITS_BYTES);
    UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
        UNROLL for (int j = 0; j < FRAGMENTS_N; j++) {
            UNROLL for (int v = 0; v < 4; v++) {
                int r = warp_row + i * 16 + lane / 4 + v / 2 * 8, c = warp_col + j * 8 + lane % 4 * 2 + v % 2;
                logits[r * LOGITS_STRIDE + c] = acc[i][j][v];
            }
        }
    }
    block_sync();
    for (int r = warp; r < ROWS && row + r < p.T; r += NUM_WARPS)
        for (i32 e = lane; e < p.E; e += 32) p.logits[(row + r) * p.E + e] = logits[r * LOGITS_STRIDE + e];
    choose_experts(&p, row, logits, ids);
    block_sync();
    count_choices(&p, ids);
}
