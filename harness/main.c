/* main.c: the moegemm command: picks the subcommand. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "options.h"
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

static void on_signal(int signal) { (void)signal; }

/* What every command takes for granted. */
static void prepare_process(void) {
    int fd;
    /* else a file would become a standard stream that was closed, and take what is printed */
    do fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
    /* a write beyond `ulimit -f` fails like any other; by a handler, which children do not inherit */
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
}

/* Output that is lost is no success, unless whoever reads it has read enough. */
static int end(int code) {
    errno = ENOSPC; /* for an error that an earlier write met */
    const bool bad = ferror(stdout);
    if (!(fflush(stdout) || bad) || code == MG_EXIT_INTERNAL) return code;
    struct pollfd reader = {.fd = STDOUT_FILENO};
    if (poll(&reader, 1, 0) == 1 && reader.revents & POLLERR) return code;
    fprintf(stderr, "moegemm: error: cannot write to standard output: %s (free space)\n", strerror(errno));
    return MG_EXIT_INTERNAL;
}

static int dispatch(int argc, char **argv) {
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

int main(int argc, char **argv) {
    prepare_process();
    return end(dispatch(argc, argv));
}
