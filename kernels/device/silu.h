/* silu.h: exp, sigmoid and the activation silu(gate) * up. Each operation is rounded by itself, so that the same bits come
 * out in the kernel of its own, in a GEMM's epilogue and in backward, which finds the activation that forward made. */
#ifndef GG_SILU_H
#define GG_SILU_H

#include "intrinsics.h"

/* exp and 1 / (1 + exp(-x)); relative error at most (|x| + 4) 2^-23 where neither over- nor underflows */
DEVICE float exp_f32(float x) { return exp2_approx(mul_f32(x, 1.44269504f)); }
DEVICE float sigmoid_f32(float x) { return reciprocal_approx(add_f32(1.0f, exp_f32(-x))); }

DEVICE float silu_f32(float gate, float sigmoid) { return mul_f32(gate, sigmoid); }
DEVICE float activate(float silu, float up) { return mul_f32(silu, up); }
/* To be rounded to the dtype. */
DEVICE float activation_f32(float gate, float up) { return activate(silu_f32(gate, sigmoid_f32(gate)), up); }

#endif
