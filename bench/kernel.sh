#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench-kernel [ROUNDS [SECONDS]] [containers] [uplinks]: established flows in the kernel's hands, beside the kernel's own forwarding
# and others on the same devices, in turns.
# containers: iperf3; sluice with policy, conntrack, counters; the kernel plain: routing, proxy ARP, its VXLAN device, and an
# XDP program that passes everything where sluice has one
#   tcp      one stream, container to container                   vxlan    to a VXLAN peer
#   small    UDP of 64 bytes, container to container; also beside the kernel with nftables' conntrack (kernel-ct)
#   reverse  one stream from a VXLAN peer
# uplinks: by bench/peers/devices.sh, uplink to uplink by XDP with connections and SNAT, generator included on one core, paced; 1 Mi
# flows, uniform and with nine of ten packets on 1024 of them, beside the engine alone. xdp: the part that the kernel forwarded
# One line a result, for bench/result.py. TCP here has two speeds, 15 and 22 Gbit/s, whoever forwards: many rounds.
. "$(dirname "$0")/../tests/net/_env.sh"
. bench/veth.sh
. bench/peers/devices.sh

# shellcheck disable=SC2034 # of devices.sh
BENCH=bench-kernel STEPS=5 ROUNDS=3 SECONDS_EACH=3 PARTS=
declare -A NUMBERS=([1]=ROUNDS [2]=SECONDS_EACH)
for word; do
	case $word in
	containers | uplinks) PARTS+=" $word" ;;
	*[!0-9]*) fail "'$word': [ROUNDS [SECONDS]] [containers] [uplinks]" ;;
	*) n=$((${n:-0} + 1)) && declare "${NUMBERS[$n]:-EXTRA}=$word" ;;
	esac
done
declare -A CASES=([sluice]="tcp vxlan reverse small" [kernel]="tcp vxlan reverse small" [kernel-ct]=small)
declare -A UNIT=([tcp]=mbit [vxlan]=mbit [reverse]=mbit [small]=kpps)

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
	nsip gw link set up0 xdpdrv obj "$TMP/pass.o" sec xdp
	need "ns c1 ping -q -c 1 -W 1 10.2.0.7" 10 "the kernel forwards"
}
by_kernel-ct() {
	by_kernel
	ns gw nft 'add table ip f; add chain ip f c { type filter hook forward priority 0; policy drop; };
		add rule ip f c ct state established,related accept; add rule ip f c ct state new ip saddr 10.0.0.0/8 accept'
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
containers() {
	local who c round n
	declare -A figures
	echo 'int pass(void *c) { (void)c; return 2; }' |
		clang -O2 -target bpf -x c -include <(echo '__attribute__((section("xdp"))) int pass(void *);') -c - -o "$TMP/pass.o"
	for ((round = 1; round <= ROUNDS; round++)); do
		for who in sluice kernel kernel-ct; do
			topo_gateway
			"by_$who"
			iperf_server c2
			iperf_server rc
			for c in ${CASES[$who]}; do
				one "$c"
				figures[$c.$who]+=" $FIGURE"
				note "round $round $who $c: $FIGURE ${UNIT[$c]}"
			done
			stop_bg iperf.c2.5201
			stop_bg iperf.rc.5201
			[ $who != sluice ] || sluiced_stop TERM
			veth_gone
		done
	done
	for c in tcp vxlan reverse small; do
		for who in sluice kernel kernel-ct; do
			[ -n "${figures[$c.$who]:-}" ] || continue
			# shellcheck disable=SC2086 # words
			spread ${figures[$c.$who]}
			echo "$BENCH $c system=$who ${UNIT[$c]} $MEDIAN min $LEAST max $MOST rounds $ROUNDS"
		done
	done
}
uplinks() {
	local f s
	io_build
	for f in 1024 65536; do
		for s in replay testpmd kernel; do io_one snat $s $f 64 flows; done
	done
	for f in 1048576 1048576/1024; do
		for s in replay sluice; do io_one snat $s $f 64 flows; done
	done
}
DPDK_MEMORY="--no-huge -m 1024"
for part in ${PARTS:-containers uplinks}; do $part; done
pass
