/* test_compare_runs.c: `moegemm compare` and `moegemm export`: every kind of change, the exit status, CSV. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "compare_runs.h"
#include "options.h"

typedef struct folder {
    char dir[64], a[96], b[96], out[96];
} folder;

static int set_up(void **state) {
    folder *f = calloc(1, sizeof *f);
    *state = f;
    strcpy(f->dir, "/tmp/test_compare_runs.XXXXXX");
    if (!mkdtemp(f->dir)) return -1;
    snprintf(f->a, sizeof f->a, "%s/a.jsonl", f->dir);
    snprintf(f->b, sizeof f->b, "%s/b.jsonl", f->dir);
    snprintf(f->out, sizeof f->out, "%s/out", f->dir);
    return 0;
}

static int tear_down(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", ((folder *)*state)->dir);
    free(*state);
    return system(command);
}

typedef struct made {
    const char *id, *verdict, *digest, *kernel;
    double ulp, ms;
} made;

static void write_run(const char *path, const char *device, const made *results, size_t count) {
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out,
            "{\"schema\":1,\"commit\":\"c\",\"time\":\"t\",\"device\":{\"name\":\"%s\",\"driver\":\"d\","
            "\"compiler\":\"e\"},\"backend\":\"cuda\",\"subject\":\"moegemm\",\"seed\":0}\n",
            device);
    for (const made *m = results; m < results + count; m++)
        fprintf(out,
                "{\"id\":\"%s\",\"verdict\":\"%s\",\"index\":1,\"message\":\"a \\\"message\\\", of\\ntwo "
                "lines\",\"repeats\":3,"
                "\"seconds\":0.5,\"kernel_ms\":%g,\"digest\":\"%s\",\"config\":\"\",\"kernel\":\"%s\","
                "\"data\":\"d\","
                "\"difference\":{\"max_ulp\":%g}}\n",
                m->id, m->verdict, m->ms, m->digest, m->kernel, m->ulp);
    fclose(out);
}

static const made before[] = {
    {"bits", "passed", "1", "k1", 0, 1},    {"broken", "passed", "1", "k1", 0, 1},
    {"error", "passed", "1", "k1", 2, 1},   {"faster", "passed", "1", "k1", 0, 1},
    {"fixed", "failed", "1", "k1", 0, 1},   {"gone", "passed", "1", "k1", 0, 1},
    {"noise", "passed", "1", "k1", 1, 1},   {"short", "passed", "1", "k1", 1, 0.001},
    {"skipped", "passed", "1", "k1", 0, 1}, {"slower", "passed", "1", "k1", 0, 1},
    {"still", "failed", "1", "k1", 0, 1},   {"unstable", "passed", "1", "k1", 0, 1},
};
static const made after[] = {
    {"added", "passed", "1", "k1", 0, 1},      {"bits", "passed", "2", "k2", 0, 1},
    {"broken", "failed", "1", "k1", 0, 1},     {"error", "passed", "1", "k1", 3, 1},
    {"faster", "passed", "1", "k1", 0, .5},    {"fixed", "passed", "1", "k1", 0, 1},
    {"noise", "passed", "1", "k1", 1.05, 1.2}, {"short", "passed", "1", "k1", 1, 0.009},
    {"skipped", "skipped", "1", "k1", 0, 1},   {"slower", "passed", "1", "k1", 0, 2},
    {"still", "failed", "1", "k1", 0, 1},      {"unstable", "passed", "2", "k1", 0, 1},
};
enum { NUM_BEFORE = sizeof before / sizeof *before, NUM_AFTER = sizeof after / sizeof *after };

static void compare(const folder *f, mg_runset *a, mg_runset *b, mg_comparison *c) {
    char error[MG_ERROR_SIZE] = "";
    if (mg_runset_load(a, f->a, error) || mg_runset_load(b, f->b, error) ||
        mg_compare_runs(a, b, 1.25, c, error))
        fail_msg("%s", error);
}

static void test_kinds(void **state) {
    const folder *f = *state;
    static const struct {
        const char *id;
        unsigned changes;
    } expected[] = {{"added", 1u << MG_ONLY_B},
                    {"bits", 1u << MG_BITS},
                    {"broken", 1u << MG_NEW_FAILURE},
                    {"error", 1u << MG_MORE_ERROR},
                    {"faster", 1u << MG_FASTER},
                    {"fixed", 1u << MG_FIXED},
                    {"gone", 1u << MG_ONLY_A},
                    {"skipped", 1u << MG_OTHER_VERDICT},
                    {"slower", 1u << MG_SLOWER},
                    {"still", 1u << MG_STILL_FAILING},
                    {"unstable", 1u << MG_UNSTABLE | 1u << MG_BITS}};
    mg_runset a, b;
    mg_comparison c;
    write_run(f->a, "gpu", before, NUM_BEFORE);
    write_run(f->b, "gpu", after, NUM_AFTER);
    compare(f, &a, &b, &c);
    assert_int_equal(c.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < c.count; i++) {
        assert_string_equal((c.rows[i].b ? c.rows[i].b : c.rows[i].a)->id, expected[i].id);
        assert_int_equal(c.rows[i].changes, expected[i].changes);
    }
    assert_int_equal(c.common, 11);
    mg_comparison_free(&c);
    mg_runset_free(&b);
    mg_runset_free(&a);
}

/* Another GPU may round otherwise with the same kernel. */
static void test_other_device(void **state) {
    const folder *f = *state;
    mg_runset a, b;
    mg_comparison c;
    write_run(f->a, "gpu", before, NUM_BEFORE);
    write_run(f->b, "another gpu", after, NUM_AFTER);
    compare(f, &a, &b, &c);
    assert_int_equal(c.counts[MG_UNSTABLE], 0);
    assert_int_equal(c.counts[MG_BITS], 2);
    mg_comparison_free(&c);
    mg_runset_free(&b);
    mg_runset_free(&a);
}

/* Of a case that stands twice, as after --resume, the later result counts. */
static void test_twice(void **state) {
    const folder *f = *state;
    static const made twice[] = {
        {"x", "failed", "1", "k", 0, 1}, {"w", "passed", "1", "k", 0, 1}, {"x", "passed", "2", "k", 0, 1}};
    char error[MG_ERROR_SIZE];
    mg_runset set;
    write_run(f->a, "gpu", twice, 3);
    assert_int_equal(mg_runset_load(&set, f->a, error), GG_OK);
    assert_int_equal(set.count, 2);
    assert_string_equal(mg_runset_find(&set, "x")->digest, "2");
    mg_runset_free(&set);
}

/* Runs a subcommand with its output in f->out; returns the exit status. */
static int command(const folder *f, int (*run)(int, char **), int argc, char **argv) {
    fflush(stdout);
    int saved = dup(1), saved_errors = dup(2);
    assert_non_null(freopen(f->out, "w", stdout));
    dup2(1, 2);
    int code = run(argc, argv);
    fflush(stdout);
    dup2(saved, 1);
    dup2(saved_errors, 2);
    close(saved);
    close(saved_errors);
    return code;
}
#define COMMAND(f, run, ...)                                                                                 \
    command(f, run, (int)(sizeof(char *[]){__VA_ARGS__} / sizeof(char *)), (char *[]){__VA_ARGS__, NULL})

static char *read_file(const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_true(getdelim(&text, &size, EOF, in) >= 0);
    fclose(in);
    return text;
}

static void assert_output(const folder *f, const char *part) {
    char *text = read_file(f->out);
    if (!strstr(text, part)) fail_msg("'%s' is not in: %s", part, text);
    free(text);
}

static void test_gate(void **state) {
    folder *f = *state;
    static const made slower[] = {{"x", "passed", "1", "k", 0, 2}}, was[] = {{"x", "passed", "1", "k", 0, 1}};
    write_run(f->a, "gpu", before, NUM_BEFORE);
    write_run(f->b, "gpu", after, NUM_AFTER);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->b), MG_EXIT_FAILED);
    assert_output(f, "new failure: 1\n  broken\n      a \"message\", of\n      two lines\n");
    assert_output(f, "kernel 1.0000 ms, then 2.0000 (2.00x)");
    assert_output(f, "11 cases in both; 1 new failures, 1 fixed, 1 still failing\n");
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", "--fail-on", "none", f->a, f->b), MG_EXIT_OK);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->a), MG_EXIT_OK);
    assert_output(f, "still failing: 2");
    write_run(f->a, "gpu", was, 1);
    write_run(f->b, "gpu", slower, 1);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->b), MG_EXIT_OK);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->b, "--fail-on=new,slower"),
                     MG_EXIT_FAILED);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->b, "--fail-on=slower", "--slack=3"),
                     MG_EXIT_OK);
}

static void test_usage(void **state) {
    folder *f = *state;
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a), MG_EXIT_USAGE);
    assert_output(f, "ERROR: two runs are compared\nusage: moegemm compare [OPTIONS] A B");
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", "--fail-on", "wrong", f->a, f->b), MG_EXIT_USAGE);
    assert_output(f, "bad value 'wrong' for --fail-on: expected some of none,new,");
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", "--nonsense", f->a, f->b), MG_EXIT_USAGE);
    assert_output(f, "unknown option '--nonsense'");
    char missing[96];
    snprintf(missing, sizeof missing, "%s/missing", f->dir);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", missing, f->b), MG_EXIT_INTERNAL);
    assert_output(f, "/missing': No such file or directory (name a results.jsonl or its folder)");
    fclose(fopen(f->a, "w"));
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->a), MG_EXIT_INTERNAL);
    assert_output(f, "no results in '");
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", "--help"), MG_EXIT_OK);
}

/* An empty $DAYS is no reason to forget every run. */
static void test_report_usage(void **state) {
    folder *f = *state;
    static const made one[] = {{"id", "failed", "1", "k", 2.5, 1}};
    write_run(f->a, "gpu", one, 1);
    assert_int_equal(COMMAND(f, mg_report_main, "report", "history", "--prune="), MG_EXIT_USAGE);
    assert_output(f, "empty value for '--prune'");
    assert_int_equal(COMMAND(f, mg_report_main, "report", "history", "--root", ""), MG_EXIT_USAGE);
    assert_output(f, "empty value for '--root'");
    assert_int_equal(COMMAND(f, mg_report_main, "report", "history", "--prune", "30d"), MG_EXIT_USAGE);
    assert_output(f, "bad value '30d' for --prune: expected days");
    assert_int_equal(COMMAND(f, mg_report_main, "report", f->a, "--prune", "30"), MG_EXIT_USAGE);
    assert_output(f, "--root, --history and --prune belong to 'report history'");
    assert_int_equal(COMMAND(f, mg_report_main, "report", "history", "--junitxml", f->out), MG_EXIT_USAGE);
    assert_output(f, "--junitxml belongs to one run, not to the history");
}

static void test_export(void **state) {
    folder *f = *state;
    static const made one[] = {{"an,id", "failed", "1", "k", 2.5, 1}};
    write_run(f->a, "a \\\"gpu\\\"", one, 1);
    assert_int_equal(COMMAND(f, mg_export_main, "export", f->a), MG_EXIT_OK);
    char *text = read_file(f->out);
    assert_string_equal(
        text,
        "id,verdict,digest,kernel,config,message,commit,time,backend,device,seconds,kernel_ms,max_ulp\r\n"
        "\"an,id\",failed,1,k,,\"a \"\"message\"\", of\ntwo lines\",c,t,cuda,\"a "
        "\"\"gpu\"\"\",0.5,1,2.5\r\n");
    free(text);
    assert_int_equal(COMMAND(f, mg_export_main, "export", f->a, "-o", "/dev/full"), MG_EXIT_INTERNAL);
    assert_output(f, "cannot write '/dev/full': No space left on device (free space or pass -o FILE)");
}

/* No page and no table takes the place of results. */
static void test_spares_results(void **state) {
    folder *f = *state;
    static const made one[] = {{"id", "failed", "1", "k", 2.5, 1}};
    write_run(f->a, "gpu", one, 1);
    write_run(f->b, "gpu", one, 1);
    char *wanted = read_file(f->a), *found;
    assert_int_equal(COMMAND(f, mg_export_main, "export", f->a, "-o", f->a), MG_EXIT_INTERNAL);
    assert_output(f, "a.jsonl': a run's results are in it (name another file)");
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", f->a, f->b, "--html", f->a), MG_EXIT_INTERNAL);
    assert_int_equal(COMMAND(f, mg_report_main, "report", f->b, "-o", f->a), MG_EXIT_INTERNAL);
    assert_int_equal(COMMAND(f, mg_report_main, "report", f->b, "--junitxml", f->a), MG_EXIT_INTERNAL);
    assert_output(f, "a.jsonl': a run's results are in it (name another file)");
    found = read_file(f->a);
    assert_string_equal(found, wanted);
    free(found);
    free(wanted);
}

/* A page has the changes whatever bytes the runs' names are of. */
static void test_odd_names(void **state) {
    folder *f = *state;
    static const made was[] = {{"x", "passed", "1", "k", 0, 1}}, is[] = {{"x", "failed", "2", "k", 0, 1}};
    char odd[96], page[96];
    snprintf(odd, sizeof odd, "%s/\xff", f->dir);
    snprintf(page, sizeof page, "%s/page.html", f->dir);
    write_run(odd, "gpu", was, 1);
    write_run(f->b, "gpu", is, 1);
    assert_int_equal(COMMAND(f, mg_compare_main, "compare", odd, f->b, "--html", page), MG_EXIT_FAILED);
    char *text = read_file(page);
    assert_non_null(strstr(text, "\"type\":\"changes\""));
    assert_non_null(strstr(text, "/?\""));
    free(text);
}

/* The page and JUnit's file are written each whatever becomes of the other. */
static void test_report_each(void **state) {
    folder *f = *state;
    static const made one[] = {{"id", "failed", "1", "k", 2.5, 1}};
    char junit[96], none[96];
    snprintf(junit, sizeof junit, "%s/junit.xml", f->dir);
    snprintf(none, sizeof none, "%s/none/page.html", f->dir);
    write_run(f->a, "gpu", one, 1);
    assert_int_equal(COMMAND(f, mg_report_main, "report", f->a, "-o", none, "--junitxml", junit),
                     MG_EXIT_INTERNAL);
    assert_output(f, "none/page.html': No such file or directory (name another place)");
    char *text = read_file(junit);
    assert_non_null(strstr(text, "<testcase"));
    free(text);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_kinds),     TEST(test_other_device), TEST(test_twice),          TEST(test_gate),
        TEST(test_usage),     TEST(test_export),       TEST(test_spares_results), TEST(test_report_usage),
        TEST(test_odd_names), TEST(test_report_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
