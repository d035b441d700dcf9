/* test_history.c: the history: what a run is told of, old schemas, many writers, a crash while writing, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "history.h"

typedef struct folder {
    char dir[64], db[128];
} folder;

static int set_up(void **state) {
    folder *f = calloc(1, sizeof *f);
    *state = f;
    strcpy(f->dir, "/tmp/test_history.XXXXXX");
    if (!mkdtemp(f->dir)) return -1;
    snprintf(f->db, sizeof f->db, "%s/history.db", f->dir);
    return 0;
}

static int tear_down(void **state) {
    char command[256];
    /* once more where a file appears meanwhile: the last reader of a database in WAL mode tidies up behind itself */
    const char *dir = ((folder *)*state)->dir;
    snprintf(command, sizeof command, "rm -rf '%s' 2>/dev/null || rm -rf '%s'", dir, dir);
    free(*state);
    return system(command);
}

/* One result of a run: case "c<name>", a verdict by its letter (p, f, s), its kernel's and its output's digest. */
typedef struct made {
    const char *name;
    char verdict;
    const char *kernel, *digest;
} made;

/* Writes DIR/<day>/results.jsonl of the 1st to 28th day of a month. */
static void write_run(const folder *f, int day, const char *device, const made *results, size_t count,
                      char path[192]) {
    char dir[128];
    snprintf(dir, sizeof dir, "%s/%02d", f->dir, day);
    mkdir(dir, 0777);
    snprintf(path, 192, "%s/results.jsonl", dir);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out,
            "{\"schema\":1,\"version\":\"0\",\"commit\":\"c%d\",\"time\":\"2026-11-%02dT03:00:00+0000\","
            "\"device\":{\"name\":\"%s\",\"driver\":\"1\",\"compiler\":\"1\"},\"backend\":\"sim\","
            "\"subject\":\"moegemm\",\"command\":\"run\",\"seed\":0}\n",
            day, day, device);
    for (size_t i = 0; i < count; i++) {
        const made *m = &results[i];
        fprintf(
            out,
            "{\"id\":\"%s\",\"verdict\":\"%s\",\"index\":1,\"message\":\"%s\",\"repeats\":3,\"seconds\":1,"
            "\"kernel_ms\":0.5,\"digest\":\"%s\",\"config\":\"\",\"kernel\":\"%s\",\"data\":\"d\"}\n",
            m->name,
            m->verdict == 'p'   ? "passed"
            : m->verdict == 's' ? "skipped"
                                : "failed",
            m->verdict == 'f' ? "why" : "", m->digest, m->kernel);
    }
    fputs("{\"summary\":{\"seconds\":2}}\n", out);
    fclose(out);
}

static void follow(const folder *f, int day, const char *device, const made *results, size_t count,
                   mg_newspaper *news) {
    char path[192], error[MG_ERROR_SIZE] = "";
    write_run(f, day, device, results, count, path);
    if (mg_history_follow(f->db, path, news, error)) fail_msg("%s", error);
}

static int64_t ask(const char *db, const char *sql) {
    sqlite3 *connection;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(db, &connection), SQLITE_OK);
    sqlite3_busy_timeout(connection, 10000);
    assert_int_equal(sqlite3_prepare_v2(connection, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(connection);
    return value;
}

static const mg_news *find(const mg_newspaper *news, const char *id) {
    for (size_t i = 0; i < news->count; i++)
        if (!strcmp(news->items[i].id, id)) return &news->items[i];
    return NULL;
}

static unsigned events(const mg_newspaper *news, const char *id) {
    const mg_news *found = find(news, id);
    return found ? found->events : 0;
}

#define EVENT(name) (1u << MG_EVENT_##name)
#define RUN(day, ...)                                                                                        \
    do {                                                                                                     \
        const made results[] = {__VA_ARGS__};                                                                \
        mg_newspaper_free(&news);                                                                            \
        follow(*state, day, "gpu", results, sizeof results / sizeof *results, &news);                        \
    } while (0)

static void test_new_recurring_fixed(void **state) {
    mg_newspaper news = {0};
    RUN(1, {"a", 'p', "k1", "1"}, {"b", 'f', "k1", "2"}, {"c", 'p', "k1", "3"});
    assert_int_equal(events(&news, "a"), 0);
    assert_int_equal(events(&news, "b"), EVENT(NEW)); /* without a run before it, too */
    RUN(2, {"a", 'f', "k2", "1"}, {"b", 'f', "k2", "2"}, {"c", 'p', "k2", "3"});
    assert_int_equal(events(&news, "a"), EVENT(NEW));
    assert_int_equal(events(&news, "b"), EVENT(RECURRING));
    assert_string_equal(find(&news, "b")->since, "2026-11-01T03:00:00+0000");
    assert_int_equal(find(&news, "b")->runs, 2);
    RUN(3, {"a", 's', "", ""}, {"b", 'p', "k3", "2"}, {"c", 'p', "k3", "3"});
    assert_int_equal(events(&news, "a"), 0); /* skipped: nothing is known */
    assert_int_equal(events(&news, "b"), EVENT(FIXED));
    assert_int_equal(news.counts[MG_EVENT_FIXED], 1);
    RUN(4, {"a", 'f', "k4", "1"});
    assert_int_equal(events(&news, "a"), EVENT(RECURRING)); /* the skipped run between does not count */
    mg_newspaper_free(&news);
}

static void test_flaky(void **state) {
    mg_newspaper news = {0};
    RUN(1, {"same", 'p', "k", "1"}, {"turns", 'p', "k1", "1"});
    RUN(2, {"same", 'f', "k", "2"}, {"turns", 'f', "k2", "1"});
    assert_true(events(&news, "same") & EVENT(FLAKY)); /* one kernel, both outcomes */
    assert_false(events(&news, "turns") & EVENT(FLAKY));
    RUN(3, {"turns", 'p', "k3", "1"});
    assert_false(events(&news, "turns") & EVENT(FLAKY));
    RUN(4, {"turns", 'f', "k4", "1"});
    assert_true(events(&news, "turns") & EVENT(FLAKY)); /* the third turn */
    mg_newspaper_free(&news);
}

static void test_changed_digest(void **state) {
    mg_newspaper news = {0};
    RUN(1, {"kernel", 'p', "k1", "aa"}, {"stable", 'p', "k1", "bb"}, {"silent", 'p', "", "cc"});
    RUN(2, {"kernel", 'p', "k2", "ab"}, {"stable", 'p', "k1", "bb"}, {"silent", 'p', "", "cd"});
    assert_int_equal(news.count, 0); /* another kernel may round otherwise; unknown ones say nothing */
    RUN(3, {"kernel", 'p', "k1", "ac"}, {"stable", 'p', "k1", "bb"});
    assert_int_equal(events(&news, "kernel"), EVENT(UNSTABLE));
    assert_string_equal(find(&news, "kernel")->digest, "ac");
    assert_string_equal(find(&news, "kernel")->earlier, "aa");
    assert_string_equal(find(&news, "kernel")->when, "2026-11-01T03:00:00+0000");
    assert_int_equal(news.counts[MG_EVENT_UNSTABLE], 1);
    mg_newspaper_free(&news);
}

/* Another device has its own story. */
static void test_devices(void **state) {
    const made bad = {"a", 'f', "k", "1"}, good = {"a", 'p', "k", "2"};
    mg_newspaper news;
    follow(*state, 1, "gpu A", &good, 1, &news);
    mg_newspaper_free(&news);
    follow(*state, 2, "gpu B", &bad, 1, &news);
    assert_int_equal(events(&news, "a"), EVENT(NEW));
    mg_newspaper_free(&news);
}

/* The schema of the first release, with a run in it. */
static void test_old_schema(void **state) {
    const folder *f = *state;
    mg_newspaper news = {0};
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
    static const char old[] =
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT, time TEXT NOT NULL, "
        "version TEXT,"
        " commit_id TEXT, backend TEXT, subject TEXT, device TEXT, driver TEXT, compiler TEXT, command TEXT,"
        " seed INTEGER, finished INTEGER NOT NULL, seconds REAL);"
        "CREATE TABLE cases (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
        "CREATE TABLE results (case_id INTEGER NOT NULL REFERENCES cases, run_id INTEGER NOT NULL REFERENCES "
        "runs"
        " ON DELETE CASCADE, verdict TEXT NOT NULL, seconds REAL, kernel_ms REAL, digest TEXT NOT NULL, "
        "max_ulp REAL,"
        " config TEXT, message TEXT, PRIMARY KEY (case_id, run_id)) WITHOUT ROWID;"
        "INSERT INTO runs VALUES (1, 'x', '', '2026-10-01T03:00:00+0000', '', 'c', 'sim', 'moegemm', 'gpu', "
        "'1', '1', '', 0, 1, 1);"
        "INSERT INTO cases VALUES (7, 'a'); INSERT INTO results VALUES (7, 1, 'failed', 1, 1, '1', 0, '', "
        "'why');"
        "PRAGMA user_version = 1;";
    assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    RUN(1, {"a", 'f', "k", "2"});
    assert_int_equal(events(&news, "a"), EVENT(RECURRING)); /* nothing was lost */
    assert_string_equal(find(&news, "a")->since, "2026-10-01T03:00:00+0000");
    assert_true(ask(f->db, "PRAGMA user_version") > 1);
    mg_newspaper_free(&news);
}

static void test_newer_schema(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "";
    mg_history history;
    assert_int_equal(mg_history_open(&history, f->db, error), GG_OK);
    assert_int_equal(sqlite3_exec(history.db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    mg_history_close(&history);
    assert_int_equal(mg_history_open(&history, f->db, error), GG_ERR_REFUSED);
    assert_non_null(strstr(error, "has schema 99, newer than this moegemm's"));
    assert_non_null(strstr(error, "update moegemm, or pass --history FILE"));
    assert_int_equal(ask(f->db, "PRAGMA user_version"), 99); /* untouched */
}

static void test_damage(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE] = "";
    mg_history history;
    FILE *out = fopen(f->db, "w");
    for (int i = 0; i < 1000; i++) fputs("not a database ", out);
    fclose(out);
    assert_int_equal(mg_history_open(&history, f->db, error), GG_ERR_IO);
    assert_non_null(strstr(error, "file is not a database (move it away"));
}

/* Eight processes, none of which waits for another. */
static void test_writers(void **state) {
    const folder *f = *state;
    enum { WRITERS = 8, CASES = 300 };
    static made results[CASES];
    static char names[CASES][16], path[WRITERS][192];
    for (int i = 0; i < CASES; i++) {
        snprintf(names[i], sizeof names[i], "case%d", i);
        results[i] = (made){names[i], 'p', "k", "1"};
    }
    for (int w = 0; w < WRITERS; w++) write_run(f, w + 1, "gpu", results, CASES, path[w]);
    for (int w = 0; w < WRITERS; w++)
        if (fork() == 0) {
            mg_newspaper news;
            char error[MG_ERROR_SIZE];
            _exit(mg_history_follow(f->db, path[w], &news, error) ? 1 : 0);
        }
    int status;
    for (int w = 0; w < WRITERS; w++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(ask(f->db, "SELECT count(*) FROM runs"), WRITERS);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM results"), WRITERS * CASES);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM cases"), CASES);
}

/* SQLite calls it between its steps: the process ends there, as by kill -9 or a power cut. */
static int die_there(void *steps) {
    if (--*(int *)steps == 0) kill(getpid(), SIGKILL);
    return 0;
}

/* Killed at many places of a transaction: the database has all of the run or nothing, and takes it in later. */
static void test_crash(void **state) {
    const folder *f = *state;
    static made results[200];
    static char names[200][16], path[192], error[MG_ERROR_SIZE];
    int killed = 0;
    size_t added;
    mg_history history;
    for (int i = 0; i < 200; i++) {
        snprintf(names[i], sizeof names[i], "case%d", i);
        results[i] = (made){names[i], 'p', "k", "1"};
    }
    for (int day = 1; day <= 20; day++) {
        write_run(f, day, "gpu", results, 200, path);
        pid_t child = fork();
        if (!child) {
            int steps = day * 40;
            mg_runset set;
            int64_t run;
            if (mg_runset_load(&set, path, error) || mg_history_open(&history, f->db, error)) _exit(1);
            sqlite3_progress_handler(history.db, 10, die_there, &steps);
            mg_history_add(&history, &set, path, &run, error);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        killed += WIFSIGNALED(status);
        int64_t half =
            ask(f->db,
                "SELECT count(*) FROM runs WHERE cases <> (SELECT count(*) FROM results WHERE run_id = id)");
        assert_int_equal(half, 0);
    }
    assert_true(killed >= 5);
    assert_int_equal(mg_history_open(&history, f->db, error), GG_OK);
    assert_int_equal(mg_history_import(&history, f->dir, &added, error), GG_OK);
    assert_true((int)added >= killed);
    assert_int_equal(mg_history_import(&history, f->dir, &added, error), GG_OK);
    assert_int_equal(added, 0);
    mg_history_close(&history);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM runs"), 20);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM results"), 20 * 200);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
                     0);
}

/* An unfinished run is taken in, and again when it has gone on. */
static void test_growing(void **state) {
    const folder *f = *state;
    mg_newspaper news = {0};
    RUN(1, {"a", 'p', "k", "1"});
    RUN(1, {"a", 'p', "k", "1"}, {"b", 'f', "k", "1"});
    assert_int_equal(events(&news, "b"), EVENT(NEW));
    assert_int_equal(ask(f->db, "SELECT count(*) FROM runs"), 1);
    assert_int_equal(ask(f->db, "SELECT cases FROM runs"), 2);
    mg_newspaper_free(&news);
}

static void test_prune(void **state) {
    const folder *f = *state;
    char error[MG_ERROR_SIZE];
    mg_newspaper news = {0};
    mg_history history;
    size_t removed;
    RUN(1, {"old", 'p', "k", "1"}, {"both", 'p', "k", "1"});
    RUN(2, {"both", 'p', "k", "1"});
    mg_newspaper_free(&news);
    assert_int_equal(mg_history_open(&history, f->db, error), GG_OK);
    assert_int_equal(
        sqlite3_exec(
            history.db,
            "UPDATE runs SET time = strftime('%Y-%m-%dT%H:%M:%S+0000', 'now', '-40 days') WHERE id = 1;"
            "UPDATE runs SET time = strftime('%Y-%m-%dT%H:%M:%S+0000', 'now', '-5 days') WHERE id = 2",
            NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(mg_history_prune(&history, 50, &removed, error), GG_OK);
    assert_int_equal(removed, 0);
    assert_int_equal(mg_history_prune(&history, 30, &removed, error), GG_OK);
    assert_int_equal(removed, 1);
    mg_history_close(&history);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM results"), 1);
    assert_int_equal(ask(f->db, "SELECT count(*) FROM cases"), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_new_recurring_fixed),
        TEST(test_flaky),
        TEST(test_changed_digest),
        TEST(test_devices),
        TEST(test_old_schema),
        TEST(test_newer_schema),
        TEST(test_damage),
        TEST(test_writers),
        TEST(test_crash),
        TEST(test_growing),
        TEST(test_prune),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
