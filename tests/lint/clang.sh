#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# clang makes code of what has inline assembly: the fuzzers are built with it, and clang-tidy does not go that far.
. "$(dirname "$0")/_lib.sh"

mapfile -t src < <(sources 'fwd/*.c' 'tables/*.c' | grep -v '^fwd/port/dpdk')
mapfile -t asm < <(sources 'fwd/*.c' 'fwd/*.h' 'tables/*.c' 'tables/*.h' | xargs grep -l '__asm__')
[ ${#asm[@]} -gt 0 ] || bad "no inline assembly is left: this lint has no purpose"
for f in "${asm[@]}"; do
	case $f in
	*.h) grep -lF "#include \"$f\"" "${src[@]}" ;;
	*) echo "$f" ;;
	esac
done | sort -u | xargs -r -P 2 -I{} clang -std=gnu17 -I. -D_GNU_SOURCE -march=x86-64-v3 -maes -DSLUICE_VERSION='"0"' -O1 -c {} -o /dev/null || rc=1
