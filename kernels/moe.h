/* moe.h: a whole MoE MLP block, forward and backward, over the grouped GEMMs of grouped_gemm.h.
 *
 *   logits = x gate^T (fp32); topk experts a token, weights from their logits; slots sorted by expert
 *   first  = rows of x times gate_up[e]^T; activation = silu(first[:, :I]) * first[:, I:]
 *   second = activation times down[e]^T;   y[t] = sum over the token's slots of weight * second row
 * Llama-4 (weights_first) multiplies the rows of x by their weights instead, before the first GEMM, and adds a shared
 * expert, the same MLP over every token. Of equal logits the lower expert is chosen.
 * Every product, activation, gradient of these and routing weight is rounded to the dtype; logits, sums of products,
 * gradients of the weights and the merge are fp32. Nothing synchronises with the host or allocates, and what is launched
 * depends on sizes alone: all of it can be captured in a graph. Same inputs, same bits. */
#ifndef GG_MOE_H
#define GG_MOE_H

#include "grouped_gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GG_MOE_MAX_E = 256, GG_MOE_MAX_TOPK = 16 };

/* How logits become routing weights; the twin of SCORE in device/topk.h. */
#define GG_SCORES(X)                                                                                         \
    X(GG_SOFTMAX, "softmax")           /* over all experts */                                                \
    X(GG_SOFTMAX_TOPK, "softmax_topk") /* over the chosen ones: softmax, then norm_topk_prob (Qwen3) */      \
    X(GG_SIGMOID, "sigmoid")           /* of each (Llama-4) */
typedef enum gg_score {
#define X(name, text) name,
    GG_SCORES(X)
#undef X
        GG_NUM_SCORES
} gg_score;

/* Fusions: GG_PERMUTE_X, the first GEMM gathers its rows (else they are copied into expert order); GG_PERMUTE_Y, the
 * second scatters its rows, and backward gathers dy (else the merge gathers, and dy is copied); GG_FUSE_MUL_POST, the
 * second multiplies by the weights (inference, with permute_y); GG_FUSE_SILU, silu_and_mul is in the epilogue of the first and
 * of the shared expert's first (mainloop wgmma with use_tma_load_w, see gg_moe_supports_fuse_silu): the same bits, but without
 * training no `first`. */
typedef struct gg_moe_problem {
    gg_dtype dtype;
    gg_score score;
    bool weights_first; /* refuses permute_x and fuse_mul_post */
    bool training;      /* the workspace is for backward too */
    unsigned fusions;
    int32_t E, topk, H, I; /* H and I multiples of 8 */
    int32_t shared_I;      /* of the shared expert, a multiple of 8; 0: there is none */
    int64_t T;
} gg_moe_problem;

/* Device pointers, 16-byte aligned, not owned. Those of a shared expert may be NULL without one; y is for forward; dy and
 * gradients for backward. */
typedef struct gg_moe_tensors {
    const void *x;              /* (T, H) */
    const void *gate;           /* (E, H) */
    const void *gate_up;        /* (E, 2I, H), gate first */
    const void *down;           /* (E, H, I) */
    const void *shared_gate_up; /* (2 shared_I, H) */
    const void *shared_down;    /* (H, shared_I) */
    void *y;                    /* (T, H) */
    const void *dy;             /* (T, H) */
    void *dx, *d_gate, *d_gate_up, *d_down, *d_shared_gate_up,
        *d_shared_down; /* as what they are gradients of */
} gg_moe_tensors;

/* Intermediates, all in the workspace: name, rows, columns, bytes of an element, whether there is one. p is the problem,
 * M = T * topk. Forward's are kept for backward where the problem is for training. */
#define GG_MOE_BUFFERS(X)                                                                                    \
    X(LOGITS, "logits", p->T, p->E, 4, true)                                                                 \
    X(TOPK_IDS, "topk_ids", p->T, p->topk, 4, true)         /* best first */                                 \
    X(TOPK_WEIGHTS, "topk_weights", p->T, p->topk, 4, true) /* float32 of the dtype's precision */           \
    X(HISTOGRAM, "histogram", gg_moe_tiles(p), (p->E + 3ll) / 4 * 4, 4, true)                                \
    X(M_SIZES, "m_sizes", 1, p->E, 4, true)                                                                  \
    X(GATHER_INDICES, "gather_indices", 1, M, 4, true)                                                       \
    X(POSITIONS, "positions", 1, M, 4, true) /* of each slot in expert order */                              \
    X(TOKENS, "tokens", 1, M, 4, true)       /* of each row of expert order */                               \
    X(ALL_TOKENS, "all_tokens", 1, 1, 4, true)                                                               \
    X(X_EXPERT, "x_expert", M, p->H, 2, !(p->fusions & GG_PERMUTE_X))                                        \
    X(FIRST, "first", M, 2ll * p->I, 2, gg_moe_keeps_first(p))                                               \
    X(ACTIVATION, "activation", M, p->I, 2, true)                                                            \
    X(SECOND, "second", M, p->H, 2, true) /* slot order with permute_y */                                    \
    X(SHARED_FIRST, "shared_first", p->T, 2ll * p->shared_I, 2, p->shared_I > 0 && gg_moe_keeps_first(p))    \
    X(SHARED_ACTIVATION, "shared_activation", p->T, p->shared_I, 2, p->shared_I > 0)                         \
    X(SHARED_SECOND, "shared_second", p->T, p->H, 2, p->shared_I > 0)                                        \
    X(DY_EXPERT, "dy_expert", M, p->H, 2, p->training && !(p->fusions & GG_PERMUTE_Y))                       \
    X(D_ACTIVATION, "d_activation", M, p->I, 2, p->training)              /* before the weight */            \
    X(WEIGHTED, "weighted", M, p->I, 2, p->training && !p->weights_first) /* activation times weight */      \
    X(D_FIRST, "d_first", M, 2ll * p->I, 2, p->training)                                                     \
    X(D_WEIGHTS, "d_weights", p->T, p->topk, 4, p->training)                                                 \
    X(DX_ROWS, "dx_rows", M, p->H, 2, p->training) /* slot order with permute_x */                           \
    X(D_LOGITS, "d_logits", p->T, (p->E + 7ll) / 8 * 8, 2, p->training)                                      \
    X(DX_ROUTER, "dx_router", p->T, p->H, 2, p->training)                                                    \
    X(GATE_PADDED, "gate_padded", (p->E + 7ll) / 8 * 8, p->H, 2, p->training && p->E % 8)                    \
    X(D_GATE_PADDED, "d_gate_padded", (p->E + 7ll) / 8 * 8, p->H, 2, p->training && p->E % 8)                \
    X(SHARED_D_ACTIVATION, "shared_d_activation", p->T, p->shared_I, 2, p->training && p->shared_I > 0)      \
    X(SHARED_D_FIRST, "shared_d_first", p->T, 2ll * p->shared_I, 2, p->training && p->shared_I > 0)          \
    X(SHARED_DX, "shared_dx", p->T, p->H, 2, p->training && p->shared_I > 0)
typedef enum gg_moe_buffer {
#define X(name, text, rows, cols, bytes, when) GG_MOE_##name,
    GG_MOE_BUFFERS(X)
#undef X
        GG_MOE_NUM_BUFFERS
} gg_moe_buffer;

/* Where an intermediate is; bytes 0: there is none. */
typedef struct gg_moe_place {
    size_t offset, bytes; /* in the workspace; offsets are multiples of 256 */
    int64_t rows, cols;
    int element_bytes;
} gg_moe_place;

typedef struct gg_moe_layout {
    gg_moe_place places[GG_MOE_NUM_BUFFERS];
    size_t bytes; /* of the workspace */
} gg_moe_layout;

/* Checks the problem and lays the workspace out, or refuses with a one-line reason. Pure. */
gg_status gg_moe_plan(const gg_moe_problem *problem, gg_moe_layout *layout, char reason[GG_REASON_SIZE]);
const char *gg_moe_buffer_name(gg_moe_buffer buffer);
int64_t gg_moe_tiles(const gg_moe_problem *problem);     /* blocks of the router's kernel */
bool gg_moe_keeps_first(const gg_moe_problem *problem);  /* gate and up are in memory */
bool gg_moe_supports_fuse_silu(const gg_device *device); /* the default configs take GG_FUSE_SILU */

/* The block's own kernels: name, entry, source, whether it is unrolled over topk, whether it depends on the score. */
#define GG_MOE_KERNELS(X)                                                                                    \
    X(ROUTER, "router", "router.cu", false, true)                                                            \
    X(SORT_SLOTS, "sort_slots", "sort_slots.cu", false, false)                                               \
    X(PERMUTE, "permute", "permute.cu", true, false)                                                         \
    X(SILU_AND_MUL, "silu_and_mul", "silu.cu", false, false)                                                 \
    X(SILU_AND_MUL_BACKWARD, "silu_and_mul_backward", "silu.cu", false, false)                               \
    X(MERGE, "merge", "merge.cu", true, false)                                                               \
    X(ROUTER_BACKWARD, "router_backward", "router_backward.cu", false, true)                                 \
    X(ROW_DOT, "row_dot", "router_backward.cu", false, false)
typedef enum gg_moe_kernel {
#define X(name, text, file, has_topk, has_score) GG_MOE_##name,
    GG_MOE_KERNELS(X)
#undef X
        GG_MOE_NUM_KERNELS
} gg_moe_kernel;
/* Source and macros of each kernel that the problem launches on a device, to compile them ahead; returns how many. */
size_t gg_moe_kernel_plans(const gg_moe_problem *problem, const gg_device *device,
                           gg_plan plans[GG_MOE_NUM_KERNELS]);

/* The block's GEMMs; the router's gradients are GEMMs of one expert, its forward has a kernel of its own. */
#define GG_MOE_GEMMS(X)                                                                                      \
    X(GG_MOE_GEMM_FIRST, "first")                                                                            \
    X(GG_MOE_GEMM_SECOND, "second")                                                                          \
    X(GG_MOE_GEMM_SHARED_FIRST, "shared_first")                                                              \
    X(GG_MOE_GEMM_SHARED_SECOND, "shared_second")                                                            \
    X(GG_MOE_GEMM_ROUTER, "router")
typedef enum gg_moe_gemm {
#define X(name, text) name,
    GG_MOE_GEMMS(X)
#undef X
        GG_MOE_NUM_GEMMS
} gg_moe_gemm;

/* Configs of the GEMMs by op; without copy_rows, for which a block has no room. */
typedef struct gg_moe_configs {
    gg_config of[GG_MOE_NUM_GEMMS][GG_NUM_OPS];
} gg_moe_configs;

/* Whether the block runs this GEMM at all, and its shape. */
bool gg_moe_gemm_problem(const gg_moe_problem *problem, gg_moe_gemm gemm, gg_op op, gg_problem *out);
/* Legal configs without tuning. */
void gg_moe_default_configs(const gg_moe_problem *problem, const gg_device *device, gg_moe_configs *configs);

/* Launches the whole block on `stream`; asynchronous. `workspace` has the layout's bytes and is 256-byte aligned.
 * `configs` NULL: tuned ones where cached, else the defaults. `side` (NULL: none) is
 * another stream, on which what need not wait runs beside it: the shared expert, the router's gradients; work put on `stream`
 * later waits for both, after an error too. */
gg_status gg_moe_forward(gg_context *context, const gg_moe_problem *problem, const gg_moe_configs *configs,
                         const gg_moe_tensors *tensors, void *workspace, gg_stream stream, gg_stream side);
/* After gg_moe_forward of the same problem and inputs on the same workspace, whose intermediates it reads and keeps, so
 * it may run again. All gradients are written, none added to. */
gg_status gg_moe_backward(gg_context *context, const gg_moe_problem *problem, const gg_moe_configs *configs,
                          const gg_moe_tensors *tensors, void *workspace, gg_stream stream, gg_stream side);

/* Runs the block, then gg_autotune for each GEMM on what it left; results stay as forward and backward make them. Backward's
 * GEMMs are tuned where the problem is for training and dx is given. */
gg_status gg_moe_autotune(gg_context *context, const gg_moe_problem *problem, const gg_moe_tensors *tensors,
                          void *workspace, size_t limit, gg_moe_configs *best, size_t *measured);

#ifdef __cplusplus
}
#endif
#endif
