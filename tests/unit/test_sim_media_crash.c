/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sim_media_crash.c - crash images of the simulated media: what choosers choose, and that the quick ways to an
 * image give the same as the slow one. And the simulator's observers and faults.
 */
#include "sim_media_fixture.h"

/* Choosers and images. */

static bool is_in_second_page(uint64_t off, void *arg)
{
	(void)arg;
	return off >= PC_PAGE;
}

/* Lines that are not zero, of the first so many. */
static unsigned lines_set(const uint8_t *bytes, unsigned lines)
{
	unsigned count = 0;

	for (unsigned i = 0; i < lines; i++)
		count += bytes[i * LINE] != 0;
	return count;
}

START_TEST(choosers_take_the_units_they_name)
{
	size_t number = 2;
	uint64_t bits = 0x0a;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', 5 * LINE);
	for (size_t i = 0; i < 5; i++)
		ck_assert_uint_eq(sim_media_unit(sim, i).off, i * LINE);
	sim_media_crash_image(sim, sim_choose_none, NULL, image);
	ck_assert_uint_eq(lines_set(image, 5), 0);
	sim_media_crash_image(sim, sim_choose_all, NULL, image);
	ck_assert_uint_eq(lines_set(image, 5), 5);
	sim_media_crash_image(sim, sim_choose_only, &number, image);
	ck_assert_uint_eq(lines_set(image, 5), 1);
	assert_bytes(image, 2 * LINE, 'a', LINE);
	sim_media_crash_image(sim, sim_choose_all_but, &number, image);
	ck_assert_uint_eq(lines_set(image, 5), 4);
	assert_bytes(image, 2 * LINE, 0, LINE);
	sim_media_crash_image(sim, sim_choose_subset, &bits, image);
	ck_assert_uint_eq(lines_set(image, 5), 2);
	assert_bytes(image, LINE, 'a', LINE);
	assert_bytes(image, 3 * LINE, 'a', LINE);
}
END_TEST

START_TEST(random_chooser_keeps_to_its_densities_and_its_seed)
{
	struct sim_random random = { .state = 7, .meta_percent = 100, .data_percent = 0 };
	static uint8_t again[BYTES];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	sim_media_tag(sim, is_in_second_page, NULL);
	stream(0, 'a', 2 * PC_PAGE);
	ck_assert(!sim_media_unit(sim, 0).is_meta);
	ck_assert(sim_media_unit(sim, 64).is_meta);
	sim_media_crash_image(sim, sim_choose_random, &random, image);
	assert_bytes(image, 0, 0, PC_PAGE);
	assert_bytes(image, PC_PAGE, 'a', PC_PAGE);
	random = (struct sim_random){ .state = 8, .meta_percent = 50, .data_percent = 50, .torn_percent = 50 };
	sim_media_crash_image(sim, sim_choose_random, &random, image);
	random.state = 8;
	sim_media_crash_image(sim, sim_choose_random, &random, again);
	ck_assert_int_eq(memcmp(image, again, BYTES), 0);
	sim_media_crash_image(sim, sim_choose_random, &random, again);
	ck_assert_int_ne(memcmp(image, again, BYTES), 0);
	ck_assert_uint_gt(lines_set(image, 128), 20);
	ck_assert_uint_lt(lines_set(image, 128), 90);
}
END_TEST

/* Three stores to one line: over many seeds the chooser must come to every state that the rules allow. */
START_TEST(random_chooser_reaches_every_state)
{
	struct sim_random random = {
		.state = 1, .meta_percent = 90, .data_percent = 90, .older_percent = 60, .torn_percent = 60
	};
	bool seen[4][4] = { { false } };
	unsigned states = 0;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	cache(0, 1, 16);
	cache(0, 2, 8);
	cache(8, 3, 8);
	for (int i = 0; i < 5000; i++) {
		sim_media_crash_image(sim, sim_choose_random, &random, image);
		seen[image[0]][image[8]] = true;
	}
	for (unsigned i = 0; i < 16; i++)
		states += seen[i / 4][i % 4];
	/* Words: the first store torn in four ways; the second over it, the first being whole; then the third. */
	ck_assert(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1] && seen[2][1] && seen[2][3]);
	ck_assert_uint_eq(states, 6);
}
END_TEST

START_TEST(patch_and_unpatch_touch_only_what_is_pending)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	drain();
	stream(32, 'b', LINE);
	memcpy(image, sim_media_durable(sim), BYTES);
	sim_media_patch(sim, sim_choose_all, NULL, image);
	ck_assert_int_eq(memcmp(image, media->base, BYTES), 0);
	sim_media_unpatch(sim, image);
	ck_assert_int_eq(memcmp(image, sim_media_durable(sim), BYTES), 0);
}
END_TEST

/* Crashes into another simulator. */

/* The same choices give the same image, by the slow way and by the quick one, whatever happened in between. */
START_TEST(crash_into_equals_the_crash_image)
{
	struct sim_random random = { .state = 3, .meta_percent = 50, .data_percent = 50, .torn_percent = 30,
				     .older_percent = 30 };
	struct sim_media *targets[2];
	uint32_t state = 5;
	uint64_t hash = 0;

	set_up((enum pcache_granularity)_i);
	for (int i = 0; i < 2; i++)
		targets[i] = sim_media_new(BYTES, (enum pcache_granularity)_i);
	for (int round = 0; round < 2000; round++) {
		struct sim_random same = random;
		/* mostly the same target; a change makes the other one start anew */
		struct sim_media *target = targets[next_random(&state) % 16 == 0];
		struct pc_media *recovered;

		store_at_random(media, &state);
		sim_media_crash_image(sim, sim_choose_random, &random, image);
		hash = sim_media_crash_into(sim, sim_choose_random, &same, target);
		ck_assert_int_eq(memcmp(sim_media_view(target), image, BYTES), 0);
		ck_assert_int_eq(memcmp(sim_media_durable(target), image, BYTES), 0);
		ck_assert_uint_eq(sim_media_pending(target), 0);
		recovered = sim_media_open(target, false);
		ck_assert_int_eq(pc_media_read(recovered, image, 0, BYTES), 0);
		for (int i = 0; i < 4; i++)
			store_at_random(recovered, &state);
		sim_media_poison(target, next_random(&state) % BYTES);
		pc_media_close(recovered);
	}
	/* The hash is the image's own: the same as that of a fresh target, another than before a store. */
	hash = sim_media_crash_into(sim, sim_choose_all, NULL, targets[1]);
	ck_assert_int_eq(pc_media_store8(media, 0, 0x123456789), 0);
	sim_media_delete(targets[0]);
	targets[0] = sim_media_new(BYTES, (enum pcache_granularity)_i);
	ck_assert_uint_eq(sim_media_crash_into(sim, sim_choose_all, NULL, targets[0]),
			  sim_media_crash_into(sim, sim_choose_all, NULL, targets[1]));
	ck_assert_uint_ne(sim_media_crash_into(sim, sim_choose_all, NULL, targets[1]), hash);
	for (int i = 0; i < 2; i++)
		sim_media_delete(targets[i]);
}
END_TEST

/* A crash, a recovery, a crash in that recovery, its recovery. */
START_TEST(crash_within_a_recovery_equals_its_image)
{
	struct sim_random random = { .state = 3, .meta_percent = 50, .data_percent = 50, .torn_percent = 30 };
	struct sim_media *first;
	struct sim_media *second;
	uint32_t state = 6;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	first = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	second = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	for (int round = 0; round < 500; round++) {
		struct pc_media *recovered;

		store_at_random(media, &state);
		sim_media_crash_into(sim, sim_choose_random, &random, first);
		recovered = sim_media_open(first, false);
		for (int i = 0; i < 4; i++) {
			struct sim_random same = random;
			struct pc_media *again;

			store_at_random(recovered, &state);
			sim_media_crash_image(first, sim_choose_random, &random, image);
			sim_media_crash_into(first, sim_choose_random, &same, second);
			ck_assert_int_eq(memcmp(sim_media_view(second), image, BYTES), 0);
			again = sim_media_open(second, false);
			store_at_random(again, &state);
			pc_media_close(again);
		}
		pc_media_close(recovered);
	}
	sim_media_delete(first);
	sim_media_delete(second);
}
END_TEST

START_TEST(crash_into_takes_turns_between_sources)
{
	struct sim_media *other = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	struct sim_media *target = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	drain();
	for (int i = 0; i < 3; i++) {
		sim_media_crash_into(sim, sim_choose_none, NULL, target);
		assert_bytes(sim_media_view(target), 0, 'a', LINE);
		sim_media_crash_into(other, sim_choose_none, NULL, target);
		assert_bytes(sim_media_view(target), 0, 0, LINE);
	}
	sim_media_delete(other);
	sim_media_delete(target);
}
END_TEST

START_TEST(hash_differs_with_any_byte_and_any_place)
{
	struct sim_media *target = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	uint64_t hashes[4];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	hashes[0] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	stream(0, 1, LINE);
	hashes[1] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	drain();
	ck_assert_uint_eq(sim_media_crash_into(sim, sim_choose_none, NULL, target), hashes[1]);
	stream(0, 0, LINE);
	ck_assert_uint_eq(sim_media_crash_into(sim, sim_choose_all, NULL, target), hashes[0]);
	stream(LINE, 1, LINE);
	hashes[2] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	stream(LINE, 0, LINE);
	stream(63, 1, 1);
	hashes[3] = sim_media_crash_into(sim, sim_choose_all, NULL, target);
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < i; j++)
			ck_assert_uint_ne(hashes[i], hashes[j]);
	}
	sim_media_delete(target);
}
END_TEST

/* Hooks and faults. */

static unsigned points_seen;
static unsigned stores_seen;
static bool hooks_come_first;

static void see_point(enum sim_primitive primitive, void *arg)
{
	ck_assert_ptr_eq(arg, &points_seen);
	ck_assert_int_eq(primitive, points_seen == 0 ? SIM_DRAIN : SIM_SYNC);
	hooks_come_first = hooks_come_first && sim_media_pending(sim) == 1;
	points_seen++;
}

static void see_store(enum sim_primitive primitive, uint64_t off, const void *data, size_t len, void *arg)
{
	static const enum sim_primitive order[] = { SIM_COPY, SIM_STORE8, SIM_SET };

	(void)arg;
	ck_assert_int_eq(primitive, order[stores_seen % 3]);
	ck_assert_uint_eq(off, LINE * stores_seen);
	ck_assert_uint_eq(len, 8);
	ck_assert_int_eq(data == NULL, primitive == SIM_SET);
	hooks_come_first = hooks_come_first && media->base[off] == 0;
	stores_seen++;
}

START_TEST(hooks_are_called_before_the_effect)
{
	const struct sim_hooks hooks = { .crash_point = see_point, .store = see_store, .arg = &points_seen };

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	points_seen = 0;
	stores_seen = 0;
	hooks_come_first = true;
	sim_media_hook(sim, &hooks);
	stream(0, 'a', 8);
	drain();
	ck_assert_int_eq(pc_media_store8(media, LINE, 1), 0);
	flush(LINE, LINE);
	sync_media();
	ck_assert_int_eq(pc_media_set(media, 2 * LINE, 'a', 8), 0);
	ck_assert_uint_eq(points_seen, 2);
	ck_assert_uint_eq(stores_seen, 3);
	ck_assert(hooks_come_first);
	sim_media_hook(sim, NULL);
	drain();
	ck_assert_uint_eq(points_seen, 2);
}
END_TEST

START_TEST(nth_call_fails_once_or_for_ever)
{
	uint8_t byte;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	sim_media_fail(sim, SIM_COPY | SIM_DRAIN, 2, -EIO, false);
	stream(0, 'a', LINE);
	ck_assert(!sim_media_has_failed(sim));
	ck_assert_int_eq(pc_media_flush(media, 0, LINE), 0);
	ck_assert_int_eq(pc_media_drain(media), -EIO);
	ck_assert(sim_media_has_failed(sim));
	assert_durable(0, 0, LINE);
	drain();
	assert_durable(0, 'a', LINE);
	ck_assert_uint_eq(sim_media_calls(sim), 4);
	sim_media_fail(sim, SIM_ANY, 1, -ENOSPC, true);
	ck_assert_int_eq(pc_media_copy(media, 0, "bb", 2, PC_COPY_STREAM), -ENOSPC);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_set(media, 0, 1, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_flush(media, 0, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_drain(media), -ENOSPC);
	ck_assert_int_eq(pc_media_sync(media), -ENOSPC);
	ck_assert_int_eq(pc_media_read(media, &byte, 0, 1), -ENOSPC);
	assert_bytes(media->base, 0, 'a', LINE);
	sim_media_fail(sim, 0, 0, 0, false);
	ck_assert_int_eq(pc_media_read(media, &byte, 0, 1), 0);
	ck_assert_int_eq(byte, 'a');
}
END_TEST

START_TEST(failed_page_store_leaves_its_first_half)
{
	set_up(PCACHE_GRANULARITY_PAGE);
	sim_media_fail(sim, SIM_COPY, 1, -EIO, false);
	ck_assert_int_eq(pc_media_copy(media, 0, "abcd", 4, PC_COPY_STREAM), -EIO);
	ck_assert_int_eq(memcmp(media->base, "ab\0\0", 4), 0);
	sim_media_fail(sim, SIM_STORE8, 1, -EIO, false);
	ck_assert_int_eq(pc_media_store8(media, 8, UINT64_MAX), -EIO);
	assert_bytes(media->base, 8, 0, 8);
}
END_TEST

START_TEST(failed_page_sync_is_final_until_the_next_open)
{
	set_up(PCACHE_GRANULARITY_PAGE);
	stream(0, 'a', 8);
	sim_media_fail(sim, SIM_SYNC, 1, -EIO, false);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	assert_durable(0, 0, 8);
	pc_media_close(media);
	media = sim_media_open(sim, false);
	sync_media();
	assert_durable(0, 'a', 8);
}
END_TEST

START_TEST(poisoned_line_cannot_be_read_until_it_is_stored_whole)
{
	uint8_t buf[PC_PAGE];

	set_up((enum pcache_granularity)_i);
	stream(0, 'a', 4 * LINE);
	sim_media_poison(sim, LINE + 5);
	ck_assert_int_ne(media->base[LINE], 'a');
	sync_media(); /* what was pending there is gone as well */
	ck_assert_int_ne(sim_media_durable(sim)[LINE], 'a');
	ck_assert_int_eq(pc_media_read(media, buf, 0, 4 * LINE), -EIO);
	ck_assert_int_eq(pc_media_read(media, buf, LINE + 63, 1), -EIO);
	ck_assert_int_eq(pc_media_read(media, buf, 0, LINE), 0);
	ck_assert_int_eq(pc_media_read(media, buf, 2 * LINE, LINE), 0);
	assert_bytes(buf, 0, 'a', LINE);
	cache(LINE, 'b', LINE - 1);
	cache(LINE + 1, 'b', LINE - 1);
	ck_assert_int_eq(pc_media_read(media, buf, LINE, LINE), -EIO);
	cache(LINE, 'b', LINE);
	ck_assert_int_eq(pc_media_read(media, buf, LINE, LINE), 0);
	assert_bytes(buf, 0, 'b', LINE);
}
END_TEST

START_TEST(flip_changes_bits_in_both_images)
{
	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	sim_media_flip(sim, 10, 0x81);
	ck_assert_int_eq(media->base[10], 'a' ^ 0x81);
	assert_durable(10, 'a' ^ 0x81, 1);
	assert_durable(0, 'a', 10);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
}
END_TEST

START_TEST(read_past_the_end_is_eio)
{
	uint8_t buf[2];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	ck_assert_int_eq(pc_media_read(media, buf, BYTES - 2, 2), 0);
	ck_assert_int_eq(pc_media_read(media, buf, BYTES - 1, 2), -EIO);
}
END_TEST

static void add_hook_and_fault_tests(TCase *tests)
{
	tcase_add_test(tests, hooks_are_called_before_the_effect);
	tcase_add_test(tests, nth_call_fails_once_or_for_ever);
	tcase_add_test(tests, failed_page_store_leaves_its_first_half);
	tcase_add_test(tests, failed_page_sync_is_final_until_the_next_open);
	tcase_add_loop_test(tests, poisoned_line_cannot_be_read_until_it_is_stored_whole, PCACHE_GRANULARITY_BYTE,
			    PCACHE_GRANULARITY_PAGE + 1);
	tcase_add_test(tests, flip_changes_bits_in_both_images);
	tcase_add_test(tests, read_past_the_end_is_eio);
}

static void add_crash_tests(TCase *tests)
{
	tcase_add_test(tests, choosers_take_the_units_they_name);
	tcase_add_test(tests, random_chooser_keeps_to_its_densities_and_its_seed);
	tcase_add_test(tests, random_chooser_reaches_every_state);
	tcase_add_test(tests, patch_and_unpatch_touch_only_what_is_pending);
	tcase_add_loop_test(tests, crash_into_equals_the_crash_image, PCACHE_GRANULARITY_BYTE,
			    PCACHE_GRANULARITY_PAGE + 1);
	tcase_add_test(tests, crash_within_a_recovery_equals_its_image);
	tcase_add_test(tests, crash_into_takes_turns_between_sources);
	tcase_add_test(tests, hash_differs_with_any_byte_and_any_place);
}

int main(void)
{
	Suite *suite = suite_create("sim_media_crash");

	add_crash_tests(add_case(suite, "crash"));
	add_hook_and_fault_tests(add_case(suite, "faults"));
	return pc_run_suite(suite);
}
