/* fake_cuda.c: a made-up libcuda.so.1 whose device memory is the host's: it lets the cuda backend be tested
 * where there is no GPU. Device kernels do not run, and fills and copies of more than a mebibyte are not made; a clock
 * advances with what is asked for. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

fake_cuda fake_cuda_state = {
    .devices = 2, .cc_major = 9, .cc_minor = 0, .version = 13010, .memory = (size_t)1 << 40};
#define S fake_cuda_state

/* CUlaunchConfig and CUlaunchAttribute, as cuda.h lays them out. */
struct launch_config {
    unsigned grid[3], block[3], smem;
    void *stream;
    const struct { int id, pad, value, rest[15]; } * attributes;
    unsigned attribute_count;
};

/* Milliseconds by which work advances the clock; time between two events is what passed and a constant. */
enum { LARGE = 1 << 20 };
static const float launch_ms = 0.5f, graph_ms = 0.75f, copy_ms = 1, fill_ms = 100, event_ms = 1.5f;

static int take_fault(void) {
    int fault = S.next_fault;
    S.next_fault = 0;
    return fault;
}

int cuGetErrorName(int error, const char **text) {
    *text = error == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
            : error == CUDA_ERROR_INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE"
                                                : "CUDA_ERROR_OUT_OF_MEMORY";
    return 0;
}
int cuGetErrorString(int error, const char **text) {
    *text = error == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "some text";
    return 0;
}
int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version) { return *version = S.version, 0; }
int cuDeviceGetCount(int *count) { return *count = S.devices, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    strncpy(name, "Fake GPU", (size_t)size);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75   ? S.cc_major
             : attribute == 76 ? S.cc_minor
             : attribute == 16 ? 132 /* multiprocessors; an H200's, as what follows */
             : attribute == 39 ? 2048
             : attribute == 81 ? 233472
             : attribute == 97 ? 232448
                               : -1;
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = (size_t)141 << 30, device * 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    S.contexts++;
    return *context = &S, 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return S.contexts--, device * 0; }
int cuCtxSetCurrent(void *context) { return S.entered += context == &S, 0; }
int cuCtxSynchronize(void) { return S.waits++, S.synchronize_fault; }
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    if (bytes > S.memory) return 2;
    *address = (uintptr_t)aligned_alloc(512, (bytes + 511) / 512 * 512);
    S.allocated += *address != 0;
    return *address ? 0 : 2;
}
int cuMemGetInfo_v2(size_t *unused, size_t *total) {
    *unused = S.memory;
    return cuDeviceTotalMem_v2(total, 0);
}
int cuMemFree_v2(unsigned long long address) {
    S.allocated--;
    free((void *)(uintptr_t)address);
    return 0;
}
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t size) {
    memcpy((void *)(uintptr_t)to, from, size);
    return 0;
}
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t size) {
    memcpy(to, (void *)(uintptr_t)from, size);
    return 0;
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t size, void *stream) {
    S.stream = stream;
    S.clock += copy_ms;
    if (size <= LARGE) memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, size);
    return 0;
}
int cuMemsetD32Async(unsigned long long to, unsigned word, size_t count, void *stream) {
    S.stream = stream;
    S.clock += fill_ms;
    S.flushes += count > LARGE / 4;
    for (size_t i = 0; i < count && count <= LARGE / 4; i++) ((unsigned *)(uintptr_t)to)[i] = word;
    return 0;
}
int cuModuleLoadData(void **module, const void *image) {
    int fault = take_fault();
    if (fault) return fault;
    S.modules++;
    return *module = &S, memcmp(image, "cubin", 5) ? CUDA_ERROR_INVALID_VALUE : 0;
}
int cuModuleUnload(void *module) { return S.modules--, module == &S ? 0 : CUDA_ERROR_INVALID_VALUE; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = module;
    return strcmp(name, "other") ? 0 : CUDA_ERROR_INVALID_VALUE;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
    (void)function;
    S.smem_attribute_calls += attribute == 8;
    S.smem_attribute = value;
    return 0;
}
int cuLaunchKernelEx(const struct launch_config *config, void *function, void **params, void **extra) {
    S.clock += launch_ms;
    S.launches++;
    S.grid = config->grid[0];
    S.threads = config->block[0];
    S.smem = config->smem;
    S.stream = config->stream;
    S.overlaps =
        config->attribute_count == 1 && config->attributes->id == 6 && config->attributes->value == 1;
    memcpy(&S.first_param, params[0], sizeof S.first_param);
    int fault = take_fault();
    return fault ? fault
           : config->grid[1] == 1 && config->grid[2] == 1 && config->block[1] == 1 && config->block[2] == 1 &&
                   !extra && function
               ? 0
               : CUDA_ERROR_INVALID_VALUE;
}
int cuTensorMapEncodeTiled(void *map, int type, uint32_t rank, void *base, const uint64_t *dims,
                           const uint64_t *strides, const uint32_t *box, const uint32_t *steps,
                           int interleave, int swizzle, int promotion, int fill) {
    S.map_type = type;
    S.map_rank = rank;
    memcpy(S.map_dims, dims, rank * sizeof *dims);
    memcpy(S.map_strides, strides, (rank - 1) * sizeof *strides);
    memcpy(S.map_box, box, rank * sizeof *box);
    memcpy(S.map_steps, steps, rank * sizeof *steps);
    S.map_interleave = interleave;
    S.map_swizzle = swizzle;
    S.map_promotion = promotion;
    S.map_fill = fill;
    memcpy(map, &base, sizeof base);
    return take_fault();
}
int cuStreamCreate(void **stream, unsigned flags) {
    S.streams++;
    S.stream_id++;
    S.stream_flags = flags;
    return *stream = &S.streams, 0;
}
int cuStreamDestroy_v2(void *stream) {
    return S.streams--, stream == &S.streams ? 0 : CUDA_ERROR_INVALID_VALUE;
}
int cuStreamSynchronize(void *stream) { return S.waits_of_streams += !stream, 0; }
/* Streams all have one address. As the real one it must not be asked while the stream is captured. */
int cuStreamGetId(void *stream, unsigned long long *id) {
    if (S.capturing && stream == S.capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    *id = stream == &S.streams ? 1000000 + S.stream_id : (uintptr_t)stream;
    return S.stream_fault;
}
int cuStreamGetCaptureInfo_v2(void *stream, int *status, uint64_t *id, void **graph, const void **nodes,
                              size_t *count) {
    *status = S.capturing && stream == S.capturing;
    *id = *status ? S.capture_id : 0xbad;
    if (graph) *graph = *status ? &S.graphs : NULL;
    return nodes || count ? CUDA_ERROR_INVALID_VALUE : 0;
}

/* Objects of graphs: there is one graph at a time, and one instance. */
enum { OBJECTS = 4 };
static struct object {
    void (*destroy)(void *);
    void *data;
    int references;         /* none: a free place */
    bool in_graph, in_exec; /* which have one each */
} objects[OBJECTS];

static void let_go(struct object *object, int references) {
    object->references -= references;
    if (!references || object->references) return;
    S.objects--;
    object->destroy(object->data);
    *object = (struct object){0};
}
static void drop_graph(void) {
    for (int i = 0; i < OBJECTS; i++) {
        const int references = objects[i].in_graph;
        objects[i].in_graph = false;
        let_go(&objects[i], references);
    }
}
int cuUserObjectCreate(void **out, void *data, void (*destroy)(void *), unsigned references, unsigned flags) {
    int free_place = 0;
    if (S.object_fault || flags != 1) return S.object_fault ? S.object_fault : CUDA_ERROR_INVALID_VALUE;
    while (objects[free_place].references)
        if (++free_place == OBJECTS) return CUDA_ERROR_INVALID_VALUE;
    objects[free_place] = (struct object){.destroy = destroy, .data = data, .references = (int)references};
    S.objects++;
    return *out = &objects[free_place], 0;
}
int cuUserObjectRelease(void *object, unsigned references) { return let_go(object, (int)references), 0; }
int cuGraphRetainUserObject(void *graph, void *object, unsigned references, unsigned flags) {
    if (S.retain_fault) return S.retain_fault;
    ((struct object *)object)->in_graph = true;
    return graph == &S.graphs && references == 1 && flags == 1 ? 0 : CUDA_ERROR_INVALID_VALUE; /* MOVE */
}
int cuStreamBeginCapture_v2(void *stream, int mode) {
    S.capturing = stream;
    S.capture_id++;
    S.capture_mode = mode;
    S.captures++;
    return 0;
}
int cuStreamEndCapture(void *stream, void **graph) {
    (void)stream;
    int fault = take_fault();
    S.capturing = NULL;
    if (fault) drop_graph();
    S.captures--;
    S.graphs += !fault;
    return *graph = fault ? NULL : &S.graphs, fault;
}
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
    S.graph_execs++;
    for (int i = 0; i < OBJECTS; i++)
        if (objects[i].in_graph && !objects[i].in_exec) {
            objects[i].references++;
            objects[i].in_exec = true;
        }
    return *exec = &S.graph_execs, graph == &S.graphs && !flags ? 0 : CUDA_ERROR_INVALID_VALUE;
}
int cuGraphLaunch(void *exec, void *stream) {
    S.replays++;
    S.clock += graph_ms;
    S.stream = stream;
    return exec == &S.graph_execs ? 0 : CUDA_ERROR_INVALID_VALUE;
}
int cuGraphExecDestroy(void *exec) {
    for (int i = 0; i < OBJECTS; i++) {
        const int references = objects[i].in_exec;
        objects[i].in_exec = false;
        let_go(&objects[i], references);
    }
    return S.graph_execs--, exec == &S.graph_execs ? 0 : CUDA_ERROR_INVALID_VALUE;
}
int cuGraphDestroy(void *graph) {
    drop_graph();
    return S.graphs--, graph == &S.graphs ? 0 : CUDA_ERROR_INVALID_VALUE;
}
int cuEventCreate(void **event, unsigned flags) {
    S.events++;
    return *event = calloc(1, sizeof(float)), flags & ~2u ? CUDA_ERROR_INVALID_VALUE : 0; /* DISABLE_TIMING */
}
int cuEventDestroy_v2(void *event) {
    S.events--;
    free(event);
    return 0;
}
int cuEventRecord(void *event, void *stream) {
    S.recorded_on = stream;
    if (!event) return CUDA_ERROR_INVALID_VALUE;
    return memcpy(event, &S.clock, sizeof S.clock), 0;
}
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    S.waiting = stream;
    return event && !flags ? take_fault() : CUDA_ERROR_INVALID_VALUE;
}
int cuEventSynchronize(void *event) { return event ? S.synchronize_fault : CUDA_ERROR_INVALID_VALUE; }
int cuEventElapsedTime(float *ms, void *start, void *stop) {
    float from, to;
    memcpy(&from, start, sizeof from);
    memcpy(&to, stop, sizeof to);
    return *ms = to - from + event_ms, to < from;
}
