/* npy.c: reads NumPy's .npy files (versions 1.0 to 3.0), trusting nothing in them. */
#include "golden.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *descr;
    size_t size;
} types[] = {
    [MG_NPY_U2] = {"<u2", 2}, [MG_NPY_I4] = {"<i4", 4}, [MG_NPY_F4] = {"<f4", 4}, [MG_NPY_F8] = {"<f8", 8}};
enum { NUM_TYPES = sizeof types / sizeof *types, MAX_DIMS = 4 };

/* Writes "fault in 'name' (fix)" and returns the status for it. */
__attribute__((format(printf, 3, 4))) static gg_status fault(char error[MG_ERROR_SIZE], const char *name,
                                                             const char *format, ...) {
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = '?'; /* a message is one line, whatever a file has for a key */
    snprintf(error, MG_ERROR_SIZE, "%s in '%s' (run 'moegemm golden generate')", text, name);
    return GG_ERR_IO;
}

/* --- the header: a Python dict literal with exactly the keys descr, fortran_order and shape --- */

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t')) c->at++;
}

static bool take(cursor *c, char expected) {
    skip_space(c);
    if (c->at == c->end || *c->at != expected) return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word) {
    skip_space(c);
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length)) return false;
    c->at += length;
    return true;
}

static bool take_string(cursor *c, char *out, size_t capacity) {
    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
    const char *close = memchr(c->at + 1, *c->at, (size_t)(c->end - c->at - 1));
    if (!close || (size_t)(close - c->at) > capacity) return false;
    size_t length = (size_t)(close - c->at - 1);
    memcpy(out, c->at + 1, length);
    out[length] = 0;
    c->at = close + 1;
    return true;
}

static bool take_size(cursor *c, int64_t *out) {
    skip_space(c);
    const char *begin = c->at;
    for (*out = 0; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, *c->at - '0', out))
            return false;
    return c->at > begin;
}

static bool take_shape(cursor *c, mg_npy *npy) {
    if (!take(c, '(')) return false;
    for (npy->ndim = 0; !take(c, ')');) {
        if (npy->ndim == MAX_DIMS || !take_size(c, &npy->shape[npy->ndim])) return false;
        npy->ndim++;
        if (take(c, ',')) continue;
        return npy->ndim > 1 && take(c, ')'); /* "(3)" is a number, not a tuple */
    }
    return true;
}

enum { DESCR = 1, ORDER = 2, SHAPE = 4 };

static gg_status parse_header(cursor c, const char *name, mg_npy *npy, char error[MG_ERROR_SIZE]) {
    char key[16], descr[16];
    unsigned seen = 0;
    if (!take(&c, '{')) return fault(error, name, "header that is not a dict");
    while (!take(&c, '}')) {
        unsigned field = 0;
        if (!take_string(&c, key, sizeof key) || !take(&c, ':'))
            return fault(error, name, "header that is not a dict of strings");
        if (!strcmp(key, "descr")) {
            field = DESCR;
            if (!take_string(&c, descr, sizeof descr)) return fault(error, name, "bad 'descr'");
            int type = 0;
            while (type < NUM_TYPES && strcmp(descr, types[type].descr)) type++;
            if (type == NUM_TYPES) return fault(error, name, "unsupported type '%s'", descr);
            npy->type = (mg_npy_type)type;
        } else if (!strcmp(key, "fortran_order")) {
            field = ORDER;
            if (take_word(&c, "True")) return fault(error, name, "Fortran order");
            if (!take_word(&c, "False")) return fault(error, name, "bad 'fortran_order'");
        } else if (!strcmp(key, "shape")) {
            field = SHAPE;
            if (!take_shape(&c, npy)) return fault(error, name, "bad 'shape'");
        }
        if (!field || (seen & field)) return fault(error, name, "unexpected key '%s'", key);
        seen |= field;
        if (take(&c, ',')) continue;
        if (take(&c, '}')) break;
        return fault(error, name, "header that is not a dict");
    }
    skip_space(&c);
    if (c.at != c.end) return fault(error, name, "text after the header");
    if (seen != (DESCR | ORDER | SHAPE)) return fault(error, name, "header without type, order or shape");
    return GG_OK;
}

/* --- the file --- */

gg_status mg_npy_parse(const void *bytes, size_t size, const char *name, mg_npy *out,
                       char error[MG_ERROR_SIZE]) {
    const unsigned char *file = bytes;
    *out = (mg_npy){0};
    if (size < 10) return fault(error, name, "truncated header");
    if (memcmp(file, "\x93NUMPY", 6)) return fault(error, name, "no .npy signature");
    unsigned version = file[6];
    if (version < 1 || version > 3 || file[7])
        return fault(error, name, "unknown version %u.%u", version, file[7]);
    size_t begin = version == 1 ? 10 : 12, header = file[8] | (size_t)file[9] << 8;
    if (size < begin) return fault(error, name, "truncated header");
    if (version > 1) header |= (size_t)file[10] << 16 | (size_t)file[11] << 24;
    if (header > size - begin) return fault(error, name, "truncated header");

    const char *text = (const char *)file + begin;
    gg_status status = parse_header((cursor){text, text + header}, name, out, error);
    if (status) return status;
    out->count = 1;
    for (int i = 0; i < out->ndim; i++)
        if (__builtin_mul_overflow(out->count, (size_t)out->shape[i], &out->count))
            return fault(error, name, "shape beyond all memory");
    if (__builtin_mul_overflow(out->count, types[out->type].size, &out->bytes))
        return fault(error, name, "shape beyond all memory");
    size_t present = size - begin - header;
    if (present < out->bytes)
        return fault(error, name, "%zu bytes of data instead of %zu", present, out->bytes);
    if (present > out->bytes) return fault(error, name, "%zu bytes after the data", present - out->bytes);

    out->data = malloc(out->bytes ? out->bytes : 1);
    if (!out->data) {
        snprintf(error, MG_ERROR_SIZE, "no memory for %zu bytes of '%s'", out->bytes, name);
        return GG_ERR_MEMORY;
    }
    memcpy(out->data, text + header, out->bytes);
    return GG_OK;
}

gg_status mg_npy_read(const char *path, mg_npy *out, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_ERR_IO;
    unsigned char *bytes = NULL;
    struct stat info;
    size_t size, done = 0;
    *out = (mg_npy){0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        snprintf(error, MG_ERROR_SIZE, "%s: '%s' (run 'moegemm golden generate')",
                 errno == ENOENT ? "no such golden" : strerror(errno), path);
        return GG_ERR_IO;
    }
    if (fstat(file, &info) || !S_ISREG(info.st_mode)) {
        snprintf(error, MG_ERROR_SIZE, "not a file: '%s' (remove it and run 'moegemm golden generate')",
                 path);
        goto out;
    }
    size = (size_t)info.st_size;
    bytes = malloc(size ? size : 1);
    if (!bytes) {
        snprintf(error, MG_ERROR_SIZE, "no memory for %zu bytes of '%s'", size, path);
        status = GG_ERR_MEMORY;
        goto out;
    }
    while (done < size) {
        ssize_t n = read(file, bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            snprintf(error, MG_ERROR_SIZE, "cannot read '%s': %s", path, strerror(errno));
            goto out;
        }
        if (!n) break; /* it has shrunk meanwhile: the parser reports what is missing */
        done += (size_t)n;
    }
    status = mg_npy_parse(bytes, done, path, out, error);
out:
    free(bytes);
    close(file);
    return status;
}

void mg_npy_free(mg_npy *npy) {
    free(npy->data);
    *npy = (mg_npy){0};
}
