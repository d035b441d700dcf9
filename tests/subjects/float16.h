/* float16.h: bf16 and fp16 bit patterns to float and back, to nearest even, for subjects on the host. */
#ifndef FLOAT16_H
#define FLOAT16_H

#include <math.h>
#include <string.h>

#include "grouped_gemm.h"

static inline float float_from_bits(gg_dtype dtype, uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    if (dtype == GG_BF16) {
        memcpy(&value, &word, sizeof value);
        return value;
    }
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 31)
        value = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf((float)mantissa, -24);
    else
        value = ldexpf((float)(1024 + mantissa), exponent - 25);
    return bits & 0x8000 ? -value : value;
}

/* To a type with `mantissa` explicit bits and smallest normal exponent `least`, by rounding to its grid at
 * this size. */
static inline float to_grid(float value, int mantissa, int least) {
    if (value == 0 || !isfinite(value)) return value;
    int exponent;
    (void)frexpf(value, &exponent); /* |value| in [2^(exponent-1), 2^exponent) */
    int grid = (exponent - 1 < least ? least : exponent - 1) - mantissa;
    return (float)ldexp(nearbyint(ldexp(value, -grid)), grid);
}

static inline uint16_t bits_from_float(gg_dtype dtype, float value) {
    uint32_t word;
    if (dtype == GG_BF16) {
        value = to_grid(value, 7, -126);
        memcpy(&word, &value, sizeof word);
        return (uint16_t)(word >> 16 | (isnan(value) ? 0x40 : 0));
    }
    value = to_grid(value, 10, -14);
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    value = fabsf(value);
    if (isnan(value)) return 0x7e00;
    if (value > 65504) return sign | 0x7c00;
    if (value < 0x1p-14f) return sign | (uint16_t)ldexpf(value, 24);
    int exponent;
    float fraction = frexpf(value, &exponent);
    return sign | (uint16_t)((exponent + 14) << 10 | ((int)ldexpf(fraction, 11) & 1023));
}

/* fuse_mul_post: the output is rounded before it is weighted, and the weight before it is used. */
static inline uint16_t weighted_bits(gg_dtype dtype, float value, float weight) {
    weight = float_from_bits(dtype, bits_from_float(dtype, weight));
    return bits_from_float(dtype, float_from_bits(dtype, bits_from_float(dtype, value)) * weight);
}

#endif
