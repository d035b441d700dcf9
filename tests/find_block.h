/* find_block.h: a block of the corpus by its key. */
#ifndef FIND_BLOCK_H
#define FIND_BLOCK_H

#include "block.h"

#include <string.h>

static inline const mg_block *find_block(const char *key) {
    size_t count;
    const mg_block *blocks = mg_blocks(&count);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(blocks[i].problem.key, key)) return &blocks[i];
    fail_msg("no block '%s'", key);
    return NULL;
}

#endif
