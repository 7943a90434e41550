/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_log.c - lib/log.c: what reaches the user's callback, and that nobody needs one.
 *
 * Method: a callback that keeps what it was called with.
 */
#include "log.h"
#include "support.h"

#include <errno.h>

#define MESSAGE_MAX 511u /* characters that a message can have */

static struct {
	unsigned calls;
	enum pcache_log_level level;
	char message[2 * MESSAGE_MAX];
	void *arg;
} got;

static void keep(enum pcache_log_level level, const char *message, void *arg)
{
	got.calls++;
	got.level = level;
	got.arg = arg;
	snprintf(got.message, sizeof(got.message), "%s", message);
}

static const struct pc_log log_with_callback = { .fn = keep, .arg = &got };
static const struct pc_log log_without_callback = { .fn = NULL, .arg = &got };

START_TEST(log_with_callback_hands_on_level_text_and_argument)
{
	static const enum pcache_log_level levels[] = { PCACHE_LOG_ERROR, PCACHE_LOG_WARNING, PCACHE_LOG_INFO };
	char expected[64];

	for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		pc_log(&log_with_callback, levels[i], "segment %u of %s", i, "many");
		ck_assert_uint_eq(got.calls, i + 1);
		ck_assert_int_eq(got.level, levels[i]);
		ck_assert_ptr_eq(got.arg, &got);
		snprintf(expected, sizeof(expected), "segment %u of many", i);
		ck_assert_str_eq(got.message, expected);
	}
}
END_TEST

START_TEST(log_without_callback_does_nothing)
{
	pc_log(&log_without_callback, PCACHE_LOG_ERROR, "%d", 1);
	pc_log(NULL, PCACHE_LOG_ERROR, "%d", 1);
	ck_assert_uint_eq(got.calls, 0);
}
END_TEST

START_TEST(fail_returns_its_error_with_and_without_callback)
{
	ck_assert_int_eq(pc_fail(NULL, -EIO, "%d", 1), -EIO);
	ck_assert_int_eq(pc_fail(&log_without_callback, -ENOSPC, "%d", 1), -ENOSPC);
	ck_assert_uint_eq(got.calls, 0);
	ck_assert_int_eq(pc_fail(&log_with_callback, -EINVAL, "no %s", "way"), -EINVAL);
	ck_assert_uint_eq(got.calls, 1);
	ck_assert_int_eq(got.level, PCACHE_LOG_ERROR);
	ck_assert_ptr_eq(got.arg, &got);
	ck_assert_str_eq(got.message, "no way");
}
END_TEST

/* A message of just the longest length is whole, the next one is cut. */
START_TEST(log_with_long_message_cuts_its_end)
{
	char text[2 * MESSAGE_MAX];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	for (int len = (int)MESSAGE_MAX - 2; len < (int)sizeof(text); len++) {
		size_t kept = (unsigned)len < MESSAGE_MAX ? (unsigned)len : MESSAGE_MAX;

		pc_log(&log_with_callback, PCACHE_LOG_INFO, "%.*s", len, text);
		ck_assert_uint_eq(strlen(got.message), kept);
		ck_assert_mem_eq(got.message, text, kept);
		pc_fail(&log_with_callback, -EIO, "%.*s", len, text);
		ck_assert_uint_eq(strlen(got.message), kept);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = case_new(suite, "log");

	tcase_add_test(tcase, log_with_callback_hands_on_level_text_and_argument);
	tcase_add_test(tcase, log_without_callback_does_nothing);
	tcase_add_test(tcase, fail_returns_its_error_with_and_without_callback);
	tcase_add_test(tcase, log_with_long_message_cuts_its_end);
	return pc_run_suite(suite);
}
