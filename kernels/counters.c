/* counters.c: the counters from which launches draw their tiles: one for each stream, and one for each capture of a stream, which
 * is its graph's until that is gone. */
#include <stdlib.h>
#include <string.h>

#include "context.h"

enum { PITCH = 32 }; /* bytes from one to the next: a sector of L2 each */

static gg_status no_memory(gg_context *context) { return gg_fail(context, GG_ERR_MEMORY, "out of memory"); }

gg_status gg_counters_open(gg_context *context, size_t count) {
    gg_counters *c = &context->counters;
    gg_backend *backend = context->backend;
    void *zeros = calloc(count, PITCH);
    gg_status status = GG_OK;
    c->items = calloc(count, sizeof *c->items);
    if (!zeros || !c->items)
        status = no_memory(context);
    else if ((status = backend->ops->alloc(backend, count * PITCH, &c->memory)) ||
             (status = backend->ops->upload(backend, c->memory, zeros, count * PITCH)))
        gg_fail_backend(context, status, "no tile counters (free some device memory)");
    free(zeros);
    if (status) return status;
    c->count = count;
    for (size_t i = 0; i < count; i++) c->items[i].drawn = (uint32_t *)((char *)c->memory + i * PITCH);
    return GG_OK;
}

/* One of two to hold a counter, the context and a graph; the driver may call it from a thread of its own. */
static void let_go(void *holders) {
    if (atomic_fetch_sub((atomic_int *)holders, 1) == 1) free(holders);
}

void gg_counters_close(gg_context *context) {
    gg_counters *c = &context->counters;
    gg_backend *backend = context->backend;
    for (size_t i = 0; i < c->taken; i++)
        if (c->items[i].holders) let_go(c->items[i].holders);
    if (c->memory) {
        backend->ops->synchronize(backend); /* launches may still draw from them */
        backend->ops->free(backend, c->memory);
    }
    free(c->items);
    free(c->places.slots);
    *c = (gg_counters){0};
}

static XXH128_hash_t key_of(uint64_t stream, uint64_t capture) {
    const uint64_t key[] = {stream, capture};
    return XXH3_128bits(key, sizeof key);
}

void gg_counters_take_back(gg_counters *c, bool idle) {
    size_t kept = 0;
    if (c->places.capacity) memset(c->places.slots, 0, c->places.capacity * sizeof *c->places.slots);
    c->places.count = 0;
    for (size_t i = 0; i < c->taken; i++) {
        gg_counter item = c->items[i];
        if (item.holders ? atomic_load(item.holders) > 1 : !idle) {
            c->items[i] = c->items[kept];
            c->items[kept++] = item;
            gg_map_put(&c->places, key_of(item.stream, item.capture), item.drawn); /* there is room */
        } else if (item.holders) {
            let_go(item.holders);
            c->items[i].holders = NULL;
        }
    }
    c->taken = kept;
}

/* Called when all are handed out. To wait would break a capture. */
static gg_status make_room(gg_context *context, bool capturing) {
    gg_counters *c = &context->counters;
    gg_backend *backend = context->backend;
    size_t held = 0;
    gg_counters_take_back(c, false);
    if (c->taken == c->count && !capturing) {
        gg_status status = backend->ops->synchronize(backend);
        if (status) return gg_fail_backend(context, status, "waiting for a tile counter");
        gg_counters_take_back(c, true);
    }
    if (c->taken < c->count) return GG_OK;
    for (size_t i = 0; i < c->count; i++) held += c->items[i].holders != NULL;
    return gg_fail(context, GG_ERR_MEMORY, "no tile counter left: captured graphs hold %zu of %zu (%s)", held,
                   c->count,
                   held < c->count ? "call gg_synchronize before the capture"
                                   : "destroy graphs that are launched no more");
}

static gg_status hold(gg_context *context, gg_stream stream, gg_counter *item) {
    gg_backend *backend = context->backend;
    atomic_int *holders = malloc(sizeof *holders);
    if (!holders) return no_memory(context);
    atomic_init(holders, 2);
    gg_status status = backend->ops->graph_holds(backend, stream, let_go, holders);
    if (status)
        let_go(holders);
    else
        item->holders = holders;
    return gg_fail_backend(context, status, "tile counter");
}

gg_status gg_counters_take(gg_context *context, gg_stream stream, uint32_t **out) {
    gg_counters *c = &context->counters;
    gg_backend *backend = context->backend;
    uint64_t id = 0, capture = 0;
    gg_status status = GG_OK;
    if (backend->ops->stream_id) status = backend->ops->stream_id(backend, stream, &id, &capture);
    if (status) return gg_fail_backend(context, status, "tile counter");
    const XXH128_hash_t key = key_of(id, capture);
    if ((*out = gg_map_get(&c->places, key))) return GG_OK;
    if (c->taken == c->count && (status = make_room(context, capture))) return status;
    gg_counter *item = &c->items[c->taken];
    item->stream = id;
    item->capture = capture;
    if (!gg_map_put(&c->places, key, item->drawn)) return no_memory(context);
    if (capture && (status = hold(context, stream, item))) {
        gg_counters_take_back(c, false); /* out of the map */
        return status;
    }
    c->taken++;
    *out = item->drawn;
    return GG_OK;
}
