# SPDX-License-Identifier: BSD-3-Clause
"""The shared library exports exactly the functions of the public header, and the header is good for C and C++.

Method: compare three lists, from pcache.h, from the symbol map and from `nm -D`; compile a file that includes only the
header, as C11 without GNU extensions and as C++, with all warnings as errors; compile the example of README.md, too.

Usage: symbols.py SOURCE_ROOT SHARED_LIBRARY NM CC
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tap

ROOT, LIBRARY, NM, CC = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
HEADER = ROOT / "include" / "pcache.h"
MAP = ROOT / "lib" / "libpcache.map"
VERSION_NODE = "LIBPCACHE_0"

USER = '#include "pcache.h"\n'
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror", "-fsyntax-only"]


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def declared():
    """Functions: a name followed by a parenthesis in a declaration that is no typedef."""
    text = re.sub(r"^\s*#.*$", "", without_comments(HEADER.read_text()), flags=re.MULTILINE)
    text = text.replace('extern "C" {', "")
    names = set()
    for statement in re.sub(r"\{[^}]*\}", "", text).split(";"):
        if "(" in statement and not statement.strip().startswith("typedef"):
            names.add(re.search(r"(\w+)\s*\(", statement).group(1))
    return names


def mapped():
    text = without_comments(MAP.read_text())
    listed = text[text.index("global:") + len("global:"):text.index("local:")]
    return {name.strip() for name in listed.split(";") if name.strip()}


def exported():
    lines = subprocess.run([NM, "-D", "--defined-only", LIBRARY], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    symbols = [line.split()[-2:] for line in lines]
    return {name for kind, name in symbols if kind != "A"}


def differences(left, right, left_name, right_name):
    wrong = [f"{name}: only in {left_name}" for name in sorted(left - right)]
    wrong += [f"{name}: only in {right_name}" for name in sorted(right - left)]
    return "\n".join(wrong)


def check_header():
    names = declared()
    assert len(names) >= 10, f"found only {sorted(names)} in the header: is it still read rightly?"
    strange = [name for name in names if not name.startswith("pcache_")]
    assert not strange, "not of this library: " + ", ".join(strange)


def check_map():
    wrong = differences(declared(), mapped(), "pcache.h", "the symbol map")
    assert not wrong, wrong


def check_exports():
    wanted = {f"{name}@@{VERSION_NODE}" for name in declared()}
    wrong = differences(wanted, exported(), "pcache.h", "the library")
    assert not wrong, wrong


def compile_text(command, suffix, text):
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / ("user" + suffix)
        source.write_text(text)
        done = subprocess.run([*command, *WARNINGS, f"-I{HEADER.parent}", str(source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def check_c11():
    compile_text([*CC, "-std=c11"], ".c", USER)


def check_cpp():
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    found = next((name for name in names if name and shutil.which(name)), None)
    if found is None:
        raise tap.Skip("no C++ compiler")
    compile_text([found, "-std=c++11"], ".cc", USER)


def check_readme():
    blocks = re.findall(r"```c\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 1, f"{len(blocks)} pieces of C in README.md; which is the example?"
    compile_text([*CC, "-std=gnu11"], ".c", blocks[0])


tap.run([
    ("header_declares_only_functions_of_this_library", check_header),
    ("symbol_map_lists_exactly_the_header", check_map),
    ("shared_library_exports_exactly_the_header", check_exports),
    ("header_alone_compiles_as_c11", check_c11),
    ("header_alone_compiles_as_cpp11", check_cpp),
    ("readme_example_compiles", check_readme),
])
