/* apply.c: one replacement in a source text, which must fit exactly once so that no mutant can rot unseen. */
#include "mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *mutant_apply(const mutant *m, const char *text, char error[512]) {
    const char *at = strstr(text, m->find);
    const char *fault = !at ? "text not found" : strstr(at + 1, m->find) ? "text found twice" : NULL;
    if (fault) {
        snprintf(error, 512, "%s for mutant '%s' in '%s' (adapt it to the source): '%.300s'", fault, m->name,
                 m->file, m->find);
        return NULL;
    }
    size_t before = (size_t)(at - text), size = strlen(text) - strlen(m->find) + strlen(m->replace) + 1;
    char *out = malloc(size);
    if (out)
        snprintf(out, size, "%.*s%s%s", (int)before, text, m->replace, at + strlen(m->find));
    else
        snprintf(error, 512, "out of memory for mutant '%s'", m->name);
    return out;
}
