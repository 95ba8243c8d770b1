/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports in memory: the other side is a test, a benchmark or a fuzzer. Real frames of the shared area travel over rings, so
 * that rx and tx cost next to nothing and the engine is what gets measured. Copies are made on the peer's side only. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fwd/port/port.h"
#include "fwd/ring.h"

enum { MEM_RING = 4096 };

struct mem_frame {
	uint8_t *data;
	uint32_t len;
};
struct mem_queue {
	struct ring in, out;
};
struct mem {
	pthread_mutex_t lock; /* peers: one at a time */
	struct frame_cache frames;
	unsigned next; /* queue that mem_port_take looks at first */
	struct mem_queue queue[];
};

static void free_rings(struct mem *m, unsigned n)
{
	struct mem_frame f;
	for (unsigned i = 0; i < n; i++) {
		while (m->queue[i].in.mem && ring_pop(&m->queue[i].in, &f, sizeof(f)))
			frame_put(&m->frames, f.data);
		while (m->queue[i].out.mem && ring_pop(&m->queue[i].out, &f, sizeof(f)))
			frame_put(&m->frames, f.data);
		ring_fini(&m->queue[i].in);
		ring_fini(&m->queue[i].out);
	}
	frame_cache_flush(&m->frames);
}

static int mem_open(struct port *p, struct err *e)
{
	unsigned n = p->conf.queues ? p->conf.queues : 1;
	struct mem *m = aligned_alloc(64, ALIGN_UP(sizeof(*m) + n * sizeof(m->queue[0]), 64));
	if (!m)
		return err_set(e, -ENOMEM, "port %s: no memory", p->conf.name);
	memset(m, 0, sizeof(*m) + n * sizeof(m->queue[0]));
	for (unsigned i = 0; i < n; i++)
		if (ring_init(&m->queue[i].in, MEM_RING, sizeof(struct mem_frame)) ||
		    ring_init(&m->queue[i].out, MEM_RING, sizeof(struct mem_frame))) {
			free_rings(m, n);
			free(m);
			return err_set(e, -ENOMEM, "port %s: no memory", p->conf.name);
		}
	pthread_mutex_init(&m->lock, NULL);
	p->priv = m;
	p->n_queues = (uint16_t)n;
	for (unsigned i = 0; i < n; i++)
		p->queue[i].priv = &m->queue[i];
	p->mac = (struct mac){ { 0x02, 0, 0, 0, 0x10, (uint8_t)p->index } };
	p->mtu = 1500;
	p->mtu_max = BIG_ROOM - ETH_HLEN_;
	p->up = true;
	p->rx_csum = p->conf.checksum == PORT_CSUM_COMPLETE ? PKT_CSUM_COMPLETE : PKT_CSUM_UNKNOWN;
	p->mode_text = "memory";
	return 0;
}

static void mem_close(struct port *p, bool clean)
{
	(void)clean;
	struct mem *m = p->priv;
	free_rings(m, p->n_queues);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static unsigned mem_rx(struct port_queue *q, struct frame_cache *c, struct pkt *pkts, unsigned max)
{
	(void)c;
	struct mem_queue *m = q->priv;
	struct mem_frame f[BURST_MAX];
	unsigned n = ring_pop_n(&m->in, f, MIN(max, (unsigned)BURST_MAX), sizeof(f[0]));
	uint16_t port = q->port->index;
	uint8_t csum = q->port->rx_csum;
	for (unsigned i = 0; i < n; i++)
		pkt_init(&pkts[i], f[i].data, f[i].len, port, csum);
	return n;
}

static unsigned mem_tx(struct port_queue *q, struct frame_cache *c, const struct txd *d, unsigned n)
{
	(void)c;
	struct mem_queue *m = q->priv;
	struct mem_frame f[BURST_MAX];
	n = MIN(n, (unsigned)BURST_MAX);
	for (unsigned i = 0; i < n; i++)
		f[i] = (struct mem_frame){ d[i].data, d[i].len };
	return ring_push_n(&m->out, f, n, sizeof(f[0]));
}

static int mem_wait_fd(struct port_queue *q)
{
	(void)q;
	return -1;
}

const struct port_ops port_ops_mem = {
	.kind = "mem",
	.open = mem_open,
	.close = mem_close,
	.rx = mem_rx,
	.tx = mem_tx,
	.wait_fd = mem_wait_fd,
};

int mem_port_put(struct port *p, unsigned queue, const void *frame, uint32_t len)
{
	struct mem *m = p->priv;
	struct ring *r = &m->queue[queue].in;
	int rc = -ENOSPC;
	if (len > BIG_ROOM)
		return -EMSGSIZE;
	pthread_mutex_lock(&m->lock);
	struct mem_frame f = { .len = len };
	if (ring_room(r, 1) && (f.data = frame_get_for(&m->frames, len))) {
		memcpy(f.data, frame, len);
		frame_poison_tail(f.data, len);
		ring_push(r, &f, sizeof(f));
		rc = 0;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

uint32_t mem_port_take(struct port *p, void *buf, uint32_t size)
{
	struct mem *m = p->priv;
	struct mem_frame f = { 0 };
	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < p->n_queues && !f.data; i++) {
		unsigned q = (m->next + i) % p->n_queues;
		if (ring_pop(&m->queue[q].out, &f, sizeof(f)))
			m->next = (q + 1) % p->n_queues;
	}
	if (f.data) {
		memcpy(buf, f.data, MIN(f.len, size));
		frame_put(&m->frames, f.data);
	}
	pthread_mutex_unlock(&m->lock);
	return f.len;
}
