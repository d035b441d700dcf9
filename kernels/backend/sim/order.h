/* order.h: who has seen what: the knowledge of threads, barriers and words of global memory, as shadow.c asks for it. */
#ifndef GG_SIM_ORDER_H
#define GG_SIM_ORDER_H

#include "clock.h"
#include "race.h"

/* Accesses are seen; of those seen, some are fenced too: visible to the async proxy, in shared or in global memory. */
typedef enum gg_sim_view {
    GG_SIM_SEEN,
    GG_SIM_FENCED_SHARED,
    GG_SIM_FENCED_GLOBAL,
    GG_SIM_VIEWS
} gg_sim_view;

/* What is known of other blocks; shared and counted, never changed while shared. Each block's clocks count its own actors. */
typedef struct gg_sim_beyond {
    u32 references, count;
    struct {
        u32 block;
        gg_sim_clock *views[GG_SIM_VIEWS];
    } of[];
} gg_sim_beyond;

typedef struct gg_sim_knowledge {
    gg_sim_clock *views[GG_SIM_VIEWS];
    gg_sim_beyond *beyond; /* NULL: nothing */
} gg_sim_knowledge;

/* Of a barrier: what its arrivals know together; the last knowledge joined, so that each is joined once. */
typedef struct gg_sim_gathering {
    gg_sim_knowledge sum, last;
} gg_sim_gathering;

/* Progress that a thread knows of without having passed it on: of itself, its cp.async's, its TMA stores' reads of shared
 * memory and their writes to global memory. */
enum { GG_SIM_OWN, GG_SIM_COPIES, GG_SIM_STORES, GG_SIM_WRITTEN, GG_SIM_PRIVATE };

typedef struct gg_sim_thread {
    gg_sim_knowledge known;
    u32 actor[GG_SIM_PRIVATE]; /* 0: none yet, but for its own */
    u32 at[GG_SIM_VIEWS][GG_SIM_PRIVATE];
    gg_sim_beyond *released, *acquired; /* as of its last fence_device; by relaxed atomics since */
} gg_sim_thread;

/* What made an access, and so what it can be ordered by. */
typedef enum gg_sim_kind {
    GG_SIM_BY_THREAD,
    GG_SIM_BY_ATOMIC, /* of a thread; no race with another atomic */
    GG_SIM_BY_COPIES,
    GG_SIM_BY_STORES,
    GG_SIM_BY_PRODUCTS,
    GG_SIM_BY_LOADS,
} gg_sim_kind;

typedef struct gg_sim_record {
    u32 epoch; /* 0: none */
    u32 block;
    u16 actor;
    u16 place : 13, kind : 3;
} gg_sim_record;

/* A place in a kernel: of a call, or of plain code. */
typedef struct gg_sim_place {
    const sim_site *site;
    const void *pc;
} gg_sim_place;

enum { GG_SIM_PLACE_SLOTS = 1 << 14, GG_SIM_MAX_PLACES = 1 << 13 };

/* An mbarrier's arrivals of the pending phase and what the last complete one gives to those who wait. */
typedef struct gg_sim_phase {
    gg_sim_gathering arrivals;
    gg_sim_knowledge done;
    u32 actor;
    u32 init_thread, init_epoch;
    bool init_fenced;
    const sim_site *init_site;
} gg_sim_phase;

typedef struct gg_sim_node {
    gg_sim_record reader;
    u32 next;   /* in the pool, 0 ends */
    u32 length; /* of the list from here on */
} gg_sim_node;

/* The last writer and all readers since. */
typedef struct gg_sim_cell {
    gg_sim_record writer, reader;
    u32 more; /* further readers, in the pool */
} gg_sim_cell;

enum {
    GG_SIM_CHUNK = 16, /* bytes of a cell, as ldmatrix, TMA and wgmma touch them */
    GG_SIM_PARTS = 8,  /* of a chunk, of 2 bytes, while parts of it are written */
};

struct gg_sim_chunk {
    gg_sim_cell whole;
    u32 split; /* eight cells instead, in the pool; 0: none */
};

/* Where the cells of some memory have what they share; node 0 and split 0 are unused. */
typedef struct gg_sim_pool {
    gg_sim_node *nodes;
    u32 node_count, node_capacity, free_node;
    gg_sim_cell (*splits)[GG_SIM_PARTS];
    u32 split_count, split_capacity, free_split;
} gg_sim_pool;

enum {
    GG_SIM_CHUNKS = GG_SIM_SHARED_BYTES / GG_SIM_CHUNK,
    GG_SIM_MAX_ACTORS = 4 * GG_SIM_MAX_THREADS + GG_SIM_MAX_WARPS + GG_SIM_MBARRIERS,
};

/* Of a block. */
struct gg_sim_race {
    u32 actors;                     /* so far; the first are its threads */
    u16 numbers[GG_SIM_MAX_ACTORS]; /* of the thread, the warp or the mbarrier */
    gg_sim_thread threads[GG_SIM_MAX_THREADS];
    u32 warp_actor[GG_SIM_MAX_WARPS], warp_done[GG_SIM_MAX_WARPS];
    gg_sim_gathering barriers[GG_SIM_BARRIERS];
    gg_sim_phase mbarriers[GG_SIM_MBARRIERS];
    gg_sim_chunk chunks[GG_SIM_CHUNKS]; /* of shared memory */
    gg_sim_pool pool;
    u32 used_threads; /* that may know something */
};

/* A word of global memory through which blocks hand on what they know. */
typedef struct gg_sim_word {
    const void *address;
    gg_sim_beyond *known;
} gg_sim_word;

/* Of a launch. */
struct gg_sim_checker {
    gg_sim_clocks clocks;
    gg_sim_pool pool; /* of the cells of global memory */
    gg_sim_word *words;
    u32 word_count, word_capacity;
    bool released; /* some block has handed something on */
    u16 **ended;   /* of each block that has ended: the numbers of its actors that are no threads; owned */
    u32 blocks, threads;
    gg_sim_place *places;
    u32 place_count, place_capacity;
    u32 *place_index; /* hash of places by address, of GG_SIM_PLACE_SLOTS */
};

/* An access on its way through the cells. */
typedef struct gg_sim_visit {
    const gg_sim_thread *by; /* NULL: a whole warp, each of whose lanes must know */
    const gg_sim_knowledge *known;
    bool write, async;
    bool global;
    gg_sim_record record;
    const u8 *
        defined; /* global: a bit for each 2 bytes with a value from before the launch, by chunk; NULL: none */
    const char *what;
    const sim_site *site; /* NULL: plain code at pc */
    const void *pc;
    const void *memory; /* global: the first byte of the allocation */
} gg_sim_visit;

/* --- order.c --- */
u32 gg_sim_thread_number(const gg_sim *sim);
/* The current thread's actor for one kind of its progress, the warp's for its wgmma. */
u32 gg_sim_private_actor(gg_sim *sim, int which);
u32 gg_sim_warp_actor(gg_sim *sim);
/* Whether who visits knows of the earlier access, in a view. */
bool gg_sim_ordered(const gg_sim_visit *v, const gg_sim_record *earlier, gg_sim_view view);
/* The same, for an earlier read: it is over, if only for the visitor's own warp. */
bool gg_sim_retired(const gg_sim *sim, const gg_sim_visit *v, const gg_sim_record *earlier);

/* --- shadow.c --- */
/* [offset, offset + bytes) of the memory whose cells are `chunks`. Fails the launch where an order is missing. */
void gg_sim_walk(gg_sim *sim, const gg_sim_visit *v, gg_sim_pool *pool, gg_sim_chunk *chunks, size_t offset,
                 size_t bytes);
/* The reads of `actor` that were in flight have happened at `epoch`. */
void gg_sim_settle_reads(gg_sim_pool *pool, gg_sim_chunk *chunks, size_t offset, size_t bytes, u32 block,
                         u32 actor, u32 epoch);
void gg_sim_pool_reset(gg_sim_pool *pool);
void gg_sim_pool_free(gg_sim_pool *pool);
enum { GG_SIM_IN_FLIGHT = 0x7fffffff }; /* epoch of a TMA load that has not landed */

/* --- race.c --- */
/* The number of a place. */
u16 gg_sim_place_number(gg_sim *sim, const sim_site *site, const void *pc);
/* What the report of a race says. */
_Noreturn void gg_sim_report(gg_sim *sim, const gg_sim_visit *v, size_t offset, const gg_sim_record *earlier,
                             bool write, bool only_fence);
_Noreturn void gg_sim_report_unwritten(gg_sim *sim, const gg_sim_visit *v, size_t offset);
/* An access to global memory that is in order otherwise. */
void gg_sim_race_global(gg_sim *sim, gg_sim_allocation *item, size_t offset, size_t bytes,
                        gg_sim_global_access access, u32 barrier, const u8 *defined, const char *what,
                        const sim_site *site, const void *pc);

/* --- global.c --- */
/* An access of plain code. */
void gg_sim_plain_global(gg_sim *sim, const void *address, size_t bytes, bool write, const void *pc);
/* "'y' +0x120", or of an allocation that the launch does not name. */
void gg_sim_name_global(gg_sim *sim, const void *address, char *text, size_t size);

#endif
