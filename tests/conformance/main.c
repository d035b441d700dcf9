/* main.c: runs the one-wrapper kernels and records a digest of what each leaves, or checks it against a record made on
 * hardware: conformance --backend cuda --record FILE, conformance --backend sim --check FILE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "backend/backend.h"

typedef struct params { /* as in kernels.cu */
    uint64_t map[16];
    const void *in;
    void *out;
    int32_t x, y, z, bytes, u, v;
} __attribute__((aligned(64))) params;

enum { IN_BYTES = 1 << 16, OUT_BYTES = 1 << 18, LINE = 256, ROWS = 24, COLS = 136, PLANES = 3 };

typedef enum kind { RAW, BF16, FP16 } kind; /* of the input: any bits, or small integers */

typedef struct test {
    char name[96];
    const char *entry;
    char macros[64];
    kind in;
    uint32_t threads, smem;
    int x, y, z;
    int box[3], rank; /* of the map: over in for loads, over out for stores; rank 0: none */
    int u, v;         /* rank 5 has a map of its own */
} test;

/* --- the tests --- */

typedef struct list {
    test items[256];
    size_t count;
} list;

static test *add(list *l, test t) {
    if (l->count == sizeof l->items / sizeof *l->items) abort();
    l->items[l->count] = t;
    return &l->items[l->count++];
}

static void add_boxes(list *l) {
    static const int spans[] = {16, 32, 64},
                     places[][3] = {{0, 0, 0},    {8, 3, 1},    {-8, -2, 0},     {COLS - 8, ROWS - 3, 2},
                                    {COLS, 0, 0}, {0, ROWS, 1}, {16, 4, PLANES}, {24, 0, -1}};
    for (size_t s = 0; s < sizeof spans / sizeof *spans; s++)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            for (int rank = 2; rank <= 3; rank++)
                for (int store = 0; store < 2; store++) {
                    /* a store that begins before the tensor is an illegal instruction on an H200 */
                    const int *at = places[i];
                    if (store && (at[0] < 0 || at[1] < 0 || at[2] < 0)) continue;
                    test t = {.entry = store ? "box_store" : "box_load",
                              .threads = 32,
                              .rank = rank,
                              .x = places[i][0],
                              .y = places[i][1],
                              .z = places[i][2],
                              .box = {spans[s], 8, rank - 1}};
                    t.smem = (uint32_t)(spans[s] * 2 * 8 * (rank - 1)) + 8;
                    snprintf(t.macros, sizeof t.macros, "RANK=%d", rank);
                    snprintf(t.name, sizeof t.name, "%s-%dd-span%d-at%d,%d,%d", t.entry, rank, spans[s] * 2,
                             t.x, t.y, t.z);
                    add(l, t);
                }
}

/* Rows of two halves of a matrix, eight of one, eight of the other: how wgmma's fused silu_and_mul loads weights. */
enum { HALF_ROWS = 24, MATRICES = 3 };
static void add_halves(list *l) {
    static const int spans[] = {16, 32, 64},
                     places[][5] = {{0, 0, 0, 0, 0},         {64, 0, 0, 1, 2},   {COLS - 8, 0, 0, 2, 1},
                                    {0, 0, 0, 3, 0},         {-8, -3, 0, -1, 1}, {8, 2, 1, 0, 0},
                                    {COLS - 8, 1, -1, 2, 2}, {0, 0, 0, 0, 3}};
    for (size_t s = 0; s < sizeof spans / sizeof *spans; s++)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            const int *at = places[i];
            test t = {.entry = "box_load",
                      .macros = "RANK=5",
                      .threads = 32,
                      .smem = (uint32_t)(spans[s] * 2 * 32) + 8,
                      .rank = 5,
                      .x = at[0],
                      .y = at[1],
                      .z = at[2],
                      .u = at[3],
                      .v = at[4],
                      .box = {spans[s]}};
            snprintf(t.name, sizeof t.name, "box_load-5d-span%d-at%d,%d,%d,%d,%d", spans[s] * 2, at[0], at[1],
                     at[2], at[3], at[4]);
            add(l, t);
        }
}

static void add_products(list *l) {
    for (int width = 8; width <= 256; width += 8)
        for (int majors = 0; majors < 4; majors++)
            for (int type = BF16; type <= FP16; type++) {
                bool usual =
                    width == 16 || width == 96 || width == 192 || (width >= 32 && !(width & (width - 1)));
                if (!usual && majors != width / 8 % 4) continue; /* one pair of majors is enough */
                if (type == FP16 && width % 128 != 64) continue; /* two widths are enough */
                test t = {.entry = "product",
                          .in = (kind)type,
                          .threads = 128,
                          .smem = 8192 + 32768,
                          .x = majors & 1};
                snprintf(t.macros, sizeof t.macros, "N=%d TYPE=%s TA=%d TB=%d", width,
                         type == FP16 ? "f16" : "bf16", majors & 1, majors >> 1);
                snprintf(t.name, sizeof t.name, "wgmma-n%d-%s-%s-%s", width, type == FP16 ? "f16" : "bf16",
                         majors & 1 ? "mn" : "k", majors >> 1 ? "mn" : "k");
                add(l, t);
            }
}

static void add_all(list *l) {
    static const test simple[] = {
        {"ldmatrix", "ldmatrix", "", RAW, 32, 512, 0, 0, 0, {0}, 0, 0, 0},
        {"stmatrix", "stmatrix", "", RAW, 32, 1024, 0, 0, 0, {0}, 0, 0, 0},
        {"mma-bf16", "mma", "", BF16, 32, 0, 0, 0, 0, {0}, 0, 0, 0},
        {"mma-fp16", "mma", "", FP16, 32, 0, 1, 0, 0, {0}, 0, 0, 0},
        {"shuffles", "shuffles", "", RAW, 32, 0, 0, 0, 0, {0}, 0, 0, 0},
        {"warps", "warps", "", RAW, 32, 0, 0, 0, 0, {0}, 0, 0, 0},
        {"conversions", "conversions", "", RAW, 256, 0, 0, 0, 0, {0}, 0, 0, 0},
        {"cp.async", "copies", "", RAW, 32, 512, 0, 0, 0, {0}, 0, 0, 0},
        {"flags", "flags", "", RAW, 32, 0, 0, 0, 0, {0}, 0, 0, 0},
        {"mbarrier-counting", "counting", "", RAW, 64, 64 * 2 * 8 + 8, 0, ROWS - 4, 0, {64, 8, 1}, 2, 0, 0},
    };
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++) add(l, simple[i]);
    add_boxes(l);
    add_halves(l);
    add_products(l);
}

/* --- running them --- */

static void fill_input(uint16_t *in, kind kind) {
    for (uint32_t i = 0; i < IN_BYTES / 2; i++) {
        uint32_t h = i * 2654435761u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        if (kind == RAW) {
            in[i] = (uint16_t)h;
            continue;
        }
        union {
            float f;
            uint32_t u;
        } v = {(float)((int)(h % 31) - 15)};
        in[i] = kind == BF16 ? (uint16_t)(v.u >> 16)
                : v.f == 0   ? 0
                             : (uint16_t)((v.u >> 16 & 0x8000) | ((v.u & 0x7fffffff) - 0x38000000) >> 13);
    }
}

typedef struct runner {
    gg_backend *backend;
    gg_source_file files[128];
    char cache[GG_PATH_SIZE];
    void *in, *out;
    uint8_t *host;
} runner;

/* The digest of what the test leaves; false with `error`. */
static bool run(runner *r, const test *t, char digest[17], char error[GG_ERROR_SIZE]) {
    const gg_backend_ops *ops = r->backend->ops;
    const gg_target target = ops->target(r->backend);
    const gg_source source = {.files = r->files, .root = "kernels.cu", .macros = t->macros};
    char path[GG_PATH_SIZE];
    gg_kernel *kernel;
    params p = {.in = r->in,
                .out = r->out,
                .x = t->x,
                .y = t->y,
                .z = t->z,
                .u = t->u,
                .v = t->v,
                .bytes = (int32_t)t->smem - 8};
    if (gg_build(&source, &target, r->cache, path, NULL, error)) return false;
    bool store = !strcmp(t->entry, "box_store");
    const uint64_t rows = ROWS, cols = COLS;
    const gg_tensor_map_spec boxes = {.base = store ? r->out : r->in,
                                      .rank = t->rank,
                                      .dims = {cols, rows, PLANES},
                                      .strides = {cols * 2, cols * rows * 2},
                                      .box = {(uint32_t)t->box[0], (uint32_t)t->box[1], (uint32_t)t->box[2]}};
    const gg_tensor_map_spec halves = {
        .base = r->in,
        .rank = 5,
        .dims = {cols, 8, 2, HALF_ROWS / 8, MATRICES},
        .strides = {cols * 2, HALF_ROWS * cols * 2, 8 * cols * 2, 2 * HALF_ROWS * cols * 2},
        .box = {(uint32_t)t->box[0], 8, 2, 2, 1}};
    const gg_launch_spec launch = {.grid = 1,
                                   .threads = t->threads,
                                   .smem_bytes = t->smem,
                                   .params = &p,
                                   .params_bytes = sizeof p,
                                   .label = t->name};
    fill_input((uint16_t *)(void *)r->host, t->in);
    bool ok = !ops->upload(r->backend, r->in, r->host, IN_BYTES) &&
              !ops->fill(r->backend, r->out, 0xeeeeeeee, OUT_BYTES, NULL) &&
              !ops->load(r->backend, path, t->entry, &kernel) &&
              !(t->rank && ops->tensor_map(r->backend, t->rank == 5 ? &halves : &boxes, p.map)) &&
              !ops->launch(r->backend, kernel, &launch, NULL) && !ops->synchronize(r->backend) &&
              !ops->download(r->backend, r->host, r->out, OUT_BYTES);
    if (!ok) snprintf(error, GG_ERROR_SIZE, "%s", r->backend->error);
    if (ok) snprintf(digest, 17, "%016llx", (unsigned long long)XXH3_64bits(r->host, OUT_BYTES));
    return ok;
}

static bool open_runner(runner *r, const char *name, const char *kernels, char error[GG_ERROR_SIZE]) {
    const gg_backend_ops *ops = gg_backend_find(name);
    static char text[1 << 16];
    size_t count = 0;
    snprintf(error, GG_ERROR_SIZE, "unknown backend '%s' (cuda or sim)", name);
    if (!ops || ops->open(&r->backend, 0, error)) return false;
    FILE *file = fopen(kernels, "r");
    snprintf(error, GG_ERROR_SIZE, "cannot read '%s' (give its folder with --kernels)", kernels);
    if (!file) return false;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    for (; gg_embedded_sources[count].name; count++) r->files[count] = gg_embedded_sources[count];
    r->files[count] = (gg_source_file){"kernels.cu", text};
    const char *cache = getenv("MOEGEMM_CACHE");
    snprintf(r->cache, sizeof r->cache, "%s", cache ? cache : "/tmp/moegemm-conformance");
    r->host = malloc(OUT_BYTES);
    snprintf(error, GG_ERROR_SIZE, "out of memory");
    return r->host && !ops->alloc(r->backend, IN_BYTES, &r->in) &&
           !ops->alloc(r->backend, OUT_BYTES, &r->out);
}

/* In place of the digest of a test that no GPU has run yet. */
static const char pending[] = "pending";

/* The digest recorded for a name; false if there is none. */
static bool recorded(FILE *file, const char *name, char digest[LINE]) {
    char line[LINE], word[LINE];
    rewind(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%255s %255s", word, digest) == 2 && !strcmp(word, name)) return true;
    return false;
}

int main(int argc, char **argv) {
    static list tests;
    static runner r;
    const char *backend = "sim", *record = NULL, *check = NULL, *kernels = KERNELS;
    char error[GG_ERROR_SIZE] = "", digest[17], want[LINE];
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--backend")) backend = argv[i + 1];
        if (!strcmp(argv[i], "--record")) record = argv[i + 1];
        if (!strcmp(argv[i], "--check")) check = argv[i + 1];
        if (!strcmp(argv[i], "--kernels")) kernels = argv[i + 1];
    }
    if (!record == !check) {
        fprintf(
            stderr,
            "usage: conformance --backend cuda|sim (--record FILE | --check FILE) [--kernels kernels.cu]\n");
        return 4;
    }
    if (!open_runner(&r, backend, kernels, error)) {
        fprintf(stderr, "ERROR: %s\n", error);
        return 3;
    }
    FILE *file = fopen(record ? record : check, record ? "w" : "r");
    if (!file) {
        fprintf(stderr, "ERROR: cannot open '%s'\n", record ? record : check);
        return 3;
    }
    add_all(&tests);
    size_t wrong = 0, to_come = 0;
    if (record)
        fprintf(file, "# %s, %s\n", r.backend->ops->device(r.backend)->name,
                r.backend->ops->device(r.backend)->driver);
    for (size_t i = 0; i < tests.count; i++) {
        const test *t = &tests.items[i];
        if (record || !recorded(file, t->name, want)) want[0] = '\0';
        if (!run(&r, t, digest, error)) {
            fprintf(stderr, "%s: %s\n", t->name, error);
            wrong++;
        } else if (record) {
            fprintf(file, "%s %s\n", t->name, digest);
        } else if (!strcmp(want, pending)) {
            to_come++;
        } else if (strcmp(want, digest)) {
            fprintf(stderr, "%s: %s, recorded %s\n", t->name, digest, *want ? want : "nothing");
            wrong++;
        }
    }
    if (fclose(file)) wrong++;
    printf("%zu of %zu tests %s", tests.count - wrong - to_come, tests.count,
           record ? "recorded" : "as recorded");
    printf(to_come ? ", %zu wait for a GPU (record them there)\n" : "\n", to_come);
    r.backend->ops->close(r.backend);
    free(r.host);
    return wrong != 0;
}
