#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Text rules: licence line first, no trailing white space, TODO only with an issue number, files up to 600 lines.
. "$(dirname "$0")/_lib.sh"

report() { while read -r l; do bad "$l${1:+: $1}"; done; }
mapfile -t code < <(sources '*.c' '*.h' '*.S')
mapfile -t all < <(sources '*.c' '*.h' '*.S' '*.def' '*.sh' '*.md' Makefile .ci/run 'dist/*')

for f in "${code[@]}"; do
	want='SPDX-License-Identifier: BSD-2-Clause'
	case $f in
	xdp/*.bpf.[ch] | bench/*.bpf.c | tables/abi/*) want='SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)' ;;
	esac
	case $(head -n 1 "$f") in
	"/* $want */" | "// $want") ;;
	*) bad "$f:1: first line is not: /* $want */" ;;
	esac
	n=$(wc -l <"$f")
	[ "$n" -le 600 ] || bad "$f: $n lines, more than 600: split it"
done
for f in $(sources '*.sh' .ci/run Makefile); do
	head -n 2 "$f" | grep -q '^# SPDX-License-Identifier: BSD-2-Clause$' || bad "$f: no SPDX line"
done
report 'trailing white space' < <(grep -nHP '[ \t]+$' "${all[@]}" | cut -d: -f1,2)
report 'needs an issue: TODO(#N)' < <(grep -nHP '\b(TODO|FIXME|XXX)\b(?!\(#?\d+\))' "${code[@]}" /dev/null | cut -d: -f1,2)
