#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Two customers with one address, 10.9.0.7, behind two uplinks in zones of their own, at once and from the same ports: to a service, to
# a container, to a host outside by masquerade. And a third one behind a tunnel.
# workers: 2
. "$(dirname "$0")/_env.sh"

#   t1 10.9.0.7 198.18.1.2 ---- up1 198.18.1.1 | gw | up0 198.51.100.1 ---- out 198.51.100.2, c1 10.1.0.10
#   t2 10.9.0.7 198.18.2.2 ---- up2 198.18.2.1 |    | up3 192.0.2.1 ------- t3 192.0.2.2, vx0 10.9.0.7 (VNI 503)
ns_add gw c1 out t1 t2 t3
veth_pair gw lxc1 c1 eth0
addr c1 eth0 10.1.0.10/24
nsip c1 route add default via 10.1.0.1
veth_pair gw up0 out eth0
addr gw up0 198.51.100.1/24
addr out eth0 198.51.100.2/24
for i in 1 2; do
	veth_pair gw up$i t$i eth0
	addr gw up$i 198.18.$i.1/24
	addr t$i eth0 198.18.$i.2/24 10.9.0.7/24
	nsip t$i route add default via 198.18.$i.1 src 10.9.0.7
	nsip gw route add 10.9.0.0/16 via 198.18.$i.2 dev up$i metric $((10 * i))
done
veth_pair gw up3 t3 eth0
addr gw up3 192.0.2.1/24
addr t3 eth0 192.0.2.2/24
topo_vxlan t3 vx0 192.0.2.2 192.0.2.1 503
addr t3 vx0 10.3.0.2/24 10.9.0.7/32
nsip t3 route add default via 10.3.0.1 src 10.9.0.7
ns gw sysctl -qw net.ipv4.ip_forward=0

web_start c1 20
web_start out 20
cat >"$TMP/conf" <<-'CONF'
	add port up0 device up0 transit on
	add port up1 device up1 zone 1 transit on
	add port up2 device up2 zone 2 transit on
	add port up3 device up3
	add vtep 192.0.2.1 vni-mode network
	add tunnel 10.9.0.0/16 zone 3 remote 192.0.2.2 vni 503 via 10.3.0.2
	add endpoint 10 device lxc1 ipv4 10.1.0.10 identity 1001
	add nat pool 198.51.100.1 port up0
	add service 203.0.113.80:80/tcp
	add backend 203.0.113.80:80/tcp 10.1.0.10:80
CONF
sluiced_start "$TMP/conf"
ctl save - >"$TMP/saved"
for line in 'port up2 .*zone 2' 'tunnel 10.9.0.0/16 zone 3 remote'; do
	grep -q "$line" "$TMP/saved" || fail "save lost '$line': $(cat "$TMP/saved")"
done

for t in t1 t2 t3; do
	ping_ok $t 10.1.0.10 -I 10.9.0.7
done
# at_once HOST PORT WHAT: all three fetch the blob from HOST, from local port PORT, at the same time
at_once() {
	local t pids=() p
	for t in t1 t2 t3; do
		# from a file's end, so that all run before the first one is done
		ns $t curl -sS -f -m 60 --limit-rate 15M --interface 10.9.0.7 --local-port "$2" "http://$1/blob" -o "$TMP/got.$t" &
		pids+=($!)
	done
	need "[ \"\$(ctl -j show ct zone=1 | jq 'map(select(.sport == $2 and .state == \"established\")) | length')\" = 1 ] &&
		[ \"\$(ctl -j show ct zone=2 | jq 'map(select(.sport == $2 and .state == \"established\")) | length')\" = 1 ] &&
		[ \"\$(ctl -j show ct zone=3 | jq 'map(select(.sport == $2 and .state == \"established\")) | length')\" = 1 ]" 10 \
		"a connection of each zone from 10.9.0.7 port $2"
	for p in "${pids[@]}"; do
		wait "$p" || fail "curl to $1"
	done
	for t in t1 t2 t3; do
		[ "$(sha256sum <"$TMP/got.$t")" = "$WEB_SUM" ] || fail "$t got something else from $1"
		rm "$TMP/got.$t"
	done
	ok "$3: three clients 10.9.0.7:$2 at once"
}
at_once 203.0.113.80 41000 service
at_once 10.1.0.10 42000 container
at_once 198.51.100.2 43000 masquerade
ctl -j show nat | jq -e 'map(select(.inside == "10.9.0.7" and .inside_port == 43000)) |
	(map(.zone) | sort) == [1, 2, 3] and (map(.outside_port) | unique | length) == 3' >/dev/null ||
	fail "not a mapping for each zone: $(ctl show nat)"
ok "a mapping for each zone"
# an error from outside reaches the one it is for: nobody listens
for t in t1 t2 t3; do
	ns $t python3 - <<-'PY' || fail "$t was not told that the port is closed"
		import socket
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.bind(('10.9.0.7', 44000)); s.connect(('198.51.100.2', 9)); s.settimeout(5); s.send(b'x')
		try: s.recv(1)
		except ConnectionRefusedError: raise SystemExit(0)
		raise SystemExit(1)
	PY
done
ok "port unreachable goes to each"
ctl explain packet "ip 10.9.0.7 > 198.51.100.2 | tcp 45000 > 80 S" from port up2 >"$TMP/explain"
grep -q 'in zone 2' "$TMP/explain" || fail "explain does not tell the zone: $(cat "$TMP/explain")"
# The kernel replays zone 0: a customer who has the address of somebody outside, and the ports of his connection, is not taken for him.
nsip out route add 203.0.113.80 via 198.51.100.1
addr t1 eth0 198.51.100.2/32
nsip gw route add 198.51.100.0/24 via 198.18.1.2 dev up1 metric 50
start_bg_ns out slow.out curl -sS -f -m 60 --limit-rate 4M --local-port 47000 http://203.0.113.80/blob -o "$TMP/got.out"
need "ctl -j show ct zone=0 | jq -e 'any(.sport == 47000 and .offload == \"tc\")'" 10 "the one outside is replayed by the kernel"
ns t1 curl -sS -f -m 20 --interface 198.51.100.2 --local-port 47000 http://203.0.113.80/blob -o "$TMP/got.t1" || fail "his twin in zone 1"
running slow.out || fail "the one outside ended before his twin"
need "! running slow.out" 30 "the one outside goes on"
unset "SL_PID[slow.out]"
for t in out t1; do
	[ "$(sha256sum <"$TMP/got.$t")" = "$WEB_SUM" ] || fail "$t got something else"
done
nsip t1 addr del 198.51.100.2/32 dev eth0
nsip gw route del 198.51.100.0/24 via 198.18.1.2 dev up1 metric 50
ok "kernel replay of zone 0 beside its twin in zone 1"
# after a crash they go on, each in its zone
for t in t1 t2; do
	start_bg_ns $t slow.$t curl -sS -f -m 60 --limit-rate 4M --interface 10.9.0.7 --local-port 46000 http://198.51.100.2/blob -o "$TMP/got.$t"
done
for z in 1 2; do
	need "ctl -j show ct zone=$z | jq -e 'any(.sport == 46000 and .state == \"established\")'" 10 "connection in zone $z"
done
sluiced_stop KILL
sluiced_restart
for t in t1 t2; do
	need "! running slow.$t" 40 "$t goes on after a crash"
	[ "$(sha256sum <"$TMP/got.$t")" = "$WEB_SUM" ] || fail "$t got something else over the crash"
	unset "SL_PID[slow.$t]"
done
ok "both go on after a crash"
ctl clear ct zone=1 >/dev/null
[ "$(field ct zone '.zone == 1')" = 0 ] || fail "clear ct zone=1 left $(ctl show ct zone=1)"
[ "$(field ct zone '.zone == 2')" -gt 0 ] || fail "clear ct zone=1 cleared more"
ok "clear ct zone=1"
balance_check
pass
