/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - the command line of pcache-cp and its help.
 */
#include "cp.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

#define BLOCK_DEFAULT      MIB
#define BLOCK_MIN          UINT64_C(4096)
#define BLOCK_MAX          (1024 * MIB)
#define CACHE_MIN          MIB
#define CHECKPOINT_DEFAULT (64 * MIB)

static const char help[] =
	"Usage: pcache-cp [OPTION]... SRC DST\n"
	"Copy SRC through a cache on fast persistent memory to DST, a file or block device.\n"
	"SRC may be - for the standard input.\n"
	"\n"
	"  -c, --cache FILE       the cache file (default: DST.pcache)\n"
	"  -s, --cache-size SIZE  its size when it is created, at least 1M\n"
	"                         (default: twice the source, between 4M and 256M)\n"
	"  -b, --block-size SIZE  bytes read at a time, 4K to 1G (default: 1M)\n"
	"      --checkpoint SIZE  update the record of the copy after this much, or after\n"
	"                         a second (default: 64M)\n"
	"      --size SIZE        room for a source of unknown size\n"
	"                         (default: what the file system of DST has free)\n"
	"  -n, --no-drain         stop when all data is durable in the cache\n"
	"  -r, --resume           go on with an unfinished copy\n"
	"      --restart          throw an unfinished copy to the same DST away first\n"
	"      --keep-cache       do not remove the cache file after the copy\n"
	"      --direct           write DST past the page cache (O_DIRECT)\n"
	"      --stats            print figures to the standard output at the end\n"
	"  -p, --progress         show a progress bar even if stderr is no terminal\n"
	"  -v, --verbose          print what the cache logs about its life cycle\n"
	"  -h, --help             print this text\n"
	"  -V, --version          print the version\n"
	"\n"
	"SIZE is a number of bytes, or with K, M, G or T of units of 1024.\n"
	"\n"
	"Crashes: until the copy is complete a small file beside the cache, CACHE.resume,\n"
	"says how much of the source is durable. It never says too much: the cache is\n"
	"flushed first. After a kill or a power cut the same command with --resume goes on\n"
	"from there. It first checks that SRC and DST are the same files, that SRC was not\n"
	"changed, and that the last block before that place is the same in both.\n"
	"The cache file and CACHE.resume are removed when DST is complete and synced.\n"
	"A cache file that was there before, empty or all zero, is used but not removed.\n"
	"\n"
	"Interrupt (SIGINT, SIGTERM): finishes the block, makes it durable and stops, as if\n"
	"after --no-drain. A second one kills.\n"
	"\n"
	"Pipes: the cache needs to know the size of DST from the start. So for a source of\n"
	"unknown size DST is first made as large as --size says, without using space, and\n"
	"cut to the real length after the drain. After --no-drain it stays large until\n"
	"--resume has drained it. A pipe that was not read to its end cannot be resumed.\n"
	"\n"
	"Exit status:\n"
	"    0  DST is complete and synced; with --no-drain: all of SRC is durable in the cache\n"
	"    1  reading or writing failed, or SRC changed during the copy\n"
	"    2  wrong usage: options, SRC or DST that cannot be copied, nothing to resume\n"
	"    3  refused: the cache or its record is busy, damaged or of another copy\n"
	"  130  interrupted by SIGINT (143: by SIGTERM)\n";

enum long_only {
	OPT_CHECKPOINT = 256,
	OPT_SIZE,
	OPT_RESTART,
	OPT_KEEP_CACHE,
	OPT_DIRECT,
	OPT_STATS,
};

static const struct option long_options[] = {
	{ "cache", required_argument, NULL, 'c' },
	{ "cache-size", required_argument, NULL, 's' },
	{ "block-size", required_argument, NULL, 'b' },
	{ "checkpoint", required_argument, NULL, OPT_CHECKPOINT },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "no-drain", no_argument, NULL, 'n' },
	{ "resume", no_argument, NULL, 'r' },
	{ "restart", no_argument, NULL, OPT_RESTART },
	{ "keep-cache", no_argument, NULL, OPT_KEEP_CACHE },
	{ "direct", no_argument, NULL, OPT_DIRECT },
	{ "stats", no_argument, NULL, OPT_STATS },
	{ "progress", no_argument, NULL, 'p' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* The power of two that a suffix stands for; -1: no such suffix. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGT";

	if (*suffix == '\0')
		return 0;
	if (suffix[1] != '\0')
		return -1;

	char upper = (char)(*suffix >= 'a' && *suffix <= 'z' ? *suffix - 'a' + 'A' : *suffix);
	const char *letter = strchr(letters, upper);

	return letter ? 10 * (int)(letter - letters + 1) : -1;
}

static int parse_size(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes)
{
	char *end = NULL;

	errno = 0;

	/* strtoull would take a sign and blanks */
	unsigned long long number = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
	int shift = end && errno == 0 ? suffix_shift(end) : -1;

	if (shift < 0 || number > (UINT64_MAX >> shift))
		return cp_fail(CP_USAGE, "--%s: '%s' is not a size", option, text);

	uint64_t bytes = (uint64_t)number << shift;

	if (bytes < min || bytes > max)
		return cp_fail(CP_USAGE, "--%s: %s is out of range (%ju to %ju)", option, text, (uintmax_t)min,
			       (uintmax_t)max);
	*ret_bytes = bytes;
	return CP_OK;
}

/* Returns -1 for what is not a plain option. */
static int take_size(int option, const char *text, struct cp_options *options)
{
	switch (option) {
	case 's':
		return parse_size("cache-size", text, CACHE_MIN, INT64_MAX, &options->cache_bytes);
	case 'b':
		return parse_size("block-size", text, BLOCK_MIN, BLOCK_MAX, &options->block_bytes);
	case OPT_CHECKPOINT:
		return parse_size("checkpoint", text, 1, INT64_MAX, &options->checkpoint_bytes);
	case OPT_SIZE:
		return parse_size("size", text, 1, INT64_MAX, &options->size_bytes);
	default:
		return -1;
	}
}

static int take_flag(int option, struct cp_options *options)
{
	switch (option) {
	case 'n':
		options->no_drain = true;
		return CP_OK;
	case 'r':
		options->resume = true;
		return CP_OK;
	case OPT_RESTART:
		options->restart = true;
		return CP_OK;
	case OPT_KEEP_CACHE:
		options->keep_cache = true;
		return CP_OK;
	case OPT_DIRECT:
		options->direct = true;
		return CP_OK;
	case OPT_STATS:
		options->stats = true;
		return CP_OK;
	case 'p':
		options->progress = true;
		return CP_OK;
	case 'v':
		options->verbose = true;
		return CP_OK;
	default: /* getopt has said what is wrong */
		return CP_USAGE;
	}
}

static int name_files(struct cp_options *options, const char *cache)
{
	int len = cache ? asprintf(&options->cache, "%s", cache)
			: asprintf(&options->cache, "%s.pcache", options->destination);

	if (len < 0) {
		options->cache = NULL;
		return cp_fail(CP_FAILED, "out of memory");
	}
	if (asprintf(&options->record, "%s.resume", options->cache) < 0) {
		options->record = NULL;
		return cp_fail(CP_FAILED, "out of memory");
	}
	if (asprintf(&options->record_temp, "%s.new", options->record) < 0) {
		options->record_temp = NULL;
		return cp_fail(CP_FAILED, "out of memory");
	}
	return CP_OK;
}

static int take_names(int argc, char **argv, struct cp_options *options)
{
	if (argc - optind != 2)
		return cp_fail(CP_USAGE, "needs SRC and DST; see --help");
	options->source = argv[optind];
	options->destination = argv[optind + 1];
	if (options->source[0] == '\0' || options->destination[0] == '\0')
		return cp_fail(CP_USAGE, "an empty file name");
	if (options->resume && options->restart)
		return cp_fail(CP_USAGE, "--resume and --restart exclude each other");
	return CP_OK;
}

int cp_options_parse(int argc, char **argv, struct cp_options *ret_options, bool *ret_done)
{
	struct cp_options options = { .block_bytes = BLOCK_DEFAULT, .checkpoint_bytes = CHECKPOINT_DEFAULT };
	const char *cache = NULL;
	int option;
	int status;

	while ((option = getopt_long(argc, argv, "c:s:b:nrpvhV", long_options, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			if (option == 'h')
				fputs(help, stdout);
			else
				printf("pcache-cp %s\n", pcache_version());
			*ret_done = true;
			return CP_OK;
		}
		if (option == 'c') {
			cache = optarg;
			continue;
		}
		status = take_size(option, optarg, &options);
		if (status < 0)
			status = take_flag(option, &options);
		if (status)
			return status;
	}
	status = take_names(argc, argv, &options);
	if (!status)
		status = name_files(&options, cache);
	if (status) {
		cp_options_free(&options);
		return status;
	}
	*ret_options = options;
	return CP_OK;
}

void cp_options_free(struct cp_options *options)
{
	free(options->cache);
	free(options->record);
	free(options->record_temp);
}
