/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scrub.c - all cached data is read from the media and compared with its checksum, in the caller's thread.
 *
 * (SC1) Nobody waits for a scrub: no lock is held while it reads. What was overwritten or reclaimed meanwhile is told by
 *       its generation and the index, and left out.
 * (SC2) What it finds is treated as when a read finds it: clean data goes, dirty data stays and is listed.
 */
#include "cache.h"

#include <errno.h>

#define SLEEP_NS   100000000u /* at a stretch: in between the caller may cancel */
#define LEAVES     1024u      /* so many without data are gone through without a word */

struct scrub {
	struct pcache *cache;
	pcache_progress_fn progress;
	void *arg;
	uint64_t rate;
	uint64_t start_ns;
	uint64_t done;
	uint64_t total;
	uint64_t damaged;
	uint8_t *buf; /* PCM_KEY_MAX_BYTES */
};

static int report(const struct scrub *scrub)
{
	uint64_t done = pc_min64(scrub->done, scrub->total);

	return scrub->progress == NULL || scrub->progress(done, scrub->total, scrub->arg) == 0 ? 0 : -ECANCELED;
}

/* Not faster than the rate. */
static int pace(const struct scrub *scrub)
{
	int ret = report(scrub);

	while (ret == 0 && scrub->rate != 0) {
		uint64_t due_ns = scrub->start_ns + (uint64_t)((double)scrub->done / (double)scrub->rate * 1e9);
		uint64_t now_ns = pc_now_ns();
		struct timespec until;

		if (now_ns >= due_ns)
			break;
		until = pc_timespec(pc_min64(due_ns, now_ns + SLEEP_NS));
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* interrupted: it looks again */
		ret = report(scrub);
	}
	return ret;
}

/* (SC1) The generation of the life in which the index found it; false: that has passed. */
static bool pin(const struct pcache *cache, const struct pc_mapping *mapping, struct pc_piece *ret_piece)
{
	struct pc_mapping again;

	*ret_piece = (struct pc_piece){ .mapping = *mapping, .cached = true };
	ret_piece->gen = atomic_load_explicit(&cache->segments->refs[mapping->segment].gen, memory_order_acquire);
	/* order: still there after the generation was loaded, so it is that of this life (an entry pins its segment) */
	return pc_index_find_in(cache->index, mapping->segment, mapping->off, mapping->len, &again) &&
	       again.data_off == mapping->data_off && again.slot == mapping->slot;
}

static int check(struct scrub *scrub, const struct pc_mapping *mapping)
{
	struct pcache *cache = scrub->cache;
	struct pc_piece piece;
	int ret;

	scrub->done += mapping->len;
	if (mapping->kind != PC_MAPPING_DATA)
		return 0;
	if (!pin(cache, mapping, &piece))
		return 0;
	ret = pc_io_read_checked(cache, &piece, scrub->buf);
	pc_stats_add(cache->stats, PC_COUNT_SCRUBBED_BYTES, mapping->len);
	if (ret == -EBADMSG || (ret == -EIO && !pc_cache_is_failed(cache))) {
		scrub->damaged++;
		return 0;
	}
	return ret == -EAGAIN ? 0 : ret; /* it moved, or was clean and is gone (SC2) */
}

static int scrub_leaf(struct scrub *scrub, uint64_t off, uint64_t end)
{
	const struct pc_look *look;
	struct pc_walk walk;
	int ret = 0;

	pc_walk_begin(&walk, scrub->cache->index, off, end);
	while (ret == 0 && (look = pc_walk_next(&walk)) != NULL) {
		if (look->cached)
			ret = check(scrub, &look->mapping);
		else
			scrub->damaged += pc_lost_has(&scrub->cache->lost, look->mapping.off, look->mapping.len);
	}
	return ret;
}

static int scrub_all(struct scrub *scrub)
{
	uint64_t size = scrub->cache->backing->size_bytes;
	unsigned quiet = 0;
	int ret = 0;

	for (uint64_t off = 0; off < size && ret == 0; off += PC_LEAF_BYTES) {
		uint64_t done = scrub->done;

		ret = scrub_leaf(scrub, off, pc_min64(off + PC_LEAF_BYTES, size));
		if (ret == 0 && (scrub->done != done || ++quiet == LEAVES)) {
			quiet = 0;
			ret = pace(scrub);
		}
	}
	return ret;
}

int pc_scrub(struct pcache *cache, pcache_progress_fn progress, void *arg, uint64_t rate)
{
	PC_FREE uint8_t *buf = malloc(PCM_KEY_MAX_BYTES);
	struct scrub scrub = {
		.cache = cache,
		.progress = progress,
		.arg = arg,
		.rate = rate,
		.start_ns = pc_now_ns(),
		.total = pc_index_cached_bytes(cache->index),
		.buf = buf,
	};
	int ret;

	if (buf == NULL)
		return -ENOMEM;
	ret = scrub_all(&scrub);
	pc_cache_report_failure(cache);
	return ret < 0 ? ret : (scrub.damaged != 0 ? -EBADMSG : 0);
}
