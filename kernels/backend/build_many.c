/* build_many.c: compiles many kernels at once, in forked processes that only compile. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/build.h"

enum { MAX_WORKERS = 256 };

/* What a worker reports; small enough that pipes carry it whole, so workers can share one. */
typedef struct report {
    size_t index;
    gg_status status;
    bool compiled;
    char error[GG_ERROR_SIZE];
} report;
_Static_assert(sizeof(report) <= PIPE_BUF, "a report must be written in one piece");

static int processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static _Noreturn void work(const gg_build_job *jobs, size_t count, const char *cache_dir, atomic_size_t *next,
                           int out) {
    for (size_t i; (i = atomic_fetch_add(next, 1)) < count;) {
        report r = {.index = i};
        char path[GG_PATH_SIZE];
        r.status = gg_build(&jobs[i].source, &jobs[i].target, cache_dir, path, &r.compiled, r.error);
        if (write(out, &r, sizeof r) != sizeof r) break; /* nobody listens any more */
    }
    _exit(0);
}

static bool read_report(int fd, report *r) {
    size_t have = 0;
    while (have < sizeof *r) {
        ssize_t got = read(fd, (char *)r + have, sizeof *r - have);
        if (got == 0 || (got < 0 && errno != EINTR)) return false;
        if (got > 0) have += (size_t)got;
    }
    return true;
}

gg_status gg_build_many(gg_build_job *jobs, size_t count, const char *cache_dir, int workers,
                        gg_build_done done, void *data) {
    pid_t children[MAX_WORKERS], parent = getpid();
    int started = 0, ends[2];
    size_t finished = 0;
    gg_status status = GG_OK;
    for (size_t i = 0; i < count; i++) {
        jobs[i].status = GG_ERR_INTERNAL; /* until its report comes */
        jobs[i].compiled = false;
        snprintf(jobs[i].error, sizeof jobs[i].error, "the process that compiled '%s' died",
                 jobs[i].source.root);
    }
    if (!count) return GG_OK;
    if (workers <= 0) workers = processors();
    if (workers > MAX_WORKERS) workers = MAX_WORKERS;
    if ((size_t)workers > count) workers = (int)count;

    atomic_size_t *next = mmap(NULL, sizeof *next, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (next == MAP_FAILED) return GG_ERR_MEMORY;
    if (pipe(ends)) {
        munmap(next, sizeof *next);
        return GG_ERR_IO;
    }
    atomic_init(next, 0);
    for (; started < workers; started++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            /* a caller that is killed takes its compilers with it */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) _exit(1);
            close(ends[0]);
            work(jobs, count, cache_dir, next, ends[1]);
        }
        children[started] = child;
    }
    close(ends[1]);
    for (report r; read_report(ends[0], &r);) {
        gg_build_job *job = &jobs[r.index];
        job->status = r.status;
        job->compiled = r.compiled;
        memcpy(job->error, r.error, sizeof r.error);
        if (done) done(job, ++finished, data);
    }
    close(ends[0]);
    for (int i = 0; i < started; i++)
        while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR) continue;
    munmap(next, sizeof *next);
    for (size_t i = 0; i < count && !status; i++) status = jobs[i].status;
    return status;
}
