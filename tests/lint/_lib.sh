#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# For the lint scripts: sources PATTERN... lists files (* crosses folders); bad FILE:LINE: TEXT reports; the exit code tells.
set -uo pipefail
rc=0
trap 'exit $rc' EXIT
sources() {
	local p
	for p; do
		find . \( -name '.git' -o -path './build*' \) -prune -o -type f -path "./$p" -printf '%P\n'
	done | LC_ALL=C sort -u
}
bad() {
	echo "$*"
	rc=1
}
# includes FILE...: FILE:LINE: <header> or "header", one a line
includes() { grep -HnoP '^\s*#\s*include(_next)?\s*\K[<"][^>"]+[>"]' "$@" | sed 's/:\([0-9]*\):/:\1: /'; }
[ -n "$(sources '*.c')" ] || bad "no sources here: $PWD"
