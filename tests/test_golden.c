/* test_golden.c: the corpus: what C draws, computes and derives has the digests that NumPy's has; a flipped
 * byte, a missing file and a broken table are errors; generating heals, and leaves nothing behind when it
 * fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "commands.h"
#include "compare.h"
#include "corpus.h"
#include "oracle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define GOLDEN SOURCE_DIR "/golden"

/* A fresh folder for each test: `golden` (made on demand) and `cache` (of generated goldens) in it. */
typedef struct fixture {
    char folder[64], golden[128], cache[128];
    mg_corpus *corpus; /* of the repository's golden/ and an empty cache */
} fixture;

static int set_up(void **state) {
    char error[MG_ERROR_SIZE];
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/test_golden-XXXXXX");
    if (!f || !mkdtemp(f->folder)) return -1;
    snprintf(f->golden, sizeof f->golden, "%s/golden", f->folder);
    snprintf(f->cache, sizeof f->cache, "%s/cache/golden", f->folder);
    *state = f;
    return mg_corpus_open(&f->corpus, GOLDEN, f->cache, error);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static int tear_down(void **state) {
    fixture *f = *state;
    mg_corpus_close(f->corpus);
    nftw(f->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Copies golden/NAME into the fixture's golden folder; with offset >= 0 one bit of that byte is flipped. */
static void copy_golden(const fixture *f, const char *name, long offset) {
    char from[512], to[512];
    snprintf(from, sizeof from, GOLDEN "/%s", name);
    snprintf(to, sizeof to, "%s/%s", f->golden, name);
    for (char *slash = to + strlen(f->folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(to, 0777);
        *slash = '/';
    }
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    long at = 0;
    for (int byte; (byte = fgetc(in)) != EOF; at++) fputc(at == offset ? byte ^ 1 : byte, out);
    assert_true(offset < at);
    fclose(in);
    fclose(out);
}

static gg_status open_copy(const fixture *f, mg_corpus **corpus, char *error) {
    return mg_corpus_open(corpus, f->golden, f->cache, error);
}

/* --- what is in the tables --- */

static void test_problems(void **state) {
    (void)state;
    size_t count;
    const mg_problem *problems = mg_problems(&count);
    assert_true(count >= 100);
    for (size_t i = 0; i < count; i++) {
        const mg_problem *p = &problems[i];
        assert_ptr_equal(mg_problem_find(p->key), p); /* no key twice */
        assert_true(p->E > 0 && p->topk > 0 && p->topk <= p->E && p->M == p->T * p->topk);
        assert_true(p->N % 8 == 0 && p->K % 8 == 0 && p->classes && p->dtypes && p->groups);
    }
    assert_null(mg_problem_find("W1-topk4-E16-T128-H128-I128"));
    const mg_problem *p = mg_problem_find("W2-topk8-E128-T1024-H2048-I768-mult");
    assert_non_null(p);
    assert_int_equal(p->N, 2048);
    assert_int_equal(p->K, 768);
    assert_int_equal(p->M, 8192);
    assert_int_equal(p->store, MG_STORE_HASH);
    assert_int_equal(p->groups, MG_GROUP_LARGE);
    assert_string_equal(p->routing, "topk8-E128-T1024-mult");
}

/* The manifest's kinds are those that the problems table says, and what is committed is there. */
static void test_committed(void **state) {
    const fixture *f = *state;
    size_t count, committed = 0;
    const mg_problem *problems = mg_problems(&count);
    for (size_t i = 0; i < count; i++)
        for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++)
            for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
                for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++) {
                    const mg_problem *p = &problems[i];
                    static const gg_op ops[] = {GG_FORWARD, GG_DX, GG_DW};
                    char name[32], array[MG_FILE_SIZE];
                    if (p->store == MG_STORE_HASH || !(p->classes >> cls & 1 && p->dtypes >> dtype & 1))
                        continue;
                    snprintf(name, sizeof name, "%s%s.npy", mg_output_name(output),
                             cls == MG_REAL ? "-c" : "");
                    mg_array_name(p, cls, dtype, name, array);
                    bool wanted = mg_is_committed(p, cls, dtype, ops[output]);
                    bool derived = wanted && dtype == GG_FP16; /* which C computes: no file */
                    if (derived) array[strlen(array) - strlen(".npy")] = 0;
                    const mg_manifest_row *row = mg_manifest_find(f->corpus, array);
                    assert_non_null(row);
                    assert_string_equal(row->kind, derived ? "derived" : wanted ? "committed" : "generated");
                    size_t missing = mg_golden_missing(f->corpus, p, cls, dtype, 1u << output, NULL);
                    assert_int_equal(missing, wanted ? 0 : cls == MG_REAL ? 2 : 1);
                    committed += wanted;
                }
    assert_true(committed > 200);
}

static int compare_ints(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

/* The routing of every distribution is a stable sort by expert and has the sizes that its name says. */
static void test_routing(void **state) {
    const fixture *f = *state;
    static const struct {
        const char *key;
        int32_t sizes[11];
    } rows[] = {
        {"W1-topk2-E8-T150-H72-I36-balanced", {38, 38, 38, 38, 37, 37, 37, 37}},
        {"W1-topk2-E8-T150-H72-I36-one", {0, 0, 0, 0, 300, 0, 0, 0}},
        {"W1-topk2-E8-T150-H72-I36-edge", {31, 32, 33, 63, 64, 65, 12, 0}},
        {"W1-topk1-E11-T673-H40-I36-edge", {31, 32, 33, 63, 64, 65, 127, 128, 129, 0, 1}},
        {"W1-topk2-E8-T150-H72-I36-emptyfirst", {0, 0, -1, -1, -1, -1, -1, -1}},
        {"W1-topk2-E8-T150-H72-I36-emptymid", {-1, -1, -1, 0, 0, -1, -1, -1}},
        {"W1-topk2-E8-T150-H72-I36-emptylast", {-1, -1, -1, -1, -1, -1, 0, 0}},
        {"W1-topk2-E8-T150-H72-I36-skewed", {111, 67, 50, 23, 12, 13, 13, 11}},
        {"W1-topk2-E4-T0-H72-I20-mult", {0}},
        {"W1-topk1-E7-T771-H40-I20-wide", {256, 0, 0, 255, 1, 257, 2}},
        {"W1-topk2-E5-T35-H40-I12-sorted", {14, 14, 14, 14, 14}},
        {"W2-topk2-E5-T35-H40-I24-reversed", {14, 14, 14, 14, 14}},
        {"W1-topk12-E12-T11-H40-I12-mult", {11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char error[MG_ERROR_SIZE] = "";
        mg_inputs in;
        const mg_problem *p = mg_problem_find(rows[i].key);
        assert_non_null(p);
        if (mg_inputs_load(f->corpus, p, MG_UNIT, GG_BF16, 0, &in, error)) fail_msg("%s", error);
        int64_t row = 0;
        for (int32_t e = 0; e < p->E; e++) { /* -1: not empty */
            if (e < 11)
                assert_true(rows[i].sizes[e] < 0 ? in.m_sizes[e] > 0 : in.m_sizes[e] == rows[i].sizes[e]);
            for (int32_t j = 1; j < in.m_sizes[e]; j++)
                assert_true(in.gather_indices[row + j - 1] < in.gather_indices[row + j]);
            row += in.m_sizes[e];
        }
        assert_int_equal(row, p->M);
        if (p->M) qsort(in.gather_indices, (size_t)p->M, sizeof *in.gather_indices, compare_ints);
        for (int32_t slot = 0; slot < p->M; slot++) assert_int_equal(in.gather_indices[slot], slot);
        mg_inputs_free(&in);
    }
}

/* --- C against NumPy --- */

static void check_digest(const fixture *f, const mg_problem *p, mg_class cls, gg_dtype dtype,
                         const char *name, const void *data, size_t bytes) {
    char error[MG_ERROR_SIZE] = "";
    if (mg_golden_check(f->corpus, p, cls, dtype, name, data, bytes, error)) fail_msg("%s", error);
}

/* Inputs, the three outputs, and what is derived from them, of every class and type. */
static void test_oracle(void **state) {
    const fixture *f = *state;
    static const char *const keys[] = {
        "W1-topk4-E16-T128-H32-I32-mult", "W2-topk2-E8-T150-H72-I136-edge",  "W1-topk3-E5-T61-H40-I164-mult",
        "W2-topk3-E5-T61-H328-I40-mult",  "W1-topk2-E8-T150-H72-I36-one",    "W2-topk2-E4-T0-H72-I40-mult",
        "W1-topk2-E4-T7-H72-I20-mult",    "W1-topk1-E4-T128-H128-I128-mult",
    };
    for (size_t i = 0; i < COUNT(keys); i++)
        for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++)
            for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
                char error[MG_ERROR_SIZE] = "", name[32];
                mg_inputs in;
                const mg_problem *p = mg_problem_find(keys[i]);
                assert_non_null(p);
                if (!(p->classes >> cls & 1)) continue; /* hostile is made from exact: test_hostile.c */
                if (mg_inputs_load(f->corpus, p, cls, dtype, 0, &in, error)) fail_msg("%s", error);
                for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++) {
                    mg_golden g;
                    const char *stem = mg_output_name(output);
                    assert_int_equal(mg_oracle(p, cls, dtype, output, &in, &g), GG_OK);
                    size_t count = g.rows * g.cols;
                    if (cls == MG_REAL) {
                        snprintf(name, sizeof name, "%s-c.npy", stem);
                        check_digest(f, p, cls, dtype, name, g.c, count * sizeof *g.c);
                        snprintf(name, sizeof name, "%s-s.npy", stem);
                        check_digest(f, p, cls, dtype, name, g.s, count * sizeof *g.s);
                        mg_golden_free(&g);
                        continue;
                    }
                    bool derived = dtype == GG_FP16 && mg_is_committed(p, cls, dtype, (gg_op)output);
                    snprintf(name, sizeof name, "%s%s", stem, derived ? "" : ".npy");
                    check_digest(f, p, cls, dtype, name, g.bits, count * sizeof *g.bits);
                    if (output == MG_OUT_Y && p->gemm == GG_GEMM_SECOND) {
                        mg_golden_mul_post(&g, dtype, in.topk_weights, in.gather_indices);
                        check_digest(f, p, cls, dtype, "y_mul", g.bits, count * sizeof *g.bits);
                    }
                    if (output == MG_OUT_DX && p->gemm == GG_GEMM_FIRST && p->topk > 1) {
                        size_t K = g.cols, T = (size_t)p->T;
                        uint16_t *slots = malloc(count * 2 + 2), *tokens = malloc(T * K * 2 + 2);
                        for (size_t row = 0; row < g.rows; row++)
                            memcpy(slots + (size_t)in.gather_indices[row] * K, g.bits + row * K, K * 2);
                        mg_reduce_topk_host(dtype, p->T, p->topk, p->K, slots, tokens);
                        check_digest(f, p, cls, dtype, "dx_reduced", tokens, T * K * 2);
                        free(slots);
                        free(tokens);
                    }
                    mg_golden_free(&g);
                }
                if (p->M) { /* the digest sees one bit */
                    in.dy[p->M / 2] ^= 1;
                    assert_int_equal(mg_golden_check(f->corpus, p, cls, dtype, "dy", in.dy,
                                                     (size_t)p->M * (size_t)p->N * 2, error),
                                     GG_ERR_IO);
                    assert_non_null(strstr(error, "wrong sha256"));
                }
                mg_inputs_free(&in);
            }
}

static uint64_t hash_of(mg_hash_output output, uint64_t first_index, const uint16_t *bits, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += mg_splitmix64(mg_hash_key(output) + ((first_index + i) << 16 | bits[i]));
    return sum;
}

/* The hash goldens of one expert of each full-size model: the problem of that expert alone, computed in C. */
static void test_hashes(void **state) {
    const fixture *f = *state;
    static const struct {
        const char *key;
        int32_t expert;
    } rows[] = {{"W2-topk1-E16-T128-H1024-I1024-mult", 3},
                {"W1-topk8-E128-T128-H2048-I768-mult", 100},
                {"W2-topk8-E128-T128-H2048-I768-mult", 127}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char error[MG_ERROR_SIZE] = "";
        const mg_problem *p = mg_problem_find(rows[i].key);
        const size_t N = (size_t)p->N, K = (size_t)p->K, M = (size_t)p->M, e = (size_t)rows[i].expert;
        const size_t x_rows = p->gemm == GG_GEMM_FIRST ? (size_t)p->T : M;
        mg_inputs all, one;
        if (mg_inputs_load(f->corpus, p, MG_EXACT, GG_BF16, 0, &all, error)) fail_msg("%s", error);
        assert_null(all.x);
        size_t start = 0;
        for (size_t before = 0; before < e; before++) start += (size_t)all.m_sizes[before];

        mg_problem alone = *p;
        alone.E = 1;
        alone.M = all.m_sizes[e];
        assert_true(alone.M > 0);
        mg_draw x = mg_tensor_draw(p, MG_EXACT, "x", 0), w = mg_tensor_draw(p, MG_EXACT, "w", 0);
        mg_draw dy = mg_tensor_draw(p, MG_EXACT, "dy", 0);
        one = (mg_inputs){.m_sizes = all.m_sizes + e, .gather_indices = all.gather_indices + start};
        uint16_t *all_x = one.x = malloc(x_rows * K * 2);
        one.w = malloc(N * K * 2);
        one.dy = malloc(M * N * 2);
        mg_fill_integers(x.seed, x.bits, x.scale_log2, GG_BF16, 0, x_rows * K, one.x);
        mg_fill_integers(w.seed, w.bits, w.scale_log2, GG_BF16, e * N * K, N * K, one.w);
        mg_fill_integers(dy.seed, dy.bits, dy.scale_log2, GG_BF16, 0, M * N, one.dy);
        if (p->gemm == GG_GEMM_SECOND) one.x += start * K;

        static const mg_hash_output keys[] = {MG_HASH_Y, MG_HASH_DX, MG_HASH_DW};
        for (mg_output output = 0; output < MG_NUM_OUTPUTS; output++) {
            mg_golden g;
            const uint64_t *hashes;
            size_t count;
            assert_int_equal(mg_oracle(&alone, MG_EXACT, GG_BF16, output, &one, &g), GG_OK);
            assert_int_equal(mg_golden_hashes(f->corpus, p, GG_BF16, keys[output], &hashes, &count, error),
                             GG_OK);
            assert_int_equal(count, p->E);
            uint64_t first = output == MG_OUT_DW ? e * N * K : start * g.cols;
            assert_true(hash_of(keys[output], first, g.bits, g.rows * g.cols) == hashes[e]);
            if (output == MG_OUT_Y && p->gemm == GG_GEMM_SECOND) {
                mg_golden_mul_post(&g, GG_BF16, all.topk_weights, one.gather_indices);
                assert_int_equal(
                    mg_golden_hashes(f->corpus, p, GG_BF16, MG_HASH_Y_MUL, &hashes, &count, error), GG_OK);
                assert_true(hash_of(MG_HASH_Y_MUL, first, g.bits, g.rows * g.cols) == hashes[e]);
            }
            g.bits[0] ^= 1; /* one wrong bit shows */
            assert_true(hash_of(keys[output], first, g.bits, g.rows * g.cols) != hashes[e]);
            mg_golden_free(&g);
        }
        free(all_x);
        free(one.w);
        free(one.dy);
        mg_inputs_free(&all);
    }
}

/* Another seed gives other data on the same routing, with goldens that belong to it. */
static void test_user_seed(void **state) {
    const fixture *f = *state;
    char error[MG_ERROR_SIZE] = "";
    const mg_problem *p = mg_problem_find("W1-topk4-E4-T128-H32-I32-mult");
    mg_inputs ours, theirs;
    mg_golden golden, committed;
    assert_int_equal(mg_inputs_load(f->corpus, p, MG_EXACT, GG_BF16, 9, &ours, error), GG_OK);
    assert_int_equal(mg_inputs_load(f->corpus, p, MG_EXACT, GG_BF16, 0, &theirs, error), GG_OK);
    assert_memory_equal(ours.gather_indices, theirs.gather_indices, (size_t)p->M * 4);
    assert_memory_not_equal(ours.x, theirs.x, (size_t)p->T * (size_t)p->K * 2);
    assert_int_equal(mg_golden_load(f->corpus, p, MG_EXACT, GG_BF16, MG_OUT_Y, 9, &golden, error), GG_OK);
    assert_int_equal(mg_golden_load(f->corpus, p, MG_EXACT, GG_BF16, MG_OUT_Y, 0, &committed, error), GG_OK);
    assert_memory_not_equal(golden.bits, committed.bits, golden.rows * golden.cols * 2);
    double sum = 0; /* one element by hand */
    for (int32_t k = 0; k < p->K; k++)
        sum += (double)mg_float_from_bits(GG_BF16, ours.x[ours.gather_indices[0] / p->topk * p->K + k]) *
               (double)mg_float_from_bits(GG_BF16, ours.w[p->K + k]);
    assert_true(ours.m_sizes[0] > 0);
    assert_int_equal(golden.bits[1], mg_bits_from_double(GG_BF16, sum));
    mg_golden_free(&golden);
    mg_golden_free(&committed);
    mg_inputs_free(&ours);
    mg_inputs_free(&theirs);
}

/* --- faults --- */

static void test_flipped_byte(void **state) {
    const fixture *f = *state;
    char error[MG_ERROR_SIZE] = "";
    mg_corpus *corpus;
    mg_golden golden;
    const mg_problem *p = mg_problem_find("W1-topk1-E4-T128-H32-I32-mult");
    static const char y[] = "W1-topk1-E4-T128-H32-I32-mult/exact-bf16-y.npy";
    copy_golden(f, "manifest.tsv", -1);
    copy_golden(f, "hashes.tsv", -1);
    copy_golden(f, y, -1);
    assert_int_equal(open_copy(f, &corpus, error), GG_OK);
    assert_int_equal(mg_golden_load(corpus, p, MG_EXACT, GG_BF16, MG_OUT_Y, 0, &golden, error), GG_OK);
    assert_int_equal(golden.rows, 128);
    assert_int_equal(golden.cols, 64);
    mg_golden_free(&golden);

    copy_golden(f, y, 5000); /* in the data */
    assert_int_equal(mg_golden_load(corpus, p, MG_EXACT, GG_BF16, MG_OUT_Y, 0, &golden, error), GG_ERR_IO);
    assert_null(golden.bits);
    assert_non_null(strstr(error, "wrong sha256 of"));
    assert_non_null(strstr(error, y));
    assert_non_null(strstr(error, "run 'moegemm golden generate'"));
    copy_golden(f, y, 60); /* in the header: 'shape' */
    assert_int_equal(mg_golden_load(corpus, p, MG_EXACT, GG_BF16, MG_OUT_Y, 0, &golden, error), GG_ERR_IO);

    assert_int_equal(mg_golden_load(corpus, p, MG_EXACT, GG_BF16, MG_OUT_DX, 0, &golden, error), GG_ERR_IO);
    assert_non_null(strstr(error, "no such golden"));
    mg_corpus_close(corpus);
}

static void test_broken_tables(void **state) {
    const fixture *f = *state;
    char error[MG_ERROR_SIZE] = "";
    mg_corpus *corpus;
    assert_int_equal(open_copy(f, &corpus, error), GG_ERR_IO); /* no folder */
    assert_null(corpus);
    assert_non_null(strstr(error, "manifest.tsv"));
    copy_golden(f, "manifest.tsv", -1);
    copy_golden(f, "hashes.tsv", 100);
    assert_int_equal(open_copy(f, &corpus, error), GG_ERR_IO);
    assert_non_null(strstr(error, "wrong sha256 of 'hashes.tsv'"));
    copy_golden(f, "hashes.tsv", -1);
    assert_int_equal(open_copy(f, &corpus, error), GG_OK);
    mg_corpus_close(corpus);

    char path[256];
    snprintf(path, sizeof path, "%s/manifest.tsv", f->golden);
    assert_int_equal(truncate(path, 5000), 0); /* in the middle of a row */
    assert_int_equal(open_copy(f, &corpus, error), GG_ERR_IO);
    assert_non_null(strstr(error, "bad line"));
}

static void test_missing(void **state) {
    const fixture *f = *state;
    char *text = NULL, error[MG_ERROR_SIZE];
    size_t size;
    mg_golden golden;
    const mg_problem *p = mg_problem_find("W1-topk1-E4-T128-H512-I512-mult");
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(mg_golden_missing(f->corpus, p, MG_REAL, GG_FP16, 1u << MG_OUT_Y, out), 2);
    p = mg_problem_find("W1-topk1-E4-T128-H32-I32-mult");
    assert_int_equal(mg_golden_missing(f->corpus, p, MG_EXACT, GG_BF16, 7, out), 0);
    fclose(out);
    assert_string_equal(text, "W1-topk1-E4-T128-H512-I512-mult real fp16\n");
    free(text);
    p = mg_problem_find("W2-topk1-E16-T128-H1024-I1024-mult");
    assert_int_equal(mg_golden_missing(f->corpus, p, MG_EXACT, GG_BF16, 7, NULL), 0);
    assert_int_equal(mg_golden_load(f->corpus, p, MG_EXACT, GG_BF16, MG_OUT_Y, 0, &golden, error),
                     GG_ERR_ARGUMENT);
}

/* --- the command --- */

static int command(const char *const *arguments) {
    char *argv[16] = {"golden"};
    int argc = 1;
    while (*arguments) argv[argc++] = (char *)*arguments++;
    return mg_golden_main(argc, argv);
}
#define COMMAND(...) command((const char *const[]){__VA_ARGS__, NULL})

static bool have_numpy(void) {
    const char *python = getenv("MOEGEMM_PYTHON");
    char text[512];
    snprintf(text, sizeof text, "'%s' -c 'import numpy' 2>/dev/null", python ? python : "python3");
    return system(text) == 0;
}

static void test_command_line(void **state) {
    const fixture *f = *state;
    assert_int_equal(COMMAND("sing"), 4);
    assert_int_equal(COMMAND("verify", "extra"), 4);
    assert_int_equal(COMMAND("verify", "--jobs", "2"), 4);
    assert_int_equal(COMMAND("verify", "-k", "nothing"), 4);
    assert_int_equal(COMMAND("show", "nothing"), 4);
    assert_int_equal(COMMAND("show", "W1-topk1-E4-T128-H32-I32-mult", "exact", "fp8"), 4);
    assert_int_equal(
        COMMAND("show", "--golden-dir", GOLDEN, "W1-topk1-E4-T128-H32-I32-mult", "exact", "bf16"), 0);
    assert_int_equal(COMMAND("verify", "--golden-dir", f->golden), 3); /* no corpus to look into */
    assert_int_equal(COMMAND("verify", "--golden-dir", GOLDEN, "--cache-dir", f->folder, "-k", "E4-T7-"), 0);
}

/* Generating makes what is missing and heals what is broken, and the result is the manifest's. */
static void test_generate(void **state) {
    const fixture *f = *state;
    if (!have_numpy()) skip();
    const mg_problem *p = mg_problem_find("W1-topk2-E4-T7-H72-I20-mult");
    char path[512], root[128];
    snprintf(root, sizeof root, "%s/cache", f->folder);
    assert_true(mg_golden_missing(f->corpus, p, MG_REAL, GG_FP16, 7, NULL) > 0);
    assert_int_equal(COMMAND("generate", "--golden-dir", GOLDEN, "--cache-dir", root, "-k", p->key), 0);
    assert_int_equal(mg_golden_missing(f->corpus, p, MG_REAL, GG_FP16, 7, NULL), 0);
    assert_int_equal(COMMAND("verify", "--golden-dir", GOLDEN, "--cache-dir", root, "-k", p->key), 0);

    snprintf(path, sizeof path, "%s/%s/real-fp16-dw-s.npy", f->cache, p->key);
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(COMMAND("verify", "--golden-dir", GOLDEN, "--cache-dir", root, "-k", p->key), 1);
    char error[MG_ERROR_SIZE];
    assert_int_equal(mg_golden_generate(GOLDEN, f->cache, "W1-topk2-E4-T7-H72-I20-mult real fp16\n", error),
                     GG_OK);
    assert_int_equal(COMMAND("verify", "--golden-dir", GOLDEN, "--cache-dir", root, "-k", p->key), 0);

    assert_int_equal(mg_golden_generate(GOLDEN, f->cache, "W1-no-such-problem real fp16\n", error),
                     GG_ERR_IO);
    assert_int_equal(mg_golden_generate(GOLDEN, f->cache, "nonsense\n", error), GG_ERR_IO);
}

static int count_files(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)walk;
    return type == FTW_F && strstr(path, ".npy") ? 1 : 0;
}

/* On a full disk: one line, status 1, and no file, whole or in part. */
static void test_full_disk(void **state) {
    const fixture *f = *state;
    if (!have_numpy()) skip();
    char text[1024], log[256] = "";
    const char *python = getenv("MOEGEMM_PYTHON");
    /* a file may grow to 8 blocks of 512 bytes: the write fails as on a full disk, but for the reason */
    snprintf(text, sizeof text,
             "trap '' XFSZ; ulimit -f 8; echo W1-topk1-E4-T128-H512-I512-mult unit bf16 | '%s' " SOURCE_DIR
             "/gen/generate.py --golden-dir " GOLDEN " --cache-dir %s --only - 2>&1",
             python ? python : "python3", f->cache);
    FILE *pipe = popen(text, "r");
    assert_non_null(pipe);
    size_t length = fread(log, 1, sizeof log - 1, pipe);
    int status = pclose(pipe);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_non_null(strstr(log, "generate: error: file too large: '"));
    assert_ptr_equal(strchr(log, '\n'), log + length - 1);
    assert_int_equal(nftw(f->cache, count_files, 8, FTW_PHYS), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems),
        TEST(test_committed),
        TEST(test_routing),
        TEST(test_oracle),
        TEST(test_hashes),
        TEST(test_user_seed),
        TEST(test_flipped_byte),
        TEST(test_broken_tables),
        TEST(test_missing),
        TEST(test_command_line),
        TEST(test_generate),
        TEST(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
