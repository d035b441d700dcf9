/* fake_cublas.c: a made-up libcublas.so.13 that multiplies small bf16 matrices on the host, as cuBLAS documents it:
 * column-major, C = alpha op(A) op(B) + beta C. Beside fake_cuda.c, whose device memory is the host's. */
#include <stdint.h>
#include <string.h>

enum { WRONG = 7, BF16 = 14, COMPUTE_32F = 68 };

static float float_of(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    return memcpy(&value, &word, sizeof value), value;
}

static uint16_t bits_of(float value) { /* to nearest even */
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

static int multiply(int op_a, int op_b, int m, int n, int k, float alpha, const uint16_t *a, int lda,
                    const uint16_t *b, int ldb, float beta, uint16_t *c, int ldc) {
    if (m < 0 || n < 0 || k < 0 || lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m || beta != 0)
        return WRONG;
    if ((double)m * n * k > 1 << 24) return 0;
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            float sum = 0;
            for (int l = 0; l < k; l++)
                sum += float_of(op_a ? a[l + (size_t)i * lda] : a[i + (size_t)l * lda]) *
                       float_of(op_b ? b[j + (size_t)l * ldb] : b[l + (size_t)j * ldb]);
            c[i + (size_t)j * ldc] = bits_of(alpha * sum);
        }
    return 0;
}

int cublasCreate_v2(void **handle) {
    static int made;
    return *handle = &made, 0;
}
int cublasDestroy_v2(void *handle) { return handle ? 0 : WRONG; }
int cublasGetVersion_v2(void *handle, int *version) { return *version = 130100, handle ? 0 : WRONG; }
int cublasSetStream_v2(void *handle, void *stream) { return (void)stream, handle ? 0 : WRONG; }
int cublasSetWorkspace_v2(void *handle, void *workspace, size_t bytes) {
    return handle && workspace && bytes ? 0 : WRONG;
}
const char *cublasGetStatusName(int status) {
    return status ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_SUCCESS";
}

int cublasGemmEx(void *handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const void *a,
                 int type_a, int lda, const void *b, int type_b, int ldb, const float *beta, void *c,
                 int type_c, int ldc, int compute, int algorithm) {
    if (!handle || type_a != BF16 || type_b != BF16 || type_c != BF16 || compute != COMPUTE_32F ||
        algorithm != -1)
        return WRONG;
    return multiply(op_a, op_b, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}

int cublasGemmGroupedBatchedEx(void *handle, const int *op_a, const int *op_b, const int *m, const int *n,
                               const int *k, const float *alpha, const void *const *a, int type_a,
                               const int *lda, const void *const *b, int type_b, const int *ldb,
                               const float *beta, void *const *c, int type_c, const int *ldc, int groups,
                               const int *group_size, int compute) {
    if (!handle || type_a != BF16 || type_b != BF16 || type_c != BF16 || compute != COMPUTE_32F) return WRONG;
    for (int g = 0, at = 0; g < groups; g++)
        for (int i = 0; i < group_size[g]; i++, at++) {
            int status = multiply(op_a[g], op_b[g], m[g], n[g], k[g], alpha[g], a[at], lda[g], b[at], ldb[g],
                                  beta[g], c[at], ldc[g]);
            if (status) return status;
        }
    return 0;
}
