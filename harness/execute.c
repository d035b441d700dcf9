/* execute.c: a case's life, from its data on the device to its verdict. */
#include "execute_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* --- verdicts --- */

static int severity(mg_verdict verdict) {
    return verdict == MG_ERROR ? 3 : verdict == MG_FAILED ? 2 : verdict == MG_MISTRUSTED;
}

void mg_note(mg_result *result, mg_verdict verdict, const char *format, ...) {
    size_t used = strlen(result->message);
    va_list arguments;
    va_start(arguments, format);
    if (used && used + 1 < sizeof result->message) result->message[used++] = '\n';
    vsnprintf(result->message + used, sizeof result->message - used, format, arguments);
    va_end(arguments);
    if (severity(verdict) > severity(result->verdict)) result->verdict = verdict;
}

void mg_skip(mg_result *result, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->message, sizeof result->message, format, arguments);
    va_end(arguments);
    result->verdict = MG_SKIPPED;
}

/* --- opening --- */

/* What perturbations need, and what the ledger asks for. */
static gg_status set_up(mg_executor *x) {
    const gg_backend_ops *ops = x->backend->ops;
    gg_status status = mg_identify(x);
    x->perturb = x->options.perturb;
    if (!ops->capture_begin) x->perturb &= ~(1u << MG_PERTURB_GRAPH);
    for (int i = 0; i < 2 && x->perturb && status == GG_OK; i++)
        status = mg_device_status(x, ops->stream_new(x->backend, &x->streams[i]), "no stream");
    return status;
}

gg_status mg_executor_open(mg_executor **out, const mg_execute_options *options, char error[MG_ERROR_SIZE]) {
    const gg_options open = {.backend = options->backend,
                             .device = options->device,
                             .cache_dir = options->cache_dir,
                             .debug = options->debug};
    char goldens[GG_PATH_SIZE + 16];
    mg_executor *x = *out = calloc(1, sizeof *x);
    gg_status status = GG_ERR_MEMORY;
    if (!x) {
        snprintf(error, MG_ERROR_SIZE, "out of memory");
        goto out;
    }
    x->options = *options;
    if ((status = mg_subject_find(options->subject ? options->subject : "moegemm", &x->subject, error)))
        goto out;
    if ((status = gg_open(&x->context, &open))) {
        const char *detail = x->context ? gg_error(x->context) : "";
        snprintf(error, MG_ERROR_SIZE, "backend '%s' does not open: %.400s",
                 options->backend ? options->backend : "any", detail[0] ? detail : gg_status_string(status));
        goto out;
    }
    x->backend = gg_context_backend(x->context);
    snprintf(goldens, sizeof goldens, "%s/golden", gg_context_cache_dir(x->context));
    if ((status = mg_corpus_open(&x->corpus, options->golden_dir, goldens, error))) goto out;
    if ((status = mg_board_new(x)) || (status = set_up(x)))
        snprintf(error, MG_ERROR_SIZE, "%s", x->error[0] ? x->error : gg_status_string(status));
out:
    if (status != GG_OK) {
        mg_executor_close(x);
        *out = NULL;
    }
    return status;
}

void mg_regions_free(mg_executor *x) {
    for (int i = 0; i < MG_NUM_INPUTS; i++) mg_region_free(x, &x->inputs[i]);
    for (int i = 0; i < MG_NUM_RESULTS; i++) {
        mg_region_free(x, &x->results[0][i]);
        mg_region_free(x, &x->results[1][i]);
    }
    mg_region_free(x, &x->workspace);
    mg_region_free(x, &x->kept);
    mg_block_regions_free(x);
    mg_region_free(x, &x->moved);
    x->placed_problem = NULL;
    memset(x->placed, 0, sizeof x->placed);
}

void mg_executor_close(mg_executor *x) {
    if (!x) return;
    if (x->backend) {
        mg_regions_free(x);
        mg_block_memory_free(x);
        mg_board_free(x);
        for (int i = 0; i < 2; i++)
            if (x->streams[i]) x->backend->ops->stream_free(x->backend, x->streams[i]);
    }
    mg_corpus_close(x->corpus);
    if (x->context) gg_close(x->context);
    mg_data_cache_free(&x->cache);
    free(x->download);
    free(x);
}

const gg_device *mg_executor_device(const mg_executor *x) { return gg_get_device(x->context); }

/* --- what a case consists of --- */

static bool reduces(const mg_case *c) {
    return c->function.autograd && c->fusions & GG_PERMUTE_X && c->problem->topk > 1;
}

static mg_input x_input(const mg_case *c) {
    bool gathered = c->problem->gemm == GG_GEMM_FIRST && !(c->fusions & GG_PERMUTE_X);
    return gathered ? MG_IN_X_EXPERT : MG_IN_X;
}
static mg_input dy_input(const mg_case *c) { return c->fusions & GG_PERMUTE_Y ? MG_IN_DY : MG_IN_DY_EXPERT; }

/* The search may try whatever a workspace allows; of a manual case only its own op copies rows. */
static size_t workspace_of(const mg_case *c, gg_op op) {
    const gg_problem problem = mg_case_problem(c, op);
    const bool wanted = c->function.autotune || (c->config.copy_rows && op == c->function.op);
    return wanted ? gg_workspace_bytes(&problem) : 0;
}

gg_tensors mg_run_tensors(const mg_run *run, gg_op op, int set) {
    const mg_case *c = run->c;
    const mg_region *in = run->x->inputs, *out = run->x->results[set];
    gg_tensors t = {.m_sizes = mg_region_data(&in[MG_IN_M_SIZES])};
    if (op != GG_DX) t.x = mg_region_data(&in[x_input(c)]);
    if (op != GG_DW) t.w = mg_region_data(&in[MG_IN_W]);
    if (op != GG_FORWARD) t.dy = mg_region_data(&in[dy_input(c)]);
    if (op == GG_FORWARD) t.y = mg_region_data(&out[MG_RES_Y]);
    if (op == GG_DX) t.dx = mg_region_data(&out[MG_RES_DX]);
    if (op == GG_DW) t.dw = mg_region_data(&out[MG_RES_DW]);
    if (c->fusions & (GG_PERMUTE_X | GG_PERMUTE_Y)) t.gather_indices = mg_region_data(&in[MG_IN_GATHER]);
    if (c->fusions & GG_FUSE_MUL_POST && op == GG_FORWARD)
        t.topk_weights = mg_region_data(&in[MG_IN_WEIGHTS]);
    t.workspace_bytes = workspace_of(c, op);
    if (t.workspace_bytes) t.workspace = mg_region_data(&run->x->workspace);
    return t;
}

void mg_list_tensors(mg_run *run) {
    static const mg_res result_of[GG_NUM_OPS] = {
        [GG_FORWARD] = MG_RES_Y, [GG_DX] = MG_RES_DX, [GG_DW] = MG_RES_DW};
    const mg_case *c = run->c;
    run->inputs = 1u << MG_IN_M_SIZES;
    for (size_t i = 0; i < run->num_ops; i++) {
        gg_op op = run->ops[i];
        if (op != GG_DX) run->inputs |= 1u << x_input(c);
        if (op != GG_DW) run->inputs |= 1u << MG_IN_W;
        if (op != GG_FORWARD) run->inputs |= 1u << dy_input(c);
        run->results |= 1u << result_of[op];
        const size_t workspace = workspace_of(c, op);
        if (workspace > run->workspace) run->workspace = workspace;
    }
    if (c->fusions & (GG_PERMUTE_X | GG_PERMUTE_Y)) run->inputs |= 1u << MG_IN_GATHER;
    if (c->fusions & GG_FUSE_MUL_POST) run->inputs |= 1u << MG_IN_WEIGHTS;
    if (c->problem->store == MG_STORE_HASH) run->inputs |= 1u << MG_IN_ROW_EXPERT;
    if (reduces(c)) run->results |= 1u << MG_RES_DX_REDUCED;
}

/* --- launches --- */

gg_status mg_reserve_results(mg_run *run, int set) {
    gg_status status = run->workspace ? mg_region_reserve(run->x, &run->x->workspace, run->workspace) : GG_OK;
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++) {
        int64_t rows, cols;
        mg_res_shape(run->c->problem, (mg_res)i, &rows, &cols);
        if (run->results & 1u << i)
            status =
                mg_region_reserve(run->x, &run->x->results[set][i], (size_t)(rows * cols) * sizeof(uint16_t));
    }
    return status;
}

void mg_shift_results(mg_run *run, int set, size_t shift, size_t workspace) {
    for (int i = 0; i < MG_NUM_RESULTS; i++) run->x->results[set][i].shift = shift;
    run->x->workspace.shift = workspace;
}

static gg_status poison(mg_run *run, const mg_region *region, gg_stream stream) {
    gg_backend *backend = run->x->backend;
    return backend->ops->fill(backend, region->base, run->poison, mg_region_total(region), stream);
}

/* Guards and results get the same pattern, so one fill does both; the workspace too, so that what was copied before is
 * not there any more. */
gg_status mg_poison_results(mg_run *run, int set, gg_stream stream) {
    gg_status status = run->workspace ? poison(run, &run->x->workspace, stream) : GG_OK;
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++)
        if (run->results & 1u << i) status = poison(run, &run->x->results[set][i], stream);
    return mg_device_status(run->x, status, "filling failed");
}

static gg_status check_results(mg_run *run, int set, bool against_first) {
    mg_executor *x = run->x;
    gg_status status =
        run->workspace ? mg_check_region(x, &x->workspace, NULL, MG_WORKSPACE_REPORT, run->poison) : GG_OK;
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++) {
        if (!(run->results & 1u << i)) continue;
        const mg_region *region = &x->results[set][i];
        const mg_region *first = &x->results[0][i];
        status = mg_check_region(x, region, against_first ? first : NULL, i, run->poison);
    }
    return status;
}

gg_status mg_launch_ops(mg_run *run, int set, gg_stream stream, bool timed) {
    mg_executor *x = run->x;
    const mg_case *c = run->c;
    const gg_backend_ops *ops = x->backend->ops;
    char reason[GG_REASON_SIZE] = "";
    for (size_t i = 0; i < run->num_ops; i++) {
        const gg_op op = run->ops[i];
        const bool time_this = timed && op == c->function.op;
        const gg_problem problem = mg_case_problem(c, op);
        const gg_tensors tensors = mg_run_tensors(run, op, set);
        gg_status status = time_this ? ops->timer_start(x->backend) : GG_OK;
        if (status != GG_OK) return mg_device_status(x, status, "timer failed");
        status = x->subject->launch(x->context, &problem, &run->configs[op], &tensors, stream, reason);
        if (status != GG_OK) {
            snprintf(x->error, sizeof x->error, "%s: %s", gg_op_name(op),
                     reason[0] ? reason : gg_status_string(status));
            return status;
        }
        float milliseconds = 0;
        if (time_this && (status = ops->timer_stop(x->backend, &milliseconds)) != GG_OK)
            return mg_device_status(x, status, "a kernel failed");
        if (time_this) run->result->kernel_ms = milliseconds;
    }
    if (!reduces(c)) return GG_OK;
    const mg_problem *p = c->problem;
    const mg_region *results = x->results[set];
    gg_status (*reduce)(gg_context *, gg_dtype, int64_t, int32_t, int32_t, const void *, void *, gg_stream,
                        char *) =
        x->subject->reduce_topk ? x->subject->reduce_topk : mg_subject_moegemm.reduce_topk;
    gg_status status = reduce(x->context, c->dtype, p->T, p->topk, p->K, mg_region_data(&results[MG_RES_DX]),
                              mg_region_data(&results[MG_RES_DX_REDUCED]), stream, reason);
    if (status != GG_OK)
        snprintf(x->error, sizeof x->error, "reduction: %s", reason[0] ? reason : gg_status_string(status));
    return status;
}

/* The sign of the huge number is another in each such run. */
uint32_t mg_poison_of(const mg_run *run, int number) {
    const uint32_t sign = (run->draw >> 32 ^ (uint64_t)number / 2) & 1 ? 0x8000 : 0;
    const uint32_t half = number == 1 ? MG_POISON_FIRST : number % 2 ? MG_POISON_ODD | sign : MG_POISON_EVEN;
    return half << 16 | half;
}

gg_status mg_run_once(mg_run *run, int number, int set, bool against_first, bool timed) {
    run->poison = mg_poison_of(run, number);
    gg_status status = mg_board_clear(run->x);
    if (status == GG_OK) status = mg_poison_results(run, set, NULL);
    if (status == GG_OK) status = mg_launch_soil(run->x);
    if (status == GG_OK)
        status = run->how ? mg_launch_perturbed(run, set, timed) : run->launch(run, set, NULL, timed);
    if (status == GG_OK) status = check_results(run, set, against_first);
    if (status == GG_OK) status = mg_board_read(run->x);
    if (status == GG_OK) status = mg_judge_reports(run, number, set);
    return status;
}

/* --- autotune --- */

static gg_status tune_op(mg_run *run, gg_op op) {
    mg_executor *x = run->x;
    const gg_problem problem = mg_case_problem(run->c, op);
    const gg_tensors tensors = mg_run_tensors(run, op, 0);
    size_t measured = 0;
    gg_config again;
    gg_status status =
        gg_autotune(x->context, &problem, &tensors, x->options.autotune_limit, &run->configs[op], &measured);
    if (status == GG_OK)
        status = gg_autotune(x->context, &problem, &tensors, x->options.autotune_limit, &again, &measured);
    if (status != GG_OK) {
        snprintf(x->error, sizeof x->error, "autotune of %s: %.400s", gg_op_name(op), gg_error(x->context));
        return status;
    }
    if (measured)
        mg_note(run->result, MG_FAILED, "autotune of %s measured %zu configs again", gg_op_name(op),
                measured);
    return GG_OK;
}

static gg_status tune(mg_run *run) {
    gg_status status = GG_OK;
    for (size_t i = 0; i < run->num_ops && status == GG_OK; i++) status = tune_op(run, run->ops[i]);
    if (status == GG_OK) mg_config_text(&run->configs[run->c->function.op], run->result->config);
    return status;
}

/* --- the case --- */

static gg_status run_case(mg_run *run) {
    mg_executor *x = run->x;
    uint64_t hashes[MG_NUM_RESULTS] = {0};
    gg_status status = mg_data_get(&x->cache, x->corpus, run->c, x->options.user_seed, &run->data, x->error);
    if (status == GG_OK) status = mg_inputs_place(run, run->inputs);
    if (status == GG_OK) status = mg_inputs_move(run, mg_home_shift(run));
    if (status == GG_OK) status = mg_reserve_results(run, 0);
    mg_shift_results(run, 0, mg_home_shift(run), mg_home_shift(run));
    if (status == GG_OK && run->c->function.autotune && x->subject == &mg_subject_moegemm) status = tune(run);

    run->result->kernel = mg_kernel_identity(run);
    if (status == GG_OK) status = mg_run_once(run, 1, 0, false, x->options.repeats < 2);
    if (status != GG_OK) return status;
    run->result->repeats = 1;
    if ((status = mg_results_hash(run, 0, hashes)) != GG_OK) return status;
    run->result->digest = mg_digest_of(run, hashes);
    mg_keep_outcome(run, true, run->result->digest);
    for (int i = 0; i < MG_NUM_INPUTS; i++)
        if (run->inputs & 1u << i) run->result->data = mg_splitmix64(run->result->data ^ x->digests[i]);
    if ((status = mg_inputs_verify(run)) != GG_OK) return status;
    if ((status = mg_judge_results(run)) != GG_OK) return status;
    return run->result->verdict == MG_PASSED ? mg_repeat_case(run, hashes) : GG_OK;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- the life of a case --- */

/* There was too little memory, although all of it was the case's. */
static void note_memory(mg_run *run) {
    const double GB = 1e-9;
    mg_executor *x = run->x;
    if (!x->granted || mg_case_memory(&x->options, run->c) <= x->granted) return;
    mg_note(
        run->result, MG_ERROR,
        "the case takes %.2f GB of device memory and can have %.2f: use a device with more, end what else "
        "uses this one, or run it with -n 1",
        (double)mg_case_memory(&x->options, run->c) * GB, (double)x->granted * GB);
}

/* By its name, so that the case alone decides. */
static uint64_t draw_of(const mg_case *c) {
    char id[MG_ID_SIZE];
    return XXH3_64bits(id, mg_case_id(c, id));
}

void mg_execute(mg_executor *x, const mg_case *c, mg_result *result, bool *lost) {
    const double start = seconds_now();
    mg_run run = {.x = x, .c = c, .result = result, .launch = mg_launch_ops, .fill = mg_poison_results};
    *lost = false;
    *result = (mg_result){.index = result->index, .verdict = MG_PASSED};
    run.draw = draw_of(c);
    if (!c->block) {
        run.num_ops = mg_case_ops(c, run.ops);
        mg_list_tensors(&run);
    }
    if (mg_execute_skips(&x->options, mg_executor_device(x), c, x->error)) {
        mg_skip(result, "%s", x->error);
    } else if (c->block || mg_plan_case(&run)) {
        x->error[0] = 0;
        mg_make_room(x, c);
        gg_status status = c->block ? mg_run_block(&run) : run_case(&run);
        if (status != GG_OK) {
            if (status == GG_ERR_MEMORY) note_memory(&run);
            mg_note(result, MG_ERROR, "%s", x->error[0] ? x->error : gg_status_string(status));
            /* a device that cannot copy a word any more is lost */
            const gg_backend_ops *ops = x->backend->ops;
            *lost = ops->synchronize(x->backend) != GG_OK || mg_board_clear(x) != GG_OK ||
                    ops->synchronize(x->backend) != GG_OK;
        }
    }
    result->seconds = seconds_now() - start;
}
