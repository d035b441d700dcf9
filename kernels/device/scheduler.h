/* scheduler.h: persistent scheduling: each block walks over its share of the output tiles of all experts.
 *
 * Tiles are numbered expert by expert; inside an expert in bands of BAND columns, columns fastest, so that the band's
 * share of w stays in L2 while all the expert's rows pass by it, and so that an expert's last, short row of tiles is
 * spread over the blocks. The walk reads m_sizes once per expert passed; no plan depends on the routing. */
#ifndef GG_SCHEDULER_H
#define GG_SCHEDULER_H

#include "tile.h"

#define BAND 16

typedef struct tile_walk {
    i64 tile, first;  /* number of this block's tile; of the first tile of `expert` */
    i64 row_begin;    /* first row of `expert` in expert order */
    i32 expert, rows; /* rows of `expert` */
} tile_walk;

typedef struct output_tile {
    i32 expert;
    i64 row_begin, row_end; /* the expert's rows in expert order */
    i64 row;       /* first output row of the tile: in expert order (forward, dX) or in dw[expert] (dW) */
    i64 row_limit; /* output rows end here */
    i32 col;
} output_tile;

DEVICE i32 out_cols(const gemm_params *p) { return OP == OP_FORWARD ? p->N : p->K; }

DEVICE i64 row_tiles(const gemm_params *p, i32 rows) {
    return OP == OP_DW ? (p->N + ROWS - 1) / ROWS : (rows + ROWS - 1) / ROWS;
}

DEVICE i32 expert_rows(const gemm_params *p, i32 expert) {
    i32 rows = p->m_sizes[expert];
#ifdef GG_DEBUG
    if (rows < 0 || rows > p->M) device_trap();
#endif
    return rows;
}

DEVICE void walk_begin(tile_walk *walk, const gemm_params *p) {
    walk->tile = blockIdx.x;
    walk->first = 0;
    walk->row_begin = 0;
    walk->expert = 0;
    walk->rows = expert_rows(p, 0);
}

/* The next tile of this block; 0 when none is left. */
DEVICE int walk_next(tile_walk *walk, const gemm_params *p, output_tile *out) {
    i64 col_tiles = (out_cols(p) + COLS - 1) / COLS;
    for (;;) {
        i64 tiles = row_tiles(p, walk->rows) * col_tiles;
        if (walk->tile < walk->first + tiles) break;
        walk->first += tiles;
        walk->row_begin += walk->rows;
        if (++walk->expert >= p->E) return 0;
        walk->rows = expert_rows(p, walk->expert);
#ifdef GG_DEBUG
        if (walk->row_begin + walk->rows > p->M) device_trap();
#endif
    }
    i64 local = walk->tile - walk->first, tiles = row_tiles(p, walk->rows);
    out->expert = walk->expert;
    out->row_begin = walk->row_begin;
    out->row_end = walk->row_begin + walk->rows;
    i64 band = local / (tiles * BAND), in_band = local % (tiles * BAND);
    i64 width = col_tiles - band * BAND < BAND ? col_tiles - band * BAND : BAND;
    out->row = in_band / width * ROWS + (OP == OP_DW ? 0 : walk->row_begin);
    out->row_limit = OP == OP_DW ? p->N : out->row_end;
    out->col = (i32)(band * BAND + in_band % width) * COLS;
    walk->tile += gridDim.x;
    return 1;
}

#endif
