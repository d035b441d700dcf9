/* execute_memory.c: how much device memory a case takes, and an executor that holds no more than it was granted: workers share
 * one device. */
#include "execute_internal.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Regions of a case in one list: a grouped GEMM's, or a block's. */
enum {
    RESULTS = MG_NUM_INPUTS, /* two sets of them */
    MOVED = RESULTS + 2 * MG_NUM_RESULTS,
    KEPT,
    WORKSPACE,
    GEMM_REGIONS,
    MOST_REGIONS = GEMM_REGIONS > MG_BLOCK_REGIONS ? (int)GEMM_REGIONS : (int)MG_BLOCK_REGIONS
};

static size_t total_of(size_t bytes) { return mg_region_total(&(mg_region){.bytes = bytes}); }

#define NO_REGION SIZE_MAX

/* Bytes of the tensors in a case's regions, or NO_REGION. Returns how many. */
static int list_regions(const mg_execute_options *options, const mg_case *c, size_t bytes[MOST_REGIONS]) {
    const mg_problem *p = c->problem;
    mg_run run = {.c = c};
    size_t largest = 0;
    memset(bytes, 0xff, MOST_REGIONS * sizeof *bytes);
    if (c->refusal) return 0;
    if (c->block) return mg_block_sizes(c, bytes);
    run.num_ops = mg_case_ops(c, run.ops);
    mg_list_tensors(&run);
    unsigned inputs = run.inputs;
    if (p->store == MG_STORE_HASH) inputs |= 1u << MG_IN_GATHER; /* by which others are drawn */
    for (int i = 0; i < MG_NUM_INPUTS; i++) {
        if (!(inputs & 1u << i)) continue;
        bytes[i] = mg_input_bytes(p, (mg_input)i);
        if (bytes[i] > largest) largest = bytes[i];
    }
    for (int i = 0; i < MG_NUM_RESULTS; i++) {
        int64_t rows, cols;
        mg_res_shape(p, (mg_res)i, &rows, &cols);
        /* the second set is that of repeats, or of the reference kernel */
        if (run.results & 1u << i)
            bytes[RESULTS + i] = bytes[RESULTS + MG_NUM_RESULTS + i] = (size_t)(rows * cols) * 2;
    }
    bytes[MOVED] = largest < MG_MOVED_BYTES ? largest : MG_MOVED_BYTES;
    if (options->perturb & 1u << MG_PERTURB_BATCH) bytes[KEPT] = (size_t)(p->M + p->E) * sizeof(int32_t);
    if (run.workspace) bytes[WORKSPACE] = run.workspace;
    return GEMM_REGIONS;
}

static mg_region *region_at(mg_executor *x, const mg_case *c, int i) {
    if (c->block) return mg_block_region(x, i);
    if (i < RESULTS) return &x->inputs[i];
    if (i < MOVED) return &x->results[(i - RESULTS) / MG_NUM_RESULTS][(i - RESULTS) % MG_NUM_RESULTS];
    return i == MOVED ? &x->moved : i == KEPT ? &x->kept : &x->workspace;
}

uint64_t mg_case_memory(const mg_execute_options *options, const mg_case *c) {
    size_t bytes[MOST_REGIONS];
    uint64_t sum = 0;
    const int count = list_regions(options, c, bytes);
    for (int i = 0; i < count; i++)
        if (bytes[i] != NO_REGION) sum += total_of(bytes[i]);
    return sum;
}

/* --- what an executor holds --- */

void mg_executor_grant(mg_executor *x, uint64_t bytes) {
    x->granted = bytes;
    if (bytes && x->held > bytes) mg_regions_free(x);
}

void mg_make_room(mg_executor *x, const mg_case *c) {
    size_t bytes[MOST_REGIONS];
    uint64_t growth = 0;
    const int count = x->granted ? list_regions(&x->options, c, bytes) : 0;
    for (int i = 0; i < count; i++) {
        if (bytes[i] == NO_REGION) continue;
        const mg_region *region = region_at(x, c, i);
        const size_t total = total_of(bytes[i]), capacity = region ? region->capacity : 0;
        if (total > capacity) growth += total - capacity;
    }
    if (x->granted && x->held + growth > x->granted) mg_regions_free(x);
}

/* Memory of a process that was killed comes back to the device a little later than its death is known: what was granted
 * is waited for. */
static gg_status allocate(mg_executor *x, size_t total, void **base) {
    enum { TRIES = 40, WAIT_MS = 50 };
    gg_status status = x->backend->ops->alloc(x->backend, total, base);
    for (int i = 0; i < TRIES && status == GG_ERR_MEMORY && x->granted; i++) {
        nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000l}, NULL);
        status = x->backend->ops->alloc(x->backend, total, base);
    }
    return status;
}

gg_status mg_region_reserve(mg_executor *x, mg_region *region, size_t bytes) {
    char what[64];
    region->bytes = bytes;
    region->shift = 0;
    const size_t total = mg_region_total(region);
    if (total <= region->capacity) return GG_OK;
    mg_region_free(x, region);
    /* what only saves time makes room for what must be */
    if (x->granted && x->held + total > x->granted && region != &x->moved) mg_region_free(x, &x->moved);
    if (x->granted && x->held + total > x->granted) {
        snprintf(x->error, sizeof x->error, "no device memory for %zu bytes beside %llu: %llu are granted",
                 total, (unsigned long long)x->held, (unsigned long long)x->granted);
        return GG_ERR_MEMORY;
    }
    void *base;
    snprintf(what, sizeof what, "no device memory for %zu bytes", total);
    gg_status status = mg_device_status(x, allocate(x, total, &base), what);
    if (status != GG_OK) return status;
    *region = (mg_region){.base = base, .capacity = total, .bytes = bytes};
    x->held += total;
    return GG_OK;
}

void mg_region_free(mg_executor *x, mg_region *region) {
    if (region->base) x->backend->ops->free(x->backend, region->base);
    x->held -= region->capacity;
    *region = (mg_region){0};
}
