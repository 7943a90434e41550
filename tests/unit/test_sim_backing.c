/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sim_backing.c - tests/sim/sim_backing.c keeps its own rules (SB1..SB4): the crash tests trust them.
 *
 * Method: each sector of each write is filled with the number of the write, so that an image shows what it is made of.
 */
#include "runner.h"
#include "sim_backing.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#define SECTORS 64u
#define SIZE    (SECTORS * SIM_SECTOR)

static struct sim_backing *sim;
static struct pc_backing *backing;
static uint8_t memory[SIZE] __attribute__((aligned(4096)));
static uint8_t image[SIZE];
static int hook_calls[2];
static int hook_result;

static void setup(void)
{
	ck_assert_int_eq(sim_backing_new(SIZE, 512, &sim), 0);
	backing = sim_backing_base(sim);
	memset(hook_calls, 0, sizeof(hook_calls));
	memset(image, 0, sizeof(image));
}

static void teardown(void)
{
	struct sim_backing_counts counts = sim_backing_counts(sim);

	ck_assert_uint_eq(counts.closed_in_flight, 0);
	sim_backing_free(sim);
}

static struct pc_io request(unsigned sector, unsigned count, int value)
{
	struct pc_io io = { .op = PC_IO_WRITE, .off = sector * SIM_SECTOR, .len = count * SIM_SECTOR };

	io.buf = memory + io.off;
	memset(io.buf, value, io.len);
	return io;
}

static int write_now(unsigned sector, unsigned count, int value)
{
	struct pc_io io = request(sector, count, value);

	return pc_backing_run(backing, &io, 1);
}

static void submit(struct pc_io *io)
{
	ck_assert_int_eq(backing->ops->submit(backing, &io, 1), 1);
}

static void reap(struct pc_io *io)
{
	struct pc_io *done = NULL;

	ck_assert_int_eq(backing->ops->reap(backing, &done, 1), 1);
	ck_assert_ptr_eq(done, io);
	ck_assert_int_eq(io->result, (int64_t)io->len);
}

/* The sectors of an image, a letter each: 0 is '.', n is the nth letter; '?' where a sector is not of one value. */
static const char *show(const uint8_t *bytes, unsigned count)
{
	static char text[SECTORS + 1];

	for (unsigned i = 0; i < count; i++) {
		const uint8_t *sector = bytes + i * SIM_SECTOR;
		bool whole = memcmp(sector, sector + 1, SIM_SECTOR - 1) == 0;

		text[i] = !whole ? '?' : sector[0] == 0 ? '.' : (char)('a' + sector[0] - 1);
	}
	text[count] = '\0';
	return text;
}

static bool keep_mask(void *arg, size_t i, const struct sim_piece *piece)
{
	ck_assert_uint_le(piece->len, SIM_SECTOR);
	return (*(const uint64_t *)arg >> i % 64 & 1) != 0;
}

/* What a power cut leaves when it keeps these pieces. */
static const char *crash(uint64_t mask)
{
	memset(image, 0xEE, sizeof(image));
	sim_backing_crash_image(sim, image, mask != 0 ? keep_mask : NULL, &mask);
	return show(image, 8);
}

/* ---- power cuts ---- */

START_TEST(crash_before_sync_keeps_any_subset)
{
	ck_assert_int_eq(write_now(0, 4, 1), 0);
	ck_assert_uint_eq(sim_backing_pending(sim), 4);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aaaa....");
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), "........");
	ck_assert_str_eq(crash(0), "........");
	ck_assert_str_eq(crash(UINT64_MAX), "aaaa....");
	ck_assert_str_eq(crash(0x5), "a.a.....");
	ck_assert(!sim_backing_all_synced(sim));
}
END_TEST

START_TEST(crash_after_sync_keeps_everything)
{
	ck_assert_int_eq(write_now(0, 4, 1), 0);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_uint_eq(sim_backing_pending(sim), 0);
	ck_assert_str_eq(crash(0), "aaaa....");
	ck_assert(sim_backing_all_synced(sim));
}
END_TEST

START_TEST(crash_with_write_in_flight_may_keep_it)
{
	struct pc_io io = request(0, 2, 1);

	submit(&io);
	ck_assert_uint_eq(sim_backing_pending(sim), 2);
	ck_assert(sim_backing_piece(sim, 1).in_flight);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "........");
	ck_assert_str_eq(crash(UINT64_MAX), "aa......");
	ck_assert_str_eq(crash(0), "........");
	ck_assert(!sim_backing_all_synced(sim));
	reap(&io);
	ck_assert(!sim_backing_piece(sim, 1).in_flight);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aa......");
}
END_TEST

START_TEST(crash_with_overwrites_keeps_them_in_any_order)
{
	static const size_t orders[][2] = { { 0, 1 }, { 1, 0 } };

	ck_assert_int_eq(write_now(3, 1, 1) | write_now(3, 1, 2), 0);
	ck_assert_str_eq(crash(UINT64_MAX), "...b....");
	sim_backing_crash_image_of(sim, image, orders[0], 2);
	ck_assert_str_eq(show(image, 8), "...b....");
	sim_backing_crash_image_of(sim, image, orders[1], 2);
	ck_assert_str_eq(show(image, 8), "...a....");
	sim_backing_crash_image_of(sim, image, orders[0], 1);
	ck_assert_str_eq(show(image, 8), "...a....");
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_str_eq(crash(0), "...b....");
}
END_TEST

START_TEST(pieces_of_unaligned_write_end_at_sectors)
{
	struct pc_io io = { .op = PC_IO_WRITE, .off = 500, .len = 600, .buf = memory };

	backing->align_bytes = 1;
	ck_assert_int_eq(pc_backing_run(backing, &io, 1), 0);
	ck_assert_uint_eq(sim_backing_pending(sim), 3);
	ck_assert_uint_eq(sim_backing_piece(sim, 0).len, 12);
	ck_assert_uint_eq(sim_backing_piece(sim, 1).len, 512);
	ck_assert_uint_eq(sim_backing_piece(sim, 2).off, 1024);
	ck_assert_uint_eq(sim_backing_piece(sim, 2).len, 76);
}
END_TEST

/* ---- syncs ---- */

static struct pc_io *late; /* completes at the next sync */
static void at_sync(void *arg, enum sim_sync_point point, int result)
{
	(void)arg;
	hook_calls[point]++;
	hook_result = result;
	if (late != NULL)
		reap(late);
	late = NULL;
}

/* (SB2): a write that completes while the sync is under way is not covered by it. */
START_TEST(sync_covers_only_what_completed_before_it)
{
	struct pc_io io = request(2, 2, 2);

	ck_assert_int_eq(write_now(0, 2, 1), 0);
	submit(&io);
	late = &io;
	sim_backing_set_hook(sim, at_sync, NULL);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	sim_backing_set_hook(sim, NULL, NULL);
	ck_assert_int_eq(hook_calls[SIM_SYNC_BEFORE], 1);
	ck_assert_int_eq(hook_calls[SIM_SYNC_AFTER], 1);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aabb....");
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), "aa......");
	ck_assert(!sim_backing_all_synced(sim));
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(sim_backing_all_synced(sim));
}
END_TEST

START_TEST(sync_with_write_in_flight_leaves_it_there)
{
	struct pc_io io = request(0, 2, 1);

	submit(&io);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_uint_eq(sim_backing_pending(sim), 2);
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), "........");
	reap(&io);
}
END_TEST

/* (SB3) */
START_TEST(sync_that_fails_loses_half_and_forgets)
{
	sim_backing_set_hook(sim, at_sync, NULL);
	ck_assert_int_eq(write_now(0, 6, 1), 0);
	sim_backing_inject(sim, SIM_SYNC_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_backing_sync(backing), -EIO);
	ck_assert_int_eq(hook_result, -EIO);
	ck_assert_int_eq(hook_calls[SIM_SYNC_AFTER], 1);
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), "........");
	ck_assert_str_eq(crash(UINT64_MAX), ".a.a.a..");
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aaaaaa..");
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), ".a.a.a..");
	ck_assert_msg(!sim_backing_all_synced(sim), "what was lost is not synced by the next sync");
	ck_assert_int_eq(write_now(0, 6, 1), 0);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(sim_backing_all_synced(sim));
	ck_assert_uint_eq(sim_backing_counts(sim).syncs, 3);
	ck_assert_uint_eq(sim_backing_counts(sim).syncs_failed, 1);
}
END_TEST

/* Reads and the disk agree by chance, yet the write never got there. */
START_TEST(sync_that_loses_an_equal_write_is_noticed)
{
	ck_assert_int_eq(write_now(0, 1, 1), 0);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_int_eq(write_now(0, 1, 1), 0);
	sim_backing_inject(sim, SIM_SYNC_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_backing_sync(backing), -EIO);
	ck_assert_uint_eq(sim_backing_pending(sim), 0);
	ck_assert(!sim_backing_all_synced(sim));
}
END_TEST

/* Two partial writes of one sector: the first is lost, the second is not. */
START_TEST(sync_that_loses_part_of_a_sector_is_noticed)
{
	struct pc_io first = { .op = PC_IO_WRITE, .off = 0, .len = 100, .buf = memory };
	struct pc_io second = { .op = PC_IO_WRITE, .off = 100, .len = 100, .buf = memory };

	backing->align_bytes = 1;
	memset(memory, 1, 100);
	ck_assert_int_eq(pc_backing_run(backing, &first, 1), 0);
	ck_assert_int_eq(pc_backing_run(backing, &second, 1), 0);
	sim_backing_inject(sim, SIM_SYNC_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_backing_sync(backing), -EIO);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_uint_eq(sim_backing_pending(sim), 0);
	ck_assert(!sim_backing_all_synced(sim));
}
END_TEST

/* Of two writes in flight to one place the one that completed last is what reads see, and what a sync keeps. */
START_TEST(sync_keeps_the_write_that_completed_last)
{
	uint8_t copy[SIM_SECTOR] __attribute__((aligned(512)));
	struct pc_io first = request(0, 1, 1);
	struct pc_io second = { .op = PC_IO_WRITE, .off = 0, .len = SIM_SECTOR, .buf = copy };
	struct pc_io *done[2];
	bool seen[2] = { false, false };

	memset(copy, 2, sizeof(copy));
	for (uint64_t seed = 1; seed <= 40; seed++) {
		sim_backing_shuffle(sim, seed * 0x9E3779B97F4A7C15u);
		submit(&first);
		submit(&second);
		for (int left = 2; left > 0;) {
			left -= backing->ops->reap(backing, done, 2);
			ck_assert_int_eq(pc_backing_sync(backing), 0);
			ck_assert_uint_eq(sim_backing_all_synced(sim), left == 0);
		}
		ck_assert_mem_eq(sim_backing_now(sim), sim_backing_durable(sim), SIZE);
		seen[sim_backing_now(sim)[0] - 1] = true;
	}
	ck_assert_msg(seen[0] && seen[1], "the seed decides the order");
}
END_TEST

/* ---- faults ---- */

/* (SB4) */
START_TEST(write_that_fails_is_done_in_part)
{
	sim_backing_inject(sim, SIM_WRITE_FAILS, 2, -ENOSPC, false);
	ck_assert_int_eq(write_now(0, 1, 1), 0);
	ck_assert_int_eq(write_now(1, 4, 2), -ENOSPC);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "ab.b....");
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(!sim_backing_all_synced(sim));
	ck_assert_int_eq(write_now(1, 4, 2), 0);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(sim_backing_all_synced(sim));
	ck_assert_uint_eq(sim_backing_counts(sim).faults, 1);
}
END_TEST

START_TEST(write_that_is_short_is_finished_by_run)
{
	struct pc_io io = request(0, 7, 1);
	struct pc_io *done = NULL;

	sim_backing_inject(sim, SIM_WRITE_IS_SHORT, 1, 0, false);
	submit(&io);
	ck_assert_int_eq(backing->ops->reap(backing, &done, 1), 1);
	ck_assert_int_eq(io.result, 3 * SIM_SECTOR);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aaa.....");
	sim_backing_reset_to(sim, image);
	sim_backing_inject(sim, SIM_WRITE_IS_SHORT, 1, 0, false);
	ck_assert_int_eq(write_now(0, 7, 1), 0);
	ck_assert_uint_eq(sim_backing_counts(sim).writes, 2);
	ck_assert_uint_eq(sim_backing_counts(sim).write_bytes, 7 * SIM_SECTOR);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aaaaaaa.");
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert(sim_backing_all_synced(sim));
	/* half of one sector is no progress for a run that must stay aligned */
	sim_backing_inject(sim, SIM_WRITE_IS_SHORT, 1, 0, false);
	ck_assert_int_eq(write_now(0, 1, 2), -EIO);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "?aaaaaa.");
}
END_TEST

START_TEST(fault_comes_true_at_the_nth_and_sticks_if_told)
{
	for (int sticky = 0; sticky < 2; sticky++) {
		sim_backing_inject(sim, SIM_SYNC_FAILS, 3, -EIO, sticky != 0);
		ck_assert_int_eq(pc_backing_sync(backing), 0);
		ck_assert_int_eq(pc_backing_sync(backing), 0);
		ck_assert_int_eq(pc_backing_sync(backing), -EIO);
		ck_assert_int_eq(pc_backing_sync(backing), sticky ? -EIO : 0);
		ck_assert_int_eq(pc_backing_sync(backing), sticky ? -EIO : 0);
		sim_backing_heal(sim);
		ck_assert_int_eq(pc_backing_sync(backing), 0);
	}
	ck_assert_uint_eq(sim_backing_counts(sim).faults, 4);
}
END_TEST

START_TEST(read_that_fails_gives_its_error_both_ways)
{
	struct pc_io io = { .op = PC_IO_READ, .off = 0, .len = SIM_SECTOR, .buf = memory };

	ck_assert_int_eq(write_now(0, 1, 3), 0);
	sim_backing_inject(sim, SIM_READ_FAILS, 1, -EIO, true);
	ck_assert_int_eq(pc_backing_run(backing, &io, 1), -EIO);
	ck_assert_int_eq(pc_backing_read(backing, image, 7, 9), -EIO);
	sim_backing_heal(sim);
	memset(memory, 0, SIM_SECTOR);
	ck_assert_int_eq(pc_backing_run(backing, &io, 1), 0);
	ck_assert_int_eq(memory[511], 3);
	ck_assert_int_eq(pc_backing_read(backing, image, 500, 20), 0);
	ck_assert_int_eq(image[11], 3);
	ck_assert_int_eq(image[12], 0);
	ck_assert_int_eq(backing->ops->read(backing, image, SIZE - 5, 20), 5);
	ck_assert_int_eq(backing->ops->read(backing, image, SIZE, 20), 0);
}
END_TEST

START_TEST(submit_and_reap_faults_are_survived_by_run)
{
	sim_backing_inject(sim, SIM_SUBMIT_FAILS, 1, -EAGAIN, false);
	sim_backing_inject(sim, SIM_REAP_FAILS, 1, -EINTR, false);
	ck_assert_int_eq(write_now(0, 4, 1), 0);
	ck_assert_uint_eq(sim_backing_counts(sim).faults, 2);
	sim_backing_inject(sim, SIM_SUBMIT_FAILS, 1, -EIO, false);
	ck_assert_int_eq(write_now(0, 4, 2), -EIO);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aaaa....");
	/* the queue is lost, and with it half of what was in flight */
	sim_backing_inject(sim, SIM_REAP_FAILS, 1, -EFAULT, false);
	ck_assert_int_eq(write_now(0, 4, 3), -EFAULT);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "caca....");
	ck_assert_int_eq(write_now(0, 4, 3), 0);
}
END_TEST

START_TEST(breaches_of_the_contract_are_counted)
{
	struct pc_io ios[] = {
		{ .op = PC_IO_WRITE, .off = 100, .len = SIM_SECTOR, .buf = memory },
		{ .op = PC_IO_WRITE, .off = 0, .len = 100, .buf = memory },
		{ .op = PC_IO_WRITE, .off = 0, .len = SIM_SECTOR, .buf = memory + 1 },
		{ .op = PC_IO_WRITE, .off = SIZE, .len = SIM_SECTOR, .buf = memory },
	};
	struct pc_io good = request(0, 1, 1);
	struct pc_io *mixed[] = { &good, &ios[0] };

	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++) {
		struct pc_io *io = &ios[i];

		ck_assert_int_eq(backing->ops->submit(backing, &io, 1), -EINVAL);
		ck_assert_uint_eq(sim_backing_counts(sim).misaligned, pc_min64(i + 1, 3));
	}
	ck_assert_uint_eq(sim_backing_counts(sim).past_the_end, 1);
	ck_assert_int_eq(backing->ops->submit(backing, mixed, 2), 1);
	memory[5]++;
	reap(&good);
	ck_assert_uint_eq(sim_backing_counts(sim).changed_in_flight, 1);
	ck_assert_int_eq(sim_backing_now(sim)[5], 1);
	pc_backing_close(backing);
	ck_assert_uint_eq(sim_backing_counts(sim).closes, 1);
	submit(&good);
	pc_backing_close(backing);
	ck_assert_uint_eq(sim_backing_counts(sim).closed_in_flight, 1);
	reap(&good);
	sim_backing_reset_to(sim, image);
}
END_TEST

START_TEST(odd_size_ends_inside_a_sector)
{
	struct sim_backing *odd;
	struct pc_io io = { .op = PC_IO_WRITE, .off = 512, .len = 488, .buf = memory };

	ck_assert_int_eq(sim_backing_new(1000, 512, &odd), 0);
	memset(memory, 9, 488);
	ck_assert_int_eq(pc_backing_run(sim_backing_base(odd), &io, 1), 0);
	ck_assert_int_eq(pc_backing_sync(sim_backing_base(odd)), 0);
	ck_assert_int_eq(sim_backing_durable(odd)[999], 9);
	sim_backing_restore(odd, image);
	ck_assert_int_eq(sim_backing_durable(odd)[999], 0);
	sim_backing_free(odd);
}
END_TEST

/* ---- threads ---- */

static void *sync_in_thread(void *arg)
{
	*(int *)arg = pc_backing_sync(backing);
	return NULL;
}

static void *write_in_thread(void *arg)
{
	*(int *)arg = write_now(0, 1, 1);
	return NULL;
}

START_TEST(stall_holds_syncs_and_completions_until_it_ends)
{
	pthread_t threads[2];
	int results[2] = { 77, 77 };

	sim_backing_stall(sim, true);
	ck_assert_int_eq(pthread_create(&threads[0], NULL, sync_in_thread, &results[0]), 0);
	ck_assert_int_eq(pthread_create(&threads[1], NULL, write_in_thread, &results[1]), 0);
	while (sim_backing_waiting(sim) < 2)
		sched_yield();
	ck_assert_uint_eq(sim_backing_counts(sim).writes, 0);
	ck_assert(sim_backing_piece(sim, 0).in_flight);
	sim_backing_stall(sim, false);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		ck_assert_int_eq(results[i], 0);
	}
	ck_assert_uint_eq(sim_backing_waiting(sim), 0);
	/* the sync began before the write completed */
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), "........");
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "a.......");
}
END_TEST

/* ---- images ---- */

START_TEST(reset_and_restore_bring_back_the_image)
{
	memset(image, 5, sizeof(image));
	sim_backing_reset_to(sim, image);
	ck_assert(sim_backing_all_synced(sim));
	for (int round = 1; round < 4; round++) {
		ck_assert_int_eq(write_now((unsigned)round, 2, round), 0);
		ck_assert_int_eq(pc_backing_sync(backing), 0);
		ck_assert_int_eq(write_now(40, 20, round), 0);
		sim_backing_patch(sim, 30 * SIM_SECTOR - 7, memory, 1200);
		sim_backing_inject(sim, SIM_SYNC_FAILS, 1, -EIO, true);
		ck_assert_int_eq(pc_backing_sync(backing), -EIO);
		ck_assert(memcmp(sim_backing_now(sim), image, SIZE) != 0);
		ck_assert(memcmp(sim_backing_durable(sim), image, SIZE) != 0);
		if (round == 3)
			sim_backing_reset_to(sim, image);
		else
			sim_backing_restore(sim, image);
		ck_assert_mem_eq(sim_backing_now(sim), image, SIZE);
		ck_assert_mem_eq(sim_backing_durable(sim), image, SIZE);
		ck_assert(sim_backing_all_synced(sim));
		ck_assert_uint_eq(sim_backing_counts(sim).syncs, 0);
		ck_assert_int_eq(write_now(40, 2, 9), 0);
		ck_assert_int_eq(pc_backing_sync(backing), 0);
		ck_assert(sim_backing_all_synced(sim));
	}
}
END_TEST

START_TEST(patch_is_in_both_images_and_not_pending)
{
	memset(memory, 4, SIM_SECTOR);
	sim_backing_patch(sim, 2 * SIM_SECTOR, memory, SIM_SECTOR);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "..d.....");
	ck_assert_str_eq(show(sim_backing_durable(sim), 8), "..d.....");
	ck_assert(sim_backing_all_synced(sim));
}
END_TEST

START_TEST(kill_keeps_written_pieces_pending_and_source_as_it_was)
{
	uint64_t mask = 0x8; /* the fourth piece: of the write in flight */
	struct pc_io io = request(2, 2, 2);
	struct sim_backing *other;

	ck_assert_int_eq(sim_backing_new(SIZE, 512, &other), 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(write_now(6, 1, 3), 0);
	ck_assert_int_eq(pc_backing_sync(backing), 0);
	ck_assert_int_eq(write_now(0, 2, 1), 0);
	submit(&io);
	sim_backing_kill_into(other, sim, keep_mask, &mask);
	ck_assert_uint_eq(sim_backing_pending(other), 3);
	ck_assert_str_eq(show(sim_backing_now(other), 8), "aa.b..c.");
	ck_assert_str_eq(show(sim_backing_durable(other), 8), "......c.");
	ck_assert(!sim_backing_all_synced(other));
	ck_assert_int_eq(pc_backing_sync(sim_backing_base(other)), 0);
	ck_assert_str_eq(show(sim_backing_durable(other), 8), "aa.b..c.");
	ck_assert(sim_backing_all_synced(other));
	sim_backing_kill_into(other, sim, NULL, NULL);
	ck_assert_str_eq(show(sim_backing_now(other), 8), "aa....c.");
	memset(image, 0, sizeof(image));
	sim_backing_restore(other, image);
	ck_assert_str_eq(show(sim_backing_now(other), 8), "........");
	ck_assert_str_eq(show(sim_backing_durable(other), 8), "........");
	sim_backing_free(other);
	ck_assert_uint_eq(sim_backing_pending(sim), 4);
	reap(&io);
	ck_assert_str_eq(show(sim_backing_now(sim), 8), "aabb..c.");
}
END_TEST

/* The writes of the two owners must not be taken for one another. */
START_TEST(write_after_kill_is_not_mixed_up_with_pending_ones)
{
	struct sim_backing *other;
	struct pc_io io;

	ck_assert_int_eq(sim_backing_new(SIZE, 512, &other), 0);
	ck_assert_int_eq(write_now(0, 1, 1), 0);
	sim_backing_kill_into(other, sim, NULL, NULL);
	io = request(1, 2, 2);
	sim_backing_inject(other, SIM_WRITE_FAILS, 1, -EIO, false);
	ck_assert_int_eq(pc_backing_run(sim_backing_base(other), &io, 1), -EIO);
	ck_assert_str_eq(show(sim_backing_now(other), 8), "ab......");
	sim_backing_free(other);
}
END_TEST

/* ---- everything at once ---- */

static uint64_t random_state = 88172645463325252u;

static unsigned random_below(unsigned limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % limit);
}

static uint32_t value_at(const uint8_t *bytes, unsigned sector)
{
	uint32_t value;

	memcpy(&value, bytes + sector * SIM_SECTOR, sizeof(value));
	return value;
}

/* Without faults a crash shows in each sector a value no older than the last synced and no newer than the last. */
START_TEST(random_crash_is_between_synced_and_issued)
{
	static uint32_t newest[SECTORS];
	static uint32_t synced[SECTORS];
	unsigned wrong = 0;
	unsigned older = 0;

	sim_backing_shuffle(sim, 99);
	for (uint32_t op = 1; op <= 3000; op++) {
		unsigned sector = random_below(SECTORS);
		unsigned count = 1 + random_below(SECTORS - sector < 8 ? SECTORS - sector : 8);
		struct pc_io io = request(sector, count, 0);

		for (unsigned i = 0; i < count; i++) {
			memcpy(io.buf + i * SIM_SECTOR, &op, sizeof(op));
			newest[sector + i] = op;
		}
		ck_assert_int_eq(pc_backing_run(backing, &io, 1), 0);
		if (random_below(10) == 0) {
			ck_assert_int_eq(pc_backing_sync(backing), 0);
			memcpy(synced, newest, sizeof(synced));
		}
		random_below(2);
		sim_backing_crash_image(sim, image, keep_mask, &random_state);
		for (unsigned i = 0; i < SECTORS; i++) {
			uint32_t found = value_at(image, i);

			wrong += found < synced[i] || found > newest[i];
			wrong += value_at(sim_backing_now(sim), i) != newest[i];
			older += found < newest[i];
		}
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_gt(older, 0);
}
END_TEST

/* Many requests in one run, completing in any order, each fault in turn: an error, or every byte is there. */
START_TEST(random_run_with_faults_is_right_or_tells)
{
	static struct pc_io ios[SECTORS / 2];
	unsigned failed = 0;

	backing->queue_depth = 7;
	sim_backing_shuffle(sim, 7);
	for (int round = 1; round <= 200; round++) {
		enum sim_backing_fault fault = random_below(SIM_BACKING_FAULTS);
		int error;

		for (unsigned i = 0; i < SECTORS / 2; i++)
			ios[i] = request(i * 2, 2, round % 26 + 1);
		sim_backing_inject(sim, fault, 1 + random_below(6), fault == SIM_SUBMIT_FAILS ? -EAGAIN : -EIO, false);
		error = pc_backing_run(backing, ios, SECTORS / 2);
		if (error == 0)
			ck_assert_mem_eq(sim_backing_now(sim), memory, SIZE);
		if (error == 0)
			error = pc_backing_sync(backing);
		failed += error != 0;
		ck_assert_uint_eq(sim_backing_all_synced(sim), error == 0);
		sim_backing_heal(sim);
	}
	ck_assert_uint_gt(failed, 10);
	ck_assert_uint_lt(failed, 190);
	ck_assert_uint_eq(sim_backing_counts(sim).misaligned, 0);
	ck_assert_uint_eq(sim_backing_counts(sim).changed_in_flight, 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, crash_before_sync_keeps_any_subset);
	tcase_add_test(tcase, crash_after_sync_keeps_everything);
	tcase_add_test(tcase, crash_with_write_in_flight_may_keep_it);
	tcase_add_test(tcase, crash_with_overwrites_keeps_them_in_any_order);
	tcase_add_test(tcase, pieces_of_unaligned_write_end_at_sectors);
	tcase_add_test(tcase, sync_covers_only_what_completed_before_it);
	tcase_add_test(tcase, sync_with_write_in_flight_leaves_it_there);
	tcase_add_test(tcase, sync_that_fails_loses_half_and_forgets);
	tcase_add_test(tcase, sync_that_loses_an_equal_write_is_noticed);
	tcase_add_test(tcase, sync_that_loses_part_of_a_sector_is_noticed);
	tcase_add_test(tcase, sync_keeps_the_write_that_completed_last);
	tcase_add_test(tcase, write_that_fails_is_done_in_part);
	tcase_add_test(tcase, write_that_is_short_is_finished_by_run);
	tcase_add_test(tcase, fault_comes_true_at_the_nth_and_sticks_if_told);
	tcase_add_test(tcase, read_that_fails_gives_its_error_both_ways);
	tcase_add_test(tcase, submit_and_reap_faults_are_survived_by_run);
	tcase_add_test(tcase, breaches_of_the_contract_are_counted);
	tcase_add_test(tcase, odd_size_ends_inside_a_sector);
	tcase_add_test(tcase, stall_holds_syncs_and_completions_until_it_ends);
	tcase_add_test(tcase, reset_and_restore_bring_back_the_image);
	tcase_add_test(tcase, patch_is_in_both_images_and_not_pending);
	tcase_add_test(tcase, kill_keeps_written_pieces_pending_and_source_as_it_was);
	tcase_add_test(tcase, write_after_kill_is_not_mixed_up_with_pending_ones);
	tcase_add_test(tcase, random_crash_is_between_synced_and_issued);
	tcase_add_test(tcase, random_run_with_faults_is_right_or_tells);
}

int main(void)
{
	Suite *suite = suite_create("sim_backing");
	TCase *tcase = tcase_create("sim_backing");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	return pc_run_suite(suite);
}
