/* resume.h: the results.jsonl of an interrupted run, so that another run can go on with it. */
#ifndef MG_RESUME_H
#define MG_RESUME_H

#include <sys/types.h>

#include "report.h"

typedef struct mg_resume mg_resume;

/* Reads what the run in folder `dir` has left; errors name the fix. */
gg_status mg_resume_open(mg_resume **out, const char *dir, char error[MG_ERROR_SIZE]);
void mg_resume_close(mg_resume *resume);

/* The command line of that run with the words of this one after it, so that these override, and
 * what stood behind a "--" behind one; its strings belong to `resume` and `argv`, the array to the caller. NULL: out of
 * memory. */
char **mg_resume_words(const mg_resume *resume, int argc, char **argv, int *count);

/* Whether the two runs are of the same thing; if not, `error` says what differs. */
gg_status mg_resume_matches(const mg_resume *resume, const mg_report_header *now, char error[MG_ERROR_SIZE]);

/* Results that run has left: index, verdict, message and seconds, each case once. `ids` are those of the case table. */
size_t mg_resume_count(const mg_resume *resume);
gg_status mg_resume_result(const mg_resume *resume, size_t at, const char *const *ids, size_t num_ids,
                           mg_result *out, char error[MG_ERROR_SIZE]);

/* Bytes of the file up to the end of its last whole result, and in all. */
off_t mg_resume_size(const mg_resume *resume);
off_t mg_resume_seen(const mg_resume *resume);

#endif
