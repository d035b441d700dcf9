/* test_schedule.c: who may hold how much memory of a device, and what runs first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "schedule.h"

static const uint64_t GB = (uint64_t)1 << 30;

/* Each may hold its share, and the largest case runs beside the shares of the others. */
static void shares_leave_room(void **state) {
    (void)state;
    for (int workers = 1; workers <= 16; workers++)
        for (uint64_t largest = 0; largest <= 80 * GB; largest += GB) {
            const mg_budget b = mg_budget_part(80 * GB, largest, workers);
            const uint64_t others = (uint64_t)(workers - 1) * b.share;
            assert_true(b.share > 0 && others + b.share <= b.bytes);
            assert_true(largest + others <= b.bytes || b.share == b.bytes / (uint64_t)workers / 4);
            assert_int_equal(mg_budget_excludes(&b, workers, largest), largest + others > b.bytes);
        }
    assert_true(mg_budget_part(80 * GB, 99 * GB, 1).share == 80 * GB);
}

static void sums_are_bounded(void **state) {
    const mg_budget b = {.bytes = 80 * GB, .share = 5 * GB};
    uint64_t granted[4] = {0};
    (void)state;
    assert_true(mg_budget_fits(&b, granted, 4, 0, 65 * GB)); /* three shares beside it */
    assert_true(mg_budget_fits(&b, granted, 4, 0, 66 * GB)); /* before the others begin */
    granted[1] = 5 * GB;
    assert_true(mg_budget_fits(&b, granted, 4, 0, 75 * GB));
    assert_false(mg_budget_fits(&b, granted, 4, 0, 75 * GB + 1));
    granted[1] = 40 * GB;
    assert_true(mg_budget_fits(&b, granted, 4, 0, 30 * GB));
    assert_false(mg_budget_fits(&b, granted, 4, 0, 30 * GB + 1));
    granted[0] = 60 * GB; /* its own does not count: it is what is asked for anew */
    assert_true(mg_budget_fits(&b, granted, 4, 0, 30 * GB));
    granted[0] = 76 * GB; /* which keeps the others from their shares */
    granted[1] = 0;
    assert_false(mg_budget_fits(&b, granted, 4, 1, b.share));
    const mg_budget unbounded = {0};
    assert_true(mg_budget_fits(&unbounded, (uint64_t[4]){0}, 4, 0, 0));
}

static size_t find(const mg_cases *all, const char *id) {
    char name[MG_ID_SIZE];
    for (size_t i = 0; i < all->count; i++) {
        mg_case_id(&all->items[i], name);
        if (!strcmp(name, id)) return i;
    }
    fail_msg("no case '%s'", id);
    return 0;
}

/* The whole list on a device: nothing is lost, large cases come first, then long ones, then the rest as it was. */
static void large_and_long_cases_come_first(void **state) {
    static const mg_execute_options execute = {.repeats = 3};
    mg_cases all;
    mg_schedule s;
    char error[MG_ERROR_SIZE];
    (void)state;
    assert_int_equal(mg_cases_new(&all), GG_OK);
    uint32_t *order = malloc(all.count * sizeof *order);
    bool *seen = calloc(all.count, sizeof *seen);
    for (size_t i = 0; i < all.count; i++) order[i] = (uint32_t)i;
    mg_schedule_job job = {.execute = &execute,
                           .cases = all.items,
                           .order = order,
                           .count = all.count,
                           .workers = 16,
                           .free_memory = 79 * GB};
    assert_int_equal(mg_schedule_make(&s, &job, error), GG_OK);
    assert_true(s.num_large > 10 && s.num_large < s.num_alone && s.num_alone < all.count / 2);
    for (size_t i = 0; i < all.count; i++) {
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        const uint64_t memory = mg_case_memory(&execute, &all.items[order[i]]);
        assert_int_equal(memory > s.budget.share, i < s.num_large);
        if (i < s.num_large) assert_true(s.memory[i] == memory && (!i || s.memory[i - 1] >= memory));
        if (i > s.num_alone) assert_true(order[i - 1] < order[i]);
    }
    const size_t block = find(&all, "llama4_moe[backward-topk1-E16-T1024-H5120-I8192-bf16]");
    size_t at = 0;
    while (order[at] != block) at++;
    assert_true(at < s.num_alone);
    mg_schedule_free(&s);
    /* --ff has its own order; without a bound no case is large */
    for (size_t i = 0; i < all.count; i++) order[i] = (uint32_t)i;
    job.keep_order = true;
    job.free_memory = 0;
    assert_int_equal(mg_schedule_make(&s, &job, error), GG_OK);
    assert_true(!s.num_large && !s.num_alone && !s.budget.bytes);
    for (size_t i = 0; i < all.count; i++) assert_int_equal(order[i], i);
    mg_schedule_free(&s);
    free(seen);
    free(order);
    mg_cases_free(&all);
}

static void too_many_workers_are_refused(void **state) {
    static const mg_execute_options execute;
    mg_schedule_job job = {.execute = &execute, .workers = 9, .free_memory = 8 * GB};
    char error[MG_ERROR_SIZE];
    mg_schedule s;
    (void)state;
    assert_int_equal(mg_schedule_make(&s, &job, error), GG_ERR_MEMORY);
    assert_string_equal(
        error, "9 workers take 9.66 GB of device memory before any case and 8.59 are free: use fewer (-n N)");
    job.workers = mg_schedule_workers(8 * GB);
    assert_int_equal(job.workers, 4);
    assert_int_equal(mg_schedule_make(&s, &job, error), GG_OK);
    assert_true(s.budget.bytes == 4 * GB);
    mg_schedule_free(&s);
    assert_int_equal(mg_schedule_workers(GB), 1);
    assert_true(mg_schedule_workers(0) > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_leave_room),
        cmocka_unit_test(sums_are_bounded),
        cmocka_unit_test(large_and_long_cases_come_first),
        cmocka_unit_test(too_many_workers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
