#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""run.py MODE [OPTION...]: measures a gateway with a running TRex server (t-rex-64 -i --stl), port 0 -> gateway -> port 1.

throughput   largest rate at which a trial loses at most --loss percent (RFC 2544 26.1; 0 percent is the RFC's own)
loss         received share at 100, 90, 80 ... percent of --top (RFC 2544 26.3)
latency      round of one direction at half of --top: least, average, most, and percentiles (RFC 2544 26.2)
connections  new flows a second: --flows packets, each a tuple of its own, at a rate under which all arrive; then the same tuples
             again, which must all arrive too: they are in the table (RFC 9693 4.4 to 4.6)

A trial: traffic for --seconds, then 2 s for what is on the way. Last line: bench-trex MODE flows N frame BYTES VALUE.
TREX is the 'scripts' directory of TRex, or its Python library is on the path.
"""
import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
if "TREX" in os.environ:
    sys.path.insert(0, os.path.join(os.environ["TREX"], "automation/trex_control_plane/interactive"))
SEND, RECEIVE, LATENCY_ID = 0, 1, 7


class Tester:
    def __init__(self, args):
        from trex.stl.api import STLClient, STLProfile

        self.args = args
        self.api = sys.modules["trex.stl.api"]
        self.client = STLClient(server=args.server)
        self.client.connect()
        self.client.reset(ports=[SEND, RECEIVE])
        self.client.set_port_attr([SEND, RECEIVE], promiscuous=True)
        tunables = {"size": args.size, "flows": args.flows}
        if args.vni:
            tunables["vni"] = args.vni
        profile = STLProfile.load(os.path.join(HERE, "stl/flows.py"), direction=0, port_id=SEND, **tunables)
        self.streams = profile.get_streams()

    def close(self):
        self.client.disconnect()

    def load(self, streams):
        self.client.remove_all_streams(ports=[SEND])
        self.client.add_streams(streams, ports=[SEND])

    def trial(self, pps, seconds):
        """(sent, received) of one trial."""
        self.load(self.streams)
        self.client.clear_stats()
        self.client.start(ports=[SEND], mult=f"{pps}pps", duration=seconds, force=True)
        self.client.wait_on_traffic(ports=[SEND])
        time.sleep(2)
        s = self.client.get_stats()
        return s[SEND]["opackets"], s[RECEIVE]["ipackets"]

    def burst(self, pps, count):
        """'count' packets, then silence: (sent, received)."""
        one = self.streams[0]
        self.load(
            [self.api.STLStream(packet=one.scapy_pkt_builder,
                                mode=self.api.STLTXSingleBurst(pps=pps, total_pkts=count))]
        )
        self.client.clear_stats()
        self.client.start(ports=[SEND], force=True)
        self.client.wait_on_traffic(ports=[SEND], timeout=count / pps + 30)
        time.sleep(2)
        s = self.client.get_stats()
        return s[SEND]["opackets"], s[RECEIVE]["ipackets"]


def search(low, high, step, good):
    """Largest rate for which good(rate) holds, to 'step'; 0 when none does."""
    best = 0
    while high - low > step:
        rate = (low + high) // 2
        if good(rate):
            low = best = rate
        else:
            high = rate
    return best


def throughput(t, args):
    def good(pps):
        sent, got = t.trial(pps, args.seconds)
        lost = (sent - got) * 100 / sent if sent else 100
        reached = sent >= 0.98 * pps * args.seconds # a generator that cannot keep up proves nothing
        print(f"{pps} pps: sent {sent}, received {got}, lost {lost:.4f} %{'' if reached else ', generator too slow'}")
        return reached and lost <= args.loss

    return "ndr %.4f" % (search(0, args.top, max(args.top // 200, 1), good) / 1e6)


def loss(t, args):
    percent = 0
    for part in range(100, 9, -10):
        sent, got = t.trial(args.top * part // 100, args.seconds)
        percent = got * 100 / sent if sent else 0
        print(f"{part} % of {args.top} pps: received {percent:.3f} %")
    return "received %.3f" % percent


def latency(t, args):
    builder = t.streams[0].scapy_pkt_builder
    probe = t.api.STLStream(
        packet=builder, mode=t.api.STLTXCont(pps=1000), flow_stats=t.api.STLFlowLatencyStats(pg_id=LATENCY_ID)
    )
    t.load(list(t.streams))
    t.client.clear_stats()
    t.client.add_streams([probe], ports=[SEND])
    t.client.start(ports=[SEND], mult=f"{args.top // 2}pps", duration=args.seconds, force=True)
    t.client.wait_on_traffic(ports=[SEND])
    time.sleep(2)
    s = t.client.get_pgid_stats([LATENCY_ID])["latency"][LATENCY_ID]["latency"]
    for bucket in sorted(s["histogram"]):
        print(f">= {bucket} us: {s['histogram'][bucket]}")
    return "us %.1f min %.1f max %.1f" % (s["average"], s["total_min"], s["total_max"])


def connections(t, args):
    def good(pps):
        input_flush(args)
        sent, got = t.burst(pps, args.flows)
        again_sent, again = t.burst(max(pps // 2, 1), args.flows) if got == sent == args.flows else (0, 0)
        print(f"{pps} a second: {got} of {sent}, then {again} of {again_sent}")
        return got == sent == again == again_sent == args.flows

    return "conns %d" % search(0, args.top, max(args.top // 100, 1), good)


def input_flush(args):
    """An empty connection table for each trial: the given command."""
    if args.flush and os.system(args.flush) != 0:
        sys.exit(f"run.py: '{args.flush}' failed")


MODES = {"throughput": throughput, "loss": loss, "latency": latency, "connections": connections}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", choices=sorted(MODES))
    p.add_argument("--server", default="127.0.0.1")
    p.add_argument("--size", default="64", help="frame with FCS, or imix")
    p.add_argument("--flows", type=int, default=1024)
    p.add_argument("--vni", type=int, default=0, help="inside VXLAN")
    p.add_argument("--seconds", type=int, default=60, help="of a trial; 60 is RFC 2544's")
    p.add_argument("--loss", type=float, default=0.0, help="percent that may be lost")
    p.add_argument("--top", type=int, default=10_000_000, help="packets a second to begin with")
    p.add_argument("--flush", default="", help="command before each trial of 'connections': sluicectl clear ct")
    args = p.parse_args()
    try:
        t = Tester(args)
    except ImportError as e:
        sys.exit(f"run.py: {e}: set TREX to TRex's 'scripts' directory")
    try:
        if args.mode != "connections": # what has to be learned is, before anything counts (RFC 2544 23)
            t.trial(1000, 1)
        value = MODES[args.mode](t, args)
    finally:
        t.close()
    print(f"bench-trex {args.mode} flows {args.flows} frame={args.size} {value}")


if __name__ == "__main__":
    main()
