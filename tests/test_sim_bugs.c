/* test_sim_bugs.c: the simulator catches each seeded fault and bug, and passes its correct twin under every
 * schedule. */
#include "sim_product.h"

/* --- single faults, each with the words of its error -------------------------------------------------------
 */
typedef struct fault_params { /* as in tests/sim/faults.cu */
    uint64_t map[16];
    const uint32_t *in;
    uint32_t *out;
    int32_t zero, many;
} __attribute__((aligned(64))) fault_params;

static const struct {
    const char *entry;
    uint32_t threads;
    const char *want; /* in the error */
} faults[] = {
    {"load_outside", 64, "load outside shared memory: read of 4 bytes at offset 4096 of 4096 at faults.cu:"},
    {"store_misaligned", 32, "misaligned store: address 0x408 is not a multiple of 16 at faults.cu:"},
    {"copy_misaligned", 32, "misaligned cp.async: source"},
    {"copy_outside", 32, "cp.async outside global memory: 16 bytes at"},
    {"prefetch_misaligned", 32, "misaligned prefetch: 512 bytes at 0x"},
    {"prefetch_in_part", 32, "misaligned prefetch: 24 bytes at 0x"},
    {"prefetch_outside", 32, "prefetch outside global memory: 512 bytes at"},
    {"copy_left", 32, "thread exits with 1 cp.async outstanding, the first at faults.cu:"},
    {"ldmatrix_misaligned", 32, "misaligned ldmatrix row"},
    {"ldmatrix_diverged", 32, "diverged warp: other lanes wait at faults.cu:"},
    {"transfer_misaligned", 32, "misaligned TMA load: address 0x600 is not a multiple of 1024"},
    {"transfer_left", 32, "block ends with 1 TMA loads in flight, the first at faults.cu:"},
    {"store_left", 32, "thread exits before its TMA store has read shared memory, issued at faults.cu:"},
    {"store_before", 32,
     "TMA store at negative coordinates -8, 0, 0, 0: an illegal instruction at faults.cu:"},
    {"map_missing", 32, "which holds no tensor map"},
    {"arrive_twice", 32, "mbarrier 0x400: arrival beyond its count of 1 while 1024 bytes are outstanding"},
    {"barrier_missing", 32, "no mbarrier at 0x408"},
    {"barrier_overwritten", 32, "no mbarrier at 0x400: not initialised yet, or overwritten"},
    {"deadlock", 96, "deadlock: 64 threads wait, 32 have exited:"},
    {"barrier_counts", 64, "not a multiple of 32 up to 64"},
    {"barrier_mismatch", 96, "threads, other warps say"},
    {"trapped", 32, "device_trap at faults.cu:"},
    {"wild_read", 32, "past the end of the 4096-byte allocation"},
    {"null_write", 32, "invalid address"},
#ifdef __x86_64__ /* elsewhere the quotient is silently 0 */
    {"divide", 32, "division by zero"},
#endif
    {"overflow", 32, "its stack overflows"},
};

static void test_faults(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    fault_params params = {
        .in = bench_alloc(&b, 4096), .out = bench_alloc(&b, 4096), .zero = 0, .many = 1100};
    memset((void *)(uintptr_t)params.in, 0, 4096);
    gg_tensor_map_spec spec = {
        .base = params.in, .rank = 2, .dims = {64, 8}, .strides = {128}, .box = {64, 8}};
    assert_int_equal(gg_sim_backend.tensor_map(b.backend, &spec, params.map), GG_OK);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        gg_kernel *kernel = bench_kernel(&b, "faults.cu", "", faults[i].entry);
        gg_kernel *twin = bench_kernel(&b, "faults.cu", "CORRECT", faults[i].entry);
        for (int landing = GG_SIM_LAND_LATE; landing <= GG_SIM_LAND_RANDOM; landing++) {
            bench_seed(&b, 1, landing);
            gg_status status = bench_launch(&b, kernel, 1, faults[i].threads, 4096, &params, sizeof params);
            if (landing == GG_SIM_LAND_LATE || status) {
                if (status != GG_ERR_LAUNCH) fail_msg("%s passes", faults[i].entry);
                if (!strstr(b.backend->error, faults[i].want))
                    fail_msg("%s: '%s' is not in '%s'", faults[i].entry, faults[i].want, b.backend->error);
                assert_null(strchr(b.backend->error, '\n'));
            }
            /* the machine is as good as new */
            if (bench_launch(&b, twin, 3, faults[i].threads, 4096, &params, sizeof params))
                fail_msg("%s, corrected: %s", faults[i].entry, b.backend->error);
        }
    }
    bench_close(&b);
}

/* What is fetched ahead too is touched after the launch before alone, where that may still run. */
static void test_prefetch_waits(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    const fault_params params = {.in = bench_alloc(&b, 4096)};
    for (int i = 0; i < 4; i++) {
        const bool wrong = i / 2;
        gg_kernel *kernel = bench_kernel(&b, "faults.cu", wrong ? "" : "CORRECT", "prefetch_early");
        b.waits = i % 2;
        const gg_status status = bench_launch(&b, kernel, 2, 32, 0, &params, sizeof params);
        assert_int_equal(status, wrong && b.waits ? GG_ERR_LAUNCH : GG_OK);
    }
    assert_non_null(strstr(b.backend->error, "prefetch before grid_wait: 512 bytes at"));
    bench_close(&b);
}

static void test_deadlock_report(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    fault_params params = {.in = bench_alloc(&b, 4096), .out = bench_alloc(&b, 4096)};
    gg_kernel *kernel = bench_kernel(&b, "faults.cu", "", "deadlock");
    assert_int_equal(bench_launch(&b, kernel, 1, 96, 4096, &params, sizeof params), GG_ERR_LAUNCH);
    /* both places with their threads and what they lack */
    static const char *const wants[] = {
        " 32 in mbarrier_wait at faults.cu:",
        "(mbarrier 0x400, phase 0, parity 0, lacks 1 arrivals and 0 bytes)",
        " 32 in barrier sync at faults.cu:",
        "(barrier 3 has 32 of 64 threads)",
        "simulator seed 0, kernel 'test'",
    };
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++)
        if (!strstr(b.backend->error, wants[i])) fail_msg("'%s' is not in '%s'", wants[i], b.backend->error);
    bench_close(&b);
}

static void test_launch_refusals(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    fault_params params = {.in = bench_alloc(&b, 4096), .out = bench_alloc(&b, 4096)};
    gg_kernel *kernel = bench_kernel(&b, "faults.cu", "CORRECT", "trapped"), *missing;
    static const struct {
        uint32_t grid, threads, smem;
        int params_less;
        const char *want; /* NULL: runs */
    } rows[] = {
        {1, 32, 0, 0, NULL},         {1, 0, 0, 0, "0 threads"},
        {1, 33, 0, 0, "33 threads"}, {1, 64, 0, 0, "bound of 32"},
        {0, 32, 0, 0, "no blocks"},  {1, 32, 232448, 0, NULL},
        {1, 32, 232449, 0, "above"}, {1, 32, 0, 8, "bytes of parameters"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_status status = bench_launch(&b, kernel, rows[i].grid, rows[i].threads, rows[i].smem, &params,
                                        sizeof params - (size_t)rows[i].params_less);
        assert_int_equal(status, rows[i].want ? GG_ERR_LAUNCH : GG_OK);
        if (rows[i].want) assert_non_null(strstr(b.backend->error, rows[i].want));
    }
    assert_int_equal(
        gg_sim_backend.load(b.backend, compiled_path("faults.cu", "CORRECT", false), "nothing", &missing),
        GG_ERR_ARGUMENT);
    assert_string_equal(b.backend->error, "no such kernel 'nothing'");
    assert_int_equal(gg_sim_backend.load(b.backend, "/nonexistent.so", "trapped", &missing), GG_ERR_IO);
    assert_non_null(strstr(b.backend->error, "/nonexistent.so"));
    bench_close(&b);
}

/* --- buffers --- */
static void test_buffers(void **state) {
    (void)state;
    const gg_backend_ops *ops = &gg_sim_backend;
    bench b;
    char error[GG_ERROR_SIZE];
    gg_backend *none;
    bench_open(&b);
    uint8_t *empty = bench_alloc(&b, 0), *odd = bench_alloc(&b, 1000), host[1000], back[1000];
    assert_non_null(empty);
    assert_int_equal((uintptr_t)odd % 256, 0);
    memset(host, 7, sizeof host);
    assert_int_equal(ops->upload(b.backend, odd, host, 1000), GG_OK);
    assert_int_equal(ops->download(b.backend, back, odd, 1000), GG_OK);
    assert_memory_equal(host, back, 1000);
    assert_int_equal(ops->fill(b.backend, odd, 0x01020304, 8, NULL), GG_OK);
    assert_int_equal(ops->copy(b.backend, odd + 500, odd, 500, NULL), GG_OK);
    assert_int_equal(ops->download(b.backend, back, odd, 1000), GG_OK);
    assert_memory_equal(back, back + 500, 500);
    assert_int_equal(back[7], 1);
    assert_int_equal(back[8], 7);
    /* outside */
    assert_int_equal(ops->upload(b.backend, odd, host, 1001), GG_ERR_ARGUMENT);
    assert_non_null(strstr(b.backend->error, "outside device memory: 0 bytes into the 1000-byte allocation"));
    assert_int_equal(ops->upload(b.backend, empty, host, 1), GG_ERR_ARGUMENT);
    assert_int_equal(ops->upload(b.backend, empty, host, 0), GG_OK);
    assert_int_equal(ops->download(b.backend, back, host, 4), GG_ERR_ARGUMENT);
    assert_int_equal(ops->fill(b.backend, odd, 0, 7, NULL), GG_ERR_ARGUMENT);
    void *huge;
    assert_int_equal(ops->alloc(b.backend, SIZE_MAX - 5, &huge), GG_ERR_MEMORY);
    assert_int_equal(ops->open(&none, 1, error), GG_ERR_NO_DEVICE);
    assert_null(none);
    const gg_device *device = ops->device(b.backend);
    assert_int_equal(device->cc, 90);
    assert_int_equal(device->sm_count, 3);
    assert_int_equal(device->smem_per_block, 232448);
    assert_string_equal(ops->target(b.backend).arch, "sim");
    bench_close(&b);
}

/* --- whole products --- */

static void test_products(void **state) {
    (void)state;
    static const char *const entries[] = {"gemm_copies", "gemm_tma"};
    product p;
    product_open(&p);
    for (int i = 0; i < 2; i++) {
        gg_kernel *kernel = bench_kernel(&p.b, "gemm.cu", "", entries[i]);
        for (uint64_t seed = 0; seed < 4 * SEEDS; seed++) {
            p.b.backend->error[0] = '\0';
            if (!product_right(&p, kernel, seed, seed % 2 ? GG_SIM_LAND_RANDOM : GG_SIM_LAND_LATE))
                fail_msg("%s, seed %d: %s", entries[i], (int)seed,
                         *p.b.backend->error ? p.b.backend->error : "wrong");
        }
    }
    product_close(&p);
}

/* Seeded bugs, and of how many seeds at least each must show. A missing barrier shows only where a warp
 * overtakes. */
static const struct {
    const char *entry, *bug;
    int least;
} bugs[] = {
    {"gemm_copies", "BUG_NO_COPY_WAIT", SEEDS},   {"gemm_copies", "BUG_NO_SYNC", SEEDS},
    {"gemm_copies", "BUG_UNGUARDED", SEEDS},      {"gemm_tma", "BUG_NO_FULL_WAIT", SEEDS},
    {"gemm_tma", "BUG_SMALL_TX", SEEDS},          {"gemm_tma", "BUG_WRONG_PHASE", SEEDS},
    {"gemm_tma", "BUG_NO_EMPTY_WAIT", SEEDS},     {"gemm_tma", "BUG_NO_INIT_SYNC", SEEDS / 2},
    {"gemm_tma", "BUG_NO_STORE_SYNC", SEEDS / 2}, {"gemm_tma", "BUG_NO_STORE_WAIT", SEEDS},
};

static void test_bugs(void **state) {
    (void)state;
    product p;
    product_open(&p);
    for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++) {
        gg_kernel *kernel = bench_kernel(&p.b, "gemm.cu", bugs[i].bug, bugs[i].entry);
        int caught = 0;
        p.b.backend->error[0] = '\0';
        for (uint64_t seed = 0; seed < SEEDS; seed++)
            caught += !product_right(&p, kernel, seed, GG_SIM_LAND_LATE);
        print_message("%-12s %-18s %d of %d seeds: %s\n", bugs[i].entry, bugs[i].bug, caught, SEEDS,
                      *p.b.backend->error ? p.b.backend->error : "wrong result");
        if (caught < bugs[i].least) fail_msg("%s caught in %d of %d seeds only", bugs[i].bug, caught, SEEDS);
    }
    product_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_prefetch_waits),
        cmocka_unit_test(test_deadlock_report),
        cmocka_unit_test(test_launch_refusals),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
