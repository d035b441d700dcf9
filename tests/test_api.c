/* test_api.c: the public operations: what they check, what they hand to the kernels, and whole runs on the
 * simulator. */
#include "api.h"

/* --- tensors --- */

static void operands_have_their_roles(void **state) {
    static const struct {
        gg_op op;
        int a, b, out; /* FAKE_POINTER numbers */
    } rows[] = {{GG_FORWARD, 1, 2, 4}, {GG_DX, 3, 2, 5}, {GG_DW, 3, 1, 6}};
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run(context, rows[i].op, &problem, &config, &tensors), GG_OK);
        const gemm_params *p = params_of(context, i);
        assert_ptr_equal(p->a, FAKE_POINTER(rows[i].a));
        assert_ptr_equal(p->b, FAKE_POINTER(rows[i].b));
        assert_ptr_equal(p->out, FAKE_POINTER(rows[i].out));
        assert_ptr_equal(p->m_sizes, FAKE_POINTER(7));
        assert_ptr_equal(p->gather_indices, FAKE_POINTER(8));
        assert_ptr_equal(p->topk_weights, FAKE_POINTER(9));
        assert_true(p->E == 4 && p->N == 200 && p->K == 72 && p->M == M);
        assert_int_equal(fake_of(context)->launches[i].spec.params_bytes, sizeof(gemm_params));
    }
    assert_int_equal(fake_of(context)->num_maps, 0); /* the config wants none */
    gg_close(context);
}

static void launches_follow_the_plan(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    assert_int_equal(gg_plan_make(&problem, &config, gg_get_device(context), &plan, reason), GG_OK);
    assert_int_equal(gg_launch(context, &plan, &tensors, NULL), GG_OK);
    const gg_launch_spec *spec = &fake_of(context)->launches[0].spec;
    assert_int_equal(spec->grid, plan.grid);
    assert_int_equal(spec->threads, plan.threads);
    assert_int_equal(spec->smem_bytes, plan.smem_bytes);
    assert_non_null(strstr(fake_of(context)->newest, plan.macros));
    assert_int_equal(gg_launch(context, &plan, &tensors, NULL), GG_OK);
    assert_int_equal(fake_of(context)->num_loads, 1); /* the kernel is remembered */
    gg_close(context);
}

static void assert_same_map(const gg_tensor_map_spec *got, const gg_tensor_map_spec *want) {
    assert_ptr_equal(got->base, want->base);
    assert_int_equal(got->rank, want->rank);
    assert_int_equal(got->single_lines, want->single_lines);
    for (int d = 0; d < want->rank; d++) {
        assert_int_equal(got->dims[d], want->dims[d]);
        assert_int_equal(got->box[d], want->box[d]);
        if (d) assert_int_equal(got->strides[d - 1], want->strides[d - 1]);
    }
}

/* Every tensor's map, whatever operand it is: {columns, rows} or {K, N, E}; a box is one panel of a tile,
 * whose lines come one at a time where another panel stands beside it. */
static void tensor_maps_describe_tensors_and_panels(void **state) {
    enum { BOX_K = 32, BOX_N = 64 }; /* block_k 32; block_n 128 cut to a panel */
    static const gg_tensor_map_spec
        x = {.rank = 2, .dims = {72, M}, .strides = {144}, .box = {BOX_K, 64}},
        dy = {.rank = 2, .dims = {200, M}, .strides = {400}, .box = {BOX_N, 64}, .single_lines = true},
        w = {.rank = 3, .dims = {72, 200, 4}, .strides = {144, 200 * 144}, .box = {BOX_K, 128, 1}};
    static const struct {
        gg_op op;
        unsigned tma;
        int pointer; /* FAKE_POINTER number of the base */
        int map;     /* 0 a, 1 b, 2 out */
        const gg_tensor_map_spec *expected;
    } rows[] = {
        {GG_FORWARD, GG_TMA_LOAD_X, 1, 0, &x}, {GG_FORWARD, GG_TMA_LOAD_W, 2, 1, &w},
        {GG_FORWARD, GG_TMA_STORE, 4, 2, &dy}, {GG_DX, GG_TMA_LOAD_DY, 3, 0, &dy},
        {GG_DX, GG_TMA_LOAD_W, 2, 1, &w},      {GG_DX, GG_TMA_STORE, 5, 2, &x},
        {GG_DW, GG_TMA_LOAD_DY, 3, 0, &dy},    {GG_DW, GG_TMA_LOAD_X, 1, 1, &x},
        {GG_DW, GG_TMA_STORE, 6, 2, &w},
    };
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
        gg_config c = config;
        c.tma = rows[i].tma;
        assert_int_equal(run(context, rows[i].op, &problem, &c, &tensors), GG_OK);
        assert_int_equal(fake_of(context)->num_maps, i + 1);
        gg_tensor_map_spec want = *rows[i].expected;
        want.base = FAKE_POINTER(rows[i].pointer);
        assert_same_map(&fake_of(context)->maps[i], &want);
        const gemm_params *p = params_of(context, i);
        const tensor_map *maps[] = {&p->map_a, &p->map_b, &p->map_out};
        for (int m = 0; m < 3; m++)
            assert_int_equal(maps[m]->opaque[0],
                             m == rows[i].map ? (uintptr_t)FAKE_POINTER(rows[i].pointer) : 0);
    }
    gg_close(context);
}

/* Of wgmma the maps of tokens' rows that may end at any row skip rows of 64 and go back from afar (device/params.h): what
 * forward and dX store, what dW loads. */
static void wgmma_cuts_rows_by_its_maps(void **state) {
    enum { N = 208, K = 72, I = N / 2, R = RAGGED_ROWS, FAR = RAGGED_BACK };
#define BACK(bytes) ((uint64_t)-1 / RAGGED_BACK + 1 - (bytes)) /* times RAGGED_BACK: -bytes * RAGGED_BACK */
#define RAGGED(columns, rows, single)                                                                        \
    {                                                                                                        \
        .rank = 4, .dims = {columns, R, FAR + M, FAR + 1},                                                   \
        .strides = {(columns)*2, (columns)*2, BACK((columns)*2)}, .box = {64, rows, 1, 1},                   \
        .single_lines = single                                                                               \
    }
    static const gg_config tile = {
        .mainloop = GG_WGMMA, .block_m = 64, .block_n = 64, .block_k = 64, .num_warps = 4, .num_stages = 3};
    static const gg_tensor_map_spec
        y = RAGGED(N, R, false),
        y_strip = RAGGED(N, 16, true), dx = RAGGED(K, R, false), dy_short = RAGGED(N, 32, false),
        x_short = RAGGED(K, 32, false), dy_wide = RAGGED(N, R, true), dy_wide_short = RAGGED(N, 32, true),
        x_wide = RAGGED(K, R, true), x_wide_short = RAGGED(K, 32, true),
        x = {.rank = 2, .dims = {K, M}, .strides = {K * 2}, .box = {64, 64}},
        x_part = {.rank = 2, .dims = {K, M}, .strides = {K * 2}, .box = {64, 32}},
        dy = {.rank = 2, .dims = {N, M}, .strides = {N * 2}, .box = {64, 64}},
        dy_part = {.rank = 2, .dims = {N, M}, .strides = {N * 2}, .box = {64, 32}},
        w = {.rank = 3, .dims = {K, N, 4}, .strides = {K * 2, N * K * 2}, .box = {64, 64, 1}},
        w_once = {.rank = 3,
                  .dims = {K, N, 4},
                  .strides = {K * 2, N * K * 2},
                  .box = {64, 64, 1},
                  .single_lines = true},
        dw = {.rank = 3, .dims = {K, N, 4}, .strides = {K * 2, N * K * 2}, .box = {64, 16, 1}},
        dw_wide = {.rank = 3,
                   .dims = {K, N, 4},
                   .strides = {K * 2, N * K * 2},
                   .box = {64, 16, 1},
                   .single_lines = true},
        activation = {.rank = 4,
                      .dims = {I, R, FAR + M, FAR + 1},
                      .strides = {I * 2, I * 2, BACK(I * 2)},
                      .box = {32, R, 1, 1}},
        first = {.rank = 4,
                 .dims = {I, R, FAR + 2 * M, FAR + 1},
                 .strides = {N * 2, I * 2, BACK(I * 2)},
                 .box = {32, R, 1, 1}},
        gate_up = {.rank = 5,
                   .dims = {K, 8, 2, I / 8, 4},
                   .strides = {K * 2, I * K * 2, 8 * K * 2, N * K * 2},
                   .box = {64, 8, 2, 16, 1},
                   .single_lines = true};
    enum { MAP_A, MAP_B, MAP_OUT, MAP_FIRST, SHORT_A, SHORT_B, MAPS };
    static const struct {
        gg_op op;
        unsigned tma, fusions;
        int cols; /* of the tile; in dW its rows too */
        struct {
            int map, pointer; /* FAKE_POINTER number of the tensor; 0: there are no more */
            const gg_tensor_map_spec *expected;
        } maps[4];
    } rows[] = {
        {GG_FORWARD, GG_TMA_STORE, 0, 64, {{MAP_OUT, 4, &y}}},
        {GG_FORWARD, GG_TMA_STORE, 0, 256, {{MAP_OUT, 4, &y_strip}}},
        {GG_FORWARD, GG_TMA_LOAD_X, 0, 64, {{MAP_A, 1, &x}, {SHORT_A, 1, &x_part}}},
        {GG_FORWARD, GG_TMA_LOAD_W, 0, 64, {{MAP_B, 2, &w_once}}}, /* 48 rows an expert */
        {GG_DX, GG_TMA_STORE, 0, 64, {{MAP_OUT, 5, &dx}}},
        {GG_DX, GG_TMA_LOAD_DY, 0, 64, {{MAP_A, 3, &dy}, {SHORT_A, 3, &dy_part}}},
        {GG_DX, GG_TMA_LOAD_W, 0, 64, {{MAP_B, 2, &w}}},
        {GG_DW, GG_TMA_LOAD_DY, 0, 64, {{MAP_A, 3, &y}, {SHORT_A, 3, &dy_short}}},
        {GG_DW, GG_TMA_LOAD_X, 0, 64, {{MAP_B, 1, &dx}, {SHORT_B, 1, &x_short}}},
        {GG_DW, GG_TMA_STORE, 0, 64, {{MAP_OUT, 6, &dw}}}, /* in strips */
        {GG_DW, GG_TMA_LOAD_DY, 0, 128, {{MAP_A, 3, &dy_wide}, {SHORT_A, 3, &dy_wide_short}}},
        {GG_DW, GG_TMA_LOAD_X, 0, 128, {{MAP_B, 1, &x_wide}, {SHORT_B, 1, &x_wide_short}}},
        {GG_DW, GG_TMA_STORE, 0, 128, {{MAP_OUT, 6, &dw_wide}}},
        {GG_FORWARD,
         GG_TMA_LOAD_W | GG_TMA_STORE,
         GG_FUSE_SILU | GG_KEEP_FIRST,
         256,
         {{MAP_B, 2, &gate_up}, {MAP_OUT, 10, &activation}, {MAP_FIRST, 4, &first}}},
    };
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    tensors.activation = FAKE_POINTER(10);
    for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
        gg_problem p = problem;
        gg_config c = tile;
        const void *bases[MAPS] = {0};
        int count = 0;
        p.N = N, p.K = K, p.fusions = rows[i].fusions;
        c.tma = rows[i].tma;
        if (rows[i].op != GG_DX) c.block_n = rows[i].cols;
        if (rows[i].op == GG_DW) c.block_k = rows[i].cols;
        fake_of(context)->num_maps = fake_of(context)->num_launches = 0;
        if (run(context, rows[i].op, &p, &c, &tensors)) fail_msg("row %d: %s", i, gg_error(context));
        for (; count < 4 && rows[i].maps[count].pointer; count++) {
            gg_tensor_map_spec want = *rows[i].maps[count].expected;
            want.base = FAKE_POINTER(rows[i].maps[count].pointer);
            bases[rows[i].maps[count].map] = want.base;
            assert_same_map(&fake_of(context)->maps[count], &want);
        }
        assert_int_equal(fake_of(context)->num_maps, count);
        const gemm_params *params = params_of(context, 0);
        const tensor_map *maps[MAPS] = {&params->map_a,     &params->map_b,       &params->map_out,
                                        &params->map_first, &params->map_a_short, &params->map_b_short};
        for (int m = 0; m < MAPS; m++) assert_int_equal(maps[m]->opaque[0], (uintptr_t)bases[m]);
    }
    gg_close(context);
#undef RAGGED
#undef BACK
}

/* Whether slot / topk by the kernels' multiplication is right for the slots beside multiples of topk below 2^31: all whose
 * quotient is among the first, the last, and those beside powers of two. An error grows with the slot, and shows first at a multiple,
 * or before one. */
static bool divides(uint64_t reciprocal, uint32_t shift, uint32_t topk) {
    const uint64_t end = 1ull << 31, multiples = (end - 1) / topk;
    for (int bit = 0; bit <= 32; bit++)
        for (int64_t near = -100; near <= 100; near++) {
            const int64_t quotient = (int64_t)(bit == 32 ? multiples : (1ull << bit) / topk) + near;
            for (int64_t slot = quotient * topk - 1; slot <= quotient * topk + 1; slot++)
                if (slot >= 0 && slot < (int64_t)end &&
                    (uint64_t)slot * reciprocal >> shift != (uint64_t)slot / topk)
                    return false;
        }
    return true;
}

static void slots_are_divided_exactly(void **state) {
    static const int more[] = {100,   127,     128,           129,           1000,
                               65535, 1 << 20, (1 << 29) - 1, (1 << 29) + 1, 1000000007};
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    int too_coarse = 0;
    for (int i = 0; i < 64 + (int)(sizeof more / sizeof *more); i++) {
        gg_problem p = problem;
        p.topk = i < 64 ? i + 1 : more[i - 64];
        p.T = 1;
        fake_of(context)->num_launches = 0;
        if (gg_forward(context, &p, &config, &tensors, NULL)) fail_msg("%s", gg_error(context));
        const gemm_params *params = params_of(context, 0);
        const uint64_t reciprocal = params->topk_reciprocal;
        const uint32_t shift = params->topk_shift, topk = (uint32_t)p.topk;
        if (!divides(reciprocal, shift, topk)) fail_msg("topk %d", p.topk);
        /* what would be wrong: rounded down, shifted by one more or less, a bit too short */
        assert_true((topk & (topk - 1)) == 0 || !divides(reciprocal - 1, shift, topk));
        assert_false(divides(reciprocal, shift - 1, topk));
        assert_false(divides(reciprocal, shift + 1, topk));
        too_coarse += !divides((1ull << (shift - 1)) / topk + 1, shift - 1, topk);
    }
    assert_in_range(too_coarse, 8, 64);
    gg_close(context);
}

static void missing_and_misaligned_tensors_are_named(void **state) {
    static const struct {
        gg_op op;
        unsigned fusions;
        size_t offset;
        size_t shift; /* 0: missing */
        const char *name;
    } rows[] = {
        {GG_FORWARD, 0, offsetof(gg_tensors, x), 0, "'x'"},
        {GG_FORWARD, 0, offsetof(gg_tensors, w), 8, "'w'"},
        {GG_FORWARD, 0, offsetof(gg_tensors, y), 2, "'y'"},
        {GG_FORWARD, 0, offsetof(gg_tensors, m_sizes), 0, "'m_sizes'"},
        {GG_FORWARD, 0, offsetof(gg_tensors, m_sizes), 2, "'m_sizes'"},
        {GG_FORWARD, GG_PERMUTE_X, offsetof(gg_tensors, gather_indices), 0, "'gather_indices'"},
        {GG_FORWARD, GG_PERMUTE_Y | GG_FUSE_MUL_POST, offsetof(gg_tensors, topk_weights), 0,
         "'topk_weights'"},
        {GG_DX, 0, offsetof(gg_tensors, dy), 0, "'dy'"},
        {GG_DX, 0, offsetof(gg_tensors, dx), 0, "'dx'"},
        {GG_DX, GG_PERMUTE_Y, offsetof(gg_tensors, gather_indices), 1, "'gather_indices'"},
        {GG_DW, 0, offsetof(gg_tensors, dw), 4, "'dw'"},
        {GG_DW, 0, offsetof(gg_tensors, x), 0, "'x'"},
    };
    gg_context *context = fake_context(*state, false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_tensors tensors = fake_tensors();
        gg_problem p = problem;
        void *pointer;
        p.fusions = rows[i].fusions;
        memcpy(&pointer, (char *)&tensors + rows[i].offset, sizeof pointer);
        pointer = rows[i].shift ? (char *)pointer + rows[i].shift : NULL;
        memcpy((char *)&tensors + rows[i].offset, &pointer, sizeof pointer);
        assert_int_equal(run(context, rows[i].op, &p, &config, &tensors), GG_ERR_ARGUMENT);
        assert_non_null(strstr(gg_error(context), rows[i].name));
    }
    assert_int_equal(fake_of(context)->num_launches, 0);
    gg_close(context);
}

/* What an operation does not use may be missing. */
static void unused_tensors_may_be_null(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors all = fake_tensors(), tensors = {.x = all.x, .w = all.w, .y = all.y, .m_sizes = all.m_sizes};
    assert_int_equal(gg_forward(context, &problem, &config, &tensors, NULL), GG_OK);
    gg_close(context);
}

static void no_rows_launch_nothing_but_zero_dw(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors none = {0}, tensors = {.dw = FAKE_POINTER(6)};
    gg_problem p = problem;
    p.T = 0;
    assert_int_equal(gg_forward(context, &p, &config, &none, NULL), GG_OK);
    assert_int_equal(gg_dX(context, &p, &config, &none, NULL), GG_OK);
    assert_int_equal(gg_dW(context, &p, &config, &none, NULL), GG_ERR_ARGUMENT);
    assert_int_equal(gg_dW(context, &p, &config, &tensors, NULL), GG_OK);
    fake *f = fake_of(context);
    assert_int_equal(f->num_launches, 0);
    assert_int_equal(f->num_fills, 1);
    assert_ptr_equal(f->fills[0].dst, FAKE_POINTER(6));
    assert_int_equal(f->fills[0].word, 0);
    assert_int_equal(f->fills[0].bytes, 4 * 200 * 72 * 2);
    assert_int_equal(gg_backward(context, &p, &config, &config, &tensors, NULL, NULL), GG_OK);
    assert_int_equal(f->num_launches, 0);
    gg_close(context);
}

static void faults_have_detail(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_config c = config;
    c.block_m = 48;
    assert_int_equal(gg_forward(context, &problem, &c, &tensors, NULL), GG_ERR_REFUSED);
    assert_non_null(strstr(gg_error(context), "48"));
    c = config;
    c.tma = GG_TMA_LOAD_W;
    fake_of(context)->map_status = GG_ERR_ARGUMENT;
    assert_int_equal(gg_forward(context, &problem, &c, &tensors, NULL), GG_ERR_ARGUMENT);
    assert_string_equal(gg_error(context), "w: made-up map fault");
    fake_of(context)->launch_status = GG_ERR_LAUNCH;
    assert_int_equal(gg_dX(context, &problem, &config, &tensors, NULL), GG_ERR_LAUNCH);
    assert_string_equal(gg_error(context), "dX: made-up launch fault");
    gg_close(context);
}

/* --- reduction and backward --- */

static void the_reduction_covers_its_rows(void **state) {
    gg_context *context = fake_context(*state, false);
    void *slots = FAKE_POINTER(1), *tokens = FAKE_POINTER(2);
    assert_int_equal(gg_reduce_topk(context, GG_FP16, 96, 2, 72, slots, tokens, NULL), GG_OK);
    const fake *f = fake_of(context);
    const reduce_params *p = (const reduce_params *)f->launches[0].params;
    assert_true(p->T == 96 && p->topk == 2 && p->K == 72 && p->dx_slots == slots && p->dx_tokens == tokens);
    assert_int_equal(f->launches[0].spec.grid, 4); /* 96 * 72 / 8 = 864 chunks in blocks of 256 */
    assert_int_equal(f->launches[0].spec.threads, 256);
    assert_int_equal(gg_reduce_topk(context, GG_BF16, 1 << 20, 2, 72, slots, tokens, NULL), GG_OK);
    assert_int_equal(f->launches[1].spec.grid, 8 * 4); /* 8 a multiprocessor */
    assert_int_equal(f->num_loads, 2);                 /* a kernel for each type */
    assert_int_equal(gg_reduce_topk(context, GG_BF16, 0, 2, 72, NULL, NULL, NULL), GG_OK);
    assert_int_equal(gg_reduce_topk(context, GG_BF16, 8, 2, 71, slots, tokens, NULL), GG_ERR_ARGUMENT);
    assert_int_equal(gg_reduce_topk(context, GG_BF16, 8, 0, 72, slots, tokens, NULL), GG_ERR_ARGUMENT);
    assert_int_equal(gg_reduce_topk(context, GG_BF16, 8, 2, 72, NULL, tokens, NULL), GG_ERR_ARGUMENT);
    assert_non_null(strstr(gg_error(context), "'dx_slots'"));
    assert_int_equal(f->num_launches, 2);
    gg_close(context);
}

static void backward_reduces_over_topk(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_problem p = problem;
    void *workspace = FAKE_POINTER(10);
    p.fusions = GG_PERMUTE_X;
    assert_int_equal(gg_backward_workspace(&p), (size_t)M * 72 * 2);
    assert_int_equal(gg_backward(context, &p, &config, &config, &tensors, NULL, NULL), GG_ERR_ARGUMENT);
    assert_non_null(strstr(gg_error(context), "'workspace'"));
    assert_int_equal(gg_backward(context, &p, &config, &config, &tensors, workspace, NULL), GG_OK);
    const fake *f = fake_of(context);
    assert_int_equal(f->num_launches, 3);
    assert_ptr_equal(params_of(context, 0)->out, workspace);
    const reduce_params *reduce = (const reduce_params *)f->launches[1].params;
    assert_ptr_equal(reduce->dx_slots, workspace);
    assert_ptr_equal(reduce->dx_tokens, tensors.dx);
    assert_ptr_equal(params_of(context, 2)->out, tensors.dw);
    gg_close(context);
}

static void backward_without_reduction(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_problem p = problem;
    assert_int_equal(gg_backward_workspace(&p), 0);
    assert_int_equal(gg_backward(context, &p, &config, &config, &tensors, NULL, NULL), GG_OK);
    assert_int_equal(fake_of(context)->num_launches, 2);
    assert_ptr_equal(params_of(context, 0)->out, tensors.dx);
    p.fusions = GG_PERMUTE_X;
    p.topk = 1; /* slots are tokens */
    assert_int_equal(gg_backward_workspace(&p), 0);
    p.fusions = GG_PERMUTE_Y | GG_FUSE_MUL_POST;
    assert_int_equal(gg_backward(context, &p, &config, &config, &tensors, NULL, NULL), GG_ERR_REFUSED);
    assert_non_null(strstr(gg_error(context), "fuse_mul_post"));
    assert_int_equal(fake_of(context)->num_launches, 2);
    gg_close(context);
}

/* --- opening --- */

static void opening_says_what_is_wrong(void **state) {
    gg_context *context;
    assert_int_equal(gg_open(&context, &(gg_options){.backend = "metal", .cache_dir = *state}),
                     GG_ERR_ARGUMENT);
    assert_non_null(strstr(gg_error(context), "'metal'"));
    gg_close(context);
    assert_int_equal(gg_open(&context, &(gg_options){.backend = "sim", .device = 7, .cache_dir = *state}),
                     GG_ERR_NO_DEVICE);
    assert_non_null(strstr(gg_error(context), "7"));
    gg_close(context);
    assert_string_equal(gg_error(NULL), "");
    gg_close(NULL);
}

static void opening_without_options_finds_a_device(void **state) {
    gg_context *context;
    char why[GG_REASON_SIZE];
    setenv("MOEGEMM_CACHE", *state, 1);
    assert_int_equal(gg_open(&context, NULL), GG_OK);
    assert_string_equal(gg_context_backend(context)->ops->name, gg_cuda_available(why) ? "cuda" : "sim");
    assert_string_equal(gg_context_cache_dir(context), *state);
    assert_int_equal(gg_supports_tma(context), gg_get_device(context)->cc >= 90);
    gg_close(context);
    context = fake_context(*state, false);
    assert_true(gg_supports_tma(context));
    fake_of(context)->device.cc = 89;
    assert_false(gg_supports_tma(context));
    gg_close(context);
}

static void a_source_table_at_the_same_address_is_read_again(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_source_file files[] = {{"a.cu", "int a;\n"}, {NULL, NULL}};
    gg_source source = {.files = files, .root = "a.cu", .macros = ""};
    gg_kernel *kernel;
    assert_int_equal(gg_context_kernel(context, &source, "a", &kernel), GG_OK);
    assert_int_equal(gg_context_kernel(context, &source, "a", &kernel), GG_OK);
    assert_int_equal(fake_of(context)->num_loads, 1);
    files[0].text = "int b;\n";
    assert_int_equal(gg_context_kernel(context, &source, "a", &kernel), GG_OK);
    assert_int_equal(fake_of(context)->num_loads, 2);
    files[0].text = "int c\n";
    assert_int_equal(gg_context_kernel(context, &source, "a", &kernel), GG_ERR_COMPILE);
    assert_true(strlen(gg_error(context)) > 0);
    gg_close(context);
}

/* More kernels than the table's first size. */
static void the_map_grows(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    static int values[COUNT];
    gg_map map = {0};
    assert_null(gg_map_get(&map, (XXH128_hash_t){1, 2}));
    /* keys that collide in their low bits */
    for (int i = 0; i < COUNT; i++)
        assert_true(gg_map_put(&map, (XXH128_hash_t){(XXH64_hash_t)i << 8, 5}, &values[i]));
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(gg_map_get(&map, (XXH128_hash_t){(XXH64_hash_t)i << 8, 5}), &values[i]);
    assert_null(gg_map_get(&map, (XXH128_hash_t){1 << 8, 6}));
    assert_true(gg_map_put(&map, (XXH128_hash_t){0, 5}, &values[1]));
    assert_ptr_equal(gg_map_get(&map, (XXH128_hash_t){0, 5}), &values[1]);
    assert_int_equal(map.count, COUNT);
    free(map.slots);
}

/* --- a whole run on the simulator --- */

/* bf16 of a small integer is exact: the upper half of its float. */
static uint16_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}
static float value_of(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

enum { SIM_E = 3, SIM_TOPK = 2, SIM_T = 11, SIM_N = 40, SIM_K = 24, SIM_M = SIM_T * SIM_TOPK };

typedef struct arrays {
    uint16_t x[SIM_T * SIM_K], w[SIM_E * SIM_N * SIM_K], dy[SIM_M * SIM_N];
    uint16_t y[SIM_M * SIM_N], dx[SIM_T * SIM_K], dw[SIM_E * SIM_N * SIM_K];
    int32_t m_sizes[SIM_E], gather[SIM_M];
} arrays;

/* Expert 1 has no rows; slots of the others alternate, so expert order is not slot order. */
static void draw(arrays *a) {
    unsigned state = 1;
#define DRAW(array)                                                                                          \
    for (size_t i = 0; i < sizeof a->array / 2; i++) {                                                       \
        state = state * 1103515245 + 12345;                                                                  \
        a->array[i] = bits_of((float)((int)(state >> 16) % 3 - 1));                                          \
    }
    DRAW(x)
    DRAW(w)
    DRAW(dy)
#undef DRAW
    int at = 0;
    for (int e = 0; e < SIM_E; e++) {
        a->m_sizes[e] = 0;
        for (int slot = 0; slot < SIM_M; slot++)
            if ((slot % SIM_TOPK ? 0 : 2) == e) {
                a->gather[at++] = slot;
                a->m_sizes[e]++;
            }
    }
}

/* y, dx reduced over topk, dw by definition, permute_x: sums of at most 80 ones stay exact. */
static void expect(arrays *a) {
    float y[SIM_M][SIM_N] = {0}, dx[SIM_T][SIM_K] = {0}, dw[SIM_E][SIM_N][SIM_K] = {0};
    int row = 0;
    for (int e = 0; e < SIM_E; e++)
        for (int end = row + a->m_sizes[e]; row < end; row++) {
            int token = a->gather[row] / SIM_TOPK;
            for (int n = 0; n < SIM_N; n++)
                for (int k = 0; k < SIM_K; k++) {
                    float w = value_of(a->w[(e * SIM_N + n) * SIM_K + k]),
                          x = value_of(a->x[token * SIM_K + k]);
                    float g = value_of(a->dy[row * SIM_N + n]);
                    y[row][n] += x * w;
                    dx[token][k] += g * w;
                    dw[e][n][k] += g * x;
                }
        }
    for (int i = 0; i < SIM_M * SIM_N; i++) a->y[i] = bits_of((&y[0][0])[i]);
    for (int i = 0; i < SIM_T * SIM_K; i++) a->dx[i] = bits_of((&dx[0][0])[i]);
    for (int i = 0; i < SIM_E * SIM_N * SIM_K; i++) a->dw[i] = bits_of((&dw[0][0][0])[i]);
}

static void forward_and_backward_are_right(void **state) {
    static arrays host, got;
    gg_context *context;
    void *device, *workspace;
    gg_problem p = {.E = SIM_E,
                    .topk = SIM_TOPK,
                    .T = SIM_T,
                    .N = SIM_N,
                    .K = SIM_K,
                    .gemm = GG_GEMM_FIRST,
                    .fusions = GG_PERMUTE_X};
    assert_int_equal(gg_open(&context, &(gg_options){.backend = "sim", .cache_dir = *state, .debug = true}),
                     GG_OK);
    gg_backend *b = gg_context_backend(context);
    draw(&host);
    memset(host.y, 0xff, sizeof host.y);
    memset(host.dx, 0xff, sizeof host.dx);
    memset(host.dw, 0xff, sizeof host.dw);
    assert_int_equal(b->ops->alloc(b, gg_backward_workspace(&p), &workspace), GG_OK);
    gg_tensors t = {0};
    struct {
        void *tensor; /* the pointer's place */
        void *host;
        size_t bytes;
    } tensors[] = {
        {&t.x, host.x, sizeof host.x},
        {&t.w, host.w, sizeof host.w},
        {&t.dy, host.dy, sizeof host.dy},
        {&t.y, host.y, sizeof host.y},
        {&t.dx, host.dx, sizeof host.dx},
        {&t.dw, host.dw, sizeof host.dw},
        {&t.m_sizes, host.m_sizes, sizeof host.m_sizes},
        {&t.gather_indices, host.gather, sizeof host.gather},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        assert_int_equal(b->ops->alloc(b, tensors[i].bytes, &device), GG_OK);
        assert_int_equal(b->ops->upload(b, device, tensors[i].host, tensors[i].bytes), GG_OK);
        memcpy(tensors[i].tensor, &device, sizeof device);
    }
    if (gg_forward(context, &p, NULL, &t, NULL)) fail_msg("%s", gg_error(context));
    if (gg_backward(context, &p, NULL, NULL, &t, workspace, NULL)) fail_msg("%s", gg_error(context));
    assert_int_equal(b->ops->synchronize(b), GG_OK);
    assert_int_equal(b->ops->download(b, got.y, t.y, sizeof got.y), GG_OK);
    assert_int_equal(b->ops->download(b, got.dx, t.dx, sizeof got.dx), GG_OK);
    assert_int_equal(b->ops->download(b, got.dw, t.dw, sizeof got.dw), GG_OK);
    expect(&host);
    assert_memory_equal(got.y, host.y, sizeof got.y);
    assert_memory_equal(got.dx, host.dx, sizeof got.dx);
    assert_memory_equal(got.dw, host.dw, sizeof got.dw);
    gg_close(context);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(operands_have_their_roles),
        TEST(launches_follow_the_plan),
        TEST(tensor_maps_describe_tensors_and_panels),
        TEST(wgmma_cuts_rows_by_its_maps),
        TEST(slots_are_divided_exactly),
        TEST(missing_and_misaligned_tensors_are_named),
        TEST(unused_tensors_may_be_null),
        TEST(no_rows_launch_nothing_but_zero_dw),
        TEST(faults_have_detail),
        TEST(the_reduction_covers_its_rows),
        TEST(backward_reduces_over_topk),
        TEST(backward_without_reduction),
        TEST(opening_says_what_is_wrong),
        TEST(opening_without_options_finds_a_device),
        TEST(a_source_table_at_the_same_address_is_read_again),
        TEST(the_map_grows),
        TEST(forward_and_backward_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
