/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints by id (an array of pointers) and by address (the hash engine, address -> id). Workers read both in the
 * entry and route steps; the control thread replaces an endpoint whole and frees the old one after a grace period.
 * endpoint_set either does everything or nothing: what can fail (new addresses) comes first and is taken back. */
#include "tables/endpoint.h"

#include <stdlib.h>

#include "tables/gen.h"
#include "tables/ipcache.h"
#include "tables/room.h"

struct addr_value {
	uint32_t id, reserved;
};
static struct endpoint *by_id[ENDPOINT_ID_MAX + 1]; /* RCU */
static struct table by_addr;
static uint32_t n_endpoints, highest; /* id ever set */

int endpoint_init(struct err *e)
{
	return table_open(&by_addr, "endpoints", 0, sizeof(struct ipaddr), sizeof(struct addr_value), e);
}

void endpoint_fini(void)
{
	for (uint32_t id = 1; id <= ENDPOINT_ID_MAX; id++) {
		free(by_id[id]);
		by_id[id] = NULL;
	}
	n_endpoints = 0;
	highest = 0;
	table_close(&by_addr);
}

const struct endpoint *endpoint_by_id(uint32_t id)
{
	return id <= ENDPOINT_ID_MAX ? LOAD_ACQUIRE(&by_id[id]) : NULL;
}

static uint32_t owner(const struct ipaddr *a)
{
	uint32_t i = table_find(&by_addr, a);

	return i ? ((const struct addr_value *)table_value(&by_addr, i))->id : 0;
}

const struct endpoint *endpoint_by_addr(const struct ipaddr *a)
{
	return endpoint_by_id(owner(a));
}

static bool has_addr(const struct endpoint *ep, const struct ipaddr *a)
{
	for (unsigned i = 0; ep && i < ep->n_addrs; i++)
		if (ip_eq(&ep->addr[i], a))
			return true;
	return false;
}

static int check(const struct endpoint *ep, struct err *e)
{
	char b[IP_STRLEN];

	if (ep->id < 1 || ep->id > ENDPOINT_ID_MAX)
		return err_set(e, -EINVAL, "endpoint %u: ids go from 1 to %d", ep->id, ENDPOINT_ID_MAX);
	if (ep->identity > ID_MAX)
		return err_set(e, -EINVAL, "endpoint %u: identity %u is too large: the largest is %u", ep->id,
			       ep->identity, ID_MAX);
	if (ep->n_addrs > ENDPOINT_ADDRS)
		return err_set(e, -EINVAL, "endpoint %u: %u addresses are too many: give at most %d", ep->id,
			       ep->n_addrs, ENDPOINT_ADDRS);
	for (unsigned i = 0; i < ep->n_addrs; i++) {
		const struct ipaddr *a = &ep->addr[i];
		uint32_t who = owner(a);

		ip_print(a, b);
		if (ip_is_zero(a) || ip_is_multicast(a) || ip_is_loopback(a) || ip_is_bcast4(a))
			return err_set(e, -EINVAL,
				       "endpoint %u: %s is not the address of a workload: give a unicast address",
				       ep->id, b);
		for (unsigned k = 0; k < i; k++)
			if (ip_eq(&ep->addr[k], a))
				return err_set(e, -EINVAL, "endpoint %u: address %s is given twice: leave one out",
					       ep->id, b);
		if (who && who != ep->id)
			return err_set(
				e, -EEXIST,
				"endpoint %u: address %s belongs to endpoint %u: give another one or delete that first",
				ep->id, b, who);
	}
	return 0;
}

static void drop_addr(const struct ipaddr *a)
{
	table_delete(&by_addr, SLOT_CONTROL, a);
	ipcache_unimply(a);
}

static int take_addr(uint32_t id, uint32_t identity, const struct ipaddr *a, struct err *e)
{
	struct addr_value v = { .id = id };
	struct ipnet host = { .addr = *a, .len = 128 };
	char b[IP_STRLEN];
	int r = table_insert(&by_addr, SLOT_CONTROL, a, &v, NULL);

	if (room_after_wait(&by_addr, r, true))
		r = table_insert(&by_addr, SLOT_CONTROL, a, &v, NULL);
	if (r)
		return err_set(e, r, "endpoint %u: no room for address %s: %u addresses are in use: delete endpoints",
			       id, ip_print(a, b), table_count(&by_addr));
	r = ipcache_set(&host, identity, NULL, IPCACHE_ENDPOINT, e);
	if (r)
		table_delete(&by_addr, SLOT_CONTROL, a);
	return r;
}

/* The addresses that 'old' does not have. */
static int take_new_addrs(const struct endpoint *ep, const struct endpoint *old, struct err *e)
{
	for (unsigned i = 0; i < ep->n_addrs; i++) {
		if (has_addr(old, &ep->addr[i]))
			continue;
		int r = take_addr(ep->id, ep->identity, &ep->addr[i], e);
		if (!r)
			continue;
		while (i-- > 0)
			if (!has_addr(old, &ep->addr[i]))
				drop_addr(&ep->addr[i]);
		return r;
	}
	return 0;
}

int endpoint_set(const struct endpoint *ep, struct err *e)
{
	struct endpoint *old, *new;
	int r = check(ep, e);

	if (r)
		return r;
	old = by_id[ep->id];
	new = malloc(sizeof(*new));
	if (!new)
		return err_set(e, -ENOMEM, "endpoint %u: out of memory", ep->id);
	*new = *ep;
	new->gen = gen_number(GEN_ENDPOINT, ep->id);
	r = take_new_addrs(new, old, e);
	if (r) {
		free(new);
		return r;
	}
	STORE_RELEASE(&by_id[new->id], new);
	highest = MAX(highest, new->id);
	for (unsigned i = 0; old && i < old->n_addrs; i++) {
		struct ipnet host = { .addr = old->addr[i], .len = 128 };
		if (!has_addr(new, &old->addr[i]))
			drop_addr(&old->addr[i]);
		else if (old->identity != new->identity)
			ipcache_set(&host, new->identity, NULL, IPCACHE_ENDPOINT, NULL);
	}
	gen_bump(new->gen);
	if (old)
		rcu_defer(free, old);
	else
		n_endpoints++;
	return 0;
}

int endpoint_del(uint32_t id, struct err *e)
{
	struct endpoint *old = id <= ENDPOINT_ID_MAX ? by_id[id] : NULL;

	if (!old)
		return err_set(e, -ENOENT, "endpoint %u does not exist: 'show endpoints' lists what does", id);
	STORE_RELEASE(&by_id[id], NULL);
	for (unsigned i = 0; i < old->n_addrs; i++)
		drop_addr(&old->addr[i]);
	gen_bump(old->gen);
	rcu_defer(free, old);
	n_endpoints--;
	return 0;
}

uint32_t endpoint_next(uint32_t after_id)
{
	for (uint32_t id = after_id + 1; id <= highest; id++)
		if (LOAD_RELAXED(&by_id[id]))
			return id;
	return 0;
}

uint32_t endpoint_count(void)
{
	return n_endpoints;
}
