/* test_sim_walk.c: the walk over output tiles (device/scheduler.h) against a plain loop over experts, for numbers of experts around
 * whole windows of 32 and sizes with empty experts in all places; that draws deal the same tiles out and leave the counter zero;
 * and that wrong walks are told from it. */
#include "sim_fixture.h"

#include "device/params.h"

typedef struct walk_params { /* as in tests/sim/walk.cu */
    gemm_params gemm;
    int32_t *tiles;
    int32_t most;
} walk_params;

typedef struct tile {
    int32_t expert, row_begin, row_end, row, row_limit, col;
} tile;

enum { MOST_EXPERTS = 100, MOST_TILES = 1 << 15, BLOCKS = 5, ROWS = 128, ROWS_OF_DW = 32, COLS = 32 };
static const int numbers_of_experts[] = {1, 2, 31, 32, 33, 40, 63, 64, 65, 96, MOST_EXPERTS};
/* What walks: an op, or dW of few rows. */
enum { FORWARD, DX, DW, DW_OF_FEW, WALKS };
static const struct {
    int op, band;
    const char *macros;
} walks[WALKS] = {[FORWARD] = {0, 16, "OP=0"},
                  [DX] = {1, 16, "OP=1"},
                  [DW] = {2, 32, "OP=2"},
                  [DW_OF_FEW] = {2, 64, "OP=2 FETCHES_AHEAD=1"}};
/* Columns of a tile in part, of a band in part. */
static int columns_of(int walk, int number) { return number ? (walks[walk].band + 3) * COLS : 40; }
enum { RANDOM, FIRST, LAST, NONE, PATTERNS };

static int rows_of(int pattern, int expert, int E) {
    const int some = (expert * 7919 + 13) % 11 *
                     (expert % 5 == 4 ? 64
                      : expert % 3    ? 1
                                      : 37); /* whole tiles too */
    return pattern == RANDOM  ? some
           : pattern == FIRST ? (expert == 0) * 300
           : pattern == LAST  ? (expert == E - 1) * 77
                              : 0;
}

static int ceil_div(int a, int b) { return (a + b - 1) / b; }

/* Columns fastest in bands; `even` deals an expert's rows out in multiples of 32. */
static int expect(tile *out, int walk, bool even, const gemm_params *g) {
    const int op = walks[walk].op, width = walks[walk].band;
    int count = 0, row_begin = 0;
    const int cols = ceil_div(op == 0 ? g->N : g->K, COLS);
    for (int e = 0; e < g->E; e++) {
        const int begin = row_begin, rows = op == 2 ? g->N : g->m_sizes[e],
                  size = op == 2 ? ROWS_OF_DW : ROWS;
        int tiles = ceil_div(rows, size), pitch = size;
        row_begin += g->m_sizes[e];
        if (even && op != 2 && tiles > 0) {
            pitch = ceil_div(ceil_div(rows, tiles), 32) * 32;
            tiles = ceil_div(rows, pitch);
        }
        for (int band = 0; band < cols; band += width)
            for (int t = 0; t < tiles; t++)
                for (int c = band; c < cols && c < band + width; c++) {
                    const int row = (op == 2 ? 0 : begin) + t * pitch, end = op == 2 ? g->N : row_begin;
                    const int limit = even && op != 2 && row + pitch < end ? row + pitch : end;
                    out[count++] = (tile){e, begin, row_begin, row, limit, c * COLS};
                }
    }
    return count;
}

/* Whether all problems' tiles are right, and no draw is left over. */
static bool right(bench *b, gg_kernel *kernel, int walk, bool even) {
    static tile expected[MOST_TILES];
    uint32_t *drawn = bench_alloc(b, sizeof *drawn);
    tile *tiles = bench_alloc(b, sizeof expected);
    bool same = true;
    *drawn = 0;
    for (size_t n = 0; n < sizeof numbers_of_experts / sizeof *numbers_of_experts; n++) {
        const int E = numbers_of_experts[n];
        int32_t *sizes = NULL;
        assert_int_equal(gg_sim_backend.alloc(b->backend, (size_t)E * 4, (void **)&sizes), GG_OK);
        assert_int_equal(gg_sim_backend.fill(b->backend, sizes, 0, (size_t)E * 4, NULL), GG_OK);
        for (int c = 0; c < 2 * PATTERNS && same; c++) {
            walk_params params = {.gemm = {.m_sizes = sizes, .E = E, .drawn = drawn},
                                  .tiles = (int32_t *)tiles};
            gemm_params *g = &params.gemm;
            for (int e = 0; e < E; e++) g->M += sizes[e] = rows_of(c / 2, e, E);
            g->N = walks[walk].op == 2 ? 72 : columns_of(walk, c % 2);
            g->K = columns_of(walk, c % 2);
            params.most = expect(expected, walk, even, g);
            memset(tiles, 0xff, (size_t)params.most * sizeof *tiles);
            bench_seed(b, (uint64_t)c, GG_SIM_LAND_RANDOM);
            same = !bench_launch(b, kernel, BLOCKS, 64, 1024, &params, sizeof params) && !*drawn &&
                   !memcmp(tiles, expected, (size_t)params.most * sizeof *tiles);
        }
        gg_sim_backend.free(b->backend, sizes);
    }
    for (int i = 0; i < 2; i++) gg_sim_backend.free(b->backend, b->data[--b->count]);
    return same;
}

static void every_tile_is_dealt_out_once(void **state) {
    bench b;
    (void)state;
    bench_open(&b);
    for (int walk = 0; walk < WALKS; walk++)
        for (int even = 0; even < 3; even++) { /* 2: as 1, drawn */
            char macros[64];
            snprintf(macros, sizeof macros, "%s EVEN_ROWS=%d DRAWN=%d", walks[walk].macros, even > 0,
                     even > 1);
            if (!right(&b, bench_kernel(&b, "walk.cu", macros, "write_tiles"), walk, even > 0))
                fail_msg("%s: %s", macros, b.backend->error);
        }
    bench_close(&b);
}

static void wrong_walks_are_seen(void **state) {
    static const struct {
        int walk;
        bool drawn;
        const char *find, *replace;
    } rows[] = {
        {FORWARD, false, "if (walk->expert >= p->E) return 0;",
         "if (walk->expert >= p->E / WINDOW * WINDOW) return 0;"},
        {FORWARD, false, "if (walk->expert >= p->E) return 0;",
         "if (walk->expert > p->E - WINDOW) return 0;"},
        {DW, false, "expert < p->E ? row_tiles", "expert <= p->E ? row_tiles"},
        {DW, false, "walk->tiles = expert < p->E ?", "walk->tiles = expert < p->E && walk->rows ?"},
        {FORWARD, false, "walk->rows = walk->next_rows;", "walk->rows = expert_rows(p, 0);"},
        {FORWARD, false, "expert_rows(p, walk->expert + WINDOW);",
         "expert_rows(p, walk->expert + WINDOW - 1);"},
        {DX, false, "walk->row_begin += shuffle(walk->rows_end, WINDOW - 1);", ""},
        {DW, false, "walk->first += shuffle(walk->tiles_end, WINDOW - 1);",
         "walk->first += shuffle(walk->tiles_end, WINDOW - 2);"},
        {FORWARD, false, "distance < WINDOW;", "distance < WINDOW / 2;"},
        {DX, false, "if (lane >= distance) value += before;", "if (lane > distance) value += before;"},
        {DX, false, "number < walk->first + walk->tiles_end", "number <= walk->first + walk->tiles_end"},
        {FORWARD, false, "columns - band * BAND < BAND ?", "columns < BAND ?"},
        {FORWARD, false, "if (EVEN_ROWS && OP != OP_DW && out->row + pitch",
         "if (EVEN_ROWS && OP != OP_DW && out->row + 2 * pitch"},
        {FORWARD, false, "        row_tile += in_band - row_tile * width >= width;\n", ""},
        {DW, false, "(col_tiles(p) - 1) % BAND + 1", "(col_tiles(p) < BAND ? col_tiles(p) : BAND)"},
        {DX, false, "columns <= BAND ? 0 : local", "columns <= 2 * BAND ? 0 : local"},
        {DX, false, "rows <= 2 * pitch ? 2 :", "rows < 2 * pitch ? 2 : rows == 2 * pitch ? 3 :"},
        {DW, false, "FETCHES_AHEAD ? 64 : 32", "64"},
        {DW_OF_FEW, false, "FETCHES_AHEAD ? 64 : 32", "32"},
        {DX, false, "(OP != OP_DW ? 16 :", "(OP == OP_FORWARD ? 16 :"},
        {FORWARD, true, "atomic_add_u32(p->drawn, 1)", "atomic_add_u32(p->drawn, 2)"},
        {DX, true, "gridDim.x + atomic_add", "gridDim.x - 1 + atomic_add"},
        {DW, true, "gridDim.x + atomic_add", "gridDim.x + 1 + atomic_add"},
        {FORWARD, true, "number - gridDim.x == tiles - 1", "number - gridDim.x == tiles"},
        {DX, true, "number - gridDim.x == tiles - 1", "number - gridDim.x == tiles - 2"},
        {DW, true, "number - gridDim.x == tiles - 1", "number == tiles - 1"},
        {FORWARD, true, "number - gridDim.x == tiles - 1", "number - gridDim.x <= tiles - 1"},
        {DX, true, "atomic_add_u32(p->drawn, 0 - tiles)", "atomic_add_u32(p->drawn, 1 - tiles)"},
        {DW, true, "tiles = walk->first;", "tiles = walk->first + walk->tiles_end;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char macros[64];
        bench b;
        snprintf(macros, sizeof macros, "%s EVEN_ROWS=1 DRAWN=%d", walks[rows[i].walk].macros, rows[i].drawn);
        bench_open(&b);
        gg_kernel *kernel = bench_wrong_kernel(&b, "walk.cu", macros, "write_tiles", "scheduler.h",
                                               rows[i].find, rows[i].replace);
        if (right(&b, kernel, rows[i].walk, true)) fail_msg("row %zu is not seen: '%s'", i, rows[i].replace);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_tile_is_dealt_out_once),
                                       cmocka_unit_test(wrong_walks_are_seen)};
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
