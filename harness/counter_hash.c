/* counter_hash.c: the random numbers of the corpus: element i depends on the tensor's seed and on i alone. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

#define STEP 0x9E3779B97F4A7C15u /* 2^64 divided by the golden ratio */

uint64_t mg_splitmix64(uint64_t x) {
    uint64_t z = x + STEP;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint64_t mg_name_hash(const char *text) {
    uint64_t value = 0xCBF29CE484222325u;
    for (; *text; text++) value = (value ^ (unsigned char)*text) * 0x100000001B3u;
    return value;
}

uint64_t mg_tensor_seed(const mg_problem *problem, mg_class cls, const char *tensor, uint64_t user_seed) {
    char name[MG_KEY_SIZE + 64];
    snprintf(name, sizeof name, "%s/%s/%s", problem->key, mg_class_name(cls), tensor);
    return mg_name_hash(name) ^ (user_seed ? mg_splitmix64(user_seed) : 0);
}

uint64_t mg_hash_key(mg_hash_output output) { return mg_name_hash(mg_hash_output_name(output)); }

static float power_of_two(int exponent) {
    float value = 1;
    for (; exponent > 0; exponent--) value *= 2;
    for (; exponent < 0; exponent++) value /= 2;
    return value;
}

void mg_fill_integers(uint64_t seed, int bits, int scale_log2, gg_dtype dtype, uint64_t start, size_t count,
                      uint16_t *out) {
    const int largest = (1 << bits) - 1;
    uint16_t patterns[256]; /* of every byte a hash can give */
    for (int byte = 0; byte < 256; byte++)
        patterns[byte] =
            mg_bits_from_float(dtype, (float)(2 * (byte & largest) - largest) * power_of_two(scale_log2));
    uint64_t counter = seed + (start >> 3) * STEP;
    for (size_t i = 0; i < count; counter += STEP) {
        uint64_t hash = mg_splitmix64(counter);
        if (count - i >= 8) {
            for (int byte = 0; byte < 8; byte++) out[i + (size_t)byte] = patterns[hash >> 8 * byte & 255];
            i += 8;
        } else {
            for (; i < count; hash >>= 8) out[i++] = patterns[hash & 255];
        }
    }
}

void mg_fill_real(uint64_t seed, int scale_log2, gg_dtype dtype, uint64_t start, size_t count,
                  uint16_t *out) {
    const float scale = power_of_two(scale_log2);
    for (size_t i = 0; i < count; i++) {
        uint64_t h = mg_splitmix64(seed + (start + i) * STEP);
        int sum = (int)(h & 0xffff) + (int)(h >> 16 & 0xffff) + (int)(h >> 32 & 0xffff) + (int)(h >> 48);
        out[i] = mg_bits_from_float(dtype, (float)(sum - 131070) * scale); /* 4 fields of mean 32767.5 */
    }
}

void mg_fill_weights(uint64_t seed, uint64_t start, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        uint64_t h = mg_splitmix64(seed + (start + i) * STEP);
        out[i] = (float)((1u << 23) + (uint32_t)(h & ((1u << 23) - 1))) * 0x1p-24f;
    }
}

mg_draw mg_tensor_draw(const mg_problem *problem, mg_class cls, const char *tensor, uint64_t user_seed) {
    mg_draw draw = {.seed = mg_tensor_seed(problem, cls, tensor, user_seed)};
    switch (cls) {
    case MG_UNIT: draw.bits = 1; break;
    case MG_REAL: draw.scale_log2 = strcmp(tensor, "dy") ? -18 : -15; break;
    default: { /* exact: the widest integers whose sums of products stay below 2^24 in forward, dX and dW
                  alike */
        int64_t reduction = problem->K > problem->N ? problem->K : problem->N;
        if (problem->M > reduction) reduction = problem->M;
        if (reduction < 1) reduction = 1;
        draw.scale_log2 = -4;
        for (draw.bits = 8; draw.bits > 1; draw.bits--) {
            int64_t largest = (1 << draw.bits) - 1;
            if (reduction * largest * largest < 1 << 24) break;
        }
    }
    }
    return draw;
}
