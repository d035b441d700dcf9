/* test_memory.c: a case takes no more device memory than is said of it, an executor no more than it is granted, and a case
 * that is granted too little says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block.h"
#include "execute_internal.h"

/* --- the simulator's allocations, counted by way of the linker's --wrap --- */

static size_t held, most;
static struct {
    void *data;
    size_t bytes;
} allocations[256];

gg_status __real_gg_sim_memory_alloc(void *memory, size_t bytes, void **out);
void __real_gg_sim_memory_free(void *memory, void *data);
gg_status __wrap_gg_sim_memory_alloc(void *memory, size_t bytes, void **out);
void __wrap_gg_sim_memory_free(void *memory, void *data);

gg_status __wrap_gg_sim_memory_alloc(void *memory, size_t bytes, void **out) {
    size_t i = 0;
    gg_status status = __real_gg_sim_memory_alloc(memory, bytes, out);
    assert_int_equal(status, GG_OK);
    while (allocations[i].data) assert_true(++i < sizeof allocations / sizeof *allocations);
    allocations[i].data = *out;
    allocations[i].bytes = bytes;
    held += bytes;
    if (held > most) most = held;
    return status;
}
void __wrap_gg_sim_memory_free(void *memory, void *data) {
    size_t i = 0;
    while (allocations[i].data != data) assert_true(++i < sizeof allocations / sizeof *allocations);
    held -= allocations[i].bytes;
    allocations[i].data = NULL;
    __real_gg_sim_memory_free(memory, data);
}

/* --- cases --- */

static const mg_execute_options options = {.backend = "sim",
                                           .subject = "moegemm",
                                           .golden_dir = SOURCE_DIR "/golden",
                                           .cache_dir = BINARY_DIR "/test-cache",
                                           .repeats = 7,
                                           .perturb = ~1u,
                                           .user_seed = 7,
                                           .sim_limit = 26e6,
                                           .autotune_limit = 2};

typedef struct list {
    mg_case items[64];
    size_t count;
} list;

static void add_block(void *data, const mg_case *c) {
    list *l = data;
    if (c->dtype || c->function.autotune || !strstr(c->problem->key, "norm_topk_prob-topk2-E8-T61")) return;
    l->items[l->count++] = *c;
}

/* Every op and set of flags of two small problems, and blocks. */
static list cases(void) {
    static const char *const keys[] = {"W1-topk4-E4-T128-H32-I32-mult", "W2-topk4-E4-T128-H32-I32-mult"};
    static const gg_config tile = {.mainloop = GG_MMA_SYNC,
                                   .block_m = 32,
                                   .block_n = 32,
                                   .block_k = 32,
                                   .num_warps = 4,
                                   .num_stages = 2};
    list l = {.count = 0};
    /* a workspace beside all that */
    l.items[l.count] = (mg_case){
        .problem = mg_problem_find(keys[0]), .cls = MG_EXACT, .fusions = GG_PERMUTE_X, .config = tile};
    l.items[l.count++].config.copy_rows = true;
    l.items[l.count] = (mg_case){.problem = mg_problem_find(keys[1]),
                                 .function.op = GG_DW,
                                 .function.autograd = true,
                                 .cls = MG_EXACT,
                                 .fusions = GG_PERMUTE_Y,
                                 .config = tile};
    l.items[l.count++].config.copy_rows = true;
    for (size_t i = 0; i < 2; i++)
        for (gg_op op = 0; op < GG_NUM_OPS; op++)
            for (int autograd = 0; autograd < (op ? 1 : 2); autograd++)
                for (int permuted = 0; permuted < 2; permuted++)
                    l.items[l.count++] = (mg_case){.problem = mg_problem_find(keys[i]),
                                                   .function = {.op = op, .autograd = autograd},
                                                   .cls = MG_EXACT,
                                                   .fusions = !permuted ? 0
                                                              : i       ? GG_PERMUTE_Y
                                                                        : GG_PERMUTE_X,
                                                   .config = tile};
    mg_block_cases(add_block, &l);
    assert_true(l.count > 25);
    return l;
}

static mg_executor *open_executor(void) {
    char error[MG_ERROR_SIZE] = "";
    mg_executor *x = NULL;
    if (mg_executor_open(&x, &options, error) != GG_OK) fail_msg("%s", error);
    return x;
}

static void execute(mg_executor *x, const mg_case *c, mg_result *result) {
    bool lost;
    *result = (mg_result){0};
    mg_execute(x, c, result, &lost);
    assert_false(lost);
}

static void expect_pass(mg_executor *x, const mg_case *c) {
    char id[MG_ID_SIZE];
    mg_result result;
    execute(x, c, &result);
    mg_case_id(c, id);
    if (result.verdict != MG_PASSED) fail_msg("%s: %s", id, result.message);
    if (!c->block && strstr(result.message, "hashes"))
        fail_msg("%s ran out of what it was granted: %s", id, result.message);
}

/* --- tests --- */

/* What is said is what is used: enough to pass on, with nothing left over. */
static void cases_take_what_is_said(void **state) {
    const list l = cases();
    (void)state;
    for (size_t i = 0; i < l.count; i++) {
        mg_executor *x = open_executor();
        const size_t before = held;
        const uint64_t said = mg_case_memory(&options, &l.items[i]);
        most = held;
        mg_executor_grant(x, said);
        expect_pass(x, &l.items[i]);
        if (most - before > said || (double)(most - before) < 0.6 * (double)said)
            fail_msg("case %zu: %zu bytes taken, %llu said", i, most - before, (unsigned long long)said);
        mg_executor_close(x);
    }
}

/* What one case has left makes room for the next, and a smaller grant takes effect at once. */
static void executors_hold_what_is_granted(void **state) {
    const list l = cases();
    uint64_t largest = 0;
    (void)state;
    for (size_t i = 0; i < l.count; i++)
        if (mg_case_memory(&options, &l.items[i]) > largest) largest = mg_case_memory(&options, &l.items[i]);
    mg_executor *x = open_executor();
    const size_t before = held;
    mg_executor_grant(x, largest);
    most = held;
    for (size_t i = 0; i < l.count; i++) expect_pass(x, &l.items[i * 5 % l.count]);
    assert_true(most - before <= largest);
    assert_true(held - before > 0 && x->held == held - before);
    mg_executor_grant(x, 1);
    assert_int_equal(held, before);
    mg_executor_grant(x, 0); /* no bound: everything is kept */
    for (size_t i = 0; i < l.count; i++) expect_pass(x, &l.items[i]);
    assert_true(held - before > largest);
    mg_executor_close(x);
}

/* Granted less and less, a case first does without what only makes it faster or tells more, and is judged all the same; then
 * it is an error that says so. */
static void too_little_is_told(void **state) {
    const list l = cases();
    (void)state;
    for (size_t i = 0; i < l.count; i += 3) {
        const mg_case *c = &l.items[i];
        const uint64_t said = mg_case_memory(&options, c);
        bool short_of_memory = false, failed = false;
        mg_executor *x = open_executor();
        for (uint64_t eighths = 7; eighths > 0; eighths--) {
            mg_result result;
            mg_executor_grant(x, said * eighths / 8);
            execute(x, c, &result);
            failed |= result.verdict != MG_PASSED;
            if (failed &&
                (result.verdict != MG_ERROR || strncmp(result.message, "the case takes ", 15) ||
                 !strstr(result.message, ": use a device with more, end what else uses this one, or run "
                                         "it with -n 1\n")))
                fail_msg("case %zu with %llu eighths of %llu: %s", i, (unsigned long long)eighths,
                         (unsigned long long)said, result.message);
            short_of_memory |= strstr(result.message, "compared by 64-bit hashes") != NULL;
        }
        assert_true(failed && (short_of_memory || c->block));
        mg_executor_grant(x, said); /* nothing is the worse for it */
        expect_pass(x, c);
        mg_executor_close(x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_take_what_is_said),
        cmocka_unit_test(executors_hold_what_is_granted),
        cmocka_unit_test(too_little_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
