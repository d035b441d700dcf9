/* api.h: a problem and a config for tests of the public operations on a made-up backend. */
#ifndef API_H
#define API_H

#include "fake_backend.h"

static const gg_config config = {
    .mainloop = GG_MMA_SYNC, .block_m = 64, .block_n = 128, .block_k = 32, .num_warps = 4, .num_stages = 2};
static const gg_problem problem = {.E = 4, .N = 200, .K = 72, .topk = 2, .T = 96};
enum { M = 192 };

static inline gg_status run(gg_context *context, gg_op op, const gg_problem *p, const gg_config *c,
                            const gg_tensors *t) {
    gg_status (*const functions[GG_NUM_OPS])(gg_context *, const gg_problem *, const gg_config *,
                                             const gg_tensors *, gg_stream) = {gg_forward, gg_dX, gg_dW};
    return functions[op](context, p, c, t, NULL);
}

static inline const gemm_params *params_of(gg_context *context, int launch) {
    return (const gemm_params *)fake_of(context)->launches[launch].params;
}

#endif
