/* schedule.h: in which order cases run, and how much device memory each worker may hold meanwhile: no case may fail because
 * others run beside it, and none should be left to run alone at the end. */
#ifndef MG_SCHEDULE_H
#define MG_SCHEDULE_H

#include "execute.h"

/* Bytes that all workers together may hold in tensors. Each may hold a share at any time, and then there is room for the
 * largest case beside the shares of all other workers; where there is not, that case runs before the others begin. */
typedef struct mg_budget {
    uint64_t bytes; /* 0: no bound, and no shares */
    uint64_t share;
} mg_budget;

typedef struct mg_schedule {
    mg_budget budget;
    uint64_t *memory; /* (num_large) by position in the order, what the case takes, at most the budget */
    size_t num_large; /* the first so many take more than a share */
    size_t num_alone; /* the first so many, large ones and then long ones, are handed out one at a time */
} mg_schedule;

/* What is to be ordered. */
typedef struct mg_schedule_job {
    const mg_execute_options *execute;
    const mg_case *cases;
    uint32_t *
        order; /* (count) into cases; large cases come to its front, the largest first, then long ones, the longest
                        first; the others stay as they are */
    size_t count;
    int workers;
    bool keep_order;      /* only large cases move */
    uint64_t free_memory; /* of the device, before any worker has opened it; 0 if unknown */
} mg_schedule_job;

/* GG_ERR_MEMORY: so many workers leave no memory to their cases; `error` says so. */
gg_status mg_schedule_make(mg_schedule *schedule, const mg_schedule_job *job, char error[MG_ERROR_SIZE]);
/* As many workers as leave half of so much free memory to their cases; 0 bytes: unknown, so any number. */
int mg_schedule_workers(uint64_t free_memory);
void mg_schedule_free(mg_schedule *schedule);

/* How a budget is parted, `largest` being what the largest case takes. */
mg_budget mg_budget_part(uint64_t bytes, uint64_t largest, int workers);
/* Whether one of `workers` may hold `need` bytes, `granted` (workers) being what they may hold now, 0 of one that has run
 * nothing; the worker's own is ignored. */
bool mg_budget_fits(const mg_budget *budget, const uint64_t *granted, int workers, int worker, uint64_t need);
/* Whether a case must run before workers take their shares. */
bool mg_budget_excludes(const mg_budget *budget, int workers, uint64_t need);

#endif
