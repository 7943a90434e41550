# SPDX-License-Identifier: BSD-3-Clause
"""Weaves the planted bugs of a catalogue into copies of the library's sources.

Each copy holds every bug of its file, and does what the library does unless `pc_mutant` is the number of one of them.
So one build has them all. Lines keep their numbers.

A catalogue is a text of such entries; a line that begins with # is a comment:

    mutant NAME                 or: variant NAME, for a change that must do no harm
    breaks WHAT                 the invariant, and how; of a variant: `differs WHAT`
    modes NAME...               optional: crash states of these kinds only, for a bug that the usual mix shows late
    seed N                      optional: the first seed to try, where a rare bug shows soon
    at FILE FUNCTION            one place; an entry may have several
    -the text that is there     one or more lines
    +what stands in its place   none or more lines

A text that ends in ; or } (a comment behind it does not count) is a row of whole lines, complete statements, as in the
source. Any other text is one expression. Either must occur exactly once in its function, or the build fails: who
changes the library has to look whether the bug is still the same one. Texts of two entries may be equal, or one inside
the other. Where a bug shows only if others run in the middle of it, its text calls pc_mutant_pause().

Usage: weave.py OUTPUT_DIR FILE...      sources (.c) and catalogues (.mut); writes each source, and mutant_table.c
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

TABLE = "mutant_table.c"
DECLARATION = " extern int pc_mutant; void pc_mutant_pause(void);"  # behind the comment in the first line
NAME = re.compile(r"[a-z0-9_]+")


class Mistake(Exception):
    """What is wrong with a catalogue, for whoever wrote it."""


@dataclass
class Place:
    """One text and its replacement."""

    file: str
    function: str
    old: list = field(default_factory=list)
    new: list = field(default_factory=list)

    def is_statement(self):
        return re.sub(r"/\*.*?\*/\s*$", "", self.old[-1]).rstrip().endswith((";", "}"))

    def old_text(self):
        return "\n".join(self.old) if self.is_statement() else " ".join(line.strip() for line in self.old)

    def new_text(self):
        """On one line, so that what follows keeps its line number."""
        return " ".join(line.strip() for line in self.new)


@dataclass
class Mutant:
    where: str
    name: str
    is_harmless: bool
    what: str = ""
    modes: str = ""
    seed: int = 1
    places: list = field(default_factory=list)
    number: int = 0


@dataclass
class Region:
    """Where in a source one text stands, and all that may stand there instead: (mutant number, replacement)."""

    start: int
    end: int
    is_statement: bool
    choices: list


def parse_line(line, where, mutants):
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word in ("mutant", "variant"):
        if not NAME.fullmatch(rest):
            raise Mistake(f"{where}: not a name: {rest!r}")
        mutants.append(Mutant(where, rest, word == "variant"))
        return
    if not mutants:
        raise Mistake(f"{where}: stands before the first entry")
    entry = mutants[-1]
    if word == ("differs" if entry.is_harmless else "breaks"):
        entry.what = rest
    elif word == "modes" and rest:
        entry.modes = rest
    elif word == "seed" and rest.isdigit():
        entry.seed = int(rest)
    elif word == "at" and len(rest.split()) == 2:
        entry.places.append(Place(*rest.split()))
    elif line[0] == "-" and entry.places and not entry.places[-1].new:
        entry.places[-1].old.append(line[1:])
    elif line[0] == "+" and entry.places and entry.places[-1].old:
        entry.places[-1].new.append(line[1:])
    else:
        raise Mistake(f"{where}: not understood: {line}")


def check_entry(entry):
    if not entry.what or not entry.places:
        raise Mistake(f"{entry.where}: {entry.name} does not say what it changes, and where")
    for place in entry.places:
        if not place.old:
            raise Mistake(f"{entry.where}: {entry.name} has no text for {place.function}")
        if not place.is_statement() and not place.new:
            raise Mistake(f"{entry.where}: {entry.name}: an expression cannot be left out")


def parse(name, text):
    mutants = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            parse_line(line, f"{name}:{number}", mutants)
    for entry in mutants:
        check_entry(entry)
    return mutants


def function_span(text, place, entry):
    """From the function's name to the brace that ends it; the sources keep that brace in the first column."""
    head = rf"^[a-z][^\n;]*\b{re.escape(place.function)}\([^;{{]*\)[^;{{]*\n\{{\n"
    found = list(re.finditer(head, text, re.MULTILINE))
    if len(found) != 1:
        raise Mistake(f"{entry.where}: {entry.name}: {place.file} has {len(found)} functions {place.function}()")
    return found[0].start(), text.index("\n}\n", found[0].end() - 1) + 1


def find_text(text, place, entry):
    start, end = function_span(text, place, entry)
    old = place.old_text()
    pattern = "^" + re.escape(old) + "$" if place.is_statement() else re.escape(old)
    found = list(re.compile(pattern, re.MULTILINE).finditer(text, start, end))
    if len(found) != 1:
        raise Mistake(f"{entry.where}: {entry.name}: {len(found)} times in {place.file}, {place.function}():\n{old}")
    return found[0].start(), found[0].end()


def find_regions(name, text, mutants):
    regions = {}
    for entry in mutants:
        for place in entry.places:
            if place.file != name:
                continue
            span = find_text(text, place, entry)
            region = regions.setdefault(span, Region(*span, place.is_statement(), []))
            region.choices.append((entry.number, place.new_text()))
    ordered = sorted(regions.values(), key=lambda region: (region.start, -region.end))
    for i, region in enumerate(ordered):
        for other in ordered[i + 1:]:
            if other.start < region.end < other.end:
                raise Mistake(f"{name}: two texts overlap in part:\n{text[region.start:other.end]}")
    return ordered


def choose(region, original):
    if region.is_statement:
        choices = "".join(f"if (pc_mutant == {n}) {{ {new} }} else " for n, new in region.choices)
        return f"{{ {choices}{{ {original} }} }}"
    choices = "".join(f"pc_mutant == {n} ? ({new}) : " for n, new in region.choices)
    return f"({choices}({original}))"


def render(text, start, end, regions):
    """text[start:end] with the regions in it woven; of nested ones the outer first."""
    out = []
    while regions:
        region = regions[0]
        inner = [r for r in regions[1:] if r.end <= region.end]
        regions = [r for r in regions[1:] if r.end > region.end]
        out.append(text[start:region.start])
        out.append(choose(region, render(text, region.start, region.end, inner)))
        start = region.end
    out.append(text[start:end])
    return "".join(out)


def weave(name, text, mutants):
    woven = render(text, 0, len(text), find_regions(name, text, mutants))
    first, _, rest = woven.partition("\n")
    if not first.endswith("*/"):
        raise Mistake(f"{name}: its first line is not a comment")
    return first + DECLARATION + "\n" + rest


def table(mutants):
    def quote(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    rows = [
        f"\t{{ {quote(m.name)}, {quote(m.what)}, {quote(m.modes)}, {m.seed}, {str(m.is_harmless).lower()} }},\n" for m in mutants
    ]
    return "".join([
        '/* Written by weave.py from the catalogue. */\n#include "mutants.h"\n\nint pc_mutant;\n\n',
        "const struct mutant mutants[] = {\n", *rows, "};\n",
        f"const unsigned mutant_count = {len(mutants)};\n",
    ])


def number_all(mutants, sources):
    names = set()
    for number, entry in enumerate(mutants, 1):
        if entry.name in names:
            raise Mistake(f"{entry.where}: a second {entry.name}")
        names.add(entry.name)
        entry.number = number
        for place in entry.places:
            if place.file not in sources:
                raise Mistake(f"{entry.where}: {entry.name}: there is no {place.file}")


def weave_all(catalogues, sources):
    """Texts by name, in and out."""
    mutants = [entry for name, text in catalogues.items() for entry in parse(name, text)]
    number_all(mutants, sources)
    woven = {name: weave(name, text, mutants) for name, text in sources.items()}
    woven[TABLE] = table(mutants)
    return woven


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    paths = [Path(name) for name in sys.argv[2:]]
    texts = {suffix: {p.name: p.read_text() for p in paths if p.suffix == suffix} for suffix in (".mut", ".c")}
    try:
        woven = weave_all(texts[".mut"], texts[".c"])
    except Mistake as mistake:
        sys.exit(f"weave.py: {mistake}")
    for name, text in woven.items():
        (Path(sys.argv[1]) / name).write_text(text)


if __name__ == "__main__":
    main()
