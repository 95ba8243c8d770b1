/* SPDX-License-Identifier: BSD-2-Clause */
/* ipcache: who lives behind an address. Workers look up in the decision path; the control thread writes.
 *
 * Two sets of one lpm: LIVE holds what look-ups see, ASIDE the configured rows that a local endpoint of the same
 * address covers. They come back when the endpoint goes, so the order of commands in a file does not matter. */
#include "tables/ipcache.h"

#include "tables/room.h"
#include "tables/tunnel.h"

enum { LIVE = 0, ASIDE = 1 };
static struct lpm cache;
static uint32_t n_aside;

int ipcache_init(struct err *e)
{
	n_aside = 0;
	return lpm_open(&cache, "ipcache", 0, sizeof(struct ipcache_value), GEN_IPCACHE, e);
}

void ipcache_fini(void)
{
	lpm_close(&cache);
}

const struct ipcache_value *ipcache_lookup(const struct ipaddr *a, uint16_t *dep)
{
	uint32_t i = lpm_lookup(&cache, LIVE, a, dep);

	return i ? lpm_value(&cache, i) : NULL;
}

uint32_t ipcache_identity(const struct ipaddr *a, uint16_t *dep)
{
	const struct ipcache_value *v = ipcache_lookup(a, dep);

	return v ? LOAD_RELAXED(&v->identity) : ID_WORLD;
}

static int store(uint32_t set, const struct ipnet *n, const struct ipcache_value *v, struct err *e)
{
	char b[IP_STRLEN];
	int r = lpm_set(&cache, set, n, v);

	if (room_after_wait(&cache.t, r, !lpm_exact(&cache, set, n)))
		r = lpm_set(&cache, set, n, v);
	if (!r)
		return 0;
	return err_set(e, r, "ipcache %s: the table is full (%u rows): delete rows or merge them into shorter prefixes",
		       ipnet_print(n, b), table_count(&cache.t));
}

static struct ipcache_value *row(uint32_t set, const struct ipnet *n)
{
	uint32_t i = lpm_exact(&cache, set, n);

	return i ? lpm_value(&cache, i) : NULL;
}

/* The row of a local address. A former one of the endpoint changes in place, which cannot fail: endpoint_set relies on
 * it. */
static int imply(const struct ipnet *n, uint32_t identity, struct err *e)
{
	struct ipcache_value v = { .identity = identity, .flags = IPCACHE_ENDPOINT }, aside;
	struct ipcache_value *was = row(LIVE, n);
	uint16_t dep;
	int r;

	if (was && was->flags & IPCACHE_ENDPOINT) {
		if (was->identity != identity) {
			STORE_RELAXED(&was->identity, identity);
			lpm_lookup(&cache, LIVE, &n->addr, &dep);
			gen_bump(dep);
		}
		return 0;
	}
	if (!was)
		return store(LIVE, n, &v, e);
	aside = *was;
	r = store(ASIDE, n, &aside, e);
	if (r)
		return r;
	r = store(LIVE, n, &v, e);
	if (r)
		lpm_delete(&cache, ASIDE, n);
	else
		n_aside++;
	return r;
}

void ipcache_unimply(const struct ipaddr *a)
{
	struct ipnet n = { .addr = *a, .len = 128 };
	struct ipcache_value *v = row(LIVE, &n), back;

	if (!v || !(v->flags & IPCACHE_ENDPOINT))
		return;
	v = row(ASIDE, &n);
	if (!v) {
		lpm_delete(&cache, LIVE, &n);
		return;
	}
	/* Deleted first: the place it frees is the one the replacement needs when the table is full. */
	back = *v;
	lpm_delete(&cache, ASIDE, &n);
	n_aside--;
	if (store(LIVE, &n, &back, NULL)) {
		lpm_delete(&cache, LIVE, &n);
		if (store(LIVE, &n, &back, NULL))
			remote_put(back.remote);
	}
}

int ipcache_set(const struct ipnet *n, uint32_t identity, const struct remote_name *remote, uint32_t flags,
		struct err *e)
{
	struct ipcache_value v = { .identity = identity, .flags = flags };
	const struct ipcache_value *was = row(LIVE, n);
	uint32_t old = was ? was->remote : 0;
	char b[IP_STRLEN];
	int r;

	if (identity > ID_MAX)
		return err_set(e, -EINVAL, "ipcache %s: identity %u is too large: the largest is %u", ipnet_print(n, b),
			       identity, ID_MAX);
	if (flags & IPCACHE_ENDPOINT)
		return imply(n, identity, e);
	if (was && was->flags & IPCACHE_ENDPOINT)
		return err_set(e, -EEXIST,
			       "ipcache %s is the address of a local endpoint: set the endpoint's identity instead",
			       ipnet_print(n, b));
	if (remote) {
		if (remote->port || !ip_is_zero(&remote->vtep))
			v.flags |= IPCACHE_VTEP;
		v.remote_addr = remote->addr;
		v.remote = remote_get(remote, e);
		if (!v.remote)
			return -ENOENT;
	}
	r = store(LIVE, n, &v, e);
	remote_put(r ? v.remote : old);
	return r;
}

int ipcache_del(const struct ipnet *n, struct err *e)
{
	const struct ipcache_value *was = row(LIVE, n);
	uint32_t remote = was ? was->remote : 0;
	char b[IP_STRLEN];

	if (was && was->flags & IPCACHE_ENDPOINT) {
		was = row(ASIDE, n);
		if (!was)
			return err_set(e, -EEXIST,
				       "ipcache %s is the address of a local endpoint: delete the endpoint instead",
				       ipnet_print(n, b));
		remote = was->remote;
		lpm_delete(&cache, ASIDE, n);
		n_aside--;
	} else if (lpm_delete(&cache, LIVE, n)) {
		return err_set(e, -ENOENT, "ipcache %s does not exist: 'show ipcache' lists what does",
			       ipnet_print(n, b));
	}
	remote_put(remote);
	return 0;
}

uint32_t ipcache_next(uint32_t after, struct ipnet *n, struct ipcache_value *v)
{
	uint32_t i = lpm_next(&cache, after);

	while (i && lpm_key(&cache, i)->set != LIVE)
		i = lpm_next(&cache, i);
	if (i) {
		*n = (struct ipnet){ .addr = lpm_key(&cache, i)->addr, .len = (uint8_t)lpm_key(&cache, i)->len };
		*v = *(const struct ipcache_value *)lpm_value(&cache, i);
	}
	return i;
}

uint32_t ipcache_count(void)
{
	return table_count(&cache.t) - n_aside;
}
