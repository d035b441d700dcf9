/* topk.h: the topk best experts of each token of a tile and their weights, a warp a token, and how many of a warp's tokens
 * chose each expert. */
#ifndef GG_TOPK_H
#define GG_TOPK_H

#define LOGITS_STRIDE (COLS + 8) /* the fragments' rows start in different banks */
#define LOGITS_BYTES (ROWS * LOGITS_STRIDE * 4)
#define LANE_EXPERTS (COLS / 32)
#define WARP_TOKENS (ROWS / ALL_WARPS)
#define TOKENS_AT_ONCE (WARP_TOKENS < 4 ? WARP_TOKENS : 4) /* one's reductions behind another's */

/* Unsigned numbers in the order of the choice, and back; 0 is no candidate. */
DEVICE u32 logit_key(float logit) {
    u32 bits = bits_from_float(logit);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0xffffffffu;
    if (bits == 0x80000000u) bits = 0;
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE float key_logit(u32 key) { return float_from_bits(key & 0x80000000u ? key ^ 0x80000000u : ~key); }

/* A lane's candidates: experts lane, lane + 32, ... best first, of equal ones the lower; what has been chosen is gone. */
typedef struct candidates {
    u32 keys[LANE_EXPERTS], ids[LANE_EXPERTS];
} candidates;

DEVICE void sort_candidates(candidates *c) {
    UNROLL for (int end = LANE_EXPERTS - 1; end > 0; end--) {
        UNROLL for (int i = 0; i < LANE_EXPERTS - 1; i++) {
            if (i >= end || c->keys[i + 1] <= c->keys[i]) continue;
            u32 key = c->keys[i], id = c->ids[i];
            c->keys[i] = c->keys[i + 1];
            c->ids[i] = c->ids[i + 1];
            c->keys[i + 1] = key;
            c->ids[i + 1] = id;
        }
    }
}

/* Takes the best of all lanes' candidates: its key, and its expert's number. */
DEVICE u32 take_best(candidates *c, u32 *id) {
    u32 best = warp_max(c->keys[0]);
    *id = ~warp_max(c->keys[0] == best ? ~c->ids[0] : 0); /* the lowest */
    if (c->ids[0] == *id) {
        UNROLL for (int i = 0; i < LANE_EXPERTS - 1; i++) {
            c->keys[i] = c->keys[i + 1];
            c->ids[i] = c->ids[i + 1];
        }
        c->keys[LANE_EXPERTS - 1] = 0;
    }
    return best;
}

/* Of a token whose j-th choice is in lane j. */
DEVICE void store_choice(const router_params *p, i64 token, const float *row, u32 key, u32 id) {
    int lane = (int)threadIdx.x % 32;
    float logit = key_logit(key), largest = float_from_bits(shuffle(bits_from_float(logit), 0)), sum = 0.0f;
    float score = lane >= p->topk ? 0.0f : SCORE == 2 ? sigmoid_f32(logit) : exp_f32(logit - largest);
    if (SCORE == 0) {
        UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
            int e = i * 32 + lane;
            if (e < p->E) sum = add_f32(sum, exp_f32(row[e] - largest));
        }
    }
    if (SCORE != 2) score = score / warp_sum(SCORE == 0 ? sum : score);
    if (token >= p->T || lane >= p->topk) return;
    p->topk_ids[token * p->topk + lane] = (i32)id;
    p->topk_weights[token * p->topk + lane] = float_from_dtype(round_to_dtype(score));
}

/* How many of the warp's tokens chose each of a lane's experts: a byte an expert. */
#define CHOSEN_WORDS ((LANE_EXPERTS + 3) / 4)
DEVICE void count_choice(u32 chosen[CHOSEN_WORDS], u32 id) {
    UNROLL for (u32 i = 0; i < CHOSEN_WORDS; i++) if (id / 128 == i) chosen[i] += 1u << id / 32 % 4 * 8;
}

/* counts: (ALL_WARPS, COLS) in shared memory. Rows past the last token go along, for the warp's sake, uncounted. */
DEVICE void choose_experts(const router_params *p, i64 first_row, const float *logits, i32 *counts) {
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    u32 chosen[CHOSEN_WORDS];
    UNROLL for (int i = 0; i < CHOSEN_WORDS; i++) chosen[i] = 0;
    for (int base = warp * WARP_TOKENS; base < (warp + 1) * WARP_TOKENS; base += TOKENS_AT_ONCE) {
        candidates all[TOKENS_AT_ONCE];
        u32 keys[TOKENS_AT_ONCE], ids[TOKENS_AT_ONCE];
        UNROLL for (int t = 0; t < TOKENS_AT_ONCE; t++) {
            i64 token = first_row + base + t;
            const float *row = logits + (base + t) * LOGITS_STRIDE;
            UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
                int e = i * 32 + lane;
                float logit = row[e];
                if (e < p->E && token < p->T) p->logits[token * p->E + e] = logit;
                all[t].keys[i] = e < p->E ? logit_key(logit) : 0;
                all[t].ids[i] = (u32)e;
            }
            sort_candidates(&all[t]);
            keys[t] = ids[t] = 0;
        }
        for (int j = 0; j < p->topk; j++) {
            UNROLL for (int t = 0; t < TOKENS_AT_ONCE; t++) {
                u32 id, key = take_best(&all[t], &id);
                if (lane == j) {
                    keys[t] = key;
                    ids[t] = id;
                }
                if (id % 32 == (u32)lane && first_row + base + t < p->T) count_choice(chosen, id);
            }
        }
        UNROLL for (int t = 0; t < TOKENS_AT_ONCE; t++)
            store_choice(p, first_row + base + t, logits + (base + t) * LOGITS_STRIDE, keys[t], ids[t]);
    }
    UNROLL for (int i = 0; i < LANE_EXPERTS; i++) counts[warp * COLS + i * 32 + lane] =
        (i32)(chosen[i / 4] >> i % 4 * 8 & 255);
}

#endif
