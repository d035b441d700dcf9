/* test_cuda.c: the cuda backend against a made-up driver: what it asks of it and what it makes of the
 * answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "fake_cuda.h"

typedef struct fixture {
    gg_backend *backend;
    fake_cuda *driver;
    gg_kernel *kernel;
    char path[64];
} fixture;

/* The made-up library is loaded first under the real one's name, so the backend's dlopen finds it, GPU or
 * not. */
static int load_driver(void **state) {
    void *library = dlopen(BINARY_DIR "/fakes/libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    *state = library ? dlsym(library, "fake_cuda_state") : NULL;
    return !*state;
}

static fake_cuda fresh(void) {
    return (fake_cuda){.devices = 2, .cc_major = 9, .version = 13010, .memory = 1 << 20};
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    char error[GG_ERROR_SIZE];
    f->driver = *state;
    *f->driver = fresh();
    if (gg_cuda_backend.open(&f->backend, 1, error)) fail_msg("%s", error);
    strcpy(f->path, "/tmp/moegemm-cubin-XXXXXX");
    int fd = mkstemp(f->path);
    if (write(fd, "cubin", 5) != 5 || close(fd)) return 1;
    if (gg_cuda_backend.load(f->backend, f->path, "kernel", &f->kernel)) fail_msg("%s", f->backend->error);
    f->driver->entered = 0;
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    gg_cuda_backend.close(f->backend);
    unlink(f->path);
    *state = f->driver;
    free(f);
    return 0;
}

static void a_device_is_described(void **state) {
    fixture *f = *state;
    const gg_device *d = gg_cuda_backend.device(f->backend);
    assert_string_equal(d->name, "Fake GPU");
    assert_int_equal(d->cc, 90);
    assert_int_equal(d->sm_count, 132);
    assert_int_equal(d->threads_per_sm, 2048);
    assert_int_equal(d->smem_per_sm, 233472);
    assert_int_equal(d->smem_per_block, 232448);
    assert_true(d->memory == (uint64_t)141 << 30);
    assert_non_null(strstr(d->driver, "CUDA 13.1"));
}

static void targets_follow_the_capability(void **state) {
    static const struct {
        int major, minor;
        const char *arch;
    } rows[] = {{8, 0, "sm_80"},  {8, 6, "sm_86"},    {8, 9, "sm_89"},
                {9, 0, "sm_90a"}, {10, 0, "sm_100a"}, {12, 0, "sm_120a"}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_backend *backend;
        char error[GG_ERROR_SIZE];
        f->driver->cc_major = rows[i].major;
        f->driver->cc_minor = rows[i].minor;
        assert_int_equal(gg_cuda_backend.open(&backend, 0, error), GG_OK);
        assert_string_equal(gg_cuda_backend.target(backend).arch, rows[i].arch);
        gg_cuda_backend.close(backend);
    }
}

static void closing_gives_everything_back(void **state) {
    fake_cuda *driver = *state;
    gg_backend *backend;
    gg_stream stream;
    char error[GG_ERROR_SIZE];
    *driver = fresh();
    driver->memory = (size_t)1 << 30;
    assert_int_equal(gg_cuda_backend.open(&backend, 0, error), GG_OK);
    assert_int_equal(gg_cuda_backend.flush_cache(backend), GG_OK);
    assert_int_equal(gg_cuda_backend.flush_cache(backend), GG_OK);
    assert_int_equal(driver->allocated, 1); /* one buffer, kept */
    assert_int_equal(gg_cuda_backend.stream_new(backend, &stream), GG_OK);
    assert_int_equal(driver->stream_flags, 1); /* CU_STREAM_NON_BLOCKING */
    gg_cuda_backend.stream_free(backend, stream);
    assert_true(driver->events && driver->contexts);
    gg_cuda_backend.close(backend);
    assert_int_equal(driver->allocated, 0);
    assert_int_equal(driver->modules, 0);
    assert_int_equal(driver->events, 0);
    assert_int_equal(driver->streams, 0);
    assert_int_equal(driver->contexts, 0);
}

static void missing_devices_are_told(void **state) {
    fake_cuda *driver = *state;
    gg_backend *backend;
    char error[GG_ERROR_SIZE], why[GG_REASON_SIZE];
    *driver = fresh();
    assert_true(gg_cuda_available(why));
    assert_string_equal(why, "");
    assert_int_equal(gg_cuda_backend.open(&backend, 2, error), GG_ERR_NO_DEVICE);
    assert_string_equal(error, "no device 2: there are 2, counted from 0");
    driver->devices = 0;
    assert_false(gg_cuda_available(why));
    assert_non_null(strstr(why, "no CUDA device"));
    assert_int_equal(gg_cuda_backend.open(&backend, 0, error), GG_ERR_NO_DEVICE);
    assert_string_equal(error, why);
    assert_int_equal(driver->contexts, 0);
}

static void memory_is_moved_and_filled(void **state) {
    fixture *f = *state;
    const gg_backend_ops *ops = &gg_cuda_backend;
    uint32_t words[4] = {1, 2, 3, 4}, back[4] = {0};
    void *a, *b, *none;
    assert_int_equal(ops->alloc(f->backend, sizeof words, &a), GG_OK);
    assert_int_equal(ops->alloc(f->backend, sizeof words, &b), GG_OK);
    assert_int_equal(ops->alloc(f->backend, 0, &none), GG_OK);
    assert_true(ops->free_memory(f->backend) == f->driver->memory);
    assert_non_null(none);
    int waits = f->driver->waits, of_streams = f->driver->waits_of_streams;
    assert_int_equal(ops->upload(f->backend, a, words, sizeof words), GG_OK);
    assert_int_equal(f->driver->waits, waits); /* the default stream has it in its turn */
    assert_int_equal(f->driver->waits_of_streams, of_streams + 1);
    assert_int_equal(ops->copy(f->backend, b, a, sizeof words, (gg_stream)8), GG_OK);
    assert_ptr_equal(f->driver->stream, (void *)8);
    assert_int_equal(ops->download(f->backend, back, b, sizeof back), GG_OK);
    assert_int_equal(f->driver->waits, waits + 1); /* the copy was elsewhere */
    assert_memory_equal(back, words, sizeof words);
    assert_int_equal(ops->fill(f->backend, b, 0xabcd1234, 8, NULL), GG_OK);
    assert_int_equal(ops->download(f->backend, back, b, sizeof back), GG_OK);
    assert_int_equal(f->driver->waits, waits + 1);
    assert_true(back[0] == 0xabcd1234 && back[1] == 0xabcd1234 && back[2] == 3);
    assert_true(f->driver->entered >= 8); /* every call enters the context */
    ops->free(f->backend, a);
    ops->free(f->backend, b);
    ops->free(f->backend, none);
    ops->free(f->backend, NULL);
    assert_int_equal(f->driver->allocated, 0);
    assert_int_equal(ops->alloc(f->backend, 2 << 20, &a), GG_ERR_MEMORY);
    assert_non_null(strstr(f->backend->error, "2097152 bytes"));
    assert_non_null(strstr(f->backend->error, "CUDA_ERROR_OUT_OF_MEMORY"));
}

static gg_status launch(fixture *f, uint32_t smem, const char *label) {
    const uint64_t param = 0x1122334455667788;
    const gg_launch_spec spec = {.grid = 7,
                                 .threads = 96,
                                 .smem_bytes = smem,
                                 .params = &param,
                                 .params_bytes = sizeof param,
                                 .label = label};
    return gg_cuda_backend.launch(f->backend, f->kernel, &spec, (gg_stream)16);
}

static void launches_pass_their_numbers(void **state) {
    fixture *f = *state;
    assert_int_equal(launch(f, 48 * 1024, "small"), GG_OK);
    assert_int_equal(f->driver->smem_attribute_calls, 0);
    assert_int_equal(launch(f, 100000, "large"), GG_OK);
    assert_int_equal(launch(f, 90000, "less"), GG_OK);
    assert_int_equal(f->driver->smem_attribute_calls, 1);
    assert_int_equal(f->driver->smem_attribute, 100000);
    assert_true(f->driver->grid == 7 && f->driver->threads == 96 && f->driver->smem == 90000);
    assert_true(f->driver->first_param == 0x1122334455667788);
    assert_ptr_equal(f->driver->stream, (void *)16);
    assert_false(f->driver->overlaps);
    f->driver->next_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(launch(f, 0, "refused"), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, "'refused'"));
    assert_non_null(strstr(f->backend->error, "CUDA_ERROR_INVALID_VALUE"));
}

/* Only where asked, and where the device and the driver can, in graphs too. */
static void launches_overlap(void **state) {
    static const struct {
        int cc_major, version;
        bool asked, overlaps;
    } table[] = {{9, 12030, true, true},
                 {9, 12030, false, false},
                 {10, 13010, true, true},
                 {9, 12020, true, false},
                 {8, 13010, true, false}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const uint64_t param = 1;
        const gg_launch_spec spec = {.grid = 1,
                                     .threads = 32,
                                     .params = &param,
                                     .params_bytes = sizeof param,
                                     .label = "behind",
                                     .overlaps = table[i].asked};
        char error[GG_ERROR_SIZE];
        gg_backend *backend;
        f->driver->cc_major = table[i].cc_major;
        f->driver->version = table[i].version;
        assert_int_equal(gg_cuda_backend.open(&backend, 0, error), GG_OK);
        assert_int_equal(gg_cuda_backend.launch(backend, f->kernel, &spec, NULL), GG_OK);
        assert_int_equal(f->driver->overlaps, table[i].overlaps);
        gg_cuda_backend.close(backend);
    }
}

static void faults_of_kernels_surface_at_the_wait(void **state) {
    fixture *f = *state;
    float ms;
    assert_int_equal(launch(f, 0, "first"), GG_OK);
    assert_int_equal(gg_cuda_backend.synchronize(f->backend), GG_OK);
    assert_int_equal(launch(f, 0, "second"), GG_OK);
    f->driver->synchronize_fault = CUDA_ERROR_ILLEGAL_ADDRESS;
    assert_int_equal(gg_cuda_backend.synchronize(f->backend), GG_ERR_LAUNCH);
    assert_string_equal(f->backend->error,
                        "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS) in 'second'");
    assert_int_equal(launch(f, 0, "third"), GG_OK);
    assert_int_equal(gg_cuda_backend.download(f->backend, &ms, f, sizeof ms), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, "in one of 2 launches, the last 'third'"));
    assert_int_equal(gg_cuda_backend.timer_stop(f->backend, &ms), GG_ERR_LAUNCH);
    f->driver->synchronize_fault = 0;
    assert_int_equal(gg_cuda_backend.timer_start(f->backend), GG_OK);
    assert_int_equal(gg_cuda_backend.timer_stop(f->backend, &ms), GG_OK);
    assert_true(ms == 1.5f);
}

static void tensor_maps_are_passed_on(void **state) {
    fixture *f = *state;
    uint64_t map[16];
    gg_tensor_map_spec spec = {.base = (void *)4096,
                               .rank = 5,
                               .dims = {72, 8, 2, 25, 4},
                               .strides = {144, 28800, 1152, 57600},
                               .box = {64, 8, 2, 4, 1}};
    static const struct {
        uint32_t columns;
        bool single_lines;
        int swizzle, promotion; /* CU_TENSOR_MAP_SWIZZLE_*; CU_TENSOR_MAP_L2_PROMOTION_L2_128B or _256B */
    } rows[] = {{16, false, 1, 3}, {32, true, 2, 2}, {64, true, 3, 2}, {64, false, 3, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        spec.box[0] = rows[i].columns;
        spec.single_lines = rows[i].single_lines;
        assert_int_equal(gg_cuda_backend.tensor_map(f->backend, &spec, map), GG_OK);
        assert_int_equal(f->driver->map_swizzle, rows[i].swizzle);
        assert_int_equal(f->driver->map_promotion, rows[i].promotion);
    }
    assert_int_equal(map[0], 4096);
    assert_int_equal(f->driver->map_type, 1); /* CU_TENSOR_MAP_DATA_TYPE_UINT16 */
    assert_int_equal(f->driver->map_rank, 5);
    assert_memory_equal(f->driver->map_dims, spec.dims, sizeof spec.dims);
    assert_memory_equal(f->driver->map_strides, spec.strides, sizeof spec.strides);
    assert_memory_equal(f->driver->map_box, spec.box, sizeof spec.box);
    for (int i = 0; i < 5; i++) assert_int_equal(f->driver->map_steps[i], 1);
    assert_int_equal(f->driver->map_interleave, 0);
    assert_int_equal(f->driver->map_fill, 0); /* zeros */
    f->driver->next_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(gg_cuda_backend.tensor_map(f->backend, &spec, map), GG_ERR_ARGUMENT);
    assert_non_null(strstr(f->backend->error, "a box of 64 of 72 x 8 of 8 x 2 of 2 x 4 of 25 x 1 of 4"));
    spec.box[0] = 8;
    assert_int_equal(gg_cuda_backend.tensor_map(f->backend, &spec, map), GG_ERR_ARGUMENT);
    assert_non_null(strstr(f->backend->error, "16 bytes"));
}

static void graphs_are_captured_and_replayed(void **state) {
    fixture *f = *state;
    const gg_backend_ops *ops = &gg_cuda_backend;
    gg_graph *graph;
    assert_int_equal(ops->capture_begin(f->backend, (gg_stream)24), GG_OK);
    assert_int_equal(f->driver->capture_mode, 2); /* CU_STREAM_CAPTURE_MODE_RELAXED */
    assert_int_equal(launch(f, 0, "kept"), GG_OK);
    assert_int_equal(ops->capture_end(f->backend, (gg_stream)24, &graph), GG_OK);
    assert_int_equal(f->driver->graphs, 0); /* only the instance is kept */
    assert_int_equal(ops->graph_launch(f->backend, graph, (gg_stream)32), GG_OK);
    assert_int_equal(f->driver->replays, 1);
    assert_ptr_equal(f->driver->stream, (void *)32);
    ops->graph_free(f->backend, graph);
    ops->graph_free(f->backend, NULL);
    assert_int_equal(f->driver->graph_execs, 0);

    assert_int_equal(ops->capture_begin(f->backend, (gg_stream)24), GG_OK);
    f->driver->next_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(ops->capture_end(f->backend, (gg_stream)24, &graph), GG_ERR_LAUNCH);
    assert_null(graph);
    assert_non_null(strstr(f->backend->error, "cannot capture 'kept'"));
    assert_int_equal(f->driver->graph_execs, 0);
}

static void streams_are_ordered(void **state) {
    fixture *f = *state;
    const int events = f->driver->events;
    assert_int_equal(gg_cuda_backend.stream_order(f->backend, (gg_stream)24, (gg_stream)32), GG_OK);
    assert_ptr_equal(f->driver->recorded_on, (void *)24);
    assert_ptr_equal(f->driver->waiting, (void *)32);
    f->driver->next_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(gg_cuda_backend.stream_order(f->backend, (gg_stream)24, (gg_stream)32), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, "cannot order two streams"));
    assert_int_equal(f->driver->events, events); /* none is left */
}

static void assert_stream(fixture *f, gg_stream stream, uint64_t id, uint64_t capture) {
    uint64_t got[2] = {0};
    assert_int_equal(gg_cuda_backend.stream_id(f->backend, stream, &got[0], &got[1]), GG_OK);
    assert_true(got[0] == id && got[1] == capture);
}

static void streams_have_identities(void **state) {
    fixture *f = *state;
    const gg_backend_ops *ops = &gg_cuda_backend;
    uint64_t ids[2][2];
    gg_stream streams[2];
    gg_graph *graph;
    assert_stream(f, NULL, 0, 0);
    assert_stream(f, (gg_stream)24, 24, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ops->stream_new(f->backend, &streams[i]), GG_OK);
        assert_int_equal(ops->stream_id(f->backend, streams[i], &ids[i][0], &ids[i][1]), GG_OK);
        ops->stream_free(f->backend, streams[i]);
    }
    assert_ptr_equal(streams[0], streams[1]); /* made again at the same address */
    assert_true(ids[0][0] != ids[1][0]);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(ops->capture_begin(f->backend, (gg_stream)24), GG_OK);
        assert_stream(f, (gg_stream)24, 24, i);
        assert_stream(f, (gg_stream)32, 32, 0);
        assert_int_equal(ops->capture_end(f->backend, (gg_stream)24, &graph), GG_OK);
        assert_stream(f, (gg_stream)24, 24, 0);
        ops->graph_free(f->backend, graph);
    }
    f->driver->stream_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(ops->stream_id(f->backend, NULL, &ids[0][0], &ids[0][1]), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, "which stream"));
}

static void count_release(void *count) { ++*(int *)count; }

/* Until the last instance is gone, and the graph; once. */
static void graphs_hold_what_they_need(void **state) {
    fixture *f = *state;
    const gg_backend_ops *ops = &gg_cuda_backend;
    gg_graph *graph;
    int released = 0;
    assert_int_equal(ops->capture_begin(f->backend, (gg_stream)24), GG_OK);
    assert_int_equal(ops->graph_holds(f->backend, (gg_stream)24, count_release, &released), GG_OK);
    assert_int_equal(ops->capture_end(f->backend, (gg_stream)24, &graph), GG_OK);
    assert_int_equal(ops->graph_launch(f->backend, graph, (gg_stream)24), GG_OK);
    assert_int_equal(released, 0);
    assert_int_equal(f->driver->objects, 1);
    ops->graph_free(f->backend, graph);
    assert_int_equal(released, 1);

    assert_int_equal(ops->capture_begin(f->backend, (gg_stream)24), GG_OK);
    assert_int_equal(ops->graph_holds(f->backend, (gg_stream)24, count_release, &released), GG_OK);
    f->driver->next_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(ops->capture_end(f->backend, (gg_stream)24, &graph), GG_ERR_LAUNCH);
    assert_int_equal(released, 2);

    assert_int_equal(ops->capture_begin(f->backend, (gg_stream)24), GG_OK);
    f->driver->object_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(ops->graph_holds(f->backend, (gg_stream)24, count_release, &released), GG_ERR_LAUNCH);
    assert_int_equal(released, 3);
    f->driver->object_fault = 0;
    f->driver->retain_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(ops->graph_holds(f->backend, (gg_stream)24, count_release, &released), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, "captured graph"));
    assert_int_equal(released, 4);
    assert_int_equal(ops->capture_end(f->backend, (gg_stream)24, &graph), GG_OK);
    ops->graph_free(f->backend, graph);
    assert_int_equal(released, 4);
    assert_int_equal(f->driver->objects, 0);
}

static void bad_files_are_named(void **state) {
    fixture *f = *state;
    gg_kernel *kernel;
    assert_int_equal(gg_cuda_backend.load(f->backend, "/nonexistent.cubin", "kernel", &kernel), GG_ERR_IO);
    assert_non_null(strstr(f->backend->error, "'/nonexistent.cubin'"));
    f->driver->next_fault = CUDA_ERROR_INVALID_VALUE;
    assert_int_equal(gg_cuda_backend.load(f->backend, f->path, "kernel", &kernel), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, f->path));
    int modules = f->driver->modules;
    assert_int_equal(gg_cuda_backend.load(f->backend, f->path, "other", &kernel), GG_ERR_LAUNCH);
    assert_non_null(strstr(f->backend->error, "no kernel 'other'"));
    assert_int_equal(f->driver->modules, modules);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_device_is_described),
        TEST(targets_follow_the_capability),
        TEST(memory_is_moved_and_filled),
        TEST(launches_pass_their_numbers),
        TEST(launches_overlap),
        TEST(faults_of_kernels_surface_at_the_wait),
        TEST(tensor_maps_are_passed_on),
        TEST(graphs_are_captured_and_replayed),
        TEST(streams_are_ordered),
        TEST(streams_have_identities),
        TEST(graphs_hold_what_they_need),
        TEST(bad_files_are_named),
        cmocka_unit_test(closing_gives_everything_back),
        cmocka_unit_test(missing_devices_are_told),
    };
    return cmocka_run_group_tests(tests, load_driver, NULL);
}
