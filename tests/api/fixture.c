/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fixture.c - one cache, one backing, one model.
 *
 * Check runs each test in a child process, so a test that fails leaves its files behind; they live in two directories
 * of this program, and the parent removes these at the end.
 */
#include "fixture.h"

#include "options.h"
#include "unit/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char cache_dir[PATH_BYTES / 2];
static char backing_dir[PATH_BYTES / 2];

void verdict_fail(struct verdict *verdict, const char *format, ...)
{
	va_list args;

	if (verdict->failed)
		return;
	va_start(args, format);
	vsnprintf(verdict->message, sizeof(verdict->message), format, args);
	va_end(args);
	verdict->failed = true;
}

unsigned scaled(unsigned count)
{
	return (unsigned)test_scaled(count);
}

bool media_is_slow(void)
{
	const char *forced = getenv("PMEM2_FORCE_GRANULARITY");

	return forced == NULL || strcmp(forced, "PAGE") == 0;
}

unsigned thinned(unsigned count)
{
	return scaled(media_is_slow() ? (count + 5) / 6 : count);
}

uint64_t seed_or(uint64_t seed)
{
	const char *wanted = getenv("PC_TEST_SEED");

	return wanted == NULL ? seed : strtoull(wanted, NULL, 0);
}

void slow_down(unsigned microseconds)
{
	struct timespec pause = { .tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000L };

	nanosleep(&pause, NULL);
}

const char *test_cache_dir(void)
{
	return cache_dir;
}

const char *test_backing_dir(void)
{
	return backing_dir;
}

static void make_dir(char *dir, size_t bytes, const char *variable, const char *otherwise)
{
	const char *parent = getenv(variable);

	snprintf(dir, bytes, "%s/pcache-test-XXXXXX", parent == NULL ? otherwise : parent);
	/* Others may enter: one test continues as another user. */
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0) {
		fprintf(stderr, "cannot make %s: %s\n", dir, strerror(errno));
		exit(EXIT_FAILURE);
	}
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path);
}

int test_main(Suite *suite)
{
	int result;

	make_dir(cache_dir, sizeof(cache_dir), "PC_TEST_CACHE_DIR", "/dev/shm");
	make_dir(backing_dir, sizeof(backing_dir), "PC_TEST_DIR", "/var/tmp");
	result = pc_run_suite(suite);
	nftw(cache_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	nftw(backing_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	return result;
}

TCase *test_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_set_timeout(tests, TIMEOUT_SECONDS);
	suite_add_tcase(suite, tests);
	return tests;
}

static void take_message(enum pcache_log_level level, const char *message, void *arg)
{
	struct fixture *fx = arg;

	if (getenv("PC_TEST_VERBOSE") != NULL)
		fprintf(stderr, "# log %d: %s\n", (int)level, message);
	if (level == PCACHE_LOG_ERROR && message[0] != '\0' && strchr(message, '\n') == NULL)
		atomic_fetch_add(&fx->log_errors, 1);
}

static void make_backing(struct fixture *fx)
{
	fx->fd = open(fx->backing_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	ck_assert_msg(fx->fd >= 0, "%s: %s", fx->backing_path, strerror(errno));
	test_random_fill(&fx->random, fx->model, fx->bytes);
	file_write(fx->backing_path, 0, fx->model, fx->bytes);
}

struct fixture *fixture_make(uint64_t backing_bytes, uint64_t cache_bytes, uint64_t segment_bytes)
{
	static unsigned number;
	struct fixture *fx = calloc(1, sizeof(*fx));

	ck_assert_ptr_nonnull(fx);
	number++;
	snprintf(fx->cache_path, sizeof(fx->cache_path), "%s/%d-%u.cache", cache_dir, (int)getpid(), number);
	snprintf(fx->backing_path, sizeof(fx->backing_path), "%s/%d-%u.backing", backing_dir, (int)getpid(), number);
	fx->bytes = backing_bytes;
	fx->model = malloc(backing_bytes);
	fx->scratch = malloc(backing_bytes);
	ck_assert(fx->model != NULL && fx->scratch != NULL);
	fx->random = test_random_make(seed_or(number));
	make_backing(fx);
	pcache_config_init(&fx->config);
	fx->config.cache_size_bytes = cache_bytes;
	fx->config.segment_size_bytes = (uint32_t)segment_bytes;
	fx->config.log = take_message;
	fx->config.log_arg = fx;
	return fx;
}

struct fixture *fixture_make_open(uint64_t backing_bytes, uint64_t cache_bytes, uint64_t segment_bytes)
{
	struct fixture *fx = fixture_make(backing_bytes, cache_bytes, segment_bytes);

	fixture_open(fx, PCACHE_OPEN_CREATE);
	return fx;
}

struct fixture *fixture_make_dirty(uint64_t backing_bytes)
{
	struct fixture *fx = fixture_make(backing_bytes, CACHE_SMALL, SEGMENT_SMALL);

	fixture_keep_dirty(fx);
	fixture_open(fx, PCACHE_OPEN_CREATE);
	for (unsigned i = 0; i < DIRTY_BLOCKS; i++)
		fixture_write(fx, i * 4096, 4096);
	ck_assert_msg(fixture_stats(fx).dirty_log_bytes >= DIRTY_BLOCKS * 4096, "write-back did not sleep");
	fixture_close(fx, 0);
	return fx;
}

void fixture_free(struct fixture *fx)
{
	if (fx->cache != NULL)
		fixture_close(fx, 0);
	close(fx->fd);
	unlink(fx->cache_path);
	unlink(fx->backing_path);
	free(fx->model);
	free(fx->scratch);
	free(fx);
}

void fixture_use_direct(struct fixture *fx)
{
	int fd = open(fx->backing_path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "# no O_DIRECT in %s, not tested\n", backing_dir);
		return;
	}
	close(fx->fd);
	fx->fd = fd;
}

int fixture_try_open(struct fixture *fx, uint32_t flags)
{
	fx->config.flags = flags;
	return pcache_open(fx->cache_path, fx->fd, &fx->config, &fx->cache);
}

void fixture_open(struct fixture *fx, uint32_t flags)
{
	int ret = fixture_try_open(fx, flags);

	ck_assert_msg(ret == 0, "open: %s", pcache_strerror(ret));
	ck_assert_ptr_nonnull(fx->cache);
}

void fixture_close(struct fixture *fx, unsigned flags)
{
	int ret = pcache_close(fx->cache, flags);

	fx->cache = NULL;
	ck_assert_msg(ret == 0, "close: %s", pcache_strerror(ret));
}

void fixture_reopen(struct fixture *fx)
{
	fixture_close(fx, 0);
	fixture_open(fx, 0);
}

void fixture_keep_dirty(struct fixture *fx)
{
	fx->config.dirty_high_bytes = fx->config.cache_size_bytes;
	fx->config.dirty_age_ms = 24 * 3600 * 1000;
	fx->config.gc_percent = 95;
}

void fixture_refuse(struct fixture *fx, uint32_t flags, int error)
{
	struct picture cache = picture_take(fx->cache_path);
	struct picture backing = picture_take(fx->backing_path);
	struct pcache *sentinel = (struct pcache *)fx;
	int ret;

	fx->cache = sentinel;
	fx->log_errors = 0;
	ret = fixture_try_open(fx, flags);
	ck_assert_msg(ret == error, "open gave %d (%s), not %d", ret, pcache_strerror(ret), error);
	ck_assert_msg(fx->cache == sentinel, "the handle was touched");
	fx->cache = NULL;
	ck_assert_msg(fx->log_errors > 0, "refused without a message");
	ck_assert_msg(picture_is_same(fx->cache_path, &cache), "the cache file was touched");
	ck_assert_msg(picture_is_same(fx->backing_path, &backing), "the backing was touched");
	picture_free(&cache);
	picture_free(&backing);
}

void fixture_write_flags(struct fixture *fx, uint64_t off, size_t len, unsigned flags)
{
	ssize_t ret;

	ck_assert(off <= fx->bytes && len <= fx->bytes - off);
	test_random_fill(&fx->random, fx->model + off, len);
	ret = pcache_write(fx->cache, fx->model + off, len, off, flags);
	ck_assert_msg(ret == (ssize_t)len, "write of %zu at %ju gave %zd (%s)", len, (uintmax_t)off, ret,
		      pcache_strerror((int)ret));
}

void fixture_write(struct fixture *fx, uint64_t off, size_t len)
{
	fixture_write_flags(fx, off, len, 0);
}

static void check_equal(const struct fixture *fx, const char *what, uint64_t off, size_t len)
{
	if (memcmp(fx->scratch, fx->model + off, len) == 0)
		return;
	for (size_t i = 0; i < len; i++)
		if (fx->scratch[i] != fx->model[off + i])
			ck_abort_msg("%s: first wrong byte at %ju, in a look at %zu from %ju", what,
				     (uintmax_t)(off + i), len, (uintmax_t)off);
}

void fixture_check(struct fixture *fx, uint64_t off, size_t len)
{
	ssize_t ret;

	memset(fx->scratch, 0x5a, len);
	ret = pcache_read(fx->cache, fx->scratch, len, off, 0);
	ck_assert_msg(ret == (ssize_t)len, "read of %zu at %ju gave %zd (%s)", len, (uintmax_t)off, ret,
		      pcache_strerror((int)ret));
	check_equal(fx, "read", off, len);
}

void fixture_check_all(struct fixture *fx)
{
	fixture_check(fx, 0, fx->bytes);
}

void fixture_check_backing(struct fixture *fx)
{
	struct stat status;

	ck_assert_int_eq(stat(fx->backing_path, &status), 0);
	ck_assert_uint_eq((uint64_t)status.st_size, fx->bytes);
	file_read(fx->backing_path, 0, fx->scratch, fx->bytes);
	check_equal(fx, "backing", 0, fx->bytes);
}

void fixture_drain(struct fixture *fx)
{
	int ret = pcache_drain(fx->cache, NULL, NULL, 0);

	ck_assert_msg(ret == 0, "drain: %s", pcache_strerror(ret));
}

struct pcache_stats fixture_stats(struct fixture *fx)
{
	struct pcache_stats stats = { .size = sizeof(stats) };

	ck_assert_int_eq(pcache_stats(fx->cache, &stats), 0);
	return stats;
}

struct picture picture_take(const char *path)
{
	struct picture picture = { .exists = false };
	struct stat status;

	if (stat(path, &status) < 0) {
		ck_assert_int_eq(errno, ENOENT);
		return picture;
	}
	picture.exists = true;
	picture.changed = status.st_mtim;
	if (!S_ISREG(status.st_mode))
		return picture;
	picture.bytes = (uint64_t)status.st_size;
	picture.content = malloc(picture.bytes + 1);
	ck_assert_ptr_nonnull(picture.content);
	file_read(path, 0, picture.content, picture.bytes);
	return picture;
}

bool picture_is_same(const char *path, const struct picture *picture)
{
	struct picture now = picture_take(path);
	bool same = now.exists == picture->exists && now.bytes == picture->bytes &&
		    now.changed.tv_sec == picture->changed.tv_sec && now.changed.tv_nsec == picture->changed.tv_nsec &&
		    (now.bytes == 0 || memcmp(now.content, picture->content, now.bytes) == 0);

	picture_free(&now);
	return same;
}

void picture_free(struct picture *picture)
{
	free(picture->content);
	picture->content = NULL;
}

void file_read(const char *path, uint64_t off, void *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *next = buf;

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	while (len > 0) {
		ssize_t ret = pread(fd, next, len, (off_t)off);

		ck_assert_msg(ret > 0, "%s: %s", path, strerror(errno));
		next += ret;
		off += (uint64_t)ret;
		len -= (size_t)ret;
	}
	close(fd);
}

void file_write(const char *path, uint64_t off, const void *buf, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	const uint8_t *next = buf;

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	while (len > 0) {
		ssize_t ret = pwrite(fd, next, len, (off_t)off);

		ck_assert_msg(ret > 0, "%s: %s", path, strerror(errno));
		next += ret;
		off += (uint64_t)ret;
		len -= (size_t)ret;
	}
	close(fd);
}

void file_flip(const char *path, uint64_t off)
{
	uint8_t byte;

	file_read(path, off, &byte, 1);
	byte = (uint8_t)~byte;
	file_write(path, off, &byte, 1);
}

void file_make(const char *path, const void *content, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	close(fd);
	file_write(path, 0, content, len);
}

uint64_t file_find(const char *path, const void *bytes, size_t len)
{
	struct picture picture = picture_take(path);
	uint64_t found = UINT64_MAX;

	for (uint64_t off = 0; found == UINT64_MAX && off + len <= picture.bytes; off += 64)
		if (memcmp(picture.content + off, bytes, len) == 0)
			found = off;
	picture_free(&picture);
	return found;
}

bool child_succeeded(pid_t pid)
{
	int status;
	pid_t ret;

	do
		ret = waitpid(pid, &status, 0);
	while (ret < 0 && errno == EINTR);
	return ret == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
