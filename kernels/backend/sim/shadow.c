/* shadow.c: the cells of memory: who wrote each last and who has read it since, and whether the next access comes after
 * them.
 *
 * A cell is 16 bytes, split into eight of 2 bytes while parts of it are written. All readers since the last write are kept:
 * the one of them that a thread comes after stands for the earlier ones. */
#include "order.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = GG_SIM_CHUNK, PARTS = GG_SIM_PARTS, SEARCHED = 8 };

void gg_sim_pool_reset(gg_sim_pool *pool) {
    pool->node_count = pool->split_count = 1;
    pool->free_node = pool->free_split = 0;
}

void gg_sim_pool_free(gg_sim_pool *pool) {
    free(pool->nodes);
    free(pool->splits);
}

/* --- readers --- */

static u32 new_node(gg_sim *sim, gg_sim_pool *pool, const gg_sim_record *reader, u32 next) {
    u32 node = pool->free_node;
    if (node) {
        pool->free_node = pool->nodes[node].next;
    } else {
        pool->nodes =
            gg_sim_grow(sim, pool->nodes, pool->node_count, &pool->node_capacity, sizeof *pool->nodes);
        node = pool->node_count++;
    }
    pool->nodes[node] = (gg_sim_node){*reader, next, next ? pool->nodes[next].length + 1 : 1};
    return node;
}

static void free_nodes(gg_sim_pool *pool, u32 first) {
    while (first) {
        u32 next = pool->nodes[first].next;
        pool->nodes[first].next = pool->free_node;
        pool->free_node = first;
        first = next;
    }
}

static bool same_actor(const gg_sim_record *a, const gg_sim_record *b) {
    return a->actor == b->actor && a->block == b->block;
}

/* Keeps the first, which is the latest, of each actor of this block, and one of all other blocks as long as none has handed
 * anything on: until then whoever comes after one of them comes after none. */
static u32 thin_out(gg_sim *sim, gg_sim_pool *pool, u32 first) {
    u8 met[GG_SIM_MAX_ACTORS / 8] = {0};
    u32 self = sim->api.block_index.x, kept = 0;
    bool other = false;
    for (u32 node = first; node; node = pool->nodes[node].next) {
        const gg_sim_record reader = pool->nodes[node].reader;
        if (reader.block != self) {
            if (other && !sim->device->checker->released) continue;
            other = true;
        } else {
            if (met[reader.actor / 8] >> reader.actor % 8 & 1) continue;
            met[reader.actor / 8] |= (u8)(1u << reader.actor % 8);
        }
        kept = new_node(sim, pool, &reader, kept);
    }
    free_nodes(pool, first);
    return kept;
}

static void add_reader(gg_sim *sim, const gg_sim_visit *v, gg_sim_pool *pool, gg_sim_cell *c) {
    /* one reader that this one comes after stands for nothing any more */
    if (!c->reader.epoch || same_actor(&c->reader, &v->record) ||
        (!v->async && gg_sim_ordered(v, &c->reader, GG_SIM_SEEN))) {
        c->reader = v->record;
        return;
    }
    int searched = 0;
    for (u32 node = c->more; node && searched < SEARCHED; node = pool->nodes[node].next, searched++)
        if (same_actor(&pool->nodes[node].reader, &v->record)) {
            pool->nodes[node].reader = v->record;
            return;
        }
    c->more = new_node(sim, pool, &v->record, c->more);
    /* rather than search a long list every time, let a reader be there more than once and look through it now and then */
    u32 length = pool->nodes[c->more].length;
    if (length > 2 * sim->race->actors && !(length & (length - 1))) c->more = thin_out(sim, pool, c->more);
}

/* --- an access to a cell --- */

/* Atomics do not race with each other. */
static bool together(const gg_sim_visit *v, const gg_sim_record *earlier) {
    return v->record.kind == GG_SIM_BY_ATOMIC && earlier->kind == GG_SIM_BY_ATOMIC;
}

static bool has_value(const gg_sim_visit *v, size_t offset, u32 bytes) {
    if (!v->defined) return false;
    u32 mask = ((1u << (bytes + 1) / 2) - 1) << offset % CHUNK / 2;
    return (v->defined[offset / CHUNK] & mask) == mask;
}

static void check_reader(gg_sim *sim, const gg_sim_visit *v, size_t offset, const gg_sim_record *reader) {
    if (reader->epoch && !together(v, reader) && !gg_sim_retired(sim, v, reader))
        gg_sim_report(sim, v, offset, reader, false, false);
}

static void touch(gg_sim *sim, const gg_sim_visit *v, gg_sim_pool *pool, gg_sim_cell *c, size_t offset,
                  u32 bytes) {
    const gg_sim_record *writer = &c->writer;
    gg_sim_view fenced = v->global ? GG_SIM_FENCED_GLOBAL : GG_SIM_FENCED_SHARED;
    if (writer->epoch) {
        if (!together(v, writer) && !gg_sim_ordered(v, writer, GG_SIM_SEEN))
            gg_sim_report(sim, v, offset, writer, true, false);
        if (v->async && writer->kind <= GG_SIM_BY_COPIES && !gg_sim_ordered(v, writer, fenced))
            gg_sim_report(sim, v, offset, writer, true, true);
    } else if (!v->write && !has_value(v, offset, bytes)) {
        gg_sim_report_unwritten(sim, v, offset);
    }
    if (!v->write) {
        add_reader(sim, v, pool, c);
        return;
    }
    check_reader(sim, v, offset, &c->reader);
    for (u32 node = c->more; node; node = pool->nodes[node].next)
        check_reader(sim, v, offset, &pool->nodes[node].reader);
    free_nodes(pool, c->more);
    *c = (gg_sim_cell){.writer = v->record};
}

/* --- chunks --- */

static void split(gg_sim *sim, gg_sim_pool *pool, gg_sim_chunk *k) {
    u32 index = pool->free_split;
    if (index) {
        pool->free_split = pool->splits[index][0].more;
    } else {
        pool->splits =
            gg_sim_grow(sim, pool->splits, pool->split_count, &pool->split_capacity, sizeof *pool->splits);
        index = pool->split_count++;
    }
    for (int i = 0; i < PARTS; i++) {
        gg_sim_cell part = k->whole;
        part.more = 0;
        for (u32 node = k->whole.more; node; node = pool->nodes[node].next) {
            const gg_sim_record reader = pool->nodes[node].reader;
            part.more = new_node(sim, pool, &reader, part.more);
        }
        pool->splits[index][i] = part;
    }
    free_nodes(pool, k->whole.more);
    k->whole = (gg_sim_cell){0};
    k->split = index;
}

void gg_sim_walk(gg_sim *sim, const gg_sim_visit *v, gg_sim_pool *pool, gg_sim_chunk *chunks, size_t offset,
                 size_t bytes) {
    for (size_t at = offset, end = offset + bytes; at < end;) {
        gg_sim_chunk *k = &chunks[at / CHUNK];
        size_t next = at / CHUNK * CHUNK + CHUNK, stop = next < end ? next : end;
        bool whole = stop - at == CHUNK;
        if (whole && !k->split) {
            touch(sim, v, pool, &k->whole, at, CHUNK);
        } else {
            if (!k->split) split(sim, pool, k);
            for (size_t part = at % CHUNK / 2; part <= (stop - 1) % CHUNK / 2; part++)
                touch(sim, v, pool, &pool->splits[k->split][part], at / CHUNK * CHUNK + 2 * part, 2);
            if (whole && v->write) { /* one again */
                pool->splits[k->split][0].more = pool->free_split;
                pool->free_split = k->split;
                *k = (gg_sim_chunk){.whole = {.writer = v->record}};
            }
        }
        at = stop;
    }
}

/* --- TMA loads that have landed --- */

static void settle(gg_sim_pool *pool, gg_sim_cell *c, u32 block, u32 actor, u32 epoch) {
    gg_sim_record *reader = &c->reader;
    for (u32 node = c->more;; reader = &pool->nodes[node].reader, node = pool->nodes[node].next) {
        if (reader->actor == actor && reader->block == block && reader->epoch == GG_SIM_IN_FLIGHT)
            reader->epoch = epoch;
        if (!node) return;
    }
}

void gg_sim_settle_reads(gg_sim_pool *pool, gg_sim_chunk *chunks, size_t offset, size_t bytes, u32 block,
                         u32 actor, u32 epoch) {
    for (size_t i = offset / CHUNK; i <= (offset + bytes - 1) / CHUNK; i++) {
        gg_sim_chunk *k = &chunks[i];
        for (int part = 0; part < (k->split ? PARTS : 1); part++)
            settle(pool, k->split ? &pool->splits[k->split][part] : &k->whole, block, actor, epoch);
    }
}
