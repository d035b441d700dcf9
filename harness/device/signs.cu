/* signs.cu: changes the sign of a tensor in place, 16 bytes a step. A sum that is zero stays the zero that it is. */
#include "intrinsics.h"
#include "helpers.h"

DEVICE u32 changed(u32 pair) {
    return pair ^ ((pair & 0x7fff ? 0x8000 : 0) | (pair & 0x7fff0000 ? 0x80000000 : 0));
}

KERNEL(signs, signs_params, MG_HELPER_THREADS, 1) {
    for (i64 i = blockIdx.x * (i64)MG_HELPER_THREADS + threadIdx.x; i < p.chunks;
         i += gridDim.x * (i64)MG_HELPER_THREADS) {
        u32x4 v = load_16(p.data + i * 8);
        u32x4 out = {changed(v.x), changed(v.y), changed(v.z), changed(v.w)};
        store_16(p.data + i * 8, out);
    }
}
