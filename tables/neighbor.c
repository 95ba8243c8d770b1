/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours: next hop -> MAC, state, adjacency. Workers look one up when they decide a flow; the control thread
 * follows the kernel's table and, behind network-mode tunnels, our own ARP and ND.
 *
 * An entry changes in place: MAC, state and source are one 8-byte store, adjacency and time another. When the table is
 * full the oldest stale ones of a sample go, a batch at a time, since their places return only after a grace period. */
#include "tables/neighbor.h"

#include <stdlib.h>

#include "fwd/base/clock.h"
#include "tables/adj.h"
#include "tables/room.h"

enum { EVICT_SAMPLE = 4096, EVICT_BATCH = 64 };

static struct table neighbors;
static uint32_t hand; /* of the eviction sample */

int neighbor_init(struct err *e)
{
	int r = table_open(&neighbors, "neighbor", 0, sizeof(struct neighbor_key), sizeof(struct neighbor), e);

	if (r)
		return r;
	hand = 0;
	r = adj_init(e);
	if (r)
		table_close(&neighbors);
	return r;
}

void neighbor_fini(void)
{
	adj_fini();
	table_close(&neighbors);
}

const struct neighbor *neighbor_find(const struct neighbor_key *k)
{
	uint32_t i = table_find(&neighbors, k);

	return i ? table_value(&neighbors, i) : NULL;
}

static bool usable(const struct neighbor *n)
{
	return n->state == NEIGHBOR_REACHABLE || n->state == NEIGHBOR_STALE;
}

static bool may_go(const struct neighbor *n)
{
	return (n->state == NEIGHBOR_STALE || n->state == NEIGHBOR_FAILED) && n->source != NEIGHBOR_STATIC;
}

static int by_age(const void *a, const void *b)
{
	uint32_t x = ((const struct neighbor *)table_value(&neighbors, *(const uint32_t *)a))->updated;
	uint32_t y = ((const struct neighbor *)table_value(&neighbors, *(const uint32_t *)b))->updated;

	return (x > y) - (x < y);
}

static void drop(uint32_t i)
{
	struct neighbor_key k = *(const struct neighbor_key *)table_key(&neighbors, i);
	uint32_t adj = ((const struct neighbor *)table_value(&neighbors, i))->adj;

	table_delete(&neighbors, SLOT_CONTROL, &k);
	adj_free(adj);
}

/* False when nothing may go. */
static bool evict(void)
{
	static uint32_t old[EVICT_SAMPLE];
	uint32_t n = 0, seen = 0, total = neighbors.pool.capacity;

	/* The sample grows to the whole table only when the first 4096 hold no candidate. */
	while (seen < total && !(seen >= EVICT_SAMPLE && n) && n < EVICT_SAMPLE) {
		hand = hand % total + 1;
		seen++;
		if (pool_state(&neighbors.pool, hand) == POOL_LIVE && may_go(table_value(&neighbors, hand)))
			old[n++] = hand;
	}
	qsort(old, n, sizeof(old[0]), by_age);
	for (uint32_t i = 0; i < n && i < EVICT_BATCH; i++)
		drop(old[i]);
	if (n)
		rcu_wait();
	return n != 0;
}

static int insert(const struct neighbor_key *k, const struct neighbor *n, struct err *e)
{
	char b[IP_STRLEN];
	int r = table_insert(&neighbors, SLOT_CONTROL, k, n, NULL);

	if (room_after_wait(&neighbors, r, true) || (r == -ENOSPC && evict()))
		r = table_insert(&neighbors, SLOT_CONTROL, k, n, NULL);
	if (r)
		return err_set(e, r, "neighbour %s: the table is full (%u entries) and none of them is stale",
			       ip_print(&k->ip, b), neighbor_count());
	return 0;
}

static void change(struct neighbor *to, const struct neighbor *from)
{
	typedef uint64_t __attribute__((may_alias)) word;
	word *w = (void *)to;
	uint64_t link = ld64(from), use = ld64(&from->adj);

	_Static_assert(offsetof(struct neighbor, adj) == 8 && offsetof(struct neighbor, updated) == 12, "two words");
	/* Adjacency first when it becomes usable, last when it ceases to be: a worker that reads a usable state finds
	 * one. */
	if (from->adj)
		STORE_RELEASE(&w[1], use);
	STORE_RELEASE(&w[0], link);
	STORE_RELEASE(&w[1], use);
}

int neighbor_set(const struct neighbor_key *k, const struct neighbor *n, struct err *e)
{
	uint32_t i = table_find(&neighbors, k), old_adj;
	struct neighbor v = *n, *was;
	char b[IP_STRLEN];

	if (usable(n) && !(n->adj && n->adj < ADJS_MAX))
		return err_set(e, -EINVAL, "neighbour %s: usable, but without an adjacency", ip_print(&k->ip, b));
	if (!usable(n))
		v.adj = 0;
	v.updated = n->updated ? n->updated : (uint32_t)(clock_ns() / NS_PER_S);
	if (!i)
		return insert(k, &v, e);
	was = table_value(&neighbors, i);
	old_adj = was->adj;
	change(was, &v);
	if (old_adj && old_adj != v.adj)
		adj_free(old_adj);
	return 0;
}

int neighbor_del(const struct neighbor_key *k)
{
	uint32_t i = table_find(&neighbors, k);

	if (!i)
		return -ENOENT;
	drop(i);
	return 0;
}

uint32_t neighbor_next(uint32_t after, struct neighbor_key *k, struct neighbor *n)
{
	uint32_t i = table_next(&neighbors, after);

	if (i) {
		*k = *(const struct neighbor_key *)table_key(&neighbors, i);
		*n = *(const struct neighbor *)table_value(&neighbors, i);
	}
	return i;
}

uint32_t neighbor_count(void)
{
	return table_count(&neighbors);
}
