/* topk.h: the topk best experts of each token of a tile and their weights, eight lanes a token. */
#ifndef GG_TOPK_H
#define GG_TOPK_H

#define LOGITS_STRIDE (COLS + 8) /* four tokens a warp look at 32 banks */
#define LOGITS_BYTES (ROWS * LOGITS_STRIDE * 4)
#define TOKEN_LANES 8
#define LANE_EXPERTS (COLS / TOKEN_LANES)
#define MAX_TOPK 16

/* Unsigned numbers in the order of the choice; 0 is no candidate. */
DEVICE u32 logit_key(float logit) {
    u32 bits = bits_from_float(logit);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0xffffffffu;
    if (bits == 0x80000000u) bits = 0;
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* ids: (ROWS, topk) in shared memory, -1 for rows past the last token. */
DEVICE void choose_experts(const router_params *p, i64 first_row, const float *logits, i32 *ids) {
    int sub = (int)threadIdx.x % TOKEN_LANES, group = (int)threadIdx.x / TOKEN_LANES;
    for (int base = 0; base < ROWS; base += NUM_THREADS / TOKEN_LANES) {
        /* lanes without a row go along, for the shuffles */
        int r = base + group, has_row = r < ROWS;
        const float *row = logits + (has_row ? r : 0) * LOGITS_STRIDE;
        u32 keys[LANE_EXPERTS];
        UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
            int e = i * TOKEN_LANES + sub;
            keys[i] = e < p->E ? logit_key(row[e]) : 0;
        }
        float largest = 0.0f, sum = 0.0f, score[MAX_TOPK / TOKEN_LANES] = {0.0f, 0.0f};
        i32 chosen[MAX_TOPK / TOKEN_LANES] = {0, 0}, last = -1;
        for (i32 j = 0; j < p->topk; j++) {
            u32 best = 0, best_id = 0;
            UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
                int e = i * TOKEN_LANES + sub;
                if (e == last) keys[i] = 0;
                if (keys[i] > best) {
                    best = keys[i];
                    best_id = (u32)e;
                }
            }
            UNROLL for (int mask = 1; mask < TOKEN_LANES; mask *= 2) {
                u32 other = shuffle_xor(best, mask), other_id = shuffle_xor(best_id, mask);
                if (other > best || (other == best && other_id < best_id)) {
                    best = other;
                    best_id = other_id;
                }
            }
            last = (i32)best_id;
            float logit = row[last];
            if (j == 0) largest = logit;
            float value = SCORE == 2 ? sigmoid_f32(logit) : exp_f32(logit - largest);
            sum = add_f32(sum, value);
            UNROLL for (int i = 0; i < MAX_TOPK / TOKEN_LANES; i++) {
                if (j == i * TOKEN_LANES + sub) {
                    score[i] = value;
                    chosen[i] = last;
                }
            }
        }
        if (SCORE == 0) {
            sum = 0.0f;
            UNROLL for (int i = 0; i < LANE_EXPERTS; i++) {
                int e = i * TOKEN_LANES + sub;
                if (e < p->E) sum = add_f32(sum, exp_f32(row[e] - largest));
            }
            UNROLL for (int mask = 1; mask < TOKEN_LANES; mask *= 2) sum =
                add_f32(sum, float_from_bits(shuffle_xor(bits_from_float(sum), mask)));
        }
        i64 token = first_row + r;
        UNROLL for (int i = 0; i < MAX_TOPK / TOKEN_LANES; i++) {
            i32 j = i * TOKEN_LANES + sub;
            if (!has_row || j >= p->topk) continue;
            ids[r * p->topk + j] = token < p->T ? chosen[i] : -1;
            if (token >= p->T) continue;
            p->topk_ids[token * p->topk + j] = chosen[i];
            p->topk_weights[token * p->topk + j] =
                float_from_dtype(round_to_dtype(SCORE == 2 ? score[i] : score[i] / sum));
        }
    }
}

#endif
