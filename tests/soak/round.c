/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * round.c - starts the writer, kills it, has what it left judged.
 *
 * A kill waits for a condition first (so many writes, open or close has begun) and then for a random moment, which only
 * decides where the kill comes, never whether the test passes.
 */
#include "soak.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WRITES_MAX      400u
#define PATIENCE_US     (TIMEOUT_SECONDS * 1000000ull)
#define POLL_US         20u
#define KILLS_IN_A_ROW  3u

static bool say(const char *what)
{
	printf("# FAILED: %s\n", what);
	return false;
}

static bool ended_by_itself(struct soak *soak, pid_t child)
{
	if (waitpid(child, NULL, WNOHANG) == 0)
		return false;
	printf("# FAILED: the writer ended by itself: %s\n", soak->diary->verdict.message);
	return true;
}

static bool is_reached(const struct diary *diary, enum soak_plan plan, uint64_t writes)
{
	switch (plan) {
	case PLAN_WRITE:
		return diary->writes >= writes;
	case PLAN_CLOSE:
		return diary->stage >= STAGE_CLOSING;
	default:
		return diary->stage >= STAGE_OPENING;
	}
}

static bool await(struct soak *soak, pid_t child, enum soak_plan plan, uint64_t writes)
{
	for (uint64_t waited_us = 0; !is_reached(soak->diary, plan, writes); waited_us += POLL_US) {
		if (ended_by_itself(soak, child))
			return false;
		if (waited_us > PATIENCE_US)
			return say("the writer does not get on");
		slow_down(POLL_US);
	}
	return true;
}

/* The random moment. */
static void linger(struct soak *soak, enum soak_plan plan)
{
	uint64_t most_us = 500;

	if (plan == PLAN_CLOSE)
		most_us = soak->close_us + soak->close_us / 4;
	else if (plan != PLAN_WRITE)
		most_us = soak->open_us + soak->open_us / 4;
	slow_down((unsigned)test_random_below(&soak->random, most_us + 1));
}

static bool kill_it(struct soak *soak, pid_t child, enum soak_plan plan)
{
	int status;

	if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child)
		return say("the writer cannot be killed");
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		printf("# FAILED: the writer ended by itself, status 0x%x: %s\n", (unsigned)status,
		       soak->diary->verdict.message);
		return false;
	}
	soak->kills[plan]++;
	return true;
}

static bool start_and_kill(struct soak *soak, enum soak_plan plan)
{
	uint64_t writes = 1 + test_random_below(&soak->random, media_is_slow() ? WRITES_MAX / 4 : WRITES_MAX);
	uint64_t child_seed = test_random_next(&soak->random);
	bool good;
	pid_t child;

	soak->diary->stage = STAGE_BEGIN;
	soak->diary->writes = 0;
	fflush(stdout);
	child = fork();
	if (child < 0)
		return say("no process for the writer");
	if (child == 0) {
		soak->random = test_random_make(child_seed);
		soak_child(soak, plan, writes);
	}
	good = await(soak, child, plan, writes);
	if (good)
		linger(soak, plan);
	/* How long a close takes is learnt from the ones that were over too early. */
	if (plan == PLAN_CLOSE)
		soak->close_us = soak->diary->stage == STAGE_CLOSED ? soak->close_us * 3 / 4 + 1 :
								      soak->close_us + soak->close_us / 8 + 1;
	return good && kill_it(soak, child, plan);
}

/* All goes to the backing, and there is no cache any more. */
static bool drain_and_remove(struct soak *soak)
{
	struct pcache *cache;
	int ret = pcache_open(soak->cache_path, soak->fd, &soak->config, &cache);

	if (ret == 0)
		ret = pcache_close(cache, PCACHE_CLOSE_DRAIN);
	if (ret < 0) {
		printf("# FAILED: drain before the cache is made anew: %s\n", pcache_strerror(ret));
		return false;
	}
	unlink(soak->cache_path);
	return soak_judge_backing(soak);
}

static enum soak_plan choose_plan(struct soak *soak)
{
	uint64_t dice = test_random_below(&soak->random, 20);

	if (dice == 0)
		return PLAN_CREATE;
	if (dice < 4)
		return PLAN_OPEN;
	return dice < 8 ? PLAN_CLOSE : PLAN_WRITE;
}

bool soak_round(struct soak *soak)
{
	enum soak_plan plan = choose_plan(soak);
	uint64_t more = test_random_below(&soak->random, KILLS_IN_A_ROW);

	if (plan == PLAN_CREATE && !drain_and_remove(soak))
		return false;
	if (!start_and_kill(soak, plan))
		return false;
	/* Recovery of what a writer left is killed, too. After a kill in create there may be nothing to open. */
	for (uint64_t i = 0; i < more && plan != PLAN_CREATE; i++)
		if (!start_and_kill(soak, PLAN_OPEN))
			return false;
	/* A read-only open shows the same, and leaves everything for the next one to recover. */
	if (plan != PLAN_CREATE && test_random_below(&soak->random, 4) == 0)
		return soak_judge(soak, true);
	return soak_judge(soak, false);
}

uint64_t soak_kills(const struct soak *soak)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PLANS; i++)
		sum += soak->kills[i];
	return sum;
}

static bool stamp_volume(struct soak *soak)
{
	for (uint64_t off = 0; off < soak->volume_bytes; off += PIECE_BYTES) {
		size_t len = off + PIECE_BYTES <= soak->volume_bytes ? PIECE_BYTES : soak->volume_bytes - off;

		stamp_fill(soak->buf, off / SECTOR, len / SECTOR, 0);
		if (pwrite(soak->fd, soak->buf, len, (off_t)off) != (ssize_t)len)
			return false;
	}
	return fsync(soak->fd) == 0;
}

bool soak_init(struct soak *soak)
{
	size_t diary_bytes = sizeof(*soak->diary) + soak->volume_bytes / SECTOR * sizeof(soak->diary->versions[0]);

	soak->sectors = soak->volume_bytes / SECTOR;
	soak->open_us = 1000;
	soak->close_us = 1000;
	soak->buf = malloc(PIECE_BYTES);
	soak->diary = mmap(NULL, diary_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (soak->buf == NULL || soak->diary == MAP_FAILED)
		return say("no memory");
	if (!stamp_volume(soak)) {
		printf("# FAILED: the backing cannot be written: %s\n", pcache_strerror(errno));
		return false;
	}
	return soak_judge(soak, false);
}

void soak_free(struct soak *soak)
{
	free(soak->buf);
	munmap(soak->diary, sizeof(*soak->diary) + soak->sectors * sizeof(soak->diary->versions[0]));
}
