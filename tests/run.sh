#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# run.sh [-t NAME] SUITE...: runs built tests one after the other; called by the Makefile, from the repository root.
# Suites: build lint unit golden guard bpf net fuzz san tsan dpdk; build: what fuzz, san and tsan need. A test is a
# command: 0 passed, 77 skipped, anything else failed.
# One line a test, its output in build/log/NAME.log, the end of that shown on failure.
# -t: only the test called NAME (with or without its suite; NAME:FUNCTION is its program), else those whose name contains NAME.
# Unit tests come first, alone: some have threads that yield to each other. Then builds, lint, sanitizer and fuzz runs go
# beside the others and are printed after them.
# Last line: "N passed, M failed, K skipped". Exit 1 on a failure, a skip not in tests/skips.txt, or no test at all.
set -uo pipefail
B=${B:-build}
filter=
while getopts t: o; do
	case $o in
	t) filter=${OPTARG%%:*} ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
LOG=$B/log
mkdir -p "$LOG"
names=() limits=() cmds=()
now() { date +%s%N; }

# add NAME SECONDS COMMAND...
add() {
	names+=("$1") limits+=("$2")
	shift 2
	cmds+=("$(printf '%q ' "$@")")
}

# No job server of the make that called us
suite_build() {
	add build/san 900 env -u MAKEFLAGS -u MFLAGS make -j"$(nproc)" SAN=1 B=build-san _san
	add build/tsan 900 env -u MAKEFLAGS -u MFLAGS make -j"$(nproc)" TSAN=1 B=build-tsan TSAN_TESTS="${TSAN_TESTS:-}" _tsan
}
suite_lint() {
	local f
	for f in tests/lint/[!_]*.sh; do
		add "lint/$(basename "$f" .sh)" 900 env B="$B" bash "$f"
	done
}
# programs SUITE DIR BUILD SECONDS [ENV...]
programs() {
	local suite=$1 dir=$2 build=$3 limit=$4 f
	for f in "$dir"/test_*.c; do
		[ -e "$f" ] && add "$suite/$(basename "$f" .c)" "$limit" "$build/$(basename "$f" .c)"
	done
}
# golden SUITE PROGRAM SECONDS
golden() {
	local f
	[ -e tests/golden/golden.c ] || return 0
	while read -r f; do
		add "$1/${f#tests/golden/}" "$3" "$2" "$f"
	done < <(find tests/golden -name '*.pkt' | LC_ALL=C sort)
}
suite_unit() { programs unit tests/unit "$B/unit" 300; }
suite_bpf() { programs bpf tests/bpf "$B/bpf" 120; }
suite_golden() { golden golden "$B/golden" 30; }
suite_guard() { add guard/replay 60 env B="$B" bash tests/guard.sh; }
suite_net() {
	local f w
	for f in tests/net/[!_]*.sh; do
		[ -e "$f" ] || continue
		for w in 1 2; do
			# '# workers: N' in a scenario: only with so many. 1: no sluiced in it; 2: what it tests is no matter of one
			grep -q "^# workers: $((3 - w))\$" "$f" && continue
			add "net/$(basename "$f" .sh)/w$w" 180 env B="$B" WORKERS=$w bash "$f"
		done
	done
}
suite_dpdk() {
	local f w files
	programs dpdk tests/dpdk "$B/dpdk" 120
	mapfile -t files < <(find tests/golden -name '*.pkt' ! -name 'jumbo*' | LC_ALL=C sort)
	add dpdk/golden 900 "$B/dpdk/golden" "${files[@]}"
	for f in tests/dpdk/[!_]*.sh; do
		for w in 1 2; do
			add "dpdk/$(basename "$f" .sh)/w$w" 180 env B="$B" WORKERS=$w bash "$f"
		done
	done
}
suite_fuzz() {
	local f
	for f in tests/fuzz/fuzz_*.c; do
		[ -e "$f" ] && add "fuzz/$(basename "$f" .c)" 120 "build-san/fuzz/replay_$(basename "$f" .c)"
	done
}
suite_san() {
	programs san tests/unit build-san/unit 300
	golden san/golden build-san/golden 60
}
suite_tsan() {
	local t
	for t in ${TSAN_TESTS:-}; do
		add "tsan/$t" 300 "build-tsan/unit/$t"
	done
}

# selected NAME: does -t want it?
exact=0
selected() {
	local n=$1 short=${1#*/}
	if [ -z "$filter" ]; then
		return 0
	elif [ $exact = 1 ]; then
		is_exact "$n"
	else
		[[ $n == *"$filter"* || $short == *"$filter"* ]]
	fi
}
is_exact() {
	local n=${1%.pkt} short
	n=${n%/w[12]}
	short=${n#*/}
	short=${short#golden/}
	case ${filter%.pkt} in
	"$n" | "$short" | "${short#test_}" | "${short#fuzz_}") return 0 ;;
	esac
	[ "$1" = "$filter" ]
}

passed=0 failed=0 skipped=0 refused=0 bad=()
# run INDEX
run() {
	local name=${names[$1]} log start rc ms
	log=$LOG/$name.log
	mkdir -p "$(dirname "$log")"
	start=$(now)
	eval "timeout -k 15 ${limits[$1]} ${cmds[$1]}" >"$log" 2>&1 </dev/null
	rc=$?
	ms=$((($(now) - start) / 1000000))
	case $rc in
	0) verdict=ok passed=$((passed + 1)) ;;
	77) verdict=skip skipped=$((skipped + 1)) ;;
	124 | 137) verdict="FAIL (no end after ${limits[$1]} s)" ;;
	*) verdict="FAIL ($rc)" ;;
	esac
	printf '%-5s %-56s %3d.%02d s\n' "${verdict%% *}" "$name" $((ms / 1000)) $((ms % 1000 / 10))
	if [ $rc = 77 ] && ! grep -q "^$name " tests/skips.txt; then
		refused=$((refused + 1)) bad+=("$name: skipped, not allowed by tests/skips.txt")
		tail -n 3 "$log" | sed 's/^/    | /'
	elif [ $rc != 0 ] && [ $rc != 77 ]; then
		failed=$((failed + 1)) bad+=("$name: $verdict, $log")
		tail -n 40 "$log" | sed 's/^/    | /'
	fi
}

# In a process of its own: its sums go into files.
run_back() {
	local passed=0 failed=0 skipped=0 refused=0 bad=() i
	renice -n 19 "$BASHPID" >/dev/null
	for i in "${back[@]}"; do
		run "$i"
	done
	echo "$passed $failed $skipped $refused" >"$LOG/back.sum"
	printf '%s\n' "${bad[@]}" >"$LOG/back.bad"
}

for s in "$@"; do
	before=${#names[@]}
	"suite_$s"
	if [ -z "$filter" ] && [ ${#names[@]} = "$before" ]; then
		failed=$((failed + 1)) bad+=("$s: no tests found")
	fi
done
for n in "${names[@]}"; do
	[ -n "$filter" ] && is_exact "$n" && exact=1
done
# What only computes goes beside the scenarios, at the lowest priority: those mostly wait. Not beside the unit tests: a
# yield gives the computing ones a whole time slice, whatever their priority (0.5 s of a test became 50 to 100).
first=() back=() front=()
for i in "${!names[@]}"; do
	selected "${names[$i]}" || continue
	case ${names[$i]} in
	unit/*) first+=("$i") ;;
	build/* | lint/* | san/* | fuzz/* | tsan/*) back+=("$i") ;;
	*) front+=("$i") ;;
	esac
done
begin=$(now)
for i in "${first[@]}"; do
	run "$i"
done
run_back >"$LOG/back.log" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null' EXIT
for i in "${front[@]}"; do
	run "$i"
done
wait "$beside" || failed=$((failed + 1))
cat "$LOG/back.log"
if read -r p f k r <"$LOG/back.sum"; then
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + k)) refused=$((refused + r))
fi
while read -r b; do
	[ -z "$b" ] || bad+=("$b")
done <"$LOG/back.bad"
rm -f "$LOG"/back.{sum,bad}
[ $((passed + failed + skipped)) -gt 0 ] || { failed=1 && bad+=("no test is called '$filter'"); }
for b in "${bad[@]}"; do
	echo "$b"
done
echo "$((($(now) - begin) / 1000000000)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ $((failed + refused)) = 0 ]
