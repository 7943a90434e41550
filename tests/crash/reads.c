/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reads.c - reads of the workload: the whole volume, or a few of a part each, often where others were before, so that
 * blocks are read twice and carried forward, and neighbours follow each other, so that more is read ahead.
 */
#include "crash.h"

#include <string.h>

#define PART_MAX   6000u
#define BLOCKS_MAX 4u

struct part {
	uint64_t off;
	uint64_t len;
};

/* Any bytes, or whole blocks. */
static struct part choose_part(const struct explorer *explorer, struct prng *prng, uint64_t *next, bool is_near)
{
	uint64_t bytes = explorer->volume.bytes;
	uint64_t dice = prng_below(prng, 100);
	struct part part = { .off = prng_below(prng, bytes), .len = 1 + prng_below(prng, PART_MAX) };

	if (dice < 20 && *next < bytes)
		part.off = *next;
	else if (dice < 60 || is_near)
		part.off %= NEAR_BYTES;
	if (prng_happens(prng, 40)) {
		part.off = pc_align_down(part.off, PCM_BLOCK);
		part.len = (1 + prng_below(prng, BLOCKS_MAX)) * PCM_BLOCK;
	}
	part.len = pc_min64(part.len, bytes - part.off);
	*next = part.off + part.len;
	return part;
}

/* Cells that the part has whole can be judged. */
static void mark_known(const struct explorer *explorer, struct part part, uint8_t *unknown)
{
	uint64_t first = pc_align_up(part.off, CELL_BYTES) / CELL_BYTES;
	uint64_t end = (part.off + part.len) / CELL_BYTES;

	memset(unknown, 1, explorer->volume.cells);
	if (first < end)
		memset(unknown + first, 0, end - first);
}

bool read_part(struct explorer *explorer, struct prng *prng, struct reader *reader, const char *where,
	       const struct volume_question *question)
{
	struct part part = choose_part(explorer, prng, &reader->next, reader->is_near);
	struct volume_question asked = *question;
	ssize_t ret;

	if (prng_happens(prng, 8) && pc_miss_is_kept(explorer->live->cache)) /* what goes wrong shows when it is read */
		(void)pc_range_prefetch(explorer->live->cache, part.off, part.len, false);
	ret = pc_io_read(explorer->live->cache, reader->buf + part.off, part.len, part.off, 0);

	if (ret != (ssize_t)part.len) {
		fail_errno(explorer, where, ret < 0 ? (int)ret : -EIO);
		return false;
	}
	mark_known(explorer, part, reader->unknown);
	asked.unknown = reader->unknown;
	return judge(explorer, where, reader->buf, &asked);
}

static struct volume_question latest(const struct explorer *explorer)
{
	return (struct volume_question){
		.rule = VOLUME_PREFIX,
		.low = explorer->volume.newest,
		.high = UINT64_MAX,
	};
}

void do_read(struct explorer *explorer)
{
	const struct volume_question question = latest(explorer);
	int ret = world_read(explorer->live, explorer->scratch);

	if (ret < 0)
		fail_errno(explorer, "read", ret);
	else
		judge(explorer, "read", explorer->scratch, &question);
}

void do_read_parts(struct explorer *explorer)
{
	struct reader reader = { .buf = explorer->scratch, .unknown = explorer->unknown };
	uint64_t count = 1 + prng_below(&explorer->prng, 5);

	for (uint64_t i = 0; i < count && !explorer->failed; i++) {
		const struct volume_question question = latest(explorer);

		read_part(explorer, &explorer->prng, &reader, "read of a part", &question);
	}
}
