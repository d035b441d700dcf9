/* compare_runs.h: what changed between two runs, case by case (`moegemm compare A B`). */
#ifndef MG_COMPARE_RUNS_H
#define MG_COMPARE_RUNS_H

#include "runset.h"

/* name, title, word of --fail-on; worst first */
#define MG_CHANGES(X)                                                                                        \
    X(MG_NEW_FAILURE, "new failure", "new")                                                                  \
    X(MG_UNSTABLE, "other bits from the same kernel", "unstable") /* same data, device and driver too */     \
    X(MG_STILL_FAILING, "still failing", "failing")                                                          \
    X(MG_FIXED, "fixed", "fixed")                                                                            \
    X(MG_OTHER_VERDICT, "other verdict", "verdict") /* neither fails: skipped and run, say */                \
    X(MG_ONLY_A, "only in A", "missing")                                                                     \
    X(MG_ONLY_B, "only in B", "added")                                                                       \
    X(MG_BITS, "changed bits", "bits")                                                                       \
    X(MG_MORE_ERROR, "changed error", "error")                                                               \
    X(MG_SLOWER, "slower", "slower")                                                                         \
    X(MG_FASTER, "faster", "faster")
typedef enum mg_change {
#define X(name, title, word) name,
    MG_CHANGES(X)
#undef X
        MG_NUM_CHANGES
} mg_change;

typedef struct mg_change_row {
    const mg_entry *a, *b; /* NULL: not in that run */
    unsigned changes;      /* 1u << mg_change */
} mg_change_row;

typedef struct mg_comparison {
    mg_change_row *rows; /* the cases with changes, by id */
    size_t count;
    size_t counts[MG_NUM_CHANGES];
    size_t common;
} mg_comparison;

/* A kernel time counts as changed beyond the factor `slack` (1.25: a quarter). */
gg_status mg_compare_runs(const mg_runset *a, const mg_runset *b, double slack, mg_comparison *out,
                          char error[MG_ERROR_SIZE]);
void mg_comparison_free(mg_comparison *comparison);
const char *mg_change_title(mg_change change);

#endif
