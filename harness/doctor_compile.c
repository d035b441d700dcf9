/* doctor_compile.c: builds every kernel variant ahead, for generations of GPU that need not be here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/build.h"
#include "doctor.h"
#include "moe.h"
#include "options.h"

/* What the planner needs to know of a generation (CUDA programming guide, table of compute capabilities);
 * shared memory in KiB. Multiprocessors do not change the code. */
static const struct generation {
    const char *arch;
    int cc;
    uint32_t smem_block, smem_sm, threads_sm;
    bool by_default;
} generations[] = {
    {"sm_80", 80, 163, 164, 2048, true},    {"sm_86", 86, 99, 100, 1536, false},
    {"sm_89", 89, 99, 100, 1536, false},    {"sm_90a", 90, 227, 228, 2048, true},
    {"sm_100a", 100, 227, 228, 2048, true}, {"sm_120a", 120, 99, 100, 1536, true},
    {"sim", 90, 227, 228, 2048, false}, /* simulates one of these */
};

typedef struct variants {
    gg_plan *plans;
    size_t count, capacity;
    bool failed; /* out of memory */
} variants;

static void add_plan(variants *v, const gg_plan *plan) {
    if (v->count == v->capacity) {
        size_t capacity = v->capacity ? 2 * v->capacity : 256;
        gg_plan *grown = realloc(v->plans, capacity * sizeof *grown);
        if (!grown) {
            v->failed = true;
            return;
        }
        v->plans = grown;
        v->capacity = capacity;
    }
    v->plans[v->count++] = *plan;
}

/* Combinations that the planner refuses are no variants. */
static void add_variant(variants *v, const gg_problem *problem, const gg_config *config,
                        const gg_device *device) {
    gg_plan plan;
    char reason[GG_REASON_SIZE];
    if (!gg_plan_make(problem, config, device, &plan, reason)) add_plan(v, &plan);
}

/* All sets of flags around one config, types taking turns unless `every`. */
static void add_flag_sets(variants *v, gg_problem problem, gg_config config, const gg_device *device,
                          bool every) {
    const unsigned fusions = GG_PERMUTE_X | GG_PERMUTE_Y | GG_FUSE_MUL_POST;
    const unsigned tma = GG_TMA_LOAD_X | GG_TMA_LOAD_W | GG_TMA_LOAD_DY | GG_TMA_STORE;
    for (problem.fusions = 0; problem.fusions <= fusions; problem.fusions++)
        for (config.tma = 0; config.tma <= tma; config.tma++)
            if (every || (problem.fusions + config.tma) % GG_NUM_DTYPES == (unsigned)problem.dtype)
                add_variant(v, &problem, &config, device);
}

static void add_variants(variants *v, const gg_device *device, bool every) {
    /* small, so that the many sets of flags compile fast */
    const gg_config quick = {.block_m = 64, .block_n = 64, .block_k = 32, .num_warps = 4, .num_stages = 2};
    for (int op = 0; op < GG_NUM_OPS; op++)
        for (int dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
            /* large enough that no config is too large for it */
            gg_problem problem = {
                .op = op, .dtype = dtype, .E = 8, .N = 2048, .K = 2048, .topk = 2, .T = 4096};
            for (int mainloop = 0; mainloop < GG_NUM_MAINLOOPS; mainloop++) {
                gg_config config = quick;
                config.mainloop = mainloop;
                add_flag_sets(v, problem, config, device, every);
            }
            size_t count = gg_candidate_configs(&problem, device, false, NULL, 0);
            gg_config *configs = malloc((count + 1) * sizeof *configs);
            if (!configs) {
                v->failed = true;
                return;
            }
            gg_candidate_configs(&problem, device, false, configs, count);
            /* once: the configs take turns over the operations and types */
            for (size_t i = 0; i < count; i++) {
                if (every)
                    add_flag_sets(v, problem, configs[i], device, every);
                else if (i % (GG_NUM_OPS * GG_NUM_DTYPES) == (size_t)(op * GG_NUM_DTYPES + dtype))
                    add_variant(v, &problem, &configs[i], device);
            }
            free(configs);
        }
}

/* The first GEMM of a block with silu_and_mul; its sets of flags and types take turns over the configs unless `every`. */
static void add_fused(variants *v, const gg_device *device, bool every) {
    enum { SETS = 4, CANDIDATES = 64 };
    static const unsigned sets[SETS] = {0, GG_PERMUTE_X, GG_KEEP_FIRST, GG_PERMUTE_X | GG_KEEP_FIRST};
    gg_config configs[CANDIDATES];
    for (size_t turn = 0; turn < SETS * GG_NUM_DTYPES; turn++) {
        const gg_problem problem = {.dtype = turn / SETS,
                                    .gemm = GG_GEMM_FIRST,
                                    .fusions = sets[turn % SETS] | GG_FUSE_SILU,
                                    .E = 8,
                                    .N = 2048,
                                    .K = 2048,
                                    .topk = 2,
                                    .T = 4096};
        const size_t count = gg_candidate_configs(&problem, device, false, configs, CANDIDATES);
        for (size_t i = 0; i < count && i < CANDIDATES; i++)
            if (every || i % (SETS * GG_NUM_DTYPES) == turn) add_variant(v, &problem, &configs[i], device);
    }
}

/* Whether a file is a mainloop's, which plans name where the generation has it. */
static bool is_mainloop(const char *file) {
    for (int m = 0; m < GG_NUM_MAINLOOPS; m++) {
        size_t length = strlen(gg_mainloop_name(m));
        if (!strncmp(file, gg_mainloop_name(m), length) && !strcmp(file + length, ".cu")) return true;
    }
    return false;
}

/* Kernels that no plan names: the reduction over top-k, the copy of rows and the harness's own. */
static void add_others(variants *v) {
    for (const gg_source_file *file = gg_embedded_sources; file->name; file++) {
        const char *suffix = strrchr(file->name, '.');
        if (!suffix || strcmp(suffix, ".cu") || is_mainloop(file->name)) continue;
        for (int dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
            gg_plan plan = {.source = file->name};
            snprintf(plan.macros, sizeof plan.macros, "DTYPE=%d", dtype);
            add_plan(v, &plan);
        }
    }
}

/* Kernels of an MoE block: the router's tile goes with tokens and experts; scores and types take turns unless `every`. */
static void add_blocks(variants *v, const gg_device *device, bool every) {
    static const int64_t tokens[] = {1024, 4096, 8192};
    static const int32_t experts[] = {16, 64, 128, 256}, topk[] = {1, 8, 16};
    const int combinations = 3 * 4 * GG_NUM_SCORES * GG_NUM_DTYPES;
    for (int i = 0; i < combinations; i++) {
        const int t = i % 3, e = i / 3 % 4, score = i / 12 % GG_NUM_SCORES, dtype = i / 12 / GG_NUM_SCORES;
        const gg_moe_problem p = {.dtype = dtype,
                                  .score = score,
                                  .weights_first = score == GG_SIGMOID,
                                  .training = true,
                                  .E = experts[e],
                                  .topk = topk[t],
                                  .H = 2048,
                                  .I = 768,
                                  .T = tokens[t]};
        gg_plan plans[GG_MOE_NUM_KERNELS];
        if (!every && ((t + e) % GG_NUM_SCORES != score || (t + e) / 2 % GG_NUM_DTYPES != dtype)) continue;
        const size_t count = gg_moe_kernel_plans(&p, device, plans);
        for (size_t k = 0; k < count; k++) add_plan(v, &plans[k]);
    }
}

static int by_code(const void *a, const void *b) {
    const gg_plan *x = a, *y = b;
    int order = strcmp(x->source, y->source);
    return order ? order : strcmp(x->macros, y->macros);
}

/* Different configs can compile to the same code. */
static void drop_twins(variants *v) {
    size_t kept = 0;
    qsort(v->plans, v->count, sizeof *v->plans, by_code);
    for (size_t i = 0; i < v->count; i++)
        if (!kept || by_code(&v->plans[kept - 1], &v->plans[i])) v->plans[kept++] = v->plans[i];
    v->count = kept;
}

typedef struct progress {
    const char *arch;
    size_t count, cached, failed;
    bool live;
    gg_build_job first; /* that failed */
} progress;

static void note(const gg_build_job *job, size_t finished, void *data) {
    progress *p = data;
    if (job->status && !p->failed++) p->first = *job;
    p->cached += !job->status && !job->compiled;
    if (p->live) fprintf(stderr, "\r%s: %zu of %zu, %zu failed ", p->arch, finished, p->count, p->failed);
}

/* The compiler's first line that says error, else its first line. */
static void print_fault(const gg_build_job *job) {
    const char *error = strstr(job->error, "error"), *line = job->error;
    for (const char *end; error && (end = strchr(line, '\n')) && end < error;) line = end + 1;
    fprintf(stderr, "  %s %s\n  %.*s\n", job->source.root, job->source.macros, (int)strcspn(line, "\n"),
            line);
}

static int compile_generation(const struct generation *g, bool every, const char *cache_dir) {
    gg_device device = {.cc = g->cc,
                        .sm_count = 1,
                        .smem_per_block = g->smem_block * 1024,
                        .smem_per_sm = g->smem_sm * 1024,
                        .threads_per_sm = g->threads_sm};
    snprintf(device.name, sizeof device.name, "%s", g->arch);
    variants v = {0};
    progress p = {.arch = g->arch, .live = isatty(STDERR_FILENO)};
    add_variants(&v, &device, every);
    add_fused(&v, &device, every);
    add_blocks(&v, &device, every);
    add_others(&v);
    gg_build_job *jobs = calloc(v.count + 1, sizeof *jobs);
    int status = MG_EXIT_INTERNAL;
    if (v.failed || !jobs) {
        fprintf(stderr, "moegemm doctor: error: out of memory\n");
        goto out;
    }
    drop_twins(&v);
    p.count = v.count;
    for (size_t i = 0; i < v.count; i++) {
        jobs[i].source = gg_plan_source(&v.plans[i], false);
        snprintf(jobs[i].target.arch, sizeof jobs[i].target.arch, "%s", g->arch);
    }
    gg_build_many(jobs, v.count, cache_dir, 0, note, &p);
    /* jobs whose process died reported nothing */
    p.failed = 0;
    for (size_t i = v.count; i-- > 0;)
        if (jobs[i].status) {
            p.failed++;
            p.first = jobs[i];
        }
    if (p.live) fprintf(stderr, "\r\033[K");
    printf("%s: %zu built, %zu failed", g->arch, v.count - p.failed, p.failed);
    if (p.cached) printf(" (%zu were in the cache)", p.cached);
    printf("\n");
    fflush(stdout);
    if (p.failed) print_fault(&p.first);
    status = p.failed ? MG_EXIT_FAILED : MG_EXIT_OK;
out:
    free(jobs);
    free(v.plans);
    return status;
}

static bool is_listed(const char *archs, const char *arch) {
    size_t length = strlen(arch);
    for (const char *at = archs; *at; at += strspn(at, ",")) {
        size_t here = strcspn(at, ",");
        if (here == length && !memcmp(at, arch, length)) return true;
        at += here;
    }
    return false;
}

int mg_doctor_compile(const char *archs, bool every, const char *cache_dir) {
    const size_t count = sizeof generations / sizeof *generations;
    int worst = MG_EXIT_OK;
    char error[MG_ERROR_SIZE];
    if (archs && !*archs) return mg_doctor_fail("empty value for '--arch'");
    for (const char *at = archs ? archs : ""; *at; at += strspn(at, ",")) {
        char name[sizeof((gg_target *)0)->arch];
        size_t i = 0, length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        while (i < count && strcmp(name, generations[i].arch)) i++;
        if (i == count) {
            snprintf(error, sizeof error, "unknown architecture '%.*s' (one of", (int)length, at);
            for (i = 0; i < count; i++) {
                size_t used = strlen(error);
                snprintf(error + used, sizeof error - used, " %s%s", generations[i].arch,
                         i + 1 < count ? "," : ")");
            }
            return mg_doctor_fail(error);
        }
        at += length;
    }
    for (size_t i = 0; i < count; i++)
        if (archs ? is_listed(archs, generations[i].arch) : generations[i].by_default) {
            int status = compile_generation(&generations[i], every, cache_dir);
            if (status > worst) worst = status;
        }
    return worst;
}
