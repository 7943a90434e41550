/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sim_machine.c - one simulated machine made from another: by a kill, and the quick way of a power cut; and the
 * moments at which the simulators call back.
 *
 * Goal: what a kill leaves is visible, and as little durable as before; the quick ways give what the slow ones give.
 * Method: random stores and writes; the images are compared with those of the source, or of sim_backing_crash_image().
 */
#include "sim_backing.h"
#include "sim_media_fixture.h"

#define ROUNDS       1000
#define VOLUME_BYTES 16384u

/* ---- kill ---- */

/* Kills and power cuts in turns, into the same target: each as if it was the only one. */
START_TEST(kill_into_shows_the_view_and_keeps_the_durable_image)
{
	struct sim_media *target;
	uint32_t state = 7;

	set_up((enum pcache_granularity)_i);
	target = sim_media_new(BYTES, (enum pcache_granularity)_i);
	for (int round = 0; round < ROUNDS; round++) {
		bool is_byte = _i == PCACHE_GRANULARITY_BYTE;
		const uint8_t *durable;
		struct pc_media *next;

		store_at_random(media, &state);
		if (next_random(&state) % 4 == 0) {
			sim_media_crash_into(sim, sim_choose_none, NULL, target);
			ck_assert_int_eq(memcmp(sim_media_view(target), sim_media_durable(sim), BYTES), 0);
		}
		sim_media_kill_into(sim, target);
		ck_assert_int_eq(memcmp(sim_media_view(target), sim_media_view(sim), BYTES), 0);
		durable = is_byte ? sim_media_view(sim) : sim_media_durable(sim);
		ck_assert_int_eq(memcmp(sim_media_durable(target), durable, BYTES), 0);
		ck_assert_uint_eq(sim_media_pending(target), is_byte ? 0 : sim_media_pending(sim));
		next = sim_media_open(target, false);
		for (int i = 0; i < 4; i++)
			store_at_random(next, &state);
		pc_media_close(next);
	}
	sim_media_delete(target);
}
END_TEST

/* The whole of a target that was flushed is the view, and the source does not know of it. */
START_TEST(kill_into_leaves_stores_that_need_a_flush_and_a_drain)
{
	struct sim_media *target;

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	target = sim_media_new(BYTES, PCACHE_GRANULARITY_CACHE_LINE);
	stream(0, 'a', LINE);
	cache(LINE, 'b', LINE);
	flush(LINE, LINE);
	sim_media_kill_into(sim, target);
	media = sim_media_open(target, false);
	drain();
	assert_bytes(sim_media_durable(target), 0, 0, 2 * (size_t)LINE);
	flush(0, 2 * (size_t)LINE);
	drain();
	assert_bytes(sim_media_durable(target), 0, 'a', LINE);
	assert_bytes(sim_media_durable(target), LINE, 'b', LINE);
	assert_durable(0, 0, 2 * (size_t)LINE);
	ck_assert_uint_eq(sim_media_pending(sim), 2);
	sim_media_delete(target);
}
END_TEST

START_TEST(kill_into_hash_is_that_of_the_view)
{
	struct sim_media *target;
	uint64_t hashes[3];

	set_up((enum pcache_granularity)_i);
	target = sim_media_new(BYTES, (enum pcache_granularity)_i);
	hashes[0] = sim_media_kill_into(sim, target);
	stream(PC_PAGE + 3, 'a', 7);
	hashes[1] = sim_media_kill_into(sim, target);
	sync_media();
	hashes[2] = sim_media_kill_into(sim, target);
	ck_assert_uint_ne(hashes[0], hashes[1]);
	ck_assert_uint_eq(hashes[1], hashes[2]);
	stream(PC_PAGE + 3, 0, 7);
	ck_assert_uint_eq(sim_media_kill_into(sim, target), hashes[0]);
	sim_media_delete(target);
}
END_TEST

/* ---- hooks of the media ---- */

static unsigned drained_calls;
static unsigned read_calls;

static void at_drained(enum sim_primitive primitive, void *arg)
{
	ck_assert_ptr_eq(arg, &drained_calls);
	ck_assert_int_eq(primitive, SIM_DRAIN);
	ck_assert_uint_eq(sim_media_pending(sim), 0);
	assert_durable(0, 'a', LINE);
	drained_calls++;
}

static void at_read(void *arg)
{
	ck_assert_ptr_eq(arg, &drained_calls);
	if (read_calls++ == 0)
		stream(LINE, 'b', LINE); /* comes before the look */
}

START_TEST(drained_is_called_after_the_effect_and_read_before_the_look)
{
	const struct sim_hooks hooks = { .drained = at_drained, .read = at_read, .arg = &drained_calls };
	uint8_t bytes[LINE];

	set_up(PCACHE_GRANULARITY_CACHE_LINE);
	sim_media_hook(sim, &hooks);
	stream(0, 'a', LINE);
	drain();
	ck_assert_uint_eq(drained_calls, 1);
	ck_assert_int_eq(pc_media_read(media, bytes, LINE, LINE), 0);
	ck_assert_uint_eq(read_calls, 1);
	assert_bytes(bytes, 0, 'b', LINE);
}
END_TEST

/* ---- the backing ---- */

static bool keep_odd(void *arg, size_t i, const struct sim_piece *piece)
{
	(void)piece;
	return (*(const uint32_t *)arg >> i % 32 & 1) != 0;
}

static void write_at_random(struct pc_backing *backing, uint32_t *state)
{
	static uint8_t data[4 * SIM_SECTOR] __attribute__((aligned(4096)));
	struct pc_io io = { .op = PC_IO_WRITE, .buf = data };

	memset(data, (int)(next_random(state) % 255 + 1), sizeof(data));
	io.len = (1 + next_random(state) % 4) * (size_t)SIM_SECTOR;
	io.off = next_random(state) % (VOLUME_BYTES / SIM_SECTOR - 4) * SIM_SECTOR;
	ck_assert_int_eq(pc_backing_run(backing, &io, 1), 0);
	if (next_random(state) % 5 == 0)
		ck_assert_int_eq(pc_backing_sync(backing), 0);
}

START_TEST(backing_crash_into_equals_the_crash_image)
{
	struct sim_backing *source;
	struct sim_backing *target;
	uint32_t state = 11;
	uint64_t last = 0;

	ck_assert_int_eq(sim_backing_new(VOLUME_BYTES, SIM_SECTOR, &source), 0);
	ck_assert_int_eq(sim_backing_new(VOLUME_BYTES, SIM_SECTOR, &target), 0);
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t mask = next_random(&state);
		uint64_t hash;

		write_at_random(sim_backing_base(source), &state);
		sim_backing_crash_image(source, image, keep_odd, &mask);
		hash = sim_backing_crash_into(source, keep_odd, &mask, target);
		ck_assert_int_eq(memcmp(sim_backing_now(target), image, VOLUME_BYTES), 0);
		ck_assert_int_eq(memcmp(sim_backing_durable(target), image, VOLUME_BYTES), 0);
		ck_assert_uint_eq(sim_backing_pending(target), 0);
		ck_assert(sim_backing_all_synced(target));
		ck_assert_uint_eq(sim_backing_crash_into(source, keep_odd, &mask, target), hash);
		image[round % VOLUME_BYTES]++;
		sim_backing_reset_to(target, image);
		last = sim_backing_crash_into(target, NULL, NULL, source);
		ck_assert_uint_ne(last, hash);
		write_at_random(sim_backing_base(target), &state);
	}
	sim_backing_free(source);
	sim_backing_free(target);
}
END_TEST

static unsigned submits;

static void at_submit(void *arg)
{
	struct sim_backing *backing = arg;

	submits++;
	ck_assert_uint_eq(sim_backing_pending(backing), 0);
}

START_TEST(submit_hook_is_called_before_requests_are_taken)
{
	struct sim_backing *backing;
	uint32_t state = 1;

	ck_assert_int_eq(sim_backing_new(VOLUME_BYTES, SIM_SECTOR, &backing), 0);
	sim_backing_set_hook(backing, NULL, backing);
	sim_backing_set_submit_hook(backing, at_submit);
	write_at_random(sim_backing_base(backing), &state);
	ck_assert_uint_eq(submits, 1);
	ck_assert_uint_ne(sim_backing_pending(backing), 0);
	sim_backing_set_submit_hook(backing, NULL);
	write_at_random(sim_backing_base(backing), &state);
	ck_assert_uint_eq(submits, 1);
	sim_backing_free(backing);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sim_machine");
	TCase *tests = add_case(suite, "kill");

	tcase_add_loop_test(tests, kill_into_shows_the_view_and_keeps_the_durable_image, PCACHE_GRANULARITY_BYTE,
			    PCACHE_GRANULARITY_PAGE + 1);
	tcase_add_test(tests, kill_into_leaves_stores_that_need_a_flush_and_a_drain);
	tcase_add_loop_test(tests, kill_into_hash_is_that_of_the_view, PCACHE_GRANULARITY_BYTE,
			    PCACHE_GRANULARITY_PAGE + 1);
	tests = add_case(suite, "hooks");
	tcase_add_test(tests, drained_is_called_after_the_effect_and_read_before_the_look);
	tests = tcase_create("backing");
	tcase_add_test(tests, backing_crash_into_equals_the_crash_image);
	tcase_add_test(tests, submit_hook_is_called_before_requests_are_taken);
	suite_add_tcase(suite, tests);
	return pc_run_suite(suite);
}
