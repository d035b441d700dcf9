/* test_sim_block_bugs.c: seeded bugs in the MoE block's kernels, each an exact replacement in one shipped file: the case
 * must fail on the simulator, and by the name of the step that the bug is in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execute_internal.h"

#define QWEN "qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk2-E8-T61-H72-I40-bf16]"
#define PLAIN "qwen3_moe[backward-norm_topk_prob-topk2-E8-T61-H72-I40-bf16]"
#define SOFTMAX "qwen3_moe[backward-permute_x-permute_y-topk2-E8-T61-H72-I40-fp16]"
#define WIDE "qwen3_moe[forward-permute_x-permute_y-norm_topk_prob-topk10-E200-T37-H40-I8-bf16]"
#define WIDE_BACKWARD "qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk10-E200-T37-H40-I8-bf16]"
#define LLAMA "llama4_moe[backward-permute_y-topk1-E4-T61-H72-I40-bf16]"
#define LLAMA_TWO "llama4_moe[backward-topk2-E6-T45-H40-I24-fp16]"
#define MANY "qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk2-E4-T2100-H40-I8-bf16]"
#define INFERENCE "qwen3_moe[inference-permute_y-norm_topk_prob-topk2-E8-T61-H72-I40-bf16]"
#define MOST "qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk2-E4-T8300-H16-I8-bf16]"
#define LONG "qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk2-E4-T9-H40-I264-bf16]"
#define LARGE "qwen3_moe[forward-permute_x-permute_y-norm_topk_prob-topk8-E16-T33-H136-I64-fp16]"

/* The kernel of its own beside the first GEMM's epilogue. */
#define BY_ITSELF "'activation' differs between runs 1 and 2, silu_and_mul by itself"

/* Or the simulator stops a GEMM: rows that nobody filled are read as indices. */
#define OR_STOPPED "|"

static const struct bug {
    const char *file, *find, *replace;
    const char *root; /* the kernel's file, where the bug is in a header */
    const char *id, *expected;
} bugs[] = {
    /* router */
    {"router.cu", "row < (is_x ? p->T : p->E)", "row + 1 < (is_x ? p->T : p->E)", NULL, QWEN,
     "step 'logits' is wrong"},
    {"router.cu", "c->col < H ?", "c->col + 8 < H ?", NULL, QWEN, "step 'logits' is wrong"},
    {"router.cu", "c->first + i * COPY_STRIDE < TILE_ROWS", "0", NULL,
     "qwen3_moe[forward-permute_x-permute_y-norm_topk_prob-topk8-E128-T48-H64-I16-bf16]",
     "step 'logits' is wrong"},
    {"router.cu", "(u32)group * STAGE_BYTES", "0", NULL, QWEN, "step 'logits' is wrong"},
    {"router.cu", "group * (STEP / 2)", "(1 - group / 2) * (STEP / 2)", NULL, WIDE, "step 'logits' is wrong"},
    {"router.cu", "v / 2 * 8;", "v % 2 * 8;", NULL, QWEN, "step 'logits' is wrong"},
    {"router.cu", "add_f32(*at, acc[i][j][v])", "acc[i][j][v]", NULL, QWEN, "step 'logits' is wrong"},
    {"router.cu", "w < ALL_WARPS; w++) sum", "w < NUM_WARPS; w++) sum", NULL, QWEN, "'m_sizes' is wrong"},
    {"topk.h", "p->logits[token * p->E + e]", "p->logits[token * p->E + (e ^ 1)]", "router.cu", QWEN,
     "step 'logits' is wrong"},
    {"topk.h", "first_row + base + t < p->T) count", "first_row + base + t < p->T + 1) count", "router.cu",
     QWEN, OR_STOPPED "'m_sizes' is wrong"},
    {"topk.h", "id / 32 % 4 * 8", "id / 32 % 2 * 8", "router.cu", WIDE, OR_STOPPED "'m_sizes' is wrong"},
    {"topk.h", "if (id / 128 == i)", "if (i == 0)", "router.cu", WIDE, OR_STOPPED "'m_sizes' is wrong"},
    {"topk.h", "c->keys[i + 1] <= c->keys[i]", "c->keys[i + 1] >= c->keys[i]", "router.cu", WIDE,
     "step 'topk_ids' is wrong"},
    {"topk.h", "i >= end ||", "i >= end / 2 ||", "router.cu", WIDE, "step 'topk_ids' is wrong"},
    {"topk.h", "bits & 0x80000000u ? ~bits : bits | 0x80000000u", "bits | 0x80000000u", "router.cu", QWEN,
     "step 'topk_ids' is wrong"},
    {"topk.h", "if (c->ids[0] == *id) {", "if (0) {", "router.cu", QWEN, "step 'topk_ids' is wrong"},
    {"topk.h", "c->keys[LANE_EXPERTS - 1] = 0;", "", "router.cu", QWEN, "step 'topk_ids' is wrong"},
    {"topk.h", "~warp_max(c->keys[0] == best ? ~c->ids[0] : 0)",
     "warp_max(c->keys[0] == best ? c->ids[0] : 0)", "router.cu",
     "qwen3_moe[forward-permute_x-permute_y-norm_topk_prob-ties-topk3-E16-T50-H32-I16-bf16]",
     "step 'topk_ids' is wrong"},
    {"topk.h", "exp_f32(logit - largest)", "exp_f32(logit)", "router.cu", SOFTMAX,
     "step 'topk_weights' is wrong"},
    {"topk.h", "float_from_bits(shuffle(bits_from_float(logit), 0))", "logit", "router.cu", QWEN,
     "step 'topk_weights' is wrong"},
    {"topk.h", "key & 0x80000000u ? key ^ 0x80000000u : ~key", "key ^ 0x80000000u", "router.cu", LLAMA_TWO,
     "step 'topk_weights' is wrong"},
    {"topk.h", "if (SCORE == 0) {", "if (SCORE == 3) {", "router.cu", SOFTMAX,
     "step 'topk_weights' is wrong"},
    {"topk.h", "float_from_dtype(round_to_dtype(score))", "score", "router.cu", QWEN,
     "step 'topk_weights' is wrong"},
    {"topk.h", "lane >= p->topk ? 0.0f", "lane > p->topk ? 0.0f", "router.cu", QWEN,
     "step 'topk_weights' is wrong"},
    /* sort */
    {"sort_slots.cu", "&& tile < first ?", "&& tile <= first ?", NULL, QWEN,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "lower + counts[COUNTS / 2 + thread]", "lower", NULL, QWEN,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "return sum - value;", "return sum;", NULL, QWEN,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "(u32)slot / (u32)p.topk)", "(u32)slot / (u32)p.topk / 2)", NULL, QWEN,
     "'tokens' is wrong"},
    {"sort_slots.cu", "p.positions[slot] = position;", "p.positions[slot ^ 1] = position;", NULL, QWEN,
     "'positions' is wrong"},
    {"sort_slots.cu", "lane >= reach) sum", "lane > reach) sum", NULL, QWEN,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "w < warp; w++) sum", "w < warp - 1; w++) sum", NULL, WIDE,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "all[j] += tile < p->tiles ?", "all[j] += tile < p->tiles - 1 ?", NULL, QWEN,
     "'m_sizes' is wrong"},
    {"sort_slots.cu", "begin += AT_ONCE * parts", "begin += 2 * AT_ONCE * parts", NULL, MOST,
     OR_STOPPED "'m_sizes' is wrong"},
    {"sort_slots.cu", "same & ((1u << lane) - 1)", "same & ((2u << lane) - 1)", NULL, QWEN,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "if (id >= 0 && earlier == 0)", "if (id >= 0 && earlier == 0 && warp)", NULL, QWEN,
     OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "counts[w * p.E + thread] = position;", "counts[w * p.E + thread] = next[thread];",
     NULL, MANY, OR_STOPPED "'gather_indices' is wrong"},
    {"sort_slots.cu", "if (at > begin) id =", "if (at < begin) id =", NULL, MANY,
     OR_STOPPED "'gather_indices' is wrong"},
    /* activation */
    {"silu.cu", "load8(row + p.I), out", "load8(row), out", NULL, QWEN, BY_ITSELF},
    {"silu.h", "exp_f32(-x)", "exp_f32(x)", "silu.cu", INFERENCE, BY_ITSELF},
    {"silu.h", "1.44269504f", "1.4427f", "silu.cu", LARGE, BY_ITSELF},
    {"silu.h", "mul_f32(silu, up)", "mul_f32(silu, up) * 1.000002f", "silu.cu", LARGE, BY_ITSELF},
    /* the same in the first GEMM */
    {"silu.h", "exp_f32(-x)", "exp_f32(x)", "wgmma.cu", INFERENCE, "step 'activation' is wrong"},
    {"silu.h", "1.44269504f", "1.4427f", "wgmma.cu", LARGE, "step 'activation' is wrong"},
    {"wgmma_silu.h", "activation_pair(half_word(values, 0, i), half_word(values, 1, i))",
     "activation_pair(half_word(values, 1, i), half_word(values, 0, i))", "wgmma.cu", INFERENCE,
     "step 'activation' is wrong"},
    {"wgmma_silu.h", "half_word(values, 1, i))", "half_word(values, 1, i ^ 1))", "wgmma.cu", QWEN,
     "step 'activation' is wrong"},
    {"wgmma_silu.h", "values[Q_IS_ROWS ? 2 * i + half :", "values[Q_IS_ROWS ? i + 8 * half :", "wgmma.cu",
     QWEN, "step 'first' is wrong"},
    {"output.h", "return round_pair(low, high);",
     "return bits_from_float(low) >> 16 | (bits_from_float(high) & 0xffff0000u);", "wgmma.cu", INFERENCE,
     "step 'activation' is wrong"},
    {"wgmma_silu.h", "activation_pair(half_word(values, 0, i),",
     "activation_pair(half_word(values, 0, i) & 0xfffefffe,", "wgmma.cu", INFERENCE,
     "step 'activation' is wrong"},
    {"wgmma_silu.h", "tma_store_4d_kept(&p->map_out, col, rows->skipped",
     "tma_store_4d_kept(&p->map_out, col + 8, rows->skipped", "wgmma.cu", INFERENCE,
     "step 'activation' is wrong"},
    {"wgmma_silu.h", "from + tile - 1,", "from + 2 - tile,", "wgmma.cu", QWEN, "step 'first' is wrong"},
    {"wgmma_silu.h", "RAGGED_BACK, staged + SILU_TILE_OFFSET(tile)",
     "RAGGED_BACK, staged + SILU_TILE_OFFSET(1)", "wgmma.cu", MANY, "step 'first' is wrong"},
    {"wgmma_silu.h", "stage_tile(words, staged + SILU_TILE_OFFSET(tile), thread)",
     "stage_tile(words, staged + SILU_TILE_OFFSET(0), thread)", "wgmma.cu", QWEN, "step 'first' is wrong"},
    {"wgmma_store.h", "ragged(place->row, tile->row_limit)", "ragged(place->row, place->row + 64)",
     "wgmma.cu", PLAIN, "run 1 wrote outside 'workspace'"},
    {"loads.h", "((i32)row + r) / 16, expert", "((i32)row + r) / 8, expert", "wgmma.cu", LONG,
     "step 'first' is wrong"},
    {"loads.h", "col + c, 0, 0, ((i32)row", "col + c, 0, 1, ((i32)row", "wgmma.cu", QWEN,
     "step 'first' is wrong"},
    {"wgmma_store.h", "(u32)(s->group * M_TILES + i / Q_PIECES) * 64", "(u32)(i / Q_PIECES) * 64", "wgmma.cu",
     QWEN, "step 'first' is wrong"},
    {"wgmma_store.h", "q0 = (u32)(i % Q_PIECES) * 64", "q0 = (u32)(i / Q_PIECES) * 64", "wgmma.cu", MANY,
     "step 'first' is wrong"},
    {"wgmma_output.h", "out->values[i - SLOTS * BATCH], i - b", "out->values[i - b * BATCH], i - b",
     "wgmma.cu", MANY, "step 'first' is wrong"},
    /* backward */
    {"silu.cu", "s + silu * (1.0f - s)", "s + silu", NULL, QWEN, "step 'd_first' is wrong"},
    {"silu.cu", "d_up.v[i] = weighted * silu", "d_up.v[i] = d.v[i] * silu", NULL, QWEN,
     "step 'd_first' is wrong"},
    {"silu.cu", "activation.v[i] = weight * a", "activation.v[i] = a", NULL, QWEN,
     "step 'weighted' is wrong"},
    {"silu.cu", "dot = fma_f32(d.v[i], a, dot)", "dot = fma_f32(weighted, a, dot)", NULL, QWEN,
     "step 'd_weights' is wrong"},
    {"silu.cu", "next = slot_of_row(&p, row + warps)", "next = slot_of_row(&p, row)", NULL, MANY,
     "step 'weighted' is wrong"},
    {"silu.cu", "p.d_weights[slot] = dot", "p.d_weights[row] = dot", NULL, QWEN, "step 'd_weights' is wrong"},
    {"moe_ops.h", "mask = 16; mask > 0", "mask = 8; mask > 0", "silu.cu", LONG, "step 'd_weights' is wrong"},
    /* rows */
    {"merge.cu", "weight[j] = p.weights ? p.weights[slot + j] : 1.0f;",
     "weight[j] = p.weights ? p.weights[slot] : 1.0f;", NULL, QWEN, "step 'y' is wrong"},
    {"merge.cu", "j < TOPK; j++) add8", "j < TOPK - 1; j++) add8", NULL, LLAMA_TWO, "step 'y' is wrong"},
    {"merge.cu", "p.positions ? p.positions[slot + j] : slot + j", "slot + j", NULL, PLAIN,
     "step 'y' is wrong"},
    {"merge.cu", "i < 2; i++) if", "i < 1; i++) if", NULL, LLAMA, "step 'dx' is wrong"},
    {"permute.cu", "to[j] = p.positions[slot + j]", "to[j] = p.positions[slot + (j ^ 1)]", NULL, LLAMA_TWO,
     "step 'x_expert' is wrong"},
    {"permute.cu", "values.v[i] *= weight[j]", "values.v[i] *= 1.0f", NULL, LLAMA,
     "step 'x_expert' is wrong"},
    {"moe_ops.h", "walk->row += walk->step_rows;", "walk->row += walk->step_rows + 1;", "merge.cu", MANY,
     "step 'y' is wrong"},
    /* router's gradients */
    {"router_backward.cu", "(d[i] - dot)", "d[i]", NULL, QWEN, "step 'd_logits' is wrong"},
    {"router_backward.cu", "if (SCORE == 0 || chosen >> i & 1)", "if (chosen >> i & 1)", NULL, SOFTMAX,
     "step 'd_logits' is wrong"},
    {"router_backward.cu", "chosen |= 1u << i", "chosen |= 1u", NULL, WIDE_BACKWARD,
     "step 'd_logits' is wrong"},
    {"router_backward.cu", "shuffle(bits_from_float(d_weight), j)", "bits_from_float(d_weight)", NULL, QWEN,
     "step 'd_logits' is wrong"},
    {"router_backward.cu", "logits[shuffle((u32)id, 0)]", "logits[id]", NULL, QWEN,
     "step 'd_logits' is wrong"},
    {"router_backward.cu", "* (1.0f - score[i])", "", NULL, LLAMA, "step 'd_logits' is wrong"},
    {"router_backward.cu", "p.x + slot / p.topk * p.cols", "p.x + slot % p.T * p.cols", NULL, LLAMA_TWO,
     "step 'd_weights' is wrong"},
    {"router_backward.cu", "e < p.padded_E", "e < p.E", NULL,
     "qwen3_moe[backward-permute_x-permute_y-norm_topk_prob-topk3-E5-T7-H40-I24-bf16]",
     "step 'd_logits' is wrong"},
    /* a launch that overlaps the one before and does not wait for it */
    {"router.cu", "grid_wait();", "", NULL, QWEN, "block: "},
    {"sort_slots.cu", "grid_wait();", "", NULL, QWEN, "block: "},
    {"permute.cu", "grid_wait();", "", NULL, PLAIN, "block: "},
    {"merge.cu", "grid_wait();", "", NULL, QWEN, "block: "},
    {"silu.cu", "(silu_and_mul, silu_params, ROW_OP_THREADS, 6) {\n    grid_wait();",
     "(silu_and_mul, silu_params, ROW_OP_THREADS, 6) {", NULL, QWEN, "block: "},
    {"silu.cu", "silu_backward_params, ROW_OP_THREADS, 4) {\n    grid_wait();",
     "silu_backward_params, ROW_OP_THREADS, 4) {", NULL, QWEN, "block: "},
    {"router_backward.cu", "backward_params, ROW_OP_THREADS, 4) {\n    grid_wait();",
     "backward_params, ROW_OP_THREADS, 4) {", NULL, QWEN, "block: "},
    {"router_backward.cu", "row_dot_params, ROW_OP_THREADS, 4) {\n    grid_wait();",
     "row_dot_params, ROW_OP_THREADS, 4) {", NULL, LLAMA, "block: "},
    /* what is no number of a step */
    {"silu.cu", "store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));",
     "if (p.activation[at.row * p.I] != 0x7ffd) "
     "store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));",
     NULL, QWEN, "'activation' differs between runs 1 and 2"},
    {"merge.cu", "store_16(p.out + to, pack8(sum));",
     "store_16(p.out + to, pack8(sum)); if (to + 8 == p.T * p.cols) store_16(p.out + to + 8, pack8(sum));",
     NULL, QWEN, "run 1 wrote outside 'y'"},
    {"silu.cu", "store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));",
     "store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));"
     "if (at.row == p.rows - 1) store_16(p.activation + p.rows * p.I + at.chunk * 8, pack8(out));",
     NULL, QWEN, "run 2 wrote behind 'activation'"},
    {"sort_slots.cu", "*p.all_tokens = (i32)p.T;", "{ p.all_tokens[1] = 0; *p.all_tokens = (i32)p.T; }", NULL,
     QWEN, "run 1 wrote behind 'all_tokens'"},
    /* only where the second run's poison was: what is compared on the device */
    {"silu.cu", "store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));",
     "store_16(p.activation + at.row * p.I + at.chunk * 8, pack8(out));"
     "if (at.row == p.rows - 1 && p.activation[p.rows * p.I + 8] == 0x7ffd) "
     "store_16(p.activation + p.rows * p.I, pack8(out));",
     NULL, QWEN, "run 2 wrote behind 'activation'"},
    {"sort_slots.cu", "*p.all_tokens = (i32)p.T;",
     "{ if (p.all_tokens[1] == 0x7ffd7ffd) p.all_tokens[1] = 0; *p.all_tokens = (i32)p.T; }", NULL, QWEN,
     "run 2 wrote behind 'all_tokens'"},
    {"sort_slots.cu", "*p.all_tokens = (i32)p.T;",
     "*p.all_tokens = (i32)p.T - (*p.all_tokens == 0x7ffd7ffd);", NULL, QWEN,
     "'all_tokens' differs between runs 1 and 2"},
    {"permute.cu", "u32x4 out = bits;", "u32x4 out = bits; if (!at.row) ((u16 *)p.in)[offset] = 0;", NULL,
     PLAIN, "input 'x' or memory beside it was modified"},
};

typedef struct world {
    mg_executor *x;
    mg_cases cases;
} world;

static int open_world(void **state) {
    static world w;
    const mg_execute_options options = {
        .backend = "sim", .golden_dir = SOURCE_DIR "/golden", .repeats = 2, .sim_limit = 1e9};
    char error[MG_ERROR_SIZE];
    *state = &w;
    return mg_cases_new(&w.cases) || mg_executor_open(&w.x, &options, error);
}

static int close_world(void **state) {
    world *w = *state;
    mg_executor_close(w->x);
    mg_cases_free(&w->cases);
    return 0;
}

static void run(world *w, const char *id, mg_result *result) {
    char name[MG_ID_SIZE];
    bool lost;
    for (size_t i = 0; i < w->cases.count; i++) {
        if (!w->cases.items[i].block) continue;
        mg_case_id(&w->cases.items[i], name);
        if (strcmp(name, id)) continue;
        *result = (mg_result){.index = i};
        mg_execute(w->x, &w->cases.items[i], result, &lost);
        return;
    }
    fail_msg("no case '%s'", id);
}

/* `text` with its only `find` replaced; to be freed. */
static char *patch(const struct bug *bug, const char *text) {
    const char *at = strstr(text, bug->find);
    if (!at || strstr(at + 1, bug->find))
        fail_msg("'%s' is not found once in %s (adapt the bug to the source)", bug->find, bug->file);
    const size_t size = strlen(text) + strlen(bug->replace) + 1;
    char *out = malloc(size);
    assert_non_null(out);
    snprintf(out, size, "%.*s%s%s", (int)(at - text), text, bug->replace, at + strlen(bug->find));
    return out;
}

static bool begins(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static void every_bug_is_caught(void **state) {
    world *w = *state;
    int missed = 0;
    for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++) {
        const struct bug *bug = &bugs[i];
        gg_source_file files[256] = {{0}};
        char *patched = NULL;
        mg_result right, wrong;
        run(w, bug->id, &right);
        if (right.verdict != MG_PASSED) fail_msg("%s without a bug: %s", bug->id, right.message);
        for (size_t f = 0; gg_embedded_sources[f].name; f++) {
            assert_true(f + 1 < sizeof files / sizeof *files);
            files[f] = gg_embedded_sources[f];
            if (strcmp(files[f].name, bug->file)) continue;
            files[f].text = patched = patch(bug, files[f].text);
        }
        assert_non_null(patched);
        gg_context_use_sources(w->x->context, files, bug->root ? bug->root : bug->file);
        run(w, bug->id, &wrong);
        gg_context_use_sources(w->x->context, NULL, NULL);
        free(patched);
        const bool stops = bug->expected[0] == OR_STOPPED[0];
        if (wrong.verdict != MG_PASSED &&
            (begins(wrong.message, bug->expected + stops) || (stops && begins(wrong.message, "block: "))))
            continue;
        print_error("%s: '%s' to '%s': %s, not '%s' but: %s\n", bug->file, bug->find, bug->replace,
                    mg_verdict_name(wrong.verdict), bug->expected, wrong.message);
        missed++;
    }
    assert_int_equal(missed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_bug_is_caught)};
    return cmocka_run_group_tests(tests, open_world, close_world);
}
