/* export.c: `moegemm export`: results as CSV (RFC 4180), a line a case in the order of their ids. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "arguments.h"
#include "commands.h"
#include "options.h"
#include "report_internal.h"
#include "runset.h"

static void put_text(FILE *out, const char *text) {
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void put_number(FILE *out, double value) {
    if (!isnan(value)) fprintf(out, "%.9g", value);
}

static void put_entry(FILE *out, const mg_runset *set, const mg_entry *e) {
    const char *texts[] = {e->id,
                           mg_verdict_name(e->verdict),
                           e->digest,
                           e->kernel,
                           e->config,
                           e->message,
                           mg_runset_word(set, "commit"),
                           mg_runset_word(set, "time"),
                           mg_runset_word(set, "backend"),
                           mg_runset_word(set, "name")};
    const double numbers[] = {e->seconds, e->kernel_ms, e->max_ulp};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (i) fputc(',', out);
        put_text(out, texts[i]);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        fputc(',', out);
        put_number(out, numbers[i]);
    }
    fputs("\r\n", out);
}

static gg_status cannot_write(const char *path, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "cannot write '%.300s': %s (free space or pass -o FILE)", path,
             strerror(errno));
    return GG_ERR_IO;
}

int mg_export_main(int argc, char **argv) {
    const char *path = "-";
    const mg_argument table[] = {{"-o", "FILE", "where to (standard output)", &path}};
    const mg_arguments arguments = {
        "export", "[RESULTS]", "Results as CSV: RESULTS is a results.jsonl or its folder (reports/latest).",
        table, sizeof table / sizeof *table};
    char error[MG_ERROR_SIZE];
    mg_runset set;
    int count = mg_arguments_read(&arguments, argc, argv);
    if (count < 0) return mg_arguments_status(count);
    if (count > 1) return mg_arguments_fail(&arguments, "one run is exported at a time");
    gg_status status = mg_runset_load(&set, count ? argv[1] : "reports/latest", error);
    if (status) goto out;
    bool standard = !strcmp(path, "-");
    if (!standard && (status = mg_spare_results(path, error))) goto out;
    FILE *out = standard ? stdout : fopen(path, "we");
    if (!out) {
        status = cannot_write(path, error);
        goto out;
    }
    fputs("id,verdict,digest,kernel,config,message,commit,time,backend,device,seconds,kernel_ms,max_ulp\r\n",
          out);
    for (size_t i = 0; i < set.count; i++) put_entry(out, &set, &set.items[i]);
    if ((standard ? fflush(out) : fclose(out))) status = cannot_write(path, error);
out:
    if (status) fprintf(stderr, "error: %s\n", error);
    mg_runset_free(&set);
    return status ? MG_EXIT_INTERNAL : MG_EXIT_OK;
}
