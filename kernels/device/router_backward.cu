/* router_backward.cu: the gradient of the logits from that of the routing weights; a warp a token. And where the
 * weights multiplied the input (Llama-4), their gradient: a dot product of rows; a warp a slot.
 * SCORE as in router.cu. Rounding a weight to the dtype passes its gradient through. */
#include "moe_ops.h"

#ifndef SCORE
#define SCORE 1
#endif
#define MAX_E 256
#define LANE_EXPERTS (MAX_E / 32)

KERNEL(router_backward, router_backward_params, ROW_OP_THREADS, 4) {
    grid_wait();
    int lane = (int)threadIdx.x % 32;
    i64 warps = gridDim.x * (ROW_OP_THREADS / 32ll);
    for (i64 token = (blockIdx.x * (i64)ROW_OP_THREADS + threadIdx.x) / 32; token < p.T; token += warps) {
        const float *logits = p.logits + token * p.E;
        /* a choice a lane, handed round to the lane that has its expert */
        int has_choice = lane < p.topk;
        i32 id = has_choice ? p.topk_ids[token * p.topk + lane] : 0;
        float d_weight = has_choice ? p.d_weights[token * p.topk + lane] : 0.0f;
        float logit[LANE_EXPERTS], score[LANE_EXPERTS], d[LANE_EXPERTS], sum = 0.0f, dot = 0.0f;
        u32 chosen = 0; /* bit i: this lane's i-th expert */
        UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
            logit[i] = i * 32 + lane < p.E ? logits[i * 32 + lane] : 0.0f;
            score[i] = d[i] = 0.0f;
        }
        float largest = logits[shuffle((u32)id, 0)];
        for (i32 j = 0; j < p.topk; j++) {
            i32 expert = (i32)shuffle((u32)id, j);
            float value = float_from_bits(shuffle(bits_from_float(d_weight), j));
            UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
                if (expert != i * 32 + lane) continue;
                d[i] = value;
                chosen |= 1u << i;
            }
        }
        UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
            if (i * 32 + lane >= p.E) continue;
            if (SCORE == 0 || chosen >> i & 1)
                score[i] = SCORE == 2 ? sigmoid_f32(logit[i]) : exp_f32(logit[i] - largest);
            sum = add_f32(sum, score[i]);
            dot = fma_f32(score[i], d[i], dot);
        }
        sum = warp_sum(sum);
        dot = warp_sum(dot) / sum; /* softmax: sum of p dp */
        UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
            int e = i * 32 + lane;
            float d_logit = SCORE == 2 ? d[i] * score[i] * (1.0f - score[i]) : score[i] / sum * (d[i] - dot);
            if (e < p.padded_E) p.d_logits[token * p.padded_E + e] = round_to_dtype(d_logit);
        }
    }
}

KERNEL(row_dot, row_dot_params, ROW_OP_THREADS, 4) {
    grid_wait();
    int lane = (int)threadIdx.x % 32;
    i64 warps = gridDim.x * (ROW_OP_THREADS / 32ll), M = p.T * p.topk;
    for (i64 slot = (blockIdx.x * (i64)ROW_OP_THREADS + threadIdx.x) / 32; slot < M; slot += warps) {
        const u16 *row = p.rows + (i64)p.positions[slot] * p.cols, *x = p.x + slot / p.topk * p.cols;
        float dot = 0.0f;
        UNROLL for (i32 col = lane * 8; col < p.cols; col += 32 * 8) {
            values8 a = load8(row + col), b = load8(x + col);
            UNROLL for (int i = 0; i < 8; i++) dot = fma_f32(a.v[i], b.v[i], dot);
        }
        dot = warp_sum(dot);
        if (lane == 0) p.d_weights[slot] = dot;
    }
}
