/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random.h - random numbers that follow from a seed. Each operation and each crash state has a stream of its own, so
 * that one can be repeated without the ones before.
 */
#ifndef PC_CRASH_RANDOM_H
#define PC_CRASH_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
	uint64_t state;
};

/* splitmix64, Steele et al., OOPSLA 2014 */
static inline uint64_t prng_mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ value >> 27) * 0x94d049bb133111ebull;
	return value ^ value >> 31;
}

static inline uint64_t prng_next(struct prng *prng)
{
	return prng_mix(prng->state += 0x9e3779b97f4a7c15ull);
}

static inline uint64_t prng_below(struct prng *prng, uint64_t bound)
{
	return (prng_next(prng) >> 16) % bound;
}

static inline bool prng_happens(struct prng *prng, unsigned percent)
{
	return prng_below(prng, 100) < percent;
}

static inline struct prng prng_of(uint64_t seed, uint64_t stream, uint64_t number)
{
	return (struct prng){ .state = prng_mix(prng_mix(prng_mix(seed + 1) ^ stream) ^ number) };
}

#endif
