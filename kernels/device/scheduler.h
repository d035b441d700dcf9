/* scheduler.h: persistent scheduling: each block walks over its share of the output tiles of all experts.
 *
 * Tiles are numbered expert by expert; inside an expert in bands of BAND columns, columns fastest, so that the band's
 * share of w stays in L2 while all the expert's rows pass by it, and so that an expert's last, short row of tiles is
 * spread over the blocks. The walk reads m_sizes once per expert passed; no plan depends on the routing. Tiles are
 * counted in 32 bits: 2^32 of the smallest, 32 x 32, are 8 TiB.
 *
 * With EVEN_ROWS (a kernel that multiplies only the rows that a tile has) an expert's rows are dealt out evenly, in
 * multiples of 64, what a TMA store takes, over as few tiles as hold them: a last tile of a few rows would load as many
 * weights as a whole one. */
#ifndef GG_SCHEDULER_H
#define GG_SCHEDULER_H

#include "tile.h"

#ifndef EVEN_ROWS
#define EVEN_ROWS 0
#endif
#define BAND 16

typedef struct tile_walk {
    u32 tile, first;  /* number of this block's tile; of the first tile of `expert` */
    u32 row_begin;    /* first row of `expert` in expert order */
    i32 expert, rows; /* rows of `expert` */
    u32 pitch, tiles; /* of the expert's rows of tiles: rows from one to the next, how many */
} tile_walk;

typedef struct output_tile {
    i32 expert;
    i64 row_begin, row_end; /* the expert's rows in expert order */
    i64 row;       /* first output row of the tile: in expert order (forward, dX) or in dw[expert] (dW) */
    i64 row_limit; /* the tile's rows end here */
    i32 col;
} output_tile;

DEVICE i32 out_cols(const gemm_params *p) { return OP == OP_FORWARD ? p->N : p->K; }

/* Rows from one tile of an expert with `rows` rows to the next; of dW rows are N. */
DEVICE u32 tile_pitch(u32 rows) {
    if (!EVEN_ROWS || OP == OP_DW || rows == 0) return ROWS;
    u32 tiles = (rows + ROWS - 1) / ROWS;
    u32 even = tiles == 1 ? rows : tiles == 2 ? (rows + 1) / 2 : (rows + tiles - 1) / tiles;
    return (even + 63) / 64 * 64;
}
DEVICE u32 row_tiles(u32 rows, u32 pitch) {
    if (!EVEN_ROWS || OP == OP_DW) return (rows + ROWS - 1) / ROWS;
    return rows <= pitch ? rows > 0 : rows <= 2 * pitch ? 2 : (rows + pitch - 1) / pitch;
}

DEVICE i32 expert_rows(const gemm_params *p, i32 expert) {
    i32 rows = p->m_sizes[expert];
#ifdef GG_DEBUG
    if (rows < 0 || rows > p->M) device_trap();
#endif
    return rows;
}

DEVICE void walk_expert(tile_walk *walk, const gemm_params *p) {
    walk->rows = expert_rows(p, walk->expert);
    u32 rows = (u32)(OP == OP_DW ? p->N : walk->rows);
    walk->pitch = tile_pitch(rows);
    walk->tiles = row_tiles(rows, walk->pitch);
}

DEVICE void walk_begin(tile_walk *walk, const gemm_params *p) {
    walk->tile = blockIdx.x;
    walk->first = 0;
    walk->row_begin = 0;
    walk->expert = 0;
    walk_expert(walk, p);
}

/* The next tile of this block; 0 when none is left. */
DEVICE int walk_next(tile_walk *walk, const gemm_params *p, output_tile *out) {
    u32 col_tiles = ((u32)out_cols(p) + COLS - 1) / COLS;
    for (;;) {
        u32 tiles = walk->tiles * col_tiles;
        if (walk->tile < walk->first + tiles) break;
        walk->first += tiles;
        walk->row_begin += (u32)walk->rows;
        if (++walk->expert >= p->E) return 0;
        walk_expert(walk, p);
#ifdef GG_DEBUG
        if ((i64)walk->row_begin + walk->rows > p->M) device_trap();
#endif
    }
    u32 local = walk->tile - walk->first, per_band = walk->tiles * BAND;
    u32 band = local / per_band, in_band = local % per_band;
    u32 width = col_tiles - band * BAND < BAND ? col_tiles - band * BAND : BAND;
    out->expert = walk->expert;
    out->row_begin = walk->row_begin;
    out->row_end = (i64)walk->row_begin + walk->rows;
    out->row = (i64)(in_band / width) * walk->pitch + (OP == OP_DW ? 0 : walk->row_begin);
    out->row_limit = OP == OP_DW ? p->N : out->row_end;
    if (EVEN_ROWS && OP != OP_DW && out->row + walk->pitch < out->row_limit)
        out->row_limit = out->row + walk->pitch;
    out->col = (i32)((band * BAND + in_band % width) * COLS);
    walk->tile += gridDim.x;
    return 1;
}

#endif
