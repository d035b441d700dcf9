/* report.c: results.jsonl: a header line, a line for each result the moment it arrives, a summary line. */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "golden.h"
#include "report_internal.h"
#include "runner.h"
#include "version.h"

enum { SCHEMA = 1, PRECISION = 9 /* digits that give any float32 back */ };

struct mg_report {
    int fd;
    off_t size; /* whole lines only */
    double synced;
    bool dirty;
    char path[GG_PATH_SIZE], golden_dir[GG_PATH_SIZE];
};

static gg_status cannot_write(const char *path, const char *fix, char error[MG_ERROR_SIZE]) {
    int code = errno;
    bool full = code == ENOSPC || code == EDQUOT;
    snprintf(error, MG_ERROR_SIZE, "cannot write '%.300s': %s (%s%s)", path, strerror(code),
             full ? "free space or " : "", fix);
    return GG_ERR_IO;
}

gg_status mg_cannot_write(const char *path, char error[MG_ERROR_SIZE]) {
    return cannot_write(path, "pass --report DIR", error);
}

/* mkdir -p */
static gg_status make_folders(const char *dir, char error[MG_ERROR_SIZE]) {
    char path[GG_PATH_SIZE];
    snprintf(path, sizeof path, "%s", dir);
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p) continue;
        bool last = !*p;
        *p = 0;
        if (mkdir(path, 0777) && errno != EEXIST) return mg_cannot_write(path, error);
        if (last) return GG_OK;
        *p = '/';
    }
}

json_t *mg_json_text(const char *s) {
    json_t *value = json_string(s);
    if (value) return value;
    char *copy = strdup(s);
    for (char *p = copy; p && *p; p++)
        if (*p & 0x80) *p = '?';
    value = json_string(copy ? copy : "");
    free(copy);
    return value;
}

/* JSON has no NaN and no infinities: those are the strings "nan", "inf", "-inf". */
static json_t *number(double x) {
    if (isnan(x)) return json_string("nan");
    if (isinf(x)) return json_string(x > 0 ? "inf" : "-inf");
    return json_real(x);
}

static json_t *hex(const uint8_t *bytes, size_t count) {
    char digits[2 * MG_MAP_SIZE * MG_MAP_SIZE + 1] = "";
    for (size_t i = 0; i < count; i++) sprintf(digits + 2 * i, "%02x", bytes[i]);
    return json_string(digits);
}

static json_t *hex64(uint64_t value) {
    char digits[17];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)value);
    return json_string(digits);
}

static json_t *runs_json(const mg_result *r) {
    json_t *value = json_array();
    for (uint32_t i = 0; i < r->num_runs && i < MG_MAX_RUNS; i++) {
        const mg_repeat *run = &r->runs[i];
        bool known = run->perturbation < MG_NUM_PERTURBATIONS;
        json_array_append_new(value,
                              json_pack("{s:s, s:b, s:o}", "perturbation",
                                        mg_perturbation_name(known ? run->perturbation : MG_PERTURB_NONE),
                                        "equal", (int)run->equal, "digest", hex64(run->digest)));
    }
    return value;
}

static json_t *difference_json(const mg_difference *d) {
    json_t *value = json_pack("{s:o, s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "output",
                              mg_json_text(d->output), "compared", (json_int_t)d->compared, "wrong",
                              (json_int_t)d->wrong, "row", (json_int_t)d->row, "col", (json_int_t)d->col,
                              "expert", d->expert, "expected", number(d->expected), "got", number(d->got),
                              "max_ulp", number(d->max_ulp), "mean_ulp", number(d->mean_ulp), "bound_ratio",
                              number(d->bound_ratio), "tile_rms", number(d->tile_rms));
    json_object_update_new(
        value, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "rows", (json_int_t)d->rows, "cols",
                         (json_int_t)d->cols, "place", (json_int_t)d->place, "worst_row",
                         (json_int_t)d->worst_row, "worst_col", (json_int_t)d->worst_col, "worst_place",
                         (json_int_t)d->worst_place, "worst_expected", number(d->worst_expected), "worst_got",
                         number(d->worst_got), "hard_ratio", number(d->hard_ratio)));
    size_t bins = MG_ULP_BINS;
    while (bins && !d->ulps[bins - 1]) bins--;
    json_t *ulps = json_array();
    for (size_t i = 0; i < bins; i++) json_array_append_new(ulps, json_integer(d->ulps[i]));
    json_object_set_new(value, "ulps", ulps);
    bool fits = d->map_rows <= MG_MAP_SIZE && d->map_cols <= MG_MAP_SIZE;
    if (d->wrong && d->map_rows && d->map_cols && fits)
        json_object_set_new(value, "map",
                            json_pack("{s:i, s:i, s:o}", "rows", (int)d->map_rows, "cols", (int)d->map_cols,
                                      "cells", hex(d->map, (size_t)d->map_rows * d->map_cols)));
    return value;
}

/* Rows of each expert, for the boundaries on the error map; NULL where the routing cannot be read. */
static json_t *experts_json(const char *golden_dir, const mg_case *c) {
    char path[GG_PATH_SIZE], ignored[MG_ERROR_SIZE];
    mg_npy sizes;
    snprintf(path, sizeof path, "%s/routing/%s/m_sizes.npy", golden_dir, c->problem->routing);
    if (mg_npy_read(path, &sizes, ignored)) return NULL;
    json_t *value = json_array();
    for (size_t i = 0; i < sizes.count && sizes.type == MG_NPY_I4; i++)
        json_array_append_new(value, json_integer(((const int32_t *)sizes.data)[i]));
    mg_npy_free(&sizes);
    return value;
}

static json_t *result_json(const mg_report *report, const char *id, const mg_case *c, const mg_result *r) {
    json_t *value = json_pack("{s:o, s:s, s:I, s:o, s:i, s:o, s:o, s:o, s:o}", "id", mg_json_text(id),
                              "verdict", mg_verdict_name(r->verdict), "index", (json_int_t)r->index,
                              "message", mg_json_text(r->message), "repeats", (int)r->repeats, "seconds",
                              number(r->seconds), "kernel_ms", number(r->kernel_ms), "digest",
                              hex64(r->digest), "config", mg_json_text(r->config));
    if (r->kernel) json_object_set_new(value, "kernel", hex64(r->kernel));
    if (r->data) json_object_set_new(value, "data", hex64(r->data));
    if (r->num_runs) json_object_set_new(value, "runs", runs_json(r));
    if (!r->difference.compared) return value;
    json_t *difference = difference_json(&r->difference);
    if (r->difference.wrong && c && report->golden_dir[0])
        json_object_set_new(difference, "experts", experts_json(report->golden_dir, c));
    json_object_set_new(value, "difference", difference);
    return value;
}

static json_t *header_json(const mg_report_header *h) {
    char now[40] = "";
    time_t t = time(NULL);
    struct tm local;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&t, &local));
    uint64_t run = (uint64_t)t << 20 ^ (uint64_t)getpid(); /* apart from a run in the same second */
    (void)!getrandom(&run, sizeof run, GRND_NONBLOCK);
    const gg_device *d = h->device;
    json_t *device =
        json_pack("{s:o, s:i, s:i, s:o, s:o}", "name", mg_json_text(d->name), "cc", d->cc, "sm_count",
                  d->sm_count, "driver", mg_json_text(d->driver), "compiler", mg_json_text(d->compiler));
    json_t *value = json_pack(
        "{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:I, s:I, s:I}", "schema", SCHEMA, "version",
        MG_VERSION, "commit", MG_COMMIT, "time", now, "device", device, "backend", mg_json_text(h->backend),
        "subject", mg_json_text(h->subject), "command", mg_json_text(h->command), "repro",
        mg_json_text(h->repro), "workers", h->workers, "selected", (json_int_t)h->selected, "deselected",
        (json_int_t)h->deselected, "seed", (json_int_t)h->user_seed);
    json_object_set_new(value, "run", hex64(run));
    json_t *words = h->arguments ? json_array() : NULL;
    for (size_t i = 0; words && h->arguments[i]; i++)
        json_array_append_new(words, mg_json_text(h->arguments[i]));
    if (words) json_object_set_new(value, "arguments", words);
    return value;
}

static json_t *summary_json(const mg_report_summary *s) {
    json_t *value = json_pack("{s:I, s:b, s:o}", "not_run", (json_int_t)s->not_run, "interrupted",
                              (int)s->interrupted, "seconds", number(s->seconds));
    for (int v = 0; v < MG_NUM_VERDICTS; v++)
        json_object_set_new(value, mg_verdict_name(v), json_integer((json_int_t)s->counts[v]));
    return json_pack("{s:o}", "summary", value);
}

/* Takes `value`. */
static gg_status write_line(mg_report *report, json_t *value, char error[MG_ERROR_SIZE]) {
    gg_status status = GG_OK;
    char *dump = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(PRECISION)) : NULL;
    char *line = NULL;
    int length = dump ? asprintf(&line, "%s\n", dump) : -1;
    if (length < 0) {
        snprintf(error, MG_ERROR_SIZE, "out of memory for a line of '%.300s'", report->path);
        status = GG_ERR_MEMORY;
        goto out;
    }
    errno = ENOSPC; /* what a short write means */
    if (write(report->fd, line, (size_t)length) != length) {
        status = mg_cannot_write(report->path, error);
        (void)!ftruncate(report->fd, report->size);
        goto out;
    }
    report->size += length;
    report->dirty = true;
out:
    if (length >= 0) free(line);
    free(dump);
    json_decref(value);
    return status;
}

static gg_status new_report(mg_report **out, const char *dir, const char *golden_dir, int flags,
                            char error[MG_ERROR_SIZE]) {
    mg_report *report = *out = calloc(1, sizeof *report);
    if (!report) {
        snprintf(error, MG_ERROR_SIZE, "out of memory");
        return GG_ERR_MEMORY;
    }
    snprintf(report->path, sizeof report->path, "%s/results.jsonl", dir);
    snprintf(report->golden_dir, sizeof report->golden_dir, "%s", golden_dir ? golden_dir : "");
    report->fd = open(report->path, O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0666);
    return report->fd < 0 ? mg_cannot_write(report->path, error) : GG_OK;
}

/* Keeps other runs off the file; 0, or why it cannot. Workers of a killed run hold the lock until they are gone, too. */
static int lock(const mg_report *report) {
    enum { TRIES = 20, TRY_MS = 100 };
    for (int tries = 0; flock(report->fd, LOCK_EX | LOCK_NB);) {
        if (errno != EWOULDBLOCK || ++tries == TRIES) return errno;
        nanosleep(&(struct timespec){.tv_nsec = TRY_MS * 1000000}, NULL);
    }
    return 0;
}

static gg_status locked(const mg_report *report, const char *what, int code, char error[MG_ERROR_SIZE]) {
    snprintf(error, MG_ERROR_SIZE, "cannot %s '%.300s': %s (stop the run that writes it)", what, report->path,
             code == EWOULDBLOCK ? "it is being written" : strerror(code));
    return GG_ERR_IO;
}

gg_status mg_report_open(mg_report **out, const char *dir, const mg_report_header *header,
                         char error[MG_ERROR_SIZE]) {
    mg_report *report = NULL;
    gg_status status = make_folders(dir, error);
    if (!status) status = new_report(&report, dir, header->golden_dir, O_CREAT, error);
    /* a file that takes no lock does without */
    if (!status && lock(report) == EWOULDBLOCK) status = locked(report, "write", EWOULDBLOCK, error);
    if (!status) {
        (void)!ftruncate(report->fd, 0); /* a pipe or a device has nothing to cut off */
        status = write_line(report, header_json(header), error);
    }
    if (status) mg_report_close(report);
    *out = status ? NULL : report;
    return status;
}

gg_status mg_report_reopen(mg_report **out, const char *dir, const char *golden_dir, off_t size, off_t seen,
                           char error[MG_ERROR_SIZE]) {
    mg_report *report = NULL;
    gg_status status = new_report(&report, dir, golden_dir, 0, error);
    int code = status ? 0 : lock(report);
    if (code) status = locked(report, "resume", code, error);
    struct stat info;
    if (!status && !fstat(report->fd, &info) && info.st_size != seen) {
        snprintf(error, MG_ERROR_SIZE, "cannot resume '%.300s': it has just been written (try again)",
                 report->path);
        status = GG_ERR_IO;
    }
    if (!status && ftruncate(report->fd, size)) status = mg_cannot_write(report->path, error);
    if (status) {
        mg_report_close(report);
        report = NULL;
    } else {
        report->size = size;
    }
    *out = report;
    return status;
}

void mg_report_close(mg_report *report) {
    if (!report) return;
    if (report->fd >= 0) close(report->fd);
    free(report);
}

const char *mg_report_path(const mg_report *report) { return report->path; }

gg_status mg_report_add(mg_report *report, const char *id, const mg_case *c, const mg_result *result,
                        char error[MG_ERROR_SIZE]) {
    gg_status status = write_line(report, result_json(report, id, c, result), error);
    return status ? status : mg_report_sync(report, false, error);
}

gg_status mg_report_add_json(mg_report *report, json_t *value, char error[MG_ERROR_SIZE]) {
    gg_status status = write_line(report, value, error);
    return status ? status : mg_report_sync(report, false, error);
}

gg_status mg_report_sync(mg_report *report, bool now, char error[MG_ERROR_SIZE]) {
    if (!report->dirty || (!now && mg_now() - report->synced < 1)) return GG_OK;
    /* EINVAL: a pipe or a device has nothing to put on a disk */
    if (fdatasync(report->fd) && errno != EINVAL && errno != EROFS)
        return mg_cannot_write(report->path, error);
    report->synced = mg_now();
    report->dirty = false;
    return GG_OK;
}

gg_status mg_report_end(mg_report *report, const mg_report_summary *summary, char error[MG_ERROR_SIZE]) {
    gg_status status = write_line(report, summary_json(summary), error);
    return status ? status : mg_report_sync(report, true, error);
}

void mg_report_default_dir(const char *root, char *dir, size_t size) {
    char now[32], ignored[MG_ERROR_SIZE];
    time_t t = time(NULL);
    struct tm local;
    strftime(now, sizeof now, "%Y%m%d-%H%M%S", localtime_r(&t, &local));
    (void)make_folders(root, ignored); /* mg_report_open says what is wrong */
    snprintf(dir, size, "%s/%s-%.12s", root, now, MG_COMMIT);
    for (int i = 2; mkdir(dir, 0777) && errno == EEXIST && i < 1000; i++)
        snprintf(dir, size, "%s/%s-%.12s-%d", root, now, MG_COMMIT, i);
}

void mg_report_link_latest(const char *root, const char *dir) {
    char fresh[GG_PATH_SIZE], latest[GG_PATH_SIZE];
    snprintf(fresh, sizeof fresh, "%s/.latest-%d", root, (int)getpid());
    snprintf(latest, sizeof latest, "%s/latest", root);
    const char *slash = strrchr(dir, '/');
    if (symlink(slash ? slash + 1 : dir, fresh) == 0 && rename(fresh, latest)) unlink(fresh);
}

/* --- reading back --- */

json_t *mg_line_next(FILE *in, mg_line *kind) {
    static const char *const keys[MG_NUM_LINES] = {[MG_LINE_HEADER] = "schema",
                                                   [MG_LINE_RESULT] = "id",
                                                   [MG_LINE_SUMMARY] = "summary",
                                                   [MG_LINE_TYPED] = "type"};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    json_t *value = NULL;
    while (!value && (length = getline(&line, &capacity, in)) > 0) {
        value = json_loads(line, 0, NULL);
        for (*kind = 0; value && *kind < MG_NUM_LINES && !json_object_get(value, keys[*kind]);) (*kind)++;
        if (value && *kind == MG_NUM_LINES) {
            json_decref(value);
            value = NULL;
        }
    }
    free(line);
    return value;
}

gg_status mg_spare_results(const char *path, char error[MG_ERROR_SIZE]) {
    struct stat info;
    char *line = NULL;
    size_t capacity = 0;
    FILE *in = stat(path, &info) || !S_ISREG(info.st_mode) ? NULL : fopen(path, "re");
    json_t *first = in && getline(&line, &capacity, in) > 0 ? json_loads(line, 0, NULL) : NULL;
    const bool results = json_object_get(first, "schema");
    if (results)
        snprintf(error, MG_ERROR_SIZE, "cannot write '%.300s': a run's results are in it (name another file)",
                 path);
    json_decref(first);
    free(line);
    if (in) fclose(in);
    return results ? GG_ERR_IO : GG_OK;
}

gg_status mg_convert_open(const char *results_path, const char *path, FILE **in, FILE **out,
                          char error[MG_ERROR_SIZE]) {
    *out = NULL;
    if (mg_spare_results(path, error)) return GG_ERR_IO;
    if (!(*in = fopen(results_path, "re"))) {
        snprintf(error, MG_ERROR_SIZE, "cannot read '%.300s': %s", results_path, strerror(errno));
        return GG_ERR_IO;
    }
    if ((*out = fopen(path, "we"))) return GG_OK;
    gg_status status = cannot_write(path, "name another place", error);
    fclose(*in);
    return status;
}

gg_status mg_convert_close(const char *path, FILE *in, FILE *out, char error[MG_ERROR_SIZE]) {
    fclose(in);
    errno = ENOSPC; /* for an error that an earlier write met */
    struct stat info = {0};
    bool bad = ferror(out) || fstat(fileno(out), &info);
    if (!fclose(out) && !bad) return GG_OK;
    gg_status status = cannot_write(path, "name another place", error);
    if (S_ISREG(info.st_mode)) unlink(path); /* not a device that someone named */
    return status;
}
