/* wgmma_loop.h: one tile's products, while the tile before it goes out.
 *
 * One group of instructions stays in flight: a stage is released when the group after it has been issued and only that
 * one is pending, which proves that the stage has been read. Behind each of the first steps a piece of the tile before is
 * stored, so that the tensor cores work through an epilogue. */
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

/* In dW the rows are the reduction: past the expert's last row both operands must be zero (0 x NaN is NaN), but a map
 * over all experts' rows goes on into the next expert; so far as the last product of 16 rows reads, since none follow.
 * cp.async has filled with zeros already. */
#define ZEROES_TAIL (OP == OP_DW && USES_TMA_LOADS)
DEVICE void zero_rows(u32 tile, int cols, int from, int to, int thread) {
    u32x4 zero = {0, 0, 0, 0};
    for (int i = thread; i < (to - from) * (cols / 8); i += CONSUMER_THREADS)
        smem_store_16(tile + tile_offset(STEP, cols, from + i / (cols / 8), i % (cols / 8)), zero);
}
DEVICE void zero_tail(const consumer *c, u32 stage, int from) {
    int to = (from + 15) / 16 * 16, thread = c->group * GROUP_THREADS + c->thread;
    if (TMA_A) zero_rows(stage, A_TILE_COLS, from, to, thread);
    if (TMA_B) zero_rows(stage + A_TILE_BYTES, B_TILE_COLS, from, to, thread);
    fence_proxy_async();
    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);
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

/* The pieces from number `sent` on. */
DEVICE void send_rest(const gemm_params *p, const consumer *c, const outgoing *out, int sent, u32 *buffer) {
    UNROLL for (int i = 0; i < SHARE_PIECES; i++) {
        if (i >= sent) send_piece(p, c, out, i, buffer);
    }
}

/* A tile's products, `width` columns of q wide; meanwhile `out`, the tile before it, is stored. */
DEVICE void multiply_tile(const gemm_params *p, const consumer *c, float acc[M_TILES][ACC], ring_position *at,
                          int steps, int last_rows, int width, const outgoing *out, u32 *buffer) {
    u32 previous = 0;
    int whole = OP == OP_DW ? steps - 1 : steps; /* dW's last step may have few rows */
    for (int s = 0; s < whole; s++) {
        multiply_step(c, acc, at, &previous, width, s == 0);
        if (DEFERS && s < SHARE_PIECES) {
            UNROLL for (int i = 0; i < SHARE_PIECES; i++) {
                if (i == s) send_piece(p, c, out, i, buffer);
            }
        }
    }
    if (OP == OP_DW && steps > 0) {
        u32 stage = next_stage(c, at);
        if (ZEROES_TAIL && last_rows % 16) zero_tail(c, stage, last_rows);
        for (int k = 0; k * 16 < last_rows; k++)
            multiply(c, acc, stage, width, k, k + 1, steps == 1 && k == 0);
    }
    /* What is left of the tile before, when this one has few steps: behind the products that are still in flight, but in dW,
     * where a tile of few rows is mostly output, only once the stages are back with the producer. */
    if (DEFERS && OP != OP_DW) send_rest(p, c, out, whole, buffer);
    wgmma_wait(0);
    if (whole > 0) release_stage(c, previous);
    if (OP == OP_DW) {
        release_stage(c, at->slot);
        ring_advance(at);
    }
    if (DEFERS && OP == OP_DW) send_rest(p, c, out, whole, buffer);
}

#endif
