#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# cppcheck as a second opinion, with its own cache by file content.
. "$(dirname "$0")/_lib.sh"

mkdir -p "${B:-build}/cppcheck"
mapfile -t files < <(sources 'fwd/*.c' 'tables/*.c' 'cli/*.c' 'xdp/*.c' | grep -v '\.bpf\.c$\|fwd/port/dpdk')
[ ${#files[@]} = 0 ] || cppcheck -j 2 -q --cppcheck-build-dir="${B:-build}/cppcheck" --std=c11 --platform=unix64 -I. \
	-D_GNU_SOURCE -D__x86_64__ --include=tests/lint/cppcheck.h --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	--suppress=missingIncludeSystem --suppress=unmatchedSuppression "${files[@]}" || rc=1
