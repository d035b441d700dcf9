/* sensitive.c: the example, right in a plain launch, but one bit of its output depends on what must not matter, chosen by one
 * macro; each perturbation must name the one that is its own. */
#define mg_subject_get example_get
#include "example.c"
#undef mg_subject_get

#if defined SENSITIVE_SMS
static bool disturbed(gg_context *context, const gg_problem *p, const gg_tensors *t, const uint16_t *out) {
    (void)p, (void)t, (void)out;
    return gg_get_device(context)->sm_count == 1;
}
#elif defined SENSITIVE_BASE
/* as with loads of 32 bytes that fall back where they are not aligned */
static bool disturbed(gg_context *context, const gg_problem *p, const gg_tensors *t, const uint16_t *out) {
    (void)context, (void)p;
    return (uintptr_t)out % 32 && (uintptr_t)t->m_sizes % 32;
}
#elif defined SENSITIVE_ROWS
/* by the size of the last expert (forward, dX) or but one (dW), unlike that of the first launch */
static bool disturbed(gg_context *context, const gg_problem *p, const gg_tensors *t, const uint16_t *out) {
    static int32_t first = -1;
    const int32_t size = t->m_sizes[p->E - (p->op == GG_DW ? 2 : 1)];
    (void)context, (void)out;
    if (first < 0) first = size;
    return size != first;
}
#else
#error "nothing chosen to depend on"
#endif

static gg_status sensitive_launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                                  const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    const int64_t M = problem->T * problem->topk;
    const struct {
        uint16_t *data;
        int64_t count;
    } outputs[GG_NUM_OPS] = {[GG_FORWARD] = {tensors->y, M * problem->N},
                             [GG_DX] = {tensors->dx, M * problem->K},
                             [GG_DW] = {tensors->dw, (int64_t)problem->E * problem->N * problem->K}};
    uint16_t *out = outputs[problem->op].data;
    gg_status status = example_launch(context, problem, config, tensors, stream, error);
    if (disturbed(context, problem, tensors, out)) out[outputs[problem->op].count - 1] ^= 1;
    return status;
}

const mg_subject *mg_subject_get(void);
const mg_subject *mg_subject_get(void) {
    static mg_subject sensitive;
    sensitive = *example_get();
    sensitive.name = "sensitive";
    sensitive.launch = sensitive_launch;
    return &sensitive;
}
