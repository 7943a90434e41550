# SPDX-License-Identifier: BSD-3-Clause
"""
harness.py - a cache in front of a file, ways to use it and to call pcachectl, and where things lie in it.

Arguments: pcachectl and user. Environment: PC_TEST_DIR for backings, PC_TEST_CACHE_DIR for caches.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "layout"))
import program  # noqa: E402
import tap  # noqa: E402,F401
from program import SEED, content, removed_after  # noqa: E402

CTL, USER = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
OK, FAILED, USAGE, DAMAGED = 0, 1, 2, 4

KIB = 1 << 10
SEGMENT = 64 * KIB
SEGMENTS = 12
SEGMENTS_OFF = 128 * KIB
USED = 1  # number of the segment that the first open after a create writes to
CACHE_BYTES = SEGMENTS_OFF + SEGMENTS * SEGMENT
BACKING_BYTES = 256 * KIB
INFO_OFF, TAILS_OFF, STATS_OFF, STRIDE = 64 * KIB, 72 * KIB, 80 * KIB, 4096
LINE = 64


def segment_off(number):
    return SEGMENTS_OFF + number * SEGMENT


def line_off(number, line):
    return segment_off(number) + SEGMENT - (line + 1) * LINE


class Place(program.Directories):
    """A cache and its backing, gone after the test."""

    def __init__(self):
        super().__init__("pcachectl-test.")
        self.cache = os.path.join(self.caches, "cache")
        self.backing = os.path.join(self.files, "backing")
        self.out = os.path.join(self.files, "out")
        with open(self.backing, "wb") as file:
            file.write(random.Random(SEED).randbytes(BACKING_BYTES))
        self.model = bytearray(content(self.backing))

    def create(self, *options, expect=OK):
        return self.ctl("create", self.cache, "--size", str(CACHE_BYTES), "--segment-size", "64K", "--backing",
                        self.backing, *options, expect=expect)

    def ctl(self, *words, expect=OK, **how):
        return run([CTL, *words], expect, **how)

    def json(self, command, *words, expect=OK):
        told = json.loads(self.ctl(command, *words, "--json", expect=expect).stdout)
        assert told["schema_version"] == 1 and told["command"] == command, told
        return told

    def use(self, *words, expect=OK):
        """Runs `user`, and writes the same into the model."""
        words = [str(word) for word in words]
        for i, word in enumerate(words):
            if word == "w":
                off, length, value = map(int, words[i + 1:i + 4])
                self.model[off:off + length] = bytes([value]) * length
            if word == "z":
                off, length = map(int, words[i + 1:i + 3])
                self.model[off:off + length] = bytes(length)
        return run([USER, self.cache, self.backing, *words], expect)

    def make_dirty(self):
        """Closed in order; 20 blocks of 4 KiB in the log, the rest of the backing not cached."""
        self.create()
        writes = [word for i in range(20) for word in ("w", 8192 * i, 4096, 1 + i)]
        self.use("open", *writes, "close")

    def make_killed(self):
        self.create()
        self.use("open", "w", 0, 4096, 7, "w", 65000, 5000, 9, "flush", "kill", expect=-signal.SIGKILL)

    def patch(self, off, data, path=None):
        with open(path or self.cache, "r+b") as file:
            file.seek(off)
            file.write(data)

    def flip(self, off):
        with open(self.cache, "r+b") as file:
            file.seek(off)
            byte = file.read(1)[0]
            file.seek(off)
            file.write(bytes([byte ^ 0x5a]))

    def pictures(self):
        return {path: hashlib.sha256(content(path)).hexdigest() for path in (self.cache, self.backing)}

    @contextlib.contextmanager
    def untouched(self):
        before = self.pictures()
        yield
        assert self.pictures() == before, "a file was changed"

    @contextlib.contextmanager
    def untouched_backing(self):
        before = content(self.backing)
        yield
        assert content(self.backing) == before, "the backing was changed"

    @contextlib.contextmanager
    def live(self, *words):
        """A process that has the cache open."""
        process = subprocess.Popen([USER, self.cache, self.backing, "open", *map(str, words), "wait"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def place():
    return removed_after(Place())


def run(command, expect=OK, **how):
    """Of `check` the status 1 says that something was found."""
    return program.run(command, expect, is_refusal=expect in (FAILED, USAGE) and "check" not in command, **how)
