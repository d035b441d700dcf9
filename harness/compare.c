/* compare.c: verdicts on one output: bitwise for the exact classes, componentwise and statistical bounds for
 * real data. */
#include "compare.h"

#include <math.h>
#include <string.h>

/* fp32 accumulation: tensor cores truncate, so an error is up to a whole unit of a 24-bit significand, not
 * half of one. */
#define UNIT_ACCUMULATE 0x1p-23

enum {
    TILE = 64
}; /* of the RMS check: its limit, about 1.16, is below what truncated rounding gives (1.43) */

typedef struct format {
    uint16_t infinity;  /* pattern; anything above it (sign removed) is NaN */
    int mantissa;       /* explicit bits */
    int min_exponent;   /* of the smallest normal number */
    double unit;        /* unit roundoff */
    double eta;         /* half of the smallest subnormal: what rounding loses where unit * |value| is less */
    double eta_product; /* what each product may lose to underflow of the fp32 accumulator */
} format;

static const format formats[GG_NUM_DTYPES] = {
    [GG_BF16] = {.infinity = 0x7f80,
                 .mantissa = 7,
                 .min_exponent = -126,
                 .unit = 0x1p-8,
                 .eta = 0x1p-134,
                 .eta_product = 0x1p-149},
    [GG_FP16] = {.infinity = 0x7c00, .mantissa = 10, .min_exponent = -14, .unit = 0x1p-11, .eta = 0x1p-25},
};

/* As mg_float_from_bits, but inlined and without a branch on the sign: real data has every element converted.
 */
static inline float float_from_bits(gg_dtype dtype, uint16_t bits) {
    uint32_t word = dtype == GG_BF16 ? (uint32_t)bits << 16 : (uint32_t)(bits & 0x7fff) << 13;
    float value;
    memcpy(&value, &word, sizeof value);
    if (dtype == GG_BF16) return value;
    value *= 0x1p112f; /* fp16's exponent is biased by 15, float's by 127 */
    if ((bits & 0x7c00) == 0x7c00) value = bits & 0x3ff ? NAN : INFINITY;
    memcpy(&word, &value, sizeof word);
    word |= (uint32_t)(bits & 0x8000) << 16;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* One over the spacing of the output type at `value`; a power of two made from the exponent field. */
static inline double inverse_ulp(const format *f, double value) {
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    int exponent = (int)(word >> 52 & 0x7ff) - 1023;
    if (exponent < f->min_exponent) exponent = f->min_exponent;
    word = (uint64_t)(1023 + f->mantissa - exponent) << 52;
    double inverse;
    memcpy(&inverse, &word, sizeof inverse);
    return inverse;
}

/* The bin of mg_difference.ulps: by the exponent field, as a table of powers of two would. */
static inline unsigned ulp_bin(double ulp) {
    uint64_t word;
    memcpy(&word, &ulp, sizeof word);
    int bin = (int)(word >> 52 & 0x7ff) - 1023 + 4; /* 2^-3 is the first of bin 1 */
    return bin < 0 ? 0 : bin < MG_ULP_BINS ? (unsigned)bin : MG_ULP_BINS - 1;
}

/* --- what is gathered while comparing --- */

typedef struct collector {
    mg_difference *difference;
    const format *format;
    gg_dtype dtype;
    const int32_t *row_map, *row_expert;
    const mg_chain *chain;
    size_t rows, cols;
    size_t first_row; /* expert order, of the first wrong element */
    double worst;     /* ulps (exact) or bound ratio (real) of the worst element */
    double ulp_sum;
    uint64_t finite; /* elements in ulp_sum */
    uint32_t wrong[MG_MAP_SIZE * MG_MAP_SIZE];
} collector;

static size_t stored_row(const collector *c, size_t row) {
    return c->row_map ? (size_t)c->row_map[row] : row;
}

static int32_t expert_of(const collector *c, size_t row) {
    if (c->chain->reduce_rows) return (int32_t)(row / (c->rows / (size_t)c->chain->E));
    return c->row_expert ? c->row_expert[row] : -1;
}

static uint32_t *cell_of(collector *c, size_t row, size_t col) {
    const mg_difference *d = c->difference;
    return &c->wrong[row * d->map_rows / c->rows * d->map_cols + col * d->map_cols / c->cols];
}

/* Without the sign of a NaN, which means nothing and shows in text. */
static double shown(double value) { return isnan(value) ? NAN : value; }

static void note_worst(collector *c, size_t row, size_t col, double expected, double got, double measure) {
    mg_difference *d = c->difference;
    c->worst = measure;
    d->worst_row = (int64_t)stored_row(c, row);
    d->worst_place = (int64_t)row;
    d->worst_col = (int64_t)col;
    d->worst_expected = expected;
    d->worst_got = shown(got);
}

static void note_wrong(collector *c, size_t row, size_t col, double expected, double got) {
    mg_difference *d = c->difference;
    (*cell_of(c, row, col))++;
    if (d->wrong++ && (row > c->first_row || (row == c->first_row && (int64_t)col > d->col))) return;
    c->first_row = row;
    d->row = (int64_t)stored_row(c, row);
    d->place = (int64_t)row;
    d->col = (int64_t)col;
    d->expert = expert_of(c, row);
    d->expected = expected;
    d->got = shown(got);
}

/* Elements of one axis that fall in cell `cell` of `cells`. */
static size_t cell_extent(size_t cell, size_t cells, size_t count) {
    return ((cell + 1) * count + cells - 1) / cells - (cell * count + cells - 1) / cells;
}

static void finish(collector *c) {
    mg_difference *d = c->difference;
    d->mean_ulp = c->finite ? c->ulp_sum / (double)c->finite : 0;
    for (size_t i = 0; i < d->map_rows; i++)
        for (size_t j = 0; j < d->map_cols; j++) {
            double share = c->wrong[i * d->map_cols + j] / (double)(cell_extent(i, d->map_rows, c->rows) *
                                                                    cell_extent(j, d->map_cols, c->cols));
            d->map[i * d->map_cols + j] = (uint8_t)ceil(255 * share);
        }
    if (d->wrong) return;
    d->row = d->worst_row; /* all right: show the worst of them */
    d->place = d->worst_place;
    d->col = d->worst_col;
    d->expected = d->worst_expected;
    d->got = d->worst_got;
}

/* --- exact --- */

static void analyse_exact(collector *c, size_t row, const uint16_t *golden, const uint16_t *got) {
    mg_difference *d = c->difference;
    for (size_t col = 0; col < c->cols; col++) {
        bool nan = (got[col] & 0x7fff) > c->format->infinity;
        bool zeros = !((golden[col] | got[col]) & 0x7fff); /* +0 equals -0 */
        if (!nan && (golden[col] == got[col] || zeros)) continue;
        double expected = float_from_bits(c->dtype, golden[col]), value = float_from_bits(c->dtype, got[col]);
        double ulp = fabs(value - expected) * inverse_ulp(c->format, expected);
        d->bound_ratio = 1;
        if (isfinite(ulp)) {
            c->ulp_sum += ulp;
            if (ulp > d->max_ulp) d->max_ulp = ulp;
        } else {
            ulp = INFINITY;
        }
        d->ulps[ulp_bin(ulp)]++;
        if (ulp > c->worst) note_worst(c, row, col, expected, value, ulp);
        note_wrong(c, row, col, expected, value);
    }
}

/* Four elements a step: differing bits, NaNs and whether anything in the golden is not zero; looks closer
 * only at rows with one of the first two. */
static bool compare_exact(collector *c, const mg_golden *golden, const uint16_t *got) {
    const uint64_t magnitude = 0x7fff7fff7fff7fff, sign = ~magnitude, ones = 0x0001000100010001;
    const uint64_t above =
        ones * (0x7fffu - c->format->infinity); /* carries into the sign bit from NaNs alone */
    uint64_t nonzero = 0;
    for (size_t row = 0; row < c->rows; row++) {
        const uint16_t *a = golden->bits + row * c->cols, *b = got + stored_row(c, row) * c->cols;
        uint64_t suspect = 0;
        for (size_t col = 0; col < c->cols; col += 4) {
            uint64_t x = 0, y = 0;
            size_t bytes = c->cols - col < 4 ? (c->cols - col) * 2 : 8;
            if (bytes == 8) {
                memcpy(&x, a + col, 8);
                memcpy(&y, b + col, 8);
            } else {
                memcpy(&x, a + col, bytes);
                memcpy(&y, b + col, bytes);
            }
            suspect |= (x ^ y) | (((y & magnitude) + above) & sign);
            nonzero |= x & magnitude;
        }
        if (suspect) analyse_exact(c, row, a, b);
    }
    c->finite = c->difference->compared;
    c->difference->ulps[0] += (uint32_t)(c->difference->compared - c->difference->wrong);
    return nonzero;
}

/* --- hostile --- */

/* As exact, but a NaN equals any NaN, and where the order of additions matters only what it cannot change counts.
 * Without mg_golden.sure (a reduction of the kernel's own rows) every element is sure. */
static bool compare_hostile(collector *c, const mg_golden *golden, const uint16_t *got) {
    mg_difference *d = c->difference;
    const uint16_t infinity = c->format->infinity;
    bool nonzero = false;
    for (size_t row = 0; row < c->rows; row++) {
        const uint16_t *bits = golden->bits + row * c->cols, *y = got + stored_row(c, row) * c->cols;
        const uint8_t *sure = golden->sure ? golden->sure + row * c->cols : NULL;
        for (size_t col = 0; col < c->cols; col++) {
            const uint16_t expected = bits[col] & 0x7fff, value = y[col] & 0x7fff;
            if (sure && sure[col] == MG_SURE_NOTHING) continue;
            nonzero |= expected != 0;
            if (bits[col] == y[col] || !(expected | value)) continue;
            if (expected > infinity && value > infinity) continue;
            if (sure && sure[col] == MG_SURE_FINITE && value < infinity) continue;
            d->bound_ratio = 1;
            const double wanted = float_from_bits(c->dtype, bits[col]),
                         had = float_from_bits(c->dtype, y[col]);
            if (!d->wrong) note_worst(c, row, col, wanted, had, 1);
            note_wrong(c, row, col, wanted, had);
        }
    }
    return nonzero;
}

/* --- real --- */

/* For golden value c (weight included) and s = sum |a||b|: bound = on_c*|c| + on_s*s + constant; expected
 * square of the error = var_c*c^2 + var_s*s^2 + var_constant. */
typedef struct bounds {
    double on_c, constant;
    double sharp_s, hard_s;
    double var_c, var_s, var_constant;
    double weight;
} bounds;

/* One rounding of a sum of `length` products. The hard bound is proven: g*s + u*(|c| + g*s) + eta with g =
 * n*a/(1 - n*a); n products need n - 1 additions, so one term a*s is left over for goldens being float32. The sharp
 * one replaces n by 8 + sqrt(n)/4, 2.5 to 5 times what sign-symmetric data was ever seen to need
 * (golden/CALIBRATION.md). */
static bounds bounds_of_sum(const format *f, double length) {
    const double u = f->unit;
    double hard = length * UNIT_ACCUMULATE / (1 - length * UNIT_ACCUMULATE);
    double sharp = fmin(length, 8 + sqrt(length) / 4) * UNIT_ACCUMULATE;
    double gamma = (4 + sqrt(length) / 8) * UNIT_ACCUMULATE;
    double eta = f->eta + length * f->eta_product;
    return (bounds){.on_c = u,
                    .constant = eta,
                    .sharp_s = sharp * (1 + u),
                    .hard_s = hard * (1 + u),
                    .var_c = u * u / 3,
                    .var_s = gamma * gamma,
                    .var_constant = eta * eta / 3,
                    .weight = 1};
}

/* The same after a multiplication by `weight` and a second rounding. */
static bounds bounds_weighted(const format *f, bounds b, double weight) {
    const double u = f->unit, w2 = weight * weight;
    return (bounds){.on_c = b.on_c * (1 + u) + u,
                    .constant = weight * b.constant * (1 + u) + f->eta,
                    .sharp_s = weight * b.sharp_s * (1 + u),
                    .hard_s = weight * b.hard_s * (1 + u),
                    .var_c = b.var_c + u * u / 3,
                    .var_s = w2 * b.var_s,
                    .var_constant = w2 * b.var_constant + f->eta * f->eta / 3,
                    .weight = weight};
}

static bounds bounds_of_row(const collector *c, size_t row) {
    const mg_chain *chain = c->chain;
    double length = (double)(chain->reduce_rows ? chain->m_sizes[expert_of(c, row)] : chain->reduction);
    bounds b = bounds_of_sum(c->format, length);
    if (!chain->mul_post) return b;
    float weight = chain->topk_weights[stored_row(c, row)];
    return bounds_weighted(c->format, b, mg_float_from_bits(c->dtype, mg_bits_from_float(c->dtype, weight)));
}

typedef struct moments {
    double error2, expected2, expected4; /* sums of (y - c)^2, d^2, d^4 */
} moments;

/* Root mean square of the error against its limit, 1 or less when right. The limit is Hoeffding's at 1e-9,
 * with the number of independent terms that weigh in; never above 2. */
static double rms_ratio(moments m) {
    double terms = m.expected2 * m.expected2 / m.expected4;
    double limit2 = fmin(4, 1 + sqrt(166 / terms));
    double ratio = sqrt(m.error2 / m.expected2 / limit2);
    return isnan(ratio) ? INFINITY : ratio;
}

static moments compare_tile(collector *c, const mg_golden *golden, const uint16_t *got, const bounds *band,
                            size_t row0, size_t row1, size_t col0, size_t col1) {
    mg_difference *d = c->difference;
    moments m = {0};
    for (size_t row = row0; row < row1; row++) {
        const bounds b = band[row - row0];
        const float *gc = golden->c + row * c->cols, *gs = golden->s + row * c->cols;
        const uint16_t *y = got + stored_row(c, row) * c->cols;
        for (size_t col = col0; col < col1; col++) {
            double expected = gc[col] * b.weight, s = gs[col], value = float_from_bits(c->dtype, y[col]);
            double error = fabs(value - expected), magnitude = fabs(expected);
            double common = b.on_c * magnitude + b.constant;
            double sharp = common + b.sharp_s * s, hard = common + b.hard_s * s;
            double d2 = b.var_c * expected * expected + b.var_s * s * s + b.var_constant;
            m.error2 += error * error;
            m.expected2 += d2;
            m.expected4 += d2 * d2;
            bool ok = error <= sharp; /* which is never above the hard bound */
            double ulp = error * inverse_ulp(c->format, expected);
            d->ulps[ulp_bin(ulp)]++;
            if (error < INFINITY) {
                c->ulp_sum += ulp;
                c->finite++;
                if (ulp > d->max_ulp) d->max_ulp = ulp;
            }
            if (!(error <= d->hard_ratio * hard)) d->hard_ratio = error < INFINITY ? error / hard : INFINITY;
            if (!(error <= c->worst * sharp) && c->worst < INFINITY)
                note_worst(c, row, col, expected, value, error < INFINITY ? error / sharp : INFINITY);
            if (!ok) note_wrong(c, row, col, expected, value);
        }
    }
    return m;
}

/* A tile (or all of the output) beyond its RMS limit without one element beyond its own: shown by its first
 * element. */
static void note_tile(collector *c, const mg_golden *golden, const uint16_t *got, size_t row, size_t col) {
    if (c->difference->wrong) return;
    note_wrong(c, row, col, golden->c[row * c->cols + col] * bounds_of_row(c, row).weight,
               float_from_bits(c->dtype, got[stored_row(c, row) * c->cols + col]));
}

static bool compare_real(collector *c, const mg_golden *golden, const uint16_t *got) {
    mg_difference *d = c->difference;
    moments whole = {0};
    bool nonzero = false;
    bounds band[TILE];
    for (size_t row0 = 0; row0 < c->rows; row0 += TILE) {
        size_t row1 = row0 + TILE < c->rows ? row0 + TILE : c->rows;
        for (size_t row = row0; row < row1; row++) band[row - row0] = bounds_of_row(c, row);
        for (size_t col0 = 0; col0 < c->cols; col0 += TILE) {
            size_t col1 = col0 + TILE < c->cols ? col0 + TILE : c->cols;
            moments m = compare_tile(c, golden, got, band, row0, row1, col0, col1);
            double ratio = rms_ratio(m);
            if (ratio > d->tile_rms) d->tile_rms = ratio;
            if (!(ratio <= 1)) note_tile(c, golden, got, row0, col0);
            whole.error2 += m.error2;
            whole.expected2 += m.expected2;
            whole.expected4 += m.expected4;
        }
    }
    d->bound_ratio = c->worst;
    double ratio = rms_ratio(whole);
    if (ratio > d->tile_rms) d->tile_rms = ratio;
    if (!(ratio <= 1)) note_tile(c, golden, got, 0, 0);
    for (size_t i = 0; i < c->rows * c->cols && !nonzero; i++) nonzero = golden->c[i] != 0;
    return nonzero;
}

/* --- the verdict --- */

bool mg_compare(mg_class cls, gg_dtype dtype, const mg_golden *golden, const uint16_t *got,
                const int32_t *row_map, const mg_chain *chain, const int32_t *row_expert,
                mg_difference *difference, bool *mistrusted) {
    *difference = (mg_difference){
        .map_rows = golden->rows < MG_MAP_SIZE ? (uint32_t)golden->rows : MG_MAP_SIZE,
        .map_cols = golden->cols < MG_MAP_SIZE ? (uint32_t)golden->cols : MG_MAP_SIZE,
        .compared = golden->rows * golden->cols,
        .rows = (int64_t)golden->rows,
        .cols = (int64_t)golden->cols,
    };
    collector c = {.difference = difference,
                   .format = &formats[dtype],
                   .dtype = dtype,
                   .row_map = row_map,
                   .row_expert = row_expert,
                   .chain = chain,
                   .rows = golden->rows,
                   .cols = golden->cols};
    int64_t routed = 0; /* rows; without any, y and dx are legally empty and dW legally zero */
    for (int32_t e = 0; e < chain->E; e++) routed += chain->m_sizes[e];
    *mistrusted = difference->compared == 0 && (routed > 0 || chain->reduce_rows);
    if (difference->compared == 0) return true;

    static bool (*const compare[MG_NUM_CLASSES])(collector *, const mg_golden *,
                                                 const uint16_t *) = {[MG_EXACT] = compare_exact,
                                                                      [MG_UNIT] = compare_exact,
                                                                      [MG_REAL] = compare_real,
                                                                      [MG_HOSTILE] = compare_hostile};
    bool nonzero = compare[cls](&c, golden, got);
    finish(&c);
    *mistrusted = !nonzero && routed > 0;
    return difference->wrong == 0;
}

/* --- derived goldens --- */

void mg_golden_mul_post(mg_golden *golden, gg_dtype dtype, const float *topk_weights,
                        const int32_t *gather_indices) {
    for (size_t row = 0; row < golden->rows; row++) {
        uint16_t *bits = golden->bits + row * golden->cols;
        float weight =
            mg_float_from_bits(dtype, mg_bits_from_float(dtype, topk_weights[gather_indices[row]]));
        for (size_t col = 0; col < golden->cols; col++)
            bits[col] = mg_bits_from_float(dtype, float_from_bits(dtype, bits[col]) * weight);
    }
}

void mg_reduce_topk_host(gg_dtype dtype, int64_t T, int32_t topk, int32_t K, const uint16_t *slots,
                         uint16_t *tokens) {
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            const uint16_t *slot = slots + t * topk * K + k;
            float sum = 0;
            for (int32_t j = 0; j < topk; j++) sum += float_from_bits(dtype, slot[(int64_t)j * K]);
            tokens[t * K + k] = mg_bits_from_float(dtype, sum);
        }
}
