/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_async.c - queues: every request ends once, with what the call that it stands for would have returned.
 *
 * Method: as an event loop would use it, on a backing with O_DIRECT (libaio reads) and on a buffered one (threads read).
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VOLUME_BYTES (4 * MIB)
#define DEPTH        16u
#define BLOCK        4096u
#define JOB_BYTES    (64 * KIB)
#define CEILING_MS   100000

struct job {
	struct pcache_request request;
	uint8_t *buf; /* JOB_BYTES, aligned */
	bool is_free;
};

struct loop {
	struct fixture *fx;
	struct pcache_queue *queue;
	struct job jobs[DEPTH];
};

static struct loop *make_loop(bool direct)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	loop->fx = fixture_make(VOLUME_BYTES, CACHE_SMALL, SEGMENT_SMALL);
	if (direct)
		fixture_use_direct(loop->fx);
	fixture_open(loop->fx, PCACHE_OPEN_CREATE);
	ck_assert_int_eq(pcache_queue_create(loop->fx->cache, DEPTH, &loop->queue), 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		void *buf;

		ck_assert_int_eq(posix_memalign(&buf, BLOCK, JOB_BYTES), 0);
		loop->jobs[i].buf = buf;
		loop->jobs[i].is_free = true;
	}
	return loop;
}

static void free_loop(struct loop *loop)
{
	ck_assert_int_eq(pcache_queue_delete(loop->queue), 0);
	fixture_check_all(loop->fx);
	fixture_free(loop->fx);
	for (unsigned i = 0; i < DEPTH; i++)
		free(loop->jobs[i].buf);
	free(loop);
}

static bool is_readable(const struct pcache_queue *queue, int ms)
{
	struct pollfd wait = { .fd = pcache_queue_fd(queue), .events = POLLIN };

	return poll(&wait, 1, ms) == 1;
}

static void submit(struct loop *loop, struct job *job, enum pcache_op op, uint64_t off, size_t len, unsigned flags)
{
	struct pcache_request *request = &job->request;

	ck_assert(job->is_free);
	job->is_free = false;
	*request = (struct pcache_request){
		.op = op, .flags = flags, .buf = job->buf, .len = len, .off = off, .user = job, .result = INT64_MIN
	};
	ck_assert_int_eq(pcache_submit(loop->queue, &request, 1), 1);
}

/* One that has ended. */
static struct job *reap(struct loop *loop)
{
	struct pcache_request *done;
	struct job *job;

	do {
		ck_assert_msg(is_readable(loop->queue, CEILING_MS), "nothing ends");
	} while (pcache_reap(loop->queue, &done, 1) == 0);
	job = done->user;
	ck_assert_ptr_eq(done, &job->request);
	ck_assert(!job->is_free);
	ck_assert_int_ne(done->result, INT64_MIN);
	job->is_free = true;
	return job;
}

/* The descriptor may be readable once too often, not for ever. */
static void expect_nothing(struct loop *loop)
{
	struct pcache_request *done;

	ck_assert_int_eq(pcache_reap(loop->queue, &done, 1), 0);
}

static int64_t one(struct loop *loop, enum pcache_op op, uint64_t off, size_t len, unsigned flags)
{
	submit(loop, &loop->jobs[0], op, off, len, flags);
	return reap(loop)->request.result;
}

/* ---- what it does ---- */

static bool is_touched(const struct loop *loop, uint64_t off, size_t len)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		const struct pcache_request *request = &loop->jobs[i].request;

		if (!loop->jobs[i].is_free && request->off < off + len && off < request->off + request->len)
			return true;
	}
	return false;
}

static void start_random(struct loop *loop, struct job *job)
{
	struct fixture *fx = loop->fx;
	bool is_write = test_random_below(&fx->random, 3) == 0;
	size_t len;
	uint64_t off;

	do {
		len = 1 + test_random_below(&fx->random, test_random_below(&fx->random, 4) == 0 ? JOB_BYTES : BLOCK);
		off = test_random_below(&fx->random, VOLUME_BYTES - len + 1);
	} while (is_touched(loop, off, len));
	if (is_write) {
		test_random_fill(&fx->random, job->buf, len);
		memcpy(fx->model + off, job->buf, len);
	}
	submit(loop, job, is_write ? PCACHE_OP_WRITE : PCACHE_OP_READ, off, len, 0);
}

static void end_random(struct loop *loop)
{
	const struct job *job = reap(loop);
	const struct pcache_request *request = &job->request;

	ck_assert_int_eq(request->result, (int64_t)request->len);
	ck_assert(request->op != PCACHE_OP_READ || memcmp(job->buf, loop->fx->model + request->off, request->len) == 0);
}

/* Four times what the cache holds is written: some of it waits for space. */
static void run_random(bool direct)
{
	struct loop *loop = make_loop(direct);
	unsigned rounds = thinned(3000);
	unsigned busy = 0;

	for (unsigned i = 0; i < rounds; i++) {
		if (busy == DEPTH) {
			end_random(loop);
			busy--;
		}
		for (unsigned j = 0; j < DEPTH; j++) {
			if (loop->jobs[j].is_free) {
				start_random(loop, &loop->jobs[j]);
				busy++;
				break;
			}
		}
	}
	for (; busy > 0; busy--)
		end_random(loop);
	expect_nothing(loop);
	free_loop(loop);
}

START_TEST(random_requests_on_a_direct_backing) { run_random(true); } END_TEST
START_TEST(random_requests_on_a_buffered_backing) { run_random(false); } END_TEST

START_TEST(hit_and_write_are_done_when_submit_returns)
{
	struct loop *loop = make_loop(true);
	struct fixture *fx = loop->fx;

	test_random_fill(&fx->random, loop->jobs[0].buf, BLOCK);
	memcpy(fx->model + BLOCK, loop->jobs[0].buf, BLOCK);
	submit(loop, &loop->jobs[0], PCACHE_OP_WRITE, BLOCK, BLOCK, 0);
	submit(loop, &loop->jobs[1], PCACHE_OP_READ, BLOCK, BLOCK, 0);
	ck_assert_int_eq(loop->jobs[0].request.result, BLOCK);
	ck_assert_int_eq(loop->jobs[1].request.result, BLOCK);
	ck_assert_int_eq(memcmp(loop->jobs[1].buf, fx->model + BLOCK, BLOCK), 0);
	reap(loop);
	reap(loop);
	expect_nothing(loop);
	free_loop(loop);
}
END_TEST

START_TEST(descriptor_stays_readable_until_all_is_reaped)
{
	struct loop *loop = make_loop(true);

	for (unsigned i = 0; i < DEPTH; i++)
		submit(loop, &loop->jobs[i], PCACHE_OP_READ, i * BLOCK, BLOCK, 0);
	for (unsigned i = 0; i < DEPTH; i++)
		ck_assert_int_eq(reap(loop)->request.result, BLOCK);
	expect_nothing(loop);
	free_loop(loop);
}
END_TEST

START_TEST(full_queue_takes_no_more)
{
	struct loop *loop = make_loop(false);
	struct pcache_request extra[2] = { { .op = PCACHE_OP_FLUSH }, { .op = PCACHE_OP_FLUSH } };
	struct pcache_request *both[2] = { &extra[0], &extra[1] };
	struct pcache_request *done[DEPTH + 1];

	for (unsigned i = 0; i < DEPTH - 1; i++)
		submit(loop, &loop->jobs[i], PCACHE_OP_READ, i * BLOCK, BLOCK, 0);
	ck_assert_int_eq(pcache_submit(loop->queue, both, 2), 1);
	ck_assert_int_eq(pcache_submit(loop->queue, both + 1, 1), -EAGAIN);
	for (unsigned ended = 0; ended < DEPTH;) {
		ck_assert(is_readable(loop->queue, CEILING_MS));
		ended += (unsigned)pcache_reap(loop->queue, done, DEPTH + 1);
	}
	ck_assert_int_eq(extra[0].result, 0);
	ck_assert_int_eq(pcache_reap(loop->queue, done, 1), 0);
	free_loop(loop);
}
END_TEST

START_TEST(sync_and_fua)
{
	struct loop *loop = make_loop(true);
	struct fixture *fx = loop->fx;

	test_random_fill(&fx->random, loop->jobs[0].buf, 3000);
	memcpy(fx->model + 77, loop->jobs[0].buf, 3000);
	ck_assert_int_eq(one(loop, PCACHE_OP_WRITE, 77, 3000, PCACHE_WRITE_FUA), 3000);
	ck_assert_int_eq(one(loop, PCACHE_OP_FLUSH, 0, 0, 0), 0);
	free_loop(loop);
}
END_TEST

START_TEST(zeroes_and_discards)
{
	struct loop *loop = make_loop(true);
	struct fixture *fx = loop->fx;

	ck_assert_int_eq(one(loop, PCACHE_OP_WRITE_ZEROES, 5000, 200 * KIB, 0), 0);
	ck_assert_int_eq(one(loop, PCACHE_OP_DISCARD, MIB, 2 * MIB, 0), 0);
	memset(fx->model + 5000, 0, 200 * KIB);
	memset(fx->model + MIB, 0, 2 * MIB);
	free_loop(loop);
}
END_TEST

/* Each waits for the backing, so threads do; one sync serves many. */
START_TEST(write_through)
{
	struct loop *loop = make_loop(true);
	struct fixture *fx = loop->fx;

	ck_assert_int_eq(pcache_set(fx->cache, PCACHE_TUNABLE_MODE, PCACHE_MODE_WRITETHROUGH), 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		test_random_fill(&fx->random, loop->jobs[i].buf, BLOCK);
		memcpy(fx->model + i * BLOCK, loop->jobs[i].buf, BLOCK);
		submit(loop, &loop->jobs[i], PCACHE_OP_WRITE, i * BLOCK, BLOCK, 0);
	}
	for (unsigned i = 0; i < DEPTH; i++)
		ck_assert_int_eq(reap(loop)->request.result, BLOCK);
	fixture_check_backing(fx);
	free_loop(loop);
}
END_TEST

/* ---- errors ---- */

START_TEST(what_is_wrong_is_the_result)
{
	struct loop *loop = make_loop(true);
	struct pcache_request *none = NULL;
	struct pcache_queue *queue;

	ck_assert_int_eq(one(loop, 99, 0, BLOCK, 0), -EINVAL);
	ck_assert_int_eq(one(loop, PCACHE_OP_READ, 0, BLOCK, 1u << 30), -EINVAL);
	ck_assert_int_eq(one(loop, PCACHE_OP_READ, 0, BLOCK, PCACHE_WRITE_FUA), -EINVAL);
	ck_assert_int_eq(one(loop, PCACHE_OP_READ, VOLUME_BYTES - 100, BLOCK, 0), 100);
	ck_assert_int_eq(one(loop, PCACHE_OP_READ, VOLUME_BYTES, BLOCK, 0), 0);
	ck_assert_int_eq(one(loop, PCACHE_OP_WRITE, VOLUME_BYTES - 100, BLOCK, 0), -ENOSPC);
	ck_assert_int_eq(one(loop, PCACHE_OP_READ, MIB, BLOCK, PCACHE_NOWAIT), -EAGAIN);
	ck_assert_int_eq(pcache_submit(NULL, &none, 0), -EINVAL);
	ck_assert_int_eq(pcache_submit(loop->queue, NULL, 1), -EINVAL);
	ck_assert_int_eq(pcache_submit(loop->queue, NULL, 0), 0);
	ck_assert_int_eq(pcache_reap(loop->queue, NULL, 1), -EINVAL);
	ck_assert_int_eq(pcache_reap(NULL, &none, 1), -EINVAL);
	ck_assert_int_eq(pcache_queue_fd(NULL), -EINVAL);
	ck_assert_int_eq(pcache_queue_create(loop->fx->cache, 0, &queue), -EINVAL);
	ck_assert_int_eq(pcache_queue_create(loop->fx->cache, PCACHE_QUEUE_DEPTH_MAX + 1, &queue), -EINVAL);
	ck_assert_int_eq(pcache_queue_create(loop->fx->cache, 1, NULL), -EINVAL);
	ck_assert_int_eq(pcache_queue_create(NULL, 1, &queue), -EINVAL);
	ck_assert_int_eq(pcache_queue_delete(NULL), 0);
	free_loop(loop);
}
END_TEST

/* ---- together with others ---- */

/* Nobody may wait for a read that ends only when its host looks for it: that may be he himself. */
START_TEST(call_does_not_wait_for_a_request_that_is_not_reaped)
{
	struct loop *loop = make_loop(true);

	submit(loop, &loop->jobs[0], PCACHE_OP_READ, MIB, 4 * BLOCK, 0);
	fixture_check(loop->fx, MIB, 4 * BLOCK);
	ck_assert_int_eq(reap(loop)->request.result, 4 * BLOCK);
	ck_assert_int_eq(memcmp(loop->jobs[0].buf, loop->fx->model + MIB, 4 * BLOCK), 0);
	free_loop(loop);
}
END_TEST

START_TEST(write_during_a_read_is_not_undone)
{
	struct loop *loop = make_loop(true);
	struct fixture *fx = loop->fx;

	submit(loop, &loop->jobs[0], PCACHE_OP_READ, MIB, 4 * BLOCK, 0);
	fixture_write(fx, MIB + BLOCK, BLOCK);
	fixture_drain(fx);
	ck_assert_int_eq(reap(loop)->request.result, 4 * BLOCK);
	fixture_check(fx, MIB, 4 * BLOCK);
	fixture_reopen(fx);
	fixture_check(fx, MIB, 4 * BLOCK);
	ck_assert_int_eq(pcache_queue_create(fx->cache, 1, &loop->queue), 0); /* the close took the old one */
	free_loop(loop);
}
END_TEST

/* Somebody else changes the backing; the request has read the older bytes, and must not leave them in the cache. */
START_TEST(read_that_began_before_an_invalidate_is_not_kept)
{
	struct loop *loop = make_loop(true);
	struct fixture *fx = loop->fx;

	submit(loop, &loop->jobs[0], PCACHE_OP_READ, MIB, 4 * BLOCK, 0);
	ck_assert(is_readable(loop->queue, CEILING_MS));
	test_random_fill(&fx->random, fx->model + MIB, 4 * BLOCK);
	memcpy(loop->jobs[1].buf, fx->model + MIB, 4 * BLOCK); /* aligned */
	ck_assert_int_eq(pwrite(fx->fd, loop->jobs[1].buf, 4 * BLOCK, MIB), 4 * BLOCK);
	ck_assert_int_eq(pcache_invalidate(fx->cache, MIB, 4 * BLOCK, 0), 0);
	ck_assert_int_eq(reap(loop)->request.result, 4 * BLOCK);
	fixture_check(fx, MIB, 4 * BLOCK);
	free_loop(loop);
}
END_TEST

START_TEST(what_was_read_is_kept)
{
	struct loop *loop = make_loop(true);
	struct pcache_stats stats;

	ck_assert_int_eq(one(loop, PCACHE_OP_READ, MIB, 4 * BLOCK, 0), 4 * BLOCK);
	stats = fixture_stats(loop->fx);
	ck_assert_uint_ge(stats.fill_bytes, 4 * BLOCK);
	submit(loop, &loop->jobs[0], PCACHE_OP_READ, MIB, 4 * BLOCK, PCACHE_NOWAIT);
	ck_assert_int_eq(reap(loop)->request.result, 4 * BLOCK);
	ck_assert_uint_eq(fixture_stats(loop->fx).read_miss_bytes, stats.read_miss_bytes);
	free_loop(loop);
}
END_TEST

static bool has_ended_well(const struct pcache_request *request)
{
	return request->result == (int64_t)request->len || request->result == -ECANCELED;
}

START_TEST(deleted_queue_gives_every_request_back)
{
	for (unsigned round = 0; round < thinned(30); round++) {
		struct loop *loop = make_loop(round % 2 == 0);

		for (unsigned i = 0; i < DEPTH; i++)
			submit(loop, &loop->jobs[i], PCACHE_OP_READ, i * JOB_BYTES, JOB_BYTES, 0);
		if (round % 3 == 0)
			reap(loop);
		ck_assert_int_eq(pcache_queue_delete(loop->queue), 0);
		for (unsigned i = 0; i < DEPTH; i++) {
			const struct job *job = &loop->jobs[i];

			ck_assert(has_ended_well(&job->request));
			ck_assert(job->request.result < 0 ||
				  memcmp(job->buf, loop->fx->model + job->request.off, JOB_BYTES) == 0);
		}
		loop->queue = NULL;
		free_loop(loop);
	}
}
END_TEST

START_TEST(close_ends_the_queues)
{
	struct loop *loop = make_loop(true);
	struct pcache_queue *second;

	ck_assert_int_eq(pcache_queue_create(loop->fx->cache, 2, &second), 0);
	for (unsigned i = 0; i < DEPTH; i++)
		submit(loop, &loop->jobs[i], PCACHE_OP_READ, i * JOB_BYTES, JOB_BYTES, 0);
	fixture_close(loop->fx, 0);
	for (unsigned i = 0; i < DEPTH; i++)
		ck_assert(has_ended_well(&loop->jobs[i].request));
	fixture_open(loop->fx, 0);
	loop->queue = NULL;
	free_loop(loop);
}
END_TEST

/* ---- threads ---- */

struct user {
	struct fixture *fx;
	pthread_t thread;
	uint64_t off; /* of its own quarter of the volume */
	struct verdict verdict;
};

static int64_t do_one(struct pcache_queue *queue, struct pcache_request *request)
{
	struct pcache_request *done;

	if (pcache_submit(queue, &request, 1) != 1)
		return INT64_MIN;
	do {
		if (!is_readable(queue, CEILING_MS))
			return INT64_MIN;
	} while (pcache_reap(queue, &done, 1) == 0);
	return done->result;
}

static void *use(void *arg)
{
	struct user *user = arg;
	struct test_random random = test_random_make(user->off);
	uint8_t written[BLOCK];
	uint8_t seen[BLOCK];
	struct pcache_queue *queue;

	if (pcache_queue_create(user->fx->cache, 4, &queue) != 0) {
		verdict_fail(&user->verdict, "no queue");
		return NULL;
	}
	for (unsigned i = 0; i < thinned(300) && !user->verdict.failed; i++) {
		uint64_t off = user->off + test_random_below(&random, MIB / BLOCK) * BLOCK;
		struct pcache_request write = { .op = PCACHE_OP_WRITE, .buf = written, .len = BLOCK, .off = off };
		struct pcache_request read = { .op = PCACHE_OP_READ, .buf = seen, .len = BLOCK, .off = off };

		test_random_fill(&random, written, BLOCK);
		if (do_one(queue, &write) != BLOCK || do_one(queue, &read) != BLOCK || memcmp(written, seen, BLOCK) != 0)
			verdict_fail(&user->verdict, "round %u", i);
		memcpy(user->fx->model + off, written, BLOCK);
	}
	pcache_queue_delete(queue);
	return NULL;
}

START_TEST(queue_for_each_thread)
{
	struct loop *loop = make_loop(true);
	struct user users[4] = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		users[i].fx = loop->fx;
		users[i].off = i * MIB;
		ck_assert_int_eq(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(users[i].thread, NULL);
		ck_assert_msg(!users[i].verdict.failed, "%s", users[i].verdict.message);
	}
	free_loop(loop);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("async");
	TCase *tests = test_case(suite, "async");

	tcase_add_test(tests, random_requests_on_a_direct_backing);
	tcase_add_test(tests, random_requests_on_a_buffered_backing);
	tcase_add_test(tests, hit_and_write_are_done_when_submit_returns);
	tcase_add_test(tests, descriptor_stays_readable_until_all_is_reaped);
	tcase_add_test(tests, full_queue_takes_no_more);
	tcase_add_test(tests, sync_and_fua);
	tcase_add_test(tests, zeroes_and_discards);
	tcase_add_test(tests, write_through);
	tcase_add_test(tests, what_is_wrong_is_the_result);
	tcase_add_test(tests, call_does_not_wait_for_a_request_that_is_not_reaped);
	tcase_add_test(tests, write_during_a_read_is_not_undone);
	tcase_add_test(tests, read_that_began_before_an_invalidate_is_not_kept);
	tcase_add_test(tests, what_was_read_is_kept);
	tcase_add_test(tests, deleted_queue_gives_every_request_back);
	tcase_add_test(tests, close_ends_the_queues);
	tcase_add_test(tests, queue_for_each_thread);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
