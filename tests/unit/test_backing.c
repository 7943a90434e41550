/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_backing.c - lib/backing.c: what a run makes of each answer of the operations.
 *
 * Method: operations in memory answer from a script: short, failed and interrupted completions in reverse order,
 * refused and partial submissions. Every byte of a request that ended well is compared.
 */
#include "backing.h"
#include "runner.h"

#include <errno.h>
#include <string.h>

#define FAKE_BYTES 65536u
#define ALL        INT64_MAX
#define NOTHING    (INT64_MIN + 1) /* in a script of results: 0 bytes */

struct fake {
	struct pc_backing base;
	uint8_t bytes[FAKE_BYTES];
	int64_t submits[8];  /* answers in turn: ALL, at most so many, or an error */
	int64_t reaps[8];    /* the same */
	int64_t results[16]; /* bytes done of each completion in turn */
	unsigned submit_next;
	unsigned reap_next;
	unsigned result_next;
	struct pc_io *in_flight[PC_BACKING_DEPTH_MAX];
	unsigned in_flight_count;
	unsigned in_flight_max;
	unsigned completions;
};

/* Past the end of a script everything works. */
static int64_t scripted(const int64_t *script, size_t count, unsigned *next)
{
	int64_t value = *next < count ? script[*next] : 0;

	*next += *next < count;
	return value == 0 ? ALL : value;
}

static int fake_submit(struct pc_backing *backing, struct pc_io **ios, unsigned count)
{
	struct fake *fake = (struct fake *)backing;
	int64_t limit = scripted(fake->submits, PC_ARRAY_SIZE(fake->submits), &fake->submit_next);

	if (limit < 0)
		return (int)limit;
	count = (unsigned)pc_min64(count, (uint64_t)limit);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_uint_eq((ios[i]->off + ios[i]->done) % backing->align_bytes, 0);
		fake->in_flight[fake->in_flight_count++] = ios[i];
	}
	ck_assert_uint_le(fake->in_flight_count, backing->queue_depth);
	fake->in_flight_max = (unsigned)pc_max64(fake->in_flight_max, fake->in_flight_count);
	return (int)count;
}

static void fake_complete(struct fake *fake, struct pc_io *io)
{
	int64_t result = scripted(fake->results, PC_ARRAY_SIZE(fake->results), &fake->result_next);

	fake->completions++;
	if (result == ALL)
		result = (int64_t)(io->len - io->done);
	if (result > 0)
		ck_assert_uint_le((uint64_t)result, io->len - io->done);
	if (result > 0 && io->op == PC_IO_WRITE)
		memcpy(fake->bytes + io->off + io->done, io->buf + io->done, (size_t)result);
	else if (result > 0)
		memcpy(io->buf + io->done, fake->bytes + io->off + io->done, (size_t)result);
	io->result = result == NOTHING ? 0 : result;
}

/* The last one first: completions come in any order. */
static int fake_reap(struct pc_backing *backing, struct pc_io **ret_done, unsigned max)
{
	struct fake *fake = (struct fake *)backing;
	int64_t limit = scripted(fake->reaps, PC_ARRAY_SIZE(fake->reaps), &fake->reap_next);
	unsigned count = 0;

	ck_assert_uint_gt(fake->in_flight_count, 0);
	if (limit < 0) {
		if (limit != -EINTR)
			fake->in_flight_count = 0;
		return (int)limit;
	}
	while (count < max && count < (uint64_t)limit && fake->in_flight_count > 0) {
		ret_done[count] = fake->in_flight[--fake->in_flight_count];
		fake_complete(fake, ret_done[count++]);
	}
	return (int)count;
}

static int64_t fake_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len)
{
	struct fake *fake = (struct fake *)backing;
	int64_t result = scripted(fake->results, PC_ARRAY_SIZE(fake->results), &fake->result_next);

	if (result > 0)
		memcpy(buf, fake->bytes + off, len);
	return result == ALL ? (int64_t)len : result;
}

static const struct pc_backing_ops fake_ops = { .submit = fake_submit, .reap = fake_reap, .read = fake_read };

#define FAKE_IOS 12u
#define FAKE_LEN 4096u

static struct fake fake;
static uint8_t fake_memory[FAKE_BYTES];
static struct pc_io fake_ios[FAKE_IOS];

static void setup(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.base = (struct pc_backing){
		.ops = &fake_ops, .size_bytes = FAKE_BYTES, .align_bytes = 512, .queue_depth = 4,
	};
	for (size_t i = 0; i < FAKE_BYTES; i++)
		fake_memory[i] = (uint8_t)(i * 31 + i / 256);
	for (size_t i = 0; i < FAKE_IOS; i++)
		fake_ios[i] = (struct pc_io){ .op = PC_IO_WRITE, .off = i * FAKE_LEN, .len = FAKE_LEN,
					      .buf = fake_memory + i * FAKE_LEN, .error = 1, .done = 77 };
}

/* Runs all; request `failing` (or none: -1) ends with `error`, all others are done in full. */
static void fake_run(int failing, int error)
{
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, FAKE_IOS), failing >= 0 ? error : 0);
	ck_assert_uint_eq(fake.in_flight_count, 0);
	for (int i = 0; i < (int)FAKE_IOS; i++) {
		ck_assert_int_eq(fake_ios[i].error, i == failing ? error : 0);
		if (i != failing)
			ck_assert_mem_eq(fake.bytes + i * (int)FAKE_LEN, fake_memory + i * (int)FAKE_LEN, FAKE_LEN);
	}
}

START_TEST(run_without_faults_fills_depth)
{
	fake_run(-1, 0);
	ck_assert_uint_eq(fake.in_flight_max, 4);
	ck_assert_uint_eq(fake.completions, FAKE_IOS);
	ck_assert_int_eq(pc_backing_run(&fake.base, NULL, 0), 0);
}
END_TEST

START_TEST(run_with_empty_request_submits_nothing)
{
	fake_ios[0].len = 0;
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, 1), 0);
	ck_assert_int_eq(fake_ios[0].error, 0);
	ck_assert_uint_eq(fake.submit_next, 0);
}
END_TEST

START_TEST(run_with_short_completions_does_the_rest)
{
	static const int64_t results[] = { 512, 1024, ALL, 2048, 512, 512, 512, 1536, ALL, 2048 };

	memcpy(fake.results, results, sizeof(results));
	fake_run(-1, 0);
	ck_assert_uint_eq(fake.completions, FAKE_IOS + 8);
}
END_TEST

/* 700 of 4096 bytes: the rest is submitted from 512, as the fake checks alignment. */
START_TEST(run_with_unaligned_short_completion_repeats_part_block)
{
	fake.results[0] = 700;
	fake.results[5] = 4095;
	fake_run(-1, 0);
	ck_assert_uint_eq(fake.completions, FAKE_IOS + 2);
}
END_TEST

/* The first completion is that of request 3, as the fake answers in reverse. */
START_TEST(run_with_completion_without_progress_gives_eio)
{
	static const int64_t results[] = { NOTHING, 511 };

	fake.results[0] = results[_i];
	fake_run(3, -EIO);
}
END_TEST

START_TEST(run_with_failed_completion_gives_its_error)
{
	static const int errors[] = { -EIO, -ENOSPC, -EFBIG };

	fake.results[0] = 1024;
	fake.results[7] = errors[_i]; /* three of the first batch and three of the second, then the rest of request 3 */
	fake_run(3, errors[_i]);
	ck_assert_uint_eq(fake_ios[3].done, 1024);
}
END_TEST

START_TEST(run_with_eintr_or_eagain_completion_tries_again)
{
	fake.results[0] = -EINTR;
	fake.results[1] = -EAGAIN;
	fake.results[3] = -EINTR;
	fake_run(-1, 0);
	ck_assert_uint_eq(fake.completions, FAKE_IOS + 3);
}
END_TEST

START_TEST(run_with_submit_taking_part_or_refusing_goes_on)
{
	static const int64_t submits[] = { -EAGAIN, 1, -EAGAIN, -EINTR, 2, 1, -EINTR, -EAGAIN };

	memcpy(fake.submits, submits, sizeof(submits));
	fake_run(-1, 0);
}
END_TEST

START_TEST(run_with_submit_error_fails_the_first_of_the_batch)
{
	fake.submits[0] = 2;
	fake.submits[1] = -EBADF;
	fake_run(2, -EBADF);
}
END_TEST

START_TEST(run_with_reap_interrupted_or_slow_goes_on)
{
	static const int64_t reaps[] = { -EINTR, 1, -EINTR, -EINTR, 1, 2, 1, -EINTR };

	memcpy(fake.reaps, reaps, sizeof(reaps));
	fake_run(-1, 0);
}
END_TEST

START_TEST(run_with_reap_error_fails_only_what_was_in_flight)
{
	fake.reaps[0] = 1;
	fake.reaps[1] = -EBADF;
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, FAKE_IOS), -EBADF);
	/* depth 4: 3 ended first, then 0, 1, 2 and its successor 4 were in flight */
	for (size_t i = 0; i < FAKE_IOS; i++)
		ck_assert_int_eq(fake_ios[i].error, i <= 4 && i != 3 ? -EBADF : 0);
}
END_TEST

static int submit_never(struct pc_backing *backing, struct pc_io **ios, unsigned count)
{
	(void)backing;
	(void)ios;
	(void)count;
	return -EAGAIN;
}

static int reap_always_eintr(struct pc_backing *backing, struct pc_io **ret_done, unsigned max)
{
	struct fake *self = (struct fake *)backing;
	unsigned count = 0;

	while (count < max && self->in_flight_count > 0) {
		ret_done[count] = self->in_flight[--self->in_flight_count];
		ret_done[count++]->result = -EINTR;
	}
	return (int)count;
}

/* (B6) */
START_TEST(run_that_is_always_told_to_try_again_ends)
{
	static const struct pc_backing_ops never = { .submit = submit_never, .reap = fake_reap };
	static const struct pc_backing_ops interrupted = { .submit = fake_submit, .reap = reap_always_eintr };

	fake.base.ops = &never;
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, FAKE_IOS), -EAGAIN);
	fake.base.ops = &interrupted;
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, FAKE_IOS), -EINTR);
	ck_assert_uint_eq(fake.in_flight_count, 0);
}
END_TEST

static int reap_one_byte_between_eintr(struct pc_backing *backing, struct pc_io **ret_done, unsigned max)
{
	struct fake *self = (struct fake *)backing;

	ck_assert_uint_ge(max, 1);
	ret_done[0] = self->in_flight[--self->in_flight_count];
	ret_done[0]->result = self->completions++ % 2 == 0 ? -EINTR : 1;
	return 1;
}

START_TEST(run_with_progress_between_interruptions_never_gives_up)
{
	static const struct pc_backing_ops slow = { .submit = fake_submit, .reap = reap_one_byte_between_eintr };

	fake.base.ops = &slow;
	fake.base.align_bytes = 1;
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, 1), 0);
	ck_assert_uint_eq(fake.completions, 2 * FAKE_LEN);
}
END_TEST

START_TEST(run_returns_the_error_of_the_first_request_in_order)
{
	fake.results[0] = -EIO;    /* request 3 */
	fake.results[2] = -ENOSPC; /* request 1 */
	ck_assert_int_eq(pc_backing_run(&fake.base, fake_ios, FAKE_IOS), -ENOSPC);
	ck_assert_int_eq(fake_ios[1].error, -ENOSPC);
	ck_assert_int_eq(fake_ios[3].error, -EIO);
}
END_TEST

START_TEST(read_that_is_short_or_fails_is_an_error)
{
	uint8_t buf[100];

	fake.results[0] = 99;
	ck_assert_int_eq(pc_backing_read(&fake.base, buf, 0, sizeof(buf)), -EIO);
	fake.results[1] = -ENOMEM;
	ck_assert_int_eq(pc_backing_read(&fake.base, buf, 0, sizeof(buf)), -ENOMEM);
	memcpy(fake.bytes, fake_memory, FAKE_BYTES);
	ck_assert_int_eq(pc_backing_read(&fake.base, buf, 1000, sizeof(buf)), 0);
	ck_assert_mem_eq(buf, fake_memory + 1000, sizeof(buf));
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, run_without_faults_fills_depth);
	tcase_add_test(tcase, run_with_empty_request_submits_nothing);
	tcase_add_test(tcase, run_with_short_completions_does_the_rest);
	tcase_add_test(tcase, run_with_unaligned_short_completion_repeats_part_block);
	tcase_add_loop_test(tcase, run_with_completion_without_progress_gives_eio, 0, 2);
	tcase_add_loop_test(tcase, run_with_failed_completion_gives_its_error, 0, 3);
	tcase_add_test(tcase, run_with_eintr_or_eagain_completion_tries_again);
	tcase_add_test(tcase, run_with_submit_taking_part_or_refusing_goes_on);
	tcase_add_test(tcase, run_with_submit_error_fails_the_first_of_the_batch);
	tcase_add_test(tcase, run_with_reap_interrupted_or_slow_goes_on);
	tcase_add_test(tcase, run_with_reap_error_fails_only_what_was_in_flight);
	tcase_add_test(tcase, run_that_is_always_told_to_try_again_ends);
	tcase_add_test(tcase, run_with_progress_between_interruptions_never_gives_up);
	tcase_add_test(tcase, run_returns_the_error_of_the_first_request_in_order);
	tcase_add_test(tcase, read_that_is_short_or_fails_is_an_error);
}

int main(void)
{
	Suite *suite = suite_create("backing");
	TCase *tcase = tcase_create("run");

	tcase_add_checked_fixture(tcase, setup, NULL);
	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	return pc_run_suite(suite);
}
