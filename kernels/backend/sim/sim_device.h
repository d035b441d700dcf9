/* sim_device.h: the language of intrinsics.h on the CPU simulator; each call carries its file and line.
 *
 * The first half is the contract between a compiled kernel and the simulator: a table of functions, bound at
 * launch, so that a kernel's shared object needs no symbol of the program that loads it. The second half is
 * what kernels see. */
#ifndef GG_SIM_DEVICE_H
#define GG_SIM_DEVICE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;
typedef struct u32x4 {
    u32 x, y, z, w;
} __attribute__((aligned(16))) u32x4;
typedef struct tensor_map {
    u64 opaque[16];
} __attribute__((aligned(64))) tensor_map;

typedef struct sim_dim {
    u32 x;
} sim_dim;
typedef struct sim_site {
    const char *file;
    int line;
} sim_site;
typedef struct sim_api sim_api;

enum {
    SIM_SHARED_BASE =
        0x400, /* address of the first byte of shared memory; 1024-byte aligned as on a GPU, never 0 */
    SIM_BF16 = 0,
    SIM_FP16 = 1,
};

/* what a fence orders; the simulator's scheduler ignores fences, a race checker does not */
enum { SIM_FENCE_PROXY_ASYNC, SIM_FENCE_PROXY_ASYNC_GLOBAL, SIM_FENCE_MBARRIER_INIT, SIM_FENCE_DEVICE };
enum { SIM_ATOMIC_ADD, SIM_ATOMIC_MIN, SIM_ATOMIC_RELEASE = 0x100 };
enum { SIM_PLAIN_WRITE = 1, SIM_PLAIN_UNALIGNED = 2 };

#define SIM_AT sim_api *api, const sim_site *site
#define SIM_FUNCTIONS(X)                                                                                     \
    X(void, barrier_sync, (SIM_AT, int id, int threads)) /* threads 0: the whole block */                    \
    X(void, barrier_arrive, (SIM_AT, int id, int threads))                                                   \
    X(void, warp_sync, (SIM_AT))                                                                             \
    X(void, grid_wait, (SIM_AT))                                                                             \
    X(void, trap, (SIM_AT))                                                                                  \
    X(void, fence, (SIM_AT, int kind))                                                                       \
    X(u32, shuffle, (SIM_AT, u32 value, int lane))                                                           \
    X(void, warp_values, (SIM_AT, u32 value, u32 * values)) /* what each of the 32 lanes gave */             \
    X(const void *, shared_read, (SIM_AT, u32 address, u32 bytes))                                           \
    X(void *, shared_write, (SIM_AT, u32 address, u32 bytes))                                                \
    X(void, cp_async, (SIM_AT, u32 dst, const void *src, int bytes))                                         \
    X(void, cp_async_commit, (SIM_AT))                                                                       \
    X(void, cp_async_commit_arrive, (SIM_AT, u32 barrier))                                                   \
    X(void, cp_async_wait, (SIM_AT, int pending))                                                            \
    X(void, ldmatrix, (SIM_AT, u32 * out, u32 address, int trans))                                           \
    X(void, stmatrix, (SIM_AT, u32 address, const u32 *values, int trans))                                   \
    X(void, wgmma, (SIM_AT, float *d, u64 a, u64 b, int shape)) /* shape: see SIM_WGMMA */                   \
    X(void, wgmma_fence, (SIM_AT))                                                                           \
    X(void, wgmma_commit, (SIM_AT))                                                                          \
    X(void, wgmma_wait, (SIM_AT, int pending))                                                               \
    X(void, setmaxnreg, (SIM_AT, int registers, int increase))                                               \
    X(void, prefetch, (SIM_AT, const void *address, u32 bytes))                                              \
    X(u64, atomic, (SIM_AT, void *address, u32 bytes, int operation, u64 value))                             \
    X(void, wide, (SIM_AT, const void *address, int flags)) /* 16 bytes by plain code are about to follow */ \
    X(u64, load_acquire, (SIM_AT, const void *address, u32 bytes))                                           \
    X(void, store_release, (SIM_AT, void *address, u32 bytes, u64 value))                                    \
    X(void, plain, (sim_api * api, const void *address, u32 bytes, int flags, const void *pc))               \
    X(void, mma_tile, (SIM_AT, float *acc, const u32 *a, const u32 *b, int mi, int nj, int dtype))           \
    X(void, mbarrier_init, (SIM_AT, u32 barrier, u32 count))                                                 \
    X(void, mbarrier_arrive, (SIM_AT, u32 barrier, u32 expected_bytes))                                      \
    X(void, mbarrier_wait, (SIM_AT, u32 barrier, u32 parity))                                                \
    X(void, tma_load,                                                                                        \
      (SIM_AT, u32 dst, const tensor_map *map, int rank, int x, int y, int z, int u, int v, u32 barrier))    \
    X(void, tma_store, (SIM_AT, const tensor_map *map, int rank, int x, int y, int z, int u, u32 src))       \
    X(void, tma_store_commit, (SIM_AT))                                                                      \
    X(void, tma_store_wait, (SIM_AT, int pending, int only_reads))

struct sim_api {
    const sim_dim *thread_index; /* of the running thread */
    sim_dim block_index, block_dim, grid_dim;
    u8 *shared;
    /* race mode: what its hooks need first of all */
    const u8 *stacks;
    u64 stacks_bytes, machine_bytes; /* of the simulator itself, from this table on */
    u32 products_in_flight;          /* an accumulator on some stack belongs to wgmma */
    void *checked;                   /* address that a call has just checked and plain code is about to use */
/* do_: kernels may define macros of the plain names */
#define X(result, name, arguments) result(*do_##name) arguments;
    SIM_FUNCTIONS(X)
#undef X
};

/* Exported by a kernel's shared object as sim_kernel_NAME. */
typedef struct sim_kernel {
    void (*run)(const void *params);
    u32 params_bytes, max_threads;
    u32 race; /* built for race mode */
} sim_kernel;

#ifndef GG_SIM_HOST

#define SIM_EXPORT __attribute__((visibility("default")))
#define DEVICE static inline __attribute__((unused))
#define UNROLL
#define NO_UNROLL

#ifndef SIM_RACE
#define SIM_RACE 0
#endif
#if !SIM_RACE
static sim_api *sim_;
#define SIM_TABLE sim_
SIM_EXPORT void sim_bind(sim_api *api);
SIM_EXPORT void sim_bind(sim_api *api) { sim_ = api; }
#else
/* The sanitizer checks no constants, so what every call reads is constant to all but sim_bind. */
extern sim_api *const sim_ __attribute__((visibility("hidden")));
extern const sim_api sim_table_ __attribute__((visibility("hidden")));
extern sim_api *sim_writable_ __asm__("sim_") __attribute__((visibility("hidden")));
extern sim_api sim_table_writable_ __asm__("sim_table_") __attribute__((visibility("hidden")));
__asm__(".local sim_\n.comm sim_,8,8\n.local sim_table_\n.comm sim_table_,1024,64");
_Static_assert(sizeof(sim_api) <= 1024, "room for the table");
#define SIM_TABLE (&sim_table_)
#define SIM_UNCHECKED __attribute__((no_sanitize("thread")))
SIM_UNCHECKED SIM_EXPORT void sim_bind(sim_api *api);
SIM_UNCHECKED SIM_EXPORT void sim_bind(sim_api *api) {
    sim_writable_ = api;
    sim_table_writable_ = *api;
}
/* What -fsanitize=thread calls before each access of plain code. A thread's own stack is only looked at while
 * a wgmma may own a part of it. */
#define SIM_HOOK_BODY(bytes, flags)                                                                          \
    if ((u64)((const u8 *)address - sim_table_.stacks) < sim_table_.stacks_bytes &&                          \
        !sim_->products_in_flight)                                                                           \
        return;                                                                                              \
    if ((u64)((const u8 *)address - (const u8 *)sim_) < sim_table_.machine_bytes) return;                    \
    if (address == sim_->checked) {                                                                          \
        sim_->checked = 0;                                                                                   \
        return;                                                                                              \
    }                                                                                                        \
    sim_table_.do_plain(sim_, address, (u32)(bytes), flags, __builtin_return_address(0));
#define SIM_HOOK(name, flags, bytes, ...)                                                                    \
    SIM_UNCHECKED __attribute__((visibility("hidden"))) void __tsan_##name(__VA_ARGS__);                     \
    SIM_UNCHECKED void __tsan_##name(__VA_ARGS__) { SIM_HOOK_BODY(bytes, flags) }
#define SIM_HOOKS(size)                                                                                      \
    SIM_HOOK(read##size, 0, size, void *address)                                                             \
    SIM_HOOK(write##size, 1, size, void *address)                                                            \
    SIM_HOOK(unaligned_read##size, 2, size, void *address)                                                   \
    SIM_HOOK(unaligned_write##size, 3, size, void *address)
SIM_HOOKS(1)
SIM_HOOKS(2)
SIM_HOOKS(4)
SIM_HOOKS(8)
SIM_HOOKS(16)
SIM_HOOK(read_range, 2, bytes, void *address, unsigned long bytes)
SIM_HOOK(write_range, 3, bytes, void *address, unsigned long bytes)
SIM_UNCHECKED __attribute__((visibility("hidden"))) void __tsan_init(void);
SIM_UNCHECKED void __tsan_init(void) {}
#endif

#define SIM_HERE                                                                                             \
    ({                                                                                                       \
        static const sim_site site_ = {__FILE__, __LINE__};                                                  \
        &site_;                                                                                              \
    })
#define SIM_CALL(name, ...) (SIM_TABLE->do_##name(sim_, SIM_HERE, ##__VA_ARGS__))

/* `name` is the plain entry; the body has the parameters by value, as on a GPU */
#define KERNEL(name, params_type, threads, blocks)                                                           \
    static void name##_body(const params_type p);                                                            \
    SIM_EXPORT void name(const void *params);                                                                \
    SIM_EXPORT void name(const void *params) { name##_body(*(const params_type *)params); }                  \
    SIM_EXPORT const sim_kernel sim_kernel_##name = {name, sizeof(params_type), (threads), SIM_RACE};        \
    static void name##_body(const params_type p)
#define SHARED_MEMORY(name) u8 *const name = sim_->shared
#define threadIdx (*sim_->thread_index)
#define blockIdx (sim_->block_index)
#define blockDim (sim_->block_dim)
#define gridDim (sim_->grid_dim)

DEVICE u32 smem_addr(const void *pointer) {
    return (u32)((const u8 *)pointer - sim_->shared) + SIM_SHARED_BASE;
}

/* --- synchronisation, warp --- */
#define block_sync() SIM_CALL(barrier_sync, 0, 0)
#define named_sync(id, threads) SIM_CALL(barrier_sync, id, threads)
#define named_arrive(id, threads) SIM_CALL(barrier_arrive, id, threads)
#define warp_sync() SIM_CALL(warp_sync)
#define grid_wait() SIM_CALL(grid_wait)
#define device_trap() SIM_CALL(trap)
#define opaque(value) (value)
#define shuffle(value, lane) SIM_CALL(shuffle, value, lane)
#define shuffle_within(value, lane, width)                                                                   \
    SIM_CALL(shuffle, value, ((int)(threadIdx.x & 31) & ~((width)-1)) | (lane))
#define shuffle_xor(value, mask) SIM_CALL(shuffle, value, (int)(threadIdx.x & 31) ^ (mask))
#define SIM_WARP(value, body)                                                                                \
    ({                                                                                                       \
        const u32 own_ = (value);                                                                            \
        u32 values_[32], result_ = 0;                                                                        \
        SIM_CALL(warp_values, own_, values_);                                                                \
        for (int lane_ = 0; lane_ < 32; lane_++) body;                                                       \
        result_;                                                                                             \
    })
#define warp_max(value) SIM_WARP(value, result_ = values_[lane_] > result_ ? values_[lane_] : result_)
#define warp_ballot(condition) SIM_WARP((condition) != 0, result_ |= values_[lane_] << lane_)
#define warp_match(value) SIM_WARP(value, result_ |= (u32)(values_[lane_] == own_) << lane_)
DEVICE int count_bits(u32 bits) { return __builtin_popcount(bits); }
DEVICE int lowest_bit(u32 bits) { return __builtin_ctz(bits); }

/* --- plain accesses --- */
#define SIM_WIDE(address, flags)                                                                             \
    ({                                                                                                       \
        const void *wide_ = (address);                                                                       \
        if (SIM_RACE || (u64)wide_ & 15) SIM_CALL(wide, wide_, flags);                                       \
        (u32x4 *)wide_;                                                                                      \
    })
#define load_16(address) (*(const u32x4 *)SIM_WIDE(address, 0))
#define store_16(address, value) ((void)(*SIM_WIDE(address, SIM_PLAIN_WRITE) = (value)))
#define smem_load_16(address) (*(const u32x4 *)SIM_CALL(shared_read, address, 16))
#define smem_store_16(address, value) ((void)(*(u32x4 *)SIM_CALL(shared_write, address, 16) = (value)))
#define smem_load_4(address) (*(const u32 *)SIM_CALL(shared_read, address, 4))
#define smem_store_4(address, value) ((void)(*(u32 *)SIM_CALL(shared_write, address, 4) = (value)))

/* --- 16-bit floats; a NaN becomes 0x7fff as from the GPU's cvt --- */
DEVICE float float_from_bits(u32 bits) {
    union {
        u32 u;
        float f;
    } v = {.u = bits};
    return v.f;
}
DEVICE u32 bits_from_float(float value) {
    union {
        float f;
        u32 u;
    } v = {.f = value};
    return v.u;
}
DEVICE u16 bf16_from_float(float value) {
    u32 bits = bits_from_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u16)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
DEVICE u16 fp16_from_float(float value) {
    u32 bits = bits_from_float(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return (u16)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (magnitude < 0x38800000u) /* below 2^-14: adding 0.5 rounds to a multiple of 2^-24 */
        return (u16)(sign | (bits_from_float(float_from_bits(magnitude) + 0.5f) - 0x3f000000u));
    return (u16)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13);
}
DEVICE float float_from_bf16(u16 bits) { return float_from_bits((u32)bits << 16); }
DEVICE float float_from_fp16(u16 bits) {
    u32 magnitude = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    if (magnitude >= 0x0f800000u) return float_from_bits(sign | magnitude | 0x7f800000u); /* infinity, NaN */
    return float_from_bits(sign | bits_from_float(float_from_bits(magnitude) * 0x1p112f));
}
DEVICE u32 bf16_pair_from_floats(float low, float high) {
    return bf16_from_float(low) | (u32)bf16_from_float(high) << 16;
}
DEVICE u32 fp16_pair_from_floats(float low, float high) {
    return fp16_from_float(low) | (u32)fp16_from_float(high) << 16;
}
/* compiled with -ffp-contract=off, so each of these rounds once */
DEVICE float fma_f32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE float mul_f32(float a, float b) { return a * b; }
DEVICE float add_f32(float a, float b) { return a + b; }

/* --- atomics --- */
#define atomic_add_u64(address, value) SIM_CALL(atomic, address, 8, SIM_ATOMIC_ADD, value)
#define atomic_add_u32(address, value) ((u32)SIM_CALL(atomic, address, 4, SIM_ATOMIC_ADD, value))
#define atomic_min_u64(address, value) SIM_CALL(atomic, address, 8, SIM_ATOMIC_MIN, value)

/* --- flags between blocks --- */
#define load_acquire_u32(address) ((u32)SIM_CALL(load_acquire, address, 4))
#define store_release_u32(address, value) SIM_CALL(store_release, address, 4, value)
#define atomic_add_release_u32(address, value)                                                               \
    ((void)SIM_CALL(atomic, address, 4, SIM_ATOMIC_ADD | SIM_ATOMIC_RELEASE, value))
#define fence_device() SIM_CALL(fence, SIM_FENCE_DEVICE)

/* --- cp.async, ldmatrix, mma.sync --- */
#define cp_async_16(dst, src, bytes) SIM_CALL(cp_async, dst, src, bytes)
#define cp_async_commit() SIM_CALL(cp_async_commit)
#define cp_async_commit_arrive(barrier) SIM_CALL(cp_async_commit_arrive, barrier)
#define cp_async_wait(N) SIM_CALL(cp_async_wait, N)
#define ldmatrix_x4(r, address) SIM_CALL(ldmatrix, r, address, 0)
#define ldmatrix_x4_trans(r, address) SIM_CALL(ldmatrix, r, address, 1)
#define stmatrix_x4(address, r) SIM_CALL(stmatrix, address, r, 0)
#define stmatrix_x4_trans(address, r) SIM_CALL(stmatrix, address, r, 1)
#define mma_m16n8k16_bf16(c, a, b) SIM_CALL(mma_tile, c, a, b, 1, 1, SIM_BF16)
#define mma_m16n8k16_fp16(c, a, b) SIM_CALL(mma_tile, c, a, b, 1, 1, SIM_FP16)
#define SIM_MMA_TILE(acc, a, b, MI, NJ, dtype)                                                               \
    do {                                                                                                     \
        _Static_assert(sizeof((acc)[0]) == (NJ)*4 * sizeof(float), "acc is acc[MI][NJ][4]");                 \
        _Static_assert(sizeof((a)[0]) == 4 * sizeof(u32), "a is a[MI][4]");                                  \
        _Static_assert(sizeof((b)[0]) == 2 * sizeof(u32), "b is b[NJ][2]");                                  \
        SIM_CALL(mma_tile, &(acc)[0][0][0], &(a)[0][0], &(b)[0][0], MI, NJ, dtype);                          \
    } while (0)
#define mma_tile_bf16(acc, a, b, MI, NJ) SIM_MMA_TILE(acc, a, b, MI, NJ, SIM_BF16)
#define mma_tile_fp16(acc, a, b, MI, NJ) SIM_MMA_TILE(acc, a, b, MI, NJ, SIM_FP16)

#define own_register(pointer) (pointer)

/* --- mbarrier, TMA --- */
/* as on the card the lanes wait for one another, which orders no memory */
#define elect_one() (SIM_CALL(shuffle, threadIdx.x & 31, 0) == (threadIdx.x & 31))
#define mbarrier_init(barrier, count) SIM_CALL(mbarrier_init, barrier, count)
#define fence_mbarrier_init() SIM_CALL(fence, SIM_FENCE_MBARRIER_INIT)
#define mbarrier_arrive(barrier) SIM_CALL(mbarrier_arrive, barrier, 0)
#define mbarrier_arrive_expect_tx(barrier, bytes) SIM_CALL(mbarrier_arrive, barrier, bytes)
#define mbarrier_wait(barrier, parity) SIM_CALL(mbarrier_wait, barrier, parity)
#define fence_proxy_async() SIM_CALL(fence, SIM_FENCE_PROXY_ASYNC)
#define fence_proxy_async_global() SIM_CALL(fence, SIM_FENCE_PROXY_ASYNC_GLOBAL)
#define prefetch_l2(address, bytes) SIM_CALL(prefetch, address, bytes)
#define tma_prefetch_map(map) ((void)(map))
#define tma_load_2d(dst, map, x, y, barrier) SIM_CALL(tma_load, dst, map, 2, x, y, 0, 0, 0, barrier)
#define tma_load_3d(dst, map, x, y, z, barrier) SIM_CALL(tma_load, dst, map, 3, x, y, z, 0, 0, barrier)
#define tma_load_4d(dst, map, x, y, z, u, barrier) SIM_CALL(tma_load, dst, map, 4, x, y, z, u, 0, barrier)
#define tma_load_5d(dst, map, x, y, z, u, v, barrier) SIM_CALL(tma_load, dst, map, 5, x, y, z, u, v, barrier)
#define tma_store_2d(map, x, y, src) SIM_CALL(tma_store, map, 2, x, y, 0, 0, src)
#define tma_store_3d(map, x, y, z, src) SIM_CALL(tma_store, map, 3, x, y, z, 0, src)
#define tma_store_4d(map, x, y, z, u, src) SIM_CALL(tma_store, map, 4, x, y, z, u, src)
#define tma_store_3d_once tma_store_3d
#define tma_store_4d_kept tma_store_4d
#define tma_store_commit() SIM_CALL(tma_store_commit)
#define tma_store_wait_read(N) SIM_CALL(tma_store_wait, N, 1)
#define tma_store_wait(N) SIM_CALL(tma_store_wait, N, 0)

/* --- wgmma: the same spelling as on a GPU: N a multiple of 8 to 256, type bf16 or f16 --- */
#define wgmma(N, type, TA, TB, d, a, b, accumulate) SIM_WGMMA(N, type, TA, TB, d, a, b, accumulate)
#define SIM_WGMMA(N, type, TA, TB, d, a, b, accumulate)                                                      \
    do {                                                                                                     \
        _Static_assert((N) % 8 == 0 && (N) >= 8 && (N) <= 256, "wgmma of N " #N);                            \
        SIM_CALL(wgmma, d, a, b,                                                                             \
                 (N) | SIM_WGMMA_TYPE_##type << 9 | (TA) << 10 | (TB) << 11 | ((accumulate) != 0) << 12);    \
    } while (0)
enum { SIM_WGMMA_TYPE_bf16 = SIM_BF16, SIM_WGMMA_TYPE_f16 = SIM_FP16 };
#define wgmma_fence() SIM_CALL(wgmma_fence)
#define wgmma_commit() SIM_CALL(wgmma_commit)
#define wgmma_wait(N) SIM_CALL(wgmma_wait, N)
#define wgmma_hold(d, count) ((void)(d), (void)(count)) /* for compilers that see no call in a wait */
#define setmaxnreg_dec(N) SIM_CALL(setmaxnreg, N, 0)
#define setmaxnreg_inc(N) SIM_CALL(setmaxnreg, N, 1)

/* --- approximations: a series to the last place of a float and the quotient; subnormals are zero --- */
DEVICE float exp2_approx(float x) {
    if (x != x || x >= 128.0f) return x < 128.0f ? x : x + __builtin_inff();
    if (x < -126.0f) return 0.0f;
    int whole = (int)(x + (x < 0 ? -0.5f : 0.5f));
    double y = ((double)x - whole) * 0x1.62e42fefa39efp-1, sum = 1.0;
    for (int i = 11; i > 0; i--) sum = 1.0 + sum * y / i;
    return (float)(sum * (whole < 0
                              ? 1.0 / (double)(1ull << -whole / 2) / (double)(1ull << (-whole - -whole / 2))
                              : (double)(1ull << whole / 2) * (double)(1ull << (whole - whole / 2))));
}
DEVICE float reciprocal_approx(float x) {
    float value = 1.0f / (x < 0x1p-126f && x > -0x1p-126f ? x * 0.0f : x);
    return value < 0x1p-126f && value > -0x1p-126f ? value * 0.0f : value;
}

#endif /* GG_SIM_HOST */
#endif
