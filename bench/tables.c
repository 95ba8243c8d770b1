/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-tables: the bucket index over 64-byte records against liburcu's cds_lfht and, when DPDK is installed, rte_hash.
 *
 * Keys of 16 bytes, present, in random order; cycles are TSC cycles. The contestants take turns within each round, so
 * that other load meets them alike; figures are medians of the rounds, ratios medians of the rounds' ratios.
 * Memory of all of them is on 2 MiB pages when the kernel has some: arenas and DPDK by themselves, cds_lfht's bucket
 * table through malloc (see huge_malloc). rte_hash keeps a copy of the key and points to our records: it is not charged
 * for writing them, and its plain burst does not touch them; 'burst+read' reads a word of the record with everybody. */
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
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

enum { ROUNDS = 7, LOOKUPS = 64 * 1024, BURST = 64, RACE_MS = 250, RACE_ROUNDS = 5 };
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
enum measure { SINGLE, BURSTS, BURSTS_READ, INSERT, DELETE, MEASURES };
static const char *const measure_names[MEASURES] = { "single", "burst", "burst+read", "insert", "delete" };
static uint32_t n_entries;

/* A bijection: no key twice. */
INLINE struct key key_of(uint32_t id)
{
	uint64_t h = (uint64_t)id * 0x9e3779b97f4a7c15;
	return (struct key){ { h, (uint64_t)id << 32 | 6 } };
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

/* ---- measuring ---- */
static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(const double *v, unsigned n)
{
	double s[ROUNDS];
	memcpy(s, v, n * sizeof(*s));
	qsort(s, n, sizeof(*s), by_value);
	return s[n / 2];
}

/* A line: medians, and the medians of the rounds' ratios. */
static void line(const char *level, const char *what, double (*v)[ROUNDS], unsigned n, int digits)
{
	double r[2][ROUNDS] = { { 0 } };

	printf("%-9s %-22s", level, what);
	for (unsigned c = 0; c < CONTESTANTS; c++)
		if (have[c])
			printf(" %10.*f", digits, median(v[c], n));
		else
			printf(" %10s", "-");
	for (unsigned i = 0; i < n; i++) {
		r[0][i] = v[RTE][i] > 0 ? v[OURS][i] / v[RTE][i] : 0;
		r[1][i] = v[LFHT][i] / v[OURS][i];
	}
	if (have[RTE])
		printf(" %12.2f", median(r[0], n));
	else
		printf(" %12s", "-");
	printf(" %12.2f\n", median(r[1], n));
	fflush(stdout);
}

INLINE uint64_t single(const struct contestant *c, uint64_t seed)
{
	unsigned found = 0;
	uint64_t t = __builtin_ia32_rdtsc();
	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct key k = key_of(rnd(&seed));
		found += c->find(&k);
	}
	t = __builtin_ia32_rdtsc() - t;
	if (found != LOOKUPS)
		die("a present key was not found");
	return t;
}

INLINE uint64_t bursts(const struct contestant *c, uint64_t seed, bool reads)
{
	uint64_t sum = 0, t = __builtin_ia32_rdtsc();
	unsigned found = 0;
	for (unsigned i = 0; i < LOOKUPS; i += BURST) {
		struct key k[BURST];
		for (unsigned j = 0; j < BURST; j++)
			k[j] = key_of(rnd(&seed));
		found += c->burst(k, reads ? &sum : NULL);
	}
	t = __builtin_ia32_rdtsc() - t;
	if (found != LOOKUPS)
		die("a present key was not found in a burst");
	return t;
}

/* Deletes 'n' entries, distinct ones spread over all, and inserts them again. */
static void churn(const struct contestant *c, uint32_t n, uint64_t *del, uint64_t *insert)
{
	const uint32_t from = (uint32_t)random() % n_entries, step = 0x9e3779b1; /* odd: n_entries is a power of two */
	uint64_t t = __builtin_ia32_rdtsc();
	for (uint32_t i = 0; i < n; i++) {
		struct key k = key_of((from + i * step) & (n_entries - 1));
		if (!c->del(&k))
			die("a present key was not deleted");
	}
	*del = __builtin_ia32_rdtsc() - t;
	for (unsigned i = 0; i < 3; i++)
		rcu_poll_deferred();
	t = __builtin_ia32_rdtsc();
	for (uint32_t i = 0; i < n; i++) {
		struct key k = key_of((from + i * step) & (n_entries - 1));
		if (!c->insert(&k))
			die("a key was refused");
	}
	*insert = __builtin_ia32_rdtsc() - t;
}

static void one_round(unsigned c, unsigned round, double (*v)[CONTESTANTS][ROUNDS])
{
	const struct contestant *k = &contestants[c];
	const uint32_t n = MIN(n_entries / 32, 16u * 1024);
	uint64_t seed = round + 1, del, insert;

	bursts(k, seed + 300, true); /* the others left the caches to themselves */
	v[SINGLE][c][round] = (double)single(k, seed) / LOOKUPS;
	v[BURSTS][c][round] = (double)bursts(k, seed + 100, false) / LOOKUPS;
	v[BURSTS_READ][c][round] = (double)bursts(k, seed + 200, true) / LOOKUPS;
	churn(k, n, &del, &insert);
	v[DELETE][c][round] = (double)del / n;
	v[INSERT][c][round] = (double)insert / n;
}

/* ---- readers against a writer ---- */
struct racer {
	const struct contestant *c;
	unsigned number, cpu;
	bool writes;
	uint64_t ops;
	double cpu_s;
};
static int racing;

static void *racer_main(void *arg)
{
	struct racer *r = arg;
	struct key k[BURST];
	struct timespec t;
	uint64_t seed = r->number + 77;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(r->cpu, &cpu);
	pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
	/* under chrt: two threads of one real-time priority on a core would starve each other */
	pthread_setschedparam(pthread_self(), SCHED_OTHER, &(struct sched_param){ 0 });
	rcu_thread_register();
	if (!r->writes)
		r->c->enter(r->number);
	while (LOAD_ACQUIRE(&racing)) {
		if (r->writes) {
			k[0] = key_of(rnd(&seed));
			if (!r->c->del(&k[0]) || !r->c->insert(&k[0]))
				die("writer: refused");
			r->ops += 2;
			rcu_quiescent();
			continue;
		}
		for (unsigned j = 0; j < BURST; j++)
			k[j] = key_of(rnd(&seed));
		if (r->c->burst(k, NULL) < BURST - 1) /* the writer's one may be away */
			die("a present key was not found beside a writer");
		r->ops += BURST;
		r->c->quiet(r->number);
	}
	if (!r->writes)
		r->c->leave(r->number);
	rcu_thread_unregister();
	/* Two of three threads share a core: what counts is the time each one ran. */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	r->cpu_s = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
	return NULL;
}

static void race(unsigned c, unsigned readers, double hz, double *cycles, double *mops)
{
	struct racer r[3] = { { 0 } };
	pthread_t t[3];
	const struct timespec ms = { .tv_nsec = RACE_MS * 1000000L };
	double sum = 0;

	STORE_RELEASE(&racing, 1);
	rcu_offline();
	for (unsigned i = 0; i <= readers; i++) {
		r[i] = (struct racer){
			.c = &contestants[c], .number = i, .cpu = i == readers ? 1 : i, .writes = i == readers
		};
		if (pthread_create(&t[i], NULL, racer_main, &r[i]))
			die("no thread");
	}
	nanosleep(&ms, NULL);
	STORE_RELEASE(&racing, 0);
	for (unsigned i = 0; i <= readers; i++)
		pthread_join(t[i], NULL);
	rcu_online();
	for (unsigned i = 0; i < readers; i++)
		sum += r[i].cpu_s * hz / (double)r[i].ops;
	*cycles = sum / readers;
	*mops = (double)r[readers].ops / r[readers].cpu_s / 1e6;
}

static void races(const char *level, double hz)
{
	for (unsigned readers = 1; readers <= 2; readers++) {
		static double cycles[CONTESTANTS][ROUNDS], mops[CONTESTANTS][ROUNDS];
		char text[32];
		for (unsigned round = 0; round < RACE_ROUNDS; round++)
			for (unsigned c = 0; c < CONTESTANTS; c++)
				if (have[c])
					race(c, readers, hz, &cycles[c][round], &mops[c][round]);
		snprintf(text, sizeof(text), "%u reader%s+writer burst", readers, readers > 1 ? "s" : "");
		line(level, text, cycles, RACE_ROUNDS, 0);
		line(level, "  its writer, Mops/s", mops, RACE_ROUNDS, 2);
	}
}

/* ---- load ---- */
static void load(void)
{
	enum { BUCKETS = 64 * 1024, SLOTS = BUCKETS * BUCKET_SLOTS };
	static const unsigned shares[] = { 50, 60, 70, 80, 90, 95 };
	struct key *keys = calloc(SLOTS + 1, sizeof(*keys));
	unsigned next = 0;
	struct hidx h;
	struct err e = { "" };

	/* a capacity of 60 % makes this many buckets */
	if (!keys || hidx_open(&h, BUCKETS * 6, keys, sizeof(*keys), sizeof(*keys), &e))
		die("no memory");
	printf("\nsluice: share of entries in their alternate bucket:");
	uint32_t i = 1;
	for (; i <= SLOTS; i++) {
		keys[i] = (struct key){ { (uint64_t)random() << 32 | (uint64_t)random(), i } };
		if (hidx_insert(&h, hash_of(&keys[i]), i, NULL))
			break;
		if (next < ARRAY_LEN(shares) && i >= (uint64_t)SLOTS * shares[next] / 100) {
			unsigned guests = 0;
			for (unsigned b = 0; b < BUCKETS; b++)
				guests += (unsigned)__builtin_popcount(h.b[b].alt);
			printf(" %u %%: %.1f %%", shares[next++], 100.0 * guests / i);
		}
	}
	printf("\nfirst refusal: sluice at %.1f %% of its slots", 100.0 * (i - 1) / SLOTS);
	hidx_close(&h);
#if BENCH_RTE
	if (have[RTE]) {
		enum { ENTRIES = 1 << 19 };
		struct rte_hash *r = rte_new(ENTRIES);
		for (i = 1; i <= ENTRIES && rte_hash_add_key(r, &keys[i]) >= 0; i++)
			;
		printf(", rte_hash at %.1f %%", 100.0 * (i - 1) / ENTRIES);
		rte_hash_free(r);
	}
#endif
	printf("\n");
	free(keys);
}

/* malloc on huge pages, too: glibc reads that wish at the start of a process only. Without free ones, THP for all. */
static void huge_malloc(char **argv)
{
	char text[80];
	unsigned long n_free = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(text, sizeof(text), f))
		sscanf(text, "HugePages_Free: %lu", &n_free);
	if (f)
		fclose(f);
	if (getenv("GLIBC_TUNABLES"))
		return;
	setenv("GLIBC_TUNABLES", n_free ? "glibc.malloc.hugetlb=2" : "glibc.malloc.hugetlb=1", 1);
	execv("/proc/self/exe", argv);
}

static double tsc_hz(void)
{
	struct timespec a, b;
	const struct timespec nap = { .tv_nsec = 50000000 };
	clock_gettime(CLOCK_MONOTONIC, &a);
	uint64_t t = __builtin_ia32_rdtsc();
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	t = __builtin_ia32_rdtsc() - t;
	return (double)t / ((double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
}

/* The last level's tables end with the process: emptying cds_lfht would take seconds. */
static void level(uint32_t n, const char *name, double hz, bool with_races, bool last)
{
	static double v[MEASURES][CONTESTANTS][ROUNDS], bytes[CONTESTANTS][ROUNDS];

	n_entries = n;
	for (unsigned c = 0; c < CONTESTANTS; c++) {
		if (!have[c])
			continue;
		contestants[c].open(n);
		for (uint32_t id = 0; id < n; id++) {
			struct key k = key_of((id * 0x9e3779b1) & (n - 1));
			if (!contestants[c].insert(&k))
				die("a key was refused while filling");
		}
		bytes[c][0] = contestants[c].bytes() / n;
	}
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned c = 0; c < CONTESTANTS; c++)
			if (have[c])
				one_round(c, round, v);
	for (unsigned m = 0; m < MEASURES; m++)
		line(name, measure_names[m], v[m], ROUNDS, 0);
	line(name, "bytes an entry", bytes, 1, 0);
	if (with_races)
		races(name, hz);
	for (unsigned c = 0; c < CONTESTANTS; c++)
		if (have[c] && !last)
			contestants[c].close();
}

int main(int argc, char **argv)
{
	(void)argc;
	huge_malloc(argv);
#if BENCH_RTE
	have[RTE] = rte_start();
#endif
	hash_init(0);
	rcu_thread_register();
	double hz = tsc_hz();
	printf("%-9s %-22s %10s %10s %10s %12s %12s\n", "entries", "TSC cycles an entry", "sluice", "cds_lfht",
	       "rte_hash", "sluice/rte", "lfht/sluice");
	level(64 * 1024, "64Ki", hz, false, false);
	level(1024 * 1024, "1Mi", hz, true, false);
	level(8 * 1024 * 1024, "8Mi", hz, false, true);
	load();
	rcu_thread_unregister();
	return 0;
}
