/* execute_block.c: the life of a case of a whole MoE block: inputs drawn, launches into poisoned memory, every step
 * judged from the device's own input to it, the whole beside the golden, repeats. */
#include "block.h"
#include "block_judge.h"
#include "execute_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What one set of launches writes: the outputs, then the workspace. */
enum { WORKSPACE = MG_NUM_BLOCK_OUTPUTS, REGIONS };
_Static_assert((int)REGIONS + (int)GG_MOE_NUM_BUFFERS <= (int)MG_MAX_REPORTS,
               "a report for each region and buffer");

struct mg_block_memory {
    mg_region inputs[MG_NUM_BLOCK_INPUTS];
    uint64_t digests[MG_NUM_BLOCK_INPUTS];
    mg_region results[2][REGIONS];
    uint8_t *workspaces[2]; /* downloaded, of the first run and of the last */
    size_t capacity;        /* of each */
    gg_stream side;
};

struct mg_block_run {
    const mg_block *block;
    mg_block_way ways[2];
    const mg_block_way *way; /* of the launch under way */
    gg_moe_configs configs;
    gg_stream side; /* of the launch under way; NULL: none */
};

static mg_region *inputs(mg_run *run) { return run->x->block->inputs; }
static mg_region *results(mg_run *run, int set) { return run->x->block->results[set]; }
static bool has_backward(const mg_run *run) { return run->c->block_mode == MG_BLOCK_BACKWARD; }

static int64_t output_rows(const mg_run *run, int output) {
    const mg_block_shape shape = mg_block_output_shape(&run->block->way->p, output);
    if (!shape.cols) return 0;
    if (output == MG_BLOCK_Y) return shape.rows;
    return has_backward(run) ? shape.rows : 0;
}
static size_t result_bytes(const mg_run *run, int region) {
    if (region == WORKSPACE) return run->block->way->layout.bytes;
    return (size_t)(output_rows(run, region) * mg_block_output_shape(&run->block->way->p, region).cols) * 2;
}
static const char *result_name(const mg_run *run, int region) {
    return region == WORKSPACE ? "workspace" : mg_block_output_shape(&run->block->way->p, region).name;
}
/* Of the workspace, what the launches write that are done this way. */
static bool is_written(const mg_run *run, const mg_block_way *way, int buffer) {
    return way->p.T && way->layout.places[buffer].bytes && (has_backward(run) || buffer < GG_MOE_DY_EXPERT);
}

/* --- memory --- */

/* The inputs, then both sets of results; in lists comes what is moved. */
enum { ALL_REGIONS = MG_NUM_BLOCK_INPUTS + 2 * REGIONS };
_Static_assert((int)ALL_REGIONS < (int)MG_BLOCK_REGIONS, "room in every list of regions");

mg_region *mg_block_region(mg_executor *x, int number) {
    const int result = number - MG_NUM_BLOCK_INPUTS;
    if (number == ALL_REGIONS) return &x->moved;
    if (!x->block) return NULL;
    return result < 0 ? &x->block->inputs[number] : &x->block->results[result / REGIONS][result % REGIONS];
}

int mg_block_sizes(const mg_case *c, size_t bytes[MG_BLOCK_REGIONS]) {
    struct mg_block_run b = {.way = b.ways};
    mg_run run = {.c = c, .block = &b};
    char reason[GG_REASON_SIZE];
    /* with silu_and_mul by itself, which takes the more, whatever the device */
    if (mg_block_plan_ways(c, false, b.ways, reason) != GG_OK) return 0;
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS; i++) {
        const mg_block_shape shape = mg_block_input_shape(&b.way->p, i);
        bytes[i] = (size_t)(shape.rows * shape.cols) * 2;
    }
    for (int i = 0; i < 2 * REGIONS; i++) bytes[MG_NUM_BLOCK_INPUTS + i] = result_bytes(&run, i % REGIONS);
    bytes[ALL_REGIONS] = 0;
    for (int i = 0; i < WORKSPACE; i++)
        if (result_bytes(&run, i) > bytes[ALL_REGIONS]) bytes[ALL_REGIONS] = result_bytes(&run, i);
    if (bytes[ALL_REGIONS] > MG_MOVED_BYTES) bytes[ALL_REGIONS] = MG_MOVED_BYTES;
    return ALL_REGIONS + 1;
}

void mg_block_regions_free(mg_executor *x) {
    for (int i = 0; x->block && i < ALL_REGIONS; i++) mg_region_free(x, mg_block_region(x, i));
}

void mg_block_memory_free(mg_executor *x) {
    if (!x->block) return;
    mg_block_regions_free(x);
    if (x->block->side) x->backend->ops->stream_free(x->backend, x->block->side);
    for (int set = 0; set < 2; set++) free(x->block->workspaces[set]);
    free(x->block);
    x->block = NULL;
}

static gg_status reserve(mg_run *run) {
    mg_executor *x = run->x;
    if (!x->block && !(x->block = calloc(1, sizeof *x->block))) return GG_ERR_MEMORY;
    gg_status status = GG_OK;
    if (!x->block->side)
        status = mg_device_status(x, x->backend->ops->stream_new(x->backend, &x->block->side), "no stream");
    for (int set = 0; set < 2 && status == GG_OK; set++)
        for (int i = 0; i < REGIONS && status == GG_OK; i++)
            status = mg_region_reserve(x, &results(run, set)[i], result_bytes(run, i));
    const size_t bytes = run->block->ways[1].layout.bytes; /* the more of the two */
    if (status == GG_OK) status = mg_region_reserve(x, &results(run, 1)[WORKSPACE], bytes);
    if (bytes <= x->block->capacity || status != GG_OK) return status;
    x->block->capacity = bytes;
    for (int set = 0; set < 2; set++) {
        free(x->block->workspaces[set]);
        if (!(x->block->workspaces[set] = malloc(x->block->capacity))) {
            x->block->capacity = 0;
            return GG_ERR_MEMORY;
        }
    }
    return GG_OK;
}

/* --- inputs --- */

/* Digests of whole regions into board->hashes. */
static gg_status digest_inputs(mg_run *run) {
    mg_executor *x = run->x;
    gg_status status = mg_board_clear(x);
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS && status == GG_OK; i++) {
        const mg_region *region = &inputs(run)[i];
        const int64_t rows = (int64_t)(mg_region_total(region) / MG_GUARD);
        const hash_params params = {.data = (const u16 *)region->base,
                                    .hashes = (u64 *)&x->device_board->hashes[i],
                                    .rows = rows,
                                    .rows_per_slot = rows,
                                    .cols = MG_GUARD / 2};
        status = mg_launch_hash(x, &params);
    }
    return status == GG_OK ? mg_board_read(x) : status;
}

static gg_status place_inputs(mg_run *run, size_t shift) {
    mg_executor *x = run->x;
    const gg_backend_ops *ops = x->backend->ops;
    gg_status status = GG_OK;
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS && status == GG_OK; i++) {
        const mg_block_shape shape = mg_block_input_shape(&run->block->way->p, i);
        const mg_draw draw = mg_block_draw(run->block->block, i, x->options.user_seed);
        mg_region *region = &inputs(run)[i];
        if ((status = mg_region_reserve(x, region, (size_t)(shape.rows * shape.cols) * 2))) break;
        region->shift = shift;
        /* NaN: what reads past an end, and uses it, shows */
        status = mg_device_status(
            x, ops->fill(x->backend, region->base, 0xffffffffu, mg_region_total(region), NULL),
            "filling failed");
        const fill_params params = {.out = mg_region_data(region),
                                    .seed = draw.seed,
                                    .rows = shape.cols ? shape.rows : 0,
                                    .cols = (i32)shape.cols,
                                    .bits = draw.bits,
                                    .scale_log2 = draw.scale_log2,
                                    .dtype = run->block->way->p.dtype};
        if (status == GG_OK) status = mg_launch_fill(x, &params);
    }
    if (status == GG_OK) status = digest_inputs(run);
    if (status == GG_OK) memcpy(x->block->digests, x->board->hashes, sizeof x->block->digests);
    return status;
}

static gg_status verify_inputs(mg_run *run) {
    gg_status status = digest_inputs(run);
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS && status == GG_OK; i++)
        if (run->x->board->hashes[i] != run->x->block->digests[i])
            mg_note(run->result, MG_FAILED, "input '%s' or memory beside it was modified",
                    mg_block_input_shape(&run->block->way->p, i).name);
    return status;
}

/* --- launching --- */

static gg_moe_tensors tensors_of(mg_run *run, int set) {
    const mg_region *in = inputs(run), *out = results(run, set);
    gg_moe_tensors t = {
        .x = mg_region_data(&in[MG_BLOCK_X]),
        .gate = mg_region_data(&in[MG_BLOCK_GATE]),
        .gate_up = mg_region_data(&in[MG_BLOCK_GATE_UP]),
        .down = mg_region_data(&in[MG_BLOCK_DOWN]),
        .shared_gate_up = mg_region_data(&in[MG_BLOCK_SHARED_GATE_UP]),
        .shared_down = mg_region_data(&in[MG_BLOCK_SHARED_DOWN]),
        .y = mg_region_data(&out[MG_BLOCK_Y]),
    };
    if (!has_backward(run)) return t;
    t.dy = mg_region_data(&in[MG_BLOCK_DY]);
    t.dx = mg_region_data(&out[MG_BLOCK_DX]);
    t.d_gate = mg_region_data(&out[MG_BLOCK_D_GATE]);
    t.d_gate_up = mg_region_data(&out[MG_BLOCK_D_GATE_UP]);
    t.d_down = mg_region_data(&out[MG_BLOCK_D_DOWN]);
    t.d_shared_gate_up = mg_region_data(&out[MG_BLOCK_D_SHARED_GATE_UP]);
    t.d_shared_down = mg_region_data(&out[MG_BLOCK_D_SHARED_DOWN]);
    return t;
}

static gg_status launch_block(mg_run *run, int set, gg_stream stream, bool timed) {
    mg_executor *x = run->x;
    const gg_backend_ops *ops = x->backend->ops;
    const gg_moe_tensors tensors = tensors_of(run, set);
    void *workspace = mg_region_data(&results(run, set)[WORKSPACE]);
    float milliseconds = 0;
    gg_status status = timed ? mg_device_status(x, ops->timer_start(x->backend), "timer failed") : GG_OK;
    if (status != GG_OK) return status;
    status = gg_moe_forward(x->context, &run->block->way->p, &run->block->configs, &tensors, workspace,
                            stream, run->block->side);
    if (status == GG_OK && has_backward(run))
        status = gg_moe_backward(x->context, &run->block->way->p, &run->block->configs, &tensors, workspace,
                                 stream, run->block->side);
    if (status != GG_OK) {
        snprintf(x->error, sizeof x->error, "block: %.400s", gg_error(x->context));
        return status;
    }
    if (timed) status = mg_device_status(x, ops->timer_stop(x->backend, &milliseconds), "a kernel failed");
    if (timed && status == GG_OK) run->result->kernel_ms = milliseconds;
    return status;
}

static gg_status fill_block(mg_run *run, int set, gg_stream stream) {
    mg_executor *x = run->x;
    gg_status status = GG_OK;
    for (int i = 0; i < REGIONS && status == GG_OK; i++) {
        const mg_region *region = &results(run, set)[i];
        status =
            x->backend->ops->fill(x->backend, region->base, run->poison, mg_region_total(region), stream);
    }
    return mg_device_status(x, status, "filling failed");
}

/* A buffer of the workspace and what follows it up to the next, in bytes from its beginning: what is written, of which the
 * last 16 may be written in part, then poison. */
typedef struct stretch {
    size_t written, whole, end; /* whole: of `written`, to a multiple of 16 */
} stretch;

static stretch stretch_of(const mg_run *run, int buffer) {
    const gg_moe_layout *layout = &run->block->way->layout;
    const gg_moe_place *place = &layout->places[buffer];
    const size_t written = is_written(run, run->block->way, buffer) ? place->bytes : 0;
    const size_t next = buffer + 1 < GG_MOE_NUM_BUFFERS ? layout->places[buffer + 1].offset : layout->bytes;
    return (stretch){.written = written, .whole = written / 16 * 16, .end = next - place->offset};
}

/* Where the 16 bytes lie that a buffer of both sets has in part. */
static uint8_t *parts_of(mg_run *run, int buffer) {
    return (uint8_t *)mg_region_data(&run->x->moved) + (size_t)buffer * 32;
}

/* The second set's workspace beside the first's, as far as that has it. */
static gg_status check_workspace(mg_run *run) {
    mg_executor *x = run->x;
    const mg_block_way *ways[2] = {&run->block->ways[0], run->block->way};
    const uint8_t *sets[2] = {mg_region_data(&results(run, 0)[WORKSPACE]),
                              mg_region_data(&results(run, 1)[WORKSPACE])};
    gg_status status = mg_region_reserve(x, &x->moved, GG_MOE_NUM_BUFFERS * 32);
    for (int i = 0; i < GG_MOE_NUM_BUFFERS && status == GG_OK; i++) {
        const stretch s = stretch_of(run, i);
        const size_t part = s.written > s.whole ? 16 : 0;
        const uint8_t *now = sets[1] + ways[1]->layout.places[i].offset;
        const uint8_t *first =
            is_written(run, ways[0], i) ? sets[0] + ways[0]->layout.places[i].offset : NULL;
        check_params params = {.buffer = (const u16 *)(const void *)now,
                               .first_run = (const u16 *)(const void *)first,
                               .report = &x->device_board->reports[REGIONS + i],
                               .output_end = (i64)(s.whole / 16),
                               .chunks = (i64)((part ? s.whole : s.end) / 16),
                               .poison = run->poison};
        status = mg_launch_check(x, &params);
        if (!part || status != GG_OK) continue;
        params.buffer = (const u16 *)(const void *)(now + s.whole + part);
        params.output_end = 0;
        params.chunks = (i64)((s.end - s.whole - part) / 16);
        status = mg_launch_check(x, &params);
        for (int set = 0; set < 2 && status == GG_OK; set++)
            status =
                mg_device_status(x,
                                 x->backend->ops->copy(x->backend, parts_of(run, i) + 16 * set,
                                                       (set || !first ? now : first) + s.whole, part, NULL),
                                 "copy failed");
    }
    return status;
}

/* Poison, launch, guards, and from the second run on everything beside the first run's. */
static gg_status run_once(mg_run *run, int number, int set, bool timed) {
    mg_executor *x = run->x;
    run->poison = mg_poison_of(run, number);
    gg_status status = mg_board_clear(x);
    if (status == GG_OK) status = fill_block(run, set, NULL);
    if (status == GG_OK) status = mg_launch_soil(x);
    if (status == GG_OK)
        status = run->how ? mg_launch_perturbed(run, set, timed) : launch_block(run, set, NULL, timed);
    for (int i = 0; i < REGIONS && status == GG_OK; i++) {
        const mg_region *region = &results(run, set)[i], *first = &results(run, 0)[i];
        /* the workspace has poison in between */
        status = mg_check_region(x, region, number > 1 && i != WORKSPACE ? first : NULL, i, run->poison);
    }
    if (status == GG_OK && number > 1) status = check_workspace(run);
    return status == GG_OK ? mg_board_read(x) : status;
}

/* What the checks of the run just made have found. */
static void judge_reports(mg_run *run, int number) {
    for (int i = 0; i < REGIONS; i++) {
        const check_report *report = &run->x->board->reports[i];
        if (report->overwritten)
            mg_note(run->result, MG_FAILED, "run %d wrote outside '%s', in %llu places of 16 bytes", number,
                    result_name(run, i), (unsigned long long)report->overwritten);
        if (report->differing)
            mg_note(run->result, MG_FAILED,
                    "'%s' differs between runs 1 and %d%s%s in %llu places of 16 bytes", result_name(run, i),
                    number, run->how ? ": " : "", run->how ? mg_perturbation_name(run->how) : "",
                    (unsigned long long)report->differing);
    }
}

/* --- the workspace on the host --- */

static gg_status download_workspace(mg_run *run, int set) {
    mg_executor *x = run->x;
    return mg_device_status(x,
                            x->backend->ops->download(x->backend, x->block->workspaces[set],
                                                      mg_region_data(&results(run, set)[WORKSPACE]),
                                                      run->block->way->layout.bytes),
                            "download failed");
}

/* Between the buffers, and in those that the case does not use, the poison of the first run stays. */
static void judge_gaps(mg_run *run) {
    const uint8_t pattern[2] = {(uint8_t)(run->poison & 0xff), (uint8_t)(run->poison >> 8 & 0xff)};
    for (int i = 0; i < GG_MOE_NUM_BUFFERS; i++) {
        const uint8_t *bytes = run->x->block->workspaces[0] + run->block->way->layout.places[i].offset;
        const stretch s = stretch_of(run, i);
        bool overwritten = false;
        for (size_t at = s.written; at < s.end && !overwritten; at++)
            overwritten = bytes[at] != pattern[at & 1];
        if (overwritten)
            mg_note(run->result, MG_FAILED, "run 1 wrote behind '%s' in the workspace, where nothing is",
                    gg_moe_buffer_name(i));
    }
}

static const char *way_name(const mg_run *run) {
    return run->block->way == run->block->ways ? "" : ", silu_and_mul by itself";
}

/* What check_workspace has found, in the order of the steps. */
static gg_status judge_workspace(mg_run *run, int number) {
    mg_executor *x = run->x;
    const check_report *reports = x->board->reports + REGIONS;
    const uint8_t *parts;
    bool differs = false;
    gg_status status = mg_download(x, parts_of(run, 0), GG_MOE_NUM_BUFFERS * 32, &parts);
    for (int i = 0; i < GG_MOE_NUM_BUFFERS && status == GG_OK; i++) {
        const stretch s = stretch_of(run, i);
        const size_t part = s.written - s.whole;
        const uint8_t *first = parts + i * 32, *now = first + 16;
        bool overwritten = reports[i].overwritten > 0;
        for (size_t at = part; part && at < 16; at++)
            overwritten |= now[at] != (uint8_t)(run->poison >> 8 * (at & 1));
        if (overwritten)
            mg_note(run->result, MG_FAILED, "run %d wrote behind '%s' in the workspace, where nothing is",
                    number, gg_moe_buffer_name(i));
        if (differs || (!reports[i].differing && !memcmp(first, now, part))) continue;
        mg_note(run->result, MG_FAILED, "'%s' differs between runs 1 and %d%s%s%s", gg_moe_buffer_name(i),
                number, run->how ? ": " : "", run->how ? mg_perturbation_name(run->how) : "", way_name(run));
        differs = true; /* what follows differs with it */
    }
    return status;
}

/* Of everything a run wrote that run 1 wrote too. */
static gg_status digest_results(mg_run *run, int set, uint64_t *digest) {
    mg_executor *x = run->x;
    gg_status status = mg_board_clear(x);
    for (int i = 0; i < WORKSPACE && status == GG_OK; i++) {
        const int64_t rows = output_rows(run, i), cols = mg_block_output_shape(&run->block->way->p, i).cols;
        if (!rows) continue;
        const hash_params params = {.data = mg_region_data(&results(run, set)[i]),
                                    .hashes = (u64 *)&x->device_board->hashes[i],
                                    .rows = rows,
                                    .rows_per_slot = rows,
                                    .cols = (i32)cols};
        status = mg_launch_hash(x, &params);
    }
    if (status == GG_OK) status = mg_board_read(x);
    if (status != GG_OK) return status;
    *digest = XXH3_64bits(x->board->hashes, WORKSPACE * sizeof *x->board->hashes);
    for (int i = 0; i < GG_MOE_NUM_BUFFERS; i++) {
        const gg_moe_place *place = &run->block->way->layout.places[i];
        if (is_written(run, &run->block->ways[0], i))
            *digest = XXH3_64bits_withSeed(x->block->workspaces[set] + place->offset, place->bytes, *digest);
    }
    return GG_OK;
}

/* --- judging --- */

/* Rows are gathered on the device, for a download each would make the other workers' kernels wait as often. */
static gg_status read_output_rows(void *data, mg_block_output output, const int64_t *rows, int64_t count,
                                  uint16_t *out) {
    mg_run *run = data;
    mg_executor *x = run->x;
    const gg_backend_ops *ops = x->backend->ops;
    const size_t bytes = (size_t)mg_block_output_shape(&run->block->way->p, output).cols * 2;
    const uint8_t *from = mg_region_data(&results(run, 0)[output]);
    const int64_t room = (int64_t)(MG_MOVED_BYTES / bytes), most = count < room ? count : room;
    gg_status status = mg_region_reserve(x, &x->moved, (size_t)most * bytes);
    for (int64_t begin = 0, end; begin < count && status == GG_OK; begin = end) {
        end = count - begin < most ? count : begin + most;
        for (int64_t i = begin, next; i < end && status == GG_OK; i = next) { /* neighbours at once */
            for (next = i + 1; next < end && rows[next] == rows[next - 1] + 1;) next++;
            uint8_t *to = (uint8_t *)mg_region_data(&x->moved) + (size_t)(i - begin) * bytes;
            status = mg_device_status(
                x,
                ops->copy(x->backend, to, from + (size_t)rows[i] * bytes, (size_t)(next - i) * bytes, NULL),
                "copy failed");
        }
        if (status == GG_OK)
            status = mg_device_status(x,
                                      ops->download(x->backend, (uint8_t *)out + (size_t)begin * bytes,
                                                    mg_region_data(&x->moved), (size_t)(end - begin) * bytes),
                                      "download failed");
    }
    return status;
}

static gg_status judge(mg_run *run) {
    const mg_block_judged judged = {.block = run->block->block,
                                    .p = run->block->way->p,
                                    .backward = has_backward(run),
                                    .user_seed = run->x->options.user_seed,
                                    .workspace = run->x->block->workspaces[0],
                                    .threads = run->x->options.threads,
                                    .read_output_rows = read_output_rows,
                                    .data = run};
    return mg_block_judge(&judged, run->result, run->x->error);
}

/* --- repeats --- */

/* Of repeat `number` (from 2): those asked for in turn, unasked none, then few multiprocessors. An operand of the other sign
 * changes more than signs, and rows in other experts are what blocks do by themselves. */
static mg_perturbation perturbation_of(const mg_run *run, int number) {
    mg_perturbation all[MG_NUM_PERTURBATIONS] = {MG_PERTURB_NONE, MG_PERTURB_SMS};
    int count = 0;
    for (mg_perturbation p = MG_PERTURB_NONE + 1; p < MG_NUM_PERTURBATIONS; p++)
        if (run->x->perturb & 1u << p && p != MG_PERTURB_NEGATE && p != MG_PERTURB_BATCH) all[count++] = p;
    return all[(number - 2) % (count ? count : 2)];
}

static gg_status repeat_once(mg_run *run, int number) {
    mg_executor *x = run->x;
    uint64_t digest = run->result->digest;
    run->how = perturbation_of(run, number);
    run->block->side = number % 2 ? NULL : x->block->side; /* which must not show either */
    run->block->way = &run->block->ways[number % 3 == 2];
    const size_t shift = run->how == MG_PERTURB_BASE ? (size_t)(16 * (2 * (number % 8) + 1)) : 0;
    gg_status status = GG_OK;
    if (shift != inputs(run)[MG_BLOCK_X].shift) {
        status = verify_inputs(run); /* they are about to be overwritten */
        if (status == GG_OK) status = place_inputs(run, shift);
    }
    if (status == GG_OK)
        status = mg_region_reserve(x, &results(run, 1)[WORKSPACE], result_bytes(run, WORKSPACE));
    for (int i = 0; i < REGIONS; i++) results(run, 1)[i].shift = shift;
    const mg_verdict before = run->result->verdict;
    if (status == GG_OK) status = run_once(run, number, 1, number == x->options.repeats);
    if (status == GG_OK) status = judge_workspace(run, number); /* steps before what is made of them */
    if (status != GG_OK) return status;
    judge_reports(run, number);
    run->result->repeats++;
    const bool equal = run->result->verdict == before;
    if (!equal) status = download_workspace(run, 1);
    if (!equal && status == GG_OK) status = digest_results(run, 1, &digest);
    if (status == GG_OK) mg_keep_outcome(run, equal, digest);
    return status;
}

/* --- the case --- */

static gg_status tune(mg_run *run) {
    mg_executor *x = run->x;
    struct mg_block_run *b = run->block;
    const gg_moe_tensors tensors = tensors_of(run, 0);
    void *workspace = mg_region_data(&results(run, 0)[WORKSPACE]);
    size_t measured = 0;
    gg_status status = GG_OK;
    for (int turn = 0; turn < 2 && status == GG_OK; turn++)
        status = gg_moe_autotune(x->context, &b->way->p, &tensors, workspace, x->options.autotune_limit,
                                 &b->configs, &measured);
    if (status != GG_OK)
        snprintf(x->error, sizeof x->error, "autotune: %.400s", gg_error(x->context));
    else if (measured)
        mg_note(run->result, MG_FAILED, "autotune measured %zu configs again", measured);
    return status;
}

static void choose_configs(mg_run *run) {
    struct mg_block_run *b = run->block;
    gg_moe_default_configs(&b->way->p, mg_executor_device(run->x), &b->configs);
    if (run->x->subject != &mg_subject_reference) return;
    for (int gemm = 0; gemm < GG_MOE_NUM_GEMMS; gemm++)
        for (int op = 0; op < GG_NUM_OPS; op++)
            b->configs.of[gemm][op] = (gg_config){.mainloop = GG_REFERENCE};
}

static gg_status run_block(mg_run *run) {
    mg_executor *x = run->x;
    mg_result *result = run->result;
    gg_status status = reserve(run);
    if (status == GG_OK) status = place_inputs(run, 0);
    if (status != GG_OK) return status;
    for (int i = 0; i < REGIONS; i++) results(run, 0)[i].shift = 0;
    choose_configs(run);
    if (run->c->function.autotune && x->subject == &mg_subject_moegemm && (status = tune(run))) return status;
    if ((status = run_once(run, 1, 0, x->options.repeats < 2)) != GG_OK) return status;
    result->repeats = 1;
    judge_reports(run, 1);
    if ((status = download_workspace(run, 0)) != GG_OK) return status;
    if ((status = digest_results(run, 0, &result->digest)) != GG_OK) return status;
    mg_keep_outcome(run, true, result->digest);
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS; i++)
        result->data = mg_splitmix64(result->data ^ x->block->digests[i]);
    if ((status = verify_inputs(run)) != GG_OK) return status;
    if ((status = judge(run)) != GG_OK) return status;
    judge_gaps(run);
    for (int number = 2; number <= x->options.repeats && status == GG_OK && result->verdict == MG_PASSED;
         number++)
        status = repeat_once(run, number);
    run->how = MG_PERTURB_NONE;
    run->block->way = run->block->ways;
    return status == GG_OK ? verify_inputs(run) : status;
}

gg_status mg_run_block(mg_run *run) {
    struct mg_block_run b = {.block = run->c->block, .way = b.ways};
    mg_executor *x = run->x;
    char reason[GG_REASON_SIZE];
    if (x->subject != &mg_subject_moegemm && x->subject != &mg_subject_reference) {
        mg_skip(run->result, "subject '%s' has no MoE block", x->subject->name);
        return GG_OK;
    }
    const bool fuses = x->subject == &mg_subject_moegemm && gg_moe_supports_fuse_silu(mg_executor_device(x));
    gg_status status = mg_block_plan_ways(run->c, fuses, b.ways, reason);
    if (status != GG_OK) {
        mg_note(run->result, MG_FAILED, "the block is refused: %s", reason);
        return GG_OK;
    }
    run->block = &b;
    run->launch = launch_block;
    run->fill = fill_block;
    run->result->kernel = x->identity;
    status = run_block(run);
    x->placed_problem = NULL;
    run->block = NULL;
    return status;
}
