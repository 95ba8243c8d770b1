#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A second container that sends the first one's tuples is refused and counted (132), also while the connection lives.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

mac_of() { nsip "$1" -j link show "$2" | jq -r '.[0].address'; }
# send NS DEV SRC DST COUNT: UDP 4000 > 5000 from whatever source address
send() {
	ns "$1" python3 - "$@" "$(mac_of "$1" "$2")" <<-'PY'
		import socket, struct, sys
		_, dev, src, dst, n, mac = sys.argv[1:]
		def csum(b):
		    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
		    while s >> 16: s = (s & 0xffff) + (s >> 16)
		    return ~s & 0xffff
		mac = bytes.fromhex(mac.replace(':', ''))
		if ':' in src:
		    a, b = socket.inet_pton(socket.AF_INET6, src), socket.inet_pton(socket.AF_INET6, dst)
		    udp = struct.pack('!HHHH', 4000, 5000, 16, 0) + b'spoofed!'
		    c = csum(a + b + struct.pack('!II', 16, 17) + udp) or 0xffff
		    ip, et = struct.pack('!IHBB', 6 << 28, 16, 17, 64) + a + b, b'\x86\xdd'
		    udp = udp[:6] + struct.pack('!H', c) + udp[8:]
		else:
		    a, b = socket.inet_aton(src), socket.inet_aton(dst)
		    udp, et = struct.pack('!HHHH', 4000, 5000, 16, 0) + b'spoofed!', b'\x08\x00'
		    ip = struct.pack('!BBHHHBBH', 0x45, 0, 36, 1, 0, 64, 17, 0) + a + b
		    ip = ip[:10] + struct.pack('!H', csum(ip)) + ip[12:]
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind((dev, 0))
		for _ in range(int(n)):
		    s.send(bytes.fromhex('02e900000001') + mac + et + ip + udp)
	PY
}
while read -r src dst; do
	set -- "$src" "$dst"
	ping_ok c1 "$2" # resolves the neighbour: else only three packets would wait
	send c1 eth0 "$1" "$2" 5
	need "[ \$(field ct packets '.src == \"$1\" and .dst == \"$2\" and .sport == 4000') = 5 ]" 5 "c1's own packets pass"
	before=$(dropped_for 132)
	send c2 eth0 "$1" "$2" 20
	need "[ \$(dropped_for 132) = $((before + 20)) ]" 5 "20 spoofed packets are counted as 132"
	[ "$(field ct packets ".src == \"$1\" and .dst == \"$2\" and .sport == 4000")" = 5 ] || fail "spoofed packets count for c1's connection"
	ok "c2 as $1 > $2: refused and counted"
done <<-'PAIRS'
	10.1.0.10 198.51.100.2
	10.1.0.10 10.2.0.7
	fd01::10 fd02::7
PAIRS
# and from outside, with a container's address or a remote container's
for src in 10.1.0.10 10.2.0.7; do
	before=$(dropped_for 132)
	mac=$(mac_of gw up1)
	ns out python3 - $src "$mac" <<-'PY'
		import socket, struct, sys
		src, mac = sys.argv[1:]
		def csum(b):
		    s = sum(struct.unpack('!%dH' % (len(b) // 2), b))
		    while s >> 16: s = (s & 0xffff) + (s >> 16)
		    return ~s & 0xffff
		ip = struct.pack('!BBHHHBBH', 0x45, 0, 36, 1, 0, 64, 17, 0) + socket.inet_aton(src) + socket.inet_aton('10.1.0.11')
		ip = ip[:10] + struct.pack('!H', csum(ip)) + ip[12:]
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind(('eth0', 0))
		for _ in range(20):
		    s.send(bytes.fromhex(mac.replace(':', '')) + b'\2\0\0\0\0\1\x08\x00' + ip + struct.pack('!HHHH', 4000, 5000, 16, 0) + b'spoofed!')
	PY
	need "[ \$(dropped_for 132) = $((before + 20)) ]" 5 "20 packets from outside as $src are counted as 132"
	ok "from outside as $src: refused and counted"
done
balance_check
pass
