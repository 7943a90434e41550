/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * support.h - what the unit tests share: how many rounds, which seed, threads, and a CRC32C that nobody optimised.
 *
 * PC_TEST_SCALE is a percentage of the usual rounds; PC_TEST_SEED takes the place of every seed. A random test prints
 * its seed on standard error before it starts.
 */
#ifndef PC_SUPPORT_H
#define PC_SUPPORT_H

#include "api/random.h"
#include "options.h"
#include "runner.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* For loops: Check's own assertions each write into a pipe. */
#define EXPECT(condition) \
	do { \
		if (!(condition)) \
			ck_abort_msg("not so: %s", #condition); \
	} while (0)

static inline unsigned scaled(unsigned count)
{
	return (unsigned)test_scaled(count);
}

static inline struct test_random random_of(uint64_t seed)
{
	const char *wanted = getenv("PC_TEST_SEED");

	if (wanted != NULL)
		seed = strtoull(wanted, NULL, 10);
	fprintf(stderr, "# PC_TEST_SEED=%ju\n", (uintmax_t)seed);
	return test_random_make(seed);
}

static inline TCase *case_new(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	suite_add_tcase(suite, tcase);
	return tcase;
}

static inline void thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	ck_assert_int_eq(pthread_create(thread, NULL, run, arg), 0);
}

static inline void thread_join(pthread_t thread)
{
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* CRC32C bit by bit, straight from its polynomial: the oracle. */
static inline uint32_t bitwise_crc32c(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *next = data;

	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= next[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	}
	return ~crc;
}

#endif
