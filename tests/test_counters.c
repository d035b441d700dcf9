/* test_counters.c: the counters that launches draw their tiles from: whose they are, when they come back, and that a launch has
 * one, names it and leaves it zero. */
#include "fake_backend.h"

#include <dlfcn.h>

#include "fake_cuda.h"
#include "patched.h"

#define STREAM(n) ((gg_stream)(uintptr_t)(n))

static const gg_config tile = {
    .mainloop = GG_WGMMA, .block_m = 64, .block_n = 64, .block_k = 64, .num_warps = 4, .num_stages = 3};
static const gg_problem problem = {.op = GG_FORWARD, .E = 4, .N = 200, .K = 72, .topk = 2, .T = 48};

/* A context with so many counters. */
static gg_context *context_with(const char *cache_dir, size_t count) {
    gg_context *context = fake_context(cache_dir, false);
    gg_counters_close(context);
    assert_int_equal(fake_of(context)->allocated, 0);
    assert_int_equal(gg_counters_open(context, count), GG_OK);
    fake_of(context)->num_waits = 0;
    return context;
}

static uint32_t *take(gg_context *context, int stream) {
    uint32_t *drawn = NULL;
    if (gg_counters_take(context, STREAM(stream), &drawn)) fail_msg("%s", gg_error(context));
    assert_non_null(drawn);
    assert_int_equal(*drawn, 0);
    return drawn;
}

static uint32_t *take_captured(gg_context *context, int stream, uint64_t capture) {
    fake_of(context)->capture = capture;
    uint32_t *drawn = take(context, stream);
    fake_of(context)->capture = 0;
    return drawn;
}

static void assert_fails(gg_context *context, int stream, gg_status expected, const char *words) {
    uint32_t *drawn;
    assert_int_equal(gg_counters_take(context, STREAM(stream), &drawn), expected);
    if (!strstr(gg_error(context), words)) fail_msg("'%s' lacks '%s'", gg_error(context), words);
}

/* --- whose they are --- */

static void a_stream_keeps_its_counter(void **state) {
    gg_context *context = fake_context(*state, false);
    uint32_t *of[4];
    assert_int_equal(context->counters.count, GG_COUNTERS);
    for (int i = 0; i < 4; i++) of[i] = take(context, i);
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(take(context, i), of[i]);
        assert_true((uintptr_t)of[i] % 32 == 0);
        for (int j = 0; j < i; j++) assert_ptr_not_equal(of[i], of[j]);
    }
    fake_of(context)->made_again++;
    assert_ptr_not_equal(take(context, 1), of[1]);
    gg_close(context);
}

/* Streams that run in the order of launches share the only one. */
static void without_identities_there_is_one(void **state) {
    gg_backend_ops ops = fake_ops;
    gg_context *context;
    ops.stream_id = NULL;
    assert_int_equal(gg_open_on(&context, &ops, &(gg_options){.cache_dir = *state}), GG_OK);
    assert_int_equal(context->counters.count, 1);
    gg_context_backend(context)->ops = &ops;
    assert_ptr_equal(take(context, 1), take(context, 2));
    gg_close(context);
}

static void a_capture_has_its_own(void **state) {
    gg_context *context = fake_context(*state, false);
    uint32_t *own = take(context, 1), *captured = take_captured(context, 1, 5);
    assert_ptr_not_equal(captured, own);
    assert_ptr_equal(take_captured(context, 1, 5), captured);
    assert_int_equal(fake_of(context)->num_graphs, 1);
    assert_ptr_equal(take(context, 1), own); /* the capture has ended */
    assert_ptr_not_equal(take_captured(context, 2, 5), captured);
    assert_ptr_not_equal(take_captured(context, 1, 6), captured);
    gg_close(context);
}

/* --- when they come back --- */

static void streams_give_back_what_is_idle(void **state) {
    gg_context *context = context_with(*state, 4);
    const fake *f = fake_of(context);
    uint32_t *captured = take_captured(context, 1, 7);
    for (int stream = 1; stream <= 3; stream++) take(context, stream);
    assert_int_equal(f->num_waits, 0);
    uint32_t *fourth = take(context, 4); /* the device is waited for */
    assert_int_equal(f->num_waits, 1);
    assert_ptr_not_equal(fourth, captured);
    assert_ptr_equal(take(context, 4), fourth);
    for (int stream = 5; stream < 50; stream++) assert_ptr_not_equal(take(context, stream), captured);
    assert_int_equal(f->num_waits, 1 + 15);
    assert_ptr_equal(take_captured(context, 1, 7), captured);
    fake_of(context)->synchronize_status = GG_ERR_LAUNCH;
    take(context, 50), take(context, 51);
    assert_fails(context, 52, GG_ERR_LAUNCH, "waiting for a tile counter: made-up device fault");
    gg_close(context);
}

/* Without a wait, which would break the capture. */
static void captures_do_not_wait(void **state) {
    gg_context *context = context_with(*state, 3);
    fake *f = fake_of(context);
    for (int stream = 1; stream <= 2; stream++) take(context, stream);
    take_captured(context, 1, 1);
    f->capture = 2;
    assert_fails(
        context, 1, GG_ERR_MEMORY,
        "no tile counter left: captured graphs hold 1 of 3 (call gg_synchronize before the capture)");
    assert_int_equal(f->num_waits, 0);
    f->capture = 0;
    assert_int_equal(gg_synchronize(context), GG_OK);
    take_captured(context, 1, 2);
    take_captured(context, 2, 2);
    f->capture = 3;
    assert_fails(context, 1, GG_ERR_MEMORY, "hold 3 of 3 (destroy graphs that are launched no more)");
    f->capture = 0;
    assert_fails(context, 1, GG_ERR_MEMORY, "hold 3 of 3 (destroy graphs that are launched no more)");
    gg_close(context);
}

static void graphs_give_back_when_they_are_gone(void **state) {
    gg_context *context = context_with(*state, 3);
    fake *f = fake_of(context);
    uint32_t *of[3];
    for (int i = 0; i < 3; i++) of[i] = take_captured(context, 1, (uint64_t)i + 1);
    assert_int_equal(gg_synchronize(context), GG_OK); /* that it is idle does not matter */
    for (int i = 0; i < 3; i++) assert_ptr_equal(take_captured(context, 1, (uint64_t)i + 1), of[i]);
    fake_destroy_graph(f, 1);
    f->num_waits = 0;
    assert_ptr_equal(take_captured(context, 2, 9), of[1]);
    assert_ptr_equal(take_captured(context, 1, 3), of[2]);
    f->capture = 2; /* it is forgotten */
    assert_fails(context, 1, GG_ERR_MEMORY, "hold 3 of 3");
    f->capture = 0;
    fake_destroy_graph(f, 3);
    assert_ptr_equal(take(context, 1), of[1]);
    assert_int_equal(f->num_waits, 0);
    gg_close(context);
}

static void failures_hand_out_nothing(void **state) {
    gg_context *context = context_with(*state, 1);
    fake *f = fake_of(context);
    f->stream_status = GG_ERR_LAUNCH;
    assert_fails(context, 1, GG_ERR_LAUNCH, "tile counter: made-up stream fault");
    f->stream_status = GG_OK;
    f->capture = 1;
    f->graph_status = GG_ERR_LAUNCH;
    for (int i = 0; i < 2; i++) /* nor is it remembered */
        assert_fails(context, 1, GG_ERR_LAUNCH, "tile counter: made-up graph fault");
    f->graph_status = GG_OK;
    take(context, 1);
    gg_close(context);
}

/* --- opening --- */

static void counters_are_opened_and_closed(void **state) {
    gg_context *context = context_with(*state, 2);
    fake *f = fake_of(context);
    for (size_t i = 0; i < 2 * 32 / 4; i++) assert_int_equal(((uint32_t *)context->counters.memory)[i], 0);
    gg_counters_close(context);
    assert_int_equal(f->num_waits, 1); /* what still runs draws */
    assert_int_equal(f->allocated, 0);
    f->alloc_status = GG_ERR_MEMORY;
    assert_int_equal(gg_counters_open(context, 2), GG_ERR_MEMORY);
    assert_string_equal(gg_error(context),
                        "no tile counters (free some device memory): made-up lack of 64 bytes");
    gg_close(context);
}

/* The real backend on a made-up driver. */
static void a_full_device_is_told(void **state) {
    void *library = dlopen(BINARY_DIR "/fakes/libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    fake_cuda *driver = library ? dlsym(library, "fake_cuda_state") : NULL;
    const gg_options options = {.cache_dir = *state};
    gg_context *context;
    uint32_t *drawn[3];
    assert_non_null(driver);
    *driver = (fake_cuda){.devices = 1, .cc_major = 9, .version = 13010, .memory = 1000};
    assert_int_equal(gg_open_on(&context, &gg_cuda_backend, &options), GG_ERR_MEMORY);
    assert_non_null(strstr(gg_error(context), "no tile counters (free some device memory)"));
    assert_non_null(strstr(gg_error(context), "1048576 bytes"));
    gg_close(context);
    assert_true(driver->allocated == 0 && driver->contexts == 0);
    driver->memory = 1 << 20;
    if (gg_open_on(&context, &gg_cuda_backend, &options)) fail_msg("%s", gg_error(context));
    assert_int_equal(driver->allocated, 1);
    drawn[0] = take(context, 0);
    drawn[1] = take(context, 24);
    gg_backend *backend = gg_context_backend(context);
    gg_graph *graph;
    assert_int_equal(backend->ops->capture_begin(backend, STREAM(24)), GG_OK);
    drawn[2] = take(context, 24);
    assert_int_equal(driver->objects, 1);
    assert_int_equal(backend->ops->capture_end(backend, STREAM(24), &graph), GG_OK);
    assert_ptr_equal(take(context, 24), drawn[1]);
    assert_true(drawn[0] != drawn[1] && drawn[1] != drawn[2]);
    assert_int_equal(context->counters.taken, 3);
    backend->ops->graph_free(backend, graph);
    assert_int_equal(driver->objects, 0);
    assert_int_equal(gg_synchronize(context), GG_OK);
    assert_int_equal(context->counters.taken, 0);
    gg_close(context);
    assert_true(driver->allocated == 0 && driver->contexts == 0);
}

/* --- launches --- */

static const gemm_params *params_of(const fake *f, int launch) {
    return (const gemm_params *)f->launches[launch].params;
}

static const gg_buffer *counter_among(const fake *f, int launch) {
    const gg_launch_spec *spec = &f->launches[launch].spec;
    for (size_t i = 0; i < spec->buffer_count; i++)
        if (!strcmp(spec->buffers[i].name, "tile counter")) return &spec->buffers[i];
    return NULL;
}

static void launches_have_counters(void **state) {
    gg_context *context = fake_context(*state, false);
    const gg_tensors tensors = fake_tensors();
    const gg_config other = {.mainloop = GG_MMA_SYNC,
                             .block_m = 64,
                             .block_n = 64,
                             .block_k = 64,
                             .num_warps = 4,
                             .num_stages = 2};
    const fake *f = fake_of(context);
    for (int stream = 0; stream < 3; stream++)
        assert_int_equal(gg_forward(context, &problem, &tile, &tensors, STREAM(stream % 2)), GG_OK);
    assert_ptr_equal(params_of(f, 0)->drawn, params_of(f, 2)->drawn);
    assert_ptr_not_equal(params_of(f, 0)->drawn, params_of(f, 1)->drawn);
    for (int i = 0; i < 3; i++) {
        const gg_buffer *buffer = counter_among(f, i);
        assert_ptr_equal(params_of(f, i)->drawn, take(context, i % 2));
        assert_non_null(buffer);
        assert_ptr_equal(buffer->data, params_of(f, i)->drawn);
        assert_true(buffer->bytes == 4 && buffer->use == GG_BUFFER_INOUT);
    }
    assert_int_equal(gg_forward(context, &problem, &other, &tensors, NULL), GG_OK);
    assert_null(params_of(f, 3)->drawn);
    assert_null(counter_among(f, 3));
    assert_int_equal(f->num_fills, 0); /* a kernel puts it back itself */
    gg_close(context);
}

static void a_failed_launch_leaves_zero(void **state) {
    gg_context *context = fake_context(*state, false);
    const gg_tensors tensors = fake_tensors();
    fake *f = fake_of(context);
    f->launch_status = GG_ERR_LAUNCH;
    assert_int_equal(gg_forward(context, &problem, &tile, &tensors, NULL), GG_ERR_LAUNCH);
    assert_string_equal(gg_error(context), "forward: made-up launch fault");
    assert_int_equal(f->num_fills, 1);
    assert_ptr_equal(f->fills[0].dst, params_of(f, 0)->drawn);
    assert_true(f->fills[0].word == 0 && f->fills[0].bytes == 4);
    f->launch_status = GG_OK;
    f->stream_status = GG_ERR_LAUNCH;
    assert_int_equal(gg_forward(context, &problem, &tile, &tensors, NULL), GG_ERR_LAUNCH);
    assert_true(f->num_launches == 1 && f->num_fills == 1);
    gg_close(context);
}

/* In the place of wgmma.cu: each block notes the tiles that it draws; with many rows it ends in the middle. */
static const char drawing[] = "#include \"tile.h\"\n"
                              "#define TILES 20\n"
                              "KERNEL(grouped_gemm, gemm_params, NUM_WARPS * 32 + 128, 1) {\n"
                              "    grid_wait();\n"
                              "    if (threadIdx.x) return;\n"
                              "    for (u32 tile = blockIdx.x; tile < TILES;) {\n"
                              "        p.out[tile] = (u16)(tile + 1);\n"
                              "        u32 drawn = atomic_add_u32(p.drawn, 1);\n"
                              "        if (p.M > 96 && drawn == 9) device_trap();\n"
                              "        if (drawn == TILES - 1) atomic_add_u32(p.drawn, 0u - TILES);\n"
                              "        tile = gridDim.x + drawn;\n"
                              "    }\n"
                              "}\n";

/* A launch of it; whether it ran, and how many tiles were noted. */
static gg_status draw(gg_context *context, const char *text, int T, gg_tensors *tensors, int *noted) {
    enum { TILES = 20 };
    uint16_t out[TILES] = {0};
    gg_source_file files[64];
    gg_problem p = problem;
    size_t i = 0;
    p.T = T;
    do files[i] = gg_embedded_sources[i];
    while (gg_embedded_sources[i++].name);
    for (i = 0; files[i].name; i++)
        if (!strcmp(files[i].name, "wgmma.cu")) files[i].text = text;
    gg_context_use_sources(context, files, "wgmma.cu");
    assert_int_equal(gg_upload(context, tensors->y, out, sizeof out), GG_OK);
    const gg_status status = gg_forward(context, &p, &tile, tensors, NULL);
    assert_int_equal(gg_download(context, out, tensors->y, sizeof out), GG_OK);
    for (*noted = 0, i = 0; i < TILES; i++) *noted += out[i] == i + 1;
    return status;
}

static void a_simulated_launch_draws(void **state) {
    enum { MOST_ROWS = 200 };
    gg_context *context;
    gg_tensors t = {0};
    int noted;
    setenv("MOEGEMM_SIM_CHECK", "race", 1);
    assert_int_equal(gg_open(&context, &(gg_options){.backend = "sim", .cache_dir = *state}), GG_OK);
    unsetenv("MOEGEMM_SIM_CHECK");
    void *x, *w, *sizes;
    assert_int_equal(gg_alloc(context, MOST_ROWS * 72 * 2, &x), GG_OK);
    assert_int_equal(gg_alloc(context, 4 * 200 * 72 * 2, &w), GG_OK);
    assert_int_equal(gg_alloc(context, 4 * 4, &sizes), GG_OK);
    assert_int_equal(gg_alloc(context, MOST_ROWS * 200 * 2, &t.y), GG_OK);
    t.x = x, t.w = w, t.m_sizes = sizes;
    const uint32_t *drawn = context->counters.memory;
    for (int i = 0; i < 3; i++) {
        if (draw(context, drawing, 48, &t, &noted)) fail_msg("%s", gg_error(context));
        assert_true(noted == 20 && *drawn == 0);
        /* which ends in the middle, and the next is right */
        assert_int_equal(draw(context, drawing, 90, &t, &noted), GG_ERR_LAUNCH);
        assert_true(noted < 20 && *drawn == 0);
    }
    /* what goes wrong if it is not put back, and if the kernel takes the one beside it */
    char *forgets = patched(drawing, "atomic_add_u32(p.drawn, 0u - TILES);", ";");
    assert_int_equal(draw(context, forgets, 48, &t, &noted), GG_OK);
    assert_int_equal(*drawn, 20);
    assert_int_equal(draw(context, drawing, 48, &t, &noted), GG_OK);
    assert_true(noted < 20);
    char *beside = patched(drawing, "u32 drawn = atomic_add_u32(p.drawn, 1);",
                           "u32 drawn = atomic_add_u32(p.drawn + 1, 1);");
    assert_int_equal(draw(context, beside, 48, &t, &noted), GG_ERR_LAUNCH);
    assert_non_null(strstr(gg_error(context), "tile counter"));
    free(forgets);
    free(beside);
    gg_free(context, x), gg_free(context, w), gg_free(context, sizes), gg_free(context, t.y);
    gg_close(context);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(a_stream_keeps_its_counter),  TEST(without_identities_there_is_one),
        TEST(a_capture_has_its_own),       TEST(streams_give_back_what_is_idle),
        TEST(captures_do_not_wait),        TEST(graphs_give_back_when_they_are_gone),
        TEST(failures_hand_out_nothing),   TEST(counters_are_opened_and_closed),
        TEST(a_full_device_is_told),       TEST(launches_have_counters),
        TEST(a_failed_launch_leaves_zero), TEST(a_simulated_launch_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
