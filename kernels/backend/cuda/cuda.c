/* cuda.c: the backend that runs kernels on an NVIDIA GPU through the driver API. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda_backend.h"

/* Twice the largest L2 known (126 MiB, B200): writing this much leaves nothing of an earlier launch there. */
#define FLUSH_BYTES ((size_t)256 << 20)

struct gg_kernel {
    gg_kernel *next;
    cuda_module module;
    cuda_function function;
    uint32_t smem_allowed; /* dynamic shared memory the function may ask for so far */
};

/* What a launch may use before an attribute allows more. */
enum { SMEM_DEFAULT = 48 * 1024 };

gg_status cuda_check(cuda_backend *b, cuda_result result, gg_status fault, const char *format, ...) {
    char what[GG_ERROR_SIZE / 2], words[GG_ERROR_SIZE / 4];
    va_list arguments;
    if (!result) return GG_OK;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    cuda_describe(&b->api, result, words, sizeof words);
    snprintf(b->base.error, sizeof b->base.error, "%s: %s", what, words);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? GG_ERR_MEMORY : fault;
}

/* Kernel faults surface at the next wait. One launch outstanding is named for certain, of several only the
 * last. */
static gg_status wait_all(cuda_backend *b) {
    cuda_result result = b->api.context_synchronize();
    if (!result) {
        b->launches = 0;
        b->elsewhere = false;
        return GG_OK;
    }
    char words[GG_ERROR_SIZE / 4];
    cuda_describe(&b->api, result, words, sizeof words);
    if (b->launches <= 1)
        snprintf(b->base.error, sizeof b->base.error, "%s in '%s'", words, b->label);
    else
        snprintf(b->base.error, sizeof b->base.error, "%s in one of %llu launches, the last '%s'", words,
                 (unsigned long long)b->launches, b->label);
    return GG_ERR_LAUNCH;
}

/* Before a copy, which the default stream has in its turn: where processes share a GPU, every wait of its own costs a
 * change of whose turn it is. */
static gg_status wait_elsewhere(cuda_backend *b) { return b->elsewhere ? wait_all(b) : GG_OK; }

gg_status cuda_enter(cuda_backend *b) {
    return cuda_check(b, b->api.context_set_current(b->context), GG_ERR_NO_DEVICE,
                      "cannot enter the device's context");
}

static gg_status count_devices(cuda_driver *api, int *count, char why[GG_REASON_SIZE]) {
    char words[GG_REASON_SIZE / 2];
    if (!cuda_driver_load(api, why)) return GG_ERR_NO_DEVICE;
    cuda_result result = api->init(0);
    if (!result) result = api->device_get_count(count);
    if (!result && *count > 0) return GG_OK;
    cuda_describe(api, result, words, sizeof words);
    snprintf(why, GG_REASON_SIZE, "no CUDA device: %s", result ? words : "the driver lists none");
    return GG_ERR_NO_DEVICE;
}

/* A process that has started the driver cannot fork children that use it, and the caller may mean to; so
 * where the driver is not loaded yet, a child asks. */
bool gg_cuda_available(char why[GG_REASON_SIZE]) {
    cuda_driver api;
    int count, status, ends[2];
    why[0] = 0;
    if (cuda_driver_loaded()) return !count_devices(&api, &count, why);
    if (pipe(ends)) {
        snprintf(why, GG_REASON_SIZE, "cannot ask the CUDA driver: %s", strerror(errno));
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        bool found = !count_devices(&api, &count, why);
        ssize_t written = found ? 0 : write(ends[1], why, strlen(why));
        _exit(found && written == 0 ? 0 : 1);
    }
    close(ends[1]);
    ssize_t size = child > 0 ? read(ends[0], why, GG_REASON_SIZE - 1) : 0;
    close(ends[0]);
    why[size > 0 ? size : 0] = 0;
    if (child > 0)
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (!why[0]) snprintf(why, GG_REASON_SIZE, "the CUDA driver does not start");
    return false;
}

/* The driver's own version is not in its interface, only the CUDA version it serves (13000 for 13.0). */
static void name_versions(gg_device *device, int version) {
    char driver[16] = "", compiler[128];
    FILE *file = fopen("/sys/module/nvidia/version", "r");
    if (file) {
        if (fscanf(file, "%15s", driver) != 1) driver[0] = 0;
        fclose(file);
    }
    snprintf(device->driver, sizeof device->driver, "%s%sCUDA %d.%d", driver, *driver ? " " : "",
             version / 1000, version % 1000 / 10);
    gg_cuda_compiler_version(compiler);
    snprintf(device->compiler, sizeof device->compiler, "%.63s", compiler);
}

static cuda_result read_device(cuda_backend *b) {
    const struct {
        int attribute;
        void *out;
    } attributes[] = {
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &b->device.sm_count},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &b->device.smem_per_block},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, &b->device.smem_per_sm},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, &b->device.threads_per_sm},
    };
    const cuda_driver *api = &b->api;
    cuda_result result;
    size_t memory;
    int value, major, minor, version;
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if ((result = api->device_get_attribute(&value, attributes[i].attribute, b->ordinal))) return result;
        memcpy(attributes[i].out, &value, sizeof value);
    }
    if ((result =
             api->device_get_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, b->ordinal)))
        return result;
    if ((result =
             api->device_get_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, b->ordinal)))
        return result;
    if ((result = api->device_get_name(b->device.name, sizeof b->device.name, b->ordinal))) return result;
    if ((result = api->device_total_memory(&memory, b->ordinal))) return result;
    if ((result = api->driver_get_version(&version))) return result;
    b->device.memory = memory;
    b->device.cc = 10 * major + minor;
    b->overlaps = major >= 9 && version >= 12030;
    name_versions(&b->device, version);
    return 0;
}

static void cuda_close(gg_backend *backend);

static gg_status cuda_open(gg_backend **out, int device, char error[GG_ERROR_SIZE]) {
    char why[GG_REASON_SIZE];
    gg_status status;
    int count;
    cuda_backend *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b) {
        snprintf(error, GG_ERROR_SIZE, "out of memory");
        return GG_ERR_MEMORY;
    }
    b->base.ops = &gg_cuda_backend;
    if ((status = count_devices(&b->api, &count, why))) {
        snprintf(b->base.error, sizeof b->base.error, "%s", why);
        goto out;
    }
    if (device < 0 || device >= count) {
        snprintf(b->base.error, sizeof b->base.error, "no device %d: there are %d, counted from 0", device,
                 count);
        status = GG_ERR_NO_DEVICE;
        goto out;
    }
    cuda_result result = b->api.device_get(&b->ordinal, device);
    if (!result) result = read_device(b);
    if (!result) result = b->api.context_retain(&b->context, b->ordinal);
    if (!result) result = b->api.context_set_current(b->context);
    if (!result) result = b->api.event_create(&b->start, CU_EVENT_DEFAULT);
    if (!result) result = b->api.event_create(&b->stop, CU_EVENT_DEFAULT);
    status = cuda_check(b, result, GG_ERR_NO_DEVICE, "cannot open device %d", device);
out:
    if (status) {
        snprintf(error, GG_ERROR_SIZE, "%s", b->base.error);
        cuda_close(&b->base);
    } else {
        *out = &b->base;
    }
    return status;
}

static void cuda_close(gg_backend *backend) {
    cuda_backend *b = self_of(backend);
    if (b->context) {
        b->api.context_set_current(b->context);
        b->api.context_synchronize(); /* nothing may still run in what is unloaded below */
        if (b->flush) b->api.memory_free((cuda_address)(uintptr_t)b->flush);
        if (b->start) b->api.event_destroy(b->start);
        if (b->stop) b->api.event_destroy(b->stop);
    }
    for (gg_kernel *kernel = b->kernels, *next; kernel; kernel = next) {
        next = kernel->next;
        b->api.module_unload(kernel->module);
        free(kernel);
    }
    if (b->context) b->api.context_release(b->ordinal);
    free(b);
}

static const gg_device *cuda_device_of(const gg_backend *backend) {
    return &((const cuda_backend *)backend)->device;
}

/* The "a" targets carry the instructions of one generation (TMA descriptors, wgmma); before sm_90 there are
 * none. */
static gg_target cuda_target(const gg_backend *backend) {
    int cc = cuda_device_of(backend)->cc;
    gg_target target;
    snprintf(target.arch, sizeof target.arch, "sm_%d%s", cc, cc >= 90 ? "a" : "");
    return target;
}

static gg_status cuda_alloc(gg_backend *backend, size_t bytes, void **out) {
    cuda_backend *b = self_of(backend);
    cuda_address address = 0;
    gg_status status = cuda_enter(b);
    /* the driver aligns to 256 bytes and refuses zero */
    if (!status)
        status = cuda_check(b, b->api.memory_alloc(&address, bytes ? bytes : 1), GG_ERR_MEMORY,
                            "cannot allocate %zu bytes of device memory", bytes);
    *out = (void *)(uintptr_t)address;
    return status;
}

static void cuda_free(gg_backend *backend, void *memory) {
    cuda_backend *b = self_of(backend);
    if (memory && !cuda_enter(b)) b->api.memory_free((cuda_address)(uintptr_t)memory);
}

static uint64_t cuda_free_memory(gg_backend *backend) {
    cuda_backend *b = self_of(backend);
    size_t free_bytes, total;
    return cuda_enter(b) || b->api.memory_get_info(&free_bytes, &total) ? 0 : free_bytes;
}

static gg_status cuda_upload(gg_backend *backend, void *dst, const void *src, size_t bytes) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    if (status || !bytes || (status = wait_elsewhere(b))) return status;
    cuda_result result = b->api.copy_to_device((cuda_address)(uintptr_t)dst, src, bytes);
    /* from pageable memory the copy returns once staged; other streams must see it landed */
    if (!result) result = b->api.stream_synchronize(NULL);
    if (result && (status = wait_all(b))) return status; /* a kernel's failure, which this names */
    return cuda_check(b, result, GG_ERR_LAUNCH, "cannot copy %zu bytes to the device", bytes);
}

static gg_status cuda_download(gg_backend *backend, void *dst, const void *src, size_t bytes) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    if (status || (status = bytes ? wait_elsewhere(b) : wait_all(b)) || !bytes) return status;
    cuda_result result = b->api.copy_to_host(dst, (cuda_address)(uintptr_t)src, bytes);
    if (!result) {
        b->launches = 0;
        return GG_OK;
    }
    if ((status = wait_all(b))) return status;
    return cuda_check(b, result, GG_ERR_LAUNCH, "cannot copy %zu bytes from the device", bytes);
}

static gg_status cuda_copy(gg_backend *backend, void *dst, const void *src, size_t bytes, gg_stream stream) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    if (status || !bytes) return status;
    b->elsewhere |= stream != NULL;
    return cuda_check(
        b, b->api.copy_async((cuda_address)(uintptr_t)dst, (cuda_address)(uintptr_t)src, bytes, stream),
        GG_ERR_LAUNCH, "cannot copy %zu bytes on the device", bytes);
}

static gg_status cuda_fill(gg_backend *backend, void *dst, uint32_t word, size_t bytes, gg_stream stream) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    if (status || !bytes) return status;
    b->elsewhere |= stream != NULL;
    return cuda_check(b,
                      b->api.set_words_async((cuda_address)(uintptr_t)dst, word, bytes / sizeof word, stream),
                      GG_ERR_LAUNCH, "cannot fill %zu bytes on the device", bytes);
}

static void *read_file(const char *path) {
    void *bytes = NULL;
    long size;
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    if (!fseek(file, 0, SEEK_END) && (size = ftell(file)) > 0 && !fseek(file, 0, SEEK_SET) &&
        (bytes = malloc(size)) && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

static gg_status cuda_load(gg_backend *backend, const char *path, const char *entry, gg_kernel **out) {
    cuda_backend *b = self_of(backend);
    gg_kernel *kernel = NULL;
    void *image = NULL;
    gg_status status = cuda_enter(b);
    *out = NULL;
    if (status) return status;
    if (!(kernel = calloc(1, sizeof *kernel)) || !(image = read_file(path))) {
        snprintf(b->base.error, sizeof b->base.error, "cannot read '%s': %s", path, strerror(errno));
        status = GG_ERR_IO;
        goto out;
    }
    status =
        cuda_check(b, b->api.module_load(&kernel->module, image), GG_ERR_LAUNCH, "cannot load '%s'", path);
    if (status) goto out;
    status = cuda_check(b, b->api.module_get_function(&kernel->function, kernel->module, entry),
                        GG_ERR_LAUNCH, "no kernel '%s' in '%s'", entry, path);
    if (status) {
        b->api.module_unload(kernel->module);
        goto out;
    }
    kernel->smem_allowed = SMEM_DEFAULT;
    kernel->next = b->kernels;
    *out = b->kernels = kernel;
    kernel = NULL;
out:
    free(kernel);
    free(image);
    return status;
}

static gg_status cuda_tensor_map(gg_backend *backend, const gg_tensor_map_spec *spec, void *map) {
    cuda_backend *b = self_of(backend);
    const uint32_t steps[5] = {1, 1, 1, 1, 1};
    const uint32_t span = spec->box[0] * 2;
    int swizzle = span == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                  : span == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                  : span == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                               : -1; /* refused below */
    if (swizzle < 0) {
        snprintf(b->base.error, sizeof b->base.error, "tensor map: no swizzle spans %u bytes (32, 64 or 128)",
                 span);
        return GG_ERR_ARGUMENT;
    }
    char shape[128] = "";
    for (int i = 0; i < spec->rank && i < 5; i++) {
        const size_t used = strlen(shape);
        snprintf(shape + used, sizeof shape - used, "%s%u of %llu", i ? " x " : "", spec->box[i],
                 (unsigned long long)spec->dims[i]);
    }
    gg_status status = cuda_enter(b);
    if (status) return status;
    return cuda_check(b,
                      b->api.tensor_map_encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, (uint32_t)spec->rank,
                                               (void *)(uintptr_t)spec->base, spec->dims, spec->strides,
                                               spec->box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                               spec->single_lines ? CU_TENSOR_MAP_L2_PROMOTION_L2_128B
                                                                  : CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                      GG_ERR_ARGUMENT, "tensor map refused: a box of %s", shape);
}

static gg_status cuda_launch(gg_backend *backend, gg_kernel *kernel, const gg_launch_spec *spec,
                             gg_stream stream) {
    cuda_backend *b = self_of(backend);
    void *arguments[] = {(void *)(uintptr_t)spec->params};
    gg_status status = cuda_enter(b);
    if (status) return status;
    if (spec->smem_bytes > kernel->smem_allowed) {
        status = cuda_check(
            b,
            b->api.function_set_attribute(kernel->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                          (int)spec->smem_bytes),
            GG_ERR_LAUNCH, "cannot give '%s' %u bytes of shared memory", spec->label, spec->smem_bytes);
        if (status) return status;
        kernel->smem_allowed = spec->smem_bytes;
    }
    b->launches++;
    b->elsewhere |= stream != NULL;
    snprintf(b->label, sizeof b->label, "%s", spec->label);
    cuda_launch_attribute overlaps = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                      .value.allowed = 1};
    const cuda_launch_config config = {.grid_x = spec->grid,
                                       .grid_y = 1,
                                       .grid_z = 1,
                                       .block_x = spec->threads,
                                       .block_y = 1,
                                       .block_z = 1,
                                       .smem_bytes = spec->smem_bytes,
                                       .stream = stream,
                                       .attributes = &overlaps,
                                       .attribute_count = spec->overlaps && b->overlaps};
    return cuda_check(b, b->api.launch_kernel(&config, kernel->function, arguments, NULL), GG_ERR_LAUNCH,
                      "cannot launch '%s' (%u blocks of %u threads, %u bytes of shared memory)", spec->label,
                      spec->grid, spec->threads, spec->smem_bytes);
}

static gg_status cuda_synchronize(gg_backend *backend) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    return status ? status : wait_all(b);
}

static gg_status cuda_flush_cache(gg_backend *backend) {
    cuda_backend *b = self_of(backend);
    gg_status status = b->flush ? GG_OK : cuda_alloc(backend, FLUSH_BYTES, &b->flush);
    return status ? status : cuda_fill(backend, b->flush, 0, FLUSH_BYTES, NULL);
}

static gg_status cuda_timer_start(gg_backend *backend) {
    return cuda_event_record(backend, (gg_event *)self_of(backend)->start, NULL);
}

static gg_status cuda_timer_stop(gg_backend *backend, float *milliseconds) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_event_record(backend, (gg_event *)b->stop, NULL);
    return status ? status
                  : cuda_event_elapsed(backend, (gg_event *)b->start, (gg_event *)b->stop, milliseconds);
}

const gg_backend_ops gg_cuda_backend = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .device = cuda_device_of,
    .target = cuda_target,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .free_memory = cuda_free_memory,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .load = cuda_load,
    .tensor_map = cuda_tensor_map,
    .launch = cuda_launch,
    .synchronize = cuda_synchronize,
    .stream_new = cuda_stream_new,
    .stream_order = cuda_stream_order,
    .stream_free = cuda_stream_free,
    .stream_id = cuda_stream_id,
    .flush_cache = cuda_flush_cache,
    .timer_start = cuda_timer_start,
    .timer_stop = cuda_timer_stop,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .graph_holds = cuda_graph_holds,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .event_elapsed = cuda_event_elapsed,
};
