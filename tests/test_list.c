/* test_list.c: what `moegemm list` prints, and how it ends: trees, ids, counts, a closed pipe, a full disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "case.h"
#include "commands.h"
#include "options.h"

static char output[1 << 16]; /* of the last `list`, its beginning */
static size_t num_cases;

static int set_up(void **state) {
    (void)state;
    mg_cases cases;
    if (mg_cases_new(&cases)) return -1;
    num_cases = cases.count;
    mg_cases_free(&cases);
    return 0;
}

/* Runs `list` with the arguments in a process of its own that writes to `out`; returns its exit status. */
static int list_to(int out, char *const *arguments) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        char *argv[8] = {"list"};
        int argc = 1;
        while (*arguments) argv[argc++] = *arguments++;
        if (dup2(out, STDOUT_FILENO) < 0 || !freopen("/dev/null", "w", stderr)) _exit(100);
        int status = mg_list_main(argc, argv);
        fflush(stdout); /* as the return from main does */
        _exit(status);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int list(char *const *arguments) {
    FILE *file = tmpfile();
    assert_non_null(file);
    int status = list_to(fileno(file), arguments);
    rewind(file);
    output[fread(output, 1, sizeof output - 1, file)] = 0;
    fclose(file);
    return status;
}
#define LIST(...) list((char *[]){__VA_ARGS__, NULL})

/* `output` is `expected`, in which '%' stands for the seconds. */
static void assert_output(const char *expected) {
    char *seconds = strstr(output, " in 0.");
    assert_non_null(seconds);
    memmove(seconds + strlen(" in %"), seconds + strlen(" in 0.00"),
            strlen(seconds + strlen(" in 0.00")) + 1);
    memcpy(seconds, " in %", strlen(" in %"));
    assert_string_equal(output, expected);
}

static char keyword[] = "forward_autotune and H32 and permute_x";
static const char first[] =
    "grouped_gemm_forward_autotune[W1-permute_x-topk1-E4-T128-H32-I32-bf16-exact-mult]";
static const char second[] =
    "grouped_gemm_forward_autotune[W1-permute_x-topk1-E4-T1024-H32-I32-bf16-exact-mult]";

static void test_formats(void **state) {
    (void)state;
    char expected[2048];
    assert_int_equal(LIST("-q", "-k", "forward_autotune[ and H32 and permute_x"), MG_EXIT_OK);
    snprintf(expected, sizeof expected, "%s\n%s\n\n2/%zu tests collected (%zu deselected) in %%s\n", first,
             second, num_cases, num_cases - 2);
    assert_output(expected);

    assert_int_equal(LIST("-qq", "-k", keyword), MG_EXIT_OK);
    assert_string_equal(output,
                        "grouped_gemm_forward_autotune: 2\ngrouped_gemm_forward_autotune_autograd: 2\n\n");

    assert_int_equal(LIST("-k", keyword), MG_EXIT_OK);
    char title[64];
    snprintf(title, sizeof title, "4/%zu tests collected (%zu deselected) in 0.00s", num_cases,
             num_cases - 4);
    int room = 78 - (int)strlen(title), left = room / 2;
    static const char rule[] = "========================================";
    snprintf(expected, sizeof expected,
             "collected %zu items / %zu deselected / 4 selected\n\n"
             "<Function grouped_gemm_forward_autotune>\n  <Case %s>\n  <Case %s>\n"
             "<Function grouped_gemm_forward_autotune_autograd>\n  <Case %s>\n  <Case %s>\n\n"
             "%.*s 4/%zu tests collected (%zu deselected) in %%s %.*s\n",
             num_cases, num_cases - 4, strchr(first, '['), strchr(second, '['), strchr(first, '['),
             strchr(second, '['), left, rule, num_cases, num_cases - 4, room - left, rule);
    assert_output(expected);
}

static void test_nothing(void **state) {
    (void)state;
    char expected[128];
    assert_int_equal(LIST("-q", "-k", "nothing_matches"), MG_EXIT_EMPTY);
    snprintf(expected, sizeof expected, "\nno tests collected (%zu deselected) in %%s\n", num_cases);
    assert_output(expected);
    assert_int_equal(LIST("-k", "a or"), MG_EXIT_USAGE);
    assert_string_equal(output, "");
    assert_int_equal(LIST("--bogus"), MG_EXIT_USAGE);
    assert_string_equal(output, "");
}

static void test_answers(void **state) {
    (void)state;
    assert_int_equal(LIST("--help"), MG_EXIT_OK);
    assert_non_null(strstr(output, "--shard i/n"));
    assert_non_null(strstr(output, "\"topk1-\" is exact, \"topk1\" also matches topk16"));
    size_t lines = 0;
    for (const char *c = output; *c; c++) lines += *c == '\n';
    assert_true(lines <= 50); /* a screen */
    assert_int_equal(LIST("--version"), MG_EXIT_OK);
    assert_memory_equal(output, "moegemm ", 8);
}

static void test_writing(void **state) {
    (void)state;
    char *quiet[] = {"-q", NULL};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]); /* as after `| head` has read enough */
    assert_int_equal(list_to(ends[1], quiet), MG_EXIT_OK);
    close(ends[1]);
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    assert_int_equal(list_to(full, quiet), MG_EXIT_INTERNAL);
    close(full);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats), cmocka_unit_test(test_nothing),
                                       cmocka_unit_test(test_answers), cmocka_unit_test(test_writing)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
