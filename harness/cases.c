/* cases.c: the case table: which problem is run with which function, flags and config, and what each case is
 * called.
 *
 * The table is a list of blocks; a block is a product of axes over some problems. Blocks do not overlap, so
 * every id is unique (tests/test_cases.c). The first four are the seeds' matrix; the others are ours, chosen
 * so that every kernel variant meets every shape and every class of data within about two minutes on a GPU.
 */
#include "block.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* --- axes --- */

enum { MANUAL = 1, MANUAL_AUTOGRAD = 2, AUTOTUNE = 4, AUTOTUNE_AUTOGRAD = 8 }; /* masks over modes */
static const mg_function modes[] = {{.autotune = false, .autograd = false},
                                    {.autotune = false, .autograd = true},
                                    {.autotune = true, .autograd = false},
                                    {.autotune = true, .autograd = true}};

enum { PLAIN = 1, PERMUTE_X = 2, PERMUTE_Y = 4, TWICE = 8, MUL_POST = 16 }; /* masks over fusion_sets */
enum { PERMUTES = PLAIN | PERMUTE_X | PERMUTE_Y };
static const unsigned fusion_sets[] = {0, GG_PERMUTE_X, GG_PERMUTE_Y, GG_PERMUTE_X | GG_PERMUTE_Y,
                                       GG_PERMUTE_Y | GG_FUSE_MUL_POST};

enum { FORWARD = 1u << GG_FORWARD, DX = 1u << GG_DX, DW = 1u << GG_DW, BACKWARD = DX | DW };
enum { BF16 = 1u << GG_BF16, FP16 = 1u << GG_FP16 };
enum { EXACT = 1u << MG_EXACT, UNIT = 1u << MG_UNIT, REAL = 1u << MG_REAL, HOSTILE = 1u << MG_HOSTILE };
enum { ALL = EXACT | UNIT | REAL | HOSTILE };
enum {
    SMALL = MG_GROUP_SMALL,
    FIRST = MG_GROUP_FIRST,
    LARGE = MG_GROUP_LARGE,
    SHRUNK = MG_GROUP_SHRUNK,
    FULL = MG_GROUP_FULL,
    RAGGED = MG_GROUP_RAGGED,
    FAR = MG_GROUP_FAR,
    CROSS = MG_GROUP_CROSS
};

/* TMA uses of each op, and those that would have to gather or scatter rows under a permutation. */
static const struct {
    unsigned uses[3], not_with_permute_x, not_with_permute_y;
} op_tma[GG_NUM_OPS] = {
    [GG_FORWARD] = {{GG_TMA_LOAD_X, GG_TMA_LOAD_W, GG_TMA_STORE}, GG_TMA_LOAD_X, GG_TMA_STORE},
    [GG_DX] = {{GG_TMA_LOAD_W, GG_TMA_LOAD_DY, GG_TMA_STORE}, GG_TMA_STORE, GG_TMA_LOAD_DY},
    [GG_DW] = {{GG_TMA_LOAD_X, GG_TMA_LOAD_DY, GG_TMA_STORE}, GG_TMA_LOAD_X, GG_TMA_LOAD_DY},
};

/* Permutations by which an op gathers rows, which can be copied together instead. */
static const unsigned op_gathers[GG_NUM_OPS] = {
    [GG_FORWARD] = GG_PERMUTE_X, [GG_DX] = GG_PERMUTE_Y, [GG_DW] = GG_PERMUTE_X | GG_PERMUTE_Y};

/* Which of the legal sets of TMA uses a block takes. */
typedef enum tma_rule {
    TMA_NONE,
    TMA_EACH, /* every set, the empty one too */
    TMA_SOME, /* every set but the empty one */
    TMA_FULL, /* all legal uses together */
    TMA_ENDS, /* none, and all together */
    TMA_INNER /* one of the sets between those ends, another one for each problem */
} tma_rule;

/* Tiles of mma_sync; the first is the seeds' manual config. None has 1, 2 or 16 warps, because `-k w1` and
 * `-k w2` must mean the GEMM and nothing else. */
#define TILE(m, n, k, warps, stages)                                                                         \
    {                                                                                                        \
        .mainloop = GG_MMA_SYNC, .block_m = m, .block_n = n, .block_k = k, .num_warps = warps,               \
        .num_stages = stages                                                                                 \
    }
static const gg_config configs[] = {
    TILE(32, 32, 32, 4, 2),  TILE(64, 64, 64, 4, 3),  TILE(128, 128, 64, 8, 3),
    TILE(128, 64, 32, 4, 4), TILE(64, 128, 64, 8, 2), TILE(64, 32, 128, 4, 2),
    TILE(256, 64, 32, 8, 2), TILE(32, 64, 64, 4, 8),  TILE(64, 256, 32, 8, 3)};

/* Tiles of wgmma by two sides: that of the weights, or in dW of the rows, and that of the tokens, or in dW of the columns.
 * The reduction block is always 64. The first WGMMA_NUM_LARGE are for full sizes. */
enum { WGMMA_NUM_LARGE = 3 };
static const struct {
    int p, q, warps, stages;
} wgmma_tiles[] = {{128, 256, 8, 4}, {256, 128, 8, 4}, {128, 192, 8, 4}, {128, 128, 8, 6}, {64, 64, 4, 3},
                   {128, 256, 8, 3}, {128, 64, 8, 2},  {128, 64, 4, 4},  {128, 128, 4, 3}};

static gg_config wgmma_config(gg_op op, size_t tile) {
    int p = wgmma_tiles[tile].p, q = wgmma_tiles[tile].q;
    if (op == GG_DW && q > 128 && q % 128) q -= 64; /* only tokens come in tiles of 192 */
    gg_config c = {
        .mainloop = GG_WGMMA, .num_warps = wgmma_tiles[tile].warps, .num_stages = wgmma_tiles[tile].stages};
    c.block_m = op == GG_DW ? 64 : q;
    c.block_n = op == GG_DX ? 64 : p;
    c.block_k = op == GG_FORWARD ? 64 : op == GG_DX ? p : q;
    return c;
}

#define WGMMA(m, n, k, warps, stages)                                                                        \
    {                                                                                                        \
        .mainloop = GG_WGMMA, .block_m = m, .block_n = n, .block_k = k, .num_warps = warps,                  \
        .num_stages = stages                                                                                 \
    }

/* Which of them a block takes. */
typedef enum config_rule {
    SEEDS_TILE,
    LARGE_TILE = 2,
    ONE_TILE,    /* another one for each problem and set of flags */
    THREE_TILES, /* the same, and two more */
    WGMMA_TILE,  /* of wgmma: another one for each problem and set of flags */
    WGMMA_LARGE,
    NO_TILE /* the reference mainloop */
} config_rule;

/* With more experts a group has a few rows, and a tile of more than 32 only adds padding, which costs the
 * simulator. */
enum { MANY_EXPERTS = 16 };

/* --- blocks --- */

typedef struct block {
    unsigned in, not_in;      /* problems of any of these groups and none of those */
    unsigned ops;             /* 0: all */
    unsigned modes;           /* 0: MANUAL */
    unsigned fusions;         /* 0: PERMUTES; those that do not fit the problem's GEMM are left out */
    unsigned classes, dtypes; /* 0: EXACT, BF16 */
    tma_rule tma;
    config_rule config;
    bool copies; /* with copy_rows, so only where rows are gathered */
    bool halves; /* half of the problems with, the other half without their permutation */
    bool seeds;  /* what does not fit the problem's GEMM stays in, as a refusal */
} block;

static const block blocks[] = {
    /* the seeds' 4160 */
    {.in = SMALL, .ops = FORWARD | DW, .modes = MANUAL | MANUAL_AUTOGRAD, .tma = TMA_EACH, .seeds = true},
    {.in = FIRST, .ops = DX, .modes = MANUAL | MANUAL_AUTOGRAD, .tma = TMA_EACH, .seeds = true},
    {.in = LARGE, .modes = MANUAL | MANUAL_AUTOGRAD, .tma = TMA_EACH, .seeds = true},
    {.in = LARGE, .modes = AUTOTUNE | AUTOTUNE_AUTOGRAD, .fusions = PERMUTES | TWICE, .seeds = true},

    /* dX where the seeds leave it out, and their shrunk Llama-4 */
    {.in = SMALL, .not_in = FIRST, .ops = DX, .tma = TMA_EACH},
    {.in = SHRUNK, .ops = DX, .modes = MANUAL | MANUAL_AUTOGRAD, .tma = TMA_EACH},
    /* full sizes with a full-size tile */
    {.in = LARGE | SHRUNK | FULL, .tma = TMA_FULL, .config = LARGE_TILE},
    {.in = FULL, .config = LARGE_TILE, .halves = true},
    {.in = LARGE, .dtypes = FP16, .tma = TMA_FULL, .config = LARGE_TILE},
    {.in = FULL, .ops = FORWARD, .fusions = MUL_POST, .tma = TMA_FULL, .config = LARGE_TILE},

    /* the seeds' models with the other type and classes */
    {.in = SMALL, .classes = UNIT | REAL, .tma = TMA_ENDS, .config = ONE_TILE},
    {.in = SMALL, .classes = REAL, .dtypes = FP16, .tma = TMA_ENDS, .config = ONE_TILE},
    {.in = SMALL, .ops = BACKWARD, .dtypes = FP16, .tma = TMA_ENDS, .config = ONE_TILE},
    {.in = SMALL, .ops = FORWARD, .dtypes = FP16, .config = ONE_TILE},
    {.in = SMALL, .ops = FORWARD, .dtypes = FP16, .tma = TMA_FULL},

    /* routing weights in the epilogue */
    {.in = SMALL, .ops = FORWARD, .fusions = MUL_POST, .tma = TMA_ENDS},
    {.in = SMALL, .ops = FORWARD, .fusions = MUL_POST, .classes = UNIT | REAL, .config = ONE_TILE},
    {.in = SMALL, .ops = FORWARD, .fusions = MUL_POST, .dtypes = FP16, .config = ONE_TILE},
    {.in = LARGE, .ops = FORWARD, .fusions = MUL_POST, .tma = TMA_ENDS, .config = LARGE_TILE},
    {.in = RAGGED, .ops = FORWARD, .fusions = MUL_POST, .tma = TMA_ENDS},
    {.in = RAGGED, .ops = FORWARD, .fusions = MUL_POST, .classes = REAL, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .fusions = MUL_POST, .dtypes = FP16, .config = ONE_TILE},

    /* the naive kernel */
    {.in = SMALL | RAGGED, .fusions = PERMUTES | MUL_POST, .dtypes = BF16 | FP16, .config = NO_TILE},
    {.in = RAGGED, .fusions = PERMUTES | MUL_POST, .classes = REAL, .config = NO_TILE},
    {.in = SHRUNK, .config = NO_TILE},

    /* sizes off the tile and every distribution, with every tile; of forward with TMA just enough, for the
     * simulator's sake */
    {.in = RAGGED, .config = THREE_TILES},
    {.in = RAGGED, .ops = BACKWARD, .tma = TMA_SOME, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .tma = TMA_FULL, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .tma = TMA_INNER, .halves = true},
    {.in = RAGGED, .ops = BACKWARD, .dtypes = FP16, .tma = TMA_EACH, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .dtypes = FP16, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .dtypes = FP16, .tma = TMA_FULL, .halves = true},
    {.in = RAGGED, .ops = BACKWARD, .classes = UNIT | REAL, .tma = TMA_ENDS, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .classes = UNIT | REAL, .config = ONE_TILE},
    {.in = RAGGED, .ops = FORWARD, .classes = UNIT | REAL, .tma = TMA_FULL, .halves = true},
    {.in = RAGGED, .classes = UNIT | REAL, .dtypes = FP16, .config = ONE_TILE},
    {.in = RAGGED, .ops = BACKWARD, .classes = UNIT | REAL, .dtypes = FP16, .tma = TMA_FULL},
    {.in = RAGGED, .modes = MANUAL_AUTOGRAD, .config = ONE_TILE},
    {.in = RAGGED, .ops = BACKWARD, .modes = MANUAL_AUTOGRAD, .tma = TMA_FULL, .config = ONE_TILE},

    /* NaN and its like: what may spoil a result, and what may not */
    {.in = RAGGED, .fusions = PERMUTES | MUL_POST, .classes = HOSTILE, .tma = TMA_ENDS, .config = ONE_TILE},
    {.in = RAGGED,
     .fusions = PERMUTES | MUL_POST,
     .classes = HOSTILE,
     .dtypes = FP16,
     .config = ONE_TILE,
     .halves = true},
    {.in = RAGGED, .modes = MANUAL_AUTOGRAD, .classes = HOSTILE, .config = ONE_TILE, .halves = true},
    {.in = RAGGED, .classes = HOSTILE, .config = NO_TILE, .halves = true},

    /* wgmma: everything off the tile, every set of flags, every class; full sizes */
    {.in = RAGGED, .ops = FORWARD, .fusions = PERMUTES | MUL_POST, .config = WGMMA_TILE},
    {.in = RAGGED, .ops = FORWARD, .tma = TMA_FULL, .config = WGMMA_TILE, .halves = true},
    {.in = RAGGED, .ops = BACKWARD, .tma = TMA_EACH, .config = WGMMA_TILE},
    {.in = RAGGED, .ops = FORWARD, .dtypes = FP16, .config = WGMMA_TILE, .halves = true},
    {.in = RAGGED, .ops = BACKWARD, .dtypes = FP16, .tma = TMA_FULL, .config = WGMMA_TILE, .halves = true},
    {.in = RAGGED, .ops = FORWARD, .classes = REAL | HOSTILE, .config = WGMMA_TILE, .halves = true},
    {.in = RAGGED,
     .ops = BACKWARD,
     .classes = REAL | HOSTILE,
     .tma = TMA_ENDS,
     .config = WGMMA_TILE,
     .halves = true},
    {.in = SMALL, .ops = FORWARD, .tma = TMA_INNER, .config = WGMMA_TILE, .halves = true},
    {.in = SMALL, .ops = BACKWARD, .tma = TMA_EACH, .config = WGMMA_TILE},
    {.in = SMALL, .ops = FORWARD, .fusions = MUL_POST, .config = WGMMA_TILE},
    {.in = SMALL, .classes = REAL, .tma = TMA_FULL, .config = WGMMA_TILE},
    {.in = LARGE | SHRUNK | FULL, .tma = TMA_FULL, .config = WGMMA_LARGE},
    {.in = LARGE, .tma = TMA_ENDS, .config = WGMMA_LARGE, .dtypes = FP16},

    /* gathered rows copied together first: off the tile, every class, both types, full sizes, all ops of a pair */
    {.in = RAGGED, .tma = TMA_FULL, .config = WGMMA_TILE, .copies = true},
    {.in = RAGGED,
     .ops = BACKWARD,
     .classes = REAL | HOSTILE,
     .tma = TMA_FULL,
     .config = WGMMA_TILE,
     .copies = true,
     .halves = true},
    {.in = SMALL, .tma = TMA_ENDS, .config = ONE_TILE, .copies = true},
    {.in = LARGE | SHRUNK | FULL, .tma = TMA_FULL, .config = WGMMA_LARGE, .copies = true},
    {.in = CROSS,
     .classes = ALL,
     .dtypes = BF16 | FP16,
     .tma = TMA_ENDS,
     .config = WGMMA_TILE,
     .copies = true},
    {.in = CROSS, .modes = MANUAL_AUTOGRAD, .tma = TMA_FULL, .config = ONE_TILE, .copies = true},
    {.in = CROSS, .config = NO_TILE, .copies = true},
    {.in = FAR, .ops = BACKWARD, .tma = TMA_FULL, .config = WGMMA_LARGE, .copies = true},

    /* what the blocks above leave out, because they cannot be multiplied out over all their problems */
    {.in = CROSS, .fusions = PERMUTES | MUL_POST, .classes = ALL, .dtypes = BF16 | FP16, .tma = TMA_EACH},
    {.in = CROSS,
     .fusions = PERMUTES | MUL_POST,
     .classes = ALL,
     .dtypes = BF16 | FP16,
     .tma = TMA_EACH,
     .config = WGMMA_TILE},
    {.in = CROSS, .fusions = PERMUTES | MUL_POST, .classes = ALL, .dtypes = BF16 | FP16, .config = NO_TILE},
    {.in = CROSS, .modes = MANUAL_AUTOGRAD, .classes = ALL, .dtypes = FP16, .tma = TMA_ENDS},

    /* large in one direction: only what counts rows or tiles in another way, for the simulator's sake */
    {.in = FAR, .fusions = PERMUTES | MUL_POST, .config = SEEDS_TILE},
    {.in = FAR, .ops = BACKWARD, .tma = TMA_FULL, .config = WGMMA_LARGE},
    {.in = FAR, .config = NO_TILE},

    /* a search that the simulator can afford */
    {.in = FIRST, .modes = AUTOTUNE | AUTOTUNE_AUTOGRAD},
};

/* What the planner must refuse beyond the seeds' invalid combinations; each on the first small model. */
static const struct refusal {
    gg_gemm gemm;
    gg_op op;
    unsigned fusions;
    gg_config config;
} refusals[] = {
#define SEEDS_TMA(uses)                                                                                      \
    {                                                                                                        \
        .mainloop = GG_MMA_SYNC, .block_m = 32, .block_n = 32, .block_k = 32, .num_warps = 4,                \
        .num_stages = 2, .tma = uses                                                                         \
    }
#define COPYING                                                                                              \
    {                                                                                                        \
        .mainloop = GG_MMA_SYNC, .block_m = 32, .block_n = 32, .block_k = 32, .num_warps = 4,                \
        .num_stages = 2, .copy_rows = true                                                                   \
    }
#define NAIVE_TMA(uses)                                                                                      \
    { .mainloop = GG_REFERENCE, .tma = uses }
    /* fuse_mul_post: needs permute_y, the second GEMM, and no gradient */
    {GG_GEMM_SECOND, GG_FORWARD, GG_FUSE_MUL_POST, SEEDS_TMA(0)},
    {GG_GEMM_FIRST, GG_FORWARD, GG_FUSE_MUL_POST, SEEDS_TMA(0)},
    {GG_GEMM_FIRST, GG_FORWARD, GG_FUSE_MUL_POST | GG_PERMUTE_X, SEEDS_TMA(0)},
    {GG_GEMM_FIRST, GG_FORWARD, GG_FUSE_MUL_POST | GG_PERMUTE_Y, SEEDS_TMA(0)},
    {GG_GEMM_SECOND, GG_DX, GG_FUSE_MUL_POST | GG_PERMUTE_Y, SEEDS_TMA(0)},
    {GG_GEMM_SECOND, GG_DW, GG_FUSE_MUL_POST | GG_PERMUTE_Y, SEEDS_TMA(0)},
    {GG_GEMM_SECOND, GG_FORWARD, GG_FUSE_MUL_POST, NAIVE_TMA(0)},
    /* rows to be copied where none are gathered */
    {GG_GEMM_FIRST, GG_FORWARD, 0, COPYING},
    {GG_GEMM_SECOND, GG_FORWARD, GG_PERMUTE_Y, COPYING},
    {GG_GEMM_FIRST, GG_DX, GG_PERMUTE_X, COPYING},
    {GG_GEMM_SECOND, GG_DW, 0, COPYING},
    /* rows that TMA would have to gather or scatter */
    {GG_GEMM_FIRST, GG_FORWARD, GG_PERMUTE_X, SEEDS_TMA(GG_TMA_LOAD_X)},
    {GG_GEMM_SECOND, GG_FORWARD, GG_PERMUTE_Y, SEEDS_TMA(GG_TMA_STORE)},
    {GG_GEMM_FIRST, GG_DX, GG_PERMUTE_X, SEEDS_TMA(GG_TMA_STORE)},
    {GG_GEMM_SECOND, GG_DX, GG_PERMUTE_Y, SEEDS_TMA(GG_TMA_LOAD_DY)},
    {GG_GEMM_FIRST, GG_DW, GG_PERMUTE_X, SEEDS_TMA(GG_TMA_LOAD_X)},
    {GG_GEMM_SECOND, GG_DW, GG_PERMUTE_Y, SEEDS_TMA(GG_TMA_LOAD_DY)},
    /* a tensor that the op does not load */
    {GG_GEMM_FIRST, GG_FORWARD, 0, SEEDS_TMA(GG_TMA_LOAD_DY)},
    {GG_GEMM_FIRST, GG_DX, 0, SEEDS_TMA(GG_TMA_LOAD_X)},
    {GG_GEMM_FIRST, GG_DW, 0, SEEDS_TMA(GG_TMA_LOAD_W)},
    /* the naive kernel knows no TMA */
    {GG_GEMM_FIRST, GG_FORWARD, 0, NAIVE_TMA(GG_TMA_LOAD_X)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, NAIVE_TMA(GG_TMA_STORE)},
    {GG_GEMM_FIRST, GG_DX, 0, NAIVE_TMA(GG_TMA_LOAD_W)},
    {GG_GEMM_FIRST, GG_DW, 0, NAIVE_TMA(GG_TMA_LOAD_DY)},
    /* tiles: sizes out of range, too small for the warps, too many registers, too much shared memory */
    {GG_GEMM_FIRST, GG_FORWARD, 0, TILE(48, 32, 32, 4, 2)},
    {GG_GEMM_FIRST, GG_DX, 0, TILE(32, 16, 32, 4, 2)},
    {GG_GEMM_FIRST, GG_DW, 0, TILE(32, 32, 512, 4, 2)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, TILE(64, 64, 64, 3, 2)},
    {GG_GEMM_FIRST, GG_DX, 0, TILE(64, 64, 64, 32, 2)},
    {GG_GEMM_FIRST, GG_DW, 0, TILE(64, 64, 64, 4, 0)},
    {GG_GEMM_FIRST, GG_DX, 0, TILE(64, 64, 64, 4, 1)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, TILE(64, 64, 64, 4, 9)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, TILE(32, 32, 32, 8, 2)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, TILE(256, 256, 32, 8, 2)},
    {GG_GEMM_FIRST, GG_DX, 0, TILE(256, 32, 256, 8, 2)},
    {GG_GEMM_FIRST, GG_DW, 0, TILE(32, 256, 256, 8, 2)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, TILE(128, 128, 128, 8, 8)},
    {GG_GEMM_FIRST, GG_DX, 0, TILE(128, 128, 128, 8, 8)},
    {GG_GEMM_FIRST, GG_DW, 0, TILE(128, 128, 128, 8, 8)},
    /* wgmma: its reduction block, its sides, its warpgroups, its registers, its memory */
    {GG_GEMM_FIRST, GG_FORWARD, 0, WGMMA(128, 128, 32, 8, 4)},
    {GG_GEMM_FIRST, GG_DX, 0, WGMMA(128, 128, 128, 8, 4)},
    {GG_GEMM_FIRST, GG_DW, 0, WGMMA(64, 32, 128, 4, 4)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, WGMMA(32, 128, 64, 4, 4)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, WGMMA(128, 64, 64, 8, 4)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, WGMMA(128, 128, 64, 12, 4)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, WGMMA(256, 256, 64, 8, 2)},
    {GG_GEMM_FIRST, GG_FORWARD, 0, WGMMA(256, 128, 64, 8, 8)},
};

/* --- building --- */

/* Fusions that suit the place: the first GEMM gathers, the second scatters. */
static bool fits(const mg_problem *p, unsigned fusions) {
    return !(fusions & (p->gemm == GG_GEMM_FIRST ? GG_PERMUTE_Y : GG_PERMUTE_X));
}

/* `forward and tma` is what a first run without a GPU is asked for, so such a case must not wait for a golden
 * to be made: it is above the simulator's limit, or its goldens are committed. */
static bool is_ready(const mg_case *c) {
    if (c->refusal || c->function.op != GG_FORWARD || !c->config.tma || mg_case_work(c) > MG_SIM_LIMIT)
        return true;
    bool ready = mg_is_committed(c->problem, c->cls, c->dtype, GG_FORWARD);
    if (!c->function.autograd) return ready;
    return ready && mg_is_committed(c->problem, c->cls, c->dtype, GG_DX) &&
           mg_is_committed(c->problem, c->cls, c->dtype, GG_DW);
}

/* Everything of a case that outer loops have decided, and where the cases go. */
typedef struct builder {
    mg_cases cases;
    size_t capacity;
    size_t turn; /* the problem's place in the table: what rules with "another one for each problem" go by */
    const block *block;
    mg_case next;
    bool failed; /* out of memory */
} builder;

/* Room for one more case; NULL without memory. */
static mg_case *next_case(builder *b) {
    if (b->cases.count == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 16384; /* holds today's table */
        mg_case *items = realloc(b->cases.items, capacity * sizeof *items);
        if (!items) {
            b->failed = true;
            return NULL;
        }
        b->cases.items = items;
        b->capacity = capacity;
    }
    return &b->cases.items[b->cases.count];
}

static void push(builder *b, const gg_config *config) {
    mg_case *to = next_case(b);
    b->next.config = *config;
    if (!to || !is_ready(&b->next)) return;
    *to = b->next;
    b->cases.count++;
}

static void push_moe(void *data, const mg_case *c) {
    builder *b = data;
    mg_case *to = next_case(b);
    if (!to) return;
    *to = *c;
    b->cases.count++;
}

/* With the block's flags. */
static void push_flagged(builder *b, gg_config config, unsigned tma) {
    config.tma = tma;
    config.copy_rows = b->block->copies;
    push(b, &config);
}

static void push_configs(builder *b, size_t turn, unsigned tma) {
    static const gg_config naive = {.mainloop = GG_REFERENCE};
    config_rule rule = b->block->config;
    gg_op op = b->next.function.op;
    if (rule == NO_TILE) {
        push_flagged(b, naive, tma);
    } else if (rule >= WGMMA_TILE) {
        const size_t tiles = rule == WGMMA_LARGE ? (size_t)WGMMA_NUM_LARGE : COUNT(wgmma_tiles);
        push_flagged(b, wgmma_config(op, turn % tiles), tma);
    } else if (rule < ONE_TILE) {
        push_flagged(b, configs[rule], tma);
    } else if (b->next.problem->E > MANY_EXPERTS) {
        push_flagged(b, configs[0], tma);
    } else {
        size_t tiles = rule == THREE_TILES ? 3 : 1;
        for (size_t i = 0; i < tiles; i++)
            push_flagged(b, configs[(turn + i * COUNT(configs) / 3) % COUNT(configs)], tma);
    }
}

/* The sets of TMA uses that the op and fusions allow, in binary order: none first, all last. */
static size_t legal_tma(gg_op op, unsigned fusions, unsigned sets[8]) {
    unsigned forbidden = (fusions & GG_PERMUTE_X ? op_tma[op].not_with_permute_x : 0) |
                         (fusions & GG_PERMUTE_Y ? op_tma[op].not_with_permute_y : 0);
    size_t count = 0;
    for (unsigned bits = 0; bits < 8; bits++) {
        unsigned set = 0;
        for (unsigned i = 0; i < 3; i++)
            if (bits >> i & 1) set |= op_tma[op].uses[i];
        if (!(set & forbidden)) sets[count++] = set;
    }
    return count;
}

static void push_flags(builder *b) {
    unsigned sets[8];
    gg_op op = b->next.function.op;
    const unsigned copied = b->block->copies ? op_gathers[op] : 0;
    size_t n = legal_tma(op, b->next.fusions & ~copied, sets), begin = 0, end = n, step = 1;
    switch (b->block->tma) {
    case TMA_NONE: end = 1; break;
    case TMA_EACH: break;
    case TMA_SOME: begin = 1; break;
    case TMA_FULL: begin = n - 1; break;
    case TMA_ENDS: step = n - 1; break;
    case TMA_INNER: begin = 1 + b->turn / 2 % (n - 2), end = begin + 1; break; /* n is 4 or 8 */
    }
    for (size_t i = begin; i < end; i += step)
        push_configs(b, b->turn + i + (size_t)op + (b->next.fusions ? 4 : 0), sets[i]);
}

static void push_block(builder *b) {
    const block *block = b->block;
    const mg_problem *p = b->next.problem;
    unsigned wanted_ops = block->ops ? block->ops : FORWARD | BACKWARD;
    unsigned wanted_modes = block->modes ? block->modes : MANUAL;
    unsigned wanted_fusions = block->fusions ? block->fusions : PERMUTES;
    for (gg_op op = 0; op < GG_NUM_OPS; op++)
        for (size_t mode = 0; mode < COUNT(modes); mode++)
            for (size_t f = 0; f < COUNT(fusion_sets); f++) {
                unsigned fusions = fusion_sets[f];
                if (!(wanted_ops >> op & 1) || !(wanted_modes >> mode & 1) || !(wanted_fusions >> f & 1))
                    continue;
                if (!block->seeds && !fits(p, fusions)) continue;
                if (fusions & GG_FUSE_MUL_POST && op != GG_FORWARD) continue;
                if (block->copies && !(fusions & op_gathers[op])) continue;
                if (block->halves && (b->turn / 2 % 2 == 0) != (fusions == 0)) continue;
                b->next.function = modes[mode];
                b->next.function.op = op;
                b->next.fusions = fusions;
                b->next.refusal = !fits(p, fusions);
                push_flags(b);
            }
}

static void push_refusals(builder *b) {
    for (size_t i = 0; i < COUNT(refusals); i++) {
        if (refusals[i].gemm != b->next.problem->gemm) continue;
        b->next.function = (mg_function){.op = refusals[i].op};
        b->next.fusions = refusals[i].fusions;
        b->next.seeds = false;
        b->next.refusal = true;
        push(b, &refusals[i].config);
    }
}

gg_status mg_cases_new(mg_cases *cases) {
    builder b = {0};
    bool refused[3] = {false}; /* by gg_gemm */
    size_t num_problems;
    const mg_problem *problems = mg_problems(&num_problems);
    for (b.turn = 0; b.turn < num_problems; b.turn++) {
        const mg_problem *p = &problems[b.turn];
        const unsigned has = p->classes | (p->classes & EXACT ? HOSTILE : 0); /* which is made from it */
        for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++)
            for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
                b.next = (mg_case){.problem = p, .cls = cls, .dtype = dtype};
                for (b.block = blocks; b.block < blocks + COUNT(blocks); b.block++) {
                    unsigned classes = b.block->classes ? b.block->classes : EXACT;
                    unsigned dtypes = b.block->dtypes ? b.block->dtypes : BF16;
                    if (!(p->groups & b.block->in) || p->groups & b.block->not_in) continue;
                    if (!(classes & has & 1u << cls) || !(dtypes & p->dtypes & 1u << dtype)) continue;
                    b.next.seeds = b.block->seeds;
                    push_block(&b);
                }
                if (p->groups & FIRST && !refused[p->gemm]) push_refusals(&b);
                refused[p->gemm] |= (p->groups & FIRST) != 0;
            }
    }
    mg_block_cases(push_moe, &b);
    *cases = b.cases;
    if (!b.failed) return GG_OK;
    mg_cases_free(cases);
    return GG_ERR_MEMORY;
}

void mg_cases_free(mg_cases *cases) {
    free(cases->items);
    *cases = (mg_cases){0};
}

gg_problem mg_case_problem(const mg_case *c, gg_op op) {
    const mg_problem *p = c->problem;
    return (gg_problem){.op = op,
                        .dtype = c->dtype,
                        .gemm = p->gemm,
                        .fusions = c->fusions,
                        .E = p->E,
                        .N = p->N,
                        .K = p->K,
                        .topk = p->topk,
                        .T = p->T};
}

double mg_case_work(const mg_case *c) {
    const mg_problem *p = c->problem;
    if (c->refusal) return 0;
    if (c->block) return mg_block_work(c);
    const double products = (double)p->M * p->N * p->K * (c->function.autograd ? 3 : 1);
    return p->store == MG_STORE_HASH ? products + (double)p->E * p->N * p->K
                                     : products; /* drawn on the device */
}

/* --- ids --- */

/* Text being written; snprintf would take most of the time of a listing. */
typedef struct writer {
    char *at;
} writer;

static void put(writer *w, const char *text) {
    size_t length = strlen(text);
    memcpy(w->at, text, length);
    w->at += length;
}

static void put_number(writer *w, const char *name, int64_t value) { /* not negative */
    char digits[20], *first = digits + sizeof digits;
    do *--first = (char)('0' + value % 10);
    while (value /= 10);
    put(w, name);
    memcpy(w->at, first, (size_t)(digits + sizeof digits - first));
    w->at += digits + sizeof digits - first;
}

static void put_word(writer *w, const char *word) {
    *w->at++ = '-';
    put(w, word);
}

size_t mg_case_id(const mg_case *c, char id[MG_ID_SIZE]) {
    const mg_problem *p = c->problem;
    if (c->block) return mg_block_id(c, id);
    const gg_config *config = &c->config;
    writer w = {id};
    put(&w, "grouped_gemm_");
    if (c->function.op != GG_FORWARD) put(&w, "backward_");
    put(&w, gg_op_name(c->function.op));
    put(&w, c->function.autotune ? "_autotune" : "_manual");
    put(&w, c->function.autograd ? "_autograd[" : "[");
    put(&w, p->gemm == GG_GEMM_FIRST ? "W1" : "W2");
#define X(name, value, text)                                                                                 \
    if (c->fusions & name) put_word(&w, text);
    GG_FUSIONS(X)
#undef X
#define X(name, value, text)                                                                                 \
    if (config->tma & name) put_word(&w, text);
    GG_TMA_USES(X)
#undef X
    if (config->copy_rows) put_word(&w, "copy_rows");
    put_number(&w, "-topk", p->topk);
    put_number(&w, "-E", p->E);
    put_number(&w, "-T", p->T);
    put_number(&w, "-H", p->H);
    put_number(&w, "-I", p->I);
    put_word(&w, gg_dtype_name(c->dtype));
    put_word(&w, mg_class_name(c->cls));
    put_word(&w, mg_dist_name(p->dist));
    if (!c->function.autotune) put_word(&w, gg_mainloop_name(config->mainloop)); /* the search decides */
    if (!c->function.autotune && config->mainloop != GG_REFERENCE) {
        put_number(&w, "-bm", config->block_m);
        put_number(&w, "-bn", config->block_n);
        put_number(&w, "-bk", config->block_k);
        put_number(&w, "-w", config->num_warps);
        put_number(&w, "-s", config->num_stages);
    }
    put(&w, "]");
    *w.at = 0;
    return (size_t)(w.at - id);
}
