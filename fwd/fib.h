/* SPDX-License-Identifier: BSD-2-Clause */
/* The mirror of the kernel's main and local routing tables (IPv4 and IPv6): multipath, nexthop objects, metrics.
 * The control thread writes from netlink; workers look up lock-free. The box's addresses are the FIB_LOCAL routes. */
#pragma once

#include "tables/lpm.h"

enum fib_kind {
	FIB_NONE,
	FIB_LOCAL,
	FIB_UNICAST,
	FIB_BROADCAST,
	FIB_BLACKHOLE,
	FIB_UNREACHABLE,
	FIB_PROHIBIT,
	FIB_THROW /* look no further in this table: no route */
};
struct fib_nexthop {
	struct ipaddr gateway; /* zero: the destination itself */
	uint32_t ifindex;
	int32_t port;    /* engine port of ifindex, -1 = none: the kernel routes it */
	uint32_t weight; /* 0 counts as 1 */
	uint32_t dead;   /* link down: kept, never chosen */
};
struct fib_result {
	enum fib_kind kind;
	struct fib_nexthop nh;
	uint16_t dep;        /* generation counter */
	struct ipnet prefix; /* that matched; for explain */
};

int fib_init(struct err *e);
void fib_fini(void);
/* 'hash' chooses among several next hops. kind FIB_NONE: no route. RCU online. */
void fib_lookup(const struct ipaddr *dst, uint32_t hash, struct fib_result *r);
/* An address of the box itself, by its kernel's local table? */
INLINE bool fib_is_own(const struct ipaddr *a)
{
	struct fib_result f;
	fib_lookup(a, 0, &f);
	return f.kind == FIB_LOCAL;
}
/* The same among the routes that leave by ports of 'zone', whatever their metrics; zone 0: among all. */
void fib_lookup_zone(uint16_t zone, const struct ipaddr *dst, uint32_t hash, struct fib_result *r);
/* May a packet from 'src' come in by 'port' (RFC 3704)? Some route of the port's zone leads to 'src', a default route too, and with
 * 'strict' it or one of its equals leaves by that port. '*dep': on what the answer depends. RCU online. */
bool fib_source_valid(const struct ipaddr *src, uint16_t port, bool strict, uint16_t *dep);
/* Set by a worker whose decision depends on a source's route and has no place for that among its counters: from then on each
 * changed answer bumps the extra counter. Never cleared: who validates the sources of transit traffic goes on doing so. */
extern uint32_t fib_sources_matter;
/* Preferred source address of an engine port for ICMP answers: first global address of the family; false if none. */
bool fib_port_addr(uint32_t ifindex, bool v6, struct ipaddr *a);
/* Has an interface of the box that address? Unlike fib_is_own() not true of anycast addresses. RCU online. */
bool fib_has_addr(const struct ipaddr *a);

/* Control thread (netlink.c, tests). A route is identified by prefix, metric and kind of table (local first). The kernel may
 * hold several such routes under one identity (append, router advertisements): IPv6 ones with gateways are multipath, else the
 * first that is usable wins. */
struct fib_route {
	struct ipnet prefix;
	enum fib_kind kind;
	uint32_t metric;
	uint32_t table; /* 254 main, 255 local */
	uint8_t protocol;
	uint8_t n;
	int8_t pref; /* IPv6 router preference: -1 low, 0 medium, 1 high */
	struct fib_nexthop nh[16];
};
int fib_add(const struct fib_route *r, struct err *e); /* add or replace, best metric wins, bumps */
int fib_append(const struct fib_route *r,
	       struct err *e); /* behind others of its identity; an equal one stays as it is */
/* The route of that identity with the same next hops; with fewer next hops only these; n == 0: all. 0 or -ENOENT. */
int fib_del(const struct fib_route *r);
unsigned fib_alternatives(const struct fib_route *r); /* how many routes of that identity there are */
/* An engine port appeared, went or changed its zone: next hops get their 'port' anew, bumps what changed. */
void fib_ports_changed(void);
/* Interface addresses; 'prefix_len' counts from the top of 128 bits as in struct ipnet. */
void fib_addr_set(uint32_t ifindex, const struct ipaddr *a, uint8_t prefix_len, bool present);
/* An address of 'ifindex' whose subnet holds 'target' (not 'target' itself). */
bool fib_subnet_addr(uint32_t ifindex, const struct ipaddr *target, struct ipaddr *a);
/* Mark and sweep around a re-dump: routes and addresses not added again between the two are removed at the end. */
void fib_resync_begin(void);
void fib_resync_end(void);
uint32_t fib_next(uint32_t after, struct fib_route *r); /* walk for show */
uint32_t fib_count(void);
uint64_t fib_version(void); /* grows whenever an answer changed */
/* IPv4 or multipath routes over that device: those whose state the kernel changes without telling. */
uint32_t fib_ifindex_routes(uint32_t ifindex);
