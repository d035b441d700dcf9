/* summary.h: what a run says at its end: failures with their repro lines, durations, the closing line. */
#ifndef MG_SUMMARY_H
#define MG_SUMMARY_H

#include "history.h"
#include "progress.h"
#include "report.h"

/* One finished case, as much of it as the summary needs. */
typedef struct mg_outcome {
    const char *id;
    mg_verdict verdict;
    double seconds;
    char *message; /* owned; NULL when passed */
} mg_outcome;

typedef struct mg_ending {
    const mg_options *options;
    const mg_outcome *outcomes; /* in order of arrival */
    size_t num_outcomes;
    const mg_report_summary *summary;
    const char *repro;        /* what comes before the id in a repro line */
    const char *report_path;  /* of report.html, or of results.jsonl where that could not be written */
    size_t wait_for_gpu;      /* skipped by the simulator's limit */
    const mg_newspaper *news; /* from the history */
    double running_seconds;   /* of the cases themselves, without what prepared them */
    long stopped_after;       /* failures that ended the run (-x, --maxfail), else 0 */
} mg_ending;

/* Prints it all; the last line is "N passed, N failed, N skipped". */
void mg_summary_print(mg_progress *progress, const mg_ending *ending);

#endif
