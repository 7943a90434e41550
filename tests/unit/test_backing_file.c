/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_backing_file.c - lib/backing_aio.c on real files and block devices: what it opens, and that bytes go where told.
 *
 * Method: random requests of every alignment against a model (backing_subject.h).
 */
#include "backing_subject.h"

#include <linux/loop.h>
#include <pthread.h>
#include <sys/ioctl.h>

/* ---- open ---- */

START_TEST(open_with_pipe_gives_einval)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	expect_refusal(ends[0], true, -EINVAL);
	expect_refusal(ends[1], false, -EINVAL);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

START_TEST(open_with_directory_gives_einval)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY);

	expect_refusal(fd, false, -EINVAL);
	expect_refusal(fd, true, -EINVAL);
	close(fd);
}
END_TEST

START_TEST(open_with_unusable_descriptor_gives_ebadf)
{
	struct subject subject;
	char path[64];
	int fd;

	expect_refusal(-1, true, -EBADF);
	expect_refusal(1000, false, -EBADF);
	ck_assert(subject_files(&subject, 4096, O_WRONLY));
	expect_refusal(subject.fd, false, -EBADF);
	expect_refusal(subject.fd, true, -EBADF);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", subject.fd);
	fd = open(path, O_PATH);
	ck_assert_int_ge(fd, 0);
	expect_refusal(fd, true, -EBADF);
	close(fd);
	subject_close(&subject);
}
END_TEST

START_TEST(open_with_read_only_descriptor_gives_erofs)
{
	struct subject subject;

	ck_assert(subject_files(&subject, 4096, O_RDONLY));
	expect_refusal(subject.fd, false, -EROFS);
	ck_assert_int_eq(pc_backing_open(subject.fd, DEPTH, true, &test_log, &subject.backing), 0);
	read_random(&subject, 10);
	subject_close(&subject);
}
END_TEST

START_TEST(open_with_depth_out_of_range_gives_einval)
{
	struct subject subject;

	ck_assert(subject_files(&subject, 4096, O_RDWR));
	ck_assert_int_eq(pc_backing_open(subject.fd, 0, false, NULL, &subject.backing), -EINVAL);
	ck_assert_int_eq(pc_backing_open(subject.fd, PC_BACKING_DEPTH_MAX + 1, false, NULL, &subject.backing), -EINVAL);
	ck_assert_int_eq(pc_backing_open(subject.fd, PC_BACKING_DEPTH_MAX, false, NULL, &subject.backing), 0);
	write_everything(&subject, 3);
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

START_TEST(close_gives_back_all_descriptors)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };

	for (size_t i = 0; i < PC_ARRAY_SIZE(flags); i++) {
		struct subject subject;
		unsigned before;

		if (!subject_files(&subject, FILE_SIZE, flags[i]))
			continue;
		before = descriptors();
		for (int round = 0; round < 3; round++) {
			ck_assert_int_eq(pc_backing_open(subject.fd, DEPTH, false, NULL, &subject.backing), 0);
			ck_assert_uint_gt(descriptors(), before);
			pc_backing_close(subject.backing);
			ck_assert_uint_eq(descriptors(), before);
		}
		subject.backing = NULL;
		subject_close(&subject);
	}
	pc_backing_close(NULL);
}
END_TEST

/* The library's descriptor is the one that open adds. */
static int descriptor_after(int fd)
{
	while (fcntl(++fd, F_GETFD) < 0)
		ck_assert_int_lt(fd, 256);
	return fd;
}

START_TEST(open_makes_a_description_of_its_own)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };
	struct subject subject;
	int own;

	if (!subject_open(&subject, 65536, flags[_i]))
		return;
	/* were it a copy, it would show a flag that is set now */
	ck_assert_int_eq(fcntl(subject.fd, F_SETFL, flags[_i] | O_NONBLOCK), 0);
	own = descriptor_after(subject.fd);
	ck_assert_int_eq(fcntl(own, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(own, F_GETFL) & O_DIRECT, flags[_i] & O_DIRECT);
	ck_assert_int_ne(fcntl(own, F_GETFD) & FD_CLOEXEC, 0);
	subject_close(&subject);
}
END_TEST

START_TEST(io_after_user_closed_descriptor_works)
{
	struct subject subject;

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR));
	close(subject.fd);
	run_random(&subject, PC_IO_WRITE, 20);
	read_random(&subject, 20);
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	subject_compare(&subject);
	subject.fd = -1;
	subject_close(&subject);
}
END_TEST

START_TEST(write_with_append_descriptor_goes_where_told)
{
	struct subject subject;

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR | O_APPEND));
	run_random(&subject, PC_IO_WRITE, 20);
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

/* ---- round trips ---- */

START_TEST(round_trip_buffered_keeps_model)
{
	struct subject subject;

	ck_assert(subject_open(&subject, FILE_SIZE, O_RDWR));
	ck_assert_uint_eq(subject.backing->align_bytes, 1);
	for (int round = 0; round < 20; round++) {
		run_random(&subject, PC_IO_WRITE, 10);
		run_random(&subject, PC_IO_READ, 50);
		read_random(&subject, 10);
	}
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

START_TEST(round_trip_direct_keeps_model)
{
	struct subject subject;

	if (!subject_open(&subject, FILE_SIZE, O_RDWR | O_DIRECT))
		return;
	ck_assert_uint_gt(subject.backing->align_bytes, 1);
	for (int round = 0; round < 20; round++) {
		run_random(&subject, PC_IO_WRITE, 10);
		run_random(&subject, PC_IO_READ, 50);
		read_random(&subject, 50);
	}
	ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
	subject_compare(&subject);
	subject_close(&subject);
}
END_TEST

/* Sizes around the block sizes of disks and pages: nothing but the size at open may ever be found. */
START_TEST(write_direct_with_any_size_never_extends)
{
	static const uint64_t sizes[] = { 1, 100, 511, 512, 513, 1024, 4095, 4096, 4097, 4608, 8191, 8192, 10000,
					  65536, 65537, 262143, 262144, 266239, 1048577 };
	struct subject subject;

	if (!subject_open(&subject, sizes[_i], O_RDWR | O_DIRECT))
		return;
	for (int round = 0; round < 3; round++) {
		write_everything(&subject, 8192);
		subject_compare(&subject);
		read_random(&subject, 20);
		write_everything(&subject, 1048576 * 2);
		ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
		subject_compare(&subject);
	}
	subject_close(&subject);
}
END_TEST

START_TEST(request_past_the_end_is_refused_and_others_done)
{
	struct subject subject;
	struct pc_io ios[4];

	ck_assert(subject_open(&subject, 10000, O_RDWR));
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		ios[i] = request_new(&subject, PC_IO_WRITE, i * 100, 100);
	ios[1].off = 9901;
	ck_assert_int_eq(pread(subject.look, subject.model + 100, 100, 100), 100);
	ios[2].off = UINT64_MAX - 49;
	ck_assert_int_eq(pread(subject.look, subject.model + 200, 100, 200), 100);
	ck_assert_int_eq(pc_backing_run(subject.backing, ios, PC_ARRAY_SIZE(ios)), -EINVAL);
	ck_assert_int_eq(ios[0].error, 0);
	ck_assert_int_eq(ios[1].error, -EINVAL);
	ck_assert_int_eq(ios[2].error, -EINVAL);
	ck_assert_int_eq(ios[3].error, 0);
	subject_compare(&subject);
	for (size_t i = 0; i < PC_ARRAY_SIZE(ios); i++)
		free(ios[i].buf);
	subject_close(&subject);
}
END_TEST

START_TEST(write_to_readonly_backing_gives_erofs)
{
	struct subject subject;
	struct pc_io ios[2];

	ck_assert(subject_files(&subject, 10000, O_RDWR));
	ck_assert_int_eq(pc_backing_open(subject.fd, DEPTH, true, NULL, &subject.backing), 0);
	ios[0] = request_new(&subject, PC_IO_READ, 0, 100);
	ios[1] = (struct pc_io){ .op = PC_IO_WRITE, .off = 0, .len = 100, .buf = subject.model + 5000 };
	ck_assert_int_eq(pc_backing_run(subject.backing, ios, 2), -EROFS);
	ck_assert_int_eq(ios[0].error, 0);
	ck_assert_int_eq(ios[1].error, -EROFS);
	ck_assert_mem_eq(ios[0].buf, subject.model, 100);
	subject_compare(&subject);
	free(ios[0].buf);
	subject_close(&subject);
}
END_TEST

START_TEST(read_past_the_end_gives_eio)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };

	for (size_t i = 0; i < PC_ARRAY_SIZE(flags); i++) {
		struct subject subject;
		uint8_t buf[64];

		if (!subject_open(&subject, FILE_SIZE, flags[i]))
			continue;
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, FILE_SIZE - 63, 64), -EIO);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, FILE_SIZE, 1), -EIO);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, UINT64_MAX, 64), -EIO);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, FILE_SIZE - 64, 64), 0);
		ck_assert_int_eq(pc_backing_read(subject.backing, buf, FILE_SIZE, 0), 0);
		subject_close(&subject);
	}
}
END_TEST

START_TEST(read_direct_into_unaligned_memory_works)
{
	PC_FREE uint8_t *buf = aligned(65536 + 1);
	struct subject subject;

	if (!subject_open(&subject, FILE_SIZE, O_RDWR | O_DIRECT))
		return;
	ck_assert_int_eq(pc_backing_read(subject.backing, buf, 65536, 65536), 0);
	ck_assert_mem_eq(buf, subject.model + 65536, 65536);
	ck_assert_int_eq(pc_backing_read(subject.backing, buf + 1, 131072, 65536), 0);
	ck_assert_mem_eq(buf + 1, subject.model + 131072, 65536);
	subject_close(&subject);
}
END_TEST

static void *read_in_thread(void *arg)
{
	struct subject *subject = arg;
	uint8_t buf[9000];

	for (uint64_t i = 0; i < 300; i++) {
		uint64_t off = i * 3491;

		if (pc_backing_read(subject->backing, buf, off, sizeof(buf)) != 0 ||
		    memcmp(buf, subject->model + off, sizeof(buf)) != 0)
			return subject;
	}
	return NULL;
}

START_TEST(read_from_many_threads_keeps_model)
{
	pthread_t threads[4];
	struct subject subject;

	if (!subject_open(&subject, 1100000, O_RDWR | O_DIRECT))
		return;
	for (size_t i = 0; i < PC_ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_in_thread, &subject), 0);
	for (size_t i = 0; i < PC_ARRAY_SIZE(threads); i++) {
		void *failed = NULL;

		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	subject_close(&subject);
}
END_TEST

/* A free loop device over fd, or -1. It goes with its last descriptor, also where a test dies. */
static int loop_attach(int fd, int flags)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int loop = -1;

	for (int tries = 0; control >= 0 && loop < 0 && tries < 20; tries++) {
		char path[64];

		snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
		loop = open(path, flags | O_CLOEXEC);
		if (loop >= 0 && ioctl(loop, LOOP_SET_FD, fd) < 0) {
			close(loop);
			loop = -1;
		}
	}
	if (loop >= 0)
		ck_assert_int_eq(ioctl(loop, LOOP_SET_STATUS64, &info), 0);
	if (loop < 0)
		fprintf(stderr, "# skipped: loop device: %s\n", strerror(errno));
	if (control >= 0)
		close(control);
	return loop;
}

START_TEST(round_trip_on_block_device_keeps_model)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT };

	for (size_t i = 0; i < PC_ARRAY_SIZE(flags); i++) {
		struct subject subject;
		int loop;

		ck_assert(subject_files(&subject, 1u << 20, O_RDWR));
		loop = loop_attach(subject.fd, flags[i]);
		if (loop >= 0) {
			ck_assert_int_eq(pc_backing_open(loop, DEPTH, false, &test_log, &subject.backing), 0);
			ck_assert_uint_eq(subject.backing->size_bytes, 1u << 20);
			ck_assert_uint_eq(subject.backing->align_bytes > 1, (flags[i] & O_DIRECT) != 0);
			run_random(&subject, PC_IO_WRITE, 40);
			read_random(&subject, 40);
			run_random(&subject, PC_IO_READ, 40);
			ck_assert_int_eq(pc_backing_sync(subject.backing), 0);
			subject_compare(&subject);
			close(loop);
		}
		subject_close(&subject);
	}
}
END_TEST

static void add_open_tests(TCase *tcase)
{
	tcase_add_test(tcase, open_with_pipe_gives_einval);
	tcase_add_test(tcase, open_with_directory_gives_einval);
	tcase_add_test(tcase, open_with_unusable_descriptor_gives_ebadf);
	tcase_add_test(tcase, open_with_read_only_descriptor_gives_erofs);
	tcase_add_test(tcase, open_with_depth_out_of_range_gives_einval);
	tcase_add_test(tcase, close_gives_back_all_descriptors);
	tcase_add_loop_test(tcase, open_makes_a_description_of_its_own, 0, 2);
	tcase_add_test(tcase, io_after_user_closed_descriptor_works);
	tcase_add_test(tcase, write_with_append_descriptor_goes_where_told);
}

static void add_round_trip_tests(TCase *tcase)
{
	tcase_add_test(tcase, round_trip_buffered_keeps_model);
	tcase_add_test(tcase, round_trip_direct_keeps_model);
	tcase_add_loop_test(tcase, write_direct_with_any_size_never_extends, 0, 19);
	tcase_add_test(tcase, request_past_the_end_is_refused_and_others_done);
	tcase_add_test(tcase, write_to_readonly_backing_gives_erofs);
	tcase_add_test(tcase, read_past_the_end_gives_eio);
	tcase_add_test(tcase, read_direct_into_unaligned_memory_works);
	tcase_add_test(tcase, read_from_many_threads_keeps_model);
	tcase_add_test(tcase, round_trip_on_block_device_keeps_model);
}

int main(void)
{
	Suite *suite = suite_create("backing_file");

	add_open_tests(case_new(suite, "open"));
	add_round_trip_tests(case_new(suite, "round_trip"));
	return pc_run_suite(suite);
}
