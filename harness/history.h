/* history.h: reports/history.db: every run's results, so that a failure can be called new, recurring, fixed or flaky, and
 * bits that change under an unchanged kernel are noticed. */
#ifndef MG_HISTORY_H
#define MG_HISTORY_H

#include <sqlite3.h>

#include "backend/backend.h"
#include "runset.h"

#define MG_EVENTS(X)                                                                                         \
    X(MG_EVENT_NEW, "new")                 /* fails; the run before passed, or there was none */             \
    X(MG_EVENT_RECURRING, "recurring")     /* failed in the run before too */                                \
    X(MG_EVENT_FIXED, "fixed")             /* passes; failed in the run before */                            \
    X(MG_EVENT_FLAKY, "flaky")             /* the same kernel both passed and failed, or it changes often */ \
    X(MG_EVENT_UNSTABLE, "changed digest") /* other bits from the same kernel, data, device and driver */
typedef enum mg_event {
#define X(name, text) name,
    MG_EVENTS(X)
#undef X
        MG_NUM_EVENTS
} mg_event;
const char *mg_event_name(mg_event event);

typedef struct mg_news {
    char *id;                     /* owned */
    unsigned events;              /* 1u << mg_event */
    char since[40];               /* time of the run in which the row of failures began */
    size_t runs;                  /* how many runs of failures in a row, this one included */
    char digest[17], earlier[17]; /* unstable: now, and what an earlier run had */
    char when[40];                /* unstable: that run's time */
} mg_news;

typedef struct mg_newspaper {
    mg_news *items; /* by id */
    size_t count;
    size_t counts[MG_NUM_EVENTS];
} mg_newspaper;

typedef struct mg_history {
    sqlite3 *db;
    char path[GG_PATH_SIZE];
} mg_history;

/* Opens or makes the database and brings an old schema up to date. Any number of processes may write at once. Errors of
 * all functions below are one line that names the file and the fix. */
gg_status mg_history_open(mg_history *out, const char *path, char error[MG_ERROR_SIZE]);
void mg_history_close(mg_history *history);

/* Takes in a results.jsonl, whole or not at all; again, what it has more than before. *run: its row. */
gg_status mg_history_add(mg_history *history, const mg_runset *set, const char *path, int64_t *run,
                         char error[MG_ERROR_SIZE]);
/* Takes in the run of a results.jsonl and says what it brought: opening, adding and news in one. */
gg_status mg_history_follow(const char *database, const char *results_path, mg_newspaper *news,
                            char error[MG_ERROR_SIZE]);
/* Every results.jsonl below ROOT/<run>/ that is not in yet: what a crash while writing, or a lost database, left out.
 * *added counts the runs. */
gg_status mg_history_import(mg_history *history, const char *root, size_t *added, char error[MG_ERROR_SIZE]);
/* Forgets runs older than `days`; *removed counts them. */
gg_status mg_history_prune(mg_history *history, double days, size_t *removed, char error[MG_ERROR_SIZE]);

/* What a run brought against the runs before it on the same device, backend and subject with the same seed. */
gg_status mg_history_news(mg_history *history, int64_t run, mg_newspaper *out, char error[MG_ERROR_SIZE]);
void mg_newspaper_free(mg_newspaper *news);
/* The line for mg_report_page: badges and since when. */
json_t *mg_news_json(const mg_newspaper *news);

/* The page of all runs, at most the last 60. */
gg_status mg_history_page(mg_history *history, const char *path, char error[MG_ERROR_SIZE]);

#endif
