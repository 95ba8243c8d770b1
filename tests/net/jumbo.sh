#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# MTU 9000 between uplinks: services over SNAT and over VXLAN, path MTU, a device whose MTU changes under the port.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
mtu() { # MTU: of both links
	nsip gw link set up0 mtu "$1"
	nsip node link set eth0 mtu "$1"
	nsip gw link set up1 mtu "$1"
	nsip out link set eth0 mtu "$1"
	nsip node link set vx0 mtu $(($1 - 50))
}
mtu 9000
nsip node link set r1 mtu 9000
nsip rc link set eth0 mtu 9000
nsip node route add 203.0.113.80 via 192.0.2.1
nsip node -6 route add 2001:db8:80::80 via 2001:db8:1::1
nsip out route add 203.0.113.80 via 198.51.100.1
nsip node route add 198.51.100.0/24 via 10.3.0.1
nsip node -6 route add 2001:db8:2::/64 via fd03::1
web_start out 20
web_start rc 20
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
	echo "add service 203.0.113.80:80/tcp"
	echo "add backend 203.0.113.80:80/tcp 198.51.100.2:80"
	echo "add service [2001:db8:80::80]:80/tcp"
	echo "add backend [2001:db8:80::80]:80/tcp [2001:db8:2::2]:80"
	echo "add service 203.0.113.80:81/tcp"
	echo "add backend 203.0.113.80:81/tcp 10.2.0.7:80"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

# big NS HOST: a download whose packets are jumbo ones both in and out
big() {
	local in out
	in=$(field ports rx_bytes) out=$(field ports rx_packets)
	fetch "$1" "$2"
	[ $((($(field ports rx_bytes) - in) / ($(field ports rx_packets) - out))) -gt 2500 ] || fail "$1 -> $2: not by jumbo frames"
}
need "ns node curl -sf -m 2 http://203.0.113.80/" 10 "the service answers"
big node 203.0.113.80
big node '[2001:db8:80::80]'
big out 203.0.113.80:81
ping_ok c1 10.2.0.7

# The way out is narrower than the way in: who sends too much hears so
nsip out link set eth0 mtu 4000
nsip gw link set up1 mtu 4000
nsip out route change 198.51.100.0/24 dev eth0 advmss 8960 # it says more than its link carries
need "[ \$(field ports mtu '.name == \"up1\"') = 4000 ]" 5 "MTU 4000"
fetch node 203.0.113.80
head -c 100000 /dev/urandom >"$TMP/post"
ns node curl -s -m 20 -o /dev/null -H Expect: --data-binary "@$TMP/post" http://203.0.113.80/ || fail "POST to a narrower way"
[ "$(field drops packets ".number == 226")" -gt 0 ] || fail "no packet was too long"
ok "path MTU"

# The device grows while the port is open: frames as long as it says are received soon after
mtu 1500
sluiced_stop TERM
sluiced_restart
need "ns node curl -sf -m 2 http://203.0.113.80/" 10 "the service answers"
mtu 9000
need "[ \$(field ports mtu '.name == \"up0\"') = 9000 ] && [ \$(field ports mtu '.name == \"up1\"') = 9000 ]" 10 "MTU 9000 in show ports"
need "ns node curl -sf -m 2 http://203.0.113.80/" 10 "the service answers"
big node 203.0.113.80
balance_check
sluiced_stop TERM
pass
