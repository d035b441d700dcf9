/* moe_ops.h: what kernels over rows share, those of the MoE block and copy_rows: eight values at a time, walks over rows.
 *
 * Macros: DTYPE (0 bf16, 1 fp16), TOPK where a kernel is unrolled over a token's slots. */
#ifndef GG_MOE_OPS_H
#define GG_MOE_OPS_H

#include "dtype.h"
#include "moe_params.h"
#include "silu.h"

#define ROW_OP_THREADS 256

/* Eight consecutive values, 16 bytes of memory. */
typedef struct values8 {
    float v[8];
} values8;

DEVICE values8 unpack8(u32x4 bits) {
    u32 words[4] = {bits.x, bits.y, bits.z, bits.w};
    values8 out;
    UNROLL for (int i = 0; i < 4; i++) {
        out.v[2 * i] = float_from_dtype((u16)(words[i] & 0xffff));
        out.v[2 * i + 1] = float_from_dtype((u16)(words[i] >> 16));
    }
    return out;
}
DEVICE u32 pack2(float low, float high) { return round_to_dtype(low) | (u32)round_to_dtype(high) << 16; }
DEVICE u32x4 pack8(values8 in) {
    u32x4 bits = {pack2(in.v[0], in.v[1]), pack2(in.v[2], in.v[3]), pack2(in.v[4], in.v[5]),
                  pack2(in.v[6], in.v[7])};
    return bits;
}
DEVICE values8 load8(const u16 *address) { return unpack8(load_16(address)); }

/* The chunks of eight values of a (rows, cols) matrix, dealt out to all threads of the launch; one division at the
 * start, none on the way. */
typedef struct chunk_walk {
    i64 row, rows, step_rows;
    i32 chunk, chunks, step_chunks;
} chunk_walk;

DEVICE chunk_walk chunk_walk_begin(i64 rows, i32 cols) {
    i64 first = blockIdx.x * (i64)ROW_OP_THREADS + threadIdx.x, step = gridDim.x * (i64)ROW_OP_THREADS;
    i32 chunks = cols / 8;
    chunk_walk walk;
    walk.rows = rows;
    walk.chunks = chunks;
    walk.row = first / chunks;
    walk.chunk = (i32)(first % chunks);
    walk.step_rows = step / chunks;
    walk.step_chunks = (i32)(step % chunks);
    return walk;
}
DEVICE void chunk_walk_next(chunk_walk *walk) {
    walk->row += walk->step_rows;
    walk->chunk += walk->step_chunks;
    if (walk->chunk >= walk->chunks) {
        walk->chunk -= walk->chunks;
        walk->row++;
    }
}

/* Sum over the lanes of a warp, the same bits in each. */
DEVICE float warp_sum(float value) {
    UNROLL for (int mask = 16; mask > 0; mask /= 2) value =
        add_f32(value, float_from_bits(shuffle_xor(bits_from_float(value), mask)));
    return value;
}

#endif
