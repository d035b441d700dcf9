/* memory.c: the public face of the backend's memory. */
#include "backend/backend.h"

gg_status gg_alloc(gg_context *context, size_t bytes, void **out) {
    gg_backend *backend = gg_context_backend(context);
    return backend->ops->alloc(backend, bytes, out);
}

void gg_free(gg_context *context, void *memory) {
    gg_backend *backend = gg_context_backend(context);
    backend->ops->free(backend, memory);
}

gg_status gg_upload(gg_context *context, void *device_dst, const void *src, size_t bytes) {
    gg_backend *backend = gg_context_backend(context);
    return backend->ops->upload(backend, device_dst, src, bytes);
}

gg_status gg_download(gg_context *context, void *dst, const void *device_src, size_t bytes) {
    gg_backend *backend = gg_context_backend(context);
    return backend->ops->download(backend, dst, device_src, bytes);
}

gg_status gg_synchronize(gg_context *context) {
    gg_backend *backend = gg_context_backend(context);
    return backend->ops->synchronize(backend);
}
