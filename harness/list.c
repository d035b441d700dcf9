/* list.c: `moegemm list` and --collect-only: prints the selected ids as pytest does. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "runner.h"
#include "select.h"

static const char *id_at(const mg_selection *s, size_t i) { return s->ids[s->indices[i]]; }

static bool same_function(const char *a, const char *b) {
    size_t length = strcspn(a, "[");
    return !strncmp(a, b, length) && b[length] == '[';
}

/* Calls `print` for each function with the positions of its cases in `order` (count of them). */
typedef bool print_function(const mg_selection *s, const char *name, const uint32_t *order, size_t count);

static bool each_function(const mg_selection *s, print_function *print) {
    bool ok = true;
    uint32_t *order = malloc((s->count + 1) * sizeof *order);
    char *done = calloc(s->count + 1, 1);
    for (size_t i = 0; ok && order && done && i < s->count; i++) {
        if (done[i]) continue;
        size_t count = 0;
        for (size_t j = i; j < s->count; j++)
            if (!done[j] && same_function(id_at(s, i), id_at(s, j))) {
                done[j] = 1;
                order[count++] = (uint32_t)j;
            }
        char name[MG_ID_SIZE];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(id_at(s, i), "["), id_at(s, i));
        ok = print(s, name, order, count);
    }
    ok = ok && order && done;
    free(order);
    free(done);
    return ok;
}

static bool print_count(const mg_selection *s, const char *name, const uint32_t *order, size_t count) {
    (void)s, (void)order;
    return printf("%s: %zu\n", name, count) > 0;
}

static bool print_tree(const mg_selection *s, const char *name, const uint32_t *order, size_t count) {
    if (printf("<Function %s>\n", name) < 0) return false;
    for (size_t i = 0; i < count; i++)
        if (printf("  <Case %s>\n", id_at(s, order[i]) + strlen(name)) < 0) return false;
    return true;
}

static bool print_ids(const mg_selection *s) {
    for (size_t i = 0; i < s->count; i++)
        if (fputs(id_at(s, i), stdout) < 0 || putchar('\n') < 0) return false;
    return true;
}

static bool print_opening(const mg_selection *s) {
    if (printf("collected %zu item%s", s->collected, s->collected == 1 ? "" : "s") < 0) return false;
    if (s->deselected && printf(" / %zu deselected / %zu selected", s->deselected, s->count) < 0)
        return false;
    return printf("\n%s%s\n", s->note, *s->note ? "\n" : "") > 0;
}

/* A title in a line of 80 '='. */
static bool print_rule(const char *title) {
    int room = 80 - (int)strlen(title) - 2, left = room / 2, right = room - left;
    static const char rule[] =
        "================================================================================";
    return printf("%.*s %s %.*s\n", left, rule, title, right, rule) > 0;
}

static bool print_all(int verbosity, const mg_selection *s, const char *summary) {
    if (verbosity < -1) return each_function(s, print_count) && putchar('\n') > 0;
    if (verbosity == -1) return print_ids(s) && printf("\n%s\n", summary) > 0;
    return print_opening(s) && each_function(s, print_tree) && (!s->count || putchar('\n') > 0) &&
           print_rule(summary);
}

int mg_collect(const mg_options *options, const mg_cases *cases, const mg_selection *s, double seconds) {
    (void)cases;
    char summary[MG_ERROR_SIZE], text[MG_ERROR_SIZE + 32];
    mg_selection_summary(s, summary);
    snprintf(text, sizeof text, "%s in %.2fs", summary, seconds);
    signal(SIGPIPE, SIG_IGN); /* `| head` has read enough: no error, and no death by signal either */
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    bool ok = print_all(options->verbosity, s, text) && !fflush(stdout);
    if (!ok && errno != EPIPE) {
        fprintf(stderr, "ERROR: cannot write to standard output: %s\n", strerror(errno));
        return MG_EXIT_INTERNAL;
    }
    return s->count ? MG_EXIT_OK : MG_EXIT_EMPTY;
}

int mg_list_main(int argc, char **argv) {
    double begun = mg_now();
    mg_options options;
    mg_cases cases = {0};
    mg_selection selection = {0};
    char error[MG_ERROR_SIZE];
    int code;
    if (mg_options_parse(&options, argc, argv, error)) return mg_options_fail("list", error);
    if (options.action == MG_ACTION_HELP) return mg_options_help("list"), MG_EXIT_OK;
    if (options.action == MG_ACTION_VERSION) return mg_options_version(), MG_EXIT_OK;
    if (mg_cases_new(&cases)) {
        fprintf(stderr, "ERROR: out of memory for the case table\n");
        code = MG_EXIT_INTERNAL;
    } else if (mg_select(&selection, &options, &cases, error)) {
        code = mg_options_fail("list", error);
    } else {
        code = mg_collect(&options, &cases, &selection, mg_now() - begun);
    }
    mg_selection_free(&selection);
    mg_cases_free(&cases);
    return code;
}
