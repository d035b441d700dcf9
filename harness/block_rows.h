/* block_rows.h: arithmetic on rows of numbers for the steps of a block, many numbers at a time.
 *
 * Every function gives the same bits on every machine and however many it takes at a time: each result has its own sum, in
 * ascending order of the index, and products of two floats are exact in double. */
#ifndef MG_BLOCK_ROWS_H
#define MG_BLOCK_ROWS_H

#include "golden.h"

/* `count` elements of a drawn tensor from number `start` on, a multiple of 8. */
void mg_rows_draw(const mg_draw *draw, uint64_t start, int64_t count, float *out);
/* Patterns of the dtype as numbers; `numbers` (65536) has them all. */
void mg_rows_widen(gg_dtype dtype, const float *numbers, const uint16_t *bits, int64_t count, float *out);

/* value[n] = sum over k of x[k] w[n][k], size[n] = sum of |x[k] w[n][k]|, n = 0 .. rows - 1; w: `rows` rows from `first` on of
 * a drawn tensor of `cols` columns, a multiple of 8. */
void mg_rows_dot_drawn(const mg_draw *draw, int64_t first, int64_t rows, int64_t cols, const float *x,
                       double *value, double *size);
/* The same of one row in memory. */
void mg_rows_dot(const float *x, const float *w, int64_t cols, double *value, double *size);
/* value[k] += factor row[k], size[k] += |factor row[k]| */
void mg_rows_add(double factor, const float *row, int64_t cols, double *value, double *size);

/* e^x of each, from + - * / and integers alone; within 2 ulp for |x| up to 700. */
void mg_rows_exp(double *x, int64_t count);

/* Of values that are rounded to numbers of `bits` significant bits, the smallest normal one 2^smallest, after an error of at
 * most `error`: half a step of the numbers up to there is added to each error. */
void mg_rows_rounded(int bits, int smallest, const double *value, double *error, int64_t count);

#endif
