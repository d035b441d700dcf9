/* block_judge.h: the verdict on what an MoE block has left behind. */
#ifndef MG_BLOCK_JUDGE_H
#define MG_BLOCK_JUDGE_H

#include "block.h"
#include "result.h"

typedef struct mg_block_judged {
    const mg_block *block;
    gg_moe_problem p;
    bool backward; /* gradients are there too */
    uint64_t user_seed;
    int threads;              /* at most so many at a time; 0: one */
    const uint8_t *workspace; /* in host memory, as gg_moe_plan lays it out */
    /* copies `count` rows of an output, in ascending order, one behind the other; called by one thread alone; on failure the
     * message is where the caller keeps it */
    gg_status (*read_output_rows)(void *data, mg_block_output output, const int64_t *rows, int64_t count,
                                  uint16_t *out);
    void *data;
} mg_block_judged;

/* Judges every step from the device's own input to it, and where the problem's goldens are files, the whole beside the
 * golden from first principles. Notes what is wrong, the first wrong step first; result->difference is that step's, or the
 * worst of those that are right. */
gg_status mg_block_judge(const mg_block_judged *judged, mg_result *result, char error[MG_ERROR_SIZE]);

#endif
