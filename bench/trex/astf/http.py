# SPDX-License-Identifier: BSD-2-Clause
"""HTTP connections: a request of 250 bytes, an answer of -t size=32000 bytes; one connection a second for each unit of -m.

Clients 10.100.0.0/16, servers 10.200.0.0/16 port 80, so that NAT and load balancing see many of both."""
import argparse

from trex.astf.api import *  # noqa: F403 (the profile language of TRex)

REQUEST = b"GET /blob HTTP/1.1\r\nHost: 10.200.0.1\r\nUser-Agent: sluice-bench\r\nAccept: */*\r\n".ljust(246, b"x") + b"\r\n\r\n"


class Http:
    def get_profile(self, tunables=(), **kwargs):
        p = argparse.ArgumentParser()
        p.add_argument("--size", type=int, default=32000)
        args = p.parse_args(tunables)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % args.size + b"*" * args.size

        client = ASTFProgram()
        client.send(REQUEST)
        client.recv(len(answer))
        server = ASTFProgram()
        server.recv(len(REQUEST))
        server.send(answer)

        gen = ASTFIPGen(
            glob=ASTFIPGenGlobal(ip_offset="1.0.0.0"),
            dist_client=ASTFIPGenDist(ip_range=["10.100.0.1", "10.100.255.254"], distribution="seq"),
            dist_server=ASTFIPGenDist(ip_range=["10.200.0.1", "10.200.255.254"], distribution="seq"),
        )
        template = ASTFTemplate(
            client_template=ASTFTCPClientTemplate(program=client, ip_gen=gen, port=80, cps=1),
            server_template=ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=80)),
        )
        return ASTFProfile(default_ip_gen=gen, templates=template)


def register():
    return Http()
