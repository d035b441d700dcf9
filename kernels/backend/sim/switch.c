/* switch.c: the switch between stacks, in assembly where it is known and by ucontext elsewhere. */
#include "switch.h"

#include <stdint.h>
#include <string.h>

#if defined(GG_SIM_UCONTEXT)

/* makecontext passes ints only, so the two pointers travel in halves */
static void start(unsigned entry_high, unsigned entry_low, unsigned argument_high, unsigned argument_low) {
    void (*entry)(void *) = (void (*)(void *))((uintptr_t)entry_high << 32 | entry_low);
    entry((void *)((uintptr_t)argument_high << 32 | argument_low));
}

void gg_sim_context_make(gg_sim_context *context, void *stack, size_t stack_bytes, void (*entry)(void *),
                         void *argument) {
    getcontext(&context->state);
    context->state.uc_stack.ss_sp = stack;
    context->state.uc_stack.ss_size = stack_bytes;
    context->state.uc_link = NULL;
    uint64_t e = (uintptr_t)entry, a = (uintptr_t)argument;
    makecontext(&context->state, (void (*)(void))start, 4, (unsigned)(e >> 32), (unsigned)e,
                (unsigned)(a >> 32), (unsigned)a);
}

void gg_sim_context_switch(gg_sim_context *from, gg_sim_context *to) {
    swapcontext(&from->state, &to->state);
}

#elif defined(__x86_64__)

/* Threads of a warp mostly switch at the same call depth from the same places, so `ret` is predicted well. */
__asm__(".text\n"
        ".globl gg_sim_context_switch\n"
        ".type gg_sim_context_switch, @function\n"
        "gg_sim_context_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq (%rsi), %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size gg_sim_context_switch, . - gg_sim_context_switch\n"
        ".globl gg_sim_context_start\n"
        ".type gg_sim_context_start, @function\n"
        "gg_sim_context_start:\n"
        "    movq %rbx, %rdi\n"
        "    callq *%r12\n"
        "    ud2\n"
        ".size gg_sim_context_start, . - gg_sim_context_start\n");

void gg_sim_context_start(void);

void gg_sim_context_make(gg_sim_context *context, void *stack, size_t stack_bytes, void (*entry)(void *),
                         void *argument) {
    /* r15 r14 r13 r12 rbx rbp and the address to return to; the stack is then 16-byte aligned */
    uintptr_t frame[7] = {0, 0, 0, (uintptr_t)entry, (uintptr_t)argument, 0, (uintptr_t)gg_sim_context_start};
    uintptr_t top = ((uintptr_t)stack + stack_bytes) & ~(uintptr_t)15;
    context->sp = memcpy((void *)(top - sizeof frame), frame, sizeof frame);
}

#else /* aarch64 */

__asm__(".text\n"
        ".globl gg_sim_context_switch\n"
        ".type gg_sim_context_switch, %function\n"
        "gg_sim_context_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    ldr x9, [x1]\n"
        "    mov sp, x9\n"
        "    ldp x19, x20, [sp]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size gg_sim_context_switch, . - gg_sim_context_switch\n"
        ".globl gg_sim_context_start\n"
        ".type gg_sim_context_start, %function\n"
        "gg_sim_context_start:\n"
        "    mov x0, x19\n"
        "    blr x20\n"
        "    brk #1\n"
        ".size gg_sim_context_start, . - gg_sim_context_start\n");

void gg_sim_context_start(void);

void gg_sim_context_make(gg_sim_context *context, void *stack, size_t stack_bytes, void (*entry)(void *),
                         void *argument) {
    /* x19 x20 first, x29 x30 in places 10 and 11, then d8 to d15 */
    uintptr_t frame[20] = {
        [0] = (uintptr_t)argument, [1] = (uintptr_t)entry, [11] = (uintptr_t)gg_sim_context_start};
    uintptr_t top = ((uintptr_t)stack + stack_bytes) & ~(uintptr_t)15;
    context->sp = memcpy((void *)(top - sizeof frame), frame, sizeof frame);
}

#endif
