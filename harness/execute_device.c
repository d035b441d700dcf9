/* execute_device.c: what comes from the device, and the launches of the helper kernels. */
#include "execute_internal.h"

#include <stdio.h>
#include <stdlib.h>

gg_status mg_device_status(mg_executor *x, gg_status status, const char *what) {
    if (status != GG_OK) {
        const char *detail = x->backend->error[0] ? x->backend->error : gg_status_string(status);
        snprintf(x->error, sizeof x->error, "%s: %.400s", what, detail);
    }
    return status;
}

/* --- what comes back --- */

gg_status mg_download(mg_executor *x, const void *device, size_t bytes, const uint8_t **out) {
    if (bytes > x->download_capacity) {
        free(x->download);
        x->download = malloc(bytes);
        x->download_capacity = x->download ? bytes : 0;
        if (!x->download) {
            snprintf(x->error, sizeof x->error, "out of memory for %zu bytes", bytes);
            return GG_ERR_MEMORY;
        }
    }
    *out = x->download;
    return mg_device_status(x, x->backend->ops->download(x->backend, x->download, device, bytes),
                            "download failed");
}

/* A second board stays clean and is copied on the device, which makes nobody wait. */
gg_status mg_board_new(mg_executor *x) {
    /* reports start from "none": no count, and an offset that every other is below */
    static const check_report clean = {.first_differing = ~0ull, .first_overwritten = ~0ull};
    const gg_backend_ops *ops = x->backend->ops;
    void *boards = NULL;
    if (!(x->board = malloc(sizeof *x->board))) return GG_ERR_MEMORY;
    *x->board = (mg_board){.first = ~0ull};
    for (int i = 0; i < MG_MAX_REPORTS; i++) x->board->reports[i] = clean;
    gg_status status =
        mg_device_status(x, ops->alloc(x->backend, 2 * sizeof *x->board, &boards), "no device memory");
    if (status != GG_OK) return status;
    x->device_board = boards;
    x->device_clean = x->device_board + 1;
    return mg_device_status(x, ops->upload(x->backend, x->device_clean, x->board, sizeof *x->board),
                            "upload failed");
}

void mg_board_free(mg_executor *x) {
    if (x->device_board) x->backend->ops->free(x->backend, x->device_board);
    free(x->board);
}

gg_status mg_board_clear(mg_executor *x) {
    return mg_device_status(
        x, x->backend->ops->copy(x->backend, x->device_board, x->device_clean, sizeof *x->device_board, NULL),
        "copy failed");
}

gg_status mg_board_read(mg_executor *x) {
    return mg_device_status(
        x, x->backend->ops->download(x->backend, x->board, x->device_board, sizeof *x->board),
        "a kernel failed");
}

/* --- kernels --- */

enum { BLOCKS_PER_SM = 8 }; /* of 128 threads: enough loads in flight to be limited by memory alone */

static gg_status load(mg_executor *x, const char *file, const char *entry, gg_kernel **kernel) {
    const gg_source source = {
        .files = gg_embedded_sources, .root = file, .macros = "", .debug = x->options.debug};
    gg_status status = gg_context_kernel(x->context, &source, entry, kernel);
    if (status != GG_OK) snprintf(x->error, sizeof x->error, "%s: %.400s", file, gg_error(x->context));
    return status;
}

static gg_status launch(mg_executor *x, const char *file, const char *entry, int64_t blocks,
                        const void *params, size_t params_bytes) {
    int64_t most = (int64_t)gg_get_device(x->context)->sm_count * BLOCKS_PER_SM;
    gg_kernel *kernel;
    gg_status status = load(x, file, entry, &kernel);
    if (status != GG_OK) return status;
    if (blocks == 0) return GG_OK; /* of an empty tensor */
    const gg_launch_spec spec = {.grid = (uint32_t)(blocks < most ? blocks : most),
                                 .threads = MG_HELPER_THREADS,
                                 .params = params,
                                 .params_bytes = params_bytes,
                                 .label = entry};
    return mg_device_status(x, x->backend->ops->launch(x->backend, kernel, &spec, NULL), file);
}

static int64_t blocks_of(int64_t threads) { return (threads + MG_HELPER_THREADS - 1) / MG_HELPER_THREADS; }

gg_status mg_launch_fill(mg_executor *x, const fill_params *params) {
    return launch(x, "fill.cu", "fill", blocks_of(params->rows * (params->cols / 8)), params, sizeof *params);
}

gg_status mg_launch_hash(mg_executor *x, const hash_params *params) {
    enum { ROWS = 8 }; /* a block, at least: it ends with a reduction, which is worth a few rows */
    return launch(x, "hash.cu", "hash", (params->rows + ROWS - 1) / ROWS, params, sizeof *params);
}

gg_status mg_launch_check(mg_executor *x, const check_params *params) {
    return launch(x, "check.cu", "check", blocks_of(params->chunks), params, sizeof *params);
}

gg_status mg_check_region(mg_executor *x, const mg_region *region, const mg_region *first_run, int number,
                          uint32_t poison) {
    /* so that equal offsets in both are equal places in their tensors */
    const uintptr_t aligned =
        first_run ? (uintptr_t)first_run->base + first_run->shift - region->shift : (uintptr_t)NULL;
    const check_params params = {.buffer = (const u16 *)region->base,
                                 .first_run = (const u16 *)aligned,
                                 .report = &x->device_board->reports[number],
                                 .output_begin = (i64)(mg_region_begin(region) / 16),
                                 .output_end = (i64)((mg_region_begin(region) + region->bytes) / 16),
                                 .chunks = (i64)(mg_region_total(region) / 16),
                                 .poison = poison};
    return mg_launch_check(x, &params);
}

gg_status mg_launch_locate(mg_executor *x, const locate_params *params) {
    return launch(x, "check.cu", "locate", params->rows, params, sizeof *params);
}

gg_status mg_launch_common(mg_executor *x, const common_params *params) {
    return launch(x, "check.cu", "common", params->rows, params, sizeof *params);
}

gg_status mg_launch_load(mg_executor *x, uint32_t looks, gg_stream stream) {
    const load_params params = {.stop = &x->device_board->stop, .looks = looks};
    const gg_device *device = gg_get_device(x->context);
    gg_kernel *kernel;
    gg_status status = load(x, "load.cu", "load", &kernel);
    if (status != GG_OK) return status;
    const gg_launch_spec spec = {.grid = (uint32_t)(device->sm_count + 1) / 2,
                                 .threads = MG_HELPER_THREADS,
                                 .smem_bytes = device->smem_per_block,
                                 .params = &params,
                                 .params_bytes = sizeof params,
                                 .label = "load"};
    return mg_device_status(x, x->backend->ops->launch(x->backend, kernel, &spec, stream), "load.cu");
}

gg_status mg_launch_signs(mg_executor *x, const mg_region *region) {
    const signs_params params = {.data = mg_region_data(region), .chunks = (i64)(region->bytes / 16)};
    return launch(x, "signs.cu", "signs", blocks_of(params.chunks), &params, sizeof params);
}

gg_status mg_launch_soil(mg_executor *x) {
    const gg_device *device = gg_get_device(x->context);
    const soil_params params = {.words = device->smem_per_block / 4};
    gg_kernel *kernel;
    if (x->backend->ops == &gg_sim_backend) return GG_OK; /* its shared memory begins so */
    gg_status status = load(x, "soil.cu", "soil", &kernel);
    if (status != GG_OK) return status;
    const gg_launch_spec spec = {.grid = (uint32_t)device->sm_count,
                                 .threads = MG_HELPER_THREADS,
                                 .smem_bytes = device->smem_per_block,
                                 .params = &params,
                                 .params_bytes = sizeof params,
                                 .label = "soil"};
    return mg_device_status(x, x->backend->ops->launch(x->backend, kernel, &spec, NULL), "soil.cu");
}
