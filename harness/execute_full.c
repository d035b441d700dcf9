/* execute_full.c: results of full-size problems: hashed where they are, and, when a hash is wrong, compared
 * with the reference kernel to name the elements. */
#include "execute_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How the rows of a result are laid out on the device, and which slot (expert) each counts for. */
typedef struct layout {
    const u16 *data;
    const i32 *row_map, *row_slot;
    int64_t rows, cols, rows_per_slot;
    size_t slots;
} layout;

static layout layout_of(const mg_run *run, mg_res res, int set) {
    const mg_problem *p = run->c->problem;
    mg_executor *x = run->x;
    layout l = {.data = mg_region_data(&x->results[set][res]),
                .slots = res == MG_RES_DX_REDUCED ? 1 : (size_t)p->E};
    mg_res_shape(p, res, &l.rows, &l.cols);
    l.rows_per_slot = l.rows / (int64_t)l.slots;
    if (mg_res_row_map(run, res)) l.row_map = mg_region_data(&x->inputs[MG_IN_GATHER]);
    if (res == MG_RES_Y || res == MG_RES_DX) l.row_slot = mg_region_data(&x->inputs[MG_IN_ROW_EXPERT]);
    return l;
}

static mg_hash_output golden_of(const mg_run *run, mg_res res) {
    const mg_hash_output goldens[MG_NUM_RESULTS] = {
        [MG_RES_Y] = run->c->fusions & GG_FUSE_MUL_POST ? MG_HASH_Y_MUL : MG_HASH_Y,
        [MG_RES_DX] = MG_HASH_DX,
        [MG_RES_DX_REDUCED] = MG_HASH_DX_REDUCED,
        [MG_RES_DW] = MG_HASH_DW};
    return goldens[res];
}

/* Hashes by slot into board->hashes. */
static gg_status hash_result(mg_run *run, mg_res res, int set) {
    mg_executor *x = run->x;
    const layout l = layout_of(run, res, set);
    const hash_params params = {.data = l.data,
                                .row_map = l.row_map,
                                .row_slot = l.row_slot,
                                .hashes = x->device_board->hashes,
                                .key = mg_hash_key(golden_of(run, res)),
                                .rows = l.rows,
                                .rows_per_slot = l.rows_per_slot,
                                .cols = (i32)l.cols};
    gg_status status = mg_board_clear(x);
    if (status == GG_OK) status = mg_launch_hash(x, &params);
    return status == GG_OK ? mg_board_read(x) : status;
}

static size_t count_wrong(const mg_executor *x, const uint64_t *golden, size_t slots, size_t *first) {
    size_t wrong = 0;
    for (size_t i = slots; i-- > 0;)
        if (x->board->hashes[i] != golden[i]) {
            wrong++;
            *first = i;
        }
    return wrong;
}

/* Launches the naive kernel on the same inputs, into the second set. */
static gg_status run_reference(mg_run *run, mg_res res) {
    static const gg_op ops[MG_NUM_RESULTS] = {
        [MG_RES_Y] = GG_FORWARD, [MG_RES_DX] = GG_DX, [MG_RES_DW] = GG_DW};
    mg_executor *x = run->x;
    const gg_problem problem = mg_case_problem(run->c, ops[res]);
    const gg_config config = {.mainloop = GG_REFERENCE,
                              .block_m = 64,
                              .block_n = 64,
                              .block_k = 64,
                              .num_warps = 4,
                              .num_stages = 2};
    mg_region *region = &x->results[1][res];
    gg_status status = mg_region_reserve(x, region, x->results[0][res].bytes);
    if (status != GG_OK) return status;
    const gg_tensors tensors = mg_run_tensors(run, ops[res], 1);
    char reason[GG_REASON_SIZE] = "";
    status = mg_subject_reference.launch(x->context, &problem, &config, &tensors, NULL, reason);
    if (status != GG_OK) snprintf(x->error, sizeof x->error, "reference kernel: %s", reason);
    return status;
}

/* Of a pattern, for people: the sign of a NaN means nothing. */
static double value_of(const mg_run *run, uint16_t bits) {
    const double value = mg_float_from_bits(run->c->dtype, bits);
    return value != value ? NAN : value;
}

/* Where the first run's result and the reference's differ. */
static gg_status locate(mg_run *run, mg_res res, mg_difference *d) {
    mg_executor *x = run->x;
    const layout l = layout_of(run, res, 0);
    d->map_rows = l.rows < MG_MAP_SIZE ? (uint32_t)l.rows : MG_MAP_SIZE;
    d->map_cols = l.cols < MG_MAP_SIZE ? (uint32_t)l.cols : MG_MAP_SIZE;
    const locate_params params = {.got = l.data,
                                  .expected = mg_region_data(&x->results[1][res]),
                                  .row_map = l.row_map,
                                  .row_slot = l.row_slot,
                                  .first = &x->device_board->first,
                                  .wrong = x->device_board->hashes,
                                  .cells = x->device_board->cells,
                                  .rows = l.rows,
                                  .rows_per_slot = l.rows_per_slot,
                                  .cols = (i32)l.cols,
                                  .map_rows = (i32)d->map_rows,
                                  .map_cols = (i32)d->map_cols};
    gg_status status = mg_board_clear(x);
    if (status == GG_OK) status = mg_launch_locate(x, &params);
    if (status == GG_OK) status = mg_board_read(x);
    if (status != GG_OK || x->board->first == ~0ull) return status;

    const int64_t row = (int64_t)x->board->first / l.cols;
    const int32_t *row_map = mg_res_row_map(run, res);
    d->row = row_map ? row_map[row] : row;
    d->place = d->worst_place = row;
    d->col = (int64_t)x->board->first % l.cols;
    d->expert = res == MG_RES_DW ? (int32_t)(row / l.rows_per_slot) : run->data->row_expert[row];
    uint16_t bits[2];
    for (int set = 0; set < 2 && status == GG_OK; set++) {
        const u16 *element = (const u16 *)mg_region_data(&x->results[set][res]) + d->row * l.cols + d->col;
        status = mg_device_status(x, x->backend->ops->download(x->backend, &bits[set], element, 2),
                                  "download failed");
    }
    if (status != GG_OK) return status;
    d->got = d->worst_got = value_of(run, bits[0]);
    d->expected = d->worst_expected = value_of(run, bits[1]);
    d->worst_row = d->row;
    d->worst_col = d->col;
    d->bound_ratio = 1;
    for (size_t i = 0; i < l.slots; i++) d->wrong += x->board->hashes[i];
    const double cell = (double)l.rows / d->map_rows * (double)l.cols / d->map_cols;
    for (size_t i = 0; i < (size_t)d->map_rows * d->map_cols; i++) {
        double share = x->board->cells[i] / cell;
        d->map[i] = x->board->cells[i] == 0 ? 0 : share >= 1 ? 255 : (uint8_t)(1 + 254 * share);
    }
    return status;
}

/* The rows of dx are right or have been found wrong by now, and small enough to be added up on the host. */
static gg_status judge_reduction(mg_run *run) {
    mg_golden own;
    const uint8_t *got;
    const mg_region *region = &run->x->results[0][MG_RES_DX_REDUCED];
    gg_status status = mg_reduce_own_rows(run, &own);
    if (status == GG_OK) status = mg_download(run->x, mg_region_data(region), region->bytes, &got);
    if (status == GG_OK) mg_judge_against(run, MG_RES_DX_REDUCED, MG_EXACT, &own, (const uint16_t *)got);
    mg_golden_free(&own);
    return status;
}

static void note_counts(mg_run *run, size_t slots) {
    char text[400];
    size_t used = 0;
    for (size_t i = 0; i < slots && used < sizeof text - 64; i++)
        if (run->x->board->hashes[i])
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%zu: %llu", used ? ", " : "", i,
                                     (unsigned long long)run->x->board->hashes[i]);
    if (used) mg_note(run->result, MG_FAILED, "wrong elements by expert: %s", text);
}

/* --- tiles of the first wrong expert, with a value of each beside the reference kernel's --- */

enum { SHOWN_TILES = 3 };

/* One tile while its rows are looked at. */
typedef struct tile {
    int64_t wrong, row, col; /* first wrong element, as stored */
    uint16_t bits[2];        /* of it, here and in the reference's result */
} tile;

/* As the case's config cuts its result; a config without tiles is cut into squares. */
static void tile_shape(const mg_run *run, mg_res res, int64_t *rows, int64_t *cols) {
    const gg_op op = res == MG_RES_Y ? GG_FORWARD : res == MG_RES_DW ? GG_DW : GG_DX;
    const gg_config *c = &run->configs[op];
    *rows = op == GG_DW ? c->block_n : c->block_m;
    *cols = op == GG_FORWARD ? c->block_n : c->block_k;
    if (!*rows || !*cols) *rows = *cols = 64;
}

/* Adds the differences of one row to the tiles that it crosses. */
static gg_status compare_row(mg_run *run, mg_res res, int64_t stored, int64_t cols, int64_t tile_cols,
                             uint16_t *rows[2], tile *tiles) {
    mg_executor *x = run->x;
    for (int set = 0; set < 2; set++) {
        const u16 *data = (const u16 *)mg_region_data(&x->results[set][res]) + stored * cols;
        gg_status status = mg_device_status(
            x, x->backend->ops->download(x->backend, rows[set], data, (size_t)cols * 2), "download failed");
        if (status != GG_OK) return status;
    }
    for (int64_t col = 0; col < cols; col++) {
        tile *t = &tiles[col / tile_cols];
        if (rows[0][col] == rows[1][col] || t->wrong++) continue;
        *t = (tile){1, stored, col, {rows[0][col], rows[1][col]}};
    }
    return GG_OK;
}

static gg_status note_tiles(mg_run *run, mg_res res, int32_t expert) {
    const layout l = layout_of(run, res, 0);
    const int32_t *row_map = mg_res_row_map(run, res), *m_sizes = run->data->inputs.m_sizes;
    int64_t tile_rows, tile_cols, begin = 0, rows = res == MG_RES_DW ? l.rows_per_slot : m_sizes[expert];
    for (int32_t e = 0; e < expert; e++) begin += res == MG_RES_DW ? l.rows_per_slot : m_sizes[e];
    tile_shape(run, res, &tile_rows, &tile_cols);
    const int64_t across = (l.cols + tile_cols - 1) / tile_cols, down = (rows + tile_rows - 1) / tile_rows;
    uint16_t *data = malloc((size_t)l.cols * 2 * sizeof *data), *pair[] = {data, data + l.cols};
    tile *tiles = malloc((size_t)across * sizeof *tiles);
    gg_status status = data && tiles ? GG_OK : GG_ERR_MEMORY;
    int64_t wrong = 0;
    char text[480] = "";
    for (int64_t i = 0; i < down && status == GG_OK; i++) {
        const int64_t end = (i + 1) * tile_rows < rows ? (i + 1) * tile_rows : rows;
        memset(tiles, 0, (size_t)across * sizeof *tiles);
        for (int64_t row = begin + i * tile_rows; row < begin + end && status == GG_OK; row++)
            status = compare_row(run, res, row_map ? row_map[row] : row, l.cols, tile_cols, pair, tiles);
        for (int64_t j = 0; j < across; j++) {
            const tile *t = &tiles[j];
            if (!t->wrong || wrong++ >= SHOWN_TILES) continue;
            const size_t used = strlen(text);
            snprintf(text + used, sizeof text - used,
                     "; tile (%lld, %lld): %lld wrong, [%lld, %lld] is %.9g, reference %.9g", (long long)i,
                     (long long)j, (long long)t->wrong, (long long)t->row, (long long)t->col,
                     value_of(run, t->bits[0]), value_of(run, t->bits[1]));
        }
    }
    if (status == GG_OK)
        mg_note(run->result, MG_FAILED, "expert %d: %lld of %lld tiles of %lld x %lld are wrong%s", expert,
                (long long)wrong, (long long)(down * across), (long long)tile_rows, (long long)tile_cols,
                text);
    free(data);
    free(tiles);
    return status;
}

gg_status mg_judge_hashed(mg_run *run, mg_res res) {
    mg_executor *x = run->x;
    const char *name = mg_res_name(res);
    const uint64_t *golden;
    size_t slots, first = 0;
    gg_status status = mg_golden_hashes(x->corpus, run->c->problem, run->c->dtype, golden_of(run, res),
                                        &golden, &slots, x->error);
    if (status != GG_OK) return status;
    const layout l = layout_of(run, res, 0);
    if (slots != l.slots || slots > MG_MAX_EXPERTS) {
        snprintf(x->error, sizeof x->error,
                 "golden/hashes.tsv has %zu hashes for '%s' of '%s', not %zu (at most %d)", slots, name,
                 run->c->problem->key, l.slots, MG_MAX_EXPERTS);
        return GG_ERR_IO;
    }
    if ((status = hash_result(run, res, 0)) != GG_OK) return status;
    mg_difference d = {.compared = (uint64_t)(l.rows * l.cols), .rows = l.rows, .cols = l.cols, .expert = -1};
    size_t wrong = count_wrong(x, golden, slots, &first);
    if (!wrong) {
        mg_judge_difference(run, res, &d, NULL);
        return GG_OK;
    }
    mg_note(run->result, MG_FAILED, "'%s' has a wrong hash for %zu of %zu experts, first for expert %zu",
            name, wrong, slots, first);
    if (res == MG_RES_DX_REDUCED) return judge_reduction(run);
    if (run_reference(run, res) != GG_OK || hash_result(run, res, 1) != GG_OK) {
        mg_note(run->result, MG_FAILED, "its wrong elements are not known: %s", x->error);
        return GG_OK;
    }
    if (count_wrong(x, golden, slots, &first))
        mg_note(run->result, MG_FAILED, "the reference kernel's '%s' has a wrong hash too", name);
    status = locate(run, res, &d);
    if (status != GG_OK) return status;
    note_counts(run, slots);
    mg_judge_difference(run, res, &d, NULL);
    return d.wrong ? note_tiles(run, res, d.expert) : GG_OK;
}
