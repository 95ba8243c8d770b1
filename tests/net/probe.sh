#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Probes of backends in a container (c1), behind VXLAN (rc) and outside (node), in both families: an nginx ends, answers 500, hangs,
# a container stops to answer pings, while clients outside ask all the time.
# workers: 2
. "$(dirname "$0")/_env.sh"

V4=203.0.113.80 V6=2001:db8:80::80
declare -A at4=([c1]=10.1.0.10 [rc]=10.2.0.7 [node]=192.0.2.2) at6=([c1]='[fd01::10]' [rc]='[fd02::7]' [node]='[2001:db8:1::2]')
topo_gateway
for n in c1 rc node; do
	web_start $n 1
	echo -n $n >"$TMP/web.$n/root/who"
	echo fine >"$TMP/web.$n/root/up"
done
nsip out route add $V4 via 198.51.100.1
nsip out -6 route add $V6 via 2001:db8:2::1
nsip node route add 198.51.100.0/24 via 10.3.0.1
nsip node -6 route add 2001:db8:2::/64 via fd03::1
probe="probe-interval 200ms probe-timeout 2s probe-rise 2 probe-fall 3"
{
	topo_gateway_conf
	echo "add nat pool 192.0.2.1 port up0"
	echo "add nat pool 2001:db8:1::1 port up0"
	for v in $V4 "[$V6]"; do
		echo "add service $v:80/tcp algorithm wrr probe http probe-path /up $probe"
		echo "add service $v:81/tcp algorithm wrr probe tcp probe-port 80 $probe"
		echo "add service $v:82/tcp algorithm wrr probe icmp $probe"
	done
	for p in 80 81 82; do
		for n in c1 rc node; do
			echo "add backend $V4:$p/tcp ${at4[$n]}:80"
			echo "add backend [$V6]:$p/tcp ${at6[$n]}:80"
		done
	done
} >"$TMP/conf"
sluiced_start "$TMP/conf"

# health WHERE STATE PROBE...: both families' backends there, of the services probed so, have that state
health() {
	local n=$1 want=$2 k
	shift 2
	ctl -j show services >"$TMP/services" || return 1
	for k; do
		jq -e --arg a "${at4[$n]}:80" --arg b "${at6[$n]}:80" --arg w "$want" --arg k "$k" \
			'[.[] | select((.backend == $a or .backend == $b) and .probe == $k) | .health] == [$w, $w]' "$TMP/services" >/dev/null || return 1
	done
}
# why WHERE PROBE: the reasons of both families
why() {
	ctl -j show services | jq -r --arg a "${at4[$1]}:80" --arg b "${at6[$1]}:80" --arg k "$2" \
		'[.[] | select((.backend == $a or .backend == $b) and .probe == $k) | .reason // "none"] | unique | join(" and ")'
}
chosen() { ctl -j show lb | jq --arg a "${at4[$1]}:80" --arg b "${at6[$1]}:80" '[.[] | select(.backend == $a or .backend == $b) | .chosen] | add'; }
web_again() { # the same nginx as before
	start_bg_ns "$1" "nginx.$1" nginx -p "$TMP/web.$1" -c "$TMP/web.$1/nginx.conf" -e "$TMP/web.$1/logs/error.log"
}
logged() { grep -c "$1" "$LOG/sluiced.log" || true; }
for n in c1 rc node; do
	need "health $n up http tcp icmp" 20 "$n is up by http, tcp and icmp"
done
ok "the box reaches a container, one behind a tunnel and a host outside: http, tcp, icmp, both families"

cat >"$TMP/load.py" <<'PY'
import http.client, os, sys, threading
# STOP HOST...: "who" or "error" a line, one connection each, until the file STOP exists
stop, hosts, lock = sys.argv[1], sys.argv[2:], threading.Lock()
def ask(host):
    while not os.path.exists(stop):
        c = http.client.HTTPConnection(host, 80, timeout=10)
        try:
            c.request("GET", "/who")
            r = c.getresponse()
            who = r.read().decode() if r.status == 200 else "status %d" % r.status
        except Exception as e:
            who = "error " + repr(e)
        c.close()
        with lock:
            print(who, flush=True)
for h in hosts * 2:
    threading.Thread(target=ask, args=(h,)).start()
PY
start_bg_ns out load python3 "$TMP/load.py" "$TMP/stop" $V4 $V6
lines() { wc -l <"$LOG/load.log"; }
seen() { tail -n +"$2" "$LOG/load.log" | grep -c "$1" || true; } # TEXT FROM-LINE
more() { [ "$(lines)" -ge $(($1 + 60)) ]; }
need "[ \$(seen c1 1) -gt 5 ] && [ \$(seen rc 1) -gt 5 ] && [ \$(seen node 1) -gt 5 ]" 20 "all three answer"
[ "$(seen 'error\|status' 1)" = 0 ] || fail "$(grep 'error\|status' "$LOG/load.log" | head -n 3)"

# ---- nginx ends, wherever it is; the others do not notice ----
for n in c1 rc node; do
	stop_bg nginx.$n KILL
	need "health $n down http tcp" 20 "$n is down"
	at=$(lines) before=$(chosen $n)
	[ "$(why $n http) $(why $n tcp)" = "connection refused connection refused" ] || fail "$(why $n http) $(why $n tcp)"
	health $n up icmp || fail "pings of $n are answered still: $(ctl show services)"
	need "more $at" 20 "load while $n is down"
	[ "$(chosen $n)" = "$before" ] || fail "$n got new connections: $before, $(chosen $n)"
	[ "$(seen 'error\|status' $((at + 5)))" = 0 ] || fail "$(tail -n +$((at + 5)) "$LOG/load.log" | grep 'error\|status' | head -n 3)"
	for o in c1 rc node; do
		[ $o = $n ] || health $o up http tcp || fail "$o, too: $(ctl show services)"
	done
	[ "$(logged "probe of ${at4[$n]}:80: down, connection refused")" = 2 ] || fail "not told once for each probe"
	web_again $n
	need "health $n up http tcp" 20 "$n is up again"
	need "[ \$(chosen $n) -gt $before ]" 20 "$n gets connections again"
	ok "$n: nginx ends, gets nothing more, comes back"
done

# ---- HTTP 500; a path that is not there; a server that hangs ----
at=$(lines)
mv "$TMP/web.rc/root/up" "$TMP/web.rc/root/gone"
need "health rc down http" 20 "a 404 is no answer of somebody who is up"
[ "$(why rc http)" = "HTTP status 404" ] || fail "$(why rc http)"
health rc up tcp icmp || fail "only http"
mkdir -p "$TMP/web.rc/root/up" # a directory: 301, and then 403
need "health rc up http" 20 "a redirection counts as up"
rmdir "$TMP/web.rc/root/up"
mv "$TMP/web.rc/root/gone" "$TMP/web.rc/root/up"
sed -i 's|root /run/sluice/tmp/web.c1/root;|& location = /up { return 500; }|' "$TMP/web.c1/nginx.conf"
stop_bg nginx.c1
web_again c1
need "health c1 down http" 20 "a 500"
[ "$(why c1 http)" = "HTTP status 500" ] || fail "$(why c1 http)"
cat >"$TMP/long.py" <<'PY'
import http.client, os, sys, time
# GO HOST...: a connection to node by each host; once the file GO exists, what becomes of a request on each
def ask(c):
    c.request("GET", "/who")
    return c.getresponse().read().decode()
def to_node(host):
    while True:
        c = http.client.HTTPConnection(host, 80, timeout=20)
        if ask(c) == "node":
            return c
        c.close()
long = [to_node(h) for h in sys.argv[2:]]
print("connected", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
for c in long:
    try:
        print("answer", ask(c), flush=True)
    except Exception as e:
        print(type(e).__name__, flush=True)
PY
start_bg_ns out long python3 "$TMP/long.py" "$TMP/go" $V4 $V6
need "grep -q connected $LOG/long.log" 20 "long connections to node"
kill -STOP "${SL_PID[nginx.node]}"
need "health node down http" 20 "it hangs"
[ "$(why node http)" = "connected, but no HTTP answer" ] || fail "$(why node http)"
health node up tcp || fail "the kernel takes connections for it: $(ctl show services)"
touch "$TMP/go"
need "! running long" 15 "long connections end"
[ "$(grep -c ConnectionResetError "$LOG/long.log")" = 2 ] || fail "connections to who is down are told: $(cat "$LOG/long.log")"
kill -CONT "${SL_PID[nginx.node]}"
need "health node up http" 20 "it goes on"
ok "status 404, 500, and a server that hangs: its clients get a reset"

# ---- ICMP; nobody is there at all ----
ns c1 sysctl -qw net.ipv4.icmp_echo_ignore_all=1 net.ipv6.icmp.echo_ignore_all=1
need "health c1 down icmp" 20 "no echo"
[ "$(why c1 icmp)" = "no answer" ] || fail "$(why c1 icmp)"
ns c1 sysctl -qw net.ipv4.icmp_echo_ignore_all=0 net.ipv6.icmp.echo_ignore_all=0
need "health c1 up icmp" 20 "echo again"
nsip node link set eth0 down
need "health node down http tcp icmp && health rc down http tcp icmp" 30 "both are behind that link"
note "no link: $(why node tcp); $(why rc tcp)"
nsip gw link set up0 down
need "[ \"\$(why node tcp)\" = 'no route' ]" 20 "nothing can be sent to it"
ok "a probe that cannot be sent failed: $(why node icmp)"
touch "$TMP/stop"
need "! running load" 15 "load ends"

# ---- all are down: the client is told ----
stop_bg nginx.c1 KILL
need "health c1 down tcp" 20 "the last one"
ctl explain packet "ip 198.51.100.2 > $V4 | tcp 40000 > 81 S" from port up1 | grep -q "no backend may take" || fail "explain"
ns out curl -s -m 5 "http://$V4:81/" && fail "somebody answered"
# a start knows nothing: it asks again
sluiced_stop TERM
sluiced_restart
need "health c1 down tcp" 20 "seen again after a start"

# ---- no probes: as before there were any ----
for v in $V4 "[$V6]"; do ctl set service "$v:81/tcp" probe none; done
need "[ \$(field services probes '.probe == \"none\" and .health == null') = 0 ] && [ \$(ctl -j show services | jq '[.[] | select(.probe == \"none\" and .takes == \"new\")] | length') = 6 ]" 5 "not probed"
ctl show services >"$LOG/services"
ctl show probes >"$LOG/probes"
balance_check
pass
