/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libfuzzer.c - what libFuzzer calls. With clang:
 *
 *     CC=clang meson setup build-fuzz -Dfuzz=true
 *     ninja -C build-fuzz tests/fuzz/fuzz_signed tests/fuzz/fuzz_unsigned
 *     mkdir found && build-fuzz/tests/fuzz/fuzz_signed found tests/fuzz/corpus
 *
 * fuzz_signed compares checksums as the library does, and inputs have them repaired; fuzz_unsigned is built with a
 * checksum that is always the same. Neither has an end; `-runs=100000` or `-max_total_time=60` sets one. A crash
 * leaves a file, which `fuzz_replay FILE` or `fuzz_replay_unsigned FILE` of a usual build repeats.
 */
#include "fuzz.h"

const char *__asan_default_options(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Freed memory is watched for a while, not for ever: a large one is cleared again and again. */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4:malloc_context_size=6";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_run(data, size);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	if (seed % 4 == 0 || max_size < 64)
		return LLVMFuzzerMutate(data, size, max_size);
	return fuzz_mutate(data, size, max_size, seed);
}
