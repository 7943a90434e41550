# SPDX-License-Identifier: BSD-3-Clause
"""
harness.py - a place for one copy, ways to run the copier in it, and to stop it half-way.

Arguments and environment are those of test_cp.py.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "layout"))
import program  # noqa: E402
import tap  # noqa: E402,F401
from program import CEILING_S, SEED, check_status, content, removed_after  # noqa: E402,F401

COPIER = os.path.abspath(sys.argv[1])
HELLO = os.path.abspath(sys.argv[2])
ASYNC = os.path.abspath(sys.argv[3])
RANDOM = random.Random(SEED)
OK, FAILED, USAGE, REFUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


class Place(program.Directories):
    """Directories and names for one test, gone after it."""

    def __init__(self):
        super().__init__("pcache-cp-test.")
        self.source = os.path.join(self.files, "source")
        self.destination = os.path.join(self.files, "destination")
        self.cache = os.path.join(self.caches, "cache")
        self.record = self.cache + ".resume"

    def fill(self, size, path=None):
        with open(path or self.source, "wb") as file:
            file.write(RANDOM.randbytes(size))

    def command(self, *options, source=None, destination=None):
        return [COPIER, "--cache", self.cache, *options, source or self.source, destination or self.destination]

    def run(self, *options, expect=OK, source=None, destination=None, **how):
        return run(self.command(*options, source=source, destination=destination), expect, **how)

    def check_identical(self):
        assert content(self.source) == content(self.destination), "the copy differs"

    def check_complete(self):
        self.check_identical()
        assert os.listdir(self.caches) == [], f"left behind: {os.listdir(self.caches)}"

    def recorded(self):
        with open(self.record) as file:
            lines = file.read().splitlines()
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    def change_record(self, key, value):
        with open(self.record) as file:
            lines = file.read().splitlines()
        with open(self.record, "w") as file:
            for line in lines:
                file.write(f"{key}: {value}\n" if line.startswith(key + ": ") else line + "\n")


def place():
    return removed_after(Place())


def run(command, expect=OK, **how):
    return program.run(command, expect, is_refusal=expect != OK, **how)


def wait_for(condition, what):
    end = time.monotonic() + CEILING_S
    while not condition():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.0005)


def stopped(process):
    """True: stopped by SIGSTOP; False: it ended before."""
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return state.si_code == os.CLD_STOPPED


@contextlib.contextmanager
def half_way(here, *options, at_bytes=1, source=None, **how):
    """A copy that stands still somewhere after at_bytes and before the end of the source. Killed in the end."""
    options = ("--cache-size", "8M", "--block-size", "4K", "--checkpoint", "64K", *options)
    for _ in range(20):
        process = subprocess.Popen(here.command(*options, source=source), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, **how)

        def moved():
            with contextlib.suppress(OSError, KeyError):
                return int(here.recorded()["copied_bytes"]) >= at_bytes
            return process.poll() is not None

        try:
            wait_for(moved, "progress in the record")
            if process.poll() is None:
                process.send_signal(signal.SIGSTOP)
                if stopped(process) and here.recorded()["phase"] == "copying":
                    yield process
                    return
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stderr.close()
        if os.path.exists(here.record):  # it was too fast: finish it and try again
            here.run("--resume", source=source)
    raise AssertionError("the copy could not be stopped half-way")


def let_end(process, expect):
    """Go on after a stop, and read why it ended."""
    process.send_signal(signal.SIGCONT)
    stderr = process.stderr.read().decode()
    status = process.wait(timeout=CEILING_S)
    assert status == expect, f"exit status {status}, not {expect}; stderr: {stderr}"
    return stderr


def kill_half_way(here, *options, at_bytes=1):
    with half_way(here, *options, at_bytes=at_bytes) as process:
        process.kill()
        process.wait()
    return int(here.recorded()["copied_bytes"])


def figures(stdout):
    return dict(line.split(": ", 1) for line in stdout.splitlines())


def number(stats, key):
    return float(stats[key].split()[0])


MIB = 1 << 20
