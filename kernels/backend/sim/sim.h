/* sim.h: the simulated machine: one OS thread, a fiber per CUDA thread, blocks one after another, or side by side where
 * they wait for each other.
 *
 * A gg_sim is one resident block with its shared memory, stacks and barriers; a gg_sim_device is what all blocks share.
 * Threads switch only inside simulator calls. Asynchronous operations are queued, their destination poisoned,
 * and they land as late as legal (or at random). A fault ends the launch: gg_sim_fail writes one line and
 * never returns. */
#ifndef GG_SIM_H
#define GG_SIM_H

#include "backend/backend.h"
#include "options.h"
#include "switch.h"

#include <stdarg.h>

#define GG_SIM_HOST
#include "sim_device.h"

enum {
    GG_SIM_MAX_THREADS = 1024,
    GG_SIM_LANES = 32,
    GG_SIM_MAX_WARPS = GG_SIM_MAX_THREADS / GG_SIM_LANES,
    GG_SIM_BARRIERS = 16,                  /* of hardware; 0 is block_sync */
    GG_SIM_MBARRIERS = 256,                /* more than any ring needs */
    GG_SIM_SHARED_BYTES = 227 * 1024,      /* most a block may ask for, as on Hopper */
    GG_SIM_STACK_BYTES = 64 * 1024,        /* of a thread; kernels keep below 8 KiB */
    GG_SIM_SIGNAL_STACK_BYTES = 64 * 1024, /* above SIGSTKSZ with the widest vector registers */
    GG_SIM_TX_LIMIT = (1 << 20) - 1,       /* bytes an mbarrier can count */
    GG_SIM_RECENT = 64,                    /* entries of the cache of allocations */
    GG_SIM_RECENT_BYTES = 1 << 16,         /* addresses that share one */
    GG_SIM_WGMMA_N = 256,                  /* widest wgmma */
    GG_SIM_ACCUMULATORS = 8,               /* in flight, of one warp */
    GG_SIM_MAX_RESIDENT = 64,              /* blocks at a time, where a GPU of this size holds as many */
    GG_SIM_POLLS = 4096,                   /* looks at unchanged flags before a launch counts as stuck */
    GG_SIM_ISSUED = 256,                   /* wgmma by which one warp may be ahead and still be compared */
    GG_SIM_MAX_NJ = 8,                     /* columns of mma blocks decoded at a time: 8 KiB, in L1 */
};

typedef struct gg_sim gg_sim;
typedef struct gg_sim_warp gg_sim_warp;
/* The race checker (race.h): what it keeps of a block, and of the launch. */
typedef struct gg_sim_race gg_sim_race;
typedef struct gg_sim_checker gg_sim_checker;
typedef struct gg_sim_chunk gg_sim_chunk;

/* one cp.async; `bytes` of 16 are read, the rest becomes zero */
typedef struct gg_sim_copy {
    const u8 *src;
    u32 dst, group;
    int bytes;
    bool landed;
    const sim_site *site;
} gg_sim_copy;

/* An operation that has a warp, a barrier or a thread waiting, and how a deadlock report calls it. */
#define GG_SIM_WAITS(X)                                                                                      \
    X(GG_SIM_RUNNING, "running")                                                                             \
    X(GG_SIM_BARRIER_SYNC, "barrier sync")                                                                   \
    X(GG_SIM_BARRIER_ARRIVE, "barrier arrive")                                                               \
    X(GG_SIM_WARP_SYNC, "warp_sync")                                                                         \
    X(GG_SIM_SHUFFLE, "shuffle")                                                                             \
    X(GG_SIM_WARP_VALUES, "maximum, ballot or match of a warp")                                              \
    X(GG_SIM_LDMATRIX, "ldmatrix")                                                                           \
    X(GG_SIM_MMA, "mma")                                                                                     \
    X(GG_SIM_MBARRIER_WAIT, "mbarrier_wait")                                                                 \
    X(GG_SIM_STMATRIX, "stmatrix")                                                                           \
    X(GG_SIM_WGMMA, "wgmma")                                                                                 \
    X(GG_SIM_WGMMA_FENCE, "wgmma_fence")                                                                     \
    X(GG_SIM_WGMMA_COMMIT, "wgmma_commit")                                                                   \
    X(GG_SIM_WGMMA_WAIT, "wgmma_wait")                                                                       \
    X(GG_SIM_SETMAXNREG, "setmaxnreg")                                                                       \
    X(GG_SIM_WORD, "a look at global memory")

typedef enum gg_sim_wait {
#define X(name, text) name,
    GG_SIM_WAITS(X)
#undef X
} gg_sim_wait;

typedef struct gg_sim_fiber {
    gg_sim_context context;
    sim_dim index; /* threadIdx */
    u32 lane;
    gg_sim_warp *warp;
    gg_sim *sim;
    gg_sim_wait wait;
    bool done;
    const sim_site *site; /* of the last simulator call */
    u32 barrier, parity;  /* what a barrier or mbarrier wait is for */
    const void *word;     /* global memory last looked at, its size and what was there */
    u32 word_bytes;
    u64 word_value;
    u32 shuffled;        /* result of its last shuffle */
    bool waited;         /* grid_wait */
    gg_sim_copy *copies; /* queue of cp.async: [first, last) of capacity */
    u32 first_copy, last_copy, copy_capacity;
    u32 copy_group, store_group; /* number of the open group */
} gg_sim_fiber;

typedef struct gg_sim_accumulator gg_sim_accumulator; /* wgmma.c */

/* One warp's share of a wgmma in flight. */
typedef struct gg_sim_product {
    u64 a, b;
    int shape;
    u32 group;
    gg_sim_accumulator *accumulator;
    const sim_site *site;
} gg_sim_product;

/* A wgmma as the first of its warpgroup's warps issued it. */
typedef struct gg_sim_issued {
    u64 a, b;
    int shape;
    u32 ordinal; /* from 1; 0: none */
    const sim_site *site;
} gg_sim_issued;

struct gg_sim_warp {
    u32 ready;   /* lanes that can run */
    u32 arrived; /* lanes that have reached the collective `wait` at `site` */
    gg_sim_wait wait;
    const sim_site *site;
    u64 agreed; /* an argument that all lanes must give alike */
    u32 priority;
    union {
        struct {
            float *acc;
            const u32 *a, *b;
        } mma[GG_SIM_LANES];
        struct {
            u32 *out;
            const u8 *row;
        } ldmatrix[GG_SIM_LANES];
        struct {
            u32 value, source;
        } shuffle[GG_SIM_LANES];
        struct {
            u32 value, *values;
        } given[GG_SIM_LANES];
        struct {
            u8 *row;
            const u32 *values;
        } stmatrix[GG_SIM_LANES];
        struct {
            u64 a, b;
            int shape;
            float *d[GG_SIM_LANES];
        } wgmma;
    };
    gg_sim_fiber *fibers; /* of its lanes */

    gg_sim_product *products; /* queue of wgmma: [first, last) of capacity */
    u32 first_product, last_product, product_capacity;
    u32 product_group, product_count; /* number of the open group; issued so far */
    bool fenced;                      /* wgmma_fence since the threads had an accumulator */
    gg_sim_accumulator *accumulators[GG_SIM_ACCUMULATORS]; /* owned; made when first needed */
    u32 registers, register_changes;                       /* setmaxnreg: a thread's; how often changed */
    bool wants_registers;                                  /* and waits with the lane in last_lane */
    u32 last_lane;
};

typedef struct gg_sim_barrier {
    u32 expected, arrived; /* threads */
    u32 waiting;           /* warps */
} gg_sim_barrier;

/* Kept beside shared memory, whose 8 bytes hold a mark that leads here; a barrier overwritten by data is thus
 * noticed. */
typedef struct gg_sim_mbarrier {
    u32 address, count, pending;
    int64_t tx; /* bytes expected minus bytes landed */
    u32 phase;
    u32 waiting[GG_SIM_MAX_WARPS]; /* lanes */
} gg_sim_mbarrier;

/* What a tensor_map holds here. */
#define GG_SIM_MAP_MAGIC 0x70616d20726f736eull
typedef struct gg_sim_map {
    u64 magic;
    u8 *base;
    u64 dims[5], strides[4]; /* elements; bytes; a dimension beyond the rank has one element */
    u32 box[5];
    int rank;
} gg_sim_map;

/* One TMA load or store. */
typedef struct gg_sim_transfer {
    gg_sim_map map;
    int at[5];
    u32 shared, bytes;
    u32 barrier;         /* load: address of its mbarrier */
    gg_sim_fiber *owner; /* store */
    u32 group;
    u8 *data; /* store: the box once it has been read from shared memory, NULL before; owned */
    const sim_site *site;
} gg_sim_transfer;

/* An arrival on an mbarrier that waits for a thread's cp.async of groups below `done`. */
typedef struct gg_sim_arrival {
    gg_sim_fiber *owner;
    u32 done, barrier; /* address of the mbarrier */
    const sim_site *site;
} gg_sim_arrival;

typedef struct gg_sim_arrivals {
    gg_sim_arrival *items;
    u32 count, capacity;
} gg_sim_arrivals;

typedef struct gg_sim_transfers {
    gg_sim_transfer *items;
    u32 count, capacity;
} gg_sim_transfers;

typedef struct gg_sim_allocation {
    u8 *data;
    size_t bytes;
    void *mapping; /* with the guard pages around */
    size_t mapping_bytes;
    u8 *known;            /* a bit for each 2 bytes that have ever been written; owned */
    gg_sim_chunk *chunks; /* race mode: accesses in this launch; NULL: none yet; owned */
} gg_sim_allocation;

typedef struct gg_sim_memory {
    gg_sim_allocation *items;
    size_t count, capacity;
    u32 recent[GG_SIM_RECENT]; /* last found, by address: a GEMM goes round its operands */
} gg_sim_memory;

/* What all blocks share. */
typedef struct gg_sim_device {
    gg_sim_options options;
    u64 seed, random; /* of the launch */
    char *error;      /* GG_ERROR_SIZE bytes, of the backend */
    gg_sim_memory memory;
    gg_sim_checker *checker; /* NULL: functional mode */
    size_t page_bytes;
    u8 *signal_stack;

    /* the launch */
    const gg_launch_spec *spec;
    const sim_kernel *kernel;
    void (*bind)(sim_api *); /* the kernel's, for whoever runs */
    void *params;
    bool failed;
    gg_sim_landing landing;
    u32 *order, started; /* blocks, and how many of them have begun */
    u32 capacity;        /* blocks that may be resident */
    u32 polls;           /* looks left at flags that nobody has changed */

    gg_sim *blocks[GG_SIM_MAX_RESIDENT]; /* made when first needed; owned */
    u32 resident;                        /* of them have a block */
    gg_sim *active;                      /* whose thread runs; NULL: the launcher */
    gg_sim_context launcher;
} gg_sim_device;

struct gg_sim {
    sim_api api; /* first: kernels pass its address */
    gg_sim_device *device;
    gg_sim_race *race; /* NULL: functional mode */

    /* the block */
    bool resident;
    u32 threads, warps_used, alive;
    u32 shared_bytes;
    gg_sim_fiber *current;
    u32 rotation;  /* lane tried first */
    u32 countdown; /* simulator calls until the next random step */
    u32 interval;
    u32 lookers; /* threads that wait for a change of global memory */
    gg_sim_barrier barriers[GG_SIM_BARRIERS];
    gg_sim_mbarrier mbarriers[GG_SIM_MBARRIERS];
    u32 mbarrier_count;
    gg_sim_transfers loads, stores;
    gg_sim_arrivals arrivals;
    gg_sim_issued issued[GG_SIM_MAX_WARPS / 4][GG_SIM_ISSUED]; /* by warpgroup */
    u32 told_registers[GG_SIM_MAX_WARPS / 4][GG_SIM_ISSUED];   /* setmaxnreg of each warpgroup, in order */
    u32 free_registers;                                        /* given back and not yet taken */

    gg_sim_warp warps[GG_SIM_MAX_WARPS];
    gg_sim_fiber fibers[GG_SIM_MAX_THREADS];
    u8 *stacks; /* each below its guard page's end: stack_stride = guard page + GG_SIM_STACK_BYTES */
    size_t stack_stride;
    u32 guarded;     /* stacks that have their guard page */
    u8 *shared_area; /* shared memory ends where the guard page at its end begins */
    size_t shared_area_bytes;

    /* fragments of one mma tile as floats, in the order in which lanes use them (mma.c) */
    float a_values[8 * 16 * 4] __attribute__((aligned(32)));
    float b_values[4 * 16 * GG_SIM_MAX_NJ * 4] __attribute__((aligned(32)));
};

/* --- scheduler.c --- */
/* kernel and bind of `device` are set. */
gg_status gg_sim_run(gg_sim_device *device, const gg_launch_spec *spec, const gg_device *gpu);
u32 gg_sim_random(gg_sim *sim);
/* Writes the line of a fault: the fault, the place, thread, block, kernel and seed. `site` may be NULL. */
void gg_sim_note(gg_sim *sim, const sim_site *site, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));
/* Ends the launch with such a line. */
_Noreturn void gg_sim_fail(gg_sim *sim, const sim_site *site, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The current thread waits for `wait`; returns when it has been made ready. */
void gg_sim_block(gg_sim *sim, gg_sim_wait wait);
void gg_sim_random_step(gg_sim *sim);
/* The current thread looks at a word of global memory. If it has done so just before, `again`, at this place, and found the
 * same, it waits until somebody has written something else. */
void gg_sim_look(gg_sim *sim, const void *address, u32 bytes, bool again);

/* Every call from a kernel starts here: the place is remembered and now and then something random happens. */
static inline gg_sim *gg_sim_enter(sim_api *api, const sim_site *site) {
    gg_sim *sim = (gg_sim *)api;
    sim->current->site = site;
    if (--sim->countdown == 0) gg_sim_random_step(sim);
    return sim;
}

/* --- block.c --- */
/* A machine for one block, with its stacks and shared memory; NULL if out of memory. */
gg_sim *gg_sim_block_new(gg_sim_device *device);
void gg_sim_block_free(gg_sim *sim);
/* GG_ERR_MEMORY where the stacks cannot be guarded. */
gg_status gg_sim_block_start(gg_sim *sim, u32 index, void (*run)(void *fiber));

/* --- async.c --- */
/* Who touches shared memory: the two proxies are ordered only by fences. */
typedef enum gg_sim_access {
    GG_SIM_READ,
    GG_SIM_WRITE,
    GG_SIM_COPY_WRITE,   /* cp.async */
    GG_SIM_STORE_READ,   /* TMA store */
    GG_SIM_LOAD_WRITE,   /* TMA load */
    GG_SIM_PRODUCT_READ, /* wgmma */
    GG_SIM_SYNC,         /* an mbarrier's own */
} gg_sim_access;
/* The one door to shared memory: checks the range and alignment (a power of two); a race checker goes here.
 */
u8 *gg_sim_shared(gg_sim *sim, u32 address, u32 bytes, u32 alignment, gg_sim_access access, const char *what,
                  const sim_site *site);
/* `items` with room for one more. */
void *gg_sim_grow(gg_sim *sim, void *items, u32 count, u32 *capacity, size_t item_bytes);
void gg_sim_reset_async(gg_sim *sim);
void gg_sim_free_async(gg_sim *sim);
void gg_sim_check_thread_exit(gg_sim *sim, gg_sim_fiber *fiber);
void gg_sim_check_block_exit(gg_sim *sim);
bool gg_sim_land_load(gg_sim *sim);    /* one of the TMA loads in flight, at random; false if none */
bool gg_sim_land_arrival(gg_sim *sim); /* one arrival with its copies, at random; false if none waits */
void gg_sim_land_copy(gg_sim *sim);    /* one cp.async of a random thread, if it has any */

/* --- mma.c --- */
void gg_sim_mma_warp(gg_sim *sim, const gg_sim_warp *warp, int mi, int nj, int dtype);
void gg_sim_ldmatrix_warp(const gg_sim_warp *warp, bool trans);
void gg_sim_stmatrix_warp(const gg_sim_warp *warp, bool trans);

/* --- collectives.c --- */
/* One lane reaches a collective; true for the last lane, which does the work and then calls gg_sim_release.
 * `agreed` is an argument that the whole warp must give alike. */
bool gg_sim_meet(gg_sim *sim, gg_sim_wait wait, u64 agreed, const sim_site *site);
void gg_sim_release(gg_sim_fiber *last);

/* --- wgmma.c --- */
void gg_sim_reset_wgmma(gg_sim *sim);
void gg_sim_free_wgmma(gg_sim *sim);
void gg_sim_check_products(gg_sim *sim, const gg_sim_warp *warp);
void gg_sim_check_warpgroups(gg_sim *sim);
/* The first wgmma in flight on the running thread's accumulator at `address`; NULL if none. */
const sim_site *gg_sim_product_on(const gg_sim *sim, const void *address);
bool gg_sim_land_product(gg_sim *sim); /* the next of a random warp, if it may land before its wait */

/* --- memory.c --- */
gg_status gg_sim_memory_alloc(gg_sim_memory *memory, size_t bytes, void **out);
bool gg_sim_memory_free(gg_sim_memory *memory, void *data);
void gg_sim_memory_close(gg_sim_memory *memory);
/* The live allocation whose pages hold `address`, be it past its end; NULL if none. */
gg_sim_allocation *gg_sim_memory_find(gg_sim_memory *memory, const void *address);
/* Whether [address, address + bytes) lies in one live allocation. */
bool gg_sim_memory_holds(gg_sim_memory *memory, const void *address, size_t bytes);
/* "8 bytes past the end of allocation 0x... (512 bytes)" */
/* Bytes from an address to the allocation that lies nearest, 0 inside one, SIZE_MAX when there is none. */
size_t gg_sim_memory_distance(const gg_sim_memory *memory, const void *address);
void gg_sim_memory_describe(const gg_sim_memory *memory, const void *address, char text[GG_REASON_SIZE]);

/* [address, address + bytes) holds values from here on. */
void gg_sim_memory_know(gg_sim_allocation *item, size_t offset, size_t bytes);

/* --- global.c --- */
typedef enum gg_sim_global_access {
    GG_SIM_GLOBAL_READ,
    GG_SIM_GLOBAL_WRITE,
    GG_SIM_GLOBAL_COPY,  /* read by cp.async */
    GG_SIM_GLOBAL_LOAD,  /* read by TMA */
    GG_SIM_GLOBAL_STORE, /* written by TMA */
    GG_SIM_GLOBAL_LOOK,  /* read by load_acquire */
    GG_SIM_GLOBAL_ATOMIC /* written by an atomic or store_release */
} gg_sim_global_access;
/* The one door to global memory for what names its place: in bounds, and in race mode all else (race.h).
 * `barrier` is the mbarrier's index for a TMA load. */
void gg_sim_global(gg_sim *sim, const void *address, size_t bytes, gg_sim_global_access access, u32 barrier,
                   const char *what, const sim_site *site);

/* --- compile.c --- */
/* "file:line" of plain code of a kernel, for reports. */
void gg_sim_source_line(const void *pc, char *text, size_t size);

/* --- fault.c --- */
/* From begin to end, a signal raised by a kernel becomes a failure of its launch. Launches of one process take
 * turns: signal handlers, and the table a loaded kernel is bound to, belong to the process. */
void gg_sim_faults_begin(gg_sim_device *device);
void gg_sim_faults_end(void);

#define X(result, name, arguments) result gg_sim_##name arguments;
SIM_FUNCTIONS(X)
#undef X

#endif
