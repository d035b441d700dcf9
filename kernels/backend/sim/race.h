/* race.h: the race checker, as the rest of the simulator calls it; nothing happens in functional mode, where `sim->race` and
 * `device->checker` are NULL.
 *
 * Every access to shared memory, and to global memory that the launch may write, is an epoch of an actor: a thread, the
 * cp.async's of a thread, the TMA stores of a thread, the wgmma of a warp, the TMA loads of an mbarrier. An access is ordered
 * after another if its thread has seen that actor reach that epoch, through barriers, mbarriers, waits, and between blocks
 * through releases and acquires. What the async proxy touches must besides have been fenced since ordinary code wrote it.
 * order.c keeps who has seen what, shadow.c the accesses to each cell, race.c what an access is, global.c what a launch may
 * do with global memory. */
#ifndef GG_SIM_RACE_H
#define GG_SIM_RACE_H

#include "sim.h"

/* --- order.c --- */
gg_sim_checker *gg_sim_checker_new(void);
void gg_sim_checker_free(gg_sim_checker *checker);
gg_sim_race *gg_sim_race_new(void);
void gg_sim_race_free(gg_sim_checker *checker, gg_sim_race *race);
/* At the start of a launch, and at the start and the end of a block. */
void gg_sim_race_launch(gg_sim_device *device);
void gg_sim_race_block(gg_sim *sim);
void gg_sim_race_block_end(gg_sim *sim);

/* Named barriers and warp_sync; `warps` as bits. */
void gg_sim_race_barrier_arrive(gg_sim *sim, u32 id, const gg_sim_warp *warp);
void gg_sim_race_barrier_complete(gg_sim *sim, u32 id, u32 warps);
void gg_sim_race_warp_sync(gg_sim *sim, const gg_sim_warp *warp);

void gg_sim_race_mbarrier_init(gg_sim *sim, u32 index, const sim_site *site);
/* The current thread, or its TMA load, uses an mbarrier: is the init ordered before? */
void gg_sim_race_mbarrier_use(gg_sim *sim, u32 index, bool async, const sim_site *site);
void gg_sim_race_mbarrier_arrive(gg_sim *sim, u32 index);
void gg_sim_race_mbarrier_complete(gg_sim *sim, u32 index); /* before the phase is counted up */
void gg_sim_race_mbarrier_waited(gg_sim *sim, u32 index);

void gg_sim_race_fence(gg_sim *sim, int kind);
/* The current thread, or warp, knows that its groups below `done` have finished. */
void gg_sim_race_copies_done(gg_sim *sim, u32 done);
/* An arrival on mbarrier `index` by the cp.async of a thread: its groups below `done` have finished. */
void gg_sim_race_copies_arrive(gg_sim *sim, u32 index, const gg_sim_fiber *owner, u32 done);
/* Its TMA stores below `done` have read shared memory; or `written`, have landed too. */
void gg_sim_race_stores_done(gg_sim *sim, u32 done, bool written);
void gg_sim_race_products_done(gg_sim *sim, gg_sim_warp *warp, u32 done);

/* Between blocks: the word at `address` hands over what the current thread knows, in place of or besides what it did; the
 * current thread receives that. Relaxed atomics do both, but only in company of fence_device before and after. */
void gg_sim_race_release(gg_sim *sim, const void *address, bool besides);
void gg_sim_race_acquire(gg_sim *sim, const void *address);
void gg_sim_race_relaxed(gg_sim *sim, const void *address);

/* --- race.c --- */
/* `bytes` at `offset` of shared memory; `barrier` is the mbarrier's index for a TMA load. */
void gg_sim_race_access(gg_sim *sim, u32 offset, u32 bytes, gg_sim_access access, u32 barrier,
                        const char *what, const sim_site *site);
/* The 16-byte chunks of an operand of wgmma, read by the current warp. */
void gg_sim_race_operand(gg_sim *sim, const u32 *offsets, u32 count, const char *what, const sim_site *site);
/* A TMA load has landed: its bytes belong to the phase that is now pending. */
void gg_sim_race_landed(gg_sim *sim, u32 offset, u32 bytes, u32 barrier);
void gg_sim_race_global_landed(gg_sim *sim, const void *address, size_t bytes, u32 barrier);

#endif
