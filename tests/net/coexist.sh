#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What is not ours stays untouched: a docker0-like bridge with kernel masquerade by the same uplink and the same address, the
# box's own TCP, UDP and ping in both families, foreign XDP and tc programs.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
ns_add dock
nsip gw link add docker0 type bridge
nsip gw link set docker0 up
addr gw docker0 172.17.0.1/16
veth_pair gw vdock dock eth0
nsip gw link set vdock master docker0
addr dock eth0 172.17.0.2/16
nsip dock route add default via 172.17.0.1
ns gw sysctl -qw net.ipv4.ip_forward=1
ns gw nft -f - <<'NFT'
table ip nat {
	chain post {
		type nat hook postrouting priority 100;
		ip saddr 172.17.0.0/16 oif up1 masquerade
	}
}
NFT
web_start out
before=$(ns gw ethtool -k docker0 | md5sum; ns gw tc qdisc show dev docker0; nsip gw link show docker0 | grep -c xdp || true)
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
ping_ok c1 198.51.100.2

# all at once: both containers and the box talk to the same server by the same address
ping_ok dock 198.51.100.2
fetch dock 198.51.100.2
fetch gw 198.51.100.2
fetch gw '[2001:db8:2::2]'
ping_ok gw 198.51.100.2
ping_ok gw 2001:db8:2::2
ping_ok gw 192.0.2.2
ping_ok out 198.51.100.1
ping_ok out 2001:db8:2::1
for i in 1 2 3; do
	start_bg_ns dock "dock$i" curl -sf -o "$TMP/d$i" http://198.51.100.2/blob
	start_bg_ns c1 "c$i" curl -sf -o "$TMP/c$i" http://198.51.100.2/blob
	start_bg_ns gw "gw$i" curl -sf -o "$TMP/g$i" http://198.51.100.2/blob
done
for i in dock1 dock2 dock3 c1 c2 c3 gw1 gw2 gw3; do
	wait "${SL_PID[$i]}" || fail "download $i"
	unset "SL_PID[$i]"
done
for f in "$TMP"/[dcg][123]; do
	[ "$(sha256sum <"$f")" = "$WEB_SUM" ] || fail "$f differs"
	rm "$f"
done
ok "nine downloads at once by one address, all whole"

# the box as a server, reached from outside and from a container
web_start gw 1
ns out curl -sf -m 5 http://198.51.100.1/ >/dev/null || fail "outside -> the box's own web server"
ns dock curl -sf -m 5 http://172.17.0.1/ >/dev/null || fail "docker container -> box"
ns c1 curl -sf -m 5 http://198.51.100.1/ >/dev/null || fail "container -> the box's own web server"
ns gw curl -sf -m 5 http://10.1.0.10/ >/dev/null 2>&1 && fail "nobody serves in c1"
web_start c1 1
ns gw curl -sf -m 5 http://10.1.0.10/ >/dev/null || fail "box -> container"
ns gw curl -gsf -m 5 'http://[fd01::10]/' >/dev/null || fail "box -> container, IPv6"
ok "the box as server and as client of its containers"
# what the box sends to a container's device past the engine does not arrive, and no foreign device has a program of ours
ping_no gw 10.1.0.10 -I lxc1
ctl -j show offload | jq -e '.[] | select(.name == "drop-to-container") | .value > 0' >/dev/null ||
	fail "[to-container] has dropped nothing"
ping_ok gw 10.1.0.10
for d in lo docker0 vdock; do
	[ -z "$(ns gw tc filter show dev $d ingress)$(ns gw tc filter show dev $d egress)" ] || fail "a filter on $d"
done
after=$(ns gw ethtool -k docker0 | md5sum; ns gw tc qdisc show dev docker0; nsip gw link show docker0 | grep -c xdp || true)
[ "$before" = "$after" ] || fail "docker0 was changed"
balance_check
pass
