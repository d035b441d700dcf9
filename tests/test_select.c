/* test_select.c: which cases a command line selects, in which order, and what is said about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "select.h"

static mg_cases cases;
static char folder[] = "/tmp/moegemm-select-XXXXXX";

static int set_up(void **state) {
    (void)state;
    return !mkdtemp(folder) || mg_cases_new(&cases);
}

static int tear_down(void **state) {
    (void)state;
    mg_cases_free(&cases);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static mg_options options_of(void) {
    return (mg_options){.shard = 1, .num_shards = 1, .execute.cache_dir = folder};
}

static mg_selection selected(const mg_options *o) {
    mg_selection s;
    char error[MG_ERROR_SIZE];
    if (mg_select(&s, o, &cases, error)) fail_msg("%s", error);
    return s;
}

static void assert_refused(const mg_options *o, const char *message) {
    mg_selection s;
    char error[MG_ERROR_SIZE];
    assert_int_equal(mg_select(&s, o, &cases, error), GG_ERR_ARGUMENT);
    assert_string_equal(error, message);
}

static void assert_summary(const mg_selection *s, const char *expected) {
    char text[MG_ERROR_SIZE];
    mg_selection_summary(s, text);
    assert_string_equal(text, expected);
}

static const char *id_of(size_t index) {
    static char id[MG_ID_SIZE];
    mg_case_id(&cases.items[index], id);
    return id;
}

static const char *write_file(const char *text) {
    static char path[64];
    snprintf(path, sizeof path, "%s/ids", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void test_all(void **state) {
    (void)state;
    mg_options o = options_of();
    mg_selection s = selected(&o);
    assert_int_equal(s.count, cases.count);
    assert_int_equal(s.collected, cases.count);
    assert_int_equal(s.deselected, 0);
    for (size_t i = 0; i < s.count; i++) {
        assert_int_equal(s.indices[i], i);
        assert_string_equal(s.ids[i], id_of(i));
    }
    char text[64];
    snprintf(text, sizeof text, "%zu tests collected", cases.count);
    assert_summary(&s, text);
    mg_selection_free(&s);
}

static void test_keyword(void **state) {
    (void)state;
    mg_options o = options_of();
    o.keyword = "forward and tma and fp16";
    mg_selection s = selected(&o);
    assert_true(s.count > 0 && s.count < s.collected && s.deselected == s.collected - s.count);
    for (size_t i = 0; i < s.count; i++) {
        const char *id = s.ids[s.indices[i]];
        assert_true(strstr(id, "forward") && strstr(id, "tma") && strstr(id, "fp16"));
        assert_true(i == 0 || s.indices[i] > s.indices[i - 1]);
    }
    size_t matching = 0; /* none is left out */
    for (size_t i = 0; i < cases.count; i++)
        matching += strstr(id_of(i), "forward") && strstr(id_of(i), "tma") && strstr(id_of(i), "fp16");
    assert_int_equal(s.count, matching);
    char text[80];
    snprintf(text, sizeof text, "%zu/%zu tests collected (%zu deselected)", s.count, cases.count,
             s.deselected);
    assert_summary(&s, text);
    mg_selection_free(&s);

    o.keyword = "nothing_matches";
    s = selected(&o);
    assert_int_equal(s.count, 0);
    snprintf(text, sizeof text, "no tests collected (%zu deselected)", cases.count);
    assert_summary(&s, text);
    mg_selection_free(&s);

    o.keyword = "a or";
    assert_refused(&o,
                   "Wrong expression passed to '-k': a or: at column 5: expected not OR left parenthesis OR "
                   "identifier; got end of input");
}

static void test_ids(void **state) {
    (void)state;
    char first[MG_ID_SIZE], second[MG_ID_SIZE], text[3 * MG_ID_SIZE], at_file[80], message[MG_ERROR_SIZE];
    strcpy(first, id_of(5000));
    strcpy(second, id_of(7));
    char *one[] = {first}, *three[] = {first, second, first};
    mg_options o = options_of();
    o.arguments = one;
    o.num_arguments = 1;
    mg_selection s = selected(&o);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.indices[0], 5000);
    assert_summary(&s, "1 test collected");
    mg_selection_free(&s);

    o.arguments = three; /* in the order given, each once */
    o.num_arguments = 3;
    s = selected(&o);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.indices[0], 5000);
    assert_int_equal(s.indices[1], 7);
    mg_selection_free(&s);

    o.keyword = "nothing_matches"; /* -k applies to the ids given */
    s = selected(&o);
    assert_summary(&s, "no tests collected (2 deselected)");
    mg_selection_free(&s);
    o.keyword = NULL;

    snprintf(text, sizeof text, "%s\r\n\n%s", second, first);
    snprintf(at_file, sizeof at_file, "@%s", write_file(text));
    o.arguments = (char *[]){at_file};
    o.num_arguments = 1;
    s = selected(&o);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.indices[0], 7);
    assert_int_equal(s.indices[1], 5000);
    mg_selection_free(&s);

    write_file("");
    s = selected(&o);
    assert_summary(&s, "no tests collected");
    mg_selection_free(&s);

    first[strlen(first) - 1] = 0; /* a part of an id is no id */
    snprintf(message, sizeof message, "not found: '%s' (an id must be exact; -k takes a part of one)", first);
    o.arguments = one;
    assert_refused(&o, message);
    write_file("nonsense\n");
    o.arguments = (char *[]){at_file};
    assert_refused(&o, "not found: 'nonsense' (an id must be exact; -k takes a part of one)");
    o.arguments = (char *[]){"@/nowhere/ids"};
    assert_refused(&o, "cannot read '/nowhere/ids': No such file or directory");
    o.arguments = (char *[]){"@/tmp"};
    assert_refused(&o, "cannot read '/tmp': Is a directory");
}

static void test_shards(void **state) {
    (void)state;
    enum { SHARDS = 7 };
    mg_options o = options_of();
    o.num_shards = SHARDS;
    unsigned char *runs = calloc(cases.count, 1);
    for (o.shard = 1; o.shard <= SHARDS; o.shard++) {
        mg_selection s = selected(&o);
        assert_in_range(s.count, cases.count / SHARDS, cases.count / SHARDS + 1);
        for (size_t i = 0; i < s.count; i++) runs[s.indices[i]]++;
        mg_selection_free(&s);
    }
    for (size_t i = 0; i < cases.count; i++) assert_int_equal(runs[i], 1);
    free(runs);
}

static void test_last_failed(void **state) {
    (void)state;
    char first[MG_ID_SIZE], second[MG_ID_SIZE], error[MG_ERROR_SIZE];
    strcpy(first, id_of(3000));
    strcpy(second, id_of(20));
    const char *const ids[] = {first, "a case that has gone", second};
    mg_options o = options_of();
    o.last_failed = true;
    mg_selection s = selected(&o); /* no file yet */
    assert_int_equal(s.count, cases.count);
    assert_string_equal(s.note, "run-last-failure: no previously failed tests, not deselecting items.");
    mg_selection_free(&s);

    assert_int_equal(mg_lastfailed_write(folder, ids, 3, error), GG_OK);
    mg_lastfailed failed;
    assert_int_equal(mg_lastfailed_read(&failed, folder, error), GG_OK);
    assert_int_equal(failed.count, 3);
    for (size_t i = 0; i < 3; i++) assert_string_equal(failed.ids[i], ids[i]);
    mg_lastfailed_free(&failed);

    s = selected(&o);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.indices[0], 20); /* in the order of the table */
    assert_int_equal(s.indices[1], 3000);
    assert_int_equal(s.deselected, cases.count - 2);
    assert_string_equal(s.note, "run-last-failure: rerun previous 2 failures");
    mg_selection_free(&s);

    o.last_failed = false;
    o.failed_first = true;
    s = selected(&o);
    assert_int_equal(s.count, cases.count);
    assert_int_equal(s.indices[0], 20);
    assert_int_equal(s.indices[1], 3000);
    assert_int_equal(s.indices[2], 0);
    assert_int_equal(s.indices[cases.count - 1], cases.count - 1);
    assert_string_equal(s.note, "run-last-failure: rerun previous 2 failures first");
    mg_selection_free(&s);

    o = options_of();
    o.last_failed = true;
    o.arguments = (char *[]){first};
    o.num_arguments = 1;
    s = selected(&o);
    assert_int_equal(s.count, 1);
    assert_string_equal(s.note, "run-last-failure: rerun previous 1 failure");
    mg_selection_free(&s);

    char other[MG_ID_SIZE];
    strcpy(other, id_of(21));
    o.arguments = (char *[]){other};
    s = selected(&o); /* failures, but not among these: all of these run */
    assert_int_equal(s.count, 1);
    assert_string_equal(s.note, "run-last-failure: 2 known failures not in selected tests");
    mg_selection_free(&s);

    assert_int_equal(mg_lastfailed_write(folder, NULL, 0, error), GG_OK); /* all passed since */
    s = selected(&o);
    assert_string_equal(s.note, "run-last-failure: no previously failed tests, not deselecting items.");
    mg_selection_free(&s);
}

static void test_unwritable(void **state) {
    (void)state;
    char error[MG_ERROR_SIZE], below[80], expected[MG_ERROR_SIZE];
    snprintf(below, sizeof below, "%s/below", write_file("a file, not a folder"));
    snprintf(expected, sizeof expected, "cannot write '%s/lastfailed': Not a directory", below);
    assert_int_equal(mg_lastfailed_write(below, NULL, 0, error), GG_ERR_IO);
    assert_string_equal(error, expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all),         cmocka_unit_test(test_keyword),
                                       cmocka_unit_test(test_ids),         cmocka_unit_test(test_shards),
                                       cmocka_unit_test(test_last_failed), cmocka_unit_test(test_unwritable)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
