/* loads.h: fills one stage of the ring: each operand by cp.async (which can gather rows) or by TMA (which
 * cannot). */
#ifndef GG_LOADS_H
#define GG_LOADS_H

#include "scheduler.h"

/* A position in the ring: stage `slot`, filled for the (2 * n + parity)-th time. */
typedef struct ring_position {
    u32 slot, parity;
} ring_position;

DEVICE void ring_advance(ring_position *at) {
    if (++at->slot == NUM_STAGES) {
        at->slot = 0;
        at->parity ^= 1;
    }
}

/* A rectangle of a row-major matrix with `ld` columns goes to a tile_rows x tile_cols tile at `dst`. Row r
 * comes from gathered_row(row + r), column c from col + c; outside row_limit and col_limit the tile is zero.
 * Limits cut whole chunks: N and K are multiples of 8. */
DEVICE void load_by_cp_async(const gemm_params *p, u32 dst, int tile_rows, int tile_cols, const u16 *matrix,
                             i32 ld, int gather, i64 row, i64 row_limit, i32 col, i32 col_limit) {
    int chunks = tile_cols / 8;
    UNROLL for (int i = (int)threadIdx.x; i < tile_rows * chunks; i += NUM_THREADS) {
        int r = i / chunks, chunk = i % chunks;
        int inside = row + r < row_limit && col + chunk * 8 < col_limit;
        const u16 *src = matrix;
        if (inside) src += gathered_row(p, gather, row + r) * ld + col + chunk * 8;
        cp_async_16(dst + tile_offset(tile_rows, tile_cols, r, chunk), src, inside ? 16 : 0);
    }
}

#if USES_TMA_LOADS
/* Such a tile by TMA, as far as rows and columns go, in boxes of box_rows rows of a panel, issued by one thread: what lies
 * outside the map is zero, and counts as bytes of `barrier` too. In w the expert is a third coordinate. */
DEVICE void load_by_tma(u32 dst, int tile_rows, int tile_cols, int box_rows, int rows, int cols,
                        const tensor_map *map, i64 row, i32 col, int in_w, i32 expert, u32 barrier) {
    UNROLL for (int c = 0; c < tile_cols; c += PANEL_COLS(tile_cols)) {
        if (c >= cols) break;
        UNROLL for (int r = 0; r < tile_rows; r += box_rows) {
            u32 box = dst + (u32)(c * tile_rows * 2 + r * PANEL_COLS(tile_cols) * 2);
            if (r >= rows) break;
            if (in_w && SILU) /* eight rows of gate, eight of up, in turn */
                tma_load_5d(box, map, col + c, 0, 0, ((i32)row + r) / 16, expert, barrier);
            else if (in_w)
                tma_load_3d(box, map, col + c, (i32)row + r, expert, barrier);
            else
                tma_load_2d(box, map, col + c, (i32)row + r, barrier);
        }
    }
}
#endif

/* Starts the loads of step `step` of a tile into the stage at `stage`. With TMA, `barrier` completes when
 * they land. */
DEVICE void load_stage(const gemm_params *p, const output_tile *tile, i64 step, u32 stage, u32 barrier) {
    u32 stage_a = stage, stage_b = stage + A_TILE_BYTES;
    /* Rows and columns of the rectangles in their matrices. */
    i64 along = step * STEP;
    i64 row_a = OP == OP_DW ? tile->row_begin + along : tile->row;
    i64 row_b = OP == OP_FORWARD ? tile->col : OP == OP_DX ? along : tile->row_begin + along;
    i32 col_a = OP == OP_DW ? (i32)tile->row : (i32)along;
    i32 col_b = OP == OP_FORWARD ? (i32)along : tile->col;
    i32 cols_a = OP == OP_FORWARD ? p->K : p->N;
    i64 limit_b = OP == OP_DW ? tile->row_end : p->N;
    const u16 *b = OP == OP_DW ? p->b : p->b + (i64)tile->expert * p->N * p->K;

    /* In dW the rows are the reduction: past the expert's last row both operands must be zero, which a map
     * over all experts' rows cannot give, so the last, partial step goes by cp.async. */
    int by_tma = OP != OP_DW || row_a + STEP <= tile->row_end;
#if USES_TMA_LOADS
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(barrier, by_tma ? TMA_A * A_TILE_BYTES + TMA_B * B_TILE_BYTES : 0);
        if (TMA_A && by_tma)
            load_by_tma(stage_a, A_TILE_ROWS, A_TILE_COLS, A_TILE_ROWS, A_TILE_ROWS, A_TILE_COLS, &p->map_a,
                        row_a, col_a, 0, 0, barrier);
        if (TMA_B && by_tma)
            load_by_tma(stage_b, B_TILE_ROWS, B_TILE_COLS, B_TILE_ROWS, B_TILE_ROWS, B_TILE_COLS, &p->map_b,
                        row_b, col_b, OP != OP_DW, tile->expert, barrier);
    }
#endif
    if (!TMA_A || !by_tma)
        load_by_cp_async(p, stage_a, A_TILE_ROWS, A_TILE_COLS, p->a, cols_a, A_GATHER, row_a, tile->row_end,
                         col_a, cols_a);
    if (!TMA_B || !by_tma)
        load_by_cp_async(p, stage_b, B_TILE_ROWS, B_TILE_COLS, b, p->K, B_GATHER, row_b, limit_b, col_b,
                         p->K);
}

#endif
