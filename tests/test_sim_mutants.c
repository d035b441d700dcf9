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
    int warps, block_m;             /* 0: as in configs below */
    const char *find_2, *replace_2; /* a second change of the same file, or NULL */
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
    WG_EACH("no full-barrier wait", "wgmma_loop.h", "mbarrier_wait(full + 8 * at->slot, at->parity);", "",
            X_W, DY_W, DY_X),
    WG_EACH("wrong phase of a full barrier", "wgmma_loop.h",
            "mbarrier_wait(full + 8 * at->slot, at->parity);",
            "mbarrier_wait(full + 8 * at->slot, at->parity ^ 1);", X_W, DY_W, DY_X),
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
    WG_EACH("no barrier after mbarrier init", "wgmma.cu", "    block_sync();\n", "", X_W, DY_W, DY_X),
    WG_EACH("no fence after mbarrier init", "wgmma.cu", "fence_mbarrier_init();", "", X_W, DY_W, DY_X),
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
    WG_EACH("expect_tx too small", "wgmma_producer.h", "+ TMA_B * B_TILE_BYTES)",
            "+ TMA_B * B_TILE_BYTES / 2)", X_W, DY_W, DY_X),
    /* --- wgmma: the epilogue --- */
    WG_EACH("tail store unguarded", "wgmma.cu", "row + r < tile->row_limit && col", "col", 0, 0, 0),
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
    WG("no wgmma.fence in a tile's first step", "wgmma_loop.h", "wgmma_fence();", "if (s > 0) wgmma_fence();",
       GG_FORWARD, X_W),
    WG("commit after the wait", "wgmma_loop.h", "        wgmma_commit();\n        wgmma_wait(1);",
       "        wgmma_wait(1);\n        wgmma_commit();", GG_FORWARD, X_W),
    WG("no commit in a tile's last step", "wgmma_loop.h", "wgmma_commit();",
       "if (s + 1 < steps) wgmma_commit();", GG_DX, DY_W),
    WG("last wgmma wait one group short", "wgmma_loop.h", "    wgmma_wait(0);", "    wgmma_wait(1);", GG_DW,
       DY_X),
    WG("stage released twice by every warp", "wgmma.cu", "if (thread % 32 == 0) mbarrier_arrive",
       "if (thread % 16 == 0) mbarrier_arrive", GG_FORWARD, X_W),
    WG("released stage named one late", "wgmma_loop.h",
       "        previous = at->slot;\n        ring_advance(at);",
       "        ring_advance(at);\n        previous = at->slot;", GG_FORWARD, X_W),
    WG("last stage of a tile never released", "wgmma_loop.h",
       "    if (steps > 0) release_stage(empty, previous, thread);", "", GG_DX, DY_W),
    WG("first stage of a tile never released", "wgmma_loop.h", "if (s > 0) release_stage",
       "if (s > 1) release_stage", GG_DW, DY_X),
    WG("consumer's ring begins anew with every tile", "wgmma.cu",
       "        i64 steps = tile_steps(p, &tile);\n",
       "        i64 steps = tile_steps(p, &tile);\n        at.slot = at.parity = 0;\n", GG_FORWARD, X_W),
    WG("full-barrier wait by one warp of the group", "wgmma_loop.h",
       "mbarrier_wait(full + 8 * at->slot, at->parity);",
       "if (thread % 128 < 32) mbarrier_wait(full + 8 * at->slot, at->parity);", GG_FORWARD, X_W),
    WG("no full-barrier wait in a tile's last step", "wgmma_loop.h",
       "mbarrier_wait(full + 8 * at->slot, at->parity);",
       "if (s + 1 < steps) mbarrier_wait(full + 8 * at->slot, at->parity);", GG_DX, DY_W),
    WG("proxy fence after cp.async by one lane of a warp", "wgmma_loop.h", "if (CP_ASYNC_LOADS) fence",
       "if (CP_ASYNC_LOADS && thread % 32 == 0) fence", GG_FORWARD, 0),
    WG("empty-slot wait on the slot before", "wgmma_producer.h",
       "mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);",
       "mbarrier_wait(empty + 8 * ((at.slot + NUM_STAGES - 1) % NUM_STAGES), at.parity ^ 1);", GG_FORWARD,
       X_W),
    WG("no empty-slot wait in a tile's first step", "wgmma_producer.h",
       "mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);",
       "if (s > 0) mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);", GG_DX, DY_W),
    WG("zeroing a tail waits for more threads than consume", "wgmma.cu",
       "named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);",
       "named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS + GROUP_THREADS);", GG_DW, DY_X),
    WG("staged over one buffer of the two", "wgmma.cu", "(*pieces & 1) * PIECE_BYTES",
       "(*pieces & 0) * PIECE_BYTES", GG_FORWARD, GG_TMA_STORE),
    WG("staging buffers begin anew with every tile", "wgmma.cu",
       "        i64 steps = tile_steps(p, &tile);\n",
       "        i64 steps = tile_steps(p, &tile);\n        pieces = 0;\n", GG_DW, GG_TMA_STORE),
    WG("proxy fence by one thread for all", "wgmma.cu", "            fence_proxy_async();",
       "            if (thread == 0) fence_proxy_async();", GG_FORWARD, GG_TMA_STORE),
    WG("TMA store by a thread that does not commit", "wgmma.cu", "if (by_tma && thread == 0)",
       "if (by_tma && thread == 32)", GG_FORWARD, GG_TMA_STORE),
    WG("wait for TMA stores by another thread", "wgmma.cu", "if (thread == 0) tma_store_wait_read(1);",
       "if (thread == 1) tma_store_wait_read(1);", GG_DX, GG_TMA_STORE),
    WG("commit only where a piece goes by TMA", "wgmma.cu",
       "            if (thread == 0)\n                tma_store_commit();",
       "            if (thread == 0 && tile->row + 64 <= tile->row_limit)\n                "
       "tma_store_commit();",
       GG_FORWARD, GG_TMA_STORE),
    WG_8_WARPS("both consumers on one named barrier", "wgmma.cu",
               "named_sync(BARRIER_GROUP + group, GROUP_THREADS);\n            stage_piece",
               "named_sync(BARRIER_GROUP, GROUP_THREADS);\n            stage_piece", GG_FORWARD,
               GG_TMA_STORE),
    WG_8_WARPS("a consumer's barrier has the number of all consumers'", "wgmma_tile.h",
               "#define BARRIER_GROUP 2", "#define BARRIER_GROUP 1", GG_DW, DY_X),
    WG_8_WARPS("consumers zero a tail without each other", "wgmma.cu",
               "named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);",
               "named_sync(BARRIER_GROUP + thread / GROUP_THREADS, GROUP_THREADS);", GG_DW, DY_X),
    WG_8_WARPS("producer keeps its registers", "wgmma.cu", "        setmaxnreg_dec(PRODUCER_REGISTERS);", "",
               GG_FORWARD, X_W),
    WG_8_WARPS("one warp of the producer gives registers back", "wgmma.cu",
               "        setmaxnreg_dec(PRODUCER_REGISTERS);",
               "        if (thread < 32) setmaxnreg_dec(PRODUCER_REGISTERS);", GG_FORWARD, 0),
    WG_8_WARPS("stage released by one consumer for both", "wgmma.cu", "if (thread % 32 == 0) mbarrier_arrive",
               "if (thread % 32 == 0 && thread < 128) mbarrier_arrive", GG_DX, DY_W,
               .find_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS);",
               .replace_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS / 2);"),
    WG("expect_tx of the whole tile where less is loaded", "wgmma_producer.h",
       "TMA_A * rows_used * A_TILE_COLS * 2", "TMA_A * A_TILE_ROWS * A_TILE_COLS * 2", GG_FORWARD, X_W,
       .block_m = 128),
};

/* Right, if unusual: none may be reported in any seed. */
static const row controls[] = {
    SYNC("expect_tx behind its copies", "loads.h",
         "        mbarrier_arrive_expect_tx(barrier, by_tma ? TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES : "
         "0);\n",
         "", GG_FORWARD, X_W, .find_2 = "OP == OP_DW ? -1 : tile->expert, barrier);",
         .replace_2 =
             "OP == OP_DW ? -1 : tile->expert, barrier);\n        mbarrier_arrive_expect_tx(barrier, by_tma "
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
    WG("every lane releases", "wgmma.cu", "if (thread % 32 == 0) mbarrier_arrive", "mbarrier_arrive",
       GG_FORWARD, X_W, .find_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS);",
       .replace_2 = "mbarrier_init(empty + 8 * s, NUM_WARPS * 32);"),
    WG("empty groups of wgmma", "wgmma_loop.h", "        wgmma_commit();\n        wgmma_wait(1);",
       "        wgmma_commit();\n        wgmma_commit();\n        wgmma_wait(2);", GG_DX, DY_W),
    WG("wgmma waited for in every step", "wgmma_loop.h", "wgmma_wait(1);", "wgmma_wait(0);", GG_DW, DY_X),
    WG("every thread commits", "wgmma.cu",
       "            if (thread == 0)\n                tma_store_commit();", "            tma_store_commit();",
       GG_FORWARD, GG_TMA_STORE),
    WG("the last consumer thread initialises", "wgmma.cu", "if (threadIdx.x == 0) {",
       "if (threadIdx.x == CONSUMER_THREADS - 1) {", GG_FORWARD, X_W),
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
    gg_problem problem = rig_problem(r, &shape, m->op, 0, GG_BF16);
    if (checked_variant.plan_make(&problem, &config, gg_get_device(r->context), &plan, reason))
        fail_msg("%s: %s", m->fault, reason);
    return plan;
}

static const char *const op_words[] = {[GG_FORWARD] = "forward", [GG_DX] = "dX", [GG_DW] = "dW"};

/* One change of m's file in mutant_sources; the text is owned by the caller. */
static char *patch(const row *m, const char *find, const char *replace) {
    char error[512];
    for (gg_source_file *file = mutant_sources; file->name; file++) {
        if (strcmp(file->name, m->file)) continue;
        const mutant change = {.name = m->fault, .file = m->file, .find = find, .replace = replace};
        char *patched = mutant_apply(&change, file->text, error);
        if (!patched) fail_msg("%s", error);
        file->text = patched;
        return patched;
    }
    fail_msg("%s: no file '%s'", m->fault, m->file);
    return NULL;
}

/* Of how many seeds the checker reports the row; the first report goes to `first`. */
static int count_caught(rig *r, const row *m, char first[GG_ERROR_SIZE]) {
    use_sources();
    char *once = patch(m, m->find, m->replace), *twice = m->find_2 ? patch(m, m->find_2, m->replace_2) : NULL;
    gg_plan plan = plan_of(r, m);
    int caught = 0;
    *first = '\0';
    for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
        gg_status status = rig_launch(r, &plan, seed);
        if (status == GG_ERR_COMPILE) fail_msg("%s: %s", m->fault, gg_error(r->context));
        if (status && !*first) snprintf(first, GG_ERROR_SIZE, "%s", gg_error(r->context));
        caught += status != GG_OK;
    }
    free(once);
    free(twice);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutants), cmocka_unit_test(test_controls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
