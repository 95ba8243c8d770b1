#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""frame.py OUT plain|vxlan: a capture of the one frame that net_pcap repeats, 60 bytes, or the same inside VXLAN (VNI 100)."""
import socket
import struct
import sys


def checksum(b):
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    s = (s & 0xFFFF) + (s >> 16)
    return ~(s + (s >> 16)) & 0xFFFF


def udp4(src, dst, sport, dport, data):
    h = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 0, 0x4000, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
    h = h[:10] + struct.pack("!H", checksum(h)) + h[12:]
    return h + struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def ether(dst, packet):
    return bytes.fromhex("0200000000%02x" % dst) + bytes.fromhex("020000000001") + b"\x08\x00" + packet


frame = ether(2 if sys.argv[2] == "plain" else 9, udp4("10.0.0.1", "10.200.0.1", 0x4000, 5001, b"x" * 18))
if sys.argv[2] == "vxlan":
    frame = ether(2, udp4("172.16.0.2", "172.16.0.1", 0xC000, 4789, b"\x08\0\0\0" + (100 << 8).to_bytes(4, "big") + frame))
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
