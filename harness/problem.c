/* problem.c: the problems table, parsed once from the copy of golden/problems.tsv in the binary. */
#include "case.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"

extern const gg_source_file mg_embedded_data[];

/* A name and what it stands for; tables of these end with a NULL name. */
typedef struct word {
    const char *name;
    unsigned value;
} word;

static const word classes[] = {
#define X(name, text) {text, name},
    MG_CLASSES(X)
#undef X
        {0}};

static const word dists[] = {
#define X(name, text) {text, name},
    MG_DISTS(X)
#undef X
        {0}};

static const word groups[] = {
    {"small", MG_GROUP_SMALL},   {"first", MG_GROUP_FIRST},   {"large", MG_GROUP_LARGE},
    {"shrunk", MG_GROUP_SHRUNK}, {"ragged", MG_GROUP_RAGGED}, {"full", MG_GROUP_FULL},
    {"far", MG_GROUP_FAR},       {"cross", MG_GROUP_CROSS},   {0}};
/* Column committed: outputs of class exact in bf16, and what else of y. */
enum {
    COMMIT_Y = 1,
    COMMIT_DX = 2,
    COMMIT_DW = 4,
    COMMIT_FP16 = 8,
    COMMIT_UNIT = 16,
    COMMIT_REAL = 32,
    HASHED = 64
};
static const word committed[] = {{"y", COMMIT_Y},
                                 {"dx", COMMIT_DX},
                                 {"dw", COMMIT_DW},
                                 {"fp16", COMMIT_FP16},
                                 {"unit", COMMIT_UNIT},
                                 {"real", COMMIT_REAL},
                                 {"hash", HASHED},
                                 {"-", 0},
                                 {0}};

static const word dtypes[] = {{"bf16", GG_BF16}, {"fp16", GG_FP16}, {0}};
static const word gemms[] = {{"W1", GG_GEMM_FIRST}, {"W2", GG_GEMM_SECOND}, {0}};

const char *mg_class_name(mg_class cls) { return classes[cls].name; }
const char *mg_dist_name(mg_dist dist) { return dists[dist].name; }

/* The table is part of the binary, so a fault in it is a fault of the build. */
static _Noreturn void broken(const char *what) {
    fprintf(stderr, "moegemm: error: bad %s in the embedded problems.tsv\n", what);
    abort();
}

static unsigned find_word(const word *words, const char *text, size_t length) {
    for (; words->name; words++)
        if (strlen(words->name) == length && !memcmp(words->name, text, length)) return words->value;
    broken("word");
}

/* The next field of a row, up to the tab or the end of the line. */
typedef struct field {
    const char *text;
    size_t length;
} field;

static field next_field(const char **at) {
    field f = {*at, strcspn(*at, "\t\n")};
    *at += f.length + ((*at)[f.length] == '\t');
    return f;
}

static unsigned one_of(const word *words, const char **at) {
    field f = next_field(at);
    return find_word(words, f.text, f.length);
}

/* "a,b" as a mask: 1 << value of each, or the values themselves where they are masks already. */
static unsigned set_of(const word *words, bool masks, const char **at) {
    field f = next_field(at);
    unsigned set = 0;
    for (size_t i = 0, length; i < f.length; i += length + 1) {
        for (length = 0; i + length < f.length && f.text[i + length] != ',';) length++;
        unsigned value = find_word(words, f.text + i, length);
        set |= masks ? value : 1u << value;
    }
    return set;
}

/* Sizes are 32 bits wide, and I counts twice in N. */
#define LARGEST (INT32_MAX / 2)

static int64_t number(const char **at) {
    field f = next_field(at);
    char *end;
    long long value = strtoll(f.text, &end, 10);
    if (end != f.text + f.length || value < 0 || value > LARGEST) broken("number");
    return value;
}

static void parse_row(const char *line, mg_problem *p) {
    *p = (mg_problem){.gemm = (gg_gemm)one_of(gemms, &line)};
    p->E = (int32_t)number(&line);
    p->topk = (int32_t)number(&line);
    p->T = number(&line);
    p->H = (int32_t)number(&line);
    p->I = (int32_t)number(&line);
    p->dist = (mg_dist)one_of(dists, &line);
    p->classes = set_of(classes, false, &line);
    p->dtypes = set_of(dtypes, false, &line);
    p->groups = set_of(groups, true, &line);
    p->committed = set_of(committed, true, &line);
    p->store = p->committed & HASHED ? MG_STORE_HASH : MG_STORE_FILES;
    p->M = p->T * p->topk;
    p->N = p->gemm == GG_GEMM_FIRST ? 2 * p->I : p->H;
    p->K = p->gemm == GG_GEMM_FIRST ? p->H : p->I;
    snprintf(p->key, sizeof p->key, "W%d-topk%d-E%d-T%lld-H%d-I%d-%s", p->gemm == GG_GEMM_FIRST ? 1 : 2,
             p->topk, p->E, (long long)p->T, p->H, p->I, mg_dist_name(p->dist));
    snprintf(p->routing, sizeof p->routing, "topk%d-E%d-T%lld-%s", p->topk, p->E, (long long)p->T,
             mg_dist_name(p->dist));
}

/* Filled once, constant afterwards. */
static struct {
    mg_problem *items;
    size_t count;
} table;

static void parse_table(void) {
    const gg_source_file *file = mg_embedded_data;
    while (file->name && strcmp(file->name, "problems.tsv")) file++;
    if (!file->name) broken("place");
    size_t lines = 0;
    for (const char *at = file->text; (at = strchr(at, '\n')); at++) lines++;
    table.items = calloc(lines, sizeof *table.items);
    if (!table.items) broken("size");
    for (const char *at = strchr(file->text, '\n'); at && at[1]; at = strchr(at + 1, '\n'))
        parse_row(at + 1, &table.items[table.count++]);
}

const mg_problem *mg_problems(size_t *count) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, parse_table);
    *count = table.count;
    return table.items;
}

bool mg_is_committed(const mg_problem *problem, mg_class cls, gg_dtype dtype, gg_op output) {
    static const unsigned exact_bf16[GG_NUM_OPS] = {
        [GG_FORWARD] = COMMIT_Y, [GG_DX] = COMMIT_DX, [GG_DW] = COMMIT_DW};
    static const unsigned y[MG_NUM_CLASSES][GG_NUM_DTYPES] = {[MG_EXACT] = {[GG_FP16] = COMMIT_FP16},
                                                              [MG_UNIT] = {[GG_BF16] = COMMIT_UNIT},
                                                              [MG_REAL] = {[GG_BF16] = COMMIT_REAL}};
    if (cls == MG_HOSTILE) cls = MG_EXACT; /* which it is made from */
    if (cls == MG_EXACT && dtype == GG_BF16) return problem->committed & exact_bf16[output];
    return output == GG_FORWARD && problem->committed & y[cls][dtype];
}

const mg_problem *mg_problem_find(const char *key) {
    size_t count;
    const mg_problem *problems = mg_problems(&count);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(problems[i].key, key)) return &problems[i];
    return NULL;
}
