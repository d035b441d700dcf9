/* wrappers.cu: one small kernel per wrapper of intrinsics.h, for checking each against a plain expectation.
 */
#include "intrinsics.h"

typedef struct wrapper_params {
    tensor_map map;
    const u32 *in;
    u32 *out;
    i32 x, y, z, bytes, u, v;
} wrapper_params;

/* copies `bytes` of in to shared memory with all threads, without any asynchrony */
DEVICE void fill_shared(u32 smem, const u32 *in, int bytes) {
    for (u32 i = threadIdx.x; i < (u32)bytes / 4; i += blockDim.x) smem_store_4(smem + 4 * i, in[i]);
    block_sync();
}

/* in: 32 rows of 16 bytes; row address of lane i is row (i ^ 5), so that a swap of lanes shows */
KERNEL(ldmatrix, wrapper_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), lane = threadIdx.x, r[4];
    fill_shared(smem, p.in, 512);
    ldmatrix_x4(r, smem + (lane ^ 5) * 16);
    for (int m = 0; m < 4; m++) p.out[lane * 8 + m] = r[m];
    ldmatrix_x4_trans(r, smem + (lane ^ 5) * 16);
    for (int m = 0; m < 4; m++) p.out[lane * 8 + 4 + m] = r[m];
}

#ifndef MI
#define MI 1
#define NJ 1
#endif
/* in: A of 16 MI x 16 row-major, then B of 8 NJ x 16 (column n's 16 values together), both 16-bit; out: C,
 * which is also added to */
#define FRAGMENTS                                                                                            \
    u32 lane = threadIdx.x, g = lane >> 2, t = lane & 3, a[MI][4], b[NJ][2];                                 \
    float acc[MI][NJ][4], *c = (float *)p.out;                                                               \
    for (int i = 0; i < MI; i++)                                                                             \
        for (int q = 0; q < 4; q++) a[i][q] = p.in[(16 * i + g + (q & 1) * 8) * 8 + t + (q >> 1) * 4];       \
    for (int j = 0; j < NJ; j++)                                                                             \
        for (int q = 0; q < 2; q++) b[j][q] = p.in[MI * 128 + (8 * j + g) * 8 + t + q * 4];                  \
    for (int i = 0; i < MI; i++)                                                                             \
        for (int j = 0; j < NJ; j++)                                                                         \
            for (int q = 0; q < 4; q++)                                                                      \
                acc[i][j][q] = c[(16 * i + g + (q >> 1) * 8) * 8 * NJ + 8 * j + 2 * t + (q & 1)];
#define RESULTS                                                                                              \
    for (int i = 0; i < MI; i++)                                                                             \
        for (int j = 0; j < NJ; j++)                                                                         \
            for (int q = 0; q < 4; q++)                                                                      \
                c[(16 * i + g + (q >> 1) * 8) * 8 * NJ + 8 * j + 2 * t + (q & 1)] = acc[i][j][q];

KERNEL(mma_bf16, wrapper_params, 32, 1) {
    FRAGMENTS
    mma_tile_bf16(acc, a, b, MI, NJ);
    RESULTS
}
KERNEL(mma_fp16, wrapper_params, 32, 1) {
    FRAGMENTS
    mma_tile_fp16(acc, a, b, MI, NJ);
    RESULTS
}
KERNEL(mma_single, wrapper_params, 32, 1) {
    FRAGMENTS
    for (int i = 0; i < MI; i++) {
        for (int j = 0; j < NJ; j++) {
            if (p.x)
                mma_m16n8k16_fp16(acc[i][j], a[i], b[j]);
            else
                mma_m16n8k16_bf16(acc[i][j], a[i], b[j]);
        }
    }
    RESULTS
}

KERNEL(shuffles, wrapper_params, 64, 1) {
    u32 t = threadIdx.x, v = p.in[t];
    p.out[t] = shuffle(v, (int)(t * 7 + 3) & 31);
    p.out[64 + t] = shuffle_xor(v, 16);
    p.out[128 + t] = shuffle_xor(shuffle(v, 31), 1);
}

KERNEL(warps, wrapper_params, 64, 1) {
    u32 t = threadIdx.x, v = p.in[t];
    p.out[t] = warp_max(v);
    p.out[64 + t] = warp_ballot((int)(v & 4));
    p.out[128 + t] = warp_match(v % 5);
    p.out[192 + t] = (u32)(count_bits(v) * 100 + lowest_bit(v));
}

/* out[i] of every 16-bit pattern: fp16 -> float -> fp16, and the float's bits rounded to bf16 and fp16 */
KERNEL(conversions, wrapper_params, 256, 1) {
    u16 *fp16 = (u16 *)(p.out + 65536), *bf16 = fp16 + 65536;
    for (u32 i = threadIdx.x; i < 65536; i += 256) {
        p.out[i] = bits_from_float(float_from_fp16((u16)i));
        fp16[i] = fp16_from_float(float_from_bits(p.in[i]));
        bf16[i] = bf16_from_float(float_from_bits(p.in[i]));
    }
}

/* in: pairs of floats and a third */
KERNEL(arithmetic, wrapper_params, 32, 1) {
    const float *in = (const float *)p.in + 3 * threadIdx.x;
    p.out[threadIdx.x] = bits_from_float(fma_f32(in[0], in[1], in[2]));
    p.out[32 + threadIdx.x] = bits_from_float(add_f32(mul_f32(in[0], in[1]), in[2]));
}

KERNEL(plain, wrapper_params, 64, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), t = threadIdx.x;
    u32x4 v = load_16(p.in + 4 * t);
    smem_store_16(smem + 16 * t, v);
    block_sync();
    v = smem_load_16(smem + 16 * (63 - t));
    v.w = smem_load_4(smem + 16 * t + 4);
    store_16(p.out + 4 * t, v);
}

KERNEL(mirror, wrapper_params, 1024, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), t = threadIdx.x;
    smem_store_4(smem + 4 * t, p.in[t]);
    block_sync();
    p.out[t] = smem_load_4(smem + 4 * (blockDim.x - 1 - t)) + gridDim.x;
}

KERNEL(atomics, wrapper_params, 64, 1) {
    u64 *wide = (u64 *)p.out;
    atomic_add_u64(wide, (u64)threadIdx.x << 32);
    atomic_min_u64(wide + 1, 1000 - threadIdx.x);
    atomic_add_u32(p.out + 4, 1);
}

/* block b writes the number of blocks before it */
KERNEL(block_order, wrapper_params, 32, 1) {
    if (threadIdx.x == 0) p.out[1 + blockIdx.x] = atomic_add_u32(p.out, 1);
}

/* warp 1 hands rounds to warps 2 and 3 by named barriers, which it joins by arriving only; warp 0 does
 * nothing */
KERNEL(named, wrapper_params, 128, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    for (u32 round = 0; round < 8; round++) {
        if (warp == 1) {
            smem_store_4(smem + 4 * lane, p.in[lane] + round);
#ifndef BUG_NO_ARRIVE
            named_arrive(1, 96);
#endif
            named_sync(2, 96);
        } else if (warp > 1) {
            named_sync(1, 96);
            p.out[round * 64 + threadIdx.x - 64] = smem_load_4(smem + 4 * (31 - lane));
            named_sync(2, 96);
        }
    }
}

/* out: what a thread sees before and after waiting for its group */
KERNEL(copies, wrapper_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory) + 32 * threadIdx.x, t = threadIdx.x;
    cp_async_16(smem, p.in + 4 * t, 16);
    cp_async_commit();
    cp_async_16(smem + 16, p.in + 4 * t, (int)(t % 17));
    cp_async_commit();
    store_16(p.out + 16 * t, smem_load_16(smem));
    cp_async_wait(1);
    store_16(p.out + 16 * t + 4, smem_load_16(smem));
    store_16(p.out + 16 * t + 8, smem_load_16(smem + 16));
    cp_async_wait(0);
    store_16(p.out + 16 * t + 12, smem_load_16(smem + 16));
}

/* One box at (x, y, z) into shared memory, which goes to out as it lies there. RANK 2, 3 or, of loads, 5. */
#ifndef RANK
#define RANK 2
#endif
KERNEL(box_load, wrapper_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 box = smem_addr(memory), barrier = box + (u32)p.bytes;
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        fence_mbarrier_init();
        mbarrier_arrive_expect_tx(barrier, (u32)p.bytes);
        tma_prefetch_map(&p.map);
        if (RANK == 2)
            tma_load_2d(box, &p.map, p.x, p.y, barrier);
        else if (RANK == 5)
            tma_load_5d(box, &p.map, p.x, p.y, p.z, p.u, p.v, barrier);
        else
            tma_load_3d(box, &p.map, p.x, p.y, p.z, barrier);
    }
    block_sync();
    mbarrier_wait(barrier, 0);
    for (u32 i = threadIdx.x; i < (u32)p.bytes / 4; i += 32) p.out[i] = smem_load_4(box + 4 * i);
}

/* in, as it shall lie in shared memory, to the box at (x, y, z) */
KERNEL(box_store, wrapper_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 box = smem_addr(memory);
    fill_shared(box, p.in, p.bytes);
    fence_proxy_async();
    block_sync();
    if (threadIdx.x == 0) {
        if (RANK == 2)
            tma_store_2d(&p.map, p.x, p.y, box);
        else
            tma_store_3d(&p.map, p.x, p.y, p.z, box);
        tma_store_commit();
#ifdef BUG_OVERWRITE /* shared memory is reused before the store has read it */
        smem_store_4(box, 0);
#endif
        tma_store_wait_read(0);
        smem_store_4(box + 4, 0);
        tma_store_wait(0);
    }
}

/* warp 1 produces 16 rounds into a ring of two slots, warp 0 consumes them; out: the rounds as seen */
KERNEL(phases, wrapper_params, 64, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), full = smem + 1024, empty = full + 16, lane = threadIdx.x & 31;
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < 2; s++) {
            mbarrier_init(full + 8 * s, 32);
            mbarrier_init(empty + 8 * s, 32);
        }
        fence_mbarrier_init();
    }
    block_sync();
    for (u32 round = 0; round < 16; round++) {
        u32 s = round & 1, parity = round >> 1 & 1, at = smem + 128 * s + 4 * lane;
        if (threadIdx.x >= 32) {
#ifndef BUG_NO_EMPTY_WAIT
            mbarrier_wait(empty + 8 * s, parity ^ 1);
#endif
            smem_store_4(at, 1000 * round + lane);
            mbarrier_arrive(full + 8 * s);
        } else {
            mbarrier_wait(full + 8 * s, parity);
            p.out[32 * round + lane] = smem_load_4(smem + 128 * s + 4 * (31 - lane));
            mbarrier_arrive(empty + 8 * s);
        }
    }
}
