#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Uplinks that are DPDK devices, containers behind tc and the gate, real peers:
#   up1 = net_tap dtap0, which a bridge joins to the veth of 'out': a device the kernel does not take part in, so with a
#         face, tap face1, that has the addresses
#   up0 = net_af_packet on the veth to 'node', where the kernel sees each frame, too
. "$(dirname "$0")/../net/_env.sh"

topo_gateway
nsip gw addr flush dev up1
# af_packet cuts what is longer than its slots: no segmentation offload at the sender
ns node ethtool -K eth0 tx off tso off gso off >/dev/null
web_start out
web_start node
cat >"$TMP/conf" <<-CONF
	add port up1 dpdk net_tap0,iface=dtap0 tap face1 transit on
	add port up0 dpdk net_af_packet0,iface=up0
	add endpoint 10 device lxc1 ipv4 10.1.0.10 ipv6 fd01::10 identity 1001
	add nat pool 198.51.100.1 port up1
	add nat pool 2001:db8:2::1 port up1
	add nat pool 192.0.2.9 port up0
	add nat pool 2001:db8:1::9 port up0
CONF
sluiced_start "$TMP/conf"
nsip gw link set dtap0 address 02:00:00:00:77:01 # the wire's end, not the port
nsip gw link add br1 type bridge
nsip gw link set dtap0 master br1
nsip gw link set up1 master br1
nsip gw link set br1 up
addr gw face1 198.51.100.1/24 2001:db8:2::1/64
ctl -j show ports | jq -e 'map(select(.kind == "dpdk" and .up)) | length == 2' >/dev/null || fail "a DPDK port is not up"
ctl -j show ports | jq -e '.[] | select(.name == "up1") | .mode == "net_tap" and .device == "net_tap0,iface=dtap0"' >/dev/null ||
	fail "show ports does not name the device"

# the box itself, through the face: both directions, neighbours included
ping_ok gw 198.51.100.2
ping_ok gw 2001:db8:2::2
ping_ok out 198.51.100.1
ping_ok out 2001:db8:2::1
# the box itself where the kernel sees all: one answer, not two
for a in 192.0.2.1 2001:db8:1::1; do
	ping_ok node $a
	! grep -q duplicates "$TMP/ping" || fail "$a answers twice"
done
# a container through both
for h in 198.51.100.2 2001:db8:2::2 192.0.2.2 2001:db8:1::2; do
	ping_ok c1 $h
done
for h in 198.51.100.2 '[2001:db8:2::2]' 192.0.2.2 '[2001:db8:1::2]'; do
	fetch c1 "$h"
done
iperf_server out
iperf_server node
iperf c1 198.51.100.2 -t 1
iperf c1 198.51.100.2 -t 1 -R
iperf c1 198.51.100.2 -t 1 -u -b 50M -l 1200
iperf c1 192.0.2.2 -t 1
iperf c1 192.0.2.2 -t 1 -u -b 50M -l 1200
for n in c1 out node; do
	bad=$(ns $n nstat -az TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors IcmpInCsumErrors | awk '/Csum/ { s += $2 } END { print s + 0 }')
	[ "$bad" = 0 ] || fail "$n counts $bad bad checksums"
done
ok "no bad checksum anywhere"
# the same asleep when idle
ctl set dpdk idle sleep
ping_ok c1 198.51.100.2
ctl set dpdk idle spin

# the link goes, and routes know; it comes back
nsip gw link set dtap0 down
need "ctl -j show ports | jq -e '.[] | select(.name == \"up1\") | .up == false'" 5 "up1 down with its device"
need "nsip gw route get 198.51.100.2 | grep -q linkdown || ! nsip gw link show face1 | grep -q LOWER_UP" 5 "face1 without carrier"
nsip gw link set dtap0 up
need "ctl -j show ports | jq -e '.[] | select(.name == \"up1\") | .up'" 5 "up1 up again"
ping_ok c1 198.51.100.2

# refused with the device and the reason, nothing changes; added and deleted again at run time
! ctl add port bad dpdk net_af_packet7,iface=absent >"$TMP/refused" 2>&1 || fail "a device that does not exist was opened"
grep -q "port bad: .*net_af_packet7,iface=absent.*No such device" "$TMP/refused" || fail "refused with: $(cat "$TMP/refused")"
for _ in 1 2; do
	ctl add port more dpdk net_null0,no-rx=1
	ctl del port more
done
ctl save - | grep -qx 'add port up1 dpdk net_tap0,iface=dtap0 tap face1 transit on' || fail "save lacks up1: $(ctl save -)"
balance_check
sluiced_stop TERM
[ "$STOP_RC" = 0 ] || fail "sluiced ended with $STOP_RC"
for d in dtap0 face1; do
	! nsip gw link show $d >/dev/null 2>&1 || fail "a clean stop left $d"
done
pass
