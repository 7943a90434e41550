/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media_primitives.c - the primitives of the media file: stores, reads, syncs, and how they fail.
 *
 * Method: real files, on every granularity; system calls that fail are the stand-ins of media_fixture.h.
 */
#define _GNU_SOURCE 1

#include "media_fixture.h"

static void fill_pattern(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 7 + i / 251);
}

/* Visible in the mapping and to read, and still there after a reopen. */
START_TEST(stores_are_seen_by_the_mapping_by_read_and_after_reopen)
{
	static const struct {
		uint64_t off;
		size_t len;
	} pieces[] = { { 0, 64 }, { 4096, 4096 }, { 10001, 77 }, { 20480, 65536 }, { MEDIA_BYTES - 5, 5 } };
	static uint8_t expected[MEDIA_BYTES];
	static uint8_t found[MEDIA_BYTES];
	struct pc_media *media;
	uint64_t word = 0x0123456789abcdefu;

	use_place(_i);
	media = create_media();
	memset(expected, 0, sizeof(expected));
	for (unsigned kind = PC_COPY_STREAM; kind <= PC_COPY_CACHED; kind++) {
		for (size_t i = 0; i < PC_ARRAY_SIZE(pieces); i++) {
			uint64_t off = pieces[i].off;

			fill_pattern(expected + off, pieces[i].len, (unsigned)i + kind * 100);
			ck_assert_int_eq(pc_media_copy(media, off, expected + off, pieces[i].len, kind), 0);
			ck_assert_int_eq(pc_media_flush(media, off, pieces[i].len), 0);
		}
		ck_assert_int_eq(pc_media_drain(media), 0);
		ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	}
	memset(expected + 300001, 0xa5, 9000);
	ck_assert_int_eq(pc_media_set(media, 300001, 0xa5, 9000), 0);
	memcpy(expected + 400008, &word, sizeof(word));
	ck_assert_int_eq(pc_media_store8(media, 400008, word), 0);
	ck_assert_int_eq(pc_media_flush(media, 300001, 200000), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	ck_assert_int_eq(pc_media_read(media, found, 0, sizeof(found)), 0);
	ck_assert_int_eq(memcmp(found, expected, sizeof(expected)), 0);
	pc_media_close(media);
	ck_assert_int_eq(open_media((struct pc_media_request){ 0 }, &media), 0);
	ck_assert(!media->blank);
	ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	pc_media_close(media);
}
END_TEST

START_TEST(readonly_media_refuses_stores_and_still_flushes_and_syncs)
{
	struct pc_media *media;
	uint8_t byte;

	use_place(_i);
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &media), 0);
	ck_assert(media->readonly);
	ck_assert_int_eq(pc_media_copy(media, 0, "y", 1, PC_COPY_STREAM), -EROFS);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -EROFS);
	ck_assert_int_eq(pc_media_set(media, 0, 0, 1), -EROFS);
	ck_assert_int_eq(pc_media_flush(media, 0, PC_PAGE), 0);
	ck_assert_int_eq(pc_media_drain(media), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(pc_media_read(media, &byte, 7, 1), 0);
	ck_assert_int_eq(byte, 'x');
	pc_media_close(media);
	assert_file_holds(PC_PAGE, 'x');
}
END_TEST

START_TEST(read_past_the_end_is_eio)
{
	struct pc_media *media;
	uint8_t buf[64];

	use_place(_i);
	media = create_media();
	ck_assert_int_eq(pc_media_read(media, buf, MEDIA_BYTES - 64, 64), 0);
	ck_assert_int_eq(pc_media_read(media, buf, MEDIA_BYTES - 63, 64), -EIO);
	pc_media_close(media);
}
END_TEST

START_TEST(racing_copy_gives_the_bytes_at_any_alignment)
{
	struct pc_media *media;
	uint8_t expected[256];
	uint8_t found[256];

	use_place(_i);
	media = create_media();
	fill_pattern(expected, sizeof(expected), 3);
	ck_assert_int_eq(pc_media_copy(media, 4096, expected, sizeof(expected), PC_COPY_CACHED), 0);
	for (size_t start = 0; start < 20; start++) {
		for (size_t len = 0; len < 50; len++) {
			memset(found, 0xee, sizeof(found));
			pc_media_copy_racing(found + 1, media, 4096 + start, len);
			ck_assert_int_eq(memcmp(found + 1, expected + start, len), 0);
			ck_assert_int_eq(found[0], 0xee);
			ck_assert_int_eq(found[len + 1], 0xee);
		}
	}
	pc_media_close(media);
}
END_TEST

/* Does a line of /proc/self/smaps that begins with `field` hold `word`, in the mapping at `address`? */
static bool mapping_has(const void *address, const char *field, const char *word)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[512];
	bool inside = false;
	bool found = false;

	ck_assert_ptr_nonnull(smaps);
	while (fgets(line, sizeof(line), smaps) != NULL) {
		unsigned long start;
		unsigned long end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-') < strchr(line, ' ')) {
			inside = (uintptr_t)address >= start && (uintptr_t)address < end;
			if (inside && field == NULL)
				found = strstr(line, word) != NULL;
		} else if (inside && field != NULL && strncmp(line, field, strlen(field)) == 0) {
			found = strstr(line, word) != NULL;
		}
	}
	fclose(smaps);
	return found;
}

START_TEST(mapping_is_not_inherited_and_writable_only_where_stores_go_through_it)
{
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	ck_assert(mapping_has(media->base, "VmFlags:", " dc"));
	ck_assert(mapping_has(media->base, NULL, is_page(_i) ? " r--s " : " rw-s "));
	pc_media_close(media);
	make_file(path, PC_PAGE, 'x');
	ck_assert_int_eq(open_media((struct pc_media_request){ .readonly = true }, &media), 0);
	ck_assert(mapping_has(media->base, NULL, " r--s "));
	pc_media_close(media);
}
END_TEST

START_TEST(large_mapping_begins_on_a_huge_page)
{
	struct pc_media *media;

	use_place(_i);
	for (uint64_t bytes = 2 * MIB; bytes <= 5 * MIB; bytes += MIB) {
		ck_assert_int_eq(
			open_media((struct pc_media_request){ .create = true, .create_bytes = bytes }, &media), 0);
		ck_assert_uint_eq((uintptr_t)media->base % (2 * MIB), 0);
		pc_media_close(media);
	}
}
END_TEST

/* System calls that fail, page granularity. */

START_TEST(short_and_interrupted_transfers_are_continued)
{
	static uint8_t expected[3 * PC_PAGE];
	static uint8_t found[3 * PC_PAGE];
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	fill_pattern(expected, sizeof(expected), 9);
	memset(expected + 8192, 0x3c, 4096);
	atomic_store(&inject.halve, true);
	atomic_store(&inject.eintr, 5);
	atomic_store(&inject.armed, true);
	ck_assert_int_eq(pc_media_copy(media, 0, expected, sizeof(expected), PC_COPY_STREAM), 0);
	atomic_store(&inject.eintr, 2);
	ck_assert_int_eq(pc_media_set(media, 8192, 0x3c, 4096), 0);
	ck_assert_int_eq(memcmp(media->base, expected, sizeof(expected)), 0);
	atomic_store(&inject.eintr, 3);
	ck_assert_int_eq(pc_media_read(media, found, 0, sizeof(found)), 0);
	ck_assert_int_eq(memcmp(found, expected, sizeof(expected)), 0);
	atomic_store(&inject.eintr, 3);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(atomic_load(&inject.eintr), 0);
	pc_media_close(media);
}
END_TEST

START_TEST(failed_stores_return_their_error)
{
	struct pc_media *media;
	uint8_t buf[64] = { 0 };

	use_place(PLACE_PAGE);
	media = create_media();
	atomic_store(&inject.error_code, ENOSPC);
	atomic_store(&inject.armed, true);
	atomic_store(&inject.error, 3);
	ck_assert_int_eq(pc_media_copy(media, 0, buf, sizeof(buf), PC_COPY_CACHED), -ENOSPC);
	ck_assert_int_eq(pc_media_store8(media, 0, 1), -ENOSPC);
	ck_assert_int_eq(pc_media_set(media, 0, 0, 10000), -ENOSPC);
	ck_assert_int_eq(pc_media_copy(media, 0, buf, sizeof(buf), PC_COPY_CACHED), 0);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.error_code, EIO);
	ck_assert_int_eq(pc_media_read(media, buf, 0, sizeof(buf)), -EIO);
	pc_media_close(media);
}
END_TEST

START_TEST(failed_sync_is_final)
{
	struct pc_media *media;

	use_place(PLACE_PAGE);
	media = create_media();
	ck_assert_int_eq(pc_media_sync(media), 0);
	atomic_store(&inject.error_code, EIO);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.armed, true);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	atomic_store(&inject.armed, false);
	atomic_store(&inject.calls, 0);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	ck_assert_int_eq(pc_media_sync(media), -EIO);
	ck_assert_int_eq(atomic_load(&inject.calls), 0);
	pc_media_close(media);
}
END_TEST

START_TEST(sync_makes_a_system_call_on_page_granularity_only)
{
	struct pc_media *media;
	int calls;

	use_place(_i);
	media = create_media();
	calls = is_page(_i) ? 2 : 0;
	atomic_store(&inject.calls, 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(pc_media_sync(media), 0);
	ck_assert_int_eq(pc_media_drain(media), 0);
	ck_assert_int_eq(pc_media_flush(media, 0, 64), 0);
	ck_assert_int_eq(atomic_load(&inject.calls), calls);
	ck_assert_uint_eq(atomic_load(&media->syncs), (uint64_t)calls);
	pc_media_close(media);
}
END_TEST

/* Group commit. */

struct syncer {
	struct pc_media *media;
	pthread_t thread;
	atomic_int tid;
	int ret;
};

static void *sync_once(void *arg)
{
	struct syncer *syncer = arg;

	atomic_store(&syncer->tid, (int)gettid());
	syncer->ret = pc_media_sync(syncer->media);
	return NULL;
}

/* Sleeping in the kernel: from its start on this thread does nothing but sync, so it waits for another one's. */
static bool is_asleep(const struct syncer *syncer)
{
	char stat_path[64];
	char line[256] = "";
	const char *state;
	FILE *stat_file;

	if (atomic_load(&syncer->tid) == 0)
		return false;
	snprintf(stat_path, sizeof(stat_path), "/proc/self/task/%d/stat", atomic_load(&syncer->tid));
	stat_file = fopen(stat_path, "re");
	if (stat_file == NULL)
		return false;
	state = fgets(line, sizeof(line), stat_file) != NULL ? strrchr(line, ')') : NULL;
	fclose(stat_file);
	return state != NULL && state[2] == 'S';
}

/* One sync is in the kernel, held there, while the others ask for one. */
static void start_group(struct pc_media *media, struct syncer *syncers)
{
	atomic_store(&inject.calls, 0);
	atomic_store(&inject.closed_gate, 1);
	for (int i = 0; i < SYNC_THREADS; i++) {
		syncers[i] = (struct syncer){ .media = media };
		ck_assert_int_eq(pthread_create(&syncers[i].thread, NULL, sync_once, &syncers[i]), 0);
		while (i == 0 && atomic_load(&inject.calls) == 0)
			sched_yield();
		while (i != 0 && !is_asleep(&syncers[i]))
			sched_yield();
	}
}

static void finish_group(struct syncer *syncers)
{
	atomic_store(&inject.closed_gate, 0);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(pthread_join(syncers[i].thread, NULL), 0);
}

START_TEST(syncs_asked_for_while_one_runs_share_the_next)
{
	struct syncer syncers[SYNC_THREADS];
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	start_group(media, syncers);
	finish_group(syncers);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(syncers[i].ret, 0);
	/* Not one: what was stored while it ran may be missing from it. Not four: they are shared. */
	ck_assert_int_eq(atomic_load(&inject.calls), 2);
	ck_assert_uint_eq(atomic_load(&media->syncs), 2);
	pc_media_close(media);
}
END_TEST

START_TEST(failed_sync_fails_all_who_wait)
{
	struct syncer syncers[SYNC_THREADS];
	struct pc_media *media;

	use_place(PLACE_PAGE);
	media = create_media();
	atomic_store(&inject.error_code, EIO);
	atomic_store(&inject.error, 1);
	atomic_store(&inject.armed, true);
	start_group(media, syncers);
	finish_group(syncers);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(syncers[i].ret, -EIO);
	ck_assert_int_eq(atomic_load(&inject.calls), 1);
	pc_media_close(media);
}
END_TEST

static void *sync_often(void *arg)
{
	struct syncer *syncer = arg;

	for (int i = 0; i < 50 && syncer->ret == 0; i++)
		syncer->ret = pc_media_sync(syncer->media);
	return NULL;
}

START_TEST(many_syncs_at_once_all_end)
{
	struct syncer syncers[SYNC_THREADS];
	struct pc_media *media;

	use_place(_i);
	media = create_media();
	for (int i = 0; i < SYNC_THREADS; i++) {
		syncers[i] = (struct syncer){ .media = media };
		ck_assert_int_eq(pthread_create(&syncers[i].thread, NULL, sync_often, &syncers[i]), 0);
	}
	finish_group(syncers);
	for (int i = 0; i < SYNC_THREADS; i++)
		ck_assert_int_eq(syncers[i].ret, 0);
	ck_assert_uint_le(atomic_load(&media->syncs), SYNC_THREADS * 50);
	ck_assert_uint_ge(atomic_load(&media->syncs), 50);
	pc_media_close(media);
}
END_TEST

static void add_primitive_tests(TCase *tests)
{
	tcase_add_loop_test(tests, stores_are_seen_by_the_mapping_by_read_and_after_reopen, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, readonly_media_refuses_stores_and_still_flushes_and_syncs, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, read_past_the_end_is_eio, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, racing_copy_gives_the_bytes_at_any_alignment, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, mapping_is_not_inherited_and_writable_only_where_stores_go_through_it, 0,
			    PLACE_COUNT);
	tcase_add_loop_test(tests, large_mapping_begins_on_a_huge_page, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, short_and_interrupted_transfers_are_continued, PLACE_PAGE, PLACE_COUNT);
	tcase_add_test(tests, failed_stores_return_their_error);
	tcase_add_test(tests, failed_sync_is_final);
	tcase_add_loop_test(tests, sync_makes_a_system_call_on_page_granularity_only, 0, PLACE_COUNT);
	tcase_add_loop_test(tests, syncs_asked_for_while_one_runs_share_the_next, PLACE_PAGE, PLACE_COUNT);
	tcase_add_test(tests, failed_sync_fails_all_who_wait);
	tcase_add_loop_test(tests, many_syncs_at_once_all_end, PLACE_PAGE, PLACE_COUNT);
}

int main(void)
{
	Suite *suite = suite_create("media_primitives");

	add_primitive_tests(add_case(suite, "primitives"));
	return pc_run_suite(suite);
}
