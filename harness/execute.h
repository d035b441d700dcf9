/* execute.h: a case's life: inputs checked, guarded, outputs poisoned, run, compared, repeated. */
#ifndef MG_EXECUTE_H
#define MG_EXECUTE_H

#include "golden.h"
#include "result.h"
#include "subject.h"

typedef struct mg_execute_options {
    const char *backend; /* "cuda", "sim", NULL: cuda where there is a device */
    int device;
    const char *subject;    /* name or path */
    const char *golden_dir; /* the repository's golden/ */
    const char *cache_dir;  /* kernels, tuned configs, generated goldens */
    int repeats;            /* bitwise-equal launches, 3 by default */
    unsigned perturb;       /* 1u << mg_perturbation: these share the repeats; 0: negate and sms in turn */
    uint64_t user_seed;     /* 0: the manifest's data */
    double sim_limit;       /* multiply-adds of a case above which the simulator skips it */
    size_t autotune_limit;  /* candidates tried by an autotune case */
    bool debug;             /* debug build of the kernels */
    int threads;            /* that one worker may use on the host; 0: one */
} mg_execute_options;

typedef struct mg_executor mg_executor; /* one per worker process */
gg_status mg_executor_open(mg_executor **out, const mg_execute_options *options, char error[MG_ERROR_SIZE]);
void mg_executor_close(mg_executor *executor);
const gg_device *mg_executor_device(const mg_executor *executor);

/* Runs one case; always fills `result` (errors are verdicts). A launch failure that leaves the device
 * unusable sets *lost: the worker must be replaced. */
void mg_execute(mg_executor *executor, const mg_case *c, mg_result *result, bool *lost);

/* Device memory that a case takes while it runs, bytes, all repeats and perturbations included: never less than is used,
 * save what autotuning, kernels and the device's context take, which a case's size does not change. */
uint64_t mg_case_memory(const mg_execute_options *options, const mg_case *c);
/* From now on the executor holds at most so many bytes between and in cases, and gives back at once what is more; a case
 * that cannot do with them is an error. 0: no bound. */
void mg_executor_grant(mg_executor *executor, uint64_t bytes);

/* Would be skipped, and why, without running it (simulator's limit, capability); false: it runs. */
bool mg_execute_skips(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                      char reason[MG_ERROR_SIZE]);

/* Every kernel a case will load, so that they can be compiled ahead, in parallel and without a device. Fills
 * at most `capacity`, returns how many in all (0 for refusals and foreign subjects). */
size_t mg_execute_plans(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                        gg_plan *plans, size_t capacity);

#endif
