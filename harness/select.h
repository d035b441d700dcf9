/* select.h: which cases of the table a command line means, and in which order. */
#ifndef MG_SELECT_H
#define MG_SELECT_H

#include "options.h"

typedef struct mg_selection {
    uint32_t *indices; /* into the case table, in the order to run */
    size_t count;      /* selected */
    size_t collected;  /* before -k, --lf and --shard: the whole table, or the positional ids */
    size_t deselected; /* collected - count */
    size_t num_ids;    /* of the table */
    const char **ids;  /* id of every case of the table, by index; valid until freed */
    char *text;        /* behind ids */
    char note[128];    /* "run-last-failure: rerun previous 3 failures", or "" */
} mg_selection;

/* Applies, in pytest's order: positional ids and @idfile, -k, --lf/--ff, --shard. GG_ERR_ARGUMENT: `error`
 * holds one line without "ERROR: ". An empty selection is GG_OK with count 0, for MG_EXIT_EMPTY. */
gg_status mg_select(mg_selection *out, const mg_options *options, const mg_cases *cases,
                    char error[MG_ERROR_SIZE]);
void mg_selection_free(mg_selection *selection);

/* "12 tests collected", "2/12 tests collected (10 deselected)", "no tests collected (12 deselected)" */
void mg_selection_summary(const mg_selection *selection, char text[MG_ERROR_SIZE]);

/* The failures of the last run: <cache>/lastfailed, one id a line, replaced whole. A missing file means none.
 */
typedef struct mg_lastfailed {
    const char **ids; /* count of them, in the order of the file */
    size_t count;
    char *text; /* behind ids */
} mg_lastfailed;
gg_status mg_lastfailed_read(mg_lastfailed *out, const char *cache_dir, char error[MG_ERROR_SIZE]);
gg_status mg_lastfailed_write(const char *cache_dir, const char *const *ids, size_t count,
                              char error[MG_ERROR_SIZE]);
void mg_lastfailed_free(mg_lastfailed *failed);

/* --collect-only and `moegemm list`: prints the selection; returns the exit status. */
int mg_collect(const mg_options *options, const mg_cases *cases, const mg_selection *selection,
               double seconds);

#endif
