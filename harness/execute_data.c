/* execute_data.c: inputs and goldens of the last few problems in host memory; cases of one problem follow
 * each other. */
#include "execute_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Across all kept problems but the current one; a small problem takes a few MB, the largest about 150. */
#define KEPT_BYTES ((size_t)512 << 20)

static void data_free(mg_data *data) {
    mg_inputs_free(&data->inputs);
    free(data->row_expert);
    for (int i = 0; i < MG_NUM_HASHES; i++)
        if (data->golden_loaded[i]) mg_golden_free(&data->goldens[i]);
    *data = (mg_data){0};
}

void mg_data_cache_free(mg_data_cache *cache) {
    for (int i = 0; i < MG_KEPT_PROBLEMS; i++) data_free(&cache->entries[i]);
}

/* A free entry; those unused for longest are dropped until there is one and the rest is within bounds. */
static mg_data *make_room(mg_data_cache *cache) {
    for (;;) {
        mg_data *vacant = NULL, *oldest = NULL;
        size_t bytes = 0;
        for (int i = 0; i < MG_KEPT_PROBLEMS; i++) {
            mg_data *entry = &cache->entries[i];
            bytes += entry->bytes;
            if (!entry->problem)
                vacant = entry;
            else if (!oldest || entry->used < oldest->used)
                oldest = entry;
        }
        if (vacant && bytes <= KEPT_BYTES) return vacant;
        data_free(oldest);
    }
}

/* The routing is used to index on the host, so it is not enough that its digest is right. */
static gg_status check_routing(mg_data *data, char error[MG_ERROR_SIZE]) {
    const mg_problem *p = data->problem;
    gg_status status = GG_ERR_IO;
    int64_t row = 0;
    bool *seen = calloc((size_t)p->M + 1, sizeof *seen);
    data->row_expert = malloc((size_t)(p->M + 1) * sizeof *data->row_expert);
    if (!seen || !data->row_expert) {
        snprintf(error, MG_ERROR_SIZE, "out of memory for the routing of '%s'", p->key);
        status = GG_ERR_MEMORY;
        goto out;
    }
    snprintf(error, MG_ERROR_SIZE, "routing of '%s' is not a routing: restore golden/routing/%s", p->key,
             p->routing);
    for (int32_t e = 0; e < p->E; e++) {
        int32_t size = data->inputs.m_sizes[e];
        if (size < 0 || size > p->M - row) goto out;
        for (int32_t i = 0; i < size; i++) data->row_expert[row++] = e;
    }
    if (row != p->M) goto out;
    for (int64_t i = 0; i < p->M; i++) {
        int64_t slot = data->inputs.gather_indices[i];
        if (slot < 0 || slot >= p->M || seen[slot]) goto out;
        seen[slot] = true;
    }
    status = GG_OK;
out:
    free(seen);
    return status;
}

gg_status mg_data_get(mg_data_cache *cache, const mg_corpus *corpus, const mg_case *c, uint64_t user_seed,
                      mg_data **out, char error[MG_ERROR_SIZE]) {
    const mg_problem *p = c->problem;
    *out = NULL;
    cache->turn++;
    for (int i = 0; i < MG_KEPT_PROBLEMS; i++) {
        mg_data *entry = &cache->entries[i];
        if (entry->problem != p || entry->cls != c->cls || entry->dtype != c->dtype) continue;
        entry->used = cache->turn;
        *out = entry;
        return GG_OK;
    }
    mg_data *data = make_room(cache);
    *data = (mg_data){.problem = p, .cls = c->cls, .dtype = c->dtype, .used = cache->turn};
    gg_status status = mg_inputs_load(corpus, p, c->cls, c->dtype, user_seed, &data->inputs, error);
    if (status == GG_OK) status = check_routing(data, error);
    if (status != GG_OK) {
        data_free(data);
        return status;
    }
    size_t K = (size_t)p->K, N = (size_t)p->N, M = (size_t)p->M;
    size_t elements = p->store == MG_STORE_HASH ? 0 : M * (K + N) + (size_t)p->E * N * K;
    data->bytes = elements * sizeof(uint16_t) + M * 12;
    *out = data;
    return GG_OK;
}

/* --- goldens --- */

static size_t golden_bytes(const mg_golden *golden) {
    size_t count = golden->rows * golden->cols;
    return count * ((golden->bits ? sizeof *golden->bits : 0) + (golden->c ? sizeof *golden->c : 0) +
                    (golden->s ? sizeof *golden->s : 0));
}

/* dx reduced over topk: of the golden rows, put where the kernel puts them (slot order). */
static gg_status derive_reduced(mg_data *data, const mg_golden *dx, mg_golden *out) {
    const mg_problem *p = data->problem;
    size_t row_bytes = (size_t)p->K * sizeof(uint16_t);
    *out = (mg_golden){.rows = (size_t)p->T, .cols = (size_t)p->K};
    uint16_t *slots = malloc((size_t)p->M * row_bytes + 1);
    out->bits = malloc((size_t)p->T * row_bytes + 1);
    if (slots && out->bits) {
        for (int64_t i = 0; i < p->M; i++)
            memcpy(slots + (int64_t)data->inputs.gather_indices[i] * p->K, dx->bits + i * p->K, row_bytes);
        mg_reduce_topk_host(data->dtype, p->T, p->topk, p->K, slots, out->bits);
    }
    bool ok = slots && out->bits;
    free(slots);
    if (!ok) mg_golden_free(out);
    return ok ? GG_OK : GG_ERR_MEMORY;
}

static const mg_output file_of[MG_NUM_HASHES] = {[MG_HASH_Y] = MG_OUT_Y,
                                                 [MG_HASH_Y_MUL] = MG_OUT_Y,
                                                 [MG_HASH_DX] = MG_OUT_DX,
                                                 [MG_HASH_DX_REDUCED] = MG_OUT_DX,
                                                 [MG_HASH_DW] = MG_OUT_DW};

gg_status mg_data_golden(mg_data *data, const mg_corpus *corpus, uint64_t user_seed, mg_hash_output which,
                         const mg_golden **out, char error[MG_ERROR_SIZE]) {
    const mg_problem *p = data->problem;
    mg_golden *golden = &data->goldens[which];
    *out = golden;
    if (data->golden_loaded[which]) return GG_OK;
    if (which == MG_HASH_DX_REDUCED) {
        const mg_golden *dx;
        gg_status status = mg_data_golden(data, corpus, user_seed, MG_HASH_DX, &dx, error);
        if (status == GG_OK && (status = derive_reduced(data, dx, golden)) != GG_OK)
            snprintf(error, MG_ERROR_SIZE, "out of memory for the golden of '%s'", p->key);
        if (status != GG_OK) return status;
    } else {
        mg_output file = file_of[which];
        size_t rows = file == MG_OUT_DW ? (size_t)p->E * (size_t)p->N : (size_t)p->M;
        size_t cols = (size_t)(file == MG_OUT_Y ? p->N : p->K);
        gg_status status = mg_golden_load(corpus, p, data->cls, data->dtype, file, user_seed, golden, error);
        if (status != GG_OK) return status;
        if (golden->rows != rows || golden->cols != cols) {
            snprintf(error, MG_ERROR_SIZE,
                     "golden of '%s' is %zu x %zu, not %zu x %zu: run 'moegemm golden generate'", p->key,
                     golden->rows, golden->cols, rows, cols);
            mg_golden_free(golden);
            return GG_ERR_IO;
        }
        if (which == MG_HASH_Y_MUL)
            mg_golden_mul_post(golden, data->dtype, data->inputs.topk_weights, data->inputs.gather_indices);
    }
    data->golden_loaded[which] = true;
    data->bytes += golden_bytes(golden);
    return GG_OK;
}
