/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * outage.c - writers write and flush while the backing fails for a while in the middle.
 *
 * Goal: no writer gets an error, nothing is lost, and the cache is in order again by itself, which the state callback
 * says.
 *
 * Method: the public interface on real files, write-back at work all the time. The library's writes and syncs of the
 * backing are wrapped (--wrap); in the middle of the run they fail, for a part of the time and for at least three
 * attempts. In the end the backing is compared with what was written.
 *
 *     fault_outage [SECONDS [SECONDS_OF_OUTAGE]]
 */
#include "pcache.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB          (1024u * 1024)
#define CACHE_BYTES  (64 * MIB)
#define VOLUME_BYTES (32 * MIB)
#define BLOCK_BYTES  4096u
#define BLOCKS       (VOLUME_BYTES / BLOCK_BYTES)
#define WRITERS      2u
#define LOOK_MS      5u
#define ATTEMPTS     3u
#define CEILING_S    120.0

/* ---- the backing ---- */

static struct {
	_Atomic bool fails;
	struct stat status; /* its syncs only, not those of the media */
	_Atomic unsigned failures;
} backing;

int __real_io_getevents(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout);
int __wrap_io_getevents(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_io_getevents(io_context_t queue, long least, long most, struct io_event *events, struct timespec *timeout)
{
	int count = __real_io_getevents(queue, least, most, events, timeout);

	for (int i = 0; i < count && backing.fails; i++) {
		events[i].res = (unsigned long)-EIO;
		backing.failures++;
	}
	return count;
}

int __wrap_fdatasync(int fd)
{
	struct stat now;

	if (backing.fails && fstat(fd, &now) == 0 && now.st_dev == backing.status.st_dev &&
	    now.st_ino == backing.status.st_ino) {
		backing.failures++;
		errno = EIO;
		return -1;
	}
	return __real_fdatasync(fd);
}

/* ---- what happens ---- */

static char cache_path[256];
static char backing_path[256];
static struct pcache *cache;
static _Atomic bool stop;
static uint32_t model[BLOCKS]; /* the number that fills a block; each writer has blocks of its own */

static struct {
	pthread_mutex_t lock; /* guards what follows */

	enum pcache_state changes[16];
	unsigned count;
} heard = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct writer {
	pthread_t thread;
	uint32_t first;
	int error;
	uint64_t pairs;
	double longest_s;
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void hear(enum pcache_state from, enum pcache_state to, int reason, void *arg)
{
	(void)from;
	(void)arg;
	printf("# state %d, reason %d\n", (int)to, reason);
	pthread_mutex_lock(&heard.lock);
	if (heard.count < sizeof(heard.changes) / sizeof(heard.changes[0]))
		heard.changes[heard.count] = to;
	heard.count++;
	pthread_mutex_unlock(&heard.lock);
}

static void fill(uint32_t *block, uint32_t number)
{
	for (uint32_t i = 0; i < BLOCK_BYTES / sizeof(*block); i++)
		block[i] = number;
}

static void *write_and_flush(void *arg)
{
	struct writer *writer = arg;
	uint32_t block[BLOCK_BYTES / 4];

	for (uint32_t number = 1; !stop && writer->error == 0; number++) {
		uint32_t at = writer->first + number * 2654435761u / WRITERS % (BLOCKS / WRITERS) * WRITERS;
		double since_s = now_s();
		ssize_t ret;

		fill(block, number);
		ret = pcache_write(cache, block, sizeof(block), (uint64_t)at * BLOCK_BYTES, 0);
		if (ret == BLOCK_BYTES) {
			model[at] = number;
			ret = pcache_flush(cache, 0);
		}
		writer->error = ret < 0 ? (int)ret : 0;
		writer->pairs++;
		if (now_s() - since_s > writer->longest_s)
			writer->longest_s = now_s() - since_s;
	}
	return NULL;
}

static struct pcache_stats look(void)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	pcache_stats(cache, &stats);
	return stats;
}

static bool any_error(const struct writer *writers)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		if (writers[i].error != 0)
			return true;
	}
	return false;
}

/* For so long, and until so many batches more failed or went well; false: that never comes. */
static bool run_for(double seconds, uint64_t batches, uint64_t errors)
{
	double since_s = now_s();
	struct pcache_stats first = look();
	struct pcache_stats now = first;

	while (now_s() - since_s < seconds || now.writeback_batches < first.writeback_batches + batches ||
	       now.writeback_errors < first.writeback_errors + errors) {
		if (now_s() - since_s > seconds + CEILING_S)
			return false;
		usleep(LOOK_MS * 1000);
		now = look();
	}
	return true;
}

static bool run(double seconds, double outage_s, struct writer *writers)
{
	double around_s = (seconds - outage_s) / 2;
	bool good;

	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .first = i };
		if (pthread_create(&writers[i].thread, NULL, write_and_flush, &writers[i]) != 0)
			exit(1);
	}
	good = run_for(around_s, 1, 0);
	backing.fails = true;
	good = run_for(outage_s, 0, ATTEMPTS) && good;
	backing.fails = false;
	good = run_for(around_s, 1, 0) && good;
	stop = true;
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	return good;
}

/* ---- the verdict ---- */

static unsigned tests;
static unsigned failed;

static void check(bool good, const char *what)
{
	printf("%sok %u - %s\n", good ? "" : "not ", ++tests, what);
	failed += !good;
}

static bool backing_is_as_written(int fd)
{
	uint32_t expected[BLOCK_BYTES / 4];
	uint32_t found[BLOCK_BYTES / 4];

	for (uint32_t i = 0; i < BLOCKS; i++) {
		fill(expected, model[i]);
		if (pread(fd, found, sizeof(found), (off_t)i * BLOCK_BYTES) != BLOCK_BYTES ||
		    memcmp(found, expected, sizeof(found)) != 0)
			return false;
	}
	return true;
}

/* Degraded, ok; maybe more than once. */
static bool heard_well(void)
{
	for (unsigned i = 0; i < heard.count && i < sizeof(heard.changes) / sizeof(heard.changes[0]); i++) {
		if (heard.changes[i] != (i % 2 == 0 ? PCACHE_STATE_DEGRADED : PCACHE_STATE_OK))
			return false;
	}
	return heard.count >= 2 && heard.count % 2 == 0;
}

static void report(const struct writer *writers)
{
	struct pcache_stats stats = look();

	for (unsigned i = 0; i < WRITERS; i++)
		printf("# writer %u: %llu pairs of write and flush, longest %.3f s, error %d\n", i,
		       (unsigned long long)writers[i].pairs, writers[i].longest_s, writers[i].error);
	printf("# %llu batches, %llu failed; %u requests and syncs of the backing failed; %llu waits for space, longest %.3f s\n",
	       (unsigned long long)stats.writeback_batches, (unsigned long long)stats.writeback_errors,
	       backing.failures, (unsigned long long)stats.stalls, (double)stats.stall_max_ns * 1e-9);
}

static int open_cache(void)
{
	struct pcache_config config;
	int fd = open(backing_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, VOLUME_BYTES) != 0 || fstat(fd, &backing.status) != 0)
		return -1;
	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE;
	config.cache_size_bytes = CACHE_BYTES;
	config.segment_size_bytes = MIB;
	config.dirty_high_bytes = MIB;
	config.batch_bytes = 4 * MIB;
	config.state_changed = hear;
	config.backing_wait_ms = UINT32_MAX; /* where the disk is slow, writers wait; an error is one all the same */
	return pcache_open(cache_path, fd, &config, &cache) == 0 ? fd : -1;
}

static void make_path(char *path, size_t bytes, const char *variable, const char *other, const char *what)
{
	const char *dir = getenv(variable);

	snprintf(path, bytes, "%s/pcache-outage-%d.%s", dir != NULL ? dir : other, (int)getpid(), what);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 0.6;
	double outage_s = argc > 2 ? atof(argv[2]) : seconds / 4;
	struct writer writers[WRITERS];
	bool ran;
	int fd;

	make_path(cache_path, sizeof(cache_path), "PC_TEST_CACHE_DIR", "/dev/shm", "cache");
	make_path(backing_path, sizeof(backing_path), "PC_TEST_DIR", "/var/tmp", "backing");
	fd = open_cache();
	if (fd < 0) {
		printf("1..0 # SKIP no room for the files\n");
		return 77;
	}
	ran = run(seconds, outage_s, writers);
	report(writers);
	check(ran && !any_error(writers), "no_writer_gets_an_error");
	check(pcache_drain(cache, NULL, NULL, 0) == 0 && look().state == PCACHE_STATE_OK, "state_is_ok_again");
	check(heard_well(), "callback_hears_of_it_and_of_its_end");
	check(pcache_close(cache, 0) == 0 && backing_is_as_written(fd), "backing_has_all_that_was_written");
	printf("1..%u\n", tests);
	unlink(cache_path);
	unlink(backing_path);
	return failed == 0 ? 0 : 1;
}
