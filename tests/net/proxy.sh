#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Policy 'redirect PORT' to an unmodified HAProxy with a transparent listener: from a container and toward one, IPv4 and IPv6. Without
# the listener the client is refused at once.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
web_start out 12
web_start c2 12
# HAProxy goes on to where the client meant to go, and says so in its log. c2's clients come by the ingress listener.
cat >"$TMP/haproxy.cfg" <<CONF
defaults
	mode tcp
	timeout connect 3s
	timeout client 20s
	timeout server 20s
	log stdout format raw local0
	log-format "from %ci:%cp to %[fc_dst]:%[fc_dst_port]"
listen egress
	bind 0.0.0.0:15001 transparent
	bind :::15001 transparent
	option transparent
listen ingress
	bind 0.0.0.0:15006 transparent
	bind :::15006 transparent
	option transparent
CONF
proxy_start() {
	start_bg_ns gw haproxy haproxy -db -f "$TMP/haproxy.cfg"
	need "ns gw ss -Hltn 'sport = :15006' | grep -q ." 5 "haproxy listens"
}
rules() { ns gw ip rule; ns gw ip -6 rule; ns gw ip route show table all; ns gw ip -6 route show table all; }
before=$(rules | grep -v sluice_host | sort)
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
	echo "add policy endpoint 10 egress redirect 15001 any tcp port 80 name web"
	echo "add policy endpoint 10 egress allow any"
	echo "add policy endpoint 11 ingress redirect 15006 any tcp port 80"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
ping_ok c1 198.51.100.2

# nobody listens: refused, not left hanging
for host in 198.51.100.2 '[2001:db8:2::2]'; do
	rc=0
	ns c1 curl -gs -m 5 "http://$host/" >/dev/null || rc=$?
	[ $rc = 7 ] || fail "without a listener curl ended with $rc and not with 7, connection refused"
done
[ "$(dropped_for 253)" -ge 2 ] || fail "show drops does not count 253"
ok "without a listener the client is refused"

proxy_start
fetch c1 198.51.100.2
fetch c1 '[2001:db8:2::2]'
grep -q 'from 10.1.0.10:[0-9]* to 198.51.100.2:80' "$LOG/haproxy.log" || fail "HAProxy does not know the original destination"
grep -q 'from fd01::10:[0-9]* to 2001:db8:2::2:80' "$LOG/haproxy.log" || fail "HAProxy does not know the original destination, IPv6"
! grep -q '10.1.0.10\|fd01::' "$TMP/web.out/logs/access.log" || fail "the server saw the container"
ok "egress by HAProxy, which knows client and destination"

# again from one port, while the proxy's end of the last connection is in TIME_WAIT
cat >"$TMP/again.py" <<'PY'
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.settimeout(5)
s.bind(("0.0.0.0", 40123))
s.connect(("198.51.100.2", 80))
s.send(b"GET / HTTP/1.0\r\n\r\n")
while s.recv(1000):
    pass
PY
for i in 1 2 3; do
	ns c1 python3 "$TMP/again.py" || fail "connection $i from the same port"
	need "! ns c1 ss -Htan 'sport = :40123' | grep -q ." 5 "the client's end is gone"
done
ns gw ss -Htan state time-wait | grep -q '198.51.100.2:80 *10.1.0.10:40123' || fail "the proxy did not close first: nothing was tested"
ok "a port is used again at once"

# toward a container: from another one, from a remote node, from the box (not redirected)
fetch c1 10.1.0.11
fetch rc 10.1.0.11
fetch rc '[fd01::11]'
grep -q 'from 10.2.0.7:[0-9]* to 10.1.0.11:80' "$LOG/haproxy.log" || fail "ingress did not go by HAProxy"
grep -q 'from fd02::7:[0-9]* to fd01::11:80' "$LOG/haproxy.log" || fail "ingress did not go by HAProxy, IPv6"
fetch gw 10.1.0.11
! grep -q 'from 10.1.0.1:' "$LOG/haproxy.log" || fail "the box's own connection was redirected"
ok "ingress by HAProxy"

# a proxy of its own, which asks sluiced who its client is
cat >"$TMP/listener.c" <<'C'
#include "dist/sluice_proxy.h"

#include <netinet/in.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6,
				  .sin6_port = htons((uint16_t)atoi(argc > 2 ? argv[2] : "0")) };
	int l = socket(AF_INET6, SOCK_STREAM, 0), one = 1, fd;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (setsockopt(l, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof(one)) || bind(l, (void *)&a, sizeof(a)) ||
	    listen(l, 8))
		return 1;
	while ((fd = accept(l, NULL, NULL)) >= 0) {
		struct sluice_proxy p;
		if (sluice_proxy_lookup(argv[1], fd, &p))
			dprintf(fd, "unknown\n");
		else
			dprintf(fd, "identity %u to %s %u\n", p.identity, p.original_dst, p.original_dport);
		close(fd);
	}
	return 0;
}
C
cc -Wall -Werror -I. -o "$TMP/listener" "$TMP/listener.c"
start_bg_ns gw listener "$TMP/listener" "$SOCK" 15009
need "ns gw ss -Hltn 'sport = :15009' | grep -q ." 5 "the listener"
ctl add policy identity 1001 egress redirect 15009 any tcp port 7
ask() { ns c1 timeout 5 bash -c "cat </dev/tcp/$1/7"; }
[ "$(ask 198.51.100.2)" = "identity 1001 to 198.51.100.2 7" ] || fail "lookup by the listener: $(ask 198.51.100.2)"
[ "$(ask 2001:db8:2::2)" = "identity 1001 to 2001:db8:2::2 7" ] || fail "lookup by the listener, IPv6"
ctl del policy identity 1001 egress redirect 15009 any tcp port 7
stop_bg listener
ok "a proxy asks for its client's identity"

# UDP: the listener answers by a socket bound to where the client meant to go
ctl add policy endpoint 10 egress redirect 15053 any udp port 53
cat >"$TMP/udp.py" <<'PY'
import socket, struct
TRANSPARENT, RECVORIGDSTADDR = 19, 20
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_IP, TRANSPARENT, 1)
s.setsockopt(socket.SOL_IP, RECVORIGDSTADDR, 1)
s.bind(("0.0.0.0", 15053))
while True:
    data, anc, _, peer = s.recvmsg(2048, 64)
    port, addr = struct.unpack("!2xH4s8x", anc[0][2])
    r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    r.setsockopt(socket.SOL_IP, TRANSPARENT, 1)
    r.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    r.bind((socket.inet_ntoa(addr), port))
    r.sendto(data.upper(), peer)
PY
cat >"$TMP/ask.py" <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect(("198.51.100.2", 53))
s.send(b"hello")
try:
    print(s.recv(100).decode())
except OSError as e:
    print(e.strerror)
PY
[ "$(ns c1 python3 "$TMP/ask.py")" = "Connection refused" ] || fail "UDP without a listener is not refused"
start_bg_ns gw udp python3 "$TMP/udp.py"
need "ns gw ss -Hlun 'sport = :15053' | grep -q ." 5 "the UDP listener"
[ "$(ns c1 python3 "$TMP/ask.py")" = HELLO ] || fail "UDP by a listener: $(ns c1 python3 "$TMP/ask.py")"
stop_bg udp
ok "UDP"

# a running connection: listed, looked up, never in the kernel's replay table, gone with its end
ctl clear ct
start_bg_ns c1 slow curl -sf --limit-rate 500K -o /dev/null http://198.51.100.2/blob
need "ctl -j show proxy | jq -e '.[] | select(.dport == 80 and .src == \"10.1.0.10\")'" 5 "show proxy has it"
ctl -j show proxy src=10.1.0.10 dst=198.51.100.2 >"$TMP/row"
sport=$(jq -r '.[0].sport' "$TMP/row")
jq -e '.[0].identity == 1001 and .[0].port == 15001 and .[0].original_dst == "198.51.100.2"' "$TMP/row" >/dev/null || fail "row: $(cat "$TMP/row")"
ctl -j lookup proxy tcp from "10.1.0.10:$sport" to 198.51.100.2:80 | jq -e '.[0].identity == 1001' >/dev/null || fail "lookup proxy"
need "ctl -j show ct sport=$sport | jq -e '.[] | select(.offload == \"proxy\" and .reply_packets > 20)'" 5 "show ct says why it is not offloaded"

# a crash in the middle: the connection goes on
sluiced_stop KILL
sluiced_restart
need "ctl -j show proxy sport=$sport | jq -e '.[0].port == 15001'" 5 "the row is there after a crash"
running slow || fail "the download ended with the crash"
stop_bg slow
need "[ \$(ctl count proxy) = 0 ] || ctl -j show ct sport=$sport | jq -e '.[0].state != \"established\"'" 5 "closing"
ctl clear ct
[ "$(ctl count proxy)" = 0 ] || fail "rows without a connection: $(ctl show proxy)"
ok "show proxy, lookup proxy, crash"

# the rule comes and goes under a direct connection
ctl del policy endpoint 10 egress redirect 15001 any tcp port 80
fetch c1 198.51.100.2
start_bg_ns c1 direct curl -s --limit-rate 500K -m 40 -o /dev/null http://198.51.100.2/blob
need "ctl -j show ct dport=80 | jq -e '.[] | select(.state == \"established\" and .reply_dst == \"198.51.100.1\")'" 5 "a direct connection"
ctl add policy endpoint 10 egress redirect 15001 any tcp port 80 name web
rc=0
wait "${SL_PID[direct]}" || rc=$?
unset "SL_PID[direct]"
[ $rc = 56 ] || fail "a direct connection that must go by the proxy ended with $rc, not with 56, reset"
fetch c1 198.51.100.2
ok "a connection never changes sides"

stop_bg haproxy
rc=0
ns c1 curl -s -m 5 http://198.51.100.2/ >/dev/null || rc=$?
[ $rc = 7 ] || fail "after the proxy's end curl ended with $rc"
balance_check
sluiced_stop
[ "$(rules | grep -v sluice_host | sort)" = "$before" ] || fail "left behind: $(rules)"
ok "routing is as before"
pass
