/* compile.c: builds a kernel for the simulator: the C compiler makes a shared object of it. */
#include "sim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { FOLDER_SIZE = GG_PATH_SIZE / 2 };

/* -ffp-contract=off: mul_f32 and add_f32 round once each; -fno-strict-aliasing, -fwrapv: as nvcc, which also refuses what
 * is not declared or of another type; plain file names come from compiling inside the sources' folder. */
static const char *const flags[] = {
    "cc",
    "-x",
    "c",
    "-std=gnu17",
    "-shared",
    "-fPIC",
    "-O2",
    "-g",
    "-Wall",
    "-Wno-unused",
    "-Wno-psabi",
    "-Wno-unknown-pragmas",
    "-Werror=implicit",
    "-Werror=int-conversion",
    "-Werror=incompatible-pointer-types",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-fvisibility=hidden",
};

/* Besides, for race mode: plain accesses call the hooks of sim_device.h, which stand for the sanitizer's runtime;
 * variables that nothing has set hold a pattern. -nodefaultlibs keeps that runtime out. */
static const char *const race_flags[] = {
    "-fsanitize=thread",
    "--param",
    "tsan-instrument-func-entry-exit=0",
    "-ftrivial-auto-var-init=pattern",
    "-nodefaultlibs",
    "-DSIM_RACE=1",
};

/* Runs `arguments` in `folder`; what it prints goes to `output`, cut at its size. Its exit status, or -1. */
static int run(const char *const *arguments, const char *folder, char *output, size_t size) {
    int ends[2], status = -1;
    pid_t child = -1;
    posix_spawn_file_actions_t actions;
    size_t used = 0;
    char rest[512];
    output[0] = '\0';
    if (pipe2(ends, O_CLOEXEC)) return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    if (folder) posix_spawn_file_actions_addchdir_np(&actions, folder);
    int failed = posix_spawnp(&child, arguments[0], &actions, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    for (ssize_t got = 1; !failed && got > 0;) { /* to the end, so that the child never blocks */
        bool keep = used + 1 < size;
        got = read(ends[0], keep ? output + used : rest, keep ? size - 1 - used : sizeof rest);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0 && keep)
            used += (size_t)got;
    }
    output[used] = '\0';
    close(ends[0]);
    if (failed) return -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) && WEXITSTATUS(status) != 127 ? WEXITSTATUS(status) : -1; /* 127: not found */
}

/* A process meets one compiler: every digest asks for its version, and asking takes 4 ms. */
static pthread_once_t version_once = PTHREAD_ONCE_INIT;
static char version_line[128];

static void read_version(void) {
    const char *const arguments[] = {flags[0], "--version", NULL};
    if (run(arguments, NULL, version_line, sizeof version_line)) version_line[0] = '\0';
    version_line[strcspn(version_line, "\n")] = '\0';
}

void gg_sim_compiler_version(char version[128]) {
    pthread_once(&version_once, read_version);
    memcpy(version, version_line, sizeof version_line);
}

static gg_status write_file(const char *folder, const gg_source_file *file, char error[GG_ERROR_SIZE]) {
    char path[GG_PATH_SIZE];
    if (strchr(file->name, '/')) {
        snprintf(error, GG_ERROR_SIZE, "source name with a slash: '%s'", file->name);
        return GG_ERR_ARGUMENT;
    }
    snprintf(path, sizeof path, "%s/%s", folder, file->name);
    FILE *out = fopen(path, "w");
    bool ok = out && fputs(file->text, out) >= 0;
    if (out) ok = fclose(out) == 0 && ok;
    if (ok) return GG_OK;
    snprintf(error, GG_ERROR_SIZE, "cannot write '%s': %s", path, strerror(errno));
    return GG_ERR_IO;
}

static void remove_folder(const char *folder) {
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        unlinkat(dirfd(directory), entry->d_name, 0); /* "." and ".." refuse */
    if (directory) closedir(directory);
    rmdir(folder);
}

/* The command line, ended by NULL: flags, "-DNAME=VALUE" for each macro, target and root. Owns the macros'
 * text, which lies behind the pointers; NULL if out of memory. */
static const char **make_arguments(const gg_source *source, bool race, const char *target) {
    const char *const tail[] = {"-o", target, source->root, "-lm", "-lc", "-lgcc", NULL};
    size_t extra = race ? sizeof race_flags / sizeof *race_flags : 0;
    size_t fixed = sizeof flags / sizeof *flags, length = strlen(source->macros), most = length / 2 + 1;
    size_t pointers = (fixed + extra + most + 1 + sizeof tail / sizeof *tail) * sizeof(char *);
    const char **arguments = malloc(pointers + length + 2 * most + 1);
    if (!arguments) return NULL;
    size_t count = fixed + extra;
    memcpy(arguments, flags, sizeof flags);
    if (race) memcpy(arguments + fixed, race_flags, sizeof race_flags);
    char *text = (char *)arguments + pointers;
    for (const char *word = source->macros; *word;) {
        size_t size = strcspn(word, " ");
        if (size) {
            arguments[count++] = text;
            text += sprintf(text, "-D%.*s", (int)size, word) + 1;
        }
        word += size + (word[size] == ' ');
    }
    if (source->debug) arguments[count++] = "-DGG_DEBUG=1";
    memcpy(arguments + count, tail, sizeof tail);
    return arguments;
}

gg_status gg_sim_compile(const gg_source *source, const gg_target *built_for, const char *out_path,
                         char error[GG_ERROR_SIZE]) {
    gg_status status = GG_OK;
    const char *base = getenv("TMPDIR"), **arguments = NULL;
    char folder[FOLDER_SIZE], target[PATH_MAX], cwd[PATH_MAX] = "";
    int code;
    error[0] = '\0';
    if (out_path[0] != '/' && !getcwd(cwd, sizeof cwd)) cwd[0] = '\0';
    if ((size_t)snprintf(target, sizeof target, "%s%s%s", cwd, *cwd ? "/" : "", out_path) >= sizeof target) {
        snprintf(error, GG_ERROR_SIZE, "path too long: '%.1024s'", out_path);
        return GG_ERR_ARGUMENT;
    }
    snprintf(folder, sizeof folder, "%s/moegemm-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        snprintf(error, GG_ERROR_SIZE, "cannot make a folder '%s': %s (set TMPDIR)", folder, strerror(errno));
        return GG_ERR_IO;
    }
    for (const gg_source_file *file = source->files; file->name; file++)
        if ((status = write_file(folder, file, error))) goto out;
    if (!(arguments = make_arguments(source, !strcmp(built_for->arch, "sim_race"), target))) {
        snprintf(error, GG_ERROR_SIZE, "out of memory for the compiler's arguments");
        status = GG_ERR_MEMORY;
        goto out;
    }
    code = run(arguments, folder, error, GG_ERROR_SIZE);
    if (code == -1) snprintf(error, GG_ERROR_SIZE, "cannot run the C compiler 'cc': install gcc");
    if (code)
        status = GG_ERR_COMPILE;
    else
        error[0] = '\0'; /* warnings */
out:
    remove_folder(folder);
    free(arguments);
    return status;
}

void gg_sim_source_line(const void *pc, char *text, size_t size) {
    Dl_info info;
    char address[32];
    snprintf(text, size, "%p", pc);
    if (!dladdr(pc, &info) || !info.dli_fname) return;
    /* a return address: the call before it */
    snprintf(address, sizeof address, "0x%tx", (const char *)pc - 1 - (const char *)info.dli_fbase);
    const char *const arguments[] = {"addr2line", "-s", "-e", info.dli_fname, address, NULL};
    char output[256];
    if (run(arguments, NULL, output, sizeof output) || output[0] == '?') return;
    snprintf(text, size, "%.*s", (int)strcspn(output, " \n"), output);
}
