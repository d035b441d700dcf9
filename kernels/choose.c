/* choose.c: which config a problem gets without tuning, and which a search tries; pure host code. */
#include "plan_internal.h"

enum {
    /* Rows of an expert, of an H200 as all that follows (NOTES.md, defaults): with routing's spread within one tile of 128 tokens, one
     * of 192, two of 256 */
    WGMMA_ROWS_OF_128 = 114,
    WGMMA_ROWS_OF_192 = 168,
    WGMMA_ROWS_OF_512 = 480,
    /* from which on 128 gathered tokens go with 256 weights; from which on dW has many, and where its x is gathered */
    WGMMA_GATHERED_ROWS = 92,
    WGMMA_DW_ROWS = 118,
    WGMMA_DW_ROWS_OF_X = 88,
    /* bytes of an expert's weights, which tiles of 128 tokens may read again and again, out of L2 */
    WEIGHTS_AT_HAND = 12 << 20,
    /* products in the time of a byte of memory; bytes in the 3 us of a small launch */
    FLOPS_PER_BYTE = 150,
    COPY_START = 12 << 20
};

/* Whether op and sizes are in range: before that nothing is looked up by the one or reckoned with the others. */
static bool is_possible(const gg_problem *p, const gg_device *device) {
    const gg_config simplest = {.mainloop = GG_REFERENCE};
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    return gg_plan_make(p, &simplest, device, &plan, reason) != GG_ERR_ARGUMENT;
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

/* Of wgmma: the sides of weights and tokens, or in dW of rows and columns. */
typedef struct sides {
    int weights, tokens, stages, warps;
} sides;

/* First what large problems like. */
static const sides search_wgmma[] = {{128, 192, 4, 8}, {256, 128, 4, 8}, {128, 256, 4, 8}, {128, 128, 6, 8},
                                     {256, 128, 3, 8}, {128, 256, 3, 8}, {128, 64, 8, 8},  {128, 64, 8, 4},
                                     {64, 128, 8, 4},  {64, 64, 8, 4}};

static gg_config config_of_sides(gg_op op, sides s, unsigned tma) {
    gg_config c = {.mainloop = GG_WGMMA, .num_warps = s.warps, .num_stages = s.stages, .tma = tma};
    c.block_m = op == GG_DW ? WGMMA_STEP : s.tokens;
    c.block_n = op == GG_DX ? WGMMA_STEP : s.weights;
    c.block_k = op == GG_FORWARD ? WGMMA_STEP : op == GG_DX ? s.weights : s.tokens;
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
    if (!is_possible(p, device)) return 0;
    const gg_problem plain = without_gathers(p);
    unsigned all = legal_tma(p, device), loads = all & ~(unsigned)GG_TMA_STORE;
    for (size_t i = 0; i < COUNT(search_wgmma); i++) {
        add_candidate(&s, config_of_sides(p->op, search_wgmma[i], all));
        if (loads != all) add_candidate(&s, config_of_sides(p->op, search_wgmma[i], loads));
        if (!workspace || !gathers(p)) continue;
        gg_config copying = config_of_sides(p->op, search_wgmma[i], legal_tma(&plain, device));
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

/* Routing gives half of the experts more rows than the average, half of them fewer, by about the root of how many there are that could
 * be elsewhere. */
static int64_t root(int64_t square) {
    int64_t root = 0;
    while (root * root < square) root++;
    return root;
}

/* Rows of a tile that are multiplied where an expert's are dealt out over so many: device/scheduler.h's EVEN_ROWS. */
static int64_t even_rows(int64_t rows, int64_t tiles) {
    return ceil_div(ceil_div(rows, tiles), WGMMA_SHORT_BOX) * WGMMA_SHORT_BOX;
}

/* What tiles of so many tokens and weights cost a multiprocessor: of 128 weights each the rows it has, in units of 32, and 64 more for
 * loading weights, of gathered rows as much as 192 at least; of 256 weights, which multiply 128 rows whether there or not, what was
 * measured beside those. Its share of all, and one more, since the last ones do not come out even. */
enum { COST_OF_WEIGHTS = 64, LEAST_GATHERED = 192, COST_OF_128_X_256 = 310 };
static int64_t cost_of_tokens(const gg_problem *p, const gg_device *device, int tokens, int weights) {
    const int64_t rows = p->T * p->topk / p->E, spread = root(rows);
    int64_t all = 0, widest = 0;
    for (int half = 0; half < 2; half++) {
        int64_t rows_here = half ? rows + spread : rows - spread, tiles = ceil_div(rows_here, tokens);
        int64_t used = even_rows(rows_here, tiles);
        if (gathers(p) && used < LEAST_GATHERED) used = LEAST_GATHERED;
        int64_t cost = weights == 256 ? COST_OF_128_X_256 : used + COST_OF_WEIGHTS;
        all += p->E * tiles * cost * ceil_div(p->op == GG_FORWARD ? p->N : p->K, weights) / 2;
        widest = cost > widest ? cost : widest;
    }
    return all / device->sm_count + widest;
}

/* Nanoseconds of a launch on an H200, and of a tile: of each step and at its end, of any tile and of a whole one of 128 x 256 more.
 * Fitted to the times of 3024 products of up to 16,384 rows, each in 11 to 13 tiles (NOTES.md). */
enum { LAUNCH_NS = 6800 };
static int64_t tile_ns(const gg_problem *p, int64_t rows, int64_t cols, int64_t steps) {
    const bool dW = p->op == GG_DW, scatters = p->fusions & op_roles[p->op].scatter_out;
    const int64_t area = rows * cols, whole = 128 * 256;
    const int64_t gathering = !gathers(p) ? 0 : dW ? 125 : 25;
    return steps * (175 + gathering + (dW ? 410 : 350) * area / whole) + 500 +
           (scatters ? 1900 : 1100) * area / whole;
}

/* A product cut into tiles: how many, and its time as far as multiprocessors decide it, each of which does one tile after the other. */
typedef struct cut {
    int64_t tiles, ns;
} cut;
static cut dW_cut_into(const gg_problem *p, const gg_device *device, int rows, int cols) {
    const int64_t tiles = p->E * ceil_div(p->N, rows) * ceil_div(p->K, cols);
    const int64_t steps = ceil_div(p->T * p->topk, p->E * (int64_t)WGMMA_STEP);
    return (cut){tiles, LAUNCH_NS + ceil_div(tiles, device->sm_count) * tile_ns(p, rows, cols, steps)};
}
static cut rows_cut_into(const gg_problem *p, const gg_device *device, int rows, int cols) {
    const int64_t M = p->T * p->topk, experts = min64(p->E, M), average = M < p->E ? 1 : M / p->E;
    const int64_t others =
        p->E > p->topk ? p->E - p->topk : 0; /* none where each token goes to all experts */
    const int64_t spread = root(average * others / p->E);
    const int64_t reduction = p->op == GG_FORWARD ? p->K : p->N, columns = p->op == GG_FORWARD ? p->N : p->K;
    int64_t tiles = 0, sum = 0, longest = 0; /* tiles and their times, each half as if it were all */
    for (int half = 0; half < 2; half++) {
        const int64_t here = half ? average + spread : average - spread; /* of an expert */
        if (here <= 0) continue;
        const int64_t row_tiles = ceil_div(here, rows);
        const int64_t used = wgmma_q_is_rows(p->op, rows, cols) ? even_rows(here, row_tiles) : rows;
        const int64_t count = experts * row_tiles * ceil_div(columns, cols);
        const int64_t ns = tile_ns(p, used, cols, ceil_div(reduction, WGMMA_STEP));
        tiles += count;
        sum += count * ns;
        longest = ns > longest ? ns : longest;
    }
    const int64_t turns = ceil_div(tiles, 2 * (int64_t)device->sm_count);
    return (cut){tiles / 2, LAUNCH_NS + (turns > 1 ? turns * (sum / tiles) : longest)};
}
static cut cut_into(const gg_problem *p, const gg_device *device, const gg_config *c) {
    int rows, cols, step;
    tile_shape(p->op, c, &rows, &cols, &step);
    return p->op == GG_DW ? dW_cut_into(p, device, rows, cols) : rows_cut_into(p, device, rows, cols);
}

/* Where a multiprocessor has so few tiles that the last ones decide, smaller ones may come out better. */
enum { FEW_TURNS = 4 };
static gg_config cut_smaller(const gg_problem *p, const gg_device *device, gg_config usual) {
    static const sides smaller[] = {
        {128, 192, 4, 8}, {128, 128, 6, 8}, {128, 64, 8, 4}, {64, 128, 8, 4}, {64, 64, 8, 4}};
    const cut as_usual = cut_into(p, device, &usual);
    int64_t least = as_usual.ns * 100 / 103; /* by 3%, or the usual one stays */
    gg_config best = usual;
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    if (as_usual.tiles > FEW_TURNS * (int64_t)device->sm_count) return usual;
    if (p->T == 0 || p->fusions & GG_FUSE_SILU) return usual;
    for (size_t i = 0; i < COUNT(smaller); i++) {
        if (smaller[i].tokens == 192 && gathers(p)) continue; /* four warps copy 128 rows at ease */
        const gg_config other = config_of_sides(p->op, smaller[i], usual.tma);
        const int64_t ns = cut_into(p, device, &other).ns;
        if (ns >= least || gg_plan_make(p, &other, device, &plan, reason)) continue;
        least = ns;
        best = other;
    }
    return best;
}

/* dW of many rows: the gathered operand on the side of 128, unless the other way needs fewer tiles, by a twentieth at least where it
 * would be gathered on the side of 256: a tile that N or K ends in takes nearly as long as a whole one. */
static gg_config dW_of_many_rows(const gg_problem *p, unsigned tma) {
    bool wide_rows = p->fusions & GG_PERMUTE_X;
    int64_t tiles[2]; /* of 128 rows and 256 columns, of 256 and 128 */
    for (int wide = 0; wide < 2; wide++)
        tiles[wide] = ceil_div(p->N, 128 << wide) * ceil_div(p->K, 256 >> wide);
    int64_t here = tiles[wide_rows], other = tiles[!wide_rows];
    if (gathers(p) ? other * 20 <= here * 19 : other < here) wide_rows = !wide_rows;
    const sides s = {wide_rows ? 256 : 128, wide_rows ? 128 : 256, 4, 8};
    return config_of_sides(p->op, s, tma);
}

/* On sm_90, where there are tiles enough. */
static gg_config usual_wgmma(const gg_problem *p, const gg_device *device) {
    /* few rows of dW are mostly output: with three stages there is room to store more at once */
    static const sides dW_of_few_rows = {128, 256, 3, 8}, narrow = {128, 128, 6, 8},
                       middle = {128, 192, 4, 8}, wide = {128, 256, 4, 8}, wide_weights = {256, 128, 4, 8};
    const int64_t rows = p->T * p->topk / p->E; /* of an expert */
    const unsigned tma = legal_tma(p, device);
    /* a block whose GEMM has silu_and_mul behind it gained nothing from wide tiles of gathered rows */
    const bool gathered = gathers(p) && !(p->fusions & GG_FUSE_SILU);
    if (p->op == GG_DW)
        return rows >= (p->fusions & GG_PERMUTE_X ? WGMMA_DW_ROWS_OF_X : WGMMA_DW_ROWS)
                   ? dW_of_many_rows(p, tma)
                   : config_of_sides(p->op, dW_of_few_rows, tma);
    /* few rows: the weights are the traffic, and a short side of tokens leaves them the ring */
    if (rows <= WGMMA_ROWS_OF_128)
        return config_of_sides(p->op, gathered && rows >= WGMMA_GATHERED_ROWS ? wide_weights : narrow, tma);
    if (rows <= WGMMA_ROWS_OF_192) return config_of_sides(p->op, middle, tma);
    /* More rows: as many tokens a tile as can be, so that weights are read as seldom; 192 where these come out better by 3%; where more
     * than one tile is needed 128 of gathered ones, which four warps copy at ease, if the weights are at hand. In forward of many
     * rows these gain nothing. */
    const bool at_hand = (int64_t)p->N * p->K * 2 <= WEIGHTS_AT_HAND;
    const int64_t cost_192 = cost_of_tokens(p, device, 192, 128) * 100 / 97;
    const int64_t cost_256 = cost_of_tokens(p, device, 256, 128);
    const int64_t least = min64(cost_192, cost_256);
    if (gathered && at_hand && rows > 256 && (p->op == GG_DX || rows < WGMMA_ROWS_OF_512) &&
        cost_of_tokens(p, device, 128, 256) < least)
        return config_of_sides(p->op, wide_weights, tma);
    return config_of_sides(p->op, cost_192 < cost_256 ? middle : wide, tma);
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
    if (!is_possible(p, device))
        return (gg_config){.mainloop = GG_REFERENCE}; /* for gg_plan_make to refuse the problem */
    if (workspace && device->cc == 90 && gg_workspace_bytes(p) && copying_pays(p)) {
        const gg_problem plain = without_gathers(p);
        gg_config copying = gg_default_config(&plain, device, false);
        copying.copy_rows = true;
        return copying;
    }
    if (device->cc == 90) return cut_smaller(p, device, usual_wgmma(p, device));
    /* the same, more roughly: where tiles of 128 leave half of the device idle */
    const int64_t tiles = p->E * ceil_div(p->N, 128) * ceil_div(p->K, 128);
    bool small = p->op == GG_DW ? p->N < 128 || p->K < 128 || tiles * 2 <= device->sm_count
                                : p->T * p->topk / p->E <= 64;
    gg_config c = small ? config_of_tile(p->op, 64, 64, 64, 4, 3, legal_tma(p, device))
                        : config_of_tile(p->op, 128, 128, 64, 8, 3, legal_tma(p, device));
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    if (gg_plan_make(p, &c, device, &plan, reason) == GG_ERR_REFUSED) /* a device with little shared memory */
        c = config_of_tile(p->op, 64, 64, 32, 4, 2, 0);
    return c;
}
