# SPDX-License-Identifier: BSD-3-Clause
"""
program.py - programs that are run as a user would run them, in directories that are gone after the test.

Environment: PC_TEST_DIR for backings and files, PC_TEST_CACHE_DIR for caches, PC_TEST_SEED.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile

FILES = os.environ.get("PC_TEST_DIR", "/var/tmp")
CACHES = os.environ.get("PC_TEST_CACHE_DIR", "/dev/shm")
SEED = int(os.environ.get("PC_TEST_SEED", "1"))
CEILING_S = 300


class Directories:
    """One for files, one for caches."""

    def __init__(self, prefix):
        self.files = tempfile.mkdtemp(prefix=prefix, dir=FILES)
        self.caches = tempfile.mkdtemp(prefix=prefix, dir=CACHES)


@contextlib.contextmanager
def removed_after(here):
    try:
        yield here
    finally:
        shutil.rmtree(here.files, ignore_errors=True)
        shutil.rmtree(here.caches, ignore_errors=True)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def check_status(status, expect, command, output=""):
    assert status == expect, f"{' '.join(command[1:])}: exit status {status}, not {expect}\n{output}"


def run(command, expect, is_refusal, **how):
    """expect: exit status, None: any. A refusal must give its reason."""
    if "input" not in how:
        how.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=CEILING_S, **how)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    if expect is not None:
        check_status(done.returncode, expect, command, done.stdout + done.stderr)
    if is_refusal:
        assert done.stderr, "no reason given"
    return done
