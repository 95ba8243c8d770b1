/* SPDX-License-Identifier: BSD-2-Clause */
/* Permits: who may come in by a mapping, reference counted as mappings are (nat.c). Workers call all of it. */
#include <errno.h>

#include "tables/ct.h"
#include "tables/nat_pool.h"

enum { SHARED = 1 << 30 }; /* no index of a mapping */

struct permit_key {
	struct ipaddr remote;
	uint32_t mapping;
	uint16_t port, zone; /* of the remote */
};
struct permit {
	uint32_t refs, reserved;
};
_Static_assert(sizeof(struct permit_key) == 24 && sizeof(struct permit) == 8, "no padding");

static struct table permits;

int nat_permit_open(struct err *e)
{
	/* one a connection at most */
	const uint32_t capacity = MAX(table_defs[TABLE_NAT_PERMIT].capacity, ct_max_tcp + ct_max_other);
	return table_open(&permits, "nat_permit", capacity, sizeof(struct permit_key), sizeof(struct permit), e);
}

void nat_permit_close(void)
{
	table_close(&permits);
}

uint32_t nat_permit_count(void)
{
	return table_count(&permits);
}

bool nat_permit_full(void)
{
	return table_count(&permits) >= permits.capacity;
}

/* With a shared port the permit is what tells its connections apart: one for each remote, whoever is inside. */
static struct permit_key shared_key(unsigned p, enum steer_proto which, uint16_t port, const struct nat_remote *to)
{
	return (struct permit_key){ .remote = to->addr,
				    .mapping = SHARED | p << 18 | (uint32_t)which << 16 | port,
				    .port = to->port,
				    .zone = to->zone };
}

static struct permit_key permit_key(uint32_t mapping, const struct nat_remote *r)
{
	const struct nat_mapping *m = nat_at(mapping);

	if (m->shared)
		return shared_key(m->pool, nat_which(m->proto), m->outside_port, r);
	return (struct permit_key){
		.remote = r->addr, .mapping = mapping, .port = m->filter == NAT_APDF ? r->port : 0, .zone = r->zone
	};
}

static uint32_t *permit_refs(uint32_t i)
{
	return &((struct permit *)table_value(&permits, i))->refs;
}

int nat_permit_in(unsigned slot, uint32_t mapping, const struct nat_remote *r)
{
	const struct permit one = { .refs = 1 };
	unsigned spins = 0;

	if (nat_at(mapping)->filter == NAT_EIF)
		return 0;
	const struct permit_key k = permit_key(mapping, r);
	for (;;) {
		uint32_t i;
		int err = table_insert(&permits, slot, &k, &one, &i);
		if (!err)
			pool_prefetch_next(&permits.pool, i);
		if (err != -EEXIST || nat_at(mapping)->shared)
			return err;
		if (nat_ref_take(permit_refs(i)))
			return 0;
		nat_breathe(&spins);
	}
}

void nat_unpermit_in(unsigned slot, uint32_t mapping, const struct nat_remote *r)
{
	if (nat_at(mapping)->filter == NAT_EIF)
		return;
	const struct permit_key k = permit_key(mapping, r);
	uint32_t i = table_find(&permits, &k);
	if (i && nat_ref_drop(permit_refs(i)))
		table_delete(&permits, slot, &k);
}

bool nat_permitted_in(uint32_t mapping, const struct nat_remote *r)
{
	if (nat_at(mapping)->filter == NAT_EIF)
		return true;
	const struct permit_key k = permit_key(mapping, r);
	uint32_t i = table_find(&permits, &k);
	return i && LOAD_ACQUIRE(permit_refs(i));
}

int nat_permit(unsigned slot, uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	return nat_permit_in(slot, mapping, &(struct nat_remote){ .addr = *remote, .port = port });
}

void nat_unpermit(unsigned slot, uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	nat_unpermit_in(slot, mapping, &(struct nat_remote){ .addr = *remote, .port = port });
}

bool nat_permitted(uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	return nat_permitted_in(mapping, &(struct nat_remote){ .addr = *remote, .port = port });
}

void nat_permit_prefetch(uint32_t mapping, const struct ipaddr *remote, uint16_t port)
{
	if (nat_at(mapping)->filter == NAT_EIF)
		return;
	const struct permit_key k = permit_key(mapping, &(struct nat_remote){ .addr = *remote, .port = port });
	hidx_prefetch(&permits.idx, hash_key(&k, sizeof(k)));
}

/* ---- shared ports ---- */

int nat_permit_shared(unsigned slot, unsigned p, enum steer_proto which, uint16_t port, const struct nat_remote *to)
{
	const struct permit_key k = shared_key(p, which, port, to);
	const struct permit one = { .refs = 1 };
	return table_insert(&permits, slot, &k, &one, NULL);
}

bool nat_permit_is_shared(unsigned p, enum steer_proto which, uint16_t port, const struct nat_remote *to)
{
	const struct permit_key k = shared_key(p, which, port, to);
	return table_find(&permits, &k);
}
