/* bench_rivals.c: cuBLAS on the same data: a large product as the limit, the grouped product, and a product an expert in a
 * graph. All start from rows already permuted. */
#include "bench.h"

#include <stdlib.h>

#include "backend/cuda/cublas_api.h"

/* The product of one op in cuBLAS's column-major words: C (m, n) = op(A) (m, k) op(B) (k, n); a row-major matrix is the
 * transpose of the column-major one in the same memory. -1 stands for the rows of an expert. */
enum { ROWS = -1, SIZE_N = -2, SIZE_K = -3 };
static const struct {
    int op_a, op_b, m, n, k, lda, ldb, ldc;
    mg_bench_buffer a, b, c;
} products[GG_NUM_OPS] = {
    /* y^T = w x^T */
    [GG_FORWARD] = {CUBLAS_OP_T, CUBLAS_OP_N, SIZE_N, ROWS, SIZE_K, SIZE_K, SIZE_K, SIZE_N, MG_BUF_W,
                    MG_BUF_X, MG_BUF_Y},
    /* dx^T = w^T dy^T */
    [GG_DX] = {CUBLAS_OP_N, CUBLAS_OP_N, SIZE_K, ROWS, SIZE_N, SIZE_K, SIZE_N, SIZE_K, MG_BUF_W, MG_BUF_DY,
               MG_BUF_DX},
    /* dw^T = x^T dy */
    [GG_DW] = {CUBLAS_OP_N, CUBLAS_OP_T, SIZE_K, SIZE_N, ROWS, SIZE_K, SIZE_N, SIZE_K, MG_BUF_X, MG_BUF_DY,
               MG_BUF_DW},
};

/* Of every expert with rows: host arrays of the grouped product. */
typedef struct group {
    int op_a, op_b, m, n, k, lda, ldb, ldc;
    void *a, *b, *c;
} group;

struct mg_rivals {
    cublas api;
    cublas_handle handle;
    void *workspace;
    gg_stream stream; /* that the loop is captured on */
    char version[48];
    int type;       /* of the placed item's elements */
    int count;      /* groups */
    int *ints;      /* nine arrays of `count`: op_a op_b m n k lda ldb ldc, and ones */
    float *scalars; /* two arrays of `count`: ones, zeros */
    void *pointers; /* on the device: three arrays of `count` */
    group *groups;
};

static gg_status check(mg_bench *b, cublas_status result, const char *what) {
    if (!result) return GG_OK;
    snprintf(b->error, sizeof b->error, "cuBLAS: %s: %s", what, b->rivals->api.status_name(result));
    return GG_ERR_LAUNCH;
}

void mg_rivals_open(mg_bench *b) {
    mg_rivals *r = calloc(1, sizeof *r);
    const gg_backend_ops *ops = b->backend->ops;
    int version = 0;
    b->rivals = r;
    if (!r) {
        snprintf(b->no_rivals, sizeof b->no_rivals, "out of memory");
        return;
    }
    if (!cublas_load(&r->api, b->no_rivals)) {
        mg_rivals_close(b);
        return;
    }
    /* with the device's context current, which the allocation makes it */
    gg_status status = ops->alloc(b->backend, CUBLAS_WORKSPACE_BYTES, &r->workspace);
    if (!status) status = ops->stream_new(b->backend, &r->stream);
    mg_bench_fail(b, status, "cuBLAS");
    if (!status) status = check(b, r->api.create(&r->handle), "cannot start");
    if (!status)
        status = check(b, r->api.set_workspace(r->handle, r->workspace, CUBLAS_WORKSPACE_BYTES), "workspace");
    if (!status && !r->api.get_version(r->handle, &version))
        snprintf(r->version, sizeof r->version, "cuBLAS %d.%d.%d", version / 10000, version / 100 % 100,
                 version % 100);
    if (!status) return;
    snprintf(b->no_rivals, sizeof b->no_rivals, "%.250s", b->error);
    mg_rivals_close(b);
}

static void forget(mg_bench *b) {
    mg_rivals *r = b->rivals;
    free(r->ints);
    free(r->scalars);
    free(r->groups);
    if (r->pointers) b->backend->ops->free(b->backend, r->pointers);
    r->ints = NULL;
    r->scalars = NULL;
    r->groups = NULL;
    r->pointers = NULL;
    r->count = 0;
}

void mg_rivals_close(mg_bench *b) {
    mg_rivals *r = b->rivals;
    if (!r) return;
    forget(b);
    if (r->handle) r->api.destroy(r->handle);
    if (r->stream) b->backend->ops->stream_free(b->backend, r->stream);
    if (r->workspace) b->backend->ops->free(b->backend, r->workspace);
    free(r);
    b->rivals = NULL;
}

const char *mg_rivals_version(const mg_bench *b) { return b->rivals ? b->rivals->version : b->no_rivals; }

/* --- one product --- */

static cublas_status multiply(const mg_rivals *r, const group *g) {
    const float one = 1, zero = 0;
    return r->api.gemm(r->handle, g->op_a, g->op_b, g->m, g->n, g->k, &one, g->a, r->type, g->lda, g->b,
                       r->type, g->ldb, &zero, g->c, r->type, g->ldc, CUBLAS_COMPUTE_32F,
                       CUBLAS_GEMM_DEFAULT);
}

gg_status mg_launch_product(mg_bench *b, const mg_timed *self) {
    (void)self;
    enum { S = MG_PRODUCT_SIZE };
    const size_t elements = (size_t)S * S;
    gg_status status = mg_bench_random(b, MG_BUF_SCRATCH, 3 * elements, GG_BF16);
    if (status) return status;
    char *memory = b->buffers[MG_BUF_SCRATCH].memory;
    const group square = {.op_a = CUBLAS_OP_T,
                          .m = S,
                          .n = S,
                          .k = S,
                          .lda = S,
                          .ldb = S,
                          .ldc = S,
                          .a = memory,
                          .b = memory + 2 * elements,
                          .c = memory + 4 * elements};
    b->rivals->type = CUDA_R_16BF;
    return check(b, multiply(b->rivals, &square), "product");
}

/* --- the experts' products --- */

static int size_of(int size, const gg_problem *p, int rows) {
    return size == ROWS ? rows : size == SIZE_N ? p->N : size == SIZE_K ? p->K : size;
}

static void make_groups(mg_bench *b, const gg_problem *p) {
    mg_rivals *r = b->rivals;
    size_t begin = 0; /* row of the expert's first */
    for (int32_t e = 0; e < p->E; e++) {
        const int rows = b->m_sizes[e];
        /* elements before the expert's part of each matrix */
        const size_t offset[] = {
            [MG_BUF_X] = begin * (size_t)p->K,  [MG_BUF_W] = (size_t)e * (size_t)p->N * (size_t)p->K,
            [MG_BUF_DY] = begin * (size_t)p->N, [MG_BUF_Y] = begin * (size_t)p->N,
            [MG_BUF_DX] = begin * (size_t)p->K, [MG_BUF_DW] = (size_t)e * (size_t)p->N * (size_t)p->K};
#define PLACE(matrix) ((char *)b->buffers[products[p->op].matrix].memory + 2 * offset[products[p->op].matrix])
#define SIZE(member) size_of(products[p->op].member, p, rows)
        if (rows)
            r->groups[r->count++] = (group){.op_a = products[p->op].op_a,
                                            .op_b = products[p->op].op_b,
                                            .m = SIZE(m),
                                            .n = SIZE(n),
                                            .k = SIZE(k),
                                            .lda = SIZE(lda),
                                            .ldb = SIZE(ldb),
                                            .ldc = SIZE(ldc),
                                            .a = PLACE(a),
                                            .b = PLACE(b),
                                            .c = PLACE(c)};
#undef SIZE
#undef PLACE
        begin += (size_t)rows;
    }
}

/* The grouped product wants arrays where the loop wants products. */
static gg_status spread_out(mg_bench *b) {
    mg_rivals *r = b->rivals;
    const size_t count = (size_t)r->count;
    void **addresses = malloc((3 * count + 1) * sizeof *addresses);
    if (!addresses) return GG_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const group *g = &r->groups[i];
        const int ints[] = {g->op_a, g->op_b, g->m, g->n, g->k, g->lda, g->ldb, g->ldc, 1};
        for (size_t j = 0; j < sizeof ints / sizeof *ints; j++) r->ints[j * count + i] = ints[j];
        addresses[i] = g->a;
        addresses[count + i] = g->b;
        addresses[2 * count + i] = g->c;
        r->scalars[i] = 1;
        r->scalars[count + i] = 0;
    }
    const gg_backend_ops *ops = b->backend->ops;
    const size_t bytes = 3 * count * sizeof *addresses;
    gg_status status = ops->alloc(b->backend, bytes, &r->pointers);
    if (!status) status = ops->upload(b->backend, r->pointers, addresses, bytes);
    free(addresses);
    return mg_bench_fail(b, status, "cuBLAS");
}

static gg_status loop(mg_bench *b) {
    gg_status status = GG_OK;
    for (int i = 0; i < b->rivals->count && !status; i++)
        status = check(b, multiply(b->rivals, &b->rivals->groups[i]), "product of an expert");
    return status;
}

/* Once on its own, so that nothing is set up while it is captured. */
static gg_status capture(mg_bench *b, gg_graph **graph) {
    mg_rivals *r = b->rivals;
    const gg_backend_ops *ops = b->backend->ops;
    gg_status status = loop(b), ended;
    if (!status) status = mg_bench_fail(b, ops->synchronize(b->backend), "cuBLAS");
    if (!status) status = check(b, r->api.set_stream(r->handle, r->stream), "stream");
    if (!status)
        status = check(b, r->api.set_workspace(r->handle, r->workspace, CUBLAS_WORKSPACE_BYTES), "workspace");
    if (!status) status = mg_bench_fail(b, ops->capture_begin(b->backend, r->stream), "cuBLAS");
    if (!status) {
        status = loop(b);
        ended = ops->capture_end(b->backend, r->stream, graph);
        if (!status) status = mg_bench_fail(b, ended, "cuBLAS");
    }
    r->api.set_stream(r->handle, NULL);
    r->api.set_workspace(r->handle, r->workspace, CUBLAS_WORKSPACE_BYTES); /* which a new stream resets */
    return status;
}

gg_status mg_rivals_place(mg_bench *b, const mg_bench_item *item, mg_timed *looped) {
    mg_rivals *r = b->rivals;
    const size_t E = (size_t)item->problem.E;
    forget(b);
    looped->graph = NULL;
    r->type = item->problem.dtype == GG_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    r->groups = calloc(E, sizeof *r->groups);
    r->ints = calloc(9 * E, sizeof *r->ints);
    r->scalars = calloc(2 * E, sizeof *r->scalars);
    if (!r->groups || !r->ints || !r->scalars) {
        snprintf(b->error, sizeof b->error, "out of memory");
        return GG_ERR_MEMORY;
    }
    make_groups(b, &item->problem);
    if (!r->count) return GG_OK;
    gg_status status = spread_out(b);
    return status ? status : capture(b, &looped->graph);
}

gg_status mg_launch_grouped(mg_bench *b, const mg_timed *self) {
    mg_rivals *r = b->rivals;
    const size_t count = (size_t)r->count;
    void **pointers = r->pointers;
    if (!r->api.gemm_grouped) {
        snprintf(b->error, sizeof b->error, "cuBLAS: no grouped product before CUDA 12.5");
        return GG_ERR_REFUSED;
    }
    const int type = self->problem.dtype == GG_BF16 ? CUDA_R_16BF : CUDA_R_16F, *i = r->ints;
    return check(b,
                 r->api.gemm_grouped(r->handle, i, i + count, i + 2 * count, i + 3 * count, i + 4 * count,
                                     r->scalars, (const void *const *)pointers, type, i + 5 * count,
                                     (const void *const *)(pointers + count), type, i + 6 * count,
                                     r->scalars + count, pointers + 2 * count, type, i + 7 * count, r->count,
                                     i + 8 * count, CUBLAS_COMPUTE_32F),
                 "grouped product");
}

gg_status mg_launch_loop(mg_bench *b, const mg_timed *self) {
    if (!self->graph) {
        snprintf(b->error, sizeof b->error, "cuBLAS: no graph of the experts' products");
        return GG_ERR_LAUNCH;
    }
    return mg_bench_fail(b, b->backend->ops->graph_launch(b->backend, self->graph, NULL), "cuBLAS");
}
