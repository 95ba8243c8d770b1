/* SPDX-License-Identifier: BSD-2-Clause */
/* Observers and the rings to the control thread (observe.h).
 *
 * A ring is a byte ring of one producer and one consumer; records of any size lie in it whole, the end is skipped where one does not
 * fit. Rings come with the first observer and stay. Observers stand in a fixed array that workers read while the control thread
 * changes it: an entry is written before its bit in 'on' is set, and used again only after a grace period. */
#include "fwd/observe_match.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/decide.h"
#include "fwd/worker_priv.h"

enum { RING_SIZE = 1 << 20, TEXT_MAX = 4096, OUTS_MAX = 4, SCRATCH = 32 * 1024 };

struct byte_ring {
	uint8_t *mem;
	uint64_t head __attribute__((aligned(64))); /* producer writes */
	uint64_t tail __attribute__((aligned(64))); /* consumer writes */
};

struct observer {
	struct observe_filter filter;
	enum observe_kind kind;
	bool limited;
	int32_t left; /* atomic; TRACE: packets still wanted */
	uint64_t lost;
	struct {
		uint32_t second, n;
	} rate[THREADS];
};

/* What one packet does, while it does it; its worker's. */
struct tracing {
	struct explain x;
	struct observed o;
	bool on;
	uint32_t text;
	char lines[TEXT_MAX];
	uint8_t frame[OBSERVE_SNAP], record[SCRATCH];
};

uint32_t observe_on;
static struct observer observers[OBSERVERS_MAX];
static uint32_t in_use; /* bit per observer */
static struct byte_ring rings[THREADS];
static struct tracing *tracings[WORKERS_MAX];
static uint32_t signaled;
static int event_fd = -1;

/* ---- control thread ---- */
int observe_init(struct err *e)
{
	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return event_fd < 0 ? err_set(e, -errno, "eventfd: %s", strerror(errno)) : 0;
}

void observe_fini(void)
{
	STORE_RELEASE(&observe_on, 0);
	STORE_RELEASE(&in_use, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		free(rings[i].mem);
		rings[i] = (struct byte_ring){ 0 };
	}
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		free(tracings[i]);
		tracings[i] = NULL;
	}
	if (event_fd >= 0)
		close(event_fd);
	event_fd = -1;
	signaled = 0;
}

int observe_fd(void)
{
	return event_fd;
}

static int rings_open(struct err *e)
{
	for (unsigned i = 0; i < THREADS; i++) {
		if (rings[i].mem || (i >= n_workers && i != SLOT_CONTROL))
			continue;
		uint8_t *mem = malloc(RING_SIZE);
		if (!mem)
			return err_set(e, -ENOMEM, "no memory to observe");
		STORE_RELEASE(&rings[i].mem, mem);
		if (i == SLOT_CONTROL)
			continue;
		struct tracing *t = calloc(1, sizeof(*t));
		if (!t)
			return err_set(e, -ENOMEM, "no memory to observe");
		STORE_RELEASE(&tracings[i], t);
	}
	return 0;
}

static void publish(uint32_t mask)
{
	uint32_t kinds = 0;
	for (unsigned i = 0; i < OBSERVERS_MAX; i++)
		if (mask >> i & 1)
			kinds |= observers[i].kind;
	STORE_RELEASE(&in_use, mask);
	STORE_RELEASE(&observe_on, kinds);
}

int observe_start(enum observe_kind kind, const struct observe_filter *f, uint32_t left, struct err *e)
{
	int r = rings_open(e);
	if (r)
		return r;
	if (in_use == (1u << OBSERVERS_MAX) - 1)
		return err_set(e, -EBUSY, "%d are observing already: end one of trace, monitor, capture",
			       OBSERVERS_MAX);
	const int i = __builtin_ctz(~in_use);
	observers[i] = (struct observer){ .filter = *f, .kind = kind, .limited = left, .left = (int32_t)left };
	publish(in_use | 1u << i);
	return i;
}

void observe_stop(unsigned number)
{
	publish(in_use & ~(1u << number));
	rcu_wait(); /* then nobody writes records for it, and its place may be another's */
}

uint64_t observe_lost(unsigned number)
{
	return LOAD_RELAXED(&observers[number].lost);
}

void observe_drain(void (*fn)(const struct observed *o))
{
	uint64_t v;
	__atomic_store_n(&signaled, 0, __ATOMIC_SEQ_CST);
	if (event_fd >= 0 && read(event_fd, &v, sizeof(v)) < 0 && errno != EAGAIN)
		return;
	for (unsigned i = 0; i < THREADS; i++) {
		struct byte_ring *r = &rings[i];
		const uint64_t head = LOAD_ACQUIRE(&r->head);
		uint64_t tail = r->tail;
		while (r->mem && tail != head) {
			const struct observed *o = (const void *)(r->mem + tail % RING_SIZE);
			if (o->size == UINT32_MAX) {
				tail += RING_SIZE - tail % RING_SIZE;
				continue;
			}
			fn(o);
			tail += o->size;
		}
		STORE_RELEASE(&r->tail, tail);
	}
}

/* ---- into a ring ---- */
static void lose(uint32_t mask)
{
	for (; mask; mask &= mask - 1)
		__atomic_fetch_add(&observers[__builtin_ctz(mask)].lost, 1, __ATOMIC_RELAXED);
}

static void wake(void)
{
	uint64_t one = 1;
	if (!__atomic_exchange_n(&signaled, 1, __ATOMIC_SEQ_CST) && write(event_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: readable already */
}

/* Room for 'size' bytes in one piece, NULL: full. */
static uint8_t *ring_place(struct byte_ring *r, uint32_t size, uint64_t *next)
{
	const uint64_t tail = LOAD_ACQUIRE(&r->tail);
	uint64_t head = r->head;
	const uint32_t rest = RING_SIZE - head % RING_SIZE;
	if (!r->mem)
		return NULL;
	if (rest < size) {
		if (head + rest + size - tail > RING_SIZE)
			return NULL;
		st32(r->mem + head % RING_SIZE, UINT32_MAX);
		head += rest;
	} else if (head + size - tail > RING_SIZE) {
		return NULL;
	}
	*next = head + size;
	return r->mem + head % RING_SIZE;
}

/* 'o' with its frame and 'n' bytes of 'more'; sets o->size, worker, time. */
static void push(unsigned slot, struct observed *o, const void *frame, const void *more, uint32_t n)
{
	struct byte_ring *r = &rings[slot];
	uint64_t next;
	const uint32_t at = (uint32_t)sizeof(*o) + observed_pad(o->cap);
	o->size = at + observed_pad(n);
	o->worker = (uint16_t)slot;
	uint8_t *to = ring_place(r, o->size, &next);
	if (!to) {
		lose(o->mask);
		return;
	}
	memcpy(to, o, sizeof(*o));
	if (o->cap)
		memcpy(to + sizeof(*o), frame, o->cap);
	if (n)
		memcpy(to + at, more, n);
	STORE_RELEASE(&r->head, next);
	wake();
}

/* ---- who wants it ---- */
static uint32_t wanted_frame(enum observe_kind kind, uint16_t port, const uint8_t *frame, uint32_t len, uint8_t reason)
{
	uint32_t mask = 0;
	for (uint32_t m = LOAD_ACQUIRE(&in_use); m; m &= m - 1) {
		const unsigned i = (unsigned)__builtin_ctz(m);
		const struct observer *ob = &observers[i];
		if (ob->kind != kind || (ob->filter.set >> OBSERVE_REASON & 1 && ob->filter.reason != reason))
			continue;
		if (observe_frame_match(&ob->filter, port, frame, len))
			mask |= 1u << i;
	}
	return mask;
}

/* Leaves those whose limit is not reached. */
static uint32_t take_turns(uint32_t mask)
{
	for (uint32_t m = mask; m; m &= m - 1) {
		const unsigned i = (unsigned)__builtin_ctz(m);
		struct observer *ob = &observers[i];
		if (ob->limited && __atomic_fetch_sub(&ob->left, 1, __ATOMIC_RELAXED) <= 0) {
			STORE_RELAXED(&ob->left, 0);
			mask &= ~(1u << i);
		}
	}
	return mask;
}

static uint32_t limit_rate(uint32_t mask, unsigned slot, uint32_t now_s)
{
	for (uint32_t m = mask; m; m &= m - 1) {
		const unsigned i = (unsigned)__builtin_ctz(m);
		struct observer *ob = &observers[i];
		if (ob->rate[slot].second != now_s) {
			ob->rate[slot].second = now_s;
			ob->rate[slot].n = 0;
		}
		if (ob->rate[slot].n++ < OBSERVE_RATE)
			continue;
		lose(1u << i);
		mask &= ~(1u << i);
	}
	return mask;
}

/* ---- frames, drops, connections ---- */
static void push_frame(struct worker *w, enum observe_kind kind, uint32_t mask, uint16_t port, bool out,
		       const uint8_t *frame, uint32_t len, uint8_t reason)
{
	struct observed o = { .kind = (uint8_t)kind,
			      .reason = reason,
			      .out = out,
			      .port = port,
			      .mask = mask,
			      .len = len,
			      .cap = MIN(len, (uint32_t)OBSERVE_SNAP),
			      .time_ns = w->now_ns };
	push(w->slot, &o, frame, NULL, 0);
}

void observe_sent(struct worker *w, uint16_t port, const struct txd *d, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const uint32_t mask = wanted_frame(OBSERVE_FRAMES, port, d[i].data, d[i].len, 0);
		if (mask)
			push_frame(w, OBSERVE_FRAMES, mask, port, true, d[i].data, d[i].len, 0);
	}
}

void observe_drops(struct worker *w, const struct txd *d, unsigned n, enum drop reason)
{
	struct tracing *t = w->id < WORKERS_MAX ? tracings[w->id] : NULL;
	if (t && t->on) {
		t->o.verdict = OBSERVED_DROPPED;
		t->o.reason = (uint8_t)reason;
	}
	if (!observing(OBSERVE_DROPS))
		return;
	for (unsigned i = 0; i < n; i++) {
		uint32_t mask = wanted_frame(OBSERVE_DROPS, d[i].in_port, d[i].data, d[i].len, (uint8_t)reason);
		if (mask && (mask = limit_rate(mask, w->slot, w->now_s)))
			push_frame(w, OBSERVE_DROPS, mask, d[i].in_port, false, d[i].data, d[i].len, (uint8_t)reason);
	}
}

static void read_end(bool v6, uint32_t r, struct ipaddr *src, struct ipaddr *dst, uint16_t *sport, uint16_t *dport,
		     uint64_t *packets, uint64_t *bytes)
{
	const struct conn *c = ct_conn(ct_of(v6), r >> 1);
	struct tuple t;
	if (v6) {
		tuple_of_key(true, &ct_flow6(r)->key, &t);
		*packets = LOAD_RELAXED(&ct_flow6(r)->packets);
		*bytes = LOAD_RELAXED(&ct_flow6(r)->bytes);
	} else {
		tuple_of_key(false, &ct_flow4(r)->key, &t);
		*packets = LOAD_RELAXED(&ct_flow4(r)->packets);
		*bytes = LOAD_RELAXED(&ct_flow4(r)->bytes);
	}
	*src = t.src;
	*dst = t.dst;
	*sport = ntohs(t.sport);
	*dport = ntohs(t.dport);
	*packets += (uint64_t)LOAD_RELAXED(&c->carry_packets[r & 1]) << 32;
	*bytes += (uint64_t)LOAD_RELAXED(&c->carry_bytes[r & 1]) << 32;
}

static uint32_t wanted_flow(const struct observed_flow *f)
{
	const struct ends x = { f->src, f->dst, f->sport, f->dport, f->proto, true, true };
	const uint32_t endpoint = (f->in & 0xff000000) == FLOW_IN_ENDPOINT ? f->in & FLOW_IN_INDEX : 0;
	uint32_t mask = 0;
	for (uint32_t m = LOAD_ACQUIRE(&in_use); m; m &= m - 1) {
		const unsigned i = (unsigned)__builtin_ctz(m);
		if (observers[i].kind == OBSERVE_FLOWS && observe_ends_match(&observers[i].filter, &x, endpoint))
			mask |= 1u << i;
	}
	return mask;
}

void observe_conn(unsigned slot, bool v6, uint32_t conn, bool end)
{
	const struct conn *c = ct_conn(ct_of(v6), conn);
	const uint32_t egress = LOAD_RELAXED(&c->rule_egress);
	struct observed_flow f = { .proto = c->proto,
				   .state = LOAD_RELAXED(&c->state),
				   .end = end,
				   .in = LOAD_RELAXED(&c->in),
				   .identity = LOAD_RELAXED(&c->identity),
				   .dst_identity = LOAD_RELAXED(&c->dst_identity),
				   .rule = egress ? egress : LOAD_RELAXED(&c->rule_ingress) };
	read_end(v6, 2 * conn, &f.src, &f.dst, &f.sport, &f.dport, &f.packets, &f.bytes);
	read_end(v6, 2 * conn + 1, &f.reply_src, &f.reply_dst, &f.reply_sport, &f.reply_dport, &f.reply_packets,
		 &f.reply_bytes);
	struct observed o = { .kind = OBSERVE_FLOWS, .mask = wanted_flow(&f), .time_ns = clock_ns() };
	if (o.mask)
		push(slot, &o, NULL, &f, sizeof(f));
}

/* ---- trace ---- */
static void trace_line(struct explain *x, const char *step, const char *text)
{
	struct tracing *t = container_of(x, struct tracing, x);
	const size_t a = strlen(step) + 1, b = strlen(text) + 1;
	if (t->text + a + b > sizeof(t->lines))
		return; /* fifteen steps of 255 bytes fit */
	memcpy(t->lines + t->text, step, a);
	memcpy(t->lines + t->text + a, text, b);
	t->text += (uint32_t)(a + b);
}

static void trace_begin(struct worker *w, struct tracing *t, uint32_t mask, const struct pkt *p)
{
	handoff_flush(w); /* so that what is staged afterwards is this packet's */
	t->o = (struct observed){ .kind = OBSERVE_TRACE,
				  .port = p->port,
				  .mask = mask,
				  .len = p->len,
				  .cap = MIN(p->len, (uint32_t)OBSERVE_SNAP),
				  .verdict = OBSERVED_KEPT,
				  .time_ns = w->now_ns };
	memcpy(t->frame, p->data, t->o.cap);
	t->x.line = trace_line;
	t->text = 0;
	t->on = true;
	w->say = &t->x;
}

/* Text, then the frames that left. */
static void trace_end(struct worker *w, struct tracing *t, uint32_t record)
{
	uint32_t at = observed_pad(t->text);
	t->on = false;
	w->say = NULL;
	t->o.record = record;
	t->o.text = t->text;
	memcpy(t->record, t->lines, t->text);
	for (unsigned port = 0; port < PORTS_MAX; port++)
		for (unsigned i = 0; i < w->tx_n[port] && t->o.out < OUTS_MAX; i++) {
			const struct txd *d = &w->tx[port][i];
			struct observed_out out = { .port = (uint16_t)port,
						    .cap = (uint16_t)MIN(d->len, (uint32_t)OBSERVE_SNAP),
						    .len = d->len };
			memcpy(t->record + at, &out, sizeof(out));
			memcpy(t->record + at + sizeof(out), d->data, out.cap);
			at += (uint32_t)sizeof(out) + observed_pad(out.cap);
			t->o.out++;
			if (t->o.verdict == OBSERVED_KEPT)
				t->o.verdict = OBSERVED_FORWARDED;
		}
	push(w->slot, &t->o, t->frame, t->record, at);
}

/* Which record replayed it: the first guess may have been another's. */
static uint32_t record_of(const struct pkt *p)
{
	const bool v6 = p->flags & PKT_IP6;
	return hidx_find(&ct_of(v6)->idx, v6 ? (const void *)&p->k6 : (const void *)&p->k4, p->hash);
}

static void one(struct worker *w, struct pkt *p, void (*core)(struct worker *w, struct pkt *p, unsigned n))
{
	struct tracing *t = tracings[w->id];
	uint32_t mask =
		observing(OBSERVE_FRAMES) && !w->handed ? wanted_frame(OBSERVE_FRAMES, p->port, p->data, p->len, 0) : 0;
	if (mask)
		push_frame(w, OBSERVE_FRAMES, mask, p->port, false, p->data, p->len, 0);
	mask = observing(OBSERVE_TRACE) ? wanted_frame(OBSERVE_TRACE, p->port, p->data, p->len, 0) : 0;
	mask = t ? take_turns(mask) : 0;
	if (!mask) {
		core(w, p, 1);
		return;
	}
	const uint64_t replayed = w->replayed;
	trace_begin(w, t, mask, p);
	core(w, p, 1);
	trace_end(w, t, w->replayed != replayed ? record_of(p) : 0);
}

void observe_burst(struct worker *w, struct pkt *p, unsigned n,
		   void (*core)(struct worker *w, struct pkt *p, unsigned n))
{
	for (unsigned i = 0; i < n; i++)
		one(w, &p[i], core);
}
