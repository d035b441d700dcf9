/* wgmma_tile.h: compile-time facts of a wgmma kernel beside those of tile.h.
 *
 * The instruction multiplies p (64 rows a warpgroup) with q (up to 256 columns, in steps of its width). q is the side of
 * 256 if one is. Else q is the output's rows: in forward and dX the tokens, so that an expert's last few cost a narrow
 * instruction instead of a padded tile. Where q is the rows, the product is the output transposed. Of the two ways to lay a
 * tile of 128 x 256 that with the gathered operand on the side of 128 is the faster.
 *              rows of the output         columns
 *   forward    x   ROWS x STEP            w[e] COLS x STEP
 *   dX         dy  ROWS x STEP            w[e] STEP x COLS
 *   dW         dy  STEP x ROWS            x    STEP x COLS
 * Macros beside those of tile.h: NUM_WARPS counts the consumers' warps; PIECES of 64 x 64 that a consumer stages at once;
 * STORERS 1 where other warps store what consumers stage; FETCHES_AHEAD 1 where dW of few rows takes its inputs to L2 ahead
 * (wgmma_ahead.h).
 * STEP is 64, the width of a 128-byte swizzle. */
#ifndef GG_WGMMA_TILE_H
#define GG_WGMMA_TILE_H

#include "tile.h"

/* The twin of wgmma_q_is_rows in plan.c. */
#if COLS == 256 && ROWS < 256
#define Q_IS_ROWS 0
#elif OP == OP_DW && ROWS < 256
#define Q_IS_ROWS 0
#else
#define Q_IS_ROWS 1
#endif
#ifdef GG_SCHEDULER_H
#error "the scheduler must know EVEN_ROWS"
#endif
#define EVEN_ROWS Q_IS_ROWS

#include "loads.h"
#include "output.h"

/* Operands whose reduction runs down their rows are MN-major. */
#if OP == OP_DW
#define P_MN_MAJOR 1
#define Q_MN_MAJOR 1
#elif OP == OP_DX && Q_IS_ROWS
#define P_MN_MAJOR 1
#define Q_MN_MAJOR 0
#elif OP == OP_DX
#define P_MN_MAJOR 0
#define Q_MN_MAJOR 1
#else
#define P_MN_MAJOR 0
#define Q_MN_MAJOR 0
#endif
#if DTYPE == 0
#define WGMMA_TYPE bf16
#else
#define WGMMA_TYPE f16
#endif

#define P_SIZE (Q_IS_ROWS ? COLS : ROWS)
#define Q_SIZE (Q_IS_ROWS ? ROWS : COLS)
#define P_OFFSET (Q_IS_ROWS ? A_TILE_BYTES : 0) /* in a stage; a comes first as in mma_sync.cu */
#define Q_OFFSET (Q_IS_ROWS ? 0 : A_TILE_BYTES)

#define GROUP_THREADS 128
#define CONSUMERS (NUM_WARPS / 4) /* warpgroups that multiply */
#define CONSUMER_THREADS (CONSUMERS * GROUP_THREADS)
#define M_TILES (P_SIZE / (64 * CONSUMERS)) /* m64 tiles of a consumer */
#define P_SHARE (M_TILES * 64)              /* of p, what a consumer reads when it reads any */
#define WIDTH_UNIT 64                       /* what the instructions differ in width where q is columns */
#define ACC (Q_SIZE / 2)                    /* accumulators of one of them, a thread */
/* Rows of the short TMA boxes, of what may be needed in part; what is whole comes in boxes of as many rows as it has. */
#define SHORT_BOX 32

/* Pieces of 64 x 64 sums of a consumer's share; number i is m64 tile i / Q_PIECES, columns of q from i % Q_PIECES * 64. They are staged
 * in PIECES buffers; a piece takes one, with SILU 2 two (wgmma_silu.h). Where there is room for a share they go one by one, so that
 * as much as can be is on its way to memory; else in batches of what there is room for, which cost less. */
#define Q_PIECES (Q_SIZE / 64)
#define SHARE_PIECES (M_TILES * Q_PIECES)
#define PIECE_BUFFERS (SILU == 2 ? 2 : 1)
#define ROOM (PIECES / PIECE_BUFFERS)
#define BATCH (ROOM >= SHARE_PIECES ? 1 : ROOM)
#define BATCHES ((SHARE_PIECES + BATCH - 1) / BATCH)
#define BATCH_BYTES (BATCH * PIECE_BUFFERS * PIECE_BYTES)
#define SLOTS (ROOM / BATCH) /* batches that are staged at once */
#define FIRST_BATCHES (SLOTS < BATCHES ? SLOTS : BATCHES)
#define LATER_PIECES (SHARE_PIECES > SLOTS * BATCH ? SHARE_PIECES - SLOTS * BATCH : 0)

/* The ring, then for each consumer its buffers, then the descriptions of tiles, then the barriers. A description lives until its
 * tile is stored. It is written once a stage is free for the tile: then all but NUM_STAGES tiles before it have passed their first
 * stage, the one before those may yet be stored, and as many more as slots beyond a tile's batches let a consumer go ahead. */
#define PIECE_BYTES (64 * 64 * 2)
#define BEGUN_BYTES 32
#define STAGED_OFFSET RING_BYTES
#define BEGUN_OFFSET (STAGED_OFFSET + CONSUMERS * PIECES * PIECE_BYTES)
#define BEGUN_TILES (NUM_STAGES + 2 + (SLOTS - 1) / BATCHES)
#define FULL_OFFSET (BEGUN_OFFSET + BEGUN_TILES * BEGUN_BYTES)
#define EMPTY_OFFSET (FULL_OFFSET + NUM_STAGES * 8)
#define STAGED_FULL_OFFSET (EMPTY_OFFSET + NUM_STAGES * 8)        /* of a consumer's slot: staged */
#define TAKEN_OFFSET (STAGED_FULL_OFFSET + CONSUMERS * SLOTS * 8) /* and read */
#define NEXT_OFFSET                                                                                          \
    (TAKEN_OFFSET + CONSUMERS * SLOTS * 8) /* two numbers of tiles, used in turn, for those that load */

#define CP_ASYNC_A (!TMA_A)
#define CP_ASYNC_B (!TMA_B)
#define CP_ASYNC_LOADS (CP_ASYNC_A || CP_ASYNC_B)
/* Where TMA loads everything one warp of the producer's group is enough, and with STORERS each consumer has another to store for it;
 * else consumers store themselves. */
#define LOADER_THREADS (CP_ASYNC_LOADS ? GROUP_THREADS : 32)
#define LOADER_WARPS (LOADER_THREADS / 32)
#define STORER_THREADS (STORERS ? 32 : GROUP_THREADS)
/* Where the output's rows are p a consumer's warp has strips of 16 rows to itself, and stores them without waiting for the others. */
#define STRIPS (!STORERS && TMA_STORE && !Q_IS_ROWS && !SILU)
#define STRIP_ROWS 16
/* Registers after the roles part, with two consumers: 504 of the 512 a warp quarter has. Gathering takes row numbers and
 * addresses, storing by rows what was staged of many rows at once. */
#define PRODUCER_REGISTERS (CP_ASYNC_LOADS || (STORERS && !TMA_STORE) ? 88 : FETCHES_AHEAD ? 56 : 40)
#define CONSUMER_REGISTERS ((504 - PRODUCER_REGISTERS) / 2)

/* Named barriers: one for each consumer, one for the warps that load. */
#define BARRIER_GROUP 1
#define BARRIER_LOADERS (BARRIER_GROUP + CONSUMERS)

/* What a thread of a consumer warpgroup knows through the whole kernel. */
typedef struct consumer {
    u32 base;          /* of shared memory */
    u32 staged;        /* this group's buffers */
    int group, thread; /* of the consumers; in the group */
} consumer;

/* What follows is done by one thread of the group, whose first warp is here as a whole. Not a function: the compiler would
 * no longer see that it is one. */
#define IN_ONE_THREAD(group_thread)                                                                          \
    if ((group_thread) < 32)                                                                                 \
        if (elect_one())

/* A tile as the producer, which alone walks, tells it to the consumers: in 32 bits, which hold M and N. */
typedef struct begun_tile {
    u32 row, row_limit; /* as in output_tile */
    i32 col, expert;    /* expert < 0: no tile is left */
    i32 steps;
    i32 last_rows; /* in dW, of the expert's rows those in the last step */
} begun_tile;

DEVICE begun_tile describe(const gemm_params *p, const output_tile *tile) {
    i32 expert_rows = (i32)(tile->row_end - tile->row_begin);
    u32 reduction = (u32)(OP == OP_FORWARD ? p->K : OP == OP_DX ? p->N : expert_rows);
    begun_tile begun = {(u32)tile->row,
                        (u32)tile->row_limit,
                        tile->col,
                        tile->expert,
                        (i32)((reduction + STEP - 1) / STEP),
                        0};
    if (begun.steps > 0) begun.last_rows = expert_rows - (begun.steps - 1) * STEP;
    return begun;
}
DEVICE void write_begun(u32 address, const begun_tile *tile) {
    u32x4 place = {tile->row, tile->row_limit, (u32)tile->col, (u32)tile->expert};
    u32x4 work = {(u32)tile->steps, (u32)tile->last_rows, 0, 0};
    smem_store_16(address, place);
    smem_store_16(address + 16, work);
}
DEVICE begun_tile read_begun(u32 address) {
    u32x4 place = smem_load_16(address), work = smem_load_16(address + 16);
    begun_tile tile = {place.x, place.y, (i32)place.z, (i32)place.w, (i32)work.x, (i32)work.y};
    return tile;
}

/* The place of the next tile's description; `number` goes round. */
DEVICE u32 begun_place(u32 begun, u32 *number) {
    u32 place = begun + *number * BEGUN_BYTES;
    *number = *number + 1 == BEGUN_TILES ? 0 : *number + 1;
    return place;
}

/* A box of up to RAGGED_ROWS rows from `row` on, cut at `limit` by the map (params.h): its coordinates beside the column. */
typedef struct ragged_rows {
    i32 skipped, from;
} ragged_rows;
DEVICE ragged_rows ragged(u32 row, u32 limit) {
    u32 left = limit - row, skipped = left < RAGGED_ROWS ? RAGGED_ROWS - left : 0;
    ragged_rows rows = {(i32)skipped, (i32)(RAGGED_BACK + row - skipped)};
    return rows;
}

/* The slots of a consumer's batches are used in turn. */
typedef struct slot_position {
    u32 slot, parity;
} slot_position;
DEVICE void slot_advance(slot_position *at) {
    if (++at->slot < SLOTS) return;
    at->slot = 0;
    at->parity ^= 1;
}

DEVICE int min_int(int a, int b) { return a < b ? a : b; }

/* Rows and columns of the output that the tile has. */
DEVICE int tile_rows_inside(const begun_tile *tile) {
    return min_int((i32)(tile->row_limit - tile->row), ROWS);
}
DEVICE int tile_cols_inside(const gemm_params *p, const begun_tile *tile) {
    return min_int(out_cols(p) - tile->col, COLS);
}
/* What q needs to be wide, and what is left of p. */
DEVICE int q_inside(const gemm_params *p, const begun_tile *tile) {
    return Q_IS_ROWS ? tile_rows_inside(tile) : tile_cols_inside(p, tile);
}
DEVICE int p_inside(const gemm_params *p, const begun_tile *tile) {
    return Q_IS_ROWS ? tile_cols_inside(p, tile) : tile_rows_inside(tile);
}

#endif
