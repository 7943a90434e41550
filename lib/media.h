/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media.h - the media file: the only code that stores to it, behind a few primitives.
 *
 * Stores become durable in two ways, and the callers need not know which media they are on:
 *
 *   granularity       copy, store8, set               flush        drain         sync
 *   byte              visible = durable after drain   nothing      fence         fence
 *   cache line        non-temporal: durable after     write back   fence         fence
 *                     drain; cached: flush, drain     the lines
 *   page              pwrite                          nothing      nothing       fdatasync, shared by all callers
 *
 * So: metadata is "store, flush, sync" everywhere; an acknowledged write is "copy, drain", and on page granularity a
 * later sync. A failed sync on page granularity is final (M1): the kernel may have dropped the pages, so a second sync
 * that succeeds proves nothing; every later sync returns the same error.
 *
 * All functions may be called from any thread. Offsets are bytes from the start of the file, and the caller keeps
 * them inside `size_bytes`.
 */
#ifndef PC_MEDIA_H
#define PC_MEDIA_H

#include "log.h"
#include "util.h"

#include <stdatomic.h>

struct pc_media;

enum pc_copy_kind {
	PC_COPY_STREAM, /* non-temporal: durable after drain, no flush needed; not for lines another thread changes */
	PC_COPY_CACHED, /* through the cache: durable after flush and drain */
};

struct pc_media_ops {
	int (*copy)(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind);
	/* Copy as PC_COPY_STREAM, and continue *crc over the bytes. NULL: by copy, then the checksum. */
	int (*copy_crc)(struct pc_media *media, uint64_t off, const void *source, size_t len, uint32_t *crc);
	int (*store8)(struct pc_media *media, uint64_t off, uint64_t value); /* off 8-byte aligned; never tears */
	int (*set)(struct pc_media *media, uint64_t off, int byte, size_t len); /* cached */
	int (*flush)(struct pc_media *media, uint64_t off, size_t len);
	int (*drain)(struct pc_media *media);
	int (*sync)(struct pc_media *media);
	int (*read)(struct pc_media *media, void *buf, uint64_t off, size_t len); /* a media error is -EIO, no signal */
	void (*close)(struct pc_media *media);
};

struct pc_media {
	const struct pc_media_ops *ops;
	const uint8_t *base; /* the mapping: for reads only */
	uint64_t size_bytes;
	enum pcache_granularity granularity;
	bool readonly;
	bool blank; /* created by this open, or its first 64 KiB are zero: to be formatted */
	bool grown; /* made longer by this open, and nothing on it counts on that yet */
	_Atomic bool has_bad; /* pc_media_find_bad() may find something */
	_Atomic uint64_t syncs; /* sync system calls so far */
	_Atomic uint64_t record_bytes; /* stored for records so far, both slots */
};

#define PC_MEDIA_BLANK_BYTES 65536u /* a file whose first bytes are zero this far may be formatted */

struct pc_media_request {
	const char *path;
	uint64_t create_bytes; /* size when created, or with `grow`; 0: the size the file has */
	bool create;           /* a missing or blank file is allocated and reported as blank */
	bool exclusive;        /* with create: -EEXIST where a file that is not blank is found */
	bool grow;             /* a file that is shorter than create_bytes is made longer */
	bool readonly;
};

/*
 * Opens, locks (OFD lock: -EBUSY) and maps the file. A blank file without `create` is -EUCLEAN, a missing one -ENOENT.
 * create allocates every block (posix_fallocate: a full disk is a clean -ENOSPC), never sparse. Stores nothing itself.
 */
int pc_media_open(const struct pc_media_request *request, const struct pc_log *log, struct pc_media **ret_media);

/*
 * Undo what open did to the file: it goes if this open created it, else its old size returns, where it changed. Before
 * pc_media_close, which is still to be called; nothing else may use the media any more.
 */
void pc_media_abandon(struct pc_media *media);

/* NULL is accepted. */
void pc_media_close(struct pc_media *media);

static inline int pc_media_copy(struct pc_media *media, uint64_t off, const void *source, size_t len,
				enum pc_copy_kind kind)
{
	return media->ops->copy(media, off, source, len, kind);
}

/* Copy as PC_COPY_STREAM and compute the CRC32C of the source on the way; *crc is the seed, then the result. */
int pc_media_copy_crc(struct pc_media *media, uint64_t off, const void *source, size_t len, uint32_t *crc);

static inline int pc_media_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	return media->ops->store8(media, off, value);
}

static inline int pc_media_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	return media->ops->set(media, off, byte, len);
}

static inline int pc_media_flush(struct pc_media *media, uint64_t off, size_t len)
{
	return media->ops->flush(media, off, len);
}

static inline int pc_media_drain(struct pc_media *media)
{
	return media->ops->drain(media);
}

static inline int pc_media_sync(struct pc_media *media)
{
	return media->ops->sync(media);
}

static inline int pc_media_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	return media->ops->read(media, buf, off, len);
}

/*
 * Copy out of the mapping while another thread may be storing there: the caller checks the segment's generation
 * afterwards and throws the bytes away if it moved. The race is by design, so this one function is hidden from TSan.
 */
void pc_media_copy_racing(void *buf, const struct pc_media *media, uint64_t off, size_t len);

/*
 * In a handler of SIGBUS: where the address is in a mapping of this process, a page of zeroes takes the place of the
 * bad one, which is remembered. False: it is not, or that failed. Async-signal-safe.
 */
bool pc_media_handle_fault(const void *addr);

/* The same question as pc_media_is_bad(), answered in full. */
bool pc_media_find_bad(const struct pc_media *media, uint64_t off, size_t len);

/* To be asked after bytes were copied from the mapping: some of them are of a bad page, and only zeroes. */
static inline bool pc_media_is_bad(const struct pc_media *media, uint64_t off, size_t len)
{
	atomic_thread_fence(memory_order_acquire); /* first the copy, then this look (media_bad.c, B1) */
	return pc_unlikely(atomic_load_explicit(&media->has_bad, memory_order_relaxed)) &&
	       pc_media_find_bad(media, off, len);
}

#endif
