/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * child.c - the process that is killed: opens the cache, and lets each lane write, read back, flush and drain.
 */
#include "soak.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LENGTH_MAX (100u * SECTOR) /* many atomic pieces of the smallest geometry */

struct writer {
	pthread_t thread;
	struct soak *soak;
	struct pcache *cache;
	struct lane *lane;
	unsigned number;
	struct test_random random;
	uint64_t writes_left;
	uint8_t *buf;
};

/* The first message counts; there may be several lanes, and a torn message is better than none. */
static void give_up(struct soak *soak, const char *what, int error)
{
	verdict_fail(&soak->diary->verdict, "%s: %s", what, pcache_strerror(error));
	_exit(1);
}

/* Somewhere in one of the lane's stripes; half of the time among the first of them, so that versions pile up. */
static void choose_place(struct writer *writer, uint64_t *ret_sector, uint64_t *ret_sectors)
{
	uint64_t stripes = writer->soak->sectors / STRIPE_SECTORS / LANES;
	uint64_t sectors = test_random_length(&writer->random, LENGTH_MAX) / SECTOR + 1;
	uint64_t in_stripe = test_random_below(&writer->random, STRIPE_SECTORS - sectors + 1);
	uint64_t some = test_random_below(&writer->random, 2) == 0 ? stripes : stripes / 8 + 1;
	uint64_t stripe = test_random_below(&writer->random, some) * LANES + writer->number;

	*ret_sector = stripe * STRIPE_SECTORS + in_stripe;
	*ret_sectors = sectors;
}

/* 0, or what failed. */
static int write_or_zero(struct writer *writer, unsigned flags)
{
	const struct lane *lane = writer->lane;
	size_t len = lane->sectors * SECTOR;
	ssize_t ret;

	if (lane->is_zero && lane->begun % 2 == 0)
		return pcache_discard(writer->cache, lane->sector * SECTOR, len, flags);
	if (lane->is_zero)
		return pcache_write_zeroes(writer->cache, lane->sector * SECTOR, len, flags);
	ret = pcache_write(writer->cache, writer->buf, len, lane->sector * SECTOR, flags);
	return ret == (ssize_t)len ? 0 : (ret < 0 ? (int)ret : -EIO);
}

/* (K3) */
static void write_one(struct writer *writer)
{
	struct diary *diary = writer->soak->diary;
	struct lane *lane = writer->lane;
	uint64_t version = lane->begun + 1;
	unsigned flags = test_random_below(&writer->random, 64) == 0 ? PCACHE_WRITE_FUA : 0;
	int ret;

	choose_place(writer, &lane->sector, &lane->sectors);
	lane->is_zero = test_random_below(&writer->random, 8) == 0;
	stamp_fill(writer->buf, lane->sector, lane->sectors, version);
	lane->begun = version;
	ret = write_or_zero(writer, flags);
	if (ret < 0)
		give_up(writer->soak, "write", ret);
	lane->returned = version;
	for (uint64_t i = 0; i < lane->sectors; i++)
		diary->versions[lane->sector + i] = lane_version(lane);
	lane->settled = version;
	diary->writes++;
}

static void read_one(struct writer *writer)
{
	uint64_t sector;
	uint64_t sectors;
	ssize_t ret;

	choose_place(writer, &sector, &sectors);
	ret = pcache_read(writer->cache, writer->buf, sectors * SECTOR, sector * SECTOR, 0);
	if (ret != (ssize_t)(sectors * SECTOR))
		give_up(writer->soak, "read", (int)ret);
	if (!soak_compare(writer->soak, writer->buf, sector, sectors, "read by its writer"))
		give_up(writer->soak, "a lane did not read what it wrote", -EBADMSG);
}

static void do_one(struct writer *writer)
{
	uint64_t dice = test_random_below(&writer->random, 1000);
	int ret = 0;

	if (dice < 850)
		write_one(writer);
	else if (dice < 980)
		read_one(writer);
	else if (dice < 998)
		ret = pcache_flush(writer->cache, 0);
	else
		ret = pcache_drain(writer->cache, NULL, NULL, 0);
	if (ret < 0)
		give_up(writer->soak, "flush or drain", ret);
}

static void *run_writer(void *arg)
{
	struct writer *writer = arg;

	for (; writer->writes_left > 0; writer->writes_left--)
		do_one(writer);
	return NULL;
}

static void run_writers(struct soak *soak, struct pcache *cache, uint64_t writes_each)
{
	struct writer writers[LANES];

	for (unsigned i = 0; i < LANES; i++) {
		writers[i] = (struct writer){
			.soak = soak,
			.cache = cache,
			.lane = &soak->diary->lanes[i],
			.number = i,
			.random = test_random_make(test_random_next(&soak->random)),
			.writes_left = writes_each,
			.buf = malloc(LENGTH_MAX + SECTOR),
		};
		if (writers[i].buf == NULL ||
		    pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]) != 0)
			give_up(soak, "threads of the writer", -ENOMEM);
	}
	for (unsigned i = 0; i < LANES; i++) {
		pthread_join(writers[i].thread, NULL);
		free(writers[i].buf);
	}
}

void soak_child(struct soak *soak, enum soak_plan plan, uint64_t writes)
{
	struct diary *diary = soak->diary;
	struct pcache_config config = soak->config;
	struct pcache *cache;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	config.flags = plan == PLAN_CREATE ? PCACHE_OPEN_CREATE : 0;
	diary->stage = STAGE_OPENING;
	ret = pcache_open(soak->cache_path, soak->fd, &config, &cache);
	if (ret < 0)
		give_up(soak, "open by the writer", ret);
	diary->stage = STAGE_OPEN;
	if (plan == PLAN_WRITE || plan == PLAN_CLOSE)
		run_writers(soak, cache, plan == PLAN_WRITE ? UINT64_MAX : writes / LANES + 1);
	if (plan == PLAN_CLOSE) {
		diary->stage = STAGE_CLOSING;
		ret = pcache_close(cache, test_random_below(&soak->random, 2) == 0 ? PCACHE_CLOSE_DRAIN : 0);
		if (ret < 0)
			give_up(soak, "close by the writer", ret);
		diary->stage = STAGE_CLOSED;
	}
	for (;;)
		pause();
}
