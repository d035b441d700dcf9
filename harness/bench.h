/* bench.h: what the files of `moegemm bench` and `moegemm tune` share: what is asked, the device, timings, results. */
#ifndef MG_BENCH_H
#define MG_BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "backend/backend.h"
#include "measure.h"
#include "options.h"

/* --- what is asked (bench_options.c) --- */

enum { MG_MAX_CONFIGS = 64 };

/* One shape to time. */
typedef struct mg_bench_item {
    char model[16]; /* "qwen3", "llama4", or "free" */
    int gemm;       /* 1, 2, or 0 for a free shape */
    bool backward;  /* dX, its reduction over topk, and dW, one after the other; problem.op is GG_DX */
    gg_problem problem;
    mg_dist dist;
    const char *axis; /* of a scaling curve, "tokens" or "experts"; NULL: on its own */
} mg_bench_item;

typedef struct mg_bench_options {
    mg_bench_item *items; /* owned */
    size_t count;
    /* configs: what is 0 or empty is the default config's */
    gg_config configs[MG_MAX_CONFIGS];
    size_t num_configs; /* given whole, by --config */
    int blocks[5][8];   /* choices for block_m, block_n, block_k, num_warps, num_stages; each ended by 0 */
    bool has_mainloop, has_tma;
    gg_mainloop mainloop;
    unsigned tma;
    bool workspace; /* there is one, so that configs with copy_rows can be chosen */
    bool autotune;
    size_t limit; /* of the search; 0: no limit */
    int repeat;
    bool rivals;        /* time cuBLAS and the same kernel without permutes as well */
    bool json, scaling; /* print JSON lines; look for cliffs */
    const char *report, *peers, *cache_dir;
    int device;
} mg_bench_options;

/* For "bench" or "tune". Below 0: end with mg_arguments_status. GG_ERR_ARGUMENT as 1: end with MG_EXIT_USAGE, all said. */
int mg_bench_parse(mg_bench_options *options, const char *command, int argc, char **argv);
void mg_bench_options_free(mg_bench_options *options);
/* "qwen3 T1024 gemm 1 permute_x bf16" */
void mg_bench_name(const mg_bench_item *item, char *text, size_t size);
const char *mg_bench_op(const mg_bench_item *item); /* "forward", "dX", "dW", "backward" */
/* The configs to try for an item, legal ones alone; how many were refused, and the reason of the last. */
size_t mg_bench_configs(const mg_bench_options *options, const gg_problem *problem, const gg_device *device,
                        gg_config configs[MG_MAX_CONFIGS], size_t *refused, char reason[GG_REASON_SIZE]);
/* The same product without permutes, and the same tile for it with the TMA uses that the permute forbade. */
void mg_bench_plain(const gg_problem *fused, const gg_config *config, const gg_device *device,
                    gg_problem *plain, gg_config *plain_config);

/* --- the device (bench_device.c) --- */

#define MG_BENCH_BUFFERS(X)                                                                                  \
    X(X) X(W) X(DY) X(Y) X(DX) X(DW) X(M_SIZES) X(GATHER) X(WEIGHTS) X(SLOTS) X(WORKSPACE) X(LIMIT) X(SCRATCH)
typedef enum mg_bench_buffer {
#define X(name) MG_BUF_##name,
    MG_BENCH_BUFFERS(X)
#undef X
        MG_NUM_BUFS
} mg_bench_buffer;

typedef struct mg_rivals mg_rivals; /* cuBLAS (bench_rivals.c) */

typedef struct mg_bench {
    gg_context *context;
    gg_backend *backend;
    const gg_device *device;
    struct {
        void *memory;
        size_t bytes;  /* allocated */
        size_t filled; /* of these, bytes that hold random values of `dtype` */
        gg_dtype dtype;
    } buffers[MG_NUM_BUFS];
    gg_event **events; /* pairs, made when first needed */
    size_t num_events;
    mg_rivals *rivals;              /* NULL: no cuBLAS */
    char no_rivals[GG_REASON_SIZE]; /* why */
    size_t copy_bytes;              /* of the copy whose bandwidth is the limit */
    size_t workspace_bytes;         /* of the item that is placed; 0: none */
    int32_t *m_sizes, *gather;      /* of the item that is placed */
    int32_t experts_with_rows;
    char error[MG_ERROR_SIZE];
} mg_bench;

/* Opens the GPU; a machine without one is an error that says so. */
gg_status mg_bench_open(mg_bench *b, const mg_bench_options *options);
void mg_bench_close(mg_bench *b);
/* "<what>: <detail of context or backend>" into b->error; `status` comes back. */
gg_status mg_bench_fail(mg_bench *b, gg_status status, const char *what);
/* At least `bytes` in a buffer; what it held is lost when it grows. */
gg_status mg_bench_reserve(mg_bench *b, mg_bench_buffer buffer, size_t bytes);
/* The same, filled with normal-like values about as large as activations and weights are. */
gg_status mg_bench_random(mg_bench *b, mg_bench_buffer buffer, size_t elements, gg_dtype dtype);
/* Tensors and routing of an item; GG_ERR_MEMORY where they do not fit. */
gg_status mg_bench_place(mg_bench *b, const mg_bench_item *item, bool workspace);
gg_tensors mg_bench_tensors(const mg_bench *b);
/* Compiles the kernels of plans in parallel; a failure shows again when they are launched. */
void mg_bench_build(mg_bench *b, const gg_plan *plans, size_t count);

/* Something to time: launches once on the default stream. */
typedef struct mg_timed mg_timed;
struct mg_timed {
    gg_status (*launch)(mg_bench *b, const mg_timed *self);
    const mg_bench_item *item;
    gg_problem problem;
    gg_config config, config_dW; /* the second of a backward pair */
    gg_graph *graph;
    mg_spread us;              /* filled by mg_bench_time; count 0: it failed */
    char fault[MG_ERROR_SIZE]; /* why */
};
/* Times all, `repeat` rounds of one launch of each with a cold L2, forwards and backwards in turn, so that a clock that drifts
 * hits all alike. One that fails is left out; a device that no longer answers ends it. */
gg_status mg_bench_time(mg_bench *b, mg_timed *const *timed, size_t count, int repeat);

gg_status mg_launch_ours(mg_bench *b, const mg_timed *self);
gg_status mg_launch_copy(mg_bench *b,
                         const mg_timed *self); /* the copy limit: copy_bytes read, as many written */

/* --- cuBLAS (bench_rivals.c) --- */

enum { MG_PRODUCT_SIZE = 8192 }; /* of the product that is the limit, each side */
/* Leaves b->rivals NULL with b->no_rivals where there is none. */
void mg_rivals_open(mg_bench *b);
void mg_rivals_close(mg_bench *b);
const char *mg_rivals_version(const mg_bench *b);               /* "cuBLAS 13.1.0" */
gg_status mg_launch_product(mg_bench *b, const mg_timed *self); /* the product limit */
/* What a placed item needs: the matrices' addresses on the device, a captured loop. */
gg_status mg_rivals_place(mg_bench *b, const mg_bench_item *item, mg_timed *loop);
gg_status mg_launch_grouped(mg_bench *b, const mg_timed *self);
gg_status mg_launch_loop(mg_bench *b, const mg_timed *self);

/* --- results (bench_results.c) --- */

typedef struct mg_bench_row {
    mg_bench_item item;
    gg_config config, config_dW; /* the second of a backward pair */
    mg_spread us, plain, grouped, loop;
    double default_us; /* of the default config, where it is another than `config`; 0: unknown */
    mg_limits limits;
    mg_traffic traffic;
    mg_floor floor;
    const mg_peer *peer;
    bool peer_by_bytes; /* which limit its time is scaled by */
    double best, goal;  /* of the peer, scaled to our limits; 0: unknown */
    double torch_us;    /* read from --peers, scaled likewise; 0: unknown */
    gg_status status;
    char fault[MG_ERROR_SIZE]; /* why us.count is 0 */
} mg_bench_row;

/* Fills floor, best and goal from the rest. */
void mg_bench_judge(mg_bench_row *row);
void mg_bench_print_head(FILE *out);
void mg_bench_print_row(FILE *out, const mg_bench_row *row);
void mg_bench_print_end(FILE *out, const mg_bench_row *rows, size_t count);
json_t *mg_bench_json(const mg_bench_row *row);
/* Prints each cliff of the curves in `rows`; returns how many there are. */
size_t mg_bench_cliffs(FILE *out, const mg_bench_row *rows, size_t count);

/* --- torch's times (bench_torch.c) --- */

/* What tests/peers/torch_grouped_mm.py wrote. */
typedef struct mg_torch {
    json_t *root; /* {rows: [{model, E, T, gemm, op, us, copy_gbs, product_tflops}]}; NULL: none */
} mg_torch;
gg_status mg_torch_read(mg_torch *torch, const char *path, char error[MG_ERROR_SIZE]);
void mg_torch_free(mg_torch *torch);
/* Microseconds of an item, scaled from the limits read beside it to `limits`; 0: not in the file. */
double mg_torch_us(const mg_torch *torch, const mg_bench_item *item, bool by_bytes, mg_limits limits);

#endif
