/* history_news.c: what a run brought against those before it: new, recurring, fixed, flaky, changed digests. */
#include <stdlib.h>
#include <string.h>

#include "history_internal.h"
#include "progress.h"

enum {
    MEMORY = 60, /* runs looked back at: the work is proportional to them */
    WINDOW = 12, /* runs looked back at for flakiness */
    TURNS = 3,   /* so often between good and bad within them is flaky whatever the kernels were */
};

const char *mg_event_name(mg_event event) {
    static const char *const names[MG_NUM_EVENTS] = {
#define X(name, text) [name] = text,
        MG_EVENTS(X)
#undef X
    };
    return names[event];
}

/* Results of the cases of run ?1 in it and in the runs before it of its kind, newest first. Runs count in the order of
 * their times, which are of one zone on one machine; of their ids where equal. What did not run tells nothing. */
static const char timeline_sql[] =
    "SELECT c.name, r.run_id, r.verdict, o.time, CASE WHEN r.kernel <> '' THEN r.kernel"
    " WHEN o.commit_id LIKE '%-dirty' OR o.commit_id = 'unknown' THEN '' ELSE o.commit_id END"
    " FROM results r0 JOIN cases c ON c.id = r0.case_id JOIN results r ON r.case_id = r0.case_id"
    " JOIN runs o ON o.id = r.run_id WHERE r0.run_id = ?1 AND r0.verdict <> 'skipped' AND r.verdict <> "
    "'skipped'"
    " AND r.run_id IN (SELECT o.id FROM runs o, runs n WHERE n.id = ?1 AND (o.time, o.id) <= (n.time, n.id)"
    " AND o.device = n.device AND o.backend = n.backend AND o.subject = n.subject AND o.seed = n.seed"
    " ORDER BY o.time DESC, o.id DESC LIMIT ?2)"
    " ORDER BY c.name, o.time DESC, o.id DESC";

/* The other digests, newest first, of the same kernel on the same data in the same place. */
static const char digests_sql[] =
    "SELECT c.name, r.digest, p.digest, o.time FROM runs n JOIN results r ON r.run_id = n.id JOIN cases c ON "
    "c.id = r.case_id"
    " JOIN results p ON p.case_id = r.case_id AND p.kernel = r.kernel AND p.data = r.data AND p.digest <> "
    "r.digest"
    " JOIN runs o ON o.id = p.run_id WHERE n.id = ?1 AND r.kernel <> '' AND r.digest <> '' AND p.digest <> ''"
    " AND (o.time, o.id) < (n.time, n.id) AND o.device = n.device AND o.driver = n.driver AND o.compiler = "
    "n.compiler"
    " AND o.backend = n.backend AND o.seed = n.seed ORDER BY c.name, o.time DESC, o.id DESC";

static const char *text(sqlite3_stmt *s, int column) {
    const unsigned char *value = sqlite3_column_text(s, column);
    return value ? (const char *)value : "";
}

static mg_news *append(mg_newspaper *paper, const char *id) {
    if (!(paper->count & (paper->count - 1))) { /* a power of two: full */
        size_t capacity = paper->count ? 2 * paper->count : 1;
        mg_news *more = realloc(paper->items, capacity * sizeof *more);
        if (!more) return NULL;
        paper->items = more;
    }
    char *copy = strdup(id);
    if (!copy) return NULL;
    mg_news *news = &paper->items[paper->count++];
    *news = (mg_news){.id = copy};
    return news;
}

static bool is_bad(const char *verdict) {
    for (int v = 0; v < MG_NUM_VERDICTS; v++)
        if (!strcmp(verdict, mg_verdict_name((mg_verdict)v))) return mg_verdict_bad((mg_verdict)v);
    return true;
}

/* One case's results, newest first, condensed. */
typedef struct timeline {
    size_t length, turns, streak; /* results; changes of outcome in the window; bad ones from the newest on */
    bool bad, before_bad, last;   /* the newest, the one before, the one just read */
    bool mixed;                   /* the newest kernel both passed and failed */
    char kernel[80], since[40];
} timeline;

static void extend(timeline *t, bool bad, const char *time, const char *kernel) {
    if (!t->length) {
        t->bad = bad;
        snprintf(t->kernel, sizeof t->kernel, "%s", kernel);
    }
    if (t->length == 1) t->before_bad = bad;
    if (bad && t->streak == t->length) {
        t->streak++;
        snprintf(t->since, sizeof t->since, "%s", time);
    }
    if (t->length && t->length < WINDOW) t->turns += bad != t->last;
    t->mixed |= *t->kernel && !strcmp(kernel, t->kernel) && bad != t->bad;
    t->last = bad;
    t->length++;
}

static unsigned events_of(const timeline *t) {
    unsigned events = 0;
    if (t->bad) events |= 1u << (t->length > 1 && t->before_bad ? MG_EVENT_RECURRING : MG_EVENT_NEW);
    if (!t->bad && t->length > 1 && t->before_bad) events |= 1u << MG_EVENT_FIXED;
    if (t->mixed || t->turns >= TURNS) events |= 1u << MG_EVENT_FLAKY;
    return events;
}

static bool publish(mg_newspaper *paper, const char *id, const timeline *t) {
    unsigned events = t->length ? events_of(t) : 0;
    if (!events) return true;
    mg_news *news = append(paper, id);
    if (!news) return false;
    news->events = events;
    news->runs = t->streak;
    memcpy(news->since, t->since, sizeof news->since);
    return true;
}

static gg_status read_timelines(mg_history *h, sqlite3_stmt *s, mg_newspaper *paper,
                                char error[MG_ERROR_SIZE]) {
    char id[MG_ID_SIZE * 2] = "";
    timeline t = {0};
    int code;
    bool room = true;
    while (room && (code = sqlite3_step(s)) == SQLITE_ROW) {
        if (strcmp(id, text(s, 0))) {
            room = publish(paper, id, &t);
            snprintf(id, sizeof id, "%s", text(s, 0));
            t = (timeline){0};
        }
        extend(&t, is_bad(text(s, 2)), text(s, 3), text(s, 4));
    }
    if (room && code == SQLITE_DONE && publish(paper, id, &t)) return GG_OK;
    return mg_history_failed(h, error);
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const mg_news *)a)->id, ((const mg_news *)b)->id);
}

static gg_status read_digests(mg_history *h, sqlite3_stmt *s, mg_newspaper *paper,
                              char error[MG_ERROR_SIZE]) {
    int code;
    size_t sorted = paper->count; /* those of the timelines are by id already */
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const mg_news wanted = {.id = (char *)text(s, 0)};
        if (paper->count > sorted && !strcmp(paper->items[paper->count - 1].id, wanted.id))
            continue; /* an older one */
        mg_news *news = sorted ? bsearch(&wanted, paper->items, sorted, sizeof wanted, by_id) : NULL;
        if (news && news->events & 1u << MG_EVENT_UNSTABLE) continue;
        if (!news) news = append(paper, wanted.id);
        if (!news) break;
        news->events |= 1u << MG_EVENT_UNSTABLE;
        snprintf(news->digest, sizeof news->digest, "%s", text(s, 1));
        snprintf(news->earlier, sizeof news->earlier, "%s", text(s, 2));
        snprintf(news->when, sizeof news->when, "%s", text(s, 3));
    }
    return code == SQLITE_DONE ? GG_OK : mg_history_failed(h, error);
}

gg_status mg_history_news(mg_history *h, int64_t run, mg_newspaper *out, char error[MG_ERROR_SIZE]) {
    static const struct {
        const char *sql;
        gg_status (*read)(mg_history *, sqlite3_stmt *, mg_newspaper *, char *);
    } readings[] = {{timeline_sql, read_timelines}, {digests_sql, read_digests}};
    gg_status status = GG_OK;
    *out = (mg_newspaper){0};
    for (size_t i = 0; i < sizeof readings / sizeof *readings && !status; i++) {
        sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(h->db, readings[i].sql, -1, &s, NULL) != SQLITE_OK)
            return mg_history_failed(h, error);
        sqlite3_bind_int64(s, 1, run);
        sqlite3_bind_int(s, 2, MEMORY); /* of the first reading alone */
        status = readings[i].read(h, s, out, error);
        sqlite3_finalize(s);
    }
    if (out->count) qsort(out->items, out->count, sizeof *out->items, by_id);
    for (size_t i = 0; i < out->count; i++)
        for (int e = 0; e < MG_NUM_EVENTS; e++) out->counts[e] += out->items[i].events >> e & 1;
    return status;
}

void mg_newspaper_free(mg_newspaper *news) {
    for (size_t i = 0; i < news->count; i++) free(news->items[i].id);
    free(news->items);
    *news = (mg_newspaper){0};
}

json_t *mg_news_json(const mg_newspaper *paper) {
    json_t *cases = json_array();
    for (const mg_news *news = paper->items; news < paper->items + paper->count; news++) {
        json_t *changes = json_array();
        for (int e = 0; e < MG_NUM_EVENTS; e++)
            if (news->events >> e & 1)
                json_array_append_new(changes, json_string(mg_event_name((mg_event)e)));
        json_t *value = json_pack("{s:s, s:o}", "id", news->id, "changes", changes);
        if (news->events & 1u << MG_EVENT_RECURRING)
            json_object_update_new(
                value, json_pack("{s:s, s:I}", "since", news->since, "runs", (json_int_t)news->runs));
        if (news->events & 1u << MG_EVENT_UNSTABLE)
            json_object_update_new(value, json_pack("{s:s, s:s, s:s}", "digest", news->digest, "earlier",
                                                    news->earlier, "when", news->when));
        json_array_append_new(cases, value);
    }
    return json_pack("{s:s, s:s, s:o}", "type", "changes", "baseline", "the runs before", "cases", cases);
}

gg_status mg_history_follow(const char *database, const char *results_path, mg_newspaper *news,
                            char error[MG_ERROR_SIZE]) {
    mg_history history = {0};
    mg_runset set = {0};
    int64_t run;
    *news = (mg_newspaper){0};
    gg_status status = mg_runset_load(&set, results_path, error);
    if (!status) status = mg_history_open(&history, database, error);
    if (!status) status = mg_history_add(&history, &set, results_path, &run, error);
    if (!status) status = mg_history_news(&history, run, news, error);
    mg_history_close(&history);
    mg_runset_free(&set);
    return status;
}
