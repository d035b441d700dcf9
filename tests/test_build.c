/* test_build.c: the kernel cache: what a digest covers, what is rebuilt, and what every fault on the disk
 * says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/build.h"

/* The simulator's compiler takes any C; the shipped kernels are compiled by other tests. */
static const gg_source_file files[] = {
    {"value.h", "#define BASE 40\n"},
    {"root.cu", "#include \"value.h\"\nint answer(void) { return BASE + ADD; }\n"},
    {"broken.cu", "int answer(void) { return missing_name; }\n"},
    {NULL, NULL}};
static const gg_target sim = {"sim"};
static const gg_source good = {.files = files, .root = "root.cu", .macros = "ADD=2"};
static const gg_source bad = {.files = files, .root = "broken.cu", .macros = ""};

typedef struct fixture {
    char dir[64], folder[96], path[GG_PATH_SIZE], error[GG_ERROR_SIZE];
    bool compiled;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/moegemm-build-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->folder, sizeof f->folder, "%s/cache/kernels", f->dir);
    strcat(f->dir, "/cache"); /* gg_build makes it */
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%.*s'", (int)(strlen(f->dir) - strlen("/cache")), f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static gg_status build(fixture *f, const gg_source *source) {
    return gg_build(source, &sim, f->dir, f->path, &f->compiled, f->error);
}

static int count_files(const char *folder) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *item; dir && (item = readdir(dir));) count += item->d_name[0] != '.';
    if (dir) closedir(dir);
    return count;
}

/* --- digest --- */

static void digest_covers_everything(void **state) {
    (void)state;
    const gg_source_file copy[] = {{"value.h", "#define BASE 40\n"}, files[1], files[2], {NULL, NULL}};
    const gg_source_file text[] = {{"value.h", "#define BASE 41\n"}, files[1], files[2], {NULL, NULL}};
    const gg_source_file name[] = {{"value2.h", "#define BASE 40\n"}, files[1], files[2], {NULL, NULL}};
    const gg_source_file split[] = {{"value.h#", "define BASE 40\n"}, files[1], files[2], {NULL, NULL}};
    const struct {
        gg_source source;
        gg_target target;
    } rows[] = {
        {good, sim},
        {{text, "root.cu", "ADD=2", false}, sim},
        {{name, "root.cu", "ADD=2", false}, sim},
        {{split, "root.cu", "ADD=2", false}, sim},
        {{files, "broken.cu", "ADD=2", false}, sim},
        {{files, "root.cu", "ADD=3", false}, sim},
        {{files, "root.cu", "ADD=2", true}, sim},
        {good, {"sm_80"}},
        {good, {"sm_90a"}},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    char digests[ROWS][GG_DIGEST_SIZE], again[GG_DIGEST_SIZE];
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(gg_source_digest(&rows[i].source, &rows[i].target, digests[i]), GG_OK);
        assert_int_equal(strspn(digests[i], "0123456789abcdef"), GG_DIGEST_SIZE - 1);
        for (int j = 0; j < i; j++) assert_string_not_equal(digests[i], digests[j]);
    }
    const gg_source same = {copy, "root.cu", "ADD=2", false};
    assert_int_equal(gg_source_digest(&same, &sim, again), GG_OK);
    assert_string_equal(again, digests[0]);
}

/* --- building --- */

static void builds_once(void **state) {
    fixture *f = *state;
    assert_int_equal(build(f, &good), GG_OK);
    assert_true(f->compiled);
    assert_int_equal(access(f->path, R_OK), 0);
    assert_int_equal(build(f, &good), GG_OK);
    assert_false(f->compiled);
    assert_int_equal(count_files(f->folder), 1);
}

static void rebuilds_what_is_damaged(void **state) {
    fixture *f = *state;
    struct stat info;
    unsigned char byte;
    assert_int_equal(build(f, &good), GG_OK);
    assert_int_equal(stat(f->path, &info), 0);

    assert_int_equal(truncate(f->path, info.st_size - 1), 0);
    assert_int_equal(build(f, &good), GG_OK);
    assert_true(f->compiled);

    int fd = open(f->path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, info.st_size / 2), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, info.st_size / 2), 1);
    close(fd);
    assert_int_equal(build(f, &good), GG_OK);
    assert_true(f->compiled);

    assert_int_equal(truncate(f->path, 0), 0);
    assert_int_equal(build(f, &good), GG_OK);
    assert_true(f->compiled);
    assert_int_equal(build(f, &good), GG_OK);
    assert_false(f->compiled);
}

static void compile_error_is_shown_and_leaves_nothing(void **state) {
    fixture *f = *state;
    assert_int_equal(build(f, &bad), GG_ERR_COMPILE);
    assert_non_null(strstr(f->error, "missing_name"));
    assert_int_equal(count_files(f->folder), 0);
}

static void unusable_cache_names_the_fix(void **state) {
    fixture *f = *state;
    fclose(fopen(f->dir, "w")); /* a file where the folder should be: refuses root too */
    assert_int_equal(build(f, &good), GG_ERR_IO);
    assert_non_null(strstr(f->error, "MOEGEMM_CACHE"));
    assert_non_null(strstr(f->error, f->dir));
    assert_int_equal(unlink(f->dir), 0);
    assert_int_equal(build(f, &good), GG_OK);
}

static void long_cache_path_is_refused(void **state) {
    fixture *f = *state;
    char longest[GG_PATH_SIZE];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(gg_build(&good, &sim, longest, f->path, &f->compiled, f->error), GG_ERR_IO);
    assert_non_null(strstr(f->error, "too long"));
}

/* A limit on file sizes stands in for a full disk. */
static void full_disk_leaves_nothing(void **state) {
    fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){512, 512});
        _exit(build(f, &good) == GG_OK || !f->error[0] || count_files(f->folder));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(build(f, &good), GG_OK);
}

static void processes_may_build_the_same(void **state) {
    fixture *f = *state;
    enum { PROCESSES = 4 };
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) _exit(build(f, &good) != GG_OK);
    for (int i = 0, status; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_files(f->folder), 1);
    assert_int_equal(build(f, &good), GG_OK);
    assert_false(f->compiled);
}

static void note(const gg_build_job *job, size_t finished, void *data) {
    (void)job;
    *(size_t *)data = finished;
}

static void many_are_built_and_reported(void **state) {
    fixture *f = *state;
    size_t finished = 0;
    gg_build_job jobs[] = {
        {.source = good, .target = sim}, {.source = bad, .target = sim}, {.source = good, .target = sim}};
    jobs[2].source.macros = "ADD=5";
    assert_int_equal(gg_build_many(jobs, 3, f->dir, 2, note, &finished), GG_ERR_COMPILE);
    assert_int_equal(finished, 3);
    assert_int_equal(jobs[0].status, GG_OK);
    assert_int_equal(jobs[1].status, GG_ERR_COMPILE);
    assert_non_null(strstr(jobs[1].error, "missing_name"));
    assert_int_equal(jobs[2].status, GG_OK);
    assert_true(jobs[0].compiled && jobs[2].compiled);

    jobs[1].source.macros = jobs[2].source.macros;
    jobs[1].source.root = jobs[2].source.root;
    assert_int_equal(gg_build_many(jobs, 3, f->dir, 0, NULL, NULL), GG_OK);
    assert_false(jobs[0].compiled || jobs[1].compiled || jobs[2].compiled);
    assert_int_equal(gg_build_many(jobs, 0, f->dir, 0, NULL, NULL), GG_OK);
}

/* --- size --- */

static void make_file(const char *folder, const char *name, off_t size, time_t age) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    struct timespec times[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static bool exists(const char *folder, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return !access(path, F_OK);
}

static void the_oldest_go_first(void **state) {
    (void)state;
    char folder[] = "/tmp/moegemm-cut-XXXXXX", command[64];
    assert_non_null(mkdtemp(folder));
    make_file(folder, "a.so", 400, 40);
    make_file(folder, "b.so", 400, 10);
    make_file(folder, "c.so", 400, 30);
    make_file(folder, "d.so.tmp-new", 400, 60);
    make_file(folder, "e.so.tmp-old", 400, 7200);
    gg_cache_cut(folder, 1200);
    assert_true(exists(folder, "a.so") && exists(folder, "b.so") && exists(folder, "c.so"));
    assert_true(exists(folder, "d.so.tmp-new"));
    assert_false(exists(folder, "e.so.tmp-old"));
    gg_cache_cut(folder, 1199);
    assert_false(exists(folder, "a.so") || exists(folder, "c.so"));
    assert_true(exists(folder, "b.so"));
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void use_keeps_a_kernel(void **state) {
    fixture *f = *state;
    struct stat before, after;
    assert_int_equal(build(f, &good), GG_OK);
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, f->path, old, 0), 0);
    assert_int_equal(stat(f->path, &before), 0);
    assert_int_equal(build(f, &good), GG_OK);
    assert_int_equal(stat(f->path, &after), 0);
    assert_true(after.st_mtime > before.st_mtime);
}

/* --- cache folder, backends, NVRTC --- */

static void cache_folder_is_found(void **state) {
    (void)state;
    char path[GG_PATH_SIZE], error[GG_ERROR_SIZE];
    setenv("MOEGEMM_CACHE", "/from/environment", 1);
    setenv("HOME", "/home/somebody", 1);
    assert_int_equal(gg_cache_dir("/given", path, error), GG_OK);
    assert_string_equal(path, "/given");
    assert_int_equal(gg_cache_dir(NULL, path, error), GG_OK);
    assert_string_equal(path, "/from/environment");
    unsetenv("MOEGEMM_CACHE");
    assert_int_equal(gg_cache_dir(NULL, path, error), GG_OK);
    assert_string_equal(path, "/home/somebody/.cache/moegemm");
    unsetenv("HOME");
    assert_int_equal(gg_cache_dir(NULL, path, error), GG_ERR_IO);
    assert_non_null(strstr(error, "MOEGEMM_CACHE"));
}

static void backends_are_found_by_name(void **state) {
    (void)state;
    char why[GG_REASON_SIZE];
    assert_ptr_equal(gg_backend_find("sim"), &gg_sim_backend);
    assert_ptr_equal(gg_backend_find("cuda"), &gg_cuda_backend);
    assert_null(gg_backend_find("metal"));
    bool cuda = gg_cuda_available(why);
    assert_ptr_equal(gg_backend_find(NULL), cuda ? &gg_cuda_backend : &gg_sim_backend);
    assert_int_equal(cuda, !why[0]);
}

static void nvrtc_compiles_shipped_kernels(void **state) {
    fixture *f = *state;
    static const char *const archs[] = {"sm_80", "sm_90a", "sm_100a", "sm_120a"};
    char version[128], magic[4];
    gg_cuda_compiler_version(version);
    if (!*version) skip();
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        const gg_source reduce = {
            .files = gg_embedded_sources, .root = "reduce_topk.cu", .macros = "DTYPE=1"};
        gg_target target;
        snprintf(target.arch, sizeof target.arch, "%s", archs[i]);
        assert_int_equal(gg_build(&reduce, &target, f->dir, f->path, &f->compiled, f->error), GG_OK);
        FILE *file = fopen(f->path, "rb");
        assert_int_equal(fread(magic, 1, sizeof magic, file), sizeof magic);
        fclose(file);
        assert_memory_equal(magic, "\177ELF", sizeof magic);
    }
    const gg_target target = {"sm_90a"};
    assert_int_equal(gg_build(&bad, &target, f->dir, f->path, &f->compiled, f->error), GG_ERR_COMPILE);
    assert_non_null(strstr(f->error, "missing_name"));
    const gg_source absent = {.files = files, .root = "absent.cu", .macros = ""};
    assert_int_equal(gg_build(&absent, &target, f->dir, f->path, &f->compiled, f->error), GG_ERR_ARGUMENT);
    assert_non_null(strstr(f->error, "'absent.cu'"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(digest_covers_everything),     TEST(builds_once),
        TEST(rebuilds_what_is_damaged),     TEST(compile_error_is_shown_and_leaves_nothing),
        TEST(unusable_cache_names_the_fix), TEST(long_cache_path_is_refused),
        TEST(full_disk_leaves_nothing),     TEST(processes_may_build_the_same),
        TEST(many_are_built_and_reported),  TEST(the_oldest_go_first),
        TEST(use_keeps_a_kernel),           TEST(nvrtc_compiles_shipped_kernels),
        TEST(backends_are_found_by_name),   TEST(cache_folder_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
