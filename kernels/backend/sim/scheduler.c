/* scheduler.c: runs a grid: blocks in random order, side by side as soon as one waits for another, the threads of a block
 * as fibers; and says where they wait when none can go on. */
#include "race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

static u32 draw(gg_sim_device *device) {
    device->random ^= device->random << 13;
    device->random ^= device->random >> 7;
    device->random ^= device->random << 17;
    return (u32)(device->random >> 24);
}

u32 gg_sim_random(gg_sim *sim) { return draw(sim->device); }

static void resume(gg_sim *sim, gg_sim_fiber *next) {
    gg_sim_fiber *self = sim->current;
    if (next == self) return;
    sim->current = next;
    sim->api.thread_index = &next->index;
    gg_sim_context_switch(&self->context, &next->context);
}

/* From the running thread to the launcher, until it or another lets this thread go on. */
static void leave(gg_sim *sim) {
    sim->device->active = NULL;
    gg_sim_context_switch(&sim->current->context, &sim->device->launcher);
}

/* From the launcher to a thread of a block, until some thread leaves. */
static void enter(gg_sim_device *device, gg_sim *sim, gg_sim_fiber *next) {
    device->bind(&sim->api);
    device->active = sim;
    sim->current = next;
    sim->api.thread_index = &next->index;
    gg_sim_context_switch(&device->launcher, &next->context);
}

void gg_sim_note(gg_sim *sim, const sim_site *site, const char *format, va_list arguments) {
    gg_sim_device *device = sim->device;
    char *text = device->error;
    size_t used = (size_t)vsnprintf(text, GG_ERROR_SIZE, format, arguments);
    if (used >= GG_ERROR_SIZE) used = GG_ERROR_SIZE - 1;
    if (site)
        used += (size_t)snprintf(text + used, GG_ERROR_SIZE - used, " at %s:%d", site->file, site->line);
    if (used < GG_ERROR_SIZE)
        snprintf(text + used, GG_ERROR_SIZE - used,
                 ", thread %u of block %u, simulator seed %llu, kernel '%s'", sim->current->index.x,
                 sim->api.block_index.x, device->seed, device->spec->label ? device->spec->label : "?");
    device->failed = true;
}

_Noreturn void gg_sim_fail(gg_sim *sim, const sim_site *site, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    gg_sim_note(sim, site, format, arguments);
    va_end(arguments);
    leave(sim);
    abort(); /* nobody resumes a failed thread */
}

static void note(gg_sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(gg_sim *sim, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    gg_sim_note(sim, NULL, format, arguments);
    va_end(arguments);
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
    } else if (fiber->wait == GG_SIM_WORD) {
        char where[GG_REASON_SIZE];
        gg_sim_memory_describe(&sim->device->memory, fiber->word, where);
        snprintf(text, size, " (%s, where %llu stays)", where, fiber->word_value);
    }
}

static bool same_place(const gg_sim_fiber *a, const gg_sim_fiber *b) {
    return a->wait == b->wait && a->site == b->site;
}

/* Whether a block takes part in a deadlock: `stuck`, or any if that is NULL. */
static bool takes_part(const gg_sim *sim, const gg_sim *stuck) {
    return sim && sim->resident && (!stuck || sim == stuck);
}

/* The threads that wait where `fiber` of block `self` does; 0 if one of them comes before it. */
static u32 count_waiting(const gg_sim_device *device, const gg_sim *stuck, const gg_sim *self,
                         const gg_sim_fiber *fiber, u32 *blocks) {
    u32 count = 0;
    *blocks = 0;
    for (u32 b = 0; b < GG_SIM_MAX_RESIDENT; b++) {
        const gg_sim *sim = device->blocks[b];
        u32 before = count;
        for (u32 i = 0; takes_part(sim, stuck) && i < sim->threads; i++) {
            const gg_sim_fiber *other = &sim->fibers[i];
            if (sim == self && other == fiber && count) return 0;
            if (!other->done && same_place(other, fiber)) count++;
        }
        *blocks += count > before;
    }
    return count;
}

/* Every distinct waiting place once, with the number of its threads: of a block that no other can help, or of all. */
static void report_deadlock(gg_sim_device *device, const gg_sim *stuck) {
    enum { PLACES_SIZE = GG_ERROR_SIZE - 512 }; /* the end of the line must fit too */
    char places[PLACES_SIZE] = "", later[96] = "";
    size_t used = 0;
    u32 left = 0, gone = 0, waiting = device->spec->grid - device->started;
    gg_sim *first = NULL;
    for (u32 b = 0; b < GG_SIM_MAX_RESIDENT; b++) {
        gg_sim *sim = device->blocks[b];
        for (u32 i = 0; takes_part(sim, stuck) && i < sim->threads; i++) {
            const gg_sim_fiber *fiber = &sim->fibers[i];
            gone += fiber->done;
            if (fiber->done) continue;
            left++;
            if (!first) {
                first = sim;
                first->current = &sim->fibers[i];
            }
            u32 blocks, same = count_waiting(device, stuck, sim, fiber, &blocks);
            if (!same || used >= PLACES_SIZE) continue;
            char detail[GG_REASON_SIZE + 64], of[32] = "";
            describe_wait(sim, fiber, detail, sizeof detail);
            if (blocks > 1) snprintf(of, sizeof of, " of %u blocks", blocks);
            used += (size_t)snprintf(places + used, PLACES_SIZE - used, "%s %u%s in %s at %s:%d%s",
                                     used ? ";" : "", same, of, wait_name(fiber->wait), fiber->site->file,
                                     fiber->site->line, detail);
        }
    }
    if (!stuck && waiting && device->resident >= device->capacity)
        snprintf(later, sizeof later, "; %u blocks have not begun, %u are all that the device holds", waiting,
                 device->capacity);
    note(first, "deadlock: %u threads wait, %u have exited:%s%s", left, gone, places, later);
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
    gg_sim_warp *warp = sim->current->warp;
    if (!warp->ready)
        while (!(warp = ready_warp(sim)))
            if (!sim->alive || (!gg_sim_land_load(sim) && !gg_sim_land_arrival(sim))) {
                leave(sim); /* another block's turn */
                return;
            }
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
    if (sim->device->landing == GG_SIM_LAND_RANDOM) {
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
    if (sim->device->resident > 1 && gg_sim_random(sim) % 4 == 0) {
        leave(sim);
        return;
    }
    gg_sim_warp *warp = ready_warp(sim);
    u32 lane = (u32)__builtin_ctz(warp->ready);
    warp->ready &= ~(1u << lane);
    resume(sim, &warp->fibers[lane]);
}

static void run_thread(void *argument) {
    gg_sim_fiber *self = argument;
    gg_sim *sim = self->sim;
    sim->device->kernel->run(sim->device->params);
    gg_sim_check_thread_exit(sim, self);
    self->done = true;
    if (--sim->alive == 0) gg_sim_check_block_exit(sim);
    schedule(sim);
    abort(); /* a thread that is done is never ready */
}

/* --- threads that wait for global memory to change, as others write it --- */

static u64 word_at(const void *address, u32 bytes) {
    u64 value = 0;
    memcpy(&value, address, bytes);
    return value;
}

void gg_sim_look(gg_sim *sim, const void *address, u32 bytes, bool again) {
    gg_sim_fiber *self = sim->current;
    u64 value = word_at(address, bytes);
    if (again && self->word == address && self->word_value == value) {
        sim->lookers++;
        gg_sim_block(sim, GG_SIM_WORD);
        value = word_at(address, bytes);
    }
    self->word = address;
    self->word_bytes = bytes;
    self->word_value = value;
}

/* Makes the threads ready whose word has changed, or all. */
static void wake_lookers(gg_sim *sim, bool all) {
    for (u32 i = 0; sim->lookers && i < sim->threads; i++) {
        gg_sim_fiber *fiber = &sim->fibers[i];
        if (fiber->wait != GG_SIM_WORD || fiber->warp->ready & 1u << fiber->lane) continue;
        if (!all && word_at(fiber->word, fiber->word_bytes) == fiber->word_value) continue;
        fiber->warp->ready |= 1u << fiber->lane;
        sim->lookers--;
    }
}

/* --- blocks --- */

static void shuffle_blocks(gg_sim_device *device) {
    for (u32 i = 0; i < device->spec->grid; i++) {
        u32 j = draw(device) % (i + 1);
        device->order[i] = device->order[j];
        device->order[j] = i;
    }
}

/* As many blocks as a GPU would hold at a time; others begin when these have ended. */
static u32 resident_blocks(const gg_launch_spec *spec, const gg_device *gpu) {
    u32 by_threads = gpu->threads_per_sm / spec->threads,
        by_smem = gpu->smem_per_sm / (spec->smem_bytes + 1024);
    u32 each = by_threads < by_smem ? by_threads : by_smem, all = (each ? each : 1) * (u32)gpu->sm_count;
    return all < GG_SIM_MAX_RESIDENT ? all : GG_SIM_MAX_RESIDENT;
}

static gg_status start_next(gg_sim_device *device, gg_sim **out) {
    u32 slot = 0;
    while (device->blocks[slot] && device->blocks[slot]->resident) slot++;
    if (!device->blocks[slot]) device->blocks[slot] = gg_sim_block_new(device);
    *out = device->blocks[slot];
    if (!*out || gg_sim_block_start(*out, device->order[device->started], run_thread)) {
        snprintf(device->error, GG_ERROR_SIZE, "out of memory for %u blocks at a time", device->resident + 1);
        return GG_ERR_MEMORY;
    }
    device->started++;
    device->resident++;
    return GG_OK;
}

/* A resident block that can go on, at random; NULL if there is none. */
static gg_sim *ready_block(gg_sim_device *device) {
    gg_sim *ready[GG_SIM_MAX_RESIDENT];
    u32 count = 0;
    for (u32 b = 0, left = device->resident; left; b++) {
        gg_sim *sim = device->blocks[b];
        if (!sim || !sim->resident) continue;
        left--;
        wake_lookers(sim, false);
        if (ready_warp(sim)) ready[count++] = sim;
    }
    return count ? ready[draw(device) % count] : NULL;
}

/* Nothing can go on: perhaps a thread that looked twice would not have waited for ever. */
static bool look_once_more(gg_sim_device *device) {
    bool any = false;
    for (u32 b = 0; b < GG_SIM_MAX_RESIDENT; b++) {
        gg_sim *sim = device->blocks[b];
        if (!sim || !sim->resident || !sim->lookers) continue;
        wake_lookers(sim, true);
        any = true;
    }
    return any && device->polls && device->polls--;
}

static gg_status run_blocks(gg_sim_device *device) {
    while (!device->failed) {
        gg_sim *sim = ready_block(device);
        bool room = device->started < device->spec->grid && device->resident < device->capacity;
        /* a new one where none can go on, and now and then where others have waited for each other */
        if (room && (!sim || draw(device) % 4 == 0)) {
            gg_status status = start_next(device, &sim);
            if (status) return status;
        }
        if (!sim && !device->resident) return GG_OK;
        if (!sim && look_once_more(device)) continue;
        if (!sim) {
            report_deadlock(device, NULL);
            break;
        }
        gg_sim_warp *warp = ready_warp(sim);
        u32 turned = warp->ready >> sim->rotation | warp->ready << (31 & -sim->rotation);
        u32 lane = ((u32)__builtin_ctz(turned) + sim->rotation) & 31;
        warp->ready &= ~(1u << lane);
        enter(device, sim, &warp->fibers[lane]);
        if (device->failed) break;
        if (!sim->alive) {
            gg_sim_race_block_end(sim);
            sim->resident = false;
            device->resident--;
        } else if (!sim->lookers && !ready_warp(sim)) {
            report_deadlock(device, sim);
        }
    }
    return GG_ERR_LAUNCH;
}

/* The address sanitizer would take the frames of threads that never returned for live ones. */
static void forget_frames(gg_sim_device *device) {
    for (u32 b = 0; b < GG_SIM_MAX_RESIDENT; b++) {
        gg_sim *sim = device->blocks[b];
        if (!sim || !sim->resident) continue;
        sim->resident = false;
#ifdef __SANITIZE_ADDRESS__
        ASAN_UNPOISON_MEMORY_REGION(sim->stacks, GG_SIM_MAX_THREADS * sim->stack_stride);
#endif
    }
}

gg_status gg_sim_run(gg_sim_device *device, const gg_launch_spec *spec, const gg_device *gpu) {
    gg_status status = GG_OK;
    device->order = malloc(spec->grid * sizeof *device->order);
    device->params = aligned_alloc(64, (spec->params_bytes + 63) & ~(size_t)63);
    if (!device->order || !device->params) {
        snprintf(device->error, GG_ERROR_SIZE, "out of memory for the launch of %u blocks", spec->grid);
        status = GG_ERR_MEMORY;
        goto out;
    }
    memcpy(device->params, spec->params, spec->params_bytes);
    device->spec = spec;
    device->failed = false;
    device->started = device->resident = 0;
    device->capacity = resident_blocks(spec, gpu);
    device->polls = GG_SIM_POLLS;
    device->random = (device->seed + 1) * 0x9E3779B97F4A7C15u; /* never 0 for a seed below 2^64 - 1 */
    for (int i = 0; i < 8; i++) draw(device);
    /* race mode takes turns: missing waits show when all is late, wrong orders when some is early */
    device->landing = device->checker && device->seed & 1 ? GG_SIM_LAND_RANDOM : device->options.landing;
    gg_sim_race_launch(device);
    shuffle_blocks(device);
    status = run_blocks(device);
    if (status) forget_frames(device);
out:
    free(device->order);
    free(device->params);
    device->params = NULL;
    device->order = NULL;
    return status;
}
