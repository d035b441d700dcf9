/* arguments.h: the command lines of the small subcommands: a table of options that take a value, the rest positional. */
#ifndef MG_ARGUMENTS_H
#define MG_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mg_argument {
    const char *name, *value; /* "--html", "FILE"; value NULL: a flag */
    const char *help;
    const char **text; /* where its value goes; of a flag its own name */
} mg_argument;

typedef struct mg_arguments {
    const char *command, *usage, *about; /* "compare", "A B", a line for the help */
    const mg_argument *table;
    size_t count;
} mg_arguments;

/* Reads argv; positional arguments are moved to its front, after argv[0]. Returns how many; below 0: end with the status
 * that mg_arguments_status gives (the help or an error has been printed). */
int mg_arguments_read(const mg_arguments *arguments, int argc, char **argv);
int mg_arguments_status(int read);
/* Prints "ERROR: ..." and the usage; returns MG_EXIT_USAGE. */
int mg_arguments_fail(const mg_arguments *arguments, const char *error);
/* Whether `text` is a whole number from `least` to `most`, which then is in *out. */
bool mg_argument_number(const char *text, long long least, long long most, long long *out);

#endif
