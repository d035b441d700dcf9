/* moe.c: launches an MoE block: the steps of forward and backward in order. */
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "device/params.h"
#include "device/moe_params.h"
#include "moe_internal.h"

/* A stream, and whether the last thing put on it is a kernel of this call, which the next one may overlap. */
typedef struct queue {
    gg_stream stream;
    bool overlaps;
    bool ahead; /* something is there that the other one does not wait for */
} queue;

/* One block being launched. */
typedef struct block {
    gg_context *context;
    const gg_moe_problem *p;
    const gg_moe_configs *configs;
    const gg_moe_tensors *t;
    gg_moe_layout layout;
    char *workspace;
    queue *queue, *side; /* where launches go; the side's, the same where there is no other stream */
    int64_t M;
} block;

/* Starting ahead hides a microsecond a launch; with many rows it costs more: on an H200 a block of 8192 rows gained 1%, one of
 * 65,536 lost 3% to 5%. */
enum { OVERLAP_ROWS = 16384 };
static bool may_overlap(const block *b) { return b->context->overlaps && b->M <= OVERLAP_ROWS; }

static void *buffer(const block *b, gg_moe_buffer which) {
    const gg_moe_place *place = &b->layout.places[which];
    return place->bytes ? b->workspace + place->offset : NULL;
}

static gg_status check_tensors(const block *b, bool backward) {
    const gg_moe_tensors *t = b->t;
    const bool shared = b->p->shared_I > 0;
    const struct {
        const char *name;
        const void *pointer;
        bool needed;
    } table[] = {
        {"x", t->x, true},
        {"gate", t->gate, true},
        {"gate_up", t->gate_up, true},
        {"down", t->down, true},
        {"shared_gate_up", t->shared_gate_up, shared},
        {"shared_down", t->shared_down, shared},
        {"y", t->y, !backward},
        {"dy", t->dy, backward},
        {"dx", t->dx, backward},
        {"d_gate", t->d_gate, backward},
        {"d_gate_up", t->d_gate_up, backward},
        {"d_down", t->d_down, backward},
        {"d_shared_gate_up", t->d_shared_gate_up, backward && shared},
        {"d_shared_down", t->d_shared_down, backward && shared},
        {"workspace", b->workspace, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!table[i].needed) continue;
        if (!table[i].pointer)
            return gg_fail(b->context, GG_ERR_ARGUMENT, "missing tensor '%s'", table[i].name);
        if ((uintptr_t)table[i].pointer % 16)
            return gg_fail(b->context, GG_ERR_ARGUMENT,
                           "misaligned tensor '%s': %p is no multiple of 16 bytes", table[i].name,
                           table[i].pointer);
    }
    return GG_OK;
}

/* A block whose launches go to queues[0] and, where it is another stream, queues[1]. */
static block block_on(gg_context *context, const gg_moe_problem *problem, const gg_moe_configs *configs,
                      const gg_moe_tensors *tensors, void *workspace, queue queues[2]) {
    const gg_stream side = queues[1].stream;
    return (block){.context = context,
                   .p = problem,
                   .configs = configs,
                   .t = tensors,
                   .workspace = workspace,
                   .queue = queues,
                   .side = side && side != queues[0].stream ? &queues[1] : queues};
}

static gg_status begin(block *b, bool backward) {
    char reason[GG_REASON_SIZE];
    gg_status status = gg_moe_plan(b->p, &b->layout, reason);
    if (status) return gg_fail(b->context, status, "%s", reason);
    if (backward && !b->p->training)
        return gg_fail(b->context, GG_ERR_REFUSED, "backward of a block that is not for training");
    b->M = b->p->T * b->p->topk;
    return b->p->T || backward ? check_tensors(b, backward) : GG_OK;
}

/* --- kernels --- */

static bool is_wanted(const block *b, const char *step) {
    return !b->context->step_filter || b->context->step_filter(b->context->step_data, step);
}

static gg_status launch(const block *b, gg_moe_kernel which, int64_t grid, const void *params,
                        size_t params_bytes) {
    gg_plan plan;
    gg_kernel *kernel;
    gg_moe_plan_kernel(b->p, gg_get_device(b->context), which, &plan);
    if (!is_wanted(b, plan.entry)) return GG_OK;
    gg_source source = gg_plan_source(&plan, b->context->debug);
    gg_context_patch(b->context, &source);
    gg_status status = gg_context_kernel(b->context, &source, plan.entry, &kernel);
    if (status) return status;
    const gg_launch_spec spec = {.grid = (uint32_t)grid,
                                 .threads = plan.threads,
                                 .smem_bytes = plan.smem_bytes,
                                 .params = params,
                                 .params_bytes = params_bytes,
                                 .label = plan.entry,
                                 .waits = true,
                                 .overlaps = b->queue->overlaps};
    gg_backend *backend = b->context->backend;
    b->queue->overlaps = may_overlap(b);
    return gg_fail_backend(b->context, backend->ops->launch(backend, kernel, &spec, b->queue->stream),
                           plan.entry);
}

/* Kernels that stream over rows: a thread 8 values or a warp a row, as many blocks as are resident, or fewer: the last of a
 * second wave would have the memory to themselves and not fill it. */
static gg_status launch_rows(const block *b, gg_moe_kernel which, const void *params, size_t params_bytes,
                             int64_t threads) {
    /* of a multiprocessor, as bounded in the kernels' sources */
    const int resident = which == GG_MOE_SILU_AND_MUL ? 6 : 4;
    const int64_t blocks = (threads + GG_MOE_ROW_OP_THREADS - 1) / GG_MOE_ROW_OP_THREADS;
    const int64_t most = (int64_t)resident * gg_get_device(b->context)->sm_count;
    return launch(b, which, blocks < most ? blocks : most, params, params_bytes);
}

static gg_status route(const block *b) {
    const gg_moe_problem *p = b->p;
    const router_params params = {.x = b->t->x,
                                  .gate = b->t->gate,
                                  .logits = buffer(b, GG_MOE_LOGITS),
                                  .topk_ids = buffer(b, GG_MOE_TOPK_IDS),
                                  .topk_weights = buffer(b, GG_MOE_TOPK_WEIGHTS),
                                  .histogram = buffer(b, GG_MOE_HISTOGRAM),
                                  .T = p->T,
                                  .E = p->E,
                                  .padded_E = (i32)b->layout.places[GG_MOE_HISTOGRAM].cols,
                                  .H = p->H,
                                  .topk = p->topk};
    return launch(b, GG_MOE_ROUTER, gg_moe_tiles(p), &params, sizeof params);
}

static gg_status sort(const block *b) {
    const gg_moe_problem *p = b->p;
    const int64_t most = gg_get_device(b->context)->sm_count; /* more would only read the histogram again */
    const int64_t tiles = gg_moe_tiles(p), each = (tiles + most - 1) / most;
    const sort_params params = {.topk_ids = buffer(b, GG_MOE_TOPK_IDS),
                                .histogram = buffer(b, GG_MOE_HISTOGRAM),
                                .m_sizes = buffer(b, GG_MOE_M_SIZES),
                                .gather_indices = buffer(b, GG_MOE_GATHER_INDICES),
                                .positions = buffer(b, GG_MOE_POSITIONS),
                                .tokens = buffer(b, GG_MOE_TOKENS),
                                .all_tokens = buffer(b, GG_MOE_ALL_TOKENS),
                                .T = p->T,
                                .E = p->E,
                                .padded_E = (i32)b->layout.places[GG_MOE_HISTOGRAM].cols,
                                .topk = p->topk,
                                .tiles = (i32)tiles,
                                .tile_tokens = gg_moe_tile_tokens(p),
                                .tiles_per_block = (i32)each};
    return launch(b, GG_MOE_SORT_SLOTS, (tiles + each - 1) / each, &params, sizeof params);
}

static gg_status permute(const block *b, const void *in, void *out, bool weighted) {
    const permute_params params = {.in = in,
                                   .out = out,
                                   .positions = buffer(b, GG_MOE_POSITIONS),
                                   .weights = weighted ? buffer(b, GG_MOE_TOPK_WEIGHTS) : NULL,
                                   .T = b->p->T,
                                   .cols = b->p->H};
    return launch_rows(b, GG_MOE_PERMUTE, &params, sizeof params, b->p->T * (b->p->H / 8));
}

static gg_status merge(const block *b, const void *rows, bool in_slots, bool weighted, const void *addend_0,
                       const void *addend_1, void *out) {
    const merge_params params = {.rows = rows,
                                 .positions = in_slots ? NULL : buffer(b, GG_MOE_POSITIONS),
                                 .weights = weighted ? buffer(b, GG_MOE_TOPK_WEIGHTS) : NULL,
                                 .addends = {addend_0, addend_1},
                                 .out = out,
                                 .T = b->p->T,
                                 .cols = b->p->H};
    return launch_rows(b, GG_MOE_MERGE, &params, sizeof params, b->p->T * (b->p->H / 8));
}

/* Unless the GEMM before it has done it. */
static gg_status silu(const block *b, const void *gate_up, void *activation, int64_t rows, int32_t I) {
    if (b->p->fusions & GG_FUSE_SILU) return GG_OK;
    const silu_params params = {.gate_up = gate_up, .activation = activation, .rows = rows, .I = I};
    return launch_rows(b, GG_MOE_SILU_AND_MUL, &params, sizeof params, rows * (I / 8));
}

static gg_status silu_backward(const block *b, const silu_backward_params *params) {
    return launch_rows(b, GG_MOE_SILU_AND_MUL_BACKWARD, params, sizeof *params, params->rows * 32);
}

/* --- GEMMs --- */

static void gemm_tensors(const block *b, gg_moe_gemm gemm, gg_op op, gg_tensors *t) {
    const gg_moe_problem *p = b->p;
    const bool permute_x = p->fusions & GG_PERMUTE_X, permute_y = p->fusions & GG_PERMUTE_Y;
    const bool padded = p->E % 8;
    /* operands by GEMM: x, w, dy, y, dx, dw */
    const gg_tensors table[GG_MOE_NUM_GEMMS] = {
        [GG_MOE_GEMM_FIRST] = {.x = permute_x ? b->t->x : buffer(b, GG_MOE_X_EXPERT),
                               .w = b->t->gate_up,
                               .dy = buffer(b, GG_MOE_D_FIRST),
                               .y = buffer(b, GG_MOE_FIRST),
                               .activation = buffer(b, GG_MOE_ACTIVATION),
                               .dx = buffer(b, GG_MOE_DX_ROWS),
                               .dw = b->t->d_gate_up},
        [GG_MOE_GEMM_SECOND] = {.x = buffer(b, op == GG_DW && !p->weights_first ? GG_MOE_WEIGHTED
                                                                                : GG_MOE_ACTIVATION),
                                .w = b->t->down,
                                .dy = permute_y ? b->t->dy : buffer(b, GG_MOE_DY_EXPERT),
                                .y = buffer(b, GG_MOE_SECOND),
                                .dx = buffer(b, GG_MOE_D_ACTIVATION),
                                .dw = b->t->d_down},
        [GG_MOE_GEMM_SHARED_FIRST] = {.x = b->t->x,
                                      .w = b->t->shared_gate_up,
                                      .dy = buffer(b, GG_MOE_SHARED_D_FIRST),
                                      .y = buffer(b, GG_MOE_SHARED_FIRST),
                                      .activation = buffer(b, GG_MOE_SHARED_ACTIVATION),
                                      .dx = buffer(b, GG_MOE_SHARED_DX),
                                      .dw = b->t->d_shared_gate_up},
        [GG_MOE_GEMM_SHARED_SECOND] = {.x = buffer(b, GG_MOE_SHARED_ACTIVATION),
                                       .w = b->t->shared_down,
                                       .dy = b->t->dy,
                                       .y = buffer(b, GG_MOE_SHARED_SECOND),
                                       .dx = buffer(b, GG_MOE_SHARED_D_ACTIVATION),
                                       .dw = b->t->d_shared_down},
        [GG_MOE_GEMM_ROUTER] = {.x = b->t->x,
                                .w = padded ? buffer(b, GG_MOE_GATE_PADDED) : b->t->gate,
                                .dy = buffer(b, GG_MOE_D_LOGITS),
                                .dx = buffer(b, GG_MOE_DX_ROUTER),
                                .dw = padded ? buffer(b, GG_MOE_D_GATE_PADDED) : b->t->d_gate},
    };
    const bool routed = gemm == GG_MOE_GEMM_FIRST || gemm == GG_MOE_GEMM_SECOND;
    const bool by_token = gemm == GG_MOE_GEMM_SECOND && op != GG_FORWARD;
    *t = table[gemm];
    t->m_sizes = buffer(b, routed ? GG_MOE_M_SIZES : GG_MOE_ALL_TOKENS);
    t->gather_indices = buffer(b, by_token ? GG_MOE_TOKENS : GG_MOE_GATHER_INDICES);
    t->topk_weights = buffer(b, GG_MOE_TOPK_WEIGHTS);
}

static gg_status gemm(const block *b, gg_moe_gemm which, gg_op op) {
    static const char *const names[] = {
#define X(name, text) [name] = text,
        GG_MOE_GEMMS(X)
#undef X
    };
    gg_problem problem;
    gg_tensors tensors;
    char step[64];
    snprintf(step, sizeof step, "%s %s", names[which], gg_op_name(op));
    if (!is_wanted(b, step)) return GG_OK;
    const gg_config *config = b->configs ? &b->configs->of[which][op] : NULL;
    gg_moe_gemm_problem(b->p, which, op, &problem);
    gemm_tensors(b, which, op, &tensors);
    const bool overlaps = b->queue->overlaps;
    b->queue->overlaps = may_overlap(b);
    return gg_run(b->context, op, &problem, config, &tensors, b->queue->stream, overlaps);
}

/* --- streams --- */

/* What is put on `then` from now on waits for what is on `first`. */
static gg_status order(const block *b, queue *first, queue *then) {
    gg_backend *backend = b->context->backend;
    if (first == then) return GG_OK;
    then->overlaps = false;
    first->ahead = false;
    then->ahead = true;
    if (!backend->ops->stream_order) return GG_OK;
    return gg_fail_backend(b->context, backend->ops->stream_order(backend, first->stream, then->stream),
                           "block");
}

/* Puts `part` on the side stream, behind what is on the main one; until `order` back, nothing may read what it writes. */
static gg_status run_beside(const block *b, gg_status (*part)(const block *)) {
    block beside = *b;
    beside.queue = b->side;
    gg_status status = order(b, b->queue, b->side);
    return status ? status : part(&beside);
}

/* After a fault as well what is put on the main stream later waits for the side's, which may yet use what the caller frees. */
static gg_status join(const block *b, gg_status status) {
    char fault[sizeof b->context->error];
    if (!status || !b->side->ahead) return status;
    memcpy(fault, b->context->error, sizeof fault);
    order(b, b->side, b->queue); /* if that fails too the first fault is the one to tell */
    memcpy(b->context->error, fault, sizeof fault);
    return status;
}

static gg_status copy(const block *b, void *dst, const void *src, size_t bytes, const char *name) {
    gg_backend *backend = b->context->backend;
    b->queue->overlaps = false;
    return gg_fail_backend(b->context, backend->ops->copy(backend, dst, src, bytes, b->queue->stream), name);
}
static gg_status zero(const block *b, void *dst, size_t bytes, const char *name) {
    gg_backend *backend = b->context->backend;
    b->queue->overlaps = false;
    return gg_fail_backend(b->context, backend->ops->fill(backend, dst, 0, bytes, b->queue->stream), name);
}

/* --- forward --- */

#define STEP(call)                                                                                           \
    do {                                                                                                     \
        if ((status = (call))) return status;                                                                \
    } while (0)

static gg_status shared_forward(const block *b) {
    gg_status status;
    STEP(gemm(b, GG_MOE_GEMM_SHARED_FIRST, GG_FORWARD));
    STEP(silu(b, buffer(b, GG_MOE_SHARED_FIRST), buffer(b, GG_MOE_SHARED_ACTIVATION), b->p->T,
              b->p->shared_I));
    return gemm(b, GG_MOE_GEMM_SHARED_SECOND, GG_FORWARD);
}

static gg_status forward(const block *b) {
    const gg_moe_problem *p = b->p;
    const bool weighted = !p->weights_first && !(p->fusions & GG_FUSE_MUL_POST);
    gg_status status;
    STEP(route(b));
    STEP(sort(b));
    if (p->shared_I) STEP(run_beside(b, shared_forward));
    if (!(p->fusions & GG_PERMUTE_X)) STEP(permute(b, b->t->x, buffer(b, GG_MOE_X_EXPERT), p->weights_first));
    STEP(gemm(b, GG_MOE_GEMM_FIRST, GG_FORWARD));
    STEP(silu(b, buffer(b, GG_MOE_FIRST), buffer(b, GG_MOE_ACTIVATION), b->M, p->I));
    STEP(gemm(b, GG_MOE_GEMM_SECOND, GG_FORWARD));
    if (p->shared_I) STEP(order(b, b->side, b->queue));
    return merge(b, buffer(b, GG_MOE_SECOND), p->fusions & GG_PERMUTE_Y, weighted,
                 buffer(b, GG_MOE_SHARED_SECOND), NULL, b->t->y);
}

gg_status gg_moe_forward(gg_context *context, const gg_moe_problem *problem, const gg_moe_configs *configs,
                         const gg_moe_tensors *tensors, void *workspace, gg_stream stream, gg_stream side) {
    queue queues[] = {{.stream = stream}, {.stream = side}};
    block b = block_on(context, problem, configs, tensors, workspace, queues);
    gg_status status = begin(&b, false);
    return status || problem->T == 0 ? status : join(&b, forward(&b));
}

/* --- backward --- */

/* Gradients of the router's weights and of x through it, from those of the routing weights. */
static gg_status router_backward(const block *b) {
    const gg_moe_problem *p = b->p;
    const size_t bytes = (size_t)p->E * (size_t)p->H * 2;
    const bool padded = p->E % 8;
    const router_backward_params params = {.logits = buffer(b, GG_MOE_LOGITS),
                                           .topk_ids = buffer(b, GG_MOE_TOPK_IDS),
                                           .d_weights = buffer(b, GG_MOE_D_WEIGHTS),
                                           .d_logits = buffer(b, GG_MOE_D_LOGITS),
                                           .T = p->T,
                                           .E = p->E,
                                           .padded_E = (i32)b->layout.places[GG_MOE_D_LOGITS].cols,
                                           .topk = p->topk};
    gg_status status;
    STEP(launch_rows(b, GG_MOE_ROUTER_BACKWARD, &params, sizeof params, p->T * 32));
    if (padded) { /* GEMMs take multiples of 8 */
        void *gate = buffer(b, GG_MOE_GATE_PADDED);
        STEP(zero(b, gate, b->layout.places[GG_MOE_GATE_PADDED].bytes, "gate"));
        STEP(copy(b, gate, b->t->gate, bytes, "gate"));
    }
    STEP(gemm(b, GG_MOE_GEMM_ROUTER, GG_DX));
    STEP(gemm(b, GG_MOE_GEMM_ROUTER, GG_DW));
    if (padded) STEP(copy(b, b->t->d_gate, buffer(b, GG_MOE_D_GATE_PADDED), bytes, "d_gate"));
    return GG_OK;
}

/* Where weights multiplied x, their gradient is that of the first GEMM's rows times x. */
static gg_status weights_backward(const block *b) {
    const row_dot_params params = {.rows = buffer(b, GG_MOE_DX_ROWS),
                                   .x = b->t->x,
                                   .positions = buffer(b, GG_MOE_POSITIONS),
                                   .d_weights = buffer(b, GG_MOE_D_WEIGHTS),
                                   .T = b->p->T,
                                   .cols = b->p->H,
                                   .topk = b->p->topk};
    return launch_rows(b, GG_MOE_ROW_DOT, &params, sizeof params, b->M * 32);
}

static gg_status weights_and_router_backward(const block *b) {
    gg_status status;
    STEP(weights_backward(b));
    return router_backward(b);
}

static gg_status shared_backward(const block *b) {
    gg_status status;
    /* the activation comes out again as forward made it */
    const silu_backward_params params = {.gate_up = buffer(b, GG_MOE_SHARED_FIRST),
                                         .d_activation = buffer(b, GG_MOE_SHARED_D_ACTIVATION),
                                         .d_gate_up = buffer(b, GG_MOE_SHARED_D_FIRST),
                                         .activation = buffer(b, GG_MOE_SHARED_ACTIVATION),
                                         .rows = b->p->T,
                                         .I = b->p->shared_I};
    STEP(gemm(b, GG_MOE_GEMM_SHARED_SECOND, GG_DX));
    STEP(silu_backward(b, &params));
    STEP(gemm(b, GG_MOE_GEMM_SHARED_SECOND, GG_DW));
    STEP(gemm(b, GG_MOE_GEMM_SHARED_FIRST, GG_DX));
    return gemm(b, GG_MOE_GEMM_SHARED_FIRST, GG_DW);
}

static gg_status backward(const block *b) {
    const gg_moe_problem *p = b->p;
    const bool weighted = !p->weights_first;
    const silu_backward_params params = {
        .gate_up = buffer(b, GG_MOE_FIRST),
        .d_activation = buffer(b, GG_MOE_D_ACTIVATION),
        .gather_indices = buffer(b, GG_MOE_GATHER_INDICES),
        .weights = weighted ? buffer(b, GG_MOE_TOPK_WEIGHTS) : NULL,
        .d_gate_up = buffer(b, GG_MOE_D_FIRST),
        .activation = buffer(b, weighted ? GG_MOE_WEIGHTED : GG_MOE_ACTIVATION),
        .d_weights = buffer(b, GG_MOE_D_WEIGHTS),
        .rows = b->M,
        .I = p->I,
    };
    gg_status status;
    if (p->shared_I) STEP(run_beside(b, shared_backward));
    if (!(p->fusions & GG_PERMUTE_Y)) STEP(permute(b, b->t->dy, buffer(b, GG_MOE_DY_EXPERT), false));
    STEP(gemm(b, GG_MOE_GEMM_SECOND, GG_DX));
    STEP(silu_backward(b, &params));
    if (weighted) STEP(run_beside(b, router_backward));
    STEP(gemm(b, GG_MOE_GEMM_FIRST, GG_DX));
    if (!weighted) STEP(run_beside(b, weights_and_router_backward));
    STEP(gemm(b, GG_MOE_GEMM_SECOND, GG_DW));
    STEP(gemm(b, GG_MOE_GEMM_FIRST, GG_DW));
    STEP(order(b, b->side, b->queue));
    return merge(b, buffer(b, GG_MOE_DX_ROWS), p->fusions & GG_PERMUTE_X, p->weights_first,
                 buffer(b, GG_MOE_DX_ROUTER), buffer(b, GG_MOE_SHARED_DX), b->t->dx);
}

/* Without tokens every weight's gradient is zero. */
static gg_status zero_gradients(const block *b) {
    const gg_moe_problem *p = b->p;
    const struct {
        void *pointer;
        int64_t elements;
    } table[] = {
        {b->t->d_gate, (int64_t)p->E * p->H},
        {b->t->d_gate_up, (int64_t)p->E * 2 * p->I * p->H},
        {b->t->d_down, (int64_t)p->E * p->H * p->I},
        {b->t->d_shared_gate_up, 2ll * p->shared_I * p->H},
        {b->t->d_shared_down, (int64_t)p->H * p->shared_I},
    };
    gg_status status = GG_OK;
    for (size_t i = 0; i < sizeof table / sizeof *table && !status; i++)
        if (table[i].elements)
            status = zero(b, table[i].pointer, (size_t)table[i].elements * 2, "zeroing gradients");
    return status;
}

gg_status gg_moe_backward(gg_context *context, const gg_moe_problem *problem, const gg_moe_configs *configs,
                          const gg_moe_tensors *tensors, void *workspace, gg_stream stream, gg_stream side) {
    queue queues[] = {{.stream = stream}, {.stream = side}};
    block b = block_on(context, problem, configs, tensors, workspace, queues);
    gg_status status = begin(&b, true);
    if (status) return status;
    return problem->T == 0 ? zero_gradients(&b) : join(&b, backward(&b));
}

/* --- tuning --- */

gg_status gg_moe_autotune(gg_context *context, const gg_moe_problem *problem, const gg_moe_tensors *tensors,
                          void *workspace, size_t limit, gg_moe_configs *best, size_t *measured) {
    queue queues[2] = {{0}};
    block b = block_on(context, problem, best, tensors, workspace, queues);
    gg_status status;
    const bool with_backward = problem->training && tensors->dx;
    size_t each = 0, all = 0;
    if (measured) *measured = 0;
    gg_moe_default_configs(problem, gg_get_device(context), best);
    STEP(begin(&b, with_backward));
    if (problem->T == 0) return GG_OK;
    STEP(check_tensors(&b, false)); /* forward runs in any case */
    STEP(forward(&b));
    if (with_backward) STEP(backward(&b));
    for (int which = 0; which < GG_MOE_NUM_GEMMS; which++)
        for (int op = 0; op < GG_NUM_OPS; op++) {
            gg_problem shape;
            gg_tensors operands;
            if (!gg_moe_gemm_problem(problem, which, op, &shape)) continue;
            if (op != GG_FORWARD && !with_backward) continue;
            gemm_tensors(&b, which, op, &operands);
            each = 0;
            STEP(gg_autotune(context, &shape, &operands, limit, &best->of[which][op], &each));
            all += each;
        }
    if (measured) *measured = all;
    return GG_OK;
}
