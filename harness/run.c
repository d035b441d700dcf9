/* run.c: `moegemm run`: selects, prepares, runs, reports; every result is on disk before the next step. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "ledger.h"
#include "prepare.h"
#include "report_internal.h"
#include "resume.h"
#include "runner.h"
#include "select.h"
#include "summary.h"
#include "version.h"
#include "xfail.h"

/* How a backend is run unless told otherwise. */
static const struct way {
    const char *backend;
    int most_workers;
    double timeout; /* seconds */
} ways[] = {
    /* One process leaves a GPU idle while it compares on the host; with four the GPU is shared well enough,
     * and each costs half a GiB of device memory. A case takes milliseconds, so minutes mean a hang. */
    {"cuda", 4, 300},
    /* The simulator computes on the host's cores, one each. The largest case under its default work limit
     * takes about a minute alone, more on a loaded machine. */
    {"sim", 256, 600},
};

typedef struct run {
    const mg_options *options;
    mg_execute_options execute; /* options->execute with the backend decided */
    mg_cases cases;
    mg_selection selection;
    mg_place place;
    mg_progress progress;
    mg_report *report;
    uint32_t *order, *skipped; /* the selection parted: (count) to run, (num_skipped) not */
    size_t count, num_skipped;
    mg_outcome *outcomes; /* (num_outcomes) finished */
    size_t num_outcomes, wait_for_gpu;
    long failures, old_failures; /* in all; of the run that is resumed */
    int workers;
    double begun;   /* when the program began */
    double running; /* seconds its cases took */
    mg_report_summary summary;
    char *repro, *command;
    char **words;      /* as typed, argv[0] first, ended by NULL */
    char **parsed;     /* with those of the run that is resumed; NULL: argv */
    mg_resume *resume; /* NULL: a new run */
    mg_ledger *ledger; /* NULL: none is kept */
    mg_xfail *xfail;
    char dir[GG_PATH_SIZE];
    bool stopped_early; /* by --maxfail */
    bool lost_report;   /* results cannot be written */
    mg_newspaper news;  /* what this run brought against those before it */
    char error[MG_ERROR_SIZE];
} run;

/* Set by a signal handler, which has no other way to be heard. */
static volatile sig_atomic_t interrupted;

static void on_signal(int signal) {
    (void)signal;
    interrupted = 1;
}

/* As if the write had failed for another reason; by a handler, which compilers do not inherit. */
static void on_pipe(int signal) { (void)signal; }

/* The first Ctrl-C ends the run in order, a second one at once; a reader that has read enough (`| head`) ends nothing. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    interrupted = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = on_pipe, .sa_flags = SA_RESTART}, NULL);
}

static int fail(const char *message) {
    fprintf(stderr, "error: %s\n", message);
    return MG_EXIT_INTERNAL;
}

/* A word as a shell would take it back. */
static void put_word(FILE *out, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./,:@%";
    if (*word && !word[strspn(word, plain)]) {
        fputs(word, out);
        return;
    }
    fputc('\'', out);
    for (; *word; word++) fputs(*word == '\'' ? "'\\''" : (char[]){*word, 0}, out);
    fputc('\'', out);
}

static char *join_command(int argc, char **argv) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    fputs("moegemm", out);
    for (int i = 0; i < argc; i++) {
        fputc(' ', out);
        put_word(out, argv[i]);
    }
    fclose(out);
    return text;
}

static void put_perturb(FILE *out, const mg_execute_options *e) {
    const char *separator = " --perturb=";
    for (mg_perturbation p = MG_PERTURB_STREAM; p < MG_NUM_PERTURBATIONS; p++)
        if (e->perturb & 1u << p) {
            fprintf(out, "%s%s", separator, mg_perturbation_name(p));
            separator = ",";
        }
    fprintf(out, " --repeat %d", e->repeats);
}

/* What must precede an id to get the same result again: the options that change it. */
static char *join_repro(const mg_execute_options *e) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    fputs("./run_tests.sh", out);
    if (e->backend) fprintf(out, " --backend %s", e->backend);
    const char *check = getenv("MOEGEMM_SIM_CHECK"); /* as --check has left it */
    if (check && *check && gg_backend_find(e->backend) == &gg_sim_backend) fprintf(out, " --check %s", check);
    if (e->user_seed) fprintf(out, " --seed %llu", (unsigned long long)e->user_seed);
    if (e->debug) fputs(" --debug", out);
    if (e->perturb) put_perturb(out, e);
    if (e->subject && strcmp(e->subject, "moegemm")) {
        fputs(" --subject ", out);
        put_word(out, e->subject);
    }
    fclose(out);
    return text;
}

static int count_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static const struct way *way_of(const char *backend) {
    const struct way *way = ways;
    while (way < ways + sizeof ways / sizeof *ways - 1 && strcmp(way->backend, backend)) way++;
    return way;
}

/* --- results --- */

static void count(run *r, const char *id, const mg_result *result) {
    r->outcomes[r->num_outcomes++] = (mg_outcome){
        .id = id,
        .verdict = result->verdict,
        .seconds = result->seconds,
        .message = *result->message ? strdup(result->message) : NULL,
    };
    r->summary.counts[result->verdict]++;
    r->failures += mg_verdict_bad(result->verdict);
}

/* Takes in one result, wherever it was made; false when the run is to end. */
static bool record(void *user, const mg_result *made) {
    run *r = user;
    const char *id = r->selection.ids[made->index];
    mg_result result = *made;
    if (r->ledger && mg_ledger_check(r->ledger, id, &result, r->error)) r->lost_report = true;
    mg_xfail_apply(r->xfail, id, &result);
    count(r, id, &result);
    mg_progress_case(&r->progress, id, &result);
    if (!r->lost_report && mg_report_add(r->report, id, &r->cases.items[result.index], &result, r->error))
        r->lost_report = true;
    const long failures =
        r->failures - r->old_failures; /* else a run that -x has stopped goes on to the end */
    if (mg_verdict_bad(result.verdict) && failures == r->options->max_failures) r->stopped_early = true;
    return !r->stopped_early && !r->lost_report;
}

/* What an interrupted run has left is taken in as it is; `done` (by index in the table) says which. */
static gg_status take_over(run *r, bool *done) {
    const size_t num_ids = r->selection.num_ids;
    for (size_t i = 0; r->resume && i < mg_resume_count(r->resume); i++) {
        mg_result result;
        gg_status status = mg_resume_result(r->resume, i, r->selection.ids, num_ids, &result, r->error);
        if (status) return status;
        done[result.index] = true;
        count(r, r->selection.ids[result.index], &result);
    }
    r->old_failures = r->failures;
    return GG_OK;
}

static void tick(void *user) {
    run *r = user;
    mg_progress_tick(&r->progress);
    if (!r->lost_report && mg_report_sync(r->report, false, r->error)) r->lost_report = true;
}

static bool ended(const run *r) { return r->stopped_early || r->lost_report || interrupted; }

/* --- the stages --- */

static void print_header(run *r) {
    const gg_device *d = &r->place.device;
    FILE *out = r->progress.out;
    if (!r->options->no_header && r->progress.verbosity >= 0) {
        fprintf(out, "%smoegemm %s%s (%s), subject %s\n", mg_paint_code(&r->progress, MG_BOLD), MG_VERSION,
                mg_paint_code(&r->progress, MG_PLAIN), MG_COMMIT, r->execute.subject);
        fprintf(out, "%s: %s (%s, %d multiprocessors), %d worker%s\n", r->place.backend, d->name,
                r->place.target.arch, d->sm_count, r->workers, r->workers == 1 ? "" : "s");
        if (r->resume)
            fprintf(out, "resuming '%s': %zu results are there\n", r->options->resume,
                    mg_resume_count(r->resume));
        if (*r->selection.note) fprintf(out, "%s\n", r->selection.note);
    }
    if (r->progress.verbosity > -2)
        fprintf(out, "collected %zu cases / %zu deselected / %zu selected\n", r->selection.collected,
                r->selection.deselected, r->selection.count);
    fflush(out);
}

/* Parts the selection into what has run, what runs and what is skipped. */
static gg_status part(run *r) {
    size_t n = r->selection.count;
    gg_status status = GG_ERR_MEMORY;
    bool *done = calloc(r->selection.num_ids, sizeof *done);
    r->order = malloc(n * sizeof *r->order);
    r->skipped = malloc(n * sizeof *r->skipped);
    r->outcomes = calloc(n, sizeof *r->outcomes);
    snprintf(r->error, sizeof r->error, "out of memory");
    if (!done || !r->order || !r->skipped || !r->outcomes || (status = take_over(r, done))) goto out;
    for (size_t i = 0; i < n; i++) {
        uint32_t index = r->selection.indices[i];
        char reason[MG_ERROR_SIZE];
        if (done[index]) continue;
        if (mg_execute_skips(&r->execute, &r->place.device, &r->cases.items[index], reason))
            r->skipped[r->num_skipped++] = index;
        else
            r->order[r->count++] = index;
    }
out:
    free(done);
    return status;
}

static void record_skipped(run *r) {
    bool limited = !strcmp(r->place.backend, "sim");
    for (size_t i = 0; i < r->num_skipped && !ended(r); i++) {
        const mg_case *c = &r->cases.items[r->skipped[i]];
        mg_result result = {.index = r->skipped[i], .verdict = MG_SKIPPED};
        char reason[MG_ERROR_SIZE] = "";
        mg_execute_skips(&r->execute, &r->place.device, c, reason);
        memcpy(result.message, reason, sizeof reason);
        r->wait_for_gpu += limited && mg_case_work(c) > r->execute.sim_limit;
        record(r, &result);
    }
}

/* Cases whose kernels do not compile are errors here and leave the order. */
static void record_lacking(run *r, mg_kernels *kernels) {
    size_t left = 0;
    for (size_t i = 0; i < r->count && !ended(r); i++) {
        mg_result result = {.index = r->order[i], .verdict = MG_ERROR};
        if (mg_kernels_lacking(kernels, &r->cases.items[r->order[i]], result.message))
            record(r, &result);
        else
            r->order[left++] = r->order[i];
    }
    r->count = left;
}

static gg_status prepare(run *r, mg_kernels **kernels) {
    const mg_workload load = {.options = &r->execute,
                              .place = &r->place,
                              .cases = r->cases.items,
                              .order = r->order,
                              .count = r->count,
                              .stop = &interrupted};
    bool generate = r->options->generate || getenv("MOEGEMM_AUTOGENERATE");
    gg_status status = mg_prepare_goldens(&load, generate, r->error);
    if (status || interrupted) return status;
    if ((status = mg_prepare_kernels(kernels, &load, count_cores(), &r->progress, r->error))) return status;
    size_t failed, compiled = mg_kernels_compiled(*kernels, &failed);
    if (!interrupted && r->progress.verbosity >= 0 && (compiled || failed))
        fprintf(r->progress.out, "compiled %zu kernels in %.1f s%s\n", compiled, mg_now() - r->progress.begun,
                failed ? ", some do not compile" : "");
    return GG_OK;
}

static gg_status run_all(run *r, mg_kernels *kernels) {
    const struct way *way = way_of(r->place.backend);
    const double more =
        r->execute.repeats > 3 ? r->execute.repeats / 3.0 : 1; /* than the usual three launches */
    double before = mg_now();
    gg_status status = GG_OK;
    mg_progress_begin(&r->progress, "running", r->selection.count);
    r->progress.done = r->num_outcomes; /* by the run that is resumed */
    record_skipped(r);
    size_t failed;
    mg_kernels_compiled(kernels, &failed);
    if (failed) record_lacking(r, kernels);
    r->progress.before = r->progress.done;
    const int workers = (size_t)r->workers < r->count ? r->workers : (int)r->count;
    const mg_schedule_job plan = {.execute = &r->execute,
                                  .cases = r->cases.items,
                                  .order = r->order,
                                  .count = r->count,
                                  .workers = workers,
                                  .keep_order = r->options->failed_first,
                                  .free_memory = r->place.free_memory};
    mg_schedule schedule = {0};
    if (r->count && (status = mg_schedule_make(&schedule, &plan, r->error))) goto out;
    const mg_runner_job job = {
        .execute = &r->execute,
        .cases = r->cases.items,
        .order = r->order,
        .count = r->count,
        .schedule = &schedule,
        .workers = workers,
        .timeout = r->options->timeout > 0 ? r->options->timeout : way->timeout * more,
        .passthrough = r->options->no_capture,
        .stop = &interrupted,
        .result = record,
        .tick = tick,
        .user = r,
    };
    if (!ended(r) && r->count) status = mg_runner_run(&job, r->error);
out:
    mg_schedule_free(&schedule);
    mg_progress_end(&r->progress);
    r->running = mg_now() - before;
    return status;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* pytest's rule: a case that ran leaves the list, a failure (re)joins it, the others stay. */
static gg_status remember_failures(run *r) {
    mg_lastfailed old = {0};
    char ignored[MG_ERROR_SIZE];
    size_t count = 0;
    mg_lastfailed_read(&old, r->execute.cache_dir,
                       ignored); /* unreadable is as good as empty: it is written anew */
    const char **ids = malloc((old.count + r->num_outcomes) * sizeof *ids),
               **ran = malloc(r->num_outcomes * sizeof *ran);
    gg_status status = GG_ERR_MEMORY;
    snprintf(r->error, sizeof r->error, "out of memory");
    if (!ids || !ran) goto out;
    for (size_t i = 0; i < r->num_outcomes; i++) {
        ran[i] = r->outcomes[i].id;
        if (mg_verdict_bad(r->outcomes[i].verdict)) ids[count++] = ran[i];
    }
    qsort(ran, r->num_outcomes, sizeof *ran, by_text);
    for (size_t i = 0; i < old.count; i++)
        if (!bsearch(&old.ids[i], ran, r->num_outcomes, sizeof *ran, by_text)) ids[count++] = old.ids[i];
    status = mg_lastfailed_write(r->execute.cache_dir, ids, count, r->error);
out:
    free(ran);
    free(ids);
    mg_lastfailed_free(&old);
    return status;
}

/* A history that cannot be written costs its news alone: the run's results are on the disk, and `moegemm report history`
 * takes them in later. */
static void follow_history(run *r) {
    char path[GG_PATH_SIZE + 16], error[MG_ERROR_SIZE];
    const char *named = r->options->history;
    if (named && !strcmp(named, "none")) return;
    snprintf(path, sizeof path, "%s/history.db", r->options->report ? r->dir : "reports");
    if (mg_history_follow(named ? named : path, mg_report_path(r->report), &r->news, error))
        fprintf(stderr, "warning: %s\n", error);
}

/* Whether a file was written; says why not, unless it has been said of the results. */
static bool is_written(run *r, gg_status status) {
    if (status && !r->lost_report) fail(r->error);
    return !status;
}

/* The files made from results.jsonl, each whatever became of the others; `shown` is what the summary points at. False: one is
 * missing. */
static bool write_reports(run *r, char *shown, size_t size) {
    const char *results = mg_report_path(r->report), *named = r->options->junit;
    char path[GG_PATH_SIZE + 16];
    snprintf(shown, size, "%s", results);
    if (!is_written(r, mg_report_end(r->report, &r->summary, r->error))) return false;
    snprintf(path, sizeof path, "%s/junit.xml", r->dir);
    bool all = is_written(r, mg_report_junit(results, path, r->error));
    if (named) all &= is_written(r, mg_report_junit(results, named, r->error));
    follow_history(r);
    json_t *changes = mg_news_json(&r->news);
    snprintf(path, sizeof path, "%s/report.html", r->dir);
    const bool page = is_written(r, mg_report_page(results, changes, path, r->error));
    json_decref(changes);
    if (page) snprintf(shown, size, "%s", path);
    return all && page;
}

static int finish(run *r, gg_status status) {
    char shown[GG_PATH_SIZE + 16];
    bool internal = status || r->lost_report;
    r->summary.not_run = r->selection.count - r->num_outcomes;
    r->summary.interrupted = interrupted;
    r->summary.seconds = mg_now() - r->begun;
    fflush(stdout);
    if (internal) fail(r->error);
    if (!write_reports(r, shown, sizeof shown)) internal = true;
    if (r->num_outcomes && remember_failures(r) && !internal) {
        fail(r->error);
        internal = true;
    }
    const mg_ending ending = {.options = r->options,
                              .outcomes = r->outcomes,
                              .num_outcomes = r->num_outcomes,
                              .summary = &r->summary,
                              .repro = r->repro,
                              .report_path = shown,
                              .wait_for_gpu = r->wait_for_gpu,
                              .running_seconds = r->running,
                              .news = &r->news,
                              .stopped_after = r->stopped_early ? r->failures - r->old_failures : 0};
    if (r->options->github && mg_report_github(mg_report_path(r->report), r->progress.out, r->error))
        fail(r->error);
    mg_summary_print(&r->progress, &ending);
    if (internal) return MG_EXIT_INTERNAL;
    if (interrupted) return MG_EXIT_INTERRUPTED;
    return r->failures || r->news.counts[MG_EVENT_UNSTABLE] ? MG_EXIT_FAILED : MG_EXIT_OK;
}

/* Whether every result that the resumed run has left is of a case that this run selects. */
static gg_status match_results(run *r) {
    gg_status status = GG_OK;
    bool *selected = calloc(r->selection.num_ids, sizeof *selected);
    if (!selected) {
        snprintf(r->error, sizeof r->error, "out of memory");
        return GG_ERR_MEMORY;
    }
    for (size_t i = 0; i < r->selection.count; i++) selected[r->selection.indices[i]] = true;
    for (size_t i = 0; i < mg_resume_count(r->resume) && !status; i++) {
        mg_result result;
        status = mg_resume_result(r->resume, i, r->selection.ids, r->selection.num_ids, &result, r->error);
        if (status || selected[result.index]) continue;
        snprintf(r->error, sizeof r->error,
                 "cannot resume '%.200s': it ran '%.200s', which is not selected now (start a new run)",
                 r->options->resume, r->selection.ids[result.index]);
        status = GG_ERR_ARGUMENT;
    }
    free(selected);
    return status;
}

static gg_status open_report(run *r) {
    const mg_report_header header = {.command = r->command,
                                     .arguments = (const char *const *)r->words + 1,
                                     .repro = r->repro,
                                     .backend = r->place.backend,
                                     .subject = r->execute.subject,
                                     .device = &r->place.device,
                                     .golden_dir = r->execute.golden_dir,
                                     .selected = r->selection.count,
                                     .deselected = r->selection.deselected,
                                     .workers = r->workers,
                                     .user_seed = r->execute.user_seed};
    if (r->resume) {
        snprintf(r->dir, sizeof r->dir, "%s", r->options->resume);
        gg_status status = mg_resume_matches(r->resume, &header, r->error);
        if (!status) status = match_results(r); /* before the file is touched */
        return status ? status
                      : mg_report_reopen(&r->report, r->dir, header.golden_dir, mg_resume_size(r->resume),
                                         mg_resume_seen(r->resume), r->error);
    }
    if (r->options->report)
        snprintf(r->dir, sizeof r->dir, "%s", r->options->report);
    else
        mg_report_default_dir("reports", r->dir, sizeof r->dir);
    gg_status status = mg_report_open(&r->report, r->dir, &header, r->error);
    if (!status && !r->options->report) mg_report_link_latest("reports", r->dir);
    return status;
}

/* From the selection to the exit status. */
static int carry_out(run *r) {
    mg_kernels *kernels = NULL;
    gg_status status = mg_prepare_place(&r->execute, &r->place, r->error);
    if (status) return interrupted ? MG_EXIT_INTERRUPTED : fail(r->error);
    const struct way *way = way_of(r->place.backend);
    r->execute.backend = r->place.backend;
    r->workers = r->options->workers > 0 ? r->options->workers : count_cores();
    if (r->options->workers <= 0) {
        const int most = mg_schedule_workers(r->place.free_memory);
        if (r->workers > way->most_workers) r->workers = way->most_workers;
        if (r->workers > most) r->workers = most;
    }
    r->execute.threads = count_cores() / r->workers;
    print_header(r);
    const mg_ledger_run key = {
        .subject = r->execute.subject, .device = &r->place.device, .user_seed = r->execute.user_seed};
    if (open_report(r) || part(r)) return fail(r->error);
    if (mg_xfail_open(&r->xfail, r->options->xfail, r->place.target.arch, r->error)) return fail(r->error);
    if (!r->options->no_ledger && mg_ledger_open(&r->ledger, r->execute.cache_dir, &key, r->error))
        return fail(r->error);
    status = prepare(r, &kernels);
    if (!status && !ended(r)) status = run_all(r, kernels);
    int code = finish(r, status);
    mg_kernels_free(kernels);
    return code;
}

static int select_and_run(run *r, double begun) {
    if (mg_cases_new(&r->cases)) return fail("out of memory for the case table");
    if (mg_select(&r->selection, r->options, &r->cases, r->error)) return mg_options_fail("run", r->error);
    if (r->options->action == MG_ACTION_COLLECT)
        return mg_collect(r->options, &r->cases, &r->selection, mg_now() - begun);
    if (!r->selection.count) {
        char text[MG_ERROR_SIZE];
        mg_selection_summary(&r->selection, text);
        printf("%s\n0 passed, 0 failed, 0 skipped\n", text);
        return MG_EXIT_EMPTY;
    }
    return carry_out(r);
}

/* The words of this command and, before them, those of the run that it resumes. */
static gg_status read_words(run *r, mg_options *options, int argc, char **argv) {
    char **words = calloc((size_t)argc + 1, sizeof *words);
    r->command = join_command(argc, argv); /* before parsing reorders it */
    r->words = words;
    snprintf(r->error, sizeof r->error, "out of memory");
    if (!words || !r->command) return GG_ERR_MEMORY;
    memcpy(words, argv, (size_t)argc * sizeof *words);
    gg_status status = mg_options_parse(options, argc, argv, r->error);
    if (status || !options->resume) return status;
    if ((status = mg_resume_open(&r->resume, options->resume, r->error))) return status;
    if (!(r->parsed = mg_resume_words(r->resume, argc, words, &argc))) return GG_ERR_MEMORY;
    return mg_options_parse(options, argc, r->parsed, r->error);
}

int mg_run_main(int argc, char **argv) {
    mg_options options;
    run r = {.options = &options, .begun = mg_now()};
    int code;
    if (read_words(&r, &options, argc, argv)) {
        code = mg_options_fail("run", r.error);
    } else if (options.action == MG_ACTION_HELP) {
        mg_options_help("run");
        code = MG_EXIT_OK;
    } else if (options.action == MG_ACTION_VERSION) {
        mg_options_version();
        code = MG_EXIT_OK;
    } else {
        catch_signals();
        r.execute = options.execute;
        r.repro = join_repro(&options.execute);
        mg_progress_init(&r.progress, stdout, options.color, options.verbosity);
        code = r.repro ? select_and_run(&r, r.begun) : fail("out of memory");
    }
    for (size_t i = 0; i < r.num_outcomes; i++) free(r.outcomes[i].message);
    mg_newspaper_free(&r.news);
    mg_report_close(r.report);
    mg_ledger_close(r.ledger);
    mg_xfail_close(r.xfail);
    mg_resume_close(r.resume);
    free(r.parsed);
    free(r.words);
    free(r.outcomes);
    free(r.skipped);
    free(r.order);
    free(r.repro);
    free(r.command);
    mg_selection_free(&r.selection);
    mg_cases_free(&r.cases);
    return code;
}
