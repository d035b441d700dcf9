/* report_internal.h: reading a results.jsonl back, and saying why a file cannot be written; shared by
 * report*.c. */
#ifndef MG_REPORT_INTERNAL_H
#define MG_REPORT_INTERNAL_H

#include <jansson.h>
#include <stdio.h>

#include "report.h"

/* The kinds of line, by the key that only they have. */
typedef enum mg_line {
    MG_LINE_HEADER,
    MG_LINE_RESULT,
    MG_LINE_SUMMARY,
    MG_LINE_TYPED, /* says itself what it is: "type" ("bench") */
    MG_NUM_LINES
} mg_line;

/* Next line of the file that is whole and known, parsed (free with json_decref), NULL at the end. */
json_t *mg_line_next(FILE *in, mg_line *kind);

/* One line of any kind, after the header; takes `value`. */
gg_status mg_report_add_json(mg_report *report, json_t *value, char error[MG_ERROR_SIZE]);

/* A JSON string of any bytes: what is not UTF-8 becomes '?'. */
json_t *mg_json_text(const char *s);

/* "cannot write 'PATH': REASON (pass --report DIR)" from errno; returns GG_ERR_IO. */
gg_status mg_cannot_write(const char *path, char error[MG_ERROR_SIZE]);

/* An error where writing `path` would be the end of a run's results. */
gg_status mg_spare_results(const char *path, char error[MG_ERROR_SIZE]);

/* Opens `results_path` for reading and `path` for writing, and closes them, with an error if either failed. A
 * file that could not be written whole is removed. */
gg_status mg_convert_open(const char *results_path, const char *path, FILE **in, FILE **out,
                          char error[MG_ERROR_SIZE]);
gg_status mg_convert_close(const char *path, FILE *in, FILE *out, char error[MG_ERROR_SIZE]);

/* --- pages --- */

/* Writes the data of a page: JSON by mg_page_put alone, which is safe inside <script>. */
typedef void mg_page_data(FILE *out, void *user);
void mg_page_put(FILE *out, const json_t *value);
gg_status mg_page_write(FILE *out, const char *template, mg_page_data *data, void *user,
                        char error[MG_ERROR_SIZE]);
/* The page of a results.jsonl, with one more line of data (NULL: none): {type: "changes", baseline: TEXT, cases: [{id,
 * changes: [TEXT], ...}]}. */
gg_status mg_report_page(const char *results_path, const json_t *extra, const char *path,
                         char error[MG_ERROR_SIZE]);

#endif
