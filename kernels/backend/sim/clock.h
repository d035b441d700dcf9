/* clock.h: vector clocks of the race checker: shared by all who know the same, counted, never changed while shared. */
#ifndef GG_SIM_CLOCK_H
#define GG_SIM_CLOCK_H

#include "sim.h"

typedef struct gg_sim_clock {
    u32 references;
    u32 count; /* actors, a multiple of 4; those beyond are at 0 */
    struct gg_sim_clock *next_free;
    u32 at[] __attribute__((aligned(16)));
} gg_sim_clock;

enum {
    GG_SIM_MEMO = 64
}; /* joins that are remembered, so that threads that knew the same come to share the result */

typedef struct gg_sim_clocks {
    u32 capacity; /* actors a clock has room for */
    gg_sim_clock *unused;
    struct {
        gg_sim_clock *a, *b, *joined;
    } memo[GG_SIM_MEMO];
} gg_sim_clocks;

/* *place refers to `c`, which may be NULL, and no longer to what it did. */
void gg_sim_clock_assign(gg_sim_clocks *pool, gg_sim_clock **place, gg_sim_clock *c);
/* *place becomes the join of itself and `other`. */
void gg_sim_clock_join(gg_sim *sim, gg_sim_clocks *pool, gg_sim_clock **place, gg_sim_clock *other);
/* *place with `actor`, one of `actors`, at least at `epoch`; copied first where others share it. */
void gg_sim_clock_raise(gg_sim *sim, gg_sim_clocks *pool, gg_sim_clock **place, u32 actors, u32 actor,
                        u32 epoch);
void gg_sim_clocks_forget(gg_sim_clocks *pool); /* what the memo holds */
void gg_sim_clocks_free(gg_sim_clocks *pool);   /* those unused */

#endif
