/* wgmma_tile.h: compile-time facts of a wgmma kernel beside those of tile.h.
 *
 * The instruction multiplies p (64 rows a warpgroup) with q (up to 256 columns, in steps). In forward and dX the weights
 * are p and the tokens q, so that a few tokens cost a narrow instruction instead of a padded tile; the product is the
 * output transposed. In dW p is dy and q is x, both down the expert's rows.
 *            p                        q
 *   forward  w[e] COLS x STEP         x   ROWS x STEP
 *   dX       w[e] STEP x COLS         dy  ROWS x STEP
 *   dW       dy   STEP x ROWS         x   STEP x COLS
 * Macros beside those of tile.h: NUM_WARPS counts the consumers' warps. STEP is 64, the width of a 128-byte swizzle. */
#ifndef GG_WGMMA_TILE_H
#define GG_WGMMA_TILE_H

#include "loads.h"

#define TOKENS_ARE_Q (OP != OP_DW)
#if OP == OP_FORWARD
#define P_MN_MAJOR 0
#define Q_MN_MAJOR 0
#elif OP == OP_DX
#define P_MN_MAJOR 1
#define Q_MN_MAJOR 0
#else
#define P_MN_MAJOR 1
#define Q_MN_MAJOR 1
#endif
#if DTYPE == 0
#define WGMMA_TYPE bf16
#else
#define WGMMA_TYPE f16
#endif

#define P_SIZE (TOKENS_ARE_Q ? COLS : ROWS)
#define Q_SIZE (TOKENS_ARE_Q ? ROWS : COLS)
#define P_OFFSET (TOKENS_ARE_Q ? A_TILE_BYTES : 0) /* in a stage; a comes first as in mma_sync.cu */
#define Q_OFFSET (TOKENS_ARE_Q ? 0 : A_TILE_BYTES)

#define GROUP_THREADS 128
#define CONSUMERS (NUM_WARPS / 4) /* warpgroups that multiply */
#define CONSUMER_THREADS (CONSUMERS * GROUP_THREADS)
#define M_TILES (P_SIZE / (64 * CONSUMERS)) /* m64 tiles of a consumer */
#define ACC (Q_SIZE / 2)                    /* accumulators of one of them, a thread */
#define BOX_ROWS 64                         /* rows of every TMA box */

/* The ring, then for each consumer two staged pieces of the output (64 x 64), then the barriers. */
#define PIECE_BYTES (64 * 64 * 2)
#define STAGED_OFFSET RING_BYTES
#define FULL_OFFSET (STAGED_OFFSET + CONSUMERS * 2 * PIECE_BYTES)
#define EMPTY_OFFSET (FULL_OFFSET + NUM_STAGES * 8)

/* Named barriers: one among all consumers, one for each of them. */
#define BARRIER_CONSUMERS 1
#define BARRIER_GROUP 2

#define CP_ASYNC_A (!TMA_A)
#define CP_ASYNC_B (!TMA_B)
#define CP_ASYNC_LOADS (CP_ASYNC_A || CP_ASYNC_B)
/* Registers after the roles part, with two consumers: 504 of the 512 a warp quarter has. The producer needs more when it
 * gathers: row numbers and addresses. */
#define PRODUCER_REGISTERS (CP_ASYNC_LOADS ? 72 : 40)
#define CONSUMER_REGISTERS (CP_ASYNC_LOADS ? 216 : 232)

DEVICE int min_i64(i64 a, int b) { return a < b ? (int)a : b; }

/* Rows of tokens in this tile (forward, dX), or columns inside the tensor (dW): what q needs to be wide. */
DEVICE int q_width(const gemm_params *p, const output_tile *tile) {
    return TOKENS_ARE_Q ? min_i64(tile->row_limit - tile->row, ROWS) : min_i64(p->K - tile->col, COLS);
}

DEVICE i64 tile_steps(const gemm_params *p, const output_tile *tile) {
    i64 reduction = OP == OP_FORWARD ? p->K : OP == OP_DX ? p->N : tile->row_end - tile->row_begin;
    return (reduction + STEP - 1) / STEP;
}

#endif
