/* bench_block.h: the time of a whole MoE block and of each of its steps. */
#ifndef MG_BENCH_BLOCK_H
#define MG_BENCH_BLOCK_H

#include "block.h"

typedef struct mg_bench_block_options {
    const char *model;     /* "qwen3", "llama4": the full-size row of the table of blocks */
    const mg_block *block; /* instead of it, with its own T; NULL: none */
    mg_block_mode mode;    /* forward, inference, or backward: the backward half alone */
    int64_t T;
    gg_dtype dtype;
    unsigned fusions; /* GG_FUSE_SILU where the device has it, unless */
    bool no_fuse_silu;
    bool autotune, overlap; /* overlap: with a side stream */
    bool in_turn;           /* no launch starts before the one before it has ended */
    size_t limit;           /* candidates of a search, 0: all */
    int repeat;             /* timings of each kind; the median counts */
    const char *backend;
} mg_bench_block_options;

typedef struct mg_bench_block_step {
    char name[48];
    double us; /* launched again and again by one graph: warm L2, no gap; without graphs a plain launch */
} mg_bench_block_step;

enum { MG_BENCH_BLOCK_STEPS = 64 };

typedef struct mg_bench_block_times {
    double graph_us, plain_us; /* replays of a captured graph; plain launches: medians with a cold L2 */
    mg_bench_block_step steps[MG_BENCH_BLOCK_STEPS];
    size_t num_steps;
} mg_bench_block_times;

/* Without graphs (the simulator) graph_us is 0. */
gg_status mg_bench_block(const mg_bench_block_options *options, mg_bench_block_times *times,
                         char error[MG_ERROR_SIZE]);

#endif
