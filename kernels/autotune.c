/* autotune.c: searches configs on the real tensors and remembers timings in cache_dir/tuned.tsv.
 *
 * One line a timing, appended and synced as it is made, so a killed search loses nothing; between tabs:
 *   kind device driver dtype op gemm E N K topk fusions workspace bucket config kernel-digest ms tried checksum
 * `kind` is "time" or, once a search has ended, "best"; `tried` is how many candidates that search looked at.
 * Lines whose checksum is wrong, such as a torn last one, count for nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/build.h"
#include "context.h"

enum {
    TRIALS = 3, /* timings that decide whether a candidate is worth more: their median outlives one outlier */
    TIMINGS = 5,   /* of a candidate that is */
    FINALISTS = 6, /* candidates compared once more */
    ROUNDS = 11,   /* of that comparison */
    KEY_SIZE = 384,
    CONFIG_SIZE = 64,
    LINE_SIZE = 640
};
/* Times the fastest so far: not worth a second timing (no hiccup makes so much), nor more than the trials. */
#define ABSURD 3
#define HOPELESS 1.5
#define CLOSE 1.1 /* times the fastest of all: a finalist */

/* --- the file --- */

typedef struct store {
    int fd;
    char path[GG_PATH_SIZE + 16];
    char *text; /* NUL-terminated */
} store;

static void store_close(store *s) {
    if (s->fd >= 0) close(s->fd); /* gives up the lock too */
    free(s->text);
}

/* For writing, waits until no other search holds the file: two searches would disturb each other's timings,
 * and the second finds the first's answer. A missing file reads as an empty one. */
static gg_status store_open(gg_context *context, bool writing, store *s) {
    struct stat info = {0};
    char folder[GG_PATH_SIZE];
    *s = (store){.fd = -1};
    snprintf(folder, sizeof folder, "%s", context->cache_dir);
    snprintf(s->path, sizeof s->path, "%s/tuned.tsv", folder);
    if (writing && !gg_make_folders(folder)) goto fault;
    s->fd = open(s->path, writing ? O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);
    if (s->fd < 0 && (writing || errno != ENOENT)) goto fault;
    if (writing)
        while (flock(s->fd, LOCK_EX))
            if (errno != EINTR) goto fault;
    if (s->fd >= 0 && fstat(s->fd, &info)) goto fault;
    if (!(s->text = malloc((size_t)info.st_size + 1))) goto fault;
    ssize_t size = s->fd >= 0 ? pread(s->fd, s->text, (size_t)info.st_size, 0) : 0;
    if (size < 0) goto fault;
    s->text[size] = 0;
    /* a machine that lost its power may leave zeros, which would end the text for all lines after them */
    for (char *zero; (zero = memchr(s->text, 0, (size_t)size));) *zero = '?';
    /* ends a line torn by a kill or a full disk, so that the next is whole */
    if (writing && size > 0 && s->text[size - 1] != '\n' && write(s->fd, "\n", 1) != 1) goto fault;
    return GG_OK;
fault:
    gg_fail(context, GG_ERR_IO, "cannot open '%s': %s (set MOEGEMM_CACHE to a folder that can be written)",
            s->path, strerror(errno));
    store_close(s);
    return GG_ERR_IO;
}

static unsigned long long checksum(const char *text, size_t length) { return XXH3_64bits(text, length); }

static bool is_whole(const char *line, size_t length) {
    char expected[20];
    const char *tab = memrchr(line, '\t', length);
    if (!tab) return false;
    snprintf(expected, sizeof expected, "\t%016llx", checksum(line, (size_t)(tab - line)));
    return (size_t)(line + length - tab) == strlen(expected) && !memcmp(tab, expected, strlen(expected));
}

/* What follows `prefix` in the newest whole line that begins with it, NULL if none does. */
static const char *store_find(const store *s, const char *prefix) {
    const char *found = NULL;
    size_t length = strlen(prefix);
    for (const char *line = s->text, *end; *line; line = *end ? end + 1 : end) {
        end = strchrnul(line, '\n');
        if (!strncmp(line, prefix, length) && is_whole(line, (size_t)(end - line))) found = line + length;
    }
    return found;
}

static gg_status store_append(gg_context *context, const store *s, const char *kind, const char *key,
                              const char *config, const char *digest, double ms, size_t tried) {
    char line[LINE_SIZE];
    int length =
        snprintf(line, sizeof line, "%s\t%s\t%s\t%s\t%.6f\t%zu", kind, key, config, digest, ms, tried);
    length +=
        snprintf(line + length, sizeof line - (size_t)length, "\t%016llx\n", checksum(line, (size_t)length));
    if (write(s->fd, line, (size_t)length) == length && !fsync(s->fd)) return GG_OK;
    return gg_fail(context, GG_ERR_IO, "cannot write '%s': %s", s->path, strerror(errno));
}

/* --- keys --- */

/* What a timing depends on besides config and kernel: tokens per expert only by their power of two, because
 * routing varies and timings do not jump inside an octave. */
static void problem_key(const gg_context *context, const gg_problem *p, bool workspace, char key[KEY_SIZE]) {
    const gg_device *device = gg_get_device(context);
    int bucket = 0;
    for (int64_t rows = p->T * p->topk / p->E; rows > 1; rows /= 2) bucket++;
    snprintf(key, KEY_SIZE, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%u\t%d\t%d", device->name, device->driver,
             gg_dtype_name(p->dtype), gg_op_name(p->op), (int)p->gemm, p->E, p->N, p->K, p->topk, p->fusions,
             workspace, bucket);
}

static void config_text(const gg_config *c, char text[CONFIG_SIZE]) {
    snprintf(text, CONFIG_SIZE, "%s-bm%d-bn%d-bk%d-w%d-s%d-tma%u%s", gg_mainloop_name(c->mainloop),
             c->block_m, c->block_n, c->block_k, c->num_warps, c->num_stages, c->tma,
             c->copy_rows ? "-copy_rows" : "");
}

/* A config with its plan and the names it has in the file. */
typedef struct candidate {
    gg_plan plan;
    char config[CONFIG_SIZE], digest[GG_DIGEST_SIZE];
} candidate;

static gg_status candidate_make(gg_context *context, const gg_problem *problem, const gg_config *config,
                                candidate *out) {
    char reason[GG_REASON_SIZE];
    gg_status status = gg_plan_make(problem, config, gg_get_device(context), &out->plan, reason);
    if (status) return gg_fail(context, status, "%s", reason);
    gg_source source = gg_plan_source(&out->plan, context->debug);
    config_text(config, out->config);
    return gg_source_digest(&source, &context->target, out->digest);
}

/* The configs to search, `limit` at most (0: all); NULL when out of memory. */
static gg_config *candidate_configs(gg_context *context, const gg_problem *problem, bool workspace,
                                    size_t limit, size_t *count) {
    const gg_device *device = gg_get_device(context);
    *count = gg_candidate_configs(problem, device, workspace, NULL, 0);
    if (limit && limit < *count) *count = limit;
    gg_config *configs = malloc((*count + 1) * sizeof *configs); /* never of zero bytes */
    if (configs) gg_candidate_configs(problem, device, workspace, configs, *count);
    return configs;
}

/* The remembered best of at least `tried` candidates, if its kernel is still what it was. */
static bool find_best(gg_context *context, const store *s, const gg_problem *problem, bool workspace,
                      size_t tried, gg_config *best) {
    char key[KEY_SIZE], prefix[KEY_SIZE + 8], config[CONFIG_SIZE], digest[GG_DIGEST_SIZE];
    size_t line_tried, count;
    bool found = false;
    problem_key(context, problem, workspace, key);
    snprintf(prefix, sizeof prefix, "best\t%s\t", key);
    const char *rest = store_find(s, prefix);
    if (!rest || sscanf(rest, "%63[^\t]\t%32[^\t]\t%*f\t%zu", config, digest, &line_tried) != 3 ||
        line_tried < tried)
        return false;
    gg_config *configs = candidate_configs(context, problem, workspace, 0, &count);
    for (size_t i = 0; configs && i < count && !found; i++) {
        char text[CONFIG_SIZE];
        candidate c;
        config_text(&configs[i], text);
        if (strcmp(text, config)) continue;
        found = !candidate_make(context, problem, &configs[i], &c) && !strcmp(c.digest, digest);
        *best = configs[i];
    }
    free(configs);
    return found;
}

gg_config gg_resolve_config(gg_context *context, const gg_problem *problem, bool workspace) {
    _Static_assert(sizeof(gg_problem) == 40, "gg_problem is hashed as bytes, so it must have no padding");
    XXH128_hash_t key = XXH3_128bits_withSeed(problem, sizeof *problem, workspace);
    gg_config *known = gg_map_get(&context->tuned, key);
    if (known) return *known;
    gg_config config = gg_default_config(problem, gg_get_device(context), workspace);
    char reason[GG_REASON_SIZE];
    gg_plan plan;
    store s;
    if (!gg_plan_make(problem, &config, gg_get_device(context), &plan, reason) &&
        !store_open(context, false, &s)) {
        gg_config best;
        if (find_best(context, &s, problem, workspace, 0, &best)) config = best;
        store_close(&s);
    }
    if ((known = malloc(sizeof *known))) {
        *known = config;
        if (!gg_map_put(&context->tuned, key, known)) free(known);
    }
    return config;
}

/* --- the search --- */

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* What a search has at hand. */
typedef struct search {
    gg_context *context;
    const gg_tensors *tensors;
    const char *key;
    store *file;
    candidate *items;
    double *ms;             /* of each, 0: none yet */
    size_t count, building; /* building: how many are compiled */
    gg_tune_watch watch;
    void *data;
} search;

static void tell(const search *s, const char *stage, size_t done, size_t total) {
    if (s->watch) s->watch(s->data, stage, done, total);
}

/* One launch with a cold L2: between the launches of a model other layers have used it. */
static gg_status time_once(const search *s, const gg_plan *plan, float *ms) {
    gg_backend *backend = s->context->backend;
    const gg_backend_ops *ops = backend->ops;
    gg_status status = ops->flush_cache(backend);
    if (!status) status = ops->timer_start(backend);
    if (status) return gg_fail_backend(s->context, status, "timing");
    if ((status = gg_launch(s->context, plan, s->tensors, NULL))) return status;
    return gg_fail_backend(s->context, ops->timer_stop(backend, ms), "timing");
}

static double median(float *times, int count) {
    qsort(times, (size_t)count, sizeof *times, by_value);
    return (double)times[count / 2];
}

/* A few timings, and more of a plan that is not hopeless beside `fastest` (0: none yet). */
static gg_status time_plan(const search *s, const gg_plan *plan, double fastest, double *ms) {
    float times[TIMINGS], ordered[TRIALS];
    gg_status status = gg_launch(s->context, plan, s->tensors, NULL); /* loads the kernel, warms up */
    if (status) return status;
    status = s->context->backend->ops->synchronize(s->context->backend);
    if (status) return gg_fail_backend(s->context, status, "timing");
    for (int i = 0; i < TIMINGS; i++) {
        if (i == 1 && fastest > 0 && (*ms = (double)times[0]) > ABSURD * fastest) return GG_OK;
        if (i == TRIALS) {
            memcpy(ordered, times, sizeof ordered);
            *ms = median(ordered, TRIALS);
            if (fastest > 0 && *ms > HOPELESS * fastest) return GG_OK;
        }
        if ((status = time_once(s, plan, &times[i]))) return status;
    }
    *ms = median(times, TIMINGS);
    return GG_OK;
}

static bool find_time(const store *s, const char *key, const candidate *c, double *ms) {
    char prefix[LINE_SIZE];
    snprintf(prefix, sizeof prefix, "time\t%s\t%s\t%s\t", key, c->config, c->digest);
    const char *rest = store_find(s, prefix);
    return rest && sscanf(rest, "%lf", ms) == 1;
}

static void built(const gg_build_job *job, size_t finished, void *data) {
    (void)job;
    const search *s = data;
    tell(s, "compiling", finished, s->building);
}

/* Compiles in parallel what is not timed yet. A kernel that fails here fails again, with its error, when it
 * is timed. */
static void build_ahead(search *s) {
    gg_build_job *jobs = calloc(s->count, sizeof *jobs); /* none: nothing is built ahead */
    size_t used = 0;
    for (size_t i = 0; jobs && i < s->count; i++) {
        const gg_source source = gg_plan_source(&s->items[i].plan, s->context->debug);
        if (s->ms[i] > 0 || gg_is_built(&source, &s->context->target, s->context->cache_dir)) continue;
        jobs[used++] = (gg_build_job){.source = source, .target = s->context->target};
    }
    s->building = used;
    if (jobs) gg_build_many(jobs, used, s->context->cache_dir, 0, built, s);
    free(jobs);
}

/* Times each candidate that the file does not know. A config that does not run loses; a device that no longer answers ends
 * the search. GG_OK although `*skipped` tells why one did not run. */
static gg_status time_all(search *s, size_t *timed, gg_status *skipped) {
    double fastest = 0;
    for (size_t i = 0; i < s->count; i++) {
        candidate *c = &s->items[i];
        tell(s, "timing", i, s->count);
        if (!(s->ms[i] > 0)) {
            if ((*skipped = time_plan(s, &c->plan, fastest, &s->ms[i]))) {
                s->ms[i] = 0;
                if (s->context->backend->ops->synchronize(s->context->backend)) return *skipped;
                continue;
            }
            ++*timed;
            gg_status status =
                store_append(s->context, s->file, "time", s->key, c->config, c->digest, s->ms[i], 1);
            if (status) return status;
        }
        if (fastest == 0 || s->ms[i] < fastest) fastest = s->ms[i];
    }
    return GG_OK;
}

static size_t fastest_of(const double *ms, size_t count) {
    size_t fastest = count;
    for (size_t i = 0; i < count; i++)
        if (ms[i] > 0 && (fastest == count || ms[i] < ms[fastest])) fastest = i;
    return fastest;
}

/* Those close to the fastest once more, in turn, so that a clock that drifts hits all alike. */
static gg_status compare_finalists(search *s, size_t fastest, size_t *winner) {
    float times[FINALISTS][ROUNDS];
    double finals[FINALISTS];
    size_t who[FINALISTS], finalists = 0;
    double *left = malloc(s->count * sizeof *left);
    *winner = fastest;
    if (!left) return GG_OK; /* the first answer stands */
    memcpy(left, s->ms, s->count * sizeof *left);
    for (size_t at; finalists < FINALISTS && (at = fastest_of(left, s->count)) < s->count; left[at] = 0) {
        if (left[at] > CLOSE * s->ms[fastest]) break;
        who[finalists++] = at;
    }
    free(left);
    if (finalists < 2) return GG_OK;
    for (int round = 0; round < ROUNDS; round++) {
        tell(s, "comparing", (size_t)round, ROUNDS);
        for (size_t i = 0; i < finalists; i++) {
            gg_status status = time_once(s, &s->items[who[i]].plan, &times[i][round]);
            if (status) return status;
        }
    }
    for (size_t i = 0; i < finalists; i++) finals[i] = median(times[i], ROUNDS);
    const size_t first = fastest_of(finals, finalists);
    if (first == finalists) return GG_OK;
    *winner = who[first];
    s->ms[*winner] = finals[first];
    return GG_OK;
}

gg_status gg_autotune_watched(gg_context *context, const gg_problem *problem, const gg_tensors *tensors,
                              size_t limit, gg_config *best, size_t *measured, gg_tune_watch watch,
                              void *data) {
    char key[KEY_SIZE];
    size_t count, fastest, timed = 0;
    candidate fallback;
    gg_config *configs = NULL;
    store file = {.fd = -1};
    search s = {
        .context = context, .tensors = tensors, .key = key, .file = &file, .watch = watch, .data = data};
    if (measured) *measured = 0;

    const bool workspace = gg_has_workspace(problem, tensors);
    *best = gg_default_config(problem, gg_get_device(context), workspace);
    gg_status status = candidate_make(context, problem, best, &fallback), skipped = GG_OK;
    if (status || fallback.plan.empty) return status;
    if ((status = store_open(context, true, &file))) return status;
    configs = candidate_configs(context, problem, workspace, limit, &count);
    s.items = configs ? calloc(count + 1, sizeof *s.items) : NULL;
    s.ms = configs ? calloc(count + 1, sizeof *s.ms) : NULL;
    s.count = count;
    if (!s.items || !s.ms) {
        status = gg_fail(context, GG_ERR_MEMORY, "out of memory");
        goto out;
    }
    gg_forget_configs(context); /* what the file says now, of other processes too, counts from here on */
    if (count == 0 || find_best(context, &file, problem, workspace, count, best)) goto out;

    problem_key(context, problem, workspace, key);
    for (size_t i = 0; i < count; i++) {
        if ((status = candidate_make(context, problem, &configs[i], &s.items[i]))) goto out;
        find_time(&file, key, &s.items[i], &s.ms[i]);
    }
    build_ahead(&s);
    if ((status = time_all(&s, &timed, &skipped))) goto out;
    if ((fastest = fastest_of(s.ms, count)) == count) {
        status = skipped;
        goto out;
    }
    if ((status = compare_finalists(&s, fastest, &fastest))) goto out;
    *best = configs[fastest];
    status = store_append(context, &file, "best", key, s.items[fastest].config, s.items[fastest].digest,
                          s.ms[fastest], count);
out:
    if (measured) *measured = timed;
    store_close(&file);
    free(s.items);
    free(s.ms);
    free(configs);
    return status;
}

gg_status gg_autotune(gg_context *context, const gg_problem *problem, const gg_tensors *tensors, size_t limit,
                      gg_config *best, size_t *measured) {
    return gg_autotune_watched(context, problem, tensors, limit, best, measured, NULL, NULL);
}
