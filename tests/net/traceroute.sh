#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Errors on the way: traceroute and path-MTU discovery from a container over VXLAN and over NAT, routes that lead nowhere, the
# box's own addresses, the MSS clamp. Both families, real kernels as routers and ends.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
ns_add far
veth_pair out r9 far eth0
addr out r9 203.0.113.1/24 2001:db8:9::1/64
addr far eth0 203.0.113.7/24 2001:db8:9::7/64
nsip out link set r9 mtu 1300
nsip far link set eth0 mtu 1300
nsip far route add default via 203.0.113.1
nsip far -6 route add default via 2001:db8:9::1
ns out sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
nsip gw route add 203.0.113.0/24 via 198.51.100.2
nsip gw -6 route add 2001:db8:9::/64 via 2001:db8:2::2
nsip gw route add blackhole 203.0.114.0/24
nsip gw route add prohibit 203.0.115.0/24
nsip gw route add unreachable 203.0.116.0/24
nsip gw -6 route add blackhole 2001:db8:a4::/64
nsip gw -6 route add prohibit 2001:db8:a5::/64
nsip gw -6 route add unreachable 2001:db8:a6::/64
# the kernels' answers are limited to one a second and destination
for n in gw node out far rc; do ns $n sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0; done

{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
addr gw sluice_host 10.1.0.1/32 fd01::1/128
need "ctl -j show routes | jq -e 'map(select(.prefix == \"fd01::1\" and .kind == \"local\")) | length > 0'" 5 \
	"the box's address in the FIB mirror"

# hops.py DEST [FIRST LAST [SIZE]]: who answers a UDP packet of SIZE bytes with that TTL, and how; DF is set
cat >"$TMP/hops.py" <<'PY'
import select, socket, struct, sys, time
dest, first, last, size = sys.argv[1], *(int(x) for x in (sys.argv[2:] + ["1", "5", "20"][len(sys.argv) - 2:]))
v6 = ":" in dest
family, level = (socket.AF_INET6, socket.IPPROTO_IPV6) if v6 else (socket.AF_INET, socket.IPPROTO_IP)
hops, recverr, mtu_discover = (16, 25, 23) if v6 else (2, 11, 10)
for ttl in range(first, last + 1):
    answer = None
    for attempt in range(4):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.setsockopt(level, hops, ttl)
        s.setsockopt(level, recverr, 1)
        s.setsockopt(level, mtu_discover, 3)  # DF, whatever the kernel knows
        try:
            s.sendto(bytes(size), (dest, 33434 + ttl))
        except OSError:
            pass
        poll = select.poll()
        poll.register(s, 0)
        if not poll.poll(1000):
            continue
        for lvl, typ, data in s.recvmsg(2048, 512, socket.MSG_ERRQUEUE)[1]:
            if (lvl, typ) == (level, recverr):
                errno, origin, t, code, _, info, _ = struct.unpack("=IBBBBII", data[:16])
                a = data[16 + 8:16 + 24] if v6 else data[16 + 4:16 + 8]
                answer = "%s %d/%d" % (socket.inet_ntop(family, a), t, code) + (" %d" % info if info else "")
        break
    print(ttl, answer or "-", flush=True)
    if not answer or (answer.split()[1] not in ("11/0", "3/0") if not v6 else answer.split()[1] != "3/0"):
        break
PY
# hops DEST EXPECTED [FIRST LAST [SIZE]]
hops() {
	local dest=$1 want=$2 got
	shift 2
	got=$(ns c1 python3 "$TMP/hops.py" "$dest" "$@" | tr '\n' ',')
	[ "$got" = "$want" ] || fail "way to $dest: '$got' instead of '$want'"
	ok "way to $dest: $got"
}
hops 10.2.0.7 '1 10.1.0.1 11/0,2 10.3.0.2 11/0,3 10.2.0.7 3/3,'
hops fd02::7 '1 fd01::1 3/0,2 fd03::2 3/0,3 fd02::7 1/4,'
hops 203.0.113.7 '1 10.1.0.1 11/0,2 198.51.100.2 11/0,3 203.0.113.7 3/3,'
hops 2001:db8:9::7 '1 fd01::1 3/0,2 2001:db8:2::2 3/0,3 2001:db8:9::7 1/4,'
hops 10.1.0.11 '1 10.1.0.1 11/0,2 10.1.0.11 3/3,'

# routes that lead nowhere
hops 203.0.114.1 '9 -,' 9 9
hops 203.0.115.1 '9 10.1.0.1 3/13,' 9 9
hops 203.0.116.1 '9 10.1.0.1 3/1,' 9 9
hops 203.0.117.1 '9 10.1.0.1 3/0,' 9 9
hops 2001:db8:a4::1 '9 -,' 9 9
hops 2001:db8:a5::1 '9 fd01::1 1/1,' 9 9
hops 2001:db8:a6::1 '9 fd01::1 1/0,' 9 9
hops 198.51.100.255 '9 -,' 9 9

# too big: the engine tells what fits into the tunnel, a router behind the NAT what its link takes
hops 10.2.0.7 '9 10.1.0.1 3/4 1450,' 9 9 1450
hops fd02::7 '9 fd01::1 2/0 1450,' 9 9 1450
hops 203.0.113.7 '9 198.51.100.2 3/4 1300,' 9 9 1400
hops 2001:db8:9::7 '9 2001:db8:2::2 2/0 1300,' 9 9 1400
for h in 203.0.113.7 2001:db8:9::7; do
	ns c1 ping -q -c 1 -W 2 -M "do" -s 1400 $h >/dev/null 2>&1 && fail "1400 bytes in one packet cannot reach $h"
	need "nsip c1 route get $h | grep -q 'mtu 1300'" 5 "c1 knows the path MTU to $h"
done
ok "path MTU over NAT is known"
web_start far 20
web_start rc 20
for h in 203.0.113.7 '[2001:db8:9::7]' 10.2.0.7 '[fd02::7]'; do fetch c1 "$h"; done
for h in 10.2.0.7 203.0.113.7; do ping_ok c1 $h -M dont -s 3000; done

# the box answers for itself, to containers and through the tunnel
for h in 10.1.0.1 fd01::1 192.0.2.1 2001:db8:1::1; do ping_ok c1 $h; done
for h in 10.1.0.1 fd01::1; do ping_ok rc $h; done

# clamp: what rc may put into a segment to c1; 12 bytes are timestamps
cat >"$TMP/mss.py" <<'PY'
import socket, sys
s = socket.socket(socket.AF_INET6)
s.bind(("::", 7000))
s.listen()
while True:
    c, _ = s.accept()
    c.sendall(b"%d\n" % c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
    c.close()
PY
start_bg_ns rc mss python3 "$TMP/mss.py"
need "ns rc ss -Hltn 'sport = :7000' | grep -q ." 5 "the MSS server"
mss() {
	local got
	got=$(ns c1 python3 -c 'import socket, sys; print(socket.create_connection((sys.argv[1], 7000), 5).makefile().readline().strip())' "$1")
	[ "$got" = "$2" ] || fail "MSS to $1: $got instead of $2"
	ok "MSS to $1: $got"
}
# what they found out about paths by now would lower it by itself
for n in c1 rc; do nsip $n route flush cache && nsip $n -6 route flush cache; done
mss 10.2.0.7 1448
ctl set tcp mss-clamp on
mss 10.2.0.7 1398
mss fd02::7 1378
ctl set tcp mss-clamp 1200
mss 10.2.0.7 1188
ctl set tcp mss-clamp off
mss fd02::7 1428

balance_check
pass
