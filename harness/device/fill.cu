/* fill.cu: draws a tensor of class exact or real where it is needed, eight values a thread, in any order of rows.
 */
#include "intrinsics.h"
#include "helpers.h"
#include "splitmix.h"

DEVICE u32 rounded(const fill_params *p, i32 integer) {
    float value = (float)integer * float_from_bits((u32)(127 + p->scale_log2) << 23);
    return p->dtype == 0 ? bf16_from_float(value) : fp16_from_float(value);
}

/* Class exact: a byte of the chunk's hash. */
DEVICE u32 odd_bits(const fill_params *p, u64 hash, int i) {
    i32 top = (1 << p->bits) - 1;
    return rounded(p, 2 * (i32)((u32)(hash >> 8 * i) & (u32)top) - top);
}

/* Class real: the sum of four fields of the value's own hash, less their mean. */
DEVICE u32 bell_bits(const fill_params *p, u64 index) {
    u64 hash = splitmix64(p->seed + index * SPLITMIX_STEP);
    i32 sum =
        (i32)(hash & 0xffff) + (i32)(hash >> 16 & 0xffff) + (i32)(hash >> 32 & 0xffff) + (i32)(hash >> 48);
    return rounded(p, sum - 131070);
}

DEVICE u32 value_pair(const fill_params *p, u64 chunk, u64 hash, int i) {
    return p->bits ? odd_bits(p, hash, i) | odd_bits(p, hash, i + 1) << 16
                   : bell_bits(p, chunk * 8 + (u64)i) | bell_bits(p, chunk * 8 + (u64)i + 1) << 16;
}

KERNEL(fill, fill_params, MG_HELPER_THREADS, 1) {
    i64 chunks = p.cols / 8;
    for (i64 i = blockIdx.x * (i64)MG_HELPER_THREADS + threadIdx.x; i < p.rows * chunks;
         i += gridDim.x * (i64)MG_HELPER_THREADS) {
        i64 row = i / chunks;
        i64 drawn = p.row_map ? p.row_map[row] / p.row_divisor : row;
        u64 chunk = (u64)(drawn * chunks + i % chunks), hash = splitmix64(p.seed + chunk * SPLITMIX_STEP);
        u32x4 values = {value_pair(&p, chunk, hash, 0), value_pair(&p, chunk, hash, 2),
                        value_pair(&p, chunk, hash, 4), value_pair(&p, chunk, hash, 6)};
        store_16(p.out + i * 8, values);
    }
}
