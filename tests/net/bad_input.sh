#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Wrong configuration and wrong machines: one clear error that names the thing and the fix, nothing half-applied.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
topo_gateway_conf >"$TMP/conf"
sluiced_start "$TMP/conf"
state() {
	ctl -j show ports | jq -S 'map({name, device, queues})'
	for t in endpoints ipcache policy tunnel; do ctl -j show $t | jq -S 'map(del(.packets))'; done
	nsip gw -j link | jq -S 'map({ifname, xdp: .xdp.mode})'
}
before=$(state)
# refused PATTERN COMMAND...: exit 1, one line that matches, nothing changed
refused() {
	local want=$1 text rc=0
	shift
	text=$(ctl "$@" 2>&1) || rc=$?
	[ $rc = 1 ] || fail "'$*' exits $rc: $text"
	[ "$(wc -l <<<"$text")" = 1 ] || fail "'$*' says more than one line: $text"
	grep -Eqi -- "$want" <<<"$text" || fail "'$*' says: $text (not /$want/)"
	[ "$(state)" = "$before" ] || fail "'$*' changed something"
	ok "$* -> $text"
}
refused 'nosuch' add port p9 device nosuch
refused 'nosuch' add endpoint 12 device nosuch ipv4 10.1.0.12 identity 7
nsip gw link add jumbo mtu 20000 type veth peer name jumbo2 mtu 20000
nsip gw link set jumbo up
nsip gw link set jumbo2 up
nsip gw link add br9 type bridge
nsip gw link add lxc3 type veth peer name lxc3p
before=$(state)
refused 'mtu' add port p9 device jumbo
refused 'br9|xdp' add port p9 device br9 mode native
refused '10\.1\.0\.10.*endpoint|endpoint.*10\.1\.0\.10' add endpoint 12 device lxc3 ipv4 10.1.0.10 identity 7
refused 'set' add endpoint 10 device lxc1 ipv4 10.1.0.99 identity 7
refused 'vtep|VTEP' add ipcache 10.9.0.0/24 identity 5 remote 2001:db8::9
refused 'identity' add endpoint 12 device lxc3 ipv4 10.1.0.12 identity 99999999
refused 'host bits|prefix|10\.2\.0\.1/24' add ipcache 10.2.0.1/24 identity 5
refused 'port' add nat pool 198.51.100.1 port nosuch
refused '' del endpoint 99
refused '' del policy endpoint 10 egress allow any
ctl add nat pool 198.51.100.1 ports 20000-20010 port up1
before=$(state)
refused 'pool|198\.51\.100\.1' add nat pool 198.51.100.1 ports 20005-20020 port up1

# one bad line among a thousand
{
	for i in $(seq 1 600); do echo "add ipcache 10.77.$((i / 256)).$((i % 256)) identity 5"; done
	echo "add ipcache 10.78.0.0/24 identity banana"
	for i in $(seq 1 400); do echo "add ipcache 10.79.$((i / 256)).$((i % 256)) identity 5"; done
} >"$TMP/thousand"
refused 'thousand:601:.*banana' -f "$TMP/thousand"
for i in $(seq 0 16384); do echo "add ipmasq 10.$((i / 65536)).$((i / 256 % 256)).$((i % 256))"; done >"$TMP/full"
refused 'full:[0-9]+:.*16384' -f "$TMP/full"
rc=0
ctl no such command >/dev/null 2>&1 || rc=$?
[ $rc = 1 ] || [ $rc = 2 ] || fail "an unknown command exits $rc"
rc=0
"$B/sluicectl" -s /run/sluice/none.sock show ct >/dev/null 2>&1 || rc=$?
[ $rc = 3 ] || fail "no daemon: exit $rc, not 3"
rc=0
"$B/sluicectl" -x >/dev/null 2>&1 || rc=$?
[ $rc = 2 ] || fail "usage: exit $rc, not 2"
ok "exit codes 1, 2, 3"

# TAB at the prompt: what cannot be meant alone is not put in
cat >"$TMP/tab.py" <<'PY'
import os, pty, re, select, sys
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "-s", sys.argv[2]])
got = b""
def until(text):
    global got
    while text not in got:
        if not select.select([fd], [], [], 10)[0]:
            sys.exit("no %r in %r" % (text, got))
        got = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", got + os.read(fd, 4096))
    got = got[got.index(text) + len(text):]
until(b"sluice> ")
os.write(fd, b"show ct \t")
until(b"<FIELD=VALUE")
until(b"sluice> show ct ")
os.write(fd, b"m\t")
until(b"ax ")
os.write(fd, b"1 x\r")
until(b"ct max 1: 'x' is not")
os.write(fd, b"quit\r")
os.waitpid(pid, 0)
PY
python3 "$TMP/tab.py" "$B/sluicectl" "$SOCK" || fail "TAB"
ok "TAB lists a column or max, and completes what was begun"

# a second daemon of the same name, a file with an error, a missing capability
start_fails() { # PATTERN COMMAND...: ends with an error line that matches
	local want=$1 text rc=0
	shift
	text=$(timeout 10 nsenter --net=/run/netns/"$P"gw "$@" 2>&1) || rc=$?
	if [ $rc = 0 ] || [ $rc = 124 ]; then fail "'$*' did not fail ($rc)"; fi
	grep -Eqi -- "$want" <<<"$text" || fail "'$*' says: $text (not /$want/)"
	ok "start refused: $(tail -n 1 <<<"$text")"
}
start_fails 'runs already' "$B/sluiced" -n "$NAME" -c "$TMP/conf"
ping_ok c1 10.1.0.11
sluiced_stop TERM
echo "add port up9 device up9" >>"$TMP/conf"
start_fails "conf:$(wc -l <"$TMP/conf"):.*up9" "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$TMP/conf"
nsip gw link show up0 | grep -q xdp && fail "a refused start left XDP on up0"
nsip gw link show sluice_host >/dev/null 2>&1 && fail "a refused start left the gate"
sed -i '$d' "$TMP/conf"
echo "add endpoint 12 device lxc3 ipv4 10.1.0.11 identity 7" >>"$TMP/conf"
start_fails '10\.1\.0\.11.*endpoint 11' "$B/sluiced" -t -c "$TMP/conf"
sed -i '$d' "$TMP/conf"
"$B/sluiced" -t -c "$TMP/conf" | grep -q ok || fail "-t refuses a good file"
for cap in net_admin net_raw sys_admin; do
	start_fails "CAP_${cap^^}" setpriv --bounding-set -$cap --inh-caps -$cap --ambient-caps -$cap "$B/sluiced" -n "$NAME" -s "$SOCK" -c "$TMP/conf"
done
start_fails 'no such file|cannot open|No such' "$B/sluiced" -n "$NAME" -s "$SOCK" -c /nosuch.conf
sluiced_restart
ping_ok c1 10.1.0.11
pass
