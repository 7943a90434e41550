/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stall.c - a backing that does not answer for a while, with all threads at work.
 *
 * Goal: while it stalls nobody waits who need not: writers go on while there is space, what is cached is read, flush
 * and stats return, a full cache gives -EAGAIN to those who do not want to wait. Those who wait get on after it, and
 * nothing is lost. It may stall where requests are taken, where they complete, or in its sync.
 *
 * Method: the public interface on real files. The library's system calls for the backing are wrapped (--wrap); one of
 * them stops at a gate until the test opens it. That others wait is seen in the cache's own counts, never by time. With
 * a number of seconds as its argument, the program runs one stall that lasts so long.
 */
#include "unit/runner.h"

#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES 65536u
#define CACHE_BYTES   (640u * 1024) /* 8 segments */
#define VOLUME_BYTES  (2u << 20)
#define BLOCK_BYTES   4096u
#define BLOCKS        (VOLUME_BYTES / BLOCK_BYTES)
#define LOOK_MS       1
#define WRITERS       2u

/* ---- the gate ---- */

enum place { NOWHERE, AT_SUBMIT, AT_COMPLETION, AT_SYNC };

static const enum place places[] = { AT_SUBMIT, AT_COMPLETION, AT_SYNC };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	enum place shut;
	unsigned waiting;
	struct stat backing; /* of its syncs only, not those of the media */
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };

static void pass_gate(enum place place)
{
	pthread_mutex_lock(&gate.lock);
	gate.waiting++;
	pthread_cond_broadcast(&gate.moved);
	while (gate.shut == place)
		pthread_cond_wait(&gate.moved, &gate.lock);
	gate.waiting--;
	pthread_mutex_unlock(&gate.lock);
}

static void set_gate(enum place shut)
{
	pthread_mutex_lock(&gate.lock);
	gate.shut = shut;
	pthread_cond_broadcast(&gate.moved);
	pthread_mutex_unlock(&gate.lock);
}

static void await_stall(void)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.waiting == 0)
		pthread_cond_wait(&gate.moved, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

int __real_io_submit(io_context_t queue, long count, struct iocb **iocbs);
int __wrap_io_submit(io_context_t queue, long count, struct iocb **iocbs);
int __real_io_getevents(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout);
int __wrap_io_getevents(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_io_submit(io_context_t queue, long count, struct iocb **iocbs)
{
	pass_gate(AT_SUBMIT);
	return __real_io_submit(queue, count, iocbs);
}

int __wrap_io_getevents(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout)
{
	pass_gate(AT_COMPLETION);
	return __real_io_getevents(queue, least, most, events, timeout);
}

int __wrap_fdatasync(int fd)
{
	struct stat now;

	if (fstat(fd, &now) == 0 && now.st_dev == gate.backing.st_dev && now.st_ino == gate.backing.st_ino)
		pass_gate(AT_SYNC);
	return __real_fdatasync(fd);
}

/* ---- a cache, and what it must read as ---- */

static char cache_path[256];
static char backing_path[256];
static int fd;
static struct pcache *cache;
static uint8_t model[VOLUME_BYTES];
static uint8_t scratch[VOLUME_BYTES];
static uint32_t next_block;
static long stall_seconds;

static void make_path(char *path, size_t bytes, const char *variable, const char *other, const char *what)
{
	const char *dir = getenv(variable);

	snprintf(path, bytes, "%s/pcache-stall-%d.%s", dir != NULL ? dir : other, (int)getpid(), what);
}

static int try_open(void)
{
	struct pcache_config config;

	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE;
	config.cache_size_bytes = CACHE_BYTES;
	config.segment_size_bytes = SEGMENT_BYTES;
	config.batch_bytes = SEGMENT_BYTES;
	config.dirty_high_bytes = SEGMENT_BYTES;
	config.queue_depth = 4;
	config.backing_wait_ms = UINT32_MAX; /* nobody is told, but where a test says so */
	return pcache_open(cache_path, fd, &config, &cache);
}

static void open_cache(void)
{
	ck_assert_int_eq(try_open(), 0);
}

/* By the process that runs the cases, so that files also go after a failure. */
static void name_files(void)
{
	make_path(cache_path, sizeof(cache_path), "PC_TEST_CACHE_DIR", "/dev/shm", "cache");
	make_path(backing_path, sizeof(backing_path), "PC_TEST_DIR", "/var/tmp", "backing");
}

static void remove_files(void)
{
	unlink(cache_path);
	unlink(backing_path);
}

static void set_up(void)
{
	unlink(cache_path);
	fd = open(backing_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, VOLUME_BYTES), 0);
	ck_assert_int_eq(fstat(fd, &gate.backing), 0);
	memset(model, 0, sizeof(model));
	next_block = 0;
	open_cache();
}

/* Each block has a number of its own, and the next one goes elsewhere: also versions on versions. */
static uint32_t choose_block(uint8_t *buf)
{
	uint32_t number = ++next_block;

	for (uint32_t i = 0; i < BLOCK_BYTES; i += sizeof(number))
		memcpy(buf + i, &number, sizeof(number));
	return number * 37 % BLOCKS;
}

/* Block 0 is that of the writers that wait. */
static ssize_t write_next(void)
{
	uint8_t buf[BLOCK_BYTES];
	uint32_t block = choose_block(buf);
	uint64_t off = (uint64_t)(block == 0 ? 1 : block) * BLOCK_BYTES;
	ssize_t ret = pcache_write(cache, buf, sizeof(buf), off, PCACHE_NOWAIT);

	if (ret > 0)
		memcpy(model + off, buf, sizeof(buf));
	return ret;
}

static void check_reads(void)
{
	ck_assert_int_eq(pcache_read(cache, scratch, VOLUME_BYTES, 0, 0), VOLUME_BYTES);
	ck_assert(memcmp(scratch, model, VOLUME_BYTES) == 0);
}

/* ---- those who wait ---- */

struct waiter {
	pthread_t thread;
	_Atomic bool returned;
	ssize_t ret;
};

static void *write_block_zero(void *arg)
{
	struct waiter *waiter = arg;
	uint8_t buf[BLOCK_BYTES];

	memset(buf, 0xa5, sizeof(buf));
	waiter->ret = pcache_write(cache, buf, sizeof(buf), 0, 0);
	waiter->returned = true;
	return NULL;
}

static void *drain_all(void *arg)
{
	struct waiter *waiter = arg;

	waiter->ret = pcache_drain(cache, NULL, NULL, 0);
	waiter->returned = true;
	return NULL;
}

static void *close_it(void *arg)
{
	struct waiter *waiter = arg;

	waiter->ret = pcache_close(cache, 0);
	waiter->returned = true;
	return NULL;
}

static void start(struct waiter *waiter, void *(*run)(void *arg))
{
	*waiter = (struct waiter){ .ret = 1 };
	ck_assert_int_eq(pthread_create(&waiter->thread, NULL, run, waiter), 0);
}

static ssize_t end(struct waiter *waiter)
{
	pthread_join(waiter->thread, NULL);
	return waiter->ret;
}

/* Until so many writers wait for space, and drains for progress, or the threads are told to stop. */
static void await_waiters(unsigned writers, unsigned drains, bool stop)
{
	bool seen = false;

	while (!seen) {
		pthread_mutex_lock(&cache->state_lock);
		seen = cache->space_waiters == writers && cache->drainers == drains && cache->stop == stop;
		pthread_mutex_unlock(&cache->state_lock);
		if (!seen)
			usleep(LOOK_MS * 1000);
	}
}

/* ---- the tests ---- */

/* Write-back has begun, and hangs. */
static void stall(enum place place)
{
	set_gate(place);
	for (unsigned i = 0; i < 3 * SEGMENT_BYTES / BLOCK_BYTES; i++)
		ck_assert_int_eq(write_next(), BLOCK_BYTES);
	await_stall();
}

static void check_full(void)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	ck_assert_int_eq(write_next(), -EAGAIN);
	check_reads();
	ck_assert_int_eq(pcache_flush(cache, 0), 0);
	ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.segments_free, 0);
	ck_assert_uint_eq(stats.writeback_batches, 0);
	ck_assert_uint_eq(stats.writeback_errors, 0);
}

static void check_after(struct waiter *writers, struct waiter *drain)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	for (unsigned i = 0; i < WRITERS; i++)
		ck_assert_int_eq(end(&writers[i]), BLOCK_BYTES);
	ck_assert_int_eq(end(drain), 0);
	memset(model, 0xa5, BLOCK_BYTES);
	for (unsigned i = 0; i < BLOCKS; i++)
		write_next(); /* it goes on as before; some of these find it full */
	check_reads();
	ck_assert_int_eq(pcache_stats(cache, &stats), 0);
	ck_assert_uint_ge(stats.stalls, WRITERS);
	ck_assert_int_eq(pcache_drain(cache, NULL, NULL, 0), 0);
	ck_assert_int_eq(pread(fd, scratch, VOLUME_BYTES, 0), VOLUME_BYTES);
	ck_assert(memcmp(scratch, model, VOLUME_BYTES) == 0);
	ck_assert_int_eq(pcache_close(cache, 0), 0);
}

static void check_stall(enum place place)
{
	struct waiter writers[WRITERS];
	struct waiter drain;
	unsigned more = 0;

	set_up();
	stall(place);
	for (ssize_t ret = BLOCK_BYTES; ret == BLOCK_BYTES; more++)
		ret = write_next();
	ck_assert_uint_gt(more, SEGMENT_BYTES / BLOCK_BYTES);
	check_full();
	for (unsigned i = 0; i < WRITERS; i++)
		start(&writers[i], write_block_zero);
	start(&drain, drain_all);
	await_waiters(WRITERS, 1, false);
	sleep((unsigned)stall_seconds);
	await_waiters(WRITERS, 1, false);
	check_full();
	ck_assert(!writers[0].returned && !writers[1].returned && !drain.returned);
	set_gate(NOWHERE);
	check_after(writers, &drain);
}

START_TEST(backing_that_stalls_stops_nobody_who_need_not_wait)
{
	check_stall(places[_i]);
}
END_TEST

START_TEST(close_with_stalled_backing_ends_after_it_and_keeps_all)
{
	struct waiter closer;

	set_up();
	stall(places[_i]);
	start(&closer, close_it);
	await_waiters(0, 0, true); /* it cannot end, so the cache is still there to be looked at */
	ck_assert(!closer.returned);
	set_gate(NOWHERE);
	ck_assert_int_eq(end(&closer), 0);
	open_cache();
	check_reads();
	ck_assert_int_eq(pcache_close(cache, PCACHE_CLOSE_DRAIN), 0);
	ck_assert_int_eq(pread(fd, scratch, VOLUME_BYTES, 0), VOLUME_BYTES);
	ck_assert(memcmp(scratch, model, VOLUME_BYTES) == 0);
}
END_TEST

/* The request that hangs may still change the backing: nobody else may have the cache before it has ended. */
START_TEST(close_that_need_not_wait_returns_and_keeps_the_cache_locked)
{
	int ret = -EBUSY;

	set_up();
	ck_assert_int_eq(pcache_set(cache, PCACHE_TUNABLE_BACKING_WAIT_MS, 20), 0);
	stall(places[_i]);
	ck_assert_int_eq(pcache_close(cache, 0), -ETIMEDOUT);
	ck_assert_int_eq(try_open(), -EBUSY);
	set_gate(NOWHERE);
	while (ret == -EBUSY) {
		usleep(LOOK_MS * 1000);
		ret = try_open();
	}
	ck_assert_int_eq(ret, 0);
	check_reads();
	ck_assert_int_eq(pcache_close(cache, PCACHE_CLOSE_DRAIN), 0);
	ck_assert_int_eq(pread(fd, scratch, VOLUME_BYTES, 0), VOLUME_BYTES);
	ck_assert(memcmp(scratch, model, VOLUME_BYTES) == 0);
}
END_TEST

START_TEST(backing_that_stalls_for_seconds_loses_nothing)
{
	check_stall(AT_COMPLETION);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("stall");
	TCase *test_case = tcase_create("stall");

	suite_add_tcase(suite, test_case);
	tcase_add_unchecked_fixture(test_case, name_files, remove_files);
	if (argc > 1) {
		stall_seconds = atol(argv[1]);
		tcase_add_test(test_case, backing_that_stalls_for_seconds_loses_nothing);
	} else {
		tcase_add_loop_test(test_case, backing_that_stalls_stops_nobody_who_need_not_wait, 0,
				    PC_ARRAY_SIZE(places));
		tcase_add_loop_test(test_case, close_with_stalled_backing_ends_after_it_and_keeps_all, 0,
				    PC_ARRAY_SIZE(places));
		tcase_add_loop_test(test_case, close_that_need_not_wait_returns_and_keeps_the_cache_locked, 0,
				    PC_ARRAY_SIZE(places));
	}
	return pc_run_suite(suite);
}
