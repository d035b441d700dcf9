/* names.c: words for statuses, operations, types and mainloops. */
#include "grouped_gemm.h"

const char *gg_status_string(gg_status status) {
    switch (status) {
#define X(name, value, text)                                                                                 \
    case name: return text;
        GG_STATUSES(X)
#undef X
    }
    return "unknown status";
}

const char *gg_op_name(gg_op op) {
    static const char *const names[] = {[GG_FORWARD] = "forward", [GG_DX] = "dX", [GG_DW] = "dW"};
    return (unsigned)op < GG_NUM_OPS ? names[op] : "unknown op";
}

const char *gg_dtype_name(gg_dtype dtype) {
    static const char *const names[] = {[GG_BF16] = "bf16", [GG_FP16] = "fp16"};
    return (unsigned)dtype < GG_NUM_DTYPES ? names[dtype] : "unknown dtype";
}

const char *gg_mainloop_name(gg_mainloop mainloop) {
    static const char *const names[] = {
#define X(name, text) [name] = text,
        GG_MAINLOOPS(X)
#undef X
    };
    return (unsigned)mainloop < GG_NUM_MAINLOOPS ? names[mainloop] : "unknown mainloop";
}
