/* fault.c: turns a signal raised by a kernel (a wild pointer, a division by zero) into a failed launch. */
#include "sim.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static const struct {
    int number;
    const char *name;
} signals[] = {{SIGSEGV, "invalid address"},
               {SIGBUS, "invalid address"},
               {SIGFPE, "division by zero"},
               {SIGILL, "illegal instruction"}};
enum { SIGNALS = sizeof signals / sizeof *signals };

/* A signal handler has no argument of ours, so the launch in progress is file state; `turn` is held while it
 * is set. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local gg_sim_device *running;
static struct {
    struct sigaction actions[SIGNALS];
    stack_t stack;
} before;

static void restore_actions(void) {
    for (int i = 0; i < SIGNALS; i++) sigaction(signals[i].number, &before.actions[i], NULL);
}

static bool in(const u8 *address, const u8 *begin, size_t bytes) {
    return (uintptr_t)address - (uintptr_t)begin < bytes;
}

static void handle(int number, siginfo_t *info, void *context) {
    (void)context;
    gg_sim *sim = running ? running->active : NULL;
    if (!sim) { /* not a kernel's doing: the instruction faults again, unhandled */
        restore_actions();
        return;
    }
    const char *name = "signal";
    for (int i = 0; i < SIGNALS; i++)
        if (signals[i].number == number) name = signals[i].name;
    const u8 *address = info->si_addr;
    const sim_site *site = sim->current->site;
    char where[GG_REASON_SIZE] = "", last[GG_REASON_SIZE] = "before its first simulator call";
    if (site) snprintf(last, sizeof last, "after the call");
    if (number == SIGSEGV || number == SIGBUS) {
        gg_sim_memory_describe(&sim->device->memory, address, where);
        if (in(address, sim->stacks, (size_t)GG_SIM_MAX_THREADS * sim->stack_stride))
            snprintf(where, sizeof where, "its stack overflows");
        if (in(address, sim->shared_area, sim->shared_area_bytes))
            snprintf(where, sizeof where, "at byte %td of %u of shared memory", address - sim->api.shared,
                     sim->shared_bytes);
        gg_sim_fail(sim, site, "%s %p, %s, %s", name, (const void *)address, where, last);
    }
    gg_sim_fail(sim, site, "%s, %s", name, last);
}

void gg_sim_faults_begin(gg_sim_device *device) {
    pthread_mutex_lock(&turn);
    running = device;
    stack_t stack = {.ss_sp = device->signal_stack, .ss_size = GG_SIM_SIGNAL_STACK_BYTES};
    sigaltstack(&stack, &before.stack);
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++) sigaction(signals[i].number, &action, &before.actions[i]);
}

void gg_sim_faults_end(void) {
    restore_actions();
    sigaltstack(&before.stack, NULL);
    running = NULL;
    pthread_mutex_unlock(&turn);
}
