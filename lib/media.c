/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media.c - the media file: open, lock, allocate, map, and the primitives on it. The only user of libpmem2.
 *
 * Open goes: open or create -> lock -> is it still the file at that path -> look -> allocate -> map.
 *
 * (M3) Nothing about a file changes before its lock is held. A lock that was won on a file which has meanwhile been
 *      unlinked or replaced is worth nothing: open starts again.
 * (M4) A file is unlinked only by the open that created it, under its lock, and only while the path still names it.
 *      A creation that was not completed leaves a file as it was found.
 * (M5) Where durability is a flush and a fence, stores go to the mapping by libpmem2's functions. On page granularity
 *      they are system calls (media_page.c) and the mapping is read-only, so that a stray store faults. libpmem2's
 *      persist functions are never called: on page granularity they sync every time, and abort when a sync fails.
 *
 * (M6) Two loops of our own stand beside libpmem2's (copy_crc.c): one copies a 4 KiB block and computes its checksum while
 *      the stores drain, one stores the line of a key set. libpmem2's drain orders them as it orders its own.
 *
 * No lock: but for the sync on page granularity, nothing here changes after open.
 */
#define _GNU_SOURCE 1

#include "media.h"

#include "copy_crc.h"
#include "crc32c.h"

#include "media_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <libpmem2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OPEN_ATTEMPTS  16
#define ALLOCATE_PIECE (16u << 20) /* a signal costs at most this much work */

/* Primitives: byte and cache-line granularity. */

/* Of a store: what went to a page that was bad is lost. */
static int stored(const struct pc_media *media, uint64_t off, size_t len)
{
	return pc_media_is_bad(media, off, len) ? -EIO : 0;
}

static int pmem_copy(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	struct pc_media_file *file = pc_media_file_of(media);
	unsigned flags = PMEM2_F_MEM_NODRAIN | PMEM2_F_MEM_NONTEMPORAL;

	if (kind == PC_COPY_STREAM && len == PC_COPY_LINE_BYTES && off % PC_COPY_LINE_BYTES == 0 &&
	    media->ops->copy_crc != NULL) {
		pc_copy_line(file->store + off, source); /* (M6) */
		return stored(media, off, len);
	}
	/* Edges of a streamed copy that are no whole cache line are stored plainly and flushed by libpmem2. */
	if (kind == PC_COPY_CACHED)
		flags = PMEM2_F_MEM_NOFLUSH | PMEM2_F_MEM_TEMPORAL;
	file->memcpy_fn(file->store + off, source, len, flags);
	return stored(media, off, len);
}

/* Whole blocks by our own loop, the rest by libpmem2 and then the checksum. (M6) */
static int pmem_copy_crc(struct pc_media *media, uint64_t off, const void *source, size_t len, uint32_t *crc)
{
	uint8_t *target = pc_media_file_of(media)->store + off;
	const uint8_t *from = source;
	size_t bytes = len;

	while (len >= PC_COPY_CRC_BYTES && (uintptr_t)target % PC_COPY_CRC_ALIGN == 0) {
		*crc = pc_copy_crc_block(*crc, target, from);
		target += PC_COPY_CRC_BYTES;
		from += PC_COPY_CRC_BYTES;
		len -= PC_COPY_CRC_BYTES;
	}
	if (len > 0) {
		pc_media_file_of(media)->memcpy_fn(target, from, len, PMEM2_F_MEM_NODRAIN | PMEM2_F_MEM_NONTEMPORAL);
		*crc = pc_crc32c(*crc, from, len);
	}
	return stored(media, off, bytes);
}

static int pmem_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	__atomic_store_n((uint64_t *)(void *)(pc_media_file_of(media)->store + off), value, __ATOMIC_RELEASE);
	return stored(media, off, sizeof(value));
}

static int pmem_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	struct pc_media_file *file = pc_media_file_of(media);

	file->memset_fn(file->store + off, byte, len, PMEM2_F_MEM_NOFLUSH | PMEM2_F_MEM_TEMPORAL);
	return stored(media, off, len);
}

static int pmem_flush(struct pc_media *media, uint64_t off, size_t len)
{
	pc_media_file_of(media)->flush_fn(media->base + off, len);
	return 0;
}

static int pmem_drain(struct pc_media *media)
{
	pc_media_file_of(media)->drain_fn();
	return 0;
}

/* Primitives: media opened for reading. Flush and sync stay: recovery must persist what it decides from. */

static int readonly_copy(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	(void)media;
	(void)off;
	(void)source;
	(void)len;
	(void)kind;
	return -EROFS;
}

static int readonly_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	(void)media;
	(void)off;
	(void)value;
	return -EROFS;
}

static int readonly_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	(void)media;
	(void)off;
	(void)byte;
	(void)len;
	return -EROFS;
}

/* By system call on every granularity: a media error is a result, where a load from the mapping is a signal. */
int pc_media_file_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	/* What was stored there since went to the page that stands in for it. */
	if (pc_media_is_bad(media, off, len))
		return -EIO;
	return pc_page_read(pc_media_file_of(media)->fd, off, buf, len);
}

/* In a child of fork the lock is the parent's, and the mapping is not there: other things may be at its address. */
static void release(struct pc_media_file *file)
{
	struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (getpid() != file->owner)
		return;
	pc_bad_unregister(file);
	if (file->map != NULL)
		pmem2_map_delete(&file->map);
	/* By name: a child that inherited the description would keep the lock when this process closes it. */
	if (file->fd >= 0)
		(void)fcntl(file->fd, F_OFD_SETLK, &unlock);
}

void pc_media_file_close(struct pc_media *media)
{
	struct pc_media_file *file = pc_media_file_of(media);

	release(file);
	pc_group_sync_destroy(&file->group_sync);
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

static const struct pc_media_ops pmem_ops = {
	.copy = pmem_copy,
	.store8 = pmem_store8,
	.set = pmem_set,
	.flush = pmem_flush,
	.drain = pmem_drain,
	.sync = pmem_drain,
	.read = pc_media_file_read,
	.close = pc_media_file_close,
};

/* Open and lock. */

static int open_error(const struct pc_media_request *request, int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
	case EROFS:
		return request->readonly ? -EACCES : -EROFS;
	case EISDIR:
	case ENXIO: /* a socket */
		return -EINVAL;
	default:
		return -error;
	}
}

static int open_path(const struct pc_media_request *request, bool *ret_created)
{
	/* O_NONBLOCK: a FIFO is refused, not waited for. No effect on regular files. */
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (request->readonly ? O_RDONLY : O_RDWR);
	int fd;

	if (request->create) {
		fd = open(request->path, flags | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
		*ret_created = fd >= 0;
		if (fd >= 0 || errno != EEXIST)
			return fd < 0 ? open_error(request, errno) : fd;
	}
	*ret_created = false;
	fd = open(request->path, flags);
	return fd < 0 ? open_error(request, errno) : fd;
}

static int lock_fd(int fd, bool readonly)
{
	struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static bool path_names_fd(const char *path, int fd)
{
	struct stat at_path;
	struct stat at_fd;

	return stat(path, &at_path) == 0 && fstat(fd, &at_fd) == 0 && at_path.st_dev == at_fd.st_dev &&
	       at_path.st_ino == at_fd.st_ino;
}

/* Lock a regular file and learn its size. -EAGAIN: the path names another file by now. */
static int lock_file(const char *path, int fd, bool readonly, uint64_t *ret_bytes)
{
	struct stat stat_buf;
	int ret;

	if (fstat(fd, &stat_buf) < 0)
		return -errno;
	if (!S_ISREG(stat_buf.st_mode))
		return -EINVAL;
	ret = lock_fd(fd, readonly);
	if (ret < 0)
		return ret;
	if (!path_names_fd(path, fd))
		return -EAGAIN;
	/* Again: before the lock was held, its owner may have changed the size. */
	if (fstat(fd, &stat_buf) < 0)
		return -errno;
	*ret_bytes = (uint64_t)stat_buf.st_size;
	return 0;
}

static int open_locked_once(const struct pc_media_request *request, struct pc_media_file *file)
{
	bool created;
	int fd = open_path(request, &created);
	int ret;

	if (fd < 0)
		return fd;
	ret = lock_file(request->path, fd, request->readonly, &file->old_bytes);
	if (ret < 0) {
		/* Created here, but another open was faster to lock it: it is in use there, and stays (M4). */
		if (created && ret != -EBUSY && path_names_fd(request->path, fd))
			unlink(request->path);
		close(fd);
		return ret;
	}
	file->fd = fd;
	file->created = created;
	return 0;
}

static bool is_worth_another_attempt(const struct pc_media_request *request, int error)
{
	/* -ENOENT with create: there when creation was tried, gone afterwards; or a link to nothing, and that stays. */
	return error == -EAGAIN || (error == -ENOENT && request->create);
}

static int open_locked(const struct pc_media_request *request, struct pc_media_file *file)
{
	int ret = open_locked_once(request, file);

	for (int i = 1; i < OPEN_ATTEMPTS && is_worth_another_attempt(request, ret); i++)
		ret = open_locked_once(request, file);
	switch (ret) {
	case 0:
		return 0;
	case -EAGAIN:
		return pc_fail(&file->log, -EBUSY, "%s: replaced again and again during open", request->path);
	case -EBUSY:
		return pc_fail(&file->log, ret, "%s: already open", request->path);
	case -EROFS:
		return pc_fail(&file->log, ret, "%s: cannot be written", request->path);
	case -EINVAL:
		return pc_fail(&file->log, ret, "%s: not a regular file", request->path);
	default:
		return pc_fail(&file->log, ret, "%s: cannot open: %s", request->path, strerror(-ret));
	}
}

/* Look and allocate. */

static int look(struct pc_media_file *file, bool *ret_blank)
{
	PC_FREE uint8_t *head = malloc(PC_MEDIA_BLANK_BYTES);
	size_t len = (size_t)pc_min64(file->old_bytes, PC_MEDIA_BLANK_BYTES);
	bool blank = true;
	int ret;

	if (head == NULL)
		return -ENOMEM;
	ret = pc_page_read(file->fd, 0, head, len);
	if (ret < 0)
		return pc_fail(&file->log, ret, "%s: cannot read: %s", file->path, strerror(-ret));
	for (size_t i = 0; i < len && blank; i++)
		blank = head[i] == 0;
	*ret_blank = blank;
	return 0;
}

/* Past this limit the kernel answers with a signal; it must be found before. */
static int check_file_limit(struct pc_media_file *file, uint64_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur)
		return pc_fail(&file->log, -EFBIG, "%s: larger than the file size limit of this process", file->path);
	return 0;
}

/* The length of the file and its name in the directory, which a sync of data need not cover. */
static int sync_creation(struct pc_media_file *file)
{
	PC_FREE char *copy = strdup(file->path);
	int ret = fsync(file->fd) < 0 ? -errno : 0;
	int dir_fd;

	if (copy == NULL)
		return -ENOMEM;
	if (ret < 0)
		return ret;
	dir_fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	/* -EINVAL: this file system has no such sync, and nothing better. */
	if (fsync(dir_fd) < 0 && errno != EINVAL)
		ret = -errno;
	close(dir_fd);
	return ret;
}

/* What clearly does not fit is refused before it fills the disk, or with tmpfs the machine's memory. */
static int check_room(const struct pc_media_file *file, uint64_t bytes)
{
	struct statvfs room;
	struct stat now;

	if (fstatvfs(file->fd, &room) < 0 || fstat(file->fd, &now) < 0)
		return -errno;
	/* Some file systems do not say how large they are. */
	if (room.f_blocks != 0 && bytes / room.f_frsize > room.f_bavail + (uint64_t)now.st_blocks * 512 / room.f_frsize)
		return -ENOSPC;
	return 0;
}

/* Every block for real: a store to a hole on a full disk would be a signal, long after the open. */
static int allocate(struct pc_media_file *file, uint64_t bytes)
{
	uint64_t off = 0;
	int ret = check_room(file, bytes);

	if (ret < 0)
		return ret;
	while (off < bytes) {
		uint64_t piece = pc_min64(bytes - off, ALLOCATE_PIECE);
		int error = posix_fallocate(file->fd, (off_t)off, (off_t)piece);

		if (error == EINTR)
			continue;
		if (error != 0)
			return -error;
		off += piece;
	}
	return 0;
}

static int make_longer(struct pc_media_file *file, uint64_t bytes)
{
	int ret = check_file_limit(file, bytes);

	if (ret < 0)
		return ret;
	ret = allocate(file, bytes);
	if (ret < 0)
		return pc_fail(&file->log, ret, "%s: cannot allocate %llu bytes: %s", file->path,
			       (unsigned long long)bytes, strerror(-ret));
	ret = sync_creation(file);
	if (ret < 0)
		return pc_fail(&file->log, ret, "%s: cannot sync: %s", file->path, strerror(-ret));
	file->media.size_bytes = bytes;
	return 0;
}

static int create_blank(const struct pc_media_request *request, struct pc_media_file *file)
{
	uint64_t bytes = request->create_bytes != 0 ? request->create_bytes : file->old_bytes;

	if (bytes == 0 || bytes > INT64_MAX)
		return pc_fail(&file->log, -EINVAL, "%s: a size is needed to create it", file->path);
	return make_longer(file, bytes);
}

/* Judge what was found, and allocate where it is to be created. Sets media.blank and media.size_bytes. */
static int prepare(const struct pc_media_request *request, struct pc_media_file *file)
{
	bool blank = false;
	int ret = look(file, &blank);

	if (ret < 0)
		return ret;
	if (blank && !request->create)
		return pc_fail(&file->log, -EUCLEAN, "%s: not a pcache file", file->path);
	if (!blank && request->create && request->exclusive)
		return pc_fail(&file->log, -EEXIST, "%s: exists", file->path);
	file->media.blank = blank;
	if (blank)
		return create_blank(request, file);
	file->media.size_bytes = file->old_bytes;
	file->media.grown = request->grow && request->create_bytes > file->old_bytes;
	if (file->media.grown)
		return make_longer(file, request->create_bytes);
	return request->readonly ? 0 : check_file_limit(file, file->old_bytes);
}

/* Map. */

static int pmem2_to_errno(int code)
{
	if (code > PMEM2_E_UNKNOWN) /* its own codes go downwards from there */
		return code;
	return code == PMEM2_E_NOSUPP ? -EOPNOTSUPP : -EIO;
}

static int new_map(struct pc_media_file *file)
{
	unsigned protection = PMEM2_PROT_READ | (file->media.readonly ? 0 : PMEM2_PROT_WRITE);
	struct pmem2_config *config = NULL;
	struct pmem2_source *source = NULL;
	int code = pmem2_config_new(&config);

	if (code == 0)
		code = pmem2_source_from_fd(&source, file->fd);
	if (code == 0)
		code = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
	if (code == 0)
		code = pmem2_config_set_protection(config, protection);
	if (code == 0)
		code = pmem2_map_new(&file->map, config, source);
	if (code < 0)
		pc_log(&file->log, PCACHE_LOG_ERROR, "%s: cannot map: %s", file->path, pmem2_errormsg());
	if (source != NULL)
		pmem2_source_delete(&source);
	if (config != NULL)
		pmem2_config_delete(&config);
	return code < 0 ? pmem2_to_errno(code) : 0;
}

static enum pcache_granularity granularity_of(struct pmem2_map *map)
{
	switch (pmem2_map_get_store_granularity(map)) {
	case PMEM2_GRANULARITY_BYTE:
		return PCACHE_GRANULARITY_BYTE;
	case PMEM2_GRANULARITY_CACHE_LINE:
		return PCACHE_GRANULARITY_CACHE_LINE;
	default:
		return PCACHE_GRANULARITY_PAGE;
	}
}

static void set_primitives(struct pc_media_file *file, uint8_t *base)
{
	if (file->media.granularity == PCACHE_GRANULARITY_PAGE) {
		file->ops = pc_media_page_ops;
	} else {
		file->ops = pmem_ops;
		if (pc_copy_crc_init())
			file->ops.copy_crc = pmem_copy_crc;
		file->store = base;
		file->memcpy_fn = pmem2_get_memcpy_fn(file->map);
		file->memset_fn = pmem2_get_memset_fn(file->map);
		file->flush_fn = pmem2_get_flush_fn(file->map);
		file->drain_fn = pmem2_get_drain_fn(file->map);
	}
	if (file->media.readonly) {
		file->ops.copy = readonly_copy;
		file->ops.copy_crc = NULL;
		file->ops.store8 = readonly_store8;
		file->ops.set = readonly_set;
	}
}

static int map_file(struct pc_media_file *file)
{
	struct pc_media *media = &file->media;
	uint8_t *base;
	size_t map_bytes;
	int ret = new_map(file);

	if (ret < 0)
		return ret;
	base = pmem2_map_get_address(file->map);
	map_bytes = pmem2_map_get_size(file->map);
	media->base = base;
	media->granularity = granularity_of(file->map);
	set_primitives(file, base);
	/* A child would store to the shared mapping behind this process's back. */
	if (madvise(base, map_bytes, MADV_DONTFORK) < 0)
		ret = -errno;
	(void)madvise(base, map_bytes, MADV_HUGEPAGE); /* only for speed, and not everywhere */
	if (media->granularity == PCACHE_GRANULARITY_PAGE && mprotect(base, map_bytes, PROT_READ) < 0) /* M5 */
		ret = -errno;
	if (ret < 0)
		return pc_fail(&file->log, ret, "%s: cannot protect its mapping: %s", file->path, strerror(-ret));
	pc_bad_register(file, map_bytes);
	return 0;
}

/* Public functions. */

/* One object whose close takes any half-open state. */
static int new_file(const struct pc_media_request *request, const struct pc_log *log, struct pc_media_file **ret_file)
{
	struct pc_media_file *file = calloc(1, sizeof(*file));
	int ret;

	if (file == NULL)
		return -ENOMEM;
	ret = pc_group_sync_init(&file->group_sync);
	if (ret < 0) {
		free(file);
		return ret;
	}
	file->log = log != NULL ? *log : (struct pc_log){ 0 };
	file->owner = getpid();
	file->fd = -1;
	file->media.readonly = request->readonly;
	file->ops = pc_media_page_ops; /* until the granularity is known */
	file->media.ops = &file->ops;
	file->path = strdup(request->path);
	if (file->path == NULL) {
		pc_media_close(&file->media);
		return -ENOMEM;
	}
	*ret_file = file;
	return 0;
}

int pc_media_open(const struct pc_media_request *request, const struct pc_log *log, struct pc_media **ret_media)
{
	struct pc_media_file *file;
	int ret;

	if (request->readonly && request->create)
		return pc_fail(log, -EINVAL, "%s: cannot be created read-only", request->path);
	ret = new_file(request, log, &file);
	if (ret < 0)
		return ret;
	ret = open_locked(request, file);
	if (ret == 0)
		ret = prepare(request, file);
	if (ret == 0)
		ret = map_file(file);
	if (ret < 0) {
		pc_media_abandon(&file->media);
		pc_media_close(&file->media);
		return ret;
	}
	*ret_media = &file->media;
	return 0;
}

static bool is_media_file(const struct pc_media *media)
{
	return media->ops->close == pc_media_file_close;
}

void pc_media_abandon(struct pc_media *media)
{
	struct pc_media_file *file;
	int ret = 0;

	if (media == NULL || !is_media_file(media))
		return;
	file = pc_media_file_of(media);
	if (file->created) {
		if (path_names_fd(file->path, file->fd) && unlink(file->path) < 0)
			ret = -errno;
	} else if (media->grown) {
		if (ftruncate(file->fd, (off_t)file->old_bytes) < 0)
			ret = -errno;
	} else if (media->blank) {
		/* What made it blank comes back too: a header half written is neither blank nor a cache. */
		ret = pc_page_fill(file->fd, 0, 0, (size_t)pc_min64(file->old_bytes, PC_MEDIA_BLANK_BYTES));
		if (ftruncate(file->fd, (off_t)file->old_bytes) < 0)
			ret = -errno;
	}
	if (ret < 0)
		pc_log(&file->log, PCACHE_LOG_WARNING, "%s: cannot be put back as it was: %s", file->path,
		       strerror(-ret));
}

int pc_media_copy_crc(struct pc_media *media, uint64_t off, const void *source, size_t len, uint32_t *crc)
{
	int ret;

	if (media->ops->copy_crc != NULL)
		return media->ops->copy_crc(media, off, source, len, crc);
	ret = pc_media_copy(media, off, source, len, PC_COPY_STREAM);
	if (ret == 0)
		*crc = pc_crc32c(*crc, source, len);
	return ret;
}

void pc_media_close(struct pc_media *media)
{
	if (media != NULL)
		media->ops->close(media);
}

/*
 * The bytes may change during the copy. Why that is right: they are only moved, never looked at, so no branch and no
 * address depends on them; every load gives some bytes that were stored; the source is volatile here or behind a call,
 * so nothing is read twice or left out; and the caller throws all of it away unless the segment's generation is still
 * the one it saw before. A segment's bytes are stored again only after its generation moved, with a fence between.
 */
#if PC_TSAN
/* memcpy is intercepted by TSan, whoever calls it. */
__attribute__((no_sanitize("thread"), noinline)) static void copy_by_hand(uint8_t *to, const volatile uint8_t *from,
									  size_t len)
{
	for (; len > 0 && (uintptr_t)from % sizeof(uint64_t) != 0; len--)
		*to++ = *from++;
	for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
		uint64_t word = *(const volatile uint64_t *)(const volatile void *)from;

		__builtin_memcpy(to, &word, sizeof(word));
		to += sizeof(word);
		from += sizeof(word);
	}
	for (; len > 0; len--)
		*to++ = *from++;
}
#endif

void pc_media_copy_racing(void *buf, const struct pc_media *media, uint64_t off, size_t len)
{
#if PC_TSAN
	copy_by_hand(buf, media->base + off, len);
#else
	memcpy(buf, media->base + off, len);
#endif
}
