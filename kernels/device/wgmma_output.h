/* wgmma_output.h: a consumer warpgroup's share of a tile on its way out: rounded to pieces of 64 x 64 and staged in shared memory, from
 * where it is stored (wgmma_store.h).
 *
 * A share goes in batches, as many pieces as fit: the first as soon as the products are done, the rest from registers, rounded,
 * behind the next tile's first steps. A batch costs a wait for room, a fence and an arrival, or where the consumer stores itself
 * two barriers. */
#ifndef GG_WGMMA_OUTPUT_H
#define GG_WGMMA_OUTPUT_H

#include "wgmma_store.h"

/* A consumer's share on its way. */
typedef struct outgoing {
    /* of the pieces that wait: pairs, in the accumulators' order */
    u32 values[LATER_PIECES > 0 ? LATER_PIECES : 1][16];
    u32 begun;        /* address of the tile's description */
    int width;        /* of q; 0: there is none */
    slot_position at; /* of the next batch */
} outgoing;

DEVICE void round_piece(u32 values[16], const float acc[M_TILES][ACC], int i) {
    UNROLL for (int j = 0; j < 16; j++) {
        int at = i % Q_PIECES * 32 + j * 2;
        values[j] = output_pair(acc[i / Q_PIECES][at], acc[i / Q_PIECES][at + 1]);
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

/* Piece number i of the next batch, rounded. */
DEVICE void put_in_batch(const consumer *c, const outgoing *out, const u32 values[16], int i) {
    u32 staged = c->staged + out->at.slot * BATCH_BYTES + (u32)(i * PIECE_BUFFERS * PIECE_BYTES);
#if SILU
    stage_silu(values, staged, c->thread);
#else
    stage_piece(values, staged, c->thread);
#endif
}

/* Among those that stage what one thread stores. */
DEVICE void share_sync(const consumer *c) {
    if (STRIPS)
        warp_sync();
    else
        named_sync(BARRIER_GROUP + c->group, GROUP_THREADS);
}

/* Until there is room. */
DEVICE void begin_batch(const consumer *c, const outgoing *out) {
#if STORERS
    mbarrier_wait(slot_barrier(c->base + TAKEN_OFFSET, c->group, out->at.slot), out->at.parity ^ 1);
#else
    (void)out;
#if TMA_STORE
    IN_ONE_THREAD(STRIPS ? c->thread % 32 : c->thread) tma_store_wait_read(SLOTS - 1);
#endif
    share_sync(c);
#endif
}

/* Batch number b is staged. */
DEVICE void end_batch(const gemm_params *p, const consumer *c, outgoing *out, int b) {
    if (TMA_STORE) fence_proxy_async();
#if STORERS
    (void)p, (void)b;
    warp_sync();
    if (elect_one()) mbarrier_arrive(slot_barrier(c->base + STAGED_FULL_OFFSET, c->group, out->at.slot));
#else
    const begun_tile tile = read_begun(out->begun);
    storer self = storer_of(c->base, c->group, c->thread);
    share_sync(c);
    store_batch(p, &self, &tile, b, out->at.slot);
#endif
    slot_advance(&out->at);
}

/* The tile whose products are done: what there are slots for goes, the rest is kept. */
DEVICE void send_first(const gemm_params *p, const consumer *c, outgoing *out, const float acc[M_TILES][ACC],
                       u32 begun, int width) {
    out->begun = begun;
    out->width = width;
    UNROLL for (int b = 0; b < FIRST_BATCHES; b++) {
        begin_batch(c, out);
        UNROLL for (int i = b * BATCH; i < SHARE_PIECES && i < (b + 1) * BATCH; i++) {
            u32 values[16];
            if (i % Q_PIECES * 64 >= width) continue;
            round_piece(values, acc, i);
            put_in_batch(c, out, values, i - b * BATCH);
        }
        end_batch(p, c, out, b);
    }
    UNROLL for (int i = SLOTS * BATCH; i < SHARE_PIECES; i++) {
        if (i % Q_PIECES * 64 < width) round_piece(out->values[i - SLOTS * BATCH], acc, i);
    }
}

/* Batch number b of what is kept, from FIRST_BATCHES on. */
DEVICE void send_batch(const gemm_params *p, const consumer *c, outgoing *out, int b) {
    begin_batch(c, out);
    UNROLL for (int i = b * BATCH; i < SHARE_PIECES && i < (b + 1) * BATCH; i++) {
        if (i % Q_PIECES * 64 < out->width)
            put_in_batch(c, out, out->values[i - SLOTS * BATCH], i - b * BATCH);
    }
    end_batch(p, c, out, b);
}

/* The batches from number b on. */
DEVICE void send_rest(const gemm_params *p, const consumer *c, outgoing *out, int b) {
    UNROLL for (int i = FIRST_BATCHES; i < BATCHES; i++) {
        if (i >= b) send_batch(p, c, out, i);
    }
}

#endif
