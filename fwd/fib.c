/* SPDX-License-Identifier: BSD-2-Clause */
/* The mirror of the kernel's routing tables (fib.h). Control thread writes; fib_lookup and fib_port_addr are lock-free.
 *
 * Two layers. Records are all routes the kernel told of, kept per prefix (node) in the kernel's order: local table first, then
 * metric, then age. The answer of a prefix is what its best usable record says; it is immutable, hangs off the LPM value and is
 * replaced whole, so readers see one or the other. Only a changed answer touches the LPM, which then bumps generations:
 * a re-dump that finds nothing new costs no flow its record.
 * Merging local and main into one LPM is what the kernel does for IPv4; for IPv6 it differs only where a main route is more
 * specific than a local prefix. */
#include "fwd/fib.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/rcu.h"
#include "fwd/port/port.h"

enum { FIB_CAPACITY = 1280 * 1024, /* a full Internet table of both families */
       HOPS_MAX = 16,
       TABLE_LOCAL = 255,
       USER_BUCKETS = 256 };

struct leg {
	struct fib_nexthop nh;
	uint32_t upto; /* running sum of weights */
};
struct answer {
	uint32_t kind, n;
	struct leg leg[];
};
struct value {
	const struct answer *answer;
};
_Static_assert(sizeof(struct value) == 8, "one word in the LPM");

struct node;
struct record {
	struct record *next; /* of the same prefix, best first */
	struct node *node;
	uint64_t seq; /* age; renewed by a re-dump, so that its order holds */
	uint32_t index, epoch, metric, table;
	uint8_t kind, protocol, n;
	int8_t pref;
	struct fib_nexthop nh[];
};
struct node {
	struct node *chain;
	struct ipnet prefix;
	struct record *first;
	const struct answer *answer; /* what the LPM holds; NULL: no entry */
};
struct user { /* of a device */
	struct user *next;
	uint32_t ifindex, n;
};
struct addr {
	uint32_t ifindex, epoch;
	struct ipaddr addr;
	uint8_t len;
};
struct addrs {
	uint32_t n;
	struct addr a[];
};

static struct lpm lpm;
static bool is_open;
static struct node **buckets;
static uint32_t n_buckets, n_nodes;
static struct record **records; /* by index; NULL = free */
static uint32_t n_slots, n_records, slot_hint;
static struct user *users[USER_BUCKETS];
static struct addrs *addrs; /* published to workers, replaced whole */
static uint32_t epoch;
static uint64_t seq, version;
static bool in_resync;

static int node_update(struct node *n, struct err *e);

int fib_init(struct err *e)
{
	int rc = lpm_open(&lpm, "fib", FIB_CAPACITY, sizeof(struct value), GEN_ROUTE, e);
	if (rc < 0)
		return rc;
	n_buckets = 1024;
	buckets = calloc(n_buckets, sizeof(*buckets));
	if (!buckets) {
		lpm_close(&lpm);
		return err_set(e, -ENOMEM, "fib: out of memory");
	}
	epoch = 1;
	is_open = true;
	return 0;
}

void fib_fini(void)
{
	if (!is_open)
		return;
	for (uint32_t i = 0; i < n_buckets; i++)
		for (struct node *n = buckets[i], *next; n; n = next) {
			next = n->chain;
			free((void *)n->answer);
			free(n);
		}
	for (uint32_t i = 1; i < n_slots; i++)
		free(records[i]);
	for (unsigned i = 0; i < USER_BUCKETS; i++)
		for (struct user *u = users[i], *next; u; u = next) {
			next = u->next;
			free(u);
		}
	memset(users, 0, sizeof(users));
	free(buckets);
	free(records);
	free(addrs);
	buckets = NULL, records = NULL, addrs = NULL;
	n_buckets = n_nodes = n_slots = n_records = slot_hint = 0;
	lpm_close(&lpm);
	is_open = false;
}

void fib_lookup(const struct ipaddr *dst, uint32_t hash, struct fib_result *r)
{
	memset(r, 0, sizeof(*r));
	r->nh.port = -1;
	uint32_t i = lpm_lookup(&lpm, 0, dst, &r->dep);
	if (!i)
		return;
	const struct lpm_key *k = lpm_key(&lpm, i);
	const struct answer *a = ((const struct value *)lpm_value(&lpm, i))->answer;
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

/* ---- records ---- */

static uint32_t prefix_hash(const struct ipnet *n)
{
	uint64_t k[3] = { n->addr.d[0], n->addr.d[1], n->len };
	return (uint32_t)hash_key(k, sizeof(k));
}

static struct node *node_find(const struct ipnet *p)
{
	struct node *n = buckets[prefix_hash(p) & (n_buckets - 1)];
	while (n && (n->prefix.len != p->len || !ip_eq(&n->prefix.addr, &p->addr)))
		n = n->chain;
	return n;
}

static void nodes_grow(void)
{
	uint32_t n = n_buckets * 2;
	struct node **b = calloc(n, sizeof(*b));
	if (!b)
		return; /* longer chains, nothing worse */
	for (uint32_t i = 0; i < n_buckets; i++)
		for (struct node *x = buckets[i], *next; x; x = next) {
			next = x->chain;
			uint32_t at = prefix_hash(&x->prefix) & (n - 1);
			x->chain = b[at];
			b[at] = x;
		}
	free(buckets);
	buckets = b;
	n_buckets = n;
}

static struct node *node_get(const struct ipnet *p)
{
	struct node *n = node_find(p);
	if (n)
		return n;
	if (n_nodes >= n_buckets)
		nodes_grow();
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->prefix = *p;
	uint32_t at = prefix_hash(p) & (n_buckets - 1);
	n->chain = buckets[at];
	buckets[at] = n;
	n_nodes++;
	return n;
}

static void node_drop(struct node *n)
{
	struct node **p = &buckets[prefix_hash(&n->prefix) & (n_buckets - 1)];
	while (*p != n)
		p = &(*p)->chain;
	*p = n->chain;
	n_nodes--;
	free(n);
}

static void user_count(uint32_t ifindex, int by)
{
	struct user **p = &users[ifindex % USER_BUCKETS];
	while (*p && (*p)->ifindex != ifindex)
		p = &(*p)->next;
	if (!*p && by > 0) {
		*p = calloc(1, sizeof(**p));
		if (*p)
			(*p)->ifindex = ifindex;
	}
	if (!*p)
		return;
	(*p)->n += (uint32_t)by;
	if (!(*p)->n) {
		struct user *u = *p;
		*p = u->next;
		free(u);
	}
}

static void count_users(const struct record *r, int by)
{
	if (r->n < 2 && !ip_is4(&r->node->prefix.addr))
		return;
	for (unsigned i = 0; i < r->n; i++)
		user_count(r->nh[i].ifindex, by);
}

uint32_t fib_ifindex_routes(uint32_t ifindex)
{
	for (struct user *u = users[ifindex % USER_BUCKETS]; u; u = u->next)
		if (u->ifindex == ifindex)
			return u->n;
	return 0;
}

static bool same_identity(const struct record *a, const struct fib_route *r)
{
	return a->metric == r->metric && (a->table == TABLE_LOCAL) == (r->table == TABLE_LOCAL);
}

static bool same_hop(const struct fib_nexthop *a, const struct fib_nexthop *b)
{
	return a->ifindex == b->ifindex && ip_eq(&a->gateway, &b->gateway);
}

/* The hops of 'r' as a set equal those of 'a': the kernel lists them in any order. */
static bool same_hops(const struct record *a, const struct fib_route *r, bool strict)
{
	if (a->n != r->n)
		return false;
	for (unsigned i = 0; i < r->n; i++) {
		unsigned j = 0;
		while (j < a->n && !(same_hop(&a->nh[j], &r->nh[i]) && (!strict || (a->nh[j].weight == r->nh[i].weight &&
										    a->nh[j].dead == r->nh[i].dead))))
			j++;
		if (j == a->n)
			return false;
	}
	return true;
}

static bool equal(const struct record *a, const struct fib_route *r)
{
	return same_identity(a, r) && a->kind == r->kind && a->protocol == r->protocol && a->pref == r->pref &&
	       same_hops(a, r, true);
}

static int slots_grow(void)
{
	uint32_t n = n_slots ? n_slots * 2 : 256;
	struct record **p = realloc(records, n * sizeof(*p));
	if (!p)
		return -ENOMEM;
	memset(p + n_slots, 0, (n - n_slots) * sizeof(*p));
	records = p;
	n_slots = n;
	return 0;
}

static struct record *record_new(struct node *node, const struct fib_route *r)
{
	if (n_records + 1 >= n_slots && slots_grow() < 0)
		return NULL;
	struct record *x = calloc(1, sizeof(*x) + r->n * sizeof(x->nh[0]));
	if (!x)
		return NULL;
	do {
		slot_hint = slot_hint + 1 < n_slots ? slot_hint + 1 : 1;
	} while (records[slot_hint]);
	records[slot_hint] = x;
	n_records++;
	x->node = node;
	x->index = slot_hint;
	x->metric = r->metric;
	x->table = r->table;
	x->kind = (uint8_t)r->kind;
	x->protocol = r->protocol;
	x->pref = r->pref;
	x->n = r->n;
	memcpy(x->nh, r->nh, r->n * sizeof(x->nh[0]));
	count_users(x, 1);
	return x;
}

static void record_unlink(struct record *x)
{
	struct record **p = &x->node->first;
	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
}

static void record_free(struct record *x)
{
	record_unlink(x);
	count_users(x, -1);
	records[x->index] = NULL;
	n_records--;
	free(x);
}

static bool before(const struct record *a, const struct record *b)
{
	bool la = a->table == TABLE_LOCAL, lb = b->table == TABLE_LOCAL;
	if (la != lb)
		return la;
	if (a->metric != b->metric)
		return a->metric < b->metric;
	if (a->pref != b->pref)
		return a->pref > b->pref;
	return a->seq < b->seq;
}

static void record_link(struct record *x)
{
	struct record **p = &x->node->first;
	x->seq = ++seq;
	while (*p && before(*p, x))
		p = &(*p)->next;
	x->next = *p;
	*p = x;
}

/* Is 'x' another form of what 'r' says now? The same hops with other weights or states; for IPv6, where the kernel tells the
 * whole set of siblings each time, also a part of them. */
static bool superseded(const struct record *x, const struct fib_route *r)
{
	if (!same_identity(x, r) || x->kind != r->kind || x->protocol != r->protocol)
		return false;
	if (ip_is4(&r->prefix.addr) || !r->n)
		return same_hops(x, r, false);
	for (unsigned i = 0; i < x->n; i++) {
		unsigned j = 0;
		while (j < r->n && !same_hop(&x->nh[i], &r->nh[j]))
			j++;
		if (j == r->n)
			return false;
	}
	return true;
}

static int add(const struct fib_route *r, bool replace, struct err *e)
{
	char text[IP_STRLEN];
	if (r->n > HOPS_MAX)
		return err_set(e, -EINVAL, "route %s: %u next hops, %d is the most", ipnet_print(&r->prefix, text), r->n, HOPS_MAX);
	struct node *n = node_get(&r->prefix);
	if (!n)
		return err_set(e, -ENOMEM, "route %s: out of memory", ipnet_print(&r->prefix, text));
	struct record *x = n->first;
	while (x && !equal(x, r))
		x = x->next;
	bool known = x;
	if (!known)
		x = record_new(n, r);
	if (!x) {
		if (!n->first)
			node_drop(n);
		return err_set(e, -ENOMEM, "route %s: out of memory", ipnet_print(&r->prefix, text));
	}
	if (known && in_resync)
		record_unlink(x);
	if (!known || in_resync)
		record_link(x);
	x->epoch = epoch;
	if (known && in_resync)
		return 0; /* the order is renewed one by one: the answer is looked at when it is complete */
	for (struct record *y = n->first, *next; y; y = next) {
		next = y->next;
		if (y != x && (replace ? same_identity(y, r) : superseded(y, r)))
			record_free(y);
	}
	int rc = node_update(n, e);
	if (rc < 0) {
		record_free(x);
		if (!n->first && !n->answer)
			node_drop(n);
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
static bool strip_hops(struct record *x, const struct fib_route *r)
{
	bool gone[HOPS_MAX] = { false };
	for (unsigned i = 0; i < r->n; i++) {
		unsigned j = 0;
		while (j < x->n && (gone[j] || !same_hop(&x->nh[j], &r->nh[i])))
			j++;
		if (j == x->n)
			return false;
		gone[j] = true;
	}
	if (r->n == x->n) {
		record_free(x);
		return true;
	}
	count_users(x, -1);
	unsigned n = 0;
	for (unsigned j = 0; j < x->n; j++)
		if (!gone[j])
			x->nh[n++] = x->nh[j];
	x->n = (uint8_t)n;
	count_users(x, 1);
	return true;
}

int fib_del(const struct fib_route *r)
{
	struct node *n = node_find(&r->prefix);
	if (!n)
		return -ENOENT;
	bool found = false;
	/* a route with exactly these hops goes first: one that merely contains them is another route */
	for (struct record *x = n->first; x && !found && r->n; x = x->next)
		if (same_identity(x, r) && same_hops(x, r, false)) {
			record_free(x);
			found = true;
			break;
		}
	for (struct record *x = n->first, *next; x && !(found && r->n); x = next) {
		next = x->next;
		if (!same_identity(x, r))
			continue;
		if (r->n) {
			found = strip_hops(x, r);
			continue;
		}
		record_free(x);
		found = true;
	}
	if (!found)
		return -ENOENT;
	node_update(n, NULL);
	if (!n->first)
		node_drop(n);
	return 0;
}

/* ---- answers ---- */

static int32_t uplink_of(uint32_t ifindex)
{
	const struct port *p = ifindex ? port_by_ifindex(ifindex) : NULL;
	return p && p->index >= PORT_FIRST ? p->index : -1;
}

static bool usable(const struct record *x)
{
	if (x->kind != FIB_UNICAST)
		return true;
	for (unsigned i = 0; i < x->n; i++)
		if (!x->nh[i].dead)
			return true;
	return false;
}

static void add_legs(struct answer *a, const struct record *x, bool gateways_only)
{
	for (unsigned i = 0; i < x->n && a->n < HOPS_MAX; i++) {
		const struct fib_nexthop *h = &x->nh[i];
		if ((h->dead && x->kind == FIB_UNICAST) || (gateways_only && ip_is_zero(&h->gateway)))
			continue;
		struct leg *l = &a->leg[a->n];
		l->nh = *h;
		l->nh.port = uplink_of(h->ifindex);
		l->nh.weight = MAX(h->weight, 1u);
		l->upto = l->nh.weight + (a->n ? l[-1].upto : 0);
		a->n++;
	}
}

/* What the records of 'n' say, in '*a' with room for HOPS_MAX legs. False: nothing usable, a shorter prefix answers. */
static bool choose(const struct node *n, struct answer *a)
{
	const struct record *x = n->first;
	while (x && !usable(x))
		x = x->next;
	if (!x)
		return false;
	a->kind = x->kind;
	a->n = 0;
	add_legs(a, x, false);
	if (x->kind != FIB_UNICAST || ip_is4(&n->prefix.addr) || ip_is_zero(&a->leg[0].nh.gateway))
		return true;
	for (const struct record *y = x->next; y; y = y->next)
		if (y->kind == FIB_UNICAST && y->metric == x->metric && y->pref == x->pref &&
		    (y->table == TABLE_LOCAL) == (x->table == TABLE_LOCAL))
			add_legs(a, y, true);
	return true;
}

static size_t answer_size(const struct answer *a)
{
	return sizeof(*a) + a->n * sizeof(a->leg[0]);
}

static int node_update(struct node *n, struct err *e)
{
	union {
		struct answer a;
		uint8_t room[sizeof(struct answer) + HOPS_MAX * sizeof(struct leg)];
	} u;
	const struct answer *old = n->answer;
	memset(&u, 0, sizeof(u));
	if (!choose(n, &u.a)) {
		if (!old)
			return 0;
		lpm_delete(&lpm, 0, &n->prefix);
		n->answer = NULL;
	} else {
		if (old && answer_size(old) == answer_size(&u.a) && !memcmp(old, &u.a, answer_size(old)))
			return 0;
		struct answer *a = malloc(answer_size(&u.a));
		if (!a)
			return err_set(e, -ENOMEM, "route: out of memory");
		memcpy(a, &u.a, answer_size(&u.a));
		struct value v = { a };
		int rc = lpm_set(&lpm, 0, &n->prefix, &v);
		if (rc < 0) {
			char text[IP_STRLEN];
			free(a);
			return err_set(e, rc, "route %s: no room, the mirror holds %d prefixes", ipnet_print(&n->prefix, text),
				       FIB_CAPACITY);
		}
		n->answer = a;
	}
	version++;
	if (old)
		rcu_defer(free, (void *)old);
	return 0;
}

void fib_ports_changed(void)
{
	for (uint32_t i = 0; i < n_buckets; i++)
		for (struct node *n = buckets[i]; n; n = n->chain)
			node_update(n, NULL);
}

/* ---- re-dump ---- */

static void addrs_publish(struct addrs *next)
{
	struct addrs *old = addrs;
	STORE_RELEASE(&addrs, next);
	if (old)
		rcu_defer(free, old);
}

void fib_resync_begin(void)
{
	epoch++;
	in_resync = true;
}

void fib_resync_end(void)
{
	in_resync = false;
	for (uint32_t i = 0; i < n_buckets; i++)
		for (struct node *n = buckets[i], *next; n; n = next) {
			next = n->chain;
			for (struct record *x = n->first, *y; x; x = y) {
				y = x->next;
				if (x->epoch != epoch)
					record_free(x);
			}
			node_update(n, NULL);
			if (!n->first)
				node_drop(n);
		}
	uint32_t keep = 0;
	for (uint32_t i = 0; addrs && i < addrs->n; i++)
		keep += addrs->a[i].epoch == epoch;
	if (!addrs || keep == addrs->n)
		return;
	struct addrs *a = calloc(1, sizeof(*a) + keep * sizeof(a->a[0]));
	if (!a)
		return;
	for (uint32_t i = 0; i < addrs->n; i++)
		if (addrs->a[i].epoch == epoch)
			a->a[a->n++] = addrs->a[i];
	addrs_publish(a);
}

uint32_t fib_next(uint32_t after, struct fib_route *r)
{
	for (uint32_t i = after + 1; i < n_slots; i++) {
		const struct record *x = records[i];
		if (!x)
			continue;
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
		return i;
	}
	return 0;
}

unsigned fib_alternatives(const struct fib_route *r)
{
	const struct node *n = node_find(&r->prefix);
	unsigned found = 0;
	for (const struct record *x = n ? n->first : NULL; x; x = x->next)
		found += same_identity(x, r);
	return found;
}

uint32_t fib_count(void)
{
	return n_records;
}

uint64_t fib_version(void)
{
	return version;
}

/* ---- interface addresses ---- */

void fib_addr_set(uint32_t ifindex, const struct ipaddr *a, uint8_t prefix_len, bool present)
{
	uint32_t n = addrs ? addrs->n : 0, at = 0;
	while (at < n && (addrs->a[at].ifindex != ifindex || !ip_eq(&addrs->a[at].addr, a)))
		at++;
	if (at < n && present && addrs->a[at].len == prefix_len) {
		addrs->a[at].epoch = epoch; /* no reader looks at it */
		return;
	}
	if (at == n && !present)
		return;
	struct addrs *next = calloc(1, sizeof(*next) + (n + 1) * sizeof(next->a[0]));
	if (!next)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (i != at || present)
			next->a[next->n++] = addrs->a[i];
	if (present) {
		struct addr *x = &next->a[at];
		*x = (struct addr){ .ifindex = ifindex, .epoch = epoch, .addr = *a, .len = prefix_len };
		if (at == n)
			next->n++;
	}
	addrs_publish(next);
}

static bool is_global(const struct ipaddr *a)
{
	return !ip_is_loopback(a) && !ip_is_multicast(a) && !ip_is_linklocal6(a) && !(ip_is4(a) && rd16(a->b + 12) == 0xa9fe);
}

bool fib_port_addr(uint32_t ifindex, bool v6, struct ipaddr *a)
{
	const struct addrs *s = LOAD_ACQUIRE(&addrs);
	for (uint32_t i = 0; s && i < s->n; i++)
		if (s->a[i].ifindex == ifindex && ip_is4(&s->a[i].addr) != v6 && is_global(&s->a[i].addr)) {
			*a = s->a[i].addr;
			return true;
		}
	return false;
}

bool fib_subnet_addr(uint32_t ifindex, const struct ipaddr *target, struct ipaddr *a)
{
	for (uint32_t i = 0; addrs && i < addrs->n; i++) {
		const struct addr *x = &addrs->a[i];
		struct ipnet net = { .addr = ip_mask(&x->addr, x->len), .len = x->len };
		if (x->ifindex == ifindex && ipnet_contains(&net, target) && !ip_eq(&x->addr, target)) {
			*a = x->addr;
			return true;
		}
	}
	return false;
}
