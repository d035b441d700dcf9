/* check.cu: guards and equality of output buffers, or of some rows, 16 bytes a step, and where two outputs
 * differ. */
#include "intrinsics.h"
#include "helpers.h"

DEVICE int equal_16(u32x4 a, u32x4 b) { return ((a.x ^ b.x) | (a.y ^ b.y) | (a.z ^ b.z) | (a.w ^ b.w)) == 0; }

KERNEL(check, check_params, MG_HELPER_THREADS, 1) {
    const u32x4 poison = {p.poison, p.poison, p.poison, p.poison};
    for (i64 i = blockIdx.x * (i64)MG_HELPER_THREADS + threadIdx.x; i < p.chunks;
         i += gridDim.x * (i64)MG_HELPER_THREADS) {
        if (i < p.output_begin || i >= p.output_end) {
            if (equal_16(load_16(p.buffer + i * 8), poison)) continue;
            atomic_add_u64(&p.report->overwritten, 1);
            atomic_min_u64(&p.report->first_overwritten, (u64)i);
        } else if (p.first_run && !equal_16(load_16(p.buffer + i * 8), load_16(p.first_run + i * 8))) {
            atomic_add_u64(&p.report->differing, 1);
            atomic_min_u64(&p.report->first_differing, (u64)i);
        }
    }
}

/* A block takes one row at a time. */
KERNEL(common, common_params, MG_HELPER_THREADS, 1) {
    i64 chunks = p.cols / 8;
    for (i64 i = blockIdx.x; i < p.rows; i += gridDim.x) {
        i64 row = p.kept[i] * p.cols;
        for (i64 chunk = threadIdx.x; chunk < chunks; chunk += MG_HELPER_THREADS) {
            i64 at = row + chunk * 8;
            if (equal_16(load_16(p.first + at), load_16(p.later + at))) continue;
            atomic_add_u64(&p.report->differing, 1);
            atomic_min_u64(&p.report->first_differing, (u64)(i * chunks + chunk));
        }
    }
}

/* Here too. */
KERNEL(locate, locate_params, MG_HELPER_THREADS, 1) {
    for (i64 row = blockIdx.x; row < p.rows; row += gridDim.x) {
        i64 slot = p.row_slot ? p.row_slot[row] : row / p.rows_per_slot;
        i64 stored = (p.row_map ? p.row_map[row] : row) * p.cols;
        for (i64 col = threadIdx.x; col < p.cols; col += MG_HELPER_THREADS) {
            if (p.got[stored + col] == p.expected[stored + col]) continue;
            atomic_add_u64(p.wrong + slot, 1);
            atomic_add_u32(p.cells + row * p.map_rows / p.rows * p.map_cols + col * p.map_cols / p.cols, 1);
            atomic_min_u64(p.first, (u64)(row * p.cols + col));
        }
    }
}
