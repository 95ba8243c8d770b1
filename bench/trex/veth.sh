#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# veth.sh MODE [OPTION of run.py...]: run.py with TRex and sluice on one machine, over veth. TREX = 'scripts' directory of a
# built TRex. One thread generates some 100 kpps: the figures show that it works, not what a NIC would do.
#   t: TRex, trex0 -> up0 [ gw: sluiced ] up1 -> trex1
. "$(dirname "$0")/../../tests/net/_env.sh"

TREX=${TREX:?"directory 'scripts' of a built TRex"}
[ -x "$TREX/_t-rex-64" ] || fail "$TREX/_t-rex-64 is not there: README.md tells how to build it"
ns_add t gw
veth_pair t trex0 gw up0
veth_pair t trex1 gw up1
nsip gw link set up0 address 02:00:00:00:00:02
nsip gw link set up1 address 02:00:00:00:00:21
nsip t link set trex0 address 02:00:00:00:00:01
nsip t link set trex1 address 02:00:00:00:00:22
addr gw up0 10.100.255.254/16
addr gw up1 10.200.255.254/16
nsip gw neigh add 10.200.0.1 lladdr 02:00:00:00:00:22 dev up1 nud permanent
sluiced_start - <<-'CONF'
	add port up0 device up0 transit on
	add port up1 device up1 transit on
CONF
# TRex works in its own directory and wants a controlling terminal's size
start_bg_ns t trex env -C "$TREX" LD_LIBRARY_PATH="$TREX/so/x86_64" TERM=dumb \
	./_t-rex-64 -i --stl --cfg "$ROOT/bench/trex/cfg/veth.yaml" --no-ofed-check --no-watchdog --no-key
need "ns t ss -Hltn 'sport = :4501' | grep -q ." 60 "TRex listens"
ns t env TREX="$TREX" python3 "$ROOT/bench/trex/run.py" "$@"
ctl show ports | sed 's/^/   /'
ctl show drops | sed 's/^/   /'
sluiced_stop TERM
pass
