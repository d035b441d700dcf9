/* backend.c: the table of backends, and where they keep their files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/build.h"

static const gg_backend_ops *const backends[] = {&gg_cuda_backend, &gg_sim_backend};

const gg_backend_ops *gg_backend_find(const char *name) {
    char why[GG_REASON_SIZE];
    if (!name) return gg_cuda_available(why) ? &gg_cuda_backend : &gg_sim_backend;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (!strcmp(name, backends[i]->name)) return backends[i];
    return NULL;
}

gg_status gg_cache_dir(const char *option, char path[GG_PATH_SIZE], char error[GG_ERROR_SIZE]) {
    const char *dir = option ? option : getenv("MOEGEMM_CACHE"), *home = getenv("HOME");
    int length = dir && *dir     ? snprintf(path, GG_PATH_SIZE, "%s", dir)
                 : home && *home ? snprintf(path, GG_PATH_SIZE, "%s/.cache/moegemm", home)
                                 : 0;
    if (length > 0 && length < GG_PATH_SIZE) return GG_OK;
    snprintf(error, GG_ERROR_SIZE, "%s (set MOEGEMM_CACHE to a folder)",
             length ? "path of the cache folder too long"
                    : "no cache folder: neither MOEGEMM_CACHE nor HOME is set");
    return GG_ERR_IO;
}
