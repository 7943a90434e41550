/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_sigbus.c - pages of the media that cannot be read: a real SIGBUS in the middle of a call, handled by the program
 * with pcache_handle_sigbus().
 *
 * Goal: the call gets -EIO, and so does every later one that needs the page; all other data is read; nothing wrong is ever
 * read or written back; addresses that are not the library's are left to the program.
 *
 * Method: userfaultfd poisons a page of the mapping, which /proc/self/maps shows (kernel 6.6; else all is skipped). Only
 * the mapping is poisoned, the file is as it was: after the next open everything has to be there. The cache is on tmpfs,
 * the only file system where this can be done.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define VOLUME_BYTES MIB
#define BLOCK        4096u
#define PAGE         4096u
#define READERS      4u

/* Newer than some headers. */
struct poison_request {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define POISON_IOCTL   _IOWR(UFFDIO, 0x08, struct poison_request)
#define POISON_FEATURE ((uint64_t)1 << 14)

/* ---- the program's handler ---- */

static _Atomic unsigned handled;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (pcache_handle_sigbus(info->si_addr) == 1)
		handled++;
	else
		signal(number, SIG_DFL); /* the access is tried again, and that is the end */
}

static void install_handler(void)
{
	const struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

/* ---- bad pages ---- */

static int poison_fd = -1; /* what it did stays as long as it is open */

static bool can_poison(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = POISON_FEATURE | UFFD_FEATURE_MISSING_SHMEM };

	poison_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	return poison_fd >= 0 && ioctl(poison_fd, UFFDIO_API, &api) == 0;
}

static void poison_page(void *page)
{
	static bool is_ready;
	struct uffdio_register range = {
		.range = { (uintptr_t)page, PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct poison_request poison = { .range = { (uintptr_t)page, PAGE } };

	/* Each case is a process of its own, with memory of its own. */
	is_ready = is_ready || can_poison();
	ck_assert(is_ready);
	ck_assert_int_eq(madvise(page, PAGE, MADV_DONTNEED), 0); /* the file keeps it */
	ck_assert_msg(ioctl(poison_fd, UFFDIO_REGISTER, &range) == 0, "register: %s", strerror(errno));
	ck_assert_msg(ioctl(poison_fd, POISON_IOCTL, &poison) == 0, "poison: %s", strerror(errno));
}

/* Where this byte of the file is mapped; NULL: nowhere. */
static uint8_t *address_of(const char *path, uint64_t file_off)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	uint8_t *found = NULL;
	char line[PATH_BYTES + 200];

	ck_assert_ptr_nonnull(maps);
	while (found == NULL && fgets(line, sizeof(line), maps) != NULL) {
		unsigned long from;
		unsigned long to;
		unsigned long off;

		if (strstr(line, path) == NULL || sscanf(line, "%lx-%lx %*s %lx", &from, &to, &off) != 3)
			continue;
		if (file_off >= off && file_off - off < to - from)
			found = (uint8_t *)from + (file_off - off);
	}
	fclose(maps);
	return found;
}

static uint64_t place_of_block(struct fixture *fx, unsigned block)
{
	uint64_t place = file_find(fx->cache_path, fx->model + block * BLOCK, BLOCK);

	ck_assert_uint_ne(place, UINT64_MAX);
	return place;
}

/* The page with the block's first byte. Returns its offset in the file. */
static uint64_t poison_block(struct fixture *fx, unsigned block)
{
	uint64_t page = place_of_block(fx, block) / PAGE * PAGE;

	poison_page(address_of(fx->cache_path, page));
	return page;
}

/* ---- fixture ---- */

/* DIRTY_BLOCKS blocks are cached, checked, and dirty. */
static struct fixture *make_cached(void)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);

	install_handler();
	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < DIRTY_BLOCKS; i++)
		fixture_write(fx, i * BLOCK, BLOCK);
	fixture_check_all(fx);
	return fx;
}

static bool is_on_page(struct fixture *fx, unsigned block, uint64_t page)
{
	uint64_t place = place_of_block(fx, block);

	return place < page + PAGE && page < place + BLOCK;
}

static ssize_t read_block(struct fixture *fx, unsigned block)
{
	return pcache_read(fx->cache, fx->scratch, BLOCK, block * BLOCK, 0);
}

/* Blocks on the page: -EIO; all others as they are. Returns how many have an error. */
static unsigned check_blocks(struct fixture *fx, uint64_t page)
{
	unsigned errors = 0;

	for (unsigned i = 0; i < DIRTY_BLOCKS; i++) {
		ssize_t ret = read_block(fx, i);

		if (is_on_page(fx, i, page)) {
			ck_assert_int_eq(ret, -EIO);
			errors++;
			continue;
		}
		ck_assert_int_eq(ret, BLOCK);
		ck_assert(memcmp(fx->scratch, fx->model + i * BLOCK, BLOCK) == 0);
	}
	return errors;
}

/* ---- reading ---- */

START_TEST(cached_read_of_bad_page_gives_eio_and_others_go_on)
{
	struct fixture *fx = make_cached();
	uint64_t page = poison_block(fx, 20);
	unsigned errors = fx->log_errors;

	ck_assert_int_eq(read_block(fx, 20), -EIO);
	ck_assert_uint_eq(handled, 1);
	ck_assert_uint_eq(fx->log_errors, errors + 1);
	ck_assert_int_eq(pcache_read(fx->cache, fx->scratch, 3 * BLOCK, 19 * BLOCK, 0), -EIO);
	ck_assert_uint_ge(check_blocks(fx, page), 1);
	ck_assert_uint_eq(handled, 1); /* no page is hit twice */
	ck_assert_uint_eq(fixture_stats(fx).state, PCACHE_STATE_OK);
	fixture_write(fx, 100 * BLOCK, BLOCK);
	fixture_check(fx, 100 * BLOCK, 2 * BLOCK);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(data_of_bad_page_written_anew_is_read_again)
{
	struct fixture *fx = make_cached();

	poison_block(fx, 20);
	ck_assert_int_eq(read_block(fx, 20), -EIO);
	for (unsigned i = 18; i < 23; i++)
		fixture_write(fx, i * BLOCK, BLOCK);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

struct reader {
	struct fixture *fx;
	pthread_barrier_t *start;
	pthread_t thread;
	ssize_t ret;
	uint8_t buf[BLOCK];
};

static void *run_reader(void *arg)
{
	struct reader *reader = arg;

	pthread_barrier_wait(reader->start);
	reader->ret = pcache_read(reader->fx->cache, reader->buf, BLOCK, 20 * BLOCK, 0);
	return NULL;
}

START_TEST(readers_of_one_bad_page_at_once_all_get_eio)
{
	struct fixture *fx = make_cached();
	struct reader readers[READERS];
	pthread_barrier_t start;

	poison_block(fx, 20);
	ck_assert_int_eq(pthread_barrier_init(&start, NULL, READERS), 0);
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .fx = fx, .start = &start };
		ck_assert_int_eq(pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]), 0);
	}
	for (unsigned i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		ck_assert_int_eq(readers[i].ret, -EIO);
	}
	ck_assert_uint_ge(handled, 1);
	pthread_barrier_destroy(&start);
	fixture_free(fx);
}
END_TEST

/* More than are told apart: then everything may be refused, but nothing is wrong. */
START_TEST(very_many_bad_pages_give_errors_and_never_wrong_data)
{
	struct fixture *fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	const unsigned blocks = 150;

	install_handler();
	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < blocks; i++)
		fixture_write(fx, i * BLOCK, BLOCK);
	for (unsigned i = 0; i < blocks; i += 2)
		poison_block(fx, i);
	for (unsigned i = 0; i < blocks; i++) {
		ssize_t ret = read_block(fx, i);

		ck_assert(ret == -EIO || ret == BLOCK);
		ck_assert(i % 2 == 1 || ret == -EIO);
		ck_assert(ret < 0 || memcmp(fx->scratch, fx->model + i * BLOCK, BLOCK) == 0);
	}
	ck_assert_uint_gt(handled, 64);
	for (unsigned i = 0; i < blocks; i++)
		ck_assert_int_eq(read_block(fx, i), -EIO);
	ck_assert_int_eq(pcache_close(fx->cache, 0), -EIO); /* its records count as lost, too */
	fx->cache = NULL;
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* ---- writing ---- */

/* Zeroes that stand in for the page never reach the backing. */
START_TEST(drain_with_bad_page_gives_eio_and_next_open_has_all)
{
	struct fixture *fx = make_cached();
	uint8_t block[BLOCK];

	poison_block(fx, 20);
	ck_assert_int_eq(read_block(fx, 20), -EIO);
	ck_assert_int_eq(pcache_drain(fx->cache, NULL, NULL, 0), -EIO);
	ck_assert_int_eq(pread(fx->fd, block, BLOCK, 20 * BLOCK), BLOCK);
	for (unsigned i = 0; i < BLOCK; i += 512)
		ck_assert(block[i] != 0 || block[i + 1] != 0 || block[i + 2] != 0 || block[i + 3] != 0);
	fixture_close(fx, 0);
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}
END_TEST

/* Stores to a mapping; on page granularity they are system calls. */
START_TEST(write_that_hits_bad_page_fails_the_media)
{
	struct fixture *fx = make_cached();
	uint64_t page = place_of_block(fx, DIRTY_BLOCKS - 1) / PAGE * PAGE + 2 * PAGE;
	ssize_t ret = BLOCK;

	if (media_is_slow()) {
		fprintf(stderr, "# page granularity stores nothing to a mapping\n");
		fixture_free(fx);
		return;
	}
	poison_page(address_of(fx->cache_path, page));
	test_random_fill(&fx->random, fx->scratch, BLOCK);
	for (unsigned i = 0; i < 4 && ret == BLOCK; i++) {
		ret = pcache_write(fx->cache, fx->scratch, BLOCK, (100 + i) * BLOCK, 0);
		if (ret == BLOCK)
			memcpy(fx->model + (100 + i) * BLOCK, fx->scratch, BLOCK);
	}
	ck_assert_int_eq(ret, -EIO);
	ck_assert_uint_eq(handled, 1);
	ck_assert_uint_eq(fixture_stats(fx).state, PCACHE_STATE_FAILED);
	fixture_check_all(fx); /* what was written before is still read */
	ck_assert_int_eq(pcache_close(fx->cache, 0), -EIO);
	fx->cache = NULL;
	fixture_open(fx, 0);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

/* ---- whose address it is ---- */

START_TEST(address_is_known_only_while_its_cache_is_open)
{
	struct fixture *fx = make_cached();
	uint8_t *inside = address_of(fx->cache_path, place_of_block(fx, 20));
	pid_t child;

	errno = EXDEV;
	ck_assert_int_eq(pcache_handle_sigbus(NULL), 0);
	ck_assert_int_eq(pcache_handle_sigbus(fx), 0);
	ck_assert_int_eq(pcache_handle_sigbus((void *)(uintptr_t)-1), 0);
	child = fork();
	if (child == 0)
		_exit(pcache_handle_sigbus(inside)); /* the mapping is its parent's */
	ck_assert(child_succeeded(child));
	errno = EXDEV;
	fixture_check_all(fx);
	ck_assert_int_eq(pcache_handle_sigbus(inside), 1);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_int_eq(read_block(fx, 20), -EIO);
	fixture_close(fx, 0);
	ck_assert_int_eq(pcache_handle_sigbus(inside), 0);
	fixture_free(fx);
}
END_TEST

START_TEST(bad_page_of_one_cache_leaves_another_alone)
{
	struct fixture *one = make_cached();
	struct fixture *other = make_cached();

	poison_block(one, 20);
	ck_assert_int_eq(read_block(one, 20), -EIO);
	fixture_check_all(other);
	fixture_close(one, 0);
	poison_block(other, 7);
	ck_assert_int_eq(read_block(other, 7), -EIO);
	fixture_open(one, 0);
	fixture_check_all(one); /* by system calls; from now on it is read from the mapping */
	poison_block(one, 40);
	ck_assert_int_eq(read_block(one, 40), -EIO);
	ck_assert_int_eq(read_block(one, 20), BLOCK); /* of its former mapping nothing is left */
	ck_assert_uint_eq(handled, 3);
	fixture_free(one);
	fixture_free(other);
}
END_TEST

/* Ends by the signal. */
START_TEST(bad_page_of_something_else_is_left_to_the_program)
{
	struct fixture *fx = make_cached();
	volatile uint8_t *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fx->fd, (off_t)fx->bytes);

	ck_assert(page != MAP_FAILED);
	(void)page[0]; /* behind the end of the file */
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("sigbus");
	TCase *tests = test_case(suite, "sigbus");

	tcase_add_test(tests, cached_read_of_bad_page_gives_eio_and_others_go_on);
	tcase_add_test(tests, data_of_bad_page_written_anew_is_read_again);
	tcase_add_test(tests, readers_of_one_bad_page_at_once_all_get_eio);
	tcase_add_test(tests, very_many_bad_pages_give_errors_and_never_wrong_data);
	tcase_add_test(tests, drain_with_bad_page_gives_eio_and_next_open_has_all);
	tcase_add_test(tests, write_that_hits_bad_page_fails_the_media);
	tcase_add_test(tests, address_is_known_only_while_its_cache_is_open);
	tcase_add_test(tests, bad_page_of_one_cache_leaves_another_alone);
	tcase_add_test_raise_signal(tests, bad_page_of_something_else_is_left_to_the_program, SIGBUS);
	return suite;
}

int main(void)
{
	if (!can_poison()) {
		printf("1..0 # SKIP this kernel poisons no pages for us (userfaultfd): %s\n", strerror(errno));
		return 0;
	}
	close(poison_fd);
	setenv("PC_TEST_CACHE_DIR", "/dev/shm", 1);
	return test_main(make_suite());
}
