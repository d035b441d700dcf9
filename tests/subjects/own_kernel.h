/* own_kernel.h: a subject's own device source, compiled with the shipped headers for whatever backend runs it. */
#ifndef OWN_KERNEL_H
#define OWN_KERNEL_H

#include <stdio.h>
#include <string.h>

#include "subject.h"

enum { OWN_MAX_FILES = 64 };

/* Launches kernel `entry` of `text`, one struct by value, with a plan's macros ("" for none). */
static inline gg_status own_launch(gg_context *context, const char *text, const char *entry,
                                   const char *macros, uint32_t grid, uint32_t threads, const void *params,
                                   size_t params_bytes, gg_stream stream, char error[GG_REASON_SIZE]) {
    gg_source_file files[OWN_MAX_FILES] = {{.name = "own.cu", .text = text}};
    gg_backend *backend = gg_context_backend(context);
    gg_kernel *kernel;
    for (int i = 0; gg_embedded_sources[i].name && i < OWN_MAX_FILES - 2; i++)
        files[1 + i] = gg_embedded_sources[i];
    const gg_source source = {.files = files, .root = "own.cu", .macros = macros};
    gg_status status = gg_context_kernel(context, &source, entry, &kernel);
    if (status) {
        snprintf(error, GG_REASON_SIZE, "%.250s", gg_error(context));
        return status;
    }
    const gg_launch_spec spec = {
        .grid = grid, .threads = threads, .params = params, .params_bytes = params_bytes, .label = entry};
    status = backend->ops->launch(backend, kernel, &spec, stream);
    if (status) snprintf(error, GG_REASON_SIZE, "%.250s", backend->error);
    return status;
}

/* The shipped kernels, for what is not to be wrong. */
static inline gg_status shipped_launch(gg_context *context, const gg_problem *problem,
                                       const gg_config *config, const gg_tensors *tensors, gg_stream stream,
                                       char error[GG_REASON_SIZE]) {
    gg_plan plan;
    gg_status status = gg_plan_make(problem, config, gg_get_device(context), &plan, error);
    if (status) return status;
    if ((status = gg_launch(context, &plan, tensors, stream)))
        snprintf(error, GG_REASON_SIZE, "%.250s", gg_error(context));
    return status;
}

static inline gg_status shipped_plan(const gg_problem *problem, const gg_config *config,
                                     const gg_device *device, char reason[GG_REASON_SIZE]) {
    gg_plan plan;
    return gg_plan_make(problem, config, device, &plan, reason);
}

#endif
