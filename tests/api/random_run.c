/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random_run.c - random writes of one size, a flush after each, a drain at the end.
 *
 * The model takes no memory of the volume's size: each block's content follows from its number and the write that it
 * saw last, so that one number a block is all there is to keep.
 */
#include "random_run.h"

#include "pcache.h"
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct model {
	uint64_t *last_write; /* per block: number of the write, from 1; 0: as the backing was made */
	uint64_t blocks;
	uint64_t block_bytes;
	uint8_t *block;    /* content asked for last */
	uint8_t *compared; /* what was read */
};

static int complain(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, pcache_strerror(error));
	return error;
}

static void model_content(struct model *model, uint64_t block)
{
	struct test_random random = test_random_make(model->last_write[block] * model->blocks + block);

	test_random_fill(&random, model->block, model->block_bytes);
}

static int model_make(struct model *model, const struct random_run *run)
{
	model->block_bytes = run->write_bytes;
	model->blocks = run->volume_bytes / run->write_bytes;
	model->last_write = calloc(model->blocks, sizeof(model->last_write[0]));
	model->block = malloc(model->block_bytes);
	model->compared = malloc(model->block_bytes);
	if (model->last_write == NULL || model->block == NULL || model->compared == NULL)
		return complain("model", -ENOMEM);
	return 0;
}

static void model_free(struct model *model)
{
	free(model->last_write);
	free(model->block);
	free(model->compared);
}

static int make_backing(struct model *model, const char *path, int *ret_fd)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return complain(path, -errno);
	*ret_fd = fd;
	for (uint64_t i = 0; i < model->blocks; i++) {
		model_content(model, i);
		if (pwrite(fd, model->block, model->block_bytes, (off_t)(i * model->block_bytes)) !=
		    (ssize_t)model->block_bytes)
			return complain(path, -EIO);
	}
	return fsync(fd) < 0 ? complain(path, -errno) : 0;
}

static int write_all(struct pcache *cache, struct model *model, const struct random_run *run)
{
	struct test_random random = test_random_make(run->seed);

	for (uint64_t i = 1; i <= run->writes; i++) {
		uint64_t block = test_random_below(&random, model->blocks);
		ssize_t written;
		int ret;

		model->last_write[block] = i;
		model_content(model, block);
		written = pcache_write(cache, model->block, model->block_bytes, block * model->block_bytes, 0);
		if (written != (ssize_t)model->block_bytes)
			return complain("write", written < 0 ? (int)written : -EIO);
		ret = pcache_flush(cache, 0);
		if (ret < 0)
			return complain("flush", ret);
	}
	return 0;
}

static int compare(struct model *model, int fd, uint64_t *ret_mismatches)
{
	uint64_t mismatches = 0;

	for (uint64_t i = 0; i < model->blocks; i++) {
		model_content(model, i);
		if (pread(fd, model->compared, model->block_bytes, (off_t)(i * model->block_bytes)) !=
		    (ssize_t)model->block_bytes)
			return complain("backing", -EIO);
		mismatches += memcmp(model->block, model->compared, model->block_bytes) != 0;
	}
	if (lseek(fd, 0, SEEK_END) != (off_t)(model->blocks * model->block_bytes))
		mismatches++;
	*ret_mismatches = mismatches;
	return 0;
}

static int write_and_drain(struct model *model, const struct random_run *run, int fd, struct random_result *result)
{
	struct pcache_stats stats = { .size = sizeof(stats) };
	struct pcache_config config;
	struct pcache *cache;
	int ret;
	int close_ret;

	pcache_config_init(&config);
	config.flags = PCACHE_OPEN_CREATE;
	config.cache_size_bytes = run->cache_bytes;
	config.segment_size_bytes = (uint32_t)run->segment_bytes;
	config.dirty_high_bytes = run->dirty_bytes;
	ret = pcache_open(run->cache_path, fd, &config, &cache);
	if (ret < 0)
		return complain("open", ret);
	ret = write_all(cache, model, run);
	if (ret == 0)
		ret = pcache_drain(cache, NULL, NULL, 0);
	pcache_stats(cache, &stats);
	close_ret = pcache_close(cache, 0);
	if (ret < 0 || close_ret < 0)
		return complain("drain or close", ret < 0 ? ret : close_ret);
	result->writes = stats.writes;
	result->backing_syncs = stats.backing_syncs;
	result->writeback_ios = stats.writeback_ios;
	return 0;
}

int random_run(const struct random_run *run, struct random_result *ret_result)
{
	struct random_result result = { 0 };
	struct model model = { 0 };
	int fd = -1;
	int ret;

	unlink(run->cache_path);
	ret = model_make(&model, run);
	if (ret == 0)
		ret = make_backing(&model, run->backing_path, &fd);
	if (ret == 0)
		ret = write_and_drain(&model, run, fd, &result);
	if (ret == 0)
		ret = compare(&model, fd, &result.mismatches);
	if (fd >= 0)
		close(fd);
	model_free(&model);
	if (ret == 0)
		*ret_result = result;
	return ret;
}
