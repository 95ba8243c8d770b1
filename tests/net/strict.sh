#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# 'ct tcp strict' between unmodified kernels: nothing of theirs is outside its window; resets and data by guessing are.
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
for n in out c2; do web_start $n; done
{
	echo "set ct tcp strict"
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/conf"
sluiced_start "$TMP/conf"

for h in 10.1.0.11 198.51.100.2 '[2001:db8:2::2]'; do
	fetch c1 "$h"
done
iperf_server rc
iperf_server out
for h in 10.2.0.7 198.51.100.2 2001:db8:2::2; do
	iperf c1 $h -t 1 -P 4
	iperf c1 $h -t 1 -R
done
[ "$(dropped_for 255)" = 0 ] || fail "$(dropped_for 255) honest segments were refused"
ok "nothing honest is refused"

# in the name of the server, in the middle of a stream
start_bg_ns c1 stream iperf3 -c 198.51.100.2 -t 4
conn='.proto == "tcp" and .dport == 5201 and .reply_packets > 20 and .state == "established"'
need "[ \"\$(ctl -j show ct | jq '[.[] | select($conn)] | length')\" -ge 1 ]" 5 "the stream is seen"
ctl -j show ct >"$TMP/ct"
[ "$(jq -r "[.[] | select($conn) | .offload] | unique | .[]" "$TMP/ct")" = strict ] || fail "offload does not say 'strict'"
# hping3 takes the stream for answers and ends early: at least one of each is sent
for port in $(jq -r ".[] | select($conn) | .reply_dport" "$TMP/ct"); do
	for seq in 1 1000000000 2000000000 3000000000; do
		ns out hping3 -q -c 5 -i u1000 -R -s 5201 -k -p "$port" -M $seq 198.51.100.1 >/dev/null 2>&1 || :
		ns out hping3 -q -c 5 -i u1000 -A -P -d 20 -s 5201 -k -p "$port" -M $seq -L 77 198.51.100.1 >/dev/null 2>&1 || :
	done
done
need "[ \"\$(dropped_for 255)\" -ge 8 ]" 5 "blind resets and data are dropped"
wait_until "! running stream" 10 || fail "the stream does not end"
grep -q 'iperf Done' "$LOG/stream.log" || fail "the stream broke: $(tail -n 2 "$LOG/stream.log")"
ok "the stream outlives them"
balance_check
pass
