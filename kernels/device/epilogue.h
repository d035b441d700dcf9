/* epilogue.h: accumulators to the output tensor: round, stage in shared memory, multiply by the routing weight, store.
 *
 * Staging makes every global store a full 16-byte chunk and is what TMA stores read. */
#ifndef GG_EPILOGUE_H
#define GG_EPILOGUE_H

#include "mma.h"
#include "output.h"

/* Writes this thread's accumulators into the staged tile: lane l of an m16n8 fragment holds columns 2*(l%4),
 * +1 of rows l/4 and l/4 + 8. */
DEVICE void stage_output(float acc[FRAGMENTS_M][FRAGMENTS_N][4], u32 staged, int warp_row, int warp_col,
                         int lane) {
    UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
        UNROLL for (int half = 0; half < 2; half++) {
            int row = warp_row + i * 16 + lane / 4 + half * 8;
            UNROLL for (int j = 0; j < FRAGMENTS_N; j++) smem_store_4(
                staged + tile_offset(ROWS, COLS, row, (warp_col + j * 8) / 8) + (u32)(lane % 4) * 4,
                output_pair(acc[i][j][half * 2], acc[i][j][half * 2 + 1]));
        }
    }
}

/* Copies the staged tile out, row by row where it belongs, leaving out what lies past the tensor or the
 * expert. */
DEVICE void store_by_threads(const gemm_params *p, const output_tile *tile, u32 staged) {
    i32 cols = out_cols(p);
    u16 *out = OP == OP_DW ? p->out + (i64)tile->expert * p->N * p->K : p->out;
    for (int i = (int)threadIdx.x; i < ROWS * COLS / 8; i += NUM_THREADS) {
        int r = i / (COLS / 8), chunk = i % (COLS / 8);
        i64 row = tile->row + r;
        i32 col = tile->col + chunk * 8;
        if (row < tile->row_limit && col < cols) {
            i64 out_row = gathered_row(p, OUT_GATHER, row);
            u32x4 v = smem_load_16(staged + tile_offset(ROWS, COLS, r, chunk));
            if (FUSE_MUL_POST) v = weighted(v, slot_weight(p, out_row));
            store_16(out + out_row * cols + col, v);
        }
    }
}

#if TMA_STORE
/* One thread; the map clips columns, and in dW rows. Returns when shared memory may be written again. */
DEVICE void store_by_tma(const gemm_params *p, const output_tile *tile, u32 staged) {
    i32 cols = out_cols(p);
    UNROLL for (int c = 0; c < COLS; c += PANEL_COLS(COLS)) {
        u32 panel = staged + (u32)(c * ROWS * 2);
        if (tile->col + c >= cols) break;
        if (OP == OP_DW)
            tma_store_3d(&p->map_out, tile->col + c, (i32)tile->row, tile->expert, panel);
        else
            tma_store_2d(&p->map_out, tile->col + c, (i32)tile->row, panel);
    }
    tma_store_commit();
    tma_store_wait_read(0);
}
#endif

/* All threads, after the tile's last products have read the ring; returns with the ring free for the next
 * tile. */
DEVICE void store_tile(const gemm_params *p, const output_tile *tile, float acc[FRAGMENTS_M][FRAGMENTS_N][4],
                       u32 staged, int warp_row, int warp_col, int lane) {
    block_sync();
    stage_output(acc, staged, warp_row, warp_col, lane);
#if USES_TMA_LOADS || TMA_STORE
    fence_proxy_async(); /* staged values, and cp.async's of a partial step, before TMA touches the same
                            memory */
#endif
    block_sync();
#if TMA_STORE
    /* A map over all experts' rows cannot stop at an expert's last row: a partial tile is stored by the
     * threads. */
    if (OP == OP_DW || tile->row + ROWS <= tile->row_limit) {
        if (threadIdx.x == 0) store_by_tma(p, tile, staged);
    } else
#endif
        store_by_threads(p, tile, staged);
    block_sync();
}

#endif
