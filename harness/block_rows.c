/* block_rows.c: plain loops, which the compiler makes into vector code for what the machine has. */
#include "block_rows.h"

#include <math.h>
#include <string.h>

#if defined __x86_64__ && defined __GNUC__ && !defined __clang__ && !defined __SANITIZE_ADDRESS__
#define FOR_EVERY_MACHINE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_MACHINE
#endif

#define STEP 0x9E3779B97F4A7C15u /* as in counter_hash.c */

/* mg_splitmix64 after its first addition */
static inline uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

FOR_EVERY_MACHINE void mg_rows_draw(const mg_draw *draw, uint64_t start, int64_t count, float *out) {
    enum { HASHES = 64, ELEMENTS = 8 * HASHES };
    const int largest = (1 << draw->bits) - 1;
    const float scale = ldexpf(1, draw->scale_log2);
    uint64_t hashes[HASHES];
    unsigned char bytes[ELEMENTS];
    for (int64_t begin = 0; begin < count; begin += ELEMENTS) {
        const int64_t left = count - begin, n = left < ELEMENTS ? left : ELEMENTS;
        const uint64_t counter = draw->seed + STEP + (start + (uint64_t)begin) / 8 * STEP;
        const int needed = (int)(n + 7) / 8;
        for (int i = 0; i < needed; i++) hashes[i] = mix(counter + (uint64_t)i * STEP);
        memcpy(bytes, hashes, (size_t)needed * 8); /* element i is byte i % 8 of its hash, the lowest first */
        for (int64_t i = 0; i < n; i++) out[begin + i] = (float)(2 * (bytes[i] & largest) - largest) * scale;
    }
}

FOR_EVERY_MACHINE void mg_rows_widen(gg_dtype dtype, const float *numbers, const uint16_t *bits,
                                     int64_t count, float *out) {
    if (dtype == GG_BF16) {
        for (int64_t i = 0; i < count; i++) {
            const uint32_t word = (uint32_t)bits[i] << 16;
            memcpy(&out[i], &word, sizeof word);
        }
        return;
    }
    for (int64_t i = 0; i < count; i++) out[i] = numbers[bits[i]];
}

/* Rows are beside each other in a vector, so that each sum is in order; they are odd integers until the end, because a power
 * of two may as well be multiplied with the sum. */
FOR_EVERY_MACHINE void mg_rows_dot_drawn(const mg_draw *draw, int64_t first, int64_t rows, int64_t cols,
                                         const float *x, double *value, double *size) {
    enum { LANES = 4, VECTORS = 4, TAKEN = LANES * VECTORS };
    typedef uint64_t words __attribute__((vector_size(LANES * 8)));
    typedef double numbers __attribute__((vector_size(LANES * 8)));
    const uint64_t largest = ((uint64_t)1 << draw->bits) - 1;
    const double scale = ldexp(1, draw->scale_log2);
    for (int64_t n = 0; n < rows; n += TAKEN) {
        const int64_t left = rows - n, used = left < TAKEN ? left : TAKEN;
        words counters[VECTORS];
        numbers sums[VECTORS] = {{0}}, sizes[VECTORS] = {{0}};
        for (int64_t i = 0; i < TAKEN; i++) /* those without a row repeat the last */
            counters[i / LANES][i % LANES] =
                draw->seed + STEP + (uint64_t)((first + n + (i < used ? i : used - 1)) * cols) / 8 * STEP;
        for (int64_t k = 0; k < cols; k += 8)
            for (int v = 0; v < VECTORS; v++) {
                words z = counters[v];
                counters[v] += STEP;
                z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
                z = (z ^ z >> 27) * 0x94D049BB133111EBu;
                z ^= z >> 31;
                for (int byte = 0; byte < 8; byte++, z >>= 8) {
                    /* 2^52 + 2 m is a double whose last bits are 2 m; m is the byte's, and w = 2 m - largest */
                    const words bits = (z & largest) << 1 | 0x4330000000000000u;
                    const numbers w = (numbers)bits - (0x1p52 + (double)largest);
                    const numbers magnitude = (numbers)((words)w & 0x7fffffffffffffffu);
                    const double factor = (double)x[k + byte];
                    sums[v] += factor * w;
                    sizes[v] += fabs(factor) * magnitude;
                }
            }
        for (int64_t i = 0; i < used; i++) {
            value[n + i] = sums[i / LANES][i % LANES] * scale;
            size[n + i] = sizes[i / LANES][i % LANES] * scale;
        }
    }
}

void mg_rows_dot(const float *x, const float *w, int64_t cols, double *value, double *size) {
    double sum = 0, total = 0;
    for (int64_t k = 0; k < cols; k++) {
        const double product = (double)x[k] * (double)w[k];
        sum += product;
        total += fabs(product);
    }
    *value = sum;
    *size = total;
}

FOR_EVERY_MACHINE void mg_rows_add(double factor, const float *restrict row, int64_t cols,
                                   double *restrict value, double *restrict size) {
    for (int64_t k = 0; k < cols; k++) {
        const double product = factor * (double)row[k];
        value[k] += product;
        size[k] += fabs(product);
    }
}

FOR_EVERY_MACHINE void mg_rows_exp(double *x, int64_t count) {
    enum { TERMS = 14 };
    for (int64_t k = 0; k < count; k++) {
        const double above = x[k] > -700 ? x[k] : -700, at = above > 700 ? 700 : above;
        const double scaled = at * 0x1.71547652b82fep+0;
        const int32_t whole = (int32_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
        /* log(2) in two parts, the first with zeros enough that its product is exact */
        const double r = at - (double)whole * 0x1.62e42fee00000p-1 - (double)whole * 0x1.a39ef35793c76p-33;
        double sum = 1, power;
        for (int i = TERMS; i > 0; i--) sum = 1 + sum * r / i;
        const uint64_t bits = (uint64_t)(1023 + whole) << 52; /* 2^whole */
        memcpy(&power, &bits, sizeof power);
        x[k] = sum * power;
    }
}

FOR_EVERY_MACHINE void mg_rows_rounded(int bits, int smallest, const double *restrict value,
                                       double *restrict error, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        const double most = fabs(value[k]) + error[k];
        uint64_t word;
        memcpy(&word, &most, sizeof word);
        const int exponent =
            (int)(word >> 52) - 1023; /* 2^exponent is not above it; zero is far below `smallest` */
        const int clamped = exponent < smallest ? smallest : exponent;
        const uint64_t half_step = (uint64_t)(1023 + clamped - bits)
                                   << 52; /* half of 2^(clamped + 1 - bits) */
        double half;
        memcpy(&half, &half_step, sizeof half);
        error[k] += half;
    }
}
