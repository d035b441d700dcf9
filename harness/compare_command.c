/* compare_command.c: `moegemm compare A B`: the changes between two runs as a table, as a page and as an exit status. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "arguments.h"
#include "commands.h"
#include "compare_command.h"
#include "progress.h"
#include "report_internal.h"

enum { MAX_LISTED = 20 /* cases of one kind of change without -v */ };

static const char *const change_words[MG_NUM_CHANGES] = {
#define X(name, title, word) [name] = word,
    MG_CHANGES(X)
#undef X
};

/* --- for the page --- */

static json_t *before_json(const mg_entry *e) {
    json_t *value = json_pack("{s:s, s:s, s:f, s:f}", "verdict", mg_verdict_name(e->verdict), "digest",
                              e->digest, "seconds", e->seconds, "kernel_ms", e->kernel_ms);
    if (isfinite(e->max_ulp)) json_object_set_new(value, "max_ulp", json_real(e->max_ulp));
    return value;
}

json_t *mg_changes_json(const char *baseline, const mg_comparison *comparison) {
    json_t *cases = json_array();
    for (const mg_change_row *row = comparison->rows; row < comparison->rows + comparison->count; row++) {
        json_t *changes = json_array();
        for (int c = 0; c < MG_NUM_CHANGES; c++)
            if (row->changes >> c & 1)
                json_array_append_new(changes, json_string(mg_change_title((mg_change)c)));
        json_t *value = json_pack("{s:s, s:o}", "id", row->b ? row->b->id : row->a->id, "changes", changes);
        if (row->a) json_object_set_new(value, "before", before_json(row->a));
        json_array_append_new(cases, value);
    }
    return json_pack("{s:s, s:o, s:o}", "type", "changes", "baseline", mg_json_text(baseline), "cases",
                     cases);
}

/* --- on the terminal --- */

static void put_run(const mg_progress *p, const char *letter, const char *path, const mg_runset *set) {
    fprintf(p->out, "%s: %s\n   commit %s, %s on %s, %s, %zu cases%s\n", letter, path,
            mg_runset_word(set, "commit"), mg_runset_word(set, "backend"), mg_runset_word(set, "name"),
            mg_runset_word(set, "time"), set->count, set->finished ? "" : ", unfinished");
}

static void put_verdicts(const mg_progress *p, const mg_runset *a, const mg_runset *b) {
    size_t counts[2][MG_NUM_VERDICTS] = {0};
    for (size_t i = 0; i < a->count; i++) counts[0][a->items[i].verdict]++;
    for (size_t i = 0; i < b->count; i++) counts[1][b->items[i].verdict]++;
    fprintf(p->out, "\n%-34s %8s %8s\n", "", "A", "B");
    for (int v = 0; v < MG_NUM_VERDICTS; v++)
        if (counts[0][v] || counts[1][v])
            fprintf(p->out, "%s%-34s%s %8zu %8zu\n", mg_paint_code(p, mg_verdict_paint((mg_verdict)v)),
                    mg_verdict_name((mg_verdict)v), mg_paint_code(p, MG_PLAIN), counts[0][v], counts[1][v]);
}

static void put_row(const mg_progress *p, mg_change change, const mg_change_row *row) {
    const mg_entry *a = row->a, *b = row->b;
    fprintf(p->out, "  %s\n", b ? b->id : a->id);
    switch (change) {
    case MG_NEW_FAILURE:
    case MG_STILL_FAILING: mg_put_wrapped(p->out, 6, b->message); break;
    case MG_OTHER_VERDICT:
        fprintf(p->out, "      %s, then %s\n", mg_verdict_name(a->verdict), mg_verdict_name(b->verdict));
        break;
    case MG_UNSTABLE:
    case MG_BITS: fprintf(p->out, "      digest %s, then %s\n", a->digest, b->digest); break;
    case MG_MORE_ERROR: fprintf(p->out, "      max %.3g ulp, then %.3g\n", a->max_ulp, b->max_ulp); break;
    case MG_SLOWER:
    case MG_FASTER:
        fprintf(p->out, "      kernel %.4f ms, then %.4f (%.2fx)\n", a->kernel_ms, b->kernel_ms,
                b->kernel_ms / a->kernel_ms);
        break;
    default: break; /* the title says it */
    }
}

static void put_changes(const mg_progress *p, const mg_comparison *c) {
    for (int change = 0; change < MG_NUM_CHANGES; change++) {
        if (!c->counts[change]) continue;
        bool bad = change == MG_NEW_FAILURE || change == MG_UNSTABLE || change == MG_STILL_FAILING;
        size_t listed = 0, most = p->verbosity > 0 ? c->count : p->verbosity < 0 ? 0 : MAX_LISTED;
        fprintf(p->out, "\n%s%s: %zu%s\n", mg_paint_code(p, bad ? MG_RED : MG_BOLD),
                mg_change_title((mg_change)change), c->counts[change], mg_paint_code(p, MG_PLAIN));
        for (size_t i = 0; i < c->count && listed < most; i++) {
            if (!(c->rows[i].changes >> change & 1)) continue;
            put_row(p, (mg_change)change, &c->rows[i]);
            listed++;
        }
        if (most && listed < c->counts[change])
            fprintf(p->out, "  ... and %zu more (-v lists them all)\n", c->counts[change] - listed);
    }
    if (!c->count) fprintf(p->out, "\nno changes\n");
}

/* --- the command --- */

/* "new,bits" as a set of changes; "none": nothing. */
static bool parse_gate(const char *text, unsigned *gate, char error[MG_ERROR_SIZE]) {
    *gate = 0;
    for (const char *word = text; *word && strcmp(text, "none");) {
        size_t length = strcspn(word, ","), c = 0;
        while (c < MG_NUM_CHANGES &&
               (strlen(change_words[c]) != length || memcmp(change_words[c], word, length)))
            c++;
        if (c == MG_NUM_CHANGES) {
            snprintf(error, MG_ERROR_SIZE, "bad value '%.100s' for --fail-on: expected some of none", text);
            for (c = 0; c < MG_NUM_CHANGES; c++) {
                size_t used = strlen(error);
                snprintf(error + used, MG_ERROR_SIZE - used, ",%s", change_words[c]);
            }
            return false;
        }
        *gate |= 1u << c;
        word += length + (word[length] == ',');
    }
    return true;
}

int mg_compare_main(int argc, char **argv) {
    const char *html = NULL, *gate_text = "new,unstable", *slack_text = "1.25", *verbose = NULL,
               *quiet = NULL;
    const mg_argument table[] = {
        {"--fail-on", "KINDS",
         "changes that leave status 1 (new,unstable; also bits,error,slower,missing,...)", &gate_text},
        {"--slack", "FACTOR", "by which a kernel time must change to count (1.25)", &slack_text},
        {"--html", "FILE", "B's report with the changes in it", &html},
        {"-v", NULL, "list every case", &verbose},
        {"-q", NULL, "counts alone", &quiet}};
    const mg_arguments arguments = {"compare", "A B",
                                    "What changed from run A to run B: each a results.jsonl or its folder.",
                                    table, sizeof table / sizeof *table};
    char error[MG_ERROR_SIZE], *rest = NULL;
    unsigned gate;
    int count = mg_arguments_read(&arguments, argc, argv), code = MG_EXIT_INTERNAL;
    if (count < 0) return mg_arguments_status(count);
    if (count != 2) return mg_arguments_fail(&arguments, "two runs are compared");
    if (!parse_gate(gate_text, &gate, error)) return mg_arguments_fail(&arguments, error);
    double slack = strtod(slack_text, &rest);
    if (*rest || !(slack >= 1)) return mg_arguments_fail(&arguments, "--slack wants a factor from 1");

    mg_runset a = {0}, b = {0};
    mg_comparison comparison = {0};
    json_t *changes = NULL;
    mg_progress p;
    mg_progress_init(&p, stdout, MG_COLOR_AUTO, (verbose != NULL) - (quiet != NULL));
    if (mg_runset_load(&a, argv[1], error) || mg_runset_load(&b, argv[2], error) ||
        mg_compare_runs(&a, &b, slack, &comparison, error))
        goto out;
    put_run(&p, "A", argv[1], &a);
    put_run(&p, "B", argv[2], &b);
    put_verdicts(&p, &a, &b);
    put_changes(&p, &comparison);
    if (html) {
        char path[GG_PATH_SIZE + 16];
        mg_results_path(argv[2], path, sizeof path);
        changes = mg_changes_json(argv[1], &comparison);
        if (mg_report_page(path, changes, html, error)) goto out;
        printf("\nreport: %s\n", html);
    }
    code = MG_EXIT_OK;
    for (int c = 0; c < MG_NUM_CHANGES; c++)
        if (gate >> c & 1 && comparison.counts[c]) code = MG_EXIT_FAILED;
    printf("\n%zu cases in both; %zu new failures, %zu fixed, %zu still failing\n", comparison.common,
           comparison.counts[MG_NEW_FAILURE], comparison.counts[MG_FIXED],
           comparison.counts[MG_STILL_FAILING]);
out:
    if (code == MG_EXIT_INTERNAL) fprintf(stderr, "error: %s\n", error);
    json_decref(changes);
    mg_comparison_free(&comparison);
    mg_runset_free(&b);
    mg_runset_free(&a);
    return code;
}
