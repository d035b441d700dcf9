/* test_options.c: the command line of `run` and `list`: every option, every way to write one, every mistake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

enum { MAX_WORDS = 16 };

/* Parses the words of `line`, which are separated by single spaces; a '~' within a word becomes a space. */
static gg_status parse(mg_options *o, const char *line, char error[MG_ERROR_SIZE]) {
    static char text[512], *argv[MAX_WORDS]; /* what the options point into */
    int argc = 1;
    argv[0] = "run";
    snprintf(text, sizeof text, "%s", line);
    char *rest;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        for (char *c = word; *c; c++)
            if (*c == '~') *c = ' ';
        assert_true(argc < MAX_WORDS);
        argv[argc++] = word;
    }
    return mg_options_parse(o, argc, argv, error);
}

static mg_options parsed(const char *line) {
    mg_options o;
    char error[MG_ERROR_SIZE];
    if (parse(&o, line, error)) fail_msg("'%s': %s", line, error);
    assert_string_equal(error, "");
    return o;
}

static void test_defaults(void **state) {
    (void)state;
    setenv("MOEGEMM_CACHE", "/somewhere", 1);
    mg_options o;
    char error[MG_ERROR_SIZE];
    assert_int_equal(parse(&o, "", error), GG_OK);
    assert_int_equal(o.action, MG_ACTION_RUN);
    assert_null(o.keyword);
    assert_int_equal(o.num_arguments, 0);
    assert_int_equal(o.shard, 1);
    assert_int_equal(o.num_shards, 1);
    assert_null(o.execute.backend);
    assert_string_equal(o.execute.subject, "moegemm");
    assert_int_equal(o.execute.repeats, 3);
    assert_true(o.execute.user_seed == 0);
    assert_true(o.execute.sim_limit == MG_SIM_LIMIT);
    assert_int_equal(o.execute.autotune_limit, 10);
    assert_string_equal(o.execute.cache_dir, "/somewhere");
    assert_string_equal(o.execute.golden_dir, SOURCE_DIR "/golden");
    assert_int_equal(o.workers, 0);
    assert_int_equal(o.max_failures, 0);
    assert_int_equal(o.durations, -1);
    assert_true(o.show['f'] && o.show['E'] && !o.show['s'] && !o.show['p']);
    assert_int_equal(o.color, MG_COLOR_AUTO);
}

static void test_values(void **state) {
    (void)state;
    mg_options o;
#define CHECK(line, condition)                                                                               \
    do {                                                                                                     \
        o = parsed(line);                                                                                    \
        if (!(condition)) fail_msg("'%s' did not give %s", line, #condition);                                \
    } while (0)
    CHECK("-k forward~and~tma", !strcmp(o.keyword, "forward and tma"));
    CHECK("-kforward", !strcmp(o.keyword, "forward"));
    CHECK("-k=forward", !strcmp(o.keyword, "forward"));
    CHECK("-k -not~an~option", !strcmp(o.keyword, "-not an option"));
    CHECK("-k a -k b", !strcmp(o.keyword, "b")); /* the last one counts */
    CHECK("--collect-only", o.action == MG_ACTION_COLLECT);
    CHECK("--help", o.action == MG_ACTION_HELP);
    CHECK("-h --unknown", o.action == MG_ACTION_HELP);
    CHECK("--version", o.action == MG_ACTION_VERSION);
    CHECK("--lf", o.last_failed && !o.failed_first);
    CHECK("--ff", o.failed_first && !o.last_failed);
    CHECK("--shard 2/3", o.shard == 2 && o.num_shards == 3);
    CHECK("--shard=3/3", o.shard == 3);
    CHECK("--backend sim", !strcmp(o.execute.backend, "sim"));
    CHECK("--backend=cuda", !strcmp(o.execute.backend, "cuda"));
    CHECK("--backend sim --backend auto", !o.execute.backend);
    CHECK("--device 1", o.execute.device == 1);
    CHECK("--subject ./mine.so", !strcmp(o.execute.subject, "./mine.so"));
    CHECK("--golden-dir g", !strcmp(o.execute.golden_dir, "g"));
    CHECK("--cache-dir=c", !strcmp(o.execute.cache_dir, "c"));
    CHECK("--repeat 20", o.execute.repeats == 20);
    CHECK("--seed 18446744073709551615", o.execute.user_seed == UINT64_MAX);
    CHECK("--seed 0x10", o.execute.user_seed == 16);
    CHECK("--sim-limit 1e12", o.execute.sim_limit == 1e12);
    CHECK("--check race", !strcmp(getenv("MOEGEMM_SIM_CHECK"), "race"));
    CHECK("--sim-seed 7", !strcmp(getenv("MOEGEMM_SIM_SEED"), "7"));
    CHECK("--autotune-limit 4", o.execute.autotune_limit == 4);
    CHECK("--debug", o.execute.debug);
    CHECK("--generate", o.generate);
    CHECK("-n 4", o.workers == 4);
    CHECK("-n4", o.workers == 4);
    CHECK("-n 4 -n auto", o.workers == 0);
    CHECK("-x", o.max_failures == 1);
    CHECK("--maxfail=7", o.max_failures == 7);
    CHECK("--timeout 2.5", o.timeout == 2.5);
    CHECK("-v", o.verbosity == 1);
    CHECK("-vv", o.verbosity == 2);
    CHECK("-q -q -v", o.verbosity == -1);
    CHECK("-qxs", o.verbosity == -1 && o.max_failures == 1 && o.no_capture);
    CHECK("-qkforward", o.verbosity == -1 && !strcmp(o.keyword, "forward"));
    CHECK("-qk forward", o.verbosity == -1 && !strcmp(o.keyword, "forward"));
    CHECK("-s", o.no_capture);
    CHECK("--durations=0", o.durations == 0);
    CHECK("--durations-min 0", o.durations_min == 0);
    CHECK("--junitxml out.xml", !strcmp(o.junit, "out.xml"));
    CHECK("--report dir", !strcmp(o.report, "dir"));
    CHECK("--no-header", o.no_header);
    CHECK("--color=no", o.color == MG_COLOR_NO);
    CHECK("--color yes", o.color == MG_COLOR_YES);
    CHECK("-rA", o.show['p'] && o.show['P'] && o.show['s'] && o.show['f'] && o.show['m']);
    CHECK("-ra", !o.show['p'] && o.show['s'] && o.show['x'] && o.show['E']);
    CHECK("-rs", o.show['s'] && !o.show['f']);
    CHECK("-rFS", o.show['f'] && o.show['s']);
    CHECK("-rAN", !o.show['f'] && !o.show['p']);
    CHECK("-rap", o.show['p'] && o.show['s']);
    CHECK("id[1] -q @file",
          o.num_arguments == 2 && !strcmp(o.arguments[0], "id[1]") && !strcmp(o.arguments[1], "@file"));
    const unsigned all = (1u << MG_NUM_PERTURBATIONS) - (1u << MG_PERTURB_STREAM);
    CHECK("", o.execute.repeats == 3 && !o.execute.perturb && !o.no_ledger && !o.resume && !o.xfail);
    CHECK("--perturb", o.execute.perturb == all && o.execute.repeats == 7);
    CHECK("--perturb x", o.num_arguments == 1); /* a value follows a '=' */
    CHECK("--perturb=base,load",
          o.execute.repeats == 3 && o.execute.perturb == (1u << MG_PERTURB_BASE | 1u << MG_PERTURB_LOAD));
    CHECK("--perturb=batch", o.execute.repeats == 3 && o.execute.perturb == 1u << MG_PERTURB_BATCH);
    CHECK("--perturb --repeat 9", o.execute.repeats == 9);
    CHECK("--nightly", o.execute.perturb == all && o.execute.repeats == 20);
    CHECK("--no-ledger --xfail a --resume", o.no_ledger && !strcmp(o.resume, "reports/latest"));
    CHECK("--resume=b", !strcmp(o.resume, "b"));
    CHECK("-- -k", o.num_arguments == 1 && !strcmp(o.arguments[0], "-k") && !o.keyword);
#undef CHECK
}

static void test_mistakes(void **state) {
    (void)state;
    static const struct {
        const char *line, *error;
    } rows[] = {
        {"--reprot x", "unknown option '--reprot' (did you mean '--report'?)"},
        {"--colect-only", "unknown option '--colect-only' (did you mean '--collect-only'?)"},
        {"--junit-xml=a", "unknown option '--junit-xml' (did you mean '--junitxml'?)"},
        {"--shrad 1/2", "unknown option '--shrad' (did you mean '--shard'?)"},
        {"--something-else", "unknown option '--something-else'"},
        {"--perturb=wind",
         "bad value 'wind' for --perturb: choose from stream, load, sms, base, graph, negate, batch"},
        {"--perturb=load,wind",
         "bad value 'load,wind' for --perturb: choose from stream, load, sms, base, graph, negate, batch"},
        {"--perturb=none",
         "bad value 'none' for --perturb: choose from stream, load, sms, base, graph, negate, batch"},
        {"--perturb=",
         "bad value '' for --perturb: choose from stream, load, sms, base, graph, negate, batch"},
        {"--nightly=1", "--nightly takes no value, got '1'"},
        {"-Q", "unknown option '-Q'"},
        {"-qZ", "unknown option '-qZ'"},
        {"-k", "no value for -k (usage: -k EXPR)"},
        {"-k --lf", "no value for -k (usage: -k EXPR)"},
        {"--shard", "no value for --shard (usage: --shard i/n)"},
        {"--lf=yes", "--lf takes no value, got 'yes'"},
        {"--check all", "bad value 'all' for --check: choose race"},
        {"--sim-seed x", "bad value 'x' for --sim-seed: expected a whole number of at most 64 bits"},
        {"--sim-seed 99999999999999999999",
         "bad value '99999999999999999999' for --sim-seed: expected a whole number of at most 64 bits"},
        {"--seed +1", "bad value '+1' for --seed: expected a whole number of at most 64 bits"},
        {"--maxfail x", "bad value 'x' for --maxfail: expected a whole number from 0"},
        {"--maxfail -1", "bad value '-1' for --maxfail: expected a whole number from 0"},
        {"--maxfail 3x", "bad value '3x' for --maxfail: expected a whole number from 0"},
        {"--maxfail 99999999999999999999",
         "bad value '99999999999999999999' for --maxfail: expected a whole number from 0"},
        {"-n 0", "bad value '0' for -n: expected a whole number from 1"},
        {"--repeat 0", "bad value '0' for --repeat: expected a whole number from 1"},
        {"--autotune-limit 0", "bad value '0' for --autotune-limit: expected a whole number from 1"},
        {"--seed -1", "bad value '-1' for --seed: expected a whole number of at most 64 bits"},
        {"--seed 18446744073709551616",
         "bad value '18446744073709551616' for --seed: expected a whole number of at most 64 bits"},
        {"--timeout 0", "bad value '0' for --timeout: expected a number from 0.001"},
        {"--timeout nan", "bad value 'nan' for --timeout: expected a number from 0.001"},
        {"--sim-limit lots", "bad value 'lots' for --sim-limit: expected a number from 0"},
        {"--shard 0/2", "bad value '0/2' for --shard: expected i/n with i from 1 to n"},
        {"--shard 3/2", "bad value '3/2' for --shard: expected i/n with i from 1 to n"},
        {"--shard 1/2/3", "bad value '1/2/3' for --shard: expected i/n with i from 1 to n"},
        {"--shard 2", "bad value '2' for --shard: expected i/n with i from 1 to n"},
        {"--backend gpu", "bad value 'gpu' for --backend: choose from cuda, sim, auto"},
        {"--color maybe", "bad value 'maybe' for --color: choose from yes, no, auto"},
        {"--report=", "empty value for --report DIR"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_options o;
        char error[MG_ERROR_SIZE];
        if (!parse(&o, rows[i].line, error)) fail_msg("'%s' was accepted", rows[i].line);
        assert_string_equal(error, rows[i].error);
    }
}

/* Hostile lengths end in a message, not in a crash. */
static void test_long_words(void **state) {
    (void)state;
    static char word[100000];
    memset(word, 'x', sizeof word - 1);
    memcpy(word, "--", 2);
    char *argv[] = {"run", word, NULL}, error[MG_ERROR_SIZE];
    mg_options o;
    assert_int_equal(mg_options_parse(&o, 2, argv, error), GG_ERR_ARGUMENT);
    memcpy(word, "-n", 2);
    assert_int_equal(mg_options_parse(&o, 2, argv, error), GG_ERR_ARGUMENT);
    assert_true(strlen(error) < MG_ERROR_SIZE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults), cmocka_unit_test(test_values),
                                       cmocka_unit_test(test_mistakes), cmocka_unit_test(test_long_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
