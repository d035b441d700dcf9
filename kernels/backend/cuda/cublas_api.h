/* cublas_api.h: the little of cuBLAS's binary interface that benchmarks compare with; optional, found at run time. */
#ifndef GG_CUBLAS_API_H
#define GG_CUBLAS_API_H

#include "backend/cuda/cuda_api.h"

typedef int cublas_status; /* cublasStatus_t */
typedef struct cublasContext *cublas_handle;

/* Values of the interface, under the names of cublas_api.h and library_types.h. */
enum {
    CUBLAS_OP_N = 0,
    CUBLAS_OP_T = 1,
    CUDA_R_16F = 2,
    CUDA_R_16BF = 14,
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_GEMM_DEFAULT = -1,
    CUBLAS_WORKSPACE_BYTES = 64 << 20 /* ours to choose; on sm_90 32 MiB and more are recommended */
};

/* Matrices are column-major: C (m, n) = alpha op(A) (m, k) op(B) (k, n) + beta C. In the grouped product every array but
 * those of matrices, which are on the device, is in host memory, one element a group. */
#define CUBLAS_FUNCTIONS(X)                                                                                  \
    X(cublas_status, create, "cublasCreate_v2", (cublas_handle *))                                           \
    X(cublas_status, destroy, "cublasDestroy_v2", (cublas_handle))                                           \
    X(cublas_status, get_version, "cublasGetVersion_v2", (cublas_handle, int *))                             \
    X(cublas_status, set_stream, "cublasSetStream_v2", (cublas_handle, cuda_stream))                         \
    X(cublas_status, set_workspace, "cublasSetWorkspace_v2", (cublas_handle, void *, size_t))                \
    X(cublas_status, gemm, "cublasGemmEx",                                                                   \
      (cublas_handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int type_a, \
       int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc,          \
       int compute, int algorithm))                                                                          \
    X(const char *, status_name, "cublasGetStatusName", (cublas_status))

/* Since CUDA 12.5. */
#define CUBLAS_GROUPED_FUNCTIONS(X)                                                                          \
    X(cublas_status, gemm_grouped, "cublasGemmGroupedBatchedEx",                                             \
      (cublas_handle, const int *op_a, const int *op_b, const int *m, const int *n, const int *k,            \
       const void *alpha, const void *const *a, int type_a, const int *lda, const void *const *b,            \
       int type_b, const int *ldb, const void *beta, void *const *c, int type_c, const int *ldc, int groups, \
       const int *group_size, int compute))

#define X(result, member, symbol, arguments) result(*member) arguments;
typedef struct cublas {
    CUBLAS_FUNCTIONS(X)
    CUBLAS_GROUPED_FUNCTIONS(X) /* NULL before CUDA 12.5 */
} cublas;
#undef X

/* As nvrtc_load. */
bool cublas_load(cublas *library, char why[GG_REASON_SIZE]);

#endif
