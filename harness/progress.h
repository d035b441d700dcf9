/* progress.h: what a run shows while it goes: one live bar on a terminal, plain lines in a log. */
#ifndef MG_PROGRESS_H
#define MG_PROGRESS_H

#include <stdio.h>

#include "options.h"
#include "result.h"

typedef enum mg_paint { MG_PLAIN, MG_BOLD, MG_DIM, MG_GREEN, MG_RED, MG_YELLOW, MG_NUM_PAINTS } mg_paint;

typedef struct mg_progress {
    FILE *out;
    bool live, color; /* a terminal that can redraw its line; escapes for colours */
    int verbosity;
    const char *label; /* of the stage: "compiling", "running" */
    size_t total, done, failures;
    size_t before;          /* of done: what took no time and does not count for the rate */
    double begun, shown;    /* when the stage began, when it was last drawn or written */
    unsigned shown_percent; /* of the last log line */
} mg_progress;

void mg_progress_init(mg_progress *progress, FILE *out, mg_color color, int verbosity);
/* A stage of `total` units begins; mg_progress_end clears its bar. */
void mg_progress_begin(mg_progress *progress, const char *label, size_t total);
void mg_progress_end(mg_progress *progress);
/* `done` units so far. */
void mg_progress_set(mg_progress *progress, size_t done);
/* One case more; with -v a line of its own. */
void mg_progress_case(mg_progress *progress, const char *id, const mg_result *result);
/* Redraws when it is time to. */
void mg_progress_tick(mg_progress *progress);

/* Escape sequence that starts a colour (MG_PLAIN ends it), "" without colours. */
const char *mg_paint_code(const mg_progress *progress, mg_paint paint);
mg_paint mg_verdict_paint(mg_verdict verdict);
bool mg_verdict_bad(mg_verdict verdict); /* failed, error, mistrusted: status 1 */
/* Text in lines of at most 80 columns, each after `indent` blanks; a word that is longer stands alone. */
void mg_put_wrapped(FILE *out, int indent, const char *text);
/* "FAILED" */
void mg_verdict_upper(mg_verdict verdict, char text[16]);

#endif
