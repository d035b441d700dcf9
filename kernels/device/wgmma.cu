/* wgmma.cu: grouped GEMM (forward, dX, dW) for sm_90a: a producer warpgroup keeps a ring of stages full, consumer
 * warpgroups multiply with wgmma and store, one persistent launch over all experts. */
#include "wgmma_loop.h"
#include "wgmma_producer.h"

DEVICE void consume(const gemm_params *p, const consumer *c) {
    ring_position at = {0, 0};
    u32 buffer = 0, number = 0;
    outgoing out;
    out.width = 0;
    for (;;) {
        const u32 begun = begun_place(c->base + BEGUN_OFFSET, &number);
        const begun_tile tile = next_tile(c, &at, begun);
        if (tile.expert < 0) break;
        /* nothing where this group's rows of p lie outside the output */
        int width = p_inside(p, &tile) > c->group * M_TILES * 64 ? q_inside(p, &tile) : 0;
        float acc[M_TILES][ACC];
        if (tile.steps == 0) { /* else the first product overwrites */
            UNROLL for (int m = 0; m < M_TILES; m++) {
                UNROLL for (int i = 0; i < ACC; i++) acc[m][i] = 0.0f;
            }
        }
        multiply_tile(p, c, acc, &at, tile.steps, tile.last_rows, width, &out, &buffer);
        UNROLL for (int m = 0; m < M_TILES; m++) wgmma_hold(acc[m], ACC);
        round_share(&out, acc);
        out.begun = begun;
        out.width = width;
        find_places(p, c, &out);
        if (!DEFERS) {
            send_rest(p, c, &out, 0, &buffer);
            out.width = 0;
        }
    }
    send_rest(p, c, &out, 0, &buffer);
#if TMA_STORE
    IN_ONE_THREAD(c->thread) tma_store_wait_read(0);
#endif
}

KERNEL(grouped_gemm, gemm_params, CONSUMER_THREADS + GROUP_THREADS, 1) {
    SHARED_MEMORY(smem);
    u32 base = smem_addr(smem), begun = base + BEGUN_OFFSET, full = base + FULL_OFFSET;
    u32 empty = base + EMPTY_OFFSET;
    int group = (int)threadIdx.x / GROUP_THREADS, thread = (int)threadIdx.x % GROUP_THREADS;
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < NUM_STAGES; s++) {
            mbarrier_init(full + 8 * s, 1 + CP_ASYNC_LOADS * GROUP_THREADS);
            mbarrier_init(empty + 8 * s, NUM_WARPS);
        }
        fence_mbarrier_init();
    }
    block_sync();
    grid_wait();
    if (group == CONSUMERS) {
#if CONSUMERS == 2
        setmaxnreg_dec(PRODUCER_REGISTERS);
#endif
        if (CP_ASYNC_LOADS || thread < 32) produce(&p, base, begun, full, empty, thread);
    } else {
        u32 staged = base + STAGED_OFFSET + (u32)group * PIECES * PIECE_BYTES;
        const consumer c = {base, staged, group, thread};
#if CONSUMERS == 2
        setmaxnreg_inc(CONSUMER_REGISTERS);
#endif
        consume(&p, &c);
    }
}
