/* fuzz.h: what the fuzz targets share: libFuzzer's entry, the input as text and as a file. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With a NUL behind it; to be freed. */
static inline char *input_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text) abort();
    memcpy(text, data, size);
    text[size] = 0;
    return text;
}

/* The path of a file in memory that holds the input until the next call. */
static inline const char *input_file(const uint8_t *data, size_t size) {
    static char path[32];
    static int file = -1;
    if (file < 0) file = memfd_create("input", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, 0) || pwrite(file, data, size, 0) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return path;
}

#endif
