/* plan_internal.h: what the planner (plan.c) and the choice of a config (choose.c) both know; not installed. */
#ifndef GG_PLAN_INTERNAL_H
#define GG_PLAN_INTERNAL_H

#include "grouped_gemm.h"

enum {
    WGMMA_STEP = 64,      /* reduction a stage: one 128-byte swizzle span */
    WGMMA_SHORT_BOX = 32, /* rows of a box of what a tile may need in part */
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* The operand roles of each op; the twin of device/tile.h. */
typedef struct roles {
    unsigned tma_a, tma_b;       /* config bits that load a and b by TMA */
    unsigned gather_a, gather_b; /* fusions that gather their rows */
    unsigned scatter_out;        /* fusion that scatters the output's rows */
    const char *name_a, *name_b;
} roles;

static const roles op_roles[GG_NUM_OPS] = {
    [GG_FORWARD] = {GG_TMA_LOAD_X, GG_TMA_LOAD_W, GG_PERMUTE_X, 0, GG_PERMUTE_Y, "x", "w"},
    [GG_DX] = {GG_TMA_LOAD_DY, GG_TMA_LOAD_W, GG_PERMUTE_Y, 0, GG_PERMUTE_X, "dy", "w"},
    [GG_DW] = {GG_TMA_LOAD_DY, GG_TMA_LOAD_X, GG_PERMUTE_Y, GG_PERMUTE_X, 0, "dy", "x"},
};

/* The fusions of a problem that gather an operand's rows. */
static inline unsigned gathers(const gg_problem *p) {
    const roles *r = &op_roles[p->op];
    return p->fusions & (r->gather_a | r->gather_b);
}

/* What is left to multiply when these rows have been copied together. */
static inline gg_problem without_gathers(const gg_problem *p) {
    gg_problem plain = *p;
    plain.fusions &= ~gathers(p);
    return plain;
}

/* Which side of the output's tile is q, the instruction's columns; the twin of device/wgmma_tile.h. */
static inline bool wgmma_q_is_rows(gg_op op, int rows, int cols) {
    if (cols == 256 && rows < 256) return false;
    return op != GG_DW || rows == 256;
}

/* Output tile and reduction step of an op in terms of M, N, K; the twin of device/tile.h. */
static inline void tile_shape(gg_op op, const gg_config *c, int *rows, int *cols, int *step) {
    *rows = op == GG_DW ? c->block_n : c->block_m;
    *cols = op == GG_FORWARD ? c->block_n : c->block_k;
    *step = op == GG_FORWARD ? c->block_k : op == GG_DX ? c->block_n : c->block_m;
}

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

#endif
