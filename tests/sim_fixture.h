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
#include "patched.h"

enum { SEEDS = 8 };

typedef struct bench {
    gg_backend *backend;
    void *data[8]; /* allocations, freed at the end */
    int count;
    bool race;
    bool waits; /* launches say that their kernels call grid_wait first */
} bench;

static void bench_open(bench *b) {
    char error[GG_ERROR_SIZE] = "";
    memset(b, 0, sizeof *b);
    if (gg_sim_backend.open(&b->backend, 0, error)) fail_msg("%s", error);
}

/* From here on kernels are compiled for race mode and checked. */
static inline void bench_check_races(bench *b) {
    b->race = true;
    gg_sim_configure(b->backend, (gg_sim_options){.race = true});
}

static void bench_close(bench *b) {
    while (b->count) gg_sim_backend.free(b->backend, b->data[--b->count]);
    gg_sim_backend.close(b->backend);
}

/* Zeroed, so that tests may write it as host memory without the checker taking what they wrote for missing. */
static void *bench_alloc(bench *b, size_t bytes) {
    void *data;
    assert_int_equal(gg_sim_backend.alloc(b->backend, (bytes + 3) / 4 * 4, &data), GG_OK);
    assert_int_equal(gg_sim_backend.fill(b->backend, data, 0, (bytes + 3) / 4 * 4, NULL), GG_OK);
    return b->data[b->count++] = data;
}

/* Text of a file of tests/sim, until the next call. */
static const char *read_test_source(const char *name) {
    static char buffer[1 << 16];
    char path[1024];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/sim/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    buffer[fread(buffer, 1, sizeof buffer - 1, file)] = '\0';
    fclose(file);
    return buffer;
}

/* Compiles `text` as `name`, or tests/sim/name if text is NULL, beside the embedded sources. */
static gg_status compile(const char *name, const char *text, const char *macros, bool race, const char *out,
                         char error[GG_ERROR_SIZE]) {
    gg_source_file files[64];
    int count = 0;
    for (; gg_embedded_sources[count].name; count++) files[count] = gg_embedded_sources[count];
    if (!text) text = read_test_source(name);
    files[count++] = (gg_source_file){name, text};
    files[count] = (gg_source_file){NULL, NULL};
    return gg_sim_compile(&(gg_source){.files = files, .root = name, .macros = macros},
                          race ? &(gg_target){"sim_race"} : &(gg_target){"sim"}, out, error);
}

/* The shared objects of this program, each compiled once; removed by remove_compiled, the groups' teardown.
 */
static struct compiled {
    const char *name;
    char macros[64], path[32];
    bool race;
} compiled[96];
static int compiled_count;

/* Path of the shared object of a file of tests/sim. */
static const char *compiled_path(const char *name, const char *macros, bool race) {
    char error[GG_ERROR_SIZE];
    for (int i = 0; i < compiled_count; i++)
        if (!strcmp(compiled[i].name, name) && !strcmp(compiled[i].macros, macros) &&
            compiled[i].race == race)
            return compiled[i].path;
    assert_in_range(compiled_count, 0, sizeof compiled / sizeof *compiled - 1);
    struct compiled *new = &compiled[compiled_count++];
    *new = (struct compiled){.name = name, .path = "/tmp/moegemm-test-XXXXXX", .race = race};
    snprintf(new->macros, sizeof new->macros, "%s", macros);
    close(mkstemp(new->path));
    if (compile(name, NULL, macros, race, new->path, error)) fail_msg("%s", error);
    return new->path;
}

static int remove_compiled(void **state) {
    (void)state;
    while (compiled_count) unlink(compiled[--compiled_count].path);
    return 0;
}

static gg_kernel *bench_kernel(bench *b, const char *name, const char *macros, const char *entry) {
    gg_kernel *kernel = NULL;
    if (gg_sim_backend.load(b->backend, compiled_path(name, macros, b->race), entry, &kernel))
        fail_msg("%s", b->backend->error);
    return kernel;
}

/* The same beside an embedded source with a seeded fault. */
static inline gg_kernel *bench_wrong_kernel(bench *b, const char *name, const char *macros, const char *entry,
                                            const char *embedded, const char *find, const char *replace) {
    char error[GG_ERROR_SIZE], path[] = "/tmp/moegemm-test-XXXXXX", *text = NULL;
    gg_source_file files[64];
    gg_kernel *kernel = NULL;
    int count = 0;
    for (; gg_embedded_sources[count].name; count++) {
        files[count] = gg_embedded_sources[count];
        if (!strcmp(files[count].name, embedded))
            files[count].text = text = patched(files[count].text, find, replace);
    }
    files[count++] = (gg_source_file){name, read_test_source(name)};
    files[count] = (gg_source_file){NULL, NULL};
    close(mkstemp(path));
    if (gg_sim_compile(&(gg_source){.files = files, .root = name, .macros = macros}, &(gg_target){"sim"},
                       path, error))
        fail_msg("'%s': %s", replace, error);
    if (gg_sim_backend.load(b->backend, path, entry, &kernel)) fail_msg("%s", b->backend->error);
    unlink(path);
    free(text);
    return kernel;
}

static gg_status bench_launch(bench *b, gg_kernel *kernel, uint32_t grid, uint32_t threads,
                              uint32_t smem_bytes, const void *params, size_t params_bytes) {
    gg_launch_spec spec = {.grid = grid,
                           .threads = threads,
                           .smem_bytes = smem_bytes,
                           .params = params,
                           .params_bytes = params_bytes,
                           .label = "test",
                           .waits = b->waits};
    return gg_sim_backend.launch(b->backend, kernel, &spec, NULL);
}

static inline void bench_seed(bench *b, uint64_t seed, gg_sim_landing landing) {
    gg_sim_configure(b->backend, (gg_sim_options){.seed = seed, .landing = landing, .race = b->race});
}

#endif
