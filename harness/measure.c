/* measure.c: medians, floors and cliffs. */
#include "measure.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *ordered, size_t count, double share) {
    const double at = share * (double)(count - 1);
    const size_t below = (size_t)at;
    if (below + 1 == count) return ordered[below];
    return ordered[below] + (at - (double)below) * (ordered[below + 1] - ordered[below]);
}

mg_spread mg_spread_of(double *values, size_t count) {
    if (!count) return (mg_spread){0};
    qsort(values, count, sizeof *values, ascending);
    return (mg_spread){.median = quantile(values, count, 0.5),
                       .low = quantile(values, count, 0.25),
                       .high = quantile(values, count, 0.75),
                       .count = count};
}

mg_traffic mg_traffic_of(const gg_problem *p, int32_t experts_with_rows) {
    const double M = (double)p->T * p->topk, N = p->N, K = p->K;
    const bool gathers = (p->fusions & GG_PERMUTE_X) && p->op != GG_DX; /* x has T rows; dx has one a slot */
    const double x = (gathers ? (double)p->T : M) * K, y = M * N;
    const double w = (p->op == GG_DW ? p->E : experts_with_rows) * N * K;
    return (mg_traffic){.bytes = 2 * (x + y + w), .flops = 2 * M * N * K};
}

mg_floor mg_floor_of(mg_traffic t, mg_limits limits) {
    mg_floor f = {.byte_us = limits.gbs > 0 ? t.bytes / limits.gbs * 1e-3 : 0,
                  .flop_us = limits.tflops > 0 ? t.flops / limits.tflops * 1e-6 : 0};
    f.by_bytes = f.byte_us >= f.flop_us;
    f.us = f.by_bytes ? f.byte_us : f.flop_us;
    return f;
}

double mg_rescaled(double us, bool by_bytes, mg_limits from, mg_limits to) {
    const double before = by_bytes ? from.gbs : from.tflops, after = by_bytes ? to.gbs : to.tflops;
    return before > 0 && after > 0 ? us * before / after : 0;
}

bool mg_is_cliff(const mg_point *before, const mg_point *after) {
    const double step = after->us / before->us, of_floor = after->floor_us / before->floor_us;
    /* a floor that falls excuses no rise, and one that rises no fall */
    const double most = MG_CLIFF * (of_floor > 1 ? of_floor : 1),
                 least = (of_floor < 1 ? of_floor : 1) / MG_CLIFF;
    return !(step <= most && step >= least);
}

const mg_model mg_models[] = {
    {"qwen3", .E = 128, .topk = 8, .H = 2048, .I = 768},
    {"llama4", .E = 16, .topk = 1, .H = 5120, .I = 8192},
    {0},
};

void mg_model_shape(const mg_model *model, int gemm, int32_t *N, int32_t *K) {
    *N = gemm == 1 ? 2 * model->I : model->H;
    *K = gemm == 1 ? model->H : model->I;
}
