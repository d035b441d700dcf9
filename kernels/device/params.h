/* params.h: the parameter structs passed by value to the kernels; shared by host and device. */
#ifndef GG_PARAMS_H
#define GG_PARAMS_H

#ifndef GG_DEVICE_CODE /* intrinsics.h has defined these for device code */
#include <stdint.h>
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;
typedef struct tensor_map {
    u64 opaque[16];
} __attribute__((aligned(64))) tensor_map;
#endif

/* A map of ragged rows cuts a box at any row. Of a matrix whose rows are `pitch` bytes long it has the dimensions (columns, RAGGED_ROWS,
 * RAGGED_BACK + rows, RAGGED_BACK + 1) with the strides pitch, pitch and 2^64 / RAGGED_BACK - pitch. A box of RAGGED_ROWS rows at
 * (column, skipped, RAGGED_BACK + row - skipped, RAGGED_BACK) begins at row `row`, since addresses wrap at 2^64, and
 * RAGGED_ROWS - skipped rows of it are inside. The last dimension does no more than go back: a map that begins before the matrix
 * instead is an illegal access, where a box is outside in its columns. */
#define RAGGED_ROWS 64
#define RAGGED_BACK (1 << 25) /* as few as can be: a stride is below 2^40 */

/* One grouped GEMM. Operand a supplies the rows of the output tile, b its columns:
 *   forward a = x, b = w, out = y;   dX a = dy, b = w, out = dx;   dW a = dy, b = x, out = dw */
typedef struct gemm_params {
    tensor_map map_a, map_b, map_out, map_first; /* used where the config says TMA */
    tensor_map map_a_short, map_b_short;         /* of wgmma: the same with short boxes */
    const u16 *a, *b;
    u16 *out;                  /* with SILU the activation, (M, N / 2) */
    u16 *first;                /* (M, N), gate, then up, with SILU 2 */
    const i32 *m_sizes;        /* (E) */
    const i32 *gather_indices; /* (M) or NULL */
    const float *topk_weights; /* (M) slot order or NULL */
    u32 *drawn;                /* of wgmma: tiles drawn from it so far; 0 before and after a launch */
    i32 E, N, K;
    u32 topk_reciprocal, topk_shift; /* slot / topk is slot * topk_reciprocal >> topk_shift */
    i64 M;
} gemm_params;

/* dx_tokens[t,:] = round(sum of topk consecutive rows of dx_slots); count = T * K / 8 chunks */
typedef struct reduce_params {
    const u16 *dx_slots;
    u16 *dx_tokens;
    i64 T;
    i32 topk, K;
} reduce_params;

/* out[i,:] = in[gather_indices[i] / topk,:], i < M */
#define COPY_TURN 4 /* rows that a thread copies at a time */
typedef struct copy_rows_params {
    const u16 *in; /* (M / topk, cols) */
    u16 *out;      /* (M, cols) */
    const i32 *gather_indices;
    i64 M;
    i32 cols, topk;
} copy_rows_params;

#endif
