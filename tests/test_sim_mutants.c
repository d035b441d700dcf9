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
    int warps, block_m, cols; /* 0: as in configs below; columns of the output's tile */
    unsigned fusions;
    const char *find_2, *replace_2, *file_2; /* a second change, or NULL; of the same file: NULL */
} row;

#define SYNC(fault_, file_, find_, replace_, op_, ...)                                                       \
    {                                                                                                        \
        .fault = fault_, .file = file_, .find = find_, .replace = replace_, .mainloop = GG_MMA_SYNC,         \
        .op = op_, .tma = __VA_ARGS__                                                                        \
    }
#define SYNC_EACH(fault, file, find, replace, forward, dx, dw)                                               \
    SYNC(fault, file, find, replace, GG_FORWARD, forward), SYNC(fault, file, find, replace, GG_DX, dx),      \
        SYNC(fault, file, find, replace, GG_DW, dw)
#define WG(fault_, file_, find_, replace_, op_, ...)                                                         \
    {                                                                                                        \
        .fault = fault_, .file = file_, .find = find_, .replace = replace_, .mainloop = GG_WGMMA, .op = op_, \
        .tma = __VA_ARGS__                                                                                   \
    }
#define WG_8_WARPS(...) WG(__VA_ARGS__, .warps = 8)
#define WG_EACH(fault, file, find, replace, forward, dx, dw)                                                 \
    WG(fault, file, find, replace, GG_FORWARD, forward), WG(fault, file, find, replace, GG_DX, dx),          \
        WG(fault, file, find, replace, GG_DW, dw)

/* Texts of the kernels that several rows change. */
#define FULL_WAIT "mbarrier_wait(c->base + FULL_OFFSET + 8 * at->slot, at->parity);"
#define EMPTY_WAIT "mbarrier_wait(empty + 8 * at->slot, at->parity ^ 1);"
#define LAST_WAIT "    wgmma_wait(0);\n    if (whole > 0)"
#define LAST_RELEASE "        release_stage(c, at->slot);\n"
#define LAST_ADVANCE LAST_RELEASE "        ring_advance(at);\n"
#define LAST_REST "    if (DEFERS && OP == OP_DW) send_rest(p, c, out, whole, buffer);"
#define RELEASES "if (elect_one()) mbarrier_arrive"
#define NEXT_BUFFER "*buffer = *buffer + 1 == PIECES ? 0 : *buffer + 1;"
#define STAGES "stage_piece(out->values[i], staged, c->thread);"
#define STAGES_AHEAD                                                                                         \
    STAGES "\n    if (i + 1 < SHARE_PIECES && (i + 1) % Q_PIECES * 64 < out->width) "                        \
           "stage_piece(out->values[i + 1], c->staged + *buffer * PIECE_BYTES, c->thread);"
#define READ_WAIT "tma_store_wait_read(PIECES - 2);"
#define ONE_THREAD "IN_ONE_THREAD(c->thread) "
#define LAST_READS "    " ONE_THREAD "tma_store_wait_read(0);"
#define GROUP_BARRIER "named_sync(BARRIER_GROUP + c->group, GROUP_THREADS);"
#define WAIT_COMMENT " /* the store from the buffer after this */\n#endif\n    "
#define READS_THEN_BARRIER "    " ONE_THREAD READ_WAIT WAIT_COMMENT GROUP_BARRIER
#define BARRIER_THEN_READS "    " GROUP_BARRIER "\n    " ONE_THREAD READ_WAIT "\n#endif"
#define COMMIT_IF_BY_TMA "if (by_tma & is_there) tma_store_commit();"
#define STORING_THREAD "    IN_ONE_THREAD(c->thread) {\n        if (by_tma & is_there) {"
#define TILE_BEGINS "        /* nothing where this group's rows"

static const row rows[] = {
    /* --- the ring of mma_sync: waits, barriers, phases, counts --- */
    SYNC("no wait for the launch before", "mma_sync.cu", "    grid_wait();\n", "", GG_FORWARD, 0),
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
    SYNC_EACH("no fence after mbarrier init", "mma_sync.cu", "fence_mbarrier_init();", "", X_W, DY_W, DY_X),
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
    SYNC_EACH("tail store unguarded", "epilogue.h", "row < tile->row_limit && col < cols", "col < cols", 0, 0,
              0),
    SYNC("whole box stored at a tail", "epilogue.h", "tile->row + ROWS <= tile->row_limit",
         "tile->row < tile->row_limit", GG_FORWARD, GG_TMA_STORE),
    SYNC("two blocks take one tile", "scheduler.h", "walk->tile = blockIdx.x;",
         "walk->tile = blockIdx.x / 2;", GG_FORWARD, 0),
    /* --- wgmma: consumers --- */
    WG_EACH("no full-barrier wait", "wgmma_loop.h", FULL_WAIT, "", X_W, DY_W, DY_X),
    WG_EACH("wrong phase of a full barrier", "wgmma_loop.h", FULL_WAIT,
            "mbarrier_wait(c->base + FULL_OFFSET + 8 * at->slot, at->parity ^ 1);", X_W, DY_W, DY_X),
    WG_EACH("no wgmma.fence", "wgmma_loop.h", "wgmma_fence();", "", X_W, DY_W, DY_X),
    WG_EACH("no wgmma wait before a stage is released", "wgmma_loop.h", "    wgmma_wait(1);", "", X_W, DY_W,
            DY_X),
    WG_EACH("stage released before the wgmma wait", "wgmma_loop.h",
            "    wgmma_wait(1);\n    if (!first) release_stage(c, *previous);",
            "    if (!first) release_stage(c, *previous);\n    wgmma_wait(1);", X_W, DY_W, DY_X),
    WG("wgmma wait one group short", "wgmma_loop.h", "wgmma_wait(1);", "wgmma_wait(2);", GG_FORWARD, X_W),
    WG("no wgmma commit", "wgmma_loop.h", "wgmma_commit();", "", GG_FORWARD, X_W),
    WG_EACH("no wgmma wait before the epilogue", "wgmma_loop.h", "    wgmma_wait(0);", "", X_W, DY_W, DY_X),
    WG_EACH("stage released while it is read", "wgmma_loop.h", "if (!first) release_stage(c, *previous);",
            "release_stage(c, at->slot);", X_W, DY_W, DY_X),
    WG("stage released by one warp for all", "wgmma.cu", "mbarrier_init(empty + 8 * s, NUM_WARPS);",
       "mbarrier_init(empty + 8 * s, 1);", GG_FORWARD, X_W),
    WG("stage released by a warp too few", "wgmma.cu", "mbarrier_init(empty + 8 * s, NUM_WARPS);",
       "mbarrier_init(empty + 8 * s, NUM_WARPS - 1);", GG_DX, DY_W),
    WG("one warp releases, all are awaited", "wgmma_loop.h", RELEASES, "if (c->thread == 0) mbarrier_arrive",
       GG_FORWARD, X_W),
    WG_EACH("no barrier after mbarrier init", "wgmma.cu", "    block_sync();\n", "", X_W, DY_W, DY_X),
    WG_EACH("no fence after mbarrier init", "wgmma.cu", "fence_mbarrier_init();", "", X_W, DY_W, DY_X),
    WG("full barrier counts an arrival too few", "wgmma.cu", "CP_ASYNC_LOADS * GROUP_THREADS);",
       "CP_ASYNC_LOADS * (GROUP_THREADS - 1));", GG_FORWARD, GG_TMA_LOAD_W),
    /* --- wgmma: dW's last step and the expert's tail in it --- */
    WG("no proxy fence after zeroing a tail", "wgmma_loop.h",
       "    fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS", "    named_sync(BARRIER_CONSUMERS",
       GG_DW, DY_X),
    WG("no barrier after zeroing a tail", "wgmma_loop.h",
       "    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);", "", GG_DW, DY_X),
    WG("proxy fence before zeroing a tail instead of after", "wgmma_loop.h",
       "    if (TMA_A) zero_rows(stage,", "    fence_proxy_async();\n    if (TMA_A) zero_rows(stage,", GG_DW,
       DY_X, .find_2 = "    fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS",
       .replace_2 = "    named_sync(BARRIER_CONSUMERS"),
    WG("proxy fence by one thread for all that zero a tail", "wgmma_loop.h",
       "    fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS",
       "    if (thread == 0) fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS", GG_DW, DY_X),
    WG("barrier before zeroing a tail instead of after", "wgmma_loop.h", "    if (TMA_A) zero_rows(stage,",
       "    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);\n    if (TMA_A) zero_rows(stage,", GG_DW, DY_X,
       .find_2 = "    fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);",
       .replace_2 = "    fence_proxy_async();"),
    WG("tail zeroed behind its products", "wgmma_loop.h",
       "        if (ZEROES_TAIL && last_rows % 16) zero_tail(c, stage, last_rows);\n", "", GG_DW, DY_X,
       .find_2 = "steps == 1 && k == 0);\n",
       .replace_2 = "steps == 1 && k == 0);\n"
                    "        if (ZEROES_TAIL && last_rows % 16) zero_tail(c, stage, last_rows);\n"),
    WG("tail zeroed before its stage is full", "wgmma_loop.h",
       "        u32 stage = next_stage(c, at);\n        if (ZEROES_TAIL && last_rows % 16) zero_tail(c, "
       "stage, last_rows);\n",
       "        if (ZEROES_TAIL && last_rows % 16) zero_tail(c, c->base + at->slot * STAGE_BYTES, "
       "last_rows);\n"
       "        u32 stage = next_stage(c, at);\n",
       GG_DW, DY_X),
    WG("tail of the stage after zeroed", "wgmma_loop.h", "zero_tail(c, stage, last_rows);",
       "zero_tail(c, c->base + (at->slot + 1) % NUM_STAGES * STAGE_BYTES, last_rows);", GG_DW, DY_X),
    WG("the wrong 16 rows of a tail zeroed", "wgmma_loop.h", "zero_tail(c, stage, last_rows);",
       "zero_tail(c, stage, last_rows + 16);", GG_DW, DY_X),
    WG("no commit of the last step's products", "wgmma_loop.h", "wgmma_commit();",
       "if (end - begin > 1) wgmma_commit();", GG_DW, DY_X),
    WG("last step's products not awaited before its stage goes back", "wgmma_loop.h", LAST_WAIT,
       "    if (whole > 0)", GG_DW, DY_X, .find_2 = LAST_REST, .replace_2 = LAST_REST "\n    wgmma_wait(0);"),
    WG("last step's stage released before the wgmma wait", "wgmma_loop.h", LAST_WAIT,
       "    if (OP == OP_DW && steps > 0) release_stage(c, at->slot);\n" LAST_WAIT, GG_DW, DY_X,
       .find_2 = LAST_RELEASE, .replace_2 = ""),
    WG("stage before the last step's released before the wgmma wait", "wgmma_loop.h",
       LAST_WAIT " release_stage(c, previous);",
       "    if (whole > 0) release_stage(c, previous);\n    wgmma_wait(0);", GG_DW, DY_X),
    WG("stage before the last step's released twice, the last step's never", "wgmma_loop.h", LAST_RELEASE,
       "        release_stage(c, previous);\n", GG_DW, DY_X),
    WG("last step's stage released under the next one's number", "wgmma_loop.h", LAST_ADVANCE,
       "        ring_advance(at);\n" LAST_RELEASE, GG_DW, DY_X),
    WG("ring does not go on behind the last step", "wgmma_loop.h", LAST_ADVANCE, LAST_RELEASE, GG_DW, DY_X),
    /* --- wgmma: the producer --- */
    WG("no wait for the launch before", "wgmma.cu", "    grid_wait();\n", "", GG_DX, DY_W),
    WG("only the consumers wait for the launch before", "wgmma.cu", "    grid_wait();\n", "", GG_FORWARD, X_W,
       .find_2 = "        consume(&p, &c);", .replace_2 = "        grid_wait();\n        consume(&p, &c);"),
    WG_EACH("no empty-slot wait", "wgmma_producer.h", EMPTY_WAIT, "", X_W, DY_W, DY_X),
    WG("wrong phase of an empty barrier", "wgmma_producer.h", EMPTY_WAIT,
       "mbarrier_wait(empty + 8 * at->slot, at->parity);", GG_FORWARD, X_W),
    WG_EACH("no empty-slot wait before cp.async", "wgmma_producer.h", EMPTY_WAIT, "", 0, 0, 0),
    WG_EACH("no proxy fence after cp.async", "wgmma_loop.h", "if (CP_ASYNC_LOADS) fence_proxy_async();", "",
            0, 0, 0),
    WG_EACH("stage published before its cp.async have landed", "wgmma_producer.h",
            "cp_async_commit_arrive(barrier);", "cp_async_commit(); mbarrier_arrive(barrier);", 0, 0, 0),
    WG("cp.async arrive on another stage's barrier", "wgmma_producer.h", "cp_async_commit_arrive(barrier);",
       "cp_async_commit_arrive(full);", GG_FORWARD, 0),
    WG("no final cp.async wait", "wgmma_producer.h", "    cp_async_wait(0);", "", GG_FORWARD, 0),
    WG_EACH("expect_tx too small", "wgmma_producer.h", "TMA_B * used_rows_b * B_TILE_COLS * 2",
            "TMA_B * used_rows_b * B_TILE_COLS", X_W, DY_W, DY_X),
    /* --- wgmma: the tile before on its way out --- */
    WG_EACH("tail store unguarded", "wgmma_output.h", "inside && row + (u32)r < tile.row_limit", "inside", 0,
            0, 0),
    WG_EACH("no barrier between the wait for reads and the next staging", "wgmma_output.h",
            READS_THEN_BARRIER, BARRIER_THEN_READS, GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG_EACH("no barrier after staging", "wgmma_output.h", GROUP_BARRIER, "", GG_TMA_STORE, GG_TMA_STORE,
            GG_TMA_STORE),
    WG_EACH("no barrier after staging for the threads", "wgmma_output.h", GROUP_BARRIER, "", 0, 0, 0),
    WG_EACH("no proxy fence before the TMA store", "wgmma_output.h", "    fence_proxy_async();", "",
            GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG_EACH("staging buffers reused one store early", "wgmma_output.h", READ_WAIT,
            "tma_store_wait_read(PIECES - 1);", GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG("staging buffers, four, reused one store early", "wgmma_output.h", READ_WAIT,
       "tma_store_wait_read(PIECES - 1);", GG_FORWARD, GG_TMA_STORE, .block_m = 128),
    WG("staging buffers, four, reused one store early", "wgmma_output.h", READ_WAIT,
       "tma_store_wait_read(PIECES - 1);", GG_DX, GG_TMA_STORE, .cols = 256),
    WG("staging buffers, four, reused one store early", "wgmma_output.h", READ_WAIT,
       "tma_store_wait_read(PIECES - 1);", GG_DW, GG_TMA_STORE, .cols = 256),
    WG_EACH("no wait for the TMA stores' reads", "wgmma_output.h", "    " ONE_THREAD READ_WAIT, "",
            GG_TMA_STORE, GG_TMA_STORE, GG_TMA_STORE),
    WG("next piece staged a barrier early, TMA stores", "wgmma_output.h", STAGES, STAGES_AHEAD, GG_FORWARD,
       GG_TMA_STORE),
    WG("next piece staged a barrier early, TMA stores", "wgmma_output.h", STAGES, STAGES_AHEAD, GG_DX,
       GG_TMA_STORE),
    WG("next piece staged a barrier early, TMA stores", "wgmma_output.h", STAGES, STAGES_AHEAD, GG_DW,
       GG_TMA_STORE, .cols = 128),
    WG("next piece staged a barrier early", "wgmma_output.h", STAGES, STAGES_AHEAD, GG_FORWARD, 0),
    WG("next piece staged a barrier early", "wgmma_output.h", STAGES, STAGES_AHEAD, GG_DX, 0),
    WG("no commit of the TMA stores", "wgmma_output.h", "tma_store_commit();", "(void)0;", GG_FORWARD,
       GG_TMA_STORE),
    WG("no wait for the last TMA stores", "wgmma.cu", LAST_READS, "", GG_FORWARD, GG_TMA_STORE,
       .block_m = 128),
    WG("no wait for the last TMA stores", "wgmma.cu", LAST_READS, "", GG_DX, GG_TMA_STORE, .block_m = 128),
    WG("no wait for the last TMA stores", "wgmma.cu", LAST_READS, "", GG_DW, GG_TMA_STORE),
    WG("last TMA stores awaited but for one", "wgmma.cu", "tma_store_wait_read(0);",
       "tma_store_wait_read(1);", GG_DW, GG_TMA_STORE),
    WG("last pieces awaited before they are sent", "wgmma.cu",
       "    }\n    send_rest(p, c, &out, 0, &buffer);\n", "    }\n", GG_DW, GG_TMA_STORE,
       .find_2 = "tma_store_wait_read(0);\n#endif",
       .replace_2 = "tma_store_wait_read(0);\n#endif\n    send_rest(p, c, &out, 0, &buffer);"),
    /* --- narrowed, moved, doubled, and faults of the first, the last or the second time only --- */
    SYNC("barrier of each warp alone", "mma_sync.cu", "block_sync(); /* this stage",
         "warp_sync(); /* this stage", GG_FORWARD, 0),
    SYNC("barrier before the waits instead of after", "mma_sync.cu",
         "            cp_async_wait(NUM_STAGES - 2);",
         "            block_sync();\n            cp_async_wait(NUM_STAGES - 2);", GG_DX, 0,
         .find_2 = "block_sync(); /* this stage", .replace_2 = "/* this stage"),
    SYNC("cp.async wait by every other thread", "mma_sync.cu", "            cp_async_wait(NUM_STAGES - 2);",
         "            if (threadIdx.x % 2) cp_async_wait(NUM_STAGES - 2);", GG_FORWARD, 0),
    SYNC("no cp.async wait in a tile's last step", "mma_sync.cu",
         "            cp_async_wait(NUM_STAGES - 2);",
         "            if (s + 1 < steps) cp_async_wait(NUM_STAGES - 2);", GG_FORWARD, 0),
    SYNC("no full-barrier wait in a tile's last step", "mma_sync.cu",
         "mbarrier_wait(barriers + 8 * use.slot, use.parity);",
         "if (s + 1 < steps) mbarrier_wait(barriers + 8 * use.slot, use.parity);", GG_DX, DY_W),
    SYNC("full-barrier wait on the slot being filled", "mma_sync.cu",
         "mbarrier_wait(barriers + 8 * use.slot, use.parity);",
         "mbarrier_wait(barriers + 8 * load.slot, use.parity);", GG_FORWARD, X_W),
    SYNC("full-barrier wait by one warp", "mma_sync.cu",
         "mbarrier_wait(barriers + 8 * use.slot, use.parity);\n#endif\n            block_sync();",
         "if (warp == 0) mbarrier_wait(barriers + 8 * use.slot, use.parity);\n#endif\n            "
         "warp_sync();",
         GG_FORWARD, X_W),
    SYNC("no commit in the prologue", "mma_sync.cu", "            cp_async_commit();\n        }", "        }",
         GG_FORWARD, 0),
    SYNC("phase turned one slot late", "loads.h", "        at->slot = 0;\n        at->parity ^= 1;",
         "        at->slot = 0;\n    }\n    if (at->slot == 1) {\n        at->parity ^= 1;", GG_FORWARD, X_W),
    SYNC("ring goes on where nothing is loaded", "mma_sync.cu",
         "                ring_advance(&load);\n            }\n            cp_async_commit();\n        }",
         "            }\n            ring_advance(&load);\n            cp_async_commit();\n        }", GG_DW,
         DY_X),
    SYNC("two threads load by TMA", "loads.h", "if (threadIdx.x == 0) {\n        mbarrier_arrive",
         "if (threadIdx.x < 2) {\n        mbarrier_arrive", GG_FORWARD, X_W),
    SYNC("mbarrier init fenced by another thread", "mma_sync.cu", "        fence_mbarrier_init();\n    }",
         "    }\n    if (threadIdx.x == 1) fence_mbarrier_init();", GG_FORWARD, X_W),
    SYNC("mbarriers made anew for every tile", "mma_sync.cu", "        i64 reduction =",
         "        if (threadIdx.x == 0 && USES_TMA_LOADS) mbarrier_init(barriers, 1), "
         "fence_mbarrier_init();\n        i64 reduction "
         "=",
         GG_FORWARD, X_W),
    SYNC("no barrier after storing from the second expert on", "epilogue.h",
         "store_by_threads(p, tile, staged);\n    block_sync();",
         "store_by_threads(p, tile, staged);\n    if (tile->expert == 0) block_sync();", GG_FORWARD, 0),
    SYNC("proxy fence by one thread for all", "epilogue.h", "    fence_proxy_async(); /* staged",
         "    if (threadIdx.x == 0) fence_proxy_async(); /* staged", GG_FORWARD, GG_TMA_STORE),
    SYNC("proxy fence before staging instead of after", "epilogue.h", "    block_sync();\n    stage_output",
         "    block_sync();\n    fence_proxy_async();\n    stage_output", GG_DX, GG_TMA_STORE,
         .find_2 = "    fence_proxy_async(); /* staged", .replace_2 = "    /* staged"),
    SYNC("commit after the wait for TMA stores", "epilogue.h",
         "    tma_store_commit();\n    tma_store_wait_read(0);",
         "    tma_store_wait_read(0);\n    tma_store_commit();", GG_DX, GG_TMA_STORE),
    SYNC("two threads store by TMA", "epilogue.h", "if (threadIdx.x == 0) store_by_tma",
         "if (threadIdx.x < 2) store_by_tma", GG_DW, GG_TMA_STORE),
    SYNC("blocks' walks overlap from the second tile on", "scheduler.h", "walk->tile += gridDim.x;",
         "walk->tile += gridDim.x - 1;", GG_FORWARD, 0),
    SYNC("output written over an input", "epilogue.h", "p->out + (i64)tile->expert * p->N * p->K : p->out;",
         "p->out + (i64)tile->expert * p->N * p->K : (u16 *)p->a;", GG_FORWARD, 0),
    WG("no wgmma.fence in a tile's first step", "wgmma_loop.h", "wgmma_fence();",
       "if (!first) wgmma_fence();", GG_FORWARD, X_W),
    WG("commit after the wait", "wgmma_loop.h", "wgmma_commit();", "", GG_FORWARD, X_W,
       .find_2 = "    wgmma_wait(1);", .replace_2 = "    wgmma_wait(1);\n    wgmma_commit();"),
    WG("no commit in a tile's last step", "wgmma_loop.h", "wgmma_commit();",
       "if (end - begin > 1) wgmma_commit();", GG_DX, DY_W,
       .find_2 = "        multiply_step(c, acc, at, &previous, width, s == 0);",
       .replace_2 = "        if (s + 1 < whole) {\n"
                    "            multiply_step(c, acc, at, &previous, width, s == 0);\n"
                    "        } else {\n"
                    "            u32 stage = next_stage(c, at);\n"
                    "            for (int k = 0; k < STEP / 16; k++)\n"
                    "                multiply(c, acc, stage, width, k, k + 1, 0);\n"
                    "            wgmma_wait(1);\n"
                    "            release_stage(c, previous);\n"
                    "            previous = at->slot;\n"
                    "            ring_advance(at);\n"
                    "        }"),
    WG_EACH("last wgmma wait one group short", "wgmma_loop.h", "    wgmma_wait(0);", "    wgmma_wait(1);",
            X_W, DY_W, DY_X),
    WG("stage released twice by every warp", "wgmma_loop.h", RELEASES,
       "if (c->thread % 16 == 0) mbarrier_arrive", GG_FORWARD, X_W),
    WG("released stage named one late", "wgmma_loop.h", "    *previous = at->slot;\n    ring_advance(at);",
       "    ring_advance(at);\n    *previous = at->slot;", GG_FORWARD, X_W),
    WG("last stage of a tile never released", "wgmma_loop.h",
       "    if (whole > 0) release_stage(c, previous);\n", "", GG_FORWARD, X_W),
    WG("last stage of a tile never released", "wgmma_loop.h",
       "    if (whole > 0) release_stage(c, previous);\n", "", GG_DX, DY_W),
    WG("last stage of a tile never released", "wgmma_loop.h", LAST_RELEASE, "", GG_DW, DY_X),
    WG("last stage but one of a tile never released", "wgmma_loop.h",
       "    if (whole > 0) release_stage(c, previous);\n", "", GG_DW, DY_X),
    WG("first stage of a tile never released", "wgmma_loop.h", "if (!first) release_stage(c, *previous);",
       "if (!first && *previous < NUM_STAGES) release_stage(c, *previous);", GG_DW, DY_X,
       .find_2 = "    *previous = at->slot;", .replace_2 = "    *previous = first ? NUM_STAGES : at->slot;"),
    WG("consumer's ring begins anew with every tile", "wgmma.cu", TILE_BEGINS,
       "        at.slot = at.parity = 0;\n" TILE_BEGINS, GG_FORWARD, X_W),
    WG("full-barrier wait by one warp of the group", "wgmma_loop.h", FULL_WAIT,
       "if (c->thread < 32) " FULL_WAIT, GG_FORWARD, X_W),
    WG("no full-barrier wait in a tile's last step", "wgmma_loop.h",
       "    u32 stage = next_stage(c, at);\n    multiply(",
       "    u32 stage = width < 0 ? c->base + at->slot * STAGE_BYTES : next_stage(c, at);\n"
       "    width = width < 0 ? -width : width;\n    multiply(",
       GG_DX, DY_W, .find_2 = "multiply_step(c, acc, at, &previous, width, s == 0);",
       .replace_2 = "multiply_step(c, acc, at, &previous, s + 1 < whole ? width : -width, s == 0);"),
    WG("no full-barrier wait in a tile's last step", "wgmma_loop.h",
       "u32 stage = next_stage(c, at);\n        if (ZEROES_TAIL",
       "u32 stage = c->base + at->slot * STAGE_BYTES;\n        if (ZEROES_TAIL", GG_DW, DY_X),
    WG("proxy fence after cp.async by one lane of a warp", "wgmma_loop.h", "if (CP_ASYNC_LOADS) fence",
       "if (CP_ASYNC_LOADS && c->thread % 32 == 0) fence", GG_FORWARD, 0),
    WG("empty-slot wait on the slot before", "wgmma_producer.h", EMPTY_WAIT,
       "mbarrier_wait(empty + 8 * ((at->slot + NUM_STAGES - 1) % NUM_STAGES), at->parity ^ 1);", GG_FORWARD,
       X_W),
    WG("no empty-slot wait in a tile's first step", "wgmma_producer.h",
       "            wait_until_empty(empty, &at);", "            if (s > 0) wait_until_empty(empty, &at);",
       GG_DX, DY_W, .find_2 = "        wait_until_empty(empty, &at);\n        const u32 place",
       .replace_2 = "        const u32 place"),
    WG("a tile's description read before it is written", "wgmma_loop.h",
       "    wait_until_full(c, at);\n    begun_tile tile", "    begun_tile tile", GG_FORWARD, X_W),
    WG_EACH("one description for all tiles", "wgmma_tile.h", "#define BEGUN_TILES (NUM_STAGES + 2)",
            "#define BEGUN_TILES 1", X_W, DY_W, DY_X),
    WG("description written behind the stage it comes with", "wgmma_producer.h",
       "        IN_ONE_THREAD(thread) write_begun(place, &begins);\n", "", GG_FORWARD, X_W,
       .find_2 = "            ring_advance(&at);",
       .replace_2 = "            if (s == 0) IN_ONE_THREAD(thread) write_begun(place, &begins);\n"
                    "            ring_advance(&at);"),
    WG("zeroing a tail waits for more threads than consume", "wgmma_loop.h",
       "named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);",
       "named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS + GROUP_THREADS);", GG_DW, DY_X),
    WG("every piece staged in one buffer", "wgmma_output.h", NEXT_BUFFER, "", GG_FORWARD, GG_TMA_STORE),
    WG("every piece staged in one buffer", "wgmma_output.h", NEXT_BUFFER, "", GG_DX, 0),
    WG("one of four staging buffers left out", "wgmma_output.h", "*buffer + 1 == PIECES ?",
       "*buffer + 1 == PIECES - 1 ?", GG_FORWARD, GG_TMA_STORE, .block_m = 128),
    WG("staging buffers begin anew with every tile", "wgmma.cu", TILE_BEGINS,
       "        buffer = 0;\n" TILE_BEGINS, GG_DW, GG_TMA_STORE),
    WG("barrier of each warp alone after staging", "wgmma_output.h", GROUP_BARRIER, "warp_sync();",
       GG_FORWARD, 0),
    WG("barrier before staging instead of after", "wgmma_output.h", STAGES, GROUP_BARRIER "\n    " STAGES,
       GG_DX, GG_TMA_STORE, .find_2 = "#endif\n    " GROUP_BARRIER, .replace_2 = "#endif\n"),
    WG("no barrier after staging a tile's first piece", "wgmma_output.h", GROUP_BARRIER,
       "if (i > 0) " GROUP_BARRIER, GG_FORWARD, GG_TMA_STORE, .cols = 256),
    WG("proxy fence by one thread for all", "wgmma_output.h", "    fence_proxy_async();",
       "    if (c->thread == 0) fence_proxy_async();", GG_FORWARD, GG_TMA_STORE),
    WG("proxy fence before staging instead of after", "wgmma_output.h", STAGES,
       "fence_proxy_async();\n    " STAGES, GG_DX, GG_TMA_STORE,
       .find_2 = "#if TMA_STORE\n    fence_proxy_async();", .replace_2 = "#if TMA_STORE"),
    WG("TMA store by a thread that does not commit", "wgmma_output.h", STORING_THREAD,
       "    if (c->thread % 32 == 0) {\n        if (c->thread == 32 && (by_tma & is_there)) {", GG_FORWARD,
       GG_TMA_STORE, .find_2 = "        tma_store_commit();",
       .replace_2 = "        if (c->thread == 0) tma_store_commit();"),
    WG("two threads store by TMA", "wgmma_output.h", STORING_THREAD,
       "    if (c->thread < 2) {\n        if (by_tma & is_there) {", GG_DW, GG_TMA_STORE),
    WG("wait for TMA stores by another thread", "wgmma_output.h", ONE_THREAD READ_WAIT,
       "if (c->thread == 1) " READ_WAIT, GG_DX, GG_TMA_STORE),
    WG("no wait for the TMA stores' reads in a tile's last piece", "wgmma_output.h", ONE_THREAD READ_WAIT,
       "if (i + 1 < SHARE_PIECES) " ONE_THREAD READ_WAIT, GG_DX, GG_TMA_STORE),
    WG("commit only where a piece goes by TMA, four buffers", "wgmma_output.h", "tma_store_commit();",
       COMMIT_IF_BY_TMA, GG_FORWARD, GG_TMA_STORE, .block_m = 128),
    WG("row numbers handed round by the lanes that store", "wgmma_output.h",
       "place = shuffle(out->place[at], owner);",
       "if (inside && row + (u32)r < tile.row_limit) place = shuffle(out->place[at], owner);", GG_FORWARD, 0,
       .fusions = GG_PERMUTE_Y),
    WG("row numbers of the wrong piece", "wgmma_output.h", "int of_q = i % Q_PIECES,", "int of_q = i % 2,",
       GG_FORWARD, 0, .fusions = GG_PERMUTE_Y),
    WG_8_WARPS("both consumers on one named barrier", "wgmma_output.h", GROUP_BARRIER,
               "named_sync(BARRIER_GROUP, GROUP_THREADS);", GG_FORWARD, GG_TMA_STORE),
    WG_8_WARPS("both consumers stage in one's buffers", "wgmma.cu",
               "STAGED_OFFSET + (u32)group * PIECES * PIECE_BYTES", "STAGED_OFFSET", GG_FORWARD,
               GG_TMA_STORE),
    WG_8_WARPS("a consumer's buffers reach into the next one's", "wgmma.cu",
               "(u32)group * PIECES * PIECE_BYTES", "(u32)group * (PIECES - 1) * PIECE_BYTES", GG_DW,
               GG_TMA_STORE),
    WG_8_WARPS("a consumer's barrier has the number of all consumers'", "wgmma_tile.h",
               "#define BARRIER_GROUP 2", "#define BARRIER_GROUP 1", GG_DW, DY_X),
    WG_8_WARPS("consumers zero a tail without each other", "wgmma_loop.h",
               "named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);", GROUP_BARRIER, GG_DW, DY_X),
    WG_8_WARPS("both consumers zero one half of a tail", "wgmma_loop.h",
               "thread = c->group * GROUP_THREADS + c->thread;", "thread = c->thread;", GG_DW, DY_X),
    WG_8_WARPS("producer keeps its registers", "wgmma.cu", "        setmaxnreg_dec(PRODUCER_REGISTERS);", "",
               GG_FORWARD, X_W),
    WG_8_WARPS("one warp of the producer gives registers back", "wgmma.cu",
               "        setmaxnreg_dec(PRODUCER_REGISTERS);",
               "        if (thread < 32) setmaxnreg_dec(PRODUCER_REGISTERS);", GG_FORWARD, 0),
    WG_8_WARPS("consumers take more registers than there are", "wgmma_tile.h", "(!CP_ASYNC_LOADS ? 240",
               "(!CP_ASYNC_LOADS ? 248", GG_DX, DY_W),
    WG_8_WARPS("stage released by one consumer for both", "wgmma_loop.h", RELEASES,
               "if (elect_one() && c->group == 0) mbarrier_arrive", GG_DX, DY_W, .file_2 = "wgmma.cu",
               .find_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS);",
               .replace_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS / 2);"),
    WG("expect_tx of the whole tile where less is loaded", "wgmma_producer.h",
       "TMA_A * used_rows_a * A_TILE_COLS * 2", "TMA_A * A_TILE_ROWS * A_TILE_COLS * 2", GG_FORWARD, X_W,
       .block_m = 128),
};

/* Right, if unusual: none may be reported in any seed. */
static const row controls[] = {
    SYNC("expect_tx behind its copies", "loads.h",
         "        mbarrier_arrive_expect_tx(barrier, by_tma ? TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES : "
         "0);\n",
         "", GG_FORWARD, X_W, .find_2 = "OP != OP_DW, tile->expert, barrier);",
         .replace_2 =
             "OP != OP_DW, tile->expert, barrier);\n        mbarrier_arrive_expect_tx(barrier, by_tma "
             "? TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES : 0);"),
    SYNC("waits for all groups", "mma_sync.cu", "cp_async_wait(NUM_STAGES - 2);", "cp_async_wait(0);", GG_DW,
         0),
    SYNC("proxy fence by the thread that stores, after the barrier", "epilogue.h",
         "    fence_proxy_async(); /* staged", "    /* staged", GG_FORWARD, GG_TMA_STORE,
         .find_2 = "if (threadIdx.x == 0) store_by_tma(",
         .replace_2 = "if (threadIdx.x == 0) fence_proxy_async(), store_by_tma("),
    SYNC("waits twice for one phase", "mma_sync.cu", "mbarrier_wait(barriers + 8 * use.slot, use.parity);",
         "mbarrier_wait(barriers + 8 * use.slot, use.parity), mbarrier_wait(barriers + 8 * use.slot, "
         "use.parity);",
         GG_DX, DY_W),
    SYNC("full-barrier wait by one thread, then the barrier", "mma_sync.cu",
         "mbarrier_wait(barriers + 8 * use.slot, use.parity);",
         "if (threadIdx.x == 77) mbarrier_wait(barriers + 8 * use.slot, use.parity);", GG_FORWARD, X_W),
    SYNC("waits for the stores themselves", "epilogue.h", "tma_store_wait_read(0);", "tma_store_wait(0);",
         GG_DX, GG_TMA_STORE),
    SYNC("named barrier of all for the block's", "mma_sync.cu", "block_sync(); /* this stage",
         "named_sync(5, NUM_THREADS); /* this stage", GG_DW, DY_X),
    WG("every lane releases", "wgmma_loop.h", RELEASES, "mbarrier_arrive", GG_FORWARD, X_W,
       .file_2 = "wgmma.cu", .find_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS);",
       .replace_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS * 32);"),
    WG("empty groups of wgmma", "wgmma_loop.h", "wgmma_commit();", "wgmma_commit(); wgmma_commit();", GG_DX,
       DY_W, .find_2 = "wgmma_wait(1);", .replace_2 = "wgmma_wait(2);"),
    WG("wgmma waited for in every step", "wgmma_loop.h", "wgmma_wait(1);", "wgmma_wait(0);", GG_DW, DY_X),
    WG("every thread commits", "wgmma_output.h", "        tma_store_commit(); /* a piece, a group */\n    }",
       "    }\n    tma_store_commit();", GG_FORWARD, GG_TMA_STORE),
    WG("commit only where a piece goes by TMA, two buffers", "wgmma_output.h", "tma_store_commit();",
       COMMIT_IF_BY_TMA, GG_FORWARD, GG_TMA_STORE),
    WG("waits for the stores themselves", "wgmma_output.h", READ_WAIT, "tma_store_wait(0);", GG_DW,
       GG_TMA_STORE),
    WG("the last consumer thread initialises", "wgmma.cu", "if (threadIdx.x == 0) {",
       "if (threadIdx.x == CONSUMER_THREADS - 1) {", GG_FORWARD, X_W),
    WG("last step's stages released in the other order", "wgmma_loop.h",
       "    if (whole > 0) release_stage(c, previous);\n", "", GG_DW, DY_X, .find_2 = LAST_ADVANCE "    }\n",
       .replace_2 = LAST_ADVANCE "    }\n    if (whole > 0) release_stage(c, previous);\n"),
    WG("last step's products as one group", "wgmma_loop.h", "wgmma_commit();",
       "if (end - begin > 1) wgmma_commit();", GG_DW, DY_X, .find_2 = "steps == 1 && k == 0);\n",
       .replace_2 = "steps == 1 && k == 0);\n        wgmma_commit();\n"),
    WG("last step's wait before the pieces of the tile before", "wgmma_loop.h",
       "    if (DEFERS && OP != OP_DW) send_rest(p, c, out, whole, buffer);\n", "", GG_FORWARD,
       X_W | GG_TMA_STORE, .find_2 = "    if (DEFERS && OP == OP_DW) send_rest(",
       .replace_2 = "    send_rest("),
    WG("last step's wait behind all pieces", "wgmma_loop.h", "    if (DEFERS && OP != OP_DW) send_rest(",
       "    send_rest(", GG_DW, DY_X | GG_TMA_STORE, .find_2 = LAST_REST, .replace_2 = ""),
    WG("proxy fence behind the barrier of the tail", "wgmma_loop.h",
       "    fence_proxy_async();\n    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);",
       "    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);\n    fence_proxy_async();", GG_DW, DY_X),
    WG("barrier of each warp alone where it stores what it staged", "wgmma_output.h", GROUP_BARRIER,
       "warp_sync();", GG_DW, 0),
    WG("wait for all TMA stores' reads", "wgmma_output.h", READ_WAIT, "tma_store_wait_read(0);", GG_FORWARD,
       GG_TMA_STORE, .block_m = 128),
    WG("two barriers a piece", "wgmma_output.h", STAGES, GROUP_BARRIER "\n    " STAGES, GG_DW, GG_TMA_STORE),
    WG("as shipped, four staging buffers", "wgmma_output.h", READ_WAIT,
       "tma_store_wait_read(SHARE_PIECES - 2);", GG_FORWARD, X_W | GG_TMA_STORE, .block_m = 128),
    WG("as shipped, columns are q", "wgmma_output.h", READ_WAIT, "tma_store_wait_read(SHARE_PIECES - 2);",
       GG_DX, DY_W | GG_TMA_STORE, .cols = 256),
    WG_8_WARPS("as shipped, with two consumers", "wgmma.cu", "mbarrier_init(empty + 8 * s, NUM_WARPS);",
               "mbarrier_init(empty + 8 * s, CONSUMERS * 4);", GG_DW, DY_X),
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
    if (m->warps) config.num_warps = m->warps;
    if (m->block_m) config.block_m = m->block_m;
    if (m->mainloop == GG_WGMMA && m->op == GG_DX) config.block_n = 64, config.block_k = 128;
    if (m->mainloop == GG_WGMMA && m->op == GG_DW)
        config.block_m = 64, config.block_n = m->warps == 8 ? 128 : 64;
    if (m->cols) *(m->op == GG_FORWARD ? &config.block_n : &config.block_k) = m->cols;
    gg_problem problem = rig_problem(r, &shape, m->op, m->fusions, GG_BF16);
    if (checked_variant.plan_make(&problem, &config, gg_get_device(r->context), &plan, reason))
        fail_msg("%s: %s", m->fault, reason);
    return plan;
}

static const char *const op_words[] = {[GG_FORWARD] = "forward", [GG_DX] = "dX", [GG_DW] = "dW"};

/* One change of a file in mutant_sources, and the new text, owned by the caller; NULL: a text that no longer fits. */
static char *patch(const row *m, const char *name, const char *find, const char *replace) {
    char error[512];
    const mutant change = {.name = m->fault, .file = name, .find = find, .replace = replace};
    gg_source_file *file = mutant_sources;
    while (file->name && strcmp(file->name, name)) file++;
    if (!file->name) fail_msg("%s: no file '%s'", m->fault, name);
    char *patched = mutant_apply(&change, file->text, error);
    if (patched)
        file->text = patched;
    else
        print_error("%s\n", error);
    return patched;
}

/* Both changes; false if one does not fit. */
static bool patch_row(const row *m, char *texts[2]) {
    use_sources();
    texts[0] = patch(m, m->file, m->find, m->replace);
    texts[1] = m->find_2 ? patch(m, m->file_2 ? m->file_2 : m->file, m->find_2, m->replace_2) : NULL;
    return texts[0] && (texts[1] || !m->find_2);
}

/* Of how many seeds the checker reports the row; the first report goes to `first`. */
static int count_caught(rig *r, const row *m, char first[GG_ERROR_SIZE]) {
    char *texts[2];
    if (!patch_row(m, texts)) fail();
    gg_plan plan = plan_of(r, m);
    int caught = 0;
    *first = '\0';
    for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
        gg_status status = rig_launch(r, &plan, seed);
        if (status == GG_ERR_COMPILE) fail_msg("%s: %s", m->fault, gg_error(r->context));
        if (status && !*first) snprintf(first, GG_ERROR_SIZE, "%s", gg_error(r->context));
        caught += status != GG_OK;
    }
    free(texts[0]);
    free(texts[1]);
    return caught;
}

/* Runs the rows into caught[]; whether each is caught in `expected` seeds. */
static bool judge(const row *table, size_t count, int expected, int *caught) {
    const char *only = getenv("ONLY");
    char first[GG_ERROR_SIZE];
    bool good = true;
    rig r;
    rig_open(&r, true);
    for (size_t i = 0; i < count; i++) {
        const row *m = &table[i];
        if (only && !strstr(m->fault, only)) continue;
        caught[i] = count_caught(&r, m, first);
        print_message("%2d/%d %-8s %-7s tma %2u %-45s %.300s\n", caught[i], ALL_SEEDS,
                      gg_mainloop_name(m->mainloop), op_words[m->op], m->tma, m->fault, first);
        good &= caught[i] == expected;
    }
    rig_close(&r);
    return good;
}

/* --- the table of docs: each bug once, with its seeds in each op --- */

static const char table_path[] = SOURCE_DIR "/tests/sim/BUGS.md";

static bool same_bug(const row *a, const row *b) {
    return a->mainloop == b->mainloop && !strcmp(a->fault, b->fault);
}

static void put_table(FILE *out, const int *caught) {
    enum { COUNT = sizeof rows / sizeof *rows };
    fprintf(
        out,
        "# Synchronisation bugs that race mode finds in the shipped kernels\n"
        "Of %d seeds each, and in every one; generated by `MOEGEMM_WRITE_BUGS=1 "
        "build/tests/test_sim_mutants`, whose "
        "tables say what\neach changes. %d bugs, and %d changes that are right and must not be reported.\n\n"
        "| mainloop | bug | forward | dX | dW |\n|---|---|---|---|---|\n",
        ALL_SEEDS, COUNT, (int)(sizeof controls / sizeof *controls));
    for (int i = 0, end; i < COUNT; i = end) {
        char cells[GG_NUM_OPS][8] = {"", "", ""};
        for (end = i; end < COUNT && same_bug(&rows[i], &rows[end]); end++)
            snprintf(cells[rows[end].op], sizeof cells[0], "%d", caught[end]);
        fprintf(out, "| %s | %s | %s | %s | %s |\n", gg_mainloop_name(rows[i].mainloop), rows[i].fault,
                cells[0], cells[1], cells[2]);
    }
}

static void check_table(const int *caught) {
    static char committed[1 << 15];
    char *made = NULL;
    size_t size;
    bool write = getenv("MOEGEMM_WRITE_BUGS") != NULL;
    FILE *out = open_memstream(&made, &size), *file = fopen(table_path, write ? "w" : "r");
    assert_non_null(out);
    assert_non_null(file);
    put_table(out, caught);
    fclose(out);
    if (write)
        fputs(made, file);
    else
        committed[fread(committed, 1, sizeof committed - 1, file)] = '\0';
    fclose(file);
    if (!write && strcmp(committed, made))
        fail_msg(
            "tests/sim/BUGS.md is not what the rows give: MOEGEMM_WRITE_BUGS=1 build/tests/test_sim_mutants");
    free(made);
}

/* All rows that the kernels have left behind, before the long run. */
static void test_rows_fit(void **state) {
    (void)state;
    bool fit = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows + sizeof controls / sizeof *controls; i++) {
        char *texts[2];
        const row *m = i < sizeof rows / sizeof *rows ? &rows[i] : &controls[i - sizeof rows / sizeof *rows];
        fit &= patch_row(m, texts);
        free(texts[0]);
        free(texts[1]);
    }
    assert_true(fit);
}

static void test_mutants(void **state) {
    (void)state;
    static int caught[sizeof rows / sizeof *rows];
    bool good = judge(rows, sizeof rows / sizeof *rows, ALL_SEEDS, caught);
    if (!getenv("ONLY")) check_table(caught);
    assert_true(good);
}

static void test_controls(void **state) {
    (void)state;
    static int caught[sizeof controls / sizeof *controls];
    assert_true(judge(controls, sizeof controls / sizeof *controls, 0, caught));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_fit), cmocka_unit_test(test_mutants),
                                       cmocka_unit_test(test_controls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
