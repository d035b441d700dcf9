/* main.c: the moegemm command: picks the subcommand. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "version.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
#define X(name, function, help) {name, function, help},
    MG_COMMANDS(X)
#undef X
};

static void usage(FILE *out) {
    fprintf(out, "usage: moegemm COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\n`moegemm COMMAND --help` lists the options of a command\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return 4;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("moegemm %s (%s)\n", MG_VERSION, MG_COMMIT);
        return 0;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "moegemm: error: unknown command '%s' (see 'moegemm --help')\n", argv[1]);
    return 4;
}
