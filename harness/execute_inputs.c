/* execute_inputs.c: inputs on the device: placed between guards of NaN, digested, and checked after every
 * case. */
#include "execute_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A row of 4 KiB, which divides every region: digests cover guards too. */
enum { DIGEST_COLS = MG_GUARD / sizeof(uint16_t) };

const char *mg_input_name(mg_input input) {
    static const char *const names[MG_NUM_INPUTS] = {
#define X(name, text) [name] = text,
        MG_INPUTS(X)
#undef X
    };
    return names[input];
}

typedef struct shape {
    int64_t rows, cols;
    size_t element; /* bytes */
} shape;

static shape shape_of(const mg_problem *p, mg_input input) {
    const int64_t x_rows = p->gemm == GG_GEMM_FIRST ? p->T : p->M;
    const shape shapes[MG_NUM_INPUTS] = {
        [MG_IN_X] = {x_rows, p->K, 2},
        [MG_IN_X_EXPERT] = {p->M, p->K, 2},
        [MG_IN_W] = {(int64_t)p->E * p->N, p->K, 2},
        [MG_IN_DY] = {p->M, p->N, 2},
        [MG_IN_DY_EXPERT] = {p->M, p->N, 2},
        [MG_IN_M_SIZES] = {p->E, 1, 4},
        [MG_IN_GATHER] = {p->M, 1, 4},
        [MG_IN_WEIGHTS] = {p->M, 1, 4},
        [MG_IN_ROW_EXPERT] = {p->M, 1, 4},
    };
    return shapes[input];
}

size_t mg_input_bytes(const mg_problem *problem, mg_input input) {
    const shape s = shape_of(problem, input);
    return (size_t)(s.rows * s.cols) * s.element;
}

/* How an input comes from the corpus. */
typedef struct origin {
    const void *host;   /* NULL: drawn on the device */
    const char *tensor; /* to be drawn */
    int divisor;        /* not 0: row i is row gather_indices[i] / divisor of the canonical tensor */
} origin;

static origin origin_of(const mg_data *data, mg_input input) {
    const mg_inputs *in = &data->inputs;
    const origin origins[MG_NUM_INPUTS] = {
        [MG_IN_X] = {in->x, "x", 0},
        [MG_IN_X_EXPERT] = {in->x, "x", data->problem->topk},
        [MG_IN_W] = {in->w, "w", 0},
        [MG_IN_DY] = {in->dy, "dy", 0},
        [MG_IN_DY_EXPERT] = {in->dy, "dy", 1},
        [MG_IN_M_SIZES] = {.host = in->m_sizes},
        [MG_IN_GATHER] = {.host = in->gather_indices},
        [MG_IN_WEIGHTS] = {.host = in->topk_weights},
        [MG_IN_ROW_EXPERT] = {.host = data->row_expert},
    };
    return origins[input];
}

static gg_status draw(mg_executor *x, const mg_data *data, mg_input input, origin from, shape s) {
    mg_draw d = mg_tensor_draw(data->problem, data->cls, from.tensor, x->options.user_seed);
    const fill_params params = {.out = mg_region_data(&x->inputs[input]),
                                .row_map = from.divisor ? mg_region_data(&x->inputs[MG_IN_GATHER]) : NULL,
                                .seed = d.seed,
                                .rows = s.rows,
                                .cols = (i32)s.cols,
                                .row_divisor = from.divisor,
                                .bits = d.bits,
                                .scale_log2 = d.scale_log2,
                                .dtype = data->dtype};
    return mg_launch_fill(x, &params);
}

static gg_status upload(mg_executor *x, const mg_region *region, const void *host) {
    return mg_device_status(
        x, x->backend->ops->upload(x->backend, mg_region_data(region), host, region->bytes), "upload failed");
}

static gg_status upload_gathered(mg_executor *x, const mg_data *data, const mg_region *region, origin from,
                                 shape s) {
    size_t row_bytes = (size_t)s.cols * s.element;
    uint8_t *rows = malloc(region->bytes + 1);
    if (!rows) {
        snprintf(x->error, sizeof x->error, "out of memory for %zu bytes", region->bytes);
        return GG_ERR_MEMORY;
    }
    for (int64_t i = 0; i < s.rows; i++) {
        int64_t source = data->inputs.gather_indices[i] / from.divisor;
        memcpy(rows + (size_t)i * row_bytes, (const uint8_t *)from.host + (size_t)source * row_bytes,
               row_bytes);
    }
    gg_status status = upload(x, region, rows);
    free(rows);
    return status;
}

static gg_status place(mg_executor *x, const mg_data *data, mg_input input) {
    const gg_backend_ops *ops = x->backend->ops;
    mg_region *region = &x->inputs[input];
    shape s = shape_of(data->problem, input);
    origin from = origin_of(data, input);
    gg_status status = mg_region_reserve(x, region, (size_t)(s.rows * s.cols) * s.element);
    if (status != GG_OK) return status;
    region->shift = x->shift;
    /* NaN in every type: what reads past an end, and uses it, shows */
    status = ops->fill(x->backend, region->base, 0xffffffffu, mg_region_total(region), NULL);
    if (status != GG_OK) return mg_device_status(x, status, "filling failed");
    if (!from.host) return draw(x, data, input, from, s);
    return from.divisor ? upload_gathered(x, data, region, from, s) : upload(x, region, from.host);
}

/* Digests of whole regions into board->hashes[input]. */
static gg_status digest(mg_executor *x, unsigned inputs) {
    gg_status status = mg_board_clear(x);
    for (int i = 0; i < MG_NUM_INPUTS && status == GG_OK; i++) {
        if (!(inputs & 1u << i)) continue;
        const int64_t rows = (int64_t)(mg_region_total(&x->inputs[i]) / MG_GUARD);
        const hash_params params = {.data = (const u16 *)x->inputs[i].base,
                                    .hashes = (u64 *)&x->device_board->hashes[i],
                                    .rows = rows,
                                    .rows_per_slot = rows,
                                    .cols = DIGEST_COLS};
        status = mg_launch_hash(x, &params);
    }
    return status == GG_OK ? mg_board_read(x) : status;
}

/* Odd multiples of 16 for one problem, class and type, multiples of 256 for another. What is measured is left alone. */
size_t mg_home_shift(const mg_run *run) {
    const mg_case *c = run->c;
    const uint64_t draw =
        XXH3_64bits_withSeed(c->problem->key, strlen(c->problem->key), 2u * c->cls + c->dtype);
    return c->function.autotune || draw & 1 ? 0 : 16 * (2 * (draw >> 1 & 7) + 1);
}

gg_status mg_inputs_place(mg_run *run, unsigned inputs) {
    mg_executor *x = run->x;
    const mg_data *data = run->data;
    unsigned fresh = 0;
    if (x->placed_problem != data->problem || x->placed_class != data->cls ||
        x->placed_dtype != data->dtype) {
        memset(x->placed, 0, sizeof x->placed);
        x->shift = mg_home_shift(run);
        x->placed_problem = data->problem;
        x->placed_class = data->cls;
        x->placed_dtype = data->dtype;
    }
    const unsigned gathered = 1u << MG_IN_X_EXPERT | 1u << MG_IN_DY_EXPERT;
    if (inputs & gathered && data->problem->store == MG_STORE_HASH) inputs |= 1u << MG_IN_GATHER;
    for (int i = 0; i < MG_NUM_INPUTS; i++) {
        if (!(inputs & 1u << i) || x->placed[i]) continue;
        gg_status status = place(x, data, (mg_input)i);
        if (status != GG_OK) return status;
        fresh |= 1u << i;
    }
    if (!fresh) return GG_OK;
    gg_status status = digest(x, fresh);
    for (int i = 0; i < MG_NUM_INPUTS && status == GG_OK; i++)
        if (fresh & 1u << i) {
            x->digests[i] = x->board->hashes[i];
            x->placed[i] = true;
        }
    return status;
}

/* Says where a 16-byte chunk of a region differs from what it was; offset in bytes from the tensor's start.
 */
static void note_chunk(mg_run *run, mg_input input, int64_t offset, const uint8_t now[16],
                       const uint8_t before[16]) {
    const char *name = mg_input_name(input);
    const mg_region *region = &run->x->inputs[input];
    const shape s = shape_of(run->c->problem, input);
    int i = 0;
    while (i < 15 && now[i] == before[i]) i++;
    offset += i;
    if (offset < 0 || offset >= (int64_t)region->bytes) {
        const char *side = offset < 0 ? "before" : "past the end of";
        int64_t distance = offset < 0 ? -offset : offset - (int64_t)region->bytes;
        mg_note(run->result, MG_FAILED, "memory %s input '%s' was written, at byte %lld", side, name,
                (long long)distance);
        return;
    }
    int64_t index = offset / (int64_t)s.element;
    uint32_t values[2] = {0};
    memcpy(&values[0], before + i / s.element * s.element, s.element);
    memcpy(&values[1], now + i / s.element * s.element, s.element);
    mg_note(run->result, MG_FAILED, "input '%s' was modified: [%lld, %lld] was 0x%0*x and is 0x%0*x", name,
            (long long)(index / s.cols), (long long)(index % s.cols), (int)s.element * 2, values[0],
            (int)s.element * 2, values[1]);
}

/* Keeps a modified input aside, places it anew, and finds the first difference between the two. */
static gg_status note_modified(mg_run *run, mg_input input) {
    mg_executor *x = run->x;
    const gg_backend_ops *ops = x->backend->ops;
    mg_region *region = &x->inputs[input], *aside = &x->moved; /* free between launches */
    const size_t total = mg_region_total(region);
    gg_status status = mg_region_reserve(x, aside, region->bytes);
    x->placed[input] = false; /* whatever happens: the next case must not see it */
    if (status == GG_ERR_MEMORY) {
        mg_note(run->result, MG_FAILED, "input '%s' or memory beside it was modified", mg_input_name(input));
        return GG_OK;
    }
    if (status == GG_OK)
        status =
            mg_device_status(x, ops->copy(x->backend, aside->base, region->base, total, NULL), "copy failed");
    if (status == GG_OK) status = mg_inputs_place(run, 1u << input);
    if (status == GG_OK) status = mg_board_clear(x);
    if (status != GG_OK) return status;

    const check_params params = {.buffer = (const u16 *)aside->base,
                                 .first_run = (const u16 *)region->base,
                                 .report = &x->device_board->reports[0],
                                 .output_end = (i64)(total / 16),
                                 .chunks = (i64)(total / 16)};
    status = mg_launch_check(x, &params);
    if (status == GG_OK) status = mg_board_read(x);
    if (status != GG_OK) return status;
    const uint64_t first = x->board->reports[0].first_differing;
    if (first == ~0ull) {
        mg_note(run->result, MG_FAILED, "input '%s' changed while it was read", mg_input_name(input));
        return GG_OK;
    }
    uint8_t now[16], before[16];
    status = ops->download(x->backend, now, aside->base + first * 16, sizeof now);
    if (status == GG_OK) status = ops->download(x->backend, before, region->base + first * 16, sizeof before);
    if (status == GG_OK) note_chunk(run, input, (int64_t)(first * 16 - mg_region_begin(region)), now, before);
    return mg_device_status(x, status, "download failed");
}

static unsigned placed_inputs(const mg_executor *x) {
    unsigned placed = 0;
    for (int i = 0; i < MG_NUM_INPUTS; i++) placed |= (unsigned)x->placed[i] << i;
    return placed;
}

gg_status mg_inputs_verify(mg_run *run) {
    mg_executor *x = run->x;
    const unsigned placed = placed_inputs(x);
    unsigned modified = 0;
    gg_status status = digest(x, placed);
    for (int i = 0; i < MG_NUM_INPUTS && status == GG_OK; i++)
        if (placed & 1u << i && x->board->hashes[i] != x->digests[i]) modified |= 1u << i;
    for (int i = 0; i < MG_NUM_INPUTS && status == GG_OK; i++)
        if (modified & 1u << i) status = note_modified(run, (mg_input)i);
    return status;
}

/* A piece at a time by way of another place, because the two overlap; those first that others would overwrite. Then the
 * guards: what stays of the tensor in them is NaN again. */
static gg_status move(mg_executor *x, mg_region *region, size_t shift) {
    const gg_backend_ops *ops = x->backend->ops;
    const mg_region before = *region;
    const size_t pieces = (region->bytes + MG_MOVED_BYTES - 1) / MG_MOVED_BYTES;
    gg_status status = GG_OK;
    region->shift = shift;
    uint8_t *from = mg_region_data(&before), *to = mg_region_data(region);
    for (size_t i = 0; i < pieces && status == GG_OK; i++) {
        const size_t at = (to < from ? i : pieces - 1 - i) * MG_MOVED_BYTES, left = region->bytes - at;
        const size_t bytes = left < MG_MOVED_BYTES ? left : MG_MOVED_BYTES;
        status = ops->copy(x->backend, x->moved.base, from + at, bytes, NULL);
        if (status == GG_OK) status = ops->copy(x->backend, to + at, x->moved.base, bytes, NULL);
    }
    const size_t begin = mg_region_begin(region), end = begin + region->bytes;
    if (status == GG_OK) status = ops->fill(x->backend, region->base, 0xffffffffu, begin, NULL);
    if (status == GG_OK)
        status = ops->fill(x->backend, region->base + end, 0xffffffffu, mg_region_total(region) - end, NULL);
    return mg_device_status(x, status, "copy failed");
}

gg_status mg_inputs_move(mg_run *run, size_t shift) {
    mg_executor *x = run->x;
    const unsigned placed = placed_inputs(x);
    size_t piece = 0;
    if (x->shift == shift) return GG_OK;
    x->shift = shift;
    for (int i = 0; i < MG_NUM_INPUTS; i++)
        if (placed & 1u << i && x->inputs[i].bytes > piece) piece = x->inputs[i].bytes;
    piece = piece < MG_MOVED_BYTES ? piece : MG_MOVED_BYTES;
    gg_status status = mg_region_reserve(x, &x->moved, piece);
    if (status != GG_OK) { /* no room for that: they are made anew */
        memset(x->placed, 0, sizeof x->placed);
        return mg_inputs_place(run, run->inputs);
    }
    for (int i = 0; i < MG_NUM_INPUTS && status == GG_OK; i++)
        if (placed & 1u << i) status = move(x, &x->inputs[i], shift);
    if (status == GG_OK) status = digest(x, placed);
    if (status != GG_OK) memset(x->placed, 0, sizeof x->placed);
    for (int i = 0; i < MG_NUM_INPUTS && status == GG_OK; i++)
        if (placed & 1u << i) x->digests[i] = x->board->hashes[i];
    return status;
}
