/* cuda_api.c: finds libcuda and NVRTC at run time and resolves the functions of cuda_api.h. */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_api.h"

#define DRIVER_LIBRARY "libcuda.so.1"

#define X(result, member, name, arguments) {name, offsetof(TABLE, member)},
#define TABLE cuda_driver
static const cuda_symbol driver_symbols[] = {CUDA_DRIVER_FUNCTIONS(X)};
#undef TABLE
#define TABLE nvrtc
static const cuda_symbol nvrtc_symbols[] = {NVRTC_FUNCTIONS(X)};
#undef TABLE
#undef X

bool cuda_resolve(void *library, const cuda_symbol *symbols, size_t count, void *table,
                  const char **missing) {
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (!address) {
            *missing = symbols[i].name;
            return false;
        }
        memcpy((char *)table + symbols[i].offset, &address, sizeof address);
    }
    return true;
}

bool cuda_driver_loaded(void) {
    void *library = dlopen(DRIVER_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    if (library) dlclose(library);
    return library;
}

bool cuda_driver_load(cuda_driver *driver, char why[GG_REASON_SIZE]) {
    const char *missing;
    void *library = dlopen(DRIVER_LIBRARY, RTLD_NOW | RTLD_NODELETE);
    if (!library) {
        snprintf(why, GG_REASON_SIZE, "no CUDA driver: '%s' is not found (install the NVIDIA driver)",
                 DRIVER_LIBRARY);
        return false;
    }
    bool ok = cuda_resolve(library, driver_symbols, sizeof driver_symbols / sizeof *driver_symbols, driver,
                           &missing);
    if (!ok)
        snprintf(why, GG_REASON_SIZE, "CUDA driver too old: '%s' lacks '%s' (CUDA 12.0 or later is needed)",
                 DRIVER_LIBRARY, missing);
    dlclose(library);
    return ok;
}

static void *open_in(const char *folder, const char *const *names) {
    for (; *names; names++) {
        char path[GG_PATH_SIZE];
        if (snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", *names) >= (int)sizeof path)
            continue;
        void *library = dlopen(path, RTLD_NOW | RTLD_NODELETE);
        if (library) return library;
    }
    return NULL;
}

/* Folders that match `pattern` under `root`; none where there is no root. */
static void *open_below(const char *root, const char *pattern, const char *const *names) {
    char text[GG_PATH_SIZE];
    glob_t found = {0};
    void *library = NULL;
    if (root && snprintf(text, sizeof text, "%s/%s", root, pattern) < (int)sizeof text &&
        !glob(text, GLOB_BRACE | GLOB_ONLYDIR, NULL, &found))
        for (size_t i = 0; i < found.gl_pathc && !library; i++) library = open_in(found.gl_pathv[i], names);
    globfree(&found);
    return library;
}

void *cuda_library_open(const char *const *names) {
    static const char wheels[] = "lib/python3*/{site,dist}-packages/nvidia/{cu13,cublas,cuda_nvrtc}/lib";
    const char *home = getenv("CUDA_HOME");
    void *library = open_in("", names);
    if (!library) library = open_below(home ? home : "/usr/local/cuda", "lib{64,}", names);
    if (!library) library = open_below(getenv("VIRTUAL_ENV"), wheels, names);
    if (!library) library = open_below("/usr/local", wheels, names);
    if (!library) library = open_below("/usr", wheels, names);
    return library;
}

bool nvrtc_load(nvrtc *compiler, char why[GG_REASON_SIZE]) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};
    const char *missing;
    void *library = cuda_library_open(names);
    if (!library) {
        snprintf(why, GG_REASON_SIZE,
                 "no CUDA compiler: 'libnvrtc.so' is not found (install the CUDA toolkit's NVRTC, or set "
                 "CUDA_HOME)");
        return false;
    }
    bool ok = cuda_resolve(library, nvrtc_symbols, sizeof nvrtc_symbols / sizeof *nvrtc_symbols, compiler,
                           &missing);
    if (!ok)
        snprintf(why, GG_REASON_SIZE, "CUDA compiler too old: NVRTC lacks '%s' (12.0 or later is needed)",
                 missing);
    dlclose(library);
    return ok;
}

void cuda_describe(const cuda_driver *driver, cuda_result result, char *text, size_t size) {
    const char *name, *words;
    if (driver->get_error_name(result, &name)) name = "unknown error";
    if (driver->get_error_string(result, &words)) words = "unknown error";
    snprintf(text, size, "%s (%s)", words, name);
}
