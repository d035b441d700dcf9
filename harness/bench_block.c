/* bench_block.c: `moegemm block`: times a whole MoE block as replays of a captured graph and as plain launches, and each
 * step alone. */
#include "bench_block.h"
#include "arguments.h"
#include "backend/backend.h"
#include "commands.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    const mg_bench_block_options *options;
    mg_block block;
    gg_context *context;
    gg_backend *backend;
    gg_moe_problem p;
    gg_moe_layout layout;
    gg_moe_configs configs;
    gg_moe_tensors tensors;
    void *inputs[MG_NUM_BLOCK_INPUTS], *outputs[MG_NUM_BLOCK_OUTPUTS], *workspace;
    gg_stream stream, side;
    double *samples;
    /* steps: seen so far in this pass, and the one that is wanted; -1: all */
    mg_bench_block_times *times;
    int seen, wanted;
    bool listing;
    char *error;
} bench;

static gg_status fail(bench *b, gg_status status, const char *what) {
    const char *detail = b->context ? gg_error(b->context) : "";
    if (status && !detail[0] && b->backend) detail = b->backend->error;
    if (status)
        snprintf(b->error, MG_ERROR_SIZE, "%s: %.400s", what, detail[0] ? detail : gg_status_string(status));
    return status;
}

/* --- data --- */

/* A part at a time: the largest tensor has 2.7 GB. */
static gg_status draw(bench *b, mg_block_input input) {
    enum { PART = 1 << 22 };
    const mg_block_shape shape = mg_block_input_shape(&b->p, input);
    const mg_draw d = mg_block_draw(&b->block, input, 0);
    const int64_t count = shape.rows * shape.cols;
    uint16_t *part = malloc(PART * sizeof *part);
    gg_status status = part ? gg_alloc(b->context, (size_t)count * 2, &b->inputs[input]) : GG_ERR_MEMORY;
    for (int64_t at = 0; at < count && !status; at += PART) {
        const size_t size = count - at < PART ? (size_t)(count - at) : PART;
        mg_fill_integers(d.seed, d.bits, d.scale_log2, b->p.dtype, (uint64_t)at, size, part);
        status = gg_upload(b->context, (uint16_t *)b->inputs[input] + at, part, size * 2);
    }
    free(part);
    return status;
}

static gg_status place(bench *b) {
    gg_status status = GG_OK;
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS && !status; i++) status = draw(b, i);
    for (int i = 0; i < MG_NUM_BLOCK_OUTPUTS && !status; i++) {
        const mg_block_shape shape = mg_block_output_shape(&b->p, i);
        status = gg_alloc(b->context, (size_t)(shape.rows * shape.cols) * 2, &b->outputs[i]);
    }
    if (!status) status = gg_alloc(b->context, b->layout.bytes, &b->workspace);
    b->tensors =
        (gg_moe_tensors){.x = b->inputs[MG_BLOCK_X],
                         .gate = b->inputs[MG_BLOCK_GATE],
                         .gate_up = b->inputs[MG_BLOCK_GATE_UP],
                         .down = b->inputs[MG_BLOCK_DOWN],
                         .shared_gate_up = b->inputs[MG_BLOCK_SHARED_GATE_UP],
                         .shared_down = b->inputs[MG_BLOCK_SHARED_DOWN],
                         .dy = b->inputs[MG_BLOCK_DY],
                         .y = b->outputs[MG_BLOCK_Y],
                         /* of forward alone no other GEMM is tuned */
                         .dx = b->options->mode == MG_BLOCK_BACKWARD ? b->outputs[MG_BLOCK_DX] : NULL,
                         .d_gate = b->outputs[MG_BLOCK_D_GATE],
                         .d_gate_up = b->outputs[MG_BLOCK_D_GATE_UP],
                         .d_down = b->outputs[MG_BLOCK_D_DOWN],
                         .d_shared_gate_up = b->outputs[MG_BLOCK_D_SHARED_GATE_UP],
                         .d_shared_down = b->outputs[MG_BLOCK_D_SHARED_DOWN]};
    return fail(b, status, "no memory for the block");
}

/* --- timing --- */

/* What is timed: forward, or the backward half. */
static gg_status launch(bench *b, gg_stream stream) {
    return b->options->mode == MG_BLOCK_BACKWARD
               ? gg_moe_backward(b->context, &b->p, &b->configs, &b->tensors, b->workspace, stream, b->side)
               : gg_moe_forward(b->context, &b->p, &b->configs, &b->tensors, b->workspace, stream, b->side);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *samples, int count) {
    qsort(samples, (size_t)count, sizeof *samples, by_size);
    return samples[count / 2];
}

/* One launch with a cold L2, in microseconds: of the graph, or of plain launches where NULL. */
static gg_status time_once(bench *b, gg_graph *graph, double *us) {
    const gg_backend_ops *ops = b->backend->ops;
    float milliseconds = 0;
    gg_status status = ops->flush_cache(b->backend);
    if (!status) status = ops->timer_start(b->backend);
    b->seen = 0;
    if (!status) status = graph ? ops->graph_launch(b->backend, graph, NULL) : launch(b, NULL);
    if (!status) status = ops->timer_stop(b->backend, &milliseconds);
    *us = 1e3 * (double)milliseconds;
    return fail(b, status, "timing");
}

/* Medians of `repeat` of them; with a graph and `plain_us` both take turns, so that a clock that sags meets both. */
static gg_status time_whole(bench *b, gg_graph *graph, double *us, double *plain_us) {
    const int warm_up = 2, repeat = b->options->repeat;
    double *plain = b->samples + repeat;
    for (int i = -warm_up; i < repeat; i++) {
        const int at = i < 0 ? 0 : i;
        gg_status status = plain_us ? time_once(b, NULL, &plain[at]) : GG_OK;
        if (!status) status = time_once(b, graph, &b->samples[at]);
        if (status) return status;
    }
    *us = median(b->samples, repeat);
    if (plain_us) *plain_us = median(plain, repeat);
    return GG_OK;
}

/* `times` launches of all wanted steps in one graph. */
static gg_status capture(bench *b, int times, gg_graph **graph) {
    const gg_backend_ops *ops = b->backend->ops;
    *graph = NULL;
    gg_status status = ops->capture_begin(b->backend, b->stream);
    if (status) return fail(b, status, "no capture");
    for (int i = 0; i < times && !status; i++) {
        b->seen = 0;
        status = launch(b, b->stream);
    }
    const gg_status ended = ops->capture_end(b->backend, b->stream, graph);
    return fail(b, status ? status : ended, "no graph");
}

static bool filter(void *data, const char *step) {
    bench *b = data;
    const int number = b->seen++;
    if (b->listing && number < MG_BENCH_BLOCK_STEPS) {
        snprintf(b->times->steps[number].name, sizeof b->times->steps[number].name, "%s", step);
        b->times->num_steps = (size_t)number + 1;
    }
    return !b->listing && (b->wanted < 0 || b->wanted == number);
}

static gg_status time_steps(bench *b) {
    enum { IN_A_GRAPH = 20 };
    gg_status status = GG_OK;
    gg_context_filter_steps(b->context, filter, b);
    b->listing = true;
    b->seen = 0;
    if ((status = launch(b, NULL))) goto out;
    b->listing = false;
    for (size_t i = 0; i < b->times->num_steps && !status; i++) {
        gg_graph *graph = NULL;
        const bool graphs = b->backend->ops->capture_begin;
        double us = 0;
        b->wanted = (int)i;
        if (graphs && (status = capture(b, IN_A_GRAPH, &graph))) break;
        status = time_whole(b, graph, &us, NULL);
        b->times->steps[i].us = graphs ? us / IN_A_GRAPH : us;
        if (graph) b->backend->ops->graph_free(b->backend, graph);
    }
out:
    gg_context_filter_steps(b->context, NULL, NULL);
    return fail(b, status, "timing steps");
}

static gg_status time_block(bench *b) {
    const gg_backend_ops *ops = b->backend->ops;
    gg_graph *graph = NULL;
    size_t measured;
    gg_status status = GG_OK;
    if (b->options->autotune)
        status = gg_moe_autotune(b->context, &b->p, &b->tensors, b->workspace, b->options->limit, &b->configs,
                                 &measured);
    /* backward reads what forward leaves */
    if (!status)
        status = gg_moe_forward(b->context, &b->p, &b->configs, &b->tensors, b->workspace, NULL, NULL);
    if (!status) status = launch(b, NULL);
    if (!status) status = gg_synchronize(b->context);
    if ((status = fail(b, status, "block"))) return status;
    if (!ops->capture_begin) {
        if ((status = time_whole(b, NULL, &b->times->plain_us, NULL))) return status;
        return time_steps(b);
    }
    if ((status = ops->stream_new(b->backend, &b->stream))) return fail(b, status, "no stream");
    if (!(status = capture(b, 1, &graph)))
        status = time_whole(b, graph, &b->times->graph_us, &b->times->plain_us);
    ops->graph_free(b->backend, graph);
    if (!status) status = time_steps(b);
    ops->stream_free(b->backend, b->stream);
    return status;
}

static void free_all(bench *b) {
    if (b->context && b->backend) {
        for (int i = 0; i < MG_NUM_BLOCK_INPUTS; i++) gg_free(b->context, b->inputs[i]);
        for (int i = 0; i < MG_NUM_BLOCK_OUTPUTS; i++) gg_free(b->context, b->outputs[i]);
        gg_free(b->context, b->workspace);
    }
    gg_close(b->context);
    free(b->samples);
}

static bool find_block(bench *b) {
    size_t count;
    const mg_block *blocks = mg_blocks(&count);
    if (b->options->block) {
        b->block = *b->options->block;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (blocks[i].problem.store != MG_STORE_HASH || strcmp(blocks[i].model, b->options->model)) continue;
        b->block = blocks[i];
        b->block.problem.T = b->options->T;
        b->block.problem.M = b->options->T * blocks[i].problem.topk;
        return true;
    }
    snprintf(b->error, MG_ERROR_SIZE, "no model '%s' (qwen3 or llama4)", b->options->model);
    return false;
}

gg_status mg_bench_block(const mg_bench_block_options *options, mg_bench_block_times *times,
                         char error[MG_ERROR_SIZE]) {
    bench b = {.options = options, .times = times, .wanted = -1, .error = error};
    const gg_options open = {.backend = options->backend};
    char reason[GG_REASON_SIZE];
    gg_status status;
    *times = (mg_bench_block_times){0};
    if (!find_block(&b)) return GG_ERR_ARGUMENT;
    if (options->backend && !strcmp(options->backend, "cuda") && !gg_cuda_available(reason)) {
        snprintf(error, MG_ERROR_SIZE, "timings need a GPU: %s, or name --backend sim", reason);
        return GG_ERR_NO_DEVICE;
    }
    b.p = mg_block_problem(&b.block, options->mode, options->fusions, options->dtype);
    if (!(b.samples = malloc(2 * (size_t)options->repeat * sizeof *b.samples))) return GG_ERR_MEMORY;
    if ((status = fail(&b, gg_open(&b.context, &open), "no device"))) goto out;
    b.backend = gg_context_backend(b.context);
    gg_context_overlap_launches(b.context, !options->in_turn);
    if (!options->no_fuse_silu && gg_moe_supports_fuse_silu(gg_get_device(b.context)))
        b.p.fusions |= GG_FUSE_SILU;
    if ((status = gg_moe_plan(&b.p, &b.layout, reason))) {
        snprintf(error, MG_ERROR_SIZE, "%s", reason);
        goto out;
    }
    gg_moe_default_configs(&b.p, gg_get_device(b.context), &b.configs);
    if (options->overlap) status = fail(&b, b.backend->ops->stream_new(b.backend, &b.side), "no stream");
    if (!status && !(status = place(&b))) status = time_block(&b);
    if (b.side) b.backend->ops->stream_free(b.backend, b.side);
out:
    free_all(&b);
    return status;
}

/* --- the command --- */

static void print(const mg_bench_block_times *t) {
    double sum = 0;
    if (t->graph_us > 0) printf("%-28s %10.1f us\n", "graph", t->graph_us);
    printf("%-28s %10.1f us\n", "plain launches", t->plain_us);
    for (size_t i = 0; i < t->num_steps; i++) sum += t->steps[i].us;
    for (size_t i = 0; i < t->num_steps; i++)
        printf("  %-26s %10.1f us  %4.1f%%\n", t->steps[i].name, t->steps[i].us, 100 * t->steps[i].us / sum);
    if (t->num_steps) printf("  %-26s %10.1f us, each alone with a warm L2\n", "sum", sum);
}

/* The number of an option; false, with the error told, when it is none from `least` to `most`. */
static bool take_number(const mg_arguments *arguments, const char *option, const char *text, long long least,
                        long long most, long long *out) {
    char error[128];
    if (mg_argument_number(text, least, most, out)) return true;
    snprintf(error, sizeof error, "bad number '%.40s' for %s: expected %lld to %lld", text, option, least,
             most);
    mg_arguments_fail(arguments, error);
    return false;
}

int mg_block_main(int argc, char **argv) {
    const char *model = "qwen3", *mode = "forward", *seqlen = "1024", *dtype = "bf16", *limit = "0",
               *repeat = "30", *backend = "cuda", *permute_x = NULL, *permute_y = NULL, *mul_post = NULL,
               *autotune = NULL, *overlap = NULL, *in_turn = NULL, *no_fuse_silu = NULL;
    const mg_argument table[] = {
        {"--model", "NAME", "qwen3 or llama4", &model},
        {"--mode", "MODE", "forward (for training), inference or backward", &mode},
        {"--seqlen", "N", "tokens", &seqlen},
        {"--dtype", "TYPE", "bf16 or fp16", &dtype},
        {"--permute_x", NULL, "the first GEMM gathers its rows", &permute_x},
        {"--permute_y", NULL, "the second GEMM scatters its rows", &permute_y},
        {"--fuse_mul_post", NULL, "and multiplies by the weights (inference)", &mul_post},
        {"--no_fuse_silu", NULL, "silu_and_mul by itself, not in the first GEMM", &no_fuse_silu},
        {"--overlap", NULL, "shared expert and router's gradients on a second stream", &overlap},
        {"--no_overlap_launches", NULL, "no launch starts before the one before it has ended", &in_turn},
        {"--autotune", NULL, "search configs for every GEMM first", &autotune},
        {"--limit", "N", "candidates of a search", &limit},
        {"--repeat", "N", "timings; the median counts", &repeat},
        {"--backend", "NAME", "cuda (the default) or sim, whose times are the simulator's own", &backend},
    };
    const mg_arguments arguments = {.command = "block",
                                    .usage = "",
                                    .about = "times a whole MoE block and its steps",
                                    .table = table,
                                    .count = sizeof table / sizeof *table};
    static const char *const modes[] = {
#define X(name, text) [name] = text,
        MG_BLOCK_MODES(X)
#undef X
    };
    char error[MG_ERROR_SIZE] = "";
    int read = mg_arguments_read(&arguments, argc, argv);
    if (read < 0) return mg_arguments_status(read);
    if (read > 0) return mg_arguments_fail(&arguments, "block takes options alone");
    long long tokens, candidates, timings;
    if (!take_number(&arguments, "--seqlen", seqlen, 1, 1 << 20, &tokens) ||
        !take_number(&arguments, "--limit", limit, 0, 100000, &candidates) ||
        !take_number(&arguments, "--repeat", repeat, 1, 10000, &timings))
        return MG_EXIT_USAGE;
    mg_bench_block_options o = {.model = model,
                                .mode = MG_NUM_BLOCK_MODES,
                                .T = tokens,
                                .dtype = strcmp(dtype, "fp16") ? GG_BF16 : GG_FP16,
                                .autotune = autotune,
                                .overlap = overlap,
                                .no_fuse_silu = no_fuse_silu,
                                .in_turn = in_turn,
                                .limit = (size_t)candidates,
                                .repeat = (int)timings,
                                .backend = backend};
    for (int i = 0; i < MG_NUM_BLOCK_MODES; i++)
        if (!strcmp(mode, modes[i])) o.mode = i;
    o.fusions =
        (permute_x ? GG_PERMUTE_X : 0) | (permute_y ? GG_PERMUTE_Y : 0) | (mul_post ? GG_FUSE_MUL_POST : 0);
    if (o.mode == MG_NUM_BLOCK_MODES)
        return mg_arguments_fail(&arguments, "--mode is forward, inference or backward");
    if (strcmp(backend, "cuda") && strcmp(backend, "sim"))
        return mg_arguments_fail(&arguments, "--backend is cuda or sim");
    if (strcmp(dtype, "fp16") && strcmp(dtype, "bf16"))
        return mg_arguments_fail(&arguments, "--dtype is bf16 or fp16");
    mg_bench_block_times times;
    gg_status status = mg_bench_block(&o, &times, error);
    if (status == GG_ERR_ARGUMENT) return mg_arguments_fail(&arguments, error);
    if (status) {
        fprintf(stderr, "moegemm: error: %s\n", error);
        return MG_EXIT_INTERNAL;
    }
    printf("%s %s T%lld %s%s%s%s%s%s%s%s\n", model, mode, (long long)o.T, dtype,
           permute_x ? " permute_x" : "", permute_y ? " permute_y" : "", mul_post ? " fuse_mul_post" : "",
           autotune ? " autotune" : "", overlap ? " overlap" : "", in_turn ? " no_overlap_launches" : "",
           no_fuse_silu ? " no_fuse_silu" : "");
    print(&times);
    return 0;
}
