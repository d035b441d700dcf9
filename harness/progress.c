/* progress.c: the live bar of a terminal and the plain lines of a log. */
#include "progress.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runner.h"

enum {
    BAR_WIDTH = 24,
    COLUMNS = 80,     /* of a terminal that does not say */
    LOG_PERCENT = 10, /* a log gets a line for each so many percent ... */
    LOG_SECONDS = 30, /* ... and at least one in so many seconds, to show that the run lives */
};
static const double redraw_seconds = 0.1; /* a bar that changes faster cannot be read */

void mg_progress_init(mg_progress *progress, FILE *out, mg_color color, int verbosity) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool live = isatty(fileno(out)) && term && strcmp(term, "dumb");
    *progress = (mg_progress){
        .out = out,
        .live = live,
        .color = color == MG_COLOR_YES || (color == MG_COLOR_AUTO && live && !(no_color && *no_color)),
        .verbosity = verbosity,
    };
}

const char *mg_paint_code(const mg_progress *progress, mg_paint paint) {
    static const char *const codes[MG_NUM_PAINTS] = {
        [MG_PLAIN] = "\033[0m",  [MG_BOLD] = "\033[1m", [MG_DIM] = "\033[2m",
        [MG_GREEN] = "\033[32m", [MG_RED] = "\033[31m", [MG_YELLOW] = "\033[33m"};
    return progress->color ? codes[paint] : "";
}

mg_paint mg_verdict_paint(mg_verdict verdict) {
    return verdict == MG_PASSED ? MG_GREEN : mg_verdict_bad(verdict) ? MG_RED : MG_YELLOW;
}

bool mg_verdict_bad(mg_verdict verdict) {
    return verdict == MG_FAILED || verdict == MG_ERROR || verdict == MG_MISTRUSTED;
}

void mg_verdict_upper(mg_verdict verdict, char text[16]) {
    snprintf(text, 16, "%s", mg_verdict_name(verdict));
    for (char *p = text; *p; p++) *p = (char)toupper((unsigned char)*p);
}

void mg_put_wrapped(FILE *out, int indent, const char *text) {
    while (*text) {
        size_t line = strcspn(text, "\n"), most = (size_t)(COLUMNS - indent), take = line;
        if (line > most) {
            for (take = most; take && text[take] != ' ';) take--;
            if (!take) take = strcspn(text, " \n"); /* one long word */
        }
        fprintf(out, "%*s%.*s\n", indent, "", (int)take, text);
        text += take;
        text += *text == ' ' || *text == '\n';
    }
}

static unsigned percent(const mg_progress *p) {
    return p->total ? (unsigned)(100 * p->done / p->total) : 100;
}

/* "131/312, 18.2/s, 0:10 left, 2 failed" */
static void describe(const mg_progress *p, double now, char *text, size_t size) {
    double elapsed = now - p->begun, rate = elapsed > 0 ? (double)(p->done - p->before) / elapsed : 0;
    int used = snprintf(text, size, "%zu/%zu", p->done, p->total);
    if (rate > 0 && elapsed > 0.5) {
        long left = (long)((double)(p->total - p->done) / rate + 0.5);
        used += snprintf(text + used, size - (size_t)used, ", %.*f/s, %ld:%02ld left", rate < 10, rate,
                         left / 60, left % 60);
    }
    if (p->failures) snprintf(text + used, size - (size_t)used, ", %zu failed", p->failures);
}

static void clear_line(const mg_progress *p) {
    if (p->live) fputs("\r\033[K", p->out);
}

static void draw(mg_progress *p, double now) {
    struct winsize window;
    char bar[BAR_WIDTH + 1], text[160], line[256];
    size_t filled = p->total ? BAR_WIDTH * p->done / p->total : BAR_WIDTH;
    for (size_t i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '-';
    bar[BAR_WIDTH] = 0;
    describe(p, now, text, sizeof text);
    snprintf(line, sizeof line, "%s [%s] %3u%%  %s", p->label, bar, percent(p), text);
    int columns = ioctl(fileno(p->out), TIOCGWINSZ, &window) == 0 && window.ws_col ? window.ws_col : COLUMNS;
    clear_line(p);
    fprintf(p->out, "%s%.*s%s", mg_paint_code(p, p->failures ? MG_RED : MG_GREEN), columns - 1, line,
            mg_paint_code(p, MG_PLAIN));
    fflush(p->out);
}

void mg_progress_tick(mg_progress *p) {
    double now = mg_now();
    if (p->verbosity < 0) return;
    if (p->live) {
        if (now - p->shown < redraw_seconds) return;
        draw(p, now);
    } else {
        bool stepped = percent(p) / LOG_PERCENT > p->shown_percent / LOG_PERCENT;
        if (p->verbosity > 0 || (!stepped && now - p->shown < LOG_SECONDS)) return;
        char text[160];
        describe(p, now, text, sizeof text);
        fprintf(p->out, "%s %3u%% (%s)\n", p->label, percent(p), text);
        fflush(p->out);
        p->shown_percent = percent(p);
    }
    p->shown = now;
}

void mg_progress_begin(mg_progress *p, const char *label, size_t total) {
    p->label = label;
    p->total = total;
    p->done = p->before = p->failures = 0;
    p->begun = p->shown = mg_now();
    p->shown_percent = 0;
}

void mg_progress_end(mg_progress *p) {
    clear_line(p);
    fflush(p->out);
}

void mg_progress_set(mg_progress *p, size_t done) {
    p->done = done;
    mg_progress_tick(p);
}

void mg_progress_case(mg_progress *p, const char *id, const mg_result *result) {
    p->done++;
    p->failures += mg_verdict_bad(result->verdict);
    if (p->verbosity > 0) {
        char verdict[16];
        mg_verdict_upper(result->verdict, verdict);
        clear_line(p);
        fprintf(p->out, "%s %s%s%s", id, mg_paint_code(p, mg_verdict_paint(result->verdict)), verdict,
                mg_paint_code(p, MG_PLAIN));
        if (result->verdict == MG_SKIPPED)
            fprintf(p->out, " (%.*s)", (int)strcspn(result->message, "\n"), result->message);
        fprintf(p->out, " [%3u%%]\n", percent(p));
        if (p->live)
            p->shown = 0; /* the line has taken the bar's place */
        else
            fflush(p->out);
    }
    mg_progress_tick(p);
}
