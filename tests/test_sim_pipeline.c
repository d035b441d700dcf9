/* test_sim_pipeline.c: the example of docs/simulator.md: a kernel that is none of ours, right and with its
 * planted bug, which the checker names although the sums come out right. */
#include "sim_fixture.h"

typedef struct pipeline_params { /* as in tests/sim/pipeline.cu */
    uint64_t map[16];
    uint32_t *sums;
    int32_t tiles;
} __attribute__((aligned(64))) pipeline_params;

enum { TILES = 10, ROWS = 32, COLUMNS = 64, SMEM = 3 * ROWS * 128 + 48 };

static void test_pipeline(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    bench_check_races(&b);
    uint16_t *values = bench_alloc(&b, TILES * ROWS * COLUMNS * 2);
    pipeline_params params = {.sums = bench_alloc(&b, TILES * COLUMNS * 4), .tiles = TILES};
    for (int i = 0; i < TILES * ROWS * COLUMNS; i++) values[i] = (uint16_t)(i * 31 % 1000);
    const gg_tensor_map_spec spec = {.base = values,
                                     .rank = 2,
                                     .dims = {COLUMNS, TILES * ROWS},
                                     .strides = {COLUMNS * 2},
                                     .box = {COLUMNS, ROWS}};
    assert_int_equal(gg_sim_backend.tensor_map(b.backend, &spec, params.map), GG_OK);
    gg_kernel *right = bench_kernel(&b, "pipeline.cu", "", "column_sums");
    gg_kernel *wrong = bench_kernel(&b, "pipeline.cu", "BUG_EARLY_RELEASE", "column_sums");
    for (uint64_t seed = 0; seed < 20; seed++) {
        bench_seed(&b, seed, GG_SIM_LAND_LATE);
        if (bench_launch(&b, right, 1, 64, SMEM, &params, sizeof params)) fail_msg("%s", b.backend->error);
        for (int i = 0; i < TILES * COLUMNS; i++) {
            uint32_t sum = 0;
            for (int r = 0; r < ROWS; r++) sum += values[(i / COLUMNS * ROWS + r) * COLUMNS + i % COLUMNS];
            assert_int_equal(params.sums[i], sum);
        }
        bench_seed(&b, seed, GG_SIM_LAND_LATE);
        assert_int_equal(bench_launch(&b, wrong, 1, 64, SMEM, &params, sizeof params), GG_ERR_LAUNCH);
        assert_non_null(strstr(b.backend->error, "race on shared memory"));
        assert_non_null(strstr(b.backend->error, "pipeline.cu:"));
        if (seed == 0) print_message("%s\n", b.backend->error);
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pipeline)};
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
