/* tally.h: what became of one mutant; a plain struct in memory shared with the process that runs it. */
#ifndef TALLY_H
#define TALLY_H

#include "case.h"
#include "mutants.h"

enum { MOST_CASES = 64, LINE_SIZE = 256 };

typedef struct tally {
    bool done;                     /* the process reached its end */
    unsigned cases, killing;       /* carried out; failed of them */
    unsigned by_check[NUM_CHECKS]; /* cases that each check failed */
    unsigned repeats;              /* launches that the first killing case took */
    char id[MG_ID_SIZE];           /* of that case */
    char message[LINE_SIZE];       /* its first line */
    char fault[LINE_SIZE];         /* of the run itself: the shipped kernels fail, nothing to run ... */
    bool stale; /* the fault is the row's: its text is not in the source, or what it makes does not compile */
} tally;

typedef struct settings {
    const char *backend, *golden_dir, *cache_dir;
    bool quick;     /* the first kill by an expected check is enough */
    unsigned cases; /* at most so many of a mutant's selection, evenly spread */
    double limit;   /* work of a case */
    double seconds; /* for all of a mutant's cases */
    int jobs;
} settings;

/* Makes this process run the mutant instead of the shipped code; false, with the fault, when it is stale. */
bool use_mutant(const mutant *m, tally *t);

/* Runs a kernel's or launcher's mutant on its cases; in a process of its own, which it may take down. */
void run_mutant(const settings *s, const mutant *m, const mg_cases *cases, tally *t);

/* Killed by a check that must kill it, and the shipped kernels pass the same cases. Who is stale never is. */
bool is_killed(const mutant *m, const tally *t);

/* "bitwise golden 3, repeat 1" */
const char *check_counts(const tally *t, char text[LINE_SIZE]);

/* What moegemm-mutants exits with. A row to adapt is no survivor: it tells nothing of who judges. */
enum { ALL_KILLED = 0, SOME_SURVIVED = 1, SOME_STALE = 2 };

/* Runs the program that a harness's mutant is linked into; whether it fails as it must: a test of the project's in any
 * way but that of not running, the runner of mutants by a survivor. `line` names what failed. */
bool run_variant(const char *command, bool runner, char line[LINE_SIZE]);

/* Replaces the section `title` of the Markdown file at `path`, or appends it. */
bool write_section(const char *path, const char *title, const char *text);

/* Takes out every section whose title begins so. */
bool drop_sections(const char *path, const char *title);

#endif
