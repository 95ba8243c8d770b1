/* SPDX-License-Identifier: BSD-2-Clause */
/* The mirror of the kernel's routing tables (fib.h). Control thread writes; fib_lookup and fib_port_addr are lock-free.
 *
 * Two layers. Records are all routes the kernel told of, kept per prefix (node) in the kernel's order: local table first, then
 * metric, then age. The answer of a prefix is what its best usable record says; it is immutable, hangs off the LPM value and is
 * replaced whole, so readers see one or the other. Only a changed answer touches the LPM, which then bumps generations:
 * a re-dump that finds nothing new costs no flow its record.
 * Merging local and main into one LPM is what the kernel does for IPv4; for IPv6 it differs only where a main route is more
 * specific than a local prefix.
 *
 * Ports of a zone (docs/zones.md) lead to networks whose addresses others may have, too. Each zone has a set of its own in the LPM,
 * made of the routes by its ports alone, also of those that lose to another's in set 0, which has them all. */
#include "fwd/fib_private.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/rcu.h"
#include "fwd/port/port.h"

enum { FIB_CAPACITY = 1280 * 1024 }; /* a full Internet table of both families */

struct leg {
	struct fib_nexthop nh;
	uint32_t upto; /* running sum of weights */
};
struct fib_answer {
	uint32_t kind, n;
	struct leg leg[];
};
struct value {
	const struct fib_answer *answer;
};
_Static_assert(sizeof(struct value) == 8, "one word in the LPM");

uint32_t fib_sources_matter;

static struct lpm lpm;
static bool is_open, in_resync;
static uint64_t version;

static uint16_t zones[PORTS_MAX]; /* of ports, but 0 */
static unsigned n_zones;

static int node_update(struct fib_node *n, struct err *e);

int fib_init(struct err *e)
{
	int rc = lpm_open(&lpm, "fib", FIB_CAPACITY, sizeof(struct value), GEN_ROUTE, e);
	if (rc < 0)
		return rc;
	if (fib_records_init() < 0) {
		lpm_close(&lpm);
		return err_set(e, -ENOMEM, "fib: out of memory");
	}
	is_open = true;
	return 0;
}

void fib_fini(void)
{
	if (!is_open)
		return;
	for (struct fib_node *n = NULL; (n = fib_node_next(n));) {
		free((void *)n->answer);
		for (struct fib_zoned *z = n->zoned, *next; z; z = next) {
			next = z->next;
			free((void *)z->answer);
			free(z);
		}
	}
	n_zones = 0;
	fib_records_fini();
	fib_addrs_fini();
	lpm_close(&lpm);
	is_open = false;
}

void fib_lookup(const struct ipaddr *dst, uint32_t hash, struct fib_result *r)
{
	fib_lookup_zone(0, dst, hash, r);
}

void fib_lookup_zone(uint16_t zone, const struct ipaddr *dst, uint32_t hash, struct fib_result *r)
{
	memset(r, 0, sizeof(*r));
	r->nh.port = -1;
	uint32_t i = lpm_lookup(&lpm, zone, dst, &r->dep);
	if (!i)
		return;
	const struct lpm_key *k = lpm_key(&lpm, i);
	const struct fib_answer *a = ((const struct value *)lpm_value(&lpm, i))->answer;
	r->kind = a->kind;
	r->prefix = (struct ipnet){ .addr = k->addr, .len = (uint8_t)k->len };
	if (!a->n)
		return;
	/* the multiplier spreads hashes that differ in low bits only over the range */
	uint32_t at = (uint32_t)((uint64_t)(hash * 0x9e3779b1u) * a->leg[a->n - 1].upto >> 32), l = 0;
	while (at >= a->leg[l].upto)
		l++;
	r->nh = a->leg[l].nh;
}

bool fib_source_valid(const struct ipaddr *src, uint16_t port, bool strict, uint16_t *dep)
{
	uint32_t i = lpm_lookup(&lpm, port_zone(port), src, dep);
	const struct fib_answer *a = i ? ((const struct value *)lpm_value(&lpm, i))->answer : NULL;
	if (!a || a->kind != FIB_UNICAST)
		return false;
	for (unsigned l = 0; l < a->n; l++)
		if (!strict || a->leg[l].nh.port == (int32_t)port)
			return true;
	return false;
}

/* ---- changes ---- */

/* Is 'x' another form of what 'r' says now? The same hops with other weights or states; for IPv6, where the kernel tells the
 * whole set of siblings each time, also a part of them. */
static bool superseded(const struct fib_record *x, const struct fib_route *r)
{
	if (!fib_same_identity(x, r) || x->kind != r->kind || x->protocol != r->protocol)
		return false;
	if (ip_is4(&r->prefix.addr) || !r->n)
		return fib_same_hops(x, r, false);
	for (unsigned i = 0; i < x->n; i++) {
		unsigned j = 0;
		while (j < r->n && !fib_same_hop(&x->nh[i], &r->nh[j]))
			j++;
		if (j == r->n)
			return false;
	}
	return true;
}

static int add(const struct fib_route *r, bool replace, struct err *e)
{
	char text[IP_STRLEN];
	if (r->n > FIB_HOPS_MAX)
		return err_set(e, -EINVAL, "route %s: %u next hops, %d is the most", ipnet_print(&r->prefix, text),
			       r->n, FIB_HOPS_MAX);
	struct fib_node *n = fib_node_get(&r->prefix);
	if (!n)
		return err_set(e, -ENOMEM, "route %s: out of memory", ipnet_print(&r->prefix, text));
	struct fib_record *x = n->first;
	while (x && !fib_record_equal(x, r))
		x = x->next;
	bool known = x;
	if (!known)
		x = fib_record_new(n, r);
	if (!x) {
		if (!n->first)
			fib_node_drop(n);
		return err_set(e, -ENOMEM, "route %s: out of memory", ipnet_print(&r->prefix, text));
	}
	if (known && in_resync)
		fib_record_unlink(x);
	if (!known || in_resync)
		fib_record_link(x);
	x->epoch = fib_epoch;
	if (known && in_resync)
		return 0; /* the order is renewed one by one: the answer is looked at when it is complete */
	for (struct fib_record *y = n->first, *next; y; y = next) {
		next = y->next;
		if (y != x && (replace ? fib_same_identity(y, r) : superseded(y, r)))
			fib_record_free(y);
	}
	int rc = node_update(n, e);
	if (rc < 0) {
		fib_record_free(x);
		node_update(n, NULL);
		if (!n->first && !n->answer)
			fib_node_drop(n);
	}
	return rc;
}

int fib_add(const struct fib_route *r, struct err *e)
{
	return add(r, true, e);
}

int fib_append(const struct fib_route *r, struct err *e)
{
	return add(r, false, e);
}

/* Takes the hops of 'r' out of 'x', freeing it when none is left. False: they are not all in there. */
static bool strip_hops(struct fib_record *x, const struct fib_route *r)
{
	bool gone[FIB_HOPS_MAX] = { false };
	for (unsigned i = 0; i < r->n; i++) {
		unsigned j = 0;
		while (j < x->n && (gone[j] || !fib_same_hop(&x->nh[j], &r->nh[i])))
			j++;
		if (j == x->n)
			return false;
		gone[j] = true;
	}
	if (r->n == x->n) {
		fib_record_free(x);
		return true;
	}
	fib_count_users(x, -1);
	unsigned n = 0;
	for (unsigned j = 0; j < x->n; j++)
		if (!gone[j])
			x->nh[n++] = x->nh[j];
	x->n = (uint8_t)n;
	fib_count_users(x, 1);
	return true;
}

int fib_del(const struct fib_route *r)
{
	struct fib_node *n = fib_node_find(&r->prefix);
	if (!n)
		return -ENOENT;
	bool found = false;
	/* a route with exactly these hops goes first: one that merely contains them is another route */
	for (struct fib_record *x = n->first; x && !found && r->n; x = x->next)
		if (fib_same_identity(x, r) && fib_same_hops(x, r, false)) {
			fib_record_free(x);
			found = true;
			break;
		}
	for (struct fib_record *x = n->first, *next; x && !(found && r->n); x = next) {
		next = x->next;
		if (!fib_same_identity(x, r))
			continue;
		if (r->n) {
			found = strip_hops(x, r);
			continue;
		}
		fib_record_free(x);
		found = true;
	}
	if (!found)
		return -ENOENT;
	node_update(n, NULL);
	if (!n->first)
		fib_node_drop(n);
	return 0;
}

/* ---- answers ---- */

static int32_t uplink_of(uint32_t ifindex)
{
	const struct port *p = ifindex ? port_by_ifindex(ifindex) : NULL;
	return p && p->index >= PORT_FIRST ? p->index : -1;
}

static bool in_zone(const struct fib_nexthop *h, uint16_t zone)
{
	const int32_t port = zone ? uplink_of(h->ifindex) : -1;
	return !zone || (port >= 0 && port_zone((uint32_t)port) == zone);
}

static bool usable(const struct fib_record *x, uint16_t zone)
{
	if (x->kind != FIB_UNICAST)
		return !zone;
	for (unsigned i = 0; i < x->n; i++)
		if (!x->nh[i].dead && in_zone(&x->nh[i], zone))
			return true;
	return false;
}

static void add_legs(struct fib_answer *a, const struct fib_record *x, bool gateways_only, uint16_t zone)
{
	for (unsigned i = 0; i < x->n && a->n < FIB_HOPS_MAX; i++) {
		const struct fib_nexthop *h = &x->nh[i];
		if ((h->dead && x->kind == FIB_UNICAST) || (gateways_only && ip_is_zero(&h->gateway)) ||
		    !in_zone(h, zone))
			continue;
		struct leg *l = &a->leg[a->n];
		l->nh = *h;
		l->nh.port = uplink_of(h->ifindex);
		l->nh.weight = MAX(h->weight, 1u);
		l->upto = l->nh.weight + (a->n ? l[-1].upto : 0);
		a->n++;
	}
}

/* What the records of 'n' say, in '*a' with room for FIB_HOPS_MAX legs; 'zone': those by its ports, 0 = all. False: nothing usable,
 * a shorter prefix answers. */
static bool choose(const struct fib_node *n, uint16_t zone, struct fib_answer *a)
{
	const struct fib_record *x = n->first;
	while (x && !usable(x, zone))
		x = x->next;
	if (!x)
		return false;
	a->kind = x->kind;
	a->n = 0;
	add_legs(a, x, false, zone);
	if (x->kind != FIB_UNICAST || ip_is4(&n->prefix.addr) || ip_is_zero(&a->leg[0].nh.gateway))
		return true;
	for (const struct fib_record *y = x->next; y; y = y->next)
		if (y->kind == FIB_UNICAST && y->metric == x->metric && y->pref == x->pref &&
		    (y->table == FIB_TABLE_LOCAL) == (x->table == FIB_TABLE_LOCAL))
			add_legs(a, y, true, zone);
	return true;
}

static size_t answer_size(const struct fib_answer *a)
{
	return sizeof(*a) + a->n * sizeof(a->leg[0]);
}

/* Of one set of the LPM: '*answer' is what it holds. */
static int answer_update(struct fib_node *n, uint16_t zone, const struct fib_answer **answer, struct err *e)
{
	union {
		struct fib_answer a;
		uint8_t room[sizeof(struct fib_answer) + FIB_HOPS_MAX * sizeof(struct leg)];
	} u;
	const struct fib_answer *old = *answer;
	memset(&u, 0, sizeof(u));
	if (!choose(n, zone, &u.a)) {
		if (!old)
			return 0;
		lpm_delete(&lpm, zone, &n->prefix);
		*answer = NULL;
	} else {
		if (old && answer_size(old) == answer_size(&u.a) && !memcmp(old, &u.a, answer_size(old)))
			return 0;
		struct fib_answer *a = malloc(answer_size(&u.a));
		if (!a)
			return err_set(e, -ENOMEM, "route: out of memory");
		memcpy(a, &u.a, answer_size(&u.a));
		struct value v = { a };
		int rc = lpm_set(&lpm, zone, &n->prefix, &v);
		if (rc < 0) {
			char text[IP_STRLEN];
			free(a);
			return err_set(e, rc, "route %s: no room, the mirror holds %d prefixes",
				       ipnet_print(&n->prefix, text), FIB_CAPACITY);
		}
		*answer = a;
	}
	version++;
	if (LOAD_RELAXED(&fib_sources_matter))
		gen_bump_extra();
	if (old)
		rcu_defer(free, (void *)old);
	return 0;
}

static struct fib_zoned *zoned_get(struct fib_node *n, uint16_t zone)
{
	struct fib_zoned *z = n->zoned;
	while (z && z->zone != zone)
		z = z->next;
	if (!z && (z = calloc(1, sizeof(*z)))) {
		z->zone = zone;
		z->next = n->zoned;
		n->zoned = z;
	}
	return z;
}

static int zones_update(struct fib_node *n, struct err *e)
{
	int err = 0;
	for (unsigned i = 0; i < n_zones; i++) {
		bool any = false;
		for (const struct fib_record *x = n->first; x && !any; x = x->next)
			any = usable(x, zones[i]);
		if (any && !zoned_get(n, zones[i]))
			return err_set(e, -ENOMEM, "route: out of memory");
	}
	for (struct fib_zoned **p = &n->zoned, *z; (z = *p);) {
		int one = answer_update(n, (uint16_t)z->zone, &z->answer, e);
		err = err ? err : one;
		if (z->answer) {
			p = &z->next;
			continue;
		}
		*p = z->next;
		free(z);
	}
	return err;
}

static int node_update(struct fib_node *n, struct err *e)
{
	int err = answer_update(n, 0, &n->answer, e);
	return err || (!n_zones && !n->zoned) ? err : zones_update(n, e);
}

static void zones_of_ports(void)
{
	n_zones = 0;
	for (unsigned p = PORT_FIRST; p < PORTS_MAX; p++) {
		const uint16_t zone = port_zone(p);
		bool known = !zone;
		for (unsigned i = 0; i < n_zones; i++)
			known |= zones[i] == zone;
		if (!known)
			zones[n_zones++] = zone;
	}
}

void fib_ports_changed(void)
{
	zones_of_ports();
	for (struct fib_node *n = NULL; (n = fib_node_next(n));)
		node_update(n, NULL);
}

/* ---- re-dump ---- */

void fib_resync_begin(void)
{
	fib_epoch++;
	in_resync = true;
}

void fib_resync_end(void)
{
	in_resync = false;
	for (struct fib_node *n = fib_node_next(NULL), *next; n; n = next) {
		next = fib_node_next(n);
		for (struct fib_record *x = n->first, *y; x; x = y) {
			y = x->next;
			if (x->epoch != fib_epoch)
				fib_record_free(x);
		}
		node_update(n, NULL);
		if (!n->first)
			fib_node_drop(n);
	}
	fib_addrs_sweep();
}

uint32_t fib_next(uint32_t after, struct fib_route *r)
{
	const struct fib_record *x = fib_record_next(after);
	if (!x)
		return 0;
	memset(r, 0, sizeof(*r));
	r->prefix = x->node->prefix;
	r->kind = x->kind;
	r->metric = x->metric;
	r->table = x->table;
	r->protocol = x->protocol;
	r->pref = x->pref;
	r->n = x->n;
	memcpy(r->nh, x->nh, x->n * sizeof(x->nh[0]));
	for (unsigned h = 0; h < r->n; h++)
		r->nh[h].port = uplink_of(r->nh[h].ifindex);
	return x->index;
}

unsigned fib_alternatives(const struct fib_route *r)
{
	const struct fib_node *n = fib_node_find(&r->prefix);
	unsigned found = 0;
	for (const struct fib_record *x = n ? n->first : NULL; x; x = x->next)
		found += fib_same_identity(x, r);
	return found;
}

uint64_t fib_version(void)
{
	return version;
}
