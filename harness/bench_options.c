/* bench_options.c: the command line of `moegemm bench` and `moegemm tune`: which shapes, which configs. */
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "bench.h"

/* What stands on the command line, before it is looked at. */
typedef struct words {
    const char *model, *mode, *seqlen, *dtype, *gemm, *permute_x, *permute_y, *fuse_mul_post, *routing;
    const char *E, *N, *K, *topk, *T;
    const char *blocks[5], *mainloop, *config, *tma[4], *no_tma, *no_workspace, *autotune, *limit;
    const char *table, *scaling, *alone, *repeat, *report, *json, *peers, *cache_dir, *device;
} words;

enum { LIST_MOST = 64 };

/* --- lists --- */

/* Calls `take` for each word between commas; false when one is not taken. */
typedef bool take_word(void *out, const char *word);
static bool each_word(const char *list, take_word *take, void *out, char bad[64]) {
    for (const char *at = list;; at++) {
        const size_t length = strcspn(at, ",");
        snprintf(bad, 64, "%.*s", (int)(length < 63 ? length : 63), at);
        if (length > 63 || !take(out, bad)) return false;
        at += length;
        if (!*at) return true;
    }
}

typedef struct numbers {
    long long items[LIST_MOST], least, most;
    size_t count;
} numbers;

static bool take_number(void *out, const char *word) {
    numbers *n = out;
    long long value;
    if (!mg_argument_number(word, n->least, n->most, &value) || n->count == LIST_MOST) return false;
    n->items[n->count++] = value;
    return true;
}

/* Names chosen from a table, as bits; "all" takes every one. */
typedef struct choice {
    const char *const *names; /* ended by NULL */
    unsigned bits;
} choice;

static bool take_name(void *out, const char *word) {
    choice *c = out;
    for (unsigned i = 0; c->names[i]; i++)
        if (!strcmp(word, c->names[i]) || !strcmp(word, "all")) c->bits |= 1u << i;
    for (unsigned i = 0; c->names[i]; i++)
        if (!strcmp(word, c->names[i])) return true;
    return !strcmp(word, "all");
}

typedef struct parser {
    const mg_arguments *arguments;
    words w;
    mg_bench_options *o;
    bool failed;
} parser;

static void fail(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(parser *p, const char *format, ...) {
    char error[MG_ERROR_SIZE];
    va_list arguments;
    if (p->failed) return;
    va_start(arguments, format);
    vsnprintf(error, sizeof error, format, arguments);
    va_end(arguments);
    mg_arguments_fail(p->arguments, error);
    p->failed = true;
}

static numbers read_numbers(parser *p, const char *option, const char *text, long long least,
                            long long most) {
    numbers n = {.least = least, .most = most};
    char bad[64];
    if (text && !each_word(text, take_number, &n, bad))
        fail(p, "bad number '%s' for %s: expected %lld to %lld", bad, option, least, most);
    return n;
}

static long long read_number(parser *p, const char *option, const char *text, long long usual,
                             long long least, long long most) {
    const numbers n = read_numbers(p, option, text, least, most);
    if (n.count > 1) fail(p, "more than one number for %s: '%s'", option, text);
    return n.count ? n.items[0] : usual;
}

static unsigned read_choice(parser *p, const char *option, const char *text, const char *usual,
                            const char *const *names) {
    choice c = {.names = names};
    char bad[64], list[256] = "";
    if (each_word(text ? text : usual, take_name, &c, bad)) return c.bits;
    for (size_t i = 0, used = 0; names[i] && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    fail(p, "unknown word '%s' for %s: expected %s", bad, option, list);
    return 0;
}

/* --- items --- */

static const char *const op_words[] = {"forward", "dX", "dW", "backward", NULL};
enum { BACKWARD = 3 };

static void add(parser *p, const mg_bench_item *item) {
    mg_bench_options *o = p->o;
    if (p->failed) return;
    mg_bench_item *items = realloc(o->items, (o->count + 1) * sizeof *items);
    if (!items) {
        fail(p, "out of memory");
        return;
    }
    o->items = items;
    items[o->count++] = *item;
}

static void add_ops(parser *p, mg_bench_item item, unsigned ops) {
    for (int op = 0; op <= BACKWARD; op++) {
        if (!(ops & 1u << op)) continue;
        item.backward = op == BACKWARD;
        item.problem.op = op == BACKWARD ? GG_DX : (gg_op)op;
        add(p, &item);
    }
}

static mg_bench_item item_of(const mg_model *model, int gemm, long long T, const mg_bench_item *like) {
    mg_bench_item item = *like;
    snprintf(item.model, sizeof item.model, "%s", model->name);
    item.gemm = gemm;
    item.problem.gemm = gemm == 1 ? GG_GEMM_FIRST : GG_GEMM_SECOND;
    item.problem.E = model->E;
    item.problem.topk = model->topk;
    item.problem.T = T;
    mg_model_shape(model, gemm, &item.problem.N, &item.problem.K);
    item.problem.fusions &= gemm == 1 ? (unsigned)GG_PERMUTE_X : GG_PERMUTE_Y | GG_FUSE_MUL_POST;
    return item;
}

/* Time against tokens, and against experts at 1024 tokens. */
static void add_curves(parser *p, const mg_model *model, int gemm, unsigned ops, const mg_bench_item *like) {
    static const int odd_tokens[] = {1025, 5003}; /* between powers of two */
    for (int op = 0; op <= BACKWARD; op++) {
        if (!(ops & 1u << op)) continue;
        long long tokens[32];
        size_t count = 0;
        for (long long T = 1; T <= 65536; T *= 2) {
            tokens[count++] = T;
            for (size_t i = 0; i < sizeof odd_tokens / sizeof *odd_tokens; i++)
                if (odd_tokens[i] > T && odd_tokens[i] < 2 * T) tokens[count++] = odd_tokens[i];
        }
        for (size_t i = 0; i < count; i++) {
            mg_bench_item item = item_of(model, gemm, tokens[i], like);
            item.axis = "tokens";
            add_ops(p, item, 1u << op);
        }
        for (int32_t E = 1; E <= 256; E *= 2) {
            mg_bench_item item = item_of(model, gemm, 1024, like);
            item.axis = "experts";
            item.problem.E = E;
            if (item.problem.topk > E) item.problem.topk = E;
            add_ops(p, item, 1u << op);
        }
    }
}

static void add_models(parser *p, unsigned models, unsigned gemms, unsigned ops, const mg_bench_item *like) {
    const words *w = &p->w;
    if (w->T && w->seqlen) fail(p, "--T and --seqlen are the same: give one");
    const char *text = w->seqlen ? w->seqlen : w->T ? w->T : w->table ? "1024,8192" : "1024";
    const numbers tokens = read_numbers(p, "--seqlen", text, 0, 1 << 24);
    if (p->o->scaling && (w->seqlen || w->T))
        fail(p, "--scaling has its own numbers of tokens: leave out --seqlen");
    for (size_t t = 0; t < (p->o->scaling ? 1 : tokens.count); t++)
        for (unsigned m = 0; mg_models[m].name; m++)
            for (int gemm = 1; gemm <= 2; gemm++) {
                if (!(models & 1u << m) || !(gemms & 1u << (gemm - 1))) continue;
                if (p->o->scaling) {
                    add_curves(p, &mg_models[m], gemm, ops, like);
                    continue;
                }
                add_ops(p, item_of(&mg_models[m], gemm, tokens.items[t], like), ops);
            }
}

static void add_free(parser *p, unsigned ops, const mg_bench_item *like) {
    enum { MOST = 1 << 24 };
    const words *w = &p->w;
    if (!w->E || !w->N || !w->K) fail(p, "a free shape needs --E, --N and --K");
    if (w->model || w->gemm || w->table || w->scaling)
        fail(p, "--E, --N and --K make a free shape: leave out --model, --gemm, --table and --scaling");
    if (w->T && w->seqlen) fail(p, "--T and --seqlen are the same: give one");
    const numbers tokens = read_numbers(p, "--T", w->T ? w->T : w->seqlen ? w->seqlen : "1024", 0, MOST);
    mg_bench_item item = *like;
    snprintf(item.model, sizeof item.model, "free");
    item.problem.E = (int32_t)read_number(p, "--E", w->E, 1, 1, 4096);
    item.problem.N = (int32_t)read_number(p, "--N", w->N, 8, 8, MOST);
    item.problem.K = (int32_t)read_number(p, "--K", w->K, 8, 8, MOST);
    item.problem.topk = (int32_t)read_number(p, "--topk", w->topk, 1, 1, 64);
    for (size_t t = 0; t < tokens.count; t++) {
        item.problem.T = tokens.items[t];
        add_ops(p, item, ops);
    }
}

/* Every item must be one that the planner takes with some config; the first that is not ends the command. */
static void read_items(parser *p) {
    static const char *const gemm_words[] = {"1", "2", NULL}, *const dtype_words[] = {"bf16", "fp16", NULL};
    const char *model_words[8] = {0}, *dist_words[MG_NUM_DISTS + 1] = {0};
    const words *w = &p->w;
    const bool whole = w->table || w->scaling;
    for (unsigned i = 0; mg_models[i].name; i++) model_words[i] = mg_models[i].name;
    for (int i = 0; i < MG_NUM_DISTS; i++) dist_words[i] = mg_dist_name((mg_dist)i);
    const unsigned ops = read_choice(p, "--mode", w->mode, whole ? "forward,dX,dW" : "forward", op_words);
    const unsigned gemms = read_choice(p, "--gemm", w->gemm, "all", gemm_words);
    const unsigned models = read_choice(p, "--model", w->model, whole ? "all" : "qwen3", model_words);
    const unsigned dtypes = read_choice(p, "--dtype", w->dtype, "bf16", dtype_words);
    const unsigned dists = read_choice(p, "--routing", w->routing, "mult", dist_words);
    if (p->failed) return;
    const bool free_shape = w->E || w->N || w->K;
    if (!free_shape && w->topk) fail(p, "--topk belongs to a free shape: give --E, --N and --K as well");
    if (!free_shape && w->permute_x && !(gemms & 1)) fail(p, "permute_x in the second GEMM: add --gemm 1");
    if (!free_shape && (w->permute_y || w->fuse_mul_post) && !(gemms & 2))
        fail(p, "%s in the first GEMM: add --gemm 2", w->permute_y ? "permute_y" : "fuse_mul_post");
    mg_bench_item like = {0};
    if (w->permute_x || whole) like.problem.fusions |= GG_PERMUTE_X;
    if (w->permute_y || whole) like.problem.fusions |= GG_PERMUTE_Y;
    if (w->fuse_mul_post) like.problem.fusions |= GG_FUSE_MUL_POST;
    for (int dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
        for (int dist = 0; dist < MG_NUM_DISTS; dist++) {
            if (!(dtypes & 1u << dtype) || !(dists & 1u << dist)) continue;
            like.problem.dtype = (gg_dtype)dtype;
            like.dist = (mg_dist)dist;
            if (free_shape)
                add_free(p, ops, &like);
            else
                add_models(p, models, gemms, ops, &like);
        }
}

/* --- configs --- */

static const char *const block_options[5] = {"--BLOCK_SIZE_M", "--BLOCK_SIZE_N", "--BLOCK_SIZE_K",
                                             "--num_warps", "--num_stages"};

static bool take_config(void *out, const char *word) {
    mg_bench_options *o = out;
    return o->num_configs < MG_MAX_CONFIGS && mg_config_parse(word, &o->configs[o->num_configs++]);
}

static void read_configs(parser *p) {
    mg_bench_options *o = p->o;
    const words *w = &p->w;
    char bad[64];
    bool any = w->mainloop || w->no_tma;
    for (int i = 0; i < 5; i++) {
        const numbers n = read_numbers(p, block_options[i], w->blocks[i], 1, 1024);
        if (n.count > 7) fail(p, "more than 7 numbers for %s", block_options[i]);
        for (size_t j = 0; j < n.count && j < 7; j++) o->blocks[i][j] = (int)n.items[j];
        any = any || n.count;
    }
    for (int i = 0; i < 4; i++)
        if (w->tma[i]) o->tma |= 1u << i;
    o->has_tma = o->tma || w->no_tma;
    any = any || o->has_tma;
    if (o->tma && w->no_tma) fail(p, "--no_tma beside a use of TMA: leave one out");
    if (w->mainloop && !(o->has_mainloop = mg_mainloop_parse(w->mainloop, strlen(w->mainloop), &o->mainloop)))
        fail(p, "unknown word '%.60s' for --mainloop: expected reference, mma_sync or wgmma", w->mainloop);
    if (w->config && !each_word(w->config, take_config, o, bad))
        fail(p, "bad config '%s': expected a text like wgmma-bm256-bn128-bk64-w8-s4-copy_rows-tma-x-w-store",
             bad);
    if (w->config && any) fail(p, "--config says all: leave out the options of its parts");
    o->workspace = !w->no_workspace;
    for (size_t i = 0; i < o->num_configs && !o->workspace; i++)
        if (o->configs[i].copy_rows) fail(p, "--no_workspace beside a config with copy_rows: leave one out");
    o->autotune = w->autotune || !strcmp(p->arguments->command, "tune");
    if (o->autotune && (any || w->config))
        fail(p, "--autotune and tune find the config: leave out %s", w->config ? "--config" : "its parts");
    for (size_t i = 0; i < o->count && (any || w->config); i++)
        if (o->items[i].backward) fail(p, "backward runs two products: give configs to dX and dW");
}

/* Every combination of the numbers given for the parts, the default's where there is none. */
static size_t combine(const mg_bench_options *o, const gg_config *usual, gg_config *out, size_t most) {
    size_t total = 1, count = 0, choices[5];
    for (int i = 0; i < 5; i++) {
        for (choices[i] = 0; o->blocks[i][choices[i]];) choices[i]++;
        if (choices[i]) total *= choices[i];
    }
    for (size_t number = 0; number < total && count < most; number++) {
        gg_config c = *usual;
        int *const parts[5] = {&c.block_m, &c.block_n, &c.block_k, &c.num_warps, &c.num_stages};
        size_t rest = number;
        for (int i = 0; i < 5; i++) {
            if (!choices[i]) continue;
            *parts[i] = o->blocks[i][rest % choices[i]];
            rest /= choices[i];
        }
        if (o->has_mainloop) c.mainloop = o->mainloop;
        if (o->has_tma) c.tma = o->tma;
        if (c.mainloop == GG_REFERENCE && !o->has_tma) c.tma = 0;
        out[count++] = c;
    }
    return count;
}

size_t mg_bench_configs(const mg_bench_options *o, const gg_problem *problem, const gg_device *device,
                        gg_config configs[MG_MAX_CONFIGS], size_t *refused, char reason[GG_REASON_SIZE]) {
    /* flags and mainloops are asked for by those who want rows gathered */
    const bool workspace = o->workspace && !o->has_tma && !o->has_mainloop;
    const gg_config usual = gg_default_config(problem, device, workspace);
    gg_plan plan;
    char why[GG_REASON_SIZE];
    size_t count = o->num_configs, legal = 0;
    memcpy(configs, o->configs, sizeof o->configs);
    if (!count) count = combine(o, &usual, configs, MG_MAX_CONFIGS);
    reason[0] = 0;
    for (size_t i = 0; i < count; i++)
        if (gg_plan_make(problem, &configs[i], device, &plan, why))
            memcpy(reason, why, sizeof why);
        else
            configs[legal++] = configs[i];
    *refused = count - legal;
    return legal;
}

void mg_bench_plain(const gg_problem *fused, const gg_config *config, const gg_device *device,
                    gg_problem *plain, gg_config *plain_config) {
    *plain = *fused;
    plain->fusions = 0;
    *plain_config = *config;
    plain_config->copy_rows = false;
    if (config->mainloop == GG_REFERENCE) return;
    /* what the default config of each may use differs by what the permute forbids */
    plain_config->tma |=
        gg_default_config(plain, device, false).tma & ~gg_default_config(fused, device, false).tma;
}

/* --- names --- */

void mg_bench_name(const mg_bench_item *item, char *text, size_t size) {
    const gg_problem *p = &item->problem;
    size_t used = (size_t)(item->gemm ? snprintf(text, size, "%s T%lld gemm %d", item->model, (long long)p->T,
                                                 item->gemm)
                                      : snprintf(text, size, "E%d N%d K%d topk%d T%lld", p->E, p->N, p->K,
                                                 p->topk, (long long)p->T));
    const struct {
        bool shown;
        const char *word;
    } words[] = {{item->axis && !strcmp(item->axis, "experts"), NULL},
                 {p->fusions & GG_PERMUTE_X, "permute_x"},
                 {p->fusions & GG_PERMUTE_Y, "permute_y"},
                 {p->fusions & GG_FUSE_MUL_POST, "fuse_mul_post"},
                 {p->dtype != GG_BF16, gg_dtype_name(p->dtype)},
                 {item->dist != MG_MULT, mg_dist_name(item->dist)}};
    for (size_t i = 0; i < sizeof words / sizeof *words && used < size; i++) {
        if (!words[i].shown) continue;
        used += (size_t)(words[i].word ? snprintf(text + used, size - used, " %s", words[i].word)
                                       : snprintf(text + used, size - used, " E%d", p->E));
    }
}

const char *mg_bench_op(const mg_bench_item *item) {
    return item->backward ? op_words[BACKWARD] : gg_op_name(item->problem.op);
}

/* --- the command line --- */

int mg_bench_parse(mg_bench_options *o, const char *command, int argc, char **argv) {
    parser parsed = {.o = o}, *p = &parsed;
    words *w = &p->w;
    const mg_argument table[] = {
        {"--model", "LIST", "qwen3, llama4, all", &w->model},
        {"--seqlen", "LIST", "tokens (1024)", &w->seqlen},
        {"--gemm", "LIST", "1, 2 (both)", &w->gemm},
        {"--mode", "LIST", "forward, dX, dW, backward (dX, its reduction and dW)", &w->mode},
        {"--permute_x", NULL, "gather tokens in GEMM 1", &w->permute_x},
        {"--permute_y", NULL, "scatter to slots in GEMM 2", &w->permute_y},
        {"--fuse_mul_post", NULL, "times the routing weight, in GEMM 2", &w->fuse_mul_post},
        {"--dtype", "LIST", "bf16, fp16", &w->dtype},
        {"--routing", "LIST", "mult, balanced, skewed, one, ... (golden/README.md)", &w->routing},
        {"--E", "N", "a free shape: experts, with --N, --K, --topk (1) and --T", &w->E},
        {"--N", "N", "", &w->N},
        {"--K", "N", "", &w->K},
        {"--topk", "N", "", &w->topk},
        {"--T", "LIST", "", &w->T},
        {"--table", NULL, "the 24 shapes that peers were measured on, permutes fused", &w->table},
        {"--scaling", NULL, "time against tokens and experts; status 1 if there is a cliff", &w->scaling},
        {"--autotune", NULL, "search the config first (remembered); the default is timed too", &w->autotune},
        {"--limit", "N", "configs to search (0: all)", &w->limit},
        {"--config", "LIST", "configs as the table prints them", &w->config},
        {"--mainloop", "WORD", "mma_sync, wgmma, reference", &w->mainloop},
        {block_options[0], "LIST", "every combination of these is timed", &w->blocks[0]},
        {block_options[1], "LIST", "", &w->blocks[1]},
        {block_options[2], "LIST", "", &w->blocks[2]},
        {block_options[3], "LIST", "", &w->blocks[3]},
        {block_options[4], "LIST", "", &w->blocks[4]},
        {"--use_tma_load_x", NULL, "any of these: exactly these uses of TMA", &w->tma[0]},
        {"--use_tma_load_w", NULL, "", &w->tma[1]},
        {"--use_tma_load_dy", NULL, "", &w->tma[2]},
        {"--use_tma_store", NULL, "", &w->tma[3]},
        {"--no_tma", NULL, "no use of TMA", &w->no_tma},
        {"--no_workspace", NULL, "no configs that copy rows together before they are multiplied",
         &w->no_workspace},
        {"--alone", NULL, "neither cuBLAS nor the same kernel without permutes beside it", &w->alone},
        {"--repeat", "N", "timed launches (30; 20 at least count as a result)", &w->repeat},
        {"--peers", "FILE", "times of tests/peers/torch_grouped_mm.py to compare with", &w->peers},
        {"--report", "DIR", "results.jsonl and report.html (also --results_dir)", &w->report},
        {"--results_dir", "DIR", "", &w->report},
        {"--json", NULL, "print JSON lines instead of the table", &w->json},
        {"--device", "N", "ordinal (0)", &w->device},
        {"--cache-dir", "DIR", "compiled kernels and tuned configs", &w->cache_dir},
    };
    const mg_arguments arguments = {
        command, "",
        !strcmp(command, "tune")
            ? "Searches configs, remembers the fastest, and says how far the default is from it."
            : "Times the kernels on a GPU: random data, cold L2, medians of launches taken in turn.",
        table, sizeof table / sizeof *table};
    *o = (mg_bench_options){0};
    p->arguments = &arguments;
    const int positional = mg_arguments_read(&arguments, argc, argv);
    if (positional < 0) return positional;
    if (positional) fail(p, "unexpected argument '%.100s'", argv[1]);
    if (w->table && w->scaling) fail(p, "--table and --scaling are two runs: give one");
    o->scaling = w->scaling;
    if (!p->failed) read_items(p);
    if (!p->failed) read_configs(p);
    o->rivals = !w->alone && !w->scaling;
    o->json = w->json;
    o->report = w->report;
    o->peers = w->peers;
    o->cache_dir = w->cache_dir;
    o->repeat = (int)read_number(p, "--repeat", w->repeat, 30, 1, 10000);
    o->limit = (size_t)read_number(p, "--limit", w->limit, 0, 0, 100000);
    o->device = (int)read_number(p, "--device", w->device, 0, 0, 1024);
    if (!p->failed) return 0;
    mg_bench_options_free(o);
    return 1;
}

void mg_bench_options_free(mg_bench_options *o) {
    free(o->items);
    o->items = NULL;
    o->count = 0;
}
