/* context.c: a device with its compiled kernels: opening, closing, errors, and the kernels loaded so far. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/build.h"
#include "context.h"

/* --- map --- */

static gg_map_slot *find_slot(const gg_map *map, XXH128_hash_t key) {
    size_t mask = map->capacity - 1, at = key.low64 & mask;
    while (map->slots[at].value && !XXH128_isEqual(map->slots[at].key, key)) at = (at + 1) & mask;
    return &map->slots[at];
}

void *gg_map_get(const gg_map *map, XXH128_hash_t key) {
    return map->capacity ? find_slot(map, key)->value : NULL;
}

bool gg_map_put(gg_map *map, XXH128_hash_t key, void *value) {
    if (2 * (map->count + 1) > map->capacity) {
        gg_map grown = {.capacity = map->capacity ? 2 * map->capacity : 64, .count = map->count};
        if (!(grown.slots = calloc(grown.capacity, sizeof *grown.slots))) return false;
        for (size_t i = 0; i < map->capacity; i++)
            if (map->slots[i].value) *find_slot(&grown, map->slots[i].key) = map->slots[i];
        free(map->slots);
        *map = grown;
    }
    gg_map_slot *slot = find_slot(map, key);
    map->count += !slot->value;
    *slot = (gg_map_slot){key, value};
    return true;
}

/* --- errors --- */

gg_status gg_fail(gg_context *context, gg_status fault, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->error, sizeof context->error, format, arguments);
    va_end(arguments);
    return fault;
}

gg_status gg_fail_backend(gg_context *context, gg_status status, const char *what) {
    return status ? gg_fail(context, status, "%s: %.*s", what, GG_ERROR_SIZE / 2, context->backend->error)
                  : GG_OK;
}

const char *gg_error(const gg_context *context) { return context ? context->error : ""; }

/* --- opening --- */

gg_status gg_open_on(gg_context **out, const gg_backend_ops *ops, const gg_options *options) {
    gg_context *context = calloc(1, sizeof *context);
    *out = context;
    if (!context) return GG_ERR_MEMORY;
    gg_status status = gg_cache_dir(options->cache_dir, context->cache_dir, context->error);
    if (!status) status = ops->open(&context->backend, options->device, context->error);
    if (status) return status;
    context->debug = options->debug;
    context->overlaps = true;
    context->target = ops->target(context->backend);
    return gg_counters_open(context, ops->stream_id ? GG_COUNTERS : 1);
}

gg_status gg_open(gg_context **out, const gg_options *options) {
    static const gg_options defaults = {0};
    if (!options) options = &defaults;
    const gg_backend_ops *ops = gg_backend_find(options->backend ? options->backend : gg_cuda_backend.name);
    if (!ops) {
        *out = calloc(1, sizeof **out);
        if (!*out) return GG_ERR_MEMORY;
        return gg_fail(*out, GG_ERR_ARGUMENT, "unknown backend '%s' (cuda or sim)", options->backend);
    }
    char why[GG_REASON_SIZE];
    gg_status status = gg_open_on(out, ops, options);
    /* a wrong ordinal beside a working device is an error, not a reason to simulate */
    if (status == GG_ERR_NO_DEVICE && !options->backend && !gg_cuda_available(why)) {
        gg_close(*out);
        status = gg_open_on(out, &gg_sim_backend, options);
    }
    return status;
}

void gg_close(gg_context *context) {
    if (!context) return;
    gg_forget_configs(context);
    free(context->kernels.slots);
    gg_counters_close(context);
    if (context->backend) context->backend->ops->close(context->backend);
    free(context);
}

const gg_device *gg_get_device(const gg_context *context) {
    return context->limited.sm_count ? &context->limited : context->backend->ops->device(context->backend);
}

void gg_context_limit_sms(gg_context *context, int sms) {
    context->limited = *context->backend->ops->device(context->backend);
    context->limited.sm_count = sms;
    context->limited.threads_per_sm = 1; /* a block each */
}

void gg_context_use_sources(gg_context *context, const gg_source_file *sources, const char *root) {
    context->sources = sources;
    context->patched = root;
}

void gg_context_patch(const gg_context *context, gg_source *source) {
    if (context->sources && !strcmp(source->root, context->patched)) source->files = context->sources;
}

void gg_context_overlap_launches(gg_context *context, bool overlap) { context->overlaps = overlap; }

void gg_context_filter_steps(gg_context *context, gg_step_filter filter, void *data) {
    context->step_filter = filter;
    context->step_data = data;
}

bool gg_supports_tma(const gg_context *context) { return gg_get_device(context)->cc >= 90; }

gg_backend *gg_context_backend(gg_context *context) { return context->backend; }

const char *gg_context_cache_dir(const gg_context *context) { return context->cache_dir; }

void gg_forget_configs(gg_context *context) {
    for (size_t i = 0; i < context->tuned.capacity; i++) free(context->tuned.slots[i].value);
    free(context->tuned.slots);
    context->tuned = (gg_map){0};
}

/* --- kernels --- */

static void add_text(XXH3_state_t *state, const char *text) {
    XXH3_128bits_update(state, text, strlen(text) + 1);
}

/* What tells one loaded kernel from another inside a process. The embedded sources cannot change under us, so
 * every launch need not read them; other tables are read, because a table at the same address may hold
 * another text. */
static bool kernel_key(const gg_source *source, const char *entry, XXH128_hash_t *key) {
    XXH3_state_t *state = XXH3_createState();
    if (!state) return false;
    XXH3_128bits_reset(state);
    if (source->files != gg_embedded_sources)
        for (const gg_source_file *file = source->files; file->name; file++) {
            add_text(state, file->name);
            add_text(state, file->text);
        }
    add_text(state, source->root);
    add_text(state, source->macros);
    add_text(state, source->debug ? "debug" : "");
    add_text(state, entry);
    *key = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return true;
}

gg_status gg_context_kernel(gg_context *context, const gg_source *source, const char *entry,
                            gg_kernel **out) {
    char path[GG_PATH_SIZE];
    XXH128_hash_t key;
    if (!kernel_key(source, entry, &key)) return gg_fail(context, GG_ERR_MEMORY, "out of memory");
    if ((*out = gg_map_get(&context->kernels, key))) return GG_OK;

    gg_status status = gg_build(source, &context->target, context->cache_dir, path, NULL, context->error);
    if (status) return status;
    status = context->backend->ops->load(context->backend, path, entry, out);
    if (status) return gg_fail_backend(context, status, source->root);
    if (!gg_map_put(&context->kernels, key, *out)) return gg_fail(context, GG_ERR_MEMORY, "out of memory");
    return GG_OK;
}
