/* bench_torch.c: reads what tests/peers/torch_grouped_mm.py measured on the same machine. */
#include <string.h>

#include "bench.h"

gg_status mg_torch_read(mg_torch *torch, const char *path, char error[MG_ERROR_SIZE]) {
    json_error_t fault;
    *torch = (mg_torch){.root = json_load_file(path, 0, &fault)};
    if (!torch->root) {
        snprintf(error, MG_ERROR_SIZE,
                 "cannot read '%.200s': %.150s (make it with tests/peers/torch_grouped_mm.py)", path,
                 fault.text);
        return GG_ERR_IO;
    }
    if (json_is_array(json_object_get(torch->root, "rows"))) return GG_OK;
    snprintf(error, MG_ERROR_SIZE,
             "bad file '%.200s': no rows (make it with tests/peers/torch_grouped_mm.py)", path);
    mg_torch_free(torch);
    return GG_ERR_IO;
}

void mg_torch_free(mg_torch *torch) {
    json_decref(torch->root);
    torch->root = NULL;
}

double mg_torch_us(const mg_torch *torch, const mg_bench_item *item, bool by_bytes, mg_limits limits) {
    const gg_problem *p = &item->problem;
    size_t i;
    json_t *row;
    if (!torch->root || item->backward || item->dist != MG_MULT || p->dtype != GG_BF16 ||
        (p->fusions & GG_FUSE_MUL_POST))
        return 0;
    json_array_foreach(json_object_get(torch->root, "rows"), i, row) {
        const char *model = json_string_value(json_object_get(row, "model"));
        const char *op = json_string_value(json_object_get(row, "op"));
        if (!model || !op || strcmp(model, item->model) || strcmp(op, mg_bench_op(item)) ||
            json_integer_value(json_object_get(row, "T")) != p->T ||
            json_integer_value(json_object_get(row, "gemm")) != item->gemm ||
            json_integer_value(json_object_get(row, "E")) != p->E)
            continue;
        const mg_limits from = {.gbs = json_number_value(json_object_get(row, "copy_gbs")),
                                .tflops = json_number_value(json_object_get(row, "product_tflops"))};
        return mg_rescaled(json_number_value(json_object_get(row, "us")), by_bytes, from, limits);
    }
    return 0;
}
