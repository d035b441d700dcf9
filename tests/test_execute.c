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
#include "same_config.h"

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

/* --- right subjects --- */

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

/* --- wrong subjects --- */

typedef struct wrong {
    const char *subject, *key;
    gg_op op;
    unsigned fusions;
    mg_class cls;
    const char *message;
} wrong;

static const wrong wrongs[] = {
    {SUBJECT("wrong_drops_last_k"), W1, GG_FORWARD, GG_PERMUTE_X, MG_EXACT, "'y' is wrong: [0, 0] (expert "},
    {SUBJECT("wrong_drops_last_k"), W2, GG_DX, GG_PERMUTE_Y, MG_UNIT, "'dx' is wrong: [0, 0] (expert 0)"},
    {SUBJECT("wrong_drops_last_k"), W1, GG_FORWARD, 0, MG_REAL, "of its bound"},
    {SUBJECT("wrong_expert_at_boundary"), W1, GG_FORWARD, 0, MG_EXACT, "(expert 0)"},
    {SUBJECT("wrong_expert_at_boundary"), W1, GG_DW, 0, MG_EXACT, "'dw' is wrong: [0, 0] (expert 0)"},
    {SUBJECT("wrong_writes_past_end"), W1, GG_FORWARD, 0, MG_EXACT,
     "run 1 wrote outside 'y', past its end: first at byte 10, in 1 places"},
    {SUBJECT("wrong_writes_past_end"), W2, GG_DW, GG_PERMUTE_Y, MG_EXACT,
     "run 1 wrote outside 'dw', past its end: first at byte 10"},
    {SUBJECT("wrong_reads_past_end"), W1, GG_FORWARD, 0, MG_EXACT, "'y' is wrong: [0, 0] (expert 0) is nan"},
    {SUBJECT("wrong_reads_past_end"), W1, GG_DW, GG_PERMUTE_X, MG_EXACT,
     "'dw' is wrong: [0, 0] (expert 0) is nan"},
    {SUBJECT("wrong_modifies_input"), W1, GG_FORWARD, GG_PERMUTE_X, MG_EXACT,
     "input 'x' was modified: [1, 3] was 0x"},
    {SUBJECT("wrong_modifies_input"), W2, GG_DX, 0, MG_EXACT, "input 'dy' was modified: [1, 3] was 0x"},
    {SUBJECT("wrong_nondeterministic"), W1, GG_FORWARD, 0, MG_EXACT,
     "'y' differs between runs 1 and 2 (negate): [511, 63] is "},
    {SUBJECT("wrong_nondeterministic"), W2, GG_DX, 0, MG_REAL,
     "'dx' differs between runs 1 and 2: [511, 31] is "},
    {SUBJECT("wrong_leaves_tile"), W1, GG_FORWARD, 0, MG_EXACT,
     "'y' is wrong: [0, 8] (expert 0) is nan (poison: never written)"},
    {SUBJECT("wrong_leaves_tile"), W1, GG_DX, GG_PERMUTE_X, MG_REAL, "(poison: never written)"},
    {SUBJECT("wrong_writes_once"), W1, GG_FORWARD, 0, MG_EXACT,
     "then -nan (0xfffd); in 1 places of 16 bytes"},
    {SUBJECT("wrong_rounds_toward_zero"), W1, GG_FORWARD, 0, MG_EXACT, "'y' is wrong: "},
    {SUBJECT("wrong_rounds_toward_zero"), W1, GG_DX, 0, MG_REAL, "'dx' is wrong: "},
    {SUBJECT("wrong_weights_before_rounding"), W2, GG_FORWARD, GG_PERMUTE_Y | GG_FUSE_MUL_POST, MG_EXACT,
     "'y' is wrong: "},
    {SUBJECT("wrong_nan"), W1, GG_FORWARD, 0, MG_EXACT, "is nan, expected"},
    {SUBJECT("wrong_nan"), W2, GG_FORWARD, GG_PERMUTE_Y, MG_REAL, "is nan, expected"},
};

static void test_wrong_subjects_fail(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(wrongs); i++) {
        const wrong *w = &wrongs[i];
        mg_execute_options options = options_of(w->subject);
        options.user_seed = 7;
        mg_executor *x = open_executor(&options);
        mg_result result = execute(x, case_of(w->key, w->op, w->fusions, w->cls));
        expect(&result, MG_FAILED, w->message);
        mg_executor_close(x);
    }
}

/* --- a workspace --- */

static mg_case copying(const char *key, gg_op op, unsigned fusions) {
    mg_case c = case_of(key, op, fusions, MG_EXACT);
    c.config.copy_rows = true;
    return c;
}

/* A subject may use it as it likes or not at all: what is in it is no result. Beside it nothing may be written, in any launch. */
static void test_workspace_is_guarded(void **state) {
    (void)state;
    static const struct {
        const char *subject;
        mg_verdict verdict;
        const char *message;
    } rows[] = {
        {"moegemm", MG_PASSED, ""},
        {"reference", MG_PASSED, ""},
        {SUBJECT("example"), MG_PASSED, ""}, /* ignores copy_rows */
        {SUBJECT("wrong_writes_past_workspace"), MG_FAILED,
         "run 1 wrote outside 'workspace', past its end: first at byte 10, in 1 places of 16 bytes"},
        {SUBJECT("wrong_writes_before_workspace"), MG_FAILED,
         "run 1 wrote outside 'workspace', before its start: first at byte 2, in 1 places of 16 bytes"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        mg_execute_options options = options_of(rows[i].subject);
        options.user_seed = 7;
        options.perturb = ~1u;
        options.repeats = 8;
        mg_executor *x = open_executor(&options);
        const mg_case cases[] = {copying(W1, GG_FORWARD, GG_PERMUTE_X), copying(W2, GG_DX, GG_PERMUTE_Y),
                                 copying(W1, GG_DW, GG_PERMUTE_X), copying(W2, GG_DW, GG_PERMUTE_Y)};
        for (size_t j = 0; j < COUNT(cases); j++) {
            mg_result result = execute(x, cases[j]);
            expect(&result, rows[i].verdict, rows[i].message);
            if (rows[i].verdict == MG_FAILED)
                assert_null(strchr(result.message, '\n')); /* and nothing else */
            mg_case pair = cases[j];
            pair.function.autograd = true;
            result = execute(x, pair);
            expect(&result, rows[i].verdict, rows[i].message);
        }
        /* without copy_rows there is none, so that nobody strays */
        mg_result result = execute(x, case_of(W1, GG_FORWARD, GG_PERMUTE_X, MG_EXACT));
        expect(&result, MG_PASSED, "");
        mg_executor_close(x);
    }
}

/* What a launch leaves there is gone before the next. */
static void test_workspace_is_poisoned(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("wrong_remembers_workspace"));
    options.user_seed = 7;
    mg_executor *x = open_executor(&options);
    mg_case c = copying(W1, GG_FORWARD, GG_PERMUTE_X);
    c.cls = MG_REAL; /* no signs are changed */
    mg_result result = execute(x, c);
    expect(&result, MG_FAILED, "'y' differs between runs 1 and 2: [0, 0] is ");
    expect(&result, MG_FAILED, "(0x7ffd)");
    mg_executor_close(x);
}

/* Of exactly the size that the op wants, and only for the op that may copy. */
static void test_workspace_is_for_who_copies(void **state) {
    (void)state;
    mg_execute_options options = options_of("moegemm");
    mg_executor *x = open_executor(&options);
    mg_case c = copying(W1, GG_DW, GG_PERMUTE_X);
    c.function.autograd = true;
    mg_result result = execute(x, c);
    expect(&result, MG_PASSED, "");
    for (int autotune = 0; autotune < 2; autotune++)
        for (gg_op op = 0; op < GG_NUM_OPS; op++) {
            c.function.autotune = autotune;
            const gg_problem problem = mg_case_problem(&c, op);
            const mg_run run = {.x = x, .c = &c, .result = &result};
            const gg_tensors tensors = mg_run_tensors(&run, op, 0);
            const bool wanted = autotune ? op != GG_DX : op == GG_DW;
            assert_int_equal(tensors.workspace_bytes, wanted ? 512 * 32 * 2 : 0);
            assert_int_equal(tensors.workspace_bytes, wanted ? gg_workspace_bytes(&problem) : 0);
            assert_ptr_equal(tensors.workspace, wanted ? mg_region_data(&x->workspace) : NULL);
            assert_int_equal(x->workspace.bytes, 512 * 32 * 2);
        }
    mg_executor_close(x);
}

/* A fault in any op of the pair fails the case, and the difference kept is that of the wrong output. */
static void test_wrong_pair(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("wrong_drops_last_k"));
    mg_executor *x = open_executor(&options);
    mg_result result = execute(x, autograd_of(W1, GG_DW, GG_PERMUTE_X, MG_EXACT));
    expect(&result, MG_FAILED, "'y' is wrong");
    expect(&result, MG_FAILED, "\n'dx' is wrong");
    expect(&result, MG_FAILED, "\n'dx_reduced' is wrong");
    assert_null(strstr(result.message, "'dw'"));
    assert_string_equal(result.difference.output, "y");
    assert_int_equal(result.repeats, 1); /* wrong at once: not repeated */
    mg_executor_close(x);
}

/* A modified input does not reach the next case. */
static void test_inputs_are_restored(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("wrong_modifies_input"));
    mg_executor *x = open_executor(&options);
    for (int i = 0; i < 2; i++) {
        mg_result result = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT));
        expect(&result, MG_FAILED, "input 'x' was modified");
        assert_null(strstr(result.message, "wrong"));
    }
    mg_executor_close(x);
}

/* One launch cannot show what differs between launches. */
static void test_repeats_are_counted(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("wrong_nondeterministic"));
    options.repeats = 1;
    mg_executor *x = open_executor(&options);
    mg_result result = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT));
    expect(&result, MG_PASSED, "");
    assert_int_equal(result.repeats, 1);
    mg_executor_close(x);
}

/* --- the verdicts other than passed and failed --- */

static void test_missing_golden_is_an_error(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("example"));
    mg_executor *x = open_executor(&options);
    mg_result result = execute(x, case_of("W1-topk4-E16-T128-H512-I512-mult", GG_DW, 0, MG_REAL));
    expect(&result, MG_SKIPPED, "work 2.7e+08 above the simulator limit 2.6e+07 (raise with --sim-limit)");
    x->options.sim_limit = 1e9;
    result = execute(x, case_of("W1-topk4-E16-T128-H512-I512-mult", GG_DW, 0, MG_REAL));
    expect(&result, MG_ERROR, "moegemm golden generate");
    result = execute(x, case_of(W1, GG_FORWARD, 0, MG_EXACT)); /* and the next case runs */
    expect(&result, MG_PASSED, "");
    mg_executor_close(x);
}

static void test_mistrusted(void **state) {
    (void)state;
    mg_execute_options options = options_of(SUBJECT("example"));
    mg_executor *x = open_executor(&options);
    const mg_case c = case_of(W1, GG_FORWARD, 0, MG_EXACT);
    mg_result result = {.verdict = MG_PASSED};
    mg_run run = {.x = x, .c = &c, .result = &result};
    char error[MG_ERROR_SIZE];
    assert_int_equal(mg_data_get(&x->cache, x->corpus, &c, 0, &run.data, error), GG_OK);
    mg_golden zero = {.rows = (size_t)c.problem->M, .cols = (size_t)c.problem->N};
    zero.bits = calloc(zero.rows * zero.cols, sizeof *zero.bits);
    mg_judge_against(&run, MG_RES_Y, MG_EXACT, &zero, zero.bits);
    expect(&result, MG_MISTRUSTED, "the check of 'y' could not have failed: its golden is all zero");
    mg_note(&result, MG_FAILED, "more"); /* a failure is worse */
    expect(&result, MG_FAILED, "all zero\nmore");
    mg_golden_free(&zero);
    mg_executor_close(x);
}

static void test_refusals(void **state) {
    (void)state;
    mg_execute_options options = options_of("moegemm");
    mg_executor *x = open_executor(&options);
    mg_case c = case_of(W1, GG_FORWARD, GG_PERMUTE_X | GG_PERMUTE_Y, MG_EXACT);
    c.refusal = true;
    mg_result result = execute(x, c);
    expect(&result, MG_PASSED, "");
    c.refusal = false;
    result = execute(x, c);
    expect(&result, MG_FAILED, "forward is refused: ");
    c = case_of(W1, GG_FORWARD, GG_PERMUTE_X, MG_EXACT);
    c.refusal = true;
    result = execute(x, c);
    expect(&result, MG_FAILED, "must be refused");
    mg_executor_close(x);

    /* a subject of one's own may take more or less than the shipped kernels */
    options = options_of(SUBJECT("example"));
    x = open_executor(&options);
    result = execute(x, c);
    expect(&result, MG_SKIPPED, "accepts what the shipped kernels refuse");
    c = case_of(W2, GG_FORWARD, GG_FUSE_MUL_POST, MG_EXACT);
    result = execute(x, c);
    expect(&result, MG_SKIPPED, "subject 'example' refuses forward: fuse_mul_post needs permute_y");
    mg_executor_close(x);
}

static void test_skips(void **state) {
    (void)state;
    char reason[MG_ERROR_SIZE] = "";
    mg_execute_options options = options_of("moegemm");
    const gg_device ampere = {
        .cc = 80, .sm_count = 108, .smem_per_block = 166912, .smem_per_sm = 167936, .threads_per_sm = 2048};
    gg_device hopper = ampere;
    hopper.cc = 90;
    hopper.smem_per_block = 232448;
    mg_case c = case_of(W1, GG_FORWARD, 0, MG_EXACT);
    assert_false(mg_execute_skips(&options, &ampere, &c, reason));
    c.config.tma = GG_TMA_LOAD_W;
    assert_true(mg_execute_skips(&options, &ampere, &c, reason));
    assert_string_equal(reason, "needs TMA (sm_90 or later), device is sm_80");
    assert_false(mg_execute_skips(&options, &hopper, &c, reason));
    c.refusal = true; /* a refusal needs no device */
    assert_false(mg_execute_skips(&options, &ampere, &c, reason));

    c = case_of(W1, GG_FORWARD, 0, MG_EXACT);
    c.config = (gg_config){.mainloop = GG_MMA_SYNC,
                           .block_m = 128,
                           .block_n = 128,
                           .block_k = 64,
                           .num_warps = 8,
                           .num_stages = 6};
    assert_false(mg_execute_skips(&options, &hopper, &c, reason));
    assert_true(mg_execute_skips(&options, &ampere, &c, reason));
    assert_non_null(strstr(reason, "shared memory"));

    c = case_of("W1-topk1-E16-T128-H1024-I1024-mult", GG_FORWARD, 0, MG_EXACT);
    options.sim_limit = 1e12;
    assert_false(mg_execute_skips(&options, &hopper, &c, reason));
    options.user_seed = 7;
    assert_true(mg_execute_skips(&options, &hopper, &c, reason));
    assert_non_null(strstr(reason, "--seed"));
}

static void test_plans(void **state) {
    (void)state;
    enum { CAPACITY = 64 };
    gg_plan plans[CAPACITY];
    mg_execute_options options = options_of("moegemm");
    const gg_device device = {
        .cc = 90, .sm_count = 132, .smem_per_block = 232448, .smem_per_sm = 233472, .threads_per_sm = 2048};
    mg_case c = case_of(W1, GG_FORWARD, GG_PERMUTE_X, MG_EXACT);
    c.config.tma = GG_TMA_LOAD_W;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 1);
    assert_int_equal(plans[0].config.tma, GG_TMA_LOAD_W);
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, 0), 1); /* counts what does not fit */
    c.function.autograd = true;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 3);
    for (gg_op op = 0; op < GG_NUM_OPS; op++) {
        assert_int_equal(plans[op].problem.op, op);
        assert_int_equal(plans[op].config.tma, op == GG_FORWARD ? GG_TMA_LOAD_W : 0);
        assert_int_equal(plans[op].config.block_n, 32);
    }
    options.subject = "reference";
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 3);
    assert_int_equal(plans[0].config.mainloop, GG_REFERENCE);
    options.subject = SUBJECT("example");
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 0);
    options.subject = "moegemm";
    c.function = (mg_function){.op = GG_DX, .autotune = true};
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), options.autotune_limit);
    /* what a search with a workspace will try, copies among it where rows are gathered */
    options.autotune_limit = 30;
    for (gg_op op = 0; op < GG_NUM_OPS; op++) {
        gg_config tried[30];
        c.function.op = op;
        const gg_problem problem = mg_case_problem(&c, op);
        const size_t count = mg_execute_plans(&options, &device, &c, plans, CAPACITY);
        assert_int_equal(count, 30);
        gg_candidate_configs(&problem, &device, gg_workspace_bytes(&problem) > 0, tried, 30);
        unsigned copied = 0;
        for (size_t i = 0; i < count; i++) {
            assert_true(same_config(&plans[i].config, &tried[i]));
            copied += tried[i].copy_rows;
        }
        assert_int_equal(copied > 0, op != GG_DX);
    }
    c = copying(W1, GG_FORWARD, GG_PERMUTE_X);
    c.function.autograd = true;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 3);
    for (gg_op op = 0; op < GG_NUM_OPS; op++)
        assert_int_equal(plans[op].copied, op == GG_FORWARD ? GG_PERMUTE_X : 0);
    options.subject = "reference";
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 3);
    assert_int_equal(plans[0].copied, 0);
    options.subject = "moegemm";
    c.refusal = true;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), 0);
}

static void test_autotune(void **state) {
    (void)state;
    mg_execute_options options = options_of("moegemm");
    mg_executor *x = open_executor(&options);
    mg_case c = case_of("W1-topk2-E4-T7-H72-I20-mult", GG_FORWARD, GG_PERMUTE_X, MG_EXACT);
    c.function.autotune = true;
    options.user_seed = x->options.user_seed = 7;
    mg_result result = execute(x, c);
    expect(&result, MG_PASSED, "");
    assert_non_null(strstr(result.config, "-bm"));
    mg_executor_close(x);
}

static void test_subjects_that_do_not_load(void **state) {
    (void)state;
    const mg_subject *subject;
    char error[512];
    assert_int_equal(mg_subject_find("nonsense", &subject, error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(error, "unknown subject 'nonsense'"));
    assert_int_equal(mg_subject_find("./nonsense.so", &subject, error), GG_ERR_IO);
    assert_non_null(strstr(error, "./nonsense.so"));
    assert_int_equal(mg_subject_find(SUBJECT("not_a_subject"), &subject, error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(error, "does not export mg_subject_get"));
    assert_int_equal(mg_subject_find(SUBJECT("old_subject"), &subject, error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(error, "has interface version 0, this harness has 2"));
    assert_int_equal(mg_subject_find("reference", &subject, error), GG_OK);
    assert_ptr_equal(subject, &mg_subject_reference);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_passes),
        cmocka_unit_test(test_reference_passes),
        cmocka_unit_test(test_committed_goldens),
        cmocka_unit_test(test_wrong_subjects_fail),
        cmocka_unit_test(test_workspace_is_guarded),
        cmocka_unit_test(test_workspace_is_poisoned),
        cmocka_unit_test(test_workspace_is_for_who_copies),
        cmocka_unit_test(test_wrong_pair),
        cmocka_unit_test(test_inputs_are_restored),
        cmocka_unit_test(test_repeats_are_counted),
        cmocka_unit_test(test_missing_golden_is_an_error),
        cmocka_unit_test(test_mistrusted),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_skips),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_autotune),
        cmocka_unit_test(test_subjects_that_do_not_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
