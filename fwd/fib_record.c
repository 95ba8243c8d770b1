/* SPDX-License-Identifier: BSD-2-Clause */
/* All routes the kernel told of, per prefix (node) in the kernel's order: local table first, then metric, preference, age. What
 * of it answers is decided in fib.c. Control thread only. */
#include "fwd/fib_private.h"

#include <errno.h>
#include <stdlib.h>

enum { USER_BUCKETS = 256, NODE_BUCKETS = 1024 };

struct user { /* of a device */
	struct user *next;
	uint32_t ifindex, n;
};

uint32_t fib_epoch;
static struct fib_node **buckets;
static uint32_t n_buckets, n_nodes;
static struct fib_record **records; /* by index; NULL = free */
static uint32_t n_slots, n_records, slot_hint;
static struct user *users[USER_BUCKETS];
static uint64_t seq;

int fib_records_init(void)
{
	fib_epoch = 1;
	n_buckets = NODE_BUCKETS;
	buckets = calloc(n_buckets, sizeof(*buckets));
	return buckets ? 0 : -ENOMEM;
}

void fib_records_fini(void)
{
	for (struct fib_node *n = fib_node_next(NULL), *next; n; n = next) {
		next = fib_node_next(n);
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
	buckets = NULL;
	records = NULL;
	n_buckets = n_nodes = n_slots = n_records = slot_hint = 0;
}

uint32_t fib_count(void)
{
	return n_records;
}

/* ---- nodes ---- */

static uint32_t prefix_hash(const struct ipnet *n)
{
	uint64_t k[3] = { n->addr.d[0], n->addr.d[1], n->len };
	return (uint32_t)hash_key(k, sizeof(k));
}

struct fib_node *fib_node_find(const struct ipnet *p)
{
	struct fib_node *n = buckets[prefix_hash(p) & (n_buckets - 1)];
	while (n && (n->prefix.len != p->len || !ip_eq(&n->prefix.addr, &p->addr)))
		n = n->chain;
	return n;
}

static void nodes_grow(void)
{
	uint32_t n = n_buckets * 2;
	struct fib_node **b = calloc(n, sizeof(*b));
	if (!b)
		return; /* longer chains, nothing worse */
	for (uint32_t i = 0; i < n_buckets; i++)
		for (struct fib_node *x = buckets[i], *next; x; x = next) {
			next = x->chain;
			uint32_t at = prefix_hash(&x->prefix) & (n - 1);
			x->chain = b[at];
			b[at] = x;
		}
	free(buckets);
	buckets = b;
	n_buckets = n;
}

struct fib_node *fib_node_get(const struct ipnet *p)
{
	struct fib_node *n = fib_node_find(p);
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

void fib_node_drop(struct fib_node *n)
{
	struct fib_node **p = &buckets[prefix_hash(&n->prefix) & (n_buckets - 1)];
	while (*p != n)
		p = &(*p)->chain;
	*p = n->chain;
	n_nodes--;
	free(n);
}

struct fib_node *fib_node_next(const struct fib_node *after)
{
	if (after && after->chain)
		return after->chain;
	for (uint32_t i = after ? (prefix_hash(&after->prefix) & (n_buckets - 1)) + 1 : 0; i < n_buckets; i++)
		if (buckets[i])
			return buckets[i];
	return NULL;
}

/* ---- records ---- */

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

void fib_count_users(const struct fib_record *r, int by)
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

bool fib_same_identity(const struct fib_record *a, const struct fib_route *r)
{
	return a->metric == r->metric && (a->table == FIB_TABLE_LOCAL) == (r->table == FIB_TABLE_LOCAL);
}

bool fib_same_hop(const struct fib_nexthop *a, const struct fib_nexthop *b)
{
	return a->ifindex == b->ifindex && ip_eq(&a->gateway, &b->gateway);
}

/* The hops of 'r' as a set equal those of 'a': the kernel lists them in any order. */
bool fib_same_hops(const struct fib_record *a, const struct fib_route *r, bool strict)
{
	if (a->n != r->n)
		return false;
	for (unsigned i = 0; i < r->n; i++) {
		unsigned j = 0;
		while (j < a->n &&
		       !(fib_same_hop(&a->nh[j], &r->nh[i]) &&
			 (!strict || (a->nh[j].weight == r->nh[i].weight && a->nh[j].dead == r->nh[i].dead))))
			j++;
		if (j == a->n)
			return false;
	}
	return true;
}

bool fib_record_equal(const struct fib_record *a, const struct fib_route *r)
{
	return fib_same_identity(a, r) && a->kind == r->kind && a->protocol == r->protocol && a->pref == r->pref &&
	       fib_same_hops(a, r, true);
}

static int slots_grow(void)
{
	uint32_t n = n_slots ? n_slots * 2 : 256;
	struct fib_record **p = realloc(records, n * sizeof(*p));
	if (!p)
		return -ENOMEM;
	memset(p + n_slots, 0, (n - n_slots) * sizeof(*p));
	records = p;
	n_slots = n;
	return 0;
}

struct fib_record *fib_record_new(struct fib_node *node, const struct fib_route *r)
{
	if (n_records + 1 >= n_slots && slots_grow() < 0)
		return NULL;
	struct fib_record *x = calloc(1, sizeof(*x) + r->n * sizeof(x->nh[0]));
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
	fib_count_users(x, 1);
	return x;
}

void fib_record_unlink(struct fib_record *x)
{
	struct fib_record **p = &x->node->first;
	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
}

void fib_record_free(struct fib_record *x)
{
	fib_record_unlink(x);
	fib_count_users(x, -1);
	records[x->index] = NULL;
	n_records--;
	free(x);
}

static bool before(const struct fib_record *a, const struct fib_record *b)
{
	bool la = a->table == FIB_TABLE_LOCAL, lb = b->table == FIB_TABLE_LOCAL;
	if (la != lb)
		return la;
	if (a->metric != b->metric)
		return a->metric < b->metric;
	if (a->pref != b->pref)
		return a->pref > b->pref;
	return a->seq < b->seq;
}

void fib_record_link(struct fib_record *x)
{
	struct fib_record **p = &x->node->first;
	x->seq = ++seq;
	while (*p && before(*p, x))
		p = &(*p)->next;
	x->next = *p;
	*p = x;
}

const struct fib_record *fib_record_next(uint32_t after)
{
	for (uint32_t i = after + 1; i < n_slots; i++)
		if (records[i])
			return records[i];
	return NULL;
}
