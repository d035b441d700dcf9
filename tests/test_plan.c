/* test_plan.c: the planner: every refusal gives its reason, every legal flag set of the seeds plans, sizes
 * add up. */
#include <unistd.h>

#include "planning.h"

/* One change to a legal triple per row, and words of the reason it must give. */
static void test_refusals(void **state) {
    (void)state;
    gg_plan out;
    char reason[GG_REASON_SIZE];
    assert_int_equal(plan(forward, small, hopper, &out, reason), GG_OK);
    assert_string_equal(reason, "");
#define CASE(status, words, ...)                                                                             \
    do {                                                                                                     \
        gg_problem p = forward;                                                                              \
        gg_config c = small;                                                                                 \
        gg_device d = hopper;                                                                                \
        __VA_ARGS__;                                                                                         \
        assert_int_equal(plan(p, c, d, &out, reason), status);                                               \
        if (!strstr(reason, words)) fail_msg("reason '%s' lacks '%s'", reason, words);                       \
    } while (0)
    CASE(GG_ERR_ARGUMENT, "N is 12", p.N = 12);
    CASE(GG_ERR_ARGUMENT, "K is 0", p.K = 0);
    CASE(GG_ERR_ARGUMENT, "E is 0", p.E = 0);
    CASE(GG_ERR_ARGUMENT, "topk is 0", p.topk = 0);
    CASE(GG_ERR_ARGUMENT, "T is -1", p.T = -1);
    CASE(GG_ERR_ARGUMENT, "32 bits", p.T = 1ll << 31);
    enum { MOST_ROWS = (INT32_MAX - RAGGED_BACK) / 2 }; /* coordinates of gate and up beside RAGGED_BACK */
    CASE(GG_OK, "", p.topk = 1; p.T = MOST_ROWS);
    CASE(GG_ERR_ARGUMENT, "at most 1056964607 rows", p.topk = 1; p.T = MOST_ROWS + 1);
    CASE(GG_ERR_ARGUMENT, "unknown op", p.op = GG_NUM_OPS);
    CASE(GG_ERR_ARGUMENT, "unknown dtype", p.dtype = GG_NUM_DTYPES);
    CASE(GG_ERR_ARGUMENT, "unknown fusion", p.fusions = 64);
    CASE(GG_ERR_ARGUMENT, "unknown tma", c.tma = 64);
    CASE(GG_ERR_ARGUMENT, "unknown mainloop", c.mainloop = GG_NUM_MAINLOOPS);
    CASE(GG_ERR_REFUSED, "permute_x with permute_y", p.fusions = GG_PERMUTE_X | GG_PERMUTE_Y);
    CASE(GG_ERR_REFUSED, "permute_x in the second", p.fusions = GG_PERMUTE_X; p.gemm = GG_GEMM_SECOND);
    CASE(GG_ERR_REFUSED, "permute_y in the first", p.fusions = GG_PERMUTE_Y; p.gemm = GG_GEMM_FIRST);
    CASE(GG_ERR_REFUSED, "fuse_mul_post without permute_y", p.fusions = GG_FUSE_MUL_POST);
    CASE(GG_ERR_REFUSED, "inference", p.fusions = GG_FUSE_MUL_POST | GG_PERMUTE_Y; p.op = GG_DX);
    CASE(GG_ERR_REFUSED, "first GEMM", p.fusions = GG_FUSE_MUL_POST; p.gemm = GG_GEMM_FIRST);
    CASE(GG_ERR_REFUSED, "use_tma_load_x with permute_x", p.fusions = GG_PERMUTE_X; c.tma = GG_TMA_LOAD_X);
    CASE(GG_ERR_REFUSED, "use_tma_load_x with permute_x", p.fusions = GG_PERMUTE_X; c.tma = GG_TMA_LOAD_X;
         p.op = GG_DW);
    CASE(GG_ERR_REFUSED, "use_tma_load_dy with permute_y", p.fusions = GG_PERMUTE_Y; c.tma = GG_TMA_LOAD_DY;
         p.op = GG_DX);
    CASE(GG_ERR_REFUSED, "use_tma_load_dy with permute_y", p.fusions = GG_PERMUTE_Y; c.tma = GG_TMA_LOAD_DY;
         p.op = GG_DW);
    CASE(GG_ERR_REFUSED, "use_tma_store with permute_y", p.fusions = GG_PERMUTE_Y; c.tma = GG_TMA_STORE);
    CASE(GG_ERR_REFUSED, "use_tma_store with permute_x", p.fusions = GG_PERMUTE_X; c.tma = GG_TMA_STORE;
         p.op = GG_DX);
    CASE(GG_ERR_REFUSED, "use_tma_load_dy in forward", c.tma = GG_TMA_LOAD_DY);
    CASE(GG_ERR_REFUSED, "use_tma_load_w in dW", c.tma = GG_TMA_LOAD_W; p.op = GG_DW);
    CASE(GG_ERR_REFUSED, "sm_90", c.tma = GG_TMA_STORE; d.cc = 80);
    CASE(GG_ERR_REFUSED, "sm_80", d.cc = 75);
    CASE(GG_ERR_REFUSED, "plain loads", c.tma = GG_TMA_STORE; c.mainloop = GG_REFERENCE);
    CASE(GG_ERR_REFUSED, "BLOCK_SIZE_N is 48", c.block_n = 48);
    CASE(GG_ERR_REFUSED, "num_warps is 3", c.num_warps = 3);
    CASE(GG_ERR_REFUSED, "num_stages is 1", c.num_stages = 1);
    CASE(GG_ERR_REFUSED, "too small for 8 warps", c.num_warps = 8);
    CASE(GG_ERR_REFUSED, "accumulators", c.block_m = c.block_n = 256);
    CASE(GG_ERR_REFUSED, "shared memory", c.block_m = c.block_n = 128; c.block_k = 256; c.num_warps = 8);
#undef CASE
}

/* The seeds' flag sets: 16 per op without regard to the GEMM's place. */
static void test_seed_flag_sets(void **state) {
    (void)state;
    static const unsigned loads[GG_NUM_OPS][2] = {
        {GG_TMA_LOAD_W, GG_TMA_LOAD_X}, {GG_TMA_LOAD_DY, GG_TMA_LOAD_W}, {GG_TMA_LOAD_DY, GG_TMA_LOAD_X}};
    static const unsigned permutes[] = {0, GG_PERMUTE_X, GG_PERMUTE_Y};
    for (int op = 0; op < GG_NUM_OPS; op++) {
        int legal = 0;
        for (int set = 0; set < 3 * 8; set++) {
            gg_problem p = forward;
            gg_config c = small;
            gg_plan out;
            char reason[GG_REASON_SIZE];
            p.op = (gg_op)op;
            p.fusions = permutes[set / 8];
            c.tma = (set & 1 ? loads[op][0] : 0) | (set & 2 ? loads[op][1] : 0) |
                    (set & 4 ? (unsigned)GG_TMA_STORE : 0);
            legal += gg_plan_make(&p, &c, &hopper, &out, reason) == GG_OK;
        }
        assert_int_equal(legal, 16);
    }
}

static void test_sizes(void **state) {
    (void)state;
    gg_plan out;
    char reason[GG_REASON_SIZE];
    assert_int_equal(plan(forward, small, hopper, &out, reason), GG_OK);
    assert_int_equal(out.threads, 128);
    assert_int_equal(out.smem_bytes, 2 * (32 + 32) * 32 * 2 + 16);
    assert_int_equal(out.grid, (200 / 32 + 8) * 8); /* row tiles for the worst routing x column tiles */
    assert_string_equal(out.source, "mma_sync.cu");
    assert_non_null(strstr(out.macros, "BLOCK_SIZE_M=32"));
    assert_false(out.empty);

    gg_problem empty = forward;
    empty.T = 0;
    assert_int_equal(plan(empty, small, hopper, &out, reason), GG_OK);
    assert_true(out.empty);

    gg_problem large = forward;
    large.T = 100000;
    assert_int_equal(plan(large, small, hopper, &out, reason), GG_OK);
    assert_true(out.grid > 0 && out.grid % hopper.sm_count == 0);

    gg_config reference = {.mainloop = GG_REFERENCE};
    assert_int_equal(plan(forward, reference, hopper, &out, reason), GG_OK);
    assert_string_equal(out.source, "reference.cu");
}

/* The same kernel serves every shape: only flags, type and config are in its identity. */
static void test_identity_is_free_of_sizes(void **state) {
    (void)state;
    gg_plan a, b;
    char reason[GG_REASON_SIZE];
    gg_problem other = forward;
    other.E = 3, other.N = 40, other.K = 328, other.T = 7, other.topk = 5;
    assert_int_equal(plan(forward, small, hopper, &a, reason), GG_OK);
    assert_int_equal(plan(other, small, hopper, &b, reason), GG_OK);
    assert_string_equal(a.macros, b.macros);
    other.dtype = GG_FP16;
    assert_int_equal(plan(other, small, hopper, &b, reason), GG_OK);
    assert_string_not_equal(a.macros, b.macros);
}

static void test_default_and_candidates_are_legal(void **state) {
    (void)state;
    static const unsigned fusions[] = {0, GG_PERMUTE_X, GG_PERMUTE_Y};
    gg_device ampere = hopper;
    ampere.cc = 80, ampere.smem_per_block = 101376;
    const gg_device *devices[] = {&hopper, &ampere};
    for (size_t d = 0; d < 2; d++)
        for (int op = 0; op < GG_NUM_OPS; op++)
            for (size_t f = 0; f < 3; f++) {
                gg_problem p = forward;
                p.op = (gg_op)op;
                p.fusions = fusions[f];
                for (int big = 0; big < 2; big++) {
                    if (big) p.T = 8192, p.N = 2048, p.K = 768;
                    gg_plan out;
                    char reason[GG_REASON_SIZE];
                    gg_config c = gg_default_config(&p, devices[d], false);
                    assert_int_equal(plan(p, c, *devices[d], &out, reason), GG_OK);
                    gg_config configs[16];
                    size_t n = gg_candidate_configs(&p, devices[d], false, configs, 16);
                    assert_true(n >= 16);
                    for (size_t i = 0; i < 16; i++)
                        assert_int_equal(plan(p, configs[i], *devices[d], &out, reason), GG_OK);
                }
            }
}

/* Any config is one for gg_plan_make to refuse the problem with; it comes at once, whatever the sizes. */
static void test_impossible_problems_have_no_candidates(void **state) {
    (void)state;
    const gg_op far = (gg_op)5000000; /* behind every table's end */
    const struct {
        gg_op op;
        int32_t E, topk;
        int64_t T;
        const char *words;
    } problems[] = {
        {GG_FORWARD, 1, 1, INT64_MAX, "T * topk"}, {GG_DX, 1, 1, INT64_MAX, "T * topk"},
        {GG_DW, 1, 2, INT64_MAX / 2, "T * topk"},  {far, 1, 1, 64, "unknown op"},
        {GG_FORWARD, 0, 1, 64, "E is 0"},
    };
    alarm(60);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        for (int workspace = 0; workspace < 2; workspace++) {
            gg_problem p = forward;
            gg_plan out;
            gg_config configs[4];
            char reason[GG_REASON_SIZE];
            p.op = problems[i].op, p.E = problems[i].E, p.topk = problems[i].topk, p.T = problems[i].T;
            const gg_config c = gg_default_config(&p, &hopper, workspace);
            assert_int_equal(plan(p, c, hopper, &out, reason), GG_ERR_ARGUMENT);
            assert_non_null(strstr(reason, problems[i].words));
            assert_int_equal(gg_candidate_configs(&p, &hopper, workspace, configs, 4), 0);
        }
    alarm(0);
}

static int ceil_div(int a, int b) { return (a + b - 1) / b; }

/* The value of a macro of a plan. */
static int macro(const gg_plan *plan, const char *name) {
    const char *at = strstr(plan->macros, name);
    assert_non_null(at);
    return atoi(at + strlen(name));
}

/* wgmma's layout of shared memory, counted as device/wgmma_tile.h does: what a kernel uses it asks for, the most that fits. */
static void test_wgmma_asks_for_what_it_uses(void **state) {
    (void)state;
    static const unsigned fusions[] = {0, GG_FUSE_SILU, GG_FUSE_SILU | GG_KEEP_FIRST};
    static const int sides[] = {64, 128, 192, 256};
    int planned = 0, one_by_one = 0, in_batches = 0;
    for (int i = 0; i < 3 * 3 * 4 * 4 * 2 * 7; i++) {
        const int op = i % 3, f = i / 3 % 3, a = sides[i / 9 % 4], b = sides[i / 36 % 4];
        const int warps = i / 144 % 2 ? 8 : 4, stages = 2 + i / 288;
        gg_problem p = forward;
        gg_config c = {.mainloop = GG_WGMMA, .num_warps = warps, .num_stages = stages, .tma = GG_TMA_STORE};
        gg_plan out;
        char reason[GG_REASON_SIZE];
        p.op = (gg_op)op, p.fusions = op == GG_FORWARD ? fusions[f] : 0;
        c.block_m = op == GG_DW ? 64 : a;
        c.block_n = op == GG_FORWARD ? b : op == GG_DX ? 64 : a;
        c.block_k = op == GG_FORWARD ? 64 : b;
        c.tma |= op == GG_FORWARD ? (unsigned)GG_TMA_LOAD_W : 0u;
        if (plan(p, c, hopper, &out, reason)) continue;
        const int consumers = warps / 4, share = a * b / (64 * 64) / consumers;
        const int of_piece = p.fusions & GG_KEEP_FIRST ? 2 : 1;
        const int pieces = macro(&out, " PIECES="), room = pieces / of_piece;
        const int batch = room >= share ? 1 : room, batches = ceil_div(share, batch), slots = room / batch;
        const int descriptions = stages + 2 + (slots - 1) / batches;
        const uint32_t used = (uint32_t)(stages * (a + b) * 128 + consumers * pieces * 8192 +
                                         descriptions * 32 + stages * 16 + consumers * slots * 16 + 8);
        assert_in_range(out.smem_bytes, used, hopper.smem_per_block);
        assert_int_equal(pieces % of_piece, 0);
        assert_in_range(room, 1, share + 1); /* one more than a share has is of use */
        /* another piece would not fit */
        if (room <= share)
            assert_true(out.smem_bytes + (uint32_t)(consumers * of_piece) * 8192 > hopper.smem_per_block);
        planned++;
        one_by_one += batch == 1;
        in_batches += batch > 1;
    }
    assert_true(planned > 200 && one_by_one > 100 && in_batches > 20);
}

/* wgmma alone draws its tiles from a counter; dW fetches its inputs ahead where experts have fewer than 128 rows on average, unless a
 * tile would have to ask for more than 32: of a window of 917,504 / (N + K), of all there are, of an expert if that is more. */
static void test_wgmma_draws_tiles_and_fetches_ahead(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        int64_t rows, more; /* of an expert; rows of all beside those */
        bool ahead;
        int N, K; /* 0: 2048 and 4096 */
    } rows[] = {
        {GG_FORWARD, 1, 0, false, 0, 0},
        {GG_FORWARD, 127, 0, false, 0, 0},
        {GG_FORWARD, 128, 0, false, 0, 0},
        {GG_FORWARD, 4096, 0, false, 0, 0},
        {GG_DX, 1, 0, false, 0, 0},
        {GG_DX, 127, 0, false, 0, 0},
        {GG_DX, 128, 0, false, 0, 0},
        {GG_DX, 4096, 0, false, 0, 0},
        {GG_DW, 0, 1, true, 0, 0},
        {GG_DW, 127, 0, true, 0, 0},
        {GG_DW, 127, 7, true, 0, 0},
        {GG_DW, 128, 0, false, 0, 0},
        {GG_DW, 4096, 0, false, 0, 0},
        /* 8 tiles of an expert */
        {GG_DW, 32, 7, true, 256, 128},
        {GG_DW, 33, 0, false, 256, 128},
        /* windows of 843 rows for 16 tiles, of 434 for 32; one tile for all 1000 */
        {GG_DW, 125, 0, false, 1024, 64},
        {GG_DW, 125, 0, true, 2048, 64},
        {GG_DW, 125, 0, false, 64, 64},
    };
    for (gg_mainloop mainloop = 0; mainloop < GG_NUM_MAINLOOPS; mainloop++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            const gg_config c = tiles_of_64(mainloop, 0);
            gg_problem p = forward;
            gg_plan out;
            char reason[GG_REASON_SIZE];
            p.op = rows[i].op;
            p.topk = 1;
            p.T = rows[i].rows * p.E + rows[i].more;
            p.N = rows[i].N ? rows[i].N : 2048;
            p.K = rows[i].K ? rows[i].K : 4096;
            assert_int_equal(plan(p, c, hopper, &out, reason), GG_OK);
            assert_int_equal(out.draws_tiles, mainloop == GG_WGMMA);
            if (mainloop == GG_WGMMA && macro(&out, " FETCHES_AHEAD=") != rows[i].ahead)
                fail_msg("row %zu", i);
        }
}

/* Warps store for the consumers where TMA loads both operands. */
static void test_wgmma_stores_by_warps_where_tma_loads(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned tma;
        int64_t rows; /* of an expert */
        int storers;
    } rows[] = {
        {GG_FORWARD, GG_TMA_LOAD_X | GG_TMA_LOAD_W, 1, 1},
        {GG_FORWARD, GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_STORE, 4096, 1},
        {GG_FORWARD, GG_TMA_LOAD_X | GG_TMA_STORE, 4096, 0},
        {GG_FORWARD, GG_TMA_LOAD_W | GG_TMA_STORE, 4096, 0},
        {GG_DX, GG_TMA_LOAD_DY | GG_TMA_LOAD_W, 1, 1},
        {GG_DX, GG_TMA_LOAD_DY | GG_TMA_STORE, 4096, 0},
        {GG_DX, GG_TMA_LOAD_W, 4096, 0},
        {GG_DW, GG_TMA_LOAD_DY | GG_TMA_LOAD_X, 1, 1},
        {GG_DW, GG_TMA_LOAD_DY | GG_TMA_LOAD_X | GG_TMA_STORE, 127, 1},
        {GG_DW, GG_TMA_LOAD_DY | GG_TMA_LOAD_X, 128, 1},
        {GG_DW, GG_TMA_LOAD_DY | GG_TMA_STORE, 127, 0},
        {GG_DW, GG_TMA_LOAD_DY | GG_TMA_STORE, 4096, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_problem p = forward;
        const gg_config c = tiles_of_64(GG_WGMMA, rows[i].tma);
        gg_plan out;
        char reason[GG_REASON_SIZE];
        p.op = rows[i].op;
        p.topk = 1;
        p.T = rows[i].rows * p.E;
        assert_int_equal(plan(p, c, hopper, &out, reason), GG_OK);
        if (macro(&out, " STORERS=") != rows[i].storers) fail_msg("row %zu", i);
        assert_true(out.ragged_loads == (p.op == GG_DW) && out.ragged_stores == (p.op != GG_DW));
    }
}

/* Where an expert's rows are one tile its weights are read once: forward of 96 rows an expert and fewer. */
static void test_wgmma_asks_for_weights_by_lines(void **state) {
    static const struct {
        gg_op op;
        int64_t T;
        bool by_lines;
    } rows[] = {{GG_FORWARD, 1, true},
                {GG_FORWARD, 8 * 97 / 2 - 1, true},
                {GG_FORWARD, 8 * 97 / 2, false},
                {GG_DX, 1, false},
                {GG_DW, 1, false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const gg_problem p = {.op = rows[i].op, .E = 8, .N = 2048, .K = 4096, .topk = 2, .T = rows[i].T};
        gg_plan out;
        char reason[GG_REASON_SIZE];
        const gg_config c = gg_default_config(&p, &hopper, false);
        assert_int_equal(gg_plan_make(&p, &c, &hopper, &out, reason), GG_OK);
        assert_int_equal(out.weights_by_lines, rows[i].by_lines);
    }
}

/* Without tuning where there are tiles enough, by the rows of an expert. Forward and dX: one tile of tokens while 128, then while 192
 * are enough, then 256, or 192 where these come out better; of gathered ones 128, with twice the weights, from 92 on, and of more than
 * 256 where that comes out better and an expert's weights are at most 12 MiB, in forward within two tiles of 256. dW of few rows: three
 * stages; of many the gathered operand on the side of 128, unless the other way needs fewer tiles: with a gather that would be on the
 * side of 256, a twentieth fewer. */
static void test_wgmma_defaults(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned fusions;
        int64_t rows; /* of an expert */
        int m, n, k, stages;
        int N, K, E; /* 0: 2048 and 4096, 64 */
    } rows[] = {
        {GG_FORWARD, 0, 0, 128, 128, 64, 6, 0, 0, 0},
        {GG_FORWARD, 0, 114, 128, 128, 64, 6, 0, 0, 0},
        {GG_FORWARD, 0, 115, 192, 128, 64, 4, 0, 0, 0},
        {GG_FORWARD, 0, 168, 192, 128, 64, 4, 0, 0, 0},
        {GG_FORWARD, 0, 169, 256, 128, 64, 4, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 91, 128, 128, 64, 6, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 92, 128, 256, 64, 4, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 114, 128, 256, 64, 4, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X | GG_FUSE_SILU, 114, 128, 128, 64, 6, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 115, 192, 128, 64, 4, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 168, 192, 128, 64, 4, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 169, 256, 128, 64, 4, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_Y, 92, 128, 128, 64, 6, 0, 0, 0},
        {GG_FORWARD, GG_PERMUTE_Y, 4096, 256, 128, 64, 4, 0, 0, 0},
        /* few tiles: 225 rows are one of 256 or two of 128, with less behind the others; 257 are two of 160 either way */
        {GG_FORWARD, 0, 209, 256, 128, 64, 4, 0, 0, 8},
        {GG_FORWARD, 0, 210, 192, 128, 64, 4, 0, 0, 8},
        {GG_FORWARD, 0, 273, 192, 128, 64, 4, 0, 0, 8},
        {GG_FORWARD, 0, 274, 256, 128, 64, 4, 0, 0, 8},
        /* which cost as much as two of 192 where they are gathered */
        {GG_FORWARD, GG_PERMUTE_X, 273, 256, 128, 64, 4, 0, 0, 8},
        /* one tile of 256 on average; three tiles of 128 or two of 160; four or two of 224 */
        {GG_FORWARD, GG_PERMUTE_X, 256, 256, 128, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X, 257, 128, 256, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X, 320, 128, 256, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, 0, 320, 256, 128, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X | GG_FUSE_SILU, 320, 256, 128, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_Y, 320, 256, 128, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X, 416, 256, 128, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X, 479, 128, 256, 64, 4, 1536, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X, 480, 256, 128, 64, 4, 1536, 2048, 0},
        /* 12 MiB, and a little more */
        {GG_FORWARD, GG_PERMUTE_X, 320, 128, 256, 64, 4, 3072, 2048, 0},
        {GG_FORWARD, GG_PERMUTE_X, 320, 256, 128, 64, 4, 3072, 2056, 0},
        {GG_DX, 0, 114, 128, 64, 128, 6, 0, 0, 0},
        {GG_DX, GG_PERMUTE_X, 92, 128, 64, 128, 6, 0, 0, 0},
        {GG_DX, GG_PERMUTE_Y, 91, 128, 64, 128, 6, 0, 0, 0},
        {GG_DX, GG_PERMUTE_Y, 92, 128, 64, 256, 4, 0, 0, 0},
        {GG_DX, GG_PERMUTE_Y, 114, 128, 64, 256, 4, 0, 0, 0},
        {GG_DX, GG_PERMUTE_Y, 115, 192, 64, 128, 4, 0, 0, 0},
        {GG_DX, GG_PERMUTE_Y, 169, 256, 64, 128, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_Y, 256, 256, 64, 128, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_Y, 257, 128, 64, 256, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_Y, 416, 256, 64, 128, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_Y, 512, 128, 64, 256, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_Y, 4096, 128, 64, 256, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_Y, 512, 128, 64, 256, 4, 2048, 3072, 0},
        {GG_DX, GG_PERMUTE_Y, 512, 256, 64, 128, 4, 2056, 3072, 0},
        /* 11 times 128 are six times 256 */
        {GG_DX, GG_PERMUTE_Y, 512, 256, 64, 128, 4, 2048, 1408, 0},
        {GG_DX, GG_PERMUTE_X, 512, 256, 64, 128, 4, 2048, 768, 0},
        {GG_DX, GG_PERMUTE_X, 4096, 256, 64, 128, 4, 0, 0, 0},
        {GG_DW, 0, 117, 64, 128, 256, 3, 0, 0, 0},
        {GG_DW, 0, 118, 64, 128, 256, 4, 0, 0, 0},
        {GG_DW, GG_PERMUTE_X, 87, 64, 128, 256, 3, 0, 0, 0},
        {GG_DW, GG_PERMUTE_X, 88, 64, 256, 128, 4, 0, 0, 0},
        {GG_DW, GG_PERMUTE_Y, 117, 64, 128, 256, 3, 0, 0, 0},
        {GG_DW, GG_PERMUTE_Y, 118, 64, 128, 256, 4, 0, 0, 0},
        {GG_DW, 0, 117, 64, 128, 256, 3, 2048, 1408, 0},
        /* 96 tiles of 128 x 256, 88 of 256 x 128 */
        {GG_DW, 0, 128, 64, 256, 128, 4, 2048, 1408, 0},
        {GG_DW, GG_PERMUTE_Y, 128, 64, 256, 128, 4, 2048, 1408, 0},
        {GG_DW, GG_PERMUTE_X, 128, 64, 256, 128, 4, 2048, 1408, 0},
        /* 88 and 96 */
        {GG_DW, 0, 128, 64, 128, 256, 4, 1408, 2048, 0},
        {GG_DW, GG_PERMUTE_Y, 128, 64, 128, 256, 4, 1408, 2048, 0},
        {GG_DW, GG_PERMUTE_X, 128, 64, 128, 256, 4, 1408, 2048, 0},
        /* 540 and 529; 529 and 540 */
        {GG_DW, 0, 128, 64, 256, 128, 4, 5760, 2880, 0},
        {GG_DW, GG_PERMUTE_Y, 128, 64, 128, 256, 4, 5760, 2880, 0},
        {GG_DW, GG_PERMUTE_X, 128, 64, 256, 128, 4, 5760, 2880, 0},
        {GG_DW, GG_PERMUTE_X, 128, 64, 256, 128, 4, 2880, 5760, 0},
        /* 20 and 19, 22 and 21; 19 and 20, 21 and 22 */
        {GG_DW, GG_PERMUTE_Y, 128, 64, 256, 128, 4, 256, 2432, 0},
        {GG_DW, GG_PERMUTE_Y, 128, 64, 128, 256, 4, 256, 2688, 0},
        {GG_DW, GG_PERMUTE_X, 128, 64, 128, 256, 4, 2432, 256, 0},
        {GG_DW, GG_PERMUTE_X, 128, 64, 256, 128, 4, 2688, 256, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_problem p = forward;
        p.op = rows[i].op;
        p.fusions = rows[i].fusions;
        p.topk = 1;
        p.E = rows[i].E ? rows[i].E : 64; /* so that no smaller tiles are better */
        p.T = rows[i].rows * p.E;
        p.N = rows[i].N ? rows[i].N : 2048;
        p.K = rows[i].K ? rows[i].K : 4096;
        const gg_config c = gg_default_config(&p, &hopper, false);
        if (c.mainloop != GG_WGMMA || c.block_m != rows[i].m || c.block_n != rows[i].n ||
            c.block_k != rows[i].k || c.num_stages != rows[i].stages || c.num_warps != 8)
            fail_msg("row %zu: %d x %d x %d, %d stages", i, c.block_m, c.block_n, c.block_k, c.num_stages);
        /* all that TMA can move of these problems */
        const unsigned gathers = p.fusions & GG_PERMUTE_X ? (unsigned)GG_TMA_LOAD_X : 0u;
        if (p.op == GG_FORWARD)
            assert_int_equal(c.tma,
                             (GG_TMA_LOAD_W | GG_TMA_LOAD_X | GG_TMA_STORE) &
                                 ~(gathers | (p.fusions & GG_PERMUTE_Y ? (unsigned)GG_TMA_STORE : 0u)));
    }
}

/* Smaller tiles where a multiprocessor would have few, as fitted to times on an H200: what more turns, or one of smaller tiles, take. */
static void test_wgmma_cuts_smaller(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned fusions;
        int E, N, K, topk;
        int64_t T;
        int m, n, k, warps, stages;
    } rows[] = {
        /* dW of one expert: 64, 96, 80, 128 tiles are one turn; of 72 of 128 x 256 none smaller are */
        {GG_DW, 0, 1, 128, 2048, 1, 8192, 64, 64, 64, 4, 8},
        {GG_DW, GG_PERMUTE_X, 1, 128, 2048, 1, 8192, 64, 64, 64, 4, 8},
        {GG_DW, 0, 1, 384, 2048, 1, 8192, 64, 128, 64, 4, 8},
        {GG_DW, 0, 1, 640, 2048, 1, 8192, 64, 128, 128, 8, 6},
        {GG_DW, GG_PERMUTE_Y, 1, 1024, 2048, 1, 8192, 64, 128, 128, 8, 6},
        {GG_DW, 0, 1, 1152, 2048, 1, 8192, 64, 128, 256, 8, 4},
        /* more experts */
        {GG_DW, 0, 2, 1024, 1024, 1, 2048, 64, 128, 128, 8, 6},
        {GG_DW, 0, 4, 1024, 1024, 1, 4096, 64, 128, 256, 8, 4},
        {GG_FORWARD, 0, 1, 1024, 1024, 1, 128, 64, 64, 64, 4, 8},
        {GG_FORWARD, 0, 4, 1024, 1024, 1, 512, 64, 128, 64, 4, 8},
        {GG_FORWARD, 0, 8, 1024, 1024, 1, 1024, 128, 128, 64, 8, 6},
        {GG_FORWARD, 0, 16, 1024, 1024, 1, 2048, 192, 128, 64, 8, 4},
        /* 1024 rows of each expert whatever the routing; 512 with its spread, of which tiles of 128 make a turn too many */
        {GG_FORWARD, 0, 2, 2048, 1024, 2, 1024, 128, 128, 64, 8, 6},
        {GG_FORWARD, 0, 4, 1024, 2048, 2, 1024, 192, 128, 64, 8, 4},
        {GG_FORWARD, GG_PERMUTE_X, 2, 512, 1024, 2, 1024, 64, 128, 64, 4, 8},
        {GG_FORWARD, GG_PERMUTE_Y, 8, 128, 2048, 2, 1024, 64, 64, 64, 4, 8},
        {GG_FORWARD, 0, 8, 2048, 2048, 1, 1, 128, 64, 64, 4, 8}, /* one row */
        {GG_DX, 0, 1, 1024, 512, 1, 1024, 64, 64, 64, 4, 8},
        {GG_DX, GG_PERMUTE_Y, 1, 2048, 1024, 1, 256, 64, 64, 64, 4, 8},
        {GG_DX, GG_PERMUTE_X, 4, 1536, 1024, 2, 256, 64, 64, 128, 4, 8},
        /* silu_and_mul's epilogue has tiles of its own */
        {GG_FORWARD, GG_FUSE_SILU, 1, 1024, 1024, 1, 128, 192, 128, 64, 8, 4},
        {GG_FORWARD, 0, 1, 1024, 1024, 1, 0, 128, 128, 64, 8, 6}, /* no rows */
        {GG_DW, 0, 1, 1024, 1024, 1, 0, 64, 128, 256, 8, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const gg_problem p = {.op = rows[i].op,
                              .fusions = rows[i].fusions,
                              .E = rows[i].E,
                              .N = rows[i].N,
                              .K = rows[i].K,
                              .topk = rows[i].topk,
                              .T = rows[i].T};
        const gg_config c = gg_default_config(&p, &hopper, false);
        gg_plan out;
        char reason[GG_REASON_SIZE];
        if (c.block_m != rows[i].m || c.block_n != rows[i].n || c.block_k != rows[i].k ||
            c.num_warps != rows[i].warps || c.num_stages != rows[i].stages)
            fail_msg("row %zu: %d x %d x %d, %d warps, %d stages", i, c.block_m, c.block_n, c.block_k,
                     c.num_warps, c.num_stages);
        assert_int_equal(plan(p, c, hopper, &out, reason), GG_OK);
    }
}

/* Before sm_90 tiles of 64 in dW where those of 128 leave half of the device idle. */
static void test_older_devices_cut_smaller(void **state) {
    (void)state;
    static const struct {
        int E, N, K, tile;
    } rows[] = {{1, 128, 2048, 64},
                {1, 1024, 1024, 64},
                {1, 1024, 1152, 128},
                {8, 256, 1024, 128},
                {8, 64, 4096, 64}};
    gg_device ampere = hopper;
    ampere.cc = 80;
    ampere.sm_count = 132;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const gg_problem p = {
            .op = GG_DW, .E = rows[i].E, .N = rows[i].N, .K = rows[i].K, .topk = 1, .T = 4096};
        const gg_config c = gg_default_config(&p, &ampere, false);
        gg_plan out;
        char reason[GG_REASON_SIZE];
        if (c.mainloop != GG_MMA_SYNC || c.block_n != rows[i].tile || c.block_k != rows[i].tile)
            fail_msg("row %zu: %d x %d", i, c.block_n, c.block_k);
        assert_int_equal(plan(p, c, ampere, &out, reason), GG_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_seed_flag_sets),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_identity_is_free_of_sizes),
        cmocka_unit_test(test_default_and_candidates_are_legal),
        cmocka_unit_test(test_impossible_problems_have_no_candidates),
        cmocka_unit_test(test_wgmma_asks_for_what_it_uses),
        cmocka_unit_test(test_wgmma_draws_tiles_and_fetches_ahead),
        cmocka_unit_test(test_wgmma_asks_for_weights_by_lines),
        cmocka_unit_test(test_wgmma_stores_by_warps_where_tma_loads),
        cmocka_unit_test(test_wgmma_defaults),
        cmocka_unit_test(test_wgmma_cuts_smaller),
        cmocka_unit_test(test_older_devices_cut_smaller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
