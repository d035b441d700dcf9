/* wgmma_producer.h: the producer warpgroup of a wgmma kernel: keeps the ring full, by TMA (one thread of a warp) and by cp.async (all
 * threads, which can gather rows). */
#ifndef GG_WGMMA_PRODUCER_H
#define GG_WGMMA_PRODUCER_H

#include "wgmma_ahead.h"

/* One thread's part of a tile_rows x tile_cols tile: every COPY_LANES-th chunk of rows first, first + COPY_STRIDE, ... Eight lanes copy
 * a line of 128 bytes at once; more a row would be more rows a thread, each of which costs a shuffle and an address, in dW at
 * every step. */
#define COPY_LANES 8
#define COPY_STRIDE (GROUP_THREADS / COPY_LANES)
#define COPY_ROWS(tile_rows) ((tile_rows) / COPY_STRIDE)
#define COPY_PARTS(tile_cols) ((tile_cols) / 8 / COPY_LANES)

/* Lanes that copy chunks of the same rows share the look-ups: each looks up every COPY_LANES-th row, and the others get it by
 * shuffle. Rows past the last one are that one: what is copied for them is zeroed or never stored. */
#define OWN_ROWS(tile_rows) ((COPY_ROWS(tile_rows) + COPY_LANES - 1) / COPY_LANES)
DEVICE void look_up_rows(const gemm_params *p, u32 *own, int tile_rows, int thread, int gather, u32 row,
                         u32 row_limit) {
    int first = thread / COPY_LANES, lane = thread % COPY_LANES;
    UNROLL for (int i = 0; i < OWN_ROWS(tile_rows); i++) {
        u32 at = row + (u32)(first + (i * COPY_LANES + lane) * COPY_STRIDE);
        own[i] = (u32)look_up(p, gather, at < row_limit ? at : row_limit - 1);
    }
}
/* Where this thread's chunks of what was looked up are, from column col of the matrix on. Each row has a pointer of its own: an
 * address put together for every copy would make it wait until the copy before it has read that. */
DEVICE void point_at_rows(const gemm_params *p, const u8 **from, const u32 *looked_up, int tile_rows,
                          int thread, int gather, const u16 *matrix, i32 ld, i32 col) {
    const u8 *first = (const u8 *)(matrix + col + thread % COPY_LANES * 8);
    UNROLL for (int i = 0; i < OWN_ROWS(tile_rows); i++) {
        u32 row = (u32)row_of(p, gather, looked_up[i]);
        UNROLL for (int j = 0; j < COPY_LANES && i * COPY_LANES + j < COPY_ROWS(tile_rows); j++)
            from[i * COPY_LANES + j] = first + (u64)shuffle_within(row, j, COPY_LANES) * ((u32)ld * 2);
    }
}

/* Copies them where the tile is whole: nothing to compare between one copy and the next. */
DEVICE void copy_whole(u32 dst, int tile_rows, int tile_cols, const u8 **from, int thread) {
    int first = thread / COPY_LANES, lane = thread % COPY_LANES;
    UNROLL for (int i = 0; i < COPY_ROWS(tile_rows); i++) {
        UNROLL for (int j = 0; j < COPY_PARTS(tile_cols); j++) cp_async_16(
            dst + tile_offset(tile_rows, tile_cols, first + i * COPY_STRIDE, lane + j * COPY_LANES),
            from[i] + j * COPY_LANES * 16, 16);
    }
}

/* Copies them, as far as `used` rows of the tile and columns below `cols`, of which the tile's first is col; zeros from row `left` of
 * the tile on. The pointers go on by `step` bytes. */
DEVICE void copy_rows(u32 dst, int tile_rows, int tile_cols, const u8 **from, int thread, int used, int left,
                      i32 col, i32 cols, int step) {
    int first = thread / COPY_LANES, lane = thread % COPY_LANES;
    left -= first;
    cols -= col + lane * 8;
    UNROLL for (int i = 0; i < COPY_ROWS(tile_rows); i++) {
        if (i * COPY_STRIDE % SHORT_BOX == 0 && i * COPY_STRIDE >= used) break;
        UNROLL for (int j = 0; j < COPY_PARTS(tile_cols); j++) cp_async_16(
            dst + tile_offset(tile_rows, tile_cols, first + i * COPY_STRIDE, lane + j * COPY_LANES),
            from[i] + j * COPY_LANES * 16, (i * COPY_STRIDE < left) & (j * COPY_LANES * 8 < cols) ? 16 : 0);
        from[i] = own_register(from[i] + step);
    }
}

/* Rows of a tile are loaded in units: of tokens what a warpgroup multiplies or an instruction's width may read, of the reduction
 * a short box. Weights that do not exist cost nothing: TMA fills a box's rows with zeros. But a box that lies wholly outside its map
 * reads where the map begins, with all blocks that have such a box at once: a step takes twice as long. So panels of columns that
 * do not exist are not asked for; the unit is what a warpgroup or an instruction reads. */
#define ROW_UNIT (!Q_IS_ROWS ? P_SHARE : OP == OP_DW ? WIDTH_UNIT : SHORT_BOX)
#define COL_UNIT (Q_IS_ROWS ? P_SHARE : WIDTH_UNIT)
DEVICE int cover(int inside, int unit) { return (inside + unit - 1) / unit * unit; }

#if USES_TMA_LOADS
/* Of dW, where the rows are the reduction: zero past the expert's last row, since 0 x NaN is NaN. Whole boxes where `used` rows
 * need them: one costs as much as its rows, there or not. Warp number `warp` of those that load has every LOADER_WARPS-th panel. */
DEVICE void load_ragged(u32 dst, int tile_cols, int used, int used_cols, const tensor_map *whole,
                        const tensor_map *in_part, u32 row, u32 row_end, i32 col, u32 barrier, int warp) {
    const ragged_rows rows = ragged(row, row_end);
    const tensor_map *map = used == STEP ? whole : in_part;
    if (used == 0) return;
    UNROLL for (int i = 0; i < tile_cols; i += LOADER_WARPS * PANEL_COLS(tile_cols)) {
        int c = i + warp * PANEL_COLS(tile_cols);
        if (c < used_cols)
            tma_load_4d(dst + (u32)(c * STEP * 2), map, col + c, rows.skipped, rows.from, RAGGED_BACK,
                        barrier);
    }
}
/* As many rows and columns of a tile by TMA, by one thread: a box for each whole panel, else short boxes. */
DEVICE void load_panels(u32 dst, int tile_rows, int tile_cols, int rows, int cols, const tensor_map *whole,
                        const tensor_map *in_part, u32 row, i32 col, int in_w, i32 expert, u32 barrier) {
    if (in_w || rows == tile_rows)
        load_by_tma(dst, tile_rows, tile_cols, tile_rows, rows, cols, whole, row, col, in_w, expert, barrier);
    else
        load_by_tma(dst, tile_rows, tile_cols, SHORT_BOX, rows, cols, in_part, row, col, in_w, expert,
                    barrier);
}
#endif

DEVICE void wait_until_empty(u32 empty, const ring_position *at) {
    mbarrier_wait(empty + 8 * at->slot, at->parity ^ 1);
}

/* Steps from a tile's end, one at least, when the next is drawn: late enough for the shares to come out even, early enough for
 * the answer to be there, which takes its turn behind copies: with four steps dW with gathers lost 1%. */
#define DRAW_STEPS 6

/* The number of the block's next tile, which the first thread has drawn, for all that load. */
DEVICE u32 next_number(u32 drawn, u32 *told, int thread) {
#if LOADER_THREADS == 32
    (void)told, (void)thread;
    return shuffle(drawn, 0);
#else
    *told ^= 4; /* the one before may yet be read */
    if (thread == 0) smem_store_4(*told, drawn);
    named_sync(BARRIER_LOADERS, LOADER_THREADS);
    return smem_load_4(*told);
#endif
}

/* The whole producer warpgroup when there are cp.async loads, else its first warp. */
DEVICE void produce(const gemm_params *p, u32 ring, u32 begun, u32 full, u32 empty, int thread) {
    ring_position at = {0, 0};
    u32 place_number = 0, number = blockIdx.x, told = ring + NEXT_OFFSET;
    tile_walk walk;
    output_tile tile;
#if CP_ASYNC_A
    const u8 *from_a[COPY_ROWS(A_TILE_ROWS)];
    u32 next_a[OWN_ROWS(A_TILE_ROWS)];
#endif
#if CP_ASYNC_B
    const u8 *from_b[COPY_ROWS(B_TILE_ROWS)];
    u32 next_b[OWN_ROWS(B_TILE_ROWS)];
#endif
    const u32 window = FETCHES_AHEAD ? window_rows(p) : 0;
    (void)window;
    walk_begin(&walk, p);
    while (walk_to(&walk, p, number, &tile)) {
        const begun_tile begins = describe(p, &tile);
        const u32 tile_row = begins.row, row_begin = (u32)tile.row_begin, row_end = (u32)tile.row_end;
        const int steps = begins.steps, last_rows = begins.last_rows, last_used = cover(last_rows, SHORT_BOX);
        const int used_rows = cover(tile_rows_inside(&begins), ROW_UNIT);
        const int used_cols = OP == OP_FORWARD ? COLS : cover(tile_cols_inside(p, &begins), COL_UNIT);
        i32 cols_a = OP == OP_FORWARD ? p->K : p->N;
        u32 limit_b = OP == OP_DW ? row_end : (u32)p->N;
        const u16 *b = OP == OP_DW ? p->b : p->b + (i64)tile.expert * p->N * p->K;
        (void)cols_a, (void)limit_b, (void)b;
#if CP_ASYNC_A
        if (steps > 0)
            look_up_rows(p, next_a, A_TILE_ROWS, thread, A_GATHER, OP == OP_DW ? row_begin : tile_row,
                         row_end);
#endif
#if CP_ASYNC_B
        if (steps > 0)
            look_up_rows(p, next_b, B_TILE_ROWS, thread, B_GATHER,
                         OP == OP_DW   ? row_begin
                         : OP == OP_DX ? 0
                                       : (u32)tile.col,
                         limit_b);
#endif
#if FETCHES_AHEAD
        if (thread < 32) fetch_ahead(p, &tile, window);
#endif
        wait_until_empty(empty, &at);
        const u32 place = begun_place(begun, &place_number);
        IN_ONE_THREAD(thread) write_begun(place, &begins);
#if CP_ASYNC_A
        if (OP != OP_DW) point_at_rows(p, from_a, next_a, A_TILE_ROWS, thread, A_GATHER, p->a, cols_a, 0);
#endif
#if CP_ASYNC_B
        if (OP == OP_FORWARD) point_at_rows(p, from_b, next_b, B_TILE_ROWS, thread, B_GATHER, b, p->K, 0);
#endif
        u32 drawn = 0;
        int s = 0;
        do { /* a tile without steps passes an empty stage */
            if (thread == 0 && s == (steps > DRAW_STEPS ? steps - DRAW_STEPS : 0)) drawn = draw_tile(p);
            u32 along = (u32)(s * STEP);
            u32 stage_a = ring + at.slot * STAGE_BYTES, stage_b = stage_a + A_TILE_BYTES;
            u32 barrier = full + 8 * at.slot;
            /* the same in all lanes, as the compiler then knows: else each arrival is a loop over them */
            if (OP == OP_DW && CP_ASYNC_LOADS) barrier = shuffle(barrier, 0);
            u32 row_a = OP == OP_DW ? row_begin + along : tile_row;
            u32 row_b = OP == OP_FORWARD ? (u32)tile.col : OP == OP_DX ? along : row_begin + along;
            i32 col_a = OP == OP_DW ? (i32)tile_row : (i32)along;
            i32 col_b = OP == OP_FORWARD ? (i32)along : tile.col;
            int rows_left = s + 1 < steps ? STEP : last_rows; /* in dW, of the reduction */
            int used_rows_a = OP == OP_DW ? (s + 1 < steps ? STEP : last_used) : used_rows;
            int used_rows_b = OP == OP_DX ? STEP : OP == OP_DW ? used_rows_a : used_cols;
            int used_cols_a = OP == OP_DW ? used_rows : STEP,
                used_cols_b = OP == OP_FORWARD ? STEP : used_cols;
            wait_until_empty(empty, &at);
            /* TMA is a third of a step's work: warps that gather have a panel each in dW, else take turns */
            IN_ONE_THREAD(OP == OP_DW ? thread % 32 : CP_ASYNC_LOADS ? thread ^ (s % 4 * 32) : thread) {
                if (OP != OP_DW || thread < 32)
                    mbarrier_arrive_expect_tx(barrier, (u32)(TMA_A * used_rows_a * used_cols_a * 2 +
                                                             TMA_B * used_rows_b * used_cols_b * 2));
#if TMA_A && OP == OP_DW
                load_ragged(stage_a, A_TILE_COLS, used_rows_a, used_cols_a, &p->map_a, &p->map_a_short, row_a,
                            row_end, col_a, barrier, thread / 32);
#elif TMA_A
                load_panels(stage_a, A_TILE_ROWS, A_TILE_COLS, used_rows_a, used_cols_a, &p->map_a,
                            &p->map_a_short, row_a, col_a, 0, 0, barrier);
#endif
#if TMA_B && OP == OP_DW
                load_ragged(stage_b, B_TILE_COLS, used_rows_b, used_cols_b, &p->map_b, &p->map_b_short, row_b,
                            row_end, col_b, barrier, thread / 32);
#elif TMA_B
                load_panels(stage_b, B_TILE_ROWS, B_TILE_COLS, used_rows_b, used_cols_b, &p->map_b,
                            &p->map_b_short, row_b, col_b, 1, tile.expert, barrier);
#endif
            }
            /* where the reduction runs down the rows the next step's are looked up while this one's are copied */
#if CP_ASYNC_A
            if (OP == OP_DW && steps > 0) {
                point_at_rows(p, from_a, next_a, A_TILE_ROWS, thread, A_GATHER, p->a, cols_a, col_a);
                look_up_rows(p, next_a, A_TILE_ROWS, thread, A_GATHER, row_a + STEP, row_end);
            }
            if (OP == OP_DW && rows_left >= STEP && col_a + A_TILE_COLS <= cols_a)
                copy_whole(stage_a, A_TILE_ROWS, A_TILE_COLS, from_a, thread);
            else
                copy_rows(stage_a, A_TILE_ROWS, A_TILE_COLS, from_a, thread, used_rows_a,
                          OP == OP_DW ? rows_left : ROWS, col_a, cols_a, OP == OP_DW ? 0 : STEP * 2);
#endif
#if CP_ASYNC_B
            if (OP != OP_FORWARD && steps > 0) {
                point_at_rows(p, from_b, next_b, B_TILE_ROWS, thread, B_GATHER, b, p->K, col_b);
                look_up_rows(p, next_b, B_TILE_ROWS, thread, B_GATHER, row_b + STEP, limit_b);
            }
            if (OP == OP_DW && rows_left >= STEP && col_b + B_TILE_COLS <= p->K)
                copy_whole(stage_b, B_TILE_ROWS, B_TILE_COLS, from_b, thread);
            else
                copy_rows(stage_b, B_TILE_ROWS, B_TILE_COLS, from_b, thread, used_rows_b,
                          OP == OP_FORWARD ? COLS
                          : OP == OP_DX    ? p->N - (i32)along
                                           : rows_left,
                          col_b, p->K, OP == OP_FORWARD ? STEP * 2 : 0);
#endif
#if CP_ASYNC_LOADS
            cp_async_commit_arrive(barrier);
#endif
            ring_advance(&at);
        } while (++s < steps);
        number = next_number(drawn, &told, thread);
    }
    if (thread == 0) end_draws(p, &walk, number);
    const begun_tile none = {0, 0, 0, -1, 0, 0};
    wait_until_empty(empty, &at);
    IN_ONE_THREAD(thread) {
        write_begun(begun_place(begun, &place_number), &none);
        mbarrier_arrive_expect_tx(full + 8 * at.slot, 0);
    }
#if CP_ASYNC_LOADS
    cp_async_commit_arrive(full + 8 * at.slot);
    cp_async_wait(0);
#endif
}

#endif
