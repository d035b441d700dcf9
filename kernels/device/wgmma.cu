/* wgmma.cu: grouped GEMM (forward, dX, dW) for sm_90a: a producer warpgroup keeps a ring of stages full, consumer
 * warpgroups multiply with wgmma and store, one persistent launch over all experts. */
#include "output.h"
#include "wgmma_producer.h"

/* Shared-memory descriptors for 128-byte swizzle (PTX manual, "matrix descriptor"): address, leading and stride offsets
 * in units of 16 bytes. K-major: 8 rows are 1024 bytes apart, 16 of the reduction are 32 bytes. MN-major: panels of 64
 * columns, 8 rows of the reduction 1024 bytes apart, 16 of them 2048 bytes. */
DEVICE u64 descriptor(u32 address, u32 leading) {
    return (u64)((address & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(1024 >> 4) << 32 |
           (u64)1 << 62;
}
DEVICE u64 p_descriptor(u32 stage, int m_tile, int k) {
    u32 tile = stage + P_OFFSET;
    return P_MN_MAJOR ? descriptor(tile + (u32)(m_tile * STEP * 128 + k * 2048), STEP * 128)
                      : descriptor(tile + (u32)(m_tile * 64 * 128 + k * 32), 16);
}
DEVICE u64 q_descriptor(u32 stage, int k) {
    u32 tile = stage + Q_OFFSET;
    return Q_MN_MAJOR ? descriptor(tile + (u32)(k * 2048), STEP * 128) : descriptor(tile + (u32)(k * 32), 16);
}

/* This warp has read the stage; the producer waits for all of them. */
DEVICE void release_stage(u32 empty, u32 slot, int thread) {
    if (thread % 32 == 0) mbarrier_arrive(empty + 8 * slot);
}

/* In dW the rows are the reduction: past the expert's last row both operands must be zero (0 x NaN is NaN), but a map
 * over all experts' rows goes on into the next expert. cp.async has filled with zeros already. */
#define ZEROES_TAIL (OP == OP_DW && USES_TMA_LOADS)
DEVICE void zero_rows(u32 tile, int cols, int from, int thread) {
    u32x4 zero = {0, 0, 0, 0};
    for (int i = thread; i < (STEP - from) * (cols / 8); i += CONSUMER_THREADS)
        smem_store_16(tile + tile_offset(STEP, cols, from + i / (cols / 8), i % (cols / 8)), zero);
}
DEVICE void zero_tail(u32 stage, int from, int thread) {
    if (TMA_A) zero_rows(stage, A_TILE_COLS, from, thread);
    if (TMA_B) zero_rows(stage + A_TILE_BYTES, B_TILE_COLS, from, thread);
    fence_proxy_async();
    named_sync(BARRIER_CONSUMERS, CONSUMER_THREADS);
}

#define WIDTH 16
#include "wgmma_loop.h"
#define WIDTH 32
#include "wgmma_loop.h"
#define WIDTH 64
#include "wgmma_loop.h"
#if Q_SIZE >= 128
#define WIDTH 128
#include "wgmma_loop.h"
#endif
#if Q_SIZE >= 256
#define WIDTH 192
#include "wgmma_loop.h"
#define WIDTH 256
#include "wgmma_loop.h"
#endif

/* Writes 64 x 64 results to the piece at `staged`, as rows of the output. `acc` holds 64 columns of q from q0 on; lane l
 * of warp w has columns 2*(l%4), +1 of each 8 in rows 16*w + l/4 and + 8 of p. Where tokens are q the piece is its
 * transpose. */
DEVICE void stage_piece(const gemm_params *p, const output_tile *tile, const float *acc, u32 staged, int q0,
                        int thread) {
    int lane = thread % 32, warp = thread / 32 % 4;
    int low = lane & 7, middle = (lane >> 3) & 1, high = lane >> 4;
    UNROLL for (int j = 0; j < 8; j += 2) {
        u32 r[4];
        UNROLL for (int h = 0; h < 2; h++) {
            const float *v = acc + (j + h) * 4;
            i64 row = tile->row + q0 + (j + h) * 8 + lane % 4 * 2;
            float w0 = row_weight(p, tile, row), w1 = row_weight(p, tile, row + 1);
            r[h * 2] = output_value(v[0], w0) | output_value(v[1], w1) << 16;
            r[h * 2 + 1] = output_value(v[2], w0) | output_value(v[3], w1) << 16;
        }
        if (TOKENS_ARE_Q)
            stmatrix_x4_trans(staged + tile_offset(64, 64, (j + high) * 8 + low, warp * 2 + middle), r);
        else
            stmatrix_x4(staged + tile_offset(64, 64, warp * 16 + middle * 8 + low, j + high), r);
    }
}

/* Stores a staged piece whose first output element is (row, col), by TMA when it is whole. */
DEVICE void store_piece(const gemm_params *p, const output_tile *tile, u32 staged, i64 row, i32 col,
                        int thread) {
    i32 cols = out_cols(p);
    int by_tma = TMA_STORE && (OP == OP_DW || row + 64 <= tile->row_limit);
    if (col >= cols || row >= tile->row_limit) return;
#if TMA_STORE
    if (by_tma && thread == 0) {
        if (OP == OP_DW)
            tma_store_3d(&p->map_out, col, (i32)row, tile->expert, staged);
        else
            tma_store_2d(&p->map_out, col, (i32)row, staged);
    }
#endif
    if (by_tma) return;
    u16 *out = OP == OP_DW ? p->out + (i64)tile->expert * p->N * p->K : p->out;
    int chunk = thread % 8;
    UNROLL for (int r = thread / 8; r < 64; r += GROUP_THREADS / 8) {
        if (row + r < tile->row_limit && col + chunk * 8 < cols)
            store_16(out + gathered_row(p, OUT_GATHER, row + r) * cols + col + chunk * 8,
                     smem_load_16(staged + tile_offset(64, 64, r, chunk)));
    }
}

/* One consumer's share of a tile to memory, a piece of 64 x 64 at a time through two buffers; meanwhile the producer
 * fills the ring for the next tile. `pieces` counts on over tiles. */
DEVICE void store_share(const gemm_params *p, const output_tile *tile, float acc[M_TILES][ACC], u32 staged,
                        u32 *pieces, int width, int group, int thread) {
    UNROLL for (int m = 0; m < M_TILES; m++) {
        UNROLL for (int q0 = 0; q0 < Q_SIZE; q0 += 64) {
            int p0 = (group * M_TILES + m) * 64;
            u32 buffer = staged + (*pieces & 1) * PIECE_BYTES;
            if (q0 >= width) break;
            ++*pieces;
#if TMA_STORE
            if (thread == 0) tma_store_wait_read(1); /* the store before the last, from this buffer */
#endif
            named_sync(BARRIER_GROUP + group, GROUP_THREADS);
            stage_piece(p, tile, acc[m] + q0 / 2, buffer, q0, thread);
#if TMA_STORE
            fence_proxy_async();
#endif
            named_sync(BARRIER_GROUP + group, GROUP_THREADS);
            store_piece(p, tile, buffer, tile->row + (TOKENS_ARE_Q ? q0 : p0),
                        tile->col + (TOKENS_ARE_Q ? p0 : q0), thread);
#if TMA_STORE
            if (thread == 0)
                tma_store_commit(); /* a group for every piece, stored by TMA or not, so that waits count */
#endif
        }
    }
}

DEVICE void consume(const gemm_params *p, u32 ring, u32 staged, u32 full, u32 empty, int group, int thread) {
    ring_position at = {0, 0};
    u32 pieces = 0;
    tile_walk walk;
    output_tile tile;
    walk_begin(&walk, p);
    while (walk_next(&walk, p, &tile)) {
        i64 steps = tile_steps(p, &tile);
        int width = q_width(p, &tile), last_rows = (int)(tile.row_end - tile.row_begin - (steps - 1) * STEP);
        int member = group * GROUP_THREADS + thread;
        float acc[M_TILES][ACC];
        UNROLL for (int m = 0; m < M_TILES; m++) { UNROLL for (int i = 0; i < ACC; i++) acc[m][i] = 0.0f; }
#define MULTIPLY(n) multiply_tile_##n(acc, ring, full, empty, &at, steps, last_rows, group, member)
        if (width <= 16)
            MULTIPLY(16);
        else if (width <= 32)
            MULTIPLY(32);
        else if (width <= 64)
            MULTIPLY(64);
#if Q_SIZE >= 128
        else if (width <= 128)
            MULTIPLY(128);
#endif
#if Q_SIZE >= 256
        else if (width <= 192)
            MULTIPLY(192);
        else
            MULTIPLY(256);
#endif
        UNROLL for (int m = 0; m < M_TILES; m++) wgmma_hold(acc[m], ACC);
        store_share(p, &tile, acc, staged, &pieces, width, group, thread);
    }
#if TMA_STORE
    if (thread == 0) tma_store_wait_read(0);
#endif
}

KERNEL(grouped_gemm, gemm_params, CONSUMER_THREADS + GROUP_THREADS, 1) {
    SHARED_MEMORY(smem);
    u32 base = smem_addr(smem), full = base + FULL_OFFSET, empty = base + EMPTY_OFFSET;
    int group = (int)threadIdx.x / GROUP_THREADS, thread = (int)threadIdx.x % GROUP_THREADS;
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < NUM_STAGES; s++) {
            mbarrier_init(full + 8 * s, USES_TMA_LOADS + CP_ASYNC_LOADS * GROUP_THREADS);
            mbarrier_init(empty + 8 * s, NUM_WARPS);
        }
        fence_mbarrier_init();
    }
    block_sync();
    if (group == CONSUMERS) {
#if CONSUMERS == 2
        setmaxnreg_dec(PRODUCER_REGISTERS);
#endif
        if (CP_ASYNC_LOADS || thread == 0) produce(&p, base, full, empty, thread);
    } else {
#if CONSUMERS == 2
        setmaxnreg_inc(CONSUMER_REGISTERS);
#endif
        consume(&p, base, base + STAGED_OFFSET + (u32)group * 2 * PIECE_BYTES, full, empty, group, thread);
    }
}
