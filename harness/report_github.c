/* report_github.c: annotations, as GitHub's runners read them from a step's output. */
#include <string.h>

#include "progress.h"
#include "report_internal.h"
#include "runset.h"

/* GitHub shows ten annotations of a kind for a step; more is noise in its log. */
enum { MAX_ANNOTATIONS = 10 };

/* Escapes of the runner's commands; a property's value must not end early either. */
static void put(FILE *out, const char *text, bool property) {
    for (; *text; text++) {
        if (strchr(property ? "%\r\n:," : "%\r\n", *text))
            fprintf(out, "%%%02X", (unsigned char)*text);
        else
            fputc(*text, out);
    }
}

static void annotate(FILE *out, const char *kind, const char *title, const char *text) {
    fprintf(out, "::%s title=", kind);
    put(out, title, true);
    fputs("::", out);
    put(out, text, false);
    fputc('\n', out);
}

gg_status mg_report_github(const char *results_path, FILE *out, char error[MG_ERROR_SIZE]) {
    mg_runset set;
    size_t bad = 0;
    char text[80];
    gg_status status = mg_runset_load(&set, results_path, error);
    if (status) return status;
    for (const mg_entry *e = set.items; e < set.items + set.count; e++)
        if (mg_verdict_bad(e->verdict) && bad++ < MAX_ANNOTATIONS)
            annotate(out, "error", e->id, *e->message ? e->message : mg_verdict_name(e->verdict));
    if (bad > MAX_ANNOTATIONS) {
        snprintf(text, sizeof text, "%zu of %zu cases are bad; the first %d are annotated", bad, set.count,
                 MAX_ANNOTATIONS);
        annotate(out, "notice", "moegemm", text);
    }
    mg_runset_free(&set);
    return GG_OK;
}
