/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * figures.c - the names of all figures, and where a look from outside finds them.
 */
#include "stats.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define GAUGE(name, type, help)   { #name, offsetof(struct pcache_stats, name), type, false, help }
#define COUNTER(name, type, help) { #name, offsetof(struct pcache_stats, name), type, true, help }
#define COUNT CTL_TYPE_COUNT
#define BYTES CTL_TYPE_BYTES
#define NS    CTL_TYPE_NS

const struct ctl_figure ctl_figures[] = {
	GAUGE(backing_bytes, BYTES, "size of the backing"),
	GAUGE(capacity_bytes, BYTES, "size of all segments"),
	GAUGE(segment_bytes, BYTES, "size of one segment"),
	GAUGE(segments, COUNT, "segments"),
	GAUGE(segments_free, COUNT, "segments that hold nothing"),
	GAUGE(segments_write, COUNT, "segments of the log"),
	GAUGE(segments_fill, COUNT, "segments of kept misses"),
	GAUGE(segments_hot, COUNT, "segments of what was carried forward"),
	GAUGE(cached_bytes, BYTES, "bytes that a read finds in the cache"),
	GAUGE(dirty_bytes, BYTES, "of them not on the backing yet"),
	GAUGE(clean_bytes, BYTES, "of them on the backing, too"),
	GAUGE(dead_bytes, BYTES, "stored, and superseded"),
	GAUGE(dirty_log_bytes, BYTES, "log that is not on the backing yet"),
	GAUGE(index_bytes, BYTES, "memory of the index"),
	GAUGE(max_atomic_bytes, BYTES, "longest write that is whole or absent after a crash"),
	GAUGE(max_atomic_zero_bytes, BYTES, "the same of zeroes and discards"),
	COUNTER(reads, COUNT, "read calls"),
	COUNTER(read_hits, COUNT, "read calls that needed nothing from the backing"),
	COUNTER(read_misses, COUNT, "read calls that did"),
	COUNTER(read_bytes, BYTES, "bytes read"),
	COUNTER(read_hit_bytes, BYTES, "of them from the cache"),
	COUNTER(read_miss_bytes, BYTES, "of them from the backing"),
	COUNTER(writes, COUNT, "write calls"),
	COUNTER(write_bytes, BYTES, "bytes written"),
	COUNTER(zero_bytes, BYTES, "bytes written as zeroes"),
	COUNTER(discard_bytes, BYTES, "bytes discarded"),
	COUNTER(around_bytes, BYTES, "bytes written past the cache"),
	COUNTER(flushes, COUNT, "flush calls"),
	COUNTER(writeback_batches, COUNT, "batches written back"),
	COUNTER(writeback_bytes, BYTES, "bytes written back"),
	COUNTER(writeback_zero_bytes, BYTES, "bytes zeroed on the backing as ranges"),
	COUNTER(writeback_ios, COUNT, "writes to the backing"),
	COUNTER(writeback_errors, COUNT, "batches that failed"),
	COUNTER(backing_syncs, COUNT, "syncs of the backing"),
	COUNTER(backing_read_bytes, BYTES, "bytes read from the backing"),
	COUNTER(backing_read_errors, COUNT, "reads of the backing that failed"),
	COUNTER(stalls, COUNT, "writes that waited for space"),
	COUNTER(stall_ns, NS, "how long they waited"),
	GAUGE(stall_max_ns, NS, "the longest of these waits"),
	COUNTER(checksum_errors, COUNT, "extents whose data did not match"),
	COUNTER(clean_errors, COUNT, "of clean data, read again from the backing"),
	COUNTER(segments_reclaimed, COUNT, "segments turned free"),
	COUNTER(moved_bytes, BYTES, "carried forward by reclaim"),
	COUNTER(fill_bytes, BYTES, "read misses kept"),
	COUNTER(fills_refused, COUNT, "read misses not kept"),
	COUNTER(read_ahead_bytes, BYTES, "read before anybody asked"),
	COUNTER(bypassed_bytes, BYTES, "missed bytes that admission did not keep"),
	COUNTER(shared_misses, COUNT, "misses answered by the read of another"),
	COUNTER(ghost_hits, COUNT, "misses of what was evicted not long ago"),
	COUNTER(kills, COUNT, "kept blocks made invalid by a write"),
	COUNTER(scrubbed_bytes, BYTES, "compared with their checksums on demand"),
	COUNTER(media_data_bytes, BYTES, "stored for writes: data"),
	COUNTER(media_key_bytes, BYTES, "stored for writes: keys"),
	COUNTER(media_fill_bytes, BYTES, "stored for kept misses"),
	COUNTER(media_move_bytes, BYTES, "stored for what was carried forward"),
	COUNTER(media_record_bytes, BYTES, "stored for records and kills"),
	COUNTER(media_syncs, COUNT, "syncs of the cache file"),
	GAUGE(open_ns, NS, "how long open took"),
	GAUGE(replay_ns, NS, "of it in rebuilding the index"),
	GAUGE(replay_keys, COUNT, "keys found at open"),
	GAUGE(replay_voided, COUNT, "torn lines voided at open"),
	GAUGE(epoch, COUNT, "times opened"),
};

const size_t ctl_figure_count = CTL_ARRAY_SIZE(ctl_figures);

const char *const ctl_latency_names[PCACHE_LATENCIES] = { "read_hit", "read_miss", "write", "flush", "batch" };

uint64_t ctl_figure_value(const struct pcache_stats *stats, const struct ctl_figure *figure)
{
	uint64_t value;

	memcpy(&value, (const uint8_t *)stats + figure->off, sizeof(value));
	return value;
}

const char *ctl_state_name(uint32_t state)
{
	static const char *const names[] = { "ok", "degraded", "read-only", "failed" };

	return state < CTL_ARRAY_SIZE(names) ? names[state] : "?";
}

int ctl_peek(const char *path, struct pcache_stats *ret_stats, struct pcache_peek *ret_peek)
{
	int error;

	memset(ret_stats, 0, sizeof(*ret_stats));
	memset(ret_peek, 0, sizeof(*ret_peek));
	ret_stats->size = sizeof(*ret_stats);
	ret_peek->size = sizeof(*ret_peek);
	error = pcache_stats_peek(path, ret_stats, ret_peek);
	if (error == -ENODATA)
		return ctl_fail(CTL_FAILED, "%s: has no statistics: it was never open for writing, or their page is damaged; "
				"`pcachectl info` reads its records", path);
	return error < 0 ? ctl_refused(path, error) : CTL_OK;
}
