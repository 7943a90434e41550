/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * system.c - a workload through the public interface on real files, with each system call of the library failing in its
 * turn, once or for ever after. Background threads run as they do for users, so the nth call is not always the same
 * one; the sweep ends when a run made fewer calls than that.
 *
 * (Y1) Each call returns an error that one of the failures explains, or succeeds; and it ends.
 * (Y2) What was acknowledged is read; after the next healthy open what was durable is there, and the cache drains.
 * (Y3) A create that failed leaves no file behind, if the failure was a single one.
 * (Y4) Somebody is told of every failure, by an error or a message, but of those that the library can do without.
 *
 * At the end a backing that became shorter: closed, which open refuses, leaving both files as they are; and open.
 */
#include "model.h"
#include "point.h"
#include "sweep.h"
#include "system_calls.h"

#include "pcache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENT_BYTES   65536u
#define CACHE_BYTES     (640u * 1024)
#define CEILING_SECONDS 1800u

struct flow {
	struct sweep *sweep;
	char cache_path[256];
	char backing_path[256];
	int fd;
	struct pcache *cache;
	struct model model;
	uint64_t random;
	bool is_paged;
	bool created;
	_Atomic bool told; /* (Y4) */
	uint8_t buf[MODEL_BYTES];
};

static uint64_t below(struct flow *flow, uint64_t limit)
{
	flow->random = flow->random * 6364136223846793005ull + 1442695040888963407ull;
	return (flow->random >> 33) % limit;
}

/* (Y1) */
static bool succeeded(struct flow *flow, const char *what, int64_t ret)
{
	static const int known[] = { EIO, ENOSPC, EMFILE, ENOMEM, ENOLCK, EAGAIN, EUCLEAN };

	if (ret >= 0)
		return true;
	flow->told = true;
	if (!point_has_failed())
		sweep_fail(flow->sweep, "an error before the fault", ret);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (-ret == known[i])
			return false;
	sweep_fail(flow->sweep, what, ret);
	return false;
}

static void take_message(enum pcache_log_level level, const char *message, void *arg)
{
	struct flow *flow = arg;

	(void)message;
	if (level <= PCACHE_LOG_WARNING)
		flow->told = true;
}

/* (Y4) Not where there is another way: the other slot, another try, a thread or a limit less. */
static bool is_to_be_told(const char *name)
{
	static const char *const silent[] = {
		"fstat64", "getrlimit64", "huge pages", "interrupted wait", "io_setup", "io_submit", "pread64",
		"pthread_create", "unlock",
	};

	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		if (strcmp(name, silent[i]) == 0)
			return false;
	return true;
}

static int open_cache(struct flow *flow)
{
	struct pcache_config config;
	int ret;

	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE;
	config.cache_size_bytes = CACHE_BYTES;
	config.segment_size_bytes = SEGMENT_BYTES;
	config.batch_bytes = SEGMENT_BYTES;
	config.queue_depth = 4;
	config.replay_threads = 2;
	config.log = take_message;
	config.log_arg = flow;
	ret = pcache_open(flow->cache_path, flow->fd, &config, &flow->cache);
	if (ret == 0) /* errors are told at once: nobody waits for the backing to come back */
		ret = pcache_set(flow->cache, PCACHE_TUNABLE_BACKING_WAIT_MS, 0);
	return ret;
}

static void learn_granularity(struct flow *flow)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	if (pcache_stats(flow->cache, &stats) == 0)
		flow->is_paged = stats.granularity == PCACHE_GRANULARITY_PAGE;
}

static bool write_one(struct flow *flow)
{
	uint32_t sectors = 1 + (uint32_t)below(flow, 100);
	uint32_t first = (uint32_t)below(flow, MODEL_SECTORS - sectors);
	uint32_t number = model_begin(&flow->model, first, sectors, flow->buf);
	ssize_t ret;

	ret = pcache_write(flow->cache, flow->buf, sectors * MODEL_SECTOR, first * MODEL_SECTOR, 0);
	if (!succeeded(flow, "write", ret))
		return false;
	model_acknowledge(&flow->model, number, (uint32_t)ret / MODEL_SECTOR, !flow->is_paged);
	return true;
}

/* (Y2) */
static bool read_all(struct flow *flow, bool only_durable)
{
	ssize_t ret = pcache_read(flow->cache, flow->buf, MODEL_BYTES, 0, 0);
	uint32_t sector;

	if (!succeeded(flow, "read", ret))
		return false;
	sector = model_check(&flow->model, flow->buf, only_durable);
	if (sector < MODEL_SECTORS)
		sweep_fail(flow->sweep, only_durable ? "Y2: durable, and gone, in sector" :
						       "Y2: acknowledged, and not read, in sector", sector);
	return true;
}

static void flush_or_drain(struct flow *flow, bool drain)
{
	int ret = drain ? pcache_drain(flow->cache, NULL, NULL, 0) : pcache_flush(flow->cache, 0);

	if (succeeded(flow, drain ? "drain" : "flush", ret))
		model_flushed(&flow->model);
}

static void close_cache(struct flow *flow)
{
	int ret = pcache_close(flow->cache, 0);

	flow->cache = NULL;
	if (succeeded(flow, "close", ret))
		model_flushed(&flow->model);
}

static void run_workload(struct flow *flow)
{
	if (!succeeded(flow, "create", open_cache(flow))) {
		if (!flow->sweep->sticky && access(flow->cache_path, F_OK) == 0)
			sweep_fail(flow->sweep, "Y3: a create that failed left a file", 0);
		return;
	}
	flow->created = true;
	learn_granularity(flow);
	/* Write-back tries again ever more slowly: one refusal for ever is enough. */
	for (unsigned i = 0; i < 28; i++) {
		if (!write_one(flow) && flow->sweep->sticky)
			break;
		if (i % 8 == 7)
			flush_or_drain(flow, i % 16 == 15);
	}
	read_all(flow, false);
	close_cache(flow);
	if (!succeeded(flow, "open", open_cache(flow)))
		return;
	read_all(flow, flow->is_paged);
	for (unsigned i = 0; i < 4; i++)
		write_one(flow);
	flush_or_drain(flow, true);
	close_cache(flow);
}

static void check_afterwards(struct flow *flow)
{
	int ret = open_cache(flow);

	if (ret < 0) {
		sweep_fail(flow->sweep, "Y2: does not open when all is well again", ret);
		return;
	}
	if (read_all(flow, flow->is_paged)) {
		model_settle(&flow->model, flow->buf);
		ret = pcache_drain(flow->cache, NULL, NULL, 0);
		if (ret < 0)
			sweep_fail(flow->sweep, "Y2: does not drain when all is well again", ret);
		else if (pread(flow->fd, flow->buf, MODEL_BYTES, 0) != (ssize_t)MODEL_BYTES ||
			 model_check(&flow->model, flow->buf, false) < MODEL_SECTORS)
			sweep_fail(flow->sweep, "Y2: drained, and not on the backing", 0);
	}
	ret = pcache_close(flow->cache, 0);
	if (ret < 0)
		sweep_fail(flow->sweep, "Y2: does not close when all is well again", ret);
}

static void fail_hard(const char *what)
{
	fprintf(stderr, "fault_system: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void make_files(struct flow *flow)
{
	const char *cache_dir = getenv("PC_TEST_CACHE_DIR");
	const char *dir = getenv("PC_TEST_DIR");

	snprintf(flow->cache_path, sizeof(flow->cache_path), "%s/pcache-fault-%d.cache",
		 cache_dir != NULL ? cache_dir : "/dev/shm", (int)getpid());
	snprintf(flow->backing_path, sizeof(flow->backing_path), "%s/pcache-fault-%d.backing",
		 dir != NULL ? dir : "/var/tmp", (int)getpid());
	unlink(flow->cache_path);
	flow->fd = open(flow->backing_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (flow->fd < 0 || ftruncate(flow->fd, MODEL_BYTES) != 0)
		fail_hard(flow->backing_path);
}

static void remove_files(struct flow *flow)
{
	close(flow->fd);
	unlink(flow->cache_path);
	unlink(flow->backing_path);
}

static void fail_silent(struct sweep *sweep, const char *name)
{
	char what[100];

	snprintf(what, sizeof(what), "Y4: nobody was told of a failure of %s", name);
	sweep_fail(sweep, what, 0);
}

static bool run(struct sweep *sweep, void *arg)
{
	static struct flow flow;
	bool reached;

	(void)arg;
	flow = (struct flow){ .sweep = sweep, .random = 23 };
	make_files(&flow);
	/* An interruption for ever is nothing that happens; an error is. */
	system_calls_set_reap_error(sweep->sticky || sweep->point % 2 == 0 ? -EIO : -EINTR);
	point_arm(sweep->point, sweep->sticky);
	run_workload(&flow);
	reached = point_has_failed();
	if (reached && !flow.told && is_to_be_told(point_failed()))
		fail_silent(sweep, point_failed());
	point_arm(0, false);
	check_afterwards(&flow);
	remove_files(&flow);
	return reached;
}

/* ---- a backing that became shorter ---- */

static uint8_t *content_of(const char *path, size_t bytes)
{
	uint8_t *content = calloc(1, bytes);
	int fd = open(path, O_RDONLY);

	if (content == NULL || fd < 0 || pread(fd, content, bytes, 0) < 0)
		fail_hard(path);
	close(fd);
	return content;
}

static bool refused_and_untouched(struct flow *flow)
{
	uint8_t *before = content_of(flow->cache_path, CACHE_BYTES);
	int ret = open_cache(flow);
	uint8_t *after = content_of(flow->cache_path, CACHE_BYTES);
	bool good = ret == -EMEDIUMTYPE && memcmp(before, after, CACHE_BYTES) == 0 &&
		    lseek(flow->fd, 0, SEEK_END) == (off_t)MODEL_BYTES / 2;

	if (ret != -EMEDIUMTYPE)
		sweep_fail(flow->sweep, "open with a shorter backing", ret);
	free(before);
	free(after);
	return good;
}

/* True when it is as large again all that was acknowledged is there. */
static bool shrink_while_closed(struct flow *flow)
{
	bool good = open_cache(flow) == 0;

	for (unsigned i = 0; i < 4 && good; i++)
		write_one(flow);
	good = good && pcache_close(flow->cache, 0) == 0 && ftruncate(flow->fd, MODEL_BYTES / 2) == 0 &&
	       refused_and_untouched(flow);
	good = good && ftruncate(flow->fd, MODEL_BYTES) == 0 && open_cache(flow) == 0;
	return good && read_all(flow, false) && pcache_close(flow->cache, PCACHE_CLOSE_DRAIN) == 0;
}

/* A read of what is not there any more is an error, not a short one, and not for what is cached. */
static bool shrink_while_open(struct flow *flow)
{
	bool good = open_cache(flow) == 0;
	ssize_t ret;

	model_begin(&flow->model, MODEL_SECTORS - 8, 8, flow->buf);
	good = good && pcache_write(flow->cache, flow->buf, 8 * MODEL_SECTOR, MODEL_BYTES - 8 * MODEL_SECTOR, 0) > 0 &&
	       ftruncate(flow->fd, MODEL_BYTES / 2) == 0;
	ret = good ? pcache_read(flow->cache, flow->buf, 8 * MODEL_SECTOR, MODEL_BYTES - 16 * MODEL_SECTOR, 0) : 0;
	good = good && ret == -EIO &&
	       pcache_read(flow->cache, flow->buf, 8 * MODEL_SECTOR, MODEL_BYTES - 8 * MODEL_SECTOR, 0) == 8 * MODEL_SECTOR;
	return good && ftruncate(flow->fd, MODEL_BYTES) == 0 && pcache_close(flow->cache, PCACHE_CLOSE_DRAIN) == 0;
}

static void case_of(struct sweep *sweep, const char *name, bool (*test)(struct flow *flow))
{
	static struct flow flow;
	uint64_t failed = sweep->failed;

	flow = (struct flow){ .sweep = sweep, .random = 5 };
	sweep->name = name;
	sweep->point = 0;
	make_files(&flow);
	if (!test(&flow) && sweep->failed == failed)
		sweep_fail(sweep, "not as expected", 0);
	remove_files(&flow);
	printf("%s %u - %s\n", sweep->failed == failed ? "ok" : "not ok", ++sweep->cases, name);
}

int main(void)
{
	struct sweep sweep = { 0 };

	alarm(CEILING_SECONDS);
	point_hold(false);
	sweep.sticky_stride = 5; /* waits make each of these slow */
	sweep_all(&sweep, "system_call", run, NULL);
	case_of(&sweep, "backing_that_shrank_while_closed_is_refused", shrink_while_closed);
	case_of(&sweep, "backing_that_shrinks_while_open_gives_errors", shrink_while_open);
	return sweep_end(&sweep);
}
