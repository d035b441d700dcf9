/* main.c: runs the one-wrapper kernels and records a digest of what each leaves, or checks it against a record made on
 * hardware: conformance --backend cuda --record FILE, conformance --backend sim --check FILE. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "backend/backend.h"
#include "device/params.h"

typedef struct params { /* as in kernels.cu */
    uint64_t map[16];
    const void *in;
    void *out;
    int32_t x, y, z, bytes, u, v;
} __attribute__((aligned(64))) params;

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { IN_BYTES = 1 << 16, OUT_BYTES = 1 << 18, LINE = 256, ROWS = 24, COLS = 136, PLANES = 3 };

typedef enum kind { RAW, BF16, FP16 } kind; /* of the input: any bits, or small integers */

typedef struct test {
    char name[96];
    const char *entry;
    char macros[64];
    kind in;
    uint32_t threads, smem;
    int at[5];              /* of the box; of others at[0] is a switch */
    bool on_out;            /* the map's base is out, else in */
    gg_tensor_map_spec map; /* rank 0: none */
} test;

/* --- the tests --- */

typedef struct list {
    test items[512];
    size_t count;
} list;

static test *add(list *l, test t) {
    if (l->count == COUNT(l->items)) abort();
    l->items[l->count] = t;
    return &l->items[l->count++];
}

static gg_tensor_map_spec planes_map(int rank, int columns, int rows, int planes) {
    return (gg_tensor_map_spec){.rank = rank,
                                .dims = {COLS, ROWS, PLANES},
                                .strides = {COLS * 2, COLS * ROWS * 2},
                                .box = {(uint32_t)columns, (uint32_t)rows, (uint32_t)planes}};
}

/* A box at `at` through `map`, by the wrappers that `macros` choose. */
static test box_test(bool store, const char *macros, gg_tensor_map_spec map, const int at[5]) {
    test t = {
        .entry = store ? "box_store" : "box_load", .threads = 32, .on_out = store, .map = map, .smem = 2};
    memcpy(t.at, at, sizeof t.at);
    for (int i = 0; i < map.rank; i++) t.smem *= map.box[i];
    t.smem += 8;
    snprintf(t.macros, sizeof t.macros, "%s", macros);
    return t;
}

static void add_box(list *l, bool store, const char *macros, const char *kind, gg_tensor_map_spec map,
                    const int at[5]) {
    test t = box_test(store, macros, map, at);
    int used = snprintf(t.name, sizeof t.name, "%s-%s-span%u-at", t.entry, kind, map.box[0] * 2);
    for (int i = 0; i < (map.rank < 3 ? 3 : map.rank); i++)
        used += snprintf(t.name + used, sizeof t.name - (size_t)used, i ? ",%d" : "%d", at[i]);
    add(l, t);
}

/* A store that begins before the tensor is an illegal instruction on an H200. */
static bool may_store(const int at[5]) { return at[0] >= 0 && at[1] >= 0 && at[2] >= 0; }

static const int spans[] = {16, 32, 64},
                 places[][5] = {{0, 0, 0},    {8, 3, 1},    {-8, -2, 0},     {COLS - 8, ROWS - 3, 2},
                                {COLS, 0, 0}, {0, ROWS, 1}, {16, 4, PLANES}, {24, 0, -1}};

static void add_boxes(list *l) {
    for (size_t s = 0; s < COUNT(spans); s++)
        for (size_t i = 0; i < COUNT(places); i++)
            for (int rank = 2; rank <= 3; rank++)
                for (int store = 0; store < 2; store++)
                    if (!store || may_store(places[i]))
                        add_box(l, store, rank == 2 ? "RANK=2" : "RANK=3", rank == 2 ? "2d" : "3d",
                                planes_map(rank, spans[s], 8, rank - 1), places[i]);
}

/* The output of dW, (E, N, K), cut at each: by boxes of two planes, and of one as it is stored. */
static void add_boxes_once(list *l) {
    static const char macros[] = "RANK=3 ONCE=1";
    static const int pieces[][5] = {{64, 0, 0}, {COLS - 8, 0, 1}, {0, 16, 2}};
    for (size_t s = 0; s < COUNT(spans); s++)
        for (size_t i = 0; i < COUNT(places); i++)
            if (may_store(places[i]))
                add_box(l, true, macros, "3d-once", planes_map(3, spans[s], 8, 2), places[i]);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        add_box(l, true, macros, "3d-once-piece", planes_map(3, 64, 64, 1), pieces[i]);
        add_box(l, true, macros, "3d-once-strip", planes_map(3, 64, 16, 1), pieces[i]);
    }
}

/* Rows of two halves of a matrix, eight of one, eight of the other: how wgmma's fused silu_and_mul loads weights. */
enum { HALF_ROWS = 24, MATRICES = 3 };
static void add_halves(list *l) {
    static const int halves[][5] = {{0, 0, 0, 0, 0},         {64, 0, 0, 1, 2},   {COLS - 8, 0, 0, 2, 1},
                                    {0, 0, 0, 3, 0},         {-8, -3, 0, -1, 1}, {8, 2, 1, 0, 0},
                                    {COLS - 8, 1, -1, 2, 2}, {0, 0, 0, 0, 3}};
    for (size_t s = 0; s < COUNT(spans); s++)
        for (size_t i = 0; i < COUNT(halves); i++)
            add_box(l, false, "RANK=5", "5d",
                    (gg_tensor_map_spec){
                        .rank = 5,
                        .dims = {COLS, 8, 2, HALF_ROWS / 8, MATRICES},
                        .strides = {COLS * 2, HALF_ROWS * COLS * 2, 8 * COLS * 2, 2 * HALF_ROWS * COLS * 2},
                        .box = {(uint32_t)spans[s], 8, 2, 2, 1}},
                    halves[i]);
}

/* Ragged rows (kernels/device/params.h) of a matrix, or of one whose rows are two halves that the map has one after the other, as
 * gate and up are stored. */
enum { RAGGED_COLS = 144, RAGGED_MATRIX = 100 };
typedef struct ragged_group {
    int col, row, limit, half, past; /* half 1 or 2, 0: whole rows; past: in the last dimension */
} ragged_group;

static void add_ragged_box(list *l, bool store, const char *macros, const char *kind, const int box[2],
                           const ragged_group *g) {
    const int halves = g->half ? 2 : 1, left = g->limit - g->row;
    const int skipped = left < RAGGED_ROWS ? RAGGED_ROWS - left : 0;
    const int from = (g->row - skipped) * halves + (g->half == 2);
    const uint64_t pitch = RAGGED_COLS * 2, next = pitch / (uint64_t)halves;
    test t = box_test(
        store, macros,
        (gg_tensor_map_spec){.rank = 4,
                             .dims = {(uint64_t)(RAGGED_COLS / halves), RAGGED_ROWS,
                                      (uint64_t)(RAGGED_BACK + RAGGED_MATRIX * halves), RAGGED_BACK + 1},
                             .strides = {pitch, next, (1ull << 63) / RAGGED_BACK * 2 - next},
                             .box = {(uint32_t)box[0], (uint32_t)box[1], 1, 1}},
        (const int[5]){g->col, skipped, RAGGED_BACK + from, RAGGED_BACK + g->past});
    snprintf(t.name, sizeof t.name, "%s-%s-span%dx%d-%s-col%d-rows%d..%d%s", t.entry, kind, box[0] * 2,
             box[1], (const char *const[]){"whole", "first", "second"}[g->half], g->col, g->row, g->limit,
             g->past ? "-past" : "");
    add(l, t);
}

static void add_ragged(list *l) {
    static const ragged_group groups[] = {
        {0, 0, 100, 0, 0},
        {64, 10, 50, 0, 0},
        {0, 0, 5, 0, 0},
        {RAGGED_COLS - 8, 80, 100, 0, 0},
        {8, 40, 41, 0, 0},
        {72, 37, 37, 0, 0},
        {RAGGED_COLS, 10, 50, 0, 0},
        {0, RAGGED_MATRIX, 200, 0, 0},
        {0, 0, 100, 0, 1},
        {0, 10, 50, 1, 0},
        {32, 0, 5, 2, 0},
        {RAGGED_COLS / 2 - 8, 80, 100, 1, 0},
        {RAGGED_COLS / 2, 0, 40, 2, 0},
    };
    static const int boxes[][2] = {{64, 64}, {64, 32}, {64, 16}, {32, 64}, {32, 16}, {16, 64}};
    for (size_t b = 0; b < COUNT(boxes); b++)
        for (size_t i = 0; i < COUNT(groups); i++)
            for (int store = 0; store < 2; store++)
                if (!groups[i].half || boxes[b][0] == 32)
                    add_ragged_box(l, store, "RANK=4", "4d", boxes[b], &groups[i]);
}

/* The output of forward and dX as it is stored, by pieces and by strips: whole, cut at its group's end, at the matrix' last column. */
static void add_ragged_kept(list *l) {
    static const ragged_group groups[] = {
        {0, 0, 100, 0, 0}, {64, 40, 50, 0, 0}, {RAGGED_COLS - 8, 30, 100, 0, 0}};
    static const int boxes[][2] = {{64, 64}, {64, 16}};
    for (size_t b = 0; b < COUNT(boxes); b++)
        for (size_t i = 0; i < COUNT(groups); i++)
            add_ragged_box(l, true, "RANK=4 KEPT=1", "4d-kept", boxes[b], &groups[i]);
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
                          .at = {majors & 1}};
                snprintf(t.macros, sizeof t.macros, "N=%d TYPE=%s TA=%d TB=%d", width,
                         type == FP16 ? "f16" : "bf16", majors & 1, majors >> 1);
                snprintf(t.name, sizeof t.name, "wgmma-n%d-%s-%s-%s", width, type == FP16 ? "f16" : "bf16",
                         majors & 1 ? "mn" : "k", majors >> 1 ? "mn" : "k");
                add(l, t);
            }
}

static void add_all(list *l) {
    const test first[] = {
        {.name = "ldmatrix", .entry = "ldmatrix", .threads = 32, .smem = 512},
        {.name = "stmatrix", .entry = "stmatrix", .threads = 32, .smem = 1024},
        {.name = "mma-bf16", .entry = "mma", .in = BF16, .threads = 32},
        {.name = "mma-fp16", .entry = "mma", .in = FP16, .threads = 32, .at = {1}},
        {.name = "shuffles", .entry = "shuffles", .threads = 32},
        {.name = "warps", .entry = "warps", .threads = 32},
        {.name = "conversions", .entry = "conversions", .threads = 256},
        {.name = "cp.async", .entry = "copies", .threads = 32, .smem = 512},
        {.name = "flags", .entry = "flags", .threads = 32},
        {.name = "mbarrier-counting",
         .entry = "counting",
         .threads = 64,
         .smem = 64 * 2 * 8 + 8,
         .at = {0, ROWS - 4},
         .map = planes_map(2, 64, 8, 1)},
    };
    const test then[] = {
        {.name = "mma-tiles-bf16", .entry = "mma_tiles", .in = BF16, .threads = 32},
        {.name = "mma-tiles-fp16", .entry = "mma_tiles", .in = FP16, .threads = 32, .at = {1}},
        {.name = "groups", .entry = "groups", .threads = 128, .smem = 512},
        {.name = "wide", .entry = "wide", .threads = 64, .smem = 1024},
        {.name = "pairs", .entry = "pairs", .threads = 256},
        {.name = "atomics", .entry = "atomics", .threads = 64},
        {.name = "approximations", .entry = "approximations", .threads = 256},
        {.name = "cp.async-arrivals", .entry = "arrivals", .threads = 32, .smem = 512 + 8},
        {.name = "prefetch", .entry = "prefetching", .threads = 32},
        {.name = "proxies",
         .entry = "proxies",
         .threads = 32,
         .smem = 64 * 2 * 8 + 8,
         .at = {64},
         .on_out = true,
         .map = planes_map(2, 64, 8, 1)},
    };
    for (size_t i = 0; i < COUNT(first); i++) add(l, first[i]);
    add_boxes(l);
    add_halves(l);
    add_products(l);
    for (size_t i = 0; i < COUNT(then); i++) add(l, then[i]);
    add_boxes_once(l);
    add_ragged(l);
    add_ragged_kept(l);
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
                .x = t->at[0],
                .y = t->at[1],
                .z = t->at[2],
                .u = t->at[3],
                .v = t->at[4],
                .bytes = (int32_t)t->smem - 8};
    gg_tensor_map_spec map = t->map;
    map.base = t->on_out ? r->out : r->in;
    if (gg_build(&source, &target, r->cache, path, NULL, error)) return false;
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
              !(map.rank && ops->tensor_map(r->backend, &map, p.map)) &&
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

/* --- the record --- */

/* Before the digest of a test that no GPU has run yet: what the simulator leaves. */
static const char pending[] = "pending";

/* The digest recorded for a name, "nothing" if there is none, and whether it is the simulator's. */
static bool recorded(FILE *file, const char *name, char digest[LINE]) {
    char line[LINE], word[LINE], second[LINE], third[LINE];
    rewind(file);
    strcpy(digest, "nothing");
    while (fgets(line, sizeof line, file)) {
        const int words = sscanf(line, "%255s %255s %255s", word, second, third);
        if (words < 2 || strcmp(word, name)) continue;
        const bool waits = !strcmp(second, pending);
        if (!waits || words == 3) strcpy(digest, waits ? third : second);
        return waits;
    }
    return false;
}

/* --- no wrapper without a kernel --- */

static bool calls(const char *text, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = text; (at = strstr(at, name)); at += length)
        if (at[length] == '(' && at > text && !isalnum((unsigned char)at[-1]) && at[-1] != '_') return true;
    return false;
}

static const char *source_text(const runner *r, const char *name) {
    const gg_source_file *file = r->files;
    while (strcmp(file->name, name)) file++;
    return file->text;
}

/* Names the wrappers of intrinsics.h that kernels.cu does not call; how many. */
static size_t uncalled(const runner *r) {
    /* these leave nothing that could be recorded */
    static const char *const silent[] = {"device_trap",  "grid_wait",      "opaque",
                                         "own_register", "setmaxnreg_dec", "setmaxnreg_inc"};
    size_t count = 0;
    for (const char *line = source_text(r, "intrinsics.h"); line; line = strchr(line, '\n')) {
        char name[LINE];
        line += *line == '\n';
        const char *end = line + strcspn(line, "(\n"), *begin = end;
        while (begin > line && (isalnum((unsigned char)begin[-1]) || begin[-1] == '_')) begin--;
        const bool macro =
            !strncmp(line, "#define ", 8) && begin == line + 8 && islower((unsigned char)*begin);
        if (*end != '(' || end[-1] == '_' || (strncmp(line, "DEVICE ", 7) && !macro)) continue;
        snprintf(name, sizeof name, "%.*s", (int)(end - begin), begin);
        bool known = calls(source_text(r, "kernels.cu"), name);
        for (size_t i = 0; i < COUNT(silent); i++) known |= !strcmp(name, silent[i]);
        if (!known) fprintf(stderr, "%s: no kernel calls it\n", name);
        count += !known;
    }
    return count;
}

int main(int argc, char **argv) {
    static list tests;
    static runner r;
    const char *backend = "sim", *record = NULL, *check = NULL,
               *kernels = SOURCE_DIR "/tests/conformance/kernels.cu";
    char error[GG_ERROR_SIZE] = "", digest[17], want[LINE] = "";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--backend")) backend = argv[i + 1];
        if (!strcmp(argv[i], "--record")) record = argv[i + 1];
        if (!strcmp(argv[i], "--check")) check = argv[i + 1];
        if (!strcmp(argv[i], "--kernels")) kernels = argv[i + 1];
    }
    if (record && check) {
        fprintf(stderr, "usage: conformance [--backend cuda|sim] [--record FILE | --check FILE] [--kernels "
                        "kernels.cu]\n");
        return 4;
    }
    if (!record && !check) check = SOURCE_DIR "/tests/conformance/sm90.tsv";
    if (!open_runner(&r, backend, kernels, error)) {
        fprintf(stderr, "ERROR: %s\n", error);
        return 3;
    }
    if (uncalled(&r)) return 1;
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
        const bool waits = check && recorded(file, t->name, want);
        if (!run(&r, t, digest, error)) {
            fprintf(stderr, "%s: %s\n", t->name, error);
            wrong++;
        } else if (record) {
            fprintf(file, "%s %s\n", t->name, digest);
        } else if (strcmp(want, digest)) {
            fprintf(stderr, "%s: %s, recorded %s%s\n", t->name, digest, waits ? "pending " : "", want);
            wrong++;
        } else if (waits) {
            printf("%s: waits for a GPU\n", t->name);
            to_come++;
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
