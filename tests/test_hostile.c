/* test_hostile.c: class hostile: what is planted, right sums in any order pass, and each leak, saturation or flush fails;
 * on the host, and on the simulator through the executor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compare.h"
#include "execute.h"
#include "oracle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static mg_corpus *corpus;

static int set_up(void **state) {
    char error[MG_ERROR_SIZE];
    (void)state;
    return mg_corpus_open(&corpus, SOURCE_DIR "/golden", "/nonexistent", error);
}

static int tear_down(void **state) {
    (void)state;
    mg_corpus_close(corpus);
    return 0;
}

/* Seed 7 needs no file but the routing. */
enum { SEED = 7 };

static const mg_problem *load(const char *key, mg_class cls, gg_dtype dtype, mg_inputs *in) {
    char error[MG_ERROR_SIZE];
    const mg_problem *p = mg_problem_find(key);
    assert_non_null(p);
    if (mg_inputs_load(corpus, p, cls, dtype, SEED, in, error)) fail_msg("%s", error);
    return p;
}

static void load_golden(const mg_problem *p, gg_dtype dtype, mg_output output, mg_golden *golden) {
    char error[MG_ERROR_SIZE];
    if (mg_golden_load(corpus, p, MG_HOSTILE, dtype, output, SEED, golden, error)) fail_msg("%s", error);
}

static bool is_nan(gg_dtype dtype, uint16_t bits) {
    return (bits & 0x7fff) > (dtype == GG_BF16 ? 0x7f80 : 0x7c00);
}
static bool is_infinite(gg_dtype dtype, uint16_t bits) {
    return (bits & 0x7fff) == (dtype == GG_BF16 ? 0x7f80 : 0x7c00);
}
static bool is_subnormal(gg_dtype dtype, uint16_t bits) {
    return bits & 0x7fff && !(bits & (dtype == GG_BF16 ? 0x7f80 : 0x7c00));
}

/* --- what is planted --- */

static void test_planted(void **state) {
    (void)state;
    static const char *const keys[] = {"W1-topk2-E8-T150-H72-I36-mult", "W2-topk2-E8-T150-H72-I136-mult"};
    for (size_t i = 0; i < 2 * COUNT(keys); i++) {
        const gg_dtype dtype = i & 1;
        mg_inputs clean, planted;
        const mg_problem *p = load(keys[i / 2], MG_EXACT, dtype, &clean);
        load(keys[i / 2], MG_HOSTILE, dtype, &planted);
        const uint16_t *before[] = {clean.x, clean.dy, clean.w},
                       *after[] = {planted.x, planted.dy, planted.w};
        const int64_t counts[] = {(p->gemm == GG_GEMM_FIRST ? p->T : p->M) * p->K, p->M * p->N,
                                  (int64_t)p->E * p->N * p->K};
        for (size_t t = 0; t < 3; t++) {
            int nans = 0, infinities = 0, subnormals = 0, negative_zeros = 0, changed = 0;
            for (int64_t at = 0; at < counts[t]; at++) {
                nans += is_nan(dtype, after[t][at]);
                infinities += is_infinite(dtype, after[t][at]);
                subnormals += is_subnormal(dtype, after[t][at]);
                negative_zeros += after[t][at] == 0x8000;
                changed += before[t][at] != after[t][at];
            }
            assert_true(nans && infinities && negative_zeros);
            assert_true(subnormals || t == 2);
            assert_true(changed > 0 && changed * 16 < counts[t]);
        }
        mg_inputs_free(&clean);
        mg_inputs_free(&planted);
    }
}

/* Most elements keep their bits, and next to none is left open. */
static void test_affected(void **state) {
    (void)state;
    static const char *const keys[] = {"W1-topk2-E8-T150-H72-I36-mult", "W2-topk2-E8-T150-H72-I136-edge",
                                       "W1-topk3-E5-T61-H72-I20-mult", "W2-topk8-E128-T48-H72-I40-mult"};
    for (size_t i = 0; i < 2 * COUNT(keys); i++)
        for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++) {
            const gg_dtype dtype = i & 1;
            const mg_problem *p = mg_problem_find(keys[i / 2]);
            mg_golden clean, golden;
            char error[MG_ERROR_SIZE];
            load_golden(p, dtype, output, &golden);
            assert_int_equal(mg_golden_load(corpus, p, MG_EXACT, dtype, output, SEED, &clean, error), GG_OK);
            size_t sure[3] = {0}, same = 0, nans = 0, count = golden.rows * golden.cols;
            for (size_t at = 0; at < count; at++) {
                sure[golden.sure[at]]++;
                same += clean.bits[at] == golden.bits[at];
                nans += is_nan(dtype, golden.bits[at]);
            }
            const bool dw = output == MG_OUT_DW; /* where one tiny row makes a whole expert inexact */
            assert_true(same * 10 > count * (dw ? 1 : 7) && nans > 0 && nans * 4 < count);
            assert_true(sure[MG_SURE_BITS] * 10 > count * (dw ? 4 : 9) &&
                        sure[MG_SURE_NOTHING] * 200 < count);
            mg_golden_free(&clean);
            mg_golden_free(&golden);
        }
}

/* --- sums on the host, right and wrong --- */

typedef enum fault {
    NO_FAULT,
    MULTIPLIED_MASK, /* rows past an expert's end times zero (dW) */
    LAST_X_AGAIN,    /* an expert's last row once more, times zero (dW) */
    LAST_DY_AGAIN,
    FLATTENED_MAP, /* the next expert's weights times zero (dX) */
    SATURATED,     /* Inf becomes the largest number */
    FLUSHED,       /* subnormal inputs and outputs become zero */
    NAN_IS_ZERO,
    DROPPED, /* the last product */
    NUM_FAULTS
} fault;

static float value_of(const mg_operand *m, gg_dtype dtype, size_t i, size_t k, fault fault) {
    const uint16_t bits = m->bits[mg_operand_index(m, i, k)];
    return fault == FLUSHED && is_subnormal(dtype, bits) ? 0 : mg_float_from_bits(dtype, bits);
}

/* Sums of products in float, terms `stride` apart first; stride 1 is the usual order. */
static float sum_of(const mg_operand *a, const mg_operand *b, gg_dtype dtype, size_t i, size_t j,
                    size_t depth, size_t stride, fault fault) {
    float sum = 0;
    for (size_t first = 0; first < stride; first++)
        for (size_t k = first; k < depth; k += stride)
            sum += value_of(a, dtype, i, k, fault) * value_of(b, dtype, j, k, fault);
    return sum;
}

static uint16_t finish(gg_dtype dtype, float sum, fault fault) {
    uint16_t bits = mg_bits_from_float(dtype, sum);
    if (fault == SATURATED && is_infinite(dtype, bits)) bits--;
    if (fault == FLUSHED && is_subnormal(dtype, bits)) bits = 0;
    if (fault == NAN_IS_ZERO && is_nan(dtype, bits)) bits = 0;
    return bits;
}

static void compute(const mg_problem *p, gg_dtype dtype, mg_output output, const mg_inputs *in, size_t stride,
                    fault fault, uint16_t *out) {
    const bool dw = output == MG_OUT_DW;
    const size_t N = (size_t)p->N, cols = output == MG_OUT_Y ? N : (size_t)p->K;
    for (size_t e = 0, start = 0; e < (size_t)p->E; start += (size_t)in->m_sizes[e++]) {
        const size_t size = (size_t)in->m_sizes[e], rows = dw ? N : size;
        const size_t depth = dw ? size : output == MG_OUT_Y ? (size_t)p->K : N;
        mg_operand a, b;
        mg_operands(p, output, in, e, start, &a, &b);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++) {
                float sum = sum_of(&a, &b, dtype, i, j, depth - (fault == DROPPED && depth), stride, fault);
                if (fault == MULTIPLIED_MASK && dw && start + size < (size_t)p->M)
                    sum += value_of(&a, dtype, i, depth, fault) * 0;
                if (fault == LAST_X_AGAIN && dw && depth) sum += value_of(&b, dtype, j, depth - 1, fault) * 0;
                if (fault == LAST_DY_AGAIN && dw && depth)
                    sum += value_of(&a, dtype, i, depth - 1, fault) * 0;
                if (fault == FLATTENED_MAP && output == MG_OUT_DX && e + 1 < (size_t)p->E)
                    sum += value_of(&b, dtype, j, depth, fault) * 0;
                out[((dw ? e * N : start) + i) * cols + j] = finish(dtype, sum, fault);
            }
    }
}

/* Elements that the comparison finds wrong in one output. */
static uint64_t wrong_elements(const char *key, gg_dtype dtype, mg_output output, size_t stride,
                               fault fault) {
    mg_inputs in;
    mg_golden golden;
    const mg_problem *p = load(key, MG_HOSTILE, dtype, &in);
    load_golden(p, dtype, output, &golden);
    uint16_t *got = malloc((golden.rows * golden.cols + 1) * sizeof *got);
    compute(p, dtype, output, &in, stride, fault, got);
    const mg_chain chain = {.m_sizes = in.m_sizes, .E = p->E, .reduce_rows = output == MG_OUT_DW};
    mg_difference d;
    bool mistrusted, right = mg_compare(MG_HOSTILE, dtype, &golden, got, NULL, &chain, NULL, &d, &mistrusted);
    assert_false(mistrusted && p->T > 0);
    assert_int_equal(right, d.wrong == 0);
    free(got);
    mg_golden_free(&golden);
    mg_inputs_free(&in);
    return d.wrong;
}

#define W1 "W1-topk2-E8-T150-H72-I36-skewed"
#define W2 "W2-topk2-E8-T150-H72-I136-emptymid"

static void test_any_order_passes(void **state) {
    (void)state;
    static const char *const keys[] = {W1,
                                       W2,
                                       "W1-topk1-E11-T673-H40-I36-edge",
                                       "W2-topk8-E128-T48-H72-I40-mult",
                                       "W1-topk2-E8-T150-H72-I36-one",
                                       "W2-topk2-E4-T7-H72-I40-mult"};
    static const size_t strides[] = {1, 3, 8, 16};
    for (size_t i = 0; i < COUNT(keys); i++)
        for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
            for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++)
                for (size_t s = 0; s < COUNT(strides); s++)
                    assert_int_equal(wrong_elements(keys[i], dtype, output, strides[s], NO_FAULT), 0);
}

/* Each fault shows in every output and type where it makes a difference, on both GEMMs. */
static void test_faults_fail(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char *key = i & 2 ? W2 : W1;
        const gg_dtype dtype = i & 1;
        for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++) {
            assert_true((wrong_elements(key, dtype, output, 1, MULTIPLIED_MASK) > 0) ==
                        (output == MG_OUT_DW));
            assert_true((wrong_elements(key, dtype, output, 1, LAST_X_AGAIN) > 0) == (output == MG_OUT_DW));
            assert_true((wrong_elements(key, dtype, output, 1, LAST_DY_AGAIN) > 0) == (output == MG_OUT_DW));
            assert_true((wrong_elements(key, dtype, output, 1, FLATTENED_MAP) > 0) == (output == MG_OUT_DX));
            assert_true(wrong_elements(key, dtype, output, 1, SATURATED) > 0);
            assert_true(wrong_elements(key, dtype, output, 1, NAN_IS_ZERO) > 0);
            assert_true(wrong_elements(key, dtype, output, 1, DROPPED) > 0);
            if (output != MG_OUT_DW) assert_true(wrong_elements(key, dtype, output, 1, FLUSHED) > 0);
        }
    }
}

/* --- the comparison alone --- */

static void test_classes_of_values(void **state) {
    (void)state;
    enum { NAN_1 = 0x7fc0, NAN_2 = 0xffc5, INF = 0x7f80, NEGATIVE_INF = 0xff80, ONE = 0x3f80, TWO = 0x4000 };
    static const struct {
        uint16_t golden, got;
        mg_sure sure;
        bool right;
    } rows[] = {
        {NAN_1, NAN_2, MG_SURE_BITS, true},       {NAN_1, ONE, MG_SURE_BITS, false},
        {NAN_1, INF, MG_SURE_BITS, false},        {INF, INF, MG_SURE_BITS, true},
        {INF, NEGATIVE_INF, MG_SURE_BITS, false}, {INF, NAN_1, MG_SURE_BITS, false},
        {ONE, TWO, MG_SURE_BITS, false},          {ONE, TWO, MG_SURE_FINITE, true},
        {ONE, INF, MG_SURE_FINITE, false},        {ONE, NAN_1, MG_SURE_FINITE, false},
        {INF, TWO, MG_SURE_NOTHING, true},        {0, 0x8000, MG_SURE_BITS, true},
    };
    const int32_t m_sizes[] = {1};
    const mg_chain chain = {.m_sizes = m_sizes, .E = 1};
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint16_t golden[] = {ONE, rows[i].golden}, got[] = {ONE, rows[i].got};
        uint8_t sure[] = {MG_SURE_BITS, (uint8_t)rows[i].sure};
        const mg_golden g = {.rows = 1, .cols = 2, .bits = golden, .sure = sure};
        mg_difference d;
        bool mistrusted;
        assert_true(mg_compare(MG_HOSTILE, GG_BF16, &g, got, NULL, &chain, NULL, &d, &mistrusted) ==
                    rows[i].right);
        assert_int_equal(d.wrong, !rows[i].right);
        assert_false(mistrusted);
    }
}

/* --- through the executor --- */

static mg_result execute(const char *subject, const char *key, gg_op op, unsigned fusions) {
    const mg_execute_options options = {.backend = "sim",
                                        .subject = subject,
                                        .golden_dir = SOURCE_DIR "/golden",
                                        .cache_dir = BINARY_DIR "/test-cache",
                                        .repeats = 2,
                                        .user_seed = SEED,
                                        .sim_limit = 26e6};
    const mg_case c = {.problem = mg_problem_find(key),
                       .function.op = op,
                       .function.autograd = fusions == GG_PERMUTE_X,
                       .cls = MG_HOSTILE,
                       .fusions = fusions,
                       .config = {GG_MMA_SYNC, 64, 64, 64, 4, 3, 0}};
    char error[MG_ERROR_SIZE];
    mg_executor *x;
    mg_result result = {0};
    bool lost;
    if (mg_executor_open(&x, &options, error)) fail_msg("%s", error);
    mg_execute(x, &c, &result, &lost);
    mg_executor_close(x);
    return result;
}

static void test_executor(void **state) {
    (void)state;
    static const unsigned fusions[2][3] = {{0, GG_PERMUTE_X},
                                           {0, GG_PERMUTE_Y, GG_PERMUTE_Y | GG_FUSE_MUL_POST}};
    for (size_t i = 0; i < 5; i++) {
        const mg_result r =
            execute("moegemm", i < 2 ? W1 : W2, GG_FORWARD, fusions[i >= 2][i < 2 ? i : i - 2]);
        if (r.verdict != MG_PASSED) fail_msg("%s", r.message);
        assert_true(r.difference.compared > 0);
    }
    const mg_result wrong = execute(BINARY_DIR "/subjects/wrong_expert_at_boundary.so", W1, GG_FORWARD, 0);
    assert_int_equal(wrong.verdict, MG_FAILED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted),           cmocka_unit_test(test_affected),
        cmocka_unit_test(test_any_order_passes),  cmocka_unit_test(test_faults_fail),
        cmocka_unit_test(test_classes_of_values), cmocka_unit_test(test_executor),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
