/* block_golden.c: views of a block's tensors, its routing, and the goldens: every step from the inputs alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "digest.h"

/* --- views --- */

static gg_status make_rows(mg_block_view *view) {
    int64_t widest = 0;
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS; i++) {
        const int64_t cols = mg_block_input_shape(&view->p, i).cols;
        if (cols > widest) widest = cols;
    }
    for (int i = 0; i < GG_MOE_NUM_BUFFERS; i++) {
        const int64_t cols = view->layout.places[i].cols; /* also of what it only might have: first */
        if (cols > widest) widest = cols;
    }
    view->drawn = malloc((size_t)widest * sizeof *view->drawn);
    for (int i = 0; i < 2; i++) view->wide[i] = malloc((size_t)widest * sizeof *view->wide[i]);
    view->first = malloc(2 * (size_t)widest * sizeof *view->first);
    return view->drawn && view->wide[0] && view->wide[1] && view->first ? GG_OK : GG_ERR_MEMORY;
}

gg_status mg_block_view_init(mg_block_view *view, const mg_block *block, const gg_moe_problem *p,
                             uint64_t user_seed) {
    char reason[GG_REASON_SIZE];
    *view = (mg_block_view){.block = block, .p = *p};
    gg_status status = gg_moe_plan(p, &view->layout, reason);
    if (status) return status;
    for (int i = 0; i < MG_NUM_BLOCK_INPUTS; i++) view->draws[i] = mg_block_draw(block, i, user_seed);
    view->starts = calloc((size_t)p->E + 1, sizeof *view->starts);
    view->numbers = malloc(65536 * sizeof *view->numbers);
    for (uint32_t bits = 0; bits < 65536 && view->numbers; bits++)
        view->numbers[bits] = mg_float_from_bits(p->dtype, (uint16_t)bits);
    return view->starts && view->numbers ? make_rows(view) : GG_ERR_MEMORY;
}

gg_status mg_block_view_share(mg_block_view *view, const mg_block_view *of) {
    *view = *of;
    view->drawn = view->wide[0] = view->wide[1] = NULL;
    view->first = NULL;
    return make_rows(view);
}

void mg_block_view_unshare(mg_block_view *view) {
    free(view->drawn);
    free(view->wide[0]);
    free(view->wide[1]);
    free(view->first);
    view->drawn = view->wide[0] = view->wide[1] = NULL;
    view->first = NULL;
}

void mg_block_view_free(mg_block_view *view) {
    mg_block_view_unshare(view);
    free(view->starts);
    free(view->numbers);
    view->starts = NULL;
    view->numbers = NULL;
}

/* --- steps --- */

mg_block_step_shape mg_block_step_of(const gg_moe_problem *p, mg_block_step step) {
    enum { NONE = GG_MOE_NUM_BUFFERS };
    const double H = p->H, I = p->I, S = p->shared_I, rows = (double)(p->T * p->topk) / p->E;
    const double of_first = gg_moe_keeps_first(p) ? 20 : 2 * H; /* activation from first, or from x */
    const struct {
        int buffer; /* NONE: an output */
        int output;
        double row_cost;
    } table[MG_NUM_BLOCK_STEPS] = {
#define BUFFER(name, cost) [MG_STEP_##name] = {GG_MOE_##name, 0, cost}
#define OUTPUT(name, cost) [MG_STEP_##name] = {NONE, MG_BLOCK_##name, cost}
        BUFFER(LOGITS, p->E * H),
        BUFFER(TOPK_IDS, p->E * p->topk),
        BUFFER(TOPK_WEIGHTS, 20. * p->E),
        BUFFER(GATHER_INDICES, (double)p->T * p->topk),
        BUFFER(X_EXPERT, H),
        BUFFER(FIRST, 2 * I * H),
        BUFFER(ACTIVATION, of_first * I),
        BUFFER(SECOND, H * I),
        BUFFER(SHARED_FIRST, 2 * S * H),
        BUFFER(SHARED_ACTIVATION, of_first * S),
        BUFFER(SHARED_SECOND, H * S),
        OUTPUT(Y, H * p->topk),
        BUFFER(DY_EXPERT, H),
        BUFFER(D_ACTIVATION, H * I),
        BUFFER(WEIGHTED, I),
        BUFFER(D_FIRST, 30 * I),
        OUTPUT(D_DOWN, rows * I),
        BUFFER(DX_ROWS, 2 * I * H),
        OUTPUT(D_GATE_UP, rows * H),
        BUFFER(D_WEIGHTS, (p->weights_first ? H : I) * p->topk),
        BUFFER(D_LOGITS, 20. * p->E),
        BUFFER(DX_ROUTER, p->E * H),
        OUTPUT(D_GATE, (double)p->T * H),
        BUFFER(SHARED_D_ACTIVATION, H * S),
        BUFFER(SHARED_D_FIRST, 30 * S),
        OUTPUT(D_SHARED_DOWN, (double)p->T * S),
        BUFFER(SHARED_DX, 2 * S * H),
        OUTPUT(D_SHARED_GATE_UP, (double)p->T * H),
        OUTPUT(DX, H * p->topk),
#undef BUFFER
#undef OUTPUT
    };
    gg_moe_layout layout;
    char reason[GG_REASON_SIZE];
    mg_block_step_shape shape = {.buffer = table[step].buffer, .row_cost = table[step].row_cost};
    if (gg_moe_plan(p, &layout, reason)) return shape;
    if (shape.buffer == GG_MOE_NUM_BUFFERS) {
        const mg_block_shape output = mg_block_output_shape(p, table[step].output);
        shape.output = table[step].output;
        shape.name = output.name;
        shape.rows = output.cols ? output.rows : 0;
        shape.cols = output.cols;
        shape.element_bytes = 2;
    } else {
        const gg_moe_place *place = &layout.places[shape.buffer];
        shape.name = gg_moe_buffer_name(shape.buffer);
        shape.rows = place->bytes ? place->rows : 0;
        shape.cols = place->cols;
        shape.element_bytes = place->element_bytes;
    }
    return shape;
}

/* --- routing --- */

static bool check_ints(const char *name, const int32_t *got, const int32_t *right, int64_t count,
                       char error[MG_ERROR_SIZE]) {
    for (int64_t i = 0; i < count; i++) {
        if (got[i] == right[i]) continue;
        snprintf(error, MG_ERROR_SIZE, "'%s' is wrong: [%lld] is %d, expected %d", name, (long long)i, got[i],
                 right[i]);
        return false;
    }
    return true;
}

bool mg_block_route(mg_block_view *v, char error[MG_ERROR_SIZE]) {
    const gg_moe_problem *p = &v->p;
    const int64_t M = p->T * p->topk;
    const int32_t *buffers[GG_MOE_NUM_BUFFERS], *ids;
    for (int i = 0; i < GG_MOE_NUM_BUFFERS; i++)
        buffers[i] = (const int32_t *)(const void *)(v->workspace + v->layout.places[i].offset);
    ids = buffers[GG_MOE_TOPK_IDS];
    memset(v->starts, 0, ((size_t)p->E + 1) * sizeof *v->starts);
    for (int64_t slot = 0; slot < M; slot++) {
        bool again = false;
        for (int64_t other = slot - slot % p->topk; other < slot; other++) again |= ids[other] == ids[slot];
        if (ids[slot] < 0 || ids[slot] >= p->E || again) {
            snprintf(error, MG_ERROR_SIZE, "'topk_ids' is wrong: [%lld, %lld] is %d%s",
                     (long long)(slot / p->topk), (long long)(slot % p->topk), ids[slot],
                     again ? " again" : "");
            return false;
        }
        v->starts[ids[slot] + 1]++;
    }
    int32_t *right = malloc((size_t)(3 * M + p->E) * sizeof *right);
    int64_t *at = malloc(((size_t)p->E + 1) * sizeof *at);
    bool ok = false;
    snprintf(error, MG_ERROR_SIZE, "out of memory for the routing");
    if (!right || !at) goto out;
    int32_t *sizes = right + 3 * M;
    for (int32_t e = 0; e < p->E; e++) {
        sizes[e] = (int32_t)v->starts[e + 1];
        v->starts[e + 1] += v->starts[e];
    }
    memcpy(at, v->starts, ((size_t)p->E + 1) * sizeof *at);
    for (int64_t slot = 0; slot < M; slot++) {
        const int64_t i = at[ids[slot]]++;
        right[i] = (int32_t)slot;
        right[M + slot] = (int32_t)i;
        right[2 * M + i] = (int32_t)(slot / p->topk);
    }
    ok = check_ints("m_sizes", buffers[GG_MOE_M_SIZES], sizes, p->E, error) &&
         check_ints("gather_indices", buffers[GG_MOE_GATHER_INDICES], right, M, error) &&
         check_ints("positions", buffers[GG_MOE_POSITIONS], right + M, M, error) &&
         check_ints("tokens", buffers[GG_MOE_TOKENS], right + 2 * M, M, error) &&
         check_ints("all_tokens", buffers[GG_MOE_ALL_TOKENS], &(int32_t){(int32_t)p->T}, 1, error);
out:
    free(at);
    free(right);
    return ok;
}

/* --- goldens --- */

static void put(const mg_block_view *v, mg_block_step step, const mg_block_step_shape *shape, void *to,
                const double *value) {
    for (int64_t i = 0; i < shape->cols; i++) {
        const uint16_t bits = mg_bits_from_double(v->p.dtype, value[i]);
        if (shape->element_bytes == 2)
            ((uint16_t *)to)[i] = bits;
        else if (step == MG_STEP_TOPK_IDS || step == MG_STEP_GATHER_INDICES)
            ((int32_t *)to)[i] = (int32_t)value[i];
        else
            ((float *)to)[i] =
                step == MG_STEP_TOPK_WEIGHTS ? mg_float_from_bits(v->p.dtype, bits) : (float)value[i];
    }
}

static void *golden_row(const mg_block_golden *g, const mg_block_step_shape *shape, int64_t row) {
    const size_t offset = (size_t)(row * shape->cols) * (size_t)shape->element_bytes;
    if (shape->buffer == GG_MOE_NUM_BUFFERS) return (uint8_t *)g->outputs[shape->output] + offset;
    return g->workspace + g->view.layout.places[shape->buffer].offset + offset;
}

/* What follows from the sorted slots. */
static void fill_routing(mg_block_golden *g) {
    const gg_moe_problem *p = &g->view.p;
    const int64_t M = p->T * p->topk;
    int32_t *buffers[GG_MOE_NUM_BUFFERS];
    for (int i = 0; i < GG_MOE_NUM_BUFFERS; i++)
        buffers[i] = (int32_t *)(void *)(g->workspace + g->view.layout.places[i].offset);
    for (int64_t i = 0; i < M; i++) {
        const int32_t slot = buffers[GG_MOE_GATHER_INDICES][i];
        buffers[GG_MOE_POSITIONS][slot] = (int32_t)i;
        buffers[GG_MOE_TOKENS][i] = slot / p->topk;
        buffers[GG_MOE_M_SIZES][buffers[GG_MOE_TOPK_IDS][slot]]++;
    }
    buffers[GG_MOE_ALL_TOKENS][0] = (int32_t)p->T;
}

gg_status mg_block_golden_make(mg_block_golden *g, const mg_block *block, const gg_moe_problem *p,
                               uint64_t user_seed) {
    char error[MG_ERROR_SIZE];
    double *value = NULL;
    int64_t widest = 1;
    *g = (mg_block_golden){0};
    gg_status status = mg_block_view_init(&g->view, block, p, user_seed);
    if (status) goto out;
    status = GG_ERR_MEMORY;
    if (!(g->workspace = calloc(1, g->view.layout.bytes + 1))) goto out;
    g->view.workspace = g->workspace;
    for (int i = 0; i < MG_NUM_BLOCK_OUTPUTS; i++) {
        const mg_block_shape shape = mg_block_output_shape(p, i);
        g->outputs[i] = calloc((size_t)(shape.rows * shape.cols) + 1, sizeof *g->outputs[i]);
        if (!g->outputs[i]) goto out;
        g->view.outputs[i] = g->outputs[i];
    }
    for (int step = 0; step < MG_NUM_BLOCK_STEPS; step++) {
        const mg_block_step_shape shape = mg_block_step_of(p, step);
        if (shape.cols > widest) widest = shape.cols;
    }
    if (!(value = malloc(2 * (size_t)widest * sizeof *value))) goto out;
    for (int step = 0; step < MG_NUM_BLOCK_STEPS; step++) {
        const mg_block_step_shape shape = mg_block_step_of(p, step);
        for (int64_t row = 0; row < shape.rows; row++) {
            mg_block_row(&g->view, step, row, value, value + widest);
            put(&g->view, step, &shape, golden_row(g, &shape, row), value);
        }
        if (step != MG_STEP_GATHER_INDICES) continue;
        fill_routing(g);
        if (!mg_block_route(&g->view, error)) {
            status = GG_ERR_INTERNAL;
            goto out;
        }
    }
    status = GG_OK;
out:
    free(value);
    if (status) mg_block_golden_free(g);
    return status;
}

void mg_block_golden_free(mg_block_golden *g) {
    mg_block_view_free(&g->view);
    free(g->workspace);
    for (int i = 0; i < MG_NUM_BLOCK_OUTPUTS; i++) free(g->outputs[i]);
    *g = (mg_block_golden){0};
}

void mg_block_golden_digest(const mg_block_golden *g, mg_block_step step, char digest[17]) {
    const mg_block_step_shape shape = mg_block_step_of(&g->view.p, step);
    const size_t bytes = (size_t)(shape.rows * shape.cols) * (size_t)shape.element_bytes;
    char hex[MG_SHA256_SIZE];
    mg_sha256(bytes ? golden_row(g, &shape, 0) : "", bytes, hex);
    memcpy(digest, hex, 16);
    digest[16] = 0;
}
