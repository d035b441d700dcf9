/* test_autotune.c: the search finds the fastest, remembers it across processes, and survives kills and
 * damage. */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include "fake_backend.h"
#include "same_config.h"

/* As in autotune.c: timings of a candidate that is hopeless, of one that is not, of a comparison of the last ones. */
enum { LIMIT = 3, TRIALS = 3, TIMINGS = 5, COMPARISON = LIMIT * 11 };
static const gg_problem problem = {.op = GG_FORWARD, .E = 4, .N = 256, .K = 256, .topk = 2, .T = 512};

/* The favourite takes half of the others' time, but for one outlier in five each way, which only a
 * median survives. */
static float clock_of(fake *f) {
    bool fast = strstr(f->newest, f->favourite), outlier = f->num_timings % TIMINGS == 2;
    return outlier ? (fast ? 100 : 0.01f) : fast ? 0.5f : 1;
}

static char *tuned_path(const char *dir) {
    static char path[96];
    snprintf(path, sizeof path, "%s/tuned.tsv", dir);
    return path;
}

static gg_config nth_candidate(gg_context *context, size_t n) {
    gg_config configs[LIMIT + 1];
    assert_true(gg_candidate_configs(&problem, gg_get_device(context), false, configs, LIMIT + 1) > LIMIT);
    return configs[n];
}

static void favour(gg_context *context, const gg_config *config) {
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    assert_int_equal(gg_plan_make(&problem, config, gg_get_device(context), &plan, reason), GG_OK);
    strcpy(fake_of(context)->favourite, plan.macros);
    fake_of(context)->milliseconds = clock_of;
}

static size_t last_timings; /* launches timed by the latest tune */

/* Tunes in a context of its own; `nth` is the candidate that the clock favours. */
static gg_config tune(const char *dir, gg_problem p, size_t limit, size_t nth, bool debug,
                      size_t expected_timings) {
    gg_context *context = fake_context(dir, debug);
    gg_tensors tensors = fake_tensors();
    gg_config best, favourite = nth_candidate(context, nth);
    size_t measured = 99;
    favour(context, &favourite);
    gg_status status = gg_autotune(context, &p, &tensors, limit, &best, &measured);
    if (status) fail_msg("%s", gg_error(context));
    assert_int_equal(measured, expected_timings);
    size_t timings = (size_t)fake_of(context)->num_timings;
    assert_in_range(timings, TRIALS * expected_timings, TIMINGS * expected_timings + COMPARISON);
    assert_int_equal(fake_of(context)->num_flushes, timings); /* each with a cold cache */
    last_timings = timings;
    gg_close(context);
    return best;
}

static void assert_same(gg_config a, gg_config b) { assert_true(same_config(&a, &b)); }

static gg_config nth(const char *dir, size_t n) {
    gg_context *context = fake_context(dir, false);
    gg_config config = nth_candidate(context, n);
    gg_close(context);
    return config;
}

static void the_fastest_is_found(void **state) {
    assert_same(tune(*state, problem, LIMIT, 2, false, LIMIT), nth(*state, 2));
}

/* The clock has changed its mind by then: only memory can give the old answer. */
static void a_second_process_times_nothing(void **state) {
    tune(*state, problem, LIMIT, 2, false, LIMIT);
    pid_t child = fork();
    if (child == 0) {
        assert_same(tune(*state, problem, LIMIT, 0, false, 0), nth(*state, 2));
        assert_int_equal(last_timings, 0);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* The others after the favourite are given up after the trials; before it nothing is known to be better. */
static void hopeless_candidates_cost_little(void **state) {
    tune(*state, problem, LIMIT, 0, false, LIMIT);
    assert_int_equal(last_timings, TIMINGS + (LIMIT - 1) * TRIALS);
    remove(tuned_path(*state));
    tune(*state, problem, LIMIT, LIMIT - 1, false, LIMIT);
    assert_int_equal(last_timings, LIMIT * TIMINGS);
}

static float clock_of_absurdities(fake *f) { return strstr(f->newest, f->favourite) ? 0.25f : 1; }

static void absurd_candidates_cost_one_timing(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_config best, favourite = nth_candidate(context, 0);
    favour(context, &favourite);
    fake_of(context)->milliseconds = clock_of_absurdities;
    assert_int_equal(gg_autotune(context, &problem, &tensors, LIMIT, &best, NULL), GG_OK);
    assert_same(best, favourite);
    assert_int_equal(fake_of(context)->num_timings, TIMINGS + (LIMIT - 1));
    gg_close(context);
}

/* A card that grows slower: the favourite is 3% faster, but is timed when all takes longer. */
static float sagging_clock(fake *f) {
    const float sag = 1 + 0.02f * (float)f->num_timings;
    return (strstr(f->newest, f->favourite) ? 0.97f : 1) * sag;
}

static void a_clock_that_drifts_decides_nothing(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_config best, favourite = nth_candidate(context, 1);
    favour(context, &favourite);
    fake_of(context)->milliseconds = sagging_clock;
    assert_int_equal(gg_autotune(context, &problem, &tensors, 2, &best, NULL), GG_OK);
    assert_same(best, favourite);
    assert_true(fake_of(context)->num_timings > 2 * TIMINGS); /* the two were compared once more */
    gg_close(context);
}

typedef struct progress {
    const char *dir;
    size_t compiled, timed, kernels; /* kernels: on disk when the first is timed */
} progress;

static size_t count_kernels(const char *dir) {
    char path[96];
    size_t count = 0;
    snprintf(path, sizeof path, "%s/kernels", dir);
    DIR *folder = opendir(path);
    for (struct dirent *item; folder && (item = readdir(folder));) {
        size_t length = strlen(item->d_name);
        count += length > 3 && !strcmp(item->d_name + length - 3, ".so");
    }
    if (folder) closedir(folder);
    return count;
}

static void watch(void *data, const char *stage, size_t done, size_t total) {
    progress *p = data;
    if (!strcmp(stage, "compiling")) p->compiled = done;
    if (strcmp(stage, "timing")) return;
    assert_int_equal(total, LIMIT);
    if (!p->timed++) p->kernels = count_kernels(p->dir);
}

static void kernels_are_compiled_before_any_is_timed(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_config best;
    progress p = {.dir = *state};
    assert_int_equal(gg_autotune_watched(context, &problem, &tensors, LIMIT, &best, NULL, watch, &p), GG_OK);
    assert_int_equal(p.compiled, LIMIT);
    assert_int_equal(p.kernels, LIMIT);
    assert_int_equal(p.timed, LIMIT);
    p = (progress){.dir = *state};
    assert_int_equal(gg_autotune_watched(context, &problem, &tensors, LIMIT, &best, NULL, watch, &p), GG_OK);
    assert_int_equal(p.compiled + p.timed, 0); /* remembered */
    gg_close(context);
}

static float killed_in_third(fake *f) {
    if (f->num_timings == 2 * TIMINGS + 2) raise(SIGKILL);
    return clock_of(f);
}

static void a_killed_search_keeps_its_timings(void **state) {
    pid_t child = fork();
    if (child == 0) {
        gg_context *context = fake_context(*state, false);
        gg_tensors tensors = fake_tensors();
        gg_config best, favourite = nth_candidate(context, 1);
        favour(context, &favourite);
        fake_of(context)->milliseconds = killed_in_third;
        gg_autotune(context, &problem, &tensors, LIMIT, &best, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_same(tune(*state, problem, LIMIT, 1, false, 1), nth(*state, 1));
}

static void a_wider_search_goes_on(void **state) {
    tune(*state, problem, 2, 2, false, 2); /* does not get to the fastest */
    assert_same(tune(*state, problem, LIMIT, 2, false, 1), nth(*state, 2));
    tune(*state, problem, 1, 0, false, 0); /* a narrower one is answered by it */
}

static void what_matters_is_in_the_key(void **state) {
    gg_problem same_bucket = problem, other;
    tune(*state, problem, 1, 0, false, 1);
    same_bucket.T = 640; /* 320 rows an expert instead of 256 */
    tune(*state, same_bucket, 1, 0, false, 0);
#define OTHER(field, value)                                                                                  \
    other = problem;                                                                                         \
    other.field = value;                                                                                     \
    tune(*state, other, 1, 0, false, 1)
    OTHER(T, 1024);
    OTHER(E, 8);
    OTHER(N, 264);
    OTHER(K, 264);
    OTHER(dtype, GG_FP16);
    OTHER(op, GG_DX);
    OTHER(gemm, GG_GEMM_FIRST);
    OTHER(fusions, GG_PERMUTE_X);
    OTHER(topk, 3);
#undef OTHER
    tune(*state, problem, 1, 0, true, 1); /* another kernel: the debug build */
    tune(*state, problem, 1, 0, false, 0);
}

/* --- damage --- */

static size_t read_lines(const char *dir, char text[1 << 14]) {
    FILE *file = fopen(tuned_path(dir), "r");
    assert_non_null(file);
    size_t size = fread(text, 1, (1 << 14) - 1, file), lines = 0;
    text[size] = 0;
    fclose(file);
    for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
    return lines;
}

static void write_text(const char *dir, const char *text) {
    FILE *file = fopen(tuned_path(dir), "w");
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void damaged_lines_count_for_nothing(void **state) {
    char text[1 << 14];
    tune(*state, problem, LIMIT, 1, false, LIMIT);
    assert_int_equal(read_lines(*state, text), LIMIT + 1);

    /* one digit of the first timing: that one is timed again */
    strstr(text, "best\t")[0] = 0;
    char *digit = strstr(text, "1.000000");
    assert_non_null(digit);
    *digit = '0';
    write_text(*state, text);
    assert_same(tune(*state, problem, LIMIT, 1, false, 1), nth(*state, 1));

    /* a "best" torn by a kill: only it is made again, on a line of its own */
    read_lines(*state, text);
    strrchr(text, '\t')[-3] = 0;
    write_text(*state, text);
    assert_same(tune(*state, problem, LIMIT, 1, false, 0), nth(*state, 1));
    read_lines(*state, text);
    char *torn = strstr(text, "\nbest\t");
    assert_non_null(strstr(torn + 1, "\nbest\t"));

    write_text(*state, "\n\t\t\n\x01garbage\nbest\ntime\t\t\n");
    tune(*state, problem, LIMIT, 1, false, LIMIT);
}

/* As a file system leaves them that was cut off: what is written behind them is read all the same. */
static void zeros_hide_nothing(void **state) {
    static const char zeros[64];
    gg_problem other = problem;
    other.T *= 2;
    tune(*state, problem, LIMIT, 1, false, LIMIT);
    FILE *file = fopen(tuned_path(*state), "a");
    assert_int_equal(fwrite(zeros, 1, sizeof zeros, file), sizeof zeros);
    assert_int_equal(fclose(file), 0);
    tune(*state, other, LIMIT, 1, false, LIMIT);
    assert_same(tune(*state, other, LIMIT, 1, false, 0), nth(*state, 1));
    assert_same(tune(*state, problem, LIMIT, 1, false, 0), nth(*state, 1));
}

static void an_unusable_cache_names_the_fix(void **state) {
    char path[96];
    gg_config best;
    gg_tensors tensors = fake_tensors();
    snprintf(path, sizeof path, "%s/file", (char *)*state);
    fclose(fopen(path, "w"));
    gg_context *context = fake_context(path, false);
    assert_int_equal(gg_autotune(context, &problem, &tensors, 1, &best, NULL), GG_ERR_IO);
    assert_non_null(strstr(gg_error(context), "MOEGEMM_CACHE"));
    gg_close(context);
}

/* --- faults and use --- */

static void configs_that_do_not_run_lose(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_config best;
    size_t measured;
    fake_of(context)->launch_status = GG_ERR_LAUNCH;
    assert_int_equal(gg_autotune(context, &problem, &tensors, LIMIT, &best, &measured), GG_ERR_LAUNCH);
    assert_int_equal(measured, 0);
    assert_int_equal(fake_of(context)->num_launches, LIMIT); /* every one was tried */

    fake_of(context)->synchronize_status = GG_ERR_LAUNCH; /* the device is lost: no more are */
    assert_int_equal(gg_autotune(context, &problem, &tensors, LIMIT, &best, &measured), GG_ERR_LAUNCH);
    assert_int_equal(fake_of(context)->num_launches, LIMIT + 1);
    gg_close(context);
}

static void refusals_have_a_reason(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_problem p = problem;
    gg_config best;
    p.fusions = GG_FUSE_MUL_POST;
    assert_int_equal(gg_autotune(context, &p, &tensors, LIMIT, &best, NULL), GG_ERR_REFUSED);
    assert_non_null(strstr(gg_error(context), "fuse_mul_post"));
    tensors.w = NULL;
    assert_int_equal(gg_autotune(context, &problem, &tensors, LIMIT, &best, NULL), GG_ERR_ARGUMENT);
    assert_non_null(strstr(gg_error(context), "'w'"));
    gg_close(context);
}

static void no_rows_need_no_search(void **state) {
    gg_problem p = problem;
    p.T = 0;
    tune(*state, p, LIMIT, 0, false, 0);
}

static void tuned_configs_are_used(void **state) {
    gg_context *context = fake_context(*state, false);
    gg_tensors tensors = fake_tensors();
    gg_config config, favourite = nth_candidate(context, 2),
                      usual = gg_default_config(&problem, gg_get_device(context), false);
    assert_same(gg_resolve_config(context, &problem, false), usual);
    favour(context, &favourite);
    assert_int_equal(gg_autotune(context, &problem, &tensors, LIMIT, &config, NULL), GG_OK);
    assert_same(gg_resolve_config(context, &problem, false), favourite);
    assert_int_equal(gg_forward(context, &problem, NULL, &tensors, NULL), GG_OK);
    assert_non_null(strstr(fake_of(context)->newest, fake_of(context)->favourite));
    gg_close(context);

    context = fake_context(*state, false); /* from the file */
    assert_same(gg_resolve_config(context, &problem, false), favourite);
    gg_close(context);
    context = fake_context(*state, true); /* tuned for another kernel */
    assert_same(gg_resolve_config(context, &problem, false), usual);
    gg_close(context);
}

/* The search finds the answer of another process, made after this one had looked for it in vain. */
static void answers_of_others_are_used(void **state) {
    gg_context *context = fake_context(*state, false);
    const gg_tensors tensors = fake_tensors();
    const gg_config usual = gg_default_config(&problem, gg_get_device(context), false);
    const gg_config favourite = nth_candidate(context, 2);
    gg_config best;
    size_t measured;
    assert_same(gg_resolve_config(context, &problem, false), usual);
    assert_same(tune(*state, problem, LIMIT, 2, false, LIMIT), favourite);
    assert_int_equal(gg_autotune(context, &problem, &tensors, LIMIT, &best, &measured), GG_OK);
    assert_int_equal(measured, 0);
    assert_same(best, favourite);
    assert_same(gg_resolve_config(context, &problem, false), favourite);
    gg_close(context);
}

/* A problem whose rows are gathered, with room for them where there is any. */
static gg_problem gathering(void) {
    gg_problem p = problem;
    p.fusions = GG_PERMUTE_X;
    return p;
}
static gg_tensors with_workspace(const gg_problem *p, size_t less) {
    gg_tensors tensors = fake_tensors();
    tensors.workspace = FAKE_POINTER(11);
    tensors.workspace_bytes = gg_workspace_bytes(p) - less;
    return tensors;
}

/* The GEMM of rows that have been copied is the faster. */
static float clock_of_copies(fake *f) { return strstr(f->newest, "PERMUTE_X=0") ? 0.5f : 1; }

/* The search launches copies only where there is a workspace; the answer with one and that without are kept apart, in memory and
 * in the file, and neither is given for the other. */
static void a_workspace_has_answers_of_its_own(void **state) {
    enum { MOST = 8 };
    const gg_problem p = gathering();
    const gg_tensors room = with_workspace(&p, 0), none = fake_tensors(), little = with_workspace(&p, 16);
    gg_context *context = fake_context(*state, false);
    fake *f = fake_of(context);
    gg_config with, without, again;
    size_t measured;
    f->milliseconds = clock_of_copies;
    assert_int_equal(gg_autotune(context, &p, &room, MOST, &with, &measured), GG_OK);
    assert_int_equal(measured, MOST);
    assert_true(with.copy_rows);
    assert_true(gg_resolve_config(context, &p, true).copy_rows);
    assert_false(gg_resolve_config(context, &p, false).copy_rows);

    /* a workspace that is too small is none: the same limit, but nothing remembered for it */
    const int launches = f->num_launches;
    assert_int_equal(gg_autotune(context, &p, &little, MOST, &without, &measured), GG_OK);
    assert_int_equal(measured, MOST);
    assert_true(f->num_launches > launches);
    assert_false(without.copy_rows);
    assert_int_equal(gg_autotune(context, &p, &none, MOST, &again, &measured), GG_OK);
    assert_int_equal(measured, 0);
    assert_same(again, without);
    assert_same(gg_resolve_config(context, &p, true), with);
    assert_same(gg_resolve_config(context, &p, false), without);
    gg_close(context);

    context = fake_context(*state, false); /* from the file */
    assert_same(gg_resolve_config(context, &p, false), without);
    assert_same(gg_resolve_config(context, &p, true), with);
    f = fake_of(context);
    assert_int_equal(gg_forward(context, &p, NULL, &none, NULL), GG_OK);
    assert_int_equal(f->num_launches, 1);
    assert_non_null(strstr(f->newest, "PERMUTE_X=1"));
    assert_int_equal(gg_forward(context, &p, NULL, &room, NULL), GG_OK);
    assert_int_equal(f->num_launches, 3);
    assert_string_equal(f->launches[1].label, "copy_rows.cu");
    assert_non_null(strstr(f->newest, "PERMUTE_X=0"));
    assert_int_equal(gg_autotune(context, &p, &room, MOST, &again, &measured), GG_OK);
    assert_int_equal(measured, 0);
    assert_same(again, with);
    gg_close(context);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(the_fastest_is_found),
        TEST(a_second_process_times_nothing),
        TEST(hopeless_candidates_cost_little),
        TEST(absurd_candidates_cost_one_timing),
        TEST(a_clock_that_drifts_decides_nothing),
        TEST(kernels_are_compiled_before_any_is_timed),
        TEST(a_killed_search_keeps_its_timings),
        TEST(a_wider_search_goes_on),
        TEST(what_matters_is_in_the_key),
        TEST(damaged_lines_count_for_nothing),
        TEST(zeros_hide_nothing),
        TEST(an_unusable_cache_names_the_fix),
        TEST(configs_that_do_not_run_lose),
        TEST(refusals_have_a_reason),
        TEST(no_rows_need_no_search),
        TEST(tuned_configs_are_used),
        TEST(answers_of_others_are_used),
        TEST(a_workspace_has_answers_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
