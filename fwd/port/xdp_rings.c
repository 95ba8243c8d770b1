/* SPDX-License-Identifier: BSD-2-Clause */
/* AF_XDP ports, the packet path: the worker that owns a queue moves descriptors between its four rings.
 *
 * In copy mode nothing is sent before somebody enters the kernel, and one call moves a bounded number of frames (32 unless
 * the kernel lets us raise it): so we call until the kernel has consumed the ring. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "fwd/port/xdp.h"

/* System calls a flush may make before it leaves the rest to the next loop. */
enum { KICKS = 16 };

static void reap(struct xdp_queue *x, struct frame_cache *c)
{
	uint32_t i, n = xsk_ring_cons__peek(&x->comp, TX_SIZE, &i);
	if (!n)
		return;
	for (uint32_t end = i + n; i != end; i++) {
		uint64_t addr = *xsk_ring_cons__comp_addr(&x->comp, i);
		*xdp_holder_of(addr) = 0;
		frame_put(c, frame_area.base + addr);
	}
	xsk_ring_cons__release(&x->comp, n);
	STORE_RELAXED(&x->completed, x->completed + n);
	x->n_unsent -= n;
}

void xdp_refill(struct xdp_queue *x, struct frame_cache *c)
{
	uint32_t i, n = FILL_MAX - x->n_fill, done = 0;
	n = xsk_prod_nb_free(&x->fill, n) < n ? x->fill.cached_cons - x->fill.cached_prod : n;
	if (!n || xsk_ring_prod__reserve(&x->fill, n, &i) != n)
		return;
	for (; done < n; done++) {
		uint8_t *f = frame_get(c);
		if (!f)
			break;
		uint64_t addr = (uint64_t)(frame_start(f) - frame_area.base);
		*xdp_holder_of(addr) = x->holder;
		*xsk_ring_prod__fill_addr(&x->fill, i + done) = addr;
	}
	x->fill.cached_prod -= n - done; /* reserved, but there was no frame */
	xsk_ring_prod__submit(&x->fill, done);
	x->n_fill += done;
}

/* The pieces of one packet, from descriptor 'i' on, 'n' at most: copied into a big frame, which headers and checksums then
 * lie in unbroken. '*took' descriptors were used, 0: its last one is not among them. NULL: no frame is free or large enough,
 * and the packet is lost. */
static uint8_t *gather(struct xdp_queue *x, struct frame_cache *c, uint32_t i, uint32_t n, uint32_t *took,
		       uint32_t *len)
{
	uint32_t last = 0;
	uint64_t sum = 0;
	for (bool more = true; more; last++) {
		*took = 0;
		if (last == n)
			return NULL;
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->rx, i + last);
		sum += d->len;
		more = d->options & XDP_PKT_CONTD;
	}
	*took = last;
	*len = (uint32_t)sum;
	uint8_t *data = sum <= BIG_ROOM ? frame_get_big(c) : NULL, *to = data;
	for (uint32_t k = 0; k < last; k++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->rx, i + k);
		*xdp_holder_of(d->addr) = 0;
		if (data)
			to = (uint8_t *)memcpy(to, frame_area.base + d->addr, d->len) + d->len;
		frame_put(c, frame_area.base + d->addr);
	}
	if (!data)
		STORE_RELAXED(&x->no_big, x->no_big + 1);
	return data;
}

unsigned xdp_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max)
{
	struct xdp_queue *x = q->priv;
	uint16_t port = q->port->index;
	uint8_t csum = q->port->rx_csum;
	uint32_t i, n = xsk_ring_cons__peek(&x->rx, max, &i);
	(void)c;
	if (!n) {
		/* zero-copy drivers stop when they ran out of chunks and ask to be told of new ones; in copy mode there is
		 * nothing that the call could start, but for the driver itself if it is ours to run */
		if (x->busy_poll || (q->port->zero_copy && xsk_ring_prod__needs_wakeup(&x->fill))) {
			STORE_RELAXED(&x->wakeups, x->wakeups + 1);
			recvfrom(x->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
		}
		return 0;
	}
	uint32_t k = 0, got = 0;
	while (k < n) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->rx, i + k);
		uint8_t *data = frame_area.base + d->addr;
		uint32_t len = d->len, took = 1;
		if (unlikely(d->options & XDP_PKT_CONTD)) {
			data = gather(x, c, i + k, n - k, &took, &len);
			k += took;
			if (!took)
				break;
			if (!data)
				continue;
		} else {
			__builtin_prefetch(data);
			*xdp_holder_of(d->addr) = 0;
			k++;
		}
		pkt_init(&pkts[got++], data, len, port, csum);
	}
	if (unlikely(k < n))
		xsk_ring_cons__cancel(&x->rx, n - k); /* their rest is not in the ring yet, or beyond 'max' */
	xsk_ring_cons__release(&x->rx, k);
	x->n_fill -= k;
	return got;
}

/* Frames the kernel has not picked up yet. */
static uint32_t waiting(const struct xdp_queue *x)
{
	return x->tx.cached_prod - __atomic_load_n(x->tx.consumer, __ATOMIC_ACQUIRE);
}

/* Enters the kernel until the ring is empty, nothing moves, or KICKS calls were made. */
static void kick(struct xdp_queue *x)
{
	uint32_t before = waiting(x), calls = 0;
	while (before && calls < KICKS && xsk_ring_prod__needs_wakeup(&x->tx)) {
		calls++;
		int rc = (int)sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
		uint32_t after = waiting(x);
		/* EAGAIN: the call's budget is used up, or the completion ring or socket buffer is full: then nothing moved */
		if (after == before || (rc < 0 && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS))
			break;
		before = after;
	}
	if (calls)
		STORE_RELAXED(&x->wakeups, x->wakeups + calls);
}

/* Descriptors that may be added, 'want' at most. */
static uint32_t tx_room(struct xdp_queue *x, struct frame_cache *c, uint32_t want)
{
	if (TX_SIZE - x->n_unsent < want)
		reap(x, c);
	/* never more on the way than the completion ring holds: the kernel would stop half-way */
	want = MIN(want, TX_SIZE - x->n_unsent);
	uint32_t room = xsk_prod_nb_free(&x->tx, want);
	return MIN(want, room);
}

static void put_desc(struct xdp_queue *x, uint32_t i, const uint8_t *data, uint32_t len, uint32_t options)
{
	uint64_t addr = (uint64_t)(data - frame_area.base);
	*xdp_holder_of(addr) = x->holder;
	*xsk_ring_prod__tx_desc(&x->tx, i) = (struct xdp_desc){ .addr = addr, .len = len, .options = options };
}

/* A big frame is not in the kernel's reach: copied into chunks, as many as it takes. False: no room, or no chunks. */
static bool send_big(struct xdp_queue *x, struct frame_cache *c, const struct txd *d)
{
	const uint32_t pieces = (d->len + FRAME_ROOM - 1) / FRAME_ROOM;
	uint8_t *chunk[(BIG_ROOM + FRAME_ROOM - 1) / FRAME_ROOM];
	uint32_t i, got = 0;
	if (tx_room(x, c, pieces) < pieces)
		return false;
	while (got < pieces && (chunk[got] = frame_get(c)))
		got++;
	if (got < pieces || xsk_ring_prod__reserve(&x->tx, pieces, &i) != pieces) {
		while (got)
			frame_put(c, chunk[--got]);
		return false;
	}
	for (uint32_t k = 0; k < pieces; k++) {
		const uint32_t at = k * FRAME_ROOM, len = MIN(d->len - at, (uint32_t)FRAME_ROOM);
		memcpy(chunk[k], d->data + at, len);
		put_desc(x, i + k, chunk[k], len, k + 1 < pieces ? XDP_PKT_CONTD : 0);
	}
	xsk_ring_prod__submit(&x->tx, pieces);
	x->n_unsent += pieces;
	frame_put(c, d->data);
	return true;
}

/* Up to the first big one. */
static uint32_t send_chunks(struct xdp_queue *x, struct frame_cache *c, const struct txd *d, uint32_t n)
{
	uint32_t i, k = 0;
	n = tx_room(x, c, n);
	if (!n || xsk_ring_prod__reserve(&x->tx, n, &i) != n)
		return 0;
	for (; k < n && likely(!frame_is_big(d[k].data)); k++)
		put_desc(x, i + k, d[k].data, d[k].len, 0);
	x->tx.cached_prod -= n - k;
	xsk_ring_prod__submit(&x->tx, k);
	x->n_unsent += k;
	return k;
}

unsigned xdp_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n)
{
	struct xdp_queue *x = q->priv;
	uint32_t done = 0, sent = 1;
	for (; done < n && sent; done += sent)
		sent = unlikely(frame_is_big(d[done].data)) ? send_big(x, c, &d[done])
							    : send_chunks(x, c, d + done, n - done);
	kick(x);
	return done;
}

bool xdp_poll(struct port_queue *q, struct frame_cache *c)
{
	struct xdp_queue *x = q->priv;
	if (x->n_unsent) {
		reap(x, c);
		kick(x);
	}
	if (x->n_fill < FILL_MAX)
		xdp_refill(x, c);
	return waiting(x) != 0;
}
