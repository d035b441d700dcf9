/* options.c: the table of options of `moegemm run` and `moegemm list`, and the parser that reads argv by it.
 */
#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/build.h"
#include "golden.h"
#include "version.h"

typedef struct option option;

/* Stores a value (NULL for an option without one); false, with the error written, when it is not a legal one.
 */
typedef bool store(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]);

struct option {
    const char *name;  /* "--shard", "-k" */
    const char *value; /* its name in the help; NULL: takes none */
    store *store;
    size_t field;   /* offset in mg_options, for the generic stores */
    double minimum; /* of a number */
    int constant;   /* what an option without a value stores */
    bool optional;  /* the value, which then follows a '=' */
    const char *help;
};

static bool refuse(char error[MG_ERROR_SIZE], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, MG_ERROR_SIZE, format, args);
    va_end(args);
    return false;
}

/* --- stores --- */

static void *field_of(mg_options *o, const option *row) { return (char *)o + row->field; }

static bool store_flag(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)value, (void)error;
    *(bool *)field_of(o, row) = true;
    return true;
}

static bool store_text(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    if (!*value) return refuse(error, "empty value for %s %s", row->name, row->value);
    *(const char **)field_of(o, row) = value;
    return true;
}

static bool store_keyword(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)row, (void)error;
    o->keyword = value; /* may be empty: no filter */
    return true;
}

static bool whole_number(const option *row, const char *value, long *out, char error[MG_ERROR_SIZE]) {
    char *end;
    errno = 0;
    *out = strtol(value, &end, 10);
    if (end != value && !*end && !errno && (double)*out >= row->minimum && *out <= INT32_MAX) return true;
    return refuse(error, "bad value '%s' for %s: expected a whole number from %.0f", value, row->name,
                  row->minimum);
}

static bool store_long(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    return whole_number(row, value, field_of(o, row), error);
}

static bool store_int(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    long number;
    if (!whole_number(row, value, &number, error)) return false;
    *(int *)field_of(o, row) = (int)number;
    return true;
}

static bool store_size(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    long number;
    if (!whole_number(row, value, &number, error)) return false;
    *(size_t *)field_of(o, row) = (size_t)number;
    return true;
}

static bool store_double(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !(number >= row->minimum))
        return refuse(error, "bad value '%s' for %s: expected a number from %g", value, row->name,
                      row->minimum);
    *(double *)field_of(o, row) = number;
    return true;
}

/* Decimal or 0x...; no sign, which strtoull would take. */
static bool read_seed(const option *row, const char *value, uint64_t *out, char error[MG_ERROR_SIZE]) {
    char *end;
    errno = 0;
    *out = strtoull(value, &end, 0);
    if (*value >= '0' && *value <= '9' && !*end && !errno) return true;
    return refuse(error, "bad value '%s' for %s: expected a whole number of at most 64 bits", value,
                  row->name);
}

static bool store_seed(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    return read_seed(row, value, &o->execute.user_seed, error);
}

static bool store_workers(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    if (strcmp(value, "auto")) return store_int(o, row, value, error);
    o->workers = 0;
    return true;
}

static bool store_backend(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    o->execute.backend = strcmp(value, "auto") ? value : NULL;
    if (!o->execute.backend || !strcmp(value, "cuda") || !strcmp(value, "sim")) return true;
    return refuse(error, "bad value '%s' for %s: choose from cuda, sim, auto", value, row->name);
}

/* The simulator reads its own options from the environment, which worker processes inherit. */
static bool store_check(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)o;
    if (!strcmp(value, "race")) return !setenv("MOEGEMM_SIM_CHECK", value, 1);
    return refuse(error, "bad value '%s' for %s: choose race", value, row->name);
}

static bool store_sim_seed(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    uint64_t seed;
    (void)o;
    return read_seed(row, value, &seed, error) && !setenv("MOEGEMM_SIM_SEED", value, 1);
}

/* The mask of every perturbation but none, or of those named. */
static bool store_perturb(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    char names[128];
    size_t used = 0;
    o->execute.perturb = 0;
    for (mg_perturbation p = MG_PERTURB_STREAM; p < MG_NUM_PERTURBATIONS; p++) {
        const char *name = mg_perturbation_name(p);
        const size_t length = strlen(name);
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", name);
        bool wanted = !value;
        for (const char *at = value; at && *at && !wanted; at += strcspn(at, ","), at += *at == ',')
            wanted = strcspn(at, ",") == length && !memcmp(at, name, length);
        if (wanted) o->execute.perturb |= 1u << p;
    }
    size_t wanted = value != NULL;
    for (const char *at = value; at && *at; at++) wanted += *at == ',';
    if (!value || (size_t)__builtin_popcount(o->execute.perturb) == wanted) return true;
    return refuse(error, "bad value '%s' for %s: choose from %s", value, row->name, names);
}

static bool store_nightly(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    o->nightly = true;
    /* what --check does; each of the repeats has a schedule of its own */
    if (setenv("MOEGEMM_SIM_CHECK", "race", 0)) return refuse(error, "out of memory for %s", row->name);
    return store_perturb(o, row, value, error);
}

static bool store_resume(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)row, (void)error;
    o->resume = value && *value ? value : "reports/latest";
    return true;
}

static bool store_color(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    static const char *const names[] = {
        [MG_COLOR_AUTO] = "auto", [MG_COLOR_YES] = "yes", [MG_COLOR_NO] = "no"};
    for (o->color = MG_COLOR_AUTO; o->color <= MG_COLOR_NO; o->color++)
        if (!strcmp(value, names[o->color])) return true;
    return refuse(error, "bad value '%s' for %s: choose from yes, no, auto", value, row->name);
}

static bool store_shard(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    unsigned shard, shards;
    int length = 0;
    if (strspn(value, "0123456789/") == strlen(value) &&
        sscanf(value, "%9u/%9u%n", &shard, &shards, &length) == 2 && !value[length] && shard >= 1 &&
        shard <= shards) {
        o->shard = shard;
        o->num_shards = shards;
        return true;
    }
    return refuse(error, "bad value '%s' for %s: expected i/n with i from 1 to n", value, row->name);
}

/* Letters as pytest reads them (F and S are old names of f and s, a and A stand for several, N for none), and
 * m for mistrusted. */
static bool store_show(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)row, (void)error;
    memset(o->show, 0, sizeof o->show);
    for (; *value; value++) {
        const char letter[] = {*value, 0};
        const char *letters = *value == 'a' ? "sxXEfm" : *value == 'A' ? "PpsxXEfm" : letter;
        if (*value == 'F') letters = "f";
        if (*value == 'S') letters = "s";
        if (*value == 'a' || *value == 'A' || *value == 'N') memset(o->show, 0, sizeof o->show);
        if (*value == 'N') continue;
        for (; *letters; letters++) o->show[(unsigned char)*letters] = true;
    }
    return true;
}

static bool store_verbosity(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)value, (void)error;
    o->verbosity += row->constant;
    return true;
}

static bool store_exit_first(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)row, (void)value, (void)error;
    o->max_failures = 1;
    return true;
}

static bool store_action(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    (void)value, (void)error;
    o->action = (mg_action)row->constant;
    return true;
}

/* --- the table, in the order of the help --- */

#define FIELD(name) offsetof(mg_options, name)
static const option table[] = {
    {"-k", "EXPR", store_keyword, .help = "cases whose id matches: substrings joined by and, or, not, ( )"},
    {"--lf", NULL, store_flag, FIELD(last_failed), .help = "only the cases that failed last time"},
    {"--ff", NULL, store_flag, FIELD(failed_first), .help = "all, those that failed last time first"},
    {"--shard", "i/n", store_shard, .help = "the i-th of n equal parts"},
    {"--collect-only", NULL, store_action, .constant = MG_ACTION_COLLECT,
     .help = "list the cases and run none; -q: ids alone"},

    {"--backend", "NAME", store_backend, .help = "cuda, sim, or auto: cuda where there is a GPU"},
    {"--device", "N", store_int, FIELD(execute.device), .help = "which GPU, from 0"},
    {"--subject", "NAME", store_text, FIELD(execute.subject),
     .help = "what is tested: moegemm, reference, or ./mine.so"},
    {"--repeat", "N", store_int, FIELD(execute.repeats), 1,
     .help = "launches that must agree bit by bit (3: as it is, other signs, few SMs)"},
    {"--perturb", "LIST", store_perturb, .optional = true,
     .help = "each repeat in another way: stream,load,sms,base,graph,negate,batch (all)"},
    {"--nightly", NULL, store_nightly, .help = "20 repeats with every perturbation; on sim, --check race"},
    {"--no-ledger", NULL, store_flag, FIELD(no_ledger),
     .help = "do not compare output digests with earlier runs'"},
    {"--xfail", "FILE", store_text, FIELD(xfail), .help = "cases known to fail (harness/xfail.tsv)"},
    {"--resume", "DIR", store_resume, .optional = true,
     .help = "go on with the run of this report (reports/latest)"},
    {"--seed", "N", store_seed, .help = "fresh data instead of the corpus's"},
    {"--generate", NULL, store_flag, FIELD(generate), .help = "first make the goldens that are missing"},
    {"--check", "WHAT", store_check, .help = "race: on sim, every access for its order (see backend/sim)"},
    {"--sim-seed", "N", store_sim_seed, .help = "schedule of a kernel's first launch on sim (0)"},
    {"--sim-limit", "N", store_double, FIELD(execute.sim_limit),
     .help = "multiply-adds a case may take on sim (26e6)"},
    {"--autotune-limit", "N", store_size, FIELD(execute.autotune_limit), 1,
     .help = "configs an autotune case tries (default 10)"},
    {"--debug", NULL, store_flag, FIELD(execute.debug), .help = "kernels that check their routing data"},
    {"-n", "N", store_workers, FIELD(workers), 1, .help = "worker processes (default auto)"},
    {"-x", NULL, store_exit_first, .help = "stop at the first failure"},
    {"--maxfail", "N", store_long, FIELD(max_failures), .help = "stop after N failures"},
    {"--timeout", "S", store_double, FIELD(timeout), 0.001,
     .help = "seconds before a case counts as hanging"},

    {"-v", NULL, store_verbosity, .constant = 1, .help = "a line for each case"},
    {"-q", NULL, store_verbosity, .constant = -1, .help = "less"},
    {"-s", NULL, store_flag, FIELD(no_capture), .help = "show what workers print"},
    {"-r", "CHARS", store_show, .help = "list at the end: f E m s x p, a: all but passed, A: all (fEm)"},
    {"--durations", "N", store_long, FIELD(durations), .help = "list the N slowest cases, 0: all"},
    {"--durations-min", "S", store_double, FIELD(durations_min),
     .help = "but those of at least S seconds (0.005)"},
    {"--report", "DIR", store_text, FIELD(report), .help = "where the HTML report and JSON lines go"},
    {"--junitxml", "PATH", store_text, FIELD(junit), .help = "JUnit XML as well"},
    {"--history", "FILE", store_text, FIELD(history),
     .help = "database of runs (history.db by the reports), none"},
    {"--github", NULL, store_flag, FIELD(github), .help = "annotate failures for GitHub's runners"},
    {"--no-header", NULL, store_flag, FIELD(no_header), .help = "leave out the opening lines"},
    {"--color", "WHEN", store_color, .help = "yes, no, auto"},

    {"--golden-dir", "DIR", store_text, FIELD(execute.golden_dir),
     .help = "the corpus (the source tree's golden/)"},
    {"--cache-dir", "DIR", store_text, FIELD(execute.cache_dir),
     .help = "default $MOEGEMM_CACHE, ~/.cache/moegemm"},
    {"--version", NULL, store_action, .constant = MG_ACTION_VERSION, .help = "version and commit"},
    {"--help", NULL, store_action, .constant = MG_ACTION_HELP, .help = "this page (-h)"},
};
enum { NUM_OPTIONS = sizeof table / sizeof *table };

/* --- parsing --- */

static const option *find(const char *name, size_t length) {
    if (length == 2 && !memcmp(name, "-h", 2)) name = "--help", length = strlen(name);
    for (const option *row = table; row < table + NUM_OPTIONS; row++)
        if (strlen(row->name) == length && !memcmp(row->name, name, length)) return row;
    return NULL;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Slips of the finger between two words: letters too many, missing, wrong, or swapped. */
static size_t distance(const char *a, size_t height, const char *b) {
    enum { LONGEST = 32 }; /* no name in the table is longer */
    size_t rows[3][LONGEST + 1], width = strlen(b);
    for (size_t j = 0; j <= width; j++) rows[0][j] = j;
    for (size_t i = 1; i <= height; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[height % 3][width];
}

static bool unknown(const char *argument, size_t length, char error[MG_ERROR_SIZE]) {
    const option *nearest = NULL;
    size_t best = length / 3; /* more slips than that are another word */
    for (const option *row = table; row < table + NUM_OPTIONS; row++) {
        size_t d = distance(argument, length, row->name);
        if (!row->name[2] || d > best || (nearest && d == best))
            continue; /* every letter is near every other */
        best = d;
        nearest = row;
    }
    if (!nearest) return refuse(error, "unknown option '%.*s'", (int)(length > 100 ? 100 : length), argument);
    return refuse(error, "unknown option '%.*s' (did you mean '%s'?)", (int)length, argument, nearest->name);
}

/* An argument that can only be another option, not a value: as in pytest, one with a space is a value. */
static bool looks_like_option(const char *text) {
    return text[0] == '-' && text[1] && !strchr(text, ' ') && !strchr("0123456789.", text[1]);
}

static bool store_value(mg_options *o, const option *row, const char *value, char error[MG_ERROR_SIZE]) {
    if (row->value && !value && !row->optional)
        return refuse(error, "no value for %s (usage: %s %s)", row->name, row->name, row->value);
    return row->store(o, row, value, error);
}

/* One argument that begins with '-'; `next` is the one after it, or NULL; *taken tells whether it was used.
 */
static bool parse_option(mg_options *o, const char *argument, const char *next, bool *taken,
                         char error[MG_ERROR_SIZE]) {
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    const option *row = find(argument, length);
    *taken = false;
    if (next && looks_like_option(next)) next = NULL;
    if (row) {
        if (equals && !row->value) return refuse(error, "%s takes no value, got '%s'", row->name, equals + 1);
        *taken = row->value && !row->optional && !equals && next;
        return store_value(o, row,
                           !row->value     ? NULL
                           : equals        ? equals + 1
                           : row->optional ? NULL
                                           : next,
                           error);
    }
    if (argument[1] == '-') return unknown(argument, length, error);
    /* -xq, -vv, -rA, -n4: letters until one takes the rest as its value */
    for (const char *letter = argument + 1; *letter; letter++) {
        const char name[] = {'-', *letter};
        row = find(name, 2);
        if (!row) return unknown(argument, strlen(argument), error);
        if (row->value) {
            *taken = !letter[1] && next;
            return store_value(o, row, letter[1] ? letter + 1 : next, error);
        }
        if (!store_value(o, row, NULL, error)) return false;
    }
    return true;
}

static gg_status fill_defaults(mg_options *o, char error[MG_ERROR_SIZE]) {
    const unsigned repeated = o->execute.perturb & ~(1u << MG_PERTURB_BATCH);
    if (!o->execute.repeats) /* each perturbation once, unless more is asked for */
        o->execute.repeats = o->nightly ? 20 : repeated ? 1 + __builtin_popcount(repeated) : 3;
    if (!o->execute.golden_dir) o->execute.golden_dir = mg_golden_default_dir();
    if (!o->execute.cache_dir) {
        char detail[GG_ERROR_SIZE];
        if (gg_cache_dir(NULL, o->paths[1], detail)) {
            snprintf(error, MG_ERROR_SIZE, "%.500s", detail);
            return GG_ERR_ARGUMENT;
        }
        o->execute.cache_dir = o->paths[1];
    }
    return GG_OK;
}

gg_status mg_options_parse(mg_options *o, int argc, char **argv, char error[MG_ERROR_SIZE]) {
    *o = (mg_options){
        .shard = 1,
        .num_shards = 1,
        /* ten candidates is what the seeds' tests try at least */
        .execute = {.subject = "moegemm", .sim_limit = MG_SIM_LIMIT, .autotune_limit = 10},
        .durations = -1,
        .durations_min = 0.005,
        .show = {['f'] = true, ['E'] = true, ['m'] = true},
    };
    error[0] = 0;
    o->arguments = argv + 1;
    bool only_arguments = false; /* after "--" */
    for (int i = 1; i < argc; i++) {
        char *argument = argv[i];
        if (only_arguments || argument[0] != '-' || !argument[1]) {
            argv[1 + o->num_arguments++] = argument;
        } else if (!strcmp(argument, "--")) {
            only_arguments = true;
        } else {
            bool taken;
            if (!parse_option(o, argument, i + 1 < argc ? argv[i + 1] : NULL, &taken, error))
                return GG_ERR_ARGUMENT;
            i += taken;
            if (o->action == MG_ACTION_HELP || o->action == MG_ACTION_VERSION) return GG_OK;
        }
    }
    return fill_defaults(o, error);
}

/* --- texts --- */

int mg_options_fail(const char *command, const char *error) {
    fflush(stdout);
    fprintf(
        stderr,
        "ERROR: %s\nusage: moegemm %s [OPTIONS] [ID | @FILE]... ('moegemm %s --help' lists the options)\n",
        error, command, command);
    return MG_EXIT_USAGE;
}

void mg_options_help(const char *command) {
    printf("usage: moegemm %s [OPTIONS] [ID | @FILE]...      all cases, or these ids, or the ids listed in "
           "FILE\n\n",
           command);
    for (const option *row = table; row < table + NUM_OPTIONS; row++) {
        int width = !row->value     ? printf("  %s", row->name)
                    : row->optional ? printf("  %s[=%s]", row->name, row->value)
                                    : printf("  %s %s", row->name, row->value);
        printf("%*s%s\n", 24 - width, "", row->help);
    }
    printf(
        "\n  -k \"forward and tma\"      -k \"(dX or dW) and permute_y and not fp16\"      -k \"topk1- and "
        "E16-\"\n"
        "  Parameters stand between dashes: \"topk1-\" is exact, \"topk1\" also matches topk16. Case does "
        "not count.\n"
        "  Exit status: 0 passed, 1 failed, 2 interrupted, 3 internal error, 4 usage, 5 nothing selected.\n");
}

void mg_options_version(void) { printf("moegemm %s (%s)\n", MG_VERSION, MG_COMMIT); }
