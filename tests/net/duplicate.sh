#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Pool and service addresses on a link: one that another host has already is left to it, in both families, and taken once it is
# gone there; one that is free is announced; a host that looks for a free address does not get ours (its kernel does DAD).
. "$(dirname "$0")/_env.sh"

topo_gateway
addr out eth0 198.51.100.66/24 2001:db8:2::66/64
gw_mac=$(nsip gw -j link show up1 | jq -r '.[0].address')
out_mac=$(nsip out -j link show eth0 | jq -r '.[0].address')
topo_gateway_conf >"$TMP/conf"
echo "add nat pool 198.51.100.66 port up1 source 10.1.0.10/32" >>"$TMP/conf"
sluiced_start "$TMP/conf"
ctl add service "[2001:db8:2::66]:80/tcp"
ctl add nat pool 198.51.100.67 port up1
ctl add nat pool 2001:db8:2::67 port up1

# solicitations for them go to groups that the kernel did not join; older kernels do not tell
allmulti() { nsip gw -d -j link show up1 | jq -r '.[0].allmulti'; }
[ "$(allmulti)" != 0 ] || fail "the device filters groups"

# state ADDR: and who else has it
state() { ctl -j show addresses "address=$1" | jq -r '.[] | "\(.state) \(.other)"'; }
for a in 198.51.100.67 2001:db8:2::67; do
	need "[ \"\$(state $a)\" = 'own null' ]" 5 "$a is free"
	nsip out neigh flush to $a dev eth0
	need "ns out arping -q -c 1 -w 1 -I eth0 $a || ns out ping -q -c 1 -W 1 $a; nsip out neigh show $a dev eth0 | grep -q $gw_mac" 5 \
		"the gateway answers for $a"
done
for a in 198.51.100.66 2001:db8:2::66; do
	need "[ \"\$(state $a)\" = 'taken $out_mac' ]" 5 "$a is another's: $(state $a)"
	grep -q "address $a: $out_mac on port up1 has it" "$LOG/sluiced.log" || fail "the log does not name $a"
done
ping_ok c2 198.51.100.2
ping_no c1 198.51.100.2
# it and the kernel still find each other
nsip out neigh flush dev eth0
nsip gw neigh flush dev up1
need "ns out ping -q -c 1 -W 1 -I 198.51.100.66 198.51.100.1" 5 "it reaches the gateway"
ok "what another host has is left to it"

nsip out addr del 198.51.100.66/24 dev eth0
nsip out addr del 2001:db8:2::66/64 dev eth0
for a in 198.51.100.66 2001:db8:2::66; do
	need "[ \"\$(state $a)\" = 'own $out_mac' ]" 15 "$a is free now: $(state $a)"
done
ping_ok c1 198.51.100.2
ok "and taken once it is free"

ns out sysctl -qw net.ipv6.conf.all.accept_dad=1 net.ipv6.conf.eth0.accept_dad=1
nsip out addr add 2001:db8:2::66/64 dev eth0
need "nsip out addr show dev eth0 | grep -q '2001:db8:2::66.*dadfailed'" 5 "another host finds that it is ours"
ok "a host that looks for a free address does not get ours"

# neighbours that lost the link hear of it without asking
ns out sysctl -qw net.ipv4.conf.eth0.arp_accept=1
nsip out link set eth0 down
need "[ \"\$(ctl -j show ports name=up1 | jq -r '.[0].up')\" = false ]" 5 "the gateway sees its link go"
[ -z "$(nsip out neigh show 198.51.100.67 dev eth0)" ] || fail "eth0 still knows where 198.51.100.67 is"
nsip out link set eth0 up
need "nsip out neigh show 198.51.100.67 dev eth0 | grep -q $gw_mac" 10 "the address is announced again"
ok "what is ours is announced again when the link is back"
ctl del nat pool 198.51.100.67
need "[ -z \"\$(state 198.51.100.67)\" ]" 5 "a pool that is gone is not claimed"
balance_check

# what the device was told goes with the port, and with a daemon that is killed
if [ "$(allmulti)" = 1 ]; then
	for a in 198.51.100.66 2001:db8:2::67; do
		ctl del nat pool $a
	done
	ctl del port up1
	need "[ \"\$(allmulti)\" = 0 ]" 5 "without a port the device filters again"
	ctl add port up1 device up1
	[ "$(allmulti)" = 1 ] || fail "the device filters groups of a port that came again"
	sluiced_stop KILL
	need "[ \"\$(allmulti)\" = 0 ]" 5 "without a daemon the device filters again"
	ok "all multicast is taken as long as there is a port"
fi
pass
