#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A service with backends in a container (c1), behind VXLAN (rc) and outside (node), in both families, while clients outside ask
# nginx all the time by short and by long connections (wrk): a backend comes, one drains, one is taken down. Before that, frontends
# at an address of the box, and neighbours are told of new ones.
. "$(dirname "$0")/_env.sh"

V4=203.0.113.80 V6=2001:db8:80::80
BOX4=198.51.100.1 BOX6=2001:db8:2::1 # of the port up1
topo_gateway
for n in c1 rc node gw; do
	web_start $n 1
	echo -n $n >"$TMP/web.$n/root/who"
done
nsip out route add $V4 via 198.51.100.1
nsip out -6 route add $V6 via 2001:db8:2::1
# the clients' answers take the tunnel back: only masqueraded ones need none
nsip node route add 198.51.100.0/24 via 10.3.0.1
nsip node -6 route add 2001:db8:2::/64 via fd03::1
{
	topo_gateway_conf
	echo "add nat pool 192.0.2.1 port up0"
	echo "add nat pool 2001:db8:1::1 port up0"
	echo "add service $V4:80/tcp algorithm wrr"
	echo "add backend $V4:80/tcp 10.1.0.10:80"
	echo "add backend $V4:80/tcp 10.2.0.7:80"
	echo "add service [$V6]:80/tcp algorithm wrr"
	echo "add backend [$V6]:80/tcp [fd01::10]:80"
	echo "add backend [$V6]:80/tcp [fd02::7]:80"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

# ---- frontends at an address of the box ----
# who HOST...: who answers, by name
who() { ns out curl -sS -g -m 5 "${@/#/http://}" 2>&1; }
[ "$(who $BOX4/who "[$BOX6]/who")" = gwgw ] || fail "the box itself answers: $(who $BOX4/who "[$BOX6]/who")"
ctl add service $BOX4:80/tcp
ctl add backend $BOX4:80/tcp 10.1.0.10:80
ctl add service "[$BOX6]:80/tcp"
ctl add backend "[$BOX6]:80/tcp" "[fd02::7]:80"
[ "$(who $BOX4/who "[$BOX6]/who")" = c1rc ] || fail "backends answer: $(who $BOX4/who "[$BOX6]/who")"
ctl add service $BOX4:81/tcp
ctl add backend $BOX4:81/tcp 10.1.0.10:80
[ "$(who $BOX4:81/who)" = c1 ] || fail "another port: $(who $BOX4:81/who)"
# a large request in fragments, the box's own ICMP, a port that nobody has, another address of the box: as before
ping_ok out $BOX4 -s 3000
ping_ok out $BOX6
{ who $BOX4:82/who || true; } | grep -q "refused\|Couldn't connect" || fail "a closed port of the box: $(who $BOX4:82/who)"
[ "$(ns node curl -sS -g -m 5 http://192.0.2.1/who "http://[2001:db8:1::1]/who")" = gwgw ] || fail "another address of the box"
# two services at one address: one goes, the other stays, and the port is the box's again
ctl del backend $BOX4:80/tcp 10.1.0.10:80
ctl del service $BOX4:80/tcp
need "[ \"\$(who $BOX4/who $BOX4:81/who)\" = gwc1 ]" 5 "port 80 is the box's again, 81 is not"
ok "frontends at an address of the box, by an uplink"

# ---- neighbours are told ----
knows() { nsip out neigh show "$1" dev eth0 | grep -o "lladdr [0-9a-f:]*"; }
mac=$(nsip gw -j link show up1 | jq -r '.[0].address')
for a in 198.51.100.80 198.51.100.81 2001:db8:2::80 2001:db8:2::81; do
	nsip out neigh replace $a lladdr 02:00:00:00:00:01 dev eth0 nud stale
done
ctl add service 198.51.100.80:80/tcp
ctl add service "[2001:db8:2::80]:80/tcp"
ctl add nat pool 198.51.100.81 port up1
ctl add nat pool 2001:db8:2::81 port up1
for a in 198.51.100.80 198.51.100.81 2001:db8:2::80 2001:db8:2::81; do
	need "[ \"\$(knows $a)\" = 'lladdr $mac' ]" 5 "who has $a now: $(knows $a)"
done
ok "neighbours hear of new service and pool addresses"
ctl del nat pool 198.51.100.81
ctl del nat pool 2001:db8:2::81

# ---- every entry: the box itself, a container, a host behind the tunnel that is a backend, too ----
nsip node route add $V4 via 10.3.0.1
nsip node -6 route add $V6 via fd03::1
# what the box sends by the gate comes from an address that the tunnel's other end answers by the tunnel
addr gw sluice_host 10.1.0.200/32 fd01::200/128
for n in gw c2 rc; do
	for h in $V4 "[$V6]"; do
		for _ in 1 2 3 4; do # each worker has its own turn
			ns $n curl -sS -g -f -m 5 "http://$h/who" >"$TMP/who" || fail "$n -> $h"
			grep -qx 'c1\|rc' "$TMP/who" || fail "$n -> $h: answered by $(cat "$TMP/who")"
		done
	done
done
ok "clients on the box, in a container, behind the tunnel"

# ---- load ----
echo 'function delay() return 5 end' >"$TMP/long.lua" # milliseconds
echo 'wrk.headers["Connection"] = "close"; function delay() return 5 end' >"$TMP/short.lua"
# load PHASE: clients of both families until unload
load() {
	local f v h
	phase=$1
	for f in 4 6; do
		v=V$f h=${!v}
		[ $f = 4 ] || h="[$h]"
		start_bg_ns out "long$f.$phase" wrk -t 1 -c 6 -d 300 --timeout 15 -s "$TMP/long.lua" "http://$h/who?long$f.$phase"
		start_bg_ns out "short$f.$phase" wrk -t 1 -c 2 -d 300 --timeout 15 -s "$TMP/short.lua" "http://$h/who?short$f.$phase"
	done
}
# unload: they end; what went wrong is in ${wrong[KIND]}
declare -A wrong=()
unload() {
	local k
	for k in long4 long6 short4 short6; do
		stop_bg "$k.$phase" INT
		grep -q "requests in" "$LOG/$k.$phase.log" || fail "wrk $k: $(cat "$LOG/$k.$phase.log")"
		wrong[$k]=$(awk '/Socket errors/ { gsub(",", ""); n += $4 + $6 + $8 + $10 } /Non-2xx/ { n += $5 } END { print n + 0 }' \
			"$LOG/$k.$phase.log")
	done
}
unhurt() {
	[ "${wrong[*]}" = "0 0 0 0" ] || fail "$1: $(grep -H 'errors\|Non-2xx' "$LOG"/*."$phase".log)"
}
answered() { grep -c "?$2.$phase " "$TMP/web.$1/logs/access.log" || true; }
# more N "BACKEND KIND"...: N further answers from now on of each
declare -A at=()
reached() {
	local i
	# shellcheck disable=SC2086 # two words
	for i in "${!at[@]}"; do [ "$(answered $i)" -ge "${at[$i]}" ] || return 1; done
}
more() {
	local n=$1 i
	shift
	at=()
	# shellcheck disable=SC2086
	for i; do at[$i]=$(($(answered $i) + n)); done
	need reached 20 "$n more answers of each of $(printf '%s, ' "$@")"
}

# ---- a crash, and one comes ----
load come
more 20 "c1 short4" "c1 short6" "c1 long4" "c1 long6" "rc short4" "rc short6" "rc long4" "rc long6"
sluiced_stop KILL
sluiced_restart
[ "$(field lb connections)" -ge 10 ] || fail "connections adopted: $(ctl show lb) $(ctl -j show version)"
more 30 "rc long4" "c1 long6" "c1 short4" "rc short6"
ok "connections keep their backends through a crash"
ctl add backend $V4:80/tcp 192.0.2.2:80
ctl add backend "[$V6]:80/tcp" "[2001:db8:1::2]:80"
more 20 "node short4" "node short6"
in_kernel() {
	ctl -j show ct "dst=$1" | jq -e 'any(.[]; .offload == "tc" or .offload == "xdp")'
}
need "in_kernel $V4 && in_kernel $V6" 10 "connections of the service in the kernel"
ok "hot connections of the service are replayed by the kernel, IPv4 and IPv6"
unload
unhurt "a crash, a backend comes"
ok "a third one comes, no connection is hurt"

# ---- one drains ----
chosen() { ctl -j show lb | jq "[.[] | select(.backend == \"$1\") | .chosen] | add"; }
load drain
more 20 "c1 long4" "c1 long6" "rc long4" "rc long6" "node long4" "node long6"
ctl set backend $V4:80/tcp 10.2.0.7:80 state draining
ctl set backend "[$V6]:80/tcp" "[fd02::7]:80" state draining
before=$(chosen 10.2.0.7:80) before6=$(chosen "[fd02::7]:80")
more 50 "c1 short4" "c1 short6" "rc long4" "rc long6"
[ "$(chosen 10.2.0.7:80) $(chosen "[fd02::7]:80")" = "$before $before6" ] || fail "a draining backend got new connections"
left=$(field services left '.state == "draining" and .takes == "known"')
{ [ "$left" -ge 2 ] && [ "$left" -le 20 ]; } || fail "$left connections left: $(ctl show services)"
unload
unhurt "a backend drains"
ok "one drains: nothing new, $left connections left and alive"

# ---- one is taken down ----
# own FAMILY BACKEND: how many of the long connections are that backend's
own() {
	local v=V$1 ports
	ports=$(ns out ss -Htnp state established | grep "pid=${SL_PID[long$1.$phase]}," | awk '{ sub(".*:", "", $3); print $3 }')
	ctl -j show ct "dst=${!v}" | jq --argjson p "[${ports//$'\n'/,}]" \
		"[.[] | select(.reply_src == \"$2\" and (.sport | IN(\$p[])))] | length"
}
load down
more 20 "c1 long4" "c1 long6" "node long4" "node long6"
own4=$(own 4 10.1.0.10) own6=$(own 6 fd01::10)
{ [ "$own4" -gt 0 ] && [ "$own6" -gt 0 ]; } || fail "$own4 and $own6 long connections: $(ctl show lb)"
ctl set backend $V4:80/tcp 10.1.0.10:80 state down
ctl set backend "[$V6]:80/tcp" "[fd01::10]:80" state down
more 50 "node short4" "node short6" "node long4" "node long6"
need "[ \$(field lb connections '.backend == \"10.1.0.10:80\" or .backend == \"[fd01::10]:80\"') = 0 ]" 5 "it has no connections left"
unload
[ "${wrong[long4]} ${wrong[long6]}" = "$own4 $own6" ] || fail "others failed too, $own4 and $own6 were its own: $(grep -H errors "$LOG"/*.down.log)"
# of the short ones what was under way
{ [ "${wrong[short4]}" -le 2 ] && [ "${wrong[short6]}" -le 2 ]; } || fail "$(grep -H errors "$LOG"/short?.down.log)"
ok "one goes: its own $own4 and $own6 long connections end, the others go on"
ctl show services | tee "$LOG/services"

ctl explain packet "ip 198.51.100.2 > $V4 | tcp 1000 > 80 S" from port up1 | grep "service .*192.0.2.2 port 80, by wrr" || fail "explain"
balance_check
pass
