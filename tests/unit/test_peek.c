/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_peek.c - lib/peek.c: a page is read back as it was made, or not at all (PK1), and pages of other versions as far as
 * both know (PK2).
 *
 * Method: every byte of a page is damaged, each field is set to what it must not be with a checksum that fits, and the
 * part of a struct that a page does not have is looked at.
 */
#include "peek.h"

#include "crc32c.h"
#include "support.h"
#include "util.h"

#include <string.h>

static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

static struct pc_peek_page page;
static struct pcm_live live;

static void setup(void)
{
	struct test_random random = random_of(1);

	memset(&page, 0, sizeof(page));
	page.number = test_random_next(&random);
	page.written_ns = test_random_next(&random);
	page.pid = (uint32_t)test_random_next(&random);
	page.closed = true;
	test_random_fill(&random, (uint8_t *)&page.stats, sizeof(page.stats));
	test_random_fill(&random, (uint8_t *)page.times, sizeof(page.times));
	pc_peek_encode(&page, uuid, &live);
}

/* As if it had been made so. */
static void sign(void)
{
	live.crc = pc_le32(0);
	live.crc = pc_le32(pc_crc32c(pc_crc32c(0, uuid, sizeof(uuid)), &live, sizeof(live)));
}

static bool decode(struct pc_peek_page *ret_page)
{
	memset(ret_page, 0xa5, sizeof(*ret_page));
	return pc_peek_decode(&live, uuid, ret_page);
}

static struct pc_peek_page must_decode(void)
{
	struct pc_peek_page seen;

	ck_assert(decode(&seen));
	return seen;
}

START_TEST(page_is_read_back_as_it_was_made)
{
	struct pc_peek_page seen = must_decode();

	ck_assert_uint_eq(seen.number, page.number);
	ck_assert_uint_eq(seen.written_ns, page.written_ns);
	ck_assert_uint_eq(seen.pid, page.pid);
	ck_assert(seen.closed);
	ck_assert_int_eq(memcmp(&seen.stats, &page.stats, sizeof(page.stats)), 0);
	ck_assert_int_eq(memcmp(seen.times, page.times, sizeof(page.times)), 0);
	page.closed = false;
	pc_peek_encode(&page, uuid, &live);
	ck_assert(!must_decode().closed);
}
END_TEST

START_TEST(damaged_page_is_none_wherever_the_damage_is)
{
	uint8_t *bytes = (uint8_t *)&live;
	struct pc_peek_page seen;

	for (size_t i = 0; i < sizeof(live); i++) {
		bytes[i] ^= (uint8_t)(1u << i % 8);
		ck_assert_msg(!decode(&seen), "byte %zu", i);
		bytes[i] ^= (uint8_t)(1u << i % 8);
	}
	ck_assert(decode(&seen));
}
END_TEST

/* Of two pages, as a store that was cut at any 64 bytes leaves them. */
START_TEST(torn_page_is_none)
{
	struct pcm_live before = live;
	struct pcm_live after;
	struct pc_peek_page seen;

	page.number += 2;
	page.stats.writes++;
	page.stats.state = PCACHE_STATE_FAILED;
	pc_peek_encode(&page, uuid, &after);
	for (size_t cut = 64; cut < sizeof(live); cut += 64) {
		live = after;
		memcpy((uint8_t *)&live + cut, (const uint8_t *)&before + cut, sizeof(live) - cut);
		if (memcmp(&live, &after, sizeof(live)) != 0)
			ck_assert_msg(!decode(&seen), "cut at %zu", cut);
		else
			ck_assert_uint_eq(must_decode().number, page.number);
	}
}
END_TEST

START_TEST(page_of_nothing_or_of_another_cache_is_none)
{
	static const uint8_t other[16] = { 1 };
	struct pc_peek_page seen;

	ck_assert(!pc_peek_decode(&live, other, &seen));
	live.magic = pc_le32(PCM_MAGIC_LIVE + 1);
	sign();
	ck_assert(!decode(&seen));
	memset(&live, 0, sizeof(live));
	ck_assert(!decode(&seen));
	sign();
	ck_assert(!decode(&seen));
	memset(&live, 0xff, sizeof(live));
	ck_assert(!decode(&seen));
}
END_TEST

/* (PK2) An older version had less, and less of it is shown. */
START_TEST(shorter_page_has_zeroes_for_the_rest)
{
	static const uint32_t lengths[] = { 0, 8, 100, sizeof(struct pcache_stats) - 1 };
	static const struct pcache_stats zero;
	static const struct pcache_times no_times[PCACHE_LATENCIES];

	for (unsigned i = 0; i < PC_ARRAY_SIZE(lengths); i++) {
		struct pc_peek_page seen;
		uint32_t len = lengths[i];

		live.stats_bytes = pc_le32(len);
		live.times = pc_le32(i);
		sign();
		seen = must_decode();
		ck_assert_int_eq(memcmp(&seen.stats, &page.stats, len), 0);
		ck_assert_int_eq(memcmp((uint8_t *)&seen.stats + len, &zero, sizeof(zero) - len), 0);
		ck_assert_int_eq(memcmp(seen.times, page.times, i * sizeof(page.times[0])), 0);
		ck_assert_int_eq(memcmp(&seen.times[i], no_times, (PCACHE_LATENCIES - i) * sizeof(page.times[0])), 0);
	}
}
END_TEST

/* A newer version has more, or the lengths are nonsense: no more than we know is taken. */
START_TEST(longer_page_is_cut)
{
	struct {
		struct pc_peek_page seen;
		uint8_t behind[64];
	} room;
	uint32_t more = _i == 0 ? 1 : UINT32_MAX;

	live.stats_bytes = pc_le32(_i == 0 ? sizeof(struct pcache_stats) + more : more);
	live.times = pc_le32(_i == 0 ? PCACHE_LATENCIES + more : more);
	sign();
	memset(&room, 0x5a, sizeof(room));
	ck_assert(pc_peek_decode(&live, uuid, &room.seen));
	ck_assert_int_eq(memcmp(&room.seen.stats, &page.stats, sizeof(page.stats)), 0);
	ck_assert_int_eq(memcmp(room.seen.times, page.times, sizeof(page.times)), 0);
	for (size_t i = 0; i < sizeof(room.behind); i++)
		ck_assert_uint_eq(room.behind[i], 0x5a);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("peek");
	TCase *tests = case_new(suite, "peek");

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, page_is_read_back_as_it_was_made);
	tcase_add_test(tests, damaged_page_is_none_wherever_the_damage_is);
	tcase_add_test(tests, torn_page_is_none);
	tcase_add_test(tests, page_of_nothing_or_of_another_cache_is_none);
	tcase_add_test(tests, shorter_page_has_zeroes_for_the_rest);
	tcase_add_loop_test(tests, longer_page_is_cut, 0, 2);
	return pc_run_suite(suite);
}
