/* options.h: the command line of `moegemm run` and `moegemm list`: pytest's habitual options and our own. */
#ifndef MG_OPTIONS_H
#define MG_OPTIONS_H

#include "execute.h"

enum { MG_PATH_SIZE = 1024 };

/* Exit statuses, pytest's. */
enum {
    MG_EXIT_OK = 0,
    MG_EXIT_FAILED = 1,      /* a case failed, or ended in error or mistrusted */
    MG_EXIT_INTERRUPTED = 2, /* Ctrl-C */
    MG_EXIT_INTERNAL = 3,
    MG_EXIT_USAGE = 4,
    MG_EXIT_EMPTY = 5 /* nothing selected */
};

typedef enum mg_action { MG_ACTION_RUN, MG_ACTION_COLLECT, MG_ACTION_HELP, MG_ACTION_VERSION } mg_action;
typedef enum mg_color { MG_COLOR_AUTO, MG_COLOR_YES, MG_COLOR_NO } mg_color;

/* Filled by mg_options_parse. Strings point into argv, the environment or this struct: do not copy it. */
typedef struct mg_options {
    mg_action action;

    /* selection (select.h) */
    const char *keyword;    /* -k; NULL: all */
    char *const *arguments; /* positional: exact ids and @idfile; points into argv, which is reordered */
    size_t num_arguments;
    bool last_failed;           /* --lf */
    bool failed_first;          /* --ff */
    uint32_t shard, num_shards; /* --shard i/n: shard 1..num_shards; 1/1 by default */

    /* running; of `execute`, golden_dir and cache_dir are always set */
    mg_execute_options execute;
    bool nightly;       /* --nightly: many repeats, every perturbation */
    bool no_ledger;     /* --no-ledger: digests are not compared with those of earlier runs */
    const char *xfail;  /* --xfail, file; NULL: the table in the binary */
    const char *resume; /* --resume, folder of an interrupted run's report; NULL: a new run */
    int workers;        /* -n; 0 (auto) by default */
    long max_failures;  /* -x, --maxfail; 0: no limit */
    bool generate;      /* --generate: make the goldens that are missing before running */
    double timeout;     /* --timeout, seconds a case; 0: the runner's default */

    /* reporting */
    int verbosity;        /* number of -v less number of -q */
    bool no_capture;      /* -s: what a worker prints goes straight to the terminal */
    long durations;       /* --durations; -1: not wanted, 0: all */
    double durations_min; /* --durations-min, seconds */
    bool show[256];       /* -r, by the verdict's letter (result.h) and P, with a and A expanded */
    const char *junit;    /* --junitxml; NULL: none */
    const char *report;   /* --report, folder; NULL: the runner's default */
    const char *history;  /* --history, database; NULL: beside the reports; "none": none */
    bool github;          /* --github: annotations for GitHub's runners */
    bool no_header;       /* --no-header */
    mg_color color;       /* --color */

    char paths[2][MG_PATH_SIZE]; /* behind execute.golden_dir and cache_dir when they are defaults */
} mg_options;

/* argv[0], the subcommand's name, is skipped. GG_ERR_ARGUMENT: `error` holds one line without "ERROR: ". */
gg_status mg_options_parse(mg_options *options, int argc, char **argv, char error[MG_ERROR_SIZE]);

/* Prints a usage error as every subcommand does, "ERROR: ..." and a hint; returns MG_EXIT_USAGE. */
int mg_options_fail(const char *command, const char *error);
/* Answers for MG_ACTION_HELP (one screen) and MG_ACTION_VERSION, on stdout. */
void mg_options_help(const char *command);
void mg_options_version(void);

#endif
