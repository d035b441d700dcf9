/* ledger.c: the ledger as one table of SQLite, an entry for each thing that must always give the same bits. */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/build.h"
#include "database.h"

enum { KEYS = 8, COLUMNS = 10 };

struct mg_ledger {
    sqlite3 *db;
    sqlite3_stmt *enter, *find;
    char subject[GG_PATH_SIZE];
    gg_device device;
    uint64_t user_seed;
    char path[GG_PATH_SIZE + 16];
};

/* Numbers of 64 bits are text: SQLite's are signed. */
static const char schema[] = "CREATE TABLE IF NOT EXISTS outputs ("
                             " id TEXT, subject TEXT, kernel TEXT, data TEXT, device TEXT, driver TEXT,"
                             " compiler TEXT, seed TEXT, digest TEXT NOT NULL, since TEXT NOT NULL,"
                             " PRIMARY KEY (id, subject, kernel, data, device, driver, compiler, seed)"
                             ") WITHOUT ROWID;";
static const char enter_sql[] = "INSERT OR IGNORE INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
static const char find_sql[] =
    "SELECT digest, since FROM outputs WHERE id = ? AND subject = ? AND kernel = ? AND data = ? AND"
    " device = ? AND driver = ? AND compiler = ? AND seed = ?";

static gg_status fail(const mg_ledger *ledger, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "cannot use the ledger '%.300s': %.100s (remove it, or pass --no-ledger)",
             ledger->path, sqlite3_errmsg(ledger->db));
    return GG_ERR_IO;
}

gg_status mg_ledger_open(mg_ledger **out, const char *cache_dir, const mg_ledger_run *run,
                         char error[MG_ERROR_SIZE]) {
    mg_ledger *ledger = *out = calloc(1, sizeof *ledger);
    if (!ledger) {
        snprintf(error, MG_ERROR_SIZE, "out of memory");
        return GG_ERR_MEMORY;
    }
    snprintf(ledger->path, sizeof ledger->path, "%s", cache_dir);
    (void)gg_make_folders(ledger->path); /* opening the file says what is wrong */
    snprintf(ledger->path, sizeof ledger->path, "%s/ledger.db", cache_dir);
    snprintf(ledger->subject, sizeof ledger->subject, "%s", run->subject);
    ledger->device = *run->device;
    ledger->user_seed = run->user_seed;
    gg_status status = GG_OK;
    if (mg_database_open(&ledger->db, ledger->path) || sqlite3_exec(ledger->db, schema, NULL, NULL, NULL) ||
        sqlite3_prepare_v2(ledger->db, enter_sql, -1, &ledger->enter, NULL) ||
        sqlite3_prepare_v2(ledger->db, find_sql, -1, &ledger->find, NULL))
        status = fail(ledger, error);
    if (status) {
        mg_ledger_close(ledger);
        *out = NULL;
    }
    return status;
}

void mg_ledger_close(mg_ledger *ledger) {
    if (!ledger) return;
    sqlite3_finalize(ledger->enter);
    sqlite3_finalize(ledger->find);
    sqlite3_close(ledger->db);
    free(ledger);
}

static bool bind(sqlite3_stmt *statement, const char *const *texts, int count) {
    bool ok = !sqlite3_reset(statement);
    for (int i = 0; i < count && ok; i++)
        ok = !sqlite3_bind_text(statement, i + 1, texts[i], -1, SQLITE_TRANSIENT);
    return ok;
}

static int find(mg_ledger *ledger, const char *const *key) {
    return bind(ledger->find, key, KEYS) ? sqlite3_step(ledger->find) : SQLITE_ERROR;
}

gg_status mg_ledger_check(mg_ledger *ledger, const char *id, mg_result *result, char error[MG_ERROR_SIZE]) {
    char kernel[17], data[17], seed[17], digest[17], now[40] = "";
    const time_t t = time(NULL);
    struct tm local;
    /* wrong bits are told already; a refusal has none */
    if (result->verdict != MG_PASSED || !result->kernel || !result->repeats) return GG_OK;
    strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &local));
    snprintf(kernel, sizeof kernel, "%016llx", (unsigned long long)result->kernel);
    snprintf(data, sizeof data, "%016llx", (unsigned long long)result->data);
    snprintf(seed, sizeof seed, "%016llx", (unsigned long long)ledger->user_seed);
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)result->digest);
    const char *const texts[COLUMNS] = {id,
                                        ledger->subject,
                                        kernel,
                                        data,
                                        ledger->device.name,
                                        ledger->device.driver,
                                        ledger->device.compiler,
                                        seed,
                                        digest,
                                        now};
    gg_status status = GG_OK;
    int found = find(ledger, texts);
    if (found == SQLITE_DONE) {
        if (!bind(ledger->enter, texts, COLUMNS) || sqlite3_step(ledger->enter) != SQLITE_DONE)
            return fail(ledger, error);
        found = find(ledger, texts); /* another process may have been first */
    }
    if (found != SQLITE_ROW) {
        status = fail(ledger, error);
    } else {
        const char *first = (const char *)sqlite3_column_text(ledger->find, 0);
        const char *since = (const char *)sqlite3_column_text(ledger->find, 1);
        if (strcmp(first, digest)) {
            result->verdict = MG_FAILED;
            snprintf(result->message, sizeof result->message,
                     "output digest changed since %s: was %s, is %s, from the same kernel, data, device and "
                     "driver ('%.300s' has the entry)",
                     since, first, digest, ledger->path);
        }
    }
    sqlite3_reset(ledger->find);
    sqlite3_reset(ledger->enter);
    return status;
}
