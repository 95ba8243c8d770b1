#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced by bench/peers.sh: one measurement that may fail without ending the run.
FAILED=0

# What _env.sh has, and why it failed is kept for the row.
fail() {
	echo "$*" >"$TMP/reason"
	echo "FAIL: $*" >&2
	exit 1
}
attempt_end() {
	local n
	set +e
	trap - ERR
	for n in "${!SL_PID[@]}"; do kill "${SL_PID[$n]}" 2>/dev/null; done
	for n in "${!SL_PID[@]}"; do
		wait_until "! kill -0 ${SL_PID[$n]} 2>/dev/null" 5 || kill -9 "${SL_PID[$n]}" 2>/dev/null
	done
	for n in "${SL_NS[@]}"; do ip netns del "$P$n" 2>/dev/null; done
}
# attempt ROW COMMAND...: in a shell of its own, whose processes and namespaces go with it. Where it fails the line is
# 'ROW failed: REASON', the run goes on and FAILED counts it. In the background: a signal to this shell is not put off.
attempt() {
	local row=$1 rc=0
	shift
	: >"$TMP/reason"
	(
		set -Ee
		SL_PID=()
		trap attempt_end EXIT
		"$@"
	) &
	SL_PID["attempt"]=$!
	wait "${SL_PID["attempt"]}" || rc=$?
	unset 'SL_PID[attempt]'
	[ $rc = 0 ] || {
		FAILED=$((FAILED + 1))
		[ -s "$TMP/reason" ] || echo "exit code $rc" >"$TMP/reason"
		echo "$row failed: $(head -n 1 "$TMP/reason")"
	}
}
# Last of a run
attempts_pass() {
	[ $FAILED = 0 ] || fail "$FAILED measurements failed"
	pass
}
