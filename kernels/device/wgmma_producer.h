/* wgmma_producer.h: the producer warpgroup of a wgmma kernel: keeps the ring full, by TMA (one thread) and by cp.async (all
 * threads, which can gather rows). */
#ifndef GG_WGMMA_PRODUCER_H
#define GG_WGMMA_PRODUCER_H

#include "wgmma_tile.h"

/* One thread's part of a tile_rows x tile_cols tile: chunk `chunk` of rows first, first + stride, ... */
#define COPY_CHUNKS(tile_cols) ((tile_cols) / 8)
#define COPY_STRIDE(tile_cols) (GROUP_THREADS / COPY_CHUNKS(tile_cols))
#define COPY_ROWS(tile_rows, tile_cols) ((tile_rows) / COPY_STRIDE(tile_cols))

/* Tensor rows of this thread's tile rows; -1 where the tile is to be zero. */
DEVICE void find_rows(const gemm_params *p, i32 *rows, int count, int stride, int first, int gather, i64 row,
                      i64 row_limit) {
    UNROLL for (int i = 0; i < count; i++) {
        i64 at = row + first + i * stride;
        rows[i] = at < row_limit ? (i32)gathered_row(p, gather, at) : -1;
    }
}

/* In dW the rows change with every step. Lanes that copy chunks of the same rows share the look-ups: each finds one row,
 * a step ahead, and the others get it by shuffle. */
DEVICE i32 find_own_row(const gemm_params *p, int count, int stride, int first, int chunk, int gather,
                        i64 row, i64 row_limit) {
    i64 at = row + first + chunk * stride;
    return chunk < count && at < row_limit ? (i32)gathered_row(p, gather, at) : -1;
}
DEVICE void share_rows(i32 *rows, int count, i32 own, int chunk) {
    int first_lane = (int)threadIdx.x % 32 - chunk; /* of those with the same rows */
    UNROLL for (int i = 0; i < count; i++) rows[i] = (i32)shuffle((u32)own, first_lane + i);
}

/* Copies the rows found, as far as `used` rows of the tile; column col on, zero from col_limit. */
DEVICE void copy_rows(u32 dst, int tile_rows, int tile_cols, const u16 *matrix, i32 ld, const i32 *rows,
                      int count, int stride, int first, int chunk, int used, i32 col, i32 col_limit) {
    UNROLL for (int i = 0; i < count; i++) {
        int r = first + i * stride;
        if (r >= used) break;
        int inside = rows[i] >= 0 && col + chunk * 8 < col_limit;
        cp_async_16(dst + tile_offset(tile_rows, tile_cols, r, chunk),
                    inside ? matrix + (i64)rows[i] * ld + col + chunk * 8 : matrix, inside ? 16 : 0);
    }
}

/* All threads of the producer warpgroup when there are cp.async loads, else one thread. */
DEVICE void produce(const gemm_params *p, u32 ring, u32 full, u32 empty, int thread) {
    ring_position at = {0, 0};
    tile_walk walk;
    output_tile tile;
#if CP_ASYNC_A
    int chunk_a = thread % COPY_CHUNKS(A_TILE_COLS), first_a = thread / COPY_CHUNKS(A_TILE_COLS);
    i32 rows_a[COPY_ROWS(A_TILE_ROWS, A_TILE_COLS)];
#endif
#if CP_ASYNC_B
    int chunk_b = thread % COPY_CHUNKS(B_TILE_COLS), first_b = thread / COPY_CHUNKS(B_TILE_COLS);
    i32 rows_b[COPY_ROWS(B_TILE_ROWS, B_TILE_COLS)];
#endif
    walk_begin(&walk, p);
    while (walk_next(&walk, p, &tile)) {
        i64 steps = tile_steps(p, &tile);
        /* whole boxes: what the narrowest sufficient instruction reads is at most that */
        int rows_used = OP == OP_DW ? STEP : (q_width(p, &tile) + BOX_ROWS - 1) / BOX_ROWS * BOX_ROWS;
#if CP_ASYNC_A
        if (OP != OP_DW)
            find_rows(p, rows_a, COPY_ROWS(A_TILE_ROWS, A_TILE_COLS), COPY_STRIDE(A_TILE_COLS), first_a,
                      A_GATHER, tile.row, tile.row_end);
        i32 own_a = OP != OP_DW
                        ? 0
                        : find_own_row(p, COPY_ROWS(A_TILE_ROWS, A_TILE_COLS), COPY_STRIDE(A_TILE_COLS),
                                       first_a, chunk_a, A_GATHER, tile.row_begin, tile.row_end);
#endif
#if CP_ASYNC_B
        if (OP == OP_FORWARD) /* the tile's rows of w stay the same in every step */
            find_rows(p, rows_b, COPY_ROWS(B_TILE_ROWS, B_TILE_COLS), COPY_STRIDE(B_TILE_COLS), first_b,
                      GATHER_NONE, tile.col, p->N);
        i32 own_b = OP != OP_DW
                        ? 0
                        : find_own_row(p, COPY_ROWS(B_TILE_ROWS, B_TILE_COLS), COPY_STRIDE(B_TILE_COLS),
                                       first_b, chunk_b, X_GATHER, tile.row_begin, tile.row_end);
#endif
        for (i64 s = 0; s < steps; s++) {
            i64 along = s * STEP;
            u32 stage_a = ring + at.slot * STAGE_BYTES, stage_b = stage_a + A_TILE_BYTES;
            i64 row_a = OP == OP_DW ? tile.row_begin + along : tile.row;
            i64 row_b = OP == OP_FORWARD ? tile.col : OP == OP_DX ? along : tile.row_begin + along;
            i32 col_a = OP == OP_DW ? (i32)tile.row : (i32)along;
            i32 col_b = OP == OP_FORWARD ? (i32)along : tile.col;
            mbarrier_wait(empty + 8 * at.slot, at.parity ^ 1);
#if USES_TMA_LOADS
            if (thread == 0) {
                u32 barrier = full + 8 * at.slot;
                mbarrier_arrive_expect_tx(barrier,
                                          (u32)(TMA_A * rows_used * A_TILE_COLS * 2 + TMA_B * B_TILE_BYTES));
                if (TMA_A)
                    load_by_tma(stage_a, A_TILE_ROWS, A_TILE_COLS, BOX_ROWS, rows_used, &p->map_a, row_a,
                                col_a, -1, barrier);
                if (TMA_B)
                    load_by_tma(stage_b, B_TILE_ROWS, B_TILE_COLS, BOX_ROWS, B_TILE_ROWS, &p->map_b, row_b,
                                col_b, OP == OP_DW ? -1 : tile.expert, barrier);
            }
#endif
#if CP_ASYNC_A
            if (OP == OP_DW) {
                share_rows(rows_a, COPY_ROWS(A_TILE_ROWS, A_TILE_COLS), own_a, chunk_a);
                own_a = find_own_row(p, COPY_ROWS(A_TILE_ROWS, A_TILE_COLS), COPY_STRIDE(A_TILE_COLS),
                                     first_a, chunk_a, A_GATHER, row_a + STEP, tile.row_end);
            }
            copy_rows(stage_a, A_TILE_ROWS, A_TILE_COLS, p->a, OP == OP_FORWARD ? p->K : p->N, rows_a,
                      COPY_ROWS(A_TILE_ROWS, A_TILE_COLS), COPY_STRIDE(A_TILE_COLS), first_a, chunk_a,
                      rows_used, col_a, OP == OP_FORWARD ? p->K : p->N);
#endif
#if CP_ASYNC_B
            if (OP == OP_DX)
                find_rows(p, rows_b, COPY_ROWS(B_TILE_ROWS, B_TILE_COLS), COPY_STRIDE(B_TILE_COLS), first_b,
                          GATHER_NONE, row_b, p->N);
            if (OP == OP_DW) {
                share_rows(rows_b, COPY_ROWS(B_TILE_ROWS, B_TILE_COLS), own_b, chunk_b);
                own_b = find_own_row(p, COPY_ROWS(B_TILE_ROWS, B_TILE_COLS), COPY_STRIDE(B_TILE_COLS),
                                     first_b, chunk_b, X_GATHER, row_b + STEP, tile.row_end);
            }
            copy_rows(stage_b, B_TILE_ROWS, B_TILE_COLS,
                      OP == OP_DW ? p->b : p->b + (i64)tile.expert * p->N * p->K, p->K, rows_b,
                      COPY_ROWS(B_TILE_ROWS, B_TILE_COLS), COPY_STRIDE(B_TILE_COLS), first_b, chunk_b,
                      B_TILE_ROWS, col_b, p->K);
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
