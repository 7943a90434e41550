#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Install what is missing to build libpcache, on Debian and its relatives. When everything is there it does nothing,
# and needs neither root nor a network.
#
# Usage: scripts/install-deps.sh [build|docs|ci]
#   build  compiler, Meson, libraries, and what the tests need (default)
#   docs   build, and doxygen
#   ci     docs, and clang, its sanitizers, valgrind, gcovr and shellcheck
set -eu

missing=

need() { # need PACKAGE COMMAND...: the command tells whether the package is needed
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

has() {
	command -v "$1"
}

has_one_of() {
	for name in "$@"; do
		if has "$name"; then
			return 0
		fi
	done
	return 1
}

links() { # links COMPILER FLAGS...: a small program can be linked
	work=$(mktemp -d)
	status=0
	echo 'int main(void) { return 0; }' | "$@" -x c - -o "$work/program" || status=$?
	rm -rf "$work"
	return "$status"
}

need_build() {
	need gcc has_one_of "${CC:-cc}" gcc
	need libc6-dev test -e /usr/include/stdio.h
	need g++ has_one_of c++ g++
	need pkg-config has pkg-config
	need meson has meson
	need ninja-build has_one_of ninja ninja-build
	need libpmem2-dev pkg-config --exists libpmem2
	need libisal-dev pkg-config --exists libisal
	need libaio-dev test -e /usr/include/libaio.h
	need libsmartcols-dev pkg-config --exists smartcols
	need check pkg-config --exists check
}

need_docs() {
	need doxygen has doxygen
}

need_ci() {
	need clang has clang
	need libclang-rt-dev links clang -fsanitize=thread
	need valgrind has valgrind
	need gcovr has gcovr
	need shellcheck has shellcheck
}

install_missing() {
	if ! has apt-get >/dev/null; then
		echo "install-deps: this is no Debian; please install the equivalents of:$missing" >&2
		exit 1
	fi
	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		if ! has sudo >/dev/null; then
			echo "install-deps: not root, and no sudo; please run as root: apt-get install$missing" >&2
			exit 1
		fi
		sudo=sudo
	fi
	echo "install-deps: installing$missing"
	$sudo apt-get update -q </dev/null
	# shellcheck disable=SC2086 # a list of words
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing </dev/null
}

check_meson_version() {
	version=$(meson --version)
	if [ "${version%%.*}" -lt 1 ]; then
		echo "install-deps: Meson $version is too old; 1.0 or newer is needed (Debian 12 has it)" >&2
		exit 1
	fi
}

group=${1:-build}
case $group in
build) need_build ;;
docs) need_build && need_docs ;;
ci) need_build && need_docs && need_ci ;;
*)
	echo "usage: $0 [build|docs|ci]" >&2
	exit 2
	;;
esac

if [ -n "$missing" ]; then
	install_missing
fi
check_meson_version
