/* history_page.c: the page of all runs: trends, and each case's results run by run. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history_internal.h"
#include "report_internal.h"

enum { MAX_RUNS = 60 /* two months of nights; more do not fit a timeline */ };

typedef struct page {
    mg_history *history;
    int64_t runs[MAX_RUNS]; /* ids, oldest first */
    int num_runs;
    gg_status status;
    char *error;
} page;

static const char *text(sqlite3_stmt *s, int column) {
    const unsigned char *value = sqlite3_column_text(s, column);
    return value ? (const char *)value : "";
}

static bool fail(page *p) {
    p->status = mg_history_failed(p->history, p->error);
    return false;
}

static const char runs_sql[] =
    "SELECT * FROM (SELECT id, time, commit_id, backend, subject, device, driver, compiler, command, path, "
    "seconds, finished,"
    " seed, (SELECT json_group_object(verdict, n) FROM (SELECT verdict, count(*) AS n FROM results WHERE "
    "run_id = runs.id"
    " GROUP BY verdict ORDER BY verdict)) FROM runs ORDER BY time DESC, id DESC LIMIT ?) ORDER BY time, id";

static bool put_runs(page *p, FILE *out) {
    static const char *const keys[] = {"time",   "commit",   "backend", "subject", "device",
                                       "driver", "compiler", "command", "path"};
    sqlite3_stmt *s = NULL;
    int code;
    if (sqlite3_prepare_v2(p->history->db, runs_sql, -1, &s, NULL) != SQLITE_OK) return fail(p);
    sqlite3_bind_int(s, 1, MAX_RUNS);
    fputs("{\"runs\":[", out);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        json_t *run = json_object();
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            json_object_set_new(run, keys[i], json_string(text(s, (int)i + 1)));
        json_object_set_new(run, "seconds", json_real(sqlite3_column_double(s, 10)));
        json_object_set_new(run, "finished", json_boolean(sqlite3_column_int(s, 11)));
        json_object_set_new(run, "seed", json_integer(sqlite3_column_int64(s, 12)));
        json_object_set_new(run, "counts", json_loads(text(s, 13), 0, NULL));
        if (p->num_runs) fputs(",\n", out);
        mg_page_put(out, run);
        json_decref(run);
        p->runs[p->num_runs++] = sqlite3_column_int64(s, 0);
    }
    fputs("],\n", out);
    sqlite3_finalize(s);
    return code == SQLITE_DONE || fail(p);
}

/* One case's results at the places of their runs. */
typedef struct row {
    char letters[MAX_RUNS + 1];  /* of the verdicts; blank: not in that run */
    double ms[MAX_RUNS];         /* 0: not measured */
    char digests[MAX_RUNS][17];  /* "": none */
    char message[MG_ERROR_SIZE]; /* of the newest failure */
} row;

static void put_case(const page *p, FILE *out, const char *id, const row *r) {
    bool timed = false;
    size_t digests = 0;
    json_t *ms = json_array(), *bits = json_array();
    for (int i = 0; i < p->num_runs; i++) {
        timed |= r->ms[i] > 0;
        json_array_append_new(ms, json_real(r->ms[i]));
        int first = 0;
        while (first < i && strcmp(r->digests[first], r->digests[i])) first++;
        digests += first == i && *r->digests[i];
        json_array_append_new(bits, *r->digests[i] ? json_integer(first + 1) : json_integer(0));
    }
    json_t *value = json_pack("{s:s, s:s}", "id", id, "verdicts", r->letters);
    if (timed) json_object_set(value, "ms", ms);
    if (digests > 1) json_object_set(value, "bits", bits);
    if (*r->message) json_object_set_new(value, "message", json_string(r->message));
    mg_page_put(out, value);
    json_decref(value);
    json_decref(bits);
    json_decref(ms);
}

static const char results_sql[] = "SELECT c.name, r.run_id, r.verdict, r.kernel_ms, r.digest, r.message FROM "
                                  "results r JOIN cases c ON c.id = r.case_id"
                                  " JOIN runs n ON n.id = r.run_id ORDER BY c.name, n.time, n.id";

static char letter_of(const char *verdict) {
    for (int v = 0; v < MG_NUM_VERDICTS; v++)
        if (!strcmp(verdict, mg_verdict_name((mg_verdict)v))) return mg_verdict_letter((mg_verdict)v);
    return '?';
}

static bool put_cases(page *p, FILE *out) {
    char id[2 * MG_ID_SIZE] = "";
    row r;
    sqlite3_stmt *s = NULL;
    int code;
    const char *separator = "";
    if (sqlite3_prepare_v2(p->history->db, results_sql, -1, &s, NULL) != SQLITE_OK) return fail(p);
    fputs("\"cases\":[", out);
    do {
        code = sqlite3_step(s);
        const char *name = code == SQLITE_ROW ? text(s, 0) : "";
        if (strcmp(name, id)) {
            if (*id) {
                fputs(separator, out);
                put_case(p, out, id, &r);
                separator = ",\n";
            }
            memset(&r, 0, sizeof r);
            memset(r.letters, ' ', (size_t)p->num_runs);
            snprintf(id, sizeof id, "%s", name);
        }
        int at = 0;
        while (code == SQLITE_ROW && at < p->num_runs && p->runs[at] != sqlite3_column_int64(s, 1)) at++;
        if (code != SQLITE_ROW || at == p->num_runs) continue;
        r.letters[at] = letter_of(text(s, 2));
        r.ms[at] = sqlite3_column_double(s, 3);
        snprintf(r.digests[at], sizeof r.digests[at], "%s", text(s, 4));
        if (strchr("FEm", r.letters[at])) snprintf(r.message, sizeof r.message, "%s", text(s, 5));
    } while (code == SQLITE_ROW);
    fputs("],\n", out);
    sqlite3_finalize(s);
    return code == SQLITE_DONE || fail(p);
}

/* What the newest run brought. */
static bool put_news(page *p, FILE *out) {
    mg_newspaper news = {0};
    fputs("\"news\":", out);
    if (p->num_runs && mg_history_news(p->history, p->runs[p->num_runs - 1], &news, p->error)) {
        p->status = GG_ERR_IO;
        return false;
    }
    json_t *value = mg_news_json(&news);
    mg_page_put(out, value);
    json_decref(value);
    mg_newspaper_free(&news);
    fputs("}", out);
    return true;
}

static void put_data(FILE *out, void *user) {
    page *p = user;
    if (put_runs(p, out) && put_cases(p, out)) put_news(p, out);
}

gg_status mg_history_page(mg_history *history, const char *path, char error[MG_ERROR_SIZE]) {
    page p = {.history = history, .error = error};
    char fresh[GG_PATH_SIZE + 8];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *out = fopen(fresh, "we");
    if (!out) {
        snprintf(error, MG_ERROR_SIZE, "cannot write '%.300s': %s (pass -o FILE)", fresh, strerror(errno));
        return GG_ERR_IO;
    }
    /* one state of the database, whoever writes meanwhile */
    sqlite3_exec(history->db, "BEGIN", NULL, NULL, NULL);
    gg_status status = mg_page_write(out, "history.html", put_data, &p, error);
    sqlite3_exec(history->db, "COMMIT", NULL, NULL, NULL);
    if (!status) status = p.status;
    bool bad = ferror(out);
    if ((fclose(out) || bad || rename(fresh, path)) && !status) {
        snprintf(error, MG_ERROR_SIZE, "cannot write '%.300s': %s (free space or pass -o FILE)", path,
                 strerror(errno));
        status = GG_ERR_IO;
    }
    if (status) remove(fresh);
    return status;
}
