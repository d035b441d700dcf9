/* execute_verdict.c: what a run's reports mean, and the comparison of its results with goldens from files. */
#include "execute_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *mg_res_name(mg_res res) {
    static const char *const names[MG_NUM_RESULTS] = {
#define X(name, text) [name] = text,
        MG_RESULTS(X)
#undef X
    };
    return names[res];
}

void mg_res_shape(const mg_problem *problem, mg_res res, int64_t *rows, int64_t *cols) {
    *rows = res == MG_RES_DW           ? (int64_t)problem->E * problem->N
            : res == MG_RES_DX_REDUCED ? problem->T
                                       : problem->M;
    *cols = res == MG_RES_Y ? problem->N : problem->K;
}

gg_status mg_results_hash(mg_run *run, int set, uint64_t hashes[MG_NUM_RESULTS]) {
    mg_executor *x = run->x;
    gg_status status = mg_board_clear(x);
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++) {
        if (!(run->results & 1u << i)) continue;
        int64_t rows, cols;
        mg_res_shape(run->c->problem, (mg_res)i, &rows, &cols);
        const hash_params params = {.data = mg_region_data(&x->results[set][i]),
                                    .hashes = &x->device_board->hashes[i],
                                    .rows = rows,
                                    .rows_per_slot = rows,
                                    .cols = (i32)cols};
        status = mg_launch_hash(x, &params);
    }
    if (status == GG_OK) status = mg_board_read(x);
    if (status == GG_OK) memcpy(hashes, x->board->hashes, MG_NUM_RESULTS * sizeof *hashes);
    return status;
}

/* --- guards and repeats ------------------------------------------------------------------------------------
 */

static gg_status download_chunk(mg_executor *x, const mg_region *region, uint64_t chunk, void *out) {
    return mg_device_status(x, x->backend->ops->download(x->backend, out, region->base + chunk * 16, 16),
                            "download failed");
}

static gg_status note_overwritten(mg_run *run, const char *name, int number, const mg_region *region,
                                  check_report report) {
    uint32_t words[4];
    gg_status status = download_chunk(run->x, region, report.first_overwritten, words);
    if (status != GG_OK) return status;
    int word = 0;
    while (word < 3 && words[word] == run->poison) word++;
    int half = (words[word] & 0xffff) == (run->poison & 0xffff);
    int64_t offset = (int64_t)(report.first_overwritten * 16 - mg_region_begin(region)) + word * 4 + half * 2;
    bool before = offset < 0;
    mg_note(run->result, MG_FAILED,
            "run %d wrote outside '%s', %s: first at byte %lld, in %llu places of 16 bytes", number, name,
            before ? "before its start" : "past its end",
            (long long)(before ? -offset : offset - (int64_t)region->bytes),
            (unsigned long long)report.overwritten);
    return GG_OK;
}

gg_status mg_note_differing(mg_run *run, mg_res res, int set, uint64_t chunk, uint64_t places,
                            const char *what) {
    mg_executor *x = run->x;
    const mg_region *regions[] = {&x->results[0][res], &x->results[set][res]};
    uint16_t values[2][8];
    int64_t rows, cols;
    mg_res_shape(run->c->problem, res, &rows, &cols);
    for (int i = 0; i < 2; i++) {
        gg_status status = download_chunk(x, regions[i], mg_region_begin(regions[i]) / 16 + chunk, values[i]);
        if (status != GG_OK) return status;
    }
    int i = 0;
    while (i < 7 && values[0][i] == values[1][i]) i++;
    const int64_t index = (int64_t)chunk * 8 + i;
    mg_note(run->result, MG_FAILED,
            "'%s' %s: [%lld, %lld] is %.9g (0x%04x), then %.9g (0x%04x); in %llu places of 16 bytes",
            mg_res_name(res), what, (long long)(index / cols), (long long)(index % cols),
            mg_float_from_bits(run->c->dtype, values[0][i]), values[0][i],
            mg_float_from_bits(run->c->dtype, values[1][i]), values[1][i], (unsigned long long)places);
    return GG_OK;
}

/* Of several repeats that differ, the first is told in full. */
static gg_status note_repeat(mg_run *run, mg_res res, int number, int set, check_report report) {
    char what[64];
    if (run->differing) return GG_OK;
    int used = snprintf(what, sizeof what, "differs between runs 1 and %d", number);
    if (run->how) snprintf(what + used, sizeof what - (size_t)used, " (%s)", mg_perturbation_name(run->how));
    uint64_t chunk = report.first_differing - mg_region_begin(&run->x->results[set][res]) / 16;
    return mg_note_differing(run, res, set, chunk, report.differing, what);
}

gg_status mg_judge_reports(mg_run *run, int number, int set) {
    const check_report *reports = run->x->board->reports;
    gg_status status = GG_OK;
    if (reports[MG_WORKSPACE_REPORT].overwritten)
        status = note_overwritten(run, "workspace", number, &run->x->workspace, reports[MG_WORKSPACE_REPORT]);
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++) {
        const check_report report = reports[i];
        if (report.overwritten)
            status = note_overwritten(run, mg_res_name((mg_res)i), number, &run->x->results[set][i], report);
        if (report.differing && status == GG_OK) status = note_repeat(run, (mg_res)i, number, set, report);
    }
    return status;
}

/* --- against goldens --- */

static void note_wrong(mg_run *run, mg_res res, const mg_difference *d, const uint16_t *got) {
    char expert[32] = "", bounds[160] = "";
    int64_t rows, cols;
    mg_res_shape(run->c->problem, res, &rows, &cols);
    bool unwritten = got && got[d->row * cols + d->col] == MG_POISON_FIRST;
    if (d->expert >= 0) snprintf(expert, sizeof expert, " (expert %d)", d->expert);
    if (run->c->cls == MG_REAL)
        snprintf(bounds, sizeof bounds,
                 "; |error| up to %.3g of its bound, %.3g of the proven one, tile rms %.3g of its limit",
                 d->bound_ratio, d->hard_ratio, d->tile_rms);
    mg_note(run->result, MG_FAILED,
            "'%s' is wrong: [%lld, %lld]%s is %.9g%s, expected %.9g; %llu of %llu elements%s",
            mg_res_name(res), (long long)d->row, (long long)d->col, expert, d->got,
            unwritten ? " (poison: never written)" : "", d->expected, (unsigned long long)d->wrong,
            (unsigned long long)d->compared, bounds);
    if (d->worst_row != d->row || d->worst_col != d->col)
        mg_note(run->result, MG_FAILED, "worst of '%s': [%lld, %lld] is %.9g, expected %.9g",
                mg_res_name(res), (long long)d->worst_row, (long long)d->worst_col, d->worst_got,
                d->worst_expected);
}

void mg_judge_difference(mg_run *run, mg_res res, mg_difference *d, const uint16_t *got) {
    mg_difference *kept = &run->result->difference;
    snprintf(d->output, sizeof d->output, "%s", mg_res_name(res));
    if (d->wrong) note_wrong(run, res, d, got);
    /* of a case's outputs the worst is kept: the first that is wrong, else the one nearest to its bound */
    if (!kept->output[0] || (!kept->wrong && (d->wrong || d->bound_ratio > kept->bound_ratio))) *kept = *d;
}

const int32_t *mg_res_row_map(const mg_run *run, mg_res res) {
    bool slots = (res == MG_RES_Y && run->c->fusions & GG_PERMUTE_Y) ||
                 (res == MG_RES_DX && run->c->fusions & GG_PERMUTE_X);
    return slots ? run->data->inputs.gather_indices : NULL;
}

gg_status mg_reduce_own_rows(mg_run *run, mg_golden *out) {
    const mg_problem *p = run->c->problem;
    const uint8_t *slots;
    *out = (mg_golden){.rows = (size_t)p->T, .cols = (size_t)p->K};
    const mg_region *region = &run->x->results[0][MG_RES_DX];
    gg_status status = mg_download(run->x, mg_region_data(region), region->bytes, &slots);
    if (status != GG_OK) return status;
    out->bits = malloc(out->rows * out->cols * sizeof *out->bits + 1);
    if (!out->bits) {
        snprintf(run->x->error, sizeof run->x->error, "out of memory for 'dx_reduced'");
        return GG_ERR_MEMORY;
    }
    mg_reduce_topk_host(run->c->dtype, p->T, p->topk, p->K, (const uint16_t *)slots, out->bits);
    return GG_OK;
}

void mg_judge_against(mg_run *run, mg_res res, mg_class cls, const mg_golden *golden, const uint16_t *got) {
    const mg_problem *p = run->c->problem;
    const mg_chain chain = {.mul_post =
                                res == MG_RES_Y && cls == MG_REAL && run->c->fusions & GG_FUSE_MUL_POST,
                            .topk_weights = run->data->inputs.topk_weights,
                            .reduction = res == MG_RES_Y ? p->K : p->N,
                            .m_sizes = run->data->inputs.m_sizes,
                            .E = p->E,
                            .reduce_rows = res == MG_RES_DW};
    const int32_t *row_expert = res == MG_RES_Y || res == MG_RES_DX ? run->data->row_expert : NULL;
    mg_difference d;
    bool mistrusted;
    mg_compare(cls, run->c->dtype, golden, got, mg_res_row_map(run, res), &chain, row_expert, &d,
               &mistrusted);
    mg_judge_difference(run, res, &d, got);
    if (mistrusted)
        mg_note(run->result, MG_MISTRUSTED, "the check of '%s' could not have failed: %s", mg_res_name(res),
                d.compared ? "its golden is all zero" : "no elements were compared");
}

static gg_status judge_stored(mg_run *run, mg_res res) {
    mg_executor *x = run->x;
    const bool weighted = run->c->fusions & GG_FUSE_MUL_POST, real = run->c->cls == MG_REAL;
    const bool hostile = run->c->cls == MG_HOSTILE;
    const mg_hash_output goldens[MG_NUM_RESULTS] = {[MG_RES_Y] =
                                                        weighted && !real ? MG_HASH_Y_MUL : MG_HASH_Y,
                                                    [MG_RES_DX] = MG_HASH_DX,
                                                    [MG_RES_DX_REDUCED] = MG_HASH_DX_REDUCED,
                                                    [MG_RES_DW] = MG_HASH_DW};
    const mg_region *region = &x->results[0][res];
    const mg_golden *golden;
    const uint8_t *got;
    mg_golden own = {0};
    gg_status status;
    if (res == MG_RES_DX_REDUCED &&
        (real || hostile)) { /* whatever the rows, their sum has one right answer */
        status = mg_reduce_own_rows(run, &own);
        golden = &own;
    } else {
        status = mg_data_golden(run->data, x->corpus, x->options.user_seed, goldens[res], &golden, x->error);
    }
    if (status == GG_OK) status = mg_download(x, mg_region_data(region), region->bytes, &got);
    if (status == GG_OK)
        mg_judge_against(run, res, golden == &own && real ? MG_EXACT : run->c->cls, golden,
                         (const uint16_t *)got);
    free(own.bits);
    return status;
}

gg_status mg_judge_results(mg_run *run) {
    const bool hashed = run->c->problem->store == MG_STORE_HASH;
    gg_status status = GG_OK;
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++)
        if (run->results & 1u << i)
            status = hashed ? mg_judge_hashed(run, (mg_res)i) : judge_stored(run, (mg_res)i);
    return status;
}
