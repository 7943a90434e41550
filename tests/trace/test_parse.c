/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_parse.c - tools/trace/parse.c: traces are read as they are meant, and everything else is refused with the place
 * and the reason.
 */
#include "parse.h"
#include "unit/support.h"

#include <errno.h>

struct parsed {
	struct trace trace;
	struct trace_parse_error error;
	int ret;
};

typedef int (*parse_fn)(FILE *in, uint64_t limit, struct trace *trace, struct trace_parse_error *ret_error);

static struct parsed parse(parse_fn function, const void *bytes, size_t len, uint64_t limit)
{
	struct parsed parsed = { .ret = 0 };
	FILE *in = tmpfile();

	EXPECT(in != NULL);
	EXPECT(fwrite(bytes, 1, len, in) == len);
	rewind(in);
	parsed.ret = function(in, limit, &parsed.trace, &parsed.error);
	fclose(in);
	return parsed;
}

static struct parsed parse_csv(const char *text)
{
	return parse(trace_parse_csv, text, strlen(text), UINT64_MAX);
}

static void check_requests(struct parsed *parsed, const struct trace_request *wanted, uint64_t count)
{
	if (parsed->ret < 0)
		ck_abort_msg("%s", parsed->error.text);
	ck_assert_uint_eq(parsed->trace.count, count);
	for (uint64_t i = 0; i < count; i++) {
		ck_assert_uint_eq(parsed->trace.requests[i].block, wanted[i].block);
		ck_assert_uint_eq(parsed->trace.requests[i].count, wanted[i].count);
		ck_assert(parsed->trace.requests[i].is_write == wanted[i].is_write);
	}
	trace_free(&parsed->trace);
}

static void check_refused(struct parsed *parsed, const char *place, const char *reason)
{
	ck_assert_int_eq(parsed->ret, -EINVAL);
	if (strncmp(parsed->error.text, place, strlen(place)) != 0 || strstr(parsed->error.text, reason) == NULL)
		ck_abort_msg("'%s' does not begin with '%s' and say '%s'", parsed->error.text, place, reason);
	trace_free(&parsed->trace);
}

static const struct trace_request two[] = { { 0, 1, false }, { 1, 2, true } };

START_TEST(csv_in_any_usual_form_is_read)
{
	static const char *const texts[] = {
		"0,r,0,4096\n1.5,w,4096,8192\n",
		"0,R,0,4096\n1.5,W,4096,8192",
		"time_s,op,offset_bytes,length_bytes\n0,r,0,4096\n1e3,w,4096,8192\n",
		"# a comment\n\ntime,op,offset,length\n# more\n0,r,0,4096\n\n1.5,w,4096,8192\n\n",
		"time,op,offset,length\r\n0,r,0,4096\r\n1.5,w,4096,8192\r\n",
		"\r\n0,r,0,4096\r\n#\r\n1.5,w,4096,8192",
		"  0 , r ,\t0 , 4096 \n 1.5, w, 4096, 8192\n",
		"0,r,0,4096\n1.5,w,4097,8191\n",
		"0,r,4095,1\n1.5,w,8191,2\n",
		"00,r,0000,04096\n1.5,w,004096,8192\n",
	};

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct parsed parsed = parse_csv(texts[i]);

		check_requests(&parsed, two, 2);
	}
}
END_TEST

START_TEST(csv_request_is_widened_to_whole_blocks)
{
	static const struct trace_request wanted[] = {
		{ 0, 1, false }, { 0, 1, false }, { 0, 2, false }, { 1, 1, true }, { 1, 3, true },
	};
	struct parsed parsed = parse_csv("0,r,0,1\n0,r,4095,1\n0,r,4095,2\n0,w,5000,100\n0,w,8191,4098\n");

	check_requests(&parsed, wanted, 5);
}
END_TEST

START_TEST(csv_at_the_limits_is_read)
{
	static const struct trace_request wanted[] = {
		{ (UINT64_C(1) << 51) - 2, 1, false }, { 0, 1u << 18, false },
	};
	struct parsed parsed = parse_csv("0,r,9223372036854767616,4096\n0,r,0,1073741824\n");

	check_requests(&parsed, wanted, 2);
}
END_TEST

START_TEST(csv_stops_at_the_limit)
{
	const char *text = "0,r,0,4096\n1.5,w,4096,8192\njunk\n";
	struct parsed parsed = parse(trace_parse_csv, text, strlen(text), 2);

	check_requests(&parsed, two, 2);
}
END_TEST

START_TEST(csv_without_requests_is_an_empty_trace)
{
	static const char *const texts[] = { "", "\n", "# nothing\n", "time,op,offset,length\n", "\r\n\r\n" };

	for (unsigned i = 0; i < 5; i++) {
		struct parsed parsed = parse_csv(texts[i]);

		check_requests(&parsed, NULL, 0);
	}
}
END_TEST

START_TEST(csv_that_is_wrong_is_refused_with_its_line)
{
	static const struct {
		const char *text;
		const char *place;
		const char *reason;
	} cases[] = {
		{ "junk\njunk\n", "line 2:", "four fields" },
		{ "0,r,0\n", "line 1:", "four fields" },
		{ "0,r,0,4096,1\n", "line 1:", "four fields" },
		{ "0,r,0,4096\n0,r,0,4096,\n", "line 2:", "four fields" },
		{ "# x\n\n0 r 0 4096\n", "line 3:", "four fields" },
		{ "0,r,0,4096\ntime,op,offset,length\n", "line 2:", "not a time" },
		{ "-1,r,0,4096\n", "line 1:", "not a time" },
		{ ",r,0,4096\n", "line 1:", "not a time" },
		{ "0x10,r,0,4096\n", "line 1:", "not a time" },
		{ "1e999,r,0,4096\n", "line 1:", "not a time" },
		{ "1.2.3,r,0,4096\n", "line 1:", "not a time" },
		{ "0,x,0,4096\n", "line 1:", "neither r nor w" },
		{ "0,,0,4096\n", "line 1:", "neither r nor w" },
		{ "0,rw,0,4096\n", "line 1:", "neither r nor w" },
		{ "0,r,-1,4096\n", "line 1:", "not an offset" },
		{ "0,r,+1,4096\n", "line 1:", "not an offset" },
		{ "0,r,,4096\n", "line 1:", "not an offset" },
		{ "0,r,4K,4096\n", "line 1:", "not an offset" },
		{ "0,r,0x1000,4096\n", "line 1:", "not an offset" },
		{ "0,r,1.0,4096\n", "line 1:", "not an offset" },
		{ "0,r,18446744073709551616,4096\n", "line 1:", "not an offset" },
		{ "0,r,18446744073709551615,4096\n", "line 1:", "not an offset" },
		{ "0,r,9223372036854775807,1\n", "line 1:", "not an offset" },
		{ "0,r,9223372036854771711,2\n", "line 1:", "too far" },
		{ "0,r,0,-4096\n", "line 1:", "not a length" },
		{ "0,r,0,0\n", "line 1:", "not a length" },
		{ "0,r,0,\n", "line 1:", "not a length" },
		{ "0,r,0,1073741825\n", "line 1:", "not a length" },
		{ "0,r,0,99999999999999999999999999\n", "line 1:", "not a length" },
		{ "0,r,0,4096 4096\n", "line 1:", "not a length" },
		{ "0,r,0,4096\r\n0,r,0,4096\rx\n", "line 2:", "not a length" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct parsed parsed = parse_csv(cases[i].text);

		check_refused(&parsed, cases[i].place, cases[i].reason);
	}
}
END_TEST

START_TEST(csv_line_without_end_is_refused)
{
	char text[1000];
	struct parsed parsed;

	memset(text, '1', sizeof(text));
	memcpy(text, "0,r,0,1\n", 8);
	parsed = parse(trace_parse_csv, text, sizeof(text), UINT64_MAX);
	check_refused(&parsed, "line 2 ", "longer");
}
END_TEST

START_TEST(csv_with_zero_byte_is_refused)
{
	static const char text[] = "0,r,0,4096\n0,r,0\0,4096\n";
	struct parsed parsed = parse(trace_parse_csv, text, sizeof(text) - 1, UINT64_MAX);

	check_refused(&parsed, "line 2:", "not text");
}
END_TEST

/* Any bytes at all: an end, and an error that says where. */
START_TEST(random_bytes_are_refused_or_read)
{
	static const char letters[] = "0123456789,,,,rwRW..\n\n\r#- \tetime\x80\xff";
	struct test_random random = random_of(5);
	unsigned refused = 0;

	for (unsigned round = 0; round < scaled(20000); round++) {
		char text[64];
		size_t len = test_random_below(&random, sizeof(text));
		struct parsed parsed;

		for (size_t i = 0; i < len; i++)
			text[i] = letters[test_random_below(&random, sizeof(letters))];
		parsed = parse(trace_parse_csv, text, len, UINT64_MAX);
		if (parsed.ret < 0)
			check_refused(&parsed, "line ", ":");
		refused += parsed.ret < 0;
		trace_free(&parsed.trace);
	}
	ck_assert_uint_gt(refused, 0);
}
END_TEST

static void put_record(uint8_t *record, uint64_t object, uint32_t size, int64_t next)
{
	const uint32_t time_s = 7;

	memcpy(record, &time_s, 4);
	memcpy(record + 4, &object, 8);
	memcpy(record + 12, &size, 4);
	memcpy(record + 16, &next, 8);
}

START_TEST(oracle_objects_become_blocks_as_they_occur)
{
	static const uint64_t objects[] = { UINT64_MAX, 0, UINT64_MAX, 123456789012345, 0, UINT64_MAX };
	static const struct trace_request wanted[] = {
		{ 0, 1, false }, { 1, 1, false }, { 0, 1, false }, { 2, 1, false }, { 1, 1, false }, { 0, 1, false },
	};
	uint8_t bytes[6 * TRACE_ORACLE_BYTES];
	struct parsed parsed;

	for (unsigned i = 0; i < 6; i++)
		put_record(bytes + i * TRACE_ORACLE_BYTES, objects[i], 1u << i, i % 2 == 0 ? -1 : INT64_MAX);
	parsed = parse(trace_parse_oracle, bytes, sizeof(bytes), UINT64_MAX);
	check_requests(&parsed, wanted, 6);
	parsed = parse(trace_parse_oracle, bytes, sizeof(bytes), 4);
	check_requests(&parsed, wanted, 4);
	parsed = parse(trace_parse_oracle, bytes, 0, UINT64_MAX);
	check_requests(&parsed, wanted, 0);
}
END_TEST

START_TEST(oracle_with_short_record_is_refused)
{
	uint8_t bytes[3 * TRACE_ORACLE_BYTES];

	for (unsigned i = 0; i < 3; i++)
		put_record(bytes + i * TRACE_ORACLE_BYTES, i, 4096, -1);
	for (size_t len = 2 * TRACE_ORACLE_BYTES + 1; len < sizeof(bytes); len++) {
		struct parsed parsed = parse(trace_parse_oracle, bytes, len, UINT64_MAX);

		check_refused(&parsed, "record 3 ", "bytes, not 24");
	}
}
END_TEST

START_TEST(oracle_with_senseless_next_access_is_refused)
{
	uint8_t bytes[2 * TRACE_ORACLE_BYTES];
	struct parsed parsed;

	put_record(bytes, 1, 4096, -2);
	put_record(bytes + TRACE_ORACLE_BYTES, 1, 4096, -3);
	parsed = parse(trace_parse_oracle, bytes, sizeof(bytes), UINT64_MAX);
	check_refused(&parsed, "record 2:", "-3");
	memset(bytes, '1', sizeof(bytes));
	parsed = parse(trace_parse_oracle, bytes, sizeof(bytes), UINT64_MAX);
	check_refused(&parsed, "record 1:", "not oracleGeneral");
	memset(bytes, 0xee, sizeof(bytes));
	parsed = parse(trace_parse_oracle, bytes, sizeof(bytes), UINT64_MAX);
	check_refused(&parsed, "record 1:", "not oracleGeneral");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("parse");
	TCase *tcase = case_new(suite, "parse");

	tcase_add_test(tcase, csv_in_any_usual_form_is_read);
	tcase_add_test(tcase, csv_request_is_widened_to_whole_blocks);
	tcase_add_test(tcase, csv_at_the_limits_is_read);
	tcase_add_test(tcase, csv_stops_at_the_limit);
	tcase_add_test(tcase, csv_without_requests_is_an_empty_trace);
	tcase_add_test(tcase, csv_that_is_wrong_is_refused_with_its_line);
	tcase_add_test(tcase, csv_line_without_end_is_refused);
	tcase_add_test(tcase, csv_with_zero_byte_is_refused);
	tcase_add_test(tcase, random_bytes_are_refused_or_read);
	tcase_add_test(tcase, oracle_objects_become_blocks_as_they_occur);
	tcase_add_test(tcase, oracle_with_short_record_is_refused);
	tcase_add_test(tcase, oracle_with_senseless_next_access_is_refused);
	return pc_run_suite(suite);
}
