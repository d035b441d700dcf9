/* words.h: argv from a line of words between spaces, for tests of command lines. */
#ifndef MG_TEST_WORDS_H
#define MG_TEST_WORDS_H

#include <string.h>

enum { WORDS = 40 };
/* Cuts `line`, which argv then points into. */
static inline int split_words(char *line, char *argv[WORDS]) {
    int argc = 0;
    for (char *word = strtok(line, " "); word && argc < WORDS - 1; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return argc;
}

#endif
