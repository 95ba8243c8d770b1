#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Sourced by bench/peers.sh: Open vSwitch' userspace datapath (netdev, DPDK), its own database and sockets under $TMP/ovs.
OVS_BIN=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
vs() { ovs-vsctl --db=unix:"$TMP/ovs/db.sock" --timeout=20 "$@"; }
of() { ovs-ofctl -O OpenFlow13 "$@"; }
oa() { ovs-appctl -t "$TMP/ovs/ctl" "$@"; }

# ovs_start NS [NAME=VALUE...]: one PMD thread on cpu 1; what follows is its environment
ovs_start() {
	local netns=$1
	shift
	rm -rf "$TMP/ovs"
	mkdir "$TMP/ovs"
	export OVS_RUNDIR=$TMP/ovs OVS_LOGDIR=$TMP/ovs OVS_DBDIR=$TMP/ovs
	ovsdb-tool create "$TMP/ovs/conf.db" /usr/share/openvswitch/vswitch.ovsschema
	start_bg_ns "$netns" ovsdb ovsdb-server "$TMP/ovs/conf.db" --remote=punix:"$TMP/ovs/db.sock" --unixctl="$TMP/ovs/dbctl"
	need "[ -S $TMP/ovs/db.sock ]" 10 "ovsdb-server"
	vs --no-wait init
	vs --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-cpu-mask=0x2 \
		other_config:dpdk-lcore-mask=0x1 \
		other_config:dpdk-extra="$DPDK_MEMORY --no-pci --no-telemetry -d $FLOWS_SO"
	start_bg_ns "$netns" vswitchd env "$@" nice -n -15 $OVS_BIN unix:"$TMP/ovs/db.sock" --unixctl="$TMP/ovs/ctl"
	need "oa version" 30 "ovs-vswitchd starts"
	vs add-br br0 -- set bridge br0 datapath_type=netdev
}
ovs_stop() {
	stop_bg vswitchd
	stop_bg ovsdb
	: >"$LOG/vswitchd.log"
}
# ovs_rules CASE IN OUT: ports by number
ovs_rules() {
	local new="udp,nw_src=10.0.0.0/8,tp_dst=5001"
	of del-flows br0
	case $1 in
	forward) of add-flow br0 "in_port=$2,actions=output:$3" ;;
	ct) of add-flow br0 "table=0,ip,actions=ct(table=1)"
		of add-flow br0 "table=1,ip,ct_state=+trk+new,$new,actions=ct(commit),output:$3" ;;
	snat) of add-flow br0 "table=0,ip,actions=ct(nat,table=1)"
		of add-flow br0 "table=1,ip,ct_state=+trk+new,$new,actions=ct(commit,nat(src=20.0.0.1)),output:$3" ;;
	esac
	[ "$1" = forward ] || {
		of add-flow br0 "table=1,ip,ct_state=+trk+est,actions=output:$3"
		of add-flow br0 "table=1,priority=0,actions=drop"
	}
}
