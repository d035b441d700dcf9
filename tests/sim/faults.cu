/* faults.cu: kernels with one fault each, or without it when CORRECT is defined. */
#include "intrinsics.h"

#ifdef CORRECT
#define IF_WRONG(wrong, right) right
#else
#define IF_WRONG(wrong, right) wrong
#endif

typedef struct fault_params {
    tensor_map map;
    const u32 *in; /* 4096 bytes */
    u32 *out;      /* 4096 bytes */
    i32 zero, many;
} fault_params;

KERNEL(load_outside, fault_params, 64, 1) {
    SHARED_MEMORY(memory);
    p.out[threadIdx.x] = smem_load_4(smem_addr(memory) + IF_WRONG(4096 - 4 * 63, 0) + 4 * threadIdx.x);
}

KERNEL(store_misaligned, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    smem_store_16(smem_addr(memory) + IF_WRONG(8, 16), load_16(p.in));
}

KERNEL(copy_misaligned, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    cp_async_16(smem_addr(memory) + 16 * threadIdx.x, p.in + 4 * threadIdx.x + IF_WRONG(2, 0), 16);
    cp_async_wait(0);
    cp_async_commit();
    cp_async_wait(0);
}

KERNEL(copy_outside, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    cp_async_16(smem_addr(memory) + 16 * threadIdx.x, p.in + 1024 - 4 * 32 + 4 * threadIdx.x + IF_WRONG(4, 0),
                16);
    cp_async_commit();
    cp_async_wait(0);
}

KERNEL(prefetch_misaligned, fault_params, 32, 1) { prefetch_l2(p.in + IF_WRONG(2, 0), 512); }

KERNEL(prefetch_in_part, fault_params, 32, 1) { prefetch_l2(p.in, IF_WRONG(24, 16)); }

KERNEL(prefetch_outside, fault_params, 32, 1) { prefetch_l2(p.in + 1024 - 128 + IF_WRONG(4, 0), 512); }

KERNEL(prefetch_early, fault_params, 32, 1) {
    IF_WRONG(prefetch_l2(p.in, 512), (void)0);
    grid_wait();
    prefetch_l2(p.in, 512);
}

KERNEL(copy_left, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    cp_async_16(smem_addr(memory) + 16 * threadIdx.x, p.in, 16);
    cp_async_commit();
    IF_WRONG((void)0, cp_async_wait(0));
}

KERNEL(ldmatrix_misaligned, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 r[4];
    ldmatrix_x4(r, smem_addr(memory) + 16 * threadIdx.x + IF_WRONG(4, 0));
    p.out[threadIdx.x] = r[0];
}

KERNEL(ldmatrix_diverged, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 r[4];
    if (threadIdx.x IF_WRONG(== 7, > 31))
        ldmatrix_x4(r, smem_addr(memory));
    else
        ldmatrix_x4(r, smem_addr(memory) + 16 * threadIdx.x);
    p.out[threadIdx.x] = r[0];
}

KERNEL(transfer_misaligned, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), barrier = smem;
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        mbarrier_arrive_expect_tx(barrier, 1024);
        tma_load_2d(smem + IF_WRONG(512, 1024), &p.map, 0, 0, barrier);
    }
    block_sync();
    mbarrier_wait(barrier, 0);
}

KERNEL(transfer_left, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), barrier = smem;
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        mbarrier_arrive_expect_tx(barrier, 1024);
        tma_load_2d(smem + 1024, &p.map, 0, 0, barrier);
        IF_WRONG((void)0, mbarrier_wait(barrier, 0));
    }
}

KERNEL(store_left, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    if (threadIdx.x == 0) {
        tma_store_2d(&p.map, 0, 0, smem_addr(memory) + 1024);
        tma_store_commit();
        IF_WRONG((void)0, tma_store_wait_read(0));
    }
}

KERNEL(store_before, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    if (threadIdx.x == 0) {
        tma_store_2d(&p.map, IF_WRONG(-8, 8), 0, smem_addr(memory) + 1024);
        tma_store_commit();
        tma_store_wait_read(0);
    }
}

KERNEL(map_missing, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    tensor_map other = {{0}};
    if (threadIdx.x == 0) {
        tma_store_2d(IF_WRONG(&other, &p.map), 0, 0, smem_addr(memory) + 1024);
        tma_store_commit();
        tma_store_wait(0);
    }
    (void)other;
}

KERNEL(arrive_twice, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 barrier = smem_addr(memory);
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        mbarrier_arrive_expect_tx(barrier, 1024);
        IF_WRONG(mbarrier_arrive(barrier), (void)0);
        tma_load_2d(barrier + 1024, &p.map, 0, 0, barrier);
        mbarrier_wait(barrier, 0);
    }
}

KERNEL(barrier_missing, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 barrier = smem_addr(memory);
    if (threadIdx.x == 0) mbarrier_init(barrier, 32);
    block_sync();
    mbarrier_arrive(barrier + IF_WRONG(8, 0));
}

KERNEL(barrier_overwritten, fault_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 barrier = smem_addr(memory);
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        smem_store_4(barrier + IF_WRONG(0, 8), 0);
        mbarrier_arrive(barrier);
    }
}

KERNEL(deadlock, fault_params, 96, 1) {
    SHARED_MEMORY(memory);
    u32 barrier = smem_addr(memory);
    if (threadIdx.x == 0) mbarrier_init(barrier, 2);
    block_sync();
    if (threadIdx.x >= 64) return;
    if (threadIdx.x == 32) mbarrier_arrive(barrier);
    IF_WRONG((void)0, if (threadIdx.x == 33) mbarrier_arrive(barrier));
    if (threadIdx.x < 32)
        mbarrier_wait(barrier, 0);
    else
        IF_WRONG(named_sync(3, 64), warp_sync());
}

KERNEL(barrier_counts, fault_params, 64, 1) {
    named_sync(1, threadIdx.x < 32 ? IF_WRONG(48 + p.zero, 64) : 64);
}
KERNEL(barrier_mismatch, fault_params, 96, 1) {
    if (threadIdx.x < 32)
        named_arrive(1, IF_WRONG(64, 96));
    else
        named_sync(1, 96);
}

KERNEL(trapped, fault_params, 32, 1) {
    if (threadIdx.x == 9 && IF_WRONG(1, 0)) device_trap();
}

KERNEL(wild_read, fault_params, 32, 1) { p.out[threadIdx.x] = p.in[IF_WRONG(p.many, 0)]; }
KERNEL(null_write, fault_params, 32, 1) { *IF_WRONG((volatile u32 *)(u64)p.zero, (volatile u32 *)p.out) = 1; }
KERNEL(divide, fault_params, 32, 1) { p.out[threadIdx.x] = (u32)(p.many / IF_WRONG(p.zero, 1)); }

DEVICE u32 deep(u32 n) {
    volatile u32 ballast[256];
    ballast[n & 255] = n;
    return n ? deep(n - 1) + ballast[n & 255] : 0;
}
KERNEL(overflow, fault_params, 32, 1) { p.out[threadIdx.x] = deep(IF_WRONG(1000, 4)); }
