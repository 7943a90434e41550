/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.c - the figures, one `key: value` a line; with --json the same ones again as one object in the last line.
 */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FIGURES_MAX 96u

/* Bytes of a segment that hold no blocks, and what a block takes on the media: docs/format.md. */
#define SEGMENT_HEADER_BYTES 8192u
#define STORED_BLOCK_BYTES   (TRACE_BLOCK_BYTES + 64u)

enum kind {
	COUNT,
	SHARE,   /* of one */
	SECONDS,
	WORD,
};

struct figure {
	const char *key;
	enum kind kind;
	uint64_t count;
	double number;
	const char *word;
};

struct report {
	struct figure figures[FIGURES_MAX];
	unsigned count;
};

static void add(struct report *report, struct figure figure)
{
	if (report->count < FIGURES_MAX)
		report->figures[report->count++] = figure;
}

static void add_count(struct report *report, const char *key, uint64_t count)
{
	add(report, (struct figure){ .key = key, .kind = COUNT, .count = count });
}

static void add_seconds(struct report *report, const char *key, uint64_t ns)
{
	add(report, (struct figure){ .key = key, .kind = SECONDS, .number = (double)ns / 1e9 });
}

static void add_word(struct report *report, const char *key, const char *word)
{
	add(report, (struct figure){ .key = key, .kind = WORD, .word = word });
}

/* Of the reads that a tally has, the share that this many are; 0 of none. */
static void add_share(struct report *report, const char *key, uint64_t count, const struct trace_tally *tally)
{
	uint64_t all = tally->hits + tally->misses;

	add(report, (struct figure){ .key = key, .kind = SHARE, .number = all == 0 ? 0 : (double)count / (double)all });
}

static void add_miss_ratio(struct report *report, const char *key, const struct trace_tally *tallies)
{
	add_share(report, key, tallies[TRACE_WHOLE].misses, &tallies[TRACE_WHOLE]);
}

static void add_trace(struct report *report, const struct trace_job *job)
{
	uint64_t reads = 0;
	uint64_t writes = 0;

	for (uint64_t i = 0; i < job->trace->count; i++) {
		const struct trace_request *request = &job->trace->requests[i];

		*(request->is_write ? &writes : &reads) += request->count;
	}
	add_count(report, "requests", job->trace->count);
	add_count(report, "block_reads", reads);
	add_count(report, "block_writes", writes);
	add_count(report, "blocks", job->blocks->count);
}

static void add_settings(struct report *report, const struct trace_job *job, const struct pcache_stats *stats)
{
	static const char *const granularities[] = { "byte", "cache_line", "page" };
	static const char *const fills[] = { "always", "second-touch", "never" };
	const struct trace_cache_options *cache = &job->options->cache;

	add_word(report, "policy", cache->eviction == PCACHE_EVICTION_FIFO ? "fifo" : "s3fifo");
	add_word(report, "fill", fills[cache->fill]);
	add_count(report, "cache_bytes", cache->cache_bytes);
	add_count(report, "segment_bytes", stats->segment_bytes);
	add_count(report, "segments", stats->segments);
	add_count(report, "gc_percent", cache->gc_percent);
	add_word(report, "granularity", stats->granularity <= PCACHE_GRANULARITY_PAGE
		 ? granularities[stats->granularity] : "unknown");
}

/* Counters begin again with each open. */
static struct pcache_stats sum_runs(const struct trace_outcome *outcome)
{
	struct pcache_stats sum = outcome->runs[outcome->run_count - 1].stats;

	for (uint32_t i = 0; i + 1 < outcome->run_count; i++) {
		const struct pcache_stats *run = &outcome->runs[i].stats;

		sum.fill_bytes += run->fill_bytes;
		sum.moved_bytes += run->moved_bytes;
		sum.writeback_bytes += run->writeback_bytes;
		sum.read_miss_bytes += run->read_miss_bytes;
		sum.read_ahead_bytes += run->read_ahead_bytes;
		sum.ghost_hits += run->ghost_hits;
		sum.kills += run->kills;
		sum.fills_refused += run->fills_refused;
		sum.bypassed_bytes += run->bypassed_bytes;
		sum.segments_reclaimed += run->segments_reclaimed;
		sum.stalls += run->stalls;
		sum.clean_errors += run->clean_errors;
		sum.checksum_errors += run->checksum_errors;
	}
	return sum;
}

static void add_real(struct report *report, const struct trace_outcome *outcome, const struct pcache_stats *stats)
{
	const struct trace_tally *tally = &outcome->tallies[TRACE_WHOLE];
	uint64_t ns = 0;

	for (uint32_t i = 0; i < outcome->run_count; i++)
		ns += outcome->runs[i].ns;
	add_count(report, "hits", tally->hits);
	add_count(report, "misses", tally->misses);
	add_share(report, "miss_ratio", tally->misses, tally);
	add_count(report, "filled_bytes", stats->fill_bytes);
	add_count(report, "moved_bytes", stats->moved_bytes);
	add_count(report, "written_back_bytes", stats->writeback_bytes);
	add_count(report, "backing_read_bytes", stats->read_miss_bytes + stats->read_ahead_bytes);
	add_count(report, "read_ahead_bytes", stats->read_ahead_bytes);
	add_count(report, "ghost_hits", stats->ghost_hits);
	add_count(report, "kills", stats->kills);
	add_count(report, "fills_refused", stats->fills_refused);
	add_count(report, "bypassed_bytes", stats->bypassed_bytes);
	add_count(report, "segments_reclaimed", stats->segments_reclaimed);
	add_count(report, "stalls", stats->stalls);
	add_count(report, "clean_errors", stats->clean_errors);
	add_count(report, "checksum_errors", stats->checksum_errors);
	add_count(report, "cached_bytes", stats->cached_bytes);
	add_seconds(report, "seconds", ns);
}

static void add_reference(struct report *report, const struct trace_reference *s3fifo,
			  const struct trace_reference *fifo)
{
	add_count(report, "reference_blocks", s3fifo->capacity);
	add_count(report, "reference_hits", s3fifo->tallies[TRACE_WHOLE].hits);
	add_count(report, "reference_misses", s3fifo->tallies[TRACE_WHOLE].misses);
	add_miss_ratio(report, "reference_miss_ratio", s3fifo->tallies);
	add_count(report, "reference_filled_bytes", s3fifo->counts.inserted * TRACE_BLOCK_BYTES);
	add_count(report, "reference_moved_bytes", s3fifo->counts.moved * TRACE_BLOCK_BYTES);
	add_count(report, "reference_ghost_hits", s3fifo->counts.ghost_hits);
	add_count(report, "reference_fifo_hits", fifo->tallies[TRACE_WHOLE].hits);
	add_count(report, "reference_fifo_misses", fifo->tallies[TRACE_WHOLE].misses);
	add_miss_ratio(report, "reference_fifo_miss_ratio", fifo->tallies);
}

static void add_crash(struct report *report, const struct trace_job *job, const struct trace_tally *reference)
{
	const struct trace_outcome *outcome = job->outcome;
	const struct trace_tally *real = outcome->tallies;
	const struct pcache_stats *reopened = &outcome->runs[outcome->run_count - 1].stats;

	add_count(report, "crash_after", job->options->crash_after);
	add_count(report, "window", job->options->window);
	add_share(report, "before_crash_hit_ratio", real[TRACE_BEFORE].hits, &real[TRACE_BEFORE]);
	add_share(report, "after_crash_hit_ratio", real[TRACE_AFTER].hits, &real[TRACE_AFTER]);
	add_share(report, "reference_before_crash_hit_ratio", reference[TRACE_BEFORE].hits, &reference[TRACE_BEFORE]);
	add_share(report, "reference_after_crash_hit_ratio", reference[TRACE_AFTER].hits, &reference[TRACE_AFTER]);
	add_count(report, "replayed_keys", reopened->replay_keys);
	add_seconds(report, "reopen_seconds", reopened->open_ns);
}

static void print_value(const struct figure *figure, const char *quote)
{
	switch (figure->kind) {
	case COUNT:
		printf("%" PRIu64, figure->count);
		break;
	case SHARE:
		printf("%.6f", figure->number);
		break;
	case SECONDS:
		printf("%.3f", figure->number);
		break;
	case WORD:
		printf("%s%s%s", quote, figure->word, quote);
		break;
	}
}

static void print(const struct report *report, bool json)
{
	for (unsigned i = 0; i < report->count; i++) {
		printf("%s: ", report->figures[i].key);
		print_value(&report->figures[i], "");
		putchar('\n');
	}
	for (unsigned i = 0; json && i < report->count; i++) {
		printf("%s\"%s\":", i == 0 ? "{" : ",", report->figures[i].key);
		print_value(&report->figures[i], "\"");
	}
	if (json)
		puts("}");
}

static uint32_t to_capacity(uint64_t blocks)
{
	if (blocks == 0)
		return 1;
	return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

/* Blocks in the segments that may be in use. */
static uint32_t usable_blocks(const struct pcache_stats *stats, uint32_t gc_percent)
{
	uint64_t segments = stats->segments * gc_percent / 100;

	return to_capacity(segments * ((stats->segment_bytes - SEGMENT_HEADER_BYTES) / STORED_BLOCK_BYTES));
}

/* One capacity, both policies. */
static int run_references(const struct trace_job *job, uint32_t capacity, struct trace_reference *s3fifo,
			  struct trace_reference *fifo)
{
	int ret = trace_reference(job, TRACE_S3FIFO, capacity, s3fifo);

	if (ret == 0)
		ret = trace_reference(job, TRACE_FIFO, capacity, fifo);
	return ret < 0 ? trace_fail(TRACE_FAILED, "reference: %s", strerror(-ret)) : TRACE_OK;
}

int trace_report(const struct trace_job *job)
{
	struct pcache_stats stats = sum_runs(job->outcome);
	struct report report = { .count = 0 };
	struct trace_reference s3fifo;
	struct trace_reference fifo;
	struct trace_reference full_s3fifo;
	struct trace_reference full_fifo;
	bool is_fifo;
	int status = run_references(job, usable_blocks(&stats, job->options->cache.gc_percent), &s3fifo, &fifo);

	if (status == TRACE_OK)
		status = run_references(job, to_capacity(job->options->cache.cache_bytes / TRACE_BLOCK_BYTES),
					&full_s3fifo, &full_fifo);
	if (status != TRACE_OK)
		return status;
	add_trace(&report, job);
	add_settings(&report, job, &stats);
	add_real(&report, job->outcome, &stats);
	add_reference(&report, &s3fifo, &fifo);
	add_count(&report, "reference_full_blocks", full_s3fifo.capacity);
	add_miss_ratio(&report, "reference_full_miss_ratio", full_s3fifo.tallies);
	add_miss_ratio(&report, "reference_full_fifo_miss_ratio", full_fifo.tallies);
	is_fifo = job->options->cache.eviction == PCACHE_EVICTION_FIFO;
	if (job->options->crash_after != 0)
		add_crash(&report, job, is_fifo ? fifo.tallies : s3fifo.tallies);
	print(&report, job->options->json);
	return TRACE_OK;
}
