/* golden.h: the corpus as the harness sees it: inputs from the counter hash, goldens from .npy files, all
 * checked. */
#ifndef MG_GOLDEN_H
#define MG_GOLDEN_H

#include "case.h"

/* --- counter hash (golden/README.md defines it; gen/counter_hash.py is its twin) --- */
uint64_t mg_splitmix64(uint64_t x);
uint64_t mg_name_hash(const char *text); /* FNV-1a-64 */
/* seed of one tensor: FNV-1a over "key/class/tensor", xor splitmix64(user_seed) when user_seed != 0 */
uint64_t mg_tensor_seed(const mg_problem *problem, mg_class cls, const char *tensor, uint64_t user_seed);
/* elements [start, start+count) of a tensor's data as 16-bit patterns; start a multiple of 8 */
void mg_fill_integers(uint64_t seed, int bits, int scale_log2, gg_dtype dtype, uint64_t start, size_t count,
                      uint16_t *out);
void mg_fill_real(uint64_t seed, int scale_log2, gg_dtype dtype, uint64_t start, size_t count, uint16_t *out);
void mg_fill_weights(uint64_t seed, uint64_t start, size_t count, float *out); /* fp32 in [0.5, 1) */

/* How a tensor of a problem is drawn; also what the device fill kernel needs. */
typedef struct mg_draw {
    uint64_t seed;
    int bits;       /* integers: odd values in -(2^bits - 1) .. 2^bits - 1; 0 for real */
    int scale_log2; /* value = integer * 2^scale_log2 */
} mg_draw;
/* tensor: "x", "w", "dy" (canonical layouts below) */
mg_draw mg_tensor_draw(const mg_problem *problem, mg_class cls, const char *tensor, uint64_t user_seed);

/* --- .npy --- */
typedef enum mg_npy_type { MG_NPY_U2, MG_NPY_I4, MG_NPY_F4, MG_NPY_F8 } mg_npy_type; /* <u2 <i4 <f4 <f8 */
typedef struct mg_npy {
    mg_npy_type type;
    int ndim;
    int64_t shape[4];
    size_t count, bytes;
    void *data; /* owned; C order, little-endian */
} mg_npy;
/* Reads version 1.0-3.0 files, C order, the types above. `error` names the file, the fault and, for a golden,
 * the fix. */
gg_status mg_npy_read(const char *path, mg_npy *out, char error[MG_ERROR_SIZE]);
gg_status mg_npy_parse(const void *bytes, size_t size, const char *name, mg_npy *out,
                       char error[MG_ERROR_SIZE]);
void mg_npy_free(mg_npy *npy);

/* --- a problem's data --- */
/* Where golden/ is when nothing says so: $MOEGEMM_GOLDEN, else ./golden where there is one (a binary may run in another
 * checkout than its own), else the source tree's. */
const char *mg_golden_default_dir(void);

typedef struct mg_corpus mg_corpus; /* folders, manifest, hashes; immutable after opening */
/* golden_dir: the repository's golden/ ; cache_dir: where generated arrays live (gg cache + "/golden") */
gg_status mg_corpus_open(mg_corpus **out, const char *golden_dir, const char *cache_dir,
                         char error[MG_ERROR_SIZE]);
void mg_corpus_close(mg_corpus *corpus);

/* Canonical layouts: x is (T, K) in token order for W1, (M, K) in expert order for W2; dy is (M, N) in slot
 * order. */
typedef struct mg_inputs {
    int32_t *m_sizes;        /* (E) */
    int32_t *gather_indices; /* (M) */
    uint16_t *x, *w, *dy;    /* NULL for MG_STORE_HASH problems: filled on the device from mg_tensor_draw */
    float *topk_weights;     /* (M) slot order */
} mg_inputs;
/* Routing read from golden/routing (for other seeds too), tensors drawn and checked against the manifest. */
gg_status mg_inputs_load(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                         uint64_t user_seed, mg_inputs *out, char error[MG_ERROR_SIZE]);
void mg_inputs_free(mg_inputs *inputs);

typedef enum mg_output {
    MG_OUT_Y,
    MG_OUT_DX,
    MG_OUT_DW,
    MG_NUM_OUTPUTS
} mg_output; /* "y" (M,N), "dx" (M,K), "dw" (E,N,K) */

/* Golden of one output, rows in expert order. exact and unit: bits (dtype patterns). real: c and s (float32;
 * s = sum of |a||b| rounded up). fuse_mul_post and the reduction over topk are derived from these by
 * mg_golden_mul_post and mg_reduce_topk_host, whose results for the exact class are checked against NumPy's
 * digests in the manifest. */
typedef struct mg_golden {
    size_t rows, cols;
    uint16_t *bits; /* exact, unit, hostile */
    float *c, *s;   /* real */
    uint8_t *sure;  /* hostile: mg_sure of each element */
} mg_golden;

/* How much of an element of class hostile is the same whatever the order of additions. A NaN is equal to any NaN. */
typedef enum mg_sure { MG_SURE_BITS, MG_SURE_FINITE, MG_SURE_NOTHING } mg_sure;

gg_status mg_golden_load(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                         mg_output output, uint64_t user_seed, mg_golden *out, char error[MG_ERROR_SIZE]);
void mg_golden_free(mg_golden *golden);

/* Hash goldens of full-size problems (class exact): per expert, over the rows of that expert, of
 *   mix64(mg_hash_key(output) + (index << 16 | bits))  summed mod 2^64,
 * index = row-in-expert-order * cols + col (y, dx) or (e * N + n) * K + k (dw). hashes (E), owned by the
 * corpus. */
typedef enum mg_hash_output {
    MG_HASH_Y,
    MG_HASH_Y_MUL,
    MG_HASH_DX,
    MG_HASH_DX_REDUCED,
    MG_HASH_DW,
    MG_NUM_HASHES
} mg_hash_output;
const char *mg_hash_output_name(mg_hash_output output); /* "y", "y_mul", "dx", "dx_reduced", "dw" */
uint64_t mg_hash_key(mg_hash_output output);
gg_status mg_golden_hashes(const mg_corpus *corpus, const mg_problem *problem, gg_dtype dtype,
                           mg_hash_output output, const uint64_t **hashes, size_t *count,
                           char error[MG_ERROR_SIZE]);

/* How many files of the given outputs are not there. If any, and `file` (a FILE *) is not NULL, appends the
 * line "problem-key class dtype" that `moegemm golden generate --only` makes them from. */
size_t mg_golden_missing(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                         unsigned outputs /* 1u << mg_output */, void *file);

/* Where an array that is drawn or derived must match NumPy's: name "x", "w", "dy", "topk_weights", "y_mul",
 * "dx_reduced". */
gg_status mg_golden_check(const mg_corpus *corpus, const mg_problem *problem, mg_class cls, gg_dtype dtype,
                          const char *name, const void *data, size_t bytes, char error[MG_ERROR_SIZE]);

/* Runs gen/ for the lines of mg_golden_missing (all of the corpus when NULL), as `moegemm golden generate`
 * does; its progress and errors go to stderr. */
gg_status mg_golden_generate(const char *golden_dir, const char *cache_dir, const char *lines,
                             char error[MG_ERROR_SIZE]);

/* 16-bit rounding used by the harness (to nearest even, NaN kept). */
uint16_t mg_bits_from_float(gg_dtype dtype, float value);
uint16_t mg_bits_from_double(gg_dtype dtype, double value); /* one rounding, not two */
float mg_float_from_bits(gg_dtype dtype, uint16_t bits);

/* `moegemm golden verify|generate|show ...` */
int mg_golden_main(int argc, char **argv);

#endif
