/* execute_internal.h: what the files of the executor share: data of problems, guarded device buffers, one
 * case's work. */
#ifndef MG_EXECUTE_INTERNAL_H
#define MG_EXECUTE_INTERNAL_H

#include "compare.h"
#include "execute.h"
#include "moe.h"

#include "device/params.h" /* before helpers.h, which uses its types */

#include "device/helpers.h"

enum {
    MG_GUARD = 4096, /* bytes before and after every tensor: more than a row of any tile */
    MG_MAX_REPORTS =
        40, /* tensors looked at in one step: a GEMM's outputs, or a block's and all of its workspace */
    MG_MAX_EXPERTS = 1024, /* slots for hashes by expert; the largest models have 512 */
    MG_KEPT_PROBLEMS = 4   /* whose data stays in host memory: neighbouring cases share it */
};

/* Device tensors that kernels read; the routing first, because the others may be gathered by it. */
#define MG_INPUTS(X)                                                                                         \
    X(MG_IN_M_SIZES, "m_sizes")                                                                              \
    X(MG_IN_GATHER, "gather_indices")                                                                        \
    X(MG_IN_WEIGHTS, "topk_weights")                                                                         \
    X(MG_IN_ROW_EXPERT, "row_expert") /* for the harness's own kernels */                                    \
    X(MG_IN_X, "x")                                                                                          \
    X(MG_IN_X_EXPERT, "x") /* W1 without permute_x: rows gathered into expert order */                       \
    X(MG_IN_W, "w")                                                                                          \
    X(MG_IN_DY, "dy")                                                                                        \
    X(MG_IN_DY_EXPERT, "dy") /* without permute_y */
typedef enum mg_input {
#define X(name, text) name,
    MG_INPUTS(X)
#undef X
        MG_NUM_INPUTS
} mg_input;

/* What results hold before a run: first and in even ones NaN in both types, two so that what is not written cannot look
 * the same twice; in odd ones a huge number of either sign, which tells what would be lost beside a NaN (a maximum). */
enum { MG_POISON_FIRST = 0xffff, MG_POISON_EVEN = 0x7ffd, MG_POISON_ODD = 0x7b7b };

/* Device tensors that kernels write. */
#define MG_RESULTS(X)                                                                                        \
    X(MG_RES_Y, "y")                                                                                         \
    X(MG_RES_DX, "dx")                                                                                       \
    X(MG_RES_DX_REDUCED, "dx_reduced")                                                                       \
    X(MG_RES_DW, "dw")
typedef enum mg_res {
#define X(name, text) name,
    MG_RESULTS(X)
#undef X
        MG_NUM_RESULTS
} mg_res;
enum { MG_WORKSPACE_REPORT = MG_NUM_RESULTS }; /* on the board, after theirs */

/* --- data of a problem in host memory (execute_data.c) --- */

typedef struct mg_data {
    const mg_problem *problem; /* NULL: free entry */
    mg_class cls;
    gg_dtype dtype;
    mg_inputs inputs;
    int32_t *row_expert;              /* (M) */
    mg_golden goldens[MG_NUM_HASHES]; /* loaded or derived when first needed */
    bool golden_loaded[MG_NUM_HASHES];
    size_t bytes;
    uint64_t used; /* turn of its last use */
} mg_data;

typedef struct mg_data_cache {
    mg_data entries[MG_KEPT_PROBLEMS];
    uint64_t turn;
} mg_data_cache;

/* The data of a case, owned by the cache and valid until the next call. */
gg_status mg_data_get(mg_data_cache *cache, const mg_corpus *corpus, const mg_case *c, uint64_t user_seed,
                      mg_data **out, char error[MG_ERROR_SIZE]);
/* A golden of it; MG_HASH_Y_MUL and MG_HASH_DX_REDUCED of the exact classes are derived from the others. */
gg_status mg_data_golden(mg_data *data, const mg_corpus *corpus, uint64_t user_seed, mg_hash_output which,
                         const mg_golden **out, char error[MG_ERROR_SIZE]);
void mg_data_cache_free(mg_data_cache *cache);

/* --- the executor --- */

/* A device tensor between two guards; grows, so that a run of cases does not pay for allocations, until all are given
 * back. */
typedef struct mg_region {
    uint8_t *base; /* guard, tensor rounded up to a multiple of MG_GUARD, guard */
    size_t capacity, bytes;
    size_t shift; /* of the tensor into the guard after it: 0, or the perturbation of addresses */
} mg_region;

static inline size_t mg_region_begin(const mg_region *region) { return MG_GUARD + region->shift; }
static inline void *mg_region_data(const mg_region *region) { return region->base + mg_region_begin(region); }
static inline size_t mg_region_total(const mg_region *region) {
    return (region->bytes + MG_GUARD - 1) / MG_GUARD * MG_GUARD + 2 * MG_GUARD;
}

/* What the helper kernels write; one on the device and its copy on the host. */
typedef struct mg_board {
    check_report reports[MG_MAX_REPORTS];
    uint32_t stop; /* tells the load beside a kernel to end */
    uint64_t first;
    uint64_t hashes[MG_MAX_EXPERTS];
    uint32_t cells[MG_MAP_SIZE * MG_MAP_SIZE];
} mg_board;

struct mg_executor {
    mg_execute_options options;
    const mg_subject *subject;
    gg_context *context;
    gg_backend *backend;
    mg_corpus *corpus;
    mg_data_cache cache;
    uint64_t identity;    /* of what is tested: the kernels' sources, or the subject's library */
    unsigned perturb;     /* options.perturb less what the backend cannot do */
    gg_stream streams[2]; /* for kernels, and for work beside them; NULL until needed */
    size_t shift;         /* of inputs placed from now on */
    uint64_t held;        /* bytes of all regions */
    uint64_t granted;     /* that they may come to; 0: no bound */
    mg_region kept;       /* rows compared by a batch step */
    mg_board *device_board, *board;
    mg_board *device_clean; /* what a board is before a run */
    mg_region moved;        /* an input on its way to another address */
    uint8_t *download;      /* grows */
    size_t download_capacity;

    const mg_problem *placed_problem; /* whose inputs the regions hold */
    mg_class placed_class;
    gg_dtype placed_dtype;
    bool placed[MG_NUM_INPUTS];
    mg_region inputs[MG_NUM_INPUTS];
    uint64_t digests[MG_NUM_INPUTS];      /* of whole input regions, guards included */
    mg_region results[2][MG_NUM_RESULTS]; /* of the first run; of later runs and of the reference kernel */
    mg_region workspace;                  /* of every run: what is in it is no result */
    struct mg_block_memory *block;        /* device tensors of block cases; NULL until needed */
    char error[MG_ERROR_SIZE];            /* detail of the last failure of a function below */
};

/* One case on its way. Masks are of 1u << mg_input and 1u << mg_res. */
typedef struct mg_run mg_run;
struct mg_run {
    mg_executor *x;
    const mg_case *c;
    /* enqueues all work of the case on `stream`; `timed`: with the device time of the main part */
    gg_status (*launch)(mg_run *run, int set, gg_stream stream, bool timed);
    gg_status (*fill)(mg_run *run, int set, gg_stream stream); /* a set of results and guards with `poison` */
    mg_result *result;
    mg_data *data;
    gg_op ops[GG_NUM_OPS]; /* in the order of their launches */
    size_t num_ops;
    gg_config configs[GG_NUM_OPS]; /* by op */
    unsigned inputs, results;
    size_t workspace;    /* bytes, of the op that wants most; 0: there is none */
    uint64_t draw;       /* of the case: what varies from case to case goes by its bits */
    mg_perturbation how; /* the launch under way is perturbed */
    uint32_t poison;     /* of its results */
    uint32_t differing;  /* repeats unlike the first */
    struct mg_block_run *block;
};

/* The device tensors that `op` needs, results in set 0 or 1, and a workspace where it may be used; the others are NULL. */
gg_tensors mg_run_tensors(const mg_run *run, gg_op op, int set);
/* Appends a line to the result's message; the verdict becomes the worse of the two (error, failed,
 * mistrusted). */
__attribute__((format(printf, 3, 4))) void mg_note(mg_result *result, mg_verdict verdict, const char *format,
                                                   ...);

/* The verdict is skipped, with this reason. */
__attribute__((format(printf, 2, 3))) void mg_skip(mg_result *result, const char *format, ...);

/* --- execute.c --- */

/* Fills the masks of inputs and results, and the size of the workspace, from the case's ops. */
void mg_list_tensors(mg_run *run);
/* Gives all guarded memory back; the next case places its inputs anew. */
void mg_regions_free(mg_executor *x);
/* Memory for a set of results, and for the workspace; then where they begin, from a multiple of 256. */
gg_status mg_reserve_results(mg_run *run, int set);
void mg_shift_results(mg_run *run, int set, size_t shift, size_t workspace);
/* run->launch of a grouped GEMM. */
gg_status mg_launch_ops(mg_run *run, int set, gg_stream stream, bool timed);
/* run->fill of a grouped GEMM. */
gg_status mg_poison_results(mg_run *run, int set, gg_stream stream);
/* Number `number` (from 1): poison, launch, look at guards and, from the second on, at what the first left. */
gg_status mg_run_once(mg_run *run, int number, int set, bool against_first, bool timed);
/* What run number `number` finds in its results: two equal halves. */
uint32_t mg_poison_of(const mg_run *run, int number);

/* --- execute_repeat.c --- */

/* Keeps in the result how the launch just made compared with the first, and its digest. */
void mg_keep_outcome(mg_run *run, bool equal, uint64_t digest);
uint64_t mg_digest_of(const mg_run *run, const uint64_t hashes[MG_NUM_RESULTS]);
/* Launches into a set of poisoned results, in the way that run->how says. */
gg_status mg_launch_perturbed(mg_run *run, int set, bool timed);
/* All launches after the first, whose hashes these are. */
gg_status mg_repeat_case(mg_run *run, const uint64_t first[MG_NUM_RESULTS]);

/* --- execute_batch.c --- */

/* Memory for the step. */
gg_status mg_batch_reserve(mg_run *run);
/* Launches again with other rows in the experts; notes kept rows that are not as the first launch left them. */
gg_status mg_batch_step(mg_run *run, int number);

/* --- execute_plan.c --- */

/* The ops of a case in the order of their launches; returns how many. */
size_t mg_case_ops(const mg_case *c, gg_op ops[GG_NUM_OPS]);
/* Asks the subject for plans; false: there is nothing to run, and the result says why (or has passed: a
 * refusal). */
bool mg_plan_case(mg_run *run);
/* Finds out x->identity. */
gg_status mg_identify(mg_executor *x);
/* Of the kernels that the case launches, once their configs are known. */
uint64_t mg_kernel_identity(const mg_run *run);

/* --- execute_memory.c --- */

/* Gives back what earlier cases have left where the case would come to more than is granted with it. */
void mg_make_room(mg_executor *x, const mg_case *c);
gg_status mg_region_reserve(mg_executor *x, mg_region *region, size_t bytes);
void mg_region_free(mg_executor *x, mg_region *region);

/* --- execute_device.c: downloads and helper kernels; on failure x->error says what --- */

/* `status` as it came; x->error is `what` with the backend's detail. */
gg_status mg_device_status(mg_executor *x, gg_status status, const char *what);
/* Host memory of the executor with room for `bytes`, holding what was downloaded. */
gg_status mg_download(mg_executor *x, const void *device, size_t bytes, const uint8_t **out);
gg_status mg_board_new(mg_executor *x);
void mg_board_free(mg_executor *x);
gg_status mg_board_clear(mg_executor *x);
gg_status mg_board_read(mg_executor *x); /* waits for everything launched */
gg_status mg_launch_fill(mg_executor *x, const fill_params *params);
gg_status mg_launch_hash(mg_executor *x, const hash_params *params); /* hashes: a slot of the device board */
gg_status mg_launch_check(mg_executor *x, const check_params *params); /* report: one of the device board */
/* A region's guards into report `number`, and where given what the first run left beside it. */
gg_status mg_check_region(mg_executor *x, const mg_region *region, const mg_region *first_run, int number,
                          uint32_t poison);
gg_status mg_launch_locate(mg_executor *x, const locate_params *params);
gg_status mg_launch_common(mg_executor *x, const common_params *params);
/* On half of the multiprocessors, until the board's `stop` is set or so many looks have been taken at it, of half a
 * microsecond. */
gg_status mg_launch_load(mg_executor *x, uint32_t looks, gg_stream stream);
/* Changes the sign of a tensor. */
gg_status mg_launch_signs(mg_executor *x, const mg_region *region);
/* Fills shared memory with NaN, where no simulator does. */
gg_status mg_launch_soil(mg_executor *x);

/* --- execute_inputs.c --- */

size_t mg_input_bytes(const mg_problem *problem, mg_input input);

/* Places what is not there yet, in guarded regions, and takes digests. */
gg_status mg_inputs_place(mg_run *run, unsigned inputs);
/* Where the case's inputs begin unless perturbed, from a multiple of 256: nothing but 16 bytes is promised. */
size_t mg_home_shift(const mg_run *run);
enum { MG_MOVED_BYTES = 64 << 20 }; /* on their way, at most */
/* Moves all of them so that they begin at `shift`; they must have been verified. */
gg_status mg_inputs_move(mg_run *run, size_t shift);
/* Notes every input that is no longer as it was placed, the case's or another, and forgets it. */
gg_status mg_inputs_verify(mg_run *run);

/* --- execute_verdict.c --- */

const char *mg_res_name(mg_res res);
void mg_res_shape(const mg_problem *problem, mg_res res, int64_t *rows, int64_t *cols);
/* Hashes of one set of results as stored, by result. */
gg_status mg_results_hash(mg_run *run, int set, uint64_t hashes[MG_NUM_RESULTS]);
/* Notes what the board's reports say of run `number` (from 1): guards overwritten, results unlike the first
 * run's. */
gg_status mg_judge_reports(mg_run *run, int number, int set);
/* Notes that a result of set 0 differs from that of `set` in `places` chunks of 16 bytes, first in this one. */
gg_status mg_note_differing(mg_run *run, mg_res res, int set, uint64_t chunk, uint64_t places,
                            const char *what);
/* Compares the first run's results with the goldens. */
gg_status mg_judge_results(mg_run *run);
/* Notes the outcome of one comparison of a result; `got` is NULL or the result as stored. */
void mg_judge_difference(mg_run *run, mg_res res, mg_difference *difference, const uint16_t *got);
/* Where rows of a result are stored by expert-order row: the input that says so, or NULL for the identity. */
const int32_t *mg_res_row_map(const mg_run *run, mg_res res);
/* The reduction over topk, on the host, of the first run's own rows of dx. */
gg_status mg_reduce_own_rows(mg_run *run, mg_golden *out);
/* Compares a downloaded result with a golden in host memory, and notes the outcome. */
void mg_judge_against(mg_run *run, mg_res res, mg_class cls, const mg_golden *golden, const uint16_t *got);

/* --- execute_block.c: cases of whole MoE blocks --- */

gg_status mg_run_block(mg_run *run);
/* The device's tensors, as mg_block_sizes lists them; and everything. */
void mg_block_regions_free(mg_executor *x);
void mg_block_memory_free(mg_executor *x);
enum { MG_BLOCK_REGIONS = 32 }; /* at most */
/* Bytes of the case's device tensors; returns how many. */
int mg_block_sizes(const mg_case *c, size_t bytes[MG_BLOCK_REGIONS]);
/* One of them; NULL: there is none yet. */
mg_region *mg_block_region(mg_executor *x, int number);
/* --- block_plans.c ------------------------------------------------------------------------------------- */

/* How the block is computed: the first of two is run 1's, the other does silu_and_mul by itself, which must not show. */
typedef struct mg_block_way {
    gg_moe_problem p;
    gg_moe_layout layout;
} mg_block_way;
/* Both ways, the same where silu_and_mul cannot be fused. */
gg_status mg_block_plan_ways(const mg_case *c, bool fuses, mg_block_way ways[2], char reason[GG_REASON_SIZE]);
/* What the case may launch; returns how many, of which at most `capacity` are kept. */
size_t mg_block_plans(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                      gg_plan *plans, size_t capacity);

/* --- execute_full.c: full-size problems, whose goldens are hashes by expert ------------------------------
 */

gg_status mg_judge_hashed(mg_run *run, mg_res res);

#endif
