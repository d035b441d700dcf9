/* doctor.c: `moegemm doctor`: what this machine can run, and the fix for what is missing. */
#include <dirent.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/build.h"
#include "golden.h"
#include "commands.h"
#include "doctor.h"
#include "options.h"

enum { MIB = 1 << 20, GIB = 1 << 30, LINE_SIZE = 256 };

static void row(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void row(const char *name, const char *format, ...) {
    va_list arguments;
    printf("%-11s ", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

/* --- where kernels run --- */

static bool show_devices(void) {
    char why[GG_REASON_SIZE], error[GG_ERROR_SIZE];
    gg_backend *backend;
    if (!gg_cuda_available(why)) {
        row("GPU", "%s", why);
        return false;
    }
    int ordinal = 0;
    for (; !gg_cuda_backend.open(&backend, ordinal, error); ordinal++) {
        const gg_device *d = gg_cuda_backend.device(backend);
        row(ordinal ? "" : "GPU", "%d: %s, compute capability %d.%d, %d multiprocessors, %llu GiB, driver %s",
            ordinal, d->name, d->cc / 10, d->cc % 10, d->sm_count,
            (unsigned long long)(d->memory + GIB / 2) / GIB, d->driver);
        gg_cuda_backend.close(backend);
    }
    if (!ordinal) row("GPU", "%s", error);
    return ordinal > 0;
}

static bool show_compiler(const char *name, void (*version_of)(char[128]), const char *fix) {
    char version[128];
    version_of(version);
    row(name, "%s", *version ? version : fix);
    return *version;
}

static void show_simulator(void) {
    char error[GG_ERROR_SIZE];
    gg_backend *backend;
    if (gg_sim_backend.open(&backend, 0, error)) {
        row("simulator", "%s", error);
        return;
    }
    const gg_device *d = gg_sim_backend.device(backend);
    row("simulator", "%s, compute capability %d.%d, %d multiprocessors", d->name, d->cc / 10, d->cc % 10,
        d->sm_count);
    gg_sim_backend.close(backend);
}

/* --- folders --- */

typedef struct usage {
    size_t files;
    off_t bytes;
} usage;

static void add_usage(const char *path, usage *total) {
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *item; (item = readdir(dir));) {
        char inner[GG_PATH_SIZE];
        struct stat info;
        if (!strcmp(item->d_name, ".") || !strcmp(item->d_name, "..") ||
            snprintf(inner, sizeof inner, "%s/%s", path, item->d_name) >= (int)sizeof inner ||
            lstat(inner, &info))
            continue;
        if (S_ISDIR(info.st_mode)) {
            add_usage(inner, total);
        } else {
            total->files++;
            total->bytes += info.st_size;
        }
    }
    closedir(dir);
}

static void show_folder(const char *name, const char *path, const char *absent) {
    usage total = {0};
    add_usage(path, &total);
    if (total.files)
        row(name, "%s: %zu files, %.1f MiB", path, total.files, (double)total.bytes / MIB);
    else
        row(name, "%s: %s", path, absent);
}

static void show_cache(const char *cache_dir) {
    char path[GG_PATH_SIZE + 16];
    bool there = !access(cache_dir, F_OK);
    const char *state = there && access(cache_dir, W_OK)
                            ? "cannot be written (set MOEGEMM_CACHE to another folder)"
                            : "empty";
    show_folder("cache", cache_dir, state);
    if (!there) return;
    snprintf(path, sizeof path, "%s/kernels", cache_dir);
    show_folder("  kernels", path, "none built yet");
    snprintf(path, sizeof path, "%s/golden", cache_dir);
    show_folder("  goldens", path, "none generated yet");
    snprintf(path, sizeof path, "%s/tuned.tsv", cache_dir);
    row("  tuning", "%s: %s", path, access(path, R_OK) ? "nothing tuned yet" : "present");
}

static void show_python(void) {
    const char *python = getenv("MOEGEMM_PYTHON");
    char command[GG_PATH_SIZE], line[LINE_SIZE] = "";
    snprintf(command, sizeof command,
             "'%s' -c 'import sys, numpy; print(f\"{sys.version.split()[0]}, NumPy {numpy.__version__}\")' "
             "2>/dev/null",
             python ? python : "python3");
    FILE *pipe = popen(command, "r");
    bool found = pipe && fgets(line, sizeof line, pipe);
    if (pipe) pclose(pipe);
    line[strcspn(line, "\n")] = 0;
    row("Python", "%s",
        found ? line : "no python3 with NumPy; needed only to generate goldens (run_tests.sh makes one)");
}

/* --- command --- */

static int report(const char *cache_dir) {
    bool gpu = show_devices();
    bool nvrtc = show_compiler("NVRTC", gg_cuda_compiler_version,
                               "not found: install the CUDA toolkit's NVRTC, or set CUDA_HOME");
    show_simulator();
    bool sim = show_compiler("  compiler", gg_sim_compiler_version,
                             "not found: install gcc, the simulator compiles with it");
    show_cache(cache_dir);
    show_folder("golden", mg_golden_default_dir(), "not there: set MOEGEMM_GOLDEN to the repository's");
    show_python();
    bool cuda = gpu && nvrtc;
    printf("\n%s\n", cuda  ? "kernels run on the GPU"
                     : sim ? "kernels run on the simulator"
                           : "nothing here runs kernels: install gcc, or a GPU's driver with NVRTC");
    return cuda || sim ? MG_EXIT_OK : MG_EXIT_FAILED;
}

int mg_doctor_fail(const char *error) {
    fprintf(stderr, "moegemm doctor: error: %s (see 'moegemm doctor --help')\n", error);
    return MG_EXIT_USAGE;
}

static void help(void) {
    printf("usage: moegemm doctor [--cache-dir DIR]\n"
           "       moegemm doctor --compile [--arch LIST] [--every] [--cache-dir DIR]\n\n"
           "Says what this machine can run and the fix for what is missing; with --compile, builds kernels "
           "without a GPU.\n\n"
           "  --compile        build every set of flags and every config once\n"
           "  --arch LIST      for these: sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_120a,sim (default: "
           "sm_80,sm_90a,sm_100a,sm_120a)\n"
           "  --every          build every set of flags with every config (hours)\n"
           "  --cache-dir DIR  default: $MOEGEMM_CACHE, else ~/.cache/moegemm\n");
}

int mg_doctor_main(int argc, char **argv) {
    static const struct option options[] = {
        {"compile", no_argument, NULL, 'c'}, {"arch", required_argument, NULL, 'a'},
        {"every", no_argument, NULL, 'e'},   {"cache-dir", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},    {0}};
    const char *archs = NULL, *cache = NULL;
    bool compile = false, every = false;
    char cache_dir[GG_PATH_SIZE], error[GG_ERROR_SIZE];
    optind = 0; /* another command may have parsed before */
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "+:h", options, NULL)) != -1;) {
        switch (option) {
        case 'c': compile = true; break;
        case 'a': archs = optarg; break;
        case 'e': every = true; break;
        case 'd': cache = optarg; break;
        case 'h': help(); return MG_EXIT_OK;
        default:
            snprintf(error, MG_ERROR_SIZE, "%s '%s'",
                     option == ':' ? "missing value after" : "unknown option", argv[optind - 1]);
            return mg_doctor_fail(error);
        }
    }
    if (optind < argc) {
        snprintf(error, MG_ERROR_SIZE, "unexpected argument '%s'", argv[optind]);
        return mg_doctor_fail(error);
    }
    if ((archs || every) && !compile) return mg_doctor_fail("--arch and --every go with --compile");
    if (gg_cache_dir(cache, cache_dir, error)) {
        fprintf(stderr, "moegemm doctor: error: %s\n", error);
        return MG_EXIT_INTERNAL;
    }
    return compile ? mg_doctor_compile(archs, every, cache_dir) : report(cache_dir);
}
