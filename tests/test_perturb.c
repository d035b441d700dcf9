/* test_perturb.c: the ways to launch that only a GPU has (streams, load beside, graphs), on the simulator behind a vtable of
 * its own: what goes where, and that a launch which goes wrong in one way is reported under its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execute_internal.h"

#define BIT(perturbation) (1u << (perturbation))

enum { MAX_LAUNCHES = 8, MAX_PARAMS = 1024, MAX_FILLS = 8 };

/* A launch kept for later. */
typedef struct captured {
    gg_kernel *kernel;
    gg_launch_spec spec;
    _Alignas(64) unsigned char params[MAX_PARAMS];
} captured;

/* One device, made to fail where `fault` says; the tests run one after another. */
static struct {
    mg_perturbation fault;
    gg_stream capturing; /* the stream, or NULL */
    captured kept[MAX_LAUNCHES];
    int num_kept, graphs, on_stream, loads, stops, delays;
    bool loaded;  /* a load is running */
    bool astray;  /* kernels are launched on the default stream, whatever they are told */
    struct fill { /* enqueued on a stream, behind the delay */
        void *to;
        uint32_t word;
        size_t bytes;
    } fills[MAX_FILLS];
    int num_fills;
    char streams[2];
    int num_streams;
} device;

static bool is_load(const gg_launch_spec *spec) { return !strcmp(spec->label, "load"); }
static bool is_gemm(const gg_launch_spec *spec) { return strstr(spec->label, "mma_sync.cu"); }

/* A launch in the faulty way is lost. */
static gg_status launch(gg_backend *backend, gg_kernel *kernel, const gg_launch_spec *spec, bool wrong) {
    if (wrong && is_gemm(spec)) return GG_OK;
    return gg_sim_backend.launch(backend, kernel, spec, NULL);
}

/* A stream comes to what waits on it when a launch follows, or when all is waited for. */
static void fill_now(gg_backend *backend) {
    for (int i = 0; i < device.num_fills; i++)
        gg_sim_backend.fill(backend, device.fills[i].to, device.fills[i].word, device.fills[i].bytes, NULL);
    device.num_fills = 0;
}

static gg_status fake_synchronize(gg_backend *backend) {
    fill_now(backend);
    return gg_sim_backend.synchronize(backend);
}

static gg_status fake_launch(gg_backend *backend, gg_kernel *kernel, const gg_launch_spec *spec,
                             gg_stream stream) {
    if (device.astray && is_gemm(spec)) return gg_sim_backend.launch(backend, kernel, spec, NULL);
    if (device.capturing) {
        assert_ptr_equal(stream, device.capturing);
        assert_true(device.num_kept < MAX_LAUNCHES && spec->params_bytes <= MAX_PARAMS);
        captured *c = &device.kept[device.num_kept++];
        *c = (captured){.kernel = kernel, .spec = *spec};
        memcpy(c->params, spec->params, spec->params_bytes);
        c->spec.params = c->params;
        return GG_OK;
    }
    if (is_load(spec)) {
        assert_int_equal(spec->grid, 2);    /* half of three, rounded up */
        if (stream == &device.streams[0]) { /* a delay, after which results are poisoned again */
            device.delays++;
            return GG_OK;
        }
        assert_ptr_equal(stream, &device.streams[1]);
        device.loads++;
        device.loaded = true;
        return GG_OK; /* it would end when told to */
    }
    if (stream) {
        assert_ptr_equal(stream, &device.streams[0]);
        device.on_stream++;
        fill_now(backend);
    }
    return launch(backend, kernel, spec,
                  (device.loaded && device.fault == MG_PERTURB_LOAD) ||
                      (stream && !device.loaded && device.fault == MG_PERTURB_STREAM));
}

static gg_status fake_fill(gg_backend *backend, void *dst, uint32_t word, size_t bytes, gg_stream stream) {
    if (stream && word == 1 && bytes == 4) {
        assert_true(device.loaded);
        device.stops++;
        device.loaded = false;
    }
    if (stream && device.delays && !device.graphs && !device.loaded && bytes > 4) {
        assert_true(device.num_fills < MAX_FILLS);
        device.fills[device.num_fills++] = (struct fill){dst, word, bytes};
        return GG_OK;
    }
    return gg_sim_backend.fill(backend, dst, word, bytes, NULL);
}

static gg_status fake_stream_new(gg_backend *backend, gg_stream *out) {
    (void)backend;
    *out = &device.streams[device.num_streams++ % 2];
    return GG_OK;
}

static gg_status fake_capture_begin(gg_backend *backend, gg_stream stream) {
    (void)backend;
    assert_null(device.capturing);
    device.capturing = stream;
    device.num_kept = 0;
    return GG_OK;
}

static gg_status fake_capture_end(gg_backend *backend, gg_stream stream, gg_graph **out) {
    (void)backend;
    assert_ptr_equal(stream, device.capturing);
    device.capturing = NULL;
    device.graphs++;
    *out = (gg_graph *)&device;
    return GG_OK;
}

static gg_status fake_graph_launch(gg_backend *backend, gg_graph *graph, gg_stream stream) {
    assert_ptr_equal(graph, &device);
    assert_ptr_equal(stream, &device.streams[0]);
    gg_status status = GG_OK;
    for (int i = 0; i < device.num_kept && !status; i++)
        status =
            launch(backend, device.kept[i].kernel, &device.kept[i].spec, device.fault == MG_PERTURB_GRAPH);
    return status;
}

static void fake_graph_free(gg_backend *backend, gg_graph *graph) {
    (void)backend;
    device.graphs -= graph != NULL;
}

static mg_result execute_on(bool astray, mg_perturbation fault, unsigned perturb, bool autograd) {
    const mg_execute_options options = {.backend = "sim",
                                        .subject = "moegemm",
                                        .golden_dir = SOURCE_DIR "/golden",
                                        .cache_dir = BINARY_DIR "/test-cache",
                                        .repeats = 1 + __builtin_popcount(perturb & ~BIT(MG_PERTURB_BATCH)),
                                        .user_seed = 7,
                                        .sim_limit = 26e6};
    const mg_case c = {.problem = mg_problem_find("W1-topk4-E4-T128-H32-I32-mult"),
                       .function = {.op = GG_FORWARD, .autograd = autograd},
                       .dtype = GG_BF16,
                       .cls = MG_EXACT,
                       .fusions = GG_PERMUTE_X,
                       .config = {.mainloop = GG_MMA_SYNC,
                                  .block_m = 32,
                                  .block_n = 32,
                                  .block_k = 32,
                                  .num_warps = 4,
                                  .num_stages = 2}};
    gg_backend_ops ops = gg_sim_backend;
    ops.launch = fake_launch;
    ops.fill = fake_fill;
    ops.synchronize = fake_synchronize;
    ops.stream_new = fake_stream_new;
    ops.capture_begin = fake_capture_begin;
    ops.capture_end = fake_capture_end;
    ops.graph_launch = fake_graph_launch;
    ops.graph_free = fake_graph_free;
    char error[MG_ERROR_SIZE] = "";
    mg_executor *x = NULL;
    mg_result result = {0};
    bool lost;
    memset(&device, 0, sizeof device);
    device.fault = fault;
    device.astray = astray;
    if (mg_executor_open(&x, &options, error) != GG_OK) fail_msg("%s", error);
    x->backend->ops = &ops;
    x->perturb = perturb;
    for (int i = 0; i < 2; i++) ops.stream_new(x->backend, &x->streams[i]);
    mg_execute(x, &c, &result, &lost);
    assert_false(lost);
    mg_executor_close(x);
    assert_null(device.capturing);
    assert_int_equal(device.graphs, 0); /* all freed */
    return result;
}

static mg_result execute(mg_perturbation fault, bool autograd) {
    return execute_on(false, fault, BIT(MG_NUM_PERTURBATIONS) - BIT(MG_PERTURB_STREAM), autograd);
}

static void test_right_launches_pass(void **state) {
    (void)state;
    for (int autograd = 0; autograd < 2; autograd++) {
        static const mg_perturbation expected[] = {MG_PERTURB_NONE,   MG_PERTURB_STREAM, MG_PERTURB_LOAD,
                                                   MG_PERTURB_SMS,    MG_PERTURB_BASE,   MG_PERTURB_GRAPH,
                                                   MG_PERTURB_NEGATE, MG_PERTURB_BATCH};
        const mg_result result = execute(MG_PERTURB_NONE, autograd);
        if (result.verdict != MG_PASSED) fail_msg("%s", result.message);
        assert_int_equal(result.num_runs, 8);
        for (int i = 0; i < 8; i++) assert_int_equal(result.runs[i].perturbation, expected[i]);
        const int launches = autograd ? 4 : 1; /* forward, dX, dW and the reduction */
        assert_int_equal(device.on_stream, 2 * launches);
        assert_int_equal(device.num_kept, launches);
        assert_int_equal(device.loads, 1);
        assert_int_equal(device.delays, 1);
        assert_int_equal(device.stops, 1);
    }
}

static void test_wrong_launches_are_named(void **state) {
    (void)state;
    static const struct {
        mg_perturbation fault;
        const char *message;
    } rows[] = {
        {MG_PERTURB_STREAM, "'y' differs between runs 1 and 2 (stream): [0, 0] is "},
        {MG_PERTURB_LOAD, "'y' differs between runs 1 and 3 (load): [0, 0] is "},
        {MG_PERTURB_GRAPH, "'y' differs between runs 1 and 6 (graph): [0, 0] is "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const mg_result result = execute(rows[i].fault, false);
        assert_int_equal(result.verdict, MG_FAILED);
        if (!strstr(result.message, rows[i].message)) fail_msg("'%s'", result.message);
        if (!strstr(result.message, "\n1 of 6 repeats differ from run 1")) fail_msg("'%s'", result.message);
        for (uint32_t j = 0; j < result.num_runs; j++)
            assert_int_equal(result.runs[j].equal, result.runs[j].perturbation != rows[i].fault);
    }
}

/* A kernel that goes to the default stream is right by itself: what comes after it on its own stream shows. */
static void test_launches_astray_are_seen(void **state) {
    (void)state;
    mg_result result = execute_on(true, MG_PERTURB_NONE, BIT(MG_PERTURB_STREAM), false);
    assert_int_equal(result.verdict, MG_FAILED);
    assert_non_null(strstr(result.message, "differs between runs 1 and 2 (stream): "));
    result = execute_on(true, MG_PERTURB_NONE, BIT(MG_PERTURB_GRAPH), false);
    assert_int_equal(result.verdict, MG_FAILED);
    assert_non_null(strstr(result.message, "differs between runs 1 and 2 (graph): "));
    result = execute_on(true, MG_PERTURB_NONE, BIT(MG_PERTURB_NEGATE), false);
    assert_int_equal(result.verdict, MG_PASSED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_launches_pass),
        cmocka_unit_test(test_wrong_launches_are_named),
        cmocka_unit_test(test_launches_astray_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
