#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Library for namespace scenarios; the first line of each is:  . "$(dirname "$0")/_env.sh"
# Sourcing re-executes the scenario in private mount and PID namespaces: its own /run, /sys/fs/bpf and /dev/shm. Whatever
# kills it, even SIGKILL, every process, namespace, pin and veth it made goes with it.
# Environment: B (build directory), WORKERS (default 1), KEEP=1 (log directory kept also on success).
# Topologies are in _topo.sh. Conditions are polled (wait_until); nothing sleeps for a fixed time.
set -Eeuo pipefail
SELF=$(realpath "$0")
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
B=${B:-build}
WORKERS=${WORKERS:-1}
SL_TEST=$(basename "$0" .sh)

if [ -z "${SL_ID:-}" ]; then
	[ "$(id -u)" = 0 ] || {
		echo "$SL_TEST: needs root"
		exit 1
	}
	export SL_ID=$$ B WORKERS
	# Not exec: this shell stays to pass SIGTERM on (the inner one is PID 1, whose death ends all the rest).
	# Background processes of a script ignore SIGINT; then Ctrl-C would have to wait for the command that runs.
	env --default-signal=INT setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
		--mount-proc bash "$SELF" "$@" <&0 &
	sl_inner=$!
	trap 'pkill -TERM -P $sl_inner; wait $sl_inner; exit 143' TERM
	trap 'pkill -INT -P $sl_inner; wait $sl_inner; exit 130' INT
	rc=0
	wait $sl_inner || rc=$?
	exit $rc
fi

P=sl_${SL_ID}_ # prefix of namespace and instance names
NAME=t$SL_ID
SOCK=/run/sluice/$NAME.sock
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/sluice
[ ! -d /dev/shm ] || mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
LOG=$ROOT/$B/log/net/$SL_TEST.w$WORKERS.files
[ "$B" = "${B#/}" ] || LOG=$B/log/net/$SL_TEST.w$WORKERS.files
rm -rf "$LOG"
mkdir -p "$LOG"
TMP=/run/sluice/tmp # in memory, and gone with the scenario
mkdir $TMP

SL_NS=() SL_OK=0
declare -A SL_PID=() # name -> pid of what start_bg started

ok() { echo "ok: $*"; }
note() { echo "   $*"; }
fail() {
	echo "FAIL: $*" >&2
	exit 1
}
skip() {
	echo "skip: $*"
	SL_OK=1
	exit 77
}
# Last line of every scenario.
pass() {
	SL_OK=1
	ok "$SL_TEST with $WORKERS worker(s)"
}

sl_cleanup() {
	local rc=$? n
	trap - EXIT TERM INT ERR
	set +e
	if [ $rc = 0 ] && [ $SL_OK = 0 ]; then
		echo "FAIL: ended without 'pass'" >&2
		rc=1
	fi
	if [ $rc != 0 ] && [ $rc != 77 ] && [ $rc != 130 ]; then
		sl_dump >"$LOG/state" 2>&1
		for n in "$LOG"/*.log; do
			[ -s "$n" ] && echo "--- ${n#"$ROOT"/}" && tail -n 15 "$n"
		done
		echo "--- more in ${LOG#"$ROOT"/}"
	fi
	for n in "${!SL_PID[@]}"; do
		kill "${SL_PID[$n]}" 2>/dev/null
	done
	for n in "${!SL_PID[@]}"; do
		wait_until "! kill -0 ${SL_PID[$n]} 2>/dev/null" 5 || kill -9 "${SL_PID[$n]}" 2>/dev/null
	done
	for n in "${SL_NS[@]}"; do
		ip netns del "$P$n" 2>/dev/null
	done
	umount -l /sys/fs/bpf /run /dev/shm 2>/dev/null
	[ $rc = 0 ] && [ -z "${KEEP:-}" ] && rm -rf "$LOG"
	exit $rc
}
trap sl_cleanup EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'echo "FAIL: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

# What the daemon and the namespaces looked like, for the log of a failure.
sl_dump() {
	local n t
	[ -S "$SOCK" ] && for t in version ports drops ct nat neighbor endpoints ipcache tunnel policy; do
		echo "== show $t"
		timeout 3 "$B/sluicectl" -s "$SOCK" show $t
	done
	for n in "${SL_NS[@]}"; do
		echo "== namespace $n"
		ip -n "$P$n" -s addr
		ip -n "$P$n" route
		ip -n "$P$n" -6 route
		ip -n "$P$n" neigh
	done
}

# wait_until CONDITION SECONDS: evaluates it every 50 ms until it holds. False after SECONDS.
wait_until() {
	local end
	end=$(($(date +%s%N) + $(awk "BEGIN { print int($2 * 1000) }") * 1000000))
	until eval "$1" >/dev/null 2>&1; do
		[ "$(date +%s%N)" -lt $end ] || return 1
		sleep 0.05
	done
}
# need CONDITION SECONDS WHAT: the same, or the scenario fails
need() { wait_until "$1" "$2" || fail "$3 (not within $2 s: $1)"; }

# ns_add NAME...: namespaces with loopback up; router advertisements and duplicate address detection off.
ns_add() {
	local n
	for n; do
		ip netns add "$P$n"
		SL_NS+=("$n")
		ip -n "$P$n" link set lo up
		ns "$n" sysctl -qw net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 \
			net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
	done
}
# ns NAME COMMAND...: nsenter and not 'ip netns exec', which would mount a sysfs without /sys/fs/bpf
ns() {
	local n=$1
	shift
	nsenter --net="/run/netns/$P$n" "$@"
}
# nsip NAME ARGUMENTS...: ip(8) in that namespace
nsip() {
	local n=$1
	shift
	ip -n "$P$n" "$@"
}
# veth_pair NS DEV PEERNS PEERDEV: both ends up, offloads at their defaults. QUEUES=N for that many queues.
veth_pair() {
	nsip "$1" link add "$2" numtxqueues "${QUEUES:-1}" numrxqueues "${QUEUES:-1}" type veth \
		peer name "$4" numtxqueues "${QUEUES:-1}" numrxqueues "${QUEUES:-1}" netns "$P$3"
	nsip "$1" link set "$2" up
	nsip "$3" link set "$4" up
}
# addr NS DEV ADDRESS...: IPv6 ones usable at once
addr() {
	local n=$1 d=$2 a
	shift 2
	for a; do
		case $a in
		*:*) nsip "$n" addr add "$a" dev "$d" nodad ;;
		*) nsip "$n" addr add "$a" dev "$d" ;;
		esac
	done
}

# start_bg NAME COMMAND...: a program (no function) in the background; output in $LOG/NAME.log, ended with the scenario.
# exec: with traps set, bash would keep a shell of its own between us and the command, and the pid would be that one's.
start_bg() {
	local n=$1
	shift
	(
		trap - ERR EXIT
		exec "$@"
	) >>"$LOG/$n.log" 2>&1 </dev/null &
	SL_PID[$n]=$!
}
# start_bg_ns NS NAME COMMAND...: nsenter execs the command, so the pid is the command's own
start_bg_ns() {
	local netns=$1 n=$2
	shift 2
	start_bg "$n" nsenter --net="/run/netns/$P$netns" "$@"
}
running() { kill -0 "${SL_PID[$1]}" 2>/dev/null; }
# stop_bg NAME [SIGNAL]: and waits for its end; its exit code in $STOP_RC
# shellcheck disable=SC2034 # STOP_RC is for the scenario
stop_bg() {
	kill -"${2:-TERM}" "${SL_PID[$1]}"
	STOP_RC=0
	wait "${SL_PID[$1]}" 2>/dev/null || STOP_RC=$?
	unset "SL_PID[$1]"
}

ctl() { "$B/sluicectl" -s "$SOCK" "$@"; }
# sluiced_start CONF [NS]: CONF is a file or - for standard input; the worker count is put in front. NS: gw.
sluiced_start() {
	[ -x "$B/sluiced" ] || fail "$B/sluiced is not built"
	{
		echo "set worker count $WORKERS"
		cat "$1"
	} >"$LOG/sluice.conf"
	SL_DAEMON_NS=${2:-gw}
	sluiced_restart
}
# Starts the daemon again with the configuration it had.
sluiced_restart() {
	start_bg_ns "$SL_DAEMON_NS" sluiced "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$LOG/sluice.conf"
	need "ctl show version || ! running sluiced" 20 "sluiced answers"
	running sluiced || fail "sluiced ended at start: $(tail -n 3 "$LOG/sluiced.log")"
}
sluiced_stop() { stop_bg sluiced "${1:-TERM}"; }

# field TABLE MEMBER [FILTER]: sum of a numeric member over the rows of 'show TABLE'; FILTER is a jq condition
field() { ctl -j show "$1" | jq -r "[.[] | select(${3:-true}) | .$2 // 0] | add // 0"; }
# dropped_for REASON-NUMBER
dropped_for() { field drops packets ".number == $1"; }
# Every frame is accounted for: in = out + drops + held, once traffic has come to rest. What the engine makes (ARP, ICMP
# answers, further fragments) came in by the row 'control', what it keeps (ARP replies) went out there.
balance_holds() {
	ctl -j show ports >"$TMP/ports" && ctl -j show drops >"$TMP/drops" &&
		jq -n -e --slurpfile p "$TMP/ports" --slurpfile d "$TMP/drops" '
		def total(f): [$p[0][] | f // 0] | add // 0;
		([$d[0][].packets] | add // 0) as $drops |
		total(.dropped) == $drops and
		total(.rx_packets) == total(.tx_packets) + $drops + total(.held)'
}
balance_check() {
	wait_until balance_holds 5 || {
		cat "$TMP/ports" "$TMP/drops" >&2
		fail "in != out + drops + held"
	}
	ok "balance: in = out + drops + held"
}

. "$ROOT/tests/net/_topo.sh"
