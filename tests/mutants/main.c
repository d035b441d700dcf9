/* main.c: runs every mutant in a process of its own, several at once, and tells which were caught by what. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/build.h"
#include "tally.h"

typedef struct item {
    const mutant *mutant;
    tally *tally; /* shared with its process */
    pid_t process;
    double deadline;
    bool hidden; /* this backend cannot show it */
} item;

typedef struct run {
    settings settings;
    mg_cases cases;
    item *items;
    size_t count;
    const char *write, *variants_dir; /* a Markdown file; the folder of harness variants, NULL: none */
    unsigned shard, num_shards;       /* every num_shards-th mutant from this one, counted from 1 */
} run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- processes --- */

static void begin(run *r, item *it) {
    fflush(stdout);
    it->deadline = now() + r->settings.seconds;
    it->process = fork();
    if (it->process) return;
    run_mutant(&r->settings, it->mutant, &r->cases, it->tally);
    fflush(NULL);
    _exit(0);
}

/* A process that died or hung while a mutant ran is a kill: of the worker first, of the mutant by that. */
static void note_end(item *it, int status, bool late) {
    tally *t = it->tally;
    if (t->done || t->fault[0]) return;
    if (!late && WIFEXITED(status)) return;
    t->by_check[late ? BY_TIMEOUT : BY_CRASH]++;
    t->killing++;
    t->cases++;
    if (!t->message[0])
        snprintf(t->message, sizeof t->message, late ? "still running after its time" : "signal %d",
                 WTERMSIG(status));
}

static void report(const item *it) {
    const tally *t = it->tally;
    char counts[LINE_SIZE];
    bool killed = is_killed(it->mutant, t);
    printf("%-9s %-28s %u of %u cases: %s%s%s\n",
           t->stale     ? "STALE"
           : it->hidden ? "hidden"
           : killed     ? "killed"
                        : "SURVIVED",
           it->mutant->name, t->killing, t->cases, check_counts(t, counts), t->fault[0] ? " FAULT: " : "",
           t->fault);
    if (!killed && !it->hidden && !t->stale && t->message[0]) printf("          %s: %s\n", t->id, t->message);
}

static bool end_one(run *r) {
    for (size_t i = 0; i < r->count; i++) {
        item *it = &r->items[i];
        int status;
        if (it->process <= 0) continue;
        bool late = now() > it->deadline;
        if (late) kill(it->process, SIGKILL);
        if (waitpid(it->process, &status, late ? 0 : WNOHANG) != it->process) continue;
        note_end(it, status, late);
        it->process = -1;
        report(it);
        return true;
    }
    return false;
}

static void run_all(run *r) {
    size_t next = 0, running = 0;
    while (next < r->count || running) {
        while (next < r->count && running < (size_t)r->settings.jobs) {
            item *it = &r->items[next++];
            if (it->hidden) {
                use_mutant(it->mutant, it->tally); /* it must still apply */
                report(it);
                continue;
            }
            begin(r, it);
            running++;
        }
        if (end_one(r))
            running--;
        else
            usleep(20000);
    }
}

/* --- the table --- */

static void put_cell(FILE *out, const char *text) {
    fputc(' ', out);
    for (; *text; text++) fputs(*text == '|' ? "\\|" : (char[]){*text, 0}, out);
    fputs(" |", out);
}

static bool write_table(const run *r, const char *device) {
    char *text = NULL, counts[LINE_SIZE], title[LINE_SIZE];
    size_t size, killed = 0, shown = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return false;
    fprintf(out,
            "%s.\n\n| mutant | fault | caught by (cases) | failed | launches | first case "
            "|\n|---|---|---|---|---|---|\n",
            device);
    for (size_t i = 0; i < r->count; i++) {
        const item *it = &r->items[i];
        const tally *t = it->tally;
        char numbers[64];
        fputs("|", out);
        put_cell(out, it->mutant->name);
        put_cell(out, it->mutant->fault);
        if (it->hidden && !t->stale) {
            fprintf(out, " not here: %s | | | |\n", it->mutant->hidden);
            continue;
        }
        shown++;
        killed += is_killed(it->mutant, t);
        put_cell(out, t->stale                   ? "**the row is stale**"
                      : is_killed(it->mutant, t) ? check_counts(t, counts)
                                                 : "**nothing that should**");
        snprintf(numbers, sizeof numbers, " %u of %u | %u |", t->killing, t->cases, t->repeats);
        fputs(numbers, out);
        put_cell(out, t->id);
        fputs("\n", out);
    }
    fprintf(out, "\n%zu of %zu killed.\n", killed, shown);
    fclose(out);
    int length = snprintf(title, sizeof title, "Kernels and launchers on %s", r->settings.backend);
    bool ok = r->shard > 1 || drop_sections(r->write, title); /* those of parts, however many there were */
    if (r->num_shards > 1)
        snprintf(title + length, sizeof title - (size_t)length, ", part %u of %u", r->shard, r->num_shards);
    ok = ok && write_section(r->write, title, text);
    free(text);
    return ok;
}

/* --- variants of the harness --- */

static size_t run_harness(const run *r, const char *only) {
    mutant_table table = harness_mutants();
    size_t survived = 0;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return 1;
    fputs("One file of the harness or the simulator patched and linked into the program that must fail.\n\n"
          "| mutant | fault | file | judged by | what failed |\n|---|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < table.count; i++) {
        const mutant *m = &table.items[i];
        char command[2048], line[LINE_SIZE];
        if (only && strcmp(only, m->name)) continue;
        bool runner = !strncmp(m->judge, "mutants ", 8);
        snprintf(command, sizeof command, "timeout 300 '%s/mutant_%s' %s%s 2>&1", r->variants_dir, m->name,
                 runner ? "--backend sim " : "", runner ? m->judge + 8 : "");
        const bool killed = run_variant(command, runner, line);
        survived += !killed;
        printf("%-9s %-28s %s: %s\n", killed ? "killed" : "SURVIVED", m->name, m->judge, line);
        fflush(stdout);
        fprintf(out, "| %s | %s | %s | %s | %s |\n", m->name, m->fault, m->file, m->judge,
                killed ? line : "**nothing**");
    }
    fclose(out);
    if (r->write && !only) write_section(r->write, "The harness's own checks", text);
    free(text);
    return survived;
}

/* --- starting --- */

static bool listed(const char *names, const char *name) {
    size_t length = strlen(name);
    for (const char *at = names; (at = strstr(at, name)); at += length)
        if ((at == names || at[-1] == ',') && (!at[length] || at[length] == ',')) return true;
    return false;
}

static bool collect(run *r, const char *only) {
    const mutant_table tables[] = {sum_mutants(),   place_mutants(), rare_mutants(),
                                   wgmma_mutants(), copy_mutants(),  launcher_mutants()};
    const unsigned here = strcmp(r->settings.backend, "sim") ? ON_CUDA : ON_SIM;
    enum { TABLES = sizeof tables / sizeof *tables };
    size_t all = 0, turn = 0;
    for (size_t t = 0; t < TABLES; t++) all += tables[t].count;
    tally *shared =
        mmap(NULL, all * sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    r->items = calloc(all, sizeof *r->items);
    if (shared == MAP_FAILED || !r->items || mg_cases_new(&r->cases) != GG_OK) return false;
    for (size_t t = 0; t < TABLES; t++)
        for (size_t i = 0; i < tables[t].count; i++) {
            const mutant *m = &tables[t].items[i];
            if (only ? !listed(only, m->name) : turn++ % r->num_shards != r->shard - 1) continue;
            r->items[r->count] =
                (item){.mutant = m, .tally = &shared[r->count], .hidden = !(m->backends & here)};
            r->count++;
        }
    return true;
}

/* In a process of its own: one that has touched a GPU cannot fork others that do. */
static bool has_gpu(void) {
    pid_t child = fork();
    if (!child) {
        char why[GG_REASON_SIZE];
        _exit(!gg_cuda_available(why));
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status == 0;
}

static int cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static int usage(const char *fault, const char *subject) {
    fprintf(stderr,
            "mutants: error: %s '%s' (options: --backend NAME --only NAME,... --quick --cases N --jobs N "
            "--write FILE --shard i/n --harness --golden-dir DIR --cache-dir DIR)\n",
            fault, subject);
    return 4;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"backend", required_argument, NULL, 'b'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {"cases", required_argument, NULL, 'c'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"write", required_argument, NULL, 'w'},
                                            {"harness", no_argument, NULL, 'h'},
                                            {"golden-dir", required_argument, NULL, 'g'},
                                            {"cache-dir", required_argument, NULL, 'd'},
                                            {"shard", required_argument, NULL, 's'},
                                            {0}};
    char cache[GG_PATH_SIZE], error[GG_ERROR_SIZE];
    const char *only = NULL;
    bool harness = false;
    run r = {.shard = 1, .num_shards = 1, .settings = {.golden_dir = SOURCE_DIR "/golden", .jobs = cores()}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (option) {
        case 'b': r.settings.backend = optarg; break;
        case 'o': only = optarg; break;
        case 'q': r.settings.quick = true; break;
        case 'c': r.settings.cases = (unsigned)atoi(optarg); break;
        case 'j': r.settings.jobs = atoi(optarg) > 0 ? atoi(optarg) : 1; break;
        case 'w': r.write = optarg; break;
        case 'h': harness = true; break;
        case 'g': r.settings.golden_dir = optarg; break;
        case 'd': r.settings.cache_dir = optarg; break;
        case 's':
            if (sscanf(optarg, "%u/%u", &r.shard, &r.num_shards) != 2 || !r.shard || r.shard > r.num_shards)
                return usage("bad value for --shard (i/n with i from 1 to n):", optarg);
            break;
        default: return usage("unknown option", argv[optind - 1]);
        }
    if (optind < argc) return usage("unexpected argument", argv[optind]);
    if (!r.settings.cache_dir) {
        if (gg_cache_dir(NULL, cache, error)) return usage(error, "MOEGEMM_CACHE");
        r.settings.cache_dir = cache;
    }
    r.variants_dir = BINARY_DIR "/mutants";
    if (harness) {
        setenv("MOEGEMM_CACHE", r.settings.cache_dir, 1); /* for the variants */
        size_t survived = run_harness(&r, only);
        printf("%zu of the harness's mutants survived\n", survived);
        return survived != 0;
    }
    if (!r.settings.backend || !strcmp(r.settings.backend, "auto"))
        r.settings.backend = has_gpu() ? "cuda" : "sim";
    bool sim = !strcmp(r.settings.backend, "sim");
    if (!sim && strcmp(r.settings.backend, "cuda")) return usage("unknown backend", r.settings.backend);
    if (!r.settings.cases) r.settings.cases = sim ? 16 : 8; /* a kernel takes a GPU's compiler a second */
    if (!sim && r.settings.jobs > 8) r.settings.jobs = 8;   /* full sizes take 30 GiB each */
    r.settings.limit = sim ? 9e6 : 4e9; /* a third of a second, and what fresh goldens take seconds for */
    r.settings.seconds = sim ? 120 : 240;
    if (!collect(&r, only)) return usage("out of memory", "");
    if (!r.count) return usage("no such mutant", only);
    run_all(&r);

    size_t killed = 0, stale = 0, shown = 0;
    for (size_t i = 0; i < r.count; i++) {
        const item *it = &r.items[i];
        stale += it->tally->stale;
        shown += !it->hidden;
        killed += !it->hidden && is_killed(it->mutant, it->tally);
    }
    printf("%zu of %zu mutants killed on %s\n", killed, shown, r.settings.backend);
    if (stale) printf("%zu to adapt to the source\n", stale);
    bool written = !r.write || only || write_table(&r, sim ? "On the CPU simulator" : "On a GPU");
    mg_cases_free(&r.cases);
    free(r.items);
    return stale ? SOME_STALE : killed < shown || !written ? SOME_SURVIVED : ALL_KILLED;
}
