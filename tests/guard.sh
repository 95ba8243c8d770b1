#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# guard.sh [-r]: instructions that a replayed packet costs, a case of bench/guard.c a line, against tests/guard.baseline.
# Counted by callgrind, so neither load nor kind of machine matter; other compilers may differ by a few instructions, hence
# the allowance. More than that fails, and the functions that count most are shown. -r writes the baseline anew; commit it
# with the change that moved it. Code 77: built by another compiler than gcc, or with other flags than make's own.
set -uo pipefail
B=${B:-build}
BASE=tests/guard.baseline
ALLOWED=10 # per cent
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
command -v valgrind >/dev/null || { echo "valgrind is missing: make deps" && exit 1; }
if ! grep -q '^gcc .* -O3 | ' "$B/.flags"; then
	echo "the baseline is that of gcc -O3, not of $(cut -c 1-20 "$B/.flags")..."
	exit 77
fi

if ! valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$T/out" "$B/bench/guard" >"$T/log" 2>&1; then
	cat "$T/log"
	exit 1
fi
# A dump a case: its name, what was counted.
for f in "$T"/out.*; do
	sed -n 's/^desc: Trigger: Client Request: //p; s/^summary: //p' "$f" | paste -s -d ' ' | sed "s|\$| $f|"
done | awk 'NR == FNR { if ($1 == "guard") packets[$2] = $4; next } $1 in packets { printf "%s %.1f %s\n", $1, $2 / packets[$1], $3 }' \
	"$T/log" - | sort -k 1,1 >"$T/now"
if [ "$(wc -l <"$T/now")" != "$(grep -c '^guard ' "$T/log")" ] || ! [ -s "$T/now" ]; then
	echo "not every case was counted:" && cat "$T/log"
	exit 1
fi

if [ "${1:-}" = -r ]; then
	{
		echo "# Instructions a replayed packet costs: CASE COUNT. 'make guard-renew' writes this file."
		cut -d ' ' -f 1,2 "$T/now"
	} >$BASE
	cat $BASE
	exit 0
fi

rc=0
while read -r name now dump; do
	was=$(awk -v n="$name" '$1 == n { print $2 }' $BASE)
	verdict=$(awk -v now="$now" -v was="${was:-0}" -v p=$ALLOWED 'BEGIN {
		if (was == 0) print "FAIL: not in the baseline"
		else printf "%+.1f %% %s\n", 100 * (now - was) / was, (now > was * (1 + p / 100)) ? "FAIL" : "ok" }')
	echo "guard $name instructions $now baseline ${was:-none} $verdict"
	if [[ $verdict == *FAIL* ]]; then
		rc=1
		callgrind_annotate "$dump" 2>/dev/null | grep -m 6 -A 5 'file:function' | sed 's/^/    /'
	fi
done <"$T/now"
gone=$(awk 'NR == FNR { now[$1]; next } !/^#/ && !($1 in now) { print $1 }' "$T/now" $BASE)
[ -z "$gone" ] || { echo "in the baseline, but not counted: $gone" && rc=1; }
[ $rc = 0 ] || echo "More than $ALLOWED % over $BASE. If the change is worth it: make guard-renew, and commit that file."
exit $rc
