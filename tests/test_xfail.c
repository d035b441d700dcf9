/* test_xfail.c: a listed failure is expected, a listed pass is a failure, and what is not listed stays what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "xfail.h"

static const char table[] = "/tmp/test_xfail.table";

static gg_status open_table(mg_xfail **x, const char *text, const char *arch, char error[MG_ERROR_SIZE]) {
    FILE *out = fopen(table, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    gg_status status = mg_xfail_open(x, table, arch, error);
    unlink(table);
    return status;
}

static mg_result apply(const mg_xfail *x, const char *id, mg_verdict verdict, const char *message) {
    mg_result result = {.verdict = verdict};
    snprintf(result.message, sizeof result.message, "%s", message);
    mg_xfail_apply(x, id, &result);
    return result;
}

static void test_verdicts(void **state) {
    (void)state;
    char error[MG_ERROR_SIZE] = "";
    mg_xfail *x;
    const char *text = "# a comment\n"
                       "dW and E16-\tsim\tthe simulator has no such thing\n"
                       "\n"
                       "forward\tsm_90a\tnot here\n"
                       "fp16 and not unit\t*\teverywhere";
    if (open_table(&x, text, "sim", error)) fail_msg("%s", error);
    mg_result r = apply(x, "f_dW[E16-bf16]", MG_FAILED, "'dw' is wrong\nmore");
    assert_int_equal(r.verdict, MG_XFAILED);
    assert_string_equal(r.message, "the simulator has no such thing\n'dw' is wrong\nmore");
    assert_int_equal(apply(x, "f_dW[E16-bf16]", MG_ERROR, "").verdict, MG_XFAILED);
    r = apply(x, "f_dW[E16-bf16]", MG_PASSED, "");
    assert_int_equal(r.verdict, MG_FAILED);
    assert_string_equal(
        r.message, "passed but expected to fail: the simulator has no such thing (remove its line from the "
                   "table)");
    assert_int_equal(apply(x, "f_dW[E16-bf16]", MG_SKIPPED, "").verdict, MG_SKIPPED);
    assert_int_equal(apply(x, "f_dW[E16-bf16]", MG_MISTRUSTED, "").verdict, MG_MISTRUSTED);
    r = apply(x, "f_dW[E4-bf16]", MG_FAILED, "mine");
    assert_int_equal(r.verdict, MG_FAILED);
    assert_string_equal(r.message, "mine");
    assert_int_equal(apply(x, "f_dW[E4-bf16]", MG_PASSED, "").verdict, MG_PASSED);
    assert_int_equal(apply(x, "forward[E4-bf16]", MG_FAILED, "").verdict, MG_FAILED); /* elsewhere only */
    assert_int_equal(apply(x, "forward[E4-fp16-real]", MG_FAILED, "").verdict, MG_XFAILED);
    assert_int_equal(apply(x, "forward[E4-fp16-unit]", MG_FAILED, "").verdict, MG_FAILED);
    mg_xfail_close(x);
}

static void test_mistakes(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"dW sim reason\n",
         "xfail table, line 1: not an expression, an architecture and a reason, parted by tabs"},
        {"#\n\ndW\tsim\n",
         "xfail table, line 3: not an expression, an architecture and a reason, parted by tabs"},
        {"dW\tsim\t\n",
         "xfail table, line 1: not an expression, an architecture and a reason, parted by tabs"},
        {"dW or\tsim\treason\n",
         "xfail table, line 1: Wrong expression passed to '-k': dW or: at column 6: "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char error[MG_ERROR_SIZE] = "";
        mg_xfail *x;
        assert_int_equal(open_table(&x, rows[i].text, "sim", error), GG_ERR_ARGUMENT);
        assert_null(x);
        if (strncmp(error, rows[i].error, strlen(rows[i].error))) fail_msg("'%s'", error);
    }
    char error[MG_ERROR_SIZE] = "";
    mg_xfail *x;
    assert_int_equal(mg_xfail_open(&x, "/nowhere/t", "sim", error), GG_ERR_IO);
    assert_string_equal(error, "cannot read '/nowhere/t': No such file or directory (--xfail)");
    assert_int_equal(mg_xfail_open(&x, "/tmp", "sim", error), GG_ERR_IO); /* opens, but cannot be read */
    assert_string_equal(error, "cannot read '/tmp': Is a directory (--xfail)");
}

/* What is shipped holds nothing unknown, and an empty file nothing at all. */
static void test_tables_that_list_nothing(void **state) {
    (void)state;
    char error[MG_ERROR_SIZE] = "";
    mg_xfail *x;
    if (mg_xfail_open(&x, NULL, "no_such_architecture", error)) fail_msg("%s", error);
    assert_int_equal(apply(x, "forward[E4]", MG_FAILED, "").verdict, MG_FAILED);
    mg_xfail_close(x);
    if (open_table(&x, "", "sim", error)) fail_msg("%s", error);
    assert_int_equal(apply(x, "forward[E4]", MG_PASSED, "").verdict, MG_PASSED);
    mg_xfail_close(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_tables_that_list_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
