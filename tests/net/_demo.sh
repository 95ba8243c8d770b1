#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# 'make demo': sluice as the gateway between two containers, a Linux VXLAN node and an outside web server, all in namespaces
# of their own; real pings and downloads, then what the daemon says about them. On a terminal it ends in a shell inside.
. "$(dirname "$0")/_env.sh"

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() {
	printf '$ sluicectl %s\n' "$*"
	ctl "$@"
}

say "c1, c2 (containers) | gw (sluice) | node (Linux VXLAN) - rc, out (nginx)"
topo_gateway
web_start out 100
{
	topo_gateway_conf
	echo "add nat pool 198.51.100.1 port up1"
} | sluiced_start -
cat "$LOG/sluice.conf"

say "container to container"
ping_ok c1 10.1.0.11
say "container over VXLAN to a remote container, and back"
ping_ok c1 10.2.0.7
ping_ok rc 10.1.0.10
say "container through masquerade to the outside: 100 MB"
fetch c1 198.51.100.2
show show ct max 10
show show nat max 10
show show ports
show show drops
show explain packet "ip 10.1.0.10 > 10.2.0.7 | tcp 40000 > 80 S" from endpoint 10
if [ -t 0 ]; then
	say "a shell: 'ctl show ct', 'ns c1 ping 10.2.0.7', 'exit'"
	export B SOCK P
	export -f ctl ns
	bash --norc -i || true
fi
pass
