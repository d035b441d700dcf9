/* test_bench_options.c: which problems and configs the command line of `moegemm bench` asks for. */
#include "bench.h"
#include "planning.h"
#include "words.h"

static mg_bench_options parse(const char *line) {
    char words[512], *argv[WORDS];
    mg_bench_options o;
    snprintf(words, sizeof words, "bench %s", line);
    const int argc = split_words(words, argv);
    assert_int_equal(mg_bench_parse(&o, "bench", argc, argv), 0);
    return o;
}

static void the_table_is_the_peers(void **state) {
    (void)state;
    mg_bench_options o = parse("--table");
    assert_int_equal(o.count, mg_num_peers);
    assert_true(o.rivals && o.repeat >= 20 && !o.scaling);
    for (size_t i = 0; i < o.count; i++) { /* in their order */
        const mg_bench_item *item = &o.items[i];
        assert_ptr_equal(mg_peer_find(item->model, item->problem.T, item->gemm, item->problem.op),
                         &mg_peers[i]);
        assert_int_equal(item->problem.fusions, item->gemm == 1 ? GG_PERMUTE_X : GG_PERMUTE_Y);
        assert_int_equal(item->problem.gemm, item->gemm == 1 ? GG_GEMM_FIRST : GG_GEMM_SECOND);
    }
    mg_bench_options_free(&o);
    o = parse("--table --model llama4 --seqlen 8192 --gemm 2 --mode dW"); /* a part of it */
    assert_int_equal(o.count, 1);
    char name[96];
    mg_bench_name(&o.items[0], name, sizeof name);
    assert_string_equal(name, "llama4 T8192 gemm 2 permute_y");
    assert_string_equal(mg_bench_op(&o.items[0]), "dW");
    mg_bench_options_free(&o);
}

static void curves_have_their_points(void **state) {
    (void)state;
    mg_bench_options o = parse("--scaling --model qwen3 --gemm 1 --mode forward");
    int odd = 0, tokens = 0, experts = 0;
    long long before = 0;
    for (size_t i = 0; i < o.count; i++) {
        const gg_problem *p = &o.items[i].problem;
        const bool by_tokens = !strcmp(o.items[i].axis, "tokens");
        const long long x = by_tokens ? p->T : p->E;
        if (!(i && x == 1)) assert_true(x > before); /* ascending; 1 begins the second curve */
        before = x;
        tokens += by_tokens;
        experts += !by_tokens;
        odd += p->T % 2 && p->T > 1;
        assert_true(p->topk <= p->E);
    }
    assert_int_equal(tokens, 17 + 2);
    assert_int_equal(odd, 2);
    assert_int_equal(experts, 9);
    assert_false(o.rivals);
    mg_bench_options_free(&o);
    o = parse("--scaling");
    assert_int_equal(o.count, 2 * 2 * 3 * (19 + 9));
    mg_bench_options_free(&o);
}

static void parts_of_configs_are_combined(void **state) {
    (void)state;
    gg_config configs[MG_MAX_CONFIGS];
    char reason[GG_REASON_SIZE];
    size_t refused;
    const gg_problem p = {.E = 16, .N = 512, .K = 512, .topk = 1, .T = 4096};
    const gg_config usual = gg_default_config(&p, &hopper, false);

    mg_bench_options o = parse("");
    assert_int_equal(mg_bench_configs(&o, &p, &hopper, configs, &refused, reason), 1);
    assert_true(same_config(&configs[0], &usual));
    mg_bench_options_free(&o);

    o = parse("--mainloop mma_sync --BLOCK_SIZE_M 64,128 --BLOCK_SIZE_N=64,128 --BLOCK_SIZE_K 64 --num_warps "
              "4 --num_stages 3,2 --no_tma");
    assert_int_equal(mg_bench_configs(&o, &p, &hopper, configs, &refused, reason), 8 - refused);
    assert_int_equal(refused, 0);
    for (int i = 0; i < 8; i++) {
        const gg_config expected = {.mainloop = GG_MMA_SYNC,
                                    .block_m = i & 1 ? 128 : 64,
                                    .block_n = i & 2 ? 128 : 64,
                                    .block_k = 64,
                                    .num_warps = 4,
                                    .num_stages = i & 4 ? 2 : 3};
        assert_true(same_config(&configs[i], &expected));
    }
    mg_bench_options_free(&o);

    o = parse("--num_stages 3,9 --use_tma_load_w");
    assert_int_equal(mg_bench_configs(&o, &p, &hopper, configs, &refused, reason), 1);
    assert_int_equal(configs[0].tma, GG_TMA_LOAD_W);
    assert_int_equal(refused, 1);
    assert_non_null(strstr(reason, "num_stages is 9"));
    mg_bench_options_free(&o);

    /* with a workspace copying is what is used where it pays; whoever names a mainloop or flags wants rows gathered */
    const gg_problem gathers = {
        .op = GG_DW, .fusions = GG_PERMUTE_X, .E = 16, .N = 16384, .K = 1024, .topk = 1, .T = 4096};
    static const struct {
        const char *words;
        bool workspace, copies;
    } asked[] = {{"", true, true},
                 {"--no_workspace", false, false},
                 {"--num_stages 3", true, true},
                 {"--mainloop wgmma", true, false},
                 {"--no_tma", true, false},
                 {"--use_tma_store", true, false}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        o = parse(asked[i].words);
        assert_int_equal(o.workspace, asked[i].workspace);
        assert_int_equal(mg_bench_configs(&o, &gathers, &hopper, configs, &refused, reason), 1);
        if (configs[0].copy_rows != asked[i].copies) fail_msg("'%s'", asked[i].words);
        mg_bench_options_free(&o);
    }
    o = parse("--config wgmma-bm64-bn128-bk256-w8-s4-copy_rows-tma-x-dy-store");
    assert_int_equal(mg_bench_configs(&o, &gathers, &hopper, configs, &refused, reason), 1);
    assert_true(configs[0].copy_rows && o.workspace);
    mg_bench_options_free(&o);

    o = parse("--config mma_sync-bm64-bn64-bk64-w4-s3,wgmma-bm128-bn128-bk64-w8-s4-tma-x-w");
    assert_int_equal(mg_bench_configs(&o, &p, &hopper, configs, &refused, reason), 2);
    assert_true(configs[0].mainloop == GG_MMA_SYNC && configs[1].tma == (GG_TMA_LOAD_X | GG_TMA_LOAD_W));
    mg_bench_options_free(&o);
}

/* Without the permute TMA may do what it forbade, in the same tile. */
static void the_plain_kernel_has_the_same_tile(void **state) {
    (void)state;
    gg_problem fused = {.op = GG_FORWARD,
                        .E = 16,
                        .N = 512,
                        .K = 512,
                        .topk = 1,
                        .T = 4096,
                        .fusions = GG_PERMUTE_X},
               plain;
    gg_config config = gg_default_config(&fused, &hopper, false), plain_config;
    config.num_stages = 3;
    assert_false(config.tma & GG_TMA_LOAD_X);
    mg_bench_plain(&fused, &config, &hopper, &plain, &plain_config);
    assert_int_equal(plain.fusions, 0);
    assert_int_equal(plain_config.tma, config.tma | GG_TMA_LOAD_X);
    plain_config.tma = config.tma;
    assert_true(same_config(&plain_config, &config));

    /* what has been copied is plain already */
    config.tma = GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_STORE;
    config.copy_rows = true;
    mg_bench_plain(&fused, &config, &hopper, &plain, &plain_config);
    config.copy_rows = false;
    assert_true(same_config(&plain_config, &config));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_peers),
        cmocka_unit_test(curves_have_their_points),
        cmocka_unit_test(parts_of_configs_are_combined),
        cmocka_unit_test(the_plain_kernel_has_the_same_tile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
