/* rounding.c: bf16 and fp16 patterns from and to float and double, by integer arithmetic, to nearest even. */
#include "golden.h"

#include <string.h>

/* Layout of a 16-bit type: significand bits stored, exponent bias. */
static const struct format {
    int stored, bias;
} formats[GG_NUM_DTYPES] = {[GG_BF16] = {7, 127}, [GG_FP16] = {10, 15}};

static uint64_t shift_to_nearest_even(uint64_t value, int shift) {
    uint64_t half = (uint64_t)1 << (shift - 1);
    return (value + half - 1 + ((value >> shift) & 1)) >> shift;
}

uint16_t mg_bits_from_double(gg_dtype dtype, double value) {
    const struct format *f = &formats[dtype];
    const uint64_t infinity64 = (uint64_t)0x7ff << 52;
    const uint64_t infinity = 0x7fff >> f->stored << f->stored;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 63 << 15);
    uint64_t magnitude = bits << 1 >> 1;
    if (magnitude > infinity64) return (uint16_t)(sign | infinity | 1u << (f->stored - 1)); /* quiet NaN */

    int exponent = (int)(magnitude >> 52) - 1023, smallest = 1 - f->bias;
    uint64_t rounded;
    if (exponent >= smallest) { /* a carry out of the significand moves into the exponent, up to infinity */
        rounded = shift_to_nearest_even(magnitude - ((uint64_t)(1023 - f->bias) << 52), 52 - f->stored);
        if (rounded > infinity) rounded = infinity;
    } else { /* subnormal: the grid is fixed at 2^(smallest - stored) */
        int shift = smallest - exponent + 52 - f->stored;
        uint64_t significand = (magnitude & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
        rounded = shift > 54 ? 0 : shift_to_nearest_even(significand, shift);
    }
    return (uint16_t)(sign | rounded);
}

uint16_t mg_bits_from_float(gg_dtype dtype, float value) {
    if (dtype != GG_BF16 || value != value) return mg_bits_from_double(dtype, value);
    uint32_t bits; /* the common case, quickly: bf16 is the upper half of float */
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float mg_float_from_bits(gg_dtype dtype, uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    if (dtype == GG_FP16) {
        uint32_t sign = word & 0x80000000u, magnitude = bits & 0x7fffu;
        if (magnitude < 0x400) { /* zero and subnormals: multiples of 2^-24 */
            float value = (float)magnitude * 0x1p-24f;
            return sign ? -value : value;
        }
        uint32_t rebias =
            magnitude >= 0x7c00 ? 224u << 23 : 112u << 23; /* infinity and NaN keep exponent 255 */
        word = sign | ((magnitude << 13) + rebias);
    }
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}
