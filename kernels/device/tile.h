/* tile.h: compile-time facts of one specialised kernel, from the macros of its plan: who multiplies what,
 * tile sizes, shared-memory layout.
 *
 * Macros: OP (0 forward, 1 dX, 2 dW), DTYPE (0 bf16, 1 fp16), BLOCK_SIZE_M/N/K, NUM_WARPS, WARPS_ROWS,
 * NUM_STAGES, PERMUTE_X, PERMUTE_Y, FUSE_MUL_POST, TMA_A, TMA_B, TMA_STORE, each 0 or 1. SILU, of wgmma's forward alone: 1 the
 * epilogue makes the activation of gate and up, 2 and stores these too; else 0.
 *
 *            out (ROWS x COLS tile)      a                     b                       STEP (reduction)
 *   forward  y   BLOCK_M x BLOCK_N       x   ROWS x STEP       w[e] COLS x STEP        K
 *   dX       dx  BLOCK_M x BLOCK_K       dy  ROWS x STEP       w[e] STEP x COLS        N
 *   dW       dw  BLOCK_N x BLOCK_K       dy  STEP x ROWS       x    STEP x COLS        rows of the expert */
#ifndef GG_TILE_H
#define GG_TILE_H

#include "dtype.h"
#include "params.h"

#define OP_FORWARD 0
#define OP_DX 1
#define OP_DW 2

#ifndef SILU
#define SILU 0
#endif

#if OP == OP_FORWARD
#define ROWS BLOCK_SIZE_M
#define COLS BLOCK_SIZE_N
#define STEP BLOCK_SIZE_K
#elif OP == OP_DX
#define ROWS BLOCK_SIZE_M
#define COLS BLOCK_SIZE_K
#define STEP BLOCK_SIZE_N
#else
#define ROWS BLOCK_SIZE_N
#define COLS BLOCK_SIZE_K
#define STEP BLOCK_SIZE_M
#endif

#define NUM_THREADS (NUM_WARPS * 32)
#define WARPS_COLS (NUM_WARPS / WARPS_ROWS)
#define WARP_ROWS (ROWS / WARPS_ROWS) /* output rows of one warp, a multiple of 16 */
#define WARP_COLS (COLS / WARPS_COLS) /* output columns of one warp, a multiple of 16 */

/* Which operands have the reduction as their rows, so that fragments are loaded transposed. */
#define A_TRANSPOSED (OP == OP_DW)
#define B_TRANSPOSED (OP != OP_FORWARD)
/* Shapes of the operands' shared-memory tiles. */
#define A_TILE_ROWS (A_TRANSPOSED ? STEP : ROWS)
#define A_TILE_COLS (A_TRANSPOSED ? ROWS : STEP)
#define B_TILE_ROWS (B_TRANSPOSED ? STEP : COLS)
#define B_TILE_COLS (B_TRANSPOSED ? COLS : STEP)

/* Which row of the tensor supplies row i of expert order: GATHER_NONE i, GATHER_SLOT gather_indices[i],
 * GATHER_TOKEN gather_indices[i] / topk. */
#define GATHER_NONE 0
#define GATHER_SLOT 1
#define GATHER_TOKEN 2
#define X_GATHER (PERMUTE_X ? GATHER_TOKEN : GATHER_NONE)
#define DY_GATHER (PERMUTE_Y ? GATHER_SLOT : GATHER_NONE)
#define A_GATHER (OP == OP_FORWARD ? X_GATHER : DY_GATHER)
#define B_GATHER (OP == OP_DW ? X_GATHER : GATHER_NONE)
#define OUT_GATHER ((OP == OP_FORWARD && PERMUTE_Y) || (OP == OP_DX && PERMUTE_X) ? GATHER_SLOT : GATHER_NONE)

/* A shared-memory tile is a row of panels of up to 64 columns, so that a panel's row is at most the 128 bytes
 * that TMA swizzles over; cp.async writes the same layout. The 16-byte chunks of a row are permuted by its
 * number, which keeps ldmatrix and the epilogue free of bank conflicts. Panels are multiples of 1024 bytes,
 * the alignment TMA asks. */
#define PANEL_COLS(cols) ((cols) < 64 ? (cols) : 64)
DEVICE u32 tile_offset(int rows, int cols, int row, int chunk) {
    int chunks = PANEL_COLS(cols) / 8, panel = chunk / chunks, in_panel = chunk % chunks;
    int swizzle = chunks == 8 ? row & 7 : (row >> 1) & 3;
    return (u32)(panel * rows * chunks * 16 + row * chunks * 16 + ((in_panel ^ swizzle) << 4));
}

#define A_TILE_BYTES (A_TILE_ROWS * A_TILE_COLS * 2)
#define B_TILE_BYTES (B_TILE_ROWS * B_TILE_COLS * 2)
#define STAGE_BYTES (A_TILE_BYTES + B_TILE_BYTES)
#define RING_BYTES (NUM_STAGES * STAGE_BYTES)
#define OUT_TILE_BYTES (ROWS * COLS * 2) /* staged in the ring's memory once the tile's products are done */
#define BARRIER_OFFSET (RING_BYTES > OUT_TILE_BYTES ? RING_BYTES : OUT_TILE_BYTES)

#define USES_TMA_LOADS (TMA_A || TMA_B)

/* Row of a tensor that goes with row i of expert order, in two parts, so that the look-up can be made ahead. */
DEVICE i64 look_up(const gemm_params *p, int gather, i64 i) {
    if (gather == GATHER_NONE) return i;
    i32 slot = p->gather_indices[i];
#ifdef GG_DEBUG
    if (slot < 0 || slot >= p->M) device_trap();
#endif
    return slot;
}
DEVICE i64 row_of(const gemm_params *p, int gather, i64 looked_up) {
    if (gather != GATHER_TOKEN) return looked_up;
    return (i64)((u64)(u32)looked_up * p->topk_reciprocal >> p->topk_shift);
}
DEVICE i64 gathered_row(const gemm_params *p, int gather, i64 i) {
    return row_of(p, gather, look_up(p, gather, i));
}

#endif
