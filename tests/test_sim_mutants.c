/* test_sim_mutants.c: one missing or misplaced piece of synchronisation at a time in the shipped kernels, each of which
 * the race checker must name in every one of 20 seeds; and right, if unusual, changes, which it must not name in any. The rows are in
 * sim/rows_*.h. */
#include "sim_kernels.h"

#include "sim/rows_mma_sync.h"
#include "sim/rows_wgmma.h"
#include "sim/rows_wgmma_output.h"

enum { ALL_SEEDS = 20, MOST_IN_TABLE = 256 };

#define COUNT(table) (sizeof(table) / sizeof *(table))
static const struct {
    const row *rows;
    size_t count;
} tables[] = {{mma_sync_rows, COUNT(mma_sync_rows)},
              {wgmma_rows, COUNT(wgmma_rows)},
              {wgmma_output_rows, COUNT(wgmma_output_rows)}};

/* Several full tiles and tails, an empty expert, several steps more than stages, in every op. */
static const ragged shape = {.E = 4, .N = 392, .K = 392, .topk = 1, .T = 648, .m_sizes = {330, 0, 1, 317}};

static const gg_config configs[GG_NUM_MAINLOOPS] = {
    [GG_MMA_SYNC] = {GG_MMA_SYNC, 64, 128, 64, 4, 3, 0},
    [GG_WGMMA] = {GG_WGMMA, 64, 128, 64, 4, 3, 0},
};

/* One step a tile in each op, and tiles enough for each block that descriptions come round; where dW is to fetch its rows ahead, so
 * many tiles that each asks for few. */
static ragged shape_of(const row *m) {
    ragged few = {
        .E = 8, .N = 208, .K = 208, .topk = 1, .T = 1023, .m_sizes = {64, 1, 0, 50, 762, 64, 30, 52}};
    if (!m->short_steps) return shape;
    if (m->op == GG_FORWARD) few.N = 400, few.K = 64;
    if (m->op == GG_DX) few.N = 64, few.K = 400;
    if (m->op == GG_DW && m->macro) few.N = few.K = 400;
    return few;
}

static gg_config config_of(const row *m) {
    gg_config c = configs[m->mainloop];
    if (m->mainloop == GG_WGMMA && m->op == GG_DX) c.block_n = 64, c.block_k = 128;
    if (m->mainloop == GG_WGMMA && m->op == GG_DW) c.block_n = m->warps == 8 ? 128 : 64;
    if (m->one_slot) { /* two consumers on 128 x 256, as many stages as leave room for half of that */
        c.num_warps = 8, c.num_stages = 4;
        *(m->op == GG_DW ? &c.block_k : &c.block_m) = 256;
        if (m->op == GG_DW) c.block_n = 128;
    }
    if (m->warps) c.num_warps = m->warps;
    if (m->rows) *(m->op == GG_DW ? &c.block_n : &c.block_m) = m->rows;
    if (m->cols) *(m->op == GG_FORWARD ? &c.block_n : &c.block_k) = m->cols;
    c.tma = m->tma;
    return c;
}

static gg_plan plan_of(rig *r, const row *m) {
    char reason[GG_REASON_SIZE];
    gg_plan plan;
    const ragged sizes = shape_of(m);
    const gg_config config = config_of(m);
    const gg_problem problem = rig_problem(r, &sizes, m->op, m->fusions, GG_BF16);
    if (checked_variant.plan_make(&problem, &config, gg_get_device(r->context), &plan, reason))
        fail_msg("%s: %s", m->fault, reason);
    /* else the row shows something else than it says */
    if (m->macro && !strstr(plan.macros, m->macro))
        fail_msg("%s: no%s in%s", m->fault, m->macro, plan.macros);
    if (m->one_slot && !strstr(plan.macros, " PIECES=2 ")) fail_msg("%s: %s", m->fault, plan.macros);
    return plan;
}

static const char *const op_words[] = {[GG_FORWARD] = "forward", [GG_DX] = "dX", [GG_DW] = "dW"};

/* One change of a file in mutant_sources, and the new text, owned by the caller; NULL: a text that no longer fits. */
static char *patch(const row *m, const char *name, const char *find, const char *replace) {
    char error[512];
    const mutant change = {.name = m->fault, .file = name, .find = find, .replace = replace};
    gg_source_file *file = mutant_sources;
    while (file->name && strcmp(file->name, name)) file++;
    if (!file->name) fail_msg("%s: no file '%s'", m->fault, name);
    char *patched = mutant_apply(&change, file->text, error);
    if (patched)
        file->text = patched;
    else
        print_error("%s\n", error);
    return patched;
}

/* Both changes; false if one does not fit. */
static bool patch_row(const row *m, char *texts[2]) {
    use_sources();
    texts[0] = patch(m, m->file, m->find, m->replace);
    texts[1] = m->find_2 ? patch(m, m->file_2 ? m->file_2 : m->file, m->find_2, m->replace_2) : NULL;
    return texts[0] && (texts[1] || !m->find_2);
}

/* Of how many seeds the checker reports the row; the first report goes to `first`. */
static int count_caught(rig *r, const row *m, char first[GG_ERROR_SIZE]) {
    char *texts[2];
    if (!patch_row(m, texts)) fail();
    gg_plan plan = plan_of(r, m);
    int caught = 0;
    *first = '\0';
    for (uint64_t seed = 0; seed < ALL_SEEDS; seed++) {
        gg_status status = rig_launch(r, &plan, seed);
        if (status == GG_ERR_COMPILE) fail_msg("%s: %s", m->fault, gg_error(r->context));
        if (status && !*first) snprintf(first, GG_ERROR_SIZE, "%s", gg_error(r->context));
        caught += status != GG_OK;
    }
    free(texts[0]);
    free(texts[1]);
    return caught;
}

/* Runs the rows into caught[]; whether each is caught in as many seeds as it must be. */
static bool judge(rig *r, const row *table, size_t count, int *caught) {
    const char *only = getenv("ONLY");
    char first[GG_ERROR_SIZE];
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        const row *m = &table[i];
        if (only && !strstr(m->fault, only)) continue;
        caught[i] = count_caught(r, m, first);
        const bool as_it_must = caught[i] == (m->right ? 0 : ALL_SEEDS);
        print_message("%s%2d/%d %-8s %-7s tma %2u %-45s %.300s\n", as_it_must ? "" : "NOT SO: ", caught[i],
                      ALL_SEEDS, gg_mainloop_name(m->mainloop), op_words[m->op], m->tma, m->fault, first);
        good &= as_it_must;
    }
    return good;
}

/* --- the table of docs: each bug once, with its seeds in each op --- */

static const char table_path[] = SOURCE_DIR "/tests/sim/BUGS.md";

static bool same_bug(const row *a, const row *b) {
    return a->mainloop == b->mainloop && a->right == b->right && !strcmp(a->fault, b->fault);
}

/* The bugs of a table; their number is added to *bugs, that of right changes to *right. */
static void put_rows(FILE *out, const row *rows, size_t count, const int *caught, int *bugs, int *right) {
    for (size_t i = 0, end; i < count; i = end) {
        char cells[GG_NUM_OPS][8] = {"", "", ""};
        for (end = i; end < count && same_bug(&rows[i], &rows[end]); end++)
            snprintf(cells[rows[end].op], sizeof cells[0], "%d", caught[end]);
        *(rows[i].right ? right : bugs) += (int)(end - i);
        if (!rows[i].right)
            fprintf(out, "| %s | %s | %s | %s | %s |\n", gg_mainloop_name(rows[i].mainloop), rows[i].fault,
                    cells[0], cells[1], cells[2]);
    }
}

static void put_table(FILE *out, int caught[COUNT(tables)][MOST_IN_TABLE]) {
    char *body = NULL;
    size_t size;
    int bugs = 0, right = 0;
    FILE *lines = open_memstream(&body, &size);
    assert_non_null(lines);
    for (size_t t = 0; t < COUNT(tables); t++)
        put_rows(lines, tables[t].rows, tables[t].count, caught[t], &bugs, &right);
    fclose(lines);
    fprintf(
        out,
        "# Synchronisation bugs that race mode finds in the shipped kernels\n"
        "Of %d seeds each, and in every one; generated by `MOEGEMM_WRITE_BUGS=1 "
        "build/tests/test_sim_mutants`, whose "
        "tables say what\neach changes. %d bugs, and %d changes that are right and must not be reported.\n\n"
        "| mainloop | bug | forward | dX | dW |\n|---|---|---|---|---|\n%s",
        ALL_SEEDS, bugs, right, body);
    free(body);
}

static void check_table(int caught[COUNT(tables)][MOST_IN_TABLE]) {
    static char committed[1 << 15];
    char *made = NULL;
    size_t size;
    bool write = getenv("MOEGEMM_WRITE_BUGS") != NULL;
    FILE *out = open_memstream(&made, &size), *file = fopen(table_path, write ? "w" : "r");
    assert_non_null(out);
    assert_non_null(file);
    put_table(out, caught);
    fclose(out);
    if (write)
        fputs(made, file);
    else
        committed[fread(committed, 1, sizeof committed - 1, file)] = '\0';
    fclose(file);
    if (!write && strcmp(committed, made))
        fail_msg(
            "tests/sim/BUGS.md is not what the rows give: MOEGEMM_WRITE_BUGS=1 build/tests/test_sim_mutants");
    free(made);
}

/* All rows that the kernels have left behind, before the long run. */
static void test_rows_fit(void **state) {
    (void)state;
    bool fit = true;
    for (size_t t = 0; t < COUNT(tables); t++)
        for (size_t i = 0; i < tables[t].count; i++) {
            char *texts[2];
            fit &= patch_row(&tables[t].rows[i], texts);
            free(texts[0]);
            free(texts[1]);
        }
    assert_true(fit);
}

static void test_mutants(void **state) {
    (void)state;
    static int caught[COUNT(tables)][MOST_IN_TABLE];
    bool good = true;
    rig r;
    rig_open(&r, true);
    for (size_t t = 0; t < COUNT(tables); t++) {
        assert_in_range(tables[t].count, 1, MOST_IN_TABLE);
        good &= judge(&r, tables[t].rows, tables[t].count, caught[t]);
    }
    rig_close(&r);
    if (!getenv("ONLY")) check_table(caught);
    assert_true(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_fit), cmocka_unit_test(test_mutants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
