/* planning.h: a device, a problem and a config for tests of the planner. */
#ifndef PLANNING_H
#define PLANNING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "device/params.h"
#include "same_config.h"

static const gg_device hopper = {.name = "hopper",
                                 .cc = 90,
                                 .sm_count = 132,
                                 .smem_per_block = 232448,
                                 .smem_per_sm = 233472,
                                 .threads_per_sm = 2048};
static const gg_problem forward = {
    .op = GG_FORWARD, .dtype = GG_BF16, .gemm = GG_GEMM_ANY, .E = 8, .N = 256, .K = 128, .topk = 2, .T = 100};
static const gg_config small = {
    .mainloop = GG_MMA_SYNC, .block_m = 32, .block_n = 32, .block_k = 32, .num_warps = 4, .num_stages = 2};

/* Tiles that each mainloop takes, and each op, with any use of TMA. */
static inline gg_config tiles_of_64(gg_mainloop mainloop, unsigned tma) {
    return (gg_config){.mainloop = mainloop,
                       .block_m = 64,
                       .block_n = 64,
                       .block_k = 64,
                       .num_warps = 4,
                       .num_stages = 3,
                       .tma = tma};
}

static inline gg_status plan(gg_problem p, gg_config c, gg_device d, gg_plan *out, char *reason) {
    return gg_plan_make(&p, &c, &d, out, reason);
}

#endif
