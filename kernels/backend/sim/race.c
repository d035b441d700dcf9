/* race.c: what each access is to the race checker, and the report of two accesses that nothing orders. */
#include "order.h"

#include <stdio.h>

/* --- places, as numbers of 13 bits --- */

u16 gg_sim_place_number(gg_sim *sim, const sim_site *site, const void *pc) {
    gg_sim_checker *checker = sim->device->checker;
    const void *key = site ? (const void *)site : pc;
    u32 slot = (u32)(((uintptr_t)key >> 2) * 2654435761u >> 7) % GG_SIM_PLACE_SLOTS;
    for (u32 index; (index = checker->place_index[slot]); slot = (slot + 1) % GG_SIM_PLACE_SLOTS) {
        const gg_sim_place *p = &checker->places[index];
        if (p->site == site && p->pc == pc) return (u16)index;
    }
    if (checker->place_count == GG_SIM_MAX_PLACES) return 0;
    if (!checker->place_count) checker->place_count = 1; /* 0: too many to name */
    checker->places = gg_sim_grow(sim, checker->places, checker->place_count, &checker->place_capacity,
                                  sizeof *checker->places);
    checker->places[checker->place_count] = (gg_sim_place){site, pc};
    checker->place_index[slot] = checker->place_count;
    return (u16)checker->place_count++;
}

static void describe_place(const gg_sim_checker *checker, u16 number, char *text, size_t size) {
    const gg_sim_place *p = number ? &checker->places[number] : NULL;
    if (!p)
        snprintf(text, size, "a place of many");
    else if (p->site)
        snprintf(text, size, "%s:%d", p->site->file, p->site->line);
    else
        gg_sim_source_line(p->pc, text, size);
}

/* --- reports --- */

/* The number of the thread, the warp or the mbarrier that an actor is; false if it has been forgotten. */
static bool actor_number(gg_sim *sim, const gg_sim_record *access, u32 *number) {
    const gg_sim_device *device = sim->device;
    *number = access->actor;
    if (access->actor < sim->threads) return true;
    for (int i = 0; i < GG_SIM_MAX_RESIDENT; i++) {
        const gg_sim *other = device->blocks[i];
        if (!other || !other->resident || other->api.block_index.x != access->block) continue;
        *number = other->race->numbers[access->actor];
        if (access->kind == GG_SIM_BY_LOADS) *number = other->mbarriers[*number].address;
        return true;
    }
    if (access->kind == GG_SIM_BY_LOADS || access->block >= device->checker->blocks ||
        !device->checker->ended[access->block])
        return false;
    *number = device->checker->ended[access->block][access->actor - sim->threads];
    return true;
}

/* What made an access and of whom, before and after whether it read or wrote; and what is missing after it. */
static const struct {
    const char *before, *of, *missing;
} kinds[] = {
    [GG_SIM_BY_THREAD] = {"", " of thread ", "no barrier"},
    [GG_SIM_BY_ATOMIC] = {"atomic ", " of thread ", "no barrier"},
    [GG_SIM_BY_COPIES] = {"cp.async ", " of thread ", "no cp_async_wait with a barrier after it"},
    [GG_SIM_BY_STORES] = {"TMA store's ", ", of thread ", "no tma_store_wait_read with a barrier after it"},
    [GG_SIM_BY_PRODUCTS] = {"wgmma ", " of warp ", "no wgmma_wait with a barrier after it"},
    [GG_SIM_BY_LOADS] = {"TMA load's ", ", of mbarrier ", "no mbarrier_wait"},
};

static void describe_access(gg_sim *sim, const gg_sim_record *access, bool write, char *text, size_t size) {
    char where[256], who[64] = "", block[32] = "";
    u32 number;
    describe_place(sim->device->checker, access->place, where, sizeof where);
    if (actor_number(sim, access, &number))
        snprintf(who, sizeof who, access->kind == GG_SIM_BY_LOADS ? "%s0x%x" : "%s%u", kinds[access->kind].of,
                 number);
    if (access->block != sim->api.block_index.x) snprintf(block, sizeof block, " of block %u", access->block);
    snprintf(text, size, "%s%s%s%s at %s", kinds[access->kind].before, write ? "write" : "read", who, block,
             where);
}

/* Where the visited cell lies. */
static void describe_cell(gg_sim *sim, const gg_sim_visit *v, size_t offset, char *text, size_t size) {
    if (v->global)
        gg_sim_name_global(sim, (const u8 *)v->memory + offset, text, size);
    else
        snprintf(text, size, "+0x%zx", offset);
}

/* " at file:line" of plain code; calls' places are added by gg_sim_fail. */
static void describe_plain(const gg_sim_visit *v, char text[256]) {
    char line[240];
    text[0] = '\0';
    if (v->site) return;
    gg_sim_source_line(v->pc, line, sizeof line);
    snprintf(text, 256, " at %s", line);
}

_Noreturn void gg_sim_report(gg_sim *sim, const gg_sim_visit *v, size_t offset, const gg_sim_record *earlier,
                             bool write, bool only_fence) {
    char other[384], here[256], cell[GG_REASON_SIZE];
    const char *lack = kinds[earlier->kind].missing;
    if (v->global && write && earlier->kind == GG_SIM_BY_STORES)
        lack = "no tma_store_wait with a barrier after it";
    if (earlier->block != sim->api.block_index.x) lack = "no release and acquire";
    if (only_fence) lack = v->global ? "no fence_proxy_async_global" : "no fence_proxy_async";
    describe_access(sim, earlier, write, other, sizeof other);
    describe_cell(sim, v, offset, cell, sizeof cell);
    describe_plain(v, here);
    gg_sim_fail(sim, v->site, "race on %s memory %s: %s between the %s and the %s%s",
                v->global ? "global" : "shared", cell, lack, other, v->what, here);
}

_Noreturn void gg_sim_report_unwritten(gg_sim *sim, const gg_sim_visit *v, size_t offset) {
    char here[256], cell[GG_REASON_SIZE];
    describe_cell(sim, v, offset, cell, sizeof cell);
    describe_plain(v, here);
    gg_sim_fail(sim, v->site, "%s of %s memory %s, which nothing has written%s", v->what,
                v->global ? "global" : "shared", cell, here);
}

/* --- shared memory --- */

static gg_sim_visit visit_by_thread(gg_sim *sim, bool write, const char *what, const sim_site *site,
                                    const void *pc) {
    const gg_sim_thread *self = &sim->race->threads[gg_sim_thread_number(sim)];
    return (gg_sim_visit){.by = self,
                          .known = &self->known,
                          .write = write,
                          .what = what,
                          .site = site,
                          .pc = pc,
                          .record = {.epoch = self->at[GG_SIM_SEEN][GG_SIM_OWN],
                                     .block = sim->api.block_index.x,
                                     .actor = (u16)self->actor[GG_SIM_OWN],
                                     .kind = GG_SIM_BY_THREAD,
                                     .place = gg_sim_place_number(sim, site, pc) & (GG_SIM_MAX_PLACES - 1)}};
}

/* The access is not the thread's own but another actor's. */
static void visit_as(gg_sim_visit *v, gg_sim_kind kind, u32 actor, u32 epoch, bool async) {
    v->record.kind = kind & 7;
    v->record.actor = (u16)actor;
    v->record.epoch = epoch;
    v->async = async;
}

/* A wgmma is the whole warp's: each lane must have the order. Lanes mostly share their clocks. */
void gg_sim_race_operand(gg_sim *sim, const u32 *offsets, u32 count, const char *what, const sim_site *site) {
    const gg_sim_thread *lanes = &sim->race->threads[sim->current->warp->fibers - sim->fibers];
    gg_sim_visit v = visit_by_thread(sim, false, what, site, NULL);
    visit_as(&v, GG_SIM_BY_PRODUCTS, gg_sim_warp_actor(sim), sim->current->warp->product_group + 1, true);
    v.by = NULL;
    for (int i = 0; i < GG_SIM_LANES; i++) {
        const gg_sim_knowledge *known = &lanes[i].known, *before = &lanes[i ? i - 1 : 0].known;
        if (i && known->views[GG_SIM_SEEN] == before->views[GG_SIM_SEEN] &&
            known->views[GG_SIM_FENCED_SHARED] == before->views[GG_SIM_FENCED_SHARED])
            continue;
        v.known = known;
        for (u32 c = 0; c < count; c++)
            gg_sim_walk(sim, &v, &sim->race->pool, sim->race->chunks, offsets[c], GG_SIM_CHUNK);
    }
}

static void access_shared(gg_sim *sim, u32 offset, u32 bytes, gg_sim_access access, u32 barrier,
                          const char *what, const sim_site *site, const void *pc) {
    bool write = access == GG_SIM_WRITE || access == GG_SIM_COPY_WRITE || access == GG_SIM_LOAD_WRITE;
    gg_sim_visit v = visit_by_thread(sim, write, what, site, pc);
    switch (access) {
    case GG_SIM_READ:
    case GG_SIM_WRITE: break;
    case GG_SIM_COPY_WRITE:
        visit_as(&v, GG_SIM_BY_COPIES, gg_sim_private_actor(sim, GG_SIM_COPIES), sim->current->copy_group + 1,
                 false);
        break;
    case GG_SIM_STORE_READ:
        visit_as(&v, GG_SIM_BY_STORES, gg_sim_private_actor(sim, GG_SIM_STORES),
                 sim->current->store_group + 1, true);
        break;
    case GG_SIM_LOAD_WRITE:
        visit_as(&v, GG_SIM_BY_LOADS, sim->race->mbarriers[barrier].actor, GG_SIM_IN_FLIGHT, true);
        break;
    case GG_SIM_PRODUCT_READ: /* gg_sim_race_operand */
    case GG_SIM_SYNC: return;
    }
    gg_sim_walk(sim, &v, &sim->race->pool, sim->race->chunks, offset, bytes);
}

void gg_sim_race_access(gg_sim *sim, u32 offset, u32 bytes, gg_sim_access access, u32 barrier,
                        const char *what, const sim_site *site) {
    access_shared(sim, offset, bytes, access, barrier, what, site, NULL);
}

void gg_sim_race_landed(gg_sim *sim, u32 offset, u32 bytes, u32 barrier) {
    if (!sim->race) return;
    u32 epoch = sim->mbarriers[barrier].phase + 1;
    for (u32 i = offset / GG_SIM_CHUNK; i < (offset + bytes) / GG_SIM_CHUNK; i++)
        sim->race->chunks[i].whole.writer.epoch = epoch;
}

/* --- global memory --- */

void gg_sim_race_global(gg_sim *sim, gg_sim_allocation *item, size_t offset, size_t bytes,
                        gg_sim_global_access access, u32 barrier, const u8 *defined, const char *what,
                        const sim_site *site, const void *pc) {
    bool write =
        access == GG_SIM_GLOBAL_WRITE || access == GG_SIM_GLOBAL_STORE || access == GG_SIM_GLOBAL_ATOMIC;
    gg_sim_visit v = visit_by_thread(sim, write, what, site, pc);
    v.global = true;
    v.defined = defined;
    v.memory = item->data;
    switch (access) {
    case GG_SIM_GLOBAL_READ:
    case GG_SIM_GLOBAL_WRITE: break;
    case GG_SIM_GLOBAL_COPY:
        visit_as(&v, GG_SIM_BY_COPIES, gg_sim_private_actor(sim, GG_SIM_COPIES), sim->current->copy_group + 1,
                 false);
        break;
    case GG_SIM_GLOBAL_LOAD:
        visit_as(&v, GG_SIM_BY_LOADS, sim->race->mbarriers[barrier].actor, GG_SIM_IN_FLIGHT, true);
        break;
    case GG_SIM_GLOBAL_STORE:
        visit_as(&v, GG_SIM_BY_STORES, gg_sim_private_actor(sim, GG_SIM_WRITTEN),
                 sim->current->store_group + 1, true);
        break;
    case GG_SIM_GLOBAL_LOOK:
    case GG_SIM_GLOBAL_ATOMIC: v.record.kind = GG_SIM_BY_ATOMIC; break;
    }
    gg_sim_walk(sim, &v, &sim->device->checker->pool, item->chunks, offset, bytes);
}

void gg_sim_race_global_landed(gg_sim *sim, const void *address, size_t bytes, u32 barrier) {
    gg_sim_allocation *item = gg_sim_memory_find(&sim->device->memory, address);
    if (!item || !item->chunks) return;
    gg_sim_settle_reads(&sim->device->checker->pool, item->chunks, (size_t)((const u8 *)address - item->data),
                        bytes, sim->api.block_index.x, sim->race->mbarriers[barrier].actor,
                        sim->mbarriers[barrier].phase + 1);
}

/* --- plain code --- */

static void check_accumulators(gg_sim *sim, const u8 *address, bool write, const void *pc) {
    const sim_site *site = gg_sim_product_on(sim, address);
    if (!site) return;
    char here[256];
    gg_sim_source_line(pc, here, sizeof here);
    gg_sim_fail(sim, NULL,
                "race: no wgmma_wait between the wgmma at %s:%d and the %s of its accumulator at %s",
                site->file, site->line, write ? "write" : "read", here);
}

static void plain_shared(gg_sim *sim, size_t offset, u32 bytes, bool write, const void *pc) {
    char here[256];
    if (offset < sim->shared_bytes && bytes <= sim->shared_bytes - offset) {
        access_shared(sim, (u32)offset, bytes, write ? GG_SIM_WRITE : GG_SIM_READ, 0,
                      write ? "store" : "load", NULL, pc);
        return;
    }
    gg_sim_source_line(pc, here, sizeof here);
    gg_sim_fail(sim, NULL, "%s outside shared memory: %u bytes at offset %td of %u at %s",
                write ? "store" : "load", bytes, (ptrdiff_t)offset, sim->shared_bytes, here);
}

/* Whether an address is meant for shared memory. A wild one in the pages around it may as well come from an allocation that
 * happens to be mapped beside them: the nearer of the two it is. */
static bool means_shared(const gg_sim *sim, const u8 *at) {
    if ((size_t)(at - sim->shared_area) >= sim->shared_area_bytes) return false;
    const u8 *begin = sim->api.shared, *end = begin + sim->shared_bytes;
    size_t away = at < begin ? (size_t)(begin - at) : at >= end ? (size_t)(at - end) : 0;
    return !away || away <= gg_sim_memory_distance(&sim->device->memory, at);
}

void gg_sim_plain(sim_api *api, const void *address, u32 bytes, int flags, const void *pc) {
    gg_sim *sim = (gg_sim *)api;
    const u8 *at = address;
    bool write = flags & SIM_PLAIN_WRITE;
    if (!(flags & SIM_PLAIN_UNALIGNED) && (uintptr_t)at % bytes) {
        char here[256];
        gg_sim_source_line(pc, here, sizeof here);
        gg_sim_fail(sim, NULL, "misaligned %s: address %p is not a multiple of %u at %s",
                    write ? "store" : "load", address, bytes, here);
    }
    if ((size_t)(at - sim->api.stacks) < sim->api.stacks_bytes)
        check_accumulators(sim, at, write, pc);
    else if (means_shared(sim, at))
        plain_shared(sim, (size_t)(at - sim->api.shared), bytes, write, pc);
    else if (sim->race)
        gg_sim_plain_global(sim, address, bytes, write, pc);
}

void gg_sim_wide(sim_api *api, const sim_site *site, const void *address, int flags) {
    gg_sim *sim = gg_sim_enter(api, site);
    const char *what = flags & SIM_PLAIN_WRITE ? "store" : "load";
    if ((uintptr_t)address % 16)
        gg_sim_fail(sim, site, "misaligned %s: address %p is not a multiple of 16", what, address);
    if (!sim->race || (size_t)((const u8 *)address - sim->shared_area) < sim->shared_area_bytes ||
        (size_t)((const u8 *)address - api->stacks) < api->stacks_bytes)
        return; /* the hook of the access itself sees to it */
    gg_sim_global(sim, address, 16, flags & SIM_PLAIN_WRITE ? GG_SIM_GLOBAL_WRITE : GG_SIM_GLOBAL_READ, 0,
                  what, site);
    api->checked = (void *)(uintptr_t)address;
}
