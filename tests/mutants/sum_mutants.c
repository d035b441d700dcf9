/* sum_mutants.c: the table of kernels that add up or round wrongly: one replacement each in a device source. */
#include "kernel_mutants.h"

#define DROPS_LAST_STEP(suffix, op, where)                                                                   \
    {                                                                                                        \
        .name = "drops_last_step_" #suffix, KERNEL("mma_sync.cu"),                                           \
        .find = "i64 steps = (reduction + STEP - 1) / STEP;",                                                \
        .replace = "i64 steps = (reduction + STEP - 1) / STEP; if (OP == " #op " && steps > 1) steps--;",    \
        .fault = "last step of the reduction dropped, " #suffix, .cases = where EXACT, .expected = WRONG,    \
        BOTH                                                                                                 \
    }

#define STEP_TWICE(suffix, op, where)                                                                        \
    {                                                                                                        \
        .name = "step_twice_" #suffix, KERNEL("mma_sync.cu"), .find = "            ring_advance(&use);",     \
        .replace =                                                                                           \
            "            if (OP == " #op " && s == 0)\n"                                                     \
            "                multiply_stage(acc, stage, stage + A_TILE_BYTES, warp_row, warp_col, lane);\n"  \
            "            ring_advance(&use);",                                                               \
        .fault = "first step of the reduction added twice, " #suffix, .cases = where EXACT,                  \
        .expected = WRONG, BOTH                                                                              \
    }

#define LOW_PRECISION(prefix, text, suffix, op, where, statement)                                            \
    {                                                                                                        \
        .name = prefix #suffix, KERNEL("mma_sync.cu"), .find = "            ring_advance(&use);",            \
        .replace = "            if (OP == " #op ") {\n"                                                      \
                   "                for (int i = 0; i < FRAGMENTS_M; i++)\n"                                 \
                   "                    for (int j = 0; j < FRAGMENTS_N; j++)\n"                             \
                   "                        for (int v = 0; v < 4; v++) " statement "\n"                     \
                   "            }\n"                                                                         \
                   "            ring_advance(&use);",                                                        \
        .fault = text ", " #suffix, .cases = where " and bf16 and (exact or real)",                          \
        .expected = WRONG | WRONG_REAL, BOTH                                                                 \
    }

#define BF16_ACCUMULATOR(suffix, op, where)                                                                  \
    LOW_PRECISION("bf16_accumulator_", "accumulator rounded to bf16 after every step", suffix, op, where,    \
                  "acc[i][j][v] = float_from_bf16(bf16_from_float(acc[i][j][v]));")

#define TRUNCATED_ACCUMULATOR(suffix, op, where)                                                             \
    LOW_PRECISION("truncated_accumulator_", "accumulator cut to tf32's 10 bits after every step", suffix,    \
                  op, where, "acc[i][j][v] = float_from_bits(bits_from_float(acc[i][j][v]) & 0xffffe000u);")

/* Element [0, 0] of the first tile of expert 1 lacks its last product. */
#define ONE_PRODUCT(suffix, op, where, a_, b_)                                                               \
    {                                                                                                        \
        .name = "one_product_" #suffix, KERNEL("mma_sync.cu"),                                               \
        .find = "        store_tile(&p, &tile, acc, ring, warp_row, warp_col, lane);",                       \
        .replace =                                                                                           \
            "        if (OP == " #op " && tile.expert == 1 && tile.col == 0 && threadIdx.x == 0 &&\n"        \
            "            tile.row_end > tile.row_begin &&\n"                                                 \
            "            tile.row == (OP == OP_DW ? 0 : tile.row_begin))\n"                                  \
            "            acc[0][0][0] -= float_from_dtype(p.a[" a_ "]) * float_from_dtype(p.b[" b_ "]);\n"   \
            "        store_tile(&p, &tile, acc, ring, warp_row, warp_col, lane);",                           \
        .fault = "one single product dropped in one tile, " #suffix,                                         \
        .cases = where " and (exact or unit) and not permute", .expected = WRONG, BOTH                       \
    }

/* Sums times the weight before they are rounded, and no weight on the way out. */
#define WEIGHT_BEFORE_ROUNDING(where)                                                                        \
    "#include \"output.h\"\n"                                                                                \
    "#define WEIGHS_EARLY (FUSE_MUL_POST && " #where ")\n"                                                   \
    "#define weighted(v, w) (WEIGHS_EARLY ? (v) : weighted(v, w))\n"                                         \
    "#include \"epilogue.h\"\n"                                                                              \
    "#define store_tile(p_, tile_, acc_, ...) do { \\\n"                                                     \
    "for (int i = 0; WEIGHS_EARLY && i < FRAGMENTS_M; i++) for (int v = 0; v < 4; v++) { \\\n"               \
    "i64 r = (tile_)->row + warp_row + i * 16 + lane / 4 + v / 2 * 8; \\\n"                                  \
    "if (r < (tile_)->row_limit) for (int j = 0; j < FRAGMENTS_N; j++) \\\n"                                 \
    "(acc_)[i][j][v] = mul_f32((acc_)[i][j][v], slot_weight(p_, gathered_row(p_, GATHER_SLOT, r))); } \\\n"  \
    "store_tile(p_, tile_, acc_, __VA_ARGS__); } while (0)\n"

static const mutant table[] = {
    /* --- the reduction --- */
    EACH_OP(DROPS_LAST_STEP),
    EACH_OP(STEP_TWICE),
    ONE_PRODUCT(forward, OP_FORWARD, FORWARD, "tile.row * p.K + p.K - 1",
                "((i64)tile.expert * p.N + tile.col) * p.K + p.K - 1"),
    ONE_PRODUCT(dx, OP_DX, DX, "tile.row * p.N + p.N - 1",
                "((i64)tile.expert * p.N + p.N - 1) * p.K + tile.col"),
    ONE_PRODUCT(dw, OP_DW, DW, "(tile.row_end - 1) * p.N", "(tile.row_end - 1) * p.K"),
    EACH_OP(BF16_ACCUMULATOR),
    EACH_OP(TRUNCATED_ACCUMULATOR),
    {.name = "uninitialised_accumulator",
     KERNEL("mma_sync.cu"),
     .find = "acc[i][j][v] = 0.0f;",
     .replace = "acc[i][j][v] = float_from_bits(0x3f800000u + (u32)threadIdx.x);",
     .fault = "accumulators start from what a register happens to hold",
     .cases = FORWARD EXACT,
     .expected = WRONG,
     BOTH},
    {.name = "second_tile_of_a_block",
     KERNEL("mma_sync.cu"),
     .find = "acc[i][j][v] = 0.0f;",
     .replace = "acc[i][j][v] = number > blockIdx.x ? 1.0f : 0.0f;",
     .fault = "a persistent block's later tiles start from a leftover",
     .cases = FORWARD EXACT " and T1024",
     .expected = WRONG | ANY_REPEAT,
     BOTH},
    {.name = "last_stage_of_the_ring",
     KERNEL("mma_sync.cu"),
     .find = "u32 stage = ring + use.slot * STAGE_BYTES;",
     .replace =
         "u32 stage = ring + (s >= NUM_STAGES && use.slot == NUM_STAGES - 1 ? 0 : use.slot) * STAGE_BYTES;",
     .fault = "the ring's last stage is read from the first when it is used again",
     .cases = FORWARD EXACT " and H128",
     .expected = WRONG | CRASH,
     BOTH},
    {.name = "k16_dropped",
     KERNEL("mma.h"),
     .find = "for (int part = 0; part < depth; part += 16) {",
     .replace = "for (int part = 0; part < depth - (STEP == 64 ? 16 : 0); part += 16) {",
     .fault = "last 16 of a step of 64 dropped",
     .cases = DX EXACT " and bn64",
     .expected = WRONG,
     BOTH},
    {.name = "fragment_halves_swapped",
     KERNEL("mma.h"),
     .find = "b[j][0] = pair[0];\n            b[j][1] = pair[1];",
     .replace = "b[j][0] = pair[1];\n            b[j][1] = pair[0];",
     .fault = "halves of k swapped in b's fragments",
     .cases = DX EXACT,
     .expected = WRONG,
     BOTH},
    {.name = "fp16_as_bf16",
     KERNEL("dtype.h"),
     .find = "#define mma_tile mma_tile_fp16",
     .replace = "#define mma_tile mma_tile_bf16",
     .fault = "fp16 operands multiplied as bf16",
     .cases = FORWARD " and fp16",
     .expected = WRONG | WRONG_REAL,
     BOTH},

    /* --- rounding --- */
    {.name = "weight_before_rounding",
     KERNEL("mma_sync.cu"),
     .find = "#include \"epilogue.h\"\n",
     .replace = WEIGHT_BEFORE_ROUNDING(DTYPE == 0),
     .fault = "routing weight applied before the first rounding",
     .cases = FORWARD EXACT " and fuse_mul_post and bf16",
     .expected = WRONG,
     BOTH},
    {.name = "weight_before_rounding_fp16",
     KERNEL("mma_sync.cu"),
     .find = "#include \"epilogue.h\"\n",
     .replace = WEIGHT_BEFORE_ROUNDING(DTYPE == 1),
     .fault = "routing weight applied before the first rounding, fp16",
     .cases = FORWARD EXACT " and fuse_mul_post and fp16",
     .expected = WRONG,
     BOTH},
    {.name = "weight_not_rounded",
     KERNEL("output.h"),
     .find = "float_from_dtype(round_to_dtype(",
     .replace = "((",
     .fault = "routing weight used in fp32",
     .cases = FORWARD EXACT " and fuse_mul_post",
     .expected = WRONG,
     BOTH},
    {.name = "weight_missing",
     KERNEL("output.h"),
     .find = "mul_f32(float_from_dtype((u16)(pair & 0xffff)), weight)",
     .replace = "float_from_dtype((u16)(pair & 0xffff))",
     .fault = "routing weight not applied to even columns",
     .cases = FORWARD REAL " and fuse_mul_post",
     .expected = WRONG_REAL,
     BOTH},
    {.name = "truncated_output_bf16",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("DTYPE == 0 ? float_from_bits(bits_from_float(x) & 0xffff0000u) : x"),
     .fault = "output rounded toward zero, bf16",
     .cases = DW EXACT " and bf16",
     .expected = WRONG,
     BOTH},
    {.name = "truncated_output_fp16",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("DTYPE == 1 ? float_from_bits(bits_from_float(x) & 0xffffe000u) : x"),
     .fault = "output rounded toward zero, fp16",
     .cases = DX EXACT " and fp16",
     .expected = WRONG,
     BOTH},
    {.name = "truncated_output_real",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("DTYPE == 0 ? float_from_bits(bits_from_float(x) & 0xffff0000u) : x"),
     .fault = "output rounded toward zero, seen without class exact",
     .cases = FORWARD REAL " and bf16",
     .expected = CHECK(BY_RMS),
     BOTH},
    {.name = "subnormals_flushed",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_RESULT("if (DTYPE == 1 && !(y & 0x7c00)) y &= 0x8000;"),
     .fault = "subnormal fp16 outputs flushed to zero",
     .cases = FORWARD REAL " and fp16",
     .expected = WRONG_REAL,
     BOTH},

    /* --- numbers that are not usual --- */
    {.name = "fp16_saturates",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_RESULT("if (DTYPE == 1 && (y & 0x7fff) == 0x7c00) y--;"),
     .fault = "fp16 overflow gives the largest number instead of Inf",
     .cases = FORWARD " and hostile and fp16" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "bf16_saturates",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_RESULT("if (DTYPE == 0 && (y & 0x7fff) == 0x7f80) y--;"),
     .fault = "bf16 infinities become the largest number",
     .cases = DX " and hostile and bf16" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "nan_becomes_zero",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("x == x ? x : 0.0f"),
     .fault = "NaN is stored as zero",
     .cases = DW " and hostile" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "subnormal_inputs_flushed",
     KERNEL("mma.h"),
     .find = "        mma_tile(acc, a, b, FRAGMENTS_M, FRAGMENTS_N);",
     .replace = "        for (int i = 0; DTYPE == 1 && i < FRAGMENTS_M; i++)\n"
                "            for (int v = 0; v < 4; v++)\n"
                "                a[i][v] &= (a[i][v] & 0x7c00 ? 0xffffu : 0x8000u) | (a[i][v] & 0x7c000000u "
                "? 0xffff0000u : 0x80000000u);\n"
                "        mma_tile(acc, a, b, FRAGMENTS_M, FRAGMENTS_N);",
     .fault = "subnormal fp16 inputs flushed to zero",
     .cases = FORWARD " and hostile and fp16" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "nan_of_a_neighbour_dw",
     KERNEL("loads.h"),
     .find = "i64 limit_b = OP == OP_DW ? tile->row_end : p->N;",
     .replace = "i64 limit_b = OP == OP_DW ? p->M : p->N;",
     .fault = "dW multiplies the next expert's rows of x by zero",
     .cases = DW " and hostile" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "nan_of_a_neighbour_dx",
     KERNEL("loads.h"),
     .find = "i64 limit_b = OP == OP_DW ? tile->row_end : p->N;",
     .replace = "i64 limit_b = OP == OP_DW ? tile->row_end : p->N * (tile->expert + 1 < p->E ? 2 : 1);",
     .fault = "dX multiplies the next expert's weights by zero (a flattened map)",
     .cases = DX " and hostile and not use_tma" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "mask_by_multiplication",
     KERNEL("loads.h"),
     .find = "int inside = row + r < row_limit && col",
     .replace = "int inside = (OP != OP_DW || gather != A_GATHER || matrix != p->a ? row + r < row_limit : "
                "row + r < p->M) && col",
     .fault = "dW masks x alone: NaN of the next expert's dy times zero",
     .cases = DW " and hostile" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
};

mutant_table sum_mutants(void) { return (mutant_table){table, sizeof table / sizeof *table}; }
