/* broken.c: libraries that are no subjects: one without the function, one of another interface version. */
#include "subject.h"

#ifdef BROKEN_VERSION
const mg_subject *mg_subject_get(void);
const mg_subject *mg_subject_get(void) {
    static const mg_subject old = {.abi = 0, .name = "old"};
    return &old;
}
#else
extern const int not_a_subject;
const int not_a_subject = 1;
#endif
