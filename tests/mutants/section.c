/* section.c: replaces one section of a generated Markdown page and keeps the others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"

static const char heading[] =
    "# Seeded bugs and what caught them\n\n"
    "Written by `./run_tests.sh --mutants` (each backend its section), never by hand.\n";

static char *read_page(const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "re");
    if (in && getdelim(&text, &size, '\0', in) < 0) {
        free(text);
        text = NULL;
    }
    if (in) fclose(in);
    return text ? text : strdup(heading);
}

bool write_section(const char *path, const char *title, const char *text) {
    char line[LINE_SIZE];
    char *page = read_page(path);
    if (!page) return false;
    snprintf(line, sizeof line, "\n## %s\n", title);
    char *old = strstr(page, line), *rest = old ? strstr(old + 1, "\n## ") : NULL;
    FILE *out = fopen(path, "we");
    bool ok = out;
    if (out) {
        fprintf(out, "%.*s%s\n%s%s", (int)(old ? (size_t)(old - page) : strlen(page)), page, line, text,
                rest ? rest : "");
        ok = !fclose(out);
    }
    if (!ok) fprintf(stderr, "mutants: error: cannot write '%s': %s\n", path, strerror(errno));
    free(page);
    return ok;
}

bool drop_sections(const char *path, const char *title) {
    char line[LINE_SIZE];
    char *page = read_page(path), *old;
    if (!page) return false;
    int length = snprintf(line, sizeof line, "\n## %s", title);
    while ((old = strstr(page, line))) {
        char *rest = strstr(old + length, "\n## ");
        memmove(old, rest ? rest : "", rest ? strlen(rest) + 1 : 1);
    }
    FILE *out = fopen(path, "we");
    bool ok = out && fputs(page, out) >= 0;
    if (out && fclose(out)) ok = false;
    if (!ok) fprintf(stderr, "mutants: error: cannot write '%s': %s\n", path, strerror(errno));
    free(page);
    return ok;
}
