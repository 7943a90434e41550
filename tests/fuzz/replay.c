/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay.c - fuzz_replay: tries the inputs in files and directories, then random ones, without libFuzzer.
 *
 * fuzz_replay [--tap] [--random N] [--seed N] [FILE|DIRECTORY]...
 *
 * A random input is a file's, changed a few times, or made from nothing. One that fails is printed in hex before the
 * process aborts: `xxd -r -p` makes a file of it.
 */
#include "fuzz.h"

#include "options.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_BYTES (sizeof(struct fuzz_head) + FUZZ_PATCHES_MAX * sizeof(struct fuzz_patch))
#define INPUTS_MAX  1000u

struct input {
	uint8_t bytes[INPUT_BYTES];
	size_t len;
};

static struct input inputs[INPUTS_MAX];
static size_t input_count;
static const struct input *current;
static uint64_t opened;

/* Nothing but write(2) in here. */
static void on_crash(int signal_number)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * INPUT_BYTES + 1];
	size_t len = 0;

	for (size_t i = 0; current != NULL && i < current->len; i++) {
		text[len++] = digits[current->bytes[i] >> 4];
		text[len++] = digits[current->bytes[i] & 15];
	}
	text[len++] = '\n';
	(void)!write(STDERR_FILENO, text, len);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static bool add_file(const char *path)
{
	FILE *file = fopen(path, "rb");

	if (file == NULL || input_count == INPUTS_MAX) {
		fprintf(stderr, "fuzz_replay: %s: %s\n", path, file == NULL ? strerror(errno) : "too many inputs");
		return false;
	}
	inputs[input_count].len = fread(inputs[input_count].bytes, 1, INPUT_BYTES, file);
	input_count++;
	fclose(file);
	return true;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static bool add_path(const char *path)
{
	struct dirent **entries;
	struct stat status;
	bool good = true;
	int count;

	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		return add_file(path);
	count = scandir(path, &entries, is_visible, alphasort);
	for (int i = 0; i < count; i++) {
		char name[4096];

		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		good &= add_file(name);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return good && count > 0;
}

static void try_input(const struct input *input)
{
	current = input;
	opened += (uint64_t)fuzz_run(input->bytes, input->len);
	current = NULL;
}

static void try_random(uint64_t seed)
{
	struct input input = { .len = 0 };
	uint64_t mixed = (seed + 1) * 0x9e3779b97f4a7c15ull;

	mixed ^= mixed >> 29;
	if (input_count > 0 && mixed % 4 != 0)
		input = inputs[mixed / 4 % input_count];
	for (uint64_t i = 0; i < 1 + (mixed >> 32) % 4; i++)
		input.len = fuzz_mutate(input.bytes, input.len, sizeof(input.bytes), mixed + i);
	try_input(&input);
}

int main(int argc, char **argv)
{
	uint64_t random_count = 0;
	uint64_t seed = 1;
	bool tap = false;
	const struct test_option options[] = {
		{ "tap", .flag = &tap },
		{ "random", .number = &random_count },
		{ "seed", .number = &seed },
		{ .name = NULL },
	};

	if (!test_options(argc, argv, options, NULL))
		return 2;
	if (random_count > 0)
		random_count = test_scaled(random_count);
	for (int i = optind; i < argc; i++)
		if (!add_path(argv[i]))
			return 2;
	signal(SIGABRT, on_crash);
	signal(SIGSEGV, on_crash);
	for (size_t i = 0; i < input_count; i++)
		try_input(&inputs[i]);
	for (uint64_t i = 0; i < random_count; i++)
		try_random(seed + i);
	if (tap)
		printf("1..1\nok 1 - hostile images are opened or refused, and nothing else happens\n");
	printf("%sinputs %zu, random %ju, opened %ju\n", tap ? "# " : "", input_count, (uintmax_t)random_count,
	       (uintmax_t)opened);
	return 0;
}
