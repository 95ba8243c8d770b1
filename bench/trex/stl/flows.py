# SPDX-License-Identifier: BSD-2-Clause
"""UDP flows, one packet each in turn: -t size=64,flows=1024[,vni=N]

size: frame with FCS, or imix (7 x 64, 4 x 594, 1 x 1518). flows: source ports and addresses. vni: the packet inside VXLAN (UDP 4789),
from the first source address. Direction 1 sends the other way round: only for what translates no addresses."""
import argparse

from trex_stl_lib.api import *  # noqa: F403 (the profile language of TRex)

CLIENTS, SERVER = "10.100.0.1", "10.200.0.1"
PORTS = 16384
IMIX = ((64, 7), (594, 4), (1518, 1))


def number(address):
    a, b, c, d = (int(x) for x in address.split("."))
    return ((a * 256 + b) * 256 + c) * 256 + d


def text(n):
    return ".".join(str(n >> s & 255) for s in (24, 16, 8, 0))


class Flows:
    def stream(self, args, direction, size, share):
        src, dst, sport, dport = CLIENTS, SERVER, 1024, 5001
        ip, port = "src", "sport"
        if direction:
            src, dst, sport, dport = dst, src, dport, sport
            ip, port = "dst", "dport"
        inner = Ether() / IP(src=src, dst=dst) / UDP(sport=sport, dport=dport, chksum=0)
        base, layer = inner, 0
        if args.vni:
            outer = Ether() / IP(src=args.vtep_from, dst=args.vtep_to) / UDP(sport=49152, dport=4789, chksum=0)
            base = outer / VXLAN(vni=args.vni, flags=0x08) / inner
            layer = 1
        pad = max(0, size - 4 - len(base))
        hosts = (args.flows + PORTS - 1) // PORTS
        vm = STLScVmRaw(
            [
                STLVmTupleGen(
                    name="flow",
                    ip_min=CLIENTS,
                    ip_max=text(number(CLIENTS) + hosts - 1),
                    port_min=1024,
                    port_max=1024 + min(args.flows, PORTS) - 1,
                    limit_flows=args.flows,
                ),
                STLVmWrFlowVar(fv_name="flow.ip", pkt_offset=f"IP:{layer}.{ip}"),
                STLVmFixIpv4(offset=f"IP:{layer}"),
                STLVmWrFlowVar(fv_name="flow.port", pkt_offset=f"UDP:{layer}.{port}"),
            ]
        )
        return STLStream(packet=STLPktBuilder(pkt=base / (b"x" * pad), vm=vm), mode=STLTXCont(pps=share))

    def get_streams(self, direction=0, tunables=(), **kwargs):
        p = argparse.ArgumentParser()
        p.add_argument("--size", default="64")
        p.add_argument("--flows", type=int, default=1024)
        p.add_argument("--vni", type=int, default=0)
        p.add_argument("--vtep-from", default="192.0.2.2")
        p.add_argument("--vtep-to", default="192.0.2.1")
        words = []
        for k, v in kwargs.items(): # run.py hands them over by name
            if k not in ("port_id",):
                words += ["--" + k.replace("_", "-"), str(v)]
        args = p.parse_args(list(tunables) + words)
        sizes = IMIX if args.size == "imix" else ((int(args.size), 1),)
        return [self.stream(args, direction, size, share) for size, share in sizes]


def register():
    return Flows()
