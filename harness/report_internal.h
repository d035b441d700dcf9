/* report_internal.h: reading a results.jsonl back, and saying why a file cannot be written; shared by
 * report*.c. */
#ifndef MG_REPORT_INTERNAL_H
#define MG_REPORT_INTERNAL_H

#include <jansson.h>
#include <stdio.h>

#include "report.h"

/* The kinds of line, by the key that only they have. */
typedef enum mg_line { MG_LINE_HEADER, MG_LINE_RESULT, MG_LINE_SUMMARY, MG_NUM_LINES } mg_line;

/* Next line of the file that is whole and known, parsed (free with json_decref), NULL at the end. */
json_t *mg_line_next(FILE *in, mg_line *kind);

/* "cannot write 'PATH': REASON (fix)" from errno; returns GG_ERR_IO. */
gg_status mg_cannot_write(const char *path, char error[MG_ERROR_SIZE]);

/* Opens `results_path` for reading and `path` for writing, and closes them, with an error if either failed. A
 * file that could not be written whole is removed. */
gg_status mg_convert_open(const char *results_path, const char *path, FILE **in, FILE **out,
                          char error[MG_ERROR_SIZE]);
gg_status mg_convert_close(const char *path, FILE *in, FILE *out, char error[MG_ERROR_SIZE]);

#endif
