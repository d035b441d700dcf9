/* test_calibration.c: the limits of class real on sums as tensor cores make them (16 products at a time, two extra bits,
 * truncation): how far right results stay below each, and what share of faults each sees. With --table it prints the figures
 * that tests/calibrate.sh puts into golden/CALIBRATION.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compare.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum {
    SIDE = 64,
    ELEMENTS = SIDE * SIDE,
    STEP = 16
}; /* one tile of the RMS check; products of one mma instruction */

static const int lengths[] = {72, 512, 2048, 5120, 16384};

typedef enum output { RIGHT, ONE_PRODUCT, ONE_STEP, TRUNCATED, NUM_OUTPUTS } output;

/* Sums of one length: the golden, and outputs that are right or lack something in every element. */
typedef struct tile {
    gg_dtype dtype;
    int length;
    float c[ELEMENTS], s[ELEMENTS];
    double accumulation; /* largest error of a sum before it is rounded, over its part of the sharp bound */
    uint16_t got[NUM_OUTPUTS][ELEMENTS];
} tile;

/* What one output gives: largest ratios to the limits, and shares of the elements beyond the hard and the sharp bound. */
typedef struct figures {
    double hard, sharp, rms, beyond_hard, beyond_sharp;
} figures;

static int exponent_of(double value) {
    int exponent;
    frexp(value, &exponent);
    return value == 0 ? -1000 : exponent;
}

/* accumulator + products as an mma instruction adds them: aligned to the largest, cut off two bits below its last. */
static float add_step(float accumulator, const double products[STEP]) {
    int largest = exponent_of(accumulator);
    for (int i = 0; i < STEP; i++)
        if (exponent_of(products[i]) > largest) largest = exponent_of(products[i]);
    const double unit = ldexp(1, largest - 26);
    double sum = trunc(accumulator / unit) * unit;
    for (int i = 0; i < STEP; i++) sum += trunc(products[i] / unit) * unit;
    const double last = ldexp(1, exponent_of(sum) - 24);
    return (float)(trunc(sum / last) * last);
}

static uint16_t toward_zero(gg_dtype dtype, float value) {
    const uint16_t bits = mg_bits_from_float(dtype, value);
    return fabsf(mg_float_from_bits(dtype, bits)) > fabsf(value) ? (uint16_t)(bits - 1) : bits;
}

static tile *make_tile(gg_dtype dtype, int length) {
    const size_t count = (size_t)SIDE * (size_t)length;
    uint16_t *bits = malloc(2 * count * sizeof *bits);
    float *values = malloc(2 * count * sizeof *values);
    tile *t = calloc(1, sizeof *t);
    assert_true(bits && values && t);
    mg_fill_real(1, -18, dtype, 0, count, bits);
    mg_fill_real(2, -18, dtype, 0, count, bits + count);
    for (size_t i = 0; i < 2 * count; i++) values[i] = mg_float_from_bits(dtype, bits[i]);
    t->dtype = dtype;
    t->length = length;
    for (int i = 0; i < ELEMENTS; i++) {
        const float *row = values + (size_t)(i / SIDE) * (size_t)length,
                    *col = values + count + (size_t)(i % SIDE) * (size_t)length;
        const int dropped = i * 31 % length; /* this product, and its step, are what faults leave out */
        double c = 0, s = 0, step_sum = 0, one = (double)row[dropped] * col[dropped];
        float sum = 0;
        for (int k = 0; k < length; k += STEP) {
            double products[STEP] = {0}, here = 0;
            for (int j = 0; j < STEP && k + j < length; j++) {
                products[j] = (double)row[k + j] * col[k + j];
                here += products[j];
                s += fabs(products[j]);
            }
            c += here;
            if (dropped / STEP == k / STEP) step_sum = here;
            sum = add_step(sum, products);
        }
        const double room = fmin(length, 8 + sqrt(length) / 4) * 0x1p-23 * s;
        if (fabs(sum - c) > t->accumulation * room) t->accumulation = fabs(sum - c) / room;
        t->c[i] = (float)c;
        t->s[i] = nextafterf((float)s, INFINITY);
        t->got[RIGHT][i] = mg_bits_from_float(dtype, sum);
        t->got[ONE_PRODUCT][i] = mg_bits_from_double(dtype, sum - one);
        t->got[ONE_STEP][i] = mg_bits_from_double(dtype, sum - step_sum);
        t->got[TRUNCATED][i] = toward_zero(dtype, sum);
    }
    free(bits);
    free(values);
    return t;
}

/* The hard bound as golden/README.md writes it. */
static double hard_bound(const tile *t, int i) {
    const double R = t->length, u = 0x1p-23, g = R * u / (1 - R * u);
    const double u_o = t->dtype == GG_BF16 ? 0x1p-8 : 0x1p-11;
    const double eta = t->dtype == GG_BF16 ? 0x1p-134 + R * 0x1p-149 : 0x1p-25;
    const double c = t->c[i], s = t->s[i];
    return g * s + u_o * (fabs(c) + g * s) + eta;
}

static figures measure(const tile *t, output output) {
    const int32_t size = SIDE;
    const mg_chain chain = {.reduction = t->length, .m_sizes = &size, .E = 1};
    const mg_golden golden = {.rows = SIDE, .cols = SIDE, .c = (float *)t->c, .s = (float *)t->s};
    mg_difference d;
    bool mistrusted;
    int beyond = 0;
    double hard = 0;
    mg_compare(MG_REAL, t->dtype, &golden, t->got[output], NULL, &chain, NULL, &d, &mistrusted);
    assert_false(mistrusted);
    for (int i = 0; i < ELEMENTS; i++) {
        const double ratio =
            fabs(mg_float_from_bits(t->dtype, t->got[output][i]) - (double)t->c[i]) / hard_bound(t, i);
        beyond += ratio > 1;
        if (ratio > hard) hard = ratio;
    }
    assert_true(fabs(hard - d.hard_ratio) <= 1e-6 * hard);
    return (figures){d.hard_ratio, d.bound_ratio, d.tile_rms, (double)beyond / ELEMENTS,
                     (double)d.wrong / ELEMENTS};
}

/* --- the figures for people --- */

static void print_table(void) {
    printf("| type | R | right: of hard, sharp, RMS limit | accumulation | one product dropped: seen by "
           "hard, sharp | a "
           "16-step dropped: hard, sharp "
           "| truncated: of RMS limit |\n|---|---|---|---|---|---|---|\n");
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            tile *t = make_tile(dtype, lengths[i]);
            figures f[NUM_OUTPUTS];
            for (output o = 0; o < NUM_OUTPUTS; o++) f[o] = measure(t, o);
            printf("| %s | %d | %.3f, %.3f, %.3f | %.2f | %.1f%%, %.1f%% | %.1f%%, %.1f%% | %.2f |\n",
                   gg_dtype_name(dtype), lengths[i], f[RIGHT].hard, f[RIGHT].sharp, f[RIGHT].rms,
                   t->accumulation, 100 * f[ONE_PRODUCT].beyond_hard, 100 * f[ONE_PRODUCT].beyond_sharp,
                   100 * f[ONE_STEP].beyond_hard, 100 * f[ONE_STEP].beyond_sharp, f[TRUNCATED].rms);
            free(t);
        }
}

/* --- the tests --- */

static void test_right_results_have_room(void **state) {
    (void)state;
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            tile *t = make_tile(dtype, lengths[i]);
            const figures f = measure(t, RIGHT);
            assert_true(f.hard <= f.sharp && f.sharp < 1 && f.rms < 0.9);
            assert_true(f.beyond_hard == 0 && f.beyond_sharp == 0);
            assert_true(t->accumulation > 0.05 && t->accumulation < 0.5); /* half of the room is unused */
            free(t);
        }
}

static void test_faults_are_seen(void **state) {
    (void)state;
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            tile *t = make_tile(dtype, lengths[i]);
            const figures one = measure(t, ONE_PRODUCT), step = measure(t, ONE_STEP);
            assert_true(one.beyond_sharp >= one.beyond_hard && step.beyond_sharp > one.beyond_sharp);
            assert_true(one.beyond_sharp > 0.4 && step.beyond_sharp > 0.8);
            free(t);
        }
}

static void test_truncation_is_seen(void **state) {
    (void)state;
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
        for (size_t i = 0; i < COUNT(lengths); i++) {
            tile *t = make_tile(dtype, lengths[i]);
            assert_true(measure(t, TRUNCATED).rms > 1.05);
            free(t);
        }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_results_have_room),
        cmocka_unit_test(test_faults_are_seen),
        cmocka_unit_test(test_truncation_is_seen),
    };
    if (argc > 1 && !strcmp(argv[1], "--table")) return print_table(), 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
