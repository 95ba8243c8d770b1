#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# State survives kill -9: KILLS (10) times at random moments, also while it starts, under load: a TCP download and idle TCP
# connections through SNAT go on, 100,000 translated UDP connections keep their ports, nothing is reset, nothing is lost. The
# pool address of c1 is the box's own: what steering let pass while it is down would be reset by the kernel.
# Then what must not survive: a rule and a pool taken out of the configuration meanwhile, a damaged arena.
. "$(dirname "$0")/_env.sh"
KILLS=${KILLS:-10}
UDP=50000  # from each container
IDLE=50    # TCP connections
BLOB_MS=1300 # the download lasts so long for each kill

topo_gateway
ns gw sysctl -qw net.ipv4.ip_local_port_range="60000 65000" # the rest of its address is for translations
web_start out
{
	topo_gateway_conf
	echo "set ct timeout udp-unreplied 900"
	echo "add nat pool 198.51.100.1 ports 1024-59999 port up1 source 10.1.0.10/32"
	echo "add nat pool 198.51.100.50 port up1 source 10.1.0.11/32"
	echo "add policy endpoint 10 egress allow any name everything"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
ping_ok c1 198.51.100.2
ping_ok c2 198.51.100.2

# ---- 100,000 connections ----
cat >"$TMP/burst.py" <<'PY'
import socket, struct, sys, time
# DEVICE SOURCE DESTINATION MAC FIRST COUNT: one UDP frame from each port, to port 9
dev, src, dst, mac, first, count = sys.argv[1:4] + [bytes.fromhex(sys.argv[4].replace(":", ""))] + list(map(int, sys.argv[5:7]))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((dev, 0))
me = s.getsockname()[4]
ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 0, 0x4000, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst)))
c = sum(struct.unpack("!10H", ip))
c = (c & 0xffff) + (c >> 16)
ip[10:12] = struct.pack("!H", ~((c & 0xffff) + (c >> 16)) & 0xffff)
head = mac + me + b"\x08\x00" + bytes(ip)
for n in range(count):
    s.send(head + struct.pack("!HHHH4s", first + n, 9, 12, 0, b"idle"))
    if n % 256 == 255:
        time.sleep(0.004) # a burst the gate's ring can hold
PY
cat >"$TMP/sink.py" <<'PY'
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9)) # nobody reads: no answer, and no ICMP error either
while True:
    time.sleep(1000)
PY
start_bg_ns out sink python3 "$TMP/sink.py"
need "ns out ss -Hlun 'sport = :9' | grep -q ." 5 "a UDP socket in out"
burst() { # NS ADDRESS
	ns "$1" python3 "$TMP/burst.py" eth0 "$2" 198.51.100.2 "$(nsip "$1" neigh show 10.1.0.1 | sed 's/.*lladdr \([^ ]*\).*/\1/')" 2000 $UDP
}
udp_nat() { ctl count nat | grep -o '[0-9]*' | head -n 1; }
for i in 1 2 3 4 5; do # frames the gate had no room for
	[ "$(udp_nat)" -lt $((2 * UDP)) ] || break
	burst c1 10.1.0.10
	burst c2 10.1.0.11
done
[ "$(udp_nat)" -ge $((2 * UDP)) ] || fail "only $(udp_nat) translations"
ports_now() {
	ctl -j show nat | jq -r '.[] | select(.proto == "udp") |
		[.inside, .inside_port, .outside, .outside_port] | join(" ")' | sort >"$1"
}
ports_now "$TMP/before"
[ "$(wc -l <"$TMP/before")" -ge $((2 * UDP)) ] || fail "show nat: $(head -n 2 "$TMP/before")"
ok "$(wc -l <"$TMP/before") translated UDP connections"

# ---- TCP ----
cat >"$TMP/idle.py" <<'PY'
import socket, sys, os, time
# server, or client ADDRESS COUNT DONE: connections that speak once, wait until the file DONE exists, speak again
if sys.argv[1] == "server":
    import selectors
    sel, l = selectors.DefaultSelector(), socket.create_server(("0.0.0.0", 7), backlog=200)
    sel.register(l, selectors.EVENT_READ)
    while True:
        for k, _ in sel.select():
            if k.fileobj is l:
                sel.register(l.accept()[0], selectors.EVENT_READ)
            else:
                d = k.fileobj.recv(100)
                if d:
                    k.fileobj.sendall(d)
                else:
                    sel.unregister(k.fileobj)
                    k.fileobj.close()
socks, lost = [socket.create_connection((sys.argv[2], 7), 5) for _ in range(int(sys.argv[3]))], 0
def speak(text):
    global lost
    for s in socks:
        s.settimeout(15)
        try:
            s.sendall(text)
            if s.recv(100) != text:
                lost += 1
        except OSError as e:
            print(e)
            lost += 1
speak(b"before")
print("open", flush=True)
while not os.path.exists(sys.argv[4]):
    time.sleep(0.05)
speak(b"after")
print("lost", lost, flush=True)
PY
start_bg_ns out echo python3 "$TMP/idle.py" server
need "ns out ss -Hltn 'sport = :7' | grep -q ." 5 "an echo server in out"
start_bg_ns c1 idle python3 "$TMP/idle.py" client 198.51.100.2 $IDLE "$TMP/done"
need "grep -q open $LOG/idle.log" 10 "$IDLE TCP connections"
ok "$IDLE idle TCP connections"
resets() { ns out nstat -asz TcpExtTCPAbortOnData TcpEstabResets TcpOutRsts | awk 'NR > 1 { n += $2 } END { print n + 0 }'; }
gw_resets() { ns gw nstat -asz TcpOutRsts | awk 'NR > 1 { n += $2 } END { print n + 0 }'; }
resets_before=$(resets) gw_resets_before=$(gw_resets)
rate=$((100 * 1024 * 1000 / (KILLS * BLOB_MS + 3000)))
download() {
	rm -f "$TMP/slow"
	start_bg_ns c1 slow curl -sS -f --limit-rate ${rate}K -o "$TMP/slow" http://198.51.100.2/blob
	need "[ \$(stat -c %s $TMP/slow || echo 0) -gt 100000 ]" 15 "the download runs"
}
download_ended() { # whole: on a slow machine it may end before the last kill
	STOP_RC=0
	wait "${SL_PID[slow]}" || STOP_RC=$?
	unset "SL_PID[slow]"
	[ $STOP_RC = 0 ] || fail "the download ended with $STOP_RC: $(cat "$LOG/slow.log")"
	[ "$(sha256sum <"$TMP/slow")" = "$WEB_SUM" ] || fail "the download is damaged or short"
}
download
start_bg_ns c2 pings ping -D -n -i 0.01 198.51.100.2
need "grep -q icmp_seq $LOG/pings.log" 5 "the pings run"

# ---- kills ----
version() { ctl -j show version | jq -r ".[0].$1"; }
pause() { sleep "0.$(printf %03d $((RANDOM % $1)))"; }
for ((i = 1; i <= KILLS; i++)); do
	running slow || {
		download_ended
		download
	}
	pause 600
	stop_bg sluiced KILL
	if ((i % 3 == 0)); then # again, while it starts
		start_bg_ns gw sluiced "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$LOG/sluice.conf"
		pause 150
		stop_bg sluiced KILL
	fi
	sluiced_restart
	# the two pings from before are left to expire
	{
		[ "$(version adoption_dropped)" = 0 ] && [ "$(version adoption_expired)" -le 2 ] &&
			[ "$(version adoption_reason)" = null ]
	} || fail "kill $i: $(ctl -j show version)"
	[ "$(version adopted_connections)" -ge $((2 * UDP + IDLE)) ] || fail "kill $i: $(ctl -j show version)"
	took="${took:-} $(version adoption_ms)"
done
ok "$KILLS kills, nothing dropped; adoption in ms:$took"
ports_now "$TMP/after"
cmp "$TMP/before" "$TMP/after" || fail "$(diff "$TMP/before" "$TMP/after" | grep -c '^[<>]') translations differ"
burst c1 10.1.0.10
ports_now "$TMP/after"
cmp "$TMP/before" "$TMP/after" || fail "used again, translations are others"
ok "$(wc -l <"$TMP/after") translations have the ports they had"
need "! running slow" $((BLOB_MS * KILLS / 1000 + 30)) "the download ends"
download_ended
ok "100 MB in one TCP connection through $KILLS kills"
touch "$TMP/done"
need "grep -q lost $LOG/idle.log" 30 "the idle connections speak again"
grep -q '^lost 0$' "$LOG/idle.log" || fail "$(tail -n 1 "$LOG/idle.log") of $IDLE idle connections"
{ [ "$(resets)" = "$resets_before" ] && [ "$(gw_resets)" = "$gw_resets_before" ]; } || fail "somebody sent a reset"
ok "$IDLE idle connections alive, no reset"
stop_bg pings INT
awk -F'[][]' '/icmp_seq/ { if (last && $2 - last > 0.05) print int(($2 - last) * 1000); last = $2 }' "$LOG/pings.log" |
	sort -n >"$TMP/gaps"
[ "$(wc -l <"$TMP/gaps")" -gt 0 ] || fail "no gap in the pings: nobody was killed"
ok "$(awk '{ a[NR] = $1 } END { print "outage in ms: min " a[1] ", median " a[int((NR + 1) / 2)] ", max " a[NR] " (" NR " gaps)" }' "$TMP/gaps")"

# ---- what must not survive ----
start_bg_ns c1 refused ping -n -i 0.05 198.51.100.2
need "grep -q icmp_seq=3 $LOG/refused.log" 5 "ping from c1"
sluiced_stop KILL
sed -i '/policy endpoint 10/s/allow any/deny any/' "$LOG/sluice.conf"
sluiced_restart
[ "$(version adopted_connections)" -ge $((2 * UDP)) ] || fail "$(ctl -j show version)"
need "[ \$(dropped_for 181) -gt 3 ]" 5 "packets of an adopted connection refused"
seen=$(grep -c icmp_seq "$LOG/refused.log")
need "[ \$(dropped_for 181) -gt 10 ]" 5 "more of them refused"
[ "$(grep -c icmp_seq "$LOG/refused.log")" = "$seen" ] || fail "a refused connection was answered after the restart"
stop_bg refused INT
ok "an adopted connection is refused by a rule that is new since the crash"

sluiced_stop KILL
sed -i '/nat pool 198.51.100.50/d' "$LOG/sluice.conf"
sluiced_restart
{ [ "$(version adoption_dropped)" -ge $UDP ] && version adoption_reason | grep -q "NAT pool"; } ||
	fail "pool removed: $(ctl -j show version)"
{ [ "$(udp_nat)" -ge $UDP ] && [ "$(udp_nat)" -lt $((2 * UDP)) ]; } || fail "$(udp_nat) translations"
ok "without the pool: $(version adoption_reason)"

sluiced_stop KILL
echo "no arena" | dd of="/dev/shm/sluice-$NAME/ct4.arena" conv=notrunc status=none
sluiced_restart
version adoption_reason | grep -q "ct4: it is not an arena" || fail "damaged: $(ctl -j show version)"
[ "$(version adopted_connections)" = 0 ] || fail "adopted from a damaged arena"
ping_ok c2 10.1.0.10
ok "a damaged arena is refused: $(version adoption_reason)"
sluiced_stop TERM
grep -q "end here" "$LOG/sluiced.log" || fail "a clean stop does not say what it drops"
[ -z "$(ls /dev/shm)" ] || fail "a clean stop left $(ls /dev/shm)"
pass
