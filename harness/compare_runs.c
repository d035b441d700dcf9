/* compare_runs.c: what changed between two runs, case by case. */
#include "compare_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

/* Below it a kernel's time is launch overhead and jitter. */
static const double shortest_ms = 0.01;
/* Of the largest error, which moves with the order of sums; a tenth more or less means nothing. */
static const double error_slack = 1.1;

const char *mg_change_title(mg_change change) {
    static const char *const titles[MG_NUM_CHANGES] = {
#define X(name, title, word) [name] = title,
        MG_CHANGES(X)
#undef X
    };
    return titles[change];
}

static bool differ(const char *a, const char *b) { return *a && *b && strcmp(a, b); }
static bool same(const char *a, const char *b) { return *a && !strcmp(a, b); }

static bool beyond(double x, double y, double factor) {
    if (isnan(x) || isnan(y)) return false;
    return x > y * factor || y > x * factor;
}

/* Whether bits must be the same where kernel and data are. */
static bool same_place(const mg_runset *a, const mg_runset *b) {
    static const char *const keys[] = {"name", "driver", "compiler", "backend"};
    bool result = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        result &= !strcmp(mg_runset_word(a, keys[i]), mg_runset_word(b, keys[i]));
    return result;
}

static unsigned changes_of(const mg_entry *a, const mg_entry *b, bool place, double slack) {
    if (!a) return 1u << MG_ONLY_B | (unsigned)mg_verdict_bad(b->verdict) << MG_NEW_FAILURE;
    if (!b) return 1u << MG_ONLY_A;
    bool was_bad = mg_verdict_bad(a->verdict), is_bad = mg_verdict_bad(b->verdict);
    unsigned changes = 0;
    if (is_bad) changes |= 1u << (was_bad ? MG_STILL_FAILING : MG_NEW_FAILURE);
    if (was_bad && !is_bad) changes |= 1u << (b->verdict == MG_PASSED ? MG_FIXED : MG_OTHER_VERDICT);
    if (!was_bad && !is_bad && a->verdict != b->verdict) changes |= 1u << MG_OTHER_VERDICT;
    if (differ(a->digest, b->digest)) {
        changes |= 1u << MG_BITS;
        if (place && same(a->kernel, b->kernel) && same(a->data, b->data)) changes |= 1u << MG_UNSTABLE;
    }
    if (beyond(a->max_ulp, b->max_ulp, error_slack)) changes |= 1u << MG_MORE_ERROR;
    if (a->kernel_ms >= shortest_ms && b->kernel_ms >= shortest_ms &&
        beyond(a->kernel_ms, b->kernel_ms, slack))
        changes |= 1u << (b->kernel_ms > a->kernel_ms ? MG_SLOWER : MG_FASTER);
    return changes;
}

gg_status mg_compare_runs(const mg_runset *a, const mg_runset *b, double slack, mg_comparison *out,
                          char error[MG_ERROR_SIZE]) {
    *out = (mg_comparison){.rows = malloc((a->count + b->count + 1) * sizeof *out->rows)};
    if (!out->rows) {
        snprintf(error, MG_ERROR_SIZE, "out of memory for the comparison");
        return GG_ERR_MEMORY;
    }
    const bool place = same_place(a, b);
    for (size_t i = 0, j = 0; i < a->count || j < b->count;) {
        int order = i == a->count ? 1 : j == b->count ? -1 : strcmp(a->items[i].id, b->items[j].id);
        const mg_entry *x = order <= 0 ? &a->items[i++] : NULL, *y = order >= 0 ? &b->items[j++] : NULL;
        unsigned changes = changes_of(x, y, place, slack);
        out->common += x && y;
        for (int c = 0; c < MG_NUM_CHANGES; c++) out->counts[c] += changes >> c & 1;
        if (changes) out->rows[out->count++] = (mg_change_row){.a = x, .b = y, .changes = changes};
    }
    return GG_OK;
}

void mg_comparison_free(mg_comparison *comparison) {
    free(comparison->rows);
    *comparison = (mg_comparison){0};
}
