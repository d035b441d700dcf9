/* fuzz_options.c: the command line and the ids on it: one argument a line, selected from a few cases. */
#include "fuzz.h"
#include "options.h"
#include "select.h"

enum { MOST = 64, FEW = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static mg_cases all;
    char error[MG_ERROR_SIZE] = "", *text = input_text(data, size), *argv[MOST + 1] = {"run"}, *rest;
    int argc = 1;
    mg_options options;
    mg_selection selection;
    if (!all.count && mg_cases_new(&all)) abort();
    const mg_cases few = {all.items, FEW};
    for (char *word = strtok_r(text, "\n", &rest); word && argc < MOST; word = strtok_r(NULL, "\n", &rest))
        if (*word != '@') argv[argc++] = word; /* no file of this machine is meant */
    if (mg_options_parse(&options, argc, argv, error)) {
        if (!error[0]) abort();
    } else if (!options.action) {
        options.execute.cache_dir = "/nowhere";
        if (mg_select(&selection, &options, &few, error) == GG_OK) {
            if (selection.count > FEW || selection.count > selection.collected) abort();
            for (size_t i = 0; i < selection.count; i++)
                if (selection.indices[i] >= FEW) abort();
            mg_selection_free(&selection);
        }
    }
    free(text);
    return 0;
}
