/* clock.c: joining and raising shared vector clocks. */
#include "clock.h"

#include <stdlib.h>
#include <string.h>

typedef int int4 __attribute__((vector_size(16), may_alias));

static gg_sim_clock *retain(gg_sim_clock *c) {
    if (c) c->references++;
    return c;
}

static void drop(gg_sim_clocks *pool, gg_sim_clock *c) {
    if (!c || --c->references) return;
    c->next_free = pool->unused;
    pool->unused = c;
}

void gg_sim_clock_assign(gg_sim_clocks *pool, gg_sim_clock **place, gg_sim_clock *c) {
    retain(c);
    drop(pool, *place);
    *place = c;
}

static gg_sim_clock *new_clock(gg_sim *sim, gg_sim_clocks *pool, u32 actors) {
    gg_sim_clock *c = pool->unused;
    if (c)
        pool->unused = c->next_free;
    else if (!(c = aligned_alloc(16, sizeof *c + pool->capacity * sizeof *c->at)))
        gg_sim_fail(sim, NULL, "out of memory for clocks");
    c->references = 1;
    c->count = (actors + 3) & ~3u;
    return c;
}

/* A new clock at the maximum of two. */
static gg_sim_clock *maximum(gg_sim *sim, gg_sim_clocks *pool, const gg_sim_clock *a, const gg_sim_clock *b) {
    gg_sim_clock *c = new_clock(sim, pool, a->count > b->count ? a->count : b->count);
    u32 i = 0, both = a->count < b->count ? a->count : b->count;
    for (; i < both; i += 4) {
        int4 x = *(const int4 *)(a->at + i), y = *(const int4 *)(b->at + i), more = x > y;
        *(int4 *)(c->at + i) = (x & more) | (y & ~more);
    }
    const gg_sim_clock *longer = a->count > b->count ? a : b;
    memcpy(c->at + i, longer->at + i, (longer->count - i) * sizeof *c->at);
    return c;
}

static bool covers(const gg_sim_clock *a, const gg_sim_clock *b) {
    int4 over = {0};
    for (u32 i = 0; i < b->count; i += 4) {
        int4 mine = {0};
        if (i < a->count) mine = *(const int4 *)(a->at + i);
        over |= *(const int4 *)(b->at + i) > mine;
    }
    return !(over[0] | over[1] | over[2] | over[3]);
}

void gg_sim_clock_join(gg_sim *sim, gg_sim_clocks *pool, gg_sim_clock **place, gg_sim_clock *other) {
    if (!other || *place == other) return;
    if (!*place) {
        gg_sim_clock_assign(pool, place, other);
        return;
    }
    u32 slot = (u32)(((uintptr_t)*place >> 6) * 31 + ((uintptr_t)other >> 6)) % GG_SIM_MEMO;
    if (pool->memo[slot].a != *place || pool->memo[slot].b != other) {
        gg_sim_clock *joined = covers(other, *place)   ? retain(other)
                               : covers(*place, other) ? retain(*place)
                                                       : maximum(sim, pool, *place, other);
        gg_sim_clock_assign(pool, &pool->memo[slot].a, *place);
        gg_sim_clock_assign(pool, &pool->memo[slot].b, other);
        drop(pool, pool->memo[slot].joined);
        pool->memo[slot].joined = joined;
    }
    gg_sim_clock_assign(pool, place, pool->memo[slot].joined);
}

void gg_sim_clock_raise(gg_sim *sim, gg_sim_clocks *pool, gg_sim_clock **place, u32 actors, u32 actor,
                        u32 epoch) {
    gg_sim_clock *c = *place;
    if (c && actor < c->count && c->at[actor] >= epoch) return;
    if (!c || c->references > 1 || actor >= c->count) {
        gg_sim_clock *copy = new_clock(sim, pool, actors);
        u32 count = c ? c->count : 0;
        if (c) memcpy(copy->at, c->at, count * sizeof *c->at);
        memset(copy->at + count, 0, (copy->count - count) * sizeof *copy->at);
        drop(pool, c);
        *place = c = copy;
    }
    c->at[actor] = epoch;
}

void gg_sim_clocks_forget(gg_sim_clocks *pool) {
    for (int i = 0; i < GG_SIM_MEMO; i++) {
        gg_sim_clock_assign(pool, &pool->memo[i].a, NULL);
        gg_sim_clock_assign(pool, &pool->memo[i].b, NULL);
        gg_sim_clock_assign(pool, &pool->memo[i].joined, NULL);
    }
}

void gg_sim_clocks_free(gg_sim_clocks *pool) {
    while (pool->unused) {
        gg_sim_clock *c = pool->unused;
        pool->unused = c->next_free;
        free(c);
    }
}
