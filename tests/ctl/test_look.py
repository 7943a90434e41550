# SPDX-License-Identifier: BSD-3-Clause
"""
test_look.py - pcachectl: create, info, stats and the help.

Goal: what is told is right, in each form, and looking changes nothing.
Method: caches made and used by other processes; JSON is compared with what was done, files are hashed before and after.

Arguments and environment: harness.py.
"""

import json
import re

from harness import BACKING_BYTES, CACHE_BYTES, FAILED, SEGMENT, SEGMENTS, STATS_OFF, STRIDE, TAILS_OFF, USAGE, INFO_OFF
from harness import place, run, CTL, tap

COMMANDS = ["create", "info", "stats", "check", "repair", "drain", "scrub", "grow", "forget", "export"]


def every_command_explains_itself():
    listed = run([CTL, "help"]).stdout
    for name in COMMANDS:
        assert f"\n  {name} " in listed, listed
        assert f"usage: pcachectl {name} " in run([CTL, name, "--help"]).stdout
        assert run([CTL, name, "--help"]).stdout == run([CTL, "help", name]).stdout


def wrong_calls_give_usage():
    for words in ([], ["nothing"], ["info"], ["info", "a", "b"], ["info", "--nothing", "a"], ["create", "x"],
                  ["create", "x", "--size", "12Q"], ["create", "x", "--size"], ["help", "nothing"],
                  ["create", "x", "--size", "8M"], ["stats", "x", "--format", "xml"],
                  ["create", "x", "--size", "8M", "--backing-size", "1M", "--mode", "fast"]):
        run([CTL, *words], USAGE)


def created_cache_is_what_was_asked_for():
    with place() as here:
        here.create("--mode", "writethrough", "--gc-percent", "55")
        info = here.json("info", here.cache)["info"]
        assert info["file_bytes"] == CACHE_BYTES and info["segment_bytes"] == SEGMENT, info
        assert info["segments"] == SEGMENTS and info["segments_free"] == SEGMENTS - 1, info
        assert info["backing_bytes"] == BACKING_BYTES and info["backing_id_is_derived"] is True, info
        assert info["mode"] == "writethrough" and info["gc_percent"] == 55 and info["dirty_bytes"] == 0, info
        assert info["state"] == "closed" and info["superblock"] == "good", info
        with here.untouched():
            assert "exists" in here.create(expect=FAILED).stderr


def cache_for_a_later_backing_opens_in_front_of_it():
    with place() as here:
        here.ctl("create", here.cache, "--size", "2M", "--segment-size", "64K", "--backing-size", str(BACKING_BYTES))
        info = here.json("info", here.cache)["info"]
        assert info["backing_id"] is None and info["backing_bytes"] == BACKING_BYTES, info
        here.use("open", "w", 0, 100, 1, "close")


def create_over_other_file_is_refused():
    with place() as here:
        with open(here.cache, "wb") as file:
            file.write(b"somebody's letters" * 100000)
        with here.untouched():
            assert "exists" in here.create(expect=FAILED).stderr


def info_tells_what_is_dirty():
    with place() as here:
        here.make_dirty()
        with here.untouched():
            info = here.json("info", here.cache)["info"]
            assert info["dirty_bytes"] == 20 * 4096 and info["clean_bytes"] == 0, info
            assert "80 KiB" in here.ctl("info", here.cache).stdout
            raw = dict(line.split(" ", 1) for line in here.ctl("info", here.cache, "--raw").stdout.splitlines())
            assert raw["dirty_bytes"] == str(20 * 4096) and raw["mode"] == "writeback", raw
        here.use("open", "drain", "close")
        info = here.json("info", here.cache)["info"]
        assert info["dirty_bytes"] == 0 and info["clean_bytes"] == 20 * 4096, info


def info_of_killed_cache_says_so():
    with place() as here:
        here.make_killed()
        with here.untouched():
            info = here.json("info", here.cache)["info"]
        assert info["state"].startswith("not closed") and info["dirty_bytes"] == 9096, info


def info_of_damaged_cache_says_what():
    for off, field in ((0, "superblock"), (INFO_OFF, "cache_info"), (TAILS_OFF, "tails")):
        with place() as here:
            here.make_dirty()
            here.flip(off + 40)
            with here.untouched():
                assert here.json("info", here.cache)["info"][field] == "one copy"
            here.flip(off + STRIDE + 40)
            with here.untouched():
                info = here.json("info", here.cache)["info"]
            assert info[field] == "damaged" and info["state"] == "damaged", info


def info_of_no_cache_is_refused():
    with place() as here:
        assert "No such file" in here.ctl("info", here.cache, expect=FAILED).stderr
        for data in (b"", b"short", bytes(1 << 20)):
            with open(here.cache, "wb") as file:
                file.write(data)
            assert "create" in here.ctl("info", here.cache, expect=FAILED).stderr


def stats_of_open_cache_are_live():
    with place() as here:
        here.create()
        with here.live("w", 0, 4096, 3):
            told = here.json("stats", here.cache)
            assert told["stats"]["source"] == "open" and told["stats"]["pid"] > 0, told
            assert here.json("info", here.cache)["info"]["state"] == "open"
        assert here.json("stats", here.cache)["stats"]["source"] == "killed"
        here.use("open", "w", 0, 4096, 3, "w", 8192, 4096, 3, "close")
        with here.untouched():
            stats = here.json("stats", here.cache)["stats"]
        assert stats["source"] == "closed" and stats["writes"] == 2 and stats["write_bytes"] == 8192, stats


def stats_forms_agree():
    with place() as here:
        here.make_dirty()
        told = json.loads(here.ctl("stats", here.cache, "--format", "json").stdout)
        raw = here.ctl("stats", here.cache, "--raw").stdout
        assert f"write_bytes {told['stats']['write_bytes']}\n" in raw, raw
        assert [row["call"] for row in told["latencies"]] == ["read_hit", "read_miss", "write", "flush", "batch"], told
        assert "bytes written" in here.ctl("stats", here.cache).stdout


def prometheus_text_is_well_formed():
    with place() as here:
        here.make_dirty()
        text = here.ctl("stats", here.cache, "--format", "prometheus").stdout
        kinds = dict(re.findall(r"^# TYPE (\w+) (counter|gauge|summary)$", text, re.MULTILINE))
        assert sorted(kinds) == sorted(re.findall(r"^# HELP (\w+) [A-Z0-9].*\.$", text, re.MULTILINE))
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            match = re.fullmatch(r'(\w+)\{cache="[^"]*"(,\w+="[^"]*")*\} [0-9]+(\.[0-9]+)?', line)
            assert match, line
            name = re.sub(r"(?<=pcache_latency_seconds)_(sum|count)$", "", match.group(1))
            assert name in kinds and name.endswith("_total") == (kinds[name] == "counter"), line
        assert re.search(r'^pcache_write_bytes_total\{cache="[^"]*"\} 81920$', text, re.MULTILINE), text


def stats_without_page_are_refused():
    with place() as here:
        here.make_dirty()
        here.flip(STATS_OFF)
        here.flip(STATS_OFF + STRIDE)
        with here.untouched():
            assert "info" in here.ctl("stats", here.cache, expect=FAILED).stderr


tap.run([(name, check) for name, check in list(globals().items())
         if callable(check) and getattr(check, "__module__", "") == "__main__"])
