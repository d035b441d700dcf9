/* database.c: a write-ahead log, in which readers and a writer do not wait for each other, and waiting for other writers. */
#include "database.h"

#include "runner.h"

/* Others write for a fraction of a second at most; who holds a lock for longer than this is stuck. */
enum { BUSY_MS = 30000 };

/* Where two processes have begun to read a new file and both want to turn it into one with a log, SQLite tells one of them at
 * once, whatever its busy timeout, that the file is locked: neither would get on if both waited. After that it has let go, so
 * that the other gets through; then it is asked again. */
static int use_log(sqlite3 *db) {
    const double end = mg_now() + BUSY_MS * 1e-3;
    int code;
    while ((code = sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL)) == SQLITE_BUSY &&
           mg_now() < end)
        sqlite3_sleep(1);
    return code;
}

int mg_database_open(sqlite3 **db, const char *path) {
    int code = sqlite3_open(path, db);
    if (!code) code = sqlite3_busy_timeout(*db, BUSY_MS);
    if (!code) code = use_log(*db);
    if (!code) code = sqlite3_exec(*db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    return code;
}
