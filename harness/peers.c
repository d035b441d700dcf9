/* peers.c: what others reach on the 24 shapes and what we mean to: one NVIDIA H200, 2026-11-21, CUDA 13.0, torch 2.11,
 * Triton 3.6; random data, L2 flushed between runs, medians. unsloth fuses the permutes (the best of 20 configs); torch
 * (torch._grouped_mm) and DeepGEMM start from rows already permuted, DeepGEMM's also padded to 128. */
#include "measure.h"

#include <string.h>

const mg_limits mg_peer_limits = {.gbs = 4273, .tflops = 694}; /* read in the same run */

/* model, T, op and gemm, then microseconds: unsloth, torch, DeepGEMM, goal */
const mg_peer mg_peers[] = {
#define PEER(model, T, gemm, op, ...)                                                                        \
    { model, T, gemm, op, __VA_ARGS__ }
    PEER("qwen3", 1024, 1, GG_FORWARD, 233, 263, 252, 210),
    PEER("qwen3", 1024, 1, GG_DX, 304, 270, 252, 215),
    PEER("qwen3", 1024, 1, GG_DW, 1228, 383, 1166, 225),
    PEER("qwen3", 1024, 2, GG_FORWARD, 138, 155, 135, 115),
    PEER("qwen3", 1024, 2, GG_DX, 160, 140, 138, 115),
    PEER("qwen3", 1024, 2, GG_DW, 589, 197, 582, 120),
    PEER("llama4", 1024, 1, GG_FORWARD, 695, 864, 760, 670),
    PEER("llama4", 1024, 1, GG_DX, 814, 830, 834, 680),
    PEER("llama4", 1024, 1, GG_DW, 3600, 983, 3773, 720),
    PEER("llama4", 1024, 2, GG_FORWARD, 369, 441, 391, 340),
    PEER("llama4", 1024, 2, GG_DX, 418, 439, 397, 345),
    PEER("llama4", 1024, 2, GG_DW, 1670, 498, 1898, 365),
    PEER("qwen3", 8192, 1, GG_FORWARD, 770, 840, 715, 640),
    PEER("qwen3", 8192, 1, GG_DX, 1270, 906, 736, 650),
    PEER("qwen3", 8192, 1, GG_DW, 3965, 861, 1610, 680),
    PEER("qwen3", 8192, 2, GG_FORWARD, 446, 469, 384, 335),
    PEER("qwen3", 8192, 2, GG_DX, 610, 416, 390, 335),
    PEER("qwen3", 8192, 2, GG_DW, 1905, 444, 765, 350),
    PEER("llama4", 8192, 1, GG_FORWARD, 2358, 2777, 2408, 2100),
    PEER("llama4", 8192, 1, GG_DX, 3662, 2660, 2572, 2150),
    PEER("llama4", 8192, 1, GG_DW, 11224, 2673, 5137, 2200),
    PEER("llama4", 8192, 2, GG_FORWARD, 1258, 1317, 1264, 1080),
    PEER("llama4", 8192, 2, GG_DX, 1846, 1384, 1212, 1090),
    PEER("llama4", 8192, 2, GG_DW, 6059, 1360, 2782, 1110),
#undef PEER
};
const size_t mg_num_peers = sizeof mg_peers / sizeof *mg_peers;

const mg_peer *mg_peer_find(const char *model, int64_t T, int gemm, gg_op op) {
    for (const mg_peer *p = mg_peers; p < mg_peers + mg_num_peers; p++)
        if (p->T == T && p->gemm == gemm && p->op == op && !strcmp(p->model, model)) return p;
    return NULL;
}

double mg_peer_best(const mg_peer *peer, const char **name) {
    *name = "unsloth";
    double best = peer->unsloth;
    if (peer->torch < best) {
        *name = "torch";
        best = peer->torch;
    }
    if (peer->deepgemm < best) {
        *name = "DeepGEMM";
        best = peer->deepgemm;
    }
    return best;
}
