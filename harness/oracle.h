/* oracle.h: goldens computed on the spot, for data outside the manifest (--seed). */
#ifndef MG_ORACLE_H
#define MG_ORACLE_H

#include "golden.h"

/* An operand matrix of one expert's product, out[i][j] = sum over k of a(i, k) * b(j, k), in 16-bit patterns. */
typedef struct mg_operand {
    const uint16_t *bits;
    size_t row, col;     /* element (i, k) stands at row_of(i) * row + k * col */
    const int32_t *rows; /* row_of(i) = rows[i] / divisor along the routed index; NULL: i */
    int32_t divisor;
    bool rows_are_depth; /* the routed index is k (dW) */
} mg_operand;

/* The operands of expert e, whose rows in expert order start at `start`. */
void mg_operands(const mg_problem *problem, mg_output output, const mg_inputs *inputs, size_t e, size_t start,
                 mg_operand *a, mg_operand *b);

static inline size_t mg_operand_index(const mg_operand *m, size_t i, size_t k) {
    size_t routed = m->rows_are_depth ? k : i, other = m->rows_are_depth ? i : k;
    return (m->rows ? (size_t)(m->rows[routed] / m->divisor) : routed) * m->row + other * m->col;
}

/* The golden of one output from its inputs: exact sums in double (see gen/products.py for why they are
 * exact), rounded as the class says. `golden` is owned by the caller. */
gg_status mg_oracle(const mg_problem *problem, mg_class cls, gg_dtype dtype, mg_output output,
                    const mg_inputs *inputs, mg_golden *golden);

#endif
