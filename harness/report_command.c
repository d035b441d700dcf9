/* report_command.c: `moegemm report`: the page of a run made again, and `moegemm report history`: the page of all runs. */
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "arguments.h"
#include "commands.h"
#include "history.h"
#include "options.h"
#include "report.h"
#include "report_internal.h"

enum { MAX_LISTED = 20 };

static int fail(const char *error) {
    fprintf(stderr, "error: %s\n", error);
    return MG_EXIT_INTERNAL;
}

/* Whether anything of a run or a bench is there; a file that cannot be read is for the page to name. */
static bool has_lines(const char *path) {
    FILE *in = fopen(path, "re");
    mg_line kind;
    json_t *line = in ? mg_line_next(in, &kind) : NULL;
    const bool has = !in || line;
    json_decref(line);
    if (in) fclose(in);
    return has;
}

/* Changed digests all by name: each is a fault. Failures by name as far as a screen goes: the page has them all. */
static void put_news(const mg_newspaper *news) {
    size_t listed = 0, bad = news->counts[MG_EVENT_NEW] + news->counts[MG_EVENT_RECURRING];
    for (const mg_news *item = news->items; item < news->items + news->count; item++) {
        if (item->events & 1u << MG_EVENT_UNSTABLE)
            printf("CHANGED DIGEST %s\n    %s, and %s on %s, from the same kernel on the same data\n",
                   item->id, item->digest, item->earlier, item->when);
        bool is_new = item->events & 1u << MG_EVENT_NEW;
        if ((!is_new && !(item->events & 1u << MG_EVENT_RECURRING)) || listed == MAX_LISTED) continue;
        listed++;
        if (is_new)
            printf("NEW %s\n", item->id);
        else
            printf("RECURRING %s\n    in %zu runs, since %s\n", item->id, item->runs, item->since);
    }
    if (listed < bad) printf("... and %zu more failures (the page has them all)\n", bad - listed);
    for (int e = 0; e < MG_NUM_EVENTS; e++)
        printf("%s%zu %s", e ? ", " : "newest run: ", news->counts[e], mg_event_name((mg_event)e));
    putchar('\n');
}

/* The newest run of all; 0: there is none. */
static int64_t newest(mg_history *history) {
    sqlite3_stmt *s = NULL;
    int64_t id = 0;
    static const char sql[] = "SELECT id FROM runs ORDER BY time DESC, id DESC LIMIT 1";
    if (sqlite3_prepare_v2(history->db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        id = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return id;
}

static int show_history(const char *root, const char *file, const char *page, const double *days) {
    char path[GG_PATH_SIZE], target[GG_PATH_SIZE], error[MG_ERROR_SIZE];
    mg_history history;
    mg_newspaper news = {0};
    size_t count = 0;
    int code = MG_EXIT_INTERNAL;
    snprintf(path, sizeof path, "%s/history.db", root);
    snprintf(target, sizeof target, "%s/history.html", root);
    if (file) snprintf(path, sizeof path, "%s", file);
    if (page) snprintf(target, sizeof target, "%s", page);
    if (mg_history_open(&history, path, error)) return fail(error);
    if (mg_history_import(&history, root, &count, error)) goto out;
    if (count) printf("took in %zu run%s from '%s'\n", count, count == 1 ? "" : "s", root);
    if (days) {
        if (mg_history_prune(&history, *days, &count, error)) goto out;
        printf("forgot %zu run%s\n", count, count == 1 ? "" : "s");
    }
    if (mg_history_page(&history, target, error)) goto out;
    int64_t run = newest(&history);
    if (run && mg_history_news(&history, run, &news, error)) goto out;
    if (run) put_news(&news);
    printf("history: %s\n", target);
    code = news.counts[MG_EVENT_UNSTABLE] ? MG_EXIT_FAILED : MG_EXIT_OK;
out:
    if (code == MG_EXIT_INTERNAL) fail(error);
    mg_newspaper_free(&news);
    mg_history_close(&history);
    return code;
}

int mg_report_main(int argc, char **argv) {
    const char *out = NULL, *root = NULL, *history = NULL, *days = NULL, *junit = NULL;
    const mg_argument table[] = {{"-o", "FILE", "the page to write (beside the results)", &out},
                                 {"--junitxml", "FILE", "of a run: JUnit XML as well", &junit},
                                 {"--root", "DIR", "history: where the runs' folders are (reports)", &root},
                                 {"--history", "FILE", "history: the database (DIR/history.db)", &history},
                                 {"--prune", "DAYS", "history: first forget runs older than that", &days}};
    const mg_arguments arguments = {
        "report", "[RESULTS | history]",
        "The page of a run (reports/latest, or a results.jsonl or its folder), or of all runs;\n"
        "`report history` leaves status 1 when the newest run has other bits than an earlier\n"
        "one from the same kernel.",
        table, sizeof table / sizeof *table};
    char results[GG_PATH_SIZE + 16], page[GG_PATH_SIZE + 32], error[MG_ERROR_SIZE], *rest = NULL;
    int count = mg_arguments_read(&arguments, argc, argv);
    if (count < 0) return mg_arguments_status(count);
    if (count > 1) return mg_arguments_fail(&arguments, "one run is shown at a time");
    const double limit = days ? strtod(days, &rest) : 0;
    if (days && (*rest || !(limit >= 0))) {
        snprintf(error, sizeof error, "bad value '%.50s' for --prune: expected days", days);
        return mg_arguments_fail(&arguments, error);
    }
    const bool all = count && !strcmp(argv[1], "history");
    if (!all && (root || history || days))
        return mg_arguments_fail(&arguments, "--root, --history and --prune belong to 'report history'");
    if (all && junit)
        return mg_arguments_fail(&arguments, "--junitxml belongs to one run, not to the history");
    if (all) return show_history(root ? root : "reports", history, out, days ? &limit : NULL);
    mg_results_path(count ? argv[1] : "reports/latest", results, sizeof results);
    if (!has_lines(results)) {
        snprintf(error, sizeof error, "no results in '%.300s' (name a results.jsonl or its folder)", results);
        return fail(error);
    }
    const char *slash = strrchr(results, '/');
    snprintf(page, sizeof page, "%.*sreport.html", slash ? (int)(slash + 1 - results) : 0, results);
    int code = MG_EXIT_OK;
    if (mg_report_html(results, out ? out : page, error))
        code = fail(error);
    else
        printf("report: %s\n", out ? out : page);
    if (junit && mg_report_junit(results, junit, error)) code = fail(error);
    return code;
}
