/* test_ledger.c: the ledger remembers across processes, tells a changed digest, and keeps apart what may differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "ledger.h"

static const gg_device device = {.name = "a device", .driver = "1.0", .compiler = "cc 12"};
static const mg_ledger_run usual = {.subject = "moegemm", .device = &device};

static mg_ledger *open_ledger(const char *dir, const mg_ledger_run *run) {
    mg_ledger *ledger;
    char error[MG_ERROR_SIZE] = "";
    if (mg_ledger_open(&ledger, dir, run, error)) fail_msg("%s", error);
    return ledger;
}

static mg_result passed(uint64_t digest) {
    return (mg_result){.verdict = MG_PASSED, .repeats = 3, .kernel = 5, .data = 6, .digest = digest};
}

static mg_result check(mg_ledger *ledger, const char *id, mg_result result) {
    char error[MG_ERROR_SIZE] = "";
    if (mg_ledger_check(ledger, id, &result, error)) fail_msg("%s", error);
    return result;
}

/* With a ledger opened for this alone, as another process would. */
static mg_verdict verdict_of(const char *dir, mg_ledger_run run, mg_result result) {
    mg_ledger *ledger = open_ledger(dir, &run);
    result = check(ledger, "case", result);
    mg_ledger_close(ledger);
    return result.verdict;
}

static void test_change_is_a_failure(void **state) {
    mg_ledger *ledger = open_ledger(*state, &usual);
    assert_int_equal(check(ledger, "case", passed(0xfedcba9876543210)).verdict, MG_PASSED);
    assert_int_equal(check(ledger, "case", passed(0xfedcba9876543210)).verdict, MG_PASSED);
    assert_int_equal(check(ledger, "other", passed(2)).verdict, MG_PASSED);
    mg_ledger_close(ledger);
    ledger = open_ledger(*state, &usual);
    mg_result changed = check(ledger, "case", passed(1));
    assert_int_equal(changed.verdict, MG_FAILED);
    assert_ptr_equal(strstr(changed.message, "output digest changed since 2"), changed.message);
    assert_non_null(strstr(changed.message, ": was fedcba9876543210, is 0000000000000001, from the same"));
    assert_int_equal(check(ledger, "case", passed(0xfedcba9876543210)).verdict, MG_PASSED); /* still */
    mg_ledger_close(ledger);
}

static void test_what_may_differ_is_kept_apart(void **state) {
    assert_int_equal(verdict_of(*state, usual, passed(1)), MG_PASSED);
    mg_result other = passed(2);
    assert_int_equal(verdict_of(*state, usual, other), MG_FAILED);
    other.kernel++;
    assert_int_equal(verdict_of(*state, usual, other), MG_PASSED);
    other = passed(2);
    other.data++;
    assert_int_equal(verdict_of(*state, usual, other), MG_PASSED);
    gg_device devices[3] = {device, device, device};
    strcpy(devices[0].name, "b");
    strcpy(devices[1].driver, "b");
    strcpy(devices[2].compiler, "b");
    mg_ledger_run runs[5] = {usual, usual, usual, usual, usual};
    for (int i = 0; i < 3; i++) runs[i].device = &devices[i];
    runs[3].subject = "reference";
    runs[4].user_seed = 1ull << 63;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(verdict_of(*state, runs[i], passed(2)), MG_PASSED);
        assert_int_equal(verdict_of(*state, runs[i], passed(3)), MG_FAILED);
    }
}

/* Wrong bits are no standard for others. */
static void test_only_passes_are_entered(void **state) {
    mg_ledger *ledger = open_ledger(*state, &usual);
    mg_result wrong = passed(1), unknown = passed(1), refusal = passed(1);
    wrong.verdict = MG_FAILED;
    unknown.kernel = 0;
    refusal.repeats = 0;
    assert_int_equal(check(ledger, "case", wrong).verdict, MG_FAILED);
    check(ledger, "case", unknown);
    check(ledger, "case", refusal);
    assert_int_equal(check(ledger, "case", passed(2)).verdict, MG_PASSED);
    wrong = check(ledger, "case", wrong);
    assert_string_equal(wrong.message, "");
    mg_ledger_close(ledger);
}

/* In a process of its own, where no assertion may be: it would go on with the group's other tests, and its teardown would
 * take the ledger away from under the others. How many cases took `digest`, or -1. */
static int enter_all(const char *dir, int cases, uint64_t digest) {
    char error[MG_ERROR_SIZE] = "";
    mg_ledger *ledger;
    int won = 0;
    gg_status status = mg_ledger_open(&ledger, dir, &usual, error);
    for (int i = 0; i < cases && !status; i++) {
        char id[16];
        mg_result result = passed(digest);
        snprintf(id, sizeof id, "case%d", i);
        status = mg_ledger_check(ledger, id, &result, error);
        won += result.verdict == MG_PASSED;
    }
    mg_ledger_close(ledger);
    if (status) fprintf(stderr, "%s\n", error);
    return status ? -1 : won;
}

/* Eight processes enter the same hundred cases at once, each with its own digests: one wins, for every case. */
static void test_processes_at_once(void **state) {
    enum { PROCESSES = 8, CASES = 100 };
    pid_t pids[PROCESSES];
    int winners = 0, failed = 0;
    for (uint64_t p = 0; p < PROCESSES; p++)
        if (!(pids[p] = fork())) _exit(enter_all(*state, CASES, 100 + p));
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        const bool well = WIFEXITED(status) && WEXITSTATUS(status) <= CASES;
        failed += !well;
        winners += well ? WEXITSTATUS(status) : 0;
    }
    assert_int_equal(failed, 0);
    assert_int_equal(winners, CASES);
}

static void test_unusable(void **state) {
    mg_ledger *ledger;
    char error[MG_ERROR_SIZE] = "", path[64];
    assert_int_equal(mg_ledger_open(&ledger, "/dev/null/none", &usual, error), GG_ERR_IO);
    assert_string_equal(error,
                        "cannot use the ledger '/dev/null/none/ledger.db': unable to open database file "
                        "(remove it, or pass --no-ledger)");
    assert_null(ledger);
    snprintf(path, sizeof path, "%s/ledger.db", (char *)*state);
    FILE *out = fopen(path, "w");
    for (int i = 0; i < 1000; i++) fputs("this is no database\n", out);
    fclose(out);
    assert_int_equal(mg_ledger_open(&ledger, *state, &usual, error), GG_ERR_IO);
    assert_non_null(strstr(error, "file is not a database"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_change_is_a_failure),
        TEST(test_what_may_differ_is_kept_apart),
        TEST(test_only_passes_are_entered),
        TEST(test_processes_at_once),
        TEST(test_unusable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
