/* reduce_topk.cu: dx of a token is the sum of its topk slots' rows: fp32, in slot order, rounded once. */
#include "dtype.h"
#include "params.h"

DEVICE void add_pair(float sum[2], u32 pair) {
    sum[0] = add_f32(sum[0], float_from_dtype((u16)(pair & 0xffff)));
    sum[1] = add_f32(sum[1], float_from_dtype((u16)(pair >> 16)));
}
DEVICE u32 rounded_pair(const float sum[2]) {
    return round_to_dtype(sum[0]) | (u32)round_to_dtype(sum[1]) << 16;
}

KERNEL(reduce_topk, reduce_params, 256, 1) {
    grid_wait();
    i64 chunks = p.K / 8; /* of 8 values, 16 bytes, in a row */
    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < p.T * chunks; i += gridDim.x * 256ll) {
        i64 token = i / chunks, chunk = i % chunks;
        float sum[4][2] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
        for (i32 j = 0; j < p.topk; j++) {
            u32x4 v = load_16(p.dx_slots + ((token * p.topk + j) * chunks + chunk) * 8);
            add_pair(sum[0], v.x);
            add_pair(sum[1], v.y);
            add_pair(sum[2], v.z);
            add_pair(sum[3], v.w);
        }
        u32x4 out = {rounded_pair(sum[0]), rounded_pair(sum[1]), rounded_pair(sum[2]), rounded_pair(sum[3])};
        store_16(p.dx_tokens + (token * chunks + chunk) * 8, out);
    }
}
