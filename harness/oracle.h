/* oracle.h: goldens computed on the spot, for data outside the manifest (--seed). */
#ifndef MG_ORACLE_H
#define MG_ORACLE_H

#include "golden.h"

/* The golden of one output from its inputs: exact sums in double (see gen/products.py for why they are
 * exact), rounded as the class says. `golden` is owned by the caller. */
gg_status mg_oracle(const mg_problem *problem, mg_class cls, gg_dtype dtype, mg_output output,
                    const mg_inputs *inputs, mg_golden *golden);

#endif
