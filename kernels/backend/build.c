/* build.c: the on-disk cache of compiled kernels: cache_dir/kernels/<digest>.cubin or .so, made once, checked
 * on use. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "backend/build.h"

enum {
    TRAILER_SIZE = 24, /* magic, then the XXH3-128 of what precedes */
    TEMPORARY_SECONDS =
        60 * 60,     /* no compiler runs that long: an older temporary file is a killed process's */
    FOLDER_ROOM = 64 /* of a path, for "/kernels/", digest and suffix */
};
static const char trailer_magic[8] = "ggkernel"; /* no NUL */
static const char temporary_mark[] = ".tmp-";

/* About 10,000 kernels; the cache is cut to half of it, oldest use first, when it grows past. */
#define CACHE_BYTES ((off_t)2 << 30)

/* --- digest --- */

static void add_text(XXH3_state_t *state, const char *text) {
    XXH3_128bits_update(state, text, strlen(text) + 1); /* the NUL keeps "ab" "c" from equalling "a" "bc" */
}

static void compiler_version(const gg_target *target, char version[128]) {
    if (!strncmp(target->arch, "sim", 3))
        gg_sim_compiler_version(version);
    else
        gg_cuda_compiler_version(version);
}

gg_status gg_source_digest(const gg_source *source, const gg_target *target, char digest[GG_DIGEST_SIZE]) {
    char version[128] = "";
    unsigned char bytes[sizeof(XXH128_canonical_t)];
    XXH3_state_t *state = XXH3_createState();
    if (!state) return GG_ERR_MEMORY;
    compiler_version(target, version);
    XXH3_128bits_reset(state);
    for (const gg_source_file *file = source->files; file->name; file++) {
        add_text(state, file->name);
        add_text(state, file->text);
    }
    add_text(state, source->root);
    add_text(state, source->macros);
    add_text(state, source->debug ? "debug" : "");
    add_text(state, target->arch);
    add_text(state, version);
    XXH128_canonicalFromHash((XXH128_canonical_t *)bytes, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(digest + 2 * i, 3, "%02x", bytes[i]);
    return GG_OK;
}

/* --- files --- */

static gg_status file_fault(const char *verb, const char *path, char error[GG_ERROR_SIZE]) {
    snprintf(error, GG_ERROR_SIZE,
             "cannot %s '%s': %s (set MOEGEMM_CACHE to a folder that can be written and has room)", verb,
             path, strerror(errno));
    return GG_ERR_IO;
}

bool gg_make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int result = mkdir(path, 0777);
        *slash = '/';
        if (result && errno != EEXIST) return false;
    }
    return !mkdir(path, 0777) || errno == EEXIST;
}

static bool make_trailer(int fd, off_t size, unsigned char trailer[TRAILER_SIZE]) {
    enum { CHUNK = 1 << 16 };
    XXH3_state_t *state = XXH3_createState();
    unsigned char *chunk = malloc(CHUNK);
    off_t at = 0;
    if (state && chunk) {
        ssize_t got;
        XXH3_128bits_reset(state);
        while (at < size &&
               (got = pread(fd, chunk, size - at < CHUNK ? (size_t)(size - at) : CHUNK, at)) > 0) {
            XXH3_128bits_update(state, chunk, (size_t)got);
            at += got;
        }
        memcpy(trailer, trailer_magic, sizeof trailer_magic);
        XXH128_canonicalFromHash((XXH128_canonical_t *)(trailer + sizeof trailer_magic),
                                 XXH3_128bits_digest(state));
    }
    XXH3_freeState(state);
    free(chunk);
    return state && chunk && at == size;
}

/* Both loaders ignore what follows the image, so the seal can live in the file itself. */
static gg_status seal(const char *path, char error[GG_ERROR_SIZE]) {
    unsigned char trailer[TRAILER_SIZE];
    struct stat info;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool ok = fd >= 0 && !fstat(fd, &info) && make_trailer(fd, info.st_size, trailer) &&
              pwrite(fd, trailer, TRAILER_SIZE, info.st_size) == TRAILER_SIZE;
    if (fd >= 0) ok = !close(fd) && ok;
    return ok ? GG_OK : file_fault("write", path, error);
}

/* Is the file there, whole and unchanged? Marks it as used, for the order of removal. */
static bool is_sealed(const char *path) {
    unsigned char found[TRAILER_SIZE], expected[TRAILER_SIZE];
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && !fstat(fd, &info) && info.st_size > TRAILER_SIZE &&
              pread(fd, found, TRAILER_SIZE, info.st_size - TRAILER_SIZE) == TRAILER_SIZE &&
              make_trailer(fd, info.st_size - TRAILER_SIZE, expected) &&
              !memcmp(found, expected, TRAILER_SIZE);
    if (ok) futimens(fd, NULL); /* fails on a cache shared read-only, which is never cut either */
    if (fd >= 0) close(fd);
    return ok;
}

/* --- size --- */

typedef struct entry {
    char name[GG_DIGEST_SIZE + 32];
    struct timespec used;
    off_t size;
} entry;

static int by_use(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* Best effort: a cache that cannot be cut is no fault of the kernel just built. */
void gg_cache_cut(const char *folder, off_t limit) {
    entry *entries = NULL;
    size_t count = 0, capacity = 0;
    off_t total = 0;
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *item; (item = readdir(dir));) {
        struct stat info;
        if (strlen(item->d_name) >= sizeof entries->name || fstatat(dirfd(dir), item->d_name, &info, 0) ||
            !S_ISREG(info.st_mode))
            continue;
        if (strstr(item->d_name, temporary_mark)) {
            if (time(NULL) - info.st_mtime > TEMPORARY_SECONDS) unlinkat(dirfd(dir), item->d_name, 0);
            continue;
        }
        if (count == capacity) {
            size_t more = capacity ? 2 * capacity : 256;
            entry *grown = realloc(entries, more * sizeof *entries);
            if (!grown) break;
            entries = grown;
            capacity = more;
        }
        entries[count] = (entry){.used = info.st_mtim, .size = info.st_size};
        strcpy(entries[count++].name, item->d_name);
        total += info.st_size;
    }
    if (total > limit) {
        qsort(entries, count, sizeof *entries, by_use);
        for (size_t i = 0; i < count && total > limit / 2; i++)
            if (!unlinkat(dirfd(dir), entries[i].name, 0)) total -= entries[i].size;
    }
    closedir(dir);
    free(entries);
}

/* A compiler that ran out of room says so in its own words, if at all. */
static bool is_full(const char *folder) {
    const unsigned long long largest = 256 * 1024; /* of a kernel's files seen */
    struct statvfs info;
    return !statvfs(folder, &info) && (unsigned long long)info.f_bavail * info.f_frsize < largest;
}

/* --- building --- */

static bool for_sim(const gg_target *target) { return !strncmp(target->arch, "sim", 3); }

/* Where a kernel is, built or not, and the folder it is in. */
static gg_status place_of(const gg_source *source, const gg_target *target, const char *cache_dir,
                          char folder[GG_PATH_SIZE], char path[GG_PATH_SIZE], char error[GG_ERROR_SIZE]) {
    char digest[GG_DIGEST_SIZE];
    if (strlen(cache_dir) + FOLDER_ROOM > GG_PATH_SIZE) {
        snprintf(error, GG_ERROR_SIZE, "path of the cache folder too long (set MOEGEMM_CACHE): '%.64s...'",
                 cache_dir);
        return GG_ERR_IO;
    }
    gg_status status = gg_source_digest(source, target, digest);
    if (status) return status;
    snprintf(folder, GG_PATH_SIZE, "%s/kernels", cache_dir);
    snprintf(path, GG_PATH_SIZE, "%.*s/%s.%s", GG_PATH_SIZE - FOLDER_ROOM, folder, digest,
             for_sim(target) ? "so" : "cubin");
    return GG_OK;
}

bool gg_is_built(const gg_source *source, const gg_target *target, const char *cache_dir) {
    char folder[GG_PATH_SIZE], path[GG_PATH_SIZE], error[GG_ERROR_SIZE];
    return !place_of(source, target, cache_dir, folder, path, error) && is_sealed(path);
}

gg_status gg_build(const gg_source *source, const gg_target *target, const char *cache_dir,
                   char path[GG_PATH_SIZE], bool *compiled, char error[GG_ERROR_SIZE]) {
    char folder[GG_PATH_SIZE], temporary[GG_PATH_SIZE + FOLDER_ROOM];
    error[0] = 0;
    if (compiled) *compiled = false;
    gg_status status = place_of(source, target, cache_dir, folder, path, error);
    if (status || is_sealed(path)) return status;

    if (!gg_make_folders(folder)) return file_fault("make the folder", folder, error);
    snprintf(temporary, sizeof temporary, "%s%sXXXXXX", path, temporary_mark);
    int fd = mkstemp(temporary);
    if (fd < 0) return file_fault("write", temporary, error);
    fchmod(fd, 0644); /* users may share a cache */
    close(fd);
    status = for_sim(target) ? gg_sim_compile(source, target, temporary, error)
                             : gg_cuda_compile(source, target, temporary, error);
    if (status == GG_ERR_COMPILE && is_full(folder)) {
        errno = ENOSPC;
        status = file_fault("write", temporary, error);
    }
    if (!status) status = seal(temporary, error);
    if (!status && rename(temporary, path)) status = file_fault("write", path, error);
    if (status) {
        unlink(temporary);
        return status;
    }
    if (compiled) *compiled = true;
    gg_cache_cut(folder, CACHE_BYTES);
    return GG_OK;
}
