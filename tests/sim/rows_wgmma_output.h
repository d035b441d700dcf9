/* rows_wgmma_output.h: of test_sim_mutants.c, wgmma's output on its way: slots, the warps that store, consumers that store themselves. */
#ifndef MG_SIM_ROWS_WGMMA_OUTPUT_H
#define MG_SIM_ROWS_WGMMA_OUTPUT_H

#include "rows_wgmma.h"

/* Who stores, and how: in each op the loads that make it so. */
#define SELF_TMA_FORWARD GG_TMA_STORE
#define SELF_TMA_DX GG_TMA_STORE
#define SELF_TMA_DW GG_TMA_STORE
#define SELF_TMA_MACRO " STORERS=0"
#define SELF_TMA_NAME ", consumers by TMA"
#define SELF_ROWS_FORWARD 0
#define SELF_ROWS_DX 0
#define SELF_ROWS_DW 0
#define SELF_ROWS_MACRO " STORERS=0"
#define SELF_ROWS_NAME ", consumers by rows"
#define STORERS_TMA_FORWARD (X_W | GG_TMA_STORE)
#define STORERS_TMA_DX (DY_W | GG_TMA_STORE)
#define STORERS_TMA_DW (DY_X | GG_TMA_STORE)
#define STORERS_TMA_MACRO " STORERS=1"
#define STORERS_TMA_NAME ", storers by TMA"
#define STORERS_ROWS_FORWARD X_W
#define STORERS_ROWS_DX DY_W
#define STORERS_ROWS_DW DY_X
#define STORERS_ROWS_MACRO " STORERS=1"
#define STORERS_ROWS_NAME ", storers by rows"
#define IN(op, kind, fault, file, find, replace, ...)                                                        \
    WG(fault kind##_NAME, file, find, replace, GG_##op, kind##_##op, .macro = kind##_MACRO, __VA_ARGS__)
#define IN_EACH(kind, fault, file, find, replace, ...)                                                       \
    IN(FORWARD, kind, fault, file, find, replace, __VA_ARGS__),                                              \
        IN(DX, kind, fault, file, find, replace, __VA_ARGS__),                                               \
        IN(DW, kind, fault, file, find, replace, __VA_ARGS__)
/* Geometries: more slots than a tile's batches; as many; half of a tile at once, the rest behind the next one's steps. */
#define SLOTS_3 .warps = 0
#define SLOTS_5 .cols = 256
#define ONE_SLOT .one_slot = true

/* Texts of the kernels that several rows change. */
#define OUT "wgmma_output.h"
#define STORE "wgmma_store.h"
#define TAKEN_WAIT                                                                                           \
    "mbarrier_wait(slot_barrier(c->base + TAKEN_OFFSET, c->group, out->at.slot), out->at.parity ^ 1);"
#define FULL_SLOT_WAIT                                                                                       \
    "mbarrier_wait(slot_barrier(s->base + STAGED_FULL_OFFSET, s->group, at.slot), at.parity);"
#define STAGED_ARRIVES                                                                                       \
    "    if (elect_one()) mbarrier_arrive(slot_barrier(c->base + STAGED_FULL_OFFSET, c->group, "             \
    "out->at.slot));\n"
#define TAKEN_ARRIVES                                                                                        \
    "if (elect_one()) mbarrier_arrive(slot_barrier(s->base + TAKEN_OFFSET, s->group, slot));"
#define UNREAD_WAIT "            IN_ONE_THREAD(s->thread) tma_store_wait_read(BATCHES_UNREAD);"
#define SLOTS_WAIT "IN_ONE_THREAD(STRIPS ? c->thread % 32 : c->thread) tma_store_wait_read(SLOTS - 1);"
#define LAST_READS "    IN_ONE_THREAD(STRIPS ? c->thread % 32 : c->thread) tma_store_wait_read(0);"
#define STAGED_FENCE "    if (TMA_STORE) fence_proxy_async();"
#define GROUP_BARRIER "    share_sync(c);\n"
#define OF_ALL "named_sync(BARRIER_GROUP + c->group, GROUP_THREADS);"
#define ROOM_BARRIER GROUP_BARRIER "#endif\n"
#define STAGED_LANES "    warp_sync();\n    if (elect_one())"
#define STAGED_BARRIER GROUP_BARRIER "    store_batch(p, &self"
#define STORES "    store_batch(p, &self"
#define READS_TILE                                                                                           \
    "            if (b == 0) tile = read_begun(begun_place(s->base + BEGUN_OFFSET, &number));\n"
#define STORING_THREAD "    IN_ONE_THREAD(STRIPS ? s->thread % 32 : s->thread) {\n        for"
#define IF_THERE "if (place.is_there) store_by_tma("
#define GOES_ON "            slot_advance(&at);\n"
#define NO_TILE_LEFT                                                                                         \
    "    begin_batch(c, &out);\n    end_batch(p, c, &out, 0); /* the storer reads that no tile is left */\n"
#define STAGED_COUNT "mbarrier_init(base + STAGED_FULL_OFFSET + 8 * s, GROUP_THREADS / 32);"
#define TAKEN_COUNT "mbarrier_init(base + TAKEN_OFFSET + 8 * s, 1);"
#define BUFFERS_OF "STAGED_OFFSET + (u32)group * PIECES * PIECE_BYTES"
#define FIRST_ROOM "        begin_batch(c, out);\n"
#define LATER_ROOM "    begin_batch(c, out);\n    UNROLL"
#define ONE_DESCRIPTION_LESS "#define BEGUN_TILES (NUM_STAGES + 1 + (SLOTS - 1) / BATCHES)"
#define BATCH_OF "#define BATCH (ROOM >= SHARE_PIECES ? 1 : ROOM)"

static const row wgmma_output_rows[] = {
    /* --- room in a slot: what storers hand back --- */
    IN_EACH(STORERS_TMA, "slot not waited for", OUT, TAKEN_WAIT, "", SLOTS_3),
    IN_EACH(STORERS_ROWS, "slot not waited for", OUT, TAKEN_WAIT, "", SLOTS_3),
    IN_EACH(STORERS_TMA, "slot not waited for, one slot", OUT, TAKEN_WAIT, "", ONE_SLOT),
    IN(FORWARD, STORERS_ROWS, "slot not waited for, one slot", OUT, TAKEN_WAIT, "", ONE_SLOT),
    IN_EACH(STORERS_TMA, "slot's wrong phase waited for", OUT, "out->at.parity ^ 1", "out->at.parity",
            SLOTS_3),
    IN(DX, STORERS_ROWS, "slot's wrong phase waited for, one slot", OUT, "out->at.parity ^ 1",
       "out->at.parity", ONE_SLOT),
    IN(FORWARD, STORERS_ROWS, "slot waited for by one warp", OUT, TAKEN_WAIT,
       "if (c->thread < 32) " TAKEN_WAIT, SLOTS_3),
    IN(DX, STORERS_TMA, "slot waited for by one warp, one slot", OUT, TAKEN_WAIT,
       "if (c->thread < 32) " TAKEN_WAIT, ONE_SLOT),
    IN(DW, STORERS_TMA, "slot before waited for", OUT, "c->group, out->at.slot), out->at.parity ^ 1",
       "c->group, (out->at.slot + SLOTS - 1) % SLOTS), out->at.parity ^ 1", SLOTS_3),
    IN_EACH(STORERS_TMA, "first batch staged before there is room", OUT, FIRST_ROOM, "", SLOTS_3,
            .find_2 = "        end_batch(p, c, out, b);\n    }",
            .replace_2 = "        begin_batch(c, out);\n        end_batch(p, c, out, b);\n    }"),
    IN(FORWARD, STORERS_ROWS, "later batch staged before there is room", OUT, LATER_ROOM, "    UNROLL",
       ONE_SLOT, .find_2 = "    end_batch(p, c, out, b);\n}",
       .replace_2 = "    begin_batch(c, out);\n    end_batch(p, c, out, b);\n}"),
    IN_EACH(STORERS_TMA, "later batch staged before there is room", OUT, LATER_ROOM, "    UNROLL", ONE_SLOT,
            .find_2 = "    end_batch(p, c, out, b);\n}",
            .replace_2 = "    begin_batch(c, out);\n    end_batch(p, c, out, b);\n}"),
    IN_EACH(STORERS_TMA, "no wait for the TMA stores' reads", STORE, UNREAD_WAIT, "", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "no wait for the TMA stores' reads, one slot", STORE, UNREAD_WAIT, "", ONE_SLOT),
    IN_EACH(STORERS_TMA, "slot given back one store early", STORE, "tma_store_wait_read(BATCHES_UNREAD)",
            "tma_store_wait_read(BATCHES_UNREAD + 1)", SLOTS_3),
    IN_EACH(STORERS_TMA, "slot given back one store early, one slot", STORE,
            "tma_store_wait_read(BATCHES_UNREAD)", "tma_store_wait_read(BATCHES_UNREAD + 1)", ONE_SLOT),
    IN_EACH(STORERS_TMA, "slot given back one store early, five slots", STORE,
            "tma_store_wait_read(BATCHES_UNREAD)", "tma_store_wait_read(BATCHES_UNREAD + 1)", SLOTS_5),
    IN(FORWARD, STORERS_TMA, "slot given back before the one that was read", STORE, "s->group, slot));",
       "s->group, at.slot));", SLOTS_3, .find_2 = "if (sent == BATCHES_UNREAD) {", .replace_2 = "if (1) {"),
    IN(DW, STORERS_TMA, "slot given back before the one that was read, five slots", STORE,
       "s->group, slot));", "s->group, (slot + 1) % SLOTS));", SLOTS_5,
       .find_2 = "if (sent == BATCHES_UNREAD) {", .replace_2 = "if (sent + 1 >= BATCHES_UNREAD) {"),
    IN(DX, STORERS_TMA, "one slot more unread than is counted", STORE, "if (sent == BATCHES_UNREAD) {",
       "if (sent + 1 >= BATCHES_UNREAD) {", SLOTS_5),
    IN_EACH(STORERS_ROWS, "slot given back before it is read", STORE,
            "            store_batch(p, s, &tile, b, at.slot);\n", "", SLOTS_3, .find_2 = GOES_ON,
            .replace_2 = "            store_batch(p, s, &tile, b, at.slot);\n" GOES_ON),
    IN_EACH(STORERS_ROWS, "slot given back by a lane for lanes that still read", STORE,
            "            warp_sync();\n", "", SLOTS_3),
    IN(FORWARD, STORERS_ROWS, "slot given back by a lane for lanes that still read, one slot", STORE,
       "            warp_sync();\n", "", ONE_SLOT),
    IN(DX, STORERS_TMA, "slot given back by every lane", STORE, "if (elect_one()) mbarrier_arrive(",
       "mbarrier_arrive(", SLOTS_3),
    IN(FORWARD, STORERS_ROWS, "slot given back twice", STORE, TAKEN_ARRIVES,
       "if (s->thread < 2) mbarrier_arrive(slot_barrier(s->base + TAKEN_OFFSET, s->group, slot));", SLOTS_3),
    IN(DW, STORERS_TMA, "slot never given back", STORE, TAKEN_ARRIVES, "(void)slot;", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "a later batch's slot never given back, one slot", STORE,
       "if (sent == BATCHES_UNREAD) {", "if (b == 0) {", ONE_SLOT),
    IN(DW, STORERS_ROWS, "giving back takes two arrivals", "wgmma.cu", TAKEN_COUNT,
       "mbarrier_init(base + TAKEN_OFFSET + 8 * s, 2);", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "slot's phase never turned", "wgmma_tile.h", "at->parity ^= 1;", "", SLOTS_3),
    IN(DX, STORERS_ROWS, "slot's phase never turned, one slot", "wgmma_tile.h", "at->parity ^= 1;", "",
       ONE_SLOT),
    IN(DX, STORERS_TMA, "slot's phase turned one slot late", "wgmma_tile.h",
       "    at->slot = 0;\n    at->parity ^= 1;", "    at->slot = 0;", SLOTS_3,
       .find_2 = "    if (++at->slot < SLOTS) return;",
       .replace_2 = "    if (at->slot == 0) at->parity ^= 1;\n    if (++at->slot < SLOTS) return;"),
    /* --- what is staged: handed to storers --- */
    IN_EACH(STORERS_TMA, "no proxy fence before the TMA store", OUT, STAGED_FENCE, "", SLOTS_3),
    IN_EACH(STORERS_TMA, "no proxy fence before the TMA store, one slot", OUT, STAGED_FENCE, "", ONE_SLOT),
    IN(FORWARD, STORERS_TMA, "proxy fence by one lane for its warp", OUT, STAGED_FENCE,
       "    if (c->thread % 32 == 0) fence_proxy_async();", SLOTS_3),
    IN(DX, STORERS_TMA, "proxy fence behind the arrival", OUT, STAGED_FENCE, "", SLOTS_3,
       .find_2 = STAGED_ARRIVES, .replace_2 = STAGED_ARRIVES "    fence_proxy_async();\n"),
    IN(DW, STORERS_TMA, "proxy fence before staging instead of after", OUT, STAGED_FENCE, "", SLOTS_3,
       .find_2 = FIRST_ROOM, .replace_2 = FIRST_ROOM "        fence_proxy_async();\n"),
    IN(DX, STORERS_TMA, "proxy fence for a tile's first batches alone, one slot", OUT, STAGED_FENCE,
       "    if (b < FIRST_BATCHES) fence_proxy_async();", ONE_SLOT),
    IN_EACH(STORERS_ROWS, "lane arrives for lanes that still stage", OUT, STAGED_LANES,
            "    if (elect_one())", SLOTS_3),
    IN(DX, STORERS_TMA, "lane arrives for lanes that still stage, one slot", OUT, STAGED_LANES,
       "    if (elect_one())", ONE_SLOT),
    IN_EACH(STORERS_TMA, "arrival before staging", OUT, STAGED_ARRIVES, "", SLOTS_3, .find_2 = TAKEN_WAIT,
            .replace_2 = TAKEN_WAIT "\n" STAGED_ARRIVES),
    IN(FORWARD, STORERS_ROWS, "arrival before staging, one slot", OUT, STAGED_ARRIVES, "", ONE_SLOT,
       .find_2 = TAKEN_WAIT, .replace_2 = TAKEN_WAIT "\n" STAGED_ARRIVES),
    IN_EACH(STORERS_ROWS, "staging counts a warp too few", "wgmma.cu", STAGED_COUNT,
            "mbarrier_init(base + STAGED_FULL_OFFSET + 8 * s, GROUP_THREADS / 32 - 1);", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "staging counts a warp too many", "wgmma.cu", STAGED_COUNT,
       "mbarrier_init(base + STAGED_FULL_OFFSET + 8 * s, GROUP_THREADS / 32 + 1);", SLOTS_3),
    IN(DX, STORERS_TMA, "staging by one warp for all", "wgmma.cu", STAGED_COUNT,
       "mbarrier_init(base + STAGED_FULL_OFFSET + 8 * s, 1);", ONE_SLOT, .file_2 = OUT,
       .find_2 = "if (elect_one()) mbarrier_arrive", .replace_2 = "if (c->thread == 0) mbarrier_arrive"),
    IN(DW, STORERS_ROWS, "one warp arrives, all are awaited", OUT, "if (elect_one()) mbarrier_arrive",
       "if (c->thread == 0) mbarrier_arrive", SLOTS_3),
    IN(FORWARD, STORERS_ROWS, "every warp arrives twice", OUT, "if (elect_one()) mbarrier_arrive",
       "if (c->thread % 16 == 0) mbarrier_arrive", SLOTS_3),
    IN(DW, STORERS_TMA, "arrival at the next slot", OUT, STAGED_ARRIVES "#else", "#else", SLOTS_3,
       .find_2 = "    slot_advance(&out->at);\n",
       .replace_2 = "    slot_advance(&out->at);\n#if STORERS\n" STAGED_ARRIVES "#endif\n"),
    IN_EACH(STORERS_TMA, "staged batch not waited for", STORE, FULL_SLOT_WAIT, "", SLOTS_3),
    IN_EACH(STORERS_ROWS, "staged batch not waited for, one slot", STORE, FULL_SLOT_WAIT, "", ONE_SLOT),
    IN(FORWARD, STORERS_TMA, "staged batch's wrong phase waited for", STORE, "at.slot), at.parity);",
       "at.slot), at.parity ^ 1);", SLOTS_3),
    IN(DX, STORERS_ROWS, "staged batch waited for by one lane of the storer", STORE, FULL_SLOT_WAIT,
       "if (s->thread == 0) " FULL_SLOT_WAIT, SLOTS_3),
    IN(DX, STORERS_ROWS, "staged batch waited for but once a tile", STORE, FULL_SLOT_WAIT,
       "if (b == 0) " FULL_SLOT_WAIT, SLOTS_3),
    IN(FORWARD, STORERS_TMA, "staged batch waited for but once a tile, one slot", STORE, FULL_SLOT_WAIT,
       "if (b == 0) " FULL_SLOT_WAIT, ONE_SLOT),
    IN(FORWARD, STORERS_ROWS, "storer stays at one slot", STORE, GOES_ON, "", SLOTS_3),
    IN(DX, STORERS_TMA, "consumer stays at one slot", OUT, "    slot_advance(&out->at);\n", "", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "consumer's slots begin anew with every tile", OUT, "    out->begun = begun;",
       "    out->begun = begun;\n    out->at.slot = 0;", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "a slot more than there is room for", "wgmma_tile.h", "if (++at->slot < SLOTS)",
       "if (++at->slot <= SLOTS)", SLOTS_3),
    IN(DX, STORERS_TMA, "a batch reaches into the next slot", "wgmma_tile.h",
       "#define BATCH_BYTES (BATCH * PIECE_BUFFERS * PIECE_BYTES)",
       "#define BATCH_BYTES (BATCH * PIECE_BUFFERS * PIECE_BYTES / 2)", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "gate and up staged in the next piece's buffer", "wgmma_silu.h",
       "((tile) == 0 ? 0 : PIECE_BYTES", "((tile) == 0 ? 0 : 2 * PIECE_BYTES", SLOTS_3, .short_steps = true,
       .fusions = GG_FUSE_SILU | GG_KEEP_FIRST),
    /* --- descriptions and the end --- */
    IN_EACH(STORERS_TMA, "storer reads the description after its tile's", STORE, "u32 number = 0, sent = 0;",
            "u32 number = 1, sent = 0;", SLOTS_3),
    IN(DX, STORERS_ROWS, "storer reads a description a batch", STORE,
       "if (b == 0) tile =", "tile =", SLOTS_3),
    IN_EACH(STORERS_ROWS, "storer reads the description before the batch is there", STORE, READS_TILE, "",
            SLOTS_3, .find_2 = "            " FULL_SLOT_WAIT "\n",
            .replace_2 = READS_TILE "            " FULL_SLOT_WAIT "\n"),
    IN_EACH(STORERS_TMA, "one description too few, two slots for one batch a tile", "wgmma_tile.h",
            ALL_DESCRIPTIONS, ONE_DESCRIPTION_LESS, .warps = 8, .short_steps = true),
    IN_EACH(STORERS_ROWS, "one description too few, one slot", "wgmma_tile.h", ALL_DESCRIPTIONS,
            ONE_DESCRIPTION_LESS, ONE_SLOT, .short_steps = true),
    IN_EACH(SELF_ROWS, "one description too few, one slot", "wgmma_tile.h", ALL_DESCRIPTIONS,
            ONE_DESCRIPTION_LESS, ONE_SLOT, .short_steps = true),
    IN_EACH(STORERS_TMA, "storers are not told that no tile is left", "wgmma.cu", NO_TILE_LEFT, "", SLOTS_3),
    IN(FORWARD, STORERS_ROWS, "storers are not told that no tile is left, one slot", "wgmma.cu", NO_TILE_LEFT,
       "", ONE_SLOT),
    IN(DX, STORERS_TMA, "last tile's rest not sent, one slot", "wgmma.cu",
       "    send_rest(p, c, &out, batch);\n", "", ONE_SLOT),
    IN_EACH(STORERS_TMA, "no wait for the last TMA stores, five slots", STORE,
            "    IN_ONE_THREAD(s->thread) tma_store_wait_read(0);", "", SLOTS_5),
    IN(FORWARD, STORERS_TMA, "last TMA stores awaited but for one", STORE, "tma_store_wait_read(0);",
       "tma_store_wait_read(1);", SLOTS_3),
    IN(DX, STORERS_TMA, "last TMA stores awaited by another lane", STORE,
       "    IN_ONE_THREAD(s->thread) tma_store_wait_read(0);",
       "    if (s->thread == 1) tma_store_wait_read(0);", SLOTS_3),
    /* --- consumers that store themselves --- */
    IN_EACH(SELF_TMA, "no barrier before staging", OUT, ROOM_BARRIER, "#endif\n", SLOTS_3),
    IN_EACH(SELF_ROWS, "no barrier before staging, one slot", OUT, ROOM_BARRIER, "#endif\n", ONE_SLOT),
    IN_EACH(SELF_TMA, "no barrier before staging, one slot", OUT, ROOM_BARRIER, "#endif\n", ONE_SLOT),
    IN_EACH(SELF_TMA, "barrier before the wait for reads instead of after", OUT,
            "    " SLOTS_WAIT "\n#endif\n" GROUP_BARRIER, GROUP_BARRIER "    " SLOTS_WAIT "\n#endif\n",
            SLOTS_3),
    IN(FORWARD, SELF_ROWS, "barrier of each warp alone before staging, one slot", OUT, ROOM_BARRIER,
       "    warp_sync();\n#endif\n", ONE_SLOT),
    IN_EACH(SELF_TMA, "no barrier after staging", OUT, STAGED_BARRIER, STORES, SLOTS_3),
    IN_EACH(SELF_ROWS, "no barrier after staging", OUT, STAGED_BARRIER, STORES, SLOTS_3),
    IN(DX, SELF_TMA, "no barrier after staging, one slot", OUT, STAGED_BARRIER, STORES, ONE_SLOT),
    IN_EACH(SELF_ROWS, "barrier of each warp alone after staging", OUT, STAGED_BARRIER,
            "    warp_sync();\n" STORES, SLOTS_3),
    IN(FORWARD, SELF_TMA, "no barrier after staging a tile's first batch", OUT, STAGED_BARRIER,
       "    if (b > 0) share_sync(c);\n" STORES, SLOTS_3),
    IN(DX, SELF_TMA, "no barrier after staging later batches, one slot", OUT, STAGED_BARRIER,
       "    if (b < FIRST_BATCHES) share_sync(c);\n" STORES, ONE_SLOT),
    IN(DX, SELF_TMA, "barrier for more threads than a consumer has", OUT, OF_ALL,
       "named_sync(BARRIER_GROUP + c->group, GROUP_THREADS + 32);", SLOTS_3),
    IN(FORWARD, SELF_ROWS, "batch staged before there is room, one slot", OUT, FIRST_ROOM, "", ONE_SLOT,
       .find_2 = "        end_batch(p, c, out, b);\n    }",
       .replace_2 = "        begin_batch(c, out);\n        end_batch(p, c, out, b);\n    }"),
    IN_EACH(SELF_TMA, "later batch staged before there is room", OUT, LATER_ROOM, "    UNROLL", ONE_SLOT,
            .find_2 = "    end_batch(p, c, out, b);\n}",
            .replace_2 = "    begin_batch(c, out);\n    end_batch(p, c, out, b);\n}"),
    IN(FORWARD, SELF_ROWS, "later batch staged before there is room", OUT, LATER_ROOM, "    UNROLL", ONE_SLOT,
       .short_steps = true, .find_2 = "    end_batch(p, c, out, b);\n}",
       .replace_2 = "    begin_batch(c, out);\n    end_batch(p, c, out, b);\n}"),
    IN_EACH(SELF_TMA, "no proxy fence before the TMA store", OUT, STAGED_FENCE, "", SLOTS_3),
    IN(DW, SELF_TMA, "no proxy fence before the TMA store, one slot", OUT, STAGED_FENCE, "", ONE_SLOT),
    IN(FORWARD, SELF_TMA, "proxy fence by one thread for all", OUT, STAGED_FENCE,
       "    if (c->thread == 0) fence_proxy_async();", SLOTS_3),
    IN(DX, SELF_TMA, "proxy fence before staging instead of after", OUT, STAGED_FENCE, "", SLOTS_3,
       .find_2 = FIRST_ROOM, .replace_2 = FIRST_ROOM "        fence_proxy_async();\n"),
    IN_EACH(SELF_TMA, "slot reused one store early", OUT, "tma_store_wait_read(SLOTS - 1)",
            "tma_store_wait_read(SLOTS)", SLOTS_3),
    IN_EACH(SELF_TMA, "slot reused one store early, one slot", OUT, "tma_store_wait_read(SLOTS - 1)",
            "tma_store_wait_read(SLOTS)", ONE_SLOT),
    IN_EACH(SELF_TMA, "slot reused one store early, five slots", OUT, "tma_store_wait_read(SLOTS - 1)",
            "tma_store_wait_read(SLOTS)", SLOTS_5),
    IN(DW, SELF_TMA, "one thread's wait for the reads of all warps' strips", OUT, SLOTS_WAIT,
       "IN_ONE_THREAD(c->thread) tma_store_wait_read(SLOTS - 1);", SLOTS_3),
    IN(DW, SELF_TMA, "one thread's last wait for all warps' strips", "wgmma.cu", LAST_READS,
       "    IN_ONE_THREAD(c->thread) tma_store_wait_read(0);", SLOTS_5),
    IN(DW, SELF_TMA, "a strip staged by its neighbour", STORE, "(u32)(s->thread / 32 * STRIP_ROWS * 128)",
       "(u32)((s->thread / 32 ^ 1) * STRIP_ROWS * 128)", SLOTS_3),
    IN(FORWARD, SELF_TMA, "strips where every warp stages a part of each", "wgmma_tile.h",
       "TMA_STORE && !Q_IS_ROWS && !SILU", "TMA_STORE", SLOTS_3),
    IN_EACH(SELF_TMA, "no wait for the TMA stores' reads", OUT, "    " SLOTS_WAIT, "", SLOTS_3),
    IN(DX, SELF_TMA, "wait for the TMA stores' reads by another thread", OUT, SLOTS_WAIT,
       "if (c->thread == 1) tma_store_wait_read(SLOTS - 1);", SLOTS_3),
    IN(FORWARD, SELF_TMA, "consumer stays at one slot", OUT, "    slot_advance(&out->at);\n", "", SLOTS_3),
    IN(DX, SELF_TMA, "slots begin anew with every tile", OUT, "    out->begun = begun;",
       "    out->begun = begun;\n    out->at.slot = 0;", SLOTS_3),
    IN(DW, SELF_TMA, "a slot more than there is room for", "wgmma_tile.h", "if (++at->slot < SLOTS)",
       "if (++at->slot <= SLOTS)", SLOTS_3),
    IN_EACH(SELF_TMA, "no wait for the last TMA stores", "wgmma.cu", LAST_READS, "", SLOTS_3),
    IN(DW, SELF_TMA, "last TMA stores awaited but for one", "wgmma.cu", "tma_store_wait_read(0);",
       "tma_store_wait_read(1);", SLOTS_3),
    IN(DW, SELF_TMA, "last TMA stores awaited before the last tile's rest, one slot", "wgmma.cu",
       "    send_rest(p, c, &out, batch);\n", "", ONE_SLOT, .find_2 = "tma_store_wait_read(0);\n#endif",
       .replace_2 = "tma_store_wait_read(0);\n#endif\n    send_rest(p, c, &out, batch);"),
    /* --- the stores themselves, by whom ever --- */
    IN_EACH(SELF_ROWS, "tail store unguarded", STORE, "if (inside && place->row + (u32)r < tile->row_limit)",
            "if (inside)", SLOTS_3),
    IN(DX, STORERS_ROWS, "tail store unguarded", STORE,
       "if (inside && place->row + (u32)r < tile->row_limit)", "if (inside)", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "box not cut at the tile's last row", STORE,
       "ragged(place->row, tile->row_limit)", "ragged(place->row, place->row + 64)", SLOTS_3),
    IN(DX, SELF_TMA, "box not cut at the tile's last row", STORE, "ragged(place->row, tile->row_limit)",
       "ragged(place->row, place->row + 64)", SLOTS_3),
    IN_EACH(SELF_TMA, "no commit of the TMA stores", STORE, "tma_store_commit();", "", SLOTS_3),
    IN_EACH(STORERS_TMA, "no commit of the TMA stores", STORE, "tma_store_commit();", "", SLOTS_3),
    IN(FORWARD, SELF_TMA, "TMA store by a thread that does not commit", STORE, STORING_THREAD,
       "    if (s->thread % 32 == 0) {\n        for", SLOTS_3, .find_2 = IF_THERE,
       .replace_2 = "if (place.is_there && s->thread == 32) store_by_tma("),
    IN(DW, STORERS_TMA, "TMA store by a lane that does not commit", STORE, STORING_THREAD,
       "    if (s->thread < 2) {\n        for", SLOTS_3, .find_2 = IF_THERE,
       .replace_2 = "if (place.is_there && s->thread == 1) store_by_tma("),
    IN(DW, SELF_TMA, "two threads store by TMA", STORE, STORING_THREAD,
       "    if (s->thread < 2) {\n        for", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "two lanes store by TMA", STORE, STORING_THREAD,
       "    if (s->thread < 2) {\n        for", SLOTS_3),
    IN(DX, STORERS_TMA, "wait for the TMA stores' reads by another lane", STORE, UNREAD_WAIT,
       "            if (s->thread == 1) tma_store_wait_read(BATCHES_UNREAD);", SLOTS_3),
    IN(FORWARD, STORERS_TMA, "commit only where a piece is there", STORE, "        tma_store_commit();\n", "",
       SLOTS_5, .find_2 = "store_by_tma(p, tile, &place, staged);",
       .replace_2 = "{\n store_by_tma(p, tile, &place, staged);\n tma_store_commit();\n }"),
    IN(FORWARD, SELF_ROWS, "row numbers handed round by the lanes that store", STORE,
       "u32 row = shuffle(s->looked_up[half], owner);",
       "u32 row = 0; if (inside && place->row + (u32)r < tile->row_limit) row = "
       "shuffle(s->looked_up[half], owner);",
       SLOTS_3, .fusions = GG_PERMUTE_Y),
    IN(DX, STORERS_ROWS, "row numbers handed round by the lanes that store", STORE,
       "u32 row = shuffle(s->looked_up[half], owner);",
       "u32 row = 0; if (inside && place->row + (u32)r < tile->row_limit) row = "
       "shuffle(s->looked_up[half], owner);",
       SLOTS_3, .fusions = GG_PERMUTE_X),
    IN(FORWARD, STORERS_ROWS, "row numbers of the wrong piece", STORE, "if (s->row == first) return;",
       "if (s->row != NO_ROW) return;", SLOTS_3, .fusions = GG_PERMUTE_Y),
    IN(DX, SELF_ROWS, "row numbers of the wrong lane", STORE, "shuffle(s->looked_up[half], owner)",
       "shuffle(s->looked_up[half], owner / 2)", SLOTS_3, .fusions = GG_PERMUTE_X),
    /* --- two consumers beside each other --- */
    IN(FORWARD, SELF_TMA, "both consumers on one named barrier", OUT, OF_ALL,
       "named_sync(BARRIER_GROUP, GROUP_THREADS);", ONE_SLOT),
    IN(DX, SELF_ROWS, "both consumers stage in one's buffers", "wgmma.cu", BUFFERS_OF, "STAGED_OFFSET",
       .warps = 8, .file_2 = STORE, .find_2 = BUFFERS_OF, .replace_2 = "STAGED_OFFSET"),
    IN(FORWARD, STORERS_TMA, "both consumers stage in one's buffers", "wgmma.cu", BUFFERS_OF, "STAGED_OFFSET",
       .warps = 8, .file_2 = STORE, .find_2 = BUFFERS_OF, .replace_2 = "STAGED_OFFSET"),
    IN(DW, SELF_TMA, "a consumer's buffers reach into the next one's", "wgmma.cu",
       "(u32)group * PIECES * PIECE_BYTES", "(u32)group * (PIECES - 1) * PIECE_BYTES", .warps = 8,
       .file_2 = STORE, .find_2 = "(u32)group * PIECES * PIECE_BYTES",
       .replace_2 = "(u32)group * (PIECES - 1) * PIECE_BYTES"),
    IN(DX, STORERS_ROWS, "a consumer's buffers reach into the next one's", "wgmma.cu",
       "(u32)group * PIECES * PIECE_BYTES", "(u32)group * (PIECES - 1) * PIECE_BYTES", ONE_SLOT,
       .file_2 = STORE, .find_2 = "(u32)group * PIECES * PIECE_BYTES",
       .replace_2 = "(u32)group * (PIECES - 1) * PIECE_BYTES"),
    IN(FORWARD, STORERS_ROWS, "storers read the other consumer's buffers", STORE, BUFFERS_OF,
       "STAGED_OFFSET + (u32)(1 - group) * PIECES * PIECE_BYTES", .warps = 8),
    IN(DX, STORERS_TMA, "both consumers' slots on the same barriers", STORE, "(u32)group * SLOTS + slot",
       "slot", .warps = 8),
    IN(DW, STORERS_TMA, "a consumer's barriers reach into the next one's", STORE, "(u32)group * SLOTS + slot",
       "(u32)group * (SLOTS - 1) + slot", .warps = 8),
    IN(FORWARD, STORERS_TMA, "second consumer's barriers not made", "wgmma.cu", "s < CONSUMERS * SLOTS; s++",
       "s < SLOTS; s++", .warps = 8),
    IN(DW, STORERS_ROWS, "barriers of both kinds overlap", "wgmma_tile.h",
       "(STAGED_FULL_OFFSET + CONSUMERS * SLOTS * 8)", "(STAGED_FULL_OFFSET + SLOTS * 8)", .warps = 8),
    IN(FORWARD, STORERS_TMA, "second consumer has no storer", "wgmma.cu", "served < CONSUMERS)",
       "served < CONSUMERS - 1)", .warps = 8),
    IN(DX, STORERS_TMA, "two storers serve the first consumer", "wgmma.cu", "storer_of(base, served,",
       "storer_of(base, 0,", .warps = 8),
    IN(DX, STORERS_ROWS, "storers leave the block before they serve", "wgmma.cu",
       "    if (served >= 0 && served",
       "    if (thread >= LOADER_THREADS) return;\n    if (served >= 0 && served", .warps = 8),

    /* --- right, if unusual: none may be reported in any seed --- */
    IN(FORWARD, STORERS_TMA, "as shipped", OUT, FIRST_ROOM, FIRST_ROOM, SLOTS_3, .right = true),
    IN(DX, STORERS_TMA, "as shipped, one slot", OUT, FIRST_ROOM, FIRST_ROOM, ONE_SLOT, .right = true),
    IN(DW, SELF_TMA, "as shipped, one slot", OUT, FIRST_ROOM, FIRST_ROOM, ONE_SLOT, .right = true),
    IN(DW, STORERS_TMA, "as shipped, five slots", OUT, FIRST_ROOM, FIRST_ROOM, SLOTS_5, .right = true),
    IN(DX, STORERS_TMA, "as shipped, columns are q", OUT, FIRST_ROOM, FIRST_ROOM, SLOTS_5, .right = true),
    IN(DX, SELF_ROWS, "as shipped, one slot, few steps", OUT, FIRST_ROOM, FIRST_ROOM, ONE_SLOT,
       .short_steps = true, .right = true),
    IN(FORWARD, STORERS_ROWS, "as shipped, few steps", OUT, FIRST_ROOM, FIRST_ROOM, .warps = 8,
       .short_steps = true, .right = true),
    IN(FORWARD, STORERS_TMA, "as shipped, gate and up beside their product", OUT, FIRST_ROOM, FIRST_ROOM,
       SLOTS_3, .short_steps = true, .fusions = GG_FUSE_SILU | GG_KEEP_FIRST, .right = true),
    IN(DX, STORERS_TMA, "slot waited for twice", OUT, TAKEN_WAIT, TAKEN_WAIT "\n    " TAKEN_WAIT, SLOTS_3,
       .right = true),
    IN(FORWARD, STORERS_TMA, "wait for all TMA stores' reads", STORE, "tma_store_wait_read(BATCHES_UNREAD)",
       "tma_store_wait_read(0)", SLOTS_5, .right = true),
    IN(DX, STORERS_TMA, "wait for the TMA stores themselves", STORE, "tma_store_wait_read(BATCHES_UNREAD)",
       "tma_store_wait(BATCHES_UNREAD)", SLOTS_3, .right = true),
    IN(DW, STORERS_TMA, "slot given back as soon as it is read", STORE,
       "#define BATCHES_UNREAD (TMA_STORE && SLOTS > 2 ? SLOTS - 2 : 0)", "#define BATCHES_UNREAD 0", SLOTS_5,
       .right = true),
    IN(FORWARD, STORERS_TMA, "slot given back one batch late", STORE,
       "#define BATCHES_UNREAD (TMA_STORE && SLOTS > 2 ? SLOTS - 2 : 0)",
       "#define BATCHES_UNREAD (SLOTS - 1)", SLOTS_3, .right = true),
    IN(FORWARD, STORERS_ROWS, "every lane gives the slot back", STORE, "if (elect_one()) mbarrier_arrive",
       "mbarrier_arrive", SLOTS_3, .file_2 = "wgmma.cu", .find_2 = TAKEN_COUNT,
       .replace_2 = "mbarrier_init(base + TAKEN_OFFSET + 8 * s, 32);", .right = true),
    IN(DW, STORERS_TMA, "every lane says that it has staged", OUT, "    warp_sync();\n    if (elect_one()) ",
       "    ", SLOTS_3, .file_2 = "wgmma.cu", .find_2 = STAGED_COUNT,
       .replace_2 = "mbarrier_init(base + STAGED_FULL_OFFSET + 8 * s, GROUP_THREADS);", .right = true),
    IN(DX, STORERS_TMA, "proxy fence by the storer", OUT, STAGED_FENCE, "", SLOTS_3, .file_2 = STORE,
       .find_2 = FULL_SLOT_WAIT, .replace_2 = FULL_SLOT_WAIT "\n            fence_proxy_async();",
       .right = true),
    IN(FORWARD, STORERS_TMA, "a description more, one slot", "wgmma_tile.h", "(NUM_STAGES + 2 + (SLOTS",
       "(NUM_STAGES + 3 + (SLOTS", ONE_SLOT, .short_steps = true, .right = true),
    IN(DX, STORERS_ROWS, "a description less, three slots for two batches a tile", "wgmma_tile.h",
       ALL_DESCRIPTIONS, ONE_DESCRIPTION_LESS, SLOTS_3, .short_steps = true, .right = true),
    IN(FORWARD, STORERS_TMA, "batches of one piece", "wgmma_tile.h", BATCH_OF, "#define BATCH 1", ONE_SLOT,
       .right = true),
    IN(DW, SELF_TMA, "batches of one piece", "wgmma_tile.h", BATCH_OF, "#define BATCH 1", ONE_SLOT,
       .right = true),
    IN(FORWARD, SELF_ROWS, "a share as one batch", "wgmma_tile.h", BATCH_OF,
       "#define BATCH (ROOM >= SHARE_PIECES ? SHARE_PIECES : ROOM)", SLOTS_3, .right = true),
    IN(DX, STORERS_ROWS, "a share as one batch", "wgmma_tile.h", BATCH_OF,
       "#define BATCH (ROOM >= SHARE_PIECES ? SHARE_PIECES : ROOM)", SLOTS_5, .right = true),
    IN(DX, STORERS_TMA, "the rest goes behind all steps, one slot", "wgmma_loop.h",
       "#define BATCH_STEPS (TMA_STORE ? 1 : 4)", "#define BATCH_STEPS 1000", ONE_SLOT, .right = true),
    IN(DW, STORERS_TMA, "last step's wait behind the rest, one slot", "wgmma_loop.h", LAST_WAIT,
       LAST_REST "\n" LAST_WAIT, ONE_SLOT, .find_2 = LAST_REST " /* when", .replace_2 = "    /* when",
       .right = true),
    IN(FORWARD, SELF_TMA, "every thread commits", STORE, "        tma_store_commit();\n    }",
       "    }\n    tma_store_commit();", SLOTS_3, .right = true),
    IN(FORWARD, SELF_TMA, "wait for all TMA stores' reads", OUT, "tma_store_wait_read(SLOTS - 1)",
       "tma_store_wait_read(0)", SLOTS_5, .right = true),
    IN(DW, SELF_TMA, "wait for the TMA stores themselves", OUT, "tma_store_wait_read(SLOTS - 1)",
       "tma_store_wait(SLOTS - 1)", SLOTS_3, .right = true),
    IN_EACH(SELF_ROWS, "no barrier before staging where there are more slots", OUT, ROOM_BARRIER, "#endif\n",
            SLOTS_3, .right = true),
    IN(DW, SELF_TMA, "two barriers a batch more", OUT, STAGED_BARRIER,
       GROUP_BARRIER GROUP_BARRIER STAGED_BARRIER, SLOTS_3, .right = true),
    IN(DW, SELF_TMA, "barrier of all warps for strips", OUT, "    if (STRIPS)\n        warp_sync();",
       "    if (0)\n        warp_sync();", SLOTS_3, .right = true),
    IN(DX, SELF_ROWS, "barrier of all warps behind the stores", OUT,
       "    store_batch(p, &self, &tile, b, out->at.slot);\n",
       "    store_batch(p, &self, &tile, b, out->at.slot);\n" GROUP_BARRIER, SLOTS_3, .right = true),
};

#endif
