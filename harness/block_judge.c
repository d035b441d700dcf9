/* block_judge.c: the verdict on a block: each step against its bound, all rows or, at full size, a sample of them. */
#include "block_judge.h"
#include "execute_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Multiply-adds that judging a step of a full-size block may cost: a fraction of a second. The products themselves are
 * proven at these sizes by the cases of each GEMM; here it is that the right ones meet. */
static const double FULL_SIZE_COST = 1e8;

/* Distance of a tensor from its golden, root of the sum of squares, in units of u_o of the golden's own. What differs are
 * single roundings that fell to the other side, a step or two before. */
static const double GOLDEN_LIMIT = 2;

typedef struct judge {
    const mg_block_judged *in;
    mg_result *result;
    mg_block_view view;
    double *value, *bound; /* a row of the widest step each */
    uint8_t *got;
} judge;

static double got_value(const judge *j, mg_block_step step, const mg_block_step_shape *shape, int64_t i) {
    if (shape->element_bytes == 2)
        return (double)mg_float_from_bits(j->in->p.dtype, ((const uint16_t *)(const void *)j->got)[i]);
    if (step == MG_STEP_TOPK_IDS) return ((const int32_t *)(const void *)j->got)[i];
    return (double)((const float *)(const void *)j->got)[i];
}

/* Rounded as the element is, where the bound is 0. */
static double exact_value(const judge *j, const mg_block_step_shape *shape, double value) {
    if (shape->element_bytes == 4) return (double)(float)value;
    return (double)mg_float_from_bits(j->in->p.dtype, mg_bits_from_double(j->in->p.dtype, value));
}

static gg_status read_row(judge *j, const mg_block_step_shape *shape, int64_t row) {
    const size_t bytes = (size_t)shape->cols * (size_t)shape->element_bytes;
    if (shape->buffer == GG_MOE_NUM_BUFFERS)
        return j->in->read_output_row(j->in->data, shape->output, row, (uint16_t *)(void *)j->got);
    memcpy(j->got, j->in->workspace + j->view.layout.places[shape->buffer].offset + (size_t)row * bytes,
           bytes);
    return GG_OK;
}

/* One row into the step's difference; the sums are those of the step. */
static void judge_row(const judge *j, mg_block_step step, const mg_block_step_shape *shape, int64_t row,
                      mg_difference *d, bool *nonzero) {
    for (int64_t i = 0; i < shape->cols; i++) {
        const double got = got_value(j, step, shape, i);
        const double right = j->bound[i] > 0 ? j->value[i] : exact_value(j, shape, j->value[i]);
        const double error = fabs(got - right);
        const bool representable = step != MG_STEP_TOPK_WEIGHTS ||
                                   exact_value(j, &(mg_block_step_shape){.element_bytes = 2}, got) == got;
        const bool ok = error <= j->bound[i] && representable; /* false for NaN */
        const double ratio = ok ? (error > 0 ? error / j->bound[i] : 0) : INFINITY;
        d->compared++;
        *nonzero |= right != 0;
        if (ok && ratio <= d->bound_ratio) continue;
        d->bound_ratio = ratio;
        d->worst_row = row;
        d->worst_col = i;
        d->worst_expected = right;
        d->worst_got = got;
        if (!ok && !d->wrong++) {
            d->row = row;
            d->col = i;
            d->expected = right;
            d->got = got;
        }
    }
}

static gg_status judge_step(judge *j, mg_block_step step, mg_difference *d) {
    const mg_block_step_shape shape = mg_block_step_of(&j->in->p, step);
    const bool all = j->in->block->problem.store == MG_STORE_FILES;
    const double most = FULL_SIZE_COST / (shape.row_cost + 1);
    const int64_t rows = all || shape.rows < most ? shape.rows : most < 8 ? 8 : (int64_t)most;
    bool nonzero = false;
    *d = (mg_difference){.rows = shape.rows, .cols = shape.cols};
    snprintf(d->output, sizeof d->output, "%s", shape.name);
    for (int64_t i = 0; i < rows; i++) {
        /* spread over all rows, and over the tiles' */
        int64_t row = i;
        if (rows < shape.rows)
            row = (int64_t)(((double)i + (double)(mg_splitmix64((uint64_t)i) >> 11) * 0x1p-53) *
                            ((double)shape.rows / (double)rows));
        gg_status status = read_row(j, &shape, row);
        if (status != GG_OK) return status;
        mg_block_row(&j->view, step, row, j->value, j->bound);
        judge_row(j, step, &shape, row, d, &nonzero);
    }
    if (j->in->p.T && shape.rows && (!d->compared || (!nonzero && step != MG_STEP_TOPK_IDS)))
        mg_note(j->result, MG_MISTRUSTED, "step '%s' could not have failed: %s", shape.name,
                d->compared ? "all of it should be zero" : "nothing was compared");
    return GG_OK;
}

/* The first wrong step's difference is kept, else the worst right one's. */
static void keep_difference(judge *j, const mg_difference *d) {
    mg_difference *kept = &j->result->difference;
    if (d->wrong)
        mg_note(j->result, MG_FAILED,
                "step '%s' is wrong: [%lld, %lld] is %.9g, expected %.9g; %llu of %llu elements", d->output,
                (long long)d->row, (long long)d->col, d->got, d->expected, (unsigned long long)d->wrong,
                (unsigned long long)d->compared);
    if (kept->wrong || !d->compared) return;
    if (d->wrong || !kept->compared || d->bound_ratio > kept->bound_ratio) *kept = *d;
}

/* --- beside the golden --- */

static const void *golden_row(const mg_block_golden *g, const mg_block_step_shape *shape, int64_t row) {
    const size_t offset = (size_t)(row * shape->cols) * (size_t)shape->element_bytes;
    if (shape->buffer == GG_MOE_NUM_BUFFERS) return (const uint8_t *)g->outputs[shape->output] + offset;
    return g->workspace + g->view.layout.places[shape->buffer].offset + offset;
}

/* Notes the first tensor that is off; what follows from it is off with it. */
static gg_status judge_whole(judge *j, const mg_block_golden *g, mg_block_step step, bool *off) {
    const mg_block_step_shape shape = mg_block_step_of(&j->in->p, step);
    const double u = j->in->p.dtype == GG_BF16 ? 0x1p-8 : 0x1p-11;
    double distance = 0, size = 0;
    for (int64_t row = 0; row < shape.rows; row++) {
        gg_status status = read_row(j, &shape, row);
        if (status != GG_OK) return status;
        for (int64_t i = 0; i < shape.cols; i++) j->value[i] = got_value(j, step, &shape, i);
        memcpy(j->got, golden_row(g, &shape, row), (size_t)shape.cols * (size_t)shape.element_bytes);
        for (int64_t i = 0; i < shape.cols; i++) {
            const double right = got_value(j, step, &shape, i), error = j->value[i] - right;
            distance += error * error;
            size += right * right;
        }
    }
    const double ratio = distance > 0 ? sqrt(distance / size) / u : 0;
    const bool ok = ratio <= GOLDEN_LIMIT;
    if (!ok && !*off)
        mg_note(j->result, MG_FAILED,
                "'%s' as a whole is off its golden by %.3g half units in the last place, at most %g may be",
                shape.name, ratio, GOLDEN_LIMIT);
    *off |= !ok;
    return GG_OK;
}

static gg_status judge_golden(judge *j, int steps, char error[MG_ERROR_SIZE]) {
    mg_block_golden golden;
    bool off = false;
    gg_status status = mg_block_golden_make(&golden, j->in->block, &j->in->p, j->in->user_seed);
    if (status) {
        snprintf(error, MG_ERROR_SIZE, "no golden of the block: %s", gg_status_string(status));
        return status;
    }
    for (int step = 0; step < steps && !status; step++)
        if (step != MG_STEP_GATHER_INDICES) status = judge_whole(j, &golden, step, &off);
    mg_block_golden_free(&golden);
    return status;
}

/* --- all of it --- */

gg_status mg_block_judge(const mg_block_judged *in, mg_result *result, char error[MG_ERROR_SIZE]) {
    judge j = {.in = in, .result = result};
    const int steps = in->backward ? MG_NUM_BLOCK_STEPS : MG_STEP_Y + 1;
    int64_t widest = 1;
    char why[MG_ERROR_SIZE];
    snprintf(error, MG_ERROR_SIZE, "out of memory for the verdict");
    gg_status status = mg_block_view_init(&j.view, in->block, &in->p, in->user_seed);
    if (status) goto out;
    j.view.workspace = in->workspace;
    for (int step = 0; step < steps; step++) {
        const mg_block_step_shape shape = mg_block_step_of(&in->p, step);
        if (shape.cols > widest) widest = shape.cols;
    }
    j.value = malloc((size_t)widest * sizeof *j.value);
    j.bound = malloc((size_t)widest * sizeof *j.bound);
    j.got = malloc((size_t)widest * sizeof(double));
    status = j.value && j.bound && j.got ? GG_OK : GG_ERR_MEMORY;
    for (int step = 0; step < steps && !status; step++) {
        mg_difference d;
        if (step == MG_STEP_GATHER_INDICES) {
            if (!in->p.T) continue;
            /* what the other steps stand on */
            if (mg_block_route(&j.view, why)) continue;
            mg_note(result, MG_FAILED, "%s", why);
            goto out;
        }
        if (step == MG_STEP_TOPK_WEIGHTS && result->verdict == MG_FAILED) {
            /* ids may be out of range: only the routing's own check can look at them */
            if (!mg_block_route(&j.view, why)) mg_note(result, MG_FAILED, "%s", why);
            goto out;
        }
        if (!(status = judge_step(&j, step, &d))) keep_difference(&j, &d);
    }
    if (!status && in->p.T && in->block->problem.store == MG_STORE_FILES)
        status = judge_golden(&j, steps, error);
out:
    mg_block_view_free(&j.view);
    free(j.value);
    free(j.bound);
    free(j.got);
    return status;
}
