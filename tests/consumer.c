/* consumer.c: a program outside the project, built by install.sh against the installed library: one forward
 * on the simulator, checked by hand, and the plan of an MoE block. */
#include <grouped_gemm.h>
#include <moe.h>
#include <stdio.h>

int main(void) {
    enum { E = 2, N = 8, K = 8, M = 3 };
    /* bf16 1.0 is 0x3f80, 2.0 is 0x4000, 8.0 is 0x4100, 16.0 is 0x4180 */
    static uint16_t x[M * K], w[E * N * K], y[M * N];
    static const int32_t m_sizes[E] = {1, 2};
    for (int i = 0; i < M * K; i++) x[i] = 0x3f80;
    for (int i = 0; i < E * N * K; i++) w[i] = i < N * K ? 0x3f80 : 0x4000;

    gg_context *context = NULL;
    gg_options options = {.backend = "sim"};
    gg_problem problem = {.dtype = GG_BF16, .E = E, .N = N, .K = K, .topk = 1, .T = M};
    gg_config config = {.mainloop = GG_MMA_SYNC,
                        .block_m = 32,
                        .block_n = 32,
                        .block_k = 32,
                        .num_warps = 4,
                        .num_stages = 2};
    const struct {
        const void *host;
        size_t bytes;
    } arrays[] = {{x, sizeof x}, {w, sizeof w}, {m_sizes, sizeof m_sizes}, {y, sizeof y}};
    void *device[4] = {0};
    gg_status status = gg_open(&context, &options);
    for (int i = 0; i < 4 && !status; i++) {
        status = gg_alloc(context, arrays[i].bytes, &device[i]);
        if (!status) status = gg_upload(context, device[i], arrays[i].host, arrays[i].bytes);
    }
    gg_tensors tensors = {.x = device[0], .w = device[1], .m_sizes = device[2], .y = device[3]};
    if (!status) status = gg_forward(context, &problem, &config, &tensors, NULL);
    if (!status) status = gg_download(context, y, device[3], sizeof y);
    if (status) {
        fprintf(stderr, "consumer: error: %s: %s\n", gg_status_string(status),
                context ? gg_error(context) : "");
        return 1;
    }
    for (int i = 0; i < M * N; i++)
        if (y[i] != (i < N ? 0x4100 : 0x4180)) {
            fprintf(stderr, "consumer: error: y[%d] is 0x%04x\n", i, y[i]);
            return 1;
        }
    for (int i = 0; i < 4; i++) gg_free(context, device[i]);
    gg_close(context);
    const gg_moe_problem block = {.score = GG_SOFTMAX_TOPK, .E = 4, .topk = 2, .H = 64, .I = 32, .T = 5};
    gg_moe_layout layout;
    char reason[GG_REASON_SIZE];
    if (gg_moe_plan(&block, &layout, reason) || !layout.bytes) {
        fprintf(stderr, "consumer: error: %s\n", reason);
        return 1;
    }
    puts("forward through the installed library is right");
    return 0;
}
