/* runset.c: reads a results.jsonl into entries sorted by id. */
#include "backend/backend.h"
#include "runset.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report_internal.h"

void mg_results_path(const char *path, char *out, size_t size) {
    struct stat info;
    bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
    snprintf(out, size, "%s%s", path, folder ? "/results.jsonl" : "");
}

static const char *word(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* A number, or one of the strings that stand for what JSON cannot say. */
static double number(const json_t *value) {
    if (json_is_string(value)) return strtod(json_string_value(value), NULL);
    return value ? json_number_value(value) : NAN;
}

static mg_entry entry_of(const json_t *line) {
    const json_t *difference = json_object_get(line, "difference");
    mg_entry e = {.id = word(line, "id"),
                  .verdict = MG_ERROR,
                  .message = word(line, "message"),
                  .config = word(line, "config"),
                  .digest = word(line, "digest"),
                  .kernel = word(line, "kernel"),
                  .data = word(line, "data"),
                  .seconds = json_number_value(json_object_get(line, "seconds")),
                  .kernel_ms = json_number_value(json_object_get(line, "kernel_ms")),
                  .max_ulp = difference ? number(json_object_get(difference, "max_ulp")) : NAN};
    for (int v = 0; v < MG_NUM_VERDICTS; v++)
        if (!strcmp(word(line, "verdict"), mg_verdict_name((mg_verdict)v))) e.verdict = (mg_verdict)v;
    if (!json_integer_value(json_object_get(line, "repeats"))) e.digest = ""; /* nothing was launched */
    return e;
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const mg_entry *)a)->id, ((const mg_entry *)b)->id);
}

static int by_id_and_order(const void *a, const void *b) {
    const mg_entry *x = a, *y = b;
    int ids = by_id(a, b);
    return ids ? ids : (x->order > y->order) - (x->order < y->order);
}

static void sort_and_fold(mg_runset *set) {
    size_t kept = 0;
    if (!set->count) return; /* and no array to sort */
    qsort(set->items, set->count, sizeof *set->items, by_id_and_order);
    for (size_t i = 0; i < set->count; i++) {
        if (kept && !strcmp(set->items[kept - 1].id, set->items[i].id)) kept--;
        set->items[kept++] = set->items[i];
    }
    set->count = kept;
}

static void key_of(const json_t *header, char key[MG_SHA256_SIZE]) {
    char *text = header ? json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    key[0] = 0;
    if (text) mg_sha256(text, strlen(text), key);
    free(text);
}

bool mg_runset_key(const char *path, char key[MG_SHA256_SIZE]) {
    mg_line kind;
    FILE *in = fopen(path, "re");
    json_t *line = in ? mg_line_next(in, &kind) : NULL;
    key_of(line && kind == MG_LINE_HEADER ? line : NULL, key);
    json_decref(line);
    if (in) fclose(in);
    return key[0];
}

gg_status mg_runset_load(mg_runset *out, const char *path, char error[MG_ERROR_SIZE]) {
    char file[GG_PATH_SIZE + 16];
    gg_status status = GG_ERR_MEMORY;
    size_t capacity = 0;
    mg_line kind;
    *out = (mg_runset){.lines = json_array()};
    mg_results_path(path, file, sizeof file);
    FILE *in = fopen(file, "re");
    if (!in) {
        snprintf(error, MG_ERROR_SIZE, "cannot read '%.300s': %s (name a results.jsonl or its folder)", file,
                 strerror(errno));
        status = GG_ERR_IO;
        goto out;
    }
    snprintf(error, MG_ERROR_SIZE, "out of memory for '%.300s'", file);
    for (json_t *line; (line = mg_line_next(in, &kind));) {
        if (json_array_append_new(out->lines, line)) goto out;
        if (kind == MG_LINE_HEADER && !out->header) out->header = line;
        if (kind == MG_LINE_SUMMARY) {
            out->finished = true;
            out->run_seconds =
                json_number_value(json_object_get(json_object_get(line, "summary"), "seconds"));
        }
        if (kind != MG_LINE_RESULT) continue;
        if (out->count == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            mg_entry *more = realloc(out->items, capacity * sizeof *more);
            if (!more) goto out;
            out->items = more;
        }
        out->items[out->count] = entry_of(line);
        out->items[out->count].order = out->count;
        out->count++;
    }
    if (!out->header && !out->count) {
        snprintf(error, MG_ERROR_SIZE, "no results in '%.300s' (name a results.jsonl or its folder)", file);
        status = GG_ERR_IO;
        goto out;
    }
    key_of(out->header, out->key);
    out->size = ftello(in);
    sort_and_fold(out);
    status = GG_OK;
out:
    if (in) fclose(in);
    if (status) mg_runset_free(out);
    return status;
}

void mg_runset_free(mg_runset *set) {
    json_decref(set->lines);
    free(set->items);
    *set = (mg_runset){0};
}

const mg_entry *mg_runset_find(const mg_runset *set, const char *id) {
    const mg_entry wanted = {.id = id};
    return set->count ? bsearch(&wanted, set->items, set->count, sizeof wanted, by_id) : NULL;
}

const char *mg_runset_word(const mg_runset *set, const char *key) {
    const char *value = word(set->header, key);
    return *value ? value : word(json_object_get(set->header, "device"), key);
}
