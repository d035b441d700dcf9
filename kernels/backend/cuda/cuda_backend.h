/* cuda_backend.h: the inside of the cuda backend, shared by cuda.c and cuda_streams.c. */
#ifndef GG_CUDA_BACKEND_H
#define GG_CUDA_BACKEND_H

#include "cuda_api.h"

enum { LABEL_SIZE = 256 };

typedef struct cuda_backend {
    gg_backend base;
    cuda_driver api;
    cuda_device ordinal;
    cuda_context context;
    gg_device device;
    gg_kernel *kernels;
    bool overlaps; /* a launch can start before the one before it has ended, in graphs too */
    void *flush;
    cuda_event start, stop;
    uint64_t launches;      /* since the last successful synchronize */
    bool elsewhere;         /* something may be under way on another stream than the default one */
    char label[LABEL_SIZE]; /* of the newest launch */
} cuda_backend;

static inline cuda_backend *self_of(gg_backend *backend) { return (cuda_backend *)backend; }

/* Records "<what>: <driver's words>" and turns the driver's result into a status; `fault` is for results that
 * have no status of their own. */
__attribute__((format(printf, 4, 5))) gg_status cuda_check(cuda_backend *b, cuda_result result,
                                                           gg_status fault, const char *format, ...);
/* Any thread and any other user of the driver may have changed the current context. */
gg_status cuda_enter(cuda_backend *b);

/* --- cuda_streams.c: rows of the vtable (backend.h) --- */

gg_status cuda_stream_new(gg_backend *backend, gg_stream *out);
void cuda_stream_free(gg_backend *backend, gg_stream stream);
gg_status cuda_stream_order(gg_backend *backend, gg_stream first, gg_stream then);
gg_status cuda_stream_id(gg_backend *backend, gg_stream stream, uint64_t *id, uint64_t *capture);
gg_status cuda_capture_begin(gg_backend *backend, gg_stream stream);
gg_status cuda_capture_end(gg_backend *backend, gg_stream stream, gg_graph **out);
gg_status cuda_graph_launch(gg_backend *backend, gg_graph *graph, gg_stream stream);
void cuda_graph_free(gg_backend *backend, gg_graph *graph);
gg_status cuda_graph_holds(gg_backend *backend, gg_stream stream, void (*release)(void *), void *data);
gg_status cuda_event_new(gg_backend *backend, gg_event **out);
void cuda_event_free(gg_backend *backend, gg_event *event);
gg_status cuda_event_record(gg_backend *backend, gg_event *event, gg_stream stream);
gg_status cuda_event_elapsed(gg_backend *backend, gg_event *from, gg_event *to, float *milliseconds);

#endif
