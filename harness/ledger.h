/* ledger.h: <cache>/ledger.db: the digest of every output that has passed, to be compared with by every later run. */
#ifndef MG_LEDGER_H
#define MG_LEDGER_H

#include "backend/backend.h"
#include "result.h"

typedef struct mg_ledger mg_ledger;

/* What must be the same for the bits to be the same; strings are copied. */
typedef struct mg_ledger_run {
    const char *subject;
    const gg_device *device; /* its name, driver and compiler */
    uint64_t user_seed;
} mg_ledger_run;

/* Any number of processes may have it open. Errors name the file and the fix. Close it before forking, or in the parent
 * only. */
gg_status mg_ledger_open(mg_ledger **out, const char *cache_dir, const mg_ledger_run *run,
                         char error[MG_ERROR_SIZE]);
void mg_ledger_close(mg_ledger *ledger);

/* Enters a result that has passed, or fails it when its digest is not the one entered first. */
gg_status mg_ledger_check(mg_ledger *ledger, const char *id, mg_result *result, char error[MG_ERROR_SIZE]);

#endif
