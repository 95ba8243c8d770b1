#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# kill -9: the box's own networking lives, containers are closed, a restart answers within 2 s.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
web_start out 1
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
ping_ok c1 10.1.0.11
ping_ok c1 10.2.0.7
ping_ok c1 198.51.100.2
ping_ok gw 198.51.100.2

sluiced_stop KILL
ping_ok gw 198.51.100.2
ping_ok gw 192.0.2.2
ns gw curl -sf -m 5 http://198.51.100.2/ >/dev/null || fail "the box's own TCP died with the daemon"
ok "the box's own ping and TCP work without the daemon"
ping_no c1 10.1.0.11
ping_no c1 10.2.0.7
ping_no c1 198.51.100.2
ping_no rc 10.1.0.10

for i in 1 2 3; do
	start=$(date +%s%N)
	sluiced_restart
	need "ns c1 ping -q -c 1 -W 1 198.51.100.2" 5 "ping after restart $i"
	ms=$((($(date +%s%N) - start) / 1000000))
	ok "restart $i: first answer after $ms ms"
	ping_ok c1 10.1.0.11
	ping_ok c1 10.2.0.7
	sluiced_stop KILL
done
sluiced_restart
sluiced_stop TERM
nsip gw link show sluice_host >/dev/null 2>&1 && fail "a clean stop left the gate"
ping_ok gw 198.51.100.2
pass
