/* SPDX-License-Identifier: BSD-2-Clause */
/* DPDK ports, the packet path: the worker that owns a queue copies frames between mbufs and chunks. */
#include <pthread.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/port/dpdk.h"

/* behind ours: they define container_of and likely unless somebody has */
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

enum {
	AHEAD = 4,               /* frames that are prefetched before they are copied */
	TAP_CYCLES = 128 * 1024, /* between looks at a tap: about 50 us */
};

/* ---- workers as lcores ---- */

static __thread bool joined;
static pthread_key_t leave_key;
static pthread_once_t leave_once = PTHREAD_ONCE_INIT;

static void leave(void *unused)
{
	(void)unused;
	rte_thread_unregister();
}

static void make_key(void)
{
	pthread_key_create(&leave_key, leave);
}

/* Once a thread. Without an lcore id, when none is free, mempools go without a cache: slower, nothing else. */
static void join(void)
{
	joined = true;
	pthread_once(&leave_once, make_key);
	if (rte_thread_register() == 0)
		pthread_setspecific(leave_key, &joined);
}

/* ---- packets ---- */

/* Copies the frame; false when it does not fit, or is not as it was on the wire. */
INLINE bool copy_in(const struct rte_mbuf *m, uint8_t *to)
{
	if (unlikely(m->pkt_len > FRAME_ROOM || m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED))
		return false;
	if (likely(m->nb_segs == 1)) {
		memcpy(to, rte_pktmbuf_mtod(m, const void *), m->pkt_len);
		return true;
	}
	for (const uint8_t *end = to + m->pkt_len; m; to += m->data_len, m = m->next) {
		if (m->data_len > end - to)
			return false;
		memcpy(to, rte_pktmbuf_mtod(m, const void *), m->data_len);
	}
	return true;
}

/* What the kernel needs of a link to keep neighbours and answer for its own addresses, and what routing daemons listen to. */
INLINE bool is_for_kernel(const uint8_t *f, uint32_t len)
{
	const uint16_t type = rd16(f + 12);
	return f[0] & 1 || type == ET_ARP ||
	       (type == ET_IP6 && len > 54 && f[20] == PROTO_ICMP6 && f[54] >= 133 && f[54] <= 137);
}

/* Beside the engine's own look at it. When the tap's queue is full the kernel drops it, as a device would. */
static void to_kernel(const struct dpdk_queue *x, const uint8_t *f, uint32_t len)
{
	if (len >= ETH_HLEN_ && is_for_kernel(f, len) && write(x->tap, f, len) < 0)
		return;
}

unsigned dpdk_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max)
{
	struct dpdk_queue *x = q->priv;
	struct rte_mbuf *m[BURST_MAX];
	const struct port *p = q->port;
	unsigned kept = 0, lost = 0;
	if (unlikely(!joined))
		join();
	const unsigned n = rte_eth_rx_burst(x->id, x->index, m, (uint16_t)MIN(max, (unsigned)BURST_MAX));
	for (unsigned i = 0; i < MIN(n, (unsigned)AHEAD); i++)
		__builtin_prefetch(rte_pktmbuf_mtod(m[i], const void *));
	for (unsigned i = 0; i < n; i++) {
		if (i + AHEAD < n)
			__builtin_prefetch(rte_pktmbuf_mtod(m[i + AHEAD], const void *));
		uint8_t *data = frame_get(c);
		if (unlikely(!data || !copy_in(m[i], data))) {
			lost++;
			if (data)
				frame_put(c, data);
			continue;
		}
		/* what the kernel sends on a netdev that we share comes here, too */
		if (x->kernel_sees && memcmp(data + 6, p->mac.b, 6) == 0) {
			frame_put(c, data);
			continue;
		}
		if (x->tap >= 0)
			to_kernel(x, data, m[i]->pkt_len);
		pkt_init(&pkts[kept++], data, m[i]->pkt_len, p->index, p->rx_csum);
	}
	if (n)
		rte_pktmbuf_free_bulk(m, n);
	if (unlikely(lost))
		STORE_RELAXED(&x->lost, x->lost + lost);
	return kept;
}

/* Gives the driver what is stashed. */
static void push(struct dpdk_queue *x)
{
	const unsigned n = rte_eth_tx_burst(x->id, x->index, x->stash, (uint16_t)x->n_stash);
	if (unlikely(n < x->n_stash))
		memmove(x->stash, x->stash + n, (x->n_stash - n) * sizeof(x->stash[0]));
	STORE_RELAXED(&x->n_stash, x->n_stash - n);
	STORE_RELAXED(&x->taken, x->taken + n);
}

unsigned dpdk_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n)
{
	struct dpdk_queue *x = q->priv;
	if (unlikely(x->n_stash))
		push(x);
	n = MIN(n, BURST_MAX - x->n_stash);
	struct rte_mbuf **m = x->stash + x->n_stash;
	if (unlikely(!n || rte_pktmbuf_alloc_bulk(x->pool, m, n)))
		return 0;
	unsigned used = 0;
	for (unsigned i = 0; i < n; i++) {
		if (likely(d[i].len <= FRAME_ROOM)) {
			memcpy(rte_pktmbuf_mtod(m[used], void *), d[i].data, d[i].len);
			m[used]->data_len = (uint16_t)d[i].len;
			m[used++]->pkt_len = d[i].len;
		}
		frame_put(c, d[i].data);
	}
	if (unlikely(used < n)) {
		rte_pktmbuf_free_bulk(m + used, n - used);
		STORE_RELAXED(&x->too_long, x->too_long + n - used);
	}
	STORE_RELAXED(&x->n_stash, x->n_stash + used);
	push(x);
	return n;
}

void dpdk_to_kernel(struct port *p, const uint8_t *frame, uint32_t len)
{
	const struct dpdk_port *x = p->priv;
	if (x->tap >= 0 && write(x->tap, frame, len) < 0)
		return; /* its queue is full */
}

/* What the kernel sends on the tap goes out as it is: the engine has no say in the box's own packets. */
static void from_kernel(struct dpdk_queue *x)
{
	const uint64_t now = clock_cycles();
	if (now < x->tap_look)
		return;
	while (x->n_stash < BURST_MAX) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(x->pool);
		ssize_t n = m ? read(x->tap, rte_pktmbuf_mtod(m, void *), FRAME_ROOM) : -1;
		if (n <= 0) {
			rte_pktmbuf_free(m);
			x->tap_look = now + TAP_CYCLES;
			break;
		}
		m->data_len = (uint16_t)n;
		m->pkt_len = (uint32_t)n;
		x->stash[x->n_stash] = m;
		STORE_RELAXED(&x->n_stash, x->n_stash + 1);
	}
}

bool dpdk_poll(struct port_queue *q, struct frame_cache *c)
{
	struct dpdk_queue *x = q->priv;
	(void)c;
	if (x->tap >= 0 && x->index == 0)
		from_kernel(x);
	if (likely(!x->n_stash))
		return false;
	push(x);
	return x->n_stash != 0;
}
