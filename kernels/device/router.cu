/* router.cu: logits = x * gate^T in fp32, the topk best experts of each token and their weights, and how many slots of
 * each tile of tokens go to each expert, in one launch.
 *
 * A block holds all logits of its tile, so that choosing needs no other launch. Two groups of warps share every stage's
 * columns, half each, and a logit is the sum of the two groups' sums: a tile's size changes neither the order of a sum
 * nor a choice.
 * Order of choice: larger logit first, of equal ones (-0 equals 0) the lower expert; NaN counts as the largest.
 * Weights: SCORE 0 softmax over all experts, 1 softmax over the chosen ones (norm_topk_prob), 2 sigmoid of each; in
 * fp32, then rounded to the dtype.
 * Tile macros as tile.h has them, for a forward GEMM with BLOCK_SIZE_M tokens and BLOCK_SIZE_N >= E; NUM_WARPS are those of
 * one group. A stage is PANELS panels of STEP columns. */
#ifndef BLOCK_SIZE_M
#define OP 0
#define BLOCK_SIZE_M 64
#define BLOCK_SIZE_N 128
#define BLOCK_SIZE_K 64
#define NUM_WARPS 4
#define WARPS_ROWS 2
#define NUM_STAGES 4
#define PANELS 1
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

#define ALL_WARPS (2 * NUM_WARPS)
#define ALL_THREADS (ALL_WARPS * 32)
#include "topk.h"

/* A panel is one tile: x's rows, then gate's. */
#define TILE_ROWS (ROWS + COLS)
#define CHUNKS (STEP / 8)
#define COPY_STRIDE (ALL_THREADS / CHUNKS)
#define COPIES ((TILE_ROWS + COPY_STRIDE - 1) / COPY_STRIDE)

/* This thread's copies: chunk `chunk` of rows first, first + COPY_STRIDE, ... of each panel in turn. Every copy has an
 * address of its own in registers: one that shares it waits until the copy before has been issued. */
typedef struct copier {
    const u16 *rows[COPIES];
    u32 inside; /* bit i: the i-th row is there; else zeros */
    u32 to;
    int first;
    i32 col;
} copier;

DEVICE void copier_begin(copier *c, const router_params *p, i64 first_row) {
    int chunk = (int)threadIdx.x % CHUNKS;
    c->first = (int)threadIdx.x / CHUNKS;
    c->col = chunk * 8;
    c->to = tile_offset(TILE_ROWS, STEP, c->first, chunk);
    c->inside = 0;
    UNROLL for (int i = 0; i < COPIES; i++) {
        int r = c->first + i * COPY_STRIDE, is_x = r < ROWS;
        i64 row = is_x ? first_row + r : r - ROWS;
        int inside = row < (is_x ? p->T : p->E);
        c->rows[i] = (is_x ? p->x : p->gate) + (inside ? row : 0) * p->H;
        c->inside |= (u32)inside << i;
    }
}

DEVICE void copy_stage(copier *c, u32 stage, i32 H) {
    UNROLL for (int panel = 0; panel < PANELS; panel++) {
        u32 inside = c->col < H ? c->inside : 0;
        UNROLL for (int i = 0; i < COPIES; i++) {
            u32 to = stage + (u32)(panel * STAGE_BYTES + i * COPY_STRIDE * STEP * 2) + c->to;
            if ((i + 1) * COPY_STRIDE <= TILE_ROWS || c->first + i * COPY_STRIDE < TILE_ROWS)
                cp_async_16(to, c->rows[i] + c->col, inside >> i & 1 ? 16 : 0);
        }
        c->col += STEP;
    }
}

/* This group's half of a stage's columns. */
DEVICE void multiply_half(float acc[FRAGMENTS_M][FRAGMENTS_N][4], u32 stage, int group, int warp_row,
                          int warp_col, int lane) {
    u32 panel = stage + (PANELS == 1 ? 0 : (u32)group * STAGE_BYTES);
    int k = PANELS == 1 ? group * (STEP / 2) : 0;
    multiply_part(acc, panel, panel + A_TILE_BYTES, warp_row, warp_col, lane, k,
                  PANELS == 1 ? STEP / 2 : STEP);
}

/* The logits in shared memory: the second group's sums, and the first one's added to them. */
DEVICE void add_logits(float acc[FRAGMENTS_M][FRAGMENTS_N][4], float *logits, int group, int warp_row,
                       int warp_col, int lane) {
    UNROLL for (int turn = 1; turn >= 0; turn--) {
        block_sync(); /* of the ring, which was here, and of the other group's */
        if (group != turn) continue;
        UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
            UNROLL for (int j = 0; j < FRAGMENTS_N; j++) {
                UNROLL for (int v = 0; v < 4; v++) {
                    int r = warp_row + i * 16 + lane / 4 + v / 2 * 8;
                    float *at = logits + r * LOGITS_STRIDE + warp_col + j * 8 + lane % 4 * 2 + v % 2;
                    *at = turn ? acc[i][j][v] : add_f32(*at, acc[i][j][v]);
                }
            }
        }
    }
    block_sync();
}

KERNEL(router, router_params, ALL_THREADS, 1) {
    SHARED_MEMORY(smem);
    u32 ring = smem_addr(smem), end = ring + NUM_STAGES * PANELS * STAGE_BYTES;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32 % NUM_WARPS;
    int group = (int)threadIdx.x / NUM_THREADS;
    int warp_row = warp % WARPS_ROWS * WARP_ROWS, warp_col = warp / WARPS_ROWS * WARP_COLS;
    i64 row = blockIdx.x * (i64)ROWS;
    i32 stages = (p.H + PANELS * STEP - 1) / (PANELS * STEP);
    float acc[FRAGMENTS_M][FRAGMENTS_N][4];
    copier c;
    UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
        UNROLL for (int j = 0; j < FRAGMENTS_N; j++) {
            UNROLL for (int v = 0; v < 4; v++) acc[i][j][v] = 0.0f;
        }
    }

    copier_begin(&c, &p, row);
    grid_wait();
    u32 fill = ring, use = ring;
    for (i32 s = 0; s < NUM_STAGES - 1; s++, fill += PANELS * STAGE_BYTES) {
        if (s < stages) copy_stage(&c, fill, p.H);
        cp_async_commit();
    }
    for (i32 s = 0; s < stages; s++) {
        cp_async_wait(NUM_STAGES - 2);
        block_sync(); /* this stage has landed for all threads, and all are done with the one before it */
        if (s + NUM_STAGES - 1 < stages) copy_stage(&c, fill, p.H);
        cp_async_commit();
        multiply_half(acc, use, group, warp_row, warp_col, lane);
        fill = use;
        use += PANELS * STAGE_BYTES;
        if (use == end) use = ring;
    }

    float *logits = (float *)smem;
    i32 *counts = (i32 *)(smem + LOGITS_BYTES);
    add_logits(acc, logits, group, warp_row, warp_col, lane);
    choose_experts(&p, row, logits, counts);
    block_sync();
    for (i32 e = (i32)threadIdx.x; e < p.padded_E; e += ALL_THREADS) {
        i32 sum = 0;
        UNROLL for (int w = 0; w < ALL_WARPS; w++) sum += counts[w * COLS + e];
        p.histogram[blockIdx.x * (i64)p.padded_E + e] = sum;
    }
}
