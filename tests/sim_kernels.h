/* sim_kernels.h: the shipped kernels, or patched copies of them, on small ragged problems under the race checker. */
#ifndef MG_SIM_KERNELS_H
#define MG_SIM_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mutants/mutants.h"

#include "backend/sim/options.h"

/* plan.c and launch.c over `mutant_sources` */
#define VARIANT checked
#define PLAN_C "plan.c"
#define LAUNCH_C "launch.c"
#include "mutants/variant.c"
#undef gg_embedded_sources
#include "mutants/apply.c"

extern const gg_source_file gg_embedded_sources[];

gg_source_file mutant_sources[MAX_SOURCES];

typedef struct ragged {
    int32_t E, N, K, topk, T;
    int32_t m_sizes[8]; /* sum T * topk */
} ragged;

typedef struct rig {
    char cache[64];
    gg_context *context;
    gg_tensors tensors;
    void *out;
    size_t out_bytes;
    void *memory[10];
    int count;
} rig;

static inline void rig_open(rig *r, bool race) {
    memset(r, 0, sizeof *r);
    strcpy(r->cache, "/tmp/moegemm-test-XXXXXX");
    assert_non_null(mkdtemp(r->cache));
    setenv("MOEGEMM_SIM_CHECK", race ? "race" : "", 1);
    assert_int_equal(gg_open(&r->context, &(gg_options){.backend = "sim", .cache_dir = r->cache}), GG_OK);
}

static inline void rig_clear(rig *r) {
    while (r->count) gg_free(r->context, r->memory[--r->count]);
}

static inline void rig_close(rig *r) {
    char command[128];
    rig_clear(r);
    gg_close(r->context);
    snprintf(command, sizeof command, "rm -rf %s", r->cache);
    assert_int_equal(system(command), 0);
}

static inline void *rig_alloc(rig *r, size_t bytes) {
    assert_true((size_t)r->count < sizeof r->memory / sizeof *r->memory);
    gg_backend *backend = gg_context_backend(r->context);
    assert_int_equal(gg_alloc(r->context, (bytes + 3) / 4 * 4, &r->memory[r->count]), GG_OK);
    assert_int_equal(gg_sim_backend.fill(backend, r->memory[r->count], 0, (bytes + 3) / 4 * 4, NULL), GG_OK);
    return r->memory[r->count++];
}

/* -1, 0 and 1 in bf16 or fp16 */
static inline void *rig_operand(rig *r, size_t count, gg_dtype dtype, uint64_t seed) {
    uint16_t *values = rig_alloc(r, count * 2 + 2);
    const uint16_t one = dtype == GG_BF16 ? 0x3f80 : 0x3c00;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int value = (int)(seed >> 60) % 3 - 1;
        values[i] = (uint16_t)(value ? one | (value < 0) << 15 : 0);
    }
    return values;
}

/* Tensors of one operation on a ragged problem. */
static inline gg_problem rig_problem(rig *r, const ragged *s, gg_op op, unsigned fusions, gg_dtype dtype) {
    size_t M = (size_t)s->T * (size_t)s->topk, N = (size_t)s->N, K = (size_t)s->K, E = (size_t)s->E;
    gg_gemm gemm = fusions & GG_PERMUTE_Y ? GG_GEMM_SECOND : GG_GEMM_FIRST;
    rig_clear(r);
    gg_tensors *t = &r->tensors;
    *t = (gg_tensors){.m_sizes = rig_alloc(r, E * 4),
                      .gather_indices = rig_alloc(r, M * 4 + 4),
                      .topk_weights = rig_alloc(r, M * 4 + 4)};
    memcpy((void *)(uintptr_t)t->m_sizes, s->m_sizes, E * 4);
    for (size_t i = 0; i < M; i++) {
        ((int32_t *)(uintptr_t)t->gather_indices)[i] = (int32_t)((i * 7919 + 13) % M);
        ((float *)(uintptr_t)t->topk_weights)[i] = 0.5f;
    }
    if (op != GG_DX) t->x = rig_operand(r, M * K, dtype, 1);
    if (op != GG_DW) t->w = rig_operand(r, E * N * K, dtype, 2);
    if (op != GG_FORWARD) t->dy = rig_operand(r, M * N, dtype, 3);
    r->out_bytes = (op == GG_FORWARD ? M * N : op == GG_DX ? M * K : E * N * K) * 2;
    r->out = rig_alloc(r, r->out_bytes + 2);
    if (op == GG_FORWARD) t->y = r->out;
    if (fusions & GG_FUSE_SILU) t->activation = rig_alloc(r, M * N + 2);
    if (op == GG_DX) t->dx = r->out;
    if (op == GG_DW) t->dw = r->out;
    const gg_problem problem = {.op = op,
                                .dtype = dtype,
                                .gemm = gemm,
                                .fusions = fusions,
                                .E = s->E,
                                .N = s->N,
                                .K = s->K,
                                .topk = s->topk,
                                .T = s->T};
    t->workspace_bytes = gg_workspace_bytes(&problem);
    if (t->workspace_bytes) t->workspace = rig_alloc(r, t->workspace_bytes);
    return problem;
}

static inline void use_sources(void) {
    for (size_t i = 0; i < MAX_SOURCES; i++) {
        mutant_sources[i] = gg_embedded_sources[i];
        if (!gg_embedded_sources[i].name) break;
    }
}

/* Launches the plan with a seed. */
static inline gg_status rig_launch(rig *r, const gg_plan *plan, uint64_t seed) {
    gg_backend *backend = gg_context_backend(r->context);
    gg_sim_options options = gg_sim_configured(backend);
    options.seed = seed;
    gg_sim_configure(backend, options);
    return checked_variant.launch(r->context, plan, &r->tensors, NULL);
}

#endif
