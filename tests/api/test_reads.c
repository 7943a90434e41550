/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_reads.c - read misses: who reads the backing, how often, and what is kept of it.
 *
 * Method: the program's own pread64() stands before libc's, so that reads of the backing are counted, can be held up in the
 * middle, and can fail. All else is through the public header.
 */
#undef _FORTIFY_SOURCE /* it would define a pread64 of its own */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VOLUME_BYTES (4 * MIB)
#define READERS      8u
#define CEILING_MS   100000u

/* ---- reads of the backing ---- */

static struct {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;
	ino_t inode; /* of the backing; 0: nothing is watched */
	uint64_t hold_off;
	uint64_t hold_len; /* reads of this range wait when they have their bytes, which grow old; 0: none */
	unsigned held;
	unsigned count;
	int error;
} backing = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static bool is_backing(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && status.st_ino == backing.inode;
}

__attribute__((visibility("default"))) ssize_t pread64(int fd, void *buf, size_t len, off64_t off)
{
	ssize_t ret = syscall(SYS_pread64, fd, buf, len, off);
	int error = 0;

	if (is_backing(fd)) {
		pthread_mutex_lock(&backing.lock);
		backing.count++;
		backing.held++;
		while (backing.hold_len > 0 && (uint64_t)off < backing.hold_off + backing.hold_len &&
		       backing.hold_off < (uint64_t)off + len)
			pthread_cond_wait(&backing.wake, &backing.lock);
		backing.held--;
		error = backing.error;
		pthread_mutex_unlock(&backing.lock);
	}
	if (error != 0) {
		errno = error;
		return -1;
	}
	return ret;
}

static void watch(const struct fixture *fx)
{
	struct stat status;

	ck_assert_int_eq(fstat(fx->fd, &status), 0);
	pthread_mutex_lock(&backing.lock);
	backing.inode = status.st_ino;
	backing.count = 0;
	pthread_mutex_unlock(&backing.lock);
}

static void hold(uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&backing.lock);
	backing.hold_off = off;
	backing.hold_len = len;
	pthread_cond_broadcast(&backing.wake);
	pthread_mutex_unlock(&backing.lock);
}

static void fail_with(int error)
{
	pthread_mutex_lock(&backing.lock);
	backing.error = error;
	pthread_mutex_unlock(&backing.lock);
}

static unsigned reads_so_far(void)
{
	unsigned count;

	pthread_mutex_lock(&backing.lock);
	count = backing.count;
	pthread_mutex_unlock(&backing.lock);
	return count;
}

static unsigned held(void)
{
	unsigned count;

	pthread_mutex_lock(&backing.lock);
	count = backing.held;
	pthread_mutex_unlock(&backing.lock);
	return count;
}

static void wait_until_held(unsigned count)
{
	unsigned waited_ms = 0;

	for (; held() < count && waited_ms < CEILING_MS; waited_ms++)
		slow_down(1000);
	ck_assert_msg(waited_ms < CEILING_MS, "never %u reads of the backing", count);
}

static struct fixture *make_volume(uint64_t cache_bytes)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, cache_bytes, SEGMENT_SMALL);

	watch(fx);
	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_READ_AHEAD, 0), 0);
	return fx;
}

/* ---- readers at the same time ---- */

struct reader {
	pthread_t thread;
	struct fixture *fx;
	uint64_t off;
	ssize_t ret;
	uint8_t data[4096];
};

static _Atomic unsigned entered;

static void *read_block(void *arg)
{
	struct reader *reader = arg;

	atomic_fetch_add(&entered, 1);
	reader->ret = pcache_read(reader->fx->cache, reader->data, sizeof(reader->data), reader->off, 0);
	return NULL;
}

static void start_reader(struct reader *reader, struct fixture *fx, uint64_t off)
{
	reader->fx = fx;
	reader->off = off;
	ck_assert_int_eq(pthread_create(&reader->thread, NULL, read_block, reader), 0);
}

/* The first one is held up in the backing; the others are on their way, as far as they get. */
static void start_readers(struct reader *readers, struct fixture *fx, uint64_t off)
{
	atomic_store(&entered, 0);
	hold(off, 4096);
	for (unsigned i = 0; i < READERS; i++)
		start_reader(&readers[i], fx, off);
	wait_until_held(1);
	while (atomic_load(&entered) < READERS)
		slow_down(1000);
	slow_down(5000);
}

static void join_readers(struct reader *readers)
{
	for (unsigned i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_join(readers[i].thread, NULL), 0);
}

/* Whoever comes too late for sharing finds it in the cache: one read in either case. */
START_TEST(readers_of_one_missing_block_make_one_backing_read)
{
	struct fixture *fx = make_volume(CACHE_SMALL);
	struct reader readers[READERS];
	uint64_t shared = 0;
	unsigned round = 0;

	for (; round < 50 && (round < 5 || shared == 0); round++) {
		uint64_t off = round * 5 * 4096;
		unsigned before = reads_so_far();

		start_readers(readers, fx, off);
		hold(0, 0);
		join_readers(readers);
		for (unsigned i = 0; i < READERS; i++) {
			ck_assert_int_eq(readers[i].ret, 4096);
			ck_assert_mem_eq(readers[i].data, fx->model + off, 4096);
		}
		ck_assert_uint_eq(reads_so_far(), before + 1);
		shared = fixture_stats(fx).shared_misses;
	}
	ck_assert_uint_gt(shared, 0);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, round * 4096u);
	fixture_free(fx);
}
END_TEST

START_TEST(readers_of_one_missing_block_all_hear_of_an_error)
{
	struct fixture *fx = make_volume(CACHE_SMALL);
	struct reader readers[READERS];

	start_readers(readers, fx, 8192);
	fail_with(EIO);
	hold(0, 0);
	join_readers(readers);
	fail_with(0);
	for (unsigned i = 0; i < READERS; i++)
		ck_assert_int_eq(readers[i].ret, -EIO);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* Neither hits nor other misses nor writes wait for a backing that does not answer. */
START_TEST(miss_that_takes_long_holds_up_nobody_else)
{
	struct fixture *fx = make_volume(CACHE_SMALL);
	struct reader reader;

	fixture_check(fx, 0, 4096);
	hold(64 * KIB, 4096);
	start_reader(&reader, fx, 64 * KIB);
	wait_until_held(1);
	fixture_check(fx, 0, 4096);
	fixture_check(fx, 68 * KIB, 4096); /* the very neighbour */
	fixture_check(fx, MIB, 4096);
	fixture_write(fx, 72 * KIB, 4096);
	ck_assert_int_eq(pcache_flush(fx->cache, 0), 0);
	fixture_drain(fx);
	ck_assert_uint_eq(held(), 1);
	hold(0, 0);
	ck_assert_int_eq(pthread_join(reader.thread, NULL), 0);
	ck_assert_int_eq(reader.ret, 4096);
	ck_assert_mem_eq(reader.data, fx->model + 64 * KIB, 4096);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* What is at this block leaves the log, so that it is a hole again; and there is room to keep misses. */
static void push_out(struct fixture *fx, uint64_t off)
{
	unsigned waited_ms = 0;

	for (unsigned i = 0; i < 20; i++) {
		uint64_t other = test_random_below(&fx->random, VOLUME_BYTES / 65536) * 65536;

		if (other != off / 65536 * 65536)
			fixture_write(fx, other, 65536);
	}
	fixture_drain(fx);
	for (; fixture_stats(fx).segments_free <= 2 && waited_ms < CEILING_MS; waited_ms++)
		slow_down(1000);
	ck_assert_msg(waited_ms < CEILING_MS, "never three free segments");
}

/* Part or all of the block; on the backing by then or not: what the reader has is old, and must not be kept. */
START_TEST(write_during_a_miss_wins)
{
	struct fixture *fx = make_volume(CACHE_LEAST);

	for (unsigned round = 0; round < thinned(40); round++) {
		uint64_t off = test_random_below(&fx->random, VOLUME_BYTES / 4096) * 4096;
		size_t len = round % 2 == 0 ? 4096 : 700;
		struct reader reader;

		if (pcache_read(fx->cache, fx->scratch, 4096, off, PCACHE_NOWAIT) != -EAGAIN)
			continue;
		hold(off, 4096);
		start_reader(&reader, fx, off);
		wait_until_held(1);
		fixture_write(fx, off + (round % 3 == 0 ? 0 : 4096 - len), len);
		if (round % 4 >= 2)
			fixture_drain(fx);
		if (round % 4 == 3)
			push_out(fx, off);
		hold(0, 0);
		ck_assert_int_eq(pthread_join(reader.thread, NULL), 0);
		ck_assert_int_eq(reader.ret, 4096);
		fixture_check(fx, off, 4096);
		fixture_check(fx, off, 4096);
		if (round % 8 == 7)
			fixture_reopen(fx);
	}
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* ---- one reader ---- */

START_TEST(miss_is_read_from_the_backing_once)
{
	struct fixture *fx = make_volume(8 * MIB);

	fixture_check_all(fx);
	watch(fx);
	fixture_check_all(fx);
	ck_assert_uint_eq(reads_so_far(), 0);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, VOLUME_BYTES);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, VOLUME_BYTES);
	ck_assert_uint_gt(fixture_stats(fx).segments_fill, 0);
	fixture_reopen(fx);
	fixture_check_all(fx);
	ck_assert_uint_eq(reads_so_far(), 0);
	ck_assert_uint_eq(fixture_stats(fx).read_miss_bytes, 0);
	fixture_free(fx);
}
END_TEST

static void read_in_order(struct fixture *fx)
{
	for (uint64_t off = 0; off < VOLUME_BYTES; off += 4096)
		fixture_check(fx, off, 4096);
}

START_TEST(reader_in_order_needs_few_reads_of_the_backing)
{
	struct fixture *fx = make_volume(8 * MIB);
	unsigned blocks = VOLUME_BYTES / 4096;

	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_READ_AHEAD, 128 * KIB), 0);
	read_in_order(fx);
	ck_assert_uint_le(reads_so_far(), blocks / 20);
	ck_assert_uint_ge(fixture_stats(fx).read_ahead_bytes, VOLUME_BYTES / 2);
	ck_assert_uint_eq(fixture_stats(fx).read_ahead_bytes + fixture_stats(fx).read_miss_bytes, VOLUME_BYTES);
	fixture_free(fx);
}
END_TEST

START_TEST(reader_in_order_without_read_ahead_reads_what_it_asks_for)
{
	struct fixture *fx = make_volume(8 * MIB);

	read_in_order(fx);
	ck_assert_uint_eq(reads_so_far(), VOLUME_BYTES / 4096);
	ck_assert_uint_eq(fixture_stats(fx).read_ahead_bytes, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(nowait_read_never_touches_the_backing_and_keeps_nothing)
{
	struct fixture *fx = make_volume(CACHE_SMALL);

	for (uint64_t off = 0; off < 100 * 4096; off += 4096)
		ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 4096, off, PCACHE_NOWAIT), -EAGAIN);
	ck_assert_uint_eq(reads_so_far(), 0);
	ck_assert_uint_eq(fixture_stats(fx).fill_bytes, 0);
	ck_assert_uint_eq(fixture_stats(fx).cached_bytes, 0);
	fixture_check(fx, 4096, 4096);
	ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 4096, 4096, PCACHE_NOWAIT), 4096);
	ck_assert_mem_eq(fx->scratch, fx->model + 4096, 4096);
	fixture_free(fx);
}
END_TEST

/* More than the cache holds, again and again; some of it more often than the rest: that stays. */
/* Until reclaim has caught up with us: it works above the default of gc_percent, and a miss without space is not kept. */
static void await_reclaim(struct fixture *fx)
{
	struct pcache_stats stats = fixture_stats(fx);

	for (unsigned ms = 0; (stats.segments - stats.segments_free) * 100 > stats.segments * 70 && ms < CEILING_MS; ms++) {
		usleep(1000);
		stats = fixture_stats(fx);
	}
}

START_TEST(what_is_read_often_stays)
{
	struct fixture *fx = make_volume(2 * MIB);
	uint64_t hot_bytes = 256 * KIB;
	uint64_t next = hot_bytes;
	struct pcache_stats stats;

	for (unsigned round = 0; round < 60; round++) {
		fixture_check(fx, 0, hot_bytes);
		for (unsigned i = 0; i < 64; i++, next += 4096) {
			if (next == VOLUME_BYTES)
				next = hot_bytes;
			fixture_check(fx, next, 4096);
		}
		await_reclaim(fx);
	}
	stats = fixture_stats(fx);
	ck_assert_uint_gt(stats.moved_bytes, 0);
	ck_assert_uint_gt(stats.segments_hot, 0);
	ck_assert_uint_gt(stats.segments_reclaimed, 0);
	/* What passes by is missed nearly always; the hot part hardly ever. */
	ck_assert_uint_le(stats.read_miss_bytes, 60 * 64 * 4096 + 60 * hot_bytes / 4);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* ---- decay ---- */

START_TEST(kept_data_that_decayed_is_read_from_the_backing)
{
	struct fixture *fx = make_volume(CACHE_SMALL);
	uint64_t off;

	fixture_check(fx, 40960, 8192);
	fixture_close(fx, 0);
	off = file_find(fx->cache_path, fx->model + 40960, 4096);
	ck_assert_uint_ne(off, UINT64_MAX);
	file_flip(fx->cache_path, off + 100);
	fixture_open(fx, 0);
	watch(fx);
	fixture_check(fx, 40960 + 2000, 10);
	ck_assert_uint_eq(reads_so_far(), 1);
	ck_assert_uint_eq(fixture_stats(fx).clean_errors, 1);
	ck_assert_uint_eq(fixture_stats(fx).checksum_errors, 0);
	ck_assert_uint_eq(fixture_stats(fx).state, PCACHE_STATE_OK);
	fixture_check(fx, 40960, 8192);
	ck_assert_uint_eq(reads_so_far(), 1);
	fixture_close(fx, 0);
	file_flip(fx->cache_path, off + 100); /* good again, and dead all the same */
	fixture_open(fx, 0);
	fixture_check_all(fx);
	ck_assert_uint_eq(fixture_stats(fx).clean_errors, 0);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("reads");
	TCase *tests = test_case(suite, "reads");

	tcase_add_test(tests, readers_of_one_missing_block_make_one_backing_read);
	tcase_add_test(tests, readers_of_one_missing_block_all_hear_of_an_error);
	tcase_add_test(tests, miss_that_takes_long_holds_up_nobody_else);
	tcase_add_test(tests, write_during_a_miss_wins);
	tcase_add_test(tests, miss_is_read_from_the_backing_once);
	tcase_add_test(tests, reader_in_order_needs_few_reads_of_the_backing);
	tcase_add_test(tests, reader_in_order_without_read_ahead_reads_what_it_asks_for);
	tcase_add_test(tests, nowait_read_never_touches_the_backing_and_keeps_nothing);
	tcase_add_test(tests, what_is_read_often_stays);
	tcase_add_test(tests, kept_data_that_decayed_is_read_from_the_backing);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
