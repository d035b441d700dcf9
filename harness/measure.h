/* measure.h: the arithmetic of benchmarks: medians, floors, what other people measured, cliffs. Pure. */
#ifndef MG_MEASURE_H
#define MG_MEASURE_H

#include "case.h"

/* Of some timings: quartiles by linear interpolation between the ordered values. */
typedef struct mg_spread {
    double median, low, high; /* second, first and third quartile; 0 when there is no value */
    size_t count;
} mg_spread;
mg_spread mg_spread_of(double *values, size_t count); /* orders them */

/* What a product must move and compute at least, in bytes and flop: each tensor once, weights only of experts that have
 * rows (but dW of all is written). Routing data, a thousandth of it, is left out, as in the peers' floors. */
typedef struct mg_traffic {
    double bytes, flops;
} mg_traffic;
mg_traffic mg_traffic_of(const gg_problem *problem, int32_t experts_with_rows);

/* What a device reaches: a copy (bytes read and written), a large product. 0: not known. */
typedef struct mg_limits {
    double gbs, tflops;
} mg_limits;

typedef struct mg_floor {
    double byte_us, flop_us; /* 0: not known */
    double us;               /* the larger */
    bool by_bytes;           /* which it is */
} mg_floor;
mg_floor mg_floor_of(mg_traffic traffic, mg_limits limits);

/* A time measured under the limits `from` as it would be under `to`: by the limit that governs the floor. 0: not known. */
double mg_rescaled(double us, bool by_bytes, mg_limits from, mg_limits to);

/* --- what peers reach (peers.c) --- */

typedef struct mg_peer {
    const char *model;
    int T, gemm; /* gemm 1 with permute_x, 2 with permute_y; bf16, uniform random routing */
    gg_op op;
    double unsloth, torch, deepgemm, goal; /* microseconds under mg_peer_limits */
} mg_peer;
extern const mg_limits mg_peer_limits;
extern const mg_peer mg_peers[];
extern const size_t mg_num_peers;
/* NULL: nobody measured that. */
const mg_peer *mg_peer_find(const char *model, int64_t T, int gemm, gg_op op);
double mg_peer_best(const mg_peer *peer, const char **name);

/* --- models --- */

typedef struct mg_model {
    const char *name;
    int32_t E, topk, H, I;
} mg_model;
extern const mg_model mg_models[]; /* ended by a NULL name */
/* N and K of its GEMM 1 or 2. */
void mg_model_shape(const mg_model *model, int gemm, int32_t *N, int32_t *K);

/* --- cliffs --- */

/* A step between neighbouring points of a scaling curve, up or down, that is more than MG_CLIFF times the floor's own step. */
#define MG_CLIFF 1.3
typedef struct mg_point {
    double x, us, floor_us;
} mg_point;
bool mg_is_cliff(const mg_point *before, const mg_point *after);

#endif
