/* test_plan_copies.c: the planner of rows that are copied together before they are multiplied: when that is legal, what is then
 * launched, how much room it takes, and when it is chosen. */
#include "planning.h"

/* Where nothing is gathered there is nothing to copy, and that is what is said. */
static void test_copies_need_a_gather(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned fusions;
        const char *reason; /* NULL: legal */
    } rows[] = {
        {GG_FORWARD, 0, "copy_rows without permute_x in forward: no rows are gathered"},
        {GG_FORWARD, GG_PERMUTE_Y, "copy_rows without permute_x in forward: no rows are gathered"},
        {GG_FORWARD, GG_PERMUTE_Y | GG_FUSE_MUL_POST,
         "copy_rows without permute_x in forward: no rows are gathered"},
        {GG_FORWARD, GG_PERMUTE_X, NULL},
        {GG_DX, 0, "copy_rows without permute_y in dX: no rows are gathered"},
        {GG_DX, GG_PERMUTE_X, "copy_rows without permute_y in dX: no rows are gathered"},
        {GG_DX, GG_PERMUTE_Y, NULL},
        {GG_DW, 0, "copy_rows without permute_y or permute_x in dW: no rows are gathered"},
        {GG_DW, GG_PERMUTE_X, NULL},
        {GG_DW, GG_PERMUTE_Y, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (gg_mainloop mainloop = 0; mainloop < GG_NUM_MAINLOOPS; mainloop++) {
            gg_problem p = forward;
            gg_config c = tiles_of_64(mainloop, 0);
            c.copy_rows = true;
            gg_plan out;
            char reason[GG_REASON_SIZE];
            p.op = rows[i].op, p.fusions = rows[i].fusions;
            assert_int_equal(plan(p, c, hopper, &out, reason), rows[i].reason ? GG_ERR_REFUSED : GG_OK);
            assert_string_equal(reason, rows[i].reason ? rows[i].reason : "");
        }
}

/* The GEMM is that of the problem without the gather, to the last macro, with every use of TMA that it allows; what is scattered
 * stays scattered. */
static void test_copied_rows_are_multiplied_plainly(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned fusion, tma, forbidden;
    } rows[] = {
        {GG_FORWARD, GG_PERMUTE_X, GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_STORE, GG_TMA_LOAD_DY},
        {GG_DX, GG_PERMUTE_Y, GG_TMA_LOAD_DY | GG_TMA_LOAD_W | GG_TMA_STORE, GG_TMA_LOAD_X},
        {GG_DW, GG_PERMUTE_X, GG_TMA_LOAD_DY | GG_TMA_LOAD_X | GG_TMA_STORE, GG_TMA_LOAD_W},
        {GG_DW, GG_PERMUTE_Y, GG_TMA_LOAD_DY | GG_TMA_LOAD_X | GG_TMA_STORE, GG_TMA_LOAD_W},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int wgmma = 0; wgmma < 2; wgmma++) {
            gg_problem fused = forward, plain = forward;
            gg_config c = tiles_of_64(wgmma ? GG_WGMMA : GG_MMA_SYNC, rows[i].tma);
            gg_plan copied, of_plain;
            char reason[GG_REASON_SIZE];
            plain.op = fused.op = rows[i].op;
            fused.fusions = rows[i].fusion;
            assert_int_equal(plan(plain, c, hopper, &of_plain, reason), GG_OK);
            assert_int_equal(of_plain.copied, 0);
            assert_int_equal(plan(fused, c, hopper, &copied, reason), GG_ERR_REFUSED);
            c.copy_rows = true;
            assert_int_equal(plan(fused, c, hopper, &copied, reason), GG_OK);
            assert_int_equal(copied.copied, rows[i].fusion);
            assert_int_equal(copied.problem.fusions, rows[i].fusion);
            assert_string_equal(copied.macros, of_plain.macros);
            assert_string_equal(copied.source, of_plain.source);
            assert_true(copied.grid == of_plain.grid && copied.threads == of_plain.threads &&
                        copied.smem_bytes == of_plain.smem_bytes);
            assert_memory_equal(copied.box_rows, of_plain.box_rows, sizeof copied.box_rows);
            assert_true(copied.short_box_rows == of_plain.short_box_rows &&
                        copied.ragged_loads == of_plain.ragged_loads &&
                        copied.ragged_stores == of_plain.ragged_stores &&
                        copied.weights_by_lines == of_plain.weights_by_lines &&
                        copied.draws_tiles == of_plain.draws_tiles);
            c.tma |= rows[i].forbidden;
            assert_int_equal(plan(fused, c, hopper, &copied, reason), GG_ERR_REFUSED);
            c.tma = 0, fused.T = 0;
            assert_int_equal(plan(fused, c, hopper, &copied, reason), GG_OK);
            assert_true(copied.empty);
        }
}

static void test_workspace_bytes(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned fusions;
        size_t columns; /* of forward's 256 and 128; 0: nothing is gathered */
    } rows[] = {
        {GG_FORWARD, 0, 0},
        {GG_FORWARD, GG_PERMUTE_X, 128},
        {GG_FORWARD, GG_PERMUTE_Y, 0},
        {GG_FORWARD, GG_PERMUTE_Y | GG_FUSE_MUL_POST, 0},
        {GG_DX, 0, 0},
        {GG_DX, GG_PERMUTE_X, 0},
        {GG_DX, GG_PERMUTE_Y, 256},
        {GG_DW, 0, 0},
        {GG_DW, GG_PERMUTE_X, 128},
        {GG_DW, GG_PERMUTE_Y, 256},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_problem p = forward;
        p.op = rows[i].op, p.fusions = rows[i].fusions;
        assert_int_equal(gg_workspace_bytes(&p), 2 * 100 * rows[i].columns * 2);
        p.T = 0;
        assert_int_equal(gg_workspace_bytes(&p), 0);
    }
    gg_problem large = forward; /* beyond 32 bits */
    large.fusions = GG_PERMUTE_X, large.T = 1 << 20, large.topk = 8, large.K = 8192;
    assert_true(gg_workspace_bytes(&large) == (size_t)137438953472);
    large.T = 500000000, large.topk = 2, large.K = INT32_MAX - 7;
    assert_true(gg_workspace_bytes(&large) == (size_t)2000000000 * (INT32_MAX - 7));
    large.op = GG_NUM_OPS; /* what is no problem wants nothing */
    assert_int_equal(gg_workspace_bytes(&large), 0);
}

/* Copying is chosen where it was measured to pay, of the models' GEMMs at both ends of their lengths; never without a
 * workspace, nor before sm_90. */
static void test_copying_defaults(void **state) {
    (void)state;
    enum { QWEN3, LLAMA4 };
    enum { FWD1 = 1, DW1 = 2, DX2 = 4, DW2 = 8 };
    static const struct {
        int E, topk, N[2], K[2];
    } models[] = {
        [QWEN3] = {128, 8, {1536, 2048}, {2048, 768}}, [LLAMA4] = {16, 1, {16384, 5120}, {5120, 8192}}};
    static const struct {
        int model, T;
        unsigned copied;
    } rows[] = {{QWEN3, 1024, 0},
                {QWEN3, 8192, 0},
                {LLAMA4, 1024, FWD1 | DW1 | DX2 | DW2},
                {LLAMA4, 8192, FWD1 | DW1 | DW2}};
    static const struct {
        unsigned bit;
        gg_op op;
        gg_gemm gemm;
        unsigned fusions;
    } gemms[] = {{FWD1, GG_FORWARD, GG_GEMM_FIRST, GG_PERMUTE_X},
                 {DW1, GG_DW, GG_GEMM_FIRST, GG_PERMUTE_X},
                 {DX2, GG_DX, GG_GEMM_SECOND, GG_PERMUTE_Y},
                 {DW2, GG_DW, GG_GEMM_SECOND, GG_PERMUTE_Y},
                 {0, GG_FORWARD, GG_GEMM_SECOND, GG_PERMUTE_Y},
                 {0, GG_DX, GG_GEMM_FIRST, GG_PERMUTE_X},
                 {0, GG_FORWARD, GG_GEMM_FIRST, 0},
                 {0, GG_DW, GG_GEMM_SECOND, 0}};
    gg_device ampere = hopper;
    ampere.cc = 80;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof gemms / sizeof *gemms; j++) {
            const int m = rows[i].model, second = gemms[j].gemm == GG_GEMM_SECOND;
            const gg_problem p = {.op = gemms[j].op,
                                  .gemm = gemms[j].gemm,
                                  .fusions = gemms[j].fusions,
                                  .E = models[m].E,
                                  .N = models[m].N[second],
                                  .K = models[m].K[second],
                                  .topk = models[m].topk,
                                  .T = rows[i].T};
            gg_problem plain = p;
            plain.fusions = 0;
            gg_config with = gg_default_config(&p, &hopper, true);
            const gg_config without = gg_default_config(&p, &hopper, false),
                            of_plain = gg_default_config(&plain, &hopper, true);
            if (with.copy_rows != ((rows[i].copied & gemms[j].bit) != 0))
                fail_msg("row %zu, gemm %zu: %s", i, j, with.copy_rows ? "copies" : "gathers");
            assert_false(without.copy_rows || of_plain.copy_rows);
            assert_false(gg_default_config(&p, &ampere, true).copy_rows);
            gg_plan out;
            char reason[GG_REASON_SIZE];
            assert_int_equal(plan(p, with, hopper, &out, reason), GG_OK);
            const bool copies = with.copy_rows; /* then it is that of what is left to multiply */
            with.copy_rows = false;
            assert_true(same_config(&with, copies ? &of_plain : &without));
        }
}

/* With a workspace the search tries copying beside all that it tries without, where rows are gathered, and all of it plans. */
static void test_copying_candidates(void **state) {
    (void)state;
    static const unsigned fusions[] = {0, GG_PERMUTE_X, GG_PERMUTE_Y};
    enum { MOST = 512 };
    for (int op = 0; op < GG_NUM_OPS; op++)
        for (size_t f = 0; f < 3; f++) {
            static gg_config with[MOST], without[MOST];
            gg_problem p = forward;
            gg_plan out;
            char reason[GG_REASON_SIZE];
            p.op = (gg_op)op, p.fusions = fusions[f];
            const size_t count = gg_candidate_configs(&p, &hopper, true, with, MOST);
            const size_t fewer = gg_candidate_configs(&p, &hopper, false, without, MOST);
            size_t copying = 0;
            assert_true(count <= MOST);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(plan(p, with[i], hopper, &out, reason), GG_OK);
                copying += with[i].copy_rows;
                if (with[i].copy_rows) continue;
                assert_true(same_config(&with[i], &without[i - copying]));
            }
            assert_int_equal(count - copying, fewer);
            assert_int_equal(copying > 0, gg_workspace_bytes(&p) > 0);
            if (copying) assert_true(copying >= 8 && copying <= 10);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_need_a_gather),
        cmocka_unit_test(test_copied_rows_are_multiplied_plainly),
        cmocka_unit_test(test_workspace_bytes),
        cmocka_unit_test(test_copying_defaults),
        cmocka_unit_test(test_copying_candidates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
