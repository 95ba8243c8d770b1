#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Writes docs/conformance.md, to stdout, from docs/conformance.rows; 'make conformance' calls it, tests/lint/conformance.sh compares.
# Anything wrong with a row goes to stderr with its line, and the exit code is 1. Runs from the repository root.
set -uo pipefail
rows=${1:-docs/conformance.rows}

# Does the test exist, under a name that 'make check T=NAME' takes?
exists() {
	local name=${1%%:*} function=
	[ "$name" = "$1" ] || function=${1#*:}
	case $name in
	unit/* | bpf/*)
		[ -e "tests/$name.c" ] || return 1
		[ -z "$function" ] || grep -qE "cmocka_unit_test[a-z_]*\(${function}[,)]" "tests/$name.c"
		;;
	net/* | lint/*) [ -z "$function" ] && [ -e "tests/$name.sh" ] ;;
	*) [ -z "$function" ] && [ -e "tests/golden/$name.pkt" ] ;;
	esac
}
rc=0
while IFS=$'\t' read -r line name; do
	exists "$name" || { echo "$rows:$line: there is no test '$name'" >&2 && rc=1; }
done < <(awk -F' *[|] *' '!/^(#|=|[ \t]*$)/ { n = split($7, t, " "); for (i = 1; i <= n; i++) print NR "\t" t[i] }' "$rows")

awk -v rows="$rows" -F' *[|] *' '
	function wrong(what) { print rows ":" NR ": " what >"/dev/stderr"; failed = 1 }
	function count(level, status) { return n[level, status] + 0 }
	/^(#|[ \t]*$)/ { next }
	/^=/ {
		part = part sprintf("%s## %s\n\n%s.\n\n| | RFC, section | level | asked for | status | test |\n|---|---|---|---|---|---|\n",
			part ? "\n" : "", substr($1, 3), $2)
		next
	}
	{
		if (NF != 7) { wrong(NF " fields instead of 7"); next }
		if (seen[$1]++) wrong($1 " is there twice")
		if ($3 !~ /^(MUST|SHOULD|MAY|INFO)$/) wrong("level: " $3)
		if ($5 !~ /^(met|not met|n\/a)$/) wrong("status: " $5)
		if ($5 == "met" && $7 == "") wrong($1 " is met, but no test shows it")
		if ($5 != "met" && $6 == "") wrong($1 ": say why it is " $5)
		if ($5 != "met" && $7 != "" && $5 == "n/a") wrong($1 ": nothing shows what does not apply")
		n[$3, $5]++
		tests = $7
		gsub(/[^ ]+/, "`&`", tests)
		part = part sprintf("| %s | %s | %s | %s | %s | %s |\n", $1, $2, $3, $4,
			($5 == "met" ? "met" : "**" ($5 == "n/a" ? "not applicable" : $5) "**") ($6 ? ": " $6 : ""), tests)
		if ($3 == "MUST" && $5 == "not met") musts = musts (musts ? ", " : "") $1
	}
	END {
		print "# Conformance"
		print ""
		print "What standards ask of a device like this, clause by clause, and which test shows that it is so. Written by"
		print "`make conformance` from `docs/conformance.rows`; `make lint` fails when the two differ or a test is not there."
		print ""
		print "*met*: a test shows it, and would fail without it. *not met*: it is not so, or nothing shows it. *not applicable*: with the"
		print "reason. The words after the colon are remarks; bare numbers there are drop reasons (`show drops`). A name in the last column runs by"
		print "`make check T=NAME`. Levels are those of the documents; INFO where they have no such words."
		print ""
		print "| level | met | not met | not applicable |"
		print "|---|---|---|---|"
		split("MUST SHOULD MAY INFO", levels, " ")
		for (i = 1; i <= 4; i++)
			printf "| %s | %d | %d | %d |\n", levels[i], count(levels[i], "met"), count(levels[i], "not met"),
				count(levels[i], "n/a")
		print ""
		print "**Not a CGN**: the requirements of RFC 6888 that make one, PCP first, are not there, and none of them is claimed."
		print "MUST and not met: " (musts ? musts : "none") "."
		print ""
		printf "%s", part
		exit failed
	}' "$rows" || rc=1
exit $rc
