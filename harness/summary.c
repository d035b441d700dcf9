/* summary.c: the end of a run on the terminal. */
#include "summary.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_LISTED = 100, /* failures told in full without -v; the report has them all */
    MAX_LINES = 12,   /* of one message */
};

/* Letters of -r. */
static const char letters[MG_NUM_VERDICTS] = {
    [MG_PASSED] = 'p',  [MG_FAILED] = 'f',  [MG_ERROR] = 'E',
    [MG_SKIPPED] = 's', [MG_XFAILED] = 'x', [MG_MISTRUSTED] = 'm',
};

static bool shown(const mg_ending *e, mg_verdict verdict) {
    const bool *show = e->options->show;
    return show[(unsigned char)letters[verdict]] || (verdict == MG_PASSED && show['P']);
}

static void rule(const mg_progress *p, const char *title) {
    int length = (int)strlen(title), side = (78 - length) / 2;
    static const char line[] = "========================================";
    fprintf(p->out, "%s%.*s %s %.*s%s\n", mg_paint_code(p, MG_BOLD), side, line, title, side, line,
            mg_paint_code(p, MG_PLAIN));
}

/* "VERDICT id" */
static void put_outcome(const mg_progress *p, const mg_outcome *o) {
    char verdict[16];
    mg_verdict_upper(o->verdict, verdict);
    fprintf(p->out, "%s%s%s %s\n", mg_paint_code(p, mg_verdict_paint(o->verdict)), verdict,
            mg_paint_code(p, MG_PLAIN), o->id);
}

static void put_message(const mg_progress *p, const char *message) {
    char line[MG_MESSAGE_SIZE];
    for (int lines = 0; message && *message && lines < MAX_LINES; lines++) {
        size_t length = strcspn(message, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, message);
        mg_put_wrapped(p->out, 4, line);
        message += length + (message[length] == '\n');
    }
}

/* The schedule of a fault that the simulator has named, so that the repro line brings it back. */
static void put_seed(FILE *out, const char *message) {
    static const char words[] = "simulator seed ";
    const char *seed = message ? strstr(message, words) : NULL;
    unsigned long long value;
    if (seed && sscanf(seed + sizeof words - 1, "%llu", &value) == 1) fprintf(out, " --sim-seed %llu", value);
}

static void put_failures(const mg_progress *p, const mg_ending *e) {
    size_t listed = 0, hidden = 0;
    for (size_t i = 0; i < e->num_outcomes; i++) {
        const mg_outcome *o = &e->outcomes[i];
        if (!mg_verdict_bad(o->verdict) || !shown(e, o->verdict)) continue;
        if (listed == MAX_LISTED && p->verbosity <= 0) {
            hidden++;
            continue;
        }
        if (!listed++) rule(p, "failures");
        put_outcome(p, o);
        put_message(p, o->message);
        fprintf(p->out, "    %s%s", mg_paint_code(p, MG_DIM), e->repro);
        put_seed(p->out, o->message);
        fprintf(p->out, " '%s'%s\n", o->id, mg_paint_code(p, MG_PLAIN));
    }
    if (hidden) fprintf(p->out, "... and %zu more (-v lists them all, and so does the report)\n", hidden);
}

static int by_message(const void *a, const void *b) {
    const mg_outcome *x = *(const mg_outcome *const *)a, *y = *(const mg_outcome *const *)b;
    return strcmp(x->message ? x->message : "", y->message ? y->message : "");
}

/* Skipped cases fold into one line a reason, as pytest does. */
static void put_skipped(const mg_progress *p, const mg_outcome **skipped, size_t count) {
    qsort(skipped, count, sizeof *skipped, by_message);
    for (size_t i = 0, j; i < count; i = j) {
        for (j = i + 1; j < count && !by_message(&skipped[i], &skipped[j]);) j++;
        fprintf(p->out, "%sSKIPPED%s [%zu] %s\n", mg_paint_code(p, MG_YELLOW), mg_paint_code(p, MG_PLAIN),
                j - i, skipped[i]->message ? skipped[i]->message : "");
    }
}

/* What -r asks for beside the failures. */
static void put_others(const mg_progress *p, const mg_ending *e, const mg_outcome **skipped) {
    bool titled = false;
    size_t num_skipped = 0;
    for (size_t i = 0; i < e->num_outcomes; i++) {
        const mg_outcome *o = &e->outcomes[i];
        if (mg_verdict_bad(o->verdict) || !shown(e, o->verdict)) continue;
        if (!titled) rule(p, "short test summary info");
        titled = true;
        if (o->verdict == MG_SKIPPED)
            skipped[num_skipped++] = o;
        else
            put_outcome(p, o);
    }
    put_skipped(p, skipped, num_skipped);
}

static int by_seconds(const void *a, const void *b) {
    const mg_outcome *x = *(const mg_outcome *const *)a, *y = *(const mg_outcome *const *)b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void put_durations(const mg_progress *p, const mg_ending *e, const mg_outcome **sorted) {
    size_t wanted = e->options->durations > 0 ? (size_t)e->options->durations : e->num_outcomes;
    char title[64] = "slowest durations";
    if (e->options->durations > 0) snprintf(title, sizeof title, "slowest %zu durations", wanted);
    rule(p, title);
    for (size_t i = 0; i < e->num_outcomes; i++) sorted[i] = &e->outcomes[i];
    qsort(sorted, e->num_outcomes, sizeof *sorted, by_seconds);
    for (size_t i = 0; i < wanted && i < e->num_outcomes && sorted[i]->seconds >= e->options->durations_min;
         i++)
        fprintf(p->out, "%8.3fs  %s\n", sorted[i]->seconds, sorted[i]->id);
}

/* "history: 2 new, 1 recurring", and by name what no verdict told: bits that an earlier run had otherwise. */
static void put_news(const mg_progress *p, const mg_newspaper *news) {
    const char *separator = "history: ";
    for (const mg_news *item = news->items; item < news->items + news->count; item++)
        if (item->events & 1u << MG_EVENT_UNSTABLE)
            fprintf(p->out,
                    "%sCHANGED DIGEST%s %s\n    %s; %s on %s, from the same kernel on the same data\n",
                    mg_paint_code(p, MG_RED), mg_paint_code(p, MG_PLAIN), item->id, item->digest,
                    item->earlier, item->when);
    for (int e = 0; e < MG_NUM_EVENTS; e++) {
        if (!news->counts[e]) continue;
        fprintf(p->out, "%s%zu %s", separator, news->counts[e], mg_event_name((mg_event)e));
        separator = ", ";
    }
    if (news->count) fputc('\n', p->out);
}

static void put_closing(const mg_progress *p, const mg_ending *e) {
    static const struct {
        mg_verdict verdict;
        const char *one, *many;
    } extras[] = {{MG_ERROR, "error", "errors"},
                  {MG_XFAILED, "xfailed", "xfailed"},
                  {MG_MISTRUSTED, "mistrusted", "mistrusted"}};
    const mg_report_summary *s = e->summary;
    const char *separator = "", *red = mg_paint_code(p, MG_RED), *plain = mg_paint_code(p, MG_PLAIN);
    size_t ran = e->num_outcomes - s->counts[MG_SKIPPED];
    bool bad = false, any = false;
    if (e->stopped_after)
        fprintf(p->out, "%s!!! stopping after %ld failures !!!%s\n", red, e->stopped_after, plain);
    if (s->interrupted) fprintf(p->out, "%s!!! interrupted !!!%s\n", red, plain);
    if (e->wait_for_gpu)
        fprintf(p->out,
                "%zu case%s above the simulator's limit of %g multiply-adds and wait%s for a GPU "
                "(--sim-limit raises it)\n",
                e->wait_for_gpu, e->wait_for_gpu == 1 ? " is" : "s are", e->options->execute.sim_limit,
                e->wait_for_gpu == 1 ? "s" : "");
    if (s->not_run) fprintf(p->out, "%zu selected cases did not run\n", s->not_run);
    if (e->news) put_news(p, e->news);
    if (e->report_path) fprintf(p->out, "report: %s\n", e->report_path);
    fprintf(p->out, "%zu cases ran in %.1f s, %.1f cases/s; %.1f s in all\n", ran, e->running_seconds,
            e->running_seconds > 0 ? (double)ran / e->running_seconds : 0, s->seconds);
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        size_t count = s->counts[extras[i].verdict];
        if (!count) continue;
        fprintf(p->out, "%s%zu %s", separator, count, count == 1 ? extras[i].one : extras[i].many);
        separator = ", ";
        any = true;
    }
    if (any) fputc('\n', p->out);
    for (mg_verdict v = 0; v < MG_NUM_VERDICTS; v++) bad |= s->counts[v] && mg_verdict_bad(v);
    fprintf(p->out, "%s%zu passed, %zu failed, %zu skipped%s\n", bad ? red : mg_paint_code(p, MG_GREEN),
            s->counts[MG_PASSED], s->counts[MG_FAILED], s->counts[MG_SKIPPED], plain);
}

void mg_summary_print(mg_progress *p, const mg_ending *e) {
    const mg_outcome **list = malloc((e->num_outcomes + 1) * sizeof *list);
    put_failures(p, e);
    if (list && e->options->durations >= 0) put_durations(p, e, list);
    if (list) put_others(p, e, list);
    put_closing(p, e);
    fflush(p->out);
    free(list);
}
