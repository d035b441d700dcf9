/* case.h: what is tested: problems (golden/problems.tsv), cases (problem x function x flags x config), and
 * their ids. */
#ifndef MG_CASE_H
#define MG_CASE_H

#include "grouped_gemm.h"

/* Harness functions return gg_status too; messages for people go through `error` buffers, one line, no full
 * stop. */
enum { MG_ERROR_SIZE = 512, MG_ID_SIZE = 320, MG_KEY_SIZE = 128, MG_CONFIG_SIZE = 64 };

/* Data classes (DESIGN of the corpus: golden/README.md). */
#define MG_CLASSES(X)                                                                                        \
    X(MG_EXACT, "exact") /* odd integers, every partial sum exact in fp32: bitwise equality */               \
    X(MG_UNIT, "unit")   /* the same with +-1 */                                                             \
    X(MG_REAL, "real")   /* normal-like values: componentwise and statistical bounds */                      \
    X(MG_HOSTILE,                                                                                            \
      "hostile") /* exact with NaN, Inf, huge, tiny and -0 planted: what does not depend on them */          \
                 /* keeps its bits; the rest its class */
typedef enum mg_class {
#define X(name, text) name,
    MG_CLASSES(X)
#undef X
        MG_NUM_CLASSES
} mg_class;

/* Token distributions over the experts. */
#define MG_DISTS(X)                                                                                          \
    X(MG_MULT, "mult")              /* multinomial: uniform random choices, topk distinct experts a token */ \
    X(MG_BALANCED, "balanced")      /* equal sizes, or as near as the numbers allow */                       \
    X(MG_SKEWED, "skewed")          /* Zipf, s = 1.2 */                                                      \
    X(MG_ONE, "one")                /* one expert (the middle one) takes every slot */                       \
    X(MG_EMPTY_FIRST, "emptyfirst") /* uniform over all but the first expert(s) */                           \
    X(MG_EMPTY_LAST, "emptylast")                                                                            \
    X(MG_EMPTY_MID, "emptymid")                                                                              \
    X(MG_EDGE, "edge")         /* sizes cycle through 31 32 33 63 64 65 127 128 129 0 1 as slots allow */    \
    X(MG_WIDE, "wide")         /* through 256 0 0 255 1 257 2 */                                             \
    X(MG_SORTED, "sorted")     /* slots in the order of the experts: gathering changes nothing */            \
    X(MG_REVERSED, "reversed") /* the last expert's slots first */
typedef enum mg_dist {
#define X(name, text) name,
    MG_DISTS(X)
#undef X
        MG_NUM_DISTS
} mg_dist;

/* Where the golden outputs of a problem are. */
typedef enum mg_store {
    MG_STORE_FILES, /* .npy files: committed under golden/ where small, else made by gen/ into the cache on
                       first use */
    MG_STORE_HASH   /* full-size: per-expert hashes in golden/hashes.tsv */
} mg_store;

/* One routed problem: a row of golden/problems.tsv. W1 is the first GEMM (N = 2I, K = H, x from tokens), W2
 * the second (N = H, K = I, x has M rows in expert order). */
typedef struct mg_problem {
    char key[MG_KEY_SIZE]; /* "W1-topk4-E16-T128-H128-I128-mult": folder of its arrays and part of the ids */
    char routing[MG_KEY_SIZE]; /* "topk4-E16-T128-mult": folder of m_sizes and gather_indices under
                                  golden/routing */
    gg_gemm gemm;              /* GG_GEMM_FIRST is W1, GG_GEMM_SECOND W2 */
    int32_t E, topk, H, I, N, K;
    int64_t T, M;
    mg_dist dist;
    mg_store store;
    unsigned classes;   /* 1u << mg_class */
    unsigned dtypes;    /* 1u << gg_dtype */
    unsigned groups;    /* which axes of the case table use it: MG_GROUP_* */
    unsigned committed; /* which of its goldens are in the repository: see mg_is_committed */
} mg_problem;

enum {
    MG_GROUP_SMALL = 1,   /* the seeds' twelve small models */
    MG_GROUP_FIRST = 2,   /* the first of them, the only small one whose dX the seeds test */
    MG_GROUP_LARGE = 4,   /* Llama-4-Scout and Qwen3-30B-A3B */
    MG_GROUP_SHRUNK = 8,  /* Llama-4 with H = I = 1024, used by the seeds for dX */
    MG_GROUP_FULL = 32,   /* full sizes of more models, lengths and routings, and offsets beyond 2^31 */
    MG_GROUP_RAGGED = 16, /* ours: distributions, sizes off the tile, T = 0, 1, 7, one expert, 128 experts */
    MG_GROUP_CROSS = 128, /* small: every set of flags with every class, type and mainloop */
    MG_GROUP_FAR = 64     /* large in one direction: rows beyond 16 bits, more than a band of tiles */
};

/* All problems, in file order, parsed once from the table embedded at build; never fails at run time. */
const mg_problem *mg_problems(size_t *count);
const mg_problem *mg_problem_find(const char *key);
/* Whether a golden, or the digest of one that C computes, is in the repository, so that no Python is needed for it: what
 * `forward and tma` needs on the simulator is. `output` as the op that makes it: forward y, dX dx, dW dw. */
bool mg_is_committed(const mg_problem *problem, mg_class cls, gg_dtype dtype, gg_op output);

/* Test functions, under the seeds' names. */
typedef struct mg_function {
    gg_op op;
    bool autotune; /* else manual: the case carries its config */
    bool autograd; /* runs the forward/backward pair and checks every output */
} mg_function;

typedef struct mg_case {
    const mg_problem *problem;
    const struct mg_block
        *block;     /* a case of a whole MoE block (block.h), whose problem this is; else NULL */
    int block_mode; /* mg_block_mode */
    mg_function function;
    gg_dtype dtype;
    mg_class cls;
    unsigned fusions; /* GG_PERMUTE_X ... */
    gg_config config; /* of the function's op; with autotune only config.mainloop counts */
    bool refusal;     /* the planner must refuse it */
    bool seeds;       /* one of the 4160 of the seeds' matrix (of which 1088 are refusals); else ours */
} mg_case;

typedef struct mg_cases {
    mg_case *items;
    size_t count;
} mg_cases;

/* The whole case table in canonical order (cases of one problem, class and dtype adjacent where possible). */
gg_status mg_cases_new(mg_cases *cases);
void mg_cases_free(mg_cases *cases);

/* "grouped_gemm_forward_manual[W1-permute_x-use_tma_load_w-topk4-E16-T128-H128-I128-bf16-exact-mult-mma_sync-bm64-bn64-
 * bk64-w4-s3]"; flags only when set; returns the length. */
size_t mg_case_id(const mg_case *c, char id[MG_ID_SIZE]);

/* The gg_problem of a case for one op of it (an autograd case has three). */
gg_problem mg_case_problem(const mg_case *c, gg_op op);

/* "wgmma-bm256-bn128-bk64-w8-s4-copy_rows-tma-x-w-store", and back; parse is false for any other text. */
void mg_config_text(const gg_config *config, char text[MG_CONFIG_SIZE]);
bool mg_config_parse(const char *text, gg_config *config);
bool mg_mainloop_parse(const char *text, size_t length, gg_mainloop *mainloop);

/* Multiply-adds of all launches of a case, once; what the simulator's work limit bounds. 0 for a refusal. */
double mg_case_work(const mg_case *c);

/* The simulator's work limit by default: a case below it takes under a second, and the goldens of every
 * forward case below it that uses TMA are committed. */
enum { MG_SIM_LIMIT = 26000000 };

const char *mg_class_name(mg_class cls);
const char *mg_dist_name(mg_dist dist);

#endif
