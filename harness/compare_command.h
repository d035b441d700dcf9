/* compare_command.h: the changes between two runs as the data of a page. */
#ifndef MG_COMPARE_COMMAND_H
#define MG_COMPARE_COMMAND_H

#include "compare_runs.h"

/* The line that mg_report_page takes; `baseline` names A. */
json_t *mg_changes_json(const char *baseline, const mg_comparison *comparison);

#endif
