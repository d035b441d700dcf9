/* collectives.c: what a warp or a block does together: the last thread to arrive does the work and frees the
 * others. */
#include "race.h"

bool gg_sim_meet(gg_sim *sim, gg_sim_wait wait, u64 agreed, const sim_site *site) {
    gg_sim_fiber *self = sim->current;
    gg_sim_warp *warp = self->warp;
    if (!warp->arrived) {
        warp->wait = wait;
        warp->site = site;
        warp->agreed = agreed;
    } else if (warp->wait != wait || warp->site != site) {
        gg_sim_fail(sim, site, "diverged warp: other lanes wait at %s:%d, this one comes", warp->site->file,
                    warp->site->line);
    } else if (warp->agreed != agreed) {
        gg_sim_fail(sim, site, "diverged warp: lanes give different arguments");
    }
    warp->arrived |= 1u << self->lane;
    if (~warp->arrived) {
        gg_sim_block(sim, wait);
        return false;
    }
    warp->arrived = 0;
    return true;
}

void gg_sim_release(gg_sim_fiber *last) { last->warp->ready = ~(1u << last->lane); }

/* The warp's arrival at a barrier; `wait` false for named_arrive. */
static void arrive(gg_sim *sim, int id, int threads, bool wait, const sim_site *site) {
    gg_sim_fiber *self = sim->current;
    if (id < 0 || id >= GG_SIM_BARRIERS) gg_sim_fail(sim, site, "barrier %d is not one of 0 to 15", id);
    if (threads == 0) threads = (int)sim->threads;
    if (threads < 0 || threads % GG_SIM_LANES || (u32)threads > sim->threads)
        gg_sim_fail(sim, site, "barrier %d for %d threads, not a multiple of 32 up to %u", id, threads,
                    sim->threads);
    self->barrier = (u32)id;
    if (!gg_sim_meet(sim, wait ? GG_SIM_BARRIER_SYNC : GG_SIM_BARRIER_ARRIVE, (u64)id << 32 | (u32)threads,
                     site))
        return;
    gg_sim_barrier *barrier = &sim->barriers[id];
    u32 self_warp = (u32)(self->warp - sim->warps);
    if (barrier->arrived == 0)
        barrier->expected = (u32)threads;
    else if (barrier->expected != (u32)threads)
        gg_sim_fail(sim, site, "barrier %d for %d threads, other warps say %u", id, threads,
                    barrier->expected);
    barrier->arrived += GG_SIM_LANES;
    gg_sim_race_barrier_arrive(sim, (u32)id, self->warp);
    if (wait) barrier->waiting |= 1u << self_warp;
    bool complete = barrier->arrived == barrier->expected;
    if (complete) {
        gg_sim_race_barrier_complete(sim, (u32)id, barrier->waiting);
        for (u32 left = barrier->waiting; left; left &= left - 1) sim->warps[__builtin_ctz(left)].ready = ~0u;
        *barrier = (gg_sim_barrier){0};
    }
    if (complete || !wait)
        gg_sim_release(self);
    else
        gg_sim_block(sim, GG_SIM_BARRIER_SYNC);
}

void gg_sim_barrier_sync(sim_api *api, const sim_site *site, int id, int threads) {
    arrive(gg_sim_enter(api, site), id, threads, true, site);
}

void gg_sim_barrier_arrive(sim_api *api, const sim_site *site, int id, int threads) {
    arrive(gg_sim_enter(api, site), id, threads, false, site);
}

void gg_sim_warp_sync(sim_api *api, const sim_site *site) {
    gg_sim *sim = gg_sim_enter(api, site);
    if (!gg_sim_meet(sim, GG_SIM_WARP_SYNC, 0, site)) return;
    gg_sim_race_warp_sync(sim, sim->current->warp);
    gg_sim_release(sim->current);
}

/* Launches run in turn, so that there is nothing to wait for: only that it is called is checked. */
void gg_sim_grid_wait(sim_api *api, const sim_site *site) { gg_sim_enter(api, site)->current->waited = true; }

u32 gg_sim_shuffle(sim_api *api, const sim_site *site, u32 value, int lane) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    gg_sim_warp *warp = self->warp;
    warp->shuffle[self->lane].value = value;
    warp->shuffle[self->lane].source = (u32)lane & 31;
    if (gg_sim_meet(sim, GG_SIM_SHUFFLE, 0, site)) {
        for (u32 i = 0; i < GG_SIM_LANES; i++)
            warp->fibers[i].shuffled = warp->shuffle[warp->shuffle[i].source].value;
        gg_sim_release(self);
    }
    return self->shuffled;
}

void gg_sim_warp_values(sim_api *api, const sim_site *site, u32 value, u32 *values) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    gg_sim_warp *warp = self->warp;
    warp->given[self->lane].value = value;
    warp->given[self->lane].values = values;
    if (!gg_sim_meet(sim, GG_SIM_WARP_VALUES, 0, site)) return;
    for (u32 to = 0; to < GG_SIM_LANES; to++)
        for (u32 from = 0; from < GG_SIM_LANES; from++)
            warp->given[to].values[from] = warp->given[from].value;
    gg_sim_release(self);
}

void gg_sim_ldmatrix(sim_api *api, const sim_site *site, u32 *out, u32 address, int trans) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    self->warp->ldmatrix[self->lane].out = out;
    self->warp->ldmatrix[self->lane].row =
        gg_sim_shared(sim, address, 16, 16, GG_SIM_READ, "ldmatrix row", site);
    if (gg_sim_meet(sim, GG_SIM_LDMATRIX, (u64)trans, site)) {
        gg_sim_ldmatrix_warp(self->warp, trans);
        gg_sim_release(self);
    }
}

void gg_sim_stmatrix(sim_api *api, const sim_site *site, u32 address, const u32 *values, int trans) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    self->warp->stmatrix[self->lane].values = values;
    self->warp->stmatrix[self->lane].row =
        gg_sim_shared(sim, address, 16, 16, GG_SIM_WRITE, "stmatrix row", site);
    if (gg_sim_meet(sim, GG_SIM_STMATRIX, (u64)trans, site)) {
        gg_sim_stmatrix_warp(self->warp, trans);
        gg_sim_release(self);
    }
}

void gg_sim_mma_tile(sim_api *api, const sim_site *site, float *acc, const u32 *a, const u32 *b, int mi,
                     int nj, int dtype) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    self->warp->mma[self->lane].acc = acc;
    self->warp->mma[self->lane].a = a;
    self->warp->mma[self->lane].b = b;
    if (gg_sim_meet(sim, GG_SIM_MMA, (u64)mi << 32 | (u64)nj << 8 | (u64)dtype, site)) {
        gg_sim_mma_warp(sim, self->warp, mi, nj, dtype);
        gg_sim_release(self);
    }
}

void gg_sim_trap(sim_api *api, const sim_site *site) { gg_sim_fail((gg_sim *)api, site, "device_trap"); }
