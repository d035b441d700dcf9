/* arguments.c: reads the command lines of the small subcommands. */
#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

enum { HELPED = -1, FAULTY = -2 };

int mg_arguments_fail(const mg_arguments *a, const char *error) {
    fflush(stdout);
    fprintf(stderr, "ERROR: %s\nusage: moegemm %s [OPTIONS] %s ('moegemm %s --help' lists the options)\n",
            error, a->command, a->usage, a->command);
    return MG_EXIT_USAGE;
}

static int fail_on(const mg_arguments *a, const char *fault, const char *word) {
    char error[256];
    snprintf(error, sizeof error, "%s '%.180s'", fault, word);
    mg_arguments_fail(a, error);
    return FAULTY;
}

static void help(const mg_arguments *a) {
    printf("usage: moegemm %s [OPTIONS] %s\n%s\n\n", a->command, a->usage, a->about);
    for (const mg_argument *row = a->table; row < a->table + a->count; row++) {
        int width = printf("  %s%s%s", row->name, row->value ? " " : "", row->value ? row->value : "");
        printf("%*s%s\n", width < 24 ? 24 - width : 1, "", row->help);
    }
}

int mg_arguments_read(const mg_arguments *a, int argc, char **argv) {
    int positional = 0;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i], *equals = strchr(word, '=');
        if (word[0] != '-' || !word[1]) {
            argv[1 + positional++] = word;
            continue;
        }
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            help(a);
            return HELPED;
        }
        size_t length = equals ? (size_t)(equals - word) : strlen(word), row = 0;
        while (row < a->count &&
               (strlen(a->table[row].name) != length || memcmp(a->table[row].name, word, length)))
            row++;
        if (row == a->count) return fail_on(a, "unknown option", word);
        if (!a->table[row].value) {
            if (equals) return fail_on(a, "no value belongs to", word);
            *a->table[row].text = a->table[row].name;
        } else if (equals || i + 1 < argc) {
            *a->table[row].text = equals ? equals + 1 : argv[++i];
            if (!**a->table[row].text) return fail_on(a, "empty value for", a->table[row].name);
        } else {
            return fail_on(a, "no value for", word);
        }
    }
    return positional;
}

int mg_arguments_status(int read) { return read == HELPED ? MG_EXIT_OK : MG_EXIT_USAGE; }

bool mg_argument_number(const char *text, long long least, long long most, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && !*end && !errno && *out >= least && *out <= most;
}
