/* block_steps.c: what each step of an MoE block must give, in double, with the bound of a right result.
 *
 * Sums run in ascending order of their index and nothing is fused (-ffp-contract=off), so that gen/moe.py finds the same
 * bits.
 *   rounding  half a step of the dtype's numbers at |c| + error, where c is the right value and error what it may be off
 *             before it is rounded
 *   products  error = g S, S = sum of |a||b|, g = min(R, 8 + sqrt(R) / 4) 2^-23 (the corpus's sharp bound: all of
 *             them have a factor of symmetric sign); where both factors are the drawn ones, the sum is exact in fp32 and
 *             the rounding of c is the only right answer.
 *   functions relative error of exp (|x| + 4) 2^-23 (device/moe_ops.h), of each other operation at most 2^-23. */
#include <math.h>
#include <string.h>

#include "block.h"

#define U 0x1p-23

/* --- reading --- */

static const void *buffer_row(const mg_block_view *v, gg_moe_buffer which, int64_t row) {
    const gg_moe_place *place = &v->layout.places[which];
    return v->workspace + place->offset + (size_t)(row * place->cols) * (size_t)place->element_bytes;
}
static const int32_t *ints(const mg_block_view *v, gg_moe_buffer which) { return buffer_row(v, which, 0); }
static const float *floats(const mg_block_view *v, gg_moe_buffer which, int64_t row) {
    return buffer_row(v, which, row);
}
static const uint16_t *halves(const mg_block_view *v, gg_moe_buffer which, int64_t row) {
    return buffer_row(v, which, row);
}
static double number(const mg_block_view *v, uint16_t bits) { return (double)v->numbers[bits]; }

static const uint16_t *input_row(const mg_block_view *v, mg_block_input input, int64_t row) {
    const mg_block_shape shape = mg_block_input_shape(&v->p, input);
    if (v->inputs[input]) return v->inputs[input] + row * shape.cols;
    const mg_draw d = mg_block_draw(v->block, input, v->user_seed);
    mg_fill_integers(d.seed, d.bits, d.scale_log2, v->p.dtype, (uint64_t)(row * shape.cols),
                     (size_t)shape.cols, v->drawn);
    return v->drawn;
}

/* A copy that stays while rows of an input are drawn. */
static const uint16_t *keep(const mg_block_view *v, const uint16_t *row, int64_t cols) {
    return memcpy(v->kept, row, (size_t)cols * sizeof *row);
}

/* --- where rows are --- */

static int64_t position_of(const mg_block_view *v, int64_t slot) { return ints(v, GG_MOE_POSITIONS)[slot]; }
static int64_t slot_of(const mg_block_view *v, int64_t i) { return ints(v, GG_MOE_GATHER_INDICES)[i]; }
static int32_t expert_of(const mg_block_view *v, int64_t slot) { return ints(v, GG_MOE_TOPK_IDS)[slot]; }
static double weight_of(const mg_block_view *v, int64_t slot) {
    return (double)floats(v, GG_MOE_TOPK_WEIGHTS, 0)[slot];
}
/* Row of a slot in a tensor that is in slot order with this fusion, else in expert order, and back. */
static int64_t row_of_slot(const mg_block_view *v, unsigned fusion, int64_t slot) {
    return v->p.fusions & fusion ? slot : position_of(v, slot);
}
static int64_t slot_of_row(const mg_block_view *v, unsigned fusion, int64_t row) {
    return v->p.fusions & fusion ? row : slot_of(v, row);
}
static const uint16_t *x_row(const mg_block_view *v, int64_t slot) {
    return v->p.fusions & GG_PERMUTE_X ? input_row(v, MG_BLOCK_X, slot / v->p.topk)
                                       : halves(v, GG_MOE_X_EXPERT, position_of(v, slot));
}

/* --- bounds --- */

/* Of a value that is rounded to the dtype after an error of at most `error`: half a step of the numbers up to there. */
static double rounded(const mg_block_view *v, double c, double error) {
    const int bits = v->p.dtype == GG_BF16 ? 8 : 11, smallest = v->p.dtype == GG_BF16 ? -126 : -14;
    int exponent;
    frexp(fabs(c) + error, &exponent); /* 2^(exponent - 1) is not above it */
    if (exponent - 1 < smallest) exponent = smallest + 1;
    return error + ldexp(0.5, exponent - bits);
}
/* How far a number of the dtype can be from `here`, one of them, and no more than `bound` from c: often not at all. */
static double grid_reach(const mg_block_view *v, double here, double c, double bound) {
    double reach = 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        const double limit = c + sign * bound;
        uint16_t bits = mg_bits_from_double(v->p.dtype, limit);
        /* rounded beyond the limit: the number before it */
        const double beyond = sign * (number(v, bits) - limit);
        if (beyond > 0 && bits & 0x7fff) bits = (uint16_t)(sign * number(v, bits) > 0 ? bits - 1 : bits + 1);
        reach = fmax(reach, fabs(number(v, bits) - here));
    }
    return reach;
}
static double growth(double R) { return fmin(R, 8 + sqrt(R) / 4) * U; }

/* --- functions, from + - * / alone, so that they are the same on every machine --- */

double mg_block_exp(double x) {
    enum { TERMS = 14 };
    if (!(x > -700)) x = -700;
    if (x > 700) x = 700;
    const double scaled = x * 0x1.71547652b82fep+0;
    const int64_t whole = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
    /* log(2) in two parts, the first with zeros enough that its product is exact */
    const double r = x - (double)whole * 0x1.62e42fee00000p-1 - (double)whole * 0x1.a39ef35793c76p-33;
    double sum = 1;
    for (int i = TERMS; i > 0; i--) sum = 1 + sum * r / i;
    uint64_t bits = (uint64_t)(1023 + whole) << 52; /* 2^whole */
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}
static double sigmoid(double x) { return 1 / (1 + mg_block_exp(-x)); }
/* Relative error of the device's sigmoid. */
static double sigmoid_error(double x) { return (fabs(x) + 8) * U; }

/* --- products --- */

/* value, and S in `bound` where not NULL, of row * matrix^T, `count` rows of an input from `first` on. */
static void times_transposed(const mg_block_view *v, const uint16_t *row, mg_block_input input, int64_t first,
                             int64_t count, double *value, double *bound) {
    const int64_t cols = mg_block_input_shape(&v->p, input).cols;
    for (int64_t k = 0; k < cols; k++) v->row[k] = number(v, row[k]);
    for (int64_t n = 0; n < count; n++) {
        const uint16_t *w = input_row(v, input, first + n);
        double sum = 0, size = 0;
        for (int64_t k = 0; k < cols; k++) {
            const double product = v->row[k] * number(v, w[k]);
            sum += product;
            size += fabs(product);
        }
        value[n] = sum;
        bound[n] = size;
    }
}

/* The same of row * matrix. */
static void times(const mg_block_view *v, const uint16_t *row, mg_block_input input, int64_t first,
                  int64_t count, double *value, double *bound) {
    const int64_t cols = mg_block_input_shape(&v->p, input).cols;
    for (int64_t k = 0; k < cols; k++) value[k] = bound[k] = 0;
    for (int64_t n = 0; n < count; n++) {
        const double factor = number(v, row[n]);
        const uint16_t *w = input_row(v, input, first + n);
        for (int64_t k = 0; k < cols; k++) {
            const double product = factor * number(v, w[k]);
            value[k] += product;
            bound[k] += fabs(product);
        }
    }
}

static void add_outer(const mg_block_view *v, double factor, const uint16_t *row, int64_t cols, double *value,
                      double *bound) {
    for (int64_t k = 0; k < cols; k++) {
        const double product = factor * number(v, row[k]);
        value[k] += product;
        bound[k] += fabs(product);
    }
}

/* From S to the bound of a product that is rounded to the dtype. */
static void bound_products(const mg_block_view *v, double R, bool exact, int64_t count, const double *value,
                           double *bound) {
    for (int64_t n = 0; n < count; n++) bound[n] = exact ? 0 : rounded(v, value[n], growth(R) * bound[n]);
}

/* --- routing --- */

static void logits_row(const mg_block_view *v, int64_t t, double *value, double *bound) {
    times_transposed(v, keep(v, input_row(v, MG_BLOCK_X, t), v->p.H), MG_BLOCK_GATE, 0, v->p.E, value, bound);
    for (int32_t e = 0; e < v->p.E; e++) bound[e] = 0;
}

/* The topk largest, of equal ones the lower. */
static void choose(const mg_block_view *v, int64_t t, double *ids) {
    const float *logits = floats(v, GG_MOE_LOGITS, t);
    for (int32_t j = 0; j < v->p.topk; j++) {
        int32_t best = -1;
        for (int32_t e = 0; e < v->p.E; e++) {
            bool taken = false;
            for (int32_t i = 0; i < j; i++) taken |= (int32_t)ids[i] == e;
            if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
        }
        ids[j] = best;
    }
}

/* Scores of the experts of a token (all for a softmax over all, else the chosen ones) and their sum; largest |x| of an
 * exponential. */
static double scores(const mg_block_view *v, int64_t t, double *score, double *reach) {
    const gg_moe_problem *p = &v->p;
    const float *logits = floats(v, GG_MOE_LOGITS, t);
    const int32_t *ids = ints(v, GG_MOE_TOPK_IDS) + t * p->topk;
    const double largest = (double)logits[ids[0]];
    double sum = 0;
    *reach = 0;
    for (int32_t i = 0; i < (p->score == GG_SOFTMAX ? p->E : p->topk); i++) {
        const double logit = (double)logits[p->score == GG_SOFTMAX ? i : ids[i]];
        const double x = p->score == GG_SIGMOID ? logit : logit - largest;
        score[i] = p->score == GG_SIGMOID ? sigmoid(x) : mg_block_exp(x);
        sum += score[i];
        *reach = fmax(*reach, fabs(x));
    }
    return p->score == GG_SIGMOID ? 1 : sum;
}
/* Relative error of a score over the sum: exp twice, as many additions as experts, the quotient. */
static double score_error(const mg_block_view *v, double reach) { return (2 * reach + v->p.E + 16) * U; }
static int32_t score_index(const mg_block_view *v, int64_t t, int32_t j) {
    return v->p.score == GG_SOFTMAX ? ints(v, GG_MOE_TOPK_IDS)[t * v->p.topk + j] : j;
}

static void weights_row(const mg_block_view *v, int64_t t, double *value, double *bound) {
    double score[GG_MOE_MAX_E], reach, sum = scores(v, t, score, &reach);
    for (int32_t j = 0; j < v->p.topk; j++) {
        value[j] = score[score_index(v, t, j)] / sum;
        bound[j] = rounded(v, value[j], score_error(v, reach) * value[j]);
    }
}

static void sort_row(const mg_block_view *v, double *value, double *bound) {
    const int32_t *ids = ints(v, GG_MOE_TOPK_IDS);
    const int64_t M = v->p.T * v->p.topk;
    int64_t at = 0;
    for (int32_t e = 0; e < v->p.E; e++)
        for (int64_t slot = 0; slot < M; slot++)
            if (ids[slot] == e) value[at++] = (double)slot;
    for (int64_t i = 0; i < M; i++) bound[i] = 0;
}

/* --- activation --- */

static double silu(double x) { return x * sigmoid(x); }

/* How far silu goes while its argument goes by `error` at most: it falls as far as its least value, rises from there. */
static double silu_reach(double x, double error) {
    const double least_at = -0x1.474973c84120cp+0, here = silu(x); /* where 1 + x (1 - sigmoid(x)) is 0 */
    const double reach = fmax(fabs(silu(x + error) - here), fabs(silu(x - error) - here));
    const bool turns = x - error < least_at && least_at < x + error;
    return turns ? fmax(reach, here - silu(least_at)) : reach;
}

/* From gate and up in memory; where there are none, from what they must be and may be off, bit for bit the same where both
 * are the only right ones. */
static void activation_row(const mg_block_view *v, mg_block_step first, gg_moe_buffer buffer, int64_t row,
                           double *value, double *bound) {
    const int64_t I = v->layout.places[buffer].cols / 2;
    const bool kept = v->layout.places[buffer].bytes;
    const uint16_t *bits = kept ? halves(v, buffer, row) : NULL;
    double *numbers = v->first, *errors = v->first + 2 * I;
    if (!kept) mg_block_row(v, first, row, numbers, errors);
    for (int64_t k = 0; k < 2 * I; k++) {
        const double right = kept ? 0 : numbers[k];
        numbers[k] = number(v, kept ? bits[k] : mg_bits_from_double(v->p.dtype, right));
        errors[k] = kept || errors[k] == 0 ? 0 : grid_reach(v, numbers[k], right, errors[k]);
    }
    for (int64_t k = 0; k < I; k++) {
        const double gate = numbers[k], up = numbers[I + k], up_error = errors[I + k];
        const double reach = errors[k] > 0 ? silu_reach(gate, errors[k]) : 0, largest = fabs(up) + up_error;
        const double before = reach * largest + fabs(silu(gate)) * up_error;
        value[k] = gate * sigmoid(gate) * up;
        bound[k] = rounded(
            v, value[k],
            before + (sigmoid_error(fabs(gate) + errors[k]) + 2 * U) * (fabs(value[k]) + before) + 0x1p-120);
    }
}

static void activation_backward_row(const mg_block_view *v, const uint16_t *gate_up, const uint16_t *d,
                                    double weight, int64_t I, double *value, double *bound) {
    for (int64_t k = 0; k < I; k++) {
        const double gate = number(v, gate_up[k]), up = number(v, gate_up[I + k]);
        const double s = sigmoid(gate), silu = gate * s, weighted = weight * number(v, d[k]);
        const double error = (sigmoid_error(gate) + 8 * U) * 2;
        value[k] = weighted * up * (s + silu * (1 - s));
        value[I + k] = weighted * silu;
        /* 1 - s has lost the leading digits of s, so its error is as large as s's */
        bound[k] = rounded(v, value[k], error * fabs(weighted * up) * (s + fabs(silu)) + 0x1p-120);
        bound[I + k] = rounded(v, value[I + k], error * fabs(value[I + k]) + 0x1p-120);
    }
}

/* --- forward --- */

static void second_row(const mg_block_view *v, int64_t row, double *value, double *bound) {
    const int64_t slot = slot_of_row(v, GG_PERMUTE_Y, row);
    times_transposed(v, halves(v, GG_MOE_ACTIVATION, position_of(v, slot)), MG_BLOCK_DOWN,
                     (int64_t)expert_of(v, slot) * v->p.H, v->p.H, value, bound);
    bound_products(v, v->p.I, false, v->p.H, value, bound);
    if (!(v->p.fusions & GG_FUSE_MUL_POST)) return;
    const double weight = weight_of(v, slot);
    for (int32_t h = 0; h < v->p.H; h++) {
        value[h] = number(v, mg_bits_from_double(v->p.dtype, value[h])) * weight;
        bound[h] =
            rounded(v, value[h], fabs(weight) * 2 * bound[h]); /* the product of two such numbers is exact */
    }
}

/* Sum of a token's rows, weighted or not, and of addends. */
static void merge_row(const mg_block_view *v, int64_t t, gg_moe_buffer rows, unsigned fusion, bool weighted,
                      gg_moe_buffer first_addend, gg_moe_buffer second_addend, double *value, double *bound) {
    const gg_moe_problem *p = &v->p;
    for (int32_t h = 0; h < p->H; h++) value[h] = bound[h] = 0;
    for (int64_t slot = t * p->topk; slot < (t + 1) * p->topk; slot++)
        add_outer(v, weighted ? weight_of(v, slot) : 1, halves(v, rows, row_of_slot(v, fusion, slot)), p->H,
                  value, bound);
    const gg_moe_buffer addends[] = {first_addend, second_addend};
    for (int i = 0; i < 2; i++)
        if (addends[i] != GG_MOE_NUM_BUFFERS && v->layout.places[addends[i]].bytes)
            add_outer(v, 1, halves(v, addends[i], t), p->H, value, bound);
    /* each of so few additions may lose half a unit of the largest partial sum */
    for (int32_t h = 0; h < p->H; h++) bound[h] = rounded(v, value[h], (p->topk + 3) * 0x1p-24 * bound[h]);
}

/* --- backward --- */

/* Rows n of expert e: sum over its rows of dy[., n] * x[., :]. */
typedef struct outer {
    const mg_block_view *v;
    const uint16_t *(*dy)(const mg_block_view *, int64_t slot, int64_t position);
    const uint16_t *(*x)(const mg_block_view *, int64_t slot, int64_t position);
} outer;

static const uint16_t *dy_token(const mg_block_view *v, int64_t slot, int64_t i) {
    return v->p.fusions & GG_PERMUTE_Y ? input_row(v, MG_BLOCK_DY, slot / v->p.topk)
                                       : halves(v, GG_MOE_DY_EXPERT, i);
}
static const uint16_t *weighted_at(const mg_block_view *v, int64_t slot, int64_t i) {
    (void)slot;
    return halves(v, v->p.weights_first ? GG_MOE_ACTIVATION : GG_MOE_WEIGHTED, i);
}
static const uint16_t *d_first_at(const mg_block_view *v, int64_t slot, int64_t i) {
    (void)slot;
    return halves(v, GG_MOE_D_FIRST, i);
}
static const uint16_t *x_at(const mg_block_view *v, int64_t slot, int64_t i) {
    (void)i;
    return x_row(v, slot);
}

static void routed_dw_row(const outer *o, int64_t row, int64_t N, int64_t cols, double *value,
                          double *bound) {
    const mg_block_view *v = o->v;
    const int64_t e = row / N, n = row % N;
    for (int64_t k = 0; k < cols; k++) value[k] = bound[k] = 0;
    for (int64_t i = v->starts[e]; i < v->starts[e + 1]; i++) {
        const int64_t slot = slot_of(v, i);
        const double factor = number(v, o->dy(v, slot, i)[n]);
        add_outer(v, factor, o->x(v, slot, i), cols, value, bound);
    }
    bound_products(v, (double)(v->starts[e + 1] - v->starts[e]), false, cols, value, bound);
}

/* Over all tokens: the router and the shared expert. dy: a buffer, or the input where it is none; x likewise. */
static void dense_dw_row(const mg_block_view *v, int64_t n, gg_moe_buffer dy, gg_moe_buffer x, int64_t cols,
                         double *value, double *bound) {
    for (int64_t k = 0; k < cols; k++) value[k] = bound[k] = 0;
    for (int64_t t = 0; t < v->p.T; t++) {
        const double factor =
            number(v, (dy == GG_MOE_NUM_BUFFERS ? input_row(v, MG_BLOCK_DY, t) : halves(v, dy, t))[n]);
        add_outer(v, factor, x == GG_MOE_NUM_BUFFERS ? input_row(v, MG_BLOCK_X, t) : halves(v, x, t), cols,
                  value, bound);
    }
    bound_products(v, (double)v->p.T, false, cols, value, bound);
}

/* Gradients of the routing weights: lanes of a warp take 8 columns each in turn, then 5 more additions. */
static void d_weights_row(const mg_block_view *v, int64_t t, double *value, double *bound) {
    const gg_moe_problem *p = &v->p;
    const int64_t cols = p->weights_first ? p->H : p->I;
    const double depth = (double)(cols + 255) / 256 * 8 + 6;
    for (int32_t j = 0; j < p->topk; j++) {
        const int64_t slot = t * p->topk + j, i = position_of(v, slot);
        const uint16_t *a = p->weights_first ? halves(v, GG_MOE_DX_ROWS, row_of_slot(v, GG_PERMUTE_X, slot))
                                             : halves(v, GG_MOE_D_ACTIVATION, i);
        const uint16_t *b = p->weights_first ? input_row(v, MG_BLOCK_X, t) : halves(v, GG_MOE_ACTIVATION, i);
        double sum = 0, size = 0;
        for (int64_t k = 0; k < cols; k++) {
            const double product = number(v, a[k]) * number(v, b[k]);
            sum += product;
            size += fabs(product);
        }
        value[j] = sum;
        bound[j] = depth * 0x1p-24 * size + 0x1p-140;
    }
}

static void d_logits_row(const mg_block_view *v, int64_t t, double *value, double *bound) {
    const gg_moe_problem *p = &v->p;
    const float *d = floats(v, GG_MOE_D_WEIGHTS, t);
    const int32_t *ids = ints(v, GG_MOE_TOPK_IDS) + t * p->topk;
    double score[GG_MOE_MAX_E], reach, sum = scores(v, t, score, &reach), dot = 0, size = 0;
    const double error = score_error(v, reach) * 2;
    for (int64_t e = 0; e < v->layout.places[GG_MOE_D_LOGITS].cols; e++) value[e] = bound[e] = 0;
    for (int32_t j = 0; j < p->topk; j++) {
        const double product = score[score_index(v, t, j)] / sum * (double)d[j];
        dot += product;
        size += fabs(product);
    }
    for (int32_t i = 0; i < (p->score == GG_SOFTMAX ? p->E : p->topk); i++) {
        const int32_t e = p->score == GG_SOFTMAX ? i : ids[i];
        double own = 0;
        for (int32_t j = 0; j < p->topk; j++)
            if (ids[j] == e) own = (double)d[j];
        const double weight = score[i] / sum;
        value[e] = p->score == GG_SIGMOID ? own * weight * (1 - weight) : weight * (own - dot);
        const double scale = p->score == GG_SIGMOID ? fabs(own) : fabs(own) + size;
        bound[e] = rounded(v, value[e], error * weight * scale + 0x1p-120);
    }
}

/* --- all steps --- */

void mg_block_row(const mg_block_view *v, mg_block_step step, int64_t row, double *value, double *bound) {
    const gg_moe_problem *p = &v->p;
    const gg_moe_buffer none = GG_MOE_NUM_BUFFERS;
    const int64_t H = p->H, I = p->I, S = p->shared_I;
    const bool weighted = !p->weights_first && !(p->fusions & GG_FUSE_MUL_POST);
    int64_t slot;
    switch (step) {
    case MG_STEP_LOGITS: logits_row(v, row, value, bound); break;
    case MG_STEP_TOPK_IDS:
        choose(v, row, value);
        for (int32_t j = 0; j < p->topk; j++) bound[j] = 0;
        break;
    case MG_STEP_TOPK_WEIGHTS: weights_row(v, row, value, bound); break;
    case MG_STEP_GATHER_INDICES: sort_row(v, value, bound); break;
    case MG_STEP_X_EXPERT:
        slot = slot_of(v, row);
        for (int64_t h = 0; h < H; h++) value[h] = bound[h] = 0;
        add_outer(v, p->weights_first ? weight_of(v, slot) : 1, input_row(v, MG_BLOCK_X, slot / p->topk), H,
                  value, bound);
        bound_products(v, 1, true, H, value, bound);
        break;
    case MG_STEP_FIRST:
        slot = slot_of(v, row);
        times_transposed(v, keep(v, x_row(v, slot), H), MG_BLOCK_GATE_UP, expert_of(v, slot) * 2 * I, 2 * I,
                         value, bound);
        bound_products(v, (double)H, !p->weights_first, 2 * I, value, bound);
        break;
    case MG_STEP_ACTIVATION: activation_row(v, MG_STEP_FIRST, GG_MOE_FIRST, row, value, bound); break;
    case MG_STEP_SECOND: second_row(v, row, value, bound); break;
    case MG_STEP_SHARED_FIRST:
        times_transposed(v, keep(v, input_row(v, MG_BLOCK_X, row), H), MG_BLOCK_SHARED_GATE_UP, 0, 2 * S,
                         value, bound);
        bound_products(v, (double)H, true, 2 * S, value, bound);
        break;
    case MG_STEP_SHARED_ACTIVATION:
        activation_row(v, MG_STEP_SHARED_FIRST, GG_MOE_SHARED_FIRST, row, value, bound);
        break;
    case MG_STEP_SHARED_SECOND:
        times_transposed(v, halves(v, GG_MOE_SHARED_ACTIVATION, row), MG_BLOCK_SHARED_DOWN, 0, H, value,
                         bound);
        bound_products(v, (double)S, false, H, value, bound);
        break;
    case MG_STEP_Y:
        merge_row(v, row, GG_MOE_SECOND, GG_PERMUTE_Y, weighted, GG_MOE_SHARED_SECOND, none, value, bound);
        break;
    case MG_STEP_DY_EXPERT:
        for (int64_t h = 0; h < H; h++) value[h] = bound[h] = 0;
        add_outer(v, 1, input_row(v, MG_BLOCK_DY, slot_of(v, row) / p->topk), H, value, bound);
        bound_products(v, 1, true, H, value, bound);
        break;
    case MG_STEP_D_ACTIVATION:
        slot = slot_of(v, row);
        times(v, keep(v, dy_token(v, slot, row), H), MG_BLOCK_DOWN, expert_of(v, slot) * H, H, value, bound);
        bound_products(v, (double)H, true, I, value, bound);
        break;
    case MG_STEP_WEIGHTED:
        for (int64_t k = 0; k < I; k++) value[k] = bound[k] = 0;
        add_outer(v, weight_of(v, slot_of(v, row)), halves(v, GG_MOE_ACTIVATION, row), I, value, bound);
        bound_products(v, 1, true, I, value, bound);
        break;
    case MG_STEP_D_FIRST:
        activation_backward_row(v, halves(v, GG_MOE_FIRST, row), halves(v, GG_MOE_D_ACTIVATION, row),
                                p->weights_first ? 1 : weight_of(v, slot_of(v, row)), I, value, bound);
        break;
    case MG_STEP_D_DOWN: routed_dw_row(&(outer){v, dy_token, weighted_at}, row, H, I, value, bound); break;
    case MG_STEP_DX_ROWS:
        slot = slot_of_row(v, GG_PERMUTE_X, row);
        times(v, halves(v, GG_MOE_D_FIRST, position_of(v, slot)), MG_BLOCK_GATE_UP,
              expert_of(v, slot) * 2 * I, 2 * I, value, bound);
        bound_products(v, (double)(2 * I), false, H, value, bound);
        break;
    case MG_STEP_D_GATE_UP: routed_dw_row(&(outer){v, d_first_at, x_at}, row, 2 * I, H, value, bound); break;
    case MG_STEP_D_WEIGHTS: d_weights_row(v, row, value, bound); break;
    case MG_STEP_D_LOGITS: d_logits_row(v, row, value, bound); break;
    case MG_STEP_DX_ROUTER:
        times(v, halves(v, GG_MOE_D_LOGITS, row), MG_BLOCK_GATE, 0, p->E, value, bound);
        bound_products(v, p->E, false, H, value, bound);
        break;
    case MG_STEP_D_GATE: dense_dw_row(v, row, GG_MOE_D_LOGITS, none, H, value, bound); break;
    case MG_STEP_SHARED_D_ACTIVATION:
        times(v, keep(v, input_row(v, MG_BLOCK_DY, row), H), MG_BLOCK_SHARED_DOWN, 0, H, value, bound);
        bound_products(v, (double)H, true, S, value, bound);
        break;
    case MG_STEP_SHARED_D_FIRST:
        activation_backward_row(v, halves(v, GG_MOE_SHARED_FIRST, row),
                                halves(v, GG_MOE_SHARED_D_ACTIVATION, row), 1, S, value, bound);
        break;
    case MG_STEP_D_SHARED_DOWN: dense_dw_row(v, row, none, GG_MOE_SHARED_ACTIVATION, S, value, bound); break;
    case MG_STEP_SHARED_DX:
        times(v, halves(v, GG_MOE_SHARED_D_FIRST, row), MG_BLOCK_SHARED_GATE_UP, 0, 2 * S, value, bound);
        bound_products(v, (double)(2 * S), false, H, value, bound);
        break;
    case MG_STEP_D_SHARED_GATE_UP: dense_dw_row(v, row, GG_MOE_SHARED_D_FIRST, none, H, value, bound); break;
    case MG_STEP_DX:
        merge_row(v, row, GG_MOE_DX_ROWS, GG_PERMUTE_X, p->weights_first, GG_MOE_DX_ROUTER, GG_MOE_SHARED_DX,
                  value, bound);
        break;
    case MG_NUM_BLOCK_STEPS: break;
    }
}
