/* history.c: the database: opening, migrations, taking in runs, pruning. A run goes in with one transaction, so that a
 * crash leaves all of it or nothing; its results.jsonl stays and is taken in later. */
#include "history.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "database.h"
#include "history_internal.h"

/* Each brings the schema from its place in the list to the next; PRAGMA user_version counts those done. Never change
 * one that has been released: add another. */
static const char *const migrations[] = {
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT, time TEXT NOT NULL, "
    "version TEXT,"
    " commit_id TEXT, backend TEXT, subject TEXT, device TEXT, driver TEXT, compiler TEXT, command TEXT,"
    " seed INTEGER, finished INTEGER NOT NULL, seconds REAL);"
    "CREATE TABLE cases (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE results (case_id INTEGER NOT NULL REFERENCES cases, run_id INTEGER NOT NULL REFERENCES runs"
    " ON DELETE CASCADE, verdict TEXT NOT NULL, seconds REAL, kernel_ms REAL, digest TEXT NOT NULL, max_ulp "
    "REAL,"
    " config TEXT, message TEXT, PRIMARY KEY (case_id, run_id)) WITHOUT ROWID;"
    "CREATE INDEX results_of_run ON results (run_id);",
    /* results name the kernel and the data that they are of */
    "ALTER TABLE results ADD COLUMN kernel TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE results ADD COLUMN data TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE runs ADD COLUMN cases INTEGER NOT NULL DEFAULT 0;",
    /* how much of the run's file has been taken in */
    "ALTER TABLE runs ADD COLUMN size INTEGER NOT NULL DEFAULT 0;",
};
enum { NUM_MIGRATIONS = sizeof migrations / sizeof *migrations };

gg_status mg_history_failed(const mg_history *h, char error[MG_ERROR_SIZE]) {
    int code = sqlite3_errcode(h->db);
    const char *fix = code == SQLITE_CORRUPT || code == SQLITE_NOTADB
                          ? "move it away: 'moegemm report history' builds it again from the runs' results"
                      : code == SQLITE_FULL ? "free space"
                                            : "check its folder, or pass --history FILE";
    snprintf(error, MG_ERROR_SIZE, "history '%.200s': %.100s (%s)", h->path, sqlite3_errmsg(h->db), fix);
    return GG_ERR_IO;
}

static gg_status execute(mg_history *h, const char *sql, char error[MG_ERROR_SIZE]) {
    return sqlite3_exec(h->db, sql, NULL, NULL, NULL) == SQLITE_OK ? GG_OK : mg_history_failed(h, error);
}

/* Ends the transaction well or takes all of it back. */
static gg_status finish(mg_history *h, gg_status status, char error[MG_ERROR_SIZE]) {
    if (!status) status = execute(h, "COMMIT", error);
    if (status) sqlite3_exec(h->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

static int version_of(mg_history *h) {
    sqlite3_stmt *s = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(h->db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return version;
}

static gg_status migrate(mg_history *h, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_OK;
    if (version_of(h) == NUM_MIGRATIONS) return GG_OK;
    if ((status = execute(h, "BEGIN IMMEDIATE", error))) return status;
    int version = version_of(h); /* another process may have been faster */
    if (version < 0) status = mg_history_failed(h, error);
    if (version > NUM_MIGRATIONS) {
        snprintf(error, MG_ERROR_SIZE,
                 "history '%.200s' has schema %d, newer than this moegemm's %d (update moegemm, or pass "
                 "--history FILE)",
                 h->path, version, NUM_MIGRATIONS);
        status = GG_ERR_REFUSED;
    }
    for (; !status && version < NUM_MIGRATIONS; version++) {
        char pragma[64];
        snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", version + 1);
        if (!(status = execute(h, migrations[version], error))) status = execute(h, pragma, error);
    }
    return finish(h, status, error);
}

gg_status mg_history_open(mg_history *out, const char *path, char error[MG_ERROR_SIZE]) {
    *out = (mg_history){0};
    snprintf(out->path, sizeof out->path, "%s", path);
    gg_status status = GG_OK;
    /* where a power cut loses the last run here, its results.jsonl has it */
    if (mg_database_open(&out->db, path) != SQLITE_OK) status = mg_history_failed(out, error);
    if (!status) status = execute(out, "PRAGMA foreign_keys = ON", error);
    if (!status) status = migrate(out, error);
    if (status) mg_history_close(out);
    return status;
}

void mg_history_close(mg_history *history) {
    sqlite3_close(history->db);
    history->db = NULL;
}

/* --- taking in --- */

static void bind_text(sqlite3_stmt *s, int at, const char *text) {
    sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

static gg_status add_run(mg_history *h, const mg_runset *set, const char *path, int64_t *run,
                         char error[MG_ERROR_SIZE]) {
    static const char *const words[] = {"time", "version", "commit",   "backend", "subject",
                                        "name", "driver",  "compiler", "command"};
    static const char sql[] =
        "INSERT INTO runs (key, path, time, version, commit_id, backend, subject, device, driver, compiler, "
        "command, seed,"
        " finished, seconds, cases, size) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO "
        "UPDATE SET"
        " finished = excluded.finished, seconds = excluded.seconds, cases = excluded.cases, size = "
        "excluded.size"
        " RETURNING id";
    sqlite3_stmt *s = NULL;
    gg_status status = GG_OK;
    if (sqlite3_prepare_v2(h->db, sql, -1, &s, NULL) != SQLITE_OK) return mg_history_failed(h, error);
    bind_text(s, 1, set->key);
    bind_text(s, 2, path);
    for (int i = 0; i < (int)(sizeof words / sizeof *words); i++)
        bind_text(s, 3 + i, mg_runset_word(set, words[i]));
    sqlite3_bind_int64(s, 12, json_integer_value(json_object_get(set->header, "seed")));
    sqlite3_bind_int(s, 13, set->finished);
    sqlite3_bind_double(s, 14, set->run_seconds);
    sqlite3_bind_int64(s, 15, (int64_t)set->count);
    sqlite3_bind_int64(s, 16, set->size);
    if (sqlite3_step(s) == SQLITE_ROW)
        *run = sqlite3_column_int64(s, 0);
    else
        status = mg_history_failed(h, error);
    if (!status && sqlite3_step(s) != SQLITE_DONE) status = mg_history_failed(h, error);
    sqlite3_finalize(s);
    return status;
}

static gg_status add_results(mg_history *h, const mg_runset *set, int64_t run, char error[MG_ERROR_SIZE]) {
    static const char *const sql[] = {
        "INSERT INTO cases (name) VALUES (?) ON CONFLICT DO NOTHING",
        "INSERT OR REPLACE INTO results (case_id, run_id, verdict, seconds, kernel_ms, digest, max_ulp, "
        "config, message,"
        " kernel, data) SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 FROM cases WHERE name = ?1"};
    sqlite3_stmt *s[2] = {NULL, NULL};
    gg_status status = GG_OK;
    for (int i = 0; i < 2 && !status; i++)
        if (sqlite3_prepare_v2(h->db, sql[i], -1, &s[i], NULL) != SQLITE_OK)
            status = mg_history_failed(h, error);
    for (const mg_entry *e = set->items; !status && e < set->items + set->count; e++) {
        bind_text(s[0], 1, e->id);
        bind_text(s[1], 1, e->id);
        sqlite3_bind_int64(s[1], 2, run);
        bind_text(s[1], 3, mg_verdict_name(e->verdict));
        sqlite3_bind_double(s[1], 4, e->seconds);
        sqlite3_bind_double(s[1], 5, e->kernel_ms);
        bind_text(s[1], 6, e->digest);
        if (isnan(e->max_ulp))
            sqlite3_bind_null(s[1], 7);
        else
            sqlite3_bind_double(s[1], 7, e->max_ulp);
        bind_text(s[1], 8, e->config);
        /* the first line says why; all of them are in the run's own report */
        sqlite3_bind_text(s[1], 9, e->message, (int)strcspn(e->message, "\n"), SQLITE_STATIC);
        bind_text(s[1], 10, e->kernel);
        bind_text(s[1], 11, e->data);
        for (int i = 0; i < 2 && !status; i++)
            if (sqlite3_step(s[i]) != SQLITE_DONE || sqlite3_reset(s[i]) != SQLITE_OK)
                status = mg_history_failed(h, error);
    }
    for (int i = 0; i < 2; i++) sqlite3_finalize(s[i]);
    return status;
}

gg_status mg_history_add(mg_history *h, const mg_runset *set, const char *path, int64_t *run,
                         char error[MG_ERROR_SIZE]) {
    if (!set->key[0]) {
        snprintf(error, MG_ERROR_SIZE, "'%.300s' does not say which run it is of: it lacks its first line",
                 path);
        return GG_ERR_IO;
    }
    gg_status status = execute(h, "BEGIN IMMEDIATE", error);
    if (status) return status;
    if (!(status = add_run(h, set, path, run, error))) status = add_results(h, set, *run, error);
    return finish(h, status, error);
}

/* Whether the database has all of a run's file. */
static bool knows(mg_history *h, const char *key, int64_t size) {
    sqlite3_stmt *s = NULL;
    bool known = false;
    if (sqlite3_prepare_v2(h->db, "SELECT size >= ? FROM runs WHERE key = ?", -1, &s, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, size);
        bind_text(s, 2, key);
        known = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_int(s, 0);
    }
    sqlite3_finalize(s);
    return known;
}

/* Takes in the file of one run, where there is one with more than the database has. */
static gg_status import_run(mg_history *h, const char *path, size_t *added, char error[MG_ERROR_SIZE]) {
    char key[MG_SHA256_SIZE], ignored[MG_ERROR_SIZE];
    struct stat info;
    mg_runset set;
    int64_t run;
    if (stat(path, &info) || !mg_runset_key(path, key) || knows(h, key, info.st_size)) return GG_OK;
    if (mg_runset_load(&set, path, ignored)) return GG_OK; /* not a run's file after all */
    gg_status status = GG_OK;
    if (set.count) { /* measurements alone have no past */
        status = mg_history_add(h, &set, path, &run, error);
        *added += !status;
    }
    mg_runset_free(&set);
    return status;
}

gg_status mg_history_import(mg_history *h, const char *root, size_t *added, char error[MG_ERROR_SIZE]) {
    struct dirent **names = NULL;
    int count = scandir(root, &names, NULL, alphasort);
    gg_status status = GG_OK;
    *added = 0;
    for (int i = 0; i < count; i++) {
        char path[GG_PATH_SIZE];
        snprintf(path, sizeof path, "%s/%s/results.jsonl", root, names[i]->d_name);
        /* not by way of `latest`, whose run has a folder of its own */
        bool skip = names[i]->d_name[0] == '.' || !strcmp(names[i]->d_name, "latest");
        if (!status && !skip) status = import_run(h, path, added, error);
        free(names[i]);
    }
    free(names);
    return status;
}

gg_status mg_history_prune(mg_history *h, double days, size_t *removed, char error[MG_ERROR_SIZE]) {
    sqlite3_stmt *s = NULL;
    gg_status status = execute(h, "BEGIN IMMEDIATE", error);
    if (status) return status;
    /* times are written as 2026-11-21T03:18:45+0000; SQLite wants the colon in the zone */
    static const char sql[] =
        "DELETE FROM runs WHERE julianday(substr(time, 1, 22) || ':' || substr(time, 23))"
        " < julianday('now') - ?";
    if (sqlite3_prepare_v2(h->db, sql, -1, &s, NULL) != SQLITE_OK) status = mg_history_failed(h, error);
    if (!status) {
        sqlite3_bind_double(s, 1, days);
        if (sqlite3_step(s) != SQLITE_DONE) status = mg_history_failed(h, error);
        *removed = (size_t)sqlite3_changes(h->db);
    }
    sqlite3_finalize(s);
    if (!status)
        status = execute(h, "DELETE FROM cases WHERE id NOT IN (SELECT case_id FROM results)", error);
    return finish(h, status, error);
}
