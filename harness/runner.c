/* runner.c: worker processes over socket pairs; the parent alone decides who runs what and what a death
 * means. */
#include "runner.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_START_FAILURES =
        3, /* in a row before a worker's place is given up: one may be bad luck (memory), three are not */
    MAX_BATCH = 16,  /* neighbouring cases share data, so hand out runs of them, but keep the end balanced */
    TICK_MS = 100,   /* longest sleep: how late a signal or a deadline may be noticed */
    TAIL_SIZE = 400, /* bytes of a dead worker's output that are kept */
};
static const double leave_seconds =
    10; /* for a worker to close its device after its last case, before it is killed */

typedef enum message_kind { MESSAGE_READY, MESSAGE_NOT_READY, MESSAGE_RESULT } message_kind;

typedef struct message { /* worker to parent; `result.message` carries the reason of MESSAGE_NOT_READY */
    message_kind kind;
    bool lost; /* the worker's device is unusable: replace it */
    mg_result result;
} message;

typedef struct range { /* of positions in job->order */
    size_t begin, end;
} range;

typedef struct batch { /* parent to worker */
    range cases;
    uint64_t memory; /* that the worker may hold until it has answered each; 0: no bound */
} batch;

typedef struct worker {
    pid_t pid;    /* 0: this place is empty */
    int channel;  /* our end */
    int output;   /* memory file behind its stdout and stderr, -1 with passthrough */
    bool ready;   /* has opened its executor */
    range cases;  /* unanswered; begin is the case it is on */
    double since; /* when it began that case, or was started */
    int start_failures;
} worker;

typedef struct runner {
    const mg_runner_job *job;
    worker *workers;
    range *returned; /* what dead workers left; never more than one range for each place */
    size_t num_returned;
    uint64_t *
        granted; /* by place, bytes of device memory that the worker may hold; 0 of one that has run nothing */
    size_t next_large, next, done;
    bool stopped;
    char start_error[MG_ERROR_SIZE];
} runner;

double mg_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mg_describe_death(int status, char *text, size_t size) {
    if (!WIFSIGNALED(status)) {
        snprintf(text, size, "exit status %d", WEXITSTATUS(status));
        return;
    }
    int signal = WTERMSIG(status);
    snprintf(text, size, "%s (signal %d)%s", strsignal(signal), signal,
             signal == SIGKILL ? ", out of memory perhaps" : "");
    text[0] = (char)tolower((unsigned char)text[0]);
}

/* --- in the worker --- */

/* Leaves when the channel closes: at the end of the work, or because the parent is gone. */
static _Noreturn void worker_main(const mg_runner_job *job, int channel, int output) {
    message m = {.kind = MESSAGE_READY};
    mg_executor *executor = NULL;
    if (mg_executor_open(&executor, job->execute, m.result.message) != GG_OK) m.kind = MESSAGE_NOT_READY;
    if (send(channel, &m, sizeof m, MSG_NOSIGNAL) < 0 || m.kind == MESSAGE_NOT_READY) _exit(1);
    batch b;
    while (recv(channel, &b, sizeof b, 0) == sizeof b) {
        for (size_t i = b.cases.begin; i < b.cases.end; i++) {
            if (output >= 0 && ftruncate(output, 0)) _exit(1);
            m = (message){.kind = MESSAGE_RESULT};
            mg_executor_grant(executor, b.memory);
            mg_execute(executor, &job->cases[job->order[i]], &m.result, &m.lost);
            m.result.index = job->order[i];
            /* before the answer, upon which others may take it */
            if (job->schedule) mg_executor_grant(executor, job->schedule->budget.share);
            if (send(channel, &m, sizeof m, MSG_NOSIGNAL) < 0 || m.lost) _exit(1);
        }
    }
    mg_executor_close(executor);
    _exit(0);
}

/* What a fresh child must undo of its parent: group, signals, standard streams, the other workers' channels.
 */
static void become_worker(const runner *r, pid_t parent, int output) {
    setpgid(0, 0); /* a Ctrl-C is for the parent to handle; a kill reaches the compilers a worker starts */
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a hanging case would not notice the end of its channel */
    if (getppid() != parent) _exit(1);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    for (int i = 0; i < r->job->workers; i++)
        if (r->workers[i].pid) close(r->workers[i].channel);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDIN_FILENO);
    if (output < 0) return;
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/* --- in the parent --- */

static void note_start_failure(runner *r, worker *w, const char *reason) {
    w->start_failures++;
    snprintf(r->start_error, sizeof r->start_error, "%.*s", (int)strcspn(reason, "\n"), reason);
}

static void start(runner *r, worker *w) {
    int ends[2] = {-1, -1};
    while (w->start_failures < MAX_START_FAILURES) {
        int output = -1;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
            note_start_failure(r, w, strerror(errno));
            continue;
        }
        if (!r->job->passthrough && (output = memfd_create("moegemm-worker", MFD_CLOEXEC)) >= 0)
            fcntl(output, F_SETFL, O_APPEND);
        fflush(NULL); /* else the child would write our buffers again */
        pid_t parent = getpid(), pid = fork();
        if (pid == 0) {
            close(ends[0]);
            become_worker(r, parent, output);
            worker_main(r->job, ends[1], output);
        }
        close(ends[1]);
        if (pid > 0) {
            setpgid(pid, pid);
            *w = (worker){.pid = pid,
                          .channel = ends[0],
                          .output = output,
                          .since = mg_now(),
                          .start_failures = w->start_failures};
            return;
        }
        note_start_failure(r, w, strerror(errno));
        close(ends[0]);
        if (output >= 0) close(output);
    }
}

static bool is_idle(const worker *w) { return w->ready && w->cases.begin == w->cases.end; }

static void give_back(runner *r, worker *w) {
    if (w->cases.begin < w->cases.end) r->returned[r->num_returned++] = w->cases;
    w->cases = (range){0, 0};
}

/* --- device memory: what a worker may hold is its share, or what a large case takes while it runs that --- */

static bool fits(const runner *r, const worker *w, uint64_t need) {
    return mg_budget_fits(&r->job->schedule->budget, r->granted, r->job->workers, (int)(w - r->workers),
                          need);
}

/* The large cases in their order, each as soon as there is room; meanwhile others take small ones, unless that would leave
 * no room ever. */
static bool take_large(runner *r, const worker *w, batch *b, bool *wait) {
    const mg_schedule *s = r->job->schedule;
    *wait = false;
    if (!s || r->next_large == s->num_large) return false;
    const uint64_t need = s->memory[r->next_large];
    if (!fits(r, w, need)) {
        *wait = mg_budget_excludes(&s->budget, r->job->workers, need);
        return false;
    }
    *b = (batch){{r->next_large, r->next_large + 1}, need};
    r->next_large++;
    return true;
}

static bool take_batch(runner *r, const worker *w, batch *b) {
    const mg_schedule *s = r->job->schedule;
    bool wait;
    if (take_large(r, w, b, &wait)) return true;
    *b = (batch){.memory = s ? s->budget.share : 0};
    if (wait || (s && !fits(r, w, s->budget.share))) return false;
    if (r->num_returned) {
        b->cases = r->returned[--r->num_returned];
        return true;
    }
    size_t left = r->job->count - r->next;
    size_t size = left / (2 * (size_t)r->job->workers);
    size = size < 1 || (s && r->next < s->num_alone) ? 1 : size > MAX_BATCH ? MAX_BATCH : size;
    b->cases = (range){r->next, r->next + (size < left ? size : left)};
    r->next = b->cases.end;
    return left > 0;
}

/* Gives an idle worker its next batch; a failed send shows as the end of the channel. */
static void feed(runner *r, worker *w) {
    batch b;
    if (!take_batch(r, w, &b)) return;
    w->cases = b.cases;
    r->granted[w - r->workers] = b.memory;
    w->since = mg_now();
    (void)!send(w->channel, &b, sizeof b, MSG_NOSIGNAL);
}

static void deliver(runner *r, worker *w, const mg_result *result) {
    w->cases.begin++;
    w->since = mg_now();
    if (r->job->schedule)
        r->granted[w - r->workers] = r->job->schedule->budget.share; /* the rest is given back */
    r->done++;
    if (!r->job->result(r->job->user, result)) r->stopped = true;
}

/* The last bytes a worker wrote, on lines of their own. */
static void append_tail(const worker *w, char *text, size_t size) {
    char tail[TAIL_SIZE + 1];
    off_t end = w->output < 0 ? 0 : lseek(w->output, 0, SEEK_END);
    if (end <= 0) return;
    off_t begin = end > TAIL_SIZE ? end - TAIL_SIZE : 0;
    ssize_t n = pread(w->output, tail, TAIL_SIZE, begin);
    if (n <= 0) return;
    size_t used = strlen(text);
    snprintf(text + used, size - used, "\n%.*s", (int)n, tail);
}

/* Ends a worker, with whatever it started, and returns its wait status. */
static int end_process(const worker *w) {
    int status = 0;
    kill(-w->pid, SIGKILL);
    kill(w->pid, SIGKILL); /* the group may not exist yet */
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static void vacate(runner *r, worker *w) {
    close(w->channel);
    if (w->output >= 0) close(w->output);
    r->granted[w - r->workers] = 0; /* its memory went with the process */
    w->pid = 0;
}

static void refill(runner *r, worker *w) {
    if (!r->stopped && r->done < r->job->count) start(r, w);
}

/* A worker has gone (`cause` NULL: its status says why) or must go: its case becomes an error, its place is
 * refilled. */
static void bury(runner *r, worker *w, const char *cause) {
    bool working = w->ready && w->cases.begin < w->cases.end;
    mg_result result = {.verdict = MG_ERROR, .seconds = mg_now() - w->since};
    if (cause) {
        end_process(w);
        snprintf(result.message, sizeof result.message, "%s", cause);
    } else {
        /* The channel closes a moment before the process ends: wait for its own status, not for that of our
         * kill. */
        siginfo_t info;
        while (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {}
        char death[128];
        mg_describe_death(end_process(w), death, sizeof death);
        snprintf(result.message, sizeof result.message, "worker died: %s", death);
    }
    append_tail(w, result.message, sizeof result.message);
    if (working) {
        result.index = r->job->order[w->cases.begin];
        deliver(r, w, &result);
        give_back(r, w);
    } else {
        note_start_failure(r, w, result.message);
    }
    vacate(r, w);
    refill(r, w);
}

static void receive(runner *r, worker *w) {
    message m;
    ssize_t size = recv(w->channel, &m, sizeof m, MSG_DONTWAIT);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (size != sizeof m) {
        bury(r, w, NULL);
        return;
    }
    if (m.kind == MESSAGE_NOT_READY) {
        bury(r, w, m.result.message);
        return;
    }
    if (m.kind == MESSAGE_READY) {
        w->ready = true;
        w->start_failures = 0;
    } else {
        deliver(r, w, &m.result);
        if (m.lost) {
            give_back(r, w);
            end_process(w);
            vacate(r, w);
            refill(r, w);
            return;
        }
    }
    if (!r->stopped && is_idle(w)) feed(r, w);
}

static void check_deadlines(runner *r) {
    double now = mg_now();
    for (int i = 0; i < r->job->workers && !r->stopped; i++) {
        worker *w = &r->workers[i];
        if (!w->pid || is_idle(w) || now - w->since < r->job->timeout) continue;
        char cause[128];
        snprintf(cause, sizeof cause,
                 w->ready ? "timed out after %g s" : "a worker did not start within %g s", r->job->timeout);
        bury(r, w, cause);
    }
}

/* Waits for news from any worker and takes it in; false when there is no worker left. */
static bool step(runner *r, struct pollfd *polls, worker **polled) {
    nfds_t n = 0;
    for (int i = 0; i < r->job->workers; i++) {
        worker *w = &r->workers[i];
        if (!w->pid) continue;
        if (is_idle(w)) feed(r, w); /* while another gave cases, or memory, back */
        polls[n] = (struct pollfd){.fd = w->channel, .events = POLLIN};
        polled[n++] = w;
    }
    if (!n) return false;
    int count = poll(polls, n, TICK_MS);
    for (nfds_t i = 0; count > 0 && i < n && !r->stopped; i++)
        if (polls[i].revents) receive(r, polled[i]);
    return true;
}

/* After the last case workers close their devices by themselves; otherwise, and when that takes long, they
 * are killed. */
static void dismiss(runner *r) {
    bool kill_now = r->stopped || r->done < r->job->count;
    for (int i = 0; i < r->job->workers; i++)
        if (r->workers[i].pid) shutdown(r->workers[i].channel, SHUT_RDWR);
    double deadline = mg_now() + leave_seconds;
    for (int i = 0; i < r->job->workers; i++) {
        worker *w = &r->workers[i];
        if (!w->pid) continue;
        siginfo_t info = {0};
        while (!kill_now && mg_now() < deadline && !*r->job->stop &&
               waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid == 0)
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        end_process(w);
        vacate(r, w);
    }
}

gg_status mg_runner_run(const mg_runner_job *job, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_OK;
    size_t places = (size_t)job->workers;
    runner r = {.job = job,
                .workers = calloc(places, sizeof *r.workers),
                .granted = calloc(places, sizeof *r.granted),
                .returned = calloc(places, sizeof *r.returned),
                .next = job->schedule ? job->schedule->num_large : 0};
    struct pollfd *polls = calloc(places, sizeof *polls);
    worker **polled = calloc(places, sizeof *polled);
    if (!r.workers || !r.granted || !r.returned || !polls || !polled) {
        snprintf(error, MG_ERROR_SIZE, "out of memory for %d workers", job->workers);
        status = GG_ERR_MEMORY;
        goto out;
    }
    for (size_t i = 0; i < places; i++) start(&r, &r.workers[i]);
    while (r.done < job->count && !r.stopped && !*job->stop) {
        if (!step(&r, polls, polled)) {
            snprintf(error, MG_ERROR_SIZE, "workers cannot start: %.400s", r.start_error);
            status = GG_ERR_INTERNAL;
            break;
        }
        check_deadlines(&r);
        job->tick(job->user);
    }
    dismiss(&r);
out:
    free(polled);
    free(polls);
    free(r.returned);
    free(r.granted);
    free(r.workers);
    return status;
}
