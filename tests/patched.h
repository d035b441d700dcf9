/* patched.h: device sources with a seeded fault: one text in the place of another. */
#ifndef MG_PATCHED_H
#define MG_PATCHED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `source` with its only occurrence of `find` replaced; the caller frees it. Include cmocka.h before. */
static char *patched(const char *source, const char *find, const char *replace) {
    const char *at = strstr(source, find);
    if (!at || strstr(at + 1, find)) fail_msg("text not found once (adapt the row): '%s'", find);
    char *text = malloc(strlen(source) + strlen(replace) + 1);
    sprintf(text, "%.*s%s%s", (int)(at - source), source, replace, at + strlen(find));
    return text;
}

#endif
