/* block_plans.c: the ways that a case computes its block, and the kernels it will load. */
#include "block.h"
#include "execute_internal.h"

#include <string.h>

gg_status mg_block_plan_ways(const mg_case *c, bool fuses, mg_block_way ways[2],
                             char reason[GG_REASON_SIZE]) {
    gg_status status = GG_OK;
    for (int i = 0; i < 2 && status == GG_OK; i++) {
        const unsigned fusions = c->fusions | (fuses && i == 0 ? GG_FUSE_SILU : 0u);
        ways[i].p = mg_block_problem(c->block, c->block_mode, fusions, c->dtype);
        status = gg_moe_plan(&ways[i].p, &ways[i].layout, reason);
    }
    return status;
}

/* Appends the plan of a config, unless it launches nothing. */
static size_t add_plan(const gg_problem *problem, const gg_config *config, const gg_device *device,
                       gg_plan *plans, size_t capacity, size_t count) {
    char reason[GG_REASON_SIZE];
    gg_plan plan;
    if (gg_plan_make(problem, config, device, &plan, reason) != GG_OK || plan.empty) return count;
    if (count < capacity) plans[count] = plan;
    return count + 1;
}

size_t mg_block_plans(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                      gg_plan *plans, size_t capacity) {
    enum { MAX_CANDIDATES = 512 };
    const bool reference = options->subject && !strcmp(options->subject, "reference");
    const gg_config naive = {.mainloop = GG_REFERENCE};
    mg_block_way ways[2];
    char reason[GG_REASON_SIZE];
    gg_moe_configs configs;
    gg_config candidates[MAX_CANDIDATES];
    gg_plan own[GG_MOE_NUM_KERNELS];
    if (mg_block_plan_ways(c, !reference && gg_moe_supports_fuse_silu(device), ways, reason)) return 0;
    /* the way that does silu_and_mul by itself has all kernels of its own */
    size_t count = ways[1].p.T ? gg_moe_kernel_plans(&ways[1].p, device, own) : 0;
    for (size_t i = 0; i < count && i < capacity; i++) plans[i] = own[i];
    gg_moe_default_configs(&ways[0].p, device, &configs);
    for (int gemm = 0; gemm < GG_MOE_NUM_GEMMS; gemm++)
        for (int op = 0; op < GG_NUM_OPS; op++) {
            const gg_config *config = reference ? &naive : &configs.of[gemm][op];
            gg_problem problem, other;
            if (op != GG_FORWARD && c->block_mode != MG_BLOCK_BACKWARD) continue;
            if (!gg_moe_gemm_problem(&ways[0].p, gemm, op, &problem)) continue;
            gg_moe_gemm_problem(&ways[1].p, gemm, op, &other);
            count = add_plan(&problem, config, device, plans, capacity, count);
            if (problem.fusions != other.fusions)
                count = add_plan(&other, config, device, plans, capacity, count);
            if (!c->function.autotune || reference) continue;
            size_t found = gg_candidate_configs(&problem, device, false, candidates, MAX_CANDIDATES);
            if (found > MAX_CANDIDATES) found = MAX_CANDIDATES;
            if (options->autotune_limit && found > options->autotune_limit) found = options->autotune_limit;
            for (size_t i = 0; i < found; i++)
                count = add_plan(&problem, &candidates[i], device, plans, capacity, count);
        }
    return count;
}
