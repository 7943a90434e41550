/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_config.c - lib/config.c: what is accepted, what is refused and why, and what zero stands for.
 *
 * Method: tables. A refusal has the right error, names the field in its message, and leaves the output alone.
 */
#include "config.h"
#include "format.h"
#include "support.h"

#include <errno.h>
#include <unistd.h>

#define KIB 1024u
#define MIB (1024u * KIB)

static char message[256];

static void keep_message(enum pcache_log_level level, const char *text, void *arg)
{
	ck_assert_int_eq(level, PCACHE_LOG_ERROR);
	ck_assert_ptr_eq(arg, message);
	snprintf(message, sizeof(message), "%s", text);
}

static struct pcache_config config_zero(void)
{
	message[0] = '\0';
	return (struct pcache_config){ .size = sizeof(struct pcache_config), .log = keep_message, .log_arg = message };
}

static struct pc_config accept(const struct pcache_config *config)
{
	struct pc_config out;

	ck_assert_int_eq(pc_config_check(config, &out), 0);
	ck_assert_str_eq(message, "");
	return out;
}

static void refuse(const struct pcache_config *config, int error, const char *field)
{
	struct pc_config out;
	struct pc_config before;

	memset(&out, 0x5a, sizeof(out));
	memset(&before, 0x5a, sizeof(before));
	message[0] = '\0';
	ck_assert_int_eq(pc_config_check(config, &out), error);
	ck_assert_mem_eq(&out, &before, sizeof(out));
	ck_assert_msg(strstr(message, field) != NULL, "'%s' does not name %s", message, field);
}

static void check_defaults(const struct pc_config *config)
{
	static const uint8_t no_id[16] = { 0 };
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	ck_assert(!config->create && !config->exclusive && !config->readonly && !config->any_backing);
	ck_assert(!config->durable_on_return);
	ck_assert_uint_eq(config->cache_size_bytes, 0);
	ck_assert_uint_eq(config->segment_bytes, 16 * MIB);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_GC_PERCENT], PC_TUNABLE_UNSET);
	ck_assert_mem_eq(config->backing_id, no_id, sizeof(no_id));
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_DIRTY_HIGH], 0);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_BATCH_BYTES], 64 * MIB);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_DIRTY_AGE_MS], 5000);
	ck_assert_uint_eq(config->queue_depth, 32);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_READ_VERIFY], PCACHE_VERIFY_FIRST);
	ck_assert_uint_eq(config->replay_threads, processors > 64 ? 64 : (unsigned)processors);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_EVICTION], PCACHE_EVICTION_S3FIFO);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_FILL], PCACHE_FILL_ALWAYS);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_READ_AHEAD], 128 * KIB);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_SEQUENTIAL_BYPASS], 0);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_GC_PERCENT], PC_TUNABLE_UNSET);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_DIRTY_HIGH], 0);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_DIRTY_AGE_MS], 5000);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_BATCH_BYTES], 64 * MIB);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_READ_VERIFY], PCACHE_VERIFY_FIRST);
	ck_assert_uint_eq(config->tunables[PCACHE_TUNABLE_WRITEBACK_PAUSED], 0);
}

START_TEST(config_that_is_null_gives_defaults)
{
	struct pc_config config = accept(NULL);

	check_defaults(&config);
	ck_assert_ptr_null(config.log.fn);
	ck_assert_ptr_null(config.log.arg);
}
END_TEST

START_TEST(config_of_zeroes_gives_defaults_and_its_log)
{
	struct pcache_config in = config_zero();
	struct pc_config config = accept(&in);

	check_defaults(&config);
	ck_assert_ptr_eq(config.log.fn, keep_message);
	ck_assert_ptr_eq(config.log.arg, message);
}
END_TEST

START_TEST(config_from_init_gives_defaults)
{
	struct pcache_config in;
	struct pc_config config;

	memset(&in, 0x77, sizeof(in));
	pcache_config_init(&in);
	ck_assert_uint_eq(in.size, sizeof(in));
	config = accept(&in);
	check_defaults(&config);
}
END_TEST

START_TEST(config_that_is_full_is_taken_over)
{
	struct pcache_config in = config_zero();
	struct pc_config config;

	in.flags = PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL | PCACHE_OPEN_ANY_BACKING;
	in.cache_size_bytes = 12345678901u;
	in.segment_size_bytes = 128 * KIB;
	in.durability = PCACHE_DURABILITY_ON_RETURN;
	in.gc_percent = 33;
	memcpy(in.backing_id, "0123456789abcdef", 16);
	in.dirty_high_bytes = 11;
	in.batch_bytes = 22;
	in.dirty_age_ms = 44;
	in.queue_depth = 55;
	in.read_verify = PCACHE_VERIFY_ALWAYS + 1;
	in.replay_threads = 3;
	config = accept(&in);
	ck_assert(config.create && config.exclusive && !config.readonly && config.any_backing);
	ck_assert(config.durable_on_return);
	ck_assert_uint_eq(config.cache_size_bytes, 12345678901u);
	ck_assert_uint_eq(config.segment_bytes, 128 * KIB);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_GC_PERCENT], 33);
	ck_assert_mem_eq(config.backing_id, "0123456789abcdef", 16);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_DIRTY_HIGH], 11);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_BATCH_BYTES], 22);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_DIRTY_AGE_MS], 44);
	ck_assert_uint_eq(config.queue_depth, 55);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_READ_VERIFY], PCACHE_VERIFY_ALWAYS);
	ck_assert_uint_eq(config.replay_threads, 3);
}
END_TEST

START_TEST(flags_that_exist_are_taken_one_by_one)
{
	struct pcache_config in = config_zero();
	struct pc_config config;

	in.flags = PCACHE_OPEN_CREATE;
	config = accept(&in);
	ck_assert(config.create && !config.exclusive && !config.readonly && !config.any_backing);
	in.flags = PCACHE_OPEN_READONLY;
	config = accept(&in);
	ck_assert(!config.create && !config.exclusive && config.readonly && !config.any_backing);
	in.flags = PCACHE_OPEN_ANY_BACKING;
	config = accept(&in);
	ck_assert(!config.create && !config.exclusive && !config.readonly && config.any_backing);
	in.flags = PCACHE_OPEN_DROP_CLEAN;
	config = accept(&in);
	ck_assert(config.drop_clean && !config.discard_dirty && !config.grow && !config.any_backing);
	in.flags = PCACHE_OPEN_DISCARD_DIRTY;
	config = accept(&in);
	ck_assert(!config.drop_clean && config.discard_dirty && !config.grow);
	in.flags = PCACHE_OPEN_GROW;
	config = accept(&in);
	ck_assert(!config.drop_clean && !config.discard_dirty && config.grow);
}
END_TEST

START_TEST(flags_that_do_not_exist_or_contradict_are_refused)
{
	static const struct {
		uint32_t flags;
		const char *name;
	} contradictions[] = {
		{ PCACHE_OPEN_EXCL, "EXCL" },
		{ PCACHE_OPEN_EXCL | PCACHE_OPEN_READONLY, "EXCL" },
		{ PCACHE_OPEN_READONLY | PCACHE_OPEN_CREATE, "READONLY" },
		{ PCACHE_OPEN_READONLY | PCACHE_OPEN_CREATE | PCACHE_OPEN_EXCL, "READONLY" },
		{ PCACHE_OPEN_READONLY | PCACHE_OPEN_DROP_CLEAN, "READONLY" },
		{ PCACHE_OPEN_READONLY | PCACHE_OPEN_DISCARD_DIRTY, "READONLY" },
		{ PCACHE_OPEN_READONLY | PCACHE_OPEN_GROW, "READONLY" },
	};
	struct pcache_config in = config_zero();

	for (unsigned i = 0; i < PC_ARRAY_SIZE(contradictions); i++) {
		in.flags = contradictions[i].flags;
		refuse(&in, -EINVAL, contradictions[i].name);
	}
	for (unsigned bit = 7; bit < 32; bit++) {
		in.flags = PCACHE_OPEN_CREATE | 1u << bit;
		refuse(&in, -EINVAL, "flags");
	}
}
END_TEST

/* The bounds themselves are accepted, their neighbours outside are not. */
START_TEST(numbers_at_their_bounds_are_accepted)
{
	struct pcache_config in = config_zero();

	for (uint32_t segment = PCM_SEGMENT_MIN; segment <= PCM_SEGMENT_MAX; segment *= 2) {
		in.segment_size_bytes = segment;
		ck_assert_uint_eq(accept(&in).segment_bytes, segment);
	}
	in.gc_percent = 1;
	ck_assert_uint_eq(accept(&in).tunables[PCACHE_TUNABLE_GC_PERCENT], 1);
	in.gc_percent = 95;
	ck_assert_uint_eq(accept(&in).tunables[PCACHE_TUNABLE_GC_PERCENT], 95);
	in.queue_depth = 256;
	ck_assert_uint_eq(accept(&in).queue_depth, 256);
	in.replay_threads = 64;
	ck_assert_uint_eq(accept(&in).replay_threads, 64);
	in.cache_size_bytes = INT64_MAX;
	ck_assert_uint_eq(accept(&in).cache_size_bytes, INT64_MAX);
	in.dirty_high_bytes = UINT64_MAX;
	ck_assert_uint_eq(accept(&in).tunables[PCACHE_TUNABLE_DIRTY_HIGH], UINT64_MAX);
	in.durability = PCACHE_DURABILITY_ON_FLUSH;
	ck_assert(!accept(&in).durable_on_return);
}
END_TEST

START_TEST(read_verify_counts_from_one)
{
	struct pcache_config in = config_zero();

	for (uint32_t verify = PCACHE_VERIFY_NEVER; verify <= PCACHE_VERIFY_ALWAYS; verify++) {
		in.read_verify = verify + 1;
		ck_assert_uint_eq(accept(&in).tunables[PCACHE_TUNABLE_READ_VERIFY], verify);
	}
}
END_TEST

/* Read-ahead of one byte is none: zero is the default. */
START_TEST(tunables_are_taken_over)
{
	struct pcache_config in = config_zero();
	struct pc_config config;

	in.eviction = PCACHE_EVICTION_FIFO;
	in.fill = PCACHE_FILL_NEVER;
	in.read_ahead_bytes = 256 * KIB;
	in.sequential_bypass_bytes = INT64_MAX;
	config = accept(&in);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_EVICTION], PCACHE_EVICTION_FIFO);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_FILL], PCACHE_FILL_NEVER);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_READ_AHEAD], 256 * KIB);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_SEQUENTIAL_BYPASS], INT64_MAX);
	in.read_ahead_bytes = 1;
	ck_assert_uint_eq(accept(&in).tunables[PCACHE_TUNABLE_READ_AHEAD], 0);
	in.read_ahead_bytes = 2;
	ck_assert_uint_eq(accept(&in).tunables[PCACHE_TUNABLE_READ_AHEAD], 2);
}
END_TEST

START_TEST(tunables_out_of_range_are_refused)
{
	struct pcache_config in;

	for (unsigned i = 0; i < 2; i++) {
		in = config_zero();
		in.eviction = i == 0 ? PCACHE_EVICTION_FIFO + 1 : UINT32_MAX;
		refuse(&in, -EINVAL, "eviction");
		in = config_zero();
		in.fill = i == 0 ? PCACHE_FILL_NEVER + 1 : UINT32_MAX;
		refuse(&in, -EINVAL, "fill");
		in = config_zero();
		in.read_ahead_bytes = i == 0 ? 256 * KIB + 1 : UINT32_MAX;
		refuse(&in, -EINVAL, "read_ahead_bytes");
		in = config_zero();
		in.sequential_bypass_bytes = i == 0 ? (uint64_t)INT64_MAX + 1 : UINT64_MAX;
		refuse(&in, -EINVAL, "sequential_bypass_bytes");
	}
}
END_TEST

START_TEST(numbers_beyond_their_bounds_are_refused)
{
	static const uint32_t segments[] = { 1, 4096, PCM_SEGMENT_MIN / 2, PCM_SEGMENT_MIN + 1, 3 * PCM_SEGMENT_MIN,
					     PCM_SEGMENT_MAX - 1, PCM_SEGMENT_MAX + 4096, 2 * PCM_SEGMENT_MAX, UINT32_MAX };
	struct pcache_config in;

	for (unsigned i = 0; i < PC_ARRAY_SIZE(segments); i++) {
		in = config_zero();
		in.segment_size_bytes = segments[i];
		refuse(&in, -EINVAL, "segment_size_bytes");
	}
	for (unsigned i = 0; i < 2; i++) {
		in = config_zero();
		in.gc_percent = i == 0 ? 96 : UINT32_MAX;
		refuse(&in, -EINVAL, "gc_percent");
		in = config_zero();
		in.queue_depth = i == 0 ? 257 : UINT32_MAX;
		refuse(&in, -EINVAL, "queue_depth");
		in = config_zero();
		in.replay_threads = i == 0 ? 65 : UINT32_MAX;
		refuse(&in, -EINVAL, "replay_threads");
		in = config_zero();
		in.cache_size_bytes = i == 0 ? (uint64_t)INT64_MAX + 1 : UINT64_MAX;
		refuse(&in, -EINVAL, "cache_size_bytes");
	}
}
END_TEST

START_TEST(choices_that_do_not_exist_are_refused)
{
	struct pcache_config in;

	for (unsigned i = 0; i < 2; i++) {
		in = config_zero();
		in.mode = i == 0 ? PCACHE_MODE_WRITEONLY + 1 : UINT32_MAX;
		refuse(&in, -EINVAL, "mode");
		in = config_zero();
		in.durability = i == 0 ? PCACHE_DURABILITY_ON_FLUSH + 1 : UINT32_MAX;
		refuse(&in, -EINVAL, "durability");
		in = config_zero();
		in.read_verify = i == 0 ? PCACHE_VERIFY_ALWAYS + 2 : UINT32_MAX;
		refuse(&in, -EINVAL, "read_verify");
	}
}
END_TEST

START_TEST(mode_is_taken_and_the_default_is_left_to_the_media)
{
	struct pcache_config in = config_zero();
	struct pc_config config;

	for (in.mode = PCACHE_MODE_DEFAULT; in.mode <= PCACHE_MODE_WRITEONLY; in.mode++) {
		ck_assert_int_eq(pc_config_check(&in, &config), 0);
		ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_MODE],
				  in.mode == PCACHE_MODE_DEFAULT ? PC_TUNABLE_UNSET : in.mode);
	}
}
END_TEST

/* A program built with the first header: what it does not have is a default, whatever lies behind it in memory. */
START_TEST(config_of_an_older_program_gives_defaults_for_the_rest)
{
	struct pcache_config in;
	struct pc_config config;

	message[0] = '\0';
	memset(&in, 0xff, sizeof(in));
	memset(&in, 0, offsetof(struct pcache_config, log));
	in.size = offsetof(struct pcache_config, log);
	config = accept(&in);
	check_defaults(&config);
	ck_assert_ptr_null(config.log.fn);
	in.gc_percent = 50;
	in.flags = PCACHE_OPEN_CREATE;
	config = accept(&in);
	ck_assert_uint_eq(config.tunables[PCACHE_TUNABLE_GC_PERCENT], 50);
	ck_assert(config.create);
}
END_TEST

START_TEST(config_of_a_newer_program_is_read_as_far_as_known)
{
	union {
		struct pcache_config config;
		uint8_t bytes[4096];
	} in;
	struct pc_config config;

	memset(&in, 0xff, sizeof(in));
	in.config = config_zero();
	in.config.size = sizeof(in.config) + 8;
	config = accept(&in.config);
	check_defaults(&config);
	in.config.size = sizeof(in);
	config = accept(&in.config);
	check_defaults(&config);
}
END_TEST

START_TEST(config_with_a_senseless_size_is_refused)
{
	static const uint32_t sizes[] = { 0, 1, offsetof(struct pcache_config, log) - 1, 4097, UINT32_MAX };
	struct pcache_config in = config_zero();

	for (unsigned i = 0; i < PC_ARRAY_SIZE(sizes); i++) {
		in.size = sizes[i];
		refuse(&in, -EINVAL, ""); /* where its log is nobody knows */
		ck_assert_str_eq(message, "");
	}
}
END_TEST

START_TEST(refusal_without_a_log_is_silent)
{
	struct pcache_config in = config_zero();

	in.log = NULL;
	in.gc_percent = 96;
	refuse(&in, -EINVAL, "");
	ck_assert_str_eq(message, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = case_new(suite, "config");

	tcase_add_test(tcase, config_that_is_null_gives_defaults);
	tcase_add_test(tcase, config_of_zeroes_gives_defaults_and_its_log);
	tcase_add_test(tcase, config_from_init_gives_defaults);
	tcase_add_test(tcase, config_that_is_full_is_taken_over);
	tcase_add_test(tcase, flags_that_exist_are_taken_one_by_one);
	tcase_add_test(tcase, flags_that_do_not_exist_or_contradict_are_refused);
	tcase_add_test(tcase, numbers_at_their_bounds_are_accepted);
	tcase_add_test(tcase, read_verify_counts_from_one);
	tcase_add_test(tcase, tunables_are_taken_over);
	tcase_add_test(tcase, tunables_out_of_range_are_refused);
	tcase_add_test(tcase, numbers_beyond_their_bounds_are_refused);
	tcase_add_test(tcase, choices_that_do_not_exist_are_refused);
	tcase_add_test(tcase, mode_is_taken_and_the_default_is_left_to_the_media);
	tcase_add_test(tcase, config_of_an_older_program_gives_defaults_for_the_rest);
	tcase_add_test(tcase, config_of_a_newer_program_is_read_as_far_as_known);
	tcase_add_test(tcase, config_with_a_senseless_size_is_refused);
	tcase_add_test(tcase, refusal_without_a_log_is_silent);
	return pc_run_suite(suite);
}
