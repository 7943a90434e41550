/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * util.h - small helpers without a home of their own: arithmetic, alignment, time, scope guards.
 */
#ifndef PC_UTIL_H
#define PC_UTIL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define PC_CACHE_LINE 64u
#define PC_PAGE       4096u

#define pc_likely(x)   __builtin_expect(!!(x), 1)
#define pc_unlikely(x) __builtin_expect(!!(x), 0)

/* ThreadSanitizer looks on: what is a race by design must be hidden from it, or done in another way. */
#if defined(__SANITIZE_THREAD__)
#define PC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PC_TSAN 1
#endif
#endif
#ifndef PC_TSAN
#define PC_TSAN 0
#endif

#define PC_ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static inline uint64_t pc_min64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t pc_max64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* align: a power of two */
static inline uint64_t pc_align_down(uint64_t value, uint64_t align) { return value & ~(align - 1); }
static inline uint64_t pc_align_up(uint64_t value, uint64_t align) { return (value + align - 1) & ~(align - 1); }
static inline bool pc_is_power_of_two(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

static inline uint64_t pc_power_of_two_above(uint64_t value)
{
	uint64_t power = 1;

	while (power < value)
		power <<= 1;
	return power;
}

static inline uint64_t pc_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline struct timespec pc_timespec(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
}

/* Scope guard: PC_FREE type *p = malloc(...); freed when p leaves its scope. */
static inline void pc_free_guard(void *pointer)
{
	free(*(void **)pointer);
}
#define PC_FREE __attribute__((cleanup(pc_free_guard)))

#endif
