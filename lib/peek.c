/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peek.c - the page of statistics: encode, decode, validate.
 *
 * (PK1) A page is written to the slot that does not hold the newest one, and has a CRC: whoever reads meanwhile finds it
 *       torn and takes the other one. No lock, and no byte of it is ever used by the library.
 * (PK2) struct pcache_stats only grows at its end, so a page of an older or newer version is as long as both know.
 */
#include "peek.h"

#include "crc32c.h"
#include "util.h"

#include <string.h>

static_assert(sizeof(struct pcache_stats) <= PCM_LIVE_STATS_MAX, "the page has room for all figures");
static_assert(PCACHE_LATENCIES <= PCM_LIVE_TIMES_MAX, "the page has room for all times");

static uint32_t crc_of(const struct pcm_live *live, const uint8_t uuid[16])
{
	struct pcm_live copy = *live;

	copy.crc = pc_le32(0);
	return pc_crc32c(pc_crc32c(0, uuid, 16), &copy, sizeof(copy));
}

void pc_peek_encode(const struct pc_peek_page *page, const uint8_t uuid[16], struct pcm_live *ret_live)
{
	*ret_live = (struct pcm_live){
		.magic = pc_le32(PCM_MAGIC_LIVE),
		.number = pc_le64(page->number),
		.written_ns = pc_le64(page->written_ns),
		.pid = pc_le32(page->pid),
		.flags = pc_le32(page->closed ? PCM_LIVE_CLOSED : 0),
		.stats_bytes = pc_le32(sizeof(page->stats)),
		.times = pc_le32(PCACHE_LATENCIES),
	};
	for (unsigned i = 0; i < PCACHE_LATENCIES; i++)
		ret_live->time[i] = (struct pcm_live_time){
			.count = pc_le64(page->times[i].count),
			.sum_ns = pc_le64(page->times[i].sum_ns),
			.max_ns = pc_le64(page->times[i].max_ns),
			.p50_ns = pc_le64(page->times[i].p50_ns),
			.p99_ns = pc_le64(page->times[i].p99_ns),
			.p999_ns = pc_le64(page->times[i].p999_ns),
		};
	memcpy(ret_live->stats, &page->stats, sizeof(page->stats));
	ret_live->crc = pc_le32(crc_of(ret_live, uuid));
}

bool pc_peek_decode(const struct pcm_live *live, const uint8_t uuid[16], struct pc_peek_page *ret_page)
{
	uint64_t stats_bytes = pc_min64(pc_get32(live->stats_bytes), sizeof(ret_page->stats));
	uint64_t times = pc_min64(pc_get32(live->times), PCACHE_LATENCIES);

	if (pc_get32(live->magic) != PCM_MAGIC_LIVE || pc_get32(live->crc) != crc_of(live, uuid))
		return false;
	*ret_page = (struct pc_peek_page){
		.number = pc_get64(live->number),
		.written_ns = pc_get64(live->written_ns),
		.pid = pc_get32(live->pid),
		.closed = (pc_get32(live->flags) & PCM_LIVE_CLOSED) != 0,
	};
	for (unsigned i = 0; i < times; i++)
		ret_page->times[i] = (struct pcache_times){
			.count = pc_get64(live->time[i].count),
			.sum_ns = pc_get64(live->time[i].sum_ns),
			.max_ns = pc_get64(live->time[i].max_ns),
			.p50_ns = pc_get64(live->time[i].p50_ns),
			.p99_ns = pc_get64(live->time[i].p99_ns),
			.p999_ns = pc_get64(live->time[i].p999_ns),
		};
	memcpy(&ret_page->stats, live->stats, stats_bytes); /* of its struct: little-endian, as this machine is (PK2) */
	return true;
}
