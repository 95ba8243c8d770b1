#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# clang-tidy over the four source folders, two at a time. What passed is remembered by the hash of the preprocessed
# source and of the configuration, so a second run costs only the preprocessing.
# The analyzer follows 50 000 states of a function: 2-3 s a file and not 7-12. NODES=225000 is its own default.
. "$(dirname "$0")/_lib.sh"

CACHE=${B:-build}/tidy
mkdir -p "$CACHE"
NODES=${NODES:-50000}
export CACHE NODES
tidy_one() {
	local flags=(-std=gnu17 -I. -D_GNU_SOURCE -march=x86-64-v3 -maes '-DSLUICE_VERSION="0"' '-DSLUICE_BUILD="build"') key out
	# -C: NOLINT comments count
	flags+=(-Xclang -analyzer-config -Xclang "max-nodes=$NODES")
	key=$({ cat .clang-tidy && echo "$NODES" && clang -E -C "${flags[@]}" "$1" 2>&1; } | sha256sum | cut -c1-40)
	[ -e "$CACHE/$key" ] && return 0
	if out=$(clang-tidy-14 --quiet "$1" -- "${flags[@]}" 2>&1); then
		: >"$CACHE/$key"
	else
		grep -v 'warnings generated\|Suppressed\|Use -header-filter' <<<"$out"
		return 1
	fi
}
export -f tidy_one
sources 'fwd/*.c' 'tables/*.c' 'cli/*.c' 'xdp/*.c' | grep -v '\.bpf\.c$\|fwd/port/dpdk' |
	xargs -r -P 2 -I{} bash -c 'tidy_one {}' || rc=1
