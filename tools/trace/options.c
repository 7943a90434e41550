/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - the command line of pcache-trace and its help.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB          (UINT64_C(1) << 20)
#define BLOCKS_MAX   (1u << 28)
#define REQUESTS_MAX (UINT64_C(1) << 40)
#define THETA_MAX    8.0

static const char help[] =
	"Usage: pcache-trace [OPTION]... TRACE\n"
	"       pcache-trace [OPTION]... --generate SHAPE\n"
	"Replay a block trace through a cache of libpcache, as fast as it goes, and compare its\n"
	"hits with those of S3-FIFO and FIFO as the literature describes them.\n"
	"\n"
	"Trace (- is the standard input)\n"
	"      --format FORMAT      csv: time_s,op(r|w),offset_bytes,length_bytes a line; a heading\n"
	"                           and lines that begin with # are skipped\n"
	"                           oracle: libCacheSim's oracleGeneral; every object is a block\n"
	"                           that is read (default: csv if the name ends with .csv)\n"
	"      --limit N            stop after N requests\n"
	"      --generate SHAPE     no file, but zipf; scan-zipf: and scans of blocks that never\n"
	"                           come again; loop: all blocks in a row, over and over\n"
	"      --blocks N           different blocks, without those of scans (default 65536)\n"
	"      --requests N         (default 1000000)\n"
	"      --theta X            of zipf, 0 to 8 (default 0.99)\n"
	"      --seed S             (default 1)\n"
	"      --write-percent P    writes among the requests that belong to no scan (default 0)\n"
	"      --scan-every N       requests between two scans (default 10000)\n"
	"      --scan-blocks N      blocks of a scan (default 5000)\n"
	"      --out FILE           write the trace to FILE, replay nothing\n"
	"\n"
	"Cache\n"
	"      --policy POLICY      s3fifo or fifo (default s3fifo)\n"
	"      --cache-size SIZE    of the cache file (default 64M)\n"
	"      --segment-size SIZE  a power of two, 64K to 64M; at least 8 must fit (default 1M)\n"
	"      --gc-percent P       reclaim starts above that share of segments in use, 1 to 95\n"
	"                           (default 70)\n"
	"      --read-ahead BYTES   of a sequential reader, up to 256K; 0 is off (default 0)\n"
	"      --fill WHICH         misses to keep: always, second-touch or never (default always)\n"
	"      --bypass BYTES       keep no more misses of a sequential reader behind so many bytes;\n"
	"                           0 is off (default 0)\n"
	"      --dir DIR            where the cache and the backing are created, in a directory of\n"
	"                           their own that is removed at the end (default /dev/shm)\n"
	"\n"
	"Replay\n"
	"      --verify             check the content of every block that is read; at the end read\n"
	"                           all of them again, drain, and check the backing. The backing\n"
	"                           then takes as much space as the trace has blocks.\n"
	"      --crash-after N      after N requests the process is killed, and another one opens\n"
	"                           the cache again and goes on\n"
	"      --window N           requests before and after the crash whose hits are counted\n"
	"                           apart (default 10000)\n"
	"      --pace               wait for a millisecond whenever a miss was not kept: here the\n"
	"                           backing is memory, and reads can come faster than background\n"
	"                           work makes room; a slow backing gives it the time\n"
	"      --json               at the end the same figures as one line of JSON\n"
	"  -h, --help               print this text\n"
	"  -V, --version            print the version\n"
	"\n"
	"SIZE and BYTES may end with K, M, G or T: units of 1024.\n"
	"\n"
	"Blocks have 4 KiB. Requests that begin or end inside a block are widened to whole blocks.\n"
	"Reads are issued block by block. A read of a block is a hit if nothing of it came from the\n"
	"backing. Writes are neither hits nor misses; in the reference they bring their blocks in.\n"
	"Times in the trace are not waited for.\n"
	"\n"
	"The reference knows no segments and no media, only a number of blocks: reference_* as many\n"
	"as fit into the share of segments that --gc-percent lets be in use, reference_full_* as\n"
	"many as the cache file has room for.\n"
	"\n"
	"On ordinary memory set PMEM2_FORCE_GRANULARITY=CACHE_LINE to have the cache treat it as\n"
	"persistent memory.\n"
	"\n"
	"Exit status:\n"
	"    0  done\n"
	"    1  something failed: the trace, the cache, space\n"
	"    2  wrong usage\n"
	"    3  --verify found wrong content\n"
	"  130  interrupted by SIGINT (129: SIGHUP, 143: SIGTERM)\n";

enum {
	OPT_FORMAT = 256,
	OPT_LIMIT,
	OPT_GENERATE,
	OPT_BLOCKS,
	OPT_REQUESTS,
	OPT_THETA,
	OPT_SEED,
	OPT_WRITE_PERCENT,
	OPT_SCAN_EVERY,
	OPT_SCAN_BLOCKS,
	OPT_OUT,
	OPT_POLICY,
	OPT_CACHE_SIZE,
	OPT_SEGMENT_SIZE,
	OPT_GC_PERCENT,
	OPT_READ_AHEAD,
	OPT_FILL,
	OPT_BYPASS,
	OPT_DIR,
	OPT_VERIFY,
	OPT_CRASH_AFTER,
	OPT_WINDOW,
	OPT_PACE,
	OPT_JSON,
};

static const struct option long_options[] = {
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "generate", required_argument, NULL, OPT_GENERATE },
	{ "blocks", required_argument, NULL, OPT_BLOCKS },
	{ "requests", required_argument, NULL, OPT_REQUESTS },
	{ "theta", required_argument, NULL, OPT_THETA },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "write-percent", required_argument, NULL, OPT_WRITE_PERCENT },
	{ "scan-every", required_argument, NULL, OPT_SCAN_EVERY },
	{ "scan-blocks", required_argument, NULL, OPT_SCAN_BLOCKS },
	{ "out", required_argument, NULL, OPT_OUT },
	{ "policy", required_argument, NULL, OPT_POLICY },
	{ "cache-size", required_argument, NULL, OPT_CACHE_SIZE },
	{ "segment-size", required_argument, NULL, OPT_SEGMENT_SIZE },
	{ "gc-percent", required_argument, NULL, OPT_GC_PERCENT },
	{ "read-ahead", required_argument, NULL, OPT_READ_AHEAD },
	{ "fill", required_argument, NULL, OPT_FILL },
	{ "bypass", required_argument, NULL, OPT_BYPASS },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "crash-after", required_argument, NULL, OPT_CRASH_AFTER },
	{ "window", required_argument, NULL, OPT_WINDOW },
	{ "pace", no_argument, NULL, OPT_PACE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* What one argument means, and where it goes. */
struct parser {
	struct trace_options options;
	const char *name; /* of the option that is parsed */
	uint64_t generator_options; /* seen */
};

static int take_number(const struct parser *parser, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	static const char units[] = "KMGT";
	char *end = NULL;
	unsigned long long value;
	unsigned shift = 0;

	errno = 0;
	value = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0; /* strtoull takes signs and blanks */
	if (end != NULL && *end != '\0') {
		const char *unit = strchr(units, *end);

		shift = unit == NULL ? 0 : 10 * ((unsigned)(unit - units) + 1);
		end += unit == NULL ? 0 : 1;
	}
	if (end == NULL || *end != '\0' || errno != 0 || value > UINT64_MAX >> shift)
		return trace_fail(TRACE_USAGE, "--%s: '%s' is not a number", parser->name, text);
	value <<= shift;
	if (value < min || value > max)
		return trace_fail(TRACE_USAGE, "--%s: %s is out of range (%ju to %ju)", parser->name, text,
				  (uintmax_t)min, (uintmax_t)max);
	*ret_value = value;
	return TRACE_OK;
}

static int take_number32(const struct parser *parser, const char *text, uint32_t min, uint32_t max,
			 uint32_t *ret_value)
{
	uint64_t value;
	int status = take_number(parser, text, min, max, &value);

	if (status == TRACE_OK)
		*ret_value = (uint32_t)value;
	return status;
}

/* The place of a word in a list that ends with NULL. */
static int take_word(const struct parser *parser, const char *text, const char *const *words, unsigned *ret_number)
{
	for (unsigned i = 0; words[i] != NULL; i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret_number = i;
			return TRACE_OK;
		}
	}
	return trace_fail(TRACE_USAGE, "--%s: there is no '%s'", parser->name, text);
}

static int take_theta(const struct parser *parser, const char *text, double *ret_theta)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0 && value <= THETA_MAX))
		return trace_fail(TRACE_USAGE, "--%s: '%s' is not a number from 0 to %g", parser->name, text,
				  THETA_MAX);
	*ret_theta = value;
	return TRACE_OK;
}

/* -1: none of these. */
static int take_generator_option(struct parser *parser, int option, const char *text)
{
	static const char *const shapes[] = { "zipf", "scan-zipf", "loop", NULL };
	struct trace_plan *plan = &parser->options.plan;
	unsigned shape = 0;
	int status;

	parser->generator_options++;
	switch (option) {
	case OPT_GENERATE:
		status = take_word(parser, text, shapes, &shape);
		plan->shape = (enum trace_shape)shape;
		return status;
	case OPT_BLOCKS:
		return take_number32(parser, text, 1, BLOCKS_MAX, &plan->blocks);
	case OPT_REQUESTS:
		return take_number(parser, text, 1, REQUESTS_MAX, &plan->requests);
	case OPT_THETA:
		return take_theta(parser, text, &plan->theta);
	case OPT_SEED:
		return take_number(parser, text, 0, UINT64_MAX, &plan->seed);
	case OPT_WRITE_PERCENT:
		return take_number32(parser, text, 0, 100, &plan->write_percent);
	case OPT_SCAN_EVERY:
		return take_number(parser, text, 1, REQUESTS_MAX, &plan->scan_every);
	case OPT_SCAN_BLOCKS:
		return take_number(parser, text, 0, REQUESTS_MAX, &plan->scan_blocks);
	default:
		parser->generator_options--;
		return -1;
	}
}

/* -1: none of these. What a segment and a cache must be is left to the library, which says it in its own words. */
static int take_cache_option(struct parser *parser, int option, const char *text)
{
	static const char *const policies[] = { "s3fifo", "fifo", NULL };
	static const char *const fills[] = { "always", "second-touch", "never", NULL };
	struct trace_cache_options *cache = &parser->options.cache;
	unsigned number = 0;
	int status;

	switch (option) {
	case OPT_POLICY:
		status = take_word(parser, text, policies, &number);
		cache->eviction = number == 0 ? PCACHE_EVICTION_S3FIFO : PCACHE_EVICTION_FIFO;
		return status;
	case OPT_FILL:
		status = take_word(parser, text, fills, &number);
		cache->fill = (enum pcache_fill)number;
		return status;
	case OPT_CACHE_SIZE:
		return take_number(parser, text, 1, INT64_MAX, &cache->cache_bytes);
	case OPT_SEGMENT_SIZE:
		return take_number32(parser, text, 1, UINT32_MAX, &cache->segment_bytes);
	case OPT_GC_PERCENT:
		return take_number32(parser, text, 1, 95, &cache->gc_percent);
	case OPT_READ_AHEAD:
		return take_number32(parser, text, 0, 256 * 1024, &cache->read_ahead_bytes);
	case OPT_BYPASS:
		return take_number(parser, text, 0, INT64_MAX, &cache->bypass_bytes);
	default:
		return -1;
	}
}

static int take_other_option(struct parser *parser, int option, const char *text)
{
	static const char *const formats[] = { "csv", "oracle", NULL };
	struct trace_options *options = &parser->options;
	unsigned number = 0;
	int status;

	switch (option) {
	case OPT_FORMAT:
		status = take_word(parser, text, formats, &number);
		options->format = number == 0 ? TRACE_CSV : TRACE_ORACLE;
		return status;
	case OPT_LIMIT:
		return take_number(parser, text, 1, UINT64_MAX, &options->limit);
	case OPT_OUT:
		options->out = text;
		return TRACE_OK;
	case OPT_DIR:
		options->dir = text;
		return TRACE_OK;
	case OPT_CRASH_AFTER:
		return take_number(parser, text, 1, UINT64_MAX, &options->crash_after);
	case OPT_WINDOW:
		return take_number(parser, text, 1, UINT64_MAX, &options->window);
	case OPT_VERIFY:
		options->verify = true;
		return TRACE_OK;
	case OPT_PACE:
		options->pace = true;
		return TRACE_OK;
	case OPT_JSON:
		options->json = true;
		return TRACE_OK;
	default: /* getopt has said what is wrong */
		return TRACE_USAGE;
	}
}

static int take_names(struct parser *parser, int argc, char **argv, bool generate)
{
	struct trace_options *options = &parser->options;

	if (generate) {
		if (optind != argc)
			return trace_fail(TRACE_USAGE, "--generate takes no trace");
		return TRACE_OK;
	}
	if (argc - optind != 1)
		return trace_fail(TRACE_USAGE, "needs one trace; see --help");
	if (parser->generator_options > 0)
		return trace_fail(TRACE_USAGE, "options of the generator without --generate");
	options->input = argv[optind];
	return TRACE_OK;
}

static int print_and_stop(int option, bool *ret_done)
{
	if (option == 'h')
		fputs(help, stdout);
	else
		printf("pcache-trace %s\n", pcache_version());
	*ret_done = true;
	return TRACE_OK;
}

int trace_options_parse(int argc, char **argv, struct trace_options *ret_options, bool *ret_done)
{
	struct parser parser = { .options = {
		.plan = { .blocks = 65536, .requests = 1000000, .theta = 0.99, .seed = 1, .scan_every = 10000,
			  .scan_blocks = 5000 },
		.dir = "/dev/shm",
		.cache = { .cache_bytes = 64 * MIB, .segment_bytes = MIB, .gc_percent = 70 },
		.limit = UINT64_MAX,
		.window = 10000,
	} };
	bool generate = false;
	int number = 0;
	int option;
	int status;

	while ((option = getopt_long(argc, argv, "hV", long_options, &number)) != -1) {
		if (option == 'h' || option == 'V')
			return print_and_stop(option, ret_done);
		parser.name = long_options[number].name;
		generate |= option == OPT_GENERATE;
		status = take_generator_option(&parser, option, optarg);
		if (status < 0)
			status = take_cache_option(&parser, option, optarg);
		if (status < 0)
			status = take_other_option(&parser, option, optarg);
		if (status != TRACE_OK)
			return status;
	}
	status = take_names(&parser, argc, argv, generate);
	if (status == TRACE_OK)
		*ret_options = parser.options;
	return status;
}

enum trace_format trace_options_format(const struct trace_options *options, const char *name)
{
	size_t len = strlen(name);

	if (options->format != TRACE_BY_NAME)
		return options->format;
	return len >= 4 && strcmp(name + len - 4, ".csv") == 0 ? TRACE_CSV : TRACE_ORACLE;
}
