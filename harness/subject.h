/* subject.h: what is tested, behind one vtable: the shipped kernels, the reference kernel, or a user's own library.
 *
 * A library passed with `--subject ./mine.so` exports `const mg_subject *mg_subject_get(void)`. tests/subjects/ has a
 * complete example. */
#ifndef MG_SUBJECT_H
#define MG_SUBJECT_H

#include "backend/backend.h"

enum { MG_SUBJECT_ABI = 2 }; /* 2: configs with copy_rows, tensors with a workspace */

typedef struct mg_subject {
    int abi; /* MG_SUBJECT_ABI */
    const char *name;
    const char *description;
    /* Can it run this? GG_OK, or GG_ERR_REFUSED with a reason. `config` is a request; a subject with its own tiling
     * ignores it. Pure. */
    gg_status (*plan)(const gg_problem *problem, const gg_config *config, const gg_device *device,
                      char reason[GG_REASON_SIZE]);
    /* Launches on `stream`. Pointers are device pointers of the backend (host memory for sim); a workspace comes with a
     * config that asks for copy_rows and in autotune cases, and need not be used. `context` gives access to the shipped machinery
     * (gg_context_kernel and so on) to those who want it. `error` receives one line. */
    gg_status (*launch)(gg_context *context, const gg_problem *problem, const gg_config *config,
                        const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]);
    /* dx over topk; NULL: the shipped kernel does it. */
    gg_status (*reduce_topk)(gg_context *context, gg_dtype dtype, int64_t T, int32_t topk, int32_t K,
                             const void *dx_slots, void *dx_tokens, gg_stream stream,
                             char error[GG_REASON_SIZE]);
} mg_subject;

typedef const mg_subject *(*mg_subject_get_function)(void);

/* The shipped kernels ("moegemm") and the same problem on the naive kernel ("reference"). */
extern const mg_subject mg_subject_moegemm, mg_subject_reference;

/* A built-in row by name, or a shared library by path (one with a slash), which stays loaded. */
gg_status mg_subject_find(const char *name_or_path, const mg_subject **out, char error[512]);

#endif
