/* wgmma_producer.h: the producer warpgroup of a wgmma kernel: keeps the ring full, by TMA (one thread) and by cp.async (all
 * threads, which can gather rows). */
#ifndef GG_WGMMA_PRODUCER_H
#define GG_WGMMA_PRODUCER_H

#include "wgmma_tile.h"

/* One thread's part of a tile_rows x tile_cols tile: chunk `chunk` of rows first, first + stride, ... */
#define COPY_CHUNKS(tile_cols) ((tile_cols) / 8)
#define COPY_STRIDE(tile_cols) (GROUP_THREADS / COPY_CHUNKS(tile_cols))
#define COPY_ROWS(tile_rows, tile_cols) ((tile_rows) / COPY_STRIDE(tile_cols))

/* Lanes that copy chunks of the same rows share the look-ups: lane `chunk` of them looks up every chunks-th row, and the
 * others get it by shuffle. Rows past the last one are that one: what is copied for them is zeroed or never stored. */
#define OWN_ROWS(count, chunks) (((count) + (chunks)-1) / (chunks))
DEVICE void find_own_rows(const gemm_params *p, u32 *own, int count, int chunks, int stride, int first,
                          int chunk, int gather, i64 row, i64 row_limit) {
    UNROLL for (int i = 0; i < OWN_ROWS(count, chunks); i++) {
        i64 at = row + first + (i * chunks + chunk) * stride;
        own[i] = (u32)look_up(p, gather, at < row_limit ? at : row_limit - 1);
    }
}
DEVICE void share_rows(const gemm_params *p, u32 *rows, const u32 *own, int count, int chunks, int chunk,
                       int gather) {
    int first_lane = (int)threadIdx.x % 32 - chunk; /* of those with the same rows */
    UNROLL for (int i = 0; i < count; i += chunks) {
        u32 row = (u32)row_of(p, gather, own[i / chunks]);
        UNROLL for (int j = 0; j < chunks && i + j < count; j++) rows[i + j] = shuffle(row, first_lane + j);
    }
}

/* Copies this thread's chunks of the rows found, as far as `used` rows of the tile, from column col on; zeros from
 * col_limit and from row `left` of the tile on. */
DEVICE void copy_rows(u32 dst, int tile_rows, int tile_cols, const u16 *matrix, i32 ld, const u32 *rows,
                      int first, int chunk, int used, int left, i32 col, i32 col_limit) {
    const u16 *from = matrix + col + chunk * 8;
    u32 pitch = (u32)ld * 2; /* bytes, so that an address is one multiply-add of 32-bit factors */
    int stride = COPY_STRIDE(tile_cols), inside = col + chunk * 8 < col_limit;
    UNROLL for (int i = 0; i < COPY_ROWS(tile_rows, tile_cols); i++) {
        if (i * stride % SHORT_BOX == 0 && i * stride >= used) break;
        cp_async_16(dst + tile_offset(tile_rows, tile_cols, first + i * stride, chunk),
                    (const u8 *)from + (u64)rows[i] * pitch, inside && first + i * stride < left ? 16 : 0);
    }
}

/* Of a tile's two sides what is loaded comes in units: of p what a warpgroup multiplies, of q what an instruction's width may
 * read: a panel of columns, a box of tokens. */
#define UNIT_ROWS (!Q_IS_ROWS ? P_SHARE : OP == OP_DW ? 64 : SHORT_BOX)
#define UNIT_COLS (Q_IS_ROWS ? P_SHARE : 64)
DEVICE int cover(int inside, int unit) { return (inside + unit - 1) / unit * unit; }

/* All threads of the producer warpgroup when there are cp.async loads, else one thread. */
DEVICE void produce(const gemm_params *p, u32 ring, u32 full, u32 empty, int thread) {
    ring_position at = {0, 0};
    tile_walk walk;
    output_tile tile;
#if CP_ASYNC_A
    enum {
        CHUNKS_A = COPY_CHUNKS(A_TILE_COLS),
        STRIDE_A = COPY_STRIDE(A_TILE_COLS),
        COUNT_A = COPY_ROWS(A_TILE_ROWS, A_TILE_COLS)
    };
    int chunk_a = thread % CHUNKS_A, first_a = thread / CHUNKS_A;
    u32 rows_a[COUNT_A], own_a[OWN_ROWS(COUNT_A, CHUNKS_A)];
#endif
#if CP_ASYNC_B
    enum {
        CHUNKS_B = COPY_CHUNKS(B_TILE_COLS),
        STRIDE_B = COPY_STRIDE(B_TILE_COLS),
        COUNT_B = COPY_ROWS(B_TILE_ROWS, B_TILE_COLS)
    };
    int chunk_b = thread % CHUNKS_B, first_b = thread / CHUNKS_B;
    u32 rows_b[COUNT_B], own_b[OWN_ROWS(COUNT_B, CHUNKS_B)];
#endif
    walk_begin(&walk, p);
    while (walk_next(&walk, p, &tile)) {
        int steps = tile_steps(p, &tile);
        if (steps == 0) continue; /* an expert without rows */
        /* of the tiles of a and b what the output's tile needs */
        int rows_inside = tile_rows_inside(&tile), cols_inside = tile_cols_inside(p, &tile);
        int used_cols_a = OP == OP_DW ? cover(rows_inside, UNIT_ROWS) : STEP;
        int used_cols_b = OP == OP_FORWARD ? STEP : cover(cols_inside, UNIT_COLS);
        i32 cols_a = OP == OP_FORWARD ? p->K : p->N;
        i64 limit_b = OP == OP_DW ? tile.row_end : p->N;
        const u16 *b = OP == OP_DW ? p->b : p->b + (i64)tile.expert * p->N * p->K;
        (void)used_cols_a, (void)used_cols_b, (void)cols_a, (void)limit_b, (void)b;
#if CP_ASYNC_A
        find_own_rows(p, own_a, COUNT_A, CHUNKS_A, STRIDE_A, first_a, chunk_a, A_GATHER,
                      OP == OP_DW ? tile.row_begin : tile.row, tile.row_end);
        if (OP != OP_DW) share_rows(p, rows_a, own_a, COUNT_A, CHUNKS_A, chunk_a, A_GATHER);
#endif
#if CP_ASYNC_B
        find_own_rows(p, own_b, COUNT_B, CHUNKS_B, STRIDE_B, first_b, chunk_b, B_GATHER,
                      OP == OP_DW   ? tile.row_begin
                      : OP == OP_DX ? 0
                                    : tile.col,
                      limit_b);
        if (OP == OP_FORWARD) share_rows(p, rows_b, own_b, COUNT_B, CHUNKS_B, chunk_b, B_GATHER);
#endif
        for (int s = 0; s < steps; s++) {
            i64 along = (i64)s * STEP;
            u32 stage_a = ring + at.slot * STAGE_BYTES, stage_b = stage_a + A_TILE_BYTES;
            i64 row_a = OP == OP_DW ? tile.row_begin + along : tile.row;
            i64 row_b = OP == OP_FORWARD ? tile.col : OP == OP_DX ? along : tile.row_begin + along;
            i32 col_a = OP == OP_DW ? (i32)tile.row : (i32)along;
            i32 col_b = OP == OP_FORWARD ? (i32)along : tile.col;
            int used_rows_a = OP == OP_DW ? cover(min_i64(tile.row_end - row_a, STEP), BOX_A)
                                          : cover(rows_inside, UNIT_ROWS);
            int used_rows_b = OP == OP_DX ? STEP : OP == OP_DW ? used_rows_a : cover(cols_inside, UNIT_COLS);
            mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);
#if USES_TMA_LOADS
            if (thread == 0) {
                u32 barrier = full + 8 * at.slot;
                mbarrier_arrive_expect_tx(barrier, (u32)(TMA_A * used_rows_a * used_cols_a * 2 +
                                                         TMA_B * used_rows_b * used_cols_b * 2));
                if (TMA_A)
                    load_by_tma(stage_a, A_TILE_ROWS, A_TILE_COLS, BOX_A, used_rows_a, used_cols_a, &p->map_a,
                                row_a, col_a, -1, barrier);
                if (TMA_B)
                    load_by_tma(stage_b, B_TILE_ROWS, B_TILE_COLS, BOX_B, used_rows_b, used_cols_b, &p->map_b,
                                row_b, col_b, OP == OP_DW ? -1 : tile.expert, barrier);
            }
#endif
#if CP_ASYNC_A
            if (OP == OP_DW) { /* the next step's rows are looked up while this one's are copied */
                share_rows(p, rows_a, own_a, COUNT_A, CHUNKS_A, chunk_a, A_GATHER);
                find_own_rows(p, own_a, COUNT_A, CHUNKS_A, STRIDE_A, first_a, chunk_a, A_GATHER, row_a + STEP,
                              tile.row_end);
            }
            copy_rows(stage_a, A_TILE_ROWS, A_TILE_COLS, p->a, cols_a, rows_a, first_a, chunk_a, used_rows_a,
                      OP == OP_DW ? min_i64(tile.row_end - row_a, STEP) : ROWS, col_a, cols_a);
#endif
#if CP_ASYNC_B
            if (OP != OP_FORWARD) {
                share_rows(p, rows_b, own_b, COUNT_B, CHUNKS_B, chunk_b, B_GATHER);
                find_own_rows(p, own_b, COUNT_B, CHUNKS_B, STRIDE_B, first_b, chunk_b, B_GATHER, row_b + STEP,
                              limit_b);
            }
            copy_rows(stage_b, B_TILE_ROWS, B_TILE_COLS, b, p->K, rows_b, first_b, chunk_b, used_rows_b,
                      OP == OP_FORWARD ? COLS : min_i64(limit_b - row_b, STEP), col_b, p->K);
#endif
#if CP_ASYNC_LOADS
            cp_async_commit_arrive(full + 8 * at.slot);
#endif
            ring_advance(&at);
        }
    }
#if CP_ASYNC_LOADS
    cp_async_wait(0);
#endif
}

#endif
