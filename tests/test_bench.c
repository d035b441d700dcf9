/* test_bench.c: `moegemm bench` on made-up libraries of a GPU: what it refuses, its rotation, cuBLAS's operands, what it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "bench.h"
#include "commands.h"
#include "fake_cuda.h"
#include "golden.h"
#include "words.h"

static fake_cuda *driver;
static char folder[] = "/tmp/moegemm-bench-XXXXXX";

/* Loaded first under the real ones' names, so that dlopen finds them, GPU or not. */
static int load_fakes(void **state) {
    (void)state;
    static const char *const names[] = {"libcuda.so.1", "libnvrtc.so.13", "libcublas.so.13"};
    void *libraries[3];
    for (int i = 0; i < 3; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/fakes/%s", BINARY_DIR, names[i]);
        if (!(libraries[i] = dlopen(path, RTLD_NOW | RTLD_GLOBAL))) return 1;
    }
    driver = dlsym(libraries[0], "fake_cuda_state");
    return !driver || !mkdtemp(folder);
}

static int remove_folder(void **state) {
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int fresh(void **state) {
    (void)state;
    *driver = (fake_cuda){.devices = 1, .cc_major = 9, .memory = (size_t)1 << 40};
    return 0;
}

/* What `run` prints on descriptor `fd` goes to `text`. */
typedef struct captured {
    int fd, saved;
    FILE *file;
} captured;

static captured capture(int fd) {
    fflush(NULL);
    captured c = {.fd = fd, .saved = dup(fd), .file = tmpfile()};
    dup2(fileno(c.file), fd);
    return c;
}

static void release(captured *c, char *text, size_t size) {
    fflush(NULL);
    dup2(c->saved, c->fd);
    close(c->saved);
    rewind(c->file);
    text[fread(text, 1, size - 1, c->file)] = 0;
    fclose(c->file);
}

enum { TEXT = 1 << 16 };
static char out[TEXT], err[TEXT];
static int bench(const char *line) {
    char words[1024], *argv[WORDS];
    snprintf(words, sizeof words, "bench --cache-dir %s/cache %s", folder, line);
    const int argc = split_words(words, argv);
    captured o = capture(STDOUT_FILENO), e = capture(STDERR_FILENO);
    const int status = mg_bench_main(argc, argv);
    release(&e, err, sizeof err);
    release(&o, out, sizeof out);
    return status;
}

/* --- the command line --- */

static void wrong_arguments_are_named(void **state) {
    (void)state;
    static const struct {
        const char *line, *error;
    } rows[] = {
        {"--model gpt", "unknown word 'gpt' for --model: expected qwen3, llama4"},
        {"--model qwen3,,llama4", "unknown word '' for --model"},
        {"--mode sideways", "unknown word 'sideways' for --mode: expected forward, dX, dW, backward"},
        {"--seqlen 12x", "bad number '12x' for --seqlen: expected 0 to 16777216"},
        {"--seqlen -1", "bad number '-1' for --seqlen"},
        {"--gemm 3", "unknown word '3' for --gemm"},
        {"--dtype fp8", "unknown word 'fp8' for --dtype: expected bf16, fp16"},
        {"--routing even", "unknown word 'even' for --routing"},
        {"--gemm 2 --permute_x", "permute_x in the second GEMM: add --gemm 1"},
        {"--gemm 1 --permute_y", "permute_y in the first GEMM: add --gemm 2"},
        {"--E 8 --N 64", "a free shape needs --E, --N and --K"},
        {"--E 8 --N 64 --K 64 --model qwen3", "leave out --model"},
        {"--topk 4", "--topk belongs to a free shape"},
        {"--T 4 --seqlen 4", "--T and --seqlen are the same: give one"},
        {"--table --scaling", "--table and --scaling are two runs: give one"},
        {"--scaling --seqlen 4", "leave out --seqlen"},
        {"--mainloop fast", "unknown word 'fast' for --mainloop: expected reference, mma_sync or wgmma"},
        {"--config wgmma", "bad config 'wgmma': expected a text like wgmma-bm"},
        {"--config wgmma-bm64-bn64-bk64-w8-s4 --num_warps 4",
         "--config says all: leave out the options of its parts"},
        {"--no_workspace --config wgmma-bm64-bn128-bk256-w8-s4-copy_rows",
         "--no_workspace beside a config with copy_rows: leave one out"},
        {"--autotune --num_warps 4", "--autotune and tune find the config: leave out its parts"},
        {"--no_tma --use_tma_store", "--no_tma beside a use of TMA: leave one out"},
        {"--mode backward --num_warps 4", "backward runs two products: give configs to dX and dW"},
        {"--repeat 0", "bad number '0' for --repeat: expected 1 to 10000"},
        {"--repeat 3,4", "more than one number for --repeat: '3,4'"},
        {"--num_stages 1,2,3,4,5,6,7,8", "more than 7 numbers for --num_stages"},
        {"--tabel", "unknown option '--tabel'"},
        {"shapes", "unexpected argument 'shapes'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(bench(rows[i].line), MG_EXIT_USAGE);
        if (strncmp(err, "ERROR: ", 7) || !strstr(err, rows[i].error))
            fail_msg("'%s' says: %s", rows[i].line, err);
        assert_ptr_equal(strchr(strchr(err, '\n') + 1, '\n')[1] ? err : NULL,
                         NULL); /* the fault, then the usage */
        assert_string_equal(out, "");
    }
    assert_int_equal(driver->contexts, 0); /* nothing was opened for them */
}

/* --- the rotation --- */

static char launched[64];
static gg_status launch_letter(mg_bench *b, const mg_timed *self) {
    (void)b;
    strncat(launched, self->fault + MG_ERROR_SIZE - 2, 1); /* a letter that a test put behind the text */
    return GG_OK;
}
static gg_status launch_never(mg_bench *b, const mg_timed *self) {
    (void)self;
    snprintf(b->error, sizeof b->error, "made-up fault");
    return GG_ERR_LAUNCH;
}

static void open_bench(mg_bench *b) {
    char cache[64];
    snprintf(cache, sizeof cache, "%s/cache", folder);
    const mg_bench_options options = {.cache_dir = cache};
    if (mg_bench_open(b, &options)) fail_msg("%s", b->error);
}

static void launches_take_turns(void **state) {
    (void)state;
    mg_bench b;
    open_bench(&b);
    mg_timed timed[3] = {{.launch = launch_letter}, {.launch = launch_never}, {.launch = launch_letter}};
    mg_timed *all[3] = {&timed[0], &timed[1], &timed[2]};
    timed[0].fault[MG_ERROR_SIZE - 2] = 'a';
    timed[2].fault[MG_ERROR_SIZE - 2] = 'c';
    launched[0] = 0;
    assert_int_equal(mg_bench_time(&b, all, 3, 3), GG_OK);
    assert_string_equal(launched, "aacc"
                                  "ac"
                                  "ca"
                                  "ac"); /* warm-ups, then rounds to and fro */
    assert_int_equal(timed[0].us.count, 3);
    assert_int_equal(driver->flushes, 2 * 3); /* before each */
    assert_true(timed[0].us.median == 1500);  /* the fake's event, without the flush before it */
    assert_int_equal(timed[1].us.count, 0);   /* one that fails is left out, and says why */
    assert_string_equal(timed[1].fault, "made-up fault");
    driver->synchronize_fault = CUDA_ERROR_ILLEGAL_ADDRESS; /* the device is lost */
    assert_int_equal(mg_bench_time(&b, all, 3, 3), GG_ERR_LAUNCH);
    assert_non_null(strstr(b.error, "illegal memory access"));
    driver->synchronize_fault = 0;
    mg_bench_close(&b);
    assert_int_equal(driver->events + driver->allocated + driver->contexts, 0);
}

/* As much as the item's ops want that gather rows, or none. */
static void items_have_a_workspace(void **state) {
    (void)state;
    static const struct {
        gg_op op;
        unsigned fusions;
        bool backward, wanted;
        size_t bytes;
    } rows[] = {
        {GG_FORWARD, GG_PERMUTE_X, false, true, 22 * 16 * 2},
        {GG_FORWARD, GG_PERMUTE_X, false, false, 0},
        {GG_FORWARD, GG_PERMUTE_Y, false, true, 0},
        {GG_DX, GG_PERMUTE_Y, false, true, 22 * 24 * 2},
        {GG_DX, GG_PERMUTE_X, false, true, 0},
        {GG_DX, GG_PERMUTE_X, true, true, 22 * 16 * 2},
        {GG_DX, GG_PERMUTE_Y, true, true, 22 * 24 * 2},
        {GG_DW, 0, false, true, 0},
    };
    mg_bench b;
    open_bench(&b);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const mg_bench_item item = {
            .problem =
                {.op = rows[i].op, .fusions = rows[i].fusions, .E = 5, .N = 24, .K = 16, .topk = 2, .T = 11},
            .backward = rows[i].backward,
            .dist = MG_EMPTY_MID};
        if (mg_bench_place(&b, &item, rows[i].wanted)) fail_msg("%s", b.error);
        const gg_tensors tensors = mg_bench_tensors(&b);
        if (tensors.workspace_bytes != rows[i].bytes) fail_msg("row %zu: %zu", i, tensors.workspace_bytes);
        if (rows[i].bytes) {
            assert_non_null(tensors.workspace);
            assert_ptr_equal(tensors.workspace, b.buffers[MG_BUF_WORKSPACE].memory);
            memset(tensors.workspace, 1, tensors.workspace_bytes); /* the host's, in the made-up driver */
        }
    }
    mg_bench_close(&b);
    assert_int_equal(driver->allocated, 0);
}

/* --- cuBLAS's operands: the made-up library computes what it is told, in the host's memory --- */

static float value_at(const void *tensor, size_t i) {
    return mg_float_from_bits(GG_BF16, ((const uint16_t *)tensor)[i]);
}

/* sum over l < count of a[l * a_step] * b[l * b_step] */
static uint16_t dot(const uint16_t *a, size_t a_step, const uint16_t *b, size_t b_step, size_t count) {
    float sum = 0;
    for (size_t l = 0; l < count; l++) sum += value_at(a, l * a_step) * value_at(b, l * b_step);
    return mg_bits_from_float(GG_BF16, sum);
}

static void fill(const mg_bench *b, mg_bench_buffer buffer, size_t elements) {
    mg_fill_integers(buffer + 1, 2, 0, GG_BF16, 0, elements, b->buffers[buffer].memory);
}

static void check_product(const mg_bench *b, const gg_problem *p) {
    const size_t N = (size_t)p->N, K = (size_t)p->K;
    const gg_tensors t = mg_bench_tensors(b);
    const uint16_t *x = t.x, *w = t.w, *dy = t.dy, *y = t.y, *dx = t.dx, *dw = t.dw;
    size_t begin = 0, end;
    for (size_t e = 0; e < (size_t)p->E; e++, begin = end) {
        end = begin + (size_t)b->m_sizes[e];
        for (size_t i = begin; i < end && p->op == GG_FORWARD; i++)
            for (size_t n = 0; n < N; n++)
                assert_int_equal(y[i * N + n], dot(x + i * K, 1, w + (e * N + n) * K, 1, K));
        for (size_t i = begin; i < end && p->op == GG_DX; i++)
            for (size_t k = 0; k < K; k++)
                assert_int_equal(dx[i * K + k], dot(dy + i * N, 1, w + e * N * K + k, K, N));
        for (size_t n = 0; n < N && p->op == GG_DW && end > begin; n++)
            for (size_t k = 0; k < K; k++)
                assert_int_equal(dw[(e * N + n) * K + k],
                                 dot(dy + begin * N + n, N, x + begin * K + k, K, end - begin));
    }
}

static void cublas_computes_the_same_products(void **state) {
    (void)state;
    mg_bench b;
    open_bench(&b);
    mg_rivals_open(&b);
    if (!b.rivals) fail_msg("%s", b.no_rivals);
    assert_string_equal(mg_rivals_version(&b), "cuBLAS 13.1.0");
    for (int op = 0; op < GG_NUM_OPS; op++) {
        const mg_bench_item item = {
            .problem = {.op = (gg_op)op, .E = 5, .N = 24, .K = 16, .topk = 2, .T = 11}, .dist = MG_EMPTY_MID};
        const size_t M = 22, weights = 5 * 24 * 16;
        const mg_bench_buffer outputs[] = {[GG_FORWARD] = MG_BUF_Y, [GG_DX] = MG_BUF_DX, [GG_DW] = MG_BUF_DW};
        if (mg_bench_place(&b, &item, true)) fail_msg("%s", b.error);
        if (op != GG_DX) fill(&b, MG_BUF_X, M * 16);
        if (op != GG_DW) fill(&b, MG_BUF_W, weights);
        if (op != GG_FORWARD) fill(&b, MG_BUF_DY, M * 24);
        void *output = b.buffers[outputs[op]].memory;
        mg_timed loop = {.item = &item, .problem = item.problem}, grouped = loop;
        memset(output, 0, b.buffers[outputs[op]].bytes);
        if (mg_rivals_place(&b, &item, &loop)) fail_msg("%s", b.error); /* which runs the loop */
        check_product(&b, &item.problem);
        memset(output, 0, b.buffers[outputs[op]].bytes);
        if (mg_launch_grouped(&b, &grouped)) fail_msg("%s", b.error);
        check_product(&b, &item.problem);
        assert_int_equal(mg_launch_loop(&b, &loop), GG_OK);
        assert_int_equal(driver->replays, op + 1);
        b.backend->ops->graph_free(b.backend, loop.graph);
    }
    mg_bench_close(&b);
    assert_int_equal(driver->allocated + driver->graph_execs + driver->streams, 0);
}

/* --- whole runs --- */

static json_t *line_of(const char *path, size_t number) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    json_t *value = NULL;
    assert_non_null(file);
    for (size_t i = 0; getline(&line, &capacity, file) > 0; i++)
        if (i == number) value = json_loads(line, 0, NULL);
    free(line);
    fclose(file);
    return value;
}

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number '%s'", key);
    return json_number_value(value);
}

static void a_run_leaves_its_measurements(void **state) {
    (void)state;
    char line[256], path[256];
    snprintf(line, sizeof line, "--table --model qwen3 --seqlen 1024 --gemm 1 --report %s/report", folder);
    assert_int_equal(bench(line), MG_EXIT_OK);
    assert_non_null(strstr(out, "Fake GPU"));
    assert_non_null(
        strstr(out, "best peer: at or ahead of it in 0 of 3; goal: reached in 0, within 8% in 0"));
    assert_non_null(strstr(out, "permutes: within 5% of the same kernel without in 3 of 3"));
    snprintf(path, sizeof path, "%s/report/results.jsonl", folder);
    json_t *header = line_of(path, 0);
    assert_string_equal(json_string_value(json_object_get(header, "backend")), "cuda");
    json_decref(header);
    for (size_t i = 0; i < 3; i++) {
        json_t *o = line_of(path, 1 + i);
        assert_string_equal(json_string_value(json_object_get(o, "type")), "bench");
        assert_string_equal(json_string_value(json_object_get(o, "shape")), "qwen3 T1024 gemm 1 permute_x");
        assert_string_equal(json_string_value(json_object_get(o, "op")), gg_op_name((gg_op)i));
        /* what the made-up clock says: a launch, a grouped product that it does not see, a graph; and no flush */
        assert_true(number_of(o, "us") == 2000 && number_of(o, "us_low") == 2000 &&
                    number_of(o, "us_high") == 2000);
        assert_true(number_of(o, "plain_us") == 2000);
        assert_true(number_of(o, "cublas_grouped_us") == 1500);
        assert_true(number_of(o, "cublas_loop_us") == 2250);
        assert_true(number_of(o, "runs") >= 20);
        assert_true(number_of(o, "peak_gbs") > 800 && number_of(o, "peak_tflops") > 700);
        static const char *const keys[] = {"tflops",        "gbs",     "floor_share", "byte_floor_us",
                                           "flop_floor_us", "peer_us", "goal_us"};
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) assert_true(number_of(o, keys[k]) > 0);
        assert_non_null(json_object_get(o, "config"));
        json_decref(o);
    }
    assert_null(line_of(path, 4));
    snprintf(path, sizeof path, "%s/report/report.html", folder);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(driver->allocated + driver->events + driver->contexts + driver->graph_execs, 0);
}

static void json_goes_to_the_output(void **state) {
    (void)state;
    assert_int_equal(bench("--json --E 4 --N 64 --K 64 --T 1,60 --mode all --routing skewed"), MG_EXIT_OK);
    size_t lines = 0;
    for (char *rest, *line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), lines++) {
        json_t *o = json_loads(line, 0, NULL);
        assert_non_null(o);
        assert_string_equal(json_string_value(json_object_get(o, "routing")), "skewed");
        const char *config_dW = json_string_value(json_object_get(o, "config_dW"));
        const bool pair = !strcmp(json_string_value(json_object_get(o, "op")), "backward");
        assert_true(pair ? config_dW && !strncmp(config_dW, "wgmma-bm64-", 11) : !config_dW);
        json_decref(o);
    }
    assert_int_equal(lines, 2 * 4);
}

static void a_curve_is_judged(void **state) {
    (void)state;
    /* on the made-up clock all launches take as long, whatever the floor: a fall of the time against it is no cliff */
    assert_int_equal(bench("--scaling --model qwen3 --gemm 1 --mode forward --repeat 1"), MG_EXIT_OK);
    assert_non_null(strstr(out, "0 cliffs in 28 points"));
}

static void refusals_and_lack_of_room_are_rows(void **state) {
    (void)state;
    assert_int_equal(bench("--E 4 --N 60 --K 64"), MG_EXIT_FAILED);
    assert_non_null(strstr(out, "not timed: N is 60; it must be a positive multiple of 8"));
    driver->memory = 300 << 20; /* too little for w, enough for the flush */
    assert_int_equal(bench("--model qwen3 --gemm 1 --alone"), MG_EXIT_OK);
    assert_non_null(strstr(out, "not timed: no room: cannot allocate 805306368 bytes"));
}

static void no_gpu_is_one_line(void **state) {
    (void)state;
    driver->devices = 0;
    assert_int_equal(bench("--table"), MG_EXIT_INTERNAL);
    assert_string_equal(out, "");
    assert_non_null(strstr(err, "moegemm bench: error: timings need a GPU: no CUDA device"));
    assert_ptr_equal(strchr(err, '\n'), err + strlen(err) - 1);
}

static void tuning_is_remembered(void **state) {
    (void)state;
    assert_int_equal(bench("--autotune --limit 4 --alone --E 4 --N 256 --K 256 --T 300"), MG_EXIT_OK);
    assert_non_null(strstr(err, "4 configs in"));
    assert_non_null(strstr(out, "default / tuned: within 5% in 1 of 1, at most 1.000"));
    assert_int_equal(bench("--autotune --limit 4 --alone --E 4 --N 256 --K 256 --T 300"), MG_EXIT_OK);
    assert_string_equal(err, ""); /* nothing was searched */
}

/* --- torch's file --- */

static const char *write_file(const char *text) {
    static char path[96];
    snprintf(path, sizeof path, "%s/torch.json", folder);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

static void times_of_torch_are_joined(void **state) {
    (void)state;
    mg_torch torch;
    char error[MG_ERROR_SIZE];
    const char *path = write_file("{\"torch\": \"2.11\", \"rows\": [{\"model\": \"qwen3\", \"E\": 128, "
                                  "\"T\": 1024, \"gemm\": 1, \"op\": \"dX\", \"us\": 300,"
                                  " \"copy_gbs\": 4000, \"product_tflops\": 600}, {\"model\": \"qwen3\", "
                                  "\"E\": 128, \"T\": 1024, \"gemm\": 2, \"op\": \"dX\","
                                  " \"us\": \"fast\", \"copy_gbs\": 4000}, 7, {}]}");
    if (mg_torch_read(&torch, path, error)) fail_msg("%s", error);
    mg_bench_item item = {.model = "qwen3", .gemm = 1, .problem = {.op = GG_DX, .E = 128, .T = 1024}};
    const mg_limits ours = {.gbs = 2000, .tflops = 1200};
    assert_true(mg_torch_us(&torch, &item, true, ours) == 600);
    assert_true(mg_torch_us(&torch, &item, false, ours) == 150);
    item.problem.op = GG_DW; /* not in the file */
    assert_true(mg_torch_us(&torch, &item, true, ours) == 0);
    item.problem.op = GG_DX;
    item.gemm = 2; /* not a number */
    assert_true(mg_torch_us(&torch, &item, true, ours) == 0);
    item.gemm = 1;
    item.problem.dtype = GG_FP16;
    assert_true(mg_torch_us(&torch, &item, true, ours) == 0);
    mg_torch_free(&torch);

    char line[256];
    snprintf(line, sizeof line, "--table --model qwen3 --seqlen 1024 --gemm 1 --mode dX --peers %s", path);
    assert_int_equal(bench(line), MG_EXIT_OK);
    assert_non_null(strstr(out, "torch in the same run: at or ahead of it in 0 of 1"));
}

static void bad_files_of_torch_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } rows[] = {{"{\"rows\": [", "cannot read '"},
                {"[]", "no rows"},
                {"{\"rows\": 3}", "no rows"},
                {NULL, "cannot read '"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = rows[i].text ? write_file(rows[i].text) : "/nonexistent.json";
        char line[128];
        snprintf(line, sizeof line, "--peers %s", path);
        assert_int_equal(bench(line), MG_EXIT_INTERNAL);
        if (!strstr(err, rows[i].error) || !strstr(err, path) || !strstr(err, "torch_grouped_mm.py"))
            fail_msg("%s", err);
        assert_ptr_equal(strchr(err, '\n'), err + strlen(err) - 1);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, fresh)
    const struct CMUnitTest tests[] = {
        TEST(wrong_arguments_are_named),
        TEST(launches_take_turns),
        TEST(items_have_a_workspace),
        TEST(cublas_computes_the_same_products),
        TEST(a_run_leaves_its_measurements),
        TEST(json_goes_to_the_output),
        TEST(a_curve_is_judged),
        TEST(refusals_and_lack_of_room_are_rows),
        TEST(no_gpu_is_one_line),
        TEST(tuning_is_remembered),
        TEST(times_of_torch_are_joined),
        TEST(bad_files_of_torch_are_named),
    };
    return cmocka_run_group_tests(tests, load_fakes, remove_folder);
}
