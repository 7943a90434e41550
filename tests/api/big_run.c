/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * big_run.c - the long run, by hand: 1 GiB of random writes, a flush after each, through a 256 MiB cache onto a file.
 *
 * Goal: the backing ends byte-identical to the model, and write-back needs at most one backing sync for 1,000 writes
 * that were each made durable. Exit status 0 only if both hold. The small version is part of test_model.
 */
#include "random_run.h"

#include <getopt.h>
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

static const struct option options[] = {
	{ "volume", required_argument, NULL, 'v' },  { "cache", required_argument, NULL, 'c' },
	{ "segment", required_argument, NULL, 'g' }, { "block", required_argument, NULL, 'b' },
	{ "written", required_argument, NULL, 'w' }, { "dirty", required_argument, NULL, 'd' },
	{ "syncs", required_argument, NULL, 'y' },   { "seed", required_argument, NULL, 's' },
	{ "keep", no_argument, NULL, 'k' },          { "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct settings {
	struct random_run run;
	uint64_t written_bytes;
	uint64_t writes_per_sync;
	bool keep;
};

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (end == text || *end != '\0') {
		fprintf(stderr, "not a number: %s\n", text);
		exit(2);
	}
	return value;
}

static void take_option(struct settings *settings, int option)
{
	switch (option) {
	case 'v': settings->run.volume_bytes = number(optarg) * MIB; break;
	case 'c': settings->run.cache_bytes = number(optarg) * MIB; break;
	case 'g': settings->run.segment_bytes = number(optarg) * 1024; break;
	case 'b': settings->run.write_bytes = number(optarg); break;
	case 'w': settings->written_bytes = number(optarg) * MIB; break;
	case 'd': settings->run.dirty_bytes = number(optarg) * MIB; break;
	case 'y': settings->writes_per_sync = number(optarg); break;
	case 's': settings->run.seed = number(optarg); break;
	case 'k': settings->keep = true; break;
	case 'h': fputs(usage, stdout); exit(0);
	default: fputs(usage, stderr); exit(2);
	}
}

static struct settings take_arguments(int argc, char **argv)
{
	struct settings settings = {
		.run = { .volume_bytes = 1024 * MIB, .cache_bytes = 256 * MIB, .write_bytes = 4096, .seed = 1 },
		.writes_per_sync = 1000,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&settings, option);
	if (argc - optind != 2 || settings.run.write_bytes == 0 ||
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
