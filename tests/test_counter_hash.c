/* test_counter_hash.c: the counter hash and its draws against values that gen/counter_hash.py gave; rounding
 * against its definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_splitmix64(void **state) {
    (void)state;
    assert_true(mg_splitmix64(0) == 0xe220a8397b1dcdaf); /* also the published first value of seed 0 */
    assert_true(mg_splitmix64(1) == 0x910a2dec89025cc1);
    assert_true(mg_splitmix64(UINT64_MAX) == 0xe4d971771b652c20);
}

static void test_seeds(void **state) {
    (void)state;
    const mg_problem *p = mg_problem_find("W1-topk4-E16-T128-H128-I128-mult");
    assert_non_null(p);
    assert_true(mg_tensor_seed(p, MG_EXACT, "x", 0) == 0x2fea08c340e70a2);
    assert_true(mg_tensor_seed(p, MG_EXACT, "x", 7) == 0x613541686d3c7d75);
    assert_true(mg_hash_key(MG_HASH_Y) == 0xaf63f44c86021554);
    assert_true(mg_hash_key(MG_HASH_DX_REDUCED) == 0xe9c13d9d5070d95c);
}

/* What NumPy drew from seed 42; starts and lengths cross the edges of its blocks and of the hashes. */
static void test_integers(void **state) {
    (void)state;
    static const uint16_t expected[GG_NUM_DTYPES][11] = {
        {0xc0ba, 0x3d80, 0xc054, 0xc0b2, 0xc0fe, 0x3fa8, 0x40a6, 0x3ff8, 0xc092, 0xc03c, 0x4054},
        {0xc5d0, 0x2c00, 0xc2a0, 0xc590, 0xc7f0, 0x3d40, 0x4530, 0x3fc0, 0xc490, 0xc1e0, 0x42a0}};
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
        uint16_t got[12] = {[11] = 0x1234};
        mg_fill_integers(42, 7, -4, dtype, 16392, 11, got);
        assert_memory_equal(got, expected[dtype], sizeof expected[dtype]);
        assert_int_equal(got[11], 0x1234); /* nothing behind the end */
    }
    static const uint16_t unit[] = {0x3f80, 0xbf80, 0x3f80, 0x3f80, 0xbf80, 0xbf80, 0x3f80, 0x3f80};
    uint16_t got[COUNT(unit)];
    mg_fill_integers(42, 1, 0, GG_BF16, 0, COUNT(unit), got);
    assert_memory_equal(got, unit, sizeof unit);
    mg_fill_integers(43, 1, 0, GG_BF16, 0, COUNT(unit), got);
    assert_memory_not_equal(got, unit, sizeof unit); /* the seed matters */
}

static void test_real(void **state) {
    (void)state;
    static const uint16_t expected[GG_NUM_DTYPES][8] = {
        {0x3e61, 0xbd81, 0xbcc6, 0xbe80, 0xbe12, 0x3e37, 0xbdaa, 0xbe16},
        {0x3306, 0xac06, 0xa62e, 0xb400, 0xb093, 0x31b6, 0xad4f, 0xb0b3}};
    static const uint16_t wide[GG_NUM_DTYPES][4] = {{0xbf63, 0x3fb0, 0xbf9f, 0x3eb0},
                                                    {0xbb18, 0x3d7c, 0xbcf8, 0x357f}};
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
        uint16_t got[8];
        mg_fill_real(42, -18, dtype, 16380, 8, got);
        assert_memory_equal(got, expected[dtype], sizeof expected[dtype]);
        mg_fill_real(42, -15, dtype, 0, 4, got);
        assert_memory_equal(got, wide[dtype], sizeof wide[dtype]);
    }
}

static void test_weights(void **state) {
    (void)state;
    static const float expected[] = {0x1.7448b6p-1f, 0x1.aa8bd8p-1f, 0x1.e7d09ap-1f};
    float got[COUNT(expected)];
    mg_fill_weights(42, 16383, COUNT(expected), got);
    assert_memory_equal(got, expected, sizeof expected);
}

static void test_widths(void **state) {
    (void)state;
    static const struct {
        int32_t N, K;
        int64_t M;
        int bits;
    } rows[] = {{64, 32, 128, 8}, {258, 8, 0, 8},  {264, 8, 1, 7},   {1048, 8, 1, 6}, {512, 8, 1, 7},
                {2048, 8, 1, 6},  {8, 5120, 1, 5}, {8, 8, 16384, 5}, {8, 8, 0, 8},    {8, 8, 17459, 4}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        mg_problem p = {.key = "p", .N = rows[i].N, .K = rows[i].K, .M = rows[i].M};
        mg_draw draw = mg_tensor_draw(&p, MG_EXACT, "x", 0);
        assert_int_equal(draw.bits, rows[i].bits);
        assert_int_equal(draw.scale_log2, -4);
        int64_t most = rows[i].N > rows[i].K ? rows[i].N : rows[i].K, a = (1 << draw.bits) - 1;
        if (rows[i].M > most) most = rows[i].M;
        assert_true(most * a * a < 1 << 24);
        assert_true(draw.bits == 8 || most * (2 * a + 1) * (2 * a + 1) >= 1 << 24);
    }
    mg_problem p = {.key = "p", .N = 8, .K = 8};
    assert_int_equal(mg_tensor_draw(&p, MG_REAL, "w", 0).scale_log2, -18);
    assert_int_equal(mg_tensor_draw(&p, MG_REAL, "dy", 0).scale_log2, -15);
    assert_int_equal(mg_tensor_draw(&p, MG_REAL, "dy", 0).bits, 0);
    assert_int_equal(mg_tensor_draw(&p, MG_UNIT, "x", 0).bits, 1);
}

/* Every pattern survives the way to float and back; halfway points go to the even neighbour, one step off
 * does not. */
static void test_rounding(void **state) {
    (void)state;
    for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
        const unsigned infinity = dtype == GG_BF16 ? 0x7f80 : 0x7c00;
        for (unsigned bits = 0; bits < 0x10000; bits++) {
            float value = mg_float_from_bits(dtype, (uint16_t)bits);
            if ((bits & 0x7fff) > infinity) {
                assert_true(isnan(value));
                assert_true((mg_bits_from_float(dtype, value) & 0x7fffu) > infinity);
                continue;
            }
            assert_int_equal(mg_bits_from_float(dtype, value), bits);
            assert_int_equal(mg_bits_from_double(dtype, value), bits);
            if ((bits & 0x7fff) + 1 >= infinity) continue;
            double next = mg_float_from_bits(dtype, (uint16_t)(bits + 1)), middle = (value + next) / 2;
            unsigned even = bits & 1 ? bits + 1 : bits;
            assert_int_equal(mg_bits_from_double(dtype, middle), even);
            assert_int_equal(mg_bits_from_float(dtype, (float)middle), even);
            assert_int_equal(mg_bits_from_double(dtype, nextafter(middle, value)), bits);
            assert_int_equal(mg_bits_from_double(dtype, nextafter(middle, next)), bits + 1);
        }
    }
    /* one rounding, not two: in float this is the halfway point 1 + 2^-8 */
    assert_int_equal(mg_bits_from_double(GG_BF16, 1 + 0x1p-8 + 0x1p-40), 0x3f81);
    assert_int_equal(mg_bits_from_float(GG_BF16, (float)(1 + 0x1p-8 + 0x1p-40)), 0x3f80);
    assert_int_equal(mg_bits_from_double(GG_FP16, 65519.99), 0x7bff);
    assert_int_equal(mg_bits_from_double(GG_FP16, 65520), 0x7c00);
    assert_int_equal(mg_bits_from_double(GG_FP16, -1e300), 0xfc00);
    assert_int_equal(mg_bits_from_double(GG_BF16, INFINITY), 0x7f80);
    assert_int_equal(mg_bits_from_double(GG_BF16, 5e-324), 0);
    assert_int_equal(mg_bits_from_double(GG_FP16, -0.0), 0x8000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splitmix64), cmocka_unit_test(test_seeds),   cmocka_unit_test(test_integers),
        cmocka_unit_test(test_real),       cmocka_unit_test(test_weights), cmocka_unit_test(test_widths),
        cmocka_unit_test(test_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
