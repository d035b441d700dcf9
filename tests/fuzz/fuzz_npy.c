/* fuzz_npy.c: the .npy reader. What it accepts has as many bytes as its type and shape say, all of them readable. */
#include "fuzz.h"
#include "golden.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t sizes[] = {[MG_NPY_U2] = 2, [MG_NPY_I4] = 4, [MG_NPY_F4] = 4, [MG_NPY_F8] = 8};
    char error[MG_ERROR_SIZE] = "";
    mg_npy npy;
    if (mg_npy_parse(data, size, "input", &npy, error)) {
        if (!error[0] || strchr(error, '\n')) abort();
        return 0;
    }
    size_t count = 1;
    for (int i = 0; i < npy.ndim; i++) count *= (size_t)npy.shape[i];
    if (count != npy.count || npy.bytes != count * sizes[npy.type] || npy.bytes > size) abort();
    if (memcmp(npy.data, data + size - npy.bytes, npy.bytes)) abort();
    mg_npy_free(&npy);
    return 0;
}
