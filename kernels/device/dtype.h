/* dtype.h: one name for both types' conversions: DTYPE is 0 for bf16, 1 for fp16. */
#ifndef GG_DTYPE_H
#define GG_DTYPE_H

#include "intrinsics.h"

#if DTYPE == 0
#define round_to_dtype bf16_from_float
#define float_from_dtype float_from_bf16
#define round_pair bf16_pair_from_floats
#define mma_tile mma_tile_bf16
#else
#define round_to_dtype fp16_from_float
#define float_from_dtype float_from_fp16
#define round_pair fp16_pair_from_floats
#define mma_tile mma_tile_fp16
#endif

#endif
