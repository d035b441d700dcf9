/* test_database.c: a database that others write is waited for from its opening on, and what is none is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "database.h"
#include "folder.h"

static const char *path_in(const char *dir, char path[64]) {
    snprintf(path, 64, "%s/a.db", dir);
    return path;
}

/* The first column of the first row, as text. */
static void assert_answer(sqlite3 *db, const char *sql, const char *text) {
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(s, 0), text);
    sqlite3_finalize(s);
}

static void *commit_later(void *db) {
    sqlite3_sleep(100);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    return NULL;
}

/* A file that has no log yet, and a process that reads it, or means to write it, or writes it. */
static void test_opening_waits(void **state) {
    static const char *const holds[] = {"BEGIN; SELECT * FROM a", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"};
    char path[64];
    for (size_t i = 0; i < sizeof holds / sizeof *holds; i++) {
        sqlite3 *other, *db;
        pthread_t thread;
        remove(path_in(*state, path));
        assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
        assert_int_equal(sqlite3_exec(other, "CREATE TABLE a (x)", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_exec(other, holds[i], NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(pthread_create(&thread, NULL, commit_later, other), 0);
        const int code = mg_database_open(&db, path);
        pthread_join(thread, NULL);
        if (code) fail_msg("%s: %s", holds[i], sqlite3_errmsg(db));
        assert_answer(db, "PRAGMA journal_mode", "wal");
        assert_answer(db, "PRAGMA synchronous", "1");
        sqlite3_close(db);
        sqlite3_close(other);
    }
}

static void test_statements_wait(void **state) {
    char path[64];
    sqlite3 *other, *db;
    pthread_t thread;
    assert_int_equal(mg_database_open(&other, path_in(*state, path)), SQLITE_OK);
    assert_int_equal(mg_database_open(&db, path), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(pthread_create(&thread, NULL, commit_later, other), 0);
    const int code = sqlite3_exec(db, "CREATE TABLE a (x)", NULL, NULL, NULL);
    pthread_join(thread, NULL);
    assert_int_equal(code, SQLITE_OK);
    sqlite3_close(db);
    sqlite3_close(other);
}

static void test_no_database(void **state) {
    char path[64];
    sqlite3 *db;
    assert_int_equal(mg_database_open(&db, "/dev/null/a.db"), SQLITE_CANTOPEN);
    sqlite3_close(db);
    FILE *out = fopen(path_in(*state, path), "w");
    for (int i = 0; i < 1000; i++) fputs("this is no database\n", out);
    fclose(out);
    assert_int_equal(mg_database_open(&db, path), SQLITE_NOTADB);
    assert_string_equal(sqlite3_errmsg(db), "file is not a database");
    sqlite3_close(db);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_opening_waits),
        TEST(test_statements_wait),
        TEST(test_no_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
