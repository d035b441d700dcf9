/* cuda_compile.c: device source to cubin with NVRTC; needs no device and no CUDA headers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_api.h"

/* Given to every kernel; part of the version line, so that a change of options changes every digest. Line
 * numbers serve the profiler and the memory checker; no option relaxes floating-point rules. */
#define FIXED_OPTIONS "--std=c++17", "--generate-line-info"

enum { MAX_OPTIONS = 64, MAX_HEADERS = 128 };

typedef struct option_list {
    const char *items[MAX_OPTIONS];
    int count;
    char text[GG_MACROS_SIZE + 4 * MAX_OPTIONS];
    size_t used;
} option_list;

void gg_cuda_compiler_version(char version[128]) {
    static const char *const options[] = {FIXED_OPTIONS};
    char why[GG_REASON_SIZE];
    nvrtc compiler;
    int major, minor;
    version[0] = 0;
    if (!nvrtc_load(&compiler, why) || compiler.version(&major, &minor)) return;
    size_t used = (size_t)snprintf(version, 128, "NVRTC %d.%d", major, minor);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        used += (size_t)snprintf(version + used, 128 - used, " %s", options[i]);
}

static bool add_option(option_list *list, const char *prefix, const char *text, size_t length) {
    size_t room = sizeof list->text - list->used;
    if (list->count == MAX_OPTIONS || strlen(prefix) + length + 1 > room) return false;
    list->items[list->count++] = list->text + list->used;
    list->used += (size_t)snprintf(list->text + list->used, room, "%s%.*s", prefix, (int)length, text) + 1;
    return true;
}

static bool add_macros(option_list *list, const char *macros) {
    for (const char *at = macros; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (!add_option(list, "-D", at, length)) return false;
        at += length;
    }
    return true;
}

static gg_status write_file(const char *path, const void *data, size_t size, char error[GG_ERROR_SIZE]) {
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(data, 1, size, file) == size;
    if (file) ok = !fclose(file) && ok;
    if (ok) return GG_OK;
    snprintf(error, GG_ERROR_SIZE, "cannot write '%s': %s (set MOEGEMM_CACHE to a folder with room)", path,
             strerror(errno));
    return GG_ERR_IO;
}

static void copy_log(const nvrtc *compiler, nvrtc_program program, char error[GG_ERROR_SIZE]) {
    size_t size = 0;
    char *log = NULL;
    if (!compiler->log_size(program, &size) && size && (log = malloc(size)) && !compiler->log(program, log))
        snprintf(error, GG_ERROR_SIZE, "%s", log);
    free(log);
}

gg_status gg_cuda_compile(const gg_source *source, const gg_target *target, const char *out_path,
                          char error[GG_ERROR_SIZE]) {
    static const char *const fixed[] = {FIXED_OPTIONS};
    const char *root = NULL, *names[MAX_HEADERS], *texts[MAX_HEADERS];
    int headers = 0;
    option_list options = {0};
    nvrtc compiler;
    nvrtc_program program = NULL;
    nvrtc_result result;
    size_t size;
    char *cubin = NULL;
    char why[GG_REASON_SIZE];
    gg_status status = GG_ERR_COMPILE;

    error[0] = 0;
    if (!nvrtc_load(&compiler, why)) {
        snprintf(error, GG_ERROR_SIZE, "%s", why);
        return GG_ERR_COMPILE;
    }
    for (const gg_source_file *file = source->files; file->name; file++) {
        if (!strcmp(file->name, source->root)) {
            root = file->text;
        } else if (headers < MAX_HEADERS) {
            names[headers] = file->name;
            texts[headers++] = file->text;
        }
    }
    if (!root) {
        snprintf(error, GG_ERROR_SIZE, "no device source '%s'", source->root);
        return GG_ERR_ARGUMENT;
    }
    bool fits = add_option(&options, "--gpu-architecture=", target->arch, strlen(target->arch)) &&
                add_macros(&options, source->macros) &&
                (!source->debug || add_macros(&options, "GG_DEBUG=1"));
    for (size_t i = 0; fits && i < sizeof fixed / sizeof *fixed; i++)
        fits = add_option(&options, "", fixed[i], strlen(fixed[i]));
    if (!fits) {
        snprintf(error, GG_ERROR_SIZE, "too many macros for '%s'", source->root);
        return GG_ERR_ARGUMENT;
    }

    if ((result = compiler.create(&program, root, source->root, headers, texts, names))) goto out;
    if ((result = compiler.compile(program, options.count, options.items))) goto out;
    if ((result = compiler.cubin_size(program, &size))) goto out;
    if (!(cubin = malloc(size))) {
        snprintf(error, GG_ERROR_SIZE, "out of memory for the cubin of '%s'", source->root);
        status = GG_ERR_MEMORY;
        goto out;
    }
    if ((result = compiler.cubin(program, cubin))) goto out;
    status = write_file(out_path, cubin, size, error);
out:
    if (result && program) copy_log(&compiler, program, error);
    if (result && !error[0])
        snprintf(error, GG_ERROR_SIZE, "'%s' for %s: %s", source->root, target->arch,
                 compiler.error_string(result));
    if (program) compiler.destroy(&program);
    free(cubin);
    return status;
}
