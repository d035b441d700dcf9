/* test_determinism.c: repeats under perturbation on the simulator: what races or depends on what must not matter is reported
 * and named, what is right is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execute_internal.h"

#define SUBJECT(name) BINARY_DIR "/subjects/" name ".so"
#define BIT(perturbation) (1u << (perturbation))
#define ALL (BIT(MG_NUM_PERTURBATIONS) - BIT(MG_PERTURB_STREAM))
#define W1 "W1-topk4-E4-T128-H32-I32-mult"
#define W2 "W2-topk4-E4-T128-H32-I32-mult"

static mg_case case_of(const char *key, gg_op op, unsigned fusions, mg_class cls, unsigned tma) {
    const mg_problem *problem = mg_problem_find(key);
    assert_non_null(problem);
    return (mg_case){.problem = problem,
                     .function.op = op,
                     .dtype = GG_FP16,
                     .cls = cls,
                     .fusions = fusions,
                     .config = {.mainloop = GG_MMA_SYNC,
                                .block_m = 32,
                                .block_n = 32,
                                .block_k = 32,
                                .num_warps = 4,
                                .num_stages = 2,
                                .tma = tma}};
}

static mg_executor *open_executor(const char *subject, unsigned perturb, int repeats) {
    const mg_execute_options options = {.backend = "sim",
                                        .subject = subject,
                                        .golden_dir = SOURCE_DIR "/golden",
                                        .cache_dir = BINARY_DIR "/test-cache",
                                        .repeats = repeats,
                                        .perturb = perturb,
                                        .user_seed = 7,
                                        .sim_limit = 26e6,
                                        .autotune_limit = 2};
    char error[MG_ERROR_SIZE] = "";
    mg_executor *x = NULL;
    if (mg_executor_open(&x, &options, error) != GG_OK) fail_msg("%s", error);
    return x;
}

static mg_result execute(mg_executor *x, mg_case c) {
    mg_result result = {0};
    bool lost;
    mg_execute(x, &c, &result, &lost);
    assert_false(lost);
    return result;
}

static mg_result execute_once(const char *subject, unsigned perturb, int repeats, mg_case c) {
    mg_executor *x = open_executor(subject, perturb, repeats);
    const mg_result result = execute(x, c);
    mg_executor_close(x);
    return result;
}

static void expect(const mg_result *result, mg_verdict verdict, const char *text) {
    if (result->verdict != verdict || !strstr(result->message, text))
        fail_msg("%s, expected %s with '%s': %s", mg_verdict_name(result->verdict), mg_verdict_name(verdict),
                 text, result->message);
}

/* Every launch is accounted for: the first, the repeats, shared evenly, the batch step; graphs are not simulated, and only
 * exact sums are known when signs change. */
static void expect_outcomes(const mg_result *result, int repeats, mg_class cls) {
    const mg_perturbation turn[] = {MG_PERTURB_STREAM, MG_PERTURB_LOAD, MG_PERTURB_SMS, MG_PERTURB_BASE,
                                    cls == MG_EXACT ? MG_PERTURB_NEGATE : MG_PERTURB_NONE};
    expect(result, MG_PASSED, "");
    assert_int_equal(result->repeats, repeats);
    assert_int_equal(result->num_runs, repeats + 1);
    for (int i = 0; i <= repeats; i++) {
        const mg_repeat *run = &result->runs[i];
        const mg_perturbation how = i == 0         ? MG_PERTURB_NONE
                                    : i == repeats ? MG_PERTURB_BATCH
                                                   : turn[(i - 1) * 5 / (repeats - 1)];
        assert_int_equal(run->perturbation, how);
        assert_true(run->equal);
        if (how != MG_PERTURB_BATCH) assert_true(run->digest == result->digest && run->digest);
    }
}

static void test_right_subjects_pass(void **state) {
    (void)state;
    static const char *const subjects[] = {"moegemm", "reference", SUBJECT("example")};
    for (size_t i = 0; i < 3; i++) {
        const bool shipped = i == 0;
        const int repeats = shipped ? 20 : 6;
        mg_executor *x = open_executor(subjects[i], ALL, repeats);
        const mg_case cases[] = {
            case_of(W1, GG_FORWARD, GG_PERMUTE_X, MG_REAL, shipped ? GG_TMA_LOAD_W | GG_TMA_STORE : 0),
            case_of(W1, GG_FORWARD, 0, MG_EXACT, shipped ? GG_TMA_LOAD_X : 0),
            case_of(W2, GG_DX, GG_PERMUTE_Y, MG_REAL, 0),
            case_of(W1, GG_DW, 0, MG_REAL, shipped ? GG_TMA_LOAD_DY | GG_TMA_LOAD_X : 0),
            case_of("W1-topk1-E1-T129-H136-I36-mult", GG_FORWARD, 0, MG_EXACT, 0),
            case_of("W2-topk2-E4-T7-H72-I40-mult", GG_DW, GG_PERMUTE_Y, MG_REAL, 0),
            case_of("W1-topk1-E4-T0-H72-I20-mult", GG_DW, 0, MG_EXACT, 0),
        };
        for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
            const mg_result result = execute(x, cases[j]);
            expect_outcomes(&result, repeats, cases[j].cls);
        }
        mg_case pair = cases[0];
        pair.function.autograd = true;
        const mg_result result = execute(x, pair);
        expect_outcomes(&result, repeats, pair.cls);
        /* and a case after perturbed ones is as if they had not been */
        x->options.repeats = 1;
        x->perturb = 0;
        const mg_result plain = execute(x, pair);
        assert_true(plain.digest == result.digest && plain.data == result.data);
        mg_executor_close(x);
    }
}

/* The control: class real, because exact sums have the same bits in every order. */
static void test_race_is_reported(void **state) {
    (void)state;
    const mg_case c = case_of(W1, GG_FORWARD, GG_PERMUTE_X, MG_REAL, 0);
    mg_executor *x =
        open_executor(SUBJECT("racing"), ALL, 6); /* one, since the subject keeps device memory */
    mg_result result = execute(x, c);
    expect(&result, MG_FAILED, "'y' differs between runs 1 and 2 (stream): [");
    assert_int_equal(result.num_runs,
                     6); /* all are carried out, for the picture, but rows are not rerouted */
    result = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT, 0));
    expect(&result, MG_PASSED, "");
    x->options.repeats = 3;
    x->perturb = 0;
    result = execute(x, c);
    expect(&result, MG_FAILED, "'y' differs between runs 1 and 2: [");
    expect(&result, MG_FAILED, "\n2 of 2 repeats differ from run 1");
    assert_false(result.runs[1].equal);
    assert_true(result.runs[0].digest != result.runs[1].digest);
    mg_executor_close(x);
    result = execute_once(SUBJECT("in_order"), ALL, 20, c);
    expect_outcomes(&result, 20, c.cls);
}

typedef struct sensitive {
    const char *subject, *key;
    gg_op op;
    mg_perturbation own;
    const char *message;
} sensitive;

static void test_dependences_are_named(void **state) {
    (void)state;
    static const sensitive rows[] = {
        {SUBJECT("sensitive_sms"), W1, GG_FORWARD, MG_PERTURB_SMS,
         "'y' differs between runs 1 and 8 (sms): [511, 63] is "}, /* the second time it is one SM */
        {SUBJECT("sensitive_base"), W2, GG_DX, MG_PERTURB_BASE,
         "'dx' differs between runs 1 and 9 (base): [511, 31] is "},
        {SUBJECT("sensitive_rows"), W1, GG_FORWARD, MG_PERTURB_BATCH,
         "'y' changes when other rows go to other experts (batch): [511, 63] is "},
        {SUBJECT("sensitive_rows"), W2, GG_DX, MG_PERTURB_BATCH,
         "'dx' changes when other rows go to other experts (batch): [511, 31] is "},
        {SUBJECT("sensitive_rows"), W1, GG_DW, MG_PERTURB_BATCH,
         "'dw' changes when other rows go to other experts (batch): [255, 31] is "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sensitive *s = &rows[i];
        const mg_case c = case_of(s->key, s->op, 0, MG_EXACT, 0);
        mg_result result = execute_once(s->subject, ALL, 12, c);
        expect(&result, MG_FAILED, s->message);
        for (uint32_t j = 0; j < result.num_runs; j++)
            if (!result.runs[j].equal) assert_int_equal(result.runs[j].perturbation, s->own);
        result = execute_once(s->subject, ALL & ~BIT(s->own), 12, c);
        expect(&result, MG_PASSED, "");
    }
}

/* The key of the ledger: the same for the same, in any process, and another for anything else. */
static void test_identities(void **state) {
    (void)state;
    mg_executor *x = open_executor("moegemm", 0, 1);
    const mg_result a = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT, 0));
    const mg_result other_config = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT, GG_TMA_LOAD_W));
    const mg_result other_class = execute(x, case_of(W1, GG_FORWARD, 0, MG_UNIT, 0));
    mg_executor_close(x);
    x = open_executor("moegemm", 0, 1);
    const mg_result again = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT, 0));
    mg_executor_close(x);
    const mg_result other_subject =
        execute_once(SUBJECT("example"), 0, 1, case_of(W1, GG_FORWARD, 0, MG_EXACT, 0));
    assert_true(a.kernel && a.data);
    assert_true(a.kernel == again.kernel && a.data == again.data && a.digest == again.digest);
    assert_true(a.kernel != other_config.kernel && a.data == other_config.data);
    assert_true(a.kernel == other_class.kernel && a.data != other_class.data);
    assert_true(a.kernel != other_subject.kernel && a.data == other_subject.data);
    assert_true(a.digest == other_config.digest && a.digest == other_subject.digest); /* exact: one answer */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_subjects_pass),
        cmocka_unit_test(test_race_is_reported),
        cmocka_unit_test(test_dependences_are_named),
        cmocka_unit_test(test_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
