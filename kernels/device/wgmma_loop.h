/* wgmma_loop.h: one tile's products, while the tile before it goes out.
 *
 * One group of instructions stays in flight: a stage is released when the group after it has been issued and only that
 * one is pending, which proves that the stage has been read. */
#ifndef GG_WGMMA_LOOP_H
#define GG_WGMMA_LOOP_H

#include "wgmma_output.h"

/* Shared-memory descriptors for 128-byte swizzle (PTX manual, "matrix descriptor"): address, leading and stride offsets
 * in units of 16 bytes. K-major: 8 rows are 1024 bytes apart, 16 of the reduction are 32 bytes. MN-major: panels of 64
 * columns, 8 rows of the reduction 1024 bytes apart, 16 of them 2048 bytes. The address alone differs from product to product,
 * in the lower half; shared memory ends below 2^18, so that no sum carries out of its field. */
#define DESCRIPTOR_HIGH ((u32)(1024 >> 4) | 1u << 30)
#define P_LEADING (P_MN_MAJOR ? STEP * 128 : 16)
#define Q_LEADING (Q_MN_MAJOR ? STEP * 128 : 16)
DEVICE u32 descriptor_low(u32 address, u32 leading) {
    return (address & 0x3ffff) >> 4 | (leading >> 4) << 16;
}
DEVICE u64 descriptor(u32 low, u32 bytes) { return (u64)DESCRIPTOR_HIGH << 32 | (low + (bytes >> 4)); }
DEVICE u64 p_descriptor(u32 low, int m_tile, int k) {
    return descriptor(low, (u32)(m_tile * (P_MN_MAJOR ? STEP : 64) * 128 + k * (P_MN_MAJOR ? 2048 : 32)));
}
DEVICE u64 q_descriptor(u32 low, int k) { return descriptor(low, (u32)(k * (Q_MN_MAJOR ? 2048 : 32))); }

/* The instruction's widths: the next that is enough for a tile's rows or columns; most are whole, so that the widest is tried
 * first: each comparison is on the way to the next product. Of tokens whole boxes of 32 are loaded, of columns whole panels.
 * With many more widths the compiler no longer finds registers for products in flight (it says C7511).
 * X(width, the next narrower) */
#if !Q_IS_ROWS || OP == OP_DW
#if Q_SIZE >= 256
#define WIDTHS(X) X(256, 192) X(192, 128) X(128, 64) X(64, 0)
#elif Q_SIZE >= 128
#define WIDTHS(X) X(128, 64) X(64, 0)
#else
#define WIDTHS(X) X(64, 0)
#endif
#elif Q_SIZE == 64
#define WIDTHS(X) X(64, 32) X(32, 16) X(16, 0)
#elif Q_SIZE == 128
#define WIDTHS(X) X(128, 96) X(96, 64) X(64, 32) X(32, 16) X(16, 0)
#elif Q_SIZE == 192
#define WIDTHS(X) X(192, 160) X(160, 128) X(128, 96) X(96, 64) X(64, 32) X(32, 16) X(16, 0)
#else
#define WIDTHS(X)                                                                                            \
    X(256, 224)                                                                                              \
    X(224, 192) X(192, 160) X(160, 128) X(128, 96) X(96, 64) X(64, 32) X(32, 16) X(16, 0)
#endif

/* Products number k to end - 1, of 16 of the reduction each, of the stage at `stage`, as one group; `first` overwrites the
 * accumulators. Width 0 multiplies nothing. */
DEVICE void multiply(const consumer *c, float acc[M_TILES][ACC], u32 stage, int width, int begin, int end,
                     int first) {
    u32 p_low = descriptor_low(stage + P_OFFSET, P_LEADING) +
                (u32)(c->group * M_TILES * (P_MN_MAJOR ? STEP : 64) * 128 >> 4);
    u32 q_low = descriptor_low(stage + Q_OFFSET, Q_LEADING);
    if (0) {}
#define MULTIPLY(n, narrower)                                                                                \
    else if (width > narrower) {                                                                             \
        wgmma_fence();                                                                                       \
        UNROLL for (int k = begin; k < end; k++) {                                                           \
            UNROLL for (int m = 0; m < M_TILES; m++)                                                         \
                wgmma(n, WGMMA_TYPE, P_MN_MAJOR, Q_MN_MAJOR, acc[m], p_descriptor(p_low, m, k),              \
                      q_descriptor(q_low, k), !first || k > begin);                                          \
        }                                                                                                    \
        wgmma_commit();                                                                                      \
    }
    WIDTHS(MULTIPLY)
#undef MULTIPLY
}

/* This warp has read the stage; the producer waits for all of them. */
DEVICE void release_stage(const consumer *c, u32 slot) {
    if (elect_one()) mbarrier_arrive(c->base + EMPTY_OFFSET + 8 * slot);
}

DEVICE void wait_until_full(const consumer *c, const ring_position *at) {
    mbarrier_wait(c->base + FULL_OFFSET + 8 * at->slot, at->parity);
}

/* The address of the next stage, once it is full. */
DEVICE u32 next_stage(const consumer *c, const ring_position *at) {
    wait_until_full(c, at);
    if (CP_ASYNC_LOADS) fence_proxy_async(); /* cp.async wrote by the ordinary proxy */
    return c->base + at->slot * STAGE_BYTES;
}

/* The tile that begins with the next stage, once that is full. */
DEVICE begun_tile next_tile(const consumer *c, const ring_position *at, u32 begun) {
    wait_until_full(c, at);
    begun_tile tile = read_begun(begun);
    warp_sync(); /* one lane releases the stage for all, which have read */
    return tile;
}

/* One step of whole STEP: multiplies the next stage and releases the one before it. */
DEVICE void multiply_step(const consumer *c, float acc[M_TILES][ACC], ring_position *at, u32 *previous,
                          int width, int first) {
    u32 stage = next_stage(c, at);
    multiply(c, acc, stage, width, 0, STEP / 16, first);
    wgmma_wait(1);
    if (!first) release_stage(c, *previous);
    *previous = at->slot;
    ring_advance(at);
}

/* A batch that waits goes when the one before has had the time to be stored: by rows that takes longer. */
#define BATCH_STEPS (TMA_STORE ? 1 : 4)

/* A tile's products, `width` columns of q wide; meanwhile what is kept of the tile before, from batch number `batch` on, is staged. */
DEVICE void multiply_tile(const gemm_params *p, const consumer *c, float acc[M_TILES][ACC], ring_position *at,
                          int steps, int last_rows, int width, outgoing *out, int batch) {
    u32 previous = 0;
    int whole = OP == OP_DW ? steps - 1 : steps; /* dW's last step may have few rows */
    for (int s = 0; s < whole; s++) {
        multiply_step(c, acc, at, &previous, width, s == 0);
        UNROLL for (int b = FIRST_BATCHES; b < BATCHES; b++) {
            if (b == batch && s == (b - FIRST_BATCHES + 1) * BATCH_STEPS) {
                send_batch(p, c, out, b);
                batch++;
            }
        }
    }
    if (OP == OP_DW && steps > 0) {
        u32 stage = next_stage(c, at);
        for (int k = 0; k * 16 < last_rows; k++)
            multiply(c, acc, stage, width, k, k + 1, steps == 1 && k == 0);
    }
    wgmma_wait(0);
    if (whole > 0) release_stage(c, previous);
    if (OP == OP_DW) {
        release_stage(c, at->slot);
        ring_advance(at);
    }
    send_rest(p, c, out, batch); /* when this tile has few steps */
}

#endif
