# SPDX-License-Identifier: BSD-3-Clause
"""The tests that docs/features.md names exist.

Method: every `suite/name` in backquotes is looked for in what `meson introspect --tests` lists, with and without its
granularity; a mutant in the catalogue. The last check gives the same function a page with a wrong name.

Usage: features.py SOURCE_ROOT BUILD_ROOT
"""

import json
import re
import sys
from pathlib import Path

import tap

ROOT = Path(sys.argv[1])
SUITES = "unit|api|fault|fuzz|soak|trace|cp|layout|mutants"
BY_HAND = {"api/big_run"}


def existing_tests():
    with open(Path(sys.argv[2]) / "meson-info" / "intro-tests.json", encoding="utf-8") as file:
        names = [test["name"] for test in json.load(file)]
    return set(names) | {name.partition("@")[0] for name in names} | BY_HAND


def existing_mutants():
    catalogue = "".join(path.read_text() for path in (ROOT / "tests" / "mutants" / "catalogue").glob("*.mut"))
    return set(re.findall(r"^mutant (\w+)$", catalogue, re.MULTILINE))


def unknown_names(page):
    tests = set(re.findall(rf"`((?:{SUITES})/\w+)`", page))
    mutants = set(re.findall(r"mutant `(\w+)`", page))
    return sorted(tests - existing_tests()) + sorted(mutants - existing_mutants())


def named_tests_exist():
    page = (ROOT / "docs" / "features.md").read_text()
    assert "`api/" in page
    assert not unknown_names(page), f"features.md names {', '.join(unknown_names(page))}"


def wrong_names_are_found():
    assert unknown_names("`api/nothing`, `unit/index`, mutant `none`") == ["api/nothing", "none"]


tap.run([(check.__name__, check) for check in (named_tests_exist, wrong_names_are_found)])
