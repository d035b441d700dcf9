/* options.h: what a test may choose about the simulator, besides what every backend offers. */
#ifndef GG_SIM_OPTIONS_H
#define GG_SIM_OPTIONS_H

#include "backend/backend.h"

/* When asynchronous operations land: as late as legal finds missing waits, at random finds wrong orders. */
typedef enum gg_sim_landing { GG_SIM_LAND_LATE, GG_SIM_LAND_RANDOM } gg_sim_landing;

/* The first launch of each kernel takes this seed, the next the next, so that repeats see other schedules. A
 * failure names its seed, and $MOEGEMM_SIM_SEED, which sets the first, brings it back. */
typedef struct gg_sim_options {
    uint64_t seed;
    gg_sim_landing landing;
    bool race; /* check every access for its order; kernels must then be built for "sim_race" */
} gg_sim_options;

void gg_sim_configure(gg_backend *backend, gg_sim_options options);
gg_sim_options gg_sim_configured(const gg_backend *backend); /* with the seed of the next launch */

#endif
