/* test_sim_block.c: MoE blocks on the simulator: right kernels pass, steps are timed, streams fork and join. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "bench_block.h"
#include "execute.h"
#include "find_block.h"

/* --- the kernels --- */

static void run(const char *id) {
    const mg_execute_options options = {
        .backend = "sim", .golden_dir = SOURCE_DIR "/golden", .repeats = 2, .sim_limit = 1e9};
    char error[MG_ERROR_SIZE], name[MG_ID_SIZE];
    mg_executor *x;
    mg_cases cases;
    mg_result result = {0};
    bool lost, found = false;
    assert_int_equal(mg_cases_new(&cases), GG_OK);
    assert_int_equal(mg_executor_open(&x, &options, error), GG_OK);
    for (size_t i = 0; i < cases.count && !found; i++) {
        if (!cases.items[i].block) continue;
        mg_case_id(&cases.items[i], name);
        if (!(found = !strcmp(name, id))) continue;
        mg_execute(x, &cases.items[i], &result, &lost);
        if (result.verdict != MG_PASSED) fail_msg("%s: %s", id, result.message);
        assert_int_equal(result.repeats, 2);
        assert_true(result.difference.compared > 0 || !cases.items[i].problem->T);
    }
    if (!found) fail_msg("no case '%s'", id);
    mg_executor_close(x);
    mg_cases_free(&cases);
}

static void kernels_are_right(void **state) {
    (void)state;
    run("qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk2-E8-T61-H72-I40-bf16]");
    run("qwen3_moe[backward-norm_topk_prob-topk3-E5-T7-H40-I24-fp16]");
    run("qwen3_moe[inference-permute_x-permute_y-fuse_mul_post-topk4-E16-T129-H32-I32-fp16]");
    run("qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk10-E200-T37-H40-I8-bf16]");
    run("qwen3_moe[backward-permute_y-norm_topk_prob-topk2-E8-T0-H72-I40-bf16]");
    run("llama4_moe[backward-topk1-E4-T61-H72-I40-bf16]");
    run("llama4_moe[backward-permute_y-topk2-E6-T45-H40-I24-fp16]");
}

/* What a case will load can be compiled ahead: the block's own six kernels, and each GEMM's config or candidates, the first's
 * also without silu_and_mul. */
static void kernels_are_compiled_ahead(void **state) {
    enum { OWN = 6, GEMMS = 8, UNFUSED = 1, CANDIDATES = 2, CAPACITY = 64 };
    const mg_execute_options options = {.backend = "sim", .subject = "moegemm", .autotune_limit = CANDIDATES};
    const gg_device device = {.name = "device",
                              .cc = 90,
                              .sm_count = 3,
                              .smem_per_block = 232448,
                              .smem_per_sm = 233472,
                              .threads_per_sm = 2048};
    const mg_block *block = find_block("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40");
    mg_case c = {.problem = &block->problem,
                 .block = block,
                 .block_mode = MG_BLOCK_BACKWARD,
                 .fusions = GG_PERMUTE_X | GG_PERMUTE_Y};
    gg_plan plans[CAPACITY];
    (void)state;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY), OWN + GEMMS + UNFUSED);
    assert_string_equal(plans[0].source, "router.cu");
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, 0), OWN + GEMMS + UNFUSED);
    c.function.autotune = true;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY),
                     OWN + GEMMS * (1 + CANDIDATES) + UNFUSED);
    c.block_mode = MG_BLOCK_FORWARD;
    assert_int_equal(mg_execute_plans(&options, &device, &c, plans, CAPACITY),
                     OWN + 2 * (1 + CANDIDATES) + UNFUSED);
}

/* --- timing --- */

static void steps_are_timed(void **state) {
    static const char *const backward[] = {"second dX",
                                           "silu_and_mul_backward",
                                           "router_backward",
                                           "router dX",
                                           "router dW",
                                           "first dX",
                                           "second dW",
                                           "first dW",
                                           "merge"};
    char error[MG_ERROR_SIZE] = "";
    mg_bench_block_times times;
    mg_bench_block_options options = {.block = find_block("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40"),
                                      .mode = MG_BLOCK_BACKWARD,
                                      .fusions = GG_PERMUTE_X | GG_PERMUTE_Y,
                                      .repeat = 1,
                                      .backend = "sim"};
    (void)state;
    if (mg_bench_block(&options, &times, error)) fail_msg("%s", error);
    assert_true(times.plain_us > 0 && times.graph_us == 0);
    assert_int_equal(times.num_steps, sizeof backward / sizeof *backward);
    for (size_t i = 0; i < times.num_steps; i++) {
        assert_string_equal(times.steps[i].name, backward[i]);
        assert_true(times.steps[i].us > 0 && times.steps[i].us < times.plain_us);
    }
    options.block = NULL;
    options.model = "gpt";
    assert_int_equal(mg_bench_block(&options, &times, error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(error, "no model 'gpt'"));
}

/* --- streams --- */

/* What is launched where: "step@m " on the main stream, "step@s " on the side, "m>s " where the side waits for the main. */
typedef struct tape {
    char text[2048];
    const char *main, *side; /* addresses that stand for streams */
    const char *fails;       /* the step whose launch does; NULL: none */
} tape;
static tape recorded;

static char letter(gg_stream stream) {
    return stream == recorded.main ? 'm' : stream == recorded.side ? 's' : '?';
}
static void record(const char *format, ...) {
    va_list arguments;
    const size_t used = strlen(recorded.text);
    va_start(arguments, format);
    vsnprintf(recorded.text + used, sizeof recorded.text - used, format, arguments);
    va_end(arguments);
}
/* The step that fails has come. */
static bool has_failed(void) { return recorded.fails && strstr(recorded.text, recorded.fails); }
static bool record_step(void *data, const char *step) {
    (void)data;
    record("%s", step);
    return true;
}
static gg_status record_launch(gg_backend *backend, gg_kernel *kernel, const gg_launch_spec *spec,
                               gg_stream stream) {
    record(spec->overlaps ? "+%c " : "@%c ", letter(stream));
    assert_true(spec->waits);
    if (has_failed()) {
        snprintf(backend->error, sizeof backend->error, "out of luck");
        return GG_ERR_LAUNCH;
    }
    return gg_sim_backend.launch(backend, kernel, spec, stream);
}
static gg_status record_order(gg_backend *backend, gg_stream first, gg_stream then) {
    record("%c>%c ", letter(first), letter(then));
    if (!has_failed()) return GG_OK;
    snprintf(backend->error, sizeof backend->error, "not this either");
    return GG_ERR_LAUNCH;
}

/* Launched as expected; up to the step that `fails`, whose fault is told. */
static void streams_meet(const char *key, unsigned fusions, bool backward, const char *fails,
                         const char *expected) {
    static const char streams[2];
    const mg_block *block = find_block(key);
    const gg_moe_problem p = mg_block_problem(block, MG_BLOCK_BACKWARD, fusions, GG_BF16);
    const gg_options options = {.backend = "sim"};
    gg_backend_ops ops = gg_sim_backend;
    gg_context *context;
    gg_moe_layout layout;
    void *memory[16] = {0}, *workspace;
    char reason[GG_REASON_SIZE];
    assert_int_equal(gg_open(&context, &options), GG_OK);
    ops.launch = record_launch;
    ops.stream_order = record_order;
    gg_context_backend(context)->ops = &ops;
    assert_int_equal(gg_moe_plan(&p, &layout, reason), GG_OK);
    assert_int_equal(gg_alloc(context, layout.bytes, &workspace), GG_OK);
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS; i++) {
        const mg_block_shape shape = mg_block_input_shape(&p, i);
        const size_t count = (size_t)(shape.rows * shape.cols);
        uint16_t *drawn = calloc(count + 8, sizeof *drawn);
        const mg_draw d = mg_block_draw(block, i, 0);
        mg_fill_integers(d.seed, d.bits, d.scale_log2, GG_BF16, 0, count, drawn);
        assert_int_equal(gg_alloc(context, count * 2, &memory[i]), GG_OK);
        assert_int_equal(gg_upload(context, memory[i], drawn, count * 2), GG_OK);
        free(drawn);
    }
    for (int i = 0; i < MG_NUM_BLOCK_OUTPUTS; i++) {
        const mg_block_shape shape = mg_block_output_shape(&p, i);
        assert_int_equal(gg_alloc(context, (size_t)(shape.rows * shape.cols) * 2, &memory[8 + i]), GG_OK);
    }
    const gg_moe_tensors t = {.x = memory[0],
                              .gate = memory[1],
                              .gate_up = memory[2],
                              .down = memory[3],
                              .shared_gate_up = memory[4],
                              .shared_down = memory[5],
                              .dy = memory[6],
                              .y = memory[8],
                              .dx = memory[9],
                              .d_gate = memory[10],
                              .d_gate_up = memory[11],
                              .d_down = memory[12],
                              .d_shared_gate_up = memory[13],
                              .d_shared_down = memory[14]};
    const gg_stream main_stream = (gg_stream)(uintptr_t)&streams[0], side = (gg_stream)(uintptr_t)&streams[1];
    recorded = (tape){.main = &streams[0], .side = &streams[1]};
    gg_context_filter_steps(context, record_step, NULL);
    const gg_status wanted = fails ? GG_ERR_LAUNCH : GG_OK;
    if (!backward) recorded.fails = fails;
    assert_int_equal(gg_moe_forward(context, &p, NULL, &t, workspace, main_stream, side),
                     backward ? GG_OK : wanted);
    if (backward) {
        recorded.text[0] = 0;
        recorded.fails = fails;
        assert_int_equal(gg_moe_backward(context, &p, NULL, &t, workspace, main_stream, side), wanted);
    }
    if (fails) assert_non_null(strstr(gg_error(context), "out of luck"));
    if (strcmp(recorded.text, expected)) fail_msg("launched: %s\nexpected: %s", recorded.text, expected);
    for (int i = 0; i < 16; i++) gg_free(context, memory[i]);
    gg_free(context, workspace);
    gg_close(context);
}

/* Each part waits for what it reads, and the merge for all. A launch overlaps (+) a kernel before it on its stream, nothing
 * else. */
static void streams_fork_and_join(void **state) {
    (void)state;
    streams_meet("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40", GG_PERMUTE_X | GG_PERMUTE_Y, false, NULL,
                 "router@m sort_slots+m first forward+m silu_and_mul+m second forward+m merge+m ");
    streams_meet("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40", GG_PERMUTE_X | GG_PERMUTE_Y | GG_FUSE_SILU,
                 false, NULL, "router@m sort_slots+m first forward+m second forward+m merge+m ");
    streams_meet("llama4-topk1-E16-T129-H136-I48", GG_FUSE_SILU, false, NULL,
                 "router@m sort_slots+m m>s shared_first forward@s shared_second forward+s permute+m first "
                 "forward+m second forward+m s>m merge@m ");
    streams_meet(
        "llama4-topk1-E16-T129-H136-I48", 0, false, NULL,
        "router@m sort_slots+m m>s shared_first forward@s silu_and_mul+s shared_second forward+s permute+m "
        "first forward+m silu_and_mul+m second forward+m s>m merge@m ");
    streams_meet(
        "qwen3-norm_topk_prob-topk2-E8-T61-H72-I40", GG_PERMUTE_X | GG_PERMUTE_Y, true, NULL,
        "second dX@m silu_and_mul_backward+m m>s router_backward@s router dX+s router dW+s first dX+m "
        "second dW+m first dW+m s>m merge@m ");
    /* with E no multiple of 8 the router's weights are copied, and no launch overlaps a copy */
    streams_meet(
        "qwen3-norm_topk_prob-topk3-E5-T7-H40-I24", GG_PERMUTE_X | GG_PERMUTE_Y, true, NULL,
        "second dX@m silu_and_mul_backward+m m>s router_backward@s router dX@s router dW+s first dX+m "
        "second dW+m first dW+m s>m merge@m ");
    streams_meet(
        "llama4-topk1-E16-T129-H136-I48", 0, true, NULL,
        "m>s shared_second dX@s silu_and_mul_backward+s shared_second dW+s shared_first dX+s shared_first "
        "dW+s permute@m second dX+m silu_and_mul_backward+m first dX+m m>s row_dot@s router_backward+s "
        "router dX+s router dW+s second dW+m first dW+m s>m merge@m ");
}

/* What is on the side when a launch fails is waited for, where there is anything. */
static void streams_join_after_faults(void **state) {
    (void)state;
    streams_meet("llama4-topk1-E16-T129-H136-I48", GG_FUSE_SILU, false, "sort_slots",
                 "router@m sort_slots+m ");
    streams_meet("llama4-topk1-E16-T129-H136-I48", GG_FUSE_SILU, false, "shared_second",
                 "router@m sort_slots+m m>s shared_first forward@s shared_second forward+s s>m ");
    streams_meet("llama4-topk1-E16-T129-H136-I48", GG_FUSE_SILU, false, "permute",
                 "router@m sort_slots+m m>s shared_first forward@s shared_second forward+s permute+m s>m ");
    streams_meet("llama4-topk1-E16-T129-H136-I48", GG_FUSE_SILU, false, "merge",
                 "router@m sort_slots+m m>s shared_first forward@s shared_second forward+s permute+m first "
                 "forward+m second forward+m s>m merge@m ");
    streams_meet(
        "qwen3-norm_topk_prob-topk2-E8-T61-H72-I40", GG_PERMUTE_X | GG_PERMUTE_Y, true, "first dX",
        "second dX@m silu_and_mul_backward+m m>s router_backward@s router dX+s router dW+s first dX+m s>m ");
}

/* --- tuning --- */

/* Both halves of a block are run to tune it, and what either lacks is named before anything is launched. */
static void tuning_wants_all_tensors(void **state) {
    static const _Alignas(16) char tensor[16];
    void *const there = (void *)(uintptr_t)tensor;
    const gg_options options = {.backend = "sim"};
    gg_moe_problem p = mg_block_problem(find_block("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40"),
                                        MG_BLOCK_BACKWARD, 0, GG_BF16);
    const gg_moe_tensors all = {.x = there,
                                .gate = there,
                                .gate_up = there,
                                .down = there,
                                .y = there,
                                .dy = there,
                                .dx = there,
                                .d_gate = there,
                                .d_gate_up = there,
                                .d_down = there};
    gg_moe_tensors t = all;
    gg_moe_configs configs;
    gg_context *context;
    size_t measured = 99;
    (void)state;
    assert_int_equal(gg_open(&context, &options), GG_OK);
    t.y = NULL;
    assert_int_equal(gg_moe_autotune(context, &p, &t, there, 1, &configs, &measured), GG_ERR_ARGUMENT);
    assert_string_equal(gg_error(context), "missing tensor 'y'");
    t = all, t.dy = NULL;
    assert_int_equal(gg_moe_autotune(context, &p, &t, there, 1, &configs, &measured), GG_ERR_ARGUMENT);
    assert_string_equal(gg_error(context), "missing tensor 'dy'");
    p.T = 0, measured = 99;
    assert_int_equal(gg_moe_autotune(context, &p, &all, there, 1, &configs, &measured), GG_OK);
    assert_int_equal(measured, 0);
    gg_close(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_right),         cmocka_unit_test(kernels_are_compiled_ahead),
        cmocka_unit_test(steps_are_timed),           cmocka_unit_test(streams_fork_and_join),
        cmocka_unit_test(streams_join_after_faults), cmocka_unit_test(tuning_wants_all_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
