/* wgmma_output.h: a consumer warpgroup's share of a tile on its way to memory: rounded to pieces of 64 x 64 in registers, then
 * each staged in shared memory and stored, by TMA or by the threads, which can scatter rows. */
#ifndef GG_WGMMA_OUTPUT_H
#define GG_WGMMA_OUTPUT_H

#include "wgmma_tile.h"
#if SILU
#include "wgmma_silu.h"
#else
#define SILU_PARTS 1
#endif

#define Q_PIECES (Q_SIZE / 64)
/* Pieces of sums of a consumer; number i is m64 tile i / Q_PIECES, columns of q from i % Q_PIECES * 64. What is sent: each of
 * them, with SILU first all activations, then gates and ups. */
#define SUM_PIECES (M_TILES * Q_PIECES)
#define SHARE_PIECES (SUM_PIECES * SILU_PARTS)

/* Where rows of the output go. Warp w of a consumer stores rows 16 * w to 16 * w + 15 of each piece; its lanes look them
 * up when the products are done, one row each of two pieces, and hand them round when the pieces are stored. */
#define SCATTERS (OUT_GATHER != GATHER_NONE)
#define OWN_PLACES (!SCATTERS ? 1 : Q_IS_ROWS ? (Q_PIECES + 1) / 2 : M_TILES)

/* A share whose products are done. */
typedef struct outgoing {
    u32 values[SUM_PIECES][16]; /* pairs, in the accumulators' order */
    u32 begun;                  /* address of the tile's description: registers are short */
    int width;                  /* of q; 0: there is none */
    u32 place[OWN_PLACES];
    float weight[OWN_PLACES];
} outgoing;

DEVICE void find_places(const gemm_params *p, const consumer *c, outgoing *out) {
    const begun_tile tile = read_begun(out->begun);
    UNROLL for (int i = 0; SCATTERS && i < OWN_PLACES; i++) {
        u32 row = tile.row + (u32)(c->thread / 32 * 16 + c->thread % 16 +
                                   (Q_IS_ROWS ? i * 2 + c->thread % 32 / 16 : c->group * M_TILES + i) * 64);
        out->place[i] = row < tile.row_limit ? (u32)gathered_row(p, OUT_GATHER, row) : 0;
        out->weight[i] = FUSE_MUL_POST && row < tile.row_limit ? slot_weight(p, out->place[i]) : 0.0f;
    }
}

DEVICE void round_share(outgoing *out, const float acc[M_TILES][ACC]) {
    UNROLL for (int m = 0; m < M_TILES; m++) {
        UNROLL for (int i = 0; i < ACC / 2; i++) out->values[m * Q_PIECES + i / 16][i % 16] =
            output_pair(acc[m][i * 2], acc[m][i * 2 + 1]);
    }
}

/* Lane l of warp w has columns 2 * (l % 4), + 1 of each 8 of q in rows 16 * w + l / 4 and + 8 of p. The staged piece is rows
 * of the output: where q is the rows, the transpose. */
DEVICE void stage_piece(const u32 values[16], u32 staged, int thread) {
    int lane = thread % 32, warp = thread / 32;
    int low = lane & 7, middle = (lane >> 3) & 1, high = lane >> 4;
    UNROLL for (int j = 0; j < 8; j += 2) {
        if (Q_IS_ROWS)
            stmatrix_x4_trans(staged + tile_offset(64, 64, (j + high) * 8 + low, warp * 2 + middle),
                              values + j * 2);
        else
            stmatrix_x4(staged + tile_offset(64, 64, warp * 16 + middle * 8 + low, j + high), values + j * 2);
    }
}

/* Piece number i from its buffer, by TMA when it is whole. */
DEVICE void store_staged(const gemm_params *p, const consumer *c, const outgoing *out, int i, u32 staged) {
    int p0 = (c->group * M_TILES + i / Q_PIECES) * 64, q0 = i % Q_PIECES * 64;
    const begun_tile tile = read_begun(out->begun);
    u32 row = tile.row + (u32)(Q_IS_ROWS ? q0 : p0);
    i32 col = tile.col + (Q_IS_ROWS ? p0 : q0), cols = out_cols(p);
    int by_tma = TMA_STORE && (OP == OP_DW || row + 64 <= tile.row_limit);
    int is_there = col < cols && row < tile.row_limit;
#if TMA_STORE
    IN_ONE_THREAD(c->thread) {
        if (by_tma & is_there) {
            if (OP == OP_DW)
                tma_store_3d(&p->map_out, col, (i32)row, tile.expert, staged);
            else
                tma_store_2d(&p->map_out, col, (i32)row, staged);
        }
        tma_store_commit(); /* a piece, a group */
    }
#endif
    if (by_tma | !is_there) return;
    u16 *to = OP == OP_DW ? p->out + (i64)tile.expert * p->N * p->K : p->out;
    int chunk = c->thread % 8, inside = col + chunk * 8 < cols;
    u32 pitch = (u32)cols * 2;
    NO_UNROLL for (int j = 0; j < 4;
                   j++) { /* registers are short while the next tile is multiplied, time is not */
        int r = c->thread / 32 * 16 + j * 4 + c->thread % 32 / 8;
        u32x4 v = smem_load_16(staged + tile_offset(64, 64, r, chunk));
        u32 place = row + (u32)r;
        if (SCATTERS) {
            int of_q = i % Q_PIECES, at = Q_IS_ROWS ? of_q / 2 : i / Q_PIECES;
            int owner = (Q_IS_ROWS ? of_q % 2 * 16 : 0) + r % 16;
            place = shuffle(out->place[at], owner);
            if (FUSE_MUL_POST)
                v = weighted(v, float_from_bits(shuffle(bits_from_float(out->weight[at]), owner)));
        }
        if (inside && row + (u32)r < tile.row_limit)
            store_16((u8 *)(to + col + chunk * 8) + (u64)place * pitch, v);
    }
}

/* Sends piece number i on its way; `buffer` is the next of this consumer's PIECES buffers, also from tile to tile. One barrier:
 * behind it the piece is staged, and the buffer after it is free. */
DEVICE void send_piece(const gemm_params *p, const consumer *c, const outgoing *out, int i, u32 *buffer) {
    u32 staged = c->staged + *buffer * PIECE_BYTES;
    if (i % Q_PIECES * 64 >= out->width) return;
    *buffer = *buffer + 1 == PIECES ? 0 : *buffer + 1;
#if SILU
    stage_silu(out->values[i % SUM_PIECES], i / SUM_PIECES, staged, c->thread);
#else
    stage_piece(out->values[i], staged, c->thread);
#endif
#if TMA_STORE
    fence_proxy_async();
    IN_ONE_THREAD(c->thread) tma_store_wait_read(PIECES - 2); /* the store from the buffer after this */
#endif
    named_sync(BARRIER_GROUP + c->group, GROUP_THREADS);
#if SILU
    const begun_tile tile = read_begun(out->begun);
    int p0 = c->group * P_SHARE + i % SUM_PIECES / Q_PIECES * 64, q0 = i % Q_PIECES * 64;
    store_silu(p, c, i / SUM_PIECES, tile.row + (u32)(Q_IS_ROWS ? q0 : p0), tile.row_limit,
               (tile.col + (Q_IS_ROWS ? p0 : q0)) / 2, staged);
#else
    store_staged(p, c, out, i, staged);
#endif
}

#endif
