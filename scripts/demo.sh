#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copies real data through a cache that is smaller than the data, once in peace and once killed half-way and resumed,
# and compares every byte. Prints the times beside those of a plain dd. Exits non-zero when anything differs.
#
#   scripts/demo.sh [BUILD]
#
# BUILD is the build directory (default: build). Environment:
#   TMPDIR                   where source and copies go; should be a disk (default: /var/tmp)
#   DEMO_CACHE_DIR           where the cache goes (default: /dev/shm)
#   DEMO_CACHE_SIZE          its size (default: 128M)
#   PMEM2_FORCE_GRANULARITY  default CACHE_LINE: treat the cache's directory as persistent memory
set -euo pipefail

build=${1:-build}
copier=$build/examples/pcache-cp
cache_size=${DEMO_CACHE_SIZE:-128M}
min_bytes=$((200 * 1024 * 1024))
max_bytes=$((600 * 1024 * 1024))
export PMEM2_FORCE_GRANULARITY=${PMEM2_FORCE_GRANULARITY:-CACHE_LINE}
export LC_ALL=C

if [[ ! -x $copier ]]; then
	echo "demo: $copier is not there; build first" >&2
	exit 2
fi

files=$(mktemp -d "${TMPDIR:-/var/tmp}/pcache-demo.XXXXXX")
caches=$(mktemp -d "${DEMO_CACHE_DIR:-/dev/shm}/pcache-demo.XXXXXX")
source=$files/source.tar
cache=$caches/cache
record=$cache.resume
copier_pid=

clean_up() {
	if [[ -n $copier_pid ]]; then
		kill -KILL "$copier_pid" 2>/dev/null || true
	fi
	rm -rf "$files" "$caches"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
	echo "demo: FAILED: $*" >&2
	exit 1
}

# figure FILE KEY: the plain number behind "KEY:" in what pcache-cp --stats or its record says
figure() {
	awk -v key="$2:" '$1 == key { print $2; found = 1 } END { exit !found }' "$1" || die "$1 does not name $2"
}

now() {
	echo "${EPOCHREALTIME/,/.}"
}

since() {
	awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.3f", to - from }'
}

mib() {
	awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'
}

mib_per_s() {
	awk -v bytes="$1" -v s="$2" 'BEGIN { if (s > 0) printf "%.0f MiB/s", bytes / 1048576 / s; else print "-" }'
}

# Always the same files on the same machine: in the order of their names, until there is enough of them. A file that
# would take it past the maximum is left out.
make_source() {
	find /usr/lib /usr/bin /usr/share -xdev -type f -readable ! -name '*
*' -printf '%p\t%s\n' | sort |
		awk -F '\t' -v min="$min_bytes" -v max="$max_bytes" '
			total < min && total + $2 <= max { total += $2; print $1 }' >"$files/list"
	tar --create --file "$source" --directory / --absolute-names --verbatim-files-from --files-from "$files/list" \
		--sort=none --owner=0 --group=0 --numeric-owner --ignore-failed-read 2>"$files/tar.log" ||
		die "tar: $(cat "$files/tar.log")"
	rm "$files/list"
	sync "$source"
	source_bytes=$(stat -c %s "$source")
	((source_bytes >= min_bytes)) || die "only $source_bytes bytes of files found"
}

copy_with_dd() {
	local from

	from=$(now)
	dd if="$source" of="$files/dd" bs=1M conv=fsync status=none
	dd_s=$(since "$from")
	rm "$files/dd"
}

copy_in_peace() {
	"$copier" --cache "$cache" --cache-size "$cache_size" --stats "$source" "$files/copy" >"$files/peace.stats" ||
		die "the copy ended with status $?"
	cmp "$source" "$files/copy" || die "the copy differs"
	[[ ! -e $cache && ! -e $record ]] || die "the copy left its cache or record behind"
	rm "$files/copy"
}

# Kills the copier when its record says that $1 bytes are durable. Returns 1 if it was faster than that.
kill_at() {
	local at_bytes=$1 recorded status

	"$copier" --cache "$cache" --cache-size "$cache_size" --checkpoint 4M "$source" "$files/copy" &
	copier_pid=$!
	while kill -0 "$copier_pid" 2>/dev/null; do
		recorded=$(awk '$1 == "copied_bytes:" { print $2 }' "$record" 2>/dev/null || true)
		if ((${recorded:-0} >= at_bytes)); then
			kill -KILL "$copier_pid" 2>/dev/null || true
			break
		fi
		sleep 0.002
	done
	status=0
	wait "$copier_pid" 2>/dev/null || status=$?
	copier_pid=
	((status == 0 || status == 137)) || die "the copy to be killed ended with status $status"

	# It counts only if the kill came while it was reading.
	if ((status == 137)) && grep -qx 'phase: copying' "$record" 2>/dev/null; then
		killed_at=$(figure "$record" copied_bytes)
		((killed_at > 0 && killed_at < source_bytes)) && return 0
	fi
	rm -f "$cache" "$record" "$files/copy"
	return 1
}

copy_with_a_kill() {
	local part

	for part in 2 3 4 6 8 16; do
		if kill_at $((source_bytes / part)); then
			cmp --silent "$source" "$files/copy" && die "the killed copy is already complete"
			"$copier" --cache "$cache" --resume --stats "$source" "$files/copy" >"$files/resume.stats" ||
				die "the resumed copy ended with status $?"
			cmp "$source" "$files/copy" || die "the resumed copy differs"
			[[ ! -e $cache && ! -e $record ]] || die "the resumed copy left its cache or record behind"
			(($(figure "$files/resume.stats" resumed_bytes) == killed_at)) ||
				die "the resumed copy did not go on where the record said"
			return
		fi
	done
	die "the copy was always complete before it could be killed"
}

row() {
	printf '  %-34s %12s   %s\n' "$1" "$2" "${3:-}"
}

report() {
	local durable drained resumed

	durable=$(figure "$files/peace.stats" durable_seconds)
	drained=$(figure "$files/peace.stats" drained_seconds)
	resumed=$(figure "$files/resume.stats" resumed_bytes)
	echo
	echo "source $(mib "$source_bytes"), cache $(mib "$(figure "$files/peace.stats" cache_bytes)")," \
		"granularity $(figure "$files/peace.stats" granularity)"
	row "durable in the cache" "$durable s" "$(mib_per_s "$source_bytes" "$durable")"
	row "drained: on the backing, synced" "$drained s" "$(mib_per_s "$source_bytes" "$drained")"
	row "the same with dd conv=fsync bs=1M" "$dd_s s" "$(mib_per_s "$source_bytes" "$dd_s")"
	row "written to the backing" "$(mib "$(figure "$files/peace.stats" backing_write_bytes)")" \
		"in $(figure "$files/peace.stats" backing_writes) writes, $(figure "$files/peace.stats" backing_syncs) syncs"
	row "stalled for space" "$(figure "$files/peace.stats" stall_seconds) s" \
		"$(figure "$files/peace.stats" stalls) times, $(figure "$files/peace.stats" segments_reclaimed) segments reclaimed"
	row "killed with SIGKILL at" "$(mib "$killed_at")" "of $(mib "$source_bytes")"
	row "resumed from" "$(mib "$resumed")" "opened in $(figure "$files/resume.stats" opened_seconds) s"
	row "resumed to the end, drained" "$(figure "$files/resume.stats" drained_seconds) s"
	echo
	echo "Both copies are identical to the source."
}

echo "demo: packing files of this machine into $source"
make_source
echo "demo: dd, $(mib "$source_bytes")"
copy_with_dd
echo "demo: copying through a cache of $cache_size in $caches"
copy_in_peace
echo "demo: copying again, with a SIGKILL half-way"
copy_with_a_kill
report
