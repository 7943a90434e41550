/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_peek.c - the statistics in the cache file, seen from outside.
 *
 * Method: a cache of this process or of a child is looked at by path, while it is open, after a close, after a kill; files
 * that are no cache, or have no whole page. Where something shows a while later, the test looks until it does.
 */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VOLUME_BYTES (4 * MIB)
#define BLOCK        4096u
#define PAGE_OFF     81920u
#define CEILING_MS   60000u

struct seen {
	struct pcache_stats stats;
	struct pcache_peek peek;
};

static int peek(const struct fixture *fx, struct seen *ret_seen)
{
	*ret_seen = (struct seen){ .stats.size = sizeof(ret_seen->stats), .peek.size = sizeof(ret_seen->peek) };
	return pcache_stats_peek(fx->cache_path, &ret_seen->stats, &ret_seen->peek);
}

static struct seen must_peek(const struct fixture *fx)
{
	struct seen seen;

	ck_assert_int_eq(peek(fx, &seen), 0);
	return seen;
}

START_TEST(closed_cache_shows_its_last_figures)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct pcache_stats last;
	struct seen seen;
	struct picture picture;

	for (unsigned i = 0; i < 30; i++)
		fixture_write(fx, i * BLOCK, BLOCK);
	fixture_check(fx, MIB, BLOCK);
	last = fixture_stats(fx);
	fixture_close(fx, PCACHE_CLOSE_DRAIN);
	picture = picture_take(fx->cache_path);
	seen = must_peek(fx);
	ck_assert_uint_eq(seen.peek.is_open, 0);
	ck_assert_uint_eq(seen.peek.is_closed, 1);
	ck_assert_uint_eq(seen.peek.pid, (uint32_t)getpid());
	ck_assert_uint_eq(seen.stats.size, sizeof(seen.stats));
	ck_assert_uint_eq(seen.stats.writes, last.writes);
	ck_assert_uint_eq(seen.stats.write_bytes, last.write_bytes);
	ck_assert_uint_eq(seen.stats.read_misses, 1);
	ck_assert_uint_eq(seen.stats.dirty_bytes, 0);
	ck_assert_uint_eq(seen.stats.epoch, last.epoch);
	ck_assert_uint_eq(seen.peek.times[PCACHE_LATENCY_READ_MISS].count, 1);
	ck_assert_uint_gt(seen.peek.times[PCACHE_LATENCY_READ_MISS].p50_ns, 0);
	ck_assert(picture_is_same(fx->cache_path, &picture));
	picture_free(&picture);
	fixture_free(fx);
}
END_TEST

/* Looks until the page has as many writes, or this one page has been there for too long. */
static struct seen await_writes(const struct fixture *fx, uint64_t writes)
{
	struct seen seen = must_peek(fx);

	for (unsigned ms = 0; seen.stats.writes < writes; ms++) {
		ck_assert_msg(ms < CEILING_MS, "never shown");
		slow_down(1000);
		seen = must_peek(fx);
	}
	return seen;
}

START_TEST(open_cache_shows_what_was_done)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct seen first = must_peek(fx); /* there from the beginning */
	struct seen seen;

	ck_assert_uint_eq(first.peek.is_open, 1);
	ck_assert_uint_eq(first.peek.is_closed, 0);
	ck_assert_uint_eq(first.stats.writes, 0);
	for (unsigned i = 0; i < 200; i++)
		fixture_write(fx, i % 50 * BLOCK, BLOCK);
	seen = await_writes(fx, 1);
	ck_assert_uint_ge(seen.peek.written_ns, first.peek.written_ns);
	seen = await_writes(fx, 200); /* what came just after the page that showed the first ones is not forgotten */
	ck_assert_uint_eq(seen.stats.writes, 200);
	ck_assert_uint_eq(seen.peek.is_open, 1);
	ck_assert(memcmp(seen.peek.uuid, first.peek.uuid, sizeof(first.peek.uuid)) == 0);
	fixture_free(fx);
}
END_TEST

static void write_and_wait_for_death(struct fixture *fx, int fd)
{
	fixture_open(fx, 0);
	fixture_write(fx, 0, BLOCK);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	for (;;)
		pause();
}

START_TEST(killed_process_leaves_figures_that_say_so)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct seen seen;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	fixture_close(fx, 0);
	ck_assert_int_eq(pipe(pipe_fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		write_and_wait_for_death(fx, pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	seen = must_peek(fx);
	ck_assert_uint_eq(seen.peek.is_open, 1);
	ck_assert_uint_eq(seen.peek.pid, (uint32_t)pid);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	seen = must_peek(fx);
	ck_assert_uint_eq(seen.peek.is_open, 0);
	ck_assert_uint_eq(seen.peek.is_closed, 0);
	ck_assert_uint_eq(seen.peek.pid, (uint32_t)pid);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	fixture_open(fx, 0);
	fixture_close(fx, 0);
	fixture_free(fx);
}
END_TEST

START_TEST(reading_changes_no_page)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct picture picture;

	fixture_close(fx, 0);
	picture = picture_take(fx->cache_path);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	fixture_check(fx, 0, MIB);
	ck_assert_uint_eq(must_peek(fx).peek.is_open, 0); /* for writing */
	fixture_close(fx, 0);
	ck_assert(picture_is_same(fx->cache_path, &picture));
	picture_free(&picture);
	fixture_free(fx);
}
END_TEST

/* One page torn: the other one, a little older. Both: none. Neither keeps the cache from working. */
START_TEST(torn_page_gives_way_to_the_other)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct seen before;
	struct seen seen;

	fixture_close(fx, 0);
	before = must_peek(fx);
	file_flip(fx->cache_path, PAGE_OFF + 100);
	ck_assert_int_eq(peek(fx, &seen), 0);
	file_flip(fx->cache_path, PAGE_OFF + 4096 + 1000);
	ck_assert_int_eq(peek(fx, &seen), -ENODATA);
	file_flip(fx->cache_path, PAGE_OFF + 100);
	seen = must_peek(fx);
	ck_assert_uint_le(seen.peek.written_ns, before.peek.written_ns);
	fixture_open(fx, 0);
	fixture_write(fx, 0, BLOCK);
	fixture_close(fx, 0);
	ck_assert_uint_eq(must_peek(fx).stats.writes, 1);
	fixture_free(fx);
}
END_TEST

/* Cut anywhere in what is read: an error, never a signal, and nothing is filled in. */
START_TEST(truncated_file_gives_an_error)
{
	static const off_t sizes[] = { 0, 1, 4095, 4096, 65536, PAGE_OFF - 1, PAGE_OFF, PAGE_OFF + 4095 };
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct picture picture;

	fixture_close(fx, 0);
	picture = picture_take(fx->cache_path);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct seen seen = { .stats.size = sizeof(seen.stats), .stats.writes = 77, .peek.size = sizeof(seen.peek) };

		ck_assert_int_eq(truncate(fx->cache_path, sizes[i]), 0);
		ck_assert_int_lt(pcache_stats_peek(fx->cache_path, &seen.stats, &seen.peek), 0);
		ck_assert_uint_eq(seen.stats.writes, 77);
		file_make(fx->cache_path, picture.content, picture.bytes);
	}
	must_peek(fx);
	picture_free(&picture);
	fixture_free(fx);
}
END_TEST

START_TEST(what_is_no_cache_is_refused)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	struct seen seen = must_peek(fx);

	ck_assert_int_eq(pcache_stats_peek(fx->backing_path, &seen.stats, &seen.peek), -EUCLEAN);
	ck_assert_int_eq(pcache_stats_peek("/dev/null", &seen.stats, &seen.peek), -EINVAL);
	ck_assert_int_eq(pcache_stats_peek("/nowhere/cache", &seen.stats, &seen.peek), -ENOENT);
	ck_assert_int_eq(pcache_stats_peek(NULL, &seen.stats, &seen.peek), -EINVAL);
	ck_assert_int_eq(pcache_stats_peek(fx->cache_path, NULL, &seen.peek), -EINVAL);
	ck_assert_int_eq(pcache_stats_peek(fx->cache_path, &seen.stats, NULL), -EINVAL);
	seen.peek.size--;
	ck_assert_int_eq(pcache_stats_peek(fx->cache_path, &seen.stats, &seen.peek), -EINVAL);
	seen.peek.size++;
	seen.stats.size = 8;
	ck_assert_int_eq(pcache_stats_peek(fx->cache_path, &seen.stats, &seen.peek), -EINVAL);
	fixture_free(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("peek");
	TCase *tests = test_case(suite, "peek");

	tcase_add_test(tests, closed_cache_shows_its_last_figures);
	tcase_add_test(tests, open_cache_shows_what_was_done);
	tcase_add_test(tests, killed_process_leaves_figures_that_say_so);
	tcase_add_test(tests, reading_changes_no_page);
	tcase_add_test(tests, torn_page_gives_way_to_the_other);
	tcase_add_test(tests, truncated_file_gives_an_error);
	tcase_add_test(tests, what_is_no_cache_is_refused);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
