/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of translations (contract in adopt.h; port bitmaps in nat.h). Control thread, at start.
 *
 * A former mapping is found again by its outside address: the pool that has this address now, whatever its number. Its
 * references and permits are those of the connections that come back, none of them is read. The bits that XDP steering
 * looks at stay set all the while: a packet to a mapped port that steering let pass would be answered by the box's own
 * kernel with a reset. */
#include <stdlib.h>

#include "fwd/base/clock.h"
#include "tables/adopt.h"
#include "tables/nat_pool.h"

static uint32_t *translation; /* former index -> index */
static uint32_t n_translation;

bool nat_bits_kept;

static enum adopt_drop judge(const struct nat_key *k, const struct nat_mapping *m, uint32_t now_s, int *pool)
{
	const bool v4 = ip_is4(&k->inside);

	if (!nat_proto_supported(k->proto) || k->proto != m->proto || v4 != ip_is4(&m->outside) ||
	    k->proto == (v4 ? PROTO_ICMP6 : PROTO_ICMP) || ip_is_zero(&k->inside) || ip_is_multicast(&k->inside) ||
	    k->reserved || m->shared > 1 || (m->shared && m->filter != NAT_APDF))
		return ADOPT_DAMAGED;
	if (m->created > now_s)
		return ADOPT_FUTURE;
	*pool = nat_pool_by_addr(&m->outside);
	if (*pool < 0)
		return ADOPT_POOL;
	const struct nat_pool *p = &nat_pools[*pool];
	if (m->outside_port < p->port_lo || m->outside_port > p->port_hi)
		return ADOPT_POOL;
	const enum steer_proto which = nat_which(k->proto);
	if (p->owner[which][m->outside_port] || (!m->shared && p->sharers[which][m->outside_port]))
		return ADOPT_DUPLICATE;
	return ADOPT_OK;
}

static uint32_t undo(uint32_t i, unsigned pool, uint32_t source, uint16_t block)
{
	if (block)
		nat_block_leave(pool, block, (uint32_t)(clock_ns() / NS_PER_S));
	nat_session_end(source);
	nat_source_give(SLOT_CONTROL, source);
	pool_abort(&nat_mapping_table()->pool, SLOT_CONTROL, i);
	return 0;
}

/* As nat_map() makes one, but with a given port. The reference is adoption's own. */
static uint32_t make(const struct nat_key *k, const struct nat_mapping *m)
{
	struct table *t = nat_mapping_table();
	struct nat_pool *p = &nat_pools[k->pool];
	const enum steer_proto which = nat_which(k->proto);
	uint32_t present, source = 0, i = t->count < t->capacity ? pool_alloc(&t->pool, SLOT_CONTROL) : 0;
	uint16_t block = 0;

	if (!i)
		return 0;
	if ((p->max_ports || p->max_sessions || p->blocks) && !nat_source_take(SLOT_CONTROL, k, 0, &source))
		nat_session_begin(source, 0);
	/* one that was in a block is in one, or gone, and none is in another's: what is told of a block has to be true */
	if (p->blocks && m->block && source)
		block = nat_block_adopt(k->pool, source, m->outside_port, m->created);
	if (p->blocks && (m->block ? !block : nat_block_held(k->pool, m->outside_port)))
		return undo(i, k->pool, source, 0);
	*(struct nat_key *)table_key(t, i) = *k;
	*(struct nat_mapping *)table_value(t, i) =
		(struct nat_mapping){ .outside = m->outside,
				      .outside_port = m->outside_port,
				      .pool = k->pool,
				      .proto = k->proto,
				      .refs = 1,
				      .created = m->created,
				      .filter = m->shared ? (uint16_t)NAT_APDF : p->filter,
				      .block = block,
				      .shared = m->shared != 0,
				      .source = source };
	if (!m->shared && hidx_insert(&t->idx, hash_key(k, sizeof(*k)), i, &present))
		return undo(i, k->pool, source, block);
	if (!m->shared)
		p->owner[which][m->outside_port] = i;
	__atomic_fetch_or(&p->bits[which][m->outside_port / 64], 1ull << (m->outside_port % 64), __ATOMIC_ACQ_REL);
	p->in_use[which] += !m->shared || p->sharers[which][m->outside_port]++ == 0;
	t->count++;
	pool_publish(&t->pool, i);
	return i;
}

void nat_adopt_begin(uint32_t now_s)
{
	struct former f;

	n_translation = 0;
	if (former_open_pool(&f, "nat", sizeof(struct nat_key) + sizeof(struct nat_mapping)))
		return;
	translation = calloc((size_t)f.capacity + 1, sizeof(*translation)); /* of so many: no memory until used */
	n_translation = translation ? f.capacity + 1 : 0;
	for (uint32_t i = former_next(&f, 0); i; i = former_next(&f, i)) {
		const struct nat_key *e = former_at(&f, i);
		int pool = -1;
		if (e && translation && judge(e, (const void *)(e + 1), now_s, &pool) == ADOPT_OK) {
			struct nat_key k = *e;
			k.pool = (uint8_t)pool;
			translation[i] = make(&k, (const void *)(e + 1));
		}
		if (translation && translation[i])
			adoption.mappings++;
		else
			adoption.dropped_mappings++;
	}
	former_close(&f);
}

uint32_t nat_adopted(uint32_t former)
{
	return former < n_translation ? translation[former] : 0;
}

void nat_adopt_end(void)
{
	const uint32_t before = adoption.mappings;

	for (uint32_t i = nat_next(0); i && before; i = nat_next(i))
		nat_unref(SLOT_CONTROL, i);
	nat_block_adopted();
	adoption.mappings = nat_count();
	adoption.dropped_mappings += before - adoption.mappings;
	free(translation);
	translation = NULL;
	n_translation = 0;
}

void nat_bits_settle(void)
{
	enum { WORDS = STEER_BITMAP_SIZE / 8 };

	nat_bits_kept = false;
	for (unsigned i = 0; i < NAT_POOLS_MAX; i++) {
		for (unsigned w = 0; w < STEER_PROTOS && nat_pools[i].bits[w] && nat_pools[i].owner[w]; w++) {
			const uint32_t *owner = nat_pools[i].owner[w], *sharers = nat_pools[i].sharers[w];
			for (unsigned n = 0; n < WORDS; n++) {
				uint64_t bits = 0;
				for (unsigned b = 0; b < 64 && nat_pools[i].in_use[w]; b++)
					bits |= (uint64_t)(owner[n * 64 + b] || sharers[n * 64 + b]) << b;
				if (nat_pools[i].bits[w][n] != bits)
					STORE_RELEASE(&nat_pools[i].bits[w][n], bits);
			}
		}
	}
}
