/* report_junit.c: junit.xml, as continuous integration reads it, from results.jsonl. */
#include <string.h>

#include "report_internal.h"

/* How a verdict is told in JUnit's words: an element inside the testcase (NULL: none) and the suite's count
 * it adds to. */
static const struct {
    const char *element, *count;
} tellings[MG_NUM_VERDICTS] = {
    [MG_FAILED] = {"failure", "failures"},     [MG_ERROR] = {"error", "errors"},
    [MG_SKIPPED] = {"skipped", "skipped"},     [MG_XFAILED] = {"skipped", "skipped"},
    [MG_MISTRUSTED] = {"failure", "failures"},
};
static const char *const suite_counts[] = {"failures", "errors", "skipped"};

static const char *member(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static mg_verdict verdict_of(const json_t *result) {
    const char *name = member(result, "verdict");
    for (int v = 0; v < MG_NUM_VERDICTS; v++)
        if (!strcmp(name, mg_verdict_name(v))) return (mg_verdict)v;
    return MG_ERROR;
}

/* Escapes for attributes and text; leaves out what XML 1.0 cannot say: control characters, U+FFFE, U+FFFF. */
static void put(FILE *out, const char *s, size_t length) {
    for (const unsigned char *p = (const unsigned char *)s, *end = p + length; p < end; p++) {
        if (end - p >= 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe)
            p += 2;
        else if (*p == '&' || *p == '<' || *p == '>' || *p == '"' || *p == '\n' || *p == '\t')
            fprintf(out, "&#%d;", *p);
        else if (*p >= 0x20 && *p != 0x7f)
            fputc(*p, out);
    }
}

static void attribute(FILE *out, const char *name, const char *value, size_t length) {
    fprintf(out, " %s=\"", name);
    put(out, value, length);
    fputc('"', out);
}

static void put_suite(FILE *in, FILE *out) {
    size_t counts[sizeof suite_counts / sizeof *suite_counts] = {0}, tests = 0;
    double seconds = 0;
    mg_line kind;
    for (json_t *line; (line = mg_line_next(in, &kind)); json_decref(line)) {
        if (kind == MG_LINE_SUMMARY)
            seconds = json_number_value(json_object_get(json_object_get(line, "summary"), "seconds"));
        if (kind != MG_LINE_RESULT) continue;
        tests++;
        const char *count = tellings[verdict_of(line)].count;
        for (size_t i = 0; count && i < sizeof counts / sizeof *counts; i++)
            counts[i] += !strcmp(count, suite_counts[i]);
    }
    /* the schema wants a host, which is nobody's business and would differ for the same results */
    fprintf(out,
            "<testsuite name=\"moegemm\" package=\"moegemm\" id=\"0\" hostname=\"localhost\" tests=\"%zu\" "
            "time=\"%.3f\"",
            tests, seconds);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        fprintf(out, " %s=\"%zu\"", suite_counts[i], counts[i]);
}

static void put_properties(FILE *out, const json_t *header) {
    static const char *const keys[] = {"version", "commit", "backend", "subject", "command"};
    const char *time = member(header, "time"), *device = member(json_object_get(header, "device"), "name");
    attribute(out, "timestamp", time, strnlen(time, 19)); /* JUnit's schema knows no time zone */
    fputs(">\n<properties>\n<property name=\"device\"", out);
    attribute(out, "value", device, strlen(device));
    fputs("/>\n", out);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = member(header, keys[i]);
        fprintf(out, "<property name=\"%s\"", keys[i]);
        attribute(out, "value", value, strlen(value));
        fputs("/>\n", out);
    }
    fputs("</properties>\n", out);
}

static void put_case(FILE *out, const json_t *result) {
    const char *id = member(result, "id"), *message = member(result, "message");
    mg_verdict verdict = verdict_of(result);
    fputs("<testcase", out);
    attribute(out, "classname", id, strcspn(id, "["));
    attribute(out, "name", id, strlen(id));
    fprintf(out, " time=\"%.6f\"", json_number_value(json_object_get(result, "seconds")));
    const char *element = tellings[verdict].element;
    if (!element) {
        fputs("/>\n", out);
        return;
    }
    fprintf(out, "><%s type=\"%s\"", element, mg_verdict_name(verdict));
    attribute(out, "message", message, strcspn(message, "\n"));
    fputc('>', out);
    put(out, message, strlen(message));
    fprintf(out, "</%s></testcase>\n", element);
}

gg_status mg_report_junit(const char *results_path, const char *path, char error[MG_ERROR_SIZE]) {
    FILE *in = NULL, *out = NULL;
    gg_status status = mg_convert_open(results_path, path, &in, &out, error);
    if (status) return status;
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", out);
    put_suite(in, out);
    rewind(in);
    mg_line kind;
    for (json_t *line; (line = mg_line_next(in, &kind)); json_decref(line)) {
        if (kind == MG_LINE_HEADER) put_properties(out, line);
        if (kind == MG_LINE_RESULT) put_case(out, line);
    }
    fputs("<system-out/>\n<system-err/>\n</testsuite>\n</testsuites>\n", out);
    return mg_convert_close(path, in, out, error);
}
