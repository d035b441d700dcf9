/* test_helpers.c: the harness's own kernels (fill, hash, check, locate) on the simulator against plain C, and
 * a full-size problem judged through them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execute_internal.h"

#define SUBJECT(name) BINARY_DIR "/subjects/" name ".so"
#define OK(call) assert_int_equal(call, GG_OK)

static mg_executor *open_executor(const char *subject) {
    const mg_execute_options options = {.backend = "sim",
                                        .subject = subject,
                                        .golden_dir = SOURCE_DIR "/golden",
                                        .cache_dir = BINARY_DIR "/test-cache",
                                        .repeats = 2,
                                        .sim_limit = 1e9};
    char error[MG_ERROR_SIZE] = "";
    mg_executor *x = NULL;
    if (mg_executor_open(&x, &options, error) != GG_OK) fail_msg("%s", error);
    return x;
}

static int setup(void **state) {
    *state = open_executor("reference");
    return 0;
}
static int teardown(void **state) {
    mg_executor_close(*state);
    return 0;
}

/* A region with this content, between guards of `poison`. */
static mg_region place(mg_executor *x, const void *data, size_t bytes, uint32_t poison) {
    mg_region region = {0};
    OK(mg_region_reserve(x, &region, bytes));
    OK(x->backend->ops->fill(x->backend, region.base, poison, mg_region_total(&region), NULL));
    OK(x->backend->ops->upload(x->backend, mg_region_data(&region), data, bytes));
    return region;
}

static void poke(mg_executor *x, void *device, uint16_t bits) {
    OK(x->backend->ops->upload(x->backend, device, &bits, sizeof bits));
}

/* --- fill --- */

enum { ROWS = 7, COLS = 40, EXPERTS = 3 };
static const int32_t row_map[ROWS] = {6, 0, 3, 3, 9, 13, 2};

static void test_fill(void **state) {
    mg_executor *x = *state;
    enum { DRAWN = 8 };
    uint16_t drawn[DRAWN * COLS], got[ROWS * COLS];
    mg_region map = place(x, row_map, sizeof row_map, 0), out = place(x, got, sizeof got, 0);
    for (int i = 0; i < 12;
         i++) { /* both types, one bit, seven and class real, in order and gathered by halves of slots */
        const gg_dtype dtype = i & 1;
        const bool real = i >= 8, mapped = real ? i & 2 : i & 4;
        const int bits = real ? 0 : i & 2 ? 7 : 1, scale = real ? -18 : i & 2 ? -4 : 0;
        const fill_params params = {.out = mg_region_data(&out),
                                    .row_map = mapped ? mg_region_data(&map) : NULL,
                                    .seed = 0x123456789abcdefull,
                                    .rows = ROWS,
                                    .cols = COLS,
                                    .row_divisor = 2,
                                    .bits = bits,
                                    .scale_log2 = scale,
                                    .dtype = dtype};
        if (real)
            mg_fill_real(params.seed, scale, dtype, 0, DRAWN * COLS, drawn);
        else
            mg_fill_integers(params.seed, bits, scale, dtype, 0, DRAWN * COLS, drawn);
        OK(mg_launch_fill(x, &params));
        OK(x->backend->ops->download(x->backend, got, mg_region_data(&out), sizeof got));
        for (int row = 0; row < ROWS; row++)
            assert_memory_equal(got + row * COLS, drawn + (mapped ? row_map[row] / 2 : row) * COLS,
                                COLS * sizeof *got);
    }
    mg_region_free(x, &map);
    mg_region_free(x, &out);
}

/* --- hash --- */

static const int32_t stored_at[ROWS] = {4, 0, 6, 1, 5, 2, 3}, row_slot[ROWS] = {0, 0, 0, 2, 2, 2, 2};

static void host_hash(const uint16_t *data, const int32_t *map, const int32_t *slot, uint64_t key,
                      uint64_t out[EXPERTS]) {
    memset(out, 0, EXPERTS * sizeof *out);
    for (uint64_t i = 0; i < ROWS * COLS; i++) {
        uint64_t row = i / COLS;
        uint16_t bits = data[(map ? (uint64_t)map[row] : row) * COLS + i % COLS];
        out[slot ? slot[row] : (int32_t)(row / 3)] += mg_splitmix64(key + (i << 16 | bits));
    }
}

static void test_hash(void **state) {
    mg_executor *x = *state;
    uint16_t data[ROWS * COLS];
    uint64_t expected[EXPERTS];
    mg_fill_integers(5, 8, -4, GG_BF16, 0, ROWS * COLS, data);
    mg_region tensor = place(x, data, sizeof data, 0), map = place(x, stored_at, sizeof stored_at, 0),
              slot = place(x, row_slot, sizeof row_slot, 0);
    for (int i = 0; i < 4; i++) {
        const bool mapped = i & 1, by_slot = i & 2;
        const hash_params params = {.data = mg_region_data(&tensor),
                                    .row_map = mapped ? mg_region_data(&map) : NULL,
                                    .row_slot = by_slot ? mg_region_data(&slot) : NULL,
                                    .hashes = x->device_board->hashes,
                                    .key = mg_hash_key(MG_HASH_DW),
                                    .rows = ROWS,
                                    .rows_per_slot = 3,
                                    .cols = COLS};
        host_hash(data, mapped ? stored_at : NULL, by_slot ? row_slot : NULL, params.key, expected);
        OK(mg_board_clear(x));
        OK(mg_launch_hash(x, &params));
        OK(mg_board_read(x));
        assert_memory_equal(x->board->hashes, expected, sizeof expected);
        assert_true(x->board->hashes[EXPERTS] == 0);
    }
    data[3 * COLS + 39] ^= 1; /* one bit, row 3 of slot 1 */
    host_hash(data, NULL, NULL, mg_hash_key(MG_HASH_DW), expected);
    assert_true(x->board->hashes[1] != expected[1]);
    mg_region_free(x, &tensor);
    mg_region_free(x, &map);
    mg_region_free(x, &slot);
}

/* --- check --- */

static const uint32_t poison = 0xfffffffful;

/* What the board and the verdict say of two 16 x 8 runs of y, the second changed at one place or nowhere. */
static void check_pair(mg_executor *x, int64_t changed /* element from the tensor's start */,
                       const char *expected) {
    const mg_problem *p = mg_problem_find("W1-topk2-E4-T7-H72-I20-mult"); /* y is 14 x 40 */
    const mg_case c = {.problem = p, .dtype = GG_BF16};
    const size_t bytes = (size_t)(p->M * p->N) * 2;
    uint16_t *data = calloc(1, bytes);
    mg_result result = {.verdict = MG_PASSED};
    mg_run run = {.x = x, .c = &c, .result = &result, .results = 1u << MG_RES_Y, .poison = poison};
    for (int set = 0; set < 2; set++) {
        mg_region_free(x, &x->results[set][MG_RES_Y]);
        x->results[set][MG_RES_Y] = place(x, data, bytes, poison);
    }
    const mg_region *first = &x->results[0][MG_RES_Y], *later = &x->results[1][MG_RES_Y];
    if (expected) poke(x, (uint16_t *)mg_region_data(later) + changed, 0x3f80);
    const check_params params = {.buffer = (const u16 *)later->base,
                                 .first_run = (const u16 *)first->base,
                                 .report = &x->device_board->reports[MG_RES_Y],
                                 .output_begin = MG_GUARD / 16,
                                 .output_end = (i64)((MG_GUARD + bytes) / 16),
                                 .chunks = (i64)(mg_region_total(later) / 16),
                                 .poison = poison};
    OK(mg_board_clear(x));
    OK(mg_launch_check(x, &params));
    OK(mg_board_read(x));
    OK(mg_judge_reports(&run, 2, 1));
    if (!expected)
        assert_int_equal(result.verdict, MG_PASSED);
    else if (result.verdict != MG_FAILED || strcmp(result.message, expected))
        fail_msg("%s", result.message);
    free(data);
}

static void test_check(void **state) {
    mg_executor *x = *state;
    check_pair(x, 0, NULL);
    check_pair(
        x, 0,
        "'y' differs between runs 1 and 2: [0, 0] is 0 (0x0000), then 1 (0x3f80); in 1 places of 16 bytes");
    check_pair(
        x, 14 * 40 - 1,
        "'y' differs between runs 1 and 2: [13, 39] is 0 (0x0000), then 1 (0x3f80); in 1 places of 16 bytes");
    check_pair(x, 14 * 40, "run 2 wrote outside 'y', past its end: first at byte 0, in 1 places of 16 bytes");
    check_pair(x, 14 * 40 + 2047,
               "run 2 wrote outside 'y', past its end: first at byte 4094, in 1 places of 16 bytes");
    check_pair(x, -1, "run 2 wrote outside 'y', before its start: first at byte 2, in 1 places of 16 bytes");
    check_pair(x, -2048,
               "run 2 wrote outside 'y', before its start: first at byte 4096, in 1 places of 16 bytes");
}

/* --- full-size problems --- */

/* The smallest problem whose goldens are hashes, once right, once wrong in the last product of every sum. */
static const mg_case full = {.function.op = GG_DX,
                             .dtype = GG_BF16,
                             .cls = MG_EXACT,
                             .fusions = GG_PERMUTE_Y,
                             .config = {GG_MMA_SYNC, 32, 32, 32, 4, 2, 0}};

static mg_result execute_full(const char *subject) {
    mg_executor *x = open_executor(subject);
    mg_case c = full;
    mg_result result = {0};
    bool lost;
    c.problem = mg_problem_find("W2-topk1-E16-T128-H1024-I1024-mult");
    assert_non_null(c.problem);
    assert_int_equal(c.problem->store, MG_STORE_HASH);
    mg_execute(x, &c, &result, &lost);
    mg_executor_close(x);
    return result;
}

/* --- signs --- */

/* Zeros keep theirs, and what lies around the tensor stays as it is. */
static void test_signs(void **state) {
    mg_executor *x = *state;
    static const uint16_t before[16] = {0x3f80, 0xbf80, 0, 0x8000, 0x7fff, 0xffff, 1, 0x8001},
                          after[16] = {0xbf80, 0x3f80, 0, 0x8000, 0xffff, 0x7fff, 0x8001, 1};
    uint16_t got[16];
    uint32_t guard;
    mg_region region = place(x, before, sizeof before, poison);
    OK(mg_launch_signs(x, &region));
    OK(x->backend->ops->download(x->backend, got, mg_region_data(&region), sizeof got));
    assert_memory_equal(got, after, sizeof after);
    OK(x->backend->ops->download(x->backend, &guard, (uint8_t *)mg_region_data(&region) + sizeof got, 4));
    assert_true(guard == poison);
    mg_region_free(x, &region);
}

static void test_full_size_passes(void **state) {
    (void)state;
    const mg_result result = execute_full(SUBJECT("example"));
    assert_string_equal(result.message, "");
    assert_int_equal(result.verdict, MG_PASSED);
    assert_int_equal(result.repeats, 2);
    assert_int_equal(result.difference.compared, 128 * 1024);
}

static void test_full_size_fails(void **state) {
    (void)state;
    const mg_result result = execute_full(SUBJECT("wrong_drops_last_k"));
    const mg_difference *d = &result.difference;
    assert_int_equal(result.verdict, MG_FAILED);
    assert_non_null(strstr(result.message, "'dx' has a wrong hash for 16 of 16 experts, first for expert 0"));
    assert_non_null(strstr(result.message, "wrong elements by expert: 0: "));
    assert_non_null(strstr(result.message, "'dx' is wrong: ["));
    assert_null(strstr(result.message, "has a wrong hash too")); /* the reference is right */
    assert_non_null(strstr(result.message, " tiles of 32 x 32 are wrong; tile (0, 0): "));
    assert_non_null(strstr(result.message, ", reference "));
    assert_true(d->wrong > 64 * 1024 && d->wrong < d->compared); /* NumPy saw 82 to 92% for this fault */
    assert_int_equal(d->expert, 0);
    assert_true(d->expected != d->got);
    assert_int_equal(d->map_rows, MG_MAP_SIZE);
    for (int i = 0; i < MG_MAP_SIZE * MG_MAP_SIZE; i++) assert_true(d->map[i] > 128);
}

/* A fault in one place names that tile alone. */
static void test_wrong_tile_is_named(void **state) {
    (void)state;
    const mg_result result = execute_full(SUBJECT("wrong_leaves_tile"));
    assert_int_equal(result.verdict, MG_FAILED);
    assert_int_equal(result.difference.wrong, 8);
    assert_non_null(strstr(
        result.message, "expert 0: 1 of 32 tiles of 32 x 32 are wrong; tile (0, 0): 8 wrong, [0, 8] is nan, "
                        "reference 1096"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signs, setup, teardown),
        cmocka_unit_test(test_full_size_passes),
        cmocka_unit_test(test_full_size_fails),
        cmocka_unit_test(test_wrong_tile_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
