/* result.h: the outcome of one case: a plain struct, so that it travels through a pipe. */
#ifndef MG_RESULT_H
#define MG_RESULT_H

#include "case.h"

#define MG_VERDICTS(X)                                                                                       \
    X(MG_PASSED, "passed", '.')                                                                              \
    X(MG_FAILED, "failed", 'F') /* an output is wrong, changes between repeats, or a guard was hit */        \
    X(MG_ERROR, "error", 'E')   /* the case could not be carried out */                                      \
    X(MG_SKIPPED, "skipped", 's')                                                                            \
    X(MG_XFAILED, "xfailed", 'x')                                                                            \
    X(MG_MISTRUSTED, "mistrusted", 'm') /* the check could not have failed */
typedef enum mg_verdict {
#define X(name, text, letter) name,
    MG_VERDICTS(X)
#undef X
        MG_NUM_VERDICTS
} mg_verdict;

/* What is different in a repeat: whatever it is, the bytes must be the same (but for their signs, where those are asked
 * to change). The last is no repeat but a step of its own, after the repeats. */
#define MG_PERTURBATIONS(X)                                                                                  \
    X(MG_PERTURB_NONE, "none")                                                                               \
    X(MG_PERTURB_STREAM, "stream") /* another stream; simulator: another schedule */                         \
    X(MG_PERTURB_LOAD, "load")     /* other work occupies some SMs; simulator: copies land at random */      \
    X(MG_PERTURB_SMS, "sms")     /* plans see few SMs, another number for each case; then one, then half */  \
    X(MG_PERTURB_BASE, "base")   /* tensors begin at other addresses, 16-byte aligned and no more */         \
    X(MG_PERTURB_GRAPH, "graph") /* captured, then replayed; not on the simulator */                         \
    X(MG_PERTURB_NEGATE, "negate") /* an operand has the other sign, hence the exact outputs too */          \
    X(MG_PERTURB_BATCH, "batch")   /* rows are routed to other experts: what stays must not change */
typedef enum mg_perturbation {
#define X(name, text) name,
    MG_PERTURBATIONS(X)
#undef X
        MG_NUM_PERTURBATIONS
} mg_perturbation;

enum { MG_MAX_RUNS = 32 };

/* How one launch of a case compared with the first. */
typedef struct mg_repeat {
    uint8_t perturbation; /* mg_perturbation */
    bool equal;           /* bit by bit */
    uint64_t digest;      /* of all output bytes; of a batch step 0 */
} mg_repeat;

enum { MG_MESSAGE_SIZE = 1024, MG_MAP_SIZE = 32, MG_ULP_BINS = 16 };

/* How one output differed from its golden; the worst over a case's outputs is kept. */
typedef struct mg_difference {
    char output[24]; /* "y", "dx", "dw"; of a block the step */
    uint64_t compared, wrong;
    int64_t row, col; /* of the first wrong (or worst) element; row in the output as stored */
    int32_t expert;
    double expected, got;
    double max_ulp, mean_ulp; /* over all compared elements, in units of the output type */
    double bound_ratio;       /* real: largest |error| / bound; exact: 0 or 1 */
    double tile_rms;          /* real: largest tile RMS over its limit */
    double hard_ratio; /* real: largest |error| / the proven bound alone (bound_ratio has the sharp one) */
    int64_t worst_row, worst_col; /* of the element with the largest bound_ratio */
    double worst_expected, worst_got;
    int64_t rows, cols;          /* the output's size */
    int64_t place, worst_place;  /* row and worst_row in expert order, which the error map is in */
    uint32_t ulps[MG_ULP_BINS];  /* how many elements: bin 0 below 2^-3 ulp (or right), then bin i below
                                                2^(i-3); the last also holds what is not finite */
    uint32_t map_rows, map_cols; /* the error map's size, at most MG_MAP_SIZE each way */
    uint8_t map[MG_MAP_SIZE * MG_MAP_SIZE]; /* share of wrong elements per cell, 0-255, 0 only if none */
} mg_difference;

typedef struct mg_result {
    uint64_t index; /* of the case in the table */
    mg_verdict verdict;
    char message[MG_MESSAGE_SIZE]; /* why, one line first; "" when passed */
    uint32_t repeats;              /* launches compared */
    double seconds;                /* wall, whole case */
    double kernel_ms;              /* device time of the last launch of the main kernel, 0 if not measured */
    uint64_t digest;               /* of all output bytes of the first run */
    char config[64];               /* resolved config, for autotune cases */
    uint32_t num_runs;             /* in `runs`: the first launch and its repeats, as far as there is room */
    mg_repeat runs[MG_MAX_RUNS];
    uint64_t kernel, data; /* digests of the kernels and of the inputs: the ledger's key; 0 if unknown */
    mg_difference difference;
} mg_result;

const char *mg_verdict_name(mg_verdict verdict);
char mg_verdict_letter(mg_verdict verdict);
const char *mg_perturbation_name(mg_perturbation perturbation);

#endif
