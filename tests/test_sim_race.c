/* test_sim_race.c: the happens-before shadow: every seeded bug in every seed, with both accesses named, and no
 * report on the correct twins. */
#include "sim_product.h"

/* Launches with the checker; the error, or "" where nothing is wrong. */
static const char *product_races(product *p, gg_kernel *kernel, uint64_t seed) {
    p->b.backend->error[0] = '\0';
    return product_right(p, kernel, seed, GG_SIM_LAND_LATE) ? ""
           : *p->b.backend->error                           ? p->b.backend->error
                                                            : "wrong result";
}

static void test_clean(void **state) {
    (void)state;
    static const char *const entries[] = {"gemm_copies", "gemm_tma"};
    product p;
    product_open(&p);
    bench_check_races(&p.b);
    for (int i = 0; i < 2; i++) {
        gg_kernel *kernel = bench_kernel(&p.b, "gemm.cu", "", entries[i]);
        for (uint64_t seed = 0; seed < 20; seed++) {
            const char *error = product_races(&p, kernel, seed);
            if (*error) fail_msg("%s, seed %d: %s", entries[i], (int)seed, error);
        }
    }
    product_close(&p);
}

static const struct {
    const char *entry, *bug, *want;
} bugs[] = {
    {"gemm_copies", "BUG_NO_COPY_WAIT", "no cp_async_wait"},
    {"gemm_copies", "BUG_NO_SYNC", "shared memory"},
    {"gemm_copies", "BUG_UNGUARDED", "outside global memory"},
    {"gemm_tma", "BUG_NO_FULL_WAIT", "shared memory"},
    {"gemm_tma", "BUG_SMALL_TX", ""},
    {"gemm_tma", "BUG_WRONG_PHASE", "deadlock"},
    {"gemm_tma", "BUG_NO_EMPTY_WAIT", ""},
    {"gemm_tma", "BUG_NO_INIT_SYNC", "mbarrier"},
    {"gemm_tma", "BUG_NO_STORE_SYNC", "shared memory"},
    {"gemm_tma", "BUG_NO_STORE_WAIT", "no tma_store_wait_read"},
};

static void test_bugs(void **state) {
    (void)state;
    product p;
    product_open(&p);
    bench_check_races(&p.b);
    for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++) {
        gg_kernel *kernel = bench_kernel(&p.b, "gemm.cu", bugs[i].bug, bugs[i].entry);
        for (uint64_t seed = 0; seed < 20; seed++) {
            const char *error = product_races(&p, kernel, seed);
            if (!*error) fail_msg("%s passes with seed %d", bugs[i].bug, (int)seed);
            if (!strstr(error, bugs[i].want))
                fail_msg("%s: '%s' is not in '%s'", bugs[i].bug, bugs[i].want, error);
            if (seed == 0) print_message("%-18s %s\n", bugs[i].bug, error);
        }
    }
    product_close(&p);
}

/* wgmma: each row is one macro of tests/sim/wgmma.cu */
static const struct {
    const char *bug, *want;
} products[] = {
    {"", NULL},
    {"BUG_NO_PROXY_FENCE", "no fence_proxy_async"},
    {"BUG_NO_SYNC", "shared memory"},
    {"BUG_NO_FENCE", "no wgmma_fence"},
    {"BUG_SHORT_WAIT", "no wgmma_wait between the wgmma at wgmma.cu:"},
};

typedef struct wgmma_params { /* as in tests/sim/wgmma.cu */
    const void *a, *b;
    float *d;
    int32_t a_rows, b_rows, a_leading, b_leading;
} wgmma_params;

static void test_wgmma(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    bench_check_races(&b);
    wgmma_params params = {
        bench_alloc(&b, 64 * 128), bench_alloc(&b, 64 * 128), bench_alloc(&b, 64 * 64 * 4), 64, 64, 0, 0};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        char macros[64];
        snprintf(macros, sizeof macros, "N=64 TYPE=bf16 TA=0 TB=0 %s", products[i].bug);
        gg_kernel *kernel = bench_kernel(&b, "wgmma.cu", macros, "product");
        for (uint64_t seed = 0; seed < 20; seed++) {
            bench_seed(&b, seed, GG_SIM_LAND_LATE);
            gg_status status = bench_launch(&b, kernel, 1, 128, 128 * 128, &params, sizeof params);
            const char *error = b.backend->error;
            if (status && !products[i].want) fail_msg("correct, seed %d: %s", (int)seed, error);
            if (products[i].want && !status) fail_msg("%s passes with seed %d", products[i].bug, (int)seed);
            if (products[i].want && !strstr(error, products[i].want))
                fail_msg("%s: '%s' is not in '%s'", products[i].bug, products[i].want, error);
            if (seed == 0 && status) print_message("%-18s %s\n", products[i].bug, error);
        }
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clean), cmocka_unit_test(test_bugs),
                                       cmocka_unit_test(test_wgmma)};
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
