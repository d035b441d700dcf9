/* wgmma_silu.h: silu_and_mul in the epilogue of an MoE block's first GEMM.
 *
 * Gate and up of a column meet in one thread: of w, (2I, K), the loads take eight rows of gate, then eight of up, in turn, so
 * that the lane with a sum of gate has its up too: of every 16 rows of an m64 tile, or of every 16 columns. A piece of 64 x 64
 * sums is then 64 rows x 32 columns of the activation, and as many of gate and of up, which with SILU 2 are stored as well,
 * for backward. Both are rounded first, as they would be in memory. */
#ifndef GG_WGMMA_SILU_H
#define GG_WGMMA_SILU_H

#include "silu.h"
#include "wgmma_tile.h"

#if OP != OP_FORWARD || !TMA_B || PERMUTE_Y || FUSE_MUL_POST
#error "silu_and_mul is of the forward of a first GEMM, with TMA loads of w"
#endif

#define SILU_COLS 32
#define SILU_TILE_BYTES (64 * SILU_COLS * 2)
/* Tiles staged of a piece: the activation; gate and up, in the second buffer. */
#define SILU_TILES (SILU == 2 ? 3 : 1)
#define SILU_TILE_OFFSET(tile) ((tile) == 0 ? 0 : PIECE_BYTES + ((tile)-1) * SILU_TILE_BYTES)
#define ROW_CHUNKS (SILU_COLS / 8)
#define TILE_CHUNKS (64 * ROW_CHUNKS)

DEVICE u32 activation_pair(u32 gate, u32 up) {
    return round_pair(
        activation_f32(float_from_dtype((u16)(gate & 0xffff)), float_from_dtype((u16)(up & 0xffff))),
        activation_f32(float_from_dtype((u16)(gate >> 16)), float_from_dtype((u16)(up >> 16))));
}

/* Word i of eight of gate (half 0) or up (1): where q is the rows, they take turns by ones, else two rows each by twos. */
DEVICE u32 half_word(const u32 values[16], int half, int i) {
    return values[Q_IS_ROWS ? 2 * i + half : i / 2 * 4 + half * 2 + i % 2];
}

/* Eight words of a lane to a tile of 64 x 32, the activation's or a half's. */
DEVICE void stage_tile(const u32 words[8], u32 staged, int thread) {
    int lane = thread % 32, warp = thread / 32;
    UNROLL for (int j = 0; j < 8; j += 4) {
        if (Q_IS_ROWS)
            stmatrix_x4_trans(staged + tile_offset(64, SILU_COLS, j * 8 + lane, warp), words + j);
        else
            stmatrix_x4(staged + tile_offset(64, SILU_COLS, warp * 16 + lane % 16, j / 2 + lane / 16),
                        words + j);
    }
}

DEVICE void stage_silu(const u32 values[16], u32 staged, int thread) {
    thread = opaque(thread);
    UNROLL for (int tile = 0; tile < SILU_TILES; tile++) {
        u32 words[8];
        UNROLL for (int i = 0; i < 8; i++) words[i] =
            tile > 0 ? half_word(values, tile - 1, i)
                     : activation_pair(half_word(values, 0, i), half_word(values, 1, i));
        stage_tile(words, staged + SILU_TILE_OFFSET(tile), thread);
    }
}

/* A staged piece at column `col` of the activation. The map of gate and up has each row's halves one after the other. */
#if TMA_STORE
DEVICE void store_silu_by_tma(const gemm_params *p, i32 col, const ragged_rows *rows, u32 staged) {
    tma_store_4d_kept(&p->map_out, col, rows->skipped, rows->from, RAGGED_BACK, staged);
    i32 from = (rows->from - RAGGED_BACK) * 2 + RAGGED_BACK;
    UNROLL for (int tile = 1; tile < SILU_TILES; tile++) tma_store_4d(
        &p->map_first, col, rows->skipped, from + tile - 1, RAGGED_BACK, staged + SILU_TILE_OFFSET(tile));
}
#else
DEVICE void store_silu_by_rows(const gemm_params *p, int thread, i32 col, u32 row, u32 row_limit,
                               u32 staged) {
    i32 cols = p->N / 2;
    UNROLL for (int tile = 0; tile < SILU_TILES; tile++) {
        u8 *to = tile == 0 ? (u8 *)(p->out + col) : (u8 *)(p->first + (tile - 1) * cols + col);
        u32 pitch = (u32)cols * (tile == 0 ? 2 : 4);
        NO_UNROLL for (int i = thread; i < TILE_CHUNKS; i += STORER_THREADS) {
            int r = i / ROW_CHUNKS, chunk = i % ROW_CHUNKS;
            u32x4 v = smem_load_16(staged + SILU_TILE_OFFSET(tile) + tile_offset(64, SILU_COLS, r, chunk));
            if (col + chunk * 8 < cols && row + (u32)r < row_limit)
                store_16(to + (u64)(row + (u32)r) * pitch + chunk * 16, v);
        }
    }
}
#endif

#endif
