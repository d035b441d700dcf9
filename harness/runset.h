/* runset.h: a results.jsonl in memory, one entry a case, and where to find the file that a user means. */
#ifndef MG_RUNSET_H
#define MG_RUNSET_H

#include <jansson.h>

#include "digest.h"
#include "result.h"

typedef struct mg_entry {
    const char *id;
    mg_verdict verdict;
    const char *message, *config;
    const char *digest, *kernel, *data; /* hexadecimal; "" if unknown */
    double seconds, kernel_ms;
    double max_ulp; /* NaN where nothing was compared */
    size_t order;   /* in the file */
} mg_entry;

typedef struct mg_runset {
    json_t *header; /* NULL where the file has none */
    bool finished;  /* has a summary */
    double run_seconds;
    mg_entry *items; /* sorted by id; of two results of one case the later */
    size_t count;
    json_t *lines;            /* behind the strings */
    int64_t size;             /* bytes of the file */
    char key[MG_SHA256_SIZE]; /* of the run: the digest of its header; "" without one */
} mg_runset;

/* `path`: a results.jsonl or a folder with one. Not a whole results file: GG_ERR_IO and a line on why. */
gg_status mg_runset_load(mg_runset *out, const char *path, char error[MG_ERROR_SIZE]);
/* The key alone, from the first line; false: it has none. */
bool mg_runset_key(const char *path, char key[MG_SHA256_SIZE]);
void mg_runset_free(mg_runset *set);
const mg_entry *mg_runset_find(const mg_runset *set, const char *id);

/* PATH itself, or PATH/results.jsonl where PATH is a folder. */
void mg_results_path(const char *path, char *out, size_t size);
/* A string member of the header or of its device; "" where there is none. */
const char *mg_runset_word(const mg_runset *set, const char *key);

#endif
