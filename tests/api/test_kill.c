/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_kill.c - kill -9 while it writes, drains or recovers; then every acknowledged write must be there.
 *
 * Method: a child process writes to a real cache from several threads and keeps a diary of its writes in shared
 * memory: a clock tick before each, another one after it returned. The parent waits for a number of returned writes,
 * kills the child, opens the cache and reads all of it. Sectors are stamped with the write they belong to, so:
 *
 * (K1) Each sector is whole: one write that really covered it, or what it held before this round.
 * (K2) A write that returned is there, or one that did not end before it began.
 * (K3) A write of at most max_atomic_bytes that did not return is there whole or not at all: where one of its sectors
 *      shows it, no other sector shows what had ended before it began.
 *
 * A process kill takes nothing from the page cache, so all of it holds on page granularity, too.
 */
#include "stamp.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define VOLUME_BYTES (8 * MIB)
#define SECTORS      (VOLUME_BYTES / SECTOR)
#define RANGE_MAX    512u /* sectors of one write */
#define THREADS_MAX  4u
#define WRITES_MAX   100000u
#define NUMBER_BITS  32

struct entry {
	_Atomic uint32_t begin;
	_Atomic uint32_t end; /* 0: it did not return */
	uint32_t sector;
	uint32_t sectors;
};

/* In memory that the child shares with its parent, and outlives it. */
struct diary {
	_Atomic uint32_t clock;
	_Atomic uint32_t begun;    /* writes are numbered from 1 */
	_Atomic uint32_t returned; /* how many */
	_Atomic uint32_t stage;    /* of a child that recovers */
	uint64_t round;
	struct verdict verdict;
	struct entry entries[WRITES_MAX + 1];
};

struct arena {
	struct fixture *fx;
	struct diary *diary;
	uint64_t round;
	uint64_t *before;  /* version of each sector at the beginning of the round */
	uint32_t *present; /* number of the write that each sector shows; 0: as before */
	unsigned threads;
	bool flush_each;
	struct test_random random;
};

struct child_thread {
	pthread_t thread;
	struct arena *arena;
	struct test_random random;
};

static void choose_place(struct child_thread *self, struct entry *entry)
{
	entry->sectors = (uint32_t)test_random_length(&self->random, RANGE_MAX);
	entry->sector = (uint32_t)test_random_below(&self->random, SECTORS - entry->sectors + 1);
	if (test_random_below(&self->random, 2) == 0)
		entry->sector %= 2048;
}

static bool write_one(struct child_thread *self, uint32_t number, uint8_t *buf)
{
	struct diary *diary = self->arena->diary;
	struct entry *entry = &diary->entries[number];
	unsigned flags = test_random_below(&self->random, 64) == 0 ? PCACHE_WRITE_FUA : 0;
	struct pcache *cache = self->arena->fx->cache;
	size_t len;

	choose_place(self, entry);
	len = entry->sectors * (size_t)SECTOR;
	stamp_fill(buf, entry->sector, entry->sectors, diary->round << NUMBER_BITS | number);
	entry->begin = ++diary->clock;
	if (pcache_write(cache, buf, len, (uint64_t)entry->sector * SECTOR, flags) != (ssize_t)len)
		return false;
	if (self->arena->flush_each && pcache_flush(cache, 0) < 0)
		return false;
	entry->end = ++diary->clock;
	diary->returned++;
	return true;
}

static bool do_more(struct child_thread *self)
{
	struct pcache *cache = self->arena->fx->cache;
	uint64_t kind = test_random_below(&self->random, 256);

	if (kind < 4)
		return pcache_flush(cache, 0) == 0;
	if (kind == 4)
		return pcache_drain(cache, NULL, NULL, 0) == 0;
	return true;
}

static void *write_for_ever(void *arg)
{
	struct child_thread *self = arg;
	struct diary *diary = self->arena->diary;
	uint8_t *buf = malloc(RANGE_MAX * SECTOR);

	for (;;) {
		uint32_t number = ++diary->begun;

		if (number > WRITES_MAX)
			break;
		if (!write_one(self, number, buf) || !do_more(self)) {
			verdict_fail(&diary->verdict, "write %u or what followed it failed", number);
			_exit(1);
		}
	}
	free(buf);
	return NULL;
}

static void child_write(struct arena *arena)
{
	struct child_thread threads[THREADS_MAX] = { 0 };
	int ret = fixture_try_open(arena->fx, PCACHE_OPEN_CREATE);

	if (ret < 0) {
		verdict_fail(&arena->diary->verdict, "open in the child: %s", pcache_strerror(ret));
		_exit(1);
	}
	for (unsigned i = 0; i < arena->threads; i++) {
		threads[i].arena = arena;
		threads[i].random = test_random_make(test_random_next(&arena->random));
		if (pthread_create(&threads[i].thread, NULL, write_for_ever, &threads[i]) != 0)
			_exit(1);
	}
	for (unsigned i = 0; i < arena->threads; i++)
		pthread_join(threads[i].thread, NULL);
	for (;;)
		pause();
}

static void child_recover(struct arena *arena)
{
	int ret;

	arena->diary->stage = 1;
	ret = fixture_try_open(arena->fx, 0);
	if (ret < 0) {
		verdict_fail(&arena->diary->verdict, "recovery in the child: %s", pcache_strerror(ret));
		_exit(1);
	}
	arena->diary->stage = 2;
	for (;;)
		pause();
}

static void kill_and_reap(struct arena *arena, pid_t child)
{
	int status;

	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended by itself: %s",
		      arena->diary->verdict.message);
}

static void check_alive(struct arena *arena, pid_t child)
{
	int status;

	ck_assert_msg(waitpid(child, &status, WNOHANG) == 0, "the child ended by itself, status 0x%x: %s", status,
		      arena->diary->verdict.message);
}

/* The kill comes after a number of returned writes, not after a time. */
static void write_and_kill(struct arena *arena, uint32_t most)
{
	uint32_t target = 1 + (uint32_t)test_random_below(&arena->random, most);
	pid_t child;

	memset(arena->diary, 0, sizeof(*arena->diary));
	arena->diary->round = ++arena->round;
	child = fork();
	if (child == 0)
		child_write(arena);
	while (arena->diary->returned < target) {
		check_alive(arena, child);
		slow_down(20);
	}
	kill_and_reap(arena, child);
}

static struct arena *arena_make(uint64_t cache_bytes, uint64_t segment_bytes, unsigned threads)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	arena->fx = fixture_make(VOLUME_BYTES, cache_bytes, segment_bytes);
	arena->diary = mmap(NULL, sizeof(*arena->diary), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(arena->diary != MAP_FAILED);
	arena->before = calloc(SECTORS, sizeof(arena->before[0]));
	arena->present = calloc(SECTORS, sizeof(arena->present[0]));
	arena->threads = threads;
	arena->random = test_random_make(seed_or(7));
	stamp_backing(arena->fx);
	return arena;
}

/* K1 */
static void find_present(struct arena *arena)
{
	struct fixture *fx = arena->fx;

	ck_assert_int_eq(pcache_read(fx->cache, fx->model, fx->bytes, 0, 0), (ssize_t)fx->bytes);
	for (uint64_t sector = 0; sector < SECTORS; sector++) {
		uint64_t version = 0;
		enum stamp_state state = stamp_check(fx->model + sector * SECTOR, sector, &version);
		uint32_t number = (uint32_t)version;
		const struct entry *entry = &arena->diary->entries[number];

		ck_assert_msg(state == STAMP_WHOLE, "K1: sector %ju is not whole", (uintmax_t)sector);
		arena->present[sector] = version == arena->before[sector] ? 0 : number;
		if (version == arena->before[sector])
			continue;
		ck_assert_msg(version >> NUMBER_BITS == arena->round, "K1: sector %ju is back in round %ju",
			      (uintmax_t)sector, (uintmax_t)(version >> NUMBER_BITS));
		ck_assert_msg(entry->begin != 0 && sector >= entry->sector && sector - entry->sector < entry->sectors,
			      "K1: sector %ju shows write %u, which was elsewhere", (uintmax_t)sector, number);
		arena->before[sector] = version;
	}
}

/* What the sector shows had ended when this write began. */
static bool is_older(const struct arena *arena, uint64_t sector, const struct entry *entry)
{
	uint32_t shown = arena->present[sector];

	return shown == 0 || (arena->diary->entries[shown].end != 0 && arena->diary->entries[shown].end < entry->begin);
}

static bool is_shown(const struct arena *arena, const struct entry *entry, uint32_t number)
{
	for (uint32_t i = 0; i < entry->sectors; i++)
		if (arena->present[entry->sector + i] == number)
			return true;
	return false;
}

/* K2, K3 */
static void check_entries(struct arena *arena)
{
	uint64_t max_atomic = fixture_stats(arena->fx).max_atomic_bytes;

	for (uint32_t number = 1; number <= WRITES_MAX && number <= arena->diary->begun; number++) {
		const struct entry *entry = &arena->diary->entries[number];
		bool returned = entry->end != 0;

		if (!returned && (entry->begin == 0 || entry->sectors * (uint64_t)SECTOR > max_atomic ||
				  !is_shown(arena, entry, number)))
			continue;
		for (uint32_t i = 0; i < entry->sectors; i++)
			ck_assert_msg(!is_older(arena, entry->sector + i, entry), "%s, yet sector %u shows %u, not %u",
				      returned ? "K2: the write returned" : "K3: the write is there in part",
				      entry->sector + i, arena->present[entry->sector + i], number);
	}
}

/* The cache is open. */
static void check_all(struct arena *arena)
{
	find_present(arena);
	check_entries(arena);
	fixture_check_all(arena->fx);
	if (test_random_below(&arena->random, 3) > 0)
		return;
	fixture_drain(arena->fx);
	fixture_check_backing(arena->fx);
	fixture_check_all(arena->fx);
}

static void arena_free(struct arena *arena)
{
	fixture_free(arena->fx);
	munmap(arena->diary, sizeof(*arena->diary));
	free(arena->before);
	free(arena->present);
	free(arena);
}

/* At most so many writes return before the kill. */
static uint32_t usual_writes(void)
{
	return media_is_slow() ? 80 : 300;
}

static void run_rounds(struct arena *arena, unsigned rounds, uint32_t most)
{
	for (unsigned i = 0; i < rounds; i++) {
		write_and_kill(arena, most);
		fixture_open(arena->fx, 0);
		check_all(arena);
		fixture_close(arena->fx, 0);
	}
}

START_TEST(kill_while_writing_loses_nothing_that_returned)
{
	static const struct { uint64_t cache_bytes, segment_bytes; } sizes[] = {
		{ CACHE_LEAST, SEGMENT_SMALL }, { 2 * MIB, SEGMENT_SMALL }, { 32 * MIB, MIB },
	};
	struct arena *arena = arena_make(sizes[_i].cache_bytes, sizes[_i].segment_bytes, 4);

	run_rounds(arena, scaled(6), usual_writes());
	arena_free(arena);
}
END_TEST

/* The log is nearly empty: the first lines of the first segment. */
START_TEST(kill_after_few_writes_loses_nothing_that_returned)
{
	struct arena *arena = arena_make(MIB, SEGMENT_SMALL, 2);

	run_rounds(arena, scaled(6), 5);
	arena_free(arena);
}
END_TEST

/* The long run in small: one writer, random places, a flush after each. */
START_TEST(kill_while_flushing_each_write_loses_nothing_that_returned)
{
	struct arena *arena = arena_make(4 * MIB, 256 * KIB, 1);

	arena->flush_each = true;
	run_rounds(arena, scaled(6), usual_writes());
	arena_free(arena);
}
END_TEST

/* A child that opens is killed somewhere on its way, often before it is done; then another one. */
static void kill_in_recovery(struct arena *arena, uint64_t open_us)
{
	pid_t child;

	arena->diary->stage = 0;
	child = fork();
	if (child == 0)
		child_recover(arena);
	while (arena->diary->stage == 0) {
		check_alive(arena, child);
		slow_down(10);
	}
	slow_down((unsigned)test_random_below(&arena->random, open_us + open_us / 4 + 1));
	kill_and_reap(arena, child);
}

START_TEST(kill_in_recovery_loses_nothing_that_returned)
{
	struct arena *arena = arena_make(_i == 0 ? 16 * MIB : MIB, _i == 0 ? 256 * KIB : SEGMENT_SMALL, 4);
	uint64_t open_us = 1000;

	fixture_keep_dirty(arena->fx); /* so that there is much to recover */
	for (unsigned i = 0; i < scaled(6); i++) {
		write_and_kill(arena, usual_writes());
		for (unsigned again = 0; again < 4; again++)
			kill_in_recovery(arena, open_us);
		fixture_open(arena->fx, 0);
		open_us = fixture_stats(arena->fx).open_ns / 1000;
		check_all(arena);
		fixture_close(arena->fx, 0);
	}
	arena_free(arena);
}
END_TEST

static void child_create(struct arena *arena)
{
	arena->diary->stage = 1;
	if (fixture_try_open(arena->fx, PCACHE_OPEN_CREATE) < 0)
		_exit(1);
	arena->diary->stage = 2;
	for (;;)
		pause();
}

/* Half a cache is blank, and is made anew, or a whole one. Nobody has to remove it by hand. */
START_TEST(kill_in_create_leaves_what_create_can_open)
{
	struct arena *arena = arena_make(MIB, SEGMENT_SMALL, 1);
	struct fixture *fx = arena->fx;
	uint64_t open_us = 1000;

	for (unsigned i = 0; i < scaled(24); i++) {
		pid_t child;

		unlink(fx->cache_path);
		arena->diary->stage = 0;
		child = fork();
		if (child == 0)
			child_create(arena);
		while (arena->diary->stage == 0)
			slow_down(1);
		slow_down((unsigned)test_random_below(&arena->random, open_us + 1));
		kill_and_reap(arena, child);
		fixture_open(fx, PCACHE_OPEN_CREATE);
		if (i == 0 || fixture_stats(fx).open_ns / 1000 > open_us)
			open_us = fixture_stats(fx).open_ns / 1000;
		fixture_check_all(fx);
		fixture_close(fx, 0);
	}
	arena_free(arena);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("kill");
	TCase *tests = test_case(suite, "kill");

	tcase_add_loop_test(tests, kill_while_writing_loses_nothing_that_returned, 0, 3);
	tcase_add_test(tests, kill_after_few_writes_loses_nothing_that_returned);
	tcase_add_test(tests, kill_while_flushing_each_write_loses_nothing_that_returned);
	tcase_add_loop_test(tests, kill_in_recovery_loses_nothing_that_returned, 0, 2);
	tcase_add_test(tests, kill_in_create_leaves_what_create_can_open);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
