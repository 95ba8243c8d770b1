#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Python and Lua files are at least such: benchmarks for hardware that no test has.
. "$(dirname "$0")/_lib.sh"

while read -r f; do
	case $f in
	*.py) out=$(python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f" 2>&1) || bad "$f: $out" ;;
	*.lua) out=$(luac5.4 -p "$f" 2>&1) || bad "$f: $out" ;;
	esac
done < <(sources '*.py' '*.lua')
