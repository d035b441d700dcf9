/* mma.c: ldmatrix and m16n8k16 products of a whole warp, in the fragment layouts of the PTX manual.
 *
 * Lane 4g+t holds c[0..3] = C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1] for each of nj blocks of columns,
 * side by side. A product therefore adds, in each lane and for each k, (A[g][k], A[g][k], A[g+8][k],
 * A[g+8][k]) times (B[k][2t], B[k][2t+1], B[k][2t], B[k][2t+1]): fragments are decoded once into exactly
 * these quadruples, and the accumulators stay where the lanes have them. Products of 16-bit floats are exact
 * in fp32, so fused and separate sums agree. */
#include "sim.h"

/* vectors of 4 and 8, also at addresses aligned to 4 bytes only, and over memory of any type */
typedef float float4 __attribute__((vector_size(16), may_alias));
typedef float float4_at __attribute__((vector_size(16), aligned(4), may_alias));
typedef float float8 __attribute__((vector_size(32), may_alias));
typedef float float8_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef u32 uint4 __attribute__((vector_size(16), may_alias));
typedef u32 uint4_at __attribute__((vector_size(16), aligned(4), may_alias));
typedef u16 half8 __attribute__((vector_size(16), may_alias));

#define UNROLLED _Pragma("GCC unroll 4")
#define INLINE static inline __attribute__((always_inline))

/* the low or high halves of four words as floats */
INLINE void decode(float *out, const uint4 *words, int high, int dtype) {
    uint4 bits = *words;
    if (high) bits >>= 16;
    if (dtype == SIM_BF16) {
        *(uint4 *)out = bits << 16;
        return;
    }
    uint4 magnitude = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    uint4 special = (uint4)(magnitude >= 0x0f800000u) & 0x7f800000u; /* infinity, NaN */
    float4 scaled = (float4)magnitude * 0x1p112f;                    /* exact, subnormals too */
    *(uint4 *)out = (uint4)scaled | sign | special;
}

/* a_values[g][k][4] of row block i */
INLINE void decode_a(float *values, const gg_sim_warp *warp, int i, int dtype) {
    for (int lane = 0; lane < GG_SIM_LANES; lane++) {
        uint4 a =
            *(const uint4_at *)(warp->mma[lane].a + 4 * i); /* (g, 2t) (g+8, 2t) (g, 2t+8) (g+8, 2t+8) */
        uint4 low_k = __builtin_shufflevector(a, a, 0, 0, 1, 1),
              high_k = __builtin_shufflevector(a, a, 2, 2, 3, 3);
        float *out = values + ((lane >> 2) * 16 + (lane & 3) * 2) * 4;
        decode(out, &low_k, 0, dtype);
        decode(out + 4, &low_k, 1, dtype);
        decode(out + 8 * 4, &high_k, 0, dtype);
        decode(out + 9 * 4, &high_k, 1, dtype);
    }
}

/* b_values[t][k][j][4] of column blocks first..first+count-1; column 2t comes from lanes 8t+.., column 2t+1
 * from 8t+4+.. */
INLINE void decode_b(float *values, const gg_sim_warp *warp, int first, int count, int dtype) {
    for (int t = 0; t < 4; t++) {
        for (int s = 0; s < 4; s++) {
            const u32 *even = warp->mma[8 * t + s].b + 2 * first,
                      *odd = warp->mma[8 * t + 4 + s].b + 2 * first;
            for (int j = 0; j < count; j++) {
                uint4 low_k = {even[2 * j], odd[2 * j], even[2 * j], odd[2 * j]};
                uint4 high_k = {even[2 * j + 1], odd[2 * j + 1], even[2 * j + 1], odd[2 * j + 1]};
                float *out = values + ((t * 16 + 2 * s) * count + j) * 4;
                decode(out, &low_k, 0, dtype);
                decode(out + count * 4, &low_k, 1, dtype);
                decode(out + 8 * count * 4, &high_k, 0, dtype);
                decode(out + 9 * count * 4, &high_k, 1, dtype);
            }
        }
    }
}

/* For four lanes with the same t: `pairs` vectors of two column blocks each, starting at block j. */
INLINE void multiply_pairs(float *const acc[4], const float *a, const float *b, int count, int j, int pairs) {
    float8 sum[4][2];
    UNROLLED for (int g = 0; g < 4; g++) UNROLLED for (int v = 0; v < pairs; v++) sum[g][v] =
        *(const float8_at *)(acc[g] + (j + 2 * v) * 4);
    for (int k = 0; k < 16; k++) {
        float8 right[2];
        UNROLLED for (int v = 0; v < pairs; v++) right[v] =
            *(const float8_at *)(b + (k * count + j + 2 * v) * 4);
        UNROLLED for (int g = 0; g < 4; g++) {
            float4 quad = *(const float4 *)(a + (g * 16 + k) * 4);
            float8 left = __builtin_shufflevector(quad, quad, 0, 1, 2, 3, 0, 1, 2, 3);
            UNROLLED for (int v = 0; v < pairs; v++) sum[g][v] += left * right[v];
        }
    }
    UNROLLED for (int g = 0; g < 4; g++) UNROLLED for (int v = 0; v < pairs; v++) *
        (float8_at *)(acc[g] + (j + 2 * v) * 4) = sum[g][v];
}

INLINE void multiply_one(float *const acc[4], const float *a, const float *b, int count, int j) {
    for (int g = 0; g < 4; g++) {
        float4 sum = *(const float4_at *)(acc[g] + j * 4);
        for (int k = 0; k < 16; k++)
            sum += *(const float4 *)(a + (g * 16 + k) * 4) * *(const float4 *)(b + (k * count + j) * 4);
        *(float4_at *)(acc[g] + j * 4) = sum;
    }
}

INLINE void tile_multiply(gg_sim *sim, const gg_sim_warp *warp, int mi, int nj, int dtype) {
    for (int first = 0; first < nj; first += GG_SIM_MAX_NJ) {
        int count = nj - first < GG_SIM_MAX_NJ ? nj - first : GG_SIM_MAX_NJ;
        decode_b(sim->b_values, warp, first, count, dtype);
        for (int i = 0; i < mi; i++) {
            decode_a(sim->a_values, warp, i, dtype);
            for (int group = 0; group < 8; group++) { /* four values of g for one t */
                int t = group & 3, g = group >> 2 << 2, j = 0;
                float *acc[4];
                for (int q = 0; q < 4; q++) acc[q] = warp->mma[4 * (g + q) + t].acc + (i * nj + first) * 4;
                const float *a = sim->a_values + g * 16 * 4, *b = sim->b_values + t * 16 * count * 4;
                for (; j + 4 <= count; j += 4) multiply_pairs(acc, a, b, count, j, 2);
                for (; j + 2 <= count; j += 2) multiply_pairs(acc, a, b, count, j, 1);
                if (j < count) multiply_one(acc, a, b, count, j);
            }
        }
    }
}

/* both types here, so that `dtype` is a constant inside */
INLINE void tile_multiply_any(gg_sim *sim, const gg_sim_warp *warp, int mi, int nj, int dtype) {
    if (dtype == SIM_BF16)
        tile_multiply(sim, warp, mi, nj, SIM_BF16);
    else
        tile_multiply(sim, warp, mi, nj, SIM_FP16);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static void tile_multiply_avx2(gg_sim *sim, const gg_sim_warp *warp,
                                                                   int mi, int nj, int dtype) {
    tile_multiply_any(sim, warp, mi, nj, dtype);
}
#endif

void gg_sim_mma_warp(gg_sim *sim, const gg_sim_warp *warp, int mi, int nj, int dtype) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        tile_multiply_avx2(sim, warp, mi, nj, dtype);
        return;
    }
#endif
    tile_multiply_any(sim, warp, mi, nj, dtype);
}

/* out[lane][m] = word[m] of the four vectors' column `lane`, for four lanes at once */
INLINE void store_transposed(const gg_sim_warp *warp, const uint4 words[4], int first_lane, int step) {
    uint4 low01 = __builtin_shufflevector(words[0], words[1], 0, 4, 1, 5);
    uint4 low23 = __builtin_shufflevector(words[2], words[3], 0, 4, 1, 5);
    uint4 high01 = __builtin_shufflevector(words[0], words[1], 2, 6, 3, 7);
    uint4 high23 = __builtin_shufflevector(words[2], words[3], 2, 6, 3, 7);
    *(uint4_at *)warp->ldmatrix[first_lane].out = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
    *(uint4_at *)warp->ldmatrix[first_lane + step].out = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
    *(uint4_at *)warp->ldmatrix[first_lane + 2 * step].out =
        __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
    *(uint4_at *)warp->ldmatrix[first_lane + 3 * step].out =
        __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

/* Lane 8m+i gives row i of matrix m. Lane 4g+t receives elements 2t, 2t+1 of row g of each matrix or,
 * transposed, of column g. */
void gg_sim_ldmatrix_warp(const gg_sim_warp *warp, bool trans) {
    uint4 words[4];
    if (!trans) {
        for (int g = 0; g < 8; g++) {
            for (int m = 0; m < 4; m++) words[m] = *(const uint4 *)warp->ldmatrix[8 * m + g].row;
            store_transposed(warp, words, 4 * g, 1);
        }
        return;
    }
    for (int t = 0; t < 4; t++) {
        uint4 right[4]; /* columns 4 to 7 */
        for (int m = 0; m < 4; m++) {
            half8 even = *(const half8 *)warp->ldmatrix[8 * m + 2 * t].row;
            half8 odd = *(const half8 *)warp->ldmatrix[8 * m + 2 * t + 1].row;
            words[m] = (uint4)__builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
            right[m] = (uint4)__builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
        }
        store_transposed(warp, words, t, 4);
        store_transposed(warp, right, 16 + t, 4);
    }
}

/* The reverse: lane 4g+t gives elements 2t, 2t+1 of row g of each matrix or, transposed, of column g; lane
 * 8m+i says where row i of matrix m goes. */
void gg_sim_stmatrix_warp(const gg_sim_warp *warp, bool trans) {
    for (int lane = 0; lane < GG_SIM_LANES; lane++) {
        int g = lane >> 2, t = lane & 3;
        for (int m = 0; m < 4; m++) {
            u32 word = warp->stmatrix[lane].values[m];
            u16 *even = (u16 *)(void *)warp->stmatrix[8 * m + (trans ? 2 * t : g)].row;
            u16 *odd = (u16 *)(void *)warp->stmatrix[8 * m + (trans ? 2 * t + 1 : g)].row;
            even[trans ? g : 2 * t] = (u16)word;
            odd[trans ? g : 2 * t + 1] = (u16)(word >> 16);
        }
    }
}
