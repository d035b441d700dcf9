/* blocks.cu: blocks that wait for each other, and what a launch may do with global memory; one bug each by macro. */
#include "intrinsics.h"

typedef struct blocks_params {
    tensor_map map; /* over data: (blocks, 64) of 16-bit values, boxes of 64 x 1 */
    u32 *data;      /* (blocks, 32) */
    u32 *flags;     /* (blocks) and one more, zero */
    u32 *out;       /* (blocks, 32) */
    const u32 *in;  /* (blocks, 32) */
} blocks_params;

/* Each block adds one to the row of the block before it, block 0 to zeros, and hands its own on. */
KERNEL(chain, blocks_params, 64, 1) {
    u32 b = blockIdx.x, t = threadIdx.x;
    if (b) {
        if (t == 0)
#ifdef BUG_RELAXED_LOOK
            while (!atomic_add_u32(p.flags + b - 1, 0)) {}
#else
            while (!load_acquire_u32(p.flags + b - 1)) {}
#endif
#ifndef BUG_NO_BARRIER_AFTER_LOOK
        block_sync();
#endif
    }
    if (t < 32) p.data[b * 32 + t] = b ? p.data[b * 32 - 32 + t] + 1 : 1;
#ifndef BUG_NO_BARRIER_BEFORE_RELEASE
    block_sync();
#endif
#ifdef BUG_RELAXED_RELEASE
    if (t == 0) atomic_add_u32(p.flags + b, 1);
#elif defined BUG_PLAIN_FLAG
    if (t == 0) p.flags[b] = 1;
#else
    if (t == 0) store_release_u32(p.flags + b, 1);
#endif
}

/* The last block to finish adds up what all have written: a relaxed atomic between fences. */
KERNEL(last_block, blocks_params, 32, 1) {
    u32 b = blockIdx.x, t = threadIdx.x, ticket = 0;
    p.data[b * 32 + t] = b + t;
    warp_sync();
    if (t == 0) {
#ifndef BUG_NO_FENCE_BEFORE
        fence_device();
#endif
        ticket = atomic_add_u32(p.flags, 1);
#ifndef BUG_NO_FENCE_AFTER
        fence_device();
#endif
    }
    warp_sync();
    ticket = shuffle(ticket, 0);
    if (ticket != gridDim.x - 1) return;
    u32 sum = 0;
    for (u32 i = 0; i < gridDim.x; i++) sum += p.data[i * 32 + t];
    p.out[t] = sum;
}

/* Every block waits for all: needs all of them on the device at a time. */
KERNEL(grid_barrier, blocks_params, 1024, 1) {
    if (threadIdx.x == 0) {
        atomic_add_release_u32(p.flags, 1);
        while (load_acquire_u32(p.flags) < gridDim.x) {}
    }
    block_sync();
}

/* A flag that is looked at twice, not for ever. */
KERNEL(looks_twice, blocks_params, 32, 1) {
    u32 seen = 0;
    for (int i = 0; i < 2; i++) seen += load_acquire_u32(p.flags);
    if (threadIdx.x == 0) p.out[blockIdx.x] = seen;
}

/* Block 0 writes a row by ordinary stores or by TMA, block 1 reads it by TMA or by ordinary loads. */
KERNEL(by_tma, blocks_params, 32, 1) {
    SHARED_MEMORY(memory);
    u32 smem = smem_addr(memory), barrier = smem + 1024, t = threadIdx.x;
    if (blockIdx.x == 0) {
#ifdef STORED_BY_TMA
        smem_store_4(smem + 4 * t, t + 1);
        fence_proxy_async();
        warp_sync();
        if (t == 0) {
            tma_store_2d(&p.map, 0, 0, smem);
            tma_store_commit();
#ifdef BUG_WAIT_READ_ONLY
            tma_store_wait_read(0);
#else
            tma_store_wait(0);
#endif
            store_release_u32(p.flags, 1);
#ifdef BUG_WAIT_READ_ONLY
            tma_store_wait(0);
#endif
        }
#else
        p.data[t] = t + 1;
        warp_sync();
        if (t == 0) store_release_u32(p.flags, 1);
#endif
        return;
    }
    if (t == 0) {
        mbarrier_init(barrier, 1);
        fence_mbarrier_init();
        while (!load_acquire_u32(p.flags)) {}
#ifndef STORED_BY_TMA
#ifndef BUG_NO_PROXY_FENCE
        fence_proxy_async_global();
#endif
        mbarrier_arrive_expect_tx(barrier, 128);
        tma_load_2d(smem, &p.map, 0, 0, barrier);
#endif
    }
    warp_sync();
#ifdef STORED_BY_TMA
    p.out[t] = p.data[t];
#else
    mbarrier_wait(barrier, 0);
    p.out[t] = smem_load_4(smem + 4 * t);
#endif
}

/* --- one block, and what the launch says of its buffers --- */

KERNEL(copy_row, blocks_params, 32, 1) {
    u32 t = threadIdx.x, b = blockIdx.x * 32;
#if defined BUG_WRITES_INPUT
    if (t == 5) ((u32 *)p.in)[b + t] = 1;
#elif defined BUG_READS_OUTPUT
    if (t == 5) p.out[b + t + 1] = p.out[b + t];
#elif defined BUG_OUTSIDE_TENSOR
    if (t == 5) p.out[gridDim.x * 32] = 1;
#elif defined BUG_PREFETCHES_OUTSIDE
    prefetch_l2(p.in + b + 16, 128);
#elif defined PREFETCHES
    prefetch_l2(p.in + b, 128);
#elif defined BUG_MISALIGNED
    if (t == 5) store_16(p.out + b + 1, load_16(p.in + b));
#elif defined BUG_ANOTHER_THREADS
    p.out[b + (t ^ 1)] = 0;
#elif defined BUG_TWO_BLOCKS
    if (blockIdx.x == 1) p.out[0] = 0;
#elif defined BUG_READS_ANOTHER_BLOCKS
    if (blockIdx.x == 1 && t == 0) p.data[0] = p.out[0];
#endif
    p.out[b + t] = p.in[b + t];
    warp_sync();
    if (p.out[b + (t ^ 1)] == 0xffffffff) p.out[b + (t ^ 1)] = 0; /* what another thread wrote, in order */
}
