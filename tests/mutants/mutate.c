/* mutate.c: writes the patched copy of a launcher's or the harness's file, for the build: mutate NAME SOURCE_DIR OUT.
 *
 * Where the text to replace is not found, the copy is the file as it is, with a macro that tells: the build goes on, and
 * the mutant is reported as one that does not apply, a failure of the tests. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mutants.h"

static const mutant *find(const char *name) {
    const mutant_table tables[] = {launcher_mutants(), harness_mutants()};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (!strcmp(tables[t].items[i].name, name)) return &tables[t].items[i];
    return NULL;
}

static char *read_text(const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "re");
    if (!in) return NULL;
    if (getdelim(&text, &size, '\0', in) < 0) {
        free(text);
        text = NULL;
    }
    fclose(in);
    return text;
}

int main(int argc, char **argv) {
    char path[4096], error[512] = "";
    const mutant *m = argc == 4 ? find(argv[1]) : NULL;
    if (!m) {
        fprintf(stderr, "mutate: error: no such mutant '%s' (usage: mutate NAME SOURCE_DIR OUT)\n",
                argc > 1 ? argv[1] : "");
        return 2;
    }
    snprintf(path, sizeof path, "%s/%s", argv[2], m->file);
    char *text = read_text(path), *patched = text ? mutant_apply(m, text, error) : NULL;
    if (text && !patched) fprintf(stderr, "mutate: warning: %s\n", error);
    FILE *out = text ? fopen(argv[3], "we") : NULL;
    bool ok =
        out && fprintf(out, "%s%s", patched ? "" : "#define STALE_MUTANT 1\n", patched ? patched : text) > 0;
    if (out) ok = !fclose(out) && ok;
    if (!ok) fprintf(stderr, "mutate: error: cannot copy '%s' to '%s': %s\n", path, argv[3], strerror(errno));
    free(text);
    free(patched);
    return !ok;
}
