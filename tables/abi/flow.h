/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The flow record: the stored outcome of a decision, one per direction (design section 5). Shared with BPF: only fixed-size
 * types, no padding, everything from the wire in network order.
 *
 * Records come in pairs: connection c owns records 2c (original direction) and 2c + 1 (reply), so the sibling of record r
 * is r ^ 1 and the connection of r is r >> 1. Index 0 and 1 are never used. */
#pragma once

#include <linux/types.h>

/* The wire tuple with zone. zp = zone << 8 | protocol, host order. ICMP echo requests have sport = id, dport = 0, replies
 * the reverse. */
#define FLOW_ZP(zone, proto) ((__u32)(zone) << 8 | (proto))
struct flow_key4 {
	__be32 src, dst;
	__be16 sport, dport;
	__u32 zp;
};
struct flow_key6 {
	__u8 src[16], dst[16];
	__be16 sport, dport;
	__u32 zp;
};

/* One cache line. 'seen', 'packets', 'bytes' are written by whoever replays it, relaxed stores: two at once may lose counts.
 * A carry out of 'bytes' or 'packets' goes to the connection. The key is written before publication.
 *
 * The rest may be decided anew while others replay it. Writer, one at a time: 'gensum' invalid, 'version' + 1 (with 'adj',
 * one store), the other fields, 'gensum' last. Reader: 'version' (with 'adj'), 'gensum', the other fields, 'version' again; all
 * is of one decision when the version still stands. 'gensum' alone would not tell: two decisions may have one sum. */
struct flow4 {
	struct flow_key4 key;
	union {
		struct {
			__be32 src, dst; /* the tuple to write, NAT or not */
		};
		__u64 addrs;
	};
	union {
		struct {
			__be16 sport, dport;
		};
		__u32 ports;
	};
	union {
		struct {
			__u16 d3; /* checksum delta of addresses and, unless FLOW_NO_HOP, TTL, for the IPv4 header */
			__u16 d4; /* checksum delta of addresses and ports, for TCP and UDP */
		};
		__u32 deltas;
	};
	union {
		struct {
			__u16 adj;     /* adjacency index */
			__u16 version; /* times it was written, and FLOW_NO_HOP */
		};
		__u32 way;
	};
	__u32 in;     /* ingress it was decided for: FLOW_IN_* */
	__u16 dep[4]; /* generation counters it depends on (tables/abi/gen.h) */
	__u32 gensum; /* their sum when it was decided */
	__u32 seen;   /* second of the last packet */
	__u32 packets, bytes;
};

struct flow6 {
	struct flow_key6 key;
	union {
		struct {
			__u16 adj, version;
		};
		__u32 way;
	};
	__u32 in;
	__u16 dep[4];
	__u32 gensum, seen;
	union {
		struct {
			__u8 src[16], dst[16];
		};
		__u64 addrs[4];
	};
	union {
		struct {
			__be16 sport, dport;
		};
		__u32 ports;
	};
	__u16 d4;
	__u16 pad;
	__u32 packets, bytes;
	__u32 reserved[4];
};

/* In 'way': the TTL stays. Between the box and others no hop counts (RFC 1812 5.2.1, 5.3.1): it is one router with its kernel, which
 * takes one off what it forwards and nothing off its own. */
#define FLOW_NO_HOP 0x80000000u

/* 'in': top byte is the class, the rest says which. */
enum flow_in {
	FLOW_IN_UPLINK = 0x01000000,   /* any uplink */
	FLOW_IN_ENDPOINT = 0x02000000, /* | endpoint id */
	/* | index of (local VTEP, outer source) in tables/tunnel.h; the VNI is in the sender's identity (identity mode) or
	 * the zone (network mode) */
	FLOW_IN_REMOTE = 0x03000000,
	FLOW_IN_HOST = 0x04000000,
	FLOW_IN_INDEX = 0x00ffffff, /* mask */
};

/* Where frames go and what is put in front of them; changed in place when a MAC or the MTU changes (tables/adj.c). Three lines. */
/* ADJ_IPIP: IP in IP of one family, the engine only */
enum adj_kind { ADJ_NONE = 0, ADJ_ETH = 1, ADJ_TUNNEL4 = 2, ADJ_TUNNEL6 = 3, ADJ_IPIP4 = 4, ADJ_IPIP6 = 5 };
struct adj {
	__u8 eth[14];   /* Ethernet header; senders write the type field themselves */
	__u16 port;     /* engine port index */
	__u16 mtu;      /* longest IP packet (inner one for tunnels) */
	__u8 kind;      /* adj_kind; ADJ_NONE = no longer usable: decide again */
	__u8 tmpl_size; /* bytes of 'tmpl' in use: outer Ethernet .. VXLAN + inner Ethernet */
	/* unfolded sum of the outer IPv4 header with total length 0 and checksum 0. ADJ_TUNNEL6: sum of pseudo header, UDP, VXLAN
	 * and inner Ethernet with source port, lengths, checksum and type 0 */
	__u32 base3;
	__u32 refs; /* cold: control thread only */
	__u32 gen;  /* generation counter number bumped when this adjacency dies */
	__u8 pad[32];
	/* tunnels: Ethernet 14, IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14 = 64 or 84 bytes; IP in IP: the first two */
	__u8 tmpl[128];
};

_Static_assert(sizeof(struct flow_key4) == 16 && sizeof(struct flow_key6) == 40, "keys have no padding");
_Static_assert(sizeof(struct flow4) == 64 && sizeof(struct flow6) == 128 && sizeof(struct adj) == 192, "whole lines");
