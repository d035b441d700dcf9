/* test_sim_ahead.c: the rows that dW of few rows fetches ahead (device/wgmma_ahead.h) are all rows, once each, in windows of the size that
 * they must have; and what fetches others is told from it. */
#include "sim_fixture.h"

#include "device/params.h"

typedef struct ahead_params { /* as in tests/sim/ahead.cu */
    gemm_params gemm;
    uint32_t window;
} ahead_params;

enum { E = 6, MOST_ROWS = 600, N = 136, K = 264, TOPK = 2 };
static const int sizes[][E] = {{40, 3, 0, 130, 64, 63},
                               {0, 0, 100, 0, 28, 0},
                               {300, 0, 0, 0, 0, 0},
                               {0, 0, 0, 0, 0, 300},
                               {1, 1, 0, 1, 1, 0}};
static const uint32_t windows[] = {1, 7, 64, 100, 1000};

/* Slots come from the last to the first; tokens' rows are there once for TOPK slots. */
static uint32_t expected(const int *rows, int M, uint32_t window, int row, bool slots, bool tokens) {
    uint32_t times = tokens ? TOPK : 1;
    /* an empty expert at the very beginning begins the first window as well as who has its rows */
    for (int e = 0; e < E && !rows[e]; e++)
        for (int i = 0; i < M && (uint32_t)i < window; i++)
            times += (tokens ? (M - 1 - i) / TOPK : slots ? M - 1 - i : i) == row;
    return times;
}

/* Whether each row is fetched as often as it must be, with x gathered by tokens or dy by slots. */
static bool right(bench *b, gg_kernel *kernel, bool tokens) {
    uint16_t *operands = bench_alloc(b, MOST_ROWS * (N + K) * 2);
    uint32_t *counts = bench_alloc(b, MOST_ROWS * 2 * 4);
    int32_t *m_sizes = bench_alloc(b, E * 4), *indices = bench_alloc(b, MOST_ROWS * 4);
    bool same = true;
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++)
        for (size_t w = 0; w < sizeof windows / sizeof *windows && same; w++) {
            ahead_params params = {
                .gemm = {.m_sizes = m_sizes, .gather_indices = indices, .E = E, .N = N, .K = K},
                .window = windows[w]};
            gemm_params *g = &params.gemm;
            for (int e = 0; e < E; e++) g->M += m_sizes[e] = sizes[c][e];
            for (int i = 0; i < g->M; i++) indices[i] = (int)g->M - 1 - i;
            g->topk_reciprocal = (1u << 31) + 1, g->topk_shift = 32; /* of TOPK */
            g->a = operands, g->b = operands + g->M * N, g->out = (uint16_t *)counts;
            memset(counts, 0, MOST_ROWS * 2 * 4);
            same = !bench_launch(b, kernel, 3, 32, 1024, &params, sizeof params);
            const int M = (int)g->M;
            for (int r = 0; r < M && same; r++) {
                const uint32_t of_a = expected(sizes[c], M, windows[w], r, !tokens, false);
                const uint32_t of_b = expected(sizes[c], M, windows[w], r, false, tokens);
                same = counts[r] == of_a && counts[M + r] == (!tokens || r < M / TOPK ? of_b : 0);
            }
        }
    while (b->count) gg_sim_backend.free(b->backend, b->data[--b->count]);
    return same;
}

static const char macros[2][32] = {"PERMUTE_X=0 PERMUTE_Y=1", "PERMUTE_X=1 PERMUTE_Y=0"};

static void every_row_is_fetched_once(void **state) {
    bench b;
    (void)state;
    bench_open(&b);
    for (int tokens = 0; tokens < 2; tokens++)
        if (!right(&b, bench_kernel(&b, "ahead.cu", macros[tokens], "fetch_all"), tokens))
            fail_msg("%s: %s", macros[tokens], b.backend->error);
    bench_close(&b);
}

static void wrong_fetches_are_seen(void **state) {
    static const struct {
        const char *find, *replace;
    } rows[] = {
        {"begin > 0", "1"},
        {"begin > 0", "0"},
        {"/ window * window + window;", "/ window * window;"},
        {"(u32)p->M) end =", "(u32)p->M) end = 1 +"},
        {"(u32)p->M) end =", "(u32)p->M) end = window <= 7 ? (u32)p->M - 1 :"},
        {"begin + number +", "begin +"},
        {"tiles * (threadIdx.x % 32)", "(threadIdx.x % 32)"},
        {"row += tiles * 32", "row += tiles * 64"},
        {"(u32)tile->row / ROWS * columns", "(u32)tile->row / ROWS"},
        {"(u32)tile->col / COLS", "(u32)tile->col / ROWS"},
        {"(u32)p->K * 2", "(u32)p->N * 2"},
        {"row_of(p, B_GATHER, B_GATHER ? slot : row)", "(B_GATHER ? slot : row)"},
        {"B_GATHER ? slot : row)", "row)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench b;
        bench_open(&b);
        gg_kernel *kernel = bench_wrong_kernel(&b, "ahead.cu", macros[1], "fetch_all", "wgmma_ahead.h",
                                               rows[i].find, rows[i].replace);
        if (right(&b, kernel, true)) fail_msg("row %zu is not seen: '%s'", i, rows[i].replace);
        bench_close(&b);
    }
}

/* 1.75 MiB of both operands' rows, but no less than an expert has on average, and never none. */
static bool windows_right(bench *b, gg_kernel *kernel) {
    static const struct {
        int experts, n, k;
        int64_t rows;
        uint32_t window;
    } rows[] = {
        {128, 768, 2048, 8192, 325}, {8, 2048, 768, 8 * 325, 325},    {8, 2048, 768, 8 * 326, 326},
        {8, 64, 64, 100, 7168},      {4, 1 << 20, 1 << 20, 400, 100}, {4, 1 << 20, 1 << 20, 3, 1},
    };
    uint32_t *window = bench_alloc(b, 4);
    bool same = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && same; i++) {
        const ahead_params params = {.gemm = {.E = rows[i].experts,
                                              .N = rows[i].n,
                                              .K = rows[i].k,
                                              .M = rows[i].rows,
                                              .out = (uint16_t *)window}};
        same = !bench_launch(b, kernel, 1, 32, 1024, &params, sizeof params) && *window == rows[i].window;
    }
    return same;
}

static void windows_have_their_size(void **state) {
    static const struct {
        const char *find, *replace;
    } wrong[] = {{"return rows > 0 ? rows : 1;", "return rows;"},
                 {"if (rows < average)", "if (rows > average)"},
                 {"WINDOW_BYTES / 2 /", "WINDOW_BYTES /"}};
    bench b;
    (void)state;
    bench_open(&b);
    if (!windows_right(&b, bench_kernel(&b, "ahead.cu", macros[0], "write_window")))
        fail_msg("%s", b.backend->error);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (windows_right(&b, bench_wrong_kernel(&b, "ahead.cu", macros[0], "write_window", "wgmma_ahead.h",
                                                 wrong[i].find, wrong[i].replace)))
            fail_msg("not seen: '%s'", wrong[i].replace);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_row_is_fetched_once),
                                       cmocka_unit_test(wrong_fetches_are_seen),
                                       cmocka_unit_test(windows_have_their_size)};
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
