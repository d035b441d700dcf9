/* rare_mutants.c: the table of kernels that are wrong for rare sizes or routings only, or that remember what was before: one
 * replacement each in a device source. */
#include "kernel_mutants.h"

#define STORE "        store_tile(&p, &tile, acc, ring, warp_row, warp_col, lane);"
#define BEFORE_THE_STORE(statements)                                                                         \
    KERNEL("mma_sync.cu"), .find = STORE, .replace = "        " statements "\n" STORE

/* One element of a tile is wrong when `condition` holds. */
#define SPOILS_WHEN(condition)                                                                               \
    BEFORE_THE_STORE("if (threadIdx.x == 0 && (" condition ")) acc[0][0][0] = -acc[0][0][0] - 1.0f;")

/* Wrong for one kind of problem, in one op: tile.row_end - tile.row_begin are the expert's rows. */
#define RARE(name_, op, where, condition, fault_)                                                            \
    {                                                                                                        \
        .name = "rare_" name_, SPOILS_WHEN("OP == " op " && (" condition ")"), .fault = "wrong " fault_,     \
        .cases = where EXACT, .expected = WRONG, BOTH                                                        \
    }

/* `value` is stored where a chunk belongs; `old` is what stands there. */
#define STORES_INSTEAD(value)                                                                                \
    KERNEL("epilogue.h"),                                                                                    \
        .find = "            store_16(out + out_row * cols + col, v);",                                      \
        .replace = "            u16 *to = out + out_row * cols + col;\n"                                     \
                   "            u32x4 was = load_16(to);\n"                                                  \
                   "            float old = float_from_dtype((u16)was.x), now = float_from_dtype((u16)v.x);" \
                   "\n"                                                                                      \
                   "            v.x = (v.x & 0xffff0000u) | round_to_dtype(" value ");\n"                    \
                   "            store_16(to, v);\n"

static const mutant table[] = {
    /* --- sizes of an expert --- */
    RARE("one_row", "OP_FORWARD", FORWARD " and (edge or T7-)", "tile.row_end - tile.row_begin == 1",
         "when an expert has exactly one row"),
    RARE("whole_tiles", "OP_FORWARD", FORWARD " and edge",
         "tile.row_end > tile.row_begin && (tile.row_end - tile.row_begin) % ROWS == 0",
         "when an expert's rows are a multiple of the tile"),
    RARE("widest_tile", "OP_DX", DX " and wide",
         "tile.row_end - tile.row_begin == 256 && tile.row == tile.row_begin",
         "when an expert has exactly 256 rows"),
    RARE("after_two_empty", "OP_DX", DX " and (emptymid or wide)",
         "tile.expert > 1 && !p.m_sizes[tile.expert - 1] && !p.m_sizes[tile.expert - 2]",
         "after two empty experts"),
    RARE("first_empty", "OP_FORWARD", FORWARD " and (emptyfirst or one)", "!p.m_sizes[0]",
         "when the first expert is empty"),
    RARE("all_equal", "OP_DW", DW " and (topk12 or sorted or reversed)",
         "p.E > 2 && p.m_sizes[0] * p.E == p.M", "when all experts have as many rows"),
    RARE("last_of_odd_experts", "OP_DW", DW " and (E5- or E7- or E11-)", "p.E % 2 && tile.expert == p.E - 1",
         "for the last expert of an odd number"),
    RARE("few_steps", "OP_FORWARD", FORWARD " and (s8 or s4)", "steps < NUM_STAGES - 1",
         "when a tile has fewer steps than the ring has stages"),
    RARE("steps_fill_the_ring", "OP_DW", DW, "steps == NUM_STAGES", "when the steps just fill the ring"),
    RARE("one_step", "OP_DX", DX " and I4-", "steps == 1 && p.N < 16", "when N is 8"),
    RARE("step_of_one_row", "OP_DW", DW " and (edge or T7-)", "(tile.row_end - tile.row_begin) % STEP == 1",
         "when the last step of dW has one row"),
    RARE("many_rows_of_dw", "OP_DW", DW " and (T4100 or T1024)", "tile.row_end - tile.row_begin > 1000",
         "when an expert of dW has more than 1000 rows"),

    /* --- sizes of a problem --- */
    RARE("eight_more_than_sixteens", "OP_FORWARD", FORWARD " and W1 and (I36 or I20 or I12)",
         "p.N % 16 == 8 && tile.col + COLS >= p.N",
         "in the last columns when N is 8 more than a multiple of 16"),
    RARE("reduction_of_odd_eights", "OP_DX", DX " and (H72 or H40) and W2", "p.N % 16 == 8",
         "in dX when N is 8 more than a multiple of 16"),
    RARE("narrow", "OP_DW", DW " and (H8- or I8-)", "p.K < 16", "when K is 8"),
    RARE("long_k", "OP_FORWARD", FORWARD " and H2056 and W1", "p.K > 2048", "when K is above 2048"),
    RARE("long_n", "OP_DX", DX " and H2056 and W2", "p.N > 2048", "in dX when N is above 2048"),
    RARE("many_choices", "OP_FORWARD", FORWARD " and (topk10 or topk12)", "row_of(&p, GATHER_TOKEN, 8) == 0",
         "when topk is above 8"),
    RARE("every_expert", "OP_FORWARD", FORWARD " and topk12",
         "row_of(&p, GATHER_TOKEN, p.E) == 1 && row_of(&p, GATHER_TOKEN, p.E - 1) == 0",
         "when every token goes to every expert"),
    RARE("few_tokens", "OP_DW", DW " and (T7- or T1-)", "p.M < 8 && tile.row_end > tile.row_begin",
         "when there are fewer than 8 rows in all"),
    RARE("second_band", "OP_FORWARD", FORWARD " and H2056 and W2", "tile.col >= BAND * COLS",
         "beyond the first band of columns"),
    {.name = "last_band_as_wide",
     KERNEL("scheduler.h"),
     .find = "u32 width = columns - band * BAND < BAND ? columns - band * BAND : BAND;",
     .replace = "u32 width = columns < BAND ? columns : BAND;",
     .fault = "the last band of columns is taken to be as wide as the others",
     .cases = FORWARD " and (H520 or T4096) and W2",
     .expected = WRONG | CHECK(BY_UNWRITTEN) | CRASH,
     .work = 20e6,
     BOTH},
    {.name = "row_of_tiles_not_corrected",
     KERNEL("scheduler.h"),
     .find = "        row_tile += in_band - row_tile * width >= width;\n",
     .replace = "",
     .fault = "a quotient by the reciprocal of a band's width is one too small where there is no remainder",
     .cases = DX EXACT " and not E1- and not T0",
     .expected = WRONG | CHECK(BY_UNWRITTEN) | CHECK(BY_GUARD) | CRASH,
     BOTH},
    {.name = "width_of_whole_bands",
     KERNEL("scheduler.h"),
     .find = "if (width < BAND) {",
     .replace = "if (width < BAND && band > 0) {",
     .fault = "an only band is taken to be as wide as a whole one",
     .cases = DW EXACT " and not T0",
     .expected = WRONG | CHECK(BY_UNWRITTEN) | CHECK(BY_GUARD) | CRASH,
     BOTH},
    {.name = "expert_in_8_bits",
     KERNEL("loads.h"),
     .find = "p->b + (i64)tile->expert * p->N * p->K;",
     .replace = "p->b + (i64)(u8)tile->expert * p->N * p->K;",
     .fault = "experts from 256 on read the weights of others",
     .cases = FORWARD EXACT " and E512 and not use_tma_load_w",
     .expected = WRONG,
     BOTH},
    {.name = "expert_of_a_map_in_8_bits",
     KERNEL("loads.h"),
     .find = "OP != OP_DW, tile->expert, barrier);",
     .replace = "OP != OP_DW, tile->expert & 255, barrier);",
     .fault = "experts from 256 on read the weights of others by TMA",
     .cases = DX EXACT " and E512 and use_tma_load_w",
     .expected = WRONG,
     BOTH},
    {.name = "size_in_16_bits",
     KERNEL("scheduler.h"),
     .find = "expert < p->E ? p->m_sizes[expert] : 0;",
     .replace = "expert < p->E ? (u16)p->m_sizes[expert] : 0;",
     .fault = "an expert's rows counted in 16 bits",
     .cases = FORWARD EXACT " and T65600",
     .expected = WRONG | CHECK(BY_UNWRITTEN),
     BOTH},
    {.name = "slot_in_16_bits",
     KERNEL("tile.h"),
     .find = "i32 slot = p->gather_indices[i];",
     .replace = "i32 slot = (u16)p->gather_indices[i];",
     .fault = "slots numbered in 16 bits",
     .cases = FORWARD EXACT " and T65600 and (permute_x or permute_y)",
     .expected = WRONG | CHECK(BY_UNWRITTEN),
     BOTH},
    {.name = "row_in_12_bits",
     KERNEL("loads.h"),
     .find = "if (inside) src += gathered_row(p, gather, row + r) * ld",
     .replace = "if (inside) src += gathered_row(p, gather, (row + r) & 4095) * ld",
     .fault = "row 4096 is row 0",
     .cases = FORWARD EXACT " and T4100",
     .expected = WRONG,
     BOTH},
    {.name = "row_in_signed_16_bits",
     KERNEL("loads.h"),
     .find = "if (inside) src += gathered_row(p, gather, row + r) * ld",
     .replace = "if (inside) src += (short)gathered_row(p, gather, row + r) * (i64)ld",
     .fault = "rows numbered in 15 bits",
     .cases = DX EXACT " and T65600",
     .expected = WRONG | CRASH,
     BOTH},

    /* --- routings --- */
    RARE("identity", "OP_FORWARD", FORWARD " and permute_x and (sorted or one)",
         "p.M > 1 && p.gather_indices[0] == 0 && p.gather_indices[p.M / 2] == p.M / 2 && "
         "p.gather_indices[p.M - 1] == p.M - 1",
         "when gathering changes nothing"),
    RARE("reversed", "OP_FORWARD", FORWARD " and permute_y and reversed",
         "p.gather_indices[0] > p.gather_indices[p.M - 1] && p.M > 8", "when the last slots come first"),
    RARE("token_twice", "OP_DW", DW " and permute_x and (one or edge) and topk2",
         "gathered_row(&p, GATHER_TOKEN, tile.row_begin) == gathered_row(&p, GATHER_TOKEN, tile.row_begin + "
         "1)",
         "when a token goes to an expert twice"),
    {.name = "trailing_empty_experts",
     KERNEL("scheduler.h"),
     .find = "    int owner = lowest_bit(there);",
     .replace =
         "    int owner = lowest_bit(there);\n"
         "    if (walk->row_begin + shuffle(walk->rows_end - (u32)walk->rows, owner) >= p->M) return 0;",
     .fault = "dW of empty experts behind the last row is not written",
     .cases = DW EXACT " and emptylast",
     .expected = CHECK(BY_UNWRITTEN),
     BOTH},
    {.name = "empty_expert_has_a_row",
     KERNEL("scheduler.h"),
     .find = "expert < p->E ? p->m_sizes[expert] : 0;",
     .replace = "expert < p->E && p->m_sizes[expert] ? p->m_sizes[expert] : expert == 0;",
     .fault = "an empty first expert gets a row",
     .cases = FORWARD EXACT " and emptyfirst",
     .expected = WRONG | CHECK(BY_GUARD) | CRASH,
     BOTH},

    /* --- tiles and rings --- */
    {.name = "short_row_unmasked",
     KERNEL("loads.h"),
     .find = " && col + chunk * 8 < col_limit;",
     .replace = " && (col == 0 || col + chunk * 8 < col_limit);",
     .fault = "a row shorter than the step goes on into the next one",
     .cases = FORWARD EXACT " and (H40 or H24 or H8-)" EMPTY_PROBLEMS,
     .expected = WRONG | CRASH,
     BOTH},
    {.name = "fourth_panel",
     KERNEL("tile.h"),
     .find = "panel * rows * chunks * 16",
     .replace = "(panel == 3 ? 1 : panel) * rows * chunks * 16",
     .fault = "the fourth panel of a tile lies on the second",
     .cases = FORWARD EXACT " and bn256",
     .expected = WRONG,
     BOTH},
    {.name = "parity_of_three_stages",
     KERNEL("loads.h"),
     .find = "        at->parity ^= 1;",
     .replace = "        at->parity ^= NUM_STAGES != 3;",
     .fault = "a ring of three stages is not waited for the second time",
     .cases = FORWARD EXACT " and use_tma_load_w and s3",
     .expected = WRONG | CRASH | ANY_REPEAT,
     BOTH},
    {.name = "stale_shared_memory",
     KERNEL("loads.h"),
     .find = "cp_async_16(dst + tile_offset(tile_rows, tile_cols, r, chunk), src, inside ? 16 : 0);",
     .replace = "if (inside) cp_async_16(dst + tile_offset(tile_rows, tile_cols, r, chunk), src, 16);",
     .fault = "past the end a tile keeps what shared memory held",
     .cases = DW EXACT " and not use_tma" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},

    /* --- rounding --- */
    {.name = "ties_away_from_zero",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("DTYPE == 0 && (bits_from_float(x) & 0xffff) == 0x8000 ? "
                           "float_from_bits(bits_from_float(x) + 0x8000) : x"),
     .fault = "ties rounded away from zero, bf16",
     .cases = FORWARD EXACT " and bf16",
     .expected = WRONG,
     BOTH},
    {.name = "weight_truncated",
     KERNEL("output.h"),
     .find = "float_from_dtype(round_to_dtype(p->topk_weights[slot]))",
     .replace =
         "float_from_bits(bits_from_float(p->topk_weights[slot]) & (DTYPE == 0 ? 0xffff0000u : 0xffffe000u))",
     .fault = "routing weight cut instead of rounded",
     .cases = FORWARD EXACT " and fuse_mul_post",
     .expected = WRONG,
     BOTH},
    {.name = "inf_becomes_nan",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("add_f32(x, mul_f32(x, 0.0f))"),
     .fault = "Inf is stored as NaN",
     .cases = FORWARD " and hostile" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "sign_of_inf",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_RESULT("if ((y & 0x7fff) == (DTYPE == 0 ? 0x7f80 : 0x7c00)) y &= 0x7fff;"),
     .fault = "-Inf is stored as Inf",
     .cases = DX " and hostile" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},
    {.name = "large_sum_clamped",
     KERNEL("output.h"),
     .find = "return round_pair(low, high);",
     .replace = EACH_VALUE("x > 1e30f ? 1e30f : x"),
     .fault = "sums above 1e30 are clamped",
     .cases = FORWARD " and hostile and bf16" EMPTY_PROBLEMS,
     .expected = WRONG,
     BOTH},

    /* --- what stood there before --- */
    {.name = "output_maximum",
     STORES_INSTEAD("old > now ? old : now"),
     .fault = "the larger of the old and the new value is stored: NaN does not show it",
     .cases = FORWARD EXACT " and not use_tma_store and W1" EMPTY_PROBLEMS,
     .expected = CHECK(BY_SMS),
     BOTH},
    {.name = "output_minimum",
     STORES_INSTEAD("old < now ? old : now"),
     .fault = "the smaller of the old and the new value is stored",
     .cases = DX EXACT " and not use_tma_store and W2" EMPTY_PROBLEMS,
     .expected = CHECK(BY_SMS),
     BOTH},
    {.name = "output_added",
     STORES_INSTEAD("old == old ? old + now : now"),
     .fault = "added to what stands there, unless that is NaN",
     .cases = DW EXACT " and not use_tma_store",
     .expected = CHECK(BY_SMS),
     BOTH},
    {.name = "written_once",
     STORES_INSTEAD("old == old ? old : now"),
     .fault = "written only where NaN stands",
     .cases = FORWARD EXACT " and not use_tma_store" EMPTY_PROBLEMS,
     .expected = CHECK(BY_SMS),
     BOTH},
    {.name = "output_times_zero",
     STORES_INSTEAD("add_f32(now, mul_f32(0.0f, old))"),
     .fault = "beta = 0 times what stands there is added",
     .cases = FORWARD EXACT " and not use_tma_store" EMPTY_PROBLEMS,
     .expected = WRONG | CHECK(BY_UNWRITTEN),
     BOTH},
    {.name = "scratch_accumulates",
     BEFORE_THE_STORE("static float scratch; /* zero in the first launch */\n"
                      "        acc[0][0][1] += scratch;\n"
                      "        block_sync();\n"
                      "        if (blockIdx.x == 0 && threadIdx.x == 0 && number >= gridDim.x) scratch += "
                      "64.0f;"),
     .fault = "scratch memory is right in the first launch alone",
     .cases = FORWARD EXACT " and T1024",
     .expected = WRONG | ANY_REPEAT,
     BOTH},
    {.name = "remembers_a_weight",
     BEFORE_THE_STORE(
         "static const u16 *whose;\n"
         "        static u32 kept;\n"
         "        if (whose != p.b) {\n"
         "            kept = p.b[0];\n"
         "            whose = p.b;\n"
         "        }\n"
         "        if (OP == OP_FORWARD && tile.expert == 0 && tile.col == 0 && threadIdx.x == 0 && "
         "tile.row_end > tile.row_begin)\n"
         "            acc[0][0][0] += float_from_dtype(p.a[gathered_row(&p, A_GATHER, tile.row) * "
         "p.K]) * (float_from_dtype((u16)kept) - float_from_dtype(p.b[0]));"),
     .fault = "a weight is remembered by its address",
     .cases = FORWARD EXACT " and W1" EMPTY_PROBLEMS,
     .expected = CHECK(BY_NEGATE),
     BOTH},
    {.name = "remembers_a_result",
     BEFORE_THE_STORE("static const u16 *whose;\n"
                      "        static float kept;\n"
                      "        if (threadIdx.x == 0 && tile.col == 0 && number == 0) {\n"
                      "            if (whose == p.a && gridDim.x > 2) acc[0][0][0] = kept;\n"
                      "            kept = acc[0][0][0];\n"
                      "            whose = p.a;\n"
                      "        }"),
     .fault = "a result is remembered by its operand's address",
     .cases = DX EXACT EMPTY_PROBLEMS,
     .expected = CHECK(BY_NEGATE) | WRONG,
     BOTH},
    {.name = "remembers_sizes",
     KERNEL("scheduler.h"),
     .find = "    i32 rows = expert < p->E ? p->m_sizes[expert] : 0;",
     .replace =
         "    static const i32 *whose;\n    static i32 kept;\n"
         "    i32 rows = expert < p->E ? p->m_sizes[expert] : 0;\n"
         "    if (expert == 0 && whose != p->m_sizes) {\n        kept = rows;\n        whose = p->m_sizes;\n"
         "    }\n"
         "    if (expert == 0) rows = kept;",
     .fault = "the first expert's size is remembered by its address",
     .cases = FORWARD EXACT " and bf16 and topk2-E8" EMPTY_PROBLEMS,
     .expected = CHECK(BY_BATCH) | WRONG | CHECK(BY_UNWRITTEN) | CHECK(BY_GUARD) | CRASH,
     .perturb = 1u << MG_PERTURB_BATCH,
     BOTH},
    {.name = "needs_aligned_output",
     SPOILS_WHEN("(u64)p.out & 31"),
     .fault = "wrong where the output does not begin at a multiple of 32 bytes",
     .cases = DX EXACT,
     .expected = WRONG | ANY_REPEAT,
     BOTH},
    {.name = "needs_aligned_inputs",
     SPOILS_WHEN("(u64)p.a & 255"),
     .fault = "wrong where x or dy does not begin at a multiple of 256 bytes",
     .cases = FORWARD EXACT,
     .expected = WRONG,
     BOTH},
    {.name = "needs_aligned_sizes",
     SPOILS_WHEN("(u64)p.m_sizes & 31"),
     .fault = "wrong where m_sizes does not begin at a multiple of 32 bytes",
     .cases = DW EXACT,
     .expected = WRONG,
     BOTH},

    /* --- the reduction over topk --- */
    {.name = "topk_sum_of_eight",
     KERNEL("reduce_topk.cu"),
     .find = "j < p.topk;",
     .replace = "j < (p.topk > 8 ? 8 : p.topk);",
     .fault = "dX of a token is the sum of its first eight slots",
     .cases = "autograd and permute_x and exact and mma_sync and (topk10 or topk12)",
     .expected = WRONG,
     BOTH},
    {.name = "topk_first_wave",
     KERNEL("reduce_topk.cu"),
     .find = "i += gridDim.x * 256ll) {",
     .replace = "i += (i64)1 << 40) {",
     .fault = "dX of the tokens beyond one wave of blocks is not written",
     .cases = "autograd and permute_x and exact and mma_sync and H328",
     .expected = CHECK(BY_UNWRITTEN) | ANY_REPEAT,
     .work = 40e6,
     BOTH},
    {.name = "topk_small_slots_dropped",
     KERNEL("reduce_topk.cu"),
     .find = "sum[1] = add_f32(sum[1], float_from_dtype((u16)(pair >> 16)));",
     .replace = "float v = float_from_dtype((u16)(pair >> 16));\n"
                "    if (!(v < 0.5f && v > -0.5f)) sum[1] = add_f32(sum[1], v);",
     .fault = "values below one half do not count in dX of a token",
     .cases = "autograd and permute_x and (exact or real) and mma_sync and not topk1-",
     .expected = WRONG | WRONG_REAL,
     BOTH},
};

mutant_table rare_mutants(void) { return (mutant_table){table, sizeof table / sizeof *table}; }
