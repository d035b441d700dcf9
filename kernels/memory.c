/* memory.c: the public face of the backend's memory. */
#include "context.h"

gg_status gg_alloc(gg_context *context, size_t bytes, void **out) {
    return gg_fail_backend(context, context->backend->ops->alloc(context->backend, bytes, out), "alloc");
}

void gg_free(gg_context *context, void *memory) { context->backend->ops->free(context->backend, memory); }

gg_status gg_upload(gg_context *context, void *device_dst, const void *src, size_t bytes) {
    gg_backend *backend = context->backend;
    return gg_fail_backend(context, backend->ops->upload(backend, device_dst, src, bytes), "upload");
}

gg_status gg_download(gg_context *context, void *dst, const void *device_src, size_t bytes) {
    gg_backend *backend = context->backend;
    return gg_fail_backend(context, backend->ops->download(backend, dst, device_src, bytes), "download");
}

gg_status gg_synchronize(gg_context *context) {
    gg_status status = context->backend->ops->synchronize(context->backend);
    if (!status) gg_counters_take_back(&context->counters, true);
    return gg_fail_backend(context, status, "synchronize");
}
