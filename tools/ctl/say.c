/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * say.c - all that goes to stderr: messages, reasons with a way out, a progress bar. And Ctrl-C.
 *
 * (SA1) Messages may come from any thread while a bar is shown: each is one call of stdio, and wipes the bar first.
 */
#include "ctl.h"
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_NS UINT64_C(100000000)
#define SECOND_NS UINT64_C(1000000000)
#define BAR_WIDTH 24

static atomic_bool bar_is_shown;
static volatile sig_atomic_t stopped;

static void say(const char *format, va_list args)
{
	char text[4096];

	vsnprintf(text, sizeof(text), format, args);
	fprintf(stderr, "%spcachectl: %s\n", atomic_load(&bar_is_shown) ? "\r\033[K" : "", text); /* (SA1) */
}

void ctl_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

int ctl_fail(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return status;
}

void ctl_log(enum pcache_log_level level, const char *message, void *arg)
{
	const char *path = arg;

	if (level <= PCACHE_LOG_WARNING)
		ctl_say("%s: %s", path, message);
}

/* ---- what to do next ---- */

static const struct {
	int error;
	const char *advice;
} ways_out[] = {
	{ EUCLEAN, "`pcachectl check` tells what is wrong; if this is the right file, `pcachectl repair` puts right what has a good copy" },
	{ EBADMSG, "`pcachectl check --data` tells where; `pcachectl export --salvage` saves all that is valid" },
	{ EMEDIUMTYPE, "name the backing that belongs to this cache (`pcachectl info` tells its size and id); --any-backing takes one "
		       "whose id has changed, or that has grown" },
	{ EBUSY, "another process has it open: end that first; `pcachectl stats` and `top` work meanwhile" },
	{ EPROTONOSUPPORT, "use the version of libpcache that wrote it, or a newer one" },
	{ EEXIST, "choose another name; `pcachectl info` tells what is there" },
	{ ENOTEMPTY, "`pcachectl drain` brings it to the backing; `pcachectl forget --discard-dirty` throws it away" },
	{ EROFS, "make the file, and the file system that it is on, writable" },
	{ EACCES, "run it as the owner of the file" },
	{ ENOSPC, "make room on the file system, or choose a smaller --size" },
	{ EIO, "look into the kernel's log for errors of the device; nothing in the cache is lost by trying again" },
	{ ETIMEDOUT, "the backing hangs: look after its device; what is dirty stays in the cache, run this again later" },
};

int ctl_refused(const char *path, int error)
{
	error = error < 0 ? -error : error;
	ctl_say("%s: %s", path, pcache_strerror(error));
	for (size_t i = 0; i < CTL_ARRAY_SIZE(ways_out); i++)
		if (ways_out[i].error == error)
			ctl_say("%s", ways_out[i].advice);
	return CTL_FAILED;
}

/* ---- progress ---- */

uint64_t ctl_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void ctl_progress_begin(struct ctl_progress *progress, const char *what)
{
	*progress = (struct ctl_progress){
		.what = what,
		.shown = isatty(STDERR_FILENO) || getenv("PCACHECTL_PROGRESS") != NULL,
		.begin_ns = ctl_now_ns(),
	};
}

static void draw(const struct ctl_progress *progress, uint64_t done, uint64_t total, uint64_t now_ns)
{
	double elapsed_s = (double)(now_ns - progress->begin_ns) / (double)SECOND_NS;
	double share = total == 0 ? 1 : (double)done / (double)total;
	uint64_t rate = elapsed_s > 0 ? (uint64_t)((double)done / elapsed_s) : 0;
	uint64_t eta_s = rate == 0 ? 0 : (total - done + rate - 1) / rate;
	char texts[3][CTL_HUMAN_BYTES];
	char bar[BAR_WIDTH + 1];

	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < (int)(share * BAR_WIDTH) ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	atomic_store(&bar_is_shown, true);
	fprintf(stderr, "\r%s %3.0f%% [%s] %s of %s  %s/s  ETA %" PRIu64 ":%02" PRIu64 "\033[K", progress->what, 100 * share,
		bar, ctl_human(CTL_TYPE_BYTES, done, texts[0]), ctl_human(CTL_TYPE_BYTES, total, texts[1]),
		ctl_human(CTL_TYPE_BYTES, rate, texts[2]), eta_s / 60, eta_s % 60);
}

void ctl_progress_update(struct ctl_progress *progress, uint64_t done_bytes, uint64_t total_bytes)
{
	uint64_t now_ns;

	if (!progress->shown)
		return;
	now_ns = ctl_now_ns();
	if (done_bytes > total_bytes)
		done_bytes = total_bytes;
	if (progress->drawn_ns != 0 && now_ns - progress->drawn_ns < REDRAW_NS && done_bytes < total_bytes)
		return;
	progress->drawn_ns = now_ns;
	draw(progress, done_bytes, total_bytes, now_ns);
}

void ctl_progress_end(struct ctl_progress *progress)
{
	if (progress->shown && atomic_exchange(&bar_is_shown, false))
		fputc('\n', stderr);
}

/* ---- Ctrl-C ---- */

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

void ctl_catch_stop(void)
{
	struct sigaction action = { .sa_handler = stop, .sa_flags = SA_RESTART };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool ctl_is_stopped(void)
{
	return stopped != 0;
}
