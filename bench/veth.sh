#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced by bench/io.sh, bench/kernel.sh and bench/peers.sh: the veths between which a system on test forwards.
#   gen (cpu 0) -> gen0 - up0 [ gw: the system, cpu 1 ] up1 - sink0, dropped at ingress
# What gen sends goes by 20.0.0.2, whose MAC is sink0's. XDP on a veth wants NAPI at the other end: GRO.

MEDIAN='' LEAST='' MOST=''
# spread VALUE...: median (of an even number the mean of the two in the middle), least, most in $MEDIAN, $LEAST, $MOST
spread() {
	# shellcheck disable=SC2034 # for who sources this
	read -r MEDIAN LEAST MOST < <(printf '%s\n' "$@" | sort -g |
		awk '{ v[NR] = $1 } END { printf "%.10g %s %s\n", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR] }')
}
veth_topo() {
	ns_add src gw dst
	veth_pair src gen0 gw up0
	veth_pair gw up1 dst sink0
	nsip src link set gen0 address 02:00:00:00:00:01
	nsip gw link set up0 address 02:00:00:00:00:02
	nsip gw link set up1 address 02:00:00:00:00:03
	nsip dst link set sink0 address 02:00:00:00:00:22
	ns dst nft 'add table netdev t; add chain netdev t i { type filter hook ingress device sink0 priority 0; policy drop; }'
	ns gw ethtool -K up0 gro on >/dev/null
	ns gw ethtool -K up1 gro on >/dev/null
	ns dst ethtool -K sink0 gro on >/dev/null
	addr gw up0 10.0.0.254/24
	addr gw up1 20.0.0.254/24
	nsip gw neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev up0 nud permanent
	nsip gw neigh replace 20.0.0.2 lladdr 02:00:00:00:00:22 dev up1 nud permanent
	nsip gw route add 10.200.0.0/16 via 20.0.0.2
	nsip gw route add 20.1.0.0/16 via 20.0.0.2
}
# What sends by XDP_REDIRECT gets a sink that makes no sk_buffs; for those that send sk_buffs such a sink is the dearer one.
sink_by_xdp() {
	nsip dst link set sink0 xdpdrv obj "$TMP/gen.o" program drop
	ns dst nft delete table netdev t
}
veth_gone() {
	local n
	for n in "${SL_NS[@]}"; do ip netns del "$P$n"; done
	SL_NS=()
}
received() { ns dst cat /proc/net/dev | awk '/ sink0:/ { print $3 }'; }
# Bytes a packet
size_received() { ns dst cat /proc/net/dev | awk '/ sink0:/ { print int($2 / $3) }'; }
# testpmd_start MEMORY-OPTIONS: forwards between up0 and up1, reading no header, until testpmd_stop
testpmd_start() {
	[ -p "$TMP/in" ] || mkfifo "$TMP/in"
	exec 9<>"$TMP/in" # testpmd ends when its input does
	start_bg_ns gw testpmd bash -c "exec nice -n -15 dpdk-testpmd -l 0,1 --no-pci --no-telemetry $* --file-prefix $NAME \
		--vdev net_af_xdp0,iface=up0 --vdev net_af_xdp1,iface=up1 -- --auto-start --forward-mode=io --nb-cores=1 \
		--total-num-mbufs=65536 --burst=64 --stats-period 100 <$TMP/in"
	need "grep -q 'NIC statistics' $LOG/testpmd.log" 20 "testpmd starts"
}
testpmd_stop() {
	stop_bg testpmd INT
	exec 9>&-
	: >"$LOG/testpmd.log"
}
