/* mma.h: one stage's products on the tensor cores: ldmatrix fragments, mma.sync, fp32 accumulators in
 * registers. */
#ifndef GG_MMA_H
#define GG_MMA_H

#include "tile.h"

#define FRAGMENTS_M (WARP_ROWS / 16) /* m16 fragments of a warp */
#define FRAGMENTS_N (WARP_COLS / 8)  /* n8 fragments of a warp, an even number */

/* acc[FRAGMENTS_M][FRAGMENTS_N][4] += this warp's part of a * b over `depth` (a constant) of a stage's reduction from
 * k_begin on, multiples of 16. Lane roles are ldmatrix's: each lane gives the address of one 8-element row of the four
 * 8x8 matrices that make an m16k16 or two n8k16 fragments. */
DEVICE void multiply_part(float acc[FRAGMENTS_M][FRAGMENTS_N][4], u32 stage_a, u32 stage_b, int warp_row,
                          int warp_col, int lane, int k_begin, int depth) {
    int low = lane & 7, middle = (lane >> 3) & 1, high = lane >> 4;
    UNROLL for (int part = 0; part < depth; part += 16) {
        int k = k_begin + part;
        u32 a[FRAGMENTS_M][4], b[FRAGMENTS_N][2];
        UNROLL for (int i = 0; i < FRAGMENTS_M; i++) {
            int m = warp_row + i * 16;
            if (A_TRANSPOSED)
                ldmatrix_x4_trans(a[i], stage_a + tile_offset(A_TILE_ROWS, A_TILE_COLS, k + low + high * 8,
                                                              m / 8 + middle));
            else
                ldmatrix_x4(a[i], stage_a + tile_offset(A_TILE_ROWS, A_TILE_COLS, m + low + middle * 8,
                                                        k / 8 + high));
        }
        UNROLL for (int j = 0; j < FRAGMENTS_N; j += 2) {
            int n = warp_col + j * 8;
            u32 pair[4];
            if (B_TRANSPOSED)
                ldmatrix_x4_trans(pair, stage_b + tile_offset(B_TILE_ROWS, B_TILE_COLS, k + low + middle * 8,
                                                              n / 8 + high));
            else
                ldmatrix_x4(pair, stage_b + tile_offset(B_TILE_ROWS, B_TILE_COLS, n + low + high * 8,
                                                        k / 8 + middle));
            b[j][0] = pair[0];
            b[j][1] = pair[1];
            b[j + 1][0] = pair[2];
            b[j + 1][1] = pair[3];
        }
        mma_tile(acc, a, b, FRAGMENTS_M, FRAGMENTS_N);
    }
}
DEVICE void multiply_stage(float acc[FRAGMENTS_M][FRAGMENTS_N][4], u32 stage_a, u32 stage_b, int warp_row,
                           int warp_col, int lane) {
    multiply_part(acc, stage_a, stage_b, warp_row, warp_col, lane, 0, STEP);
}

#endif
