#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# trace, monitor and capture on live traffic: what they say is what happens, filters hold, a client that sleeps or dies holds up nobody.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
web_start out 5
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add policy endpoint 10 egress deny cidr 198.51.100.0/24 icmp name no-ping"
	echo "add policy endpoint 10 egress allow any name all"
	echo "set offload off"
} >"$TMP/conf"
sluiced_start "$TMP/conf"
# NAME COMMAND...: in the background, and begun: sluicectl catches SIGINT and SIGTERM once the daemon has answered
observers() {
	start_bg "$1" "$B/sluicectl" -s "$SOCK" "${@:2}"
	need "grep -q 'SigCgt:.*4002\$' /proc/${SL_PID[$1]}/status" 5 "$1 begins"
}

# drops: the reason, the packet; a filter that fits and one that does not
observers drops -j monitor drops reason=POLICY_DENY proto=icmp max 2
observers nothing monitor drops src=10.1.0.11
observers other -j monitor drops reason=133
ping_no c1 198.51.100.2
wait "${SL_PID[drops]}" || fail "monitor drops max 2 does not end"
unset "SL_PID[drops]"
jq -se 'length == 2 and all(.[]; .number == 181 and .symbol == "POLICY_DENY" and .port == "gate" and
	(.packet | test("ip 10.1.0.10 > 198.51.100.2 .* icmp echo")))' "$LOG/drops.log" >/dev/null || fail "monitor drops: $(cat "$LOG/drops.log")"
stop_bg nothing INT
[ "$STOP_RC" = 0 ] || fail "monitor ended with $STOP_RC"
[ ! -s "$LOG/nothing.log" ] || fail "a filter let through: $(cat "$LOG/nothing.log")"
stop_bg other INT
[ ! -s "$LOG/other.log" ] || fail "another reason was shown: $(cat "$LOG/other.log")"
ok "monitor drops"

ns c1 curl -s -m 5 -o /dev/null http://198.51.100.2/ || fail "curl" # the neighbour is known from here on
need "ctl -j show ct dport=80 | jq -e 'all(.[]; .state == \"time-wait\")'" 5 "it is over" # what comes later would begin another
ctl clear ct

# connections begin and end
observers flows -j monitor flows dport=80 endpoint=10
observers trace -j trace 3 host=10.1.0.10 proto=tcp
observers capture capture "$TMP/all.pcapng" proto=tcp
observers one capture "$TMP/up1.pcapng" port up1 src=198.51.100.2 max 2
need "[ -s $TMP/all.pcapng ] && [ -s $TMP/up1.pcapng ]" 5 "captures began"
fetch c1 198.51.100.2
ctl clear ct
need "jq -se 'any(.[]; .event == \"end\" and .reply_bytes > 5000000)' $LOG/flows.log" 5 "its end"
jq -se 'group_by(.sport) | map(select( # a last ACK may begin another
	.[0].event == "begin" and .[0].rule == "all" and .[0].identity == 1001 and .[0].reply_dst == "198.51.100.1" and
	.[1].event == "end" and .[1].reply_bytes > 5000000 and .[1].src == "10.1.0.10" and .[1].packets > 10)) | length == 1' \
	"$LOG/flows.log" >/dev/null || fail "monitor flows: $(cat "$LOG/flows.log")"
stop_bg flows INT
ok "monitor flows"

# trace: the SYN's steps
wait "${SL_PID[trace]}" || fail "trace 3 does not end"
unset "SL_PID[trace]"
jq -se 'length == 3 and .[0].verdict == "forwarded" and .[0].port == "gate" and .[0].record == null and
	([.[0].steps[].step] | index("entry") and index("ct") and index("policy") and index("route") and index("masquerade")) and
	.[0].out[0].port == "up1" and (.[0].out[0].packet | test("ip 198.51.100.1 > 198.51.100.2"))' \
	"$LOG/trace.log" >/dev/null || fail "trace: $(cat "$LOG/trace.log")"
ok "trace of a connection that opens"

# capture: tcpdump reads it; names, both directions, both sides of the translation
stop_bg capture INT
[ "$STOP_RC" = 0 ] || fail "capture ended with $STOP_RC"
wait "${SL_PID[one]}" || fail "capture max 2 does not end"
unset "SL_PID[one]"
lines() { tcpdump -nr "$1" "${@:2}" 2>/dev/null | wc -l; }
[ "$(lines "$TMP/up1.pcapng")" = 2 ] || fail "capture max 2 has $(lines "$TMP/up1.pcapng") frames"
[ "$(lines "$TMP/up1.pcapng" src 198.51.100.2)" = 2 ] || fail "the filter did not hold"
[ "$(lines "$TMP/all.pcapng" src 10.1.0.10 and dst 198.51.100.2)" -gt 3 ] || fail "the container's frames are missing"
[ "$(lines "$TMP/all.pcapng" src 198.51.100.1 and dst 198.51.100.2)" -gt 3 ] || fail "translated frames are missing"
[ "$(lines "$TMP/all.pcapng" src 198.51.100.2 and dst 10.1.0.10)" -gt 3 ] || fail "answers are missing"
for name in gate up1; do
	grep -q "$name" "$TMP/all.pcapng" || fail "the name of interface $name is missing"
done
ok "capture"

# replayed packets: by which record; the words of a person
ns c1 timeout 20 curl -s --limit-rate 200K -o /dev/null http://198.51.100.2/blob &
load=$!
need "ctl -j show ct dport=80 | jq -e 'any(.[]; .state == \"established\")'" 5 "a connection"
ctl trace 2 src=198.51.100.2 port=up1 >"$TMP/replayed" || fail "trace"
grep -q '^replayed    by record [0-9]' "$TMP/replayed" || fail "no replay: $(cat "$TMP/replayed")"
grep -q '^out         port gate: eth .* ip 198.51.100.2 > 10.1.0.10' "$TMP/replayed" || fail "nothing left: $(cat "$TMP/replayed")"
[ "$(grep -c '^verdict     forwarded' "$TMP/replayed")" = 2 ] || fail "verdicts: $(cat "$TMP/replayed")"
kill $load
ok "trace of packets that are replayed"

# clients that sleep or die hold up nobody, and hear what they missed
observers asleep capture "$TMP/asleep.pcapng"
observers dead monitor flows
need "[ -s $TMP/asleep.pcapng ]" 5 "the capture began"
kill -STOP "${SL_PID[asleep]}"
kill -STOP "${SL_PID[dead]}"
fetch c1 198.51.100.2
stop_bg dead KILL
ctl show version >/dev/null
kill -CONT "${SL_PID[asleep]}"
stop_bg asleep INT
[ "$(lines "$TMP/asleep.pcapng")" -gt 100 ] || fail "the sleeper got nothing"
ok "a client that sleeps or dies holds up nobody"

# refusals
for words in "trace 5 reason=133" "monitor drops reason=7777" "capture $TMP/x src=nonsense" "monitor flows port=up1" "trace 5 port=up9"; do
	# shellcheck disable=SC2086 # words
	! ctl $words >"$TMP/refused" 2>&1 || fail "accepted: $words"
	grep -q '^filter:' "$TMP/refused" || fail "$words: $(cat "$TMP/refused")"
done
# of nine at once the last one is refused
for i in 1 2 3 4 5 6 7 8; do observers "many$i" monitor drops; done
! ctl monitor drops max 1 >"$TMP/refused" 2>&1 || fail "a ninth observer"
grep -q 'are observing already' "$TMP/refused" || fail "a ninth observer: $(cat "$TMP/refused")"
for i in 1 2 3 4 5 6 7 8; do stop_bg "many$i" INT; done
balance_check
pass
