/* cuda_api.c: finds libcuda and NVRTC at run time and resolves the functions of cuda_api.h. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_api.h"

#define DRIVER_LIBRARY "libcuda.so.1"

typedef struct symbol {
    const char *name;
    size_t offset; /* of its pointer in the table */
} symbol;

#define X(result, member, name, arguments) {name, offsetof(TABLE, member)},
#define TABLE cuda_driver
static const symbol driver_symbols[] = {CUDA_DRIVER_FUNCTIONS(X)};
#undef TABLE
#define TABLE nvrtc
static const symbol nvrtc_symbols[] = {NVRTC_FUNCTIONS(X)};
#undef TABLE
#undef X

static bool resolve(void *library, const symbol *symbols, size_t count, void *table, const char **missing) {
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
    bool ok =
        resolve(library, driver_symbols, sizeof driver_symbols / sizeof *driver_symbols, driver, &missing);
    if (!ok)
        snprintf(why, GG_REASON_SIZE, "CUDA driver too old: '%s' lacks '%s' (CUDA 12.0 or later is needed)",
                 DRIVER_LIBRARY, missing);
    dlclose(library);
    return ok;
}

/* The places a toolkit puts NVRTC: the loader's path first, then $CUDA_HOME or its usual folder. */
static void *nvrtc_open(void) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
    const char *home = getenv("CUDA_HOME");
    const char *const folders[] = {"", home ? home : "/usr/local/cuda"};
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++)
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            char path[GG_PATH_SIZE];
            const char *inside = *folders[f] ? "/lib64/" : "";
            if (snprintf(path, sizeof path, "%s%s%s", folders[f], inside, names[n]) >= (int)sizeof path)
                continue;
            void *library = dlopen(path, RTLD_NOW | RTLD_NODELETE);
            if (library) return library;
        }
    return NULL;
}

bool nvrtc_load(nvrtc *compiler, char why[GG_REASON_SIZE]) {
    const char *missing;
    void *library = nvrtc_open();
    if (!library) {
        snprintf(why, GG_REASON_SIZE,
                 "no CUDA compiler: 'libnvrtc.so' is not found (install the CUDA toolkit's NVRTC, or set "
                 "CUDA_HOME)");
        return false;
    }
    bool ok =
        resolve(library, nvrtc_symbols, sizeof nvrtc_symbols / sizeof *nvrtc_symbols, compiler, &missing);
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
