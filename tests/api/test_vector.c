/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_vector.c - several buffers in one call, and several extents in one commit.
 *
 * Goal: readv and writev are one read and one write, however the buffers are cut; write_atomic writes all or, with an error,
 * nothing. Method: random cuts against the plain array of the fixture; every refusal leaves all of the volume as it was.
 */
#include "fixture.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define VOLUME_BYTES (4 * MIB)
#define CUTS_MAX     40u
#define EXTENTS_MAX  24u

static struct fixture *make_volume(void)
{
	return fixture_make_open(VOLUME_BYTES, 2 * MIB, SEGMENT_SMALL);
}

static void finish(struct fixture *fx)
{
	fixture_check_all(fx);
	fixture_reopen(fx);
	fixture_check_all(fx);
	fixture_drain(fx);
	fixture_check_backing(fx);
	fixture_free(fx);
}

/* Cuts [buf, buf + len) at random, some pieces empty; returns how many. */
static int cut_buffer(struct test_random *random, uint8_t *buf, size_t len, struct iovec iov[CUTS_MAX])
{
	int count = 0;

	while (count < (int)CUTS_MAX - 1 && len > 0) {
		size_t piece = test_random_below(random, 8) == 0 ? 0 : test_random_length(random, len);

		iov[count++] = (struct iovec){ .iov_base = piece == 0 ? NULL : buf, .iov_len = piece };
		buf += piece;
		len -= piece;
	}
	iov[count++] = (struct iovec){ .iov_base = buf, .iov_len = len };
	return count;
}

START_TEST(vectors_of_every_cut_are_one_write_and_one_read)
{
	struct fixture *fx = make_volume();
	uint8_t *buf = malloc(MIB);
	struct iovec iov[CUTS_MAX];

	for (unsigned i = 0; i < thinned(400); i++) {
		size_t len = test_random_length(&fx->random, MIB);
		uint64_t off = test_random_below(&fx->random, fx->bytes - len + 1);
		int count;

		test_random_fill(&fx->random, buf, len);
		memcpy(fx->model + off, buf, len);
		count = cut_buffer(&fx->random, buf, len, iov);
		ck_assert_int_eq(pcache_writev(fx->cache, iov, count, off, 0), (ssize_t)len);
		fixture_check(fx, off, len);
		memset(buf, 0, len);
		count = cut_buffer(&fx->random, buf, len, iov);
		ck_assert_int_eq(pcache_readv(fx->cache, iov, count, off, 0), (ssize_t)len);
		ck_assert_int_eq(memcmp(buf, fx->model + off, len), 0);
	}
	free(buf);
	finish(fx);
}
END_TEST

START_TEST(readv_past_end_is_short)
{
	struct fixture *fx = make_volume();
	uint8_t first[100];
	uint8_t second[100];
	const struct iovec iov[] = { { first, sizeof(first) }, { second, sizeof(second) } };

	memset(second, 0x5a, sizeof(second));
	ck_assert_int_eq(pcache_readv(fx->cache, iov, 2, fx->bytes - 130, 0), 130);
	ck_assert_int_eq(memcmp(first, fx->model + fx->bytes - 130, 100), 0);
	ck_assert_int_eq(memcmp(second, fx->model + fx->bytes - 30, 30), 0);
	ck_assert_uint_eq(second[30], 0x5a);
	ck_assert_int_eq(pcache_readv(fx->cache, iov, 2, fx->bytes, 0), 0);
	ck_assert_int_eq(pcache_readv(fx->cache, iov, 2, UINT64_MAX, 0), 0);
	ck_assert_int_eq(pcache_readv(fx->cache, iov, 0, 0, 0), 0);
	fixture_free(fx);
}
END_TEST

START_TEST(bad_vectors_are_refused)
{
	struct fixture *fx = make_volume();
	uint8_t byte = 1;
	const struct iovec null[] = { { &byte, 1 }, { NULL, 1 } };
	const struct iovec large[] = { { &byte, SSIZE_MAX }, { &byte, SSIZE_MAX } };
	const struct iovec two[] = { { &byte, 1 }, { &byte, 1 } };

	ck_assert_int_eq(pcache_writev(fx->cache, null, 2, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_readv(fx->cache, null, 2, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_writev(fx->cache, large, 2, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_writev(fx->cache, two, -1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_writev(fx->cache, two, IOV_MAX + 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_writev(fx->cache, NULL, 1, 0, 0), -EINVAL);
	ck_assert_int_eq(pcache_writev(fx->cache, two, 2, 0, 1u << 31), -EINVAL);
	ck_assert_int_eq(pcache_readv(fx->cache, two, 2, 0, PCACHE_WRITE_FUA), -EINVAL);
	ck_assert_int_eq(pcache_writev(fx->cache, two, 2, fx->bytes - 1, 0), -ENOSPC);
	finish(fx);
}
END_TEST

/* ---- write_atomic ---- */

/* Random extents without overlap: in ascending order, then shuffled. Their bytes also go into the model. */
static size_t make_extents(struct fixture *fx, uint64_t bytes_max, struct pcache_extent extents[EXTENTS_MAX])
{
	size_t count = 1 + test_random_below(&fx->random, EXTENTS_MAX);
	uint64_t each = bytes_max / count;
	uint64_t stride = fx->bytes / count;

	for (size_t i = 0; i < count; i++) {
		size_t len = test_random_below(&fx->random, 10) == 0 ? 0 : 1 + test_random_below(&fx->random, each);
		uint64_t off = i * stride + test_random_below(&fx->random, stride - len + 1);

		test_random_fill(&fx->random, fx->model + off, len);
		extents[i] = (struct pcache_extent){ .buf = len == 0 ? NULL : fx->model + off, .len = len, .off = off };
	}
	for (size_t i = count - 1; i > 0; i--) {
		size_t other = test_random_below(&fx->random, i + 1);
		struct pcache_extent kept = extents[i];

		extents[i] = extents[other];
		extents[other] = kept;
	}
	return count;
}

START_TEST(extents_anywhere_are_written)
{
	struct fixture *fx = make_volume();
	uint64_t bytes_max = fixture_stats(fx).max_atomic_bytes;
	struct pcache_extent extents[EXTENTS_MAX];

	for (unsigned i = 0; i < thinned(2000); i++) {
		size_t count = make_extents(fx, bytes_max, extents);
		unsigned flags = i % 7 == 0 ? PCACHE_WRITE_FUA : 0;

		ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, count, flags), 0);
		for (size_t e = 0; e < count; e++)
			fixture_check(fx, extents[e].off, extents[e].len);
	}
	finish(fx);
}
END_TEST

START_TEST(extents_across_keys_and_leaves_are_written)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, 64 * MIB, 4 * MIB);
	uint64_t bytes_max = fixture_stats(fx).max_atomic_bytes;

	for (unsigned i = 0; i < thinned(50); i++) {
		struct pcache_extent extents[2];
		size_t len = bytes_max / 2 - test_random_below(&fx->random, 1000);

		for (unsigned e = 0; e < 2; e++) {
			uint64_t off = e * (fx->bytes / 2) + test_random_below(&fx->random, fx->bytes / 2 - len + 1);

			test_random_fill(&fx->random, fx->model + off, len);
			extents[e] = (struct pcache_extent){ .buf = fx->model + off, .len = len, .off = off };
		}
		ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 2, 0), 0);
	}
	finish(fx);
}
END_TEST

START_TEST(no_extents_are_written)
{
	struct fixture *fx = make_volume();
	const struct pcache_extent empty = { .off = 5 };

	ck_assert_int_eq(pcache_write_atomic(fx->cache, NULL, 0, 0), 0);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, &empty, 1, 0), 0);
	ck_assert_uint_eq(fixture_stats(fx).dirty_log_bytes, 0);
	finish(fx);
}
END_TEST

START_TEST(extents_that_overlap_are_refused)
{
	static const uint8_t bytes[4096];
	struct fixture *fx = make_volume();
	struct pcache_extent extents[] = { { bytes, 512, 8192 }, { bytes, 512, 0 }, { bytes, 513, 7680 } };

	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 3, 0), -EINVAL);
	extents[2] = extents[1];
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 3, 0), -EINVAL);
	extents[2] = (struct pcache_extent){ bytes, 1, 8300 };
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 3, 0), -EINVAL);
	ck_assert_uint_gt(fx->log_errors, 0);
	finish(fx);
}
END_TEST

START_TEST(extents_that_touch_are_written)
{
	struct fixture *fx = make_volume();
	const struct pcache_extent extents[] = { { fx->model + 600, 100, 600 }, { fx->model + 500, 100, 500 } };

	test_random_fill(&fx->random, fx->model + 500, 200);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 2, 0), 0);
	finish(fx);
}
END_TEST

START_TEST(too_much_for_one_commit_is_refused)
{
	struct fixture *fx = make_volume();
	uint64_t bytes_max = fixture_stats(fx).max_atomic_bytes;
	uint8_t *buf = calloc(1, bytes_max);
	struct pcache_extent many[1025];
	const struct pcache_extent two[] = { { buf, bytes_max, 0 }, { buf, 1, bytes_max } };

	for (unsigned i = 0; i < 1025; i++)
		many[i] = (struct pcache_extent){ buf, 1, i * 4096u };
	ck_assert_int_eq(pcache_write_atomic(fx->cache, two, 2, 0), -E2BIG);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, many, 1000, 0), -E2BIG); /* a small segment has no room */
	ck_assert_int_eq(pcache_write_atomic(fx->cache, two, SIZE_MAX, 0), -E2BIG);
	free(buf);
	finish(fx);
}
END_TEST

START_TEST(as_many_keys_as_a_commit_has_are_written)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, 16 * MIB, MIB);
	struct pcache_extent extents[1025];

	for (unsigned i = 0; i < 1025; i++) {
		uint64_t off = i * 4000u;

		test_random_fill(&fx->random, fx->model + off, i < 1024 ? 16 : 0);
		extents[i] = (struct pcache_extent){ fx->model + off, 16, off };
	}
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 1025, 0), -E2BIG);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 1024, 0), 0);
	finish(fx);
}
END_TEST

START_TEST(bad_extents_are_refused)
{
	static const uint8_t bytes[4096];
	struct fixture *fx = make_volume();
	const struct pcache_extent past_end[] = { { bytes, 100, 0 }, { bytes, 100, fx->bytes - 99 } };
	const struct pcache_extent far[] = { { bytes, 100, UINT64_MAX - 10 } };
	const struct pcache_extent null[] = { { bytes, 100, 0 }, { NULL, 1, 4096 } };

	ck_assert_int_eq(pcache_write_atomic(fx->cache, past_end, 2, 0), -ENOSPC);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, far, 1, 0), -ENOSPC);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, null, 2, 0), -EINVAL);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, null, 1, 1u << 31), -EINVAL);
	ck_assert_int_eq(pcache_write_atomic(NULL, null, 1, 0), -EINVAL);
	fixture_close(fx, 0);
	fixture_open(fx, PCACHE_OPEN_READONLY);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, past_end, 1, 0), -EROFS);
	fixture_check_all(fx);
	fixture_free(fx);
}
END_TEST

START_TEST(nowait_vectors_in_full_cache_write_nothing)
{
	struct fixture *fx = fixture_make_open(VOLUME_BYTES, CACHE_LEAST, SEGMENT_SMALL);
	uint64_t bytes_max = fixture_stats(fx).max_atomic_bytes;
	uint8_t *buf = calloc(1, bytes_max);
	const struct pcache_extent extents[] = { { buf, bytes_max / 2, 0 }, { buf, bytes_max / 2, MIB } };
	const struct iovec iov[] = { { buf, bytes_max / 2 }, { buf, bytes_max / 2 } };
	ssize_t ret = 0;

	fixture_close(fx, 0);
	fixture_keep_dirty(fx);
	fx->config.dirty_high_bytes = UINT64_MAX;
	fixture_open(fx, 0);
	for (unsigned i = 0; i < 1000 && ret == 0; i++)
		ret = pcache_write_atomic(fx->cache, extents, 2, PCACHE_NOWAIT);
	memset(fx->model, 0, bytes_max / 2);
	memset(fx->model + MIB, 0, bytes_max / 2);
	memset(buf, 1, bytes_max);
	ck_assert_int_eq(ret, -EAGAIN);
	ck_assert_int_eq(pcache_write_atomic(fx->cache, extents, 2, PCACHE_NOWAIT), -EAGAIN);
	ck_assert_int_eq(pcache_writev(fx->cache, iov, 2, 0, PCACHE_NOWAIT), -EAGAIN);
	free(buf);
	finish(fx);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("vector");
	TCase *tests = test_case(suite, "vector");

	tcase_add_test(tests, vectors_of_every_cut_are_one_write_and_one_read);
	tcase_add_test(tests, readv_past_end_is_short);
	tcase_add_test(tests, bad_vectors_are_refused);
	tcase_add_test(tests, extents_anywhere_are_written);
	tcase_add_test(tests, extents_across_keys_and_leaves_are_written);
	tcase_add_test(tests, no_extents_are_written);
	tcase_add_test(tests, extents_that_overlap_are_refused);
	tcase_add_test(tests, extents_that_touch_are_written);
	tcase_add_test(tests, too_much_for_one_commit_is_refused);
	tcase_add_test(tests, as_many_keys_as_a_commit_has_are_written);
	tcase_add_test(tests, bad_extents_are_refused);
	tcase_add_test(tests, nowait_vectors_in_full_cache_write_nothing);
	return suite;
}

int main(void)
{
	return test_main(make_suite());
}
