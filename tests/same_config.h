/* same_config.h: whether two configs are the same, field by field: the bytes between fields mean nothing. */
#ifndef MG_SAME_CONFIG_H
#define MG_SAME_CONFIG_H

#include "grouped_gemm.h"

static inline bool same_config(const gg_config *a, const gg_config *b) {
    return a->mainloop == b->mainloop && a->block_m == b->block_m && a->block_n == b->block_n &&
           a->block_k == b->block_k && a->num_warps == b->num_warps && a->num_stages == b->num_stages &&
           a->tma == b->tma && a->copy_rows == b->copy_rows;
}

#endif
