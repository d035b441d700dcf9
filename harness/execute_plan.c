/* execute_plan.c: what a case consists of: its ops, their configs and plans, and why it may be skipped or
 * refused. */
#include "execute_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

size_t mg_case_ops(const mg_case *c, gg_op ops[GG_NUM_OPS]) {
    if (!c->function.autograd) {
        ops[0] = c->function.op;
        return 1;
    }
    ops[0] = GG_FORWARD;
    ops[1] = GG_DX;
    ops[2] = GG_DW;
    return GG_NUM_OPS;
}

/* The op that the function names has the case's config; in an autograd case the other two have its tile and
 * neither TMA nor copied rows. */
static gg_config case_config(const mg_case *c, gg_op op, const gg_device *device) {
    gg_config config = c->config;
    if (c->function.autotune) {
        const gg_problem problem = mg_case_problem(c, op);
        return gg_default_config(&problem, device, false);
    }
    if (op != c->function.op) {
        config.tma = 0;
        config.copy_rows = false;
    }
    return config;
}

static bool is_shipped(const mg_subject *subject) {
    return subject == &mg_subject_moegemm || subject == &mg_subject_reference;
}

/* Notes what the subject's planner gets wrong, or why there is nothing to run. */
bool mg_plan_case(mg_run *run) {
    mg_executor *x = run->x;
    const mg_case *c = run->c;
    const gg_device *device = mg_executor_device(x);
    const bool shipped = is_shipped(x->subject);
    for (size_t i = 0; i < run->num_ops; i++) {
        const gg_op op = run->ops[i];
        if (c->refusal && op != c->function.op) continue; /* what is invalid is the case's own op */
        char reason[GG_REASON_SIZE] = "";
        const gg_problem problem = mg_case_problem(c, op);
        run->configs[op] = c->refusal ? c->config : case_config(c, op, device);
        const gg_status status = x->subject->plan(&problem, &run->configs[op], device, reason);
        const bool refused = (status == GG_ERR_REFUSED || status == GG_ERR_ARGUMENT) && reason[0];
        if (status != GG_OK && !refused)
            mg_note(run->result, MG_FAILED, "plan of %s fails without a reason: %s", gg_op_name(op),
                    gg_status_string(status));
        else if (c->refusal && !refused && shipped)
            mg_note(run->result, MG_FAILED, "the plan of a combination that must be refused is accepted");
        else if (c->refusal && !refused)
            mg_skip(run->result, "subject '%s' accepts what the shipped kernels refuse", x->subject->name);
        else if (!c->refusal && refused && shipped)
            mg_note(run->result, MG_FAILED, "%s is refused: %s", gg_op_name(op), reason);
        else if (!c->refusal && refused)
            mg_skip(run->result, "subject '%s' refuses %s: %s", x->subject->name, gg_op_name(op), reason);
        if (status != GG_OK || c->refusal) return false;
    }
    return true;
}

static bool hash_file(const char *path, uint64_t *hash) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *bytes = fd >= 0 && !fstat(fd, &info) && info.st_size > 0
                      ? mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                      : MAP_FAILED;
    if (fd >= 0) close(fd);
    if (bytes == MAP_FAILED) return false;
    *hash = XXH3_64bits(bytes, (size_t)info.st_size);
    munmap(bytes, (size_t)info.st_size);
    return true;
}

gg_status mg_identify(mg_executor *x) {
    const gg_source source = {
        .files = gg_embedded_sources, .root = "", .macros = "", .debug = x->options.debug};
    const gg_target target = x->backend->ops->target(x->backend);
    char digest[GG_DIGEST_SIZE];
    if (!is_shipped(x->subject)) {
        if (hash_file(x->options.subject, &x->identity)) return GG_OK;
        snprintf(x->error, sizeof x->error, "cannot read '%.400s'", x->options.subject);
        return GG_ERR_IO;
    }
    gg_status status = gg_source_digest(&source, &target, digest);
    if (status == GG_OK) x->identity = XXH3_64bits(digest, strlen(digest));
    return status;
}

/* Nothing but the sources, the compiler and a plan's macros makes a kernel. */
uint64_t mg_kernel_identity(const mg_run *run) {
    mg_executor *x = run->x;
    uint64_t identity = x->identity;
    for (size_t i = 0; i < run->num_ops && is_shipped(x->subject); i++) {
        const gg_problem problem = mg_case_problem(run->c, run->ops[i]);
        gg_config config = run->configs[run->ops[i]];
        gg_plan plan;
        char reason[GG_REASON_SIZE];
        if (x->subject == &mg_subject_reference) {
            config.mainloop = GG_REFERENCE;
            config.tma = 0;
            config.copy_rows = false;
        }
        if (gg_plan_make(&problem, &config, mg_executor_device(x), &plan, reason) != GG_OK) continue;
        identity = XXH3_64bits_withSeed(plan.macros, strlen(plan.macros), identity);
        identity = XXH3_64bits_withSeed(plan.source, strlen(plan.source), identity);
    }
    return identity;
}

/* --- before running --- */

/* The most capable device known: what is refused there too is a matter of the case, not of the device at
 * hand. */
static const gg_device widest = {.name = "widest",
                                 .cc = 90,
                                 .sm_count = 132,
                                 .smem_per_block = 232448,
                                 .smem_per_sm = 233472,
                                 .threads_per_sm = 2048};

static bool lacks_capability(const gg_device *device, const mg_case *c, char reason[MG_ERROR_SIZE]) {
    if (c->config.mainloop == GG_WGMMA && device->cc != 90) {
        snprintf(reason, MG_ERROR_SIZE, "needs wgmma (sm_90a), device is sm_%d", device->cc);
        return true;
    }
    if (c->config.tma && device->cc < 90) {
        snprintf(reason, MG_ERROR_SIZE, "needs TMA (sm_90 or later), device is sm_%d", device->cc);
        return true;
    }
    if (device->smem_per_block >= widest.smem_per_block || c->function.autotune || c->block) return false;
    gg_op ops[GG_NUM_OPS];
    size_t count = mg_case_ops(c, ops);
    for (size_t i = 0; i < count; i++) {
        const gg_problem problem = mg_case_problem(c, ops[i]);
        const gg_config config = case_config(c, ops[i], device);
        char why[GG_REASON_SIZE] = "", ignored[GG_REASON_SIZE];
        gg_plan plan;
        if (gg_plan_make(&problem, &config, device, &plan, why) == GG_OK) continue;
        if (gg_plan_make(&problem, &config, &widest, &plan, ignored) != GG_OK) continue;
        snprintf(reason, MG_ERROR_SIZE, "%s", why);
        return true;
    }
    return false;
}

bool mg_execute_skips(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                      char reason[MG_ERROR_SIZE]) {
    if (c->refusal) return false;
    if (lacks_capability(device, c, reason)) return true;
    if (c->problem->store == MG_STORE_HASH && !c->block && options->user_seed) {
        snprintf(reason, MG_ERROR_SIZE, "full-size goldens are hashes of the data of seed 0 (drop --seed)");
        return true;
    }
    const double work = mg_case_work(c);
    if (work <= options->sim_limit) return false;
    const gg_backend_ops *ops = gg_backend_find(options->backend);
    if (!ops || strcmp(ops->name, "sim")) return false;
    snprintf(reason, MG_ERROR_SIZE, "work %.2g above the simulator limit %.2g (raise with --sim-limit)", work,
             options->sim_limit);
    return true;
}

/* Appends a plan unless it is refused or launches nothing. */
static size_t add_plan(const gg_problem *problem, gg_config config, bool reference, const gg_device *device,
                       gg_plan *plans, size_t capacity, size_t count) {
    char reason[GG_REASON_SIZE];
    gg_plan plan;
    if (reference) {
        config.mainloop = GG_REFERENCE;
        config.tma = 0;
        config.copy_rows = false;
    }
    if (gg_plan_make(problem, &config, device, &plan, reason) != GG_OK || plan.empty) return count;
    if (count < capacity) plans[count] = plan;
    return count + 1;
}

size_t mg_execute_plans(const mg_execute_options *options, const gg_device *device, const mg_case *c,
                        gg_plan *plans, size_t capacity) {
    enum { MAX_CANDIDATES = 512 }; /* several times the seeds' whole space of 108 */
    const bool reference = options->subject && !strcmp(options->subject, "reference");
    const bool shipped = !options->subject || !strcmp(options->subject, "moegemm");
    gg_op ops[GG_NUM_OPS];
    size_t count = 0, num_ops = c->block ? 0 : mg_case_ops(c, ops);
    if (c->refusal || !(reference || shipped)) return 0;
    if (c->block) return mg_block_plans(options, device, c, plans, capacity);
    for (size_t i = 0; i < num_ops; i++) {
        const gg_problem problem = mg_case_problem(c, ops[i]);
        gg_config candidates[MAX_CANDIDATES];
        size_t num_candidates = 0;
        if (c->function.autotune && shipped) {
            num_candidates = gg_candidate_configs(&problem, device, gg_workspace_bytes(&problem) > 0,
                                                  candidates, MAX_CANDIDATES);
            if (num_candidates > MAX_CANDIDATES) num_candidates = MAX_CANDIDATES;
            if (options->autotune_limit && num_candidates > options->autotune_limit)
                num_candidates = options->autotune_limit;
        } else {
            candidates[num_candidates++] = case_config(c, ops[i], device);
        }
        for (size_t j = 0; j < num_candidates; j++)
            count = add_plan(&problem, candidates[j], reference, device, plans, capacity, count);
    }
    return count;
}
