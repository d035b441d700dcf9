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

enum {
    MOST_EXPERTS = 100,
    MOST_TILES = 1 << 15,
    BLOCKS = 5,
    BAND = 16,
    BAND_OF_DW = 64,
    ROWS = 128,
    ROWS_OF_DW = 32,
    COLS = 32
};
static const int numbers_of_experts[] = {1, 2, 31, 32, 33, 40, 63, 64, 65, 96, MOST_EXPERTS};
/* of dW and the others: a tile in part; a band in part */
static const int columns[2][2] = {{40, (BAND + 3) * COLS}, {40, (BAND_OF_DW + 3) * COLS}};
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
static int expect(tile *out, int op, bool even, const gemm_params *g) {
    int count = 0, row_begin = 0;
    const int cols = ceil_div(op == 0 ? g->N : g->K, COLS);
    for (int e = 0; e < g->E; e++) {
        const int begin = row_begin, rows = op == 2 ? g->N : g->m_sizes[e],
                  size = op == 2 ? ROWS_OF_DW : ROWS, width = op == 2 ? BAND_OF_DW : BAND;
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
static bool right(bench *b, gg_kernel *kernel, int op, bool even) {
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
            g->N = op == 2 ? 72 : columns[op == 2][c % 2];
            g->K = columns[op == 2][c % 2];
            params.most = expect(expected, op, even, g);
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
    for (int op = 0; op < 3; op++)
        for (int even = 0; even < 3; even++) { /* 2: as 1, drawn */
            char macros[32];
            snprintf(macros, sizeof macros, "OP=%d EVEN_ROWS=%d DRAWN=%d", op, even > 0, even > 1);
            if (!right(&b, bench_kernel(&b, "walk.cu", macros, "write_tiles"), op, even > 0))
                fail_msg("%s: %s", macros, b.backend->error);
        }
    bench_close(&b);
}

static void wrong_walks_are_seen(void **state) {
    static const struct {
        int op;
        bool drawn;
        const char *find, *replace;
    } rows[] = {
        {0, false, "if (walk->expert >= p->E) return 0;",
         "if (walk->expert >= p->E / WINDOW * WINDOW) return 0;"},
        {0, false, "if (walk->expert >= p->E) return 0;", "if (walk->expert > p->E - WINDOW) return 0;"},
        {2, false, "expert < p->E ? row_tiles", "expert <= p->E ? row_tiles"},
        {2, false, "walk->tiles = expert < p->E ?", "walk->tiles = expert < p->E && walk->rows ?"},
        {0, false, "walk->rows = walk->next_rows;", "walk->rows = expert_rows(p, 0);"},
        {0, false, "expert_rows(p, walk->expert + WINDOW);", "expert_rows(p, walk->expert + WINDOW - 1);"},
        {1, false, "walk->row_begin += shuffle(walk->rows_end, WINDOW - 1);", ""},
        {2, false, "walk->first += shuffle(walk->tiles_end, WINDOW - 1);",
         "walk->first += shuffle(walk->tiles_end, WINDOW - 2);"},
        {0, false, "distance < WINDOW;", "distance < WINDOW / 2;"},
        {1, false, "if (lane >= distance) value += before;", "if (lane > distance) value += before;"},
        {1, false, "number < walk->first + walk->tiles_end", "number <= walk->first + walk->tiles_end"},
        {0, false, "columns - band * BAND < BAND ?", "columns < BAND ?"},
        {0, false, "if (EVEN_ROWS && OP != OP_DW && out->row + pitch",
         "if (EVEN_ROWS && OP != OP_DW && out->row + 2 * pitch"},
        {0, false, "        row_tile += in_band - row_tile * width >= width;\n", ""},
        {2, false, "(col_tiles(p) - 1) % BAND + 1", "(col_tiles(p) < BAND ? col_tiles(p) : BAND)"},
        {1, false, "columns <= BAND ? 0 : local", "columns <= 2 * BAND ? 0 : local"},
        {1, false, "rows <= 2 * pitch ? 2 :", "rows < 2 * pitch ? 2 : rows == 2 * pitch ? 3 :"},
        {2, false, "(OP == OP_DW ? 64 : 16)", "16"},
        {0, true, "atomic_add_u32(p->drawn, 1)", "atomic_add_u32(p->drawn, 2)"},
        {1, true, "gridDim.x + atomic_add", "gridDim.x - 1 + atomic_add"},
        {2, true, "gridDim.x + atomic_add", "gridDim.x + 1 + atomic_add"},
        {0, true, "number - gridDim.x == tiles - 1", "number - gridDim.x == tiles"},
        {1, true, "number - gridDim.x == tiles - 1", "number - gridDim.x == tiles - 2"},
        {2, true, "number - gridDim.x == tiles - 1", "number == tiles - 1"},
        {0, true, "number - gridDim.x == tiles - 1", "number - gridDim.x <= tiles - 1"},
        {1, true, "atomic_add_u32(p->drawn, 0 - tiles)", "atomic_add_u32(p->drawn, 1 - tiles)"},
        {2, true, "tiles = walk->first;", "tiles = walk->first + walk->tiles_end;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char macros[32];
        bench b;
        snprintf(macros, sizeof macros, "OP=%d EVEN_ROWS=1 DRAWN=%d", rows[i].op, rows[i].drawn);
        bench_open(&b);
        gg_kernel *kernel = bench_wrong_kernel(&b, "walk.cu", macros, "write_tiles", "scheduler.h",
                                               rows[i].find, rows[i].replace);
        if (right(&b, kernel, rows[i].op, true)) fail_msg("row %zu is not seen: '%s'", i, rows[i].replace);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_tile_is_dealt_out_once),
                                       cmocka_unit_test(wrong_walks_are_seen)};
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
