/* routing.c: token distributions, with integers only; one function a distribution gives choices (T, topk). */
#include "routing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

typedef struct draw {
    uint64_t seed;
    int64_t T;
    int32_t topk, E;
    int32_t *choices; /* (T, topk) */
} draw;

static uint64_t hash_at(const draw *d, uint64_t index) {
    return mg_splitmix64(d->seed + index * 0x9E3779B97F4A7C15u);
}

/* topk distinct experts a token, those with the smallest hashes, of the E - gap that are not first .. first + gap - 1. */
static gg_status uniform(const draw *d, int32_t first, int32_t gap) {
    const int32_t count = d->E - gap;
    uint64_t *least = malloc((size_t)d->topk * sizeof *least);
    if (!least) return GG_ERR_MEMORY;
    if (count < d->topk) {
        free(least);
        return GG_ERR_ARGUMENT;
    }
    for (int64_t t = 0; t < d->T; t++) {
        int32_t *chosen = d->choices + t * d->topk, kept = 0;
        for (int32_t e = 0; e < count; e++) {
            const uint64_t hash = hash_at(d, (uint64_t)t * (uint64_t)count + (uint64_t)e);
            int32_t at = kept;
            if (kept == d->topk && hash >= least[kept - 1]) continue;
            if (kept == d->topk)
                at--;
            else
                kept++;
            for (; at > 0 && least[at - 1] > hash; at--) {
                least[at] = least[at - 1];
                chosen[at] = chosen[at - 1];
            }
            least[at] = hash;
            chosen[at] = e < first ? e : e + gap;
        }
    }
    free(least);
    return GG_OK;
}

typedef struct keyed {
    uint64_t key;
    int64_t index;
} keyed;

static int by_key(const void *a, const void *b) {
    const keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Groups of `size` choices in the order of their hashes. */
static gg_status shuffle(const draw *d, int64_t groups, size_t size) {
    keyed *order = malloc(((size_t)groups + 1) * sizeof *order);
    int32_t *copy = malloc((size_t)groups * size * sizeof *copy + 1);
    gg_status status = order && copy ? GG_OK : GG_ERR_MEMORY;
    if (status) goto out;
    memcpy(copy, d->choices, (size_t)groups * size * sizeof *copy);
    for (int64_t i = 0; i < groups; i++) order[i] = (keyed){hash_at(d, (uint64_t)i), i};
    qsort(order, (size_t)groups, sizeof *order, by_key);
    for (int64_t i = 0; i < groups; i++)
        memcpy(d->choices + (size_t)i * size, copy + (size_t)order[i].index * size, size * sizeof *copy);
out:
    free(order);
    free(copy);
    return status;
}

static gg_status draw_mult(const draw *d) { return uniform(d, 0, 0); }

static gg_status draw_balanced(const draw *d) {
    for (int64_t i = 0; i < d->T * d->topk; i++) d->choices[i] = (int32_t)(i % d->E);
    return shuffle(d, d->T, (size_t)d->topk);
}

__extension__ typedef unsigned __int128 wide;

/* floor(2^20 / rank^1.2) by an integer fifth root: no libm, hence the same everywhere. */
static uint64_t zipf_weight(uint64_t rank) {
    const wide cube = (wide)rank * rank * rank, target = ((wide)1 << 100) / (cube * cube);
    uint64_t low = 0, high = 1 << 20;
    while (low < high) {
        const uint64_t middle = (low + high + 1) / 2;
        const wide square = (wide)middle * middle;
        if (square * square * middle <= target)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static gg_status draw_skewed(const draw *d) {
    if (d->E < d->topk) return GG_ERR_ARGUMENT;
    uint64_t *weights = malloc((size_t)d->E * sizeof *weights);
    bool *taken = malloc((size_t)d->E);
    if (weights && taken) {
        for (int32_t e = 0; e < d->E; e++) weights[e] = zipf_weight((uint64_t)e + 1);
        for (int64_t t = 0; t < d->T; t++) {
            uint64_t left = 0;
            for (int32_t e = 0; e < d->E; e++) left += weights[e];
            memset(taken, 0, (size_t)d->E);
            for (int32_t c = 0; c < d->topk; c++) {
                uint64_t at = hash_at(d, (uint64_t)(t * d->topk + c)) % left;
                int32_t e = 0;
                for (; taken[e] || at >= weights[e]; e++)
                    if (!taken[e]) at -= weights[e];
                taken[e] = true;
                left -= weights[e];
                d->choices[t * d->topk + c] = e;
            }
        }
    }
    gg_status status = weights && taken ? GG_OK : GG_ERR_MEMORY;
    free(weights);
    free(taken);
    return status;
}

static gg_status draw_one(const draw *d) {
    for (int64_t i = 0; i < d->T * d->topk; i++) d->choices[i] = d->E / 2;
    return GG_OK;
}

static int32_t empty_experts(const draw *d) { return d->E / 4 > 1 ? d->E / 4 : 1; }
static gg_status draw_empty_first(const draw *d) { return uniform(d, 0, empty_experts(d)); }
static gg_status draw_empty_last(const draw *d) {
    return uniform(d, d->E - empty_experts(d), empty_experts(d));
}
static gg_status draw_empty_mid(const draw *d) {
    return uniform(d, (d->E - empty_experts(d)) / 2, empty_experts(d));
}

/* Experts take `sizes` in turn while slots last, the last expert takes the rest. */
static gg_status draw_sizes(const draw *d, const int *sizes, size_t count) {
    const int64_t M = d->T * d->topk;
    int64_t at = 0;
    for (int32_t e = 0; e < d->E; e++) {
        int64_t size = e == d->E - 1 ? M : sizes[(size_t)e % count];
        for (; size > 0 && at < M; size--) d->choices[at++] = e;
    }
    return shuffle(d, M, 1);
}
static gg_status draw_edge(const draw *d) {
    static const int sizes[] = {31, 32, 33, 63, 64, 65, 127, 128, 129, 0, 1};
    return draw_sizes(d, sizes, sizeof sizes / sizeof *sizes);
}
static gg_status draw_wide(const draw *d) {
    static const int sizes[] = {256, 0, 0, 255, 1, 257, 2};
    return draw_sizes(d, sizes, sizeof sizes / sizeof *sizes);
}

static gg_status draw_sorted(const draw *d) {
    const int64_t M = d->T * d->topk;
    for (int64_t i = 0; i < M; i++) d->choices[i] = (int32_t)(i * d->E / M);
    return GG_OK;
}
static gg_status draw_reversed(const draw *d) {
    const int64_t M = d->T * d->topk;
    for (int64_t i = 0; i < M; i++) d->choices[i] = d->E - 1 - (int32_t)(i * d->E / M);
    return GG_OK;
}

gg_status mg_routing_make(int64_t T, int32_t topk, int32_t E, mg_dist dist, int32_t *m_sizes,
                          int32_t *gather_indices) {
    static gg_status (*const draws[MG_NUM_DISTS])(const draw *) = {
        [MG_MULT] = draw_mult,
        [MG_BALANCED] = draw_balanced,
        [MG_SKEWED] = draw_skewed,
        [MG_ONE] = draw_one,
        [MG_EMPTY_FIRST] = draw_empty_first,
        [MG_EMPTY_LAST] = draw_empty_last,
        [MG_EMPTY_MID] = draw_empty_mid,
        [MG_EDGE] = draw_edge,
        [MG_WIDE] = draw_wide,
        [MG_SORTED] = draw_sorted,
        [MG_REVERSED] = draw_reversed,
    };
    const int64_t M = T * topk;
    char name[MG_KEY_SIZE];
    snprintf(name, sizeof name, "routing/topk%d-E%d-T%lld-%s", topk, E, (long long)T, mg_dist_name(dist));
    int32_t *choices = malloc(((size_t)M + 1) * sizeof *choices);
    int64_t *next = calloc((size_t)E + 1, sizeof *next); /* where an expert's rows begin, then its next row */
    gg_status status = choices && next ? GG_OK : GG_ERR_MEMORY;
    const draw d = {.seed = mg_name_hash(name), .T = T, .topk = topk, .E = E, .choices = choices};
    if (!status) status = draws[dist](&d);
    if (status) goto out;
    memset(m_sizes, 0, (size_t)E * sizeof *m_sizes);
    for (int64_t i = 0; i < M; i++) m_sizes[choices[i]]++;
    for (int32_t e = 0; e < E; e++) next[e + 1] = next[e] + m_sizes[e];
    for (int64_t i = 0; i < M; i++) gather_indices[next[choices[i]]++] = (int32_t)i;
out:
    free(choices);
    free(next);
    return status;
}
