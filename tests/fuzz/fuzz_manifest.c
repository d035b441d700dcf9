/* fuzz_manifest.c: the readers of manifest.tsv and hashes.tsv; which of them, the first byte says. */
#include "fuzz.h"

#include "corpus.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[MG_ERROR_SIZE] = "";
    if (!size) return 0;
    mg_corpus *corpus = calloc(1, sizeof *corpus);
    char *text = input_text(data + 1, size - 1);
    if (!corpus || !(corpus->golden_dir = strdup("golden"))) abort();
    if (*data % 2) {
        corpus->manifest = text;
        if (parse_manifest(corpus, error) == GG_OK)
            for (size_t i = 0; i < corpus->num_rows; i++)
                if (!mg_manifest_find(corpus, corpus->rows[i].path)) abort();
    } else {
        parse_hashes(corpus, text, error);
        free(text);
    }
    mg_corpus_close(corpus);
    return 0;
}
