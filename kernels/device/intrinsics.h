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

DEVICE u32 smem_addr(const void *pointer) { return (u32)__cvta_generic_to_shared(pointer); }

/* --- synchronisation
 * ----------------------------------------------------------------------------------------- */
DEVICE void block_sync(void) { __syncthreads(); }
DEVICE void warp_sync(void) { __syncwarp(); }
/* barrier `id` (1-15) among `threads` threads, a multiple of 32 */
DEVICE void named_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
DEVICE void named_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/* stops the kernel with an error that the host sees */
DEVICE void device_trap(void) { asm volatile("trap;"); }

/* --- warp
 * ---------------------------------------------------------------------------------------------------- */
DEVICE u32 shuffle(u32 value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
DEVICE u32 shuffle_xor(u32 value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

/* --- plain 16-byte accesses; the address is 16-byte aligned
 * --------------------------------------------------- */
DEVICE u32x4 load_16(const void *address) { return *(const u32x4 *)address; }
DEVICE void store_16(void *address, u32x4 value) { *(u32x4 *)address = value; }
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

/* --- 16-bit floats: round to nearest even, NaN stays NaN
 * -------------------------------------------------------- */
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
/* fused multiply-add and its parts, each rounded once, never contracted by the compiler */
DEVICE float fma_f32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float mul_f32(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add_f32(float a, float b) { return __fadd_rn(a, b); }

/* --- atomics on integers (never on floats: the order would show)
 * --------------------------------------------- */
DEVICE u64 atomic_add_u64(u64 *address, u64 value) { return atomicAdd(address, value); }
DEVICE u32 atomic_add_u32(u32 *address, u32 value) { return atomicAdd(address, value); }
DEVICE u64 atomic_min_u64(u64 *address, u64 value) { return atomicMin(address, value); }

/* --- cp.async: 16 bytes global to shared; `bytes` 0 reads nothing and zero-fills
 * ------------------------------- */
DEVICE void cp_async_16(u32 dst, const void *src, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
DEVICE void cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* until at most N (a constant) of this thread's newest groups are pending */
#define cp_async_wait(N) asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory")

/* --- ldmatrix, mma.sync: fragment layouts as in the PTX manual
 * --------------------------------------------------- */
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
/* --- mbarrier: 8 bytes of shared memory, 8-byte aligned
 * --------------------------------------------------------- */
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

/* --- TMA: coordinates innermost first, in elements; one thread issues
 * ---------------------------------------------- */
/* orders this thread's ordinary shared-memory writes before later async-proxy accesses (TMA, wgmma) */
DEVICE void fence_proxy_async(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DEVICE void tma_prefetch_map(const tensor_map *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
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
DEVICE void tma_store_commit(void) { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/* until at most N (a constant) of this thread's newest store groups still read shared memory */
#define tma_store_wait_read(N) asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory")
/* until at most N of them have writes not yet visible */
#define tma_store_wait(N) asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory")
#endif

#endif /* __CUDACC__ */
#endif
