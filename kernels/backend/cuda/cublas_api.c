/* cublas_api.c: finds cuBLAS at run time and resolves the functions of cublas_api.h. */
#include "cublas_api.h"

#include <dlfcn.h>
#include <stdio.h>

#define X(result, member, name, arguments) {name, offsetof(cublas, member)},
static const cuda_symbol symbols[] = {CUBLAS_FUNCTIONS(X)}, grouped[] = {CUBLAS_GROUPED_FUNCTIONS(X)};
#undef X

bool cublas_load(cublas *library, char why[GG_REASON_SIZE]) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", NULL};
    const char *missing;
    *library = (cublas){0};
    void *handle = cuda_library_open(names);
    if (!handle) {
        snprintf(why, GG_REASON_SIZE,
                 "no cuBLAS: 'libcublas.so' is not found (install it, or set CUDA_HOME)");
        return false;
    }
    bool ok = cuda_resolve(handle, symbols, sizeof symbols / sizeof *symbols, library, &missing);
    if (ok) cuda_resolve(handle, grouped, sizeof grouped / sizeof *grouped, library, &missing);
    if (!ok) snprintf(why, GG_REASON_SIZE, "cuBLAS too old: it lacks '%s'", missing);
    dlclose(handle);
    return ok;
}
