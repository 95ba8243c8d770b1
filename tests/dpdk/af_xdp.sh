#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# An uplink by DPDK's own AF_XDP driver, which takes the device away from the kernel: its addresses, one of which is the pool's,
# lie on the face.
. "$(dirname "$0")/../net/_env.sh"

topo_gateway
nsip gw addr flush dev up0
# frames of one descriptor, with finished checksums inside segments: no segmentation offload at the sender
ns node ethtool -K eth0 tx off tso off gso off >/dev/null
web_start node
cat >"$TMP/conf" <<-CONF
	set dpdk eal-args "--no-huge --no-shconf -m 256"
	add port up0 dpdk net_af_xdp0,iface=up0 tap face0
	add endpoint 10 device lxc1 ipv4 10.1.0.10 ipv6 fd01::10 identity 1001
	add nat pool 192.0.2.1 port up0
	add nat pool 2001:db8:1::1 port up0
CONF
sluiced_start "$TMP/conf"
addr gw face0 192.0.2.1/24 2001:db8:1::1/64
for a in 192.0.2.2 2001:db8:1::2; do
	ping_ok gw $a
	ping_ok c1 $a
done
ping_ok node 192.0.2.1
fetch c1 192.0.2.2
fetch c1 '[2001:db8:1::2]'
# both find their ways by one address: the kernel's ports and the engine's
for h in c1 gw; do fetch $h 192.0.2.2; done
balance_check
pass
