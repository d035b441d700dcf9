/* doctor.h: the two halves of `moegemm doctor`. */
#ifndef MG_DOCTOR_H
#define MG_DOCTOR_H

#include "backend/backend.h"

/* Builds kernel variants for the architectures in `archs` ("sm_80,sim"; NULL: every GPU generation), without
 * a GPU: every flag set and every config once, or with `every` their whole product. Prints a line per
 * architecture; returns the exit status. */
int mg_doctor_compile(const char *archs, bool every, const char *cache_dir);

/* Prints a usage error and returns the exit status for one. */
int mg_doctor_fail(const char *error);

#endif
