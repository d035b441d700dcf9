/* kernels.cu: one small kernel per wrapper whose meaning hardware defines: fragments, swizzles, descriptors, boxes, counting.
 * What lies in registers or shared memory goes to out as it lies there. */
#include "intrinsics.h"

typedef struct conformance_params {
    tensor_map map;
    const u32 *in;
    u32 *out;
    i32 x, y, z, bytes, u, v;
} conformance_params;

DEVICE void fill(u32 smem, const u32 *in, u32 bytes) {
    for (u32 i = threadIdx.x * 4; i < bytes; i += blockDim.x * 4) smem_store_4(smem + i, in[i / 4]);
    block_sync();
}
DEVICE void empty(u32 *out, u32 smem, u32 bytes) {
    block_sync();
    for (u32 i = threadIdx.x * 4; i < bytes; i += blockDim.x * 4) out[i / 4] = smem_load_4(smem + i);
}

KERNEL(ldmatrix, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), lane = threadIdx.x, r[4];
    fill(smem, p.in, 512);
    ldmatrix_x4(r, smem + (lane ^ 5) * 16);
    for (u32 m = 0; m < 4; m++) p.out[lane * 8 + m] = r[m];
    ldmatrix_x4_trans(r, smem + (lane ^ 5) * 16);
    for (u32 m = 0; m < 4; m++) p.out[lane * 8 + 4 + m] = r[m];
}

KERNEL(stmatrix, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), lane = threadIdx.x, r[4];
    for (u32 m = 0; m < 4; m++) r[m] = p.in[lane * 4 + m];
    stmatrix_x4(smem + (lane ^ 9) * 16, r);
    stmatrix_x4_trans(smem + 512 + (lane ^ 9) * 16, r);
    empty(p.out, smem, 1024);
}

KERNEL(mma, conformance_params, 32, 1) {
    u32 lane = threadIdx.x, a[4], b[2];
    float c[4];
    for (u32 q = 0; q < 4; q++) a[q] = p.in[lane * 4 + q];
    for (u32 q = 0; q < 2; q++) b[q] = p.in[128 + lane * 2 + q];
    for (u32 q = 0; q < 4; q++) c[q] = (float)(lane * 4 + q);
    if (p.x)
        mma_m16n8k16_fp16(c, a, b);
    else
        mma_m16n8k16_bf16(c, a, b);
    for (u32 q = 0; q < 4; q++) p.out[lane * 4 + q] = bits_from_float(c[q]);
}

KERNEL(shuffles, conformance_params, 32, 1) {
    u32 t = threadIdx.x, v = p.in[t];
    p.out[t] = shuffle(v, (int)(t * 7 + 3) & 31);
    p.out[32 + t] = shuffle_xor(v, 21);
}

KERNEL(warps, conformance_params, 32, 1) {
    u32 t = threadIdx.x, v = p.in[t];
    p.out[t] = warp_max(v);
    p.out[32 + t] = warp_ballot((int)(v & 4));
    p.out[64 + t] = warp_match(v % 5);
    p.out[96 + t] = (u32)(count_bits(v) * 100 + lowest_bit(v | 0x100));
}

/* Which NaN comes out is not part of a conversion's meaning here. */
DEVICE u32 one_nan(u32 bits) { return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : bits; }
DEVICE u32 one_nan_16(u32 bits, u32 infinity) { return (bits & 0x7fff) > infinity ? 0x7fff : bits; }
KERNEL(conversions, conformance_params, 256, 1) {
    for (u32 i = threadIdx.x; i < 4096; i += 256) {
        float value = float_from_bits(p.in[i]);
        p.out[3 * i] = one_nan_16(bf16_from_float(value), 0x7f80) | one_nan_16(fp16_from_float(value), 0x7c00)
                                                                        << 16;
        p.out[3 * i + 1] = one_nan(bits_from_float(float_from_fp16((u16)(i * 16 + 5))));
        float sum = fma_f32(float_from_bf16((u16)(p.in[i] & 0xbfff)), 1.1f,
                            mul_f32(1.3f, float_from_bf16((u16)(i | 0x3000))));
        p.out[3 * i + 2] = one_nan(bits_from_float(sum));
    }
}

KERNEL(copies, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), t = threadIdx.x;
    for (u32 i = 0; i < 4; i++) smem_store_4(smem + t * 16 + 4 * i, 0x55555555);
    cp_async_16(smem + t * 16, p.in + 4 * t, (int)t % 2 * 16);
    cp_async_commit();
    cp_async_wait(0);
    empty(p.out, smem, 512);
}

/* RANK 2 to 4 or, of loads, 5; with ONCE 3, with KEPT 4; the barrier expects whole boxes, also where they lie partly outside the tensor. */
#ifndef RANK
#define RANK 2
#endif
#ifndef ONCE
#define ONCE 0
#endif
#ifndef KEPT
#define KEPT 0
#endif
KERNEL(box_load, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 box = smem_addr(memory), barrier = box + (u32)p.bytes;
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        fence_mbarrier_init();
        mbarrier_arrive_expect_tx(barrier, (u32)p.bytes);
        tma_prefetch_map(&p.map);
        if (RANK == 2)
            tma_load_2d(box, &p.map, p.x, p.y, barrier);
        else if (RANK == 4)
            tma_load_4d(box, &p.map, p.x, p.y, p.z, p.u, barrier);
        else if (RANK == 5)
            tma_load_5d(box, &p.map, p.x, p.y, p.z, p.u, p.v, barrier);
        else
            tma_load_3d(box, &p.map, p.x, p.y, p.z, barrier);
    }
    block_sync();
    mbarrier_wait(barrier, 0);
    empty(p.out, box, (u32)p.bytes);
}
KERNEL(box_store, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 box = smem_addr(memory);
    fill(box, p.in, (u32)p.bytes);
    fence_proxy_async();
    block_sync();
    if (threadIdx.x == 0) {
        if (RANK == 2)
            tma_store_2d(&p.map, p.x, p.y, box);
        else if (KEPT)
            tma_store_4d_kept(&p.map, p.x, p.y, p.z, p.u, box);
        else if (RANK == 4)
            tma_store_4d(&p.map, p.x, p.y, p.z, p.u, box);
        else if (ONCE)
            tma_store_3d_once(&p.map, p.x, p.y, p.z, box);
        else
            tma_store_3d(&p.map, p.x, p.y, p.z, box);
        tma_store_commit();
        tma_store_wait(0);
    }
}

/* A phase ends with the last arrival and the last byte, whichever comes later; bytes may come first. */
KERNEL(counting, conformance_params, 64, 1) {
    SHARED_MEMORY(memory);
    u32 box = smem_addr(memory), barrier = box + (u32)p.bytes;
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 3);
        fence_mbarrier_init();
    }
    block_sync();
    for (u32 round = 0; round < 6; round++) {
        if (threadIdx.x == 0) {
            tma_load_2d(box, &p.map, p.x, p.y + (int)round, barrier);
            mbarrier_arrive(barrier);
        }
        if (threadIdx.x == 32) mbarrier_arrive_expect_tx(barrier, (u32)p.bytes);
        if (threadIdx.x == 33) mbarrier_arrive(barrier);
        mbarrier_wait(barrier, round & 1);
        p.out[round * 64 + threadIdx.x] = smem_load_4(box + 4 * threadIdx.x);
        block_sync();
    }
}

/* What flags between blocks leave; that they order is the simulator's affair. */
KERNEL(flags, conformance_params, 32, 1) {
    atomic_add_release_u32(p.out, p.in[threadIdx.x]);
    fence_device();
    warp_sync();
    if (threadIdx.x == 0) {
        store_release_u32(p.out + 1, p.in[1]);
        p.out[2] = load_acquire_u32(p.out) + load_acquire_u32(p.out + 1);
    }
}

KERNEL(mma_tiles, conformance_params, 32, 1) {
    u32 lane = threadIdx.x, a[2][4], b[3][2];
    float acc[2][3][4];
    for (u32 i = 0; i < 8; i++) a[i / 4][i % 4] = p.in[lane * 8 + i];
    for (u32 i = 0; i < 6; i++) b[i / 2][i % 2] = p.in[256 + lane * 6 + i];
    for (u32 i = 0; i < 24; i++) acc[i / 12][i / 4 % 3][i % 4] = (float)(lane * 24 + i);
    if (p.x)
        mma_tile_fp16(acc, a, b, 2, 3);
    else
        mma_tile_bf16(acc, a, b, 2, 3);
    for (u32 i = 0; i < 24; i++) p.out[lane * 24 + i] = bits_from_float(acc[i / 12][i / 4 % 3][i % 4]);
}

/* Parts of a warp, one lane of it (which one is not told), some warps of a block. */
KERNEL(groups, conformance_params, 128, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), t = threadIdx.x, warp = t / 32, v = p.in[t];
    p.out[t] = shuffle_within(v, (int)(t * 5 + 3) & 7, 8);
    p.out[128 + t] = shuffle_within(v, (int)(t * 3 + 1) & 15, 16);
    u32 elected = warp_ballot(elect_one()), again = warp_ballot(elect_one());
    p.out[256 + t] = (u32)count_bits(elected) + 100 * (elected == again);
    for (u32 round = 0; round < 4; round++) {
        if (warp == 1) {
            smem_store_4(smem + 4 * (t % 32), v + round);
            named_arrive(1, 96);
            named_sync(2, 96);
        } else if (warp > 1) {
            named_sync(1, 96);
            p.out[384 + round * 64 + t - 64] = smem_load_4(smem + 4 * (31 - t % 32));
            named_sync(2, 96);
        }
    }
}

KERNEL(wide, conformance_params, 64, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), t = threadIdx.x;
    smem_store_16(smem + 16 * t, load_16(p.in + 4 * t));
    block_sync();
    u32x4 v = smem_load_16(smem + 16 * (63 - t));
    v.w = smem_load_4(smem + 16 * t + 4);
    store_16(p.out + 4 * t, v);
}

KERNEL(pairs, conformance_params, 256, 1) {
    for (u32 i = threadIdx.x; i < 4096; i += 256) {
        float low = float_from_bits(p.in[i]), high = float_from_bits(p.in[i + 1]);
        u32 bf16 = bf16_pair_from_floats(low, high), fp16 = fp16_pair_from_floats(low, high);
        p.out[3 * i] = one_nan_16(bf16 & 0xffff, 0x7f80) | one_nan_16(bf16 >> 16, 0x7f80) << 16;
        p.out[3 * i + 1] = one_nan_16(fp16 & 0xffff, 0x7c00) | one_nan_16(fp16 >> 16, 0x7c00) << 16;
        p.out[3 * i + 2] = one_nan(bits_from_float(add_f32(low, high)));
    }
}

KERNEL(atomics, conformance_params, 64, 1) {
    u64 *wide = (u64 *)p.out;
    atomic_add_u64(wide, (u64)p.in[threadIdx.x] << 20);
    atomic_min_u64(wide + 1, ((u64)p.in[threadIdx.x] << 32) + threadIdx.x);
    atomic_add_u32(p.out + 4, p.in[threadIdx.x]);
    block_sync();
    if (threadIdx.x > 0) return;
    p.out[5] = atomic_add_u32(p.out + 4, 3);
    wide[3] = atomic_add_u64(wide, 5);
    wide[4] = atomic_min_u64(wide + 1, 7);
}

/* Their last places are not told: whether each is within 2^-22, and what they make of what is not a normal number. */
KERNEL(approximations, conformance_params, 256, 1) {
    for (u32 i = threadIdx.x; i < 4096; i += 256) {
        /* 2^x is 2^whole, which divides it exactly, times the series of 2^part */
        float x = (float)(int)(p.in[i] % 250000) * 0.001f - 125.0f, half = x < 0 ? -0.5f : 0.5f;
        int whole = (int)(x + half);
        double y = ((double)x - whole) * 0.693147180559945309417, sum = 1.0;
        for (int term = 15; term > 0; term--) sum = 1.0 + sum * y / term;
        double error = (double)exp2_approx(x) * float_from_bits((u32)(127 - whole) << 23) - sum;
        p.out[4 * i] = error <= sum * 0x1p-22 && error >= sum * -0x1p-22;
        /* 2^-125 to 2^125 of either sign */
        float z = float_from_bits((p.in[i] & 0x807fffff) | (2 + p.in[i] / 31 % 251) << 23);
        error = (double)z * reciprocal_approx(z) - 1.0;
        p.out[4 * i + 1] = error <= 0x1p-22 && error >= -0x1p-22;
    }
    if (threadIdx.x > 0) return;
    const u32 special[] = {0,          0x80000000, 1,          0x80000001, 0x007fffff,
                           0x807fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x43000000,
                           0xc2fe0000, 0x7f000001, 0xff7fffff, 0x3f800000};
    for (u32 i = 0; i < sizeof special / sizeof *special; i++) {
        p.out[4 * i + 2] = one_nan(bits_from_float(exp2_approx(float_from_bits(special[i]))));
        p.out[4 * i + 3] = one_nan(bits_from_float(reciprocal_approx(float_from_bits(special[i]))));
    }
}

/* A phase of 33 arrivals: the copies of 32 threads, each when it has landed, and one more. */
KERNEL(arrivals, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), barrier = smem + (u32)p.bytes, t = threadIdx.x;
    if (t == 0) {
        mbarrier_init(barrier, 33);
        fence_mbarrier_init();
    }
    block_sync();
    for (u32 round = 0; round < 4; round++) {
        cp_async_16(smem + t * 16, p.in + 4 * (t + 32 * round), 16);
        cp_async_commit_arrive(barrier);
        if (t == round) mbarrier_arrive(barrier);
        mbarrier_wait(barrier, round & 1);
        for (u32 i = 0; i < 4; i++)
            p.out[128 * round + 4 * t + i] = smem_load_4(smem + (31 - t) * 16 + 4 * i);
        block_sync();
    }
    cp_async_wait(0);
}

/* What is on its way into L2 is read and written as if it were not, and so is what lies beside it. */
KERNEL(prefetching, conformance_params, 32, 1) {
    u32 t = threadIdx.x, *out = p.out + 512 * t;
    const u32 *in = p.in + 256 * t;
    prefetch_l2(in, 1024);
    prefetch_l2(out + 128, t % 2 ? 16 : 1024);
    for (u32 i = 0; i < 256; i++) out[i] = in[i] + t;
    prefetch_l2(out, 1024);
    warp_sync();
    for (u32 i = 0; i < 128; i++) out[384 + i] = p.out[512 * ((t + 1) % 32) + i] * 3;
}

/* A box of what plain code wrote to global memory, stored beside it; its place in shared memory is free when the store has
 * read it. */
KERNEL(proxies, conformance_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 box = smem_addr(memory), barrier = box + (u32)p.bytes;
    for (u32 i = threadIdx.x; i < 1024; i += 32) p.out[i] = p.in[i];
    fence_proxy_async_global();
    if (threadIdx.x == 0) mbarrier_init(barrier, 1);
    fence_mbarrier_init();
    block_sync();
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(barrier, (u32)p.bytes);
        tma_load_2d(box, &p.map, 8, 3, barrier);
        mbarrier_wait(barrier, 0);
        tma_store_2d(&p.map, p.x, 12, box);
        tma_store_commit();
        tma_store_wait_read(0);
        for (u32 i = 0; i < (u32)p.bytes; i += 4) smem_store_4(box + i, 0);
        tma_store_wait(0);
    }
}

#ifdef N
/* Shared memory is filled as `in` lies: a, 64 rows of 128 bytes (MN-major: 32), then b; swizzle and majors are the
 * descriptors' affair. Two products of k16. */
DEVICE u64 descriptor(u32 address) {
    return (u64)(address >> 4) | (u64)(4096 >> 4) << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}
KERNEL(product, conformance_params, 128, 1) {
    SHARED_MEMORY(memory);
    u32 a = smem_addr(memory), b = a + 8192;
    float acc[N / 2];
    fill(a, p.in, 8192 + 32768);
    fence_proxy_async();
    block_sync();
    UNROLL for (int i = 0; i < N / 2; i++) acc[i] = (float)((int)threadIdx.x - i);
    wgmma_fence();
    wgmma(N, TYPE, TA, TB, acc, descriptor(a), descriptor(b), p.x);
    wgmma(N, TYPE, TA, TB, acc, descriptor(a + (TA ? 2048 : 32)), descriptor(b + (TB ? 2048 : 32)), 1);
    wgmma_commit();
    wgmma_wait(0);
    wgmma_hold(acc, N / 2);
    UNROLL for (int i = 0; i < N / 2; i++) p.out[(int)threadIdx.x * (N / 2) + i] = bits_from_float(acc[i]);
}
#endif
