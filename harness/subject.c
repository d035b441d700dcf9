/* subject.c: the table of built-in subjects, and the loading of a user's own library. */
#include "subject.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static gg_status fail(gg_context *context, gg_status status, char error[GG_REASON_SIZE]) {
    if (status != GG_OK) snprintf(error, GG_REASON_SIZE, "%s", gg_error(context));
    return status;
}

static gg_status launch_planned(gg_context *context, const gg_problem *problem, const gg_config *config,
                                const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    gg_plan plan;
    gg_status status = gg_plan_make(problem, config, gg_get_device(context), &plan, error);
    if (status != GG_OK) return status;
    return fail(context, gg_launch(context, &plan, tensors, stream), error);
}

static gg_status moegemm_plan(const gg_problem *problem, const gg_config *config, const gg_device *device,
                              char reason[GG_REASON_SIZE]) {
    gg_plan plan;
    return gg_plan_make(problem, config, device, &plan, reason);
}

static gg_config reference_config(const gg_config *config) {
    gg_config reference = *config;
    reference.mainloop = GG_REFERENCE;
    reference.tma = 0;
    reference.copy_rows = false;
    return reference;
}

/* What the shipped kernels refuse is refused here too, so that both subjects run the same cases. */
static gg_status reference_plan(const gg_problem *problem, const gg_config *config, const gg_device *device,
                                char reason[GG_REASON_SIZE]) {
    gg_config reference = reference_config(config);
    gg_status status = moegemm_plan(problem, config, device, reason);
    return status != GG_OK ? status : moegemm_plan(problem, &reference, device, reason);
}

static gg_status reference_launch(gg_context *context, const gg_problem *problem, const gg_config *config,
                                  const gg_tensors *tensors, gg_stream stream, char error[GG_REASON_SIZE]) {
    gg_config reference = reference_config(config);
    return launch_planned(context, problem, &reference, tensors, stream, error);
}

static gg_status reduce(gg_context *context, gg_dtype dtype, int64_t T, int32_t topk, int32_t K,
                        const void *dx_slots, void *dx_tokens, gg_stream stream, char error[GG_REASON_SIZE]) {
    return fail(context, gg_reduce_topk(context, dtype, T, topk, K, dx_slots, dx_tokens, stream), error);
}

const mg_subject mg_subject_moegemm = {.abi = MG_SUBJECT_ABI,
                                       .name = "moegemm",
                                       .description = "the shipped kernels",
                                       .plan = moegemm_plan,
                                       .launch = launch_planned,
                                       .reduce_topk = reduce};

const mg_subject mg_subject_reference = {.abi = MG_SUBJECT_ABI,
                                         .name = "reference",
                                         .description = "the naive kernel, one thread an output element",
                                         .plan = reference_plan,
                                         .launch = reference_launch,
                                         .reduce_topk = reduce};

static const mg_subject *const built_in[] = {&mg_subject_moegemm, &mg_subject_reference};

static gg_status load(const char *path, const mg_subject **out, char error[512]) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(error, 512, "subject does not load: %s", dlerror());
        return GG_ERR_IO;
    }
    mg_subject_get_function get;
    *(void **)&get =
        dlsym(library, "mg_subject_get"); /* the way POSIX spells an object pointer that is a function */
    const mg_subject *subject = get ? get() : NULL;
    if (!get) {
        snprintf(error, 512, "subject '%s' does not export mg_subject_get (see tests/subjects/example.c)",
                 path);
    } else if (!subject || subject->abi != MG_SUBJECT_ABI) {
        snprintf(error, 512,
                 "subject '%s' has interface version %d, this harness has %d: rebuild it with its subject.h",
                 path, subject ? subject->abi : 0, MG_SUBJECT_ABI);
    } else if (!subject->name || !subject->plan || !subject->launch) {
        snprintf(error, 512, "subject '%s' lacks a name, plan or launch", path);
    } else {
        *out = subject;
        return GG_OK;
    }
    dlclose(library);
    return GG_ERR_ARGUMENT;
}

gg_status mg_subject_find(const char *name_or_path, const mg_subject **out, char error[512]) {
    if (strchr(name_or_path, '/')) return load(name_or_path, out, error);
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (!strcmp(built_in[i]->name, name_or_path)) {
            *out = built_in[i];
            return GG_OK;
        }
    snprintf(error, 512, "unknown subject '%s' (moegemm, reference, or the path of a library, with a slash)",
             name_or_path);
    return GG_ERR_ARGUMENT;
}
