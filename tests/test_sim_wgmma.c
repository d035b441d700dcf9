/* test_sim_wgmma.c: wgmma on the simulator against sums in plain C: every N, both types, both majors. */
#include "sim_fixture.h"

typedef struct wgmma_params { /* as in tests/sim/wgmma.cu */
    const void *a, *b;
    float *d;
    int32_t a_rows, b_rows, a_leading, b_leading;
} wgmma_params;

static int value_at(unsigned row, unsigned k) { return (int)((row * 37 + k * 101 + row * k) % 61) - 30; }

/* small integers, exact in both types */
static uint16_t encode(int value, bool fp16) {
    union {
        float f;
        uint32_t u;
    } v = {(float)value};
    if (!fp16) return (uint16_t)(v.u >> 16);
    return value ? (uint16_t)((v.u >> 16 & 0x8000) | ((v.u & 0x7fffffff) - 0x38000000) >> 13) : 0;
}

/* (mn, k) of an operand in rows of 64 elements: K-major has a row per mn; MN-major has, for each 64 of mn, 32
 * rows of k. */
static void fill(uint16_t *out, unsigned count, unsigned salt, bool mn_major, bool fp16) {
    for (unsigned mn = 0; mn < count; mn++)
        for (unsigned k = 0; k < 32; k++)
            out[mn_major ? (mn / 64 * 32 + k) * 64 + mn % 64 : mn * 64 + k] =
                encode(value_at(mn + salt, k), fp16);
}

/* Launches `product`; the worst |difference| of d, or -1 with the backend's error. */
static double run(unsigned n, bool fp16, bool ta, bool tb, const char *bug, char *error) {
    char macros[64];
    snprintf(macros, sizeof macros, "N=%u TYPE=%s TA=%d TB=%d %s", n, fp16 ? "f16" : "bf16", ta, tb, bug);
    bench b;
    bench_open(&b);
    unsigned a_rows = ta ? 32 : 64, b_rows = tb ? (n + 63) / 64 * 32 : n;
    uint16_t *x = bench_alloc(&b, a_rows * 128), *y = bench_alloc(&b, b_rows * 128);
    float *d = bench_alloc(&b, 64 * n * sizeof *d);
    memset(x, 0, a_rows * 128);
    memset(y, 0, b_rows * 128);
    fill(x, 64, 0, ta, fp16);
    fill(y, n, 1000, tb, fp16);
    for (unsigned i = 0; i < 64 * n; i++) d[i] = (float)(i % 1000);
    wgmma_params params = {x, y, d, (int)a_rows, (int)b_rows, 32 * 128, 32 * 128};
    bench_seed(&b, n, fp16 ? GG_SIM_LAND_LATE : GG_SIM_LAND_RANDOM);
    gg_kernel *kernel = bench_kernel(&b, "wgmma.cu", macros, "product");
    double worst = 0;
    if (bench_launch(&b, kernel, 1, 128, (a_rows + b_rows) * 128, &params, sizeof params)) {
        snprintf(error, GG_ERROR_SIZE, "%s", b.backend->error);
        worst = -1;
    }
    for (unsigned i = 0; i < 64 * n && worst >= 0; i++) {
        double sum = i % 1000;
        for (unsigned k = 0; k < 32; k++) sum += value_at(i / n, k) * value_at(i % n + 1000, k);
        double off = (double)d[i] - sum;
        if (!(off == 0)) worst = off == off ? off * off : 1e30; /* NaN too */
    }
    bench_close(&b);
    return worst;
}

static void test_shapes(void **state) {
    (void)state;
    char error[GG_ERROR_SIZE] = "";
    for (unsigned n = 8; n <= 256; n += 8) {
        bool fp16 = n & 8, ta = n & 16, tb = n & 32;
        if (run(n, fp16, ta, tb, "", error) != 0) fail_msg("N %u: %s", n, error);
        if (n & (n - 1)) continue;
        if (run(n, !fp16, !ta, !tb, "", error) != 0) fail_msg("N %u, turned: %s", n, error);
    }
}

static void test_faults(void **state) {
    (void)state;
    char error[GG_ERROR_SIZE] = "";
    assert_true(run(64, false, false, false, "BUG_NO_FENCE", error) < 0);
    assert_non_null(strstr(error, "no wgmma_fence"));
    assert_non_null(strstr(error, "wgmma.cu:"));
    assert_true(run(64, false, false, false, "BUG_SHORT_WAIT", error) > 0); /* NaN until the last product */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
