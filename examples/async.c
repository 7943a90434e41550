/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * async.c - a queue in an event loop: writes a pattern, reads all of it back with many requests under way at once.
 *
 * Usage: async CACHE BACKING. The backing must exist; its first 16 MiB are overwritten. The marked pieces are quoted by
 * the reference.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_DIRECT */
#endif
#include "pcache.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH       32u
#define BLOCK_BYTES 4096u
#define BLOCKS      4096u
#define CACHE_BYTES (8 << 20)
#define SEGMENT     (128 << 10)

struct job {
	struct pcache_request request;
	uint64_t *block;
};

/* Block n repeats its number. */
static void prepare(struct job *job, enum pcache_op op, uint64_t block)
{
	job->request = (struct pcache_request){
		.op = op,
		.buf = job->block,
		.len = BLOCK_BYTES,
		.off = block * BLOCK_BYTES,
		.user = job,
	};
	for (size_t i = 0; op == PCACHE_OP_WRITE && i < BLOCK_BYTES / sizeof(*job->block); i++)
		job->block[i] = block;
}

static int check(const struct job *job)
{
	const struct pcache_request *request = &job->request;

	if (request->result != BLOCK_BYTES)
		return request->result < 0 ? (int)request->result : -EIO;
	return job->block[0] == request->off / BLOCK_BYTES ? 0 : -EIO;
}

/* One request for each block, DEPTH of them under way. */
static int run(struct pcache_queue *queue, struct job *jobs, enum pcache_op op)
{
	uint64_t next = 0;
	uint64_t ended = 0;
	int error = 0;

	for (unsigned i = 0; i < DEPTH && error >= 0; i++) {
		//! [submit]
		struct pcache_request *request = &jobs[i].request;

		prepare(&jobs[i], op, next++);
		error = pcache_submit(queue, &request, 1);
		//! [submit]
	}
	while (error >= 0 && ended < BLOCKS) {
		//! [reap]
		struct pollfd wait = { .fd = pcache_queue_fd(queue), .events = POLLIN };
		struct pcache_request *done[DEPTH];

		poll(&wait, 1, -1);
		int count = pcache_reap(queue, done, DEPTH);
		//! [reap]

		for (int i = 0; i < count && error >= 0; i++, ended++) {
			struct job *job = done[i]->user;

			error = check(job);
			if (error < 0 || next == BLOCKS)
				continue;
			prepare(job, op, next++);
			error = pcache_submit(queue, &done[i], 1);
		}
	}
	return error < 0 ? error : 0;
}

static int use(struct pcache *cache, struct job *jobs)
{
	//! [queue]
	struct pcache_queue *queue;
	int error = pcache_queue_create(cache, DEPTH, &queue);
	//! [queue]

	if (error)
		return error;
	error = run(queue, jobs, PCACHE_OP_WRITE);
	if (!error)
		error = run(queue, jobs, PCACHE_OP_READ);
	pcache_queue_delete(queue);
	return error;
}

int main(int argc, char **argv)
{
	static struct job jobs[DEPTH];
	struct pcache_config config;
	struct pcache *cache;
	void *blocks;
	int error;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: async CACHE BACKING\n");
		return 2;
	}
	fd = open(argv[2], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0) /* tmpfs has no O_DIRECT: then threads of the queue read */
		fd = open(argv[2], O_RDWR | O_CLOEXEC);
	if (fd < 0 || posix_memalign(&blocks, BLOCK_BYTES, DEPTH * BLOCK_BYTES) != 0) {
		fprintf(stderr, "async: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < DEPTH; i++)
		jobs[i].block = (uint64_t *)((char *)blocks + (size_t)i * BLOCK_BYTES);
	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE;
	config.cache_size_bytes = CACHE_BYTES;
	config.segment_size_bytes = SEGMENT;
	error = pcache_open(argv[1], fd, &config, &cache);
	if (!error) {
		error = use(cache, jobs);
		int closed = pcache_close(cache, PCACHE_CLOSE_DRAIN);

		error = error ? error : closed;
	}
	if (error)
		fprintf(stderr, "async: %s\n", pcache_strerror(error));
	else
		printf("%u blocks written and read\n", BLOCKS);
	free(blocks);
	close(fd);
	return error ? 1 : 0;
}
