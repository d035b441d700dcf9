/* mutants.h: seeded bugs: small named replacements in the shipped sources, kept out of them. */
#ifndef MUTANTS_H
#define MUTANTS_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"

/* What of a result tells a wrong kernel; what a mutant must be caught by. */
#define MUTANT_CHECKS(X)                                                                                     \
    X(BY_GOLDEN, "bitwise golden")                                                                           \
    X(BY_HASH, "hash golden")                                                                                \
    X(BY_UNWRITTEN, "poison left in the output")                                                             \
    X(BY_BOUND, "bound of an element")                                                                       \
    X(BY_RMS, "tile RMS")                                                                                    \
    X(BY_REPEAT, "repeat")                                                                                   \
    X(BY_SMS, "repeat on fewer SMs")                                                                         \
    X(BY_BASE, "repeat at other addresses")                                                                  \
    X(BY_NEGATE, "repeat with other signs")                                                                  \
    X(BY_BATCH, "batch invariance")                                                                          \
    X(BY_GUARD, "guard")                                                                                     \
    X(BY_INPUT, "input modified")                                                                            \
    X(BY_REFUSAL, "plan")                                                                                    \
    X(BY_LAUNCH, "launch error")                                                                             \
    X(BY_CRASH, "worker lost")                                                                               \
    X(BY_TIMEOUT, "timeout")                                                                                 \
    X(BY_OTHER, "other")
typedef enum mutant_check {
#define X(name, text) name,
    MUTANT_CHECKS(X)
#undef X
        NUM_CHECKS
} mutant_check;

enum { ON_SIM = 1, ON_CUDA = 2, ON_BOTH = 3 };

typedef struct mutant {
    const char *name;
    const char *file; /* in the repository; the name of a kernel's file is that of the embedded table */
    const char *find, *replace;
    const char *fault;
    const char *cases;  /* kernels and launchers: a -k expression over the default case table */
    unsigned expected;  /* 1u << mutant_check: one of these at least must catch it */
    unsigned backends;  /* that can show it */
    const char *hidden; /* where not on both: why the other cannot show it */
    unsigned most;      /* cases of the selection, where the default number shows too little; 0: that */
    double work;        /* of a case, where the limit leaves out what shows it; 0: the limit */
    unsigned perturb;   /* 1u << mg_perturbation, where it takes one to see it: --nightly runs them all */
    const char *judge;  /* harness: the program that must fail, a test or "mutants NAME,..." */
} mutant;

typedef struct mutant_table {
    const mutant *items;
    size_t count;
} mutant_table;

mutant_table sum_mutants(void);      /* device sources, patched in memory: numbers */
mutant_table place_mutants(void);    /* and places */
mutant_table rare_mutants(void);     /* and what is rare, or was before */
mutant_table wgmma_mutants(void);    /* and those of the wgmma mainloop */
mutant_table copy_mutants(void);     /* and those that copy rows first */
mutant_table launcher_mutants(void); /* kernels/plan.c and launch.c, patched copies compiled by the build */
mutant_table harness_mutants(
    void); /* one file of the harness or the simulator, a patched copy linked into a test by the build */

/* `text` with its only occurrence of m->find replaced, to be freed; NULL with `error` filled when it is not there once. */
char *mutant_apply(const mutant *m, const char *text, char error[512]);

/* The subject that runs a variant of kernels/plan.c and launch.c on a table of device sources. */
typedef struct variant {
    const char *name; /* of the launcher mutant; "shipped" */
    bool stale;       /* the text to replace was not found: this is the shipped code */
    gg_status (*plan_make)(const gg_problem *, const gg_config *, const gg_device *, gg_plan *,
                           char reason[GG_REASON_SIZE]);
    gg_status (*launch)(gg_context *, const gg_plan *, const gg_tensors *, gg_stream);
    gg_status (*reduce_topk)(gg_context *, gg_dtype, int64_t T, int32_t topk, int32_t K, const void *dx_slots,
                             void *dx_tokens, gg_stream);
} variant;

enum { MAX_SOURCES = 64 };
extern gg_source_file mutant_sources[MAX_SOURCES]; /* what variants compile: embedded sources, patched */
extern const variant *const variants[]; /* generated by the build, "shipped" first, ended by NULL */

#endif
