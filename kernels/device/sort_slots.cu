/* sort_slots.cu: the stable argsort of the slots by expert, from the experts' counts in each tile of tokens: a slot's
 * position is the rows of lower experts, plus the slots of its expert in earlier tiles, plus those before it in its own
 * block's. Integers only: no order of execution shows. */
#include "moe_ops.h"

#define SORT_THREADS 512
#define SORT_WARPS (SORT_THREADS / 32)
#define MAX_E 256
#define MAX_PARTS 16
#define COUNTS (SORT_THREADS * 8) /* the larger of what the two halves of the kernel keep there */

/* Slots of an expert in all tiles, and in those before `first`: four experts a thread, each part of the block a share of
 * the tiles, eight of them on the way at once. */
DEVICE void sum_tiles(const sort_params *p, i32 first, i32 *sums) {
    enum { AT_ONCE = 8 };
    i32 fours = p->padded_E / 4, parts = SORT_THREADS / fours < MAX_PARTS ? SORT_THREADS / fours : MAX_PARTS;
    i32 four = (i32)threadIdx.x % fours, part = (i32)threadIdx.x / fours;
    i32 all[4] = {0, 0, 0, 0}, before[4] = {0, 0, 0, 0};
    for (i32 begin = part; part < parts && begin < p->tiles; begin += AT_ONCE * parts) {
        u32x4 count[AT_ONCE];
        UNROLL for (i32 i = 0; i < AT_ONCE; i++) {
            i32 tile = begin + i * parts < p->tiles ? begin + i * parts : begin;
            count[i] = load_16(p->histogram + (i64)tile * p->padded_E + four * 4);
        }
        UNROLL for (i32 i = 0; i < AT_ONCE; i++) {
            i32 counts[4] = {(i32)count[i].x, (i32)count[i].y, (i32)count[i].z, (i32)count[i].w};
            i32 tile = begin + i * parts;
            UNROLL for (i32 j = 0; j < 4; j++) {
                all[j] += tile < p->tiles ? counts[j] : 0;
                before[j] += tile < p->tiles && tile < first ? counts[j] : 0;
            }
        }
    }
    if (part < parts) {
        UNROLL for (i32 j = 0; j < 4; j++) {
            sums[part * p->padded_E + four * 4 + j] = all[j];
            sums[COUNTS / 2 + part * p->padded_E + four * 4 + j] = before[j];
        }
    }
    block_sync();
    if ((i32)threadIdx.x >= p->E) return;
    i32 total = 0, earlier = 0;
    for (i32 i = 0; i < parts; i++) {
        total += sums[i * p->padded_E + (i32)threadIdx.x];
        earlier += sums[COUNTS / 2 + i * p->padded_E + (i32)threadIdx.x];
    }
    sums[threadIdx.x] = total; /* where no other thread reads */
    sums[COUNTS / 2 + threadIdx.x] = earlier;
}

/* The sum of the values of all lower threads of the block; `warp_sums` has a word a warp. */
DEVICE i32 sum_below(i32 value, i32 *warp_sums) {
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    i32 sum = value;
    UNROLL for (int reach = 1; reach < 32; reach *= 2) {
        i32 other = (i32)shuffle((u32)sum, lane - reach);
        if (lane >= reach) sum += other;
    }
    if (lane == 31) warp_sums[warp] = sum;
    block_sync();
    for (int w = 0; w < warp; w++) sum += warp_sums[w];
    return sum - value;
}

KERNEL(sort_slots, sort_params, SORT_THREADS, 1) {
    SHARED_MEMORY(smem);
    i32 *counts = (i32 *)smem, *next = counts + COUNTS, *warp_sums = next + MAX_E;
    i32 first = (i32)blockIdx.x * p.tiles_per_block, tile_slots = p.tile_tokens * p.topk;
    i32 thread = (i32)threadIdx.x, lane = thread % 32, warp = thread / 32;
    i64 M = p.T * p.topk, begin = (i64)first * tile_slots, end = begin + (i64)p.tiles_per_block * tile_slots;
    if (end > M) end = M;
    grid_wait();
    /* a thread a slot; the first ones are on their way before they are needed */
    i32 id = begin + thread < end ? p.topk_ids[begin + thread] : -1;

    sum_tiles(&p, first, counts);
    i32 total = thread < p.E ? counts[thread] : 0;
    i32 lower = sum_below(total, warp_sums);
    if (thread < p.E) {
        next[thread] =
            lower + counts[COUNTS / 2 + thread]; /* the position of this block's next slot of an expert */
        if (blockIdx.x == 0) p.m_sizes[thread] = total;
    }
    if (blockIdx.x == 0 && thread == 0) *p.all_tokens = (i32)p.T;

    for (i64 at = begin; at < end; at += SORT_THREADS) {
        i64 slot = at + thread;
        if (at > begin) id = slot < end ? p.topk_ids[slot] : -1;
        block_sync(); /* all are done with `counts` */
        for (i32 i = thread; i < SORT_WARPS * p.E; i += SORT_THREADS) counts[i] = 0;
        block_sync();
        u32 same = warp_match((u32)id);
        i32 earlier = count_bits(same & ((1u << lane) - 1));
        if (id >= 0 && earlier == 0) counts[warp * p.E + id] = count_bits(same);
        block_sync();
        if (thread < p.E) { /* from how many of each warp to where each warp's begin */
            i32 of_warp[SORT_WARPS], position = next[thread];
            UNROLL for (int w = 0; w < SORT_WARPS; w++) of_warp[w] = counts[w * p.E + thread];
            UNROLL for (int w = 0; w < SORT_WARPS; w++) {
                counts[w * p.E + thread] = position;
                position += of_warp[w];
            }
            next[thread] = position;
        }
        block_sync();
        if (id < 0) continue;
        i32 position = counts[warp * p.E + id] + earlier;
        p.positions[slot] = position;
        p.gather_indices[position] = (i32)slot;
        p.tokens[position] = (i32)((u32)slot / (u32)p.topk);
    }
}
