/* test_sim_clean.c: the shipped kernels under the race checker: every set of flags and every config of the tuner, on
 * ragged problems. The seed turns with the day; MOEGEMM_SIM_SEED fixes it, MOEGEMM_NIGHTLY=1 runs each with every
 * problem, type and 20 seeds. */
#include "same_config.h"
#include "sim_kernels.h"

#include <time.h>

enum { NIGHTLY_SEEDS = 20, MOST_CONFIGS = 512 };

/* Tails of every kind, an empty expert first, in the middle and last; one row; steps fewer and more than stages. */
static const ragged shapes[] = {
    {.E = 4, .N = 136, .K = 200, .topk = 2, .T = 83, .m_sizes = {70, 0, 1, 95}},
    {.E = 3, .N = 264, .K = 72, .topk = 1, .T = 134, .m_sizes = {0, 129, 5}},
    {.E = 2, .N = 72, .K = 392, .topk = 4, .T = 65, .m_sizes = {260, 0}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct flags {
    unsigned fusions, tma;
} flags;

/* What the planner accepts of all sets of flags. */
static int legal_flags(const gg_device *device, gg_mainloop mainloop, gg_op op, flags out[128]) {
    static const unsigned fusions[] = {0,
                                       GG_PERMUTE_X,
                                       GG_PERMUTE_Y,
                                       GG_PERMUTE_Y | GG_FUSE_MUL_POST,
                                       GG_FUSE_SILU,
                                       GG_FUSE_SILU | GG_KEEP_FIRST,
                                       GG_FUSE_SILU | GG_PERMUTE_X,
                                       GG_FUSE_SILU | GG_KEEP_FIRST | GG_PERMUTE_X};
    int count = 0;
    for (size_t f = 0; f < sizeof fusions / sizeof *fusions; f++)
        for (unsigned tma = 0; tma < 16; tma++) {
            gg_plan plan;
            char reason[GG_REASON_SIZE];
            gg_problem p = {.op = op, .fusions = fusions[f], .E = 1, .N = 128, .K = 128, .topk = 1, .T = 128};
            gg_config c = {mainloop,
                           64,
                           mainloop == GG_WGMMA && op == GG_FORWARD ? 128 : 64,
                           mainloop == GG_WGMMA && op == GG_DX ? 128 : 64,
                           4,
                           3,
                           tma,
                           false};
            if (checked_variant.plan_make(&p, &c, device, &plan, reason) == GG_OK)
                out[count++] = (flags){fusions[f], tma};
        }
    return count;
}

typedef struct sweep {
    rig r;
    uint64_t seed;
    bool nightly;
    int launches, kernels;
} sweep;

/* Checks one kernel; false where the planner refuses it. */
static bool check(sweep *s, gg_op op, gg_config config, flags f) {
    bool fits = false;
    config.tma = f.tma;
    for (int i = 0; i < (s->nightly ? SHAPES : 1); i++) {
        gg_plan plan;
        char reason[GG_REASON_SIZE];
        ragged shape = shapes[(s->kernels + i) % SHAPES];
        if (f.fusions & GG_FUSE_SILU) shape.N += 8; /* a multiple of 16 */
        gg_problem p = rig_problem(&s->r, &shape, op, f.fusions, s->kernels / 2 % 2 ? GG_FP16 : GG_BF16);
        if (checked_variant.plan_make(&p, &config, gg_get_device(s->r.context), &plan, reason) != GG_OK)
            continue;
        fits = true;
        for (uint64_t seed = s->seed; seed < s->seed + (s->nightly ? NIGHTLY_SEEDS : 1);
             seed++, s->launches++)
            if (rig_launch(&s->r, &plan, seed))
                fail_msg("E %d N %d K %d T %d: %s", p.E, p.N, p.K, (int)p.T, gg_error(s->r.context));
    }
    s->kernels += fits;
    return fits;
}

/* The tuner's, once each, without their own flags. */
static int tuned_configs(const gg_device *device, gg_mainloop mainloop, gg_op op,
                         gg_config configs[MOST_CONFIGS]) {
    static gg_config all[MOST_CONFIGS];
    const gg_problem wide = {.op = op, .E = 4, .N = 1024, .K = 1024, .topk = 1, .T = 4096};
    size_t found = gg_candidate_configs(&wide, device, false, all, MOST_CONFIGS);
    int count = 0;
    assert_in_range(found, 1, MOST_CONFIGS);
    for (size_t i = 0; i < found; i++) {
        gg_config c = all[i];
        bool known = c.mainloop != mainloop;
        c.tma = 0;
        for (int j = 0; j < count && !known; j++) known = same_config(&configs[j], &c);
        if (!known) configs[count++] = c;
    }
    return count;
}

/* Every tile and number of warps, rings of 2 to 4 stages in turn; the planner refuses some. */
static int wgmma_configs(gg_op op, gg_config configs[MOST_CONFIGS]) {
    int count = 0;
    for (int rows = 64; rows <= 256; rows += 64)
        for (int cols = 64; cols <= 256; cols *= 2)
            for (int warps = 4; warps <= 8; warps += 4, count++)
                configs[count] = (gg_config){GG_WGMMA,
                                             op == GG_DW ? 64 : rows,
                                             op == GG_FORWARD ? cols
                                             : op == GG_DX    ? 64
                                                              : rows,
                                             op == GG_FORWARD ? 64 : cols,
                                             warps,
                                             2 + count % 3,
                                             0,
                                             false};
    return count;
}

static void sweep_of(gg_mainloop mainloop) {
    static gg_config configs[MOST_CONFIGS];
    sweep s = {.nightly = getenv("MOEGEMM_NIGHTLY") != NULL, .seed = (uint64_t)time(NULL) / 86400};
    const char *seed = getenv("MOEGEMM_SIM_SEED");
    if (seed) s.seed = strtoull(seed, NULL, 0);
    use_sources();
    rig_open(&s.r, true);
    const gg_device *device = gg_get_device(s.r.context);
    for (gg_op op = GG_FORWARD; op < GG_NUM_OPS; op++) {
        flags sets[128];
        int set_count = legal_flags(device, mainloop, op, sets), used = 0;
        int count =
            mainloop == GG_WGMMA ? wgmma_configs(op, configs) : tuned_configs(device, mainloop, op, configs);
        assert_true(set_count > 0 && count > 0);
        /* config and flags turn together until both have been used up */
        for (int i = 0; i < count || used < set_count; i++) {
            if (check(&s, op, configs[i % count], sets[used % set_count])) used++;
            assert_in_range(i, 0, 4 * (count + set_count));
        }
        print_message("%s %d: %d configs, %d sets of flags\n", gg_mainloop_name(mainloop), (int)op, count,
                      set_count);
    }
    print_message("%d kernels, %d launches clean, seed %d\n", s.kernels, s.launches, (int)s.seed);
    rig_close(&s.r);
}

static void test_mma_sync(void **state) {
    (void)state;
    sweep_of(GG_MMA_SYNC);
}

static void test_wgmma(void **state) {
    (void)state;
    sweep_of(GG_WGMMA);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mma_sync), cmocka_unit_test(test_wgmma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
