/* test_sim_blocks.c: blocks that wait for each other make progress and are held to release and acquire; and global memory
 * is held to what the launch says of its buffers. */
#include "sim_fixture.h"

typedef struct blocks_params { /* as in tests/sim/blocks.cu */
    uint64_t map[16];
    uint32_t *data, *flags, *out;
    const uint32_t *in;
} __attribute__((aligned(64))) blocks_params;

enum { MOST = 20, ROW = 32, ALL_SEEDS = 20 };

typedef struct rig {
    bench b;
    blocks_params params;
} rig;

static void setup(rig *r, bool race) {
    bench_open(&r->b);
    if (race) bench_check_races(&r->b);
    r->params = (blocks_params){.data = bench_alloc(&r->b, MOST * ROW * 4),
                                .flags = bench_alloc(&r->b, (MOST + 1) * 4),
                                .out = bench_alloc(&r->b, MOST * ROW * 4),
                                .in = bench_alloc(&r->b, MOST * ROW * 4)};
    const gg_tensor_map_spec spec = {
        .base = r->params.data, .rank = 2, .dims = {64, MOST}, .strides = {ROW * 4}, .box = {64, 1}};
    assert_int_equal(gg_sim_backend.tensor_map(r->b.backend, &spec, r->params.map), GG_OK);
}

static gg_status run(rig *r, gg_kernel *kernel, uint64_t seed, uint32_t grid, uint32_t threads) {
    memset(r->params.flags, 0, (MOST + 1) * 4);
    memset(r->params.data, 0, MOST * ROW * 4);
    bench_seed(&r->b, seed, seed & 1 ? GG_SIM_LAND_RANDOM : GG_SIM_LAND_LATE);
    return bench_launch(&r->b, kernel, grid, threads, 2048, &r->params, sizeof r->params);
}

/* --- progress and results --- */

static void check_results(rig *r, const char *entry, uint32_t grid) {
    for (uint32_t i = 0; i < ROW; i++) {
        if (!strcmp(entry, "chain")) assert_int_equal(r->params.data[(grid - 1) * ROW + i], grid);
        if (!strcmp(entry, "last_block"))
            assert_int_equal(r->params.out[i], grid * (grid - 1) / 2 + grid * i);
        if (!strcmp(entry, "by_tma")) assert_int_equal(r->params.out[i], i + 1);
    }
}

static const struct {
    const char *entry, *macros;
    uint32_t grid, threads;
} right[] = {
    {"chain", "", MOST, 64},    {"last_block", "", MOST, 32}, {"grid_barrier", "", 6, 1024},
    {"looks_twice", "", 3, 32}, {"by_tma", "", 2, 32},        {"by_tma", "STORED_BY_TMA", 2, 32},
};

static void test_right(void **state) {
    (void)state;
    for (int race = 0; race < 2; race++) {
        rig r;
        setup(&r, race);
        for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
            gg_kernel *kernel = bench_kernel(&r.b, "blocks.cu", right[i].macros, right[i].entry);
            for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
                if (run(&r, kernel, seed, right[i].grid, right[i].threads))
                    fail_msg("%s, seed %d: %s", right[i].entry, (int)seed, r.b.backend->error);
                check_results(&r, right[i].entry, right[i].grid);
            }
        }
        bench_close(&r.b);
    }
}

/* --- each missing order, in every seed --- */

static const struct {
    const char *entry, *macros;
    uint32_t grid, threads;
    const char *want, *besides;
} wrong[] = {
    {"chain", "BUG_NO_BARRIER_BEFORE_RELEASE", 6, 64, "race on global memory", "blocks.cu:"},
    {"chain", "BUG_NO_BARRIER_AFTER_LOOK", 6, 64, "race on global memory", "blocks.cu:"},
    {"chain", "BUG_RELAXED_LOOK", 6, 64, "no release and acquire between the write of thread", " of block "},
    {"chain", "BUG_RELAXED_RELEASE", 6, 64, "no release and acquire between the write of thread",
     " of block "},
    {"chain", "BUG_PLAIN_FLAG", 6, 64, "race on global memory", "blocks.cu:"},
    {"last_block", "BUG_NO_FENCE_BEFORE", 6, 32, "no release and acquire", "blocks.cu:"},
    {"last_block", "BUG_NO_FENCE_AFTER", 6, 32, "no release and acquire", "blocks.cu:"},
    {"by_tma", "BUG_NO_PROXY_FENCE", 2, 32, "no fence_proxy_async_global between the write of thread",
     "TMA load"},
    {"by_tma", "STORED_BY_TMA BUG_WAIT_READ_ONLY", 2, 32, "race on global memory", "TMA store's write"},
    {"grid_barrier", "", 7, 1024, "deadlock: 6144 threads wait, 0 have exited:",
     "1 blocks have not begun, 6 are all that the device holds"},
    {"copy_row", "BUG_ANOTHER_THREADS", 1, 32, "no barrier between the write of thread", "blocks.cu:"},
    {"copy_row", "BUG_TWO_BLOCKS", 2, 32, "race on global memory", "blocks.cu:"},
    {"copy_row", "BUG_READS_ANOTHER_BLOCKS", 2, 32, "race on global memory", "blocks.cu:"},
};

static void test_wrong(void **state) {
    (void)state;
    rig r;
    setup(&r, true);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gg_kernel *kernel = bench_kernel(&r.b, "blocks.cu", wrong[i].macros, wrong[i].entry);
        for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
            const char *error = r.b.backend->error;
            if (!run(&r, kernel, seed, wrong[i].grid, wrong[i].threads))
                fail_msg("%s passes with seed %d", wrong[i].macros, (int)seed);
            if (!strstr(error, wrong[i].want) || !strstr(error, wrong[i].besides))
                fail_msg("%s, seed %d: '%s' and '%s' are not in '%s'", wrong[i].macros, (int)seed,
                         wrong[i].want, wrong[i].besides, error);
            if (seed == 0) print_message("%-30s %s\n", wrong[i].macros, error);
        }
    }
    bench_close(&r.b);
}

/* The places of all threads that wait, and what holds them. */
static void test_deadlock_report(void **state) {
    (void)state;
    rig r;
    setup(&r, false);
    gg_kernel *kernel = bench_kernel(&r.b, "blocks.cu", "", "grid_barrier");
    assert_int_equal(run(&r, kernel, 0, 7, 1024), GG_ERR_LAUNCH);
    static const char *const wants[] = {
        " 6 of 6 blocks in a look at global memory at blocks.cu:", ", where 6 stays)",
        " 6138 of 6 blocks in barrier sync at blocks.cu:"};
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++)
        if (!strstr(r.b.backend->error, wants[i]))
            fail_msg("'%s' is not in '%s'", wants[i], r.b.backend->error);
    bench_close(&r.b);
}

/* --- what the launch says of its buffers --- */

static const struct {
    const char *macros, *want; /* NULL: passes */
} contract[] = {
    {"", NULL},
    {"BUG_WRITES_INPUT", "store to an input: 4 bytes at 'in' +0x"},
    {"BUG_READS_OUTPUT", "load of global memory 'out' +0x"},
    {"BUG_OUTSIDE_TENSOR", "store outside the launch's tensors: 4 bytes at 'out' +0x180"},
    {"PREFETCHES", NULL},
    {"BUG_PREFETCHES_OUTSIDE", "prefetch outside the launch's tensors: 128 bytes at 'in' +0x140"},
    {"BUG_MISALIGNED", "misaligned store: address"},
};

static void test_contract(void **state) {
    (void)state;
    rig r;
    setup(&r, true);
    enum { GRID = 3 };
    const gg_buffer buffers[] = {{"in", r.params.in, GRID * ROW * 4, GG_BUFFER_IN},
                                 {"out", r.params.out, GRID * ROW * 4, GG_BUFFER_OUT}};
    for (size_t i = 0; i < sizeof contract / sizeof *contract; i++) {
        gg_kernel *kernel = bench_kernel(&r.b, "blocks.cu", contract[i].macros, "copy_row");
        gg_launch_spec spec = {.grid = GRID,
                               .threads = 32,
                               .smem_bytes = 1024,
                               .params = &r.params,
                               .params_bytes = sizeof r.params,
                               .label = "test",
                               .buffers = buffers,
                               .buffer_count = 2};
        for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
            bench_seed(&r.b, seed, GG_SIM_LAND_LATE);
            gg_status status = gg_sim_backend.launch(r.b.backend, kernel, &spec, NULL);
            const char *error = r.b.backend->error;
            if (!contract[i].want && status) fail_msg("%s", error);
            if (!contract[i].want) continue;
            if (!status) fail_msg("%s passes with seed %d", contract[i].macros, (int)seed);
            if (!strstr(error, contract[i].want) || !strstr(error, "blocks.cu:"))
                fail_msg("%s: '%s' is not in '%s'", contract[i].macros, contract[i].want, error);
            if (seed == 0) print_message("%-20s %s\n", contract[i].macros, error);
        }
    }
    bench_close(&r.b);
}

/* Memory that nobody has given a value, in part or at all. */
static void test_unwritten(void **state) {
    (void)state;
    rig r;
    setup(&r, true);
    void *fresh;
    assert_int_equal(gg_sim_backend.alloc(r.b.backend, MOST * ROW * 4, &fresh), GG_OK);
    gg_kernel *kernel = bench_kernel(&r.b, "blocks.cu", "", "copy_row");
    r.params.in = fresh;
    uint32_t zeros[2 * ROW] = {0};
    assert_int_equal(gg_sim_backend.upload(r.b.backend, fresh, zeros, sizeof zeros), GG_OK);
    if (run(&r, kernel, 0, 2, 32)) fail_msg("%s", r.b.backend->error);
    assert_int_equal(run(&r, kernel, 0, 3, 32), GG_ERR_LAUNCH); /* row 2 is missing */
    if (!strstr(r.b.backend->error, " of 2560 bytes, ") ||
        !strstr(r.b.backend->error, "which nothing has written at blocks.cu:"))
        fail_msg("%s", r.b.backend->error);
    print_message("%s\n", r.b.backend->error);
    gg_sim_backend.free(r.b.backend, fresh);
    bench_close(&r.b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),           cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_deadlock_report), cmocka_unit_test(test_contract),
        cmocka_unit_test(test_unwritten),
    };
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
