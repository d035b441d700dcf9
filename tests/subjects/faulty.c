/* faulty.c: the shipped kernels, but where x is permuted the subject dies in one way, chosen by one macro: such cases must
 * become errors and the others pass. Works on every backend. */
#include "own_kernel.h"

#include <signal.h>

#include "device/params.h"

typedef struct faulty_params {
    const i32 *m_sizes;
} faulty_params;

#define KERNEL_TEXT(body)                                                                                    \
    "#include \"intrinsics.h\"\n"                                                                            \
    "typedef struct faulty_params { const i32 *m_sizes; } faulty_params;\n"                                  \
    "KERNEL(faulty, faulty_params, 32, 1) { " body " }\n"

#if defined FAULTY_TRAP
static const char name[] = "trap", text[] = KERNEL_TEXT("if (p.m_sizes[0] >= 0) device_trap();");
#elif defined FAULTY_ADDRESS
static const char name[] = "address",
                  text[] = KERNEL_TEXT("*(volatile u32 *)(p.m_sizes[0] * 4 + 4096ll) = 1;");
#elif defined FAULTY_HANG
static const char name[] = "hang", text[] = KERNEL_TEXT("while (*(const volatile i32 *)p.m_sizes >= 0) {}");
#elif defined FAULTY_SEGFAULT || defined FAULTY_KILL
static const char name[] = "host", *text; /* dies before it launches */
#else
#error "no fault chosen"
#endif

static gg_status faulty_launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                               const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    const faulty_params params = {.m_sizes = tensors->m_sizes};
    if (!(problem->fusions & GG_PERMUTE_X))
        return shipped_launch(context, problem, config, tensors, stream, error);
#ifdef FAULTY_KILL
    raise(SIGKILL);
#endif
#ifdef FAULTY_SEGFAULT
    signal(SIGSEGV, SIG_DFL); /* also under a sanitizer */
    raise(SIGSEGV);
#endif
    return own_launch(context, text, "faulty", "", 1, 32, &params, sizeof params, stream, error);
}

const mg_subject *mg_subject_get(void);
const mg_subject *mg_subject_get(void) {
    static const mg_subject faulty = {.abi = MG_SUBJECT_ABI,
                                      .name = name,
                                      .description = "dies where x is permuted",
                                      .plan = shipped_plan,
                                      .launch = faulty_launch};
    return &faulty;
}
