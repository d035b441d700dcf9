/* merge.cu: a token's output is the weighted sum of its topk rows, wherever they lie, plus what else is added (shared
 * expert, gradient through the router): fp32, in slot order, rounded once. Without weights it is also the reduction of
 * dX over top-k. */
#include "moe_ops.h"

#ifndef TOPK
#define TOPK 8
#endif

DEVICE void add8(values8 *sum, float weight, u32x4 bits) {
    values8 row = unpack8(bits);
    UNROLL for (int i = 0; i < 8; i++) sum->v[i] = fma_f32(weight, row.v[i], sum->v[i]);
}

KERNEL(merge, merge_params, ROW_OP_THREADS, 4) {
    grid_wait();
    for (chunk_walk at = chunk_walk_begin(p.T, p.cols); at.row < at.rows; chunk_walk_next(&at)) {
        i64 offset = at.chunk * 8, slot = at.row * TOPK, to = at.row * p.cols + offset;
        float weight[TOPK];
        u32x4 rows[TOPK]; /* all on the way before the first is used */
        UNROLL for (int j = 0; j < TOPK; j++) {
            i64 row = p.positions ? p.positions[slot + j] : slot + j;
            weight[j] = p.weights ? p.weights[slot + j] : 1.0f;
            rows[j] = load_16(p.rows + row * p.cols + offset);
        }
        values8 sum = {{0, 0, 0, 0, 0, 0, 0, 0}};
        UNROLL for (int j = 0; j < TOPK; j++) add8(&sum, weight[j], rows[j]);
        UNROLL for (int i = 0; i < 2; i++) if (p.addends[i]) add8(&sum, 1.0f, load_16(p.addends[i] + to));
        store_16(p.out + to, pack8(sum));
    }
}
