#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What the operator changes with ip(8) or sluicectl takes effect at once, on live connections too.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
ns_add out2
web_start out
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add policy endpoint 10 egress allow any name everything"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
ping_ok c1 198.51.100.2

# A download that runs during all of this; 100 MB at 4 MB/s would take 25 s.
start_bg_ns c1 slow curl -sf --limit-rate 4M -o "$TMP/slow" http://198.51.100.2/blob
got() { stat -c %s "$TMP/slow" 2>/dev/null || echo 0; }
grows() { # SECONDS WHAT
	local at
	at=$(got)
	need "[ \$(got) -gt $((at + 2000000)) ]" "$1" "$2"
	ok "$2"
}
# Megabytes in socket buffers are read out at 4 MB/s first, with pauses: stands = the same size for 1.5 s.
quiet() {
	local at
	at=$(got)
	! wait_until "[ \$(got) != $at ]" 1.5
}
stands() {
	need quiet 15 "$1"
	ok "$1"
}
grows 5 "download runs"

# The server's MAC changes under the connection
nsip out link set eth0 address 02:00:00:00:77:77
nsip gw neigh replace 198.51.100.2 lladdr 02:00:00:00:77:77 dev up1 nud permanent
grows 5 "goes on after a new MAC"
nsip gw neigh replace 198.51.100.2 lladdr 02:00:00:00:66:66 dev up1 nud permanent
stands "a wrong MAC stops it"
nsip gw neigh replace 198.51.100.2 lladdr 02:00:00:00:77:77 dev up1 nud permanent
grows 10 "goes on with the right one"

# The route goes away and comes back
nsip gw route add blackhole 198.51.100.2/32
stands "a blackhole route stops it"
nsip gw route del blackhole 198.51.100.2/32
grows 15 "goes on without it"

# The rule goes away: established connection cut, in both directions
before=$(dropped_for 133)
ctl del policy endpoint 10 egress allow any
ctl add policy endpoint 10 egress allow identity 77
stands "removing the allow rule stops it"
[ "$(dropped_for 133)" -gt "$before" ] || fail "show drops does not count 133"
running slow || fail "the download ended instead of waiting"
stop_bg slow KILL
ping_no c1 198.51.100.2
ctl add policy endpoint 10 egress allow any name everything
ping_ok c1 198.51.100.2

# A container's veth is made anew: other ifindex, other MAC
nsip c2 link del eth0
veth_pair gw lxc2 c2 eth0
addr c2 eth0 10.1.0.11/24 fd01::11/64
nsip c2 route add default via 10.1.0.1
need "ns c1 ping -q -c 1 -W 1 10.1.0.11" 10 "the new veth of c2 answers"
ok "a re-created veth works again"

# An uplink's device is made anew
nsip gw link del up1
need "ctl -j show ports | jq -e '.[] | select(.name == \"up1\" and .up == false)'" 5 "up1 is shown as down"
ping_no c1 198.51.100.2
veth_pair gw up1 out eth0
addr gw up1 198.51.100.1/24
addr out eth0 198.51.100.2/24
need "ns c1 ping -q -c 1 -W 1 198.51.100.2" 10 "the new up1 forwards"
ok "a re-created uplink works again"
nsip gw link del up1
need "ctl -j show ports | jq -e '.[] | select(.name == \"up1\" and .up == false)'" 5 "up1 is shown as down again"
balance_check
ctl del nat pool 198.51.100.1
ctl del port up1
ping_ok c1 10.1.0.11
pass
