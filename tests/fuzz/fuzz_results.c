/* fuzz_results.c: the readers of results.jsonl: as a set of results, for --resume, and on the way to JUnit's XML. */
#include "fuzz.h"
#include "report.h"
#include "resume.h"
#include "runset.h"

/* A folder whose results.jsonl is the input's file. */
static const char *input_folder(const char *file) {
    static char folder[] = "/tmp/fuzz-XXXXXX";
    char link[64];
    if (strstr(folder, "XXXXXX")) {
        if (!mkdtemp(folder)) abort();
        snprintf(link, sizeof link, "%s/results.jsonl", folder);
        if (symlink(file, link)) abort();
    }
    return folder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[MG_ERROR_SIZE] = "";
    const char *path = input_file(data, size);
    mg_runset set;
    mg_resume *resume;
    if (mg_runset_load(&set, path, error) == GG_OK) {
        for (size_t i = 0; i < set.count; i++)
            if (!mg_runset_find(&set, set.items[i].id)) abort();
        mg_runset_word(&set, "device");
        mg_runset_free(&set);
    } else if (!error[0]) {
        abort();
    }
    if (mg_resume_open(&resume, input_folder(path), error) == GG_OK) {
        static const char *const ids[] = {"a", "b"};
        mg_result result;
        for (size_t i = 0; i < mg_resume_count(resume); i++)
            mg_resume_result(resume, i, ids, 2, &result, error);
        mg_resume_close(resume);
    }
    mg_report_junit(path, "/dev/null", error);
    return 0;
}
