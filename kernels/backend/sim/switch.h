/* switch.h: switching between stacks: hand-written for x86-64 and aarch64, ucontext elsewhere or on request
 * (GG_SIM_UCONTEXT). The hand-written switch takes about 5 ns, ucontext (two system calls) about 200. */
#ifndef GG_SIM_SWITCH_H
#define GG_SIM_SWITCH_H

#include <stddef.h>

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(GG_SIM_UCONTEXT)
#define GG_SIM_UCONTEXT
#endif

#ifdef GG_SIM_UCONTEXT
#include <ucontext.h>
typedef struct gg_sim_context {
    ucontext_t state;
} gg_sim_context;
#else
typedef struct gg_sim_context {
    void *sp; /* of a stack whose top holds the registers that a call preserves */
} gg_sim_context;
#endif

/* Prepares `context` so that the first switch to it calls entry(argument) on `stack`; entry must not return.
 */
void gg_sim_context_make(gg_sim_context *context, void *stack, size_t stack_bytes, void (*entry)(void *),
                         void *argument);

/* Saves the caller in `from` and continues `to`; returns when someone switches back to `from`. */
void gg_sim_context_switch(gg_sim_context *from, gg_sim_context *to);

#endif
