/* moe_params.h: the parameter structs of the MoE block's kernels; shared by host and device, which include params.h or
 * intrinsics.h before.
 *
 * T tokens, M = T * topk slots; "position" is a slot's row in expert order, so positions[gather_indices[i]] = i. */
#ifndef GG_MOE_PARAMS_H
#define GG_MOE_PARAMS_H

/* A block of `router` takes `rows` (16, 32 or 64) tokens, a tile. */
typedef struct router_params {
    const u16 *x;        /* (T, H) */
    const u16 *gate;     /* (E, H) */
    float *logits;       /* (T, E) */
    i32 *topk_ids;       /* (T, topk), best first */
    float *topk_weights; /* (T, topk), rounded to the dtype */
    i32 *histogram;      /* (tiles, padded_E) slots of the tile that go to the expert; zero from E on */
    i64 T;
    i32 E, padded_E, H, topk;
} router_params;

typedef struct sort_params {
    const i32 *topk_ids;  /* (M) */
    const i32 *histogram; /* (tiles, padded_E), a multiple of 4 */
    i32 *m_sizes;         /* (E) */
    i32 *gather_indices;  /* (M) */
    i32 *positions;       /* (M) */
    i32 *tokens;          /* (M) gather_indices[i] / topk */
    i32 *all_tokens;      /* (1) T: the one size of a grouped GEMM with one expert */
    i64 T;
    i32 E, padded_E, topk;
    i32 tiles, tile_tokens, tiles_per_block;
} sort_params;

/* out[positions[s]] = in[s / topk], times weights[s] unless NULL */
typedef struct permute_params {
    const u16 *in; /* (T, cols) */
    u16 *out;      /* (M, cols) */
    const i32 *positions;
    const float *weights;
    i64 T;
    i32 cols;
} permute_params;

typedef struct silu_params {
    const u16 *gate_up; /* (rows, 2 I): gate, then up */
    u16 *activation;    /* (rows, I) */
    i64 rows;
    i32 I;
} silu_params;

typedef struct silu_backward_params {
    const u16 *gate_up;        /* (rows, 2 I) */
    const u16 *d_activation;   /* (rows, I), before the weight */
    const i32 *gather_indices; /* (rows) where weighted, else unused */
    const float *weights;      /* (rows) in slot order; NULL: 1 */
    u16 *d_gate_up;            /* (rows, 2 I) */
    u16 *activation;           /* (rows, I), times the weight */
    float *d_weights;          /* (rows) in slot order where weighted */
    i64 rows;
    i32 I;
} silu_backward_params;

/* out[t] = round(sum over j < topk, in order, of weights[slot] * rows[position of slot], plus addends), fp32 */
typedef struct merge_params {
    const u16 *rows;       /* (M, cols) */
    const i32 *positions;  /* (M); NULL: rows are in slot order */
    const float *weights;  /* (M) in slot order; NULL: 1 */
    const u16 *addends[2]; /* (T, cols) or NULL */
    u16 *out;              /* (T, cols) */
    i64 T;
    i32 cols;
} merge_params;

/* d_weights[s] = dot(rows[positions[s]], x[s / topk]) */
typedef struct row_dot_params {
    const u16 *rows; /* (M, cols) */
    const u16 *x;    /* (T, cols) */
    const i32 *positions;
    float *d_weights; /* (M) in slot order */
    i64 T;
    i32 cols, topk;
} row_dot_params;

typedef struct router_backward_params {
    const float *logits;    /* (T, E) */
    const i32 *topk_ids;    /* (T, topk) */
    const float *d_weights; /* (T, topk) */
    u16 *d_logits;          /* (T, padded_E); zero from E on */
    i64 T;
    i32 E, padded_E, topk;
} router_backward_params;

#endif
