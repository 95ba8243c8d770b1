/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry pools: who owns which index. Workers and control thread, each under its own slot number.
 *
 * A slot holds a small stack of free indices and its limbo: lists of retired indices, one per epoch, linked through
 * pool.next, so that nothing is allocated and a list of any length ripens in one step. Order of reuse: own ripe limbo,
 * own stack, shared stack, never used indices, and last what other slots hold: an idle thread cannot keep a full pool's
 * free entries for itself. Each slot has a lock for that last case; it is the owner's otherwise (an uncontended
 * exchange). */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/rcu.h"
#include "tables/table.h"

enum {
	CACHE_MAX = 32,   /* indices a slot takes at once */
	SPILL_EVERY = 32, /* retirements between looks whether there is something to hand on */
	LIMBO_LISTS = 3,  /* epochs e, e + 1 and an older one, which is ripe when a fourth is needed */
	SPINS = 200
};

struct limbo {
	uint64_t epoch;
	uint32_t head, tail, n;
};

struct pool_slot {
	uint32_t lock;
	uint32_t n_cache, n_ripe; /* read by other threads to find free entries */
	uint32_t ripe;            /* list of reusable entries */
	uint32_t n_retired;
	struct limbo limbo[LIMBO_LISTS]; /* oldest first; n = 0: unused, and so are the ones behind */
	uint32_t cache[CACHE_MAX];
} __attribute__((aligned(CACHE_LINE)));

static void lock(uint32_t *l)
{
	for (unsigned n = 0; LOAD_RELAXED(l) || __atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE); n++) {
		if (n < SPINS)
			_mm_pause();
		else
			sched_yield();
	}
}

static void unlock(uint32_t *l)
{
	STORE_RELEASE(l, 0);
}

static uint64_t fnv(uint64_t h, uint64_t v)
{
	return (h ^ v) * 0x100000001b3;
}

uint64_t pool_layout(const char *name, uint32_t entry_size)
{
	uint64_t h = 0xcbf29ce484222325;

	for (const char *c = name; c && *c; c++)
		h = fnv(h, (uint8_t)*c);
	return fnv(h, entry_size);
}

size_t pool_states_at(uint32_t entry_size, uint32_t capacity)
{
	return ALIGN_UP(((size_t)capacity + 1) * entry_size, CACHE_LINE);
}

int pool_open(struct pool *p, const char *name, uint32_t entry_size, uint32_t capacity, struct err *e)
{
	const size_t n = (size_t)capacity + 1;
	const size_t data = pool_states_at(entry_size, capacity);

	memset(p, 0, sizeof(*p));
	if (!capacity || capacity > UINT32_MAX / 2 || !entry_size || entry_size % 8)
		return err_set(e, -EINVAL, "table %s: capacity %u of %u bytes is not possible", name, capacity,
			       entry_size);
	int r = arena_open(&p->arena, name, pool_layout(name, entry_size), capacity, data + ALIGN_UP(n, 32), e);
	if (r)
		return r;
	p->base = p->arena.base;
	p->state = p->base + data;
	p->entry_size = entry_size;
	p->capacity = capacity;
	p->batch = MIN(capacity / (THREADS * 4), (uint32_t)CACHE_MAX);
	r = arena_open(&p->lists, NULL, 0, 0, 2 * n * sizeof(*p->stack), e);
	p->slots = aligned_alloc(CACHE_LINE, THREADS * sizeof(*p->slots));
	if (r || !p->slots) {
		pool_close(p);
		return err_set(e, -ENOMEM, "table %s: no memory for the free list; lower its capacity", name);
	}
	/* now: what is freed in a row would otherwise meet a page fault every thousand entries */
	arena_populate(&p->lists);
	p->stack = p->lists.base;
	p->next = p->stack + n;
	memset(p->slots, 0, THREADS * sizeof(*p->slots));
	memset(p->base, 0xff, entry_size);
	return 0;
}

void pool_close(struct pool *p)
{
	if (!p)
		return;
	if (p->base)
		arena_close(&p->arena);
	arena_close(&p->lists);
	free(p->slots);
	memset(p, 0, sizeof(*p));
}

/* Other threads look at the epoch and the length without the lock. */
static void limbo_set(struct limbo *l, uint64_t at, uint32_t head, uint32_t tail, uint32_t n)
{
	STORE_RELAXED(&l->epoch, at);
	l->head = head;
	l->tail = tail;
	STORE_RELAXED(&l->n, n);
}

/* Ripe limbo lists of the locked slot 's' join its reusable list. */
static void ripen(struct pool *p, struct pool_slot *s, uint64_t now)
{
	while (s->limbo[0].n && now >= s->limbo[0].epoch + 2) {
		struct limbo *l = &s->limbo[0];
		p->next[l->tail] = s->ripe;
		s->ripe = l->head;
		STORE_RELAXED(&s->n_ripe, s->n_ripe + l->n);
		for (unsigned k = 0; k + 1 < LIMBO_LISTS; k++)
			limbo_set(&l[k], l[k + 1].epoch, l[k + 1].head, l[k + 1].tail, l[k + 1].n);
		STORE_RELAXED(&s->limbo[LIMBO_LISTS - 1].n, 0);
	}
}

/* A free entry of the locked slot, or 0. */
static uint32_t take(struct pool *p, struct pool_slot *s)
{
	uint32_t i = s->ripe;
	if (i) {
		s->ripe = p->next[i];
		STORE_RELAXED(&s->n_ripe, s->n_ripe - 1);
		__builtin_prefetch(&p->next[s->ripe]); /* read by the next call */
		return i;
	}
	if (!s->n_cache)
		return 0;
	STORE_RELAXED(&s->n_cache, s->n_cache - 1);
	return s->cache[s->n_cache];
}

static void keep(struct pool_slot *s, uint32_t i)
{
	s->cache[s->n_cache] = i;
	STORE_RELAXED(&s->n_cache, s->n_cache + 1);
}

/* A batch from the shared stack, else of never used indices, to the locked slot. The first of them is returned, 0 if
 * none. */
static uint32_t refill(struct pool *p, struct pool_slot *s)
{
	uint32_t want = p->batch + 1, got = 0, i = 0;

	lock(&p->lock);
	uint32_t n = MIN(want, p->n_stack);
	while (got < n) {
		STORE_RELAXED(&p->n_stack, p->n_stack - 1);
		i = p->stack[p->n_stack];
		if (++got < n)
			keep(s, i);
	}
	if (!got && (n = MIN(want, p->capacity - p->n_fresh))) {
		i = p->n_fresh + 1;
		STORE_RELAXED(&p->n_fresh, p->n_fresh + n);
		for (got = n; n > 1; n--) /* the lowest is taken next */
			keep(s, i + n - 1);
	}
	unlock(&p->lock);
	return got ? i : 0;
}

/* A batch of free entries from the locked slot to the shared stack. */
static void spill(struct pool *p, struct pool_slot *s, uint32_t n)
{
	lock(&p->lock);
	for (uint32_t i; n && (i = take(p, s)); n--) {
		STORE_RELAXED(&p->state[i], POOL_FREE);
		p->stack[p->n_stack] = i;
		STORE_RELAXED(&p->n_stack, p->n_stack + 1);
	}
	unlock(&p->lock);
}

/* The last resort: one from another slot. */
static uint32_t steal(struct pool *p, unsigned slot, uint64_t now)
{
	uint32_t i = 0;
	for (unsigned n = 0; n < THREADS && !i; n++) {
		struct pool_slot *s = &p->slots[n];
		if (n == slot ||
		    !(LOAD_RELAXED(&s->n_cache) || LOAD_RELAXED(&s->n_ripe) || LOAD_RELAXED(&s->limbo[0].n)))
			continue;
		lock(&s->lock);
		ripen(p, s, now);
		i = take(p, s);
		unlock(&s->lock);
	}
	return i;
}

uint32_t pool_alloc(struct pool *p, unsigned slot)
{
	struct pool_slot *s = &p->slots[slot];
	uint64_t now = rcu_epoch();

	lock(&s->lock);
	ripen(p, s, now);
	uint32_t i = take(p, s);
	if (!i)
		i = refill(p, s);
	unlock(&s->lock);
	if (!i)
		i = steal(p, slot, now);
	if (i)
		STORE_RELAXED(&p->state[i], POOL_BUSY);
	else
		rcu_request();
	return i;
}

void pool_publish(struct pool *p, uint32_t i)
{
	uint8_t busy = POOL_BUSY;
	/* Not a plain store: an entry linked before it is published may be deleted already, and then stays DEAD. */
	__atomic_compare_exchange_n(&p->state[i], &busy, POOL_LIVE, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

void pool_abort(struct pool *p, unsigned slot, uint32_t i)
{
	struct pool_slot *s = &p->slots[slot];

	assert(p->state[i] == POOL_BUSY);
	STORE_RELAXED(&p->state[i], POOL_FREE);
	lock(&s->lock);
	p->next[i] = s->ripe;
	s->ripe = i;
	STORE_RELAXED(&s->n_ripe, s->n_ripe + 1);
	unlock(&s->lock);
}

void pool_retire(struct pool *p, unsigned slot, uint32_t i)
{
	struct pool_slot *s = &p->slots[slot];

	/* An exchange is a full barrier: the caller's unlinking is visible before the epoch is read. */
	uint8_t was = __atomic_exchange_n(&p->state[i], POOL_DEAD, __ATOMIC_SEQ_CST);
	assert(was == POOL_LIVE || was == POOL_BUSY);
	(void)was;
	uint64_t now = rcu_epoch();

	lock(&s->lock);
	ripen(p, s, now);
	unsigned n = 0;
	while (n < LIMBO_LISTS && s->limbo[n].n && s->limbo[n].epoch != now)
		n++;
	assert(n < LIMBO_LISTS);
	struct limbo *l = &s->limbo[n];
	if (l->n)
		p->next[l->tail] = i;
	else
		limbo_set(l, now, i, i, 0);
	l->tail = i;
	STORE_RELAXED(&l->n, l->n + 1);
	/* Who only retires hands on what others could use, twice as fast as it comes. */
	if (++s->n_retired % SPILL_EVERY == 0 && s->n_ripe > 2 * SPILL_EVERY)
		spill(p, s, 2 * SPILL_EVERY);
	unlock(&s->lock);
	rcu_request();
}

uint32_t pool_used(const struct pool *p)
{
	uint64_t now = rcu_epoch();
	uint32_t used = LOAD_RELAXED(&p->n_fresh) - LOAD_RELAXED(&p->n_stack);

	for (unsigned n = 0; n < THREADS; n++) {
		const struct pool_slot *s = &p->slots[n];
		used -= LOAD_RELAXED(&s->n_cache) + LOAD_RELAXED(&s->n_ripe);
		for (unsigned k = 0; k < LIMBO_LISTS; k++) /* a ripe list is free, though nobody took it yet */
			if (now >= LOAD_RELAXED(&s->limbo[k].epoch) + 2)
				used -= LOAD_RELAXED(&s->limbo[k].n);
	}
	return used;
}

static __m256i states_at(const struct pool *p, uint32_t i)
{
#if WITH_TSAN /* it knows no atomic vectors */
	uint8_t v[32];
	for (unsigned k = 0; k < sizeof(v); k++)
		v[k] = LOAD_ACQUIRE(&p->state[i + k]);
	return _mm256_loadu_si256((const void *)v);
#else
	return _mm256_loadu_si256((const void *)(p->state + i));
#endif
}

uint32_t pool_next(const struct pool *p, uint32_t after)
{
	const uint32_t end = LOAD_RELAXED(&p->n_fresh);
	const __m256i live = _mm256_set1_epi8(POOL_LIVE);

	/* 32 states at a time; the state array is padded to that */
	for (uint32_t i = after + 1; i <= end; i = (i | 31) + 1) {
		__m256i v = states_at(p, i & ~31u);
		uint32_t m = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, live)) & ~0u << (i & 31);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (m)
			return (i & ~31u) + (uint32_t)__builtin_ctz(m);
	}
	return 0;
}
