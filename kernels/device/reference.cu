/* reference.cu: the naive grouped GEMM that anyone can check by eye: one thread computes one output element
 * at a time. */
#include "tile.h"

KERNEL(grouped_gemm, gemm_params, 256, 1) {
    grid_wait();
    i64 rows = OP == OP_DW ? (i64)p.E * p.N : p.M, cols = OP == OP_FORWARD ? p.N : p.K;
    i32 expert = 0;
    i64 begin = 0; /* the expert's first row in expert order; elements come in ascending order of expert */
    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < rows * cols; i += gridDim.x * 256ll) {
        i64 row = i / cols, col = i % cols;
        while (OP == OP_DW ? expert < row / p.N : row >= begin + p.m_sizes[expert])
            begin += p.m_sizes[expert++];

        float sum = 0.0f;
        if (OP == OP_DW) {
            i64 n = row % p.N;
            for (i64 m = begin; m < begin + p.m_sizes[expert]; m++)
                sum = fma_f32(float_from_dtype(p.a[gathered_row(&p, DY_GATHER, m) * p.N + n]),
                              float_from_dtype(p.b[gathered_row(&p, X_GATHER, m) * p.K + col]), sum);
        } else {
            i64 reduction = OP == OP_FORWARD ? p.K : p.N;
            const u16 *a = p.a + gathered_row(&p, A_GATHER, row) * reduction;
            const u16 *w = p.b + (i64)expert * p.N * p.K;
            for (i64 r = 0; r < reduction; r++)
                sum = fma_f32(float_from_dtype(a[r]),
                              float_from_dtype(OP == OP_FORWARD ? w[col * p.K + r] : w[r * p.K + col]), sum);
        }
        u16 value = round_to_dtype(sum);
        if (FUSE_MUL_POST)
            value = round_to_dtype(mul_f32(
                float_from_dtype(value),
                float_from_dtype(round_to_dtype(p.topk_weights[gathered_row(&p, GATHER_SLOT, row)]))));
        p.out[gathered_row(&p, OUT_GATHER, row) * cols + col] = value;
    }
}
