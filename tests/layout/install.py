# SPDX-License-Identifier: BSD-3-Clause
"""An installed library serves a program outside this tree.

Method: `meson install` into an empty directory, compile examples/hello.c with nothing but what pkg-config says, run it
twice (create, open again): linked with the shared library, then with the static one.

Usage: install.py SOURCE_ROOT BUILD_ROOT PREFIX PKG_CONFIG CC...
MESON may hold the command to run Meson with.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tap

SOURCE_ROOT, BUILD_ROOT, PREFIX, PKG_CONFIG = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
CC = sys.argv[5:]
MESON = shlex.split(os.environ.get("MESON", "meson"))
BACKING_DIR = os.environ.get("PC_TEST_DIR", "/var/tmp")


def run(command, **extra):
    done = subprocess.run(command, capture_output=True, text=True, **extra)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


class Installed:
    def __init__(self, work):
        self.work = Path(work)
        self.destdir = self.work / "root"
        self.prefix = Path(str(self.destdir) + PREFIX)
        self.pc = None

    def install(self):
        run([*MESON, "install", "-C", BUILD_ROOT, "--no-rebuild", "--destdir", str(self.destdir)])
        found = list(self.prefix.rglob("libpcache.pc"))
        assert len(found) == 1, f"libpcache.pc found {len(found)} times under {self.prefix}"
        self.pc = found[0]

    @property
    def libdir(self):
        return self.pc.parent.parent

    def pkg_config(self, *words):
        env = dict(os.environ, PKG_CONFIG_PATH=str(self.pc.parent))
        command = [PKG_CONFIG, f"--define-variable=prefix={self.prefix}", *words, "libpcache"]
        return run(command, env=env).split()

    def compile(self, name, *words):
        program = self.work / name
        # Out of the tree, so that nothing beside it is found by accident.
        source = self.work / "hello.c"
        shutil.copy(SOURCE_ROOT / "examples" / "hello.c", source)
        run([*CC, "-Wall", "-Werror", str(source), "-o", str(program), *self.pkg_config("--cflags", "--libs", *words)])
        return program

    def run_hello(self, program):
        with tempfile.TemporaryDirectory(dir=BACKING_DIR) as files:
            env = dict(os.environ, LD_LIBRARY_PATH=str(self.libdir))
            command = [str(program), f"{files}/cache", f"{files}/backing"]
            for _ in range(2):
                assert run(command, env=env).strip(), "hello printed nothing"


def needed(program):
    return run(["readelf", "-d", str(program)])


def check_install(tree):
    tree.install()
    libdir = tree.libdir
    for name in ("libpcache.a", "libpcache.so", "libpcache.so.0"):
        assert (libdir / name).exists(), f"{name} is not installed"
    assert list(tree.prefix.rglob("pcache.h")), "pcache.h is not installed"
    foreign = [p.name for p in libdir.glob("*internal*")]
    assert not foreign, "installed by mistake: " + ", ".join(foreign)


def check_soname(tree):
    assert "libpcache.so.0]" in needed(tree.libdir / "libpcache.so"), "soname is not libpcache.so.0"


def check_version(tree):
    header = (SOURCE_ROOT / "include" / "pcache.h").read_text()
    parts = [re.search(rf"PCACHE_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")]
    told = tree.pkg_config("--modversion")[0]
    assert told == ".".join(parts), f"pkg-config says {told}, the header {'.'.join(parts)}"


def check_shared(tree):
    program = tree.compile("hello_shared")
    assert "libpcache.so.0" in needed(program), "hello is not linked with the shared library"
    tree.run_hello(program)


def check_static(tree):
    for path in tree.libdir.glob("libpcache.so*"):
        path.unlink()
    program = tree.compile("hello_static", "--static")
    assert "libpcache.so" not in needed(program), "hello is linked with the shared library"
    tree.run_hello(program)


def main():
    with tempfile.TemporaryDirectory(dir=BUILD_ROOT) as work:
        tree = Installed(work)
        tap.run([
            ("install_into_empty_directory_puts_all_files", lambda: check_install(tree)),
            ("installed_library_has_the_soname", lambda: check_soname(tree)),
            ("pkg_config_version_is_the_headers", lambda: check_version(tree)),
            ("program_with_pkg_config_links_and_runs_shared", lambda: check_shared(tree)),
            ("program_with_pkg_config_links_and_runs_static", lambda: check_static(tree)),
        ])


main()
