/* SPDX-License-Identifier: BSD-2-Clause */
/* Between resolve.c (records, kernel neighbours, timers), resolve_tunnel.c (underlay, ARP and ND inside tunnels), resolve_gate.c. */
#pragma once

#include "fwd/resolve.h"

struct link {
	struct link *next, *prev; /* NULL: in no list */
};

/* One neighbour somebody asked for. Control thread only; what workers see of it is in tables/neighbor.h. */
struct record {
	struct record *chain; /* hash */
	struct neighbor_key key;
	uint32_t at;      /* place in the array of all */
	uint32_t adj;     /* 0 unless usable */
	uint32_t ifindex; /* port kind: of the port when the record was made */
	struct mac mac;   /* link-layer address: of the neighbour, or inner destination */
	bool has_mac, published;
	uint8_t state;                             /* neighbor_state */
	uint8_t tries;                             /* inner requests sent without answer */
	uint64_t asked_ns, deadline_ns, wanted_ns; /* last request sent; until FAILED; last request of a worker */
	uint64_t lost_ns;                          /* when it ceased to be usable */
	struct link pending;                       /* in the list of those with a timer */
	/* remotes: the neighbour on the underlay port that carries them; that one lists its dependents */
	struct record *under, *dependents, *dependent_next;
	struct ipaddr remote_addr;
	uint32_t vtep_since;     /* of the remote's VTEP */
	struct adj_tunnel built; /* what the adjacency was made from */
};

enum { ASK_NS = 1000000000, WAIT_S = 3, TRIES = 3 };

/* Reached by a tunnel: a remote node, or whoever gets IP in IP. */
INLINE bool record_is_remote(const struct record *r)
{
	return r->key.dev & (NEIGHBOR_REMOTE | NEIGHBOR_IPIP);
}
INLINE bool record_is_ipip(const struct record *r)
{
	return r->key.dev & NEIGHBOR_IPIP;
}
/* Is the inner MAC found by ARP or ND? */
INLINE bool record_is_inner(const struct record *r)
{
	return record_is_remote(r) && !record_is_ipip(r) && !ip_is_zero(&r->key.ip) && !(r->key.ip.b[0] == 0xff);
}
INLINE bool record_usable(const struct record *r)
{
	return r->state == NEIGHBOR_REACHABLE || r->state == NEIGHBOR_STALE;
}
INLINE bool record_is_pending(const struct record *r)
{
	return r->pending.next;
}

/* resolve.c */
struct record *record_get(const struct neighbor_key *k); /* found or made; NULL when there is no room */
void record_drop(struct record *r);                      /* forgets it, its neighbour entry and adjacency too */
void record_start(struct record *r, uint64_t now_ns);    /* begins to resolve what is FAILED or new */
void record_publish(struct record *r, enum neighbor_state s);
void record_pending(struct record *r, bool pending);
void resolve_complain(const struct err *e); /* to the log, once in 10 s */
/* resolve_gate.c */
void resolve_gate_fini(void);
/* resolve_tunnel.c */
/* Looks the underlay up anew. 'retry': also what FAILED is asked again. 'r' is gone afterwards if its remote is. */
void tunnel_update(struct record *r, bool retry, uint64_t now_ns);
void tunnel_detach(struct record *r);
uint32_t tunnel_adj(struct record *r, struct err *e); /* the one to send by from now on (adj_move_tunnel) */
void tunnel_ask(struct record *r, uint64_t now_ns);   /* sends an ARP request or NS; needs a usable underlay */
bool tunnel_remote_known(const struct record *r);
