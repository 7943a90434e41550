/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_backing_fault.c - lib/backing_aio.c where the system says no: each error reaches its request, and nothing hangs.
 *
 * Method: limits and full file systems made for the test. For answers that cannot be provoked the calls of libaio and
 * fdatasync are defined here, upon the system calls; the library, linked statically, uses these.
 */
#include "backing_subject.h"

#include <libaio.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* ---- system calls that can fail ---- */

struct injection {
	int error;      /* returned instead of the call, 0: none */
	unsigned times; /* so many times */
	unsigned skip;  /* after so many calls that work */
	unsigned calls; /* seen so far */
};

static struct injection on_setup;
static struct injection on_submit;
static struct injection on_getevents;
static struct injection on_fdatasync;
static int queues;      /* set up and not destroyed */
static int setup_max;   /* io_setup with more is -EAGAIN; 0: no limit */
static long submit_max; /* io_submit takes no more in one call; 0: no limit */

static int inject(struct injection *injection)
{
	injection->calls++;
	if (injection->skip > 0) {
		injection->skip--;
		return 0;
	}
	if (injection->error == 0 || injection->times == 0)
		return 0;
	injection->times--;
	return injection->error;
}

static int answer(long result)
{
	return result < 0 ? -errno : (int)result;
}

int io_setup(int maxevents, io_context_t *ctxp)
{
	int error = inject(&on_setup);

	if (error == 0 && setup_max > 0 && maxevents > setup_max)
		error = -EAGAIN;
	if (error == 0)
		error = answer(syscall(SYS_io_setup, maxevents, ctxp));
	queues += error == 0;
	return error;
}

int io_destroy(io_context_t ctx)
{
	queues--;
	return answer(syscall(SYS_io_destroy, ctx));
}

int io_submit(io_context_t ctx, long nr, struct iocb *ios[])
{
	int error = inject(&on_submit);

	if (submit_max > 0 && nr > submit_max)
		nr = submit_max;
	return error != 0 ? error : answer(syscall(SYS_io_submit, ctx, nr, ios));
}

int io_getevents(io_context_t ctx, long min_nr, long nr, struct io_event *events, struct timespec *timeout)
{
	int error = inject(&on_getevents);

	return error != 0 ? error : answer(syscall(SYS_io_getevents, ctx, min_nr, nr, events, timeout));
}

int fdatasync(int fd)
{
	int error = inject(&on_fdatasync);

	if (error != 0) {
		errno = -error;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void reset(void)
{
	on_setup = on_submit = on_getevents = on_fdatasync = (struct injection){ 0 };
	setup_max = 0;
	submit_max = 0;
	last_message[0] = '\0';
}

/* ---- what cannot be opened again ---- */

/* No name leads to the file any more, and its mode forbids opening it: only a copy of the descriptor is possible. */
static bool forbid_opening(const struct subject *subject)
{
	ck_assert_int_eq(fchmod(subject->fd, 0), 0);
	return geteuid() != 0 || seteuid(65534) == 0;
}

static void allow_opening(void)
{
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}

START_TEST(open_that_cannot_reopen_duplicates_and_warns)
{
	struct subject subject;

	ck_assert(subject_files(&subject, FILE_SIZE, O_RDWR));
	ck_assert(forbid_opening(&subject));
	ck_assert_int_eq(pc_backing_open(subject.fd, DEPTH, false, &test_log, &subject.backing), 0);
	allow_opening();
	ck_assert_msg(strstr(last_message, "cannot be opened again") != NULL, "message: %s", last_message);
	close(subject.fd);
	write_everything(&subject, 10000);
	subject_compare(&subject);
	subject.fd = -1;
	subject_close(&subject);
}
END_TEST

START_TEST(open_for_append_that_cannot_reopen_gives_einval)
{
	struct subject subject;

	ck_assert(subject_files(&subject, FILE_SIZE, O_RDWR | O_APPEND));
	ck_assert(forbid_opening(&subject));
	expect_refusal(subject.fd, false, -EINVAL);
	allow_opening();
	subject_close(&subject);
}
END_TEST

START_TEST(open_direct_with_odd_size_that_cannot_reopen_is_refused)
{
	struct subject subject;

	if (!subject_files(&subject, FILE_SIZE, O_RDWR | O_DIRECT))
		return;
	ck_assert(forbid_opening(&subject));
	expect_refusal(subject.fd, false, -EACCES);
	allow_opening();
	subject_close(&subject);
}
END_TEST

/* ---- limits ---- */

START_TEST(sync_direct_with_odd_size_covers_both_descriptions)
{
	struct subject subject;

	if (!subject_open(&subject, FILE_SIZE, O_RDWR | O_DIRECT))
		return;
	on_fdatasync.calls = 0;
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	ck_assert_uint_eq(on_fdatasync.calls, 2);
	/* an error of either one counts, and the other one is asked all the same */
	for (unsigned which = 0; which < 2; which++) {
		on_fdatasync = (struct injection){ .error = -EIO, .times = 1, .skip = which };
		ck_assert_int_eq(pc_backing_sync(subject.backing), -EIO);
		ck_assert_uint_eq(on_fdatasync.calls, 2);
		ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	}
	subject_close(&subject);
}
END_TEST

START_TEST(sync_that_fails_gives_its_error_and_eintr_is_retried)
{
	struct subject subject;

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR));
	on_fdatasync = (struct injection){ .error = -ENOSPC, .times = 1 };
	ck_assert_int_eq(pc_backing_sync(subject.backing), -ENOSPC);
	on_fdatasync = (struct injection){ .error = -EINTR, .times = 3 };
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	ck_assert_uint_eq(on_fdatasync.calls, 4);
	subject_close(&subject);
}
END_TEST

/* Somebody truncated the file behind our back: every place that is gone is an error, in reads and in runs. */
START_TEST(read_of_shrunk_backing_gives_eio)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };
	static const uint64_t left[] = { 0, 100000, 100352, 102400 };
	PC_FREE uint8_t *buf = aligned(65536 * 8);

	for (size_t i = 0; i < PC_ARRAY_SIZE(flags) * PC_ARRAY_SIZE(left); i++) {
		struct pc_io io = { .op = PC_IO_READ, .off = 65536, .len = 65536, .buf = buf };
		struct subject subject;

		if (!subject_open(&subject, FILE_SIZE, flags[i % 2]))
			continue;
		ck_assert_int_eq(ftruncate(subject.look, (off_t)left[i / 2]), 0);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, 65536, 65536 * 5), -EIO);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf + 1, 65537, 65536 * 5), -EIO);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, 200000, 10), -EIO);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, FILE_SIZE - 10, 10), -EIO);
		ck_assert_int_eq(pc_backing_run(subject.backing, &io, 1), -EIO);
		if (left[i / 2] > 0)
			ck_assert_int_eq(pc_backing_read(subject.backing, buf + 1, 99990, 10), 0);
		subject_close(&subject);
	}
}
END_TEST

/* A write that crosses a file size limit: the kernel answers short, then with an error. */
START_TEST(write_over_file_size_limit_is_short_then_fails)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };
	struct rlimit old;
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){ .rlim_cur = 20480, .rlim_max = old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < PC_ARRAY_SIZE(flags); i++) {
		struct subject subject;
		struct pc_io ios[3];

		if (!subject_open(&subject, 65536, flags[i]))
			continue;
		ios[0] = request_new(&subject, PC_IO_WRITE, 0, 4096);
		ios[1] = request_new(&subject, PC_IO_WRITE, 8192, 16384);
		ios[2] = request_new(&subject, PC_IO_WRITE, 4096, 4096);
		ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
		ck_assert_int_eq(pc_backing_run(subject.backing, ios, 3), -EFBIG);
		ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
		ck_assert_int_eq(ios[0].error, 0);
		ck_assert_int_eq(ios[1].error, -EFBIG);
		ck_assert_uint_eq(ios[1].done, 20480 - 8192);
		ck_assert_int_eq(ios[2].error, 0);
		/* the limit is gone: the same requests succeed */
		ck_assert_int_eq(pc_backing_run(subject.backing, ios, 3), 0);
		subject_compare(&subject);
		for (size_t k = 0; k < PC_ARRAY_SIZE(ios); k++)
			free(ios[k].buf);
		subject_close(&subject);
	}
	signal(SIGXFSZ, SIG_DFL);
}
END_TEST

/* A sparse file on a file system that is too small for it. */
START_TEST(write_to_full_file_system_gives_enospc)
{
	char dir[] = "/tmp/pcache-test-backing-XXXXXX";
	char path[64];
	struct pc_backing *backing;
	uint8_t *buf;
	struct pc_io ios[4];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") < 0 ||
	    mount("none", dir, "tmpfs", 0, "size=1m") < 0) {
		fprintf(stderr, "# skipped: mounting a small tmpfs: %s\n", strerror(errno));
		rmdir(dir);
		return;
	}
	snprintf(path, sizeof(path), "%s/backing", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 4u << 20), 0);
	ck_assert_int_eq(pc_backing_open(fd, DEPTH, false, NULL, &backing), 0);
	buf = aligned(1u << 20);
	memset(buf, 7, 1u << 20);
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		ios[i] = (struct pc_io){ .op = PC_IO_WRITE, .off = i << 19, .len = 1u << 19, .buf = buf };
	ck_assert_int_eq(pc_backing_run(backing, ios, PC_ARRAY_SIZE(ios)), -ENOSPC);
	ck_assert_int_eq(ios[0].error, 0);
	ck_assert_int_eq(ios[3].error, -ENOSPC);
	free(buf);
	pc_backing_close(backing);
	close(fd);
	umount(dir);
	rmdir(dir);
}
END_TEST

/* ---- answers of the kernel that are rare ---- */

START_TEST(setup_with_few_events_left_lowers_depth)
{
	struct subject subject;

	ck_assert(subject_files(&subject, FILE_SIZE, O_RDWR));
	setup_max = 3;
	ck_assert_int_eq(pc_backing_open(subject.fd, 32, false, &test_log, &subject.backing), 0);
	ck_assert_uint_eq(subject.backing->queue_depth, 2);
	ck_assert_str_eq(last_message, "");
	write_everything(&subject, 5000);
	subject_compare(&subject);
	ck_assert_uint_gt(on_submit.calls, 0);
	subject_close(&subject);
}
END_TEST

START_TEST(close_destroys_the_queue)
{
	struct subject subject;

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR));
	ck_assert_int_eq(queues, 1);
	subject_close(&subject);
	ck_assert_int_eq(queues, 0);
}
END_TEST

START_TEST(setup_that_always_fails_works_synchronously)
{
	static const int errors[] = { -EAGAIN, -ENOSYS, -EPERM };
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };
	struct subject subject;

	if (!subject_files(&subject, FILE_SIZE, flags[_i % 2]))
		return;
	on_setup = (struct injection){ .error = errors[_i / 2], .times = UINT32_MAX };
	ck_assert_int_eq(pc_backing_open(subject.fd, DEPTH, false, &test_log, &subject.backing), 0);
	ck_assert_msg(strstr(last_message, "no asynchronous requests") != NULL, "message: %s", last_message);
	write_everything(&subject, 8192);
	run_random(&subject, PC_IO_READ, 50);
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	subject_compare(&subject);
	ck_assert_uint_eq(on_submit.calls, 0);
	subject_close(&subject);
}
END_TEST

START_TEST(submit_with_eagain_is_done_all_the_same)
{
	static const unsigned skips[] = { 0, 1, 2, 3 };
	struct subject subject;

	if (!subject_open(&subject, FILE_SIZE, O_RDWR | O_DIRECT))
		return;
	for (size_t i = 0; i < PC_ARRAY_SIZE(skips); i++) {
		/* one at a time, so that the refusal finds 0, 1, 2, 3 in flight */
		submit_max = 1;
		on_submit = (struct injection){ .error = -EAGAIN, .times = 5, .skip = skips[i] };
		write_everything(&subject, 16384);
		ck_assert_uint_eq(on_submit.times, 0);
		subject_compare(&subject);
	}
	on_submit = (struct injection){ .error = -EAGAIN, .times = UINT32_MAX };
	write_everything(&subject, 16384);
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

START_TEST(submit_error_fails_that_request_only)
{
	struct subject subject;
	struct pc_io ios[4];

	ck_assert(subject_open(&subject, 10000, O_RDWR));
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		ios[i] = request_new(&subject, PC_IO_READ, i * 100, 100);
	on_submit = (struct injection){ .error = -EINVAL, .times = 1 };
	ck_assert_int_eq(pc_backing_run(subject.backing, ios, PC_ARRAY_SIZE(ios)), -EINVAL);
	ck_assert_int_eq(ios[0].error, -EINVAL);
	for (size_t i = 1; i < PC_ARRAY_SIZE(ios); i++) {
		ck_assert_int_eq(ios[i].error, 0);
		ck_assert_mem_eq(ios[i].buf, subject.model + i * 100, 100);
	}
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		free(ios[i].buf);
	subject_close(&subject);
}
END_TEST

START_TEST(reap_with_eintr_is_retried)
{
	struct subject subject;

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR));
	on_getevents = (struct injection){ .error = -EINTR, .times = 5 };
	write_everything(&subject, 16384);
	ck_assert_uint_eq(on_getevents.times, 0);
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

/* The queue is lost: what was in flight fails, nothing hangs, and later runs do without it. */
START_TEST(reap_that_fails_ends_requests_and_next_run_works)
{
	struct subject subject;
	struct pc_io ios[2 * DEPTH];

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR));
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		ios[i] = request_new(&subject, PC_IO_WRITE, i * 100, 100);
	on_getevents = (struct injection){ .error = -EFAULT, .times = 1 };
	ck_assert_int_eq(pc_backing_run(subject.backing, ios, PC_ARRAY_SIZE(ios)), -EFAULT);
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		ck_assert_int_eq(ios[i].error, i < DEPTH ? -EFAULT : 0);
	ck_assert_int_eq(pc_backing_run(subject.backing, ios, PC_ARRAY_SIZE(ios)), 0);
	subject_compare(&subject);
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		free(ios[i].buf);
	subject_close(&subject);
}
END_TEST

static void add_open_tests(TCase *tcase)
{
	tcase_add_test(tcase, open_that_cannot_reopen_duplicates_and_warns);
	tcase_add_test(tcase, open_for_append_that_cannot_reopen_gives_einval);
	tcase_add_test(tcase, open_direct_with_odd_size_that_cannot_reopen_is_refused);
}

static void add_limit_tests(TCase *tcase)
{
	tcase_add_test(tcase, sync_direct_with_odd_size_covers_both_descriptions);
	tcase_add_test(tcase, sync_that_fails_gives_its_error_and_eintr_is_retried);
	tcase_add_test(tcase, read_of_shrunk_backing_gives_eio);
	tcase_add_test(tcase, write_over_file_size_limit_is_short_then_fails);
	tcase_add_test(tcase, write_to_full_file_system_gives_enospc);
}

static void add_kernel_tests(TCase *tcase)
{
	tcase_add_test(tcase, setup_with_few_events_left_lowers_depth);
	tcase_add_test(tcase, close_destroys_the_queue);
	tcase_add_loop_test(tcase, setup_that_always_fails_works_synchronously, 0, 6);
	tcase_add_test(tcase, submit_with_eagain_is_done_all_the_same);
	tcase_add_test(tcase, submit_error_fails_that_request_only);
	tcase_add_test(tcase, reap_with_eintr_is_retried);
	tcase_add_test(tcase, reap_that_fails_ends_requests_and_next_run_works);
}

int main(void)
{
	Suite *suite = suite_create("backing_fault");
	static void (*const add[])(TCase *) = { add_open_tests, add_limit_tests, add_kernel_tests };
	static const char *const names[] = { "open", "limit", "kernel" };

	for (size_t i = 0; i < PC_ARRAY_SIZE(add); i++) {
		TCase *tcase = case_new(suite, names[i]);

		tcase_add_checked_fixture(tcase, reset, reset);
		add[i](tcase);
	}
	return pc_run_suite(suite);
}
