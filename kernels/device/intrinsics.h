/* intrinsics.h: the language kernels are written in: the only file with inline PTX, and its twin for the
 * simulator.
 *
 * Device code is C that gcc, nvcc and NVRTC all take: one params struct by value, no references, templates or
 * static
 * __shared__; all shared memory is carved from one extern array and addressed by 32-bit offsets (smem_addr);
 * bf16 and fp16 are u16. Every function here exists for both targets under the same name and meaning; the
 * simulator's twins are macros in backend/sim/sim_device.h that add __FILE__ and __LINE__. */
#ifndef GG_INTRINSICS_H
#define GG_INTRINSICS_H
#define GG_DEVICE_CODE 1

#ifndef __CUDACC__
#include "sim_device.h"
#else

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;
typedef struct __align__(16) {
    u32 x, y, z, w;
}
u32x4;
typedef struct __align__(64) tensor_map {
    u64 opaque[16];
}
tensor_map;

#define DEVICE static __device__ __forceinline__
/* extern "C" entry taking one struct by value; `threads` and `blocks` bound registers as __launch_bounds__
 * does */
#define KERNEL(name, params_type, threads, blocks)                                                           \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ params_type p)
#define SHARED_MEMORY(name) extern __shared__ __align__(1024) u8 name[]
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")

DEVICE u32 smem_addr(const void *pointer) { return (u32)__cvta_generic_to_shared(pointer); }

/* --- synchronisation --- */
DEVICE void block_sync(void) { __syncthreads(); }
DEVICE void warp_sync(void) { __syncwarp(); }
/* barrier `id` (1-15) among `threads` threads, a multiple of 32 */
DEVICE void named_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
DEVICE void named_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/* Each thread of a kernel of the product calls it once, before it touches global memory: until the launches before this
 * one on its stream have ended and what they wrote is there; and the next one may start, up to its own grid_wait. Without
 * it a launch that overlaps the one before (gg_launch_spec) would race with it. */
DEVICE void grid_wait(void) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\ngriddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/* stops the kernel with an error that the host sees */
DEVICE void device_trap(void) { asm volatile("trap;"); }

/* The same number, but unknown to the compiler: what depends on it is computed where it is wanted, not ahead of a loop and
 * kept in registers all through it. No instruction. */
DEVICE int opaque(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

/* --- warp --- */
DEVICE u32 shuffle(u32 value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
/* of the `width` lanes (a power of two) around this one, aligned, the value of number `lane` */
DEVICE u32 shuffle_within(u32 value, int lane, int width) {
    return __shfl_sync(0xffffffffu, value, lane, width);
}
DEVICE u32 shuffle_xor(u32 value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
/* the largest value; the lanes whose condition holds; the lanes that have this lane's value; as bits, lane 0 the lowest */
DEVICE u32 warp_max(u32 value) { return __reduce_max_sync(0xffffffffu, value); }
DEVICE u32 warp_ballot(int condition) { return __ballot_sync(0xffffffffu, condition); }
DEVICE u32 warp_match(u32 value) { return __match_any_sync(0xffffffffu, value); }
/* of bits: how many are set; the number of the lowest one set, of which there is one */
DEVICE int count_bits(u32 bits) { return __popc(bits); }
DEVICE int lowest_bit(u32 bits) { return __ffs((int)bits) - 1; }

/* --- plain 16-byte accesses; the address is 16-byte aligned, of store_16 in global memory --- */
DEVICE u32x4 load_16(const void *address) { return *(const u32x4 *)address; }
/* by PTX: the compiler splits such a store into four between others that might overlap it */
DEVICE void store_16(void *address, u32x4 v) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}
DEVICE u32x4 smem_load_16(u32 address) {
    u32x4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address)
                 : "memory");
    return v;
}
DEVICE void smem_store_16(u32 address, u32x4 v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}
DEVICE void smem_store_4(u32 address, u32 value) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}
DEVICE u32 smem_load_4(u32 address) {
    u32 value;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
    return value;
}

/* --- 16-bit floats: round to nearest even, NaN stays NaN --- */
DEVICE float float_from_bits(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 bits_from_float(float value) { return __float_as_uint(value); }
DEVICE u16 bf16_from_float(float value) {
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
DEVICE u16 fp16_from_float(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
DEVICE float float_from_bf16(u16 bits) { return float_from_bits((u32)bits << 16); }
DEVICE float float_from_fp16(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
/* two values in one word, the first in its low half */
DEVICE u32 bf16_pair_from_floats(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
DEVICE u32 fp16_pair_from_floats(float low, float high) {
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
/* fused multiply-add and its parts, each rounded once, never contracted by the compiler */
DEVICE float fma_f32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float mul_f32(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add_f32(float a, float b) { return __fadd_rn(a, b); }

/* --- atomics on integers (never on floats: the order would show) --- */
DEVICE u64 atomic_add_u64(u64 *address, u64 value) { return atomicAdd(address, value); }
DEVICE u32 atomic_add_u32(u32 *address, u32 value) { return atomicAdd(address, value); }
DEVICE u64 atomic_min_u64(u64 *address, u64 value) { return atomicMin(address, value); }

/* --- flags between blocks: what a thread did and knows before a release, another knows after the acquire that sees it --- */
DEVICE u32 load_acquire_u32(const u32 *address) {
    u32 value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
    return value;
}
DEVICE void store_release_u32(u32 *address, u32 value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
DEVICE void atomic_add_release_u32(u32 *address, u32 value) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
/* makes a release of the next relaxed atomic, and an acquire of the one before */
DEVICE void fence_device(void) { __threadfence(); }

/* --- cp.async: 16 bytes global to shared; `bytes` 0 reads nothing and zero-fills --- */
DEVICE void cp_async_16(u32 dst, const void *src, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
DEVICE void cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* until at most N (a constant) of this thread's newest groups are pending */
#define cp_async_wait(N) asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory")

/* --- ldmatrix, mma.sync: fragment layouts as in the PTX manual --- */
DEVICE void ldmatrix_x4(u32 r[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
DEVICE void ldmatrix_x4_trans(u32 r[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
#define GG_MMA_SYNC_(type)                                                                                   \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                              \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                           \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                            \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
DEVICE void mma_m16n8k16_bf16(float c[4], const u32 a[4], const u32 b[2]) { GG_MMA_SYNC_("bf16"); }
DEVICE void mma_m16n8k16_fp16(float c[4], const u32 a[4], const u32 b[2]) { GG_MMA_SYNC_("f16"); }
/* acc[MI][NJ][4] += a[MI][4] * b[NJ][2]; arrays of exactly these shapes; MI, NJ constants. One call, so that
 * the simulator meets once for the whole block of products. */
#define mma_tile_(mma, acc, a, b, MI, NJ)                                                                    \
    do {                                                                                                     \
        UNROLL for (int i_ = 0; i_ < (MI); i_++) {                                                           \
            UNROLL for (int j_ = 0; j_ < (NJ); j_++) mma((acc)[i_][j_], (a)[i_], (b)[j_]);                   \
        }                                                                                                    \
    } while (0)
#define mma_tile_bf16(acc, a, b, MI, NJ) mma_tile_(mma_m16n8k16_bf16, acc, a, b, MI, NJ)
#define mma_tile_fp16(acc, a, b, MI, NJ) mma_tile_(mma_m16n8k16_fp16, acc, a, b, MI, NJ)

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
/* the pointer, which the compiler shall keep in registers and not put together again from others */
DEVICE const u8 *own_register(const u8 *pointer) {
    asm volatile("" : "+l"(pointer));
    return pointer;
}

/* --- mbarrier: 8 bytes of shared memory, 8-byte aligned --- */
DEVICE void mbarrier_init(u32 barrier, u32 count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
/* makes inits visible to the async proxy and, after a block_sync, to the block */
DEVICE void fence_mbarrier_init(void) { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void mbarrier_arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/* one arrival that also adds `bytes` to what the phase waits for */
DEVICE void mbarrier_arrive_expect_tx(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/* until the phase with this parity (0 the first) has completed */
DEVICE void mbarrier_wait(u32 barrier, u32 parity) {
    asm volatile("{\n.reg .pred done;\n"
                 "again_%=:\nmbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
                 "@!done bra again_%=;\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

/* --- TMA: coordinates innermost first, in elements; one thread issues --- */
/* True in one lane of a warp whose lanes are all here, always the same one. The compiler knows that what is done under this
 * condition is done once, and issues TMA without a loop over the lanes. */
DEVICE int elect_one(void) {
    u32 elected;
    asm volatile("{\n.reg .pred one;\nelect.sync _|one, 0xffffffff;\nselp.u32 %0, 1, 0, one;\n}"
                 : "=r"(elected));
    return (int)elected;
}
/* Closes this thread's group of copies as cp_async_commit does; one arrival on `barrier` (counted in its init) when the
 * group and all before it have landed. wgmma may read them after a fence_proxy_async behind the wait. */
DEVICE void cp_async_commit_arrive(u32 barrier) {
    cp_async_commit();
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}
/* orders this thread's ordinary shared-memory writes before later async-proxy accesses (TMA, wgmma) */
DEVICE void fence_proxy_async(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* the same for global memory: what ordinary code wrote there before TMA reads it in the same kernel */
DEVICE void fence_proxy_async_global(void) { asm volatile("fence.proxy.async.global;" ::: "memory"); }
DEVICE void tma_prefetch_map(const tensor_map *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
/* takes `bytes`, a multiple of 16, into L2 if it can */
DEVICE void prefetch_l2(const void *address, u32 bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes) : "memory");
}
DEVICE void tma_load_2d(u32 dst, const tensor_map *map, int x, int y, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(dst),
                 "l"(map), "r"(x), "r"(y), "r"(barrier)
                 : "memory");
}
DEVICE void tma_load_3d(u32 dst, const tensor_map *map, int x, int y, int z, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(dst),
                 "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
                 : "memory");
}
DEVICE void tma_load_4d(u32 dst, const tensor_map *map, int x, int y, int z, int u, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%2, %3, %4, %5}], [%6];" ::"r"(dst),
                 "l"(map), "r"(x), "r"(y), "r"(z), "r"(u), "r"(barrier)
                 : "memory");
}
DEVICE void tma_load_5d(u32 dst, const tensor_map *map, int x, int y, int z, int u, int v, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(dst),
                 "l"(map), "r"(x), "r"(y), "r"(z), "r"(u), "r"(v), "r"(barrier)
                 : "memory");
}
DEVICE void tma_store_2d(const tensor_map *map, int x, int y, u32 src) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
                 "r"(x), "r"(y), "r"(src)
                 : "memory");
}
DEVICE void tma_store_3d(const tensor_map *map, int x, int y, int z, u32 src) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map),
                 "r"(x), "r"(y), "r"(z), "r"(src)
                 : "memory");
}
DEVICE void tma_store_4d(const tensor_map *map, int x, int y, int z, int u, u32 src) {
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(map),
        "r"(x), "r"(y), "r"(z), "r"(u), "r"(src)
        : "memory");
}
/* Policies of L2, as createpolicy makes them for all accesses: what is not read again soon leaves before other data; what is read
 * next stays longer. */
#define GG_EVICT_FIRST 0x12f0000000000000ull
#define GG_EVICT_LAST 0x14f0000000000000ull
DEVICE void tma_store_3d_once(const tensor_map *map, int x, int y, int z, u32 src) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group.L2::cache_hint [%0, {%1, %2, %3}], "
                 "[%4], %5;" ::"l"(map),
                 "r"(x), "r"(y), "r"(z), "r"(src), "l"(GG_EVICT_FIRST)
                 : "memory");
}
DEVICE void tma_store_4d_kept(const tensor_map *map, int x, int y, int z, int u, u32 src) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group.L2::cache_hint "
                 "[%0, {%1, %2, %3, %4}], [%5], %6;" ::"l"(map),
                 "r"(x), "r"(y), "r"(z), "r"(u), "r"(src), "l"(GG_EVICT_LAST)
                 : "memory");
}
DEVICE void tma_store_commit(void) { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/* until at most N (a constant) of this thread's newest store groups still read shared memory */
#define tma_store_wait_read(N) asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory")
/* until at most N of them have writes not yet visible */
#define tma_store_wait(N) asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory")

/* stmatrix: four 8x8 matrices from registers (layout of an m16n16 accumulator block) to rows at the lanes'
 * addresses */
DEVICE void stmatrix_x4(u32 address, const u32 r[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]),
                 "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}
DEVICE void stmatrix_x4_trans(u32 address, const u32 r[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/* --- wgmma (sm_90a): one warpgroup of 128 threads, fp32 accumulators d[N / 2] in the lane layout of mma.sync --- */
DEVICE void wgmma_fence(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/* until at most N (a constant) of the newest groups are pending */
#define wgmma_wait(N) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory")
/* keeps the compiler from moving uses of d[0..count) before the wgmma_wait that precedes this; no instruction */
#define wgmma_hold(d, count)                                                                                 \
    do { UNROLL for (int i_ = 0; i_ < (count); i_++) asm volatile("" : "+f"((d)[i_])::"memory"); } while (0)
/* registers a thread of this warp may use from here on; N a constant, a multiple of 8; all warps of a
 * warpgroup */
#define setmaxnreg_dec(N) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N))
#define setmaxnreg_inc(N) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N))

/* wgmma(N, type, TA, TB, d, a, b, accumulate): d (64 x N) = a (64 x 16) * b (16 x N) [+ d]. type is bf16 or
 * f16; a and b are shared-memory descriptors; TA, TB 1 where the operand is MN-major (its reduction runs down
 * the rows of shared memory). N, type, TA, TB are literals or macros that expand to them. Asynchronous: d may
 * not be touched before a wgmma_wait. */
#define wgmma(N, type, TA, TB, d, a, b, accumulate) GG_WGMMA_(N, type, TA, TB, d, a, b, accumulate)
#define GG_WGMMA_(N, type, TA, TB, d, a, b, accumulate)                                                      \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " GG_WG_ACC_##N                                           \
                 ", 0;\n"                                                                                    \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #type "." #type " {" GG_WG_D_##N          \
                 "}, " GG_WG_AB_##N ", p, 1, 1, " #TA ", " #TB ";\n}"                                        \
                 : GG_WG_OUT_##N(d)                                                                          \
                 : "l"(a), "l"(b), "r"((int)(accumulate)))
#define GG_WG_R0 "%0, %1, %2, %3"
#define GG_WG_R1 ", %4, %5, %6, %7"
#define GG_WG_R2 ", %8, %9, %10, %11"
#define GG_WG_R3 ", %12, %13, %14, %15"
#define GG_WG_R4 ", %16, %17, %18, %19"
#define GG_WG_R5 ", %20, %21, %22, %23"
#define GG_WG_R6 ", %24, %25, %26, %27"
#define GG_WG_R7 ", %28, %29, %30, %31"
#define GG_WG_R8 ", %32, %33, %34, %35"
#define GG_WG_R9 ", %36, %37, %38, %39"
#define GG_WG_R10 ", %40, %41, %42, %43"
#define GG_WG_R11 ", %44, %45, %46, %47"
#define GG_WG_R12 ", %48, %49, %50, %51"
#define GG_WG_R13 ", %52, %53, %54, %55"
#define GG_WG_R14 ", %56, %57, %58, %59"
#define GG_WG_R15 ", %60, %61, %62, %63"
#define GG_WG_R16 ", %64, %65, %66, %67"
#define GG_WG_R17 ", %68, %69, %70, %71"
#define GG_WG_R18 ", %72, %73, %74, %75"
#define GG_WG_R19 ", %76, %77, %78, %79"
#define GG_WG_R20 ", %80, %81, %82, %83"
#define GG_WG_R21 ", %84, %85, %86, %87"
#define GG_WG_R22 ", %88, %89, %90, %91"
#define GG_WG_R23 ", %92, %93, %94, %95"
#define GG_WG_R24 ", %96, %97, %98, %99"
#define GG_WG_R25 ", %100, %101, %102, %103"
#define GG_WG_R26 ", %104, %105, %106, %107"
#define GG_WG_R27 ", %108, %109, %110, %111"
#define GG_WG_R28 ", %112, %113, %114, %115"
#define GG_WG_R29 ", %116, %117, %118, %119"
#define GG_WG_R30 ", %120, %121, %122, %123"
#define GG_WG_R31 ", %124, %125, %126, %127"
#define GG_WG_OUT4(d, i) "+f"((d)[i]), "+f"((d)[i + 1]), "+f"((d)[i + 2]), "+f"((d)[i + 3])
#define GG_WG_D_8 GG_WG_R0
#define GG_WG_AB_8 "%4, %5"
#define GG_WG_ACC_8 "%6"
#define GG_WG_OUT_8(d) GG_WG_OUT4(d, 0)
#define GG_WG_D_16 GG_WG_D_8 GG_WG_R1
#define GG_WG_AB_16 "%8, %9"
#define GG_WG_ACC_16 "%10"
#define GG_WG_OUT_16(d) GG_WG_OUT_8(d), GG_WG_OUT4(d, 4)
#define GG_WG_D_24 GG_WG_D_16 GG_WG_R2
#define GG_WG_AB_24 "%12, %13"
#define GG_WG_ACC_24 "%14"
#define GG_WG_OUT_24(d) GG_WG_OUT_16(d), GG_WG_OUT4(d, 8)
#define GG_WG_D_32 GG_WG_D_24 GG_WG_R3
#define GG_WG_AB_32 "%16, %17"
#define GG_WG_ACC_32 "%18"
#define GG_WG_OUT_32(d) GG_WG_OUT_24(d), GG_WG_OUT4(d, 12)
#define GG_WG_D_40 GG_WG_D_32 GG_WG_R4
#define GG_WG_AB_40 "%20, %21"
#define GG_WG_ACC_40 "%22"
#define GG_WG_OUT_40(d) GG_WG_OUT_32(d), GG_WG_OUT4(d, 16)
#define GG_WG_D_48 GG_WG_D_40 GG_WG_R5
#define GG_WG_AB_48 "%24, %25"
#define GG_WG_ACC_48 "%26"
#define GG_WG_OUT_48(d) GG_WG_OUT_40(d), GG_WG_OUT4(d, 20)
#define GG_WG_D_56 GG_WG_D_48 GG_WG_R6
#define GG_WG_AB_56 "%28, %29"
#define GG_WG_ACC_56 "%30"
#define GG_WG_OUT_56(d) GG_WG_OUT_48(d), GG_WG_OUT4(d, 24)
#define GG_WG_D_64 GG_WG_D_56 GG_WG_R7
#define GG_WG_AB_64 "%32, %33"
#define GG_WG_ACC_64 "%34"
#define GG_WG_OUT_64(d) GG_WG_OUT_56(d), GG_WG_OUT4(d, 28)
#define GG_WG_D_72 GG_WG_D_64 GG_WG_R8
#define GG_WG_AB_72 "%36, %37"
#define GG_WG_ACC_72 "%38"
#define GG_WG_OUT_72(d) GG_WG_OUT_64(d), GG_WG_OUT4(d, 32)
#define GG_WG_D_80 GG_WG_D_72 GG_WG_R9
#define GG_WG_AB_80 "%40, %41"
#define GG_WG_ACC_80 "%42"
#define GG_WG_OUT_80(d) GG_WG_OUT_72(d), GG_WG_OUT4(d, 36)
#define GG_WG_D_88 GG_WG_D_80 GG_WG_R10
#define GG_WG_AB_88 "%44, %45"
#define GG_WG_ACC_88 "%46"
#define GG_WG_OUT_88(d) GG_WG_OUT_80(d), GG_WG_OUT4(d, 40)
#define GG_WG_D_96 GG_WG_D_88 GG_WG_R11
#define GG_WG_AB_96 "%48, %49"
#define GG_WG_ACC_96 "%50"
#define GG_WG_OUT_96(d) GG_WG_OUT_88(d), GG_WG_OUT4(d, 44)
#define GG_WG_D_104 GG_WG_D_96 GG_WG_R12
#define GG_WG_AB_104 "%52, %53"
#define GG_WG_ACC_104 "%54"
#define GG_WG_OUT_104(d) GG_WG_OUT_96(d), GG_WG_OUT4(d, 48)
#define GG_WG_D_112 GG_WG_D_104 GG_WG_R13
#define GG_WG_AB_112 "%56, %57"
#define GG_WG_ACC_112 "%58"
#define GG_WG_OUT_112(d) GG_WG_OUT_104(d), GG_WG_OUT4(d, 52)
#define GG_WG_D_120 GG_WG_D_112 GG_WG_R14
#define GG_WG_AB_120 "%60, %61"
#define GG_WG_ACC_120 "%62"
#define GG_WG_OUT_120(d) GG_WG_OUT_112(d), GG_WG_OUT4(d, 56)
#define GG_WG_D_128 GG_WG_D_120 GG_WG_R15
#define GG_WG_AB_128 "%64, %65"
#define GG_WG_ACC_128 "%66"
#define GG_WG_OUT_128(d) GG_WG_OUT_120(d), GG_WG_OUT4(d, 60)
#define GG_WG_D_136 GG_WG_D_128 GG_WG_R16
#define GG_WG_AB_136 "%68, %69"
#define GG_WG_ACC_136 "%70"
#define GG_WG_OUT_136(d) GG_WG_OUT_128(d), GG_WG_OUT4(d, 64)
#define GG_WG_D_144 GG_WG_D_136 GG_WG_R17
#define GG_WG_AB_144 "%72, %73"
#define GG_WG_ACC_144 "%74"
#define GG_WG_OUT_144(d) GG_WG_OUT_136(d), GG_WG_OUT4(d, 68)
#define GG_WG_D_152 GG_WG_D_144 GG_WG_R18
#define GG_WG_AB_152 "%76, %77"
#define GG_WG_ACC_152 "%78"
#define GG_WG_OUT_152(d) GG_WG_OUT_144(d), GG_WG_OUT4(d, 72)
#define GG_WG_D_160 GG_WG_D_152 GG_WG_R19
#define GG_WG_AB_160 "%80, %81"
#define GG_WG_ACC_160 "%82"
#define GG_WG_OUT_160(d) GG_WG_OUT_152(d), GG_WG_OUT4(d, 76)
#define GG_WG_D_168 GG_WG_D_160 GG_WG_R20
#define GG_WG_AB_168 "%84, %85"
#define GG_WG_ACC_168 "%86"
#define GG_WG_OUT_168(d) GG_WG_OUT_160(d), GG_WG_OUT4(d, 80)
#define GG_WG_D_176 GG_WG_D_168 GG_WG_R21
#define GG_WG_AB_176 "%88, %89"
#define GG_WG_ACC_176 "%90"
#define GG_WG_OUT_176(d) GG_WG_OUT_168(d), GG_WG_OUT4(d, 84)
#define GG_WG_D_184 GG_WG_D_176 GG_WG_R22
#define GG_WG_AB_184 "%92, %93"
#define GG_WG_ACC_184 "%94"
#define GG_WG_OUT_184(d) GG_WG_OUT_176(d), GG_WG_OUT4(d, 88)
#define GG_WG_D_192 GG_WG_D_184 GG_WG_R23
#define GG_WG_AB_192 "%96, %97"
#define GG_WG_ACC_192 "%98"
#define GG_WG_OUT_192(d) GG_WG_OUT_184(d), GG_WG_OUT4(d, 92)
#define GG_WG_D_200 GG_WG_D_192 GG_WG_R24
#define GG_WG_AB_200 "%100, %101"
#define GG_WG_ACC_200 "%102"
#define GG_WG_OUT_200(d) GG_WG_OUT_192(d), GG_WG_OUT4(d, 96)
#define GG_WG_D_208 GG_WG_D_200 GG_WG_R25
#define GG_WG_AB_208 "%104, %105"
#define GG_WG_ACC_208 "%106"
#define GG_WG_OUT_208(d) GG_WG_OUT_200(d), GG_WG_OUT4(d, 100)
#define GG_WG_D_216 GG_WG_D_208 GG_WG_R26
#define GG_WG_AB_216 "%108, %109"
#define GG_WG_ACC_216 "%110"
#define GG_WG_OUT_216(d) GG_WG_OUT_208(d), GG_WG_OUT4(d, 104)
#define GG_WG_D_224 GG_WG_D_216 GG_WG_R27
#define GG_WG_AB_224 "%112, %113"
#define GG_WG_ACC_224 "%114"
#define GG_WG_OUT_224(d) GG_WG_OUT_216(d), GG_WG_OUT4(d, 108)
#define GG_WG_D_232 GG_WG_D_224 GG_WG_R28
#define GG_WG_AB_232 "%116, %117"
#define GG_WG_ACC_232 "%118"
#define GG_WG_OUT_232(d) GG_WG_OUT_224(d), GG_WG_OUT4(d, 112)
#define GG_WG_D_240 GG_WG_D_232 GG_WG_R29
#define GG_WG_AB_240 "%120, %121"
#define GG_WG_ACC_240 "%122"
#define GG_WG_OUT_240(d) GG_WG_OUT_232(d), GG_WG_OUT4(d, 116)
#define GG_WG_D_248 GG_WG_D_240 GG_WG_R30
#define GG_WG_AB_248 "%124, %125"
#define GG_WG_ACC_248 "%126"
#define GG_WG_OUT_248(d) GG_WG_OUT_240(d), GG_WG_OUT4(d, 120)
#define GG_WG_D_256 GG_WG_D_248 GG_WG_R31
#define GG_WG_AB_256 "%128, %129"
#define GG_WG_ACC_256 "%130"
#define GG_WG_OUT_256(d) GG_WG_OUT_248(d), GG_WG_OUT4(d, 124)
#endif

/* --- approximations: relative error at most 2^-22 (2 units in the last place); subnormals are zero --- */
DEVICE float exp2_approx(float x) {
    float value;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}
DEVICE float reciprocal_approx(float x) {
    float value;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}

#endif /* __CUDACC__ */
#endif
