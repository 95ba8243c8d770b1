#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Identity mode on the wire, as Cilium speaks it: VNI = identity of the source, UDP 8472, against a Linux VXLAN device with
# external keys; over an IPv6 underlay as well. Policy by the identity that came with the VNI.
# workers: 2
. "$(dirname "$0")/_env.sh"

# underlay LOCAL REMOTE VTEP-NODE: node with a VXLAN device that takes any VNI and answers with 2001
scenario() {
	local vtep=$1 node=$2 fam=$3
	nsip node link add vxe type vxlan external dstport 8472 nolearning
	nsip node link set vxe address 02:00:00:00:20:01 mtu 1430 up
	addr node vxe 10.3.9.2/24 fd03:9::2/64
	# replies: identity 2001 in the VNI, the gateway as the only inner neighbour
	nsip node neigh replace 10.3.9.1 lladdr 02:e9:00:00:00:01 dev vxe nud permanent
	nsip node -6 neigh replace fd03:9::1 lladdr 02:e9:00:00:00:01 dev vxe nud permanent
	nsip node route replace 10.1.0.0/24 encap "$fam" id 2001 dst "$vtep" via 10.3.9.1 dev vxe onlink
	nsip node -6 route replace fd01::/64 encap "$fam" id 2001 dst "$vtep" via fd03:9::1 dev vxe onlink
	{
		echo "add port up0 device up0"
		echo "add vtep $vtep port 8472 vni-mode identity"
		echo "add endpoint 10 device lxc1 ipv4 10.1.0.10 ipv6 fd01::10 identity 1001"
		echo "add endpoint 11 device lxc2 ipv4 10.1.0.11 ipv6 fd01::11 identity 1002"
		echo "add ipcache 10.2.0.0/24 identity 2001 remote $node"
		echo "add ipcache fd02::/64 identity 2001 remote $node"
		echo "add tunnel 10.2.0.0/24 remote $node mac 02:00:00:00:20:01"
		echo "add tunnel fd02::/64 remote $node mac 02:00:00:00:20:01"
		echo "add policy endpoint 11 ingress allow identity 3333"
	} >"$TMP/conf"
	sluiced_start "$TMP/conf"
	ping_ok c1 10.2.0.7
	ping_ok c1 fd02::7
	ping_ok rc 10.1.0.10
	ping_ok rc fd01::10
	fetch c1 10.2.0.7
	fetch c1 '[fd02::7]'
	# rc comes as identity 2001; c2 wants 3333
	ping_no rc 10.1.0.11
	[ "$(dropped_for 133)" -gt 0 ] || fail "the refusal is not counted"
	ctl set policy mode never
	ping_ok rc 10.1.0.11
	# host must not come from the wire: 171
	nsip node route replace 10.1.0.0/24 encap "$fam" id 1 dst "$vtep" via 10.3.9.1 dev vxe onlink
	ping_no rc 10.1.0.10
	[ "$(dropped_for 171)" -gt 0 ] || fail "identity 1 from the wire is not counted as 171"
	balance_check
	sluiced_stop TERM
	nsip node link del vxe
	ok "identity mode over $fam"
}
topo_gateway
web_start rc
nsip node link del vx0
scenario 192.0.2.1 192.0.2.2 ip
scenario 2001:db8:1::1 2001:db8:1::2 ip6
pass
