/* select.c: from the case table to the cases to run: exact ids, -k, the last run's failures, a shard. */
#include "select.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/build.h"
#include "filter.h"

/* --- files of ids, one a line --- */

static gg_status read_whole(const char *path, char **text, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_ERR_IO;
    size_t size = 0, capacity = 1 << 16;
    FILE *file = fopen(path, "r");
    char *buffer = malloc(capacity);
    if (!file || !buffer) goto out;
    for (size_t got; (got = fread(buffer + size, 1, capacity - size - 1, file)) > 0;) {
        size += got;
        if (size + 1 < capacity) continue;
        char *larger = realloc(buffer, capacity *= 2);
        if (!larger) goto out;
        buffer = larger;
    }
    if (ferror(file)) goto out;
    buffer[size] = 0;
    *text = buffer;
    buffer = NULL;
    status = GG_OK;
out:
    if (status) snprintf(error, MG_ERROR_SIZE, "cannot read '%.300s': %s", path, strerror(errno));
    if (file) fclose(file);
    free(buffer);
    return status;
}

static gg_status read_ids(mg_lastfailed *out, const char *path, char error[MG_ERROR_SIZE]) {
    *out = (mg_lastfailed){0};
    gg_status status = read_whole(path, &out->text, error);
    if (status) return status;
    size_t lines = 1;
    for (const char *c = out->text; *c; c++) lines += *c == '\n';
    out->ids = malloc(lines * sizeof *out->ids);
    if (!out->ids) {
        snprintf(error, MG_ERROR_SIZE, "out of memory for '%.300s'", path);
        mg_lastfailed_free(out);
        return GG_ERR_MEMORY;
    }
    static const char ends[] = "\r\n"; /* ids hold no white space; blank lines are skipped */
    char *rest;
    for (char *id = strtok_r(out->text, ends, &rest); id; id = strtok_r(NULL, ends, &rest))
        out->ids[out->count++] = id;
    return GG_OK;
}

static gg_status lastfailed_path(char path[MG_PATH_SIZE], const char *cache_dir, const char *suffix,
                                 char error[MG_ERROR_SIZE]) {
    if (snprintf(path, MG_PATH_SIZE, "%s/lastfailed%s", cache_dir, suffix) < MG_PATH_SIZE) return GG_OK;
    snprintf(error, MG_ERROR_SIZE, "path too long: '%.100s...' (choose another --cache-dir)", cache_dir);
    return GG_ERR_IO;
}

gg_status mg_lastfailed_read(mg_lastfailed *out, const char *cache_dir, char error[MG_ERROR_SIZE]) {
    char path[MG_PATH_SIZE];
    *out = (mg_lastfailed){0};
    gg_status status = lastfailed_path(path, cache_dir, "", error);
    if (status || access(path, F_OK)) return status;
    return read_ids(out, path, error);
}

gg_status mg_lastfailed_write(const char *cache_dir, const char *const *ids, size_t count,
                              char error[MG_ERROR_SIZE]) {
    char path[MG_PATH_SIZE], temporary[MG_PATH_SIZE], suffix[24];
    snprintf(suffix, sizeof suffix, ".%ld", (long)getpid());
    if (lastfailed_path(path, cache_dir, "", error) || lastfailed_path(temporary, cache_dir, suffix, error))
        return GG_ERR_IO;
    char folder[MG_PATH_SIZE];
    snprintf(folder, sizeof folder, "%s", cache_dir);
    FILE *file = gg_make_folders(folder) ? fopen(temporary, "w") : NULL;
    bool written = file != NULL;
    for (size_t i = 0; written && i < count; i++) written = fprintf(file, "%s\n", ids[i]) > 0;
    if (file) written = !fclose(file) && written;
    if (written && !rename(temporary, path)) return GG_OK;
    snprintf(error, MG_ERROR_SIZE, "cannot write '%.300s': %s", path, strerror(errno));
    unlink(temporary);
    return GG_ERR_IO;
}

void mg_lastfailed_free(mg_lastfailed *failed) {
    free(failed->ids);
    free(failed->text);
    *failed = (mg_lastfailed){0};
}

/* --- looking ids up --- */

typedef struct entry {
    const char *id;
    uint32_t index;
} entry;

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const entry *)a)->id, ((const entry *)b)->id);
}

/* The ids of the table in alphabetical order; owned by the caller. */
static entry *new_directory(const mg_selection *s) {
    entry *directory = malloc((s->num_ids + 1) * sizeof *directory);
    if (!directory) return NULL;
    for (size_t i = 0; i < s->num_ids; i++) directory[i] = (entry){s->ids[i], (uint32_t)i};
    qsort(directory, s->num_ids, sizeof *directory, compare_entries);
    return directory;
}

static const entry *look_up(const mg_selection *s, const entry *directory, const char *id) {
    return bsearch(&(entry){.id = id}, directory, s->num_ids, sizeof *directory, compare_entries);
}

/* --- the steps --- */

static gg_status out_of_memory(char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "out of memory for the selection");
    return GG_ERR_MEMORY;
}

static gg_status name_cases(mg_selection *s, const mg_cases *cases, char error[MG_ERROR_SIZE]) {
    s->num_ids = cases->count;
    s->indices = malloc((cases->count + 1) * sizeof *s->indices);
    s->ids = malloc((cases->count + 1) * sizeof *s->ids);
    s->text = malloc((cases->count + 1) * MG_ID_SIZE); /* pages that stay untouched cost nothing */
    if (!s->indices || !s->ids || !s->text) return out_of_memory(error);
    char *at = s->text;
    for (size_t i = 0; i < cases->count; i++) {
        s->ids[i] = at;
        at += mg_case_id(&cases->items[i], at) + 1;
    }
    return GG_OK;
}

static gg_status add_id(mg_selection *s, const entry *directory, const char *id, bool *taken,
                        char error[MG_ERROR_SIZE]) {
    const entry *found = look_up(s, directory, id);
    if (!found) {
        snprintf(error, MG_ERROR_SIZE, "not found: '%.300s' (an id must be exact; -k takes a part of one)",
                 id);
        return GG_ERR_ARGUMENT;
    }
    if (!taken[found->index]) s->indices[s->count++] = found->index;
    taken[found->index] = true;
    return GG_OK;
}

/* The ids named by the command line, in its order, each once; the whole table when there are none. */
static gg_status collect(mg_selection *s, const mg_options *options, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_OK;
    if (!options->num_arguments) {
        for (; s->count < s->num_ids; s->count++) s->indices[s->count] = (uint32_t)s->count;
        return GG_OK;
    }
    entry *directory = new_directory(s);
    bool *taken = calloc(s->num_ids + 1, sizeof *taken);
    if (!directory || !taken) status = out_of_memory(error);
    for (size_t i = 0; !status && i < options->num_arguments; i++) {
        const char *argument = options->arguments[i];
        if (*argument != '@') {
            status = add_id(s, directory, argument, taken, error);
            continue;
        }
        mg_lastfailed list;
        status = read_ids(&list, argument + 1, error);
        for (size_t j = 0; !status && j < list.count; j++)
            status = add_id(s, directory, list.ids[j], taken, error);
        mg_lastfailed_free(&list);
    }
    free(directory);
    free(taken);
    return status == GG_ERR_IO ? GG_ERR_ARGUMENT : status;
}

static gg_status apply_keyword(mg_selection *s, const char *keyword, char error[MG_ERROR_SIZE]) {
    if (!keyword) return GG_OK;
    mg_filter *filter;
    gg_status status = mg_filter_new(&filter, keyword, error);
    if (status) return status;
    char lowered[MG_ID_SIZE];
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        strcpy(lowered, s->ids[s->indices[i]]);
        mg_filter_lower(lowered);
        if (mg_filter_matches(filter, lowered)) s->indices[kept++] = s->indices[i];
    }
    s->count = kept;
    mg_filter_free(filter);
    return GG_OK;
}

static gg_status apply_last_failed(mg_selection *s, const mg_options *options, char error[MG_ERROR_SIZE]) {
    if (!options->last_failed && !options->failed_first) return GG_OK;
    mg_lastfailed failed;
    gg_status status = mg_lastfailed_read(&failed, options->execute.cache_dir, error);
    if (status) return GG_ERR_ARGUMENT;
    entry *directory = new_directory(s);
    bool *was_failure = calloc(s->num_ids + 1, sizeof *was_failure);
    uint32_t *others = malloc((s->count + 1) * sizeof *others);
    size_t known = 0, first = 0, rest = 0;
    if (!directory || !was_failure || !others) {
        status = out_of_memory(error);
        goto out;
    }
    for (size_t i = 0; i < failed.count; i++) {
        const entry *found = look_up(s, directory, failed.ids[i]);
        if (found) was_failure[found->index] = true; /* else the case has left the table since */
        known += found != NULL;
    }
    for (size_t i = 0; i < s->count; i++)
        if (was_failure[s->indices[i]])
            s->indices[first++] = s->indices[i];
        else
            others[rest++] = s->indices[i];
    bool only_failures = options->last_failed && first;
    if (!only_failures) memcpy(s->indices + first, others, rest * sizeof *others);
    s->count = only_failures ? first : first + rest;
    if (!known)
        snprintf(s->note, sizeof s->note,
                 "run-last-failure: no previously failed tests, not deselecting items.");
    else if (!first)
        snprintf(s->note, sizeof s->note, "run-last-failure: %zu known failures not in selected tests",
                 known);
    else
        snprintf(s->note, sizeof s->note, "run-last-failure: rerun previous %zu failure%s%s", first,
                 first == 1 ? "" : "s", options->failed_first ? " first" : "");
out:
    mg_lastfailed_free(&failed);
    free(directory);
    free(was_failure);
    free(others);
    return status;
}

/* Every n-th case, so that each shard gets its share of every problem. */
static void apply_shard(mg_selection *s, const mg_options *options) {
    size_t kept = 0;
    for (size_t i = options->shard - 1; i < s->count; i += options->num_shards)
        s->indices[kept++] = s->indices[i];
    s->count = kept;
}

gg_status mg_select(mg_selection *s, const mg_options *options, const mg_cases *cases,
                    char error[MG_ERROR_SIZE]) {
    *s = (mg_selection){0};
    error[0] = 0;
    gg_status status = name_cases(s, cases, error);
    if (!status) status = collect(s, options, error);
    s->collected = s->count;
    if (!status) status = apply_keyword(s, options->keyword, error);
    if (!status) status = apply_last_failed(s, options, error);
    if (!status) apply_shard(s, options);
    s->deselected = s->collected - s->count;
    if (status) mg_selection_free(s);
    return status;
}

void mg_selection_free(mg_selection *s) {
    free(s->indices);
    free(s->ids);
    free(s->text);
    *s = (mg_selection){0};
}

void mg_selection_summary(const mg_selection *s, char text[MG_ERROR_SIZE]) {
    if (!s->count && !s->deselected)
        snprintf(text, MG_ERROR_SIZE, "no tests collected");
    else if (!s->count)
        snprintf(text, MG_ERROR_SIZE, "no tests collected (%zu deselected)", s->deselected);
    else if (s->deselected)
        snprintf(text, MG_ERROR_SIZE, "%zu/%zu tests collected (%zu deselected)", s->count, s->collected,
                 s->deselected);
    else
        snprintf(text, MG_ERROR_SIZE, "%zu test%s collected", s->count, s->count == 1 ? "" : "s");
}
