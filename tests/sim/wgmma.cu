/* wgmma.cu: d = a b + d by wgmma for one warpgroup, operands of either major, as a pattern to copy and to
 * check: N, TYPE, TA, TB are macros. Each fault is one BUG_... macro. */
#include "intrinsics.h"

typedef struct wgmma_params {
    const u32 *a, *b; /* as they shall lie in shared memory, without the swizzle: rows of 128 bytes */
    float *d;         /* (64, N) */
    i32 a_rows, b_rows;
    i32 a_leading, b_leading; /* bytes to the next 64 of an MN-major operand */
} wgmma_params;

DEVICE void fill(u32 target, const u32 *source, int rows) {
    for (int i = (int)threadIdx.x; i < rows * 8; i += (int)blockDim.x) {
        u32 offset = (u32)i * 16;
        smem_store_16(target + (offset ^ (offset >> 3 & 0x70)), load_16(source + 4 * i));
    }
}

DEVICE u64 descriptor(u32 address, int leading) {
    return (u64)(address >> 4) | (u64)(u32)(leading >> 4) << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

/* Two products of k16 each, in two groups. */
KERNEL(product, wgmma_params, 128, 1) {
    SHARED_MEMORY(memory);
    u32 a = smem_addr(memory), b = a + (u32)p.a_rows * 128, lane = threadIdx.x & 31;
    float acc[N / 2], *d = p.d + (threadIdx.x / 32 * 16 + lane / 4) * N + lane % 4 * 2;
    fill(a, p.a, p.a_rows);
    fill(b, p.b, p.b_rows);
#ifndef BUG_NO_PROXY_FENCE
    fence_proxy_async();
#endif
#ifndef BUG_NO_SYNC
    block_sync();
#endif
    for (int j = 0; j < N / 8; j++) {
        acc[4 * j] = d[8 * j];
        acc[4 * j + 1] = d[8 * j + 1];
        acc[4 * j + 2] = d[8 * j + 8 * N];
        acc[4 * j + 3] = d[8 * j + 8 * N + 1];
    }
#ifndef BUG_NO_FENCE
    wgmma_fence();
#endif
    wgmma(N, TYPE, TA, TB, acc, descriptor(a, p.a_leading), descriptor(b, p.b_leading), 1);
    wgmma_commit();
    wgmma(N, TYPE, TA, TB, acc, descriptor(a + (TA ? 2048 : 32), p.a_leading),
          descriptor(b + (TB ? 2048 : 32), p.b_leading), 1);
    wgmma_commit();
#ifdef BUG_SHORT_WAIT
    wgmma_wait(1);
#else
    wgmma_wait(0);
#endif
    for (int j = 0; j < N / 8; j++) {
        d[8 * j] = acc[4 * j];
        d[8 * j + 1] = acc[4 * j + 1];
        d[8 * j + 8 * N] = acc[4 * j + 2];
        d[8 * j + 8 * N + 1] = acc[4 * j + 3];
    }
#ifdef BUG_SHORT_WAIT
    wgmma_wait(0);
#endif
}
