/* permute.cu: rows from token order to expert order, times their weights if there are any (Llama-4), rounded. A
 * token's row is read once and written topk times. */
#include "moe_ops.h"

#ifndef TOPK
#define TOPK 8
#endif

KERNEL(permute, permute_params, ROW_OP_THREADS, 4) {
    grid_wait();
    for (chunk_walk at = chunk_walk_begin(p.T, p.cols); at.row < at.rows; chunk_walk_next(&at)) {
        i64 offset = at.chunk * 8, slot = at.row * TOPK;
        u32x4 bits = load_16(p.in + at.row * p.cols + offset);
        i32 to[TOPK]; /* stores hold back what is looked up behind them */
        float weight[TOPK];
        UNROLL for (int j = 0; j < TOPK; j++) {
            to[j] = p.positions[slot + j];
            weight[j] = p.weights ? p.weights[slot + j] : 1.0f;
        }
        UNROLL for (int j = 0; j < TOPK; j++) {
            u32x4 out = bits;
            if (p.weights) {
                values8 values = unpack8(bits);
                UNROLL for (int i = 0; i < 8; i++) values.v[i] *= weight[j];
                out = pack8(values);
            }
            store_16(p.out + (i64)to[j] * p.cols + offset, out);
        }
    }
}
