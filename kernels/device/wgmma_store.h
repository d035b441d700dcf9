/* wgmma_store.h: staged batches on their way to memory, by TMA or row by row, which can scatter; and the warps that do nothing
 * else. Two barriers a consumer: STAGED_FULL, a batch is there, and TAKEN, its place is free again. */
#ifndef GG_WGMMA_STORE_H
#define GG_WGMMA_STORE_H

#include "wgmma_tile.h"
#if SILU
#include "wgmma_silu.h"
#endif

/* A thread that stores what a consumer staged. */
typedef struct storer {
    u32 base, staged;  /* of shared memory; the consumer's buffers */
    int group, thread; /* of the consumers; among the STORER_THREADS that serve it */
    /* of the last piece: its first row; where two of its 64 rows go, which this lane has looked up; their routing weights */
    u32 row, looked_up[2];
    float weight[2];
} storer;
#define NO_ROW 0xffffffffu
DEVICE storer storer_of(u32 base, int group, int thread) {
    u32 staged = base + STAGED_OFFSET + (u32)group * PIECES * PIECE_BYTES;
    storer s = {base, staged, group, thread, NO_ROW, {0, 0}, {0.0f, 0.0f}};
    return s;
}

DEVICE u32 slot_barrier(u32 barriers, int group, u32 slot) {
    return barriers + ((u32)group * SLOTS + slot) * 8;
}

/* Where piece number i of a tile belongs, or the warp's strip of it. */
typedef struct piece_place {
    u32 row;
    i32 col;
    int is_there;
} piece_place;
DEVICE piece_place place_of(const gemm_params *p, const storer *s, const begun_tile *tile, int i) {
    u32 p0 = (u32)(s->group * M_TILES + i / Q_PIECES) * 64, q0 = (u32)(i % Q_PIECES) * 64;
    u32 strip = STRIPS ? (u32)(s->thread / 32 * STRIP_ROWS) : 0;
    piece_place place = {tile->row + (Q_IS_ROWS ? q0 : p0) + strip, tile->col + (i32)(Q_IS_ROWS ? p0 : q0),
                         0};
    place.is_there = place.row < tile->row_limit && place.col < out_cols(p);
    return place;
}

#if TMA_STORE
/* By one thread. Outside dW a map of ragged rows cuts the piece at the tile's last row (params.h). */
DEVICE void store_by_tma(const gemm_params *p, const begun_tile *tile, const piece_place *place, u32 staged) {
    const ragged_rows rows = ragged(place->row, tile->row_limit);
#if SILU
    store_silu_by_tma(p, place->col / 2, &rows, staged);
#else
    if (OP == OP_DW)
        tma_store_3d_once(&p->map_out, place->col, (i32)place->row, tile->expert, staged);
    else
        tma_store_4d_kept(&p->map_out, place->col, rows.skipped, rows.from, RAGGED_BACK, staged);
#endif
}
#else

/* Pieces of the same rows come one after the other where the rows are p. */
DEVICE void look_up_places(const gemm_params *p, storer *s, u32 first, u32 row_limit) {
    if (s->row == first) return;
    s->row = first;
    UNROLL for (int i = 0; i < 2; i++) {
        u32 row = first + (u32)(s->thread % 32 + i * 32);
        s->looked_up[i] = row < row_limit ? (u32)gathered_row(p, OUT_GATHER, row) : 0;
        if (FUSE_MUL_POST) s->weight[i] = row < row_limit ? slot_weight(p, s->looked_up[i]) : 0.0f;
    }
}

/* By all that serve the consumer; a lane's rows are handed round. */
DEVICE void store_by_rows(const gemm_params *p, storer *s, const begun_tile *tile, const piece_place *place,
                          u32 staged) {
#if SILU
    store_silu_by_rows(p, s->thread, place->col / 2, place->row, tile->row_limit, staged);
#else
    u16 *out = OP == OP_DW ? p->out + (i64)tile->expert * p->N * p->K : p->out;
    int chunk = s->thread % 8, inside = place->col + chunk * 8 < out_cols(p);
    u32 pitch = (u32)out_cols(p) * 2;
    u8 *to = (u8 *)(out + place->col + chunk * 8);
    look_up_places(p, s, place->row, tile->row_limit);
    UNROLL for (int half = 0; half < 2; half++) {
        UNROLL for (int j = 0; j < 32; j += STORER_THREADS / 8) {
            int owner = j + s->thread / 8, r = half * 32 + owner;
            u32x4 v = smem_load_16(staged + tile_offset(64, 64, r, chunk));
            u32 row = shuffle(s->looked_up[half], owner);
            if (FUSE_MUL_POST)
                v = weighted(v, float_from_bits(shuffle(bits_from_float(s->weight[half]), owner)));
            if (inside && place->row + (u32)r < tile->row_limit) store_16(to + (u64)row * pitch, v);
        }
    }
#endif
}
#endif

/* Batch number b of the tile, which is staged in slot number `slot`. */
DEVICE void store_batch(const gemm_params *p, storer *s, const begun_tile *tile, int b, u32 slot) {
    u32 staged = s->staged + slot * BATCH_BYTES;
#if TMA_STORE
    if (STRIPS) staged += (u32)(s->thread / 32 * STRIP_ROWS * 128);
    IN_ONE_THREAD(STRIPS ? s->thread % 32 : s->thread) {
        for (int i = b * BATCH; i < SHARE_PIECES && i < (b + 1) * BATCH;
             i++, staged += PIECE_BUFFERS * PIECE_BYTES) {
            const piece_place place = place_of(p, s, tile, i);
            if (place.is_there) store_by_tma(p, tile, &place, staged);
        }
        tma_store_commit();
    }
#else
    NO_UNROLL for (int i = b * BATCH; i < SHARE_PIECES && i < (b + 1) * BATCH;
                   i++, staged += PIECE_BUFFERS * PIECE_BYTES) {
        const piece_place place = place_of(p, s, tile, i);
        if (place.is_there) store_by_rows(p, s, tile, &place, staged);
    }
#endif
}

#if STORERS
/* Batches that TMA may be reading when a slot is freed: so many that the consumer finds a slot free when it needs one. */
#define BATCHES_UNREAD (TMA_STORE && SLOTS > 2 ? SLOTS - 2 : 0)

/* A warp that serves a consumer. */
DEVICE void serve(const gemm_params *p, storer *s) {
    slot_position at = {0, 0};
    u32 number = 0, sent = 0; /* batches, BATCHES_UNREAD at most */
    begun_tile tile;
    do {
        for (int b = 0; b < BATCHES; b++) {
            mbarrier_wait(slot_barrier(s->base + STAGED_FULL_OFFSET, s->group, at.slot), at.parity);
            if (b == 0) tile = read_begun(begun_place(s->base + BEGUN_OFFSET, &number));
            if (tile.expert < 0) break;
            store_batch(p, s, &tile, b, at.slot);
#if TMA_STORE
            IN_ONE_THREAD(s->thread) tma_store_wait_read(BATCHES_UNREAD);
#endif
            warp_sync();
            if (sent == BATCHES_UNREAD) {
                u32 slot = (at.slot + SLOTS - BATCHES_UNREAD) % SLOTS;
                if (elect_one()) mbarrier_arrive(slot_barrier(s->base + TAKEN_OFFSET, s->group, slot));
            } else
                sent++;
            slot_advance(&at);
        }
    } while (tile.expert >= 0);
#if TMA_STORE
    IN_ONE_THREAD(s->thread) tma_store_wait_read(0);
#endif
}
#endif

#endif
