/* SPDX-License-Identifier: BSD-2-Clause */
/* The contestants of bench-tables: the same operations on our index, cds_lfht and rte_hash. Included by bench/tables.c
 * only, so that each sits in the caller's loop as closely as its library allows. */
#pragma once

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu/urcu-qsbr.h>
#include <urcu/rculfhash.h>
#if BENCH_RTE
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#endif

#undef container_of /* liburcu or DPDK brought one */
#include "fwd/base/rcu.h"
#include "tables/table.h"

enum { BURST = 64 };
struct key {
	uint64_t w[2];
};
struct record {
	struct key key;
	struct cds_lfht_node node; /* cds_lfht only; others leave it alone */
	uint64_t value[4];
};
_Static_assert(sizeof(struct record) == 64, "one line");

struct contestant {
	const char *name;
	void (*open)(uint32_t n);
	void (*close)(void);
	double (*bytes)(void); /* of everything */
	bool (*find)(const struct key *k);
	unsigned (*burst)(const struct key *k, uint64_t *sum); /* BURST keys: found; reads records when 'sum' */
	bool (*insert)(const struct key *k);
	bool (*del)(const struct key *k);
	void (*quiet)(unsigned thread);
	void (*enter)(unsigned thread), (*leave)(unsigned thread);
};
static uint32_t n_entries;

/* A bijection: no key twice. */
INLINE struct key key_of(uint32_t id)
{
	struct key k;
	/* One store: the hash reads 16 bytes, and a load out of two stores waits for all look-ups before it. */
	_mm_storeu_si128((void *)&k, _mm_set_epi64x((long long)((uint64_t)id << 32 | 6),
						    (long long)((uint64_t)id * 0x9e3779b97f4a7c15)));
	return k;
}

INLINE uint32_t rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((*s >> 32) * n_entries >> 32);
}

INLINE bool key_same(const struct key *a, const struct key *b)
{
	return ((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1])) == 0;
}

INLINE uint64_t hash_of(const struct key *k)
{
	return hash_key16(_mm_loadu_si128((const void *)k));
}

static void die(const char *what)
{
	fprintf(stderr, "bench-tables: %s\n", what);
	exit(1);
}

static double pool_bytes(const struct pool *p)
{
	return (double)p->arena.map_size + 2.0 * sizeof(uint32_t) * p->capacity;
}

static void open_pool(struct table *t, uint32_t n)
{
	struct err e = { "" };
	if (table_open(t, "bench", n, sizeof(struct key), sizeof(struct record) - sizeof(struct key), &e))
		die(e.text);
}

static void no_thread(unsigned thread)
{
	(void)thread;
}

static void rcu_quiet(unsigned thread)
{
	(void)thread;
	rcu_quiescent();
}

/* An index of the pool, however long that takes: what was deleted may rest in limbo. */
static uint32_t take(struct pool *p)
{
	uint32_t i;
	while (!(i = pool_alloc(p, 0))) {
		rcu_poll_deferred();
		sched_yield();
	}
	return i;
}

/* ---- ours, used as ct does: a record from the pool, then the index ---- */
static struct table ours;

static void ours_open(uint32_t n)
{
	open_pool(&ours, n);
}
static void ours_close(void)
{
	table_close(&ours);
}
static double ours_bytes(void)
{
	return pool_bytes(&ours.pool) + (double)ours.idx.arena.map_size;
}
static bool ours_find(const struct key *k)
{
	return hidx_find(&ours.idx, k, hash_of(k)) != 0;
}
static unsigned ours_burst(const struct key *k, uint64_t *sum)
{
	uint64_t h[BURST];
	uint32_t first[BURST];
	unsigned found = 0;

	for (unsigned i = 0; i < BURST; i++) {
		h[i] = hash_of(&k[i]);
		hidx_prefetch(&ours.idx, h[i]);
	}
	for (unsigned i = 0; i < BURST; i++) {
		first[i] = hidx_first(&ours.idx, h[i]);
		__builtin_prefetch(pool_at(&ours.pool, first[i]));
	}
	for (unsigned i = 0; i < BURST; i++) {
		const struct record *r = pool_at(&ours.pool, first[i]);
		if (unlikely(!key_same(&r->key, &k[i]))) {
			uint32_t at = hidx_find(&ours.idx, &k[i], h[i]);
			if (!at)
				continue;
			r = pool_at(&ours.pool, at);
		}
		found++;
		if (sum)
			*sum += r->value[0];
	}
	return found;
}
static bool ours_insert(const struct key *k)
{
	uint32_t i = take(&ours.pool), present;
	struct record *r = pool_at(&ours.pool, i);
	*r = (struct record){ .key = *k };
	if (hidx_insert(&ours.idx, hash_of(k), i, &present))
		return false;
	pool_publish(&ours.pool, i);
	return true;
}
static bool ours_del(const struct key *k)
{
	uint64_t h = hash_of(k);
	uint32_t i = hidx_find(&ours.idx, k, h);
	if (!i || hidx_remove(&ours.idx, h, i))
		return false;
	pool_retire(&ours.pool, 0, i);
	return true;
}

/* ---- cds_lfht: as many buckets as entries, records from a pool of the same kind ---- */
static struct cds_lfht *lfht;
static struct table lfht_pool;
static size_t lfht_before;

static int lfht_match(struct cds_lfht_node *n, const void *k)
{
	return key_same(&container_of(n, struct record, node)->key, k);
}
static void lfht_open(uint32_t n)
{
	open_pool(&lfht_pool, n);
	hidx_close(&lfht_pool.idx);
	lfht_before = mallinfo2().hblkhd + mallinfo2().uordblks;
	lfht = _cds_lfht_new(n, n, n, 0, &cds_lfht_mm_order, &urcu_qsbr_flavor, NULL);
	if (!lfht)
		die("cds_lfht_new failed");
}
static void lfht_close(void)
{
	/* nobody looks any more; it takes empty tables only, so the little that hangs below it stays */
	for (uint32_t id = 0; id < n_entries; id++) {
		struct key k = key_of(id);
		struct cds_lfht_iter it;
		cds_lfht_lookup(lfht, hash_of(&k), lfht_match, &k, &it);
		if (cds_lfht_iter_get_node(&it))
			cds_lfht_del(lfht, cds_lfht_iter_get_node(&it));
	}
	rcu_offline();
	if (cds_lfht_destroy(lfht, NULL))
		die("cds_lfht_destroy failed");
	rcu_online();
	table_close(&lfht_pool);
}
static double lfht_bytes(void)
{
	return pool_bytes(&lfht_pool.pool) + (double)(mallinfo2().hblkhd + mallinfo2().uordblks - lfht_before);
}
INLINE struct record *lfht_get(const struct key *k, uint64_t h)
{
	struct cds_lfht_iter it;
	cds_lfht_lookup(lfht, h, lfht_match, k, &it);
	struct cds_lfht_node *n = cds_lfht_iter_get_node(&it);
	return n ? container_of(n, struct record, node) : NULL;
}
static bool lfht_find(const struct key *k)
{
	return lfht_get(k, hash_of(k)) != NULL;
}
/* No way to look ahead into its chains: a burst is 64 look-ups. */
static unsigned lfht_burst(const struct key *k, uint64_t *sum)
{
	unsigned found = 0;
	for (unsigned i = 0; i < BURST; i++) {
		struct record *r = lfht_get(&k[i], hash_of(&k[i]));
		found += r != NULL;
		if (sum && r)
			*sum += r->value[0];
	}
	return found;
}
static bool lfht_insert(const struct key *k)
{
	uint32_t i = take(&lfht_pool.pool);
	struct record *r = pool_at(&lfht_pool.pool, i);
	*r = (struct record){ .key = *k };
	cds_lfht_node_init(&r->node);
	if (cds_lfht_add_unique(lfht, hash_of(k), lfht_match, k, &r->node) != &r->node)
		return false;
	pool_publish(&lfht_pool.pool, i);
	return true;
}
static bool lfht_del(const struct key *k)
{
	struct record *r = lfht_get(k, hash_of(k));
	if (!r || cds_lfht_del(lfht, &r->node))
		return false;
	pool_retire(&lfht_pool.pool, 0, (uint32_t)(r - (struct record *)lfht_pool.pool.base));
	return true;
}

/* ---- rte_hash: readers without locks, positions reclaimed by its own QSBR ---- */
#if BENCH_RTE
enum { RTE_THREADS = 4 };
static struct rte_hash *rte;
static struct rte_rcu_qsbr *rte_qsbr;
static size_t rte_before;

static size_t rte_heap(void)
{
	struct rte_malloc_socket_stats s;
	rte_malloc_get_socket_stats(0, &s);
	return s.heap_allocsz_bytes;
}
static bool rte_start(void)
{
	static char args[][20] = { "bench-tables", "--no-pci", "--no-telemetry", "--in-memory", "--log-level", "4",
				   "-l",           "" };
	char *argv[ARRAY_LEN(args) + 1] = { NULL };
	struct sched_param param, none = { 0 };
	cpu_set_t cpus;

	snprintf(args[ARRAY_LEN(args) - 1], sizeof(args[0]), "%d", sched_getcpu());
	for (unsigned i = 0; i < ARRAY_LEN(args); i++)
		argv[i] = args[i];
	/* EAL waits for threads of its own, for ever under a real-time policy; and it would pin this one */
	int policy = sched_getscheduler(0);
	sched_getparam(0, &param);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	sched_setscheduler(0, SCHED_OTHER, &none);
	bool ok = rte_eal_init((int)ARRAY_LEN(args), argv) >= 0;
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	sched_setscheduler(0, policy, &param);
	return ok;
}
static struct rte_hash *rte_new(uint32_t entries)
{
	struct rte_hash_parameters p = { .name = "bench",
					 .entries = entries,
					 .key_len = sizeof(struct key),
					 .hash_func = rte_hash_crc,
					 .extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF };
	struct rte_hash *h = rte_hash_create(&p);
	if (!h)
		die("rte_hash_create failed");
	return h;
}
static void rte_open(uint32_t n)
{
	rte_before = rte_heap();
	rte = rte_new(n + n / 8);
	rte_qsbr = rte_zmalloc(NULL, rte_rcu_qsbr_get_memsize(RTE_THREADS), CACHE_LINE);
	if (!rte_qsbr || rte_rcu_qsbr_init(rte_qsbr, RTE_THREADS))
		die("rte_rcu_qsbr failed");
	struct rte_hash_rcu_config c = { .v = rte_qsbr, .mode = RTE_HASH_QSBR_MODE_DQ };
	if (rte_hash_rcu_qsbr_add(rte, &c))
		die("rte_hash_rcu_qsbr_add failed");
}
static void rte_close(void)
{
	rte_hash_free(rte);
	rte_free(rte_qsbr);
}
static double rte_bytes(void)
{
	return (double)(rte_heap() - rte_before) + sizeof(struct record) * (double)n_entries;
}
static bool rte_find(const struct key *k)
{
	return rte_hash_lookup(rte, k) >= 0;
}
static unsigned rte_burst(const struct key *k, uint64_t *sum)
{
	const void *keys[BURST];
	void *data[BURST];
	uint64_t hits = 0;

	for (unsigned i = 0; i < BURST; i++)
		keys[i] = &k[i];
	if (!sum) {
		int32_t at[BURST];
		unsigned found = 0;
		rte_hash_lookup_bulk(rte, keys, BURST, at);
		for (unsigned i = 0; i < BURST; i++)
			found += at[i] >= 0;
		return found;
	}
	rte_hash_lookup_bulk_data(rte, keys, BURST, &hits, data);
	for (uint64_t m = hits; m; m &= m - 1)
		__builtin_prefetch(data[__builtin_ctzll(m)]);
	for (uint64_t m = hits; m; m &= m - 1)
		*sum += ((struct record *)data[__builtin_ctzll(m)])->value[0];
	return (unsigned)__builtin_popcountll(hits);
}
static bool rte_insert(const struct key *k)
{
	/* any record of ours, spread like the keys */
	uint32_t i = 1 + (uint32_t)(k->w[1] >> 32);
	return rte_hash_add_key_data(rte, k, pool_at(&ours.pool, i)) == 0;
}
static bool rte_del(const struct key *k)
{
	return rte_hash_del_key(rte, k) >= 0;
}
static void rte_quiet(unsigned thread)
{
	rte_rcu_qsbr_quiescent(rte_qsbr, thread);
}
static void rte_enter(unsigned thread)
{
	rte_rcu_qsbr_thread_register(rte_qsbr, thread);
	rte_rcu_qsbr_thread_online(rte_qsbr, thread);
}
static void rte_leave(unsigned thread)
{
	rte_rcu_qsbr_thread_offline(rte_qsbr, thread);
	rte_rcu_qsbr_thread_unregister(rte_qsbr, thread);
}
#endif

enum { OURS, LFHT, RTE, CONTESTANTS };
static const struct contestant contestants[CONTESTANTS] = {
	[OURS] = { "sluice", ours_open, ours_close, ours_bytes, ours_find, ours_burst, ours_insert, ours_del, rcu_quiet,
		   no_thread, no_thread },
	[LFHT] = { "cds_lfht", lfht_open, lfht_close, lfht_bytes, lfht_find, lfht_burst, lfht_insert, lfht_del,
		   rcu_quiet, no_thread, no_thread },
#if BENCH_RTE
	[RTE] = { "rte_hash", rte_open, rte_close, rte_bytes, rte_find, rte_burst, rte_insert, rte_del, rte_quiet,
		  rte_enter, rte_leave },
#endif
};
static bool have[CONTESTANTS] = { true, true, false };
