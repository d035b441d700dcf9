/* helpers.h: parameters of the harness's own kernels (device/); shared by host and device.
 * The types come from intrinsics.h on a device and from kernels/device/params.h on the host, included before.
 */
#ifndef MG_HELPERS_H
#define MG_HELPERS_H

enum { MG_HELPER_THREADS = 128 };

/* Rows of class exact or real from the counter hash (golden.h: mg_fill_integers, mg_fill_real). */
typedef struct fill_params {
    u16 *out;           /* (rows, cols) */
    const i32 *row_map; /* out row i is row row_map[i] / row_divisor of the tensor as drawn; NULL: row i */
    u64 seed;
    i64 rows;
    i32 cols, row_divisor;
    i32 bits, scale_log2, dtype; /* bits 0: class real; dtype: a gg_dtype */
} fill_params;

/* hashes[slot of row] += sum over the row of mix64(key + ((row * cols + col) << 16 | bits)). */
typedef struct hash_params {
    const u16 *data;     /* (rows, cols) */
    const i32 *row_map;  /* row i is stored at row_map[i]; NULL: at i */
    const i32 *row_slot; /* NULL: slot = row / rows_per_slot */
    u64 *hashes;
    u64 key;
    i64 rows, rows_per_slot;
    i32 cols;
} hash_params;

/* What is wrong with one output buffer; offsets are in 16-byte chunks from the buffer's start, guard
 * included. */
typedef struct check_report {
    u64 differing, first_differing;     /* chunks unlike those of the first run; least offset, ~0 if none */
    u64 overwritten, first_overwritten; /* chunks of the guards that have lost their pattern */
} check_report;

typedef struct check_params {
    const u16 *buffer;    /* guard, output, guard */
    const u16 *first_run; /* the same of another run; NULL: only the guards are checked */
    check_report *report;
    i64 output_begin, output_end, chunks; /* in chunks */
    u32 poison;
} check_params;

/* Rows that two outputs must have in common. */
typedef struct common_params {
    const u16 *first, *later; /* (rows of some number, cols) */
    const i32 *kept;          /* (rows) which rows */
    check_report *report;     /* differing chunks; offset = index in kept * cols / 8 + chunk in the row */
    i64 rows, cols;
} common_params;

/* Work beside a kernel: until `*stop` is not 0, or `looks` have been taken at it. */
typedef struct load_params {
    const u32 *stop;
    u32 looks;
} load_params;

/* Everything that is not zero changes its sign. */
typedef struct signs_params {
    u16 *data;
    i64 chunks; /* of 16 bytes */
} signs_params;

/* All shared memory of a multiprocessor becomes NaN, so that what is left there by others helps nobody. */
typedef struct soil_params {
    u32 words;
} soil_params;

/* Where two outputs differ, in expert order. */
typedef struct locate_params {
    const u16 *got, *expected;     /* (rows, cols) */
    const i32 *row_map, *row_slot; /* as for hash_params */
    u64 *first;                    /* least row * cols + col, ~0 if none */
    u64 *wrong;                    /* (slots) elements */
    u32 *cells;                    /* (map_rows, map_cols) elements */
    i64 rows, rows_per_slot;
    i32 cols, map_rows, map_cols;
} locate_params;

#endif
