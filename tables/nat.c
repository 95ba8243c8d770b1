/* SPDX-License-Identifier: BSD-2-Clause */
/* Mappings: what masquerade remembers of inside addresses and ports. Workers call all of it.
 *
 * They are entries with a reference count. 0 is final: the thread that took it there unlinks the entry, and who meets
 * such an entry waits that moment and makes a new one. A port's bit is set before its mapping can be found and cleared
 * after it cannot be found any more, so steering never loses a packet of a live mapping and a port has one owner. */
#include "tables/nat.h"

#include <errno.h>

#include "fwd/base/clock.h"
#include "tables/nat_pool.h"

_Static_assert(sizeof(struct nat_key) == 24 && sizeof(struct nat_mapping) == 40, "one line, no padding");

static struct table mappings;

uint32_t nat_max_mappings = 512 * 1024;

int nat_init(struct err *e)
{
	int r = table_open(&mappings, "nat", nat_max_mappings, sizeof(struct nat_key), sizeof(struct nat_mapping), e);
	if (!r)
		r = nat_permit_open(e);
	if (!r)
		r = nat_source_open(e);
	if (r)
		nat_fini();
	return r;
}

void nat_fini(void)
{
	nat_source_close();
	nat_permit_close();
	table_close(&mappings);
	nat_pools_fini();
}

bool nat_proto_supported(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP || proto == PROTO_ICMP ||
	       proto == PROTO_ICMP6;
}

enum steer_proto nat_which(uint8_t proto)
{
	switch (proto) {
	case PROTO_TCP:
		return STEER_TCP;
	case PROTO_UDP:
		return STEER_UDP;
	case PROTO_SCTP:
		return STEER_SCTP;
	default:
		return STEER_ICMP;
	}
}

/* ---- mappings ---- */

static struct nat_mapping *mapping_at(uint32_t i)
{
	return table_value(&mappings, i);
}

struct table *nat_mapping_table(void)
{
	return &mappings;
}

bool nat_tables_full(void)
{
	return table_count(&mappings) >= mappings.capacity || nat_permit_full() || nat_source_full();
}

const struct nat_key *nat_key_at(uint32_t mapping)
{
	return table_key(&mappings, mapping);
}

unsigned nat_pool_of(uint32_t m)
{
	return m & NAT_STATIC ? m & ~NAT_STATIC : mapping_at(m)->pool;
}

const struct nat_mapping *nat_at(uint32_t mapping)
{
	return mapping_at(mapping);
}

/* table_insert() would link a copy; here the entry must own a port first. The table's count is kept in the same way. */
static uint32_t reserve_entry(unsigned slot)
{
	uint32_t i = 0;

	if (__atomic_add_fetch(&mappings.count, 1, __ATOMIC_RELAXED) <= mappings.capacity)
		i = pool_alloc(&mappings.pool, slot);
	if (!i)
		__atomic_sub_fetch(&mappings.count, 1, __ATOMIC_RELAXED);
	return i;
}

static void abort_entry(unsigned slot, uint32_t i)
{
	pool_abort(&mappings.pool, slot, i);
	__atomic_sub_fetch(&mappings.count, 1, __ATOMIC_RELAXED);
}

static bool counts_sources(const struct nat_pool *p)
{
	return LOAD_RELAXED(&p->max_ports) | LOAD_RELAXED(&p->max_sessions) | LOAD_RELAXED(&p->blocks);
}

static uint32_t max_sessions(const struct nat_mapping *m)
{
	return LOAD_RELAXED(&nat_pools[m->pool].max_sessions);
}

/* The place of a mapping among its inside address' ones, with its first connection. */
static int take_source(unsigned slot, const struct nat_key *k, uint32_t *source)
{
	const struct nat_pool *p = &nat_pools[k->pool];

	*source = 0;
	if (likely(!counts_sources(p)))
		return 0;
	int err = nat_source_take(slot, k, LOAD_RELAXED(&p->max_ports), source);
	if (err)
		return err;
	err = nat_session_begin(*source, LOAD_RELAXED(&p->max_sessions));
	if (err)
		nat_source_give(slot, *source);
	return err;
}

static void give_source(unsigned slot, uint32_t source)
{
	nat_session_end(source);
	nat_source_give(slot, source);
}

/* A port and the address it is of; in a block, or whatever the pool has. */
static int take_port(unsigned slot, const struct nat_key *k, const struct nat_port_wish *wish,
		     struct nat_block_got *got)
{
	const enum steer_proto which = nat_which(k->proto);

	if (unlikely(LOAD_RELAXED(&nat_pools[k->pool].blocks) && wish->source))
		return nat_block_port(slot, k->pool, which, wish, got);
	got->block = 0;
	return wish->to ? nat_port_share(slot, k->pool, which, wish, &got->addr)
			: nat_port_claim(k->pool, which, wish, &got->addr);
}

/* A BUSY entry with a port and one reference, not linked. 0, -ENOSPC: no entry or no port, -EDQUOT. With 'to' the port is
 * shared with connections to others than him. */
static int make_mapping(unsigned slot, const struct nat_key *k, const struct nat_remote *to, uint32_t now_s,
			uint64_t random, uint32_t *made)
{
	struct nat_port_wish wish = {
		.port = k->inside_port, .user = nat_user(&k->inside), .now_s = now_s, .random = random, .to = to
	};
	struct nat_block_got got;
	uint32_t i = reserve_entry(slot);

	if (!i)
		return -ENOSPC;
	int err = take_source(slot, k, &wish.source);
	if (err) {
		abort_entry(slot, i);
		return err;
	}
	int port = take_port(slot, k, &wish, &got);
	if (port < 0) {
		give_source(slot, wish.source);
		abort_entry(slot, i);
		return port;
	}
	pool_prefetch_next(&mappings.pool, i);
	*(struct nat_key *)table_key(&mappings, i) = *k;
	*mapping_at(i) = (struct nat_mapping){ .outside = got.addr,
					       .outside_port = (uint16_t)port,
					       .pool = k->pool,
					       .proto = k->proto,
					       .refs = 1,
					       .created = now_s,
					       .filter = to ? (uint16_t)NAT_APDF : nat_pools[k->pool].filter,
					       .block = got.block,
					       .source = wish.source,
					       .shared = to != NULL };
	if (!to)
		STORE_RELEASE(&nat_pools[k->pool].owner[nat_which(k->proto)][port], i);
	*made = i;
	return 0;
}

/* What an entry holds besides itself. */
static void release(unsigned slot, uint32_t i)
{
	const struct nat_mapping *m = mapping_at(i);
	const uint16_t user = nat_user(&nat_key_at(i)->inside);

	if (m->block) /* first: with its last port the pool's place may be another's */
		nat_block_leave(m->pool, m->block, (uint32_t)(clock_ns() / NS_PER_S));
	if (m->shared)
		nat_port_leave(m->pool, nat_which(m->proto), m->outside_port, user);
	else
		nat_port_release(m->pool, nat_which(m->proto), m->outside_port, user);
	nat_source_give(slot, m->source);
}

static void drop(unsigned slot, uint32_t mapping)
{
	if (!nat_ref_drop(&mapping_at(mapping)->refs))
		return;
	if (!mapping_at(mapping)->shared)
		hidx_remove(&mappings.idx, hash_key(nat_key_at(mapping), sizeof(struct nat_key)), mapping);
	release(slot, mapping);
	__atomic_sub_fetch(&mappings.count, 1, __ATOMIC_RELAXED);
	pool_retire(&mappings.pool, slot, mapping);
}

/* A reference to what was found is a connection more. */
static int join(unsigned slot, uint32_t i)
{
	const struct nat_mapping *m = mapping_at(i);
	/* its creator may not have come to this yet, but what we send may be answered at once */
	if (pool_state(&mappings.pool, i) == POOL_BUSY)
		pool_publish(&mappings.pool, i);
	int err = nat_session_begin(m->source, max_sessions(m));
	if (err)
		drop(slot, i);
	return err;
}

static int map(unsigned slot, const struct nat_key *k, uint32_t now_s, uint64_t random, uint32_t *mapping,
	       bool *created)
{
	const uint64_t hash = hash_key(k, sizeof(*k));
	unsigned spins = 0;
	for (;;) {
		uint32_t i = hidx_find(&mappings.idx, k, hash), present;
		*created = false;
		if (i) {
			*mapping = i;
			if (nat_ref_take(&mapping_at(i)->refs))
				return join(slot, i);
			nat_breathe(&spins);
			continue;
		}
		int err = make_mapping(slot, k, NULL, now_s, random, &i);
		if (err && hidx_find(&mappings.idx, k, hash))
			continue; /* the last port went to the same key */
		if (err)
			return err;
		err = hidx_insert(&mappings.idx, hash, i, &present);
		if (!err) {
			pool_publish(&mappings.pool, i);
			*mapping = i;
			*created = true;
			return 0;
		}
		nat_session_end(mapping_at(i)->source);
		release(slot, i);
		abort_entry(slot, i);
		if (err != -EEXIST)
			return -ENOSPC;
	}
}

int nat_map(unsigned slot, const struct nat_key *k, uint32_t now_s, uint64_t random, uint32_t *mapping, bool *created)
{
	if (k->pool >= NAT_POOLS_MAX || !nat_proto_supported(k->proto))
		return -EINVAL;
	int err = map(slot, k, now_s, random, mapping, created);
	if (err)
		nat_pool_refused(slot, k, err);
	return err;
}

static int open_eim(unsigned slot, const struct nat_key *k, const struct nat_remote *to, uint32_t now_s,
		    uint64_t random, uint32_t *mapping)
{
	bool created;
	int err = map(slot, k, now_s, random, mapping, &created);

	if (err)
		return err;
	err = nat_permit_in(slot, *mapping, to);
	if (err)
		nat_unref(slot, *mapping);
	return err;
}

static int open_apdm(unsigned slot, const struct nat_key *k, const struct nat_remote *to, uint32_t now_s,
		     uint64_t random, uint32_t *mapping)
{
	int err = make_mapping(slot, k, to, now_s, random, mapping);

	if (!err)
		pool_publish(&mappings.pool, *mapping);
	return err;
}

int nat_open(unsigned slot, const struct nat_key *k, const struct nat_remote *to, uint32_t now_s, uint64_t random,
	     uint32_t *mapping)
{
	if (k->pool >= NAT_POOLS_MAX || !nat_proto_supported(k->proto))
		return -EINVAL;
	int err = nat_pools[k->pool].mapping == NAT_APDM ? open_apdm(slot, k, to, now_s, random, mapping)
							 : open_eim(slot, k, to, now_s, random, mapping);
	if (err)
		nat_pool_refused(slot, k, err);
	return err;
}

int nat_open_try(const struct nat_key *k, const struct nat_remote *to)
{
	if (k->pool >= NAT_POOLS_MAX || !nat_proto_supported(k->proto))
		return -EINVAL;
	const struct nat_pool *p = &nat_pools[k->pool];
	const enum steer_proto which = nat_which(k->proto);
	const bool apdm = p->mapping == NAT_APDM, known = !apdm && hidx_find(&mappings.idx, k, hash_key(k, sizeof(*k)));
	int err = nat_source_try(k, !known, LOAD_RELAXED(&p->max_ports), LOAD_RELAXED(&p->max_sessions));
	if (err || known)
		return err;
	if (ip_is_zero(&p->addr))
		return -ENOSPC;
	if (p->blocks)
		return nat_block_try(k, to);
	return (apdm ? nat_port_sharable(k->pool, which, to, nat_port_range(p))
		     : nat_ports_taken(p, which) < nat_ports_of(p))
		       ? 0
		       : -ENOSPC;
}

bool nat_ahead_begin(struct nat_ahead *a, const struct ipaddr *inside, uint16_t port, uint8_t proto)
{
	int pool = nat_pool_likely(inside);

	if (pool < 0)
		return false;
	a->key = (struct nat_key){ .inside = *inside, .inside_port = port, .proto = proto, .pool = (uint8_t)pool };
	a->hash = hash_key(&a->key, sizeof(a->key));
	hidx_prefetch(&mappings.idx, a->hash);
	__builtin_prefetch(&nat_pools[pool].owner[nat_which(proto)][port], 1);
	return true;
}

void nat_ahead_next(struct nat_ahead *a)
{
	a->mapping = hidx_first(&mappings.idx, a->hash);
	__builtin_prefetch(nat_key_at(a->mapping));
}

void nat_ahead_end(const struct nat_ahead *a, const struct ipaddr *remote, uint16_t remote_port, struct ipaddr *outside,
		   uint16_t *outside_port)
{
	const struct nat_mapping *m = mapping_at(a->mapping);

	if (!a->mapping || memcmp(nat_key_at(a->mapping), &a->key, sizeof(a->key)) != 0) {
		*outside = nat_pools[a->key.pool].addr;
		*outside_port = a->key.inside_port;
		return;
	}
	*outside = m->outside;
	*outside_port = m->outside_port;
	nat_permit_prefetch(a->mapping, remote, remote_port);
}

bool nat_ref(uint32_t mapping)
{
	if (!nat_ref_take(&mapping_at(mapping)->refs))
		return false;
	nat_session_begin(mapping_at(mapping)->source, 0);
	return true;
}

int nat_ref_new(unsigned slot, uint32_t mapping)
{
	const struct nat_mapping *m = mapping_at(mapping);

	if (!nat_ref_take(&mapping_at(mapping)->refs))
		return -ENOENT;
	int err = nat_session_begin(m->source, max_sessions(m));
	if (err) {
		nat_pool_refused(slot, nat_key_at(mapping), err);
		drop(slot, mapping);
	}
	return err;
}

void nat_unref(unsigned slot, uint32_t mapping)
{
	nat_session_end(mapping_at(mapping)->source);
	drop(slot, mapping);
}

uint32_t nat_find(const struct nat_key *k)
{
	return table_find(&mappings, k);
}

uint32_t nat_by_outside(const struct ipaddr *addr, uint8_t proto, uint16_t port)
{
	int p = nat_pool_by_addr(addr);

	if (p < 0 || !nat_proto_supported(proto))
		return 0;
	uint32_t i = LOAD_ACQUIRE(&nat_pools[p].owner[nat_which(proto)][port]);
	if (!i || pool_state(&mappings.pool, i) != POOL_LIVE)
		return 0;
	/* The entry of a loser of a race is in use for another mapping a moment later. */
	const struct nat_mapping *m = mapping_at(i);
	return m->outside_port == port && m->proto == proto && ip_eq(&m->outside, addr) ? i : 0;
}

uint32_t nat_next(uint32_t after)
{
	return table_next(&mappings, after);
}

uint32_t nat_count(void)
{
	return table_count(&mappings);
}
