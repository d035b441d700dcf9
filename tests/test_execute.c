/* test_execute.c: a case's life on the simulator: right subjects pass, and every kind of wrong one is caught
 * for its own fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execute_internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SUBJECT(name) BINARY_DIR "/subjects/" name ".so"

/* One expert's worth of words: op, gemm's problem, fusions, class. Problems with committed goldens, or
 * seed 7. */
static const gg_config tile = {
    .mainloop = GG_MMA_SYNC, .block_m = 32, .block_n = 32, .block_k = 32, .num_warps = 4, .num_stages = 2};

static mg_case case_of(const char *key, gg_op op, unsigned fusions, mg_class cls) {
    const mg_problem *problem = mg_problem_find(key);
    assert_non_null(problem);
    return (mg_case){.problem = problem,
                     .function.op = op,
                     .dtype = GG_BF16,
                     .cls = cls,
                     .fusions = fusions,
                     .config = tile};
}

static mg_case autograd_of(const char *key, gg_op op, unsigned fusions, mg_class cls) {
    mg_case c = case_of(key, op, fusions, cls);
    c.function.autograd = true;
    return c;
}

static mg_execute_options options_of(const char *subject) {
    return (mg_execute_options){.backend = "sim",
                                .subject = subject,
                                .golden_dir = SOURCE_DIR "/golden",
                                .cache_dir = BINARY_DIR "/test-cache",
                                .repeats = 3,
                                .sim_limit = 26e6,
                                .autotune_limit = 2};
}

static mg_executor *open_executor(const mg_execute_options *options) {
    char error[MG_ERROR_SIZE] = "";
    mg_executor *x = NULL;
    if (mg_executor_open(&x, options, error) != GG_OK) fail_msg("%s", error);
    return x;
}

static mg_result execute(mg_executor *x, mg_case c) {
    mg_result result = {0};
    bool lost;
    mg_execute(x, &c, &result, &lost);
    assert_false(lost);
    return result;
}

static void expect(const mg_result *result, mg_verdict verdict, const char *text) {
    if (result->verdict != verdict || !strstr(result->message, text))
        fail_msg("%s, expected %s with '%s': %s", mg_verdict_name(result->verdict), mg_verdict_name(verdict),
                 text, result->message);
}

#define W1 "W1-topk4-E4-T128-H32-I32-mult"
#define W2 "W2-topk4-E4-T128-H32-I32-mult"

/* --- right subjects
 * ---------------------------------------------------------------------------------------------------- */

/* Every layout of every op, in the three classes; seed 7 is drawn and its goldens are computed on the spot.
 */
static void pass_all(const char *subject, uint64_t seed) {
    static const char *const keys[] = {W1,
                                       W2,
                                       "W1-topk3-E5-T61-H72-I20-mult",
                                       "W2-topk3-E5-T61-H40-I72-mult",
                                       "W1-topk1-E4-T0-H72-I20-mult",
                                       "W2-topk2-E4-T7-H72-I40-mult"};
    mg_execute_options options = options_of(subject);
    options.user_seed = seed;
    mg_executor *x = open_executor(&options);
    for (size_t i = 0; i < COUNT(keys); i++)
        for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++) {
            const bool first = keys[i][1] == '1';
            const unsigned fusion = first ? GG_PERMUTE_X : GG_PERMUTE_Y;
            mg_case cases[] = {case_of(keys[i], GG_FORWARD, 0, cls),
                               case_of(keys[i], GG_FORWARD, fusion, cls),
                               case_of(keys[i], GG_DX, fusion, cls),
                               autograd_of(keys[i], GG_DW, 0, cls),
                               autograd_of(keys[i], GG_FORWARD, fusion, cls),
                               case_of(keys[i], GG_FORWARD, GG_PERMUTE_Y | GG_FUSE_MUL_POST, cls)};
            for (size_t j = 0; j < COUNT(cases) - first; j++) {
                cases[j].dtype = j % 2 ? GG_FP16 : GG_BF16;
                const mg_result result = execute(x, cases[j]);
                expect(&result, MG_PASSED, "");
                assert_int_equal(result.repeats, 3);
                assert_int_equal(result.difference.wrong, 0);
                if (cases[j].problem->T) assert_true(result.difference.compared > 0);
                assert_true(result.digest != 0);
            }
        }
    mg_executor_close(x);
}

static void test_example_passes(void **state) {
    (void)state;
    pass_all(SUBJECT("example"), 7);
}
static void test_reference_passes(void **state) {
    (void)state;
    pass_all("reference", 7);
}

static void test_committed_goldens(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("example"));
    mg_executor *x = open_executor(&options);
    mg_result first = execute(x, autograd_of(W1, GG_DX, GG_PERMUTE_X, MG_EXACT));
    expect(&first, MG_PASSED, "");
    mg_result again = execute(x, autograd_of(W1, GG_DX, GG_PERMUTE_X, MG_EXACT));
    assert_true(first.digest == again.digest);
    mg_result other = execute(x, autograd_of(W2, GG_DX, GG_PERMUTE_Y, MG_EXACT));
    expect(&other, MG_PASSED, "");
    assert_true(first.digest != other.digest);
    other = execute(x, case_of(W1, GG_FORWARD, 0, MG_REAL));
    expect(&other, MG_PASSED, "");
    assert_true(other.difference.bound_ratio > 0.5 && other.difference.max_ulp > 0.4);
    mg_executor_close(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_passes),
        cmocka_unit_test(test_reference_passes),
        cmocka_unit_test(test_committed_goldens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
