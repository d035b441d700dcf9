/* fake_executor.h: stands in for execute.c in the tests of the runner: what a case does is said by
 * environment variables, each a part of the ids it holds for. Include in one file of a program. */
#ifndef FAKE_EXECUTOR_H
#define FAKE_EXECUTOR_H

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "execute.h"

struct mg_executor {
    gg_device device;
    uint64_t granted;
};

/* --- a made-up device whose memory workers share; a process that has ended holds nothing --- */

enum { FAKE_HOLDERS = 256 };
typedef struct fake_memory {
    uint64_t bytes;        /* there are */
    _Atomic uint64_t most; /* held together so far */
    struct {
        _Atomic int pid;
        _Atomic uint64_t held;
    } holders[FAKE_HOLDERS];
} fake_memory;
static fake_memory *fake_device_memory; /* shared with the workers; NULL: cases take none */

static inline uint64_t fake_sum(void) {
    uint64_t sum = 0;
    for (int i = 0; i < FAKE_HOLDERS; i++) {
        const int pid = fake_device_memory->holders[i].pid;
        if (pid && !kill(pid, 0)) sum += fake_device_memory->holders[i].held;
    }
    return sum;
}
/* Two equal looks: one alone may see what one process has given up beside what another has taken since. */
static inline uint64_t fake_held(void) {
    uint64_t before = fake_sum(), now = fake_sum();
    for (; before != now; now = fake_sum()) before = now;
    return now;
}
/* What this process holds. */
static inline _Atomic uint64_t *fake_own(void) {
    for (int i = 0; i < FAKE_HOLDERS; i++) {
        int nobody = 0;
        if (atomic_compare_exchange_strong(&fake_device_memory->holders[i].pid, &nobody, getpid()) ||
            nobody == getpid())
            return &fake_device_memory->holders[i].held;
    }
    abort();
}

/* Most cases take little, some much. */
uint64_t mg_case_memory(const mg_execute_options *options, const mg_case *c) {
    char id[MG_ID_SIZE];
    (void)options;
    if (!fake_device_memory) return 0;
    const uint64_t hash = mg_name_hash((mg_case_id(c, id), id));
    return fake_device_memory->bytes / 100 * (hash % 8 ? 1 + hash / 8 % 3 : 10 + hash / 8 % 60);
}
void mg_executor_grant(mg_executor *executor, uint64_t bytes) {
    executor->granted = bytes;
    if (!fake_device_memory || !bytes || *fake_own() <= bytes) return;
    usleep(4000); /* giving back takes time */
    *fake_own() = 0;
}
/* As an executor does: what it has taken stays until it must go. */
static inline bool fake_takes(mg_executor *executor, const mg_case *c) {
    if (!fake_device_memory) return true;
    const uint64_t need = mg_case_memory(NULL, c);
    if (executor->granted && need > executor->granted) return false;
    if (need > *fake_own()) *fake_own() = need;
    const uint64_t held = fake_held();
    if (held > fake_device_memory->most) fake_device_memory->most = held;
    return held <= fake_device_memory->bytes;
}

/* FAKE_OPEN: a worker fails to start: "fail", "crash", or "once=FILE": the first fails, having made FILE. */
gg_status mg_executor_open(mg_executor **out, const mg_execute_options *options, char error[MG_ERROR_SIZE]) {
    const char *how = getenv("FAKE_OPEN");
    (void)options;
    bool fails = how && (!strcmp(how, "fail") || (!strncmp(how, "once=", 5) && fopen(how + 5, "wx")));
    if (how && !strcmp(how, "crash")) raise(SIGSEGV);
    if (fails) {
        snprintf(error, MG_ERROR_SIZE, "the fake does not open");
        return GG_ERR_NO_DEVICE;
    }
    return (*out = calloc(1, sizeof **out)) ? GG_OK : GG_ERR_MEMORY;
}
void mg_executor_close(mg_executor *executor) { free(executor); }
const gg_device *mg_executor_device(const mg_executor *executor) { return &executor->device; }

static inline bool fake_is(const char *variable, const mg_case *c) {
    char id[MG_ID_SIZE];
    const char *part = getenv(variable);
    mg_case_id(c, id);
    return part && strstr(id, part);
}

void mg_execute(mg_executor *executor, const mg_case *c, mg_result *result, bool *lost) {
    const bool taken = fake_takes(executor, c);
    const char *ms = getenv("FAKE_MS"), *log = getenv("FAKE_LOG");
    FILE *lines = log ? fopen(log, "ae") : NULL; /* FAKE_LOG: a file that gets a line for each case */
    if (lines) {
        fputs("executed\n", lines);
        fclose(lines);
    }
    if (ms) usleep((useconds_t)atoi(ms) * 1000);
    if (fake_is("FAKE_CRASH", c)) {
        fputs("last words", stderr);
        signal(SIGSEGV, SIG_DFL); /* also under a sanitizer */
        raise(SIGSEGV);
    }
    if (fake_is("FAKE_EXIT", c)) _exit(7);
    if (fake_is("FAKE_KILL", c)) raise(SIGKILL);
    if (fake_is("FAKE_HANG", c))
        for (;;) pause();
    *lost = fake_is("FAKE_LOST", c);
    result->verdict = *lost || fake_is("FAKE_FAIL", c) ? MG_FAILED
                      : fake_is("FAKE_MISTRUST", c)    ? MG_MISTRUSTED
                                                       : MG_PASSED;
    if (result->verdict != MG_PASSED) snprintf(result->message, sizeof result->message, "the fake says no");
    if (!taken) {
        result->verdict = MG_ERROR;
        snprintf(result->message, sizeof result->message, "no memory is left on the made-up device");
    }
    result->digest = (uint64_t)getpid();
}

bool mg_execute_skips(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                      char reason[MG_ERROR_SIZE]) {
    (void)options;
    (void)device;
    snprintf(reason, MG_ERROR_SIZE, "the fake skips it");
    return fake_is("FAKE_SKIP", c);
}

/* FAKE_PLAN: cases that need a kernel whose source does not exist. */
size_t mg_execute_plans(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                        gg_plan *plans, size_t capacity) {
    (void)options;
    (void)device;
    if (!fake_is("FAKE_PLAN", c)) return 0;
    if (capacity) plans[0] = (gg_plan){.source = "none.cu", .entry = "none", .macros = "A=1"};
    return 1;
}

#endif
