#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced by bench/peers.sh and bench/kernel.sh: packets a second through veth (bench/veth.sh), the same generator and sink for all.
# ndr: the highest rate of a binary search at which at most 0.1 % of one of two trials was lost; mpps: what comes out when all that one core
# can generate goes in. The kernel's work is steered to cpu 1 (RPS); its XDP programs run on the generator's core, and the other one idles: in
# a kernel thread of its own (threaded NAPI) XDP lost frames from 40 kpps on, which wait in 256 places until that thread is woken.

GEN_MAC=02:00:00:00:00:02 # of up0

# One function a system: up CASE FLOWS; down. CASE: forward, ct (policy and connections), snat, encap (connections, into VXLAN), decap (out of it).
# sluice translates what comes in by an uplink when it is for a service: 10.200.0.N is one with 20.1.0.N behind it.
sluice_up() {
	local n
	{
		echo "set worker count 1"
		echo "set worker idle ${IDLE:-sleep}"
		echo "set offload ${OFFLOAD:-off}"
		[ "$2" -le 131072 ] || echo "set ct max-other $(($2 * 5 / 4))"
		echo "add port up1 device up1 transit on"
		echo "add port up0 device up0 transit on"
		[ "$1" != snat ] || {
			echo "set offload flows 262144"
			echo "add nat pool 20.0.0.1 port up1"
			for ((n = 1; n <= ($2 + 16383) / 16384; n++)); do
				echo "add service 10.200.0.$n:5001/udp"
				echo "add backend 10.200.0.$n:5001/udp 20.1.0.$n:5001"
			done
		}
		[ "$1" != encap ] || {
			echo "add vtep 20.0.0.254 port 4789 vni-mode network"
			echo "add tunnel 10.200.0.0/16 remote 20.0.0.2 vni 300 mac 02:00:00:00:20:01"
		}
		[ "$1" != decap ] || {
			echo "add vtep 10.0.0.254 port 4789 vni-mode network"
			echo "add tunnel 10.3.0.0/16 remote 10.0.0.1 vni 300 mac 02:00:00:00:20:01"
		}
	} >"$LOG/sluice.conf"
	start_bg_ns gw sluiced nice -n -15 taskset -c 1 "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$LOG/sluice.conf"
	need "ctl show version" 20 "sluiced answers"
}
sluice_down() { stop_bg sluiced; }
replay_up() { OFFLOAD=on sluice_up "$@"; }
replay_down() { sluice_down; }
kernel_up() {
	ns gw sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=0
	ns gw unshare -m sh -c 'mount -t sysfs sysfs /sys && echo 2 >/sys/class/net/up0/queues/rx-0/rps_cpus'
	[ "$1" = forward ] || ns gw nft 'add table ip f; add chain ip f c { type filter hook forward priority 0; policy drop; };
		add rule ip f c ct state established,related accept; add rule ip f c ct state new ip saddr 10.0.0.0/8 udp dport 5001 accept'
	[ "$1" != snat ] || ns gw nft 'add table ip n; add chain ip n c { type nat hook postrouting priority 100; };
		add rule ip n c oifname up1 masquerade'
	[ "$1" != encap ] || {
		topo_vxlan gw vx1 20.0.0.254 20.0.0.2
		addr gw vx1 10.3.0.1/24
		nsip gw neigh replace 10.3.0.2 lladdr 02:00:00:00:20:01 dev vx1 nud permanent
		nsip gw route replace 10.200.0.0/16 via 10.3.0.2
	}
	[ "$1" != decap ] || {
		topo_vxlan gw vx1 10.0.0.254 10.0.0.1
		nsip gw link set vx1 address 02:00:00:00:20:02
		addr gw vx1 10.3.0.1/24
	}
}
kernel_down() { :; }
testpmd_up() { testpmd_start "$DPDK_MEMORY"; }
testpmd_down() { testpmd_stop; }
ovs_up() {
	local out=br0 in=br0
	ovs_start gw FLOWS_OFF=1
	[ "$1" != decap ] || {
		in=br1
		vs add-br br1 -- set bridge br1 datapath_type=netdev other_config:hwaddr=$GEN_MAC
		nsip gw addr flush dev up0
		addr gw br1 10.0.0.254/24
		nsip gw link set br1 up
		nsip gw link set br0 up
		nsip gw neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev br1 nud permanent
	}
	vs add-port $in pin -- set Interface pin type=dpdk options:dpdk-devargs=net_af_xdp0,iface=up0 ofport_request=10
	[ "$1" != encap ] || {
		out=br1
		vs add-br br1 -- set bridge br1 datapath_type=netdev other_config:hwaddr=02:00:00:00:00:03
		nsip gw addr flush dev up1
		addr gw br1 20.0.0.254/24
		nsip gw link set br1 up
		nsip gw link set br0 up
	}
	vs add-port $out pout -- set Interface pout type=dpdk options:dpdk-devargs=net_af_xdp1,iface=up1 ofport_request=11
	[ "$(vs get Interface pin error)$(vs get Interface pout error)" = '[][]' ] || fail "OVS: $(vs get Interface pin error)"
	[ "$1" != encap ] || {
		vs add-port br0 vx -- set Interface vx type=vxlan options:remote_ip=20.0.0.2 options:key=300 ofport_request=12
		need "oa ovs/route/show | grep -q 20.0.0.0/24" 10 "OVS's tunnel route"
		oa tnl/arp/set br1 20.0.0.2 02:00:00:00:00:22 >/dev/null
		of del-flows br1
		of add-flow br1 "priority=1,actions=output:11"
		ovs_rules ct 10 12
		return
	}
	[ "$1" != decap ] || {
		vs add-port br0 vx -- set Interface vx type=vxlan options:remote_ip=10.0.0.1 options:key=300 ofport_request=12
		need "oa ovs/route/show | grep -q 10.0.0.0/24" 10 "OVS's tunnel route"
		ovs_rules ct 12 11
		return
	}
	ovs_rules "$1" 10 11
}
ovs_down() { ovs_stop; }

gen_start() { # NAME NS DEVICE FLOWS[/HOT] MAC FRAME|imix|vxlan PPS [REPLY-TO [PEER]]
	local frame=$6
	[[ $frame == [iv]* ]] || frame=$((frame - 4))
	: >"$LOG/$1.log"
	start_bg_ns "$2" "$1" nice -n -15 taskset -c 0 "$B/bench/gen" "$TMP/gen.o" "$3" "$4" "$5" "$frame" "$7" "${@:8}"
}
# Nothing came since the last call.
quiet() {
	local now
	now=$(received)
	[ "$now" = "${LAST:-}" ] || {
		LAST=$now
		false
	}
}
# trial FLOWS FRAME PPS SECONDS: the rate that came out in $RATE, the part lost in $LOSS
trial() {
	local a b sent s
	a=$(received)
	gen_start gen src gen0 "$1" "$GEN_MAC" "$2" "$3"
	wait_until false "$4" || true
	stop_bg gen
	# what is still under way arrives
	wait_until quiet 2 || true
	b=$(received)
	read -r _ sent _ s < <(grep ^sent "$LOG/gen.log")
	read -r RATE LOSS < <(awk -v r=$((b - a)) -v n="$sent" -v s="$s" 'BEGIN { printf "%.0f %.5f\n", r / s, n ? 1 - r / n : 1 }')
}
few_lost() { awk "BEGIN { exit !($LOSS <= 0.001) }"; }
# search FLOWS FRAME: in $MOST_OUT and $NDR, Mpps
search() {
	local low=0 high rate i
	trial "$1" "$2" 0 1
	MOST_OUT=$RATE high=$((RATE * 3 / 2)) NDR=0
	if few_lost; then
		NDR=$RATE
	else
		for ((i = 0; i < STEPS; i++)); do
			rate=$(((low + high) / 2))
			trial "$1" "$2" $rate 0.7
			# other guests of the host take the CPU now and then: lost twice is lost
			few_lost || trial "$1" "$2" $rate 0.7
			if few_lost; then
				low=$rate NDR=$RATE
			else
				high=$rate
			fi
		done
	fi
	NDR=$(awk "BEGIN { printf \"%.3f\", $NDR / 1e6 }") MOST_OUT=$(awk "BEGIN { printf \"%.3f\", $MOST_OUT / 1e6 }")
}
frame_word() { [[ $1 == [iv]* ]] && echo "frame=$1" || echo "frame $1"; }
by_xdp() { ctl -j show offload | jq '.[] | select(.name == "xdp") | .value'; }
# io_one CASE SYSTEM FLOWS[/HOT] FRAME X
io_one() {
	local ndr=() out=() share='' flows=${3%/*} i a b back=(10.0.0.1 10.200.0.1)
	veth_topo
	[ "$1" != snat ] || back=(20.0.0.1 20.1.0.1)
	[ "$1" != decap ] || back=(10.3.0.9 10.200.0.1)
	"${2%%-*}_up" "${1/frames/forward}" "$flows"
	# flows that are mostly in the kernel's hands; where they are not, AF_XDP sends
	[ "$2" != replay ] || [[ $3 == 1048576 ]] || sink_by_xdp
	# connections of all flows, also answered ones, before anything counts; the kernel gets those with 8 packets a second
	i=$((flows * 8 > 30000 ? (flows * 8 > 400000 ? 400000 : flows * 8) : 30000))
	gen_start gen src gen0 "$3" "$GEN_MAC" "$([ "$4" = vxlan ] && echo vxlan || echo 64)" $i
	[ "$2" != replay ] || gen_start back dst sink0 "$3" 02:00:00:00:00:03 64 $i "${back[@]}"
	a=$(received)
	need "[ \"\$(received)\" -gt $((a + 1000)) ]" 10 "$2 forwards"
	wait_until false $((3 + (flows > 131072 ? 8 : flows / 16384))) || true
	stop_bg gen
	[ "$1" != encap ] || [ "$(size_received)" -gt 100 ] || fail "what comes out is not encapsulated"
	[ "$1" != decap ] || [ "$(size_received)" -lt 100 ] || fail "what comes out is not decapsulated"
	[ "$2" != replay ] || stop_bg back
	[ "$2" != replay ] || a=$(received) b=$(by_xdp)
	for ((i = 0; i < ROUNDS; i++)); do
		search "$3" "$4"
		ndr+=("$NDR") out+=("$MOST_OUT")
	done
	[ "$2" != replay ] || share=" xdp $(awk -v o=$(($(by_xdp) - b)) -v n=$(($(received) - a)) 'BEGIN { printf "%.2f", n ? o / n : 0 }')"
	spread "${ndr[@]}"
	# shellcheck disable=SC2153 # spread sets them
	i="ndr $MEDIAN min $LEAST max $MOST"
	spread "${out[@]}"
	echo "$BENCH io-$1 system=$2 flows $flows$([ "$3" = "$flows" ] || echo " hot ${3#*/}") $(frame_word "$4") x=$5 $i mpps $MEDIAN rounds $ROUNDS$share"
	"${2%%-*}_down"
	veth_gone
}
io_build() { clang -O2 -g -target bpf "-I/usr/include/$(uname -m)-linux-gnu" -c bench/gen.bpf.c -o "$TMP/gen.o"; }
# io CASE SYSTEM FLOWS FRAME X: io_one that may fail
io() { attempt "$BENCH io-$1 system=$2 flows $3 $(frame_word "$4")" io_one "$@"; }
devices() {
	local f s
	io_build
	for f in $IO_FLOWS; do
		for s in testpmd sluice ovs kernel; do io forward $s "$f" 64 flows; done
		for s in replay ovs kernel; do io ct $s "$f" 64 flows; done
	done
	for s in sluice replay kernel; do io snat $s 1024 64 flows; done
	for f in $IO_FRAMES; do
		for s in testpmd sluice ovs kernel; do io frames $s 1024 "$f" frame; done
	done
}
