/* xfail.h: the table of cases known to fail (xfail.tsv). */
#ifndef MG_XFAIL_H
#define MG_XFAIL_H

#include "result.h"

typedef struct mg_xfail mg_xfail;

/* Reads `path`, or the table in the binary if NULL; keeps the lines for this architecture ("sim", "sm_90a"). */
gg_status mg_xfail_open(mg_xfail **out, const char *path, const char *arch, char error[MG_ERROR_SIZE]);
void mg_xfail_close(mg_xfail *xfail);

/* Turns a listed case's failure or error into xfailed, and its pass into a failure. */
void mg_xfail_apply(const mg_xfail *xfail, const char *id, mg_result *result);

#endif
