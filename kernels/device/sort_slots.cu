/* sort_slots.cu: the stable argsort of the slots by expert, from the experts' counts in each tile of tokens: a slot's
 * position is the rows of lower experts, plus the slots of its expert in earlier tiles, plus those before it in its own.
 * Integers only: no order of execution shows. */
#include "moe_ops.h"

#define SORT_THREADS 512
#define MAX_E 256

/* Slots of an expert in all tiles, and in those before `first`: each part of the block sums a share of the tiles. */
DEVICE void sum_tiles(const sort_params *p, i32 first, i32 *totals, i32 *earlier, i32 *parts_smem) {
    i32 parts = SORT_THREADS / p->E < p->tiles ? SORT_THREADS / p->E : p->tiles;
    i32 expert = (i32)threadIdx.x % p->E, part = (i32)threadIdx.x / p->E;
    if (part < parts) {
        i32 all = 0, before = 0;
        for (i32 tile = part; tile < p->tiles; tile += parts) {
            i32 count = p->histogram[(i64)tile * p->padded_E + expert];
            all += count;
            before += tile < first ? count : 0;
        }
        parts_smem[part * p->E + expert] = all;
        parts_smem[SORT_THREADS + part * p->E + expert] = before;
    }
    block_sync();
    if ((i32)threadIdx.x < p->E) {
        i32 all = 0, before = 0;
        for (i32 i = 0; i < parts; i++) {
            all += parts_smem[i * p->E + expert];
            before += parts_smem[SORT_THREADS + i * p->E + expert];
        }
        totals[expert] = all;
        earlier[expert] = before;
    }
    block_sync();
}

/* Rows of all lower experts: sums of 1, 2, 4 ... neighbours; `sums` has two buffers of MAX_E. */
DEVICE i32 rows_before(const sort_params *p, const i32 *totals, i32 *sums) {
    i32 expert = (i32)threadIdx.x, own = expert < p->E ? totals[expert] : 0, sum = own;
    for (i32 reach = 1, at = 0; reach < p->E; reach *= 2, at ^= MAX_E) {
        if (expert < p->E) sums[at + expert] = sum;
        block_sync();
        if (expert < p->E && expert >= reach) sum += sums[at + expert - reach];
    }
    return sum - own;
}

KERNEL(sort_slots, sort_params, SORT_THREADS, 1) {
    SHARED_MEMORY(smem);
    i32 *parts = (i32 *)smem, *totals = parts + 2 * SORT_THREADS, *earlier = totals + MAX_E;
    i32 *sums = earlier + MAX_E, *ids = sums + 2 * MAX_E; /* ids: the slots of a tile */
    i32 first = (i32)blockIdx.x * p.tiles_per_block, expert = (i32)threadIdx.x;
    i32 last = first + p.tiles_per_block < p.tiles ? first + p.tiles_per_block : p.tiles;
    i32 tile_slots = p.tile_tokens * p.topk;
    i64 M = p.T * p.topk;

    sum_tiles(&p, first, totals, earlier, parts);
    i32 position = rows_before(&p, totals, sums);
    if (expert < p.E) {
        position += earlier[expert];
        if (blockIdx.x == 0) p.m_sizes[expert] = totals[expert];
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) *p.all_tokens = (i32)p.T;

    for (i32 tile = first; tile < last; tile++) {
        i64 begin = (i64)tile * tile_slots;
        block_sync(); /* all are done with the tile before */
        for (i32 i = (i32)threadIdx.x; i < tile_slots; i += SORT_THREADS)
            ids[i] = begin + i < M ? p.topk_ids[begin + i] : -1;
        block_sync();
        if (expert >= p.E) continue;
        for (i32 i = 0; i < tile_slots; i += 4) {
            u32x4 four = load_16(ids + i);
            i32 id[4] = {(i32)four.x, (i32)four.y, (i32)four.z, (i32)four.w};
            UNROLL for (i32 j = 0; j < 4; j++) {
                if (id[j] != expert) continue;
                i32 slot = (i32)begin + i + j;
                p.positions[slot] = position;
                p.gather_indices[position] = slot;
                p.tokens[position] = slot / p.topk;
                position++;
            }
        }
    }
}
