/* copy_rows.cu: the rows that a GEMM would gather, put together in expert order before it, so that TMA can load them. A thread copies
 * a chunk of COPY_TURN rows at a time, all asked for at once. */
#include "moe_ops.h"
#include "params.h"

KERNEL(copy_rows, copy_rows_params, ROW_OP_THREADS, 4) {
    grid_wait();
    i64 turns = (p.M + COPY_TURN - 1) / COPY_TURN;
    for (chunk_walk at = chunk_walk_begin(turns, p.cols); at.row < turns; chunk_walk_next(&at)) {
        i64 row = at.row * COPY_TURN, offset = at.chunk * 8;
        u32x4 values[COPY_TURN];
        UNROLL for (int j = 0; j < COPY_TURN; j++) {
            i32 slot = p.gather_indices[row + j < p.M ? row + j : p.M - 1];
#ifdef GG_DEBUG
            if (slot < 0 || slot >= p.M) device_trap();
#endif
            values[j] = load_16(p.in + (i64)(slot / p.topk) * p.cols + offset);
        }
        UNROLL for (int j = 0; j < COPY_TURN; j++) {
            if (row + j < p.M) store_16(p.out + (row + j) * p.cols + offset, values[j]);
        }
    }
}
