/* rows.h: what the tables of test_sim_mutants.c are made of. */
#ifndef MG_SIM_ROWS_H
#define MG_SIM_ROWS_H

#include <stdbool.h>

#include "grouped_gemm.h"

#define X_W (GG_TMA_LOAD_X | GG_TMA_LOAD_W)
#define DY_W (GG_TMA_LOAD_DY | GG_TMA_LOAD_W)
#define DY_X (GG_TMA_LOAD_DY | GG_TMA_LOAD_X)

/* A mutant and the kernel it is shown in. */
typedef struct row {
    const char *fault, *file, *find, *replace;
    gg_mainloop mainloop;
    gg_op op;
    unsigned tma;
    int warps, rows, cols; /* 0: as in configs below; of the output's tile */
    unsigned fusions;
    bool one_slot;     /* of wgmma: two consumers on 128 x 256, so that half of a share is staged at once */
    bool short_steps;  /* tiles of one step: the producer is far ahead */
    const char *macro; /* that the plan must give, or NULL */
    const char *find_2, *replace_2, *file_2; /* a second change, or NULL; of the same file: NULL */
    bool right;                              /* no bug, if unusual: must not be reported */
} row;

#define SYNC(fault_, file_, find_, replace_, op_, ...)                                                       \
    {                                                                                                        \
        .fault = fault_, .file = file_, .find = find_, .replace = replace_, .mainloop = GG_MMA_SYNC,         \
        .op = op_, .tma = __VA_ARGS__                                                                        \
    }
#define SYNC_EACH(fault, file, find, replace, forward, dx, dw)                                               \
    SYNC(fault, file, find, replace, GG_FORWARD, forward), SYNC(fault, file, find, replace, GG_DX, dx),      \
        SYNC(fault, file, find, replace, GG_DW, dw)
#define WG(fault_, file_, find_, replace_, op_, ...)                                                         \
    {                                                                                                        \
        .fault = fault_, .file = file_, .find = find_, .replace = replace_, .mainloop = GG_WGMMA, .op = op_, \
        .tma = __VA_ARGS__                                                                                   \
    }
#define WG_8_WARPS(...) WG(__VA_ARGS__, .warps = 8)
#define WG_EACH(fault, file, find, replace, ...)                                                             \
    WG_EACH_(fault, file, find, replace, __VA_ARGS__, .right = false)
#define WG_EACH_(fault, file, find, replace, forward, dx, dw, ...)                                           \
    WG(fault, file, find, replace, GG_FORWARD, forward, __VA_ARGS__),                                        \
        WG(fault, file, find, replace, GG_DX, dx, __VA_ARGS__),                                              \
        WG(fault, file, find, replace, GG_DW, dw, __VA_ARGS__)

#endif
