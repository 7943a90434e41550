/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello.c - the whole interface once: open, write, flush, read, drain, close.
 *
 * Usage: hello CACHE BACKING. Missing files are created, small. The marked pieces are quoted by the reference.
 */
#include "pcache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKING_BYTES (16 << 20)
#define CACHE_BYTES   (4 << 20)
#define SEGMENT_BYTES (128 << 10)
#define GREETING_OFF  123456

static void print_log(enum pcache_log_level level, const char *message, void *arg)
{
	(void)arg;
	if (level <= PCACHE_LOG_WARNING)
		fprintf(stderr, "hello: %s\n", message);
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "hello: %s: %s\n", what, pcache_strerror(error));
	return error;
}

/* The backing keeps its size while a cache is in front of it, so it gets that size first. */
static int open_backing(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct stat status;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) == 0 && (status.st_size > 0 || ftruncate(fd, BACKING_BYTES) == 0))
		return fd;

	int error = -errno;

	close(fd);
	return error;
}

static int open_cache(const char *cache_path, int backing_fd, struct pcache **ret_cache)
{
	//! [open]
	struct pcache_config config;
	struct pcache *cache;

	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE;
	config.cache_size_bytes = CACHE_BYTES;
	config.segment_size_bytes = SEGMENT_BYTES;
	config.log = print_log;

	int error = pcache_open(cache_path, backing_fd, &config, &cache);

	if (error)
		return fail("open", error);
	//! [open]

	*ret_cache = cache;
	return 0;
}

static int write_greeting(struct pcache *cache, const char *greeting, size_t len)
{
	//! [write]
	ssize_t written = pcache_write(cache, greeting, len, GREETING_OFF, 0);

	if (written < 0)
		return fail("write", (int)written);
	if ((size_t)written != len) /* only a long write can end early */
		return fail("short write", -EIO);
	//! [write]

	//! [flush]
	/* Now it survives a power cut, on every media. */
	int error = pcache_flush(cache, 0);

	if (error)
		return fail("flush", error);
	//! [flush]

	return 0;
}

static int read_greeting(struct pcache *cache, char *buf, size_t len)
{
	//! [read]
	ssize_t got = pcache_read(cache, buf, len, GREETING_OFF, 0);

	if (got < 0)
		return fail("read", (int)got);
	if ((size_t)got != len) /* the backing ends here */
		return fail("short read", -EIO);
	//! [read]

	return 0;
}

static int drain(struct pcache *cache)
{
	//! [drain]
	/* Now the backing has it too, synced: the cache file is not needed any more. */
	int error = pcache_drain(cache, NULL, NULL, 0);

	if (error)
		return fail("drain", error);
	//! [drain]

	return 0;
}

static int greet(struct pcache *cache)
{
	static const char greeting[] = "hello, cache";
	char buf[sizeof(greeting)];
	int error = write_greeting(cache, greeting, sizeof(greeting));

	if (!error)
		error = read_greeting(cache, buf, sizeof(buf));
	if (!error && memcmp(buf, greeting, sizeof(greeting)) != 0)
		error = fail("compare", -EBADMSG);
	if (!error)
		error = drain(cache);
	if (!error)
		printf("pcache %s: wrote, read and drained \"%s\"\n", pcache_version(), buf);
	return error;
}

int main(int argc, char **argv)
{
	struct pcache *cache = NULL;

	if (argc != 3) {
		fprintf(stderr, "usage: hello CACHE BACKING\n");
		return 2;
	}

	int backing_fd = open_backing(argv[2]);

	if (backing_fd < 0)
		return fail(argv[2], backing_fd) != 0;

	int error = open_cache(argv[1], backing_fd, &cache);

	if (!error) {
		error = greet(cache);

		int close_error = pcache_close(cache, 0);

		if (close_error)
			error = fail("close", close_error);
	}
	close(backing_fd);
	return error ? 1 : 0;
}
