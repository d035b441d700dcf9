/* prepare.c: asks for the device, and compiles ahead every kernel that the cases need, in processes of their
 * own. */
#include "prepare.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "backend/build.h"
#include "runner.h"

enum {
    PLACE_SECONDS = 120, /* a cold CUDA start takes up to about ten */
    NO_KERNEL = UINT32_MAX,
};

/* --- the device --- */

typedef struct answer {
    gg_status status;
    mg_place place;
    char error[MG_ERROR_SIZE];
} answer;

static void ask(const mg_execute_options *options, answer *a) {
    const gg_backend_ops *ops = gg_backend_find(options->backend);
    const mg_subject *subject = NULL;
    gg_backend *backend = NULL;
    char error[GG_ERROR_SIZE] = "";
    if (!ops) {
        snprintf(a->error, sizeof a->error, "unknown backend '%.64s' (choose 'cuda' or 'sim')",
                 options->backend);
        a->status = GG_ERR_ARGUMENT;
        return;
    }
    if ((a->status = mg_subject_find(options->subject, &subject, a->error))) return;
    if ((a->status = ops->open(&backend, options->device, error))) {
        snprintf(a->error, sizeof a->error, "cannot open backend '%s': %.400s", ops->name, error);
        return;
    }
    snprintf(a->place.backend, sizeof a->place.backend, "%s", ops->name);
    a->place.device = *ops->device(backend);
    a->place.target = ops->target(backend);
    a->place.free_memory = ops->free_memory ? ops->free_memory(backend) : 0;
    ops->close(backend);
}

gg_status mg_prepare_place(const mg_execute_options *options, mg_place *place, char error[MG_ERROR_SIZE]) {
    int ends[2], status = 0;
    answer a = {.status = GG_ERR_INTERNAL};
    if (pipe(ends)) {
        snprintf(error, MG_ERROR_SIZE, "cannot make a pipe: %s", strerror(errno));
        return GG_ERR_INTERNAL;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        ask(options, &a);
        _exit(write(ends[1], &a, sizeof a) != sizeof a);
    }
    close(ends[1]);
    struct pollfd news = {.fd = ends[0], .events = POLLIN};
    bool told =
        pid > 0 && poll(&news, 1, PLACE_SECONDS * 1000) == 1 && read(ends[0], &a, sizeof a) == sizeof a;
    close(ends[0]);
    if (!told && pid > 0 && !news.revents) kill(pid, SIGKILL); /* it hangs; else its own death tells more */
    if (pid > 0) waitpid(pid, &status, 0);
    if (!told) {
        char death[128];
        mg_describe_death(status, death, sizeof death);
        snprintf(error, MG_ERROR_SIZE, "asking backend '%s' for its device failed: %s",
                 options->backend ? options->backend : "auto", pid < 0 ? "cannot fork" : death);
        return GG_ERR_NO_DEVICE;
    }
    *place = a.place;
    snprintf(error, MG_ERROR_SIZE, "%s", a.error);
    return a.status;
}

/* --- the kernels --- */

/* In memory shared with the process that builds. */
typedef struct board {
    atomic_size_t done;
    gg_build_job jobs[]; /* (count) of the kernels */
} board;

struct mg_kernels {
    mg_workload load;
    gg_plan *plans; /* (count) one for each kernel */
    size_t count, capacity;
    uint32_t *table; /* (table_size, a power of two) index into plans by hash, or NO_KERNEL */
    size_t table_size;
    gg_plan *scratch; /* plans of one case */
    size_t scratch_size;
    board *board; /* NULL until the plans are complete */
    size_t board_size;
};

/* Source and macros are a kernel's identity within one run. The place in the table, filled or free. */
static uint32_t *place_of(const mg_kernels *k, const gg_plan *plan) {
    XXH64_hash_t hash =
        XXH64(plan->macros, strlen(plan->macros), XXH64(plan->source, strlen(plan->source), 0));
    for (size_t i = hash;; i++) {
        uint32_t *place = &k->table[i & (k->table_size - 1)];
        const gg_plan *other = *place == NO_KERNEL ? NULL : &k->plans[*place];
        if (!other || (!strcmp(other->macros, plan->macros) && !strcmp(other->source, plan->source)))
            return place;
    }
}

static bool grow(mg_kernels *k) {
    size_t capacity = k->capacity ? 2 * k->capacity : 64;
    gg_plan *plans = realloc(k->plans, capacity * sizeof *plans);
    if (plans) k->plans = plans;
    uint32_t *table = plans ? realloc(k->table, 2 * capacity * sizeof *table) : NULL;
    if (!table) return false;
    k->table = table;
    k->table_size = 2 * capacity;
    k->capacity = capacity;
    memset(table, 0xff, k->table_size * sizeof *table);
    for (size_t i = 0; i < k->count; i++) *place_of(k, &k->plans[i]) = (uint32_t)i;
    return true;
}

/* The plans of a case in k->scratch. */
static bool plans_of(mg_kernels *k, const mg_case *c, size_t *count) {
    const mg_workload *load = &k->load;
    while ((*count = mg_execute_plans(load->options, &load->place->device, c, k->scratch, k->scratch_size)) >
           k->scratch_size) {
        gg_plan *scratch = realloc(k->scratch, *count * sizeof *scratch);
        if (!scratch) return false;
        k->scratch = scratch;
        k->scratch_size = *count;
    }
    return true;
}

static bool collect(mg_kernels *k) {
    if (!grow(k)) return false;
    for (size_t i = 0; i < k->load.count; i++) {
        size_t count;
        if (!plans_of(k, &k->load.cases[k->load.order[i]], &count)) return false;
        for (size_t j = 0; j < count; j++) {
            if (k->count == k->capacity && !grow(k)) return false;
            uint32_t *place = place_of(k, &k->scratch[j]);
            if (*place != NO_KERNEL) continue;
            *place = (uint32_t)k->count;
            k->plans[k->count++] = k->scratch[j];
        }
    }
    return true;
}

static void note_progress(const gg_build_job *job, size_t finished, void *data) {
    (void)job;
    atomic_store((atomic_size_t *)data, finished);
}

/* Builds from a process of its own, so that the run can be stopped meanwhile: its builders die with it. */
static gg_status build_all(mg_kernels *k, int processes, mg_progress *progress, char error[MG_ERROR_SIZE]) {
    int death = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        gg_build_many(k->board->jobs, k->count, k->load.options->cache_dir, processes, note_progress,
                      &k->board->done);
        _exit(0);
    }
    if (pid < 0) {
        snprintf(error, MG_ERROR_SIZE, "cannot start the compiling process: %s", strerror(errno));
        return GG_ERR_INTERNAL;
    }
    for (pid_t ended; (ended = waitpid(pid, &death, WNOHANG)) != pid;) {
        if (ended < 0 && errno != EINTR) break;
        if (*k->load.stop) kill(pid, SIGKILL);
        mg_progress_set(progress, atomic_load(&k->board->done));
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* short beside any compilation */
    }
    if (!death || *k->load.stop) return GG_OK;
    char cause[128];
    mg_describe_death(death, cause, sizeof cause);
    snprintf(error, MG_ERROR_SIZE, "the compiling process died: %s", cause);
    return GG_ERR_INTERNAL;
}

gg_status mg_prepare_kernels(mg_kernels **out, const mg_workload *load, int processes, mg_progress *progress,
                             char error[MG_ERROR_SIZE]) {
    gg_status status = GG_ERR_MEMORY;
    mg_kernels *k = calloc(1, sizeof *k);
    snprintf(error, MG_ERROR_SIZE, "out of memory");
    if (!k) return status;
    k->load = *load;
    if (!collect(k)) goto out;
    k->board_size = sizeof *k->board + k->count * sizeof *k->board->jobs;
    k->board = mmap(NULL, k->board_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (k->board == MAP_FAILED) {
        k->board = NULL;
        goto out;
    }
    for (size_t i = 0; i < k->count; i++)
        k->board->jobs[i] = (gg_build_job){.source = gg_plan_source(&k->plans[i], load->options->debug),
                                           .target = load->place->target};
    mg_progress_begin(progress, "compiling", k->count);
    status = k->count ? build_all(k, processes, progress, error) : GG_OK;
    mg_progress_end(progress);
    if (!status) *out = k;
out:
    if (status) mg_kernels_free(k);
    return status;
}

void mg_kernels_free(mg_kernels *k) {
    if (!k) return;
    if (k->board) munmap(k->board, k->board_size);
    free(k->scratch);
    free(k->table);
    free(k->plans);
    free(k);
}

size_t mg_kernels_compiled(const mg_kernels *k, size_t *failed) {
    size_t compiled = 0;
    *failed = 0;
    for (size_t i = 0; i < k->count; i++) {
        compiled += k->board->jobs[i].compiled;
        *failed += k->board->jobs[i].status != GG_OK;
    }
    return compiled;
}

bool mg_kernels_lacking(mg_kernels *k, const mg_case *c, char message[MG_MESSAGE_SIZE]) {
    size_t count;
    if (!plans_of(k, c, &count)) return false;
    for (size_t i = 0; i < count; i++) {
        uint32_t index = *place_of(k, &k->scratch[i]);
        if (index == NO_KERNEL || k->board->jobs[index].status == GG_OK) continue;
        snprintf(message, MG_MESSAGE_SIZE, "kernel does not compile: '%s' with %.200s\n%.700s",
                 k->scratch[i].source, k->scratch[i].macros, k->board->jobs[index].error);
        return true;
    }
    return false;
}
