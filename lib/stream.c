/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.c - append points.
 *
 * (S1) A reservation is one compare-and-swap on `room`: lines and data units move together, so data order equals line
 *      order.
 * (S2) The segment is found from the word that was swapped, never from an older look: a thread that was stalled
 *      between look and swap cannot land in a segment that has been recycled meanwhile.
 * (S3) No lock is held between reserve and commit. rotate_lock (rank PC_RANK_ROTATE) is for rotation only.
 * (S4) `done` is read before the word that it is compared with. When both agree, every line under it is done: lines
 *      that were reserved later cannot have been counted in place of one that is missing.
 * (S5) Of the closer of a segment and its last writer at least one sees that all is done: the closer sets the bit,
 *      then reads `done`; the writer adds to `done`, then reads the bit.
 */
#include "stream.h"

#include <errno.h>
#include <string.h>

int pc_stream_init(struct pc_stream *stream, uint32_t segment_count, uint32_t room_total, bool commit_is_durable)
{
	/* Sequence numbers in use at once span at most segment_count; one more may be on its way. */
	uint64_t ring_size = pc_power_of_two_above((uint64_t)segment_count + 1);
	size_t progress_bytes = segment_count * sizeof(struct pc_progress);

	stream->segment_of = calloc(ring_size, sizeof(*stream->segment_of));
	stream->progress = aligned_alloc(PC_CACHE_LINE, progress_bytes);
	if (stream->segment_of == NULL || stream->progress == NULL) {
		free(stream->segment_of);
		free(stream->progress);
		stream->segment_of = NULL;
		return -ENOMEM;
	}
	memset(stream->progress, 0, progress_bytes);
	stream->ring_mask = ring_size - 1;
	stream->room_total = room_total;
	stream->commit_is_durable = commit_is_durable;
	atomic_init(&stream->room, PC_ROOM_CLOSED);
	pthread_mutex_init(&stream->rotate_lock, NULL);
	return 0;
}

void pc_stream_destroy(struct pc_stream *stream)
{
	if (stream->segment_of == NULL)
		return;
	free(stream->segment_of);
	free(stream->progress);
	stream->segment_of = NULL;
	pthread_mutex_destroy(&stream->rotate_lock);
}

static struct pc_progress *progress_at(const struct pc_stream *stream, uint64_t room)
{
	return &stream->progress[pc_stream_segment(stream, pc_room_seq(room))];
}

static bool fits(const struct pc_stream *stream, uint64_t room, uint32_t lines, uint32_t units)
{
	return !pc_room_is_closed(room) &&
	       (uint64_t)pc_room_lines(room) + pc_room_units(room) + lines + units <= stream->room_total;
}

/* What may be called durable under the line where `room` was swapped; `done` was read before that (S4). */
static uint32_t durable_below(struct pc_stream *stream, struct pc_progress *progress, uint64_t room, uint32_t done)
{
	uint32_t known;

	if (stream->commit_is_durable && done == pc_room_lines(room)) {
		/* Another writer may put a lower exact value over a higher one: still true, only less sharp. */
		atomic_store_explicit(&progress->durable, pc_room(pc_room_seq(room), done, 0, false),
				      memory_order_relaxed);
		return done;
	}
	known = pc_room_lines(atomic_load_explicit(&progress->durable, memory_order_relaxed));
	return (uint32_t)pc_min64(known, pc_room_lines(room));
}

bool pc_stream_reserve(struct pc_stream *stream, uint32_t lines, uint32_t units, struct pc_reservation *ret,
		       uint64_t *ret_room)
{
	uint64_t taken = (uint64_t)lines << PC_ROOM_UNITS_BITS | units;
	uint64_t room = atomic_load_explicit(&stream->room, memory_order_acquire);
	struct pc_progress *progress;
	uint32_t done;

	do {
		if (!fits(stream, room, lines, units)) {
			*ret_room = room;
			return false;
		}
		/* A stale look is harmless: the swap below fails then. */
		progress = progress_at(stream, room);
		done = atomic_load_explicit(&progress->done, memory_order_acquire);
		/* order: in one total order with a look for holds (HD2) */
	} while (!atomic_compare_exchange_weak_explicit(&stream->room, &room, room + taken, memory_order_seq_cst,
							 memory_order_acquire));
	*ret = (struct pc_reservation){
		.segment = pc_stream_segment(stream, pc_room_seq(room)), /* (S2) */
		.seq_low = (uint32_t)pc_room_seq(room),
		.line = pc_room_lines(room),
		.lines = lines,
		.unit = pc_room_units(room),
		.units = units,
		.durable_below = durable_below(stream, progress, room, done),
	};
	return true;
}

bool pc_stream_commit(struct pc_stream *stream, const struct pc_reservation *reservation, uint32_t *ret_lines)
{
	struct pc_progress *progress = &stream->progress[reservation->segment];
	uint32_t done = atomic_fetch_add_explicit(&progress->done, reservation->lines, memory_order_seq_cst) +
			reservation->lines;
	uint64_t room = pc_stream_room(stream);

	if (pc_room_seq(room) != reservation->seq_low)
		room = pc_stream_last_room(stream, reservation->segment);
	/* Once counted, the segment may already live another life: then somebody else sealed this one. */
	if (pc_room_seq(room) != reservation->seq_low || !pc_room_is_closed(room) || pc_room_lines(room) != done)
		return false;
	*ret_lines = done;
	return true;
}

void pc_stream_adopt(struct pc_stream *stream, uint64_t seq, uint32_t segment, uint32_t lines, uint32_t units)
{
	struct pc_progress *progress = &stream->progress[segment];
	uint64_t room = pc_room(seq, lines, units, true);

	atomic_store_explicit(&progress->done, lines, memory_order_relaxed);
	atomic_store_explicit(&progress->durable, room, memory_order_relaxed);
	atomic_store_explicit(&progress->last_room, room, memory_order_relaxed);
	__atomic_store_n(&stream->segment_of[seq & stream->ring_mask], segment, __ATOMIC_RELEASE);
	atomic_store_explicit(&stream->room, room, memory_order_release);
}

bool pc_stream_close_segment(struct pc_stream *stream, uint32_t *ret_lines)
{
	uint64_t room = atomic_fetch_or_explicit(&stream->room, PC_ROOM_CLOSED, memory_order_seq_cst) | PC_ROOM_CLOSED;
	struct pc_progress *progress = progress_at(stream, room);

	atomic_store_explicit(&progress->last_room, room, memory_order_release);
	*ret_lines = pc_room_lines(room);
	return atomic_load_explicit(&progress->done, memory_order_seq_cst) == *ret_lines;
}

void pc_stream_open_segment(struct pc_stream *stream, uint64_t seq, uint32_t segment)
{
	struct pc_progress *progress = &stream->progress[segment];

	atomic_store_explicit(&progress->done, 0, memory_order_relaxed);
	atomic_store_explicit(&progress->durable, pc_room(seq, 0, 0, false), memory_order_relaxed);
	atomic_store_explicit(&progress->last_room, 0, memory_order_relaxed);
	__atomic_store_n(&stream->segment_of[seq & stream->ring_mask], segment, __ATOMIC_RELEASE);
	atomic_store_explicit(&stream->room, pc_room(seq, 0, 0, false), memory_order_seq_cst);
}

bool pc_stream_is_quiet(const struct pc_stream *stream, uint64_t *ret_room)
{
	uint64_t before = pc_stream_room(stream);
	uint32_t done = atomic_load_explicit(&progress_at(stream, before)->done, memory_order_seq_cst);
	uint64_t room = pc_stream_room(stream);

	*ret_room = room;
	return pc_room_seq(room) == pc_room_seq(before) && pc_room_lines(room) == done; /* (S4) */
}

void pc_stream_set_durable(struct pc_stream *stream, uint64_t room)
{
	struct pc_progress *progress = progress_at(stream, room);
	uint64_t known = atomic_load_explicit(&progress->durable, memory_order_relaxed);
	uint64_t durable = pc_room(pc_room_seq(room), pc_room_lines(room), 0, false);

	/* The number in the word keeps a late caller from the next life of the segment. */
	while (pc_room_seq(known) == pc_room_seq(room) && pc_room_lines(known) < pc_room_lines(room) &&
	       !atomic_compare_exchange_weak_explicit(&progress->durable, &known, durable, memory_order_relaxed,
						      memory_order_relaxed))
		;
}
