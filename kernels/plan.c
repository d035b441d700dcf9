/* plan.c: turns a problem and a config into what will be launched, or refuses with a reason; pure host code.
 */
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "refuse.h"

enum {
    REFERENCE_THREADS = 256, /* fixed in device/reference.cu */
    REGISTERS_PER_SM = 65536,
    REGISTERS_BESIDE_ACC = 64,  /* addresses, fragments and the walk; the compiler's reports show 40 to 70 */
    MAX_ACC = 128,              /* accumulators a thread; more spills with 255 registers a thread */
    MAX_BLOCKS_PER_SM = 4,      /* more only adds starts: the kernels are persistent */
    BLOCK_SMEM_RESERVED = 1024, /* what the hardware keeps for itself per block */
    MAX_BOX_ROWS = 256,         /* of a tensor map's box */
    WEIGHTS_THAT_STAY = 32 << 20,    /* bytes of an expert, of some 50 MiB of L2 that several experts share */
    WGMMA_STEP = 64,                 /* reduction a stage: one 128-byte swizzle span */
    WGMMA_MANY_ROWS = 128,           /* of an expert in dW */
    WGMMA_PIECE_ROWS = 64,           /* of a piece of output */
    WGMMA_STRIP_ROWS = 16,           /* of a warp's strip of it */
    WGMMA_SHORT_BOX = 32,            /* rows of a box of what a tile may need in part */
    WGMMA_BEGUN_BYTES = 32,          /* a tile's description */
    WGMMA_PIECE_BYTES = 64 * 64 * 2, /* staged output */
    /* of an expert in forward and dX: with routing's spread still within one tile of 128, 192 */
    WGMMA_FEW_ROWS = 96,
    WGMMA_ROWS_OF_192 = 150,
    /* of an H200: products in the time of a byte of memory; bytes in the 3 us of a small launch */
    FLOPS_PER_BYTE = 150,
    COPY_START = 12 << 20
};

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

#define COUNT(table) (sizeof(table) / sizeof *(table))

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

/* Output tile and reduction step of an op in terms of M, N, K; the twin of device/tile.h. */
static void tile_shape(gg_op op, const gg_config *c, int *rows, int *cols, int *step) {
    *rows = op == GG_DW ? c->block_n : c->block_m;
    *cols = op == GG_FORWARD ? c->block_n : c->block_k;
    *step = op == GG_FORWARD ? c->block_k : op == GG_DX ? c->block_n : c->block_m;
}

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

/* The fusions of a problem that gather an operand's rows. */
static unsigned gathers(const gg_problem *p) {
    const roles *r = &op_roles[p->op];
    return p->fusions & (r->gather_a | r->gather_b);
}

/* What is left to multiply when these rows have been copied together. */
static gg_problem without_gathers(const gg_problem *p) {
    gg_problem plain = *p;
    plain.fusions &= ~gathers(p);
    return plain;
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

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

/* Which side of the output's tile is q, the instruction's columns; the twin of device/wgmma_tile.h. */
static bool wgmma_q_is_rows(gg_op op, int rows, int cols) {
    if (cols == 256 && rows < 256) return false;
    return op != GG_DW || rows == 256;
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
    bool fetches_ahead = p->op == GG_DW && p->T * p->topk / p->E < WGMMA_MANY_ROWS;
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

/* --- choosing a config --- */

/* Whether op and sizes are in range: before that nothing is looked up by the one or reckoned with the others. */
static bool is_possible(const gg_problem *p) {
    char reason[GG_REASON_SIZE];
    return check_problem(p, reason) != GG_ERR_ARGUMENT;
}

/* TMA uses that a problem allows on a device. */
static unsigned legal_tma(const gg_problem *p, const gg_device *device) {
    const roles *r = &op_roles[p->op];
    if (device->cc < 90) return 0;
    return (p->fusions & r->gather_a ? 0 : r->tma_a) | (p->fusions & r->gather_b ? 0 : r->tma_b) |
           (p->fusions & r->scatter_out ? 0 : (unsigned)GG_TMA_STORE);
}

/* The seeds' autotuning space, in the order of how often each point wins on large problems. */
static const struct {
    int rows, cols;
} search_tiles[] = {{128, 128}, {128, 256}, {64, 128}, {128, 64}, {64, 256}, {64, 64}};
static const struct {
    int step, warps, stages;
} search_loops[] = {{64, 8, 3},  {64, 4, 3},  {64, 8, 4},  {64, 4, 4},  {64, 8, 5},  {64, 4, 5},
                    {128, 8, 3}, {128, 4, 3}, {128, 8, 4}, {128, 4, 4}, {128, 8, 5}, {128, 4, 5},
                    {256, 8, 3}, {256, 4, 3}, {256, 8, 4}, {256, 4, 4}, {256, 8, 5}, {256, 4, 5}};

/* Of wgmma: the sides of weights and tokens, or in dW of rows and columns; first what large problems like. */
static const struct {
    int weights, tokens, stages;
} search_wgmma[] = {{128, 192, 4}, {256, 128, 4}, {128, 256, 4}, {128, 128, 6},
                    {256, 128, 3}, {128, 256, 3}, {128, 64, 8}};

static gg_config config_of_sides(gg_op op, int weights, int tokens, int stages, unsigned tma) {
    gg_config c = {.mainloop = GG_WGMMA, .num_warps = 8, .num_stages = stages, .tma = tma};
    c.block_m = op == GG_DW ? WGMMA_STEP : tokens;
    c.block_n = op == GG_DX ? WGMMA_STEP : weights;
    c.block_k = op == GG_FORWARD ? WGMMA_STEP : op == GG_DX ? weights : tokens;
    return c;
}

/* A config from the output tile and step, which mean different blocks in each op. */
static gg_config config_of_tile(gg_op op, int rows, int cols, int step, int warps, int stages, unsigned tma) {
    gg_config c = {.mainloop = GG_MMA_SYNC, .num_warps = warps, .num_stages = stages, .tma = tma};
    c.block_m = op == GG_DW ? step : rows;
    c.block_n = op == GG_FORWARD ? cols : op == GG_DX ? step : rows;
    c.block_k = op == GG_FORWARD ? step : cols;
    return c;
}

/* Candidates found so far; the legal ones are counted, as many as fit are kept. */
typedef struct search {
    const gg_problem *problem;
    const gg_device *device;
    gg_config *configs;
    size_t capacity, count;
} search;

static void add_candidate(search *s, gg_config config) {
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    if (gg_plan_make(s->problem, &config, s->device, &plan, reason)) return;
    if (s->count < s->capacity) s->configs[s->count] = config;
    s->count++;
}

size_t gg_candidate_configs(const gg_problem *p, const gg_device *device, bool workspace, gg_config *configs,
                            size_t capacity) {
    search s = {.problem = p, .device = device, .configs = configs, .capacity = capacity};
    if (!is_possible(p)) return 0;
    const gg_problem plain = without_gathers(p);
    unsigned all = legal_tma(p, device), loads = all & ~(unsigned)GG_TMA_STORE;
    for (size_t i = 0; i < COUNT(search_wgmma); i++) {
        const int sides[] = {search_wgmma[i].weights, search_wgmma[i].tokens, search_wgmma[i].stages};
        add_candidate(&s, config_of_sides(p->op, sides[0], sides[1], sides[2], all));
        if (loads != all) add_candidate(&s, config_of_sides(p->op, sides[0], sides[1], sides[2], loads));
        if (!workspace || !gathers(p)) continue;
        gg_config copying = config_of_sides(p->op, sides[0], sides[1], sides[2], legal_tma(&plain, device));
        copying.copy_rows = true;
        add_candidate(&s, copying);
    }
    for (size_t loop = 0; loop < COUNT(search_loops); loop++)
        for (size_t tile = 0; tile < COUNT(search_tiles); tile++) {
            gg_config c = config_of_tile(p->op, search_tiles[tile].rows, search_tiles[tile].cols,
                                         search_loops[loop].step, search_loops[loop].warps,
                                         search_loops[loop].stages, all);
            add_candidate(&s, c);
            c.tma = 0;
            if (all) add_candidate(&s, c);
        }
    return s.count;
}

/* What tiles of 128 weights and so many tokens cost a multiprocessor: each the rows it has, in units of 32, and 64 more for loading
 * weights; its share of all, and one more, since the last ones do not come out even. Half of the experts have more rows than the
 * average by the spread of routing, half have fewer. */
static int64_t cost_of_tokens(const gg_problem *p, const gg_device *device, int64_t rows, int tokens) {
    int64_t spread = 0, all = 0, widest = 0;
    while (spread * spread < rows) spread++;
    for (int half = 0; half < 2; half++) {
        int64_t rows_here = half ? rows + spread : rows - spread, tiles = ceil_div(rows_here, tokens);
        int64_t cost = ceil_div(ceil_div(rows_here, tiles), WGMMA_SHORT_BOX) * WGMMA_SHORT_BOX + 64;
        all += p->E * tiles * cost * ceil_div(p->op == GG_FORWARD ? p->N : p->K, 128) / 2;
        widest = cost > widest ? cost : widest;
    }
    return all / device->sm_count + widest;
}

/* dW of many rows: the gathered operand on the side of 128, unless the other way needs fewer tiles, by a twentieth at least where it
 * would be gathered on the side of 256: a tile that N or K ends in takes nearly as long as a whole one. */
static gg_config dW_of_many_rows(const gg_problem *p, unsigned tma) {
    bool wide_rows = p->fusions & GG_PERMUTE_X, gathers = p->fusions & (GG_PERMUTE_X | GG_PERMUTE_Y);
    int64_t tiles[2]; /* of 128 rows and 256 columns, of 256 and 128 */
    for (int wide = 0; wide < 2; wide++)
        tiles[wide] = ceil_div(p->N, 128 << wide) * ceil_div(p->K, 256 >> wide);
    int64_t here = tiles[wide_rows], other = tiles[!wide_rows];
    if (gathers ? other * 20 <= here * 19 : other < here) wide_rows = !wide_rows;
    return config_of_sides(p->op, wide_rows ? 256 : 128, wide_rows ? 128 : 256, 4, tma);
}

/* Whether copying the gathered rows together takes less time than gathering them on the way. Copying moves them twice, and the launch
 * and its start take as long as COPY_START bytes. Gathering costs dW 5% to 10%, forward and dX 4% where bytes decide, else 2%, as measured
 * (NOTES.md); copying must not lose, so that it is chosen a little later. */
static bool copying_pays(const gg_problem *p) {
    const double M = (double)p->T * p->topk, columns = gathers(p) & GG_PERMUTE_X ? p->K : p->N;
    const double read = gathers(p) & GG_PERMUTE_X ? (double)p->T : M;
    const double bytes = (M * p->N + M * p->K + (double)p->E * p->N * p->K) * 2; /* all in and out */
    const double products = M * p->N * p->K * 2 / FLOPS_PER_BYTE;
    const double copying =
        ((M + read) * columns * 2 + COPY_START) * 100 / (bytes > products ? bytes : products);
    return copying < (p->op == GG_DW ? 5 : bytes > products ? 3 : 2);
}

gg_config gg_default_config(const gg_problem *p, const gg_device *device, bool workspace) {
    if (!is_possible(p))
        return (gg_config){.mainloop = GG_REFERENCE}; /* for gg_plan_make to refuse the problem */
    if (workspace && device->cc == 90 && gg_workspace_bytes(p) && copying_pays(p)) {
        const gg_problem plain = without_gathers(p);
        gg_config copying = gg_default_config(&plain, device, false);
        copying.copy_rows = true;
        return copying;
    }
    int64_t rows_per_expert = p->E > 0 ? p->T * p->topk / p->E : 0;
    if (device->cc == 90) {
        unsigned tma = legal_tma(p, device);
        if (p->op == GG_DW) {
            if (rows_per_expert >= WGMMA_MANY_ROWS) return dW_of_many_rows(p, tma);
            /* few rows are mostly output: with three stages there is room to store more at once */
            return config_of_sides(p->op, 128, 256, 3, tma);
        }
        /* few rows: the weights are the traffic, and a short side of tokens leaves them the ring */
        if (rows_per_expert <= WGMMA_FEW_ROWS) return config_of_sides(p->op, 128, 128, 6, tma);
        if (rows_per_expert <= WGMMA_ROWS_OF_192) return config_of_sides(p->op, 128, 192, 4, tma);
        /* More rows: as many tokens a tile as can be, so that weights are read as seldom; but of gathered ones four warps can copy
         * 128 at ease, and in dX the weights of an expert stay in L2 meanwhile, unless K ends far inside a tile of 256. */
        bool stay = (int64_t)p->N * p->K * 2 <= WEIGHTS_THAT_STAY;
        bool ends = ceil_div(p->K, 256) * 256 * 32 > ceil_div(p->K, 128) * 128 * 33;
        if (p->op == GG_DX && p->fusions & GG_PERMUTE_Y && stay && !ends)
            return config_of_sides(p->op, 256, 128, 4, tma);
        /* so few tiles that the last ones decide */
        int64_t cost_192 = cost_of_tokens(p, device, rows_per_expert, 192);
        bool few_tiles = cost_192 * 100 < cost_of_tokens(p, device, rows_per_expert, 256) * 97;
        return config_of_sides(p->op, 128, few_tiles ? 192 : 256, 4, tma);
    }
    bool small = p->op == GG_DW ? p->N < 128 || p->K < 128 : rows_per_expert <= 64;
    gg_config c = small ? config_of_tile(p->op, 64, 64, 64, 4, 3, legal_tma(p, device))
                        : config_of_tile(p->op, 128, 128, 64, 8, 3, legal_tma(p, device));
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    if (gg_plan_make(p, &c, device, &plan, reason) == GG_ERR_REFUSED) /* a device with little shared memory */
        c = config_of_tile(p->op, 64, 64, 32, 4, 2, 0);
    return c;
}
