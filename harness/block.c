/* block.c: the table of MoE blocks, their data and shapes. */
#include <stdio.h>
#include <string.h>

#include "block.h"

#define MODEL_qwen3 .model = "qwen3", .score = GG_SOFTMAX_TOPK, .weights_first = false
#define MODEL_softmax .model = "qwen3", .score = GG_SOFTMAX, .weights_first = false
#define MODEL_llama4 .model = "llama4", .score = GG_SIGMOID, .weights_first = true
#define MODEL_ties .model = "qwen3", .score = GG_SOFTMAX_TOPK, .weights_first = false, .ties = true
#define NAME_ties "qwen3-norm_topk_prob-ties"
#define NAME_qwen3 "qwen3-norm_topk_prob"
#define NAME_softmax "qwen3"
#define NAME_llama4 "llama4"
#define SHARED_qwen3(I) 0
#define SHARED_softmax(I) 0
#define SHARED_ties(I) 0
#define SHARED_llama4(I) I

/* model (softmax: Qwen3 without norm_topk_prob; ties: x and gate of one bit), topk, E, T, H, I; FILES: all of it is judged, HASH: at full size a sample */
#define BLOCKS(X)                                                                                            \
    X(qwen3, 2, 8, 61, 72, 40, FILES)                                                                        \
    X(qwen3, 3, 5, 7, 40, 24, FILES) /* E no multiple of 8 */                                                \
    X(qwen3, 8, 16, 33, 136, 64, FILES)                                                                      \
    X(qwen3, 4, 4, 1, 32, 32, FILES) /* all experts */                                                       \
    X(qwen3, 8, 128, 48, 64, 16, FILES)                                                                      \
    X(qwen3, 10, 200, 37, 40, 8, FILES) /* more than 8 choices, more than 128 experts */                     \
    X(qwen3, 2, 4, 9, 40, 264, FILES)   /* rows longer than a warp's */                                      \
    X(qwen3, 2, 3, 200, 40, 136, FILES) /* the first GEMM by tiles of 256 weights, with a tail */            \
    X(qwen3, 2, 4, 2100, 40, 8, FILES)  /* the router's tile of 32 tokens; more chunks than threads */       \
    X(qwen3, 2, 4, 8300, 16, 8, FILES)  /* of 64; more than one tile a block when sorting */                 \
    X(qwen3, 2, 8, 0, 72, 40, FILES)                                                                         \
    X(ties, 3, 16, 50, 32, 16, FILES) /* many equal logits */                                                \
    X(softmax, 2, 8, 61, 72, 40, FILES)                                                                      \
    X(softmax, 4, 16, 129, 32, 32, FILES)                                                                    \
    X(llama4, 1, 4, 61, 72, 40, FILES)                                                                       \
    X(llama4, 1, 16, 129, 136, 48, FILES)                                                                    \
    X(llama4, 1, 4, 13, 272, 16, FILES)                                                                      \
    X(llama4, 2, 6, 45, 40, 24, FILES) /* more than one choice */                                            \
    X(llama4, 1, 4, 0, 72, 40, FILES)                                                                        \
    X(qwen3, 8, 128, 1024, 2048, 768, HASH)                                                                  \
    X(llama4, 1, 16, 1024, 5120, 8192, HASH)

static const mg_block blocks[] = {
#define X(name, k, experts, tokens, hidden, inner, place)                                                    \
    {.problem = {.key = NAME_##name "-topk" #k "-E" #experts "-T" #tokens "-H" #hidden "-I" #inner,          \
                 .E = experts,                                                                               \
                 .topk = k,                                                                                  \
                 .H = hidden,                                                                                \
                 .I = inner,                                                                                 \
                 .N = 2 * inner,                                                                             \
                 .K = hidden,                                                                                \
                 .T = tokens,                                                                                \
                 .M = tokens * k,                                                                            \
                 .store = MG_STORE_##place,                                                                  \
                 .classes = 1u << MG_EXACT,                                                                  \
                 .dtypes = 1u << GG_BF16 | (MG_STORE_##place == MG_STORE_FILES ? 1u << GG_FP16 : 0)},        \
     MODEL_##name,                                                                                           \
     .shared_I = SHARED_##name(inner)},
    BLOCKS(X)
#undef X
};

const mg_block *mg_blocks(size_t *count) {
    *count = sizeof blocks / sizeof *blocks;
    return blocks;
}

gg_moe_problem mg_block_problem(const mg_block *block, mg_block_mode mode, unsigned fusions, gg_dtype dtype) {
    const mg_problem *p = &block->problem;
    return (gg_moe_problem){.dtype = dtype,
                            .score = block->score,
                            .weights_first = block->weights_first,
                            .training = mode != MG_BLOCK_INFERENCE,
                            .fusions = fusions,
                            .E = p->E,
                            .topk = p->topk,
                            .H = p->H,
                            .I = p->I,
                            .shared_I = block->shared_I,
                            .T = p->T};
}

mg_block_shape mg_block_input_shape(const gg_moe_problem *p, mg_block_input input) {
    const mg_block_shape shapes[MG_NUM_BLOCK_INPUTS] = {
#define X(name, text, rows, cols) [name] = {text, rows, cols},
        MG_BLOCK_INPUTS(X)
#undef X
    };
    return shapes[input];
}

mg_block_shape mg_block_output_shape(const gg_moe_problem *p, mg_block_output output) {
    const mg_block_shape shapes[MG_NUM_BLOCK_OUTPUTS] = {
#define X(name, text, rows, cols, backward) [name] = {text, !(backward) || p->training ? (rows) : 0, cols},
        MG_BLOCK_OUTPUTS(X)
#undef X
    };
    return shapes[output];
}

/* floor(log2(value) / 2) */
static int half_log2(int64_t value) {
    int result = 0;
    while (value >= 4) {
        value /= 4;
        result++;
    }
    return result;
}

mg_draw mg_block_draw(const mg_block *block, mg_block_input input, uint64_t user_seed) {
    const mg_problem *p = &block->problem;
    const gg_moe_problem shape = mg_block_problem(block, MG_BLOCK_BACKWARD, 0, GG_BF16);
    const mg_block_shape tensor = mg_block_input_shape(&shape, input);
    const bool weights = input != MG_BLOCK_X && input != MG_BLOCK_DY;
    mg_draw draw = {.seed = mg_tensor_seed(p, MG_EXACT, tensor.name, user_seed)};
    const bool ties = block->ties && (input == MG_BLOCK_X || input == MG_BLOCK_GATE); /* +-1 */
    for (draw.bits = ties ? 1 : 8; draw.bits > 1; draw.bits--) {
        const int64_t largest = (1 << draw.bits) - 1;
        if (p->H * largest * largest < 1 << 24) break;
    }
    /* the largest is near 2; weights shrink with the root of what they are summed over */
    draw.scale_log2 = 1 - draw.bits - (weights ? half_log2(tensor.cols) : 0);
    return draw;
}

/* --- cases --- */

/* Sets of fusions by mode; weights_first takes those without permute_x and fuse_mul_post. */
static const struct {
    mg_block_mode mode;
    unsigned fusions;
} variants[] = {
    {MG_BLOCK_FORWARD, 0},
    {MG_BLOCK_FORWARD, GG_PERMUTE_X},
    {MG_BLOCK_FORWARD, GG_PERMUTE_Y},
    {MG_BLOCK_FORWARD, GG_PERMUTE_X | GG_PERMUTE_Y},
    {MG_BLOCK_INFERENCE, GG_PERMUTE_Y},
    {MG_BLOCK_INFERENCE, GG_PERMUTE_Y | GG_FUSE_MUL_POST},
    {MG_BLOCK_INFERENCE, GG_PERMUTE_X | GG_PERMUTE_Y | GG_FUSE_MUL_POST},
    {MG_BLOCK_BACKWARD, 0},
    {MG_BLOCK_BACKWARD, GG_PERMUTE_X},
    {MG_BLOCK_BACKWARD, GG_PERMUTE_Y},
    {MG_BLOCK_BACKWARD, GG_PERMUTE_X | GG_PERMUTE_Y},
};

/* What needs many tokens is no matter of fusions, and slow on the simulator. */
enum { MANY_TOKENS = 2000, LAST = sizeof variants / sizeof *variants - 1 };

/* Tuning is for full sizes, and for the first small one of each model as a test of tuning. */
static bool has_autotune(size_t block) {
    return blocks[block].problem.store == MG_STORE_HASH || block == 0 ||
           strcmp(blocks[block].model, blocks[block - 1].model);
}

void mg_block_cases(void (*push)(void *data, const mg_case *c), void *data) {
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
            for (size_t j = 0; j < sizeof variants / sizeof *variants; j++)
                for (int autotune = 0; autotune <= has_autotune(i); autotune++) {
                    const mg_block *b = &blocks[i];
                    const unsigned fusions = variants[j].fusions;
                    if (!(b->problem.dtypes & 1u << dtype)) continue;
                    if (b->problem.T > MANY_TOKENS && (j != LAST || dtype)) continue;
                    if (b->weights_first && fusions & (GG_PERMUTE_X | GG_FUSE_MUL_POST)) continue;
                    push(data, &(mg_case){.problem = &b->problem,
                                          .block = b,
                                          .block_mode = (int)variants[j].mode,
                                          .function.autotune = autotune,
                                          .dtype = dtype,
                                          .cls = MG_EXACT,
                                          .fusions = fusions});
                }
}

size_t mg_block_id(const mg_case *c, char id[MG_ID_SIZE]) {
    static const char *const modes[] = {
#define X(name, text) [name] = text,
        MG_BLOCK_MODES(X)
#undef X
    };
    const char *key = c->problem->key + strlen(c->block->model); /* "-norm_topk_prob-topk2-..." */
    const char *permute_x = c->fusions & GG_PERMUTE_X ? "-permute_x" : "";
    const char *permute_y = c->fusions & GG_PERMUTE_Y ? "-permute_y" : "";
    const char *mul_post = c->fusions & GG_FUSE_MUL_POST ? "-fuse_mul_post" : "";
    int length =
        snprintf(id, MG_ID_SIZE, "%s_moe[%s%s%s%s%s%s-%s]", c->block->model, modes[c->block_mode], permute_x,
                 permute_y, mul_post, c->function.autotune ? "-autotune" : "", key, gg_dtype_name(c->dtype));
    return (size_t)length;
}

double mg_block_work(const mg_case *c) {
    const mg_problem *p = c->problem;
    const double weights = 3.0 * p->I * p->H, shared = 3.0 * c->block->shared_I * p->H;
    const double once = (double)p->M * weights + (double)p->T * (shared + (double)p->E * p->H);
    const double products = once * (c->block_mode == MG_BLOCK_BACKWARD ? 3 : 1);
    return p->store == MG_STORE_HASH ? products + p->E * weights : products; /* drawn on the device */
}
