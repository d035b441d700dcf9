/* fuzz_filter.c: the -k parser. What it accepts matches the same ids again, and the opposite where it is negated. */
#include "fuzz.h"
#include "filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const ids[] = {"", "grouped_gemm_forward_manual[w1-permute_x-use_tma_load_w-topk4-e16-"
                                          "t128-h128-i128-bf16-exact-mult-mma_sync]"};
    char error[MG_ERROR_SIZE] = "", *text = input_text(data, size);
    mg_filter *filter = NULL, *opposite = NULL;
    if (mg_filter_new(&filter, text, error)) {
        if (filter || !error[0]) abort();
    } else if (text[strspn(text, " \t\n\v\f\r")]) {
        char *negated = malloc(strlen(text) + 8);
        if (!negated) abort();
        sprintf(negated, "not (%s)", text);
        /* one more pair of parentheses may be one too many, and other white space is none inside an expression */
        if (mg_filter_new(&opposite, negated, error) == GG_OK)
            for (int i = 0; i < 2; i++)
                if (mg_filter_matches(filter, ids[i]) == mg_filter_matches(opposite, ids[i])) abort();
        free(negated);
    }
    mg_filter_free(filter);
    mg_filter_free(opposite);
    free(text);
    return 0;
}
