/* run_variant.c: whether the program that a harness's mutant is linked into fails as it must. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "tally.h"

/* What the shell, and timeout, exit with where a program was not run: 125, 126, 127. */
static bool was_run(int code) { return code < 125 || code > 127; }

bool run_variant(const char *command, bool runner, char line[LINE_SIZE]) {
    char text[1024];
    FILE *in = popen(command, "r");
    line[0] = 0;
    if (!in) return false;
    while (fgets(text, sizeof text, in)) {
        static const char *const marks[] = {"[  FAILED  ] test_", "SURVIVED", "STALE"};
        const char *name = NULL;
        for (size_t i = 0; i < sizeof marks / sizeof *marks && !name; i++) name = strstr(text, marks[i]);
        if (!name || line[0]) continue;
        name += strcspn(name, "tS");
        snprintf(line, LINE_SIZE, "%.*s", (int)strcspn(name, ":\n"), name);
    }
    const int status = pclose(in), code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    if (!line[0] && code) snprintf(line, LINE_SIZE, "exit status %d", code);
    return runner ? code == SOME_SURVIVED : code && was_run(code);
}
