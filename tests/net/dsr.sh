#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Direct server return, both families: the backend gets the client's packets in IP, has the service's address on its loopback, and
# answers the client by a link of their own. A crash, path MTU, a backend that is taken down.
# workers: 2
. "$(dirname "$0")/_env.sh"

V4=203.0.113.80 V6=2001:db8:80::80
# node eth0 192.0.2.2 ---- up0 gw up1 ---- eth0 198.51.100.2 out; node back 172.16.9.2 ---- back 172.16.9.1 out
ns_add gw node out
veth_pair gw up0 node eth0
veth_pair gw up1 out eth0
veth_pair node back out back
addr gw up0 192.0.2.1/24 2001:db8:1::1/64
addr gw up1 198.51.100.1/24 2001:db8:2::1/64
addr node eth0 192.0.2.2/24 2001:db8:1::2/64
addr node back 172.16.9.2/24 2001:db8:9::2/64
addr out eth0 198.51.100.2/24 2001:db8:2::2/64
addr out back 172.16.9.1/24 2001:db8:9::1/64
nsip out route add $V4 via 198.51.100.1
nsip out -6 route add $V6 via 2001:db8:2::1
nsip node route add 198.51.100.0/24 via 172.16.9.1
nsip node -6 route add 2001:db8:2::/64 via 2001:db8:9::1
addr node lo $V4/32 $V6/128
for n in out node; do ns $n sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0; done
for n in out node; do for d in eth0 back; do ns $n sysctl -qw net.ipv4.conf.$d.rp_filter=0; done; done

# decap.py: what a kernel with the ipip and ip6_tunnel modules does by itself
cat >"$TMP/decap.py" <<'PY'
import fcntl, os, select, socket, struct
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", b"dsr0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
raw = {socket.socket(f, socket.SOCK_RAW, p): f for f, p in ((socket.AF_INET, 4), (socket.AF_INET6, 41))}
while True:
    for s in select.select(list(raw), [], [])[0]:
        b = s.recv(65536)
        os.write(tun, b[(b[0] & 15) * 4 :] if raw[s] == socket.AF_INET else b)
PY
if nsip node link add dsr4 type ipip local 192.0.2.2 remote 192.0.2.1 2>/dev/null &&
	nsip node link add dsr6 type ip6tnl local 2001:db8:1::2 remote 2001:db8:1::1 mode ip6ip6 2>/dev/null; then
	nsip node link set dsr4 up
	nsip node link set dsr6 up
	ns node sysctl -qw net.ipv4.conf.dsr4.rp_filter=0
	note "decapsulated by the kernel"
else
	nsip node link del dsr4 2>/dev/null || true
	start_bg_ns node decap python3 "$TMP/decap.py"
	need "nsip node link set dsr0 up" 10 "the decapsulating device"
	ns node sysctl -qw net.ipv4.conf.dsr0.rp_filter=0
	note "decapsulated by a program: this kernel has no ipip"
fi
web_start node 20
{
	echo "add port up0 device up0"
	echo "add port up1 device up1"
	echo "add service $V4:80/tcp mode dsr"
	echo "add backend $V4:80/tcp 192.0.2.2:80"
	echo "add service [$V6]:80/tcp mode dsr"
	echo "add backend [$V6]:80/tcp [2001:db8:1::2]:80"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

# ---- the answer goes past ----
for v in $V4 "[$V6]"; do
	in=$(field ports rx_packets '.name == "up1"') out=$(field ports tx_packets '.name == "up1"')
	fetch out "$v"
	in=$(($(field ports rx_packets '.name == "up1"') - in)) out=$(($(field ports tx_packets '.name == "up1"') - out))
	{ [ $in -ge 50 ] && [ $out -le 5 ]; } || fail "$v: $in packets came from the client, $out went to it"
	ok "$v: $in packets of the client came by, $out went back"
done
[ "$(ctl -j show ct "dst=$V4" | jq -r '.[0].state')" != syn-sent ] || fail "the connection is taken for unanswered: $(ctl show ct)"
need "[ \$(field lb connections) = 0 ]" 5 "a client's FIN ends the count: $(ctl show lb)"

# ---- path MTU: 1500 less the outer header, told to the client ----
long=$(head -c 6000 /dev/zero | tr '\0' x)
for v in $V4 "[$V6]"; do
	[ "$(ns out curl -sS -g -f -m 20 -H "X-Long: $long" "http://$v/")" = hello ] || fail "a request longer than the MTU to $v"
done
nsip out route get $V4 | grep -q "mtu 1480" || fail "IPv4: $(nsip out route get $V4)"
nsip out -6 route get $V6 | grep -q "mtu 1460" || fail "IPv6: $(nsip out -6 route get $V6)"
ok "clients are told the MTU, 1480 and 1460"

# ---- a crash ----
ns out curl -sS -f -m 60 --limit-rate 4M -o "$TMP/slow" "http://$V4/blob" &
slow=$!
need "[ \$(field lb connections) = 1 ] && [ -s $TMP/slow ]" 10 "a slow download"
sluiced_stop KILL
sluiced_restart
[ "$(field lb connections) $(ctl -j show ct "dst=$V4" | jq -r '.[] | select(.state == "established") | .state')" = "1 established" ] ||
	fail "adopted: $(ctl show lb; ctl show ct; ctl -j show version)"
wait $slow || fail "the download did not live through the crash"
[ "$(sha256sum <"$TMP/slow")" = "$WEB_SUM" ] || fail "what was downloaded through the crash differs"
ok "a download lives through a crash, its connection is adopted"

# ---- the backend goes ----
ns out curl -sS -f -m 60 --limit-rate 200k -o "$TMP/slow" "http://$V4/blob" 2>"$TMP/slow.err" &
slow=$!
need "[ \$(field lb connections) = 1 ]" 10 "a slow download"
ctl set backend $V4:80/tcp 192.0.2.2:80 state down
wait $slow && fail "the backend is down, and the download went on"
grep -qi reset "$TMP/slow.err" || fail "no reset: $(cat "$TMP/slow.err")"
need "[ -z \"\$(ns node ss -Htn state established 'sport = :80')\" ]" 10 "the backend got a reset as well: $(ns node ss -Htn)"
ok "a backend that is down: both ends get a reset"

# ---- what cannot be ----
ctl add backend $V4:80/tcp 192.0.2.2:8080 2>"$TMP/err" && fail "another port was taken"
grep -q "mode dsr the port cannot be changed: give 80" "$TMP/err" || fail "$(cat "$TMP/err")"
ctl add service $V4:81/tcp
ctl add backend $V4:81/tcp 192.0.2.2:8080
ctl set service $V4:81/tcp mode dsr 2>"$TMP/err" && fail "mode dsr with another port was taken"
grep -q "mode dsr the port cannot be changed: give 81" "$TMP/err" || fail "$(cat "$TMP/err")"
ok "another port is refused"
balance_check
pass
