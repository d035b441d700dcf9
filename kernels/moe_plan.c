/* moe_plan.c: what an MoE block consists of: its intermediates' places, its GEMMs' shapes and configs; pure host code. */
#include <stdio.h>

#include "moe_internal.h"
#include "refuse.h"

static gg_status check_problem(const gg_moe_problem *p, char reason[GG_REASON_SIZE]) {
    const struct {
        const char *name;
        int32_t size;
        bool zero;
    } sizes[] = {{"H", p->H, false}, {"I", p->I, false}, {"shared_I", p->shared_I, true}};
    unsigned known = GG_PERMUTE_X | GG_PERMUTE_Y | GG_FUSE_MUL_POST | GG_FUSE_SILU;
    if ((unsigned)p->dtype >= GG_NUM_DTYPES) ARGUMENT("unknown dtype %d", (int)p->dtype);
    if ((unsigned)p->score >= GG_NUM_SCORES) ARGUMENT("unknown score %d", (int)p->score);
    if (p->E < 1 || p->E > GG_MOE_MAX_E) ARGUMENT("E is %d; a block takes 1 to %d", p->E, GG_MOE_MAX_E);
    if (p->topk < 1 || p->topk > GG_MOE_MAX_TOPK || p->topk > p->E)
        ARGUMENT("topk is %d of %d experts; a block takes 1 to %d", p->topk, p->E, GG_MOE_MAX_TOPK);
    if (p->T < 0 || p->T > MOST_ROWS / p->topk)
        ARGUMENT("T * topk is %lld x %d; 0 to %d slots are numbered in 32 bits", (long long)p->T, p->topk,
                 MOST_ROWS);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int32_t size = sizes[i].size;
        if (size < 0 || size % 8 || (!size && !sizes[i].zero) || size > INT32_MAX / 2)
            ARGUMENT("%s is %d; it must be a positive multiple of 8", sizes[i].name, size);
    }
    if (p->fusions & ~known) ARGUMENT("unknown fusion bits 0x%x", p->fusions & ~known);
    if (p->weights_first && p->fusions & GG_PERMUTE_X)
        REFUSE("permute_x where weights come first: the rows are multiplied as they are copied");
    if (p->fusions & GG_FUSE_MUL_POST) {
        if (p->weights_first) REFUSE("fuse_mul_post where weights come first: they have been applied");
        if (p->training) REFUSE("fuse_mul_post in training: it is for inference only");
        if (!(p->fusions & GG_PERMUTE_Y))
            REFUSE("fuse_mul_post without permute_y: weights are in slot order");
    }
    return GG_OK;
}

/* --- the workspace --- */

bool gg_moe_keeps_first(const gg_moe_problem *p) { return p->training || !(p->fusions & GG_FUSE_SILU); }

bool gg_moe_supports_fuse_silu(const gg_device *device) { return device->cc == 90; }

gg_status gg_moe_plan(const gg_moe_problem *p, gg_moe_layout *layout, char reason[GG_REASON_SIZE]) {
    enum { ALIGNMENT = 256 };
    reason[0] = 0;
    gg_status status = check_problem(p, reason);
    if (status) return status;
    const int64_t M = p->T * p->topk;
    const gg_moe_place table[GG_MOE_NUM_BUFFERS] = {
#define X(name, text, row_count, column_count, size, when)                                                   \
    [GG_MOE_##name] = {.bytes = (when) ? (size_t)(row_count) * (size_t)(column_count) * (size) : 0,          \
                       .rows = (row_count),                                                                  \
                       .cols = (column_count),                                                               \
                       .element_bytes = (size)},
        GG_MOE_BUFFERS(X)
#undef X
    };
    *layout = (gg_moe_layout){0};
    for (int i = 0; i < GG_MOE_NUM_BUFFERS; i++) {
        layout->places[i] = table[i];
        layout->places[i].offset = layout->bytes;
        layout->bytes += (table[i].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return GG_OK;
}

const char *gg_moe_buffer_name(gg_moe_buffer buffer) {
    static const char *const names[] = {
#define X(name, text, rows, cols, bytes, when) [GG_MOE_##name] = text,
        GG_MOE_BUFFERS(X)
#undef X
    };
    return (unsigned)buffer < GG_MOE_NUM_BUFFERS ? names[buffer] : "unknown buffer";
}

/* --- kernels --- */

/* As many as leave a block for every multiprocessor of a large GPU. */
int gg_moe_tile_tokens(const gg_moe_problem *p) { return p->T <= 2048 ? 16 : p->T <= 4096 ? 32 : 64; }

int64_t gg_moe_tiles(const gg_moe_problem *p) {
    return (p->T + gg_moe_tile_tokens(p) - 1) / gg_moe_tile_tokens(p);
}

/* The twin of device/router.cu: all experts of `rows` tokens, by two groups of warps that are as square as they can be;
 * then logits and counts in the place of the ring. What a sum's order depends on, STEP and PANELS, goes with E alone. */
static void plan_router(const gg_moe_problem *p, const gg_device *device, gg_plan *plan) {
    enum { STEP = 64, GROUPS = 2, PAD = 8, WARP_OUTPUTS = 32 * 64, MIN_WARPS = 4, MAX_STAGES = 12 };
    enum { ENOUGH = 160 * 1024 }; /* bytes under way; leaves the next kernel's blocks room to start */
    int rows = gg_moe_tile_tokens(p), cols = 32, warps_rows = 1, best = 0;
    while (cols < p->E) cols *= 2;
    int panels = cols <= 64 ? 2 : 1; /* narrow tiles have little to do between two barriers */
    int stage = (rows + cols) * panels * STEP * 2;
    int room = device->smem_per_block < ENOUGH ? (int)device->smem_per_block : ENOUGH;
    int stages = room / stage < MAX_STAGES ? room / stage : MAX_STAGES;
    int most = rows / 16 * (cols / 16), warps = rows * cols / WARP_OUTPUTS;
    if (warps < MIN_WARPS) warps = most < MIN_WARPS ? most : MIN_WARPS;
    for (int r = 1; r <= warps && rows / r >= 16; r *= 2) {
        int warp_cols = cols / (warps / r), sides = rows / r + warp_cols;
        if (warp_cols < 16 || (best && sides >= best)) continue;
        best = sides;
        warps_rows = r;
    }
    int ring = stages * stage, logits = (rows * (cols + PAD) + GROUPS * warps * cols) * 4;
    plan->threads = (uint32_t)(GROUPS * warps) * 32;
    plan->smem_bytes = (uint32_t)(ring > logits ? ring : logits);
    snprintf(plan->macros, GG_MACROS_SIZE,
             "DTYPE=%d SCORE=%d OP=0 BLOCK_SIZE_M=%d BLOCK_SIZE_N=%d BLOCK_SIZE_K=%d NUM_WARPS=%d "
             "WARPS_ROWS=%d NUM_STAGES=%d PANELS=%d",
             (int)p->dtype, (int)p->score, rows, cols, STEP, warps, warps_rows, stages, panels);
}

static const struct {
    const char *entry, *source;
    bool unrolled, scored; /* has a macro TOPK, SCORE */
} kernels[GG_MOE_NUM_KERNELS] = {
#define X(name, text, file, has_topk, has_score)                                                             \
    [GG_MOE_##name] = {.entry = text, .source = file, .unrolled = has_topk, .scored = has_score},
    GG_MOE_KERNELS(X)
#undef X
};

void gg_moe_plan_kernel(const gg_moe_problem *p, const gg_device *device, gg_moe_kernel kernel,
                        gg_plan *plan) {
    enum { SORT_THREADS = 512, SORT_COUNTS = 8 * SORT_THREADS }; /* fixed in device/sort_slots.cu */
    char *at = plan->macros;
    *plan = (gg_plan){
        .source = kernels[kernel].source, .entry = kernels[kernel].entry, .threads = GG_MOE_ROW_OP_THREADS};
    if (kernel == GG_MOE_ROUTER) {
        plan_router(p, device, plan);
        return;
    }
    at += snprintf(at, GG_MACROS_SIZE, "DTYPE=%d", (int)p->dtype);
    if (kernels[kernel].unrolled) at += snprintf(at, 32, " TOPK=%d", p->topk);
    if (kernels[kernel].scored) at += snprintf(at, 32, " SCORE=%d", (int)p->score);
    if (kernel == GG_MOE_SORT_SLOTS) {
        plan->threads = SORT_THREADS;
        plan->smem_bytes = (SORT_COUNTS + GG_MOE_MAX_E + SORT_THREADS / 32) * 4;
    }
}

size_t gg_moe_kernel_plans(const gg_moe_problem *p, const gg_device *device,
                           gg_plan plans[GG_MOE_NUM_KERNELS]) {
    const bool permutes = !(p->fusions & GG_PERMUTE_X) || (p->training && !(p->fusions & GG_PERMUTE_Y));
    const bool needed[GG_MOE_NUM_KERNELS] = {
        [GG_MOE_ROUTER] = true,
        [GG_MOE_SORT_SLOTS] = true,
        [GG_MOE_PERMUTE] = permutes,
        [GG_MOE_SILU_AND_MUL] = !(p->fusions & GG_FUSE_SILU),
        [GG_MOE_SILU_AND_MUL_BACKWARD] = p->training,
        [GG_MOE_MERGE] = true,
        [GG_MOE_ROUTER_BACKWARD] = p->training,
        [GG_MOE_ROW_DOT] = p->training && p->weights_first,
    };
    size_t count = 0;
    for (int i = 0; i < GG_MOE_NUM_KERNELS; i++)
        if (needed[i]) gg_moe_plan_kernel(p, device, i, &plans[count++]);
    return count;
}

/* --- the GEMMs --- */

bool gg_moe_gemm_problem(const gg_moe_problem *p, gg_moe_gemm gemm, gg_op op, gg_problem *out) {
    const unsigned x = p->fusions & GG_PERMUTE_X, y = p->fusions & GG_PERMUTE_Y;
    const gg_problem shapes[GG_MOE_NUM_GEMMS] = {
        [GG_MOE_GEMM_FIRST] = {.gemm = GG_GEMM_FIRST, .fusions = x, .N = 2 * p->I, .K = p->H},
        [GG_MOE_GEMM_SECOND] = {.gemm = GG_GEMM_SECOND, .fusions = y, .N = p->H, .K = p->I},
        [GG_MOE_GEMM_SHARED_FIRST] = {.N = 2 * p->shared_I, .K = p->H},
        [GG_MOE_GEMM_SHARED_SECOND] = {.N = p->H, .K = p->shared_I},
        [GG_MOE_GEMM_ROUTER] = {.N = (p->E + 7) / 8 * 8, .K = p->H},
    };
    const bool routed = gemm == GG_MOE_GEMM_FIRST || gemm == GG_MOE_GEMM_SECOND;
    *out = shapes[gemm];
    out->op = op;
    out->dtype = p->dtype;
    out->E = routed ? p->E : 1;
    out->topk = routed ? p->topk : 1;
    out->T = p->T;
    if (gemm == GG_MOE_GEMM_SECOND && op == GG_FORWARD)
        out->fusions = p->fusions & (GG_PERMUTE_Y | GG_FUSE_MUL_POST);
    if ((gemm == GG_MOE_GEMM_FIRST || gemm == GG_MOE_GEMM_SHARED_FIRST) && op == GG_FORWARD &&
        p->fusions & GG_FUSE_SILU)
        out->fusions |= GG_FUSE_SILU | (p->training ? GG_KEEP_FIRST : 0u);
    if (gemm == GG_MOE_GEMM_SECOND && op != GG_FORWARD && y) {
        /* dy has a row a token, which all of its slots share: gathered by tokens, not by slots */
        out->gemm = GG_GEMM_ANY;
        out->topk = 1;
        out->T = p->T * p->topk;
    }
    if (op != GG_FORWARD && !p->training) return false;
    if (gemm == GG_MOE_GEMM_ROUTER) return op != GG_FORWARD;
    return routed || p->shared_I > 0;
}

void gg_moe_default_configs(const gg_moe_problem *p, const gg_device *device, gg_moe_configs *configs) {
    *configs = (gg_moe_configs){0};
    for (int gemm = 0; gemm < GG_MOE_NUM_GEMMS; gemm++)
        for (int op = 0; op < GG_NUM_OPS; op++) {
            gg_problem problem;
            if (gg_moe_gemm_problem(p, gemm, op, &problem))
                configs->of[gemm][op] = gg_default_config(&problem, device, false);
        }
}
