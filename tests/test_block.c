/* test_block.c: the steps of MoE blocks in double are NumPy's, and a block in which one number of a step is wrong fails by
 * that step's name. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block_judge.h"
#include "find_block.h"

/* --- goldens --- */

static mg_block_step step_named(const gg_moe_problem *p, const char *name) {
    for (int step = 0; step < MG_NUM_BLOCK_STEPS; step++)
        if (!strcmp(mg_block_step_of(p, step).name, name)) return step;
    fail_msg("no step '%s'", name);
    return MG_NUM_BLOCK_STEPS;
}

static void goldens_are_numpys(void **state) {
    char line[256], key[128], dtype_name[8], name[32], digest[17], made[17], last[160] = "", now[160];
    mg_block_golden golden = {0};
    size_t compared = 0;
    FILE *file = fopen(SOURCE_DIR "/golden/moe.tsv", "r");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#') continue;
        assert_int_equal(sscanf(line, "%127s %7s %31s %16s", key, dtype_name, name, digest), 4);
        const gg_dtype dtype = strcmp(dtype_name, "bf16") ? GG_FP16 : GG_BF16;
        const gg_moe_problem p = mg_block_problem(find_block(key), MG_BLOCK_BACKWARD, 0, dtype);
        snprintf(now, sizeof now, "%s %s", key, dtype_name);
        if (strcmp(now, last)) {
            mg_block_golden_free(&golden);
            assert_int_equal(mg_block_golden_make(&golden, find_block(key), &p, 0), GG_OK);
            snprintf(last, sizeof last, "%s", now);
        }
        mg_block_golden_digest(&golden, step_named(&p, name), made);
        if (strcmp(made, digest)) fail_msg("%s %s: C has %s, NumPy %s", now, name, made, digest);
        compared++;
    }
    fclose(file);
    mg_block_golden_free(&golden);
    assert_true(compared > 400);
}

static void exponentials(void **state) {
    (void)state;
    for (double x = -699; x < 699; x += 0.37) {
        const double right = exp(x), error = fabs(mg_block_exp(x) - right);
        if (!(error <= 4 * 0x1p-53 * right))
            fail_msg("exp(%g) is %.17g, not %.17g", x, mg_block_exp(x), right);
    }
    assert_true(mg_block_exp(0) == 1);
}

/* Data of every block leave some experts out or not, but never zero logits; x spans both signs. */
static void data_are_exact(void **state) {
    size_t count;
    const mg_block *blocks = mg_blocks(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const mg_draw x = mg_block_draw(&blocks[i], MG_BLOCK_X, 0);
        const mg_draw w = mg_block_draw(&blocks[i], MG_BLOCK_GATE_UP, 0);
        const int64_t A = (1 << x.bits) - 1, B = (1 << w.bits) - 1;
        assert_true(blocks[i].problem.H * A * B < 1 << 24);
        assert_true(x.seed != w.seed);
    }
}

/* How far the activation may be from `value` where gate and up are any that are right: rows of first, values and bounds. */
static double reach_of(gg_dtype dtype, const double *first, int64_t I, int64_t k, double value) {
    double reach = 0, right[2][17];
    int count[2] = {0, 0};
    for (int half = 0; half < 2; half++) {
        const double c = first[half * I + k], bound = first[(2 + half) * I + k];
        for (int part = -8; part <= 8; part++) {
            const uint16_t bits = mg_bits_from_double(dtype, c + part * bound / 8);
            const double number = (double)mg_float_from_bits(dtype, bits);
            if (!part || fabs(number - c) <= bound) right[half][count[half]++] = number;
        }
    }
    for (int i = 0; i < count[0]; i++)
        for (int j = 0; j < count[1]; j++)
            reach = fmax(reach, fabs(right[0][i] / (1 + exp(-right[0][i])) * right[1][j] - value));
    return reach;
}

/* Where first is not kept the activation is judged from x: the same golden, a bound that holds for every first that is right,
 * no wider than twice what these make of it, and mostly as sharp as where it is kept. */
static void activations_without_first(void **state) {
    static const char *const keys[] = {"qwen3-norm_topk_prob-topk2-E8-T61-H72-I40",
                                       "llama4-topk2-E6-T45-H40-I24", "llama4-topk1-E4-T13-H272-I16"};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof keys / sizeof *keys; i++) {
        const gg_dtype dtype = i % 2 ? GG_FP16 : GG_BF16;
        const mg_block *block = find_block(keys[i / 2]);
        const gg_moe_problem kept = mg_block_problem(block, MG_BLOCK_FORWARD, 0, dtype);
        const gg_moe_problem fused = mg_block_problem(block, MG_BLOCK_INFERENCE, GG_FUSE_SILU, dtype);
        const int64_t I = kept.I;
        mg_block_golden with, without;
        int64_t wider = 0, elements = 0;
        char digest[2][17];
        double first[2 * 2 * 64], value[2][64], bound[2][64];
        assert_true(I <= 64);
        assert_int_equal(mg_block_golden_make(&with, block, &kept, 0), GG_OK);
        assert_int_equal(mg_block_golden_make(&without, block, &fused, 0), GG_OK);
        assert_int_equal(mg_block_step_of(&fused, MG_STEP_FIRST).rows, 0);
        assert_int_equal(mg_block_step_of(&fused, MG_STEP_SHARED_FIRST).rows, 0);
        static const mg_block_step steps[] = {MG_STEP_ACTIVATION, MG_STEP_SHARED_ACTIVATION, MG_STEP_SECOND};
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            mg_block_golden_digest(&with, steps[s], digest[0]);
            mg_block_golden_digest(&without, steps[s], digest[1]);
            assert_string_equal(digest[0], digest[1]);
        }
        for (int64_t row = 0; row < kept.T * kept.topk; row++) {
            mg_block_row(&with.view, MG_STEP_FIRST, row, first, first + 2 * I);
            mg_block_row(&with.view, MG_STEP_ACTIVATION, row, value[0], bound[0]);
            mg_block_row(&without.view, MG_STEP_ACTIVATION, row, value[1], bound[1]);
            for (int64_t k = 0; k < I; k++) {
                const double reach = reach_of(dtype, first, I, k, value[1][k]);
                assert_true(value[0][k] == value[1][k]);
                assert_true(kept.weights_first ? bound[1][k] >= bound[0][k] : bound[1][k] == bound[0][k]);
                wider += bound[1][k] > 1.5 * bound[0][k];
                elements++;
                if (!(reach <= bound[1][k] && bound[1][k] <= 2 * (reach + bound[0][k])))
                    fail_msg("%s [%d, %d]: bound %g, reach %g, rounding %g", keys[i / 2], (int)row, (int)k,
                             bound[1][k], reach, bound[0][k]);
            }
        }
        /* where a neighbour of first is right as well: at H 272 in fp16 one of three */
        assert_true(kept.weights_first ? wider * 2 < elements : wider == 0);
        mg_block_golden_free(&with);
        mg_block_golden_free(&without);
    }
}

/* --- the judge --- */

/* A golden as if a device had made it, with one number changed. */
typedef struct forged {
    mg_block_golden golden;
    int threads;
} forged;

static gg_status read_forged(void *data, mg_block_output output, const int64_t *rows, int64_t count,
                             uint16_t *out) {
    const forged *f = data;
    const int64_t cols = mg_block_output_shape(&f->golden.view.p, output).cols;
    assert_true(count > 0 && cols > 0);
    for (int64_t i = 0; i < count; i++)
        memcpy(out + i * cols, f->golden.outputs[output] + rows[i] * cols, (size_t)cols * sizeof *out);
    return GG_OK;
}

static void judge_forged(forged *f, mg_result *result) {
    char error[MG_ERROR_SIZE];
    const mg_block_judged judged = {.block = f->golden.view.block,
                                    .p = f->golden.view.p,
                                    .backward = true,
                                    .workspace = f->golden.workspace,
                                    .threads = f->threads,
                                    .read_output_rows = read_forged,
                                    .data = f};
    *result = (mg_result){.verdict = MG_PASSED};
    assert_int_equal(mg_block_judge(&judged, result, error), GG_OK);
}

/* A value three units on, which no rounding explains, or NaN. */
static void spoil(const mg_block_step_shape *shape, mg_block_step step, bool nan, uint8_t *at) {
    uint16_t half;
    uint32_t word;
    if (shape->element_bytes == 2) {
        memcpy(&half, at, sizeof half);
        half = nan ? 0x7fff : (uint16_t)(half + 3);
        memcpy(at, &half, sizeof half);
        return;
    }
    memcpy(&word, at, sizeof word);
    if (nan)
        word = 0x7fffffff;
    else
        word += step == MG_STEP_TOPK_IDS || step == MG_STEP_GATHER_INDICES ? 1 : 1u << 17;
    memcpy(at, &word, sizeof word);
}

static void judge_names_the_step(const char *key, gg_dtype dtype, unsigned fusions) {
    forged f = {.threads = 2};
    mg_result result;
    const gg_moe_problem p = mg_block_problem(find_block(key), MG_BLOCK_BACKWARD, fusions, dtype);
    assert_int_equal(mg_block_golden_make(&f.golden, find_block(key), &p, 0), GG_OK);
    judge_forged(&f, &result);
    if (result.verdict != MG_PASSED) fail_msg("a right block fails: %s", result.message);
    assert_true(result.difference.compared > 0);

    for (int step = 0; step < MG_NUM_BLOCK_STEPS; step++) {
        const mg_block_step_shape shape = mg_block_step_of(&p, step);
        if (!shape.rows || !shape.cols) continue;
        uint8_t *base = shape.buffer == GG_MOE_NUM_BUFFERS
                            ? (uint8_t *)f.golden.outputs[shape.output]
                            : f.golden.workspace + f.golden.view.layout.places[shape.buffer].offset;
        uint8_t *at = base + (size_t)(shape.rows * shape.cols * 2 / 3) * (size_t)shape.element_bytes, kept[4];
        char expected[64];
        snprintf(expected, sizeof expected,
                 step == MG_STEP_GATHER_INDICES ? "'%s' is wrong" : "step '%s' is wrong", shape.name);
        memcpy(kept, at, sizeof kept);
        for (int nan = 0; nan < 2; nan++) {
            spoil(&shape, step, nan, at);
            judge_forged(&f, &result);
            memcpy(at, kept, sizeof kept);
            if (result.verdict != MG_FAILED || strncmp(result.message, expected, strlen(expected)))
                fail_msg("%s: not '%s' but: %s", key, expected, result.message);
        }
    }
    mg_block_golden_free(&f.golden);
}

static void wrong_steps_are_named(void **state) {
    (void)state;
    judge_names_the_step("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40", GG_BF16, 0);
    judge_names_the_step("qwen3-topk2-E8-T61-H72-I40", GG_FP16, GG_PERMUTE_X | GG_PERMUTE_Y);
    judge_names_the_step("llama4-topk1-E4-T61-H72-I40", GG_BF16, 0);
    judge_names_the_step("llama4-topk2-E6-T45-H40-I24", GG_FP16, GG_PERMUTE_Y);
}

/* Whichever thread has the row, a wrong number in it is found, and everything is as one thread would have it. */
static void every_row_is_judged(void **state) {
    const mg_block *block = find_block("qwen3-norm_topk_prob-topk3-E5-T7-H40-I24");
    const gg_moe_problem p = mg_block_problem(block, MG_BLOCK_BACKWARD, GG_PERMUTE_Y, GG_BF16);
    static const mg_block_step steps[] = {MG_STEP_FIRST, MG_STEP_D_DOWN, MG_STEP_DX};
    forged f = {0};
    mg_result alone, together;
    (void)state;
    assert_int_equal(mg_block_golden_make(&f.golden, block, &p, 0), GG_OK);
    judge_forged(&f, &alone);
    f.threads = 5;
    judge_forged(&f, &together);
    assert_memory_equal(&alone, &together, sizeof alone);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const mg_block_step_shape shape = mg_block_step_of(&p, steps[i]);
        for (int64_t row = 0; row < shape.rows; row++) {
            uint16_t *at = shape.buffer == GG_MOE_NUM_BUFFERS
                               ? f.golden.outputs[shape.output]
                               : (uint16_t *)(void *)(f.golden.workspace +
                                                      f.golden.view.layout.places[shape.buffer].offset);
            at += row * shape.cols + row % shape.cols;
            const uint16_t kept = *at;
            *at = 0x7fff;
            f.threads = 1;
            judge_forged(&f, &alone);
            f.threads = 1 + (int)(row % 4);
            judge_forged(&f, &together);
            *at = kept;
            assert_memory_equal(&alone, &together, sizeof alone);
            assert_int_equal(together.verdict, MG_FAILED);
            assert_string_equal(together.difference.output, shape.name);
            assert_int_equal(together.difference.row, row);
            assert_int_equal(together.difference.col, row % shape.cols);
        }
    }
    mg_block_golden_free(&f.golden);
}

/* The gradient of an expert without rows is zero, and nothing else is near enough to it. */
static void zero_is_exact(void **state) {
    const mg_block *block = find_block("qwen3-norm_topk_prob-topk10-E200-T37-H40-I8");
    const gg_moe_problem p = mg_block_problem(block, MG_BLOCK_BACKWARD, 0, GG_BF16);
    const int64_t expert = (int64_t)p.H * p.I;
    forged f = {.threads = 2};
    mg_result result;
    int64_t e = 0;
    (void)state;
    assert_int_equal(mg_block_golden_make(&f.golden, block, &p, 0), GG_OK);
    while (e < p.E && f.golden.view.starts[e] < f.golden.view.starts[e + 1]) e++;
    assert_true(e < p.E);
    f.golden.outputs[MG_BLOCK_D_DOWN][e * expert] = 1; /* the smallest number there is */
    judge_forged(&f, &result);
    assert_int_equal(result.verdict, MG_FAILED);
    assert_string_equal(result.difference.output, "d_down");
    mg_block_golden_free(&f.golden);
}

/* Beside the golden many small errors show that would be too many, and the first tensor that has them is named. */
static void wholes_are_beside_their_goldens(void **state) {
    const mg_block *block = find_block("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40");
    const gg_moe_problem p = mg_block_problem(block, MG_BLOCK_BACKWARD, 0, GG_FP16);
    const mg_block_step_shape second = mg_block_step_of(&p, MG_STEP_SECOND);
    forged f = {0};
    mg_result result;
    (void)state;
    assert_int_equal(mg_block_golden_make(&f.golden, block, &p, 0), GG_OK);
    uint16_t *values =
        (uint16_t *)(void *)(f.golden.workspace + f.golden.view.layout.places[GG_MOE_SECOND].offset);
    for (int64_t i = 0; i < second.rows * second.cols; i++) values[i] = (uint16_t)(values[i] + i % 2);
    judge_forged(&f, &result);
    assert_null(strstr(result.message, "as a whole")); /* half of them by a unit is what roundings may do */
    for (int64_t i = 0; i < second.rows * second.cols; i++) values[i] = (uint16_t)(values[i] + 3);
    judge_forged(&f, &result);
    assert_int_equal(result.verdict, MG_FAILED);
    if (!strstr(result.message, "'second' as a whole is off its golden")) fail_msg("%s", result.message);
    mg_block_golden_free(&f.golden);
}

static void wrong_routing_is_named(void **state) {
    static const gg_moe_buffer buffers[] = {GG_MOE_M_SIZES, GG_MOE_POSITIONS, GG_MOE_TOKENS,
                                            GG_MOE_ALL_TOKENS};
    forged f = {0};
    mg_result result;
    const mg_block *block = find_block("qwen3-norm_topk_prob-topk2-E8-T61-H72-I40");
    const gg_moe_problem p = mg_block_problem(block, MG_BLOCK_BACKWARD, 0, GG_BF16);
    (void)state;
    assert_int_equal(mg_block_golden_make(&f.golden, block, &p, 0), GG_OK);
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        uint8_t *at = f.golden.workspace + f.golden.view.layout.places[buffers[i]].offset;
        char expected[64];
        snprintf(expected, sizeof expected, "'%s' is wrong", gg_moe_buffer_name(buffers[i]));
        (*at)++;
        judge_forged(&f, &result);
        (*at)--;
        assert_int_equal(result.verdict, MG_FAILED);
        assert_non_null(strstr(result.message, expected));
    }
    /* an expert that is none, and one chosen twice, end the judging before anything is looked up by them */
    int32_t *ids =
        (int32_t *)(void *)(f.golden.workspace + f.golden.view.layout.places[GG_MOE_TOPK_IDS].offset);
    const int32_t kept = ids[0];
    const int32_t bad[] = {-1, 8, ids[1]};
    for (size_t i = 0; i < 3; i++) {
        ids[0] = bad[i];
        judge_forged(&f, &result);
        assert_non_null(strstr(result.message, "'topk_ids' is wrong"));
    }
    ids[0] = kept;
    mg_block_golden_free(&f.golden);
}

/* --- plans --- */

static void problems_are_refused(void **state) {
    const gg_moe_problem right = {.score = GG_SOFTMAX_TOPK, .E = 8, .topk = 2, .H = 64, .I = 32, .T = 5};
    gg_moe_layout layout;
    char reason[GG_REASON_SIZE];
    (void)state;
    assert_int_equal(gg_moe_plan(&right, &layout, reason), GG_OK);
    assert_true(layout.bytes > 0);
#define REFUSED(text, ...)                                                                                   \
    do {                                                                                                     \
        gg_moe_problem p = right;                                                                            \
        __VA_ARGS__;                                                                                         \
        assert_true(gg_moe_plan(&p, &layout, reason) < 0);                                                   \
        if (!strstr(reason, text)) fail_msg("'%s' does not say '%s'", reason, text);                         \
    } while (0)
    REFUSED("E is 0", p.E = 0);
    REFUSED("E is 257", p.E = 257);
    REFUSED("topk is 9 of 8", p.topk = 9);
    REFUSED("topk is 17", p.E = 32, p.topk = 17);
    REFUSED("T * topk", p.T = 1ll << 31);
    REFUSED("T * topk", p.T = 1ll << 29); /* more rows than its GEMMs take */
    REFUSED("H is 60", p.H = 60);
    REFUSED("I is 0", p.I = 0);
    REFUSED("shared_I is 12", p.shared_I = 12);
    REFUSED("unknown dtype", p.dtype = 2);
    REFUSED("unknown score", p.score = 3);
    REFUSED("unknown fusion", p.fusions = 8);
    REFUSED("permute_x where weights come first", p.weights_first = true, p.fusions = GG_PERMUTE_X);
    REFUSED("fuse_mul_post where weights", p.weights_first = true, p.fusions = GG_FUSE_MUL_POST);
    REFUSED("fuse_mul_post in training", p.training = true, p.fusions = GG_FUSE_MUL_POST | GG_PERMUTE_Y);
    REFUSED("fuse_mul_post without permute_y", p.fusions = GG_FUSE_MUL_POST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_are_numpys),     cmocka_unit_test(exponentials),
        cmocka_unit_test(data_are_exact),         cmocka_unit_test(wrong_steps_are_named),
        cmocka_unit_test(wrong_routing_is_named), cmocka_unit_test(wholes_are_beside_their_goldens),
        cmocka_unit_test(every_row_is_judged),    cmocka_unit_test(zero_is_exact),
        cmocka_unit_test(problems_are_refused),   cmocka_unit_test(activations_without_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
