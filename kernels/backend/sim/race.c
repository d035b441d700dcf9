/* race.c: the happens-before shadow: clocks, the cells of shared memory, and the report of two accesses that
 * nothing orders.
 *
 * A thread's knowledge is a clock that it shares with every thread that knows the same (after a barrier, the
 * whole block), besides four numbers of its own: so a barrier costs one clock, not one per thread. A cell is
 * 16 bytes, split into eight of 2 bytes while parts of it are written; it keeps its last writer and all
 * readers since. */
#include "race.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ATOMIC_OWNER = 0xffff,  /* of a cell of global memory */
    IN_FLIGHT = 0x7fffffff, /* epoch of a TMA load that has not landed */
    CHUNK = 16,             /* bytes of a cell, as ldmatrix, TMA and wgmma touch them */
    PARTS = 8,              /* of a chunk, of 2 bytes */
    CHUNKS = GG_SIM_SHARED_BYTES / CHUNK,
    MAX_ACTORS = 3 * GG_SIM_MAX_THREADS + GG_SIM_MAX_WARPS + GG_SIM_MBARRIERS,
};

static void forget_block(gg_sim_race *race);

typedef gg_sim_clock vclock;

/* What orders: everything seen, and what of it is visible to the async proxy. */
typedef struct knowledge {
    vclock *seen, *fenced;
} knowledge;

/* Of a barrier: what its arrivals know together; the last clocks joined, so that each is joined once. */
typedef struct gathering {
    knowledge sum, last;
} gathering;

/* Progress that a thread knows of without having passed it on: of itself, its cp.async's, its TMA stores. */
enum { OWN, COPIES, STORES, PRIVATE };

typedef struct thread {
    knowledge known;
    u32 actor[PRIVATE], at[PRIVATE], fenced[PRIVATE]; /* actor 0: none yet, but for OWN */
} thread;

typedef struct access_record {
    u32 epoch; /* 0: none */
    u16 actor, site;
} access_record;

typedef struct reader_node {
    access_record reader;
    u32 next; /* in the pool, 0 ends */
} reader_node;

typedef struct cell {
    access_record writer, reader;
    u32 more; /* further readers, in the pool */
} cell;

typedef struct chunk {
    cell whole;
    u32 split; /* eight cells instead, in the pool; 0: none */
} chunk;

typedef enum actor_kind { ACTOR_THREAD, ACTOR_COPIES, ACTOR_STORES, ACTOR_PRODUCTS, ACTOR_LOADS } actor_kind;

typedef struct actor_name {
    u16 kind, number;
} actor_name;

/* An mbarrier's arrivals of the pending phase and what the last complete one gives to those who wait. */
typedef struct phase_clock {
    gathering arrivals;
    knowledge done;
    u32 actor;
    u32 init_thread, init_epoch;
    bool init_fenced;
    const sim_site *init_site;
} phase_clock;

typedef struct place {
    const sim_site *site;
    const void *pc; /* of plain code */
} place;

struct gg_sim_race {
    gg_sim_clocks clocks;
    actor_name names[MAX_ACTORS];
    thread threads[GG_SIM_MAX_THREADS];
    u32 warp_actor[GG_SIM_MAX_WARPS], warp_done[GG_SIM_MAX_WARPS];
    gathering barriers[GG_SIM_BARRIERS];
    phase_clock mbarriers[GG_SIM_MBARRIERS];
    chunk chunks[CHUNKS];
    reader_node *nodes; /* pool; node 0 is unused */
    u32 node_count, node_capacity, free_node;
    cell (*splits)[PARTS]; /* pool; 0 is unused */
    u32 split_count, split_capacity, free_split;
    place *places;
    u32 place_count, place_capacity;
    u32 *place_index; /* hash of places by address, of PLACE_SLOTS */
    u64 launch;
};

enum { PLACE_SLOTS = 1 << 14, MAX_PLACES = 1 << 13 };

gg_sim_race *gg_sim_race_new(void) {
    gg_sim_race *race = calloc(1, sizeof *race);
    if (race && !(race->place_index = calloc(PLACE_SLOTS, sizeof *race->place_index))) {
        free(race);
        race = NULL;
    }
    return race;
}

static void assign(gg_sim_race *race, vclock **place, vclock *c) {
    gg_sim_clock_assign(&race->clocks, place, c);
}

static void join(gg_sim *sim, vclock **place, vclock *other) {
    gg_sim_clock_join(sim, &sim->race->clocks, place, other);
}

static void raise_clock(gg_sim *sim, vclock **place, u32 actor, u32 epoch) {
    gg_sim_clock_raise(sim, &sim->race->clocks, place, actor, epoch);
}

static u32 clock_at(const vclock *c, u32 actor) { return c && actor < c->count ? c->at[actor] : 0; }

static void forget(gg_sim_race *race, knowledge *k) {
    assign(race, &k->seen, NULL);
    assign(race, &k->fenced, NULL);
}

static void forget_gathering(gg_sim_race *race, gathering *g) {
    forget(race, &g->sum);
    forget(race, &g->last);
}

void gg_sim_race_free(gg_sim_race *race) {
    if (!race) return;
    forget_block(race);
    gg_sim_clocks_free(&race->clocks);
    free(race->nodes);
    free(race->splits);
    free(race->places);
    free(race->place_index);
    free(race);
}

/* --- actors --- */

static u32 new_actor(gg_sim *sim, actor_kind kind, u32 number) {
    gg_sim_race *race = sim->race;
    race->names[race->clocks.actors] = (actor_name){.kind = (u16)kind, .number = (u16)number};
    return race->clocks.actors++;
}

static u32 thread_number(const gg_sim *sim, const gg_sim_fiber *fiber) { return (u32)(fiber - sim->fibers); }

static thread *current_thread(gg_sim *sim) { return &sim->race->threads[thread_number(sim, sim->current)]; }

static u32 private_actor(gg_sim *sim, int which) {
    thread *self = current_thread(sim);
    u32 number = thread_number(sim, sim->current);
    if (!self->actor[which])
        self->actor[which] = new_actor(sim, which == COPIES ? ACTOR_COPIES : ACTOR_STORES, number);
    return self->actor[which];
}

/* --- start and end --- */

static void forget_block(gg_sim_race *race) {
    gg_sim_clocks_forget(&race->clocks);
    for (int i = 0; i < GG_SIM_MAX_THREADS; i++) forget(race, &race->threads[i].known);
    for (int i = 0; i < GG_SIM_BARRIERS; i++) forget_gathering(race, &race->barriers[i]);
    for (int i = 0; i < GG_SIM_MBARRIERS; i++) {
        forget_gathering(race, &race->mbarriers[i].arrivals);
        forget(race, &race->mbarriers[i].done);
    }
}

gg_status gg_sim_race_launch(gg_sim *sim) {
    gg_sim_race *race = sim->race;
    u32 capacity = (3 * sim->threads + sim->warps_used + GG_SIM_MBARRIERS + 3) & ~3u;
    forget_block(race);
    if (capacity != race->clocks.capacity) gg_sim_clocks_free(&race->clocks);
    race->clocks.capacity = capacity;
    race->launch++;
    return GG_OK;
}

void gg_sim_race_block(gg_sim *sim) {
    gg_sim_race *race = sim->race;
    forget_block(race);
    race->clocks.actors = sim->threads;
    memset(race->threads, 0, sim->threads * sizeof *race->threads);
    for (u32 i = 0; i < sim->threads; i++) {
        race->names[i] = (actor_name){ACTOR_THREAD, (u16)i};
        race->threads[i].actor[OWN] = i;
        race->threads[i].at[OWN] = 1;
    }
    memset(race->warp_actor, 0, sizeof race->warp_actor);
    memset(race->warp_done, 0, sizeof race->warp_done);
    memset(race->mbarriers, 0, sizeof race->mbarriers);
    memset(race->chunks, 0, (sim->shared_bytes + CHUNK - 1) / CHUNK * sizeof *race->chunks);
    race->node_count = race->split_count = 1;
    race->free_node = race->free_split = 0;
}

/* --- barriers: arrivals give what they know, those who wait receive it --- */

/* A thread's knowledge goes into `g`; its later accesses are of a new epoch. */
static void give(gg_sim *sim, gathering *g, u32 number) {
    gg_sim_race *race = sim->race;
    thread *t = &race->threads[number];
    u32 warp = number / GG_SIM_LANES;
    if (g->last.seen != t->known.seen) {
        join(sim, &g->sum.seen, t->known.seen);
        assign(race, &g->last.seen, t->known.seen);
    }
    if (g->last.fenced != t->known.fenced) {
        join(sim, &g->sum.fenced, t->known.fenced);
        assign(race, &g->last.fenced, t->known.fenced);
    }
    for (int i = 0; i < PRIVATE; i++) {
        if (i != OWN && !t->actor[i]) continue;
        raise_clock(sim, &g->sum.seen, t->actor[i], t->at[i]);
        if (t->fenced[i]) raise_clock(sim, &g->sum.fenced, t->actor[i], t->fenced[i]);
    }
    if (race->warp_actor[warp]) raise_clock(sim, &g->sum.seen, race->warp_actor[warp], race->warp_done[warp]);
    t->at[OWN]++;
}

static void receive(gg_sim *sim, thread *t, const knowledge *k) {
    join(sim, &t->known.seen, k->seen);
    join(sim, &t->known.fenced, k->fenced);
}

static void give_warp(gg_sim *sim, gathering *g, const gg_sim_warp *warp) {
    u32 first = thread_number(sim, warp->fibers);
    for (u32 i = 0; i < GG_SIM_LANES; i++) give(sim, g, first + i);
}

static void receive_warp(gg_sim *sim, const gathering *g, const gg_sim_warp *warp) {
    u32 first = thread_number(sim, warp->fibers);
    for (u32 i = 0; i < GG_SIM_LANES; i++) receive(sim, &sim->race->threads[first + i], &g->sum);
}

void gg_sim_race_barrier_arrive(gg_sim *sim, u32 id, const gg_sim_warp *warp) {
    if (sim->race) give_warp(sim, &sim->race->barriers[id], warp);
}

void gg_sim_race_barrier_complete(gg_sim *sim, u32 id, u32 warps) {
    if (!sim->race) return;
    gathering *g = &sim->race->barriers[id];
    for (; warps; warps &= warps - 1) receive_warp(sim, g, &sim->warps[__builtin_ctz(warps)]);
    forget_gathering(sim->race, g);
}

void gg_sim_race_warp_sync(gg_sim *sim, const gg_sim_warp *warp) {
    if (!sim->race) return;
    gathering g = {0};
    give_warp(sim, &g, warp);
    receive_warp(sim, &g, warp);
    forget_gathering(sim->race, &g);
}

/* --- mbarriers --- */

void gg_sim_race_mbarrier_init(gg_sim *sim, u32 index, const sim_site *site) {
    if (!sim->race) return;
    phase_clock *m = &sim->race->mbarriers[index];
    thread *self = current_thread(sim);
    forget_gathering(sim->race, &m->arrivals);
    forget(sim->race, &m->done);
    if (!m->actor) m->actor = new_actor(sim, ACTOR_LOADS, index);
    m->init_thread = self->actor[OWN];
    m->init_epoch = self->at[OWN];
    m->init_fenced = false;
    m->init_site = site;
}

void gg_sim_race_mbarrier_use(gg_sim *sim, u32 index, bool async, const sim_site *site) {
    if (!sim->race) return;
    const phase_clock *m = &sim->race->mbarriers[index];
    const thread *self = current_thread(sim);
    bool own = self->actor[OWN] == m->init_thread;
    if (!own && clock_at(self->known.seen, m->init_thread) < m->init_epoch)
        gg_sim_fail(sim, site,
                    "race: no barrier between the mbarrier_init at %s:%d by thread %u and this use",
                    m->init_site->file, m->init_site->line, m->init_thread);
    u32 fenced = own ? self->fenced[OWN] : clock_at(self->known.fenced, m->init_thread);
    if (async && !m->init_fenced && fenced < m->init_epoch)
        gg_sim_fail(sim, site,
                    "race: no fence_mbarrier_init or fence_proxy_async between the mbarrier_init at %s:%d "
                    "and this TMA load",
                    m->init_site->file, m->init_site->line);
}

void gg_sim_race_mbarrier_arrive(gg_sim *sim, u32 index) {
    if (sim->race) give(sim, &sim->race->mbarriers[index].arrivals, thread_number(sim, sim->current));
}

void gg_sim_race_mbarrier_complete(gg_sim *sim, u32 index) {
    if (!sim->race) return;
    phase_clock *m = &sim->race->mbarriers[index];
    u32 phase = sim->mbarriers[index].phase + 1;
    raise_clock(sim, &m->arrivals.sum.seen, m->actor, phase);
    raise_clock(sim, &m->arrivals.sum.fenced, m->actor, phase);
    assign(sim->race, &m->done.seen, m->arrivals.sum.seen);
    assign(sim->race, &m->done.fenced, m->arrivals.sum.fenced);
}

void gg_sim_race_mbarrier_waited(gg_sim *sim, u32 index) {
    if (sim->race) receive(sim, current_thread(sim), &sim->race->mbarriers[index].done);
}

/* --- fences and waits --- */

void gg_sim_race_fence(gg_sim *sim, int kind) {
    if (!sim->race) return;
    thread *self = current_thread(sim);
    if (kind == SIM_FENCE_MBARRIER_INIT) {
        for (u32 i = 0; i < sim->mbarrier_count; i++)
            if (sim->race->mbarriers[i].init_thread == self->actor[OWN])
                sim->race->mbarriers[i].init_fenced = true;
        return;
    }
    assign(sim->race, &self->known.fenced, self->known.seen);
    memcpy(self->fenced, self->at, sizeof self->fenced);
    self->at[OWN]++; /* what follows is not fenced */
}

void gg_sim_race_copies_done(gg_sim *sim, u32 done) {
    if (!sim->race) return;
    thread *self = current_thread(sim);
    if (self->at[COPIES] < done) self->at[COPIES] = done;
}

void gg_sim_race_copies_arrive(gg_sim *sim, u32 index, const gg_sim_fiber *owner, u32 done) {
    if (!sim->race) return;
    u32 actor = sim->race->threads[thread_number(sim, owner)].actor[COPIES];
    if (actor) raise_clock(sim, &sim->race->mbarriers[index].arrivals.sum.seen, actor, done);
}

void gg_sim_race_stores_done(gg_sim *sim, u32 done) {
    if (!sim->race) return;
    thread *self = current_thread(sim);
    if (self->at[STORES] < done) self->at[STORES] = done;
}

void gg_sim_race_products_done(gg_sim *sim, gg_sim_warp *warp, u32 done) {
    if (!sim->race) return;
    u32 index = (u32)(warp - sim->warps);
    if (sim->race->warp_done[index] < done) sim->race->warp_done[index] = done;
}

/* --- places, as 16-bit numbers --- */

/* The number of a place: of a call's site, or of plain code. */
static u16 place_number(gg_sim *sim, const sim_site *site, const void *pc) {
    gg_sim_race *race = sim->race;
    const void *key = site ? (const void *)site : pc;
    u32 slot = (u32)(((uintptr_t)key >> 2) * 2654435761u >> 7) % PLACE_SLOTS;
    for (u32 index; (index = race->place_index[slot]); slot = (slot + 1) % PLACE_SLOTS) {
        const place *p = &race->places[index];
        if (p->site == site && p->pc == pc) return (u16)index;
    }
    if (race->place_count == MAX_PLACES) return 0;
    if (!race->place_count) race->place_count = 1; /* 0: too many to name */
    race->places =
        gg_sim_grow(sim, race->places, race->place_count, &race->place_capacity, sizeof *race->places);
    race->places[race->place_count] = (place){site, pc};
    race->place_index[slot] = race->place_count;
    return (u16)race->place_count++;
}

static void describe_place(gg_sim *sim, u16 number, char *text, size_t size) {
    const place *p = number ? &sim->race->places[number] : NULL;
    if (!p)
        snprintf(text, size, "a place of many");
    else if (p->site)
        snprintf(text, size, "%s:%d", p->site->file, p->site->line);
    else
        gg_sim_source_line(p->pc, text, size);
}

static void describe_access(gg_sim *sim, const access_record *access, bool write, char *text, size_t size) {
    static const char *const words[] = {[ACTOR_THREAD] = "%s of thread %u at %s",
                                        [ACTOR_COPIES] = "cp.async %s of thread %u at %s",
                                        [ACTOR_STORES] = "TMA store's %s, of thread %u at %s",
                                        [ACTOR_PRODUCTS] = "wgmma %s of warp %u at %s",
                                        [ACTOR_LOADS] = "TMA load's %s, of mbarrier 0x%x at %s"};
    const actor_name *name = &sim->race->names[access->actor];
    char where[256];
    u32 number = name->kind == ACTOR_LOADS ? sim->mbarriers[name->number].address : name->number;
    describe_place(sim, access->site, where, sizeof where);
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"")
        snprintf(text, size, words[name->kind], write ? "write" : "read", number, where);
    _Pragma("GCC diagnostic pop")
}

/* --- cells --- */

/* An access on its way through the cells. */
typedef struct visit {
    const thread *by; /* NULL: a whole warp, whose lanes' clocks are below */
    const vclock *seen, *fenced;
    bool write, async;
    access_record record;
    const char *what;
    const sim_site *site;
    const void *pc;
} visit;

static bool ordered(const visit *v, const access_record *earlier, bool fenced) {
    if (clock_at(fenced ? v->fenced : v->seen, earlier->actor) >= earlier->epoch) return true;
    if (!v->by) return false;
    for (int i = 0; i < PRIVATE; i++)
        if (earlier->actor == v->by->actor[i] && (i == OWN || v->by->actor[i]))
            return (fenced ? v->by->fenced[i] : v->by->at[i]) >= earlier->epoch;
    return false;
}

static bool retired(const gg_sim *sim, const visit *v, const access_record *earlier) {
    if (ordered(v, earlier, false)) return true;
    const actor_name *name = &sim->race->names[earlier->actor];
    if (name->kind != ACTOR_PRODUCTS) return false;
    /* the warp itself has waited */
    return name->number == thread_number(sim, sim->current) / GG_SIM_LANES &&
           sim->race->warp_done[name->number] >= earlier->epoch;
}

static _Noreturn void report(gg_sim *sim, const visit *v, u32 offset, const access_record *earlier,
                             bool write, bool only_fence) {
    static const char *const missing[] = {
        [ACTOR_THREAD] = "no barrier",
        [ACTOR_COPIES] = "no cp_async_wait with a barrier after it",
        [ACTOR_STORES] = "no tma_store_wait_read with a barrier after it",
        [ACTOR_PRODUCTS] = "no wgmma_wait with a barrier after it",
        [ACTOR_LOADS] = "no mbarrier_wait",
    };
    char other[384], here[256];
    describe_access(sim, earlier, write, other, sizeof other);
    if (!v->site) gg_sim_source_line(v->pc, here, sizeof here);
    const char *lack = only_fence ? "no fence_proxy_async" : missing[sim->race->names[earlier->actor].kind];
    if (v->site)
        gg_sim_fail(sim, v->site, "race on shared memory +0x%x: %s between the %s and the %s", offset, lack,
                    other, v->what);
    gg_sim_fail(sim, NULL, "race on shared memory +0x%x: %s between the %s and the %s at %s", offset, lack,
                other, v->what, here);
}

static u32 new_node(gg_sim *sim) {
    gg_sim_race *race = sim->race;
    u32 node = race->free_node;
    if (node) {
        race->free_node = race->nodes[node].next;
        return node;
    }
    race->nodes = gg_sim_grow(sim, race->nodes, race->node_count, &race->node_capacity, sizeof *race->nodes);
    return race->node_count++;
}

static void free_nodes(gg_sim_race *race, u32 first) {
    while (first) {
        u32 next = race->nodes[first].next;
        race->nodes[first].next = race->free_node;
        race->free_node = first;
        first = next;
    }
}

static void add_reader(gg_sim *sim, const visit *v, cell *c) {
    gg_sim_race *race = sim->race;
    /* one reader that this one comes after stands for nothing any more */
    if (!c->reader.epoch || c->reader.actor == v->record.actor ||
        (!v->async && ordered(v, &c->reader, false))) {
        c->reader = v->record;
        return;
    }
    for (u32 node = c->more; node; node = race->nodes[node].next)
        if (race->nodes[node].reader.actor == v->record.actor) {
            race->nodes[node].reader = v->record;
            return;
        }
    u32 node = new_node(sim);
    race->nodes[node] = (reader_node){v->record, c->more};
    c->more = node;
}

static void touch(gg_sim *sim, const visit *v, cell *c, u32 offset) {
    gg_sim_race *race = sim->race;
    const access_record *writer = &c->writer;
    if (writer->epoch) {
        if (!ordered(v, writer, false)) report(sim, v, offset, writer, true, false);
        if (v->async && race->names[writer->actor].kind <= ACTOR_COPIES && !ordered(v, writer, true))
            report(sim, v, offset, writer, true, true);
    } else if (!v->write) {
        char here[256] = "";
        if (!v->site) gg_sim_source_line(v->pc, here, sizeof here);
        gg_sim_fail(sim, v->site, "%s of shared memory +0x%x, which nothing has written%s%s", v->what, offset,
                    *here ? " at " : "", here);
    }
    if (!v->write) {
        add_reader(sim, v, c);
        return;
    }
    if (c->reader.epoch && !retired(sim, v, &c->reader)) report(sim, v, offset, &c->reader, false, false);
    for (u32 node = c->more; node; node = race->nodes[node].next)
        if (!retired(sim, v, &race->nodes[node].reader))
            report(sim, v, offset, &race->nodes[node].reader, false, false);
    free_nodes(race, c->more);
    *c = (cell){.writer = v->record};
}

static void split(gg_sim *sim, chunk *k) {
    gg_sim_race *race = sim->race;
    u32 index = race->free_split;
    if (index) {
        race->free_split = race->splits[index][0].more;
    } else {
        race->splits =
            gg_sim_grow(sim, race->splits, race->split_count, &race->split_capacity, sizeof *race->splits);
        index = race->split_count++;
    }
    for (int i = 0; i < PARTS; i++) {
        cell *part = &race->splits[index][i];
        *part = k->whole;
        part->more = 0;
        for (u32 node = k->whole.more; node; node = race->nodes[node].next) {
            u32 copy = new_node(sim);
            race->nodes[copy] = (reader_node){race->nodes[node].reader, part->more};
            race->splits[index][i].more = copy;
        }
    }
    free_nodes(race, k->whole.more);
    k->whole = (cell){0};
    k->split = index;
}

static void walk(gg_sim *sim, const visit *v, u32 offset, u32 bytes) {
    gg_sim_race *race = sim->race;
    for (u32 at = offset, end = offset + bytes; at < end;) {
        chunk *k = &race->chunks[at / CHUNK];
        u32 next = at / CHUNK * CHUNK + CHUNK, stop = next < end ? next : end;
        bool whole = stop - at == CHUNK;
        if (whole && !k->split) {
            touch(sim, v, &k->whole, at);
        } else {
            if (!k->split) split(sim, k);
            for (u32 part = at % CHUNK / 2; part <= (stop - 1) % CHUNK / 2; part++)
                touch(sim, v, &race->splits[k->split][part], at / CHUNK * CHUNK + 2 * part);
            if (whole && v->write) { /* one again */
                race->splits[k->split][0].more = race->free_split;
                race->free_split = k->split;
                *k = (chunk){.whole = {.writer = v->record}};
            }
        }
        at = stop;
    }
}

/* A wgmma is the whole warp's: each lane must have the order. Lanes mostly share their clocks. */
static void walk_warp(gg_sim *sim, visit *v, u32 offset, u32 bytes) {
    const thread *lanes = &sim->race->threads[thread_number(sim, sim->current->warp->fibers)];
    for (int i = 0; i < GG_SIM_LANES; i++) {
        if (i && lanes[i].known.seen == lanes[i - 1].known.seen &&
            lanes[i].known.fenced == lanes[i - 1].known.fenced)
            continue;
        v->seen = lanes[i].known.seen;
        v->fenced = lanes[i].known.fenced;
        walk(sim, v, offset, bytes);
    }
}

static void access_as(gg_sim *sim, u32 offset, u32 bytes, gg_sim_access access, u32 barrier, const char *what,
                      const sim_site *site, const void *pc) {
    gg_sim_race *race = sim->race;
    const thread *self = current_thread(sim);
    visit v = {.by = self,
               .seen = self->known.seen,
               .fenced = self->known.fenced,
               .what = what,
               .site = site,
               .pc = pc,
               .record = {.epoch = self->at[OWN], .actor = (u16)self->actor[OWN]}};
    u32 warp = thread_number(sim, sim->current) / GG_SIM_LANES;
    v.record.site = place_number(sim, site, pc);
    switch (access) {
    case GG_SIM_READ: break;
    case GG_SIM_WRITE: v.write = true; break;
    case GG_SIM_COPY_WRITE:
        v.write = true;
        v.record.actor = (u16)private_actor(sim, COPIES);
        v.record.epoch = sim->current->copy_group + 1;
        break;
    case GG_SIM_STORE_READ:
        v.async = true;
        v.record.actor = (u16)private_actor(sim, STORES);
        v.record.epoch = sim->current->store_group + 1;
        break;
    case GG_SIM_LOAD_WRITE:
        v.write = v.async = true;
        v.record.actor = (u16)race->mbarriers[barrier].actor;
        v.record.epoch = IN_FLIGHT;
        break;
    case GG_SIM_PRODUCT_READ:
        if (!race->warp_actor[warp]) race->warp_actor[warp] = new_actor(sim, ACTOR_PRODUCTS, warp);
        v.by = NULL;
        v.async = true;
        v.record.actor = (u16)race->warp_actor[warp];
        v.record.epoch = sim->current->warp->product_group + 1;
        walk_warp(sim, &v, offset, bytes);
        return;
    case GG_SIM_SYNC: return;
    }
    walk(sim, &v, offset, bytes);
}

void gg_sim_race_access(gg_sim *sim, u32 offset, u32 bytes, gg_sim_access access, u32 barrier,
                        const char *what, const sim_site *site) {
    access_as(sim, offset, bytes, access, barrier, what, site, NULL);
}

void gg_sim_race_landed(gg_sim *sim, u32 offset, u32 bytes, u32 barrier) {
    if (!sim->race) return;
    u32 epoch = sim->mbarriers[barrier].phase + 1;
    for (u32 i = offset / CHUNK; i < (offset + bytes) / CHUNK; i++)
        sim->race->chunks[i].whole.writer.epoch = epoch;
}

/* --- plain code, global memory --- */

static void check_accumulators(gg_sim *sim, const u8 *address, bool write, const void *pc) {
    const sim_site *site = gg_sim_product_on(sim, address);
    if (!site) return;
    char here[256];
    gg_sim_source_line(pc, here, sizeof here);
    gg_sim_fail(sim, NULL,
                "race: no wgmma_wait between the wgmma at %s:%d and the %s of its accumulator at %s",
                site->file, site->line, write ? "write" : "read", here);
}

void gg_sim_race_global(gg_sim *sim, const void *address, size_t bytes, gg_sim_global_access access,
                        const sim_site *site, const void *pc) {
    bool write = access != GG_SIM_GLOBAL_READ;
    gg_sim_allocation *item = gg_sim_memory_find(&sim->memory, address);
    if (!item) return; /* parameters, constants; and what is nowhere faults by itself */
    char here[256] = "", where[GG_REASON_SIZE];
    size_t offset = (size_t)((const u8 *)address - item->data);
    if (offset > item->bytes || bytes > item->bytes - offset) {
        gg_sim_memory_describe(&sim->memory, address, where);
        if (pc) gg_sim_source_line(pc, here, sizeof here);
        gg_sim_fail(sim, site, "%s outside global memory: %zu bytes at %p, %s%s%s", write ? "write" : "read",
                    bytes, address, where, *here ? ", at " : "", here);
    }
    if (item->owned_in != sim->race->launch) {
        if (!write) return;
        size_t cells = (item->bytes + 1) / 2;
        if (!item->owners && !(item->owners = malloc(cells * sizeof *item->owners)))
            gg_sim_fail(sim, site, "out of memory for the owners of %zu bytes", item->bytes);
        memset(item->owners, 0, cells * sizeof *item->owners);
        item->owned_in = sim->race->launch;
    }
    u16 self = access == GG_SIM_ATOMIC ? ATOMIC_OWNER : (u16)(sim->api.block_index.x + 1);
    for (size_t i = offset / 2; i <= (offset + bytes - 1) / 2; i++) {
        u16 owner = item->owners[i];
        if (owner && owner != self) {
            if (pc) gg_sim_source_line(pc, here, sizeof here);
            if (owner == ATOMIC_OWNER)
                snprintf(where, sizeof where, "is the atomics'");
            else
                snprintf(where, sizeof where, "block %u wrote", owner - 1u);
            gg_sim_fail(sim, site,
                        "race on global memory: %s of byte %zu of a %zu-byte allocation, which %s%s%s",
                        write ? "write" : "read", 2 * i, item->bytes, where, *here ? ", at " : "", here);
        }
        if (write) item->owners[i] = self;
    }
}

void gg_sim_plain(sim_api *api, const void *address, u32 bytes, int write, const void *pc) {
    gg_sim *sim = (gg_sim *)api;
    const u8 *at = address;
    if ((size_t)(at - sim->api.stacks) < sim->api.stacks_bytes) {
        check_accumulators(sim, at, write, pc);
    } else if ((size_t)(at - sim->shared_area) < sim->shared_area_bytes) {
        size_t offset = (size_t)(at - sim->api.shared);
        if (offset < sim->shared_bytes && bytes <= sim->shared_bytes - offset)
            access_as(sim, (u32)offset, bytes, write ? GG_SIM_WRITE : GG_SIM_READ, 0,
                      write ? "store" : "load", NULL, pc);
    } else if (sim->race) {
        gg_sim_race_global(sim, address, bytes, write ? GG_SIM_GLOBAL_WRITE : GG_SIM_GLOBAL_READ, NULL, pc);
    }
}

u64 gg_sim_atomic(sim_api *api, const sim_site *site, void *address, u32 bytes, int operation, u64 value) {
    gg_sim *sim = gg_sim_enter(api, site);
    u64 old = 0, new;
    if ((uintptr_t)address % bytes)
        gg_sim_fail(sim, site, "misaligned atomic: address %p is not a multiple of %u", address, bytes);
    if (sim->race) gg_sim_race_global(sim, address, bytes, GG_SIM_ATOMIC, site, NULL);
    memcpy(&old, address, bytes);
    new = operation == SIM_ATOMIC_ADD ? old + value : value < old ? value : old;
    memcpy(address, &new, bytes);
    return old;
}
