/* build.h: the kernel cache beyond gg_build: where it is, building in parallel, its size. */
#ifndef GG_BUILD_H
#define GG_BUILD_H

#include <sys/types.h>

#include "backend/backend.h"

/* The cache folder: `option`, else $MOEGEMM_CACHE, else ~/.cache/moegemm. Makes nothing. */
gg_status gg_cache_dir(const char *option, char path[GG_PATH_SIZE], char error[GG_ERROR_SIZE]);

/* mkdir -p; `path` is changed while working and restored. False with errno set when a folder cannot be made.
 */
bool gg_make_folders(char *path);

typedef struct gg_build_job {
    gg_source source;
    gg_target target;
    gg_status status; /* the rest is filled by gg_build_many */
    bool compiled;
    char error[GG_ERROR_SIZE];
} gg_build_job;

typedef void (*gg_build_done)(const gg_build_job *job, size_t finished, void *data);

/* Builds every job in `workers` forked processes (0: one per processor of this process), which only compile,
 * so the caller may have a GPU open. `done` (optional) is called here as each job ends. GG_OK when every job
 * has. */
gg_status gg_build_many(gg_build_job *jobs, size_t count, const char *cache_dir, int workers,
                        gg_build_done done, void *data);

/* Whether gg_build would find it done. */
bool gg_is_built(const gg_source *source, const gg_target *target, const char *cache_dir);

/* Removes the least recently used files of `folder` until they fill half of `limit` bytes, if they fill more
 * than it. */
void gg_cache_cut(const char *folder, off_t limit);

#endif
