/* execute_repeat.c: the launches of a case after the first: from fresh poison, each perturbed in another way, and all must
 * give the same bytes. */
#include "execute_internal.h"

#include "backend/sim/options.h"

#include <stdio.h>
#include <string.h>

void mg_keep_outcome(mg_run *run, bool equal, uint64_t digest) {
    mg_result *r = run->result;
    if (r->num_runs == MG_MAX_RUNS) return;
    r->runs[r->num_runs++] = (mg_repeat){.perturbation = (uint8_t)run->how, .equal = equal, .digest = digest};
}

uint64_t mg_digest_of(const mg_run *run, const uint64_t hashes[MG_NUM_RESULTS]) {
    uint64_t digest = 0;
    for (int i = 0; i < MG_NUM_RESULTS; i++)
        if (run->results & 1u << i) digest = mg_splitmix64(digest ^ hashes[i]);
    return digest;
}

/* --- ways to launch --- */

static gg_status wait(mg_run *run) {
    return mg_device_status(run->x, run->x->backend->ops->synchronize(run->x->backend), "a kernel failed");
}

/* The stream first waits a little and poisons the results again: what is launched elsewhere comes too early. */
static gg_status launch_on_stream(mg_run *run, int set) {
    enum { LOOKS = 400 };
    const gg_stream stream = run->x->streams[0];
    gg_status status = wait(run);
    if (status == GG_OK) status = mg_launch_load(run->x, LOOKS, stream);
    if (status == GG_OK) status = run->fill(run, set, stream);
    if (status == GG_OK) status = run->launch(run, set, stream, false);
    return status == GG_OK ? wait(run) : status;
}

/* The load ends when the stream of the kernels has come to the write that stops it. */
static gg_status launch_beside_load(mg_run *run, int set) {
    enum { LOOKS = 100000 }; /* 50 ms at most, however the kernel beside it ends */
    mg_executor *x = run->x;
    gg_status status = wait(run);
    if (status == GG_OK) status = mg_launch_load(x, LOOKS, x->streams[1]);
    if (status == GG_OK) status = run->launch(run, set, x->streams[0], false);
    gg_status stopped =
        x->backend->ops->fill(x->backend, &x->device_board->stop, 1, sizeof(uint32_t), x->streams[0]);
    if (status == GG_OK) status = mg_device_status(x, stopped, "the load does not stop");
    return status == GG_OK ? wait(run) : status;
}

/* A few blocks, of which a large problem gets more, so that no launch takes long: as the case's draw has it, so that the
 * number of tiles is this and that modulo the number of blocks; in later repeats as few as can be, and half. */
static int some_sms(const mg_run *run) {
    enum { MOST = 13 };
    const double products_per_sm = 5e7;
    const int all = mg_executor_device(run->x)->sm_count, half = (all + 1) / 2;
    const double work = mg_case_work(run->c) / products_per_sm;
    const int needed = work < half ? (int)work : half, most = all <= MOST ? all - 1 : MOST;
    unsigned uses = 0;
    for (uint32_t i = 0; i < run->result->num_runs; i++)
        uses += run->result->runs[i].perturbation == MG_PERTURB_SMS;
    if (uses % 3 == 2) return half;
    return needed + 1 + (uses % 3 || most < 1 ? 0 : (int)(run->draw % (unsigned)most));
}

static gg_status launch_on_fewer_sms(mg_run *run, int set) {
    mg_executor *x = run->x;
    gg_context_limit_sms(x->context, some_sms(run));
    gg_status status = run->launch(run, set, NULL, false);
    gg_context_limit_sms(x->context, 0);
    return status;
}

static gg_status launch_graph(mg_run *run, int set) {
    mg_executor *x = run->x;
    const gg_backend_ops *ops = x->backend->ops;
    gg_graph *graph = NULL;
    gg_status status = wait(run);
    if (status == GG_OK)
        status = mg_device_status(x, ops->capture_begin(x->backend, x->streams[0]), "no capture");
    if (status != GG_OK) return status;
    status = run->launch(run, set, x->streams[0], false);
    gg_status ended = ops->capture_end(x->backend, x->streams[0], &graph);
    if (status == GG_OK) status = mg_device_status(x, ended, "no graph");
    /* what was not captured but run is lost */
    if (status == GG_OK) status = run->fill(run, set, x->streams[0]);
    if (status == GG_OK)
        status = mg_device_status(x, ops->graph_launch(x->backend, graph, x->streams[0]), "no replay");
    if (status == GG_OK) status = wait(run);
    ops->graph_free(x->backend, graph);
    return status;
}

/* The tensors have been moved before. */
static gg_status launch_moved(mg_run *run, int set) { return run->launch(run, set, NULL, false); }

/* There are no streams, but schedules. */
static gg_status launch_simulated(mg_run *run, int set) {
    enum { FAR = 1000003 }; /* from the seeds of other launches */
    gg_backend *backend = run->x->backend;
    const gg_sim_options before = gg_sim_configured(backend);
    gg_sim_options other = before;
    other.seed += (uint64_t)FAR * run->result->num_runs;
    if (run->how == MG_PERTURB_LOAD) other.landing = GG_SIM_LAND_RANDOM;
    gg_sim_configure(backend, other);
    gg_status status =
        run->how == MG_PERTURB_SMS ? launch_on_fewer_sms(run, set) : run->launch(run, set, NULL, false);
    gg_sim_configure(backend, before);
    return status;
}

/* --- with an operand of the other sign --- */

/* The operands that there are, and one of them by the case's draw. */
static unsigned operand_of(const mg_run *run) {
    const unsigned masks[] = {1u << MG_IN_X | 1u << MG_IN_X_EXPERT, 1u << MG_IN_W,
                              1u << MG_IN_DY | 1u << MG_IN_DY_EXPERT};
    unsigned found[3];
    size_t count = 0;
    for (size_t i = 0; i < 3; i++)
        if (run->inputs & masks[i]) found[count++] = run->inputs & masks[i];
    return found[(run->draw >> 8) % count];
}

/* Results that are products of it. */
static unsigned products_of(const mg_run *run, unsigned operand) {
    const unsigned y = 1u << MG_RES_Y, dx = 1u << MG_RES_DX | 1u << MG_RES_DX_REDUCED, dw = 1u << MG_RES_DW;
    const bool is_w = operand & 1u << MG_IN_W, is_x = operand & (1u << MG_IN_X | 1u << MG_IN_X_EXPERT);
    return run->results & (is_w ? y | dx : is_x ? y | dw : dx | dw);
}

static gg_status change_signs(mg_run *run, const mg_region *regions, int count, unsigned mask) {
    gg_status status = GG_OK;
    for (int i = 0; i < count && status == GG_OK; i++)
        if (mask & 1u << i) status = mg_launch_signs(run->x, &regions[i]);
    return status;
}

/* The right results are those of the first run with the other sign, bit by bit, and theirs is changed back: whatever
 * remembers an operand, or a result, by its address shows. */
static gg_status launch_negated(mg_run *run, int set, bool timed) {
    mg_executor *x = run->x;
    const unsigned operand = operand_of(run);
    gg_status status = change_signs(run, x->inputs, MG_NUM_INPUTS, operand);
    if (status == GG_OK) status = run->launch(run, set, NULL, timed);
    if (status == GG_OK)
        status = change_signs(run, x->results[set], MG_NUM_RESULTS, products_of(run, operand));
    if (status == GG_OK) status = change_signs(run, x->inputs, MG_NUM_INPUTS, operand);
    if (status != GG_OK) memset(x->placed, 0, sizeof x->placed);
    return status;
}

gg_status mg_launch_perturbed(mg_run *run, int set, bool timed) {
    static gg_status (*const ways[MG_NUM_PERTURBATIONS])(mg_run *, int) = {
        [MG_PERTURB_STREAM] = launch_on_stream, [MG_PERTURB_LOAD] = launch_beside_load,
        [MG_PERTURB_SMS] = launch_on_fewer_sms, [MG_PERTURB_BASE] = launch_moved,
        [MG_PERTURB_GRAPH] = launch_graph,
    };
    if (run->how == MG_PERTURB_NEGATE) return launch_negated(run, set, timed);
    return run->x->backend->ops == &gg_sim_backend ? launch_simulated(run, set) : ways[run->how](run, set);
}

/* --- repeats --- */

/* Of repeat `number` (from 2). Those asked for share the repeats evenly, each its own one after another, because moving
 * the inputs takes longer than a launch; unasked, what costs nothing takes turns. */
static mg_perturbation perturbation_of(const mg_run *run, int number) {
    const mg_executor *x = run->x;
    const bool exact = run->c->cls == MG_EXACT || run->c->cls == MG_UNIT;
    mg_perturbation all[MG_NUM_PERTURBATIONS] = {MG_PERTURB_NEGATE, MG_PERTURB_SMS};
    int count = 0, turn = number - 2, turns = x->options.repeats - 1;
    for (mg_perturbation p = MG_PERTURB_STREAM; p < MG_PERTURB_BATCH; p++)
        if (x->perturb & 1u << p) all[count++] = p;
    if (!count) turn %= count = turns = 2;
    const mg_perturbation how = all[turns < count ? turn : turn * count / turns];
    return how == MG_PERTURB_NEGATE && !exact ? MG_PERTURB_NONE : how;
}

/* Odd multiples of 16: no address is aligned to more. */
static size_t shift_of(const mg_run *run, int number) {
    return run->how == MG_PERTURB_BASE ? (size_t)(16 * (2 * (number % 8) + 1)) : mg_home_shift(run);
}

static gg_status compare_hashes(mg_run *run, int number, const uint64_t first[MG_NUM_RESULTS],
                                uint64_t hashes[MG_NUM_RESULTS]) {
    gg_status status = mg_results_hash(run, 0, hashes);
    for (int i = 0; i < MG_NUM_RESULTS && status == GG_OK; i++)
        if (run->results & 1u << i && hashes[i] != first[i])
            mg_note(run->result, MG_FAILED, "'%s' differs between runs 1 and %d%s%s", mg_res_name((mg_res)i),
                    number, run->how ? ": " : "", run->how ? mg_perturbation_name(run->how) : "");
    return status;
}

/* Later runs go to other memory than the first, which stays to be compared with. Without memory for both, the
 * first's hash stays. */
static gg_status repeat_once(mg_run *run, int number, bool room, const uint64_t first[MG_NUM_RESULTS]) {
    mg_executor *x = run->x;
    const int set = room;
    uint64_t hashes[MG_NUM_RESULTS];
    run->how = perturbation_of(run, number);
    const size_t shift = shift_of(run, number);
    if (shift != x->shift) {
        gg_status status = mg_inputs_verify(run); /* they are about to be overwritten */
        if (status == GG_OK) status = mg_inputs_move(run, shift);
        if (status != GG_OK) return status;
    }
    /* the workspace moves every other time, so that what one run left would be where the next looks for its own */
    const uint64_t moved = run->draw >> 16, half = (uint64_t)number / 2;
    const bool base = run->how == MG_PERTURB_BASE;
    mg_shift_results(run, set, base ? shift : 16 * ((moved ^ (uint64_t)number) % 16),
                     base ? shift : 16 * ((moved ^ half) % 16));
    gg_status status = mg_run_once(run, number, set, room, number == 2);
    if (status != GG_OK) return status;
    run->result->repeats++;
    bool equal = true;
    for (int i = 0; i < MG_NUM_RESULTS; i++)
        if (run->results & 1u << i) equal &= !x->board->reports[i].differing;
    if (!room) {
        status = compare_hashes(run, number, first, hashes);
        equal = mg_digest_of(run, hashes) == run->result->digest;
    } else if (!equal) {
        status = mg_results_hash(run, set, hashes);
    }
    if (status != GG_OK) return status;
    run->differing += !equal;
    mg_keep_outcome(run, equal, equal ? run->result->digest : mg_digest_of(run, hashes));
    return GG_OK;
}

gg_status mg_repeat_case(mg_run *run, const uint64_t first[MG_NUM_RESULTS]) {
    mg_executor *x = run->x;
    mg_result *result = run->result;
    const int repeats = x->options.repeats;
    const bool batch = x->perturb & 1u << MG_PERTURB_BATCH;
    if (repeats < 2 && !batch) return GG_OK;
    const bool room = mg_reserve_results(run, 1) == GG_OK && (!batch || mg_batch_reserve(run) == GG_OK);
    gg_status status = GG_OK;
    if (!room) {
        for (int i = 0; i < MG_NUM_RESULTS; i++) mg_region_free(x, &x->results[1][i]);
        snprintf(result->message, sizeof result->message,
                 "repeats compared by 64-bit hashes%s: no device memory to keep the first run's output",
                 batch ? ", and no batch step" : "");
    }
    /* of what differs in one repeat, the others tell how often */
    for (int number = 2; number <= repeats && status == GG_OK; number++)
        if (result->verdict == MG_PASSED || run->differing) status = repeat_once(run, number, room, first);
    if (status == GG_OK && run->differing && repeats > 2)
        mg_note(result, MG_FAILED, "%u of %u repeats differ from run 1", run->differing, result->repeats - 1);
    if (status == GG_OK && batch && room && result->verdict == MG_PASSED)
        status = mg_batch_step(run, repeats + 1);
    run->how = MG_PERTURB_NONE;
    return status == GG_OK ? mg_inputs_verify(run) : status;
}
