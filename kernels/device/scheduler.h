/* scheduler.h: persistent scheduling: blocks share the output tiles of all experts, whose numbers each walks up.
 *
 * Tiles are numbered expert by expert; inside an expert in bands of BAND columns, columns fastest, so that the band's
 * share of w stays in L2 while all the expert's rows pass by it. In wgmma's dW of few rows, which is mostly output, the bands are
 * as wide as can be, since long rows are written best whole; of more, and in mma_sync's, so wide that a band's columns of x
 * stay in L2 for the next row of tiles. A warp walks together, a window of 32 experts at a time, whose sizes have been loaded during the
 * window before: passing experts one by one took a tenth of a tile's time. No plan depends on the routing. Tiles are
 * counted in 32 bits: 2^32 of the smallest, 32 x 32, are 8 TiB.
 *
 * With EVEN_ROWS (a kernel that multiplies only the rows that a tile has) an expert's rows are dealt out evenly, in
 * multiples of 32, what is loaded at once, over as few tiles as hold them: a last tile of a few rows would load as many
 * weights as a whole one. */
#ifndef GG_SCHEDULER_H
#define GG_SCHEDULER_H

#include "tile.h"

#ifndef EVEN_ROWS
#define EVEN_ROWS 0
#endif
#ifndef FETCHES_AHEAD
#define FETCHES_AHEAD 0
#endif
#define BAND (OP != OP_DW ? 16 : FETCHES_AHEAD ? 64 : 32)

/* A warp walks together: each lane knows one expert of a window of 32. */
#define WINDOW 32

typedef struct tile_walk {
    u32 first, row_begin;    /* number of the window's first tile; its first row in expert order */
    i32 expert;              /* the window's first */
    i32 rows, next_rows;     /* of this lane's expert; of its expert in the next window, loaded ahead */
    u32 pitch, tiles;        /* of its rows of tiles: rows from one to the next, how many */
    u32 width_reciprocal;    /* of the last band's columns: 2^32 / columns, rounded down */
    u32 tiles_end, rows_end; /* tiles and rows from the window's first to this lane's, all told */
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
    return (even + 31) / 32 * 32;
}
DEVICE u32 row_tiles(u32 rows, u32 pitch) {
    if (!EVEN_ROWS || OP == OP_DW) return (rows + ROWS - 1) / ROWS;
    return rows <= pitch ? rows > 0 : rows <= 2 * pitch ? 2 : (rows + pitch - 1) / pitch;
}

/* Of this lane's expert in the window that begins with `first`. */
DEVICE i32 expert_rows(const gemm_params *p, i32 first) {
    i32 expert = first + (i32)threadIdx.x % WINDOW;
    i32 rows = expert < p->E ? p->m_sizes[expert] : 0;
#ifdef GG_DEBUG
    if (rows < 0 || rows > p->M) device_trap();
#endif
    return rows;
}

/* The sum over this lane and those before it. */
DEVICE u32 sum_so_far(u32 value) {
    int lane = (int)threadIdx.x % WINDOW;
    UNROLL for (int distance = 1; distance < WINDOW; distance *= 2) {
        u32 before = shuffle(value, (lane - distance) & (WINDOW - 1));
        if (lane >= distance) value += before;
    }
    return value;
}

DEVICE u32 col_tiles(const gemm_params *p) { return ((u32)out_cols(p) + COLS - 1) / COLS; }

DEVICE void walk_window(tile_walk *walk, const gemm_params *p) {
    i32 expert = walk->expert + (i32)threadIdx.x % WINDOW;
    u32 rows = (u32)(OP == OP_DW ? p->N : walk->rows);
    walk->pitch = tile_pitch(rows);
    walk->tiles = expert < p->E ? row_tiles(rows, walk->pitch) : 0;
    walk->tiles_end = sum_so_far(walk->tiles * col_tiles(p));
    walk->rows_end = sum_so_far((u32)walk->rows);
#ifdef GG_DEBUG
    if ((i64)walk->row_begin + walk->rows_end > p->M) device_trap();
#endif
    walk->next_rows = expert_rows(p, walk->expert + WINDOW);
}

DEVICE void walk_begin(tile_walk *walk, const gemm_params *p) {
    walk->first = 0;
    walk->row_begin = 0;
    walk->expert = 0;
    walk->width_reciprocal = 0xffffffffu / ((col_tiles(p) - 1) % BAND + 1);
    walk->rows = expert_rows(p, 0);
    walk_window(walk, p);
}

/* Tile `number`, the same in all lanes, and never a lower one than before; 0 where there are not so many. */
DEVICE int walk_to(tile_walk *walk, const gemm_params *p, u32 number, output_tile *out) {
    u32 there;
    while (!(there = warp_ballot(number < walk->first + walk->tiles_end))) {
        walk->first += shuffle(walk->tiles_end, WINDOW - 1);
        walk->row_begin += shuffle(walk->rows_end, WINDOW - 1);
        walk->expert += WINDOW;
        if (walk->expert >= p->E) return 0;
        walk->rows = walk->next_rows;
        walk_window(walk, p);
    }
    int owner = lowest_bit(there);
    u32 columns = col_tiles(p), tiles = shuffle(walk->tiles, owner), pitch = shuffle(walk->pitch, owner);
    u32 rows = shuffle((u32)walk->rows, owner);
    u32 row_begin = walk->row_begin + shuffle(walk->rows_end, owner) - rows;
    u32 local = number - (walk->first + shuffle(walk->tiles_end, owner) - tiles * columns);
    u32 band = columns <= BAND ? 0 : local / (tiles * BAND), in_band = local - band * tiles * BAND;
    u32 width = columns - band * BAND < BAND ? columns - band * BAND : BAND;
    u32 row_tile = in_band / BAND;
    if (width < BAND) { /* a last band, or the only one */
        row_tile = (u32)((u64)in_band * walk->width_reciprocal >> 32);
        row_tile += in_band - row_tile * width >= width;
    }
    out->expert = walk->expert + owner;
    out->row_begin = row_begin;
    out->row_end = (i64)row_begin + rows;
    out->row = (i64)row_tile * pitch + (OP == OP_DW ? 0 : row_begin);
    out->row_limit = OP == OP_DW ? p->N : out->row_end;
    if (EVEN_ROWS && OP != OP_DW && out->row + pitch < out->row_limit) out->row_limit = out->row + pitch;
    out->col = (i32)((band * BAND + in_band - row_tile * width) * COLS);
    return 1;
}

/* A block's first tile is the one of its own number. The others may be drawn, so that the tiles under way are neighbours however long
 * each takes: what they share is still in L2, what they write is together, and all blocks end at once. A block draws once for each
 * of its tiles, so that there are as many draws as tiles. */
DEVICE u32 draw_tile(const gemm_params *p) { return gridDim.x + atomic_add_u32(p->drawn, 1); }

/* Once walk_to has not found tile `number`: where that was the last draw of all, it puts the counter back for the next launch. */
DEVICE void end_draws(const gemm_params *p, const tile_walk *walk, u32 number) {
    u32 tiles = walk->first; /* the walk has passed them all */
    if (number - gridDim.x == tiles - 1) atomic_add_u32(p->drawn, 0 - tiles);
}

#endif
