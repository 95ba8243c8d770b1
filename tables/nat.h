/* SPDX-License-Identifier: BSD-2-Clause */
/* Masquerade state: pools of outside addresses with port bitmaps, endpoint-independent mappings (RFC 4787 REQ-1) and
 * address-dependent filtering (permits). Workers allocate and release; the control thread owns the pools.
 *
 * One mapping per (protocol, inside address, inside port, zone), shared by all its connections through a reference each.
 * A port of a pool address is one bit of a bitmap that XDP steering reads; claiming it is one atomic or. A port is never
 * overloaded but by connections to different remotes (mapping apdm), and allocation fails only when every port of the
 * range is taken. Ports and ids are host order here. */
#pragma once

#include "tables/abi/steer.h"
#include "tables/gen.h"
#include "tables/nat_prefix.h"
#include "tables/table.h"

enum { NAT_POOLS_MAX = STEER_POOLS };
enum nat_mapping_mode { NAT_EIM, NAT_APDM };
enum nat_filter_mode { NAT_EIF, NAT_ADF, NAT_APDF };

struct nat_pool {
	struct ipaddr addr; /* zero: slot unused */
	uint16_t port_lo, port_hi;
	int32_t port;        /* only for packets leaving by this engine port; -1 = any */
	struct ipnet source; /* only for these sources; has_source */
	bool has_source;
	struct ipaddr inside; /* static: its only inside address, all protocols and ports both ways; zero: not static */
	uint8_t prefix; /* static: 'addr' and 'inside' are prefixes of this length (nat_prefix.h); 0: two addresses */
	uint8_t mapping, filter;
	uint16_t rest;         /* seconds before a port that came free goes to another inside address; 0 = none */
	uint32_t max_ports;    /* quota of an inside address; 0 = none */
	uint32_t max_sessions; /* of the same, connections */
	uint16_t blocks;       /* ports of a block (nat_block.h), a power of two; 0 = none: ports one by one */
	uint16_t block_limit;  /* blocks of an inside address; 0 = NAT_BLOCKS_DEFAULT */
	uint64_t *bits[STEER_PROTOS];    /* by enum steer_proto: 64 Ki bits */
	uint32_t *owner[STEER_PROTOS];   /* port -> mapping index, 0 = none */
	uint32_t *sharers[STEER_PROTOS]; /* port -> connections that share it (mapping apdm), atomic */
	uint32_t *freed[STEER_PROTOS];   /* port -> who had it until when (nat_port.c) */
	uint32_t in_use[STEER_PROTOS];   /* ports taken, also those of a range it had before (atomic) */
	uint32_t released[STEER_PROTOS]; /* ports that came free, ever (atomic) */
	struct nat_block *block;         /* by number; NULL: it never had any */
};
extern struct nat_pool nat_pools[NAT_POOLS_MAX];

struct nat_key {
	struct ipaddr inside;
	uint16_t inside_port;
	uint16_t zone;
	uint8_t proto;
	uint8_t pool; /* APDM and several pools keep apart */
	uint16_t reserved;
};
struct nat_mapping {
	struct ipaddr outside;
	uint16_t outside_port;
	uint8_t pool, proto;
	uint32_t refs;    /* connections; atomic. 0 = being freed: never taken again */
	uint32_t created; /* second */
	uint16_t filter;  /* nat_filter_mode of the pool when it was made: permits are counted by it to the end */
	uint16_t block;   /* number + 1 of the block it is counted in, 0 = none */
	uint32_t source;  /* row that counts for its inside address (nat_source.c), 0 = made without quota and blocks */
	uint32_t shared;  /* one connection's, its port may be others', too: not found by key or outside port */
};
/* Where a mapping's index stands: bit 31 says that it is the number of a static pool instead. Nothing is kept of those. */
#define NAT_STATIC 0x80000000u
INLINE bool nat_is_mapping(uint32_t m)
{
	return m && !(m & NAT_STATIC);
}
INLINE bool nat_is_static(const struct nat_pool *p)
{
	return (p->inside.d[0] | p->inside.d[1]) != 0;
}

struct nat_remote {
	struct ipaddr addr;
	uint16_t port;
	uint16_t zone; /* in which it has that address */
};

extern uint32_t nat_max_mappings; /* that nat_init() makes room for */
int nat_init(struct err *e);
void nat_fini(void);
/* Where pool 'p's bitmaps live: default plain memory; the control thread gives mapped BPF memory before the pool is added. */
void nat_set_bits_provider(uint64_t *(*fn)(unsigned pool, enum steer_proto which));

/* After a crash the bits that are in that memory stay set (true, before pools are added) until nat_bits_settle() sets them to
 * what the mappings say; call it once connections are adopted and steering follows this process' pool numbers. */
extern bool nat_bits_kept;
void nat_bits_settle(void);

/* Index, -EEXIST (address present), -EINVAL, -ENOMEM, -ENOSPC. Adding or removing bumps the extra counter. Ports 0-0 mean
 * 1024-65535; only the fields of configuration are read from 'conf'. A pool removed and added again while mappings still hold
 * ports of it gets its old slot back, so that no port is given twice. Control thread only. */
int nat_pool_add(const struct nat_pool *conf, struct err *e);
int nat_pool_del(const struct ipaddr *addr, struct err *e); /* its mappings go with their connections */
int nat_pool_del_prefix(const struct ipnet *outside, struct err *e);
int nat_pool_by_addr(const struct ipaddr *addr); /* -1 when none; prefixes are no addresses */
int nat_pool_by_prefix(const struct ipnet *outside);
/* Pool that 'addr' is an outside address of: the pool of that address, else the one whose prefix it is under; -1. */
int nat_pool_by_outside(const struct ipaddr *addr);
/* Pool for a packet from 'src' leaving by engine port 'out': a static one of 'src', an address before prefixes; else source and port match, then port, then source, then any, among
 * the pools of the family of 'src'; -1 = none of the family. The longer source or inside prefix wins; among equals each source sticks to
 * one (RFC 4787 REQ-2). */
int nat_pool_choose(const struct ipaddr *src, uint32_t out);

/* Finds or makes the mapping and takes a reference. '*created' tells which. 0, -EINVAL: not a protocol of ports or ids,
 * -ENOSPC: no free port or block of ports, table full, or the pool was removed; -EDQUOT: the inside address has all that the
 * pool's quota or limit of blocks gives it. Never another pool than k->pool. All bytes of 'k' are compared. The inside port is kept when it is in the range and
 * free; else a random free one (nat_port.c says which are preferred). */
int nat_map(unsigned slot, const struct nat_key *k, uint32_t now_s, uint64_t random, uint32_t *mapping, bool *created);
/* What a new connection of 'k' to a remote takes: nat_map() and nat_permit(); of a pool with mapping apdm a mapping of its
 * own, whose port connections to other remote addresses and ports may have, too (RFC 7857 3). Same answers. It ends by
 * nat_unpermit() and nat_unref(), in this order. */
int nat_open(unsigned slot, const struct nat_key *k, const struct nat_remote *to, uint32_t now_s, uint64_t random,
	     uint32_t *mapping);
/* What nat_open() would answer now, without doing it. */
int nat_open_try(const struct nat_key *k, const struct nat_remote *to);
/* Prefetches for a nat_map() and nat_permit() that will probably follow; no side effect, and each step is to be called some
 * packets after the one before. False: no pool would take it. The end guesses the outside address and port. */
struct nat_ahead {
	struct nat_key key;
	uint64_t hash;
	uint32_t mapping;
};
bool nat_ahead_begin(struct nat_ahead *a, const struct ipaddr *inside, uint16_t port, uint8_t proto);
void nat_ahead_next(struct nat_ahead *a);
void nat_ahead_end(const struct nat_ahead *a, const struct ipaddr *remote, uint16_t remote_port, struct ipaddr *outside,
		   uint16_t *outside_port);
/* One more reference; false when the last one is gone already (it was found by nat_by_outside): treat as not found. Asks for
 * no quota. */
bool nat_ref(uint32_t mapping);
/* The same for a new connection: 0, -ENOENT, -EDQUOT. */
int nat_ref_new(unsigned slot, uint32_t mapping);
/* Drops a reference; the last one frees the port and the entry. */
void nat_unref(unsigned slot, uint32_t mapping);
/* The mapping of 'k', 0 if none. No reference taken. */
uint32_t nat_find(const struct nat_key *k);
/* Mapping that owns outside (addr, port) of 'proto', 0 if none. No reference taken. */
uint32_t nat_by_outside(const struct ipaddr *addr, uint8_t proto, uint16_t port);
/* Connections have that port that are known by their remote only: no mapping owns it. */
bool nat_is_shared(const struct ipaddr *addr, uint8_t proto, uint16_t port);
const struct nat_key *nat_key_at(uint32_t mapping);
/* Pool of a mapping or static pool ('m' not 0). */
unsigned nat_pool_of(uint32_t m);
/* The static pool that translates 'inside' to 'outside' and back, as an index with NAT_STATIC; 0: none does. */
uint32_t nat_static(const struct ipaddr *inside, const struct ipaddr *outside);
/* What static pool 'p' translates an address of its inside to, and one of its outside back. */
enum nat_prefix nat_to_outside(unsigned p, const struct ipaddr *inside, struct ipaddr *outside);
enum nat_prefix nat_to_inside(unsigned p, const struct ipaddr *outside, struct ipaddr *inside);
bool nat_is_inside(unsigned p, const struct ipaddr *a); /* of static pool 'p' */
bool nat_under_prefix(const struct ipaddr *a);          /* inside of any pool that translates prefixes */
const struct nat_mapping *nat_at(uint32_t mapping);

/* Permits: remote addresses (and ports with APDF; else 'port' is ignored) that a mapping's connections were opened to.
 * Reference counted per connection; the caller holds a reference of the mapping. With EIF nothing is kept and everybody is
 * permitted. */
/* 0, -ENOSPC, -EEXIST: a shared mapping whose port and remote another has. */
int nat_permit(unsigned slot, uint32_t mapping, const struct ipaddr *remote, uint16_t port);
void nat_unpermit(unsigned slot, uint32_t mapping, const struct ipaddr *remote, uint16_t port);
bool nat_permitted(uint32_t mapping, const struct ipaddr *remote, uint16_t port);
/* The same for remotes in any zone; those above are about zone 0. */
int nat_permit_in(unsigned slot, uint32_t mapping, const struct nat_remote *r);
void nat_unpermit_in(unsigned slot, uint32_t mapping, const struct nat_remote *r);
bool nat_permitted_in(uint32_t mapping, const struct nat_remote *r);

uint32_t nat_next(uint32_t after);
uint32_t nat_count(void);
uint32_t nat_permit_count(void);
uint32_t nat_source_count(void); /* inside addresses that have ports of a pool with a quota or blocks */
/* Ports in the range of a pool, and how many of them are taken: reads up to 8 KiB. */
uint32_t nat_ports_of(const struct nat_pool *pool);
uint32_t nat_ports_taken(const struct nat_pool *pool, enum steer_proto which);
/* New connections that pool 'p' refused since it was added, for want of a port and by quota (err -ENOSPC, -EDQUOT). */
uint64_t nat_refused(unsigned p, int err);
enum nat_refusal_why {
	NAT_NO_PORT,
	NAT_NO_BLOCK,
	NAT_TABLE_FULL,
	NAT_MAX_PORTS,
	NAT_MAX_SESSIONS,
	NAT_BLOCK_LIMIT,
	NAT_REFUSAL_WHYS
};
struct nat_refusal {
	struct ipaddr inside;
	uint16_t zone; /* of 'inside' */
	uint8_t proto;
	uint8_t why; /* nat_refusal_why */
};
/* One of them, the first after the last nat_refusal_open(); at the start all are open. False: none yet, or taken already. Control
 * thread. */
bool nat_refusal_take(unsigned p, int err, struct nat_refusal *r);
void nat_refusal_open(unsigned p, int err); /* after a take: wants to hear of the next */
enum steer_proto nat_which(uint8_t proto);  /* TCP, UDP, SCTP, ICMP and ICMPv6 */
bool nat_proto_supported(uint8_t proto);
