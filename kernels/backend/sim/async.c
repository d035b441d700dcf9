/* async.c: shared memory and what reaches it asynchronously: cp.async, mbarriers, TMA loads and stores. */
#include "race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

u8 *gg_sim_shared(gg_sim *sim, u32 address, u32 bytes, u32 alignment, gg_sim_access access, const char *what,
                  const sim_site *site) {
    u32 offset = address - SIM_SHARED_BASE;
    if (bytes > sim->shared_bytes || offset > sim->shared_bytes - bytes)
        gg_sim_fail(sim, site, "%s outside shared memory: %s of %u bytes at offset %d of %u", what,
                    access == GG_SIM_READ || access == GG_SIM_STORE_READ || access == GG_SIM_PRODUCT_READ
                        ? "read"
                        : "write",
                    bytes, (int)offset, sim->shared_bytes);
    if (address & (alignment - 1))
        gg_sim_fail(sim, site, "misaligned %s: address 0x%x is not a multiple of %u", what, address,
                    alignment);
    /* a TMA load's is checked once its mbarrier is known, a wgmma's for the whole operand */
    if (sim->race && access != GG_SIM_LOAD_WRITE && access != GG_SIM_PRODUCT_READ && access != GG_SIM_SYNC)
        gg_sim_race_access(sim, offset, bytes, access, 0, what, site);
    return sim->api.shared + offset;
}

const void *gg_sim_shared_read(sim_api *api, const sim_site *site, u32 address, u32 bytes) {
    gg_sim *sim = gg_sim_enter(api, site);
    return api->checked = gg_sim_shared(sim, address, bytes, bytes, GG_SIM_READ, "load", site);
}

void *gg_sim_shared_write(sim_api *api, const sim_site *site, u32 address, u32 bytes) {
    gg_sim *sim = gg_sim_enter(api, site);
    return api->checked = gg_sim_shared(sim, address, bytes, bytes, GG_SIM_WRITE, "store", site);
}

void gg_sim_fence(sim_api *api, const sim_site *site, int kind) {
    gg_sim_race_fence(gg_sim_enter(api, site), kind);
}

void *gg_sim_grow(gg_sim *sim, void *items, u32 count, u32 *capacity, size_t item_bytes) {
    if (count < *capacity) return items;
    u32 larger = *capacity ? *capacity * 2 : 16;
    void *moved = realloc(items, larger * item_bytes);
    if (!moved) gg_sim_fail(sim, NULL, "out of memory for %u asynchronous operations", larger);
    *capacity = larger;
    return moved;
}

/* --- cp.async --- */
void gg_sim_cp_async(sim_api *api, const sim_site *site, u32 dst, const void *src, int bytes) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    u8 *target = gg_sim_shared(sim, dst, 16, 16, GG_SIM_COPY_WRITE, "cp.async", site);
    if ((uintptr_t)src & 15)
        gg_sim_fail(sim, site, "misaligned cp.async: source %p is not a multiple of 16", src);
    if (bytes < 0 || bytes > 16) gg_sim_fail(sim, site, "cp.async of %d bytes, not 0 to 16", bytes);
    if (bytes) gg_sim_global(sim, src, (size_t)bytes, GG_SIM_GLOBAL_COPY, 0, "cp.async", site);
    memset(target, 0xff, 16);
    self->copies =
        gg_sim_grow(sim, self->copies, self->last_copy, &self->copy_capacity, sizeof *self->copies);
    self->copies[self->last_copy++] = (gg_sim_copy){
        .src = src, .dst = dst - SIM_SHARED_BASE, .group = self->copy_group, .bytes = bytes, .site = site};
}

static void land_copy(gg_sim *sim, gg_sim_copy *copy) {
    if (copy->landed) return;
    u8 *target = sim->api.shared + copy->dst;
    copy->landed = true;
    if (copy->bytes == 16) {
        memcpy(target, copy->src, 16);
    } else {
        memset(target, 0, 16);
        memcpy(target, copy->src, copy->bytes ? (size_t)copy->bytes : 0);
    }
}

void gg_sim_land_copy(gg_sim *sim) {
    gg_sim_fiber *fiber = &sim->fibers[gg_sim_random(sim) % sim->threads];
    u32 count = fiber->last_copy - fiber->first_copy;
    if (count) land_copy(sim, &fiber->copies[fiber->first_copy + gg_sim_random(sim) % count]);
}

void gg_sim_cp_async_commit(sim_api *api, const sim_site *site) {
    gg_sim_enter(api, site)->current->copy_group++;
}

void gg_sim_cp_async_wait(sim_api *api, const sim_site *site, int pending) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    if ((int)self->copy_group > pending) gg_sim_race_copies_done(sim, self->copy_group - (u32)pending);
    while (self->first_copy < self->last_copy) {
        gg_sim_copy *copy = &self->copies[self->first_copy];
        if ((int)copy->group >= (int)self->copy_group - pending) return;
        land_copy(sim, copy);
        self->first_copy++;
    }
    self->first_copy = self->last_copy = 0;
}

/* --- mbarrier --- */
enum { MBARRIER_MARK = 0x6d626172 };

static gg_sim_mbarrier *find_mbarrier(gg_sim *sim, u32 address, const sim_site *site) {
    u32 words[2];
    memcpy(words, gg_sim_shared(sim, address, 8, 8, GG_SIM_SYNC, "mbarrier", site), sizeof words);
    if (words[0] != MBARRIER_MARK || words[1] >= sim->mbarrier_count ||
        sim->mbarriers[words[1]].address != address)
        gg_sim_fail(sim, site, "no mbarrier at 0x%x: not initialised yet, or overwritten", address);
    return &sim->mbarriers[words[1]];
}

static u32 mbarrier_index(const gg_sim *sim, const gg_sim_mbarrier *barrier) {
    return (u32)(barrier - sim->mbarriers);
}

/* Ends the phase if nothing is outstanding; waiting threads look again. */
static void complete_phase(gg_sim *sim, gg_sim_mbarrier *barrier) {
    if (barrier->pending || barrier->tx) return;
    gg_sim_race_mbarrier_complete(sim, mbarrier_index(sim, barrier));
    barrier->phase++;
    barrier->pending = barrier->count;
    for (u32 i = 0; i < sim->warps_used; i++) {
        sim->warps[i].ready |= barrier->waiting[i];
        barrier->waiting[i] = 0;
    }
}

void gg_sim_mbarrier_init(sim_api *api, const sim_site *site, u32 address, u32 count) {
    gg_sim *sim = gg_sim_enter(api, site);
    u8 *at = gg_sim_shared(sim, address, 8, 8, GG_SIM_SYNC, "mbarrier", site);
    u32 index = 0;
    while (index < sim->mbarrier_count && sim->mbarriers[index].address != address) index++;
    if (index == GG_SIM_MBARRIERS) gg_sim_fail(sim, site, "more than %d mbarriers", GG_SIM_MBARRIERS);
    u32 words[2];
    memcpy(words, at, sizeof words);
    if (index < sim->mbarrier_count && words[0] == MBARRIER_MARK && words[1] == index)
        gg_sim_fail(sim, site, "mbarrier 0x%x is initialised while it is one already", address);
    if (index == sim->mbarrier_count) sim->mbarrier_count++;
    if (count == 0) gg_sim_fail(sim, site, "mbarrier initialised for no arrivals");
    sim->mbarriers[index] = (gg_sim_mbarrier){.address = address, .count = count, .pending = count};
    words[0] = MBARRIER_MARK;
    words[1] = index;
    memcpy(at, words, sizeof words);
    gg_sim_race_mbarrier_init(sim, index, site);
}

static void add_tx(gg_sim *sim, gg_sim_mbarrier *barrier, int64_t bytes, const sim_site *site) {
    barrier->tx += bytes;
    if (barrier->tx > GG_SIM_TX_LIMIT || barrier->tx < -GG_SIM_TX_LIMIT)
        gg_sim_fail(sim, site, "mbarrier 0x%x counts %lld bytes, beyond its limit of %d", barrier->address,
                    (long long)barrier->tx, GG_SIM_TX_LIMIT);
}

/* Counts one arrival, by the current thread or by the copies of `arrival`, and may end the phase. */
static void count_arrival(gg_sim *sim, gg_sim_mbarrier *barrier, const gg_sim_arrival *arrival,
                          const sim_site *site) {
    u32 index = mbarrier_index(sim, barrier);
    if (barrier->pending == 0)
        gg_sim_fail(sim, site,
                    "mbarrier 0x%x: arrival beyond its count of %u while %lld bytes are outstanding",
                    barrier->address, barrier->count, (long long)barrier->tx);
    barrier->pending--;
    if (arrival)
        gg_sim_race_copies_arrive(sim, index, arrival->owner, arrival->done);
    else
        gg_sim_race_mbarrier_arrive(sim, index);
    complete_phase(sim, barrier);
}

void gg_sim_mbarrier_arrive(sim_api *api, const sim_site *site, u32 address, u32 expected_bytes) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_mbarrier *barrier = find_mbarrier(sim, address, site);
    gg_sim_race_mbarrier_use(sim, mbarrier_index(sim, barrier), false, site);
    add_tx(sim, barrier, expected_bytes, site);
    count_arrival(sim, barrier, NULL, site);
}

void gg_sim_cp_async_commit_arrive(sim_api *api, const sim_site *site, u32 address) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_mbarrier *barrier = find_mbarrier(sim, address, site);
    gg_sim_arrivals *queue = &sim->arrivals;
    gg_sim_race_mbarrier_use(sim, mbarrier_index(sim, barrier), false, site);
    queue->items = gg_sim_grow(sim, queue->items, queue->count, &queue->capacity, sizeof *queue->items);
    queue->items[queue->count++] = (gg_sim_arrival){
        .owner = sim->current, .done = ++sim->current->copy_group, .barrier = address, .site = site};
}

bool gg_sim_land_arrival(gg_sim *sim) {
    if (!sim->arrivals.count) return false;
    gg_sim_arrival *place = &sim->arrivals.items[gg_sim_random(sim) % sim->arrivals.count], arrival = *place;
    gg_sim_fiber *owner = arrival.owner;
    *place = sim->arrivals.items[--sim->arrivals.count];
    for (u32 i = owner->first_copy; i < owner->last_copy && owner->copies[i].group < arrival.done; i++)
        land_copy(sim, &owner->copies[i]);
    count_arrival(sim, find_mbarrier(sim, arrival.barrier, arrival.site), &arrival, arrival.site);
    return true;
}

void gg_sim_mbarrier_wait(sim_api *api, const sim_site *site, u32 address, u32 parity) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    gg_sim_mbarrier *barrier = find_mbarrier(sim, address, site);
    gg_sim_race_mbarrier_use(sim, mbarrier_index(sim, barrier), false, site);
    if (parity > 1) gg_sim_fail(sim, site, "mbarrier_wait for parity %u, not 0 or 1", parity);
    self->barrier = (u32)(barrier - sim->mbarriers);
    self->parity = parity;
    while ((barrier->phase & 1) == parity) {
        barrier->waiting[self->warp - sim->warps] |= 1u << self->lane;
        gg_sim_block(sim, GG_SIM_MBARRIER_WAIT);
    }
    gg_sim_race_mbarrier_waited(sim, mbarrier_index(sim, barrier));
}

/* --- TMA --- */
/* Rows of a box, of its innermost dimension, in all others. */
static u32 box_rows(const gg_sim_map *map) { return map->box[1] * map->box[2] * map->box[3] * map->box[4]; }

/* Fills a transfer and checks its box in shared memory. The swizzle spans the box's rows and repeats every 8
 * of them, so the box starts at a multiple of 8 rows: 1024, 512 or 256 bytes. */
static gg_sim_transfer make_transfer(gg_sim *sim, const tensor_map *opaque, int rank, const int at[5],
                                     u32 shared, gg_sim_access access, const char *what,
                                     const sim_site *site) {
    gg_sim_transfer transfer = {.shared = shared, .site = site};
    memcpy(transfer.at, at, sizeof transfer.at);
    memcpy(&transfer.map, opaque, sizeof transfer.map);
    const gg_sim_map *map = &transfer.map;
    if ((uintptr_t)opaque % _Alignof(tensor_map))
        gg_sim_fail(sim, site, "misaligned tensor map: address %p is not a multiple of 64",
                    (const void *)opaque);
    if (map->magic != GG_SIM_MAP_MAGIC)
        gg_sim_fail(sim, site, "%s through %p, which holds no tensor map", what, (const void *)opaque);
    if (map->rank != rank)
        gg_sim_fail(sim, site, "%s of rank %d through a tensor map of rank %d", what, rank, map->rank);
    transfer.bytes = map->box[0] * box_rows(map) * 2;
    u8 *box = gg_sim_shared(sim, shared, transfer.bytes, map->box[0] * 2 * 8, access, what, site);
    if (access == GG_SIM_LOAD_WRITE) memset(box, 0xff, transfer.bytes);
    return transfer;
}

static void enqueue(gg_sim *sim, gg_sim_transfers *queue, const gg_sim_transfer *transfer) {
    queue->items = gg_sim_grow(sim, queue->items, queue->count, &queue->capacity, sizeof *queue->items);
    queue->items[queue->count++] = *transfer;
}

/* The part of a box's row inside the tensor: its place in global memory, its bytes, and how many of the row's bytes come
 * before it. */
typedef struct row_part {
    u8 *global;
    size_t bytes, before;
} row_part;

static row_part part_inside(const gg_sim_transfer *transfer, u32 row) {
    const gg_sim_map *map = &transfer->map;
    int64_t x = transfer->at[0], first = x < 0 ? -x : 0, end = (int64_t)map->dims[0] - x;
    u64 address = (u64)(uintptr_t)map->base; /* wraps, as on the card */
    if (end > (int64_t)map->box[0]) end = map->box[0];
    if (first >= end) return (row_part){0};
    for (int i = 1; i < 5; row /= map->box[i++]) {
        int64_t at = (int64_t)transfer->at[i] + row % map->box[i];
        if (at < 0 || at >= (int64_t)map->dims[i]) return (row_part){0};
        address += (u64)at * map->strides[i - 1];
    }
    return (row_part){.global = (u8 *)(uintptr_t)(address + (u64)(x + first) * 2),
                      .bytes = (size_t)(end - first) * 2,
                      .before = (size_t)first * 2};
}

/* The 16-byte chunks of the box's rows lie swizzled in shared memory, and only elements inside the tensor move. */
static void move_row(const gg_sim_transfer *transfer, u8 *box, u32 row, bool load) {
    const gg_sim_map *map = &transfer->map;
    u32 span = map->box[0] * 2, mask = span - 16, start = row * span;
    row_part part = part_inside(transfer, row);
    u8 line[128] = {0};
    if (load && part.bytes) memcpy(line + part.before, part.global, part.bytes);
    for (u32 c = 0; c < span; c += 16) {
        u32 offset = start + c;
        u8 *chunk = box + (offset ^ (offset >> 3 & mask));
        memcpy(load ? chunk : line + c, load ? line + c : chunk, 16);
    }
    if (!load && part.bytes) memcpy(part.global, line + part.before, part.bytes);
}

static void move_box(const gg_sim_transfer *transfer, u8 *box, bool load) {
    for (u32 row = 0; row < box_rows(&transfer->map); row++) move_row(transfer, box, row, load);
}

/* What the box will touch of global memory, checked when the transfer is issued. Seen on an H200: a load with nothing inside the tensor
 * reads where the map begins, which must be there. */
static void check_box(gg_sim *sim, const gg_sim_transfer *transfer, gg_sim_global_access access, u32 barrier,
                      const char *what) {
    bool inside = false;
    for (u32 row = 0; row < box_rows(&transfer->map); row++) {
        row_part part = part_inside(transfer, row);
        if (part.bytes) gg_sim_global(sim, part.global, part.bytes, access, barrier, what, transfer->site);
        inside |= part.bytes > 0;
    }
    if (!inside && access == GG_SIM_GLOBAL_LOAD)
        gg_sim_global(sim, transfer->map.base, 16, access, barrier, what, transfer->site);
}

void gg_sim_tma_load(sim_api *api, const sim_site *site, u32 dst, const tensor_map *map, int rank, int x,
                     int y, int z, int u, int v, u32 barrier) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_transfer transfer = make_transfer(sim, map, rank, (const int[5]){x, y, z, u, v}, dst,
                                             GG_SIM_LOAD_WRITE, "TMA load", site);
    u32 index = mbarrier_index(sim, find_mbarrier(sim, barrier, site));
    gg_sim_race_mbarrier_use(sim, index, true, site);
    if (sim->race)
        gg_sim_race_access(sim, dst - SIM_SHARED_BASE, transfer.bytes, GG_SIM_LOAD_WRITE, index, "TMA load",
                           site);
    check_box(sim, &transfer, GG_SIM_GLOBAL_LOAD, index, "TMA load");
    transfer.barrier = barrier;
    enqueue(sim, &sim->loads, &transfer);
}

bool gg_sim_land_load(gg_sim *sim) {
    if (!sim->loads.count) return false;
    gg_sim_transfer *place = &sim->loads.items[gg_sim_random(sim) % sim->loads.count], transfer = *place;
    *place = sim->loads.items[--sim->loads.count];
    move_box(&transfer, sim->api.shared + (transfer.shared - SIM_SHARED_BASE), true);
    gg_sim_mbarrier *barrier = find_mbarrier(sim, transfer.barrier, transfer.site);
    u32 index = mbarrier_index(sim, barrier);
    gg_sim_race_landed(sim, transfer.shared - SIM_SHARED_BASE, transfer.bytes, index);
    if (sim->race)
        for (u32 row = 0; row < box_rows(&transfer.map); row++) {
            row_part part = part_inside(&transfer, row);
            if (part.bytes) gg_sim_race_global_landed(sim, part.global, part.bytes, index);
        }
    add_tx(sim, barrier, -(int64_t)transfer.bytes, transfer.site);
    complete_phase(sim, barrier);
    return true;
}

void gg_sim_tma_store(sim_api *api, const sim_site *site, const tensor_map *map, int rank, int x, int y,
                      int z, int u, u32 src) {
    gg_sim *sim = gg_sim_enter(api, site);
    /* seen on an H200: loads may begin before the tensor, stores may not */
    if (x < 0 || y < 0 || z < 0 || u < 0)
        gg_sim_fail(sim, site, "TMA store at negative coordinates %d, %d, %d, %d: an illegal instruction", x,
                    y, z, u);
    gg_sim_transfer transfer =
        make_transfer(sim, map, rank, (const int[5]){x, y, z, u}, src, GG_SIM_STORE_READ, "TMA store", site);
    transfer.owner = sim->current;
    transfer.group = sim->current->store_group;
    check_box(sim, &transfer, GG_SIM_GLOBAL_STORE, 0, "TMA store");
    enqueue(sim, &sim->stores, &transfer);
}

static void read_store(gg_sim *sim, gg_sim_transfer *store) {
    if (store->data) return;
    store->data = malloc(store->bytes);
    if (!store->data)
        gg_sim_fail(sim, store->site, "out of memory for a TMA store of %u bytes", store->bytes);
    memcpy(store->data, sim->api.shared + (store->shared - SIM_SHARED_BASE), store->bytes);
}

/* Reads and writes the store at `index`, and removes it. */
static void land_store(gg_sim *sim, u32 index) {
    gg_sim_transfer *store = &sim->stores.items[index];
    read_store(sim, store);
    move_box(store, store->data, false);
    free(store->data);
    *store = sim->stores.items[--sim->stores.count];
}

void gg_sim_tma_store_commit(sim_api *api, const sim_site *site) {
    gg_sim_enter(api, site)->current->store_group++;
}

void gg_sim_tma_store_wait(sim_api *api, const sim_site *site, int pending, int only_reads) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    if ((int)self->store_group > pending)
        gg_sim_race_stores_done(sim, self->store_group - (u32)pending, !only_reads);
    for (u32 i = 0; i < sim->stores.count;) {
        gg_sim_transfer *store = &sim->stores.items[i];
        bool due = store->owner == self && (int)store->group < (int)self->store_group - pending;
        if (due && only_reads) read_store(sim, store);
        if (due && !only_reads)
            land_store(sim, i);
        else
            i++;
    }
}

/* --- ends --- */
void gg_sim_reset_async(gg_sim *sim) {
    for (u32 i = 0; i < sim->stores.count; i++) free(sim->stores.items[i].data);
    sim->stores.count = sim->loads.count = sim->arrivals.count = sim->mbarrier_count = 0;
    for (u32 i = 0; i < sim->threads; i++) {
        gg_sim_fiber *fiber = &sim->fibers[i];
        fiber->first_copy = fiber->last_copy = 0;
        fiber->copy_group = fiber->store_group = 0;
    }
}

void gg_sim_check_thread_exit(gg_sim *sim, gg_sim_fiber *fiber) {
    gg_sim_check_products(sim, fiber->warp);
    if (!fiber->waited) gg_sim_fail(sim, fiber->site, "thread exits without grid_wait");
    if (fiber->first_copy < fiber->last_copy)
        gg_sim_fail(sim, fiber->copies[fiber->first_copy].site,
                    "thread exits with %u cp.async outstanding, the first",
                    fiber->last_copy - fiber->first_copy);
    for (u32 i = 0; i < sim->stores.count; i++)
        if (sim->stores.items[i].owner == fiber && !sim->stores.items[i].data)
            gg_sim_fail(sim, sim->stores.items[i].site,
                        "thread exits before its TMA store has read shared memory, issued");
}

void gg_sim_check_block_exit(gg_sim *sim) {
    gg_sim_check_warpgroups(sim);
    if (sim->loads.count)
        gg_sim_fail(sim, sim->loads.items[0].site, "block ends with %u TMA loads in flight, the first",
                    sim->loads.count);
    if (sim->arrivals.count)
        gg_sim_fail(sim, sim->arrivals.items[0].site,
                    "block ends with %u arrivals of cp.async to come, the first", sim->arrivals.count);
    while (sim->stores.count) land_store(sim, sim->stores.count - 1);
}

void gg_sim_free_async(gg_sim *sim) {
    for (u32 i = 0; i < sim->stores.count; i++) free(sim->stores.items[i].data);
    free(sim->stores.items);
    free(sim->loads.items);
    free(sim->arrivals.items);
    for (u32 i = 0; i < GG_SIM_MAX_THREADS; i++) free(sim->fibers[i].copies);
}
