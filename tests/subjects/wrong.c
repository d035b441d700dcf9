/* wrong.c: the example made wrong in one way, chosen by one macro; each way is a library that the tests must
 * see fail. */
#include <stdlib.h>

#include "float16.h"

#ifdef WRONG_ROUNDS_TOWARD_ZERO
/* one unit less wherever rounding has gone away from zero */
static inline uint16_t toward_zero(gg_dtype dtype, float value) {
    uint16_t bits = bits_from_float(dtype, value);
    return fabsf(float_from_bits(dtype, bits)) > fabsf(value) ? (uint16_t)(bits - 1) : bits;
}
#define bits_from_float toward_zero
#endif

#ifdef WRONG_WEIGHTS_BEFORE_ROUNDING
static inline uint16_t weighted_once(gg_dtype dtype, float value, float weight) {
    return bits_from_float(dtype, value * float_from_bits(dtype, bits_from_float(dtype, weight)));
}
#define weighted_bits weighted_once
#endif

#define mg_subject_get example_get
#include "example.c"
#undef mg_subject_get

typedef struct output {
    uint16_t *data;
    int64_t count;
} output;

/* The faults below change inputs before a right launch, or outputs after it. */
typedef struct fault {
    const char *name;
    void *(*before)(const gg_problem *problem,
                    gg_tensors *tensors); /* a copy put in their place is returned */
    void (*after)(const gg_problem *problem, const gg_tensors *tensors, output); /* of the launch's output */
} fault;

#if defined WRONG_ROUNDS_TOWARD_ZERO
static const fault chosen = {.name = "rounds_toward_zero"};

#elif defined WRONG_WEIGHTS_BEFORE_ROUNDING
static const fault chosen = {.name = "weights_before_rounding"};

#elif defined WRONG_DROPS_LAST_K
/* forward and dX: the last product of every sum, by a zero in the last column of x or dy */
static void *drop(const gg_problem *p, gg_tensors *t) {
    if (p->op == GG_DW) return NULL;
    const void **operand = p->op == GG_FORWARD ? &t->x : &t->dy;
    int64_t cols = p->op == GG_FORWARD ? p->K : p->N;
    int64_t rows = p->op == GG_FORWARD && p->fusions & GG_PERMUTE_X ? p->T : p->T * p->topk;
    uint16_t *copy = malloc((size_t)(rows * cols) * sizeof *copy + 1);
    memcpy(copy, *operand, (size_t)(rows * cols) * sizeof *copy);
    for (int64_t row = 0; row < rows; row++) copy[(row + 1) * cols - 1] = 0;
    *operand = copy;
    return copy;
}
static const fault chosen = {.name = "drops_last_k", .before = drop};

#elif defined WRONG_EXPERT_AT_BOUNDARY
/* the last row of the first expert that has one goes to its neighbour */
static void *shift(const gg_problem *p, gg_tensors *t) {
    int32_t *sizes = malloc((size_t)p->E * sizeof *sizes);
    memcpy(sizes, t->m_sizes, (size_t)p->E * sizeof *sizes);
    for (int32_t e = 0; e + 1 < p->E; e++)
        if (sizes[e]) {
            sizes[e]--;
            sizes[e + 1]++;
            break;
        }
    t->m_sizes = sizes;
    return sizes;
}
static const fault chosen = {.name = "expert_at_boundary", .before = shift};

#elif defined WRONG_WRITES_PAST_END
static void stray(const gg_problem *p, const gg_tensors *t, output out) {
    (void)p, (void)t;
    out.data[out.count + 5] = 0;
}
static const fault chosen = {.name = "writes_past_end", .after = stray};

#elif defined WRONG_WRITES_PAST_WORKSPACE || defined WRONG_WRITES_BEFORE_WORKSPACE
#ifdef WRONG_WRITES_PAST_WORKSPACE
#define FAULT "writes_past_workspace"
#define STRAY(t) ((t)->workspace_bytes / 2 + 5)
#else
#define FAULT "writes_before_workspace"
#define STRAY(t) -1
#endif
/* fills it, as it may, and one element too many */
static void stray(const gg_problem *p, const gg_tensors *t, output out) {
    (void)p, (void)out;
    if (!t->workspace) return;
    memset(t->workspace, 0, t->workspace_bytes);
    ((uint16_t *)t->workspace)[STRAY(t)] = 0;
}
static const fault chosen = {.name = FAULT, .after = stray};

#elif defined WRONG_REMEMBERS_WORKSPACE
/* the second result's first value is not computed if the first launch's is still there */
static void remember(const gg_problem *p, const gg_tensors *t, output out) {
    static int launches;
    (void)p;
    if (!t->workspace) return;
    uint16_t *there = t->workspace;
    if (!launches++)
        there[0] = out.data[0];
    else
        out.data[0] = there[0];
}
static const fault chosen = {.name = "remembers_workspace", .after = remember};

#elif defined WRONG_READS_PAST_END
/* padding multiplied by zero instead of being left out */
static void pad(const gg_problem *p, const gg_tensors *t, output out) {
    int64_t rows = p->fusions & GG_PERMUTE_X ? p->T : p->T * p->topk; /* of x; w elsewhere */
    const uint16_t *end = p->op == GG_DW ? (const uint16_t *)t->x + rows * p->K
                                         : (const uint16_t *)t->w + (int64_t)p->E * p->N * p->K;
    float padding = 0 * float_from_bits(p->dtype, *end);
    out.data[0] = bits_from_float(p->dtype, float_from_bits(p->dtype, out.data[0]) + padding);
}
static const fault chosen = {.name = "reads_past_end", .after = pad};

#elif defined WRONG_MODIFIES_INPUT
static void modify(const gg_problem *p, const gg_tensors *t, output out) {
    (void)out;
    uint16_t *operand = (uint16_t *)(p->op == GG_FORWARD ? t->x : t->dy);
    operand[(p->op == GG_FORWARD ? p->K : p->N) + 3] ^= 1; /* row 1, column 3 */
}
static const fault chosen = {.name = "modifies_input", .after = modify};

#elif defined WRONG_NONDETERMINISTIC
/* the second of every three launches of the process */
static void differ(const gg_problem *p, const gg_tensors *t, output out) {
    static int launches;
    (void)p, (void)t;
    if (launches++ % 3 == 1) out.data[out.count - 1] ^= 1;
}
static const fault chosen = {.name = "nondeterministic", .after = differ};

#elif defined WRONG_LEAVES_TILE || defined WRONG_WRITES_ONCE
/* eight elements keep what was there: at every launch, or at every second one */
static uint16_t kept[8];
static uint16_t *tile(const gg_problem *p, const gg_tensors *t) {
    uint16_t *const outputs[GG_NUM_OPS] = {[GG_FORWARD] = t->y, [GG_DX] = t->dx, [GG_DW] = t->dw};
    return outputs[p->op] + 8;
}
static void *keep(const gg_problem *p, gg_tensors *t) {
    memcpy(kept, tile(p, t), sizeof kept);
    return NULL;
}
#ifdef WRONG_WRITES_ONCE
static bool left(void) {
    static int launches;
    return launches++ % 2;
}
#else
static bool left(void) { return true; }
#endif
static void restore(const gg_problem *p, const gg_tensors *t, output out) {
    (void)out;
    if (left()) memcpy(tile(p, t), kept, sizeof kept);
}
static const fault chosen = {.name = "leaves_tile", .before = keep, .after = restore};

#elif defined WRONG_NAN
static void spoil(const gg_problem *p, const gg_tensors *t, output out) {
    (void)p, (void)t;
    out.data[out.count / 2] = 0x7fff;
}
static const fault chosen = {.name = "nan", .after = spoil};

#else
#error "no fault chosen"
#endif

static gg_status wrong_launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                              const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    const int64_t M = problem->T * problem->topk;
    const output outputs[GG_NUM_OPS] = {
        [GG_FORWARD] = {tensors->y, M * problem->N},
        [GG_DX] = {tensors->dx, M * problem->K},
        [GG_DW] = {tensors->dw, (int64_t)problem->E * problem->N * problem->K}};
    gg_tensors used = *tensors;
    void *copy = chosen.before ? chosen.before(problem, &used) : NULL;
    gg_status status = example_launch(context, problem, config, &used, stream, error);
    if (chosen.after) chosen.after(problem, tensors, outputs[problem->op]);
    free(copy);
    return status;
}

const mg_subject *mg_subject_get(void);
const mg_subject *mg_subject_get(void) {
    static mg_subject wrong;
    wrong = *example_get();
    wrong.name = chosen.name;
    wrong.launch = wrong_launch;
    return &wrong;
}
