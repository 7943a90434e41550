# SPDX-License-Identifier: BSD-3-Clause
"""Holds lib/ to its layers: a file includes only from a lower row, never sideways.

Method: read every `#include` of lib/, and compare with the table below. The last checks run the same rules over small
trees with one violation each, so that a rule which finds nothing is noticed.

Usage: include_rule.py SOURCE_ROOT
"""

import re
import sys
import tempfile
from pathlib import Path

import tap

# The interfaces, lowest row first. Row 0 has two floors: the lower one includes nothing of ours.
HEADER_ROWS = [
    ["util.h", "le.h", "types.h"],
    ["log.h", "lock.h", "crc32c.h", "copy_crc.h", "thread.h", "slot.h"],
    ["format.h", "media.h", "backing.h", "retire.h"],
    ["backing_queue.h"],
    ["meta.h", "kset.h"],
    ["stream.h", "segment.h", "index.h", "overlay.h", "config.h", "stats.h", "ghost.h", "misses.h", "sequential.h",
     "health.h", "histogram.h", "bypass.h", "holds.h", "lost.h",
     "peek.h"],
    ["cache.h"],
    ["enter.h", "recover.h"],
]

# The flows and the public functions. They may include every interface.
FLOW_SOURCES = [
    "live.c", "look.c",
    "around.c", "batch.c", "cache.c", "clean.c", "enter.c", "hold.c", "identity.c", "io.c", "losses.c", "miss.c", "move.c",
    "pace.c", "patience.c", "plan.c", "range.c", "reclaim.c", "recover.c", "replay.c", "rotate.c", "vector.c",
    "writeback.c", "zero.c", "damage.c", "scrub.c", "pcache.c",
]

PUBLIC_HEADER = "pcache.h"

# Foreign headers that belong to one module: header, and a pattern for the files that may include it.
RESERVED = [
    ("libpmem2.h", re.compile(r"media(_\w+)?\.c")),
    ("libaio.h", re.compile(r"backing(_\w+)?\.c")),
    ("isa-l.h", re.compile(r"crc32c\.c")),
    ("isa-l/", re.compile(r"crc32c\.c")),
]

# Who uses the public header only, and which file needs more: the runner of Check and the options of tests; the format,
# to forge records, and to look at files that the library refuses.
PUBLIC_USERS = ["examples", "bench", "tools", "tests/api"]
PUBLIC_USERS_MORE = {
    "tools/ctl/image.h": {"format.h", "kset.h", "media.h", "meta.h"},
    "tools/ctl/open.c": {"crc32c.h"},
    "tools/ctl/scan.c": {"crc32c.h"},
    "tests/api/fixture.c": {"options.h", "unit/runner.h"},
    "tests/api/big_run.c": {"options.h"},
    "tests/api/test_damage.c": {"crc32c.h", "format.h"},
    "tests/api/test_salvage.c": {"format.h"},
}

MAX_LINES = 700
MAX_LINES_OF = {"include/pcache.h": 1600}  # the whole contract is one file, and most of it is documentation

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
SPDX = "SPDX-License-Identifier: BSD-3-Clause"

# Where every source file must carry one licence line, and what counts as a source file.
SOURCE_DIRS = ["include", "lib", "examples", "bench", "tests", "tools", "scripts", ".ci", "docs"]
SOURCE_SUFFIXES = {".c", ".h", ".py", ".sh", ".map"}
SOURCE_NAMES = {"meson.build", "meson_options.txt", "Makefile"}


def header_row(name):
    for row, names in enumerate(HEADER_ROWS):
        if name in names:
            return row
    return None


def module_of(name):
    """media_page.c and media_page.h are parts of the module media; None for a file that the tables do not know."""
    stem = Path(name).stem
    while stem:
        if header_row(stem + ".h") is not None or stem + ".c" in FLOW_SOURCES:
            return stem
        stem = stem.rpartition("_")[0]
    return None


def row_of(name):
    """The row of a file is its module's; a flow is above all headers."""
    module = module_of(name)
    if module is None:
        return None
    if name.endswith(".c") and module + ".c" in FLOW_SOURCES:
        return len(HEADER_ROWS)
    return header_row(module + ".h")


def local_includes(path):
    return [name for quote, name in INCLUDE.findall(path.read_text()) if quote == '"']


def all_includes(path):
    return [name for _, name in INCLUDE.findall(path.read_text())]


class Tree:
    def __init__(self, root):
        self.root = Path(root)
        self.lib = self.root / "lib"
        self.files = sorted(p for p in self.lib.iterdir() if p.suffix in (".c", ".h"))
        self.headers = {p.name for p in self.files if p.suffix == ".h"}


def check_known(tree):
    unknown = [p.name for p in tree.files if row_of(p.name) is None]
    assert not unknown, "not in the table of rows: " + ", ".join(unknown)


def check_rows(tree):
    wrong = []
    for path in tree.files:
        row = row_of(path.name)
        for name in local_includes(path):
            if row is None or name == PUBLIC_HEADER or module_of(name) == module_of(path.name):
                continue
            target = header_row(name)
            if target is None:
                wrong.append(f"lib/{path.name} includes {name}, which is no module's interface")
            elif target >= row:
                side = "sideways" if target == row else "upwards"
                wrong.append(f"lib/{path.name} includes {name}: {side}")
    assert not wrong, "\n".join(wrong)


def check_cycles(tree):
    graph = {p.name: [n for n in local_includes(p) if n in tree.headers] for p in tree.files}
    done = set()

    def visit(name, path):
        assert name not in path, "include cycle: " + " -> ".join([*path[path.index(name):], name])
        if name in done:
            return
        for target in graph[name]:
            visit(target, [*path, name])
        done.add(name)

    for name in graph:
        visit(name, [])


def check_reserved(tree):
    wrong = []
    for path in tree.files:
        for name in all_includes(path):
            for prefix, allowed in RESERVED:
                if name.startswith(prefix) and not allowed.fullmatch(path.name):
                    wrong.append(f"lib/{path.name} includes {name}")
    assert not wrong, "\n".join(wrong)


def source_files(tree):
    for name in SOURCE_DIRS:
        top = tree.root / name
        if top.is_dir():
            yield from sorted(p for p in top.rglob("*") if p.is_file() and is_source(p))
    yield from sorted(p for p in tree.root.iterdir() if p.is_file() and is_source(p))


def is_source(path):
    return path.suffix in SOURCE_SUFFIXES or path.name in SOURCE_NAMES


def check_spdx(tree):
    wrong = []
    for path in source_files(tree):
        lines = [n for n, line in enumerate(path.read_text().splitlines(), 1) if is_spdx_line(line)]
        first = 2 if path.read_text().startswith("#!") else 1
        if lines != [first] and not (path.suffix == ".map" and not lines):
            wrong.append(f"{path.relative_to(tree.root)}: SPDX line at {lines}, expected at [{first}]")
    assert not wrong, "\n".join(wrong)


def is_spdx_line(line):
    return re.fullmatch(r"(/\* |# |// )" + re.escape(SPDX) + r"( \*/)?", line) is not None


def check_length(tree):
    wrong = []
    for path in source_files(tree):
        count = len(path.read_text().splitlines())
        limit = MAX_LINES_OF.get(str(path.relative_to(tree.root)), MAX_LINES)
        if count > limit:
            wrong.append(f"{path.relative_to(tree.root)} has {count} lines; the limit is {limit}")
    assert not wrong, "\n".join(wrong)


def check_public_includes(tree):
    """Row 6 uses the public header only, and headers of its own."""
    wrong = []
    for top in PUBLIC_USERS:
        for path in sorted((tree.root / top).rglob("*.[ch]")) if (tree.root / top).is_dir() else []:
            allowed = {p.name for p in path.parent.glob("*.h")} | {PUBLIC_HEADER}
            allowed |= PUBLIC_USERS_MORE.get(str(path.relative_to(tree.root)), set())
            wrong += [f"{path.relative_to(tree.root)} includes {n}" for n in local_includes(path) if n not in allowed]
    assert not wrong, "\n".join(wrong)


def check_tests_are_built(tree):
    """A test that no meson.build names never runs."""
    wrong = []
    for path in sorted((tree.root / "tests").rglob("test_*.[cp]*")):
        build = path.parent / "meson.build"
        listed = build.read_text() if build.is_file() else ""
        if f"'{path.stem.removeprefix('test_')}'" not in listed and f"'{path.name}'" not in listed:
            wrong.append(f"{path.relative_to(tree.root)} is not in {build.relative_to(tree.root)}")
    assert not wrong, "\n".join(wrong)


RULES = {
    "every_file_of_lib_has_a_row": check_known,
    "lib_includes_only_from_a_lower_row": check_rows,
    "includes_have_no_cycle": check_cycles,
    "foreign_headers_stay_in_their_module": check_reserved,
    "every_source_has_one_licence_line_at_its_top": check_spdx,
    "no_source_is_longer_than_the_limit": check_length,
    "users_include_the_public_header_only": check_public_includes,
    "every_test_is_built": check_tests_are_built,
}

LICENCE = f"/* {SPDX} */\n"

# One violation each: rule, files that break it.
VIOLATIONS = [
    (check_known, {"lib/bag.h": LICENCE}),
    (check_rows, {"lib/meta.h": LICENCE, "lib/kset.h": LICENCE + '#include "meta.h"\n'}),
    (check_rows, {"lib/index.h": LICENCE, "lib/meta.c": LICENCE + '#include "index.h"\n', "lib/meta.h": LICENCE}),
    (check_rows, {"lib/media.h": LICENCE, "lib/media_page.c": LICENCE + '#include "backing.h"\n'}),
    (check_rows, {"lib/media_page.h": LICENCE, "lib/meta.c": LICENCE + '#include "media_page.h"\n'}),
    (check_rows, {"lib/util.h": LICENCE + '#include "strange.h"\n'}),
    (check_cycles, {"lib/le.h": LICENCE + '#include "util.h"\n', "lib/util.h": LICENCE + '#include "le.h"\n'}),
    (check_reserved, {"lib/io.c": LICENCE + "#include <libpmem2.h>\n"}),
    (check_reserved, {"lib/media.c": LICENCE + "#include <libaio.h>\n"}),
    (check_reserved, {"lib/kset.c": LICENCE + "#include <isa-l/crc.h>\n"}),
    (check_spdx, {"lib/util.h": "int value;\n"}),
    (check_spdx, {"lib/util.h": LICENCE + LICENCE}),
    (check_length, {"lib/util.h": LICENCE + "\n" * MAX_LINES}),
    (check_tests_are_built, {"lib/a.h": "", "tests/unit/meson.build": "'log'", "tests/unit/test_lock.c": ""}),
    (check_public_includes, {"lib/util.h": LICENCE, "examples/cp/main.c": LICENCE + '#include "util.h"\n'}),
]


def check_violation_is_found(rule, files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        try:
            rule(Tree(root))
        except AssertionError:
            return
    raise AssertionError(f"{rule.__name__} accepts {list(files)}")


def main():
    tree = Tree(sys.argv[1])
    checks = [(name, lambda rule=rule: rule(tree)) for name, rule in RULES.items()]
    for rule, files in VIOLATIONS:
        name = f"{rule.__name__}_with_bad_{list(files)[-1]}_finds_it"
        checks.append((name, lambda rule=rule, files=files: check_violation_is_found(rule, files)))
    tap.run(checks)


main()
