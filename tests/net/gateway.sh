#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The main job: the three paths in both families with unmodified tools, offloads at their defaults.
. "$(dirname "$0")/_env.sh"

topo_gateway
for n in out c2 rc; do web_start $n; done
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

for h in 10.1.0.11 fd01::11 10.2.0.7 fd02::7 198.51.100.2 2001:db8:2::2; do
	ping_ok c1 $h
done
ping_ok rc 10.1.0.10
ping_ok rc fd01::10
for h in 10.1.0.11 '[fd01::11]' 10.2.0.7 '[fd02::7]' 198.51.100.2 '[2001:db8:2::2]'; do
	fetch c1 "$h"
done
for n in c1 c2 rc out; do
	bad=$(ns $n nstat -az TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors IcmpInCsumErrors | awk '/Csum/ { s += $2 } END { print s + 0 }')
	[ "$bad" = 0 ] || fail "$n counts $bad bad checksums"
done
ok "no bad checksum anywhere"

# upload, and UDP, both ways
iperf_server c2
iperf_server rc
iperf_server out
for h in 10.1.0.11 10.2.0.7 198.51.100.2 fd01::11 fd02::7 2001:db8:2::2; do
	iperf c1 $h -t 1
	iperf c1 $h -t 1 -u -b 50M -l 1200
done

[ "$(field ct packets '.proto == "tcp" and .state != "new"')" -gt 1000 ] || fail "show ct has no counts"
ctl -j show nat | jq -e 'map(select(.outside == "198.51.100.1" and .inside == "10.1.0.10")) | length > 0' >/dev/null ||
	fail "show nat lacks the masquerade"
ctl -j show nat | jq -e 'map(select(.outside == "2001:db8:2::1" and .inside == "fd01::10")) | length > 0' >/dev/null ||
	fail "show nat lacks the IPv6 masquerade"
balance_check
sluiced_stop TERM
[ "$STOP_RC" = 0 ] || fail "sluiced ended with $STOP_RC"
nsip gw link show sluice_host >/dev/null 2>&1 && fail "a clean stop left the gate"
[ -z "$(ls -A /sys/fs/bpf/sluice 2>/dev/null)" ] || fail "a clean stop left pins"
[ -z "$(ns gw tc filter show dev lxc1 ingress)" ] || fail "a clean stop left a filter on lxc1"
nsip gw link show up1 | grep -q xdp && fail "a clean stop left XDP on up1"
pass
