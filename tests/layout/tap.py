# SPDX-License-Identifier: BSD-3-Clause
"""A few lines of TAP: a list of (name, check); a check raises AssertionError, or Skip, with the reason."""

import sys


class Skip(Exception):
    """Something that the check needs is missing; the message says what."""


def run(checks):
    print(f"1..{len(checks)}", flush=True)
    failed = 0
    for number, (name, check) in enumerate(checks, 1):
        try:
            check()
            print(f"ok {number} - {name}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        except Exception as reason:  # a check that breaks has not passed
            failed += 1
            for line in (str(reason) if isinstance(reason, AssertionError) else repr(reason)).splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {name}", flush=True)
    sys.exit(1 if failed else 0)
