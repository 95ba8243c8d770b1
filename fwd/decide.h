/* SPDX-License-Identifier: BSD-2-Clause */
/* The decision path: what happens to a packet that no record can replay. One plain function (decide.c) calls the steps of
 * design section 6 in order for one packet; each step is a file in fwd/step/. The same code, dry, is 'explain'. */
#pragma once

#include "fwd/fib.h"
#include "fwd/parse.h"
#include "fwd/settings.h"
#include "fwd/worker.h"
#include "tables/ct.h"
#include "tables/endpoint.h"
#include "tables/ipcache.h"
#include "tables/nat.h"
#include "tables/policy.h"
#include "tables/service.h"
#include "tables/tunnel.h"

/* Collects what each step answered and why; 'line' is called once per step (cli/cmd_explain.c, fwd/observe.c). */
struct explain {
	void (*line)(struct explain *x, const char *step, const char *text);
};

enum route_kind { ROUTE_NONE, ROUTE_ENDPOINT, ROUTE_REMOTE, ROUTE_PORT, ROUTE_HOST };
/* Where a packet to some address goes, and on what that answer depends. */
struct route {
	enum route_kind kind;
	uint32_t adj; /* 0: not resolved, ask for 'key' */
	struct neighbor_key key;
	uint32_t in;                     /* FLOW_IN_* that packets *from* there carry: the reply's expected ingress */
	uint16_t port;                   /* ROUTE_PORT: engine port */
	uint16_t zone;                   /* of what comes from there */
	uint32_t identity;               /* of the address, when kind tells (endpoint, host), else of ipcache */
	const struct endpoint *endpoint; /* ROUTE_ENDPOINT */
	bool failed;                     /* neighbour known to be unreachable */
	bool no_tunnel;                  /* ROUTE_NONE because the remote node has no VNI for it */
	uint8_t refused;                 /* ROUTE_NONE by a route that says so: its drop reason, else 0 */
	uint16_t dep[3];                 /* side (endpoint or adjacency), prefix (ipcache or tunnel), route */
};

struct decision {
	struct worker *w;
	struct pkt *p;
	struct explain *x;   /* not NULL: dry run, no side effects */
	struct explain *say; /* told what each step answered; x, or a trace's */

	struct tuple wire; /* the packet as it came */
	struct tuple out;  /* as it will leave */
	struct ct *ct;
	uint32_t record; /* 0 = new connection */
	bool reply;
	struct conn *conn; /* of 'record' */

	/* the original direction in real addresses: pre-SNAT source, post-DNAT destination */
	struct ipaddr osrc, odst;
	be16 odport;
	uint32_t src_identity, dst_identity;
	uint32_t rule_egress, rule_ingress;
	const struct endpoint *sender;                      /* whom the gate's stamp names; NULL: no container */
	const struct endpoint *src_endpoint, *dst_endpoint; /* of osrc, odst; NULL = not local */
	struct route to;                                    /* where this packet goes */
	struct route from;                                  /* where its source lives (reply's destination) */
	uint16_t proxy_port;                                /* of the listener that gets it, 0 = none */
	uint32_t mapping;              /* nat mapping of the source (reference held while new), 0 = none */
	uint32_t inmap;                /* new: nat mapping of the destination (no reference yet), 0 = none */
	bool inbound;                  /* opened through a mapping */
	uint32_t backend;              /* of a service, 0 = none */
	const struct service *service; /* its service, as it was looked up: the next look may find none */
	bool left;                     /* to the kernel, which is on the link beside us */
	bool hairpin;                  /* the client is its own backend */
	bool dsr;                      /* direct return: its backend gets it in IP (step/dsr.c) */
	bool no_backend;               /* dropped for want of one */
	bool cut;                      /* no fragment yet, but will leave as some */
	bool again;                    /* decided before, but a key of the new connection was taken */
	uint32_t begin;                /* gen_begin() before the first look-up */
	struct neighbor_key wait;      /* OUT_HOLD: what for */
	enum drop drop;
	uint16_t dep[4];
	uint16_t source_dep; /* source validation: counter of the route to the source, 0 = not validated */
	uint32_t frag;       /* row of a fragment's datagram (tables/frag.h) */
	bool wait_frag;      /* explain: it would wait for the first fragment */
	uint8_t bad_field;   /* dropped for it: its offset in the IP header, which the sender is told; 0 = none */
	bool silent;         /* dropped for a reason that has an answer, but not here */
};

/* Decides about one parsed or unparsed packet and carries it out: forwards, drops, holds or answers it. Owns the frame. */
void decide(struct worker *w, struct pkt *p);
/* Before the packets 'miss' (at most BURST_MAX) of a burst go to decide() one by one: prefetches what they will need. Reads
 * their frames, data and port, nothing else. */
void decide_ahead(const struct pkt *const *miss, unsigned n);
/* Dry: explains; the packet stays the caller's. */
void decide_explain(struct worker *w, struct pkt *p, struct explain *x);

/* Zones of the original direction's ingress and of where it leaves; the latter of a new connection once it is routed. */
INLINE uint16_t decide_zone_in(const struct decision *d)
{
	return d->reply ? d->out.zone : d->wire.zone;
}
INLINE uint16_t decide_zone_out(const struct decision *d)
{
	return d->reply ? d->wire.zone : d->out.zone;
}

/* Is it the box's own or a container's of it? */
INLINE bool decide_lives_here(const struct ipaddr *a)
{
	return endpoint_by_addr(a) || fib_is_own(a);
}

/* The service's address, of a connection with direct return. */
INLINE const struct ipaddr *decide_vip(const struct decision *d)
{
	return d->reply ? &d->wire.src : &d->wire.dst;
}

/* Does 'p' count a hop by way of 'r' (tables/abi/flow.h FLOW_NO_HOP), and has it one left? The box takes any (RFC 1812 4.2.2.9). */
INLINE bool decide_hop(const struct pkt *p, const struct route *r)
{
	return p->in != FLOW_IN_HOST && r->kind != ROUTE_HOST;
}
INLINE bool decide_may_hop(const struct pkt *p, const struct route *r)
{
	return r->kind == ROUTE_HOST || p->ttl > decide_hop(p, r);
}

/* What a step tells its caller. */
enum step {
	STEP_ON,
	STEP_DROP /* d->drop */,
	STEP_HOLD /* for d->wait */,
	STEP_DONE /* the frame is gone */,
	STEP_AGAIN
};
/* "return decide_drop(d, DROP_X);" */
enum step decide_drop(struct decision *d, enum drop reason);
/* For explain and trace: what a step answered and why. Without one, neither the call nor its arguments cost anything. */
#define decide_say(d, ...)                                                                                             \
	do {                                                                                                           \
		if (unlikely((d)->say))                                                                                \
			decide_say_line(d, __VA_ARGS__);                                                               \
	} while (0)
__attribute__((format(printf, 3, 4))) void decide_say_line(const struct decision *d, const char *step, const char *fmt,
							   ...);

bool decide_is_inbound(const struct conn *c); /* opened through a mapping or a static pool */
/* What d->record, d->conn and d->reply say: osrc, odst, odport, out, inbound, dsr. */
void decide_stored_tuples(struct decision *d);
/* Would the connection of record 'r' be let on today? Dry. For what is about it without being a packet of it: an ICMP error. */
enum step decide_still_wanted(struct decision *d, uint32_t r);
/* 'ct tcp strict': a new connection's first segment, and every later one (STEP_ON, or a drop). Windows move. '*aside': it goes
 * on, but is nothing for the TCP machine. */
void decide_window_begin(const struct decision *d, uint32_t conn);
/* SCTP's verification tags: of a new connection's first packet. May a later one change its state? False: its tag is another's; it
 * goes on all the same, for its receiver to discard. Other protocols: true. */
void decide_tags_begin(const struct decision *d, uint32_t conn);
bool decide_tags(const struct decision *d);
enum step decide_window(struct decision *d, bool *aside);
/* Whom a translated source talks to, as that one sees itself: with direct return, as the service. */
INLINE struct nat_remote decide_nat_remote(const struct decision *d)
{
	const bool as_sent = d->inmap || d->dsr;
	return (struct nat_remote){ .addr = as_sent ? d->wire.dst : d->odst,
				    .port = ntohs(as_sent ? d->wire.dport : d->odport),
				    .zone = d->out.zone };
}
/* Gives back what step_masquerade took for a connection that does not come to be. */
void decide_release_nat(struct decision *d);
/* ct_on_delete: gives back the connection's NAT mapping and permit. */
void decide_connection_gone(unsigned slot, bool v6, uint32_t conn);
/* ct_may_evict: not when a NAT mapping would end with it (RFC 6888 REQ-11d). Two threads that take the last two connections of
 * a mapping in the same moment end it all the same. */
bool decide_may_evict(bool v6, uint32_t conn);

/* ---- the steps, in order ---- */
/* Who sends this? Sets p->in, p->identity; a VXLAN packet's p->l3 .. become the inner packet's. */
enum step step_entry(struct decision *d);
/* Identity of who sends from 'src' by ingress 'in'; 'claimed' is the one that only the sender could tell. */
uint32_t entry_identity(uint32_t in, const struct ipaddr *src, uint32_t claimed);
/* ARP and ND of a sender that is known: answered, learned from, or dropped. STEP_ON when 'p' is neither. */
enum step step_l2(struct decision *d);
/* What comes for the box itself where the kernel is on the link beside us: STEP_DONE. The first looks at the address alone, the
 * second, behind services and NAT, takes what those do not claim. */
enum step step_box(struct decision *d);
enum step step_box_rest(struct decision *d);
/* IPv4 options: malformed ones, and source routes unless told otherwise (RFC 7126). */
enum step step_options(struct decision *d);
/* The same of an IPv4 header that is there whole, a quoted one maybe: DROP_NONE, DROP_IP4_HEADER, DROP_SOURCE_ROUTE; then
 * '*where' is the option's offset in it. */
enum drop options_check(const uint8_t *l3, uint8_t *where);
enum step step_icmp_error(struct decision *d); /* related by the embedded tuple */
enum step step_ct(struct decision *d);
/* A frontend's address and port: a backend for a new connection; a known one's may still serve? */
enum step step_service(struct decision *d);
/* Its backend gets IP in IP: the way there, once routes are known. */
enum step step_dsr(struct decision *d);
enum step step_unnat(struct decision *d); /* d->out .. odport are set */
enum step step_policy(struct decision *d);
/* The way to who has the address 'dst' in 'zone' (docs/zones.md; zone 0: whoever has it by all that is known). 'identity' = of the
 * sender, for the VNI in identity mode. No side effects. */
void step_route(uint16_t zone, const struct ipaddr *dst, uint32_t hash, uint32_t identity, struct route *r);
/* The same for a destination that a sender in 'zone' names: his zone's own before an equally long prefix of others. */
void step_route_from(uint16_t zone, const struct ipaddr *dst, uint32_t hash, uint32_t identity, struct route *r);
/* The way to 'dst', which leads out by a port, becomes the one with IP in IP in front. */
void step_route_ipip(const struct ipaddr *dst, struct route *r);
/* What d->to is, in words. */
void step_route_say(const struct decision *d);
/* A connection that a rule redirects: its packets leave toward a listener of the box. */
enum step step_proxy(struct decision *d);
void decide_proxy_route(uint16_t port, struct route *r); /* the way to the listener on 'port'; the rest of 'r' stays */
enum step step_masquerade(struct decision *d);
enum step step_size(struct decision *d);
/* A TCP SYN that goes on: its MSS option is lowered to what fits ('set tcp mss-clamp'). Checksums are complete. */
void step_mss(struct decision *d);
enum step step_commit(struct decision *d); /* conntrack state, the record; may find that another worker was faster */
