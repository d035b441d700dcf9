/* refuse.c: writes a planner's reason. */
#include "refuse.h"

#include <stdarg.h>
#include <stdio.h>

gg_status gg_refuse(gg_status status, char reason[GG_REASON_SIZE], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(reason, GG_REASON_SIZE, format, args);
    va_end(args);
    return status;
}
