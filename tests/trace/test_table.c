/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_table.c - tools/trace/table.c: what was put is found, with its last value, until it is removed.
 *
 * Method: random operations on few keys, compared with an array by key after each one.
 */
#include "table.h"
#include "unit/support.h"

#include <errno.h>

#define KEYS 200u

/* Any numbers, the ends among them. */
static uint64_t key_of(uint32_t i)
{
	if (i == 0)
		return 0;
	return i == 1 ? UINT64_MAX : i * 0x123456789u;
}

static void check(const struct trace_table *table, const uint32_t *values)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < KEYS; i++) {
		EXPECT(trace_table_get(table, key_of(i)) == values[i]);
		count += values[i] != TRACE_TABLE_NONE;
	}
	EXPECT(table->count == count);
}

START_TEST(table_that_is_new_has_nothing)
{
	struct trace_table table;

	ck_assert_int_eq(trace_table_init(0, &table), 0);
	for (uint32_t i = 0; i < KEYS; i++)
		ck_assert_uint_eq(trace_table_get(&table, key_of(i)), TRACE_TABLE_NONE);
	ck_assert(!trace_table_remove(&table, 0));
	trace_table_free(&table);
}
END_TEST

/* _i: keys expected; tables of many sizes, most of them crowded, so that keys meet and wrap around. */
START_TEST(table_after_any_operations_equals_array)
{
	struct test_random random = random_of((uint64_t)_i);
	struct trace_table table;
	uint32_t values[KEYS];

	memset(values, 0xff, sizeof(values));
	ck_assert_int_eq(trace_table_init((uint64_t)_i, &table), 0);
	for (unsigned round = 0; round < scaled(5000); round++) {
		uint32_t i = (uint32_t)test_random_below(&random, KEYS);
		uint32_t share = round / 500 % 2 == 0 ? 30 : 70; /* by turns it grows and shrinks */

		if (test_random_below(&random, 100) < share) {
			EXPECT(trace_table_remove(&table, key_of(i)) == (values[i] != TRACE_TABLE_NONE));
			values[i] = TRACE_TABLE_NONE;
		} else {
			values[i] = (uint32_t)test_random_below(&random, UINT32_MAX);
			EXPECT(trace_table_put(&table, key_of(i), values[i]) == 0);
		}
		check(&table, values);
	}
	trace_table_free(&table);
}
END_TEST

START_TEST(table_with_room_for_all_does_not_grow)
{
	struct trace_table table;
	struct trace_table_slot *slots;

	ck_assert_int_eq(trace_table_init(100000, &table), 0);
	slots = table.slots;
	for (uint32_t i = 0; i < 100000; i++)
		EXPECT(trace_table_put(&table, i, i) == 0);
	ck_assert_ptr_eq(table.slots, slots);
	for (uint32_t i = 0; i < 100000; i++)
		EXPECT(trace_table_get(&table, i) == i);
	trace_table_free(&table);
}
END_TEST

START_TEST(table_of_more_keys_than_memory_is_refused)
{
	struct trace_table table;

	ck_assert_int_eq(trace_table_init(UINT64_MAX, &table), -ENOMEM);
	ck_assert_int_eq(trace_table_init(UINT64_MAX / 32, &table), -ENOMEM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table");
	TCase *tcase = case_new(suite, "table");

	tcase_add_test(tcase, table_that_is_new_has_nothing);
	tcase_add_loop_test(tcase, table_after_any_operations_equals_array, 0, 30);
	tcase_add_test(tcase, table_with_room_for_all_does_not_grow);
	tcase_add_test(tcase, table_of_more_keys_than_memory_is_refused);
	return pc_run_suite(suite);
}
