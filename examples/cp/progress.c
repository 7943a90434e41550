/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * progress.c - all that goes to stderr: messages, the log of the library, and a progress bar.
 *
 * (G1) Messages may come from any thread while the bar is shown. Each is one call of stdio, which locks the stream, and
 *      wipes the bar's line first; the next update draws the bar again.
 */
#include "cp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_NS     UINT64_C(100000000)
#define SECOND_NS     UINT64_C(1000000000)
#define COLUMNS_MAX   120
#define FIGURES_WIDTH 62 /* what stands beside the bar */

static atomic_bool bar_on_line;

static void say(const char *format, va_list args)
{
	char text[4096];

	vsnprintf(text, sizeof(text), format, args);
	fprintf(stderr, "%spcache-cp: %s\n", atomic_load(&bar_on_line) ? "\r\033[K" : "", text);
}

void cp_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

int cp_fail(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return status;
}

void cp_log(enum pcache_log_level level, const char *message, void *arg)
{
	const struct cp_options *options = arg;

	if (level <= PCACHE_LOG_WARNING || options->verbose)
		cp_say("%s: %s", options->cache, message);
}

uint64_t cp_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

const char *cp_human(char text[static CP_HUMAN_BYTES], uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(text, CP_HUMAN_BYTES, "%" PRIu64 " B", bytes);
		return text;
	}
	for (; value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1; unit++)
		value /= 1024;
	snprintf(text, CP_HUMAN_BYTES, "%.1f %s", value, units[unit]);
	return text;
}

static int terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return 80;
	return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

static void draw_bar(const struct cp_progress *progress, uint64_t done_bytes, char *text, size_t text_size)
{
	int width = terminal_columns() - FIGURES_WIDTH;

	text[0] = '\0';
	if (width < 4 || (size_t)width + 3 > text_size)
		return;

	double share = (double)done_bytes / (double)progress->total_bytes;
	int full = (int)(share * width);

	text[0] = '[';
	memset(text + 1, '=', (size_t)full);
	memset(text + 1 + full, ' ', (size_t)(width - full));
	if (full < width)
		text[1 + full] = '>';
	text[1 + width] = ']';
	text[2 + width] = '\0';
}

static void draw(struct cp_progress *progress, uint64_t done_bytes, uint64_t now_ns)
{
	char done[CP_HUMAN_BYTES];
	char total[CP_HUMAN_BYTES];
	char rate[CP_HUMAN_BYTES];
	char bar[COLUMNS_MAX];
	char line[2 * COLUMNS_MAX];
	double elapsed_s = (double)(now_ns - progress->begin_ns) / (double)SECOND_NS;
	double bytes_per_s = elapsed_s > 0 ? (double)(done_bytes - progress->first_bytes) / elapsed_s : 0;

	progress->last_ns = now_ns;
	cp_human(done, done_bytes);
	cp_human(rate, (uint64_t)bytes_per_s);
	if (progress->total_bytes == 0) {
		snprintf(line, sizeof(line), "%-5s %s  %s/s", progress->label, done, rate);
	} else {
		uint64_t left_bytes = progress->total_bytes - done_bytes;
		uint64_t eta_s = bytes_per_s > 0 ? (uint64_t)((double)left_bytes / bytes_per_s + 0.5) : 0;

		draw_bar(progress, done_bytes, bar, sizeof(bar));
		snprintf(line, sizeof(line), "%-5s %3.0f%% %s %s of %s  %s/s  ETA %" PRIu64 ":%02u", progress->label,
			 100.0 * (double)done_bytes / (double)progress->total_bytes, bar, done,
			 cp_human(total, progress->total_bytes), rate, eta_s / 60, (unsigned)(eta_s % 60));
	}
	atomic_store(&bar_on_line, true);
	fprintf(stderr, "\r%.*s\033[K", terminal_columns() - 1, line);
}

void cp_progress_begin(struct cp_progress *progress, const char *label, uint64_t done_bytes, uint64_t total_bytes)
{
	progress->label = label;
	progress->total_bytes = total_bytes;
	progress->first_bytes = done_bytes;
	progress->begin_ns = cp_now_ns();
	if (progress->shown)
		draw(progress, done_bytes, progress->begin_ns);
}

void cp_progress_update(struct cp_progress *progress, uint64_t done_bytes)
{
	if (!progress->shown)
		return;

	uint64_t now_ns = cp_now_ns();

	if (progress->total_bytes != 0 && done_bytes > progress->total_bytes)
		done_bytes = progress->total_bytes;
	if (now_ns - progress->last_ns >= REDRAW_NS || done_bytes == progress->total_bytes)
		draw(progress, done_bytes, now_ns);
}

void cp_progress_end(struct cp_progress *progress)
{
	if (progress->shown && atomic_exchange(&bar_on_line, false))
		fputc('\n', stderr);
}
