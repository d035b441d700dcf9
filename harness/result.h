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

enum { MG_MESSAGE_SIZE = 1024, MG_MAP_SIZE = 32 };

/* How one output differed from its golden; the worst over a case's outputs is kept. */
typedef struct mg_difference {
    char output[16]; /* "y", "dx", "dw" */
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
    uint32_t map_rows, map_cols;            /* the error map's size, at most MG_MAP_SIZE each way */
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
    mg_difference difference;
} mg_result;

const char *mg_verdict_name(mg_verdict verdict);
char mg_verdict_letter(mg_verdict verdict);

#endif
