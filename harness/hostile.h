/* hostile.h: class hostile: NaN, infinities, huge and subnormal numbers and -0 planted in the data of class exact. */
#ifndef MG_HOSTILE_H
#define MG_HOSTILE_H

#include "golden.h"

/* Plants into inputs of class exact. Where, depends on the problem and the seed alone. */
void mg_hostile_plant(const mg_problem *problem, gg_dtype dtype, uint64_t user_seed, mg_inputs *inputs);

/* Turns the golden of the clean inputs into that of the planted ones: computes anew what depends on something
 * planted, and leaves the rest as it is. */
gg_status mg_hostile_golden(const mg_problem *problem, gg_dtype dtype, mg_output output,
                            const mg_inputs *clean, const mg_inputs *planted, mg_golden *golden);

#endif
