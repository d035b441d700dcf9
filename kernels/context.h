/* context.h: the inside of a gg_context, shared by context.c, counters.c, launch.c and autotune.c; not installed. */
#ifndef GG_CONTEXT_H
#define GG_CONTEXT_H

#include <stdatomic.h>
#include <xxhash.h>

#include "backend/backend.h"

/* A hash map from what a thing was made of to the thing; 128 bits do not collide in practice. */
typedef struct gg_map_slot {
    XXH128_hash_t key;
    void *value; /* NULL: free slot */
} gg_map_slot;
typedef struct gg_map {
    gg_map_slot *slots;
    size_t count, capacity; /* capacity 0 or a power of two */
} gg_map;

/* A number in device memory from which the blocks of a launch draw their tiles; 0 before and after each launch. */
typedef struct gg_counter {
    uint32_t *drawn;
    uint64_t stream, capture; /* whose it is */
    atomic_int *holders;      /* of a capture: 2 while its graph can be launched, then 1; else NULL */
} gg_counter;

/* A launch has one that no other under way has: those of a stream run one after another, those of a captured graph beside
 * whatever the stream does later. */
typedef struct gg_counters {
    void *memory;
    gg_counter *items; /* (count), those handed out first */
    size_t count, taken;
    gg_map places; /* `drawn` of those handed out */
} gg_counters;

struct gg_context {
    gg_backend *backend;
    gg_target target;
    gg_device limited; /* what plans see instead of the device, unless sm_count is 0 */
    bool debug;
    bool overlaps;                 /* launches of one call, where the device can */
    const gg_source_file *sources; /* of kernels in the file `patched`; NULL: the embedded ones */
    const char *patched;
    gg_step_filter step_filter; /* of MoE blocks; NULL: every step is launched */
    void *step_data;
    gg_map kernels; /* gg_kernel, owned by the backend */
    gg_counters counters;
    gg_map tuned; /* malloc'ed gg_config: what a NULL config resolved to, by problem */
    char cache_dir[GG_PATH_SIZE];
    char error[GG_ERROR_SIZE];
};

void *gg_map_get(const gg_map *map, XXH128_hash_t key);
bool gg_map_put(gg_map *map, XXH128_hash_t key, void *value); /* false: out of memory */

/* gg_open on a given backend, which a test may have made up. */
gg_status gg_open_on(gg_context **context, const gg_backend_ops *ops, const gg_options *options);

/* Records the detail that gg_error returns; `fault` comes back. */
__attribute__((format(printf, 3, 4))) gg_status gg_fail(gg_context *context, gg_status fault,
                                                        const char *format, ...);
/* Records the backend's detail under `what` when `status` is a failure; `status` comes back. */
gg_status gg_fail_backend(gg_context *context, gg_status status, const char *what);

enum { GG_COUNTERS = 32768 }; /* where streams have identities; 1 where launches run in their order */
gg_status gg_counters_open(gg_context *context, size_t count);
void gg_counters_close(gg_context *context);
/* The counter for launches on a stream, or in what is being captured of it. With none left the device is waited for, unless
 * something is captured; GG_ERR_MEMORY where that does not help. */
gg_status gg_counters_take(gg_context *context, gg_stream stream, uint32_t **drawn);
/* Those of graphs that are gone; of streams too where the device is `idle`. */
void gg_counters_take_back(gg_counters *counters, bool idle);

/* gg_forward, gg_dX or gg_dW, which may start (`overlaps`) before the launch before it on the stream has ended. */
gg_status gg_run(gg_context *context, gg_op op, const gg_problem *problem, const gg_config *config,
                 const gg_tensors *tensors, gg_stream stream, bool overlaps);

/* The tuned config of a problem if the cache has one, else gg_default_config; remembered. */
gg_config gg_resolve_config(gg_context *context, const gg_problem *problem, bool workspace);
/* Whether there is room for the rows that a problem gathers, if it gathers any. */
bool gg_has_workspace(const gg_problem *problem, const gg_tensors *tensors);
/* A block's kernel from the table of gg_context_use_sources, if its file is the one. */
void gg_context_patch(const gg_context *context, gg_source *source);
/* Forgets what was remembered, after tuning. */
void gg_forget_configs(gg_context *context);

#endif
