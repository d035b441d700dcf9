/* grouped_gemm.h: the public interface of moegemm's kernels: grouped GEMM for Mixture-of-Experts layers.
 *
 * E experts with weights w[E][N][K]; T tokens, each routed to topk experts; M = T * topk routed rows ("slots",
 * slot = token * topk + choice). Expert order lists the slots sorted by expert, stably: row i of expert order is slot
 * gather_indices[i] and token gather_indices[i] / topk; expert e owns m_sizes[e] consecutive rows.
 *   forward  y[i,:]  = x[i,:] * w[e(i)]^T          dX  dx[i,:] = dy[i,:] * w[e(i)]
 *   dW       dw[e]   = sum over rows i of e of dy[i,:]^T * x[i,:]      (zero for an expert without rows)
 * Products accumulate in fp32 in a fixed order; results are rounded once to the tensor type, to nearest even.
 * All tensors are dense, row-major and 16-byte aligned; N and K are multiples of 8. Routing data stays on the device:
 * no plan depends on it. Every function returns GG_OK or a negative gg_status; nothing here aborts or prints. */
#ifndef GROUPED_GEMM_H
#define GROUPED_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GG_STATUSES(X)                                                                                       \
    X(GG_OK, 0, "ok")                                                                                        \
    X(GG_ERR_ARGUMENT, -1, "bad argument")                                                                   \
    X(GG_ERR_REFUSED, -2, "combination refused")                                                             \
    X(GG_ERR_NO_DEVICE, -3, "no usable device")                                                              \
    X(GG_ERR_MEMORY, -4, "out of memory")                                                                    \
    X(GG_ERR_COMPILE, -5, "kernel does not compile")                                                         \
    X(GG_ERR_LAUNCH, -6, "kernel launch failed")                                                             \
    X(GG_ERR_IO, -7, "input or output failed")                                                               \
    X(GG_ERR_INTERNAL, -8, "internal error")

typedef enum gg_status {
#define X(name, value, text) name = value,
    GG_STATUSES(X)
#undef X
} gg_status;

typedef enum gg_op { GG_FORWARD, GG_DX, GG_DW, GG_NUM_OPS } gg_op;
typedef enum gg_dtype { GG_BF16, GG_FP16, GG_NUM_DTYPES } gg_dtype;

/* Which GEMM of the MoE MLP this is; the first gathers tokens (permute_x), the second scatters to slots (permute_y).
 * GG_GEMM_ANY skips the checks that follow from the place. */
typedef enum gg_gemm { GG_GEMM_ANY, GG_GEMM_FIRST, GG_GEMM_SECOND } gg_gemm;

/* Fusions change what is computed, so they belong to the problem. */
#define GG_FUSIONS(X)                                                                                        \
    X(GG_PERMUTE_X, 1u, "permute_x")         /* x has T rows in token order; dx comes in slot order */       \
    X(GG_PERMUTE_Y, 2u, "permute_y")         /* y and dy have M rows in slot order */                        \
    X(GG_FUSE_MUL_POST, 4u, "fuse_mul_post") /* y row = round(round(y row) * round(topk_weights[slot])) */

/* Uses of the Tensor Memory Accelerator (sm_90 on) change how it is computed, so they belong to the config. */
#define GG_TMA_USES(X)                                                                                       \
    X(GG_TMA_LOAD_X, 1u, "use_tma_load_x")                                                                   \
    X(GG_TMA_LOAD_W, 2u, "use_tma_load_w")                                                                   \
    X(GG_TMA_LOAD_DY, 4u, "use_tma_load_dy")                                                                 \
    X(GG_TMA_STORE, 8u, "use_tma_store")

enum {
#define X(name, value, text) name = value,
    GG_FUSIONS(X) GG_TMA_USES(X)
#undef X
};

/* Fusions of an MoE block's first GEMM (moe.h), forward alone, whose columns are gate, then up: `activation` gets silu(gate) *
 * up, and y gets gate and up with GG_KEEP_FIRST alone. The bits are those of silu_and_mul after the GEMM. Wants mainloop wgmma
 * with use_tma_load_w, and N a multiple of 16. */
enum { GG_FUSE_SILU = 16u, GG_KEEP_FIRST = 32u };

/* Shape of one grouped GEMM; sizes in elements. Depends on no device data. */
typedef struct gg_problem {
    gg_op op;
    gg_dtype dtype;
    gg_gemm gemm;
    unsigned fusions; /* GG_PERMUTE_X | GG_PERMUTE_Y | GG_FUSE_MUL_POST, GG_FUSE_SILU | GG_KEEP_FIRST */
    int32_t E, N, K, topk;
    int64_t T; /* tokens; M = T * topk; 0 is legal */
} gg_problem;

#define GG_MAINLOOPS(X)                                                                                      \
    X(GG_REFERENCE, "reference") /* naive, one thread an output element; tile, warps and stages unused */    \
    X(GG_MMA_SYNC, "mma_sync")   /* cp.async or TMA loads, ldmatrix, mma.sync; sm_80 and after */            \
    X(GG_WGMMA,                                                                                              \
      "wgmma") /* sm_90a: producer and consumer warpgroups, wgmma; num_warps counts consumer warps */

typedef enum gg_mainloop {
#define X(name, text) name,
    GG_MAINLOOPS(X)
#undef X
        GG_NUM_MAINLOOPS
} gg_mainloop;

/* How to compute. block_m, block_n, block_k tile M, N and K of the problem in every op (forward reduces over K, dX over
 * N, dW over the rows of an expert). */
typedef struct gg_config {
    gg_mainloop mainloop;
    int block_m, block_n, block_k; /* each 32, 64, 128 or 256; of wgmma's tokens also 192 */
    int num_warps;                 /* 1, 2, 4, 8 or 16 */
    int num_stages;                /* 2 to 8 */
    unsigned tma;                  /* GG_TMA_* */
    /* Rows that a permutation would have gathered (of x in forward and dW, of dy in dX and dW) are put together in the
     * workspace by a launch before, once, and then loaded as if there were no permutation: by TMA too. */
    bool copy_rows;
} gg_config;

typedef struct gg_device {
    char name[64];
    int cc;                  /* compute capability, 90 for sm_90 */
    int sm_count;            /* multiprocessors */
    uint32_t smem_per_block; /* most shared memory a block may ask for, bytes */
    uint32_t smem_per_sm;    /* bytes */
    uint32_t threads_per_sm;
    uint64_t memory; /* of the device, bytes; 0 if unknown */
    char driver[32]; /* driver and compiler versions, for records */
    char compiler[64];
} gg_device;

/* Device pointers. Which are read or written depends on the op and fusions; the others may be NULL. Not owned. */
typedef struct gg_tensors {
    const void *x;                 /* (permute_x ? T : M, K) forward, dW */
    const void *w;                 /* (E, N, K) forward, dX */
    const void *dy;                /* (M, N) dX, dW; slot order if permute_y, else expert order */
    void *y;                       /* (M, N) forward; slot order if permute_y, else expert order */
    void *activation;              /* (M, N / 2) forward with GG_FUSE_SILU */
    void *dx;                      /* (M, K) dX; slot order if permute_x, else expert order */
    void *dw;                      /* (E, N, K) dW */
    const int32_t *m_sizes;        /* (E), sum M, none negative */
    const int32_t *gather_indices; /* (M), a permutation of 0..M-1; needed by permute_x, permute_y */
    const float *topk_weights; /* (M) in slot order; needed by fuse_mul_post; rounded to dtype before use */
    /* Written; wanted by configs with copy_rows, which are not chosen without; of one stream or graph at a time. */
    void *workspace;
    size_t workspace_bytes; /* gg_workspace_bytes of the problem at least; 0: there is none */
} gg_tensors;

enum { GG_REASON_SIZE = 256, GG_MACROS_SIZE = 768 };

/* What will be launched; made by gg_plan_make from sizes alone, so a captured graph serves every routing. */
typedef struct gg_plan {
    gg_problem problem;
    gg_config config;
    const char *source; /* device source file, for example "forward.cu" */
    const char *entry;  /* kernel name in it */
    char macros
        [GG_MACROS_SIZE];    /* "NAME=VALUE" separated by single spaces; with source, the kernel's identity */
    uint32_t grid, threads;  /* blocks, threads a block */
    uint32_t smem_bytes;     /* dynamic shared memory a block */
    uint32_t box_rows[4];    /* rows of a TMA box at most: of a, b, the output; unused of first */
    uint32_t short_box_rows; /* of a second map of a and b; 0: there is none */
    bool ragged_loads, ragged_stores; /* maps of a and b, of the output, that cut boxes at any row */
    bool weights_by_lines;            /* their maps ask L2 for lines of 128 bytes, not for pairs */
    bool draws_tiles;                 /* blocks draw their tiles from a counter of the context's */
    unsigned copied;                  /* the fusion whose rows are copied before: 0 or GG_PERMUTE_* */
    bool empty;                       /* no rows: nothing to launch (dW still zeroes its output) */
} gg_plan;

const char *gg_status_string(gg_status status);
const char *gg_op_name(gg_op op);             /* "forward", "dX", "dW" */
const char *gg_dtype_name(gg_dtype dtype);    /* "bf16", "fp16" */
const char *gg_mainloop_name(gg_mainloop ml); /* "mma_sync" ... */

/* Turns problem and config into a plan, or refuses (GG_ERR_REFUSED, GG_ERR_ARGUMENT) with a one-line reason. Pure. */
gg_status gg_plan_make(const gg_problem *problem, const gg_config *config, const gg_device *device,
                       gg_plan *plan, char reason[GG_REASON_SIZE]);

/* Room for the rows that a problem's op gathers, bytes; 0 where it gathers none. */
size_t gg_workspace_bytes(const gg_problem *problem);

/* A legal config without tuning; with copy_rows only where there is a workspace and it pays. */
gg_config gg_default_config(const gg_problem *problem, const gg_device *device, bool workspace);

/* The autotuner's search space for a problem: fills at most `capacity` legal configs, best guesses first; returns how
 * many there are in all. Configs with copy_rows are among them if there is a workspace. */
size_t gg_candidate_configs(const gg_problem *problem, const gg_device *device, bool workspace,
                            gg_config *configs, size_t capacity);

/* --- running ---
 *
 * Launches of one context may run at the same time on several streams, and so may graphs captured from them, but not two
 * instances of one capture. For that each stream and each capture of a stream has one of 32768 counters in device memory. A
 * stream gives it back in gg_synchronize, a capture when its graph and all instances are destroyed. A launch that finds none
 * waits for the device; in a capture, or where graphs hold them all, it fails with GG_ERR_MEMORY. */

typedef struct gg_context
    gg_context;          /* a device, its compiled kernels, and the tuned configs; one thread at a time */
typedef void *gg_stream; /* a CUstream for the cuda backend; NULL is the default stream */

typedef struct gg_options {
    const char *backend; /* "cuda", "sim", or NULL: cuda where there is a device, else sim */
    int device;          /* ordinal */
    const char
        *cache_dir; /* compiled kernels and tuned configs; NULL: $MOEGEMM_CACHE, else ~/.cache/moegemm */
    bool debug;     /* kernels check routing data and trap when it is out of range */
} gg_options;

/* `options` NULL: all defaults. With the cuda backend every call makes the device's primary context current on the calling
 * thread and leaves it so, as cudaSetDevice would. On failure too *context is made where memory allows, for gg_error alone; gg_close it. */
gg_status gg_open(gg_context **context, const gg_options *options);
void gg_close(gg_context *context);
const gg_device *gg_get_device(const gg_context *context);
const char *
gg_error(const gg_context *context); /* detail of the last failure, "" if none; owned by the context */
bool gg_supports_tma(const gg_context *context); /* sm_90 and after */

/* Device memory for programs that have no other source of it; the simulator takes no other. 256-byte aligned; the copies
 * are synchronous. Memory from elsewhere (cudaMalloc, torch) serves as well on a GPU. */
gg_status gg_alloc(gg_context *context, size_t bytes, void **out);
void gg_free(gg_context *context, void *memory);
gg_status gg_upload(gg_context *context, void *device_dst, const void *src, size_t bytes);
gg_status gg_download(gg_context *context, void *dst, const void *device_src, size_t bytes);
gg_status
gg_synchronize(gg_context *context); /* waits for all streams and reports what went wrong in a kernel */

/* Plan, compile (once per kernel, cached on disk) and launch on `stream`; asynchronous. `config` NULL: the tuned config
 * if one is cached, else gg_default_config, for the workspace there is. `problem->op` is ignored: the function names it. */
gg_status gg_forward(gg_context *context, const gg_problem *problem, const gg_config *config,
                     const gg_tensors *tensors, gg_stream stream);
gg_status gg_dX(gg_context *context, const gg_problem *problem, const gg_config *config,
                const gg_tensors *tensors, gg_stream stream);
gg_status gg_dW(gg_context *context, const gg_problem *problem, const gg_config *config,
                const gg_tensors *tensors, gg_stream stream);

/* Launches a plan made before. */
gg_status gg_launch(gg_context *context, const gg_plan *plan, const gg_tensors *tensors, gg_stream stream);

/* dx_tokens[t,:] = round(sum over j < topk, in order, of dx_slots[t * topk + j, :]), fp32 accumulation; shapes (T, K)
 * and (T * topk, K). */
gg_status gg_reduce_topk(gg_context *context, gg_dtype dtype, int64_t T, int32_t topk, int32_t K,
                         const void *dx_slots, void *dx_tokens, gg_stream stream);

/* The backward half of the pair: dX then dW of the forward `problem`, with dX reduced over topk when permute_x.
 * tensors->dx is then (T, K); `workspace` of gg_backward_workspace bytes holds the slots' rows before the reduction.
 * tensors->workspace is used by one op after the other, each if it has room for what that gathers. Configs NULL as above.
 * fuse_mul_post is refused: it is for inference. */
size_t gg_backward_workspace(const gg_problem *problem);
gg_status gg_backward(gg_context *context, const gg_problem *problem, const gg_config *config_dX,
                      const gg_config *config_dW, const gg_tensors *tensors, void *workspace,
                      gg_stream stream);

/* Searches the candidates on the real tensors (outputs are overwritten) and remembers the fastest on disk, keyed by
 * kernel digest, device, dtype, E, N, K, topk, fusions, whether there is a workspace, and a bucket of tokens per expert. A
 * second call, in any process, measures nothing. `limit` > 0 bounds the candidates tried. `measured` (optional) counts the timings made. */
gg_status gg_autotune(gg_context *context, const gg_problem *problem, const gg_tensors *tensors, size_t limit,
                      gg_config *best, size_t *measured);

#ifdef __cplusplus
}
#endif
#endif
