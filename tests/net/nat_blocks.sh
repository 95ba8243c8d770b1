#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Blocks of ports as who reads the log sees them: one line when an inside address gets a block, one when it goes back, and in
# between every packet from a port of it is that address'. A crash keeps them, a stop ends them.
#
#   c1 eth0 10.1.0.10 ---- lxc1 | gw |  up1 198.51.100.1, pool   ---- eth0 out 198.51.100.2
#   c2 eth0 10.1.0.11 ---- lxc2 |    |
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.50 ports 20480-20735 port up1 blocks 64 block-limit 2 rest 1"
	echo "set duplicate-detection off" # net/duplicate looks at that; it takes a second
	echo "set ct timeout icmp 1"
	echo "set ct timeout udp-unreplied 600"
} >"$TMP/conf"
# What the log says now: PORTS of a container ("first last" in each line); whether an event is there so many times
lines() { grep -o "nat-block .* event=$1 .*" "$LOG/sluiced.log" || true; }
said() { [ "$(lines "$1" | grep -c "inside=$2 ")" -eq "$3" ]; }
# blocks given and not gone back: ping's may have been before its mapping went
ports_of() {
	lines '[a-z]*' | awk -v who="inside=$1" '{
		split($0, a, /event=| pool=| ports=| protocols=/)
		if (index($0, who " ") && a[2] == "given") held[a[4]] = 1
		if (index($0, who " ") && a[2] == "back") delete held[a[4]]
	} END { for (b in held) { sub("-", " ", b); print b } }'
}
holds() { [ "$(ports_of "$1" | wc -l)" -eq "$2" ]; }
blocks() { ctl -j show blocks | jq length; }

sluiced_start "$TMP/conf"
need "said start - 1" 5 "the pool's beginning in the log"
cat >"$TMP/send.py" <<'PY'
import socket, sys
for port in range(int(sys.argv[1]), int(sys.argv[2])):  # each its own mapping
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    s.sendto(b"x", ("198.51.100.2", 9))
PY
cat >"$TMP/sink.py" <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9))
while True:
    print(*s.recvfrom(9)[1], flush=True)
PY
start_bg_ns out sink python3 "$TMP/sink.py"
need "ns out ss -Hlun 'sport = :9' | grep -q ." 5 "a UDP socket in out"
came() { [ "$(grep -c '^198.51.100.50 ' "$LOG/sink.log")" -ge "$1" ]; }

# next hops known: of what waits for one, some may be dropped
ping_ok c1 198.51.100.2
ping_ok c2 198.51.100.2
ns c1 python3 "$TMP/send.py" 1000 1100
need "came 100" 5 "100 datagrams of c1"
need "holds 10.1.0.10 2" 5 "two blocks of 64 ports for 100 mappings"
ports_of 10.1.0.10 >"$TMP/c1"
sort -u "$LOG/sink.log" >"$TMP/seen1"
[ "$(wc -l <"$TMP/seen1")" -eq 100 ] || fail "$(wc -l <"$TMP/seen1") ports for 100 mappings"
ns c2 python3 "$TMP/send.py" 1000 1020
need "came 120" 5 "20 datagrams of c2"
need "holds 10.1.0.11 1" 5 "one block for 20 mappings"
ports_of 10.1.0.11 >"$TMP/c2"
sort -u "$LOG/sink.log" | comm -23 - "$TMP/seen1" >"$TMP/seen2"
for i in 1 2; do
	while read -r _ port; do
		awk -v p="$port" '$1 <= p && p <= $2 { found = 1 } END { exit !found }' "$TMP/c$i" ||
			fail "port $port of c$i is in none of its blocks: $(tr '\n' ';' <"$TMP/c$i")"
	done <"$TMP/seen$i"
done
[ "$(wc -l <"$TMP/seen2")" -eq 20 ] || fail "$(wc -l <"$TMP/seen2") ports of c2"
ok "the log tells who each of 120 ports belongs to"
[ "$(blocks)" -eq 3 ] || fail "show blocks: $(ctl show blocks)"
need "[ \"\$(field blocks mappings)\" -eq 120 ]" 10 "120 mappings in blocks, those of ping gone"

ns c1 python3 "$TMP/send.py" 1100 1140
need "[ \"\$(dropped_for 254)\" -eq 12 ]" 5 "12 of 140 mappings are beyond two blocks: 254"
ok "the limit of blocks is one"

# killed: the same blocks again, then no other for what has room
sluiced_stop KILL
mv "$LOG/sluiced.log" "$LOG/first.log"
sluiced_restart
need "said kept 10.1.0.10 2 && said kept 10.1.0.11 1 && said start - 1" 5 "the blocks that were kept"
diff <(sort "$TMP/c1" "$TMP/c2") \
	<(lines kept | sed -n 's/.* ports=\([0-9]*\)-\([0-9]*\) .*/\1 \2/p' | sort) || fail "other blocks than before"
ping_ok c2 198.51.100.2
ns c2 python3 "$TMP/send.py" 1020 1040
need "[ \"\$(field blocks mappings)\" -eq 168 ]" 5 "20 more of c2 in its block"
said given 10.1.0.11 0 || fail "c2 had room in its block and got another"
ok "a crash keeps blocks"

ctl clear ct src=10.1.0.10
need "said back 10.1.0.10 2" 5 "c1's blocks are back"
said back 10.1.0.11 0 || fail "c2's block is back, too"
sluiced_stop TERM
said back 10.1.0.11 1 || fail "a stop does not end c2's block in the log"
lines '[a-z]*' | sed 's/nat-block seq=\([0-9]*\) .*/\1/' | awk '$1 != NR { exit 1 }' || fail "numbers of lines have gaps"
ok "blocks that went back, by rest and by the end of the daemon"
pass
