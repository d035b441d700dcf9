/* test_npy.c: the .npy reader: good files of every kind it takes, and malformed ones, each refused with its
 * reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_FILE = 4096 };

/* A file with this version, header text and number of data bytes (1, 2, 3, ...); returns its size. */
static size_t make(unsigned char *file, int version, const char *header, size_t data) {
    size_t length = strlen(header), begin = version == 1 ? 10 : 12;
    memset(file, 0, MAX_FILE);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    file[8] = (unsigned char)length;
    file[9] = (unsigned char)(length >> 8);
    memcpy(file + begin, header, length);
    for (size_t i = 0; i < data; i++) file[begin + length + i] = (unsigned char)(i + 1);
    return begin + length + data;
}

#define GOOD "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }    \n"

static void test_good(void **state) {
    (void)state;
    static const struct {
        int version;
        const char *header;
        size_t data;
        mg_npy_type type;
        int ndim;
        int64_t shape[4];
    } rows[] = {
        {1, GOOD, 12, MG_NPY_U2, 2, {2, 3}},
        {2, GOOD, 12, MG_NPY_U2, 2, {2, 3}},
        {3, GOOD, 12, MG_NPY_U2, 2, {2, 3}},
        {1, "{'shape': (5,), 'fortran_order': False, 'descr': '<i4'}", 20, MG_NPY_I4, 1, {5}},
        {1, "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":()}", 4, MG_NPY_F4, 0, {0}},
        {1,
         "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1, 1, 2)}",
         32,
         MG_NPY_F8,
         4,
         {2, 1, 1, 2}},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (0, 72), }", 0, MG_NPY_U2, 2, {0, 72}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        unsigned char file[MAX_FILE];
        char error[MG_ERROR_SIZE] = "";
        mg_npy npy;
        size_t size = make(file, rows[i].version, rows[i].header, rows[i].data);
        if (mg_npy_parse(file, size, "good", &npy, error)) fail_msg("row %zu: %s", i, error);
        assert_int_equal(npy.type, rows[i].type);
        assert_int_equal(npy.ndim, rows[i].ndim);
        for (int d = 0; d < npy.ndim; d++) assert_int_equal(npy.shape[d], rows[i].shape[d]);
        assert_int_equal(npy.bytes, rows[i].data);
        if (npy.bytes) assert_memory_equal(npy.data, file + size - rows[i].data, npy.bytes);
        mg_npy_free(&npy);
        assert_null(npy.data);
    }
}

#define DICT(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }\n"

static const struct bad {
    const char *header;
    size_t data;
    const char *reason; /* the error must start with it */
} bad[] = {
    {DICT("<u2", "True", "(2, 3)"), 12, "Fortran order"},
    {DICT("<u2", "Maybe", "(2, 3)"), 12, "bad 'fortran_order'"},
    {DICT(">u2", "False", "(2, 3)"), 12, "unsupported type '>u2'"},
    {DICT("|O", "False", "(2, 3)"), 48, "unsupported type '|O'"},
    {DICT("<u2", "False", "(-2, 3)"), 12, "bad 'shape'"},
    {DICT("<u2", "False", "(6)"), 12, "bad 'shape'"},
    {DICT("<u2", "False", "(2 3)"), 12, "bad 'shape'"},
    {DICT("<u2", "False", "(1, 1, 1, 2, 3)"), 12, "bad 'shape'"},
    {DICT("<u2", "False", "(2, 3"), 12, "bad 'shape'"},
    {DICT("<u2", "False", "(99999999999999999999, 3)"), 12, "bad 'shape'"},
    {DICT("<u2", "False", "(4294967296, 4294967296)"), 12, "shape beyond all memory"},
    {DICT("<u2", "False", "(9223372036854775807,)"), 12, "12 bytes of data instead of 18446744073709551614"},
    {DICT("<u2", "False", "(9223372036854775807, 2)"), 12, "shape beyond all memory"},
    {DICT("<u2", "False", "(1000000000000,)"), 12, "12 bytes of data instead of 2000000000000"},
    {DICT("<u2", "False", "(2, 3)"), 11, "11 bytes of data instead of 12"},
    {DICT("<u2", "False", "(2, 3)"), 13, "1 bytes after the data"},
    {"[1, 2, 3]", 12, "header that is not a dict"},
    {"", 0, "header that is not a dict"},
    {"{'descr' '<u2'}", 0, "header that is not a dict of strings"},
    {"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3) 'x'}", 12, "header that is not a dict"},
    {"{'descr': '<u2', 'fortran_order': False}", 12, "header without type, order or shape"},
    {"{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (2, 3)}", 12,
     "unexpected key 'descr'"},
    {"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", 12, "unexpected key 'x'"},
    {"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), 'a\nb': 1}", 12, "unexpected key 'a?b'"},
    {"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3)} + 1", 12, "text after the header"},
    {"{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2, 3)}", 12, "bad 'descr'"},
    {"{'a key far longer than any of the three': 1}", 12, "header that is not a dict of strings"},
};

static void refused(const unsigned char *file, size_t size, const char *reason) {
    char error[MG_ERROR_SIZE] = "";
    mg_npy npy;
    /* of the exact size, so that the sanitizers see a read beyond the end */
    unsigned char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, file, size);
    assert_int_equal(mg_npy_parse(copy, size, "a/b.npy", &npy, error), GG_ERR_IO);
    free(copy);
    assert_null(npy.data);
    if (strncmp(error, reason, strlen(reason))) fail_msg("'%s' does not start with '%s'", error, reason);
    assert_non_null(strstr(error, "'a/b.npy'"));
    assert_non_null(strstr(error, "run 'moegemm golden generate'"));
    assert_null(strchr(error, '\n'));
}

static void test_bad_headers(void **state) {
    (void)state;
    unsigned char file[MAX_FILE];
    for (size_t i = 0; i < COUNT(bad); i++)
        refused(file, make(file, 1, bad[i].header, bad[i].data), bad[i].reason);
}

static void test_bad_frames(void **state) {
    (void)state;
    unsigned char file[MAX_FILE];
    size_t size = make(file, 1, GOOD, 12);
    refused(file, 0, "truncated header");
    file[0] = 'x';
    refused(file, size, "no .npy signature");
    make(file, 4, GOOD, 12);
    refused(file, size, "unknown version 4.0");
    make(file, 0, GOOD, 12);
    refused(file, size, "unknown version 0.0");
    make(file, 1, GOOD, 12);
    file[9] = 0xff; /* a header longer than the file */
    refused(file, size, "truncated header");
    make(file, 2, GOOD, 12);
    file[11] = 0xff; /* nearly 4 GiB of it */
    refused(file, size + 2, "truncated header");
    refused(file, 11, "truncated header");
}

/* Cut off anywhere, a good file is refused. */
static void test_every_truncation(void **state) {
    (void)state;
    unsigned char file[MAX_FILE];
    char error[MG_ERROR_SIZE];
    mg_npy npy;
    for (int version = 1; version <= 2; version++) {
        size_t size = make(file, version, GOOD, 12);
        for (size_t cut = 0; cut < size; cut++) {
            assert_int_equal(mg_npy_parse(file, cut, "cut", &npy, error), GG_ERR_IO);
            assert_null(npy.data);
        }
    }
}

static void test_files(void **state) {
    (void)state;
    char path[] = "/tmp/test_npy-XXXXXX", error[MG_ERROR_SIZE] = "";
    unsigned char file[MAX_FILE];
    mg_npy npy;
    int handle = mkstemp(path);
    size_t size = make(file, 1, GOOD, 12);
    assert_true(handle >= 0 && write(handle, file, size) == (ssize_t)size);
    assert_int_equal(mg_npy_read(path, &npy, error), GG_OK);
    assert_int_equal(npy.count, 6);
    mg_npy_free(&npy);

    assert_int_equal(ftruncate(handle, (off_t)size - 1), 0);
    assert_int_equal(mg_npy_read(path, &npy, error), GG_ERR_IO);
    assert_non_null(strstr(error, "11 bytes of data instead of 12"));
    assert_non_null(strstr(error, path));
    close(handle);
    unlink(path);
    assert_int_equal(mg_npy_read(path, &npy, error), GG_ERR_IO);
    assert_non_null(strstr(error, "no such golden"));
    assert_int_equal(mg_npy_read("/tmp", &npy, error), GG_ERR_IO);
    assert_non_null(strstr(error, "not a file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_frames), cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
