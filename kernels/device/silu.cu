/* silu.cu: silu(gate) * up, and its backward, which also weights the rows and finds the weights' gradients.
 *
 * The merge over top-k multiplies a row of the second GEMM by its weight w. Its gradient reaches d_activation as
 * w * (dout * W2): the GEMM gathers the rows of dout as they are and w is applied here, so weighted rows of dout are
 * never written. The weight's own gradient, the dot product of dout with the second GEMM's row, equals that of
 * (dout * W2) with the activation, three times shorter; and dW2 = sum of (w dout)^T a = sum of dout^T (w a), so w a is
 * what is kept for it. */
#include "moe_ops.h"

KERNEL(silu_and_mul, silu_params, ROW_OP_THREADS, 6) {
    grid_wait();
    for (chunk_walk at = chunk_walk_begin(p.rows, p.I); at.row < at.rows; chunk_walk_next(&at)) {
        const u16 *row = p.gate_up + at.row * 2 * p.I + at.chunk * 8;
        values8 gate = load8(row), up = load8(row + p.I), out;
        UNROLL for (int i = 0; i < 8; i++) out.v[i] = activation_f32(gate.v[i], up.v[i]);
        store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));
    }
}

/* Slot of a row, where rows are weighted; of a row past the last one 0. */
DEVICE i32 slot_of_row(const silu_backward_params *p, i64 row) {
    return p->weights && row < p->rows ? p->gather_indices[row] : 0;
}

/* A warp takes a row at a time; the next row's slot is looked up behind this one's values. */
KERNEL(silu_and_mul_backward, silu_backward_params, ROW_OP_THREADS, 4) {
    grid_wait();
    int lane = (int)threadIdx.x % 32;
    i64 warps = gridDim.x * (ROW_OP_THREADS / 32ll);
    i64 row = (blockIdx.x * (i64)ROW_OP_THREADS + threadIdx.x) / 32;
    for (i32 slot = slot_of_row(&p, row), next; row < p.rows; row += warps, slot = next) {
        next = slot_of_row(&p, row + warps);
        float weight = p.weights ? p.weights[slot] : 1.0f, dot = 0.0f;
        UNROLL for (i32 col = lane * 8; col < p.I; col += 32 * 8) {
            values8 gate = load8(p.gate_up + row * 2 * p.I + col);
            values8 up = load8(p.gate_up + row * 2 * p.I + p.I + col);
            values8 d = load8(p.d_activation + row * p.I + col), d_gate, d_up, activation;
            UNROLL for (int i = 0; i < 8; i++) {
                float s = sigmoid_f32(gate.v[i]), silu = silu_f32(gate.v[i], s);
                float a = float_from_dtype(round_to_dtype(activate(silu, up.v[i])));
                float weighted = weight * d.v[i];
                dot = fma_f32(d.v[i], a, dot);
                activation.v[i] = weight * a;
                d_up.v[i] = weighted * silu;
                /* silu' = s (1 + gate (1 - s)) */
                d_gate.v[i] = weighted * up.v[i] * (s + silu * (1.0f - s));
            }
            store_16(p.d_gate_up + row * 2 * p.I + col, pack8(d_gate));
            store_16(p.d_gate_up + row * 2 * p.I + p.I + col, pack8(d_up));
            store_16(p.activation + row * p.I + col, pack8(activation));
        }
        if (!p.weights) continue;
        dot = warp_sum(dot);
        if (lane == 0) p.d_weights[slot] = dot;
    }
}
