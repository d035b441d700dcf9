/* fuzz_problems.c: the parser of problems.tsv, whose table is part of the binary: it may stop the program (here: end the
 * call), and nothing worse. */
#include "fuzz.h"

#include <setjmp.h>

#include "backend/backend.h"

static jmp_buf stopped;
static gg_source_file files[] = {{"problems.tsv", NULL}, {NULL, NULL}};

#define abort() longjmp(stopped, 1)
#define fprintf(...) ((void)0) /* thousands of times the same line */
#define mg_embedded_data (*embedded_files)
#include "problem.c"
#undef abort

const gg_source_file (*embedded_files)[] = (const gg_source_file (*)[])files;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = input_text(data, size);
    files[0].text = text;
    table.count = 0;
    table.items = NULL;
    if (!setjmp(stopped)) parse_table();
    for (size_t i = 0; i < table.count; i++)
        if (!memchr(table.items[i].key, 0, sizeof table.items[i].key)) abort();
    free(table.items);
    free(text);
    return 0;
}
