/* fake_executor.h: stands in for execute.c in the tests of the runner: what a case does is said by
 * environment variables, each a part of the ids it holds for. Include in one file of a program. */
#ifndef FAKE_EXECUTOR_H
#define FAKE_EXECUTOR_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "execute.h"

struct mg_executor {
    gg_device device;
};

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
    (void)executor;
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
    if (fake_is("FAKE_HANG", c))
        for (;;) pause();
    *lost = fake_is("FAKE_LOST", c);
    result->verdict = *lost || fake_is("FAKE_FAIL", c) ? MG_FAILED
                      : fake_is("FAKE_MISTRUST", c)    ? MG_MISTRUSTED
                                                       : MG_PASSED;
    if (result->verdict != MG_PASSED) snprintf(result->message, sizeof result->message, "the fake says no");
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
