/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim_backing.c - a backing in memory that knows what a power cut may leave of it. See sim_backing.h for the rules.
 *
 * `owed` tells per sector which submission was the last one to touch it, until exactly that one is durable. So a
 * write that failed or was lost by a failed sync is not forgotten by a later sync that succeeds.
 */
#include "sim_backing.h"

#include "crc32c.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static struct sim_backing *sim_of(struct pc_backing *backing)
{
	return (struct sim_backing *)backing;
}

static size_t sectors(const struct sim_backing *sim)
{
	return (size_t)(pc_align_up(sim->base.size_bytes, SIM_SECTOR) / SIM_SECTOR);
}

/* The error of a fault that comes true with this operation, or 0. */
static int fault_locked(struct sim_backing *sim, enum sim_backing_fault kind)
{
	struct sim_fault *fault = &sim->faults[kind];

	if (fault->left == 0 || --fault->left > 0)
		return 0;
	if (fault->sticky)
		fault->left = 1;
	sim->counts.faults++;
	return fault->error;
}

static void wait_while_stalled_locked(struct sim_backing *sim)
{
	sim->waiting++;
	while (sim->stalled)
		pthread_cond_wait(&sim->wake, &sim->lock);
	sim->waiting--;
}

static void touch_locked(struct sim_backing *sim, uint64_t off)
{
	size_t sector = (size_t)(off / SIM_SECTOR);

	if (sim->touched[sector])
		return;
	sim->touched[sector] = true;
	sim->touched_list[sim->touched_count++] = sector;
}

/* ---- pieces ---- */

static void piece_add_locked(struct sim_backing *sim, uint64_t off, const uint8_t *data, size_t len)
{
	struct sim_stored_piece *piece;
	uint64_t *owed = &sim->owed[off / SIM_SECTOR];

	if (sim->piece_count == sim->piece_room) {
		sim->piece_room = sim->piece_room * 2 + 64;
		sim->pieces = realloc(sim->pieces, sim->piece_room * sizeof(*sim->pieces));
		assert(sim->pieces != NULL);
	}
	piece = &sim->pieces[sim->piece_count++];
	*piece = (struct sim_stored_piece){ .off = off, .write = sim->writes_submitted, .len = len };
	memcpy(piece->data, data, len);
	touch_locked(sim, off);
	sim->owed_count += *owed == 0;
	*owed = piece->write;
}

static void pieces_cut_locked(struct sim_backing *sim, uint64_t off, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		uint64_t from = off + done;
		size_t part = (size_t)pc_min64(len - done, SIM_SECTOR - from % SIM_SECTOR);

		piece_add_locked(sim, from, data + done, part);
		done += part;
	}
}

/* Takes out the pieces whose length was set to 0. */
static void pieces_drop_locked(struct sim_backing *sim)
{
	size_t kept = 0;

	for (size_t i = 0; i < sim->piece_count; i++) {
		if (sim->pieces[i].len == 0)
			continue;
		if (kept != i)
			sim->pieces[kept] = sim->pieces[i];
		kept++;
	}
	sim->piece_count = kept;
}

static void piece_written_locked(struct sim_backing *sim, struct sim_stored_piece *piece)
{
	piece->written_at = sim->clock;
	memcpy(sim->now + piece->off, piece->data, piece->len);
}

static void owes_no_more_locked(struct sim_backing *sim, const struct sim_stored_piece *piece)
{
	uint64_t *owed = &sim->owed[piece->off / SIM_SECTOR];

	if (*owed != piece->write)
		return;
	*owed = 0;
	sim->owed_count--;
}

static void piece_durable_locked(struct sim_backing *sim, struct sim_stored_piece *piece)
{
	memcpy(sim->durable + piece->off, piece->data, piece->len);
	owes_no_more_locked(sim, piece);
	piece->len = 0;
}

static int by_completion(const void *a, const void *b)
{
	const struct sim_stored_piece *first = *(struct sim_stored_piece *const *)a;
	const struct sim_stored_piece *second = *(struct sim_stored_piece *const *)b;

	if (first->written_at != second->written_at)
		return first->written_at < second->written_at ? -1 : 1;
	return (first > second) - (first < second);
}

/* What completed up to then, in the order of completion: the caller frees it. */
static struct sim_stored_piece **pieces_written_locked(struct sim_backing *sim, uint64_t until, size_t *ret_count)
{
	struct sim_stored_piece **written = calloc(sim->piece_count + 1, sizeof(*written));
	size_t count = 0;

	assert(written != NULL);
	for (size_t i = 0; i < sim->piece_count; i++) {
		if (sim->pieces[i].written_at > 0 && sim->pieces[i].written_at <= until)
			written[count++] = &sim->pieces[i];
	}
	qsort(written, count, sizeof(struct sim_stored_piece *), by_completion);
	*ret_count = count;
	return written;
}

/* (SB2), (SB3) */
static void sync_pieces_locked(struct sim_backing *sim, uint64_t until, bool failed)
{
	size_t count = 0;
	PC_FREE struct sim_stored_piece **written = pieces_written_locked(sim, until, &count);

	for (size_t i = 0; i < count; i++) {
		if (!failed)
			piece_durable_locked(sim, written[i]);
		else if (i % 2 == 0)
			written[i]->len = 0;
	}
	pieces_drop_locked(sim);
}

/* ---- operations ---- */

static int check_locked(struct sim_backing *sim, const struct pc_io *io)
{
	uint64_t align = sim->base.align_bytes;
	uint64_t from = io->off + io->done;
	size_t len = io->len - io->done;

	if (from > sim->base.size_bytes || len > sim->base.size_bytes - from) {
		sim->counts.past_the_end++;
		return -EINVAL;
	}
	if (from % align != 0 || (uintptr_t)(io->buf + io->done) % align != 0 ||
	    (len % align != 0 && from + len != sim->base.size_bytes)) {
		sim->counts.misaligned++;
		return -EINVAL;
	}
	return 0;
}

static int submit(struct sim_backing *sim, struct pc_io **ios, unsigned count)
{
	SIM_BACKING_HOLD(sim);
	int error = fault_locked(sim, SIM_SUBMIT_FAILS);

	sim->counts.submits++;
	if (error != 0)
		return error;
	for (unsigned i = 0; i < count; i++) {
		struct sim_flight *flight = &sim->flights[sim->flight_count];

		error = check_locked(sim, ios[i]);
		if (error != 0)
			return i > 0 ? (int)i : error;
		assert(sim->flight_count < sim->base.queue_depth);
		*flight = (struct sim_flight){ .io = ios[i] };
		if (ios[i]->op == PC_IO_WRITE) {
			flight->write = ++sim->writes_submitted;
			pieces_cut_locked(sim, ios[i]->off + ios[i]->done, ios[i]->buf + ios[i]->done,
					  ios[i]->len - ios[i]->done);
		}
		sim->flight_count++;
	}
	return (int)count;
}

static int sim_submit(struct pc_backing *backing, struct pc_io **ios, unsigned count)
{
	struct sim_backing *sim = sim_of(backing);

	if (sim->submit_hook != NULL)
		sim->submit_hook(sim->hook_arg);
	return submit(sim, ios, count);
}

/* How much of a write the faults leave: bytes, or an error. */
static int64_t write_result_locked(struct sim_backing *sim, const struct pc_io *io)
{
	size_t len = io->len - io->done;
	int error = fault_locked(sim, SIM_WRITE_FAILS);

	if (error != 0)
		return error;
	if (fault_locked(sim, SIM_WRITE_IS_SHORT) == 0)
		return (int64_t)len;
	return (int64_t)(len / 2 >= SIM_SECTOR ? pc_align_down(len / 2, SIM_SECTOR) : len / 2);
}

/* (SB4) in case of an error. A short write ends inside a piece or between two. */
static void end_write_locked(struct sim_backing *sim, const struct sim_flight *flight, int64_t result)
{
	const struct pc_io *io = flight->io;
	uint64_t start = io->off + io->done;
	uint64_t end = result < 0 ? start + io->len : start + (uint64_t)result;
	unsigned nth = 0;

	sim->clock++;
	for (size_t i = 0; i < sim->piece_count; i++) {
		struct sim_stored_piece *piece = &sim->pieces[i];

		if (piece->write != flight->write)
			continue;
		sim->counts.changed_in_flight += memcmp(piece->data, io->buf + (piece->off - io->off), piece->len) != 0;
		if (piece->off >= end || (result < 0 && nth++ % 2 != 0)) {
			piece->len = 0;
			continue;
		}
		piece->len = (size_t)pc_min64(piece->len, end - piece->off);
		piece_written_locked(sim, piece);
	}
	pieces_drop_locked(sim);
	if (result < 0)
		return;
	sim->counts.writes++;
	sim->counts.write_bytes += (uint64_t)result;
}

static int64_t end_read_locked(struct sim_backing *sim, const struct pc_io *io)
{
	size_t len = io->len - io->done;
	int error = fault_locked(sim, SIM_READ_FAILS);

	sim->counts.reads++;
	if (error != 0)
		return error;
	memcpy(io->buf + io->done, sim->now + io->off + io->done, len);
	return (int64_t)len;
}

static uint64_t random_below_locked(struct sim_backing *sim, uint64_t limit)
{
	sim->random_state ^= sim->random_state << 13;
	sim->random_state ^= sim->random_state >> 7;
	sim->random_state ^= sim->random_state << 17;
	return sim->random_state % limit;
}

static struct sim_flight take_flight_locked(struct sim_backing *sim)
{
	unsigned i = sim->random_state != 0 ? (unsigned)random_below_locked(sim, sim->flight_count) : 0;
	struct sim_flight flight = sim->flights[i];

	sim->flight_count--;
	memmove(&sim->flights[i], &sim->flights[i + 1], (sim->flight_count - i) * sizeof(flight));
	return flight;
}

static void lose_queue_locked(struct sim_backing *sim, int error)
{
	while (sim->flight_count > 0) {
		struct sim_flight flight = take_flight_locked(sim);

		if (flight.write != 0)
			end_write_locked(sim, &flight, error);
	}
}

static int sim_reap(struct pc_backing *backing, struct pc_io **ret_done, unsigned max)
{
	struct sim_backing *sim = sim_of(backing);
	SIM_BACKING_HOLD(sim);
	unsigned count;
	int error;

	wait_while_stalled_locked(sim);
	assert(sim->flight_count > 0 && max > 0);
	error = fault_locked(sim, SIM_REAP_FAILS);
	if (error != 0 && error != -EINTR)
		lose_queue_locked(sim, error);
	if (error != 0)
		return error;
	count = (unsigned)pc_min64(max, sim->flight_count);
	if (sim->random_state != 0)
		count = 1 + (unsigned)random_below_locked(sim, count);
	for (unsigned i = 0; i < count; i++) {
		struct sim_flight flight = take_flight_locked(sim);
		struct pc_io *io = flight.io;

		if (flight.write != 0) {
			io->result = write_result_locked(sim, io);
			end_write_locked(sim, &flight, io->result);
		} else {
			io->result = end_read_locked(sim, io);
		}
		ret_done[i] = io;
	}
	return (int)count;
}

static int64_t sim_read(struct pc_backing *backing, void *buf, uint64_t off, size_t len)
{
	struct sim_backing *sim = sim_of(backing);
	SIM_BACKING_HOLD(sim);
	int error;

	wait_while_stalled_locked(sim);
	sim->counts.reads++;
	error = fault_locked(sim, SIM_READ_FAILS);
	if (error != 0)
		return error;
	if (off >= sim->base.size_bytes)
		return 0;
	len = (size_t)pc_min64(len, sim->base.size_bytes - off);
	memcpy(buf, sim->now + off, len);
	return (int64_t)len;
}

static int64_t sim_write(struct pc_backing *backing, const void *buf, uint64_t off, size_t len)
{
	struct sim_backing *sim = sim_of(backing);
	SIM_BACKING_HOLD(sim);
	struct pc_io io = { .op = PC_IO_WRITE, .off = off, .buf = (uint8_t *)(uintptr_t)buf, .len = len };
	const struct sim_flight flight = { .io = &io, .write = ++sim->writes_submitted };

	wait_while_stalled_locked(sim);
	if (check_locked(sim, &io) < 0)
		return -EINVAL;
	pieces_cut_locked(sim, off, buf, len);
	io.result = write_result_locked(sim, &io);
	end_write_locked(sim, &flight, io.result);
	return io.result;
}

/* (SB4), (SB5) */
static void zero_pieces_locked(struct sim_backing *sim, uint64_t off, uint64_t len, bool failed)
{
	uint8_t zeroes[SIM_SECTOR] = { 0 };
	unsigned nth = 0;

	sim->writes_submitted++;
	sim->clock++;
	for (uint64_t done = 0; done < len; done += SIM_SECTOR)
		pieces_cut_locked(sim, off + done, zeroes, (size_t)pc_min64(len - done, SIM_SECTOR));
	for (size_t i = 0; i < sim->piece_count; i++) {
		struct sim_stored_piece *piece = &sim->pieces[i];

		if (piece->write != sim->writes_submitted)
			continue;
		if (failed && nth++ % 2 != 0)
			piece->len = 0;
		else
			piece_written_locked(sim, piece);
	}
	pieces_drop_locked(sim);
}

static int zero(struct sim_backing *sim, uint64_t off, uint64_t len, bool punch)
{
	SIM_BACKING_HOLD(sim);
	int error = punch ? sim->punch_refused : sim->zero_refused;

	wait_while_stalled_locked(sim);
	if (error != 0)
		return error;
	if (off > sim->base.size_bytes || len > sim->base.size_bytes - off) {
		sim->counts.past_the_end++;
		return -EIO;
	}
	if ((off | len) % pc_max64(sim->base.align_bytes, SIM_SECTOR) != 0) {
		sim->counts.misaligned++;
		return -EIO;
	}
	error = fault_locked(sim, SIM_ZERO_FAILS);
	zero_pieces_locked(sim, off, len, error != 0);
	if (error != 0)
		return error;
	sim->counts.zeroes++;
	sim->counts.punches += punch;
	sim->counts.zero_bytes += len;
	return 0;
}

static int sim_zero(struct pc_backing *backing, uint64_t off, uint64_t len, bool punch)
{
	struct sim_backing *sim = sim_of(backing);

	if (sim->submit_hook != NULL)
		sim->submit_hook(sim->hook_arg);
	return zero(sim, off, len, punch);
}

static uint64_t sync_begin(struct sim_backing *sim)
{
	SIM_BACKING_HOLD(sim);

	sim->counts.syncs++;
	return sim->clock;
}

static int sync_end(struct sim_backing *sim, uint64_t until)
{
	SIM_BACKING_HOLD(sim);
	int error;

	wait_while_stalled_locked(sim);
	error = fault_locked(sim, SIM_SYNC_FAILS);
	sim->counts.syncs_failed += error != 0;
	sync_pieces_locked(sim, until, error != 0);
	return error;
}

static int sim_sync(struct pc_backing *backing)
{
	struct sim_backing *sim = sim_of(backing);
	uint64_t until = sync_begin(sim);
	int result;

	if (sim->hook != NULL)
		sim->hook(sim->hook_arg, SIM_SYNC_BEFORE, 0);
	result = sync_end(sim, until);
	if (sim->hook != NULL)
		sim->hook(sim->hook_arg, SIM_SYNC_AFTER, result);
	return result;
}

static void sim_close(struct pc_backing *backing)
{
	struct sim_backing *sim = sim_of(backing);
	SIM_BACKING_HOLD(sim);

	sim->counts.closes++;
	sim->counts.closed_in_flight += sim->flight_count > 0;
}

static const struct pc_backing_ops sim_ops = {
	.submit = sim_submit,
	.reap = sim_reap,
	.read = sim_read,
	.write = sim_write,
	.sync = sim_sync,
	.zero = sim_zero,
	.close = sim_close,
};

/* ---- life ---- */

int sim_backing_new(uint64_t size_bytes, uint32_t align_bytes, struct sim_backing **ret_sim)
{
	struct sim_backing *sim = calloc(1, sizeof(*sim));

	if (sim == NULL)
		return -ENOMEM;
	sim->base = (struct pc_backing){
		.ops = &sim_ops, .size_bytes = size_bytes, .align_bytes = align_bytes, .queue_depth = 32,
	};
	pthread_mutex_init(&sim->lock, NULL);
	pthread_cond_init(&sim->wake, NULL);
	sim->now = calloc(1, size_bytes + 1);
	sim->durable = calloc(1, size_bytes + 1);
	sim->owed = calloc(sectors(sim) + 1, sizeof(*sim->owed));
	sim->touched = calloc(sectors(sim) + 1, sizeof(*sim->touched));
	sim->touched_list = calloc(sectors(sim) + 1, sizeof(*sim->touched_list));
	if (sim->now == NULL || sim->durable == NULL || sim->owed == NULL || sim->touched == NULL ||
	    sim->touched_list == NULL) {
		sim_backing_free(sim);
		return -ENOMEM;
	}
	*ret_sim = sim;
	return 0;
}

void sim_backing_free(struct sim_backing *sim)
{
	if (sim == NULL)
		return;
	pthread_cond_destroy(&sim->wake);
	pthread_mutex_destroy(&sim->lock);
	free(sim->now);
	free(sim->durable);
	free(sim->owed);
	free(sim->touched);
	free(sim->touched_list);
	free(sim->pieces);
	free(sim);
}

static void forget_locked(struct sim_backing *sim)
{
	assert(sim->flight_count == 0);
	sim->piece_count = 0;
	sim->owed_count = 0;
	sim->counts = (struct sim_backing_counts){ 0 };
	memset(sim->faults, 0, sizeof(sim->faults));
	for (size_t i = 0; i < sim->touched_count; i++) {
		sim->owed[sim->touched_list[i]] = 0;
		sim->touched[sim->touched_list[i]] = false;
	}
	sim->touched_count = 0;
}

void sim_backing_reset_to(struct sim_backing *sim, const uint8_t *image)
{
	SIM_BACKING_HOLD(sim);

	forget_locked(sim);
	memcpy(sim->now, image, sim->base.size_bytes);
	memcpy(sim->durable, image, sim->base.size_bytes);
}

void sim_backing_restore(struct sim_backing *sim, const uint8_t *image)
{
	SIM_BACKING_HOLD(sim);

	for (size_t i = 0; i < sim->touched_count; i++) {
		uint64_t off = sim->touched_list[i] * SIM_SECTOR;
		size_t len = (size_t)pc_min64(SIM_SECTOR, sim->base.size_bytes - off);

		memcpy(sim->now + off, image + off, len);
		memcpy(sim->durable + off, image + off, len);
	}
	forget_locked(sim);
}

void sim_backing_patch(struct sim_backing *sim, uint64_t off, const uint8_t *data, size_t len)
{
	SIM_BACKING_HOLD(sim);

	assert(off <= sim->base.size_bytes && len <= sim->base.size_bytes - off);
	memcpy(sim->now + off, data, len);
	memcpy(sim->durable + off, data, len);
	for (uint64_t at = pc_align_down(off, SIM_SECTOR); at < off + len; at += SIM_SECTOR)
		touch_locked(sim, at);
}

/* ---- what is there, and what may be left ---- */

size_t sim_backing_pending(struct sim_backing *sim)
{
	SIM_BACKING_HOLD(sim);

	return sim->piece_count;
}

static struct sim_piece view(const struct sim_stored_piece *piece)
{
	return (struct sim_piece){
		.off = piece->off, .len = piece->len, .write = piece->write, .in_flight = piece->written_at == 0,
		.data = piece->data,
	};
}

struct sim_piece sim_backing_piece(struct sim_backing *sim, size_t i)
{
	SIM_BACKING_HOLD(sim);

	assert(i < sim->piece_count);
	return view(&sim->pieces[i]);
}

struct sim_backing_counts sim_backing_counts(struct sim_backing *sim)
{
	SIM_BACKING_HOLD(sim);

	return sim->counts;
}

/* Two partial writes of one sector share one `owed`, so the images are compared too. */
bool sim_backing_all_synced(struct sim_backing *sim)
{
	SIM_BACKING_HOLD(sim);

	return sim->piece_count == 0 && sim->owed_count == 0 &&
	       memcmp(sim->now, sim->durable, sim->base.size_bytes) == 0;
}

void sim_backing_crash_image(struct sim_backing *sim, uint8_t *ret_image, sim_keep_fn keep, void *arg)
{
	SIM_BACKING_HOLD(sim);

	memcpy(ret_image, sim->durable, sim->base.size_bytes);
	for (size_t i = 0; keep != NULL && i < sim->piece_count; i++) {
		struct sim_piece piece = view(&sim->pieces[i]);

		if (keep(arg, i, &piece))
			memcpy(ret_image + piece.off, piece.data, piece.len);
	}
}

void sim_backing_crash_image_of(struct sim_backing *sim, uint8_t *ret_image, const size_t *pieces, size_t count)
{
	SIM_BACKING_HOLD(sim);

	memcpy(ret_image, sim->durable, sim->base.size_bytes);
	for (size_t i = 0; i < count; i++) {
		const struct sim_stored_piece *piece = &sim->pieces[pieces[i]];

		assert(pieces[i] < sim->piece_count);
		memcpy(ret_image + piece->off, piece->data, piece->len);
	}
}

uint64_t sim_backing_crash_into(struct sim_backing *sim, sim_keep_fn keep, void *arg, struct sim_backing *target)
{
	uint64_t hash;

	assert(sim->base.size_bytes == target->base.size_bytes);
	sim_backing_crash_image(sim, target->durable, keep, arg);
	{
		SIM_BACKING_HOLD(target);

		forget_locked(target);
		memcpy(target->now, target->durable, target->base.size_bytes);
		hash = pc_crc32c(0, target->now, target->base.size_bytes);
	}
	return hash * 0x9e3779b97f4a7c15u;
}

static void copy_locked(struct sim_backing *sim, const struct sim_backing *source)
{
	struct sim_stored_piece *pieces = realloc(sim->pieces, (source->piece_count + 1) * sizeof(*pieces));

	assert(pieces != NULL && sim->base.size_bytes == source->base.size_bytes);
	sim->pieces = pieces;
	sim->piece_room = source->piece_count + 1;
	sim->piece_count = source->piece_count;
	if (source->piece_count > 0)
		memcpy(sim->pieces, source->pieces, source->piece_count * sizeof(*pieces));
	memcpy(sim->now, source->now, source->base.size_bytes);
	memcpy(sim->durable, source->durable, source->base.size_bytes);
	memcpy(sim->owed, source->owed, sectors(source) * sizeof(*sim->owed));
	sim->owed_count = source->owed_count;
	sim->clock = source->clock;
	sim->writes_submitted = source->writes_submitted;
	for (size_t i = 0; i < sectors(sim); i++)
		touch_locked(sim, i * SIM_SECTOR);
}

void sim_backing_kill_into(struct sim_backing *sim, struct sim_backing *source, sim_keep_fn keep, void *arg)
{
	SIM_BACKING_HOLD(source);

	forget_locked(sim);
	copy_locked(sim, source);
	for (size_t i = 0; i < sim->piece_count; i++) {
		struct sim_stored_piece *piece = &sim->pieces[i];
		struct sim_piece shown = view(piece);

		if (!shown.in_flight)
			continue;
		sim->clock++;
		if (keep != NULL && keep(arg, i, &shown)) {
			piece_written_locked(sim, piece);
		} else {
			owes_no_more_locked(sim, piece);
			piece->len = 0;
		}
	}
	pieces_drop_locked(sim);
}
