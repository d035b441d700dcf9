/* result.c: the names and letters of the verdicts, and the names of the perturbations. */
#include "result.h"

static const struct {
    const char *name;
    char letter;
} verdicts[] = {
#define X(name, text, letter) [name] = {text, letter},
    MG_VERDICTS(X)
#undef X
};

const char *mg_verdict_name(mg_verdict verdict) { return verdicts[verdict].name; }
char mg_verdict_letter(mg_verdict verdict) { return verdicts[verdict].letter; }

const char *mg_perturbation_name(mg_perturbation perturbation) {
    static const char *const names[MG_NUM_PERTURBATIONS] = {
#define X(name, text) [name] = text,
        MG_PERTURBATIONS(X)
#undef X
    };
    return names[perturbation];
}
