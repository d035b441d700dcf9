/* memory.c: the simulated device's global memory: host pages, with a guard page before and after each
 * allocation. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 256 }; /* as cuMemAlloc gives; data end less than this before the guard page */

static size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

gg_status gg_sim_memory_alloc(gg_sim_memory *memory, size_t bytes, void **out) {
    if (memory->count == memory->capacity) {
        size_t larger = memory->capacity ? memory->capacity * 2 : 16;
        gg_sim_allocation *moved = realloc(memory->items, larger * sizeof *moved);
        if (!moved) return GG_ERR_MEMORY;
        memory->items = moved;
        memory->capacity = larger;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes > SIZE_MAX / 2) return GG_ERR_MEMORY;
    size_t inner = round_up(bytes, page), total = inner + 2 * page;
    u8 *mapping = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return GG_ERR_MEMORY;
    if (inner && mprotect(mapping + page, inner, PROT_READ | PROT_WRITE)) {
        munmap(mapping, total);
        return GG_ERR_MEMORY;
    }
    u8 *data = mapping + page + inner - round_up(bytes, ALIGNMENT), *known = calloc(bytes / 16 + 1, 1);
    if (!known) {
        munmap(mapping, total);
        return GG_ERR_MEMORY;
    }
    memory->items[memory->count++] = (gg_sim_allocation){
        .data = data, .bytes = bytes, .mapping = mapping, .mapping_bytes = total, .known = known};
    *out = data;
    return GG_OK;
}

bool gg_sim_memory_free(gg_sim_memory *memory, void *data) {
    for (size_t i = 0; i < memory->count; i++) {
        if (memory->items[i].data != data) continue;
        free(memory->items[i].known);
        free(memory->items[i].chunks);
        munmap(memory->items[i].mapping, memory->items[i].mapping_bytes);
        memory->items[i] = memory->items[--memory->count];
        memset(memory->recent, 0, sizeof memory->recent);
        return true;
    }
    return false;
}

void gg_sim_memory_close(gg_sim_memory *memory) {
    for (size_t i = 0; i < memory->count; i++) {
        free(memory->items[i].known);
        free(memory->items[i].chunks);
        munmap(memory->items[i].mapping, memory->items[i].mapping_bytes);
    }
    free(memory->items);
    *memory = (gg_sim_memory){0};
}

void gg_sim_memory_know(gg_sim_allocation *item, size_t offset, size_t bytes) {
    enum { PARTS = 8 }; /* of 2 bytes in a chunk */
    if (!bytes || !item->known) return;
    size_t first = offset / 2, last = (offset + bytes - 1) / 2;
    for (size_t i = first; i <= last;) {
        if (i % PARTS == 0 && last - i >= PARTS - 1) {
            size_t chunks = (last - i + 1) / PARTS;
            memset(item->known + i / PARTS, 0xff, chunks);
            i += chunks * PARTS;
        } else {
            item->known[i / PARTS] |= (u8)(1u << i % PARTS);
            i++;
        }
    }
}

static bool holds(const gg_sim_allocation *item, uintptr_t address, size_t bytes) {
    size_t offset = address - (uintptr_t)item->data;
    return bytes <= item->bytes && offset <= item->bytes - bytes;
}

gg_sim_allocation *gg_sim_memory_find(gg_sim_memory *memory, const void *address) {
    uintptr_t at = (uintptr_t)address;
    u32 *recent = &memory->recent[at / GG_SIM_RECENT_BYTES % GG_SIM_RECENT];
    for (size_t i = 0; i <= memory->count && memory->count; i++) { /* first the one last found hereabouts */
        gg_sim_allocation *item = &memory->items[i ? i - 1 : *recent];
        if (at - (uintptr_t)item->mapping >= item->mapping_bytes) continue;
        *recent = (u32)(item - memory->items);
        return item;
    }
    return NULL;
}

bool gg_sim_memory_holds(gg_sim_memory *memory, const void *address, size_t bytes) {
    const gg_sim_allocation *item = gg_sim_memory_find(memory, address);
    return item && holds(item, (uintptr_t)address, bytes);
}

/* The allocation that lies nearest to an address, NULL when there is none; `distance` is 0 inside it. */
static const gg_sim_allocation *nearest_to(const gg_sim_memory *memory, uintptr_t at, size_t *distance) {
    const gg_sim_allocation *nearest = NULL;
    *distance = SIZE_MAX;
    for (size_t i = 0; i < memory->count; i++) {
        uintptr_t begin = (uintptr_t)memory->items[i].data, end = begin + memory->items[i].bytes;
        size_t away = at < begin ? begin - at : at >= end ? at - end : 0;
        if (away >= *distance) continue;
        *distance = away;
        nearest = &memory->items[i];
    }
    return nearest;
}

size_t gg_sim_memory_distance(const gg_sim_memory *memory, const void *address) {
    size_t distance;
    nearest_to(memory, (uintptr_t)address, &distance);
    return distance;
}

void gg_sim_memory_describe(const gg_sim_memory *memory, const void *address, char text[GG_REASON_SIZE]) {
    uintptr_t at = (uintptr_t)address;
    size_t distance;
    const gg_sim_allocation *nearest = nearest_to(memory, at, &distance);
    if (!nearest) {
        snprintf(text, GG_REASON_SIZE, "with nothing allocated");
        return;
    }
    bool before = at < (uintptr_t)nearest->data,
         within = !before && at < (uintptr_t)nearest->data + nearest->bytes;
    snprintf(text, GG_REASON_SIZE, "%zu bytes %s the %zu-byte allocation at %p",
             within ? (size_t)(at - (uintptr_t)nearest->data) : distance,
             within   ? "into"
             : before ? "before"
                      : "past the end of",
             nearest->bytes, (void *)nearest->data);
}
