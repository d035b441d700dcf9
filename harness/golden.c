/* golden.c: a problem's inputs, drawn and checked, and its goldens, loaded and checked or computed for
 * another seed. */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "corpus.h"
#include "hostile.h"
#include "oracle.h"

static gg_status out_of_memory(const mg_problem *problem, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "no memory for the data of '%s'", problem->key);
    return GG_ERR_MEMORY;
}

/* --- inputs --- */

/* One of the two routing arrays; the caller owns it. */
static gg_status load_routing(const mg_corpus *corpus, const mg_problem *problem, const char *name,
                              size_t count, int32_t **out, char error[MG_ERROR_SIZE]) {
    char path[MG_FILE_SIZE];
    mg_npy npy;
    snprintf(path, sizeof path, "routing/%s/%s.npy", problem->routing, name);
    gg_status status = mg_corpus_read(corpus, path, MG_NPY_I4, count, &npy, error);
    *out = npy.data;
    return status;
}

static gg_status draw_tensor(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                             uint64_t user_seed, const char *name, size_t count, uint16_t **out,
                             char error[MG_ERROR_SIZE]) {
    mg_draw draw = mg_tensor_draw(problem, cls, name, user_seed);
    *out = malloc(count * sizeof **out + 1);
    if (!*out) return out_of_memory(problem, error);
    if (draw.bits)
        mg_fill_integers(draw.seed, draw.bits, draw.scale_log2, dtype, 0, count, *out);
    else
        mg_fill_real(draw.seed, draw.scale_log2, dtype, 0, count, *out);
    return user_seed ? GG_OK
                     : mg_golden_check(corpus, problem, cls, dtype, name, *out, count * sizeof **out, error);
}

gg_status mg_inputs_load(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                         uint64_t user_seed, mg_inputs *out, char error[MG_ERROR_SIZE]) {
    if (cls == MG_HOSTILE) {
        gg_status status = mg_inputs_load(corpus, problem, MG_EXACT, dtype, user_seed, out, error);
        if (!status) mg_hostile_plant(problem, dtype, user_seed, out);
        return status;
    }
    const size_t E = (size_t)problem->E, M = (size_t)problem->M;
    const size_t N = (size_t)problem->N, K = (size_t)problem->K;
    const size_t x_rows = problem->gemm == GG_GEMM_FIRST ? (size_t)problem->T : M;
    gg_status status;
    *out = (mg_inputs){0};
    if ((status = load_routing(corpus, problem, "m_sizes", E, &out->m_sizes, error))) goto out;
    if ((status = load_routing(corpus, problem, "gather_indices", M, &out->gather_indices, error))) goto out;

    out->topk_weights = malloc((M + 1) * sizeof *out->topk_weights);
    if (!out->topk_weights) {
        status = out_of_memory(problem, error);
        goto out;
    }
    mg_fill_weights(mg_tensor_seed(problem, cls, "topk_weights", user_seed), 0, M, out->topk_weights);
    if (!user_seed && (status = mg_golden_check(corpus, problem, cls, dtype, "topk_weights",
                                                out->topk_weights, M * sizeof *out->topk_weights, error)))
        goto out;
    if (problem->store == MG_STORE_HASH) goto out;

    const struct {
        const char *name;
        size_t count;
        uint16_t **data;
    } tensors[] = {{"x", x_rows * K, &out->x}, {"w", E * N * K, &out->w}, {"dy", M * N, &out->dy}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors && !status; i++)
        status = draw_tensor(corpus, problem, cls, dtype, user_seed, tensors[i].name, tensors[i].count,
                             tensors[i].data, error);
out:
    if (status) mg_inputs_free(out);
    return status;
}

void mg_inputs_free(mg_inputs *inputs) {
    free(inputs->m_sizes);
    free(inputs->gather_indices);
    free(inputs->x);
    free(inputs->w);
    free(inputs->dy);
    free(inputs->topk_weights);
    *inputs = (mg_inputs){0};
}

/* --- goldens --- */

/* The files of one output: one of bits, or c and s. */
static size_t output_files(const mg_problem *problem, mg_class cls, gg_dtype dtype, mg_output output,
                           char names[2][MG_FILE_SIZE]) {
    static const char *const suffixes[] = {"-c.npy", "-s.npy"};
    size_t count = cls == MG_REAL ? 2 : 1;
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%s", mg_output_name(output), cls == MG_REAL ? suffixes[i] : ".npy");
        mg_array_name(problem, cls, dtype, name, names[i]);
    }
    return count;
}

/* Goldens that are cheap to compute and large to keep have only their digest in the manifest. */
static bool is_derived(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                       mg_output output) {
    char name[MG_FILE_SIZE];
    mg_array_name(problem, cls, dtype, mg_output_name(output), name);
    return cls != MG_REAL && mg_manifest_find(corpus, name);
}

static gg_status compute_golden(const mg_corpus *corpus, const mg_problem *problem, mg_class cls,
                                gg_dtype dtype, mg_output output, uint64_t user_seed, mg_golden *out,
                                char error[MG_ERROR_SIZE]) {
    mg_inputs inputs;
    gg_status status = mg_inputs_load(corpus, problem, cls, dtype, user_seed, &inputs, error);
    if (status) return status;
    if ((status = mg_oracle(problem, cls, dtype, output, &inputs, out)))
        out_of_memory(problem, error);
    else if (!user_seed) /* then it must be NumPy's */
        status = mg_golden_check(corpus, problem, cls, dtype, mg_output_name(output), out->bits,
                                 out->rows * out->cols * sizeof *out->bits, error);
    mg_inputs_free(&inputs);
    if (status) mg_golden_free(out);
    return status;
}

/* From the golden and the inputs of class exact. */
static gg_status load_hostile(const mg_corpus *corpus, const mg_problem *problem, gg_dtype dtype,
                              mg_output output, uint64_t user_seed, mg_golden *out,
                              char error[MG_ERROR_SIZE]) {
    mg_inputs clean = {0}, planted = {0};
    gg_status status = mg_golden_load(corpus, problem, MG_EXACT, dtype, output, user_seed, out, error);
    if (status) return status;
    status = mg_inputs_load(corpus, problem, MG_EXACT, dtype, user_seed, &clean, error);
    if (!status) status = mg_inputs_load(corpus, problem, MG_HOSTILE, dtype, user_seed, &planted, error);
    if (status)
        mg_golden_free(out);
    else if ((status = mg_hostile_golden(problem, dtype, output, &clean, &planted, out)))
        out_of_memory(problem, error);
    mg_inputs_free(&clean);
    mg_inputs_free(&planted);
    return status;
}

gg_status mg_golden_load(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                         mg_output output, uint64_t user_seed, mg_golden *out, char error[MG_ERROR_SIZE]) {
    char names[2][MG_FILE_SIZE];
    mg_npy npy[2] = {0};
    gg_status status = GG_OK;
    *out = (mg_golden){0};
    if (problem->store == MG_STORE_HASH) {
        snprintf(error, MG_ERROR_SIZE, "no arrays for '%s': its goldens are hashes", problem->key);
        return GG_ERR_ARGUMENT;
    }
    if (cls == MG_HOSTILE) return load_hostile(corpus, problem, dtype, output, user_seed, out, error);
    if (user_seed || is_derived(corpus, problem, cls, dtype, output))
        return compute_golden(corpus, problem, cls, dtype, output, user_seed, out, error);

    mg_output_shape(problem, output, &out->rows, &out->cols);
    size_t count = output_files(problem, cls, dtype, output, names);
    for (size_t i = 0; i < count && !status; i++)
        status = mg_corpus_read(corpus, names[i], cls == MG_REAL ? MG_NPY_F4 : MG_NPY_U2,
                                out->rows * out->cols, &npy[i], error);
    if (status) {
        for (size_t i = 0; i < count; i++) mg_npy_free(&npy[i]);
        return status;
    }
    if (cls == MG_REAL) {
        out->c = npy[0].data;
        out->s = npy[1].data;
    } else {
        out->bits = npy[0].data;
    }
    return GG_OK;
}

void mg_golden_free(mg_golden *golden) {
    free(golden->bits);
    free(golden->c);
    free(golden->s);
    free(golden->sure);
    *golden = (mg_golden){0};
}

size_t mg_golden_missing(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                         unsigned outputs, void *file) {
    size_t missing = 0;
    if (cls == MG_HOSTILE) cls = MG_EXACT; /* which it is made from */
    if (problem->store == MG_STORE_HASH) return 0;
    for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++) {
        char names[2][MG_FILE_SIZE], path[MG_FILE_SIZE];
        if (!(outputs >> output & 1) || is_derived(corpus, problem, cls, dtype, output)) continue;
        size_t count = output_files(problem, cls, dtype, output, names);
        for (size_t i = 0; i < count; i++) {
            const mg_manifest_row *row = mg_manifest_find(corpus, names[i]);
            if (row) mg_corpus_path(corpus, row, path);
            missing += !row || access(path, R_OK);
        }
    }
    if (missing && file)
        fprintf((FILE *)file, "%s %s %s\n", problem->key, mg_class_name(cls), gg_dtype_name(dtype));
    return missing;
}
