#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench-io [FLOWS] [SECONDS] [ROUNDS]: forwarding of established flows over AF_XDP on veth, sluice beside dpdk-testpmd io
# between two net_af_xdp vdevs, in turns, same generator, same veths, same core. testpmd reads no header: it is the limit.
# sluice does its whole work: policy (none configured), conntrack with counters, TTL, MACs. Prints a line a run, then
#   bench-io flows N sluice M mpps testpmd M mpps ratio R     (medians)
. "$(dirname "$0")/../tests/net/_env.sh"
. bench/veth.sh

FLOWS=${1:-64} SECONDS_EACH=${2:-4} ROUNDS=${3:-3}
command -v dpdk-testpmd >/dev/null || tests/deps.sh dpdk-dev || fail "dpdk-testpmd is needed beside: apt-get install dpdk-dev"
clang -O2 -g -target bpf "-I/usr/include/$(uname -m)-linux-gnu" -c bench/gen.bpf.c -o "$TMP/gen.o"

# rate WHAT: packets a second at the sink, in Mpps, in $RATE
rate() {
	local a b t0 t1
	start_bg_ns src gen nice -n -15 taskset -c 0 "$B/bench/gen" "$TMP/gen.o" gen0 "$FLOWS" 02:00:00:00:00:02
	need "[ \"\$(received)\" -gt 1000 ]" 10 "$1 forwards"
	wait_until false 1 || true
	a=$(received) t0=$(date +%s%N)
	wait_until false "$SECONDS_EACH" || true
	b=$(received) t1=$(date +%s%N)
	stop_bg gen
	RATE=$(awk "BEGIN { printf \"%.3f\", ($b - $a) * 1000 / ($t1 - $t0) }")
	note "$1: $RATE Mpps"
}
run_sluice() {
	veth_topo
	{
		echo "set worker count 1"
		echo "add port up0 device up0"
		echo "add port up1 device up1 transit on"
	} >"$LOG/sluice.conf"
	start_bg_ns gw sluiced nice -n -15 taskset -c 1 "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$LOG/sluice.conf"
	need "ctl show version" 20 "sluiced answers"
	rate sluice
	{ ctl show ports; ctl show drops; ctl show workers; } | sed 's/^/   /'
	stop_bg sluiced
	veth_gone
}
run_testpmd() {
	veth_topo
	testpmd_start --no-huge -m 512
	rate testpmd
	testpmd_stop
	veth_gone
}
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

S=() T=()
for _ in $(seq "$ROUNDS"); do
	run_sluice
	S+=("$RATE")
	run_testpmd
	T+=("$RATE")
done
s=$(median "${S[@]}") t=$(median "${T[@]}")
echo "bench-io flows $FLOWS sluice $s mpps testpmd $t mpps ratio $(awk "BEGIN { printf \"%.2f\", $s / $t }")"
pass
