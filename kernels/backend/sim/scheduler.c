/* scheduler.c: runs a grid: blocks in random order, the threads of a block as fibers, and says where they
 * wait when none can go on. */
#include "race.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

u32 gg_sim_random(gg_sim *sim) {
    sim->random ^= sim->random << 13;
    sim->random ^= sim->random >> 7;
    sim->random ^= sim->random << 17;
    return (u32)(sim->random >> 24);
}

static void resume(gg_sim *sim, gg_sim_fiber *next) {
    gg_sim_fiber *self = sim->current;
    if (next == self) return;
    sim->current = next;
    sim->api.thread_index = &next->index;
    gg_sim_context_switch(&self->context, &next->context);
}

_Noreturn void gg_sim_fail(gg_sim *sim, const sim_site *site, const char *format, ...) {
    char *text = sim->error;
    size_t used = 0;
    va_list arguments;
    va_start(arguments, format);
    used = (size_t)vsnprintf(text, GG_ERROR_SIZE, format, arguments);
    va_end(arguments);
    if (used >= GG_ERROR_SIZE) used = GG_ERROR_SIZE - 1;
    if (site)
        used += (size_t)snprintf(text + used, GG_ERROR_SIZE - used, " at %s:%d", site->file, site->line);
    if (used < GG_ERROR_SIZE)
        snprintf(text + used, GG_ERROR_SIZE - used,
                 ", thread %u of block %u, kernel '%s', simulator seed %llu", sim->current->index.x,
                 sim->api.block_index.x, sim->spec->label ? sim->spec->label : "?", sim->seed);
    sim->failed = true;
    resume(sim, &sim->launcher);
    abort(); /* nobody resumes a failed thread */
}

static const char *wait_name(gg_sim_wait wait) {
#define X(name, text) text,
    static const char *const names[] = {GG_SIM_WAITS(X)};
#undef X
    return names[wait];
}

/* What the barrier of a waiting thread still lacks. */
static void describe_wait(const gg_sim *sim, const gg_sim_fiber *fiber, char *text, size_t size) {
    text[0] = '\0';
    if (fiber->wait == GG_SIM_BARRIER_SYNC) {
        const gg_sim_barrier *b = &sim->barriers[fiber->barrier];
        if (b->expected)
            snprintf(text, size, " (barrier %u has %u of %u threads)", fiber->barrier, b->arrived,
                     b->expected);
        else
            snprintf(text, size, " (barrier %u: no whole warp has come)", fiber->barrier);
    } else if (fiber->wait == GG_SIM_MBARRIER_WAIT) {
        const gg_sim_mbarrier *b = &sim->mbarriers[fiber->barrier];
        snprintf(text, size, " (mbarrier 0x%x, phase %u, parity %u, lacks %u arrivals and %lld bytes)",
                 b->address, b->phase, fiber->parity, b->pending, (long long)b->tx);
    }
}

/* Every distinct waiting place once, with the number of its threads. */
static _Noreturn void report_deadlock(gg_sim *sim) {
    enum { PLACES_SIZE = GG_ERROR_SIZE - 512 }; /* the end of the line must fit too */
    char places[PLACES_SIZE] = "";
    size_t used = 0;
    u32 left = 0;
    for (u32 i = 0; i < sim->threads; i++) {
        const gg_sim_fiber *fiber = &sim->fibers[i];
        if (fiber->done) continue;
        left++;
        u32 same = 0, earlier = 0;
        for (u32 j = 0; j < sim->threads; j++) {
            const gg_sim_fiber *other = &sim->fibers[j];
            bool match = !other->done && other->wait == fiber->wait && other->site == fiber->site;
            same += match;
            earlier += match && j < i;
        }
        if (earlier || used >= PLACES_SIZE) continue;
        char detail[160];
        describe_wait(sim, fiber, detail, sizeof detail);
        used += (size_t)snprintf(places + used, PLACES_SIZE - used, "%s %u in %s at %s:%d%s", used ? ";" : "",
                                 same, wait_name(fiber->wait), fiber->site->file, fiber->site->line, detail);
    }
    gg_sim_fail(sim, NULL, "deadlock: %u threads wait, %u have exited:%s", left, sim->threads - left, places);
}

/* Highest priority first, so that one warp may run far ahead of the others. */
static gg_sim_warp *ready_warp(gg_sim *sim) {
    gg_sim_warp *best = NULL;
    for (u32 i = 0; i < sim->warps_used; i++) {
        gg_sim_warp *warp = &sim->warps[i];
        if (warp->ready && (!best || warp->priority > best->priority)) best = warp;
    }
    return best;
}

/* Leaves the current thread, which is done, waits or has been made ready again. */
static void schedule(gg_sim *sim) {
    if (sim->alive == 0) {
        resume(sim, &sim->launcher);
        return;
    }
    gg_sim_warp *warp = sim->current->warp;
    if (!warp->ready)
        while (!(warp = ready_warp(sim)))
            if (!gg_sim_land_load(sim) && !gg_sim_land_arrival(sim)) report_deadlock(sim);
    u32 rotation = sim->rotation;
    u32 turned = warp->ready >> rotation | warp->ready << (31 & -rotation);
    u32 lane = ((u32)__builtin_ctz(turned) + rotation) & 31;
    warp->ready &= ~(1u << lane);
    resume(sim, &warp->fibers[lane]);
}

void gg_sim_block(gg_sim *sim, gg_sim_wait wait) {
    gg_sim_fiber *self = sim->current;
    self->wait = wait;
    schedule(sim);
    self->wait = GG_SIM_RUNNING;
}

/* Lets another warp overtake and, if asked to, lands something early. */
void gg_sim_random_step(gg_sim *sim) {
    sim->countdown = 1 + gg_sim_random(sim) % sim->interval;
    if (sim->landing == GG_SIM_LAND_RANDOM) {
        u32 which = gg_sim_random(sim) % 4;
        if (which == 3)
            gg_sim_land_arrival(sim);
        else if (which == 0)
            gg_sim_land_load(sim);
        else if (which == 1)
            gg_sim_land_copy(sim);
        else
            gg_sim_land_product(sim);
    }
    gg_sim_fiber *self = sim->current;
    self->warp->ready |= 1u << self->lane;
    self->warp->priority = gg_sim_random(sim);
    gg_sim_warp *warp = ready_warp(sim);
    u32 lane = (u32)__builtin_ctz(warp->ready);
    warp->ready &= ~(1u << lane);
    resume(sim, &warp->fibers[lane]);
}

static void run_thread(void *argument) {
    gg_sim_fiber *self = argument;
    gg_sim *sim = self->sim;
    sim->kernel->run(sim->params);
    gg_sim_check_thread_exit(sim, self);
    self->done = true;
    if (--sim->alive == 0) gg_sim_check_block_exit(sim);
    schedule(sim);
    abort(); /* a thread that is done is never ready */
}

static void start_block(gg_sim *sim, u32 index) {
    sim->api.block_index.x = index;
    memset(sim->api.shared, 0xff, sim->shared_bytes);
    memset(sim->barriers, 0, sizeof sim->barriers);
    gg_sim_reset_async(sim);
    gg_sim_reset_wgmma(sim);
    if (sim->race) gg_sim_race_block(sim);
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
        fiber->wait = GG_SIM_RUNNING;
        fiber->site = NULL;
        /* stacks that start at equal offsets would share the same few cache sets */
        u8 *stack = sim->stacks + i * sim->stack_stride + sim->page_bytes;
        gg_sim_context_make(&fiber->context, stack, GG_SIM_STACK_BYTES - i * 832 % 8192, run_thread, fiber);
    }
}

/* The address sanitizer would take the frames of threads that never returned for live ones. */
static void forget_frames(gg_sim *sim) {
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(sim->stacks, GG_SIM_MAX_THREADS * sim->stack_stride);
#else
    (void)sim;
#endif
}

static void shuffle_blocks(gg_sim *sim, u32 *order, u32 count) {
    for (u32 i = 0; i < count; i++) {
        u32 j = gg_sim_random(sim) % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}

gg_status gg_sim_run(gg_sim *sim, const sim_kernel *kernel, const gg_launch_spec *spec) {
    gg_status status = GG_OK;
    u32 *order = malloc(spec->grid * sizeof *order);
    sim->params = aligned_alloc(64, (spec->params_bytes + 63) & ~(size_t)63);
    if (!order || !sim->params) {
        snprintf(sim->error, GG_ERROR_SIZE, "out of memory for the launch of %u blocks", spec->grid);
        status = GG_ERR_MEMORY;
        goto out;
    }
    memcpy(sim->params, spec->params, spec->params_bytes);
    sim->kernel = kernel;
    sim->spec = spec;
    sim->failed = false;
    sim->threads = spec->threads;
    sim->warps_used = spec->threads / GG_SIM_LANES;
    sim->shared_bytes = spec->smem_bytes;
    sim->api.shared =
        sim->shared_area + sim->shared_area_bytes - sim->page_bytes - ((spec->smem_bytes + 1023) & ~1023u);
    sim->random = (sim->seed + 1) * 0x9E3779B97F4A7C15u; /* never 0 for a seed below 2^64 - 1 */
    for (int i = 0; i < 8; i++) gg_sim_random(sim);
    /* race mode takes turns: missing waits show when all is late, wrong orders when some is early */
    sim->landing = sim->race && sim->seed & 1 ? GG_SIM_LAND_RANDOM : sim->options.landing;
    if (sim->race) gg_sim_race_launch(sim);
    sim->api.block_dim.x = spec->threads;
    sim->api.grid_dim.x = spec->grid;
    shuffle_blocks(sim, order, spec->grid);
    for (u32 i = 0; i < spec->grid && !sim->failed; i++) {
        start_block(sim, order[i]);
        sim->current = &sim->launcher;
        gg_sim_warp *warp = ready_warp(sim);
        warp->ready &= ~(1u << sim->rotation);
        resume(sim, &warp->fibers[sim->rotation]);
    }
    if (sim->failed) {
        status = GG_ERR_LAUNCH;
        forget_frames(sim);
    }
out:
    free(order);
    free(sim->params);
    sim->params = NULL;
    return status;
}
