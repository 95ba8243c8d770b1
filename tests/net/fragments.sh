#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Fragmented datagrams, both families, in order and out of it: container to container, outside through SNAT, remote over
# VXLAN (where each fragment is cut up again); attacks; a flood of never-completed ones beside whole packets.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

cat >"$TMP/frag.py" <<'PY'
# echo PORT: UDP echo, both families. ask HOST N SIZE: N datagrams there and back, all bytes compared.
# raw HOST SOURCE reverse|overlap|tiny: one datagram in fragments made by hand; prints how many bytes came back.
# flood HOST SOURCE RATE SECONDS: firsts without an end and ends without a first. whole HOST SECONDS: sent and lost.
import os, random, socket, struct, sys, time

def family(host):
    return socket.AF_INET6 if ':' in host else socket.AF_INET

def echo(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    s.bind(('::', port))
    while True:
        data, peer = s.recvfrom(65535)
        s.sendto(data, peer)

def ask(host, n, size):
    s = socket.socket(family(host), socket.SOCK_DGRAM)
    s.settimeout(2)
    if family(host) == socket.AF_INET:
        s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: DF clear
    bad = 0
    for _ in range(n):
        data = os.urandom(size)
        for attempt in range(2):  # IPv6: the first one may meet a packet-too-big
            s.sendto(data, (host, 7))
            try:
                if s.recv(65535) == data:
                    break
            except TimeoutError:
                pass
        else:
            bad += 1
    print(bad)

def checksum(b):
    b += b'\0' * (len(b) % 2)
    t = sum(struct.unpack('!%dH' % (len(b) // 2), b))
    while t >> 16:
        t = (t & 0xffff) + (t >> 16)
    return ~t & 0xffff

def udp(src, dst, sport, dport, data):
    f = family(dst)
    a, b, n = socket.inet_pton(f, src), socket.inet_pton(f, dst), len(data) + 8
    h = struct.pack('!HHHH', sport, dport, n, 0)
    pseudo = a + b + (struct.pack('!HH', 17, n) if f == socket.AF_INET else struct.pack('!II', n, 17))
    return h[:6] + struct.pack('!H', checksum(pseudo + h + data) or 0xffff) + data

def piece(src, dst, ident, proto, off, more, data):
    f = family(dst)
    a, b = socket.inet_pton(f, src), socket.inet_pton(f, dst)
    if f == socket.AF_INET:
        return struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(data), ident & 0xffff, (0x2000 if more else 0) | off // 8, 64,
                           proto, 0) + a + b + data
    return struct.pack('!IHBB', 6 << 28, 8 + len(data), 44, 64) + a + b + struct.pack('!BBHI', proto, 0, off | more, ident) + data

def raw_socket(host):
    return socket.socket(family(host), socket.SOCK_RAW, socket.IPPROTO_RAW)

def raw(host, src, kind):
    s = socket.socket(family(host), socket.SOCK_DGRAM)
    s.bind((src, 0))
    s.settimeout(1.5)
    sport, ident, r = s.getsockname()[1], random.randrange(1, 65536), raw_socket(host)
    data = os.urandom(3000)
    d = udp(src, host, sport, 7, data)
    parts = [(0, 1, d[:1000]), (1000, 1, d[1000:2000]), (2000, 0, d[2000:])]
    proto = 17
    if kind == 'reverse':
        parts.reverse()
    elif kind == 'overlap':
        parts = [(0, 1, d[:1000]), (992, 1, d[992:2000]), (2000, 0, d[2000:])]
    elif kind == 'tiny':
        proto, parts = 6, [(0, 1, struct.pack('!HHI', sport, 80, 1)), (8, 0, bytes(12))]
    for off, more, b in parts:
        r.sendto(piece(src, host, ident, proto, off, more, b), (host, 0))
    try:
        print(len(s.recv(65535)) if s.recv(65535, socket.MSG_PEEK) == data else -1)
    except TimeoutError:
        print(0)

def flood(host, src, rate, seconds):
    r, n, begin = raw_socket(host), 0, time.monotonic()
    d = udp(src, host, 40000, 9, bytes(1000))
    while time.monotonic() < begin + seconds:
        for _ in range(rate // 200):
            n += 1
            first = n & 1
            r.sendto(piece(src, host, random.getrandbits(32), 17, 0 if first else 1008, 1, d), (host, 0))
        time.sleep(max(0, begin + n / rate - time.monotonic()))
    print(n)

def whole(host, seconds):
    s = socket.socket(family(host), socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    s.settimeout(2)
    s.connect((host, 7))
    sent, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        s.send(os.urandom(400))
        sent += 1
        time.sleep(0.002)
    got = 0
    try:
        while got < sent:
            s.recv(2000)
            got += 1
    except TimeoutError:
        pass
    print(sent, sent - got)

what, rest = sys.argv[1], [int(a) if a.isdigit() else a for a in sys.argv[2:]]
{'echo': echo, 'ask': ask, 'raw': raw, 'flood': flood, 'whole': whole}[what](*rest)
PY
py() { ns "$1" python3 "$TMP/frag.py" "${@:2}"; }

for n in c1 c2 rc out; do
	start_bg_ns $n "echo.$n" python3 "$TMP/frag.py" echo 7
	need "ns $n ss -Hlun 'sport = :7' | grep -q ." 5 "echo in $n"
done
HOSTS=(10.1.0.11 fd01::11 198.51.100.2 2001:db8:2::2 10.2.0.7 fd02::7)
for h in "${HOSTS[@]}"; do
	ping_ok c1 "$h"
	ns c1 ping -q -c 1 -W 2 -s 4000 "$h" >/dev/null || true # IPv6 learns the path MTU by its first one
	ping_ok c1 "$h" -s 4000
	ping_ok c1 "$h" -s 20000
	bad=$(py c1 ask "$h" 50 4000)
	[ "$bad" = 0 ] || fail "$bad of 50 datagrams of 4000 bytes c1 -> $h lost or changed"
	bad=$(py c1 ask "$h" 10 60000)
	[ "$bad" = 0 ] || fail "$bad of 10 datagrams of 60000 bytes c1 -> $h lost or changed"
	ok "50 datagrams of 4000 and 10 of 60000 bytes c1 -> $h and back"
done
for h in 10.1.0.10 fd01::10; do
	ping_ok rc "$h" -s 4000
	[ "$(py rc ask "$h" 20 4000)" = 0 ] || fail "datagrams rc -> $h"
done
ok "datagrams of 4000 bytes from the remote side"
[ "$(field frag bytes)" -gt 0 ] || fail "show frag is empty"

for h in "${HOSTS[@]}"; do
	src=10.1.0.10
	[ "$h" = "${h#*:}" ] || src=fd01::10
	got=$(py c1 raw "$h" $src reverse)
	[ "$got" = 3000 ] || fail "reversed fragments c1 -> $h: $got bytes came back"
	overlaps=$(dropped_for 246) tiny=$(dropped_for 245)
	[ "$(py c1 raw "$h" $src overlap)" = 0 ] || fail "overlapping fragments c1 -> $h passed"
	[ "$(py c1 raw "$h" $src tiny)" = 0 ] || fail "a tiny first fragment c1 -> $h passed"
	[ "$(dropped_for 246)" = $((overlaps + 2)) ] || fail "overlap to $h: $overlaps, then $(dropped_for 246) drops"
	[ "$(dropped_for 245)" = $((tiny + 2)) ] || fail "tiny to $h: $tiny, then $(dropped_for 245) drops"
	ok "c1 -> $h: reversed order passes, overlap and tiny first fragment are refused"
done

# what the flood leaves with the other ends must not be what the test measures
for n in out rc; do
	ns $n sysctl -qw net.ipv4.ipfrag_high_thresh=268435456 net.ipv4.ipfrag_time=1 \
		net.ipv6.ip6frag_high_thresh=268435456 net.ipv6.ip6frag_time=1
done
# floods of both kinds from a neighbour; the box's memory for them is bounded, whole packets do not notice
held_max() { ctl -j show workers >/dev/null && [ "$(field ports held)" -le $((512 * WORKERS)) ]; }
for h in 198.51.100.2 fd02::7; do
	src=10.1.0.11
	[ "$h" = "${h#*:}" ] || src=fd01::11
	start_bg_ns c2 flood python3 "$TMP/frag.py" flood "$h" $src 4000 6
	need "[ \$(field frag held) -gt 0 ]" 5 "the flood waits in the queue"
	start_bg_ns c1 pinging ping -q -i 0.01 -c 300 -W 2 "$h"
	lost=$(py c1 whole "$h" 3)
	[ "${lost#* }" = 0 ] || fail "whole datagrams beside a flood, sent and lost: $lost"
	held_max || fail "more fragments wait than the limit allows"
	need "! running pinging" 10 "ping ends"
	wait "${SL_PID[pinging]}" || true
	unset 'SL_PID[pinging]'
	grep -q ' 0% packet loss' "$LOG/pinging.log" || fail "ping beside a flood: $(grep loss "$LOG/pinging.log")"
	: >"$LOG/pinging.log"
	[ "$(py c1 ask "$h" 20 4000)" = 0 ] || fail "fragmented datagrams of another source beside a flood"
	need "! running flood" 10 "the flood ends"
	unset 'SL_PID[flood]'
	ok "flood of fragments c2 -> $h: ${lost% *} whole datagrams and 300 pings of c1, none lost; its fragments pass too"
done
[ "$(ctl count frag)" -le 8192 ] || fail "the table is larger than it says"
[ "$(dropped_for 248)" -gt 0 ] || fail "the flood met no limit"
need "[ \$(field ports held) = 0 ]" 5 "what waited is gone"
for n in c1 c2 rc out; do
	bad=$(ns $n nstat -az UdpInCsumErrors Udp6InCsumErrors IcmpInCsumErrors Icmp6InCsumErrors | awk '/Csum/ { s += $2 } END { print s + 0 }')
	[ "$bad" = 0 ] || fail "$n counts $bad bad checksums"
done
iperf_server out
iperf c1 198.51.100.2 -u -b 300M -l 4000
balance_check
pass
