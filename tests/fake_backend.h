/* fake_backend.h: a backend that records what it is asked for and runs nothing. */
#ifndef MG_FAKE_BACKEND_H
#define MG_FAKE_BACKEND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context.h"
#include "device/params.h"
#include "folder.h"

enum { FAKE_RECORDS = 16, FAKE_PARAMS = 1024, FAKE_LABEL = 512, FAKE_BUFFERS = 12 };

/* What was asked for, beyond FAKE_RECORDS only counted, and how to answer. */
typedef struct fake {
    gg_backend base;
    gg_device device;
    struct {
        char label[FAKE_LABEL];
        gg_launch_spec spec;
        gg_buffer buffers[FAKE_BUFFERS];
        _Alignas(64) unsigned char params[FAKE_PARAMS];
    } launches[FAKE_RECORDS];
    gg_tensor_map_spec maps[FAKE_RECORDS];
    struct {
        void *dst;
        uint32_t word;
        size_t bytes;
    } fills[FAKE_RECORDS];
    struct {
        void (*release)(void *);
        void *data;
    } graphs[FAKE_RECORDS]; /* what each holds; destroyed with the backend unless before */
    int num_graphs, num_waits, allocated;
    uint64_t made_again,
        capture; /* how often streams were, at the same addresses; what is being captured of all */
    int num_launches, num_maps, num_fills, num_loads, num_flushes;
    char newest[FAKE_LABEL]; /* label of the newest launch */
    gg_status launch_status, map_status, synchronize_status, alloc_status, stream_status, graph_status;
    float (*milliseconds)(struct fake *); /* what the timer reads */
    int num_timings;
    char favourite[GG_MACROS_SIZE]; /* for the timer */
} fake;

static gg_status fake_open(gg_backend **out, int device, char error[GG_ERROR_SIZE]);
static void fake_close(gg_backend *backend);
static const gg_device *fake_device(const gg_backend *backend) { return &((const fake *)backend)->device; }
static gg_target fake_target(const gg_backend *backend) {
    (void)backend;
    return (gg_target){"sim"}; /* whose compiler is there on every machine */
}

static gg_status fake_load(gg_backend *backend, const char *path, const char *entry, gg_kernel **out) {
    (void)entry;
    *out = (gg_kernel *)backend; /* never looked into */
    ((fake *)backend)->num_loads++;
    return access(path, R_OK) ? GG_ERR_IO : GG_OK;
}

static gg_status fake_launch(gg_backend *backend, gg_kernel *kernel, const gg_launch_spec *spec,
                             gg_stream stream) {
    fake *f = (fake *)backend;
    int at = f->num_launches++;
    (void)stream;
    assert_ptr_equal(kernel, backend);
    assert_true(spec->params_bytes <= FAKE_PARAMS);
    snprintf(f->newest, sizeof f->newest, "%s", spec->label);
    if (at < FAKE_RECORDS) {
        snprintf(f->launches[at].label, FAKE_LABEL, "%s", spec->label);
        memcpy(f->launches[at].params, spec->params, spec->params_bytes);
        f->launches[at].spec = *spec;
        assert_true(spec->buffer_count <= FAKE_BUFFERS);
        if (spec->buffer_count)
            memcpy(f->launches[at].buffers, spec->buffers, spec->buffer_count * sizeof *spec->buffers);
        f->launches[at].spec.buffers = f->launches[at].buffers;
    }
    if (f->launch_status) snprintf(backend->error, sizeof backend->error, "made-up launch fault");
    return f->launch_status;
}

static gg_status fake_tensor_map(gg_backend *backend, const gg_tensor_map_spec *spec, void *map) {
    fake *f = (fake *)backend;
    int at = f->num_maps++;
    if (at < FAKE_RECORDS) f->maps[at] = *spec;
    memcpy(map, &spec->base, sizeof spec->base); /* so that a test sees which map went where */
    if (f->map_status) snprintf(backend->error, sizeof backend->error, "made-up map fault");
    return f->map_status;
}

static gg_status fake_fill(gg_backend *backend, void *dst, uint32_t word, size_t bytes, gg_stream stream) {
    fake *f = (fake *)backend;
    int at = f->num_fills++;
    (void)stream;
    assert_true(at < FAKE_RECORDS);
    f->fills[at].dst = dst;
    f->fills[at].word = word;
    f->fills[at].bytes = bytes;
    return GG_OK;
}

static gg_status fake_synchronize(gg_backend *backend) {
    fake *f = (fake *)backend;
    f->num_waits++;
    if (f->synchronize_status) snprintf(backend->error, sizeof backend->error, "made-up device fault");
    return f->synchronize_status;
}

/* Memory is the host's. */
static gg_status fake_alloc(gg_backend *backend, size_t bytes, void **out) {
    fake *f = (fake *)backend;
    *out = NULL;
    if (f->alloc_status) {
        snprintf(backend->error, sizeof backend->error, "made-up lack of %zu bytes", bytes);
        return f->alloc_status;
    }
    *out = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(*out, 0xaa, bytes);
    f->allocated++;
    return GG_OK;
}

static void fake_free(gg_backend *backend, void *memory) {
    ((fake *)backend)->allocated -= memory != NULL;
    free(memory);
}

static gg_status fake_upload(gg_backend *backend, void *dst, const void *src, size_t bytes) {
    (void)backend;
    memcpy(dst, src, bytes);
    return GG_OK;
}

static gg_status fake_stream_id(gg_backend *backend, gg_stream stream, uint64_t *id, uint64_t *capture) {
    const fake *f = (fake *)backend;
    *id = (uintptr_t)stream + 1000 * f->made_again;
    *capture = f->capture;
    if (f->stream_status) snprintf(backend->error, sizeof backend->error, "made-up stream fault");
    return f->stream_status;
}

static gg_status fake_graph_holds(gg_backend *backend, gg_stream stream, void (*release)(void *),
                                  void *data) {
    fake *f = (fake *)backend;
    (void)stream;
    if (f->graph_status) {
        snprintf(backend->error, sizeof backend->error, "made-up graph fault");
        release(data);
        return f->graph_status;
    }
    assert_true(f->num_graphs < FAKE_RECORDS);
    f->graphs[f->num_graphs].release = release;
    f->graphs[f->num_graphs++].data = data;
    return GG_OK;
}

static gg_status fake_flush_cache(gg_backend *backend) {
    ((fake *)backend)->num_flushes++;
    return GG_OK;
}

static gg_status fake_timer_start(gg_backend *backend) {
    (void)backend;
    return GG_OK;
}

static gg_status fake_timer_stop(gg_backend *backend, float *milliseconds) {
    fake *f = (fake *)backend;
    *milliseconds = f->milliseconds ? f->milliseconds(f) : 1;
    f->num_timings++;
    return GG_OK;
}

static const gg_backend_ops fake_ops = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .device = fake_device,
    .target = fake_target,
    .alloc = fake_alloc,
    .free = fake_free,
    .upload = fake_upload,
    .fill = fake_fill,
    .load = fake_load,
    .tensor_map = fake_tensor_map,
    .launch = fake_launch,
    .synchronize = fake_synchronize,
    .stream_id = fake_stream_id,
    .graph_holds = fake_graph_holds,
    .flush_cache = fake_flush_cache,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
};

static void fake_destroy_graph(fake *f, int at) {
    if (f->graphs[at].release) f->graphs[at].release(f->graphs[at].data);
    f->graphs[at].release = NULL;
}

static void fake_close(gg_backend *backend) {
    fake *f = (fake *)backend;
    for (int i = 0; i < f->num_graphs; i++) fake_destroy_graph(f, i);
    free(f);
}

static gg_status fake_open(gg_backend **out, int device, char error[GG_ERROR_SIZE]) {
    if (device) {
        snprintf(error, GG_ERROR_SIZE, "no device %d", device);
        *out = NULL;
        return GG_ERR_NO_DEVICE;
    }
    size_t size = (sizeof(fake) + 63) / 64 * 64;
    fake *f = aligned_alloc(64, size);
    memset(f, 0, size);
    f->base.ops = &fake_ops;
    f->device = (gg_device){.name = "fake",
                            .cc = 90,
                            .sm_count = 4,
                            .smem_per_block = 227 * 1024,
                            .smem_per_sm = 228 * 1024,
                            .threads_per_sm = 2048,
                            .driver = "none"};
    *out = &f->base;
    return GG_OK;
}

/* A context on the fake with its cache in `cache_dir`. */
static gg_context *fake_context(const char *cache_dir, bool debug) {
    gg_context *context;
    if (gg_open_on(&context, &fake_ops, &(gg_options){.cache_dir = cache_dir, .debug = debug}))
        fail_msg("%s", gg_error(context));
    return context;
}

static fake *fake_of(gg_context *context) { return (fake *)gg_context_backend(context); }

/* Aligned addresses that nothing follows. */
#define FAKE_POINTER(n) ((void *)((uintptr_t)(n) << 20))
static gg_tensors fake_tensors(void) {
    return (gg_tensors){
        .x = FAKE_POINTER(1),
        .w = FAKE_POINTER(2),
        .dy = FAKE_POINTER(3),
        .y = FAKE_POINTER(4),
        .dx = FAKE_POINTER(5),
        .dw = FAKE_POINTER(6),
        .m_sizes = FAKE_POINTER(7),
        .gather_indices = FAKE_POINTER(8),
        .topk_weights = FAKE_POINTER(9),
    };
}

#endif
