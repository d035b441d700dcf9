/* cuda_streams.c: streams and how they wait for each other, graphs captured from them, events in them. */
#include "cuda_backend.h"

/* Non-blocking, so that work on it overlaps the default stream's. */
gg_status cuda_stream_new(gg_backend *backend, gg_stream *out) {
    cuda_backend *b = self_of(backend);
    cuda_stream stream = NULL;
    gg_status status = cuda_enter(b);
    if (!status)
        status = cuda_check(b, b->api.stream_create(&stream, CU_STREAM_NON_BLOCKING), GG_ERR_LAUNCH,
                            "cannot make a stream");
    *out = stream;
    return status;
}

void cuda_stream_free(gg_backend *backend, gg_stream stream) {
    cuda_backend *b = self_of(backend);
    if (stream && !cuda_enter(b)) b->api.stream_destroy(stream);
}

/* By an event that lives until the device has passed it; captured, it becomes an edge of the graph. */
gg_status cuda_stream_order(gg_backend *backend, gg_stream first, gg_stream then) {
    cuda_backend *b = self_of(backend);
    cuda_event event = NULL;
    gg_status status = cuda_enter(b);
    if (status) return status;
    cuda_result result = b->api.event_create(&event, CU_EVENT_DISABLE_TIMING);
    if (!result) result = b->api.event_record(event, first);
    if (!result) result = b->api.stream_wait_event(then, event, 0);
    if (event) b->api.event_destroy(event);
    return cuda_check(b, result, GG_ERR_LAUNCH, "cannot order two streams");
}

gg_status cuda_stream_id(gg_backend *backend, gg_stream stream, uint64_t *id, uint64_t *capture) {
    cuda_backend *b = self_of(backend);
    unsigned long long number = 0;
    uint64_t captured = 0;
    int capturing = 0;
    gg_status status = cuda_enter(b);
    if (status) return status;
    cuda_result result = b->api.capture_get_info(stream, &capturing, &captured, NULL, NULL, NULL);
    const bool active = capturing == CU_STREAM_CAPTURE_STATUS_ACTIVE;
    /* not allowed in a capture, where the address serves: it is one stream's as long as that lasts */
    if (!result && !active) result = b->api.stream_get_id(stream, &number);
    *id = active ? (uint64_t)(uintptr_t)stream : number;
    *capture = active ? captured : 0;
    return cuda_check(b, result, GG_ERR_LAUNCH, "cannot tell which stream this is");
}

/* --- graphs --- */

/* Relaxed: a kernel may be loaded while its first launch is captured. */
gg_status cuda_capture_begin(gg_backend *backend, gg_stream stream) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    return status ? status
                  : cuda_check(b, b->api.capture_begin(stream, CU_STREAM_CAPTURE_MODE_RELAXED), GG_ERR_LAUNCH,
                               "cannot begin to capture a stream");
}

gg_status cuda_capture_end(gg_backend *backend, gg_stream stream, gg_graph **out) {
    cuda_backend *b = self_of(backend);
    cuda_graph graph = NULL;
    cuda_graph_exec exec = NULL;
    gg_status status = cuda_enter(b);
    *out = NULL;
    if (status) return status;
    status =
        cuda_check(b, b->api.capture_end(stream, &graph), GG_ERR_LAUNCH, "cannot capture '%s'", b->label);
    if (!status)
        status = cuda_check(b, b->api.graph_instantiate(&exec, graph, 0), GG_ERR_LAUNCH,
                            "cannot make a graph of '%s'", b->label);
    if (graph) b->api.graph_destroy(graph);
    *out = (gg_graph *)exec;
    return status;
}

gg_status cuda_graph_launch(gg_backend *backend, gg_graph *graph, gg_stream stream) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    b->elsewhere = true;
    return status ? status
                  : cuda_check(b, b->api.graph_launch((cuda_graph_exec)graph, stream), GG_ERR_LAUNCH,
                               "cannot replay the graph of '%s'", b->label);
}

void cuda_graph_free(gg_backend *backend, gg_graph *graph) {
    cuda_backend *b = self_of(backend);
    if (graph && !cuda_enter(b)) b->api.graph_exec_destroy((cuda_graph_exec)graph);
}

/* By an object that the graph owns, and its copies and instances; where one is destroyed while it runs, until it has run. */
gg_status cuda_graph_holds(gg_backend *backend, gg_stream stream, void (*release)(void *), void *data) {
    cuda_backend *b = self_of(backend);
    cuda_graph graph = NULL;
    cuda_user_object object = NULL;
    uint64_t capture;
    int capturing;
    gg_status status = cuda_enter(b);
    if (status) {
        release(data);
        return status;
    }
    cuda_result result = b->api.capture_get_info(stream, &capturing, &capture, &graph, NULL, NULL);
    if (!result)
        result = b->api.user_object_create(&object, data, release, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    if (result) {
        release(data);
    } else if ((result = b->api.graph_retain_object(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE))) {
        b->api.user_object_release(object, 1);
    }
    return cuda_check(b, result, GG_ERR_LAUNCH, "cannot tie memory to a captured graph");
}

/* --- time --- */

gg_status cuda_event_new(gg_backend *backend, gg_event **out) {
    cuda_backend *b = self_of(backend);
    cuda_event event = NULL;
    gg_status status = cuda_enter(b);
    if (!status)
        status = cuda_check(b, b->api.event_create(&event, CU_EVENT_DEFAULT), GG_ERR_LAUNCH,
                            "cannot make an event");
    *out = (gg_event *)event;
    return status;
}

void cuda_event_free(gg_backend *backend, gg_event *event) {
    cuda_backend *b = self_of(backend);
    if (event && !cuda_enter(b)) b->api.event_destroy((cuda_event)event);
}

gg_status cuda_event_record(gg_backend *backend, gg_event *event, gg_stream stream) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    return status ? status
                  : cuda_check(b, b->api.event_record((cuda_event)event, stream), GG_ERR_LAUNCH,
                               "cannot record an event");
}

gg_status cuda_event_elapsed(gg_backend *backend, gg_event *from, gg_event *to, float *milliseconds) {
    cuda_backend *b = self_of(backend);
    gg_status status = cuda_enter(b);
    if (status) return status;
    cuda_result result = b->api.event_synchronize((cuda_event)to);
    if (!result) result = b->api.event_elapsed_time(milliseconds, (cuda_event)from, (cuda_event)to);
    return cuda_check(b, result, GG_ERR_LAUNCH, "cannot time '%s'", b->label);
}
