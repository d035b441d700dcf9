/* fake_cuda.h: what the made-up libcuda of fake_cuda.c was asked for, and how it shall answer. */
#ifndef MG_FAKE_CUDA_H
#define MG_FAKE_CUDA_H

#include <stddef.h>
#include <stdint.h>

enum {
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
};

typedef struct fake_cuda {
    /* answers */
    int devices, cc_major, cc_minor, version;
    int next_fault;        /* the next launch, map or load ends so */
    int synchronize_fault; /* every wait ends so */
    int stream_fault, object_fault,
        retain_fault; /* so end questions for streams, what gives a graph objects */
    size_t memory;    /* an allocation of more fails */
    /* questions */
    int allocated, modules, events, streams, contexts; /* alive */
    int entered;                                       /* the context made current */
    int waits, waits_of_streams;
    int launches, flushes; /* flushes: fills that are not made */
    float clock;           /* milliseconds */
    int smem_attribute, smem_attribute_calls;
    unsigned grid, threads, smem;
    int overlaps; /* the last launch may start early */
    uint64_t first_param;
    void *stream, *recorded_on, *waiting; /* of the last launch, event and wait for an event */
    int map_type, map_interleave, map_swizzle, map_promotion, map_fill;
    uint32_t map_rank, map_box[5], map_steps[5];
    uint64_t map_dims[5], map_strides[4];
    unsigned stream_flags;
    uint64_t stream_id, capture_id; /* newest */
    void *capturing;                /* the stream */
    int objects;                    /* alive: of graphs and their instances */
    int capture_mode, captures, graphs, graph_execs, replays;
} fake_cuda;

#endif
