/* test_filter.c: -k expressions: what matches, every error with pytest's text and column, depth and speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "filter.h"

static const char id[] =
    "grouped_gemm_forward_manual[W1-permute_x-use_tma_load_w-topk16-E8-T128-H72-I36-bf16-exact-"
    "mult-mma_sync-bm32-bn32-bk32-w4-s2]";

/* Whether `expression` matches `id`; an expression that does not compile fails the test. */
static bool matches(const char *expression) {
    mg_filter *filter;
    char error[MG_ERROR_SIZE], lowered[sizeof id];
    if (mg_filter_new(&filter, expression, error)) fail_msg("%s", error);
    memcpy(lowered, id, sizeof id);
    mg_filter_lower(lowered);
    bool truth = mg_filter_matches(filter, lowered);
    mg_filter_free(filter);
    return truth;
}

static void test_truth(void **state) {
    (void)state;
    static const struct {
        const char *expression;
        bool truth;
    } rows[] = {
        {NULL, true},
        {"", true},
        {" \t\n", true},
        {"\xc2\xa0 forward", true}, /* no-break space is stripped too */
        {"forward", true},
        {"backward", false},
        {"FORWARD", true}, /* case does not count */
        {"w1", true},
        {"[W1-permute_x", true},
        {"topk1", true},
        {"topk1-", false}, /* dashes make it exact */
        {"topk16-", true},
        {"s2]", true},
        {"forward and tma", true},
        {"forward and autotune", false},
        {"autotune or tma", true},
        {"autotune or fp16", false},
        {"not autotune", true},
        {"not tma", false},
        {"not not tma", true},
        {"not\tnot not tma", false},
        {"fp16 and unit or tma", true},
        {"fp16 and tma or exact", true},
        {"exact or fp16 and unit", true}, /* and binds before or */
        {"(exact or fp16) and unit", false},
        {"(dX or dW) and permute_y and not fp16", false},
        {"(forward) and not (dX or dW)", true},
        {"not (forward and fp16) and bf16", true},
        {"((((tma))))", true},
        {"(tma)and(exact)", true},
        {"AND", false}, /* operators are lower case, and whole words */
        {"nott", false},
        {"not-tma", false},
        {"True", false},
        {"None or exact", true},
        {"a/b\\c.d+e:f", false},
        {"\xc3\xa9t\xc3\xa9", false}, /* letters beyond ASCII are letters */
        {"\xe6\x97\xa5\xe6\x9c\xac or tma", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (matches(rows[i].expression) != rows[i].truth) fail_msg("'%s' is wrong", rows[i].expression);
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *expression;
        int column;
        const char *message;
    } rows[] = {
        /* the table of pytest's behaviour */
        {"a or", 5, "expected not OR left parenthesis OR identifier; got end of input"},
        {"a b", 3, "expected end of input; got identifier"},
        {"(a", 3, "expected right parenthesis; got end of input"},
        {"a)", 2, "expected end of input; got right parenthesis"},
        {"a==b", 2, "expected end of input; got ="},
        {"a & b", 3, "unexpected character \"&\""},
        {"x(a=\"q)", 5, "closing quote \"\"\" is missing"},
        /* the rest of the grammar */
        {"and", 1, "expected not OR left parenthesis OR identifier; got and"},
        {"a and or b", 7, "expected not OR left parenthesis OR identifier; got or"},
        {"not", 4, "expected not OR left parenthesis OR identifier; got end of input"},
        {"()", 2, "expected not OR left parenthesis OR identifier; got right parenthesis"},
        {"a (b)", 5, "expected =; got right parenthesis"}, /* a call, space or not */
        {"a,b", 2, "expected end of input; got ,"},
        {"'a'", 1, "expected not OR left parenthesis OR identifier; got string literal"},
        {"a 'b'", 3, "expected end of input; got string literal"},
        {"'a\\b'", 3, "escaping with \"\\\" not supported in marker expression"},
        {"x()", 3, "expected identifier; got right parenthesis"},
        {"x(a)", 4, "expected =; got right parenthesis"},
        {"x(1a=1)", 3, "not a valid python identifier 1a"},
        {"x(if=1)", 3, "unexpected reserved python keyword `if`"},
        {"x(a=b)", 5, "unexpected character/s \"b\""},
        {"x(a=1 b)", 7, "expected right parenthesis; got identifier"},
        {"x(a=1,)", 7, "expected identifier; got right parenthesis"},
        {"a b & c", 3, "expected end of input; got identifier"}, /* the first of two faults */
        {"a ! or", 3, "unexpected character \"!\""},
        {"\xc3\xa9\xc3\xa9 &", 4, "unexpected character \"&\""}, /* columns count characters, not bytes */
        {"a \xe2\x82\xac", 3, "unexpected character \"\xe2\x82\xac\""},
        {"a \xff", 3, "unexpected character \"\xff\""}, /* not UTF-8 at all */
        {"a\n", 2, "unexpected character \"\n\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_filter *filter;
        char error[MG_ERROR_SIZE], expected[MG_ERROR_SIZE];
        snprintf(expected, sizeof expected, "Wrong expression passed to '-k': %s: at column %d: %s",
                 rows[i].expression, rows[i].column, rows[i].message);
        assert_int_equal(mg_filter_new(&filter, rows[i].expression, error), GG_ERR_ARGUMENT);
        assert_null(filter);
        assert_string_equal(error, expected);
    }
}

static void test_calls(void **state) {
    (void)state;
    static const char *const rows[] = {"x(a=1)", "forward and x(a='q', b=True, c=-3)", "not x (a=None)"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_filter *filter;
        char error[MG_ERROR_SIZE];
        assert_int_equal(mg_filter_new(&filter, rows[i], error), GG_ERR_ARGUMENT);
        assert_string_equal(error, "Keyword expressions do not support call parameters.");
    }
}

/* "((...(tma)...))" with `depth` parentheses, or as many "not " before it. */
static char *nest(const char *open, size_t depth, const char *close) {
    char *text = malloc(depth * (strlen(open) + strlen(close)) + 4), *at = text;
    for (size_t i = 0; i < depth; i++) at = stpcpy(at, open);
    at = stpcpy(at, "tma");
    for (size_t i = 0; i < depth; i++) at = stpcpy(at, close);
    return text;
}

static void test_depth(void **state) {
    (void)state;
    char *deep = nest("(", 256, ")"), *deeper = nest("(", 257, ")"), *abyss = nest("(", 1000000, ""),
         *nots = nest("not ", 1000001, "");
    mg_filter *filter;
    char error[MG_ERROR_SIZE];
    assert_true(matches(deep));
    assert_int_equal(mg_filter_new(&filter, deeper, error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(error, "...: at column 257: more than 256 parentheses deep"));
    assert_int_equal(mg_filter_new(&filter, abyss, error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(error, "parentheses deep"));
    assert_false(matches(nots));
    free(deep);
    free(deeper);
    free(abyss);
    free(nots);
}

/* 12,000 ids, five words: the best of five rounds, because other tests run at the same time. */
static void test_speed(void **state) {
    (void)state;
    mg_filter *filter;
    char error[MG_ERROR_SIZE];
    assert_int_equal(mg_filter_new(&filter, "(dX or dW) and permute_y and not fp16 or zzz", error), GG_OK);
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        size_t matched = 0;
        clock_t begun = clock();
        for (size_t i = 0; i < 12000; i++) matched += mg_filter_matches(filter, id);
        double ms = 1e3 * (double)(clock() - begun) / CLOCKS_PER_SEC;
        if (ms < best) best = ms;
        assert_int_equal(matched, 0);
    }
    mg_filter_free(filter);
    if (best > 20) fail_msg("12,000 ids took %.1f ms", best);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_truth), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_calls), cmocka_unit_test(test_depth),
                                       cmocka_unit_test(test_speed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
