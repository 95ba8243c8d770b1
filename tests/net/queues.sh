#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Uplinks with several receive queues: all are served, whichever worker owns them; frames change hands between workers.
. "$(dirname "$0")/_env.sh"

export QUEUES=2
topo_gateway
web_start out
{
	topo_gateway_conf
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
