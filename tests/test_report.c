/* test_report.c: results.jsonl, junit.xml and report.html: whole and valid whatever ids and messages hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report_internal.h"

static const gg_device device = {.name = "a <GPU> & \"more\"", .cc = 90, .sm_count = 132};
static const mg_report_header header = {.command = "moegemm run -k 'a & b'",
                                        .repro = "./run_tests.sh",
                                        .backend = "sim",
                                        .subject = "moegemm",
                                        .device = &device,
                                        .selected = 5,
                                        .workers = 2};
static const char hostile_id[] = "f[</script><script>alert(1)</script><!-- & ']]> \"x\"-é]";
static const char hostile_message[] =
    "first < & > \"line\"\x01\x1b\xff\nsecond ]]> <!-- </script> \xef\xbf\xbf end";

typedef struct folder {
    char dir[64], results[128], out[128];
} folder;

static int set_up(void **state) {
    folder *f = calloc(1, sizeof *f);
    *state = f;
    strcpy(f->dir, "/tmp/test_report.XXXXXX");
    if (!mkdtemp(f->dir)) return -1;
    snprintf(f->results, sizeof f->results, "%s/deep/er/results.jsonl", f->dir);
    snprintf(f->out, sizeof f->out, "%s/out", f->dir);
    return 0;
}

static int tear_down(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", ((folder *)*state)->dir);
    free(*state);
    return system(command);
}

/* A report with one case for each verdict, the failed one hostile. */
static void write_report(const folder *f, bool whole) {
    char error[MG_ERROR_SIZE] = "", dir[128];
    mg_report *report;
    mg_report_summary summary = {.seconds = 1.5};
    snprintf(dir, sizeof dir, "%s/deep/er", f->dir);
    assert_int_equal(mg_report_open(&report, dir, &header, error), GG_OK);
    assert_string_equal(mg_report_path(report), f->results);
    for (mg_verdict v = 0; v < MG_NUM_VERDICTS; v++) {
        mg_result result = {.index = v, .verdict = v, .seconds = 0.25, .digest = 0xfeed};
        char id[32];
        snprintf(id, sizeof id, "case[%d]", v);
        if (v == MG_FAILED) {
            snprintf(result.message, sizeof result.message, "%s", hostile_message);
            result.difference = (mg_difference){.output = "y",
                                                .compared = 64,
                                                .wrong = 1,
                                                .row = 3,
                                                .expected = 1.5,
                                                .got = NAN,
                                                .max_ulp = INFINITY,
                                                .tile_rms = -INFINITY,
                                                .map_rows = 2,
                                                .map_cols = 3,
                                                .map = {0, 1, 255, 0, 16, 0}};
        }
        assert_int_equal(mg_report_add(report, v == MG_FAILED ? hostile_id : id, NULL, &result, error),
                         GG_OK);
        summary.counts[v]++;
    }
    if (whole) assert_int_equal(mg_report_end(report, &summary, error), GG_OK);
    mg_report_close(report);
}

static char *read_file(const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_true(getdelim(&text, &size, EOF, in) >= 0);
    fclose(in);
    return text;
}

static const char *word(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static void test_lines(void **state) {
    const folder *f = *state;
    mg_line kind;
    write_report(f, true);
    FILE *in = fopen(f->results, "r");
    json_t *line = mg_line_next(in, &kind);
    assert_int_equal(kind, MG_LINE_HEADER);
    assert_int_equal(json_integer_value(json_object_get(line, "schema")), 1);
    assert_string_equal(word(line, "command"), header.command);
    assert_string_equal(word(json_object_get(line, "device"), "name"), device.name);
    assert_true(word(line, "version") && word(line, "commit") && word(line, "backend") && word(line, "time"));
    json_decref(line);
    for (int v = 0; v < MG_NUM_VERDICTS; v++) {
        line = mg_line_next(in, &kind);
        assert_int_equal(kind, MG_LINE_RESULT);
        assert_string_equal(word(line, "verdict"), mg_verdict_name((mg_verdict)v));
        assert_string_equal(word(line, "digest"), "000000000000feed");
        const json_t *d = json_object_get(line, "difference");
        if (v == MG_FAILED) {
            assert_string_equal(word(line, "id"), hostile_id);
            assert_string_equal(word(d, "got"), "nan");
            assert_string_equal(word(d, "max_ulp"), "inf");
            assert_string_equal(word(d, "tile_rms"), "-inf");
            assert_string_equal(word(json_object_get(d, "map"), "cells"), "0001ff001000");
        } else {
            assert_null(d);
        }
        json_decref(line);
    }
    line = mg_line_next(in, &kind);
    assert_int_equal(kind, MG_LINE_SUMMARY);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(line, "summary"), "mistrusted")), 1);
    json_decref(line);
    assert_null(mg_line_next(in, &kind));
    fclose(in);
}

/* Bytes of the message that are not UTF-8 become '?', the rest stays. */
static void test_invalid_text(void **state) {
    const folder *f = *state;
    write_report(f, true);
    char *text = read_file(f->results);
    assert_non_null(strstr(text, "first < & > \\\"line\\\"\\u0001\\u001B?\\nsecond"));
    free(text);
}

/* What xmllint says of `out` by the schema: 0 is valid. */
static int validate(const folder *f) {
    char command[512];
    snprintf(command, sizeof command,
             "xmllint --nonet --noout --schema '%s/tests/junit.xsd' '%s' 2>/dev/null", SOURCE_DIR, f->out);
    return system(command);
}

static void test_junit_schema(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "", command[512];
    static const char *const faults[] = {
        "s/ hostname=\"[a-z]*\"//",
        "s/T\\([0-9:]*\\)\" package/T\\1Z\" package/;s/timestamp=\"2/timestamp=\"x2/", "s/<system-out.>//",
        "s/failures=\"2\"/failures=\"two\"/", "s/<failure type=\"[a-z]*\"/<failure/"};
    write_report(f, true);
    assert_int_equal(mg_report_junit(f->results, f->out, error), GG_OK);
    assert_int_equal(validate(f), 0);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        assert_int_equal(mg_report_junit(f->results, f->out, error), GG_OK);
        snprintf(command, sizeof command, "sed -i '%s' '%s'", faults[i], f->out);
        assert_int_equal(system(command), 0);
        assert_int_not_equal(validate(f), 0);
    }
}

static void test_github(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "";
    write_report(f, true);
    FILE *out = fopen(f->out, "w");
    assert_int_equal(mg_report_github(f->results, out, error), GG_OK);
    fclose(out);
    char *text = read_file(f->out);
    /* one line a failure, none of which can end early or begin a command of its own */
    assert_non_null(strstr(text, "::error title=case[2]::error\n"));
    assert_non_null(strstr(text, "::error title=f[</script><script>alert(1)</script><!-- & ']]> \"x\"-"));
    assert_non_null(strstr(text, "?%0Asecond ]]>"));
    int lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++) lines++;
    assert_int_equal(lines, 3);
    free(text);
}

/* The same results make the same page, byte for byte. */
static void test_deterministic(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "";
    write_report(f, true);
    assert_int_equal(mg_report_html(f->results, f->out, error), GG_OK);
    char *first = read_file(f->out);
    sleep(1); /* no clock may show */
    assert_int_equal(mg_report_html(f->results, f->out, error), GG_OK);
    char *second = read_file(f->out);
    assert_string_equal(first, second);
    free(second);
    free(first);
}

static void test_junit(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "", command[512];
    write_report(f, true);
    assert_int_equal(mg_report_junit(f->results, f->out, error), GG_OK);
    /* well-formed, the right counts, and the hostile id comes back unchanged: an XML parser says so */
    snprintf(
        command, sizeof command,
        "python3 - '%s' <<'END'\n"
        "import sys, xml.etree.ElementTree as tree\n"
        "suite = tree.parse(sys.argv[1]).getroot()[0]\n"
        "assert [suite.get(k) for k in ('tests', 'failures', 'errors', 'skipped')] == ['6', '2', '1', '2']\n"
        "cases = suite.findall('testcase')\n"
        "assert len(cases) == 6 and cases[1].find('failure').text.startswith('first < & > \"line\"')\n"
        "sys.stdout.write(cases[1].get('name'))\n"
        "END",
        f->out);
    FILE *python = popen(command, "r");
    char name[256] = "";
    assert_non_null(fgets(name, sizeof name, python));
    assert_int_equal(pclose(python), 0);
    assert_string_equal(name, hostile_id);
}

/* The text of the report's data element, as a browser cuts it out. */
static char *html_data(const char *html) {
    const char *begin = strstr(html, "id=\"data\">");
    assert_non_null(begin);
    begin += strlen("id=\"data\">");
    const char *end = strstr(begin, "</script");
    assert_non_null(end);
    return strndup(begin, (size_t)(end - begin));
}

static void test_html(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "";
    write_report(f, true);
    assert_int_equal(mg_report_html(f->results, f->out, error), GG_OK);
    char *html = read_file(f->out), *data = html_data(html);
    assert_null(strchr(data, '<'));
    json_t *lines = json_loads(data, 0, NULL);
    assert_int_equal(json_array_size(lines), 2 + MG_NUM_VERDICTS);
    assert_string_equal(word(json_array_get(lines, 1 + MG_FAILED), "id"), hostile_id);
    assert_null(strstr(html, "http://"));
    assert_null(strstr(html, "https://"));
    assert_null(strstr(html, "@RESULTS@"));
    json_decref(lines);
    free(data);
    free(html);
}

/* What a killed run leaves: no summary, and a line cut short. */
static void test_unfinished(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "";
    write_report(f, false);
    FILE *out = fopen(f->results, "a");
    fputs("{\"id\":\"cut sho", out);
    fclose(out);
    assert_int_equal(mg_report_junit(f->results, f->out, error), GG_OK);
    char *text = read_file(f->out);
    assert_non_null(strstr(text, "tests=\"6\""));
    free(text);
    assert_int_equal(mg_report_html(f->results, f->out, error), GG_OK);
    char *html = read_file(f->out), *data = html_data(html);
    json_t *lines = json_loads(data, 0, NULL);
    assert_int_equal(json_array_size(lines), 1 + MG_NUM_VERDICTS);
    json_decref(lines);
    free(data);
    free(html);
}

static void test_full_disk(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "", path[128];
    mg_report *report = NULL;
    snprintf(path, sizeof path, "%s/results.jsonl", f->dir);
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(mg_report_open(&report, f->dir, &header, error), GG_ERR_IO);
    assert_non_null(strstr(error, "cannot write '/tmp/test_report."));
    assert_non_null(strstr(error, "': No space left on device (free space or pass --report DIR)"));
    write_report(f, true);
    assert_int_equal(mg_report_junit(f->results, "/dev/full", error), GG_ERR_IO);
    assert_string_equal(
        error, "cannot write '/dev/full': No space left on device (free space or name another place)");
    assert_int_equal(access("/dev/full", F_OK), 0); /* only what we made is removed */
}

/* Runs of the same second have folders of their own. */
static void test_default_dirs(void **state) {
    const folder *f = *state;
    char root[80], dirs[8][160];
    snprintf(root, sizeof root, "%s/new", f->dir);
    for (size_t i = 0; i < 8; i++) {
        mg_report_default_dir(root, dirs[i], sizeof dirs[i]);
        assert_int_equal(strncmp(dirs[i], root, strlen(root)), 0);
        for (size_t j = 0; j < i; j++) assert_string_not_equal(dirs[i], dirs[j]);
    }
}

static void test_unwritable_folder(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "", path[128], below[160];
    mg_report *report = NULL;
    snprintf(path, sizeof path, "%s/file", f->dir);
    fclose(fopen(path, "w"));
    snprintf(below, sizeof below, "%s/below", path);
    assert_int_equal(mg_report_open(&report, below, &header, error), GG_ERR_IO);
    assert_non_null(strstr(error, "Not a directory (pass --report DIR)"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_lines),     TEST(test_invalid_text),      TEST(test_junit),        TEST(test_junit_schema),
        TEST(test_github),    TEST(test_deterministic),     TEST(test_html),         TEST(test_unfinished),
        TEST(test_full_disk), TEST(test_unwritable_folder), TEST(test_default_dirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
