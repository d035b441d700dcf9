/* sim_fixture.h: compiles kernels of tests/sim for the simulator, and launches them with little ado. */
#ifndef MG_SIM_FIXTURE_H
#define MG_SIM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/sim/options.h"

enum { SEEDS = 8 };

typedef struct bench {
    gg_backend *backend;
    void *data[8]; /* allocations, freed at the end */
    int count;
} bench;

static void bench_open(bench *b) {
    char error[GG_ERROR_SIZE] = "";
    memset(b, 0, sizeof *b);
    if (gg_sim_backend.open(&b->backend, 0, error)) fail_msg("%s", error);
}

static void bench_close(bench *b) {
    while (b->count) gg_sim_backend.free(b->backend, b->data[--b->count]);
    gg_sim_backend.close(b->backend);
}

static void *bench_alloc(bench *b, size_t bytes) {
    assert_int_equal(gg_sim_backend.alloc(b->backend, bytes, &b->data[b->count]), GG_OK);
    return b->data[b->count++];
}

/* Compiles `text` as `name`, or tests/sim/name if text is NULL, beside the embedded sources. */
static gg_status compile(const char *name, const char *text, const char *macros, const char *out,
                         char error[GG_ERROR_SIZE]) {
    static char buffer[1 << 16];
    gg_source_file files[64];
    int count = 0;
    for (; gg_embedded_sources[count].name; count++) files[count] = gg_embedded_sources[count];
    if (!text) {
        char path[1024];
        snprintf(path, sizeof path, SOURCE_DIR "/tests/sim/%s", name);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        buffer[fread(buffer, 1, sizeof buffer - 1, file)] = '\0';
        fclose(file);
        text = buffer;
    }
    files[count++] = (gg_source_file){name, text};
    files[count] = (gg_source_file){NULL, NULL};
    return gg_sim_compile(&(gg_source){.files = files, .root = name, .macros = macros}, out, error);
}

static gg_kernel *bench_kernel(bench *b, const char *name, const char *macros, const char *entry) {
    char out[] = "/tmp/moegemm-test-XXXXXX", error[GG_ERROR_SIZE];
    gg_kernel *kernel = NULL;
    close(mkstemp(out));
    if (compile(name, NULL, macros, out, error)) fail_msg("%s", error);
    if (gg_sim_backend.load(b->backend, out, entry, &kernel)) fail_msg("%s", b->backend->error);
    unlink(out);
    return kernel;
}

static gg_status bench_launch(bench *b, gg_kernel *kernel, uint32_t grid, uint32_t threads,
                              uint32_t smem_bytes, const void *params, size_t params_bytes) {
    gg_launch_spec spec = {.grid = grid,
                           .threads = threads,
                           .smem_bytes = smem_bytes,
                           .params = params,
                           .params_bytes = params_bytes,
                           .label = "test"};
    return gg_sim_backend.launch(b->backend, kernel, &spec, NULL);
}

static void bench_run(bench *b, gg_kernel *kernel, uint32_t grid, uint32_t threads, uint32_t smem_bytes,
                      const void *params, size_t params_bytes) {
    if (bench_launch(b, kernel, grid, threads, smem_bytes, params, params_bytes))
        fail_msg("%s", b->backend->error);
}

static void bench_seed(bench *b, uint64_t seed, gg_sim_landing landing) {
    gg_sim_configure(b->backend, (gg_sim_options){.seed = seed, .landing = landing});
}

#endif
