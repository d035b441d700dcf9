/* test_sim_mutants.c: one missing or misplaced piece of synchronisation at a time in the shipped kernels, each of which
 * the race checker must name in every one of 20 seeds. */
#include "sim_kernels.h"

enum { ALL_SEEDS = 20 };

#define X_W (GG_TMA_LOAD_X | GG_TMA_LOAD_W)
#define DY_W (GG_TMA_LOAD_DY | GG_TMA_LOAD_W)
#define DY_X (GG_TMA_LOAD_DY | GG_TMA_LOAD_X)

/* A mutant and the kernel it is shown in. */
typedef struct row {
    const char *fault, *file, *find, *replace;
    gg_mainloop mainloop;
    gg_op op;
    unsigned tma;
} row;

#define SYNC(fault, file, find, replace, op, tma)                                                            \
    { fault, file, find, replace, GG_MMA_SYNC, op, tma }
#define SYNC_EACH(fault, file, find, replace, forward, dx, dw)                                               \
    SYNC(fault, file, find, replace, GG_FORWARD, forward), SYNC(fault, file, find, replace, GG_DX, dx),      \
        SYNC(fault, file, find, replace, GG_DW, dw)
#define WG(fault, file, find, replace, op, tma)                                                              \
    { fault, file, find, replace, GG_WGMMA, op, tma }
#define WG_EACH(fault, file, find, replace, forward, dx, dw)                                                 \
    WG(fault, file, find, replace, GG_FORWARD, forward), WG(fault, file, find, replace, GG_DX, dx),          \
        WG(fault, file, find, replace, GG_DW, dw)

static const row rows[] = {
    /* --- the ring of mma_sync: waits, barriers, phases, counts --- */
    SYNC_EACH("no cp.async wait", "mma_sync.cu", "cp_async_wait(NUM_STAGES - 2);", "", 0, 0, 0),
    SYNC_EACH("cp.async wait one group short", "mma_sync.cu", "cp_async_wait(NUM_STAGES - 2);",
              "cp_async_wait(NUM_STAGES - 1);", 0, 0, 0),
    SYNC_EACH("no cp.async commit in the loop", "mma_sync.cu", "cp_async_commit(); /* one group",
              "/* one group", 0, 0, 0),
    SYNC_EACH("no barrier after the wait", "mma_sync.cu", "block_sync(); /* this stage", "/* this stage", 0,
              0, 0),
    SYNC_EACH("no barrier before refill", "mma_sync.cu", "block_sync(); /* this stage", "/* this stage", X_W,
              DY_W, DY_X),
    SYNC_EACH("no full-barrier wait", "mma_sync.cu", "mbarrier_wait(barriers + 8 * use.slot, use.parity);",
              "", X_W, DY_W, DY_X),
    SYNC_EACH("wrong phase", "mma_sync.cu", "mbarrier_wait(barriers + 8 * use.slot, use.parity);",
              "mbarrier_wait(barriers + 8 * use.slot, use.parity ^ 1);", X_W, DY_W, DY_X),
    SYNC_EACH("phase never turned", "loads.h", "at->parity ^= 1;", "", X_W, DY_W, DY_X),
    SYNC("wait for another stage's barrier", "mma_sync.cu",
         "mbarrier_wait(barriers + 8 * use.slot, use.parity);", "mbarrier_wait(barriers, use.parity);",
         GG_FORWARD, X_W),
    SYNC_EACH("no barrier after mbarrier init", "mma_sync.cu",
              "fence_mbarrier_init();\n    }\n    block_sync();", "fence_mbarrier_init();\n    }", X_W, DY_W,
              DY_X),
    SYNC("no fence after mbarrier init", "mma_sync.cu", "fence_mbarrier_init();", "", GG_FORWARD, X_W),
    SYNC("mbarrier waits for two arrivals", "mma_sync.cu", "mbarrier_init(barriers + 8 * s, 1);",
         "mbarrier_init(barriers + 8 * s, 2);", GG_FORWARD, X_W),
    SYNC_EACH("expect_tx too small", "loads.h", "TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES",
              "TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES / 2", X_W, DY_W, DY_X),
    SYNC("expect_tx too large", "loads.h", "TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES",
         "TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES * 2", GG_FORWARD, X_W),
    SYNC("one stage too many in flight", "mma_sync.cu", "s < NUM_STAGES - 1; s++", "s < NUM_STAGES; s++",
         GG_FORWARD, X_W),
    /* --- its epilogue --- */
    SYNC_EACH("no barrier before staging", "epilogue.h", "    block_sync();\n    stage_output",
              "    stage_output", 0, 0, 0),
    SYNC_EACH("no barrier after staging", "epilogue.h", "#endif\n    block_sync();\n#if TMA_STORE",
              "#endif\n#if TMA_STORE", GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    SYNC_EACH("no barrier after storing", "epilogue.h",
              "store_by_threads(p, tile, staged);\n    block_sync();", "store_by_threads(p, tile, staged);",
              0, 0, 0),
    SYNC_EACH("no proxy fence before the TMA store", "epilogue.h", "    fence_proxy_async(); /* staged",
              "    /* staged", GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    SYNC_EACH("no proxy fence before the ring's next TMA load", "epilogue.h",
              "    fence_proxy_async(); /* staged", "    /* staged", X_W, DY_W, DY_X),
    SYNC_EACH("no wait for the TMA store's reads", "epilogue.h", "    tma_store_wait_read(0);", "",
              GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    SYNC("wait for all but one TMA store", "epilogue.h", "tma_store_wait_read(0);", "tma_store_wait_read(1);",
         GG_FORWARD, GG_TMA_STORE),
    SYNC("no commit of the TMA store", "epilogue.h", "tma_store_commit();", "", GG_FORWARD, GG_TMA_STORE),
    SYNC("tail store unguarded", "epilogue.h", "row < tile->row_limit && col < cols", "col < cols",
         GG_FORWARD, 0),
    SYNC("whole box stored at a tail", "epilogue.h", "tile->row + ROWS <= tile->row_limit",
         "tile->row < tile->row_limit", GG_FORWARD, GG_TMA_STORE),
    SYNC("two blocks take one tile", "scheduler.h", "walk->tile = blockIdx.x;",
         "walk->tile = blockIdx.x / 2;", GG_FORWARD, 0),
    /* --- wgmma: consumers --- */
    WG_EACH("no full-barrier wait", "wgmma_loop.h", "mbarrier_wait(full + 8 * at->slot, at->parity);", "",
            X_W, DY_W, DY_X),
    WG("wrong phase of a full barrier", "wgmma_loop.h", "mbarrier_wait(full + 8 * at->slot, at->parity);",
       "mbarrier_wait(full + 8 * at->slot, at->parity ^ 1);", GG_FORWARD, X_W),
    WG_EACH("no wgmma.fence", "wgmma_loop.h", "wgmma_fence();", "", X_W, DY_W, DY_X),
    WG_EACH("no wgmma wait before a stage is released", "wgmma_loop.h", "        wgmma_wait(1);", "", X_W,
            DY_W, DY_X),
    WG("wgmma wait one group short", "wgmma_loop.h", "wgmma_wait(1);", "wgmma_wait(2);", GG_FORWARD, X_W),
    WG("no wgmma commit", "wgmma_loop.h", "wgmma_commit();", "", GG_FORWARD, X_W),
    WG_EACH("no wgmma wait before the epilogue", "wgmma_loop.h", "    wgmma_wait(0);", "", X_W, DY_W, DY_X),
    WG_EACH("stage released while it is read", "wgmma_loop.h",
            "if (s > 0) release_stage(empty, previous, thread);", "release_stage(empty, at->slot, thread);",
            X_W, DY_W, DY_X),
    WG("stage released by one warp for all", "wgmma.cu", "mbarrier_init(empty + 8 * s, NUM_WARPS);",
       "mbarrier_init(empty + 8 * s, 1);", GG_FORWARD, X_W),
    WG("stage released by a warp too few", "wgmma.cu", "mbarrier_init(empty + 8 * s, NUM_WARPS);",
       "mbarrier_init(empty + 8 * s, NUM_WARPS - 1);", GG_DX, DY_W),
    WG("one warp releases, all are awaited", "wgmma.cu", "if (thread % 32 == 0) mbarrier_arrive",
       "if (thread == 0) mbarrier_arrive", GG_FORWARD, X_W),
    WG("no barrier after mbarrier init", "wgmma.cu", "    block_sync();\n", "", GG_FORWARD, X_W),
    WG("no fence after mbarrier init", "wgmma.cu", "fence_mbarrier_init();", "", GG_FORWARD, X_W),
    WG("full barrier counts an arrival too few", "wgmma.cu", "CP_ASYNC_LOADS * GROUP_THREADS);",
       "CP_ASYNC_LOADS * (GROUP_THREADS - 1));", GG_FORWARD, GG_TMA_LOAD_W),
    WG("no proxy fence after zeroing a tail", "wgmma.cu",
       "    fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS", "    named_sync(BARRIER_CONSUMERS",
       GG_DW, DY_X),
    WG("no barrier after zeroing a tail", "wgmma.cu", "    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);",
       "", GG_DW, DY_X),
    /* --- wgmma: the producer --- */
    WG_EACH("no empty-slot wait", "wgmma_producer.h", "mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);",
            "", X_W, DY_W, DY_X),
    WG("wrong phase of an empty barrier", "wgmma_producer.h",
       "mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);", "mbarrier_wait(empty + 8 * at.slot, at.parity);",
       GG_FORWARD, X_W),
    WG_EACH("no empty-slot wait before cp.async", "wgmma_producer.h",
            "mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);", "", 0, 0, 0),
    WG_EACH("no proxy fence after cp.async", "wgmma_loop.h", "if (CP_ASYNC_LOADS) fence_proxy_async();", "",
            0, 0, 0),
    WG_EACH("stage published before its cp.async have landed", "wgmma_producer.h",
            "cp_async_commit_arrive(full + 8 * at.slot);",
            "cp_async_commit(); mbarrier_arrive(full + 8 * at.slot);", 0, 0, 0),
    WG("cp.async arrive on another stage's barrier", "wgmma_producer.h",
       "cp_async_commit_arrive(full + 8 * at.slot);", "cp_async_commit_arrive(full);", GG_FORWARD, 0),
    WG("no final cp.async wait", "wgmma_producer.h", "    cp_async_wait(0);", "", GG_FORWARD, 0),
    WG("expect_tx too small", "wgmma_producer.h", "+ TMA_B * B_TILE_BYTES)", "+ TMA_B * B_TILE_BYTES / 2)",
       GG_FORWARD, X_W),
    /* --- wgmma: the epilogue --- */
    WG_EACH("no barrier before staging", "wgmma.cu",
            "            named_sync(BARRIER_GROUP + group, GROUP_THREADS);\n            stage_piece",
            "            stage_piece", GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG_EACH("no barrier after staging", "wgmma.cu",
            "            named_sync(BARRIER_GROUP + group, GROUP_THREADS);\n            store_piece",
            "            store_piece", GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG_EACH("no proxy fence before the TMA store", "wgmma.cu", "            fence_proxy_async();", "",
            GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG("staging buffers reused one store early", "wgmma.cu", "tma_store_wait_read(1);",
       "tma_store_wait_read(2);", GG_FORWARD, GG_TMA_STORE),
    WG("no commit of the TMA stores", "wgmma.cu", "tma_store_commit();", "(void)0;", GG_FORWARD,
       GG_TMA_STORE),
    WG("no wait for the last TMA stores", "wgmma.cu", "    if (thread == 0) tma_store_wait_read(0);", "",
       GG_DW, GG_TMA_STORE),
};

/* Several full tiles and tails, an empty expert, several steps more than stages, in every op. */
static const ragged shape = {.E = 4, .N = 392, .K = 392, .topk = 1, .T = 648, .m_sizes = {330, 0, 1, 317}};

static const gg_config configs[GG_NUM_MAINLOOPS] = {
    [GG_MMA_SYNC] = {GG_MMA_SYNC, 64, 128, 64, 4, 3, 0},
    [GG_WGMMA] = {GG_WGMMA, 64, 128, 64, 4, 3, 0},
};

static gg_plan plan_of(rig *r, const row *m) {
    char reason[GG_REASON_SIZE];
    gg_plan plan;
    gg_config config = configs[m->mainloop];
    config.tma = m->tma;
    if (m->mainloop == GG_WGMMA && m->op == GG_DX) config.block_n = 64, config.block_k = 128;
    if (m->mainloop == GG_WGMMA && m->op == GG_DW) config.block_m = 64, config.block_n = 64;
    gg_problem problem = rig_problem(r, &shape, m->op, 0, GG_BF16);
    if (checked_variant.plan_make(&problem, &config, gg_get_device(r->context), &plan, reason))
        fail_msg("%s: %s", m->fault, reason);
    return plan;
}

static const char *const op_words[] = {[GG_FORWARD] = "forward", [GG_DX] = "dX", [GG_DW] = "dW"};

static void test_mutants(void **state) {
    (void)state;
    const char *only = getenv("ONLY");
    rig r;
    int missed = 0;
    rig_open(&r, true);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *m = &rows[i];
        char error[512], first[GG_ERROR_SIZE] = "";
        if (only && !strstr(m->fault, only)) continue;
        use_sources();
        char *patched = NULL;
        for (gg_source_file *file = mutant_sources; file->name; file++) {
            if (strcmp(file->name, m->file)) continue;
            const mutant change = {.name = m->fault, .file = m->file, .find = m->find, .replace = m->replace};
            file->text = patched = mutant_apply(&change, file->text, error);
            if (!patched) fail_msg("%s", error);
        }
        assert_non_null(patched);
        gg_plan plan = plan_of(&r, m);
        int caught = 0;
        for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
            gg_status status = rig_launch(&r, &plan, seed);
            if (status == GG_ERR_COMPILE) fail_msg("%s: %s", m->fault, gg_error(r.context));
            if (status && !*first) snprintf(first, sizeof first, "%s", gg_error(r.context));
            caught += status != GG_OK;
        }
        print_message("%2d/%d %-8s %-7s tma %2u %-45s %.300s\n", caught, ALL_SEEDS,
                      gg_mainloop_name(m->mainloop), op_words[m->op], m->tma, m->fault, first);
        missed += caught < ALL_SEEDS;
        free(patched);
    }
    rig_close(&r);
    assert_int_equal(missed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
