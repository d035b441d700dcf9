/* hash.cu: hashes an output by slots of rows (experts), in one pass; sums of integers, so no order shows. */
#include "intrinsics.h"
#include "helpers.h"
#include "splitmix.h"

DEVICE u64 mix_pair(u64 key, u64 index, u32 pair) {
    return splitmix64(key + (index << 16 | (pair & 0xffff))) +
           splitmix64(key + ((index + 1) << 16 | pair >> 16));
}

/* One atomic a warp: the slots are few and every block adds to the same ones. */
DEVICE void add_to_slot(u64 *slot, u64 sum) {
    for (int lanes = 16; lanes; lanes >>= 1) {
        u32 low = shuffle_xor((u32)sum, lanes), high = shuffle_xor((u32)(sum >> 32), lanes);
        sum += (u64)high << 32 | low;
    }
    if (threadIdx.x % 32 == 0) atomic_add_u64(slot, sum);
}

/* A block takes consecutive rows and adds up as long as the slot stays the same. */
KERNEL(hash, hash_params, MG_HELPER_THREADS, 1) {
    i64 begin = p.rows * blockIdx.x / gridDim.x, end = p.rows * (blockIdx.x + 1ll) / gridDim.x, slot = 0;
    u64 sum = 0;
    for (i64 row = begin; row < end; row++) {
        i64 here = p.row_slot ? p.row_slot[row] : row / p.rows_per_slot;
        if (row == begin) slot = here;
        if (here != slot) {
            add_to_slot(p.hashes + slot, sum);
            sum = 0;
            slot = here;
        }
        const u16 *data = p.data + (p.row_map ? p.row_map[row] : row) * p.cols;
        for (i64 col = threadIdx.x * 8; col < p.cols; col += MG_HELPER_THREADS * 8) {
            u32x4 v = load_16(data + col);
            u64 index = (u64)(row * p.cols + col);
            sum += mix_pair(p.key, index, v.x) + mix_pair(p.key, index + 2, v.y) +
                   mix_pair(p.key, index + 4, v.z) + mix_pair(p.key, index + 6, v.w);
        }
    }
    if (begin < end) add_to_slot(p.hashes + slot, sum);
}
