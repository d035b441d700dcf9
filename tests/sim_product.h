/* sim_product.h: one exact product by the kernels of tests/sim/gemm.cu, run and judged bit for bit. */
#ifndef MG_SIM_PRODUCT_H
#define MG_SIM_PRODUCT_H

#include "sim_fixture.h"

typedef struct gemm_test_params { /* as in tests/sim/gemm.cu */
    uint64_t map_a[16], map_b[16], map_c[16];
    const uint16_t *a, *b;
    uint16_t *c;
    int32_t M, N, K;
} __attribute__((aligned(64))) gemm_test_params;

enum { M = 150, N = 128, K = 192, TILE = 64, STEP = 32, STAGES = 3 };

typedef struct product {
    bench b;
    gemm_test_params params;
    uint16_t *want;
} product;

static uint16_t bf16_of_integer(int value) { /* |value| <= 256: exact */
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return (uint16_t)(bits >> 16);
}

/* A and B of -1, 0 and 1 in a pattern without period; every sum is an integer below 256 */
static void product_open(product *p) {
    bench_open(&p->b);
    uint16_t *a = bench_alloc(&p->b, M * K * 2), *b = bench_alloc(&p->b, N * K * 2);
    int *small = malloc((M + N) * K * sizeof *small);
    uint64_t x = 1;
    for (int i = 0; i < (M + N) * K; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        small[i] = (int)(x >> 60) % 3 - 1;
        *(i < M * K ? &a[i] : &b[i - M * K]) = bf16_of_integer(small[i]);
    }
    p->want = malloc(M * N * 2);
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            int sum = 0;
            for (int k = 0; k < K; k++) sum += small[i * K + k] * small[(M + j) * K + k];
            assert_in_range(sum + 256, 0, 512);
            p->want[i * N + j] = bf16_of_integer(sum);
        }
    }
    free(small);
    p->params =
        (gemm_test_params){.a = a, .b = b, .c = bench_alloc(&p->b, M * N * 2), .M = M, .N = N, .K = K};
    const struct {
        void *map;
        const void *base;
        uint32_t rows, columns, box_rows, box_columns;
    } maps[] = {{p->params.map_a, a, M, K, TILE, STEP},
                {p->params.map_b, b, N, K, TILE, STEP},
                {p->params.map_c, p->params.c, M, N, TILE, 64}};
    for (int i = 0; i < 3; i++) {
        gg_tensor_map_spec spec = {.base = maps[i].base,
                                   .rank = 2,
                                   .dims = {maps[i].columns, maps[i].rows},
                                   .strides = {maps[i].columns * 2},
                                   .box = {maps[i].box_columns, maps[i].box_rows}};
        assert_int_equal(gg_sim_backend.tensor_map(p->b.backend, &spec, maps[i].map), GG_OK);
    }
}

static void product_close(product *p) {
    free(p->want);
    bench_close(&p->b);
}

/* Launches; true if it ran and every bit is right. */
static bool product_right(product *p, gg_kernel *kernel, uint64_t seed, gg_sim_landing landing) {
    memset(p->params.c, 0xff, M * N * 2);
    bench_seed(&p->b, seed, landing);
    uint32_t smem = STAGES * 2 * TILE * STEP * 2 + TILE * TILE * 2 + 2 * STAGES * 8;
    return bench_launch(&p->b, kernel, 3, 128, smem, &p->params, sizeof p->params) == GG_OK &&
           memcmp(p->params.c, p->want, M * N * 2) == 0;
}

#endif
