/* wgmma.c: wgmma on the CPU: descriptors, accumulators in flight, fence, commit and wait of each warp, and
 * setmaxnreg.
 *
 * A warpgroup's four warps issue, commit and wait each for themselves, as on hardware: a warp's product (its
 * 16 rows of d) reads shared memory when it lands, which is at the warp's own wait and not when another warp
 * waits. Until then its accumulators are NaN in the threads. */
#include "race.h"

#include <stdlib.h>
#include <string.h>

typedef float float8 __attribute__((vector_size(32), may_alias));
typedef u32 uint4 __attribute__((vector_size(16), may_alias));
typedef u32 uint8 __attribute__((vector_size(32), may_alias));
typedef u16 half8 __attribute__((vector_size(16), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 4")

enum { WARP_ROWS = 16, DEPTH = 16, POISON_BYTE = 0xff, GROUP_WARPS = 4 };

struct gg_sim_accumulator {
    float *lanes[GG_SIM_LANES]; /* of the threads; NaN while products are pending */
    u32 n, pending;
    float values[WARP_ROWS][GG_SIM_WGMMA_N] __attribute__((aligned(32)));
};

/* --- operands: 128-byte swizzle, the only layout kernels use --- */

/* A descriptor taken apart; addresses are bytes of shared memory. */
typedef struct operand {
    u32 start, leading, stride;
    bool mn_major;
} operand;

static operand decode_descriptor(gg_sim *sim, u64 descriptor, bool mn_major, const char *name,
                                 const sim_site *site) {
    operand o = {.start = (u32)(descriptor & 0x3fff) << 4,
                 .leading = (u32)(descriptor >> 16 & 0x3fff) << 4,
                 .stride = (u32)(descriptor >> 32 & 0x3fff) << 4,
                 .mn_major = mn_major};
    if (descriptor >> 62 != 1)
        gg_sim_fail(sim, site, "wgmma: descriptor %s has layout %u, only 1 (128-byte swizzle) is simulated",
                    name, (u32)(descriptor >> 62));
    if (o.start & 0x380 || descriptor >> 49 & 7)
        gg_sim_fail(sim, site, "wgmma: descriptor %s starts inside a swizzled block of 1024 bytes (0x%x)",
                    name, o.start);
    return o;
}

/* Address of eight elements whose first is (mn, k): along k, or along mn where the operand is MN-major. */
INLINE u32 chunk_address(const operand *o, u32 mn, u32 k) {
    u32 at = o->mn_major ? o->start + mn / 64 * o->leading + k / 8 * o->stride + k % 8 * 128 + mn % 64 * 2
                         : o->start + mn / 8 * o->stride + mn % 8 * 128 + k * 2;
    return at ^ (at >> 3 & 0x70);
}

/* Checks every chunk of rows [first, first + count) of an operand. */
static void check_operand(gg_sim *sim, const operand *o, u32 first, u32 count, const char *name,
                          const sim_site *site) {
    u32 mn_step = o->mn_major ? 8 : 1, k_step = o->mn_major ? 1 : 8, chunks = 0;
    u32 offsets[GG_SIM_WGMMA_N * DEPTH / 8];
    for (u32 mn = first; mn < first + count; mn += mn_step)
        for (u32 k = 0; k < DEPTH; k += k_step) {
            u32 at = chunk_address(o, mn, k);
            gg_sim_shared(sim, at, 16, 16, GG_SIM_PRODUCT_READ, name, site);
            offsets[chunks++] = at - SIM_SHARED_BASE;
        }
    if (sim->race) gg_sim_race_operand(sim, offsets, chunks, name, site);
}

/* --- the product of one warp: 16 rows of d --- */

INLINE void widen(float *out, const half8 *halves, int dtype) {
    uint8 bits = __builtin_convertvector(*halves, uint8);
    if (dtype == SIM_BF16) {
        *(uint8 *)out = bits << 16;
        return;
    }
    uint8 magnitude = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    uint8 special = (uint8)(magnitude >= 0x0f800000u) & 0x7f800000u; /* infinity, NaN */
    *(uint8 *)out = (uint8)((float8)magnitude * 0x1p112f) | sign | special;
}

/* rows[i] element j becomes rows[j] element i */
INLINE void transpose(half8 rows[8]) {
    half8 a[8], b[8];
    UNROLLED for (int i = 0; i < 4; i++) {
        a[2 * i] = __builtin_shufflevector(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        a[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    UNROLLED for (int i = 0; i < 4; i++) {
        b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    UNROLLED for (int i = 0; i < 4; i++) {
        rows[2 * i] = __builtin_shufflevector(b[i], b[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        rows[2 * i + 1] = __builtin_shufflevector(b[i], b[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
}

/* out[k][mn] for `count` values of mn, a multiple of 8 */
INLINE void load_operand(float *out, u32 pitch, const u8 *shared, const operand *o, u32 first, u32 count,
                         int dtype) {
    for (u32 mn = 0; mn < count; mn += 8) {
        for (u32 k = 0; k < DEPTH; k += 8) {
            half8 rows[8];
            UNROLLED for (u32 i = 0; i < 8; i++) {
                u32 at =
                    o->mn_major ? chunk_address(o, first + mn, k + i) : chunk_address(o, first + mn + i, k);
                rows[i] = *(const half8 *)(shared + (at - SIM_SHARED_BASE));
            }
            if (!o->mn_major) transpose(rows);
            UNROLLED for (u32 i = 0; i < 8; i++) widen(out + (k + i) * pitch + mn, &rows[i], dtype);
        }
    }
}

INLINE void multiply(const u8 *shared, const operand *a, const operand *b, u32 first_row, u32 n, int dtype,
                     float (*d)[GG_SIM_WGMMA_N]) {
    float left[DEPTH][WARP_ROWS] __attribute__((aligned(32)));
    float right[DEPTH][GG_SIM_WGMMA_N] __attribute__((aligned(32)));
    load_operand(&left[0][0], WARP_ROWS, shared, a, first_row, WARP_ROWS, dtype);
    load_operand(&right[0][0], GG_SIM_WGMMA_N, shared, b, 0, n, dtype);
    for (u32 j = 0; j < n; j += 8) {
        for (u32 i = 0; i < WARP_ROWS; i += 8) { /* eight sums hide the latency of the multiply-add */
            float8 sum[8];
            _Pragma("GCC unroll 8") for (int r = 0; r < 8; r++) sum[r] = *(float8 *)&d[i + r][j];
            for (int k = 0; k < DEPTH; k++) {
                float8 column = *(float8 *)&right[k][j];
                _Pragma("GCC unroll 8") for (int r = 0; r < 8; r++) sum[r] += left[k][i + r] * column;
            }
            _Pragma("GCC unroll 8") for (int r = 0; r < 8; r++) * (float8 *)&d[i + r][j] = sum[r];
        }
    }
}

INLINE void multiply_any(const u8 *shared, const operand *a, const operand *b, u32 first_row, u32 n,
                         int dtype, float (*d)[GG_SIM_WGMMA_N]) {
    if (dtype == SIM_BF16)
        multiply(shared, a, b, first_row, n, SIM_BF16, d);
    else
        multiply(shared, a, b, first_row, n, SIM_FP16, d);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static void multiply_avx2(const u8 *shared, const operand *a,
                                                              const operand *b, u32 first_row, u32 n,
                                                              int dtype, float (*d)[GG_SIM_WGMMA_N]) {
    multiply_any(shared, a, b, first_row, n, dtype, d);
}
#endif

static void multiply_best(const u8 *shared, const operand *a, const operand *b, u32 first_row, u32 n,
                          int dtype, float (*d)[GG_SIM_WGMMA_N]) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        multiply_avx2(shared, a, b, first_row, n, dtype, d);
        return;
    }
#endif
    multiply_any(shared, a, b, first_row, n, dtype, d);
}

/* --- accumulators: lane 4g+t holds (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1) of each 8 columns --- */

/* Between a lane's array and the warp's 16 rows, in the direction of `to_lanes`. */
static void exchange(gg_sim_accumulator *accumulator, bool to_lanes) {
    for (u32 lane = 0; lane < GG_SIM_LANES; lane++) {
        float *mine = accumulator->lanes[lane];
        float *top = &accumulator->values[lane / 4][lane % 4 * 2], *bottom = top + 8 * GG_SIM_WGMMA_N;
        for (u32 j = 0; j < accumulator->n; j += 8, mine += 4) {
            memcpy(to_lanes ? mine : top + j, to_lanes ? top + j : mine, 2 * sizeof(float));
            memcpy(to_lanes ? mine + 2 : bottom + j, to_lanes ? bottom + j : mine + 2, 2 * sizeof(float));
        }
    }
}

static void check_untouched(gg_sim *sim, const gg_sim_accumulator *accumulator, const sim_site *site) {
    for (u32 lane = 0; lane < GG_SIM_LANES; lane++) {
        const u8 *bytes = (const u8 *)accumulator->lanes[lane];
        for (u32 i = 0; i < accumulator->n / 2 * sizeof(float); i++)
            if (bytes[i] != POISON_BYTE)
                gg_sim_fail(sim, site, "wgmma: an accumulator was written while in flight, noticed");
    }
}

/* The warp's accumulator at the lanes' addresses: the one in flight, or one taken over from the threads. */
static gg_sim_accumulator *take_accumulator(gg_sim *sim, gg_sim_warp *warp, u32 n, const sim_site *site) {
    gg_sim_accumulator *unused = NULL;
    for (int i = 0; i < GG_SIM_ACCUMULATORS; i++) {
        gg_sim_accumulator *one = warp->accumulators[i];
        if (!one) {
            one = warp->accumulators[i] = aligned_alloc(64, (sizeof *one + 63) & ~(size_t)63);
            if (!one) gg_sim_fail(sim, site, "out of memory for an accumulator");
            one->pending = 0;
        }
        if (!one->pending) {
            if (!unused) unused = one;
            continue;
        }
        if (one->lanes[0] != warp->wgmma.d[0]) continue;
        if (one->n != n)
            gg_sim_fail(sim, site, "wgmma: N %u on an accumulator that is in flight with N %u", n, one->n);
        check_untouched(sim, one, site);
        return one;
    }
    if (!unused) gg_sim_fail(sim, site, "wgmma: more than %d accumulators in flight", GG_SIM_ACCUMULATORS);
    if (!warp->fenced)
        gg_sim_fail(
            sim, site,
            "wgmma: no wgmma_fence between the threads' own use of an accumulator and its first product");
    sim->api.products_in_flight++;
    unused->n = n;
    memcpy(unused->lanes, warp->wgmma.d, sizeof unused->lanes);
    exchange(unused, false);
    for (u32 lane = 0; lane < GG_SIM_LANES; lane++)
        memset(unused->lanes[lane], POISON_BYTE, n / 2 * sizeof(float));
    return unused;
}

const sim_site *gg_sim_product_on(const gg_sim *sim, const void *address) {
    const gg_sim_warp *warp = sim->current->warp;
    for (u32 i = warp->first_product; i < warp->last_product; i++) {
        const gg_sim_accumulator *one = warp->products[i].accumulator;
        size_t offset = (size_t)((const u8 *)address - (const u8 *)one->lanes[sim->current->lane]);
        if (offset < one->n / 2 * sizeof(float)) return warp->products[i].site;
    }
    return NULL;
}

/* --- a warp's queue --- */

static void land_first(gg_sim *sim, gg_sim_warp *warp) {
    gg_sim_product *product = &warp->products[warp->first_product++];
    gg_sim_accumulator *accumulator = product->accumulator;
    int dtype = product->shape >> 9 & 1;
    operand a = decode_descriptor(sim, product->a, product->shape >> 10 & 1, "a", product->site);
    operand b = decode_descriptor(sim, product->b, product->shape >> 11 & 1, "b", product->site);
    if (!(product->shape >> 12 & 1)) memset(accumulator->values, 0, sizeof accumulator->values);
    multiply_best(sim->api.shared, &a, &b, (u32)(warp - sim->warps) % GROUP_WARPS * WARP_ROWS, accumulator->n,
                  dtype, accumulator->values);
    if (--accumulator->pending == 0) {
        sim->api.products_in_flight--;
        check_untouched(sim, accumulator, product->site);
        exchange(accumulator, true);
        warp->fenced = false; /* the threads have them again */
    }
    if (warp->first_product == warp->last_product) warp->first_product = warp->last_product = 0;
}

bool gg_sim_land_product(gg_sim *sim) {
    gg_sim_warp *warp = &sim->warps[gg_sim_random(sim) % sim->warps_used];
    if (warp->first_product == warp->last_product) return false;
    /* only a wait hands the accumulator back, so its last product stays */
    if (warp->products[warp->first_product].accumulator->pending == 1) return false;
    land_first(sim, warp);
    return true;
}

/* The n-th wgmma of the four warps of a warpgroup must be one instruction with the same descriptors. */
static void compare_warps(gg_sim *sim, gg_sim_warp *warp, const gg_sim_product *product) {
    u32 index = (u32)(warp - sim->warps), ordinal = warp->product_count++;
    gg_sim_issued *issued = &sim->issued[index / GROUP_WARPS][ordinal % GG_SIM_ISSUED];
    if (issued->ordinal != ordinal + 1) {
        *issued = (gg_sim_issued){.ordinal = ordinal + 1,
                                  .shape = product->shape,
                                  .a = product->a,
                                  .b = product->b,
                                  .site = product->site};
        return;
    }
    if (issued->site != product->site)
        gg_sim_fail(sim, product->site,
                    "diverged warpgroup: another warp issues the wgmma of %s:%d, this one",
                    issued->site->file, issued->site->line);
    if (issued->a != product->a || issued->b != product->b || issued->shape != product->shape)
        gg_sim_fail(sim, product->site,
                    "wgmma: descriptors or accumulate differ between the warps of a warpgroup");
}

void gg_sim_wgmma(sim_api *api, const sim_site *site, float *d, u64 a, u64 b, int shape) {
    gg_sim *sim = gg_sim_enter(api, site);
    gg_sim_fiber *self = sim->current;
    gg_sim_warp *warp = self->warp;
    if (warp->arrived && warp->wait == GG_SIM_WGMMA &&
        (warp->wgmma.a != a || warp->wgmma.b != b || warp->wgmma.shape != shape))
        gg_sim_fail(sim, site, "wgmma: descriptors or accumulate differ between the lanes of a warp");
    warp->wgmma.a = a;
    warp->wgmma.b = b;
    warp->wgmma.shape = shape;
    warp->wgmma.d[self->lane] = d;
    if (!gg_sim_meet(sim, GG_SIM_WGMMA, 0, site)) return;

    u32 n = (u32)shape & 0x1ff, index = (u32)(warp - sim->warps);
    if (sim->threads % (GROUP_WARPS * GG_SIM_LANES) && index / GROUP_WARPS == sim->warps_used / GROUP_WARPS)
        gg_sim_fail(sim, site, "wgmma by a warpgroup of fewer than 128 threads");
    operand left = decode_descriptor(sim, a, shape >> 10 & 1, "a", site);
    operand right = decode_descriptor(sim, b, shape >> 11 & 1, "b", site);
    check_operand(sim, &left, index % GROUP_WARPS * WARP_ROWS, WARP_ROWS, "wgmma operand a", site);
    check_operand(sim, &right, 0, n, "wgmma operand b", site);

    gg_sim_product product = {.a = a, .b = b, .shape = shape, .group = warp->product_group, .site = site};
    compare_warps(sim, warp, &product);
    product.accumulator = take_accumulator(sim, warp, n, site);
    product.accumulator->pending++;
    warp->products =
        gg_sim_grow(sim, warp->products, warp->last_product, &warp->product_capacity, sizeof *warp->products);
    warp->products[warp->last_product++] = product;
    gg_sim_release(self);
}

void gg_sim_wgmma_fence(sim_api *api, const sim_site *site) {
    gg_sim *sim = gg_sim_enter(api, site);
    if (!gg_sim_meet(sim, GG_SIM_WGMMA_FENCE, 0, site)) return;
    sim->current->warp->fenced = true;
    gg_sim_release(sim->current);
}

void gg_sim_wgmma_commit(sim_api *api, const sim_site *site) {
    gg_sim *sim = gg_sim_enter(api, site);
    if (!gg_sim_meet(sim, GG_SIM_WGMMA_COMMIT, 0, site)) return;
    sim->current->warp->product_group++;
    gg_sim_release(sim->current);
}

void gg_sim_wgmma_wait(sim_api *api, const sim_site *site, int pending) {
    gg_sim *sim = gg_sim_enter(api, site);
    if (!gg_sim_meet(sim, GG_SIM_WGMMA_WAIT, (u64)pending, site)) return;
    gg_sim_warp *warp = sim->current->warp;
    if ((int)warp->product_group > pending)
        gg_sim_race_products_done(sim, warp, warp->product_group - (u32)pending);
    while (warp->first_product < warp->last_product &&
           (int)warp->products[warp->first_product].group < (int)warp->product_group - pending)
        land_first(sim, warp);
    gg_sim_release(sim->current);
}

/* --- setmaxnreg: the block's registers, of which warps give back and take --- */

void gg_sim_setmaxnreg(sim_api *api, const sim_site *site, int registers, int increase) {
    gg_sim *sim = gg_sim_enter(api, site);
    if (!gg_sim_meet(sim, GG_SIM_SETMAXNREG, (u64)registers, site)) return;
    gg_sim_warp *warp = sim->current->warp;
    if (registers % 8 || registers < 24 || registers > 256)
        gg_sim_fail(sim, site, "setmaxnreg of %d, not a multiple of 8 from 24 to 256", registers);
    if (increase ? (u32)registers < warp->registers : (u32)registers > warp->registers)
        gg_sim_fail(sim, site, "setmaxnreg_%s to %d registers, the warp has %u", increase ? "inc" : "dec",
                    registers, warp->registers);
    u32 *told =
        &sim->told_registers[(warp - sim->warps) / GROUP_WARPS][warp->register_changes++ % GG_SIM_ISSUED];
    if (*told && *told != (u32)registers)
        gg_sim_fail(sim, site, "setmaxnreg of %d, another warp of the warpgroup said %u", registers, *told);
    *told = (u32)registers;
    u32 more = ((u32)registers - warp->registers) * GG_SIM_LANES;
    while (increase && more > sim->free_registers) { /* until others have given back enough */
        warp->wants_registers = true;
        warp->last_lane = 1u << sim->current->lane;
        gg_sim_block(sim, GG_SIM_SETMAXNREG);
    }
    sim->free_registers -= more; /* modulo 2^32: adds where `registers` is less */
    warp->registers = (u32)registers;
    for (u32 i = 0; i < sim->warps_used; i++) {
        gg_sim_warp *other = &sim->warps[i];
        if (!other->wants_registers) continue;
        other->wants_registers = false;
        other->ready |= other->last_lane;
    }
    gg_sim_release(sim->current);
}

/* --- start and end of a block --- */

void gg_sim_reset_wgmma(gg_sim *sim) {
    /* the compiler's bound: all of the 64 Ki registers shared out, in eights, 255 at most */
    u32 each = 65536 / sim->threads / 8 * 8;
    if (each > 255) each = 255;
    sim->free_registers = 0;
    sim->api.products_in_flight = 0;
    memset(sim->issued, 0, sizeof sim->issued);
    memset(sim->told_registers, 0, sizeof sim->told_registers);
    for (u32 i = 0; i < sim->warps_used; i++) {
        gg_sim_warp *warp = &sim->warps[i];
        warp->first_product = warp->last_product = warp->product_group = warp->product_count = 0;
        warp->fenced = warp->wants_registers = false;
        warp->registers = each;
        warp->register_changes = 0;
        for (int a = 0; a < GG_SIM_ACCUMULATORS; a++)
            if (warp->accumulators[a]) warp->accumulators[a]->pending = 0;
    }
}

void gg_sim_check_products(gg_sim *sim, const gg_sim_warp *warp) {
    if (warp->first_product < warp->last_product)
        gg_sim_fail(sim, warp->products[warp->first_product].site,
                    "thread exits with %u wgmma in flight, the first",
                    warp->last_product - warp->first_product);
}

void gg_sim_check_warpgroups(gg_sim *sim) {
    for (u32 i = 0; i < sim->warps_used; i++) {
        const gg_sim_warp *first = &sim->warps[i / GROUP_WARPS * GROUP_WARPS], *warp = &sim->warps[i];
        if (warp->product_count != first->product_count)
            gg_sim_fail(sim, NULL, "diverged warpgroup: warp %u issued %u wgmma, warp %u %u",
                        (u32)(first - sim->warps), first->product_count, i, warp->product_count);
    }
}

void gg_sim_free_wgmma(gg_sim *sim) {
    for (u32 i = 0; i < GG_SIM_MAX_WARPS; i++) {
        for (int a = 0; a < GG_SIM_ACCUMULATORS; a++) free(sim->warps[i].accumulators[a]);
        free(sim->warps[i].products);
    }
}
