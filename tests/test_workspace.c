/* test_workspace.c: rows that are copied together before they are multiplied: what is asked of a workspace, what is launched, and
 * when copying is chosen. */
#include "api.h"

static const struct {
    gg_op op;
    unsigned fusion;
    int from;          /* FAKE_POINTER number of what is copied */
    int operand;       /* 0 a, 1 b */
    int cols;          /* of `problem` */
    size_t from_bytes; /* x is by token */
    unsigned tma;
} copies[] = {
    {GG_FORWARD, GG_PERMUTE_X, 1, 0, 72, 96 * 72 * 2, GG_TMA_LOAD_X},
    {GG_DX, GG_PERMUTE_Y, 3, 0, 200, M * 200 * 2, GG_TMA_LOAD_DY},
    {GG_DW, GG_PERMUTE_X, 1, 1, 72, 96 * 72 * 2, GG_TMA_LOAD_X},
    {GG_DW, GG_PERMUTE_Y, 3, 0, 200, M * 200 * 2, GG_TMA_LOAD_DY},
};

static const gg_buffer *buffer_of(const gg_launch_spec *spec, const char *name) {
    for (int i = 0; i < (int)spec->buffer_count; i++)
        if (!strcmp(spec->buffers[i].name, name)) return &spec->buffers[i];
    return NULL;
}

static gg_tensors tensors_with(void *workspace, size_t bytes) {
    gg_tensors tensors = fake_tensors();
    tensors.workspace = workspace;
    tensors.workspace_bytes = bytes;
    return tensors;
}

/* First the copy, then the GEMM, which has the workspace in the place of the tensor, by TMA too, and no routing of rows. */
static void rows_are_copied_before_they_are_multiplied(void **state) {
    gg_context *context = fake_context(*state, false);
    fake *f = fake_of(context);
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        void *workspace = FAKE_POINTER(11);
        const size_t bytes = (size_t)M * (size_t)copies[i].cols * 2;
        const gg_tensors tensors = tensors_with(workspace, bytes);
        gg_problem p = problem;
        gg_config c = config;
        p.fusions = copies[i].fusion;
        c.tma = copies[i].tma, c.copy_rows = true;
        f->num_launches = f->num_maps = 0;
        if (run(context, copies[i].op, &p, &c, &tensors)) fail_msg("row %zu: %s", i, gg_error(context));
        assert_int_equal(f->num_launches, 2);

        const gg_launch_spec *first = &f->launches[0].spec;
        const copy_rows_params *copy = (const copy_rows_params *)f->launches[0].params;
        assert_string_equal(f->launches[0].label, "copy_rows.cu");
        assert_ptr_equal(copy->in, FAKE_POINTER(copies[i].from));
        assert_ptr_equal(copy->out, workspace);
        assert_ptr_equal(copy->gather_indices, tensors.gather_indices);
        assert_true(copy->M == M && copy->cols == copies[i].cols &&
                    copy->topk == (copies[i].fusion == GG_PERMUTE_X ? 2 : 1));
        assert_int_equal(first->threads, 256);
        assert_int_equal(first->grid, (M / COPY_TURN * copies[i].cols / 8 + 255) / 256);
        assert_true(first->waits && first->buffer_count == 3);
        const gg_buffer *from = buffer_of(first, copies[i].from == 1 ? "x" : "dy"),
                        *to = buffer_of(first, "workspace"), *routing = buffer_of(first, "gather_indices");
        assert_true(from && from->use == GG_BUFFER_IN && from->bytes == copies[i].from_bytes);
        assert_true(to && to->use == GG_BUFFER_OUT && to->bytes == bytes);
        assert_true(routing && routing->use == GG_BUFFER_IN && routing->bytes == M * 4);

        const gg_launch_spec *gemm = &f->launches[1].spec;
        const gemm_params *params = params_of(context, 1);
        assert_ptr_equal(copies[i].operand ? params->b : params->a, workspace);
        assert_non_null(strstr(f->newest, "PERMUTE_X=0 PERMUTE_Y=0"));
        assert_int_equal(f->num_maps, 1);
        assert_ptr_equal(f->maps[0].base, workspace);
        assert_int_equal(f->maps[0].dims[1], M);
        const gg_buffer *operand = buffer_of(gemm, copies[i].from == 1 ? "x" : "dy");
        assert_true(operand && operand->use == GG_BUFFER_IN && operand->bytes == bytes);
        assert_ptr_equal(operand->data, workspace);
        assert_null(buffer_of(gemm, "gather_indices"));
        /* the GEMM may begin while the copy ends, the copy not before what was launched before */
        assert_true(!first->overlaps && gemm->overlaps == context->overlaps && gemm->waits);

        f->launch_status = GG_ERR_LAUNCH, f->num_launches = 0;
        assert_int_equal(run(context, copies[i].op, &p, &c, &tensors), GG_ERR_LAUNCH);
        assert_non_null(strstr(gg_error(context), "copy_rows: made-up launch fault"));
        assert_int_equal(f->num_launches, 1); /* what was not copied is not multiplied */
        f->launch_status = GG_OK;
    }
    gg_close(context);
}

static void what_is_wrong_with_a_workspace_is_said(void **state) {
    gg_context *context = fake_context(*state, false);
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        const size_t bytes = (size_t)M * (size_t)copies[i].cols * 2;
        char *at = FAKE_POINTER(11), small[128];
        snprintf(small, sizeof small, "tensor 'workspace' has %zu bytes; copy_rows wants %zu", bytes - 1,
                 bytes);
        const struct {
            void *workspace;
            size_t bytes;
            const char *error;
        } rows[] = {
            {NULL, 0, "missing tensor 'workspace'"},
            {NULL, bytes, "missing tensor 'workspace'"},
            {at + 8, bytes, "misaligned tensor 'workspace': 0xb00008 is no multiple of 16 bytes"},
            {at, bytes - 1, small},
            {at, 0, "tensor 'workspace' has 0 bytes; copy_rows wants "},
        };
        gg_problem p = problem;
        gg_config c = config;
        p.fusions = copies[i].fusion, c.copy_rows = true;
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++) {
            gg_tensors tensors = tensors_with(rows[j].workspace, rows[j].bytes);
            assert_int_equal(run(context, copies[i].op, &p, &c, &tensors), GG_ERR_ARGUMENT);
            if (!strstr(gg_error(context), rows[j].error) || strchr(gg_error(context), '\n'))
                fail_msg("row %zu, %zu: %s", i, j, gg_error(context));
        }
        gg_tensors tensors = tensors_with(at, bytes);
        tensors.gather_indices = NULL;
        assert_int_equal(run(context, copies[i].op, &p, &c, &tensors), GG_ERR_ARGUMENT);
        assert_non_null(strstr(gg_error(context), "'gather_indices'"));
        tensors.gather_indices = FAKE_POINTER(8);
        p.T = 0; /* no rows: nothing to copy, and none is asked for */
        tensors.workspace = NULL;
        assert_int_equal(run(context, copies[i].op, &p, &c, &tensors), GG_OK);
        c.copy_rows = false, p = problem, p.fusions = copies[i].fusion;
        tensors = tensors_with(at + 8, 1); /* what is not used is not looked at */
        fake_of(context)->num_launches = 0;
        assert_int_equal(run(context, copies[i].op, &p, &c, &tensors), GG_OK);
        assert_int_equal(fake_of(context)->num_launches, 1);
        fake_of(context)->num_launches = 0;
    }
    assert_int_equal(fake_of(context)->num_launches, 0);
    gg_close(context);
}

/* By itself nothing is copied but into a workspace that is there, is large enough, and where copying pays. */
static void copies_are_chosen_where_they_pay(void **state) {
    const gg_problem pays = {.fusions = GG_PERMUTE_X, .E = 16, .N = 16384, .K = 1024, .topk = 1, .T = 4096},
                     loses = {.fusions = GG_PERMUTE_X, .E = 16, .N = 256, .K = 1024, .topk = 1, .T = 4096};
    const size_t bytes = (size_t)4096 * 1024 * 2;
    const struct {
        const gg_problem *p;
        void *workspace;
        size_t bytes;
        int launches;
    } rows[] = {
        {&pays, NULL, 0, 1},
        {&pays, NULL, bytes, 1},
        {&pays, FAKE_POINTER(11), 0, 1},
        {&pays, FAKE_POINTER(11), bytes - 1, 1},
        {&pays, FAKE_POINTER(11), bytes, 2},
        {&pays, FAKE_POINTER(11), bytes + 1, 2},
        {&loses, FAKE_POINTER(11), bytes, 1},
    };
    gg_context *context = fake_context(*state, false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const gg_tensors tensors = tensors_with(rows[i].workspace, rows[i].bytes);
        fake_of(context)->num_launches = 0;
        assert_int_equal(gg_dW(context, rows[i].p, NULL, &tensors, NULL), GG_OK);
        if (fake_of(context)->num_launches != rows[i].launches)
            fail_msg("row %zu: %d launches", i, fake_of(context)->num_launches);
    }
    gg_close(context);
}

/* One op after the other has it, each for what it gathers; dW's copy may begin while dX's GEMM ends, and waits for it. */
static void backward_hands_its_workspace_on(void **state) {
    gg_context *context = fake_context(*state, false);
    fake *f = fake_of(context);
    static const struct {
        unsigned fusion;
        bool copies[2]; /* of dX and dW */
        size_t cols;    /* of what is gathered */
        const char *labels[5];
    } rows[] = {
        {GG_PERMUTE_Y, {true, true}, 200, {"copy_rows.cu", "mma_sync.cu", "copy_rows.cu", "mma_sync.cu"}},
        {GG_PERMUTE_Y, {false, true}, 200, {"mma_sync.cu", "copy_rows.cu", "mma_sync.cu"}},
        {GG_PERMUTE_X, {false, true}, 72, {"mma_sync.cu", "reduce_topk.cu", "copy_rows.cu", "mma_sync.cu"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gg_tensors tensors = tensors_with(FAKE_POINTER(11), M * rows[i].cols * 2);
        gg_problem p = problem;
        gg_config c[2] = {config, config};
        int count = 0;
        p.fusions = rows[i].fusion;
        for (int op = 0; op < 2; op++) c[op].copy_rows = rows[i].copies[op];
        f->num_launches = 0;
        if (gg_backward(context, &p, &c[0], &c[1], &tensors, FAKE_POINTER(12), NULL))
            fail_msg("row %zu: %s", i, gg_error(context));
        for (; rows[i].labels[count]; count++) {
            const gg_launch_spec *spec = &f->launches[count].spec;
            assert_memory_equal(f->launches[count].label, rows[i].labels[count],
                                strlen(rows[i].labels[count]));
            assert_true(spec->waits && spec->overlaps == (count > 0 && context->overlaps));
            if (strcmp(rows[i].labels[count], "copy_rows.cu")) continue;
            assert_ptr_equal(((const copy_rows_params *)f->launches[count].params)->out, FAKE_POINTER(11));
        }
        assert_int_equal(f->num_launches, count);
        assert_ptr_equal(rows[i].fusion == GG_PERMUTE_X ? params_of(context, count - 1)->b
                                                        : params_of(context, count - 1)->a,
                         FAKE_POINTER(11));
        /* what has no room for it says so before dW is launched */
        tensors.workspace_bytes--;
        f->num_launches = 0;
        assert_int_equal(gg_backward(context, &p, &c[0], &c[1], &tensors, FAKE_POINTER(12), NULL),
                         GG_ERR_ARGUMENT);
        assert_int_equal(f->num_launches, rows[i].copies[0] ? 0 : count - 2);
    }
    gg_close(context);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(rows_are_copied_before_they_are_multiplied),
        TEST(what_is_wrong_with_a_workspace_is_said),
        TEST(copies_are_chosen_where_they_pay),
        TEST(backward_hands_its_workspace_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
