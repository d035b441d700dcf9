/* report.h: what a run leaves behind: results.jsonl as it happens (schema: reports/README.md), then junit.xml
 * and report.html made from it. */
#ifndef MG_REPORT_H
#define MG_REPORT_H

#include <sys/types.h>

#include <stdio.h>

#include "result.h"

typedef struct mg_report mg_report; /* an open results.jsonl */

typedef struct mg_report_header {
    const char *command; /* as typed */
    const char *const
        *arguments;    /* the words of it after the subcommand, ended by NULL, for --resume; NULL: none */
    const char *repro; /* what a repro line needs before the id, for example "./run_tests.sh --seed 3" */
    const char *backend, *subject;
    const gg_device *device;
    const char *golden_dir; /* for the routing beside a wrong output; NULL: leave it out */
    size_t selected, deselected;
    int workers;
    uint64_t user_seed;
} mg_report_header;

typedef struct mg_report_summary {
    size_t counts[MG_NUM_VERDICTS];
    size_t not_run; /* selected, but the run ended before */
    bool interrupted;
    double seconds;
} mg_report_summary;

/* Makes `dir` and starts a new results.jsonl in it; refuses while another run writes that one. Errors of all
 * functions below read "cannot write '...': ..." and name the fix. */
gg_status mg_report_open(mg_report **out, const char *dir, const mg_report_header *header,
                         char error[MG_ERROR_SIZE]);
/* Goes on with the results.jsonl of an interrupted run, from its first `size` bytes of the `seen`; refuses
 * while that run is alive. */
gg_status mg_report_reopen(mg_report **out, const char *dir, const char *golden_dir, off_t size, off_t seen,
                           char error[MG_ERROR_SIZE]);
/* One line, one write; on a failure the file still ends with the last whole line. `c` may be NULL. */
gg_status mg_report_add(mg_report *report, const char *id, const mg_case *c, const mg_result *result,
                        char error[MG_ERROR_SIZE]);
/* Puts what was added on the disk, at most once a second unless `now`. */
gg_status mg_report_sync(mg_report *report, bool now, char error[MG_ERROR_SIZE]);
/* The last line. */
gg_status mg_report_end(mg_report *report, const mg_report_summary *summary, char error[MG_ERROR_SIZE]);
void mg_report_close(mg_report *report);
const char *mg_report_path(const mg_report *report); /* of results.jsonl */

/* Makes reports/<local time>-<commit> under `root`, where commit is at most 12 characters of it; with a number
 * behind it where a run of the same second has that. */
void mg_report_default_dir(const char *root, char *dir, size_t size);
/* Points `root`/latest at `dir`; a convenience, so failures are ignored. */
void mg_report_link_latest(const char *root, const char *dir);

/* Written from a results.jsonl, also an unfinished one. */
gg_status mg_report_junit(const char *results_path, const char *path, char error[MG_ERROR_SIZE]);
gg_status mg_report_html(const char *results_path, const char *path, char error[MG_ERROR_SIZE]);
/* Prints an annotation for each of the first failures. */
gg_status mg_report_github(const char *results_path, FILE *out, char error[MG_ERROR_SIZE]);

#endif
