/* corpus.c: opens golden/: the manifest with its digests and the hash goldens; reads and checks single
 * arrays. */
#include "corpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct hash_row {
    const mg_problem *problem;
    gg_dtype dtype;
    mg_hash_output output;
    uint64_t *hashes;
    size_t count;
} hash_row;

struct mg_corpus {
    char *golden_dir, *cache_dir;
    char *manifest; /* its text, cut up by the rows */
    mg_manifest_row *rows;
    size_t num_rows;
    hash_row *hash_rows;
    size_t num_hash_rows;
};

enum { MAX_TABLE_BYTES = 64 << 20 }; /* of manifest.tsv and hashes.tsv: far above what they need */

static gg_status out_of_memory(char error[MG_ERROR_SIZE], const char *what) {
    snprintf(error, MG_ERROR_SIZE, "no memory for '%s'", what);
    return GG_ERR_MEMORY;
}

/* A whole text file with a NUL behind it. */
static gg_status read_text(const char *path, char **text, size_t *size, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_ERR_IO;
    *text = NULL;
    FILE *file = fopen(path, "rbe");
    long end = -1;
    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0 || end > MAX_TABLE_BYTES) {
        snprintf(error, MG_ERROR_SIZE, "cannot read '%s': %s (is --golden-dir right?)", path,
                 end > MAX_TABLE_BYTES ? "too large" : strerror(errno));
        goto out;
    }
    rewind(file);
    *text = malloc((size_t)end + 1);
    if (!*text) {
        status = out_of_memory(error, path);
        goto out;
    }
    *size = fread(*text, 1, (size_t)end, file);
    (*text)[*size] = 0;
    status = GG_OK;
out:
    if (file) fclose(file);
    return status;
}

static size_t count_lines(const char *text) {
    size_t lines = 0;
    for (; (text = strchr(text, '\n')); text++) lines++;
    return lines;
}

static gg_status bad_line(const mg_corpus *corpus, const char *table, size_t line,
                          char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "bad line %zu in '%.300s/%s' (restore it: git checkout golden/%s)", line,
             corpus->golden_dir, table, table);
    return GG_ERR_IO;
}

static int compare_rows(const void *a, const void *b) {
    return strcmp(((const mg_manifest_row *)a)->path, ((const mg_manifest_row *)b)->path);
}

static gg_status parse_manifest(mg_corpus *corpus, char error[MG_ERROR_SIZE]) {
    size_t line = 1;
    char *save, *at = strchr(corpus->manifest, '\n'); /* the first line is the header */
    corpus->rows = calloc(count_lines(corpus->manifest) + 1, sizeof *corpus->rows);
    if (!corpus->rows) return out_of_memory(error, "manifest.tsv");
    for (char *text = at ? strtok_r(at, "\n", &save) : NULL; text; text = strtok_r(NULL, "\n", &save)) {
        mg_manifest_row *row = &corpus->rows[corpus->num_rows];
        const char **fields[] = {&row->path, &row->type, &row->shape, &row->sha256, &row->kind};
        line++;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
            *fields[i] = strsep(&text, "\t");
            if (!*fields[i]) return bad_line(corpus, "manifest.tsv", line, error);
        }
        if (text || strlen(row->sha256) != MG_SHA256_SIZE - 1)
            return bad_line(corpus, "manifest.tsv", line, error);
        corpus->num_rows++;
    }
    qsort(corpus->rows, corpus->num_rows, sizeof *corpus->rows, compare_rows);
    return GG_OK;
}

static const char *const hash_outputs[MG_NUM_HASHES] = {
    [MG_HASH_Y] = "y",   [MG_HASH_Y_MUL] = "y_mul", [MG_HASH_DX] = "dx", [MG_HASH_DX_REDUCED] = "dx_reduced",
    [MG_HASH_DW] = "dw",
};

const char *mg_hash_output_name(mg_hash_output output) { return hash_outputs[output]; }

static bool parse_hash_row(char *line, hash_row *row) {
    char *key = strsep(&line, "\t"), *dtype = strsep(&line, "\t"), *output = strsep(&line, "\t");
    if (!line) return false;
    row->problem = mg_problem_find(key);
    while (row->dtype < GG_NUM_DTYPES && strcmp(dtype, gg_dtype_name(row->dtype))) row->dtype++;
    while (row->output < MG_NUM_HASHES && strcmp(output, hash_outputs[row->output])) row->output++;
    if (!row->problem || row->dtype == GG_NUM_DTYPES || row->output == MG_NUM_HASHES) return false;

    size_t wanted = row->output == MG_HASH_DX_REDUCED ? 1 : (size_t)row->problem->E;
    row->hashes = calloc(wanted, sizeof *row->hashes);
    if (!row->hashes) return false;
    for (char *value; (value = strsep(&line, ",")); row->count++) {
        char *end;
        if (row->count == wanted || strlen(value) != 16) return false;
        row->hashes[row->count] = strtoull(value, &end, 16);
        if (*end) return false;
    }
    return row->count == wanted;
}

static gg_status parse_hashes(mg_corpus *corpus, char *text, char error[MG_ERROR_SIZE]) {
    size_t line = 1;
    char *save, *at = strchr(text, '\n');
    corpus->hash_rows = calloc(count_lines(text) + 1, sizeof *corpus->hash_rows);
    if (!corpus->hash_rows) return out_of_memory(error, "hashes.tsv");
    for (char *row = at ? strtok_r(at, "\n", &save) : NULL; row; row = strtok_r(NULL, "\n", &save)) {
        line++;
        if (!parse_hash_row(row, &corpus->hash_rows[corpus->num_hash_rows++]))
            return bad_line(corpus, "hashes.tsv", line, error);
    }
    return GG_OK;
}

const char *mg_golden_default_dir(void) {
    const char *named = getenv("MOEGEMM_GOLDEN");
    if (named && *named) return named;
    return access("golden/manifest.tsv", R_OK) ? MOEGEMM_SOURCE_DIR "/golden" : "golden";
}

gg_status mg_corpus_open(mg_corpus **out, const char *golden_dir, const char *cache_dir,
                         char error[MG_ERROR_SIZE]) {
    char path[MG_FILE_SIZE], *hashes = NULL;
    size_t size;
    gg_status status = GG_ERR_MEMORY;
    mg_corpus *corpus = *out = calloc(1, sizeof *corpus);
    if (!corpus || !(corpus->golden_dir = strdup(golden_dir)) || !(corpus->cache_dir = strdup(cache_dir))) {
        status = out_of_memory(error, golden_dir);
        goto out;
    }
    snprintf(path, sizeof path, "%s/manifest.tsv", golden_dir);
    if ((status = read_text(path, &corpus->manifest, &size, error))) goto out;
    if ((status = parse_manifest(corpus, error))) goto out;
    snprintf(path, sizeof path, "%s/hashes.tsv", golden_dir);
    if ((status = read_text(path, &hashes, &size, error))) goto out;
    if ((status = mg_corpus_check(corpus, "hashes.tsv", hashes, size, error))) goto out;
    status = parse_hashes(corpus, hashes, error);
out:
    free(hashes);
    if (status) {
        mg_corpus_close(corpus);
        *out = NULL;
    }
    return status;
}

void mg_corpus_close(mg_corpus *corpus) {
    if (!corpus) return;
    for (size_t i = 0; i < corpus->num_hash_rows; i++) free(corpus->hash_rows[i].hashes);
    free(corpus->hash_rows);
    free(corpus->rows);
    free(corpus->manifest);
    free(corpus->golden_dir);
    free(corpus->cache_dir);
    free(corpus);
}

gg_status mg_golden_hashes(const mg_corpus *corpus, const mg_problem *problem, gg_dtype dtype,
                           mg_hash_output output, const uint64_t **hashes, size_t *count,
                           char error[MG_ERROR_SIZE]) {
    for (size_t i = 0; i < corpus->num_hash_rows; i++) {
        const hash_row *row = &corpus->hash_rows[i];
        if (row->problem != problem || row->dtype != dtype || row->output != output) continue;
        *hashes = row->hashes;
        *count = row->count;
        return GG_OK;
    }
    snprintf(error, MG_ERROR_SIZE,
             "no hash golden '%s %s %s' (maintainers: moegemm golden generate --hashes)", problem->key,
             gg_dtype_name(dtype), hash_outputs[output]);
    return GG_ERR_IO;
}

/* --- the manifest and what it speaks of --- */

const mg_manifest_row *mg_manifest_rows(const mg_corpus *corpus, size_t *count) {
    *count = corpus->num_rows;
    return corpus->rows;
}

const mg_manifest_row *mg_manifest_find(const mg_corpus *corpus, const char *path) {
    mg_manifest_row wanted = {.path = path};
    return bsearch(&wanted, corpus->rows, corpus->num_rows, sizeof wanted, compare_rows);
}

void mg_corpus_path(const mg_corpus *corpus, const mg_manifest_row *row, char path[MG_FILE_SIZE]) {
    const char *folder = strcmp(row->kind, "committed") ? corpus->cache_dir : corpus->golden_dir;
    snprintf(path, MG_FILE_SIZE, "%s/%s", folder, row->path);
}

void mg_array_name(const mg_problem *problem, mg_class cls, gg_dtype dtype, const char *name,
                   char out[MG_FILE_SIZE]) {
    bool typed = strcmp(name, "topk_weights") != 0;
    snprintf(out, MG_FILE_SIZE, "%s/%s-%s%s%s", problem->key, mg_class_name(cls),
             typed ? gg_dtype_name(dtype) : "", typed ? "-" : "", name);
}

const char *mg_output_name(mg_output output) {
    static const char *const names[MG_NUM_OUTPUTS] = {
        [MG_OUT_Y] = "y", [MG_OUT_DX] = "dx", [MG_OUT_DW] = "dw"};
    return names[output];
}

void mg_output_shape(const mg_problem *problem, mg_output output, size_t *rows, size_t *cols) {
    *rows = output == MG_OUT_DW ? (size_t)problem->E * (size_t)problem->N : (size_t)problem->M;
    *cols = (size_t)(output == MG_OUT_Y ? problem->N : problem->K);
}

static gg_status unknown_array(const char *name, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE,
             "no golden '%s' in manifest.tsv (maintainers: moegemm golden generate --committed)", name);
    return GG_ERR_IO;
}

static gg_status wrong_digest(const char *path, const mg_manifest_row *row, const char *found,
                              const char *fix, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "wrong sha256 of '%.200s': expected %s, found %s (%s)", path, row->sha256,
             found, fix);
    return GG_ERR_IO;
}

gg_status mg_corpus_read(const mg_corpus *corpus, const char *name, mg_npy_type type, size_t count,
                         mg_npy *out, char error[MG_ERROR_SIZE]) {
    char path[MG_FILE_SIZE], digest[MG_SHA256_SIZE];
    *out = (mg_npy){0};
    const mg_manifest_row *row = mg_manifest_find(corpus, name);
    if (!row) return unknown_array(name, error);
    mg_corpus_path(corpus, row, path);
    gg_status status = mg_npy_read(path, out, error);
    if (status) return status;
    if (out->type != type || out->count != count) {
        snprintf(error, MG_ERROR_SIZE,
                 "wrong type or shape in '%.300s': expected %zu elements, found %zu (%s)", path, count,
                 out->count, "run 'moegemm golden generate'");
        status = GG_ERR_IO;
    } else {
        mg_sha256(out->data, out->bytes, digest);
        if (strcmp(digest, row->sha256))
            status = wrong_digest(path, row, digest, "run 'moegemm golden generate'", error);
    }
    if (status) mg_npy_free(out);
    return status;
}

gg_status mg_corpus_check(const mg_corpus *corpus, const char *name, const void *data, size_t bytes,
                          char error[MG_ERROR_SIZE]) {
    char digest[MG_SHA256_SIZE];
    const mg_manifest_row *row = mg_manifest_find(corpus, name);
    if (!row) return unknown_array(name, error);
    mg_sha256(data, bytes, digest);
    if (!strcmp(digest, row->sha256)) return GG_OK;
    return wrong_digest(name, row, digest, "golden/ and this build differ: restore golden/ and build again",
                        error);
}

gg_status mg_golden_check(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                          const char *name, const void *data, size_t bytes, char error[MG_ERROR_SIZE]) {
    char array[MG_FILE_SIZE];
    mg_array_name(problem, cls, dtype, name, array);
    return mg_corpus_check(corpus, array, data, bytes, error);
}
