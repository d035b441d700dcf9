/* test_sim.c: each wrapper of intrinsics.h on the simulator against a plain C expectation. */
#include "sim_fixture.h"

#include <math.h>
#include <sys/wait.h>

typedef struct wrapper_params { /* as in tests/sim/wrappers.cu */
    uint64_t map[16];
    const uint32_t *in;
    uint32_t *out;
    int32_t x, y, z, bytes, u, v;
} __attribute__((aligned(64))) wrapper_params;

/* Runs kernel `entry` with `in_bytes` of input; `out` is filled with `poison` first. */
typedef struct fixture {
    bench b;
    wrapper_params params;
    uint8_t *in, *out;
} fixture;

static fixture *setup(size_t in_bytes, size_t out_bytes, uint32_t poison) {
    fixture *f = calloc(1, sizeof *f);
    bench_open(&f->b);
    f->in = bench_alloc(&f->b, in_bytes);
    f->out = bench_alloc(&f->b, out_bytes);
    gg_sim_backend.fill(f->b.backend, f->out, poison, out_bytes, NULL);
    f->params.in = (const uint32_t *)(const void *)f->in;
    f->params.out = (uint32_t *)(void *)f->out;
    return f;
}

static void launch(fixture *f, gg_kernel *kernel, uint32_t grid, uint32_t threads, uint32_t smem) {
    if (bench_launch(&f->b, kernel, grid, threads, smem, &f->params, sizeof f->params))
        fail_msg("%s", f->b.backend->error);
}

static void run(fixture *f, const char *macros, const char *entry, uint32_t grid, uint32_t threads,
                uint32_t smem) {
    gg_kernel *kernel = bench_kernel(&f->b, "wrappers.cu", macros, entry);
    launch(f, kernel, grid, threads, smem);
}

static void teardown(fixture *f) {
    bench_close(&f->b);
    free(f);
}

/* some repeatable noise */
static uint32_t noise(uint32_t i) {
    i = (i ^ 61 ^ i >> 16) * 9;
    i = (i ^ i >> 4) * 0x27d4eb2d;
    return i ^ i >> 15;
}

static void test_ldmatrix(void **state) {
    (void)state;
    fixture *f = setup(512, 1024, 0);
    uint16_t *rows = (uint16_t *)(void *)f->in;
    for (int i = 0; i < 256; i++) rows[i] = (uint16_t)i; /* row r, element c: 8 r + c */
    run(f, "", "ldmatrix", 1, 32, 512);
    for (int lane = 0; lane < 32; lane++) {
        for (int m = 0; m < 4; m++) {
            int g = lane / 4, t = lane % 4;
            uint32_t plain = f->params.out[lane * 8 + m], transposed = f->params.out[lane * 8 + 4 + m];
#define ELEMENT(row, column) (uint32_t)(8 * ((8 * m + (row)) ^ 5) + (column))
            assert_int_equal(plain, ELEMENT(g, 2 * t) | ELEMENT(g, 2 * t + 1) << 16);
            assert_int_equal(transposed, ELEMENT(2 * t, g) | ELEMENT(2 * t + 1, g) << 16);
        }
    }
    teardown(f);
}

static uint16_t encode(float value, bool fp16) { /* of small integers and their like, exact in both */
    union {
        float f;
        uint32_t u;
    } v = {value};
    if (!fp16) return (uint16_t)(v.u >> 16);
    if (value == 0) return 0;
    return (uint16_t)((v.u >> 16 & 0x8000) | ((v.u & 0x7fffffff) - 0x38000000) >> 13);
}

static void check_mma(const char *entry, int mi, int nj, bool fp16) {
    int m = 16 * mi, n = 8 * nj;
    fixture *f = setup((size_t)(m + n) * 32, (size_t)m * (size_t)n * 4, 0);
    uint16_t *values = (uint16_t *)(void *)f->in;
    float *numbers = malloc((size_t)(m + n) * 16 * sizeof *numbers), *c = (float *)(void *)f->out;
    for (int i = 0; i < (m + n) * 16; i++) {
        numbers[i] = (float)(int)(noise((uint32_t)i) % 255) - 127;
        values[i] = encode(numbers[i], fp16);
    }
    for (int i = 0; i < m * n; i++) c[i] = (float)(i % 1000);
    char macros[64];
    snprintf(macros, sizeof macros, "MI=%d NJ=%d", mi, nj);
    f->params.x = fp16;
    run(f, macros, entry, 1, 32, 0);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            double sum = (i * n + j) % 1000;
            for (int k = 0; k < 16; k++)
                sum += (double)numbers[i * 16 + k] * (double)numbers[(m + j) * 16 + k];
            if ((double)c[i * n + j] != sum)
                fail_msg("%s %dx%d: (%d, %d) is %g, not %g", entry, mi, nj, i, j, c[i * n + j], sum);
        }
    }
    free(numbers);
    teardown(f);
}

static void test_mma(void **state) {
    (void)state;
    static const int shapes[][2] = {{1, 1}, {1, 2}, {2, 4}, {2, 3}, {4, 8}, {1, 7}, {3, 13}, {2, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_mma("mma_bf16", shapes[i][0], shapes[i][1], false);
        check_mma("mma_fp16", shapes[i][0], shapes[i][1], true);
    }
    check_mma("mma_single", 2, 3, false);
    check_mma("mma_single", 2, 3, true);
}

/* products of NaN, infinity and subnormals: only row 3 and column 5 are touched by them */
static void test_mma_specials(void **state) {
    (void)state;
    static const struct {
        bool fp16;
        uint16_t value;
        uint32_t want; /* times one */
    } rows[] = {{false, 0x7f80, 0x7f800000}, {true, 0x7c00, 0x7f800000}, {true, 0xfc00, 0xff800000},
                {true, 0x0001, 0x33800000},  {true, 0x83ff, 0xb87fc000}, {false, 0x0080, 0x00800000}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        fixture *f = setup(24 * 32, 16 * 8 * 4, 0);
        memset(f->in, 0, 24 * 32);
        uint16_t *values = (uint16_t *)(void *)f->in;
        values[3 * 16 + 9] = rows[r].value;
        values[(16 + 5) * 16 + 9] = rows[r].fp16 ? 0x3c00 : 0x3f80;
        f->params.x = rows[r].fp16;
        run(f, "MI=1 NJ=1", "mma_single", 1, 32, 0);
        assert_int_equal(f->params.out[3 * 8 + 5], rows[r].want);
        assert_int_equal(f->params.out[4 * 8 + 5], 0);
        teardown(f);
    }
}

static void test_shuffles(void **state) {
    (void)state;
    fixture *f = setup(256, 768, 0);
    uint32_t *in = (uint32_t *)(void *)f->in;
    for (uint32_t i = 0; i < 64; i++) in[i] = noise(i);
    run(f, "", "shuffles", 1, 64, 0);
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(f->params.out[i], in[(i & 32) + ((i * 7 + 3) & 31)]);
        assert_int_equal(f->params.out[64 + i], in[i ^ 16]);
        assert_int_equal(f->params.out[128 + i], in[i | 31]);
    }
    teardown(f);
}

static void test_warps(void **state) {
    (void)state;
    fixture *f = setup(256, 1024, 0);
    uint32_t *in = (uint32_t *)(void *)f->in;
    for (uint32_t i = 0; i < 64; i++) in[i] = noise(i) | 0x100;
    run(f, "", "warps", 1, 64, 0);
    for (uint32_t i = 0; i < 64; i++) {
        const uint32_t *warp = in + (i & 32);
        uint32_t largest = 0, ballot = 0, match = 0, bits = 0, lowest = 0;
        for (uint32_t lane = 0; lane < 32; lane++) {
            if (warp[lane] > largest) largest = warp[lane];
            ballot |= (uint32_t)((warp[lane] & 4) != 0) << lane;
            match |= (uint32_t)(warp[lane] % 5 == in[i] % 5) << lane;
            bits += in[i] >> lane & 1;
        }
        while (!(in[i] >> lowest & 1)) lowest++;
        assert_int_equal(f->params.out[i], largest);
        assert_int_equal(f->params.out[64 + i], ballot);
        assert_int_equal(f->params.out[128 + i], match);
        assert_int_equal(f->params.out[192 + i], bits * 100 + lowest);
    }
    teardown(f);
}

/* magnitudes only; the first beyond the largest finite one counts as 65536, for rounding */
static double fp16_value(uint32_t bits) {
    uint32_t exponent = bits >> 10, mantissa = bits & 0x3ff;
    return exponent ? ldexp(1024 + mantissa, (int)exponent - 25) : ldexp(mantissa, -24);
}

/* the nearest of the formats' magnitudes to that of `value`, ties to even */
static uint32_t round_fp16(float value) {
    double magnitude = fabs((double)value);
    if (isnan(value)) return 0x7fff;
    uint32_t sign = signbit(value) ? 0x8000 : 0, low = 0, high = 0x7c00;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (fp16_value(middle) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    double below = magnitude - fp16_value(low), above = fp16_value(high) - magnitude;
    return sign | (above < below || (above == below && low % 2) ? high : low);
}

static void test_conversions(void **state) {
    (void)state;
    fixture *f = setup(65536 * 4, 65536 * 8, 0);
    float *in = (float *)(void *)f->in;
    /* every exponent, both signs, and mantissas at and around every tie of both formats */
    for (uint32_t i = 0; i < 65536; i++) {
        static const uint32_t mantissas[] = {0,       1,       0xfff,    0x1000,   0x1001,   0x2fff,  0x3000,
                                             0x3001,  0x7fff,  0x8000,   0x8001,   0xffff,   0x10000, 0x17fff,
                                             0x18000, 0x18001, 0x7fefff, 0x7ff000, 0x7ff001, 0x7fffff};
        uint32_t pick = i / 512, bits = i % 512 << 23 | (pick < 20 ? mantissas[pick] : noise(i) & 0x7fffff);
        memcpy(&in[i], &bits, 4);
    }
    run(f, "", "conversions", 1, 256, 0);
    const uint16_t *fp16 = (const uint16_t *)(f->params.out + 65536), *bf16 = fp16 + 65536;
    for (uint32_t i = 0; i < 65536; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], 4);
        /* the nearest of the two neighbours, by exact arithmetic in double */
        float low, high;
        uint32_t low_bits = bits & 0xffff0000, high_bits = low_bits + 0x10000;
        memcpy(&low, &low_bits, 4);
        memcpy(&high, &high_bits, 4);
        if (isnan(in[i])) {
            assert_int_equal(bf16[i], 0x7fff);
        } else if (isfinite(low) && isfinite(high)) {
            double below = fabs((double)in[i] - (double)low), above = fabs((double)high - (double)in[i]);
            bool up = above < below || (above == below && (low_bits >> 16 & 1));
            assert_int_equal(bf16[i], (up ? high_bits : low_bits) >> 16);
        }
        assert_int_equal(fp16[i], round_fp16(in[i]));
        float wide;
        memcpy(&wide, &f->params.out[i], 4);
        uint32_t magnitude = i & 0x7fff;
        if (magnitude > 0x7c00)
            assert_true(isnan(wide));
        else
            assert_true(!!signbit(wide) == (i >= 0x8000) &&
                        fabs((double)wide) == (magnitude == 0x7c00 ? INFINITY : fp16_value(magnitude)));
    }
    teardown(f);
}

static void test_arithmetic(void **state) {
    (void)state;
    fixture *f = setup(32 * 12, 256, 0);
    float *in = (float *)(void *)f->in;
    for (uint32_t i = 0; i < 96; i++) in[i] = (float)noise(i) * 0x1p-20f * (i % 3 == 2 ? -4096.0f : 1.0f);
    run(f, "", "arithmetic", 1, 32, 0);
    bool differ = false;
    for (int i = 0; i < 32; i++) {
        volatile float product = in[3 * i] * in[3 * i + 1], sum = product + in[3 * i + 2];
        float separate = sum, fused = fmaf(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
        assert_memory_equal(&f->params.out[i], &fused, 4);
        assert_memory_equal(&f->params.out[32 + i], &separate, 4);
        differ |= fused != separate;
    }
    assert_true(differ); /* else the test could not tell them apart */
    teardown(f);
}

static void test_plain(void **state) {
    (void)state;
    fixture *f = setup(1024, 1024, 0);
    uint32_t *in = (uint32_t *)(void *)f->in;
    for (uint32_t i = 0; i < 256; i++) in[i] = noise(i);
    run(f, "", "plain", 1, 64, 1024);
    for (uint32_t t = 0; t < 64; t++) {
        assert_memory_equal(f->params.out + 4 * t, in + 4 * (63 - t), 12);
        assert_int_equal(f->params.out[4 * t + 3], in[4 * t + 1]);
    }
    teardown(f);
}

/* the largest block and all of shared memory */
static void test_largest(void **state) {
    (void)state;
    fixture *f = setup(4096, 4096, 0);
    uint32_t *in = (uint32_t *)(void *)f->in;
    for (uint32_t i = 0; i < 1024; i++) in[i] = noise(i);
    run(f, "", "mirror", 5, 1024, gg_sim_backend.device(f->b.backend)->smem_per_block);
    for (uint32_t i = 0; i < 1024; i++) assert_int_equal(f->params.out[i], in[1023 - i] + 5);
    teardown(f);
}

static void test_atomics(void **state) {
    (void)state;
    fixture *f = setup(16, 32, 0);
    uint64_t *wide = (uint64_t *)(void *)f->out;
    wide[1] = UINT64_MAX;
    run(f, "", "atomics", 3, 64, 0);
    assert_true(wide[0] == (uint64_t)(3 * 64 * 63 / 2) << 32);
    assert_int_equal(wide[1], 937);
    assert_int_equal(f->params.out[4], 192);
    teardown(f);
}

/* every block once; another order for another seed, the same for the same */
static void test_block_order(void **state) {
    (void)state;
    enum { BLOCKS = 17 };
    uint32_t orders[SEEDS + 1][BLOCKS + 1];
    fixture *f = setup(16, sizeof orders[0], 0);
    gg_kernel *kernel = bench_kernel(&f->b, "wrappers.cu", "", "block_order");
    for (int s = 0; s <= SEEDS; s++) {
        memset(f->out, 0, sizeof orders[0]);
        bench_seed(&f->b, (uint64_t)(s % SEEDS), GG_SIM_LAND_LATE);
        launch(f, kernel, BLOCKS, 32, 0);
        memcpy(orders[s], f->out, sizeof orders[0]);
        uint32_t seen = 0;
        for (int i = 1; i <= BLOCKS; i++) seen |= 1u << orders[s][i];
        assert_int_equal(seen, (1u << BLOCKS) - 1);
    }
    assert_memory_equal(orders[0], orders[SEEDS], sizeof orders[0]);
    for (int s = 1; s < SEEDS; s++) assert_memory_not_equal(orders[0], orders[s], sizeof orders[0]);
    teardown(f);
}

static void test_named_barriers(void **state) {
    (void)state;
    fixture *f = setup(128, 8 * 64 * 4, 0);
    uint32_t *in = (uint32_t *)(void *)f->in;
    for (uint32_t i = 0; i < 32; i++) in[i] = noise(i);
    gg_kernel *kernel = bench_kernel(&f->b, "wrappers.cu", "", "named");
    for (uint64_t s = 0; s < SEEDS; s++) {
        bench_seed(&f->b, s, GG_SIM_LAND_LATE);
        launch(f, kernel, 1, 128, 128);
        for (uint32_t i = 0; i < 8 * 64; i++) assert_int_equal(f->params.out[i], in[31 - i % 32] + i / 64);
    }
    gg_kernel *wrong = bench_kernel(&f->b, "wrappers.cu", "BUG_NO_ARRIVE", "named");
    assert_int_equal(bench_launch(&f->b, wrong, 1, 128, 128, &f->params, sizeof f->params), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->b.backend->error, "deadlock: 96 threads wait, 32 have exited"));
    teardown(f);
}

static void test_copies(void **state) {
    (void)state;
    fixture *f = setup(512, 32 * 64, 0);
    uint32_t *in = (uint32_t *)(void *)f->in;
    for (uint32_t i = 0; i < 128; i++) in[i] = noise(i);
    run(f, "", "copies", 1, 32, 1024);
    static const uint32_t poison[4] = {~0u, ~0u, ~0u, ~0u};
    for (uint32_t t = 0; t < 32; t++) {
        uint32_t want[4] = {0};
        memcpy(want, in + 4 * t, t % 17);
        assert_memory_equal(f->params.out + 16 * t, poison, 16); /* before the wait */
        assert_memory_equal(f->params.out + 16 * t + 4, in + 4 * t, 16);
        assert_memory_equal(f->params.out + 16 * t + 8, poison,
                            16); /* the second group may still be pending */
        assert_memory_equal(f->params.out + 16 * t + 12, want, 16);
    }
    /* landing at random, some threads find their data before they wait */
    int early = 0;
    for (uint64_t seed = 0; seed < 64; seed++) {
        bench_seed(&f->b, seed, GG_SIM_LAND_RANDOM);
        run(f, "", "copies", 1, 32, 1024);
        for (int t = 0; t < 32; t++) early += memcmp(f->params.out + 16 * t, poison, 16) != 0;
    }
    assert_in_range(early, 1, 64 * 32 / 2);
    teardown(f);
}

/* --- TMA --------------------------------------------------------------------------------------------------
 */
enum {
    D0 = 72,
    D1 = 21,
    D2 = 3,
    PITCH = 80,
    PLANES = 24
}; /* elements; a row's end and a plane's end are not the tensor's */

typedef struct box_case {
    int rank, box[3], at[3];
} box_case;

static const box_case box_cases[] = {
    {2, {64, 8, 1}, {0, 0, 0}},   {2, {64, 16, 1}, {40, 13, 0}}, {2, {32, 8, 1}, {-5, -3, 0}},
    {2, {32, 24, 1}, {8, 0, 0}},  {2, {16, 8, 1}, {64, 16, 0}},  {2, {16, 40, 1}, {-16, 0, 0}},
    {2, {64, 8, 1}, {72, 21, 0}}, {3, {64, 8, 2}, {16, 15, 1}},  {3, {32, 4, 4}, {-1, -1, -1}},
    {3, {16, 8, 3}, {63, 20, 2}}, {3, {64, 1, 1}, {0, 20, 2}},
};

/* byte offset in shared memory of element (x, y) of the flattened box, as the PTX manual swizzles it: within
 * 8 rows of 128 bytes chunk index bits 0-2 are xored with row bits 0-2; for 64 bytes bits 0-1 with row bits
 * 1-2; for 32 bytes bit 0 with row bit 2 */
static int box_offset(int span, int row, int x) {
    int c = x / 8;
    if (span == 128) c ^= row & 7;
    if (span == 64) c ^= row >> 1 & 3;
    if (span == 32) c ^= row >> 2 & 1;
    return row * span + c * 16 + x % 8 * 2;
}

static void check_box(const box_case *c, bool store) {
    size_t elements = (size_t)PITCH * PLANES * D2;
    int span = c->box[0] * 2, bytes = span * c->box[1] * c->box[2];
    fixture *f = setup((size_t)bytes, store ? elements * 2 : (size_t)bytes, 0xeeeeeeee);
    uint16_t *tensor = store ? (uint16_t *)(void *)f->out : bench_alloc(&f->b, elements * 2);
    if (!store)
        for (size_t i = 0; i < elements; i++) tensor[i] = (uint16_t)noise((uint32_t)i);
    uint16_t *want = malloc(store ? elements * 2 : (size_t)bytes);
    memcpy(want, store ? (void *)tensor : (void *)f->out, store ? elements * 2 : (size_t)bytes);
    for (int i = 0; i < bytes / 2; i++) ((uint16_t *)(void *)f->in)[i] = (uint16_t)noise((uint32_t)i);
    for (int row = 0; row < c->box[1] * c->box[2]; row++) {
        for (int x = 0; x < c->box[0]; x++) {
            int at[3] = {c->at[0] + x, c->at[1] + row % c->box[1], c->at[2] + row / c->box[1]};
            bool inside = at[0] >= 0 && at[0] < D0 && at[1] >= 0 && at[1] < D1 && at[2] >= 0 &&
                          at[2] < (c->rank == 3 ? D2 : 1);
            size_t element = inside ? (size_t)(at[0] + PITCH * at[1] + PITCH * PLANES * at[2]) : 0;
            int offset = box_offset(span, row, x) / 2;
            if (store && inside)
                want[element] = ((uint16_t *)(void *)f->in)[offset];
            else if (!store)
                want[offset] = inside ? tensor[element] : 0;
        }
    }
    gg_tensor_map_spec spec = {.base = tensor,
                               .rank = c->rank,
                               .dims = {D0, D1, D2},
                               .strides = {PITCH * 2, PITCH * PLANES * 2},
                               .box = {(uint32_t)c->box[0], (uint32_t)c->box[1], (uint32_t)c->box[2]}};
    if (gg_sim_backend.tensor_map(f->b.backend, &spec, f->params.map)) fail_msg("%s", f->b.backend->error);
    f->params.x = c->at[0], f->params.y = c->at[1], f->params.z = c->at[2], f->params.bytes = bytes;
    run(f, c->rank == 2 ? "RANK=2" : "RANK=3", store ? "box_store" : "box_load", 1, 32, (uint32_t)bytes + 8);
    assert_memory_equal(want, f->out, store ? elements * 2 : (size_t)bytes);
    free(want);
    teardown(f);
}

static void test_box_load(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof box_cases / sizeof *box_cases; i++) check_box(&box_cases[i], false);
}

static void test_box_store(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof box_cases / sizeof *box_cases; i++) {
        const int *at = box_cases[i].at; /* before the tensor is a fault: store_before in test_sim_bugs.c */
        if (at[0] >= 0 && at[1] >= 0 && at[2] >= 0) check_box(&box_cases[i], true);
    }
}

/* Eight rows of one half of a matrix, eight of the other, in turn: five dimensions. */
static void test_box_of_halves(void **state) {
    enum { WIDE = 80, HALF = 40, MATRICES = 3, BOX = 64 * 2 * 32 };
    static const int places[][5] = {{0, 0, 0, 0, 0},  {16, 0, 0, 3, 2}, {-8, 0, 0, 4, 1},
                                    {8, 2, 1, -1, 0}, {0, 0, 0, 5, 0},  {0, 0, 0, 0, 3}};
    const size_t elements = (size_t)MATRICES * 2 * HALF * WIDE;
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const int *at = places[i];
        fixture *f = setup(BOX, BOX, 0xeeeeeeee);
        uint16_t *tensor = bench_alloc(&f->b, elements * 2), *want = malloc(BOX);
        for (size_t j = 0; j < elements; j++) tensor[j] = (uint16_t)noise((uint32_t)j);
        for (int row = 0; row < 32; row++)
            for (int x = 0; x < 64; x++) {
                const int r = at[1] + row % 8, half = at[2] + row / 8 % 2, group = at[3] + row / 16;
                const bool inside = at[0] + x >= 0 && at[0] + x < WIDE && r < 8 && half < 2 && group >= 0 &&
                                    group < HALF / 8 && at[4] < MATRICES;
                const int of_all = ((at[4] * 2 + half) * HALF + group * 8 + r) * WIDE + at[0] + x;
                want[box_offset(128, row, x) / 2] = inside ? tensor[of_all] : 0;
            }
        const gg_tensor_map_spec spec = {
            .base = tensor,
            .rank = 5,
            .dims = {WIDE, 8, 2, HALF / 8, MATRICES},
            .strides = {WIDE * 2, HALF * WIDE * 2, 8 * WIDE * 2, 2 * HALF * WIDE * 2},
            .box = {64, 8, 2, 2, 1}};
        if (gg_sim_backend.tensor_map(f->b.backend, &spec, f->params.map))
            fail_msg("%s", f->b.backend->error);
        f->params.x = at[0], f->params.y = at[1], f->params.z = at[2], f->params.u = at[3],
        f->params.v = at[4], f->params.bytes = BOX;
        run(f, "RANK=5", "box_load", 1, 32, BOX + 8);
        assert_memory_equal(want, f->out, BOX);
        free(want);
        teardown(f);
    }
}

static void test_map_refusals(void **state) {
    (void)state;
    bench b;
    bench_open(&b);
    uint8_t *base = bench_alloc(&b, 4096);
    static const struct {
        gg_tensor_map_spec spec;
        int shift;
        const char *want;
    } rows[] = {
        {{.rank = 2, .dims = {64, 8}, .strides = {128}, .box = {64, 8}}, 0, NULL},
        {{.rank = 6, .dims = {64, 8}, .strides = {128}, .box = {64, 8}}, 0, "rank"},
        {{.rank = 2, .dims = {64, 8}, .strides = {128}, .box = {64, 8}}, 8, "base"},
        {{.rank = 2, .dims = {64, 0}, .strides = {128}, .box = {64, 8}}, 0, "dimension"},
        {{.rank = 2, .dims = {64, 8}, .strides = {120}, .box = {64, 8}}, 0, "stride"},
        {{.rank = 2, .dims = {64, 8}, .strides = {128}, .box = {64, 257}}, 0, "box"},
        {{.rank = 2, .dims = {64, 8}, .strides = {128}, .box = {128, 8}}, 0, "inner box"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_tensor_map_spec spec = rows[i].spec;
        uint64_t map[16];
        spec.base = base + rows[i].shift;
        gg_status status = gg_sim_backend.tensor_map(b.backend, &spec, map);
        assert_int_equal(status, rows[i].want ? GG_ERR_ARGUMENT : GG_OK);
        if (rows[i].want) assert_non_null(strstr(b.backend->error, rows[i].want));
    }
    bench_close(&b);
}

static void test_phases(void **state) {
    (void)state;
    fixture *f = setup(16, 16 * 32 * 4, 0);
    gg_kernel *right = bench_kernel(&f->b, "wrappers.cu", "", "phases");
    gg_kernel *wrong = bench_kernel(&f->b, "wrappers.cu", "BUG_NO_EMPTY_WAIT", "phases");
    int caught = 0;
    for (uint64_t s = 0; s < SEEDS; s++) {
        bool same = true;
        bench_seed(&f->b, s, GG_SIM_LAND_LATE);
        launch(f, right, 1, 64, 2048);
        for (uint32_t i = 0; i < 16 * 32; i++)
            assert_int_equal(f->params.out[i], 1000 * (i / 32) + 31 - i % 32);
        bench_seed(&f->b, s, GG_SIM_LAND_LATE);
        gg_status status = bench_launch(&f->b, wrong, 1, 64, 2048, &f->params, sizeof f->params);
        for (uint32_t i = 0; i < 16 * 32; i++) same &= f->params.out[i] == 1000 * (i / 32) + 31 - i % 32;
        caught += status != GG_OK || !same;
    }
    assert_true(caught >= SEEDS / 2); /* where the producer runs ahead */
    teardown(f);
}

/* --- the compiler --- */
static void test_compile(void **state) {
    (void)state;
    char out[] = "/tmp/moegemm-test-XXXXXX", error[GG_ERROR_SIZE], version[128];
    close(mkstemp(out));
    static const char good[] = "#include \"intrinsics.h\"\ntypedef struct { u32 x; } P;\n"
                               "KERNEL(k, P, VALUE, 1) { (void)p; }\n";
    static const char bad[] = "#include \"intrinsics.h\"\n\nint x = nothing;\n";
    /* what C lets pass with a warning, and a GPU's compiler does not */
    static const char *const refused[] = {
        "#include \"intrinsics.h\"\nDEVICE int f(void) { return nothing(); }\n",
        "#include \"intrinsics.h\"\nDEVICE int *f(int x) { return x; }\n",
        "#include \"intrinsics.h\"\nDEVICE int *f(u16 *x) { return x; }\n"};
    assert_int_equal(compile("good.cu", good, "VALUE=32 OTHER=1", false, out, error), GG_OK);
    assert_string_equal(error, "");
    assert_int_equal(compile("good.cu", good, "", false, out, error), GG_ERR_COMPILE); /* VALUE is missing */
    assert_int_equal(compile("bad.cu", bad, "", false, out, error), GG_ERR_COMPILE);
    assert_non_null(strstr(error, "bad.cu:3"));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(compile("a.cu", refused[i], "", false, out, error), GG_ERR_COMPILE);
        assert_non_null(strstr(error, "a.cu:2"));
    }
    assert_int_equal(compile("a/b.cu", good, "", false, out, error), GG_ERR_ARGUMENT);
    gg_sim_compiler_version(version);
    assert_true(version[0] != '\0');
    unlink(out);
}

/* in a child, which may lose its PATH and has not asked for the version yet: this test comes first */
static void test_no_compiler(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        char error[GG_ERROR_SIZE], version[128];
        const gg_source_file files[] = {{"a.cu", "int a;\n"}, {NULL, NULL}};
        setenv("PATH", "/nonexistent", 1);
        gg_status status = gg_sim_compile(&(gg_source){.files = files, .root = "a.cu", .macros = ""},
                                          &(gg_target){"sim"}, "/dev/null", error);
        gg_sim_compiler_version(version);
        _exit(status == GG_ERR_COMPILE && !strcmp(error, "cannot run the C compiler 'cc': install gcc") &&
                      version[0] == '\0'
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_compiler),
        cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_mma),
        cmocka_unit_test(test_mma_specials),
        cmocka_unit_test(test_shuffles),
        cmocka_unit_test(test_warps),
        cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_block_order),
        cmocka_unit_test(test_named_barriers),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_box_load),
        cmocka_unit_test(test_box_store),
        cmocka_unit_test(test_box_of_halves),
        cmocka_unit_test(test_map_refusals),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_compile),
    };
    return cmocka_run_group_tests(tests, NULL, remove_compiled);
}
