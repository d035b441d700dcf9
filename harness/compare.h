/* compare.h: verdicts on one output by data class (golden/README.md gives the formulas and their sources). */
#ifndef MG_COMPARE_H
#define MG_COMPARE_H

#include "golden.h"
#include "result.h"

/* How the output was rounded on its way. */
typedef struct mg_chain {
    bool mul_post;             /* rounded, then times round(topk_weights[slot]), rounded again */
    const float *topk_weights; /* (M) slot order, with mul_post */
    int64_t reduction;         /* length of the sum behind each element (for dW: per expert, from m_sizes) */
    const int32_t *m_sizes;    /* (E) */
    int32_t E;
    bool reduce_rows; /* dW: reduction length is the expert's row count */
} mg_chain;

/* Compares `got` (rows x cols 16-bit patterns as stored by the kernel) with `golden` (rows in expert order).
 * row_map[i] is where expert-order row i was stored, NULL for the identity; row_expert[i] is its expert. dW:
 * rows = E * N and both are NULL. Returns true when right; fills `difference` either way (but for its
 * output's name): the first wrong element and the worst, or when all are right the worst of those; the error
 * map in expert order, so that experts and tiles are bands of it. Errors that are not finite have an infinite
 * bound_ratio and stay out of the ulp figures. A check that could not fail (no elements where there should be
 * some, golden all zero where it should not be) sets *mistrusted. NaN never passes. */
bool mg_compare(mg_class cls, gg_dtype dtype, const mg_golden *golden, const uint16_t *got,
                const int32_t *row_map, const mg_chain *chain, const int32_t *row_expert,
                mg_difference *difference, bool *mistrusted);

/* Golden after fuse_mul_post: bits[i] = round(float(bits[i]) * round(weights[slot of row i])); exact class.
 */
void mg_golden_mul_post(mg_golden *golden, gg_dtype dtype, const float *topk_weights,
                        const int32_t *gather_indices);

/* The reduction over topk of slot-order rows (any data): out (T, K) = round(fp32 sum in order). */
void mg_reduce_topk_host(gg_dtype dtype, int64_t T, int32_t topk, int32_t K, const uint16_t *slots,
                         uint16_t *tokens);

#endif
