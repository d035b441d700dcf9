/* test_error_map.c: what the report draws of a wrong output: its place in expert order, its cell and its errors in ulp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "compare.h"

enum { ROWS = 40, COLS = 64, EXPERTS = 2 };

typedef struct output {
    uint16_t golden[ROWS * COLS], got[ROWS * COLS];
    int32_t row_map[ROWS], row_expert[ROWS];
} output;

/* All ones; rows stored in reverse order, the first 10 of them expert 0's. */
static void make(output *o) {
    for (int i = 0; i < ROWS * COLS; i++) o->golden[i] = o->got[i] = 0x3f80;
    for (int i = 0; i < ROWS; i++) {
        o->row_map[i] = ROWS - 1 - i;
        o->row_expert[i] = i >= 10;
    }
}

static mg_difference compare(const output *o) {
    const int32_t sizes[EXPERTS] = {10, 30};
    const mg_chain chain = {.reduction = 8, .m_sizes = sizes, .E = EXPERTS};
    const mg_golden golden = {.rows = ROWS, .cols = COLS, .bits = (uint16_t *)o->golden};
    mg_difference d;
    bool mistrusted;
    mg_compare(MG_EXACT, GG_BF16, &golden, o->got, o->row_map, &chain, o->row_expert, &d, &mistrusted);
    return d;
}

static void test_right(void **state) {
    (void)state;
    output o;
    make(&o);
    mg_difference d = compare(&o);
    assert_int_equal(d.wrong, 0);
    assert_int_equal(d.rows, ROWS);
    assert_int_equal(d.cols, COLS);
    assert_int_equal(d.ulps[0], ROWS * COLS);
    for (size_t i = 0; i < sizeof d.map; i++) assert_int_equal(d.map[i], 0);
}

static void test_places(void **state) {
    (void)state;
    output o;
    make(&o);
    o.got[(ROWS - 1 - 12) * COLS + 5] += 1;      /* one ulp, expert-order row 12 */
    o.got[(ROWS - 1 - 30) * COLS + 50] += 6;     /* six */
    o.got[(ROWS - 1 - 31) * COLS + 50] = 0x7fc0; /* a NaN: the worst of all */
    mg_difference d = compare(&o);
    assert_int_equal(d.wrong, 3);
    assert_int_equal(d.row, ROWS - 1 - 12);
    assert_int_equal(d.place, 12);
    assert_int_equal(d.expert, 1);
    assert_int_equal(d.worst_row, ROWS - 1 - 31);
    assert_int_equal(d.worst_place, 31);
    assert_int_equal(d.worst_col, 50);
    for (int bin = 0; bin < MG_ULP_BINS; bin++) {
        /* 1 is the first of [1, 2), 6 lies in [4, 8), and what is not finite comes last */
        unsigned expected = bin == 0 ? ROWS * COLS - 3 : bin == 4 || bin == 6 || bin == MG_ULP_BINS - 1;
        assert_int_equal(d.ulps[bin], expected);
    }
    /* the map has 32 x 32 cells of 40 x 64 elements */
    for (uint32_t row = 0; row < d.map_rows; row++)
        for (uint32_t col = 0; col < d.map_cols; col++) {
            bool planted = (row == 12 * 32 / 40 && col == 2) ||
                           ((row == 30 * 32 / 40 || row == 31 * 32 / 40) && col == 25);
            assert_int_equal(d.map[row * d.map_cols + col] > 0, planted);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_right), cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
