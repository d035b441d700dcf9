/* filter.h: pytest's -k expressions, compiled once and then matched against every id. */
#ifndef MG_FILTER_H
#define MG_FILTER_H

#include "case.h"

typedef struct mg_filter mg_filter;

/* Compiles `expression`; NULL, "" or only white space gives a filter that matches everything. On
 * GG_ERR_ARGUMENT `error` holds pytest's own sentence, without its leading "ERROR: ": "Wrong expression
 * passed to '-k': a or: at column 5: expected not OR left parenthesis OR identifier; got end of input" */
gg_status mg_filter_new(mg_filter **out, const char *expression, char error[MG_ERROR_SIZE]);
void mg_filter_free(mg_filter *filter);

/* `lowered` is an id in lower case (mg_filter_lower): every identifier is a substring of it, or not. */
bool mg_filter_matches(const mg_filter *filter, const char *lowered);
void mg_filter_lower(char *text); /* ASCII, in place: ids are ASCII */

#endif
