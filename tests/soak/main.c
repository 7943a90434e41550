/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - pcache-soak: kill -9 a writer again and again; every write that returned must be there, in order.
 *
 * Method: a child process writes to a real cache in front of a real backing, from several threads, and is killed at
 * random moments: while it writes, drains, opens (recovers), closes or creates. Then its parent opens the cache and
 * compares every sector with the diary that the child kept in shared memory (soak.h); now and then it drains and
 * compares the backing alone. The cache is far smaller than the volume, so rotation, write-back and reclaim never rest.
 *
 * What the media is taken for is up to PMEM2_FORCE_GRANULARITY, as for all tests through the shared library.
 */
#include "clock.h"
#include "options.h"
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct arguments {
	double seconds; /* 0: no limit */
	uint64_t kills; /* 0: no limit */
	uint64_t seed;
	uint64_t volume_kib;
	uint64_t cache_kib;
	const char *cache;
	const char *backing;
	bool overwrite;
	bool tap;
};

static const char usage[] =
	"usage: pcache-soak [--seconds S] [--kills N] [--seed N] [--cache FILE] [--backing FILE] [--overwrite]\n"
	"                   [--volume KIB] [--cache-size KIB] [--tap]\n"
	"Kills a process that writes to a cache at random moments, and looks for every write that had returned.\n"
	"  --seconds S       stop after the round that is running then (default 10, or none with --kills)\n"
	"  --kills N         stop after so many kills\n"
	"  --seed N          what is done; when it is killed is left to chance (default 1)\n"
	"  --cache FILE      made anew (default: in PC_TEST_CACHE_DIR or /dev/shm)\n"
	"  --backing FILE    made anew (default: in PC_TEST_DIR or /var/tmp)\n"
	"  --overwrite       cache and backing may exist, and are overwritten; the backing may be a block device\n"
	"  --volume KIB      how much of the backing is used (default 8192)\n"
	"  --cache-size KIB  (default: 640, 1024 or 2048, by the seed)\n"
	"The files are left when something was lost.\n";

static bool parse(int argc, char **argv, struct arguments *arguments)
{
	const struct test_option options[] = {
		{ "seconds", .seconds = &arguments->seconds },  { "kills", .number = &arguments->kills },
		{ "seed", .number = &arguments->seed },         { "cache", .text = &arguments->cache },
		{ "backing", .text = &arguments->backing },     { "overwrite", .flag = &arguments->overwrite },
		{ "volume", .number = &arguments->volume_kib }, { "cache-size", .number = &arguments->cache_kib },
		{ "tap", .flag = &arguments->tap },             { .name = NULL },
	};

	if (!test_options(argc, argv, options, NULL))
		return false;
	if (arguments->seconds <= 0 && arguments->kills == 0)
		arguments->seconds = 10;
	return optind == argc && arguments->volume_kib >= 1024;
}

static const char *default_path(const char *variable, const char *directory, const char *name, char path[PATH_MAX])
{
	const char *wanted = getenv(variable);

	snprintf(path, PATH_MAX, "%s/pcache-soak-%d.%s", wanted != NULL ? wanted : directory, (int)getpid(), name);
	return path;
}

static bool open_files(const struct arguments *arguments, struct soak *soak)
{
	int flags = O_RDWR | O_CREAT | O_CLOEXEC | (arguments->overwrite ? 0 : O_EXCL);

	if (arguments->overwrite) {
		unlink(soak->cache_path);
	} else if (access(soak->cache_path, F_OK) == 0) {
		fprintf(stderr, "pcache-soak: %s exists\n", soak->cache_path);
		return false;
	}
	soak->fd = open(soak->backing_path, flags, 0600);
	if (soak->fd < 0)
		fprintf(stderr, "pcache-soak: %s: %s\n", soak->backing_path, pcache_strerror(errno));
	return soak->fd >= 0;
}

static void configure(const struct arguments *arguments, struct soak *soak)
{
	static const uint64_t cache_kib[] = { CACHE_LEAST / KIB, CACHE_SMALL / KIB, 2048 };

	pcache_config_init(&soak->config);
	soak->config.cache_size_bytes = cache_kib[arguments->seed % 3] * KIB;
	if (arguments->cache_kib != 0)
		soak->config.cache_size_bytes = arguments->cache_kib * KIB;
	soak->config.segment_size_bytes = SEGMENT_SMALL;
	soak->config.dirty_age_ms = 20; /* write-back is at work all the time */
	soak->config.batch_bytes = 4 * SEGMENT_SMALL;
	soak->volume_bytes = arguments->volume_kib * KIB;
	soak->random = test_random_make(arguments->seed);
}

static bool run(const struct arguments *arguments, struct soak *soak)
{
	double end = now_seconds() + arguments->seconds;
	bool good = soak_init(soak);

	while (good && (arguments->kills == 0 || soak_kills(soak) < arguments->kills) &&
	       (arguments->seconds <= 0 || now_seconds() < end))
		good = soak_round(soak);
	return good && soak->diary->lost == 0;
}

static void report(const struct arguments *arguments, const struct soak *soak, bool good)
{
	if (arguments->tap)
		printf("1..1\n%s 1 - every write that returned is there after each kill\n", good ? "ok" : "not ok");
	if (!good)
		printf("# left: %s, %s\n", soak->cache_path, soak->backing_path);
	printf("# kills while writing %ju, closing %ju, opening %ju, creating %ju; seed %ju\n",
	       (uintmax_t)soak->kills[PLAN_WRITE], (uintmax_t)soak->kills[PLAN_CLOSE], (uintmax_t)soak->kills[PLAN_OPEN],
	       (uintmax_t)soak->kills[PLAN_CREATE], (uintmax_t)arguments->seed);
	printf("%skills %ju, bytes verified %ju, lost %ju\n", arguments->tap ? "# " : "", (uintmax_t)soak_kills(soak),
	       (uintmax_t)soak->diary->bytes_verified, (uintmax_t)soak->diary->lost);
}

int main(int argc, char **argv)
{
	static char cache_path[PATH_MAX];
	static char backing_path[PATH_MAX];
	struct arguments arguments = { .volume_kib = 8192 };
	struct soak soak = { 0 };
	bool good;

	arguments.seed = seed_or(1);
	if (!parse(argc, argv, &arguments)) {
		fputs(usage, stderr);
		return 2;
	}
	soak.cache_path = arguments.cache != NULL ? arguments.cache :
				default_path("PC_TEST_CACHE_DIR", "/dev/shm", "cache", cache_path);
	soak.backing_path = arguments.backing != NULL ? arguments.backing :
				default_path("PC_TEST_DIR", "/var/tmp", "backing", backing_path);
	configure(&arguments, &soak);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!open_files(&arguments, &soak))
		return 2;
	good = run(&arguments, &soak);
	report(&arguments, &soak, good);
	soak_free(&soak);
	close(soak.fd);
	if (good) {
		unlink(soak.cache_path);
		unlink(soak.backing_path);
	}
	return good ? 0 : 1;
}
