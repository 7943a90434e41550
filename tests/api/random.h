/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random.h - xorshift64*: the same numbers on every machine, so that a seed replays a run.
 */
#ifndef TEST_API_RANDOM_H
#define TEST_API_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct test_random {
	uint64_t state;
};

static inline struct test_random test_random_make(uint64_t seed)
{
	return (struct test_random){ .state = (seed + 1) * 0x9e3779b97f4a7c15u };
}

static inline uint64_t test_random_next(struct test_random *random)
{
	uint64_t state = random->state;

	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	random->state = state;
	return state * 0x2545f4914f6cdd1du;
}

/* 0..limit-1 */
static inline uint64_t test_random_below(struct test_random *random, uint64_t limit)
{
	return (test_random_next(random) >> 8) % limit;
}

static inline void test_random_fill(struct test_random *random, void *buf, size_t len)
{
	uint8_t *next = buf;

	while (len >= sizeof(uint64_t)) {
		uint64_t word = test_random_next(random);

		memcpy(next, &word, sizeof(word));
		next += sizeof(word);
		len -= sizeof(word);
	}
	while (len-- > 0)
		*next++ = (uint8_t)(test_random_next(random) >> 32);
}

/* 1..max, most of them small: every power of two up to 4 MiB is as likely as the next */
static inline size_t test_random_length(struct test_random *random, size_t max)
{
	size_t limit = (size_t)1 << test_random_below(random, 23);

	return (size_t)test_random_below(random, limit < max ? limit : max) + 1;
}

#endif
