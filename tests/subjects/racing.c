/* racing.c: the positive control of determinism: a forward whose blocks add their shares of every sum to memory in the order
 * in which they come. Every order is right within the bounds of class real, but the bits differ. With IN_ORDER one block
 * adds the same shares in a fixed order: the twin that must not be reported. */
#include "own_kernel.h"

#include "device/params.h"

typedef struct racing_params {
    gemm_params gemm;
    float *sums; /* (M, N), zero */
    i32 shares, topk;
} racing_params;

static const char text[] =
    "#include \"tile.h\"\n"
    "typedef struct racing_params { gemm_params gemm; float *sums; i32 shares, topk; } racing_params;\n"
    "DEVICE void add(float *sum, float value) {\n"
    "#ifdef __CUDACC__\n"
    "    atomicAdd(sum, value);\n"
    "#else\n"
    "    *sum += value; /* threads switch only inside calls of the simulator */\n"
    "#endif\n"
    "}\n"
    "KERNEL(add_shares, racing_params, 256, 1) {\n"
    "    const gemm_params *g = &p.gemm;\n"
    "    for (i32 share = blockIdx.x; share < p.shares; share += gridDim.x) {\n"
    "        i64 begin = (i64)g->K * share / p.shares, end = (i64)g->K * (share + 1) / p.shares;\n"
    "        i32 expert = 0;\n"
    "        i64 first = 0;\n"
    "        for (i64 i = threadIdx.x; i < g->M * g->N; i += 256) {\n"
    "            i64 row = i / g->N, col = i % g->N;\n"
    "            while (row >= first + g->m_sizes[expert]) first += g->m_sizes[expert++];\n"
    "            i64 from = look_up(g, A_GATHER, row);\n"
    "            const u16 *a = g->a + (A_GATHER == GATHER_TOKEN ? from / p.topk : from) * g->K;\n"
    "            const u16 *w = g->b + ((i64)expert * g->N + col) * g->K;\n"
    "            float sum = 0.0f;\n"
    "            for (i64 k = begin; k < end; k++)\n"
    "                sum = fma_f32(float_from_dtype(a[k]), float_from_dtype(w[k]), sum);\n"
    "            add(&p.sums[i], sum);\n"
    "        }\n"
    "    }\n"
    "}\n"
    "KERNEL(round_sums, racing_params, 256, 1) {\n"
    "    const gemm_params *g = &p.gemm;\n"
    "    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < g->M * g->N; i += gridDim.x * 256ll)\n"
    "        g->out[gathered_row(g, OUT_GATHER, i / g->N) * g->N + i % g->N] = round_to_dtype(p.sums[i]);\n"
    "}\n";

static gg_status racing_plan(const gg_problem *problem, const gg_config *config, const gg_device *device,
                             char reason[GG_REASON_SIZE]) {
    if (problem->op == GG_FORWARD && !(problem->fusions & GG_FUSE_MUL_POST))
        return shipped_plan(problem, config, device, reason);
    snprintf(reason, GG_REASON_SIZE, "only a plain forward races");
    return GG_ERR_REFUSED;
}

static gg_status racing_launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                               const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
#ifdef IN_ORDER
    enum { BLOCKS = 1 };
#else
    enum { BLOCKS = 16 };
#endif
    static struct {
        void *memory;
        size_t bytes;
    } sums; /* grows; of one context, the only one of a worker */
    gg_backend *backend = gg_context_backend(context);
    gg_config reference = *config;
    gg_plan plan;
    reference.mainloop = GG_REFERENCE;
    reference.tma = 0;
    gg_status status = gg_plan_make(problem, &reference, gg_get_device(context), &plan, error);
    if (status || plan.empty) return status;
    const size_t bytes = (size_t)(problem->T * problem->topk * problem->N) * sizeof(float);
    if (bytes > sums.bytes) {
        if (sums.memory) backend->ops->free(backend, sums.memory);
        sums.bytes = 0;
        if ((status = backend->ops->alloc(backend, bytes, &sums.memory))) return status;
        sums.bytes = bytes;
    }
    if ((status = backend->ops->fill(backend, sums.memory, 0, bytes, stream))) return status;
    const racing_params params = {.gemm = {.a = tensors->x,
                                           .b = tensors->w,
                                           .out = tensors->y,
                                           .m_sizes = tensors->m_sizes,
                                           .gather_indices = tensors->gather_indices,
                                           .E = problem->E,
                                           .N = problem->N,
                                           .K = problem->K,
                                           .M = problem->T * problem->topk},
                                  .sums = sums.memory,
                                  .shares = 16,
                                  .topk = problem->topk};
    status = own_launch(context, text, "add_shares", plan.macros, BLOCKS, 256, &params, sizeof params, stream,
                        error);
    if (status) return status;
    return own_launch(context, text, "round_sums", plan.macros, 16, 256, &params, sizeof params, stream,
                      error);
}

const mg_subject *mg_subject_get(void);
const mg_subject *mg_subject_get(void) {
    static const mg_subject racing = {.abi = MG_SUBJECT_ABI,
#ifdef IN_ORDER
                                      .name = "in_order",
#else
                                      .name = "racing",
#endif
                                      .description = "sums in the order of the blocks",
                                      .plan = racing_plan,
                                      .launch = racing_launch};
    return &racing;
}
