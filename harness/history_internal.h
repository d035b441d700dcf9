/* history_internal.h: shared by history*.c. */
#ifndef MG_HISTORY_INTERNAL_H
#define MG_HISTORY_INTERNAL_H

#include "history.h"

/* The line on what SQLite met; returns GG_ERR_IO. */
gg_status mg_history_failed(const mg_history *history, char error[MG_ERROR_SIZE]);

#endif
