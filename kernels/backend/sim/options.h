/* options.h: what a test may choose about the simulator, besides what every backend offers. */
#ifndef GG_SIM_OPTIONS_H
#define GG_SIM_OPTIONS_H

#include "backend/backend.h"

/* When asynchronous operations land: as late as legal finds missing waits, at random finds wrong orders. */
typedef enum gg_sim_landing { GG_SIM_LAND_LATE, GG_SIM_LAND_RANDOM } gg_sim_landing;

/* Each launch takes the next seed, so that repeats see other schedules; a failure names its seed, and
 * $MOEGEMM_SIM_SEED sets the first. */
typedef struct gg_sim_options {
    uint64_t seed;
    gg_sim_landing landing;
} gg_sim_options;

void gg_sim_configure(gg_backend *backend, gg_sim_options options);

#endif
