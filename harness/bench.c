/* bench.c: `moegemm bench` and `moegemm tune`: times shapes one after the other and prints each as it is done. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "commands.h"
#include "report.h"
#include "report_internal.h"
#include "runner.h"

/* What is timed in one rotation. */
typedef struct rotation {
    mg_timed ours[MG_MAX_CONFIGS], usual, plain, grouped, loop, copy, product;
    mg_timed *all[MG_MAX_CONFIGS + 6];
    size_t num_ours, count;
} rotation;

/* A run: its options, what it writes to, what it has found. */
typedef struct bench_run {
    const char *command;
    mg_bench_options options;
    mg_bench bench;
    mg_report *report;
    mg_torch torch;
    mg_bench_row *rows;
    size_t count;
    char warned[MG_ERROR_SIZE]; /* the latest warning */
} bench_run;

static int fail(const bench_run *run, const char *error) {
    fflush(stdout);
    fprintf(stderr, "moegemm %s: error: %s\n", run->command, error);
    return MG_EXIT_INTERNAL;
}

/* Once, however many shapes it befalls. */
static void warn(bench_run *run, const char *text) {
    if (!*text || !strcmp(text, run->warned)) return;
    snprintf(run->warned, sizeof run->warned, "%s", text);
    fprintf(stderr, "moegemm %s: warning: %s\n", run->command, text);
}

static mg_timed *enter(rotation *r, mg_timed *slot, gg_status (*launch)(mg_bench *, const mg_timed *),
                       const mg_bench_item *item, const gg_config *config) {
    slot->launch = launch;
    slot->item = item;
    slot->problem = item->problem;
    if (config) slot->config = *config;
    r->all[r->count++] = slot;
    return slot;
}

/* --- configs --- */

static void show_tuning(void *data, const char *stage, size_t done, size_t total) {
    const char *name = data;
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K%s: %s %zu of %zu", name, stage, done, total);
}

/* The searched config of an item; of a backward pair both. */
static gg_status search(bench_run *run, const mg_bench_item *item, gg_op op, gg_config *best) {
    mg_bench *b = &run->bench;
    gg_problem problem = item->problem;
    const gg_tensors tensors = mg_bench_tensors(b);
    char name[128];
    size_t measured;
    problem.op = op;
    mg_bench_name(item, name, sizeof name);
    const double before = mg_now();
    gg_status status = gg_autotune_watched(b->context, &problem, &tensors, run->options.limit, best,
                                           &measured, show_tuning, name);
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    if (status) snprintf(b->error, sizeof b->error, "%.500s", gg_error(b->context));
    if (!status && measured)
        fprintf(stderr, "tuned %s %s: %zu configs in %.1f s\n", name, gg_op_name(op), measured,
                mg_now() - before);
    return status;
}

/* What of the planner's answer an item's row tells: pure, before anything is placed. */
static gg_status choose_configs(bench_run *run, const mg_bench_item *item, rotation *r) {
    mg_bench *b = &run->bench;
    gg_config configs[MG_MAX_CONFIGS];
    char reason[GG_REASON_SIZE];
    gg_problem dw = item->problem;
    dw.op = GG_DW;
    size_t refused;
    r->num_ours = mg_bench_configs(&run->options, &item->problem, b->device, configs, &refused, reason);
    if (!r->num_ours) {
        snprintf(b->error, sizeof b->error, "%s", reason);
        return GG_ERR_REFUSED;
    }
    if (refused)
        fprintf(stderr, "moegemm %s: warning: %zu of %zu configs refused, the last: %s\n", run->command,
                refused, refused + r->num_ours, reason);
    for (size_t i = 0; i < r->num_ours; i++)
        enter(r, &r->ours[i], mg_launch_ours, item, &configs[i])->config_dW =
            gg_default_config(&dw, b->device, run->options.workspace);
    return GG_OK;
}

/* With --autotune the searched config, and the default beside it. */
static gg_status tune(bench_run *run, const mg_bench_item *item, rotation *r) {
    if (!run->options.autotune) return GG_OK;
    mg_timed *ours = &r->ours[0];
    const mg_timed usual = *ours;
    gg_status status = search(run, item, item->problem.op, &ours->config);
    if (!status && item->backward) status = search(run, item, GG_DW, &ours->config_dW);
    if (!status) enter(r, &r->usual, mg_launch_ours, item, &usual.config)->config_dW = usual.config_dW;
    return status;
}

/* --- one item --- */

static void add_rivals(bench_run *run, const mg_bench_item *item, rotation *r) {
    mg_bench *b = &run->bench;
    const bool wanted = run->options.rivals && !item->backward && item->problem.T > 0;
    if (wanted && item->problem.fusions) {
        mg_timed *plain = enter(r, &r->plain, mg_launch_ours, item, NULL);
        mg_bench_plain(&item->problem, &r->ours[0].config, b->device, &plain->problem, &plain->config);
    }
    enter(r, &r->copy, mg_launch_copy, item, NULL);
    if (b->rivals) enter(r, &r->product, mg_launch_product, item, NULL);
    if (!b->rivals || !wanted) return;
    enter(r, &r->grouped, mg_launch_grouped, item, NULL);
    enter(r, &r->loop, mg_launch_loop, item, NULL);
    if (mg_rivals_place(b, item, &r->loop)) warn(run, b->error);
}

/* Kernels of the rotation, compiled together. */
static void build(mg_bench *b, const rotation *r) {
    gg_plan plans[MG_MAX_CONFIGS + 8];
    char reason[GG_REASON_SIZE];
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++) {
        const mg_timed *t = r->all[i];
        gg_problem dw = t->problem;
        dw.op = GG_DW;
        if (t->launch != mg_launch_ours) continue;
        if (!gg_plan_make(&t->problem, &t->config, b->device, &plans[count], reason)) count++;
        if (t->item->backward && !gg_plan_make(&dw, &t->config_dW, b->device, &plans[count], reason)) count++;
    }
    mg_bench_build(b, plans, count);
}

static mg_traffic traffic_of(const mg_bench *b, const mg_bench_item *item) {
    mg_traffic all = mg_traffic_of(&item->problem, b->experts_with_rows);
    if (!item->backward) return all;
    gg_problem p = item->problem;
    p.op = GG_DW;
    const mg_traffic dw = mg_traffic_of(&p, b->experts_with_rows);
    all.bytes += dw.bytes;
    all.flops += dw.flops;
    if ((p.fusions & GG_PERMUTE_X) && p.topk > 1) all.bytes += 2.0 * (double)p.T * (p.topk + 1) * p.K;
    return all;
}

static mg_limits limits_of(const mg_bench *b, const rotation *r) {
    const double S = MG_PRODUCT_SIZE;
    return (mg_limits){.gbs = r->copy.us.count ? 2 * (double)b->copy_bytes / r->copy.us.median * 1e-3 : 0,
                       .tflops = r->product.us.count ? 2 * S * S * S / r->product.us.median * 1e-6 : 0};
}

/* Prints a row and keeps it. */
static gg_status emit(bench_run *run, const mg_bench_row *row) {
    gg_status status = GG_OK;
    if (run->options.json) {
        json_t *value = mg_bench_json(row);
        if (value) json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(value);
    } else {
        mg_bench_print_row(stdout, row);
    }
    fflush(stdout);
    if (run->report) status = mg_report_add_json(run->report, mg_bench_json(row), run->bench.error);
    mg_bench_row *rows = realloc(run->rows, (run->count + 1) * sizeof *rows);
    if (!rows) {
        snprintf(run->bench.error, sizeof run->bench.error, "out of memory");
        return GG_ERR_MEMORY;
    }
    run->rows = rows;
    rows[run->count++] = *row;
    return status;
}

/* A shape that is refused or does not fit is a row that says so; a lost device ends the run. */
static gg_status time_item(bench_run *run, const mg_bench_item *item) {
    mg_bench *b = &run->bench;
    rotation *r = calloc(1, sizeof *r);
    mg_bench_row row = {.item = *item};
    if (!r) return GG_ERR_MEMORY;
    row.status = choose_configs(run, item, r);
    if (!row.status) row.status = mg_bench_place(b, item, run->options.workspace);
    if (!row.status) row.status = tune(run, item, r);
    gg_status status = row.status;
    if (status) {
        snprintf(row.fault, sizeof row.fault, "%s", b->error);
        row.config = gg_default_config(&item->problem, b->device, run->options.workspace);
        status = b->backend->ops->synchronize(b->backend) ? status : emit(run, &row);
        goto out;
    }
    add_rivals(run, item, r);
    build(b, r);
    if ((status = mg_bench_time(b, r->all, r->count, run->options.repeat))) goto out;
    row.limits = limits_of(b, r);
    row.traffic = traffic_of(b, item);
    row.grouped = r->grouped.us;
    row.loop = r->loop.us;
    row.default_us = r->usual.us.median;
    const mg_timed *optional[] = {&r->plain, &r->grouped, &r->loop, &r->copy, &r->product};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) warn(run, optional[i]->fault);
    for (size_t i = 0; i < r->num_ours && !status; i++) {
        row.us = r->ours[i].us;
        row.config = r->ours[i].config;
        row.config_dW = r->ours[i].config_dW;
        row.plain = i ? (mg_spread){0} : r->plain.us; /* which has the first one's tile */
        row.status = row.us.count ? GG_OK : GG_ERR_LAUNCH;
        memcpy(row.fault, r->ours[i].fault, sizeof row.fault);
        mg_bench_judge(&row);
        row.torch_us = mg_torch_us(&run->torch, item, row.peer_by_bytes, row.limits);
        status = emit(run, &row);
    }
out:
    b->backend->ops->graph_free(b->backend, r->loop.graph);
    free(r);
    return status;
}

/* --- the run --- */

static gg_status open_report(bench_run *run, int argc, char **argv) {
    char command[1024] = "moegemm";
    size_t used = strlen(command);
    for (int i = 0; i < argc && used < sizeof command; i++)
        used += (size_t)snprintf(command + used, sizeof command - used, " %s", argv[i]);
    const mg_report_header header = {.command = command,
                                     .repro = "",
                                     .backend = "cuda",
                                     .subject = "moegemm",
                                     .device = run->bench.device,
                                     .workers = 1};
    return mg_report_open(&run->report, run->options.report, &header, run->bench.error);
}

static gg_status close_report(bench_run *run) {
    char page[GG_PATH_SIZE];
    char *error = run->bench.error;
    gg_status status = mg_report_sync(run->report, true, error);
    snprintf(page, sizeof page, "%s/report.html", run->options.report);
    if (!status) status = mg_report_html(mg_report_path(run->report), page, error);
    if (!status && !run->options.json) printf("report: %s\n", page);
    return status;
}

/* How far the default configs are from the best. */
static void print_tuned(const bench_run *run) {
    size_t near = 0, count = 0;
    double worst = 0;
    for (const mg_bench_row *r = run->rows; r < run->rows + run->count; r++) {
        if (!r->us.count || !(r->default_us > 0)) continue;
        const double ratio = r->default_us / r->us.median;
        count++;
        near += ratio <= 1.05;
        if (ratio > worst) worst = ratio;
    }
    if (count) printf("default / tuned: within 5%% in %zu of %zu, at most %.3f\n", near, count, worst);
}

static int run_bench(const char *command, int argc, char **argv) {
    bench_run run = {.command = command};
    mg_bench *b = &run.bench;
    int code = MG_EXIT_OK;
    const int parsed = mg_bench_parse(&run.options, command, argc, argv);
    if (parsed) return parsed < 0 ? mg_arguments_status(parsed) : MG_EXIT_USAGE;
    gg_status status = GG_OK;
    if (run.options.peers) status = mg_torch_read(&run.torch, run.options.peers, b->error);
    if (!status) status = mg_bench_open(b, &run.options);
    if (!status && run.options.report) status = open_report(&run, argc, argv);
    if (status) goto out;
    mg_rivals_open(b);
    if (!run.options.json) {
        printf("%s, %s, %s, %s; %d launches of each\n", b->device->name, b->device->driver,
               b->device->compiler, mg_rivals_version(b), run.options.repeat);
        mg_bench_print_head(stdout);
    }
    for (size_t i = 0; i < run.options.count && !status; i++) status = time_item(&run, &run.options.items[i]);
    if (!run.options.json) mg_bench_print_end(stdout, run.rows, run.count);
    if (!run.options.json && run.options.autotune) print_tuned(&run);
    if (run.options.scaling) {
        FILE *out = run.options.json ? stderr : stdout;
        const size_t cliffs = mg_bench_cliffs(out, run.rows, run.count);
        fprintf(out, "%zu cliff%s in %zu points\n", cliffs, cliffs == 1 ? "" : "s", run.count);
        if (cliffs) code = MG_EXIT_FAILED;
    }
    for (size_t i = 0; i < run.count; i++)
        if (run.rows[i].status && run.rows[i].status != GG_ERR_MEMORY) code = MG_EXIT_FAILED;
    if (!status && run.report) status = close_report(&run);
out:
    if (status) code = fail(&run, b->error[0] ? b->error : gg_status_string(status));
    mg_report_close(run.report);
    mg_torch_free(&run.torch);
    mg_bench_close(b);
    mg_bench_options_free(&run.options);
    free(run.rows);
    return code;
}

int mg_bench_main(int argc, char **argv) { return run_bench("bench", argc, argv); }
int mg_tune_main(int argc, char **argv) { return run_bench("tune", argc, argv); }
