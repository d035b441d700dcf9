/* copy_rows.cu: the rows that a GEMM would gather, put together in expert order before it, so that TMA can load them. */
#include "intrinsics.h"
#include "params.h"

/* Rows of a thread's turn: it asks for a chunk of each at once, which fills the way from memory. */
#define TURN 4

KERNEL(copy_rows, copy_rows_params, 256, 1) {
    grid_wait();
    i64 chunks = p.cols / 8, turns = (p.M + TURN - 1) / TURN; /* of 8 values, 16 bytes, in a row */
    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < turns * chunks; i += gridDim.x * 256ll) {
        i64 row = i / chunks * TURN, offset = i % chunks * 8;
        u32x4 values[TURN];
        UNROLL for (int j = 0; j < TURN; j++) {
            i32 slot = p.gather_indices[row + j < p.M ? row + j : p.M - 1];
#ifdef GG_DEBUG
            if (slot < 0 || slot >= p.M) device_trap();
#endif
            values[j] = load_16(p.in + (i64)(slot / p.topk) * p.cols + offset);
        }
        UNROLL for (int j = 0; j < TURN; j++) {
            if (row + j < p.M) store_16(p.out + (row + j) * p.cols + offset, values[j]);
        }
    }
}
