/* SPDX-License-Identifier: BSD-2-Clause */
/* AF_XDP ports, the packet path: the worker that owns a queue moves descriptors between its four rings.
 *
 * In copy mode nothing is sent before somebody enters the kernel, and one call moves a bounded number of frames (32 unless
 * the kernel lets us raise it): so we call until the kernel has consumed the ring. */
#include <errno.h>
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

unsigned xdp_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max)
{
	struct xdp_queue *x = q->priv;
	uint16_t port = q->port->index;
	uint8_t csum = q->port->rx_csum;
	uint32_t i, n = xsk_ring_cons__peek(&x->rx, max, &i);
	(void)c;
	if (!n) {
		/* zero-copy drivers stop when they ran out of chunks and ask to be told of new ones */
		if (xsk_ring_prod__needs_wakeup(&x->fill)) {
			STORE_RELAXED(&x->wakeups, x->wakeups + 1);
			recvfrom(x->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
		}
		return 0;
	}
	for (uint32_t k = 0; k < n; k++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->rx, i + k);
		uint8_t *data = frame_area.base + d->addr;
		__builtin_prefetch(data);
		*xdp_holder_of(d->addr) = 0;
		pkt_init(&pkts[k], data, d->len, port, csum);
	}
	xsk_ring_cons__release(&x->rx, n);
	x->n_fill -= n;
	return n;
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

unsigned xdp_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n)
{
	struct xdp_queue *x = q->priv;
	uint32_t i;
	if (TX_SIZE - x->n_unsent < n)
		reap(x, c);
	/* never more on the way than the completion ring holds: the kernel would stop half-way */
	n = MIN(n, TX_SIZE - x->n_unsent);
	uint32_t room = xsk_prod_nb_free(&x->tx, n);
	n = MIN(n, room);
	if (n && xsk_ring_prod__reserve(&x->tx, n, &i) == n) {
		for (uint32_t k = 0; k < n; k++) {
			uint64_t addr = (uint64_t)(d[k].data - frame_area.base);
			*xdp_holder_of(addr) = x->holder;
			*xsk_ring_prod__tx_desc(&x->tx, i + k) = (struct xdp_desc){ .addr = addr, .len = d[k].len };
		}
		xsk_ring_prod__submit(&x->tx, n);
		x->n_unsent += n;
	}
	kick(x);
	return n;
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
