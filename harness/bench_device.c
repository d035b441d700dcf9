/* bench_device.c: the device of a benchmark: tensors of random values, routing, and launches timed in turn. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "backend/build.h"
#include "device/params.h"
#include "golden.h"
#include "routing.h"

#include "device/helpers.h"

enum { COPY_MOST = 1 << 30, COPY_SHARE = 64, BLOCKS_PER_SM = 8, WARM_UPS = 2 };

/* --- opening --- */

gg_status mg_bench_fail(mg_bench *b, gg_status status, const char *what) {
    if (!status) return GG_OK;
    const char *detail = b->backend && b->backend->error[0] ? b->backend->error : gg_error(b->context);
    snprintf(b->error, sizeof b->error, "%.100s: %.380s", what, *detail ? detail : gg_status_string(status));
    return status;
}

gg_status mg_bench_open(mg_bench *b, const mg_bench_options *options) {
    char why[GG_REASON_SIZE];
    *b = (mg_bench){0};
    if (!gg_cuda_available(why)) {
        snprintf(b->error, sizeof b->error, "timings need a GPU: %s", why);
        return GG_ERR_NO_DEVICE;
    }
    const gg_options opening = {
        .backend = "cuda", .device = options->device, .cache_dir = options->cache_dir};
    gg_status status = gg_open(&b->context, &opening);
    if (status) {
        snprintf(b->error, sizeof b->error, "%.500s", b->context ? gg_error(b->context) : "out of memory");
        return status;
    }
    b->backend = gg_context_backend(b->context);
    b->device = gg_get_device(b->context);
    b->copy_bytes = b->device->memory / COPY_SHARE < COPY_MOST ? b->device->memory / COPY_SHARE : COPY_MOST;
    b->copy_bytes = b->copy_bytes / 4 * 4;
    return GG_OK;
}

void mg_bench_close(mg_bench *b) {
    mg_rivals_close(b);
    for (int i = 0; i < MG_NUM_BUFS; i++)
        if (b->buffers[i].memory) b->backend->ops->free(b->backend, b->buffers[i].memory);
    for (size_t i = 0; i < b->num_events; i++) b->backend->ops->event_free(b->backend, b->events[i]);
    free(b->events);
    free(b->m_sizes);
    free(b->gather);
    gg_close(b->context);
}

/* --- memory --- */

gg_status mg_bench_reserve(mg_bench *b, mg_bench_buffer buffer, size_t bytes) {
    const gg_backend_ops *ops = b->backend->ops;
    if (bytes <= b->buffers[buffer].bytes && b->buffers[buffer].memory) return GG_OK;
    if (b->buffers[buffer].memory) ops->free(b->backend, b->buffers[buffer].memory);
    memset(&b->buffers[buffer], 0, sizeof b->buffers[buffer]);
    gg_status status = ops->alloc(b->backend, bytes, &b->buffers[buffer].memory);
    if (status) {
        b->buffers[buffer].memory = NULL;
        return mg_bench_fail(b, status, "no room");
    }
    b->buffers[buffer].bytes = bytes;
    return GG_OK;
}

gg_status mg_bench_random(mg_bench *b, mg_bench_buffer buffer, size_t elements, gg_dtype dtype) {
    enum { COLUMNS = 64 };
    const int64_t rows = (int64_t)((elements + COLUMNS - 1) / COLUMNS);
    const size_t bytes = (size_t)rows * COLUMNS * 2;
    gg_kernel *kernel;
    gg_status status = mg_bench_reserve(b, buffer, bytes);
    if (status || (bytes <= b->buffers[buffer].filled && dtype == b->buffers[buffer].dtype)) return status;
    const fill_params params = {.out = b->buffers[buffer].memory,
                                .seed = mg_splitmix64((uint64_t)buffer + 1),
                                .rows = rows,
                                .cols = COLUMNS,
                                .scale_log2 = buffer == MG_BUF_DY ? -15 : -18, /* class real's */
                                .dtype = (i32)dtype};
    const gg_source source = {.files = gg_embedded_sources, .root = "fill.cu", .macros = ""};
    const gg_launch_spec spec = {.grid = (uint32_t)(b->device->sm_count * BLOCKS_PER_SM),
                                 .threads = MG_HELPER_THREADS,
                                 .params = &params,
                                 .params_bytes = sizeof params,
                                 .label = "fill"};
    status = gg_context_kernel(b->context, &source, "fill", &kernel);
    if (!status) status = b->backend->ops->launch(b->backend, kernel, &spec, NULL);
    if (!status) {
        b->buffers[buffer].filled = bytes;
        b->buffers[buffer].dtype = dtype;
    }
    return mg_bench_fail(b, status, "filling a tensor");
}

static gg_status place_routing(mg_bench *b, const mg_bench_item *item) {
    const gg_problem *p = &item->problem;
    const size_t E = (size_t)p->E, M = (size_t)(p->T * p->topk);
    const gg_backend_ops *ops = b->backend->ops;
    free(b->m_sizes);
    free(b->gather);
    b->m_sizes = calloc(E + 1, sizeof *b->m_sizes);
    b->gather = calloc(M + 1, sizeof *b->gather);
    float *weights = calloc(M + 1, sizeof *weights);
    gg_status status = b->m_sizes && b->gather && weights ? GG_OK : GG_ERR_MEMORY;
    if (!status) status = mg_routing_make(p->T, p->topk, p->E, item->dist, b->m_sizes, b->gather);
    if (status) {
        snprintf(b->error, sizeof b->error, "no routing of %d distinct experts among %d", p->topk, p->E);
        goto out;
    }
    b->experts_with_rows = 0;
    for (size_t e = 0; e < E; e++) b->experts_with_rows += b->m_sizes[e] > 0;
    mg_fill_weights(1, 0, M, weights);
    const struct {
        mg_bench_buffer buffer;
        const void *host;
        size_t bytes;
    } arrays[] = {{MG_BUF_M_SIZES, b->m_sizes, E * sizeof *b->m_sizes},
                  {MG_BUF_GATHER, b->gather, M * sizeof *b->gather},
                  {MG_BUF_WEIGHTS, weights, M * sizeof *weights}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        if ((status = mg_bench_reserve(b, arrays[i].buffer, arrays[i].bytes))) goto out;
        status =
            ops->upload(b->backend, b->buffers[arrays[i].buffer].memory, arrays[i].host, arrays[i].bytes);
        if ((status = mg_bench_fail(b, status, "uploading the routing"))) goto out;
    }
out:
    free(weights);
    return status;
}

gg_status mg_bench_place(mg_bench *b, const mg_bench_item *item, bool workspace) {
    const gg_problem *p = &item->problem;
    const size_t M = (size_t)(p->T * p->topk), N = (size_t)p->N, K = (size_t)p->K;
    const bool forward = p->op == GG_FORWARD, dx = p->op == GG_DX, dw = p->op == GG_DW || item->backward;
    /* x serves in token order, T rows of it, and in expert order: the values are as random in any order */
    const struct {
        mg_bench_buffer buffer;
        size_t elements;
        bool needed, random;
    } tensors[] = {{MG_BUF_X, M * K, forward || dw, true},
                   {MG_BUF_W, (size_t)p->E * N * K, forward || dx, true},
                   {MG_BUF_DY, M * N, dx || dw, true},
                   {MG_BUF_Y, M * N, forward, false},
                   {MG_BUF_DX, M * K, dx, false},
                   {MG_BUF_SLOTS, M * K, item->backward, false},
                   {MG_BUF_DW, (size_t)p->E * N * K, dw, false}};
    gg_problem other = *p;
    other.op = item->backward ? GG_DW : p->op;
    const size_t room[] = {gg_workspace_bytes(p), gg_workspace_bytes(&other)};
    b->workspace_bytes = !workspace ? 0 : room[room[1] > room[0]];
    gg_status status = b->workspace_bytes ? mg_bench_reserve(b, MG_BUF_WORKSPACE, b->workspace_bytes) : GG_OK;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors && !status; i++) {
        if (!tensors[i].needed) continue;
        status = tensors[i].random ? mg_bench_random(b, tensors[i].buffer, tensors[i].elements, p->dtype)
                                   : mg_bench_reserve(b, tensors[i].buffer, tensors[i].elements * 2);
    }
    return status ? status : place_routing(b, item);
}

gg_tensors mg_bench_tensors(const mg_bench *b) {
    return (gg_tensors){
        .x = b->buffers[MG_BUF_X].memory,
        .w = b->buffers[MG_BUF_W].memory,
        .dy = b->buffers[MG_BUF_DY].memory,
        .y = b->buffers[MG_BUF_Y].memory,
        .dx = b->buffers[MG_BUF_DX].memory,
        .dw = b->buffers[MG_BUF_DW].memory,
        .m_sizes = b->buffers[MG_BUF_M_SIZES].memory,
        .gather_indices = b->buffers[MG_BUF_GATHER].memory,
        .topk_weights = b->buffers[MG_BUF_WEIGHTS].memory,
        .workspace = b->buffers[MG_BUF_WORKSPACE].memory,
        .workspace_bytes = b->workspace_bytes,
    };
}

void mg_bench_build(mg_bench *b, const gg_plan *plans, size_t count) {
    const gg_target target = b->backend->ops->target(b->backend);
    const char *cache_dir = gg_context_cache_dir(b->context);
    gg_build_job *jobs = calloc(count + 1, sizeof *jobs);
    size_t used = 0;
    for (size_t i = 0; jobs && i < count; i++) {
        const gg_source source = gg_plan_source(&plans[i], false);
        if (!gg_is_built(&source, &target, cache_dir))
            jobs[used++] = (gg_build_job){.source = source, .target = target};
    }
    if (jobs) gg_build_many(jobs, used, cache_dir, 0, NULL, NULL);
    free(jobs);
}

/* --- launches --- */

gg_status mg_launch_ours(mg_bench *b, const mg_timed *self) {
    const gg_tensors tensors = mg_bench_tensors(b);
    const gg_problem *p = &self->problem;
    gg_status status;
    if (self->item->backward)
        status = gg_backward(b->context, p, &self->config, &self->config_dW, &tensors,
                             b->buffers[MG_BUF_SLOTS].memory, NULL);
    else if (p->op == GG_FORWARD)
        status = gg_forward(b->context, p, &self->config, &tensors, NULL);
    else if (p->op == GG_DX)
        status = gg_dX(b->context, p, &self->config, &tensors, NULL);
    else
        status = gg_dW(b->context, p, &self->config, &tensors, NULL);
    if (status) snprintf(b->error, sizeof b->error, "%.500s", gg_error(b->context));
    return status;
}

gg_status mg_launch_copy(mg_bench *b, const mg_timed *self) {
    (void)self;
    gg_status status = mg_bench_reserve(b, MG_BUF_LIMIT, 2 * b->copy_bytes);
    char *memory = b->buffers[MG_BUF_LIMIT].memory;
    if (status) return status;
    status = b->backend->ops->copy(b->backend, memory + b->copy_bytes, memory, b->copy_bytes, NULL);
    return mg_bench_fail(b, status, "copying");
}

/* --- timing --- */

static gg_status make_events(mg_bench *b, size_t count) {
    if (count <= b->num_events) return GG_OK;
    gg_event **events = realloc(b->events, count * sizeof *events);
    if (!events) return GG_ERR_MEMORY;
    b->events = events;
    for (; b->num_events < count; b->num_events++) {
        gg_status status = b->backend->ops->event_new(b->backend, &events[b->num_events]);
        if (status) return mg_bench_fail(b, status, "timing");
    }
    return GG_OK;
}

/* Launched until nothing is new to it: kernels loaded, memory of libraries taken. */
static gg_status warm_up(mg_bench *b, mg_timed *t) {
    gg_status status = GG_OK, answer;
    for (int i = 0; i < WARM_UPS && !status; i++) status = t->launch(b, t);
    answer = b->backend->ops->synchronize(b->backend);
    if (answer) mg_bench_fail(b, answer, "warming up");
    t->fault[0] = 0;
    if (status || answer) snprintf(t->fault, sizeof t->fault, "%s", b->error);
    return answer;
}

static gg_status launch_timed(mg_bench *b, const mg_timed *t, gg_event *const pair[2]) {
    const gg_backend_ops *ops = b->backend->ops;
    gg_status status = ops->flush_cache(b->backend);
    if (!status) status = ops->event_record(b->backend, pair[0], NULL);
    if (status) return mg_bench_fail(b, status, "timing");
    if ((status = t->launch(b, t))) return status;
    return mg_bench_fail(b, ops->event_record(b->backend, pair[1], NULL), "timing");
}

gg_status mg_bench_time(mg_bench *b, mg_timed *const *timed, size_t count, int repeat) {
    const size_t rounds = (size_t)repeat;
    gg_status status = make_events(b, 2 * count * rounds);
    double *us = malloc((rounds + 1) * sizeof *us);
    if (!us) status = GG_ERR_MEMORY;
    for (size_t i = 0; i < count && !status; i++) {
        timed[i]->us = (mg_spread){0};
        status = warm_up(b, timed[i]);
    }
    for (size_t round = 0; round < rounds && !status; round++)
        for (size_t step = 0; step < count && !status; step++) {
            const size_t i = round % 2 ? count - 1 - step : step;
            if (!timed[i]->fault[0]) status = launch_timed(b, timed[i], b->events + 2 * (i * rounds + round));
        }
    if (!status) status = mg_bench_fail(b, b->backend->ops->synchronize(b->backend), "timing");
    for (size_t i = 0; i < count && !status; i++) {
        if (timed[i]->fault[0]) continue;
        for (size_t round = 0; round < rounds && !status; round++) {
            gg_event *const *pair = b->events + 2 * (i * rounds + round);
            float ms = 0;
            status =
                mg_bench_fail(b, b->backend->ops->event_elapsed(b->backend, pair[0], pair[1], &ms), "timing");
            us[round] = 1e3 * (double)ms;
        }
        if (!status) timed[i]->us = mg_spread_of(us, rounds);
    }
    free(us);
    return status;
}
