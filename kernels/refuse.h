/* refuse.h: how a planner says no: a status and a one-line reason; not installed. */
#ifndef GG_REFUSE_H
#define GG_REFUSE_H

#include "grouped_gemm.h"

/* Writes the reason; returns `status`. */
gg_status gg_refuse(gg_status status, char reason[GG_REASON_SIZE], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* In a function that returns gg_status and has `reason`: returns. */
#define ARGUMENT(...) return gg_refuse(GG_ERR_ARGUMENT, reason, __VA_ARGS__)
#define REFUSE(...) return gg_refuse(GG_ERR_REFUSED, reason, __VA_ARGS__)

#endif
