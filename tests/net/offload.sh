#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Kernel replay: hot connections leave the engine and come back the moment something changes. Containers, SNAT, VXLAN, uplink to
# uplink; counts, checksums, a full table, live changes under traffic, kill -9. Rates are printed, never judged.
# One worker is enough: hot connections are found and exported by the control thread.
# workers: 1
. "$(dirname "$0")/_env.sh"

topo_gateway
{
	topo_gateway_conf | sed 's/^add port .*/& transit on/'
	echo "add nat pool 198.51.100.1 port up1"
	echo "add nat pool 2001:db8:2::1 port up1"
	echo "add vtep 2001:db8:1::1 port 4790 vni-mode network"
	echo "add tunnel 10.6.0.0/24 remote 2001:db8:1::2 vni 301 via 10.6.0.2"
	echo "add ipcache 10.6.0.0/24 identity 2006 remote 2001:db8:1::2"
	echo "add vtep 2001:db8:1::1 vni-mode network"
	echo "add tunnel 10.7.0.0/24 remote 2001:db8:1::2 port 4789 vni 302 via 10.7.0.2"
	echo "${OFFLOAD_CONF:-}"
} >"$TMP/conf"
# node and out reach each other through the box; frames that XDP redirects to a veth need NAPI behind it
nsip node route add 198.51.100.0/24 via 192.0.2.1
nsip out route add 192.0.2.0/24 via 198.51.100.1
# a second tunnel to node: over IPv6, to another port
nsip node link add vx6 type vxlan id 301 dstport 4790 local 2001:db8:1::2 remote 2001:db8:1::1 nolearning
nsip node link set vx6 mtu 1430 up
addr node vx6 10.6.0.2/24
nsip node route add 198.51.100.9 via 10.6.0.1
nsip node neigh add 10.6.0.1 lladdr 02:e9:00:00:00:01 dev vx6
# and a third, to sluice_vxlan's port; by it go answers to what came by it
nsip node link add vx7 type vxlan id 302 dstport 4789 local 2001:db8:1::2 remote 2001:db8:1::1 nolearning
nsip node link set vx7 mtu 1430 up
addr node vx7 10.7.0.2/24
nsip node neigh add 10.7.0.1 lladdr 02:e9:00:00:00:01 dev vx7
nsip node route add 10.1.0.0/24 via 10.7.0.1 table 7
nsip node rule add from 10.7.0.2 table 7
addr out eth0 198.51.100.9/32
nsip out route add 10.6.0.0/24 via 198.51.100.1 src 198.51.100.9
ns node ethtool -K eth0 gro on
ns out ethtool -K eth0 gro on
sluiced_start "$TMP/conf"

# offloaded A B WHERE: a TCP connection between the two with 'offload' WHERE. One that is picked up may be B's as well.
offloaded() {
	ctl -j show ct proto=tcp state=established | jq -e --arg a "$1" --arg b "$2" --arg w "$3" \
		'map(select(((.src == $a and .dst == $b) or (.src == $b and .dst == $a)) and
		.offload == $w and .packets + .reply_packets > 1000)) | length > 0'
}
kernel_packets() { ctl -j show offload | jq -r '.[] | select(.name == "'"$1"'") | .value'; }
rx_bytes() { nsip "$1" -j -s link show dev "$2" | jq '.[0].stats64.rx.bytes'; }
tx_bytes() { nsip "$1" -j -s link show dev "$2" | jq '.[0].stats64.tx.bytes'; }
# The device grows by less than 20 kB in 0.1 s: what still comes are retries.
stalled() {
	local a b
	a=$(rx_bytes "$1" "$2")
	sleep 0.1
	b=$(rx_bytes "$1" "$2")
	[ $((b - a)) -lt 20000 ]
}
# stream NAME NS HOST [OPTION...]: an iperf3 client in the background
stream() {
	local n=$1 netns=$2 h=$3
	shift 3
	start_bg_ns "$netns" "$n" iperf3 -c "$h" -t 60 "$@"
}
# When the device's last kilobyte in a millisecond came (time of day, ns); looks until it is ended.
cat >"$TMP/last.py" <<-'PY'
	import signal, sys, time
	now = last = 0
	def end(*_):
	    print(last)
	    sys.exit()
	def received():
	    f.seek(0)
	    return next(int(line.split(":")[1].split()[0]) for line in f if line.strip().startswith(sys.argv[1] + ":"))
	f = open("/proc/self/net/dev")
	signal.signal(signal.SIGTERM, end)
	print("looks", flush=True)
	seen = received()
	while True:
	    time.sleep(0.001)
	    now = received()
	    if now - seen > 1000:
	        last = time.time_ns()
	    seen = now
PY
# cut SECONDS NS DEVICE WHAT COMMAND...: the command stops the stream that the device receives; says how soon, from its begin
cut() {
	local limit=$1 netns=$2 dev=$3 what=$4 start last
	shift 4
	start_bg_ns "$netns" last python3 "$TMP/last.py" "$dev"
	need "grep -q looks $LOG/last.log" 5 "a look at $dev"
	start=$(date +%s%N)
	"$@"
	need "stalled $netns $dev" "$limit" "$what stops the stream"
	stop_bg last
	last=$(tail -n 1 "$LOG/last.log")
	rm "$LOG/last.log"
	ok "$what: last packet $(((last - start) / 1000000)) ms after the command was given"
}
# check_path NS HOST SRC DST WHERE WHAT [OPTION...]
check_path() {
	local netns=$1 host=$2 src=$3 dst=$4 where=$5 what=$6
	shift 6
	start_bg_ns "$netns" path iperf3 -J -c "$host" -t 3 "$@"
	need "offloaded $src $dst $where" 3 "$what becomes 'offload $where'"
	wait_until "! running path" 10 || fail "$what: iperf3 does not end"
	ok "$what: offload $where, $(jq '(.end.sum_received // .end.sum).bits_per_second / 1e6 | floor' "$LOG/path.log") Mbit/s"
	unset "SL_PID[path]"
	rm -f "$LOG/path.log"
}
no_bad_checksums() {
	local n bad
	for n in c1 c2 rc node out; do
		bad=$(ns $n nstat -asz TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors | awk '/Csum/ { s += $2 } END { print s + 0 }')
		[ "$bad" = 0 ] || fail "$n counts $bad bad checksums"
	done
	ok "no bad checksum anywhere"
}

for n in c2 rc out c1 node; do iperf_server $n; done

has_gro() { ns gw ethtool -k "$1" | grep -q '^generic-receive-offload: on'; }
shows_gro() { ctl -j show ports name="$1" | jq -e '.[0].gro' >/dev/null; }

# ---- the hooks ----
hook() { ns gw tc filter show dev "$1" "$2" | grep -qF "[$3]" || fail "no [$3] on $1 $2"; }
need "nsip gw link show sluice_vxlan" 5 "sluice_vxlan"
hook lxc1 ingress from-container
hook lxc1 egress to-container
hook sluice_host ingress to-host
hook sluice_net ingress to-host
hook sluice_host egress from-host
need "ns gw tc filter show dev sluice_vxlan ingress | grep -qF '[from-overlay]'" 5 "[from-overlay]"
hook sluice_vxlan egress to-overlay
need "ns gw tc filter show dev up0 ingress | grep -qF '[from-netdev]'" 5 "[from-netdev] on up0"
need "ns gw tc filter show dev up1 ingress | grep -qF '[from-netdev]'" 5 "[from-netdev] on up1"
[ -n "${OFFLOAD_ONLY:-}" ] || ok "hooks"
# GRO of an uplink is ours from the first look on, unless we are to keep it as it was
need "has_gro up0 && has_gro up1 && shows_gro up1" 5 "GRO on both uplinks"
ctl set port up0 gro keep
need "! has_gro up0 && ! shows_gro up0" 5 "GRO of up0 as it was"
has_gro up1 || fail "GRO of up1 went with that of up0"

# ---- every path, both ways and families ----
ctl set offload off
iperf c1 10.1.0.11 -t 1
ctl -j show ct proto=tcp | jq -e 'all(.offload == "off")' >/dev/null || fail "show ct does not say off"
ctl set offload on
check_path c1 10.1.0.11 10.1.0.10 10.1.0.11 tc "container to container"
check_path c1 fd01::11 fd01::10 fd01::11 tc "container to container, IPv6"
check_path c1 198.51.100.2 10.1.0.10 198.51.100.2 tc "container to outside by SNAT"
check_path c1 198.51.100.2 10.1.0.10 198.51.100.2 tc "outside to container by SNAT" -R
check_path c1 2001:db8:2::2 fd01::10 2001:db8:2::2 tc "outside to container by SNAT, IPv6" -R
check_path c1 10.2.0.7 10.1.0.10 10.2.0.7 tc "container to VXLAN peer"
check_path c1 10.2.0.7 10.1.0.10 10.2.0.7 tc "VXLAN peer to container" -R
check_path c1 fd02::7 fd01::10 fd02::7 tc "container to VXLAN peer, IPv6"
# the kernel's VXLAN device puts on what goes over IPv6
before=$(tx_bytes gw sluice_vxlan)
check_path c1 10.7.0.2 10.1.0.10 10.7.0.2 tc "container to VXLAN peer over IPv6"
[ $(($(tx_bytes gw sluice_vxlan) - before)) -gt 10000000 ] || fail "sluice_vxlan has sent nothing"
check_path c1 10.7.0.2 10.1.0.10 10.7.0.2 tc "VXLAN peer over IPv6 to container" -R
# with GRO on the uplink XDP takes VXLAN off, sluice_vxlan sees nothing; looked at once a second
ctl set port up0 gro auto
stripped() {
	local before
	before=$(rx_bytes gw sluice_vxlan)
	ns c1 iperf3 -c 10.2.0.7 -t 1 -R >/dev/null || fail "iperf3 -R"
	[ "$(rx_bytes gw sluice_vxlan)" = "$before" ]
}
need stripped 10 "VXLAN is taken off by XDP"
check_path c1 10.2.0.7 10.1.0.10 10.2.0.7 tc "VXLAN peer to container, GRO on the uplink" -R
check_path c1 fd02::7 fd01::10 fd02::7 tc "VXLAN peer to container, IPv6, GRO on the uplink" -R
# what the operator turns off stays off
ns gw ethtool -K up0 gro off
need "! shows_gro up0" 5 "show ports says that GRO is off"
check_path c1 10.2.0.7 10.1.0.10 10.2.0.7 tc "VXLAN peer to container, GRO turned off by hand" -R
has_gro up0 && fail "GRO was turned on against the operator"
check_path c1 10.1.0.11 10.1.0.10 10.1.0.11 tc "container to container, large UDP frames" -b 2G
# veths carry unfinished checksums, which XDP leaves to others
ns node ethtool -K eth0 tx off >/dev/null
ns out ethtool -K eth0 tx off >/dev/null
before=$(kernel_packets xdp)
check_path node 198.51.100.2 192.0.2.2 198.51.100.2 xdp "uplink to uplink"
[ "$(kernel_packets xdp)" -gt $((before + 1000)) ] || fail "XDP has forwarded nothing"
before=$(kernel_packets xdp)
check_path out 10.6.0.2 198.51.100.9 10.6.0.2 xdp "uplink to VXLAN peer over IPv6" -B 198.51.100.9
[ "$(kernel_packets xdp)" -gt $((before + 1000)) ] || fail "XDP has put nothing into the IPv6 tunnel"
check_path out 10.6.0.2 198.51.100.9 10.6.0.2 xdp "VXLAN peer over IPv6 to uplink" -B 198.51.100.9 -R
# the device cannot cut tunnelled frames, nor finish checksums: software does it behind our rewrite
ns gw ethtool -K up0 tx off tso off tx-udp_tnl-segmentation off >/dev/null
check_path c1 10.2.0.7 10.1.0.10 10.2.0.7 tc "container to VXLAN peer, offloads off"
check_path c1 10.7.0.2 10.1.0.10 10.7.0.2 tc "container to VXLAN peer over IPv6, offloads off"
ns gw ethtool -K up0 tx on tso on tx-udp_tnl-segmentation on >/dev/null
no_bad_checksums

# ---- counts ----
web_start c2 200
# what c2 sent twice was forwarded and counted twice
# shellcheck disable=SC2016
retransmitted() { ns c2 awk '/^Tcp:/ { if (c) print $c; else for (i = 1; i <= NF; i++) if ($i == "RetransSegs") c = i }' /proc/net/snmp; }
again=$(retransmitted)
port=$(ns c1 curl -sS -f -m 60 -o /dev/null -w '%{local_port}' http://10.1.0.11/blob) || fail "curl"
row=$(ctl -j show ct sport="$port" dst=10.1.0.11 | jq -c '.[0]')
again=$(($(retransmitted) - again))
# segments of 1448 bytes with 52 of headers, and the HTTP header
jq -n -e --argjson r "$row" --argjson again "$again" '(200 * 1048576) as $sent | ($sent / 1448 + $again) as $segments |
	($segments * 1500) as $want |
	($r.reply_bytes / $want > 0.99) and ($r.reply_bytes / $want < 1.01) and
	($r.reply_packets / $segments > 0.99) and ($r.reply_packets / $segments < 1.01)' >/dev/null || fail "show ct: $row, $again segments again"
[ "$(kernel_packets packets)" -gt 100000 ] || fail "the kernel has counted nothing"
ok "counts: $(jq -c '[.reply_packets, .reply_bytes]' <<<"$row") for 200 MiB"
stop_bg nginx.c2

# ---- changes under traffic ----
stream rule c1 10.1.0.11
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded"
cut 2 c2 eth0 "a rule" ctl add policy endpoint 11 ingress deny identity 1001 name no-way
ctl del policy endpoint 11 ingress deny identity 1001
need "! stalled c2 eth0" 10 "the stream goes on"
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded again"
cut 2 c2 eth0 "an endpoint removed" ctl del endpoint 11
ctl add endpoint 11 device lxc2 ipv4 10.1.0.11 ipv6 fd01::11 identity 1002
need "! stalled c2 eth0" 15 "the stream goes on"
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded again"
ctl clear ct dst=10.1.0.11
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded again"
ok "a cleared connection comes back"
stop_bg rule

stream route c1 198.51.100.2
need "offloaded 10.1.0.10 198.51.100.2 tc" 5 "the stream is offloaded"
cut 2 out eth0 "a route moved" nsip gw route add blackhole 198.51.100.2/32
nsip gw route del blackhole 198.51.100.2/32
need "! stalled out eth0" 15 "the stream goes on"
stop_bg route

# by sluice_vxlan
stream tunnel c1 10.7.0.2
need "offloaded 10.1.0.10 10.7.0.2 tc" 5 "the stream is offloaded"
cut 2 node vx7 "a tunnel removed" ctl del tunnel 10.7.0.0/24
ctl add tunnel 10.7.0.0/24 remote 2001:db8:1::2 port 4789 vni 302 via 10.7.0.2
need "! stalled node vx7" 15 "the stream goes on"
need "offloaded 10.1.0.10 10.7.0.2 tc" 5 "the stream is offloaded again"
stop_bg tunnel

ctl add service 203.0.113.80:5201/tcp
ctl add backend 203.0.113.80:5201/tcp 10.1.0.11:5201
stream service c1 203.0.113.80
need "offloaded 10.1.0.10 203.0.113.80 tc" 5 "the stream through a service is offloaded"
cut 2 c2 eth0 "a backend removed" ctl del backend 203.0.113.80:5201/tcp 10.1.0.11:5201
need "! running service" 10 "its client is told"
unset "SL_PID[service]"
ctl del service 203.0.113.80:5201/tcp

stream veth c1 10.1.0.11
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded"
nsip gw link del lxc2
need "ctl -j show endpoints id=11 | jq -e '.[0].present == false'" 5 "endpoint 11 is seen to be gone"
veth_pair gw lxc2 c2 eth0
addr c2 eth0 10.1.0.11/24 fd01::11/64
nsip c2 route add default via 10.1.0.1
nsip c2 -6 route add default via fd01::1
need "ctl -j show endpoints id=11 | jq -e '.[0].present'" 5 "endpoint 11 is back"
need "! stalled c2 eth0" 20 "the stream goes on by the new veth"
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded again"
ok "veth deleted and made anew under traffic"
stop_bg veth
no_bad_checksums
balance_check

# ---- a dead engine ----
stream crash c1 10.1.0.11
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded"
killed() {
	sluiced_stop KILL
	! stalled c2 eth0 || fail "the stream ended with the engine"
}
cut 12 c2 eth0 "kill -9" killed
sluiced_restart
need "! stalled c2 eth0" 20 "the stream goes on after a restart"
need "offloaded 10.1.0.10 10.1.0.11 tc" 5 "the stream is offloaded again"
ok "a restart takes the stream over"
stop_bg crash
sluiced_stop TERM
[ "$STOP_RC" = 0 ] || fail "sluiced ended with $STOP_RC"
nsip gw link show sluice_vxlan >/dev/null 2>&1 && fail "a clean stop left sluice_vxlan"
[ -z "$(ns gw tc filter show dev up0 ingress)" ] || fail "a clean stop left a filter on up0"
has_gro up1 && fail "a clean stop left GRO on up1, which the process before had turned on"
[ -z "$(ls -A /sys/fs/bpf/sluice 2>/dev/null)" ] || fail "a clean stop left pins"

# ---- a small table, and a foreign VXLAN device on the port ----
nsip gw link add other type vxlan external dstport 4789
nsip gw link set other up
sed -i '1i set offload flows 16' "$LOG/sluice.conf"
ns gw ethtool -K up1 gro on
sluiced_restart
need "ctl -j show offload | jq -e '.[] | select(.name == \"overlay\") | .value | test(\"4789\")'" 5 "a reason for the overlay"
nsip gw link show sluice_vxlan >/dev/null 2>&1 && fail "a sluice_vxlan that is of no use"
ping_ok c1 10.2.0.7
stream many c1 10.1.0.11 -P 10 -b 20M
need "[ \$(kernel_packets connections) -ge 4 ]" 5 "some streams are offloaded"
need "ctl -j show ct dport=5201 proto=tcp | jq -e 'map(select(.state == \"established\" and .packets > 1000)) | length >= 10'" 10 \
	"all streams go on"
[ "$(kernel_packets connections)" -le 7 ] || fail "more in the kernel than its table holds"
ctl -j show ct dport=5201 proto=tcp | jq -e 'any(.offload == "full")' >/dev/null || fail "nobody is refused for want of room"
ok "a full table: $(kernel_packets connections) of 10 in the kernel, $(kernel_packets demoted) taken back"
stop_bg many
nsip gw link show other >/dev/null || fail "the foreign VXLAN device is gone"
sluiced_stop TERM
has_gro up1 || fail "GRO that was on before us is off"
pass
