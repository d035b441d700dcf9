/* config.c: the text of a config, as reports and command lines have it. */
#include "case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tma_words[] = {"-x", "-w", "-dy", "-store"}; /* in the order of the flags' bits */
static const char copy_rows_word[] = "-copy_rows";
enum { TMA_WORDS = sizeof tma_words / sizeof *tma_words };

void mg_config_text(const gg_config *c, char text[MG_CONFIG_SIZE]) {
    int used = snprintf(text, MG_CONFIG_SIZE, "%s-bm%d-bn%d-bk%d-w%d-s%d%s%s", gg_mainloop_name(c->mainloop),
                        c->block_m, c->block_n, c->block_k, c->num_warps, c->num_stages,
                        c->copy_rows ? copy_rows_word : "", c->tma ? "-tma" : "");
    for (int i = 0; i < TMA_WORDS && used < MG_CONFIG_SIZE; i++)
        if (c->tma & 1u << i)
            used += snprintf(text + used, MG_CONFIG_SIZE - (size_t)used, "%s", tma_words[i]);
}

bool mg_mainloop_parse(const char *text, size_t length, gg_mainloop *out) {
    for (int i = 0; i < GG_NUM_MAINLOOPS; i++) {
        const char *name = gg_mainloop_name((gg_mainloop)i);
        if (strlen(name) != length || memcmp(name, text, length)) continue;
        *out = (gg_mainloop)i;
        return true;
    }
    return false;
}

bool mg_config_parse(const char *text, gg_config *out) {
    int used = -1;
    size_t length = strcspn(text, "-");
    gg_config c = {0};
    if (!mg_mainloop_parse(text, length, &c.mainloop)) return false;
    const char *at = text + length;
    if (sscanf(at, "-bm%d-bn%d-bk%d-w%d-s%d%n", &c.block_m, &c.block_n, &c.block_k, &c.num_warps,
               &c.num_stages, &used) != 5 ||
        used < 0)
        return false;
    at += used;
    length = strlen(copy_rows_word);
    c.copy_rows = !strncmp(at, copy_rows_word, length);
    if (c.copy_rows) at += length;
    if (!strncmp(at, "-tma", 4)) {
        at += 4;
        for (int i = 0; i < TMA_WORDS; i++) {
            length = strlen(tma_words[i]);
            if (strncmp(at, tma_words[i], length) || (at[length] && at[length] != '-')) continue;
            c.tma |= 1u << i;
            at += length;
        }
        if (!c.tma) return false;
    }
    if (*at) return false;
    *out = c;
    return true;
}
