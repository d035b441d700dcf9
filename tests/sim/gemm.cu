/* gemm.cu: C = A B^T in two styles, cp.async and TMA with an mbarrier ring, each with seeded bugs (BUG_...).
 *
 * A (M, K), B (N, K), C (M, N) of bf16, C rounded; N a multiple of BN, K of BK, M any. Four warps. */
#include "intrinsics.h"

#ifndef BM
#define BM 64
#define BN 64
#define BK 32
#endif

typedef struct gemm_test_params {
    tensor_map map_a, map_b, map_c; /* boxes of BK (BN for C) by BM, BN, BM rows */
    const u16 *a, *b;
    u16 *c;
    i32 M, N, K;
} gemm_test_params;

enum {
    THREADS = 128,
    STAGES = 3,
    MI = BM / 32, /* warps in 2 x 2; 16-row blocks of A per warp */
    NJ = BN / 16,
    STAGE_BYTES = (BM + BN) * BK * 2,
};

/* a row of BK elements is the swizzle span: 16-byte chunk c of row r */
DEVICE u32 chunk(u32 row, u32 c) {
    u32 offset = row * BK * 2 + c * 16;
    return offset ^ (offset >> 3 & (BK * 2 - 16));
}

DEVICE void multiply_stage(float acc[MI][NJ][4], u32 tile_a, u32 tile_b) {
    u32 lane = threadIdx.x & 31, warp = threadIdx.x / 32, row = warp / 2 * (BM / 2),
        column = warp % 2 * (BN / 2);
    for (u32 k = 0; k < BK / 16; k++) {
        u32 a[MI][4], b[NJ][2];
        for (u32 i = 0; i < MI; i++)
            ldmatrix_x4(a[i], tile_a + chunk(row + 16 * i + (lane & 15), 2 * k + lane / 16));
        for (u32 j = 0; j < NJ; j += 2)
            ldmatrix_x4(b[j],
                        tile_b + chunk(column + 8 * j + (lane & 7) + lane / 16 * 8, 2 * k + (lane / 8 & 1)));
        mma_tile_bf16(acc, a, b, MI, NJ);
    }
}

#define FOR_ACCUMULATORS                                                                                     \
    u32 lane = threadIdx.x & 31, warp = threadIdx.x / 32;                                                    \
    for (u32 i = 0; i < MI; i++)                                                                             \
        for (u32 j = 0; j < NJ; j++)                                                                         \
            for (u32 q = 0, row = warp / 2 * (BM / 2) + 16 * i + lane / 4,                                   \
                     column = warp % 2 * (BN / 2) + 8 * j + lane % 4 * 2;                                    \
                 q < 4; q++)

DEVICE void load_stage(u32 stage, const gemm_test_params *p, int row0, int column0, int k0) {
    for (int i = (int)threadIdx.x; i < (BM + BN) * (BK / 8); i += THREADS) {
        int r = i / (BK / 8), c = i % (BK / 8), in_a = r < BM, row = in_a ? row0 + r : column0 + r - BM;
        int inside = row < (in_a ? p->M : p->N);
        const u16 *tensor = in_a ? p->a : p->b;
        u32 dst = stage + (in_a ? 0 : BM * BK * 2) + chunk((u32)(in_a ? r : r - BM), (u32)c);
        cp_async_16(dst, tensor + (i64)(inside ? row : 0) * p->K + k0 + 8 * c, inside ? 16 : 0);
    }
}

KERNEL(gemm_copies, gemm_test_params, THREADS, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory);
    int columns = p.N / BN, tiles = (p.M + BM - 1) / BM * columns, steps = p.K / BK;
    for (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x) {
        int row0 = tile / columns * BM, column0 = tile % columns * BN;
        float acc[MI][NJ][4] = {{{0}}};
        for (int s = 0; s < STAGES - 1; s++) {
            if (s < steps) load_stage(smem + s * STAGE_BYTES, &p, row0, column0, s * BK);
            cp_async_commit();
        }
        for (int step = 0; step < steps; step++) {
#ifndef BUG_NO_COPY_WAIT
            cp_async_wait(STAGES - 2);
#endif
#ifndef BUG_NO_SYNC
            block_sync();
#endif
            int next = step + STAGES - 1;
            if (next < steps) load_stage(smem + next % STAGES * STAGE_BYTES, &p, row0, column0, next * BK);
            cp_async_commit();
            u32 stage = smem + step % STAGES * STAGE_BYTES;
            multiply_stage(acc, stage, stage + BM * BK * 2);
        }
        cp_async_wait(0);
        block_sync();
        FOR_ACCUMULATORS {
            int r = row0 + (int)(row + q / 2 * 8);
#ifndef BUG_UNGUARDED
            if (r < p.M)
#endif
                p.c[(i64)r * p.N + column0 + (int)(column + (q & 1))] = bf16_from_float(acc[i][j][q]);
        }
    }
}

/* thread 0 keeps STAGES - 1 loads in flight and all threads multiply; the result goes out by TMA */
KERNEL(gemm_tma, gemm_test_params, THREADS, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), result = smem + STAGES * STAGE_BYTES, full = result + BM * BN * 2;
    u32 empty = full + 8 * STAGES;
    int columns = p.N / BN, tiles = (p.M + BM - 1) / BM * columns, steps = p.K / BK;
    u32 loaded = 0, used = 0; /* stages since the start, over all tiles */
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < STAGES; s++) {
            mbarrier_init(full + 8 * s, 1);
            mbarrier_init(empty + 8 * s, THREADS);
        }
        fence_mbarrier_init();
    }
#ifndef BUG_NO_INIT_SYNC
    block_sync();
#endif
    for (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x) {
        int row0 = tile / columns * BM, column0 = tile % columns * BN;
        float acc[MI][NJ][4] = {{{0}}};
        for (int step = 1 - STAGES; step < steps; step++) {
            int next = step + STAGES - 1;
            if (next < steps) {
                u32 s = loaded % STAGES, parity = loaded / STAGES & 1, stage = smem + s * STAGE_BYTES;
                if (threadIdx.x == 0) {
#ifdef BUG_WRONG_PHASE
                    mbarrier_wait(empty + 8 * s, parity);
#elif !defined(BUG_NO_EMPTY_WAIT)
                    mbarrier_wait(empty + 8 * s, parity ^ 1);
#endif
#ifdef BUG_SMALL_TX
                    mbarrier_arrive_expect_tx(full + 8 * s, BM * BK * 2);
#else
                    mbarrier_arrive_expect_tx(full + 8 * s, STAGE_BYTES);
#endif
                    tma_load_2d(stage, &p.map_a, next * BK, row0, full + 8 * s);
                    tma_load_2d(stage + BM * BK * 2, &p.map_b, next * BK, column0, full + 8 * s);
                }
                loaded++;
            }
            if (step < 0) continue;
            u32 s = used % STAGES, parity = used / STAGES & 1, stage = smem + s * STAGE_BYTES;
#ifndef BUG_NO_FULL_WAIT
            mbarrier_wait(full + 8 * s, parity);
#endif
            multiply_stage(acc, stage, stage + BM * BK * 2);
            mbarrier_arrive(empty + 8 * s);
            used++;
        }
        /* boxes of C are 64 columns wide: 128-byte swizzle */
        FOR_ACCUMULATORS {
            u32 r = row + q / 2 * 8, c = column + (q & 1), offset = r * 128 + c % 64 * 2;
            *(u16 *)(memory + (result - smem) + c / 64 * BM * 128 + (offset ^ (offset >> 3 & 0x70))) =
                bf16_from_float(acc[i][j][q]);
        }
        fence_proxy_async();
#ifndef BUG_NO_STORE_SYNC
        block_sync();
#endif
        if (threadIdx.x == 0) {
            for (u32 c = 0; c < BN; c += 64)
                tma_store_2d(&p.map_c, column0 + (int)c, row0, result + c / 64 * BM * 128);
            tma_store_commit();
#ifndef BUG_NO_STORE_WAIT
            tma_store_wait_read(0);
#endif
        }
        block_sync();
    }
#ifdef BUG_NO_STORE_WAIT
    if (threadIdx.x == 0) tma_store_wait_read(0);
#endif
}
