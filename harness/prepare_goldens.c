/* prepare_goldens.c: makes sure before a run that the goldens of its cases are there. */
#include <stdio.h>
#include <stdlib.h>

#include "golden.h"
#include "prepare.h"

/* Which outputs the cases of one problem, class and dtype are compared on. */
typedef struct need {
    const mg_problem *problem;
    mg_class cls;
    gg_dtype dtype;
    unsigned outputs; /* 1u << mg_output */
} need;

static unsigned outputs_of(const mg_case *c) {
    static const unsigned by_op[GG_NUM_OPS] = {
        [GG_FORWARD] = 1u << MG_OUT_Y, [GG_DX] = 1u << MG_OUT_DX, [GG_DW] = 1u << MG_OUT_DW};
    if (c->refusal || c->block) return 0; /* a block's goldens are computed on the spot */
    return c->function.autograd ? (1u << MG_NUM_OUTPUTS) - 1 : by_op[c->function.op];
}

static int by_data(const void *a, const void *b) {
    const need *x = a, *y = b;
    if (x->problem != y->problem) return x->problem < y->problem ? -1 : 1;
    if (x->cls != y->cls) return x->cls < y->cls ? -1 : 1;
    return (x->dtype > y->dtype) - (x->dtype < y->dtype);
}

/* The needs of a workload, each problem, class and dtype once. The caller owns them; NULL without memory. */
static need *collect(const mg_workload *load, size_t *count) {
    need *needs = malloc((load->count + 1) * sizeof *needs);
    *count = 0;
    if (!needs) return NULL;
    for (size_t i = 0; i < load->count; i++) {
        const mg_case *c = &load->cases[load->order[i]];
        needs[i] = (need){c->problem, c->cls, c->dtype, outputs_of(c)};
    }
    qsort(needs, load->count, sizeof *needs, by_data);
    for (size_t i = 0; i < load->count; i++) {
        if (*count && !by_data(&needs[*count - 1], &needs[i]))
            needs[*count - 1].outputs |= needs[i].outputs;
        else
            needs[(*count)++] = needs[i];
    }
    return needs;
}

/* Writes a line for each incomplete problem, class and dtype to `list`; returns how many arrays are missing.
 */
static gg_status find_missing(const mg_workload *load, const char *cache, FILE *list, size_t *missing,
                              char error[MG_ERROR_SIZE]) {
    mg_corpus *corpus = NULL;
    size_t count;
    need *needs = NULL;
    gg_status status = mg_corpus_open(&corpus, load->options->golden_dir, cache, error);
    *missing = 0;
    if (status) return status;
    if ((needs = collect(load, &count))) {
        for (size_t i = 0; i < count; i++)
            *missing += mg_golden_missing(corpus, needs[i].problem, needs[i].cls, needs[i].dtype,
                                          needs[i].outputs, list);
    } else {
        snprintf(error, MG_ERROR_SIZE, "out of memory for the list of goldens");
        status = GG_ERR_MEMORY;
    }
    free(needs);
    mg_corpus_close(corpus);
    return status;
}

gg_status mg_prepare_goldens(const mg_workload *load, bool generate, char error[MG_ERROR_SIZE]) {
    char cache[GG_PATH_SIZE], *lines = NULL;
    size_t size, missing = 0;
    if (load->options->user_seed) return GG_OK; /* computed on the spot */
    snprintf(cache, sizeof cache, "%s/golden", load->options->cache_dir);
    FILE *list = open_memstream(&lines, &size);
    if (!list) {
        snprintf(error, MG_ERROR_SIZE, "out of memory for the list of goldens");
        return GG_ERR_MEMORY;
    }
    gg_status status = find_missing(load, cache, list, &missing, error);
    if (fclose(list) == 0 && !status && missing && generate) {
        fprintf(stderr, "making %zu golden arrays that the selected cases need\n", missing);
        status = mg_golden_generate(load->options->golden_dir, cache, lines, error);
        if (!status && !*load->stop) status = find_missing(load, cache, NULL, &missing, error);
    }
    if (!status && missing && !*load->stop) {
        const char *fix = generate ? "moegemm golden verify" : "moegemm golden generate, or pass --generate";
        snprintf(error, MG_ERROR_SIZE, "%zu golden arrays of the selected cases are missing (run: %s)",
                 missing, fix);
        status = GG_ERR_IO;
    }
    free(lines);
    return status;
}
