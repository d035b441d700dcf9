/* test_sim_silu.c: the first GEMM with silu_and_mul in its epilogue against the GEMM and the kernel of its own, bit for
 * bit: every tile of wgmma, with and without gathers, TMA stores and gate and up kept. On the simulator, or on a GPU:
 * MOEGEMM_TEST_BACKEND=cuda; MOEGEMM_NIGHTLY=1 crosses all flags with all tiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "device/params.h"
#include "device/moe_params.h"
#include "patched.h"
#include "planning.h"

/* Tails of columns and of the reduction; an expert without rows, of more than a tile, of few. N is 2I. */
static const struct shape {
    int32_t E, N, K, topk, T, m_sizes[4];
} shapes[] = {
    {4, 272, 72, 2, 150, {131, 0, 160, 9}},
    {2, 80, 392, 4, 65, {260, 0}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, FLAG_SETS = 8, TILES = 12, POISON = 0x7ffd, WHAT = 512 };

typedef struct world {
    gg_context *context;
    const struct shape *shape;
    gg_dtype dtype;
    size_t M;
    gg_tensors tensors; /* of all that a launch may want */
    void *first;        /* y of the GEMM alone */
    uint16_t *expected_first, *expected, *got;
} world;

/* Odd integers of four bits, scaled so that sums are near 1 and exact in fp32: their rounding is what may go wrong. */
static void *operand(const world *w, size_t count, int exponent, uint64_t seed) {
    uint16_t *values = malloc(count * sizeof *values);
    void *device;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        union {
            float f;
            uint32_t u;
        } v = {(float)((int)(seed >> 60) * 2 - 15)};
        v.u += (uint32_t)exponent << 23;
        const uint32_t fp16 = (v.u >> 16 & 0x8000) | ((v.u & 0x7fffffff) - 0x38000000) >> 13;
        values[i] = (uint16_t)(w->dtype == GG_BF16 ? v.u >> 16 : fp16);
    }
    assert_int_equal(gg_alloc(w->context, count * 2, &device), GG_OK);
    assert_int_equal(gg_upload(w->context, device, values, count * 2), GG_OK);
    free(values);
    return device;
}

static void *upload_ints(const world *w, const int32_t *values, size_t count) {
    void *device;
    assert_int_equal(gg_alloc(w->context, count * 4, &device), GG_OK);
    assert_int_equal(gg_upload(w->context, device, values, count * 4), GG_OK);
    return device;
}

static void poison(const world *w, void *device, size_t count) {
    for (size_t i = 0; i < count; i++) w->got[i] = POISON;
    assert_int_equal(gg_upload(w->context, device, w->got, count * 2), GG_OK);
}

static gg_problem problem_of(const world *w, unsigned fusions) {
    const struct shape *s = w->shape;
    return (gg_problem){.op = GG_FORWARD,
                        .dtype = w->dtype,
                        .gemm = GG_GEMM_FIRST,
                        .fusions = fusions,
                        .E = s->E,
                        .N = s->N,
                        .K = s->K,
                        .topk = s->topk,
                        .T = s->T};
}

static bool launch(world *w, const gg_problem *problem, const gg_config *config, const gg_tensors *tensors) {
    return !gg_forward(w->context, problem, config, tensors, NULL) && !gg_synchronize(w->context);
}

static void place(world *w) {
    const struct shape *s = w->shape;
    const size_t M = w->M = (size_t)(s->T * s->topk), N = (size_t)s->N, K = (size_t)s->K, E = (size_t)s->E;
    int32_t *slots = malloc(M * sizeof *slots);
    for (size_t i = 0; i < M; i++) slots[i] = (int32_t)((i * 7919 + 13) % M);
    w->expected_first = malloc(M * N * 2);
    w->expected = malloc(M * N);
    w->got = malloc(M * N * 2);
    w->tensors = (gg_tensors){.x = operand(w, M * K, -3, 1),
                              .w = operand(w, E * N * K, -7, 2),
                              .m_sizes = upload_ints(w, s->m_sizes, E),
                              .gather_indices = upload_ints(w, slots, M)};
    assert_int_equal(gg_alloc(w->context, M * N * 2, &w->first), GG_OK);
    assert_int_equal(gg_alloc(w->context, M * N * 2, &w->tensors.y), GG_OK);
    assert_int_equal(gg_alloc(w->context, M * N, &w->tensors.activation), GG_OK);
    free(slots);
}

static void clear(world *w) {
    const void *const memory[] = {
        w->tensors.x,          w->tensors.w, w->tensors.m_sizes, w->tensors.gather_indices, w->tensors.y,
        w->tensors.activation, w->first};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        gg_free(w->context, (void *)(uintptr_t)memory[i]);
    free(w->expected_first);
    free(w->expected);
    free(w->got);
}

/* What the GEMM and silu_and_mul give. */
static void expect(world *w, unsigned fusions) {
    enum { THREADS = 256 };
    const gg_config plain = {
        .mainloop = GG_WGMMA, .block_m = 128, .block_n = 128, .block_k = 64, .num_warps = 8, .num_stages = 3};
    const gg_problem problem = problem_of(w, fusions);
    const size_t N = (size_t)w->shape->N;
    gg_tensors tensors = w->tensors;
    char macros[16];
    tensors.y = w->first;
    if (!launch(w, &problem, &plain, &tensors)) fail_msg("the GEMM alone: %s", gg_error(w->context));
    snprintf(macros, sizeof macros, "DTYPE=%d", (int)w->dtype);
    const gg_source source = {.files = gg_embedded_sources, .root = "silu.cu", .macros = macros};
    const silu_params params = {.gate_up = w->first,
                                .activation = w->tensors.activation,
                                .rows = (int64_t)w->M,
                                .I = w->shape->N / 2};
    const gg_launch_spec spec = {
        .grid = 8, .threads = THREADS, .params = &params, .params_bytes = sizeof params, .label = "silu.cu"};
    gg_kernel *kernel;
    gg_backend *backend = gg_context_backend(w->context);
    if (gg_context_kernel(w->context, &source, "silu_and_mul", &kernel) ||
        backend->ops->launch(backend, kernel, &spec, NULL) || gg_synchronize(w->context))
        fail_msg("silu_and_mul: %s", gg_error(w->context));
    assert_int_equal(gg_download(w->context, w->expected_first, w->first, w->M * N * 2), GG_OK);
    assert_int_equal(gg_download(w->context, w->expected, w->tensors.activation, w->M * N), GG_OK);
}

/* Whether all bits are as expected; else `what` says which is not. */
static bool compare(world *w, const char *name, const void *device, const uint16_t *expected, size_t cols,
                    char what[WHAT]) {
    assert_int_equal(gg_download(w->context, w->got, device, w->M * cols * 2), GG_OK);
    for (size_t i = 0; i < w->M * cols; i++)
        if (w->got[i] != expected[i]) {
            snprintf(what, WHAT, "%s [%zu, %zu] is %04x, expected %04x", name, i / cols, i % cols, w->got[i],
                     expected[i]);
            return false;
        }
    return true;
}

/* Bits of `flags`: gather, keep gate and up, store by TMA. Refused: the planner takes no such tile. */
typedef enum verdict { REFUSED, RIGHT, WRONG } verdict;
static verdict check(world *w, gg_config config, unsigned flags, char what[WHAT]) {
    const bool keep = flags & 2;
    const unsigned permute_x = flags & 1 ? GG_PERMUTE_X : 0u;
    const gg_problem problem = problem_of(w, permute_x | GG_FUSE_SILU | (keep ? GG_KEEP_FIRST : 0u));
    const size_t N = (size_t)w->shape->N;
    gg_tensors tensors = w->tensors;
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    config.tma = GG_TMA_LOAD_W | (permute_x ? 0u : GG_TMA_LOAD_X) | (flags & 4 ? GG_TMA_STORE : 0u);
    if (gg_plan_make(&problem, &config, gg_get_device(w->context), &plan, reason)) return REFUSED;
    if (!keep) tensors.y = NULL;
    poison(w, w->tensors.y, w->M * N);
    poison(w, w->tensors.activation, w->M * N / 2);
    if (!launch(w, &problem, &config, &tensors)) {
        snprintf(what, WHAT, "%s", gg_error(w->context));
        return WRONG;
    }
    return compare(w, "activation", w->tensors.activation, w->expected, N / 2, what) &&
                   (!keep || compare(w, "first", w->tensors.y, w->expected_first, N, what))
               ? RIGHT
               : WRONG;
}

static void every_tile_gives_the_same_bits(void **state) {
    const bool all = getenv("MOEGEMM_NIGHTLY") != NULL;
    const char *backend = getenv("MOEGEMM_TEST_BACKEND");
    const gg_options options = {.backend = backend ? backend : "sim"};
    world w = {0};
    int checked = 0, refused = 0;
    (void)state;
    if (gg_open(&w.context, &options)) fail_msg("%s", gg_error(w.context));
    for (int s = 0; s < SHAPES; s++)
        for (unsigned gathers = 0; gathers < 2; gathers++) {
            w.shape = &shapes[s];
            w.dtype = (s + (int)gathers) % 2 ? GG_FP16 : GG_BF16;
            place(&w);
            expect(&w, gathers ? GG_PERMUTE_X : 0u);
            int turn = 0;
            for (int rows = 64; rows <= 256; rows += 64)
                for (int cols = 64; cols <= 256; cols *= 2)
                    for (int warps = 4; warps <= 8; warps += 4, turn++)
                        for (unsigned flags = gathers; flags < FLAG_SETS; flags += 2) {
                            const gg_config config = {.mainloop = GG_WGMMA,
                                                      .block_m = rows,
                                                      .block_n = cols,
                                                      .block_k = 64,
                                                      .num_warps = warps,
                                                      .num_stages = 2 + turn % 3};
                            /* each tile with a gather or without, and with two of its four other sets of flags */
                            if (!all && (turn / 2 % (2 * SHAPES) != s * 2 + (int)gathers ||
                                         turn / 8 % 2 != (int)(flags / 2 ^ flags / 4) % 2))
                                continue;
                            char what[WHAT];
                            const verdict got = check(&w, config, flags, what);
                            if (got == WRONG)
                                fail_msg("tile %d x %d, %d warps, flags %u: %s", rows, cols, warps, flags,
                                         what);
                            checked += got == RIGHT;
                            refused += got == REFUSED;
                        }
            clear(&w);
        }
    gg_close(w.context);
    print_message("%d kernels, %d refused\n", checked, refused);
    assert_int_equal(checked, all ? TILES * FLAG_SETS * SHAPES : TILES * 2);
}

/* The second buffer of a piece, for gate and up, and batches of such pieces. */
static void wrong_places_of_gate_and_up_are_seen(void **state) {
    enum { KEEP = 2, BY_TMA = 4 };
    static const struct {
        const char *file, *find, *replace;
        unsigned flags;
        int rows, cols, stages;
    } seeded[] = {
        {"wgmma_silu.h", "((tile)-1) * SILU_TILE_BYTES", "((tile)-1) * 0", KEEP, 64, 128, 3},
        {"wgmma_silu.h", "((tile)-1) * SILU_TILE_BYTES", "((tile)-1) * 0", KEEP | BY_TMA, 128, 64, 3},
        {"wgmma_silu.h", "(tile) == 0 ? 0 : PIECE_BYTES +", "(tile) == 0 ? 0 :", KEEP, 64, 64, 3},
        {"wgmma_silu.h", "RAGGED_BACK, staged + SILU_TILE_OFFSET(tile));", "RAGGED_BACK, staged);",
         KEEP | BY_TMA, 64, 64, 3},
        {"wgmma_silu.h", "from + tile - 1", "from + 2 - tile", KEEP | BY_TMA, 64, 128, 3},
        {"wgmma_silu.h", "i32 from = (rows->from - RAGGED_BACK) * 2 + RAGGED_BACK;", "i32 from = rows->from;",
         KEEP | BY_TMA, 64, 64, 3},
        {"wgmma_silu.h", "(p->first + (tile - 1) * cols + col)", "(p->first + (2 - tile) * cols + col)", KEEP,
         64, 64, 3},
        {"wgmma_silu.h", "(tile == 0 ? 2 : 4)", "2", KEEP, 64, 64, 3},
        {"wgmma_silu.h", "i += STORER_THREADS)", "i += GROUP_THREADS)", KEEP, 64, 64, 3},
        {"wgmma_tile.h", "#define PIECE_BUFFERS (SILU == 2 ? 2 : 1)", "#define PIECE_BUFFERS 1", KEEP, 128,
         128, 3},
        {"wgmma_tile.h", "#define BATCH_BYTES (BATCH * PIECE_BUFFERS * PIECE_BYTES)",
         "#define BATCH_BYTES (BATCH * PIECE_BYTES)", KEEP, 128, 128, 3},
        {"wgmma_output.h", "(u32)(i * PIECE_BUFFERS * PIECE_BYTES);", "(u32)(i * PIECE_BYTES);", KEEP, 256,
         128, 3},
        /* one piece at a time: four batches */
        {"wgmma_output.h", "out->values[i - SLOTS * BATCH], i - b", "out->values[i - b * BATCH], i - b", KEEP,
         256, 128, 4},
        {"wgmma_output.h", "for (int i = FIRST_BATCHES; i < BATCHES; i++)",
         "for (int i = FIRST_BATCHES; i < BATCHES && i < 3; i++)", KEEP, 256, 128, 4},
    };
    world w = {.shape = &shapes[0], .dtype = GG_BF16};
    (void)state;
    if (gg_open(&w.context, &(gg_options){.backend = "sim"})) fail_msg("%s", gg_error(w.context));
    place(&w);
    expect(&w, 0);
    for (size_t i = 0; i < sizeof seeded / sizeof *seeded; i++) {
        const gg_config config = {.mainloop = GG_WGMMA,
                                  .block_m = seeded[i].rows,
                                  .block_n = seeded[i].cols,
                                  .block_k = 64,
                                  .num_warps = seeded[i].cols == 64 ? 4 : 8,
                                  .num_stages = seeded[i].stages};
        gg_source_file files[64];
        char *text = NULL, what[WHAT] = "";
        int count = 0;
        while (gg_embedded_sources[count].name) count++;
        memcpy(files, gg_embedded_sources, (size_t)(count + 1) * sizeof *files);
        gg_context_use_sources(w.context, NULL, NULL);
        if (check(&w, config, seeded[i].flags, what) != RIGHT) fail_msg("row %zu, as shipped: %s", i, what);
        for (int f = 0; f < count; f++)
            if (!strcmp(files[f].name, seeded[i].file))
                files[f].text = text = patched(files[f].text, seeded[i].find, seeded[i].replace);
        gg_context_use_sources(w.context, files, "wgmma.cu");
        if (check(&w, config, seeded[i].flags, what) != WRONG)
            fail_msg("row %zu is not seen: '%s'", i, seeded[i].replace);
        print_message("%s\n", what);
        free(text);
    }
    clear(&w);
    gg_close(w.context);
}

/* What cannot be fused is refused, by name. */
static void others_are_refused(void **state) {
    static const struct {
        unsigned fusions;
        gg_op op;
        gg_mainloop mainloop;
        gg_gemm gemm;
        int32_t N;
        unsigned tma;
        const char *reason;
    } rows[] = {
        {GG_FUSE_SILU, GG_FORWARD, GG_WGMMA, GG_GEMM_FIRST, 256, GG_TMA_LOAD_W, ""},
        {GG_FUSE_SILU | GG_KEEP_FIRST, GG_FORWARD, GG_WGMMA, GG_GEMM_ANY, 256, GG_TMA_LOAD_W, ""},
        {GG_FUSE_SILU, GG_FORWARD, GG_MMA_SYNC, GG_GEMM_FIRST, 256, GG_TMA_LOAD_W, "mainloop mma_sync"},
        {GG_FUSE_SILU, GG_FORWARD, GG_WGMMA, GG_GEMM_FIRST, 256, 0, "without use_tma_load_w"},
        {GG_FUSE_SILU, GG_FORWARD, GG_WGMMA, GG_GEMM_FIRST, 264, GG_TMA_LOAD_W, "multiple of 16"},
        {GG_FUSE_SILU, GG_FORWARD, GG_WGMMA, GG_GEMM_SECOND, 256, GG_TMA_LOAD_W, "second GEMM"},
        {GG_FUSE_SILU | GG_PERMUTE_Y, GG_FORWARD, GG_WGMMA, GG_GEMM_ANY, 256, GG_TMA_LOAD_W, "second GEMM"},
        {GG_FUSE_SILU, GG_DX, GG_WGMMA, GG_GEMM_FIRST, 256, GG_TMA_LOAD_W, "in dX"},
        {GG_KEEP_FIRST, GG_FORWARD, GG_WGMMA, GG_GEMM_FIRST, 256, GG_TMA_LOAD_W, "without fuse_silu"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const gg_problem problem = {.op = rows[i].op,
                                    .gemm = rows[i].gemm,
                                    .fusions = rows[i].fusions,
                                    .E = 2,
                                    .N = rows[i].N,
                                    .K = 64,
                                    .topk = 1,
                                    .T = 64};
        const gg_config config = tiles_of_64(rows[i].mainloop, rows[i].tma);
        char reason[GG_REASON_SIZE];
        gg_plan planned;
        const gg_status status = gg_plan_make(&problem, &config, &hopper, &planned, reason);
        if (!status == !!rows[i].reason[0] || !strstr(reason, rows[i].reason))
            fail_msg("row %zu: %s, not '%s'", i, reason, rows[i].reason);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_tile_gives_the_same_bits),
                                       cmocka_unit_test(wrong_places_of_gate_and_up_are_seen),
                                       cmocka_unit_test(others_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
