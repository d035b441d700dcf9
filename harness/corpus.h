/* corpus.h: the corpus' folders and tables, for the files of the harness that load or check data. */
#ifndef MG_CORPUS_H
#define MG_CORPUS_H

#include "digest.h"
#include "golden.h"

enum { MG_FILE_SIZE = 2048 }; /* a path: folder and name */

/* A row of golden/manifest.tsv; strings are the corpus' own. */
typedef struct mg_manifest_row {
    const char *path;   /* below golden/ or the cache; for data without a file a name of the same form */
    const char *type;   /* "<u2" ... */
    const char *shape;  /* "128x64" */
    const char *sha256; /* of the data, without the file's header */
    const char *kind;   /* "committed", "generated", "drawn", "derived" */
} mg_manifest_row;

const mg_manifest_row *mg_manifest_rows(const mg_corpus *corpus, size_t *count);
/* NULL if there is none. */
const mg_manifest_row *mg_manifest_find(const mg_corpus *corpus, const char *path);
/* Where a row's file belongs. */
void mg_corpus_path(const mg_corpus *corpus, const mg_manifest_row *row, char path[MG_FILE_SIZE]);

/* "key/class-dtype-name", without the dtype for topk_weights, which has none. */
void mg_array_name(const mg_problem *problem, mg_class cls, gg_dtype dtype, const char *name,
                   char out[MG_FILE_SIZE]);
const char *mg_output_name(mg_output output); /* "y", "dx", "dw" */
void mg_output_shape(const mg_problem *problem, mg_output output, size_t *rows, size_t *cols);

/* Reads the file of a manifest row and checks type, element count and digest. */
gg_status mg_corpus_read(const mg_corpus *corpus, const char *name, mg_npy_type type, size_t count,
                         mg_npy *out, char error[MG_ERROR_SIZE]);
/* Compares the digest of data at hand with the manifest's. */
gg_status mg_corpus_check(const mg_corpus *corpus, const char *name, const void *data, size_t bytes,
                          char error[MG_ERROR_SIZE]);

#endif
