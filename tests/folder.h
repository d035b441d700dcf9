/* folder.h: a folder for each test, its set-up and teardown; the test's state is the path. */
#ifndef MG_TEST_FOLDER_H
#define MG_TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make_folder(void **state) {
    char *dir = malloc(64);
    strcpy(dir, "/tmp/moegemm-test-XXXXXX");
    *state = dir;
    return !mkdtemp(dir);
}

static int remove_folder(void **state) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    free(*state);
    return system(command);
}

#endif
