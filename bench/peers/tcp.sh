#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced by bench/peers.sh, over the veths of bench/veth.sh with connections tracked:
#   tcp-goodput  one iperf3 stream between the stacks of src and dst, Mbit/s, offloads at the devices' defaults
#   tcp-rtt-*    UDP datagrams from src, 1000 a second, sent back by a program in dst (bench/rtt.c): quantiles in us; sluice-spin: with
#                'set worker idle spin', as OVS' threads do
#   conns-*      connections a second in the first second of 1 Mi flows that nobody has seen before, in random order, each packet
#                UDP of 64 bytes. Counted where they come out; repeated draws are taken off: of F flows n packets meet F(1 - e^(-n/F))
# dpdk-testpmd has no row: it knows neither next hops nor connections.

tcp_topo() {
	veth_topo
	ns dst nft delete table netdev t
	addr src gen0 10.0.0.1/24
	addr dst sink0 20.0.0.2/24
	nsip src route add default via 10.0.0.254
	nsip dst route add default via 20.0.0.254
	nsip src neigh replace 10.0.0.254 lladdr 02:00:00:00:00:02 dev gen0 nud permanent
	nsip dst neigh replace 20.0.0.254 lladdr 02:00:00:00:00:03 dev sink0 nud permanent
}
# As a NIC hands them on: OVS' net_af_xdp sends what it gets, XDP replay leaves unfinished ones to the engine
whole_checksums() {
	ns src ethtool -K gen0 tx off >/dev/null
	ns dst ethtool -K sink0 tx off >/dev/null
}
# tcp_up SYSTEM: what devices.sh starts, its rules for these protocols instead
tcp_up() {
	case $1 in
	kernel)
		kernel_up forward
		ns gw nft 'add table ip f; add chain ip f c { type filter hook forward priority 0; policy drop; };
			add rule ip f c ct state established,related accept; add rule ip f c ct state new ip saddr 10.0.0.0/8 accept'
		;;
	ovs)
		whole_checksums
		ovs_up forward
		of del-flows br0
		of add-flow br0 "table=0,ip,actions=ct(table=1)"
		of add-flow br0 "table=1,priority=0,actions=drop"
		of add-flow br0 "table=1,ip,in_port=10,ct_state=+trk+new,nw_src=10.0.0.0/8,actions=ct(commit),$(tcp_hop 03 22),output:11"
		of add-flow br0 "table=1,ip,in_port=10,ct_state=+trk+est,actions=$(tcp_hop 03 22),output:11"
		of add-flow br0 "table=1,ip,in_port=11,ct_state=+trk+est,actions=$(tcp_hop 02 01),output:10"
		;;
	replay)
		whole_checksums
		replay_up ct 1
		;;
	sluice-spin) IDLE=spin sluice_up ct 1 ;;
	*) "$1_up" ct 1 ;;
	esac
	need "ns src ping -q -c 1 -W 1 20.0.0.2" 10 "$1 forwards"
}
# tcp_hop FROM TO: last bytes of the MACs
tcp_hop() { echo "mod_dl_src:02:00:00:00:00:$1,mod_dl_dst:02:00:00:00:00:$2,dec_ttl"; }

tcp_one() { # SYSTEM
	local mbit=() p50=() p99=() p999=() i a b c
	tcp_topo
	tcp_up "$1"
	iperf_server dst
	start_bg_ns dst echo "$B/bench/rtt" serve 5002
	for ((i = 0; i < ROUNDS; i++)); do
		ns src iperf3 -J -t 3 -c 20.0.0.2 >"$TMP/iperf" || fail "iperf3: $(jq -r .error "$TMP/iperf")"
		mbit+=("$(jq '.end.sum_received.bits_per_second / 1e6 | floor' "$TMP/iperf")")
		ns src "$B/bench/rtt" 20.0.0.2 5002 3000 1000 1500 >"$TMP/rtt" || fail "round trips"
		read -r _ a b c _ <"$TMP/rtt"
		p50+=("$a") p99+=("$b") p999+=("$c")
	done
	stop_bg iperf.dst.5201
	stop_bg echo
	result tcp-goodput "$1" 1 mbit "${mbit[@]}"
	result tcp-rtt-p50 "$1" 1 us "${p50[@]}"
	result tcp-rtt-p99 "$1" 1 us "${p99[@]}"
	result tcp-rtt-p99.9 "$1" 1 us "${p999[@]}"
	"${1%%-*}_down"
	veth_gone
}
# A system anew each round: with no connection
conns_one() { # CASE SYSTEM
	local v=() flows=1048576 i a n n0 t
	for ((i = 0; i < ROUNDS; i++)); do
		veth_topo
		"$2_up" "$1" $flows
		a=$(received)
		gen_start gen src gen0 $flows "$GEN_MAC" 64 0
		need "[ \"\$(received)\" -gt $((a + 1000)) ]" 10 "$2 forwards"
		# from here on: n0 packets came before, and their flows are known
		n0=$(received) t=$(date +%s%N)
		wait_until false 1 || true
		n=$(received) t=$(($(date +%s%N) - t))
		stop_bg gen
		v+=("$(awk -v n0=$((n0 - a)) -v n=$((n - a)) -v f=$flows -v t=$t 'BEGIN { printf "%d", f * (exp(-n0 / f) - exp(-n / f)) * 1e9 / t }')")
		"$2_down"
		veth_gone
	done
	result "conns-$1" "$2" $flows conns "${v[@]}"
}
tcp() {
	local c s
	io_build
	for s in sluice sluice-spin replay kernel ovs; do attempt "bench-peers tcp system=$s" tcp_one $s; done
	for c in ct snat; do
		for s in sluice kernel ovs; do attempt "bench-peers conns-$c system=$s flows 1048576" conns_one $c $s; done
	done
}
# Plain frames in at up0, out as VXLAN at up1; and VXLAN in, plain frames out.
vxlan() {
	local s
	io_build
	for s in sluice kernel ovs; do io encap $s 1024 64 flows; done
	for s in sluice replay kernel ovs; do io decap $s 1024 vxlan flows; done
}
