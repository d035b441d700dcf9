/* prepare.h: what is learnt and made before the first case runs: the device, the goldens, the compiled
 * kernels. */
#ifndef MG_PREPARE_H
#define MG_PREPARE_H

#include <signal.h>

#include "backend/backend.h"
#include "execute.h"
#include "progress.h"

/* Where the cases will run. */
typedef struct mg_place {
    char backend[16]; /* "cuda", "sim" */
    gg_device device;
    gg_target target;
    uint64_t free_memory; /* of the device beside one context, bytes; 0 if unknown */
} mg_place;

/* Asks in a process of its own, because one that has opened CUDA cannot fork workers that use it. Also fails
 * if the subject cannot be found. */
gg_status mg_prepare_place(const mg_execute_options *options, mg_place *place, char error[MG_ERROR_SIZE]);

/* The cases that a preparation is for. */
typedef struct mg_workload {
    const mg_execute_options *options; /* backend set */
    const mg_place *place;
    const mg_case *cases;
    const uint32_t *order; /* (count) into cases */
    size_t count;
    const volatile sig_atomic_t *stop;
} mg_workload;

/* Makes sure that every golden is there: missing ones are generated if `generate`, else the error names the
 * command. */
gg_status mg_prepare_goldens(const mg_workload *load, bool generate, char error[MG_ERROR_SIZE]);

typedef struct mg_kernels mg_kernels; /* the kernels of a workload and how their builds ended */
/* Builds every kernel once, `processes` at a time. A kernel that does not compile is no failure of this
 * function. */
gg_status mg_prepare_kernels(mg_kernels **out, const mg_workload *load, int processes, mg_progress *progress,
                             char error[MG_ERROR_SIZE]);
void mg_kernels_free(mg_kernels *kernels);
size_t mg_kernels_compiled(const mg_kernels *kernels, size_t *failed); /* not found in the cache */
/* Whether a case needs a kernel that does not compile; the message then says which and why. */
bool mg_kernels_lacking(mg_kernels *kernels, const mg_case *c, char message[MG_MESSAGE_SIZE]);

#endif
