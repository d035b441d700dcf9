/* launch.c: checks tensors, fills the kernels' parameters and launches: the public operations. */
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "device/params.h"

/* --- tensors --- */

enum { X, W, DY, Y, DX, DW, ACTIVATION };

/* Element tensors: (M, columns) or (E, N, K); x with permute_x has T rows, but then no map: what is copied has M. */
static const struct tensor {
    const char *name;
    size_t offset;
    unsigned tma;   /* the config's bit for moving it by TMA */
    bool weights;   /* (E, N, K) */
    bool columns_n; /* N columns, else K */
    bool halved;    /* half as many */
} tensors_table[] = {
    [X] = {"x", offsetof(gg_tensors, x), GG_TMA_LOAD_X},
    [W] = {"w", offsetof(gg_tensors, w), GG_TMA_LOAD_W, .weights = true},
    [DY] = {"dy", offsetof(gg_tensors, dy), GG_TMA_LOAD_DY, .columns_n = true},
    [Y] = {"y", offsetof(gg_tensors, y), GG_TMA_STORE, .columns_n = true},
    [DX] = {"dx", offsetof(gg_tensors, dx), GG_TMA_STORE},
    [DW] = {"dw", offsetof(gg_tensors, dw), GG_TMA_STORE, .weights = true},
    [ACTIVATION] = {"activation", offsetof(gg_tensors, activation), GG_TMA_STORE, .columns_n = true,
                    .halved = true},
};

/* Operands of an op, in the order of gemm_params: a, b, out, first. */
enum { A, B, OUT, FIRST, OPERANDS };
static int operand(const gg_problem *p, int i) {
    static const int operands[GG_NUM_OPS][OPERANDS] = {
        [GG_FORWARD] = {X, W, Y, Y},
        [GG_DX] = {DY, W, DX},
        [GG_DW] = {DY, X, DW},
    };
    return i == OUT && p->fusions & GG_FUSE_SILU ? ACTIVATION : operands[p->op][i];
}
static int operand_count(const gg_problem *p) { return p->fusions & GG_KEEP_FIRST ? OPERANDS : FIRST; }

/* TMA's and the kernels' 16-byte accesses ask for it. */
enum { TENSOR_ALIGNMENT = 16, PANEL_COLUMNS = 64 };

static void *pointer_of(const gg_tensors *tensors, size_t offset) {
    void *pointer;
    memcpy(&pointer, (const char *)tensors + offset, sizeof pointer);
    return pointer;
}

static gg_status check_pointer(gg_context *context, const char *name, const void *pointer, size_t alignment) {
    if (!pointer) return gg_fail(context, GG_ERR_ARGUMENT, "missing tensor '%s'", name);
    if ((uintptr_t)pointer % alignment)
        return gg_fail(context, GG_ERR_ARGUMENT, "misaligned tensor '%s': %p is no multiple of %zu bytes",
                       name, pointer, alignment);
    return GG_OK;
}

static gg_status check_tensors(gg_context *context, const gg_problem *problem, const gg_tensors *tensors) {
    const struct {
        const char *name;
        const void *pointer;
        bool needed;
    } routing[] = {
        {"m_sizes", tensors->m_sizes, true},
        {"gather_indices", tensors->gather_indices, problem->fusions & (GG_PERMUTE_X | GG_PERMUTE_Y)},
        {"topk_weights", tensors->topk_weights, problem->fusions & GG_FUSE_MUL_POST},
    };
    gg_status status = GG_OK;
    for (int i = 0; i < operand_count(problem) && !status; i++) {
        const struct tensor *t = &tensors_table[operand(problem, i)];
        status = check_pointer(context, t->name, pointer_of(tensors, t->offset), TENSOR_ALIGNMENT);
    }
    for (size_t i = 0; i < sizeof routing / sizeof *routing && !status; i++)
        if (routing[i].needed)
            status = check_pointer(context, routing[i].name, routing[i].pointer, sizeof(int32_t));
    return status;
}

static gg_status check_workspace(gg_context *context, const gg_problem *p, const gg_tensors *tensors) {
    const size_t wanted = gg_workspace_bytes(p);
    if (!tensors->workspace)
        return gg_fail(context, GG_ERR_ARGUMENT,
                       "missing tensor 'workspace': copy_rows wants %zu bytes (gg_workspace_bytes)", wanted);
    gg_status status = check_pointer(context, "workspace", tensors->workspace, TENSOR_ALIGNMENT);
    if (status || tensors->workspace_bytes >= wanted) return status;
    return gg_fail(context, GG_ERR_ARGUMENT,
                   "tensor 'workspace' has %zu bytes; copy_rows wants %zu (gg_workspace_bytes)",
                   tensors->workspace_bytes, wanted);
}

/* Every shared-memory tile is a row of panels of at most 64 columns (one 128-byte swizzle span), so a box is
 * one panel: block_n or block_k columns cut to a panel; its rows are block_m, of the weights block_n. */
static gg_tensor_map_spec map_spec(const gg_plan *plan, const struct tensor *t, uint32_t box_rows,
                                   const void *base) {
    const gg_problem *p = &plan->problem;
    uint64_t columns = (uint64_t)(t->columns_n ? p->N : p->K);
    uint64_t rows = (uint64_t)(t->weights ? p->N : p->T * p->topk);
    uint32_t block_rows = (uint32_t)(t->weights ? plan->config.block_n : plan->config.block_m);
    int block_columns = t->columns_n ? plan->config.block_n : plan->config.block_k;
    return (gg_tensor_map_spec){
        .base = base,
        .rank = t->weights ? 3 : 2,
        .dims = {columns, rows, (uint64_t)p->E},
        .strides = {columns * 2, rows * columns * 2},
        .box = {(uint32_t)(block_columns < PANEL_COLUMNS ? block_columns : PANEL_COLUMNS),
                block_rows < box_rows ? block_rows : box_rows, 1},
        /* the line beside a panel's is asked for now, where another panel stands there, or by the next step */
        .single_lines = block_columns > PANEL_COLUMNS || (t->weights && plan->weights_by_lines),
    };
}

/* The same so that a box can be cut at any row; rows of `pitch` bytes. See device/params.h. */
static gg_tensor_map_spec ragged_map_spec(const void *base, uint64_t columns, uint64_t pitch, uint64_t rows,
                                          uint32_t box_columns, uint32_t box_rows, bool single_lines) {
    return (gg_tensor_map_spec){
        .base = base,
        .rank = 4,
        .dims = {columns, RAGGED_ROWS, RAGGED_BACK + rows, RAGGED_BACK + 1},
        .strides = {pitch, pitch, (1ull << 63) / RAGGED_BACK * 2 - pitch},
        .box = {box_columns, box_rows, 1, 1},
        .single_lines = single_lines,
    };
}

/* The same with GG_FUSE_SILU; the twin of device/wgmma_silu.h. Rows of w come by eights of gate and of up in turn; gate, up and
 * activation are stored apart, each cut at its own last column. */
static gg_tensor_map_spec silu_map_spec(const gg_plan *plan, int which, const void *base) {
    enum { GROUP = 8, COLUMNS = 32 };
    const gg_problem *p = &plan->problem;
    const uint64_t I = (uint64_t)p->N / 2, K = (uint64_t)p->K, M = (uint64_t)(p->T * p->topk);
    const gg_tensor_map_spec w = {
        .base = base,
        .rank = 5,
        .dims = {K, GROUP, 2, I / GROUP, (uint64_t)p->E},
        .strides = {K * 2, I * K * 2, GROUP * K * 2, 2 * I * K * 2},
        .box = {PANEL_COLUMNS, GROUP, 2, (uint32_t)plan->config.block_n / (2 * GROUP), 1},
        .single_lines = plan->weights_by_lines,
    };
    gg_tensor_map_spec first = ragged_map_spec(base, I, 2 * I * 2, M, COLUMNS, plan->box_rows[OUT], false);
    first.dims[2] = RAGGED_BACK + 2 * M; /* a row's halves one after the other */
    first.strides[1] /= 2;
    first.strides[2] += first.strides[1]; /* which goes back as far */
    const gg_tensor_map_spec activation =
        ragged_map_spec(base, I, I * 2, M, COLUMNS, plan->box_rows[OUT], false);
    return which == W ? w : which == Y ? first : activation;
}

static size_t tensor_bytes(const gg_problem *p, int which, bool in_tokens) {
    const struct tensor *t = &tensors_table[which];
    size_t columns = (size_t)(t->columns_n ? p->N : p->K) / (t->halved ? 2 : 1);
    size_t rows = (size_t)(t->weights ? (int64_t)p->E * p->N : in_tokens ? p->T : p->T * p->topk);
    return rows * columns * 2;
}

/* All that the GEMM's kernel may touch. */
enum { ROUTING = 3, BUFFERS = OPERANDS + ROUTING + 1 };
static size_t list_buffers(const gg_plan *plan, const gg_tensors *tensors, const uint32_t *drawn,
                           gg_buffer buffers[BUFFERS]) {
    const gg_problem *p = &plan->problem;
    const size_t M = (size_t)(p->T * p->topk);
    const unsigned permutes = p->fusions & (GG_PERMUTE_X | GG_PERMUTE_Y) & ~plan->copied;
    size_t count = 0;
    for (int i = 0; i < operand_count(p); i++) {
        int which = operand(p, i);
        const struct tensor *t = &tensors_table[which];
        buffers[count++] = (gg_buffer){t->name, pointer_of(tensors, t->offset),
                                       tensor_bytes(p, which, which == X && permutes & GG_PERMUTE_X),
                                       i >= OUT ? GG_BUFFER_OUT : GG_BUFFER_IN};
    }
    buffers[count++] = (gg_buffer){"m_sizes", tensors->m_sizes, (size_t)p->E * 4, GG_BUFFER_IN};
    if (permutes)
        buffers[count++] = (gg_buffer){"gather_indices", tensors->gather_indices, M * 4, GG_BUFFER_IN};
    if (p->fusions & GG_FUSE_MUL_POST)
        buffers[count++] = (gg_buffer){"topk_weights", tensors->topk_weights, M * 4, GG_BUFFER_IN};
    if (drawn) buffers[count++] = (gg_buffer){"tile counter", drawn, sizeof *drawn, GG_BUFFER_INOUT};
    return count;
}

/* --- launching --- */

/* Division by multiplication, exact for slots below 2^31: with topk <= 2^l the reciprocal is 2^(31 + l) / topk, rounded up by e / topk
 * with e <= 2^l, so that a slot's error, slot * e / 2^(31 + l) / topk, is below 1 / topk (Granlund and Montgomery 1994). */
static void set_topk(gemm_params *params, int32_t topk) {
    uint32_t l = 0;
    while (1u << l < (uint32_t)topk) l++;
    params->topk_shift = 31 + l;
    params->topk_reciprocal = (uint32_t)((1ull << (31 + l)) / (uint32_t)topk + 1);
}

/* A kernel over rows, `entry` of the file of that name: a thread a chunk of 16 bytes, in 8 blocks a multiprocessor at most,
 * 2048 threads. The caller has set the parameters and buffers of `spec`, and whether it overlaps. */
enum { CHUNK_VALUES = 8, CHUNK_THREADS = 256, CHUNK_BLOCKS_PER_SM = 8 };
static gg_status launch_over_rows(gg_context *context, const char *entry, gg_dtype dtype, int64_t chunks,
                                  gg_launch_spec spec, gg_stream stream) {
    const int64_t blocks = (chunks + CHUNK_THREADS - 1) / CHUNK_THREADS;
    const int64_t most = (int64_t)CHUNK_BLOCKS_PER_SM * gg_get_device(context)->sm_count;
    char file[32], macros[16];
    gg_kernel *kernel;
    snprintf(file, sizeof file, "%s.cu", entry);
    snprintf(macros, sizeof macros, "DTYPE=%d", (int)dtype);
    const gg_source source = {
        .files = gg_embedded_sources, .root = file, .macros = macros, .debug = context->debug};
    gg_status status = gg_context_kernel(context, &source, entry, &kernel);
    if (status) return status;
    spec.grid = (uint32_t)(blocks < most ? blocks : most);
    spec.threads = CHUNK_THREADS;
    spec.label = file;
    spec.waits = true;
    return gg_fail_backend(context, context->backend->ops->launch(context->backend, kernel, &spec, stream),
                           entry);
}

/* Into the workspace, in expert order. */
static gg_status copy_rows(gg_context *context, const gg_plan *plan, const gg_tensors *tensors,
                           gg_stream stream, bool overlaps) {
    const gg_problem *p = &plan->problem;
    const int which = plan->copied & GG_PERMUTE_X ? X : DY;
    const struct tensor *t = &tensors_table[which];
    const copy_rows_params params = {
        .in = pointer_of(tensors, t->offset),
        .out = tensors->workspace,
        .gather_indices = tensors->gather_indices,
        .M = p->T * p->topk,
        .cols = t->columns_n ? p->N : p->K,
        .topk = which == X ? p->topk : 1,
    };
    const gg_buffer buffers[] = {
        {t->name, params.in, tensor_bytes(p, which, which == X), GG_BUFFER_IN},
        {"gather_indices", params.gather_indices, (size_t)params.M * 4, GG_BUFFER_IN},
        {"workspace", params.out, gg_workspace_bytes(p), GG_BUFFER_OUT},
    };
    const gg_launch_spec spec = {.params = &params,
                                 .params_bytes = sizeof params,
                                 .overlaps = overlaps,
                                 .buffers = buffers,
                                 .buffer_count = sizeof buffers / sizeof *buffers};
    const int64_t turns = (params.M + COPY_TURN - 1) / COPY_TURN;
    /* bits are copied, of whatever type */
    return launch_over_rows(context, "copy_rows", 0, turns * (params.cols / CHUNK_VALUES), spec, stream);
}

static gg_status launch(gg_context *context, const gg_plan *plan, const gg_tensors *given, gg_stream stream,
                        bool overlaps) {
    const gg_problem *p = &plan->problem;
    gg_tensors used = *given;
    const gg_tensors *tensors = &used;
    gg_backend *backend = context->backend;
    const gg_backend_ops *ops = backend->ops;
    gg_kernel *kernel;
    char label[GG_MACROS_SIZE + 64];
    if (plan->empty) {
        if (p->op != GG_DW) return GG_OK;
        gg_status status = check_pointer(context, "dw", tensors->dw, TENSOR_ALIGNMENT);
        if (status) return status;
        size_t bytes = (size_t)p->E * (size_t)p->N * (size_t)p->K * 2;
        return gg_fail_backend(context, ops->fill(backend, tensors->dw, 0, bytes, stream), "zeroing 'dw'");
    }
    gg_status status = check_tensors(context, p, tensors);
    if (!status && plan->copied) status = check_workspace(context, p, tensors);
    if (status) return status;
    if (plan->copied) *(plan->copied & GG_PERMUTE_X ? &used.x : &used.dy) = given->workspace;

    gemm_params params = {
        .m_sizes = tensors->m_sizes,
        .gather_indices = tensors->gather_indices,
        .topk_weights = tensors->topk_weights,
        .E = p->E,
        .N = p->N,
        .K = p->K,
        .M = p->T * p->topk,
    };
    set_topk(&params, p->topk);
    void *pointers[OPERANDS] = {0};
    tensor_map *maps[OPERANDS] = {&params.map_a, &params.map_b, &params.map_out, &params.map_first};
    tensor_map *short_maps[OPERANDS] = {&params.map_a_short, &params.map_b_short};
    for (int i = 0; i < operand_count(p); i++) {
        const int which = operand(p, i);
        const struct tensor *t = &tensors_table[which];
        pointers[i] = pointer_of(tensors, t->offset);
        if (!(plan->config.tma & t->tma)) continue;
        const bool ragged = !t->weights && (i >= OUT ? plan->ragged_stores : plan->ragged_loads);
        gg_tensor_map_spec spec = map_spec(plan, t, plan->box_rows[i], pointers[i]);
        if (ragged)
            spec = ragged_map_spec(pointers[i], spec.dims[0], spec.strides[0], spec.dims[1], spec.box[0],
                                   spec.box[1], spec.single_lines);
        if (p->fusions & GG_FUSE_SILU && which != X) spec = silu_map_spec(plan, which, pointers[i]);
        if ((status = gg_fail_backend(context, ops->tensor_map(backend, &spec, maps[i]), t->name)))
            return status;
        if (i >= OUT || t->weights || !plan->short_box_rows) continue; /* weights are loaded whole */
        spec.box[1] = plan->short_box_rows < spec.box[1] ? plan->short_box_rows : spec.box[1];
        if ((status = gg_fail_backend(context, ops->tensor_map(backend, &spec, short_maps[i]), t->name)))
            return status;
    }
    params.a = pointers[A];
    params.b = pointers[B];
    params.out = pointers[OUT];
    params.first = pointers[FIRST];

    gg_source source = gg_plan_source(plan, context->debug);
    gg_context_patch(context, &source);
    if ((status = gg_context_kernel(context, &source, plan->entry, &kernel))) return status;
    if (plan->draws_tiles && (status = gg_counters_take(context, stream, &params.drawn))) return status;
    snprintf(label, sizeof label, "%s %s", plan->source, plan->macros);
    if (plan->copied) {
        if ((status = copy_rows(context, plan, given, stream, overlaps))) return status;
        overlaps = context->overlaps;
    }
    gg_buffer buffers[BUFFERS];
    gg_launch_spec spec = {
        .grid = plan->grid,
        .threads = plan->threads,
        .smem_bytes = plan->smem_bytes,
        .params = &params,
        .params_bytes = sizeof params,
        .label = label,
        .waits = true,
        .overlaps = overlaps,
        .buffers = buffers,
        .buffer_count = list_buffers(plan, tensors, params.drawn, buffers),
    };
    status = gg_fail_backend(context, ops->launch(backend, kernel, &spec, stream), gg_op_name(p->op));
    /* a simulated launch may end in the middle */
    if (status && params.drawn) ops->fill(backend, params.drawn, 0, sizeof *params.drawn, stream);
    return status;
}

gg_status gg_launch(gg_context *context, const gg_plan *plan, const gg_tensors *tensors, gg_stream stream) {
    return launch(context, plan, tensors, stream, false);
}

bool gg_has_workspace(const gg_problem *p, const gg_tensors *tensors) {
    const size_t wanted = gg_workspace_bytes(p);
    return wanted && tensors->workspace && tensors->workspace_bytes >= wanted;
}

gg_status gg_run(gg_context *context, gg_op op, const gg_problem *problem, const gg_config *config,
                 const gg_tensors *tensors, gg_stream stream, bool overlaps) {
    gg_problem p = *problem;
    gg_config resolved;
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    p.op = op;
    if (!config) {
        resolved = gg_resolve_config(context, &p, gg_has_workspace(&p, tensors));
        config = &resolved;
    }
    gg_status status = gg_plan_make(&p, config, gg_get_device(context), &plan, reason);
    if (status) return gg_fail(context, status, "%s", reason);
    return launch(context, &plan, tensors, stream, overlaps);
}

gg_status gg_forward(gg_context *context, const gg_problem *problem, const gg_config *config,
                     const gg_tensors *tensors, gg_stream stream) {
    return gg_run(context, GG_FORWARD, problem, config, tensors, stream, false);
}

gg_status gg_dX(gg_context *context, const gg_problem *problem, const gg_config *config,
                const gg_tensors *tensors, gg_stream stream) {
    return gg_run(context, GG_DX, problem, config, tensors, stream, false);
}

gg_status gg_dW(gg_context *context, const gg_problem *problem, const gg_config *config,
                const gg_tensors *tensors, gg_stream stream) {
    return gg_run(context, GG_DW, problem, config, tensors, stream, false);
}

/* --- reduction and backward --- */

static gg_status reduce(gg_context *context, gg_dtype dtype, int64_t T, int32_t topk, int32_t K,
                        const void *dx_slots, void *dx_tokens, gg_stream stream, bool overlaps) {
    if ((unsigned)dtype >= GG_NUM_DTYPES || T < 0 || topk < 1 || K < CHUNK_VALUES || K % CHUNK_VALUES)
        return gg_fail(context, GG_ERR_ARGUMENT,
                       "bad shape for the top-k reduction: T %lld, topk %d, K %d (multiple of 8)",
                       (long long)T, topk, K);
    if (T == 0) return GG_OK;
    gg_status status = check_pointer(context, "dx_slots", dx_slots, TENSOR_ALIGNMENT);
    if (!status) status = check_pointer(context, "dx_tokens", dx_tokens, TENSOR_ALIGNMENT);
    if (status) return status;

    const reduce_params params = {.dx_slots = dx_slots, .dx_tokens = dx_tokens, .T = T, .topk = topk, .K = K};
    const size_t bytes = (size_t)T * (size_t)K * 2;
    const gg_buffer buffers[] = {{"dx_slots", dx_slots, bytes * (size_t)topk, GG_BUFFER_IN},
                                 {"dx_tokens", dx_tokens, bytes, GG_BUFFER_OUT}};
    const gg_launch_spec spec = {.params = &params,
                                 .params_bytes = sizeof params,
                                 .overlaps = overlaps,
                                 .buffers = buffers,
                                 .buffer_count = sizeof buffers / sizeof *buffers};
    return launch_over_rows(context, "reduce_topk", dtype, T * (K / CHUNK_VALUES), spec, stream);
}

gg_status gg_reduce_topk(gg_context *context, gg_dtype dtype, int64_t T, int32_t topk, int32_t K,
                         const void *dx_slots, void *dx_tokens, gg_stream stream) {
    return reduce(context, dtype, T, topk, K, dx_slots, dx_tokens, stream, false);
}

static bool reduces(const gg_problem *problem) {
    return (problem->fusions & GG_PERMUTE_X) && problem->topk > 1;
}

size_t gg_backward_workspace(const gg_problem *problem) {
    if (!reduces(problem) || problem->T <= 0 || problem->K <= 0) return 0;
    return (size_t)problem->T * (size_t)problem->topk * (size_t)problem->K * 2;
}

gg_status gg_backward(gg_context *context, const gg_problem *problem, const gg_config *config_dX,
                      const gg_config *config_dW, const gg_tensors *tensors, void *workspace,
                      gg_stream stream) {
    gg_tensors slots = *tensors;
    gg_status status;
    if (problem->fusions & GG_FUSE_MUL_POST)
        return gg_fail(context, GG_ERR_REFUSED, "fuse_mul_post in backward: it is for inference only");
    if (reduces(problem)) {
        /* an empty problem needs none */
        if (problem->T > 0 && (status = check_pointer(context, "workspace", workspace, TENSOR_ALIGNMENT)))
            return status;
        slots.dx = workspace;
    }
    if ((status = gg_dX(context, problem, config_dX, &slots, stream))) return status;
    if (reduces(problem)) {
        status = reduce(context, problem->dtype, problem->T, problem->topk, problem->K, workspace,
                        tensors->dx, stream, context->overlaps);
        if (status) return status;
    }
    return gg_run(context, GG_DW, problem, config_dW, tensors, stream, context->overlaps);
}
