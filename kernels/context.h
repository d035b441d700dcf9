/* context.h: the inside of a gg_context, shared by context.c, launch.c and autotune.c; not installed. */
#ifndef GG_CONTEXT_H
#define GG_CONTEXT_H

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
    gg_map tuned;   /* malloc'ed gg_config: what a NULL config resolved to, by problem */
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

/* gg_forward, gg_dX or gg_dW, which may start (`overlaps`) before the launch before it on the stream has ended. */
gg_status gg_run(gg_context *context, gg_op op, const gg_problem *problem, const gg_config *config,
                 const gg_tensors *tensors, gg_stream stream, bool overlaps);

/* The tuned config of a problem if the cache has one, else gg_default_config; remembered. */
gg_config gg_resolve_config(gg_context *context, const gg_problem *problem);
/* A block's kernel from the table of gg_context_use_sources, if its file is the one. */
void gg_context_patch(const gg_context *context, gg_source *source);
/* Forgets what was remembered, after tuning. */
void gg_forget_configs(gg_context *context);

#endif
