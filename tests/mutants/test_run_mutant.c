/* test_run_mutant.c: who runs and judges mutants tells a wrong kernel from a right one, and both from a row that makes no
 * kernel at all; and what of a harness's mutant is a kill. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel_mutants.h"
#include "tally.h"

/* --- kernels --- */

#define BODY "    grid_wait();\n"
/* A row that takes whatever happens for a kill. */
#define ROW(text)                                                                                            \
    {                                                                                                        \
        .name = "row", KERNEL("reference.cu"), .find = BODY, .replace = text, .fault = "a seeded fault",     \
        .cases = "forward_manual and reference and exact and topk1-E4-T7", .expected = ~0u, BOTH             \
    }

static tally run_row(const mutant *m) {
    static const settings s = {.backend = "sim",
                               .golden_dir = SOURCE_DIR "/golden",
                               .cache_dir = BINARY_DIR "/test-cache",
                               .cases = 16,
                               .limit = 9e6};
    tally t = {0};
    mg_cases cases;
    assert_int_equal(mg_cases_new(&cases), GG_OK);
    run_mutant(&s, m, &cases, &t);
    mg_cases_free(&cases);
    return t;
}

static void test_wrong_kernel_is_killed(void **state) {
    (void)state;
    const mutant m = ROW(BODY "    if (blockIdx.x == 0) return;\n");
    const tally t = run_row(&m);
    assert_string_equal(t.fault, "");
    assert_true(is_killed(&m, &t));
    assert_int_equal(t.killing, t.cases);
    assert_int_equal(t.by_check[BY_UNWRITTEN], t.cases);
}

static void test_launch_error_is_a_kill(void **state) {
    (void)state;
    const mutant m = ROW(BODY "    device_trap();\n");
    const tally t = run_row(&m);
    assert_string_equal(t.fault, "");
    assert_true(is_killed(&m, &t));
    assert_int_equal(t.by_check[BY_LAUNCH], t.cases);
}

/* Right the first time alone; the shipped kernels, which stumble over the same, are judged without it. */
static void test_what_is_left_behind_is_the_mutants(void **state) {
    (void)state;
    mutant m = ROW("");
    m.file = "kernels/device/wgmma_producer.h";
    m.find = "end_draws(p, &walk, number);";
    m.replace = "(void)0;";
    m.cases = "forward_manual and wgmma and exact and T1024";
    const tally t = run_row(&m);
    assert_string_equal(t.fault, "");
    assert_true(is_killed(&m, &t));
    assert_true(t.cases > 4);
    assert_int_equal(t.killing, t.cases);
}

static void test_right_kernel_survives(void **state) {
    (void)state;
    const mutant m = ROW(BODY "    /* and nothing else */\n");
    const tally t = run_row(&m);
    assert_string_equal(t.fault, "");
    assert_true(t.cases > 4);
    assert_int_equal(t.killing, 0);
    assert_false(is_killed(&m, &t));
    assert_false(t.stale);
}

/* Whatever other cases said: here those in bf16, which come first. */
static void test_what_does_not_compile_is_stale(void **state) {
    (void)state;
    const mutant never = ROW(BODY "    not_declared();\n");
    const mutant fp16_alone = ROW(BODY "#if DTYPE\n    not_declared();\n#else\n    return;\n#endif\n");
    for (int i = 0; i < 2; i++) {
        const mutant *m = i ? &fp16_alone : &never;
        const tally t = run_row(m);
        const char *start = "does not compile: adapt the row: ";
        assert_true(t.stale);
        assert_false(is_killed(m, &t));
        assert_ptr_equal(strstr(t.fault, start), t.fault);
        assert_non_null(strstr(t.fault, "not_declared"));
        assert_int_equal(t.by_check[BY_LAUNCH], 0);
        assert_int_equal(t.killing != 0, i);
    }
}

static void test_other_stale_rows(void **state) {
    (void)state;
    mutant m = ROW(BODY);
    m.find = "no text of the source";
    tally t = run_row(&m);
    assert_true(t.stale && !is_killed(&m, &t));
    assert_non_null(strstr(t.fault, "text not found for mutant 'row'"));
    m.file = "kernels/plan.c";
    t = run_row(&m);
    assert_true(t.stale && !is_killed(&m, &t));
    assert_non_null(strstr(t.fault, "not built: name it"));
}

/* --- the harness --- */

static void test_variants(void **state) {
    (void)state;
    static const struct {
        const char *command;
        bool runner, killed;
        const char *line;
    } rows[] = {
        {"echo '[  FAILED  ] test_part: 1'; exit 1", false, true, "test_part"},
        {"exit 3", false, true, "exit status 3"},
        {"true", false, false, ""},
        {"./no_such_program 2>&1", false, false, "exit status 127"},
        {"echo 'SURVIVED  mutant 0 of 16 cases: '; exit 1", true, true, "SURVIVED  mutant 0 of 16 cases"},
        {"true", true, false, ""},
        {"echo 'STALE     mutant 3 of 4 cases: '; exit 2", true, false, "STALE     mutant 3 of 4 cases"},
        {"exit 4", true, false, "exit status 4"}, /* an option it does not know, or no such mutant */
        {"./no_such_program 2>&1", true, false, "exit status 127"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[LINE_SIZE];
        assert_int_equal(run_variant(rows[i].command, rows[i].runner, line), rows[i].killed);
        assert_string_equal(line, rows[i].line);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_kernel_is_killed),
        cmocka_unit_test(test_launch_error_is_a_kill),
        cmocka_unit_test(test_what_is_left_behind_is_the_mutants),
        cmocka_unit_test(test_right_kernel_survives),
        cmocka_unit_test(test_what_does_not_compile_is_stale),
        cmocka_unit_test(test_other_stale_rows),
        cmocka_unit_test(test_variants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
