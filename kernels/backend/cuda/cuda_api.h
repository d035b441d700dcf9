/* cuda_api.h: the little of the CUDA driver's and NVRTC's binary interface that is used, so that building
 * needs no CUDA. */
#ifndef GG_CUDA_API_H
#define GG_CUDA_API_H

#include "backend/backend.h"

typedef int cuda_result;  /* CUresult */
typedef int nvrtc_result; /* nvrtcResult */
typedef int cuda_device;
typedef unsigned long long cuda_address; /* CUdeviceptr */
typedef struct CUctx_st *cuda_context;
typedef struct CUmod_st *cuda_module;
typedef struct CUfunc_st *cuda_function;
typedef struct CUstream_st *cuda_stream;
typedef struct CUevent_st *cuda_event;
typedef struct CUgraph_st *cuda_graph;
typedef struct CUgraphExec_st *cuda_graph_exec;
typedef struct CUuserObject_st *cuda_user_object;
typedef struct _nvrtcProgram *nvrtc_program;

/* Values of the interface, under the names of cuda.h. */
enum {
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CU_STREAM_NON_BLOCKING = 1,
    CU_EVENT_DEFAULT = 0,
    CU_EVENT_DISABLE_TIMING = 2,
    CU_STREAM_CAPTURE_MODE_RELAXED = 2,
    CU_STREAM_CAPTURE_STATUS_ACTIVE = 1,
    CU_USER_OBJECT_NO_DESTRUCTOR_SYNC = 1,
    CU_GRAPH_USER_OBJECT_MOVE = 1,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
    CU_TENSOR_MAP_DATA_TYPE_UINT16 = 1,
    CU_TENSOR_MAP_INTERLEAVE_NONE = 0,
    CU_TENSOR_MAP_SWIZZLE_32B = 1,
    CU_TENSOR_MAP_SWIZZLE_64B = 2,
    CU_TENSOR_MAP_SWIZZLE_128B = 3,
    CU_TENSOR_MAP_L2_PROMOTION_L2_128B = 2,
    CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3,
    CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0, /* zeros */
};

typedef struct cuda_launch_attribute { /* CUlaunchAttribute */
    int id, pad;
    union {
        char bytes[64];
        int allowed;
    } value;
} cuda_launch_attribute;
typedef struct cuda_launch_config { /* CUlaunchConfig */
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, smem_bytes;
    cuda_stream stream;
    cuda_launch_attribute *attributes;
    unsigned attribute_count;
} cuda_launch_config;

/* X(result, member, symbol in the library, arguments); _v2 marks the current variant of a function that
 * changed. */
#define CUDA_DRIVER_FUNCTIONS(X)                                                                             \
    X(cuda_result, get_error_name, "cuGetErrorName", (cuda_result, const char **))                           \
    X(cuda_result, get_error_string, "cuGetErrorString", (cuda_result, const char **))                       \
    X(cuda_result, init, "cuInit", (unsigned flags))                                                         \
    X(cuda_result, driver_get_version, "cuDriverGetVersion", (int *))                                        \
    X(cuda_result, device_get_count, "cuDeviceGetCount", (int *))                                            \
    X(cuda_result, device_get, "cuDeviceGet", (cuda_device *, int ordinal))                                  \
    X(cuda_result, device_get_name, "cuDeviceGetName", (char *, int size, cuda_device))                      \
    X(cuda_result, device_get_attribute, "cuDeviceGetAttribute", (int *, int attribute, cuda_device))        \
    X(cuda_result, device_total_memory, "cuDeviceTotalMem_v2", (size_t *, cuda_device))                      \
    X(cuda_result, context_retain, "cuDevicePrimaryCtxRetain", (cuda_context *, cuda_device))                \
    X(cuda_result, context_release, "cuDevicePrimaryCtxRelease_v2", (cuda_device))                           \
    X(cuda_result, context_set_current, "cuCtxSetCurrent", (cuda_context))                                   \
    X(cuda_result, context_synchronize, "cuCtxSynchronize", (void))                                          \
    X(cuda_result, memory_get_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                      \
    X(cuda_result, memory_alloc, "cuMemAlloc_v2", (cuda_address *, size_t))                                  \
    X(cuda_result, memory_free, "cuMemFree_v2", (cuda_address))                                              \
    X(cuda_result, copy_to_device, "cuMemcpyHtoD_v2", (cuda_address, const void *, size_t))                  \
    X(cuda_result, copy_to_host, "cuMemcpyDtoH_v2", (void *, cuda_address, size_t))                          \
    X(cuda_result, copy_async, "cuMemcpyDtoDAsync_v2", (cuda_address, cuda_address, size_t, cuda_stream))    \
    X(cuda_result, set_words_async, "cuMemsetD32Async",                                                      \
      (cuda_address, unsigned word, size_t count, cuda_stream))                                              \
    X(cuda_result, module_load, "cuModuleLoadData", (cuda_module *, const void *image))                      \
    X(cuda_result, module_unload, "cuModuleUnload", (cuda_module))                                           \
    X(cuda_result, module_get_function, "cuModuleGetFunction", (cuda_function *, cuda_module, const char *)) \
    X(cuda_result, function_set_attribute, "cuFuncSetAttribute", (cuda_function, int attribute, int value))  \
    X(cuda_result, launch_kernel, "cuLaunchKernelEx",                                                        \
      (const cuda_launch_config *, cuda_function, void **params, void **extra))                              \
    X(cuda_result, tensor_map_encode, "cuTensorMapEncodeTiled",                                              \
      (void *map, int type, uint32_t rank, void *base, const uint64_t *dims, const uint64_t *strides,        \
       const uint32_t *box, const uint32_t *element_strides, int interleave, int swizzle, int promotion,     \
       int fill))                                                                                            \
    X(cuda_result, stream_create, "cuStreamCreate", (cuda_stream *, unsigned flags))                         \
    X(cuda_result, stream_destroy, "cuStreamDestroy_v2", (cuda_stream))                                      \
    X(cuda_result, stream_synchronize, "cuStreamSynchronize", (cuda_stream))                                 \
    X(cuda_result, stream_wait_event, "cuStreamWaitEvent", (cuda_stream, cuda_event, unsigned flags))        \
    X(cuda_result, stream_get_id, "cuStreamGetId", (cuda_stream, unsigned long long *id))                    \
    X(cuda_result, capture_get_info, "cuStreamGetCaptureInfo_v2",                                            \
      (cuda_stream, int *status, uint64_t *id, cuda_graph *, const void **dependencies, size_t *count))      \
    X(cuda_result, user_object_create, "cuUserObjectCreate",                                                 \
      (cuda_user_object *, void *data, void (*destroy)(void *), unsigned references, unsigned flags))        \
    X(cuda_result, user_object_release, "cuUserObjectRelease", (cuda_user_object, unsigned references))      \
    X(cuda_result, graph_retain_object, "cuGraphRetainUserObject",                                           \
      (cuda_graph, cuda_user_object, unsigned references, unsigned flags))                                   \
    X(cuda_result, capture_begin, "cuStreamBeginCapture_v2", (cuda_stream, int mode))                        \
    X(cuda_result, capture_end, "cuStreamEndCapture", (cuda_stream, cuda_graph *))                           \
    X(cuda_result, graph_instantiate, "cuGraphInstantiateWithFlags",                                         \
      (cuda_graph_exec *, cuda_graph, unsigned long long flags))                                             \
    X(cuda_result, graph_launch, "cuGraphLaunch", (cuda_graph_exec, cuda_stream))                            \
    X(cuda_result, graph_exec_destroy, "cuGraphExecDestroy", (cuda_graph_exec))                              \
    X(cuda_result, graph_destroy, "cuGraphDestroy", (cuda_graph))                                            \
    X(cuda_result, event_create, "cuEventCreate", (cuda_event *, unsigned flags))                            \
    X(cuda_result, event_destroy, "cuEventDestroy_v2", (cuda_event))                                         \
    X(cuda_result, event_record, "cuEventRecord", (cuda_event, cuda_stream))                                 \
    X(cuda_result, event_synchronize, "cuEventSynchronize", (cuda_event))                                    \
    X(cuda_result, event_elapsed_time, "cuEventElapsedTime", (float *, cuda_event, cuda_event))

#define NVRTC_FUNCTIONS(X)                                                                                   \
    X(nvrtc_result, version, "nvrtcVersion", (int *major, int *minor))                                       \
    X(const char *, error_string, "nvrtcGetErrorString", (nvrtc_result))                                     \
    X(nvrtc_result, create, "nvrtcCreateProgram",                                                            \
      (nvrtc_program *, const char *text, const char *name, int headers, const char *const *texts,           \
       const char *const *names))                                                                            \
    X(nvrtc_result, destroy, "nvrtcDestroyProgram", (nvrtc_program *))                                       \
    X(nvrtc_result, compile, "nvrtcCompileProgram", (nvrtc_program, int count, const char *const *options))  \
    X(nvrtc_result, log_size, "nvrtcGetProgramLogSize", (nvrtc_program, size_t *))                           \
    X(nvrtc_result, log, "nvrtcGetProgramLog", (nvrtc_program, char *))                                      \
    X(nvrtc_result, cubin_size, "nvrtcGetCUBINSize", (nvrtc_program, size_t *))                              \
    X(nvrtc_result, cubin, "nvrtcGetCUBIN", (nvrtc_program, char *))

#define X(result, member, symbol, arguments) result(*member) arguments;
typedef struct cuda_driver {
    CUDA_DRIVER_FUNCTIONS(X)
} cuda_driver;
typedef struct nvrtc {
    NVRTC_FUNCTIONS(X)
} nvrtc;
#undef X

/* A function of a shared library and where its pointer goes in a table. */
typedef struct cuda_symbol {
    const char *name;
    size_t offset;
} cuda_symbol;

/* Opens the first of `names` (ended by NULL) that is found: on the loader's path, in $CUDA_HOME (/usr/local/cuda), then in
 * Python's packages (of $VIRTUAL_ENV first). It stays loaded when the handle is closed. NULL: there is none. */
void *cuda_library_open(const char *const *names);
/* Fills `table`; false with the first function that is missing. */
bool cuda_resolve(void *library, const cuda_symbol *symbols, size_t count, void *table, const char **missing);

/* Fill the tables from the shared libraries, which stay loaded; false with the reason when one is missing or
 * too old. */
bool cuda_driver_load(cuda_driver *driver, char why[GG_REASON_SIZE]);
bool nvrtc_load(nvrtc *compiler, char why[GG_REASON_SIZE]);

/* Is libcuda in this process already? */
bool cuda_driver_loaded(void);

/* "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)" */
void cuda_describe(const cuda_driver *driver, cuda_result result, char *text, size_t size);

#endif
