/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Kernel replay (design section 5): the engine decides, hot records are exported to this table, tc and XDP replay them.
 * The kernel never decides: what is not found or not valid goes the way it goes without replay (gate, AF_XDP).
 *
 * Memory-mappable BPF arrays, laid out like the engine's own `hash`: index buckets of one line with tags, records by number.
 * One writer (the engine's control thread, plain stores, no system call), lock-free readers (BPF, any CPU).
 * Measured against BPF_MAP_TYPE_HASH, whole replay of IPv4 in XDP with 1, 1 Ki, 64 Ki random flows: 70, 85, 225 ns here, 90, 123,
 * 300 ns there; insert 90 ns against 1.6 us, counters by a memory scan.
 *
 * The writer's rules
 * - insert: record first ('seen' = now, counters 0), then its bit of the filter, then store-release of 'idx', then
 *   store-release of 'tag' in one of the two buckets replay_bucket() names. A bucket must not hold one tag twice: use the other
 *   one, or do without.
 * - a live record is never changed but for 'gensum' (making it invalid), 'flags' and 'use.seen'; a new decision is a new
 *   record.
 * - remove: gensum ^= REPLAY_NEVER, tag = 0, its bit of the filter if no other record has it, and the number rests REPLAY_REST_S before it is used again: BPF gives user
 *   space no grace period, and a program that still holds it takes microseconds.
 * - start and adoption: flags = 0, index and filter zeroed, seeds drawn, then the rest, REPLAY_ON last.
 *
 * changed: outer_port joined both records; tunnels over IPv4 are put on by the template in tc too; replay_remote has addresses of
 * both families.
 *
 * What leaves replay is the list of fwd/replay.h; besides, it refuses records idle for REPLAY_IDLE_NS (the connection may have
 * expired: the engine asks) and everything once gen_area.alive_until_ns is over for REPLAY_DEAD_NS. */
#pragma once

#include "tables/abi/flow.h"
#include "tables/abi/gate.h"
#include "tables/abi/gen.h"

#define REPLAY_FLOWS 65536u /* default records of each family, number 0 is never used; 'set offload flows' */
#define REPLAY_WAYS 8
#define REPLAY_PORTS 32 /* engine ports */
#define REPLAY_ADJS 65536u
#define REPLAY_REST_S 2
#define REPLAY_IDLE_NS 8000000000ull
#define REPLAY_DEAD_NS 10000000000ull
#define REPLAY_NEVER 0x40000000u

/* map replay_index: array of conf.buckets (a power of two, 2 * flows / REPLAY_WAYS: half full), one for both families */
#define REPLAY_V6 0x80000000u
struct replay_bucket {
	__u32 tag[REPLAY_WAYS]; /* replay_tag() of the key's hash, 0 = free */
	__u32 idx[REPLAY_WAYS]; /* record number, | REPLAY_V6 for a replay_flow6 */
};

/* map replay_filter: array of conf.buckets / 2 __u64. Of each record the bit replay_filter_bit() of word replay_filter_word() is
 * set. Most packets without a record read this word and no line of the index: by default 64 KiB, which a core's cache keeps, in
 * place of two lines of 1 MiB, which it does not. With as many records as one family has one of eight goes on to the index. */

/* 'flags' */
#define REPLAY_BY_TC 1u  /* tc may replay it ([from-container], [from-host], [from-netdev], [from-overlay]) */
#define REPLAY_BY_XDP 2u /* XDP on uplinks may replay it, uplink to uplink or tunnel */
#define REPLAY_VNI 4u    /* identity mode: the packet's VNI must be 'vni' (FLOW_IN_REMOTE) */

/* The last line of both records. Written by the kernel with plain stores: two CPUs at one flow may lose counts. */
struct replay_use {
	__u64 packets,
		bytes; /* since insert; IP bytes, as the engine counts; GSO frames count what they will be on the wire */
	__u32 seen;    /* last packet: CLOCK_MONOTONIC ns >> REPLAY_SEEN_SHIFT (saves a division a packet) */
	__u32 owner;   /* the writer's: engine record index */
	__u32 stamp;   /* the writer's: which incarnation of it */
	__u32 reserved[9];
};
#define REPLAY_SEEN_SHIFT 30
#define REPLAY_SEEN_NOW(ns) ((__u32)((__u64)(ns) >> REPLAY_SEEN_SHIFT))
#define REPLAY_SEEN_S(seen) ((__u32)(((__u64)(seen) << REPLAY_SEEN_SHIFT) / 1000000000u)) /* seconds */

/* map replay_flow4: array of 'flows' of these. Values as in struct flow4, except that the checksum delta of L4 comes in two
 * parts: an unfinished checksum (CHECKSUM_PARTIAL: sum of the pseudo header) takes the addresses' only. Of the two zeroes of
 * one's complement, deltas use 0. */
struct replay_flow4 {
	struct flow_key4 key; /* zone 0; TCP or UDP */
	__be32 src, dst;      /* tuple to write */
	__be16 sport, dport;
	__u16 d3;     /* IPv4 header: addresses and, unless 'no_hop', TTL */
	__u16 d_addr; /* L4: addresses */
	__u16 d_port; /* L4: ports */
	__u16 flags;  /* REPLAY_BY_*, REPLAY_VNI */
	__u32 adj;    /* index in replay_adj: where it goes and its MTU are read there, packet by packet */
	__u32 in;     /* FLOW_IN_UPLINK, _ENDPOINT, _REMOTE or _HOST */
	__u32 gensum; /* sum of counter[dep[0..3]] + extra */
	__u16 dep[4];
	__u32 vni;
	__be16 outer_port; /* tunnels: source port of the outer UDP header, as the engine's put_tunnel4() chooses it */
	__u16 no_hop;      /* 1: the TTL stays (FLOW_NO_HOP) */
	struct replay_use use;
};

/* map replay_flow6: array of 'flows' of these */
struct replay_flow6 {
	struct flow_key6 key;
	__u32 adj, in, gensum;
	__u16 dep[4];
	__u32 vni;
	__u8 src[16], dst[16];
	__be16 sport, dport;
	__u16 d_addr, d_port;
	__u16 flags;
	__be16 outer_port;
	__u16 no_hop, pad;
	__u32 reserved[4];
	struct replay_use use;
};

/* map replay_adj: array of REPLAY_ADJS struct adj: the engine's adjacency array itself, laid over it by adj_use() as
 * gen_use() does with the counters. So a new MAC reaches the kernel with the engine's own store. By kind:
 *   ADJ_ETH, port 0 (the gate), stamp GATE_ENDPOINT in eth[0..5]: to endpoint 'id' (gate_by_id), its MAC is eth[6..11]
 *   ADJ_ETH, port 0, stamp GATE_HOST: to the box by [to-host] (tc only)
 *   ADJ_ETH, another port: out by conf.port[port].ifindex
 *   ADJ_TUNNEL4: the template in front, out by conf.port[port].ifindex; tc too (bpf_skb_adjust_room keeps GSO), so the bytes
 *     are the engine's and no second routing table is asked
 *   ADJ_TUNNEL6: likewise by XDP. The outer checksum covers the payload, which is not read: a finished checksum of L4 makes its
 *     packet add up to the complement of its pseudo header, so what has none is refused, and one that is wrong inside is wrong
 *     outside too. tc sends by sluice_vxlan with the template's fields as tunnel key, if that has the VTEP's port: only the
 *     kernel's own encapsulation makes segmentation sum each piece. Its outer source port is the kernel's, and its routing asked
 *   ADJ_IPIP4, ADJ_IPIP6 (connections whose replies never pass), ADJ_NONE: refused */

/* map replay_conf: memory-mappable array of one. Written by the control thread. */
#define REPLAY_ON 1u
/* IPv4 packets without DF whose source is translated are the engine's: they get another identification ('set nat identification') */
#define REPLAY_UNIQUE_IDS 2u
/* There are records. Without, no program looks at a packet for replay's sake. */
#define REPLAY_SOME 4u
enum replay_port_flag {
	/* its driver takes XDP_REDIRECT (loader_can_redirect): else frames for it would vanish without a trace */
	REPLAY_PORT_REDIRECT = 1,
	/* [from-netdev] is on it: XDP may leave a frame to it that tc has to replay */
	REPLAY_PORT_NETDEV = 2,
	/* checksums of what comes in are always recomputed by the engine ('checksum complete'): XDP does not replay here */
	REPLAY_PORT_NO_INGRESS = 4,
	/* it has GRO: without, VXLAN frames for containers are better off with sluice_vxlan, measured 3.2 against 2.7 Gbit/s; with
	 * it, taken off by XDP, 4.6 against 4.0 */
	REPLAY_PORT_GRO = 8,
	REPLAY_PORT_STRIP = REPLAY_PORT_NETDEV | REPLAY_PORT_GRO,
	/* no program looks at it: the daemon turned GRO on, for a later one to know */
	REPLAY_PORT_GRO_OURS = 16,
};
struct replay_port {
	__u32 ifindex; /* 0: no netdev (pcap, mem, dpdk): nothing is replayed to it */
	__u32 flags;   /* replay_port_flag */
};
struct replay_conf {
	__u64 seed[2];      /* random; changing them means an empty index */
	__u64 vtep_ports;   /* the engine's vtep_ports: bit (UDP port % 64) */
	__u32 flags;        /* REPLAY_ON and REPLAY_SOME: else no program looks at the table; REPLAY_UNIQUE_IDS */
	__u32 buckets;      /* filled in by the loader */
	__u32 flows;        /* records of each family, number 0 included; filled in by the loader */
	__u32 host_ifindex; /* sluice_host */
	/* Device sluice_vxlan, up and with its programs on: UDP port of the VTEPs whose frames for containers the kernel decapsulates
	 * where an uplink lacks one of REPLAY_PORT_STRIP, and whose frames over IPv6 it encapsulates for tc; 0: none */
	__be16 overlay_port;
	__u16 pad;
	__u32 overlay_ifindex;
	struct replay_port port[REPLAY_PORTS]; /* by engine port index = steer slot; 0, the gate, is unused */
};

/* map replay_remote: hash, whose VXLAN frames are known. One entry per (local VTEP, remote node) that an
 * exported record names. In network mode one per VNI of the remote; in identity mode one with vni REPLAY_ANY_VNI, its records
 * then have REPLAY_VNI. */
#define REPLAY_REMOTES 65536u
#define REPLAY_ANY_VNI 0xffffffffu
struct replay_remote {
	__be32 local[4], remote[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 port;                /* of the local VTEP */
	__u16 zero;
	__u32 vni; /* host order, or REPLAY_ANY_VNI */
};
/* value: __u32 in = FLOW_IN_REMOTE | index */

/* What XDP puts in front of a frame (metadata) that it leaves to [from-netdev], which drops those it can't replay and passes
 * all others. The same for all frames of a connection: GRO merges none whose metadata differ. */
#define REPLAY_META 0x706c7972u
/* skb->mark of what tc sends by sluice_vxlan: REPLAY_META too, taken off by [to-overlay]. */
struct replay_meta {
	__u32 magic; /* REPLAY_META */
	__u32 in;    /* FLOW_IN_UPLINK; FLOW_IN_REMOTE | index: VXLAN was taken off */
	__u32 vni;   /* of the VXLAN header */
};

/* map replay_stats: per-CPU array of __u64 packets. A packet counts once at each program that looked at it. */
enum replay_stat {
	REPLAY_TC,        /* replayed by tc */
	REPLAY_XDP,       /* replayed by XDP */
	REPLAY_XDP_TO_TC, /* found by XDP, left to the tc program behind it */
	REPLAY_MISS,      /* no record */
	REPLAY_SHAPE, /* not plain: fragment, options, TTL, flags, lengths, header checksum, not TCP or UDP; needs another id */
	REPLAY_STALE,        /* generation */
	REPLAY_DEAD,         /* the engine is dead */
	REPLAY_IDLE,         /* not used for REPLAY_IDLE_NS */
	REPLAY_INGRESS,      /* 'in' or VNI mismatch */
	REPLAY_SENDER,       /* VXLAN from an unknown sender */
	REPLAY_LONG,         /* over the MTU */
	REPLAY_NOT_HERE,     /* flags or ports: this program may not, or the adjacency is gone or of no kernel device */
	REPLAY_UNFINISHED,   /* XDP: the checksum looks unfinished, or an IPv6 tunnel's needs one and there is none */
	REPLAY_DROP_WRITE,   /* dropped: a helper failed half-way */
	REPLAY_DROP_NETDEV,  /* dropped by [from-netdev]: XDP left it to tc, which no longer may */
	REPLAY_DROP_OVERLAY, /* dropped by [from-overlay]: what it cannot replay does not enter */
	REPLAY_DROP_TO_OVERLAY, /* dropped by [to-overlay]: only replayed frames leave by the kernel's VXLAN device */
	REPLAY_STATS
};

/* ---- keyed hash, without AES: multiply and fold. Fold before each product: its low bits know nothing of the operand's
 * high ones. ---- */
static inline __attribute__((always_inline)) __u64 replay_mix(__u64 h, __u64 w)
{
	h = (h ^ w) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 32;
}

static inline __attribute__((always_inline)) __u64 replay_word(const void *p)
{
#ifdef __bpf__
	return *(const __u64 *)
		p; /* memcpy of unknown alignment goes byte by byte there; keys on its stack are aligned to 8 */
#else
	__u64 w;
	__builtin_memcpy(&w, p, sizeof(w));
	return w;
#endif
}

static inline __attribute__((always_inline)) __u64 replay_hash4(const __u64 seed[2], const struct flow_key4 *k)
{
	__u64 h = replay_mix(seed[0], replay_word(&k->src));
	h = replay_mix(h ^ seed[1], replay_word(&k->sport));
	return replay_mix(h, 0);
}

static inline __attribute__((always_inline)) __u64 replay_hash6(const __u64 seed[2], const struct flow_key6 *k)
{
	/* two chains side by side */
	__u64 a = replay_mix(seed[0], replay_word(k->src)), b = replay_mix(seed[1], replay_word(k->dst));
	a = replay_mix(a, replay_word(k->src + 8));
	b = replay_mix(b, replay_word(k->dst + 8));
	a = replay_mix(a ^ (b << 1 | b >> 63), replay_word(&k->sport));
	return replay_mix(a, ~0ull);
}

static inline __attribute__((always_inline)) __u32 replay_tag(__u64 hash)
{
	return (__u32)hash | 1;
}

/* which = 0 or 1 */
static inline __attribute__((always_inline)) __u32 replay_bucket(__u64 hash, __u32 buckets, __u32 which)
{
	__u32 first = (__u32)(hash >> 32);
	/* a product of odd numbers is odd: never the first bucket again */
	return (first ^ (which ? replay_tag(hash) * 0x5bd1e995u : 0)) & (buckets - 1);
}

static inline __attribute__((always_inline)) __u32 replay_filter_word(__u64 hash, __u32 buckets)
{
	return replay_bucket(hash, buckets / 2, 0);
}

static inline __attribute__((always_inline)) __u64 replay_filter_bit(__u64 hash)
{
	return 1ull << ((__u32)hash >> 26);
}

_Static_assert(sizeof(struct replay_bucket) == 64 && sizeof(struct replay_use) == 64, "one line");
_Static_assert(sizeof(struct replay_flow4) == 128 && sizeof(struct replay_flow6) == 192, "whole lines");
_Static_assert(sizeof(struct replay_conf) == 48 + 8 * REPLAY_PORTS, "no padding");
_Static_assert(sizeof(struct replay_remote) == 40, "no padding");
