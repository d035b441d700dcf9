/* test_sim_copy.c: rows copied together before they are multiplied, on the simulator with races checked: every op gives what gathering
 * gives, bit by bit; a launch that does not wait for the one before is named. */
#include "sim_kernels.h"

enum { SEEDS = 20 };
#define COUNT(table) (sizeof(table) / sizeof *(table))

static const struct {
    gg_op op;
    unsigned fusion, tma;
} ops[] = {{GG_FORWARD, GG_PERMUTE_X, GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_STORE},
           {GG_DX, GG_PERMUTE_Y, GG_TMA_LOAD_DY | GG_TMA_LOAD_W | GG_TMA_STORE},
           {GG_DW, GG_PERMUTE_X, GG_TMA_LOAD_X | GG_TMA_LOAD_DY | GG_TMA_STORE},
           {GG_DW, GG_PERMUTE_Y, GG_TMA_LOAD_X | GG_TMA_LOAD_DY | GG_TMA_STORE}};
static const ragged shape = {.E = 4, .N = 72, .K = 136, .topk = 2, .T = 91, .m_sizes = {100, 0, 1, 81}};

static gg_plan plan_of(rig *r, size_t op, gg_mainloop mainloop, bool copies) {
    const gg_problem problem = rig_problem(r, &shape, ops[op].op, ops[op].fusion, GG_BF16);
    const gg_config config = {.mainloop = mainloop,
                              .block_m = 64,
                              .block_n = 64,
                              .block_k = 64,
                              .num_warps = 4,
                              .num_stages = 3,
                              .tma = copies && mainloop != GG_REFERENCE ? ops[op].tma : 0,
                              .copy_rows = copies};
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    if (checked_variant.plan_make(&problem, &config, gg_get_device(r->context), &plan, reason))
        fail_msg("%s", reason);
    return plan;
}

static void copies_are_as_good_as_gathering(void **state) {
    (void)state;
    rig r;
    rig_open(&r, true);
    use_sources();
    for (size_t op = 0; op < COUNT(ops); op++)
        for (gg_mainloop mainloop = 0; mainloop < GG_NUM_MAINLOOPS; mainloop++) {
            gg_plan plan = plan_of(&r, op, mainloop, false);
            if (rig_launch(&r, &plan, 0)) fail_msg("%s", gg_error(r.context));
            const size_t bytes = r.out_bytes;
            void *gathered = malloc(bytes);
            memcpy(gathered, r.out, bytes);
            plan = plan_of(&r, op, mainloop, true); /* the same operands in fresh memory */
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                memset(r.out, 0xff, bytes);
                memset(r.tensors.workspace, 0xff, r.tensors.workspace_bytes);
                if (rig_launch(&r, &plan, seed)) fail_msg("op %zu: %s", op, gg_error(r.context));
                assert_memory_equal(r.out, gathered, bytes);
            }
            free(gathered);
        }
    rig_close(&r);
}

/* Which of the launches does not wait, and what is said of it. */
static void a_forgotten_wait_is_named(void **state) {
    static const struct {
        const char *file, *find, *replace, *error;
    } rows[] = {
        {"copy_rows.cu", "    grid_wait();\n", "", "copy_rows"},
        {"mma_sync.cu", "    grid_wait();\n", "", "mma_sync.cu"},
        /* and what else goes wrong between threads and memory */
        {"copy_rows.cu", "if (row + j < p.M) store_16", "store_16", "copy_rows: store outside global memory"},
        {"copy_rows.cu", "row + j < p.M ? row + j : p.M - 1", "row + j",
         "copy_rows: load outside the launch's tensors"},
        {"moe_ops.h", "first = blockIdx.x * (i64)ROW_OP_THREADS + threadIdx.x", "first = threadIdx.x",
         "copy_rows"},
    };
    (void)state;
    rig r;
    rig_open(&r, true);
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t op = 0; op < COUNT(ops); op++) {
            char error[512];
            const mutant change = {
                .name = rows[i].file, .file = rows[i].file, .find = rows[i].find, .replace = rows[i].replace};
            use_sources();
            gg_source_file *file = mutant_sources;
            while (strcmp(file->name, rows[i].file)) file++;
            char *text = mutant_apply(&change, file->text, error);
            if (!text) fail_msg("%s", error);
            file->text = text;
            const gg_plan plan = plan_of(&r, op, GG_MMA_SYNC, true);
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                assert_int_equal(rig_launch(&r, &plan, seed), GG_ERR_LAUNCH);
                if (!strstr(gg_error(r.context), rows[i].error))
                    fail_msg("row %zu: %s", i, gg_error(r.context));
            }
            if (!op) print_message("%s\n", gg_error(r.context));
            free(text);
        }
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies_are_as_good_as_gathering),
                                       cmocka_unit_test(a_forgotten_wait_is_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
