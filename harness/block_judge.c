/* block_judge.c: the verdict on a block: each step against its bound, all rows or, at full size, a sample of them. */
#include "block_judge.h"
#include "execute_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
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
} judge;

static double got_value(const judge *j, mg_block_step step, const mg_block_step_shape *shape, const void *row,
                        int64_t i) {
    if (shape->element_bytes == 2) return (double)j->view.numbers[((const uint16_t *)row)[i]];
    if (step == MG_STEP_TOPK_IDS) return ((const int32_t *)row)[i];
    return (double)((const float *)row)[i];
}

/* Rounded as the element is, where the bound is 0. */
static double exact_value(const judge *j, const mg_block_step_shape *shape, double value) {
    if (shape->element_bytes == 4) return (double)(float)value;
    return (double)mg_float_from_bits(j->in->p.dtype, mg_bits_from_double(j->in->p.dtype, value));
}

/* --- rows of a step as the device left them --- */

typedef struct sample {
    mg_block_step step;
    mg_block_step_shape shape;
    int64_t count, *rows; /* (count) ascending */
    uint8_t *read;        /* (count) rows of an output */
} sample;

static size_t row_bytes(const mg_block_step_shape *shape) {
    return (size_t)shape->cols * (size_t)shape->element_bytes;
}

static const void *sampled_row(const judge *j, const sample *s, int64_t i) {
    if (s->read) return s->read + (size_t)i * row_bytes(&s->shape);
    return j->in->workspace + j->view.layout.places[s->shape.buffer].offset +
           (size_t)s->rows[i] * row_bytes(&s->shape);
}

static void sample_free(sample *s) {
    free(s->rows);
    free(s->read);
}

/* `count` rows spread over all, and over the tiles'. */
static gg_status sample_take(const judge *j, sample *s, int64_t count) {
    const mg_block_step_shape *shape = &s->shape;
    const double step = (double)shape->rows / (double)count;
    s->count = count;
    if (!(s->rows = malloc((size_t)(count + 1) * sizeof *s->rows))) return GG_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        const double within = (double)(mg_splitmix64((uint64_t)i) >> 11) * 0x1p-53;
        s->rows[i] = count < shape->rows ? (int64_t)(((double)i + within) * step) : i;
    }
    if (shape->buffer != GG_MOE_NUM_BUFFERS || !count) return GG_OK; /* of no rows there may be no columns */
    if (!(s->read = malloc((size_t)count * row_bytes(shape) + 1))) return GG_ERR_MEMORY;
    return j->in->read_output_rows(j->in->data, shape->output, s->rows, count, (uint16_t *)(void *)s->read);
}

/* --- judging them, by several threads --- */

/* What some of a sample's rows come to. */
typedef struct verdict {
    mg_difference difference;
    bool nonzero;
} verdict;

enum { MAX_THREADS = 64, PARTS_EACH = 4 };

/* The rows in parts that threads take one after another. */
typedef struct work {
    const judge *j;
    const sample *s;
    int64_t parts;
    atomic_llong next;
    verdict *verdicts; /* (parts) */
    atomic_int status;
} work;

static void judge_row(const judge *j, const sample *s, int64_t i, const double *value, const double *bound,
                      verdict *v) {
    const mg_block_step_shape *shape = &s->shape;
    const void *row = sampled_row(j, s, i);
    mg_difference *d = &v->difference;
    for (int64_t col = 0; col < shape->cols; col++) {
        const double got = got_value(j, s->step, shape, row, col);
        const double right = bound[col] > 0 ? value[col] : exact_value(j, shape, value[col]);
        const double error = fabs(got - right);
        const bool representable = s->step != MG_STEP_TOPK_WEIGHTS ||
                                   exact_value(j, &(mg_block_step_shape){.element_bytes = 2}, got) == got;
        const bool ok = error <= bound[col] && representable; /* false for NaN */
        const double ratio = ok ? (error > 0 ? error / bound[col] : 0) : INFINITY;
        d->compared++;
        v->nonzero |= right != 0;
        if (ok && ratio <= d->bound_ratio) continue;
        d->bound_ratio = ratio;
        d->worst_row = s->rows[i];
        d->worst_col = col;
        d->worst_expected = right;
        d->worst_got = got;
        if (!ok && !d->wrong++) {
            d->row = s->rows[i];
            d->col = col;
            d->expected = right;
            d->got = got;
        }
    }
}

static void *judge_parts(void *data) {
    work *w = data;
    mg_block_view view; /* rows in use are a thread's own */
    double *value = malloc(2 * (size_t)w->s->shape.cols * sizeof *value), *bound = value + w->s->shape.cols;
    gg_status status = mg_block_view_share(&view, &w->j->view);
    if (!value) status = GG_ERR_MEMORY;
    for (int64_t part; !status && (part = atomic_fetch_add(&w->next, 1)) < w->parts;) {
        const int64_t end = w->s->count * (part + 1) / w->parts;
        for (int64_t i = w->s->count * part / w->parts; i < end; i++) {
            mg_block_row(&view, w->s->step, w->s->rows[i], value, bound);
            judge_row(w->j, w->s, i, value, bound, &w->verdicts[part]);
        }
    }
    if (status) atomic_store(&w->status, status);
    mg_block_view_unshare(&view);
    free(value);
    return NULL;
}

/* As if the rows of `part` had been judged after those of `sum`. */
static void join(verdict *sum, const verdict *part) {
    mg_difference *d = &sum->difference;
    const mg_difference *p = &part->difference;
    if (p->wrong || p->bound_ratio > d->bound_ratio) {
        d->bound_ratio = p->bound_ratio;
        d->worst_row = p->worst_row;
        d->worst_col = p->worst_col;
        d->worst_expected = p->worst_expected;
        d->worst_got = p->worst_got;
    }
    if (p->wrong && !d->wrong) {
        d->row = p->row;
        d->col = p->col;
        d->expected = p->expected;
        d->got = p->got;
    }
    d->wrong += p->wrong;
    d->compared += p->compared;
    sum->nonzero |= part->nonzero;
}

/* With one thread where no more can be had. */
static gg_status judge_sample(const judge *j, const sample *s, verdict *sum) {
    const int asked = j->in->threads < 1 ? 1 : j->in->threads;
    const int threads = asked > MAX_THREADS ? MAX_THREADS : asked;
    work w = {.j = j, .s = s, .parts = s->count < threads * PARTS_EACH ? s->count : threads * PARTS_EACH};
    pthread_t others[MAX_THREADS];
    int started = 0;
    if (!(w.verdicts = calloc((size_t)w.parts + 1, sizeof *w.verdicts))) return GG_ERR_MEMORY;
    while (started < threads - 1 && started + 1 < w.parts &&
           !pthread_create(&others[started], NULL, judge_parts, &w))
        started++;
    judge_parts(&w);
    for (int i = 0; i < started; i++) pthread_join(others[i], NULL);
    for (int64_t i = 0; i < w.parts; i++) join(sum, &w.verdicts[i]);
    free(w.verdicts);
    return (gg_status)atomic_load(&w.status);
}

static gg_status judge_step(judge *j, mg_block_step step, mg_difference *d) {
    sample s = {.step = step, .shape = mg_block_step_of(&j->in->p, step)};
    const mg_block_step_shape *shape = &s.shape;
    const bool all = j->in->block->problem.store == MG_STORE_FILES;
    const double most = FULL_SIZE_COST / (shape->row_cost + 1);
    verdict sum = {.difference = {.rows = shape->rows, .cols = shape->cols}};
    snprintf(sum.difference.output, sizeof sum.difference.output, "%s", shape->name);
    gg_status status = sample_take(j, &s,
                                   all || (double)shape->rows < most ? shape->rows
                                   : most < 8                        ? 8
                                                                     : (int64_t)most);
    if (status == GG_OK) status = judge_sample(j, &s, &sum);
    sample_free(&s);
    *d = sum.difference;
    if (status == GG_OK && j->in->p.T && shape->rows &&
        (!d->compared || (!sum.nonzero && step != MG_STEP_TOPK_IDS)))
        mg_note(j->result, MG_MISTRUSTED, "step '%s' could not have failed: %s", shape->name,
                d->compared ? "all of it should be zero" : "nothing was compared");
    return status;
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
    sample s = {.step = step, .shape = mg_block_step_of(&j->in->p, step)};
    const mg_block_step_shape shape = s.shape;
    const double u = j->in->p.dtype == GG_BF16 ? 0x1p-8 : 0x1p-11;
    double distance = 0, size = 0;
    gg_status status = sample_take(j, &s, shape.rows);
    for (int64_t row = 0; row < shape.rows && status == GG_OK; row++)
        for (int64_t i = 0; i < shape.cols; i++) {
            const double right = got_value(j, step, &shape, golden_row(g, &shape, row), i);
            const double error = got_value(j, step, &shape, sampled_row(j, &s, row), i) - right;
            distance += error * error;
            size += right * right;
        }
    sample_free(&s);
    if (status != GG_OK) return status;
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
    char why[MG_ERROR_SIZE];
    snprintf(error, MG_ERROR_SIZE, "out of memory for the verdict");
    gg_status status = mg_block_view_init(&j.view, in->block, &in->p, in->user_seed);
    j.view.workspace = in->workspace;
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
    return status;
}
