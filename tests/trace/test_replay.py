# SPDX-License-Identifier: BSD-3-Clause
"""
test_replay.py - pcache-trace as a user meets it.

Goal: the figures fit each other and the trace, wrong content is noticed, and whatever happens nothing is left behind.
Method: small traces, written here or generated, in a directory of the test's own, which has to be empty afterwards. A
replay that has to be caught half-way is stopped (SIGSTOP) before anything is done to it.

Argument: pcache-trace. Environment: PC_TEST_CACHE_DIR for its directories.
"""

import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "layout"))
import tap  # noqa: E402

TOOL = os.path.abspath(sys.argv[1])
CACHES = os.environ.get("PC_TEST_CACHE_DIR", "/dev/shm")
CEILING_S = 300
OK, FAILED, USAGE, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
BLOCK = 4096
SMALL = ("--cache-size", "2M", "--segment-size", "64K")
ZIPF = ("--generate", "zipf", "--blocks", "2000", "--requests", "10000")


@contextlib.contextmanager
def place():
    """A directory that must be empty in the end."""
    with tempfile.TemporaryDirectory(prefix="pcache-trace-test.", dir=CACHES) as here:
        yield here
        assert os.listdir(here) == [], f"left behind: {os.listdir(here)}"


def start(here, *options, **how):
    return subprocess.Popen([TOOL, "--dir", here, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def run(here, *options, expect=OK, **how):
    if "input" not in how:
        how["stdin"] = subprocess.DEVNULL
    done = subprocess.run([TOOL, "--dir", here, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=CEILING_S, **how)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == expect, f"exit status {done.returncode}, not {expect}: {done.stderr}"
    assert (done.stderr == "") == (expect == OK), f"stderr: {done.stderr}"
    return done


def replay(here, *options, **how):
    """Run with --json, and read what it says."""
    lines = run(here, *options, "--json", **how).stdout.splitlines()
    figures = json.loads(lines[-1])
    text = dict(line.split(": ") for line in lines[:-1])
    assert list(text) == list(figures), "text and JSON have different keys"
    for key, value in figures.items():
        same = text[key] == value if isinstance(value, str) else float(text[key]) == value
        assert same, f"{key}: {text[key]} and {value}"
    return figures


def csv(*requests):
    lines = [f"{number},{op},{off},{length}" for number, (op, off, length) in enumerate(requests)]
    return ("\n".join(lines) + "\n").encode()


def replay_csv(here, *requests, options=SMALL):
    return replay(here, *options, "--verify", "--format", "csv", "-", input=csv(*requests))


def expect_figures(figures, **wanted):
    for key, value in wanted.items():
        assert figures[key] == value, f"{key} is {figures[key]}, not {value}"


def usable_blocks(figures):
    per_segment = (figures["segment_bytes"] - 8192) // (BLOCK + 64)
    return figures["segments"] * figures["gc_percent"] // 100 * per_segment


def check_consistent(figures):
    reads = figures["block_reads"]
    assert figures["hits"] + figures["misses"] == reads
    assert figures["reference_hits"] + figures["reference_misses"] == reads
    assert figures["reference_fifo_hits"] + figures["reference_fifo_misses"] == reads
    assert abs(figures["miss_ratio"] * reads - figures["misses"]) < 1e-6 * reads + 1
    assert abs(figures["reference_miss_ratio"] * reads - figures["reference_misses"]) < 1e-6 * reads + 1
    # Blocks are read whole or not at all.
    assert figures["backing_read_bytes"] - figures["read_ahead_bytes"] == figures["misses"] * BLOCK
    assert figures["filled_bytes"] <= figures["backing_read_bytes"]
    expect_figures(figures, reference_blocks=usable_blocks(figures),
                   reference_full_blocks=figures["cache_bytes"] // BLOCK, clean_errors=0, checksum_errors=0)


# Replays

def generated_trace_gives_consistent_figures():
    with place() as here:
        figures = replay(here, *ZIPF, *SMALL, "--verify")
        check_consistent(figures)
        expect_figures(figures, requests=10000, block_reads=10000, block_writes=0, policy="s3fifo", fill="always")
        assert 1000 < figures["blocks"] <= 2000
        assert 0.2 < figures["reference_miss_ratio"] < figures["reference_fifo_miss_ratio"] < 0.9


def each_setting_gives_consistent_figures():
    for options in (("--policy", "fifo"), ("--fill", "second-touch"), ("--fill", "never"), ("--gc-percent", "30"),
                    ("--read-ahead", "64K"), ("--bypass", "128K"), ("--segment-size", "128K"), ("--pace",)):
        with place() as here:
            figures = replay(here, "--generate", "scan-zipf", "--blocks", "1000", "--requests", "3000", "--scan-every",
                             "500", "--scan-blocks", "200", "--write-percent", "10", *SMALL, "--verify", *options)
            check_consistent(figures)


def writes_are_verified_and_written_back():
    with place() as here:
        figures = replay(here, *ZIPF, *SMALL, "--write-percent", "50", "--verify")
        check_consistent(figures)
        assert 4500 < figures["block_writes"] < 5500
        assert figures["hits"] > 0 and figures["segments_reclaimed"] > 0 and figures["written_back_bytes"] > 0


def blocks_that_were_written_are_hits():
    with place() as here:
        figures = replay_csv(here, ("w", 0, 4 * BLOCK), ("r", 0, 4 * BLOCK), ("r", BLOCK, 1), ("w", BLOCK, BLOCK),
                             ("r", BLOCK - 1, 2))
        expect_figures(figures, requests=5, block_reads=7, block_writes=5, blocks=4, hits=7, misses=0, miss_ratio=0,
                       reference_hits=7, reference_fifo_hits=7, reference_misses=0)


def first_reads_are_misses():
    with place() as here:
        figures = replay_csv(here, ("r", 0, 3 * BLOCK), ("r", 10 * BLOCK, BLOCK), ("w", 3 * BLOCK, 1))
        expect_figures(figures, block_reads=4, hits=0, misses=4, miss_ratio=1, reference_misses=4,
                       backing_read_bytes=4 * BLOCK, reference_filled_bytes=5 * BLOCK)


def blocks_that_were_read_are_hits_as_the_fill_says():
    reads = [("r", 0, 2 * BLOCK)] * 3 + [("r", 7 * BLOCK, BLOCK)]
    for fill, hits in (("always", 4), ("second-touch", 2), ("never", 0)):
        with place() as here:
            figures = replay_csv(here, *reads, options=(*SMALL, "--fill", fill))
            expect_figures(figures, block_reads=7, hits=hits, misses=7 - hits, fill=fill)


def read_ahead_turns_misses_into_hits():
    reads = [("r", number * BLOCK, BLOCK) for number in range(256)]
    with place() as here:
        expect_figures(replay_csv(here, *reads), hits=0, read_ahead_bytes=0)
        figures = replay_csv(here, *reads, options=(*SMALL, "--read-ahead", "64K"))
        assert figures["hits"] > 128 and figures["read_ahead_bytes"] >= figures["hits"] * BLOCK


def s3fifo_misses_less_than_fifo():
    options = (*ZIPF, "--pace", "--cache-size", "2M", "--segment-size", "64K")
    with place() as here:
        s3fifo = replay(here, *options, "--policy", "s3fifo")
        fifo = replay(here, *options, "--policy", "fifo")
        expect_figures(fifo, policy="fifo", reference_miss_ratio=s3fifo["reference_miss_ratio"], moved_bytes=0)
        assert s3fifo["moved_bytes"] > 0 and s3fifo["ghost_hits"] > 0
        assert s3fifo["miss_ratio"] < fifo["miss_ratio"], f"{s3fifo['miss_ratio']} and {fifo['miss_ratio']}"


def long_write_and_far_offset_are_replayed():
    with place() as here:
        figures = replay_csv(here, ("w", 1 << 40, 3 << 20), ("r", (1 << 40) + (1 << 20), BLOCK),
                             options=("--cache-size", "16M", "--segment-size", "1M"))
        expect_figures(figures, block_writes=768, hits=1, misses=0)


def same_trace_by_any_way_gives_same_reference():
    options = ("--generate", "loop", "--blocks", "700", "--requests", "2000")
    keys = ("requests", "blocks", "block_reads", "reference_miss_ratio", "reference_fifo_miss_ratio",
            "reference_ghost_hits", "reference_moved_bytes", "reference_full_miss_ratio")
    with place() as here, tempfile.TemporaryDirectory() as files:
        direct = replay(here, *options, *SMALL)
        for name in ("trace.csv", "trace.oracleGeneral"):
            path = os.path.join(files, name)
            assert run(here, *options, "--out", path).stdout == "", "nothing was to be replayed"
            from_file = replay(here, *SMALL, path)
            expect_figures(from_file, **{key: direct[key] for key in keys})
            with open(path, "rb") as file:
                content = file.read()
            kind = "csv" if name.endswith(".csv") else "oracle"
            expect_figures(replay(here, *SMALL, "--format", kind, "-", input=content), **{k: direct[k] for k in keys})


def limit_cuts_the_trace():
    with place() as here:
        expect_figures(replay(here, *ZIPF, *SMALL, "--limit", "1234"), requests=1234)
        figures = replay(here, *SMALL, "--limit", "2", "--format", "csv", "-", input=csv(("r", 0, 1), ("r", 0, 1)) +
                         b"junk\n")
        expect_figures(figures, requests=2)


def same_seed_writes_same_trace():
    with place() as here:
        traces = [run(here, *ZIPF, "--seed", seed, "--format", "csv", "--out", "-").stdout for seed in "112"]
        assert traces[0] == traces[1] != traces[2]


# Crashes

def replay_goes_on_after_crash():
    for percent in ("0", "30"):
        with place() as here:
            figures = replay(here, *ZIPF, *SMALL, "--write-percent", percent, "--verify", "--crash-after", "6000",
                             "--window", "3000")
            check_consistent(figures)
            expect_figures(figures, crash_after=6000, window=3000)
            if percent != "0":
                assert figures["replayed_keys"] > 0 and figures["after_crash_hit_ratio"] > 0
            assert 0 < figures["reference_after_crash_hit_ratio"] < 1


def blocks_that_were_read_are_hits_after_crash():
    with place() as here:
        figures = replay(here, "--generate", "loop", "--blocks", "100", "--requests", "300", *SMALL, "--verify",
                         "--crash-after", "150", "--window", "100")
        expect_figures(figures, misses=100, after_crash_hit_ratio=1, reference_after_crash_hit_ratio=1)


def crash_windows_count_their_requests_only():
    with place() as here:
        # a miss, hits | crash | a hit, a miss, a hit
        requests = [("w", 0, BLOCK), ("r", 64 * BLOCK, BLOCK)] + [("r", 0, BLOCK)] * 2
        after = [("r", 0, BLOCK), ("r", 32 * BLOCK, BLOCK), ("r", 0, BLOCK)]
        figures = replay(here, *SMALL, "--format", "csv", "--crash-after", "4", "--window", "2", "-",
                         input=csv(*requests, *after))
        expect_figures(figures, before_crash_hit_ratio=1, after_crash_hit_ratio=0.5,
                       reference_before_crash_hit_ratio=1, reference_after_crash_hit_ratio=0.5)


# What goes wrong

def worker_of(process):
    """The process that replays, once its cache exists."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        children = file.read().split()
    return int(children[0]) if children else None


def wait_for(condition, process, what):
    end = time.monotonic() + CEILING_S
    while True:
        found = condition()
        if found:
            return found
        assert process.poll() is None, f"ended before {what}: {process.stderr.read().decode()}"
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.001)


def files_in(here, name):
    return [os.path.join(here, top, name) for top in os.listdir(here) if os.path.exists(os.path.join(here, top, name))]


@contextlib.contextmanager
def half_way(here, *options):
    """A replay that is at work and takes long. Gives the process and the worker."""
    process = start(here, "--generate", "zipf", "--blocks", "2000", "--requests", "6000000", "--theta", "0", *SMALL,
                    *options)
    try:
        cache = wait_for(lambda: files_in(here, "cache"), process, "the cache")[0]
        wait_for(lambda: os.path.exists(cache) and os.stat(cache).st_size >= 2 << 20, process, "the cache's size")
        yield process, wait_for(lambda: worker_of(process), process, "the worker")
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.stderr.close()
        process.wait()


def end_of(process):
    _, error = process.communicate(timeout=CEILING_S)
    return process.returncode, error.decode()


def signal_ends_replay_and_leaves_nothing():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with place() as here:
            with half_way(here) as (process, worker):
                os.kill(worker, signal.SIGSTOP)  # it cannot end by itself
                process.send_signal(number)
                status, _ = end_of(process)
                assert status == 128 + number, f"exit status {status}"
                assert not os.path.exists(f"/proc/{worker}"), "the worker is still there"


def signal_to_whole_group_ends_replay():
    """As a terminal does: the worker gets it, too."""
    with place() as here:
        with half_way(here) as (process, worker):
            os.kill(worker, signal.SIGINT)
            process.send_signal(signal.SIGINT)
            status, _ = end_of(process)
            assert status == INTERRUPTED, f"exit status {status}"


def killed_worker_is_reported_and_leaves_nothing():
    with place() as here:
        with half_way(here) as (process, worker):
            os.kill(worker, signal.SIGKILL)
            status, error = end_of(process)
            assert status == FAILED and "signal 9" in error, f"exit status {status}: {error}"


def worker_ends_when_its_parent_is_killed():
    with tempfile.TemporaryDirectory(prefix="pcache-trace-test.", dir=CACHES) as here:
        with half_way(here) as (process, worker):
            os.kill(worker, signal.SIGSTOP)  # it cannot end by itself
            process.kill()
            process.wait()
            end = time.monotonic() + CEILING_S
            while state_of(worker) != "Z":
                if time.monotonic() >= end:
                    os.kill(worker, signal.SIGKILL)
                    raise AssertionError("the worker goes on")
                time.sleep(0.01)


def state_of(pid):
    """Its letter in /proc; Z when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
    return "Z"


def change_under_the_cache(change, *options):
    with place() as here:
        with half_way(here, *options) as (process, worker):
            os.kill(worker, signal.SIGSTOP)
            with open(files_in(here, "backing")[0], "r+b") as file:
                change(file)
            os.kill(worker, signal.SIGCONT)
            return end_of(process)


def swap_blocks(file):
    content = file.read()
    half = len(content) // 2 // BLOCK * BLOCK
    file.seek(0)
    file.write(content[half:] + content[:half])


def zero_blocks(file):
    file.write(bytes(os.fstat(file.fileno()).st_size))


def wrong_content_is_found():
    for change, found in ((swap_blocks, "version 0 of block"), (zero_blocks, "zeroes")):
        status, error = change_under_the_cache(change, "--verify")
        assert status == WRONG and found in error, f"exit status {status}: {error}"


def cache_that_is_too_small_is_explained():
    with place() as here:
        done = run(here, *ZIPF, "--cache-size", "128K", "--segment-size", "64K", expect=FAILED)
        assert "library:" in done.stderr and "open:" in done.stderr, done.stderr


def directory_that_is_missing_is_named():
    with place() as here:
        done = run(os.path.join(here, "missing"), *ZIPF, *SMALL, expect=FAILED)
        assert "missing" in done.stderr, done.stderr


def backing_that_is_too_large_leaves_nothing():
    with place() as here:
        run(here, *SMALL, "--format", "csv", "-", input=csv(("r", 0, 1)), expect=FAILED, preexec_fn=limit_file_size)


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, 1 << 10))


def bad_trace_is_refused_with_its_place():
    record = struct.pack("<IQIq", 0, 1, BLOCK, -1)
    cases = [
        ("csv", csv(("r", 0, 1)) + b"1,r,-5,1\n", "-: line 2: '-5'"),
        ("csv", b"", "no requests"),
        ("csv", b"# nothing\n", "no requests"),
        ("oracle", record + record[:10], "-: record 2 has 10 bytes"),
        ("oracle", b"0,r,0,4096\n" * 24, "record 1"),
    ]
    for kind, content, reason in cases:
        with place() as here:
            done = run(here, *SMALL, "--format", kind, "-", input=content, expect=FAILED)
            assert reason in done.stderr, done.stderr
    with place() as here:
        done = run(here, *SMALL, os.path.join(here, "missing.csv"), expect=FAILED)
        assert "missing.csv" in done.stderr, done.stderr


def wrong_usage_is_refused():
    cases = [
        ([], "trace"), (["a", "b"], "one trace"), (["--policy", "lru", "x"], "lru"), (["--fill", "x", "x"], "fill"),
        (["--generate", "line"], "line"), (["--generate", "zipf", "x"], "takes no trace"),
        (["--blocks", "5", "x"], "--generate"), (["--cache-size", "5X", "x"], "5X"), (["--limit", "-1", "x"], "-1"),
        (["--limit", "0", "x"], "range"), (["--gc-percent", "96", "x"], "range"), (["--theta", "nan", "x"], "nan"),
        (["--theta", "9", "x"], "9"), (["--read-ahead", "1M", "x"], "range"), (["--format", "tar", "x"], "tar"),
        (["--cache-size", "99999999999999999999", "x"], "number"), (["--cache-size", "9999999999G", "x"], "range"),
        (["--cache-size", "", "x"], "number"), (["--unknown"], "unknown"), (["--write-percent", "101", "x"], "range"),
        ([*ZIPF, "--crash-after", "10000"], "--crash-after"), (["--crash-after"], "crash-after"),
    ]
    for options, reason in cases:
        with place() as here:
            done = run(here, *options, expect=USAGE)
            assert reason in done.stderr, f"{options}: {done.stderr}"


def trace_that_oracle_cannot_say_is_refused():
    with place() as here:
        done = run(here, *ZIPF, "--write-percent", "50", "--out", "/dev/null", expect=FAILED)
        assert "reads" in done.stderr, done.stderr


def full_output_is_an_error():
    with place() as here:
        run(here, *ZIPF, "--out", "/dev/full", expect=FAILED)
        with open("/dev/full", "w") as full:
            done = subprocess.run([TOOL, "--dir", here, *ZIPF, *SMALL], stdout=full, stderr=subprocess.PIPE,
                                  timeout=CEILING_S)
        assert done.returncode == FAILED and b"stdout" in done.stderr, done.stderr


def help_and_version_are_printed():
    with place() as here:
        text = run(here, "--help").stdout
        for option in ("--policy", "--cache-size", "--segment-size", "--gc-percent", "--read-ahead", "--fill",
                       "--bypass", "--limit", "--verify", "--crash-after", "--pace", "--json", "--generate", "--out",
                       "--version"):
            assert option in text, f"{option} is missing"
        assert run(here, "--version").stdout.startswith("pcache-trace ")


tap.run([(check.__name__, check) for check in (
    generated_trace_gives_consistent_figures,
    each_setting_gives_consistent_figures,
    writes_are_verified_and_written_back,
    blocks_that_were_written_are_hits,
    first_reads_are_misses,
    blocks_that_were_read_are_hits_as_the_fill_says,
    read_ahead_turns_misses_into_hits,
    s3fifo_misses_less_than_fifo,
    long_write_and_far_offset_are_replayed,
    same_trace_by_any_way_gives_same_reference,
    limit_cuts_the_trace,
    same_seed_writes_same_trace,
    replay_goes_on_after_crash,
    blocks_that_were_read_are_hits_after_crash,
    crash_windows_count_their_requests_only,
    signal_ends_replay_and_leaves_nothing,
    signal_to_whole_group_ends_replay,
    killed_worker_is_reported_and_leaves_nothing,
    worker_ends_when_its_parent_is_killed,
    wrong_content_is_found,
    cache_that_is_too_small_is_explained,
    directory_that_is_missing_is_named,
    backing_that_is_too_large_leaves_nothing,
    bad_trace_is_refused_with_its_place,
    wrong_usage_is_refused,
    trace_that_oracle_cannot_say_is_refused,
    full_output_is_an_error,
    help_and_version_are_printed,
)])
