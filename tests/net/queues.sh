#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Uplinks with several receive queues: all are served, whichever worker owns them; frames change hands between workers.
# Busy polling, and workers that never sleep.
# workers: 2
. "$(dirname "$0")/_env.sh"

export QUEUES=2
topo_gateway
web_start out
{
	topo_gateway_conf
	echo "set worker busy-poll 20"
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
[ "$(field ports queues '.name == "up1"')" = 2 ] || fail "up1 does not show two queues"
for h in 10.1.0.11 10.2.0.7 fd02::7 198.51.100.2 2001:db8:2::2; do
	ping_ok c1 $h
done
iperf_server out
iperf c1 198.51.100.2 -t 2 -P 8
iperf c1 2001:db8:2::2 -t 1 -P 4 -R
# live figures and the queues' own counters
ctl -j show queues >"$TMP/queues"
jq -e '[.[] | select(.port == "up1")] | map(.queue) == [0, 1] and all(.filled > 0 and .stalled == false) and
	(map(.rx_packets) | add > 0) and (map(.tx_packets) | add > 0) and (map(.completed) | add > 0)' "$TMP/queues" >/dev/null || fail "show queues: $(cat "$TMP/queues")"
jq -e --argjson n "$WORKERS" '[.[] | select(.port == "gate") | .worker] == [range($n)]' "$TMP/queues" >/dev/null ||
	fail "the gate's queues are not the workers': $(cat "$TMP/queues")"
start_bg_ns c1 flood ping -q -i 0.002 198.51.100.2
need "ctl -j show workers | jq -e 'map(.pps) | add > 100'" 10 "show workers tells packets a second"
ctl -j show workers | jq -e 'any(.pps > 0 and .cycles_now > .io_cycles_now and .io_cycles_now > 0) and all(.stalled == false)' \
	>/dev/null || fail "show workers: $(ctl show workers)"
need "[ \"\$(field ports rx_pps '.name == \"up1\"')\" -gt 50 ]" 10 "show ports tells packets a second"
stop_bg flood INT
need "ctl -j show workers | jq -e 'map(.pps) | add < 50'" 10 "and that they ended"
ok "live figures follow the traffic"
total() { ctl -j show "$1" | jq "map(.$2) | add"; } # TABLE COLUMN
! grep -q 'busy-poll is off' "$LOG/sluiced.log" || fail "the kernel refused busy polling: $(cat "$LOG/sluiced.log")"
ctl set worker idle spin
n=$(total queues wakeups)
need "[ \"\$(total queues wakeups)\" -gt $((n + 10000)) ]" 10 "workers that spin poll their devices"
n=$(total workers sleeps)
ping_ok c1 198.51.100.2
[ "$(total workers sleeps)" = "$n" ] || fail "a worker slept: $n, then $(total workers sleeps)"
ctl set worker idle sleep
need "[ \"\$(total workers sleeps)\" -gt $((n + 1)) ]" 10 "and sleep again"
fetch c1 198.51.100.2
fetch c2 '[2001:db8:2::2]'
balance_check
# fewer queues than the device has would leave some of them without a socket
rc=0
text=$(ctl set port up0 device up0 queues 1 2>&1) || rc=$?
if [ $rc != 1 ] || ! grep -q 'ethtool -L up0' <<<"$text"; then fail "one queue of two: $rc $text"; fi
ok "$text"
ping_ok c1 10.2.0.7
pass
