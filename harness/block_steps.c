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
#include "block_rows.h"

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
/* A row of a buffer of the dtype as numbers, until the next in the same place. */
static const float *halves_in(const mg_block_view *v, int place, gg_moe_buffer which, int64_t row) {
    mg_rows_widen(v->p.dtype, v->numbers, buffer_row(v, which, row), v->layout.places[which].cols,
                  v->wide[place]);
    return v->wide[place];
}
static const float *halves(const mg_block_view *v, gg_moe_buffer which, int64_t row) {
    return halves_in(v, 0, which, row);
}
static double half_at(const mg_block_view *v, gg_moe_buffer which, int64_t row, int64_t col) {
    return (double)v->numbers[((const uint16_t *)buffer_row(v, which, row))[col]];
}

/* A copy that stays while rows of an input are drawn. */
static const float *keep(const mg_block_view *v, const float *row, int64_t cols) {
    return memcpy(v->wide[1], row, (size_t)cols * sizeof *row);
}

/* A row of an input, until the next. */
static const float *input_row(const mg_block_view *v, mg_block_input input, int64_t row) {
    const int64_t cols = mg_block_input_shape(&v->p, input).cols;
    mg_rows_draw(&v->draws[input], (uint64_t)(row * cols), cols, v->drawn);
    return v->drawn;
}
static double input_at(const mg_block_view *v, mg_block_input input, int64_t row, int64_t col) {
    float group[8];
    const int64_t at = row * mg_block_input_shape(&v->p, input).cols + col;
    mg_rows_draw(&v->draws[input], (uint64_t)(at - at % 8), 8, group);
    return (double)group[at % 8];
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
static const float *x_row(const mg_block_view *v, int64_t slot) {
    return v->p.fusions & GG_PERMUTE_X ? input_row(v, MG_BLOCK_X, slot / v->p.topk)
                                       : halves(v, GG_MOE_X_EXPERT, position_of(v, slot));
}

/* --- bounds --- */

/* To errors before a value is rounded to the dtype comes half a step of the numbers up to there. */
static void rounded(const mg_block_view *v, const double *value, double *error, int64_t count) {
    const bool bf16 = v->p.dtype == GG_BF16;
    mg_rows_rounded(bf16 ? 8 : 11, bf16 ? -126 : -14, value, error, count);
}

/* How far a number of the dtype can be from `here`, one of them, and no more than `bound` from c: often not at all. */
static double grid_reach(const mg_block_view *v, double here, double c, double bound) {
    double reach = 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        const double limit = c + sign * bound;
        uint16_t bits = mg_bits_from_double(v->p.dtype, limit);
        /* rounded beyond the limit: the number before it */
        const double number = (double)v->numbers[bits], beyond = sign * (number - limit);
        if (beyond > 0 && bits & 0x7fff) bits = (uint16_t)(sign * number > 0 ? bits - 1 : bits + 1);
        reach = fmax(reach, fabs((double)v->numbers[bits] - here));
    }
    return reach;
}

static double growth(double R) { return fmin(R, 8 + sqrt(R) / 4) * U; }

/* --- functions --- */

double mg_block_exp(double x) {
    mg_rows_exp(&x, 1);
    return x;
}
static double sigmoid(double x) { return 1 / (1 + mg_block_exp(-x)); }
/* Relative error of the device's sigmoid. */
static double sigmoid_error(double x) { return (fabs(x) + 8) * U; }

/* --- products --- */

/* value, and S in `bound`, of row * matrix^T, `count` rows of an input from `first` on. */
static void times_transposed(const mg_block_view *v, const float *row, mg_block_input input, int64_t first,
                             int64_t count, double *value, double *bound) {
    mg_rows_dot_drawn(&v->draws[input], first, count, mg_block_input_shape(&v->p, input).cols, row, value,
                      bound);
}

static void clear(int64_t cols, double *value, double *bound) {
    for (int64_t k = 0; k < cols; k++) value[k] = bound[k] = 0;
}

/* The same of row * matrix; what the row has of the matrix's rows is given one by one. */
static void add_input(const mg_block_view *v, double factor, mg_block_input input, int64_t row, double *value,
                      double *bound) {
    const int64_t cols = mg_block_input_shape(&v->p, input).cols;
    mg_rows_add(factor, input_row(v, input, row), cols, value, bound);
}
static void times(const mg_block_view *v, const float *row, mg_block_input input, int64_t first,
                  int64_t count, double *value, double *bound) {
    clear(mg_block_input_shape(&v->p, input).cols, value, bound);
    for (int64_t n = 0; n < count; n++) add_input(v, (double)row[n], input, first + n, value, bound);
}

/* From S to the bound of a product that is rounded to the dtype. */
static void bound_products(const mg_block_view *v, double R, bool exact, int64_t count, const double *value,
                           double *bound) {
    for (int64_t n = 0; n < count; n++) bound[n] = exact ? 0 : growth(R) * bound[n];
    if (!exact) rounded(v, value, bound, count);
}

/* --- routing --- */

static void logits_row(const mg_block_view *v, int64_t t, double *value, double *bound) {
    times_transposed(v, input_row(v, MG_BLOCK_X, t), MG_BLOCK_GATE, 0, v->p.E, value, bound);
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
        bound[j] = score_error(v, reach) * value[j];
    }
    rounded(v, value, bound, v->p.topk);
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

/* value[k] = sigmoid of gate[k] */
static void sigmoids(const float *gate, int64_t count, double *value) {
    for (int64_t k = 0; k < count; k++) value[k] = -(double)gate[k];
    mg_rows_exp(value, count);
    for (int64_t k = 0; k < count; k++) value[k] = 1 / (1 + value[k]);
}

static double silu(double x) { return x * sigmoid(x); }

/* How far silu goes while its argument goes by `error` at most: it falls as far as its least value, rises from there. */
static double silu_reach(double x, double error) {
    const double least_at = -0x1.474973c84120cp+0, here = silu(x); /* where 1 + x (1 - sigmoid(x)) is 0 */
    const double reach = fmax(fabs(silu(x + error) - here), fabs(silu(x - error) - here));
    const bool turns = x - error < least_at && least_at < x + error;
    return turns ? fmax(reach, here - silu(least_at)) : reach;
}

/* Gate and up where they are not in memory: what they must be, and how far others that are right as well are from there,
 * often not at all. */
static const float *unkept_row(const mg_block_view *v, mg_block_step first, int64_t row, int64_t cols,
                               double *errors) {
    double *values = v->first;
    mg_block_row(v, first, row, values, errors);
    for (int64_t k = 0; k < cols; k++) {
        v->wide[0][k] = v->numbers[mg_bits_from_double(v->p.dtype, values[k])];
        if (errors[k] > 0) errors[k] = grid_reach(v, (double)v->wide[0][k], values[k], errors[k]);
    }
    return v->wide[0];
}

/* From gate and up in memory; where there are none, from what they must be and may be off, bit for bit the same where both
 * are the only right ones. */
static void activation_row(const mg_block_view *v, mg_block_step step, gg_moe_buffer first, int64_t row,
                           double *value, double *bound) {
    const int64_t I = v->layout.places[first].cols / 2;
    const bool kept = v->layout.places[first].bytes;
    double *errors = v->first + 2 * I;
    const float *gates = kept ? halves(v, first, row) : unkept_row(v, step, row, 2 * I, errors);
    const float *ups = gates + I;
    sigmoids(gates, I, value);
    for (int64_t k = 0; k < I; k++) {
        const double gate = (double)gates[k];
        value[k] = gate * value[k] * (double)ups[k];
        bound[k] = (sigmoid_error(gate) + 2 * U) * fabs(value[k]) + 0x1p-120;
    }
    for (int64_t k = 0; k < I && !kept; k++) {
        if (errors[k] == 0 && errors[I + k] == 0) continue;
        const double gate = (double)gates[k], up = fabs((double)ups[k]);
        const double before =
            silu_reach(gate, errors[k]) * (up + errors[I + k]) + fabs(silu(gate)) * errors[I + k];
        bound[k] =
            before + (sigmoid_error(fabs(gate) + errors[k]) + 2 * U) * (fabs(value[k]) + before) + 0x1p-120;
    }
    rounded(v, value, bound, I);
}

static void activation_backward_row(const mg_block_view *v, gg_moe_buffer first, gg_moe_buffer d_activation,
                                    int64_t row, double weight, int64_t I, double *value, double *bound) {
    const float *gates = halves(v, first, row), *ups = gates + I, *d = halves_in(v, 1, d_activation, row);
    sigmoids(gates, I, value);
    for (int64_t k = 0; k < I; k++) {
        const double gate = (double)gates[k], up = (double)ups[k];
        const double s = value[k], silu = gate * s, weighted = weight * (double)d[k];
        const double error = (sigmoid_error(gate) + 8 * U) * 2;
        value[k] = weighted * up * (s + silu * (1 - s));
        value[I + k] = weighted * silu;
        /* 1 - s has lost the leading digits of s, so its error is as large as s's */
        bound[k] = error * fabs(weighted * up) * (s + fabs(silu)) + 0x1p-120;
        bound[I + k] = error * fabs(value[I + k]) + 0x1p-120;
    }
    rounded(v, value, bound, 2 * I);
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
        value[h] = (double)v->numbers[mg_bits_from_double(v->p.dtype, value[h])] * weight;
        bound[h] *= fabs(weight) * 2; /* the product of two such numbers is exact */
    }
    rounded(v, value, bound, v->p.H);
}

/* Sum of a token's rows, weighted or not, and of addends. */
static void merge_row(const mg_block_view *v, int64_t t, gg_moe_buffer rows, unsigned fusion, bool weighted,
                      gg_moe_buffer first_addend, gg_moe_buffer second_addend, double *value, double *bound) {
    const gg_moe_problem *p = &v->p;
    clear(p->H, value, bound);
    for (int64_t slot = t * p->topk; slot < (t + 1) * p->topk; slot++)
        mg_rows_add(weighted ? weight_of(v, slot) : 1, halves(v, rows, row_of_slot(v, fusion, slot)), p->H,
                    value, bound);
    const gg_moe_buffer addends[] = {first_addend, second_addend};
    for (int i = 0; i < 2; i++)
        if (addends[i] != GG_MOE_NUM_BUFFERS && v->layout.places[addends[i]].bytes)
            mg_rows_add(1, halves(v, addends[i], t), p->H, value, bound);
    /* each of so few additions may lose half a unit of the largest partial sum */
    for (int32_t h = 0; h < p->H; h++) bound[h] *= (p->topk + 3) * 0x1p-24;
    rounded(v, value, bound, p->H);
}

/* --- backward --- */

/* Rows n of expert e: sum over its rows of dy[., n] * x[., :]. */
typedef struct outer {
    const mg_block_view *v;
    double (*dy)(const mg_block_view *, int64_t slot, int64_t position, int64_t n);
    const float *(*x)(const mg_block_view *, int64_t slot, int64_t position);
} outer;

static const float *dy_token(const mg_block_view *v, int64_t slot, int64_t i) {
    return v->p.fusions & GG_PERMUTE_Y ? input_row(v, MG_BLOCK_DY, slot / v->p.topk)
                                       : halves(v, GG_MOE_DY_EXPERT, i);
}
static double dy_token_at(const mg_block_view *v, int64_t slot, int64_t i, int64_t n) {
    return v->p.fusions & GG_PERMUTE_Y ? input_at(v, MG_BLOCK_DY, slot / v->p.topk, n)
                                       : half_at(v, GG_MOE_DY_EXPERT, i, n);
}
static const float *weighted_at(const mg_block_view *v, int64_t slot, int64_t i) {
    (void)slot;
    return halves(v, v->p.weights_first ? GG_MOE_ACTIVATION : GG_MOE_WEIGHTED, i);
}
static double d_first_at(const mg_block_view *v, int64_t slot, int64_t i, int64_t n) {
    (void)slot;
    return half_at(v, GG_MOE_D_FIRST, i, n);
}
static const float *x_at(const mg_block_view *v, int64_t slot, int64_t i) {
    (void)i;
    return x_row(v, slot);
}

static void routed_dw_row(const outer *o, int64_t row, int64_t N, int64_t cols, double *value,
                          double *bound) {
    const mg_block_view *v = o->v;
    const int64_t e = row / N, n = row % N;
    clear(cols, value, bound);
    for (int64_t i = v->starts[e]; i < v->starts[e + 1]; i++) {
        const int64_t slot = slot_of(v, i);
        mg_rows_add(o->dy(v, slot, i, n), o->x(v, slot, i), cols, value, bound);
    }
    bound_products(v, (double)(v->starts[e + 1] - v->starts[e]), false, cols, value, bound);
}

/* Over all tokens: the router and the shared expert. dy: a buffer, or the input where it is none; x likewise. */
static void dense_dw_row(const mg_block_view *v, int64_t n, gg_moe_buffer dy, gg_moe_buffer x, int64_t cols,
                         double *value, double *bound) {
    clear(cols, value, bound);
    for (int64_t t = 0; t < v->p.T; t++) {
        const double factor =
            dy == GG_MOE_NUM_BUFFERS ? input_at(v, MG_BLOCK_DY, t, n) : half_at(v, dy, t, n);
        mg_rows_add(factor, x == GG_MOE_NUM_BUFFERS ? input_row(v, MG_BLOCK_X, t) : halves(v, x, t), cols,
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
        const float *a = p->weights_first ? halves(v, GG_MOE_DX_ROWS, row_of_slot(v, GG_PERMUTE_X, slot))
                                          : halves(v, GG_MOE_D_ACTIVATION, i);
        const float *b =
            p->weights_first ? input_row(v, MG_BLOCK_X, t) : halves_in(v, 1, GG_MOE_ACTIVATION, i);
        mg_rows_dot(a, b, cols, &value[j], &bound[j]);
        bound[j] = depth * 0x1p-24 * bound[j] + 0x1p-140;
    }
}

static void d_logits_row(const mg_block_view *v, int64_t t, double *value, double *bound) {
    const gg_moe_problem *p = &v->p;
    const float *d = floats(v, GG_MOE_D_WEIGHTS, t);
    const int32_t *ids = ints(v, GG_MOE_TOPK_IDS) + t * p->topk;
    double score[GG_MOE_MAX_E], reach, sum = scores(v, t, score, &reach), dot = 0, size = 0;
    const double error = score_error(v, reach) * 2;
    clear(v->layout.places[GG_MOE_D_LOGITS].cols, value, bound);
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
        bound[e] = error * weight * scale + 0x1p-120;
        rounded(v, &value[e], &bound[e], 1);
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
        clear(H, value, bound);
        add_input(v, p->weights_first ? weight_of(v, slot) : 1, MG_BLOCK_X, slot / p->topk, value, bound);
        bound_products(v, 1, true, H, value, bound);
        break;
    case MG_STEP_FIRST:
        slot = slot_of(v, row);
        times_transposed(v, x_row(v, slot), MG_BLOCK_GATE_UP, expert_of(v, slot) * 2 * I, 2 * I, value,
                         bound);
        bound_products(v, (double)H, !p->weights_first, 2 * I, value, bound);
        break;
    case MG_STEP_ACTIVATION: activation_row(v, MG_STEP_FIRST, GG_MOE_FIRST, row, value, bound); break;
    case MG_STEP_SECOND: second_row(v, row, value, bound); break;
    case MG_STEP_SHARED_FIRST:
        times_transposed(v, input_row(v, MG_BLOCK_X, row), MG_BLOCK_SHARED_GATE_UP, 0, 2 * S, value, bound);
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
        clear(H, value, bound);
        add_input(v, 1, MG_BLOCK_DY, slot_of(v, row) / p->topk, value, bound);
        bound_products(v, 1, true, H, value, bound);
        break;
    case MG_STEP_D_ACTIVATION:
        slot = slot_of(v, row);
        times(v, keep(v, dy_token(v, slot, row), H), MG_BLOCK_DOWN, expert_of(v, slot) * H, H, value, bound);
        bound_products(v, (double)H, true, I, value, bound);
        break;
    case MG_STEP_WEIGHTED:
        clear(I, value, bound);
        mg_rows_add(weight_of(v, slot_of(v, row)), halves(v, GG_MOE_ACTIVATION, row), I, value, bound);
        bound_products(v, 1, true, I, value, bound);
        break;
    case MG_STEP_D_FIRST:
        activation_backward_row(v, GG_MOE_FIRST, GG_MOE_D_ACTIVATION, row,
                                p->weights_first ? 1 : weight_of(v, slot_of(v, row)), I, value, bound);
        break;
    case MG_STEP_D_DOWN: routed_dw_row(&(outer){v, dy_token_at, weighted_at}, row, H, I, value, bound); break;
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
        activation_backward_row(v, GG_MOE_SHARED_FIRST, GG_MOE_SHARED_D_ACTIVATION, row, 1, S, value, bound);
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
