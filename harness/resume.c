/* resume.c: reads an interrupted run's results.jsonl back, as far as it is whole. */
#include "resume.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "version.h"

struct mg_resume {
    char path[GG_PATH_SIZE];
    json_t *header, *results; /* an object; an array of them */
    off_t size, seen;
};

static gg_status refuse(const mg_resume *r, const char *why, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "cannot resume '%.250s': %.200s", r->path, why);
    return GG_ERR_IO;
}

/* Takes one line in; false when it is neither a header nor a result, so that what follows does not count. */
static bool take(mg_resume *r, json_t *line, json_t *seen) {
    const char *id = json_string_value(json_object_get(line, "id"));
    if (!r->header) {
        r->header = json_object_get(line, "schema") ? json_incref(line) : NULL;
        return r->header;
    }
    if (!id || json_object_get(seen, id)) return false;
    json_object_set_new(seen, id, json_true());
    json_object_del(line, "difference"); /* large, and not needed here */
    json_array_append(r->results, line);
    return true;
}

gg_status mg_resume_open(mg_resume **out, const char *dir, char error[MG_ERROR_SIZE]) {
    mg_resume *r = *out = calloc(1, sizeof *r);
    json_t *seen = json_object();
    FILE *in = NULL;
    char *line = NULL;
    size_t capacity = 0;
    gg_status status = GG_ERR_MEMORY;
    snprintf(error, MG_ERROR_SIZE, "out of memory");
    if (!r || !seen || !(r->results = json_array())) goto out;
    snprintf(r->path, sizeof r->path, "%s/results.jsonl", dir);
    if (!(in = fopen(r->path, "re"))) {
        status = refuse(r, strerror(errno), error);
        goto out;
    }
    for (ssize_t length; (length = getline(&line, &capacity, in)) > 0;) {
        json_t *value = line[length - 1] == '\n' ? json_loads(line, 0, NULL) : NULL; /* else it is torn */
        bool taken = r->size == r->seen && value && take(r, value, seen);
        json_decref(value);
        r->seen += length;
        if (taken) r->size = r->seen;
    }
    status = r->header ? GG_OK : refuse(r, "it does not begin with a run's header (start a new run)", error);
out:
    free(line);
    if (in) fclose(in);
    json_decref(seen);
    if (status) {
        mg_resume_close(r);
        *out = NULL;
    }
    return status;
}

void mg_resume_close(mg_resume *r) {
    if (!r) return;
    json_decref(r->header);
    json_decref(r->results);
    free(r);
}

/* Appends those of `count` words that stand before "--", or after it; whether it is there. */
static bool add_words(char **out, int *used, char *const *words, size_t count, bool after) {
    bool seen = false;
    for (size_t i = 0; i < count; i++) {
        if (!seen && !strcmp(words[i], "--"))
            seen = true;
        else if (seen == after)
            out[(*used)++] = words[i];
    }
    return seen;
}

char **mg_resume_words(const mg_resume *r, int argc, char **argv, int *count) {
    const json_t *saved = json_object_get(r->header, "arguments");
    const size_t num_saved = json_array_size(saved), num_new = (size_t)argc - 1;
    char **words = calloc(num_saved + num_new + 3, sizeof *words), **old = calloc(num_saved + 1, sizeof *old);
    if (!words || !old) {
        free(words);
        words = NULL;
        goto out;
    }
    for (size_t i = 0; i < num_saved; i++) {
        const char *word = json_string_value(json_array_get(saved, i));
        old[i] = (char *)(uintptr_t)(word ? word : ""); /* parsing moves words and changes none */
    }
    *count = 1;
    words[0] = argv[0];
    bool ended = add_words(words, count, old, num_saved, false);
    ended |= add_words(words, count, argv + 1, num_new, false);
    if (ended) words[(*count)++] = (char *)(uintptr_t) "--";
    add_words(words, count, old, num_saved, true);
    add_words(words, count, argv + 1, num_new, true);
out:
    free(old);
    return words;
}

gg_status mg_resume_matches(const mg_resume *r, const mg_report_header *now, char error[MG_ERROR_SIZE]) {
    const json_t *h = r->header;
    const struct {
        const char *what, *then, *now;
    } texts[] = {
        {"commit", json_string_value(json_object_get(h, "commit")), MG_COMMIT},
        {"subject", json_string_value(json_object_get(h, "subject")), now->subject},
        {"backend", json_string_value(json_object_get(h, "backend")), now->backend},
        {"device", json_string_value(json_object_get(json_object_get(h, "device"), "name")),
         now->device->name},
    };
    const struct {
        const char *what;
        json_int_t then, now;
    } numbers[] = {
        {"seed", json_integer_value(json_object_get(h, "seed")), (json_int_t)now->user_seed},
        {"number of selected cases", json_integer_value(json_object_get(h, "selected")),
         (json_int_t)now->selected},
    };
    char why[200];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].then && !strcmp(texts[i].then, texts[i].now)) continue;
        snprintf(why, sizeof why, "its %s is '%.50s', this run's '%.50s' (start a new run)", texts[i].what,
                 texts[i].then ? texts[i].then : "", texts[i].now);
        return refuse(r, why, error);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].then == numbers[i].now) continue;
        snprintf(why, sizeof why, "its %s is %lld, this run's %lld (start a new run)", numbers[i].what,
                 (long long)numbers[i].then, (long long)numbers[i].now);
        return refuse(r, why, error);
    }
    return GG_OK;
}

size_t mg_resume_count(const mg_resume *r) { return json_array_size(r->results); }
off_t mg_resume_size(const mg_resume *r) { return r->size; }
off_t mg_resume_seen(const mg_resume *r) { return r->seen; }

gg_status mg_resume_result(const mg_resume *r, size_t at, const char *const *ids, size_t num_ids,
                           mg_result *out, char error[MG_ERROR_SIZE]) {
    const json_t *line = json_array_get(r->results, at), *index = json_object_get(line, "index");
    const char *id = json_string_value(json_object_get(line, "id"));
    const char *verdict = json_string_value(json_object_get(line, "verdict"));
    const char *message = json_string_value(json_object_get(line, "message"));
    *out = (mg_result){.index = (uint64_t)json_integer_value(index),
                       .seconds = json_number_value(json_object_get(line, "seconds"))};
    while (out->verdict < MG_NUM_VERDICTS && (!verdict || strcmp(verdict, mg_verdict_name(out->verdict))))
        out->verdict++;
    if (out->verdict == MG_NUM_VERDICTS || out->index >= num_ids || strcmp(ids[out->index], id))
        return refuse(r, "its results are not of this table of cases (start a new run)", error);
    snprintf(out->message, sizeof out->message, "%s", message ? message : "");
    return GG_OK;
}
