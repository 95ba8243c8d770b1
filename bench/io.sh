#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench-io [FLOWS] [SECONDS] [ROUNDS]: forwarding of established flows over AF_XDP on veth, sluice beside dpdk-testpmd io
# between two net_af_xdp vdevs, in turns, same generator, same veths, same core. testpmd reads no header: it is the limit.
#   gen (cpu 0) -> veth -> up0 [ sluiced or testpmd, cpu 1 ] up1 -> veth -> dropped at ingress
# sluice does its whole work: policy (none configured), conntrack with counters, TTL, MACs. Prints a line a run, then
#   bench-io flows N sluice M mpps testpmd M mpps ratio R     (medians)
. "$(dirname "$0")/../tests/net/_env.sh"

FLOWS=${1:-64} SECONDS_EACH=${2:-4} ROUNDS=${3:-3}
command -v dpdk-testpmd >/dev/null || tests/deps.sh dpdk || fail "dpdk-testpmd is needed beside: apt-get install dpdk"
clang -O2 -g -target bpf "-I/usr/include/$(uname -m)-linux-gnu" -c bench/gen.bpf.c -o "$TMP/gen.o"

topo() {
	ns_add src gw dst
	veth_pair src gen0 gw up0
	veth_pair gw up1 dst sink0
	nsip gw link set up0 address 02:00:00:00:00:02
	nsip dst link set sink0 address 02:00:00:00:00:22
	addr gw up1 10.200.255.254/16
	nsip gw neigh add 10.200.0.1 lladdr 02:00:00:00:00:22 dev up1 nud permanent
	ns dst nft 'add table netdev t; add chain netdev t i { type filter hook ingress device sink0 priority 0; policy drop; }'
	ns gw ethtool -K up0 gro on >/dev/null
}
topo_gone() {
	local n
	for n in src gw dst; do ip netns del "$P$n"; done
	SL_NS=()
}
received() { ns dst cat /proc/net/dev | awk '/ sink0:/ { print $3 }'; }
# rate WHAT: packets a second at the sink, in Mpps, in $RATE
rate() {
	local a b t0 t1
	start_bg_ns src gen taskset -c 0 "$B/bench/gen" "$TMP/gen.o" gen0 "$FLOWS" 02:00:00:00:00:02
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
	topo
	{
		echo "set worker count 1"
		echo "add port up0 device up0"
		echo "add port up1 device up1 transit on"
	} >"$LOG/sluice.conf"
	start_bg_ns gw sluiced taskset -c 1 "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$LOG/sluice.conf"
	need "ctl show version" 20 "sluiced answers"
	rate sluice
	{ ctl show ports; ctl show drops; ctl show workers; } | sed 's/^/   /'
	stop_bg sluiced
	topo_gone
}
run_testpmd() {
	topo
	[ -p "$TMP/in" ] || mkfifo "$TMP/in"
	exec 9<>"$TMP/in" # testpmd ends when its input does
	start_bg_ns gw testpmd bash -c "exec dpdk-testpmd -l 0,1 --no-pci --no-telemetry --no-huge -m 512 --file-prefix $NAME \
		--vdev net_af_xdp0,iface=up0 --vdev net_af_xdp1,iface=up1 -- --auto-start --forward-mode=io --nb-cores=1 \
		--total-num-mbufs=65536 --burst=64 --stats-period 100 <$TMP/in"
	need "grep -q 'NIC statistics' $LOG/testpmd.log" 20 "testpmd starts"
	rate testpmd
	stop_bg testpmd INT
	exec 9>&-
	: >"$LOG/testpmd.log"
	topo_gone
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
