/* schedule.c: large cases first, then long ones; and arithmetic on who may hold how much. */
#include "schedule.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Device memory of a worker besides the tensors of its cases: the device's context, a thousand kernels, the buffer that
 * evicts L2. */
static const uint64_t WORKER_BYTES = (uint64_t)1 << 30;

/* --- memory --- */

mg_budget mg_budget_part(uint64_t bytes, uint64_t largest, int workers) {
    enum { LEAST = 4 }; /* of an even share, this part is a worker's whatever the largest case takes */
    const uint64_t n = (uint64_t)workers, even = bytes / n, least = even / LEAST;
    mg_budget budget = {.bytes = bytes, .share = even};
    if (n > 1) {
        const uint64_t beside = largest < bytes ? (bytes - largest) / (n - 1) : 0;
        budget.share = beside > even ? even : beside < least ? least : beside;
    }
    return budget;
}

bool mg_budget_excludes(const mg_budget *budget, int workers, uint64_t need) {
    return need + (uint64_t)(workers - 1) * budget->share > budget->bytes;
}

bool mg_budget_fits(const mg_budget *budget, const uint64_t *granted, int workers, int worker,
                    uint64_t need) {
    const uint64_t least = mg_budget_excludes(budget, workers, need) ? 0 : budget->share;
    uint64_t sum = need;
    for (int i = 0; i < workers; i++)
        if (i != worker) sum += granted[i] > least ? granted[i] : least;
    return sum <= budget->bytes;
}

/* --- order --- */

typedef struct entry {
    uint32_t index;
    size_t position;
    uint64_t memory; /* 0 unless large */
    double cost;     /* 0 unless long */
} entry;

static int by_turn(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->memory != y->memory) return x->memory < y->memory ? 1 : -1;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return x->position < y->position ? -1 : 1;
}

/* Relative to other cases, how long one runs. */
static double cost_of(const mg_case *c) {
    const double tried = 32; /* configs, more or less */
    return mg_case_work(c) * (c->function.autotune ? tried : 1);
}

/* So much longer than most that one which comes last would be waited for. */
static double long_cost(const mg_schedule_job *job) {
    const double times_mean = 16;
    double sum = 0;
    for (size_t i = 0; i < job->count; i++) sum += cost_of(&job->cases[job->order[i]]);
    return job->keep_order || job->workers < 2 ? -1 : times_mean * sum / (double)(job->count + 1);
}

static void put_in_order(mg_schedule *s, const mg_schedule_job *job, entry *entries) {
    const double least = long_cost(job);
    for (size_t i = 0; i < job->count; i++) {
        const mg_case *c = &job->cases[job->order[i]];
        const double cost = cost_of(c);
        const bool large = s->memory && s->memory[i] > s->budget.share;
        const bool takes_long = least >= 0 && cost > least;
        entries[i] = (entry){.index = job->order[i],
                             .position = i,
                             .memory = large ? s->memory[i] : 0,
                             .cost = takes_long ? cost : 0};
        s->num_large += large;
        s->num_alone += large || takes_long;
    }
    qsort(entries, job->count, sizeof *entries, by_turn);
}

gg_status mg_schedule_make(mg_schedule *s, const mg_schedule_job *job, char error[MG_ERROR_SIZE]) {
    const uint64_t taken = (uint64_t)job->workers * WORKER_BYTES, half = job->free_memory / 2;
    uint64_t largest = 0, bytes = job->free_memory > taken ? job->free_memory - taken : 0;
    gg_status status = GG_ERR_MEMORY;
    *s = (mg_schedule){0};
    if (job->workers == 1 && bytes < half) bytes = half; /* of a small device */
    if (job->free_memory && !bytes) {
        snprintf(
            error, MG_ERROR_SIZE,
            "%d workers take %.2f GB of device memory before any case and %.2f are free: use fewer (-n N)",
            job->workers, (double)taken * 1e-9, (double)job->free_memory * 1e-9);
        return status;
    }
    snprintf(error, MG_ERROR_SIZE, "out of memory");
    entry *entries = malloc((job->count + 1) * sizeof *entries);
    uint64_t *memory = malloc((job->count + 1) * sizeof *memory);
    if (!entries || !memory) goto out;
    if (job->free_memory) {
        for (size_t i = 0; i < job->count; i++) {
            const uint64_t takes = mg_case_memory(job->execute, &job->cases[job->order[i]]);
            memory[i] = takes < bytes ? takes : bytes;
            if (memory[i] > largest) largest = memory[i];
        }
        s->budget = mg_budget_part(bytes, largest, job->workers);
        s->memory = memory;
    }
    put_in_order(s, job, entries);
    for (size_t i = 0; i < job->count; i++) {
        job->order[i] = entries[i].index;
        memory[i] = entries[i].memory;
    }
    status = GG_OK;
out:
    free(entries);
    if (status || !s->memory) free(memory);
    return status;
}

int mg_schedule_workers(uint64_t free_memory) {
    const uint64_t most = free_memory / 2 / WORKER_BYTES;
    return !free_memory || most > INT_MAX ? INT_MAX : most ? (int)most : 1;
}

void mg_schedule_free(mg_schedule *s) {
    free(s->memory);
    *s = (mg_schedule){0};
}
