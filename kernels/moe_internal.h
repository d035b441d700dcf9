/* moe_internal.h: what moe_plan.c decides and moe.c launches; not installed. */
#ifndef GG_MOE_INTERNAL_H
#define GG_MOE_INTERNAL_H

#include "moe.h"

enum { GG_MOE_ROW_OP_THREADS = 256 }; /* fixed in device/moe_ops.h */

/* Tokens of a block of the router's kernel. */
int gg_moe_tile_tokens(const gg_moe_problem *problem);
/* A kernel's source, macros, threads and shared memory; its grid is the launcher's. */
void gg_moe_plan_kernel(const gg_moe_problem *problem, const gg_device *device, gg_moe_kernel kernel,
                        gg_plan *plan);

#endif
