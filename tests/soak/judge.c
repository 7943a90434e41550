/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * judge.c - what must be there after a kill, and whether it is.
 *
 * First the diary is settled (soak.h): a write that returned counts as a whole; of one that was under way, the cache is
 * asked how far it came, which must be after one of its atomic pieces, and from then on that is what must be there.
 * Then every sector is compared.
 */
#include "soak.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* The file's mistakes are shown up to here; all are counted. */
#define SHOWN_MAX 10u

static void complain(struct soak *soak, const char *where, uint64_t sector, uint64_t found, const char *state)
{
	if (++soak->diary->lost <= SHOWN_MAX)
		printf("# LOST: %s: sector %ju of lane %u should hold write %ju, and holds %ju (%s)\n", where,
		       (uintmax_t)sector, lane_of(sector), (uintmax_t)soak->diary->versions[sector], (uintmax_t)found, state);
}

/* Does the sector hold this version? */
static bool shows(const uint8_t *buf, uint64_t sector, uint64_t version, uint64_t *ret_found, enum stamp_state *ret_state)
{
	*ret_found = 0;
	*ret_state = stamp_check(buf, sector, ret_found);
	if ((version & VERSION_ZEROES) == 0)
		return *ret_state == STAMP_WHOLE && *ret_found == version;
	return buf[0] == 0 && memcmp(buf, buf + 1, SECTOR - 1) == 0;
}

bool soak_compare(struct soak *soak, const uint8_t *buf, uint64_t sector, uint64_t sectors, const char *where)
{
	static const char *const names[] = { "whole", "mixed", "garbage" };
	bool good = true;

	for (uint64_t i = 0; i < sectors; i++) {
		enum stamp_state state;
		uint64_t found;

		if (shows(buf + i * SECTOR, sector + i, soak->diary->versions[sector + i], &found, &state))
			continue;
		complain(soak, where, sector + i, found, names[state]);
		good = false;
	}
	soak->diary->bytes_verified += sectors * SECTOR;
	return good;
}

static bool say(const char *what, int error)
{
	printf("# FAILED: %s: %s\n", what, pcache_strerror(error));
	return false;
}

static void settle_range(struct soak *soak, const struct lane *lane, uint64_t sectors)
{
	for (uint64_t i = 0; i < sectors; i++)
		soak->diary->versions[lane->sector + i] = lane_version(lane);
}

/* (K2) The number of sectors from the front that show the write; what follows is compared later. */
static bool settle_begun(struct soak *soak, struct lane *lane, struct pcache *cache)
{
	uint64_t piece = soak->max_atomic_bytes / SECTOR;
	size_t len = lane->sectors * SECTOR;
	uint64_t shown = 0;
	ssize_t ret = pcache_read(cache, soak->buf, len, lane->sector * SECTOR, 0);

	if (ret != (ssize_t)len)
		return say("read of a write that was under way", (int)ret);
	while (shown < lane->sectors) {
		enum stamp_state state;
		uint64_t found;

		if (!shows(soak->buf + shown * SECTOR, lane->sector + shown, lane_version(lane), &found, &state))
			break;
		shown++;
	}
	if (lane->is_zero && shown < lane->sectors)
		shown = 0; /* one piece, and absent: the first zeroes may be older ones */
	settle_range(soak, lane, shown);
	if (shown == lane->sectors || shown % piece == 0)
		return true;
	printf("# FAILED: write %ju of sectors %ju+%ju is there in part: %ju sectors, in pieces of %ju\n",
	       (uintmax_t)lane->begun, (uintmax_t)lane->sector, (uintmax_t)lane->sectors, (uintmax_t)shown,
	       (uintmax_t)piece);
	soak->diary->lost++;
	return false;
}

static bool settle(struct soak *soak, struct pcache *cache)
{
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *lane = &soak->diary->lanes[i];

		if (lane->begun != lane->returned) {
			if (!settle_begun(soak, lane, cache))
				return false;
		} else if (lane->returned != lane->settled) {
			settle_range(soak, lane, lane->sectors);
		}
		lane->returned = lane->begun;
		lane->settled = lane->begun;
	}
	return true;
}

static bool compare_all(struct soak *soak, struct pcache *cache, const char *where)
{
	bool good = true;

	for (uint64_t off = 0; off < soak->volume_bytes; off += PIECE_BYTES) {
		size_t len = off + PIECE_BYTES <= soak->volume_bytes ? PIECE_BYTES : soak->volume_bytes - off;
		ssize_t ret = cache != NULL ? pcache_read(cache, soak->buf, len, off, 0) :
					      pread(soak->fd, soak->buf, len, (off_t)off);

		if (ret != (ssize_t)len)
			return say(where, cache != NULL ? (int)ret : -errno);
		good &= soak_compare(soak, soak->buf, off / SECTOR, len / SECTOR, where);
	}
	return good;
}

bool soak_judge_backing(struct soak *soak)
{
	return compare_all(soak, NULL, "the backing alone");
}

static bool drain_and_compare(struct soak *soak, struct pcache *cache)
{
	int ret = pcache_drain(cache, NULL, NULL, 0);

	if (ret < 0)
		return say("drain", ret);
	return soak_judge_backing(soak) && compare_all(soak, cache, "after a drain");
}

bool soak_judge(struct soak *soak, bool readonly)
{
	struct pcache_config config = soak->config;
	struct pcache_stats stats = { .size = sizeof(stats) };
	struct pcache *cache;
	bool good;
	int ret;

	config.flags = readonly ? PCACHE_OPEN_READONLY : PCACHE_OPEN_CREATE;
	ret = pcache_open(soak->cache_path, soak->fd, &config, &cache);
	if (ret < 0)
		return say("open after a kill", ret);
	pcache_stats(cache, &stats);
	soak->max_atomic_bytes = stats.max_atomic_bytes;
	if (!readonly)
		soak->open_us = stats.open_ns / 1000 + 1;
	good = settle(soak, cache) && compare_all(soak, cache, "after a kill");
	if (good && !readonly && test_random_below(&soak->random, 3) == 0)
		good = drain_and_compare(soak, cache);
	ret = pcache_close(cache, 0);
	return ret < 0 ? say("close after a kill", ret) : good;
}
