/* output.h: from a sum to an output value: rounded, multiplied by the routing weight, rounded. */
#ifndef GG_OUTPUT_H
#define GG_OUTPUT_H

#include "scheduler.h"

/* The weight of row `row` of expert order, rounded to the dtype as the values are; 1 without fuse_mul_post. */
DEVICE float row_weight(const gemm_params *p, const output_tile *tile, i64 row) {
    if (!FUSE_MUL_POST || row >= tile->row_limit) return 1.0f;
    return float_from_dtype(round_to_dtype(p->topk_weights[gathered_row(p, GATHER_SLOT, row)]));
}

DEVICE u32 output_value(float sum, float weight) {
    u16 y = round_to_dtype(sum);
    return FUSE_MUL_POST ? round_to_dtype(mul_f32(float_from_dtype(y), weight)) : y;
}

#endif
