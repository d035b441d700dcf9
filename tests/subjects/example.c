/* example.c: a complete subject for `--subject ./example.so`: a plain C grouped GEMM over host memory.
 *
 * A subject is a shared library that exports mg_subject_get. It is asked with plan() whether it can run a
 * problem, then launch() is called with device pointers of the backend: with `--backend sim` these are
 * ordinary host pointers, which is all that this example handles. Build it with nothing but the headers: cc
 * -shared -fPIC -O2 -Iharness -Ikernels tests/subjects/example.c -lm -o example.so moegemm run --backend sim
 * --subject ./example.so -k forward A subject on a GPU launches its own kernels on `stream` instead (a
 * CUstream) and returns without waiting for them. */
#include <stdio.h>
#include <string.h>

#include "float16.h"
#include "subject.h"

/* The tile sizes, stages, TMA flags and copy_rows of the config are requests that this subject has no use for, and so is the
 * workspace that comes with the last; the fusions are part of the problem and must be honoured. */
static gg_status example_plan(const gg_problem *problem, const gg_config *config, const gg_device *device,
                              char reason[GG_REASON_SIZE]) {
    (void)config;
    if (!strncmp(device->name, "NVIDIA", 6)) {
        snprintf(reason, GG_REASON_SIZE, "the example works on host memory (--backend sim)");
        return GG_ERR_REFUSED;
    }
    if (problem->fusions & GG_FUSE_MUL_POST && !(problem->fusions & GG_PERMUTE_Y)) {
        snprintf(reason, GG_REASON_SIZE, "fuse_mul_post needs permute_y");
        return GG_ERR_REFUSED;
    }
    return GG_OK;
}

/* sum over i < length of a[i * a_step] * b[i * b_step] */
static float dot(gg_dtype dtype, int64_t length, const uint16_t *a, int64_t a_step, const uint16_t *b,
                 int64_t b_step) {
    float sum = 0;
    for (int64_t i = 0; i < length; i++)
        sum = fmaf(float_from_bits(dtype, a[i * a_step]), float_from_bits(dtype, b[i * b_step]), sum);
    return sum;
}

/* Where expert-order row i of x, and of y and dy, is stored. */
static int64_t x_row(const gg_problem *p, const gg_tensors *t, int64_t i) {
    return p->fusions & GG_PERMUTE_X ? t->gather_indices[i] / p->topk : i;
}
static int64_t y_row(const gg_problem *p, const gg_tensors *t, int64_t i) {
    return p->fusions & GG_PERMUTE_Y ? t->gather_indices[i] : i;
}
/* ... and of dx, which stays in slot order until it is reduced. */
static int64_t dx_row(const gg_problem *p, const gg_tensors *t, int64_t i) {
    return p->fusions & GG_PERMUTE_X ? t->gather_indices[i] : i;
}

static void forward(const gg_problem *p, const gg_tensors *t, int32_t expert, int64_t first, int64_t last) {
    const uint16_t *x = t->x, *w = (const uint16_t *)t->w + (int64_t)expert * p->N * p->K; /* (N, K) */
    uint16_t *y = t->y;
    for (int64_t i = first; i < last; i++)
        for (int32_t n = 0; n < p->N; n++) {
            float sum = dot(p->dtype, p->K, x + x_row(p, t, i) * p->K, 1, w + (int64_t)n * p->K, 1);
            int64_t row = y_row(p, t, i);
            y[row * p->N + n] = p->fusions & GG_FUSE_MUL_POST
                                    ? weighted_bits(p->dtype, sum, t->topk_weights[row])
                                    : bits_from_float(p->dtype, sum);
        }
}

static void backward_dX(const gg_problem *p, const gg_tensors *t, int32_t expert, int64_t first,
                        int64_t last) {
    const uint16_t *dy = t->dy, *w = (const uint16_t *)t->w + (int64_t)expert * p->N * p->K; /* (N, K) */
    uint16_t *dx = t->dx;
    for (int64_t i = first; i < last; i++)
        for (int32_t k = 0; k < p->K; k++)
            dx[dx_row(p, t, i) * p->K + k] =
                bits_from_float(p->dtype, dot(p->dtype, p->N, dy + y_row(p, t, i) * p->N, 1, w + k, p->K));
}

static void backward_dW(const gg_problem *p, const gg_tensors *t, int32_t expert, int64_t first,
                        int64_t last) {
    const uint16_t *dy = t->dy, *x = t->x;
    uint16_t *dw = (uint16_t *)t->dw + (int64_t)expert * p->N * p->K; /* (N, K) */
    for (int32_t n = 0; n < p->N; n++)
        for (int32_t k = 0; k < p->K; k++) {
            float sum = 0; /* rows may be scattered, so no dot */
            for (int64_t i = first; i < last; i++)
                sum = fmaf(float_from_bits(p->dtype, dy[y_row(p, t, i) * p->N + n]),
                           float_from_bits(p->dtype, x[x_row(p, t, i) * p->K + k]), sum);
            dw[(int64_t)n * p->K + k] = bits_from_float(p->dtype, sum);
        }
}

static gg_status example_launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                                const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    static void (*const operations[GG_NUM_OPS])(const gg_problem *, const gg_tensors *, int32_t, int64_t,
                                                int64_t) = {
        [GG_FORWARD] = forward, [GG_DX] = backward_dX, [GG_DW] = backward_dW};
    (void)context, (void)config, (void)stream, (void)error;
    int64_t first = 0;
    for (int32_t expert = 0; expert < problem->E; expert++) {
        int64_t last = first + tensors->m_sizes[expert];
        operations[problem->op](problem, tensors, expert, first, last);
        first = last;
    }
    return GG_OK;
}

/* reduce_topk may be left out: the shipped kernel then adds the topk rows of dX. */
const mg_subject *mg_subject_get(void);
const mg_subject *mg_subject_get(void) {
    static const mg_subject example = {.abi = MG_SUBJECT_ABI,
                                       .name = "example",
                                       .description = "plain C over host memory",
                                       .plan = example_plan,
                                       .launch = example_launch};
    return &example;
}
