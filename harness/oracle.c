/* oracle.c: the exact grouped products in double, whatever the class; blocked so that the compiler makes
 * vectors of it. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "corpus.h"

enum {
    ROWS = 2,
    COLS = 8
}; /* of the block held in registers: 8 vectors of two doubles; N and K are multiples of 8 */
typedef double vector __attribute__((vector_size(COLS * sizeof(double))));

/* One product out[i][j] = sum over k of a[i][k] * b[k][j] with operands as doubles. */
typedef struct product {
    double *a;   /* rows padded to ROWS, ROWS values of one k adjacent: a[i / ROWS][k][i % ROWS] */
    vector *b;   /* b[j / COLS][k] */
    double *out; /* rows x cols */
    size_t rows, cols, depth;
} product;

static double value_at(const mg_operand *m, const double table[1 << 16], size_t i, size_t k, bool magnitude) {
    double value = table[m->bits[mg_operand_index(m, i, k)]];
    return magnitude ? fabs(value) : value;
}

static void pack(product *p, const mg_operand *a, const mg_operand *b, const double *table, bool magnitude) {
    size_t padded = (p->rows + ROWS - 1) / ROWS * ROWS;
    for (size_t i = 0; i < padded; i++)
        for (size_t k = 0; k < p->depth; k++)
            p->a[(i / ROWS * p->depth + k) * ROWS + i % ROWS] =
                i < p->rows ? value_at(a, table, i, k, magnitude) : 0;
    for (size_t j = 0; j < p->cols; j++)
        for (size_t k = 0; k < p->depth; k++)
            p->b[j / COLS * p->depth + k][j % COLS] = value_at(b, table, j, k, magnitude);
}

static void multiply(const product *p) {
    for (size_t i = 0; i < p->rows; i += ROWS)
        for (size_t j = 0; j < p->cols; j += COLS) {
            const double *a = p->a + i * p->depth;
            const vector *b = p->b + j / COLS * p->depth;
            vector sums[ROWS] = {{0}};
            for (size_t k = 0; k < p->depth; k++)
                for (int r = 0; r < ROWS; r++) sums[r] += a[k * ROWS + (size_t)r] * b[k];
            for (size_t r = 0; r < ROWS && i + r < p->rows; r++)
                memcpy(p->out + (i + r) * p->cols + j, &sums[r], sizeof sums[r]);
        }
}

static float round_up(double value) {
    float result = (float)value;
    return result < value ? nextafterf(result, INFINITY) : result;
}

void mg_operands(const mg_problem *problem, mg_output output, const mg_inputs *in, size_t e, size_t start,
                 mg_operand *a, mg_operand *b) {
    const size_t N = (size_t)problem->N, K = (size_t)problem->K;
    const int32_t *gather = in->gather_indices + start;
    bool gathered = problem->gemm == GG_GEMM_FIRST; /* x in token order */
    mg_operand x = {in->x + (gathered ? 0 : start * K), K, 1, gathered ? gather : NULL, problem->topk, false};
    mg_operand dy = {in->dy, N, 1, gather, 1, false};
    const uint16_t *w = in->w + e * N * K;
    switch (output) {
    case MG_OUT_Y: *a = x, *b = (mg_operand){w, K, 1, NULL, 1, false}; break;
    case MG_OUT_DX: *a = dy, *b = (mg_operand){w, 1, K, NULL, 1, false}; break;
    default: *a = dy, *b = x, a->rows_are_depth = b->rows_are_depth = true;
    }
}

gg_status mg_oracle(const mg_problem *problem, mg_class cls, gg_dtype dtype, mg_output output,
                    const mg_inputs *in, mg_golden *golden) {
    gg_status status = GG_ERR_MEMORY;
    const size_t E = (size_t)problem->E, M = (size_t)problem->M;
    const size_t N = (size_t)problem->N, K = (size_t)problem->K;
    const bool dw = output == MG_OUT_DW, real = cls == MG_REAL;
    product p = {0};
    *golden = (mg_golden){0};
    mg_output_shape(problem, output, &golden->rows, &golden->cols);

    size_t count = golden->rows * golden->cols;
    size_t most_rows = dw ? N : M, cols = golden->cols, most_depth = dw ? M : output == MG_OUT_Y ? K : N;
    double *table = malloc((1 << 16) * sizeof *table);
    p.a = malloc((most_rows + ROWS) * (most_depth + 1) * sizeof *p.a);
    p.b = aligned_alloc(sizeof(vector), cols / COLS * (most_depth + 1) * sizeof *p.b);
    p.out = malloc((most_rows + 1) * cols * sizeof *p.out);
    if (real) {
        golden->c = malloc((count + 1) * sizeof *golden->c);
        golden->s = malloc((count + 1) * sizeof *golden->s);
    } else {
        golden->bits = malloc((count + 1) * sizeof *golden->bits);
    }
    if (!table || !p.a || !p.b || !p.out || (real ? !golden->c || !golden->s : !golden->bits)) goto out;

    for (unsigned bits = 0; bits < 1 << 16; bits++) table[bits] = mg_float_from_bits(dtype, (uint16_t)bits);
    for (size_t e = 0, start = 0; e < E; start += (size_t)in->m_sizes[e++]) {
        size_t size = (size_t)in->m_sizes[e], first = (dw ? e * N : start) * cols;
        mg_operand a, b;
        mg_operands(problem, output, in, e, start, &a, &b);
        p.rows = dw ? N : size;
        p.cols = cols;
        p.depth = dw ? size : most_depth;
        for (int magnitude = 0; magnitude <= real; magnitude++) {
            pack(&p, &a, &b, table, magnitude);
            multiply(&p);
            for (size_t i = 0; i < p.rows * cols; i++) {
                if (!real)
                    golden->bits[first + i] = mg_bits_from_double(dtype, p.out[i]);
                else if (magnitude)
                    golden->s[first + i] = round_up(p.out[i]);
                else
                    golden->c[first + i] = (float)p.out[i];
            }
        }
    }
    status = GG_OK;
out:
    free(table);
    free(p.a);
    free(p.b);
    free(p.out);
    if (status) mg_golden_free(golden);
    return status;
}
