/* wgmma_loop.h: one tile's products with instructions WIDTH columns wide; included once for each width, since the width is
 * part of the instruction's name.
 *
 * One group of instructions stays in flight: a stage is released when the group after it has been issued and only that
 * one is pending, which proves that the stage has been read. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

DEVICE void JOIN(multiply_tile_, WIDTH)(float acc[M_TILES][ACC], u32 ring, u32 full, u32 empty,
                                        ring_position *at, i64 steps, int last_rows, int group, int thread) {
    u32 previous = 0;
    for (i64 s = 0; s < steps; s++) {
        u32 stage = ring + at->slot * STAGE_BYTES;
        mbarrier_wait(full + 8 * at->slot, at->parity);
        if (CP_ASYNC_LOADS) fence_proxy_async(); /* cp.async wrote by the ordinary proxy */
        if (ZEROES_TAIL && s == steps - 1 && last_rows < STEP) zero_tail(stage, last_rows, thread);
        wgmma_fence();
        UNROLL for (int k = 0; k < STEP / 16; k++) {
            UNROLL for (int m = 0; m < M_TILES; m++)
                wgmma(WIDTH, WGMMA_TYPE, P_MN_MAJOR, Q_MN_MAJOR, acc[m],
                      p_descriptor(stage, group * M_TILES + m, k), q_descriptor(stage, k), 1);
        }
        wgmma_commit();
        wgmma_wait(1);
        if (s > 0) release_stage(empty, previous, thread);
        previous = at->slot;
        ring_advance(at);
    }
    wgmma_wait(0);
    if (steps > 0) release_stage(empty, previous, thread);
}

#undef JOIN
#undef JOIN_
#undef WIDTH
