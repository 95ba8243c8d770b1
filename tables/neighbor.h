/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours and adjacencies. A neighbour names who is asked for; its adjacency holds the bytes to write in front of a packet
 * and is changed in place when the MAC or the underlay changes, so live flows follow at once without a new decision.
 * What is more than a MAC behind a tunnel gets another adjacency, so that no packet is sent by half of each.
 * Workers read, the control thread writes. A worker that misses holds the packet and asks (fwd/resolve.h). */
#pragma once

#include "tables/abi/flow.h"
#include "tables/gen.h"
#include "tables/table.h"

/* dev: an engine port, or a remote node (tunnel.h) reached with 'vni'. For remotes 'ip' is the inner next hop that is
 * resolved by ARP/ND over the tunnel, or zero where the inner MAC is fixed (given, or identity mode). */
#define NEIGHBOR_REMOTE 0x80000000u
/* dev: whoever has 'ip', reached by IP in IP over the port that its route leads to; vni 0. */
#define NEIGHBOR_IPIP 0x40000000u
struct neighbor_key {
	struct ipaddr ip;
	uint32_t dev;
	uint32_t vni;
};
enum neighbor_state { NEIGHBOR_INCOMPLETE = 0, NEIGHBOR_REACHABLE = 1, NEIGHBOR_STALE = 2, NEIGHBOR_FAILED = 3 };
enum neighbor_source { NEIGHBOR_KERNEL = 0, NEIGHBOR_OVERLAY = 1, NEIGHBOR_STATIC = 2 };
struct neighbor {
	struct mac mac;
	uint8_t state, source;
	uint32_t adj;     /* 0 unless REACHABLE or STALE */
	uint32_t updated; /* second of the last change */
	uint64_t reserved[3];
};

int neighbor_init(struct err *e); /* also the adjacency array */
void neighbor_fini(void);
const struct neighbor *neighbor_find(const struct neighbor_key *k);
/* Adds or changes in place. A usable state needs n->adj (adj_alloc); FAILED and INCOMPLETE free a former one:
 * kind ADJ_NONE, generation bumped. */
int neighbor_set(const struct neighbor_key *k, const struct neighbor *n, struct err *e);
int neighbor_del(const struct neighbor_key *k);
uint32_t neighbor_next(uint32_t after, struct neighbor_key *k, struct neighbor *n);
uint32_t neighbor_count(void);

enum { ADJS_MAX = 64 * 1024 };
extern struct adj *adjs; /* index 0 is never used */
INLINE struct adj *adj_at(uint32_t i)
{
	return &adjs[i];
}
/* Lays the array over 'mem' (ADJS_MAX entries of a mapped BPF array, cleared here: see tables/abi/replay.h), so that kernel
 * replay reads the very bytes; NULL: back to memory of its own, empty, once 'mem' goes away. While no adjacency is in use. */
void adj_use(struct adj *mem);
/* What a sender checks, read at once. MTU 0: no longer usable. */
struct adj_state {
	uint16_t mtu;
	uint8_t kind;
};
INLINE struct adj_state adj_state(const struct adj *a)
{
	uint32_t w = LOAD_ACQUIRE((const uint32_t *)(const void *)&a->mtu);
	return (struct adj_state){ (uint16_t)w, (uint8_t)(w >> 16) };
}
uint32_t adj_alloc(struct err *e); /* kind ADJ_NONE, gen filled in; 0 when full */
/* Kind ADJ_NONE now, generation bumped, index reused after a grace period. */
void adj_free(uint32_t i);
/* Plain Ethernet. Changes in place; the 12 MAC bytes are written before 'kind'. */
void adj_set_eth(uint32_t i, uint16_t port, const struct mac *src, const struct mac *dst, uint16_t mtu);
struct adj_tunnel {
	uint16_t port; /* underlay port */
	struct mac outer_src, outer_dst, inner_src, inner_dst;
	struct ipaddr local, remote; /* one family */
	uint16_t dport;              /* host order */
	uint32_t vni;
	uint16_t link_mtu; /* of the underlay port; adj.mtu = link_mtu less 50 or 70, IP in IP 20 or 40 */
	bool ipip;         /* IP in IP: no VXLAN, inner MACs, dport, vni */
};
/* Of an adjacency that nobody uses yet. Outer header per RFC 7348: TTL 64, DF set, id 0, UDP checksum 0, flags I. IP in IP per
 * RFC 2003, RFC 2473: the same. */
void adj_set_tunnel(uint32_t i, const struct adj_tunnel *t);
/* The adjacency by which 't' is reached from now on, where it was 'i' (0: none): the same one, changed in place, when one store
 * does it, else another one; 0 with a text when there is none. The caller frees 'i' once nobody is told of it any more
 * (neighbor_set). Readers see the one or the other, whole. */
uint32_t adj_move_tunnel(uint32_t i, const struct adj_tunnel *t, struct err *e);
