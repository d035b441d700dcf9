/* run_mutant.c: one wrong kernel or launcher as a subject on its cases, and what of each result gave it away. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execute_internal.h"
#include "filter.h"
#include "tally.h"

gg_source_file mutant_sources[MAX_SOURCES];
static const variant *chosen;         /* of this process */
static char compiler_says[LINE_SIZE]; /* of the kernels that it runs, where they do not compile */

/* --- the subject --- */

/* The compiler's first error, without the lines that lead to it. */
static void note_compiler(const char *text) {
    const char *at = strstr(text, "error"), *line = at ? at : text;
    while (line > text && line[-1] != '\n') line--;
    snprintf(compiler_says, sizeof compiler_says, "%.*s", (int)strcspn(line, "\n"), line);
}

static gg_status plan(const gg_problem *problem, const gg_config *config, const gg_device *device,
                      char reason[GG_REASON_SIZE]) {
    gg_plan ignored;
    return chosen->plan_make(problem, config, device, &ignored, reason);
}

static gg_status fail(gg_context *context, gg_status status, char error[GG_REASON_SIZE]) {
    if (status != GG_OK) snprintf(error, GG_REASON_SIZE, "%s", gg_error(context));
    if (status == GG_ERR_COMPILE) note_compiler(gg_error(context));
    return status;
}

static gg_status launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                        const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    gg_plan made;
    gg_status status = chosen->plan_make(problem, config, gg_get_device(context), &made, error);
    return status != GG_OK ? status : fail(context, chosen->launch(context, &made, tensors, stream), error);
}

static gg_status reduce(gg_context *context, gg_dtype dtype, int64_t T, int32_t topk, int32_t K,
                        const void *dx_slots, void *dx_tokens, gg_stream stream, char error[GG_REASON_SIZE]) {
    return fail(context, chosen->reduce_topk(context, dtype, T, topk, K, dx_slots, dx_tokens, stream), error);
}

static const mg_subject subject = {.abi = MG_SUBJECT_ABI,
                                   .name = "mutant",
                                   .description = "the shipped kernels made wrong in one place",
                                   .plan = plan,
                                   .launch = launch,
                                   .reduce_topk = reduce};

/* --- which sources --- */

static void use_shipped(void) {
    size_t i = 0;
    do mutant_sources[i] = gg_embedded_sources[i];
    while (gg_embedded_sources[i++].name && i < MAX_SOURCES);
    chosen = variants[0];
}

static bool stale(tally *t, const char *why, const char *detail) {
    t->stale = true;
    snprintf(t->fault, sizeof t->fault, "%s%.200s", why, detail);
    return false;
}

bool use_mutant(const mutant *m, tally *t) {
    const char *name = strrchr(m->file, '/') + 1;
    use_shipped();
    for (gg_source_file *file = mutant_sources; file->name; file++) {
        char detail[512];
        if (strcmp(file->name, name)) continue;
        file->text = mutant_apply(m, file->text, detail);
        return file->text || stale(t, "", detail);
    }
    for (const variant *const *v = variants; *v; v++)
        if (!strcmp((*v)->name, m->name)) {
            chosen = *v;
            return !chosen->stale || stale(t, "text not found once: adapt the row: ", m->find);
        }
    return stale(t, "not built: name it in tests/mutants/CMakeLists.txt", "");
}

/* --- what gave it away --- */

static unsigned checks_of(const mg_case *c, const mg_result *r) {
    static const struct {
        const char *words;
        mutant_check check;
    } phrases[] = {{"wrote outside", BY_GUARD},
                   {"was modified", BY_INPUT},
                   {"' was written, at byte", BY_INPUT},
                   {"changed while it was read", BY_INPUT},
                   {"poison: never written", BY_UNWRITTEN},
                   {"wrong hash", BY_HASH}};
    static const mutant_check by_perturbation[MG_NUM_PERTURBATIONS] = {
        [MG_PERTURB_NONE] = BY_REPEAT,   [MG_PERTURB_STREAM] = BY_REPEAT, [MG_PERTURB_LOAD] = BY_REPEAT,
        [MG_PERTURB_SMS] = BY_SMS,       [MG_PERTURB_BASE] = BY_BASE,     [MG_PERTURB_GRAPH] = BY_REPEAT,
        [MG_PERTURB_NEGATE] = BY_NEGATE, [MG_PERTURB_BATCH] = BY_BATCH};
    unsigned checks = 0;
    /* A foreign subject is let off where the shipped one would fail: a plan where there must be none, or none. */
    if (r->verdict == MG_SKIPPED &&
        (strstr(r->message, "accepts what the shipped") || strstr(r->message, "' refuses ")))
        return 1u << BY_REFUSAL;
    if (r->verdict == MG_ERROR) return 1u << BY_LAUNCH;
    if (r->verdict != MG_FAILED) return 0;
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (strstr(r->message, phrases[i].words)) checks |= 1u << phrases[i].check;
    for (uint32_t i = 0; i < r->num_runs; i++)
        if (!r->runs[i].equal) checks |= 1u << by_perturbation[r->runs[i].perturbation];
    if (strstr(r->message, "' is wrong: ") && !(checks & 1u << BY_UNWRITTEN)) {
        const mg_difference *d = &r->difference;
        if (c->cls != MG_REAL) checks |= 1u << BY_GOLDEN;
        if (c->cls == MG_REAL && !(d->bound_ratio <= 1)) checks |= 1u << BY_BOUND;
        if (c->cls == MG_REAL && !(d->tile_rms <= 1)) checks |= 1u << BY_RMS;
    }
    return checks ? checks : 1u << BY_OTHER;
}

static void record(const mg_case *c, const mg_result *r, tally *t) {
    unsigned checks = checks_of(c, r);
    t->cases++;
    if (!checks) return;
    for (int i = 0; i < NUM_CHECKS; i++) t->by_check[i] += checks >> i & 1;
    if (t->killing++) return;
    t->repeats = r->repeats;
    mg_case_id(c, t->id);
    snprintf(t->message, sizeof t->message, "%.*s", (int)strcspn(r->message, "\n"), r->message);
}

/* --- cases --- */

/* One executor for the corpus's data, one for fresh data where the corpus's goldens are not at hand. */
typedef struct executors {
    const settings *settings;
    const mutant *mutant;
    mg_executor *corpus, *fresh;
} executors;

static mg_executor *open_executor(const settings *s, const mutant *m, uint64_t seed, char error[LINE_SIZE]) {
    const mg_execute_options options = {.backend = s->backend,
                                        .golden_dir = s->golden_dir,
                                        .cache_dir = s->cache_dir,
                                        .repeats = 3,
                                        .perturb = m->perturb,
                                        .user_seed = seed,
                                        .sim_limit = m->work > s->limit ? m->work : s->limit};
    char detail[MG_ERROR_SIZE] = "";
    mg_executor *x = NULL;
    if (mg_executor_open(&x, &options, detail) != GG_OK) snprintf(error, LINE_SIZE, "%.250s", detail);
    if (x) x->subject = &subject;
    return x;
}

static mg_executor *executor_for(executors *e, const mg_case *c, char error[LINE_SIZE]) {
    const unsigned all = (1u << MG_NUM_OUTPUTS) - 1;
    const unsigned outputs =
        c->function.autograd ? all : 1u << c->function.op; /* outputs are in the order of ops */
    if (c->refusal || c->problem->store == MG_STORE_HASH ||
        !mg_golden_missing(e->corpus->corpus, c->problem, c->cls, c->dtype, outputs, NULL))
        return e->corpus;
    if (!e->fresh) e->fresh = open_executor(e->settings, e->mutant, 1, error);
    return e->fresh;
}

/* The mutant's selection that can run here, cut down to the wanted number by leaving out evenly. */
static size_t select_cases(const settings *s, const mutant *m, const mg_cases *cases, mg_executor *x,
                           size_t chosen_cases[MOST_CASES], char error[LINE_SIZE]) {
    char detail[MG_ERROR_SIZE], id[MG_ID_SIZE], reason[MG_ERROR_SIZE];
    mg_filter *filter = NULL;
    const size_t wanted = m->most > s->cases ? m->most : s->cases;
    size_t count = 0, kept = 0, most = wanted < MOST_CASES ? wanted : MOST_CASES;
    size_t *matching = malloc(cases->count * sizeof *matching);
    if (!matching || mg_filter_new(&filter, m->cases, detail) != GG_OK) {
        snprintf(error, LINE_SIZE, "%.250s", matching ? detail : "out of memory");
        free(matching);
        return 0;
    }
    for (size_t i = 0; i < cases->count; i++) {
        const mg_case *c = &cases->items[i];
        bool hashed = c->problem->store == MG_STORE_HASH;
        if (c->function.autotune && !c->refusal) continue; /* foreign subjects are not tuned */
        if (!c->refusal && !hashed && mg_case_work(c) > (m->work > s->limit ? m->work : s->limit)) continue;
        if (mg_execute_skips(&x->options, mg_executor_device(x), c, reason)) continue;
        mg_case_id(c, id);
        mg_filter_lower(id);
        if (mg_filter_matches(filter, id)) matching[count++] = i;
    }
    for (size_t i = 0; i < count && i < most; i++)
        chosen_cases[kept++] = matching[count <= most ? i : i * count / most];
    if (!kept) snprintf(error, LINE_SIZE, "no case to run among '%.200s'", m->cases);
    mg_filter_free(filter);
    free(matching);
    return kept;
}

/* The same case by the shipped kernels: what kills everything kills no mutant. */
static bool shipped_passes(mg_executor *x, const mg_case *c, tally *t) {
    mg_result result = {0};
    bool lost;
    const variant *mutated = chosen;
    gg_source_file sources[MAX_SOURCES];
    memcpy(sources, mutant_sources, sizeof sources);
    use_shipped();
    mg_execute(x, c, &result, &lost);
    memcpy(mutant_sources, sources, sizeof sources);
    chosen = mutated;
    if (!checks_of(c, &result)) return true;
    snprintf(t->fault, sizeof t->fault, "the shipped kernels fail too: %.200s", result.message);
    return false;
}

static void close_executors(executors *e) {
    mg_executor_close(e->corpus);
    mg_executor_close(e->fresh);
    e->corpus = e->fresh = NULL;
}

/* The executor for a case that the shipped kernels pass; NULL, with the fault, where they do not. What the mutant has left behind for
 * later launches to stumble over, a counter that is not zero, goes with the context. */
static mg_executor *executor_passed(executors *e, const mg_case *c, tally *t) {
    for (int again = 0; again < 2; again++) {
        t->fault[0] = 0;
        if (again) close_executors(e);
        if (!e->corpus && !(e->corpus = open_executor(e->settings, e->mutant, 0, t->fault))) return NULL;
        mg_executor *x = executor_for(e, c, t->fault);
        if (!x || shipped_passes(x, c, t)) return x;
    }
    return NULL;
}

static bool is_expected(const mutant *m, const tally *t) {
    for (int i = 0; i < NUM_CHECKS; i++)
        if (t->by_check[i] && m->expected & 1u << i) return true;
    return false;
}

bool is_killed(const mutant *m, const tally *t) { return is_expected(m, t) && !t->fault[0]; }

void run_mutant(const settings *s, const mutant *m, const mg_cases *cases, tally *t) {
    size_t selected[MOST_CASES], count;
    executors e = {.settings = s, .mutant = m};
    bool lost = false;
    compiler_says[0] = 0;
    if (!use_mutant(m, t) || !(e.corpus = open_executor(s, m, 0, t->fault))) return;
    count = select_cases(s, m, cases, e.corpus, selected, t->fault);
    for (size_t i = 0; i < count && !lost && !t->fault[0] && !(s->quick && is_expected(m, t)); i++) {
        const mg_case *c = &cases->items[selected[i]];
        mg_executor *x = executor_passed(&e, c, t);
        mg_result result = {0};
        if (!x) break;
        mg_execute(x, c, &result, &lost);
        if (compiler_says[0])
            stale(t, "does not compile: adapt the row: ", compiler_says);
        else
            record(c, &result, t);
    }
    t->done = true;
    close_executors(&e);
}

const char *check_counts(const tally *t, char text[LINE_SIZE]) {
    static const char *const names[NUM_CHECKS] = {
#define X(name, text) [name] = text,
        MUTANT_CHECKS(X)
#undef X
    };
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < NUM_CHECKS && used < LINE_SIZE; i++)
        if (t->by_check[i])
            used += (size_t)snprintf(text + used, LINE_SIZE - used, "%s%s %u", used ? ", " : "", names[i],
                                     t->by_check[i]);
    return text;
}
