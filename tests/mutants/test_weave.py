# SPDX-License-Identifier: BSD-3-Clause
"""weave.py: what it makes of a catalogue, and that it refuses one which does not fit its sources.

Method: a source of two small functions, and catalogues of a few lines. A catalogue that no longer fits must never
weave: its bug would be planted nowhere, or somewhere else.

Usage: test_weave.py DIRECTORY_OF_TAP_PY
"""

import sys

sys.path.insert(0, sys.argv[1])

import tap
import weave

SOURCE = """/* source.c */
static int twice(int n)
{
	return n + n;
}

int work(int n, int m)
{
	int sum = twice(n);

	if (n > 3)
		sum++;
	sum += twice(n);
	sum += m; /* at last */
	return sum;
}
"""


def entry(*places, name="bug", what="breaks W1: wrong"):
    return "\n".join([f"mutant {name}", what, *places, ""])


def woven(*entries):
    return weave.weave_all({"a.mut": "\n".join(entries)}, {"source.c": SOURCE})


EXPRESSION = entry("at source.c twice", "-n + n", "+n")
STATEMENT = entry("at source.c work", "-\tif (n > 3)", "-\t\tsum++;", "+\tsum--;", "+\tn = 4;", name="other")


def check_expression():
    text = woven(EXPRESSION)["source.c"]
    assert "return (pc_mutant == 1 ? (n) : (n + n));" in text, text


def check_statement():
    text = woven(STATEMENT)["source.c"]
    assert "{ if (pc_mutant == 1) { sum--; n = 4; } else {" in text, text
    assert "if (n > 3)\n\t\tsum++;" in text, text


def check_comment_behind_statement():
    text = woven(entry("at source.c work", "-\tsum += m; /* at last */"))["source.c"]
    assert "{ if (pc_mutant == 1) {  } else {" in text, text


def check_lines_keep_numbers():
    text = woven(EXPRESSION, STATEMENT)["source.c"]
    old, new = SOURCE.splitlines(), text.splitlines()
    assert len(old) == len(new), text
    assert old.index("\tint sum = twice(n);") == new.index("\tint sum = twice(n);"), text


def check_same_text_twice():
    second = entry("at source.c twice", "-n + n", "+0", name="second")
    text = woven(EXPRESSION, second)["source.c"]
    assert "(pc_mutant == 1 ? (n) : pc_mutant == 2 ? (0) : (n + n))" in text, text


def check_text_inside_another():
    inner = entry("at source.c work", "-n > 3", "+true", name="inner")
    text = woven(STATEMENT, inner)["source.c"]
    assert "else { \tif ((pc_mutant == 2 ? (true) : (n > 3)))\n" in text, text


def check_places_of_one_mutant():
    both = entry("at source.c twice", "-n + n", "+n", "at source.c work", "-n > 3", "+n > 4")
    text = woven(both)["source.c"]
    assert text.count("pc_mutant == 1") == 2, text


def check_table():
    variant = "variant soft\ndiffers nothing \"much\"\nat source.c twice\n-n + n\n+2 * n\n"
    table = woven(entry("modes kill power", "seed 7", "at source.c twice", "-n + n", "+n"), variant)[weave.TABLE]
    assert '{ "bug", "W1: wrong", "kill power", 7, false },' in table, table
    assert '{ "soft", "nothing \\"much\\"", "", 1, true },' in table, table
    assert "mutant_count = 2;" in table, table


WRONG = {
    "seed_that_is_no_number": [entry("seed soon", "at source.c twice", "-n + n", "+n")],
    "text_that_is_not_there": [entry("at source.c twice", "-n - n", "+n")],
    "text_of_another_function": [entry("at source.c twice", "-n > 3", "+n")],
    "text_that_is_there_twice": [entry("at source.c work", "-twice(n)", "+n")],
    "statement_with_other_indentation": [entry("at source.c work", "-sum += m; /* at last */", "+;")],
    "part_of_a_statement": [entry("at source.c work", "-\tsum++;", "+;")],
    "unknown_function": [entry("at source.c play", "-n", "+m")],
    "unknown_file": [entry("at target.c work", "-n", "+m")],
    "expression_left_out": [entry("at source.c twice", "-n + n")],
    "entry_without_a_place": [entry()],
    "entry_without_a_purpose": [entry("at source.c twice", "-n + n", "+n", what="")],
    "place_without_a_text": [entry("at source.c twice", "at source.c work", "-n > 3", "+n")],
    "replacement_without_a_text": [entry("at source.c twice", "+n")],
    "text_before_the_first_entry": ["-n + n"],
    "name_with_a_blank": [entry("at source.c twice", "-n + n", "+n", name="a bug")],
    "same_name_twice": [EXPRESSION, EXPRESSION],
    "texts_that_overlap_in_part": [
        entry("at source.c work", "-\t\tsum++;", "-\tsum += twice(n);", "+;"),
        STATEMENT,
    ],
    "variant_that_breaks": [EXPRESSION.replace("mutant", "variant")],
}


def check_is_refused(entries):
    try:
        woven(*entries)
    except weave.Mistake:
        return
    raise AssertionError("accepted:\n" + "\n".join(entries))


def main():
    checks = [
        ("expression_is_woven", check_expression),
        ("statement_is_woven", check_statement),
        ("comment_behind_a_statement_makes_no_expression_of_it", check_comment_behind_statement),
        ("lines_keep_their_numbers", check_lines_keep_numbers),
        ("same_text_of_two_mutants_is_woven", check_same_text_twice),
        ("text_inside_another_is_woven", check_text_inside_another),
        ("mutant_with_two_places_has_both", check_places_of_one_mutant),
        ("table_names_mutants_and_variants", check_table),
    ]
    for name, entries in WRONG.items():
        checks.append((f"{name}_is_refused", lambda entries=entries: check_is_refused(entries)))
    tap.run(checks)


main()
