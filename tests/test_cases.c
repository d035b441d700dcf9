/* test_cases.c: the case table: the seeds' counts, unique and unambiguous ids, agreement with the planner,
 * coverage, and that a first run without a GPU needs no golden that is not committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block.h"
#include "filter.h"
#include "golden.h"

/* Grouped GEMMs; the cases of whole blocks stand behind them. */
static mg_cases cases;
static size_t with_blocks;

static int set_up(void **state) {
    (void)state;
    if (mg_cases_new(&cases)) return -1;
    with_blocks = cases.count;
    while (cases.count && cases.items[cases.count - 1].block) cases.count--;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    mg_cases_free(&cases);
    return 0;
}

static const mg_case *find(const char *wanted) {
    char id[MG_ID_SIZE];
    for (size_t i = 0; i < cases.count; i++) {
        mg_case_id(&cases.items[i], id);
        if (!strcmp(id, wanted)) return &cases.items[i];
    }
    fail_msg("no case '%s'", wanted);
    return NULL;
}

static bool legal_in_the_seeds(const mg_case *c) {
    bool x = c->fusions & GG_PERMUTE_X, y = c->fusions & GG_PERMUTE_Y,
         first = c->problem->gemm == GG_GEMM_FIRST;
    return !(x && y) && !(x && !first) && !(y && first);
}

static void test_seeds(void **state) {
    (void)state;
    size_t collected = 0, valid = 0, by_function[GG_NUM_OPS][2][2] = {0};
    for (size_t i = 0; i < cases.count; i++) {
        const mg_case *c = &cases.items[i];
        if (!c->seeds) continue;
        collected++;
        valid += !c->refusal;
        by_function[c->function.op][c->function.autotune][c->function.autograd]++;
        assert_int_equal(c->refusal, !legal_in_the_seeds(c));
        assert_int_equal(c->cls, MG_EXACT);
        assert_int_equal(c->dtype, GG_BF16);
        assert_int_equal(c->config.mainloop, GG_MMA_SYNC);
    }
    assert_int_equal(collected, 4160);
    assert_int_equal(valid, 3072);
    assert_int_equal(collected - valid, 1088);
    for (int autograd = 0; autograd < 2; autograd++) {
        assert_int_equal(by_function[GG_FORWARD][0][autograd], 896);
        assert_int_equal(by_function[GG_DX][0][autograd], 192);
        assert_int_equal(by_function[GG_DW][0][autograd], 896);
        for (gg_op op = 0; op < GG_NUM_OPS; op++) assert_int_equal(by_function[op][1][autograd], 32);
    }
    assert_true(cases.count >= 10000);
}

static void test_ids(void **state) {
    (void)state;
    static const char *const rows[] = {
        "grouped_gemm_forward_manual[W1-permute_x-use_tma_load_w-topk4-E16-T128-H128-I128-bf16-exact-mult-"
        "mma_sync-"
        "bm32-bn32-bk32-w4-s2]",
        "grouped_gemm_backward_dW_manual_autograd[W1-use_tma_load_x-use_tma_load_dy-use_tma_store-topk8-E128-"
        "T1024-"
        "H2048-I768-bf16-exact-mult-mma_sync-bm32-bn32-bk32-w4-s2]",
        "grouped_gemm_backward_dX_autotune[W2-permute_y-topk1-E16-T128-H5120-I8192-bf16-exact-mult]",
        "grouped_gemm_forward_autotune_autograd[W1-topk1-E4-T128-H32-I32-bf16-exact-mult]",
        "grouped_gemm_forward_manual[W2-permute_y-fuse_mul_post-use_tma_load_x-use_tma_load_w-topk1-E4-T128-"
        "H32-I32-"
        "bf16-exact-mult-mma_sync-bm32-bn32-bk32-w4-s2]",
        "grouped_gemm_backward_dX_manual[W2-topk2-E4-T7-H72-I40-fp16-exact-mult-reference]",
        "grouped_gemm_backward_dX_manual_autograd[W1-permute_x-topk1-E16-T1024-H1024-I1024-bf16-exact-mult-"
        "mma_sync-"
        "bm32-bn32-bk32-w4-s2]",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) find(rows[i]);
    char id[MG_ID_SIZE];
    for (size_t i = 0; i < cases.count; i++) {
        size_t length = mg_case_id(&cases.items[i], id);
        assert_int_equal(length, strlen(id));
        assert_true(length < MG_ID_SIZE - 64); /* room for a longer config one day */
        assert_null(strpbrk(id, "=, \t"));     /* what -k cannot name */
    }
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Of a set of flags and sizes each once, all accepted, the seeds' matrix of both models at full size among them. */
static void test_blocks(void **state) {
    (void)state;
    size_t full = 0, small = 0;
    char id[MG_ID_SIZE], reason[GG_REASON_SIZE];
    gg_moe_layout layout;
    assert_true(with_blocks - cases.count > 100);
    for (size_t i = cases.count; i < with_blocks; i++) {
        const mg_case *c = &cases.items[i];
        const gg_moe_problem p = mg_block_problem(c->block, c->block_mode, c->fusions, c->dtype);
        assert_non_null(c->block);
        assert_ptr_equal(c->problem, &c->block->problem);
        mg_case_id(c, id);
        if (gg_moe_plan(&p, &layout, reason)) fail_msg("%s: %s", id, reason);
        assert_true(mg_case_work(c) > 0 || !c->problem->T);
        full += c->problem->store == MG_STORE_HASH && c->block_mode != MG_BLOCK_INFERENCE;
        small += c->problem->store == MG_STORE_FILES && mg_case_work(c) <= MG_SIM_LIMIT;
        c->problem->store == MG_STORE_HASH ? assert_true(mg_case_work(c) > MG_SIM_LIMIT)
                                           : assert_true(mg_case_work(c) <= MG_SIM_LIMIT);
    }
    /* forward and backward, autotune or not, permute_x x permute_y (Llama-4 has no permute_x) */
    assert_int_equal(full, 2 * 2 * 4 + 2 * 2 * 2);
    assert_true(small > 100);
}

static const char *duplicate(char **ids, size_t count) {
    qsort(ids, count, sizeof *ids, compare_strings);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(ids[i - 1], ids[i])) return ids[i];
    return NULL;
}

static void test_unique(void **state) {
    (void)state;
    char *text = malloc(with_blocks * MG_ID_SIZE), **ids = malloc((with_blocks + 1) * sizeof *ids);
    for (size_t i = 0; i < with_blocks; i++) mg_case_id(&cases.items[i], ids[i] = text + i * MG_ID_SIZE);
    const char *twice = duplicate(ids, with_blocks);
    if (twice) fail_msg("two cases are '%s'", twice);
    ids[with_blocks] = text + MG_ID_SIZE;
    assert_non_null(duplicate(ids, with_blocks + 1));
    free(ids);
    free(text);
}

/* Every word that names a value of an axis selects the cases with that value and no others. */
static void check_word(const char *word, bool (*has)(const mg_case *, int), int value, bool expected) {
    mg_filter *filter;
    char error[MG_ERROR_SIZE], id[MG_ID_SIZE];
    assert_int_equal(mg_filter_new(&filter, word, error), GG_OK);
    size_t wrong = 0, selected = 0;
    for (size_t i = 0; i < cases.count; i++) {
        mg_case_id(&cases.items[i], id);
        mg_filter_lower(id);
        bool match = mg_filter_matches(filter, id);
        wrong += match != has(&cases.items[i], value);
        selected += match;
    }
    mg_filter_free(filter);
    if (!selected) fail_msg("-k '%s' selects nothing", word);
    if ((wrong == 0) != expected) fail_msg("-k '%s' is wrong for %zu cases", word, wrong);
}

static bool has_gemm(const mg_case *c, int v) { return (int)c->problem->gemm == v; }
static bool has_class(const mg_case *c, int v) { return (int)c->cls == v; }
static bool has_dist(const mg_case *c, int v) { return (int)c->problem->dist == v; }
static bool has_dtype(const mg_case *c, int v) { return (int)c->dtype == v; }
static bool has_mainloop(const mg_case *c, int v) {
    return (int)c->config.mainloop == v && !c->function.autotune;
}
static bool has_op(const mg_case *c, int v) { return (int)c->function.op == v; }
static bool has_fusion(const mg_case *c, int v) { return c->fusions & (unsigned)v; }
static bool has_copies(const mg_case *c, int v) { return c->config.copy_rows == v; }
static bool has_tma(const mg_case *c, int v) { return c->config.tma & (unsigned)v; }
static bool has_autotune(const mg_case *c, int v) { return c->function.autotune == v; }
static bool has_autograd(const mg_case *c, int v) { return c->function.autograd == v; }
static bool has_topk(const mg_case *c, int v) { return c->problem->topk == v; }
static bool has_experts(const mg_case *c, int v) { return c->problem->E == v; }

static void test_words(void **state) {
    (void)state;
    check_word("w1", has_gemm, GG_GEMM_FIRST, true);
    check_word("W2", has_gemm, GG_GEMM_SECOND, true);
    for (int i = 0; i < MG_NUM_CLASSES; i++) check_word(mg_class_name((mg_class)i), has_class, i, true);
    for (int i = 0; i < MG_NUM_DISTS; i++) check_word(mg_dist_name((mg_dist)i), has_dist, i, true);
    for (int i = 0; i < GG_NUM_DTYPES; i++) check_word(gg_dtype_name((gg_dtype)i), has_dtype, i, true);
    for (int i = 0; i < GG_NUM_MAINLOOPS; i++)
        check_word(gg_mainloop_name((gg_mainloop)i), has_mainloop, i, true);
    for (int i = 0; i < GG_NUM_OPS; i++) check_word(gg_op_name((gg_op)i), has_op, i, true);
#define X(name, value, text) check_word(text, has_fusion, name, true);
    GG_FUSIONS(X)
#undef X
#define X(name, value, text) check_word(text, has_tma, name, true);
    GG_TMA_USES(X)
#undef X
    check_word("tma", has_tma, GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_LOAD_DY | GG_TMA_STORE, true);
    check_word("copy_rows", has_copies, true, true);
    check_word("autotune", has_autotune, true, true);
    check_word("manual", has_autotune, false, true);
    check_word("autograd", has_autograd, true, true);
    check_word("topk1-", has_topk, 1, true);
    check_word("E16-", has_experts, 16, true);
    check_word("E1", has_experts, 1, false); /* and this is why the help speaks of dashes */
}

/* --- agreement with the planner --- */

static const gg_device devices[] = {
    {.name = "sm_90",
     .cc = 90,
     .sm_count = 132,
     .smem_per_block = 232448,
     .smem_per_sm = 233472,
     .threads_per_sm = 2048},
    {.name = "sm_100",
     .cc = 100,
     .sm_count = 148,
     .smem_per_block = 232448,
     .smem_per_sm = 233472,
     .threads_per_sm = 2048},
};

/* Whether the planner refuses what the table says it refuses, and plans what it does not. */
static bool planner_agrees(const mg_case *c, const gg_device *device, char reason[GG_REASON_SIZE]) {
    gg_plan plan;
    gg_problem problem = mg_case_problem(c, c->function.op);
    gg_config config = c->function.autotune ? gg_default_config(&problem, device, false) : c->config;
    gg_status status = gg_plan_make(&problem, &config, device, &plan, reason);
    bool refused = status == GG_ERR_REFUSED || status == GG_ERR_ARGUMENT;
    return c->refusal ? refused : status == GG_OK;
}

static void test_planner(void **state) {
    (void)state;
    char id[MG_ID_SIZE], reason[GG_REASON_SIZE];
    size_t refusals = 0;
    for (size_t d = 0; d < sizeof devices / sizeof *devices; d++)
        for (size_t i = 0; i < cases.count; i++) {
            mg_case c = cases.items[i];
            mg_case_id(&c, id);
            if (c.config.mainloop == GG_WGMMA && devices[d].cc != 90) { /* an instruction of sm_90a alone */
                c.refusal = true;
                assert_true(planner_agrees(&c, &devices[d], reason));
                continue;
            }
            if (!planner_agrees(&c, &devices[d], reason))
                fail_msg("%s on %s: %s", id, devices[d].name, reason);
            refusals += c.refusal && !c.seeds;
            c.refusal = !c.refusal;
            assert_false(planner_agrees(&c, &devices[d], reason));
        }
    assert_true(refusals >= 2 * 30);
}

static void test_problem_and_work(void **state) {
    (void)state;
    const mg_case *c =
        find("grouped_gemm_forward_manual_autograd[W1-permute_x-use_tma_load_w-topk4-E16-T128-H128-I128-"
             "bf16-exact-mult-mma_sync-bm32-bn32-bk32-w4-s2]");
    for (gg_op op = 0; op < GG_NUM_OPS; op++) {
        gg_problem p = mg_case_problem(c, op);
        assert_int_equal(p.op, op);
        assert_int_equal(p.dtype, GG_BF16);
        assert_int_equal(p.gemm, GG_GEMM_FIRST);
        assert_int_equal(p.fusions, GG_PERMUTE_X);
        assert_int_equal(p.E, 16);
        assert_int_equal(p.N, 256);
        assert_int_equal(p.K, 128);
        assert_int_equal(p.topk, 4);
        assert_int_equal(p.T, 128);
    }
    assert_true(mg_case_work(c) == 3.0 * 512 * 256 * 128);
    c = find("grouped_gemm_backward_dX_manual[W2-topk1-E4-T128-H32-I32-bf16-exact-mult-mma_sync-bm32-bn32-"
             "bk32-w4-s2]");
    assert_true(mg_case_work(c) == 128.0 * 32 * 32);
    c = find("grouped_gemm_forward_manual[W2-permute_x-topk1-E4-T128-H32-I32-bf16-exact-mult-mma_sync-bm32-"
             "bn32-bk32-w4-s2]");
    assert_true(c->refusal && mg_case_work(c) == 0);
    for (size_t i = 0; i < cases.count; i++) /* weights belong to inference alone */
        if (cases.items[i].fusions & GG_FUSE_MUL_POST && !cases.items[i].refusal) {
            assert_int_equal(cases.items[i].function.op, GG_FORWARD);
            assert_false(cases.items[i].function.autograd);
        }
}

/* --- a first run without a GPU --- */

/* Whether the repository has the goldens that a forward case is compared with. */
static bool goldens_are_committed(const mg_corpus *corpus, const mg_case *c) {
    const unsigned outputs = c->function.autograd ? (1u << MG_NUM_OUTPUTS) - 1 : 1u << MG_OUT_Y;
    return mg_golden_missing(corpus, c->problem, c->cls, c->dtype, outputs, NULL) == 0;
}

static void test_first_run(void **state) {
    (void)state;
    char id[MG_ID_SIZE], error[MG_ERROR_SIZE];
    mg_corpus *corpus; /* with an empty cache */
    if (mg_corpus_open(&corpus, SOURCE_DIR "/golden", "/nonexistent", error)) fail_msg("%s", error);
    size_t runnable = 0;
    double work = 0;
    for (size_t i = 0; i < cases.count; i++) {
        const mg_case *c = &cases.items[i];
        if (c->function.op != GG_FORWARD || !c->config.tma || c->refusal || mg_case_work(c) > MG_SIM_LIMIT)
            continue;
        mg_case_id(c, id);
        if (!goldens_are_committed(corpus, c)) fail_msg("'%s' needs a golden that is not committed", id);
        runnable++;
        work += mg_case_work(c);
    }
    assert_in_range(runnable, 300, 1500);
    assert_true(3 * work <
                25e9); /* three launches: under a minute on two cores of 0.3e9 multiply-adds a second */

    /* the check can fail: the other type of a pair, a class without goldens, a size whose golden is not kept
     */
    mg_case c =
        *find("grouped_gemm_forward_manual_autograd[W1-use_tma_load_x-topk1-E4-T128-H32-I32-bf16-exact-mult-"
              "mma_sync-bm32-bn32-bk32-w4-s2]");
    assert_true(goldens_are_committed(corpus, &c));
    c.dtype = GG_FP16;
    assert_false(goldens_are_committed(corpus, &c));
    c.function.autograd = false;
    assert_true(goldens_are_committed(corpus, &c));
    c.cls = MG_UNIT;
    assert_false(goldens_are_committed(corpus, &c));
    c.cls = MG_EXACT;
    c.problem = mg_problem_find("W1-topk1-E4-T1024-H128-I128-mult");
    assert_false(goldens_are_committed(corpus, &c));
    mg_corpus_close(corpus);
}

/* --- coverage: what must occur somewhere among the cases that run --- */

static bool covered(bool (*wanted)(const mg_case *, const void *), const void *what) {
    for (size_t i = 0; i < cases.count; i++)
        if (!cases.items[i].refusal && !cases.items[i].function.autotune && wanted(&cases.items[i], what))
            return true;
    return false;
}

typedef struct variant {
    gg_op op;
    gg_dtype dtype;
    mg_class cls;
    gg_mainloop mainloop;
    unsigned fusions, tma;
    bool copies;
    gg_config tile; /* its mainloop and flags unused */
} variant;

static bool same_flags(const mg_case *c, const void *what) {
    const variant *v = what;
    return c->function.op == v->op && c->dtype == v->dtype && c->cls == v->cls &&
           c->config.mainloop == v->mainloop && c->fusions == v->fusions && c->config.tma == v->tma &&
           c->config.copy_rows == v->copies;
}

static bool same_tile_with(const mg_case *c, const void *what) { /* any set with the TMA use in it */
    const variant *v = what;
    return c->function.op == v->op && c->config.block_m == v->tile.block_m &&
           c->config.block_n == v->tile.block_n && c->config.block_k == v->tile.block_k &&
           c->config.num_stages == v->tile.num_stages && (c->config.tma & v->tma) == v->tma;
}

static bool same_problem(const mg_case *c, const void *what) {
    return c->problem == what && c->config.mainloop == GG_MMA_SYNC;
}

static void test_coverage(void **state) {
    (void)state;
    static const unsigned permutes[] = {0, GG_PERMUTE_X, GG_PERMUTE_Y};
    size_t kernels = 0;
    for (gg_op op = 0; op < GG_NUM_OPS; op++)
        for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
            for (size_t f = 0; f < 3; f++)
                for (unsigned tma = 0; tma < 16; tma++)
                    for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++)
                        for (int wgmma = 0; wgmma < 2; wgmma++) {
                            variant v = {.op = op,
                                         .dtype = dtype,
                                         .cls = cls,
                                         .mainloop = wgmma ? GG_WGMMA : GG_MMA_SYNC,
                                         .fusions = permutes[f],
                                         .tma = tma};
                            kernels += covered(same_flags, &v);
                        }
    /* 16 flag sets per op, with every type, class and mainloop; of forward in fp16 goldens of unit and real are not
     * committed, so those have TMA only where the sizes are too large for the simulator */
    const int sets = 3 * 16, without = 2 * 2 * 13 - 3;
    assert_int_equal(kernels, sets * GG_NUM_DTYPES * MG_NUM_CLASSES * 2 - without);

    /* rows that are copied first: of wgmma without TMA and with all of it, which is legal where it has not been, every type and
     * class but the two without goldens; of the other mainloops less */
    static const struct {
        gg_op op;
        unsigned fusions, tma; /* all of it */
    } copied[] = {
        {GG_FORWARD, GG_PERMUTE_X, GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_STORE},
        {GG_DX, GG_PERMUTE_Y, GG_TMA_LOAD_DY | GG_TMA_LOAD_W | GG_TMA_STORE},
        {GG_DW, GG_PERMUTE_X, GG_TMA_LOAD_X | GG_TMA_LOAD_DY | GG_TMA_STORE},
        {GG_DW, GG_PERMUTE_Y, GG_TMA_LOAD_X | GG_TMA_LOAD_DY | GG_TMA_STORE},
    };
    size_t count_copied = 0;
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        variant v = {.op = copied[i].op, .cls = MG_EXACT, .fusions = copied[i].fusions, .copies = true};
        for (int all = 0; all < 2; all++)
            for (v.dtype = 0; v.dtype < GG_NUM_DTYPES; v.dtype++)
                for (v.cls = 0; v.cls < MG_NUM_CLASSES; v.cls++) {
                    v.mainloop = GG_WGMMA;
                    v.tma = all ? copied[i].tma : 0;
                    count_copied += covered(same_flags, &v);
                }
        v.dtype = GG_BF16, v.cls = MG_EXACT;
        v.mainloop = GG_MMA_SYNC, v.tma = copied[i].tma;
        assert_true(covered(same_flags, &v));
        v.tma = 0;
        assert_true(covered(same_flags, &v));
        v.mainloop = GG_REFERENCE;
        assert_true(covered(same_flags, &v));
        v.copies = false, v.mainloop = GG_WGMMA, v.tma = copied[i].tma;
        assert_false(covered(same_flags, &v));
    }
    assert_int_equal(count_copied, 2 * 4 * GG_NUM_DTYPES * MG_NUM_CLASSES - 2);

    static const struct {
        int m, n, k, stages;
    } tiles[] = {{32, 32, 32, 2},  {64, 64, 64, 3},  {128, 128, 64, 3}, {128, 64, 32, 4}, {64, 128, 64, 2},
                 {64, 32, 128, 2}, {256, 64, 32, 2}, {32, 64, 64, 8},   {64, 256, 32, 3}};
    static const unsigned uses[GG_NUM_OPS][4] = {{0, GG_TMA_LOAD_X, GG_TMA_LOAD_W, GG_TMA_STORE},
                                                 {0, GG_TMA_LOAD_DY, GG_TMA_LOAD_W, GG_TMA_STORE},
                                                 {0, GG_TMA_LOAD_DY, GG_TMA_LOAD_X, GG_TMA_STORE}};
    for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++)
        for (gg_op op = 0; op < GG_NUM_OPS; op++)
            for (size_t u = 0; u < 4; u++) {
                variant v = {.op = op, .tma = uses[op][u]};
                v.tile = (gg_config){.block_m = tiles[t].m,
                                     .block_n = tiles[t].n,
                                     .block_k = tiles[t].k,
                                     .num_stages = tiles[t].stages};
                if (!covered(same_tile_with, &v)) fail_msg("tile %zu, %s, tma %u", t, gg_op_name(op), v.tma);
            }
    variant none = {.op = GG_FORWARD,
                    .tile = {.block_m = 256, .block_n = 256, .block_k = 256, .num_stages = 2}};
    assert_false(covered(same_tile_with, &none));

    size_t count;
    const mg_problem *problems = mg_problems(&count);
    for (size_t i = 0; i < count; i++)
        if (!covered(same_problem, &problems[i])) fail_msg("no case of '%s'", problems[i].key);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds),
                                       cmocka_unit_test(test_ids),
                                       cmocka_unit_test(test_unique),
                                       cmocka_unit_test(test_words),
                                       cmocka_unit_test(test_blocks),
                                       cmocka_unit_test(test_planner),
                                       cmocka_unit_test(test_problem_and_work),
                                       cmocka_unit_test(test_first_run),
                                       cmocka_unit_test(test_coverage)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
