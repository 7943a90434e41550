/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.c - the figures of --stats, one "key: value" a line, for people and scripts: the first word of a value is a
 * plain number, what follows in brackets is the same for the eye.
 */
#include "cp.h"

#include <inttypes.h>
#include <stdio.h>

static void print_bytes(const char *key, uint64_t bytes)
{
	char text[CP_HUMAN_BYTES];

	printf("%s: %" PRIu64 " (%s)\n", key, bytes, cp_human(text, bytes));
}

static void print_count(const char *key, uint64_t count)
{
	printf("%s: %" PRIu64 "\n", key, count);
}

static void print_seconds(const char *key, uint64_t ns)
{
	printf("%s: %.3f\n", key, (double)ns / 1e9);
}

/* Nothing is printed for a point that this run did not reach. */
static void print_point(const char *key, uint64_t begin_ns, uint64_t point_ns)
{
	if (point_ns)
		print_seconds(key, point_ns - begin_ns);
}

static const char *granularity_name(uint32_t granularity)
{
	static const char *const names[] = { "byte", "cache_line", "page" };

	return granularity < sizeof(names) / sizeof(names[0]) ? names[granularity] : "unknown";
}

void cp_report(const struct cp_job *job)
{
	const struct pcache_stats *stats = &job->stats;

	print_bytes("copied_bytes", job->done_bytes);
	print_bytes("resumed_bytes", job->resumed_bytes);
	print_point("opened_seconds", job->begin_ns, job->opened_ns);
	print_point("durable_seconds", job->begin_ns, job->durable_ns);
	print_point("drained_seconds", job->begin_ns, job->drained_ns);
	if (!job->opened_ns) /* drained before: there was no cache to open */
		return;
	printf("granularity: %s\n", granularity_name(stats->granularity));
	print_bytes("cache_bytes", stats->capacity_bytes);
	print_bytes("segment_bytes", stats->segment_bytes);
	print_count("segments", stats->segments);
	print_bytes("dirty_log_bytes", stats->dirty_log_bytes);
	print_bytes("index_bytes", stats->index_bytes);
	print_count("writes", stats->writes);
	print_bytes("write_bytes", stats->write_bytes);
	print_count("flushes", stats->flushes);
	print_count("media_syncs", stats->media_syncs);
	print_bytes("backing_write_bytes", stats->writeback_bytes);
	print_count("backing_writes", stats->writeback_ios);
	print_count("backing_batches", stats->writeback_batches);
	print_count("backing_syncs", stats->backing_syncs);
	print_count("segments_reclaimed", stats->segments_reclaimed);
	print_count("stalls", stats->stalls);
	print_seconds("stall_seconds", stats->stall_ns);
	print_seconds("stall_max_seconds", stats->stall_max_ns);
	print_count("replayed_keys", stats->replay_keys);
	print_count("voided_lines", stats->replay_voided);
	print_count("writeback_errors", stats->writeback_errors);
	print_count("checksum_errors", stats->checksum_errors);
}
