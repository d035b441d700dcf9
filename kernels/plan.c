/* plan.c: turns a problem and a config into what will be launched, or refuses with a reason; pure host code.
 */
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "plan_internal.h"
#include "refuse.h"

enum {
    REFERENCE_THREADS = 256, /* fixed in device/reference.cu */
    REGISTERS_PER_SM = 65536,
    REGISTERS_BESIDE_ACC = 64,  /* addresses, fragments and the walk; the compiler's reports show 40 to 70 */
    MAX_ACC = 128,              /* accumulators a thread; more spills with 255 registers a thread */
    MAX_BLOCKS_PER_SM = 4,      /* more only adds starts: the kernels are persistent */
    BLOCK_SMEM_RESERVED = 1024, /* what the hardware keeps for itself per block */
    MAX_BOX_ROWS = 256,         /* of a tensor map's box */
    WGMMA_FEW_ROWS = 96,   /* of an expert in forward: with routing's spread well within one tile of 128 */
    WGMMA_MANY_ROWS = 128, /* of an expert in dW: none is fetched ahead */
    WGMMA_WINDOW_BYTES = 7 << 18,    /* of rows that dW fetches ahead */
    WGMMA_FETCHED_ROWS = 32,         /* that a tile may ask for: more hold it up */
    WGMMA_PIECE_ROWS = 64,           /* of a piece of output */
    WGMMA_STRIP_ROWS = 16,           /* of a warp's strip of it */
    WGMMA_BEGUN_BYTES = 32,          /* a tile's description */
    WGMMA_PIECE_BYTES = 64 * 64 * 2, /* staged output */
};

static const struct {
    unsigned bit;
    const char *name;
} fusion_names[] =
    {
#define X(name, value, text) {name, text},
        GG_FUSIONS(X)
#undef X
},
  tma_names[] = {
#define X(name, value, text) {name, text},
      GG_TMA_USES(X)
#undef X
};

static const char *name_of_tma(unsigned bits) {
    for (size_t i = 0; i < COUNT(tma_names); i++)
        if (bits & tma_names[i].bit) return tma_names[i].name;
    return "";
}

static const char *name_of_fusion(unsigned bits) {
    for (size_t i = 0; i < COUNT(fusion_names); i++)
        if (bits & fusion_names[i].bit) return fusion_names[i].name;
    return "";
}

static gg_status check_problem(const gg_problem *p, char reason[GG_REASON_SIZE]) {
    if ((unsigned)p->op >= GG_NUM_OPS) ARGUMENT("unknown op %d", (int)p->op);
    if ((unsigned)p->dtype >= GG_NUM_DTYPES) ARGUMENT("unknown dtype %d", (int)p->dtype);
    if (p->E < 1) ARGUMENT("E is %d; at least one expert is needed", p->E);
    if (p->topk < 1) ARGUMENT("topk is %d; each token needs at least one expert", p->topk);
    if (p->T < 0) ARGUMENT("T is %lld; it cannot be negative", (long long)p->T);
    if (p->T > MOST_ROWS / p->topk)
        ARGUMENT("T * topk is %lld x %d; at most %d rows are numbered in 32 bits", (long long)p->T, p->topk,
                 MOST_ROWS);
    if (p->N < 8 || p->N % 8) ARGUMENT("N is %d; it must be a positive multiple of 8", p->N);
    if (p->K < 8 || p->K % 8) ARGUMENT("K is %d; it must be a positive multiple of 8", p->K);
    unsigned known = GG_PERMUTE_X | GG_PERMUTE_Y | GG_FUSE_MUL_POST | GG_FUSE_SILU | GG_KEEP_FIRST,
             f = p->fusions;
    if (f & ~known) ARGUMENT("unknown fusion bits 0x%x", f & ~known);
    if ((f & GG_PERMUTE_X) && (f & GG_PERMUTE_Y))
        REFUSE("permute_x with permute_y: a GEMM gathers or scatters, not both");
    if ((f & GG_PERMUTE_X) && p->gemm == GG_GEMM_SECOND)
        REFUSE("permute_x in the second GEMM: its x is in expert order");
    if ((f & GG_PERMUTE_Y) && p->gemm == GG_GEMM_FIRST)
        REFUSE("permute_y in the first GEMM: its y stays in expert order");
    if (f & GG_FUSE_MUL_POST) {
        if (p->op != GG_FORWARD) REFUSE("fuse_mul_post in %s: it is for inference only", gg_op_name(p->op));
        if (p->gemm == GG_GEMM_FIRST) REFUSE("fuse_mul_post in the first GEMM: weights apply to the second");
        if (!(f & GG_PERMUTE_Y)) REFUSE("fuse_mul_post without permute_y: weights are in slot order");
    }
    if ((f & GG_KEEP_FIRST) && !(f & GG_FUSE_SILU))
        REFUSE("keep_first without fuse_silu: y is stored anyway");
    if (f & GG_FUSE_SILU) {
        if (p->op != GG_FORWARD) REFUSE("fuse_silu in %s: it follows forward", gg_op_name(p->op));
        if (p->gemm == GG_GEMM_SECOND || f & GG_PERMUTE_Y)
            REFUSE("fuse_silu in the second GEMM: it follows the first");
        if (p->N % 16) ARGUMENT("N is %d; with fuse_silu it must be a multiple of 16", p->N);
    }
    return GG_OK;
}

static gg_status check_tma(const gg_problem *p, const gg_config *c, const gg_device *device,
                           char reason[GG_REASON_SIZE]) {
    const roles *r = &op_roles[p->op];
    unsigned known = GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_LOAD_DY | GG_TMA_STORE;
    if (c->tma & ~known) ARGUMENT("unknown tma bits 0x%x", c->tma & ~known);
    unsigned meaningless = c->tma & ~(r->tma_a | r->tma_b | GG_TMA_STORE);
    if (meaningless) REFUSE("%s in %s: it loads no such tensor", name_of_tma(meaningless), gg_op_name(p->op));
    if ((c->tma & r->tma_a) && (p->fusions & r->gather_a))
        REFUSE("%s with %s: TMA cannot gather rows of %s before sm_100", name_of_tma(r->tma_a),
               name_of_fusion(r->gather_a), r->name_a);
    if ((c->tma & r->tma_b) && (p->fusions & r->gather_b))
        REFUSE("%s with %s: TMA cannot gather rows of %s before sm_100", name_of_tma(r->tma_b),
               name_of_fusion(r->gather_b), r->name_b);
    if ((c->tma & GG_TMA_STORE) && (p->fusions & r->scatter_out))
        REFUSE("use_tma_store with %s in %s: TMA cannot scatter rows before sm_100",
               name_of_fusion(r->scatter_out), gg_op_name(p->op));
    if (p->fusions & GG_FUSE_SILU) {
        if (c->mainloop != GG_WGMMA)
            REFUSE("fuse_silu with mainloop %s: only wgmma has it", gg_mainloop_name(c->mainloop));
        if (!(c->tma & GG_TMA_LOAD_W))
            REFUSE("fuse_silu without use_tma_load_w: TMA alone pairs gate and up");
    }
    if (c->tma && device->cc < 90)
        REFUSE("%s needs sm_90 or later, '%s' is sm_%d", name_of_tma(c->tma), device->name, device->cc);
    return GG_OK;
}

static bool is_block_size(int size) { return size == 32 || size == 64 || size == 128 || size == 256; }

/* How many warps share the tile's rows, the others its columns: the split with the most square warp tiles,
 * which loads the fewest fragments. Warp tiles are multiples of 16 x 16. 0: there is none. */
static int split_warps(int rows, int cols, int num_warps) {
    int best = 0, best_sum = 0;
    for (int warps_rows = 1; warps_rows <= num_warps; warps_rows *= 2) {
        int warp_rows = rows / warps_rows, warp_cols = cols / (num_warps / warps_rows);
        if (warp_rows % 16 || warp_cols % 16 || !warp_rows || !warp_cols) continue;
        if (!best || warp_rows + warp_cols < best_sum) {
            best = warps_rows;
            best_sum = warp_rows + warp_cols;
        }
    }
    return best;
}

/* Tiles that could exist for any routing. */
static int64_t most_tiles(const gg_problem *p, int rows, int cols) {
    int64_t M = p->T * p->topk;
    int64_t row_tiles = p->op == GG_DW ? p->E * ceil_div(p->N, rows) : M / rows + min64(p->E, M);
    return row_tiles * ceil_div(p->op == GG_FORWARD ? p->N : p->K, cols);
}

static void add_tile_macros(const gg_problem *p, const gg_config *c, int warps_rows, gg_plan *plan) {
    const roles *r = &op_roles[p->op];
    snprintf(
        plan->macros + strlen(plan->macros), GG_MACROS_SIZE - strlen(plan->macros),
        " BLOCK_SIZE_M=%d BLOCK_SIZE_N=%d BLOCK_SIZE_K=%d NUM_WARPS=%d WARPS_ROWS=%d NUM_STAGES=%d TMA_A=%d "
        "TMA_B=%d TMA_STORE=%d",
        c->block_m, c->block_n, c->block_k, c->num_warps, warps_rows, c->num_stages, !!(c->tma & r->tma_a),
        !!(c->tma & r->tma_b), !!(c->tma & GG_TMA_STORE));
}

static gg_status plan_mma_sync(const gg_problem *p, const gg_config *c, const gg_device *device,
                               gg_plan *plan, char reason[GG_REASON_SIZE]) {
    if (device->cc < 80) REFUSE("mma_sync needs sm_80 or later, '%s' is sm_%d", device->name, device->cc);
    const struct {
        const char *name;
        int size;
    } blocks[] = {{"M", c->block_m}, {"N", c->block_n}, {"K", c->block_k}};
    for (size_t i = 0; i < COUNT(blocks); i++)
        if (!is_block_size(blocks[i].size))
            REFUSE("BLOCK_SIZE_%s is %d; mma_sync takes 32, 64, 128 or 256", blocks[i].name, blocks[i].size);
    int w = c->num_warps;
    if (w != 1 && w != 2 && w != 4 && w != 8 && w != 16)
        REFUSE("num_warps is %d; mma_sync takes 1, 2, 4, 8 or 16", w);
    if (c->num_stages < 2 || c->num_stages > 8)
        REFUSE("num_stages is %d; mma_sync takes 2 to 8", c->num_stages);

    int rows, cols, step;
    tile_shape(p->op, c, &rows, &cols, &step);
    int warps_rows = split_warps(rows, cols, w);
    if (!warps_rows) REFUSE("output tile %dx%d is too small for %d warps of 16x16", rows, cols, w);
    int threads = w * 32, acc = rows * cols / threads;
    int acc_limit = (int)min64(MAX_ACC, REGISTERS_PER_SM / threads - REGISTERS_BESIDE_ACC);
    if (acc > acc_limit)
        REFUSE("output tile %dx%d needs %d accumulators a thread with %d warps; at most %d fit in registers",
               rows, cols, acc, w, acc_limit);
    int64_t ring = (int64_t)c->num_stages * (rows + cols) * step * 2, staged = (int64_t)rows * cols * 2;
    int64_t smem = (ring > staged ? ring : staged) + 8 * c->num_stages; /* and the stages' mbarriers */
    if (smem > device->smem_per_block)
        REFUSE("%d stages of this tile need %lld bytes of shared memory; '%s' has %u a block", c->num_stages,
               (long long)smem, device->name, device->smem_per_block);

    add_tile_macros(p, c, warps_rows, plan);
    plan->source = "mma_sync.cu";
    plan->threads = (uint32_t)threads;
    plan->smem_bytes = (uint32_t)smem;
    for (size_t i = 0; i < COUNT(plan->box_rows); i++) plan->box_rows[i] = MAX_BOX_ROWS;

    /* No more blocks than tiles could exist for any routing, nor than can be resident. */
    int64_t resident =
        min64(device->smem_per_sm / (smem + BLOCK_SMEM_RESERVED), device->threads_per_sm / threads);
    resident = min64(resident, REGISTERS_PER_SM / (threads * (acc + REGISTERS_BESIDE_ACC)));
    resident = min64(resident < 1 ? 1 : resident, MAX_BLOCKS_PER_SM);
    plan->grid = (uint32_t)min64(most_tiles(p, rows, cols), resident * device->sm_count);
    return GG_OK;
}

/* Rows that a tile of dW asks for ahead; the twin of device/wgmma_ahead.h. */
static int64_t rows_fetched_ahead(const gg_problem *p, int rows, int cols) {
    const int64_t M = p->T * p->topk, window = WGMMA_WINDOW_BYTES / 2 / ((int64_t)p->N + p->K);
    const int64_t at_once = window > M / p->E ? window : M / p->E;
    return min64(at_once, M) / (ceil_div(p->N, rows) * ceil_div(p->K, cols));
}

static gg_status plan_wgmma(const gg_problem *p, const gg_config *c, const gg_device *device, gg_plan *plan,
                            char reason[GG_REASON_SIZE]) {
    if (device->cc != 90) REFUSE("wgmma needs sm_90a, '%s' is sm_%d", device->name, device->cc);
    int rows, cols, step, w = c->num_warps;
    tile_shape(p->op, c, &rows, &cols, &step);
    bool q_is_rows = wgmma_q_is_rows(p->op, rows, cols);
    int p_size = q_is_rows ? cols : rows, q_size = q_is_rows ? rows : cols;
    if (w != 4 && w != 8)
        REFUSE("num_warps is %d; wgmma takes 4 or 8, one or two warpgroups of consumers", w);
    if (step != WGMMA_STEP)
        REFUSE("reduction block is %d; wgmma takes %d, one swizzle span", step, WGMMA_STEP);
    bool tokens_are_q = q_is_rows && p->op != GG_DW; /* loaded row by row, so that 192 are no trouble */
    if (q_size != 64 && q_size != 128 && q_size != 256 && !(q_size == 192 && tokens_are_q))
        REFUSE("output tile %dx%d: wgmma takes 64, 128%s or 256 %s", rows, cols, tokens_are_q ? ", 192" : "",
               q_is_rows ? "rows" : "columns");
    if (p_size != 64 && p_size != 128 && p_size != 256)
        REFUSE("output tile %dx%d: wgmma takes 64, 128 or 256 %s", rows, cols,
               q_is_rows ? "columns" : "rows");
    if (p_size < 16 * w) REFUSE("output tile %dx%d is too small for %d warps of wgmma", rows, cols, w);
    int acc = p_size * q_size / (w * 32);
    if (acc > MAX_ACC)
        REFUSE("output tile %dx%d needs %d accumulators a thread with %d warps; at most %d fit in registers",
               rows, cols, acc, w, MAX_ACC);
    if (c->num_stages < 2 || c->num_stages > 8) REFUSE("num_stages is %d; wgmma takes 2 to 8", c->num_stages);
    /* stages, descriptions of tiles, two numbers of tiles, barriers, of which a consumer has two a buffer; then each consumer's
     * buffers: for a piece at least, for its share and one more at most */
    int64_t share = p_size / (16 * w) * q_size / 64, least = p->fusions & GG_KEEP_FIRST ? 2 : 1;
    int64_t most = (share + 1) * least, piece = w / 4 * WGMMA_PIECE_BYTES;
    int64_t ring = (int64_t)c->num_stages * ((rows + cols) * step * 2 + 16) +
                   (c->num_stages + 3) * WGMMA_BEGUN_BYTES + 8 + w / 4 * most * 16;
    int64_t pieces = min64((device->smem_per_block - ring) / piece, most) / least * least;
    if (pieces < least) pieces = least;
    int64_t smem = ring + pieces * piece;
    if (smem > device->smem_per_block)
        REFUSE("%d stages of this tile need %lld bytes of shared memory; '%s' has %u a block", c->num_stages,
               (long long)smem, device->name, device->smem_per_block);
    add_tile_macros(p, c, 1, plan);
    /* Where TMA loads, warps are free to store. */
    unsigned loads = op_roles[p->op].tma_a | op_roles[p->op].tma_b;
    bool storers = (c->tma & loads) == loads;
    bool fetches_ahead = p->op == GG_DW && p->T * p->topk / p->E < WGMMA_MANY_ROWS &&
                         rows_fetched_ahead(p, rows, cols) <= WGMMA_FETCHED_ROWS;
    snprintf(plan->macros + strlen(plan->macros), GG_MACROS_SIZE - strlen(plan->macros),
             " PIECES=%d STORERS=%d FETCHES_AHEAD=%d%s", (int)pieces, storers, fetches_ahead,
             !(p->fusions & GG_FUSE_SILU) ? ""
             : p->fusions & GG_KEEP_FIRST ? " SILU=2"
                                          : " SILU=1");
    plan->source = "wgmma.cu";
    plan->threads = (uint32_t)(w + 4) * 32;
    plan->smem_bytes = (uint32_t)smem;
    plan->box_rows[0] = plan->box_rows[1] = MAX_BOX_ROWS;
    /* the twin of STRIPS in device/wgmma_tile.h */
    bool strips = !storers && !q_is_rows && !(p->fusions & GG_FUSE_SILU);
    plan->box_rows[2] = strips ? WGMMA_STRIP_ROWS : WGMMA_PIECE_ROWS;
    plan->short_box_rows = WGMMA_SHORT_BOX;
    /* Where most experts' rows are one tile weights are read about once, and nothing is won by fetching the next step's line along;
     * where other tiles read them again pairs are as fast or faster (NOTES.md). */
    plan->weights_by_lines = p->op == GG_FORWARD && p->T * p->topk / p->E <= WGMMA_FEW_ROWS;
    plan->draws_tiles = true;
    plan->ragged_loads = p->op == GG_DW;
    plan->ragged_stores = p->op != GG_DW;
    plan->grid = (uint32_t)min64(most_tiles(p, rows, cols), device->sm_count);
    return GG_OK;
}

static gg_status plan_reference(const gg_problem *p, const gg_config *c, const gg_device *device,
                                gg_plan *plan, char reason[GG_REASON_SIZE]) {
    if (c->tma) REFUSE("%s with mainloop reference: it uses plain loads and stores", name_of_tma(c->tma));
    /* device/tile.h wants tile macros; reference.cu does not use them */
    snprintf(plan->macros + strlen(plan->macros), GG_MACROS_SIZE - strlen(plan->macros),
             " BLOCK_SIZE_M=32 BLOCK_SIZE_N=32 BLOCK_SIZE_K=32 NUM_WARPS=8 WARPS_ROWS=2 NUM_STAGES=2 TMA_A=0 "
             "TMA_B=0 "
             "TMA_STORE=0");
    plan->source = "reference.cu";
    plan->threads = REFERENCE_THREADS;
    int64_t rows = p->op == GG_DW ? (int64_t)p->E * p->N : p->T * p->topk;
    int64_t elements = rows * (p->op == GG_FORWARD ? p->N : p->K);
    plan->grid = (uint32_t)min64(ceil_div(elements, REFERENCE_THREADS), 8ll * device->sm_count);
    return GG_OK;
}

static gg_status (*const planners[GG_NUM_MAINLOOPS])(const gg_problem *, const gg_config *, const gg_device *,
                                                     gg_plan *, char[GG_REASON_SIZE]) = {
    [GG_REFERENCE] = plan_reference,
    [GG_MMA_SYNC] = plan_mma_sync,
    [GG_WGMMA] = plan_wgmma,
};

gg_status gg_plan_make(const gg_problem *p, const gg_config *c, const gg_device *device, gg_plan *plan,
                       char reason[GG_REASON_SIZE]) {
    reason[0] = 0;
    gg_status status = check_problem(p, reason);
    if (status) return status;
    if ((unsigned)c->mainloop >= GG_NUM_MAINLOOPS) ARGUMENT("unknown mainloop %d", (int)c->mainloop);
    if (c->copy_rows && !gathers(p)) {
        const roles *r = &op_roles[p->op];
        REFUSE("copy_rows without %s%s%s in %s: no rows are gathered", name_of_fusion(r->gather_a),
               r->gather_b ? " or " : "", name_of_fusion(r->gather_b), gg_op_name(p->op));
    }
    const gg_problem multiplied = c->copy_rows ? without_gathers(p) : *p;
    status = check_tma(&multiplied, c, device, reason);
    if (status) return status;

    *plan = (gg_plan){.problem = *p,
                      .config = *c,
                      .entry = "grouped_gemm",
                      .copied = c->copy_rows ? gathers(p) : 0,
                      .empty = p->T == 0};
    snprintf(plan->macros, GG_MACROS_SIZE, "OP=%d DTYPE=%d PERMUTE_X=%d PERMUTE_Y=%d FUSE_MUL_POST=%d",
             (int)p->op, (int)p->dtype, !!(multiplied.fusions & GG_PERMUTE_X),
             !!(multiplied.fusions & GG_PERMUTE_Y), !!(multiplied.fusions & GG_FUSE_MUL_POST));
    return planners[c->mainloop](&multiplied, c, device, plan, reason);
}

size_t gg_workspace_bytes(const gg_problem *p) {
    if ((unsigned)p->op >= GG_NUM_OPS || p->T <= 0 || p->topk <= 0 || p->N <= 0 || p->K <= 0) return 0;
    const unsigned gathered = gathers(p);
    const int32_t columns = gathered & GG_PERMUTE_X ? p->K : gathered ? p->N : 0;
    return (size_t)p->T * (size_t)p->topk * (size_t)columns * 2;
}

gg_source gg_plan_source(const gg_plan *plan, bool debug) {
    return (gg_source){
        .files = gg_embedded_sources, .root = plan->source, .macros = plan->macros, .debug = debug};
}
