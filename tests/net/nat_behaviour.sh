#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a probe that others wrote (RFC 5780, coturn's) finds of the NAT, for each option of a pool that promises a behaviour.
#
#   c1 eth0 10.1.0.10 ---- lxc1 |    | up1 198.51.100.1, pool     ---- eth0 out 198.51.100.2, .3: a STUN server on ports
#   c2 eth0 10.1.0.11 ---- lxc2 | gw |     198.51.100.4, 2nd pool                3478 and 3479 of both addresses
# workers: 2
. "$(dirname "$0")/_env.sh"

topo_gateway
nsip out addr add 198.51.100.3/24 dev eth0
topo_gateway_conf >"$TMP/conf"
sluiced_start "$TMP/conf"
start_bg_ns out stun turnserver -n --stun-only --no-cli --no-tls --no-dtls --no-tcp --log-file stdout \
	--pidfile "$TMP/stun.pid" -L 198.51.100.2 -L 198.51.100.3 -p 3478 --alt-listening-port 3479
for port in 3478 3479; do
	need "[ \$(ns out ss -Hlun 'sport = :$port' | grep -c 198.51.100) -ge 2 ]" 10 "STUN server on port $port"
done

declare -A MAPPING=([eim]='Endpoint Independent' [apdm]='Address and Port Dependent')
declare -A FILTER=([eif]='Endpoint Independent' [adf]='Address Dependent' [apdf]='Address and Port Dependent')
# probe CONTAINER MAPPING FILTER: what it finds is what was promised
probe() {
	local f=$TMP/probe.$1
	ns "$1" timeout 40 turnutils_natdiscovery -m -f 198.51.100.2 >"$f" 2>&1 || fail "$2 $3: $(tail -n 3 "$f")"
	grep -qx "NAT with ${MAPPING[$2]} Mapping!" "$f" || fail "mapping is not $2: $(grep ^NAT "$f")"
	grep -qx "NAT with ${FILTER[$3]} Filtering!" "$f" || fail "filter is not $3: $(grep ^NAT "$f")"
	ok "$2 $3: $(grep ^NAT "$f" | tr '\n' ' ')"
}
# pair MAPPING FILTER MAPPING FILTER: of c1's pool and of c2's, at the same time: the probe waits for what must not come
pair() {
	local other
	ctl add nat pool 198.51.100.1 port up1 source 10.1.0.10/32 mapping "$1" filter "$2"
	ctl add nat pool 198.51.100.4 port up1 source 10.1.0.11/32 mapping "$3" filter "$4"
	probe c1 "$1" "$2" &
	other=$!
	probe c2 "$3" "$4"
	wait $other
	ctl del nat pool 198.51.100.1
	ctl del nat pool 198.51.100.4
	ctl clear ct
}
pair eim eif eim apdf
pair eim adf apdm apdf

# static: both ways, and the probe finds ports that stay
ctl add nat pool 198.51.100.7 static 10.1.0.10
ns out ping -q -c 3 -i 0.2 -W 2 198.51.100.7 >"$TMP/ping" || fail "ping from outside: $(tail -n 3 "$TMP/ping")"
probe c1 eim eif
ctl del nat pool 198.51.100.7
ctl clear ct
ok "static: ping from outside"

# hairpin: the probe sends to its own outside address, by another port
ctl add nat pool 198.51.100.1 port up1 filter eif
ns c1 timeout 40 turnutils_natdiscovery -H 198.51.100.2 >"$TMP/probe" 2>&1 || fail "hairpin: $(tail -n 3 "$TMP/probe")"
grep -q '^Received a request (maybe a successful hairpinning)' "$TMP/probe" || fail "no hairpin: $(tail -n 3 "$TMP/probe")"
ok "hairpin: $(tail -n 1 "$TMP/probe")"
pass
