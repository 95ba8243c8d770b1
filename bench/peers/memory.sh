#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced by bench/peers.sh: cycles a packet, no device. sluice by bench-core; OVS and testpmd from net_pcap (infinite_rx, one frame made
# to FLOWS flows by flows.so) to net_null, whose own cost stands in the row 'testpmd' and is part of OVS's figure.

# result CASE SYSTEM FLOWS METRIC VALUE...
result() {
	local case=$1 system=$2 flows=$3 metric=$4
	shift 4
	spread "$@"
	echo "bench-peers $case system=$system flows $flows $metric $MEDIAN min $LEAST max $MOST rounds $#"
}

memory_ovs_ports() { # CASE
	local pin="options:dpdk-devargs=net_pcap0,rx_pcap=$TMP/frame.pcap,infinite_rx=1" pout="options:dpdk-devargs=net_null0,no-rx=1"
	local in=br0 out=br0
	case $1 in
	encap | decap)
		vs add-br br1 -- set bridge br1 datapath_type=netdev other_config:hwaddr=02:00:00:00:00:02
		addr ovs br1 172.16.0.1/24
		nsip ovs link set br1 up
		nsip ovs link set br0 up
		[ "$1" = encap ] && out=br1 || in=br1
		;;
	esac
	vs add-port $in pin -- set Interface pin type=dpdk "$pin" ofport_request=10
	vs add-port $out pout -- set Interface pout type=dpdk "$pout" ofport_request=11
	case $1 in
	encap | decap)
		vs add-port br0 vx -- set Interface vx type=vxlan options:remote_ip=172.16.0.2 options:key=100 ofport_request=12
		need "oa ovs/route/show | grep -q 172.16.0.0/24" 10 "OVS's tunnel route"
		oa tnl/arp/set br1 172.16.0.2 02:00:00:00:00:01 >/dev/null
		of del-flows br1
		;;
	esac
	case $1 in
	encap)
		ovs_rules ct 10 12
		of add-flow br1 "priority=1,actions=output:11"
		;;
	decap)
		of del-flows br0
		of add-flow br1 "in_port=10,actions=LOCAL"
		of add-flow br0 "in_port=12,actions=output:11"
		;;
	*) ovs_rules "$1" 10 11 ;;
	esac
}
# memory_ovs CASE FLOWS
memory_ovs() {
	local env=("FLOWS=$2") v=() kind=plain i
	case $1 in
	ct) env+=(FLOWS_BOTH=1) ;;
	snat) env+=(FLOWS_BOTH=1 FLOWS_NAT=14000001) ;;
	decap) env+=(FLOWS_INNER=50) kind=vxlan ;;
	esac
	bench/peers/frame.py "$TMP/frame.pcap" $kind
	ns_add ovs
	ovs_start ovs "${env[@]}"
	memory_ovs_ports "$1"
	# all connections made: the time differs by what the case costs
	wait_until false "$(awk "BEGIN { print 1 + $2 / 150000 }")" || true
	for ((i = 0; i < ROUNDS; i++)); do
		oa dpif-netdev/pmd-stats-clear
		wait_until false 1 || true
		v+=("$(oa dpif-netdev/pmd-stats-show | awk '/avg cycles per packet/ { print $5; exit }')")
	done
	[ -n "${v[0]}" ] || fail "OVS $1 reports no cycles a packet"
	result "memory-$1" ovs-dpdk "$2" cycles "${v[@]}"
	ovs_stop
	ip netns del "${P}ovs"
	# shellcheck disable=SC2034 # of _env.sh
	SL_NS=()
}
# memory_sluice CASE FLOWS CORE-CASE
memory_sluice() {
	local v=() new=() i out
	for ((i = 0; i < ROUNDS; i++)); do
		out=$(nice -n -15 "$B/bench/core" "$3" "$2")
		v+=("$(awk -v c="$3" '$2 == c { print $6 }' <<<"$out")")
		new+=("$(awk -v c="decide-$3" '$2 == c { printf "%d\n", $8 * 1e6 }' <<<"$out")")
	done
	result "memory-$1" sluice "$2" cycles "${v[@]}"
	[ -z "${new[0]}" ] || result "memory-new-$1" sluice "$2" conns "${new[@]}"
}
memory_testpmd() { # FLOWS
	local v=() i hz memory
	read -ra memory <<<"$DPDK_MEMORY"
	hz=$(awk '/cpu MHz/ { print $4 * 1e6; exit }' /proc/cpuinfo)
	bench/peers/frame.py "$TMP/frame.pcap" plain
	for ((i = 0; i < ROUNDS; i++)); do
		{
			wait_until false 3 || true
			echo "show port stats all"
			wait_until false 1 || true
			echo "show port stats all"
			echo quit
		} | FLOWS=$1 nice -n -15 dpdk-testpmd -d "$FLOWS_SO" -l 0,1 --no-pci --no-telemetry "${memory[@]}" --file-prefix "$NAME" \
			--vdev "net_pcap0,rx_pcap=$TMP/frame.pcap,infinite_rx=1" --vdev net_null0,no-rx=1 -- -i --auto-start --portmask=3 \
			--forward-mode=io --nb-cores=1 --total-num-mbufs=16384 --txd=512 --rxd=512 >"$LOG/testpmd-null.log" 2>&1 ||
			fail "testpmd between net_pcap and net_null"
		v+=("$(awk -v hz="$hz" '/Tx-pps/ && $2 > 0 { p = $2 } END { if (p) printf "%.1f\n", hz / p }' "$LOG/testpmd-null.log")")
	done
	[ -n "${v[0]}" ] || fail "testpmd forwards nothing between net_pcap and net_null"
	result memory-forward testpmd "$1" cycles "${v[@]}"
}
memory() {
	local f c
	local -A core_case=([ct]=route [snat]=snat-both [encap]=encap [decap]=decap)
	for f in $MEMORY_FLOWS; do
		attempt "bench-peers memory-forward system=testpmd flows $f" memory_testpmd "$f"
		attempt "bench-peers memory-forward system=ovs-dpdk flows $f" memory_ovs forward "$f"
		for c in ct snat encap decap; do
			attempt "bench-peers memory-$c system=sluice flows $f" memory_sluice $c "$f" "${core_case[$c]}"
			attempt "bench-peers memory-$c system=ovs-dpdk flows $f" memory_ovs $c "$f"
		done
	done
}
