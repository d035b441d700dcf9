/* wgmma.cu: grouped GEMM (forward, dX, dW) for sm_90a, one persistent launch over all experts: a producer keeps a ring of stages full,
 * consumer warpgroups multiply with wgmma and stage the output, storers take that to memory. */
#include "wgmma_loop.h"
#include "wgmma_producer.h"

DEVICE void consume(const gemm_params *p, const consumer *c) {
    ring_position at = {0, 0};
    u32 number = 0;
    outgoing out;
    int batch = BATCHES; /* nothing is kept before the first tile */
    out.width = 0;
    out.at.slot = 0;
    out.at.parity = 0;
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
        multiply_tile(p, c, acc, &at, tile.steps, tile.last_rows, width, &out, batch);
        UNROLL for (int m = 0; m < M_TILES; m++) wgmma_hold(acc[m], ACC);
        send_first(p, c, &out, acc, begun, width);
        batch = FIRST_BATCHES;
    }
    send_rest(p, c, &out, batch);
#if STORERS
    begin_batch(c, &out);
    end_batch(p, c, &out, 0); /* the storer reads that no tile is left */
#elif TMA_STORE
    IN_ONE_THREAD(STRIPS ? c->thread % 32 : c->thread) tma_store_wait_read(0);
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
        for (u32 s = 0; s < CONSUMERS * SLOTS; s++) {
            mbarrier_init(base + STAGED_FULL_OFFSET + 8 * s, GROUP_THREADS / 32);
            mbarrier_init(base + TAKEN_OFFSET + 8 * s, 1);
        }
        fence_mbarrier_init();
    }
    block_sync();
    grid_wait();
    if (group < CONSUMERS) {
        const consumer c = {base, base + STAGED_OFFSET + (u32)group * PIECES * PIECE_BYTES, group, thread};
#if CONSUMERS == 2
        setmaxnreg_inc(CONSUMER_REGISTERS);
#endif
        consume(&p, &c);
        return;
    }
#if CONSUMERS == 2
    setmaxnreg_dec(PRODUCER_REGISTERS);
#endif
#if STORERS
    int served = thread / 32 - 1;
    if (served >= 0 && served < CONSUMERS) {
        storer s = storer_of(base, served, thread % 32);
        serve(&p, &s);
    }
#endif
    if (thread >= LOADER_THREADS) return;
    produce(&p, base, begun, full, empty, thread);
}
