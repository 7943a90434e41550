/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * index.c - leaves of packed extents on a hash table.
 *
 * The backing is cut in leaves of 256 KiB. A leaf is one allocation: a header and an array of extents, sorted, without
 * overlap. Leaves hang on buckets by a hash of their number; the number of buckets follows the size of the cache, so
 * memory follows what is cached and not the backing's size. Each bucket has a lock; "the leaf's lock" is its bucket's.
 *
 * (X1) Extents of a leaf are sorted, do not overlap, do not leave the leaf, and each lies inside one key.
 * (X2) Of two mappings of a byte the one with the higher position stays, in whatever order they come. So memory and
 *      replay agree on the winner of two concurrent writes, and replay may run in any order on all processors.
 * (X3) Publishing never fails: prepare made room. Let E be the number of distinct ends of the extents in a leaf, P the
 *      number of keys prepared and not yet published. Wherever the keys fall, E + 2P - 1 extents are enough, since a
 *      key brings two ends; a publish adds two ends at most and takes one from P, a removal adds none, so the sum only
 *      grows with a prepare, and that is where the capacity is raised to it. Alone in a leaf two extents a key are
 *      enough: whoever comes to join makes room for both. A key that was not prepared (insert) makes its room on the
 *      spot: over k extents that are later it needs k + 2 more at most, one for each gap between them, and one for an
 *      older extent that it cuts in two.
 * (X4) live[segment] is the number of bytes that the extents find in that segment.
 * (X5) An empty leaf that nobody prepares is freed.
 * (X6) A look-up waits for memory three times, one after the other: bucket, head of the leaf, extent. The bucket
 *      remembers how many extents its first leaf has, so that the last two can be fetched at once, and early. What is
 *      fetched is not believed: only the lock makes it true.
 * (X7) Whoever takes bytes from a clean key kills it first, under the leaf's lock, and only then are its live bytes
 *      counted down: a segment without live bytes has no kill on its way to it.
 * (X8) A tombstone wins over what is older and leaves nothing behind: it is removed as soon as it has been entered. In
 *      a replay what is older may still come, so all tombstones stay until its end. Afterwards none is needed: all
 *      that comes is newer.
 * (X9) A look-up goes without the lock, and believes what it has loaded only while the lock's version is the one it
 *      began with. It looks at the version before it follows a pointer, goes by a count, or asks for a segment, so it
 *      never leaves the index's memory; a leaf that was replaced is freed when no look-up can be in it (RT2). It stores
 *      nothing: whoever has to count an access takes the lock, three times for each mapping (PC_HITS_MAX).
 *
 * Lock: pc_bucket.lock (rank PC_RANK_LEAF). Nothing is called with it held but the allocator.
 */
#include "index_leaf.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#define BLOCK_BYTES       4096u
#define BLOCKS_PER_BUCKET 8u

int pc_index_new(const struct pc_segment_ref *refs, uint32_t segment_count, uint64_t capacity_bytes,
		 struct pc_index **ret_index)
{
	struct pc_index *index = aligned_alloc(PC_CACHE_LINE, sizeof(*index));
	uint64_t buckets = pc_power_of_two_above(capacity_bytes / BLOCK_BYTES / BLOCKS_PER_BUCKET + 2);

	if (index == NULL)
		return -ENOMEM;
	memset(index, 0, sizeof(*index));
	index->refs = refs;
	index->segment_count = segment_count;
	index->bucket_count = buckets;
	index->hash_shift = 64 - (unsigned)__builtin_ctzll(buckets);
	index->buckets = calloc(buckets, sizeof(*index->buckets));
	index->live = aligned_alloc(PC_CACHE_LINE, segment_count * sizeof(*index->live));
	if (index->buckets == NULL || index->live == NULL) {
		free(index->live);
		free(index->buckets);
		free(index);
		return -ENOMEM;
	}
	memset(index->live, 0, segment_count * sizeof(*index->live));
	index->looks_freely = !PC_TSAN && pc_retire_works();
	*ret_index = index;
	return 0;
}

void pc_index_set_killer(struct pc_index *index, pc_index_kill_fn kill, void *arg)
{
	index->kill = kill;
	index->kill_arg = arg;
}

void pc_index_delete(struct pc_index *index)
{
	if (index == NULL)
		return;
	for (uint64_t i = 0; i < index->bucket_count; i++) {
		struct pc_leaf *next;

		for (struct pc_leaf *leaf = index->buckets[i].leaves; leaf != NULL; leaf = next) {
			next = leaf->next;
			free(leaf);
		}
	}
	pc_retire_all(&index->retired);
	free(index->buckets);
	free(index->live);
	free(index);
}

/* ---- leaves ---- */

static void count_memory(struct pc_index *index, int64_t bytes)
{
	atomic_fetch_add_explicit(&index->leaf_bytes, (uint64_t)bytes, memory_order_relaxed);
}

/* Nobody finds it any more, but somebody may have found it (X9). */
static void free_leaf(struct pc_index *index, struct pc_leaf *leaf)
{
	count_memory(index, -(int64_t)malloc_usable_size(leaf));
	if (index->looks_freely)
		pc_retire(&index->retired, leaf);
	else
		free(leaf);
}

/* Give the leaf at *link this capacity; creates it where there is none. */
static int resize_leaf(struct pc_index *index, struct pc_leaf **link, uint64_t number, uint32_t capacity)
{
	struct pc_leaf *old = *link;
	struct pc_leaf *leaf = malloc(sizeof(*leaf) + capacity * sizeof(struct pc_extent));

	if (leaf == NULL)
		return -ENOMEM;
	count_memory(index, (int64_t)malloc_usable_size(leaf));
	if (old == NULL)
		*leaf = (struct pc_leaf){ .number = number };
	else
		memcpy(leaf, old, sizeof(*old) + old->count * sizeof(struct pc_extent));
	leaf->capacity = capacity;
	__atomic_store_n(link, leaf, __ATOMIC_RELEASE);
	if (old != NULL)
		free_leaf(index, old);
	return 0;
}

/* Room for `more` extents beyond those that are there. */
static int reserve_extents(struct pc_index *index, struct pc_leaf **link, uint64_t number, uint32_t more)
{
	const struct pc_leaf *leaf = *link;
	uint32_t need = more + (leaf == NULL ? 0 : leaf->count);

	if (leaf != NULL && need <= leaf->capacity)
		return 0;
	return resize_leaf(index, link, number, need + need / 8);
}

/* (X5), and give back memory after a removal. */
void pc_leaf_trim(struct pc_index *index, struct pc_leaf **link)
{
	struct pc_leaf *leaf = *link;

	if (leaf->prepared != 0)
		return;
	if (leaf->count == 0) {
		*link = leaf->next;
		free_leaf(index, leaf);
	} else if (leaf->capacity > 2 * leaf->count + 8) {
		/* A smaller block that cannot be had leaves the larger one in place. */
		(void)resize_leaf(index, link, leaf->number, leaf->count + 2);
	}
}

/* ---- extents ---- */

/* Part [from, to) of an extent. */
static struct pc_extent cut(struct pc_extent extent, uint32_t from, uint32_t to)
{
	extent.data_off += from - extent.off;
	extent.off = from;
	extent.len_minus_1 = to - from - 1;
	return extent;
}

/* (X7) */
static int kill_if_clean(struct pc_index *index, const struct pc_extent *old)
{
	if (pc_likely(index->kill == NULL || seq_of(index, old) != 0))
		return 0;
	index->kill(index->kill_arg, (uint32_t)old->segment, (uint32_t)old->slot);
	return 1;
}

/* Put [from, to) of `new` in the place of whatever is there. The leaf has room for two more. Returns kills. */
int pc_leaf_replace(struct pc_index *index, struct pc_leaf *leaf, const struct pc_extent *new, uint32_t from,
			 uint32_t to, bool kill)
{
	uint32_t first = first_behind(leaf, from);
	uint32_t behind = first;
	struct pc_extent put[3];
	uint32_t put_count = 0;
	int kills = 0;

	while (behind < leaf->count && leaf->extents[behind].off < to) {
		const struct pc_extent *old = &leaf->extents[behind++];
		uint64_t start = pc_max64(old->off, from);

		if (kill)
			kills += kill_if_clean(index, old);
		add_live(index, old->segment, -(int64_t)(pc_min64(extent_end(old), to) - start));
	}
	if (first < behind && leaf->extents[first].off < from)
		put[put_count++] = cut(leaf->extents[first], (uint32_t)leaf->extents[first].off, from);
	put[put_count++] = cut(*new, from, to);
	if (first < behind && extent_end(&leaf->extents[behind - 1]) > to)
		put[put_count++] = cut(leaf->extents[behind - 1], to, extent_end(&leaf->extents[behind - 1]));
	assert(leaf->count - (behind - first) + put_count <= leaf->capacity);
	if (put_count != behind - first)
		memmove(&leaf->extents[first + put_count], &leaf->extents[behind],
			(leaf->count - behind) * sizeof(struct pc_extent));
	memcpy(&leaf->extents[first], put, put_count * sizeof(struct pc_extent));
	leaf->count += put_count - (behind - first);
	add_live(index, new->segment, to - from);
	return kills;
}

/* Nothing clean is later than anything: the newcomer wins, and the other is killed. */
static bool is_later(const struct pc_index *index, const struct pc_extent *a, const struct pc_extent *b)
{
	uint64_t seq_a = seq_of(index, a);

	if (a->segment == b->segment)
		return seq_a != 0 && a->slot > b->slot;
	return seq_a > seq_of(index, b);
}

/* First extent in [from, to) that is later than `new` (X2); leaf->count if there is none. */
static uint32_t first_later(const struct pc_index *index, const struct pc_leaf *leaf, const struct pc_extent *new,
			    uint32_t from, uint32_t to)
{
	for (uint32_t i = first_behind(leaf, from); i < leaf->count && leaf->extents[i].off < to; i++)
		if (is_later(index, &leaf->extents[i], new))
			return i;
	return leaf->count;
}

/* Enter `new` but for the bytes that a later extent has. There is room for it (X3). Returns kills. */
static int merge(struct pc_index *index, struct pc_leaf *leaf, const struct pc_extent *new)
{
	uint32_t from = (uint32_t)new->off;
	uint32_t end = extent_end(new);
	int kills = 0;

	while (from < end) {
		uint32_t later = first_later(index, leaf, new, from, end);
		uint32_t to = later == leaf->count ? end : (uint32_t)pc_max64(leaf->extents[later].off, from);
		uint32_t next = later == leaf->count ? end : extent_end(&leaf->extents[later]);

		if (from < to)
			kills += pc_leaf_replace(index, leaf, new, from, to, true);
		from = next;
	}
	return kills;
}

/* (X8) */
static void bury(struct pc_index *index, struct pc_leaf *leaf, const struct pc_extent *tombstone)
{
	if (index->replays)
		atomic_store_explicit(&index->has_tombstones, true, memory_order_relaxed);
	else
		pc_leaf_drop(index, leaf, PC_TOMBSTONES, (uint32_t)tombstone->off, extent_end(tombstone));
}

/* ---- entering ---- */

static uint32_t keys_in(uint64_t off, uint64_t end)
{
	return (uint32_t)((end - 1) / PC_INDEX_KEY_MAX - off / PC_INDEX_KEY_MAX + 1);
}

/* Distinct ends of the extents: neighbours share one. */
static uint32_t count_ends(const struct pc_leaf *leaf)
{
	uint32_t ends = leaf->count == 0 ? 0 : leaf->count + 1;

	for (uint32_t i = 1; i < leaf->count; i++)
		ends += leaf->extents[i].off != extent_end(&leaf->extents[i - 1]);
	return ends;
}

/* Room for what is prepared in the leaf and `keys` more, wherever they fall (X3). */
int pc_leaf_share(struct pc_index *index, struct pc_leaf **link, uint64_t number, uint32_t keys)
{
	const struct pc_leaf *leaf = *link;
	uint32_t promised;

	if (leaf == NULL || leaf->prepared == 0)
		return reserve_extents(index, link, number, 2 * keys);
	promised = 2 * (leaf->prepared + keys);
	/* An extent has two ends at most: where that much room is there, they need not be counted. */
	if (2 * leaf->count + promised <= leaf->capacity)
		return 0;
	return reserve_extents(index, link, number, count_ends(leaf) + promised - leaf->count);
}

static int promise_room(struct pc_index *index, struct pc_leaf **link, uint64_t number, uint32_t keys)
{
	int ret = pc_leaf_share(index, link, number, keys);

	if (ret == 0)
		(*link)->prepared += keys;
	return ret;
}

int pc_index_prepare(struct pc_index *index, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;

	for (uint64_t at = off; at < end;) {
		uint64_t number = at / PC_LEAF_BYTES;
		uint64_t leaf_end = pc_min64(end, (number + 1) * PC_LEAF_BYTES);
		struct pc_bucket *bucket = bucket_of(index, number);
		uint32_t keys = keys_in(at, leaf_end);
		struct pc_leaf **link;
		int ret;

		pc_lock_acquire(&bucket->lock);
		link = find_leaf(bucket, number);
		ret = promise_room(index, link, number, keys);
		pc_lock_release(&bucket->lock);
		if (ret < 0) {
			pc_index_unprepare(index, off, at - off);
			return ret;
		}
		at = leaf_end;
	}
	return 0;
}

void pc_index_unprepare(struct pc_index *index, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;

	for (uint64_t at = off; at < end;) {
		uint64_t number = at / PC_LEAF_BYTES;
		uint64_t leaf_end = pc_min64(end, (number + 1) * PC_LEAF_BYTES);
		struct pc_bucket *bucket = bucket_of(index, number);
		struct pc_leaf **link;

		pc_lock_acquire(&bucket->lock);
		link = find_leaf(bucket, number);
		(*link)->prepared -= keys_in(at, leaf_end);
		pc_leaf_trim(index, link);
		update_hint(bucket, link);
		pc_lock_release(&bucket->lock);
		at = leaf_end;
	}
}

int pc_index_publish(struct pc_index *index, const struct pc_mapping *mapping)
{
	uint64_t number = mapping->off / PC_LEAF_BYTES;
	struct pc_bucket *bucket = bucket_of(index, number);
	struct pc_extent new = extent_of(mapping);
	struct pc_leaf **link;
	int kills;

	pc_lock_acquire(&bucket->lock);
	link = find_leaf(bucket, number);
	kills = merge(index, *link, &new);
	if (pc_unlikely(new.kind == PC_MAPPING_TOMBSTONE))
		bury(index, *link, &new);
	(*link)->prepared--;
	pc_leaf_trim(index, link);
	update_hint(bucket, link);
	pc_lock_release(&bucket->lock);
	return kills;
}

/* Room for one key that was not prepared (X3). */
static int make_room(struct pc_index *index, struct pc_leaf **link, uint64_t number, const struct pc_extent *new)
{
	const struct pc_leaf *leaf = *link;
	uint32_t later = 0;

	if (leaf == NULL || leaf->prepared != 0)
		return pc_leaf_share(index, link, number, 1);
	for (uint32_t i = first_behind(leaf, (uint32_t)new->off);
	     i < leaf->count && leaf->extents[i].off < extent_end(new); i++)
		later += is_later(index, &leaf->extents[i], new);
	return reserve_extents(index, link, number, later + 2);
}

/*
 * The usual write of one key: it takes the place of one extent, just as long, that is older. No room is
 * needed then, and nothing is left to trim.
 */
static bool swap_one(struct pc_index *index, struct pc_leaf *leaf, const struct pc_extent *new, int *ret_kills)
{
	struct pc_extent *old;
	uint32_t i;

	if (leaf == NULL || new->kind == PC_MAPPING_TOMBSTONE)
		return false;
	i = first_behind(leaf, (uint32_t)new->off);
	old = &leaf->extents[i];
	if (i == leaf->count || old->off != new->off || old->len_minus_1 != new->len_minus_1 ||
	    is_later(index, old, new))
		return false;
	*ret_kills = kill_if_clean(index, old);
	if (old->segment != new->segment) {
		add_live(index, (uint32_t)old->segment, -(int64_t)(old->len_minus_1 + 1));
		add_live(index, (uint32_t)new->segment, (int64_t)(new->len_minus_1 + 1));
	}
	*old = *new;
	return true;
}

int pc_index_insert(struct pc_index *index, const struct pc_mapping *mapping)
{
	uint64_t number = mapping->off / PC_LEAF_BYTES;
	struct pc_bucket *bucket = bucket_of(index, number);
	struct pc_extent new = extent_of(mapping);
	struct pc_leaf **link;
	int ret;

	pc_lock_acquire(&bucket->lock);
	link = find_leaf(bucket, number);
	if (pc_likely(swap_one(index, *link, &new, &ret))) {
		pc_lock_release(&bucket->lock);
		return ret;
	}
	ret = make_room(index, link, number, &new);
	if (pc_likely(ret == 0)) {
		ret = merge(index, *link, &new);
		if (pc_unlikely(new.kind == PC_MAPPING_TOMBSTONE))
			bury(index, *link, &new);
		pc_leaf_trim(index, link);
		update_hint(bucket, link);
	}
	pc_lock_release(&bucket->lock);
	return ret;
}

/* ---- looking up ---- */

void pc_index_prefetch_bucket(const struct pc_index *index, uint64_t off)
{
	__builtin_prefetch(bucket_of(index, off / PC_LEAF_BYTES), 1);
}

/*
 * Looks without the lock: a pointer that is old by now is as harmless as any other address, it is never followed. So
 * hidden from TSan; the loads are plain ones, because clang's TSan looks at atomic ones all the same.
 */
__attribute__((no_sanitize("thread"))) void pc_index_prefetch_leaf(const struct pc_index *index, uint64_t off)
{
	const struct pc_bucket *bucket = bucket_of(index, off / PC_LEAF_BYTES);
	uintptr_t leaf = (uintptr_t)*(struct pc_leaf *const volatile *)&bucket->leaves;
	uint32_t count = *(const volatile uint32_t *)&bucket->first_count;
	size_t extent = guess_extent(count, (uint32_t)(off % PC_LEAF_BYTES));

	__builtin_prefetch((const void *)leaf, 1);
	__builtin_prefetch((const void *)(leaf + offsetof(struct pc_leaf, extents) + extent * sizeof(struct pc_extent)), 1);
}

static struct pc_piece piece_of(const struct pc_index *index, const struct pc_extent *extent, uint64_t leaf_off,
				uint32_t from, uint32_t to)
{
	struct pc_extent part = cut(*extent, from, to);

	return (struct pc_piece){
		.mapping = mapping_of(&part, leaf_off),
		.gen = atomic_load_explicit(&index->refs[part.segment].gen, memory_order_acquire),
		.cached = true,
	};
}

static struct pc_piece hole_of(uint64_t leaf_off, uint32_t from, uint32_t to)
{
	return (struct pc_piece){ .mapping = { .off = leaf_off + from, .len = to - from } };
}

/* A leaf as it is under the bucket's lock, or as it was when the lock had this version. */
struct view {
	const struct pc_bucket *bucket;
	bool is_locked;
	uint32_t version; /* if not */
	struct pc_leaf *leaf; /* NULL: there is none */
	uint32_t count;
};

static bool is_still(const struct view *view)
{
	return view->is_locked || pc_lock_is_still(&view->bucket->lock, view->version);
}

/* (X9) False: somebody has the lock, or had it meanwhile. */
static bool view_leaf(const struct pc_bucket *bucket, uint64_t number, struct view *ret_view)
{
	struct view view = { .bucket = bucket, .version = pc_lock_version(&bucket->lock) };

	if ((view.version & PC_LOCK_HELD) != 0)
		return false;
	view.leaf = *(struct pc_leaf *const volatile *)&bucket->leaves;
	while (view.leaf != NULL) {
		const volatile struct pc_leaf *leaf = view.leaf;
		uint64_t found = leaf->number;
		struct pc_leaf *next = leaf->next;

		view.count = leaf->count;
		if (!is_still(&view))
			return false;
		if (found == number)
			break;
		view.leaf = next;
	}
	*ret_view = view;
	return true;
}

/* Once: what is loaded twice may differ. */
static struct pc_extent load_extent(const struct pc_extent *from)
{
	const volatile uint64_t *words = (const volatile uint64_t *)(const volatile void *)from;
	uint64_t loaded[2] = { words[0], words[1] };
	struct pc_extent extent;

	memcpy(&extent, loaded, sizeof(extent));
	return extent;
}

/* False: it takes the lock to count this access. Beyond the maximum nothing is stored: readers would pass the line around. */
static bool count_access(const struct view *view, uint32_t i, const struct pc_extent *extent)
{
	if (extent->hits == PC_HITS_MAX)
		return true;
	if (view->is_locked)
		view->leaf->extents[i].hits = (extent->hits + 1u) & PC_HITS_MAX;
	return view->is_locked;
}

/* (X9) 0: not without the lock. */
static inline unsigned look(const struct pc_index *index, const struct view *view, uint64_t leaf_off, uint32_t from,
			    uint32_t end, struct pc_piece *ret_pieces, unsigned max)
{
	uint32_t i = view->leaf == NULL ? 0 : first_behind_in(view->leaf->extents, view->count, from);
	unsigned count = 0;

	while (from < end && count < max) {
		bool is_behind = view->leaf == NULL || i == view->count;
		struct pc_extent extent = is_behind ? (struct pc_extent){ .off = 0 } : load_extent(&view->leaf->extents[i]);
		uint32_t to = end;

		if (!is_still(view))
			return 0;
		if (is_behind || extent.off > from) {
			if (!is_behind)
				to = (uint32_t)pc_min64(end, extent.off);
			ret_pieces[count++] = hole_of(leaf_off, from, to);
		} else {
			if (!count_access(view, i++, &extent))
				return 0;
			to = (uint32_t)pc_min64(end, extent_end(&extent));
			ret_pieces[count++] = piece_of(index, &extent, leaf_off, from, to);
		}
		from = to;
	}
	return is_still(view) ? count : 0; /* order: behind the generations */
}

static struct view view_locked(struct pc_bucket *bucket, uint64_t number)
{
	struct pc_leaf *leaf = *find_leaf(bucket, number);

	return (struct view){ .bucket = bucket, .is_locked = true, .leaf = leaf, .count = leaf == NULL ? 0 : leaf->count };
}

unsigned pc_index_lookup(struct pc_index *index, uint64_t off, uint64_t len, struct pc_piece *ret_pieces, unsigned max)
{
	uint64_t number = off / PC_LEAF_BYTES;
	uint64_t leaf_off = number * PC_LEAF_BYTES;
	struct pc_bucket *bucket = bucket_of(index, number);
	uint32_t from = (uint32_t)(off - leaf_off);
	uint32_t end = (uint32_t)pc_min64(from + len, PC_LEAF_BYTES);
	unsigned count = 0;
	struct view view;

	pc_index_prefetch_leaf(index, off);
	if (pc_likely(index->looks_freely) && pc_likely(pc_reader_enter())) {
		if (pc_likely(view_leaf(bucket, number, &view)))
			count = look(index, &view, leaf_off, from, end, ret_pieces, max);
		pc_reader_leave();
	}
	if (pc_likely(count != 0))
		return count;
	pc_lock_acquire(&bucket->lock);
	view = view_locked(bucket, number);
	count = look(index, &view, leaf_off, from, end, ret_pieces, max);
	pc_lock_release(&bucket->lock);
	return count;
}

void pc_index_mark_verified(struct pc_index *index, const struct pc_mapping *mapping)
{
	uint64_t number = mapping->off / PC_LEAF_BYTES;
	uint32_t key_start = (uint32_t)(pc_align_down(mapping->off, PC_INDEX_KEY_MAX) % PC_LEAF_BYTES);
	struct pc_bucket *bucket = bucket_of(index, number);
	struct pc_leaf *leaf;

	pc_lock_acquire(&bucket->lock);
	leaf = *find_leaf(bucket, number);
	for (uint32_t i = leaf == NULL ? 0 : first_behind(leaf, key_start);
	     leaf != NULL && i < leaf->count && leaf->extents[i].off < key_start + PC_INDEX_KEY_MAX; i++) {
		struct pc_extent *extent = &leaf->extents[i];

		if (extent->segment == mapping->segment && extent->slot == mapping->slot)
			extent->verified = 1;
	}
	pc_lock_release(&bucket->lock);
}
