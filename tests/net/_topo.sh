#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Topologies and real peers (nginx, iperf3) for scenarios; sourced by _env.sh.
#
#   c1 eth0 10.1.0.10  fd01::10 ---- lxc1 |      | up0 192.0.2.1     2001:db8:1::1 ---- eth0 node 192.0.2.2     2001:db8:1::2
#   c2 eth0 10.1.0.11  fd01::11 ---- lxc2 |  gw  |                     vx0 (VNI 300) 10.3.0.2 fd03::2, r1 10.2.0.1 fd02::1
#                                         |      |                       rc eth0 10.2.0.7 fd02::7 ---- r1
#                                                | up1 198.51.100.1  2001:db8:2::1 ---- eth0 out  198.51.100.2  2001:db8:2::2
#
# c1, c2: containers, default route by 10.1.0.1 / fd01::1, which nobody in gw owns: the engine answers for it.
# node: a Linux VXLAN node; reaches 10.1.0.0/24 and fd01::/64 by 10.3.0.1 / fd03::1 behind vx0. out: knows its own link only.

topo_gateway() {
	ns_add gw c1 c2 node rc out
	local i
	for i in 1 2; do
		veth_pair gw lxc$i c$i eth0
		addr c$i eth0 10.1.0.$((9 + i))/24 fd01::$((9 + i))/64
		nsip c$i route add default via 10.1.0.1
		nsip c$i -6 route add default via fd01::1
	done

	veth_pair gw up0 node eth0
	addr gw up0 192.0.2.1/24 2001:db8:1::1/64
	addr node eth0 192.0.2.2/24 2001:db8:1::2/64
	veth_pair gw up1 out eth0
	addr gw up1 198.51.100.1/24 2001:db8:2::1/64
	addr out eth0 198.51.100.2/24 2001:db8:2::2/64

	veth_pair node r1 rc eth0
	addr node r1 10.2.0.1/24 fd02::1/64
	addr rc eth0 10.2.0.7/24 fd02::7/64
	nsip rc route add default via 10.2.0.1
	nsip rc -6 route add default via fd02::1
	ns node sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	topo_vxlan node vx0 192.0.2.2 192.0.2.1
	addr node vx0 10.3.0.2/24 fd03::2/64
	nsip node route add 10.1.0.0/24 via 10.3.0.1
	nsip node -6 route add fd01::/64 via fd03::1
}
# topo_vxlan NS DEV LOCAL REMOTE [VNI]: a kernel VXLAN device with one peer; DSTPORT= MTU=
# The MTU is given because without a lower device the kernel takes 1500 and fragments the outer packets.
topo_vxlan() {
	nsip "$1" link add "$2" type vxlan id "${5:-300}" dstport "${DSTPORT:-4789}" local "$3" remote "$4" nolearning
	nsip "$1" link set "$2" mtu "${MTU:-1450}" up
}
# Configuration of sluiced for topo_gateway in network mode; scenarios add to it.
topo_gateway_conf() {
	cat <<-'CONF'
		add port up0 device up0
		add port up1 device up1
		add vtep 192.0.2.1 port 4789 vni-mode network
		add endpoint 10 device lxc1 ipv4 10.1.0.10 ipv6 fd01::10 identity 1001
		add endpoint 11 device lxc2 ipv4 10.1.0.11 ipv6 fd01::11 identity 1002
		add tunnel 10.2.0.0/24 remote 192.0.2.2 vni 300 via 10.3.0.2
		add tunnel fd02::/64 remote 192.0.2.2 vni 300 via fd03::2
		add ipcache 10.2.0.0/24 identity 2001 remote 192.0.2.2
		add ipcache fd02::/64 identity 2001 remote 192.0.2.2
	CONF
}

# web_start NS [MIB]: nginx on [::]:80 and 0.0.0.0:80 serving /blob, MIB random mebibytes (100); its sum in $WEB_SUM
web_start() {
	local d=$TMP/web.$1
	mkdir -p "$d/root" "$d/logs"
	[ -e "$TMP/blob" ] || head -c "${2:-100}M" /dev/urandom >"$TMP/blob"
	ln "$TMP/blob" "$d/root/blob"
	echo hello >"$d/root/index.html"
	chmod -R a+rX "$TMP"
	WEB_SUM=$(sha256sum <"$TMP/blob")
	cat >"$d/nginx.conf" <<-CONF
		daemon off; master_process off; pid $d/nginx.pid; error_log $d/logs/error.log;
		events { worker_connections 1024; }
		http { keepalive_requests 10000000; access_log $d/logs/access.log; sendfile on; client_body_temp_path $d; proxy_temp_path $d;
		 fastcgi_temp_path $d; uwsgi_temp_path $d; scgi_temp_path $d;
		 server { listen 80; listen [::]:80; root $d/root; } }
	CONF
	start_bg_ns "$1" "nginx.$1" nginx -p "$d" -c "$d/nginx.conf" -e "$d/logs/error.log"
	need "ns $1 curl -sf -m 2 http://127.0.0.1/" 10 "nginx in $1"
}
# fetch NS HOST [CURL OPTION...]: the whole blob arrives, unharmed. HOST: an IPv4 address or [IPv6].
fetch() {
	local n=$1 host=$2 sum
	shift 2
	sum=$(ns "$n" curl -sS -g -f -m 60 "$@" "http://$host/blob" | sha256sum) || fail "curl $n -> $host"
	[ "$sum" = "$WEB_SUM" ] || fail "curl $n -> $host: content differs"
	ok "$(($(stat -c %s "$TMP/blob") >> 20)) MB $n -> $host"
}
# ping_ok NS ADDRESS [OPTION...]: three of three answered. ping_no: none.
ping_ok() {
	local n=$1 a=$2
	shift 2
	ns "$n" ping -q -c 3 -i 0.2 -W 2 "$@" "$a" >"$TMP/ping" 2>&1 || {
		cat "$TMP/ping" >&2
		fail "ping $n -> $a $*"
	}
	ok "ping $n -> $a $*"
}
ping_no() {
	local n=$1 a=$2
	shift 2
	! ns "$n" ping -q -c 2 -i 0.2 -W 1 "$@" "$a" >/dev/null 2>&1 || fail "ping $n -> $a was answered"
	ok "no ping $n -> $a $*"
}
# iperf_server NS [PORT]; iperf NS HOST [OPTION...]: prints Mbit/s, fails when nothing arrived
iperf_server() {
	start_bg_ns "$1" "iperf.$1.${2:-5201}" iperf3 -s -p "${2:-5201}"
	need "ns $1 ss -Hltn 'sport = :${2:-5201}' | grep -q ." 5 "iperf3 server in $1"
}
iperf() {
	local n=$1 h=$2 rate
	shift 2
	ns "$n" iperf3 -J -t 2 -c "$h" "$@" >"$TMP/iperf" || {
		jq -r .error "$TMP/iperf" >&2
		fail "iperf3 $n -> $h"
	}
	rate=$(jq '(.end.sum_received // .end.sum).bits_per_second / 1e6 | floor' "$TMP/iperf")
	[ "$rate" -gt 0 ] || fail "iperf3 $n -> $h: nothing arrived"
	ok "iperf3 $n -> $h $*: $rate Mbit/s"
}
