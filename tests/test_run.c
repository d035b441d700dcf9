/* test_run.c: `moegemm run` as a user meets it (exit status, last lines, files), with a fake executor: this
 * program, called with "run" as its first argument, is that command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "commands.h"
#include "fake_executor.h"
#include "report_internal.h"
#include "runner.h"

/* 16 forward cases; --seed spares them the goldens. */
#define SELECTION "W1 and forward_manual and topk1- and T128-H32 and E4- and exact and bf16"

typedef struct world {
    char dir[64], report[128], results[160], log[128];
    char out[1 << 16], err[1 << 12]; /* of the last run */
    int status;                      /* its exit status, or minus the signal */
    size_t count;                    /* cases that SELECTION means */
} world;

static const char *const variables[] = {"FAKE_OPEN",     "FAKE_CRASH", "FAKE_FAIL",
                                        "FAKE_MISTRUST", "FAKE_SKIP",  "FAKE_PLAN",
                                        "FAKE_MS",       "FAKE_LOG",   "MOEGEMM_AUTOGENERATE"};

static void read_into(const char *dir, const char *name, char *text, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    text[fread(text, 1, size - 1, in)] = 0;
    fclose(in);
}

/* stdout and stderr into files */
static void redirect(const world *w) {
    char path[128];
    snprintf(path, sizeof path, "%s/out", w->dir);
    dup2(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
    snprintf(path, sizeof path, "%s/err", w->dir);
    dup2(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
}

static pid_t spawn(const world *w, const char *const *extra) {
    const char *arguments[32] = {"test_run", "run", "--backend", "sim",      "--seed",
                                 "1",        "-n",  "2",         "--report", w->report};
    size_t count = 10;
    while (*extra) arguments[count++] = *extra++;
    pid_t pid = fork();
    if (pid) return pid;
    redirect(w);
    execv("/proc/self/exe", (char *const *)arguments);
    _exit(126);
}

static void finish(world *w, pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    w->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    read_into(w->dir, "out", w->out, sizeof w->out);
    read_into(w->dir, "err", w->err, sizeof w->err);
}

#define RUN(w, ...) finish(w, spawn(w, (const char *const[]){__VA_ARGS__, NULL}))

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    *state = w;
    strcpy(w->dir, "/tmp/test_run.XXXXXX");
    if (!mkdtemp(w->dir)) return -1;
    snprintf(w->report, sizeof w->report, "%s/report", w->dir);
    snprintf(w->log, sizeof w->log, "%s/log", w->dir);
    snprintf(w->results, sizeof w->results, "%s/results.jsonl", w->report);
    setenv("MOEGEMM_CACHE", w->dir, 1);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    RUN(w, "-k", SELECTION, "--collect-only", "-q");
    for (const char *p = w->out; (p = strstr(p, "grouped_gemm_")); p++) w->count++;
    return w->count > 8 ? 0 : -1;
}

static int tear_down(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", ((world *)*state)->dir);
    free(*state);
    return system(command);
}

static void expect_has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' lacks '%s'", text, part);
}

/* The last line is exactly this. */
static void expect_last(const world *w, size_t passed, size_t failed, size_t skipped) {
    char line[128];
    int length =
        snprintf(line, sizeof line, "\n%zu passed, %zu failed, %zu skipped\n", passed, failed, skipped);
    size_t size = strlen(w->out);
    if (size < (size_t)length || strcmp(w->out + size - (size_t)length, line))
        fail_msg("'%s' does not end with '%s'", w->out, line);
}

static size_t lines_of(const char *text) {
    size_t lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

/* Results in results.jsonl with this verdict (NULL: any); each id once; *whole: the summary line is there. */
static size_t results_with(const world *w, const char *verdict, bool *whole) {
    FILE *in = fopen(w->results, "r");
    mg_line kind;
    size_t count = 0;
    json_t *ids = json_object();
    assert_non_null(in);
    *whole = false;
    for (json_t *line; (line = mg_line_next(in, &kind)); json_decref(line)) {
        *whole |= kind == MG_LINE_SUMMARY;
        if (kind != MG_LINE_RESULT) continue;
        const char *id = json_string_value(json_object_get(line, "id"));
        assert_null(json_object_get(ids, id));
        json_object_set_new(ids, id, json_true());
        count += !verdict || !strcmp(verdict, json_string_value(json_object_get(line, "verdict")));
    }
    json_decref(ids);
    fclose(in);
    return count;
}

static void test_all_pass(void **state) {
    world *w = *state;
    char path[160];
    bool whole;
    RUN(w, "-k", SELECTION);
    assert_int_equal(w->status, 0);
    assert_string_equal(w->err, "");
    expect_last(w, w->count, 0, 0);
    expect_has(w->out, "deselected");
    assert_int_equal(results_with(w, "passed", &whole), w->count);
    assert_true(whole);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", w->report, i ? "junit.xml" : "report.html");
        assert_int_equal(access(path, R_OK), 0);
    }
}

static void test_failures_and_last_failed(void **state) {
    world *w = *state;
    bool whole;
    setenv("FAKE_FAIL", "-use_tma_load_w-", 1);
    RUN(w, "-k", SELECTION);
    size_t bad = results_with(w, "failed", &whole);
    assert_true(bad > 0 && bad < w->count);
    assert_int_equal(w->status, 1);
    expect_last(w, w->count - bad, bad, 0);
    expect_has(w->out, "FAILED grouped_gemm_forward_manual[W1-");
    expect_has(w->out, "    the fake says no\n");
    expect_has(w->out, "    ./run_tests.sh --backend sim --seed 1 'grouped_gemm_forward_manual[W1-");
    unsetenv("FAKE_FAIL");
    RUN(w, "-k", SELECTION, "--lf");
    assert_int_equal(w->status, 0);
    expect_last(w, bad, 0, 0);
    RUN(w, "-k", SELECTION, "--lf"); /* none is left, so all run */
    expect_last(w, w->count, 0, 0);
}

static void test_error_and_mistrusted(void **state) {
    world *w = *state;
    setenv("FAKE_MISTRUST", "-use_tma_load_x-", 1);
    RUN(w, "-k", SELECTION);
    assert_int_equal(w->status, 1);
    expect_has(w->out, " mistrusted\n");
    setenv("FAKE_MISTRUST", "nothing", 1);
    setenv("FAKE_CRASH", "-use_tma_load_w-", 1);
    RUN(w, "-k", SELECTION);
    assert_int_equal(w->status, 1);
    expect_has(w->out, " errors\n");
    expect_has(w->out, "worker died: segmentation fault (signal 11)\n");
}

static void test_skipped(void **state) {
    world *w = *state;
    setenv("FAKE_SKIP", "forward", 1);
    RUN(w, "-k", SELECTION, "-rs");
    assert_int_equal(w->status, 0);
    expect_last(w, 0, 0, w->count);
    char line[128];
    snprintf(line, sizeof line, "SKIPPED [%zu] the fake skips it\n", w->count);
    expect_has(w->out, line);
    assert_null(strstr(w->out, "wait for a GPU"));
    RUN(w, "-k", SELECTION, "--sim-limit=1");
    expect_has(w->out, " cases are above the simulator's limit of 1 multiply-adds and wait for a GPU");
}

static void test_maxfail(void **state) {
    world *w = *state;
    bool whole;
    setenv("FAKE_FAIL", "forward", 1);
    RUN(w, "-k", SELECTION, "--maxfail=2");
    assert_int_equal(w->status, 1);
    expect_last(w, 0, 2, 0);
    expect_has(w->out, "stopping after 2 failures");
    assert_int_equal(results_with(w, NULL, &whole), 2);
    RUN(w, "-k", SELECTION, "-x");
    expect_last(w, 0, 1, 0);
}

static void test_not_compiling(void **state) {
    world *w = *state;
    bool whole;
    setenv("FAKE_PLAN", "-use_tma_load_w-", 1);
    RUN(w, "-k", SELECTION);
    size_t bad = results_with(w, "error", &whole);
    assert_true(bad > 0 && bad < w->count);
    assert_int_equal(w->status, 1);
    expect_last(w, w->count - bad, 0, 0);
    expect_has(w->out, "kernel does not compile: 'none.cu' with A=1\n");
}

static void test_workers_cannot_start(void **state) {
    world *w = *state;
    setenv("FAKE_OPEN", "fail", 1);
    RUN(w, "-k", SELECTION);
    assert_int_equal(w->status, 3);
    assert_string_equal(w->err, "error: workers cannot start: the fake does not open\n");
    expect_has(w->out, " selected cases did not run\n");
    expect_last(w, 0, 0, 0);
}

static void test_usage(void **state) {
    world *w = *state;
    RUN(w, "-k", "a or");
    assert_int_equal(w->status, 4);
    expect_has(w->err, "ERROR: Wrong expression passed to '-k': a or: at column 5");
    RUN(w, "-k", "nothing_matches");
    assert_int_equal(w->status, 5);
    RUN(w, "--subject", "/nowhere/none.so", "-k", SELECTION);
    assert_true(w->status == 3 || w->status == 4);
    expect_has(w->err, "/nowhere/none.so");
    assert_int_equal(lines_of(w->err), 1);
}

/* Waits until the run has put so many results on the disk. */
static void await_results(const world *w, size_t count) {
    bool whole;
    for (double begun = mg_now(); access(w->results, R_OK) || results_with(w, NULL, &whole) < count;
         usleep(10000))
        assert_true(mg_now() - begun < 60);
}

static void test_interrupt(void **state) {
    world *w = *state;
    static const int signals[] = {SIGINT, SIGTERM};
    bool whole;
    setenv("FAKE_MS", "100", 1);
    for (size_t i = 0; i < 2; i++) {
        unlink(w->results);
        pid_t pid = spawn(w, (const char *const[]){"-k", SELECTION, NULL});
        await_results(w, 2);
        kill(pid, signals[i]);
        finish(w, pid);
        assert_int_equal(w->status, 2);
        expect_has(w->out, "!!! interrupted !!!");
        size_t done = results_with(w, "passed", &whole);
        assert_true(whole && done >= 2 && done < w->count);
        expect_last(w, done, 0, 0);
    }
}

static void test_kill(void **state) {
    world *w = *state;
    bool whole;
    setenv("FAKE_MS", "100", 1);
    pid_t pid = spawn(w, (const char *const[]){"-k", SELECTION, NULL});
    await_results(w, 3);
    kill(pid, SIGKILL);
    finish(w, pid);
    assert_int_equal(w->status, -SIGKILL);
    assert_true(results_with(w, "passed", &whole) >= 3 && !whole);
}

/* Runs on with the report's own words; `extra` may be NULL. */
static void resume(world *w, const char *extra) {
    char folder[160];
    snprintf(folder, sizeof folder, "--resume=%s", w->report);
    const char *words[] = {"test_run", "run", folder, extra, NULL};
    pid_t pid = fork();
    if (!pid) {
        redirect(w);
        execv("/proc/self/exe", (char *const *)words);
        _exit(126);
    }
    finish(w, pid);
}

/* Interrupted, killed, killed in the middle of a line: what is left runs, what has run does not run again, and all reports
 * are of the whole. */
static void test_resume(void **state) {
    world *w = *state;
    bool whole;
    char path[160], text[1 << 16];
    setenv("FAKE_FAIL", "-use_tma_load_x-use_tma_load_w-topk", 1);
    RUN(w, "-k", SELECTION);
    const size_t bad = results_with(w, "failed", &whole);
    assert_true(bad > 0 && bad < w->count);
    static const int signals[] = {SIGINT, SIGKILL, SIGKILL};
    for (int round = 0; round < 3; round++) {
        unlink(w->results);
        setenv("FAKE_MS", "50", 1);
        setenv("FAKE_LOG", w->log, 1); /* a line for each case executed */
        unlink(w->log);
        pid_t pid = spawn(w, (const char *const[]){"-k", SELECTION, NULL});
        await_results(w, 3);
        kill(pid, signals[round]);
        finish(w, pid);
        if (round == 2) {
            FILE *out = fopen(w->results, "a");
            fputs("{\"id\":\"grouped_gemm_forward_manual[W1-", out);
            fclose(out);
        }
        const size_t done = results_with(w, NULL, &whole);
        assert_true(done >= 3 && done < w->count && whole == (round == 0));
        setenv("FAKE_MS", "0", 1);
        unlink(w->log);
        resume(w, NULL);
        assert_string_equal(w->err, "");
        assert_int_equal(w->status, 1);
        expect_last(w, w->count - bad, bad, 0);
        assert_int_equal(results_with(w, NULL, &whole), w->count); /* each once */
        assert_true(whole);
        read_into(w->dir, "log", text, sizeof text);
        assert_int_equal(lines_of(text), w->count - done);
        snprintf(path, sizeof path, "report/junit.xml");
        read_into(w->dir, path, text, sizeof text);
        size_t cases = 0;
        for (const char *p = text; (p = strstr(p, "<testcase ")); p++) cases++;
        assert_int_equal(cases, w->count);
    }
    unlink(w->log);
    resume(w, "-q"); /* nothing is left, and the verdict stays */
    assert_int_equal(w->status, 1);
    expect_last(w, w->count - bad, bad, 0);
    assert_int_equal(access(w->log, F_OK), -1);
}

/* A run that -x has stopped stops again at the next failure. */
static void test_resume_first_failure(void **state) {
    world *w = *state;
    setenv("FAKE_FAIL", "forward", 1);
    RUN(w, "-k", SELECTION, "-x");
    expect_last(w, 0, 1, 0);
    resume(w, NULL);
    assert_int_equal(w->status, 1);
    expect_last(w, 0, 2, 0);
    expect_has(w->out, "stopping after 1 failure");
    resume(w, "--maxfail=0");
    expect_last(w, 0, w->count, 0);
}

/* Ids behind a "--" take none of the options that come later for ids. */
static void test_resume_after_dashes(void **state) {
    world *w = *state;
    char id[256];
    RUN(w, "-k", SELECTION, "--collect-only", "-q");
    snprintf(id, sizeof id, "%.*s", (int)strcspn(w->out, "\n"), w->out);
    RUN(w, "--", id);
    assert_int_equal(w->status, 0);
    resume(w, "-v");
    assert_string_equal(w->err, "");
    assert_int_equal(w->status, 0);
    expect_last(w, 1, 0, 0);
    resume(w, "--"); /* one more says nothing new */
    assert_string_equal(w->err, "");
    expect_last(w, 1, 0, 0);
}

static void test_resume_refuses(void **state) {
    world *w = *state;
    char text[1 << 16];
    resume(w, NULL);
    assert_int_equal(w->status, 4);
    expect_has(w->err, "results.jsonl': No such file or directory\n");
    RUN(w, "-k", SELECTION);
    resume(w, "--seed=2");
    assert_int_equal(w->status, 3);
    expect_has(w->err, "results.jsonl': its seed is 1, this run's 2 (start a new run)\n");
    assert_int_equal(lines_of(w->err), 1);
    resume(w, "-ktopk1-");
    assert_int_equal(w->status, 3);
    expect_has(w->err, "its number of selected cases is ");
    resume(w, "--subject=reference");
    expect_has(w->err, "its subject is 'moegemm', this run's 'reference' (start a new run)\n");

    read_into(w->report, "results.jsonl", text, sizeof text);
    char *commit = strstr(text, "\"commit\":\"");
    assert_non_null(commit);
    commit[strlen("\"commit\":\"")] ^= 1;
    FILE *out = fopen(w->results, "w");
    fputs(text, out);
    fclose(out);
    resume(w, NULL);
    assert_int_equal(w->status, 3);
    expect_has(w->err, "its commit is '");

    /* a run that is alive */
    setenv("FAKE_MS", "200", 1);
    unlink(w->results);
    pid_t pid = spawn(w, (const char *const[]){"-k", SELECTION, NULL});
    await_results(w, 1);
    resume(w, NULL);
    assert_int_equal(w->status, 3);
    expect_has(w->err, "it is being written (stop the run that writes it)\n");
    bool whole;
    const size_t done = results_with(w, NULL, &whole);
    RUN(w, "-k", SELECTION);
    assert_int_equal(w->status, 3);
    expect_has(w->err, "error: cannot write '");
    expect_has(w->err, "it is being written (stop the run that writes it)\n");
    assert_int_equal(lines_of(w->err), 1);
    assert_true(results_with(w, NULL, &whole) >= done);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* As many cases as before, but others: nothing of the old run is counted, and its file stays as it is. */
static void test_resume_refuses_other_cases(void **state) {
    world *w = *state;
    static char before[1 << 16], after[1 << 16];
    char shard[32];
    snprintf(shard, sizeof shard, "--shard=1/%zu", w->count);
    RUN(w, "-k", SELECTION, shard);
    assert_int_equal(w->status, 0);
    read_into(w->report, "results.jsonl", before, sizeof before);
    snprintf(shard, sizeof shard, "--shard=2/%zu", w->count);
    resume(w, shard);
    assert_int_equal(w->status, 3);
    expect_has(w->err, "which is not selected now (start a new run)\n");
    assert_int_equal(lines_of(w->err), 1);
    read_into(w->report, "results.jsonl", after, sizeof after);
    assert_string_equal(after, before);
}

static void test_xfail(void **state) {
    world *w = *state;
    char path[128], option[160];
    snprintf(path, sizeof path, "%s/xfail.tsv", w->dir);
    snprintf(option, sizeof option, "--xfail=%s", path);
    FILE *out = fopen(path, "w");
    fputs("use_tma_load_w- and not load_x\tsim\tthe fake cannot\n", out);
    fclose(out);
    RUN(w, "-k", SELECTION, option);
    assert_int_equal(w->status, 1);
    expect_has(w->out, "    passed but expected to fail: the fake cannot");
    setenv("FAKE_FAIL", "use_tma_load_w-", 1);
    bool whole;
    RUN(w, "-k", SELECTION, "-k", "use_tma_load_w- and not load_x and " SELECTION, option);
    assert_int_equal(w->status, 0);
    expect_has(w->out, " xfailed\n");
    const size_t expected = results_with(w, "xfailed", &whole);
    assert_true(expected > 0);
    expect_last(w, 0, 0, 0);
}

static void test_full_disk(void **state) {
    world *w = *state;
    assert_int_equal(mkdir(w->report, 0777), 0);
    assert_int_equal(symlink("/dev/full", w->results), 0);
    RUN(w, "-k", SELECTION);
    assert_int_equal(w->status, 3);
    expect_has(w->err, "error: cannot write '");
    expect_has(w->err, "/results.jsonl': No space left on device (free space or pass --report DIR)\n");
    assert_int_equal(lines_of(w->err), 1);
    unlink(w->results);
    RUN(w, "-k", SELECTION, "--junitxml=/dev/full");
    assert_int_equal(w->status, 3);
    assert_string_equal(
        w->err,
        "error: cannot write '/dev/full': No space left on device (free space or name another place)\n");
    expect_last(w, w->count, 0, 0);
}

/* One file that cannot be written takes no other along: the page and the history are there. */
static void test_unwritable_junit(void **state) {
    world *w = *state;
    char named[96], wanted[256], path[192];
    snprintf(named, sizeof named, "--junitxml=%s/none/junit.xml", w->dir);
    RUN(w, "-k", SELECTION, named);
    assert_int_equal(w->status, 3);
    snprintf(wanted, sizeof wanted,
             "error: cannot write '%s/none/junit.xml': No such file or directory (name another place)\n",
             w->dir);
    assert_string_equal(w->err, wanted);
    static const char *const files[] = {"junit.xml", "report.html", "history.db"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", w->report, files[i]);
        assert_int_equal(access(path, R_OK), 0);
    }
    snprintf(wanted, sizeof wanted, "%s/report.html", w->report);
    expect_has(w->out, wanted);
    expect_last(w, w->count, 0, 0);
}

/* Writes until a limit: the disk that fills while the run goes on. */
static void test_disk_fills(void **state) {
    world *w = *state;
    bool whole;
    char line[64];
    RUN(w, "-k", SELECTION, "--no-ledger", "--file-limit=2048");
    assert_int_equal(w->status, 3);
    assert_int_equal(lines_of(w->err), 1);
    expect_has(w->err, "error: cannot write '");
    size_t kept = results_with(w, "passed", &whole);
    assert_true(kept > 0 && kept < w->count && !whole);
    snprintf(line, sizeof line, "%zu selected cases did not run\n", w->count - kept - 1);
    expect_has(w->out, line); /* the result that could not be kept was still counted */
    expect_last(w, kept + 1, 0, 0);
}

static void test_verbosity(void **state) {
    world *w = *state;
    RUN(w, "-k", SELECTION, "-v");
    expect_has(w->out, "] PASSED [100%]\n");
    RUN(w, "-k", SELECTION, "-qq");
    assert_true(lines_of(w->out) <= 4);
    assert_null(strstr(w->out, "\033"));
    RUN(w, "-k", SELECTION, "--durations=3");
    expect_has(w->out, "slowest 3 durations");
}

int main(int argc, char **argv) {
    /* as `run`, with one option more: a limit on the size of files stands in for a disk that fills */
    if (argc > 1 && !strcmp(argv[1], "run")) {
        static const char limit[] = "--file-limit=";
        if (!strncmp(argv[argc - 1], limit, strlen(limit))) {
            rlim_t size = strtoul(argv[--argc] + strlen(limit), NULL, 10);
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){size, size});
        }
        return mg_run_main(argc - 1, argv + 1);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_pass),
        TEST(test_failures_and_last_failed),
        TEST(test_error_and_mistrusted),
        TEST(test_skipped),
        TEST(test_maxfail),
        TEST(test_not_compiling),
        TEST(test_workers_cannot_start),
        TEST(test_usage),
        TEST(test_interrupt),
        TEST(test_kill),
        TEST(test_resume),
        TEST(test_resume_first_failure),
        TEST(test_resume_after_dashes),
        TEST(test_resume_refuses),
        TEST(test_resume_refuses_other_cases),
        TEST(test_xfail),
        TEST(test_full_disk),
        TEST(test_unwritable_junit),
        TEST(test_disk_fills),
        TEST(test_verbosity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
