#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# 'make demo': sluice as the gateway between two containers, a Linux VXLAN node and an outside web server, in namespaces of
# their own. Every line after a prompt was run as printed; each is checked, the first surprise ends it with exit code 1.
# DEMO_SHELL=1 ends in a shell inside. WORKERS=2 for two workers.
. "$(dirname "$0")/_env.sh"

bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
DEMO_START=$SECONDS
title() { printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$@"; }
typed() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }
good() { printf '   ok: %s\n' "$*"; }
indent() { sed 's/^/   /'; }
# gw WORDS...: a command of the operator of the gateway
gw() {
	local w words=
	for w; do
		[[ $w != *[\ \>\|]* ]] || w="\"$w\""
		words+=" $w"
	done
	typed "gw\$ sluicectl$words"
	ctl "$@" | tee "$TMP/gw" | indent
}
# says WORD: the last answer to gw has it
says() { grep -qF "$1" "$TMP/gw" || fail "the answer lacks '$1'"; }
url() { case $1 in *:*) echo "http://[$1]/$2" ;; *) echo "http://$1/$2" ;; esac }

# demo_ping NS ADDRESS
demo_ping() {
	typed "$1\$ ping -c 3 $2"
	# The interval keeps the demo short
	ns "$1" ping -c 3 -i 0.2 -W 2 "$2" >"$TMP/ping" 2>&1 || {
		cat "$TMP/ping" >&2
		fail "ping $1 -> $2"
	}
	grep -E '^rtt|transmitted' "$TMP/ping" | indent
}
# demo_get NS ADDRESS: the blob, compared with its origin
demo_get() {
	local u got
	u=$(url "$2" blob)
	typed "$1\$ curl $u | sha256sum"
	# shellcheck disable=SC2016 # curl's own format
	got=$(ns "$1" curl -sS -g -f --speed-limit 1 --speed-time 5 -w '%{stderr}%{size_download} bytes in %{time_total} s\n' "$u" 2>"$TMP/curl" | sha256sum) || {
		cat "$TMP/curl" >&2
		fail "curl $1 -> $u"
	}
	[ "$got" = "$WEB_SUM" ] || fail "curl $1 -> $u: the content differs: $got instead of $WEB_SUM"
	printf '   %s, sha256 %.16s..., the same as on the server\n' "$(cat "$TMP/curl")" "$got"
}
demo_path() {
	demo_ping "$1" "$2"
	demo_get "$1" "$2"
}
# demo_open NS ADDRESS: a small page arrives
demo_open() {
	local u
	u=$(url "$2" '')
	typed "$1\$ curl $u"
	ns "$1" curl -sS -g -f -m 5 "$u" | grep -x hello | indent || fail "curl $1 -> $u"
}
# demo_refused REASON-NUMBER NS ADDRESS: no answer, counted as that kind of refusal and not as the other
policy_drops() { field drops packets "(.number == 133 or .number == 181) and .number != $1"; }
demo_refused() {
	local u rc=0 before after others
	u=$(url "$3" '')
	before=$(dropped_for "$1") others=$(policy_drops "$1")
	typed "$2\$ curl --connect-timeout 1 $u"
	ns "$2" curl -sS -g --connect-timeout 1 -o /dev/null "$u" >"$TMP/curl" 2>&1 || rc=$?
	indent <"$TMP/curl"
	[ $rc = 28 ] || fail "curl $2 -> $u: exit code $rc, a refusal gives 28 (no answer)"
	after=$(dropped_for "$1")
	[ "$after" -gt "$before" ] || fail "$2 -> $3 refused, but reason $1 did not count"
	[ "$(policy_drops "$1")" = "$others" ] || fail "$2 -> $3 counted under the other policy reason too"
	good "refused; $((after - before)) more dropped for reason $1"
}

# ---- the cut of established downloads ----

# slow_start NS ADDRESS: a download of 4 MB/s; it gives up when nothing came for two seconds
slow_start() {
	typed "$1\$ curl --limit-rate 4M --speed-time 2 -O $(url "$2" blob) &"
	start_bg_ns "$1" "slow.$1.$2" curl -sS -g -f --limit-rate 4M --speed-limit 1 --speed-time 2 \
		-w '%{size_download}' -o "$TMP/slow.$1.$2" "$(url "$2" blob)"
}
slow_size() { stat -c %s "$TMP/slow.$1.$2" 2>/dev/null || echo 0; }
# slow_cut NS ADDRESS: it ended by itself, with less than everything
slow_cut() {
	local rc=0 name=slow.$1.$2
	need "! running $name" 15 "the download $1 -> $2 stops"
	wait "${SL_PID[$name]}" || rc=$?
	unset "SL_PID[$name]"
	[ $rc = 28 ] || fail "the download $1 -> $2 ended with $rc, not with 28 (no more data): $(tail -n 1 "$LOG/$name.log")"
	[ "$(slow_size "$1" "$2")" -lt 104857600 ] || fail "the download $1 -> $2 was complete"
	good "$1 -> $2 cut after $(slow_size "$1" "$2") of 104857600 bytes"
	rm -f "$TMP/$name"
}

say "sluice joins containers, a remote VXLAN node and the outside. All of it is built now, in network namespaces:" '' \
	'  c1 10.1.0.10 fd01::10 ---+      +--- up0 -- VXLAN -- node (Linux kernel) ---- rc 10.2.0.7 fd02::7' \
	'                           +- gw -+' \
	'  c2 10.1.0.11 fd01::11 ---+      +--- up1 ----------- out 198.51.100.2 2001:db8:2::2' '' \
	'gw runs sluiced; c2, rc and out serve 100 MB of random bytes with nginx. All device offloads are at their defaults.'
topo_gateway
for n in c2 rc out; do web_start $n 100; done
title "The gateway's configuration, and its start"
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
} >"$TMP/demo.conf"
typed "gw\$ sluiced -c demo.conf &"
sluiced_start "$TMP/demo.conf"
indent <"$LOG/sluice.conf"
gw show version
gw show ports

title "1. Container to container"
demo_path c1 10.1.0.11
demo_path c1 fd01::11

title "2. Container to a remote container over VXLAN, and back"
demo_path c1 10.2.0.7
demo_path c1 fd02::7
demo_path rc 10.1.0.11
demo_path rc fd01::11

title "3. Container to the outside, masqueraded"
say "out has no route to 10.1.0.0/24 or fd01::/64: it sees the gateway's addresses."
demo_path c1 198.51.100.2
demo_path c1 2001:db8:2::2

title "What the gateway knows about these connections"
gw show ct proto=tcp
gw show nat
# c1 by each path, rc's own, in both families; and the two translated ones name the gateway's address
for t in 10.1.0.10,10.1.0.11 10.1.0.10,10.2.0.7 10.2.0.7,10.1.0.11 10.1.0.10,198.51.100.2 \
	fd01::10,fd01::11 fd01::10,fd02::7 fd02::7,fd01::11 fd01::10,2001:db8:2::2; do
	[ "$(field ct reply_bytes ".proto == \"tcp\" and .src == \"${t%,*}\" and .dst == \"${t#*,}\"")" -gt 104857600 ] ||
		fail "show ct lacks ${t/,/ -> } with its 100 MB"
done
for t in 10.1.0.10,198.51.100.1 fd01::10,2001:db8:2::1; do
	[ "$(field nat connections ".proto == \"tcp\" and .inside == \"${t%,*}\" and .outside == \"${t#*,}\"")" -ge 1 ] ||
		fail "show nat lacks ${t/,/ as }"
	ctl -j show ct | jq -e --arg o "${t#*,}" 'any(.proto == "tcp" and .reply_dst == $o)' >/dev/null || fail "show ct lacks reply_dst ${t#*,}"
done
good "eight downloads of 100 MB in show ct, the two outside ones in show nat"

say "What would a packet meet? No traffic is needed to ask:"
gw explain packet "ip 10.1.0.10 > 198.51.100.2 | tcp 40000 > 80 S" from endpoint 10
says "pool 198.51.100.1"
gw explain packet "ip fd01::10 > fd02::7 | udp 40000 > 53" from endpoint 10

title "Policy: no rule, no restriction; the first rule of a direction closes the rest of it"
say "c2 (endpoint 11) takes web requests from the remote node's containers (identity 2001) only: c1 has no rule, reason 133."
gw add policy endpoint 11 ingress allow identity 2001 tcp port 80 name web-for-remote
demo_refused 133 c1 10.1.0.11
demo_refused 133 c1 fd01::11
demo_open rc 10.1.0.11
demo_open rc fd01::11
say "The other way round: from c1 (identity 1001) only."
gw del policy endpoint 11 ingress allow identity 2001 tcp port 80
gw add policy endpoint 11 ingress allow identity 1001 tcp port 80 name web-for-c1
demo_refused 133 rc 10.1.0.11
demo_refused 133 rc fd01::11
demo_open c1 10.1.0.11
demo_open c1 fd01::11
gw del policy endpoint 11 ingress allow identity 1001 tcp port 80
say "c1 (endpoint 10) may reach anything but the remote containers and the outside net. A deny rule refuses: reason 181."
gw add policy endpoint 10 egress allow any name all
gw add policy endpoint 10 egress deny identity 2001 tcp port 80 name not-remote
demo_refused 181 c1 10.2.0.7
demo_refused 181 c1 fd02::7
gw add policy endpoint 10 egress deny cidr 198.51.100.0/24 name not-out4
gw add policy endpoint 10 egress deny cidr 2001:db8:2::/64 name not-out6
demo_refused 181 c1 198.51.100.2
demo_refused 181 c1 2001:db8:2::2
demo_open c1 10.1.0.11
demo_open c1 fd01::11
gw show policy
gw show drops
say "The same question without a packet: each step of the decision, and why."
gw explain packet "ip 10.1.0.10 > 10.2.0.7 | tcp 40000 > 80 S" from endpoint 10
says "(181)"
gw explain packet "ip fd01::10 > fd01::11 | tcp 40000 > 80 S" from endpoint 10
says forwarded
gw del policy endpoint 10 egress deny identity 2001 tcp port 80
gw del policy endpoint 10 egress deny cidr 198.51.100.0/24
gw del policy endpoint 10 egress deny cidr 2001:db8:2::/64
gw del policy endpoint 10 egress allow any
demo_open c1 10.2.0.7
demo_open c1 fd02::7
demo_open c1 198.51.100.2
demo_open c1 2001:db8:2::2

title "An allow rule is removed while its downloads run"
cut_rules=("identity 1002 tcp port 80" "identity 2001 tcp port 80" "identity 2 tcp port 80")
cut_hosts=(10.1.0.11 fd01::11 10.2.0.7 fd02::7 198.51.100.2 2001:db8:2::2)
# shellcheck disable=SC2086 # a rule is several words
for r in "${cut_rules[@]}"; do gw add policy endpoint 10 egress allow $r; done
for h in "${cut_hosts[@]}"; do slow_start c1 "$h"; done
for h in "${cut_hosts[@]}"; do need "[ \$(slow_size c1 $h) -gt 2000000 ]" 10 "the download c1 -> $h runs"; done
good "six downloads run"
refused=$(dropped_for 133)
gw show drops number=133
# One rule stays, so that egress remains closed to what no rule allows
gw add policy endpoint 10 egress allow identity 1002 icmp name something-else
# shellcheck disable=SC2086
for r in "${cut_rules[@]}"; do gw del policy endpoint 10 egress allow $r; done
for h in "${cut_hosts[@]}"; do slow_cut c1 "$h"; done
gw show drops number=133
[ "$(dropped_for 133)" -ge $((refused + 6)) ] || fail "drops of reason 133: $refused before, $(dropped_for 133) after six downloads were cut"
good "$(($(dropped_for 133) - refused)) more dropped for reason 133"
say "With the rules back, new connections pass:"
# shellcheck disable=SC2086
for r in "${cut_rules[@]}"; do gw add policy endpoint 10 egress allow $r; done
for h in "${cut_hosts[@]}"; do demo_open c1 "$h"; done

title "The books balance: in = out + drops + held"
gw show ports
gw show drops
wait_until balance_holds 5 || fail "in != out + drops + held"
good "every frame is accounted for"

if [ -n "${DEMO_SHELL:-}" ]; then
	title "All rules go, then it is yours"
	# shellcheck disable=SC2086
	for r in "${cut_rules[@]}" "identity 1002 icmp"; do gw del policy endpoint 10 egress allow $r; done
	title "A shell inside: 'ctl show ct', 'ns c1 ping 10.2.0.7'; 'exit' ends the demo"
	export B SOCK P
	export -f ctl ns
	bash --norc -i || true
fi

title "The end: sluiced stops and takes everything along"
sluiced_stop TERM
[ "$STOP_RC" = 0 ] || fail "sluiced ended with $STOP_RC"
for d in sluice_host sluice_net; do
	! nsip gw link show $d >/dev/null 2>&1 || fail "$d is left"
done
! nsip gw link show | grep -q xdp || fail "an XDP program is left"
[ -z "$(ns gw tc filter show dev lxc1 ingress)" ] || fail "a tc filter is left on lxc1"
left=$(find /sys/fs/bpf/sluice /dev/shm /run/sluice -mindepth 1 -path "$TMP" -prune -o -print 2>/dev/null || :)
[ -z "$left" ] || fail "left behind: $left"
good "no gate, no program, no pin, no table file"
printf '\nAll of it worked, in %d s.\n' $((SECONDS - DEMO_START))
pass
