/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media_file.h - what media.c and media_page.c share, and nobody else includes.
 */
#ifndef PC_MEDIA_FILE_H
#define PC_MEDIA_FILE_H

#include "media.h"

#include <pthread.h>
#include <sys/types.h>

struct pmem2_map;
struct pc_bad_map;

/* One sync of the file serves all callers that asked before it began. */
struct pc_group_sync {
	pthread_mutex_t lock; /* guards what follows; not held during the system call */
	pthread_cond_t done_cond;
	uint64_t begun;    /* syncs begun */
	uint64_t done;     /* the last one that returned 0, and so did all before it */
	bool running;      /* sync number `begun` is on its way */
	int sticky_error;  /* of the first that failed (M1) */
};

struct pc_media_file {
	struct pc_media media; /* the first member */
	struct pc_media_ops ops;
	struct pc_log log;
	pid_t owner; /* the process that opened it */
	char *path;
	int fd;
	bool created;       /* by this open */
	uint64_t old_bytes; /* size before this open */

	struct pmem2_map *map;
	struct pc_bad_map *bad; /* its bad pages; NULL: not mapped, or more mappings than there is room for */
	uint8_t *store; /* the mapping, for stores; NULL on page granularity */
	void *(*memcpy_fn)(void *to, const void *from, size_t len, unsigned flags);
	void *(*memset_fn)(void *to, int byte, size_t len, unsigned flags);
	void (*flush_fn)(const void *from, size_t len);
	void (*drain_fn)(void);

	struct pc_group_sync group_sync; /* page granularity */
};

static inline struct pc_media_file *pc_media_file_of(struct pc_media *media)
{
	return (struct pc_media_file *)media;
}

/* The operations for page granularity. */
extern const struct pc_media_ops pc_media_page_ops;

/* Operations that serve every granularity. */
int pc_media_file_read(struct pc_media *media, void *buf, uint64_t off, size_t len);
void pc_media_file_close(struct pc_media *media);

/* All of it, or negative errno; bytes before the failure may have been stored. */
int pc_page_fill(int fd, uint64_t off, int byte, size_t len);

/* All of it, or negative errno; the end of the file within the range is -EIO. */
int pc_page_read(int fd, uint64_t off, void *buf, size_t len);

/* A mapping that is complete, for pc_media_handle_fault(); and before it goes. */
void pc_bad_register(struct pc_media_file *file, size_t map_bytes);
void pc_bad_unregister(struct pc_media_file *file);

int pc_group_sync_init(struct pc_group_sync *group);
void pc_group_sync_destroy(struct pc_group_sync *group);

#endif
