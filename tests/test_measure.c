/* test_measure.c: the arithmetic of benchmarks: medians, floors, peers, cliffs, the routing they time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "golden.h"
#include "routing.h"
#include "same_config.h"

static void assert_near(double got, double expected) {
    if (!(fabs(got - expected) <= 1e-9 * fabs(expected) + 1e-12))
        fail_msg("%.12g is not %.12g", got, expected);
}

/* --- medians --- */

static void quartiles_are_those_of_the_ordered_values(void **state) {
    (void)state;
    static const struct {
        double values[6];
        size_t count;
        double low, median, high;
    } rows[] = {
        {{7}, 1, 7, 7, 7},
        {{9, 1}, 2, 3, 5, 7},
        {{5, 1, 3}, 3, 2, 3, 4},
        {{4, 1, 3, 2}, 4, 1.75, 2.5, 3.25},
        {{100, 1, 2, 3, 4}, 5, 2, 3, 4}, /* an outlier moves nothing */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double values[6];
        memcpy(values, rows[i].values, sizeof values);
        const mg_spread s = mg_spread_of(values, rows[i].count);
        assert_near(s.low, rows[i].low);
        assert_near(s.median, rows[i].median);
        assert_near(s.high, rows[i].high);
        assert_int_equal(s.count, rows[i].count);
    }
    assert_int_equal(mg_spread_of(NULL, 0).count, 0);
}

/* --- floors and peers --- */

static gg_problem problem_of(const mg_peer *peer) {
    const mg_model *model = mg_models;
    while (strcmp(model->name, peer->model)) model++;
    gg_problem p = {.op = peer->op,
                    .E = model->E,
                    .topk = model->topk,
                    .T = peer->T,
                    .fusions = peer->gemm == 1 ? GG_PERMUTE_X : GG_PERMUTE_Y};
    mg_model_shape(model, peer->gemm, &p.N, &p.K);
    return p;
}

/* Byte and flop floors as they were written down with the peers' times, in microseconds. */
static void floors_are_those_of_the_peers(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int T, gemm;
        gg_op op;
        double byte_us, flop_us;
    } rows[] = {
        {"qwen3", 1024, 1, GG_FORWARD, 195, 74},   {"qwen3", 1024, 1, GG_DX, 202, 74},
        {"qwen3", 1024, 1, GG_DW, 195, 74},        {"qwen3", 1024, 2, GG_FORWARD, 105, 37},
        {"qwen3", 1024, 2, GG_DX, 105, 37},        {"qwen3", 1024, 2, GG_DW, 105, 37},
        {"llama4", 1024, 1, GG_FORWARD, 638, 248}, {"llama4", 1024, 2, GG_DW, 321, 124},
        {"qwen3", 8192, 1, GG_FORWARD, 243, 594},  {"qwen3", 8192, 1, GG_DX, 298, 594},
        {"qwen3", 8192, 2, GG_DX, 181, 297},       {"llama4", 8192, 1, GG_DX, 710, 1980},
        {"llama4", 8192, 2, GG_FORWARD, 365, 990},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const mg_peer *peer = mg_peer_find(rows[i].model, rows[i].T, rows[i].gemm, rows[i].op);
        assert_non_null(peer);
        const gg_problem p = problem_of(peer);
        const mg_floor f = mg_floor_of(mg_traffic_of(&p, p.E), mg_peer_limits);
        if (fabs(f.byte_us - rows[i].byte_us) > 1 || fabs(f.flop_us - rows[i].flop_us) > 1)
            fail_msg("%s T%d gemm %d %s: %.1f and %.1f us", peer->model, peer->T, peer->gemm,
                     gg_op_name(peer->op), f.byte_us, f.flop_us);
        assert_int_equal(f.by_bytes, rows[i].byte_us > rows[i].flop_us);
        assert_near(f.us, f.by_bytes ? f.byte_us : f.flop_us);
    }
}

static void weights_of_experts_without_rows_are_not_read(void **state) {
    (void)state;
    gg_problem p = {.op = GG_FORWARD, .E = 4, .N = 16, .K = 8, .topk = 1, .T = 10};
    const double tensors = 2.0 * (10 * 8 + 10 * 16);
    assert_near(mg_traffic_of(&p, 3).bytes, tensors + 2 * 3 * 16 * 8);
    assert_near(mg_traffic_of(&p, 3).flops, 2.0 * 10 * 16 * 8);
    p.op = GG_DW; /* which writes zeros for them */
    assert_near(mg_traffic_of(&p, 3).bytes, tensors + 2 * 4 * 16 * 8);
}

static void an_unknown_limit_sets_no_floor(void **state) {
    (void)state;
    const mg_traffic t = {.bytes = 4e6, .flops = 1e12};
    const mg_floor f = mg_floor_of(t, (mg_limits){.gbs = 4000});
    assert_near(f.us, 1);
    assert_true(f.by_bytes && f.flop_us == 0);
    assert_near(mg_rescaled(100, true, mg_peer_limits, (mg_limits){.gbs = 4000}), 100.0 * 4273 / 4000);
    assert_near(mg_rescaled(100, false, mg_peer_limits, (mg_limits){.gbs = 4000, .tflops = 347}), 200);
    assert_near(mg_rescaled(100, false, mg_peer_limits, (mg_limits){.gbs = 4000}), 0);
}

static void the_best_peer_is_named(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int T, gemm;
        gg_op op;
        const char *name;
        double us, goal;
    } rows[] = {
        {"qwen3", 1024, 1, GG_FORWARD, "unsloth", 233, 210},
        {"qwen3", 1024, 1, GG_DX, "DeepGEMM", 252, 215},
        {"qwen3", 1024, 1, GG_DW, "torch", 383, 225},
        {"llama4", 8192, 2, GG_FORWARD, "unsloth", 1258, 1080},
        {"llama4", 8192, 2, GG_DX, "DeepGEMM", 1212, 1090},
    };
    const char *name;
    assert_int_equal(mg_num_peers, 24);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const mg_peer *peer = mg_peer_find(rows[i].model, rows[i].T, rows[i].gemm, rows[i].op);
        assert_near(mg_peer_best(peer, &name), rows[i].us);
        assert_string_equal(name, rows[i].name);
        assert_near(peer->goal, rows[i].goal);
    }
    for (size_t i = 0; i < mg_num_peers; i++) /* a goal is ahead of every peer, and not below the floor */
        assert_true(mg_peers[i].goal < mg_peer_best(&mg_peers[i], &name));
    assert_null(mg_peer_find("qwen3", 2048, 1, GG_FORWARD));
}

static mg_bench_row row_of(const mg_peer *peer, double us, mg_limits limits) {
    mg_bench_row row = {.item = {.gemm = peer->gemm, .problem = problem_of(peer)},
                        .us = {.median = us, .low = us, .high = us, .count = 20},
                        .limits = limits};
    snprintf(row.item.model, sizeof row.item.model, "%s", peer->model);
    row.traffic = mg_traffic_of(&row.item.problem, row.item.problem.E);
    return row;
}

static void peers_are_scaled_by_the_limit_that_governs(void **state) {
    (void)state;
    const mg_limits half_copy = {.gbs = 4273.0 / 2, .tflops = 694},
                    half_product = {.gbs = 4273, .tflops = 347};
    const mg_peer *bytes = mg_peer_find("qwen3", 1024, 1, GG_FORWARD);
    const mg_peer *flops = mg_peer_find("qwen3", 8192, 1, GG_FORWARD);
    mg_bench_row row = row_of(bytes, 400, half_copy);
    mg_bench_judge(&row);
    assert_near(row.best, 2 * 233);
    assert_near(row.goal, 2 * 210);
    row = row_of(bytes, 400, half_product);
    mg_bench_judge(&row);
    assert_near(row.best, 233);
    row = row_of(flops, 400, half_product);
    mg_bench_judge(&row);
    assert_near(row.best, 2 * 715);
    row.limits.tflops = 0; /* no cuBLAS: nothing to scale by */
    mg_bench_judge(&row);
    assert_true(row.peer && row.best == 0 && row.goal == 0);
}

static void only_the_same_product_is_compared(void **state) {
    (void)state;
    const mg_peer *peer = mg_peer_find("qwen3", 1024, 1, GG_DX);
    const mg_bench_row same = row_of(peer, 300, mg_peer_limits);
    mg_bench_row row = same;
    mg_bench_judge(&row);
    assert_ptr_equal(row.peer, peer);
#define OTHER(change)                                                                                        \
    row = same;                                                                                              \
    row.change;                                                                                              \
    mg_bench_judge(&row);                                                                                    \
    assert_null(row.peer)
    OTHER(item.problem.dtype = GG_FP16);
    OTHER(item.problem.fusions = 0);
    OTHER(item.problem.T = 1023);
    OTHER(item.dist = MG_SKEWED);
    OTHER(item.backward = true);
    OTHER(item.axis = "tokens");
    OTHER(item.model[0] = 'x');
#undef OTHER
}

/* --- cliffs --- */

enum { POINTS = 12 };

static size_t cliffs_of(const double us[POINTS]) {
    mg_bench_row rows[POINTS];
    const gg_problem p = {.op = GG_FORWARD, .E = 16, .N = 512, .K = 512, .topk = 1};
    for (int i = 0; i < POINTS; i++) {
        rows[i] = (mg_bench_row){.item = {.model = "qwen3", .gemm = 1, .problem = p, .axis = "tokens"},
                                 .us = {.median = us[i], .count = 20},
                                 .floor = {.us = i < 6 ? 100 : 100 << (i - 6)}};
        rows[i].item.problem.T = 1 << i;
    }
    FILE *nowhere = fopen("/dev/null", "w");
    const size_t cliffs = mg_bench_cliffs(nowhere, rows, POINTS);
    fclose(nowhere);
    return cliffs;
}

static void a_seeded_cliff_is_flagged(void **state) {
    (void)state;
    double smooth[POINTS], us[POINTS];
    for (int i = 0; i < POINTS; i++) smooth[i] = 1.2 * (i < 6 ? 100 : 100 << (i - 6)) + 3 * i;
    assert_int_equal(cliffs_of(smooth), 0);
    for (int i = 0; i < POINTS; i++) {
        memcpy(us, smooth, sizeof us);
        us[i] *= 1.5; /* a step up to it, and one down again where the floor does not rise meanwhile */
        assert_int_equal(cliffs_of(us), (i > 0) + (i < 6));
        us[i] = smooth[i] * 1.2; /* within what is allowed */
        assert_int_equal(cliffs_of(us), 0);
    }
    memcpy(us, smooth, sizeof us);
    for (int i = 5; i < POINTS; i++) us[i] *= 1.4; /* a level from there on: one step */
    assert_int_equal(cliffs_of(us), 1);
    us[3] = NAN;
    assert_true(cliffs_of(us) > 1);
}

static void curves_do_not_touch(void **state) {
    (void)state;
    const mg_point small = {.us = 10, .floor_us = 5}, large = {.us = 1000, .floor_us = 5};
    assert_true(mg_is_cliff(&small, &large));
    mg_bench_row rows[2] = {
        {.us = {.median = 10, .count = 1}, .floor = {.us = 5}, .item = {.axis = "tokens", .gemm = 1}},
        {.us = {.median = 1000, .count = 1}, .floor = {.us = 5}, .item = {.axis = "tokens", .gemm = 2}}};
    FILE *nowhere = fopen("/dev/null", "w");
    assert_int_equal(mg_bench_cliffs(nowhere, rows, 2), 0);
    rows[1].item.gemm = 1;
    assert_int_equal(mg_bench_cliffs(nowhere, rows, 2), 1);
    rows[1].item.axis = "experts";
    assert_int_equal(mg_bench_cliffs(nowhere, rows, 2), 0);
    fclose(nowhere);
}

/* --- routing: C draws what NumPy drew --- */

static void compare_array(const mg_problem *p, const char *name, const int32_t *got, size_t count) {
    char path[512], error[MG_ERROR_SIZE];
    mg_npy expected;
    snprintf(path, sizeof path, "%s/golden/routing/%s/%s.npy", SOURCE_DIR, p->routing, name);
    if (mg_npy_read(path, &expected, error)) fail_msg("%s", error);
    assert_int_equal(expected.count, count);
    if (memcmp(expected.data, got, count * sizeof *got)) fail_msg("%s of '%s' differs", name, p->routing);
    mg_npy_free(&expected);
}

static void routing_is_that_of_the_corpus(void **state) {
    (void)state;
    size_t count, seen = 0;
    const mg_problem *problems = mg_problems(&count);
    for (const mg_problem *p = problems; p < problems + count; p++) {
        int32_t *m_sizes = calloc((size_t)p->E + 1, sizeof *m_sizes),
                *gather = calloc((size_t)p->M + 1, sizeof *gather);
        assert_int_equal(mg_routing_make(p->T, p->topk, p->E, p->dist, m_sizes, gather), GG_OK);
        compare_array(p, "m_sizes", m_sizes, (size_t)p->E);
        compare_array(p, "gather_indices", gather, (size_t)p->M);
        free(m_sizes);
        free(gather);
        seen |= 1u << p->dist;
    }
    assert_int_equal(seen, (1u << MG_NUM_DISTS) - 1); /* every distribution is in the corpus */
    int32_t none[8];
    assert_int_equal(mg_routing_make(3, 4, 3, MG_MULT, none, none), GG_ERR_ARGUMENT);
    assert_int_equal(mg_routing_make(3, 4, 3, MG_SKEWED, none, none), GG_ERR_ARGUMENT);
}

/* --- configs as text --- */

static void configs_survive_their_text(void **state) {
    (void)state;
    const gg_device device = {
        .cc = 90, .sm_count = 132, .smem_per_block = 232448, .smem_per_sm = 233472, .threads_per_sm = 2048};
    for (int op = 0; op < GG_NUM_OPS; op++) {
        const gg_problem p = {.op = (gg_op)op,
                              .fusions = op == GG_DX ? GG_PERMUTE_Y : GG_PERMUTE_X,
                              .E = 4,
                              .N = 256,
                              .K = 256,
                              .topk = 2,
                              .T = 512};
        gg_config configs[256], back;
        size_t count = gg_candidate_configs(&p, &device, true, configs, 256), copying = 0;
        assert_true(count > 10);
        for (size_t i = 0; i < count && i < 256; i++) copying += configs[i].copy_rows;
        assert_in_range(copying, 1, count - 1);
        for (size_t i = 0; i < count && i < 256; i++) {
            char text[MG_CONFIG_SIZE];
            mg_config_text(&configs[i], text);
            if (!mg_config_parse(text, &back)) fail_msg("'%s' is not read", text);
            assert_true(same_config(&back, &configs[i]));
        }
    }
    static const char *const bad[] = {"",
                                      "wgmma",
                                      "wgmma-bm64-bn64-bk64-w8",
                                      "wgmma-bm64-bn64-bk64-w8-s4-",
                                      "wgmma-bm64-bn64-bk64-w8-s4-tma",
                                      "wgmma-bm64-bn64-bk64-w8-s4-tma-z",
                                      "wgmma-bm64-bn64-bk64-w8-s4-x",
                                      "xgmma-bm64-bn64-bk64-w8-s4",
                                      "wgmma-bm64-bn64-bk64-w8-s4-tma-wx",
                                      "wgmma-bm64-bn64-bk64-w8-s4-copy",
                                      "wgmma-bm64-bn64-bk64-w8-s4-copy_rowsx",
                                      "wgmma-bm64-bn64-bk64-w8-s4copy_rows",
                                      "wgmma-bm64-bn64-bk64-w8-copy_rows-s4",
                                      "wgmma-bm64-bn64-bk64-w8-s4-copy_rows-copy_rows",
                                      "wgmma-bm64-bn64-bk64-w8-s4-copy_rows-x",
                                      "wgmma-bm64-bn64-bk64-w8-s4-copy_rows-tma",
                                      "wgmma-bm64-bn64-bk64-w8-s4-tma-x-copy_rows"};
    gg_config c;
    assert_true(mg_config_parse("wgmma-bm256-bn128-bk64-w8-s4-copy_rows-tma-x-w-store", &c));
    assert_true(c.copy_rows && c.tma == (GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_STORE));
    assert_true(mg_config_parse("mma_sync-bm64-bn64-bk64-w4-s3-copy_rows", &c) && c.copy_rows && !c.tma);
    assert_true(mg_config_parse("mma_sync-bm64-bn64-bk64-w4-s3", &c) && !c.copy_rows);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mg_config_parse(bad[i], &c)) fail_msg("'%s' is read", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quartiles_are_those_of_the_ordered_values),
        cmocka_unit_test(floors_are_those_of_the_peers),
        cmocka_unit_test(weights_of_experts_without_rows_are_not_read),
        cmocka_unit_test(an_unknown_limit_sets_no_floor),
        cmocka_unit_test(the_best_peer_is_named),
        cmocka_unit_test(peers_are_scaled_by_the_limit_that_governs),
        cmocka_unit_test(only_the_same_product_is_compared),
        cmocka_unit_test(a_seeded_cliff_is_flagged),
        cmocka_unit_test(curves_do_not_touch),
        cmocka_unit_test(routing_is_that_of_the_corpus),
        cmocka_unit_test(configs_survive_their_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
