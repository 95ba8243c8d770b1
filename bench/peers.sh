#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench-peers [full] [memory] [devices] [tcp] [vxlan]: the same traffic in the same run through sluice and what one would use instead.
# Parts: bench/peers/memory.sh (cycles a packet, no device), devices.sh (packets a second over veth), tcp.sh
# (TCP, round trips, new connections; VXLAN over veth). All in namespaces of its own,
# OVS with a database of its own; huge pages and the size of the kernel's connection table are put back at the end.
# What fails is a line 'bench-peers CASE system=WHO failed: REASON', the run goes on and ends non-zero.
# One line a result, for bench/result.py:  bench-peers CASE system=WHO flows N METRIC N min N max N rounds N
if [ -z "${SL_ID:-}" ]; then
	huge=$(cat /proc/sys/vm/nr_hugepages)
	conns=$(cat /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null)
	buckets=$(cat /sys/module/nf_conntrack/parameters/hashsize 2>/dev/null)
	put_back() {
		echo "$huge" >/proc/sys/vm/nr_hugepages
		[ -z "$conns" ] || echo "$conns" >/proc/sys/net/netfilter/nf_conntrack_max
		[ -z "$buckets" ] || echo "$buckets" >/sys/module/nf_conntrack/parameters/hashsize
	}
	trap put_back EXIT
	echo $((huge + 640)) >/proc/sys/vm/nr_hugepages
	[ -z "$conns" ] || echo 2097152 >/proc/sys/net/netfilter/nf_conntrack_max
	[ -z "$buckets" ] || echo 524288 >/sys/module/nf_conntrack/parameters/hashsize
fi
. "$(dirname "$0")/../tests/net/_env.sh"
. bench/veth.sh
. bench/peers/ovs.sh
. bench/peers/memory.sh
. bench/peers/devices.sh
. bench/peers/attempt.sh
. bench/peers/tcp.sh

# shellcheck disable=SC2034 # of the parts
BENCH=bench-peers ROUNDS=2 STEPS=5 MEMORY_FLOWS="1024 65536" IO_FLOWS="1024 65536" IO_FRAMES="1518 imix" PARTS=
for word; do
	case $word in
	full)
		# shellcheck disable=SC2034 # of the parts
		ROUNDS=3 STEPS=7 MEMORY_FLOWS="1 1024 65536 1048576" IO_FLOWS="1 1024 65536 1048576"
		IO_FRAMES="64 128 256 512 1024 1280 1518 imix"
		;;
	memory | devices | tcp | vxlan) PARTS+=" $word" ;;
	*) fail "'$word': full, memory, devices, tcp or vxlan" ;;
	esac
done
# --in-memory needs no hugetlbfs mount
DPDK_MEMORY="--in-memory -m 512"
[ "$(awk '/HugePages_Free/ { print $2 }' /proc/meminfo)" -ge 600 ] || DPDK_MEMORY="--no-huge -m 1024"
note "DPDK memory: $DPDK_MEMORY"
# EAL takes no plugin from a folder that everybody may write
FLOWS_SO=$(realpath "$B")/bench/flows.so
# shellcheck disable=SC2046 # words
gcc -O3 -march=native -shared -fPIC -Wall -Wno-deprecated-declarations -o "$FLOWS_SO" bench/peers/flows.c \
	$(pkg-config --cflags libdpdk) -lrte_ethdev -lrte_eal
for part in ${PARTS:-memory devices tcp vxlan}; do $part; done
attempts_pass
