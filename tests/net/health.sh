#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The health endpoint: sluiced itself answers echo requests and HTTP on TCP 4240, for remote nodes and containers, as a
# container would: hooks, policy, counters; it comes again after a kill and after its device was deleted.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
# A device of that name that is not ours is left alone, and said
nsip gw link add sluice_health type veth peer name other
{
	topo_gateway_conf
	echo "add endpoint 4 device sluice_health ipv4 10.1.0.4 ipv6 fd01::4 identity 4"
	echo "add tunnel 10.3.0.2/32 remote 192.0.2.2 vni 300 via 10.3.0.2"
	echo "add tunnel fd03::2/128 remote 192.0.2.2 vni 300 via fd03::2"
	echo "add ipcache 10.3.0.2/32 identity 6 remote 192.0.2.2"
	echo "add ipcache fd03::2/128 identity 6 remote 192.0.2.2"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
grep -q "a device sluice_health is there that is not ours: remove it" "$LOG/sluiced.log" || fail "foreign device: no word"
nsip gw link show sluice_health | grep -q "sluice_health@other" || fail "the foreign device was touched"
nsip gw link del sluice_health

answers() {
	local a
	need "ns rc ping -q -c 1 -W 1 10.1.0.4 && ns rc ping -q -c 1 -W 1 fd01::4" 10 "an answer to a remote workload's ping"
	for a in 10.1.0.4 '[fd01::4]'; do
		[ "$(ns node curl -sg -m 5 "http://$a:4240/hello" | jq -r .status)" = ok ] || fail "GET /hello at $a from the node"
	done
	ok "ping, GET /hello $*"
}
code() { ns rc curl -s -o /dev/null -m 5 -w '%{http_code}' "$@"; }
answers
ping_ok node 10.1.0.4
ping_ok node fd01::4
ping_ok c1 10.1.0.4
[ "$(code http://10.1.0.4:4240/other)" = 404 ] || fail "an unknown path is not 404"
[ "$(code -X POST http://10.1.0.4:4240/hello)" = 405 ] || fail "POST is not 405"
[ "$(code -I http://10.1.0.4:4240/hello)" = 200 ] || fail "HEAD is not 200"
ns gw tc filter show dev sluice_health ingress | grep -q 'from-container' || fail "no [from-container] on sluice_health"
ns gw tc filter show dev sluice_health egress | grep -q 'to-container' || fail "no [to-container] on sluice_health"

# Clients that say nothing, or far too much, keep nobody out
for i in $(seq 40); do
	start_bg_ns rc "mute$i" bash -c 'exec 3<>/dev/tcp/10.1.0.4/4240 && read -r <&3 || true'
done
need "[ \$(ns rc ss -Htn state established 'dport = :4240' | wc -l) -ge 16 ]" 10 "silent clients"
ns rc bash -c 'exec 3<>/dev/tcp/10.1.0.4/4240; head -c 100000 /dev/zero >&3 || true' 2>/dev/null
[ "$(code http://10.1.0.4:4240/hello)" = 200 ] || fail "silent clients keep others out"
ok "silent and loud clients"

ctl add policy endpoint 4 ingress allow identity 1001
ping_no rc 10.1.0.4
ping_ok c1 10.1.0.4
ctl del policy endpoint 4 ingress allow identity 1001
nsip gw link del sluice_health
answers after its device was deleted
ctl add endpoint 5 device lxc1 ipv4 10.1.0.99 identity 1 2>/dev/null && fail "a device twice"
ctl set endpoint 4 ipv4 10.1.0.5 ipv6 fd01::4
need "ns rc ping -q -c 1 -W 1 10.1.0.5" 10 "its new address"
ctl set endpoint 4 ipv4 10.1.0.4 ipv6 fd01::4
! ctl set endpoint 4 identity 7 2>"$TMP/err" || fail "another identity is taken"
grep -q "its identity is 4" "$TMP/err" || fail "another identity: $(cat "$TMP/err")"
sluiced_stop KILL
sluiced_restart
answers after a kill
ctl del endpoint 4
need "! nsip gw link show sluice_health" 5 "sluice_health gone with its endpoint"
ctl add endpoint 4 device sluice_health ipv4 10.1.0.4 identity 4
need "ns rc ping -q -c 1 -W 1 10.1.0.4" 10 "its answer"
balance_check
sluiced_stop TERM
need "! nsip gw link show sluice_health" 5 "sluice_health gone with the daemon"
pass
