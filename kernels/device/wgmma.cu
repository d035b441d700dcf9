/* wgmma.cu: grouped GEMM (forward, dX, dW) for sm_90a: a producer warpgroup keeps a ring of stages full, consumer
 * warpgroups multiply with wgmma and store, one persistent launch over all experts. */
#include "wgmma_loop.h"
#include "wgmma_producer.h"

DEVICE void consume(const gemm_params *p, const consumer *c) {
    ring_position at = {0, 0};
    u32 buffer = 0;
    tile_walk walk;
    output_tile tile;
    outgoing out;
    out.width = 0;
    walk_begin(&walk, p);
    while (walk_next(&walk, p, &tile)) {
        int steps = tile_steps(p, &tile);
        /* nothing where this group's rows of p lie outside the output */
        int width = p_inside(p, &tile) > c->group * M_TILES * 64 ? q_inside(p, &tile) : 0;
        float acc[M_TILES][ACC];
        if (steps == 0) { /* else the first product overwrites */
            UNROLL for (int m = 0; m < M_TILES; m++) {
                UNROLL for (int i = 0; i < ACC; i++) acc[m][i] = 0.0f;
            }
        }
        multiply_tile(p, c, acc, &at, steps, last_step_rows(&tile, steps), width, &out, &buffer);
        UNROLL for (int m = 0; m < M_TILES; m++) wgmma_hold(acc[m], ACC);
        round_share(&out, acc);
        out.row = (u32)tile.row;
        out.row_limit = (u32)tile.row_limit;
        out.col = tile.col;
        out.expert = tile.expert;
        out.width = width;
        find_places(p, c, &out);
        if (!DEFERS) {
            send_rest(p, c, &out, 0, &buffer);
            out.width = 0;
        }
    }
    send_rest(p, c, &out, 0, &buffer);
#if TMA_STORE
    if (c->thread == 0) tma_store_wait_read(0);
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
    grid_wait();
    if (group == CONSUMERS) {
#if CONSUMERS == 2
        setmaxnreg_dec(PRODUCER_REGISTERS);
#endif
        if (CP_ASYNC_LOADS || thread == 0) produce(&p, base, full, empty, thread);
    } else {
        const consumer c = {base,  full,  empty, base + STAGED_OFFSET + (u32)group * PIECES * PIECE_BYTES,
                            group, thread};
#if CONSUMERS == 2
        setmaxnreg_inc(CONSUMER_REGISTERS);
#endif
        consume(&p, &c);
    }
}
