/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parse.c - two formats of traces.
 *
 * CSV: `time_s,op,offset_bytes,length_bytes` a line, op r or w. Blank lines and those that begin with # are skipped, so
 * is the first other line if it begins with a letter: a heading. Lines may end with CR LF.
 *
 * oracleGeneral: records of 24 bytes without a header. Sizes, times and the next access are not used.
 */
#include "parse.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 256u
#define LENGTH_MAX (UINT64_C(1) << 30) /* of one request */
#define END_MAX    ((uint64_t)INT64_MAX - TRACE_BLOCK_BYTES + 1)
#define FIELDS     4u
#define NEXT_MIN   (-2)                /* not known; -1 and INT64_MAX: there is none */
#define NEXT_MAX   (INT64_C(1) << 56) /* of the number of a request; text is above */

static int refuse(struct trace_parse_error *error, int ret, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct trace_parse_error *error, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return ret;
}

struct line {
	char text[LINE_BYTES];
	uint64_t number;
};

/* 1: a line, without its end; 0: the end of the file. */
static int read_line(FILE *in, struct line *line, struct trace_parse_error *error)
{
	size_t len = 0;
	int c;

	line->number++;
	while ((c = getc_unlocked(in)) != EOF && c != '\n') {
		if (c == '\0')
			return refuse(error, -EINVAL, "line %" PRIu64 ": not text", line->number);
		if (len == sizeof(line->text) - 1)
			return refuse(error, -EINVAL, "line %" PRIu64 " is longer than %u bytes", line->number,
				      LINE_BYTES - 1);
		line->text[len++] = (char)c;
	}
	if (ferror(in))
		return refuse(error, -EIO, "line %" PRIu64 ": cannot be read", line->number);
	if (len > 0 && line->text[len - 1] == '\r')
		len--;
	line->text[len] = '\0';
	return len > 0 || c != EOF;
}

/* Without the blanks around it. */
static char *trimmed(char *text)
{
	char *end;

	text += strspn(text, " \t");
	end = text + strlen(text);
	while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = '\0';
	return text;
}

/* False: not FIELDS of them. */
static bool split(char *text, char **fields)
{
	unsigned count = 0;

	for (;;) {
		char *comma = strchr(text, ',');

		if (count == FIELDS)
			return false;
		if (comma != NULL)
			*comma = '\0';
		fields[count++] = trimmed(text);
		if (comma == NULL)
			return count == FIELDS;
		text = comma + 1;
	}
}

static bool is_time(const char *text)
{
	char *end;

	/* strtod takes more than decimal numbers */
	if (text[0] < '0' || text[0] > '9' || text[strspn(text, "0123456789.eE+-")] != '\0')
		return false;
	return isfinite(strtod(text, &end)) && *end == '\0';
}

static bool take_number(const char *text, uint64_t max, uint64_t *ret_value)
{
	char *end;
	unsigned long long value;

	/* strtoull takes signs and blanks */
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || value > max)
		return false;
	*ret_value = value;
	return true;
}

static bool take_op(const char *text, bool *ret_is_write)
{
	if (text[0] == '\0' || text[1] != '\0' || strchr("rRwW", text[0]) == NULL)
		return false;
	*ret_is_write = text[0] == 'w' || text[0] == 'W';
	return true;
}

static int take_request(char *text, uint64_t number, struct trace_request *ret_request, struct trace_parse_error *error)
{
	char *fields[FIELDS];
	uint64_t off;
	uint64_t len;
	uint64_t block;
	bool is_write;

	if (!split(text, fields))
		return refuse(error, -EINVAL, "line %" PRIu64 ": not the four fields time,op,offset,length", number);
	if (!is_time(fields[0]))
		return refuse(error, -EINVAL, "line %" PRIu64 ": '%.32s' is not a time", number, fields[0]);
	if (!take_op(fields[1], &is_write))
		return refuse(error, -EINVAL, "line %" PRIu64 ": '%.32s' is neither r nor w", number, fields[1]);
	if (!take_number(fields[2], END_MAX - 1, &off))
		return refuse(error, -EINVAL, "line %" PRIu64 ": '%.32s' is not an offset", number, fields[2]);
	if (!take_number(fields[3], LENGTH_MAX, &len) || len == 0)
		return refuse(error, -EINVAL, "line %" PRIu64 ": '%.32s' is not a length from 1 to %" PRIu64, number,
			      fields[3], LENGTH_MAX);
	if (len > END_MAX - off)
		return refuse(error, -EINVAL, "line %" PRIu64 ": offset and length go too far", number);
	block = off / TRACE_BLOCK_BYTES;
	*ret_request = (struct trace_request){
		.block = block,
		.count = (uint32_t)((off + len + TRACE_BLOCK_BYTES - 1) / TRACE_BLOCK_BYTES - block),
		.is_write = is_write,
	};
	return 0;
}

static int add(struct trace *trace, struct trace_request request, struct trace_parse_error *error)
{
	int ret = trace_add(trace, request);

	return ret < 0 ? refuse(error, ret, "no memory for more than %" PRIu64 " requests", trace->count) : 0;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int trace_parse_csv(FILE *in, uint64_t limit, struct trace *trace, struct trace_parse_error *ret_error)
{
	struct line line = { .number = 0 };
	bool may_be_heading = true;

	while (trace->count < limit) {
		struct trace_request request;
		int ret = read_line(in, &line, ret_error);
		char *text;

		if (ret <= 0)
			return ret;
		text = trimmed(line.text);
		if (text[0] == '\0' || text[0] == '#')
			continue;
		if (!may_be_heading || !is_letter(text[0])) {
			ret = take_request(text, line.number, &request, ret_error);
			if (ret == 0)
				ret = add(trace, request, ret_error);
			if (ret < 0)
				return ret;
		}
		may_be_heading = false;
	}
	return 0;
}

/* 1: a record; 0: the end of the file. */
static int read_record(FILE *in, uint64_t number, uint64_t *ret_object, struct trace_parse_error *error)
{
	uint8_t record[TRACE_ORACLE_BYTES];
	size_t len = fread(record, 1, sizeof(record), in);
	int64_t next;

	if (ferror(in))
		return refuse(error, -EIO, "record %" PRIu64 ": cannot be read", number);
	if (len == 0)
		return 0;
	if (len < sizeof(record))
		return refuse(error, -EINVAL, "record %" PRIu64 " has %zu bytes, not %u", number, len,
			      TRACE_ORACLE_BYTES);
	memcpy(&next, record + 16, sizeof(next));
	if (next < NEXT_MIN || (next > NEXT_MAX && next != INT64_MAX))
		return refuse(error, -EINVAL, "record %" PRIu64 ": a next access at %" PRId64 ": not oracleGeneral",
			      number, next);
	memcpy(ret_object, record + 4, sizeof(*ret_object));
	return 1;
}

static int read_records(FILE *in, uint64_t limit, struct trace *trace, struct trace_table *numbers,
			struct trace_parse_error *error)
{
	while (trace->count < limit) {
		uint64_t object = 0;
		uint32_t block;
		int ret = read_record(in, trace->count + 1, &object, error);

		if (ret <= 0)
			return ret;
		block = trace_table_get(numbers, object);
		if (block == TRACE_TABLE_NONE) {
			block = (uint32_t)numbers->count;
			ret = block == TRACE_TABLE_NONE ? -ENOMEM : trace_table_put(numbers, object, block);
			if (ret < 0)
				return refuse(error, ret, "no memory for more than %" PRIu64 " objects",
					      numbers->count);
		}
		ret = add(trace, (struct trace_request){ .block = block, .count = 1 }, error);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int trace_parse_oracle(FILE *in, uint64_t limit, struct trace *trace, struct trace_parse_error *ret_error)
{
	struct trace_table numbers;
	int ret = trace_table_init(0, &numbers);

	if (ret < 0)
		return refuse(ret_error, ret, "no memory");
	ret = read_records(in, limit, trace, &numbers, ret_error);
	trace_table_free(&numbers);
	return ret;
}
