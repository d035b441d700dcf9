/* fill.cu: draws a tensor of the exact class where it is needed, eight values a hash, in any order of rows.
 */
#include "intrinsics.h"
#include "helpers.h"
#include "splitmix.h"

DEVICE u32 value_bits(const fill_params *p, u32 byte) {
    i32 top = (1 << p->bits) - 1;
    float scale = float_from_bits((u32)(127 + p->scale_log2) << 23);
    float value = (float)(2 * (i32)(byte & (u32)top) - top) * scale;
    return p->dtype == 0 ? bf16_from_float(value) : fp16_from_float(value);
}

DEVICE u32 value_pair(const fill_params *p, u64 hash, int pair) {
    u32 bytes = (u32)(hash >> 16 * pair);
    return value_bits(p, bytes) | value_bits(p, bytes >> 8) << 16;
}

KERNEL(fill, fill_params, MG_HELPER_THREADS, 1) {
    i64 chunks = p.cols / 8;
    for (i64 i = blockIdx.x * (i64)MG_HELPER_THREADS + threadIdx.x; i < p.rows * chunks;
         i += gridDim.x * (i64)MG_HELPER_THREADS) {
        i64 row = i / chunks;
        i64 drawn = p.row_map ? p.row_map[row] / p.row_divisor : row;
        u64 hash = splitmix64(p.seed + (u64)(drawn * chunks + i % chunks) * SPLITMIX_STEP);
        u32x4 values = {value_pair(&p, hash, 0), value_pair(&p, hash, 1), value_pair(&p, hash, 2),
                        value_pair(&p, hash, 3)};
        store_16(p.out + i * 8, values);
    }
}
