/* wgmma_ahead.h: rows of dW's operands on their way into L2 before the tiles that need them, where the expert has few.
 *
 * dW of few rows writes much and reads little. DRAM turns round for each read among the writes, so that a few long reads of whole rows
 * cost less than those of a tile's columns when it comes to them. */
#ifndef GG_WGMMA_AHEAD_H
#define GG_WGMMA_AHEAD_H

#include "wgmma_tile.h"

/* Rows that are fetched at once: so many bytes, but no less than an expert has on average. Half as many are too few for DRAM; of more
 * some have left L2 when they are needed. */
#define WINDOW_BYTES (7 << 18)
DEVICE u32 window_rows(const gemm_params *p) {
    u32 rows = WINDOW_BYTES / 2 / ((u32)p->N + (u32)p->K), average = (u32)(p->M / p->E);
    if (rows < average) rows = average;
    return rows > 0 ? rows : 1;
}

/* Where m_sizes are wrong no tile may need the row, so that its index is not trusted. */
DEVICE void fetch_row(const gemm_params *p, u32 row) {
    const int gathers = A_GATHER || B_GATHER;
    u32 slot = gathers ? (u32)p->gather_indices[row] : row;
    if (gathers && slot >= (u32)p->M) return;
    prefetch_l2(p->a + row_of(p, A_GATHER, A_GATHER ? slot : row) * p->N, (u32)p->N * 2);
    prefetch_l2(p->b + row_of(p, B_GATHER, B_GATHER ? slot : row) * p->K, (u32)p->K * 2);
}

/* For each window that begins with a row of the tile's expert the next one is fetched, for the first window that as well; by one
 * warp, each tile of the expert a share. */
DEVICE void fetch_ahead(const gemm_params *p, const output_tile *tile, u32 window) {
    u32 begin = ((u32)tile->row_begin + window - 1) / window * window;
    u32 end = ((u32)tile->row_end + window - 1) / window * window + window;
    if (begin > 0) begin += window;
    if (end > (u32)p->M) end = (u32)p->M;
    u32 columns = col_tiles(p), tiles = row_tiles((u32)p->N, ROWS) * columns;
    u32 number = (u32)tile->row / ROWS * columns + (u32)tile->col / COLS;
    for (u32 row = begin + number + tiles * (threadIdx.x % 32); row < end; row += tiles * 32)
        fetch_row(p, row);
}

#endif
