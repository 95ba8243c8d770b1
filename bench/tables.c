/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-tables: the bucket index over 64-byte records against liburcu's cds_lfht and, when DPDK is installed, rte_hash.
 *
 * Keys of 16 bytes, present, in random order; cycles are TSC cycles. The contestants take turns within each round, so
 * that other load meets them alike; figures are medians of the rounds, ratios medians of the rounds' ratios.
 * Memory of all of them is on 2 MiB pages when the kernel has some: arenas and DPDK by themselves, cds_lfht's bucket
 * table through malloc (see huge_malloc). rte_hash keeps a copy of the key and points to our records: it is not charged
 * for writing them, and its plain burst does not touch them; 'burst+read' reads a word of the record with everybody. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench/tables_peers.h"

enum { ROUNDS = 7, LOOKUPS = 64 * 1024, RACE_MS = 250, RACE_ROUNDS = 5 };
enum measure { SINGLE, BURSTS, BURSTS_READ, INSERT, DELETE, MEASURES };
static const char *const measure_names[MEASURES] = { "single", "burst", "burst+read", "insert", "delete" };

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

/* The last cds_lfht ends with the process: emptying it would take seconds. */
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
		if (have[c] && !(last && c == LFHT))
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
