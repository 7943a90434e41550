/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.c - tables and records to stdout. Text and raw lines by smartcols, JSON here: an object around all, which names
 * its schema.
 */
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_VERSION 1

struct ctl_cell {
	uint64_t number;
	char *text;
	bool is_none;
};

/* ---- build ---- */

struct ctl_table *ctl_table_new(const char *name, const struct ctl_field *fields, size_t field_count)
{
	struct ctl_table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return NULL;
	table->name = name;
	table->field_count = field_count;
	table->fields = calloc(field_count + 1, sizeof(*fields));
	table->broken = table->fields == NULL;
	if (!table->broken && field_count != 0)
		memcpy(table->fields, fields, field_count * sizeof(*fields));
	return table;
}

struct ctl_table *ctl_record_new(const char *name)
{
	struct ctl_table *record = ctl_table_new(name, NULL, 0);

	if (record != NULL)
		record->is_record = true;
	return record;
}

void ctl_table_free(struct ctl_table *table)
{
	if (table == NULL)
		return;
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table->fields);
	free(table);
}

static struct ctl_cell *add_cell(struct ctl_table *table)
{
	if (table == NULL || table->broken)
		return NULL;
	if (table->cell_count == table->cell_room) {
		size_t room = 2 * table->cell_room + 64;
		struct ctl_cell *cells = realloc(table->cells, room * sizeof(*cells));

		table->broken = cells == NULL;
		if (table->broken)
			return NULL;
		table->cells = cells;
		table->cell_room = room;
	}
	table->cells[table->cell_count] = (struct ctl_cell){ 0 };
	return &table->cells[table->cell_count++];
}

void ctl_table_text(struct ctl_table *table, const char *text)
{
	struct ctl_cell *cell = add_cell(table);

	if (cell == NULL)
		return;
	cell->is_none = text == NULL;
	cell->text = text == NULL ? NULL : strdup(text);
	table->broken |= text != NULL && cell->text == NULL;
}

void ctl_table_number(struct ctl_table *table, uint64_t number)
{
	struct ctl_cell *cell = add_cell(table);

	if (cell != NULL)
		cell->number = number;
}

static void add_field(struct ctl_table *record, const char *name, const char *title, enum ctl_type type)
{
	struct ctl_field *fields;

	if (record == NULL || record->broken)
		return;
	fields = realloc(record->fields, (record->field_count + 2) * sizeof(*fields));
	record->broken = fields == NULL;
	if (fields == NULL)
		return;
	record->fields = fields;
	fields[record->field_count++] = (struct ctl_field){ name, title, type };
}

void ctl_record_text(struct ctl_table *record, const char *name, const char *title, const char *text)
{
	add_field(record, name, title, CTL_TYPE_TEXT);
	ctl_table_text(record, text);
}

void ctl_record_number(struct ctl_table *record, const char *name, const char *title, enum ctl_type type, uint64_t number)
{
	add_field(record, name, title, type);
	ctl_table_number(record, number);
}

/* ---- values ---- */

static const char *scaled(double value, double step, const char *const *units, size_t count, char text[CTL_HUMAN_BYTES])
{
	size_t unit = 0;

	while (value >= step && unit + 1 < count) {
		value /= step;
		unit++;
	}
	snprintf(text, CTL_HUMAN_BYTES, value == (double)(uint64_t)value ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return text;
}

const char *ctl_human(enum ctl_type type, uint64_t number, char text[CTL_HUMAN_BYTES])
{
	static const char *const sizes[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	static const char *const times[] = { "ns", "us", "ms", "s" };

	switch (type) {
	case CTL_TYPE_BYTES:
		return scaled((double)number, 1024, sizes, CTL_ARRAY_SIZE(sizes), text);
	case CTL_TYPE_NS:
		return scaled((double)number, 1000, times, CTL_ARRAY_SIZE(times), text);
	case CTL_TYPE_BOOL:
		return number != 0 ? "yes" : "no";
	case CTL_TYPE_HEX:
		snprintf(text, CTL_HUMAN_BYTES, "0x%" PRIx64, number);
		return text;
	default:
		snprintf(text, CTL_HUMAN_BYTES, "%" PRIu64, number);
		return text;
	}
}

static const char *show(enum ctl_form form, const struct ctl_field *field, const struct ctl_cell *cell,
			char text[CTL_HUMAN_BYTES])
{
	if (cell->is_none)
		return "-";
	if (field->type == CTL_TYPE_TEXT)
		return cell->text;
	if (form == CTL_FORM_RAW && (field->type == CTL_TYPE_BYTES || field->type == CTL_TYPE_NS))
		return ctl_human(CTL_TYPE_COUNT, cell->number, text);
	return ctl_human(field->type, cell->number, text);
}

/* ---- text and raw ---- */

static int print_columns(enum ctl_form form, const struct ctl_table *table, struct libscols_table *out)
{
	size_t columns = table->field_count;
	char text[CTL_HUMAN_BYTES];

	for (size_t i = 0; i < columns; i++) {
		int flags = table->fields[i].type == CTL_TYPE_TEXT || table->fields[i].type == CTL_TYPE_BOOL ? 0 : SCOLS_FL_RIGHT;

		if (scols_table_new_column(out, form == CTL_FORM_RAW ? table->fields[i].name : table->fields[i].title, 0,
					   flags) == NULL)
			return -ENOMEM;
	}
	for (size_t i = 0; i + columns <= table->cell_count; i += columns) {
		struct libscols_line *line = scols_table_new_line(out, NULL);

		for (size_t j = 0; j < columns; j++)
			if (line == NULL ||
			    scols_line_set_data(line, j, show(form, &table->fields[j], &table->cells[i + j], text)) < 0)
				return -ENOMEM;
	}
	return scols_print_table(out);
}

static int print_upright(enum ctl_form form, const struct ctl_table *record, struct libscols_table *out)
{
	char text[CTL_HUMAN_BYTES];

	scols_table_enable_noheadings(out, 1);
	if (scols_table_new_column(out, "name", 0, 0) == NULL || scols_table_new_column(out, "value", 0, 0) == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < record->field_count; i++) {
		const struct ctl_field *field = &record->fields[i];
		struct libscols_line *line = scols_table_new_line(out, NULL);

		if (line == NULL || scols_line_set_data(line, 0, form == CTL_FORM_RAW ? field->name : field->title) < 0 ||
		    scols_line_set_data(line, 1, show(form, field, &record->cells[i], text)) < 0)
			return -ENOMEM;
	}
	return scols_print_table(out);
}

static int print_by_smartcols(const struct ctl_output *output, const struct ctl_table *table)
{
	struct libscols_table *out = scols_new_table();
	int ret;

	if (out == NULL)
		return -ENOMEM;
	scols_table_enable_raw(out, output->form == CTL_FORM_RAW);
	if (output->count != 0)
		fputc('\n', stdout);
	ret = table->is_record ? print_upright(output->form, table, out) : print_columns(output->form, table, out);
	scols_unref_table(out);
	return ret;
}

/* ---- JSON ---- */

static void print_string(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else if (byte < 0x20 || byte >= 0x7f)
			printf("\\u%04x", byte); /* a path may be no UTF-8: its bytes as if they were Latin-1 */
		else
			putchar(byte);
	}
	putchar('"');
}

static void print_object(const struct ctl_table *table, size_t first, const char *indent)
{
	for (size_t i = 0; i < table->field_count; i++) {
		const struct ctl_cell *cell = &table->cells[first + i];

		printf("%s%s\"%s\": ", i == 0 ? "{" : ",", indent, table->fields[i].name);
		if (cell->is_none)
			fputs("null", stdout);
		else if (table->fields[i].type == CTL_TYPE_TEXT)
			print_string(cell->text);
		else if (table->fields[i].type == CTL_TYPE_BOOL)
			fputs(cell->number != 0 ? "true" : "false", stdout);
		else
			printf("%" PRIu64, cell->number);
	}
	putchar('}');
}

static void print_json(const struct ctl_table *table)
{
	printf(",\n  \"%s\": ", table->name);
	if (table->is_record) {
		print_object(table, 0, "\n    ");
		return;
	}
	putchar('[');
	for (size_t i = 0; i + table->field_count <= table->cell_count; i += table->field_count) {
		fputs(i == 0 ? "\n    " : ",\n    ", stdout);
		print_object(table, i, " ");
	}
	putchar(']');
}

/* ---- all ---- */

void ctl_output_begin(struct ctl_output *output, const struct ctl_form_options *options, const char *command)
{
	*output = (struct ctl_output){ .form = options->json ? CTL_FORM_JSON : options->raw ? CTL_FORM_RAW : CTL_FORM_TEXT };
	if (output->form == CTL_FORM_JSON)
		printf("{\n  \"schema_version\": %d,\n  \"command\": \"%s\"", SCHEMA_VERSION, command);
}

void ctl_output_table(struct ctl_output *output, struct ctl_table *table)
{
	if (table == NULL || table->broken)
		output->broken = true;
	else if (output->form == CTL_FORM_JSON)
		print_json(table);
	else
		output->broken |= print_by_smartcols(output, table) < 0;
	output->count++;
	ctl_table_free(table);
}

int ctl_output_end(struct ctl_output *output, int status)
{
	if (output->form == CTL_FORM_JSON)
		fputs("\n}\n", stdout);
	if (output->broken)
		return ctl_fail(CTL_FAILED, "out of memory: the output is not complete");
	if (fflush(stdout) != 0 || ferror(stdout))
		return ctl_fail(CTL_FAILED, "stdout: %s", strerror(errno));
	return status;
}
