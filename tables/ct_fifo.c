/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues of embryonic connections in the order of their creation: under a flood a full table finds its oldest half-open
 * connection at the head, whatever the table's size. Workers call it; one queue for each thread and quota.
 *
 * A queue holds entry numbers in chunks and is only a hint: nothing is taken out of the middle. What was answered, deleted
 * or reused since (then its ticket is another one) is passed over when it comes to the head; a few are looked at now and then, so that the queues do
 * not grow in peace. Chunks suffice for every connection once; a thread that finds none loses its own oldest, which sampling
 * then covers, as it does what came before this process. Each queue has a lock for those who run out of victims of
 * their own; it is the owner's otherwise. */
#include "tables/ct.h"

enum {
	CHUNK_ENTRIES = 1023,
	TRIM_EVERY = 32, /* appends; at once because the lines of many heads come together */
	TRIM = 2 * TRIM_EVERY,
	LOOKS = 64 /* heads looked at for one victim */
};

struct chunk {
	uint32_t next;
	uint32_t conn[CHUNK_ENTRIES];
};
_Static_assert(sizeof(struct chunk) == 4096, "a page");

static struct fifo {
	uint32_t lock, n;
	uint32_t head, tail;       /* chunks; 0 = none */
	uint32_t head_at, tail_at; /* next to read, next to write */
	uint32_t ticket;           /* of the head; counted up, wraps */
	uint32_t pad[9];
} fifos[2][2][THREADS]; /* by family, TCP, thread */
_Static_assert(sizeof(struct fifo) == CACHE_LINE, "a line each");

static struct store {
	uint32_t lock, free, n_fresh, n;
} stores[2];

static bool trylock(uint32_t *l)
{
	return !LOAD_RELAXED(l) && !__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE);
}

static void unlock(uint32_t *l)
{
	STORE_RELEASE(l, 0);
}

static struct chunk *chunk_at(const struct ct *c, uint32_t i)
{
	return (struct chunk *)c->fifo.base + i;
}

int ct_fifo_open(struct ct *c, struct err *e)
{
	const uint32_t n = c->conns.capacity / CHUNK_ENTRIES + 2 * 2 * THREADS + 1;

	memset(fifos[c->v6], 0, sizeof(fifos[c->v6]));
	for (unsigned i = 0; i < 2 * THREADS; i++)
		fifos[c->v6][i / THREADS][i % THREADS].ticket = 1; /* 0: never queued */
	stores[c->v6] = (struct store){ .n = n };
	return arena_open(&c->fifo, NULL, 0, n, n * sizeof(struct chunk), e);
}

void ct_fifo_close(struct ct *c)
{
	arena_close(&c->fifo);
}

/* ---- chunks ---- */

static uint32_t chunk_get(struct ct *c)
{
	struct store *s = &stores[c->v6];
	uint32_t i = 0;

	if (!trylock(&s->lock))
		return 0;
	if (s->free) {
		i = s->free;
		s->free = chunk_at(c, i)->next;
	} else if (s->n_fresh + 1 < s->n) {
		i = ++s->n_fresh;
	}
	unlock(&s->lock);
	return i;
}

static void chunk_put(struct ct *c, uint32_t i)
{
	struct store *s = &stores[c->v6];

	while (!trylock(&s->lock))
		__builtin_ia32_pause();
	chunk_at(c, i)->next = s->free;
	s->free = i;
	unlock(&s->lock);
}

/* ---- one queue, its lock held ---- */

static uint32_t peek(const struct ct *c, const struct fifo *f, uint32_t ahead)
{
	uint32_t at = f->head_at + ahead;

	if (ahead >= f->n)
		return 0;
	if (at < CHUNK_ENTRIES)
		return chunk_at(c, f->head)->conn[at];
	return chunk_at(c, chunk_at(c, f->head)->next)->conn[at - CHUNK_ENTRIES];
}

static void drop_head(struct ct *c, struct fifo *f)
{
	uint32_t was = f->head;

	STORE_RELAXED(&f->n, f->n - 1);
	f->ticket++;
	if (++f->head_at < CHUNK_ENTRIES)
		return;
	f->head_at = 0;
	f->head = f->head == f->tail ? 0 : chunk_at(c, was)->next;
	if (!f->head)
		f->tail = 0;
	chunk_put(c, was);
}

/* A chunk for the tail: a free one, else the oldest of this queue. */
static uint32_t chunk_for_tail(struct ct *c, struct fifo *f)
{
	uint32_t i = chunk_get(c);

	if (i || f->head == f->tail)
		return i;
	i = f->head;
	f->ticket += CHUNK_ENTRIES - f->head_at;
	STORE_RELAXED(&f->n, f->n - (CHUNK_ENTRIES - f->head_at));
	f->head = chunk_at(c, i)->next;
	f->head_at = 0;
	return i;
}

static void append(struct ct *c, struct fifo *f, uint32_t conn)
{
	if (!f->tail || f->tail_at == CHUNK_ENTRIES) {
		uint32_t i = chunk_for_tail(c, f);
		if (!i)
			return;
		if (f->tail)
			chunk_at(c, f->tail)->next = i;
		else
			f->head = i, f->head_at = 0;
		f->tail = i;
		f->tail_at = 0;
	}
	STORE_RELAXED(&ct_conn(c, conn)->ticket, (uint16_t)(f->ticket + f->n));
	chunk_at(c, f->tail)->conn[f->tail_at++] = conn;
	STORE_RELAXED(&f->n, f->n + 1);
}

/* Is the head's connection still the one that was put there, and unanswered? */
static bool head_waits(const struct ct *c, const struct fifo *f)
{
	const uint32_t conn = peek(c, f, 0);
	return ct_is_embryonic(c, conn) && LOAD_RELAXED(&ct_conn(c, conn)->ticket) == (uint16_t)f->ticket;
}

/* What head_waits() reads of an entry. */
static void prefetch_entry(const struct ct *c, uint32_t conn)
{
	__builtin_prefetch(ct_conn(c, conn));
	__builtin_prefetch(ct_record_seen(c, 2 * conn + 1));
	__builtin_prefetch(&c->conns.state[conn]);
}

static void trim(struct ct *c, struct fifo *f)
{
	const uint32_t n = MIN(f->n, (uint32_t)TRIM);

	if (!n || head_waits(c, f))
		return;
	for (uint32_t i = 0; i < n; i++)
		prefetch_entry(c, peek(c, f, i));
	for (uint32_t i = 0; i < n && !head_waits(c, f); i++)
		drop_head(c, f);
}

void ct_fifo_push(struct ct *c, unsigned slot, uint32_t conn)
{
	const bool tcp = ct_conn(c, conn)->proto == PROTO_TCP;
	struct fifo *f = &fifos[c->v6][tcp][slot];

	while (!trylock(&f->lock))
		__builtin_ia32_pause();
	append(c, f, conn);
	if (f->tail_at % TRIM_EVERY == 0)
		trim(c, f);
	unlock(&f->lock);
}

/* Lines that the next victims' deletion needs: records of the one after next, buckets of the next. */
static void prefetch_victims(const struct ct *c, const struct fifo *f)
{
	const uint32_t next = peek(c, f, 0), then = peek(c, f, 2);

	for (unsigned d = 0; d < 2; d++) {
		hidx_prefetch(&c->idx, ct_record_hash(c, 2 * next + d));
		__builtin_prefetch(c->flows + (2 * (uint64_t)then + d) * c->flow_size);
	}
	prefetch_entry(c, then);
}

/* '*young': the head of the queue must stay because it is new, and so must all behind it. */
static uint32_t pop(struct ct *c, struct fifo *f, uint32_t now_s, bool *young)
{
	uint32_t victim = 0, conn;

	for (unsigned i = 0; i < LOOKS && !victim && (conn = peek(c, f, 0)); i++) {
		bool stays = head_waits(c, f);
		if (stays && now_s - ct_conn(c, conn)->created < CT_EVICT_IDLE) {
			*young = true;
			break;
		}
		drop_head(c, f);
		if (stays && ct_idle(c, conn, now_s) >= CT_EVICT_IDLE)
			victim = conn;
		else if (stays) /* unanswered, but in use */
			append(c, f, conn);
	}
	if (victim)
		prefetch_victims(c, f);
	return victim;
}

uint32_t ct_fifo_victim(struct ct *c, unsigned slot, bool tcp, uint32_t now_s, uint32_t *n_young)
{
	uint32_t victim = 0;

	*n_young = 0;
	for (unsigned i = 0; i < THREADS && !victim; i++) {
		/* own queue first */
		struct fifo *f = &fifos[c->v6][tcp][(slot + i) % THREADS];
		bool young = false;
		if (!LOAD_RELAXED(&f->n) || !trylock(&f->lock))
			continue;
		victim = pop(c, f, now_s, &young);
		if (young)
			*n_young += f->n;
		unlock(&f->lock);
	}
	return victim;
}

uint64_t ct_fifo_bytes(const struct ct *c)
{
	return stores[c->v6].n * sizeof(struct chunk);
}
