/* refuse.h: how a planner says no: a status and a one-line reason; not installed. */
#ifndef GG_REFUSE_H
#define GG_REFUSE_H

#include "device/params.h"
#include "grouped_gemm.h"

/* Rows of a GEMM, slots of a block: twice as many, with GG_KEEP_FIRST, are coordinates of a ragged map. */
enum { MOST_ROWS = (INT32_MAX - RAGGED_BACK) / 2 };

/* Writes the reason; returns `status`. */
gg_status gg_refuse(gg_status status, char reason[GG_REASON_SIZE], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* In a function that returns gg_status and has `reason`: returns. */
#define ARGUMENT(...) return gg_refuse(GG_ERR_ARGUMENT, reason, __VA_ARGS__)
#define REFUSE(...) return gg_refuse(GG_ERR_REFUSED, reason, __VA_ARGS__)

#endif
