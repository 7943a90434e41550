/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * user.c - a program with a cache, for the tests of pcachectl: does one thing after the other, as its arguments say.
 *
 *   open          read-write; write-back paused, so that what is dirty stays so
 *   w OFF LEN N   write LEN bytes of value N
 *   r OFF LEN     read; misses are kept
 *   z OFF LEN     zeroes
 *   flush, drain, close
 *   kill          SIGKILL itself
 *   wait          say "ready", then wait until stdin ends
 *
 * Usage: user CACHE BACKING WORD...
 */
#include "pcache.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void explain(enum pcache_log_level level, const char *message, void *arg)
{
	(void)arg;
	if (level <= PCACHE_LOG_WARNING)
		fprintf(stderr, "user: %s\n", message);
}

static void check(const char *word, int64_t ret)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "user: %s: %s\n", word, pcache_strerror((int)ret));
	exit(1);
}

static struct pcache *open_cache(const char *path, int fd)
{
	struct pcache_config config;
	struct pcache *cache = NULL;

	pcache_config_init(&config);
	config.log = explain;
	check("open", pcache_open(path, fd, &config, &cache));
	check("set", pcache_set(cache, PCACHE_TUNABLE_WRITEBACK_PAUSED, 1));
	return cache;
}

static int run(struct pcache **cache, const char *path, int fd, char **words)
{
	uint64_t off = words[1] != NULL ? strtoull(words[1], NULL, 0) : 0;
	size_t len = words[1] != NULL && words[2] != NULL ? strtoull(words[2], NULL, 0) : 0;
	uint8_t *buf = calloc(1, len + 1);
	int used = 1;

	if (strcmp(words[0], "open") == 0) {
		*cache = open_cache(path, fd);
	} else if (strcmp(words[0], "w") == 0 && words[3] != NULL) {
		memset(buf, atoi(words[3]), len);
		check("w", pcache_write(*cache, buf, len, off, 0));
		used = 4;
	} else if (strcmp(words[0], "r") == 0) {
		check("r", pcache_read(*cache, buf, len, off, 0));
		used = 3;
	} else if (strcmp(words[0], "z") == 0) {
		check("z", pcache_write_zeroes(*cache, off, len, 0));
		used = 3;
	} else if (strcmp(words[0], "flush") == 0) {
		check("flush", pcache_flush(*cache, 0));
	} else if (strcmp(words[0], "drain") == 0) {
		check("drain", pcache_drain(*cache, NULL, NULL, 0));
	} else if (strcmp(words[0], "close") == 0) {
		check("close", pcache_close(*cache, 0));
	} else if (strcmp(words[0], "kill") == 0) {
		raise(SIGKILL);
	} else if (strcmp(words[0], "wait") == 0) {
		puts("ready");
		fflush(stdout);
		while (getchar() != EOF)
			;
	} else {
		fprintf(stderr, "user: %s?\n", words[0]);
		exit(2);
	}
	free(buf);
	return used;
}

int main(int argc, char **argv)
{
	struct pcache *cache = NULL;
	int fd;

	if (argc < 3)
		return 2;
	fd = open(argv[2], O_RDWR | O_CLOEXEC);
	check("backing", fd);
	for (int i = 3; i < argc;)
		i += run(&cache, argv[1], fd, argv + i);
	return 0;
}
