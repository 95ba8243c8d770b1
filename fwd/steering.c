/* SPDX-License-Identifier: BSD-2-Clause */
/* Steering: the whole wanted table is computed from endpoints, tunnels, VTEPs, pools, services and routes, sorted, and compared
 * with what was written last; only differences reach the kernel. Simple, and never out of step; 64 Ki endpoints take some 20 ms,
 * off the packet path. */
#include "fwd/steering.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/fib.h"
#include "fwd/port/port.h"
#include "tables/endpoint.h"
#include "tables/nat.h"
#include "tables/service.h"
#include "tables/tunnel.h"

struct row {
	struct ipnet net;
	struct steer_val val;
};
struct rows {
	struct row *r;
	size_t n, room;
	struct steer_service *service;
	uint32_t n_services;
};

static struct loader *loader;
static struct rows current;
static bool dirty;

static void free_rows(struct rows *t)
{
	free(t->r);
	free(t->service);
	*t = (struct rows){ 0 };
}

void steering_init(struct loader *l)
{
	loader = l;
	dirty = true;
}

void steering_fini(void)
{
	free_rows(&current);
	loader = NULL;
}

void steering_dirty(void)
{
	dirty = true;
}

static int push(struct rows *t, const struct ipnet *n, const struct steer_val *v)
{
	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 256;
		struct row *r = realloc(t->r, room * sizeof(*r));
		if (!r)
			return -ENOMEM;
		t->r = r;
		t->room = room;
	}
	t->r[t->n++] = (struct row){ *n, *v };
	return 0;
}

static int push_host(struct rows *t, const struct ipaddr *a, const struct steer_val *v)
{
	struct ipnet n = { *a, 128 };
	return push(t, &n, v);
}

static int compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int d = memcmp(&x->net.addr, &y->net.addr, sizeof(x->net.addr));
	return d ? d : (int)x->net.len - (int)y->net.len;
}

static int add_endpoints(struct rows *t)
{
	const struct steer_val v = { .flags = STEER_ALL };
	int err = 0;
	for (uint32_t id = endpoint_next(0); id && !err; id = endpoint_next(id)) {
		const struct endpoint *ep = endpoint_by_id(id);
		for (unsigned i = 0; ep && i < ep->n_addrs && !err; i++)
			err = push_host(t, &ep->addr[i], &v);
	}
	return err;
}

static int add_tunnels(struct rows *t)
{
	const struct steer_val all = { .flags = STEER_ALL };
	struct tunnel_value tv;
	struct ipnet n;
	int err = 0;
	for (uint32_t i = tunnel_next(0, &n, &tv); i && !err; i = tunnel_next(i, &n, &tv))
		err = push(t, &n, &all);
	for (unsigned i = 0; i < VTEPS_MAX && !err; i++) {
		struct steer_val v = { .flags = STEER_VTEP, .vtep_port = { htons(vteps[i].port) } };
		if (!ip_is_zero(&vteps[i].addr))
			err = push_host(t, &vteps[i].addr, &v);
	}
	return err;
}

/* Of an address of the box itself only the frontends' ports: one for all ports would cut off the box. */
static int add_own(struct rows *t, const struct service_key *k)
{
	const struct steer_val v = { .flags = STEER_SERVICE };
	if (!k->port)
		return 0;
	struct steer_service *s = &t->service[t->n_services++];
	*s = (struct steer_service){ .port = htons(k->port), .proto = k->proto };
	memcpy(s->addr, k->vip.b, sizeof(s->addr));
	return push_host(t, &k->vip, &v);
}

static int add_vips(struct rows *t)
{
	const struct steer_val all = { .flags = STEER_ALL | STEER_ARP };
	int err = 0;
	if (!(t->service = calloc(service_count() + 1, sizeof(*t->service))))
		return -ENOMEM;
	for (uint32_t id = service_next(0); id && !err; id = service_next(id)) {
		const struct service_key *k = &service_at(id)->conf.key;
		err = fib_is_own(&k->vip) ? add_own(t, k) : push_host(t, &k->vip, &all);
	}
	return err;
}

static int compare_services(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct steer_service));
}

static int add_pools(struct rows *t)
{
	const struct steer_val all = { .flags = STEER_ALL };
	int err = 0;
	for (unsigned i = 0; i < NAT_POOLS_MAX && !err; i++) {
		struct steer_val v = { .flags = STEER_POOL, .pool = i };
		const struct ipnet n = { nat_pools[i].addr, nat_pools[i].prefix };
		struct fib_result f;
		if (ip_is_zero(&n.addr))
			continue;
		if (n.len) { /* the next router has it by a route, nobody asks for its addresses */
			err = push(t, &n, &all);
			continue;
		}
		fib_lookup(&nat_pools[i].addr, 0, &f);
		if (f.kind != FIB_LOCAL) /* nobody else would answer */
			v.flags |= STEER_ARP;
		if (nat_is_static(&nat_pools[i])) /* an address of the box keeps its traffic: see 'check' of the pool */
			v.flags = f.kind == FIB_LOCAL ? STEER_PASS : STEER_ALL | STEER_ARP;
		err = push_host(t, &nat_pools[i].addr, &v);
	}
	return err;
}

/* Routes that leave by a port with transit on are taken; the box's own addresses never are. */
static int add_routes(struct rows *t)
{
	const struct steer_val all = { .flags = STEER_ALL }, pass = { .flags = STEER_PASS };
	struct fib_route r;
	int err = 0;
	for (uint32_t i = fib_next(0, &r); i && !err; i = fib_next(i, &r)) {
		if (r.kind == FIB_LOCAL) {
			err = push(t, &r.prefix, &pass);
			continue;
		}
		for (unsigned k = 0; k < r.n && r.kind == FIB_UNICAST && !err; k++) {
			int p = r.nh[k].port;
			if (p >= 0 && ports[p] && ports[p]->conf.transit) {
				err = push(t, &r.prefix, &all);
				break;
			}
		}
	}
	return err;
}

/* Rows of one prefix become one: flags add up, "pass" yields to everything. */
static void merge(struct rows *t)
{
	size_t out = 0;
	for (size_t i = 0; i < t->n; i++) {
		struct row *have = out ? &t->r[out - 1] : NULL, *r = &t->r[i];
		if (!have || compare(have, r) != 0) {
			t->r[out++] = *r;
			continue;
		}
		if (r->val.flags & STEER_POOL)
			have->val.pool = r->val.pool;
		for (unsigned k = 0, j = 0; k < 4 && r->val.vtep_port[0] && j < 4; k++)
			if (!have->val.vtep_port[k]) {
				have->val.vtep_port[k] = r->val.vtep_port[j++];
				break;
			}
		have->val.flags |= r->val.flags;
	}
	t->n = out;
	for (size_t i = 0; i < t->n; i++)
		if (t->r[i].val.flags != STEER_PASS)
			t->r[i].val.flags &= ~(uint32_t)STEER_PASS;
}

/* What the kernel refused is forgotten in 'want', so that the next change tries it again. */
static int apply(struct rows *want)
{
	size_t i = 0, k = 0, kept = 0;
	int err = 0, one;
	while (i < want->n || k < current.n) {
		int d = i == want->n ? 1 : k == current.n ? -1 : compare(&want->r[i], &current.r[k]);
		one = 0;
		if (d > 0)
			loader_steer_del(loader, &current.r[k].net);
		else if (d < 0 || memcmp(&want->r[i].val, &current.r[k].val, sizeof(want->r[i].val)) != 0)
			one = loader_steer_set(loader, &want->r[i].net, &want->r[i].val);
		err = err ? err : one;
		if (d <= 0 && !one)
			want->r[kept++] = want->r[i];
		i += d <= 0;
		k += d >= 0;
	}
	want->n = kept;
	return err;
}

static int apply_services(struct rows *want)
{
	uint32_t i = 0, k = 0, kept = 0;
	int err = 0, one;
	while (i < want->n_services || k < current.n_services) {
		int d = i == want->n_services     ? 1
			: k == current.n_services ? -1
						  : compare_services(&want->service[i], &current.service[k]);
		one = 0;
		if (d > 0)
			loader_service_del(loader, &current.service[k]);
		else if (d < 0)
			one = loader_service_set(loader, &want->service[i]);
		err = err ? err : one;
		if (d <= 0 && !one)
			want->service[kept++] = want->service[i];
		i += d <= 0;
		k += d >= 0;
	}
	want->n_services = kept;
	return err;
}

int steering_sync(struct err *e)
{
	struct rows want = { 0 };
	if (!dirty || !loader)
		return 0;
	int err = add_endpoints(&want);
	err = err ? err : add_tunnels(&want);
	err = err ? err : add_pools(&want);
	err = err ? err : add_vips(&want);
	err = err ? err : add_routes(&want);
	if (err) {
		free_rows(&want);
		return err_set(e, err, "out of memory for the steering table");
	}
	if (want.n)
		qsort(want.r, want.n, sizeof(want.r[0]), compare);
	merge(&want);
	qsort(want.service, want.n_services, sizeof(want.service[0]), compare_services);
	err = apply_services(&want);
	const int err_rows = apply(&want);
	err = err ? err : err_rows;
	free_rows(&current);
	current = want;
	dirty = false;
	if (err)
		return err_set(e, err, "kernel steering table: %s; traffic to the last addresses added is not taken",
			       strerror(-err));
	return 0;
}
