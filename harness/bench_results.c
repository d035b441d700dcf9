/* bench_results.c: what timings mean: floors, ratios, the table, JSON lines, cliffs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

void mg_bench_judge(mg_bench_row *row) {
    const mg_bench_item *item = &row->item;
    const gg_problem *p = &item->problem;
    const unsigned permute = item->gemm == 1 ? GG_PERMUTE_X : GG_PERMUTE_Y;
    row->floor = mg_floor_of(row->traffic, row->limits);
    row->peer_by_bytes = mg_floor_of(row->traffic, mg_peer_limits).by_bytes;
    row->peer = NULL;
    row->best = row->goal = 0;
    /* only what is the same product */
    if (item->backward || item->axis || p->dtype != GG_BF16 || item->dist != MG_MULT || p->fusions != permute)
        return;
    row->peer = mg_peer_find(item->model, p->T, item->gemm, p->op);
    if (!row->peer) return;
    const char *name;
    row->best = mg_rescaled(mg_peer_best(row->peer, &name), row->peer_by_bytes, mg_peer_limits, row->limits);
    row->goal = mg_rescaled(row->peer->goal, row->peer_by_bytes, mg_peer_limits, row->limits);
}

static double tflops_of(const mg_bench_row *row) { return row->traffic.flops / row->us.median * 1e-6; }
static double gbs_of(const mg_bench_row *row) { return row->traffic.bytes / row->us.median * 1e-3; }
static double share_of(const mg_bench_row *row) { return row->floor.us / row->us.median; }

/* --- the table --- */

static void put(FILE *out, int width, int digits, double value) {
    if (value > 0 && isfinite(value))
        fprintf(out, " %*.*f", width, digits, value);
    else
        fprintf(out, " %*s", width, "-");
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

void mg_bench_print_head(FILE *out) {
    fprintf(out,
            "us: median, and half the distance between the quartiles in percent; floor: the larger of bytes "
            "/ copy (b) and\n"
            "flop / product (f), both read between the same launches; /...: our time over another's, below 1 "
            "is ahead;\n"
            "peer and goal: another machine's times scaled by the limit that governs the shape there\n"
            "%-34s %-8s %9s %5s %7s %6s %9s %6s %7s %8s %6s %7s %9s %9s %6s %8s\n",
            "shape", "op", "us", "+-%", "TFLOP/s", "GB/s", "floor", "share", "/plain", "/grouped", "/loop",
            "/torch", "peer", "", "/peer", "goal");
}

void mg_bench_print_row(FILE *out, const mg_bench_row *row) {
    char name[96], config[MG_CONFIG_SIZE];
    const double us = row->us.median;
    mg_bench_name(&row->item, name, sizeof name);
    mg_config_text(&row->config, config);
    fprintf(out, "%-34s %-8s", name, mg_bench_op(&row->item));
    if (!row->us.count) {
        fprintf(out, " not timed: %s\n", row->fault);
        return;
    }
    put(out, 9, 1, us);
    put(out, 5, 1, 50 * (row->us.high - row->us.low) / us);
    put(out, 7, 1, tflops_of(row));
    put(out, 6, 0, gbs_of(row));
    put(out, 7, 1, row->floor.us);
    fprintf(out, " %c", row->floor.by_bytes ? 'b' : 'f');
    put(out, 5, 1, 100 * share_of(row));
    fputc('%', out);
    put(out, 7, 3, ratio(us, row->plain.median));
    put(out, 8, 3, ratio(us, row->grouped.median));
    put(out, 6, 3, ratio(us, row->loop.median));
    put(out, 7, 3, ratio(us, row->torch_us));
    const char *peer = "-";
    if (row->peer) mg_peer_best(row->peer, &peer);
    fprintf(out, " %9s", peer);
    put(out, 9, 1, row->best);
    put(out, 6, 3, ratio(us, row->best));
    put(out, 8, 1, row->goal);
    if (row->goal > 0) fprintf(out, us <= row->goal ? " hit " : " %+.1f%%", 100 * (us / row->goal - 1));
    fprintf(out, "  %s", config);
    if (row->item.backward) {
        mg_config_text(&row->config_dW, config);
        fprintf(out, ", dW %s", config);
    }
    if (row->default_us > 0) fprintf(out, " (the default takes %.3f of it)", row->default_us / us);
    fputc('\n', out);
}

/* As they were read beside each shape: how far the clock drifted. */
static void print_limits(FILE *out, const mg_bench_row *rows, size_t count) {
    const struct {
        const char *name, *unit;
        size_t offset;
    } limits[] = {{"copy", "GB/s", offsetof(mg_limits, gbs)},
                  {"product", "TFLOP/s", offsetof(mg_limits, tflops)}};
    double *values = malloc((count + 1) * sizeof *values);
    for (size_t l = 0; values && l < sizeof limits / sizeof *limits; l++) {
        size_t known = 0;
        for (size_t i = 0; i < count; i++) {
            memcpy(&values[known], (const char *)&rows[i].limits + limits[l].offset, sizeof *values);
            known += values[known] > 0;
        }
        if (!known) continue;
        const double median = mg_spread_of(values, known).median;
        fprintf(out, "limit: %s %.0f %s (%.0f to %.0f)\n", limits[l].name, median, limits[l].unit, values[0],
                values[known - 1]);
    }
    free(values);
}

void mg_bench_print_end(FILE *out, const mg_bench_row *rows, size_t count) {
    size_t compared = 0, ahead = 0, hit = 0, near = 0, fused = 0, cheap = 0, torch = 0, torch_ahead = 0,
           lost = 0;
    for (const mg_bench_row *r = rows; r < rows + count; r++) {
        const double us = r->us.median;
        if (!r->us.count) {
            lost++;
            continue;
        }
        if (r->best > 0) {
            compared++;
            ahead += us <= r->best;
            hit += us <= r->goal;
            near += us <= 1.08 * r->goal;
        }
        if (r->plain.count) {
            fused++;
            cheap += us <= 1.05 * r->plain.median;
        }
        if (r->torch_us > 0) {
            torch++;
            torch_ahead += us <= r->torch_us;
        }
    }
    print_limits(out, rows, count);
    if (compared)
        fprintf(out, "best peer: at or ahead of it in %zu of %zu; goal: reached in %zu, within 8%% in %zu\n",
                ahead, compared, hit, near);
    if (fused) fprintf(out, "permutes: within 5%% of the same kernel without in %zu of %zu\n", cheap, fused);
    if (torch) fprintf(out, "torch in the same run: at or ahead of it in %zu of %zu\n", torch_ahead, torch);
    if (lost) fprintf(out, "not timed: %zu\n", lost);
}

/* --- JSON --- */

/* Only what is known. */
static void set(json_t *object, const char *key, double value) {
    if (value > 0 && isfinite(value)) json_object_set_new(object, key, json_real(value));
}

json_t *mg_bench_json(const mg_bench_row *row) {
    const mg_bench_item *item = &row->item;
    const gg_problem *p = &item->problem;
    char name[96], config[MG_CONFIG_SIZE];
    mg_bench_name(item, name, sizeof name);
    mg_config_text(&row->config, config);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:s, s:s, s:s}", "type", "bench",
                  "shape", name, "op", mg_bench_op(item), "model", item->model, "gemm", item->gemm, "E", p->E,
                  "N", p->N, "K", p->K, "topk", p->topk, "T", (json_int_t)p->T, "dtype",
                  gg_dtype_name(p->dtype), "routing", mg_dist_name(item->dist), "config", config);
    if (!o) return NULL;
    if (item->backward) {
        mg_config_text(&row->config_dW, config);
        json_object_set_new(o, "config_dW", json_string(config));
    }
    if (item->axis) {
        char series[64];
        snprintf(series, sizeof series, "gemm %d %s", item->gemm, mg_bench_op(item));
        json_object_set_new(o, "series", json_string(series));
        json_object_set_new(o, "axis", json_string(item->axis));
        json_object_set_new(o, "x", json_integer(strcmp(item->axis, "experts") ? (json_int_t)p->T : p->E));
    }
    set(o, "peak_gbs", row->limits.gbs);
    set(o, "peak_tflops", row->limits.tflops);
    set(o, "byte_floor_us", row->floor.byte_us);
    set(o, "flop_floor_us", row->floor.flop_us);
    if (!row->us.count) {
        json_object_set_new(o, "fault", json_string(row->fault));
        return o;
    }
    set(o, "us", row->us.median);
    set(o, "us_low", row->us.low);
    set(o, "us_high", row->us.high);
    json_object_set_new(o, "runs", json_integer((json_int_t)row->us.count));
    set(o, "tflops", tflops_of(row));
    set(o, "gbs", gbs_of(row));
    set(o, "floor_share", share_of(row));
    set(o, "plain_us", row->plain.median);
    set(o, "cublas_grouped_us", row->grouped.median);
    set(o, "cublas_loop_us", row->loop.median);
    set(o, "default_us", row->default_us);
    set(o, "torch_us", row->torch_us);
    if (row->peer) {
        const char *peer;
        mg_peer_best(row->peer, &peer);
        json_object_set_new(o, "peer", json_string(peer));
        set(o, "peer_us", row->best);
        set(o, "goal_us", row->goal);
    }
    return o;
}

/* --- cliffs --- */

static bool same_curve(const mg_bench_item *a, const mg_bench_item *b) {
    return a->axis && b->axis && !strcmp(a->axis, b->axis) && !strcmp(a->model, b->model) &&
           a->gemm == b->gemm && a->backward == b->backward && a->problem.op == b->problem.op &&
           a->problem.dtype == b->problem.dtype && a->dist == b->dist;
}

size_t mg_bench_cliffs(FILE *out, const mg_bench_row *rows, size_t count) {
    size_t cliffs = 0;
    const mg_bench_row *before = NULL; /* the last one timed */
    for (const mg_bench_row *r = rows; r < rows + count; r++) {
        if (!r->us.count || !(r->floor.us > 0)) continue;
        const mg_bench_row *a = before;
        before = r;
        if (!a || !same_curve(&a->item, &r->item)) continue;
        const mg_point from = {.us = a->us.median, .floor_us = a->floor.us},
                       to = {.us = r->us.median, .floor_us = r->floor.us};
        if (!mg_is_cliff(&from, &to)) continue;
        char names[2][96];
        mg_bench_name(&a->item, names[0], sizeof names[0]);
        mg_bench_name(&r->item, names[1], sizeof names[1]);
        fprintf(out, "CLIFF %s: %s takes %.1f us, %s %.1f us: a step of %.2f where the floor's is %.2f\n",
                mg_bench_op(&r->item), names[0], from.us, names[1], to.us, to.us / from.us,
                to.floor_us / from.floor_us);
        cliffs++;
    }
    return cliffs;
}
