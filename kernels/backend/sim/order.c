/* order.c: who has seen what: the knowledge of each thread, and how barriers, mbarriers, waits, fences and flags in global
 * memory pass it on.
 *
 * A thread's knowledge is a set of clocks that it shares with every thread that knows the same (after a barrier, the whole
 * block), besides a few numbers of its own: so a barrier costs one clock, not one per thread. */
#include "order.h"

#include <stdlib.h>
#include <string.h>

static void assign(gg_sim_checker *checker, gg_sim_clock **place, gg_sim_clock *c) {
    gg_sim_clock_assign(&checker->clocks, place, c);
}

static void join(gg_sim *sim, gg_sim_clock **place, gg_sim_clock *other) {
    gg_sim_clock_join(sim, &sim->device->checker->clocks, place, other);
}

static void raise_clock(gg_sim *sim, gg_sim_clock **place, u32 actor, u32 epoch) {
    gg_sim_clock_raise(sim, &sim->device->checker->clocks, place, sim->race->actors, actor, epoch);
}

static u32 clock_at(const gg_sim_clock *c, u32 actor) { return c && actor < c->count ? c->at[actor] : 0; }

/* --- what is known of other blocks --- */

static void drop_beyond(gg_sim_checker *checker, gg_sim_beyond *b) {
    if (!b || --b->references) return;
    for (u32 i = 0; i < b->count; i++)
        for (int v = 0; v < GG_SIM_VIEWS; v++) assign(checker, &b->of[i].views[v], NULL);
    free(b);
}

static void assign_beyond(gg_sim_checker *checker, gg_sim_beyond **place, gg_sim_beyond *b) {
    if (b) b->references++;
    drop_beyond(checker, *place);
    *place = b;
}

/* The views of `block` in *b, which has room for it. */
static gg_sim_clock **views_of(gg_sim_beyond *b, u32 block) {
    u32 i = 0;
    while (i < b->count && b->of[i].block != block) i++;
    if (i == b->count) b->of[b->count++].block = block;
    return b->of[i].views;
}

/* A new one at the join of two, with room for a block more. */
static gg_sim_beyond *join_two(gg_sim *sim, const gg_sim_beyond *a, const gg_sim_beyond *b) {
    const gg_sim_beyond *both[] = {a, b};
    u32 most = (a ? a->count : 0) + (b ? b->count : 0) + 1;
    gg_sim_beyond *joined = calloc(1, sizeof *joined + most * sizeof *joined->of);
    if (!joined) gg_sim_fail(sim, NULL, "out of memory for what blocks know of each other");
    for (int side = 0; side < 2; side++)
        for (u32 i = 0; both[side] && i < both[side]->count; i++) {
            gg_sim_clock **views = views_of(joined, both[side]->of[i].block);
            for (int v = 0; v < GG_SIM_VIEWS; v++) join(sim, &views[v], both[side]->of[i].views[v]);
        }
    return joined;
}

static void join_beyond(gg_sim *sim, gg_sim_beyond **place, gg_sim_beyond *other) {
    gg_sim_checker *checker = sim->device->checker;
    if (!other || *place == other) return;
    if (!*place) {
        assign_beyond(checker, place, other);
        return;
    }
    gg_sim_beyond *joined = join_two(sim, *place, other);
    assign_beyond(checker, place, joined);
}

static u32 beyond_at(const gg_sim_beyond *b, u32 block, gg_sim_view view, u32 actor) {
    for (u32 i = 0; b && i < b->count; i++)
        if (b->of[i].block == block) return clock_at(b->of[i].views[view], actor);
    return 0;
}

/* --- knowledge --- */

static void forget(gg_sim_checker *checker, gg_sim_knowledge *k) {
    for (int v = 0; v < GG_SIM_VIEWS; v++) assign(checker, &k->views[v], NULL);
    assign_beyond(checker, &k->beyond, NULL);
}

static void forget_gathering(gg_sim_checker *checker, gg_sim_gathering *g) {
    forget(checker, &g->sum);
    forget(checker, &g->last);
}

static void forget_block(gg_sim_checker *checker, gg_sim_race *race) {
    for (u32 i = 0; i < race->used_threads; i++) {
        gg_sim_thread *t = &race->threads[i];
        forget(checker, &t->known);
        assign_beyond(checker, &t->released, NULL);
        assign_beyond(checker, &t->acquired, NULL);
    }
    race->used_threads = 0;
    for (int i = 0; i < GG_SIM_BARRIERS; i++) forget_gathering(checker, &race->barriers[i]);
    for (int i = 0; i < GG_SIM_MBARRIERS; i++) {
        forget_gathering(checker, &race->mbarriers[i].arrivals);
        forget(checker, &race->mbarriers[i].done);
    }
}

/* --- start and end --- */

gg_sim_checker *gg_sim_checker_new(void) {
    gg_sim_checker *checker = calloc(1, sizeof *checker);
    if (checker && !(checker->place_index = calloc(GG_SIM_PLACE_SLOTS, sizeof *checker->place_index))) {
        free(checker);
        checker = NULL;
    }
    return checker;
}

static void forget_launch(gg_sim_checker *checker) {
    for (u32 i = 0; i < checker->word_count; i++) assign_beyond(checker, &checker->words[i].known, NULL);
    checker->word_count = 0;
    for (u32 i = 0; i < checker->blocks; i++) free(checker->ended[i]);
    free(checker->ended);
    checker->ended = NULL;
    checker->blocks = 0;
    gg_sim_clocks_forget(&checker->clocks);
}

void gg_sim_checker_free(gg_sim_checker *checker) {
    if (!checker) return;
    forget_launch(checker);
    gg_sim_clocks_free(&checker->clocks);
    gg_sim_pool_free(&checker->pool);
    free(checker->words);
    free(checker->places);
    free(checker->place_index);
    free(checker);
}

gg_sim_race *gg_sim_race_new(void) { return calloc(1, sizeof(gg_sim_race)); }

void gg_sim_race_free(gg_sim_checker *checker, gg_sim_race *race) {
    if (!race) return;
    forget_block(checker, race);
    gg_sim_pool_free(&race->pool);
    free(race);
}

void gg_sim_race_launch(gg_sim_device *device) {
    gg_sim_checker *checker = device->checker;
    if (!checker) return;
    for (int i = 0; i < GG_SIM_MAX_RESIDENT; i++)
        if (device->blocks[i]) forget_block(checker, device->blocks[i]->race);
    forget_launch(checker);
    u32 threads = device->spec->threads,
        capacity = (GG_SIM_PRIVATE * threads + threads / GG_SIM_LANES + GG_SIM_MBARRIERS + 3) & ~3u;
    if (capacity != checker->clocks.capacity) gg_sim_clocks_free(&checker->clocks);
    checker->clocks.capacity = capacity;
    checker->threads = threads;
    checker->released = false;
    if ((checker->ended = calloc(device->spec->grid, sizeof *checker->ended)))
        checker->blocks = device->spec->grid; /* without, reports leave out some numbers */
    gg_sim_pool_reset(&checker->pool);
    for (size_t i = 0; i < device->memory.count; i++) {
        free(device->memory.items[i].chunks);
        device->memory.items[i].chunks = NULL;
    }
}

void gg_sim_race_block(gg_sim *sim) {
    gg_sim_race *race = sim->race;
    forget_block(sim->device->checker, race);
    race->actors = race->used_threads = sim->threads;
    memset(race->threads, 0, sim->threads * sizeof *race->threads);
    for (u32 i = 0; i < sim->threads; i++) {
        race->numbers[i] = (u16)i;
        race->threads[i].actor[GG_SIM_OWN] = i;
        race->threads[i].at[GG_SIM_SEEN][GG_SIM_OWN] = 1;
    }
    memset(race->warp_actor, 0, sizeof race->warp_actor);
    memset(race->warp_done, 0, sizeof race->warp_done);
    memset(race->mbarriers, 0, sizeof race->mbarriers);
    memset(race->chunks, 0, (sim->shared_bytes + GG_SIM_CHUNK - 1) / GG_SIM_CHUNK * sizeof *race->chunks);
    gg_sim_pool_reset(&race->pool);
}

void gg_sim_race_block_end(gg_sim *sim) {
    if (!sim->race || sim->api.block_index.x >= sim->device->checker->blocks) return;
    size_t more = sim->race->actors - sim->threads;
    u16 *numbers = malloc((more + 1) * sizeof *numbers);
    if (numbers) memcpy(numbers, sim->race->numbers + sim->threads, more * sizeof *numbers);
    sim->device->checker->ended[sim->api.block_index.x] = numbers;
}

/* --- actors --- */

u32 gg_sim_thread_number(const gg_sim *sim) { return (u32)(sim->current - sim->fibers); }

static gg_sim_thread *current_thread(gg_sim *sim) { return &sim->race->threads[gg_sim_thread_number(sim)]; }

static u32 new_actor(gg_sim *sim, u32 number) {
    sim->race->numbers[sim->race->actors] = (u16)number;
    return sim->race->actors++;
}

u32 gg_sim_private_actor(gg_sim *sim, int which) {
    gg_sim_thread *self = current_thread(sim);
    if (which != GG_SIM_OWN && !self->actor[which])
        self->actor[which] = new_actor(sim, gg_sim_thread_number(sim));
    return self->actor[which];
}

u32 gg_sim_warp_actor(gg_sim *sim) {
    u32 warp = gg_sim_thread_number(sim) / GG_SIM_LANES;
    if (!sim->race->warp_actor[warp]) sim->race->warp_actor[warp] = new_actor(sim, warp);
    return sim->race->warp_actor[warp];
}

/* --- questions --- */

bool gg_sim_ordered(const gg_sim_visit *v, const gg_sim_record *earlier, gg_sim_view view) {
    if (earlier->block != v->record.block)
        return beyond_at(v->known->beyond, earlier->block, view, earlier->actor) >= earlier->epoch;
    if (clock_at(v->known->views[view], earlier->actor) >= earlier->epoch) return true;
    if (!v->by) return false;
    for (int i = 0; i < GG_SIM_PRIVATE; i++)
        if (earlier->actor == v->by->actor[i] && (i == GG_SIM_OWN || v->by->actor[i]))
            return v->by->at[view][i] >= earlier->epoch;
    return false;
}

bool gg_sim_retired(const gg_sim *sim, const gg_sim_visit *v, const gg_sim_record *earlier) {
    if (gg_sim_ordered(v, earlier, GG_SIM_SEEN)) return true;
    if (earlier->kind != GG_SIM_BY_PRODUCTS || earlier->block != v->record.block) return false;
    u32 warp = gg_sim_thread_number(sim) / GG_SIM_LANES; /* it has waited itself */
    return sim->race->warp_actor[warp] == earlier->actor && sim->race->warp_done[warp] >= earlier->epoch;
}

/* --- barriers: arrivals give what they know, those who wait receive it --- */

/* A thread's knowledge goes into `g`; its later accesses are of a new epoch. */
static void give(gg_sim *sim, gg_sim_gathering *g, u32 number) {
    gg_sim_race *race = sim->race;
    gg_sim_thread *t = &race->threads[number];
    u32 warp = number / GG_SIM_LANES;
    for (int v = 0; v < GG_SIM_VIEWS; v++) {
        if (g->last.views[v] == t->known.views[v]) continue;
        join(sim, &g->sum.views[v], t->known.views[v]);
        assign(sim->device->checker, &g->last.views[v], t->known.views[v]);
    }
    if (g->last.beyond != t->known.beyond) {
        join_beyond(sim, &g->sum.beyond, t->known.beyond);
        assign_beyond(sim->device->checker, &g->last.beyond, t->known.beyond);
    }
    for (int i = 0; i < GG_SIM_PRIVATE; i++) {
        if (i != GG_SIM_OWN && !t->actor[i]) continue;
        for (int v = 0; v < GG_SIM_VIEWS; v++)
            if (t->at[v][i]) raise_clock(sim, &g->sum.views[v], t->actor[i], t->at[v][i]);
    }
    if (race->warp_actor[warp])
        raise_clock(sim, &g->sum.views[GG_SIM_SEEN], race->warp_actor[warp], race->warp_done[warp]);
    t->at[GG_SIM_SEEN][GG_SIM_OWN]++;
}

static void receive(gg_sim *sim, gg_sim_thread *t, const gg_sim_knowledge *k) {
    for (int v = 0; v < GG_SIM_VIEWS; v++) join(sim, &t->known.views[v], k->views[v]);
    join_beyond(sim, &t->known.beyond, k->beyond);
}

static u32 first_lane(const gg_sim *sim, const gg_sim_warp *warp) {
    return (u32)(warp->fibers - sim->fibers);
}

static void give_warp(gg_sim *sim, gg_sim_gathering *g, const gg_sim_warp *warp) {
    for (u32 i = 0; i < GG_SIM_LANES; i++) give(sim, g, first_lane(sim, warp) + i);
}

static void receive_warp(gg_sim *sim, const gg_sim_gathering *g, const gg_sim_warp *warp) {
    for (u32 i = 0; i < GG_SIM_LANES; i++)
        receive(sim, &sim->race->threads[first_lane(sim, warp) + i], &g->sum);
}

void gg_sim_race_barrier_arrive(gg_sim *sim, u32 id, const gg_sim_warp *warp) {
    if (sim->race) give_warp(sim, &sim->race->barriers[id], warp);
}

void gg_sim_race_barrier_complete(gg_sim *sim, u32 id, u32 warps) {
    if (!sim->race) return;
    gg_sim_gathering *g = &sim->race->barriers[id];
    for (; warps; warps &= warps - 1) receive_warp(sim, g, &sim->warps[__builtin_ctz(warps)]);
    forget_gathering(sim->device->checker, g);
}

void gg_sim_race_warp_sync(gg_sim *sim, const gg_sim_warp *warp) {
    if (!sim->race) return;
    gg_sim_gathering g = {0};
    give_warp(sim, &g, warp);
    receive_warp(sim, &g, warp);
    forget_gathering(sim->device->checker, &g);
}

/* --- mbarriers --- */

void gg_sim_race_mbarrier_init(gg_sim *sim, u32 index, const sim_site *site) {
    if (!sim->race) return;
    gg_sim_phase *m = &sim->race->mbarriers[index];
    const gg_sim_thread *self = current_thread(sim);
    forget_gathering(sim->device->checker, &m->arrivals);
    forget(sim->device->checker, &m->done);
    if (!m->actor) m->actor = new_actor(sim, index);
    m->init_thread = self->actor[GG_SIM_OWN];
    m->init_epoch = self->at[GG_SIM_SEEN][GG_SIM_OWN];
    m->init_fenced = false;
    m->init_site = site;
}

void gg_sim_race_mbarrier_use(gg_sim *sim, u32 index, bool async, const sim_site *site) {
    if (!sim->race) return;
    const gg_sim_phase *m = &sim->race->mbarriers[index];
    const gg_sim_thread *self = current_thread(sim);
    bool own = self->actor[GG_SIM_OWN] == m->init_thread;
    if (!own && clock_at(self->known.views[GG_SIM_SEEN], m->init_thread) < m->init_epoch)
        gg_sim_fail(sim, site,
                    "race: no barrier between the mbarrier_init at %s:%d by thread %u and this use",
                    m->init_site->file, m->init_site->line, m->init_thread);
    u32 fenced = own ? self->at[GG_SIM_FENCED_SHARED][GG_SIM_OWN]
                     : clock_at(self->known.views[GG_SIM_FENCED_SHARED], m->init_thread);
    if (async && !m->init_fenced && fenced < m->init_epoch)
        gg_sim_fail(sim, site,
                    "race: no fence_mbarrier_init or fence_proxy_async between the mbarrier_init at %s:%d "
                    "and this TMA load",
                    m->init_site->file, m->init_site->line);
}

void gg_sim_race_mbarrier_arrive(gg_sim *sim, u32 index) {
    if (sim->race) give(sim, &sim->race->mbarriers[index].arrivals, gg_sim_thread_number(sim));
}

void gg_sim_race_mbarrier_complete(gg_sim *sim, u32 index) {
    if (!sim->race) return;
    gg_sim_phase *m = &sim->race->mbarriers[index];
    u32 phase = sim->mbarriers[index].phase + 1;
    for (int v = 0; v < GG_SIM_VIEWS; v++) {
        raise_clock(sim, &m->arrivals.sum.views[v], m->actor, phase);
        assign(sim->device->checker, &m->done.views[v], m->arrivals.sum.views[v]);
    }
    assign_beyond(sim->device->checker, &m->done.beyond, m->arrivals.sum.beyond);
}

void gg_sim_race_mbarrier_waited(gg_sim *sim, u32 index) {
    if (sim->race) receive(sim, current_thread(sim), &sim->race->mbarriers[index].done);
}

/* --- fences and waits --- */

/* Fenced is what has been seen. */
static void fence(gg_sim *sim, gg_sim_thread *t, gg_sim_view view) {
    gg_sim_checker *checker = sim->device->checker;
    assign(checker, &t->known.views[view], t->known.views[GG_SIM_SEEN]);
    memcpy(t->at[view], t->at[GG_SIM_SEEN], sizeof t->at[view]);
    t->at[GG_SIM_SEEN][GG_SIM_OWN]++; /* what follows is not fenced */
    if (!t->known.beyond) return;
    gg_sim_beyond *fenced = join_two(sim, t->known.beyond, NULL);
    for (u32 i = 0; i < fenced->count; i++)
        assign(checker, &fenced->of[i].views[view], fenced->of[i].views[GG_SIM_SEEN]);
    assign_beyond(checker, &t->known.beyond, fenced);
}

static gg_sim_beyond *hand_over(gg_sim *sim);
static void take(gg_sim *sim, gg_sim_thread *t, gg_sim_beyond *known);

void gg_sim_race_fence(gg_sim *sim, int kind) {
    if (!sim->race) return;
    gg_sim_thread *self = current_thread(sim);
    switch (kind) {
    case SIM_FENCE_MBARRIER_INIT:
        for (u32 i = 0; i < sim->mbarrier_count; i++)
            if (sim->race->mbarriers[i].init_thread == self->actor[GG_SIM_OWN])
                sim->race->mbarriers[i].init_fenced = true;
        return;
    case SIM_FENCE_PROXY_ASYNC: fence(sim, self, GG_SIM_FENCED_SHARED); return;
    case SIM_FENCE_PROXY_ASYNC_GLOBAL: fence(sim, self, GG_SIM_FENCED_GLOBAL); return;
    case SIM_FENCE_DEVICE:
        take(sim, self, self->acquired);
        assign_beyond(sim->device->checker, &self->acquired, NULL);
        assign_beyond(sim->device->checker, &self->released, hand_over(sim));
        return;
    }
}

void gg_sim_race_copies_done(gg_sim *sim, u32 done) {
    if (!sim->race) return;
    u32 *at = &current_thread(sim)->at[GG_SIM_SEEN][GG_SIM_COPIES];
    if (*at < done) *at = done;
}

void gg_sim_race_copies_arrive(gg_sim *sim, u32 index, const gg_sim_fiber *owner, u32 done) {
    if (!sim->race) return;
    u32 actor = sim->race->threads[owner - sim->fibers].actor[GG_SIM_COPIES];
    if (actor) raise_clock(sim, &sim->race->mbarriers[index].arrivals.sum.views[GG_SIM_SEEN], actor, done);
}

void gg_sim_race_stores_done(gg_sim *sim, u32 done, bool written) {
    if (!sim->race) return;
    u32 *at = current_thread(sim)->at[GG_SIM_SEEN];
    if (at[GG_SIM_STORES] < done) at[GG_SIM_STORES] = done;
    if (written && at[GG_SIM_WRITTEN] < done) at[GG_SIM_WRITTEN] = done;
}

void gg_sim_race_products_done(gg_sim *sim, gg_sim_warp *warp, u32 done) {
    if (!sim->race) return;
    u32 index = (u32)(warp - sim->warps);
    if (sim->race->warp_done[index] < done) sim->race->warp_done[index] = done;
}

/* --- between blocks --- */

/* All that the current thread knows, as of its block and of others; counted by none yet. */
static gg_sim_beyond *hand_over(gg_sim *sim) {
    gg_sim_checker *checker = sim->device->checker;
    gg_sim_gathering g = {0};
    give(sim, &g, gg_sim_thread_number(sim));
    gg_sim_beyond *all = join_two(sim, g.sum.beyond, NULL);
    gg_sim_clock **own = views_of(all, sim->api.block_index.x);
    for (int v = 0; v < GG_SIM_VIEWS; v++) join(sim, &own[v], g.sum.views[v]);
    forget_gathering(checker, &g);
    checker->released = true;
    return all;
}

static gg_sim_word *find_word(gg_sim *sim, const void *address, bool make) {
    gg_sim_checker *checker = sim->device->checker;
    for (u32 i = 0; i < checker->word_count; i++)
        if (checker->words[i].address == address) return &checker->words[i];
    if (!make) return NULL;
    checker->words = gg_sim_grow(sim, checker->words, checker->word_count, &checker->word_capacity,
                                 sizeof *checker->words);
    checker->words[checker->word_count] = (gg_sim_word){.address = address};
    return &checker->words[checker->word_count++];
}

/* The part of `known` that is of the own block becomes ordinary knowledge. */
static void take(gg_sim *sim, gg_sim_thread *t, gg_sim_beyond *known) {
    if (!known) return;
    join_beyond(sim, &t->known.beyond, known);
    for (u32 i = 0; i < known->count; i++)
        for (int v = 0; known->of[i].block == sim->api.block_index.x && v < GG_SIM_VIEWS; v++)
            join(sim, &t->known.views[v], known->of[i].views[v]);
}

void gg_sim_race_release(gg_sim *sim, const void *address, bool besides) {
    if (!sim->race) return;
    gg_sim_word *word = find_word(sim, address, true);
    gg_sim_beyond *all = hand_over(sim);
    if (besides && word->known) {
        all->references++;
        join_beyond(sim, &word->known, all);
        drop_beyond(sim->device->checker, all);
    } else {
        assign_beyond(sim->device->checker, &word->known, all);
    }
}

void gg_sim_race_acquire(gg_sim *sim, const void *address) {
    if (!sim->race) return;
    const gg_sim_word *word = find_word(sim, address, false);
    if (word) take(sim, current_thread(sim), word->known);
}

void gg_sim_race_relaxed(gg_sim *sim, const void *address) {
    if (!sim->race) return;
    gg_sim_thread *self = current_thread(sim);
    gg_sim_word *word = find_word(sim, address, self->released != NULL);
    if (!word) return;
    join_beyond(sim, &self->acquired, word->known);
    join_beyond(sim, &word->known, self->released);
}
