/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_media.c - a media in memory that knows what a power cut may leave of it: primitives, life, faults. The rules are
 * in sim_media.h, the pending stores in sim_pending.h, crash images in sim_crash.c.
 *
 * Lock: sim_media.lock, over everything but the view, which readers see through pc_media.base like any memory. Hooks
 * are called without it.
 */
#define _GNU_SOURCE 1

#include "sim_pending.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Primitives. */

/* Counts a call; the error if it is to fail. */
static int enter(struct sim_media *sim, enum sim_primitive primitive)
{
	struct fault *fault = &sim->fault;
	int error = 0;

	pthread_mutex_lock(&sim->lock);
	sim->calls++;
	if (fault->countdown > 0 && (fault->primitives & primitive) != 0 && --fault->countdown == 0) {
		error = fault->error;
		fault->has_fired = true;
		fault->countdown = fault->sticky ? 1 : 0;
	}
	if (primitive == SIM_SYNC && is_page(sim)) {
		if (sim->sync_error == 0)
			sim->sync_error = error;
		error = sim->sync_error;
	}
	pthread_mutex_unlock(&sim->lock);
	return error;
}

static void check_range(const struct sim_media *sim, uint64_t off, size_t len)
{
	if (!sim->is_open)
		complain("used after it was closed");
	if (off > sim->media.size_bytes || len > sim->media.size_bytes - off)
		complain("offset and length pass the end of the media");
}

static void heal_locked(struct sim_media *sim, uint64_t off, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < sim->poisoned_count; i++) {
		uint64_t line = sim->poisoned[i];

		if (line < off || line + LINE > off + len)
			sim->poisoned[kept++] = line;
	}
	sim->poisoned_count = kept;
}

static bool is_poisoned_locked(const struct sim_media *sim, uint64_t off, size_t len)
{
	for (size_t i = 0; i < sim->poisoned_count; i++) {
		if (sim->poisoned[i] < off + len && off < sim->poisoned[i] + LINE)
			return true;
	}
	return false;
}

/* data NULL: `byte` instead. */
static void store(struct sim_media *sim, uint64_t off, const void *data, int byte, size_t len, bool cached)
{
	pthread_mutex_lock(&sim->lock);
	if (data != NULL)
		memcpy(sim->view + off, data, len);
	else
		memset(sim->view + off, byte, len);
	if (sim->poisoned_count > 0)
		heal_locked(sim, off, len);
	for (uint64_t at = off; at < off + len;) {
		uint64_t piece = pc_min64(off + len - at, sim->unit_bytes - at % sim->unit_bytes);

		add_event_locked(sim, at, (uint32_t)piece, cached);
		at += piece;
	}
	pthread_mutex_unlock(&sim->lock);
}

/* The error of the store, if any; *len is cut to what is stored all the same. */
static int begin_store(struct sim_media *sim, enum sim_primitive primitive, uint64_t off, const void *data, size_t *len)
{
	int error;

	check_range(sim, off, *len);
	if (sim->media.readonly) {
		*len = 0;
		return -EROFS;
	}
	if (sim->hooks.store != NULL)
		sim->hooks.store(primitive, off, data, *len, sim->hooks.arg);
	error = enter(sim, primitive);
	if (error != 0)
		*len = is_page(sim) ? *len / 2 : 0;
	return error;
}

static int sim_copy(struct pc_media *media, uint64_t off, const void *source, size_t len, enum pc_copy_kind kind)
{
	struct sim_media *sim = sim_of(media);
	int error = begin_store(sim, SIM_COPY, off, source, &len);

	store(sim, off, source, 0, len, kind == PC_COPY_CACHED);
	return error;
}

static int sim_store8(struct pc_media *media, uint64_t off, uint64_t value)
{
	struct sim_media *sim = sim_of(media);
	size_t len = sizeof(value);
	int error;

	if (off % sizeof(value) != 0)
		complain("store8 is not aligned");
	error = begin_store(sim, SIM_STORE8, off, &value, &len);
	/* Eight bytes in the page cache are there or not, never halves. */
	if (len == sizeof(value))
		store(sim, off, &value, 0, len, true);
	return error;
}

static int sim_set(struct pc_media *media, uint64_t off, int byte, size_t len)
{
	struct sim_media *sim = sim_of(media);
	int error = begin_store(sim, SIM_SET, off, NULL, &len);

	store(sim, off, NULL, byte, len, true);
	return error;
}

static int sim_flush(struct pc_media *media, uint64_t off, size_t len)
{
	struct sim_media *sim = sim_of(media);
	uint64_t thread;
	int error;

	check_range(sim, off, len);
	error = enter(sim, SIM_FLUSH);
	if (error != 0 || len == 0)
		return error;
	pthread_mutex_lock(&sim->lock);
	thread = 1ull << thread_locked(sim);
	for (uint64_t i = off / sim->unit_bytes; i <= (off + len - 1) / sim->unit_bytes; i++) {
		if (sim->slot_of[i] == NO_UNIT)
			continue;
		/* The whole line as it is now, whoever stored it; streamed stores may not have come to the caches. */
		for (struct event *event = sim->pending[sim->slot_of[i] - 1].events; event != NULL; event = event->next)
			event->flushed_by |= thread;
	}
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

static int drain_or_sync(struct sim_media *sim, enum sim_primitive primitive)
{
	struct fold fold = { .cached_of_anybody = sim->media.granularity == PCACHE_GRANULARITY_BYTE };
	int error;

	check_range(sim, 0, 0);
	pthread_mutex_lock(&sim->lock);
	fold.before_seq = sim->next_seq;
	pthread_mutex_unlock(&sim->lock);
	if (sim->hooks.crash_point != NULL)
		sim->hooks.crash_point(primitive, sim->hooks.arg);
	error = enter(sim, primitive);
	if (error != 0 || (is_page(sim) && primitive == SIM_DRAIN))
		return error;
	pthread_mutex_lock(&sim->lock);
	fold.thread = thread_locked(sim);
	fold_locked(sim, &fold);
	pthread_mutex_unlock(&sim->lock);
	if (sim->hooks.drained != NULL)
		sim->hooks.drained(primitive, sim->hooks.arg);
	return 0;
}

static int sim_drain(struct pc_media *media)
{
	return drain_or_sync(sim_of(media), SIM_DRAIN);
}

static int sim_sync(struct pc_media *media)
{
	if (is_page(sim_of(media)))
		atomic_fetch_add(&media->syncs, 1);
	return drain_or_sync(sim_of(media), SIM_SYNC);
}

static int sim_read(struct pc_media *media, void *buf, uint64_t off, size_t len)
{
	struct sim_media *sim = sim_of(media);
	int error;

	check_range(sim, off, 0);
	if (sim->hooks.read != NULL)
		sim->hooks.read(sim->hooks.arg);
	error = enter(sim, SIM_READ);
	if (error != 0)
		return error;
	if (len > media->size_bytes - off)
		return -EIO;
	pthread_mutex_lock(&sim->lock);
	error = is_poisoned_locked(sim, off, len) ? -EIO : 0;
	if (error == 0)
		memcpy(buf, sim->view + off, len);
	pthread_mutex_unlock(&sim->lock);
	return error;
}

static void sim_close(struct pc_media *media)
{
	check_range(sim_of(media), 0, 0);
	sim_of(media)->is_open = false;
}

static const struct pc_media_ops sim_ops = {
	.copy = sim_copy,
	.store8 = sim_store8,
	.set = sim_set,
	.flush = sim_flush,
	.drain = sim_drain,
	.sync = sim_sync,
	.read = sim_read,
	.close = sim_close,
};

/* Life. */

/* The view twice: for us, and for everybody else, where a stray store is a fault. */
static bool map_view(struct sim_media *sim, uint64_t bytes)
{
	int fd = memfd_create("sim_media", MFD_CLOEXEC);
	void *writable;
	void *readable;

	if (fd < 0)
		return false;
	if (ftruncate(fd, (off_t)bytes) < 0) {
		close(fd);
		return false;
	}
	writable = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	readable = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	sim->view = writable != MAP_FAILED ? writable : NULL;
	sim->media.base = readable != MAP_FAILED ? readable : NULL;
	return sim->view != NULL && sim->media.base != NULL;
}

struct sim_media *sim_media_new(uint64_t bytes, enum pcache_granularity granularity)
{
	struct sim_media *sim = calloc(1, sizeof(*sim));

	if (sim == NULL)
		return NULL;
	if (bytes == 0 || bytes % PC_PAGE != 0)
		complain("size is not a multiple of the page size");
	sim->media.ops = &sim_ops;
	sim->media.size_bytes = bytes;
	sim->media.granularity = granularity;
	sim->unit_bytes = is_page(sim) ? PC_PAGE : LINE;
	pthread_mutex_init(&sim->lock, NULL);
	sim->durable = calloc(1, bytes);
	sim->slot_of = calloc(bytes / sim->unit_bytes, sizeof(*sim->slot_of));
	if (!set_init(&sim->view_changed, bytes / sim->unit_bytes) ||
	    !set_init(&sim->durable_changed, bytes / sim->unit_bytes) || sim->durable == NULL ||
	    sim->slot_of == NULL || !map_view(sim, bytes)) {
		sim_media_delete(sim);
		return NULL;
	}
	sim->durable_hash = range_hash(sim, 0, bytes);
	return sim;
}

void sim_media_delete(struct sim_media *sim)
{
	if (sim == NULL)
		return;
	drop_pending_locked(sim);
	while (sim->spare != NULL) {
		struct event *event = sim->spare;

		sim->spare = event->next;
		free(event);
	}
	if (sim->view != NULL)
		munmap(sim->view, sim->media.size_bytes);
	if (sim->media.base != NULL)
		munmap((void *)(uintptr_t)sim->media.base, sim->media.size_bytes);
	set_destroy(&sim->view_changed);
	set_destroy(&sim->durable_changed);
	pthread_mutex_destroy(&sim->lock);
	free(sim->durable);
	free(sim->slot_of);
	free(sim->pending);
	free(sim->poisoned);
	free(sim);
}

struct pc_media *sim_media_open(struct sim_media *sim, bool readonly)
{
	uint64_t head = pc_min64(sim->media.size_bytes, PC_MEDIA_BLANK_BYTES);

	if (sim->is_open)
		complain("opened twice");
	sim->is_open = true;
	sim->sync_error = 0;
	sim->media.readonly = readonly;
	sim->media.syncs = 0;
	sim->media.blank = sim->view[0] == 0 && memcmp(sim->view, sim->view + 1, head - 1) == 0;
	return &sim->media;
}

bool sim_media_is_open(const struct sim_media *sim)
{
	return sim->is_open;
}

uint64_t sim_media_bytes(const struct sim_media *sim)
{
	return sim->media.size_bytes;
}

const uint8_t *sim_media_view(const struct sim_media *sim)
{
	return sim->media.base;
}

const uint8_t *sim_media_durable(const struct sim_media *sim)
{
	return sim->durable;
}

void sim_media_reset_to(struct sim_media *sim, const uint8_t *image)
{
	pthread_mutex_lock(&sim->lock);
	reset_locked(sim, image);
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_settle(struct sim_media *sim)
{
	const struct fold fold = { .all = true };

	pthread_mutex_lock(&sim->lock);
	fold_locked(sim, &fold);
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_kill(struct sim_media *sim)
{
	if (sim->media.granularity == PCACHE_GRANULARITY_BYTE)
		sim_media_settle(sim);
	pthread_mutex_lock(&sim->lock);
	for (size_t i = 0; i < sim->pending_count && !is_page(sim); i++) {
		for (struct event *event = sim->pending[i].events; event != NULL; event = event->next) {
			event->cached = true;
			event->flushed_by = 0;
		}
	}
	sim->is_open = false;
	pthread_mutex_unlock(&sim->lock);
}

size_t sim_media_pending(struct sim_media *sim)
{
	size_t count;

	pthread_mutex_lock(&sim->lock);
	count = sim->pending_count;
	pthread_mutex_unlock(&sim->lock);
	return count;
}

bool sim_media_is_pending(struct sim_media *sim, uint64_t off, size_t len)
{
	bool found = false;

	pthread_mutex_lock(&sim->lock);
	for (uint64_t i = off / sim->unit_bytes; len > 0 && i <= (off + len - 1) / sim->unit_bytes && !found; i++)
		found = sim->slot_of[i] != NO_UNIT;
	pthread_mutex_unlock(&sim->lock);
	return found;
}

/* Observers and faults. */

void sim_media_hook(struct sim_media *sim, const struct sim_hooks *hooks)
{
	sim->hooks = hooks != NULL ? *hooks : (struct sim_hooks){ 0 };
}

uint64_t sim_media_calls(struct sim_media *sim)
{
	uint64_t calls;

	pthread_mutex_lock(&sim->lock);
	calls = sim->calls;
	pthread_mutex_unlock(&sim->lock);
	return calls;
}

void sim_media_fail(struct sim_media *sim, unsigned primitives, uint64_t nth, int error, bool sticky)
{
	pthread_mutex_lock(&sim->lock);
	sim->fault = (struct fault){ .primitives = primitives, .countdown = nth, .error = error, .sticky = sticky };
	pthread_mutex_unlock(&sim->lock);
}

bool sim_media_has_failed(struct sim_media *sim)
{
	bool has_fired;

	pthread_mutex_lock(&sim->lock);
	has_fired = sim->fault.has_fired;
	pthread_mutex_unlock(&sim->lock);
	return has_fired;
}

/* Nothing pending in the unit, so that view and durable image can be changed together. */
static void settle_unit_locked(struct sim_media *sim, uint64_t unit)
{
	const struct fold fold = { .all = true };

	if (sim->slot_of[unit] == NO_UNIT)
		return;
	fold_unit_locked(sim, &sim->pending[sim->slot_of[unit] - 1], &fold);
	remove_unit_locked(sim, sim->slot_of[unit] - 1);
}

void sim_media_poison(struct sim_media *sim, uint64_t off)
{
	uint64_t line = pc_align_down(off, LINE);

	pthread_mutex_lock(&sim->lock);
	settle_unit_locked(sim, line / sim->unit_bytes);
	begin_change_locked(sim, line / sim->unit_bytes);
	memset(sim->view + line, POISON_BYTE, LINE);
	memset(sim->durable + line, POISON_BYTE, LINE);
	end_change_locked(sim, line / sim->unit_bytes);
	if (!is_poisoned_locked(sim, line, LINE)) {
		sim->poisoned = realloc(sim->poisoned, (sim->poisoned_count + 1) * sizeof(*sim->poisoned));
		if (sim->poisoned == NULL)
			complain("no memory");
		sim->poisoned[sim->poisoned_count++] = line;
	}
	pthread_mutex_unlock(&sim->lock);
}

void sim_media_flip(struct sim_media *sim, uint64_t off, uint8_t bits)
{
	pthread_mutex_lock(&sim->lock);
	settle_unit_locked(sim, off / sim->unit_bytes);
	begin_change_locked(sim, off / sim->unit_bytes);
	sim->view[off] ^= bits;
	sim->durable[off] ^= bits;
	end_change_locked(sim, off / sim->unit_bytes);
	pthread_mutex_unlock(&sim->lock);
}
