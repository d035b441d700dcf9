/* runner.h: worker processes: cases are handed out, results taken in, deaths and hangs turned into verdicts.
 */
#ifndef MG_RUNNER_H
#define MG_RUNNER_H

#include <signal.h>

#include "schedule.h"

typedef struct mg_runner_job {
    const mg_execute_options *execute; /* each worker opens its own executor with these */
    const mg_case *cases;              /* the table that `order` and mg_result.index refer to */
    const uint32_t *order;             /* (count) the cases to run */
    size_t count;
    const mg_schedule *schedule; /* of this order and as many workers; NULL: no bounds */
    int workers;
    double timeout;   /* seconds that one case, or the start of a worker, may take */
    bool passthrough; /* workers share our stdout and stderr; else the tail goes into their death's message */
    const volatile sig_atomic_t *stop; /* non-zero: kill the workers and return */
    /* Called in this process, once for each case, in order of arrival; false: kill the workers and return. */
    bool (*result)(void *user, const mg_result *result);
    void (*tick)(void *user); /* several times a second, for the clock on a terminal */
    void *user;
} mg_runner_job;

/* Runs all cases, or until told to stop; no worker is left when it returns. A worker that dies or hangs makes
 * its case an error and is replaced. Fails, naming the reason, only when no worker can be started. */
gg_status mg_runner_run(const mg_runner_job *job, char error[MG_ERROR_SIZE]);

/* Seconds on a clock that never jumps. */
double mg_now(void);

/* "segmentation fault (signal 11)" or "exit status 3", for a status from waitpid. */
void mg_describe_death(int status, char *text, size_t size);

#endif
