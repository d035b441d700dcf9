/* block.h: MoE blocks as cases: the table of models and sizes, their data, and what each step must give.
 *
 * A step is an intermediate or an output of the block. What it must be is computed in double from the step's own
 * inputs, taken from a view: the device's bytes (then the step alone is judged) or, one after another, what was computed
 * before (then the result is the golden, from first principles; gen/moe.py computes the same and golden/moe.tsv has
 * NumPy's digests). */
#ifndef MG_BLOCK_H
#define MG_BLOCK_H

#include "golden.h"
#include "moe.h"

/* What a case runs. */
#define MG_BLOCK_MODES(X)                                                                                    \
    X(MG_BLOCK_FORWARD, "forward")     /* with what backward needs kept */                                   \
    X(MG_BLOCK_INFERENCE, "inference") /* forward alone; may have fuse_mul_post */                           \
    X(MG_BLOCK_BACKWARD, "backward")   /* forward and backward */
typedef enum mg_block_mode {
#define X(name, text) name,
    MG_BLOCK_MODES(X)
#undef X
        MG_NUM_BLOCK_MODES
} mg_block_mode;

typedef struct mg_block {
    mg_problem problem; /* key "qwen3-norm_topk_prob-topk2-E8-T61-H72-I40"; full sizes are MG_STORE_HASH */
    const char *model;  /* "qwen3", "llama4" */
    gg_score score;
    bool weights_first;
    bool ties; /* x and gate are +-1, so that many logits are equal */
    int32_t shared_I;
} mg_block;

const mg_block *mg_blocks(size_t *count);
gg_moe_problem mg_block_problem(const mg_block *block, mg_block_mode mode, unsigned fusions, gg_dtype dtype);

/* --- cases --- */

/* Hands every block case to `push`, in canonical order. */
void mg_block_cases(void (*push)(void *data, const mg_case *c), void *data);
/* "qwen3_moe[backward-permute_x-permute_y-autotune-norm_topk_prob-topk2-E8-T61-H72-I40-bf16]"; as mg_case_id. */
size_t mg_block_id(const mg_case *c, char id[MG_ID_SIZE]);
double mg_block_work(const mg_case *c); /* as mg_case_work */

/* --- tensors --- */

/* Name, rows, columns, in terms of the problem p. */
#define MG_BLOCK_INPUTS(X)                                                                                   \
    X(MG_BLOCK_X, "x", p->T, p->H)                                                                           \
    X(MG_BLOCK_GATE, "gate", p->E, p->H)                                                                     \
    X(MG_BLOCK_GATE_UP, "gate_up", 2ll * p->E * p->I, p->H)                                                  \
    X(MG_BLOCK_DOWN, "down", (int64_t)p->E * p->H, p->I)                                                     \
    X(MG_BLOCK_SHARED_GATE_UP, "shared_gate_up", 2ll * p->shared_I, p->H)                                    \
    X(MG_BLOCK_SHARED_DOWN, "shared_down", p->shared_I ? p->H : 0, p->shared_I)                              \
    X(MG_BLOCK_DY, "dy", p->T, p->H)
typedef enum mg_block_input {
#define X(name, text, rows, cols) name,
    MG_BLOCK_INPUTS(X)
#undef X
        MG_NUM_BLOCK_INPUTS
} mg_block_input;

#define MG_BLOCK_OUTPUTS(X)                                                                                  \
    X(MG_BLOCK_Y, "y", p->T, p->H, false)                                                                    \
    X(MG_BLOCK_DX, "dx", p->T, p->H, true)                                                                   \
    X(MG_BLOCK_D_GATE, "d_gate", p->E, p->H, true)                                                           \
    X(MG_BLOCK_D_GATE_UP, "d_gate_up", 2ll * p->E * p->I, p->H, true)                                        \
    X(MG_BLOCK_D_DOWN, "d_down", (int64_t)p->E * p->H, p->I, true)                                           \
    X(MG_BLOCK_D_SHARED_GATE_UP, "d_shared_gate_up", 2ll * p->shared_I, p->H, true)                          \
    X(MG_BLOCK_D_SHARED_DOWN, "d_shared_down", p->shared_I ? p->H : 0, p->shared_I, true)
typedef enum mg_block_output {
#define X(name, text, rows, cols, backward) name,
    MG_BLOCK_OUTPUTS(X)
#undef X
        MG_NUM_BLOCK_OUTPUTS
} mg_block_output;

typedef struct mg_block_shape {
    const char *name;
    int64_t rows, cols;
} mg_block_shape;
mg_block_shape mg_block_input_shape(const gg_moe_problem *p, mg_block_input input);
mg_block_shape mg_block_output_shape(const gg_moe_problem *p, mg_block_output output);

/* How an input is drawn: odd integers of so few bits that sums over H are exact in fp32 in any order, on scales that keep
 * logits and activations near 1. */
mg_draw mg_block_draw(const mg_block *block, mg_block_input input, uint64_t user_seed);

/* --- steps --- */

/* In the order of the computation; those of the workspace under its names, then the outputs. SORT stands for
 * m_sizes, gather_indices, positions and tokens. */
#define MG_BLOCK_STEPS(X)                                                                                    \
    X(LOGITS)                                                                                                \
    X(TOPK_IDS)                                                                                              \
    X(TOPK_WEIGHTS)                                                                                          \
    X(GATHER_INDICES)                                                                                        \
    X(X_EXPERT)                                                                                              \
    X(FIRST)                                                                                                 \
    X(ACTIVATION)                                                                                            \
    X(SECOND)                                                                                                \
    X(SHARED_FIRST)                                                                                          \
    X(SHARED_ACTIVATION)                                                                                     \
    X(SHARED_SECOND)                                                                                         \
    X(Y)                                                                                                     \
    X(DY_EXPERT)                                                                                             \
    X(D_ACTIVATION)                                                                                          \
    X(WEIGHTED)                                                                                              \
    X(D_FIRST)                                                                                               \
    X(D_DOWN)                                                                                                \
    X(DX_ROWS)                                                                                               \
    X(D_GATE_UP)                                                                                             \
    X(D_WEIGHTS)                                                                                             \
    X(D_LOGITS)                                                                                              \
    X(DX_ROUTER)                                                                                             \
    X(D_GATE)                                                                                                \
    X(SHARED_D_ACTIVATION)                                                                                   \
    X(SHARED_D_FIRST)                                                                                        \
    X(D_SHARED_DOWN)                                                                                         \
    X(SHARED_DX)                                                                                             \
    X(D_SHARED_GATE_UP)                                                                                      \
    X(DX)
typedef enum mg_block_step {
#define X(name) MG_STEP_##name,
    MG_BLOCK_STEPS(X)
#undef X
        MG_NUM_BLOCK_STEPS
} mg_block_step;

/* Rows of every tensor in host memory; those of inputs are drawn one by one. One thread at a time may use it. */
typedef struct mg_block_view {
    const mg_block *block;
    gg_moe_problem p;
    gg_moe_layout layout;
    const uint8_t *workspace;
    const uint16_t *outputs[MG_NUM_BLOCK_OUTPUTS];
    mg_draw draws[MG_NUM_BLOCK_INPUTS];
    int64_t *starts;        /* (E + 1) rows of expert order where experts begin; mg_block_route fills it */
    float *drawn, *wide[2]; /* rows in use: of an input, and of buffers */
    double *first;          /* a row of first, and its bounds, where the workspace has none */
    float *numbers;         /* (65536) of the dtype by their bits */
} mg_block_view;
gg_status mg_block_view_init(mg_block_view *view, const mg_block *block, const gg_moe_problem *p,
                             uint64_t user_seed);
void mg_block_view_free(mg_block_view *view);
/* A view of the same for another thread, with rows in use of its own. */
gg_status mg_block_view_share(mg_block_view *view, const mg_block_view *of);
void mg_block_view_unshare(mg_block_view *view);

/* The step's name and size; rows 0: there is no such step. */
typedef struct mg_block_step_shape {
    const char *name;
    int64_t rows, cols;
    int element_bytes;    /* 2 of the dtype; 4 float32, but int32 for TOPK_IDS and GATHER_INDICES */
    gg_moe_buffer buffer; /* GG_MOE_NUM_BUFFERS: an output */
    mg_block_output output;
    double row_cost; /* multiply-adds of computing a row */
} mg_block_step_shape;
mg_block_step_shape mg_block_step_of(const gg_moe_problem *p, mg_block_step step);

/* One row of what a step must give: value, and how far a right result may be from it; 0: the rounding of the value to the
 * element's type, bit for bit. Integer steps too, as doubles (GATHER_INDICES row 0 has all M). */
void mg_block_row(const mg_block_view *view, mg_block_step step, int64_t row, double *value, double *bound);

/* exp from + - * / and integers alone, the same bits as gen/moe.py's; within 2 ulp for |x| up to 700. */
double mg_block_exp(double x);

/* Checks the integers of the routing in the view and finds `starts`; without it the other steps cannot be computed. False:
 * `error` says what is wrong, the name of the tensor first. */
bool mg_block_route(mg_block_view *view, char error[MG_ERROR_SIZE]);

/* The golden: every step from the inputs alone, rounded as the device rounds. The view then points at memory of `memory`,
 * which mg_block_golden_free gives back. */
typedef struct mg_block_golden {
    mg_block_view view;
    uint8_t *workspace;
    uint16_t *outputs[MG_NUM_BLOCK_OUTPUTS];
} mg_block_golden;
gg_status mg_block_golden_make(mg_block_golden *golden, const mg_block *block, const gg_moe_problem *p,
                               uint64_t user_seed);
void mg_block_golden_free(mg_block_golden *golden);
/* SHA-256 of a step's bytes in the golden, the first 16 hexadecimal digits. */
void mg_block_golden_digest(const mg_block_golden *golden, mg_block_step step, char digest[17]);

#endif
