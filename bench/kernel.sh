#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench-kernel [ROUNDS] [SECONDS]: established flows in the kernel's hands, sluice's replay beside the kernel's own forwarding on the
# same devices, in turns. sluice with policy, conntrack, counters; the kernel plain: routing, proxy ARP, its VXLAN device.
#   tcp      iperf3, one stream, container to container           vxlan    to a VXLAN peer
#   small    UDP of 64 bytes, container to container (pps)        reverse  from a VXLAN peer
# Prints a line a run, then  bench-kernel CASE sluice N kernel N UNIT ratio R  (medians; sub-differences of 20 % are noise).
. "$(dirname "$0")/../tests/net/_env.sh"

ROUNDS=${1:-3} SECONDS_EACH=${2:-3}
CASES="tcp vxlan reverse small"

by_sluice() {
	{
		topo_gateway_conf
		echo "add policy endpoint 10 egress allow any"
		echo "add policy endpoint 11 ingress allow identity 1001 tcp port 5201"
		echo "add policy endpoint 11 ingress allow identity 1001 udp port 5201"
	} >"$TMP/conf"
	sluiced_start "$TMP/conf"
	need "ns c1 ping -q -c 1 -W 1 10.2.0.7" 10 "sluice forwards"
}
by_kernel() {
	local i
	ns gw sysctl -qw net.ipv4.ip_forward=1
	for i in 1 2; do
		ns gw sysctl -qw net.ipv4.conf.lxc$i.proxy_arp=1
		nsip gw route add 10.1.0.$((9 + i)) dev lxc$i
	done
	nsip gw addr add 10.1.0.1/32 dev lxc1
	topo_vxlan gw vx1 192.0.2.1 192.0.2.2
	addr gw vx1 10.3.0.1/24
	nsip gw route add 10.2.0.0/24 via 10.3.0.2
	need "ns c1 ping -q -c 1 -W 1 10.2.0.7" 10 "the kernel forwards"
}
# one CASE: its figure in $FIGURE
one() {
	local -A to=([tcp]=10.1.0.11 [small]=10.1.0.11 [vxlan]=10.2.0.7 [reverse]=10.2.0.7)
	local -A how=([tcp]="" [small]="-u -b 0 -l 64" [vxlan]="" [reverse]="-R")
	# shellcheck disable=SC2086 # words
	ns c1 iperf3 -J -O 1 -t "$SECONDS_EACH" -c "${to[$1]}" ${how[$1]} >"$TMP/iperf" || fail "iperf3 $1"
	if [ "$1" = small ]; then
		FIGURE=$(jq '(.end.sum.packets - .end.sum.lost_packets) / .end.sum.seconds / 1000 | floor' "$TMP/iperf")
	else
		FIGURE=$(jq '.end.sum_received.bits_per_second / 1e6 | floor' "$TMP/iperf")
	fi
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for round in $(seq "$ROUNDS"); do
	for who in sluice kernel; do
		topo_gateway
		by_$who
		iperf_server c2
		iperf_server rc
		for c in $CASES; do
			one "$c"
			echo "$FIGURE" >>"$TMP/$c.$who"
			note "round $round $who $c: $FIGURE"
		done
		stop_bg iperf.c2.5201
		stop_bg iperf.rc.5201
		if [ $who = sluice ]; then
			ctl -j show offload | jq -r '.[] | select(.name == "tc" or .name == "packets") | "   \(.name) \(.value)"'
			sluiced_stop TERM
		fi
		for n in "${SL_NS[@]}"; do ip netns del "$P$n"; done
		SL_NS=()
	done
done
for c in $CASES; do
	a=$(median <"$TMP/$c.sluice") b=$(median <"$TMP/$c.kernel")
	echo "bench-kernel $c sluice $a kernel $b $([ "$c" = small ] && echo kpps || echo Mbit/s) ratio $(awk "BEGIN { printf \"%.2f\", $a / $b }")"
done
SL_OK=1
