# SPDX-License-Identifier: BSD-3-Clause
"""
test_care.py - pcachectl: check, repair, export, drain, scrub, forget and grow.

Goal: check finds each kind of planted damage and never writes; repair never makes it worse; nothing is lost without a word.
Method: bytes of a dirty cache are flipped, one place at a time and at random. What export can read before and after is
compared with what was written.

Arguments and environment: harness.py.
"""

import os
import random

from harness import (BACKING_BYTES, CACHE_BYTES, DAMAGED, FAILED, INFO_OFF, OK, SEED, SEGMENT, SEGMENTS, STRIDE, TAILS_OFF,
                     USAGE, USED, content, line_off, place, segment_off, tap)

RECORDS = (0, INFO_OFF, TAILS_OFF, segment_off(0), segment_off(USED), segment_off(SEGMENTS - 1))


def exported(here, *options, expect=OK):
    here.ctl("export", here.cache, here.out, "--backing", here.backing, *options, expect=expect)
    data = content(here.out)
    os.unlink(here.out)
    return data


def sound_caches_pass():
    with place() as here:
        here.make_dirty()
        for words in ([], ["open", "r", 0, 131072, "close"], ["open", "z", 5000, 70000, "drain", "close"]):
            if words:
                here.use(*words)
            with here.untouched():
                assert here.json("check", here.cache, "--data")["check"]["verdict"] == "sound"
                assert exported(here) == here.model
    with place() as here:
        here.make_killed()
        with here.untouched():
            here.ctl("check", here.cache, "--data")
            assert exported(here) == here.model


def damaged_copy_of_record_is_a_blemish_and_repaired():
    for off in RECORDS:
        with place() as here:
            here.make_dirty()
            sound = content(here.cache)
            here.flip(off + STRIDE + 20)
            with here.untouched():
                told = here.json("check", here.cache, expect=FAILED)
            assert told["check"]["blemishes"] == 1 and "copy B" in told["findings"][0]["what"], told
            here.ctl("repair", here.cache, expect=FAILED)
            assert content(here.cache) == sound
            here.ctl("check", here.cache)
            with here.untouched():
                here.ctl("repair", here.cache)


def record_without_good_copy_is_damage_and_stays():
    for off in RECORDS:
        with place() as here:
            here.make_dirty()
            here.flip(off + 20)
            here.flip(off + STRIDE + 20)
            with here.untouched():
                assert here.json("check", here.cache, expect=DAMAGED)["check"]["damages"] >= 1
                assert "salvage" in here.ctl("repair", here.cache, expect=DAMAGED).stderr


def damaged_key_set_is_found_and_salvaged():
    with place() as here:
        here.make_dirty()
        here.flip(line_off(USED, 1) + 40)
        with here.untouched():
            told = here.json("check", here.cache, expect=DAMAGED)
            assert told["findings"][0]["where"] == "segment 1, line 1", told
            assert "salvage" in here.ctl("export", here.cache, here.out, "--backing", here.backing, expect=FAILED).stderr
            assert not os.path.exists(here.out)
            saved = exported(here, "--salvage", expect=DAMAGED)
        here.model[8192:8192 + 4096] = content(here.backing)[8192:8192 + 4096]
        assert saved == here.model


def damaged_data_is_found_with_data():
    with place() as here:
        here.make_dirty()
        here.flip(segment_off(USED) + 8192 + 100)
        with here.untouched():
            here.ctl("check", here.cache)
            told = here.json("check", here.cache, "--data", expect=DAMAGED)
            assert told["check"]["lost_bytes"] == 4096, told
        here.ctl("scrub", here.cache, "--backing", here.backing, expect=DAMAGED)


def cache_in_use_is_not_checked():
    with place() as here:
        here.create()
        with here.live():
            for command in ("check", "repair"):
                here.ctl(command, here.cache, expect=USAGE)
            here.ctl("forget", here.cache, expect=FAILED)


def random_damage_is_found_and_repair_never_makes_it_worse():
    """Sound means: all is read as written. And what could be read before a repair can be read after it."""
    dice = random.Random(SEED)
    with place() as here:
        here.make_dirty()
        sound = content(here.cache)
        places = [off for record in RECORDS for off in range(record, record + 64)]
        places += [segment_off(USED) + 8192 + i for i in range(20 * 4096)][::997]
        places += range(line_off(USED, 19), line_off(USED, 0) + 64)
        for _ in range(24):
            here.patch(0, sound)
            for off in dice.sample(places, dice.randrange(1, 4)):
                here.flip(off + dice.choice((0, 0, STRIDE if off % STRIDE < 64 and off < segment_off(USED) + STRIDE else 0)))
            with here.untouched():
                told = here.ctl("check", here.cache, "--data", expect=None)
                before = here.ctl("export", here.cache, here.out, "--backing", here.backing, expect=None)
            if told.returncode != DAMAGED:
                assert before.returncode == OK and content(here.out) == here.model, told.stdout
            saved = content(here.out) if before.returncode == OK else None
            if saved is not None:
                os.unlink(here.out)
            with here.untouched_backing():
                here.ctl("repair", here.cache, expect=None)
            after = here.ctl("check", here.cache, "--data", expect=None)
            assert after.returncode in (OK, told.returncode) or told.returncode == DAMAGED, after.stdout
            if saved is not None:
                assert exported(here) == saved


def drain_brings_all_to_the_backing():
    with place() as here:
        here.make_dirty()
        here.ctl("drain", here.cache, "--backing", here.backing)
        assert content(here.backing) == here.model
        assert here.json("info", here.cache)["info"]["dirty_bytes"] == 0


def wrong_backing_is_refused():
    with place() as here:
        here.make_dirty()
        other = here.out
        with open(other, "wb") as file:
            file.write(bytes(BACKING_BYTES))
        with here.untouched():
            for command in ("drain", "scrub", "grow"):
                assert "belongs" in here.ctl(command, here.cache, "--backing", other, expect=FAILED).stderr
                here.ctl(command, here.cache, expect=USAGE)
        assert content(other) == bytes(BACKING_BYTES)
        here.ctl("drain", here.cache, "--backing", here.backing, "--any-backing")
        assert content(here.backing) == here.model


def forget_asks_before_it_loses():
    with place() as here:
        here.make_dirty()
        with here.untouched():
            assert "drain" in here.ctl("forget", here.cache, expect=FAILED).stderr
            refused = here.ctl("forget", here.cache, "--discard-dirty", expect=FAILED).stderr
            assert "80 KiB" in refused and "--yes" in refused, refused
        here.ctl("forget", here.cache, "--discard-dirty", "--yes")
        info = here.json("info", here.cache)["info"]
        assert info["dirty_bytes"] == 0 and info["clean_bytes"] == 0, info
        assert exported(here) == content(here.backing)


def grow_keeps_what_is_cached():
    with place() as here:
        here.make_dirty()
        here.ctl("grow", here.cache, "--backing", here.backing, "--size", str(CACHE_BYTES + 4 * SEGMENT))
        assert here.json("info", here.cache)["info"]["segments"] == SEGMENTS + 4
        here.ctl("check", here.cache, "--data")
        assert exported(here) == here.model


def export_never_overwrites():
    with place() as here:
        here.make_dirty()
        with here.untouched():
            for path in (here.cache, here.backing):
                here.ctl("export", here.cache, path, "--backing", here.backing, expect=FAILED)


tap.run([(name, check) for name, check in list(globals().items())
         if callable(check) and getattr(check, "__module__", "") == "__main__" and name != "exported"])
