/* SPDX-License-Identifier: BSD-2-Clause */
/* Mappings and permits: what masquerade remembers of connections. Workers call all of it.
 *
 * Both are entries with a reference count. 0 is final: the thread that took it there unlinks the entry, and who meets
 * such an entry waits that moment and makes a new one. A port's bit is set before its mapping can be found and cleared
 * after it cannot be found any more, so steering never loses a packet of a live mapping and a port has one owner. */
#include "tables/nat.h"

#include <errno.h>
#include <sched.h>

#include "tables/nat_pool.h"

struct permit_key {
	struct ipaddr remote;
	uint32_t mapping;
	uint16_t port, zero;
};
struct permit {
	uint32_t refs, reserved;
};
_Static_assert(sizeof(struct nat_key) == 24 && sizeof(struct nat_mapping) == 40, "one line, no padding");
_Static_assert(sizeof(struct permit_key) == 24 && sizeof(struct permit) == 8, "no padding");

static struct table mappings, permits;

int nat_init(struct err *e)
{
	int r = table_open(&mappings, "nat", table_defs[TABLE_NAT].capacity, sizeof(struct nat_key),
			   sizeof(struct nat_mapping), e);
	if (!r)
		r = table_open(&permits, "nat_permit", table_defs[TABLE_NAT_PERMIT].capacity, sizeof(struct permit_key),
			       sizeof(struct permit), e);
	if (r)
		nat_fini();
	return r;
}

void nat_fini(void)
{
	table_close(&permits);
	table_close(&mappings);
	nat_pools_fini();
}

bool nat_proto_supported(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_ICMP || proto == PROTO_ICMP6;
}

enum steer_proto nat_which(uint8_t proto)
{
	return proto == PROTO_TCP ? STEER_TCP : proto == PROTO_UDP ? STEER_UDP : STEER_ICMP;
}

/* ---- references ---- */

static bool ref_take(uint32_t *refs)
{
	uint32_t n = LOAD_RELAXED(refs);

	while (n)
		if (__atomic_compare_exchange_n(refs, &n, n + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

/* True for the thread that dropped the last one. */
static bool ref_drop(uint32_t *refs)
{
	return __atomic_sub_fetch(refs, 1, __ATOMIC_ACQ_REL) == 0;
}

static void breathe(unsigned *spins)
{
	/* The one waited for may share this core. */
	if (++*spins % 256 == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
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

const struct nat_key *nat_key_at(uint32_t mapping)
{
	return table_key(&mappings, mapping);
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

/* A BUSY entry with a port and one reference, not linked; 0: no entry or no port. */
static uint32_t make_mapping(unsigned slot, const struct nat_key *k, uint32_t now_s, uint64_t random)
{
	struct ipaddr outside;
	uint32_t i = reserve_entry(slot);

	if (!i)
		return 0;
	int port = nat_port_claim(k->pool, nat_which(k->proto), k->inside_port, random, &outside);
	if (port < 0) {
		abort_entry(slot, i);
		return 0;
	}
	pool_prefetch_next(&mappings.pool, i);
	*(struct nat_key *)table_key(&mappings, i) = *k;
	*mapping_at(i) = (struct nat_mapping){ .outside = outside,
					       .outside_port = (uint16_t)port,
					       .pool = k->pool,
					       .proto = k->proto,
					       .refs = 1,
					       .created = now_s,
					       .filter = nat_pools[k->pool].filter };
	STORE_RELEASE(&nat_pools[k->pool].owner[nat_which(k->proto)][port], i);
	return i;
}

static void release_port(uint32_t i)
{
	const struct nat_mapping *m = mapping_at(i);
	nat_port_release(m->pool, nat_which(m->proto), m->outside_port);
}

int nat_map(unsigned slot, const struct nat_key *k, uint32_t now_s, uint64_t random, uint32_t *mapping, bool *created)
{
	if (k->pool >= NAT_POOLS_MAX || !nat_proto_supported(k->proto))
		return -EINVAL;

	const uint64_t hash = hash_key(k, sizeof(*k));
	unsigned spins = 0;
	for (;;) {
		uint32_t i = hidx_find(&mappings.idx, k, hash), present;
		*created = false;
		if (i) {
			*mapping = i;
			if (!ref_take(&mapping_at(i)->refs)) {
				breathe(&spins);
				continue;
			}
			/* its creator may not have come to this yet, but what we send may be answered at once */
			if (pool_state(&mappings.pool, i) == POOL_BUSY)
				pool_publish(&mappings.pool, i);
			return 0;
		}
		i = make_mapping(slot, k, now_s, random);
		if (!i && hidx_find(&mappings.idx, k, hash))
			continue; /* the last port went to the same key */
		if (!i)
			return -ENOSPC;
		int err = hidx_insert(&mappings.idx, hash, i, &present);
		if (!err) {
			pool_publish(&mappings.pool, i);
			*mapping = i;
			*created = true;
			return 0;
		}
		release_port(i);
		abort_entry(slot, i);
		if (err != -EEXIST)
			return -ENOSPC;
	}
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

bool nat_ref(uint32_t mapping)
{
	return ref_take(&mapping_at(mapping)->refs);
}

void nat_unref(unsigned slot, uint32_t mapping)
{
	if (!ref_drop(&mapping_at(mapping)->refs))
		return;
	hidx_remove(&mappings.idx, hash_key(nat_key_at(mapping), sizeof(struct nat_key)), mapping);
	release_port(mapping);
	__atomic_sub_fetch(&mappings.count, 1, __ATOMIC_RELAXED);
	pool_retire(&mappings.pool, slot, mapping);
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

/* ---- permits ---- */

uint32_t nat_permit_count(void)
{
	return table_count(&permits);
}

static struct permit_key permit_key(uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	return (struct permit_key){ .remote = *remote,
				    .mapping = mapping,
				    .port = nat_at(mapping)->filter == NAT_APDF ? port : 0 };
}

static uint32_t *permit_refs(uint32_t i)
{
	return &((struct permit *)table_value(&permits, i))->refs;
}

int nat_permit(unsigned slot, uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	const struct permit one = { .refs = 1 };
	unsigned spins = 0;

	if (nat_at(mapping)->filter == NAT_EIF)
		return 0;
	const struct permit_key k = permit_key(mapping, remote, port);
	for (;;) {
		uint32_t i;
		int err = table_insert(&permits, slot, &k, &one, &i);
		if (!err)
			pool_prefetch_next(&permits.pool, i);
		if (err != -EEXIST)
			return err;
		if (ref_take(permit_refs(i)))
			return 0;
		breathe(&spins);
	}
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
	if (m->filter == NAT_EIF)
		return;
	const struct permit_key k = permit_key(a->mapping, remote, remote_port);
	hidx_prefetch(&permits.idx, hash_key(&k, sizeof(k)));
}

void nat_unpermit(unsigned slot, uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	if (nat_at(mapping)->filter == NAT_EIF)
		return;
	const struct permit_key k = permit_key(mapping, remote, port);
	uint32_t i = table_find(&permits, &k);
	if (i && ref_drop(permit_refs(i)))
		table_delete(&permits, slot, &k);
}

bool nat_permitted(uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	if (nat_at(mapping)->filter == NAT_EIF)
		return true;
	const struct permit_key k = permit_key(mapping, remote, port);
	uint32_t i = table_find(&permits, &k);
	return i && LOAD_ACQUIRE(permit_refs(i));
}
