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

/* What is sent of each piece of sums. */
#define PART_ACTIVATION 0
#define PART_GATE_UP 1
#define SILU_PARTS SILU

#define SILU_COLS 32
#define SILU_TILE_BYTES (64 * SILU_COLS * 2) /* staged: the activation; gate, then up */

DEVICE u32 activation_pair(u32 gate, u32 up) {
    return round_pair(
        activation_f32(float_from_dtype((u16)(gate & 0xffff)), float_from_dtype((u16)(up & 0xffff))),
        activation_f32(float_from_dtype((u16)(gate >> 16)), float_from_dtype((u16)(up >> 16))));
}

/* Where q is the rows, values are by twos gate and up of the lane's weights; else by fours, two rows of gate, two of up. */
DEVICE void stage_silu(const u32 values[16], int part, u32 staged, int thread) {
    int lane = thread % 32, warp = thread / 32;
    int low = lane & 7, middle = (lane >> 3) & 1, high = lane >> 4;
    if (part == PART_GATE_UP) {
        UNROLL for (int j = 0; j < 8; j += 2) {
            if (Q_IS_ROWS)
                stmatrix_x4_trans(staged + (u32)(middle * SILU_TILE_BYTES) +
                                      tile_offset(64, SILU_COLS, (j + high) * 8 + low, warp),
                                  values + j * 2);
            else
                stmatrix_x4(staged + (u32)(high * SILU_TILE_BYTES) +
                                tile_offset(64, SILU_COLS, warp * 16 + middle * 8 + low, j / 2),
                            values + j * 2);
        }
        return;
    }
    UNROLL for (int j = 0; j < 8; j += 4) {
        u32 out[4];
        UNROLL for (int i = 0; i < 4; i++) {
            int gate = Q_IS_ROWS ? (j + i) * 2 : (j + i / 2 * 2) * 2 + i % 2;
            out[i] = activation_pair(values[gate], values[gate + (Q_IS_ROWS ? 1 : 2)]);
        }
        if (Q_IS_ROWS)
            stmatrix_x4_trans(staged + tile_offset(64, SILU_COLS, (j + lane / 8) * 8 + low, warp), out);
        else
            stmatrix_x4(staged + tile_offset(64, SILU_COLS, warp * 16 + middle * 8 + low, j / 2 + high), out);
    }
}

/* The staged part at row `row` of the output and column `col` of the activation, by TMA when it is whole. */
DEVICE void store_silu(const gemm_params *p, const consumer *c, int part, u32 row, u32 row_limit, i32 col,
                       u32 staged) {
    i32 cols = p->N / 2;
    int by_tma = TMA_STORE && row + 64 <= row_limit, halves = part == PART_GATE_UP ? 2 : 1;
    if (col >= cols || row >= row_limit) return;
#if TMA_STORE
    if (by_tma && c->thread == 0) {
        if (part == PART_GATE_UP) {
            tma_store_3d(&p->map_first, col, 0, (i32)row, staged);
            tma_store_3d(&p->map_first, col, 1, (i32)row, staged + SILU_TILE_BYTES);
        } else
            tma_store_2d(&p->map_out, col, (i32)row, staged);
    }
#endif
    if (by_tma) return;
    int chunk = c->thread % (SILU_COLS / 8), inside = col + chunk * 8 < cols;
    u16 *to = (part == PART_GATE_UP ? p->first : p->out) + col + chunk * 8;
    u32 pitch = (u32)(part == PART_GATE_UP ? p->N : cols) * 2;
    NO_UNROLL for (int j = 0; j < 2 * halves; j++) {
        int half = j / 2, r = j % 2 * 32 + c->thread / (SILU_COLS / 8);
        u32x4 v = smem_load_16(staged + (u32)(half * SILU_TILE_BYTES) + tile_offset(64, SILU_COLS, r, chunk));
        if (inside && row + (u32)r < row_limit)
            store_16((u8 *)(to + half * cols) + (u64)(row + (u32)r) * pitch, v);
    }
}

#endif
