/* test_runner.c: worker processes: every case answered once whatever happens to the workers, and none left
 * behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fake_executor.h"
#include "runner.h"

enum { COUNT = 200 };

typedef struct seen {
    mg_case *cases;
    uint32_t order[COUNT];
    char ids[COUNT][MG_ID_SIZE];
    mg_result results[COUNT];
    size_t times[COUNT], arrived, stop_after;
    int workers;
    const mg_schedule *schedule;
    uint64_t arrival_pid[COUNT], arrival_index[COUNT];
    volatile sig_atomic_t stop;
} seen;

static const char *const variables[] = {"FAKE_OPEN", "FAKE_CRASH", "FAKE_EXIT", "FAKE_HANG",
                                        "FAKE_LOST", "FAKE_FAIL",  "FAKE_MS",   "FAKE_KILL"};

static bool take(void *user, const mg_result *result) {
    seen *s = user;
    assert_true(result->index < COUNT);
    s->times[result->index]++;
    s->results[result->index] = *result;
    s->arrival_pid[s->arrived] = result->digest;
    s->arrival_index[s->arrived++] = result->index;
    return s->arrived != s->stop_after;
}
static void no_tick(void *user) { (void)user; }

/* The first cases of the table, to run in reverse, so that index and position differ. */
static int set_up(void **state) {
    mg_cases all;
    seen *s = calloc(1, sizeof *s);
    if (!s || mg_cases_new(&all)) return -1;
    s->cases = all.items;
    s->workers = 3;
    for (uint32_t i = 0; i < COUNT; i++) {
        s->order[i] = COUNT - 1 - i;
        mg_case_id(&s->cases[i], s->ids[i]);
    }
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    *state = s;
    return 0;
}
static int tear_down(void **state) {
    seen *s = *state;
    mg_cases_free(&(mg_cases){.items = s->cases});
    free(s);
    return 0;
}

static gg_status run(seen *s, double timeout, char error[MG_ERROR_SIZE]) {
    static const mg_execute_options execute;
    const mg_runner_job job = {.execute = &execute,
                               .cases = s->cases,
                               .order = s->order,
                               .count = COUNT,
                               .schedule = s->schedule,
                               .workers = s->workers,
                               .timeout = timeout,
                               .stop = &s->stop,
                               .result = take,
                               .tick = no_tick,
                               .user = s};
    gg_status status = mg_runner_run(&job, error);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    assert_int_equal(errno, ECHILD);
    return status;
}

/* Runs it all; case `odd` has the given verdict, the others passed, each once. */
static void expect_one(seen *s, double timeout, size_t odd, mg_verdict verdict, const char *words) {
    char error[MG_ERROR_SIZE] = "";
    assert_int_equal(run(s, timeout, error), GG_OK);
    assert_int_equal(s->arrived, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(s->times[i], 1);
        assert_int_equal(s->results[i].index, i);
        assert_int_equal(s->results[i].verdict, i == odd ? verdict : MG_PASSED);
    }
    if (odd < COUNT && !strstr(s->results[odd].message, words))
        fail_msg("'%s' lacks '%s'", s->results[odd].message, words);
}

static void test_all_pass(void **state) { expect_one(*state, 60, COUNT, MG_PASSED, ""); }

static void test_failure(void **state) {
    seen *s = *state;
    setenv("FAKE_FAIL", s->ids[17], 1);
    expect_one(s, 60, 17, MG_FAILED, "the fake says no");
}

static void test_crash(void **state) {
    seen *s = *state;
    setenv("FAKE_CRASH", s->ids[100], 1);
    expect_one(s, 60, 100, MG_ERROR, "worker died: segmentation fault (signal 11)\nlast words");
}

static void test_exit(void **state) {
    seen *s = *state;
    setenv("FAKE_EXIT", s->ids[0], 1);
    expect_one(s, 60, 0, MG_ERROR, "worker died: exit status 7");
}

static void test_hang(void **state) {
    seen *s = *state;
    double begun = mg_now();
    setenv("FAKE_HANG", s->ids[50], 1);
    expect_one(s, 1, 50, MG_ERROR, "timed out after 1 s");
    assert_true(s->results[50].seconds >= 1);
    assert_true(mg_now() - begun < 30);
}

/* A result that comes with a lost device counts, but its worker must run nothing after it. */
static void test_lost(void **state) {
    seen *s = *state;
    bool gone = false;
    setenv("FAKE_LOST", s->ids[150], 1);
    setenv("FAKE_MS", "1", 1);
    expect_one(s, 60, 150, MG_FAILED, "the fake says no");
    for (size_t i = 0; i < s->arrived; i++) {
        if (gone) assert_int_not_equal(s->arrival_pid[i], s->results[150].digest);
        gone |= s->arrival_index[i] == 150;
    }
    assert_true(gone);
}

/* Many deaths: every second case, a worker each time. */
static void test_many_crashes(void **state) {
    seen *s = *state;
    char error[MG_ERROR_SIZE];
    setenv("FAKE_CRASH", "use_tma", 1);
    size_t crashes = 0;
    assert_int_equal(run(s, 60, error), GG_OK);
    assert_int_equal(s->arrived, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        bool dies = strstr(s->ids[i], "use_tma");
        assert_int_equal(s->times[i], 1);
        assert_int_equal(s->results[i].verdict, dies ? MG_ERROR : MG_PASSED);
        crashes += dies;
    }
    assert_true(crashes > 10);
}

static void test_never_starts(void **state) {
    seen *s = *state;
    char error[MG_ERROR_SIZE];
    setenv("FAKE_OPEN", "fail", 1);
    assert_int_equal(run(s, 60, error), GG_ERR_INTERNAL);
    assert_string_equal(error, "workers cannot start: the fake does not open");
    setenv("FAKE_OPEN", "crash", 1);
    assert_int_equal(run(s, 60, error), GG_ERR_INTERNAL);
    assert_non_null(strstr(error, "workers cannot start: worker died: "));
    assert_int_equal(s->arrived, 0);
}

static void test_starts_late(void **state) {
    char path[] = "/tmp/test_runner.XXXXXX", how[64];
    assert_true(mkstemp(path) >= 0);
    unlink(path);
    snprintf(how, sizeof how, "once=%s", path);
    setenv("FAKE_OPEN", how, 1);
    expect_one(*state, 60, COUNT, MG_PASSED, "");
    assert_int_equal(unlink(path), 0); /* one worker did fail */
}

static void test_stops_when_told(void **state) {
    seen *s = *state;
    char error[MG_ERROR_SIZE];
    setenv("FAKE_MS", "1", 1);
    s->stop_after = 20;
    assert_int_equal(run(s, 60, error), GG_OK);
    assert_int_equal(s->arrived, 20);
    s->stop = 1;
    assert_int_equal(run(s, 60, error), GG_OK);
    assert_int_equal(s->arrived, 20);
}

/* --- device memory --- */

static void make_device(uint64_t bytes) {
    fake_device_memory =
        mmap(NULL, sizeof *fake_device_memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(fake_device_memory != MAP_FAILED);
    fake_device_memory->bytes = bytes;
}
static void remove_device(void) {
    munmap(fake_device_memory, sizeof *fake_device_memory);
    fake_device_memory = NULL;
}

/* How many cases found no memory, of a run with or without bounds; `most` was held at once. */
static size_t count_starved(seen *s, int workers, bool bounded, uint64_t bytes, uint64_t *most) {
    static const mg_execute_options execute;
    mg_schedule schedule;
    char error[MG_ERROR_SIZE] = "";
    size_t starved = 0;
    make_device(bytes);
    for (uint32_t i = 0; i < COUNT; i++) s->order[i] = COUNT - 1 - i;
    const mg_schedule_job job = {.execute = &execute,
                                 .cases = s->cases,
                                 .order = s->order,
                                 .count = COUNT,
                                 .workers = workers,
                                 .free_memory = bytes + ((uint64_t)workers << 30)};
    assert_int_equal(mg_schedule_make(&schedule, &job, error), GG_OK);
    memset(s->times, 0, sizeof s->times);
    s->arrived = 0;
    s->workers = workers;
    s->schedule = bounded ? &schedule : NULL;
    assert_int_equal(run(s, 60, error), GG_OK);
    assert_int_equal(s->arrived, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(s->times[i], 1);
        starved += strstr(s->results[i].message, "no memory is left") != NULL;
    }
    *most = fake_device_memory->most;
    mg_schedule_free(&schedule);
    remove_device();
    return starved;
}

/* With bounds no case is without memory, however many workers there are and however they die, and most of the memory is
 * made use of; without them some are, or this would prove nothing. */
static void test_memory_is_shared(void **state) {
    const uint64_t bytes = (uint64_t)64 << 30;
    uint64_t most;
    seen *s = *state;
    setenv("FAKE_MS", "2", 1);
    for (int workers = 1; workers <= 16; workers += workers < 4 ? 1 : 4) {
        assert_int_equal(count_starved(s, workers, true, bytes, &most), 0);
        assert_true(most <= bytes);
        assert_true(workers < 4 || most > bytes / 2);
    }
    assert_true(count_starved(s, 8, false, bytes, &most) > 0);
    setenv("FAKE_KILL", "use_tma", 1); /* their memory goes to others */
    assert_int_equal(count_starved(s, 8, true, bytes, &most), 0);
}

/* Workers of a killed parent leave, also those in a case that hangs. */
static void test_orphans_leave(void **state) {
    seen *s = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    setenv("FAKE_HANG", "forward", 1);
    pid_t pid = fork();
    if (pid == 0) {
        char error[MG_ERROR_SIZE];
        close(ends[0]);
        run(s, 60, error);
        _exit(0);
    }
    close(ends[1]);
    usleep(300000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    struct pollfd end = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&end, 1, 10000), 1); /* the pipe closes when its last holder is gone */
    assert_true(end.revents & POLLHUP);
    close(ends[0]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_pass),      TEST(test_failure),
        TEST(test_crash),         TEST(test_exit),
        TEST(test_hang),          TEST(test_lost),
        TEST(test_many_crashes),  TEST(test_never_starts),
        TEST(test_starts_late),   TEST(test_stops_when_told),
        TEST(test_orphans_leave), TEST(test_memory_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
