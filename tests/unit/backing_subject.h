/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backing_subject.h - a real file under test, its model in memory, and random requests upon it. For test_backing_*.c.
 *
 * The files are in PC_TEST_DIR (default /var/tmp), which should support O_DIRECT; what the machine lacks is named on
 * standard error. The file is looked at through a descriptor of the test, never through the library.
 */
#ifndef PC_BACKING_SUBJECT_H
#define PC_BACKING_SUBJECT_H

#include "backing.h"
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH     8u
#define FILE_SIZE (1024u * 1024 + 777) /* a multiple of nothing */

static uint64_t random_state = 88172645463325252u;

static inline uint64_t random_below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

static inline void fill(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)random_below(256);
}

static char last_message[512];

static inline void keep_message(enum pcache_log_level level, const char *message, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(last_message, sizeof(last_message), "%s", message);
}

static const struct pc_log test_log = { .fn = keep_message };

static inline void *aligned(size_t len)
{
	void *memory = NULL;

	ck_assert_int_eq(posix_memalign(&memory, PC_PAGE, len), 0);
	return memory;
}

/* A file of the test: the model of its content, and a buffered descriptor to look at it. */
struct subject {
	uint8_t *model;
	uint64_t size;
	int fd;   /* the user's, handed to open */
	int look; /* ours */
	struct pc_backing *backing;
};

/* The name is gone before it returns: every file here is an unlinked one. False: no O_DIRECT here. */
static inline bool subject_files(struct subject *subject, uint64_t size, int flags)
{
	const char *dir = getenv("PC_TEST_DIR");
	char path[512];
	int fd_errno;

	*subject = (struct subject){ .size = size, .model = aligned(size + PC_PAGE) };
	snprintf(path, sizeof(path), "%s/pcache-test-backing-XXXXXX", dir != NULL ? dir : "/var/tmp");
	subject->look = mkstemp(path);
	ck_assert_int_ge(subject->look, 0);
	fill(subject->model, size);
	ck_assert_int_eq(pwrite(subject->look, subject->model, size, 0), (ssize_t)size);
	ck_assert_int_eq(fsync(subject->look), 0);
	subject->fd = open(path, flags | O_CLOEXEC);
	fd_errno = errno;
	unlink(path);
	if (subject->fd >= 0)
		return true;
	ck_assert_msg((flags & O_DIRECT) != 0 && fd_errno == EINVAL, "open: %s", strerror(fd_errno));
	fprintf(stderr, "# skipped: O_DIRECT in PC_TEST_DIR\n");
	close(subject->look);
	free(subject->model);
	return false;
}

static inline bool subject_open(struct subject *subject, uint64_t size, int flags)
{
	if (!subject_files(subject, size, flags))
		return false;
	ck_assert_int_eq(pc_backing_open(subject->fd, DEPTH, false, &test_log, &subject->backing), 0);
	ck_assert_uint_eq(subject->backing->size_bytes, size);
	return true;
}

static inline void subject_compare(const struct subject *subject)
{
	PC_FREE uint8_t *found = malloc(subject->size + 1);
	struct stat status;

	ck_assert_int_eq(fstat(subject->look, &status), 0);
	ck_assert_uint_eq((uint64_t)status.st_size, subject->size);
	ck_assert_int_eq(pread(subject->look, found, subject->size + 1, 0), (ssize_t)subject->size);
	ck_assert_mem_eq(found, subject->model, subject->size);
}

static inline void subject_close(struct subject *subject)
{
	pc_backing_close(subject->backing);
	close(subject->fd);
	close(subject->look);
	free(subject->model);
}

static inline unsigned descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* One request with memory of its own; the bytes of a write go to the model too. */
static inline struct pc_io request_new(struct subject *subject, enum pc_io_op op, uint64_t off, size_t len)
{
	struct pc_io io = { .op = op, .off = off, .len = len, .buf = aligned(len + 1), .error = 1 };

	fill(io.buf, len);
	if (op == PC_IO_WRITE)
		memcpy(subject->model + off, io.buf, len);
	return io;
}

static inline void request_random(struct subject *subject, enum pc_io_op op, struct pc_io *ret_io)
{
	uint64_t align = subject->backing->align_bytes;
	uint64_t off = pc_align_down(random_below(subject->size), align);
	uint64_t len = pc_align_up(1 + random_below(60000), align);

	*ret_io = request_new(subject, op, off, (size_t)pc_min64(len, subject->size - off));
}

/* `count` random requests of one kind in one run. Of writes that overlap either may win: so one at a time there. */
static inline void run_random(struct subject *subject, enum pc_io_op op, size_t count)
{
	struct pc_io ios[64];
	size_t step = op == PC_IO_WRITE ? 1 : count;

	ck_assert_uint_le(count, PC_ARRAY_SIZE(ios));
	for (size_t i = 0; i < count; i++)
		request_random(subject, op, &ios[i]);
	for (size_t i = 0; i < count; i += step)
		ck_assert_int_eq(pc_backing_run(subject->backing, ios + i, step), 0);
	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(ios[i].error, 0);
		if (op == PC_IO_READ)
			ck_assert_mem_eq(ios[i].buf, subject->model + ios[i].off, ios[i].len);
		free(ios[i].buf);
	}
}

/* New content for the whole file, as many neighbouring requests in one run. */
static inline void write_everything(struct subject *subject, size_t piece)
{
	size_t count = (subject->size + piece - 1) / piece;
	PC_FREE struct pc_io *ios = calloc(count, sizeof(*ios));

	for (size_t i = 0; i < count; i++)
		ios[i] = request_new(subject, PC_IO_WRITE, i * piece,
				     (size_t)pc_min64(piece, subject->size - i * piece));
	ck_assert_int_eq(pc_backing_run(subject->backing, ios, count), 0);
	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(ios[i].error, 0);
		free(ios[i].buf);
	}
}

static inline void read_random(struct subject *subject, size_t count)
{
	PC_FREE uint8_t *buf = aligned(700000);

	for (size_t i = 0; i < count; i++) {
		uint64_t off = random_below(subject->size);
		size_t len = (size_t)pc_min64(random_below(i % 8 == 0 ? 600000 : 9000), subject->size - off);
		size_t shift = (size_t)random_below(64);

		ck_assert_int_eq(pc_backing_read(subject->backing, buf + shift, off, len), 0);
		ck_assert_mem_eq(buf + shift, subject->model + off, len);
	}
}

static inline void expect_refusal(int fd, bool readonly, int error)
{
	struct pc_backing *backing = NULL;
	unsigned before = descriptors();

	last_message[0] = '\0';
	ck_assert_int_eq(pc_backing_open(fd, DEPTH, readonly, &test_log, &backing), error);
	ck_assert_ptr_null(backing);
	ck_assert_msg(last_message[0] != '\0', "a refusal says why");
	ck_assert_uint_eq(descriptors(), before);
}

static inline TCase *case_new(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	suite_add_tcase(suite, tcase);
	return tcase;
}

#endif
