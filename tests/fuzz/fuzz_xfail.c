/* fuzz_xfail.c: the reader of the table of known failures. */
#include "fuzz.h"
#include "xfail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[MG_ERROR_SIZE] = "";
    mg_xfail *xfail = NULL;
    mg_result result = {.verdict = MG_FAILED};
    if (mg_xfail_open(&xfail, input_file(data, size), "sim", error)) {
        if (xfail || !error[0]) abort();
        return 0;
    }
    mg_xfail_apply(xfail, "grouped_gemm_forward_manual[W1-topk4-E16-T128-H128-I128-bf16-exact]", &result);
    mg_xfail_close(xfail);
    return 0;
}
