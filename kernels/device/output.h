/* output.h: from sums to output values: rounded, and with fuse_mul_post multiplied by the routing weight and rounded again. */
#ifndef GG_OUTPUT_H
#define GG_OUTPUT_H

#include "scheduler.h"

/* Two sums to output values, neighbours in a row or a column. */
DEVICE u32 output_pair(float low, float high) { return round_pair(low, high); }

/* The weight of a slot, rounded to the dtype as the values are. */
DEVICE float slot_weight(const gemm_params *p, i64 slot) {
    return float_from_dtype(round_to_dtype(p->topk_weights[slot]));
}

DEVICE u32 weighted_pair(u32 pair, float weight) {
    return round_pair(mul_f32(float_from_dtype((u16)(pair & 0xffff)), weight),
                      mul_f32(float_from_dtype((u16)(pair >> 16)), weight));
}

/* Eight rounded values of the row of `slot` times its weight. */
DEVICE u32x4 weighted(u32x4 v, float weight) {
    u32x4 product = {weighted_pair(v.x, weight), weighted_pair(v.y, weight), weighted_pair(v.z, weight),
                     weighted_pair(v.w, weight)};
    return product;
}

#endif
