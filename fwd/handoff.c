/* SPDX-License-Identifier: BSD-2-Clause */
/* How frames leave a worker, and what passes between threads.
 *
 * Frames are staged per egress port and flushed once per loop. A worker that owns no queue of the port hands them over: one
 * bounded ring per pair of workers, so no line is written by two senders, and a full ring is a counted drop, never a wait.
 * Whoever was woken clears 'asleep' in the waker, so a sleeping worker costs one system call however many frames come. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/engine.h"
#include "fwd/observe.h"
#include "fwd/worker_priv.h"

/* Attempts at a port that takes fewer than it is given. */
enum { TX_TRIES = 4 };

static struct frame_cache control_frames; /* of the control thread */
static int request_fd = -1;
static uint32_t request_signaled;

int handoff_init(struct worker *w, unsigned n)
{
	struct worker_private *v = w->priv;
	if (ring_init(&v->requests, REQUEST_RING, sizeof(struct request)))
		return -ENOMEM;
	for (unsigned i = 0; i <= n; i++) {
		unsigned from = i < n ? i : FROM_CONTROL;
		if (from == w->id)
			continue;
		if (ring_init(&v->in[from], i < n ? HANDOFF_RING : INJECT_RING, sizeof(struct handoff)))
			return -ENOMEM;
		v->from[v->n_from++] = from;
	}
	return 0;
}

void handoff_fini(struct worker *w)
{
	struct worker_private *v = w->priv;
	struct handoff h;
	for (unsigned i = 0; i < v->n_from; i++) {
		struct ring *r = &v->in[v->from[i]];
		while (ring_pop(r, &h, sizeof(h)))
			frame_put(&w->frames, h.d.data);
		ring_fini(r);
	}
	ring_fini(&v->requests);
}

void worker_wake(struct worker *w)
{
	uint64_t one = 1;
	struct worker_private *v = w->priv;
	/* Two exchanges of one word, here and in worker.c go_to_sleep: either it sees what was put, or we see it asleep. */
	if (__atomic_exchange_n(&v->asleep, 0, __ATOMIC_SEQ_CST) && write(v->wake_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is readable already */
}

/* ---- sending ---- */
static void drop_staged(struct worker *w, const struct txd *d, unsigned n, enum drop reason)
{
	if (observing(OBSERVE_DROPS | OBSERVE_TRACE))
		observe_drops(w, d, n, reason);
	for (unsigned i = 0; i < n; i++) {
		counter_add(&w->drops[reason], 1, d[i].len);
		counter_add(&w->port[d[i].in_port].dropped, 1, d[i].len);
		frame_put(&w->frames, d[i].data);
	}
}

/* Gives frames to a queue that this worker owns. */
static void send_own(struct worker *w, struct port_queue *q, const struct txd *d, unsigned n)
{
	const struct port_ops *ops = q->port->ops;
	unsigned done = 0;
	uint64_t bytes = 0;
	if (observing(OBSERVE_FRAMES))
		observe_sent(w, q->port->index, d, n);
	for (unsigned tries = 0; done < n && tries < TX_TRIES; tries++) {
		if (tries && ops->poll)
			ops->poll(q, &w->frames);
		done += ops->tx(q, &w->frames, d + done, n - done);
	}
	for (unsigned i = 0; i < done; i++)
		bytes += d[i].len;
	counter_add(&w->port[q->port->index].tx, done, bytes);
	STORE_RELAXED(&q->tx_packets, q->tx_packets + done);
	drop_staged(w, d + done, n - done, DROP_TX_FULL);
}

static void hand_over(struct worker *w, struct port_queue *q, const struct txd *d, unsigned n)
{
	struct worker *to = workers[q->owner];
	struct ring *r = &to->priv->in[w->id];
	unsigned i;
	for (i = 0; i < n; i++)
		if (!ring_push(r, &(struct handoff){ d[i], q->port->index }, sizeof(struct handoff)))
			break;
	if (i)
		worker_wake(to);
	drop_staged(w, d + i, n - i, DROP_RING_FULL);
}

void worker_flush(struct worker *w, unsigned out)
{
	const struct txd *d = w->tx[out];
	const uint32_t n = w->tx_n[out];
	struct port *p = ports[out];
	w->tx_dirty &= ~(1u << out);
	if (!n)
		return;
	if (!p || !p->ops || !p->up) {
		drop_staged(w, d, n, DROP_NO_PORT);
	} else {
		struct port_queue *q = &p->queue[p->tx_queue[w->id]];
		const uint64_t start = clock_cycles();
		if (q->owner == w->id)
			send_own(w, q, d, n);
		else
			hand_over(w, q, d, n);
		w->cycles_io += clock_cycles() - start;
	}
	w->tx_n[out] = 0;
}

void handoff_flush(struct worker *w)
{
	while (w->tx_dirty)
		worker_flush(w, (unsigned)__builtin_ctz(w->tx_dirty));
}

void worker_hand_over(struct worker *w, unsigned to, const struct pkt *p)
{
	struct handoff h = { .d = { .data = p->data, .len = p->len, .in_port = p->port }, .out = HANDOFF_ENGINE };
	struct ring *r = &workers[to]->priv->in[w->id];
	if (ring_room(r, HANDOFF_RING / 2 + 1) <= HANDOFF_RING / 2 || !ring_push(r, &h, sizeof(h))) {
		worker_drop(w, p, DROP_RING_FULL);
		return;
	}
	worker_wake(workers[to]);
}

unsigned handoff_receive(struct worker *w)
{
	struct worker_private *v = w->priv;
	unsigned total = 0;
	for (unsigned i = 0; i < v->n_from; i++) {
		struct ring *r = &v->in[v->from[i]];
		struct handoff h;
		/* at most one lap, so that a fast sender does not keep us from our own queues */
		for (unsigned n = 0; n < HANDOFF_RING && ring_pop(r, &h, sizeof(h)); n++, total++) {
			if (v->from[i] == FROM_CONTROL)
				counter_add(&w->port[PORT_CONTROL].rx, 1, h.d.len);
			if (h.out == HANDOFF_ENGINE) {
				struct pkt p = { .data = h.d.data, .len = h.d.len, .port = h.d.in_port };
				w->handed = true;
				if (likely(ports[p.port]))
					engine_burst(w, &p, 1);
				else /* closed meanwhile: decisions read the port a packet came by */
					worker_drop(w, &p, DROP_NO_PORT);
				w->handed = false;
				continue;
			}
			worker_tx(w, h.out, h.d.data, h.d.len, h.d.in_port);
		}
	}
	return total;
}

bool handoff_waiting(const struct worker *w)
{
	const struct worker_private *v = w->priv;
	for (unsigned i = 0; i < v->n_from; i++)
		if (!ring_empty(&v->in[v->from[i]]))
			return true;
	return false;
}

/* ---- the engine's ---- */
void worker_drop(struct worker *w, const struct pkt *p, enum drop reason)
{
	drop_staged(w, &(struct txd){ .data = p->data, .len = p->len, .in_port = p->port }, 1, reason);
}

uint8_t *worker_new_frame(struct worker *w)
{
	return worker_new_frame_for(w, FRAME_ROOM);
}

uint8_t *worker_new_frame_for(struct worker *w, uint32_t len)
{
	uint8_t *f = frame_get_for(&w->frames, len);
	if (f)
		counter_add(&w->port[PORT_CONTROL].rx, 1, 0);
	return f;
}

void worker_consume(struct worker *w, const struct pkt *p)
{
	counter_add(&w->port[PORT_CONTROL].tx, 1, p->len);
	frame_put(&w->frames, p->data);
}

uint32_t worker_random(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(w->random >> 16);
}

bool worker_request(struct worker *w, const struct request *r)
{
	uint64_t one = 1;
	if (!ring_push(&w->priv->requests, r, sizeof(*r)))
		return false;
	if (!__atomic_exchange_n(&request_signaled, 1, __ATOMIC_SEQ_CST) && write(request_fd, &one, sizeof(one)) < 0)
		return true; /* EAGAIN: readable already */
	return true;
}

/* ---- the control thread's ---- */
int requests_init(struct err *e)
{
	request_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	request_signaled = 0;
	return request_fd < 0 ? err_set(e, -errno, "eventfd: %s", strerror(errno)) : 0;
}

void requests_fini(void)
{
	if (request_fd >= 0)
		close(request_fd);
	request_fd = -1;
}

int workers_request_fd(void)
{
	return request_fd;
}

static bool any_request(struct request *r)
{
	static unsigned next; /* worker asked first, so that a busy one does not hide the others */
	for (unsigned i = 0; i < n_workers; i++) {
		unsigned id = (next + i) % n_workers;
		if (ring_pop(&workers[id]->priv->requests, r, sizeof(*r))) {
			next = id + 1;
			return true;
		}
	}
	return false;
}

bool workers_next_request(struct request *r)
{
	uint64_t v = 1;
	if (any_request(r))
		return true;
	if (!LOAD_RELAXED(&request_signaled))
		return false;
	/* Clear first: a request put from here on signals again. One put before is found by the second look, and then the
	 * fd must stay readable, because the caller may stop asking. */
	__atomic_store_n(&request_signaled, 0, __ATOMIC_SEQ_CST);
	if (read(request_fd, &v, sizeof(v)) < 0 && errno != EAGAIN)
		return false;
	if (!any_request(r))
		return false;
	v = 1;
	__atomic_store_n(&request_signaled, 1, __ATOMIC_SEQ_CST);
	if (write(request_fd, &v, sizeof(v)) < 0)
		return true;
	return true;
}

int workers_inject(uint16_t out, const void *frame, uint32_t len)
{
	struct port *p = out < PORTS_MAX ? ports[out] : NULL;
	if (!p || !p->ops)
		return -ENODEV;
	if (len > BIG_ROOM)
		return -EMSGSIZE;
	struct worker *w = workers[p->queue[p->tx_queue[FROM_CONTROL]].owner];
	struct ring *r = &w->priv->in[FROM_CONTROL];
	if (!ring_room(r, 1))
		return -ENOSPC;
	struct handoff h = { .d = { .data = frame_get_for(&control_frames, len), .len = len, .in_port = PORT_CONTROL },
			     .out = out };
	if (!h.d.data)
		return -ENOMEM;
	memcpy(h.d.data, frame, len);
	ring_push(r, &h, sizeof(h));
	worker_wake(w);
	return 0;
}

void inject_fini(void)
{
	frame_cache_flush(&control_frames);
}
