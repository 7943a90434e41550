#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Run the api tests on real DAX, and kill the machine in the middle of a copy: a virtual machine whose persistent memory
# is a part of its RAM (memmap=256M!512M), with ext4 -o dax=always on it. No privileges and no hardware are needed.
#
# Usage: scripts/dax-test.sh BUILD [TEST...]     BUILD: a build directory; TEST: api tests, default data open damage drain
#
# 1. First start: libpmem2 must find cache-line granularity by itself, nothing forces it. The tests run; then pcache-cp
#    copies a file, and the machine is killed while it does.
# 2. Second start: the file system is mounted again, pcache-cp goes on where durable data ends, and the copy is compared.
#
# Needs: qemu-system-x86, busybox-static, cpio, e2fsprogs, kmod and a Debian kernel (linux-image-amd64) in /boot.
# The emulated processor has no caches that could lose anything: what a power cut may take is tests/crash's matter. Here
# it is that the real kernel, file system and libpmem2 behave as the simulator says.
set -euo pipefail

BUILD=$(readlink -f "${1:?usage: $0 BUILD [TEST...]}")
shift
TESTS=${*:-data open damage drain}
WORK=$(mktemp -d)
START_LIMIT_S=900 # software emulation on a busy machine

stop_machine() {
	if [ -n "${MACHINE:-}" ]; then
		kill -9 "$MACHINE" 2>/dev/null || true
		wait "$MACHINE" 2>/dev/null || true
		MACHINE=
	fi
}
trap 'stop_machine; rm -rf "$WORK"' EXIT

fail() {
	echo "dax-test: $*" >&2
	exit 1
}

for tool in qemu-system-x86_64 busybox cpio mke2fs modprobe ldd; do
	command -v "$tool" >/dev/null || PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null || fail "$tool is missing"
done
PATH=$PATH:/sbin:/usr/sbin
KERNEL=$(find /boot -name 'vmlinuz-*-amd64' | sort -V | tail -n 1)
[ -n "$KERNEL" ] || fail "no kernel in /boot"
RELEASE=${KERNEL#*/vmlinuz-}

# A program and the libraries that it is linked with, at the paths where it looks for them. $1 program, $2 its new path
add_program() {
	local library
	install -D "$1" "$ROOT$2"
	ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p' | while read -r library; do
		[ -e "$ROOT$library" ] || install -D "$library" "$ROOT$library"
	done
}

# Modules in the order in which they must be loaded.
add_modules() {
	local name
	for name in "$@"; do
		modprobe --set-version "$RELEASE" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++' >"$WORK/modules"
	mkdir -p "$ROOT/modules"
	: >"$ROOT/modules/order"
	while read -r file; do
		cp "$file" "$ROOT/modules/"
		basename "$file" >>"$ROOT/modules/order"
	done <"$WORK/modules"
}

write_init() {
	cat >"$ROOT/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm /tmp /pmem /disk
mount -t tmpfs none /tmp
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t ext4 /dev/vda /disk || echo "DAX: FAILED disk"
if [ ! -e /disk/second ]; then
	/programs/mke2fs -q -t ext4 -b 4096 /dev/pmem0 # the shell has one of its own, for ext2
fi
if ! mount -t ext4 -o dax=always /dev/pmem0 /pmem; then
	dmesg | tail -n 8 | sed 's/^/DAX: FAILED pmem: /'
fi
export PC_TEST_CACHE_DIR=/pmem PC_TEST_DIR=/disk PC_TEST_SCALE=5 CK_DEFAULT_TIMEOUT=0
cp_options="--cache /pmem/copy.cache --cache-size 48M --stats"
if [ ! -e /disk/second ]; then
	for test in $(cat /tests); do
		if "/programs/test_$test" >"/tmp/$test" 2>&1; then result=passed; else result=FAILED; fi
		echo "DAX: $result $test, $(grep -c '^ok' "/tmp/$test") cases, $(grep -c '^not ok' "/tmp/$test") failed"
		grep '^not ok' "/tmp/$test" | sed 's/^/DAX: /'
	done
	touch /disk/second
	sync
	echo "DAX: copying"
	/programs/pcache-cp $cp_options --no-drain /disk/source /disk/copy &
	while read_bytes=$(sed -n 's/rchar: //p' "/proc/$!/io") && [ -n "$read_bytes" ]; do
		[ "$read_bytes" -lt 30000000 ] || echo "DAX: in the middle, $read_bytes bytes read"
		sleep 0.1
	done
	echo "DAX: FAILED the copy ended before the machine was killed"
else
	/programs/pcache-cp $cp_options --resume /disk/source /disk/copy | sed 's/^/DAX: second /'
	if cmp /disk/source /disk/copy; then echo "DAX: the copies are equal"; else echo "DAX: FAILED the copies differ"; fi
fi
echo "DAX: done"
poweroff -f
INIT
	chmod +x "$ROOT/init"
}

build_root() {
	local test
	ROOT=$WORK/root
	mkdir -p "$ROOT"/{bin,proc,sys,dev}
	cp "$(command -v busybox)" "$ROOT/bin/busybox"
	add_program "$(command -v mke2fs)" /programs/mke2fs
	add_program "$BUILD/examples/pcache-cp" /programs/pcache-cp
	for test in $TESTS; do
		add_program "$BUILD/tests/api/test_$test" "/programs/test_$test"
	done
	# The programs look for the library where it was built.
	install -D "$BUILD/lib/libpcache.so.0" "$ROOT/usr/lib/libpcache.so.0"
	echo "$TESTS" >"$ROOT/tests"
	add_modules nd_e820 nd_pmem crc32c_generic ext4 virtio_pci virtio_blk
	write_init
	(cd "$ROOT" && find . | cpio --quiet -o -H newc | gzip -1) >"$WORK/initramfs"
}

build_disk() {
	mkdir "$WORK/files"
	tar cf - -C /usr/lib . 2>/dev/null | head -c 100M >"$WORK/files/source" || true
	truncate -s 512M "$WORK/disk"
	mke2fs -q -t ext4 -d "$WORK/files" "$WORK/disk"
}

# The RAM is a file, so that the persistent part of it outlives the machine.
start_machine() {
	: >"$1"
	qemu-system-x86_64 -accel tcg -cpu max -smp 2 -nographic -no-reboot -nic none \
		-object "memory-backend-file,id=ram,size=1G,mem-path=$WORK/ram,share=on" -machine memory-backend=ram -m 1G \
		-drive "file=$WORK/disk,format=raw,if=virtio,cache=writeback" \
		-kernel "$KERNEL" -initrd "$WORK/initramfs" -append 'console=ttyS0 quiet memmap=256M!512M panic=-1' \
		>"$1" 2>&1 </dev/null &
	MACHINE=$!
}

# Wait until the log has $2 lines that match $3, or the machine is gone. $1 log
wait_for() {
	local waited=0
	while [ "$(grep -c -- "$3" "$1")" -lt "$2" ]; do
		kill -0 "$MACHINE" 2>/dev/null || return 1
		[ "$waited" -lt $((5 * START_LIMIT_S)) ] || return 1
		sleep 0.2
		waited=$((waited + 1))
	done
}

show() {
	sed -n 's/\r$//; s/^.*DAX: //p' "$1"
}

build_root
build_disk
truncate -s 1G "$WORK/ram"

start_machine "$WORK/first"
if ! wait_for "$WORK/first" 1 'DAX: in the middle'; then
	tail -n 50 "$WORK/first" >&2
	fail "the first start did not come to the copy"
fi
stop_machine
show "$WORK/first"
echo "the machine was killed"

start_machine "$WORK/second"
wait_for "$WORK/second" 1 'DAX: done' || true
stop_machine
show "$WORK/second"

for log in first second; do
	if grep -q 'DAX: FAILED' "$WORK/$log"; then
		fail "failed on its $log start"
	fi
done
grep -q 'granularity: cache_line' "$WORK/second" || fail "libpmem2 did not find cache-line granularity"
grep -q 'resumed_bytes: [1-9]' "$WORK/second" || fail "the second start had nothing to go on from"
grep -q 'the copies are equal' "$WORK/second" || fail "the second start did not end"
echo "dax-test: passed"
