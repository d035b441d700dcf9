/* global.c: what a launch may do with global memory: stay inside it, write no input, read nothing that was never written;
 * and the atomics and flags through which blocks wait for each other. */
#include "order.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool writes(gg_sim_global_access access) {
    return access == GG_SIM_GLOBAL_WRITE || access == GG_SIM_GLOBAL_STORE || access == GG_SIM_GLOBAL_ATOMIC;
}

/* The launch's buffer that holds the byte, or, if none does, the one it is next to; NULL if the launch names none. */
static const gg_buffer *nearest_buffer(const gg_launch_spec *spec, const void *address) {
    uintptr_t at = (uintptr_t)address;
    const gg_buffer *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < spec->buffer_count; i++) {
        const gg_buffer *b = &spec->buffers[i];
        uintptr_t begin = (uintptr_t)b->data, end = begin + b->bytes;
        size_t away = at < begin ? begin - at : at < end ? 0 : at - end + 1;
        if (away >= least) continue;
        least = away;
        nearest = b;
    }
    return nearest;
}

static bool inside(const gg_buffer *b, const void *address, size_t bytes) {
    size_t offset = (uintptr_t)address - (uintptr_t)b->data;
    return bytes <= b->bytes && offset <= b->bytes - bytes;
}

/* No addresses, so that a replay says the same. */
void gg_sim_name_global(gg_sim *sim, const void *address, char *text, size_t size) {
    const gg_buffer *b = nearest_buffer(sim->device->spec, address);
    const gg_sim_allocation *item = gg_sim_memory_find(&sim->device->memory, address);
    if (b)
        snprintf(text, size, "'%s' +0x%zx", b->name, (size_t)((uintptr_t)address - (uintptr_t)b->data));
    else if (item)
        snprintf(text, size, "+0x%zx of %zu bytes", (size_t)((const u8 *)address - item->data), item->bytes);
    else
        snprintf(text, size, "%p", address);
}

/* An access on its way through the rules. */
typedef struct access {
    const void *address;
    size_t bytes;
    gg_sim_global_access kind;
    u32 barrier;
    const char *what;
    const sim_site *site; /* NULL: plain code at pc */
    const void *pc;
} access;

/* Fails the launch: what is wrong, with the place of plain code. */
static _Noreturn void refuse(gg_sim *sim, const access *a, const char *fault) {
    char here[256] = "", where[GG_REASON_SIZE];
    gg_sim_name_global(sim, a->address, where, sizeof where);
    if (!a->site) gg_sim_source_line(a->pc, here, sizeof here);
    gg_sim_fail(sim, a->site, "%s %s: %zu bytes at %s%s%s", a->what, fault, a->bytes, where,
                *here ? ", at " : "", here);
}

static _Noreturn void refuse_outside(gg_sim *sim, const access *a) {
    char here[256] = "", where[GG_REASON_SIZE];
    gg_sim_memory_describe(&sim->device->memory, a->address, where);
    if (!a->site) gg_sim_source_line(a->pc, here, sizeof here);
    gg_sim_fail(sim, a->site, "%s outside global memory: %zu bytes at %p, %s%s%s", a->what, a->bytes,
                a->address, where, *here ? ", at " : "", here);
}

static bool is_known(const gg_sim_allocation *item, size_t offset, size_t bytes) {
    if (!item->known) return false;
    for (size_t part = offset / 2; part <= (offset + bytes - 1) / 2;) {
        if (part % GG_SIM_PARTS == 0 && (part + GG_SIM_PARTS) * 2 <= offset + bytes) {
            if (item->known[part / GG_SIM_PARTS] != 0xff) return false;
            part += GG_SIM_PARTS;
        } else {
            if (!(item->known[part / GG_SIM_PARTS] >> part % GG_SIM_PARTS & 1)) return false;
            part++;
        }
    }
    return true;
}

static void check(gg_sim *sim, gg_sim_allocation *item, const access *a) {
    const gg_launch_spec *spec = sim->device->spec;
    size_t offset = (size_t)((const u8 *)a->address - item->data);
    const u8 *defined = item->known;
    if (spec->buffer_count) {
        const gg_buffer *b = nearest_buffer(spec, a->address);
        if (!inside(b, a->address, a->bytes)) refuse(sim, a, "outside the launch's tensors");
        if (b->use == GG_BUFFER_IN && writes(a->kind)) refuse(sim, a, "to an input");
        if (b->use == GG_BUFFER_IN) { /* nobody writes it, so nobody races */
            if (!is_known(item, offset, a->bytes)) refuse(sim, a, "of what nothing has written");
            return;
        }
        if (b->use == GG_BUFFER_OUT) defined = NULL;
    }
    if (!item->chunks && !(item->chunks = calloc(item->bytes / GG_SIM_CHUNK + 1, sizeof *item->chunks)))
        gg_sim_fail(sim, a->site, "out of memory for the accesses to %zu bytes", item->bytes);
    gg_sim_race_global(sim, item, offset, a->bytes, a->kind, a->barrier, defined, a->what, a->site, a->pc);
    if (writes(a->kind)) gg_sim_memory_know(item, offset, a->bytes);
}

void gg_sim_global(gg_sim *sim, const void *address, size_t bytes, gg_sim_global_access kind, u32 barrier,
                   const char *what, const sim_site *site) {
    gg_sim_allocation *item = gg_sim_memory_find(&sim->device->memory, address);
    const access a = {address, bytes, kind, barrier, what, site, NULL};
    if (!item || !gg_sim_memory_holds(&sim->device->memory, address, bytes)) refuse_outside(sim, &a);
    if (!sim->current->waited) refuse(sim, &a, "before grid_wait");
    if (sim->race) check(sim, item, &a);
}

/* A parameter of the launch, or a constant of the kernel's code. */
static bool is_constant(const gg_sim_device *device, const void *address) {
    Dl_info info;
    return (uintptr_t)address - (uintptr_t)device->params < device->spec->params_bytes ||
           dladdr(address, &info);
}

void gg_sim_plain_global(gg_sim *sim, const void *address, size_t bytes, bool write, const void *pc) {
    gg_sim_allocation *item = gg_sim_memory_find(&sim->device->memory, address);
    const access a = {.address = address,
                      .bytes = bytes,
                      .kind = write ? GG_SIM_GLOBAL_WRITE : GG_SIM_GLOBAL_READ,
                      .what = write ? "store" : "load",
                      .pc = pc};
    if (!item && !write && is_constant(sim->device, address)) return;
    if (!item || !gg_sim_memory_holds(&sim->device->memory, address, bytes)) refuse_outside(sim, &a);
    if (!sim->current->waited) refuse(sim, &a, "before grid_wait");
    check(sim, item, &a);
}

/* A prefetch brings nothing that a kernel could see, but outside memory it is a fault of the launch. */
void gg_sim_prefetch(sim_api *api, const sim_site *site, const void *address, u32 bytes) {
    gg_sim *sim = gg_sim_enter(api, site);
    if ((uintptr_t)address % 16 || bytes % 16)
        gg_sim_fail(sim, site, "misaligned prefetch: %u bytes at %p are not in multiples of 16", bytes,
                    address);
    gg_sim_global(sim, address, bytes, GG_SIM_GLOBAL_READ, 0, "prefetch", site);
}

/* --- atomics and flags --- */

/* Checks an access to one aligned word. */
static void touch_word(gg_sim *sim, const void *address, u32 bytes, gg_sim_global_access kind,
                       const char *what, const sim_site *site) {
    if ((uintptr_t)address % bytes)
        gg_sim_fail(sim, site, "misaligned %s: address %p is not a multiple of %u", what, address, bytes);
    gg_sim_global(sim, address, bytes, kind, 0, what, site);
}

u64 gg_sim_atomic(sim_api *api, const sim_site *site, void *address, u32 bytes, int operation, u64 value) {
    bool again = ((gg_sim *)api)->current->site == site;
    gg_sim *sim = gg_sim_enter(api, site);
    u64 old = 0, new;
    touch_word(sim, address, bytes, GG_SIM_GLOBAL_ATOMIC, "atomic", site);
    if ((operation & ~SIM_ATOMIC_RELEASE) == SIM_ATOMIC_ADD && value == 0)
        gg_sim_look(sim, address, bytes, again);
    memcpy(&old, address, bytes);
    new = (operation & ~SIM_ATOMIC_RELEASE) == SIM_ATOMIC_ADD ? old + value : value < old ? value : old;
    if (operation & SIM_ATOMIC_RELEASE)
        gg_sim_race_release(sim, address, true);
    else
        gg_sim_race_relaxed(sim, address);
    memcpy(address, &new, bytes);
    return old;
}

u64 gg_sim_load_acquire(sim_api *api, const sim_site *site, const void *address, u32 bytes) {
    bool again = ((gg_sim *)api)->current->site == site;
    gg_sim *sim = gg_sim_enter(api, site);
    u64 value = 0;
    touch_word(sim, address, bytes, GG_SIM_GLOBAL_LOOK, "load_acquire", site);
    gg_sim_look(sim, address, bytes, again);
    gg_sim_race_acquire(sim, address);
    memcpy(&value, address, bytes);
    return value;
}

void gg_sim_store_release(sim_api *api, const sim_site *site, void *address, u32 bytes, u64 value) {
    gg_sim *sim = gg_sim_enter(api, site);
    touch_word(sim, address, bytes, GG_SIM_GLOBAL_ATOMIC, "store_release", site);
    gg_sim_race_release(sim, address, false);
    memcpy(address, &value, bytes);
}
