/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.h - what a command prints: one definition of fields, three forms of output.
 *
 *          text                               json                               raw
 *   table  columns for people, by smartcols   array of objects                   one line a row, for scripts
 *   record a name and a value a line          object                             one line a field
 *
 * Numbers are bytes, nanoseconds or counts in JSON and raw, whatever the text shows.
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "ctl.h"

enum ctl_form { CTL_FORM_TEXT, CTL_FORM_JSON, CTL_FORM_RAW };

/* --json and --raw, as options of a command. */
struct ctl_form_options {
	bool json;
	bool raw;
};

#define CTL_FORM_OPTIONS(form)                                                               \
	{ "json", CTL_FLAG, &(form)->json, NULL, "print JSON; sizes are bytes" },            \
	{ "raw", CTL_FLAG, &(form)->raw, NULL, "print lines of plain values, for scripts" }

enum ctl_type {
	CTL_TYPE_TEXT,
	CTL_TYPE_COUNT,
	CTL_TYPE_BYTES,
	CTL_TYPE_NS,
	CTL_TYPE_BOOL,
	CTL_TYPE_HEX, /* a number; text and raw show it in hexadecimal */
};

struct ctl_field {
	const char *name;  /* in JSON and raw */
	const char *title; /* in text */
	enum ctl_type type;
};

/* A table, or with `is_record` one row that is shown upright. */
struct ctl_table {
	const char *name;
	bool is_record;
	struct ctl_field *fields;
	size_t field_count;
	struct ctl_cell *cells; /* row by row */
	size_t cell_count;
	size_t cell_room;
	bool broken; /* out of memory */
};

struct ctl_table *ctl_table_new(const char *name, const struct ctl_field *fields, size_t field_count);
struct ctl_table *ctl_record_new(const char *name);
void ctl_table_free(struct ctl_table *table);

/* The next cell of a table: in the order of its fields, row by row. Text is copied; NULL: there is no value. */
void ctl_table_text(struct ctl_table *table, const char *text);
void ctl_table_number(struct ctl_table *table, uint64_t number);

/* A field of a record and its value. */
void ctl_record_text(struct ctl_table *record, const char *name, const char *title, const char *text);
void ctl_record_number(struct ctl_table *record, const char *name, const char *title, enum ctl_type type, uint64_t number);

/* All that one call prints. */
struct ctl_output {
	enum ctl_form form;
	unsigned count;
	bool broken;
};
void ctl_output_begin(struct ctl_output *output, const struct ctl_form_options *options, const char *command);
void ctl_output_table(struct ctl_output *output, struct ctl_table *table); /* and frees it */
int ctl_output_end(struct ctl_output *output, int status); /* status, or that of a failed output */

/* "1.5 GiB", "12.3 us": as text shows a value. */
#define CTL_HUMAN_BYTES 32
const char *ctl_human(enum ctl_type type, uint64_t number, char text[CTL_HUMAN_BYTES]);

#endif
