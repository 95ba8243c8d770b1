#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A service with backends in a container (c1), behind VXLAN (rc) and outside (node), in both families, while clients outside ask
# nginx all the time by short and by long connections: a backend comes, one drains, one is taken down.
. "$(dirname "$0")/_env.sh"

V4=203.0.113.80 V6=2001:db8:80::80
topo_gateway
for n in c1 rc node; do
	web_start $n 1
	echo -n $n >"$TMP/web.$n/root/who"
done
nsip out route add $V4 via 198.51.100.1
nsip out -6 route add $V6 via 2001:db8:2::1
# the clients' answers take the tunnel back: only masqueraded ones need none
nsip node route add 198.51.100.0/24 via 10.3.0.1
nsip node -6 route add 2001:db8:2::/64 via fd03::1
{
	topo_gateway_conf
	echo "add nat pool 192.0.2.1 port up0"
	echo "add nat pool 2001:db8:1::1 port up0"
	echo "add service $V4:80/tcp algorithm wrr"
	echo "add backend $V4:80/tcp 10.1.0.10:80"
	echo "add backend $V4:80/tcp 10.2.0.7:80"
	echo "add service [$V6]:80/tcp algorithm wrr"
	echo "add backend [$V6]:80/tcp [fd01::10]:80"
	echo "add backend [$V6]:80/tcp [fd02::7]:80"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

cat >"$TMP/load.py" <<'PY'
import http.client, os, sys, threading, time
# HOST STOP: lines "short|long who|error" until the file STOP exists
host, stop, lock = sys.argv[1], sys.argv[2], threading.Lock()
def say(*what):
    with lock:
        print(*what, flush=True)
def ask(c):
    c.request("GET", "/who")
    return c.getresponse().read().decode()
def short():
    while not os.path.exists(stop):
        c = http.client.HTTPConnection(host, 80, timeout=10)
        try:
            say("short", ask(c))
        except Exception as e:
            say("short", "error", repr(e))
        c.close()
def long():
    c, who = http.client.HTTPConnection(host, 80, timeout=10), "nobody"
    while not os.path.exists(stop):
        try:
            who = ask(c)
            say("long", who)
        except Exception as e:
            say("long", "error", who, repr(e))
            return
        time.sleep(0.05)
for f in [short] * 2 + [long] * 6:
    threading.Thread(target=f).start()
PY
log() { echo "$LOG/load$1.log"; }
for f in 4 6; do
	v=V$f
	start_bg_ns out load$f python3 "$TMP/load.py" "${!v}" "$TMP/stop"
done
# seen FAMILY TEXT [FROM-LINE]: lines with that text
seen() { tail -n +"${3:-1}" "$(log "$1")" | grep -c "$2" || true; }
need "[ \$(seen 4 'short c1') -gt 20 ] && [ \$(seen 4 'long rc') -gt 20 ] && [ \$(seen 6 'short rc') -gt 20 ] && [ \$(seen 6 'long c1') -gt 20 ]" 20 \
	"both backends answer both families"
[ "$(seen 4 error)$(seen 6 error)" = 00 ] || fail "$(grep -h error "$(log 4)" "$(log 6)" | head -n 3)"
ok "two backends answer"

# ---- a crash ----
sluiced_stop KILL
sluiced_restart
l4=$(wc -l <"$(log 4)") l6=$(wc -l <"$(log 6)")
[ "$(field lb connections)" -ge 10 ] || fail "connections adopted: $(ctl show lb) $(ctl -j show version)"
need "[ \$(seen 4 'long rc' $l4) -gt 5 ] && [ \$(seen 6 'long c1' $l6) -gt 5 ] && [ \$(seen 6 'short rc' $l6) -gt 5 ]" 20 "they go on"
[ "$(seen 4 error)$(seen 6 error)" = 00 ] || fail "$(grep -h error "$(log 4)" "$(log 6)" | head -n 3)"
ok "connections keep their backends through a crash"

# ---- one comes ----
ctl add backend $V4:80/tcp 192.0.2.2:80
ctl add backend "[$V6]:80/tcp" "[2001:db8:1::2]:80"
need "[ \$(seen 4 'short node') -gt 20 ] && [ \$(seen 6 'short node') -gt 20 ]" 20 "the new backend answers"
[ "$(seen 4 error)$(seen 6 error)" = 00 ] || fail "$(grep -h error "$(log 4)" "$(log 6)" | head -n 3)"
ok "a third one comes, no connection is hurt"
ns out curl -sS -g -m 5 "http://$V4/who" "http://[$V6]/who" >/dev/null || fail "curl"

# ---- one drains ----
chosen() { ctl -j show lb | jq "[.[] | select(.backend == \"$1\") | .chosen] | add"; }
ctl set backend $V4:80/tcp 10.2.0.7:80 state draining
ctl set backend "[$V6]:80/tcp" "[fd02::7]:80" state draining
before=$(chosen 10.2.0.7:80) before6=$(chosen "[fd02::7]:80")
l4=$(wc -l <"$(log 4)") l6=$(wc -l <"$(log 6)")
need "[ \$(seen 4 'short c1' $l4) -gt 50 ] && [ \$(seen 6 'short c1' $l6) -gt 50 ] && [ \$(seen 4 'long rc' $l4) -gt 30 ] && [ \$(seen 6 'long rc' $l6) -gt 30 ]" 20 \
	"load while one drains"
[ "$(chosen 10.2.0.7:80) $(chosen "[fd02::7]:80")" = "$before $before6" ] || fail "a draining backend got new connections"
[ "$(seen 4 error)$(seen 6 error)" = 00 ] || fail "$(grep -h error "$(log 4)" "$(log 6)" | head -n 3)"
left=$(field services left '.state == "draining" and .takes == "known"')
{ [ "$left" -ge 2 ] && [ "$left" -le 20 ]; } || fail "$left connections left: $(ctl show services)"
ok "one drains: nothing new, $left connections left and alive"

# ---- one is taken down ----
ctl set backend $V4:80/tcp 10.1.0.10:80 state down
ctl set backend "[$V6]:80/tcp" "[fd01::10]:80" state down
l4=$(wc -l <"$(log 4)") l6=$(wc -l <"$(log 6)")
need "[ \$(seen 4 'short node' $l4) -gt 50 ] && [ \$(seen 6 'short node' $l6) -gt 50 ]" 20 "load while one is down"
need "[ \$(seen 4 'long error c1') -gt 0 ] && [ \$(seen 6 'long error c1') -gt 0 ]" 10 "its long connections are told"
for f in 4 6; do
	[ "$(seen $f 'long error')" = "$(seen $f 'long error c1')" ] || fail "others failed too: $(grep 'long error' "$(log $f)")"
	grep "short error" "$(log $f)" | grep -qv "reset\|refused\|Disconnected" && fail "$(grep 'short error' "$(log $f)")"
done
[ "$(field lb connections '.backend == "10.1.0.10:80" or .backend == "[fd01::10]:80"')" = 0 ] || fail "it has connections left: $(ctl show lb)"
ok "one goes: its own connections end ($(seen 4 'long error c1') and $(seen 6 'long error c1') long ones), the others go on"
ctl show services | tee "$LOG/services"

# the kernel replays them too
need "[ \$(ctl -j show ct | jq '[.[] | select(.dst == \"$V4\" and (.offload == \"tc\" or .offload == \"xdp\"))] | length') -gt 0 ]" 10 "a connection of the service in the kernel"
ok "hot connections of the service are replayed by the kernel"
touch "$TMP/stop"
for f in 4 6; do need "! running load$f" 15 "load$f ends"; done
ctl explain packet "ip 198.51.100.2 > $V4 | tcp 40000 > 80 S" from port up1 | grep "service .*192.0.2.2 port 80, by wrr" || fail "explain"
balance_check
pass
