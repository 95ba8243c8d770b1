/* SPDX-License-Identifier: BSD-2-Clause */
/* Which rules the box's routing needs for proxies (proxy_sync.h): one for marked packets when any rule redirects, and one for each
 * address of the endpoints that a redirect rule for ingress names. */
#include "fwd/proxy_sync.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/netlink.h"
#include "tables/endpoint.h"
#include "tables/policy.h"

struct addresses {
	struct ipaddr *a;
	uint32_t n, room;
};

static bool dirty = true; /* also once without any rule: what a run that crashed left goes */
static struct addresses have;

void proxy_sync_dirty(void)
{
	dirty = true;
}

static bool add_endpoint(struct addresses *l, const struct endpoint *ep)
{
	if (!ep || !ep->n_addrs)
		return true;
	if (l->n + ep->n_addrs > l->room) {
		const uint32_t room = 2 * (l->room + ep->n_addrs);
		struct ipaddr *a = realloc(l->a, room * sizeof(*a));
		if (!a)
			return false;
		l->a = a;
		l->room = room;
	}
	memcpy(l->a + l->n, ep->addr, ep->n_addrs * sizeof(*l->a));
	l->n += ep->n_addrs;
	return true;
}

/* False: out of memory. '*any': some rule redirects. */
static bool collect(struct addresses *l, bool *any)
{
	bool ok = true;
	for (uint32_t i = policy_next(0); i && ok; i = policy_next(i)) {
		const struct policy_rule *r = policy_rule_at(i);
		if (!r || r->verdict != POLICY_REDIRECT)
			continue;
		*any = true;
		if (r->direction != POLICY_INGRESS)
			continue;
		if (r->subject == POLICY_ENDPOINT)
			ok = add_endpoint(l, endpoint_by_id(r->subject_id));
		for (uint32_t id = r->subject == POLICY_IDENTITY ? endpoint_next(0) : 0; id && ok;
		     id = endpoint_next(id))
			if (endpoint_by_id(id)->identity == r->subject_id)
				ok = add_endpoint(l, endpoint_by_id(id));
	}
	return ok;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ipaddr));
}

static void sort_unique(struct addresses *l)
{
	uint32_t n = 0;
	if (l->n)
		qsort(l->a, l->n, sizeof(*l->a), compare);
	for (uint32_t i = 0; i < l->n; i++)
		if (!n || compare(&l->a[n - 1], &l->a[i]))
			l->a[n++] = l->a[i];
	l->n = n;
}

/* Rules for what is in 'of' and not in 'but'; both sorted. */
static int change(bool add, const struct addresses *of, const struct addresses *but, struct err *e)
{
	int first = 0;
	for (uint32_t i = 0, k = 0; i < of->n; i++) {
		while (k < but->n && compare(&but->a[k], &of->a[i]) < 0)
			k++;
		if (k < but->n && !compare(&but->a[k], &of->a[i]))
			continue;
		int r = netlink_proxy_source(add, &of->a[i], e);
		first = first ? first : r;
	}
	return first;
}

int proxy_sync(struct err *e)
{
	struct addresses want = { 0 };
	bool any = false;
	if (!dirty)
		return 0;
	dirty = false;
	if (!collect(&want, &any)) {
		free(want.a);
		return err_set(e, -ENOMEM, "proxy: out of memory");
	}
	sort_unique(&want);
	int r = netlink_proxy_routing(any, e);
	int r2 = change(false, &have, &want, e), r3 = change(true, &want, &have, e);
	free(have.a);
	have = want;
	return r ? r : r2 ? r2 : r3;
}

void proxy_sync_stop(void)
{
	struct addresses none = { 0 };
	struct err e;
	change(false, &have, &none, &e);
	netlink_proxy_routing(false, &e);
	free(have.a);
	have = none;
	dirty = true;
}
