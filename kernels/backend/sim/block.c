/* block.c: one resident block: its stacks and shared memory with guard pages, and its start. */
#include "race.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *map_pages(size_t bytes, int protection) {
    void *pages = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

static bool map_memory(gg_sim *sim) {
    size_t page = sim->device->page_bytes, shared = (GG_SIM_SHARED_BYTES + page - 1) / page * page;
    sim->stack_stride = page + GG_SIM_STACK_BYTES;
    sim->shared_area_bytes = shared + 2 * page;
    sim->stacks = map_pages(GG_SIM_MAX_THREADS * sim->stack_stride, PROT_READ | PROT_WRITE);
    sim->shared_area = map_pages(sim->shared_area_bytes, PROT_NONE);
    return sim->stacks && sim->shared_area &&
           mprotect(sim->shared_area + page, shared, PROT_READ | PROT_WRITE) == 0;
}

gg_sim *gg_sim_block_new(gg_sim_device *device) {
    gg_sim *sim = aligned_alloc(64, (sizeof *sim + 63) & ~(size_t)63);
    if (!sim) return NULL;
    memset(sim, 0, sizeof *sim);
    sim->device = device;
#define X(result, name, arguments) .do_##name = gg_sim_##name,
    sim->api = (sim_api){SIM_FUNCTIONS(X)};
#undef X
    if (!map_memory(sim) || (device->checker && !(sim->race = gg_sim_race_new()))) {
        gg_sim_block_free(sim);
        return NULL;
    }
    sim->api.stacks = sim->stacks;
    sim->api.machine_bytes = sizeof *sim;
    sim->api.stacks_bytes = GG_SIM_MAX_THREADS * sim->stack_stride;
    for (u32 i = 0; i < GG_SIM_MAX_THREADS; i++) {
        gg_sim_warp *warp = &sim->warps[i / GG_SIM_LANES];
        if (i % GG_SIM_LANES == 0) warp->fibers = &sim->fibers[i];
        sim->fibers[i].index.x = i;
        sim->fibers[i].lane = i % GG_SIM_LANES;
        sim->fibers[i].warp = warp;
        sim->fibers[i].sim = sim;
    }
    return sim;
}

void gg_sim_block_free(gg_sim *sim) {
    if (!sim) return;
    gg_sim_free_async(sim);
    gg_sim_free_wgmma(sim);
    gg_sim_race_free(sim->device->checker, sim->race);
    if (sim->stacks) munmap(sim->stacks, GG_SIM_MAX_THREADS * sim->stack_stride);
    if (sim->shared_area) munmap(sim->shared_area, sim->shared_area_bytes);
    free(sim);
}

gg_status gg_sim_block_start(gg_sim *sim, u32 index, void (*run)(void *fiber)) {
    const gg_sim_device *device = sim->device;
    sim->threads = device->spec->threads;
    sim->warps_used = sim->threads / GG_SIM_LANES;
    sim->shared_bytes = device->spec->smem_bytes;
    for (; sim->guarded < sim->threads; sim->guarded++)
        if (mprotect(sim->stacks + sim->guarded * sim->stack_stride, device->page_bytes, PROT_NONE))
            return GG_ERR_MEMORY;
    sim->api.shared = sim->shared_area + sim->shared_area_bytes - device->page_bytes -
                      ((sim->shared_bytes + 1023) & ~1023u);
    sim->api.block_index.x = index;
    sim->api.block_dim.x = sim->threads;
    sim->api.grid_dim.x = device->spec->grid;
    memset(sim->api.shared, 0xff, sim->shared_bytes);
    memset(sim->barriers, 0, sizeof sim->barriers);
    gg_sim_reset_async(sim);
    gg_sim_reset_wgmma(sim);
    if (sim->race) gg_sim_race_block(sim);
    sim->resident = true;
    sim->lookers = 0;
    sim->alive = sim->threads;
    sim->rotation = gg_sim_random(sim) & 31;
    /* log-uniform: some blocks are disturbed every few calls, others hardly at all */
    sim->interval = 1u << (4 + gg_sim_random(sim) % 12);
    sim->countdown = 1 + gg_sim_random(sim) % sim->interval;
    for (u32 i = 0; i < sim->warps_used; i++) {
        sim->warps[i].ready = ~0u;
        sim->warps[i].arrived = 0;
        sim->warps[i].priority = gg_sim_random(sim);
    }
    for (u32 i = 0; i < sim->threads; i++) {
        gg_sim_fiber *fiber = &sim->fibers[i];
        fiber->done = false;
        fiber->waited = !device->spec->waits;
        fiber->wait = GG_SIM_RUNNING;
        fiber->site = NULL;
        fiber->word = NULL;
        /* stacks that start at equal offsets would share the same few cache sets */
        u8 *stack = sim->stacks + i * sim->stack_stride + device->page_bytes;
        gg_sim_context_make(&fiber->context, stack, GG_SIM_STACK_BYTES - i * 832 % 8192, run, fiber);
    }
    return GG_OK;
}
