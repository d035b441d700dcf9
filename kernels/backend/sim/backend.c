/* backend.c: the simulator as a backend: device memory is host memory, and a launch runs to its end before it
 * returns. */
#include "race.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct gg_kernel {
    struct gg_kernel *next;
    void *library;
    const sim_kernel *entry;
    void (*bind)(sim_api *);
    u64 launches;
};

typedef struct sim_backend {
    gg_backend base; /* first */
    gg_device device;
    gg_kernel *kernels;
    struct timespec timer;
    gg_sim_device sim;
} sim_backend;

static sim_backend *self_of(gg_backend *backend) { return (sim_backend *)backend; }

static gg_status refuse(gg_backend *backend, gg_status status, const char *what, const char *subject) {
    snprintf(backend->error, GG_ERROR_SIZE, "%s '%s'", what, subject);
    return status;
}

static void free_blocks(gg_sim_device *sim) {
    for (int i = 0; i < GG_SIM_MAX_RESIDENT; i++) {
        gg_sim_block_free(sim->blocks[i]);
        sim->blocks[i] = NULL;
    }
}

static void sim_close(gg_backend *backend) {
    sim_backend *self = self_of(backend);
    if (!self) return;
    gg_sim_device *sim = &self->sim;
    while (self->kernels) {
        gg_kernel *kernel = self->kernels;
        self->kernels = kernel->next;
        dlclose(kernel->library);
        free(kernel);
    }
    free_blocks(sim);
    gg_sim_checker_free(sim->checker);
    gg_sim_memory_close(&sim->memory);
    if (sim->signal_stack) munmap(sim->signal_stack, GG_SIM_SIGNAL_STACK_BYTES);
    free(self);
}

/* What the environment asks for; a word that is none of ours would be a check that never ran. */
static gg_status read_environment(uint64_t *seed, bool *race, char error[GG_ERROR_SIZE]) {
    const char *number = getenv("MOEGEMM_SIM_SEED"), *check = getenv("MOEGEMM_SIM_CHECK");
    char *end = NULL;
    errno = 0;
    *seed = number ? strtoull(number, &end, 0) : 0;
    *race = check && !strcmp(check, "race");
    if (number && (*number < '0' || *number > '9' || *end || errno)) {
        snprintf(error, GG_ERROR_SIZE,
                 "bad value '%.40s' of MOEGEMM_SIM_SEED: expected a number of at most 64 bits", number);
        return GG_ERR_ARGUMENT;
    }
    if (!check || !*check || *race) return GG_OK;
    snprintf(error, GG_ERROR_SIZE, "bad value '%.40s' of MOEGEMM_SIM_CHECK: choose race or unset it", check);
    return GG_ERR_ARGUMENT;
}

static gg_status sim_open(gg_backend **out, int device, char error[GG_ERROR_SIZE]) {
    uint64_t seed;
    bool race;
    *out = NULL;
    if (device != 0) {
        snprintf(error, GG_ERROR_SIZE, "no device %d: the simulator has device 0 only", device);
        return GG_ERR_NO_DEVICE;
    }
    gg_status status = read_environment(&seed, &race, error);
    if (status) return status;
    sim_backend *self = calloc(1, sizeof *self);
    if (!self) goto no_memory;
    self->base.ops = &gg_sim_backend;
    gg_sim_device *sim = &self->sim;
    sim->error = self->base.error;
    sim->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    sim->signal_stack = mmap(NULL, GG_SIM_SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (sim->signal_stack == MAP_FAILED) {
        sim->signal_stack = NULL;
        goto no_memory;
    }
    sim->options.seed = seed;
    sim->options.race = race;
    if (sim->options.race && !(sim->checker = gg_sim_checker_new())) goto no_memory;
    if (!(sim->blocks[0] = gg_sim_block_new(sim))) goto no_memory;

    self->device = (gg_device){
        .name = "simulator",
        .cc = 90,
        .sm_count = 3, /* small and odd, so that persistent blocks take several tiles each, unevenly */
        .smem_per_block = GG_SIM_SHARED_BYTES,
        .smem_per_sm = 228 * 1024,
        .threads_per_sm = 2048,
        .driver = "cpu",
    };
    char version[128];
    gg_sim_compiler_version(version);
    snprintf(self->device.compiler, sizeof self->device.compiler, "%.63s", version);
    *out = &self->base;
    return GG_OK;
no_memory:
    snprintf(error, GG_ERROR_SIZE, "out of memory for the simulator's stacks");
    sim_close(self ? &self->base : NULL);
    return GG_ERR_MEMORY;
}

void gg_sim_configure(gg_backend *backend, gg_sim_options options) {
    sim_backend *self = self_of(backend);
    gg_sim_device *sim = &self->sim;
    sim->options = options;
    if (options.race != (sim->checker != NULL)) {
        free_blocks(sim); /* they are made anew, with what the checker keeps of them */
        gg_sim_checker_free(sim->checker);
        sim->checker = options.race ? gg_sim_checker_new() : NULL;
    }
    for (gg_kernel *kernel = self->kernels; kernel; kernel = kernel->next) kernel->launches = 0;
}

gg_sim_options gg_sim_configured(const gg_backend *backend) {
    return ((const sim_backend *)backend)->sim.options;
}

static const gg_device *sim_device(const gg_backend *backend) {
    return &((const sim_backend *)backend)->device;
}

static gg_target sim_target(const gg_backend *backend) {
    return ((const sim_backend *)backend)->sim.checker ? (gg_target){.arch = "sim_race"}
                                                       : (gg_target){.arch = "sim"};
}

static gg_status sim_alloc(gg_backend *backend, size_t bytes, void **out) {
    gg_status status = gg_sim_memory_alloc(&self_of(backend)->sim.memory, bytes, out);
    if (status) snprintf(backend->error, GG_ERROR_SIZE, "out of memory for %zu bytes", bytes);
    return status;
}

static void sim_free(gg_backend *backend, void *data) {
    if (data) gg_sim_memory_free(&self_of(backend)->sim.memory, data);
}

/* What the host has written of device memory holds values. */
static void know(gg_backend *backend, const void *data, size_t bytes) {
    gg_sim_allocation *item = bytes ? gg_sim_memory_find(&self_of(backend)->sim.memory, data) : NULL;
    if (item) gg_sim_memory_know(item, (size_t)((const u8 *)data - item->data), bytes);
}

/* The transfers check what the driver would: the device side must be allocated. */
static gg_status check_device(gg_backend *backend, const void *data, size_t bytes, const char *what) {
    if (!bytes || gg_sim_memory_holds(&self_of(backend)->sim.memory, data, bytes)) return GG_OK;
    char where[GG_REASON_SIZE];
    gg_sim_memory_describe(&self_of(backend)->sim.memory, data, where);
    snprintf(backend->error, GG_ERROR_SIZE, "%s of %zu bytes at %p outside device memory: %s", what, bytes,
             data, where);
    return GG_ERR_ARGUMENT;
}

static gg_status sim_upload(gg_backend *backend, void *dst, const void *src, size_t bytes) {
    gg_status status = check_device(backend, dst, bytes, "upload");
    if (status == GG_OK) know(backend, dst, bytes);
    if (status == GG_OK && bytes) memcpy(dst, src, bytes);
    return status;
}

static gg_status sim_download(gg_backend *backend, void *dst, const void *src, size_t bytes) {
    gg_status status = check_device(backend, src, bytes, "download");
    if (status == GG_OK && bytes) memcpy(dst, src, bytes);
    return status;
}

static gg_status sim_copy(gg_backend *backend, void *dst, const void *src, size_t bytes, gg_stream stream) {
    (void)stream;
    gg_status status = check_device(backend, src, bytes, "copy source");
    if (status == GG_OK) status = check_device(backend, dst, bytes, "copy target");
    if (status == GG_OK) know(backend, dst, bytes);
    if (status == GG_OK && bytes) memmove(dst, src, bytes);
    return status;
}

static gg_status sim_fill(gg_backend *backend, void *dst, uint32_t word, size_t bytes, gg_stream stream) {
    (void)stream;
    if (bytes % 4) {
        snprintf(backend->error, GG_ERROR_SIZE, "fill of %zu bytes, not a multiple of 4", bytes);
        return GG_ERR_ARGUMENT;
    }
    gg_status status = check_device(backend, dst, bytes, "fill");
    if (status == GG_OK) know(backend, dst, bytes);
    if (status == GG_OK)
        for (size_t i = 0; i < bytes / 4; i++) ((uint32_t *)dst)[i] = word;
    return status;
}

/* dlsym gives an object pointer where a function pointer is wanted */
typedef union symbol {
    void *object;
    void (*bind)(sim_api *);
} symbol;

static gg_status sim_load(gg_backend *backend, const char *path, const char *entry, gg_kernel **out) {
    sim_backend *self = self_of(backend);
    *out = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return refuse(backend, GG_ERR_IO, "cannot load kernel", dlerror());
    char name[128];
    snprintf(name, sizeof name, "sim_kernel_%s", entry);
    symbol bind = {.object = dlsym(library, "sim_bind")}, kernel = {.object = dlsym(library, name)};
    gg_kernel *loaded = bind.object && kernel.object ? malloc(sizeof *loaded) : NULL;
    if (!loaded) {
        dlclose(library);
        return bind.object && kernel.object
                   ? refuse(backend, GG_ERR_MEMORY, "out of memory for kernel", entry)
                   : refuse(backend, GG_ERR_ARGUMENT, "no such kernel", entry);
    }
    *loaded =
        (gg_kernel){.next = self->kernels, .library = library, .entry = kernel.object, .bind = bind.bind};
    self->kernels = loaded;
    *out = loaded;
    return GG_OK;
}

/* What cuTensorMapEncodeTiled asks for. */
static const char *map_fault(const gg_tensor_map_spec *spec) {
    if (spec->rank < 2 || spec->rank > 5) return "rank is not 2 to 5";
    if (!spec->base || (uintptr_t)spec->base % 16) return "base is not a multiple of 16";
    for (int i = 0; i < spec->rank; i++) {
        if (spec->dims[i] == 0 || spec->dims[i] > 1ull << 32) return "dimension is not 1 to 2^32";
        if (spec->box[i] == 0 || spec->box[i] > 256) return "box is not 1 to 256";
        if (i && (spec->strides[i - 1] % 16 || spec->strides[i - 1] >= 1ull << 40))
            return "stride is not a multiple of 16 below 2^40";
    }
    if (spec->box[0] != 16 && spec->box[0] != 32 && spec->box[0] != 64)
        return "inner box is not 32, 64 or 128 bytes";
    return NULL;
}

static gg_status sim_tensor_map(gg_backend *backend, const gg_tensor_map_spec *spec, void *map_128_bytes) {
    const char *fault = map_fault(spec);
    if (fault) {
        snprintf(backend->error, GG_ERROR_SIZE, "bad tensor map: %s", fault);
        return GG_ERR_ARGUMENT;
    }
    gg_sim_map map = {.magic = GG_SIM_MAP_MAGIC, .base = (u8 *)(uintptr_t)spec->base, .rank = spec->rank};
    for (int i = 0; i < 5; i++) {
        map.dims[i] = i < spec->rank ? spec->dims[i] : 1;
        map.box[i] = i < spec->rank ? spec->box[i] : 1;
        if (i && i < spec->rank) map.strides[i - 1] = spec->strides[i - 1];
    }
    _Static_assert(sizeof map <= sizeof(tensor_map), "the map fits into what kernels pass");
    memset(map_128_bytes, 0, sizeof(tensor_map));
    memcpy(map_128_bytes, &map, sizeof map);
    return GG_OK;
}

/* What cuLaunchKernel asks for, and what only a GPU's silence would answer. */
static gg_status check_launch(gg_backend *backend, const gg_kernel *kernel, const gg_launch_spec *spec) {
    const char *label = spec->label ? spec->label : "?";
    const sim_kernel *entry = kernel->entry;
    if (spec->threads == 0 || spec->threads % GG_SIM_LANES || spec->threads > entry->max_threads ||
        spec->threads > GG_SIM_MAX_THREADS)
        snprintf(backend->error, GG_ERROR_SIZE,
                 "launch of '%s' with %u threads, not a multiple of 32 up to its bound of %u", label,
                 spec->threads, entry->max_threads);
    else if (self_of(backend)->sim.checker && !entry->race)
        snprintf(backend->error, GG_ERROR_SIZE,
                 "launch of '%s', which was not built for race mode (set MOEGEMM_SIM_CHECK before opening)",
                 label);
    else if (spec->grid == 0)
        snprintf(backend->error, GG_ERROR_SIZE, "launch of '%s' with no blocks", label);
    else if (spec->smem_bytes > GG_SIM_SHARED_BYTES)
        snprintf(backend->error, GG_ERROR_SIZE, "launch of '%s' with %u bytes of shared memory, above %d",
                 label, spec->smem_bytes, GG_SIM_SHARED_BYTES);
    else if (spec->params_bytes != entry->params_bytes)
        snprintf(backend->error, GG_ERROR_SIZE,
                 "launch of '%s' with %zu bytes of parameters, the kernel takes %u", label,
                 spec->params_bytes, entry->params_bytes);
    else
        return GG_OK;
    return GG_ERR_LAUNCH;
}

static gg_status sim_launch(gg_backend *backend, gg_kernel *kernel, const gg_launch_spec *spec,
                            gg_stream stream) {
    (void)stream;
    gg_sim_device *sim = &self_of(backend)->sim;
    gg_status status = check_launch(backend, kernel, spec);
    if (status) return status;
    sim->seed = sim->options.seed + kernel->launches++;
    sim->kernel = kernel->entry;
    sim->bind = kernel->bind;
    gg_sim_faults_begin(sim);
    status = gg_sim_run(sim, spec, &self_of(backend)->device);
    gg_sim_faults_end();
    return status;
}

static gg_status sim_synchronize(gg_backend *backend) {
    (void)backend;
    return GG_OK;
}

static gg_status sim_stream_new(gg_backend *backend, gg_stream *out) {
    *out = backend; /* any address but NULL: launches run in order, whatever their stream */
    return GG_OK;
}

static void sim_stream_free(gg_backend *backend, gg_stream stream) {
    (void)backend;
    (void)stream;
}

static gg_status sim_flush_cache(gg_backend *backend) {
    (void)backend;
    return GG_OK;
}

static gg_status sim_timer_start(gg_backend *backend) {
    clock_gettime(CLOCK_MONOTONIC, &self_of(backend)->timer);
    return GG_OK;
}

static gg_status sim_timer_stop(gg_backend *backend, float *milliseconds) {
    struct timespec now, *start = &self_of(backend)->timer;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *milliseconds =
        (float)((double)(now.tv_sec - start->tv_sec) * 1e3 + (double)(now.tv_nsec - start->tv_nsec) * 1e-6);
    return GG_OK;
}

const gg_backend_ops gg_sim_backend = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .device = sim_device,
    .target = sim_target,
    .alloc = sim_alloc,
    .free = sim_free,
    .upload = sim_upload,
    .download = sim_download,
    .copy = sim_copy,
    .fill = sim_fill,
    .load = sim_load,
    .tensor_map = sim_tensor_map,
    .launch = sim_launch,
    .synchronize = sim_synchronize,
    .stream_new = sim_stream_new,
    .stream_free = sim_stream_free,
    .flush_cache = sim_flush_cache,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
};
