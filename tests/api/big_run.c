/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * big_run.c - the long run, by hand: 1 GiB of random writes, a flush after each, through a 256 MiB cache onto a file.
 *
 * Goal: the backing ends byte-identical to the model, and write-back needs at most one backing sync for 1,000 writes
 * that were each made durable. Exit status 0 only if both hold. The small version is part of test_model.
 */
#include "random_run.h"

#include "options.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static const char usage[] =
	"usage: big_run [OPTION]... CACHE BACKING\n"
	"Makes both files anew, writes at random, flushes after each write, drains and compares.\n"
	"  --volume MIB      size of the backing (default 1024)\n"
	"  --cache MIB       size of the cache (default 256)\n"
	"  --segment KIB     size of a segment (default: the library's)\n"
	"  --block BYTES     size of a write (default 4096)\n"
	"  --written MIB     how much to write (default: the size of the backing)\n"
	"  --dirty MIB       dirty data at which write-back starts (default: the library's)\n"
	"  --syncs N         fail with more than one backing sync for N writes (default 1000, 0: do not look)\n"
	"  --seed N          (default 1)\n"
	"  --keep            leave the files\n";

struct settings {
	struct random_run run;
	uint64_t written_bytes;
	uint64_t writes_per_sync;
	bool keep;
};

static struct settings take_arguments(int argc, char **argv)
{
	struct settings settings = {
		.run = { .volume_bytes = 1024 * MIB, .cache_bytes = 256 * MIB, .write_bytes = 4096, .seed = 1 },
		.writes_per_sync = 1000,
	};
	bool help = false;
	const struct test_option options[] = {
		{ "volume", .number = &settings.run.volume_bytes, .unit = MIB },
		{ "cache", .number = &settings.run.cache_bytes, .unit = MIB },
		{ "segment", .number = &settings.run.segment_bytes, .unit = 1024 },
		{ "block", .number = &settings.run.write_bytes },
		{ "written", .number = &settings.written_bytes, .unit = MIB },
		{ "dirty", .number = &settings.run.dirty_bytes, .unit = MIB },
		{ "syncs", .number = &settings.writes_per_sync },
		{ "seed", .number = &settings.run.seed },
		{ "keep", .flag = &settings.keep },
		{ "help", .flag = &help },
		{ .name = NULL },
	};
	bool good = test_options(argc, argv, options, NULL);

	if (good && help) {
		fputs(usage, stdout);
		exit(0);
	}
	if (!good || argc - optind != 2 || settings.run.write_bytes == 0 ||
	    settings.run.volume_bytes % settings.run.write_bytes != 0) {
		fputs(usage, stderr);
		exit(2);
	}
	settings.run.cache_path = argv[optind];
	settings.run.backing_path = argv[optind + 1];
	if (settings.written_bytes == 0)
		settings.written_bytes = settings.run.volume_bytes;
	settings.run.writes = settings.written_bytes / settings.run.write_bytes;
	return settings;
}

int main(int argc, char **argv)
{
	struct settings settings = take_arguments(argc, argv);
	struct random_result result = { 0 };
	int ret = random_run(&settings.run, &result);

	if (!settings.keep) {
		unlink(settings.run.cache_path);
		unlink(settings.run.backing_path);
	}
	if (ret < 0)
		return 1;
	printf("writes %" PRIu64 ", backing syncs %" PRIu64 ", writes per sync %" PRIu64 ", mismatches %" PRIu64 "\n",
	       result.writes, result.backing_syncs,
	       result.backing_syncs == 0 ? 0 : result.writes / result.backing_syncs, result.mismatches);
	return result.mismatches > 0 || result.backing_syncs * settings.writes_per_sync > result.writes;
}
