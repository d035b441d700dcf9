/* execute_batch.c: a row's bits must not depend on the other rows: the boundaries between experts are moved, and what both
 * routings have in common must not change. */
#include "execute_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Only m_sizes changes: rows stay where they are, in every tensor, but some come to another expert. So what is kept has
 * other neighbours in its tiles, and begins at another row of a tile. `kept` receives the indices, in the result as
 * stored, of the rows (forward, dX) or experts (dW) that are what they were; returns how many. */
typedef size_t reroute(const mg_run *run, mg_res res, int32_t *sizes, int32_t *kept);

/* Every expert but the first gives the first half of its rows to the one before. */
static size_t reroute_rows(const mg_run *run, mg_res res, int32_t *sizes, int32_t *kept) {
    const mg_problem *p = run->c->problem;
    const int32_t *before = run->data->inputs.m_sizes, *row_map = mg_res_row_map(run, res);
    size_t count = 0;
    int64_t row = 0;
    for (int32_t e = 0; e < p->E; e++) {
        const int32_t gives = e ? (before[e] + 1) / 2 : 0, takes = e + 1 < p->E ? (before[e + 1] + 1) / 2 : 0;
        sizes[e] = before[e] - gives + takes;
        for (int64_t i = row + gives; i < row + before[e]; i++)
            kept[count++] = row_map ? row_map[i] : (int32_t)i;
        row += before[e];
    }
    return count;
}

/* Of three neighbours the first keeps its rows; the second gives the last a third of them, so that it begins elsewhere. */
static size_t reroute_experts(const mg_run *run, mg_res res, int32_t *sizes, int32_t *kept) {
    const mg_problem *p = run->c->problem;
    size_t count = 0;
    (void)res;
    memcpy(sizes, run->data->inputs.m_sizes, (size_t)p->E * sizeof *sizes);
    for (int32_t e = 0; e < p->E; e += 3) kept[count++] = e;
    for (int32_t e = 1; e + 1 < p->E; e += 3) {
        const int32_t given = (sizes[e] + 2) / 3;
        sizes[e] -= given;
        sizes[e + 1] += given;
    }
    return count;
}

static gg_status upload(mg_executor *x, void *device, const void *host, size_t bytes) {
    return mg_device_status(x, x->backend->ops->upload(x->backend, device, host, bytes), "upload failed");
}

/* Compares what is kept of a result in both sets. */
static gg_status compare_kept(mg_run *run, mg_res res, const int32_t *kept, size_t count, bool *equal) {
    mg_executor *x = run->x;
    int64_t rows, cols;
    mg_res_shape(run->c->problem, res, &rows, &cols);
    if (res == MG_RES_DW) cols *= run->c->problem->N; /* an expert's matrix at a time */
    gg_status status = mg_region_reserve(x, &x->kept, count * sizeof *kept);
    if (status == GG_OK) status = upload(x, mg_region_data(&x->kept), kept, count * sizeof *kept);
    if (status == GG_OK) status = mg_board_clear(x);
    if (status != GG_OK) return status;
    const common_params params = {.first = mg_region_data(&x->results[0][res]),
                                  .later = mg_region_data(&x->results[1][res]),
                                  .kept = mg_region_data(&x->kept),
                                  .report = &x->device_board->reports[res],
                                  .rows = (i64)count,
                                  .cols = cols};
    status = mg_launch_common(x, &params);
    if (status == GG_OK) status = mg_board_read(x);
    const check_report report = x->board->reports[res];
    if (status != GG_OK || !report.differing) return status;
    *equal = false;
    const uint64_t chunks = (uint64_t)cols / 8, row = (uint64_t)kept[report.first_differing / chunks];
    return mg_note_differing(run, res, 1, row * chunks + report.first_differing % chunks, report.differing,
                             "changes when other rows go to other experts (batch)");
}

/* One routing, judged on the results in the mask `judged`. */
static gg_status step(mg_run *run, int number, unsigned judged, reroute *change, int32_t *sizes,
                      int32_t *kept, bool *equal) {
    mg_executor *x = run->x;
    const size_t bytes = (size_t)run->c->problem->E * sizeof *sizes;
    gg_status status = GG_OK;
    judged &= run->results;
    if (!judged) return GG_OK;
    change(run, (mg_res)__builtin_ctz(judged), sizes, kept);
    if (!memcmp(sizes, run->data->inputs.m_sizes, bytes)) return GG_OK; /* nothing to exchange */
    x->placed[MG_IN_M_SIZES] = false; /* whatever happens: the next case must not see it */
    status = upload(x, mg_region_data(&x->inputs[MG_IN_M_SIZES]), sizes, bytes);
    if (status == GG_OK) status = mg_run_once(run, number, 1, false, false);
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++)
        if (judged & 1u << i)
            status = compare_kept(run, (mg_res)i, kept, change(run, (mg_res)i, sizes, kept), equal);
    return status;
}

gg_status mg_batch_reserve(mg_run *run) {
    const mg_problem *p = run->c->problem;
    return mg_region_reserve(run->x, &run->x->kept, (size_t)(p->M + p->E) * sizeof(int32_t));
}

gg_status mg_batch_step(mg_run *run, int number) {
    const mg_problem *p = run->c->problem;
    mg_executor *x = run->x;
    int32_t *sizes = malloc((size_t)p->E * sizeof *sizes);
    int32_t *kept = malloc((size_t)(p->M + p->E) * sizeof *kept);
    bool equal = true;
    gg_status status = GG_ERR_MEMORY;
    if (!sizes || !kept) {
        snprintf(x->error, sizeof x->error, "out of memory for a routing of '%s'", p->key);
        goto out;
    }
    if ((status = mg_inputs_verify(run))) goto out; /* the routing is about to be overwritten */
    if ((status = mg_inputs_move(run, mg_home_shift(run)))) goto out;
    mg_shift_results(run, 1, 0, 0);
    run->how = MG_PERTURB_NONE;
    status = step(run, number, 1u << MG_RES_Y | 1u << MG_RES_DX, reroute_rows, sizes, kept, &equal);
    if (status == GG_OK) status = step(run, number, 1u << MG_RES_DW, reroute_experts, sizes, kept, &equal);
    if (status != GG_OK) goto out;
    run->how = MG_PERTURB_BATCH;
    mg_keep_outcome(run, equal, 0);
    status = mg_inputs_place(run, run->inputs);
out:
    free(kept);
    free(sizes);
    return status;
}
