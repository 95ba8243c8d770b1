#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Prefix translation (RFC 6296) between real kernels: containers under fd01::/48 are 2001:db8:77::/48 for those outside, by any
# protocol and whoever begins; the pool changes and the daemon dies meanwhile.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
for n in c1 out; do ns $n sysctl -qw net.ipv6.icmp.ratelimit=0; done
nsip out -6 route add 2001:db8:77::/48 via 2001:db8:2::1
nsip out -6 route add 2001:db8:78::/48 via 2001:db8:2::1
{
	topo_gateway_conf
	echo "add nat pool 2001:db8:77::/48 static fd01::/48 port up1"
} >"$TMP/conf"
# fd01 - (2001 + db8 + 77), and 78, in one's complement: what subnet 0 is outside
C1=2001:db8:77:ced1::10 C2=2001:db8:77:ced1::11 OUT=2001:db8:2::2
C1_NEXT=2001:db8:78:ced0::10
sluiced_start "$TMP/conf"
web_start out 20
web_start c1 20
iperf_server out
iperf_server c1

ping_ok c1 $OUT
ping_ok out $C1
fetch c1 "[$OUT]"
fetch out "[$C1]"
iperf c1 $OUT
iperf out $C1 -R
[ "$(ctl -j show ct "reply_dst=$C1" | jq 'map(select(.src == "fd01::10")) | length')" -gt 0 ] || fail "no connection left as $C1"
[ "$(field nat connections)" = 0 ] || fail "a mapping was made: $(ctl show nat)"
[ "$(ctl -j show offload | jq '[.[] | select(.name == "xdp" or .name == "tc") | .value] | add')" -gt 1000 ] ||
	fail "the kernel replayed nothing: $(ctl show offload)"
ok "sent as $C1, without mappings, and replayed by the kernel"

# the box's own address under the prefix stays its own
addr gw up1 2001:db8:77::1/128
need "ctl -j show routes | jq -e 'map(select(.prefix == \"2001:db8:77::1\" and .kind == \"local\")) | length > 0'" 5 \
	"the box's address in the FIB mirror"
ping_ok out 2001:db8:77::1

# a network behind a port, no containers
ns_add lan
veth_pair gw up2 lan eth0
addr gw up2 fd01:0:0:7::1/64
addr lan eth0 fd01:0:0:7::7/64
nsip lan -6 route add default via fd01:0:0:7::1
ctl set port up1 transit on
ctl add port up2 device up2 transit on
LAN=2001:db8:77:ced8::7
ping_ok lan $OUT
ping_ok out $LAN
fetch lan "[$OUT]"
fetch lan "[$C1]"
[ "$(ctl -j show ct reply_dst=$LAN dst=$OUT | jq length)" -gt 0 ] || fail "lan did not leave as $LAN: $(ctl show ct)"
[ "$(ctl -j show ct reply_dst=$LAN dst=$C1 | jq length)" -gt 0 ] || fail "lan did not come to c1 as $LAN: $(ctl show ct)"
ping_no out 2001:db8:77:1234::1
ok "a network behind a port leaves as $LAN"

# hairpin: who sees whom
ping_ok c2 $C1
fetch c2 "[$C1]"
[ "$(ctl -j show ct "reply_dst=$C2" dst=$C1 | jq length)" -gt 0 ] || fail "c2 did not come as $C2: $(ctl show ct)"
ok "hairpin as $C2"

# a protocol without ports: each sees the other's outside address
cat >"$TMP/raw.py" <<'PY'
import socket, sys
# PEER [send]: one packet of protocol 253; who waits says who sent it, and answers
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 253)
s.settimeout(10)
if sys.argv[2:]:
    s.sendto(b"question", (sys.argv[1], 0))
data, peer = s.recvfrom(100)
print(data.decode(), peer[0], flush=True)
if not sys.argv[2:]:
    s.sendto(b"answer", (peer[0], 0))
PY
raw() { # WAITS SENDS DESTINATION SEEN: who sends to DESTINATION is SEEN by who waits
	local got
	start_bg_ns "$1" "raw.$1" python3 "$TMP/raw.py" -
	need "ns $1 grep -q ':00FD ' /proc/net/raw6" 5 "a raw socket in $1"
	got=$(ns "$2" python3 "$TMP/raw.py" "$3" send) || fail "protocol 253, $2 to $3"
	[ "$got" = "answer $3" ] || fail "protocol 253, $2 to $3: $got"
	need "! running raw.$1" 5 "raw.$1 ends"
	grep -qx "question $4" "$LOG/raw.$1.log" || fail "protocol 253 from $2: $(cat "$LOG/raw.$1.log")"
	unset "SL_PID[raw.$1]"
	ok "protocol 253 $2 -> $3, seen as $4"
}
raw out c1 $OUT $C1
raw c1 out $C1 $OUT

# errors: a closed port outside is told to c1, one of c1 to those outside, by the address they know
cat >"$TMP/closed.py" <<'PY'
import socket, struct, select, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
s.connect((sys.argv[1], 9))
for attempt in range(5):
    try:
        s.send(b"x")
    except OSError:
        pass
    p = select.poll()
    p.register(s, 0)
    if p.poll(1000):
        break
for level, kind, data in s.recvmsg(2048, 512, socket.MSG_ERRQUEUE)[1]:
    print(socket.inet_ntop(socket.AF_INET6, data[24:40]), "%d/%d" % (data[5], data[6]))
PY
closed() { # FROM TO
	local got
	got=$(ns "$1" python3 "$TMP/closed.py" "$2") || fail "no error from $2 to $1"
	[ "$got" = "$2 1/4" ] || fail "error from $2 to $1: $got"
	ok "port unreachable, $1 is told by $got"
}
closed c1 $OUT
closed out $C1
closed c2 $C1

# the daemon dies during a download: the connection is taken over
slow() { # NAME NS HOST: in the background, 20 MB in some 2.5 s
	start_bg_ns "$2" "$1" curl -sS -g -f -m 60 --limit-rate 8M -o "$TMP/$1" "http://$3/blob"
	need "[ \$(stat -c %s $TMP/$1) -gt 1000000 ]" 10 "$1 has begun"
}
slow dies out "[$C1]"
sluiced_stop KILL
sluiced_restart
ctl -j show version | jq -e '.[0] | .adopted_connections > 0 and .adoption_dropped == 0' >/dev/null ||
	fail "not all adopted: $(ctl -j show version)"
need "! running dies" 30 "the download goes on"
[ "$(sha256sum <"$TMP/dies")" = "$WEB_SUM" ] || fail "the download differs after the kill"
unset "SL_PID[dies]"
ok "killed and started anew during a download"

# the pool goes and comes during one: it stops, then what is new passes again
slow goes c1 "[$OUT]"
ctl del nat pool 2001:db8:77::/48
ping_no out $C1
stop_bg goes
ctl add nat pool 2001:db8:77::/48 static fd01::/48 port up1
fetch out "[$C1]"
# other prefixes: outside, by a new pool, then inside, for a while
ctl add nat pool 2001:db8:78::/48 static fd01::/48
ping_ok out $C1_NEXT
ctl del nat pool 2001:db8:77::/48
fetch c1 "[$OUT]"
[ "$(ctl -j show ct "reply_dst=$C1_NEXT" | jq length)" -gt 0 ] || fail "c1 did not leave as $C1_NEXT"
ctl set nat pool 2001:db8:78::/48 static fd09::/48
ping_no out $C1_NEXT
ctl set nat pool 2001:db8:78::/48 static fd01::/48
ping_ok out $C1_NEXT
ok "pools come, go and change"

# what is saved loads to the same
ctl save "$TMP/saved"
grep -qx 'add nat pool 2001:db8:78::/48 static fd01::/48' "$TMP/saved" || fail "save: $(grep pool "$TMP/saved")"
balance_check
pass
