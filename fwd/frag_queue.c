/* SPDX-License-Identifier: BSD-2-Clause */
/* Fragments that wait for the first of their datagram, on the worker that owns it.
 *
 * A datagram's pieces are a list by offset, the datagrams that wait a list by time: what must give way is its head. Three
 * limits: seconds; memory (a frame each, and never more than an eighth of the frames of a kind, so that whole packets always
 * find some; then the oldest datagram goes); datagrams of one source, counted by a keyed hash of its address and the way it comes in by. Fixed arrays: only
 * what is used is ever backed by memory. */
#include "fwd/base/clock.h"
#include "fwd/frag.h"

enum { NODES = 8 * 1024, SOURCES = 1024, AREA_SHARE = 8 };

struct node {
	uint8_t *data;
	uint32_t len, next;
	uint16_t port, start; /* start: units of 8 bytes */
	uint8_t csum;
};
static struct queue {
	uint32_t n, fresh, free; /* nodes in use, highest one ever used, list of free ones */
	uint32_t n_big;          /* of the nodes in use, those with a big frame */
	uint32_t head, tail;     /* rows that wait, oldest first */
	bool sending;
	uint16_t source[SOURCES]; /* rows that wait, by hash of their source */
	struct node node[NODES + 1];
} queues[WORKERS_MAX] __attribute__((aligned(CACHE_LINE)));

/* Of a row; touched by its owner only, but for 'n'. */
static struct wait {
	uint64_t deadline_ns;
	uint32_t head, prev, next;
	uint16_t n, source;
} waits[FRAG_ROWS];

static struct queue *queue_of(const struct worker *w)
{
	return &queues[w->id];
}

unsigned frag_held(uint32_t row)
{
	return LOAD_RELAXED(&waits[row].n);
}

bool frag_queue_sending(const struct worker *w)
{
	return queue_of(w)->sending;
}

/* Frames that fragments may keep on one worker. */
static uint32_t limit(void)
{
	uint32_t share = frame_area.n / AREA_SHARE / n_workers, want = settings.frag_queue_bytes / FRAME_SIZE;
	return MIN(MIN(share, want), (uint32_t)NODES);
}

static bool full(const struct queue *q, const struct pkt *p)
{
	return q->n >= limit() ||
	       (frame_is_big(p->data) && q->n_big >= MAX(frame_area.n_big / AREA_SHARE / n_workers, 1u));
}

static uint32_t node_new(struct queue *q)
{
	uint32_t i = q->free;
	if (i)
		q->free = q->node[i].next;
	else
		i = ++q->fresh;
	q->n++;
	return i;
}

/* The pieces of 'row' leave the queue: their list, in order. */
static uint32_t detach(struct worker *w, uint32_t row)
{
	struct queue *q = queue_of(w);
	struct wait *a = &waits[row];
	uint32_t list = a->head;
	if (!a->n)
		return 0;
	if (a->prev)
		waits[a->prev].next = a->next;
	else
		q->head = a->next;
	if (a->next)
		waits[a->next].prev = a->prev;
	else
		q->tail = a->prev;
	q->source[a->source]--;
	for (uint32_t i = list; i; i = q->node[i].next) {
		w->port[q->node[i].port].held--;
		q->n_big -= frame_is_big(q->node[i].data);
	}
	q->n -= a->n;
	w->n_frags -= a->n;
	a->head = a->prev = a->next = 0;
	STORE_RELAXED(&a->n, 0);
	return list;
}

/* The first of a detached list, as it came; '*list' goes on. */
static struct pkt pop(struct queue *q, uint32_t *list)
{
	uint32_t i = *list;
	struct node *n = &q->node[i];
	struct pkt p = { .data = n->data, .len = n->len, .port = n->port, .csum = n->csum };
	*list = n->next;
	n->next = q->free;
	q->free = i;
	return p;
}

void frag_queue_drop(struct worker *w, uint32_t row, enum drop reason)
{
	uint32_t list = detach(w, row);
	while (list) {
		struct pkt p = pop(queue_of(w), &list);
		worker_drop(w, &p, reason);
	}
}

static uint16_t source_of(const struct frag_key *k)
{
	const struct {
		struct ipaddr addr;
		uint32_t in, zone;
	} s = { k->src, k->in, k->zone };
	return (uint16_t)(hash_key(&s, sizeof(s)) % SOURCES);
}

bool frag_queue_closed(const struct worker *w, const struct frag_key *k)
{
	return queue_of(w)->source[source_of(k)] >= settings.frag_queue_source;
}

/* 'row' joins the rows that wait. False: too many of its source do. */
static bool enter(struct worker *w, uint32_t row)
{
	struct queue *q = queue_of(w);
	struct wait *a = &waits[row];
	uint16_t s = source_of(frag_key_at(row));
	if (q->source[s] >= settings.frag_queue_source)
		return false;
	q->source[s]++;
	*a = (struct wait){ .deadline_ns = w->now_ns + settings.frag_queue_seconds * NS_PER_S,
			    .prev = q->tail,
			    .source = s };
	if (q->tail)
		waits[q->tail].next = row;
	else
		q->head = row;
	q->tail = row;
	return true;
}

/* An end to datagram 'row': what waits is dropped for 'reason', and what may still come. */
static void give_up(struct worker *w, uint32_t row, enum drop reason)
{
	frag_ports_set(frag_at(row), &(struct frag_ports){ .state = FRAG_REFUSED, .reason = (uint8_t)reason });
	frag_queue_drop(w, row, reason);
}

void frag_queue(struct worker *w, uint32_t row, const struct pkt *p, uint32_t start)
{
	struct queue *q = queue_of(w);
	struct wait *a = &waits[row];
	while (full(q, p) && q->head && q->head != row)
		give_up(w, q->head, DROP_FRAG_QUEUE_FULL);
	if (full(q, p) || (a->n == 0 && !enter(w, row))) {
		worker_drop(w, p, DROP_FRAG_QUEUE_FULL);
		give_up(w, row, DROP_FRAG_QUEUE_FULL);
		return;
	}
	uint32_t i = node_new(q), *at = &a->head;
	while (*at && q->node[*at].start < start / 8)
		at = &q->node[*at].next;
	q->node[i] = (struct node){ .data = p->data,
				    .len = p->len,
				    .next = *at,
				    .port = p->port,
				    .start = (uint16_t)(start / 8),
				    .csum = p->csum };
	*at = i;
	q->n_big += frame_is_big(p->data);
	STORE_RELAXED(&a->n, (uint16_t)(a->n + 1));
	w->n_frags++;
	w->port[p->port].held++;
}

void frag_queue_send(struct worker *w, uint32_t row)
{
	struct queue *q = queue_of(w);
	uint32_t list = detach(w, row);
	q->sending = true;
	while (list) {
		struct pkt p = pop(q, &list);
		if (likely(ports[p.port]))
			decide(w, &p);
		else /* the port it came by was closed meanwhile */
			worker_drop(w, &p, DROP_NO_PORT);
	}
	q->sending = false;
}

void frag_expire(struct worker *w)
{
	struct queue *q = queue_of(w);
	while (q->head && w->now_ns >= waits[q->head].deadline_ns)
		give_up(w, q->head, DROP_FRAG_NOT_FOUND);
}

/* A row makes room for another: what waits for its first is lost. */
static void row_goes(unsigned slot, uint32_t row)
{
	if (waits[row].n)
		frag_queue_drop(workers[slot], row, DROP_FRAG_QUEUE_FULL);
}

void frag_release_all(void)
{
	for (unsigned i = 0; i < n_workers; i++)
		frag_clear(workers[i]->slot);
}

void frag_queue_init(void)
{
	frag_on_delete = row_goes;
}
