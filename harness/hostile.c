/* hostile.c: class hostile: what is planted where in the data of class exact, and the golden that follows from it.
 *
 * What is planted is chosen so that every output has one right class (NaN, +Inf, -Inf, finite) whatever the order of
 * the additions, and so that most outputs depend on nothing planted: those must keep the bits of class exact. */
#include "hostile.h"

#include <math.h>
#include <stdlib.h>

#include "oracle.h"

static const struct values {
    uint16_t nan, other_nan, infinity,
        huge;      /* other_nan: negative, with a payload; huge: a power of two near the end */
    int tiny_log2; /* times a number of class exact: subnormal or near it, and still representable */
} values_of[GG_NUM_DTYPES] = {
    [GG_BF16] = {0x7fc0, 0xffc5, 0x7f80, 0x7f00, -126},
    [GG_FP16] = {0x7e00, 0xfe05, 0x7c00, 0x7800, -20},
};

/* Rows times this overflow fp16 in about a tenth of their outputs, and sums over such a row and others are exact. */
enum { LARGE_LOG2 = 8 };

enum { SIGN = 0x8000 };

/* --- planting --- */

/* A tensor to plant in. */
typedef struct field {
    uint16_t *bits;
    size_t rows, cols;
    uint64_t random;     /* state */
    const int32_t *rank; /* row i is stored at rank[i]; NULL: at i */
    const struct values *values;
    gg_dtype dtype;
} field;

static size_t pick(field *f, size_t count) {
    f->random = mg_splitmix64(f->random);
    return (size_t)(f->random % count);
}

static uint16_t *row_of(const field *f, size_t row) {
    return f->bits + (f->rank ? (size_t)f->rank[row] : row) * f->cols;
}

static void scale_row(const field *f, uint16_t *row, int log2) {
    for (size_t i = 0; i < f->cols; i++)
        row[i] = mg_bits_from_double(f->dtype, ldexp(mg_float_from_bits(f->dtype, row[i]), log2));
}

static void fill_row(const field *f, size_t row) {
    uint16_t *bits = row_of(f, row);
    for (size_t i = 0; i < f->cols; i++) bits[i] = f->values->nan;
}

/* What one row of x or dy gets. First and last columns are what a tile's edge may read without owning it. */
typedef enum role {
    NAN_AT_ENDS,
    ONE_INFINITY,
    BOTH_INFINITIES,
    HUGE_NUMBER,
    TINY_ROW,
    LARGE_ROW,
    ZEROS,
    NUM_ROLES
} role;

static void plant_role(field *f, role role, uint16_t *row) {
    const struct values *v = f->values;
    const size_t first = pick(f, f->cols), second = (first + 1 + pick(f, f->cols - 1)) % f->cols;
    switch (role) {
    case NAN_AT_ENDS: row[0] = v->nan, row[f->cols - 1] = v->other_nan; break;
    case ONE_INFINITY: row[first] = v->infinity | SIGN; break;
    case BOTH_INFINITIES: row[first] = v->infinity, row[second] = v->infinity | SIGN; break;
    case HUGE_NUMBER: row[first] = v->huge; break;
    case TINY_ROW: scale_row(f, row, v->tiny_log2); break;
    case LARGE_ROW: scale_row(f, row, LARGE_LOG2); break;
    default: row[first] = 0, row[second] = SIGN; /* -0 */
    }
}

/* Every role on a row of its own, but on no more than every fourth row. */
static void plant_roles(field *f) {
    if (f->rows < 4) return;
    const size_t first = pick(f, f->rows), stride = f->rows < NUM_ROLES ? 1 : f->rows / NUM_ROLES;
    for (role role = 0; role < NUM_ROLES && 4 * role < f->rows; role++)
        plant_role(f, role, row_of(f, (first + role * stride) % f->rows));
}

/* Single weights, here and there; and all weights of experts without rows, which nothing depends on. */
static void plant_weights(field *w, const mg_problem *p, const int32_t *m_sizes) {
    const uint16_t single[] = {w->values->other_nan, w->values->infinity, w->values->huge, SIGN};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        const size_t row = pick(w, w->rows), col = pick(w, w->cols);
        w->bits[row * w->cols + col] = single[i];
    }
    for (size_t row = 0; row < w->rows; row++)
        if (!m_sizes[row / (size_t)p->N]) fill_row(w, row);
}

/* Whole rows where an expert's data meet its neighbour's: the first row of one expert and the first weights of another,
 * which tiles of the expert before them may load; the ends of a last row; and an infinity in a last row, which a kernel may load again
 * for rows that do not exist (a NaN there would spoil no more than it does once). */
static void plant_boundaries(field *x, field *dy, field *w, const mg_problem *p, const int32_t *m_sizes) {
    enum { FEWEST = 4 }; /* experts with rows: these plants spoil all of dW or dX for two */
    size_t busy = 0, start = 0;
    for (int32_t e = 0; e < p->E; e++) busy += m_sizes[e] != 0;
    if (busy < FEWEST) return;
    const size_t first = 1 + pick(dy, busy - 1), last = pick(dy, busy), weights = 1 + first % (busy - 1);
    const size_t repeated = pick(dy, busy);
    size_t rank = 0; /* among the experts with rows */
    for (int32_t e = 0; e < p->E; start += (size_t)m_sizes[e++]) {
        if (!m_sizes[e]) continue;
        if (rank == first) {
            fill_row(dy, start);
            if (p->gemm == GG_GEMM_SECOND)
                fill_row(x, start);
            else /* a whole row would spoil all of the token's topk experts */
                plant_role(x, NAN_AT_ENDS, row_of(x, (size_t)(dy->rank[start] / p->topk)));
        }
        const size_t end = start + (size_t)m_sizes[e] - 1;
        if (rank == last) plant_role(dy, NAN_AT_ENDS, row_of(dy, end));
        if (rank == repeated) {
            const size_t slot = (size_t)dy->rank[end];
            plant_role(dy, ONE_INFINITY, row_of(dy, end));
            plant_role(x, ONE_INFINITY, row_of(x, p->gemm == GG_GEMM_SECOND ? end : slot / (size_t)p->topk));
        }
        if (rank == weights) fill_row(w, (size_t)e * (size_t)p->N);
        rank++;
    }
}

void mg_hostile_plant(const mg_problem *p, gg_dtype dtype, uint64_t user_seed, mg_inputs *in) {
    const size_t M = (size_t)p->M, K = (size_t)p->K, N = (size_t)p->N;
    const struct values *v = &values_of[dtype];
    field x = {in->x, p->gemm == GG_GEMM_FIRST ? (size_t)p->T : M, K, .values = v, .dtype = dtype};
    field dy = {in->dy, M, N, .rank = in->gather_indices, .values = v, .dtype = dtype};
    field w = {in->w, (size_t)p->E * N, K, .values = v, .dtype = dtype};
    x.random = mg_tensor_seed(p, MG_HOSTILE, "x", user_seed);
    dy.random = mg_tensor_seed(p, MG_HOSTILE, "dy", user_seed);
    w.random = mg_tensor_seed(p, MG_HOSTILE, "w", user_seed);
    plant_roles(&x);
    plant_roles(&dy);
    plant_weights(&w, p, in->m_sizes);
    plant_boundaries(&x, &dy, &w, p, in->m_sizes);
}

/* --- goldens --- */

/* What the order of additions cannot change about a sum of products. */
typedef struct sum {
    bool nan, infinite[2]; /* a product is; by sign */
    double part[2];        /* sums of the magnitudes of the finite products, by sign */
    double grid;           /* they are all multiples of it, a power of two; 0: no product but zeros */
} sum;

/* The lowest set bit of a value that is not zero. */
static double lowest_bit(double value) {
    int exponent;
    const double fraction = frexp(value, &exponent); /* 16 bits and 16 give at most 22 */
    const int64_t digits = (int64_t)ldexp(fabs(fraction), 53);
    return ldexp((double)(digits & -digits), exponent - 53);
}

static void add_product(sum *s, double product) {
    const bool negative = signbit(product);
    if (isnan(product)) s->nan = true;
    if (isinf(product)) s->infinite[negative] = true;
    if (!isfinite(product) || product == 0) return;
    const double bit = lowest_bit(product);
    s->part[negative] += fabs(product);
    if (s->grid == 0 || bit < s->grid) s->grid = bit;
}

/* The pattern of the output, and how much of it is sure. */
static uint16_t settle(const sum *s, gg_dtype dtype, size_t length, mg_sure *sure) {
    static const double fp32_end = 0x1p128, fp32_least = 0x1p-149;
    static const double output_end[GG_NUM_DTYPES] = {
        [GG_BF16] = 0x1.ffp127, [GG_FP16] = 65520}; /* rounds to Inf */
    const uint16_t infinity = values_of[dtype].infinity;
    const double c = s->part[0] - s->part[1], S = s->part[0] + s->part[1];
    const double slack = (double)length * 0x1p-23; /* of a sum in fp32, relative to S: see golden/README.md */
    const bool overflows[2] = {s->part[0] * (1 + slack) >= fp32_end, s->part[1] * (1 + slack) >= fp32_end};
    *sure = MG_SURE_BITS;
    if (s->nan || (s->infinite[0] && s->infinite[1])) return values_of[dtype].nan;
    for (int negative = 0; negative < 2; negative++) {
        if (!s->infinite[negative]) continue;
        if (overflows[!negative]) *sure = MG_SURE_NOTHING; /* Inf of the other sign may have come first */
        return negative ? infinity | SIGN : infinity;
    }
    if (S == 0 || (s->grid >= fp32_least && S <= 0x1p24 * s->grid && S < fp32_end))
        return mg_bits_from_double(dtype, c);
    const uint16_t bits = mg_bits_from_double(dtype, c);
    if (overflows[0] || overflows[1]) {
        const bool surely = !(overflows[0] && overflows[1]) && fabs(c) >= fp32_end * (1 + slack);
        if (!surely) *sure = MG_SURE_NOTHING;
    } else if (fabs(c) + slack * S < output_end[dtype]) {
        *sure = MG_SURE_FINITE;
    } else if (fabs(c) - slack * S < output_end[dtype]) {
        *sure = MG_SURE_NOTHING;
    }
    return bits;
}

/* Sets dirty[i] for the rows of an operand that hold something planted. */
static void find_dirty(const mg_operand *clean, const mg_operand *planted, size_t rows, size_t depth,
                       bool *dirty) {
    for (size_t i = 0; i < rows; i++) {
        dirty[i] = false;
        for (size_t k = 0; k < depth && !dirty[i]; k++) {
            const size_t index = mg_operand_index(planted, i, k);
            dirty[i] = clean->bits[index] != planted->bits[index];
        }
    }
}

gg_status mg_hostile_golden(const mg_problem *p, gg_dtype dtype, mg_output output, const mg_inputs *clean,
                            const mg_inputs *planted, mg_golden *golden) {
    const bool dw = output == MG_OUT_DW;
    const size_t N = (size_t)p->N, cols = golden->cols;
    const size_t most_rows = golden->rows > N ? golden->rows : N;
    bool *dirty_row = malloc(most_rows + 1), *dirty_col = malloc(cols + 1);
    gg_status status = GG_ERR_MEMORY;
    golden->sure = calloc(golden->rows * cols + 1, sizeof *golden->sure);
    if (!dirty_row || !dirty_col || !golden->sure) goto out;
    for (size_t e = 0, start = 0; e < (size_t)p->E; start += (size_t)planted->m_sizes[e++]) {
        const size_t size = (size_t)planted->m_sizes[e], rows = dw ? N : size;
        const size_t depth = dw ? size : output == MG_OUT_Y ? (size_t)p->K : N;
        mg_operand a, b, clean_a, clean_b;
        mg_operands(p, output, planted, e, start, &a, &b);
        mg_operands(p, output, clean, e, start, &clean_a, &clean_b);
        find_dirty(&clean_a, &a, rows, depth, dirty_row);
        find_dirty(&clean_b, &b, cols, depth, dirty_col);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++) {
                if (!dirty_row[i] && !dirty_col[j]) continue;
                const size_t at = ((dw ? e * N : start) + i) * cols + j;
                sum s = {0};
                for (size_t k = 0; k < depth; k++)
                    add_product(&s, (double)mg_float_from_bits(dtype, a.bits[mg_operand_index(&a, i, k)]) *
                                        mg_float_from_bits(dtype, b.bits[mg_operand_index(&b, j, k)]));
                mg_sure sure;
                golden->bits[at] = settle(&s, dtype, depth, &sure);
                golden->sure[at] = (uint8_t)sure;
            }
    }
    status = GG_OK;
out:
    free(dirty_row);
    free(dirty_col);
    if (status) mg_golden_free(golden);
    return status;
}
