#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Run the tests of a build directory and count their cases; the last line is `N passed, N failed`.
#
# Usage: scripts/run-tests.sh BUILD [arguments of `meson test`]
set -eu

build=$1
shift
here=$(dirname "$0")

# Each test chooses its own granularity.
unset PMEM2_FORCE_GRANULARITY

# A log of an earlier run must not be counted.
rm -f "$build"/meson-logs/testlog*.json

# Most of them wait: for the disk, or for the kernel to give up a queue, which takes it 40 ms. They work a fifth of the time.
processes=$((4 * $(getconf _NPROCESSORS_ONLN)))

status=0
meson test -C "$build" --print-errorlogs --num-processes "$processes" "$@" </dev/null || status=$?
echo
"$here/test-summary" "$build"/meson-logs/testlog*.json
exit "$status"
