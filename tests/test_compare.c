/* test_compare.c: the comparison of outputs with goldens: every check with a right output and with one that
 * it must fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compare.h"

/* --- exact: a 6 x 12 output of three experts, the second without rows --- */

enum { ROWS = 6, COLS = 12 };
static const int32_t sizes[] = {2, 0, 4}, experts[ROWS] = {0, 0, 2, 2, 2, 2},
                     slots[ROWS] = {3, 0, 5, 1, 4, 2};
static const mg_chain chain = {.reduction = 16, .m_sizes = sizes, .E = 3};

typedef struct exact {
    uint16_t golden[ROWS * COLS], got[ROWS * COLS];
    mg_difference d;
    bool mistrusted;
} exact;

/* bf16 1, 2, ... by rows; `got` stored in slot order when mapped */
static void exact_init(exact *e, bool mapped) {
    for (int i = 0; i < ROWS * COLS; i++) {
        e->golden[i] = mg_bits_from_float(GG_BF16, (float)(i + 1));
        e->got[(mapped ? slots[i / COLS] : i / COLS) * COLS + i % COLS] = e->golden[i];
    }
}

static bool exact_compare(exact *e, bool mapped) {
    const mg_golden golden = {.rows = ROWS, .cols = COLS, .bits = e->golden};
    return mg_compare(MG_EXACT, GG_BF16, &golden, e->got, mapped ? slots : NULL, &chain, experts, &e->d,
                      &e->mistrusted);
}

static void test_equal_passes(void **state) {
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        exact e;
        exact_init(&e, mapped);
        assert_true(exact_compare(&e, mapped));
        assert_false(e.mistrusted);
        assert_int_equal(e.d.compared, ROWS * COLS);
        assert_int_equal(e.d.wrong, 0);
        assert_true(e.d.max_ulp == 0 && e.d.bound_ratio == 0);
    }
}

static void test_one_bit_fails(void **state) {
    (void)state;
    for (int i = 0; i < ROWS * COLS; i++) {
        exact e;
        exact_init(&e, true);
        int row = i / COLS, col = i % COLS;
        e.got[slots[row] * COLS + col] ^= 1;
        assert_false(exact_compare(&e, true));
        assert_int_equal(e.d.wrong, 1);
        assert_int_equal(e.d.row, slots[row]);
        assert_int_equal(e.d.col, col);
        assert_int_equal(e.d.expert, experts[row]);
        assert_true(e.d.expected == i + 1);
        assert_true(e.d.got == mg_float_from_bits(GG_BF16, e.golden[i] ^ 1));
        assert_true(e.d.max_ulp == 1);
        for (int cell = 0; cell < ROWS * COLS; cell++) assert_int_equal(e.d.map[cell], cell == i ? 255 : 0);
    }
}

static void test_first_and_worst(void **state) {
    (void)state;
    exact e;
    exact_init(&e, false);
    e.got[2 * COLS + 5] ^= 1;
    e.got[4 * COLS + 7] ^= 4;
    assert_false(exact_compare(&e, false));
    assert_int_equal(e.d.wrong, 2);
    assert_int_equal(e.d.row, 2);
    assert_int_equal(e.d.col, 5);
    assert_int_equal(e.d.worst_row, 4);
    assert_int_equal(e.d.worst_col, 7);
    assert_true(e.d.max_ulp == 4 && e.d.mean_ulp == 5.0 / (ROWS * COLS));
}

static void test_rows_of_the_wrong_order_fail(void **state) {
    (void)state;
    exact e;
    exact_init(&e, true);
    assert_false(exact_compare(&e, false));
    exact_init(&e, false);
    assert_false(exact_compare(&e, true));
}

static void test_nan_fails(void **state) {
    (void)state;
    exact e;
    exact_init(&e, false);
    e.got[17] = 0x7fc0;
    assert_false(exact_compare(&e, false));
    assert_true(isnan(e.d.got) && e.d.bound_ratio == 1);
    e.golden[17] = 0x7fc0; /* equal bits, but no golden of these classes has a NaN */
    assert_false(exact_compare(&e, false));
    exact_init(&e, false);
    e.got[3] = 0x7f80;
    assert_false(exact_compare(&e, false));
    e.golden[3] = 0x7f80; /* infinity is a value */
    assert_true(exact_compare(&e, false));
}

static void test_zeros_are_equal(void **state) {
    (void)state;
    exact e;
    exact_init(&e, false);
    e.golden[9] = 0x0000;
    e.got[9] = 0x8000;
    assert_true(exact_compare(&e, false));
    e.got[9] = 0x8001; /* the smallest subnormal is not zero */
    assert_false(exact_compare(&e, false));
}

static void test_short_rows(void **state) {
    (void)state;
    uint16_t bits[] = {1, 2, 3, 4, 5, 6}, got[] = {1, 2, 3, 4, 5, 6};
    const mg_golden golden = {.rows = 1, .cols = 6, .bits = bits};
    const int32_t one = 1;
    const mg_chain single = {.reduction = 8, .m_sizes = &one, .E = 1};
    mg_difference d;
    bool mistrusted;
    assert_true(mg_compare(MG_UNIT, GG_FP16, &golden, got, NULL, &single, NULL, &d, &mistrusted));
    got[5] = 7; /* behind the last whole word */
    assert_false(mg_compare(MG_UNIT, GG_FP16, &golden, got, NULL, &single, NULL, &d, &mistrusted));
    assert_int_equal(d.col, 5);
}

/* --- mistrust --- */

static void test_zero_golden_is_mistrusted(void **state) {
    (void)state;
    exact e;
    exact_init(&e, false);
    memset(e.golden, 0, sizeof e.golden);
    memset(e.got, 0, sizeof e.got);
    assert_true(exact_compare(&e, false));
    assert_true(e.mistrusted);
    e.golden[40] = e.got[40] = 1;
    assert_true(exact_compare(&e, false));
    assert_false(e.mistrusted);

    float zeros[8] = {0};
    const uint16_t got[8] = {0};
    const mg_golden real = {.rows = 1, .cols = 8, .c = zeros, .s = zeros};
    mg_compare(MG_REAL, GG_BF16, &real, got, NULL, &chain, experts, &e.d, &e.mistrusted);
    assert_true(e.mistrusted);
}

static void test_nothing_compared_is_mistrusted(void **state) {
    (void)state;
    const int32_t none[] = {0, 0, 0};
    const mg_golden empty = {.rows = 0, .cols = COLS};
    mg_chain c = chain;
    mg_difference d;
    bool mistrusted;
    mg_compare(MG_EXACT, GG_BF16, &empty, NULL, NULL, &c, NULL, &d, &mistrusted);
    assert_true(mistrusted); /* six rows are routed */
    c.m_sizes = none;
    assert_true(mg_compare(MG_EXACT, GG_BF16, &empty, NULL, NULL, &c, NULL, &d, &mistrusted));
    assert_false(mistrusted); /* no tokens: legally empty */
}

/* dW without any rows is zero, and that is checked. */
static void test_empty_dw(void **state) {
    (void)state;
    const int32_t none[] = {0, 0, 0};
    const mg_chain c = {.reduce_rows = true, .m_sizes = none, .E = 3};
    uint16_t bits[ROWS * COLS] = {0}, got[ROWS * COLS] = {0};
    const mg_golden golden = {.rows = ROWS, .cols = COLS, .bits = bits};
    mg_difference d;
    bool mistrusted;
    assert_true(mg_compare(MG_EXACT, GG_BF16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
    assert_false(mistrusted);
    got[3 * COLS] = 1;
    assert_false(mg_compare(MG_EXACT, GG_BF16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
    assert_int_equal(d.expert, 1); /* two rows an expert */
}

/* --- real --- */

enum { SIDE = 80 }; /* more than a tile, and ragged */

typedef enum fault {
    NONE,
    REVERSED, /* another order of the same sum: right */
    ONE_PRODUCT,
    TOWARD_ZERO,
    SINGLE_ROUNDING, /* weighted before rounding: within the bound of two roundings */
    UNWEIGHTED
} fault;

typedef struct real {
    gg_dtype dtype;
    int length;
    bool weighted;
    float c[SIDE * SIDE], s[SIDE * SIDE], weights[SIDE];
    uint16_t got[SIDE * SIDE];
    mg_difference d;
} real;

static uint16_t toward_zero(gg_dtype dtype, float value) {
    uint16_t bits = mg_bits_from_float(dtype, value);
    return fabsf(mg_float_from_bits(dtype, bits)) > fabsf(value) ? (uint16_t)(bits - 1) : bits;
}

static uint16_t finish(const real *r, float sum, float weight, fault f) {
    const gg_dtype t = r->dtype;
    if (f == TOWARD_ZERO) return toward_zero(t, sum);
    if (!r->weighted || f == UNWEIGHTED) return mg_bits_from_float(t, sum);
    weight = mg_float_from_bits(t, mg_bits_from_float(t, weight));
    if (f == SINGLE_ROUNDING) return mg_bits_from_float(t, sum * weight);
    return mg_bits_from_float(t, mg_float_from_bits(t, mg_bits_from_float(t, sum)) * weight);
}

static void real_init(real *r, gg_dtype dtype, int length, bool weighted, fault f) {
    size_t count = (size_t)SIDE * (size_t)length;
    uint16_t *a = malloc(count * 2), *b = malloc(count * 2);
    mg_fill_real(1, -18, dtype, 0, count, a);
    mg_fill_real(2, -18, dtype, 0, count, b);
    *r = (real){.dtype = dtype, .length = length, .weighted = weighted};
    mg_fill_weights(3, 0, SIDE, r->weights);
    for (int i = 0; i < SIDE * SIDE; i++) {
        const uint16_t *row = a + i / SIDE * length, *col = b + i % SIDE * length;
        double c = 0, s = 0;
        float sum = 0;
        for (int k = 0; k < length; k++) {
            double product = (double)mg_float_from_bits(dtype, row[k]) * mg_float_from_bits(dtype, col[k]);
            c += product;
            s += fabs(product);
        }
        for (int j = 0; j < length; j++) {
            int k = f == REVERSED ? length - 1 - j : j;
            if (f == ONE_PRODUCT && i == 5 * SIDE + 70 && k == length / 2) continue;
            sum = fmaf(mg_float_from_bits(dtype, row[k]), mg_float_from_bits(dtype, col[k]), sum);
        }
        r->c[i] = (float)c;
        r->s[i] = nextafterf((float)s, INFINITY);
        r->got[i] = finish(r, sum, r->weights[i / SIDE], f);
    }
    free(a);
    free(b);
}

static bool real_compare(real *r) {
    const int32_t size = SIDE;
    int32_t identity[SIDE], expert[SIDE] = {0};
    for (int i = 0; i < SIDE; i++) identity[i] = i;
    const mg_chain c = {.mul_post = r->weighted,
                        .topk_weights = r->weights,
                        .reduction = r->length,
                        .m_sizes = &size,
                        .E = 1};
    const mg_golden golden = {.rows = SIDE, .cols = SIDE, .c = r->c, .s = r->s};
    bool mistrusted;
    bool ok = mg_compare(MG_REAL, r->dtype, &golden, r->got, identity, &c, expert, &r->d, &mistrusted);
    assert_false(mistrusted);
    return ok;
}

static void test_right_sums_pass(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 7, 40, 512, 2048};
    real r;
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (int weighted = 0; weighted < 2; weighted++)
                for (fault f = NONE; f <= REVERSED; f++) {
                    real_init(&r, dtype, lengths[i], weighted, f);
                    assert_true(real_compare(&r));
                    assert_true(r.d.bound_ratio > 0.3 && r.d.bound_ratio <= 1);
                    assert_true(r.d.hard_ratio > 0 && r.d.hard_ratio <= r.d.bound_ratio);
                    assert_true(r.d.tile_rms > 0.2 && r.d.tile_rms < 0.95);
                    assert_true(r.d.mean_ulp > 0 && r.d.mean_ulp < 0.5 && r.d.max_ulp < 1000);
                }
}

static void test_dropped_product_fails(void **state) {
    (void)state;
    real r;
    real_init(&r, GG_FP16, 512, false, ONE_PRODUCT);
    assert_false(real_compare(&r));
    assert_int_equal(r.d.wrong, 1);
    assert_int_equal(r.d.row, 5);
    assert_int_equal(r.d.col, 70);
    assert_true(r.d.bound_ratio > 1);
}

static void test_truncated_output_fails(void **state) {
    (void)state;
    real r;
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
        real_init(&r, dtype, 512, false, TOWARD_ZERO);
        assert_false(real_compare(&r));
        assert_true(r.d.tile_rms > 1.2);
    }
}

static void test_missing_weight_fails(void **state) {
    (void)state;
    real r;
    real_init(&r, GG_BF16, 40, true, UNWEIGHTED);
    assert_false(real_compare(&r));
    assert_true(r.d.wrong > SIDE * SIDE / 2);
    real_init(&r, GG_BF16, 40, true, SINGLE_ROUNDING); /* what the class exact is for */
    assert_true(real_compare(&r));
    /* two roundings are not within the bound of one */
    real_init(&r, GG_BF16, 40, true, NONE);
    const real weighted = r;
    for (int i = 0; i < SIDE * SIDE; i++) {
        float weight = mg_float_from_bits(GG_BF16, mg_bits_from_float(GG_BF16, weighted.weights[i / SIDE]));
        r.c[i] *= weight;
        r.s[i] *= weight;
    }
    r.weighted = false;
    assert_false(real_compare(&r));
}

/* Goldens just below 2, where the bound is nearly twice the error of right rounding. */
static void below_two(real *r) {
    *r = (real){.dtype = GG_BF16, .length = 1};
    for (int i = 0; i < SIDE * SIDE; i++) {
        r->c[i] = r->s[i] = 1.9f + 0.1f * (float)(mg_splitmix64((uint64_t)i) >> 40) * 0x1p-24f;
        r->got[i] = mg_bits_from_float(GG_BF16, r->c[i]);
    }
}

/* To the neighbour on the other side of the golden, where the element's own bound allows it. */
static void round_away(real *r, int i) {
    uint16_t other = (uint16_t)(r->got[i] + (mg_float_from_bits(GG_BF16, r->got[i]) > r->c[i] ? -1 : 1));
    if (fabsf(mg_float_from_bits(GG_BF16, other) - r->c[i]) <= 0x1p-8f * r->c[i]) r->got[i] = other;
}

/* Every element of one tile as far from its golden as its own bound allows: seen by the tile's RMS alone. */
static void test_tile_rms(void **state) {
    (void)state;
    real r;
    below_two(&r);
    assert_true(real_compare(&r));
    for (int i = 0; i < SIDE * SIDE; i++)
        if (i / SIDE < 64 && i % SIDE >= 64) round_away(&r, i);
    assert_false(real_compare(&r));
    assert_true(r.d.bound_ratio <= 1 && r.d.tile_rms > 1);
    assert_int_equal(r.d.wrong, 1); /* the tile, by its first element */
    assert_int_equal(r.d.row, 0);
    assert_int_equal(r.d.col, 64);
}

/* A share of the elements all over: every tile within its limit, but not the whole, which has more of them to go by. */
static void test_whole_rms(void **state) {
    (void)state;
    real r;
    below_two(&r);
    for (int i = 0; i < SIDE * SIDE; i++)
        if (mg_splitmix64((uint64_t)i + SIDE * SIDE) % 1000 < 643) round_away(&r, i);
    assert_false(real_compare(&r));
    assert_true(r.d.bound_ratio <= 1 && r.d.tile_rms > 1 && r.d.tile_rms < 1.02);
    assert_int_equal(r.d.wrong, 1);
    below_two(&r);
    for (int i = 0; i < SIDE * SIDE; i++)
        if (mg_splitmix64((uint64_t)i + SIDE * SIDE) % 1000 < 600) round_away(&r, i);
    assert_true(real_compare(&r));
}

/* One element among many, too far off for the sharp bound and not for the proven one, too little for the tile. */
static void test_sharp_bound(void **state) {
    (void)state;
    enum { COUNT = 64 };
    static const mg_chain deep = {.reduction = 16384, .m_sizes = sizes, .E = 3};
    for (int wrong = 0; wrong < 2; wrong++) {
        uint16_t got[ROWS * COUNT];
        float c[ROWS * COUNT], s[ROWS * COUNT];
        mg_difference d;
        bool mistrusted;
        for (int i = 0; i < ROWS * COUNT; i++) {
            c[i] = 1;
            s[i] = 256;
            got[i] = mg_bits_from_float(GG_BF16, 1);
        }
        c[70] = 0; /* bounds 256 * 2^-23 * (8 + 32) and * 16384: 1.2e-3 and 0.5 */
        got[70] = mg_bits_from_float(GG_BF16, wrong ? 2e-3f : 1e-3f);
        const mg_golden golden = {.rows = ROWS, .cols = COUNT, .c = c, .s = s};
        assert_true(mg_compare(MG_REAL, GG_BF16, &golden, got, NULL, &deep, experts, &d, &mistrusted) ==
                    !wrong);
        assert_int_equal(d.wrong, wrong);
        assert_true(d.tile_rms < 1 && d.hard_ratio < 1);
    }
}

static void test_nan_and_infinity_fail_real(void **state) {
    (void)state;
    static const uint16_t patterns[] = {0x7fff, 0xffff, 0x7fc0, 0x7f80, 0xff80};
    real r;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        real_init(&r, GG_BF16, 40, false, NONE);
        r.got[79 * SIDE + 79] = patterns[i];
        assert_false(real_compare(&r));
        assert_int_equal(r.d.wrong, 1);
        assert_int_equal(r.d.row, 79);
        assert_int_equal(r.d.worst_row, 79);
        assert_true(isinf(r.d.bound_ratio) && isfinite(r.d.max_ulp) && isfinite(r.d.mean_ulp));
        assert_int_equal(r.d.map[32 * 32 - 1],
                         64); /* one of the four elements of the last cell: ceil(255 / 4) */
    }
}

/* dW: the bound follows the rows of each expert, and without rows only zero is right. */
static void test_dw_bounds_follow_the_experts(void **state) {
    (void)state;
    const int32_t rows[] = {1, 0, 4096};
    const mg_chain c = {.reduce_rows = true, .m_sizes = rows, .E = 3};
    float golden_c[3 * 8], golden_s[3 * 8];
    uint16_t got[3 * 8];
    for (int i = 0; i < 24; i++) {
        golden_c[i] = i / 8 == 1 ? 0 : 1;
        golden_s[i] = i / 8 == 1 ? 0 : 600; /* enough for the error of a long sum to reach half a unit */
        got[i] = mg_bits_from_float(GG_FP16, golden_c[i]);
    }
    const mg_golden golden = {.rows = 3, .cols = 8, .c = golden_c, .s = golden_s};
    mg_difference d;
    bool mistrusted;
    assert_true(mg_compare(MG_REAL, GG_FP16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
    got[16]++; /* a unit above 1: within the bound of 4096 products */
    assert_true(mg_compare(MG_REAL, GG_FP16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
    got[0]++; /* not of one */
    assert_false(mg_compare(MG_REAL, GG_FP16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
    assert_int_equal(d.expert, 0);
    got[0]--;
    got[8] = 1; /* the smallest number, of an expert without rows */
    assert_false(mg_compare(MG_REAL, GG_FP16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
    assert_int_equal(d.expert, 1);
    got[8] = 0x8000;
    assert_true(mg_compare(MG_REAL, GG_FP16, &golden, got, NULL, &c, NULL, &d, &mistrusted));
}

/* --- derived goldens --- */

static void test_mul_post_golden(void **state) {
    (void)state;
    /* slot 1's weight rounds to 0.75 in bf16; 1.0078125 * 0.75 = 0.755859375 is a tie, which goes up */
    uint16_t bits[] = {0x3f81, 0x4000, 0x4040, 0xc040};
    const float weights[] = {0.5f, 0.75f - 0x1p-10f};
    const int32_t gather[] = {1, 0};
    mg_golden golden = {.rows = 2, .cols = 2, .bits = bits};
    mg_golden_mul_post(&golden, GG_BF16, weights, gather);
    const float expected[] = {0.755859375f, 1.5f, 1.5f, -1.5f};
    for (int i = 0; i < 4; i++) assert_int_equal(bits[i], mg_bits_from_float(GG_BF16, expected[i]));
    float unrounded = 1.0078125f * weights[1];
    assert_int_not_equal(bits[0], mg_bits_from_float(GG_BF16, unrounded));
}

static void test_reduction_order(void **state) {
    (void)state;
    const float rows[3][2] = {{0x1p25f, 1}, {1, 0x1p25f}, {-0x1p25f, -0x1p25f}};
    uint16_t slots_bits[2 * 3 * 2], tokens[2 * 2];
    for (int t = 0; t < 2; t++) /* the second token has its slots the other way round */
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++)
                slots_bits[(t * 3 + j) * 2 + k] = mg_bits_from_float(GG_BF16, rows[t ? 2 - j : j][k]);
    mg_reduce_topk_host(GG_BF16, 2, 3, 2, slots_bits, tokens);
    assert_true(mg_float_from_bits(GG_BF16, tokens[0]) == 0); /* the 1 is lost beside 2^25 */
    assert_true(mg_float_from_bits(GG_BF16, tokens[1]) == 0);
    assert_true(mg_float_from_bits(GG_BF16, tokens[2]) == 0);
    assert_true(mg_float_from_bits(GG_BF16, tokens[3]) == 1); /* -2^25 + 2^25 + 1 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_passes),
        cmocka_unit_test(test_one_bit_fails),
        cmocka_unit_test(test_first_and_worst),
        cmocka_unit_test(test_rows_of_the_wrong_order_fail),
        cmocka_unit_test(test_nan_fails),
        cmocka_unit_test(test_zeros_are_equal),
        cmocka_unit_test(test_short_rows),
        cmocka_unit_test(test_zero_golden_is_mistrusted),
        cmocka_unit_test(test_nothing_compared_is_mistrusted),
        cmocka_unit_test(test_empty_dw),
        cmocka_unit_test(test_right_sums_pass),
        cmocka_unit_test(test_dropped_product_fails),
        cmocka_unit_test(test_truncated_output_fails),
        cmocka_unit_test(test_missing_weight_fails),
        cmocka_unit_test(test_tile_rms),
        cmocka_unit_test(test_whole_rms),
        cmocka_unit_test(test_sharp_bound),
        cmocka_unit_test(test_nan_and_infinity_fail_real),
        cmocka_unit_test(test_dw_bounds_follow_the_experts),
        cmocka_unit_test(test_mul_post_golden),
        cmocka_unit_test(test_reduction_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
