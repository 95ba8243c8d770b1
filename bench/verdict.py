#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""verdict.py FILE: the ratios we aim for, out of one run of bench-peers or bench-kernel; nothing where the run had no such part."""
import json
import sys

VPP = {1024: 209, 65536: 675, 1048576: 789}  # recorded: policy, connections, SNAT and VXLAN encap, cycles, a 2.6 GHz Xeon

with open(sys.argv[1], encoding="utf-8") as f:
    doc = json.load(f)
rows = {(r["case"], r.get("system"), r.get("flows"), r.get("frame"), r.get("hot")): r for r in doc["results"]}
lines = 0


def value(case, system, flows=None, metric=None, frame=None, hot=None):
    return rows.get((case, system, flows, frame, hot), {}).get(metric)


def line(what, a, b, aim=None, smaller=False):
    if not a or not b:
        return
    global lines
    lines += 1
    ratio = b / a if smaller else a / b
    print(f"  {what}: {a} : {b} = {ratio:.2f}" + (f", aim {aim}: {'reached' if ratio >= aim else 'not reached'}" if aim else ""))


def peers():
    for n in (1, 1024, 65536, 1048576):
        for m in ("ndr", "mpps"):
            line(f"AF_XDP engine : testpmd io, {n} flows, {m}", value("io-forward", "sluice", n, m, 64), value("io-forward", "testpmd", n, m, 64), 0.95)
            line(f"AF_XDP engine : OVS, {n} flows, {m}", value("io-forward", "sluice", n, m, 64), value("io-forward", "ovs", n, m, 64), 1.0)
            line(f"kernel replay : kernel with nftables, {n} flows, {m}", value("io-ct", "replay", n, m, 64), value("io-ct", "kernel", n, m, 64), 1.0)
        line(f"in memory, ct+snat : OVS-DPDK, {n} flows, cycles", value("memory-snat", "sluice", n, "cycles"), value("memory-snat", "ovs-dpdk", n, "cycles"), 4, True)
        # no packet of sluice is both translated and encapsulated: both halves stand beside VPP's whole chain
        for case in ("memory-snat", "memory-encap"):
            line(f"{case} : VPP's recorded chain with SNAT and encap, {n} flows, cycles", value(case, "sluice", n, "cycles"), VPP.get(n), 2, True)
    # no aims: for information
    for other in ("kernel", "ovs"):
        for who in ("sluice", "sluice-spin", "replay"):
            line(f"TCP goodput, Mbit/s, {who} : {other}", value("tcp-goodput", who, 1, "mbit"), value("tcp-goodput", other, 1, "mbit"))
            for q in ("p50", "p99", "p99.9"):
                line(f"round trip {q}, us, {who} : {other}", value(f"tcp-rtt-{q}", who, 1, "us"), value(f"tcp-rtt-{q}", other, 1, "us"), smaller=True)
        for c in ("ct", "snat"):
            line(f"new connections a second, {c}, sluice : {other}", value(f"conns-{c}", "sluice", 1048576, "conns"), value(f"conns-{c}", other, 1048576, "conns"))
        for m in ("ndr", "mpps"):
            line(f"into VXLAN, {m}, sluice : {other}", value("io-encap", "sluice", 1024, m, 64), value("io-encap", other, 1024, m, 64))
            for who in ("sluice", "replay"):
                line(f"out of VXLAN, {m}, {who} : {other}", value("io-decap", who, 1024, m, "vxlan"), value("io-decap", other, 1024, m, "vxlan"))


def kernel():
    def pair(what, case, other, metric, aim):
        line(what, value(case, "sluice", metric=metric), value(case, other, metric=metric), aim)

    pair("TCP, container to container, Mbit/s : plain kernel routing", "tcp", "kernel", "mbit", 0.9)
    pair("TCP, container to VXLAN peer : the kernel's vxlan", "vxlan", "kernel", "mbit", 0.9)
    pair("TCP, VXLAN peer to container : the kernel's vxlan", "reverse", "kernel", "mbit", 0.9)
    pair("64 bytes, container to container, kpps : the kernel with nftables conntrack", "small", "kernel-ct", "kpps", 1.0)
    for n, aim in ((1024, 1.8), (65536, 1.2)):
        for m in ("ndr", "mpps"):
            replay = value("io-snat", "replay", n, m, 64)
            line(f"uplink to uplink, SNAT by XDP : testpmd io, {n} flows, {m}", replay, value("io-snat", "testpmd", n, m, 64), aim)
            line(f"uplink to uplink, SNAT by XDP : kernel with nftables, {n} flows, {m}", replay, value("io-snat", "kernel", n, m, 64), 2.5)
    for hot, text in ((None, "uniform"), (1024, "9 of 10 packets on 1024")):
        for m in ("ndr", "mpps"):
            line(f"1 Mi flows, {text}: with XDP : engine alone, {m}", value("io-snat", "replay", 1048576, m, 64, hot), value("io-snat", "sluice", 1048576, m, 64, hot), 1.0)
        share = value("io-snat", "replay", 1048576, "xdp", 64, hot)
        if share is not None:
            print(f"  1 Mi flows, {text}: the kernel forwarded {share:.0%}")


print("ratios of this run (sluice : other)")
kernel() if doc["name"] == "kernel" else peers()
if not lines:
    sys.exit("verdict: nothing to compare in " + sys.argv[1])
if not doc["complete"]:
    print("  the run did not end by itself: parts are missing")
