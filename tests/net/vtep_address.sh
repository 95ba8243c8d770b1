#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A VTEP whose address no interface has (yet): the answer to 'add' says so, as do 'show vteps' and explain; when it comes, by
# VRRP for one, containers reach the other node, and the log tells of both.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
nsip gw addr del 192.0.2.1/24 dev up0
addr gw up0 192.0.2.9/24
topo_gateway_conf >"$TMP/conf"
sluiced_start "$TMP/conf"
logged() { grep -Eq "$1" "$LOG/sluiced.log"; }
vtep() { ctl -j show vteps | jq -e "any(.[]; .address == \"$1\" and $2)"; }

logged 'warning: vtep 192.0.2.1: no interface of the box has this address yet' || fail "the start says nothing"
vtep 192.0.2.1 '.present == false and .device == null' >/dev/null || fail "show vteps says nothing"
explained() {
	ctl explain packet 'ip 10.1.0.10 > 10.2.0.7 | icmp echo id=1 seq=1' from endpoint 10
}
explained | grep -q "remote node 192.0.2.2, from vtep 192.0.2.1 port 4789, VNI 300; the box does not have" ||
	fail "explain says nothing: $(explained)"
answer=$(ctl add vtep 2001:db8:1::99)
[[ $answer == "warning: vtep 2001:db8:1::99: no interface of the box has this address yet"* ]] || fail "add says '$answer'"
[ -z "$(ctl set vtep 2001:db8:1::99 vni-mode network)" ] || fail "it is told again at each change"
[ -z "$(ctl add vtep 2001:db8:1::1)" ] || fail "a warning about an address that is there"
vtep 2001:db8:1::1 '.present and .device == "up0"' >/dev/null || fail "show vteps does not know 2001:db8:1::1"
ok "told: at start, by add, by show vteps, by explain"

nsip gw addr add 192.0.2.1/24 dev up0
need "vtep 192.0.2.1 '.present and .device == \"up0\"'" 5 "the address is seen"
need "logged 'vtep 192.0.2.1 port 4789: the box has its address now, on up0'" 5 "the log tells that it came"
ping_ok c1 10.2.0.7
! explained | grep -q "does not have" || fail "explain still misses the address"

nsip gw addr del 192.0.2.1/24 dev up0
need "logged 'warning: vtep 192.0.2.1 port 4789: the box does not have its address any more'" 5 "the log tells that it went"
vtep 192.0.2.1 '.present == false' >/dev/null || fail "show vteps does not tell that it went"
[ "$(grep -c 'its address now' "$LOG/sluiced.log")" = 1 ] || fail "told more than once"
pass
