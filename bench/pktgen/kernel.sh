#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# kernel.sh -i DEV -d MAC [OPTION...]: load from the kernel's packet generator (CONFIG_NET_PKTGEN), one thread a CPU given.
#   -i DEV  device to send on           -d MAC   of the gateway's port
#   -D IP   destination (10.200.0.1)    -S IP    first source (10.100.0.1)
#   -n N    flows: N source ports and addresses at random (64)
#   -s N    frame with FCS, bytes (64)  -r PPS   a thread, 0 = as fast as it goes (0)
#   -T S    seconds (10)                -c LIST  CPUs, comma between them (0)
# Last line: bench-pktgen send flows N frame BYTES mpps M. What arrived is the receiver's to say: 'sluicectl show ports'.
set -euo pipefail
dst=10.200.0.1 src=10.100.0.1 flows=64 size=64 rate=0 seconds=10 cpus=0 dev='' mac=''
while getopts i:d:D:S:n:s:r:T:c: o; do
	case $o in
	i) dev=$OPTARG ;;
	d) mac=$OPTARG ;;
	D) dst=$OPTARG ;;
	S) src=$OPTARG ;;
	n) flows=$OPTARG ;;
	s) size=$OPTARG ;;
	r) rate=$OPTARG ;;
	T) seconds=$OPTARG ;;
	c) cpus=$OPTARG ;;
	*) sed -n '3,10s/^# //p' "$0" >&2 && exit 2 ;;
	esac
done
if [ -z "$dev" ] || [ -z "$mac" ]; then
	echo "kernel.sh: -i DEV and -d MAC are needed" >&2
	exit 2
fi
PG=/proc/net/pktgen
[ -d $PG ] || modprobe pktgen 2>/dev/null || true
[ -d $PG ] || {
	echo "kernel.sh: no $PG: this kernel has no packet generator (CONFIG_NET_PKTGEN)" >&2
	exit 1
}
pg() { # FILE COMMAND...: pktgen says in the file itself whether it took it
	local f=$PG/$1
	shift
	echo "$*" >"$f"
	grep -q '^Result: OK' "$f" || {
		echo "kernel.sh: pktgen: '$*': $(grep ^Result "$f")" >&2
		exit 1
	}
}
IFS=, read -ra cpu <<<"$cpus"
trap 'echo reset >$PG/pgctrl' EXIT
echo reset >$PG/pgctrl
# 64 ports of each address, as many addresses as that takes
ports=$((flows < 64 ? flows : 64)) hosts=$(((flows + 63) / 64))
IFS=. read -r a b c d <<<"$src"
last=$(((a << 24 | b << 16 | c << 8 | d) + hosts - 1))
last=$((last >> 24 & 255)).$((last >> 16 & 255)).$((last >> 8 & 255)).$((last & 255))
for n in "${!cpu[@]}"; do
	d=$dev@$n
	pg "kpktgend_${cpu[n]}" "add_device $d"
	pg "$d" "count 0"
	pg "$d" "clone_skb 0"
	pg "$d" "burst 32"
	pg "$d" "pkt_size $((size - 4))" # without FCS
	pg "$d" "dst_mac $mac"
	pg "$d" "dst $dst"
	pg "$d" "src_min $src"
	pg "$d" "src_max $last"
	pg "$d" "udp_src_min 1024"
	pg "$d" "udp_src_max $((1024 + ports))"
	pg "$d" "udp_dst_min 5001"
	pg "$d" "udp_dst_max 5001"
	pg "$d" "flag IPSRC_RND"
	pg "$d" "flag UDPSRC_RND"
	pg "$d" "flag UDPCSUM"
	pg "$d" "queue_map_min $n"
	pg "$d" "queue_map_max $n"
	[ "$rate" = 0 ] || pg "$d" "ratep $rate"
done
# 'start' returns when it is stopped
timeout -s INT "$seconds" sh -c "echo start >$PG/pgctrl" || true
total=0
for n in "${!cpu[@]}"; do
	sent=$(sed -n 's/.*pkts-sofar: \([0-9]*\).*/\1/p' "$PG/$dev@$n")
	echo "cpu ${cpu[n]}: $sent packets"
	total=$((total + sent))
done
echo "bench-pktgen send flows $flows frame $size mpps $(awk "BEGIN { printf \"%.3f\", $total / $seconds / 1e6 }")"
