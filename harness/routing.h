/* routing.h: which experts each token chooses, drawn from the counter hash; the twin of gen/routing.py. */
#ifndef MG_ROUTING_H
#define MG_ROUTING_H

#include "case.h"

/* Fills m_sizes (E) and gather_indices (T * topk), the caller's, as golden/README.md defines them.
 * GG_ERR_ARGUMENT: the distribution needs topk distinct experts and there are fewer. */
gg_status mg_routing_make(int64_t T, int32_t topk, int32_t E, mg_dist dist, int32_t *m_sizes,
                          int32_t *gather_indices);

#endif
