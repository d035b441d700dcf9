/* golden_command.c: `moegemm golden verify|generate|show`. */
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "corpus.h"
#include "options.h"

enum { MAX_ARGUMENTS = 32, INTERRUPTED = 130, NOT_FOUND = 127 }; /* statuses of the shell */

/* --- where things are --- */

typedef struct folders {
    char golden[MG_FILE_SIZE / 2];
    char cache[MG_FILE_SIZE / 2]; /* of generated goldens */
} folders;

static void find_folders(folders *f, const char *golden, const char *cache) {
    const char *home = getenv("HOME");
    if (!golden) golden = mg_golden_default_dir();
    if (!cache) cache = getenv("MOEGEMM_CACHE");
    snprintf(f->golden, sizeof f->golden, "%s", golden);
    if (cache && *cache)
        snprintf(f->cache, sizeof f->cache, "%s/golden", cache);
    else
        snprintf(f->cache, sizeof f->cache, "%s/.cache/moegemm/golden", home ? home : ".");
}

/* --- generate --- */

/* Runs gen/generate.py with `extra` arguments (NULL-ended) and `lines`, if any, on its standard input;
 * returns its exit status. Ctrl-C is left to Python, which finishes the files it has begun, and then takes
 * effect here. */
static int run_python(const char *golden_dir, const char *cache_dir, const char *lines, char *const *extra) {
    char script[MG_FILE_SIZE], python[MG_FILE_SIZE], venv[MG_FILE_SIZE], *arguments[MAX_ARGUMENTS];
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    int count = 0, status = 0, input = -1;
    const char *source = golden_dir;
    snprintf(script, sizeof script, "%s/../gen/generate.py", source);
    if (access(script, R_OK)) source = MOEGEMM_SOURCE_DIR "/golden";
    snprintf(script, sizeof script, "%s/../gen/generate.py", source);
    snprintf(python, sizeof python, "%s/../gen/python.sh", source);
    snprintf(venv, sizeof venv, "%s/../venv", cache_dir);
    char *const fixed[] = {"sh",          python,           venv, script, "--golden-dir", (char *)golden_dir,
                           "--cache-dir", (char *)cache_dir};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) arguments[count++] = fixed[i];
    while (*extra && count < MAX_ARGUMENTS - 3) arguments[count++] = *extra++;
    if (*extra) {
        fprintf(stderr, "moegemm golden: error: too many arguments\n");
        return MG_EXIT_USAGE;
    }
    if (lines) {
        size_t size = strlen(lines);
        input = memfd_create("lines", MFD_CLOEXEC);
        if (input < 0 || write(input, lines, size) != (ssize_t)size || lseek(input, 0, SEEK_SET)) {
            fprintf(stderr, "moegemm golden: error: cannot pass the list of goldens on: %s\n",
                    strerror(errno));
            if (input >= 0) close(input);
            return MG_EXIT_INTERNAL;
        }
        arguments[count++] = "--only";
        arguments[count++] = "-";
    }
    arguments[count] = NULL;

    fflush(NULL);
    sigaction(SIGINT, &ignore, &before);
    pid_t child = fork();
    if (!child) {
        signal(SIGINT, SIG_DFL);
        if (input >= 0) dup2(input, STDIN_FILENO);
        execvp(fixed[0], arguments);
        fprintf(stderr, "moegemm golden: error: cannot run '%s': %s\n", python, strerror(errno));
        _exit(NOT_FOUND);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    sigaction(SIGINT, &before, NULL);
    if (input >= 0) close(input);
    if (child < 0) {
        fprintf(stderr, "moegemm golden: error: cannot start '%s': %s\n", python, strerror(errno));
        return MG_EXIT_INTERNAL;
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : MG_EXIT_INTERNAL;
    if (code == INTERRUPTED) raise(SIGINT);
    return code;
}

gg_status mg_golden_generate(const char *golden_dir, const char *cache_dir, const char *lines,
                             char error[MG_ERROR_SIZE]) {
    char *const none[] = {NULL};
    int code = run_python(golden_dir, cache_dir, lines, none);
    if (!code) return GG_OK;
    snprintf(error, MG_ERROR_SIZE, "goldens could not be generated (status %d; see above)", code);
    return GG_ERR_IO;
}

/* --- what the subcommands share --- */

/* Does a problem have this data? */
static bool has(const mg_problem *p, mg_class cls, gg_dtype dtype) {
    return p->classes >> cls & 1 && p->dtypes >> dtype & 1;
}

typedef struct visit {
    const mg_corpus *corpus;
    FILE *out;
    size_t checked, missing, faults;
} visit;

typedef void (*visitor)(visit *v, const mg_problem *problem, mg_class cls, gg_dtype dtype);

/* Every data set of the problems whose key contains `part` (all when NULL). */
static size_t for_each(visit *v, const char *part, visitor act) {
    size_t count, visited = 0;
    const mg_problem *problems = mg_problems(&count);
    for (size_t i = 0; i < count; i++) {
        if (part && !strstr(problems[i].key, part)) continue;
        for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++)
            for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++)
                if (has(&problems[i], cls, dtype)) {
                    act(v, &problems[i], cls, dtype);
                    visited++;
                }
    }
    return visited;
}

static void list_lines(visit *v, const mg_problem *problem, mg_class cls, gg_dtype dtype) {
    fprintf(v->out, "%s %s %s\n", problem->key, mg_class_name(cls), gg_dtype_name(dtype));
}

static int no_problem(const char *part) {
    fprintf(stderr, "moegemm golden: error: no problem matches '%s' (see golden/problems.tsv)\n", part);
    return MG_EXIT_USAGE;
}

static int generate(const folders *f, const char *part, char *const *extra) {
    char *lines = NULL;
    size_t size;
    visit v = {.out = part ? open_memstream(&lines, &size) : NULL};
    size_t visited = v.out ? for_each(&v, part, list_lines) : 0;
    if (v.out) fclose(v.out);
    int code = part && !visited ? no_problem(part) : run_python(f->golden, f->cache, lines, extra);
    free(lines);
    return code;
}

/* --- verify --- */

static void report(visit *v, gg_status status, const char *error) {
    v->checked++;
    if (!status) return;
    v->faults++;
    fprintf(stderr, "moegemm golden: error: %s\n", error);
}

static void verify_one(visit *v, const mg_problem *problem, mg_class cls, gg_dtype dtype) {
    char error[MG_ERROR_SIZE];
    mg_inputs inputs;
    report(v, mg_inputs_load(v->corpus, problem, cls, dtype, 0, &inputs, error), error);
    mg_inputs_free(&inputs);
    for (mg_output output = 0; output < MG_NUM_OUTPUTS && problem->store == MG_STORE_FILES; output++) {
        size_t missing = mg_golden_missing(v->corpus, problem, cls, dtype, 1u << output, NULL);
        mg_golden golden;
        v->missing += missing;
        if (missing) continue;
        report(v, mg_golden_load(v->corpus, problem, cls, dtype, output, 0, &golden, error), error);
        mg_golden_free(&golden);
    }
}

static int verify(const mg_corpus *corpus, const char *part) {
    visit v = {.corpus = corpus};
    if (!for_each(&v, part, verify_one)) return no_problem(part);
    printf("%zu checked, %zu wrong, %zu files missing%s\n", v.checked, v.faults, v.missing,
           v.missing ? " (made when a case needs them, or by 'moegemm golden generate')" : "");
    return v.faults ? MG_EXIT_FAILED : MG_EXIT_OK;
}

/* --- show --- */

enum { SHOWN_VALUES = 6 };

static void show_array(const mg_corpus *corpus, const char *name, gg_dtype dtype, const uint16_t *bits,
                       const float *floats, size_t count) {
    char path[MG_FILE_SIZE];
    const mg_manifest_row *row = mg_manifest_find(corpus, name);
    if (!row) return;
    printf("%s %s %s %s sha256 %s\n", row->path, row->type, row->shape, row->kind, row->sha256);
    if (!strcmp(row->kind, "committed") || !strcmp(row->kind, "generated")) {
        mg_corpus_path(corpus, row, path);
        printf("    %s%s\n", access(path, R_OK) ? "missing: " : "", path);
    }
    if (!bits && !floats) return;
    printf("   ");
    for (size_t i = 0; i < count && i < SHOWN_VALUES; i++)
        printf(" %.9g", (double)(bits ? mg_float_from_bits(dtype, bits[i]) : floats[i]));
    printf("%s\n", count > SHOWN_VALUES ? " ..." : count ? "" : " (empty)");
}

static void show_tensor(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                        const char *name, const uint16_t *bits, const float *floats, size_t count) {
    char array[MG_FILE_SIZE];
    mg_array_name(problem, cls, dtype, name, array);
    show_array(corpus, array, dtype, bits, floats, count);
}

static void show_one(visit *v, const mg_problem *p, mg_class cls, gg_dtype dtype) {
    char error[MG_ERROR_SIZE];
    mg_inputs in;
    if (mg_inputs_load(v->corpus, p, cls, dtype, 0, &in, error)) {
        report(v, GG_ERR_IO, error);
        return;
    }
    const size_t M = (size_t)p->M, x_rows = p->gemm == GG_GEMM_FIRST ? (size_t)p->T : M;
    show_tensor(v->corpus, p, cls, dtype, "topk_weights", NULL, in.topk_weights, M);
    if (p->store == MG_STORE_FILES) {
        show_tensor(v->corpus, p, cls, dtype, "x", in.x, NULL, x_rows * (size_t)p->K);
        show_tensor(v->corpus, p, cls, dtype, "w", in.w, NULL, (size_t)p->E * (size_t)p->N * (size_t)p->K);
        show_tensor(v->corpus, p, cls, dtype, "dy", in.dy, NULL, M * (size_t)p->N);
    }
    mg_inputs_free(&in);
    for (mg_output output = 0; output < MG_NUM_OUTPUTS && p->store == MG_STORE_FILES; output++) {
        mg_golden golden = {0};
        char name[32];
        if (!mg_golden_missing(v->corpus, p, cls, dtype, 1u << output, NULL))
            report(v, mg_golden_load(v->corpus, p, cls, dtype, output, 0, &golden, error), error);
        const struct {
            const char *suffix;
            const float *floats;
        } parts[] = {{"", NULL}, {".npy", NULL}, {"-c.npy", golden.c}, {"-s.npy", golden.s}};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "%s%s", mg_output_name(output), parts[i].suffix);
            show_tensor(v->corpus, p, cls, dtype, name, golden.bits, parts[i].floats,
                        golden.rows * golden.cols);
        }
        mg_golden_free(&golden);
    }
    show_tensor(v->corpus, p, cls, dtype, "y_mul", NULL, NULL, 0);
    show_tensor(v->corpus, p, cls, dtype, "dx_reduced", NULL, NULL, 0);
    for (mg_hash_output output = 0; output < MG_NUM_HASHES && p->store == MG_STORE_HASH; output++) {
        const uint64_t *hashes;
        size_t count;
        if (mg_golden_hashes(v->corpus, p, dtype, output, &hashes, &count, error)) continue;
        printf("%s %zu hashes", mg_hash_output_name(output), count);
        for (size_t i = 0; i < count && i < SHOWN_VALUES; i++)
            printf(" %016llx", (unsigned long long)hashes[i]);
        printf("%s\n", count > SHOWN_VALUES ? " ..." : "");
    }
}

/* arguments: KEY [class] [dtype] */
static int show(const mg_corpus *corpus, char **arguments, int count) {
    visit v = {.corpus = corpus};
    const mg_problem *p = count >= 1 && count <= 3 ? mg_problem_find(arguments[0]) : NULL;
    size_t shown = 0;
    if (!count || count > 3) {
        fprintf(stderr, "moegemm golden: error: show takes KEY [class] [dtype]\n");
        return MG_EXIT_USAGE;
    }
    if (!p) return no_problem(arguments[0]);
    printf("%s: %s E=%d topk=%d T=%lld M=%lld N=%d K=%d, routing/%s\n", p->key,
           p->gemm == GG_GEMM_FIRST ? "first GEMM" : "second GEMM", p->E, p->topk, (long long)p->T,
           (long long)p->M, p->N, p->K, p->routing);
    for (mg_class cls = 0; cls < MG_NUM_CLASSES; cls++)
        for (gg_dtype dtype = 0; dtype < GG_NUM_DTYPES; dtype++) {
            if (!has(p, cls, dtype) || (count > 1 && strcmp(arguments[1], mg_class_name(cls)))) continue;
            if (count > 2 && strcmp(arguments[2], gg_dtype_name(dtype))) continue;
            show_one(&v, p, cls, dtype);
            shown++;
        }
    if (!shown) {
        fprintf(stderr, "moegemm golden: error: '%s' has no such data\n", p->key);
        return MG_EXIT_USAGE;
    }
    return v.faults ? MG_EXIT_FAILED : MG_EXIT_OK;
}

/* --- the command line --- */

static void usage(FILE *out) {
    fprintf(
        out,
        "usage: moegemm golden verify [-k PART]\n"
        "       moegemm golden generate [-k PART] [OPTIONS of gen/generate.py: --only FILE, --jobs N, ...]\n"
        "       moegemm golden show KEY [class] [dtype]\n\n"
        "  -k PART           only problems whose key contains PART\n"
        "  --golden-dir DIR  default: $MOEGEMM_GOLDEN, else the source's golden/\n"
        "  --cache-dir DIR   default: $MOEGEMM_CACHE, else ~/.cache/moegemm\n"
        "  --only FILE       lines 'KEY CLASS DTYPE'; '-' is standard input\n"
        "  --jobs N          processes\n"
        "  --seed N          other data, for inspection, in a folder of its own\n"
        "  --limit GIB       bound of the cache, oldest problems go first (4)\n"
        "  --committed       maintainers: rewrite golden/ and its manifest\n"
        "  --hashes          maintainers: rewrite golden/hashes.tsv\n");
}

/* Every option with a value, and which of them are for gen/ alone. */
static const struct option options[] = {
    {"golden-dir", required_argument, NULL, 'g'},
    {"cache-dir", required_argument, NULL, 'c'},
    {"only", required_argument, NULL, 'p'},
    {"jobs", required_argument, NULL, 'p'},
    {"seed", required_argument, NULL, 'p'},
    {"limit", required_argument, NULL, 'p'},
    {"committed", no_argument, NULL, 'p'},
    {"hashes", no_argument, NULL, 'p'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

int mg_golden_main(int argc, char **argv) {
    const char *golden = NULL, *cache = NULL, *part = NULL;
    char *extra[MAX_ARGUMENTS + 2] = {0}, names[MAX_ARGUMENTS][16], error[MG_ERROR_SIZE];
    int num_extra = 0, num_names = 0, index = 0;
    mg_corpus *corpus = NULL;
    folders f;
    optind = 0; /* getopt afresh, permuting */
    for (int c; (c = getopt_long(argc, argv, "k:h", options, &index)) != -1;) {
        switch (c) {
        case 'g': golden = optarg; break;
        case 'c': cache = optarg; break;
        case 'k': part = optarg; break;
        case 'h': usage(stdout); return MG_EXIT_OK;
        case 'p':
            if (num_extra >= MAX_ARGUMENTS) break;
            snprintf(names[num_names], sizeof names[0], "--%s", options[index].name);
            extra[num_extra++] = names[num_names++];
            if (optarg) extra[num_extra++] = optarg;
            break;
        default: return MG_EXIT_USAGE; /* getopt has said why */
        }
    }
    const char *action = optind < argc ? argv[optind++] : "";
    find_folders(&f, golden, cache);
    bool to_python = !strcmp(action, "generate");
    if (to_python && optind == argc) return generate(&f, part, extra);
    if ((strcmp(action, "verify") && strcmp(action, "show")) || num_extra ||
        (strcmp(action, "show") && optind < argc)) {
        fprintf(stderr, "moegemm golden: error: %s\n",
                to_python || num_extra ? "arguments that do not belong together"
                                       : "unknown action or argument");
        usage(stderr);
        return MG_EXIT_USAGE;
    }
    if (mg_corpus_open(&corpus, f.golden, f.cache, error)) {
        fprintf(stderr, "moegemm golden: error: %s\n", error);
        return MG_EXIT_INTERNAL;
    }
    int code = strcmp(action, "show") ? verify(corpus, part) : show(corpus, argv + optind, argc - optind);
    mg_corpus_close(corpus);
    return code;
}
