/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What XDP on uplinks takes for the engine (design section 7): an allow list. Everything else is XDP_PASS. */
#pragma once

#include <linux/types.h>

#define STEER_PORTS 32         /* uplinks with XDP */
#define STEER_QUEUES 64        /* queues a port */
#define STEER_POOLS 128        /* pool addresses */
#define STEER_BITMAP_SIZE 8192 /* bytes: 64 Ki port or id bits */

/* map steer_xsk: XSKMAP of STEER_PORTS * STEER_QUEUES, index slot * STEER_QUEUES + queue */
/* map steer_dev: hash, key __u32 ifindex -> */
struct steer_dev {
	__u32 slot;
	__u8 mac[6];  /* frames to other unicast MACs are passed */
	__u8 on_exit; /* what a taken frame meets while no socket is bound: XDP_DROP (1) or XDP_PASS (2) */
	__u8 reserved;
	__u16 zone; /* of what comes in by it */
	__u16 zero;
};

/* map steer_lpm: LPM trie, IPv4 as ::ffff:a.b.c.d (prefixlen + 96) */
struct steer_key {
	__u32 prefixlen;
	__u8 addr[16];
};
enum steer_flag {
	STEER_ALL = 1,  /* endpoint, VIP, tunnel prefix, transit route: take every packet */
	STEER_VTEP = 2, /* UDP to one of vtep_port[] (non-first fragments of UDP to it are passed) */
	/* TCP, UDP, SCTP, ICMP echo reply whose port or id bit is set; ICMP errors by their embedded source port */
	STEER_POOL = 4,
	STEER_ARP = 8,   /* ARP and ND about this host address: the engine answers, and hears who has it */
	STEER_PASS = 16, /* hole inside a wider prefix: the box's own address; never taken */
	/* the box's own address with services: what map steer_service names; ICMP errors and fragments as with STEER_POOL */
	STEER_SERVICE = 32,
};
struct steer_val {
	__u32 flags;
	__u32 pool; /* bitmap index / STEER_PROTOS */
	__be16 vtep_port[4];
};

/* map steer_service: hash, value __u32. A frontend at an address of the box itself: the rest of the address stays the
 * kernel's. */
#define STEER_SERVICES 65536
struct steer_service {
	__u8 addr[16];
	__be16 port;
	__u8 proto;
	__u8 zero;
};

/* map steer_frag: LRU hash, taken first fragments of datagrams to a pool or service address, value __u32. Later ones to such
 * an address: with STEER_ARP (the kernel does not own it) all are taken, without it only those found here. */
struct steer_frag {
	__u8 src[16], dst[16];
	__u32 id;    /* as on the wire; IPv4: 16 bits */
	__u16 proto; /* IPv6: 0 */
	__u16 zone;  /* of the uplink: what comes by another zone's is of another datagram */
};

/* map steer_bits: memory-mappable array of STEER_POOLS * STEER_PROTOS values of STEER_BITMAP_SIZE bytes, index pool *
 * STEER_PROTOS + which. Bit n (host order port or ICMP id) of a little-endian bit string: byte n / 8, bit n % 8. It is the allocator's bitmap. */
enum steer_proto { STEER_TCP, STEER_UDP, STEER_ICMP, STEER_SCTP, STEER_PROTOS };

/* map steer_stats: per-CPU array of __u64 */
enum steer_stat {
	STEER_TAKEN,
	STEER_PASSED,
	STEER_NO_SOCKET, /* ours, but no socket is bound: met on_exit */
	STEER_STATS
};
