#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# topo_gateway itself works: the kernel of gw forwards in place of sluice. A scenario that fails while this one passes
# has found something in sluice, not in its surroundings.
# workers: 1
. "$(dirname "$0")/_env.sh"

topo_gateway
web_start out 100

# gw as a plain router: proxy ARP and ND toward the containers, a kernel VXLAN device toward node
ns gw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.proxy_ndp=1
for i in 1 2; do
	addr gw lxc$i 10.1.0.1/32 fd01::1/128
	nsip gw route add 10.1.0.$((9 + i)) dev lxc$i
	nsip gw -6 route add fd01::$((9 + i)) dev lxc$i
	ns gw sysctl -qw net.ipv4.conf.lxc$i.proxy_arp=1 net.ipv6.conf.lxc$i.proxy_ndp=1
	nsip gw neigh add proxy fd01::$((12 - i)) dev lxc$i
done
topo_vxlan gw vx0 192.0.2.1 192.0.2.2
addr gw vx0 10.3.0.1/24 fd03::1/64
nsip gw route add 10.2.0.0/24 via 10.3.0.2
nsip gw -6 route add fd02::/64 via fd03::2
# No masquerade here: out is told the way back.
nsip out route add 10.1.0.0/24 via 198.51.100.1
nsip out -6 route add fd01::/64 via 2001:db8:2::1

ping_ok c1 10.1.0.11
ping_ok c1 fd01::11
ping_ok c1 10.2.0.7
ping_ok rc fd01::10
ping_ok c2 198.51.100.2
ping_ok c2 2001:db8:2::2
fetch c1 198.51.100.2
fetch c1 '[2001:db8:2::2]'

# Larger than vx0 carries: gw tells c1, TCP adapts
iperf_server rc
iperf c1 10.2.0.7
iperf c1 fd02::7
iperf c1 10.2.0.7 -u -b 50M
ns c1 ip route get 10.2.0.7 | grep -q 'mtu 1450' || fail "c1 did not learn the path MTU"
ok "path MTU 1450 learnt"

ping_no c1 10.2.0.99
pass
